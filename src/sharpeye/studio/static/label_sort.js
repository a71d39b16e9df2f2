// Sorting: a key moves the picture into its class's folder. One move after the other, and each can
// be undone; nothing is ever overwritten.

import { ask } from "./label_work.js";

const AGAIN_MS = 1000;

export class Sorter {
  constructor(page, panels, { go, step, list }) {
    Object.assign(this, { page, panels, go, step, list });
    this.done = []; // moves that can be undone, the last one behind
    this.queue = Promise.resolve();
    this.waiting = 0;
  }

  /** Move the picture that is shown, and go on. */
  sort(name) {
    const { page, panels } = this;
    const item = page.items[page.at];
    if (!item) return null;
    if (name === undefined || !page.classes.includes(name)) {
      return panels.say(name ? `There is no folder ${name}; add the class first.` : "There is no such class.", true);
    }
    if (this.folderOf(item) === name) {
      panels.say(`It is in ${name} already.`, true);
      return this.step(1);
    }
    this.later(async () => {
      const { status, body } = await this.untilThere("/api/label/sort", { path: item.path, label: name });
      if (status !== 200) return panels.say(body.error, true);
      this.done.push({ item, source: body.source, target: body.target });
      this.moved(item, body.target);
      return panels.say(`Moved to ${name}.`);
    });
    return this.step(1);
  }

  /** Take the last move back, and show that picture. */
  undo() {
    this.later(async () => {
      const last = this.done.pop();
      if (!last) return this.panels.say("There is nothing to undo.", true);
      const { source, target } = last;
      const { status, body } = await this.untilThere("/api/label/unsort", { source, target });
      if (status !== 200) return this.panels.say(body.error, true);
      this.moved(last.item, source);
      this.panels.say("Moved back.", true);
      return this.go(this.page.items.indexOf(last.item));
    });
  }

  folderOf(item) {
    return item.path.includes("/") ? item.path.slice(0, item.path.lastIndexOf("/")) : "";
  }

  moved(item, path) {
    const counts = new Map(this.page.folders);
    for (const [name, by] of [[this.folderOf(item), -1], [this.folderOf({ path }), 1]]) {
      if (counts.has(name)) counts.set(name, counts.get(name) + by);
    }
    this.page.folders = [...counts];
    item.path = path;
    this.panels.all();
  }

  later(work) {
    this.waiting += 1;
    this.tell("Saving", "saving");
    this.queue = this.queue.then(work).finally(() => {
      this.waiting -= 1;
      if (!this.waiting) this.tell("Saved", "saved");
    });
  }

  tell(text, kind) {
    this.panels.status(text, kind);
  }

  async untilThere(url, body) {
    for (;;) {
      const answer = await ask("POST", url, body);
      if (answer.status !== 0 && answer.status < 500) return answer;
      this.tell("Not moved yet: the studio does not answer; waiting for it.", "away");
      await new Promise((done) => setTimeout(done, AGAIN_MS));
    }
  }
}
