//! The answer to a request: the order of the checks, in one place.

// core::net has the address types without the sockets: http/ does no I/O.
use core::net::IpAddr;

use super::console_config::ConsoleConfig;
use super::date::HttpDate;
use super::handshake::{self, AcceptKey};
use super::pages;
use super::path::Path;
use super::policy::{Page, Policy};
use super::proxy::{Forwarded, Proxies};
use super::refusal::{ALLOW, Refusal};
use super::request::Request;
use super::reserved::{CONFIG_PATH, HEALTH_PATH};
use super::response::{Response, Status};
use super::routes::{Endpoint, LookUp, Router};

/// The settings of HTTP: the services at each path, and who may connect.
#[derive(Clone, Debug)]
pub struct Site {
    /// Which service is at which path.
    pub router: Router,
    /// The facts about the commands that the console page shows.
    pub console: ConsoleConfig,
    /// The sub-protocols that the commands speak (`--subprotocol`).
    pub subprotocols: Vec<String>,
    /// Who may connect.
    pub policy: Policy,
    /// The proxies that may name their clients.
    pub proxies: Proxies,
}

/// The answer to a request that is not refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Answer {
    /// A response, which has been written.
    Response {
        /// Whether the connection is closed after it.
        close: bool,
    },
    /// A WebSocket. The caller sets up its back end and writes the 101
    /// ([`handshake::write_accept`]).
    Upgrade {
        /// The service to connect.
        endpoint: Endpoint,
        /// The proof for the client that the server understood its handshake.
        key: AcceptKey,
        /// The chosen sub-protocol.
        subprotocol: Option<String>,
        /// What a trusted proxy reports about the client.
        forwarded: Forwarded,
    },
}

/// Answers a request from `peer` at `date`: appends a page to `out`, or accepts a handshake.
///
/// # Errors
///
/// The refusal, adapted to this request. If several checks fail, the first decides: the method,
/// the name of the server in `Host`, the path, the handshake, the headers of a trusted proxy, the
/// origin.
pub(crate) fn answer(
    request: &Request,
    peer: IpAddr,
    site: &Site,
    look_up: LookUp<'_>,
    date: HttpDate,
    out: &mut Vec<u8>,
) -> Result<Answer, Refusal> {
    let answer = if handshake::is_upgrade(request) {
        upgrade(request, peer, site, look_up)
    } else {
        respond(request, site, look_up, date, out)
    };
    answer.map_err(|refusal| adapt_refusal(refusal, request))
}

/// Adapts a refusal to the request that it answers: HEAD gets no body, and the connection closes
/// unless the request lets it persist.
///
/// A refused handshake always closes it: a client may have sent frames ahead, which must not be
/// read as requests.
pub(crate) fn adapt_refusal(refusal: Refusal, request: &Request) -> Refusal {
    Refusal {
        close: refusal.close || !request.keep_alive() || handshake::is_upgrade(request),
        head_only: request.method == "HEAD",
        ..refusal
    }
}

/// Answers an opening handshake.
fn upgrade(
    request: &Request,
    peer: IpAddr,
    site: &Site,
    look_up: LookUp<'_>,
) -> Result<Answer, Refusal> {
    check_method(request)?;
    let page = Page::of(request)?;
    site.policy.check_host(request, page.as_ref())?;
    let endpoint = (site.router).find(&Path::decode(request.path), look_up)?;
    let key = handshake::check(request)?;
    let forwarded = site.proxies.read(request, peer)?;
    (site.policy).check_origin(request, page.as_ref(), forwarded.https)?;
    let subprotocol = handshake::choose_subprotocol(request, &site.subprotocols);
    Ok(Answer::Upgrade {
        endpoint,
        key,
        subprotocol: subprotocol.map(str::to_owned),
        forwarded,
    })
}

/// Answers a plain request.
fn respond(
    request: &Request,
    site: &Site,
    look_up: LookUp<'_>,
    date: HttpDate,
    out: &mut Vec<u8>,
) -> Result<Answer, Refusal> {
    const HEALTHY: Response = Response {
        status: Status::Ok,
        fields: &[("Cache-Control", "no-store")],
        content_type: "text/plain; charset=utf-8",
        body: b"ok\n",
    };
    const METHODS: Response = Response {
        status: Status::NoContent,
        fields: ALLOW,
        content_type: "",
        body: b"",
    };
    let json;
    let path = Path::decode(request.path);
    // Load balancers send many different names in Host, so health checks accept any Host. Some send
    // OPTIONS, as HAProxy does by default.
    let response = if request.method == "OPTIONS" {
        METHODS
    } else if path.is(HEALTH_PATH) {
        check_method(request)?;
        HEALTHY
    } else {
        check_method(request)?;
        (site.policy).check_page_host(request, Page::of(request)?.as_ref())?;
        if path.is(CONFIG_PATH) {
            json = site.console.to_json(&site.router);
            pages::config(&json)
        } else {
            let page = pages::find(&path);
            page.ok_or_else(|| site.router.refuse_page(&path, look_up))?
        }
    };
    response.write(out, request.method == "HEAD", request.keep_alive(), date);
    Ok(Answer::Response {
        close: !request.keep_alive(),
    })
}

fn check_method(request: &Request) -> Result<(), Refusal> {
    match request.method {
        "GET" | "HEAD" => Ok(()),
        // RFC 9110 section 9.3 and RFC 5789. OPTIONS comes here in an opening handshake only.
        known @ ("POST" | "PUT" | "DELETE" | "CONNECT" | "OPTIONS" | "TRACE" | "PATCH") => {
            Err(Refusal::method_not_allowed(known))
        }
        other => Err(Refusal::unknown_method(other.as_bytes())),
    }
}

#[cfg(test)]
mod tests;
