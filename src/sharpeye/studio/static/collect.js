// The page Collect: classes, the pictures of one, and what is done to them.
// Uploads, the camera and lists of addresses have modules of their own.
import { startCamera } from "./collect_camera.js";
import { startUploads } from "./collect_uploads.js";
import { startUrlList } from "./collect_urls.js";
import { element, fetchJson, onSubmit, thumb, toast, url } from "./studio.js";

const PAGE = 100; // pictures
const PRELOADED = 48; // pictures, about as many as fit on a screen
const $ = (id) => document.getElementById(id);

const page = {
  label: "", // "" is all pictures
  offset: 0,
  total: 0,
  classes: [],
  pictures: [],
  chosen: new Set(), // paths
  focused: 0, // the index of the picture that has the focus, or would have it
  undoable: [], // moves, the last one last
  requests: 0,
};

function readAddress() {
  const query = new URLSearchParams(location.search);
  page.label = query.get("class") || "";
  page.offset = (Math.max(1, parseInt(query.get("page"), 10) || 1) - 1) * PAGE;
}

function address(label, offset = 0) {
  return url("/collect", { class: label || null, page: offset ? offset / PAGE + 1 : null });
}

function go(label, offset = 0) {
  const turned = label === page.label && page.total > 0;
  page.label = label;
  page.offset = offset;
  page.focused = 0;
  page.chosen.clear();
  history.pushState(null, "", address(label, offset));
  return load(turned ? [null, fetchJson("GET", listAddress())] : null);
}

// --- data ---

const listAddress = () =>
  url("/api/collect/pictures", { label: page.label || null, offset: page.offset, count: PAGE });

async function load(first = null) {
  const request = ++page.requests;
  const answers = first || [fetchJson("GET", "/api/collect/classes"), fetchJson("GET", listAddress())];
  try {
    const [classes, pictures] = await Promise.all(answers);
    if (request !== page.requests) return; // a newer answer is on its way
    if (classes) {
      page.classes = classes.classes;
      page.all = classes.all;
    }
    page.total = pictures.total;
    page.pictures = pictures.pictures;
    if (!page.pictures.length && page.offset) return go(page.label, lastOffset());
  } catch (error) {
    if (request !== page.requests) return;
    toast(error.message, { error: true });
    if (error.status === 400 && page.label) await go(""); // the class is gone
    return;
  }
  for (const path of page.chosen)
    if (!page.pictures.some((each) => each.path === path)) page.chosen.delete(path);
  drawClasses();
  drawGrid();
  clearTimeout(page.preloading);
  page.preloading = setTimeout(preload, 500);
}

/** Let the browser have the first small pictures of the next page, so that turning is quick. */
async function preload() {
  const offset = page.offset + PAGE;
  if (offset >= page.total) return;
  const values = { label: page.label || null, offset, count: PRELOADED };
  const next = await fetchJson("GET", url("/api/collect/pictures", values)).catch(() => null);
  for (const { path, version } of next?.pictures || []) new Image().src = thumb(path, version);
}

const lastOffset = () => Math.max(0, Math.ceil(page.total / PAGE) - 1) * PAGE;

// --- classes ---

function drawClasses() {
  const items = [classItem("", "All pictures", page.all, "")];
  page.classes.forEach(({ name, count }, index) =>
    items.push(classItem(name, name, count, index < 9 ? String(index + 1) : "")),
  );
  $("classes").replaceChildren(...items);
  const target = $("target");
  const before = target.value;
  target.replaceChildren(
    ...page.classes
      .filter(({ name }) => name !== page.label)
      .map(({ name }) => element("option", { value: name }, name)),
  );
  if ([...target.options].some((each) => each.value === before)) target.value = before;
  $("into").textContent = page.label
    ? `Drop pictures or folders here: they go into ${page.label}. A folder of folders makes a class of each.`
    : "Drop a folder of folders here: each becomes a class. For single pictures, choose or add a class first.";
}

function classItem(label, name, count, key) {
  const place = element(
    "a",
    { href: address(label), "aria-current": label === page.label ? "true" : null },
    element("span", { class: "name" }, name),
    element("span", { class: "number" }, count.toLocaleString("en")),
    key ? element("kbd", { title: `Key ${key} moves pictures into it` }, key) : null,
  );
  place.addEventListener("click", (event) => {
    if (event.ctrlKey || event.metaKey || event.shiftKey) return;
    event.preventDefault();
    go(label);
  });
  const item = element("li", {}, place);
  if (label) acceptDrops(item, label);
  return item;
}

