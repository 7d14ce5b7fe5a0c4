// What both halves of the page have in common: a connection, its state in words, a log and a prompt.

import { Connection } from "./connection.js";
import { describeEnding, endedWell, isServerThere } from "./ending.js";
import { Log, element } from "./log.js";
import { Prompt } from "./prompt.js";
import { tenth, word } from "./words.js";

export class Panel {
  #parts = {};
  #command;
  #startsBySending;
  #onState;

  /**
   * `section` holds the parts; `command` is the name of what runs behind the URL, if anything; `startsBySending` says that
   * what is sent first opens the connection. `onState(connection)` and `onMessage(data)` are those of Connection,
   * `onSend(text)` that of Prompt.
   */
  constructor(section, { url, command = null, startsBySending = false, onState, onMessage, onSend }) {
    for (const part of section.querySelectorAll("[data-part]")) this.#parts[part.dataset.part] = part;
    this.#command = command;
    this.#startsBySending = startsBySending;
    this.#onState = onState;
    this.log = new Log(this.#parts.log, this.#parts.newest);
    this.prompt = new Prompt(this.#parts.form, this.#parts.text, onSend);
    this.connection = new Connection(url, { onState: () => this.#changed(), onMessage });
    this.#parts.open.addEventListener("click", () => this.#openClicked());
    this.#parts.close.addEventListener("click", () => this.connection.close());
    this.#parts.clear.addEventListener("click", () => this.log.clear());
    this.#show(url);
    section.hidden = false;
  }

  /** A line of the page's own in the log. */
  note(text, className = "note") {
    this.log.row(text, (shown) => element("div", className, shown));
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

  #changed() {
    const { state, ending, url } = this.connection;
    if (state === "closed") this.#ended(ending);
    else this.#show(url);
    this.#onState(this.connection);
  }

  #ended(ending) {
    const sentence = describeEnding(ending, this.#command);
    this.#show(sentence, !endedWell(ending));
    const lasted = ending.opened ? ` · ${word("lastedFor", { count: tenth(ending.seconds) })}` : "";
    this.note(`${word("closed")} · ${sentence}${lasted}`, endedWell(ending) ? "note" : "note bad");
    if (ending.code === 1006 && !ending.cancelled) this.#lookForServer(ending);
  }

  // A browser reports a refusal and an unreachable server alike, so the page asks for one of its own files.
  async #lookForServer(ending) {
    if ((await isServerThere()) || this.connection.ending !== ending) return;
    this.#show(word("unreachable"), true);
    this.note(word("unreachable"), "note bad");
  }

  #show(detail, bad = false) {
    const { open, close, send, status, state: name, detail: text } = this.#parts;
    const { state, mayOpen, mayClose, isOpen } = this.connection;
    status.dataset.state = bad ? "failed" : state;
    name.textContent = word(state);
    text.textContent = detail;
    open.textContent = word(state === "closed" ? "reconnect" : "open");
    // Not `disabled`: that would take the focus away from whoever has just pressed the button.
    open.ariaDisabled = String(!mayOpen);
    close.ariaDisabled = String(!mayClose);
    const mayStart = this.#startsBySending && (state === "idle" || state === "connecting");
    send.ariaDisabled = String(!isOpen && !mayStart);
  }

  /** Say in the status line, without a change of state, why nothing was done. */
  explain(text) {
    this.#parts.detail.textContent = text;
  }
}

