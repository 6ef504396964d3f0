"""Looks through everything that was asked and answered: each operation did its work at
least once, so that not all was refused; none failed; and no answer told of a number
that belongs to another tenant.

said.py FILE.har OTHERS-NUMBER
"""

import collections
import json
import sys
from urllib.parse import urlsplit


def operation(request):
    path = urlsplit(request["url"]).path
    if path.endswith("/stats"):
        path = "/api/v1/dids/{phone}/stats"
    return f"{request['method']} {path}"


def main():
    file, others_number = sys.argv[1:]
    with open(file, encoding="utf-8") as text:
        entries = json.load(text)["log"]["entries"]
    statuses = collections.defaultdict(collections.Counter)
    wrong = []
    for entry in entries:
        request, response = entry["request"], entry["response"]
        statuses[operation(request)][response["status"]] += 1
        if response["status"] >= 500 or response["status"] < 200:
            wrong.append(f"{response['status']} {request['url']}")
        if others_number in response["content"].get("text", ""):
            wrong.append(f"another tenant's number: {request['url']}")
    for name in (
        "GET /api/v1/call-records",
        "GET /api/v1/dids",
        "GET /api/v1/dids/{phone}/stats",
        "POST /api/v1/call-results",
    ):
        seen = statuses[name]
        print(name, *(f"{status}: {count}" for status, count in sorted(seen.items())))
        if not seen[200]:
            wrong.append(f"never 200: {name}")
    if wrong:
        sys.exit("\n".join(wrong))


main()
