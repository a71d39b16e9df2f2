// Other ways in: the camera, and lists of addresses.

import { fetchJson, element, toast } from "./studio.js";

const $ = (id) => document.getElementById(id);
const EVERY_MS = 200;
const QUALITY = 0.92;

export function startCamera(place, sending) {
  const video = $("video");
  let stream = null;
  let timer = null;
  let taken = 0;

  const say = (text) => ($("camera-said").textContent = text);

  async function on() {
    if (!navigator.mediaDevices) {
      say("The browser gives the camera to https:// and to this machine itself only.");
      return;
    }
    try {
      stream = await navigator.mediaDevices.getUserMedia({ video: { width: { ideal: 1280 } } });
    } catch (error) {
      const denied = error.name === "NotAllowedError";
      say(denied ? "The browser was told not to use the camera." : "There is no camera to use.");
      return;
    }
    video.srcObject = stream;
    video.hidden = false;
    await video.play();
    $("shoot").disabled = false;
    $("camera-on").textContent = "Turn the camera off";
    say("The camera is on.");
  }

  function off() {
    release();
    for (const track of stream?.getTracks() || []) track.stop();
    stream = null;
    video.hidden = true;
    $("shoot").disabled = true;
    $("camera-on").textContent = "Turn the camera on";
    say("The camera is off.");
  }

  function shoot() {
    const canvas = document.createElement("canvas");
    canvas.width = video.videoWidth;
    canvas.height = video.videoHeight;
    if (!canvas.width) return;
    canvas.getContext("2d").drawImage(video, 0, 0);
    const label = place.label();
    canvas.toBlob(
      (blob) => {
        if (!blob) return;
        taken += 1;
        const name = `camera ${new Date().toISOString().replaceAll(":", ".")}.jpg`;
        sending.send([{ file: new File([blob], name, { type: "image/jpeg" }), label }]);
        say(`${taken} taken`);
      },
      "image/jpeg",
      QUALITY,
    );
  }

  function hold() {
    if (timer || !stream) return;
    if (!place.label()) {
      toast("Say what the camera sees: choose or add a class first.", { error: true });
      return $("class-name").focus();
    }
    taken = 0;
    shoot();
    timer = setInterval(shoot, EVERY_MS);
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

export function startList(place) {
  let watching = false;

  function draw(told) {
    const words = [`${told.added} added`];
    if (told.there) words.push(`${told.there} there already`);
    if (told.missing) words.push(`${told.missing} did not come`);
    const end = told.running ? "" : told.stopped ? " Stopped." : " Done.";
    $("list-said").textContent =
      told.error || `${told.done} of ${told.total} for ${told.label}: ${words.join(", ")}.${end}`;
    $("list-bar").hidden = $("list-stop").hidden = !told.running;
    $("list-bar").value = told.total ? told.done / told.total : 0;
    if (told.running || !told.problems.length) return;
    const items = told.problems.map(({ name, reason }) => {
      return element("li", {}, element("strong", {}, name), element("span", {}, `: ${reason}`));
    });
    $("problems").replaceChildren(...items);
  }

  async function watch() {
    if (watching) return;
    watching = true;
    try {
      for (;;) {
        const told = await fetchJson("GET", "/api/collect/urls");
        if (!told.total) return;
        draw(told);
        if (!told.running) return await place.reload();
        await new Promise((later) => setTimeout(later, 500));
      }
    } catch (error) {
      $("list-said").textContent = error.message;
    } finally {
      watching = false;
    }
  }

  $("list-form").addEventListener("submit", async (event) => {
    event.preventDefault();
    if (!place.label()) {
      toast("Say what is in these pictures: choose or add a class first.", { error: true });
      return $("class-name").focus();
    }
    try {
      const wish = { label: place.label(), text: $("addresses").value };
      draw(await fetchJson("POST", "/api/collect/urls", wish));
      watch();
    } catch (error) {
      toast(error.message, { error: true });
    }
  });
  $("list-stop").addEventListener("click", () => fetchJson("POST", "/api/collect/urls/stop"));
  // A list that another tab, or this page before it was loaded anew, has begun.
  fetchJson("GET", "/api/collect/urls").then((told) => {
    if (!told.running) return;
    $("list").open = true;
    watch();
  });
}
