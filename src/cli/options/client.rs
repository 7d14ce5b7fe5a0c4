//! Options of a client's connection: who may connect, sizes and times.

use super::{Opt, Scope, extend, option, set, time_or_none};
use crate::cli::values::{count, host_name, list, origin, size, time, token, yes_or_no};
use crate::http::proxy::{Network, ProxyHeader};
use crate::limits::HEADERS_MAX;

pub(super) const ACCESS: &[Opt] = &[
    option(
        "--origin=LIST|any               other sites whose pages may connect",
        |draft, text| extend(&mut draft.config.access.origins, list(text, origin)),
    )
    .common()
    .text(
        "Sites whose pages may connect, next to pages at the server's own host and port: \
         `https://app.example`, `app.example:8443` (http or https), `null`, or what the web view \
         of an app sends, such as `file://` or `app://localhost`. `any` accepts every page; then \
         any site in a user's browser can use the command. Other pages get 403. A client that \
         sends no `Origin` is not a browser, and is accepted.",
    ),
    option(
        "--allow-host=LIST               other names of this server",
        |draft, text| extend(&mut draft.config.access.allow_hosts, list(text, host_name)),
    )
    .common()
    .text(
        "Further names of this server, without scheme and port; behind a proxy, the name that \
         browsers use. IP addresses, `localhost` and the machine's own name need no entry. A \
         browser that reaches the server by another name gets 403, which stops DNS rebinding; so \
         there is no value for all names. `/healthz` answers to any name, and a program that \
         sends no `Origin` may use any where an address is not a loopback one.",
    ),
    option(
        "--subprotocol=LIST              WebSocket sub-protocols to agree to",
        |draft, text| extend(&mut draft.config.access.subprotocols, list(text, token)),
    )
    .text(
        "WebSocket sub-protocols that the server agrees to. It chooses the first one in the \
         client's order. Without it, the server chooses none.",
    ),
    option(
        "--same-user=yes|no [yes]        demo: the shell is for your user only",
        |draft, text| set(&mut draft.config.access.same_user, yes_or_no(text)),
    )
    .only(Scope::Demo)
    .text(
        "Whether the demo's shell accepts only clients of the server's own user on this \
         machine; others get 403. `no` gives every user of the machine a shell as the \
         server's user.",
    ),
    option(
        "--trust-proxy=LIST              proxies that may name their clients",
        |draft, text| {
            for item in list(text, |item| Network::parse(item).map(drop))? {
                let proxies = &mut draft.config.access.proxies;
                proxies.networks.push(Network::parse(item)?);
            }
            Ok(())
        },
    )
    .common()
    .text(
        "Proxies, by IP address or network (`10.0.0.0/8`), that may name their clients. Their \
         `X-Forwarded-For` or `Forwarded` header then sets the client's address in \
         `REMOTE_ADDR`, in the log and for `--max-clients-per-ip`, and its scheme sets `HTTPS` \
         and `SERVER_PORT`. Headers that name no client, or contradict each other, get 400. \
         List only proxies: a listed host can pretend to be any client.",
    ),
    option(
        "--trust-header=forwarded|x-forwarded|x-real-ip  header of proxies to believe",
        |draft, text| {
            let header = ProxyHeader::ALL.into_iter().find(|it| it.name() == text);
            let header = header.ok_or_else(|| {
                let [one, two, three] = ProxyHeader::ALL.map(ProxyHeader::name);
                format!("write {one}, {two} or {three}")
            })?;
            draft.config.access.proxies.header = Some(header);
            Ok(())
        },
    )
    .only(Scope::Proxied)
    .text(
        "The one kind of header by which the proxies of `--trust-proxy` name their clients: \
         `Forwarded`, `X-Forwarded-For` with `X-Forwarded-Proto`, or `X-Real-IP`, which names no \
         scheme. The others are ignored, because a proxy may pass on what a client has put \
         there. A proxy that sends only others gets 400. Without this option, `Forwarded` and \
         `X-Forwarded-*` are believed, and must agree where a request has both.",
    ),
];

