// Parts of the pages Train, Understand and Try: buttons, choices, images with heat maps, charts.
import { element, thumb, toast } from "./studio.js";

/** Run an action; if it fails, show the error message. */
export async function attempt(action) {
  try {
    return await action();
  } catch (error) {
    toast(error.message, { error: true });
    return undefined;
  }
}

/** Run an action when a button is pressed; until it has ended, the button cannot be pressed again. */
export function onPress(target, action) {
  target.addEventListener("click", async () => {
    if (target.getAttribute("aria-disabled") === "true") return;
    target.setAttribute("aria-disabled", "true");
    await attempt(() => action(target));
    target.removeAttribute("aria-disabled");
  });
}

export function button(name, action, attributes = {}) {
  const node = element("button", { type: "button", ...attributes }, name);
  onPress(node, action);
  return node;
}

/** A link that looks like a button. */
export function linkButton(name, href, attributes = {}) {
  return element("a", { class: "button", href, ...attributes }, name);
}

export const percent = (share) => {
  const value = 100 * share;
  if (value > 0 && value <= 0.5) return "<1\u00a0%";
  let digits = 0; // enough not to show 100 % for a smaller value
  while (value < 100 && Number(value.toFixed(digits)) === 100 && digits < 3) digits += 1;
  return digits === 3 ? ">99.99\u00a0%" : `${value.toFixed(digits)}\u00a0%`;
};

export function duration(seconds) {
  if (seconds < 90) return `${Math.max(1, Math.round(seconds))}\u00a0s`;
  const minutes = Math.round(seconds / 60);
  if (minutes < 60) return `${minutes}\u00a0min`;
  return `${Math.floor(minutes / 60)}\u00a0h ${minutes % 60}\u00a0min`;
}

let choiceCount = 0;

/** A labelled choice. `options` are [value, text]; `action` gets the chosen value. */
export function choice(label, options, value, action) {
  const id = `choice-${++choiceCount}`;
  const select = element("select", { id });
  for (const [key, text] of options) {
    const option = element("option", { value: key }, text);
    option.selected = key === value;
    select.append(option);
  }
  select.addEventListener("change", () => attempt(() => action(select.value)));
  // The select is not inside of the label: else the label's text would contain every option.
  const container = element("div", { class: "choice" }, element("label", { for: id }, label), select);
  return Object.assign(container, { select });
}

/** Set a query parameter of the page's URL, so that a reload shows the same. */
export function setQueryParameter(name, value) {
  const address = new URL(location.href);
  if (value) address.searchParams.set(name, value);
  else address.searchParams.delete(name);
  history.replaceState(null, "", address);
}

/** An image of the folder; a message if the file no longer exists. */
export function folderImage(path, exists = true, alt = path) {
  const missing = () => element("span", { class: "gone" }, "not in its place any more");
  if (!exists) return missing();
  const image = element("img", { src: thumb(path, "1"), alt, loading: "lazy" });
  image.addEventListener("error", () => image.replaceWith(missing()), { once: true });
  return image;
}

/** A button that switches between an image and its heat map. `heat()` returns the URL of the map. */
export function heatToggle(image, heat) {
  const plain = image.src;
  const toggle = button("Heat map", async () => {
    const on = toggle.getAttribute("aria-pressed") === "true";
    if (on) image.src = plain;
    else {
      const address = await heat();
      await new Promise((resolve, reject) => {
        image.addEventListener("load", resolve, { once: true });
        image.addEventListener("error", () => reject(new Error("There is no heat map.")), {
          once: true,
        });
        image.src = address;
      }).catch((error) => {
        image.src = plain;
        throw error;
      });
    }
    toggle.setAttribute("aria-pressed", String(!on));
  }, { class: "small", "aria-pressed": "false" });
  return toggle;
}

/** A chart as SVG from the server, in which all text is escaped. */
export function drawing(svg, title) {
  const holder = element("figure", { class: "plot", "aria-label": title });
  holder.innerHTML = svg;
  return holder;
}

/** A section with a heading. */
export function section(id, title, ...content) {
  return element(
    "section",
    { class: "panel", "aria-labelledby": id },
    element("h2", { id, tabindex: "-1" }, title),
    ...content,
  );
}
