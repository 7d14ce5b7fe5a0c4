// Starts the wspipe under test, finds its address, and makes sure that it is gone at the end.

import { spawn } from "node:child_process";
import { once } from "node:events";
import { createInterface } from "node:readline";
import { fileURLToPath } from "node:url";

const BINARY = process.env.WSPIPE ?? fileURLToPath(new URL("../../target/release/wspipe", import.meta.url));
const START_MS = 10_000;
const STOP_MS = 15_000;

const running = new Set();

/** Kills every server that a test left running. */
export function killServers() {
  for (const child of running) child.kill("SIGKILL");
}

/** Starts wspipe with `args` on a free port: { url, stop() }. */
export async function startServer(...args) {
  const child = spawn(BINARY, ["--port=0", ...args], { stdio: ["ignore", "ignore", "pipe"] });
  const exited = once(child, "exit").finally(() => running.delete(child));
  running.add(child);
  const log = [];
  const url = await new Promise((resolve, reject) => {
    child.once("error", reject);
    child.once("exit", () => reject(new Error(`wspipe exited at start:\n${log.join("\n")}`)));
    setTimeout(() => reject(new Error(`wspipe did not say where it listens:\n${log.join("\n")}`)), START_MS).unref();
    createInterface({ input: child.stderr }).on("line", (line) => {
      log.push(line);
      const listening = /listening on (http:\S+)/.exec(line);
      if (listening) resolve(listening[1]);
    });
  }).catch((error) => {
    child.kill("SIGKILL");
    throw error;
  });

  return {
    url,
    log,
    /** Sends `signal` and waits for the exit status; a server that does not exit is an error. */
    async stop(signal = "SIGTERM") {
      if (child.exitCode !== null || child.signalCode !== null) return child.exitCode;
      child.kill(signal);
      const late = setTimeout(() => child.kill("SIGKILL"), STOP_MS);
      const [status] = await exited;
      clearTimeout(late);
      if (status === null && signal !== "SIGKILL") throw new Error(`wspipe did not exit within ${STOP_MS} ms of ${signal}`);
      return status;
    },
  };
}
