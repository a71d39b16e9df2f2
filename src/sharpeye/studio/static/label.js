// The page that labels: pictures one after the other, their boxes, all by mouse or by keyboard.

import { listen } from "./label_keys.js";
import { Panels, colourOf } from "./label_panels.js";
import { LEVELS, Pictures, levelFor } from "./label_pictures.js";
import { Sorter } from "./label_sort.js";
import { Stage, shifted, tidy } from "./label_stage.js";
import { Suggestions } from "./label_suggestions.js";
import { Work, address, ask, askUntilThere } from "./label_work.js";

const WAITING = "The studio does not answer; waiting for it.";
const FAST_AFTER = 8; // key repeats after which arrow keys take larger steps

const setup = JSON.parse(document.getElementById("setup").textContent);
const room = document.getElementById("stage");

const page = {
  setup,
  items: [], // {path, boxes, verified, bad}
  classes: [],
  folders: [],
  at: -1,
  doc: null,
  level: 0,
  turn: 0, // grows whenever another picture is wanted
  current: 0, // the class of the next box
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
  settle: (choice) => settle(choice),
  afresh: () => afresh(),
  filter: (name) => setFilter(name),
  run: (name) => setRun(name),
  redraw: () => draw(),
  attend: (doc) => go(page.items.findIndex((item) => item.path === doc.path)),
  discard: (doc) => discard(doc),
});

const work = new Work(setup.folder, heard);
const pictures = new Pictures();
const suggestions = new Suggestions(setup.mode);
const others = "BroadcastChannel" in window ? new BroadcastChannel("sharpeye-label") : null;

const stage = new Stage(room, {
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
  zoomed: () => sharpen(),
});
stage.overlay.id = "boxes";

const sorter = setup.mode === "sort" ? new Sorter(page, panels, { go, step, list }) : null;

// --- what the server has -------------------------------------------------------------------------

async function list() {
  const { status, body } = await askUntilThere("GET", "/api/label/list", () =>
    panels.status(WAITING, "away"),
  );
  if (status !== 200) return panels.status(body.error, "away");
  page.items = body.pictures.map(([path, boxes, verified, bad, version]) => ({ path, boxes, verified, bad, version }));
  page.classes = setup.mode === "sort" ? body.folders.map(([name]) => name) : body.classes;
  page.folders = body.folders;
  heard("state", null);
  panels.all();
}

/** What becomes of changes: see `Work`. */
function heard(what, doc) {
  if (doc && page.doc === doc) {
    if (what === "merged") {
      panels.say("Another tab had changed this picture too; both changes are kept.", true);
      if (!doc.now.objects.some((each) => each.uid === page.selected)) page.selected = null;
    }
    if (what !== "state") {
      count(doc);
      draw();
    }
  }
  if (doc && what === "saved") others?.postMessage({ folder: setup.folder, path: doc.path });
  if (what === "conflict" && doc === page.doc) panels.askWhich(doc);
  if (setup.mode === "boxes") panels.saving(work);
}

others?.addEventListener("message", ({ data }) => {
  if (data.folder === setup.folder && data.path === page.doc?.path) refresh();
});
document.addEventListener("visibilitychange", () => !document.hidden && refresh());

/** Another tab may have changed the picture that is shown. */
async function refresh() {
  const before = page.doc;
  if (!before || before.dirty || before.conflict || setup.mode === "sort" || stage.drag) return;
  const [turn, etag] = [page.turn, before.etag];
  const { status, body } = await ask("GET", address("/api/label/boxes", { path: before.path }));
  const same = turn === page.turn && page.doc === before && !before.dirty && before.etag === etag;
  if (status !== 200 || !same || body.etag === etag || stage.drag) return;
  before.hear(body);
  [before.done, before.undone] = [[], []];
  page.selected = null;
  count(before);
  draw();
}

// --- pictures ------------------------------------------------------------------------------------

