// Why a connection ended, as text.

import { hasWord, word } from "./words.js";

// The Linux numbers of signals that terminate a program.
const SIGNALS = {
  1: "SIGHUP", 2: "SIGINT", 3: "SIGQUIT", 4: "SIGILL", 5: "SIGTRAP", 6: "SIGABRT", 7: "SIGBUS", 8: "SIGFPE",
  9: "SIGKILL", 10: "SIGUSR1", 11: "SIGSEGV", 12: "SIGUSR2", 13: "SIGPIPE", 14: "SIGALRM", 15: "SIGTERM",
};

/**
 * How a command exited, from the code and reason of the closing handshake: { status } or { signal }, or null
 * if the connection was closed for another reason. The server sends 1000 and `exit 0`, 4000 + status, or
 * 4256 + signal.
 */
export function commandEnd({ code, reason }) {
  if (code === 1000 && reason === "exit 0") return { status: 0 };
  if (code > 4000 && code < 4256) return { status: code - 4000 };
  if (code > 4256 && code < 4256 + 65) return { signal: code - 4256 };
  return null;
}

/** Whether this end is the normal case. */
export function endedWell(ending) {
  return ending.ours || [1000, 1001, 1005].includes(ending.code);
}

/** The end of a connection as a sentence: what happened, with the code and reason of the closing handshake. */
export function describeEnding(ending, command) {
  if (!ending.opened) return word(ending.ours ? "cancelled" : "refused");
  if (ending.ours && ending.away) return word("givenUp", { command });
  if (ending.ours && ending.code === 1006) return word("notAwaited");
  const what = meaning(ending, command);
  if (!what) return codeAndReason(ending);
  // The server's own reason may have the same words.
  const repeated = ending.reason.toLowerCase() === what.toLowerCase();
  return word("because", { what, codes: codeAndReason(repeated ? { code: ending.code } : ending) });
}

function meaning(ending, command) {
  const end = command ? commandEnd(ending) : null;
  if (end?.status !== undefined) return word("exited", { command, status: end.status });
  if (end) return word("killed", { command, signal: SIGNALS[end.signal] ?? end.signal });
  // The browser reports 1006 if there was no close frame; it is never sent.
  if (ending.code === 1006) return word(ending.away ? "notBack" : "lost");
  return hasWord(`code${ending.code}`) ? word(`code${ending.code}`) : "";
}

function codeAndReason({ code, reason }) {
  return reason ? word("codeReason", { code, reason }) : word("code", { code });
}

/** Whether the server answers at all, which a failed handshake does not tell. */
export async function serverAnswers() {
  try {
    await fetch(".wspipe/config.json", { cache: "no-store", signal: AbortSignal.timeout(5000) });
    return true;
  } catch {
    return false;
  }
}
