//! Reaps children with the real system. Reaping affects every child of the process, so this file,
//! which is a process of its own, has only one test.

use std::time::{Duration, Instant};

use mio::Poll;
use nix::sys::prctl;
use wspipe::config::{ClientLimits, CommandSettings, Listen};
use wspipe::event_loop::Clock;
use wspipe::linux::Linux;
use wspipe::linux::limits::DescriptorLimit;
use wspipe::system::{Exit, Group, Spawn, System};

#[test]
fn children_and_adopted_orphans_are_all_reaped() {
    // Like the first process of a container.
    prctl::set_child_subreaper(true).unwrap();
    let poll = Poll::new().unwrap();
    let listen = Listen {
        port: 0,
        ..Listen::default()
    };
    let limits = ClientLimits::default();
    let descriptors = DescriptorLimit::raise().unwrap();
    let linux = Linux::start(
        &listen,
        &limits,
        None,
        descriptors,
        poll.registry(),
        Clock::start(),
    );
    let mut linux = linux.unwrap();
    assert_eq!(linux.reap(None), None, "no child yet");

    let mut try_start = |words: &[&str]| {
        let command: Vec<_> = words.iter().map(Into::into).collect();
        let environment = [("PATH".into(), "/usr/bin:/bin".into())].into();
        let spawn = Spawn {
            command: &command,
            environment,
            settings: &CommandSettings::default(),
        };
        linux.spawn(&spawn)
    };
    // A failed start leaves no child to reap.
    assert!(try_start(&["/no/such/file"]).is_err());
    let mut start = |script: &str| try_start(&["sh", "-c", script]).unwrap();
    let sleeping = start("exec sleep 100");
    let leaving = start("sleep 100 & exit 3");
    let signalled = start("kill -KILL $$");

    let mut ended = reap(&mut linux, 2);
    assert_eq!(linux.reap(Some(sleeping.pid)), None, "it still runs");
    assert_eq!(linux.reap(Some(leaving.pid)), None, "reaped before");
    ended.sort_by_key(|&(pid, _)| pid);
    assert_eq!(
        ended,
        [
            (leaving.pid, Exit::Status(3)),
            (signalled.pid, Exit::Signal(9))
        ]
    );
    assert_eq!(
        linux.reap(None),
        None,
        "reap does not wait for a running child"
    );

    // The orphan, whose PID is unknown here, is still in the group.
    assert_eq!(linux.probe_group(leaving.pid), Group::Alive);
    linux.signal_group(leaving.pid, wspipe::config::Signal::Terminate);
    let orphan = reap(&mut linux, 1);
    assert!(orphan[0].0 != leaving.pid && orphan[0].1 == Exit::Signal(15));
    assert_eq!(linux.probe_group(leaving.pid), Group::Gone);

    linux.signal_group(sleeping.pid, wspipe::config::Signal::Kill);
    assert_eq!(reap(&mut linux, 1), [(sleeping.pid, Exit::Signal(9))]);
    assert_eq!(linux.probe_group(sleeping.pid), Group::Gone);
    assert_eq!(linux.reap(None), None);
}

/// Reaps until `count` children have exited.
fn reap(linux: &mut Linux, count: usize) -> Vec<(i32, Exit)> {
    let deadline = Instant::now() + Duration::from_secs(20);
    let mut ended = Vec::new();
    while ended.len() < count {
        assert!(Instant::now() < deadline, "only {ended:?}");
        ended.extend(linux.reap(None));
        std::thread::yield_now();
    }
    ended
}
