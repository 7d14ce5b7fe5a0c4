// The shell half: each line that is sent goes to the command, what the command prints comes back.

import { element } from "./log.js";
import { Panel } from "./panel.js";
import { word } from "./words.js";

/**
 * Bring the shell half to life in `section`, for the command at `url`; `sign` stands before what was typed. With `binary`
 * the command's bytes come as they are and not by lines; with `json` each line says which stream it is from. `linger` says
 * for how many seconds the command waits for a page that was lost, or is null.
 */
export function startShell(section, { url, command, sign, binary, json, linger }) {
  // Lines that were sent before the connection was open.
  let waiting = [];
  const mode = binary ? "bytes" : json ? "tagged" : "lines";
  const rowOf = (item, text) => (item.typed ? typedRow(sign, text) : item.isError ? element("div", "error-line", text) : null);
  const panel = new Panel(section, { url, mode, linger, command, startsBySending: true, rowOf, onState, onSend });
  // Whoever leaves the page cannot come back to its session (connection.js), so the command need not wait.
  if (linger !== null) addEventListener("pagehide", () => panel.connection.close());

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
    // The first line may open the connection. Later ones may not: what was typed for one run of the command, in its
    // directory and with its variables, must not go to another. An empty line asks for a new run and does no harm.
    if (connection.state === "closed" && text === "") {
      connection.open();
      return true;
    }
    if (connection.state === "idle" || connection.state === "connecting") {
      waiting.push(text);
      connection.open();
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
