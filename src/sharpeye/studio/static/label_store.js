// The boxes of images in memory, and how they are saved.
//
// Every change is kept in the local storage of the browser until the server has written it: if the
// server is killed or the page is closed, at most the box being drawn is lost. One request runs at
// a time. A change names the version of the file that it was made from. The server merges it with
// the changes of other tabs, or responds 412 with their version, and then the user decides.

const DEBOUNCE_MS = 150;
const TIMEOUT_MS = 20_000;
const MIN_WAIT_MS = 300;
const MAX_WAIT_MS = 2_000;
const MAX_UNDO = 500;
const SAME_STEP_MS = 800; // key presses within this time that move one box are undone together

let lastUid = 0;
const newUid = () => `o${++lastUid}`;
const sleep = (ms) => new Promise((resolve) => setTimeout(resolve, ms));

export const address = (path, values) => `${path}?${new URLSearchParams(values)}`;

/** Send a request; returns {status, body}, with status 0 if the server cannot be reached. */
export async function requestJson(method, url, body, headers = {}, options = {}) {
  const controller = new AbortController();
  const timer = setTimeout(() => controller.abort(), TIMEOUT_MS);
  try {
    const response = await fetch(url, {
      method,
      headers: body === undefined ? headers : { "Content-Type": "application/json", ...headers },
      body: body === undefined ? undefined : JSON.stringify(body),
      signal: controller.signal,
      cache: "no-store",
      ...options,
    });
    let data = {};
    try {
      data = await response.json();
    } catch {
      if (response.ok) return { status: 0, body: {} }; // the response was cut off
    }
    return { status: response.status, body: data };
  } catch {
    return { status: 0, body: {} };
  } finally {
    clearTimeout(timer);
  }
}

/** Repeat a request until the server responds without a server error, or it is not needed. */
export async function requestUntilResponse(
  method,
  url,
  onOffline = () => {},
  isNeeded = () => true,
) {
  for (let wait = MIN_WAIT_MS; isNeeded(); wait = Math.min(2 * wait, MAX_WAIT_MS)) {
    const response = await requestJson(method, url);
    if (response.status !== 0 && response.status < 500) return response;
    onOffline(response);
    await sleep(wait);
  }
  return { status: 0, body: {} };
}

const serialize = ({ name, box, difficult, truncated, pose }) =>
  JSON.stringify([name, box, difficult, truncated, pose]);

/** The boxes of one image: `now` as the page shows them, `base` as last known in the file. */
class Doc {
  constructor(state) {
    this.path = state.path;
    this.redoStack = [];
    this.undoStack = [];
    this.edits = 0;
    this.saved = 0;
    this.reset(state);
  }

  get dirty() {
    return this.edits !== this.saved;
  }

  /** Replace the boxes with the state of the file. */
  reset(state) {
    this.width = state.width;
    this.height = state.height;
    this.problem = state.problem || "";
    this.refused = "";
    this.conflict = null;
    this.etag = state.etag;
    this.base = state.objects;
    this.baseVerified = state.verified;
    const objects = state.objects.map((each) => ({ ...each, uid: newUid() }));
    this.origins = new Map(objects.map((each) => [each.uid, each.was]));
    this.now = { objects, verified: state.verified };
    this.saved = this.edits;
  }

  /** The body of the request that saves the change. */
  body() {
    const objects = this.now.objects.map(({ uid, ...each }) => ({
      ...each,
      was: this.origins.get(uid) ?? each.was ?? "",
    }));
    const { base, baseVerified, now } = this;
    return { objects, verified: now.verified, base, base_verified: baseVerified };
  }

  /** Apply the response to a saved change; true if it was merged with changes of other tabs. */
  applySaved(state, sent, edits) {
    const merged = Array.isArray(state.mine);
    const received = state.objects.map((each, number) => {
      const sentIndex = merged ? state.mine[number] : number;
      const uid = sentIndex === null ? newUid() : sent.objects[sentIndex].uid;
      this.origins.set(uid, each.was);
      return { ...each, uid };
    });
    this.etag = state.etag;
    this.base = state.objects;
    this.baseVerified = state.verified;
    this.saved = edits;
    if (!merged) return false;
    this.now = this.edits === edits
      ? { objects: received, verified: state.verified }
      : { objects: this.mergeLocal(received, sent), verified: this.now.verified };
    // Earlier states do not have the boxes of other tabs: an undo would delete those.
    this.undoStack = [];
    this.redoStack = [];
    return true;
  }

