// The page Try: drop, paste, photograph or choose a picture; one run answers, or two.
import { attempt, button, heatToggle, percent, remember, whenPressed } from "./widgets.js";
import { element, fetchJson, thumb, url } from "./studio.js";

const PAGE = 24; // pictures
const CAMERA_PAUSE_MS = 150;
const $ = (id) => document.getElementById(id);

// --- predictions ----------------------------------------------------------------------------------

let current = null; // { body, path, name } of the picture
let requests = 0;

/** Ask the chosen runs about a picture; a later picture wins over an earlier one. */
async function predict(source) {
  current = source;
  const request = ++requests;
  const names = [$("run").value, $("with").value].filter(Boolean);
  const predictions = await Promise.all(names.map((run) =>
    fetchJson("POST", url("/api/try", { run, path: source.path, name: source.name }), undefined, { body: source.body })
      .catch((error) => ({ run, error: error.message }))));
  if (request !== requests) return;
  $("answers").replaceChildren(...predictions.map((prediction) => predictionCard(prediction, source)));
}

function predictFile(file) {
  if (file) attempt(() => predict({ body: file, name: file.name || "the picture" }));
}

function predictionCard(prediction, source) {
  if (prediction.error)
    return element("section", { class: "panel reply", "aria-label": prediction.run }, element("h2", {}, prediction.run), element("p", { class: "bad", role: "alert" }, prediction.error));
  const image = element("img", { src: prediction.picture, alt: source.name });
  const stage = element("div", { class: "stage-picture" }, image);
  if (prediction.box) stage.append(boxOver(prediction.box));
  const heat = heatToggle(image, async () =>
    (await fetchJson("POST", url("/api/try/heat", { run: prediction.run, path: source.path, label: prediction.label }), undefined, { body: source.body })).picture);
  const bars = prediction.top.map(({ label, score }) =>
    element("li", {}, element("span", { class: "label", title: label }, label), meter(score), element("span", { class: "share" }, percent(score))));
  return element(
    "section", { class: `panel reply${prediction.unknown ? " unknown" : ""}`, "aria-label": `Answer of ${prediction.run}` },
    element("h2", {}, prediction.run),
    element("p", { class: "finding", role: "status" }, prediction.sentence),
    stage,
    element("div", { class: "buttons" }, heat, element("span", { class: "hint" }, "what is brightest speaks most for the answer")),
    element("ul", { class: "bars" }, ...bars),
    element("p", { class: "path" }, source.name),
  );
}

function meter(score) {
  const fill = element("i", {});
  fill.style.width = `${100 * score}%`;
  return element("span", { class: "meter", "aria-hidden": "true" }, fill);
}

/** A frame over the picture; the box is in fractions of it. */
function boxOver([left, top, right, bottom]) {
  const frame = element("span", { class: "box", role: "img", "aria-label": "where it is" });
  Object.assign(frame.style, {
    left: `${100 * left}%`, top: `${100 * top}%`, width: `${100 * (right - left)}%`, height: `${100 * (bottom - top)}%`,
  });
  return frame;
}

// --- pictures of the folder -----------------------------------------------------------------------

let listed = 0;

async function showMore() {
  const { paths, total } = await fetchJson("GET", url("/api/try/pictures", { offset: listed, count: PAGE }));
  for (const path of paths) {
    const choose = async () => {
      await predict({ path, name: path });
      $("answers").scrollIntoView({ block: "nearest" });
    };
    const made = button("", choose, { class: "thumb", title: path });
    made.append(element("img", { src: thumb(path, "1", 128), alt: path, loading: "lazy" }));
    $("thumbs").append(made);
  }
  listed += paths.length;
  $("more").textContent = `More (${total - listed})`;
  $("more").hidden = listed >= total;
}

// --- the webcam: a picture at a press, or one after the other -------------------------------------

let stream = null;
const allTheTime = $("always").querySelector("input");

async function toggleCamera() {
  if (stream) return closeCamera();
  if (!navigator.mediaDevices)
    throw new Error("The browser gives the webcam to pages of this machine only (localhost), or over HTTPS.");
  stream = await navigator.mediaDevices.getUserMedia({ video: true }).catch((error) => {
    throw new Error(`There is no webcam to use: ${error.message}`);
  });
  $("video").srcObject = stream;
  await $("video").play();
  return showCamera(true);
}

function closeCamera() {
  stream.getTracks().forEach((track) => track.stop());
  stream = null;
  allTheTime.checked = false;
  showCamera(false);
}

function showCamera(on) {
  for (const id of ["video", "take", "always"]) $(id).hidden = !on;
  $("webcam").textContent = on ? "Close the webcam" : "Use the webcam";
}

async function predictFrame() {
  const canvas = element("canvas", { width: $("video").videoWidth, height: $("video").videoHeight });
  canvas.getContext("2d").drawImage($("video"), 0, 0);
  const body = await new Promise((done) => canvas.toBlob(done, "image/jpeg", 0.9));
  await predict({ body, name: "webcam" });
}

async function predictFrames() {
  while (allTheTime.checked && stream) {
    if (!document.hidden) await attempt(predictFrame);
    await new Promise((done) => setTimeout(done, CAMERA_PAUSE_MS));
  }
}

// --- the start ------------------------------------------------------------------------------------

for (const name of ["run", "with"]) {
  $(name).addEventListener("change", () => {
    remember(name, $(name).value);
    if (current) attempt(() => predict(current));
  });
}
$("try-file").addEventListener("change", () => predictFile($("try-file").files[0]));
document.addEventListener("dragover", (event) => {
  event.preventDefault();
  $("drop").classList.add("over");
});
document.addEventListener("dragleave", () => $("drop").classList.remove("over"));
document.addEventListener("drop", (event) => {
  event.preventDefault();
  $("drop").classList.remove("over");
  predictFile(event.dataTransfer.files[0]);
});
document.addEventListener("paste", (event) => {
  predictFile([...event.clipboardData.files].find((file) => file.type.startsWith("image/")));
});
whenPressed($("webcam"), toggleCamera);
whenPressed($("take"), predictFrame);
whenPressed($("more"), showMore);
allTheTime.addEventListener("change", predictFrames);
