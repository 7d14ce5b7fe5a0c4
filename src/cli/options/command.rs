//! Options of the commands: their messages, environment, termination and audience.

use std::ffi::OsString;

use super::{COUNT_MAX, Opt, Scope, option, or_word, set, time_or_none, turn_on};
use crate::cli::command_values::{assignment, directory, nice, rlimit, signal, umask};
use crate::cli::values::{count, list, size, time_or_zero, time_with_unit, variable};
use crate::config::{EndAt, Shared, Stderr};
use crate::framing::{Crlf, Framing};

pub(super) const MESSAGES: &[Opt] = &[
    option(
        "--framing=lines|raw|null|length|headers [lines]  how a pipe holds messages",
        |draft, text| {
            let framing = Framing::ALL.iter().find(|framing| framing.name() == text);
            let framing =
                framing.ok_or_else(|| "write lines, raw, null, length or headers".to_owned());
            draft.framings.push(*framing?);
            Ok(())
        },
    )
    .only(Scope::Command)
    .text(
        "How messages are separated in the command's pipes. `lines`: each line is a text \
         message. `null`: each record that ends with a NUL byte is a text message. `raw`: what \
         one read of the pipe returns is a binary message. `length`: text and binary messages, \
         each after a head of five bytes: its kind (1 text, 2 binary) and its length (four \
         bytes, the highest first). `headers`: text messages, each after the header field \
         `Content-Length` and an empty line, as language servers and debug adapters write them.",
    ),
    option(
        "--binary                        bytes instead of lines (--framing=raw)",
        |draft, _| {
            draft.framings.push(Framing::Raw);
            Ok(())
        },
    )
    .only(Scope::Command)
    .common()
    .text("The same as `--framing=raw`."),
    option(
        "--null                          lines that end with NUL (--framing=null)",
        |draft, _| {
            draft.framings.push(Framing::Null);
            Ok(())
        },
    )
    .only(Scope::Command)
    .text("The same as `--framing=null`, for `find -print0`, `sort -z` and `xargs -0`."),
    option(
        "--crlf=strip|keep [strip]       whether a line loses the \\r before its \\n",
        |draft, text| {
            draft.config.command.crlf = match text {
                "strip" => Crlf::Strip,
                "keep" => Crlf::Keep,
                _ => return Err("write strip or keep".to_owned()),
            };
            Ok(())
        },
    )
    .only(Scope::Lines)
    .text(
        "Whether the `\\r` of a line that ends with `\\r\\n` is removed (`strip`) or stays in \
         the message (`keep`).",
    ),
    option(
        "--max-line=SIZE [none]          longest line that a command may print",
        |draft, text| {
            let line_len_max = or_word("none", text, |text| size(text, 1));
            set(&mut draft.config.command.line_len_max, line_len_max)
        },
    )
    .only(Scope::Records)
    .text(
        "Longest line, or record before a NUL, that a command may print, without its \
         terminator and at least 1 byte. A longer one closes the connection with 1009. With \
         `none`, a line of any length passes through bounded memory, in fragments.",
    ),
    option(
        "--flush=TIME [off]              send an unfinished line after this time",
        |draft, text| {
            let flush = or_word("off", text, time_with_unit);
            set(&mut draft.config.command.flush, flush)
        },
    )
    .only(Scope::Records)
    .common()
    .text(
        "Send a line or record that has been unfinished for this long as a message of its own, \
         such as a prompt without a newline; 0: at once. The unit must be written: `50ms`, \
         `2s`. With `off`, a line is sent when it is finished.",
    ),
    option(
        "--stderr=merge|log|drop|json [merge]  where the command's stderr goes",
        |draft, text| {
            draft.stderr = Some(match text {
                "merge" => Stderr::Merge,
                "log" => Stderr::Log,
                "drop" => Stderr::Drop,
                "json" => Stderr::Json,
                _ => return Err("write merge, log, drop or json".to_owned()),
            });
            Ok(())
        },
    )
    .only(Scope::Command)
    .common()
    .text(
        "Where the command's stderr goes. `merge`: into stdout, so that the order of the two \
         holds. `log`: line by line into the server's log, at level info. `drop`: nowhere. \
         `json`: to the client; each line of stdout and stderr is a JSON object that names its \
         stream, in no order between the two. With a framing other than `lines` the default is \
         `log`, so that a warning does not get into a message.",
    ),
];

