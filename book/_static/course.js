// What the page's makers leave without a name or a right role, for readers who listen to it.
(() => {
  const names = { "fa-play": "Play", "fa-pause": "Pause", "fa-stop": "Back to the start", "fa-retweet": "Repeat" };
  const set = (element, value) => {
    if (element.getAttribute("aria-label") !== value) element.setAttribute("aria-label", value);
  };

  function nameWidgets() {
    for (const handle of document.querySelectorAll(".widget-slider [role=slider]")) {
      set(handle, handle.closest(".widget-slider").querySelector(".widget-label")?.textContent || "Slider");
    }
    for (const icon of document.querySelectorAll(".widget-play button > .fa")) {
      const known = [...icon.classList].find((name) => name in names);
      if (known) set(icon.parentElement, names[known]);
    }
  }

  document.addEventListener("DOMContentLoaded", () => {
    // "doc-biblioentry" is deprecated, and browsers do not take it for a child of a list.
    document.querySelectorAll(".citation-list > .citation").forEach((entry) => entry.setAttribute("role", "listitem"));
    if (!document.querySelector("script[type='application/vnd.jupyter.widget-view+json']")) return;
    // Widgets are drawn later, and a play button changes its icon while it plays.
    const changes = { childList: true, subtree: true, attributes: true, attributeFilter: ["class"] };
    new MutationObserver(nameWidgets).observe(document.querySelector("main") || document.body, changes);
    nameWidgets();
  });
})();
