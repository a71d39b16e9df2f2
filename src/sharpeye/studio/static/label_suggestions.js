// Predictions of a model for images: requested ahead and cached.

import { address, requestJson } from "./label_store.js";
import { clipBox } from "./label_stage.js";

const MAX_KNOWN = 200;

export class Suggestions {
  constructor(mode) {
    this.mode = mode;
    this.known = new Map(); // run and path -> promise of a response
  }

  get(run, path) {
    if (!run) return null;
    const key = `${run}\n${path}`;
    if (!this.known.has(key)) this.known.set(key, this.load(key, run, path));
    if (this.known.size > MAX_KNOWN) this.known.delete(this.known.keys().next().value);
    return this.known.get(key);
  }

  async load(key, run, path) {
    const response = await requestJson("GET", address("/api/label/suggest", { path, run, mode: this.mode }));
    if (response.status === 0 || response.status >= 500) this.known.delete(key);
    return response;
  }

  /** The best suggestion for an image, its box in pixels; or the reason why there is none. */
  async best(run, { path, width, height }) {
    const { status, body } = await this.get(run, path);
    const suggestion = body.suggestions?.[0];
    if (!suggestion) return { reason: status === 200 ? body.reason : body.error || "No answer." };
    const sides = [width, height, width, height];
    const box = suggestion.box && clipBox(suggestion.box.map((share, n) => share * sides[n]), width, height);
    return { ...suggestion, box };
  }
}
