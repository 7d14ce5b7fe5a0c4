//! Finds an option by its name; for a name that does not exist, suggests the nearest one.

use super::UsageError;
use super::options::{OPTIONS, Opt};

/// Options of earlier versions, and their names now.
const RENAMED: [(&str, &str); 3] = [
    ("linger", "resume"),
    ("idle-http", "http-idle-timeout"),
    ("drain", "drain-timeout"),
];

const TLS: &str = "there is no TLS here: put a reverse proxy such as Caddy or nginx before it, which \
                   then connects to --address=127.0.0.1";
const ADDRESS: &str = "write --address=ADDR";
const NO_LOGIN: &str =
    "there is no login here: put a reverse proxy that asks for a password before it";
const LOG_LEVEL: &str = "write --log-level=debug";
const IS_ON: &str = "leave it out: what a client sends always reaches the command";

/// Options of similar programs (websocketd, ttyd, GoTTY, websocat), and what to write here.
const OF_OTHERS: [(&[&str], &str); 22] = [
    (&["-p"], "write --port=N"),
    (
        &["--host", "--listen", "--bind", "--interface", "-i", "-l"],
        ADDRESS,
    ),
    (
        &[
            "--ssl",
            "--tls",
            "--sslcert",
            "--sslkey",
            "--ssl-cert",
            "--ssl-key",
            "--tls-crt",
            "-S",
        ],
        TLS,
    ),
    (
        &["--credential", "-c", "--auth-header", "--basic-auth"],
        NO_LOGIN,
    ),
    (&["--writable", "-W", "--permit-write"], IS_ON),
    (&["--devconsole"], "leave it out: the console page is at /"),
    (
        &["--staticdir", "--cgidir", "--static"],
        "no files are served here, only programs: let a \
        web server send the files; --dir=DIR serves the programs in DIR",
    ),
    (&["--maxforks"], "write --max-processes=N"),
    (
        &["--max-connection", "--max-connections", "-m"],
        "write --max-clients=N",
    ),
    (
        &["--sameorigin", "--check-origin", "-O"],
        "leave it out: only pages of this server may \
        connect, and those that --origin=LIST names",
    ),
    (
        &["--loglevel", "--verbose", "-v", "--debug", "-d"],
        LOG_LEVEL,
    ),
    (&["--quiet", "-q"], "write --log-level=warn"),
    (&["--uid", "-u"], "write --user=NAME"),
    (&["--gid", "-g"], "write --group=NAME"),
    (&["-w", "--chdir", "--workdir"], "write --cwd=DIR"),
    (
        &["-b"],
        "write --binary for bytes as they come, or --route=/PATH=COMMAND for a base path",
    ),
    (&["--base-path", "--path"], "write --route=/PATH=COMMAND"),
    (&["--oneshot", "-o"], "write --once"),
    (
        &["--exit-no-conn", "--exit-no-client"],
        "write --exit-when-idle",
    ),
    (
        &["--env", "-e"],
        "write --setenv=NAME=VALUE, or --passenv=NAME for a variable of the server",
    ),
    (
        &["--timeout"],
        "write --idle-timeout=TIME, or --session-timeout=TIME for the longest \
        connection",
    ),
    (
        &["--header", "--index", "-I"],
        "let a reverse proxy add \
        headers or send your own page",
    ),
];

/// The remedy for an option of a similar program, written with its dashes.
fn of_others(written: &str) -> Option<&'static str> {
    let found = OF_OTHERS.iter().find(|(names, _)| names.contains(&written));
    found.map(|(_, remedy)| *remedy)
}

/// The option with this name, or an error that suggests one.
pub(super) fn find(name: &str) -> Result<&'static Opt, UsageError> {
    if let Some((old, new)) = RENAMED.iter().find(|(old, _)| *old == name) {
        return Err(UsageError(format!("--{old} is now --{new}: write that")));
    }
    let found = OPTIONS.iter().find(|option| option.name() == name);
    found.ok_or_else(|| unknown(&format!("--{name}"), nearest(name)))
}

/// The error for an option of one letter that does not exist.
pub(super) fn unknown_letter(letter: char) -> UsageError {
    unknown(&format!("-{letter}"), None)
}

fn unknown(option: &str, nearest: Option<&str>) -> UsageError {
    let shown = option.escape_debug();
    UsageError(match (of_others(option), nearest) {
        (Some(remedy), _) => format!("there is no option {shown}: {remedy}"),
        (None, Some(nearest)) => format!("there is no option {shown}: did you mean --{nearest}?"),
        (None, None) => format!("there is no option {shown}: wspipe --help=all lists them"),
    })
}

