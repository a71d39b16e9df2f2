// Upload files that were chosen, dropped (also in folders) or taken by the camera. Each request
// sends many files.

import { element, fetchJson, toast, url } from "./studio.js";

const $ = (id) => document.getElementById(id);
const MAX_FILE_BYTES = 64 * 2 ** 20; // the server rejects larger files
const MAX_BATCH_FILES = 20;
const MAX_BATCH_BYTES = 32 * 2 ** 20;
const MAX_REQUESTS = 2;
const MAX_PROBLEMS = 200; // how many are shown

/** Files that operating systems create in folders; they are not uploaded. */
const isSystemFile = (name) => name.startsWith(".") || /^(thumbs\.db|desktop\.ini)$/i.test(name);

/** All dropped files, as {file, parts}; `parts` are the names of its folders and then its own. */
async function droppedFiles(transfer) {
  const entries = [...transfer.items].map((item) => item.webkitGetAsEntry?.()).filter(Boolean);
  if (!entries.length) return [...transfer.files].map((file) => ({ file, parts: [file.name] }));
  const files = [];
  async function collect(entry, parents) {
    const parts = [...parents, entry.name];
    if (entry.isFile) {
      if (isSystemFile(entry.name)) return;
      const file = await new Promise((resolve, reject) => entry.file(resolve, reject)).catch(
        () => null,
      );
      if (file) files.push({ file, parts });
      return;
    }
    if (isSystemFile(entry.name)) return;
    const reader = entry.createReader();
    for (;;) {
      const children = await new Promise((resolve, reject) =>
        reader.readEntries(resolve, reject),
      ).catch(() => []);
      if (!children.length) return;
      for (const child of children) await collect(child, parts);
    }
  }
  for (const entry of entries) await collect(entry, []);
  return files;
}

/**
 * The class of each file. In a folder of folders, each inner folder is a class. Several folders
 * that are dropped at once are classes, too. The files of a single folder go into the class that is
 * shown; if none is, into a class with the folder's name.
 */
function withClasses(files, label) {
  const topFolders = new Set(
    files.filter(({ parts }) => parts.length > 1).map(({ parts }) => parts[0]),
  );
  return files.map(({ file, parts }) => {
    if (parts.length > 2) return { file, label: parts[1] };
    if (parts.length === 2 && (topFolders.size > 1 || !label)) return { file, label: parts[0] };
    return { file, label };
  });
}

export function startUploads(collectPage) {
  const state = { queue: [], running: 0, total: 0, done: 0, counts: {}, problems: 0, failed: [] };

  function send(files) {
    const unclassified = files.filter(({ label }) => !label);
    if (unclassified.length) {
      toast("Say what is in these pictures: choose or add a class first.", { error: true });
      $("class-name").focus();
    }
    files = files.filter(({ label }) => label);
    if (!files.length) return;
    if (!state.running && !state.queue.length) begin();
    for (const item of files) {
      state.total += 1;
      if (item.file.size > MAX_FILE_BYTES) {
        state.done += 1;
        const reason = `it has more than the limit of ${MAX_FILE_BYTES / 2 ** 20} MiB a file`;
        showResult({ name: item.file.name, status: "rejected", reason });
      } else state.queue.push(item);
    }
    showProgress();
    while (state.running < MAX_REQUESTS && state.queue.length) sendBatches();
  }

  function begin() {
    Object.assign(state, { total: 0, done: 0, counts: {}, problems: 0, failed: [] });
    $("problems").replaceChildren();
    $("retry").hidden = true;
  }

  /** Take the next files of one class from the queue. */
  function nextBatch() {
    const { label } = state.queue[0];
    const batch = [];
    let bytes = 0;
    while (state.queue.length && batch.length < MAX_BATCH_FILES && state.queue[0].label === label) {
      bytes += state.queue[0].file.size;
      if (batch.length && bytes > MAX_BATCH_BYTES) break;
      batch.push(state.queue.shift());
    }
    return batch;
  }

  async function sendBatches() {
    state.running += 1;
    while (state.queue.length) {
      const batch = nextBatch();
      const form = new FormData();
      for (const { file } of batch) form.append("file", file, file.name);
      try {
        const address = url("/api/upload", { label: batch[0].label });
        const { files } = await fetchJson("POST", address, form);
        files.forEach(showResult);
      } catch (error) {
        if (error.status === 0) state.failed.push(...batch);
        for (const { file } of batch)
          showResult({ name: file.name, status: "failed", reason: error.message });
      }
      state.done += batch.length;
      showProgress();
    }
    state.running -= 1;
    if (!state.running) {
      showProgress();
      await collectPage.reload();
    }
  }

  function showResult({ name, status, reason }) {
    state.counts[status] = (state.counts[status] || 0) + 1;
    if (status === "added") return;
    state.problems += 1;
    if (state.problems > MAX_PROBLEMS) return;
    $("problems").append(
      element("li", { class: status }, element("strong", {}, name), element("span", {}, `: ${reason}`)),
    );
  }

  function showProgress() {
    const busy = state.done < state.total;
    $("sending").hidden = !busy;
    $("bar").value = state.total ? state.done / state.total : 0;
    const count = (status) => state.counts[status] || 0;
    const words = [`${count("added")} added`];
    const present = count("duplicate") + count("conflict");
    if (present) words.push(`${present} there already`);
    if (count("rejected")) words.push(`${count("rejected")} refused`);
    if (count("failed")) words.push(`${count("failed")} not sent`);
    $("upload-status").textContent = `${state.done} of ${state.total}: ${words.join(", ")}`;
    $("retry").hidden = busy || !state.failed.length;
  }

  async function drop(transfer, label) {
    const files = withClasses(await droppedFiles(transfer), label);
    if (!files.length) toast("There is no file in it.");
    send(files);
  }

  $("choose-files").addEventListener("click", () => {
    if (collectPage.label()) $("files").click();
    else send([{ file: { size: 0 }, label: "" }]); // shows the message to choose a class first
  });
  $("choose-folder").addEventListener("click", () => $("folder").click());
  $("files").addEventListener("change", (event) => {
    send([...event.target.files].map((file) => ({ file, label: collectPage.label() })));
    event.target.value = "";
  });
  $("folder").addEventListener("change", (event) => {
    const files = [...event.target.files].filter((file) => !isSystemFile(file.name));
    const split = files.map((file) => ({ file, parts: file.webkitRelativePath.split("/") }));
    send(withClasses(split, collectPage.label()));
    event.target.value = "";
  });
  $("retry").addEventListener("click", () => send(state.failed.splice(0)));

  const zone = $("drop");
  // On the whole page: the browser must not open a file that is dropped outside of the zone.
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
    drop(event.dataTransfer, collectPage.label());
  });
  addEventListener("beforeunload", (event) => {
    if (state.running) event.preventDefault();
  });
  return { send, drop };
}
