// What a model says of pictures: asked ahead, kept.

import { address, ask } from "./label_work.js";
import { tidy } from "./label_stage.js";

const MAX_KNOWN = 200;

export class Suggestions {
  constructor(mode) {
    this.mode = mode;
    this.known = new Map(); // run and path -> promise of an answer
  }

  get(run, path) {
    if (!run) return null;
    const key = `${run}\n${path}`;
    if (!this.known.has(key)) this.known.set(key, this.load(key, run, path));
    if (this.known.size > MAX_KNOWN) this.known.delete(this.known.keys().next().value);
    return this.known.get(key);
  }

  async load(key, run, path) {
    const answer = await ask("GET", address("/api/label/suggest", { path, run, mode: this.mode }));
    if (answer.status === 0 || answer.status >= 500) this.known.delete(key);
    return answer;
  }

  /** The best suggestion for a picture, its box in the picture's pixels; or why there is none. */
  async best(run, { path, width, height }) {
    const { status, body } = await this.get(run, path);
    const found = body.suggestions?.[0];
    if (!found) return { reason: status === 200 ? body.reason : body.error || "No answer." };
    const sides = [width, height, width, height];
    const box = found.box && tidy(found.box.map((share, n) => share * sides[n]), width, height);
    return { ...found, box };
  }
}
