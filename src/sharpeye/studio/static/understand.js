// The page Understand: what a run gets wrong, and what in the pictures may be the reason.
import {
  attempt, button, choice, drawing, duration, heatToggle, linkButton, percent, picture, remember,
  section,
} from "./widgets.js";
import { element, fetchJson, toast, url } from "./studio.js";

const COPY_WORDS = {
  exact_duplicate: "the same file twice",
  near_duplicate: "nearly the same",
  label_conflict: "the same picture in two classes",
  leak: "the same picture in two parts",
};

async function showRun() {
  const name = runChoice.value;
  const results = document.getElementById("results");
  remember("run", name);
  results.replaceChildren(element("p", { class: "hint", role: "status" }, "Reading the run ..."));
  const run = await fetchJson("GET", url("/api/understand", { run: name }));
  results.replaceChildren(
    headline(run), confusion(run), mistakes(run), doubts(run), calibration(run), ...learning(run),
  );
}

function headline(run) {
  const away = run.own ? null : element(
    "p", { class: "note" },
    `It was trained on another folder (${run.folder}), whose pictures are not shown here; its report has some.`,
  );
  return element(
    "section", { class: "panel" },
    element("p", { class: "headline" }, `${run.verdict}.`),
    run.boxes ? element("p", { class: "headline" }, `${run.boxes}.`) : null,
    element("p", { class: "hint" }, `${run.model}, trained in ${duration(run.seconds || 0)}`),
    away,
    element(
      "div", { class: "buttons" },
      linkButton("Open the report", `/run/${encodeURIComponent(run.name)}/report.html`, { target: "_blank", rel: "noopener" }),
      linkButton("Download the model", `/run/${encodeURIComponent(run.name)}/model.onnx`, { download: "" }),
      linkButton("Try it", url("/try", { run: run.name })),
    ),
  );
}

// --- the confusion matrix -------------------------------------------------------------------------

function confusion(run) {
  const panel = element("div", { class: "opened", hidden: "" });
  let pressed = null;
  const open = (cell, label, predicted) => attempt(async () => {
    pressed?.setAttribute("aria-pressed", "false");
    pressed = cell;
    cell.setAttribute("aria-pressed", "true");
    const title = label === predicted ? `${label}, and recognized` : `${label}, taken for ${predicted}`;
    await gallery(panel, run, title, { label, predicted });
  });
  const head = element("tr", {}, element("th", { scope: "col", class: "corner" }, "in fact / said"));
  for (const name of run.columns) head.append(element("th", { scope: "col", title: name }, element("span", {}, name)));
  const body = element("tbody", {});
  for (const row of run.rows) {
    const line = element("tr", {}, element("th", { scope: "row", title: row.label }, row.label));
    row.cells.forEach((cell, i) => line.append(matrixCell(cell, row.label, run.columns[i], open)));
    body.append(line);
  }
  const table = element("table", { class: run.columns.length > 12 ? "matrix dense" : "matrix" },
    element("caption", { class: "unseen" }, "Confusion matrix: a row for each true class, a column for each class that was said"),
    element("thead", {}, head), body);
  const chips = run.confusions.map((one) =>
    element("li", {}, button(`${one.label} taken for ${one.predicted}: ${one.count}`, (made) => open(made, one.label, one.predicted), { class: "small", "aria-pressed": "false" })));
  return section(
    "confusion", "Which classes it confuses",
    element("p", { class: "hint" }, "Each number opens its pictures. Right answers are on the diagonal."),
    chips.length ? element("ul", { class: "chips" }, ...chips) : null,
    element("div", { class: "scroll", tabindex: "0", role: "group", "aria-label": "Confusion matrix" }, table),
    panel,
  );
}

function matrixCell(cell, label, predicted, open) {
  if (!cell) return element("td", {});
  const words = cell.right ? `${label} recognized` : `${label} taken for ${predicted}`;
  const made = button(String(cell.count), () => open(made, label, predicted), {
    class: "cell", "aria-label": `${cell.count} of ${words}`, "aria-pressed": "false",
  });
  const holder = element("td", { class: cell.right ? "hit" : "miss" }, made);
  holder.style.setProperty("--h", cell.heat);
  return holder;
}

