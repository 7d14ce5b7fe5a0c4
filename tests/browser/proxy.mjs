// A proxy that serves another server below a path of its own, as nginx might.

import { once } from "node:events";
import { createServer, request } from "node:http";
import { connect } from "node:net";

/** Serves `url` below `/base/`, without the response field `drops`: { url, stop() }. */
export async function startProxy(url, base, { drops = "" } = {}) {
  const target = new URL(url);
  const pathBelow = (path) => (path.startsWith(base) ? `/${path.slice(base.length)}` : null);
  const sockets = new Set();

  const proxy = createServer((incoming, response) => {
    const path = pathBelow(incoming.url);
    if (path === null) {
      response.writeHead(404).end();
      return;
    }
    const { hostname, port } = target;
    const outgoing = request({ hostname, port, path, method: incoming.method, headers: incoming.headers }, (answer) => {
      delete answer.headers[drops];
      response.writeHead(answer.statusCode, answer.headers);
      answer.pipe(response);
    });
    outgoing.on("error", () => response.destroy());
    incoming.pipe(outgoing);
  });

  // The head of an upgrade is forwarded with its path changed, the bytes after it unchanged.
  proxy.on("upgrade", (incoming, client, head) => {
    const server = connect(target.port, target.hostname, () => {
      const lines = [`GET ${pathBelow(incoming.url) ?? incoming.url} HTTP/1.1`];
      for (let at = 0; at < incoming.rawHeaders.length; at += 2) {
        lines.push(`${incoming.rawHeaders[at]}: ${incoming.rawHeaders[at + 1]}`);
      }
      server.write(`${lines.join("\r\n")}\r\n\r\n`);
      server.write(head);
      client.pipe(server).pipe(client);
    });
    for (const [one, other] of [[client, server], [server, client]]) {
      sockets.add(one);
      one.on("error", () => other.destroy());
      one.on("close", () => other.destroy());
    }
  });

  proxy.listen(0, "127.0.0.1");
  await once(proxy, "listening");
  return {
    url: `http://127.0.0.1:${proxy.address().port}${base}`,
    stop() {
      for (const socket of sockets) socket.destroy();
      proxy.closeAllConnections();
      proxy.close();
    },
  };
}
