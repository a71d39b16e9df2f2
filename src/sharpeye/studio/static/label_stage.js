// One picture with its boxes: drawn, moved and resized by pointer, zoomed, panned.
//
// Boxes are [xmin, ymin, xmax, ymax], whole pixels of the true picture, edges between pixels,
// whatever size the picture on the screen has. The boxes are SVG in the screen's own pixels: they
// stay crisp at any zoom and any device pixel ratio.

const SVG = "http://www.w3.org/2000/svg";
const MOST_ZOOM = 40; // screen pixels a picture's pixel
const LEAST_ZOOM = 0.5; // of the size at which the picture fits
const CLICK_PX = 4; // a shorter drag is a click
const HANDLES = ["nw", "n", "ne", "e", "se", "s", "sw", "w"];
const CURSORS = { n: "ns", s: "ns", e: "ew", w: "ew", nw: "nwse", se: "nwse", ne: "nesw", sw: "nesw" };

const pen = document.createElement("canvas").getContext("2d");
pen.font = "600 12px system-ui, sans-serif"; // as in label.css

const clamp = (value, low, high) => Math.min(Math.max(value, low), high);

function svg(tag, attributes, text) {
  const made = document.createElementNS(SVG, tag);
  for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, value);
  if (text !== undefined) made.textContent = text; // text, whatever is in it
  return made;
}

/** Ordered, in the picture, whole, a pixel at least. */
export function tidy([x0, y0, x1, y1], width, height) {
  const span = (a, b, side) => {
    const low = clamp(Math.round(Math.min(a, b)), 0, side - 1);
    return [low, clamp(Math.round(Math.max(a, b)), low + 1, side)];
  };
  const [left, right] = span(x0, x1, width);
  const [top, bottom] = span(y0, y1, height);
  return [left, top, right, bottom];
}

/** Moved by whole pixels, the size kept, not out of the picture. */
export function shifted([x0, y0, x1, y1], dx, dy, width, height) {
  const across = clamp(Math.round(dx), -x0, width - x1);
  const down = clamp(Math.round(dy), -y0, height - y1);
  return [x0 + across, y0 + down, x1 + across, y1 + down];
}

export class Stage {
  /**
   * @param {HTMLElement} room holds the picture.
   * @param calls `boxes()` gives [{uid, box, label, colour}], `drawn(box)`, `changed(uid, box)`,
   *   `selected(uid)`, `editable()`, `zoomed()`.
   */
  constructor(room, calls) {
    this.room = room;
    this.calls = calls;
    this.overlay = svg("svg", { "aria-hidden": "true" });
    this.image = null;
    this.size = [1, 1];
    this.view = { scale: 1, x: 0, y: 0 };
    this.fitted = true;
    this.selected = null;
    this.suggestion = null;
    this.drag = null;
    this.fingers = new Map();
    this.spaceHeld = false;
    room.append(this.overlay);
    new ResizeObserver(() => (this.fitted ? this.fit() : this.render())).observe(room);
    room.addEventListener("pointerdown", (event) => this.down(event));
    room.addEventListener("pointermove", (event) => this.move(event));
    room.addEventListener("pointerup", (event) => this.up(event));
    room.addEventListener("pointercancel", (event) => this.cancel(event));
    room.addEventListener("wheel", (event) => this.wheel(event), { passive: false });
    room.addEventListener("dblclick", (event) => event.preventDefault());
    room.addEventListener("contextmenu", (event) => this.drag && event.preventDefault());
  }

  /** Show another picture, or a sharper version of the same one. */
  show(image, width, height) {
    const other = this.size[0] !== width || this.size[1] !== height;
    this.image?.remove();
    this.image = image;
    this.size = [width, height];
    if (image) {
      image.draggable = false;
      this.room.prepend(image);
    }
    if (other || this.fitted) this.fit();
    else this.render();
  }

  // --- the view ----------------------------------------------------------------------------------

  fitScale() {
    const { clientWidth, clientHeight } = this.room;
    return Math.max(Math.min((clientWidth - 8) / this.size[0], (clientHeight - 8) / this.size[1]), 1e-4);
  }

