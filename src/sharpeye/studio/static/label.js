// The page Label: it shows one image at a time. Its boxes are edited by mouse or by keyboard.

import { listen } from "./label_keys.js";
import { Panels, colourOf } from "./label_panels.js";
import { ImageCache, LEVELS, levelFor } from "./label_images.js";
import { Sorter } from "./label_sort.js";
import { Stage, clipBox, shiftBox } from "./label_stage.js";
import { Suggestions } from "./label_suggestions.js";
import { AnnotationStore, address, requestJson, requestUntilResponse } from "./label_store.js";

const OFFLINE_TEXT = "The studio does not answer; waiting for it.";
const FAST_AFTER = 8; // number of key repeats after which arrow keys take larger steps

const setup = JSON.parse(document.getElementById("setup").textContent);
const container = document.getElementById("stage");

const page = {
  setup,
  items: [], // {path, boxes, verified, bad, version}
  classes: [],
  folders: [],
  at: -1,
  doc: null,
  level: 0,
  turn: 0, // incremented whenever another image is requested
  current: 0, // index of the class of the next box
  selected: null,
  run: setup.suggest,
  filter: "all",
  suggestion: null,
};

const panels = new Panels(page, {
  go: (number) => go(number),
  near: (from, by) => near(from, by),
  step: (by) => step(by),
  choose: (number) => choose(number),
  select: (uid) => select(uid),
  remove: (uid) => remove(uid),
  flag: (name) => flag(name),
  verify: () => verify(),
  accept: () => accept(),
  addClass: (name) => addClass(name),
  resolveConflict: (choice) => resolveConflict(choice),
  replaceFile: () => replaceFile(),
  filter: (name) => setFilter(name),
  run: (name) => setRun(name),
  redraw: () => draw(),
  showUnsaved: (doc) => go(page.items.findIndex((item) => item.path === doc.path)),
  discard: (doc) => discard(doc),
});

const store = new AnnotationStore(setup.folder, onStoreEvent);
const images = new ImageCache();
const suggestions = new Suggestions(setup.mode);
const channel = "BroadcastChannel" in window ? new BroadcastChannel("sharpeye-label") : null;

const stage = new Stage(container, {
  editable: () => Boolean(page.doc) && setup.mode === "boxes" && !page.doc.problem,
  boxes: () =>
    (setup.mode === "boxes" ? page.doc?.now.objects ?? [] : []).map((each) => ({
      uid: each.uid,
      box: each.box,
      label: each.name || "no class",
      colour: colourOf(page.classes.indexOf(each.name)),
    })),
  drawn: (box) => newBox(box),
  changed: (uid, box) => change(uid, { box }),
  selected: (uid) => select(uid),
  zoomed: () => loadSharperImage(),
});
stage.overlay.id = "boxes";

const sorter = setup.mode === "sort" ? new Sorter(page, panels, { go, step, list }) : null;

// --- the state on the server ---------------------------------------------------------------------

async function list() {
  const { status, body } = await requestUntilResponse("GET", "/api/label/list", () =>
    panels.status(OFFLINE_TEXT, "away"),
  );
  if (status !== 200) return panels.status(body.error, "away");
  page.items = body.pictures.map(([path, boxes, verified, bad, version]) => ({ path, boxes, verified, bad, version }));
  page.classes = setup.mode === "sort" ? body.folders.map(([name]) => name) : body.classes;
  page.folders = body.folders;
  onStoreEvent("state", null);
  panels.all();
}

/** Handle an event of the store: see `AnnotationStore`. */
function onStoreEvent(event, doc) {
  if (doc && page.doc === doc) {
    if (event === "merged") {
      panels.announce("Another tab had changed this picture too; both changes are kept.", true);
      if (!doc.now.objects.some((each) => each.uid === page.selected)) page.selected = null;
    }
    if (event !== "state") {
      count(doc);
      draw();
    }
  }
  if (doc && event === "saved") channel?.postMessage({ folder: setup.folder, path: doc.path });
  if (event === "conflict" && doc === page.doc) panels.showConflict(doc);
  if (setup.mode === "boxes") panels.showSaveState(store);
}

channel?.addEventListener("message", ({ data }) => {
  if (data.folder === setup.folder && data.path === page.doc?.path) refresh();
});
document.addEventListener("visibilitychange", () => !document.hidden && refresh());

