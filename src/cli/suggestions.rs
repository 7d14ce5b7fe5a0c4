//! Finds an option by its name; for a name that does not exist, suggests the nearest one.

use super::UsageError;
use super::options::{OPTIONS, Opt};

/// Options of earlier versions, and their names now.
const RENAMED: [(&str, &str); 3] = [
    ("linger", "resume"),
    ("idle-http", "http-idle-timeout"),
    ("drain", "drain-timeout"),
];

/// The option with this name, or an error that suggests one.
pub(super) fn find(name: &str) -> Result<&'static Opt, UsageError> {
    if let Some((old, new)) = RENAMED.iter().find(|(old, _)| *old == name) {
        return Err(UsageError(format!("--{old} is now --{new}: write that")));
    }
    let found = OPTIONS.iter().find(|option| option.name() == name);
    found.ok_or_else(|| unknown(&format!("--{}", name.escape_debug()), nearest(name)))
}

/// The error for an option that does not exist.
pub(super) fn unknown(option: &str, nearest: Option<&str>) -> UsageError {
    UsageError(match nearest {
        Some(nearest) => format!("there is no option {option}: did you mean --{nearest}?"),
        None => format!("there is no option {option}: wspipe --help=all lists them"),
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
        for word in ["--x", "--tls", "--host", "-p", "-xyz", "-\n", "--é", &long] {
            assert!(
                error(&[word]).ends_with("wspipe --help=all lists them"),
                "{word}"
            );
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
