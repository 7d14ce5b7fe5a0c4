//! The receivers of a command's output: [`Audience`].
//!
//! ```text
//!                                  one client          resumable session        shared command
//! members                          exactly one         none or one              any number
//! a slow member                    pauses the command  pauses the command       is closed with 1008
//! the member leaves                command terminates  command waits (--resume) command goes on
//! output is kept for later         no                  yes                      the last N (--replay)
//! ```

use std::ffi::OsString;
use std::net::IpAddr;
use std::rc::Rc;

use crate::event_loop::instant::Instant;
use crate::http::resume::Token;
use crate::process::fan_out::FanOut;
use crate::source::ClientId;

/// The receivers of a command's output.
pub(crate) enum Audience {
    /// One client; the command terminates when it leaves.
    Client(ClientId),
    /// The client of a resumable session, which may be lost and come back.
    Session(Box<Session>),
    /// All clients of a shared command.
    Shared(Box<FanOut>),
}

impl Audience {
    /// The fan-out of a session or shared command; `None` for a command of one client.
    pub(crate) fn fan_out(&self) -> Option<&FanOut> {
        match self {
            Audience::Client(_) => None,
            Audience::Session(session) => Some(&session.fan_out),
            Audience::Shared(fan_out) => Some(fan_out),
        }
    }

    /// As [`Audience::fan_out`].
    pub(crate) fn fan_out_mut(&mut self) -> Option<&mut FanOut> {
        match self {
            Audience::Client(_) => None,
            Audience::Session(session) => Some(&mut session.fan_out),
            Audience::Shared(fan_out) => Some(fan_out),
        }
    }

    /// The resumable session, if the audience is one.
    pub(crate) fn session(&self) -> Option<&Session> {
        match self {
            Audience::Session(session) => Some(session),
            Audience::Client(_) | Audience::Shared(_) => None,
        }
    }

    /// As [`Audience::session`].
    pub(crate) fn session_mut(&mut self) -> Option<&mut Session> {
        match self {
            Audience::Session(session) => Some(session),
            Audience::Client(_) | Audience::Shared(_) => None,
        }
    }

    /// The clients that get the output now.
    pub(crate) fn members(&self) -> &[ClientId] {
        match self {
            Audience::Client(client) => std::slice::from_ref(client),
            Audience::Session(session) => &session.fan_out.members,
            Audience::Shared(fan_out) => &fan_out.members,
        }
    }

    /// The client that the command waits for when it is slow. A shared command waits for no client.
    pub(crate) fn waits_for(&self) -> Option<ClientId> {
        match self {
            Audience::Client(client) => Some(*client),
            Audience::Session(session) => session.fan_out.members.first().copied(),
            Audience::Shared(_) => None,
        }
    }
}

/// A resumable session: the command outlives a lost connection and waits for the client to come
/// back (`--resume`).
pub(crate) struct Session {
    /// The client, if it is connected, and the output it has yet to see.
    pub(crate) fan_out: FanOut,
    /// The secret name by which the client comes back.
    pub(crate) token: Token,
    /// The command line the session began with. A request for another one starts a new session.
    pub(crate) command: Rc<[OsString]>,
    /// Set while the client is lost.
    pub(crate) awaited: Option<Awaited>,
    /// When the session ends even if the client is connected (`--session-timeout`).
    pub(crate) expires_at: Option<Instant>,
    /// The client's previous connection, while it is still being closed.
    pub(crate) replaced: Option<ClientId>,
}

impl Session {
    /// When the session ends unless its client comes back, or when it expires.
    pub(crate) fn deadline(&self) -> Option<Instant> {
        let until = self.awaited.map(|awaited| awaited.until);
        until.into_iter().chain(self.expires_at).min()
    }

    /// Whether the end of the output has to wait: the client is connected and reads it, or may
    /// come back for it.
    pub(crate) fn keeps_output(&self) -> bool {
        !self.fan_out.members.is_empty() || self.awaited.is_some()
    }
}

/// A client that was lost and may come back.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Awaited {
    /// When the session stops waiting.
    pub(crate) until: Instant,
    /// The client's address, which still counts under the limits on clients.
    pub(crate) address: IpAddr,
}