/** Fetch a sharper version where the screen shows more than the picture on it has. */
let sharpening = 0;
function sharpen() {
  clearTimeout(sharpening);
  const { doc, turn } = page;
  if (!doc) return;
  sharpening = setTimeout(async () => {
    const most = Math.max(doc.width, doc.height);
    const needed = Math.min(stage.view.scale * devicePixelRatio * most, most);
    const level = levelFor(needed);
    if (level <= page.level || LEVELS[page.level] >= most) return;
    const image = await pictures.get(doc.path, level);
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

/** The nearest picture that the filter lets through, before or after; -1 if there is none. */
function near(from, by, filter = page.filter) {
  for (let at = from + by; at >= 0 && at < page.items.length; at += by) {
    if (matches[filter](page.items[at])) return at;
  }
  return -1;
}

function step(by, filter = page.filter) {
  const found = near(page.at, by, filter);
  if (found >= 0) return go(found);
  panels.say(by > 0 ? "This is the last picture of those shown." : "This is the first picture.", true);
  return null;
}

async function go(number) {
  const item = page.items[number];
  if (!item) return;
  const turn = ++page.turn;
  Object.assign(page, { at: number, doc: null, selected: null, suggestion: null, level: 0 });
  stage.suggestion = null;
  room.classList.add("loading");
  history.replaceState(null, "", address(location.pathname, { ...setup.query, path: item.path }));
  panels.all();
  const waiting = () => panels.status(WAITING, "away");
  const wanted = () => turn === page.turn;
  const [doc, image] = await Promise.all([
    work.open(item.path, waiting, wanted),
    pictures.getOrReason(item.path, waiting, wanted),
  ]);
  if (turn !== page.turn) return;
  room.classList.remove("loading");
  if (!sorter) panels.saving(work);
  const failed = doc.failed || (typeof image === "string" ? image : "");
  panels.trouble(failed || (setup.mode === "boxes" ? doc.problem : ""), !failed);
  if (failed) return stage.show(null, 1, 1);
  page.doc = doc;
  stage.fitted = true;
  stage.show(image, doc.width, doc.height);
  count(doc);
  draw();
  sharpen();
  if (doc.conflict) panels.askWhich(doc);
  panels.say(`Picture ${number + 1} of ${page.items.length}: ${item.path}`);
  propose(turn);
  preload(number);
  refresh();
}

function preload(number) {
  const next = near(number, 1);
  if (next < 0) return;
  const { path } = page.items[next];
  pictures.get(path);
  work.prefetch(path);
  suggestions.get(page.run, path);
}

/** Keep the numbers of the list true for a picture whose boxes have changed. */
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
  work.change(doc, { ...doc.now, ...next }, group);
  count(doc);
  propose(page.turn);
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
    panels.say(`Box of ${found.name || "no class"}, ${(found.box ?? []).map(Math.round).join(", ")}`);
  }
  panels.classes();
  draw();
}

let boxes = 0;
async function newBox(box, name = page.classes[page.current]) {
  if (!name) {
    const { doc } = page;
    name = await panels.askClass();
    if (!name || page.doc !== doc) return draw();
  }
  const uid = `n${++boxes}`;
  const made = { uid, name, box, difficult: false, truncated: false, pose: "Unspecified", was: "" };
  edit({ objects: [...page.doc.now.objects, made] });
  select(uid);
}

/** A new box without a mouse: in the middle of what can be seen. */
function boxByKey() {
  if (!page.doc) return;
  const [x0, y0, x1, y1] = stage.seen();
  const [w, h] = [(x1 - x0) / 3, (y1 - y0) / 3];
  newBox(tidy([x0 + w, y0 + h, x1 - w, y1 - h], page.doc.width, page.doc.height));
  panels.say("New box: arrow keys move it, with Shift they resize it.");
}

function remove(uid = page.selected) {
  const { doc } = page;
  if (!doc?.now.objects.some((each) => each.uid === uid)) return;
  edit({ objects: doc.now.objects.filter((each) => each.uid !== uid) });
  if (page.selected === uid) select(null);
  panels.say("Box deleted.");
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
    ? tidy([x0, y0, Math.max(x1 + dx * by, x0 + 1), Math.max(y1 + dy * by, y0 + 1)], width, height)
    : shifted(found.box, dx * by, dy * by, width, height);
  change(found.uid, { box }, `${event.shiftKey ? "size" : "place"} ${found.uid}`);
}

function choose(number) {
  if (sorter) return sorter.sort(page.classes[number]);
  const name = page.classes[number];
  if (name === undefined) return panels.say(`There is no class ${number + 1}.`, true);
  page.current = number;
  const found = chosen();
  if (found && found.name !== name) change(found.uid, { name });
  panels.classes();
  return panels.say(`Class ${name}`);
}

function flag(name) {
  const found = chosen();
  if (!found) return panels.say("Select a box first: a click, or the key . for the next one.", true);
  return change(found.uid, { [name]: !found[name] });
}

function verify() {
  if (!page.doc || page.doc.problem) return;
  edit({ verified: !page.doc.now.verified });
  panels.say(page.doc.now.verified ? "Verified." : "Not verified any more.");
}

let adding = Promise.resolve(); // one after the other, so that they keep their numbers

function addClass(name) {
  const wanted = name.trim();
  if (!wanted) return;
  const known = page.classes.includes(wanted);
  // A box can have it at once; a folder has to be there before a picture is moved into it.
  if (!known && !sorter) page.classes = [...page.classes, wanted];
  if (known || !sorter) choose(page.classes.indexOf(wanted));
  panels.all();
  if (!known) adding = adding.then(() => sendClass(wanted));
}

async function sendClass(wanted) {
  const { status, body } = await ask("POST", "/api/label/classes", { name: wanted, mode: setup.mode });
  if (status === 200) {
    const others = body.classes.filter((each) => !page.classes.includes(each));
    page.classes = sorter ? body.classes : [...page.classes, ...others];
    if (sorter) choose(page.classes.indexOf(wanted));
  } else if (status >= 400 && status < 500) {
    const current = page.classes[page.current];
    page.classes = page.classes.filter((each) => each !== wanted);
    page.current = Math.max(page.classes.indexOf(current), 0);
    panels.say(body.error, true);
  } // else the server is away: the name comes back with the boxes that have it
  panels.all();
  stage.render();
}

function undo(again) {
  if (sorter) return sorter.undo();
  const { doc } = page;
  if (!doc || !(again ? work.redo(doc) : work.undo(doc))) {
    return panels.say(again ? "There is nothing to redo." : "There is nothing to undo.", true);
  }
  if (!chosen()) page.selected = null;
  count(doc);
  propose(page.turn);
  return draw();
}

function settle(choice) {
  const { doc } = page;
  if (!doc?.conflict) return;
  work.settle(doc, choice);
  if (!chosen()) page.selected = null;
  count(doc);
  draw();
  room.focus();
}

/** Give up a change that the server refuses. */
function discard(doc) {
  work.discard(doc);
  if (page.items[page.at]?.path === doc.path) go(page.at);
}

/** The XML file cannot be used: it is set aside with the first change. */
function afresh() {
  if (!page.doc) return;
  page.doc.replace = true;
  page.doc.problem = "";
  panels.trouble("");
  panels.say("Draw the boxes anew; the old file goes into .set-aside with the first one.", true);
  draw();
}

// --- suggestions ---------------------------------------------------------------------------------

/** Show what the model says of a picture without boxes. */
async function propose(turn) {
  const { doc } = page;
  const wanted = doc && page.run && !doc.problem && (sorter || !doc.now.objects.length);
  if (!wanted) {
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

/** Take the suggestion, and go on to the next picture. */
function accept() {
  const found = page.suggestion;
  if (!found || !page.doc) return panels.say(page.run ? "There is no suggestion here." : "Choose a model that suggests first.", true);
  if (sorter) return sorter.sort(found.name);
  page.suggestion = stage.suggestion = null;
  newBox(found.box, found.name);
  panels.say(`${found.name} accepted.`);
  work.flush();
  return step(1);
}

function setRun(name) {
  page.run = name;
  page.suggestion = stage.suggestion = null;
  stage.render();
  propose(page.turn);
  preload(page.at);
}

function setFilter(name) {
  page.filter = name;
  panels.all();
  if (page.items[page.at] && matches[name](page.items[page.at])) return;
  const found = near(page.at, 1) >= 0 ? near(page.at, 1) : near(page.at, -1);
  if (found >= 0) go(found);
  else panels.say("There are no such pictures.", true);
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

if (setup.mode === "boxes") work.recover();
await list();
const asked = page.items.findIndex((item) => item.path === setup.path);
const open = near(-1, 1, sorter ? "loose" : "open");
if (page.items.length) await go(asked >= 0 ? asked : Math.max(open, 0));
else panels.trouble("There are no pictures in this folder yet. Collect some first.");
document.documentElement.dataset.ready = "yes";
