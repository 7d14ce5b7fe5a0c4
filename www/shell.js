// The shell half: each line that is sent goes to the command, what the command prints comes back.

import { element } from "./log.js";
import { Panel } from "./panel.js";
import { word } from "./words.js";

/**
 * Bring the shell half to life in `section`, for the command at `url`. With `binary` the command's bytes come as they are
 * and not by lines, and nothing is added to what is sent: then the page ends each line itself.
 */
export function startShell(section, { url, command, sign, binary }) {
  // Lines that were sent before the connection was open.
  let waiting = [];
  // With `binary`: characters and lines may be spread over messages.
  let decoder = new TextDecoder();
  let atLineStart = true;

  const panel = new Panel(section, { url, command, startsBySending: true, onState, onMessage, onSend });

  function onState({ state, url }) {
    if (state === "opened") {
      panel.note(`${word("opened")} · ${url}`);
      decoder = new TextDecoder();
      atLineStart = true;
      waiting.forEach(send);
      waiting = [];
    } else if (state === "closed") {
      if (waiting.length > 0) panel.note(word("notSent"), "note bad");
      panel.prompt.restore(waiting.join("\n"));
      waiting = [];
    }
  }

  function onSend(text) {
    const { connection } = panel;
    if (connection.isOpen) return send(text);
    // The first line may open the connection. Later ones may not: what was typed for one run of the command, in its
    // directory and with its variables, must not go to another. An empty line asks for a new run and does no harm.
    const mayStart = connection.state === "idle" || (connection.state === "closed" && text === "");
    if (mayStart || connection.state === "connecting") {
      if (connection.state !== "closed") waiting.push(text);
      connection.open();
      return true;
    }
    panel.explain(word("reconnectFirst"));
    return false;
  }

  function send(text) {
    panel.log.row(text, (shown) => typedRow(sign, shown));
    return panel.connection.send(binary ? new TextEncoder().encode(`${text}\n`) : text);
  }

  function onMessage(data) {
    if (typeof data === "string") panel.log.line(data);
    else onBytes(data);
  }

  function onBytes(buffer) {
    const lines = decoder.decode(buffer, { stream: true }).split("\n");
    const unfinished = lines.pop();
    for (const line of lines) {
      panel.log.line(line.endsWith("\r") ? line.slice(0, -1) : line, !atLineStart);
      atLineStart = true;
    }
    if (unfinished === "") return;
    panel.log.line(unfinished, !atLineStart);
    atLineStart = false;
  }
}

function typedRow(sign, text) {
  const mark = element("span", "prompt-sign", sign);
  mark.ariaHidden = "true";
  return element("div", "typed", mark, element("span", "payload", text));
}
