// The echo half: what is sent comes back, and the log says when and how fast.

import { element } from "./log.js";
import { Panel } from "./panel.js";
import { count, tenth, timeOfDay, word } from "./words.js";

const HEX_BYTES_MAX = 256;

/** Bring the echo half to life in `section`, for the echo service at `url`. */
export function startEcho(section, url) {
  // Echoes come back in order, so the oldest message without one is the one that comes next.
  let sentAt = [];
  let sent = 0;
  let received = 0;
  let totalMs = 0;

  const panel = new Panel(section, { url, onState, onMessage, onSend });

  function onState({ state, url }) {
    if (state !== "opened") return;
    sentAt = [];
    sent = received = totalMs = 0;
    panel.summary = "";
    panel.note(`${word("opened")} · ${url}`);
  }

  function onSend(text) {
    const data = new FormData(section.querySelector("form")).get("kind") === "binary" ? new TextEncoder().encode(text).buffer : text;
    if (!panel.connection.isOpen) {
      panel.explain(word("openFirst"));
      return false;
    }
    sentAt.push(performance.now());
    panel.connection.send(data);
    sent += 1;
    logMessage("sent", data);
    summarise();
    return true;
  }

  function onMessage(data) {
    const start = sentAt.shift();
    const ms = start === undefined ? undefined : performance.now() - start;
    received += 1;
    totalMs += ms ?? 0;
    logMessage("received", data, ms);
    summarise();
  }

  function logMessage(direction, data, ms) {
    const time = new Date();
    const isText = typeof data === "string";
    const text = isText ? data : hex(data);
    const size = isText ? new Blob([data]).size : data.byteLength;
    panel.log.row(text, (shown) => messageRow({ direction, time, isText, size, ms, shown }));
  }

  function summarise() {
    const mean = received > 0 ? tenth(totalMs / received) : "–";
    panel.summary = word("echoSummary", { sent: count(sent), received: count(received), mean });
  }
}

function messageRow({ direction, time, isText, size, ms, shown }) {
  const arrow = element("span", "arrow", direction === "sent" ? "↑" : "↓");
  arrow.ariaHidden = "true";
  const clock = element("time", "time", timeOfDay(time));
  clock.dateTime = time.toISOString();
  const facts = [isText ? null : word("binary"), word("bytes", { count: count(size) })].filter(Boolean).join(" · ");
  const row = element(
    "div",
    `message ${direction}`,
    clock,
    arrow,
    element("span", "visually-hidden", `${word(direction)} `),
    shown === "" ? element("span", "payload empty", word("empty")) : element("span", "payload", shown),
    element("span", "facts", facts),
  );
  if (ms !== undefined) row.append(element("span", "round-trip", word("milliseconds", { count: tenth(ms) })));
  return row;
}

function hex(buffer) {
  const bytes = new Uint8Array(buffer, 0, Math.min(buffer.byteLength, HEX_BYTES_MAX));
  const shown = Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join(" ");
  const more = buffer.byteLength - bytes.length;
  return more > 0 ? `${shown} ${word("moreBytes", { count: count(more) })}` : shown;
}
