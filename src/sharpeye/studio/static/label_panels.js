// What stands beside the picture: position, classes, boxes, messages, dialogs.

import { address } from "./label_work.js";
import { onSubmit } from "./studio.js";

const AROUND = 4; // pictures before and after, in the strip
const at = (id) => document.getElementById(id);

/** Light enough for black text on it (8 : 1 or so), far apart for neighbours. */
export const colourOf = (number) =>
  number < 0 ? "hsl(0 0% 80%)" : `hsl(${Math.round(number * 137.508 + 48) % 360} 85% 72%)`;

function make(tag, properties = {}, ...inner) {
  const made = Object.assign(document.createElement(tag), properties);
  made.append(...inner); // texts stay texts
  return made;
}

/** Replace the children, but keep the keyboard's place among them. */
function refill(list, children) {
  const focused = list.contains(document.activeElement) ? document.activeElement.dataset.key : "";
  list.replaceChildren(...children);
  if (focused) list.querySelector(`[data-key="${CSS.escape(focused)}"]`)?.focus();
}

export class Panels {
  constructor(page, calls) {
    this.page = page;
    this.calls = calls;
    this.help = at("help");
    this.classInput = at("class-name");
    this.sorting = page.setup.mode === "sort";
    at("previous").onclick = () => calls.step(-1);
    at("next").onclick = () => calls.step(1);
    at("position").onchange = (event) => {
      calls.go(Math.min(Math.max(Number(event.target.value) || 1, 1), page.items.length) - 1);
      at("stage").focus();
    };
    at("filter").onchange = (event) => {
      calls.filter(event.target.value);
      at("stage").focus();
    };
    at("model").onchange = (event) => {
      calls.run(event.target.value);
      at("stage").focus();
    };
    at("accept").onclick = () => calls.accept();
    if (!this.sorting) {
      at("verified").onchange = () => calls.verify();
      at("truncated").onchange = () => calls.flag("truncated");
      at("difficult").onchange = () => calls.flag("difficult");
      at("delete").onclick = () => calls.remove(page.selected);
    }
    at("afresh").onclick = () => calls.afresh();
    at("open-help").onclick = () => this.help.showModal();
    onSubmit(at("class-form"), () => {
      calls.addClass(this.classInput.value);
      this.classInput.value = "";
      at("stage").focus();
    });
    at("which").oncancel = (event) => event.preventDefault(); // it wants an answer
    for (const choice of ["both", "mine", "theirs"]) {
      at(`take-${choice}`).onclick = () => {
        at("which").close();
        calls.settle(choice);
      };
    }
    at("filter").value = page.filter;
    at("model").value = page.run ?? "";
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
    at("position").value = number + 1;
    at("position").max = items.length;
    at("total").textContent = `of ${items.length}`;
    at("name").textContent = at("name").title = items[number]?.path ?? "";
    const done = this.sorting
      ? items.filter((item) => this.page.classes.some((name) => item.path.startsWith(`${name}/`))).length
      : items.filter((item) => item.boxes || item.verified).length;
    const word = this.sorting ? "sorted" : "labelled";
    at("progress-text").textContent = `${word} ${done} of ${items.length}`;
    Object.assign(at("progress"), { max: Math.max(items.length, 1), value: done });
  }

  classes() {
    const { classes, current, folders } = this.page;
    const counts = new Map(folders);
    refill(
      at("classes"),
      classes.map((name, number) => {
        const key = make("span", { className: "key" }, String(number + 1));
        key.style.background = colourOf(number);
        const button = make("button", { type: "button" }, key, make("span", { className: "name" }, name));
        if (this.sorting) button.append(make("span", { className: "count" }, String(counts.get(name) ?? 0)));
        else button.setAttribute("aria-pressed", String(number === current));
        button.dataset.key = `class ${name}`;
        button.onclick = (event) => {
          this.calls.choose(number);
          if (event.detail) at("stage").focus(); // by mouse: the keys go on with the picture
        };
        return make("li", {}, button);
      }),
    );
    at("no-classes").hidden = classes.length > 0;
    at("known-classes").replaceChildren(...classes.map((name) => make("option", { value: name })));
  }

