// The boxes of pictures in memory, and their way to the disk.
//
// Every change is kept in the browser's own storage until the server has written it: neither a
// server that was killed nor a page that was closed loses more than the box being drawn. One
// request runs at a time. A change says which version of the file it was made from; the server
// merges it with what other tabs wrote, or answers 412 with theirs, and then a person decides.

const DEBOUNCE_MS = 150;
const TIMEOUT_MS = 20_000;
const FIRST_WAIT_MS = 300;
const LONGEST_WAIT_MS = 2_000;
const MAX_UNDO = 500;
const SAME_STEP_MS = 800; // key presses that move one box are one step to undo

let lastUid = 0;
const newUid = () => `o${++lastUid}`;
const sleep = (ms) => new Promise((done) => setTimeout(done, ms));

export const address = (path, values) => `${path}?${new URLSearchParams(values)}`;

/** A request that answers {status, body}; status 0 where the server is away. */
export async function ask(method, url, body, headers = {}, more = {}) {
  const stop = new AbortController();
  const timer = setTimeout(() => stop.abort(), TIMEOUT_MS);
  try {
    const answer = await fetch(url, {
      method,
      headers: body === undefined ? headers : { "Content-Type": "application/json", ...headers },
      body: body === undefined ? undefined : JSON.stringify(body),
      signal: stop.signal,
      cache: "no-store",
      ...more,
    });
    let said = {};
    try {
      said = await answer.json();
    } catch {
      if (answer.ok) return { status: 0, body: {} }; // cut off in the middle
    }
    return { status: answer.status, body: said };
  } catch {
    return { status: 0, body: {} };
  } finally {
    clearTimeout(timer);
  }
}

/** What every picture without a picture's answer needs: asked until the server is there. */
export async function askUntilThere(method, url, whileAway = () => {}, stillWanted = () => true) {
  for (let wait = FIRST_WAIT_MS; stillWanted(); wait = Math.min(2 * wait, LONGEST_WAIT_MS)) {
    const answer = await ask(method, url);
    if (answer.status !== 0 && answer.status < 500) return answer;
    whileAway(answer);
    await sleep(wait);
  }
  return { status: 0, body: {} };
}

const fields = ({ name, box, difficult, truncated, pose }) =>
  JSON.stringify([name, box, difficult, truncated, pose]);

/** One picture: `now` is what the page shows, `base` what the file said when last heard of. */
class Doc {
  constructor(state) {
    this.path = state.path;
    this.undone = [];
    this.done = [];
    this.edits = 0;
    this.saved = 0;
    this.hear(state);
  }

  get dirty() {
    return this.edits !== this.saved;
  }

  /** Take over what the file says. */
  hear(state) {
    this.width = state.width;
    this.height = state.height;
    this.problem = state.problem || "";
    this.refused = "";
    this.conflict = null;
    this.etag = state.etag;
    this.base = state.objects;
    this.baseVerified = state.verified;
    const objects = state.objects.map((each) => ({ ...each, uid: newUid() }));
    this.was = new Map(objects.map((each) => [each.uid, each.was]));
    this.now = { objects, verified: state.verified };
    this.saved = this.edits;
  }

  /** The change as the server wants it. */
  body() {
    const objects = this.now.objects.map(({ uid, ...each }) => ({
      ...each,
      was: this.was.get(uid) ?? each.was ?? "",
    }));
    const { base, baseVerified, now } = this;
    return { objects, verified: now.verified, base, base_verified: baseVerified };
  }

  /** What was sent has been written, perhaps together with what others wrote meanwhile. */
  adopt(state, sent, edits) {
    const merged = Array.isArray(state.mine);
    const heard = state.objects.map((each, number) => {
      const mine = merged ? state.mine[number] : number;
      const uid = mine === null ? newUid() : sent.objects[mine].uid;
      this.was.set(uid, each.was);
      return { ...each, uid };
    });
    this.etag = state.etag;
    this.base = state.objects;
    this.baseVerified = state.verified;
    this.saved = edits;
    if (!merged) return false;
    this.now = this.edits === edits
      ? { objects: heard, verified: state.verified }
      : { objects: this.together(heard, sent), verified: this.now.verified };
    // Those steps know nothing of the others' boxes: undoing one would delete them.
    this.done = [];
    this.undone = [];
    return true;
  }

