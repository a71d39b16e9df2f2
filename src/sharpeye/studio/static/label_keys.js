// The keyboard shortcuts of the page Label.

const ARROWS = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };
const BOX_KEYS = new Set(["w", "n", "v", "t", "x", ".", ",", "Delete", "Backspace"]);

/** The name of a key; on keyboards of other scripts, the Latin letter at its position. */
function keyName(event) {
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
 * @param stage the `Stage` that shows the image.
 * @param sorting whether images are sorted into folders: there are no boxes then.
 * @param actions the functions that the keys call: see the table below.
 */
export function listen(stage, sorting, actions) {
  const keys = {
    d: () => actions.step(1),
    a: () => actions.step(-1),
    u: () => actions.nextOpen(),
    w: () => actions.boxByKey(),
    n: () => actions.boxByKey(),
    y: () => actions.accept(),
    Enter: () => actions.accept(),
    v: () => actions.verify(),
    t: () => actions.flag("truncated"),
    x: () => actions.flag("difficult"),
    c: () => actions.typeClass(),
    ".": () => actions.nextBox(1),
    ",": () => actions.nextBox(-1),
    Delete: () => actions.remove(),
    Backspace: () => actions.remove(),
    "+": () => stage.zoom(1.25),
    "=": () => stage.zoom(1.25),
    "-": () => stage.zoom(0.8),
    0: () => stage.fit(),
    "?": () => actions.help(),
  };
  const hasKey = (name) => Object.hasOwn(keys, name) && !(sorting && BOX_KEYS.has(name));

  /** The action of a key; null if the browser handles it. */
  function actionFor(event) {
    const name = keyName(event);
    const control = event.ctrlKey || event.metaKey;
    const arrow = ARROWS[event.key];
    if (control && name === "z") return () => actions.undo(event.shiftKey);
    if (control && name === "y") return () => actions.undo(true);
    if (arrow && !event.altKey) {
      if (actions.hasBox()) return () => actions.nudge(event, ...arrow);
      return arrow[0] && !control && !event.shiftKey ? () => actions.step(arrow[0]) : null;
    }
    if (event.key === "Escape") return () => stage.cancelDrag() || actions.select(null);
    if (event.key === " ") return () => stage.setSpaceHeld(true);
    if (control || event.altKey) return null;
    const digit = digitOf(event);
    if (digit) return () => actions.choose(digit - 1);
    return hasKey(name) ? keys[name] : null;
  }

  document.addEventListener("keydown", (event) => {
    const dialog = document.querySelector("dialog[open]");
    if (event.defaultPrevented || event.isComposing || dialog) return;
    if (event.target.closest?.("input:not([type=checkbox]), select, textarea")) {
      if (event.key === "Escape") stage.container.focus();
      return;
    }
    const focusedControl = event.target.closest?.("button, a, summary, input, label");
    if (focusedControl && (event.key === "Enter" || event.key === " ")) return;
    const action = actionFor(event);
    if (!action) return;
    event.preventDefault();
    action();
  });
  document.addEventListener("keyup", (event) => event.key === " " && stage.setSpaceHeld(false));
  addEventListener("blur", () => stage.setSpaceHeld(false));
}
