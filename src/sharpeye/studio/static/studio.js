// Functions that all pages use: requests, messages, elements.

/** A URL with query parameters; null and undefined values are left out. */
export function url(path, values = {}) {
  const query = new URLSearchParams();
  for (const [name, value] of Object.entries(values))
    if (value !== null && value !== undefined) query.set(name, value);
  const text = query.toString();
  return text ? `${path}?${text}` : path;
}

/** Send a request; returns the JSON of the response. An error has the HTTP `status` (0 if there was
 * no response) and the error message of the server. */
export async function fetchJson(method, address, body, options = {}) {
  const request = { method, ...options, headers: { ...options.headers } };
  if (body instanceof FormData) request.body = body;
  else if (body !== undefined && body !== null) {
    request.body = JSON.stringify(body);
    request.headers["Content-Type"] = "application/json";
  }
  let response;
  try {
    response = await fetch(address, request);
  } catch {
    throw Object.assign(new Error("The studio does not answer. Is it still running?"), {
      status: 0,
    });
  }
  const data = await response.json().catch(() => ({}));
  if (!response.ok)
    throw Object.assign(new Error(data.error || `${response.status} ${response.statusText}`), {
      status: response.status,
      data,
    });
  return data;
}

/** Show a message for a few seconds; an error stays until it is closed. */
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

/** Handle the submissions of a form. Its button is disabled before that: the content security
 * policy forbids the browser to submit forms itself, so the input would be lost. */
export function onSubmit(form, handle) {
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    handle();
  });
  form.querySelector("[type=submit]").disabled = false;
}

/** Create an element. Its content is elements or strings; strings are never parsed as HTML. */
export function element(tag, attributes = {}, ...content) {
  const node = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes))
    if (value !== null && value !== undefined && value !== false) node.setAttribute(name, value);
  node.append(...content.filter((each) => each !== null && each !== undefined));
  return node;
}

/** The URL of a thumbnail. */
export function thumb(path, version, size = 256) {
  return url("/api/thumb", { path, size, v: version });
}
