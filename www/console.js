// The console page: asks the server what it serves, and brings the halves of the page that fit to life.
//
//   console.js   this file: settings, language, which halves
//   echo.js      the echo half                shell.js     the shell half
//   panel.js     what both have in common     words.js     all words, in two languages
//   connection.js  a WebSocket and its state  ending.js    what ended it, in words
//   socket.js    the worker that holds it     backlog.js   what is not drawn yet, bounded
//   link.js      it comes back when lost      session.js   what must be remembered for that
//   log.js       a log that stays quick       prompt.js    a text field with a history

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
  // The demo has both halves; without the shell it is served where anyone might reach it.
  if (demo && shell === null) notify(word("shellElsewhere"));
  // With --dir alone what there is depends on the path, and the page has none to offer.
  if (echo === null && shell === null) notify(word("atOtherPaths"));
}

/**
 * What this server serves, or null: { version, demo, echo: path or null, shell: { path, command, binary, json, linger: seconds
 * or null } or null, endpoints: [{ path, command or null }] }. `echo` and `shell` are the first of their kind.
 */
async function readConfig() {
  try {
    const response = await fetch(".wspipe/config.json", { cache: "no-store" });
    return response.ok ? await response.json() : null;
  } catch {
    return null;
  }
}

function showShell({ path, command, binary, json, linger }, alone) {
  const isShell = SHELL_NAME.test(command);
  const sign = isShell ? "$" : "›";
  document.getElementById("shell-name").textContent = word(isShell ? "shellTitle" : "commandTitle");
  document.getElementById("shell-command").textContent = command;
  document.getElementById("shell-sign").textContent = sign;
  startShell(document.getElementById("shell"), { url: socketUrl(path), command, sign, binary, json, linger });
  if (!alone) return;
  document.title = `${command} · wspipe`;
  // The command is all there is to this page: with a keyboard at hand, the first key may go to it.
  if (matchMedia("(pointer: fine)").matches) document.getElementById("shell-text").focus();
}

function notify(text) {
  const notice = document.getElementById("notice");
  notice.textContent = text;
  notice.hidden = false;
}

main();
