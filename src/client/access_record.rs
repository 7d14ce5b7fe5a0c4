//! The log line of a WebSocket connection, written when it ends: [`AccessRecord`].

use std::fmt;
use std::io::ErrorKind;
use std::net::IpAddr;
use std::rc::Rc;

use crate::event_loop::instant::Instant;
use crate::log::Escaped;
use crate::peer::Peer;
use crate::system::{Exit, Pid};
use crate::ws::close::CloseCode;

/// The facts about one WebSocket connection, gathered while it lasts.
#[derive(Clone, Debug)]
pub(crate) struct AccessRecord {
    /// The other end.
    pub(crate) peer: Peer,
    /// The target of the connection; `None` until the opening handshake is done.
    target: Option<Rc<Target>>,
    /// The PID of its command; 0 without one.
    pid: Pid,
    /// When the opening handshake was done.
    pub(super) opened_at: Instant,
    /// Messages from the client.
    pub(super) received: Tally,
    /// Messages to the client.
    pub(super) sent: Tally,
    /// The close code that ended the connection, the peer's or ours; `None`: it was lost without
    /// one.
    pub(super) code: Option<CloseCode>,
    /// Why it was lost, if it did not end with the closing handshake.
    pub(super) loss: Option<Loss>,
    /// How the command ended, once it has.
    pub(crate) exit: Option<Exit>,
}

/// The path and back end of a connection. Connections with the same target share one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Target {
    /// The requested path, as it was sent, without the query: that may hold a secret. Of a long one,
    /// the beginning that the log shows.
    pub(crate) path: Box<str>,
    /// What serves it.
    pub(crate) back_end: BackEnd,
}

/// What serves a WebSocket.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum BackEnd {
    /// An echo.
    Echo,
    /// A command, by its name.
    Command(Rc<str>),
    /// Nothing: the session the client came back to no longer exists.
    None,
}

/// Why a connection was lost. A time-out is named by its option.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Loss {
    /// The peer closed TCP, or its half of it.
    HungUp,
    /// The client of a resumable session came back on a newer connection.
    Replaced,
    /// No request came.
    NoRequest,
    /// Nothing was received.
    Silent,
    /// The peer took nothing of what was queued.
    Stalled,
    /// The peer took a response, or our last bytes, too slowly.
    TooSlow,
    /// The peer did not do its part of closing.
    NotClosed,
    /// It held the most memory when there was none left.
    OutOfMemory,
    /// The socket failed.
    Failed(ErrorKind),
}

impl fmt::Display for Loss {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Loss::HungUp => f.write_str("the peer hung up"),
            Loss::Replaced => f.write_str("the client came back on a newer connection"),
            Loss::NoRequest => f.write_str("no request for --http-idle-timeout"),
            Loss::Silent => f.write_str("nothing received for --pong-timeout"),
            Loss::Stalled => f.write_str("the peer took nothing for --write-timeout"),
            Loss::TooSlow => f.write_str("the peer took the last bytes too slowly"),
            Loss::NotClosed => f.write_str("not closed within --close-timeout"),
            Loss::OutOfMemory => f.write_str("it held the most of --max-memory"),
            Loss::Failed(kind) => kind.fmt(f),
        }
    }
}

/// Counts messages and the bytes of their payloads.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Tally {
    /// Payload bytes.
    pub(super) bytes: u64,
    /// Whole messages.
    pub(super) messages: u64,
}

impl Tally {
    /// Counts `bytes` of payload, and a message if they are its last.
    pub(super) fn count(&mut self, bytes: usize, last: bool) {
        self.bytes += bytes as u64;
        self.messages += u64::from(last);
    }
}

/// Each client has one.
const _: () = assert!(size_of::<AccessRecord>() <= 88);

impl AccessRecord {
    /// A connection that was accepted `now`.
    pub(super) fn new(peer: Peer, now: Instant) -> Self {
        Self {
            peer,
            target: None,
            pid: 0,
            opened_at: now,
            received: Tally::default(),
            sent: Tally::default(),
            code: None,
            loss: None,
            exit: None,
        }
    }

    /// The opening handshake was done `now`. `pid` is that of the command; 0 without one.
    pub(crate) fn open(&mut self, target: Rc<Target>, pid: Pid, now: Instant) {
        self.target = Some(target);
        self.pid = pid;
        self.opened_at = now;
    }

