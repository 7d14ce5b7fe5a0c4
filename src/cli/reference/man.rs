//! `packaging/wspipe.1`, the manual page, in the man(7) macros.

use super::{NOTICE, default, members, text, value};
use crate::cli::options::{Opt, TITLES, Takes};

const DESCRIPTION: &[&str] = &[
    "wspipe serves a command to WebSocket clients. Each client gets its own copy of COMMAND. Each \
     message from the client becomes a line on the command's stdin, and each line that the command \
     prints becomes a message to the client. `--framing` chooses messages other than lines.",
    "The first word that is not an option begins COMMAND. The words after it go to the command as \
     they are; no shell reads them.",
    "Without COMMAND, `--echo`, `--route` and `--dir`, wspipe serves a demo: a console page at `/`, \
     an echo at `/echo`, and at `/ws` a shell for the server's own user.",
    "When the command exits, its client gets a close frame with code 1000 for status 0, 4000 plus \
     the status for another status, or 4256 plus the number of the signal that terminated it. When \
     the client leaves, the command's stdin is closed, and then it and its children get signals; \
     see `--kill-after`.",
    "There is no login and no TLS: everyone who can connect can do what the command allows. By \
     default the server listens on 127.0.0.1 only. For other machines, put a proxy in front that \
     does both.",
];

const OPTIONS_INTRODUCTION: &[&str] = &[
    "`--name=value` and `--name value` are the same. When an option is repeated, the last one \
     counts; lists add up.",
    "SIZE is a number of bytes, or `64k`, `1M`, `1G` in powers of 1,024; at most 1G. TIME is \
     `250ms`, `10s`, `2m`, `1h`, or a bare number of seconds; at most 24h. LIST is one or more \
     items, separated by commas.",
];

const EXIT_STATUS: &[(&str, &str)] = &[
    (
        "`0`",
        "A signal or `--exit-when-idle` ended the server, or it printed the help or the version.",
    ),
    (
        "`1`",
        "The server could not start, for example because the port is in use, or a second signal \
         ended it before everything had finished.",
    ),
    (
        "`2`",
        "The command line is wrong. One line on stderr says what to write.",
    ),
    (
        "With `--once`",
        "The exit status of the command, or 128 plus the number of the signal that terminated it.",
    ),
];

const SIGNALS: &[(&str, &str)] = &[(
    "`SIGTERM`, `SIGINT`, `SIGHUP`",
    "The server stops listening, closes every connection with 1001, terminates every command, and \
     exits when all have ended or `--drain-timeout` has passed. A second signal kills what is left \
     at once. SIGINT and SIGHUP stay ignored if they were ignored at the start (nohup(1)).",
)];

const ENVIRONMENT: &[&str] = &[
    "A command gets the variables that `--passenv` and `--setenv` name and those of CGI/1.1 \
     (RFC 3875), and no others of the server's environment. The client chooses the query and the \
     headers: do not trust them. A command that is started by `--shared` serves no single request: \
     of the following it gets `SERVER_SOFTWARE` only.",
];

const VARIABLES: &[(&str, &str)] = &[
    (
        "`REMOTE_ADDR`, `REMOTE_HOST`, `REMOTE_PORT`",
        "The client's address (twice) and port; behind a proxy those of the proxy, unless \
         `--trust-proxy` lists it.",
    ),
    (
        "`SERVER_NAME`, `SERVER_PORT`",
        "The host that the client asked for, and the port that it reached.",
    ),
    (
        "`SERVER_SOFTWARE`, `SERVER_PROTOCOL`, `GATEWAY_INTERFACE`",
        "`wspipe/` and the version, `HTTP/1.1`, `CGI/1.1`.",
    ),
    (
        "`REQUEST_METHOD`, `REQUEST_URI`",
        "`GET`; the path and the query as they were sent.",
    ),
    (
        "`SCRIPT_NAME`, `PATH_INFO`, `PATH_TRANSLATED`",
        "The path of the route or program, or empty without one; the rest of the path, decoded \
         (twice).",
    ),
    ("`QUERY_STRING`", "What follows `?`, not decoded."),
    (
        "`HTTPS`",
        "`on` if a proxy of `--trust-proxy` says that the client uses TLS; otherwise not set.",
    ),
    (
        "`UNIQUE_ID`",
        "A name for this connection, of letters, digits and `-`.",
    ),
    (
        "`HTTP_*`",
        "Each header of the request, such as `HTTP_USER_AGENT`. `Proxy` never becomes \
         `HTTP_PROXY`; `Authorization` and `Proxy-Authorization` are left out.",
    ),
    (
        "`AUTH_TYPE`, `CONTENT_LENGTH`, `CONTENT_TYPE`, `REMOTE_IDENT`, `REMOTE_USER`",
        "Empty.",
    ),
];

const EXAMPLES: &[(&str, &str)] = &[
    (
        "A program for each client. `python3 -u` does not buffer its output.",
        "wspipe python3 -u game.py",
    ),
    (
        "A chat room: one command for all, and its last messages for each new client.",
        "wspipe --shared --replay=10 cat",
    ),
    (
        "Two commands on one port.",
        "wspipe --route=/log='tail -f app.log' --route=/stats=./stats.sh",
    ),
    (
        "Behind a proxy on the same machine that terminates TLS for app.example.",
        "wspipe --allow-host=app.example --trust-proxy=127.0.0.1 ./app",
    ),
];

