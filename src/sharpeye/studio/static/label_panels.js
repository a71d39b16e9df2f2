// The panels around the image: position, classes, boxes, messages, dialogs.

import { address } from "./label_store.js";
import { onSubmit } from "./studio.js";

const NEIGHBOURS = 4; // images before and after the current one, in the strip
const byId = (id) => document.getElementById(id);

/** A colour with a contrast of about 8 to 1 to black text; successive numbers differ clearly. */
export const colourOf = (number) =>
  number < 0 ? "hsl(0 0% 80%)" : `hsl(${Math.round(number * 137.508 + 48) % 360} 85% 72%)`;

function createNode(tag, properties = {}, ...content) {
  const node = Object.assign(document.createElement(tag), properties);
  node.append(...content); // strings become text nodes, never HTML
  return node;
}

/** Replace the children, but keep the keyboard focus on the same one. */
function refill(list, children) {
  const focused = list.contains(document.activeElement) ? document.activeElement.dataset.key : "";
  list.replaceChildren(...children);
  if (focused) list.querySelector(`[data-key="${CSS.escape(focused)}"]`)?.focus();
}

export class Panels {
  constructor(page, callbacks) {
    this.page = page;
    this.callbacks = callbacks;
    this.help = byId("help");
    this.classInput = byId("class-name");
    this.sorting = page.setup.mode === "sort";
    byId("previous").onclick = () => callbacks.step(-1);
    byId("next").onclick = () => callbacks.step(1);
    byId("position").onchange = (event) => {
      callbacks.go(Math.min(Math.max(Number(event.target.value) || 1, 1), page.items.length) - 1);
      byId("stage").focus();
    };
    byId("filter").onchange = (event) => {
      callbacks.filter(event.target.value);
      byId("stage").focus();
    };
    byId("model").onchange = (event) => {
      callbacks.run(event.target.value);
      byId("stage").focus();
    };
    byId("accept").onclick = () => callbacks.accept();
    if (!this.sorting) {
      byId("verified").onchange = () => callbacks.verify();
      byId("truncated").onchange = () => callbacks.flag("truncated");
      byId("difficult").onchange = () => callbacks.flag("difficult");
      byId("delete").onclick = () => callbacks.remove(page.selected);
    }
    byId("replace-file").onclick = () => callbacks.replaceFile();
    byId("open-help").onclick = () => this.help.showModal();
    onSubmit(byId("class-form"), () => {
      callbacks.addClass(this.classInput.value);
      this.classInput.value = "";
      byId("stage").focus();
    });
    byId("conflict").oncancel = (event) => event.preventDefault(); // a choice is required
    for (const choice of ["both", "mine", "theirs"]) {
      byId(`take-${choice}`).onclick = () => {
        byId("conflict").close();
        callbacks.resolveConflict(choice);
      };
    }
    byId("filter").value = page.filter;
    byId("model").value = page.run ?? "";
  }

  all() {
    this.position();
    this.classes();
    this.boxes();
    this.strip();
    this.suggestion();
  }

  position() {
    const { items, at: number } = this.page;
    byId("position").value = number + 1;
    byId("position").max = items.length;
    byId("total").textContent = `of ${items.length}`;
    byId("name").textContent = byId("name").title = items[number]?.path ?? "";
    const doneCount = this.sorting
      ? items.filter((item) => this.page.classes.some((name) => item.path.startsWith(`${name}/`))).length
      : items.filter((item) => item.boxes || item.verified).length;
    const word = this.sorting ? "sorted" : "labelled";
    byId("progress-text").textContent = `${word} ${doneCount} of ${items.length}`;
    Object.assign(byId("progress"), { max: Math.max(items.length, 1), value: doneCount });
  }

  classes() {
    const { classes, current, folders } = this.page;
    const counts = new Map(folders);
    refill(
      byId("classes"),
      classes.map((name, number) => {
        const key = createNode("span", { className: "key" }, String(number + 1));
        key.style.background = colourOf(number);
        const button = createNode("button", { type: "button" }, key, createNode("span", { className: "name" }, name));
        if (this.sorting) button.append(createNode("span", { className: "count" }, String(counts.get(name) ?? 0)));
        else button.setAttribute("aria-pressed", String(number === current));
        button.dataset.key = `class ${name}`;
        button.onclick = (event) => {
          this.callbacks.choose(number);
          if (event.detail) byId("stage").focus(); // by mouse: keys apply to the image again
        };
        return createNode("li", {}, button);
      }),
    );
    byId("no-classes").hidden = classes.length > 0;
    byId("known-classes").replaceChildren(...classes.map((name) => createNode("option", { value: name })));
  }