  fit() {
    const { clientWidth, clientHeight } = this.room;
    const scale = this.fitScale();
    this.fitted = true;
    this.view = {
      scale,
      x: (clientWidth - scale * this.size[0]) / 2,
      y: (clientHeight - scale * this.size[1]) / 2,
    };
    this.render();
  }

  /** Zoom so that what is under a place of the screen stays there; by default the middle. */
  zoom(factor, clientX, clientY) {
    const area = this.room.getBoundingClientRect();
    const [x, y] = clientX === undefined
      ? [area.width / 2, area.height / 2]
      : [clientX - area.left - this.room.clientLeft, clientY - area.top - this.room.clientTop];
    const least = LEAST_ZOOM * this.fitScale();
    const scale = clamp(this.view.scale * factor, least, Math.max(MOST_ZOOM, least));
    const ratio = scale / this.view.scale;
    this.view = { scale, x: x - ratio * (x - this.view.x), y: y - ratio * (y - this.view.y) };
    this.fitted = false;
    this.inSight();
    this.render();
    this.calls.zoomed();
  }

  pan(dx, dy) {
    this.view = { ...this.view, x: this.view.x + dx, y: this.view.y + dy };
    this.fitted = false;
    this.inSight();
    this.render();
  }

  /** Some of the picture can always be seen. */
  inSight() {
    const { clientWidth, clientHeight } = this.room;
    const [wide, high] = this.size.map((side) => side * this.view.scale);
    this.view.x = clamp(this.view.x, 40 - wide, clientWidth - 40);
    this.view.y = clamp(this.view.y, 40 - high, clientHeight - 40);
  }

  /** The part of the picture that can be seen, in its pixels. */
  seen() {
    const { scale, x, y } = this.view;
    const { clientWidth, clientHeight } = this.room;
    const [width, height] = this.size;
    return [
      clamp(-x / scale, 0, width),
      clamp(-y / scale, 0, height),
      clamp((clientWidth - x) / scale, 0, width),
      clamp((clientHeight - y) / scale, 0, height),
    ];
  }

  toPicture(clientX, clientY) {
    const area = this.room.getBoundingClientRect();
    const { scale, x, y } = this.view;
    return [
      (clientX - area.left - this.room.clientLeft - x) / scale,
      (clientY - area.top - this.room.clientTop - y) / scale,
    ];
  }

  toScreen([x0, y0, x1, y1]) {
    const { scale, x, y } = this.view;
    return [x0 * scale + x, y0 * scale + y, x1 * scale + x, y1 * scale + y];
  }

  // --- drawing -----------------------------------------------------------------------------------

  render() {
    const { scale, x, y } = this.view;
    if (this.image) {
      Object.assign(this.image.style, {
        left: `${x}px`,
        top: `${y}px`,
        width: `${scale * this.size[0]}px`,
        height: `${scale * this.size[1]}px`,
        imageRendering: scale > 4 ? "pixelated" : "auto",
      });
    }
    const items = this.calls.boxes().filter((each) => each.box);
    const live = this.drag?.box;
    const drawn = items.map((each) => {
      const held = live && this.drag.uid === each.uid;
      return this.group({ ...each, box: held ? live : each.box }, each.uid === this.selected);
    });
    if (live && this.drag.uid === undefined) {
      drawn.push(this.group({ box: live, label: "", colour: "#fff" }, false));
    }
    if (this.suggestion) drawn.push(this.group({ ...this.suggestion, dashed: true }, false));
    this.overlay.replaceChildren(...drawn);
  }