pub(super) const SIZES: &[Opt] = &[
    option(
        "--max-message=SIZE [1M]         longest message from a client",
        |draft, text| set(&mut draft.config.clients.message_len_max, size(text, 1)),
    )
    .text(
        "Longest message accepted from a client, at least 1 byte. A longer one closes the \
         connection with 1009, before the rest is received.",
    ),
    option(
        "--high-water=SIZE [64k]         queued bytes at which reading pauses",
        |draft, text| set(&mut draft.config.clients.high_water, size(text, 1024)),
    )
    .text(
        "Bytes queued in one direction at which reading from the other side pauses, at least \
         1k. One read (256 KiB) and one message can be queued on top of it.",
    ),
    option(
        "--max-head=SIZE [16k]           longest request head",
        |draft, text| set(&mut draft.config.clients.head_len_max, size(text, 256)),
    )
    .text(
        "Longest request head, including its empty line, at least 256 bytes. A longer one gets \
         431. The request line, which holds the path and the query, may be half as long; a longer \
         one gets 414.",
    ),
    option(
        "--max-headers=N [64]            header fields of a request",
        |draft, text| {
            let headers_max = count(text, 1, HEADERS_MAX as u32);
            set(&mut draft.config.clients.headers_max, headers_max)
        },
    )
    .text("Maximum number of header fields in a request, from 1 to 1024. More get 431."),
];

pub(super) const TIMES: &[Opt] = &[
    option(
        "--session-timeout=TIME [none]   how long a client may stay",
        |draft, text| {
            let session_timeout = time_or_none(text);
            set(&mut draft.config.clients.session_timeout, session_timeout)
        },
    )
    .text(
        "How long a client may stay, active or not; then it is closed with 1008. With \
         `--resume`, the time starts with its first connection.",
    ),
    option(
        "--idle-timeout=TIME [none]      how long a client may stay without messages",
        |draft, text| {
            let idle_timeout = time_or_none(text);
            set(&mut draft.config.clients.idle_timeout, idle_timeout)
        },
    )
    .text(
        "How long a client may stay without a message in either direction; then it is closed \
         with 1008. Pings do not count.",
    ),
    option(
        "--ping-interval=TIME [25s]      silence before a ping, and between pings",
        |draft, text| set(&mut draft.config.clients.ping_interval, time(text)),
    )
    .text(
        "Send a ping when a client has been silent for this long, and again each time it has \
         passed, even while its command does not read. It must be shorter than `--pong-timeout`.",
    ),
    option(
        "--pong-timeout=TIME [60s]       silence before a client is dropped",
        |draft, text| set(&mut draft.config.clients.pong_timeout, time(text)),
    )
    .text(
        "Drop a client that has been silent for this long, pongs included. While its command does \
         not read, or while it does not take its own output, the server does not read from it, and \
         silence does not count.",
    ),
    option(
        "--write-timeout=TIME [60s]      drop a client that acknowledges nothing",
        |draft, text| set(&mut draft.config.clients.write_timeout, time(text)),
    )
    .text(
        "Drop a client that has acknowledged nothing of what is queued for it for this long. \
         The server checks four times in TIME, so it can take a quarter longer. An HTTP response, and \
         what is queued when a WebSocket closes, must be acknowledged within TIME plus a second for \
         every 4 KiB.",
    ),
    option(
        "--close-timeout=TIME [10s]      time for the closing handshake",
        |draft, text| set(&mut draft.config.clients.close_timeout, time(text)),
    )
    .text(
        "Time for the closing handshake and the end of TCP, counted from when the client has \
         taken everything that was sent before. `--write-timeout` bounds how long it may take that.",
    ),
    option(
        "--head-timeout=TIME [10s]       time for a request head",
        |draft, text| set(&mut draft.config.clients.head_timeout, time(text)),
    )
    .text("Time from the first byte of a request head to its last. A slower one gets 408."),
    option(
        "--http-idle-timeout=TIME [60s]  how long to wait for the next request",
        |draft, text| set(&mut draft.config.clients.http_idle_timeout, time(text)),
    )
    .text("How long a connection may wait for its next request; then it is closed."),
];
