//! The options that the help offers and those that a page describes.

use std::collections::BTreeMap;
use std::process::Command;

use super::pages::{Page, page};

/// Options that the pages mention and the program does not have: those of other programs, those that
/// a reader adds in the exercises, and the `--name` that stands for any option.
const FOREIGN: [&str; 5] = [
    "line-buffered",
    "linemode-strip-newlines",
    "greeting",
    "unix-socket",
    "name",
];

pub(crate) type Options = BTreeMap<String, Opt>;

/// The entry of a page or of the help for an option.
#[derive(Debug)]
pub(crate) struct Opt {
    /// The word for its value, empty if it takes none.
    value: String,
    /// Its default, if one is named.
    default: Option<String>,
}

/// Each option as the whole help has it.
pub(crate) fn offered_options() -> Options {
    options_of_help("--help=all")
}

/// Each option that most people need, as the short help has it.
pub(crate) fn common_options() -> Options {
    options_of_help("--help")
}

/// Each line `  --name=VALUE [default]` that this option prints.
fn options_of_help(option: &str) -> Options {
    let mut program = Command::new(env!("CARGO_BIN_EXE_wspipe"));
    let help = program.arg(option).output().expect("the server's binary");
    let help = String::from_utf8(help.stdout).expect("UTF-8");
    let mut options = Options::new();
    for line in help.lines() {
        let Some(line) = line.strip_prefix("  --") else {
            continue;
        };
        let (name, value, rest) = signature(line);
        let default = rest
            .strip_prefix(" [")
            .and_then(|rest| rest.split_once(']'));
        let default = default.map(|(default, _)| default.to_string());
        let option = Opt { value, default };
        assert!(options.insert(name.clone(), option).is_none(), "--{name}");
    }
    options
}

/// Each heading of a page that is an option. The paragraph below begins with its default, if it has
/// one.
pub(crate) fn headed_options(path: &str) -> Options {
    let text = page(path).text;
    let mut options = Options::new();
    for section in text.split("\n### `--").skip(1) {
        let (name, value, _) = signature(section);
        let (_, paragraph) = section.split_once("\n\n").expect("a paragraph");
        let default = paragraph.strip_prefix("Default: `");
        let default = default.and_then(|rest| rest.split_once('`'));
        let default = default.map(|(default, _)| default.to_string());
        let option = Opt { value, default };
        assert!(options.insert(name.clone(), option).is_none(), "--{name}");
    }
    options
}

/// Each row of a page's tables whose first cell is an option. The second is its default, in
/// backticks.
pub(crate) fn described_options(path: &str) -> Options {
    let text = page(path).text.replace("\\|", "\u{1}");
    let mut options = Options::new();
    for row in text.lines() {
        let Some(rest) = row.strip_prefix("| `--") else {
            continue;
        };
        let cells: Vec<&str> = rest.split('|').map(str::trim).collect();
        let (name, value, _) = signature(&cells[0].replace('\u{1}', "|"));
        let default = Some(cells[1].trim_matches('`')).filter(|it| !it.is_empty());
        let default = default.map(|default| default.replace('\u{1}', "|"));
        let option = Opt { value, default };
        assert!(options.insert(name.clone(), option).is_none(), "--{name}");
    }
    options
}

/// The name of each option in inline code that begins with it.
pub(crate) fn mentioned_options(page: &Page) -> Vec<String> {
    (page.inline_code())
        .filter_map(|code| Some(signature(code.strip_prefix("--")?).0))
        .filter(|name| !name.is_empty() && !FOREIGN.contains(&name.as_str()))
        .collect()
}

/// Compares each described option with the help.
pub(crate) fn compare(described: &Options, offered: &Options) {
    for (name, page) in described {
        let help = offered.get(name);
        let help = help.unwrap_or_else(|| panic!("--{name} is not in the help"));
        assert_eq!(help.value, page.value, "--{name}: help and page");
        if help.default.is_some() {
            assert_eq!(help.default, page.default, "--{name}: help and page");
        }
    }
}

/// Splits `name=VALUE rest` or `name rest`.
fn signature(text: &str) -> (String, String, &str) {
    let split_at_first = |text: &str, ends: fn(char) -> bool| text.find(ends).unwrap_or(text.len());
    let name_len = split_at_first(text, |c| !c.is_ascii_lowercase() && c != '-');
    let (name, rest) = text.split_at(name_len);
    let Some(rest) = rest.strip_prefix('=') else {
        return (name.to_string(), String::new(), rest);
    };
    let value_len = split_at_first(rest, |c| c.is_whitespace() || c == '`');
    let (value, rest) = rest.split_at(value_len);
    (name.to_string(), value.to_string(), rest)
}
