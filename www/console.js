// The console page: asks the server what it serves, and starts the parts of the page for that.
//
//   console.js     this file: settings, language, which parts to show
//   echo.js        the echo part              shell.js     the shell part
//   panel.js       what both have in common   words.js     all texts, in two languages
//   connection.js  a WebSocket and its state  ending.js    why it ended, as text
//   socket.js      the worker that holds it   backlog.js   what is not drawn yet, bounded
//   link.js        reconnects after a loss    session.js   what it has to remember for that
//   log.js         a log that stays fast      prompt.js    a text field with a history
//   attention.js   whether the reader means this window

import { openedByAnother } from "./attention.js";
import { socketUrl } from "./connection.js";
import { startEcho } from "./echo.js";
import { startShell } from "./shell.js";
import { language, translate, word } from "./words.js";

const SHELL_NAME = /(^|\/)(ash|bash|csh|dash|fish|ksh|mksh|sh|tcsh|zsh)$/;

async function main() {
  document.documentElement.lang = language === "zh" ? "zh-Hans" : language;
  const config = await readConfig();
  const { demo = false, echo = null, shell = null, version = "" } = config ?? {};
  translate(document, { command: shell?.command ?? "" });
  if (!config) {
    notify(word("noConfig"));
    return;
  }
  document.getElementById("version").textContent = version;
  document.getElementById("main").dataset.halves = (echo !== null) + (shell !== null);
  if (echo !== null) startEcho(document.getElementById("echo"), socketUrl(echo));
  if (shell !== null) showShell(shell, echo === null);
  // The demo has both parts. Its shell is not served where others could reach it.
  if (demo && shell === null) notify(word("shellElsewhere"));
  // With --dir alone the command depends on the path, so the page has none to offer.
  if (echo === null && shell === null) notify(word("atOtherPaths"));
}

/**
 * What this server serves, or null: { version, demo, echo: path or null, shell: { path, command, binary, json, resume } or
 * null, endpoints: [{ path, command or null }] }. `resume` is the time of --resume in seconds, or null. `echo` and `shell`
 * are the first endpoints of their kind.
 */
async function readConfig() {
  try {
    const response = await fetch(".wspipe/config.json", { cache: "no-store" });
    return response.ok ? await response.json() : null;
  } catch {
    return null;
  }
}

function showShell({ path, command, binary, json, resume: resumeSeconds }, alone) {
  const isShell = SHELL_NAME.test(command);
  const sign = isShell ? "$" : "›";
  document.getElementById("shell-name").textContent = word(isShell ? "shellTitle" : "commandTitle");
  document.getElementById("shell-command").textContent = command;
  document.getElementById("shell-sign").textContent = sign;
  startShell(document.getElementById("shell"), { url: socketUrl(path), command, sign, binary, json, resumeSeconds });
  if (!alone) return;
  document.title = `${command} · wspipe`;
  // The command is all that this page has, so with a keyboard the first key may go to it. But not the next key of a reader who
  // types into another page, which opened this one.
  if (matchMedia("(pointer: fine)").matches && !openedByAnother()) document.getElementById("shell-text").focus();
}

function notify(text) {
  const notice = document.getElementById("notice");
  notice.textContent = text;
  notice.hidden = false;
}

main();
