// One image with its boxes. Boxes are drawn, moved and resized by pointer; the image is zoomed and
// panned.
//
// Boxes are [xmin, ymin, xmax, ymax] in whole pixels of the original image, whatever its size on
// the screen; their edges lie between pixels. They are drawn as SVG in pixels of the screen: they
// stay sharp at any zoom and any device pixel ratio.

const SVG = "http://www.w3.org/2000/svg";
const MAX_ZOOM = 40; // pixels of the screen per pixel of the image
const MIN_ZOOM = 0.5; // as a fraction of the scale at which the whole image fits
const CLICK_PX = 4; // a shorter drag is a click
const HANDLES = ["nw", "n", "ne", "e", "se", "s", "sw", "w"];
const CURSORS = { n: "ns", s: "ns", e: "ew", w: "ew", nw: "nwse", se: "nwse", ne: "nesw", sw: "nesw" };

const textContext = document.createElement("canvas").getContext("2d");
textContext.font = "600 12px system-ui, sans-serif"; // as in label.css

const clamp = (value, low, high) => Math.min(Math.max(value, low), high);

function svg(tag, attributes, text) {
  const node = document.createElementNS(SVG, tag);
  for (const [name, value] of Object.entries(attributes)) node.setAttribute(name, value);
  if (text !== undefined) node.textContent = text; // never parsed as markup
  return node;
}

/** The box with ordered corners, clipped to the image, in whole pixels, at least one each way. */
export function clipBox([x0, y0, x1, y1], width, height) {
  const span = (a, b, side) => {
    const low = clamp(Math.round(Math.min(a, b)), 0, side - 1);
    return [low, clamp(Math.round(Math.max(a, b)), low + 1, side)];
  };
  const [left, right] = span(x0, x1, width);
  const [top, bottom] = span(y0, y1, height);
  return [left, top, right, bottom];
}

/** The box moved by whole pixels, within the image; its size does not change. */
export function shiftBox([x0, y0, x1, y1], dx, dy, width, height) {
  const across = clamp(Math.round(dx), -x0, width - x1);
  const down = clamp(Math.round(dy), -y0, height - y1);
  return [x0 + across, y0 + down, x1 + across, y1 + down];
}

export class Stage {
  /**
   * @param {HTMLElement} container the element that holds the image.
   * @param callbacks `boxes()`, which returns [{uid, box, label, colour}], `drawn(box)`,
   *   `changed(uid, box)`, `selected(uid)`, `editable()`, `zoomed()`.
   */
  constructor(container, callbacks) {
    this.container = container;
    this.callbacks = callbacks;
    this.overlay = svg("svg", { "aria-hidden": "true" });
    this.image = null;
    this.size = [1, 1];
    this.view = { scale: 1, x: 0, y: 0 };
    this.fitted = true;
    this.selected = null;
    this.suggestion = null;
    this.drag = null;
    this.pointers = new Map();
    this.spaceHeld = false;
    container.append(this.overlay);
    new ResizeObserver(() => (this.fitted ? this.fit() : this.render())).observe(container);
    container.addEventListener("pointerdown", (event) => this.down(event));
    container.addEventListener("pointermove", (event) => this.move(event));
    container.addEventListener("pointerup", (event) => this.up(event));
    container.addEventListener("pointercancel", (event) => this.cancel(event));
    container.addEventListener("wheel", (event) => this.wheel(event), { passive: false });
    container.addEventListener("dblclick", (event) => event.preventDefault());
    container.addEventListener("contextmenu", (event) => this.drag && event.preventDefault());
  }

  /** Show another image, or the same one at a higher resolution. */
  show(image, width, height) {
    const changed = this.size[0] !== width || this.size[1] !== height;
    this.image?.remove();
    this.image = image;
    this.size = [width, height];
    if (image) {
      image.draggable = false;
      this.container.prepend(image);
    }
    if (changed || this.fitted) this.fit();
    else this.render();
  }

  // --- the view ----------------------------------------------------------------------------------

  fitScale() {
    const { clientWidth, clientHeight } = this.container;
    return Math.max(Math.min((clientWidth - 8) / this.size[0], (clientHeight - 8) / this.size[1]), 1e-4);
  }

  fit() {
    const { clientWidth, clientHeight } = this.container;
    const scale = this.fitScale();
    this.fitted = true;
    this.view = {
      scale,
      x: (clientWidth - scale * this.size[0]) / 2,
      y: (clientHeight - scale * this.size[1]) / 2,
    };
    this.render();
  }

  /** Zoom around a point of the screen, which stays fixed; by default, around the middle. */
  zoom(factor, clientX, clientY) {
    const area = this.container.getBoundingClientRect();
    const [x, y] = clientX === undefined
      ? [area.width / 2, area.height / 2]
      : [clientX - area.left - this.container.clientLeft, clientY - area.top - this.container.clientTop];
    const minScale = MIN_ZOOM * this.fitScale();
    const scale = clamp(this.view.scale * factor, minScale, Math.max(MAX_ZOOM, minScale));
    const ratio = scale / this.view.scale;
    this.view = { scale, x: x - ratio * (x - this.view.x), y: y - ratio * (y - this.view.y) };
    this.fitted = false;
    this.keepVisible();
    this.render();
    this.callbacks.zoomed();
  }

