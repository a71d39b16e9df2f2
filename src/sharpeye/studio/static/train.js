// The page Train. The state is the server's: a reload, or a second tab, shows the same.
import { ask, attempt, button, choice, drawing, duration, linkButton, node, section, url } from "./work.js";

const TASKS = [
  ["classify", "What is in the picture", "One class for each picture."],
  ["localize", "What is in the picture, and where", "One class and one box for each picture."],
];
const WAYS = [
  ["quick", "Quick", "Seconds to a minute. It learns on top of a network that has seen many pictures already. Begin with this."],
  ["careful", "Careful", "Minutes. The same, with more views of each picture, and then the network itself learns on; that is kept only if it helps."],
  ["scratch", "From scratch", "Minutes to hours. Forgets everything that was known before: for thousands of pictures that look like no photographs."],
];
const TIMES = [
  ["0", "As long as it takes"], ["1", "About 1 minute"], ["5", "About 5 minutes"],
  ["15", "About 15 minutes"], ["60", "About 1 hour"], ["480", "Overnight (8 hours)"],
];

/** Three lines of the quick check, as soon as they are there. */
async function watchLook(list) {
  for (;;) {
    let found;
    try {
      found = await ask("POST", "/api/train/look");
    } catch (error) {
      found = { state: "failed", lines: [{ kind: "bad", text: error.message }] };
    }
    if (found.state !== "running") {
      const lines = found.lines.length ? found.lines : [{ kind: "note", text: "There are no pictures yet." }];
      list.replaceChildren(...lines.map((line) => node("li", { class: line.kind }, line.text)));
      if (!found.lines.length) list.append(node("li", {}, node("a", { href: "/collect" }, "Collect some")));
      return;
    }
    await new Promise((later) => setTimeout(later, 400));
  }
}

function showUnfinished(place, state, live) {
  const running = state.job && ["running", "stopping"].includes(state.job.state) ? state.job.run : "";
  const names = state.unfinished.filter((name) => name !== running);
  place.replaceChildren(...state.elsewhere.map((name) =>
    node("p", { class: "note" }, `${name} is being trained by another program on this machine, such as a command in a terminal.`)));
  if (!names.length) return;
  const items = names.map((name) =>
    node("li", {}, node("span", {}, name), goOn(name, live)),
  );
  place.append(section("unfinished", "Stopped, and kept", node("ul", { class: "rows" }, ...items)));
}

function goOn(name, live) {
  return button("Go on", async () => {
    await ask("POST", "/api/train/resume", { run: name });
    await live.update();
    live.focus();
  }, { "aria-label": `Go on with ${name}` });
}

/** The training that goes on, or that ended last. */
class Live {
  constructor() {
    this.title = node("h2", { id: "live", tabindex: "-1" });
    this.stage = node("p", { class: "stage", role: "status" });
    this.detail = node("p", { class: "hint" });
    this.bar = node("progress", { max: "1", "aria-labelledby": "live" });
    this.stop = button("Stop", () => ask("POST", "/api/train/stop"));
    this.buttons = node("div", { class: "buttons" });
    this.curves = node("div", {});
    this.said = node("ul", { class: "said" });
    this.more = node("details", {}, node("summary", {}, "What it says"), this.said);
    this.place = node(
      "section", { class: "panel live", "aria-labelledby": "live", hidden: "" },
      this.title, this.stage, this.bar, this.detail, this.buttons, this.curves, this.more,
    );
    this.last = "";
    this.onEnd = async () => {};
  }

  begin() {
    const again = async () => {
      if (!document.hidden) await this.update().catch(() => {});
      setTimeout(again, this.busy ? 600 : 3000);
    };
    setTimeout(again, 600);
  }

  async update() {
    this.show(await ask("GET", "/api/train/job"));
  }

  focus() {
    this.title.focus();
    this.place.scrollIntoView({ block: "start" });
  }

