// Sorting: a key moves the image into the folder of its class. Only one move runs at a time, and
// each can be undone; no file is ever overwritten.

import { requestJson } from "./label_store.js";

const RETRY_MS = 1000;

export class Sorter {
  constructor(page, panels, { go, step, list }) {
    Object.assign(this, { page, panels, go, step, list });
    this.undoStack = []; // moves that can be undone, the newest last
    this.queue = Promise.resolve();
    this.waiting = 0;
  }

  /** Move the shown image into the folder of a class, and go to the next one. */
  sort(name) {
    const { page, panels } = this;
    const item = page.items[page.at];
    if (!item) return null;
    if (name === undefined || !page.classes.includes(name)) {
      return panels.announce(name ? `There is no folder ${name}; add the class first.` : "There is no such class.", true);
    }
    if (this.folderOf(item) === name) {
      panels.announce(`It is in ${name} already.`, true);
      return this.step(1);
    }
    this.enqueue(async () => {
      const { status, body } = await this.requestUntilResponse("/api/label/sort", { path: item.path, label: name });
      if (status !== 200) return panels.announce(body.error, true);
      this.undoStack.push({ item, source: body.source, target: body.target });
      this.updatePath(item, body.target);
      return panels.announce(`Moved to ${name}.`);
    });
    return this.step(1);
  }

  /** Undo the last move, and show its image. */
  undo() {
    this.enqueue(async () => {
      const last = this.undoStack.pop();
      if (!last) return this.panels.announce("There is nothing to undo.", true);
      const { source, target } = last;
      const { status, body } = await this.requestUntilResponse("/api/label/unsort", { source, target });
      if (status !== 200) return this.panels.announce(body.error, true);
      this.updatePath(last.item, source);
      this.panels.announce("Moved back.", true);
      return this.go(this.page.items.indexOf(last.item));
    });
  }

  folderOf(item) {
    return item.path.includes("/") ? item.path.slice(0, item.path.lastIndexOf("/")) : "";
  }

  updatePath(item, path) {
    const counts = new Map(this.page.folders);
    for (const [name, change] of [[this.folderOf(item), -1], [this.folderOf({ path }), 1]]) {
      if (counts.has(name)) counts.set(name, counts.get(name) + change);
    }
    this.page.folders = [...counts];
    item.path = path;
    this.panels.all();
  }

  enqueue(task) {
    this.waiting += 1;
    this.showStatus("Saving", "saving");
    this.queue = this.queue.then(task).finally(() => {
      this.waiting -= 1;
      if (!this.waiting) this.showStatus("Saved", "saved");
    });
  }

  showStatus(text, kind) {
    this.panels.status(text, kind);
  }

  async requestUntilResponse(url, body) {
    for (;;) {
      const response = await requestJson("POST", url, body);
      if (response.status !== 0 && response.status < 500) return response;
      this.showStatus("Not moved yet: the studio does not answer; waiting for it.", "away");
      await new Promise((resolve) => setTimeout(resolve, RETRY_MS));
    }
  }
}
