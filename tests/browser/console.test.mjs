// Drives the console page in headless Chromium against a real wspipe, as a reader would: by the texts on the page.
//
//   npm ci && npm test                      with the release build of this repository
//   WSPIPE=/path/to/wspipe npm test         with another build
//   CHROMIUM=/path/to/chromium npm test     with another Chromium-based browser
//
// Screenshots for review are saved in screenshots/.

import assert from "node:assert/strict";
import { existsSync, mkdirSync, readFileSync, rmSync } from "node:fs";
import { createRequire } from "node:module";
import { after, afterEach, before, describe, test } from "node:test";
import { fileURLToPath } from "node:url";
import { chromium } from "playwright-core";
import { startCutter } from "./cutter.mjs";
import { startForeignPage } from "./foreign.mjs";
import { startProxy } from "./proxy.mjs";
import { killServers, startServer } from "./server.mjs";

const AXE = readFileSync(createRequire(import.meta.url).resolve("axe-core/axe.min.js"), "utf8");
const SCREENSHOTS = fileURLToPath(new URL("screenshots/", import.meta.url));
const DESKTOP = { width: 1280, height: 800 };
const PHONE = { width: 390, height: 844 };
// A little more than attention.js demands.
const QUIET_MS = 1050;
const ARGS = [
  "--no-sandbox",
  "--disable-gpu",
  "--disable-quic",
  "--no-first-run",
  "--disable-background-networking",
  "--disable-component-update",
  "--disable-sync",
];

let browser;
let context;
// Errors and warnings of the page and the browser during a test, such as violations of the content security policy.
let problems = [];

before(async () => {
  mkdirSync(SCREENSHOTS, { recursive: true });
  browser = await chromium.launch({ executablePath: process.env.CHROMIUM ?? "/usr/bin/chromium", args: ARGS });
});
after(async () => {
  await browser?.close();
  killServers();
});
afterEach(async () => {
  await context?.close();
  context = null;
  const found = problems;
  problems = [];
  assert.deepEqual(found, []);
});

/** A new page at `url`. Errors and warnings that match `expected` are part of the test. */
async function openPage(url, { expected = null, ...options } = {}) {
  context = await browser.newContext({ viewport: DESKTOP, locale: "en-US", ...options });
  context.setDefaultTimeout(10_000);
  const page = await context.newPage();
  const report = (text) => expected?.test(text) || problems.push(text);
  page.on("pageerror", (error) => report(`error: ${error.message}`));
  page.on("console", (message) => ["error", "warning"].includes(message.type()) && report(message.text()));
  page.on("request", (request) => {
    const { protocol, host } = new URL(request.url());
    if (protocol !== "data:" && host !== new URL(url).host) report(`request to another host: ${request.url()}`);
  });
  await page.goto(url);
  await beSeen(page);
  return page;
}

/** Waits until a key or click opens a connection of the shell: the reader has had the time to see the page (attention.js). */
async function beSeen(page) {
  await page.locator("section.panel:visible").first().waitFor();
  await page.waitForTimeout(QUIET_MS);
}

/** The controls of one part of the page. */
function part(page, id) {
  const section = page.locator(`#${id}`);
  const button = (name) => section.getByRole("button", { name, exact: true });
  return {
    section,
    button,
    field: section.getByRole("textbox"),
    status: section.getByRole("status"),
    log: section.getByRole("log"),
    async send(text) {
      await this.field.fill(text);
      await this.field.press("Enter");
    },
    /** Waits until the log contains `text` (a string or a pattern). */
    async shows(text) {
      await this.log.getByText(text).last().waitFor();
    },
    /** Waits until the output in the log, without what was typed, matches `pattern`. */
    async printed(pattern) {
      const lines = section.locator(".lines");
      for (let tries = 0; tries < 100; tries += 1) {
        if (pattern.test((await lines.allTextContents()).join("\n"))) return;
        await page.waitForTimeout(100);
      }
      assert.match((await lines.allTextContents()).join("\n"), pattern);
    },
    /** Waits until the status line contains `text`. */
    async says(text) {
      await this.status.filter({ hasText: text }).waitFor();
    },
  };
}

const numbersTo = (last) => Array.from({ length: last }, (_, index) => index + 1).join("\n");

const screenshot = (page, name) => page.screenshot({ path: `${SCREENSHOTS}${name}.png` });

