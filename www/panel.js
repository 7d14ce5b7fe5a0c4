// What both halves of the page have in common: a connection, its state in words, a log and a prompt.

import { Connection } from "./connection.js";
import { describeEnding, endedWell, isServerThere } from "./ending.js";
import { Log, element } from "./log.js";
import { Prompt } from "./prompt.js";
import { count, tenth, word } from "./words.js";

export class Panel {
  #parts = {};
  #command;
  #linger;
  #startsBySending;
  #onState;
  #onItems;

  /**
   * `section` holds the parts; `url`, `mode` and `linger` are those of Connection. `command` is the name of what runs behind
   * the URL, if anything; `startsBySending` says that what is sent first opens the connection. `rowOf(item, text)` is that of
   * Log, for the items of the connection; `onSend(text)` that of Prompt; `onState(connection, before)` and `onItems(items)`
   * are those of Connection, called when the panel has shown them.
   */
  constructor(section, options) {
    const { url, mode, linger = null, command = null, startsBySending = false } = options;
    const { rowOf, onState, onItems = () => {}, onSend } = options;
    for (const part of section.querySelectorAll("[data-part]")) this.#parts[part.dataset.part] = part;
    const { log, newest, form, text, open, close, clear } = this.#parts;
    this.#command = command;
    this.#linger = linger;
    this.#startsBySending = startsBySending;
    this.#onState = onState;
    this.#onItems = onItems;
    this.log = new Log(log, newest, (item, shown) => noteRow(item, shown) ?? rowOf(item, shown));
    this.prompt = new Prompt(form, text, onSend);
    this.connection = new Connection({
      url,
      mode,
      linger,
      onState: (_, before) => this.#changed(before),
      onItems: (items, dropped) => this.#arrived(items, dropped),
    });
    open.addEventListener("click", () => this.#openClicked());
    close.addEventListener("click", () => this.connection.close());
    clear.addEventListener("click", () => this.log.clear());
    this.#show(url);
    section.hidden = false;
  }

  /** A line of the page's own in the log. */
  note(text, bad = false) {
    this.log.add({ note: bad ? "note bad" : "note", text });
  }

  /** Say in the status line, without a change of state, why nothing was done. */
  explain(text) {
    this.#parts.detail.textContent = text;
  }

  set summary(text) {
    this.#parts.summary.textContent = text;
  }

  #openClicked() {
    if (!this.connection.mayOpen) return;
    this.connection.open();
    // With a keyboard at hand the next thing is to type; on a phone the keyboard would cover the page.
    if (matchMedia("(pointer: fine)").matches) this.prompt.focus();
  }

  #arrived(items, dropped) {
    this.log.addDropped(dropped);
    for (const item of items) this.log.add(item);
    this.#onItems(items);
  }

  #changed(before) {
    const { state, ending, url } = this.connection;
    if (state === "closed") this.#ended(ending);
    else if (state === "resuming") this.#lost();
    else if (before === "resuming" && state === "opened") this.#resumed();
    else this.#show(url);
    this.#onState(this.connection, before);
  }

  #lost() {
    const comingBack = word("comingBack", { command: this.#command, count: count(this.#linger) });
    this.#show(comingBack);
    this.note(`${word("resuming")} · ${comingBack}`, true);
  }

  #resumed() {
    this.#show(word("resumed"));
    this.note(word("resumed"));
  }

  #ended(ending) {
    const sentence = describeEnding(ending, this.#command);
    const bad = !endedWell(ending);
    this.#show(sentence, bad);
    const lasted = ending.seconds > 0 ? ` · ${word("lastedFor", { count: tenth(ending.seconds) })}` : "";
    this.note(`${word("closed")} · ${sentence}${lasted}`, bad);
    if (ending.code === 1006 && !ending.ours) this.#lookForServer(ending);
  }

  // A browser reports a refusal and an unreachable server alike, so the page asks for one of its own files.
  async #lookForServer(ending) {
    if ((await isServerThere()) || this.connection.ending !== ending) return;
    this.#show(word("unreachable"), true);
    this.note(word("unreachable"), true);
  }

  #show(detail, bad = false) {
    const { open, close, send, status, state: name, detail: text } = this.#parts;
    const { state, mayOpen, mayClose, isOpen } = this.connection;
    const mayStart = this.#startsBySending && (state === "idle" || state === "connecting");
    status.dataset.state = bad ? "failed" : state;
    name.textContent = word(state);
    text.textContent = detail;
    open.textContent = word(state === "closed" ? "reconnect" : "open");
    // Not `disabled`: that would take the focus away from whoever has just pressed the button.
    open.ariaDisabled = String(!mayOpen);
    close.ariaDisabled = String(!mayClose);
    send.ariaDisabled = String(!isOpen && !mayStart);
  }
}

function noteRow({ note }, text) {
  return note ? element("div", note, text) : null;
}