  boxes() {
    if (this.sorting) return;
    const { doc, selected, classes } = this.page;
    const objects = doc?.now.objects ?? [];
    refill(
      byId("objects"),
      objects.map((each, number) => {
        const swatch = createNode("span", { className: "key" }, String(number + 1));
        swatch.style.background = colourOf(classes.indexOf(each.name));
        const marks = [each.truncated && "truncated", each.difficult && "difficult"].filter(Boolean);
        const size = each.box
          ? `${Math.round(each.box[2] - each.box[0])} × ${Math.round(each.box[3] - each.box[1])}`
          : "outside of the picture";
        const text = [size, ...marks].join(", ");
        const name = createNode("span", { className: "name" }, each.name || "no class");
        const button = createNode("button", { type: "button" }, swatch, name, createNode("span", { className: "count" }, text));
        button.setAttribute("aria-pressed", String(each.uid === selected));
        button.dataset.key = `box ${each.uid}`;
        button.onclick = (event) => {
          this.callbacks.select(each.uid);
          if (event.detail) byId("stage").focus();
        };
        return createNode("li", {}, button);
      }),
    );
    byId("no-boxes").hidden = objects.length > 0;
    const found = objects.find((each) => each.uid === selected);
    for (const name of ["truncated", "difficult"]) {
      byId(name).disabled = !found;
      byId(name).checked = Boolean(found?.[name]);
    }
    byId("delete").disabled = !found;
    byId("verified").disabled = !doc;
    byId("verified").checked = Boolean(doc?.now.verified);
  }

  strip() {
    const { items, at: number, filter } = this.page;
    const shown = [number];
    for (const by of [-1, 1]) {
      let next = number;
      for (let count = 0; count < NEIGHBOURS; count += 1) {
        next = this.callbacks.near(next, by);
        if (next < 0) break;
        shown.push(next);
      }
    }
    shown.sort((a, b) => a - b);
    const key = JSON.stringify([shown.map((each) => [items[each]?.path, items[each]?.boxes, items[each]?.verified]), number, filter]);
    if (number < 0 || key === this.stripKey) return;
    this.stripKey = key;
    refill(
      byId("strip"),
      shown.filter((each) => items[each]).map((each) => {
        const { path, version, boxes, verified } = items[each];
        const image = createNode("img", { src: address("/api/thumb", { path, size: 128, v: version }), alt: "", loading: "lazy" });
        const mark = createNode("span", { className: "mark" }, this.sorting ? "" : verified ? "✓" : boxes ? String(boxes) : "");
        const button = createNode("button", { type: "button", title: path }, image, mark);
        const state = this.sorting ? "" : verified ? ", verified" : boxes ? `, ${boxes} boxes` : ", not labelled";
        button.setAttribute("aria-label", `Picture ${each + 1}: ${path}${state}`);
        if (each === number) button.setAttribute("aria-current", "true");
        button.dataset.key = path;
        button.onclick = () => this.callbacks.go(each);
        return createNode("li", {}, button);
      }),
    );
  }

  suggestion() {
    const { suggestion, run, doc, noSuggestion } = this.page;
    byId("accept").disabled = !suggestion;
    const unknownNote = suggestion?.unknown ? "; but it has learned nothing like this picture" : "";
    byId("suggested").textContent = suggestion
      ? `${suggestion.name}, ${Math.round(100 * suggestion.score)} % sure${unknownNote}`
      : run && doc && !doc.now.objects.length && noSuggestion ? noSuggestion : "";
  }

  // --- messages ----------------------------------------------------------------------------------

  /** Announce a text to screen readers; show it on the page, too, if `visible`. */
  announce(text, visible = false) {
    byId("announcement").textContent = text;
    if (!visible) return;
    byId("note").textContent = text;
    byId("note").hidden = false;
    clearTimeout(this.noteTimer);
    this.noteTimer = setTimeout(() => (byId("note").hidden = true), 6000);
  }

