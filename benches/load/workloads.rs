//! The workloads to measure, how the cost grows with clients and sizes, and the aims of the
//! project.

use crate::commands::Printed;
use crate::echo::{Load, Payload};
use crate::servers::{HI_OR_IDLE, LIMIT, Role};

/// One workload: a table of the output.
pub(crate) struct Workload {
    pub(crate) name: String,
    pub(crate) load: Kind,
    /// The aim for wspipe.
    pub(crate) aims: Vec<Aim>,
    /// Whether only wspipe and the limit server are measured, to see how their own cost grows.
    pub(crate) scaling: bool,
    /// Whether it takes so long to set up that it has one round only.
    pub(crate) once: bool,
    /// Whether `--quick` runs it.
    pub(crate) quick: bool,
}

/// The actions of the load.
pub(crate) enum Kind {
    Echo(Load),
    Download(Role, Printed),
    Upload(Role),
    Connects(Role, usize),
    /// `clients` share a command that prints `burst` lines at a time.
    Broadcast {
        clients: usize,
        burst: usize,
    },
}

impl Kind {
    pub(crate) fn role(&self) -> Role {
        match self {
            Kind::Echo(load) => Role::Echo {
                text: load.payload != Payload::Binary,
            },
            Kind::Download(role, _) | Kind::Upload(role) | Kind::Connects(role, _) => *role,
            Kind::Broadcast { burst, .. } => Role::Shared(*burst),
        }
    }
}

/// A ratio to another server in the same run.
pub(crate) struct Aim {
    pub(crate) of: &'static str,
    pub(crate) ratio: Ratio,
}

pub(crate) enum Ratio {
    /// Messages per second: at least this multiple of the other's.
    RateMin(f64),
    /// Payload bytes per second, at least this multiple. For streams, which each server cuts into
    /// messages as it reads.
    BytesMin(f64),
    /// Processor time per message: at most this multiple of the other's.
    CpuMax(f64),
}

fn rate(of: &'static str, min: f64) -> Aim {
    Aim {
        of,
        ratio: Ratio::RateMin(min),
    }
}

fn bytes(of: &'static str, min: f64) -> Aim {
    Aim {
        of,
        ratio: Ratio::BytesMin(min),
    }
}

/// Clients, bytes in a message, messages in flight.
type Shape = (usize, usize, usize);

const SHAPES: [Shape; 7] = [
    (1, 20, 1),
    (100, 20, 1),
    (1000, 20, 1),
    (100, 1024, 1),
    (100, 16 * 1024, 1),
    (8, 1024 * 1024, 1),
    (100, 20, 16),
];

const SEQ: Role = Role::Lines(&["seq", "1", "3000000"]);
const ZEROS: Role = Role::Binary(&["head", "-c", "2G", "/dev/zero"]);
// The shell stays, and with it the pipe, whose close some servers take for the command's exit.
const SINK: Role = Role::Upload(&["sh", "-c", "cat >/dev/null; exit"]);
const HI: Role = Role::Connects(&["echo", "hi"]);

/// The highest number of idle clients next to those that connect, if there are enough descriptors.
const IDLE_CLIENTS_MAX: usize = 10_000;

/// Descriptors for a client and its command, in the most demanding server.
const DESCRIPTORS_PER_COMMAND: usize = 5;

/// Descriptors that belong to no client.
const DESCRIPTORS_SPARE: usize = 200;

/// All workloads, on a machine with this limit of descriptors per process.
pub(crate) fn all(descriptors: usize, quick: bool) -> Vec<Workload> {
    let descriptors = descriptors.saturating_sub(DESCRIPTORS_SPARE);
    let idle_clients = IDLE_CLIENTS_MAX.min(descriptors / DESCRIPTORS_PER_COMMAND);
    let mut all = Vec::new();
    for payload in [Payload::Binary, Payload::Ascii, Payload::Mixed] {
        for shape in SHAPES {
            all.push(echo(payload, shape));
        }
    }
    all.extend(commands(idle_clients));
    let audience = if quick { 100 } else { 1000 };
    all.extend([1, 100].map(|burst| shared(audience, burst)));
    let clients = [1, 10, 100, 1000, 10_000.min(descriptors)];
    all.extend(clients.map(|clients| scaling((clients, 20, 1))));
    all.extend((0..=24).step_by(4).map(|power| scaling((8, 1 << power, 1))));
    all
}

