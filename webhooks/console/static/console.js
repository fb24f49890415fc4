// Keeps a page fresh: asks for it again, and shows what has changed. Without it every page works, too.
"use strict";
(() => {
  const live = document.getElementById("live");
  const seconds = Number(live?.dataset.refresh);
  if (!seconds) return;
  const busy = () =>
    document.hidden || live.querySelector("dialog[open]") || String(getSelection()) ||
    (live.contains(document.activeElement) && document.activeElement.matches("input, select, textarea"));
  const refresh = async () => {
    if (busy()) return;
    const answer = await fetch(location.href, { headers: { Accept: "text/html" } });
    if (!answer.ok || answer.redirected || busy()) {
      if (answer.redirected) location.reload();
      return;
    }
    const fresh = new DOMParser().parseFromString(await answer.text(), "text/html").getElementById("live");
    if (!fresh || fresh.innerHTML === live.innerHTML) return;
    // What the reader has opened stays open, and what has the focus keeps it.
    const open = [...live.querySelectorAll("details")].map((each) => each.open);
    const places = [...live.querySelectorAll("a, button, summary, [tabindex]")];
    const focused = places.indexOf(document.activeElement);
    const scrolled = [...live.querySelectorAll(".scroll")].map((each) => each.scrollLeft);
    // Read aloud, but only when it has changed: what is replaced as a whole is not.
    const news = fresh.querySelector("[data-say]")?.textContent;
    const said = document.getElementById("said");
    if (news && news !== live.querySelector("[data-say]")?.textContent) said.textContent = news;
    live.dataset.refresh = fresh.dataset.refresh ?? ""; // what is over changes no more
    live.replaceChildren(...fresh.childNodes);
    [...live.querySelectorAll("details")].forEach((each, place) => { if (open[place]) each.open = true; });
    [...live.querySelectorAll(".scroll")].forEach((each, place) => { each.scrollLeft = scrolled[place] ?? 0; });
    if (focused >= 0) {
      live.querySelectorAll("a, button, summary, [tabindex]")[focused]?.focus({ preventScroll: true });
    }
  };
  const again = () =>
    refresh().catch(() => {}).finally(() => live.dataset.refresh && setTimeout(again, seconds * 1000));
  setTimeout(again, seconds * 1000);
})();
