// The page Understand: the mistakes of a run, and their possible reasons in the images.
import {
  attempt, button, choice, drawing, duration, folderImage, heatToggle, linkButton, percent, section,
  setQueryParameter,
} from "./widgets.js";
import { element, fetchJson, toast, url } from "./studio.js";

const COPY_WORDS = {
  exact_duplicate: "the same file twice",
  near_duplicate: "nearly the same",
  label_conflict: "the same picture in two classes",
  leak: "the same picture in two splits",
};

async function showRun() {
  const name = runChoice.value;
  const results = document.getElementById("results");
  setQueryParameter("run", name);
  results.replaceChildren(element("p", { class: "hint", role: "status" }, "Reading the run ..."));
  const run = await fetchJson("GET", url("/api/understand", { run: name }));
  results.replaceChildren(
    headlineSection(run), confusionSection(run), mistakeSection(run), issueSection(run),
    calibrationSection(run), ...learningSection(run),
  );
}

function headlineSection(run) {
  const folderNote = run.own ? null : element(
    "p", { class: "note" },
    `It was trained on another folder (${run.folder}), whose pictures are not shown here; its report has some.`,
  );
  return element(
    "section", { class: "panel" },
    element("p", { class: "headline" }, `${run.verdict}.`),
    run.boxes ? element("p", { class: "headline" }, `${run.boxes}.`) : null,
    element("p", { class: "hint" }, `${run.model}, trained in ${duration(run.seconds || 0)}`),
    folderNote,
    element(
      "div", { class: "buttons" },
      linkButton("Open the report", `/run/${encodeURIComponent(run.name)}/report.html`, { target: "_blank", rel: "noopener" }),
      linkButton("Download the model", `/run/${encodeURIComponent(run.name)}/model.onnx`, { download: "" }),
      linkButton("Try it", url("/try", { run: run.name })),
    ),
  );
}

// --- the confusion matrix -------------------------------------------------------------------------

function confusionSection(run) {
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
    element("caption", { class: "visually-hidden" }, "Confusion matrix: a row for each true class, a column for each class that was said"),
    element("thead", {}, head), body);
  const chips = run.confusions.map((pair) =>
    element("li", {}, button(`${pair.label} taken for ${pair.predicted}: ${pair.count}`, (pressedButton) => open(pressedButton, pair.label, pair.predicted), { class: "small", "aria-pressed": "false" })));
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
  const cellButton = button(String(cell.count), () => open(cellButton, label, predicted), {
    class: "cell", "aria-label": `${cell.count} of ${words}`, "aria-pressed": "false",
  });
  const holder = element("td", { class: cell.right ? "hit" : "miss" }, cellButton);
  holder.style.setProperty("--h", cell.heat);
  return holder;
}

/** Show the images of some of the predictions, page by page. */
async function gallery(panel, run, title, query) {
  const grid = element("div", { class: "gallery" });
  const heading = element("h3", { tabindex: "-1" }, title);
  const more = button("More", () => add());
  let shown = 0;
  const add = async () => {
    const response = await fetchJson("GET", url("/api/understand/pictures", { run: run.name, offset: shown, ...query }));
    grid.append(...response.pictures.map((prediction) => predictionCard(run, prediction)));
    shown += response.pictures.length;
    heading.textContent = `${title}: ${response.total}`;
    more.hidden = shown >= response.total;
    return response.total;
  };
  const total = await add();
  panel.replaceChildren(heading, grid, more);
  panel.hidden = false;
  if (query.label !== undefined) heading.focus();
  return total;
}

function predictionCard(run, prediction) {
  const image = folderImage(prediction.path, run.own && prediction.there);
  const right = prediction.label === prediction.predicted;
  const caption = element(
    "figcaption", {},
    element("span", { class: "name" }, "is ", element("b", {}, prediction.label)),
    right ? null : element("span", { class: "name wrong" }, "said ", element("b", {}, prediction.predicted)),
    element("span", { class: "hint" }, `${percent(prediction.score)} sure${prediction.iou === null ? "" : `, box ${prediction.iou.toFixed(2)}`}`),
  );
  if (image.tagName === "IMG") {
    const heat = () => url("/api/heat", { run: run.name, path: prediction.path, label: prediction.predicted });
    caption.append(heatToggle(image, heat));
  }
  caption.append(element("span", { class: "path", title: prediction.path }, prediction.path));
  return element("figure", { class: "image-card" }, element("div", { class: "frame" }, image), caption);
}

