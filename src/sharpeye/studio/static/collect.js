// The page Collect: the list of classes, the images of a class, moving them and setting them aside.
// Uploads, the camera and lists of URLs are in modules of their own.
import { startCamera } from "./collect_camera.js";
import { startUploads } from "./collect_uploads.js";
import { startUrlList } from "./collect_urls.js";
import { element, fetchJson, onSubmit, thumb, toast, url } from "./studio.js";

const PAGE_SIZE = 100; // images
const PRELOAD_COUNT = 48; // images, about as many as fit on a screen
const $ = (id) => document.getElementById(id);

const page = {
  label: "", // "" stands for all images
  offset: 0,
  total: 0,
  classes: [],
  images: [],
  chosen: new Set(), // paths
  focused: 0, // index of the image that has the focus, or gets it when the grid is focused
  undoable: [], // lists of moves, the newest last
  requests: 0,
};

function readAddress() {
  const query = new URLSearchParams(location.search);
  page.label = query.get("class") || "";
  page.offset = (Math.max(1, parseInt(query.get("page"), 10) || 1) - 1) * PAGE_SIZE;
}

function address(label, offset = 0) {
  return url("/collect", { class: label || null, page: offset ? offset / PAGE_SIZE + 1 : null });
}

function go(label, offset = 0) {
  const sameClass = label === page.label && page.total > 0;
  page.label = label;
  page.offset = offset;
  page.focused = 0;
  page.chosen.clear();
  history.pushState(null, "", address(label, offset));
  return load(sameClass ? [null, fetchJson("GET", listAddress())] : null);
}

// --- data ---

const listAddress = () =>
  url("/api/collect/pictures", { label: page.label || null, offset: page.offset, count: PAGE_SIZE });

async function load(promises = null) {
  const request = ++page.requests;
  const pending = promises || [
    fetchJson("GET", "/api/collect/classes"),
    fetchJson("GET", listAddress()),
  ];
  try {
    const [classes, listing] = await Promise.all(pending);
    if (request !== page.requests) return; // a newer request has been sent
    if (classes) {
      page.classes = classes.classes;
      page.all = classes.all;
    }
    page.total = listing.total;
    page.images = listing.pictures;
    if (!page.images.length && page.offset) return go(page.label, lastOffset());
  } catch (error) {
    if (request !== page.requests) return;
    toast(error.message, { error: true });
    if (error.status === 400 && page.label) await go(""); // the class no longer exists
    return;
  }
  for (const path of page.chosen)
    if (!page.images.some((each) => each.path === path)) page.chosen.delete(path);
  drawClasses();
  drawGrid();
  clearTimeout(page.preloading);
  page.preloading = setTimeout(preload, 500);
}

/** Preload the first thumbnails of the next page, so that it is shown quickly. */
async function preload() {
  const offset = page.offset + PAGE_SIZE;
  if (offset >= page.total) return;
  const values = { label: page.label || null, offset, count: PRELOAD_COUNT };
  const next = await fetchJson("GET", url("/api/collect/pictures", values)).catch(() => null);
  for (const { path, version } of next?.pictures || []) new Image().src = thumb(path, version);
}

const lastOffset = () => Math.max(0, Math.ceil(page.total / PAGE_SIZE) - 1) * PAGE_SIZE;

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
  const link = element(
    "a",
    { href: address(label), "aria-current": label === page.label ? "true" : null },
    element("span", { class: "name" }, name),
    element("span", { class: "number" }, count.toLocaleString("en")),
    key ? element("kbd", { title: `Key ${key} moves pictures into it` }, key) : null,
  );
  link.addEventListener("click", (event) => {
    if (event.ctrlKey || event.metaKey || event.shiftKey) return;
    event.preventDefault();
    go(label);
  });
  const item = element("li", {}, link);
  if (label) acceptDrops(item, label);
  return item;
}

/** Images that are dropped on a class are moved into it; files are uploaded into it. */
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
  page.focused = Math.min(page.focused, Math.max(0, page.images.length - 1));
  const focused = $("grid").contains(document.activeElement);
  $("grid").replaceChildren(...page.images.map(tile));
  $("empty").hidden = page.total > 0;
  $("pager").hidden = page.total <= PAGE_SIZE;
  const last = page.offset + page.images.length;
  $("place").textContent = `${page.offset + 1} to ${last} of ${page.total.toLocaleString("en")}`;
  $("before").disabled = page.offset === 0;
  $("next").disabled = last >= page.total;
  showSelection();
  if (focused) focusTile(page.focused);
}

