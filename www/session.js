// What the page has to remember to resume its session: the token, and what it sent and received.
//
// Only the client knows what it has received, and only the server what has reached the command. So the page offers a
// sub-protocol with a random token and the number of messages that it has received. The server sends the later ones, after a
// first message that says how many of the page's messages have arrived (src/http/resume.rs).

const TOKEN_BYTES = 16;
// A loss can only take what is in buffers on the way. If more than this was typed without the server receiving any, the
// session cannot be resumed.
const KEPT_MAX = 10_000;
const KEPT_CHARS_MAX = 4_000_000;

export class Session {
  #token = drawToken();
  #received = 0;
  #sent = 0;
  // The newest messages that were sent, and their size.
  #kept = [];
  #keptChars = 0;

  /** The sub-protocol to offer. Its token gives access to the session, so it is never shown. */
  get protocol() {
    return `wspipe.session.${this.#token}.${this.#received}`;
  }

  countReceived() {
    this.#received += 1;
  }

  /** Keeps a message that is sent: a string or bytes. */
  keep(message) {
    this.#sent += 1;
    this.#kept.push(message);
    this.#keptChars += size(message);
    // Shortening an array at its front takes time proportional to its length, so it is done rarely.
    if (this.#kept.length > 2 * KEPT_MAX || this.#keptChars > 2 * KEPT_CHARS_MAX) this.#shorten();
  }

  /**
   * The messages that have not arrived, according to the server's first message. Null if the session cannot be resumed: the
   * message is another one, so another command answers, or the missing messages are no longer kept.
   */
  missing(first) {
    const match = typeof first === "string" ? /^\{"received":(\d+)\}$/.exec(first) : null;
    const arrived = match ? Number(match[1]) : -1;
    const dropped = this.#sent - this.#kept.length;
    return arrived < dropped || arrived > this.#sent ? null : this.#kept.slice(arrived - dropped);
  }

  #shorten() {
    let drop = 0;
    while (this.#kept.length - drop > KEPT_MAX || (this.#keptChars > KEPT_CHARS_MAX && drop < this.#kept.length - 1)) {
      this.#keptChars -= size(this.#kept[drop]);
      drop += 1;
    }
    this.#kept.splice(0, drop);
  }
}

function drawToken() {
  const bytes = crypto.getRandomValues(new Uint8Array(TOKEN_BYTES));
  return Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join("");
}

function size(message) {
  return typeof message === "string" ? message.length : message.byteLength;
}
