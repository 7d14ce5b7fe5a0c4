// What both parts of the page have in common: a connection, its state as text, a log and a prompt.

import { Connection } from "./connection.js";
import { describeEnding, endedWell, serverAnswers } from "./ending.js";
import { Log, element } from "./log.js";
import { Prompt } from "./prompt.js";
import { count, tenth, word } from "./words.js";

export class Panel {
  #parts = {};
  #command;
  #resumeSeconds;
  #startsBySending;
  #attention;
  #onState;
  #onItems;

  /**
   * `section` contains the elements. `url`, `mode` and `resumeSeconds` are those of Connection. `command` is the name of the
   * command behind the URL, if any. `startsBySending`: whether sending opens the connection. `attention`: that of the
   * reader, which the first opening needs, or null. `rowOf(item, text)` is that of Log, for the items of the connection;
   * `onSend(text)` that of Prompt. `onState(connection, before)` and `onItems(items)` are those of Connection, called after the
   * panel has shown them.
   */
  constructor(section, options) {
    const { url, mode, resumeSeconds = null, command = null, startsBySending = false, attention = null } = options;
    const { rowOf, onState, onItems = () => {}, onSend } = options;
    for (const part of section.querySelectorAll("[data-part]")) this.#parts[part.dataset.part] = part;
    const { log, newest, form, text, open, close, clear } = this.#parts;
    this.#command = command;
    this.#resumeSeconds = resumeSeconds;
    this.#startsBySending = startsBySending;
    this.#attention = attention;
    this.#onState = onState;
    this.#onItems = onItems;
    this.log = new Log(log, newest, (item, shown) => noteRow(item, shown) ?? rowOf(item, shown));
    this.prompt = new Prompt(form, text, onSend);
    this.connection = new Connection({
      url,
      mode,
      resumeSeconds,
      onState: (_, before) => this.#changed(before),
      onItems: (items, dropped) => this.#arrived(items, dropped),
    });
    open.addEventListener("click", () => this.#openClicked());
    close.addEventListener("click", () => this.connection.close());
    clear.addEventListener("click", () => this.log.clear());
    this.#show(url);
    section.hidden = false;
  }

  /** Adds a line of the page itself to the log. */
  note(text, bad = false) {
    this.log.add({ note: bad ? "note bad" : "note", text });
  }

  /** Shows in the status line why nothing was done, without a change of state. */
  explain(text) {
    this.#parts.detail.textContent = text;
  }

  /** Opens the connection and returns true, unless the first opening lacks the reader's attention. */
  open() {
    if (this.connection.state === "idle" && this.#attention?.isGiven === false) {
      this.explain(word("lookFirst"));
      return false;
    }
    this.connection.open();
    return true;
  }

  set summary(text) {
    this.#parts.summary.textContent = text;
  }

  #openClicked() {
    if (!this.connection.mayOpen || !this.open()) return;
    // With a keyboard the next step is to type; on a phone the keyboard would cover the page.
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
    const comingBack = word("comingBack", { command: this.#command, count: count(this.#resumeSeconds) });
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
    if (ending.code === 1006 && !ending.ours) this.#checkServer(ending);
  }

  // A browser reports a refusal and an unreachable server alike, so the page requests one of its own files.
  async #checkServer(ending) {
    if ((await serverAnswers()) || this.connection.ending !== ending) return;
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
    // `disabled` would take the focus away from a button that was just pressed.
    open.ariaDisabled = String(!mayOpen);
    close.ariaDisabled = String(!mayClose);
    send.ariaDisabled = String(!isOpen && !mayStart);
  }
}

function noteRow({ note }, text) {
  return note ? element("div", note, text) : null;
}
