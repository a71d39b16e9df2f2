// The page Train. The server holds the state: a reload or a second tab shows the same.
import { attempt, button, drawing, duration, linkButton, onPress, section } from "./widgets.js";
import { element, fetchJson, url } from "./studio.js";

const BUSY_MS = 600;
const IDLE_MS = 3000;
const CHECK_MS = 400;
const TITLES = {
  running: "Training",
  stopping: "Stopping",
  done: "Trained",
  stopped: "Stopped",
  failed: "It did not work",
};
const $ = (id) => document.getElementById(id);
const isBusy = (job) => Boolean(job) && ["running", "stopping"].includes(job.state);
const chosen = (name) => document.querySelector(`input[name="${name}"]:checked`).value;

/** Show the lines of the quick check as soon as the server has them. */
async function showQuickCheck() {
  for (;;) {
    let result;
    try {
      result = await fetchJson("POST", "/api/train/look");
    } catch (error) {
      result = { state: "failed", lines: [{ kind: "bad", text: error.message }] };
    }
    if (result.state !== "running") {
      const empty = !result.lines.length;
      const lines = empty ? [{ kind: "note", text: "There are no pictures yet." }] : result.lines;
      $("check").replaceChildren(...lines.map((line) => element("li", { class: line.kind }, line.text)));
      if (empty) $("check").append(element("li", {}, element("a", { href: "/collect" }, "Collect some")));
      return;
    }
    await new Promise((resolve) => setTimeout(resolve, CHECK_MS));
  }
}

// --- the training that runs, or the last one ------------------------------------------------------

const displayed = { key: "", curves: undefined, busy: false };
const stopButton = button("Stop", () => fetchJson("POST", "/api/train/stop"));

async function updateJob() {
  showJob((await fetchJson("GET", "/api/train/job")).job);
}

function focusJob() {
  $("live").focus();
  $("job").scrollIntoView({ block: "start" });
}

function showJob(job) {
  $("job").hidden = !job;
  displayed.busy = isBusy(job);
  if (!job) return;
  const key = `${job.run} ${job.state} ${job.began}`;
  if (key !== displayed.key) {
    const ended = displayed.key.startsWith(`${job.run} `) && !displayed.busy;
    displayed.key = key;
    showState(job);
    if (ended) attempt(async () => showUnfinished(await fetchJson("GET", "/api/train")));
  }
  if (displayed.busy) showProgress(job);
  if (job.curves !== displayed.curves) {
    displayed.curves = job.curves;
    $("curves").replaceChildren(...(job.curves ? [drawing(job.curves, "Learning curves")] : []));
  }
  $("output").hidden = !job.messages.length;
  $("messages").replaceChildren(...job.messages.map((text) => element("li", {}, text)));
}

/** Show the parts of the panel that depend on the job's state. */
function showState(job) {
  $("live").textContent = `${TITLES[job.state]}: ${job.run}`;
  $("job").dataset.state = job.state;
  $("bar").hidden = !displayed.busy;
  $("detail").textContent = "";
  $("actions").replaceChildren();
  if (displayed.busy) $("actions").append(stopButton);
  else if (job.state === "done") showResult(job);
  else {
    const stopped = job.resumable
      ? "What it has learned so far is kept."
      : "Nothing had to be kept: it will be quick to train again.";
    $("stage").textContent = job.state === "stopped" ? stopped : job.error;
    if (job.resumable) $("actions").append(resumeButton(job.run));
  }
}

function showResult(job) {
  $("stage").textContent = `${[job.headline.verdict, job.headline.boxes].filter(Boolean).join(". ")}.`;
  $("detail").textContent = `It took ${duration(job.seconds)}.`;
  $("actions").append(
    linkButton("Understand it", url("/understand", { run: job.run }), { class: "button main" }),
    linkButton("Try it", url("/try", { run: job.run }), { class: "button main" }),
  );
  const report = `/run/${encodeURIComponent(job.run)}/report.html`;
  if (job.headline.report)
    $("actions").append(linkButton("Open the report", report, { target: "_blank", rel: "noopener" }));
}

function showProgress(job) {
  const stage = job.state === "stopping" ? "Stopping as soon as it can be kept" : job.stage;
  if ($("stage").textContent !== stage) $("stage").textContent = stage;
  if (job.share !== null) $("bar").value = job.share;
  else $("bar").removeAttribute("value");
  const parts = [];
  if (job.total > 0) parts.push(`${job.done} of ${job.total}`);
  else if (job.done > 0) parts.push(`round ${job.done} over all pictures`);
  if (job.left !== null && job.left > 0) parts.push(`about ${duration(job.left)} left in this step`);
  parts.push(`${duration(job.seconds)} so far`);
  $("detail").textContent = parts.join(", ");
}