/** Fetch the boxes of the shown image again: another tab may have changed them. */
async function refresh() {
  const before = page.doc;
  if (!before || before.dirty || before.conflict || setup.mode === "sort" || stage.drag) return;
  const [turn, etag] = [page.turn, before.etag];
  const { status, body } = await requestJson("GET", address("/api/label/boxes", { path: before.path }));
  const same = turn === page.turn && page.doc === before && !before.dirty && before.etag === etag;
  if (status !== 200 || !same || body.etag === etag || stage.drag) return;
  before.reset(body);
  [before.undoStack, before.redoStack] = [[], []];
  page.selected = null;
  count(before);
  draw();
}

// --- images --------------------------------------------------------------------------------------

/** Fetch the image at a higher resolution if the screen can show more pixels than it has. */
let sharpenTimer = 0;
function loadSharperImage() {
  clearTimeout(sharpenTimer);
  const { doc, turn } = page;
  if (!doc) return;
  sharpenTimer = setTimeout(async () => {
    const most = Math.max(doc.width, doc.height);
    const needed = Math.min(stage.view.scale * devicePixelRatio * most, most);
    const level = levelFor(needed);
    if (level <= page.level || LEVELS[page.level] >= most) return;
    const image = await images.get(doc.path, level);
    if (image && turn === page.turn) {
      page.level = level;
      stage.show(image, doc.width, doc.height);
    }
  }, 200);
}

const matches = {
  all: () => true,
  open: (item) => !item.boxes && !item.verified,
  done: (item) => item.boxes || item.verified,
  unverified: (item) => !item.verified,
  bad: (item) => item.bad,
  loose: (item) => !page.classes.some((name) => item.path.startsWith(`${name}/`)),
};

/** The index of the nearest image before or after that matches the filter; -1 if there is none. */
function near(from, by, filter = page.filter) {
  for (let at = from + by; at >= 0 && at < page.items.length; at += by) {
    if (matches[filter](page.items[at])) return at;
  }
  return -1;
}

function step(by, filter = page.filter) {
  const found = near(page.at, by, filter);
  if (found >= 0) return go(found);
  panels.announce(by > 0 ? "This is the last picture of those shown." : "This is the first picture.", true);
  return null;
}

async function go(number) {
  const item = page.items[number];
  if (!item) return;
  const turn = ++page.turn;
  Object.assign(page, { at: number, doc: null, selected: null, suggestion: null, level: 0 });
  stage.suggestion = null;
  container.classList.add("loading");
  history.replaceState(null, "", address(location.pathname, { ...setup.query, path: item.path }));
  panels.all();
  const onOffline = () => panels.status(OFFLINE_TEXT, "away");
  const isNeeded = () => turn === page.turn;
  const [doc, image] = await Promise.all([
    store.open(item.path, onOffline, isNeeded),
    images.getOrError(item.path, onOffline, isNeeded),
  ]);
  if (turn !== page.turn) return;
  container.classList.remove("loading");
  if (!sorter) panels.showSaveState(store);
  const failed = doc.failed || (typeof image === "string" ? image : "");
  panels.showProblem(failed || (setup.mode === "boxes" ? doc.problem : ""), !failed);
  if (failed) return stage.show(null, 1, 1);
  page.doc = doc;
  stage.fitted = true;
  stage.show(image, doc.width, doc.height);
  count(doc);
  draw();
  loadSharperImage();
  if (doc.conflict) panels.showConflict(doc);
  panels.announce(`Picture ${number + 1} of ${page.items.length}: ${item.path}`);
  updateSuggestion(turn);
  preload(number);
  refresh();
}

function preload(number) {
  const next = near(number, 1);
  if (next < 0) return;
  const { path } = page.items[next];
  images.get(path);
  store.prefetch(path);
  suggestions.get(page.run, path);
}

/** Update the entry in the list of images after the boxes of an image have changed. */
function count(doc) {
  const item = page.items.find((each) => each.path === doc.path);
  if (item) Object.assign(item, { boxes: doc.now.objects.length, verified: doc.now.verified, bad: Boolean(doc.problem) });
  if (setup.mode === "boxes") {
    for (const { name } of doc.now.objects) if (name && !page.classes.includes(name)) page.classes.push(name);
  }
  panels.all();
}

function draw() {
  stage.selected = page.selected;
  stage.render();
  panels.boxes();
}

// --- boxes ---------------------------------------------------------------------------------------

function edit(next, group = "") {
  const { doc } = page;
  if (!doc || doc.problem || setup.mode !== "boxes") return;
  store.change(doc, { ...doc.now, ...next }, group);
  count(doc);
  updateSuggestion(page.turn);
  draw();
}

