// The messages that have arrived and are not drawn yet. The backlog is bounded, even if a program prints without end.
//
// The log keeps a limited number of lines. What the backlog drops would already have scrolled out of the log.

import { count, word } from "./words.js";

export const LINES_MAX = 5000;
export const CHARS_MAX = 2_000_000;
const LINE_CHARS_MAX = 16_384;

export class Backlog {
  #items = [];
  #chars = 0;
  #dropped = 0;

  get length() {
    return this.#items.length;
  }

  /** Adds an item: anything with a `text`. */
  push(item) {
    this.#items.push(item);
    this.#chars += item.text.length;
    // Shortening an array at its front takes time proportional to its length, so it is done rarely.
    if (this.#items.length > 2 * LINES_MAX || this.#chars > 2 * CHARS_MAX) this.#shorten();
  }

  /** Takes the oldest items: up to `itemsMax`, and about `charsMax` characters. */
  take(itemsMax, charsMax) {
    let taken = 0;
    let chars = 0;
    while (taken < this.#items.length && taken < itemsMax && chars < charsMax) {
      chars += this.#items[taken].text.length;
      taken += 1;
    }
    this.#chars -= chars;
    return this.#items.splice(0, taken);
  }

  /** Takes all that the log has room for. */
  takeAll() {
    this.#shorten();
    const items = this.#items;
    this.#items = [];
    this.#chars = 0;
    return items;
  }

  /** The number of items dropped since the last call. */
  takeDropped() {
    const dropped = this.#dropped;
    this.#dropped = 0;
    return dropped;
  }

  #shorten() {
    let drop = 0;
    while (this.#items.length - drop > LINES_MAX || this.#chars > CHARS_MAX) {
      this.#chars -= this.#items[drop].text.length;
      drop += 1;
    }
    if (drop > 0) this.#items.splice(0, drop);
    this.#dropped += drop;
  }
}

/** The part of a line that is worth showing: a line may have any length. */
export function shortened(text) {
  if (text.length <= LINE_CHARS_MAX) return text;
  return text.slice(0, LINE_CHARS_MAX) + word("cut", { count: count(text.length - LINE_CHARS_MAX) });
}
