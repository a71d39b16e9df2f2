/* Everything works without this script but opening cells and folding; page.js goes before it. */
(() => {
  "use strict";
  const find = (selector, root = document) => root.querySelector(selector);
  const all = (selector, root = document) => [...root.querySelectorAll(selector)];
  const make = (tag, text) => Object.assign(document.createElement(tag), { textContent: text });

  /* A gallery: two rows first, the rest on demand; the style sheet counts to ten as well. */
  const FIRST = 10;
  const cards = all("#gallery > .card");
  all("#gallery, #box-gallery").forEach((gallery) => {
    const own = all(":scope > .card", gallery);
    if (own.length <= FIRST) return;
    gallery.classList.add("folded");
    const button = make("button", `Show the other ${own.length - FIRST} images`);
    button.type = "button";
    button.className = "more";
    button.addEventListener("click", () => {
      gallery.classList.remove("folded");
      button.remove();
      own[FIRST].tabIndex = -1;
      own[FIRST].focus();
    });
    gallery.after(button);
  });

  /* Heat maps that stay without a pointer; cells show copies of the cards, so the page listens. */
  document.addEventListener("click", (event) => {
    const button = event.target.closest(".why");
    if (button) button.setAttribute("aria-pressed", button.getAttribute("aria-pressed") !== "true");
  });

  /* The confusion matrix: a cell opens its mistakes below. */
  const lookup = JSON.parse(find("#lookup").textContent);
  const panel = find("#cell");
  let opener = null;

  const headline = (t, p, count) => {
    const [is, said] = [lookup.labels[t], lookup.labels[p]];
    if (t !== p) return `${count} × “${is}” taken for “${said}”`;
    const missed = lookup.support[t] - lookup.hits[t];
    const start = `${lookup.hits[t]} of ${lookup.support[t]} “${is}” classified correctly`;
    return missed ? `${start}; the ${missed} missed` : start;
  };

  /* A frequent confusion has a button above the matrix as well as its cell. */
  const mark = (key) =>
    all("button[data-cell]").forEach((b) =>
      b.dataset.cell === key ? b.setAttribute("aria-pressed", "true") : b.removeAttribute("aria-pressed"),
    );

  const open = (button) => {
    const [t, p] = button.dataset.cell.split("-").map(Number);
    const belongs = (key) => (t === p ? key.startsWith(`${t}-`) : key === `${t}-${p}`);
    const count = t === p ? lookup.support[t] - lookup.hits[t] : parseInt(button.textContent, 10);
    const mine = cards.filter((card) => belongs(card.dataset.cell));
    const named = Object.keys(lookup.more).filter(belongs).flatMap((key) => lookup.more[key]);
    find("#cell-title").textContent = headline(t, p, count);
    find("#cell-body").replaceChildren(...mine.map((card) => card.cloneNode(true)));
    find("#cell-list").replaceChildren(
      ...named.map(([path, score]) => {
        const line = make("li", "");
        line.append(make("bdi", path), ` ${score}`);
        return line;
      }),
    );
    const rest = count - mine.length - named.length;
    find("#cell-rest").hidden = rest <= 0;
    find("#cell-rest").textContent = `${rest} more in misclassified.csv.`;
    mark(button.dataset.cell);
    opener = button;
    panel.hidden = false;
    find("#cell-title").focus({ preventScroll: true });
    panel.scrollIntoView({ block: "nearest" });
  };

  const close = () => {
    panel.hidden = true;
    mark(null);
    opener?.focus();
  };
  find("#cell-close").addEventListener("click", close);
  panel.addEventListener("keydown", (event) => event.key === "Escape" && close());
  all("button[data-cell]").forEach((b) => b.addEventListener("click", () => open(b)));

  /* One tab stop for the whole matrix; arrows go to the next filled cell. */
  const matrix = find(".matrix");
  const grid = all("tbody tr", matrix).map((row) => all("td", row).map((td) => find("button", td)));
  const stops = grid.flat().filter(Boolean);
  stops.forEach((button, i) => (button.tabIndex = i ? -1 : 0));
  const steps = { ArrowLeft: [0, -1], ArrowRight: [0, 1], ArrowUp: [-1, 0], ArrowDown: [1, 0] };
  matrix.addEventListener("keydown", (event) => {
    const step = steps[event.key];
    const cell = event.target.closest("td");
    if (!step || !cell) return;
    event.preventDefault();
    let [r, c] = [cell.parentNode.sectionRowIndex, cell.cellIndex - 1];
    do [r, c] = [r + step[0], c + step[1]];
    while (grid[r] && c in grid[r] && !grid[r][c]);
    const next = grid[r]?.[c];
    if (!next) return;
    stops.forEach((button) => (button.tabIndex = -1));
    next.tabIndex = 0;
    next.focus();
  });

  /* Paper cannot unfold. */
  addEventListener("beforeprint", () => all("details").forEach((d) => (d.open = true)));
})();