function change(uid, fields, group = "") {
  const objects = page.doc.now.objects.map((each) => (each.uid === uid ? { ...each, ...fields } : each));
  edit({ objects }, group);
}

function chosen() {
  return page.doc?.now.objects.find((each) => each.uid === page.selected);
}

function select(uid) {
  page.selected = uid;
  const found = chosen();
  if (found) {
    const number = page.classes.indexOf(found.name);
    if (number >= 0) page.current = number;
    panels.announce(`Box of ${found.name || "no class"}, ${(found.box ?? []).map(Math.round).join(", ")}`);
  }
  panels.classes();
  draw();
}

let boxes = 0;
async function newBox(box, name = page.classes[page.current]) {
  if (!name) {
    const { doc } = page;
    name = await panels.promptForClass();
    if (!name || page.doc !== doc) return draw();
  }
  const uid = `n${++boxes}`;
  const object = { uid, name, box, difficult: false, truncated: false, pose: "Unspecified", was: "" };
  edit({ objects: [...page.doc.now.objects, object] });
  select(uid);
}

/** Add a box without a mouse: in the middle of the visible part of the image. */
function boxByKey() {
  if (!page.doc) return;
  const [x0, y0, x1, y1] = stage.visibleArea();
  const [w, h] = [(x1 - x0) / 3, (y1 - y0) / 3];
  newBox(clipBox([x0 + w, y0 + h, x1 - w, y1 - h], page.doc.width, page.doc.height));
  panels.announce("New box: arrow keys move it, with Shift they resize it.");
}

function remove(uid = page.selected) {
  const { doc } = page;
  if (!doc?.now.objects.some((each) => each.uid === uid)) return;
  edit({ objects: doc.now.objects.filter((each) => each.uid !== uid) });
  if (page.selected === uid) select(null);
  panels.announce("Box deleted.");
}

function nextBox(by) {
  const objects = page.doc?.now.objects ?? [];
  if (!objects.length) return;
  const at = objects.findIndex((each) => each.uid === page.selected);
  const next = at < 0 && by < 0 ? objects.length - 1 : (at + by + objects.length) % objects.length;
  select(objects[next].uid);
}

function nudge(event, dx, dy) {
  const found = chosen();
  if (!found?.box) return;
  page.repeats = event.repeat ? (page.repeats ?? 0) + 1 : 0;
  const by = (event.ctrlKey || event.metaKey ? 10 : 1) * (page.repeats > FAST_AFTER ? 5 : 1);
  const { width, height } = page.doc;
  const [x0, y0, x1, y1] = found.box;
  const box = event.shiftKey
    ? clipBox([x0, y0, Math.max(x1 + dx * by, x0 + 1), Math.max(y1 + dy * by, y0 + 1)], width, height)
    : shiftBox(found.box, dx * by, dy * by, width, height);
  change(found.uid, { box }, `${event.shiftKey ? "size" : "place"} ${found.uid}`);
}

function choose(number) {
  if (sorter) return sorter.sort(page.classes[number]);
  const name = page.classes[number];
  if (name === undefined) return panels.announce(`There is no class ${number + 1}.`, true);
  page.current = number;
  const found = chosen();
  if (found && found.name !== name) change(found.uid, { name });
  panels.classes();
  return panels.announce(`Class ${name}`);
}

function flag(name) {
  const found = chosen();
  if (!found) return panels.announce("Select a box first: a click, or the key . for the next one.", true);
  return change(found.uid, { [name]: !found[name] });
}

function verify() {
  if (!page.doc || page.doc.problem) return;
  edit({ verified: !page.doc.now.verified });
  panels.announce(page.doc.now.verified ? "Verified." : "Not verified any more.");
}

let adding = Promise.resolve(); // one request at a time, so that the classes keep their order

function addClass(name) {
  const className = name.trim();
  if (!className) return;
  const known = page.classes.includes(className);
  // A box can use the class at once; its folder has to exist before an image is moved into it.
  if (!known && !sorter) page.classes = [...page.classes, className];
  if (known || !sorter) choose(page.classes.indexOf(className));
  panels.all();
  if (!known) adding = adding.then(() => sendClass(className));
}

