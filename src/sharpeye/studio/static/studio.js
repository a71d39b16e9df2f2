// What all pages share: requests, messages, elements.

/** An address with values in its query. */
export function url(path, values = {}) {
  const query = new URLSearchParams();
  for (const [name, value] of Object.entries(values))
    if (value !== null && value !== undefined) query.set(name, value);
  const text = query.toString();
  return text ? `${path}?${text}` : path;
}

/** Ask the studio; the answer's JSON. An error has `status` and the server's one line. */
export async function fetchJson(method, address, body, options = {}) {
  const sent = { method, ...options, headers: { ...options.headers } };
  if (body instanceof FormData) sent.body = body;
  else if (body !== undefined && body !== null) {
    sent.body = JSON.stringify(body);
    sent.headers["Content-Type"] = "application/json";
  }
  let answer;
  try {
    answer = await fetch(address, sent);
  } catch {
    throw Object.assign(new Error("The studio does not answer. Is it still running?"), {
      status: 0,
    });
  }
  const said = await answer.json().catch(() => ({}));
  if (!answer.ok)
    throw Object.assign(new Error(said.error || `${answer.status} ${answer.statusText}`), {
      status: answer.status,
      answer: said,
    });
  return said;
}

/** Say something for a few seconds; errors stay until they are closed. */
export function toast(text, { error = false, action = null } = {}) {
  const box = element("div", { class: error ? "toast error" : "toast" }, element("span", {}, text));
  if (action) {
    const button = element("button", { type: "button" }, action.name);
    button.addEventListener("click", () => {
      box.remove();
      action.run();
    });
    box.append(button);
  }
  const close = element("button", { type: "button", "aria-label": "Close the message" }, "×");
  close.addEventListener("click", () => box.remove());
  box.append(close);
  document.getElementById("toasts").append(box);
  if (!error) setTimeout(() => box.remove(), action ? 12000 : 6000);
}

/** Handle the submissions of a form. Its button is disabled until then: the policy of the page lets
 * no browser send a form by itself, so what is typed before the script runs would get lost. */
export function onSubmit(form, handle) {
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    handle();
  });
  form.querySelector("[type=submit]").disabled = false;
}

/** An element; what it holds are elements, or texts, which never become HTML. */
export function element(tag, attributes = {}, ...content) {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes))
    if (value !== null && value !== undefined && value !== false) made.setAttribute(name, value);
  made.append(...content.filter((each) => each !== null && each !== undefined));
  return made;
}

/** The address of a small picture. */
export function thumb(path, version, size = 256) {
  return url("/api/thumb", { path, size, v: version });
}
