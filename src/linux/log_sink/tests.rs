use std::io::{PipeReader, Read, pipe};

use nix::fcntl::{FcntlArg, OFlag, fcntl};
use nix::pty::{PtyMaster, posix_openpt, ptsname_r, unlockpt};

use super::*;
use crate::log::{Level, Log};

fn log_to(sink: impl AsFd + 'static) -> Log {
    Log::new(Box::new(Descriptor(sink)), Level::Info)
}

#[test]
fn a_full_pipe_loses_lines_and_the_next_line_says_how_many() {
    let (mut reader, writer) = pipe().unwrap();
    let log = log_to(writer);
    let mut sent = 0;
    while log.lost() < 3 {
        log.info(format_args!("line {sent}"));
        sent += 1;
    }
    // A pipe takes more as soon as a page of it is free.
    reader.read_exact(&mut [0; 4096]).unwrap();
    log.info(format_args!("after"));
    let mut lines = logged_from_the_middle(reader, log);
    assert_eq!(lines.pop().as_deref(), Some("info  after"));
    let report = "warn  3 log lines were lost: stderr did not take them";
    assert_eq!(lines.pop().as_deref(), Some(report));
    assert_eq!(lines.pop(), Some(format!("info  line {}", sent - 4)));
}

/// The lines without their times. The first may be incomplete and is left out.
fn logged_from_the_middle(mut reader: PipeReader, log: Log) -> Vec<String> {
    drop(log);
    let mut text = String::new();
    reader.read_to_string(&mut text).unwrap();
    text.lines()
        .skip(1)
        .map(|line| line[25..].to_owned())
        .collect()
}

#[test]
fn a_pipe_without_a_reader_loses_lines_and_nothing_else() {
    let (reader, writer) = pipe().unwrap();
    let log = log_to(writer);
    drop(reader);
    log.info(format_args!("no process reads this"));
    log.info(format_args!("nor this"));
    assert_eq!(log.lost(), 2);
}

#[test]
fn a_full_disk_loses_lines_and_nothing_else() {
    let log = log_to(OpenOptions::new().write(true).open("/dev/full").unwrap());
    log.info(format_args!("no space"));
    assert_eq!(log.lost(), 1);
}

#[test]
fn a_terminal_that_is_not_read_does_not_stop_the_log() {
    let (_unread, terminal) = terminal();
    let ours = reopen_nonblocking(&terminal).expect("a terminal is opened again");
    let log = log_to(ours);
    for _ in 0..2_000 {
        log.info(format_args!("{}", "x".repeat(100)));
    }
    assert!(log.lost() > 0);
    assert!(!nonblocking(&terminal));
}

#[test]
fn a_line_after_an_incomplete_one_begins_on_a_line_of_its_own() {
    let (terminal, ours) = terminal();
    let log = log_to(reopen_nonblocking(&ours).unwrap());
    while log.lost() < 2 {
        log.info(format_args!("{}", "x".repeat(100)));
    }
    let mut text = vec![0; 64 * 1024];
    let mut read = || nix::unistd::read(&terminal, &mut text).map(|len| text[..len].to_vec());
    while log.lost() > 0 {
        read().unwrap();
        log.info(format_args!("after"));
    }
    let mut rest = read().unwrap();
    while !rest.ends_with(b"after\r\n") {
        rest.extend(read().unwrap());
    }
    let rest = String::from_utf8_lossy(&rest);
    let report = rest.lines().rev().nth(1).unwrap();
    assert!(report.ends_with("stderr did not take them"), "{report}");
    assert_eq!(report.find("Z warn"), Some(23), "{report}");
}

#[test]
fn a_pipe_is_opened_again_but_a_file_is_not() {
    let (_reader, writer) = pipe().unwrap();
    let ours = reopen_nonblocking(&writer).expect("a pipe is opened again");
    assert!(nonblocking(&ours) && !nonblocking(&writer));
    let file = File::open("/proc/self/exe").unwrap();
    assert!(reopen_nonblocking(&file).is_none());
}

/// A terminal: the side that a terminal emulator holds, and the side that programs write to.
fn terminal() -> (PtyMaster, File) {
    let main = posix_openpt(OFlag::O_RDWR | OFlag::O_NOCTTY).unwrap();
    unlockpt(&main).unwrap();
    let path = ptsname_r(&main).unwrap();
    let side = OpenOptions::new()
        .write(true)
        .custom_flags(libc::O_NOCTTY)
        .open(path)
        .unwrap();
    (main, side)
}

fn nonblocking(fd: impl AsFd) -> bool {
    let flags = fcntl(fd, FcntlArg::F_GETFL).unwrap();
    flags & libc::O_NONBLOCK != 0
}
