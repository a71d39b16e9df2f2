// Sends files: chosen, dropped alone or in folders, or from the camera. Few requests, many files.

import { fetchJson, element, toast, url } from "./studio.js";

const $ = (id) => document.getElementById(id);
const MOST_BYTES = 64 * 2 ** 20; // of a file: the server takes no more
const BATCH_FILES = 20;
const BATCH_BYTES = 32 * 2 ** 20;
const AT_ONCE = 2;
const MOST_PROBLEMS = 200; // shown

/** Files that systems leave in folders, and that nobody means to send. */
const isOdd = (name) => name.startsWith(".") || /^(thumbs\.db|desktop\.ini)$/i.test(name);

/** Every file of what was dropped, as {file, parts}: the names of its folders, its own last. */
async function filesOf(transfer) {
  const entries = [...transfer.items].map((item) => item.webkitGetAsEntry?.()).filter(Boolean);
  if (!entries.length) return [...transfer.files].map((file) => ({ file, parts: [file.name] }));
  const found = [];
  async function walk(entry, parents) {
    const parts = [...parents, entry.name];
    if (entry.isFile) {
      if (isOdd(entry.name)) return;
      const file = await new Promise((good, bad) => entry.file(good, bad)).catch(() => null);
      if (file) found.push({ file, parts });
      return;
    }
    if (isOdd(entry.name)) return;
    const reader = entry.createReader();
    for (;;) {
      const some = await new Promise((good, bad) => reader.readEntries(good, bad)).catch(() => []);
      if (!some.length) return;
      for (const inner of some) await walk(inner, parts);
    }
  }
  for (const entry of entries) await walk(entry, []);
  return found;
}

/**
 * The class of each file. A folder of folders: the inner folders are classes. Several folders at
 * once are classes too. The files of a single folder go into the class that is shown, or else into
 * one that is called like the folder.
 */
function withClasses(files, label) {
  const tops = new Set(files.filter(({ parts }) => parts.length > 1).map(({ parts }) => parts[0]));
  return files.map(({ file, parts }) => {
    if (parts.length > 2) return { file, label: parts[1] };
    if (parts.length === 2 && (tops.size > 1 || !label)) return { file, label: parts[0] };
    return { file, label };
  });
}

export function startSending(place) {
  const state = { line: [], running: 0, total: 0, over: 0, counts: {}, problems: 0, failed: [] };

  function send(files) {
    const homeless = files.filter(({ label }) => !label);
    if (homeless.length) {
      toast("Say what is in these pictures: choose or add a class first.", { error: true });
      $("class-name").focus();
    }
    files = files.filter(({ label }) => label);
    if (!files.length) return;
    if (!state.running && !state.line.length) begin();
    for (const one of files) {
      state.total += 1;
      if (one.file.size > MOST_BYTES) {
        state.over += 1;
        const reason = `it has more than the limit of ${MOST_BYTES / 2 ** 20} MiB a file`;
        answered({ name: one.file.name, status: "rejected", reason });
      } else state.line.push(one);
    }
    draw();
    while (state.running < AT_ONCE && state.line.length) work();
  }

  function begin() {
    Object.assign(state, { total: 0, over: 0, counts: {}, problems: 0, failed: [] });
    $("problems").replaceChildren();
    $("again").hidden = true;
  }

  /** The next files of one class. */
  function batch() {
    const { label } = state.line[0];
    const taken = [];
    let bytes = 0;
    while (state.line.length && taken.length < BATCH_FILES && state.line[0].label === label) {
      bytes += state.line[0].file.size;
      if (taken.length && bytes > BATCH_BYTES) break;
      taken.push(state.line.shift());
    }
    return taken;
  }

  async function work() {
    state.running += 1;
    while (state.line.length) {
      const taken = batch();
      const form = new FormData();
      for (const { file } of taken) form.append("file", file, file.name);
      try {
        const address = url("/api/upload", { label: taken[0].label });
        const { files } = await fetchJson("POST", address, form);
        files.forEach(answered);
      } catch (error) {
        if (error.status === 0) state.failed.push(...taken);
        for (const { file } of taken)
          answered({ name: file.name, status: "failed", reason: error.message });
      }
      state.over += taken.length;
      draw();
    }
    state.running -= 1;
    if (!state.running) {
      draw();
      await place.reload();
    }
  }

  function answered({ name, status, reason }) {
    state.counts[status] = (state.counts[status] || 0) + 1;
    if (status === "added") return;
    state.problems += 1;
    if (state.problems > MOST_PROBLEMS) return;
    $("problems").append(
      element("li", { class: status }, element("strong", {}, name), element("span", {}, `: ${reason}`)),
    );
  }

  function draw() {
    const busy = state.over < state.total;
    $("sending").hidden = !busy;
    $("bar").value = state.total ? state.over / state.total : 0;
    const count = (status) => state.counts[status] || 0;
    const words = [`${count("added")} added`];
    const there = count("duplicate") + count("conflict");
    if (there) words.push(`${there} there already`);
    if (count("rejected")) words.push(`${count("rejected")} refused`);
    if (count("failed")) words.push(`${count("failed")} not sent`);
    $("sent").textContent = `${state.over} of ${state.total}: ${words.join(", ")}`;
    $("again").hidden = busy || !state.failed.length;
  }

  async function drop(transfer, label) {
    const files = withClasses(await filesOf(transfer), label);
    if (!files.length) toast("There is no file in it.");
    send(files);
  }

  $("choose-files").addEventListener("click", () => {
    if (place.label()) $("files").click();
    else send([{ file: { size: 0 }, label: "" }]); // says what to do first
  });
  $("choose-folder").addEventListener("click", () => $("folder").click());
  $("files").addEventListener("change", (event) => {
    send([...event.target.files].map((file) => ({ file, label: place.label() })));
    event.target.value = "";
  });
  $("folder").addEventListener("change", (event) => {
    const files = [...event.target.files].filter((file) => !isOdd(file.name));
    const split = files.map((file) => ({ file, parts: file.webkitRelativePath.split("/") }));
    send(withClasses(split, place.label()));
    event.target.value = "";
  });
  $("again").addEventListener("click", () => send(state.failed.splice(0)));

  const zone = $("drop");
  // Anywhere on the page: a file that misses the zone must not replace the page.
  addEventListener("dragover", (event) => {
    if (!event.dataTransfer.types.includes("Files")) return;
    event.preventDefault();
    zone.classList.add("over");
  });
  addEventListener("dragleave", (event) => {
    if (!event.relatedTarget) zone.classList.remove("over");
  });
  addEventListener("drop", (event) => {
    zone.classList.remove("over");
    if (!event.dataTransfer.types.includes("Files")) return;
    event.preventDefault();
    drop(event.dataTransfer, place.label());
  });
  addEventListener("beforeunload", (event) => {
    if (state.running) event.preventDefault();
  });
  return { send, drop };
}
