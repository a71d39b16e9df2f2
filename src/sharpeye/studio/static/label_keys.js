// What keys do on the label page.

const ARROWS = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };
const FOR_BOXES = new Set(["w", "n", "v", "t", "x", ".", ",", "Delete", "Backspace"]);

/** The key's sign; on keyboards of other scripts, the Latin letter of its place. */
function signOf(event) {
  if (/^[\x21-\x7e]$/.test(event.key)) return event.key.toLowerCase();
  return event.code.startsWith("Key") ? event.code.slice(3).toLowerCase() : event.key;
}

function digitOf(event) {
  const digit = /^[1-9]$/.test(event.key) ? event.key : /^Digit([1-9])$/.exec(event.code)?.[1];
  return digit && !(event.shiftKey && event.key !== digit) ? Number(digit) : 0;
}

/**
 * Listen to the keyboard.
 *
 * @param stage where the picture is.
 * @param sorting whether pictures are sorted: there are no boxes then.
 * @param does what keys do: see the table below.
 */
export function listen(stage, sorting, does) {
  const keys = {
    d: () => does.step(1),
    a: () => does.step(-1),
    u: () => does.nextOpen(),
    w: () => does.boxByKey(),
    n: () => does.boxByKey(),
    y: () => does.accept(),
    Enter: () => does.accept(),
    v: () => does.verify(),
    t: () => does.flag("truncated"),
    x: () => does.flag("difficult"),
    c: () => does.typeClass(),
    ".": () => does.nextBox(1),
    ",": () => does.nextBox(-1),
    Delete: () => does.remove(),
    Backspace: () => does.remove(),
    "+": () => stage.zoom(1.25),
    "=": () => stage.zoom(1.25),
    "-": () => stage.zoom(0.8),
    0: () => stage.fit(),
    "?": () => does.help(),
  };
  const has = (sign) => Object.hasOwn(keys, sign) && !(sorting && FOR_BOXES.has(sign));

  /** What a key does; null for what is the browser's. */
  function meaning(event) {
    const sign = signOf(event);
    const control = event.ctrlKey || event.metaKey;
    const arrow = ARROWS[event.key];
    if (control && sign === "z") return () => does.undo(event.shiftKey);
    if (control && sign === "y") return () => does.undo(true);
    if (arrow && !event.altKey) {
      if (does.hasBox()) return () => does.nudge(event, ...arrow);
      return arrow[0] && !control && !event.shiftKey ? () => does.step(arrow[0]) : null;
    }
    if (event.key === "Escape") return () => stage.giveUp() || does.select(null);
    if (event.key === " ") return () => stage.holdSpace(true);
    if (control || event.altKey) return null;
    const digit = digitOf(event);
    if (digit) return () => does.choose(digit - 1);
    return has(sign) ? keys[sign] : null;
  }

  document.addEventListener("keydown", (event) => {
    const dialog = document.querySelector("dialog[open]");
    if (event.defaultPrevented || event.isComposing || dialog) return;
    if (event.target.closest?.("input:not([type=checkbox]), select, textarea")) {
      if (event.key === "Escape") stage.room.focus();
      return;
    }
    const pressing = event.target.closest?.("button, a, summary, input, label");
    if (pressing && (event.key === "Enter" || event.key === " ")) return;
    const run = meaning(event);
    if (!run) return;
    event.preventDefault();
    run();
  });
  document.addEventListener("keyup", (event) => event.key === " " && stage.holdSpace(false));
  addEventListener("blur", () => stage.holdSpace(false));
}
