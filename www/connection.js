// One WebSocket as the page sees it: its state, and why it ended.
//
//   idle ──open()──▶ connecting ──▶ opened ──close()──▶ closing ──▶ closed ──open()──▶ connecting …
//                                   │    ▲
//                              loss ▼    │ with --resume, within its time
//                                   resuming
//
// Each opening has its own worker (socket.js) and session. A reload starts from the beginning: what a page may store for it
// (sessionStorage) is copied when a tab is duplicated, and two pages would take the session from each other.

// How long Close waits for the worker, which may be busy with the output of a program.
const CLOSE_MS = 1500;
const NO_CLOSE_FRAME = 1006;

export class Connection {
  /** One of idle, connecting, opened, resuming, closing, closed: also the key of its name in words.js. */
  state = "idle";
  /**
   * Once the state is closed, how the last opening ended: { code, reason, opened, seconds, away, ours }. `opened`: whether it
   * ever was open. `away`: whether it ended while the connection was lost. `ours`: whether the page closed it.
   */
  ending = null;
  #mode;
  #resumeSeconds;
  #worker = null;
  #closeTimer = 0;

  /**
   * `mode` is the kind of items that `onItems(items, dropped)` receives: messages, lines, tagged lines, or bytes shown as lines
   * (socket.js). `resumeSeconds`: how long the server keeps the session of a lost connection, or null.
   * `onState(connection, before)` is called after each change of state, with the state before.
   */
  constructor({ url, mode, resumeSeconds, onState, onItems }) {
    this.url = url;
    this.#mode = mode;
    this.#resumeSeconds = resumeSeconds;
    this.onState = onState;
    this.onItems = onItems;
  }

  get isOpen() {
    return this.state === "opened";
  }

  /** Whether open() would do anything: there is no connection, or it has ended. */
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
    worker.onmessage = ({ data }) => this.#onWorkerMessage(data);
    // The worker's own files could not be loaded.
    worker.onerror = () => this.#end({ code: NO_CLOSE_FRAME, reason: "", opened: false, seconds: 0, away: false });
    worker.postMessage({ open: this.url, mode: this.#mode, resumeSeconds: this.#resumeSeconds });
    this.#worker = worker;
    this.#enter("connecting");
  }

  close() {
    if (!this.mayClose) return;
    const [opened, away] = [this.state !== "connecting", this.state === "resuming"];
    this.#enter("closing");
    this.#worker.postMessage({ close: true });
    const abandon = () => this.#end({ code: NO_CLOSE_FRAME, reason: "", opened, seconds: 0, away });
    this.#closeTimer = setTimeout(abandon, CLOSE_MS);
  }

  /** Sends a string or bytes. Returns false if the connection is not open. */
  send(data) {
    if (!this.isOpen) return false;
    this.#worker.postMessage({ send: data });
    return true;
  }

  #onWorkerMessage({ opened, lost, resumed, items, dropped, closed }) {
    if (opened && this.state === "connecting") this.#enter("opened");
    else if (lost && this.isOpen) this.#enter("resuming");
    else if (resumed && this.state === "resuming") this.#enter("opened");
    // Ignore what arrives after Close was pressed.
    else if (items && this.isOpen) this.onItems(items, dropped);
    else if (closed) this.#end(closed);
  }

  #end(ending) {
    clearTimeout(this.#closeTimer);
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
 * The ws: or wss: URL of `path`, relative to the page, because a proxy may serve the page below any path.
 * The empty path is the page's own URL with its query, which a command may read.
 */
export function socketUrl(path, page = location.href) {
  const url = new URL(path, page);
  url.protocol = url.protocol === "https:" ? "wss:" : "ws:";
  url.hash = "";
  return url.href;
}