pub(super) const PROCESS: &[Opt] = &[
    option(
        "--passenv=LIST [PATH,LANG,LC_ALL,LC_CTYPE,TZ,HOME]  variables it inherits",
        |draft, text| {
            let names = list(text, variable)?
                .into_iter()
                .filter(|name| !name.is_empty());
            let passenv = draft.passenv.get_or_insert_default();
            passenv.extend(names.map(OsString::from));
            Ok(())
        },
    )
    .only(Scope::Command)
    .common()
    .text(
        "The variables that a command inherits from the server's environment, in place of the \
         default; it inherits no others. An empty list: none. Variables that describe the \
         request cannot be inherited.",
    ),
    option(
        "--setenv=NAME=VALUE             set a variable of the command; repeatable",
        |draft, text| {
            draft.config.command.setenv.push(assignment(text)?);
            Ok(())
        },
    )
    .only(Scope::Command)
    .text(
        "A variable for the command, in place of an inherited one; repeatable, the last one \
         of a name counts. Variables that describe the request, such as `REMOTE_ADDR`, are \
         refused. Every user of the machine can see the server's arguments in `ps`, so write \
         no secret here.",
    ),
    option(
        "--cwd=DIR                       directory that the command starts in",
        |draft, text| set(&mut draft.config.command.cwd, directory(text).map(Some)),
    )
    .only(Scope::Command)
    .text(
        "The directory that a command starts in, and from which `./COMMAND` is looked up. \
         Without it: the server's own.",
    ),
    option(
        "--umask=OCTAL                   permission bits that its new files lack",
        |draft, text| set(&mut draft.config.command.umask, umask(text).map(Some)),
    )
    .only(Scope::Command)
    .text(
        "The permission bits that are removed from files which a command creates, in octal \
         from 0 to 777, such as `027` (umask(2)). Without it: the server's own.",
    ),
    option(
        "--nice=N                        CPU priority of the command: 19 to -20 (most)",
        |draft, text| set(&mut draft.config.command.nice, nice(text).map(Some)),
    )
    .only(Scope::Command)
    .text(
        "The nice value of a command, from -20 (most CPU time) to 19 (least). Without it: the \
         server's own. Where the kernel divides the CPU by process sessions (1 in \
         `/proc/sys/kernel/sched_autogroup_enabled`, see sched(7)), the command's process \
         session gets the same value.",
    ),
    option(
        "--rlimit=NAME:VALUE             limit a resource (nofile:64); repeatable",
        |draft, text| {
            let (resource, limit) = rlimit(text)?;
            let rlimits = &mut draft.config.command.rlimits;
            rlimits.retain(|(earlier, _)| *earlier != resource);
            rlimits.push((resource, limit));
            Ok(())
        },
    )
    .only(Scope::Command)
    .text(
        "A resource limit of the command, soft and hard (getrlimit(2)); repeatable, the last \
         one of a NAME counts. NAME is `as`, `core`, `data`, `fsize` or `stack` with a size as \
         VALUE, `cpu` with seconds, or `nofile` or `nproc` with a number; VALUE can be \
         `unlimited`. A limit is for each process, not for all together, but `nproc` counts \
         all processes of the user, also those of other programs.",
    ),
    option(
        "--no-new-privs                  sudo and set-user-ID programs fail",
        |draft, _| turn_on(&mut draft.config.command.no_new_privs),
    )
    .only(Scope::Command)
    .text(
        "A command, and everything that it starts, cannot gain privileges (prctl(2), \
         PR_SET_NO_NEW_PRIVS). Off by default, because `sudo`, `su` and every other \
         set-user-ID program then fail.",
    ),
    option(
        "--signal=NAME [INT]             first signal when the client has left",
        |draft, text| set(&mut draft.config.command.first_signal, signal(text)),
    )
    .only(Scope::Signalled)
    .text(
        "The first signal to a command whose client has left: `HUP`, `INT`, `QUIT`, `ABRT`, \
         `USR1`, `USR2`, `ALRM`, `TERM`, `WINCH` or `KILL`. `--kill-after` says when it is \
         sent, and what follows.",
    ),
    option(
        "--kill-after=TIME|never [1s]    SIGKILL this long after the client has left",
        |draft, text| {
            let kill_after = or_word("never", text, time_or_zero);
            set(&mut draft.config.command.kill_after, kill_after)
        },
    )
    .only(Scope::Command)
    .text(
        "How long after its client has left a command gets SIGKILL; 0: at once. Its stdin is \
         closed first. The signal of `--signal` comes after a tenth of TIME, SIGTERM after 35 \
         hundredths, each to the whole process group and to the jobs of a shell, as long as \
         anything of them is left. \
         With `never`, stdin is closed, no signal is sent, and the server waits.",
    ),
    option(
        "--end-at=exit|eof [exit]        when the connection of an exited command ends",
        |draft, text| {
            draft.config.command.end_at = match text {
                "exit" => EndAt::Exit,
                "eof" => EndAt::Eof,
                _ => return Err("write exit or eof".to_owned()),
            };
            Ok(())
        },
    )
    .only(Scope::Command)
    .text(
        "When the connection ends after the command has exited. `exit`: at once; what it left \
         behind, unless it called `setsid`, is terminated as `--kill-after` says. `eof`: when no \
         process holds its stdout and stderr any more, so that a process that it left behind \
         can print on, and read stdin. The close code is the status of the command either way.",
    ),
];

