// The echo part: each message comes back, and the log shows when and how fast.

import { element } from "./log.js";
import { Panel } from "./panel.js";
import { count, tenth, timeOfDay, word } from "./words.js";

/** Starts the echo part in `section`, for the echo service at `url`. */
export function startEcho(section, url) {
  const totals = { sent: 0, received: 0, ms: 0 };
  const panel = new Panel(section, { url, mode: "messages", rowOf: messageRow, onState, onItems, onSend });

  function onState({ state, url }) {
    if (state !== "opened") return;
    Object.assign(totals, { sent: 0, received: 0, ms: 0 });
    panel.summary = "";
    panel.note(`${word("opened")} · ${url}`);
  }

  function onItems(messages) {
    for (const { direction, ms } of messages) {
      totals[direction] += 1;
      totals.ms += ms ?? 0;
    }
    const mean = totals.received > 0 ? tenth(totals.ms / totals.received) : "–";
    panel.summary = word("echoSummary", { sent: count(totals.sent), received: count(totals.received), mean });
  }

  function onSend(text) {
    const asBytes = section.querySelector("[name=kind]:checked").value === "binary";
    const sent = panel.connection.send(asBytes ? new TextEncoder().encode(text).buffer : text);
    if (!sent) panel.explain(word("openFirst"));
    return sent;
  }
}

function messageRow({ direction, time, isText, size, ms }, text) {
  const arrow = element("span", "arrow", direction === "sent" ? "↑" : "↓");
  arrow.ariaHidden = "true";
  const clock = element("time", "time", timeOfDay(time));
  clock.dateTime = time.toISOString();
  const facts = [isText ? "" : word("binary"), word("bytes", { count: count(size) })].filter(Boolean).join(" · ");
  const row = element(
    "div",
    `message ${direction}`,
    clock,
    arrow,
    element("span", "visually-hidden", `${word(direction)} `),
    text === "" ? element("span", "payload empty", word("empty")) : element("span", "payload", text),
    element("span", "facts", facts),
  );
  if (ms !== null) row.append(element("span", "round-trip", word("milliseconds", { count: tenth(ms) })));
  return row;
}
