// What Train, Understand and Try share: buttons, choices, pictures with heat maps, charts.
import { element, thumb, toast } from "./studio.js";

/** Do what may fail; its one line is shown. */
export async function attempt(work) {
  try {
    return await work();
  } catch (error) {
    toast(error.message, { error: true });
    return undefined;
  }
}

/** Run something at a press of a button, which cannot be pressed again until that has ended. */
export function whenPressed(pressed, run) {
  pressed.addEventListener("click", async () => {
    if (pressed.getAttribute("aria-disabled") === "true") return;
    pressed.setAttribute("aria-disabled", "true");
    await attempt(() => run(pressed));
    pressed.removeAttribute("aria-disabled");
  });
}

export function button(name, run, attributes = {}) {
  const made = element("button", { type: "button", ...attributes }, name);
  whenPressed(made, run);
  return made;
}

/** A link that looks like a button. */
export function linkButton(name, href, attributes = {}) {
  return element("a", { class: "button", href, ...attributes }, name);
}

export const percent = (share) => {
  const value = 100 * share;
  if (value > 0 && value <= 0.5) return "<1\u00a0%";
  let digits = 0; // as many as it takes not to say 100 % where it is less
  while (value < 100 && Number(value.toFixed(digits)) === 100 && digits < 3) digits += 1;
  return digits === 3 ? ">99.99\u00a0%" : `${value.toFixed(digits)}\u00a0%`;
};

export function duration(seconds) {
  if (seconds < 90) return `${Math.max(1, Math.round(seconds))}\u00a0s`;
  const minutes = Math.round(seconds / 60);
  if (minutes < 60) return `${minutes}\u00a0min`;
  return `${Math.floor(minutes / 60)}\u00a0h ${minutes % 60}\u00a0min`;
}

let choices = 0;

/** A labelled choice. `options` are [value, text]; `run` gets the value that was chosen. */
export function choice(label, options, value, run) {
  const id = `choice-${++choices}`;
  const select = element("select", { id });
  for (const [key, text] of options) {
    const option = element("option", { value: key }, text);
    option.selected = key === value;
    select.append(option);
  }
  select.addEventListener("change", () => attempt(() => run(select.value)));
  // Not inside of the label: its name would hold the name of every option.
  const made = element("div", { class: "choice" }, element("label", { for: id }, label), select);
  return Object.assign(made, { select });
}

/** Put a value into the address, so that a reload shows the same. */
export function remember(name, value) {
  const address = new URL(location.href);
  if (value) address.searchParams.set(name, value);
  else address.searchParams.delete(name);
  history.replaceState(null, "", address);
}

/** A picture of the folder; where it is gone, that is said. */
export function picture(path, there = true, alt = path) {
  const gone = () => element("span", { class: "gone" }, "not in its place any more");
  if (!there) return gone();
  const image = element("img", { src: thumb(path, "1"), alt, loading: "lazy" });
  image.addEventListener("error", () => image.replaceWith(gone()), { once: true });
  return image;
}

/** A toggle that shows a heat map in place of a picture. `heat()` gives the address of the map. */
export function heatToggle(image, heat) {
  const plain = image.src;
  const made = button("Heat map", async () => {
    const on = made.getAttribute("aria-pressed") === "true";
    if (on) image.src = plain;
    else {
      const address = await heat();
      await new Promise((done, fail) => {
        image.addEventListener("load", done, { once: true });
        image.addEventListener("error", () => fail(new Error("There is no heat map.")), {
          once: true,
        });
        image.src = address;
      }).catch((error) => {
        image.src = plain;
        throw error;
      });
    }
    made.setAttribute("aria-pressed", String(!on));
  }, { class: "small", "aria-pressed": "false" });
  return made;
}

/** Markup that the server drew: charts, in which all text is escaped. */
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
