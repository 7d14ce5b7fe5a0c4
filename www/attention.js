// Whether the reader means this window: keys and clicks that were meant for another one must not start a command.
//
// A page of another origin can open this page in front of itself while the reader types or clicks there (keyjacking,
// double-click hijacking). So the reader's attention begins with a key or click that comes QUIET_MS after the window came to the
// front, and after the key or click before it: a person who types on without looking never gets there.

const QUIET_MS = 1000;

export class Attention {
  #given = false;
  // When the window came to the front or had its last key or click. Infinity: it is not in front.
  #quietSince;

  constructor() {
    this.#restart();
    for (const type of ["focus", "blur", "pageshow"]) addEventListener(type, () => this.#restart());
    document.addEventListener("visibilitychange", () => this.#restart());
    // Before any handler of the page. A screen reader clicks without a pointer.
    for (const type of ["keydown", "pointerdown", "click"]) addEventListener(type, (event) => this.#input(event), true);
  }

  get isGiven() {
    return this.#given;
  }

  #restart() {
    this.#given = false;
    const inFront = document.visibilityState === "visible" && document.hasFocus();
    this.#quietSince = inFront ? performance.now() : Infinity;
  }

  #input({ isTrusted, repeat }) {
    if (!isTrusted) return;
    const now = performance.now();
    if (!repeat && now - this.#quietSince >= QUIET_MS) this.#given = true;
    this.#quietSince = now;
  }
}

/** Whether another page may have opened this one, so that the reader may be typing for that page. */
export function openedByAnother() {
  if (window.opener !== null) return true;
  return document.referrer !== "" && new URL(document.referrer).origin !== location.origin;
}