function mistakeSection(run) {
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

function issueSection(run) {
  const status = element("p", { class: "hint", role: "status" });
  const bar = element("progress", { max: "1", hidden: "", "aria-label": "Search for wrong labels" });
  const labels = element("div", { class: "gallery issues" });
  const copies = element("div", { class: "gallery issues" });
  const moved = element("ul", { class: "rows" });
  const view = { run, status, bar, labels, copies, moved, search: null };
  view.search = button("Look for wrong labels and copies", async () => {
    await fetchJson("POST", "/api/doubts", { run: run.name });
    await followIssues(view);
  });
  attempt(() => followIssues(view));
  return section(
    "issues", "Wrong labels and copies in the folder",
    element("p", { class: "hint" }, "It asks of every picture of the folder whether its class fits. Nothing is changed before you press a button, and that can be undone."),
    element("div", { class: "buttons" }, view.search), bar, status, moved, labels, copies,
  );
}

async function followIssues(view) {
  for (;;) {
    const response = await fetchJson("GET", "/api/doubts");
    showMoves(view, response.recent);
    const state = response.job ? response.job.state : "";
    view.bar.hidden = state !== "running";
    if (state === "running") {
      view.status.textContent = response.job.total ? `${response.job.done} of ${response.job.total} pictures` : "Looking ...";
      if (response.job.total) view.bar.value = response.job.done / response.job.total;
      await new Promise((resolve) => setTimeout(resolve, 400));
      continue;
    }
    if (state === "failed") view.status.textContent = response.job.error;
    else if (state === "done") showIssues(view, response);
    return;
  }
}

function showIssues(view, response) {
  const count = (n, singular, plural) => `${n || "No"} ${n === 1 ? singular : plural}`;
  const labels = count(response.labels.length, "label", "labels"), copies = count(response.copies.length, "copy", "copies");
  view.status.textContent = `${labels} in doubt. ${copies}.`;
  view.labels.replaceChildren(...response.labels.map((issue) => issueCard(view, issue, response.classes)));
  view.copies.replaceChildren(...response.copies.map(copyCard));
}

function issueCard(view, issue, classes) {
  const image = folderImage(issue.path);
  const own = issue.path.split("/").slice(-2)[0];
  const buttons = element("div", { class: "buttons" });
  const card = element(
    "figure", { class: "image-card" },
    element("div", { class: "frame" }, image),
    element("figcaption", {}, element("b", {}, issue.path), element("span", { class: "hint" }, issue.detail), buttons),
  );
  const move = (label) => async () => {
    const response = await fetchJson("POST", "/api/relabel", { path: issue.path, label });
    card.remove();
    showMoves(view, response.recent);
    toast(`Moved to ${label}.`, { action: { name: "Undo", run: () => attempt(() => undoRelabel(view, response.undo)) } });
  };
  if (classes.includes(issue.related)) {
    buttons.append(button(`Move to ${issue.related}`, move(issue.related), { class: "main small" }));
    const others = classes.filter((name) => name !== issue.related && name !== own);
    if (others.length) {
      const select = choice("or to", [["", "another class"], ...others.map((name) => [name, name])], "", (label) => label && move(label)());
      buttons.append(select);
    }
  } else buttons.append(linkButton("Change it on the page Label", url("/label", { path: issue.path }), { class: "button small" }));
  buttons.append(button("It is right", () => card.remove(), { class: "small" }));
  return card;
}

function showMoves(view, recent) {
  view.moved.replaceChildren(...recent.map((move) =>
    element("li", {}, element("span", {}, `${move.source} is now ${move.target}`),
      button("Undo", () => undoRelabel(view, move.id), { class: "small", "aria-label": `Undo: ${move.source}` }))));
}

async function undoRelabel(view, id) {
  await fetchJson("POST", "/api/relabel/undo", { id });
  toast("It is back in its old place.");
  await followIssues(view);
}

function copyCard(pair) {
  const buttons = element("div", { class: "buttons" });
  const card = element(
    "figure", { class: "image-card pair" },
    element("div", { class: "frame" }, folderImage(pair.path), folderImage(pair.related)),
    element("figcaption", {}, element("b", {}, COPY_WORDS[pair.kind]), element("span", { class: "path" }, `${pair.path} and ${pair.related}`), buttons),
  );
  for (const path of [pair.path, pair.related])
    buttons.append(button(path === pair.path ? "Set the first aside" : "Set the second aside", async () => {
      const response = await fetchJson("POST", "/api/collect/aside", { paths: [path] });
      if (response.problems.length) throw new Error(response.problems[0].reason);
      card.remove();
      const undo = () => attempt(() => fetchJson("POST", "/api/collect/undo", { moves: response.moves }));
      toast(`${path} is set aside; nothing was deleted.`, { action: { name: "Undo", run: undo } });
    }, { class: "small", "aria-label": `Set ${path} aside` }));
  return card;
}

// --- scores ---------------------------------------------------------------------------------------

function calibrationSection(run) {
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

function learningSection(run) {
  return run.curves ? [section("curves", "How it learned", drawing(run.curves, "Learning curves"))] : [];
}

const runChoice = document.getElementById("run");
runChoice.addEventListener("change", () => attempt(showRun));
attempt(showRun);
