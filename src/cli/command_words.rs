//! Words of a command that were probably meant for wspipe or for a shell.

use std::ffi::OsString;

use super::options::{OPTIONS, Opt};
use crate::config::{Route, Target};

/// Operators of a shell that a route's command is unlikely to take as arguments.
const OPERATORS: [&str; 8] = ["|", "||", "&&", ">", ">>", "2>", "2>&1", "2>/dev/null"];

/// A warning if words of COMMAND are spelled like options of wspipe: everything after COMMAND goes
/// to it. A `--` among the words ends its options, too.
pub(super) fn misplaced_options(words: &[OsString]) -> Option<String> {
    let (program, arguments) = words.split_first()?;
    let options = arguments.iter().filter_map(|word| word.to_str());
    let options = options.take_while(|word| *word != "--");
    let found: Vec<&str> = options.filter(|word| is_option(word)).collect();
    let (program, found) = (program.to_string_lossy(), found.join(" "));
    let (program, found) = (program.escape_debug(), found.escape_debug().to_string());
    (!found.is_empty()).then(|| {
        format!(
            "{program} gets {found} as an argument: write options of wspipe before COMMAND; if it is \
             meant for {program}, write -- before COMMAND"
        )
    })
}

/// Whether a word is `--NAME` or `--NAME=VALUE` of an option of wspipe.
fn is_option(word: &str) -> bool {
    let name = word.strip_prefix("--");
    let name = name.map(|name| name.split_once('=').map_or(name, |(name, _)| name));
    name.is_some_and(|name| OPTIONS.iter().map(Opt::name).any(|known| known == name))
}

/// A warning for each route whose command has an operator of a shell as a word: no shell reads it.
pub(super) fn shell_operators(routes: &[Route]) -> impl Iterator<Item = String> {
    routes.iter().filter_map(|route| {
        let Target::Command(words) = &route.target else {
            return None;
        };
        let operator = words
            .iter()
            .find(|word| OPERATORS.iter().any(|it| it == word))?;
        let path = if route.path.is_empty() {
            "/"
        } else {
            &route.path
        };
        let (path, operator) = (path.escape_debug(), operator.to_string_lossy());
        let program = words[0].to_string_lossy();
        let program = program.escape_debug();
        Some(format!(
            "--route={path}: {program} gets {operator} as an argument, because no shell reads the \
             command: for a pipeline write sh -c '...'"
        ))
    })
}

#[cfg(test)]
mod tests {
    use crate::cli::testing::warnings;

    #[test]
    fn an_option_after_command_is_warned_about() {
        let cases: [(&[&str], &str); 4] = [
            (&["cat", "--port=9000"], "cat gets --port=9000 as"),
            (&["cat", "--port", "9000"], "cat gets --port as"),
            (
                &["cat", "-n", "--echo", "x", "--dir=a\nb"],
                "cat gets --echo --dir=a\\nb as",
            ),
            (&["--port=1", "python3", "--help"], "python3 gets --help as"),
        ];
        for (words, says) in cases {
            let warnings = warnings(words);
            assert_eq!(warnings.len(), 1, "{words:?}: {warnings:?}");
            assert!(warnings[0].starts_with(says), "{words:?}: {warnings:?}");
            assert!(warnings[0].contains("-- before COMMAND"), "{warnings:?}");
        }
    }

    #[test]
    fn other_words_of_command_cause_no_warning() {
        let cases: [&[&str]; 8] = [
            &["cat"],
            &["--port=1", "cat"],
            &["--", "cat", "--port=9000"],
            &["cat", "--ports=1", "--por", "-p", "port", "--"],
            &["cat", "--", "--port=9000"],
            &["--port", "1"],
            &["sh", "-c", "cat | tr a b"],
            &["expr", "1", "|", "2"],
        ];
        for words in cases {
            assert_eq!(warnings(words), [""; 0], "{words:?}");
        }
    }

    #[test]
    fn an_operator_of_a_shell_in_a_route_is_warned_about() {
        let pipeline = warnings(&["--route=/log=tail -f x | grep y", "--route=/e=echo:"]);
        assert_eq!(pipeline.len(), 1, "{pipeline:?}");
        assert!(pipeline[0].contains("/log"), "{pipeline:?}");
        assert!(pipeline[0].ends_with("write sh -c '...'"), "{pipeline:?}");
        assert_eq!(warnings(&["--route=/x=sh -c 'a | b'"]), [""; 0]);
    }
}
