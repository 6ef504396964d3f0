"""Waits until a didtail is ready, and checks that the document which it serves is
OpenAPI 3.1: its structure, and that every reference leads somewhere.

lint.py http://ADDRESS
"""

import json
import sys
import time
import urllib.error
import urllib.request

from openapi_spec_validator import OpenAPIV31SpecValidator

PATIENCE_SECONDS = 60


def wait_until_ready(base):
    """Whoever asks before the store is open is told to come again."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    while True:
        try:
            urllib.request.urlopen(base + "/readyz", timeout=10).close()
            return
        except urllib.error.URLError as error:
            if time.monotonic() > deadline:
                sys.exit(f"lint: didtail does not get ready: {error}")
        time.sleep(0.1)


def main():
    base = sys.argv[1]
    wait_until_ready(base)
    with urllib.request.urlopen(base + "/api/v1/openapi.json", timeout=10) as answer:
        document = json.load(answer)
    errors = list(OpenAPIV31SpecValidator(document).iter_errors())
    for error in errors:
        place = "/".join(str(step) for step in error.absolute_path)
        print(f"lint: {place}: {error.message}", file=sys.stderr)
    if errors:
        sys.exit(1)
    print(f"OpenAPI {document['openapi']}, {len(document['paths'])} paths")


main()