  boxes() {
    if (this.sorting) return;
    const { doc, selected, classes } = this.page;
    const objects = doc?.now.objects ?? [];
    refill(
      at("objects"),
      objects.map((each, number) => {
        const swatch = make("span", { className: "key" }, String(number + 1));
        swatch.style.background = colourOf(classes.indexOf(each.name));
        const marks = [each.truncated && "truncated", each.difficult && "difficult"].filter(Boolean);
        const size = each.box
          ? `${Math.round(each.box[2] - each.box[0])} × ${Math.round(each.box[3] - each.box[1])}`
          : "outside of the picture";
        const text = [size, ...marks].join(", ");
        const name = make("span", { className: "name" }, each.name || "no class");
        const button = make("button", { type: "button" }, swatch, name, make("span", { className: "count" }, text));
        button.setAttribute("aria-pressed", String(each.uid === selected));
        button.dataset.key = `box ${each.uid}`;
        button.onclick = (event) => {
          this.calls.select(each.uid);
          if (event.detail) at("stage").focus();
        };
        return make("li", {}, button);
      }),
    );
    at("no-boxes").hidden = objects.length > 0;
    const found = objects.find((each) => each.uid === selected);
    for (const name of ["truncated", "difficult"]) {
      at(name).disabled = !found;
      at(name).checked = Boolean(found?.[name]);
    }
    at("delete").disabled = !found;
    at("verified").disabled = !doc;
    at("verified").checked = Boolean(doc?.now.verified);
  }

  strip() {
    const { items, at: number, filter } = this.page;
    const shown = [number];
    for (const by of [-1, 1]) {
      let next = number;
      for (let count = 0; count < AROUND; count += 1) {
        next = this.calls.near(next, by);
        if (next < 0) break;
        shown.push(next);
      }
    }
    shown.sort((a, b) => a - b);
    const key = JSON.stringify([shown.map((each) => [items[each]?.path, items[each]?.boxes, items[each]?.verified]), number, filter]);
    if (number < 0 || key === this.stripKey) return;
    this.stripKey = key;
    refill(
      at("strip"),
      shown.filter((each) => items[each]).map((each) => {
        const { path, version, boxes, verified } = items[each];
        const image = make("img", { src: address("/api/thumb", { path, size: 128, v: version }), alt: "", loading: "lazy" });
        const mark = make("span", { className: "mark" }, this.sorting ? "" : verified ? "✓" : boxes ? String(boxes) : "");
        const button = make("button", { type: "button", title: path }, image, mark);
        const state = this.sorting ? "" : verified ? ", verified" : boxes ? `, ${boxes} boxes` : ", not labelled";
        button.setAttribute("aria-label", `Picture ${each + 1}: ${path}${state}`);
        if (each === number) button.setAttribute("aria-current", "true");
        button.dataset.key = path;
        button.onclick = () => this.calls.go(each);
        return make("li", {}, button);
      }),
    );
  }

  suggestion() {
    const { suggestion, run, doc, noSuggestion } = this.page;
    at("accept").disabled = !suggestion;
    const unlike = suggestion?.unknown ? "; but it has learned nothing like this picture" : "";
    at("suggested").textContent = suggestion
      ? `${suggestion.name}, ${Math.round(100 * suggestion.score)} % sure${unlike}`
      : run && doc && !doc.now.objects.length && noSuggestion ? noSuggestion : "";
  }

  // --- messages ----------------------------------------------------------------------------------

