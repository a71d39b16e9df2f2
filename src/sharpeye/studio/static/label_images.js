// The images that are shown: they are decoded ahead, and the last ones are cached.

import { address, requestJson } from "./label_store.js";

export const LEVELS = [2048, 4096, 8192]; // longest sides of the images, in pixels
const MAX_DECODED = 8; // decoded images in the cache
const RETRY_MS = 1000;

export class ImageCache {
  constructor() {
    this.known = new Map(); // URL -> promise of an image, or of null if it cannot be loaded
  }

  get(path, level = 0) {
    const url = address("/api/picture", { path, most: LEVELS[level] });
    const promise = this.known.get(url) ?? this.load(url);
    this.known.delete(url); // insert it again: the least recently used one is evicted first
    this.known.set(url, promise);
    while (this.known.size > MAX_DECODED) this.known.delete(this.known.keys().next().value);
    return promise;
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

  /** An image, requested until the server answers; the error message if there is none. */
  async getOrError(path, onOffline, isNeeded) {
    for (;;) {
      const image = await this.get(path);
      if (image || !isNeeded()) return image;
      const response = await requestJson("GET", address("/api/picture", { path, most: LEVELS[0] }));
      if (response.status >= 400 && response.status < 500) return response.body.error;
      onOffline();
      await new Promise((resolve) => setTimeout(resolve, RETRY_MS));
    }
  }
}

/** The lowest level with at least `needed` pixels on the longest side, or else the highest. */
export function levelFor(needed) {
  const index = LEVELS.findIndex((each) => each >= needed);
  return index < 0 ? LEVELS.length - 1 : index;
}
