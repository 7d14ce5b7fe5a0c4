// One WebSocket as the page sees it: which state it is in, and what ended it.
//
//   idle ──open()──▶ connecting ──▶ opened ──close()──▶ closing ──▶ closed ──open()──▶ connecting …
//
// A connection may be opened again after its end; each opening has a WebSocket of its own.

export class Connection {
  /** One of idle, connecting, opened, closing, closed: also the key of its name in words.js. */
  state = "idle";
  /** How the last opening ended, once the state is closed: { code, reason, opened, cancelled, seconds }. */
  ending = null;
  #socket = null;
  #since = 0;

  /**
   * `onState(connection)` is called after each change of state, `onMessage(data)` with a string or an ArrayBuffer.
   */
  constructor(url, { onState, onMessage }) {
    this.url = url;
    this.onState = onState;
    this.onMessage = onMessage;
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
    return this.state === "connecting" || this.state === "opened";
  }

  open() {
    if (!this.mayOpen) return;
    let opened = false;
    const socket = new WebSocket(this.url);
    socket.binaryType = "arraybuffer";
    socket.onopen = () => {
      opened = true;
      this.#since = performance.now();
      this.#enter("opened");
    };
    socket.onmessage = (event) => this.onMessage(event.data);
    socket.onclose = (event) => {
      this.ending = {
        code: event.code,
        reason: event.reason,
        opened,
        cancelled: !opened && this.state === "closing",
        seconds: opened ? (performance.now() - this.#since) / 1000 : 0,
      };
      this.#enter("closed");
    };
    this.#socket = socket;
    this.ending = null;
    this.#enter("connecting");
  }

  close() {
    if (!this.mayClose) return;
    this.#enter("closing");
    // A WebSocket that is not open yet refuses no code either, but has nobody to send it to.
    this.#socket.close(1000);
  }

  /** Send a string or bytes; false when the connection is not open. */
  send(data) {
    if (!this.isOpen) return false;
    this.#socket.send(data);
    return true;
  }

  #enter(state) {
    this.state = state;
    this.onState(this);
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
