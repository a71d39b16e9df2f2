// Pictures for the screen: decoded ahead, a few kept.

import { address, ask } from "./label_work.js";

export const LEVELS = [2048, 4096, 8192]; // longest sides of pictures from the server
const MAX_DECODED = 8; // kept decoded
const AGAIN_MS = 1000;

export class Pictures {
  constructor() {
    this.known = new Map(); // address -> promise of an image; null where it cannot be had
  }

  get(path, level = 0) {
    const url = address("/api/picture", { path, most: LEVELS[level] });
    const found = this.known.get(url) ?? this.load(url);
    this.known.delete(url); // the last one asked for is the last one dropped
    this.known.set(url, found);
    while (this.known.size > MAX_DECODED) this.known.delete(this.known.keys().next().value);
    return found;
  }

  async load(url) {
    const image = new Image();
    image.alt = "";
    image.src = url;
    try {
      await image.decode();
      return image;
    } catch {
      this.known.delete(url);
      return null;
    }
  }

  /** A picture, asked for until it is there; a text where it cannot be had. */
  async getOrReason(path, whileAway, stillWanted) {
    for (;;) {
      const found = await this.get(path);
      if (found || !stillWanted()) return found;
      const answer = await ask("GET", address("/api/picture", { path, most: LEVELS[0] }));
      if (answer.status >= 400 && answer.status < 500) return answer.body.error;
      whileAway();
      await new Promise((done) => setTimeout(done, AGAIN_MS));
    }
  }
}

/** The level that shows all that a screen can of a picture. */
export function levelFor(needed) {
  const found = LEVELS.findIndex((each) => each >= needed);
  return found < 0 ? LEVELS.length - 1 : found;
}
