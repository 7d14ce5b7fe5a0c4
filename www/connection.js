// One WebSocket as the page sees it: which state it is in, and what ended it.
//
//   idle ──open()──▶ connecting ──▶ opened ──close()──▶ closing ──▶ closed ──open()──▶ connecting …
//                                   │    ▲
//                              loss ▼    │ with --resume, within its time
//                                   resuming
//
// Each opening has a worker (socket.js) and a session of its own. To load the page anew is to start anew: what a page may keep
// for that (sessionStorage) is copied when a tab is duplicated, and two pages would take one session from each other.

// The worker may be busy with what a program has printed; whoever presses Close is not made to wait for that.
const CLOSE_MS = 1500;
const NO_CLOSE_FRAME = 1006;

export class Connection {
  /** One of idle, connecting, opened, resuming, closing, closed: also the key of its name in words.js. */
  state = "idle";
  /**
   * How the last opening ended, once the state is closed: { code, reason, opened, seconds, away, ours }. `opened` says
   * whether it ever was, `away` whether it was lost and not back, `ours` whether the page asked for the end.
   */
  ending = null;
  #mode;
  #linger;
  #worker = null;
  #giveUp = 0;

  /**
   * `mode` says what the items are that `onItems(items, dropped)` is called with: messages, lines, tagged lines, or bytes that
   * are shown as lines (socket.js). `linger` says for how many seconds the server waits when the connection is lost, or is
   * null. `onState(connection, before)` is called after each change of state, with the state before.
   */
  constructor({ url, mode, linger, onState, onItems }) {
    this.url = url;
    this.#mode = mode;
    this.#linger = linger;
    this.onState = onState;
    this.onItems = onItems;
  }

  get isOpen() {
    return this.state === "opened";
  }

  /** Whether open() would do anything: there is no connection, or its end is known. */
  get mayOpen() {
    return this.state === "idle" || this.state === "closed";
  }

  /** Whether close() would do anything. */
  get mayClose() {
    return ["connecting", "opened", "resuming"].includes(this.state);
  }

  open() {
    if (!this.mayOpen) return;
    this.ending = null;
    const worker = new Worker(new URL("socket.js", import.meta.url), { type: "module" });
    worker.onmessage = ({ data }) => this.#heard(data);
    // The worker's own files could not be fetched.
    worker.onerror = () => this.#end({ code: NO_CLOSE_FRAME, reason: "", opened: false, seconds: 0, away: false });
    worker.postMessage({ open: this.url, mode: this.#mode, linger: this.#linger });
    this.#worker = worker;
    this.#enter("connecting");
  }

  close() {
    if (!this.mayClose) return;
    const [opened, away] = [this.state !== "connecting", this.state === "resuming"];
    this.#enter("closing");
    this.#worker.postMessage({ close: true });
    const giveUp = () => this.#end({ code: NO_CLOSE_FRAME, reason: "", opened, seconds: 0, away });
    this.#giveUp = setTimeout(giveUp, CLOSE_MS);
  }

  /** Send a string or bytes; false when the connection is not open. */
  send(data) {
    if (!this.isOpen) return false;
    this.#worker.postMessage({ send: data });
    return true;
  }

  #heard({ opened, lost, resumed, items, dropped, closed }) {
    if (opened && this.state === "connecting") this.#enter("opened");
    else if (lost && this.isOpen) this.#enter("resuming");
    else if (resumed && this.state === "resuming") this.#enter("opened");
    // What still arrives after Close was pressed is of no interest any more.
    else if (items && this.isOpen) this.onItems(items, dropped);
    else if (closed) this.#end(closed);
  }

  #end(ending) {
    clearTimeout(this.#giveUp);
    this.#worker.terminate();
    this.#worker = null;
    this.ending = { ...ending, ours: this.state === "closing" };
    this.#enter("closed");
  }

  #enter(state) {
    const before = this.state;
    this.state = state;
    this.onState(this, before);
  }
}

/**
 * The ws: or wss: URL of `path`, relative to the page: a proxy may have put the page under any path.
 * The empty path is the page's own URL, with its query, which a command may read.
 */
export function socketUrl(path, page = location.href) {
  const url = new URL(path, page);
  url.protocol = url.protocol === "https:" ? "wss:" : "ws:";
  url.hash = "";
  return url.href;
}
