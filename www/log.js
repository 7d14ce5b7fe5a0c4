// A log that a fast program cannot drown the page with.
//
// Messages are only queued as they arrive; once a frame, a bounded part of the queue is put into the page, always as
// text. The log and the queue are both capped: what falls out of the queue would have scrolled out of the log anyway.
// A reader who has scrolled up is left in peace: nothing above or at the place they read is touched until they return to the
// bottom, by themselves or by the button that counts what is new.

import { count, word } from "./words.js";

const LINES_MAX = 5000;
const CHARS_MAX = 2_000_000;
const LINE_CHARS_MAX = 16_384;
const LINES_PER_FRAME = 500;
const CHARS_PER_FRAME = 200_000;
// Lines in a row share one text node up to this size, so that the page has few nodes and can still drop the oldest.
const CHUNK_CHARS_MAX = 4096;
// As long as so little arrives in a frame, it is read out to those who listen to the page.
const ANNOUNCED_PER_FRAME = 10;
// A log counts as being at its bottom when it is this close, in CSS pixels: zoomed pages scroll to fractions.
const BOTTOM_PX = 8;

export class Log {
  #element;
  #newest;
  #queue = [];
  #queuedChars = 0;
  #lines = 0;
  #chars = 0;
  #earlier = 0;
  #earlierNote = null;
  #unseen = 0;
  #following = true;
  #frame = 0;

  /** `element` is the scrolling box, `newest` the button that leads back to the bottom. */
  constructor(element, newest) {
    this.#element = element;
    this.#newest = newest;
    element.addEventListener("scroll", () => this.#onScroll(), { passive: true });
    newest.addEventListener("click", () => this.#toBottom());
    // A phone's keyboard, for one, makes the box smaller under the reader.
    new ResizeObserver(() => this.#following && this.#stick()).observe(element);
  }

  /**
   * Queue a line that is plain output. `joins` says that it continues the line before it.
   */
  line(text, joins = false) {
    this.#push({ text: shortened(text), joins, row: null });
  }

  /** Queue a row with a look of its own: `row(text)` builds its element when its turn comes. */
  row(text, row) {
    this.#push({ text: shortened(text), joins: false, row });
  }

  clear() {
    this.#queue = [];
    this.#queuedChars = this.#lines = this.#chars = this.#earlier = this.#unseen = 0;
    this.#earlierNote = null;
    this.#element.replaceChildren();
    this.#following = true;
    this.#showUnseen();
  }

  #push(item) {
    this.#queue.push(item);
    this.#queuedChars += item.text.length;
    // Shortening an array at its front costs its length, so it is done rarely.
    if (this.#queue.length > 2 * LINES_MAX || this.#queuedChars > 2 * CHARS_MAX) this.#shortenQueue();
    this.#frame ||= requestAnimationFrame(() => this.#onFrame());
  }

  #shortenQueue() {
    let drop = 0;
    let chars = this.#queuedChars;
    while (this.#queue.length - drop > LINES_MAX || chars > CHARS_MAX) {
      chars -= this.#queue[drop].text.length;
      drop += 1;
    }
    this.#queue.splice(0, drop);
    this.#queuedChars = chars;
    this.#earlier += drop;
    if (!this.#following) this.#unseen += drop;
  }

  #onFrame() {
    this.#frame = 0;
    // Whoever reads further up keeps what they read; beyond twice the cap the queue holds what is new.
    const room = this.#following ? Infinity : 2 * LINES_MAX - this.#lines;
    const items = this.#take(Math.min(LINES_PER_FRAME, room));
    if (items.length > 0) {
      this.#element.ariaLive = items.length > ANNOUNCED_PER_FRAME ? "off" : "polite";
      this.#append(items);
      if (this.#following) {
        this.#trim();
        this.#stick();
      } else {
        this.#unseen += items.length;
      }
    }
    this.#showUnseen();
    if (this.#queue.length > 0 && room > 0) this.#frame = requestAnimationFrame(() => this.#onFrame());
  }

  #take(linesMax) {
    let taken = 0;
    let chars = 0;
    while (taken < this.#queue.length && taken < linesMax && chars < CHARS_PER_FRAME) {
      chars += this.#queue[taken].text.length;
      taken += 1;
    }
    this.#queuedChars -= chars;
    return this.#queue.splice(0, taken);
  }

  #append(items) {
    const fragment = document.createDocumentFragment();
    let last = this.#element.lastElementChild;
    for (const { text, joins, row } of items) {
      const shown = visible(text);
      const chars = shown.length + 1;
      const inChunk = !row && last?.chars + chars <= CHUNK_CHARS_MAX && last.isChunk;
      if (inChunk) {
        // The text of a chunk is gathered in a property and becomes a text node once a frame.
        last.pending += joins ? shown : `\n${shown}`;
      } else {
        last = row ? row(shown) : document.createElement("div");
        last.isChunk = !row;
        last.pending = row ? "" : shown;
        last.lines = last.chars = 0;
        if (!row) last.className = "lines";
        fragment.append(last);
      }
      const lines = inChunk && joins ? 0 : 1;
      last.lines += lines;
      last.chars += chars;
      this.#lines += lines;
      this.#chars += chars;
    }
    const grown = this.#element.lastElementChild;
    this.#element.append(fragment);
    for (let chunk = grown ?? this.#element.firstElementChild; chunk; chunk = chunk.nextElementSibling) {
      if (chunk.pending) chunk.append(chunk.pending);
      chunk.pending = "";
    }
  }

  #trim() {
    let oldest = this.#earlierNote?.nextElementSibling ?? this.#element.firstElementChild;
    while (oldest && (this.#lines > LINES_MAX || this.#chars > CHARS_MAX)) {
      const next = oldest.nextElementSibling;
      this.#lines -= oldest.lines;
      this.#chars -= oldest.chars;
      this.#earlier += oldest.lines;
      oldest.remove();
      oldest = next;
    }
    if (this.#earlier > 0) this.#showEarlier();
  }

  #showEarlier() {
    if (!this.#earlierNote) {
      this.#earlierNote = document.createElement("div");
      this.#earlierNote.className = "note";
      this.#earlierNote.lines = this.#earlierNote.chars = 0;
      this.#element.prepend(this.#earlierNote);
    }
    this.#earlierNote.textContent = word("earlier", { count: count(this.#earlier) });
  }

  #onScroll() {
    const { scrollHeight, scrollTop, clientHeight } = this.#element;
    const atBottom = scrollHeight - scrollTop - clientHeight < BOTTOM_PX;
    if (atBottom === this.#following) return;
    this.#following = atBottom;
    if (atBottom) {
      this.#unseen = 0;
      this.#frame ||= requestAnimationFrame(() => this.#onFrame());
    }
    this.#showUnseen();
  }

  #toBottom() {
    this.#following = true;
    this.#unseen = 0;
    this.#stick();
    this.#element.focus({ preventScroll: true });
    this.#frame ||= requestAnimationFrame(() => this.#onFrame());
    this.#showUnseen();
  }