/** Pictures that are dragged onto a class move into it; files are sent into it. */
function acceptDrops(item, label) {
  item.addEventListener("dragover", (event) => {
    event.preventDefault();
    event.stopPropagation();
    item.classList.add("over");
  });
  item.addEventListener("dragleave", () => item.classList.remove("over"));
  item.addEventListener("drop", (event) => {
    event.preventDefault();
    event.stopPropagation();
    item.classList.remove("over");
    if (event.dataTransfer.types.includes("Files")) uploads.drop(event.dataTransfer, label);
    else if (dragged) move([...dragged], label);
  });
}

async function addClass() {
  const field = $("class-name");
  if (!field.value.trim()) return field.focus();
  try {
    const { name } = await fetchJson("POST", "/api/collect/class", { name: field.value });
    field.value = "";
    await go(name);
    $("choose-files").focus();
  } catch (error) {
    toast(error.message, { error: true });
    field.focus();
  }
}

// --- the grid ---

let dragged = null;

function drawGrid() {
  const name = page.label || "All pictures";
  $("shown").textContent = `${name}: ${page.total.toLocaleString("en")}`;
  page.focused = Math.min(page.focused, Math.max(0, page.pictures.length - 1));
  const focused = $("grid").contains(document.activeElement);
  $("grid").replaceChildren(...page.pictures.map(tile));
  $("empty").hidden = page.total > 0;
  $("pager").hidden = page.total <= PAGE;
  const last = page.offset + page.pictures.length;
  $("place").textContent = `${page.offset + 1} to ${last} of ${page.total.toLocaleString("en")}`;
  $("before").disabled = page.offset === 0;
  $("next").disabled = last >= page.total;
  showChoice();
  if (focused) focusTile(page.focused);
}

function tile(picture, index) {
  const image = element("img", {
    src: thumb(picture.path, picture.version),
    alt: "",
    loading: "lazy",
    decoding: "async",
    draggable: "false",
  });
  const chosen = page.chosen.has(picture.path);
  const item = element(
    "li",
    {
      role: "option",
      tabindex: index === page.focused ? "0" : "-1",
      "aria-selected": String(chosen),
      "aria-label": picture.path,
      title: picture.path,
      draggable: "true",
    },
    image,
    element("span", { class: "name" }, picture.name),
  );
  image.addEventListener("error", () => broken(item, picture), { once: true });
  return item;
}

async function broken(item, picture) {
  item.classList.add("broken");
  let reason = "cannot be shown";
  try {
    await fetchJson("GET", thumb(picture.path, picture.version));
  } catch (error) {
    reason = error.message;
  }
  item.title = reason;
  item.querySelector("img").replaceWith(element("span", { class: "reason" }, reason));
}

const tiles = () => [...$("grid").children];

function focusTile(index) {
  const all = tiles();
  if (!all.length) return;
  index = Math.max(0, Math.min(index, all.length - 1));
  all[page.focused]?.setAttribute("tabindex", "-1");
  page.focused = index;
  all[index].setAttribute("tabindex", "0");
  all[index].focus();
}

function choose(index, on = null) {
  const { path } = page.pictures[index];
  const chosen = on === null ? !page.chosen.has(path) : on;
  if (chosen) page.chosen.add(path);
  else page.chosen.delete(path);
  tiles()[index].setAttribute("aria-selected", String(chosen));
}

function showChoice() {
  const count = page.chosen.size;
  $("chosen").textContent = count ? `${count} chosen` : "None chosen";
  $("aside").disabled = !count;
  $("move").disabled = !count || !$("target").value;
  $("undo").disabled = !page.undoable.length;
}

/** The pictures that a key applies to: the chosen ones, or else the one that has the focus. */
function targets() {
  if (page.chosen.size) return [...page.chosen];
  const picture = page.pictures[page.focused];
  return picture ? [picture.path] : [];
}

const columns = () => {
  const all = tiles();
  const top = all[0]?.offsetTop;
  const count = all.findIndex((each) => each.offsetTop !== top);
  return count < 1 ? all.length : count;
};

