// A log that stays usable however fast a program prints.
//
// What arrives goes to the backlog first. Once per frame, a bounded part of it is added to the page, always as text. If the
// reader has scrolled up, nothing above or at their place changes until they return to the bottom, by scrolling or with the
// button that counts new lines.

import { Backlog, CHARS_MAX, LINES_MAX } from "./backlog.js";
import { count, word } from "./words.js";

const LINES_PER_FRAME = 500;
const CHARS_PER_FRAME = 200_000;
// Consecutive lines share one text node up to this size, so that the page has few nodes but can still drop the oldest.
const CHUNK_CHARS_MAX = 4096;
// A line without end is broken at this size.
const JOINED_CHARS_MAX = 65_536;
// Up to this number of items per frame is announced to screen readers.
const ANNOUNCED_PER_FRAME = 10;
// A log counts as being at its bottom within this many CSS pixels, because zoomed pages scroll to fractions.
const BOTTOM_PX = 8;

export class Log {
  #element;
  #newest;
  #rowOf;
  #backlog = new Backlog();
  // The lines and characters in the page, and the number of lines dropped before them.
  #lines = 0;
  #chars = 0;
  #earlier = 0;
  #earlierNote = null;
  // Whether the reader is at the bottom, and if not, the number of lines since they left it.
  #following = true;
  #unseen = 0;
  #frame = 0;

  /**
   * `element` is the scrolling box, `newest` the button that leads back to the bottom. `rowOf(item, text)` builds the
   * row for an item that is more than a line of plain text, and returns null for others.
   */
  constructor(element, newest, rowOf) {
    this.#element = element;
    this.#newest = newest;
    this.#rowOf = rowOf;
    element.addEventListener("scroll", () => this.#scrolled(), { passive: true });
    newest.addEventListener("click", () => this.#toBottom());
    // A phone's keyboard, for example, makes the box smaller.
    new ResizeObserver(() => this.#following && this.#stick()).observe(element);
  }

  /** Adds an item with a `text`; one that `joins` continues the line before it. */
  add(item) {
    this.#backlog.push(item);
    this.#requestFrame();
  }

  /** Counts lines that were dropped before they came here. */
  addDropped(lines) {
    this.#earlier += lines;
    if (!this.#following) this.#unseen += lines;
  }

  clear() {
    this.#backlog = new Backlog();
    this.#lines = this.#chars = this.#earlier = this.#unseen = 0;
    this.#earlierNote = null;
    this.#element.replaceChildren();
    this.#following = true;
    this.#showUnseen();
  }

  #requestFrame() {
    this.#frame ||= requestAnimationFrame(() => this.#draw());
  }

  #draw() {
    this.#frame = 0;
    this.addDropped(this.#backlog.takeDropped());
    // A reader further up keeps what they read: beyond twice the limit, new lines stay in the backlog.
    const room = this.#following ? LINES_PER_FRAME : Math.min(LINES_PER_FRAME, 2 * LINES_MAX - this.#lines);
    const items = this.#backlog.take(room, CHARS_PER_FRAME);
    if (items.length > 0) this.#drawItems(items);
    this.#showUnseen();
    if (this.#backlog.length > 0 && room > 0) this.#requestFrame();
  }

  #drawItems(items) {
    this.#element.ariaLive = items.length > ANNOUNCED_PER_FRAME ? "off" : "polite";
    this.#append(items);
    if (this.#following) {
      this.#trim();
      this.#stick();
    } else {
      this.#unseen += items.length;
    }
  }

  #append(items) {
    const fragment = document.createDocumentFragment();
    let chunk = null;
    const finish = () => chunk && this.#appendBlock(fragment, element("div", "lines", chunk.text), chunk);
    for (const item of items) {
      const text = visible(item.text);
      const row = this.#rowOf(item, text);
      if (row || (chunk?.text.length > CHUNK_CHARS_MAX && !item.joins)) {
        finish();
        chunk = null;
      }
      if (row) {
        this.#appendBlock(fragment, row, { lines: 1, text });
      } else if (!chunk && item.joins && this.#continues(fragment, text)) {
        this.#chars += text.length;
      } else if (!chunk) {
        chunk = { lines: 1, text };
      } else {
        chunk.text += item.joins ? text : `\n${text}`;
        chunk.lines += item.joins ? 0 : 1;
      }
    }
    finish();
    this.#element.append(fragment);
  }

  #appendBlock(fragment, block, { lines, text }) {
    block.size = { lines, chars: text.length };
    this.#lines += lines;
    this.#chars += text.length;
    fragment.append(block);
  }

  /** Appends `text` to the last line of the log, if that is plain text and not too long. */
  #continues(fragment, text) {
    const last = fragment.lastElementChild ?? this.#element.lastElementChild;
    if (!last?.matches(".lines") || last.size.chars > JOINED_CHARS_MAX) return false;
    last.firstChild.appendData(text);
    last.size.chars += text.length;
    return true;
  }

  #trim() {
    let oldest = this.#earlierNote?.nextElementSibling ?? this.#element.firstElementChild;
    while (oldest && (this.#lines > LINES_MAX || this.#chars > CHARS_MAX)) {
      const next = oldest.nextElementSibling;
      this.#lines -= oldest.size.lines;
      this.#chars -= oldest.size.chars;
      this.#earlier += oldest.size.lines;
      oldest.remove();
      oldest = next;
    }
    if (this.#earlier > 0) this.#showEarlier();
  }

  #showEarlier() {
    if (!this.#earlierNote) {
      this.#earlierNote = element("div", "note");
      this.#element.prepend(this.#earlierNote);
    }
    this.#earlierNote.textContent = word("earlier", { count: count(this.#earlier) });
  }

  #scrolled() {
    const { scrollHeight, scrollTop, clientHeight } = this.#element;
    const atBottom = scrollHeight - scrollTop - clientHeight < BOTTOM_PX;
    if (atBottom === this.#following) return;
    this.#following = atBottom;
    this.#unseen = 0;
    this.#requestFrame();
  }

  #toBottom() {
    this.#following = true;
    this.#unseen = 0;
    this.#stick();
    this.#element.focus({ preventScroll: true });
    this.#requestFrame();
  }

  #stick() {
    this.#element.scrollTop = this.#element.scrollHeight;
  }

  #showUnseen() {
    const unseen = this.#following ? 0 : this.#unseen + this.#backlog.length;
    this.#newest.hidden = unseen === 0;
    if (unseen > 0) this.#newest.textContent = `↓ ${word("newest", { count: count(unseen) })}`;
  }
}

// Colours and cursor movements are meant for a terminal, so they are left out. Other control characters are shown by their
// pictures, so that nothing in the log is invisible.
const CONTROL = /[\0-\x08\x0b-\x1f\x7f]/;
const TERMINAL_SEQUENCES = /\x1b(?:\[[0-?]*[ -/]*[@-~]|\][^\x07\x1b]*(?:\x07|\x1b\\)|[()][0-9A-B])/g;

/** `text` without invisible characters. */
export function visible(text) {
  if (!CONTROL.test(text)) return text;
  return text
    .replace(TERMINAL_SEQUENCES, "")
    .replace(/[\0-\x08\x0b-\x1f]/g, (control) => String.fromCharCode(0x2400 + control.charCodeAt(0)))
    .replace(/\x7f/g, "\u2421");
}

/** An element with a class and the given children: texts and elements. */
export function element(tag, className, ...children) {
  const made = document.createElement(tag);
  made.className = className;
  made.append(...children);
  return made;
}
