/* Everything works without this script but choosing a kind; page.js goes before it. */
(() => {
  "use strict";
  const all = (selector) => [...document.querySelectorAll(selector)];
  const buttons = all(".filter button");
  const choose = (kind) => {
    all("section[data-kind]").forEach((section) => {
      section.hidden = kind !== "" && section.dataset.kind !== kind;
    });
    buttons.forEach((b) => b.setAttribute("aria-pressed", String(b.dataset.kind === kind)));
  };
  buttons.forEach((b) => b.addEventListener("click", () => choose(b.dataset.kind)));
  addEventListener("beforeprint", () => choose(""));
})();
