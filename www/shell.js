// The shell part: each line that is sent goes to the command, and its output comes back.

import { Attention } from "./attention.js";
import { element } from "./log.js";
import { Panel } from "./panel.js";
import { word } from "./words.js";

/**
 * Starts the shell part in `section`, for the command at `url`; `sign` marks what was typed. With `binary` the command's
 * bytes arrive as they are and not by lines; with `json` each line names its stream. `resumeSeconds`: how long the server
 * keeps the session of a lost connection, or null.
 */
export function startShell(section, { url, command, sign, binary, json, resumeSeconds }) {
  // Lines sent before the connection was open.
  let waiting = [];
  const mode = binary ? "bytes" : json ? "tagged" : "lines";
  const rowOf = (item, text) => (item.typed ? typedRow(sign, text) : item.isError ? element("div", "error-line", text) : null);
  const attention = new Attention();
  const panel = new Panel(section, { url, mode, resumeSeconds, command, startsBySending: true, attention, rowOf, onState, onSend });
  // A page that was left cannot resume its session (connection.js), so the command need not wait.
  if (resumeSeconds !== null) addEventListener("pagehide", () => panel.connection.close());

  function onState({ state, url }, before) {
    if (state === "opened" && before === "connecting") {
      panel.note(`${word("opened")} · ${url}`);
      for (const line of waiting) panel.connection.send(line);
      waiting = [];
    } else if (state === "closed" && waiting.length > 0) {
      panel.note(word("notSent"), true);
      panel.prompt.restore(waiting.join("\n"));
      waiting = [];
    }
  }

  function onSend(text) {
    const { connection } = panel;
    if (connection.send(text)) return true;
    // The first line may open the connection. Later ones may not: what was typed for one run of the command, with its
    // directory and variables, must not go to another. An empty line asks for a new run and does no harm.
    if (connection.state === "closed" && text === "") return panel.open();
    if (connection.state === "idle" && !panel.open()) return false;
    if (connection.state === "connecting") {
      waiting.push(text);
      return true;
    }
    panel.explain(word(connection.state === "resuming" ? "awaitReturn" : "reconnectFirst"));
    return false;
  }
}

function typedRow(sign, text) {
  const mark = element("span", "prompt-sign", sign);
  mark.ariaHidden = "true";
  return element("div", "typed", mark, element("span", "payload", text));
}