  #stick() {
    this.#element.scrollTop = this.#element.scrollHeight;
  }

  #showUnseen() {
    const unseen = this.#following ? 0 : this.#unseen + this.#queue.length;
    this.#newest.hidden = unseen === 0;
    if (unseen > 0) this.#newest.textContent = `↓ ${word("newest", { count: count(unseen) })}`;
  }
}

function shortened(text) {
  if (text.length <= LINE_CHARS_MAX) return text;
  return text.slice(0, LINE_CHARS_MAX) + word("cut", { count: count(text.length - LINE_CHARS_MAX) });
}

// Colours and cursor movements are meant for a terminal, which this is not: they are left out. Other control characters are
// shown by their pictures, so that nothing in the log is invisible.
const CONTROL = /[\0-\x08\x0b-\x1f\x7f]/;
const TERMINAL_SEQUENCES = /\x1b(?:\[[0-?]*[ -/]*[@-~]|\][^\x07\x1b]*(?:\x07|\x1b\\)|[()][0-9A-B])/g;

/** `text` with nothing in it that a reader could not see. */
export function visible(text) {
  if (!CONTROL.test(text)) return text;
  return text
    .replace(TERMINAL_SEQUENCES, "")
    .replace(/[\0-\x08\x0b-\x1f]/g, (control) => String.fromCharCode(0x2400 + control.charCodeAt(0)))
    .replace(/\x7f/g, "\u2421");
}

/** A row of the log: an element of class `kind` with the given children. */
export function element(tag, className, ...children) {
  const made = document.createElement(tag);
  made.className = className;
  made.append(...children);
  return made;
}