function resumeButton(name) {
  return button("Go on", async () => {
    await fetchJson("POST", "/api/train/resume", { run: name });
    await updateJob();
    focusJob();
  }, { "aria-label": `Go on with ${name}` });
}

function showUnfinished(state) {
  const running = isBusy(state.job) ? state.job.run : "";
  const names = state.unfinished.filter((name) => name !== running);
  $("unfinished-runs").replaceChildren(...state.elsewhere.map((name) =>
    element("p", { class: "note" }, `${name} is being trained by another program on this machine, such as a command in a terminal.`)));
  if (!names.length) return;
  const items = names.map((name) => element("li", {}, element("span", {}, name), resumeButton(name)));
  $("unfinished-runs").append(section("unfinished", "Stopped, and kept", element("ul", { class: "rows" }, ...items)));
}

// --- the form -------------------------------------------------------------------------------------

const changedKnobs = new Map();

/** Enable localization only if there are images with boxes. */
function adaptTasks(data) {
  const localizeInput = document.querySelector('[value="localize"]');
  const classifyInput = document.querySelector('[value="classify"]');
  localizeInput.disabled = !data.annotated;
  localizeInput.closest("label").querySelector(".hint").textContent = data.annotated
    ? `${data.annotated} of ${data.pictures} pictures have boxes.`
    : "This needs pictures with boxes: draw some on the page Label.";
  classifyInput.disabled = !data.classes.length && !data.annotated;
  if (!data.classes.length && data.annotated) localizeInput.checked = true;
}

function adaptTime() {
  $("minutes").parentElement.hidden = chosen("way") === "quick";
  if (chosen("way") === "scratch" && $("minutes").value === "0") $("minutes").value = "5";
}

async function startTraining() {
  const response = await fetchJson("POST", "/api/train", {
    task: chosen("task"),
    way: chosen("way"),
    minutes: Number($("minutes").value),
    name: $("name").value,
    knobs: Object.fromEntries(changedKnobs),
  });
  $("command").replaceChildren("The same on the command line: ", element("code", {}, response.command));
  await updateJob();
  $("live").focus();
}

async function addKnobs() {
  const groups = new Map();
  for (const knob of await fetchJson("GET", "/api/train/knobs")) {
    const [first, rest] = knob.key.split(".");
    const group = rest ? first : "general";
    if (!groups.has(group)) groups.set(group, []);
    groups.get(group).push(knobRow(knob));
  }
  for (const [name, rows] of groups)
    $("knobs").append(element("details", {}, element("summary", {}, name), ...rows));
}

function knobRow(knob) {
  const id = `knob-${knob.key}`;
  const field = knobField(knob, { id, "aria-describedby": `${id}-help` });
  field.addEventListener("change", () => {
    const value = knob.kind === "bool" ? field.checked : ["int", "float"].includes(knob.kind) ? Number(field.value) : field.value;
    if (value === knob.default || field.value === "" && knob.kind !== "str") changedKnobs.delete(knob.key);
    else changedKnobs.set(knob.key, value);
  });
  return element("div", { class: "knob" }, element("label", { for: id }, knob.key), field, element("p", { class: "hint", id: `${id}-help` }, knob.help));
}

function knobField(knob, attributes) {
  if (knob.kind === "bool") return element("input", { ...attributes, type: "checkbox", checked: knob.default ? "" : null });
  if (knob.choices.length)
    return element("select", attributes, ...knob.choices.map((name) => element("option", { value: name, selected: name === knob.default ? "" : null }, name)));
  if (knob.kind === "str") return element("input", { ...attributes, type: "text", value: knob.default });
  const step = knob.kind === "int" ? "1" : "any";
  return element("input", { ...attributes, type: "number", step, min: knob.low, max: knob.high, value: knob.default });
}

// --- the start ------------------------------------------------------------------------------------

function followJob() {
  setTimeout(async () => {
    if (!document.hidden) await updateJob().catch(() => {});
    followJob();
  }, displayed.busy ? BUSY_MS : IDLE_MS);
}

$("way").addEventListener("change", adaptTime);
adaptTime();
$("more").addEventListener("toggle", () => attempt(addKnobs), { once: true });
onPress($("start"), startTraining);
showQuickCheck();
await attempt(async () => {
  const state = await fetchJson("GET", "/api/train");
  adaptTasks(state.data);
  showUnfinished(state);
  showJob(state.job);
});
followJob();
