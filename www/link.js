// A WebSocket that reconnects to its command after a loss, if the server keeps the session (--resume).
//
//   opening ──▶ connected ──loss──▶ lost ──first message──▶ connected … ──▶ ended
//
// A loss is an end without a close frame. Any close frame is the end, and so is a first opening that fails.

import { Session } from "./session.js";

// The browser's code for an end without a close frame, and the server's for a session that cannot be resumed.
const NO_CLOSE_FRAME = 1006;
const OUTPUT_LOST = 4410;

// A returning page also offers this. Without it, a page that had received nothing would look new and would silently get a new
// command.
const RESUME = "wspipe.resume";

// How long to wait before another attempt. The delay doubles each time and is randomized, so that the pages of a restarted
// server do not all reconnect at the same time.
const DELAY_MIN_MS = 250;
const DELAY_MAX_MS = 5000;
// How long an attempt may take: a broken network often drops packets silently.
const ATTEMPT_MS = 10_000;

export class Link {
  #url;
  #session;
  #resumeMs;
  #on;
  #socket;
  #openedAt = null;
  #connectedSince = null;
  #lostAt = null;
  #attempts = 0;
  #timer = 0;
  // The code and reason of the end, if this page decided them.
  #outcome = null;
  #closing = false;

  /**
   * `resumeSeconds`: how long the server keeps the session of a lost connection, or null. Of `on`, `opened()` is called once,
   * `message(data)` for each message of the command, `lost()` and `resumed()` alternately, and finally
   * `closed({ code, reason, opened, seconds, away })`; `away`: whether the end came while the connection was lost.
   */
  constructor(url, resumeSeconds, on) {
    this.#url = url;
    this.#session = resumeSeconds === null ? null : new Session();
    this.#resumeMs = resumeSeconds * 1000;
    this.#on = on;
    this.#connect();
  }

  /** Whether what is sent now reaches the command, at once or after a resume. */
  get isOpen() {
    const canResume = this.#session !== null && this.#openedAt !== null;
    return canResume || this.#socket.readyState === WebSocket.OPEN;
  }

  send(data) {
    this.#session?.keep(data);
    if (this.#lostAt === null && this.#socket.readyState === WebSocket.OPEN) this.#socket.send(data);
  }

  /** Ends the session. */
  close() {
    this.#closing = true;
    if (this.#lostAt === null || this.#socket.readyState === WebSocket.OPEN) this.#socket.close(1000);
    else this.#end({ code: NO_CLOSE_FRAME, reason: "" });
  }

  #connect() {
    const socket = new WebSocket(this.#url, this.#protocols());
    socket.binaryType = "arraybuffer";
    socket.onopen = () => this.#opened();
    socket.onmessage = ({ data }) => (this.#lostAt === null ? this.#received(data) : this.#resumeFrom(data));
    socket.onclose = (ending) => this.#closed(ending);
    this.#socket = socket;
    if (this.#lostAt !== null) this.#timer = setTimeout(() => this.#timedOut(), ATTEMPT_MS);
  }

  #protocols() {
    if (this.#session === null) return [];
    return this.#lostAt === null ? [this.#session.protocol] : [this.#session.protocol, RESUME];
  }

  #opened() {
    // A resumed connection counts as open only after its first message.
    if (this.#lostAt !== null) return;
    this.#openedAt = this.#connectedSince = performance.now();
    this.#on.opened();
  }

  #received(data) {
    this.#session?.countReceived();
    this.#on.message(data);
  }

  #resumeFrom(data) {
    const missing = this.#session.missing(data);
    if (missing === null) {
      this.#abandon();
      return;
    }
    clearTimeout(this.#timer);
    this.#lostAt = null;
    this.#connectedSince = performance.now();
    this.#on.resumed();
    for (const message of missing) this.#socket.send(message);
  }

  // The first message did not arrive in time, or not even the opening.
  #timedOut() {
    if (this.#socket.readyState === WebSocket.OPEN) this.#abandon();
    else this.#socket.close();
  }

  #abandon() {
    this.#socket.onmessage = null;
    this.#outcome = { code: OUTPUT_LOST, reason: "" };
    this.#socket.close(OUTPUT_LOST);
  }

  #closed({ code, reason }) {
    clearTimeout(this.#timer);
    const final = this.#session === null || this.#openedAt === null || this.#closing || this.#outcome !== null;
    if (final || code !== NO_CLOSE_FRAME) this.#end(this.#outcome ?? { code, reason });
    else this.#reconnect();
  }

  #reconnect() {
    const now = performance.now();
    if (this.#lostAt === null) {
      this.#lostAt = now;
      // Keep the long delay for a connection that is lost repeatedly.
      if (now - this.#connectedSince > DELAY_MAX_MS) this.#attempts = 0;
      this.#on.lost();
    }
    const left = this.#lostAt + this.#resumeMs - now;
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