  /** What came back, with what was changed here since it was sent. */
  together(heard, sent) {
    const before = new Map(sent.objects.map((each) => [each.uid, each]));
    const here = new Map(this.now.objects.map((each) => [each.uid, each]));
    const found = [];
    for (const each of heard) {
      const mine = here.get(each.uid);
      if (!before.has(each.uid)) found.push(each);
      else if (mine) found.push(mine === before.get(each.uid) ? each : mine);
    }
    const known = new Set(heard.map((each) => each.uid));
    for (const each of this.now.objects) {
      if (!known.has(each.uid) && each !== before.get(each.uid)) found.push(each);
    }
    return found;
  }
}

export class Work {
  /** `told(what, doc)` hears of `state`, `saved`, `merged`, `conflict` and `refused`. */
  constructor(folder, told) {
    this.prefix = `sharpeye-label:${folder}:`;
    this.told = told;
    this.docs = new Map();
    this.timer = 0;
    this.running = false;
    this.away = false;
    this.sending = false;
    this.kept = true;
    document.addEventListener("visibilitychange", () => document.hidden && this.flush());
    addEventListener("pagehide", () => this.sendLast());
    addEventListener("beforeunload", (event) => {
      if (this.unsaved().length && (this.away || !this.kept)) event.preventDefault();
    });
  }

  unsaved() {
    return [...this.docs.values()].filter((doc) => doc.dirty);
  }

  /** Changes that an earlier page could not save. */
  recover() {
    for (const key of Object.keys(localStorage)) {
      if (!key.startsWith(this.prefix)) continue;
      try {
        const kept = JSON.parse(localStorage.getItem(key));
        const state = { ...kept, objects: kept.base, verified: kept.baseVerified };
        const doc = new Doc(state);
        const known = new Map(doc.now.objects.map((each) => [each.was, each.uid]));
        const objects = kept.objects.map((each) => ({
          ...each,
          uid: known.get(each.was) ?? newUid(),
        }));
        doc.now = { objects, verified: kept.now };
        doc.edits += 1;
        this.docs.set(doc.path, doc);
      } catch {
        localStorage.removeItem(key);
      }
    }
    if (this.unsaved().length) this.flush();
  }

  keep(doc) {
    const key = this.prefix + doc.path;
    try {
      if (!doc.dirty) localStorage.removeItem(key);
      else {
        const { path, width, height, etag, base, baseVerified } = doc;
        const { objects, verified } = doc.body();
        const kept = { path, width, height, etag, base, baseVerified, objects, now: verified };
        localStorage.setItem(key, JSON.stringify(kept));
      }
      this.kept = true;
    } catch {
      this.kept = false; // full or forbidden: it is still in memory
    }
  }

  /** The page is left within the time that a change waits. */
  sendLast() {
    for (const doc of this.unsaved()) {
      if (!doc.conflict && !doc.refused) this.send(doc, { keepalive: true });
    }
  }

  discard(doc) {
    doc.edits = doc.saved;
    this.keep(doc);
    this.docs.delete(doc.path);
    this.told("state", null);
  }

  /** The picture's boxes as they are known here, else what the file says. */
  async open(path, whileAway, stillWanted) {
    const known = this.docs.get(path);
    if (known) return known;
    const url = address("/api/label/boxes", { path });
    const { status, body } = await askUntilThere("GET", url, whileAway, stillWanted);
    if (status !== 200) return { path, failed: body.error || "it could not be opened" };
    return this.take(path, body);
  }

  /** Have the boxes of a picture at hand, should the server be away when it is wanted. */
  async prefetch(path) {
    if (this.docs.has(path)) return;
    const { status, body } = await ask("GET", address("/api/label/boxes", { path }));
    if (status === 200) this.take(path, body);
  }