  show({ job }) {
    this.place.hidden = !job;
    this.busy = Boolean(job) && ["running", "stopping"].includes(job.state);
    if (!job) return;
    const key = `${job.run} ${job.state} ${job.began}`;
    if (key !== this.last) {
      const ended = this.last.startsWith(`${job.run} `) && !this.busy;
      this.last = key;
      this.change(job);
      if (ended) attempt(() => this.onEnd());
    }
    if (this.busy) this.tick(job);
    if (job.curves !== this.drawn) {
      this.drawn = job.curves;
      this.curves.replaceChildren(...(job.curves ? [drawing(job.curves, "Learning curves")] : []));
    }
    this.more.hidden = !job.messages.length;
    this.said.replaceChildren(...job.messages.map((text) => node("li", {}, text)));
  }

  /** What differs between the states. */
  change(job) {
    const titles = { running: "Training", stopping: "Stopping", done: "Trained", stopped: "Stopped", failed: "It did not work" };
    this.title.textContent = `${titles[job.state]}: ${job.run}`;
    this.place.dataset.state = job.state;
    this.bar.hidden = !this.busy;
    this.buttons.replaceChildren();
    this.detail.textContent = "";
    if (this.busy) this.buttons.append(this.stop);
    else if (job.state === "done") {
      this.stage.textContent = [job.headline.verdict, job.headline.boxes].filter(Boolean).join(". ") + ".";
      this.detail.textContent = `It took ${duration(job.seconds)}.`;
      this.buttons.append(
        linkButton("Understand it", url("/understand", { run: job.run }), { class: "button main" }),
        linkButton("Try it", url("/try", { run: job.run }), { class: "button main" }),
      );
      if (job.headline.report)
        this.buttons.append(linkButton("Open the report", `/run/${encodeURIComponent(job.run)}/report.html`, { target: "_blank", rel: "noopener" }));
    } else if (job.state === "stopped") {
      this.stage.textContent = job.resumable
        ? "What it has learned so far is kept."
        : "Nothing had to be kept: it will be quick to train again.";
      if (job.resumable) this.buttons.append(goOn(job.run, this));
    } else {
      this.stage.textContent = job.error;
      if (job.resumable) this.buttons.append(goOn(job.run, this));
    }
  }

  tick(job) {
    const stage = job.state === "stopping" ? "Stopping as soon as it can be kept" : job.stage;
    if (this.stage.textContent !== stage) this.stage.textContent = stage;
    if (job.share !== null) this.bar.value = job.share;
    else this.bar.removeAttribute("value");
    const parts = [];
    if (job.total > 0) parts.push(`${job.done} of ${job.total}`);
    else if (job.done > 0) parts.push(`round ${job.done} over all pictures`);
    if (job.left !== null && job.left > 0) parts.push(`about ${duration(job.left)} left in this step`);
    parts.push(`${duration(job.seconds)} so far`);
    this.detail.textContent = parts.join(", ");
  }
}

/** What is wished for. */
class Form {
  constructor(onStart) {
    this.task = radios("task", "What should it learn?", TASKS, "classify");
    this.way = radios("way", "How?", WAYS, "quick");
    this.minutes = choice("Time", TIMES, "0", () => {});
    this.name = node("input", { type: "text", maxlength: "80", placeholder: "chosen for you" });
    this.knobs = node("div", { class: "knobs" });
    this.changed = new Map();
    const more = node(
      "details", {}, node("summary", {}, "More settings"),
      node("label", { class: "choice" }, node("span", {}, "Name of the run"), this.name), this.knobs,
    );
    more.addEventListener("toggle", () => attempt(() => this.addKnobs()), { once: true });
    this.command = node("p", { class: "hint" });
    this.start = button("Start training", async () => {
      const begun = await ask("POST", "/api/train", this.wish());
      this.command.replaceChildren("The same on the command line: ", node("code", {}, begun.command));
      await onStart();
      document.getElementById("live").focus();
    }, { class: "main" });
    this.place = node("div", { class: "form" }, this.task, this.way, this.minutes, more, node("div", { class: "buttons" }, this.start), this.command);
    const adapt = () => {
      this.minutes.hidden = this.way.value() === "quick";
      if (this.way.value() === "scratch" && this.minutes.select.value === "0") this.minutes.select.value = "5";
    };
    this.way.addEventListener("change", adapt);
    adapt();
  }

