// What the page must remember to come back to its command after a loss: the session's name, and both counts.
//
// Only the client knows what has reached it, and only the server what has reached the command. So the page offers a
// sub-protocol with a token, which it drew, and the number of messages that it has received; the server sends those that came
// later, after a welcome that says how many of the page's messages have arrived (src/http/session.rs).

const TOKEN_BYTES = 16;
// What a loss may take with it is what lies in buffers on the way. A reader who typed more than this without the server
// taking any is told that it cannot be made up for.
const KEPT_MAX = 10_000;
const KEPT_CHARS_MAX = 4_000_000;

export class Session {
  #token = drawToken();
  #received = 0;
  #sent = 0;
  // The newest messages that were sent, and their size.
  #kept = [];
  #keptChars = 0;

  /** The sub-protocol to offer. Whoever knows it is let into the session, so it is shown nowhere. */
  get protocol() {
    return `wspipe.session.${this.#token}.${this.#received}`;
  }

  countReceived() {
    this.#received += 1;
  }

  /** Keep a message that is sent: a string or bytes. */
  keep(message) {
    this.#sent += 1;
    this.#kept.push(message);
    this.#keptChars += size(message);
    // To shorten an array at its front costs its length, so it is done rarely.
    if (this.#kept.length > 2 * KEPT_MAX || this.#keptChars > 2 * KEPT_CHARS_MAX) this.#shorten();
  }

  /**
   * The messages that have not arrived, by the server's welcome. Null when there is no coming back: this is no welcome, so
   * another run of the command speaks, or what is missing is not kept any more.
   */
  missing(welcome) {
    const said = typeof welcome === "string" ? /^\{"received":(\d+)\}$/.exec(welcome) : null;
    const arrived = said ? Number(said[1]) : -1;
    const forgotten = this.#sent - this.#kept.length;
    return arrived < forgotten || arrived > this.#sent ? null : this.#kept.slice(arrived - forgotten);
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
