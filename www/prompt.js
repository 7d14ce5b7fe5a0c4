// The text field of a panel: Enter sends, Shift+Enter starts a new line, the arrows walk through the history.

const HISTORY_MAX = 200;

export class Prompt {
  #form;
  #field;
  #onSend;
  #history = [];
  // The position in the history. Its length stands for the draft, which is kept meanwhile.
  #place = 0;
  #draft = "";

  /** `onSend(text)` returns whether it accepted the text; otherwise the text stays in the field. */
  constructor(form, field, onSend) {
    this.#form = form;
    this.#field = field;
    this.#onSend = onSend;
    form.addEventListener("submit", (event) => this.#onSubmit(event));
    field.addEventListener("keydown", (event) => this.#onKey(event));
  }

  focus() {
    this.#field.focus();
  }

  /** Returns a text that could not be sent to the field, unless something else was typed since. */
  restore(text) {
    if (this.#field.value === "") this.#field.value = text;
  }

  #onSubmit(event) {
    event.preventDefault();
    const text = this.#field.value;
    if (!this.#onSend(text)) return;
    this.#remember(text);
    this.#field.value = "";
  }

  #onKey(event) {
    // While an input method composes, the keys belong to it: Enter chooses a character.
    if (event.isComposing || event.keyCode === 229) return;
    if (event.altKey || event.ctrlKey || event.metaKey || event.shiftKey) return;
    if (event.key === "Enter") {
      event.preventDefault();
      this.#form.requestSubmit();
    } else if (event.key === "ArrowUp" && this.#caretInLine("first")) {
      if (this.#go(this.#place - 1)) event.preventDefault();
    } else if (event.key === "ArrowDown" && this.#caretInLine("last")) {
      if (this.#go(this.#place + 1)) event.preventDefault();
    }
  }

  #caretInLine(which) {
    const { value, selectionStart, selectionEnd } = this.#field;
    if (selectionStart !== selectionEnd) return false;
    const beyond = which === "first" ? value.slice(0, selectionStart) : value.slice(selectionEnd);
    return !beyond.includes("\n");
  }

  #go(place) {
    if (place < 0 || place > this.#history.length) return false;
    if (this.#place === this.#history.length) this.#draft = this.#field.value;
    this.#place = place;
    this.#field.value = place === this.#history.length ? this.#draft : this.#history[place];
    this.#field.setSelectionRange(this.#field.value.length, this.#field.value.length);
    return true;
  }

  #remember(text) {
    if (text !== "" && text !== this.#history.at(-1)) this.#history.push(text);
    if (this.#history.length > HISTORY_MAX) this.#history.shift();
    this.#place = this.#history.length;
    this.#draft = "";
  }
}