  fill(data) {
    const where = this.task.querySelector('[value="localize"]');
    const what = this.task.querySelector('[value="classify"]');
    where.disabled = !data.annotated;
    where.closest("label").querySelector(".hint").textContent = data.annotated
      ? `${data.annotated} of ${data.pictures} pictures have boxes.`
      : "This needs pictures with boxes: draw some on the page Label.";
    what.disabled = !data.classes.length && !data.annotated;
    if (!data.classes.length && data.annotated) where.checked = true;
  }

  wish() {
    return {
      task: this.task.value(),
      way: this.way.value(),
      minutes: Number(this.minutes.select.value),
      name: this.name.value,
      knobs: Object.fromEntries(this.changed),
    };
  }

  async addKnobs() {
    const groups = new Map();
    for (const knob of await ask("GET", "/api/train/knobs")) {
      const [first, rest] = knob.key.split(".");
      const group = rest ? first : "general";
      if (!groups.has(group)) groups.set(group, []);
      groups.get(group).push(this.knob(knob));
    }
    for (const [name, fields] of groups)
      this.knobs.append(node("details", {}, node("summary", {}, name), ...fields));
  }

  knob(knob) {
    const id = `knob-${knob.key}`;
    const about = { id, "aria-describedby": `${id}-help` };
    let field;
    if (knob.kind === "bool") field = node("input", { ...about, type: "checkbox", checked: knob.default ? "" : null });
    else if (knob.choices.length)
      field = node("select", about, ...knob.choices.map((each) => node("option", { value: each, selected: each === knob.default ? "" : null }, each)));
    else if (knob.kind === "str") field = node("input", { ...about, type: "text", value: knob.default });
    else field = node("input", { ...about, type: "number", step: knob.kind === "int" ? "1" : "any", min: knob.low, max: knob.high, value: knob.default });
    field.addEventListener("change", () => {
      const value = knob.kind === "bool" ? field.checked : ["int", "float"].includes(knob.kind) ? Number(field.value) : field.value;
      if (value === knob.default || field.value === "" && knob.kind !== "str") this.changed.delete(knob.key);
      else this.changed.set(knob.key, value);
    });
    return node("div", { class: "knob" }, node("label", { for: id }, knob.key), field, node("p", { class: "hint", id: `${id}-help` }, knob.help));
  }
}

function radios(name, legend, options, value) {
  const items = options.map(([key, text, hint]) =>
    node(
      "label", { class: "option" },
      node("input", { type: "radio", name, value: key, checked: key === value ? "" : null }),
      node("span", {}, node("b", {}, text), node("span", { class: "hint" }, hint)),
    ),
  );
  const made = node("fieldset", {}, node("legend", {}, legend), ...items);
  made.value = () => made.querySelector("input:checked").value;
  return made;
}

window.studio.ready("train-place", async (place) => {
  const live = new Live();
  const look = node("ul", { class: "lines", "aria-live": "polite" }, node("li", {}, "Looking at your pictures ..."));
  const unfinished = node("div", {});
  const form = new Form(() => live.update());
  place.append(
    live.place,
    section("look", "Your pictures", look),
    unfinished,
    section("choose", "Choose", form.place),
  );
  await attempt(async () => {
    const state = await ask("GET", "/api/train");
    form.fill(state.data);
    showUnfinished(unfinished, state, live);
    live.onEnd = async () => showUnfinished(unfinished, await ask("GET", "/api/train"), live);
    live.show(state);
  });
  live.begin();
  watchLook(look);
});