  group({ uid, box, label, colour, dashed }, selected) {
    const [x0, y0, x1, y1] = this.toScreen(box);
    const place = { x: x0, y: y0, width: Math.max(x1 - x0, 1), height: Math.max(y1 - y0, 1) };
    const made = svg("g", { class: dashed ? "suggested" : selected ? "box selected" : "box" });
    if (uid) made.dataset.uid = uid;
    made.append(svg("rect", { ...place, class: "under" }));
    made.append(svg("rect", { ...place, class: "line", stroke: colour, fill: colour }));
    if (label) {
      const shown = label.length > 40 ? `${label.slice(0, 39)}…` : label;
      const width = pen.measureText(shown).width + 10;
      const y = y0 >= 20 ? y0 - 20 : Math.max(y0, 0) + 2;
      const x = clamp(x0, 0, Math.max(this.room.clientWidth - width, 0));
      made.append(svg("rect", { class: "tag", x, y, width, height: 18, fill: colour }));
      made.append(svg("text", { x: x + 5, y: y + 13.5 }, shown));
    }
    if (selected) {
      for (const [hx, hy] of Object.values(this.handles([x0, y0, x1, y1]))) {
        made.append(svg("rect", { class: "handle", x: hx - 4.5, y: hy - 4.5, width: 9, height: 9 }));
      }
    }
    return made;
  }

  handles([x0, y0, x1, y1]) {
    const [mx, my] = [(x0 + x1) / 2, (y0 + y1) / 2];
    return {
      nw: [x0, y0], n: [mx, y0], ne: [x1, y0], e: [x1, my],
      se: [x1, y1], s: [mx, y1], sw: [x0, y1], w: [x0, my],
    };
  }

  // --- pointers ----------------------------------------------------------------------------------

  /** What a place of the screen is: a handle or the inside of the selected box, another's edge. */
  hit(event) {
    const area = this.room.getBoundingClientRect();
    const px = event.clientX - area.left - this.room.clientLeft;
    const py = event.clientY - area.top - this.room.clientTop;
    const near = event.pointerType === "touch" ? 18 : 8;
    const items = this.calls.boxes().filter((each) => each.box);
    const chosen = items.find((each) => each.uid === this.selected);
    if (chosen) {
      const screen = this.toScreen(chosen.box);
      const places = this.handles(screen);
      // The corners first: of a small box, the handles of the sides lie upon them.
      const order = [...HANDLES].sort((a, b) => b.length - a.length);
      const handle = order.find(
        (name) => Math.max(Math.abs(px - places[name][0]), Math.abs(py - places[name][1])) <= near,
      );
      if (handle) return { uid: chosen.uid, box: chosen.box, handle };
      const [x0, y0, x1, y1] = screen;
      if (px >= x0 && px <= x1 && py >= y0 && py <= y1) return { uid: chosen.uid, box: chosen.box };
    }
    for (const each of [...items].reverse()) {
      const [x0, y0, x1, y1] = this.toScreen(each.box);
      const inside = px >= x0 - 5 && px <= x1 + 5 && py >= y0 - 5 && py <= y1 + 5;
      const deep = px > x0 + 5 && px < x1 - 5 && py > y0 + 5 && py < y1 - 5;
      if (inside && !deep) return { uid: each.uid, box: each.box };
    }
    return null;
  }

  /** The smallest box around a place of the picture. */
  boxAt([x, y]) {
    const around = this.calls
      .boxes()
      .filter(({ box }) => box && x >= box[0] && x <= box[2] && y >= box[1] && y <= box[3]);
    const area = ({ box }) => (box[2] - box[0]) * (box[3] - box[1]);
    return around.sort((a, b) => area(a) - area(b))[0]?.uid ?? null;
  }

  down(event) {
    if (!this.image || (event.pointerType === "mouse" && event.button > 1)) return;
    this.room.focus({ preventScroll: true });
    this.room.setPointerCapture(event.pointerId);
    event.preventDefault();
    this.fingers.set(event.pointerId, [event.clientX, event.clientY]);
    if (this.fingers.size > 1) {
      this.drag = { kind: "pinch" };
      this.render();
      return;
    }
    const at = this.toPicture(event.clientX, event.clientY);
    const start = [event.clientX, event.clientY];
    if (event.button === 1 || this.spaceHeld || !this.calls.editable()) {
      this.drag = { kind: "pan", start };
      return;
    }
    const found = event.altKey ? null : this.hit(event);
    if (found) {
      if (found.uid !== this.selected) this.calls.selected(found.uid);
      const kind = found.handle ? "resize" : "move";
      this.drag = { kind, start, at, uid: found.uid, from: found.box, handle: found.handle };
    } else {
      this.drag = { kind: "draw", start, at };
    }
  }

