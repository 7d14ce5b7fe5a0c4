//! `src/manual/options.md`, the manual's page of options.

use super::{NOTICE, default, members, text};
use crate::cli::options::TITLES;

const INTRODUCTION: &str = "\
# Options

For operators. Afterwards you can look up what an option does, its unit, its range and its default.
`wspipe --help=all` prints one line for each. [Limits][limits] that no option sets have their own
page.

- `--name=value` and `--name value` are the same.
- SIZE is a number of bytes, or `64k`, `1M`, `1G` in powers of 1,024; at most `1G`.
- TIME is `250ms`, `10s`, `2m`, `1h`, or a bare number of seconds (`--flush` needs the unit); at most
  `24h`.
- LIST is one or more items, separated by commas.
- When an option is repeated, the last one counts. Lists add up, and options that are called
  repeatable are collected.
- The first word that is not an option begins COMMAND. The words after it go to the command as they
  are; no shell reads them.
- A wrong option, two options that contradict each other, and an option that would have no effect
  are refused: one line on stderr says what to write, and the exit status is 2.
";

/// The page, in Markdown.
pub(super) fn render() -> String {
    let mut page = format!("<!-- {NOTICE} -->\n\n{INTRODUCTION}");
    for (group, title) in TITLES.iter().enumerate() {
        page += &format!("\n## {title}\n");
        for option in members(group) {
            page += &format!("\n### `{}`\n\n", option.form());
            let default = default(option)
                .map_or_else(String::new, |default| format!("Default: `{default}`. "));
            page += &wrap(&(default + &text(option)));
        }
    }
    page + "\n[limits]: limits.md\n"
}

/// Breaks a paragraph into lines of at most 100 characters.
fn wrap(text: &str) -> String {
    let mut lines = String::new();
    let mut width = 0;
    for word in text.split(' ') {
        if width > 0 && width + 1 + word.len() > 100 {
            lines += "\n";
            width = 0;
        } else if width > 0 {
            lines += " ";
            width += 1;
        }
        lines += word;
        width += word.len();
    }
    lines + "\n"
}
