//! The texts of `--help` and `--help=all`: one line for each option, made from the table.

use super::options::{OPTIONS, TITLES};

/// The purpose of wspipe, its usage, and three examples.
const INTRODUCTION: &str = "\
wspipe puts any program on a WebSocket: each client gets its own COMMAND, each
message becomes a line on its stdin, each line that it prints a message.

Usage: wspipe [OPTIONS] [--] COMMAND [ARGS...]   COMMAND for each client
       wspipe [OPTIONS] --echo                   every message comes back
       wspipe [OPTIONS]                          demo: page, echo and shell

Examples:
  wspipe python3 -u game.py               a game for each client
  wspipe --shared --replay=10 cat         a chat room
  wspipe --route=/log='tail -f app.log' --route=/stats=./stats.sh

The most common options (wspipe --help=all lists every one):
";

const UNITS: &str = "\
SIZE: 64k, 1M.  TIME: 250ms, 10s, 2m; a bare number: seconds.  LIST: a,b,c
";

/// The options that most people need, with the introduction.
pub(super) fn common() -> String {
    lines(INTRODUCTION.to_owned(), false)
}

/// Every option, by group.
pub(super) fn all() -> String {
    lines(String::new(), true)
}

fn lines(mut text: String, is_complete: bool) -> String {
    let mut group = u8::MAX;
    for option in &OPTIONS {
        if is_complete && option.group != group {
            group = option.group;
            text += TITLES[usize::from(group)];
            text += ":\n";
        }
        if is_complete || option.is_common {
            text += "  ";
            text += option.line;
            text += "\n";
        }
    }
    text + UNITS
}

#[cfg(test)]
mod tests {
    use super::*;

    fn assert_fits_a_terminal(text: &str) {
        for line in text.lines() {
            assert!(line.len() < 80, "{line}");
            assert!(line.is_ascii() && !line.ends_with(' '), "{line}");
        }
    }

    #[test]
    fn the_help_shows_the_16_options_that_most_people_need() {
        let help = common();
        let options = help.lines().filter(|line| line.starts_with("  --"));
        assert_eq!(options.count(), 16);
        let examples = help.lines().filter(|line| line.starts_with("  wspipe "));
        assert_eq!(examples.count(), 3);
        assert_fits_a_terminal(&help);
    }

    #[test]
    fn the_whole_help_shows_every_option_once_in_one_line() {
        let help = all();
        for option in &OPTIONS {
            let start = format!("  {} ", option.form());
            let lines = help.lines().filter(|line| line.starts_with(&start));
            assert_eq!(lines.count(), 1, "{}", option.form());
        }
        let count = OPTIONS.len() + TITLES.len() + UNITS.lines().count();
        assert_eq!(help.lines().count(), count);
        assert_fits_a_terminal(&help);
    }
}
