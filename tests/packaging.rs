//! The files under `packaging/`, as the programs that read them take them: man pages and the
//! completions of three shells. The unit tests of `src/cli/reference/` hold their content to the
//! options.

mod support;

use std::process::{Command, Stdio};

const BASH: &str = "packaging/completions/wspipe.bash";
const ZSH: &str = "packaging/completions/_wspipe";
const FISH: &str = "packaging/completions/wspipe.fish";
const MAN: &str = "packaging/wspipe.1";

/// The stdout and stderr of a program that runs in the repository. `None`: this machine has no such
/// program, which the test then says.
fn output_of(words: &[&str]) -> Option<String> {
    let mut command = Command::new(words[0]);
    command.args(&words[1..]).stdin(Stdio::null());
    command.current_dir(env!("CARGO_MANIFEST_DIR"));
    match command.output() {
        Ok(output) => {
            let bytes = [output.stdout, output.stderr].concat();
            Some(String::from_utf8(bytes).expect("UTF-8"))
        }
        Err(_) => {
            support::skipped(&format!("{} is not here", words[0]));
            None
        }
    }
}

/// The completions that bash offers at the end of a command line. `words` is the line as bash
/// divides it.
fn bash_offers(line: &str, words: &[&str]) -> Option<Vec<String>> {
    let script = r#"
        source "$1"
        COMP_LINE=$2 COMP_POINT=${#2} COMP_WORDS=("${@:3}") COMP_CWORD=$(($# - 3))
        _wspipe
        printf '%s\n' "${COMPREPLY[@]}"
    "#;
    let mut command = vec!["bash", "--norc", "-c", script, "bash", BASH, line];
    command.extend(words);
    let output = output_of(&command)?;
    let lines = output.lines().filter(|line| !line.is_empty());
    Some(lines.map(str::to_owned).collect())
}

#[test]
fn bash_completes_options_values_and_the_command() {
    let offers = |line: &str, words: &[&str]| bash_offers(line, words);
    let Some(options) = offers("wspipe --", &["wspipe", "--"]) else {
        return;
    };
    for option in ["--port=", "--echo", "--shared", "--help=all"] {
        assert!(options.iter().any(|it| it == option), "{options:?}");
    }
    let cases: [(&str, &[&str], &[&str]); 8] = [
        ("wspipe --fram", &["wspipe", "--fram"], &["--framing="]),
        (
            "wspipe --framing=",
            &["wspipe", "--framing", "="],
            &["lines", "raw", "null", "length", "headers"],
        ),
        (
            "wspipe --framing=r",
            &["wspipe", "--framing", "=", "r"],
            &["raw"],
        ),
        (
            "wspipe --framing r",
            &["wspipe", "--framing", "r"],
            &["raw"],
        ),
        (
            "wspipe --port 80 --kill-after n",
            &["wspipe", "--port", "80", "--kill-after", "n"],
            &["never"],
        ),
        (
            "wspipe --rlimit=no",
            &["wspipe", "--rlimit", "=", "no"],
            &["nofile:"],
        ),
        // After COMMAND, no option is ours.
        (
            "wspipe --port 80 cat --fram",
            &["wspipe", "--port", "80", "cat", "--fram"],
            &[],
        ),
        (
            "wspipe --echo -- --fram",
            &["wspipe", "--echo", "--", "--fram"],
            &[],
        ),
    ];
    for (line, words, expected) in cases {
        let found = offers(line, words).expect("bash");
        assert_eq!(found, expected, "{line}");
    }
    let directories = offers("wspipe --dir sr", &["wspipe", "--dir", "sr"]);
    assert_eq!(directories.expect("bash"), ["src"]);
    for (line, words) in [
        ("wspipe pri", &["wspipe", "pri"][..]),
        ("wspipe --port 80 pri", &["wspipe", "--port", "80", "pri"]),
        ("wspipe -- pri", &["wspipe", "--", "pri"]),
        (
            "wspipe --route='/a=b c' pri",
            &["wspipe", "--route", "=", "'/a=b c'", "pri"],
        ),
    ] {
        let commands = offers(line, words).expect("bash");
        assert!(commands.iter().any(|it| it == "printf"), "{line}");
    }
}

#[test]
fn fish_completes_options_values_and_the_command() {
    let offers = |line: &str| {
        let script = format!("source {FISH}; complete -C '{line}'");
        output_of(&["fish", "--no-config", "-c", &script])
    };
    for (line, expected, unexpected) in [
        ("wspipe --fram", "--framing", "--port"),
        ("wspipe --framing=", "--framing=raw", "--port"),
        ("wspipe --framing ", "raw", "--port"),
        ("wspipe --shared=", "--shared=eager", "--port"),
        ("wspipe --port 80 --ec", "--echo", "--port"),
        ("wspipe --port 80 prin", "printf", "--port"),
        ("wspipe --port 80 env --", "", "--framing"),
        ("wspipe --dir sr", "src/", "--port"),
    ] {
        let Some(found) = offers(line) else {
            return;
        };
        let has = |word: &str| {
            let mut words = found.lines().map(|line| line.split('\t').next());
            words.any(|it| it == Some(word))
        };
        assert!(expected.is_empty() || has(expected), "{line}: {found}");
        assert!(!has(unexpected), "{line}: {found}");
    }
}

#[test]
fn zsh_reads_its_completion() {
    if let Some(output) = output_of(&["zsh", "--no-rcs", "-n", ZSH]) {
        assert_eq!(output, "");
    }
}

#[test]
fn the_man_page_is_in_order() {
    if let Some(output) = output_of(&["mandoc", "-Tlint", "-Wwarning", MAN]) {
        // A date in the page would be wrong after the next change of an option.
        let complaints = output.lines().filter(|line| !line.contains("missing date"));
        assert_eq!(complaints.collect::<Vec<_>>(), [""; 0]);
    }
    if let Some(output) = output_of(&["groff", "-man", "-ww", "-z", MAN]) {
        assert_eq!(output, "");
    }
}
