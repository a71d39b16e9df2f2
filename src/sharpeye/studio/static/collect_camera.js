// The camera of the page Collect: it takes images while a button is held down.

import { toast } from "./studio.js";

const $ = (id) => document.getElementById(id);
const INTERVAL_MS = 200;
const JPEG_QUALITY = 0.92;

export function startCamera(collectPage, uploads) {
  const video = $("video");
  let stream = null;
  let timer = null;
  let count = 0;

  const showStatus = (text) => ($("camera-status").textContent = text);

  async function on() {
    if (!navigator.mediaDevices) {
      showStatus("The browser gives the camera to https:// and to this machine itself only.");
      return;
    }
    try {
      stream = await navigator.mediaDevices.getUserMedia({ video: { width: { ideal: 1280 } } });
    } catch (error) {
      const denied = error.name === "NotAllowedError";
      showStatus(denied ? "The browser was told not to use the camera." : "There is no camera to use.");
      return;
    }
    video.srcObject = stream;
    video.hidden = false;
    await video.play();
    $("shoot").disabled = false;
    $("camera-on").textContent = "Turn the camera off";
    showStatus("The camera is on.");
  }

  function off() {
    release();
    for (const track of stream?.getTracks() || []) track.stop();
    stream = null;
    video.hidden = true;
    $("shoot").disabled = true;
    $("camera-on").textContent = "Turn the camera on";
    showStatus("The camera is off.");
  }

  function shoot() {
    const canvas = document.createElement("canvas");
    canvas.width = video.videoWidth;
    canvas.height = video.videoHeight;
    if (!canvas.width) return;
    canvas.getContext("2d").drawImage(video, 0, 0);
    const label = collectPage.label();
    canvas.toBlob(
      (blob) => {
        if (!blob) return;
        count += 1;
        const name = `camera ${new Date().toISOString().replaceAll(":", ".")}.jpg`;
        uploads.send([{ file: new File([blob], name, { type: "image/jpeg" }), label }]);
        showStatus(`${count} taken`);
      },
      "image/jpeg",
      JPEG_QUALITY,
    );
  }

  function hold() {
    if (timer || !stream) return;
    if (!collectPage.label()) {
      toast("Say what the camera sees: choose or add a class first.", { error: true });
      return $("class-name").focus();
    }
    count = 0;
    shoot();
    timer = setInterval(shoot, INTERVAL_MS);
    $("shoot").classList.add("held");
  }

  function release() {
    clearInterval(timer);
    timer = null;
    $("shoot").classList.remove("held");
  }

  const button = $("shoot");
  button.addEventListener("pointerdown", (event) => {
    button.setPointerCapture(event.pointerId);
    hold();
  });
  for (const end of ["pointerup", "pointercancel", "lostpointercapture", "blur"])
    button.addEventListener(end, release);
  button.addEventListener("keydown", (event) => {
    if (event.key !== " " && event.key !== "Enter") return;
    event.preventDefault();
    if (!event.repeat) hold();
  });
  button.addEventListener("keyup", release);
  button.addEventListener("contextmenu", (event) => event.preventDefault());
  document.addEventListener("visibilitychange", () => document.hidden && release());
  $("camera-on").addEventListener("click", () => (stream ? off() : on()));
  $("camera").addEventListener("toggle", () => !$("camera").open && stream && off());
}