  status(text, kind) {
    const saved = byId("saved");
    if (saved.textContent !== text) saved.textContent = text;
    saved.title = text;
    saved.dataset.kind = kind;
  }

  /** Show whether all changes are saved on the server. */
  showSaveState(store) {
    const unsaved = store.unsaved();
    const conflicts = unsaved.filter((doc) => doc.conflict).length;
    const refused = unsaved.find((doc) => doc.refused);
    const imageCount = unsaved.length === 1 ? "1 picture" : `${unsaved.length} pictures`;
    if (!unsaved.length) this.status("Saved", "saved");
    else if (store.offline) {
      const reason = store.offlineReason || "the studio does not answer";
      this.status(`Not saved yet: ${reason}. ${imageCount} kept here, sent when it is back.`, "away");
    } else if (refused) this.status(`${refused.path} cannot be saved: ${refused.refused}`, "away");
    else if (conflicts) this.status(`Not saved yet: ${imageCount} changed by another tab, too.`, "away");
    else this.status("Saving", "saving");
    this.showUnsaved(unsaved.find((doc) => doc.refused || doc.conflict));
  }

  /** Show buttons for an image whose change needs a decision of the user. */
  showUnsaved(doc) {
    const index = doc ? this.page.items.findIndex((item) => item.path === doc.path) : -1;
    const elsewhere = index >= 0 && index !== this.page.at;
    byId("show-unsaved").hidden = !elsewhere;
    byId("show-unsaved").onclick = () => this.callbacks.showUnsaved(doc);
    byId("discard").hidden = !doc?.refused || elsewhere;
    byId("discard").onclick = () => this.callbacks.discard(doc);
  }

  showProblem(text, fixable = false) {
    byId("trouble").hidden = !text;
    byId("trouble-text").textContent = text;
    byId("replace-file").hidden = !fixable;
  }

  // --- dialogs -----------------------------------------------------------------------------------

  /** Show both versions of the boxes of an image, side by side. */
  showConflict(doc) {
    if (byId("conflict").open || !doc.conflict) return;
    const imageWithBoxes = (objects) => {
      const drawing = document.createElementNS("http://www.w3.org/2000/svg", "svg");
      drawing.setAttribute("viewBox", `0 0 ${doc.width} ${doc.height}`);
      for (const { box, name } of objects.filter((each) => each.box)) {
        const rect = document.createElementNS("http://www.w3.org/2000/svg", "rect");
        const attributes = { x: box[0], y: box[1], width: box[2] - box[0], height: box[3] - box[1] };
        for (const [key, value] of Object.entries(attributes)) rect.setAttribute(key, value);
        rect.setAttribute("stroke", colourOf(this.page.classes.indexOf(name)));
        drawing.append(rect);
      }
      const image = createNode("img", { src: address("/api/picture", { path: doc.path, most: 512 }), alt: "" });
      return createNode("div", { className: "image-with-boxes" }, image, drawing);
    };
    const boxText = (objects) =>
      objects.map(({ name, box }) => `${name || "no class"} ${(box ?? []).map(Math.round).join(", ")}`).join("; ") || "no boxes";
    const sides = [["Yours", doc.now], ["The other tab's", doc.conflict]];
    byId("conflict-sides").replaceChildren(
      ...sides.map(([title, { objects }]) =>
        createNode("figure", {}, imageWithBoxes(objects), createNode("figcaption", {}, createNode("strong", {}, title), ` ${boxText(objects)}`)),
      ),
    );
    byId("conflict-name").textContent = doc.path;
    byId("conflict").showModal();
  }

  /** Ask for the name of the first class; it is empty if the user gives none. */
  promptForClass() {
    const dialog = byId("first-class");
    const input = byId("first-class-name");
    input.value = "";
    dialog.returnValue = "";
    dialog.showModal();
    return new Promise((resolve) => {
      dialog.onclose = () => {
        const name = dialog.returnValue === "ok" ? input.value.trim() : "";
        if (name) this.callbacks.addClass(name);
        byId("stage").focus();
        resolve(name);
      };
    });
  }
}