/// The option whose name begins with `name`, otherwise the one that differs by the fewest typing
/// errors, at most one in three letters.
fn nearest(name: &str) -> Option<&'static str> {
    let names = || OPTIONS.iter().map(Opt::name);
    let begun = names().find(|known| name.len() >= 3 && known.starts_with(name));
    begun.or_else(|| {
        let errors_max = (name.len() / 3).max(1);
        let (errors, known) = names().map(|known| (distance(name, known), known)).min()?;
        (errors <= errors_max).then_some(known)
    })
}

/// The number of typing errors between `a` and `b`: bytes left out, inserted, replaced, or swapped
/// with the next (the optimal string alignment distance).
fn distance(a: &str, b: &str) -> usize {
    let (a, b) = (a.as_bytes(), b.as_bytes());
    // Too long for any option. This also bounds the table below.
    if a.len() > 2 * b.len() {
        return a.len();
    }
    // `table[i][j]` is the distance between the first `i` bytes of `a` and the first `j` of `b`.
    let mut table = vec![vec![0; b.len() + 1]; a.len() + 1];
    for i in 0..=a.len() {
        for j in 0..=b.len() {
            table[i][j] = if i == 0 || j == 0 {
                i + j
            } else {
                let replaced = table[i - 1][j - 1] + usize::from(a[i - 1] != b[j - 1]);
                let moved = table[i - 1][j].min(table[i][j - 1]) + 1;
                let swapped = i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1];
                let swapped = if swapped {
                    table[i - 2][j - 2] + 1
                } else {
                    usize::MAX
                };
                replaced.min(moved).min(swapped)
            };
        }
    }
    table[a.len()][b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::testing::error;

    #[test]
    fn an_unknown_option_suggests_the_nearest_one() {
        let cases = [
            ("--prot", "--port"),
            ("--adress=::1", "--address"),
            ("--orgin", "--origin"),
            ("--max_message", "--max-message"),
            ("--ping", "--ping-interval"),
            ("--pasenv", "--passenv"),
            ("--hlep", "--help"),
            ("--log-levels", "--log-level"),
        ];
        for (word, nearest) in cases {
            let message = error(&[word]);
            assert!(
                message.ends_with(&format!("did you mean {nearest}?")),
                "{message}"
            );
        }
        let long = format!("--{}", "x".repeat(100_000));
        for word in ["--x", "--qqq", "-x", "-xyz", "-\n", "--é", &long] {
            assert!(
                error(&[word]).ends_with("wspipe --help=all lists them"),
                "{word}"
            );
        }
    }

    #[test]
    fn an_option_of_a_similar_program_is_refused_with_ours() {
        for (words, says) in [
            (vec!["-p", "9000"], "there is no option -p: write --port=N"),
            (vec!["-p9000"], "there is no option -p: write --port=N"),
            (
                vec!["--host=::1"],
                "there is no option --host: write --address=ADDR",
            ),
            (
                vec!["--maxforks=2"],
                "there is no option --maxforks: write --max-processes=N",
            ),
            (vec!["--ssl"], "reverse proxy"),
            (vec!["--devconsole"], "at /"),
        ] {
            let message = error(&words);
            assert!(message.contains(says), "{words:?}: {message}");
        }
        let (mut seen, is_ours) = (Vec::new(), |name: &str| {
            OPTIONS.iter().any(|option| option.name() == name)
        });
        for (names, remedy) in OF_OTHERS {
            for name in names {
                assert!(error(&[name]).ends_with(remedy), "{name}");
                assert!(
                    !is_ours(name.trim_start_matches('-')) || !name.starts_with("--"),
                    "{name}"
                );
                assert!(!seen.contains(name), "{name} is there twice");
                seen.push(name);
            }
            // Every option that the remedy names is an option of ours.
            for named in remedy.split("--").skip(1) {
                let end = named.find(|c: char| c != '-' && !c.is_ascii_lowercase());
                let name = &named[..end.unwrap_or(named.len())];
                assert!(is_ours(name), "{remedy}: there is no --{name}");
            }
        }
    }

    #[test]
    fn the_old_name_of_an_option_is_refused_with_the_new_one() {
        for (old, new) in RENAMED {
            let message = error(&[&format!("--{old}=9s"), "cat"]);
            assert_eq!(message, format!("--{old} is now --{new}: write that"));
            assert!(OPTIONS.iter().any(|option| option.name() == new));
        }
    }
}
