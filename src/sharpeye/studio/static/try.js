// The page Try: predictions of one run or two for an image that is dropped, pasted, photographed or
// chosen.
import { attempt, button, heatToggle, onPress, percent, setQueryParameter } from "./widgets.js";
import { element, fetchJson, thumb, url } from "./studio.js";

const PAGE_SIZE = 24; // images
const CAMERA_PAUSE_MS = 150;
const $ = (id) => document.getElementById(id);

// --- predictions ----------------------------------------------------------------------------------

let currentSource = null; // { body, path, name } of the image
let requests = 0;

/** Show the predictions of the chosen runs for an image. If another image was requested meanwhile,
 * the responses are ignored. */
async function predict(source) {
  currentSource = source;
  const request = ++requests;
  const names = [$("run").value, $("with").value].filter(Boolean);
  const predictions = await Promise.all(names.map((run) =>
    fetchJson("POST", url("/api/try", { run, path: source.path, name: source.name }), undefined, { body: source.body })
      .catch((error) => ({ run, error: error.message }))));
  if (request !== requests) return;
  $("predictions").replaceChildren(...predictions.map((prediction) => predictionCard(prediction, source)));
}

function predictFile(file) {
  if (file) attempt(() => predict({ body: file, name: file.name || "the picture" }));
}

function predictionCard(prediction, source) {
  if (prediction.error)
    return element("section", { class: "panel prediction", "aria-label": prediction.run }, element("h2", {}, prediction.run), element("p", { class: "bad", role: "alert" }, prediction.error));
  const image = element("img", { src: prediction.picture, alt: source.name });
  const stage = element("div", { class: "stage-image" }, image);
  if (prediction.box) stage.append(boxOver(prediction.box));
  const heat = heatToggle(image, async () =>
    (await fetchJson("POST", url("/api/try/heat", { run: prediction.run, path: source.path, label: prediction.label }), undefined, { body: source.body })).picture);
  const bars = prediction.top.map(({ label, score }) =>
    element("li", {}, element("span", { class: "label", title: label }, label), meter(score), element("span", { class: "share" }, percent(score))));
  return element(
    "section", { class: `panel prediction${prediction.unknown ? " unknown" : ""}`, "aria-label": `Answer of ${prediction.run}` },
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

/** A frame over the image; the coordinates of the box are fractions of its size. */
function boxOver([left, top, right, bottom]) {
  const frame = element("span", { class: "box", role: "img", "aria-label": "where it is" });
  Object.assign(frame.style, {
    left: `${100 * left}%`, top: `${100 * top}%`, width: `${100 * (right - left)}%`, height: `${100 * (bottom - top)}%`,
  });
  return frame;
}

// --- images of the folder -------------------------------------------------------------------------

let listedCount = 0;

async function showMore() {
  const { paths, total } = await fetchJson("GET", url("/api/try/pictures", { offset: listedCount, count: PAGE_SIZE }));
  for (const path of paths) {
    const predictPath = async () => {
      await predict({ path, name: path });
      $("predictions").scrollIntoView({ block: "nearest" });
    };
    const thumbButton = button("", predictPath, { class: "thumb", title: path });
    thumbButton.append(element("img", { src: thumb(path, "1", 128), alt: path, loading: "lazy" }));
    $("thumbs").append(thumbButton);
  }
  listedCount += paths.length;
  $("more").textContent = `More (${total - listedCount})`;
  $("more").hidden = listedCount >= total;
}

// --- the webcam: a single image, or one after the other -------------------------------------------

let stream = null;
const continuous = $("continuous").querySelector("input");

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
  continuous.checked = false;
  showCamera(false);
}

function showCamera(on) {
  for (const id of ["video", "take", "continuous"]) $(id).hidden = !on;
  $("webcam").textContent = on ? "Close the webcam" : "Use the webcam";
}

async function predictFrame() {
  const canvas = element("canvas", { width: $("video").videoWidth, height: $("video").videoHeight });
  canvas.getContext("2d").drawImage($("video"), 0, 0);
  const body = await new Promise((resolve) => canvas.toBlob(resolve, "image/jpeg", 0.9));
  await predict({ body, name: "webcam" });
}

async function predictFrames() {
  while (continuous.checked && stream) {
    if (!document.hidden) await attempt(predictFrame);
    await new Promise((resolve) => setTimeout(resolve, CAMERA_PAUSE_MS));
  }
}

// --- the start ------------------------------------------------------------------------------------

for (const name of ["run", "with"]) {
  $(name).addEventListener("change", () => {
    setQueryParameter(name, $(name).value);
    if (currentSource) attempt(() => predict(currentSource));
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
onPress($("webcam"), toggleCamera);
onPress($("take"), predictFrame);
onPress($("more"), showMore);
continuous.addEventListener("change", predictFrames);