  pan(dx, dy) {
    this.view = { ...this.view, x: this.view.x + dx, y: this.view.y + dy };
    this.fitted = false;
    this.keepVisible();
    this.render();
  }

  /** Limit the view so that a part of the image is always visible. */
  keepVisible() {
    const { clientWidth, clientHeight } = this.container;
    const [wide, high] = this.size.map((side) => side * this.view.scale);
    this.view.x = clamp(this.view.x, 40 - wide, clientWidth - 40);
    this.view.y = clamp(this.view.y, 40 - high, clientHeight - 40);
  }

  /** The visible part of the image, in its pixels. */
  visibleArea() {
    const { scale, x, y } = this.view;
    const { clientWidth, clientHeight } = this.container;
    const [width, height] = this.size;
    return [
      clamp(-x / scale, 0, width),
      clamp(-y / scale, 0, height),
      clamp((clientWidth - x) / scale, 0, width),
      clamp((clientHeight - y) / scale, 0, height),
    ];
  }

  toImage(clientX, clientY) {
    const area = this.container.getBoundingClientRect();
    const { scale, x, y } = this.view;
    return [
      (clientX - area.left - this.container.clientLeft - x) / scale,
      (clientY - area.top - this.container.clientTop - y) / scale,
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
    const items = this.callbacks.boxes().filter((each) => each.box);
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
    const node = svg("g", { class: dashed ? "suggested" : selected ? "box selected" : "box" });
    if (uid) node.dataset.uid = uid;
    node.append(svg("rect", { ...place, class: "under" }));
    node.append(svg("rect", { ...place, class: "line", stroke: colour, fill: colour }));
    if (label) {
      const shown = label.length > 40 ? `${label.slice(0, 39)}…` : label;
      const width = textContext.measureText(shown).width + 10;
      const y = y0 >= 20 ? y0 - 20 : Math.max(y0, 0) + 2;
      const x = clamp(x0, 0, Math.max(this.container.clientWidth - width, 0));
      node.append(svg("rect", { class: "tag", x, y, width, height: 18, fill: colour }));
      node.append(svg("text", { x: x + 5, y: y + 13.5 }, shown));
    }
    if (selected) {
      for (const [hx, hy] of Object.values(this.handles([x0, y0, x1, y1]))) {
        node.append(svg("rect", { class: "handle", x: hx - 4.5, y: hy - 4.5, width: 9, height: 9 }));
      }
    }
    return node;
  }

  handles([x0, y0, x1, y1]) {
    const [mx, my] = [(x0 + x1) / 2, (y0 + y1) / 2];
    return {
      nw: [x0, y0], n: [mx, y0], ne: [x1, y0], e: [x1, my],
      se: [x1, y1], s: [mx, y1], sw: [x0, y1], w: [x0, my],
    };
  }

  // --- pointers ----------------------------------------------------------------------------------

  /** What is at a point of the screen: a handle or the inside of the selected box, or the edge of
   * another box; null if none. */
  hit(event) {
    const area = this.container.getBoundingClientRect();
    const px = event.clientX - area.left - this.container.clientLeft;
    const py = event.clientY - area.top - this.container.clientTop;
    const tolerance = event.pointerType === "touch" ? 18 : 8;
    const items = this.callbacks.boxes().filter((each) => each.box);
    const chosen = items.find((each) => each.uid === this.selected);
    if (chosen) {
      const screen = this.toScreen(chosen.box);
      const places = this.handles(screen);
      // Corners are tested first: in a small box, the handles of the sides overlap them.
      const order = [...HANDLES].sort((a, b) => b.length - a.length);
      const handle = order.find(
        (name) => Math.max(Math.abs(px - places[name][0]), Math.abs(py - places[name][1])) <= tolerance,
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

  /** The smallest box that contains a point of the image. */
  boxAt([x, y]) {
    const containing = this.callbacks
      .boxes()
      .filter(({ box }) => box && x >= box[0] && x <= box[2] && y >= box[1] && y <= box[3]);
    const area = ({ box }) => (box[2] - box[0]) * (box[3] - box[1]);
    return containing.sort((a, b) => area(a) - area(b))[0]?.uid ?? null;
  }

  down(event) {
    if (!this.image || (event.pointerType === "mouse" && event.button > 1)) return;
    this.container.focus({ preventScroll: true });
    this.container.setPointerCapture(event.pointerId);
    event.preventDefault();
    this.pointers.set(event.pointerId, [event.clientX, event.clientY]);
    if (this.pointers.size > 1) {
      this.drag = { kind: "pinch" };
      this.render();
      return;
    }
    const at = this.toImage(event.clientX, event.clientY);
    const start = [event.clientX, event.clientY];
    if (event.button === 1 || this.spaceHeld || !this.callbacks.editable()) {
      this.drag = { kind: "pan", start };
      return;
    }
    const found = event.altKey ? null : this.hit(event);
    if (found) {
      if (found.uid !== this.selected) this.callbacks.selected(found.uid);
      const kind = found.handle ? "resize" : "move";
      this.drag = { kind, start, at, uid: found.uid, from: found.box, handle: found.handle };
    } else {
      this.drag = { kind: "draw", start, at };
    }
  }

  move(event) {
    const held = this.pointers.get(event.pointerId);
    if (!this.drag || !held) {
      this.hover(event);
      return;
    }
    const now = [event.clientX, event.clientY];
    if (this.drag.kind === "pinch") this.pinch(event.pointerId, now);
    else if (this.drag.kind === "pan") this.pan(now[0] - held[0], now[1] - held[1]);
    this.pointers.set(event.pointerId, now);
    const distance = Math.hypot(now[0] - this.drag.start?.[0], now[1] - this.drag.start?.[1]);
    if (distance >= CLICK_PX) this.drag.moved = true;
    if (this.drag.at && this.drag.moved) {
      this.drag.box = this.draggedBox(this.toImage(...now));
      this.render();
    }
  }

  /** The box that results from a drag to a point of the image. */
  draggedBox([x, y]) {
    const { kind, at, from, handle } = this.drag;
    const [width, height] = this.size;
    if (kind === "draw") return clipBox([...at, x, y], width, height);
    const [dx, dy] = [x - at[0], y - at[1]];
    if (kind === "move") return shiftBox(from, dx, dy, width, height);
    const next = [...from];
    if (handle.includes("w")) next[0] += dx;
    if (handle.includes("n")) next[1] += dy;
    if (handle.includes("e")) next[2] += dx;
    if (handle.includes("s")) next[3] += dy;
    const whole = clipBox(next, width, height);
    if (next[0] > next[2] || next[1] > next[3]) return whole;
    // A side that was not dragged keeps its exact value, which may not be a whole number.
    const sides = { w: 0, n: 1, e: 2, s: 3 };
    const touched = new Set([...handle].map((side) => sides[side]));
    return whole.map((value, number) => (touched.has(number) ? value : from[number]));
  }

  up(event) {
    const drag = this.drag;
    this.pointers.delete(event.pointerId);
    if (!drag) return;
    if (drag.kind === "pinch") {
      if (!this.pointers.size) this.drag = null;
      return;
    }
    this.drag = null;
    if (drag.box && drag.kind === "draw") this.callbacks.drawn(drag.box);
    else if (drag.box) this.callbacks.changed(drag.uid, drag.box);
    else if (drag.kind !== "pan" && !drag.moved) {
      const inner = this.boxAt(this.toImage(event.clientX, event.clientY));
      this.callbacks.selected(drag.kind === "draw" || inner ? inner : drag.uid);
    }
    this.render();
  }

  cancel(event) {
    this.pointers.delete(event.pointerId);
    this.drag = null;
    this.render();
  }

  /** Cancel the current drag; returns false if there is none. */
  cancelDrag() {
    if (!this.drag) return false;
    this.drag = null;
    this.render();
    return true;
  }

  /** While the space bar is down, a drag pans the image. */
  setSpaceHeld(held) {
    this.spaceHeld = held;
    this.container.style.cursor = held ? "grab" : "";
  }

  pinch(id, now) {
    const [other] = [...this.pointers].filter(([each]) => each !== id).map(([, place]) => place);
    const before = this.pointers.get(id);
    const distance = (a, b) => Math.max(Math.hypot(a[0] - b[0], a[1] - b[1]), 1);
    this.pan((now[0] - before[0]) / 2, (now[1] - before[1]) / 2);
    this.zoom(distance(now, other) / distance(before, other), (now[0] + other[0]) / 2, (now[1] + other[1]) / 2);
  }

  hover(event) {
    const found = this.callbacks.editable() ? this.hit(event) : null;
    const cursor = this.spaceHeld || !this.callbacks.editable() ? "grab" : "crosshair";
    const over = found && (found.handle ? `${CURSORS[found.handle]}-resize` : "move");
    this.container.style.cursor = over || cursor;
  }

  wheel(event) {
    event.preventDefault();
    if (event.shiftKey && !event.ctrlKey) this.pan(-event.deltaY - event.deltaX, 0);
    else {
      // A pinch on a touch pad arrives as wheel events with Ctrl, in small steps.
      const lines = event.deltaMode === 1 ? 16 : 1;
      const factor = Math.exp(-event.deltaY * lines * (event.ctrlKey ? 0.01 : 0.0015));
      this.zoom(factor, event.clientX, event.clientY);
    }
  }
}