    /// Whether the opening handshake was done; only then the log gets a line.
    pub(super) fn is_opened(&self) -> bool {
        self.target.is_some()
    }

    /// The client's own address: behind a trusted proxy, the one the proxy names.
    pub(crate) fn ip(&self) -> IpAddr {
        self.peer.client_ip()
    }

    /// The beginning of each line about this connection: its peer, its path and what serves it.
    pub(crate) fn identity(&self) -> impl fmt::Display {
        Identity(self)
    }

    /// The line for the log about the connection, once it has ended.
    pub(crate) fn line(&self, now: Instant) -> impl fmt::Display {
        Line { record: self, now }
    }
}

struct Identity<'a>(&'a AccessRecord);

impl fmt::Display for Identity<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "peer={}", self.0.peer)?;
        let Some(Target { path, back_end }) = self.0.target.as_deref() else {
            return Ok(());
        };
        write!(f, " path=\"{}\"", Escaped(path.as_bytes()))?;
        match back_end {
            BackEnd::Command(name) => {
                let (name, pid) = (Escaped(name.as_bytes()), self.0.pid);
                write!(f, " service=command command=\"{name}\" pid={pid}")
            }
            BackEnd::Echo => f.write_str(" service=echo"),
            BackEnd::None => f.write_str(" service=none"),
        }
    }
}

struct Line<'a> {
    record: &'a AccessRecord,
    now: Instant,
}

impl fmt::Display for Line<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let AccessRecord {
            opened_at,
            received,
            sent,
            code,
            loss,
            exit,
            ..
        } = self.record;
        write!(f, "closed {}", self.record.identity())?;
        let duration = self.now.saturating_duration_since(*opened_at);
        write!(
            f,
            " duration={}.{:03}",
            duration.as_secs(),
            duration.subsec_millis()
        )?;
        write!(f, " in={}/{}", received.bytes, received.messages)?;
        write!(f, " out={}/{}", sent.bytes, sent.messages)?;
        match code {
            Some(code) => write!(f, " code={code}")?,
            None => f.write_str(" code=1006")?,
        }
        if let Some(loss) = loss {
            write!(f, " lost=\"{loss}\"")?;
        }
        match exit {
            Some(exit) => write!(f, " exit=\"{exit}\""),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::net::SocketAddr;
    use std::time::Duration;

    use super::*;
    use crate::http::proxy::Remote;

    #[test]
    fn a_record_is_one_line_of_keys_and_values() {
        let now = Instant::EPOCH;
        let peer = Peer::from("127.0.0.1:5555".parse::<SocketAddr>().unwrap());
        let mut record = AccessRecord::new(peer.clone(), now);
        assert!(!record.is_opened());
        let target = |path: &str, back_end| {
            Rc::new(Target {
                path: path.into(),
                back_end,
            })
        };
        record.open(target("/ws", BackEnd::Command("sh".into())), 77, now);
        assert!(record.is_opened());
        assert_eq!(
            record.identity().to_string(),
            "peer=127.0.0.1:5555 path=\"/ws\" service=command command=\"sh\" pid=77"
        );
        record.received.count(3, true);
        record.sent.count(10, false);
        record.sent.count(2, true);
        record.code = Some(CloseCode::NORMAL);
        record.exit = Some(Exit::Status(0));
        assert_eq!(
            record.line(now + Duration::from_millis(1234)).to_string(),
            "closed peer=127.0.0.1:5555 path=\"/ws\" service=command command=\"sh\" pid=77 \
             duration=1.234 in=3/1 out=12/1 code=1000 exit=\"exit 0\""
        );
        record.peer.speaks_for(Remote {
            ip: "2001:db8::9".parse().unwrap(),
            port: None,
        });
        assert!(
            (record.line(now).to_string())
                .starts_with("closed peer=2001:db8::9 proxy=127.0.0.1:5555 path=")
        );
        let mut record = AccessRecord::new(peer, now);
        record.open(target("/a\nb", BackEnd::Echo), 0, now);
        assert_eq!(
            record.line(now).to_string(),
            "closed peer=127.0.0.1:5555 path=\"/a\\x0ab\" service=echo duration=0.000 in=0/0 \
             out=0/0 code=1006"
        );
    }
}
