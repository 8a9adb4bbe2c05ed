// What a test asks of a screen: to come to it, and what stands on it.
window.audit = {
  /** Go to a screen and wait until nothing changes on it any more. */
  async go(hash) {
    const view = document.getElementById("view");
    const quiet = new Promise((done) => {
      let timer = null;
      const over = () => { watcher.disconnect(); done(); };
      const watcher = new MutationObserver(() => { clearTimeout(timer); timer = setTimeout(over, 150); });
      watcher.observe(view, { childList: true, subtree: true });
      setTimeout(over, 5000);
    });
    if (location.hash === hash) dispatchEvent(new HashChangeEvent("hashchange"));
    else location.hash = hash;
    await quiet;
    document.getElementById("notice").textContent = "";  // of the screen before; it lies over this one for a moment
    document.activeElement?.blur();
  },

  /** Each text, how it is written, and where (CSS pixels of the whole page). What only tells names is `seen: false`. */
  texts() {
    const found = [], dialog = document.querySelector("dialog[open]");
    const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
    for (let node; (node = walker.nextNode());) {
      const text = node.data.trim(), element = node.parentElement, style = getComputedStyle(element);
      if (!text || element.closest("noscript, option, script")) continue;
      const range = document.createRange();
      range.selectNodeContents(node);
      const isCovered = dialog !== null && !dialog.contains(element);
      const box = range.getBoundingClientRect(), size = parseFloat(style.fontSize);
      found.push({
        text, colour: style.color, isLarge: size >= 24 || (size >= 18.66 && style.fontWeight >= 700),
        seen: element.checkVisibility({ visibilityProperty: true }) && style.clipPath === "none" && !element.closest("[aria-hidden=true], :disabled") && !isCovered,
        box: [box.left + scrollX, box.top + scrollY, box.right + scrollX, box.bottom + scrollY],
      });
    }
    const named = [...document.querySelectorAll("[aria-label], [placeholder]")];
    return [...found, ...named.map((one) => ({ text: one.ariaLabel ?? one.placeholder, seen: false }))];
  },

  structure() {
    const all = (selector) => [...document.querySelectorAll(selector)];
    const ids = all("[id]").map((one) => one.id);
    return {
      lang: document.documentElement.lang, title: document.title, width: document.documentElement.scrollWidth,
      headings: all("h1, h2, h3, h4").map((one) => Number(one.tagName[1])),
      twice: ids.filter((id, n) => ids.indexOf(id) !== n),
      bare: all("img:not([alt]), li:not(ul > li, ol > li), [tabindex]:not([tabindex='0'], [tabindex='-1'])").map((one) => one.outerHTML),
      links: all("a[href]").map((one) => one.getAttribute("href")),
    };
  },
};