function tile(image, index) {
  const img = element("img", {
    src: thumb(image.path, image.version),
    alt: "",
    loading: "lazy",
    decoding: "async",
    draggable: "false",
  });
  const chosen = page.chosen.has(image.path);
  const item = element(
    "li",
    {
      role: "option",
      tabindex: index === page.focused ? "0" : "-1",
      "aria-selected": String(chosen),
      "aria-label": image.path,
      title: image.path,
      draggable: "true",
    },
    img,
    element("span", { class: "name" }, image.name),
  );
  img.addEventListener("error", () => showBroken(item, image), { once: true });
  return item;
}

async function showBroken(item, image) {
  item.classList.add("broken");
  let reason = "cannot be shown";
  try {
    await fetchJson("GET", thumb(image.path, image.version));
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
  const { path } = page.images[index];
  const chosen = on === null ? !page.chosen.has(path) : on;
  if (chosen) page.chosen.add(path);
  else page.chosen.delete(path);
  tiles()[index].setAttribute("aria-selected", String(chosen));
}

function showSelection() {
  const count = page.chosen.size;
  $("chosen").textContent = count ? `${count} chosen` : "None chosen";
  $("aside").disabled = !count;
  $("move").disabled = !count || !$("target").value;
  $("undo").disabled = !page.undoable.length;
}

/** The paths that a key applies to: the chosen images, or else the focused one. */
function targetPaths() {
  if (page.chosen.size) return [...page.chosen];
  const image = page.images[page.focused];
  return image ? [image.path] : [];
}

const columns = () => {
  const all = tiles();
  const top = all[0]?.offsetTop;
  const count = all.findIndex((each) => each.offsetTop !== top);
  return count < 1 ? all.length : count;
};

function onKeydown(event) {
  if (event.altKey) return;
  const steps = {
    ArrowRight: 1,
    ArrowLeft: -1,
    ArrowDown: columns(),
    ArrowUp: -columns(),
    Home: -page.focused,
    End: tiles().length - 1 - page.focused,
  };
  const withControl = event.ctrlKey || event.metaKey;
  const key = event.key;
  if (withControl && key.toLowerCase() === "a") tiles().forEach((_, index) => choose(index, true));
  else if (withControl && key.toLowerCase() === "z") undo();
  else if (withControl) return;
  else if (key in steps) focusTile(page.focused + steps[key]);
  else if (key === " ") choose(page.focused);
  else if (key === "Escape") tiles().forEach((_, index) => choose(index, false));
  else if (key === "Enter") showLarge(page.images[page.focused]);
  else if (key === "PageDown") turn(PAGE_SIZE);
  else if (key === "PageUp") turn(-PAGE_SIZE);
  else if (key === "Delete" || key === "Backspace") setAside(targetPaths());
  else if (key === "u" || key === "U") undo();
  else if (/^[1-9]$/.test(key) && page.classes[key - 1]) move(targetPaths(), page.classes[key - 1].name);
  else return;
  event.preventDefault();
  showSelection();
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
      toast(`${countText(moved.length)} ${words}`, { action: { name: "Undo", run: undo } });
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

const countText = (count) => `${count.toLocaleString("en")} picture${count === 1 ? "" : "s"}`;

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
  if (count) toast(`${countText(count)} back where they were`);
  showSelection();
}

function showLarge(image) {
  if (!image) return;
  $("large-name").textContent = image.path;
  $("large-image").alt = image.name;
  $("large-image").src = url("/api/picture", { path: image.path, v: image.version });
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
  grid.addEventListener("keydown", onKeydown);
  grid.addEventListener("click", (event) => {
    const index = tiles().indexOf(event.target.closest("li"));
    if (index < 0) return;
    focusTile(index);
    choose(index);
    showSelection();
  });
  grid.addEventListener("dblclick", (event) => {
    const index = tiles().indexOf(event.target.closest("li"));
    if (index >= 0) showLarge(page.images[index]);
  });
  grid.addEventListener("focusin", (event) => {
    const index = tiles().indexOf(event.target);
    if (index >= 0) page.focused = index;
  });
  grid.addEventListener("dragstart", (event) => {
    const index = tiles().indexOf(event.target.closest("li"));
    const path = page.images[index]?.path;
    dragged = page.chosen.has(path) ? [...page.chosen] : [path];
    event.dataTransfer.setData("text/plain", dragged.join("\n"));
    event.dataTransfer.effectAllowed = "move";
  });
  grid.addEventListener("dragend", () => (dragged = null));
  $("move").addEventListener("click", () => move([...page.chosen], $("target").value));
  $("aside").addEventListener("click", () => setAside([...page.chosen]));
  $("undo").addEventListener("click", undo);
  $("before").addEventListener("click", () => go(page.label, page.offset - PAGE_SIZE));
  $("next").addEventListener("click", () => go(page.label, page.offset + PAGE_SIZE));
  $("large-close").addEventListener("click", () => $("large").close());
  addEventListener("popstate", () => {
    readAddress();
    load();
  });
}

readAddress();
start();
load();
