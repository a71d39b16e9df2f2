// The page Try: drop, paste, photograph or choose a picture; one run answers, or two.
import {
  ask, attempt, button, choice, finishedRuns, heatToggle, node, nothingTrained, percent, remember,
  runText, section, thumb, url, wantedRun,
} from "./work.js";

const PAGE = 24;

class Trial {
  constructor(runs) {
    this.runs = runs;
    this.names = [(wantedRun(runs) || runs[0]).name, wantedRun(runs, "with")?.name || ""];
    this.source = null; // { body, path, name }
    this.turn = 0;
    this.answers = node("div", { class: "answers" });
    const options = runs.map((run) => [run.name, runText(run)]);
    this.place = node(
      "div", {},
      node(
        "div", { class: "choices" },
        choice("Run", options, this.names[0], (name) => this.choose(0, name)),
        choice("Compare with", [["", "nothing"], ...options], this.names[1], (name) => this.choose(1, name)),
      ),
      this.drop(), this.answers, section("folder", "Or one of your pictures", this.folder()),
    );
    this.listen();
  }

  choose(place, name) {
    this.names[place] = name;
    remember(place ? "with" : "run", name);
    return this.again();
  }

  again() {
    return this.source ? this.ask(this.source) : undefined;
  }

  /** Ask the chosen runs about a picture; a later picture wins over an earlier one. */
  async ask(source) {
    this.source = source;
    const turn = ++this.turn;
    const names = this.names.filter(Boolean);
    const found = await Promise.all(names.map((run) =>
      ask("POST", url("/api/try", { run, path: source.path, name: source.name }), undefined, { body: source.body })
        .catch((error) => ({ run, error: error.message }))));
    if (turn !== this.turn) return;
    this.answers.replaceChildren(...found.map((one) => answerCard(one, source)));
  }

  file(file) {
    if (file) attempt(() => this.ask({ body: file, name: file.name || "the picture" }));
  }

  drop() {
    const input = node("input", { type: "file", accept: "image/*,.bmp,.tif,.tiff", id: "try-file" });
    input.addEventListener("change", () => this.file(input.files[0]));
    this.zone = node(
      "div", { class: "dropzone" },
      node("label", { for: "try-file" }, "Drop a picture here, paste one, or choose a file"), input,
      new Camera(this).place,
    );
    return this.zone;
  }

  listen() {
    document.addEventListener("dragover", (event) => {
      event.preventDefault();
      this.zone.classList.add("over");
    });
    document.addEventListener("dragleave", () => this.zone.classList.remove("over"));
    document.addEventListener("drop", (event) => {
      event.preventDefault();
      this.zone.classList.remove("over");
      this.file(event.dataTransfer.files[0]);
    });
    document.addEventListener("paste", (event) => {
      const file = [...event.clipboardData.files].find((one) => one.type.startsWith("image/"));
      if (file) this.file(file);
    });
  }

  /** Pictures of the folder, some at a time. */
  folder() {
    const grid = node("div", { class: "thumbs" });
    let shown = 0;
    const more = button("Show some", () => add());
    const add = async () => {
      const found = await ask("GET", url("/api/try/pictures", { offset: shown, count: PAGE }));
      for (const path of found.paths) {
        const image = node("img", { src: thumb(path, "1", 128), alt: path, loading: "lazy" });
        const made = button("", () => this.ask({ path, name: path }).then(() => this.answers.scrollIntoView({ block: "nearest" })), { class: "thumb", title: path });
        made.append(image);
        grid.append(made);
      }
      shown += found.paths.length;
      more.textContent = `More (${found.total - shown})`;
      more.hidden = shown >= found.total;
    };
    return node("div", {}, grid, more);
  }
}

