// The WebSocket itself, in a worker that connection.js starts for each opening.
//
// A program may print far more lines per second than a page can handle events, and a browser would deliver those events
// before the reader's keys. Here they delay only each other: the page gets at most one batch per frame, with what its log has
// room for.
//
// From the page: { open: url, mode, resumeSeconds }, then { send: text or bytes } and { close: true }.
//
// To the page: { opened: true }, { items, dropped }, { lost: true } and { resumed: true } alternately, and finally { closed:
// { code, reason, opened, seconds, away } }.

import { Backlog, shortened } from "./backlog.js";
import { Link } from "./link.js";
import { count, word } from "./words.js";

const BATCH_MS = 16;
const HEX_BYTES_MAX = 256;

const backlog = new Backlog();
let link;
let reader;
let postedAt = 0;
let timer = 0;

onmessage = ({ data }) => {
  if ("open" in data) open(data.open, data.mode, data.resumeSeconds);
  else if ("send" in data) send(data.send);
  else link.close();
};

function open(url, mode, resumeSeconds) {
  reader = READERS[mode]();
  link = new Link(url, resumeSeconds, {
    opened: () => postMessage({ opened: true }),
    message(data) {
      reader.received(data);
      // A timer alone would wait behind all messages that the browser has queued.
      if (performance.now() - postedAt >= BATCH_MS) postBatch();
      else timer ||= setTimeout(postBatch, BATCH_MS);
    },
    lost() {
      postBatch();
      postMessage({ lost: true });
    },
    resumed: () => postMessage({ resumed: true }),
    closed(ending) {
      postBatch();
      postMessage({ closed: ending });
    },
  });
}

function send(data) {
  if (!link.isOpen) return;
  link.send(reader.sending(data));
  postBatch();
}

function postBatch() {
  clearTimeout(timer);
  timer = 0;
  postedAt = performance.now();
  if (backlog.length > 0) postMessage({ items: backlog.takeAll(), dropped: backlog.takeDropped() });
}

/** Messages as the echo part shows them: contents, time, size, and how long the echo took. */
class Messages {
  // Echoes come back in order, so the next one belongs to the oldest message without one.
  #sentAt = [];

  sending(data) {
    this.#sentAt.push(performance.now());
    this.#push("sent", data);
    return data;
  }

  received(data) {
    const sentAt = this.#sentAt.shift();
    this.#push("received", data, sentAt === undefined ? null : performance.now() - sentAt);
  }

  #push(direction, data, ms = null) {
    const isText = typeof data === "string";
    const size = isText ? new Blob([data]).size : data.byteLength;
    const text = isText ? shortened(data) : hex(data);
    backlog.push({ direction, time: new Date(), isText, size, ms, text });
  }
}

/**
 * Messages as lines, as the shell part shows them. With `asBytes` a message holds the bytes of one read: a line, and
 * even a character, may be split over messages, and a message to the command needs its own line end.
 */
class Lines {
  #decoder = new TextDecoder();
  #encoder = new TextEncoder();
  #asBytes;
  #atLineStart = true;

  constructor(asBytes) {
    this.#asBytes = asBytes;
  }

  sending(text) {
    backlog.push({ typed: true, text: shortened(text) });
    return this.#asBytes ? this.#encoder.encode(`${text}\n`) : text;
  }

  received(data) {
    if (typeof data === "string") backlog.push({ text: shortened(data) });
    else this.#pushBytes(data);
  }

  #pushBytes(buffer) {
    const lines = this.#decoder.decode(buffer, { stream: true }).split("\n");
    const unfinished = lines.pop();
    for (const line of lines) {
      this.#pushPart(line.endsWith("\r") ? line.slice(0, -1) : line);
      this.#atLineStart = true;
    }
    if (unfinished === "") return;
    this.#pushPart(unfinished);
    this.#atLineStart = false;
  }

  #pushPart(text) {
    backlog.push({ text: shortened(text), joins: !this.#atLineStart });
  }
}

/** Lines that name their stream, stdout or stderr, as the shell part shows them with --stderr=json. */
class TaggedLines extends Lines {
  received(data) {
    const { stream, data: text } = JSON.parse(data);
    backlog.push({ text: shortened(text), isError: stream === "stderr" });
  }
}

const READERS = {
  messages: () => new Messages(),
  lines: () => new Lines(false),
  bytes: () => new Lines(true),
  tagged: () => new TaggedLines(false),
};

function hex(buffer) {
  const bytes = new Uint8Array(buffer, 0, Math.min(buffer.byteLength, HEX_BYTES_MAX));
  const shown = Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join(" ");
  const more = buffer.byteLength - bytes.length;
  return more > 0 ? `${shown} ${word("moreBytes", { count: count(more) })}` : shown;
}
