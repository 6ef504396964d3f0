// Reads the page again and shows what has changed; sends the search while one types.
// Without this script every page works all the same.
"use strict";

const REFRESH_MS = 5000;
const TYPING_MS = 250;

const stale = document.getElementById("stale");
const search = document.getElementById("search");
let newest = 0;
let shownAt = new Date();

// Times in the reader's own zone; the server writes them in UTC.
function localTimes(root) {
  for (const time of root.querySelectorAll("time")) {
    const at = new Date(time.dateTime);
    const local = at.toLocaleString(undefined, { timeZoneName: "short" });
    if (time.classList.contains("ago")) {
      time.title = local;
    } else {
      time.title = time.dateTime;
      time.textContent = local;
    }
  }
}

// What tells an element again in the page that takes its place.
function mark(element) {
  if (element.id) return "#" + CSS.escape(element.id);
  const label = element.getAttribute("aria-label");
  if (label) return `[aria-label="${CSS.escape(label)}"]`;
  const href = element.getAttribute("href");
  return href ? `[href="${CSS.escape(href)}"]` : null;
}

// Puts the parts of a page that are alive in place of those shown.
function put(page) {
  for (const part of page.querySelectorAll("[data-live]")) {
    const shown = document.getElementById(part.id);
    if (!shown) continue;
    localTimes(part);
    if (shown.innerHTML === part.innerHTML) continue;
    const focused = shown.contains(document.activeElement) ? mark(document.activeElement) : null;
    const open = [...shown.querySelectorAll("details")].map((details) => details.open);
    const across = [...shown.querySelectorAll(".scrolls")].map((place) => place.scrollLeft);
    shown.replaceChildren(...part.childNodes);
    shown.querySelectorAll("details").forEach((details, i) => { details.open = open[i] ?? false; });
    shown.querySelectorAll(".scrolls").forEach((place, i) => { place.scrollLeft = across[i] ?? 0; });
    if (focused) shown.querySelector(focused)?.focus({ preventScroll: true });
  }
}

// Reads an address of this page; the last one asked for wins.
async function read(address) {
  const turn = ++newest;
  try {
    const answer = await fetch(address, { cache: "no-store", headers: { accept: "text/html" } });
    if (answer.redirected && new URL(answer.url).pathname === "/login") {
      location.assign(answer.url);
      return;
    }
    if (!answer.ok) throw new Error(`the server answered ${answer.status}`);
    const text = await answer.text();
    if (turn !== newest) return;
    const page = new DOMParser().parseFromString(text, "text/html");
    if (!page.querySelector("[data-live]")) throw new Error("the server answered another page");
    put(page);
    shownAt = new Date();
    stale.hidden = true;
    document.body.classList.remove("old");
    if (!document.querySelector("[data-live]")) location.reload();
  } catch (error) {
    if (turn !== newest) return;
    // What a browser says of a server that is not there helps nobody.
    const why = error instanceof TypeError ? "didtail does not answer" : error.message;
    stale.textContent = `Not refreshed since ${shownAt.toLocaleTimeString()}: ${why}`;
    stale.hidden = false;
    document.body.classList.add("old");
  }
}

function refresh() {
  if (!document.hidden) read(location.href);
}

if (search) {
  let typing = 0;
  const show = () => {
    const asked = new URLSearchParams(new FormData(search));
    if (!asked.get("q")) asked.delete("q");
    const address = asked.size ? `/?${asked}` : "/";
    history.replaceState(null, "", address);
    read(address);
  };
  search.addEventListener("input", () => {
    clearTimeout(typing);
    typing = setTimeout(show, TYPING_MS);
  });
  search.addEventListener("submit", (event) => {
    event.preventDefault();
    clearTimeout(typing);
    show();
  });
}

localTimes(document);
if (document.body.hasAttribute("data-refreshes")) {
  setInterval(refresh, REFRESH_MS);
  document.addEventListener("visibilitychange", refresh);
}
