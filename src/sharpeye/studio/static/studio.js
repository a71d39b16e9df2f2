// What all pages share: `studio.ask`, `studio.url`, `studio.toast`, `studio.node`.
(() => {
  "use strict";

  /** An address with values in its query. */
  function url(path, values = {}) {
    const query = new URLSearchParams();
    for (const [name, value] of Object.entries(values))
      if (value !== null && value !== undefined) query.set(name, value);
    const text = query.toString();
    return text ? `${path}?${text}` : path;
  }

  /** Ask the studio; the answer's JSON. An error has `status` and the server's one line. */
  async function ask(method, address, body, options = {}) {
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
  function toast(text, { error = false, action = null } = {}) {
    const box = node("div", { class: error ? "toast error" : "toast" }, node("span", {}, text));
    if (action) {
      const button = node("button", { type: "button" }, action.name);
      button.addEventListener("click", () => {
        box.remove();
        action.run();
      });
      box.append(button);
    }
    const close = node("button", { type: "button", "aria-label": "Close the message" }, "×");
    close.addEventListener("click", () => box.remove());
    box.append(close);
    document.getElementById("toasts").append(box);
    if (!error) setTimeout(() => box.remove(), action ? 12000 : 6000);
  }

  /** An element; what it holds are elements, or texts, which never become HTML. */
  function node(tag, attributes = {}, ...content) {
    const made = document.createElement(tag);
    for (const [name, value] of Object.entries(attributes))
      if (value !== null && value !== undefined && value !== false) made.setAttribute(name, value);
    made.append(...content.filter((each) => each !== null && each !== undefined));
    return made;
  }

  /** Call `run` when the page's elements are there. */
  async function ready(id, run) {
    for (;;) {
      const found = document.getElementById(id);
      if (found) return run(found);
      await new Promise((later) => setTimeout(later, 20));
    }
  }

  /** The address of a small picture. */
  function thumb(path, version, size = 256) {
    return url("/api/thumb", { path, size, v: version });
  }

  window.studio = { url, ask, toast, node, ready, thumb };
})();