  take(path, state) {
    if (!this.docs.has(path)) this.docs.set(path, new Doc(state));
    this.forget(path);
    return this.docs.get(path);
  }

  /** A few pictures stay, so that what was done to them can be undone. */
  forget(current) {
    for (const [path, doc] of this.docs) {
      if (this.docs.size <= 60) return;
      if (path !== current && !doc.dirty && !doc.conflict) this.docs.delete(path);
    }
  }

  /** Show `next` instead of `doc.now`. Changes of one `group` in a row are one step to undo. */
  change(doc, next, group = "") {
    const now = performance.now();
    const same = group && doc.group === group && now - doc.groupAt < SAME_STEP_MS;
    if (!same) doc.done = [...doc.done.slice(-MAX_UNDO), doc.now];
    doc.group = group;
    doc.groupAt = now;
    doc.undone = [];
    this.touch(doc, next);
  }

  undo(doc) {
    if (!doc.done.length) return false;
    doc.undone = [...doc.undone, doc.now];
    doc.group = "";
    this.touch(doc, doc.done.pop());
    return true;
  }

  redo(doc) {
    if (!doc.undone.length) return false;
    doc.done = [...doc.done, doc.now];
    doc.group = "";
    this.touch(doc, doc.undone.pop());
    return true;
  }

  touch(doc, next) {
    doc.now = next;
    doc.edits += 1;
    doc.refused = "";
    this.keep(doc);
    this.told("state", doc);
    clearTimeout(this.timer);
    this.timer = setTimeout(() => this.flush(), DEBOUNCE_MS);
  }

  /** Send what is not saved; again and again while the server is away. */
  async flush() {
    clearTimeout(this.timer);
    if (this.running) return;
    this.running = true;
    let wait = FIRST_WAIT_MS;
    try {
      for (;;) {
        const doc = this.unsaved().find((each) => !each.conflict && !each.refused);
        if (!doc) break;
        this.sending = true;
        this.told("state", doc);
        if (await this.send(doc)) {
          wait = FIRST_WAIT_MS;
          continue;
        }
        this.told("state", doc);
        await sleep(wait);
        wait = Math.min(2 * wait, LONGEST_WAIT_MS);
      }
    } finally {
      this.running = this.sending = false;
      this.told("state", null);
    }
  }

  /** One try; false where the server is away. */
  async send(doc, more = {}) {
    const [sent, edits] = [doc.now, doc.edits];
    const url = address("/api/label/boxes", { path: doc.path });
    const body = { ...doc.body(), ...(doc.replace ? { replace: true } : {}) };
    const { status, body: said } = await ask("PUT", url, body, { "If-Match": `"${doc.etag}"` }, more);
    this.away = status === 0 || status >= 500 || status === 401;
    if (this.away) {
      this.why = status === 401 ? said.error : "";
      return false;
    }
    if (status === 200) {
      const merged = doc.adopt(said, sent, edits);
      doc.problem = said.problem;
      doc.replace = false;
      this.keep(doc);
      this.told("saved", doc);
      if (merged) this.told("merged", doc);
    } else if (status === 412) {
      doc.conflict = said.theirs;
      this.told("conflict", doc);
    } else {
      doc.refused = said.error || `the server answered ${status}`;
      this.told("refused", doc);
    }
    return true;
  }

  /** A person has decided between both: "mine", "theirs" or "both". */
  settle(doc, choice) {
    const theirs = doc.conflict;
    const { now, done } = doc;
    doc.hear(theirs);
    doc.done = [...done, now]; // what was not chosen comes back with Ctrl+Z
    doc.undone = [];
    if (choice === "theirs") {
      this.keep(doc);
      this.told("state", doc);
      return;
    }
    doc.done.push(doc.now);
    const has = new Set(theirs.objects.map(fields));
    const extra = now.objects.filter((each) => !has.has(fields(each)));
    this.touch(doc, choice === "mine" ? now : { ...now, objects: [...doc.now.objects, ...extra] });
  }
}