  /** For everybody's ears; also on the screen if `seen`. */
  say(text, seen = false) {
    at("say").textContent = text;
    if (!seen) return;
    at("note").textContent = text;
    at("note").hidden = false;
    clearTimeout(this.noteTimer);
    this.noteTimer = setTimeout(() => (at("note").hidden = true), 6000);
  }

  status(text, kind) {
    const saved = at("saved");
    if (saved.textContent !== text) saved.textContent = text;
    saved.title = text;
    saved.dataset.kind = kind;
  }

  /** Whether everything is on the disk. */
  saving(work) {
    const left = work.unsaved();
    const asking = left.filter((doc) => doc.conflict).length;
    const refused = left.find((doc) => doc.refused);
    const pictures = left.length === 1 ? "1 picture" : `${left.length} pictures`;
    if (!left.length) this.status("Saved", "saved");
    else if (work.away) {
      const why = work.why || "the studio does not answer";
      this.status(`Not saved yet: ${why}. ${pictures} kept here, sent when it is back.`, "away");
    } else if (refused) this.status(`${refused.path} cannot be saved: ${refused.refused}`, "away");
    else if (asking) this.status(`Not saved yet: ${pictures} changed by another tab, too.`, "away");
    else this.status("Saving", "saving");
    this.attend(left.find((doc) => doc.refused || doc.conflict));
  }

  /** A way to a picture whose change waits for a person. */
  attend(doc) {
    const place = doc ? this.page.items.findIndex((item) => item.path === doc.path) : -1;
    const elsewhere = place >= 0 && place !== this.page.at;
    at("attend").hidden = !elsewhere;
    at("attend").onclick = () => this.calls.attend(doc);
    at("discard").hidden = !doc?.refused || elsewhere;
    at("discard").onclick = () => this.calls.discard(doc);
  }

  trouble(text, fixable = false) {
    at("trouble").hidden = !text;
    at("trouble-text").textContent = text;
    at("afresh").hidden = !fixable;
  }

  // --- dialogs -----------------------------------------------------------------------------------

  /** Both versions of a picture, side by side. */
  askWhich(doc) {
    if (at("which").open || !doc.conflict) return;
    const shape = (objects) => {
      const drawing = document.createElementNS("http://www.w3.org/2000/svg", "svg");
      drawing.setAttribute("viewBox", `0 0 ${doc.width} ${doc.height}`);
      for (const { box, name } of objects.filter((each) => each.box)) {
        const rect = document.createElementNS("http://www.w3.org/2000/svg", "rect");
        const place = { x: box[0], y: box[1], width: box[2] - box[0], height: box[3] - box[1] };
        for (const [key, value] of Object.entries(place)) rect.setAttribute(key, value);
        rect.setAttribute("stroke", colourOf(this.page.classes.indexOf(name)));
        drawing.append(rect);
      }
      const image = make("img", { src: address("/api/picture", { path: doc.path, most: 512 }), alt: "" });
      return make("div", { className: "both-pictures" }, image, drawing);
    };
    const words = (objects) =>
      objects.map(({ name, box }) => `${name || "no class"} ${(box ?? []).map(Math.round).join(", ")}`).join("; ") || "no boxes";
    const sides = [["Yours", doc.now], ["The other tab's", doc.conflict]];
    at("which-sides").replaceChildren(
      ...sides.map(([title, { objects }]) =>
        make("figure", {}, shape(objects), make("figcaption", {}, make("strong", {}, title), ` ${words(objects)}`)),
      ),
    );
    at("which-name").textContent = doc.path;
    at("which").showModal();
  }

  /** The name of the first class; empty if a person gives none. */
  askClass() {
    const dialog = at("first-class");
    const input = at("first-class-name");
    input.value = "";
    dialog.returnValue = "";
    dialog.showModal();
    return new Promise((done) => {
      dialog.onclose = () => {
        const name = dialog.returnValue === "ok" ? input.value.trim() : "";
        if (name) this.calls.addClass(name);
        at("stage").focus();
        done(name);
      };
    });
  }
}
