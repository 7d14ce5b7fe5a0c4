// A page of another origin that opens the console while its reader types, as a hostile page would.

import { once } from "node:events";
import { createServer } from "node:http";

/** Serves such pages: { pageThatOpens(url, { referrer, features }), stop() }. */
export async function startForeignPage() {
  const server = createServer((request, response) => {
    const asked = new URL(request.url, "http://foreign").searchParams;
    const [url, features] = ["url", "features"].map((name) => JSON.stringify(asked.get(name)));
    response.writeHead(200, { "Content-Type": "text/html", "Referrer-Policy": asked.get("policy") });
    response.end(`<!doctype html><title>A game</title><script>
      onkeydown = () => { window.opened ??= open(${url}, "_blank", ${features}); };
    </script>`);
  });
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  return {
    /** The URL of a page that opens `url` at the first key. `referrer`: whether it says where it comes from. */
    pageThatOpens(url, { referrer, features }) {
      const asked = new URLSearchParams({ url, features, policy: referrer ? "unsafe-url" : "no-referrer" });
      return `http://127.0.0.1:${server.address().port}/?${asked}`;
    },
    async stop() {
      server.closeAllConnections();
      await new Promise((resolve) => server.close(resolve));
    },
  };
}