  /** The received boxes, with the local changes since the request was sent. */
  mergeLocal(received, sent) {
    const sentObjects = new Map(sent.objects.map((each) => [each.uid, each]));
    const localObjects = new Map(this.now.objects.map((each) => [each.uid, each]));
    const found = [];
    for (const each of received) {
      const local = localObjects.get(each.uid);
      if (!sentObjects.has(each.uid)) found.push(each);
      else if (local) found.push(local === sentObjects.get(each.uid) ? each : local);
    }
    const known = new Set(received.map((each) => each.uid));
    for (const each of this.now.objects) {
      if (!known.has(each.uid) && each !== sentObjects.get(each.uid)) found.push(each);
    }
    return found;
  }
}

export class AnnotationStore {
  /** `notify(event, doc)` gets the events `state`, `saved`, `merged`, `conflict` and `refused`. */
  constructor(folder, notify) {
    this.prefix = `sharpeye-label:${folder}:`;
    this.notify = notify;
    this.docs = new Map();
    this.timer = 0;
    this.running = false;
    this.offline = false;
    this.sending = false;
    this.storedLocally = true;
    document.addEventListener("visibilitychange", () => document.hidden && this.flush());
    addEventListener("pagehide", () => this.sendBeforeLeaving());
    addEventListener("beforeunload", (event) => {
      if (this.unsaved().length && (this.offline || !this.storedLocally)) event.preventDefault();
    });
  }

  unsaved() {
    return [...this.docs.values()].filter((doc) => doc.dirty);
  }

  /** Load and send the changes that an earlier page could not save. */
  recover() {
    for (const key of Object.keys(localStorage)) {
      if (!key.startsWith(this.prefix)) continue;
      try {
        const stored = JSON.parse(localStorage.getItem(key));
        const state = { ...stored, objects: stored.base, verified: stored.baseVerified };
        const doc = new Doc(state);
        const known = new Map(doc.now.objects.map((each) => [each.was, each.uid]));
        const objects = stored.objects.map((each) => ({
          ...each,
          uid: known.get(each.was) ?? newUid(),
        }));
        doc.now = { objects, verified: stored.now };
        doc.edits += 1;
        this.docs.set(doc.path, doc);
      } catch {
        localStorage.removeItem(key);
      }
    }
    if (this.unsaved().length) this.flush();
  }

  saveLocally(doc) {
    const key = this.prefix + doc.path;
    try {
      if (!doc.dirty) localStorage.removeItem(key);
      else {
        const { path, width, height, etag, base, baseVerified } = doc;
        const { objects, verified } = doc.body();
        const stored = { path, width, height, etag, base, baseVerified, objects, now: verified };
        localStorage.setItem(key, JSON.stringify(stored));
      }
      this.storedLocally = true;
    } catch {
      this.storedLocally = false; // storage is full or disabled: the change is in memory only
    }
  }

  /** Send changes that are not saved yet when the page is left. */
  sendBeforeLeaving() {
    for (const doc of this.unsaved()) {
      if (!doc.conflict && !doc.refused) this.send(doc, { keepalive: true });
    }
  }

  discard(doc) {
    doc.edits = doc.saved;
    this.saveLocally(doc);
    this.docs.delete(doc.path);
    this.notify("state", null);
  }

  /** The boxes of an image: those in memory, or else those of the file. */
  async open(path, onOffline, isNeeded) {
    const known = this.docs.get(path);
    if (known) return known;
    const url = address("/api/label/boxes", { path });
    const { status, body } = await requestUntilResponse("GET", url, onOffline, isNeeded);
    if (status !== 200) return { path, failed: body.error || "it could not be opened" };
    return this.add(path, body);
  }

  /** Load the boxes of an image ahead, in case the server cannot be reached later. */
  async prefetch(path) {
    if (this.docs.has(path)) return;
    const { status, body } = await requestJson("GET", address("/api/label/boxes", { path }));
    if (status === 200) this.add(path, body);
  }

