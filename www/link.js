// A WebSocket that comes back to its command by itself when it is lost, where the server waits for that (--resume).
//
//   opening ──▶ there ──loss──▶ away ──welcome──▶ there … ──▶ over
//
// A loss is an end without a close frame. Whatever a close frame says is the end, and so is a first opening that fails.

import { Session } from "./session.js";

// The browser's word for no close frame, and the server's for a session that cannot go on where it broke off.
const NO_CLOSE_FRAME = 1006;
const OUTPUT_LOST = 4410;

// Offered beside the session's name by a page that comes back: one that has received nothing would else look like a newcomer,
// and get another command without being told.
const RESUME = "wspipe.resume";

// How long to wait before another attempt: doubled each time, and never quite the same, so that the pages of a server that
// was gone do not all come back at once.
const DELAY_MIN_MS = 250;
const DELAY_MAX_MS = 5000;
// How long an attempt may take: a network that is gone often swallows packets without a word.
const ATTEMPT_MS = 10_000;

export class Link {
  #url;
  #session;
  #lingerMs;
  #on;
  #socket;
  #openedAt = null;
  #thereSince = null;
  #lostAt = null;
  #attempts = 0;
  #timer = 0;
  // What is to be said of the end, where it is ours to say.
  #verdict = null;
  #closing = false;

  /**
   * `linger`: for how many seconds the server waits for a client that was lost, or null. Of `on`, `opened()` is called once,
   * `message(data)` for each message of the command, `lost()` and `resumed()` in turns, and at last
   * `closed({ code, reason, opened, seconds, away })`; `away` says that the end came while the connection was lost.
   */
  constructor(url, linger, on) {
    this.#url = url;
    this.#session = linger === null ? null : new Session();
    this.#lingerMs = linger * 1000;
    this.#on = on;
    this.#connect();
  }

  /** Whether what is sent now goes to the command, at once or when the connection is back. */
  get isOpen() {
    const comesBack = this.#session !== null && this.#openedAt !== null;
    return comesBack || this.#socket.readyState === WebSocket.OPEN;
  }

  send(data) {
    this.#session?.keep(data);
    if (this.#lostAt === null && this.#socket.readyState === WebSocket.OPEN) this.#socket.send(data);
  }

  /** End it for good. */
  close() {
    this.#closing = true;
    if (this.#lostAt === null || this.#socket.readyState === WebSocket.OPEN) this.#socket.close(1000);
    else this.#end({ code: NO_CLOSE_FRAME, reason: "" });
  }

  #connect() {
    const socket = new WebSocket(this.#url, this.#protocols());
    socket.binaryType = "arraybuffer";
    socket.onopen = () => this.#opened();
    socket.onmessage = ({ data }) => (this.#lostAt === null ? this.#received(data) : this.#welcomed(data));
    socket.onclose = (ending) => this.#closed(ending);
    this.#socket = socket;
    if (this.#lostAt !== null) this.#timer = setTimeout(() => this.#late(), ATTEMPT_MS);
  }

  #protocols() {
    if (this.#session === null) return [];
    return this.#lostAt === null ? [this.#session.protocol] : [this.#session.protocol, RESUME];
  }

  #opened() {
    // One that is back is not there before its welcome.
    if (this.#lostAt !== null) return;
    this.#openedAt = this.#thereSince = performance.now();
    this.#on.opened();
  }

  #received(data) {
    this.#session?.countReceived();
    this.#on.message(data);
  }

  #welcomed(data) {
    const missing = this.#session.missing(data);
    if (missing === null) {
      this.#abandon();
      return;
    }
    clearTimeout(this.#timer);
    this.#lostAt = null;
    this.#thereSince = performance.now();
    this.#on.resumed();
    for (const message of missing) this.#socket.send(message);
  }

  // No welcome came, or not even an opening.
  #late() {
    if (this.#socket.readyState === WebSocket.OPEN) this.#abandon();
    else this.#socket.close();
  }

  #abandon() {
    this.#socket.onmessage = null;
    this.#verdict = { code: OUTPUT_LOST, reason: "" };
    this.#socket.close(OUTPUT_LOST);
  }

  #closed({ code, reason }) {
    clearTimeout(this.#timer);
    const final = this.#session === null || this.#openedAt === null || this.#closing || this.#verdict !== null;
    if (final || code !== NO_CLOSE_FRAME) this.#end(this.#verdict ?? { code, reason });
    else this.#comeBack();
  }

  #comeBack() {
    const now = performance.now();
    if (this.#lostAt === null) {
      this.#lostAt = now;
      // One that is lost again and again is not hurried back.
      if (now - this.#thereSince > DELAY_MAX_MS) this.#attempts = 0;
      this.#on.lost();
    }
    const left = this.#lostAt + this.#lingerMs - now;
    if (left <= 0) {
      this.#end({ code: NO_CLOSE_FRAME, reason: "" });
      return;
    }
    const delay = Math.min(DELAY_MIN_MS * 2 ** this.#attempts, DELAY_MAX_MS) * (0.5 + Math.random() / 2);
    this.#attempts += 1;
    this.#timer = setTimeout(() => this.#connect(), Math.min(delay, left));
  }

  #end({ code, reason }) {
    clearTimeout(this.#timer);
    const opened = this.#openedAt !== null;
    const seconds = opened ? (performance.now() - this.#openedAt) / 1000 : 0;
    this.#on.closed({ code, reason, opened, seconds, away: this.#lostAt !== null });
  }
}