/** Pictures of a part of the answers, some at a time. */
async function gallery(panel, run, title, wanted) {
  const grid = element("div", { class: "gallery" });
  const heading = element("h3", { tabindex: "-1" }, title);
  const more = button("More", () => add());
  let shown = 0;
  const add = async () => {
    const found = await fetchJson("GET", url("/api/understand/pictures", { run: run.name, offset: shown, ...wanted }));
    grid.append(...found.pictures.map((one) => answerCard(run, one)));
    shown += found.pictures.length;
    heading.textContent = `${title}: ${found.total}`;
    more.hidden = shown >= found.total;
    return found.total;
  };
  const total = await add();
  panel.replaceChildren(heading, grid, more);
  panel.hidden = false;
  if (wanted.label !== undefined) heading.focus();
  return total;
}

function answerCard(run, one) {
  const shown = picture(one.path, run.own && one.there);
  const right = one.label === one.predicted;
  const caption = element(
    "figcaption", {},
    element("span", { class: "name" }, "is ", element("b", {}, one.label)),
    right ? null : element("span", { class: "name wrong" }, "said ", element("b", {}, one.predicted)),
    element("span", { class: "hint" }, `${percent(one.score)} sure${one.iou === null ? "" : `, box ${one.iou.toFixed(2)}`}`),
  );
  if (shown.tagName === "IMG") {
    const heat = () => url("/api/heat", { run: run.name, path: one.path, label: one.predicted });
    caption.append(heatToggle(shown, heat));
  }
  caption.append(element("span", { class: "path", title: one.path }, one.path));
  return element("figure", { class: "answer" }, element("div", { class: "frame" }, shown), caption);
}

function mistakes(run) {
  const panel = element("div", {});
  if (run.mistakes)
    attempt(() => gallery(panel, run, "Mistakes", { wrong: true }).then(() => panel.querySelector("h3")?.remove()));
  return section(
    "mistakes", "Its mistakes",
    element("p", { class: "hint" }, run.mistakes
      ? `${run.mistakes} of ${run.count} test pictures, those first of which it was most sure. Such a picture may be in the wrong class. In a heat map, what is brightest spoke most for what was said.`
      : "No test picture was answered wrongly."),
    panel,
  );
}

// --- wrong labels and copies ----------------------------------------------------------------------

function doubts(run) {
  const status = element("p", { class: "hint", role: "status" });
  const bar = element("progress", { max: "1", hidden: "", "aria-label": "Search for wrong labels" });
  const labels = element("div", { class: "gallery doubts" });
  const copies = element("div", { class: "gallery doubts" });
  const moved = element("ul", { class: "rows" });
  const view = { run, status, bar, labels, copies, moved, search: null };
  view.search = button("Look for wrong labels and copies", async () => {
    await fetchJson("POST", "/api/doubts", { run: run.name });
    await followDoubts(view);
  });
  attempt(() => followDoubts(view));
  return section(
    "doubts", "Wrong labels and copies in the folder",
    element("p", { class: "hint" }, "It asks of every picture of the folder whether its class fits. Nothing is changed before you press a button, and that can be undone."),
    element("div", { class: "buttons" }, view.search), bar, status, moved, labels, copies,
  );
}

async function followDoubts(view) {
  for (;;) {
    const found = await fetchJson("GET", "/api/doubts");
    showMoved(view, found.recent);
    const state = found.job ? found.job.state : "";
    view.bar.hidden = state !== "running";
    if (state === "running") {
      view.status.textContent = found.job.total ? `${found.job.done} of ${found.job.total} pictures` : "Looking ...";
      if (found.job.total) view.bar.value = found.job.done / found.job.total;
      await new Promise((later) => setTimeout(later, 400));
      continue;
    }
    if (state === "failed") view.status.textContent = found.job.error;
    else if (state === "done") showDoubts(view, found);
    return;
  }
}

