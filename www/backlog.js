// What has arrived and is not drawn yet: bounded, whatever a program prints.
//
// The log keeps so many lines; what falls out of the backlog in front would have scrolled out of the log anyway.

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

  /** Add an item: anything with a `text`. */
  push(item) {
    this.#items.push(item);
    this.#chars += item.text.length;
    // To shorten an array at its front costs its length, so it is done rarely.
    if (this.#items.length > 2 * LINES_MAX || this.#chars > 2 * CHARS_MAX) this.#shorten();
  }

  /** Take the oldest items, up to so many and about so many characters. */
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

  /** Take all that the log has room for. */
  takeAll() {
    this.#shorten();
    const items = this.#items;
    this.#items = [];
    this.#chars = 0;
    return items;
  }

  /** How many items fell out since this was last asked. */
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

/** As much of a line as is worth showing: a line may be of any length. */
export function shortened(text) {
  if (text.length <= LINE_CHARS_MAX) return text;
  return text.slice(0, LINE_CHARS_MAX) + word("cut", { count: count(text.length - LINE_CHARS_MAX) });
}