function keys(event) {
  if (event.altKey) return;
  const steps = {
    ArrowRight: 1,
    ArrowLeft: -1,
    ArrowDown: columns(),
    ArrowUp: -columns(),
    Home: -page.focused,
    End: tiles().length - 1 - page.focused,
  };
  const control = event.ctrlKey || event.metaKey;
  const key = event.key;
  if (control && key.toLowerCase() === "a") tiles().forEach((_, index) => choose(index, true));
  else if (control && key.toLowerCase() === "z") undo();
  else if (control) return;
  else if (key in steps) focusTile(page.focused + steps[key]);
  else if (key === " ") choose(page.focused);
  else if (key === "Escape") tiles().forEach((_, index) => choose(index, false));
  else if (key === "Enter") showLarge(page.pictures[page.focused]);
  else if (key === "PageDown") turn(PAGE);
  else if (key === "PageUp") turn(-PAGE);
  else if (key === "Delete" || key === "Backspace") setAside(targets());
  else if (key === "u" || key === "U") undo();
  else if (/^[1-9]$/.test(key) && page.classes[key - 1]) move(targets(), page.classes[key - 1].name);
  else return;
  event.preventDefault();
  showChoice();
}

function turn(step) {
  const offset = page.offset + step;
  if (offset >= 0 && offset < page.total) go(page.label, offset).then(() => focusTile(0));
}

// --- changes ---

async function change(address, body, words) {
  try {
    const { moves, problems } = await fetchJson("POST", address, body);
    const moved = moves.filter(([source, target]) => source !== target);
    if (moved.length && words) {
      page.undoable.push(moved);
      toast(`${pictures(moved.length)} ${words}`, { action: { name: "Undo", run: undo } });
    }
    if (problems.length) {
      const more = problems.length > 1 ? ` (and ${problems.length - 1} more)` : "";
      toast(`${problems[0].name}: ${problems[0].reason}${more}`, { error: true });
    }
    page.chosen.clear();
    await load();
    return moves.length;
  } catch (error) {
    toast(error.message, { error: true });
    return 0;
  }
}

const pictures = (count) => `${count.toLocaleString("en")} picture${count === 1 ? "" : "s"}`;

function move(paths, label) {
  if (paths.length && label)
    return change("/api/collect/move", { paths, label }, `moved to ${label}`);
}

function setAside(paths) {
  if (paths.length) return change("/api/collect/aside", { paths }, "set aside");
}

async function undo() {
  const moves = page.undoable.pop();
  if (!moves) return;
  const count = await change("/api/collect/undo", { moves }, "");
  if (count) toast(`${pictures(count)} back where they were`);
  showChoice();
}

function showLarge(picture) {
  if (!picture) return;
  $("large-name").textContent = picture.path;
  $("large-picture").alt = picture.name;
  $("large-picture").src = url("/api/picture", { path: picture.path, v: picture.version });
  $("large").showModal();
}

// --- start ---

let uploads;

function start() {
  const collectPage = { label: () => page.label, reload: () => load(), into: go };
  uploads = startUploads(collectPage);
  startCamera(collectPage, uploads);
  startUrlList(collectPage);
  onSubmit($("add-class"), addClass);
  const grid = $("grid");
  grid.addEventListener("keydown", keys);
  grid.addEventListener("click", (event) => {
    const index = tiles().indexOf(event.target.closest("li"));
    if (index < 0) return;
    focusTile(index);
    choose(index);
    showChoice();
  });
  grid.addEventListener("dblclick", (event) => {
    const index = tiles().indexOf(event.target.closest("li"));
    if (index >= 0) showLarge(page.pictures[index]);
  });
  grid.addEventListener("focusin", (event) => {
    const index = tiles().indexOf(event.target);
    if (index >= 0) page.focused = index;
  });
  grid.addEventListener("dragstart", (event) => {
    const index = tiles().indexOf(event.target.closest("li"));
    const path = page.pictures[index]?.path;
    dragged = page.chosen.has(path) ? [...page.chosen] : [path];
    event.dataTransfer.setData("text/plain", dragged.join("\n"));
    event.dataTransfer.effectAllowed = "move";
  });
  grid.addEventListener("dragend", () => (dragged = null));
  $("move").addEventListener("click", () => move([...page.chosen], $("target").value));
  $("aside").addEventListener("click", () => setAside([...page.chosen]));
  $("undo").addEventListener("click", undo);
  $("before").addEventListener("click", () => go(page.label, page.offset - PAGE));
  $("next").addEventListener("click", () => go(page.label, page.offset + PAGE));
  $("large-close").addEventListener("click", () => $("large").close());
  addEventListener("popstate", () => {
    readAddress();
    load();
  });
}

readAddress();
start();
load();