fn echo(payload: Payload, shape @ (clients, len, in_flight): Shape) -> Workload {
    let least = match (payload, len, in_flight) {
        (Payload::Mixed, ..) => 0.8,
        (Payload::Binary, len, 1) if len < 1 << 20 => 0.95,
        _ => 0.9,
    };
    let mut aims = vec![rate(LIMIT, least)];
    if payload == Payload::Binary && least == 0.95 {
        aims.push(Aim {
            of: LIMIT,
            ratio: Ratio::CpuMax(1.1),
        });
        // Less processor time per message than every peer.
        aims.extend(
            ["tungstenite", "fastwebsockets", "ws", "websocat"].map(|of| Aim {
                of,
                ratio: Ratio::CpuMax(1.0),
            }),
        );
    }
    Workload {
        name: format!("echo {} {}", kind_name(payload), shape_name(shape)),
        load: Kind::Echo(Load {
            payload,
            len,
            clients,
            in_flight,
        }),
        aims,
        scaling: false,
        once: false,
        quick: payload != Payload::Ascii,
    }
}

fn scaling(shape @ (clients, len, in_flight): Shape) -> Workload {
    Workload {
        name: format!("scaling {}", shape_name(shape)),
        load: Kind::Echo(Load {
            payload: Payload::Binary,
            len,
            clients,
            in_flight,
        }),
        aims: Vec::new(),
        scaling: true,
        once: false,
        quick: true,
    }
}

fn commands(idle_clients: usize) -> Vec<Workload> {
    let command = |name: &str, load, aims| Workload {
        name: name.to_owned(),
        load,
        aims,
        scaling: false,
        once: false,
        quick: true,
    };
    vec![
        command(
            "lines from a command",
            Kind::Download(SEQ, Printed::Numbers),
            vec![rate("websocketd", 20.0), rate("websocat", 6.0)],
        ),
        command(
            "binary from a command",
            Kind::Download(ZEROS, Printed::Zeros),
            vec![bytes("websocat", 2.0), bytes(LIMIT, 1.0)],
        ),
        command(
            "64 KiB messages to a command",
            Kind::Upload(SINK),
            vec![rate("websocketd", 2.0)],
        ),
        command(
            "connect, echo hi, close; alone",
            Kind::Connects(HI, 0),
            vec![rate("websocketd", 1.3)],
        ),
        Workload {
            once: true,
            quick: false,
            ..command(
                &format!("connect, echo hi, close; {idle_clients} idle"),
                Kind::Connects(Role::Connects(&HI_OR_IDLE), idle_clients),
                vec![rate("websocketd", 1.3)],
            )
        },
    ]
}

fn shared(clients: usize, burst: usize) -> Workload {
    let lines = match burst {
        1 => "a line".to_owned(),
        n => format!("{n} lines"),
    };
    Workload {
        name: format!("shared by {clients}, {lines} at a time"),
        load: Kind::Broadcast { clients, burst },
        aims: vec![rate(LIMIT, 0.9)],
        scaling: false,
        once: false,
        quick: true,
    }
}

fn kind_name(payload: Payload) -> &'static str {
    match payload {
        Payload::Binary => "binary",
        Payload::Ascii => "ascii",
        Payload::Mixed => "mixed",
    }
}

fn shape_name((clients, len, in_flight): Shape) -> String {
    let len = match len {
        len if len >= 1 << 20 => format!("{} MiB", len >> 20),
        len if len >= 1 << 10 => format!("{} KiB", len >> 10),
        len => format!("{len} B"),
    };
    let flight = match in_flight {
        1 => String::new(),
        n => format!(" x {n} in flight"),
    };
    format!("{clients} x {len}{flight}")
}