async function sendClass(className) {
  const { status, body } = await requestJson("POST", "/api/label/classes", { name: className, mode: setup.mode });
  if (status === 200) {
    const newClasses = body.classes.filter((each) => !page.classes.includes(each));
    page.classes = sorter ? body.classes : [...page.classes, ...newClasses];
    if (sorter) choose(page.classes.indexOf(className));
  } else if (status >= 400 && status < 500) {
    const current = page.classes[page.current];
    page.classes = page.classes.filter((each) => each !== className);
    page.current = Math.max(page.classes.indexOf(current), 0);
    panels.announce(body.error, true);
  } // else the server is unreachable: the name is sent again with the boxes that use it
  panels.all();
  stage.render();
}

function undo(redo) {
  if (sorter) return sorter.undo();
  const { doc } = page;
  if (!doc || !(redo ? store.redo(doc) : store.undo(doc))) {
    return panels.announce(redo ? "There is nothing to redo." : "There is nothing to undo.", true);
  }
  if (!chosen()) page.selected = null;
  count(doc);
  updateSuggestion(page.turn);
  return draw();
}

function resolveConflict(choice) {
  const { doc } = page;
  if (!doc?.conflict) return;
  store.resolveConflict(doc, choice);
  if (!chosen()) page.selected = null;
  count(doc);
  draw();
  container.focus();
}

/** Discard a change that the server rejects. */
function discard(doc) {
  store.discard(doc);
  if (page.items[page.at]?.path === doc.path) go(page.at);
}

/** Replace an XML file that cannot be used: the first change sets it aside. */
function replaceFile() {
  if (!page.doc) return;
  page.doc.replace = true;
  page.doc.problem = "";
  panels.showProblem("");
  panels.announce("Draw the boxes anew; the old file goes into .set-aside with the first one.", true);
  draw();
}

// --- suggestions ---------------------------------------------------------------------------------

/** Show the prediction of the model for an image without boxes. */
async function updateSuggestion(turn) {
  const { doc } = page;
  const needed = doc && page.run && !doc.problem && (sorter || !doc.now.objects.length);
  if (!needed) {
    stage.suggestion = page.suggestion = null;
    panels.suggestion();
    return;
  }
  const { run } = page;
  const found = await suggestions.best(run, doc);
  const late = turn !== page.turn || page.doc !== doc || page.run !== run;
  if (late || (!sorter && doc.now.objects.length)) return;
  page.noSuggestion = found.reason;
  page.suggestion = found.name === undefined ? null : found;
  const label = `${found.name} ${Math.round(100 * found.score)} %`;
  const colour = colourOf(page.classes.indexOf(found.name));
  stage.suggestion = found.box ? { box: found.box, label, colour } : null;
  panels.suggestion();
  stage.render();
}

/** Accept the suggestion, and go to the next image. */
function accept() {
  const found = page.suggestion;
  if (!found || !page.doc) return panels.announce(page.run ? "There is no suggestion here." : "Choose a model that suggests first.", true);
  if (sorter) return sorter.sort(found.name);
  page.suggestion = stage.suggestion = null;
  newBox(found.box, found.name);
  panels.announce(`${found.name} accepted.`);
  store.flush();
  return step(1);
}

function setRun(name) {
  page.run = name;
  page.suggestion = stage.suggestion = null;
  stage.render();
  updateSuggestion(page.turn);
  preload(page.at);
}

function setFilter(name) {
  page.filter = name;
  panels.all();
  if (page.items[page.at] && matches[name](page.items[page.at])) return;
  const found = near(page.at, 1) >= 0 ? near(page.at, 1) : near(page.at, -1);
  if (found >= 0) go(found);
  else panels.announce("There are no such pictures.", true);
}

listen(stage, Boolean(sorter), {
  step,
  select,
  boxByKey,
  accept,
  verify,
  flag,
  nextBox,
  remove: () => remove(page.selected),
  undo,
  nudge,
  choose,
  nextOpen: () => step(1, sorter ? "loose" : "open"),
  hasBox: () => Boolean(chosen()?.box),
  typeClass: () => panels.classInput.focus(),
  help: () => panels.help.showModal(),
});

// --- the start -----------------------------------------------------------------------------------

if (setup.mode === "boxes") store.recover();
await list();
const requestedIndex = page.items.findIndex((item) => item.path === setup.path);
const firstOpen = near(-1, 1, sorter ? "loose" : "open");
if (page.items.length) await go(requestedIndex >= 0 ? requestedIndex : Math.max(firstOpen, 0));
else panels.showProblem("There are no pictures in this folder yet. Collect some first.");
document.documentElement.dataset.ready = "yes";
