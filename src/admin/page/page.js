"use strict";
// Keeps the page fresh: asks for it anew and takes over what differs. The server makes the page, so what is shown here
// is what is shown without script, and nothing here turns text into markup.
(() => {
  const EVERY = 2000, PATIENCE = 5000;
  const fresh = document.getElementById("fresh"), pause = document.getElementById("pause");
  let paused = false, lost = false, timer;

  const keyed = (node) => (node.nodeType === Node.ELEMENT_NODE ? node.getAttribute("data-key") : null);

  function children(old, next) {
    const byKey = new Map();
    for (const child of old.childNodes) {
      const key = keyed(child);
      if (key !== null) byKey.set(key, child);
    }
    let at = old.firstChild;
    for (const wanted of [...next.childNodes]) {
      const key = keyed(wanted);
      const known = key === null ? (at && keyed(at) === null ? at : null) : byKey.get(key);
      if (known && known.nodeName === wanted.nodeName) {
        if (known === at) at = at.nextSibling;
        else old.insertBefore(known, at);
        become(known, wanted);
      } else {
        old.insertBefore(wanted, at);
      }
    }
    while (at) {
      const gone = at;
      at = at.nextSibling;
      gone.remove();
    }
  }

  // What is alike stays, with its focus and whatever of it is selected.
  function become(old, next) {
    if (old.nodeType !== Node.ELEMENT_NODE) {
      if (old.nodeValue !== next.nodeValue) old.nodeValue = next.nodeValue;
      return;
    }
    for (const { name, value } of next.attributes) {
      if (old.getAttribute(name) !== value) old.setAttribute(name, value);
    }
    for (const { name } of [...old.attributes]) {
      if (!next.hasAttribute(name)) old.removeAttribute(name);
    }
    children(old, next);
  }

  async function refresh() {
    try {
      const answer = await fetch("/", { cache: "no-store", signal: AbortSignal.timeout(PATIENCE) });
      if (!answer.ok) throw new Error(answer.statusText);
      const page = new DOMParser().parseFromString(await answer.text(), "text/html");
      if (paused) return;
      become(document.querySelector("main"), page.querySelector("main"));
      become(document.getElementById("icon"), page.getElementById("icon"));
      fresh.replaceChildren(...page.getElementById("fresh").childNodes);
      document.title = page.title;
      lost = false;
    } catch {
      if (!lost) fresh.append(" · no answer since then: this is old");
      lost = true;
    }
    document.documentElement.classList.toggle("lost", lost);
  }

  function later() {
    clearTimeout(timer);
    if (!paused) timer = setTimeout(again, EVERY);
  }

  async function again() {
    if (!document.hidden) await refresh();
    later();
  }

  pause.addEventListener("click", () => {
    paused = !paused;
    pause.textContent = paused ? "Resume" : "Pause";
    pause.setAttribute("aria-label", paused ? "Resume updating" : "Pause updating");
    document.documentElement.classList.toggle("paused", paused);
    if (paused) clearTimeout(timer);
    else again();
  });
  document.addEventListener("visibilitychange", () => {
    if (!document.hidden && !paused) again();
  });
  pause.hidden = false;
  later();
})();