/** The accessibility violations that axe-core finds on the page. */
async function accessibilityFaults(page) {
  await page.evaluate(AXE);
  const { violations } = await page.evaluate(() => globalThis.axe.run(document, { resultTypes: ["violations"] }));
  return violations.map(({ id, nodes }) => `${id}: ${nodes.map((node) => node.html).join(" | ")}`);
}

describe("the demo", () => {
  let server;
  before(async () => {
    server = await startServer();
  });
  after(async () => assert.equal(await server.stop(), 0));

  test("echo: open, send text and bytes, close", async () => {
    const page = await openPage(server.url);
    const echo = part(page, "echo");
    await echo.says("Not open");
    assert.equal(await echo.button("Close").getAttribute("aria-disabled"), "true");

    await echo.button("Open").click();
    await echo.says(/Open .*ws:.*\/echo/);
    await echo.send("hello, <b>world</b> 你好");
    await echo.log.locator(".received", { hasText: "hello, <b>world</b> 你好" }).waitFor();
    assert.match(await echo.log.locator(".received").innerText(), /\d\d:\d\d:\d\d\.\d{3}[^]*26 B[^]*\d\.\d ms/);

    await echo.section.getByText("Binary").click();
    await echo.field.fill("é!");
    await echo.button("Send").click();
    await echo.log.locator(".received", { hasText: "c3 a9 21" }).waitFor();

    await echo.section.getByText("Text", { exact: true }).click();
    await echo.send("");
    await echo.log.locator(".received", { hasText: "empty" }).waitFor();
    await echo.section.getByText(/3 sent · 3 back/).waitFor();

    await echo.button("Close").click();
    await echo.says(/Closed .*code 1000/);
    await echo.button("Reconnect").click();
    await echo.says(/Open /);
  });

  test("shell: a command, its output, its exit", async () => {
    const page = await openPage(server.url);
    const shell = part(page, "shell");
    await shell.button("Open").click();
    await shell.says(/Open .*ws:.*\/ws/);
    await shell.send("echo one; echo two >&2; printf 'no newline'; exit 3");
    // Lines that arrive in different frames of the page are in different blocks.
    await shell.printed(/^one\n+two\n+no newline/);
    await shell.says("sh ended with exit status 3 (code 4003, exit 3)");

    // An empty line starts a new run; what was typed for the old one stays in the field.
    await shell.send("echo lost");
    assert.equal(await shell.field.inputValue(), "echo lost");
    await shell.send("");
    await shell.says(/Open /);
    await shell.send("kill -9 $$");
    await shell.says("sh was terminated by signal SIGKILL (code 4265, signal 9)");
    await shell.button("Reconnect").click();
    await shell.says(/Open /);
    await shell.send("exit");
    await shell.says("sh ended with exit status 0 (code 1000, exit 0)");
  });

  test("shell: the first line opens the connection", async () => {
    const page = await openPage(server.url);
    const shell = part(page, "shell");
    await shell.send("echo $((6*7))");
    await shell.printed(/^42$/);
  });

  test("shell: output is shown as text, invisible characters too", async () => {
    const page = await openPage(server.url);
    const shell = part(page, "shell");
    await shell.send(`printf '<img src=x onerror=alert(1)>\\n\\033[31mred\\033[0m \\001 \\303\\050\\n'`);
    await shell.shows("<img src=x onerror=alert(1)>");
    await shell.shows("red ␁ \ufffd(");
    assert.equal(await shell.log.locator("img").count(), 0);
  });

  test("the page works with the keyboard alone", async () => {
    const page = await openPage(server.url);
    const shell = part(page, "shell");
    const press = (...keys) => keys.reduce((before, key) => before.then(() => page.keyboard.press(key)), Promise.resolve());
    const focusIsOn = (locator) => locator.evaluate((element) => element === document.activeElement);
    for (let tabs = 0; tabs < 30 && !(await focusIsOn(shell.button("Open"))); tabs += 1) await press("Tab");
    await press("Enter");
    await shell.says(/Open /);
    assert.ok(await focusIsOn(shell.field), "opening moves the focus to the field");
    await page.keyboard.type("echo first");
    await press("Enter");
    await page.keyboard.type("echo second");
    await press("Enter");
    await shell.log.locator(".lines", { hasText: /^second$/ }).waitFor();
    await page.keyboard.type("draft");
    await press("ArrowUp", "ArrowUp");
    assert.equal(await shell.field.inputValue(), "echo first");
    await press("ArrowDown", "ArrowDown");
    assert.equal(await shell.field.inputValue(), "draft");
    await press("Shift+Enter");
    assert.equal(await shell.field.inputValue(), "draft\n");
  });

  test("under a flood of lines the page stays fast, the log bounded, and the reader in place", async () => {
    const page = await openPage(server.url);
    const shell = part(page, "shell");
    await shell.send("seq 3000");
    await shell.printed(new RegExp(`^${numbersTo(3000)}$`));

    await shell.log.evaluate((log) => log.scrollTo(0, 500));
    await shell.send("seq 100000 110000");
    await shell.button("↓ 10,002 new lines").waitFor();
    assert.equal(await shell.log.evaluate((log) => log.scrollTop), 500);
    await shell.button("↓ 10,002 new lines").click();
    await shell.shows(/\n110000$/);
    await page.waitForFunction(() => {
      const log = document.querySelector("#shell .log");
      return log.scrollHeight - log.scrollTop - log.clientHeight < 8;
    });
    await shell.shows(/earlier lines are no longer shown/);

    const kept = await shell.log.locator(".lines").evaluateAll((all) => all.map((one) => one.textContent).join("\n").split("\n").length);
    assert.ok(kept > 4000 && kept <= 5000, `${kept} lines kept`);
  });

  test("the reader can close a connection in an endless flood", async () => {
    const page = await openPage(server.url);
    const shell = part(page, "shell");
    await shell.send("yes");
    await shell.log.locator(".lines").first().waitFor();
    // The page measures and closes itself: the browser reports every message to the test, which makes the test slow.
    const { frames, longest, closedAfter } = await page.evaluate(closeInFlood);
    // The page usually draws 50 frames a second, but the test may run on a busy machine.
    assert.ok(frames >= 5 && longest < 1000, `${frames} frames in a second, the longest ${longest} ms`);
    assert.ok(closedAfter < 4000, `closed after ${closedAfter} ms`);
  });

  test("the page shows that the server shuts down, and that it no longer answers", async () => {
    const other = await startServer();
    const page = await openPage(other.url, { expected: /WebSocket connection to|net::ERR_CONNECTION_REFUSED/ });
    const [echo, shell] = [part(page, "echo"), part(page, "shell")];
    await echo.button("Open").click();
    await echo.says(/Open /);
    await other.stop();
    await echo.says(/The server is shutting down \(code 1001\b/);
    await shell.button("Open").click();
    await shell.says("The server does not answer.");
  });

  test("the page works below any path of a proxy", async () => {
    const proxy = await startProxy(server.url, "/tools/wspipe/");
    const page = await openPage(proxy.url);
    const [echo, shell] = [part(page, "echo"), part(page, "shell")];
    await echo.button("Open").click();
    await echo.says(/Open .*\/tools\/wspipe\/echo/);
    await echo.send("through");
    await echo.log.locator(".received", { hasText: "through" }).waitFor();
    await shell.send("echo $((6*7))");
    await shell.printed(/^42$/);
    await context.close();
    proxy.stop();
  });

  test("the page has the reader's language", async () => {
    for (const [locale, open, lang] of [["zh-CN", "连接", "zh-Hans"], ["zh-TW", "连接", "zh-Hans"], ["fr-FR", "Open", "en"]]) {
      const page = await openPage(server.url, { locale });
      await part(page, "echo").button(open).waitFor();
      assert.equal(await page.locator("html").getAttribute("lang"), lang);
      await context.close();
    }
    const page = await openPage(server.url);
    const words = await page.evaluate(async () => {
      const { WORDS } = await import(new URL(".wspipe/words.js", location.href));
      const names = (text) => text.match(/\{\w+\}/g)?.sort().join() ?? "";
      return Object.values(WORDS).map((all) => Object.entries(all).map(([key, text]) => `${key} ${names(text)}`));
    });
    assert.deepEqual(words[0], words[1], "both languages have the same texts, with the same values in them");
  });

  test("the page is accessible and fits in every language, colour scheme and size", async () => {
    for (const locale of ["en", "zh"]) {
      for (const colorScheme of ["light", "dark"]) {
        for (const [size, viewport] of Object.entries({ desktop: DESKTOP, phone: PHONE })) {
          const page = await openPage(server.url, { locale, colorScheme, viewport });
          const name = `${locale}-${colorScheme}-${size}`;
          for (const id of ["echo", "shell"]) await part(page, id).section.waitFor();
          await screenshot(page, `${name}-start`);
          await useBothParts(page);
          await page.screenshot({ path: `${SCREENSHOTS}${name}.png`, fullPage: true });
          assert.deepEqual(await accessibilityFaults(page), [], name);
          const overflow = await page.evaluate(() => document.documentElement.scrollWidth - innerWidth);
          assert.ok(overflow <= 0, `${name} is ${overflow} px too wide`);
          await context.close();
        }
      }
    }
  });
});

describe("other ways to serve", () => {
  test("a command replaces the shell, at the page's own address", async () => {
    const server = await startServer("--", "cat");
    const page = await openPage(`${server.url}?color=blue`);
    const shell = part(page, "shell");
    await shell.section.getByRole("heading", { name: "Command cat" }).waitFor();
    assert.equal(await page.locator("#echo").isVisible(), false);
    await page.keyboard.type("meow");
    await page.keyboard.press("Enter");
    await shell.says(/Open .*\?color=blue/);
    await shell.log.locator(".lines", { hasText: "meow" }).waitFor();
    await screenshot(page, "command");
    assert.equal(await server.stop(), 0);
  });

  test("a command with --binary: its bytes are shown as they arrive", async () => {
    const server = await startServer("--binary", "--", "sh");
    const page = await openPage(server.url);
    const shell = part(page, "shell");
    await shell.send("printf 'half '; sleep 0.2; printf '\\303'; sleep 0.2; printf '\\251\\nnext\\n'");
    await shell.printed(/^half é\nnext$/);
    await shell.send("seq 3000");
    await shell.printed(new RegExp(`\nnext\n${numbersTo(3000)}$`));
    assert.equal(await server.stop(), 0);
  });

  test("--stderr=json: lines from stderr look different", async () => {
    const server = await startServer("--stderr=json", "--", "sh");
    const page = await openPage(server.url);
    const shell = part(page, "shell");
    await shell.send("echo 'a \"line\"'; echo oh >&2; echo another");
    await shell.log.locator(".error-line", { hasText: /^oh$/ }).waitFor();
    // The order of the two streams is unspecified.
    await shell.printed(/^a "line"\nanother$/);
    await screenshot(page, "stderr");
    assert.deepEqual(await accessibilityFaults(page), []);
    assert.equal(await server.stop(), 0);
  });

  test("--echo: the page has only the echo", async () => {
    const server = await startServer("--echo");
    const page = await openPage(server.url);
    const echo = part(page, "echo");
    await echo.button("Open").click();
    await echo.says(/Open /);
    await echo.send("alone");
    await echo.log.locator(".received", { hasText: "alone" }).waitFor();
    assert.equal(await page.locator("#shell").isVisible(), false);
    await screenshot(page, "echo");
    assert.equal(await server.stop(), 0);
  });

  test("a refused handshake: the page points to the server's log", async () => {
    const server = await startServer("--", "/nonexistent/command");
    const page = await openPage(server.url, { expected: /WebSocket connection to/ });
    const shell = part(page, "shell");
    await shell.button("Open").click();
    await shell.says("The server refused the connection.");
    await shell.says("the server’s log says why");
    await screenshot(page, "refused");
    assert.equal(await server.stop(), 0);
  });
});

describe("a page of another origin that opens the console", () => {
  let server;
  let foreign;
  before(async () => {
    server = await startServer("--", "sh");
    foreign = await startForeignPage();
  });
  after(async () => {
    await foreign.stop();
    assert.equal(await server.stop(), 0);
  });

  /** The console as the foreign page opens it when the reader presses a key there, and that page. */
  async function openFromForeignPage({ url = server.url, referrer = true, features = "popup,width=500,height=300" } = {}) {
    context = await browser.newContext({ viewport: DESKTOP, locale: "en-US" });
    context.setDefaultTimeout(10_000);
    const game = await context.newPage();
    await game.goto(foreign.pageThatOpens(url, { referrer, features }));
    const [page] = await Promise.all([context.waitForEvent("page"), game.keyboard.press("a")]);
    await page.locator("#shell").waitFor();
    return { game, page, shell: part(page, "shell") };
  }

  const focusIsOn = (locator) => locator.evaluate((element) => element === document.activeElement);

  /** The connections that the page has opened, by the lines of its log and its status. */
  async function assertNothingRan(shell) {
    await shell.says("Not open");
    assert.equal(await shell.log.innerText(), "");
  }

  test("it has no handle of the console's window, and the console no opener", async () => {
    const { game, page } = await openFromForeignPage();
    assert.equal(await page.evaluate(() => window.opener), null);
    assert.equal(await game.evaluate(() => window.opened.closed), true);
  });

  test("it cannot load a file of the console, and so find out that there is one", async () => {
    const { game, page } = await openFromForeignPage();
    const load = ([url, kind]) => new Promise((resolve) => {
      const element = document.createElement(kind);
      element.onload = () => resolve("loaded");
      element.onerror = () => resolve("refused");
      element.src = url;
      document.body.append(element);
    });
    for (const [name, kind] of [["icon.svg", "img"], ["words.js", "script"]]) {
      const url = `${server.url}.wspipe/${name}`;
      assert.equal(await game.evaluate(load, [url, kind]), "refused", name);
    }
    // The console itself can.
    assert.equal(await page.evaluate(load, [`${server.url}.wspipe/icon.svg`, "img"]), "loaded");
  });

  test("the console does not take the keys of a reader who types on", async () => {
    const { page, shell } = await openFromForeignPage();
    assert.equal(await focusIsOn(shell.field), false);
    await page.waitForTimeout(QUIET_MS);
    await page.keyboard.type("echo stolen");
    await page.keyboard.press("Enter");
    assert.equal(await shell.field.inputValue(), "");
    await assertNothingRan(shell);
  });

  test("an opener is recognized without a referrer, through a proxy that drops Cross-Origin-Opener-Policy", async () => {
    const proxy = await startProxy(server.url, "/", { drops: "cross-origin-opener-policy" });
    const { page, shell } = await openFromForeignPage({ url: proxy.url, referrer: false });
    assert.equal(await page.evaluate(() => window.opener === null || document.referrer !== ""), false);
    assert.equal(await focusIsOn(shell.field), false);
    await context.close();
    proxy.stop();
  });

  test("a reader who types on into a focused console starts nothing, and one who pauses does", async () => {
    // Without an opener and a referrer the page cannot know where it comes from.
    const { page, shell } = await openFromForeignPage({ referrer: false, features: "noopener,popup" });
    assert.equal(await focusIsOn(shell.field), true);
    await page.keyboard.type("echo stolen by a foreign page", { delay: 80 });
    await page.keyboard.press("Enter");
    await shell.says("Not opened: this window has only just come to the front.");
    await assertNothingRan(shell);
    assert.equal(await shell.field.inputValue(), "echo stolen by a foreign page");

    await page.waitForTimeout(QUIET_MS);
    await page.keyboard.press("Enter");
    await shell.printed(/^stolen by a foreign page$/);
  });

  test("a click starts nothing in a console that has only just appeared", async () => {
    const { page, shell } = await openFromForeignPage();
    await shell.button("Open").click();
    await shell.says("Not opened: this window has only just come to the front.");
    await assertNothingRan(shell);
    await page.waitForTimeout(QUIET_MS);
    await shell.button("Open").click();
    await shell.says(/Open ws:/);
  });

  test("scripts cannot give the reader's attention", async () => {
    const { page, shell } = await openFromForeignPage();
    await page.waitForTimeout(QUIET_MS);
    await page.evaluate(() => document.querySelector("#shell [data-part=open]").click());
    await shell.says("Not opened: this window has only just come to the front.");
  });

  test("a window that comes to the front again must be seen again", async () => {
    const page = await openPage(server.url);
    const shell = part(page, "shell");
    await shell.field.fill("echo late");
    await page.keyboard.press("Shift");
    await page.evaluate(() => dispatchEvent(new Event("focus")));
    await page.keyboard.press("Enter");
    await shell.says("Not opened: this window has only just come to the front.");
    await page.waitForTimeout(QUIET_MS);
    await page.keyboard.press("Enter");
    await shell.printed(/^late$/);
  });
});

describe("a connection that is lost", () => {
  const LOSSES = /WebSocket connection to|net::ERR_/;
  let server;
  let cutter;
  afterEach(async () => {
    await context?.close();
    await cutter.stop();
    assert.equal(await server.stop(), 0);
  });

  /** The shell part of a page whose connections can be cut, with a server started with `args`. */
  async function openThroughCutter(args, options = {}) {
    server = await startServer(...args);
    cutter = await startCutter(server.url);
    const page = await openPage(cutter.url, { expected: LOSSES, ...options });
    const shell = part(page, "shell");
    await shell.section.locator("[data-part=open]").click();
    await shell.section.locator("[data-state=opened]").waitFor();
    return { page, shell };
  }

  /** The PID of the shell behind the page. */
  async function pidOf(shell) {
    await shell.send("echo pid=$$=");
    await shell.shows(/pid=\d+=/);
    return Number(/^pid=(\d+)=/m.exec((await shell.section.locator(".lines").allTextContents()).join("\n"))[1]);
  }

  async function awaitExit(page, pid) {
    for (let tries = 0; tries < 100 && existsSync(`/proc/${pid}`); tries += 1) await page.waitForTimeout(100);
    assert.equal(existsSync(`/proc/${pid}`), false, "the command has exited");
  }

  test("it resumes by itself, with nothing missing and nothing twice", async () => {
    const { page, shell } = await openThroughCutter(["--resume=30s", "--", "sh"]);
    await shell.send("n=0; while [ $n -lt 400 ]; do n=$((n+1)); echo $n; sleep 0.01; done");
    await shell.printed(/^1\n[^]*\n50\b/);
    // What is in flight now is lost, in both directions.
    cutter.swallow();
    await shell.send("echo one more");
    await page.waitForTimeout(300);
    cutter.cut();
    await shell.says("Connection lost Coming back… The server keeps sh for 30 s.");
    await shell.send("echo not now");
    await shell.says("Not sent: the connection is lost. Wait until it is back.");
    assert.equal(await shell.field.inputValue(), "echo not now");
    await screenshot(page, "lost");
    cutter.restore();
    await shell.says("Open Resumed where it broke off");
    await shell.printed(new RegExp(`^${numbersTo(400)}\none more$`));

    // And once more, with nothing in flight.
    cutter.cut();
    await shell.says("Connection lost");
    cutter.restore();
    await shell.says("Resumed");
    await shell.field.press("Enter");
    await shell.printed(new RegExp(`^${numbersTo(400)}\none more\nnot now$`));
    await screenshot(page, "resumed");
  });

  test("the page shows a loss in Chinese, on a phone, and accessibly", async () => {
    const { page, shell } = await openThroughCutter(["--resume=30s", "--", "sh"], { locale: "zh", viewport: PHONE, colorScheme: "dark" });
    await shell.send("echo 你好");
    await shell.printed(/^你好$/);
    cutter.cut();
    await shell.says("连接中断 正在恢复… 服务器会将 sh 保留 30 秒。");
    await screenshot(page, "lost-zh-dark-phone");
    assert.deepEqual(await accessibilityFaults(page), []);
    cutter.restore();
    await shell.says("已从中断处恢复");
  });

  test("it resumes with bytes, too", async () => {
    const { page, shell } = await openThroughCutter(["--resume=30s", "--binary", "--", "sh"]);
    await shell.send("printf 'first\\nhal'; sleep 0.5; printf 'f\\n'");
    await shell.printed(/^first\nhal$/);
    cutter.swallow();
    await page.waitForTimeout(700);
    await shell.send("echo typed");
    cutter.cut();
    await shell.says("Connection lost");
    cutter.restore();
    await shell.says("Resumed");
    await shell.printed(/^first\nhal\n?f\ntyped$/);
  });

  test("the command exits meanwhile, and the page shows its status", async () => {
    const { page, shell } = await openThroughCutter(["--resume=30s", "--", "sh"]);
    await shell.send("echo begun; sleep 0.3; echo last; exit 3");
    await shell.shows("begun");
    cutter.cut();
    await shell.says("Connection lost");
    await page.waitForTimeout(600);
    cutter.restore();
    await shell.says("sh ended with exit status 3 (code 4003, exit 3)");
    await shell.printed(/^begun\nlast$/);
  });

  test("it is not resumed in time", async () => {
    const { shell } = await openThroughCutter(["--resume=1s", "--", "sh"]);
    cutter.cut();
    await shell.shows(/Closed · The connection broke off and did not come back in time \(code 1006\)/);
    await shell.says("The server does not answer.");
    cutter.restore();
    await shell.button("Reconnect").click();
    await shell.says(/Open ws:/);
  });

  test("it is not resumed when more was printed than the replay buffer holds", async () => {
    const { page, shell } = await openThroughCutter(["--resume=30s", "--", "sh"]);
    const flag = `/tmp/wspipe-browser-test-${process.pid}`;
    await shell.send(`echo begun; sleep 0.3; seq 300000; touch ${flag}`);
    await shell.shows("begun");
    cutter.cut();
    await shell.says("Connection lost");
    for (let tries = 0; tries < 100 && !existsSync(flag); tries += 1) await page.waitForTimeout(100);
    rmSync(flag);
    cutter.restore();
    await shell.says("The session could not be resumed without loss (code 4410, output lost)");
    assert.equal(await shell.log.getByText("Resumed where").count(), 0);
    await screenshot(page, "output-lost");
  });

  test("it is not resumed with another run of the command", async () => {
    const { shell } = await openThroughCutter(["--resume=30s", "--", "cat"]);
    // The page has received nothing, but offers wspipe.resume, so the other server starts no command for it.
    const other = await startServer("--resume=30s", "--", "sh", "-c", "echo another; exec cat");
    cutter.cut();
    cutter.restore(other.url);
    await shell.says("The session could not be resumed without loss (code 4410, output lost)");
    assert.equal(await shell.log.getByText("another").count(), 0);
    assert.equal(await other.stop(), 0);
  });

  test("Close ends the session for good, and so does leaving the page", async () => {
    const { page, shell } = await openThroughCutter(["--resume=1h", "--", "sh"]);
    const closed = await pidOf(shell);
    await shell.button("Close").click();
    await shell.says(/Closed .*code 1000/);
    await awaitExit(page, closed);
    await page.reload();
    await beSeen(page);
    await shell.button("Open").click();
    await shell.says(/Open /);
    const left = await pidOf(shell);
    await page.reload();
    await awaitExit(page, left);

    await beSeen(page);
    await shell.button("Open").click();
    await shell.says(/Open /);
    cutter.cut();
    await shell.says("Connection lost");
    await shell.button("Close").click();
    await shell.says("Closed No longer resuming.");
  });

  test("without --resume a loss is the end", async () => {
    const { shell } = await openThroughCutter(["--", "cat"]);
    cutter.cut();
    cutter.restore();
    await shell.says("The connection broke off (code 1006)");
  });
});

/** Fills both parts with something to look at, in any language. */
async function useBothParts(page) {
  const [echo, shell] = [part(page, "echo"), part(page, "shell")];
  await echo.section.locator("[data-part=open]").click();
  await echo.section.locator("[data-state=opened]").waitFor();
  await echo.send("Hello, wspipe");
  await echo.send("你好，世界");
  await echo.section.locator("[name=kind][value=binary]").check({ force: true });
  await echo.send("these are bytes, and enough of them for two lines");
  await echo.log.locator(".received").nth(2).waitFor();
  await shell.send("uname -s; ls -l /etc/hostname /nonexistent");
  await shell.shows(/cannot access/);
  await shell.send("for n in 1 2 3; do echo \"line $n\"; done; exit 3");
  await shell.section.locator("[data-state=failed]").waitFor();
}

/** Runs in the page: the frames that it draws in a second, the longest one, and how long the shell takes to close. */
async function closeInFlood() {
  const start = performance.now();
  let [frames, longest, last] = [0, 0, start];
  const nextFrame = async () => {
    await new Promise(requestAnimationFrame);
    const now = performance.now();
    longest = Math.max(longest, now - last);
    [frames, last] = [frames + 1, now];
  };
  while (last - start < 1000) await nextFrame();
  const drawn = { frames, longest: Math.round(longest) };
  const closedAt = performance.now();
  document.querySelector("#shell [data-part=close]").click();
  while (document.querySelector("#shell [data-part=state]").textContent !== "Closed") await nextFrame();
  return { ...drawn, closedAfter: Math.round(performance.now() - closedAt) };
}