  move(event) {
    const held = this.fingers.get(event.pointerId);
    if (!this.drag || !held) {
      this.hover(event);
      return;
    }
    const now = [event.clientX, event.clientY];
    if (this.drag.kind === "pinch") this.pinch(event.pointerId, now);
    else if (this.drag.kind === "pan") this.pan(now[0] - held[0], now[1] - held[1]);
    this.fingers.set(event.pointerId, now);
    const far = Math.hypot(now[0] - this.drag.start?.[0], now[1] - this.drag.start?.[1]);
    if (far >= CLICK_PX) this.drag.moved = true;
    if (this.drag.at && this.drag.moved) {
      this.drag.box = this.dragged(this.toPicture(...now));
      this.render();
    }
  }

  /** The box that a drag makes of where it began. */
  dragged([x, y]) {
    const { kind, at, from, handle } = this.drag;
    const [width, height] = this.size;
    if (kind === "draw") return tidy([...at, x, y], width, height);
    const [dx, dy] = [x - at[0], y - at[1]];
    if (kind === "move") return shifted(from, dx, dy, width, height);
    const next = [...from];
    if (handle.includes("w")) next[0] += dx;
    if (handle.includes("n")) next[1] += dy;
    if (handle.includes("e")) next[2] += dx;
    if (handle.includes("s")) next[3] += dy;
    const whole = tidy(next, width, height);
    if (next[0] > next[2] || next[1] > next[3]) return whole;
    // A side that was not touched stays where it is, fractions and all.
    const sides = { w: 0, n: 1, e: 2, s: 3 };
    const touched = new Set([...handle].map((side) => sides[side]));
    return whole.map((value, number) => (touched.has(number) ? value : from[number]));
  }

  up(event) {
    const drag = this.drag;
    this.fingers.delete(event.pointerId);
    if (!drag) return;
    if (drag.kind === "pinch") {
      if (!this.fingers.size) this.drag = null;
      return;
    }
    this.drag = null;
    if (drag.box && drag.kind === "draw") this.calls.drawn(drag.box);
    else if (drag.box) this.calls.changed(drag.uid, drag.box);
    else if (drag.kind !== "pan" && !drag.moved) {
      const inner = this.boxAt(this.toPicture(event.clientX, event.clientY));
      this.calls.selected(drag.kind === "draw" || inner ? inner : drag.uid);
    }
    this.render();
  }

  cancel(event) {
    this.fingers.delete(event.pointerId);
    this.drag = null;
    this.render();
  }

  /** Give up what is being drawn; false if nothing is. */
  giveUp() {
    if (!this.drag) return false;
    this.drag = null;
    this.render();
    return true;
  }

  /** While the space bar is down, a drag moves the picture. */
  holdSpace(held) {
    this.spaceHeld = held;
    this.room.style.cursor = held ? "grab" : "";
  }

  pinch(id, now) {
    const [other] = [...this.fingers].filter(([each]) => each !== id).map(([, place]) => place);
    const before = this.fingers.get(id);
    const distance = (a, b) => Math.max(Math.hypot(a[0] - b[0], a[1] - b[1]), 1);
    this.pan((now[0] - before[0]) / 2, (now[1] - before[1]) / 2);
    this.zoom(distance(now, other) / distance(before, other), (now[0] + other[0]) / 2, (now[1] + other[1]) / 2);
  }

  hover(event) {
    const found = this.calls.editable() ? this.hit(event) : null;
    const cursor = this.spaceHeld || !this.calls.editable() ? "grab" : "crosshair";
    const over = found && (found.handle ? `${CURSORS[found.handle]}-resize` : "move");
    this.room.style.cursor = over || cursor;
  }

  wheel(event) {
    event.preventDefault();
    if (event.shiftKey && !event.ctrlKey) this.pan(-event.deltaY - event.deltaX, 0);
    else {
      // A pinch on a touch pad comes as a wheel with Ctrl, in small steps.
      const lines = event.deltaMode === 1 ? 16 : 1;
      const factor = Math.exp(-event.deltaY * lines * (event.ctrlKey ? 0.01 : 0.0015));
      this.zoom(factor, event.clientX, event.clientY);
    }
  }
}
