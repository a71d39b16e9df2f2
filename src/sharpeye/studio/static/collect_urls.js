// Lists of URLs on the page Collect: the server downloads their images.

import { element, fetchJson, onSubmit, toast } from "./studio.js";

const $ = (id) => document.getElementById(id);
const POLL_MS = 500;

export function startUrlList(collectPage) {
  let following = false;

  function show(status) {
    const words = [`${status.added} added`];
    if (status.there) words.push(`${status.there} there already`);
    if (status.missing) words.push(`${status.missing} did not come`);
    const end = status.running ? "" : status.stopped ? " Stopped." : " Done.";
    $("list-status").textContent =
      status.error || `${status.done} of ${status.total} for ${status.label}: ${words.join(", ")}.${end}`;
    $("list-bar").hidden = $("list-stop").hidden = !status.running;
    $("list-bar").value = status.total ? status.done / status.total : 0;
    if (status.running || !status.problems.length) return;
    const items = status.problems.map(({ name, reason }) => {
      return element("li", {}, element("strong", {}, name), element("span", {}, `: ${reason}`));
    });
    $("problems").replaceChildren(...items);
  }

  async function follow() {
    if (following) return;
    following = true;
    try {
      for (;;) {
        const status = await fetchJson("GET", "/api/collect/urls");
        if (!status.total) return;
        show(status);
        if (!status.running) return await collectPage.reload();
        await new Promise((resolve) => setTimeout(resolve, POLL_MS));
      }
    } catch (error) {
      $("list-status").textContent = error.message;
    } finally {
      following = false;
    }
  }

  onSubmit($("list-form"), async () => {
    if (!collectPage.label()) {
      toast("Say what is in these pictures: choose or add a class first.", { error: true });
      return $("class-name").focus();
    }
    try {
      const body = { label: collectPage.label(), text: $("addresses").value };
      show(await fetchJson("POST", "/api/collect/urls", body));
      follow();
    } catch (error) {
      toast(error.message, { error: true });
    }
  });
  $("list-stop").addEventListener("click", () => fetchJson("POST", "/api/collect/urls/stop"));
  // A download may be running already: started in another tab, or before this page was reloaded.
  fetchJson("GET", "/api/collect/urls").then((status) => {
    if (!status.running) return;
    $("list").open = true;
    follow();
  });
}