/// The page.
pub(super) fn render() -> String {
    let mut page = format!(
        ".\\\" {}\n.TH WSPIPE 1 \"\" \"wspipe {}\" \"User Commands\"\n",
        literal(&NOTICE.replace('`', "")),
        env!("CARGO_PKG_VERSION")
    );
    page += ".SH NAME\nwspipe \\- put any program on a WebSocket\n.SH SYNOPSIS\n";
    for (index, rest) in [
        "[\\fIOPTIONS\\fR] [\\fB\\-\\-\\fR] \\fICOMMAND\\fR [\\fIARGS\\fR...]",
        "[\\fIOPTIONS\\fR] \\fB\\-\\-echo\\fR",
        "[\\fIOPTIONS\\fR]",
    ]
    .into_iter()
    .enumerate()
    {
        let line_break = if index > 0 { ".br\n" } else { "" };
        page += &format!("{line_break}\\fBwspipe\\fR {rest}\n");
    }
    page += ".SH DESCRIPTION\n";
    page += &paragraphs(DESCRIPTION);
    page += ".SH OPTIONS\n";
    page += &paragraphs(OPTIONS_INTRODUCTION);
    for (group, title) in TITLES.iter().enumerate() {
        page += &format!(".SS {title}\n");
        for option in members(group) {
            page += &format!(".TP\n{}\n{}", form(option), prose(&text(option)));
        }
    }
    page += ".SH EXIT STATUS\n";
    page += &definitions(EXIT_STATUS);
    page += ".SH SIGNALS\n";
    page += &definitions(SIGNALS);
    page += ".SH ENVIRONMENT\n";
    page += &paragraphs(ENVIRONMENT);
    page += &definitions(VARIABLES);
    page += ".SH EXAMPLES\n";
    for (index, (text, command)) in EXAMPLES.iter().enumerate() {
        let start = if index > 0 { ".PP\n" } else { "" };
        page += start;
        page += &prose(text);
        page += &format!(".PP\n.RS 4\n.nf\n\\fB{}\\fR\n.fi\n.RE\n", literal(command));
    }
    page += ".SH SEE ALSO\n\\fBsh\\fR(1), \\fBstdbuf\\fR(1), \\fBsignal\\fR(7)\n";
    page += ".PP\nRFC 6455 (WebSocket), RFC 3875 (CGI/1.1)\n";
    page
}

fn paragraphs(texts: &[&str]) -> String {
    let texts: Vec<_> = texts.iter().map(|text| prose(text)).collect();
    texts.join(".PP\n")
}

fn definitions(entries: &[(&str, &str)]) -> String {
    let entry = |(term, text): &(&str, &str)| format!(".TP\n{}\n{}", inline(term), prose(text));
    entries.iter().map(entry).collect()
}

/// How an option is written: what is typed in bold, what stands for something in italics.
fn form(option: &Opt) -> String {
    let mut form = format!("\\fB\\-\\-{}\\fR", literal(option.name()));
    let is_word = |char: char| char.is_ascii_alphabetic();
    let mut rest = value(option);
    if option.takes() != Takes::Nothing {
        form += if option.takes() == Takes::Either {
            "[="
        } else {
            "="
        };
    }
    while let Some(first) = rest.chars().next() {
        let end = rest.find(|char| is_word(char) != is_word(first));
        let (part, behind) = rest.split_at(end.unwrap_or(rest.len()));
        form += &match first {
            'A'..='Z' => format!("\\fI{part}\\fR"),
            'a'..='z' => format!("\\fB{part}\\fR"),
            _ => part.to_owned(),
        };
        rest = behind;
    }
    if option.takes() == Takes::Either {
        form += "]";
    }
    match default(option) {
        Some(default) => form + &format!(" (default: \\fB{}\\fR)", literal(default)),
        None => form,
    }
}

/// A paragraph: each sentence begins a line, as roff wants it, and no line is long.
fn prose(text: &str) -> String {
    let mut lines = String::new();
    let mut width = 0;
    let words: Vec<_> = text.split(' ').collect();
    let mut is_code = false;
    for (index, word) in words.iter().enumerate() {
        let follows_sentence = index > 0 && !is_code && words[index - 1].ends_with('.');
        // With what the escapes of `inline` add.
        let word_width = word.len() + 2 * word.matches('`').count() + word.matches('-').count();
        if width > 0 && (width + 1 + word_width > 78 || follows_sentence) {
            lines += "\n";
            width = 0;
        } else if width > 0 {
            lines += " ";
            width += 1;
        }
        width += word_width;
        lines += word;
        is_code ^= word.matches('`').count() % 2 == 1;
    }
    let mut roff = String::new();
    for line in inline(&lines).lines() {
        // A line that begins with a dot or an apostrophe would be a request.
        roff += if line.starts_with(['.', '\'']) {
            "\\&"
        } else {
            ""
        };
        roff += line;
        roff += "\n";
    }
    roff
}

/// Text with code between backticks, which becomes bold.
fn inline(text: &str) -> String {
    let mut roff = String::new();
    for (index, part) in text.split('`').enumerate() {
        roff += &match index % 2 {
            0 => part.replace('\\', "\\e"),
            _ => format!("\\fB{}\\fR", literal(part)),
        };
    }
    roff
}

/// Text that a reader may copy to a shell: hyphens and quotes stay what they are.
fn literal(text: &str) -> String {
    text.replace('\\', "\\e")
        .replace('-', "\\-")
        .replace('\'', "\\(aq")
        .replace('^', "\\(ha")
        .replace('~', "\\(ti")
}

#[test]
fn the_variables_of_the_page_are_those_of_a_request() {
    use crate::process::environment::is_request_variable;
    let names = VARIABLES.iter().flat_map(|(names, _)| names.split(", "));
    let names: Vec<_> = names.map(|name| name.trim_matches('`')).collect();
    assert!(names.len() > 20, "{names:?}");
    for name in names {
        assert!(is_request_variable(name), "{name}");
    }
}
