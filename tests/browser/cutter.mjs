// A network that can fail: it forwards bytes between the page and a server until it is cut.

import { once } from "node:events";
import { connect, createServer } from "node:net";

/** Forwards connections to the server at `url`: { url, swallow(), cut(), restore(url), stop() }. */
export async function startCutter(url) {
  let target = new URL(url);
  let swallows = false;
  let isCut = false;
  const sockets = new Set();

  const network = createServer((client) => {
    if (isCut) {
      client.destroy();
      return;
    }
    const server = connect(target.port, target.hostname);
    for (const [from, to] of [[client, server], [server, client]]) {
      sockets.add(from);
      from.on("data", (bytes) => swallows || to.write(bytes));
      from.on("end", () => to.end());
      from.on("error", () => to.destroy());
      from.on("close", () => {
        sockets.delete(from);
        to.destroy();
      });
    }
  });
  const cut = () => {
    isCut = true;
    for (const socket of sockets) socket.resetAndDestroy();
  };

  network.listen(0, "127.0.0.1");
  await once(network, "listening");
  return {
    url: `http://127.0.0.1:${network.address().port}/`,
    /** From now on accepts bytes and discards them, which neither side notices. */
    swallow() {
      swallows = true;
    },
    /** Resets every connection, and refuses new ones. */
    cut,
    /** Accepts connections again, to the server at `url` or the same as before. */
    restore(url = target) {
      [target, swallows, isCut] = [new URL(url), false, false];
    },
    async stop() {
      cut();
      if (network.listening) await new Promise((resolve) => network.close(resolve));
    },
  };
}