function answerCard(found, source) {
  if (found.error)
    return node("section", { class: "panel reply", "aria-label": found.run }, node("h2", {}, found.run), node("p", { class: "bad", role: "alert" }, found.error));
  const image = node("img", { src: found.picture, alt: source.name });
  const stage = node("div", { class: "stage-picture" }, image);
  if (found.box) stage.append(boxOver(found.box));
  const heat = heatToggle(image, async () =>
    (await ask("POST", url("/api/try/heat", { run: found.run, path: source.path, label: found.label }), undefined, { body: source.body })).picture);
  const bars = found.top.map((one) =>
    node("li", {}, node("span", { class: "label", title: one.label }, one.label), meter(one.score), node("span", { class: "share" }, percent(one.score))));
  return node(
    "section", { class: `panel reply${found.unknown ? " unknown" : ""}`, "aria-label": `Answer of ${found.run}` },
    node("h2", {}, found.run),
    node("p", { class: "finding", role: "status" }, found.sentence),
    stage,
    node("div", { class: "buttons" }, heat, node("span", { class: "hint" }, "what is brightest speaks most for the answer")),
    node("ul", { class: "bars" }, ...bars),
    node("p", { class: "path" }, source.name),
  );
}

function meter(score) {
  const fill = node("i", {});
  fill.style.width = `${100 * score}%`;
  return node("span", { class: "meter", "aria-hidden": "true" }, fill);
}

/** A frame over the picture, in shares of it. */
function boxOver([left, top, right, bottom]) {
  const frame = node("span", { class: "box", role: "img", "aria-label": "where it is" });
  Object.assign(frame.style, {
    left: `${100 * left}%`, top: `${100 * top}%`, width: `${100 * (right - left)}%`, height: `${100 * (bottom - top)}%`,
  });
  return frame;
}

/** The webcam: a picture at a press, or one after the other. */
class Camera {
  constructor(trial) {
    this.trial = trial;
    this.video = node("video", { muted: "", playsinline: "", hidden: "", "aria-label": "Webcam" });
    this.shoot = button("Ask about this", () => this.take(), { class: "main", hidden: "" });
    this.live = node("input", { type: "checkbox" });
    this.always = node("label", { class: "check", hidden: "" }, this.live, " all the time");
    this.live.addEventListener("change", () => this.loop());
    this.toggle = button("Use the webcam", () => (this.stream ? this.end() : this.begin()));
    this.place = node("div", { class: "camera" }, this.video, node("div", { class: "buttons" }, this.toggle, this.shoot, this.always));
  }

  async begin() {
    if (!navigator.mediaDevices)
      throw new Error("The browser gives the webcam to pages of this machine only (localhost), or over HTTPS.");
    this.stream = await navigator.mediaDevices.getUserMedia({ video: true }).catch((error) => {
      throw new Error(`There is no webcam to use: ${error.message}`);
    });
    this.video.srcObject = this.stream;
    await this.video.play();
    this.show(true);
  }

  end() {
    this.stream?.getTracks().forEach((track) => track.stop());
    this.stream = null;
    this.live.checked = false;
    this.show(false);
  }

  show(on) {
    for (const part of [this.video, this.shoot, this.always]) part.hidden = !on;
    this.toggle.textContent = on ? "Close the webcam" : "Use the webcam";
  }

  async take() {
    const canvas = node("canvas", { width: this.video.videoWidth, height: this.video.videoHeight });
    canvas.getContext("2d").drawImage(this.video, 0, 0);
    const body = await new Promise((done) => canvas.toBlob(done, "image/jpeg", 0.9));
    await this.trial.ask({ body, name: "webcam" });
  }

  async loop() {
    while (this.live.checked && this.stream) {
      if (!document.hidden) await attempt(() => this.take());
      await new Promise((later) => setTimeout(later, 150));
    }
  }
}

window.studio.ready("try-place", (place) => attempt(async () => {
  const runs = await finishedRuns();
  if (!runs.length) return nothingTrained(place, "try");
  place.append(new Trial(runs).place);
  return undefined;
}));