pub(super) const SESSIONS: &[Opt] = &[
    option(
        "--shared[=eager]                one command for all clients",
        |draft, text| {
            draft.config.command.shared = Some(match text {
                "" => Shared::Lazy,
                "eager" => Shared::Eager,
                _ => return Err("write --shared or --shared=eager".to_owned()),
            });
            Ok(())
        },
    )
    .only(Scope::Command)
    .common()
    .text(
        "One COMMAND serves all clients: what it prints goes to each of them, and every \
         message goes to its stdin whole. It starts with the first client, or with the server \
         (`eager`), and goes on when all have left. A client that falls more than \
         `--high-water` behind is closed with 1008, so that it does not slow the others. Not \
         together with routes, `--dir`, `--once` or `--resume`.",
    ),
    option(
        "--replay=N                      last messages that a new client gets",
        |draft, text| set(&mut draft.config.command.replay, count(text, 0, COUNT_MAX)),
    )
    .only(Scope::Shared)
    .text(
        "How many of the shared command's last messages a new client gets, as far as \
         `--replay-buffer` holds them. Without it, a new client begins with the next message. \
         Messages of an earlier run are not replayed.",
    ),
    option(
        "--restart                       start the shared command again when it ends",
        |draft, _| turn_on(&mut draft.config.command.restart),
    )
    .only(Scope::Shared)
    .text(
        "Start the shared command again when it has ended: after 250 ms, and after up to 30 s \
         if it ends again and again. Clients that come meanwhile get 503, or 404 or 500 if it \
         cannot be started. Without it, the next client starts it.",
    ),
    option(
        "--resume=TIME [none]            how long a command waits for a lost client",
        |draft, text| set(&mut draft.config.command.resume, time_or_none(text)),
    )
    .only(Scope::Command)
    .common()
    .text(
        "How long a command waits for its client after the connection was lost. A client that \
         comes back with the token of its session gets what it missed, as far as \
         `--replay-buffer` holds it. The token is the only key to the session: everyone who \
         knows it can continue it.",
    ),
    option(
        "--replay-buffer=SIZE [1M]       output kept for later clients",
        |draft, text| set(&mut draft.config.command.replay_len_max, size(text, 1024)),
    )
    .only(Scope::Replayed)
    .text(
        "How much of its latest output is kept for `--replay` or `--resume`, for each command, \
         at least 1k. A client that comes back and has missed more is closed with 4410, and \
         its command is terminated.",
    ),
];