  add(path, state) {
    if (!this.docs.has(path)) this.docs.set(path, new Doc(state));
    this.evict(path);
    return this.docs.get(path);
  }

  /** Drop the oldest saved entries; the others stay, so that their changes can be undone. */
  evict(current) {
    for (const [path, doc] of this.docs) {
      if (this.docs.size <= 60) return;
      if (path !== current && !doc.dirty && !doc.conflict) this.docs.delete(path);
    }
  }

  /** Show `next` instead of `doc.now`. Successive changes of one `group` are undone together. */
  change(doc, next, group = "") {
    const now = performance.now();
    const same = group && doc.group === group && now - doc.groupAt < SAME_STEP_MS;
    if (!same) doc.undoStack = [...doc.undoStack.slice(-MAX_UNDO), doc.now];
    doc.group = group;
    doc.groupAt = now;
    doc.redoStack = [];
    this.apply(doc, next);
  }

  undo(doc) {
    if (!doc.undoStack.length) return false;
    doc.redoStack = [...doc.redoStack, doc.now];
    doc.group = "";
    this.apply(doc, doc.undoStack.pop());
    return true;
  }

  redo(doc) {
    if (!doc.redoStack.length) return false;
    doc.undoStack = [...doc.undoStack, doc.now];
    doc.group = "";
    this.apply(doc, doc.redoStack.pop());
    return true;
  }

  apply(doc, next) {
    doc.now = next;
    doc.edits += 1;
    doc.refused = "";
    this.saveLocally(doc);
    this.notify("state", doc);
    clearTimeout(this.timer);
    this.timer = setTimeout(() => this.flush(), DEBOUNCE_MS);
  }

  /** Send all unsaved changes; repeat while the server cannot be reached. */
  async flush() {
    clearTimeout(this.timer);
    if (this.running) return;
    this.running = true;
    let wait = MIN_WAIT_MS;
    try {
      for (;;) {
        const doc = this.unsaved().find((each) => !each.conflict && !each.refused);
        if (!doc) break;
        this.sending = true;
        this.notify("state", doc);
        if (await this.send(doc)) {
          wait = MIN_WAIT_MS;
          continue;
        }
        this.notify("state", doc);
        await sleep(wait);
        wait = Math.min(2 * wait, MAX_WAIT_MS);
      }
    } finally {
      this.running = this.sending = false;
      this.notify("state", null);
    }
  }

  /** Send one change once; returns false if the server cannot be reached. */
  async send(doc, options = {}) {
    const [sent, edits] = [doc.now, doc.edits];
    const url = address("/api/label/boxes", { path: doc.path });
    const body = { ...doc.body(), ...(doc.replace ? { replace: true } : {}) };
    const headers = { "If-Match": `"${doc.etag}"` };
    const { status, body: result } = await requestJson("PUT", url, body, headers, options);
    this.offline = status === 0 || status >= 500 || status === 401;
    if (this.offline) {
      this.offlineReason = status === 401 ? result.error : "";
      return false;
    }
    if (status === 200) {
      const merged = doc.applySaved(result, sent, edits);
      doc.problem = result.problem;
      doc.replace = false;
      this.saveLocally(doc);
      this.notify("saved", doc);
      if (merged) this.notify("merged", doc);
    } else if (status === 412) {
      doc.conflict = result.theirs;
      this.notify("conflict", doc);
    } else {
      doc.refused = result.error || `the server answered ${status}`;
      this.notify("refused", doc);
    }
    return true;
  }

  /** Resolve a conflict by the user's choice: "mine", "theirs" or "both". */
  resolveConflict(doc, choice) {
    const theirs = doc.conflict;
    const { now, undoStack } = doc;
    doc.reset(theirs);
    doc.undoStack = [...undoStack, now]; // Ctrl+Z restores what was not chosen
    doc.redoStack = [];
    if (choice === "theirs") {
      this.saveLocally(doc);
      this.notify("state", doc);
      return;
    }
    doc.undoStack.push(doc.now);
    const known = new Set(theirs.objects.map(serialize));
    const extra = now.objects.filter((each) => !known.has(serialize(each)));
    this.apply(doc, choice === "mine" ? now : { ...now, objects: [...doc.now.objects, ...extra] });
  }
}