function showDoubts(view, found) {
  const count = (n, one, many) => `${n || "No"} ${n === 1 ? one : many}`;
  const labels = count(found.labels.length, "label", "labels"), copies = count(found.copies.length, "copy", "copies");
  view.status.textContent = `${labels} in doubt. ${copies}.`;
  view.labels.replaceChildren(...found.labels.map((one) => doubtCard(view, one, found.classes)));
  view.copies.replaceChildren(...found.copies.map(copyCard));
}

function doubtCard(view, one, classes) {
  const shown = picture(one.path);
  const own = one.path.split("/").slice(-2)[0];
  const act = element("div", { class: "buttons" });
  const card = element(
    "figure", { class: "answer" },
    element("div", { class: "frame" }, shown),
    element("figcaption", {}, element("b", {}, one.path), element("span", { class: "hint" }, one.detail), act),
  );
  const move = (label) => async () => {
    const done = await fetchJson("POST", "/api/relabel", { path: one.path, label });
    card.remove();
    showMoved(view, done.recent);
    toast(`Moved to ${label}.`, { action: { name: "Undo", run: () => attempt(() => takeBack(view, done.undo)) } });
  };
  if (classes.includes(one.related)) {
    act.append(button(`Move to ${one.related}`, move(one.related), { class: "main small" }));
    const others = classes.filter((name) => name !== one.related && name !== own);
    if (others.length) {
      const select = choice("or to", [["", "another class"], ...others.map((name) => [name, name])], "", (label) => label && move(label)());
      act.append(select);
    }
  } else act.append(linkButton("Change it on the page Label", url("/label", { path: one.path }), { class: "button small" }));
  act.append(button("It is right", () => card.remove(), { class: "small" }));
  return card;
}

function showMoved(view, recent) {
  view.moved.replaceChildren(...recent.map((one) =>
    element("li", {}, element("span", {}, `${one.source} is now ${one.target}`),
      button("Undo", () => takeBack(view, one.id), { class: "small", "aria-label": `Undo: ${one.source}` }))));
}

async function takeBack(view, id) {
  await fetchJson("POST", "/api/relabel/undo", { id });
  toast("It is back in its old place.");
  await followDoubts(view);
}

function copyCard(one) {
  const act = element("div", { class: "buttons" });
  const card = element(
    "figure", { class: "answer pair" },
    element("div", { class: "frame" }, picture(one.path), picture(one.related)),
    element("figcaption", {}, element("b", {}, COPY_WORDS[one.kind]), element("span", { class: "path" }, `${one.path} and ${one.related}`), act),
  );
  for (const path of [one.path, one.related])
    act.append(button(path === one.path ? "Set the first aside" : "Set the second aside", async () => {
      const done = await fetchJson("POST", "/api/collect/aside", { paths: [path] });
      if (done.problems.length) throw new Error(done.problems[0].reason);
      card.remove();
      const back = () => attempt(() => fetchJson("POST", "/api/collect/undo", { moves: done.moves }));
      toast(`${path} is set aside; nothing was deleted.`, { action: { name: "Undo", run: back } });
    }, { class: "small", "aria-label": `Set ${path} aside` }));
  return card;
}

// --- scores ---------------------------------------------------------------------------------------

function calibration(run) {
  const [finding, ...rest] = run.calibration.sentences;
  const ece = run.calibration.ece === null ? null : element("p", { class: "hint" }, `Expected calibration error (ECE): ${percent(run.calibration.ece)}.`);
  return section(
    "calibration", "Can its scores be trusted?",
    element("p", { class: "finding" }, finding), rest.length ? element("p", {}, rest.join(" ")) : null, ece,
    run.calibration.chart ? drawing(run.calibration.chart, "Calibration diagram") : null,
    run.unknown.length ? element("h3", {}, "What it does not know") : null,
    ...run.unknown.map((text) => element("p", {}, text)),
  );
}

function learning(run) {
  return run.curves ? [section("curves", "How it learned", drawing(run.curves, "Learning curves"))] : [];
}

const runChoice = document.getElementById("run");
runChoice.addEventListener("change", () => attempt(showRun));
attempt(showRun);
