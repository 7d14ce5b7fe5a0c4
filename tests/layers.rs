//! The layering of DESIGN section 4, held by reading the source: imports go downward only, and
//! the protocol code does no I/O and reads no clock.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

/// The layer of each module, by the first part of its path under `src`. `config` is at the
/// bottom: limits and their names, which do nothing, so that every layer may be told of them.
const LAYERS: [(&str, u8); 19] = [
    ("manual", 0),
    ("limits", 0),
    ("event_loop", 1),
    ("ws", 1),
    ("http", 1),
    ("framing", 1),
    ("log", 2),
    ("config", 2),
    ("source", 2),
    ("peer", 2),
    ("system", 3),
    ("context", 3),
    ("process", 3),
    ("client", 3),
    ("server", 4),
    ("linux", 5),
    ("cli", 5),
    ("startup", 5),
    ("main", 6),
];

/// What layer 0 must not name. An address is a value and may be; a socket may not.
const FORBIDDEN: [&str; 17] = [
    "mio::",
    "nix::",
    "libc::",
    "std::process",
    "std::fs",
    "std::io::stdin",
    "std::thread",
    "Instant::now",
    "SystemTime",
    "TcpStream",
    "TcpListener",
    "UdpSocket",
    "UnixStream",
    "std::os::fd",
    "std::os::unix::net",
    "unsafe",
    ".elapsed()",
];

/// The crates that a part of layer 0 may use.
const CRATES: [(&str, &[&str]); 12] = [
    ("ws", &[]),
    ("http", &["httparse", "sha1_smol", "base64"]),
    ("framing", &["memchr"]),
    ("arena", &["slab"]),
    ("assembly", &[]),
    ("outbox", &[]),
    ("deadlines", &[]),
    ("ladder", &[]),
    ("history", &[]),
    ("instant", &[]),
    ("farewell", &[]),
    ("config", &[]),
];

const ALL_CRATES: [&str; 9] = [
    "base64",
    "httparse",
    "lexopt",
    "libc",
    "memchr",
    "mio",
    "nix",
    "sha1_smol",
    "slab",
];

/// Every source file by its path under `src`, without comments and without its tests.
fn sources() -> BTreeMap<String, String> {
    let mut sources = BTreeMap::new();
    let src = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut directories = vec![src.clone()];
    while let Some(directory) = directories.pop() {
        for entry in fs::read_dir(&directory).expect("a directory").flatten() {
            let path = entry.path();
            if path.is_dir() {
                directories.push(path);
            } else if path.extension().is_some_and(|it| it == "rs")
                && !path.ends_with("tests.rs")
                && !path.ends_with("testing.rs")
            {
                let name = path.strip_prefix(&src).expect("under src");
                let text = fs::read_to_string(&path).expect("source text");
                sources.insert(name.to_str().expect("UTF-8").to_string(), code(&text));
            }
        }
    }
    assert!(!sources.is_empty());
    sources
}

/// `text` up to its tests, which stand at the bottom, without comments.
fn code(text: &str) -> String {
    let is_tests = |index: &usize| {
        let after = text[*index..].lines().nth(1).unwrap_or_default();
        after.contains("mod ") && after.contains('{')
    };
    let mut marks = text.match_indices("#[cfg(test)]").map(|(index, _)| index);
    let code = &text[..marks.find(is_tests).unwrap_or(text.len())];
    let lines = code
        .lines()
        .map(|line| line.split("//").next().expect("a first part"));
    lines.collect::<Vec<_>>().join("\n")
}

/// The module that a file belongs to: the first part of its path.
fn module(file: &str) -> &str {
    file.split('/')
        .next()
        .expect("a first part")
        .trim_end_matches(".rs")
}

fn layer(module: &str) -> Option<u8> {
    LAYERS
        .iter()
        .find(|(name, _)| *name == module)
        .map(|(_, layer)| *layer)
}

/// The modules that `code` names as `crate::name`, also inside `crate::{...}`.
fn imports(code: &str) -> Vec<String> {
    let mut found = Vec::new();
    for rest in code.split("crate::").skip(1) {
        let names = match rest.strip_prefix('{') {
            None => vec![rest],
            Some(group) => top_level_items(group),
        };
        for name in names {
            let end = name.find(|char: char| !char.is_alphanumeric() && char != '_');
            found.push(name[..end.unwrap_or(name.len())].to_string());
        }
    }
    found
}

/// The items of a braced group, up to its closing brace.
fn top_level_items(group: &str) -> Vec<&str> {
    let mut items = Vec::new();
    let (mut depth, mut start) = (0, 0);
    for (index, char) in group.char_indices() {
        match char {
            '{' => depth += 1,
            '}' if depth > 0 => depth -= 1,
            ',' | '}' if depth == 0 => {
                items.push(group[start..index].trim());
                start = index + 1;
                if char == '}' {
                    break;
                }
            }
            _ => {}
        }
    }
    items
}

/// Whether `code` has `word` with no letter or digit before it.
fn names(code: &str, word: &str) -> bool {
    code.match_indices(word).any(|(index, _)| {
        let before = code[..index].chars().next_back();
        !before.is_some_and(|char| char.is_alphanumeric() || char == '_') || word.starts_with('.')
    })
}

/// Fails with every fault, each a line, if there is one.
#[track_caller]
fn expect_none(faults: Vec<String>) {
    assert!(faults.is_empty(), "\n{}", faults.join("\n"));
}

#[test]
fn every_file_has_its_layer() {
    let sources = sources();
    // `lib.rs` is the list of the modules and imports none.
    let unknown =
        (sources.keys()).filter(|file| *file != "lib.rs" && layer(module(file)).is_none());
    expect_none(
        unknown
            .map(|file| format!("give {file} a layer in tests/layers.rs"))
            .collect(),
    );
}

#[test]
fn imports_go_downward_only() {
    let mut faults = Vec::new();
    for (file, code) in sources() {
        let Some(own) = layer(module(&file)) else {
            continue;
        };
        for import in imports(&code) {
            if let Some(other) = layer(&import).filter(|other| *other > own) {
                faults.push(format!(
                    "{file} (layer {own}) uses {import} (layer {other})"
                ));
            }
        }
    }
    expect_none(faults);
}

#[test]
fn the_protocol_does_no_io_and_reads_no_clock() {
    let mut faults = Vec::new();
    for (file, code) in sources() {
        if layer(module(&file)) == Some(0) {
            let words = FORBIDDEN.iter().filter(|word| names(&code, word));
            faults.extend(words.map(|word| format!("{file} names {word}")));
        }
    }
    expect_none(faults);
}

#[test]
fn the_protocol_uses_the_crates_it_is_meant_to() {
    let mut faults = Vec::new();
    let sources = sources();
    for (own, allowed) in CRATES {
        for (file, code) in sources.iter().filter(|(file, _)| module(file) == own) {
            for name in ALL_CRATES.iter().filter(|name| !allowed.contains(name)) {
                if names(code, &format!("{name}::")) {
                    faults.push(format!("{file} uses {name}"));
                }
            }
        }
    }
    expect_none(faults);
}

#[test]
fn strangers_do_not_know_each_other() {
    // Frames know no heads and heads no frames. A client and a process know each other by an id,
    // which is in `source`; only the server joins them.
    let strangers = [("ws", "http"), ("http", "ws")];
    let mut faults = Vec::new();
    for (file, code) in sources() {
        let own = strangers.iter().filter(|(own, _)| *own == module(&file));
        for (_, stranger) in own {
            if imports(&code).iter().any(|import| import == stranger) {
                faults.push(format!("{file} uses {stranger}"));
            }
        }
    }
    expect_none(faults);
}

/// The tests of the reader above: a test that reads nothing would find nothing.
mod reader {
    use super::{code, imports, names};

    #[test]
    fn finds_what_is_imported() {
        let text = "use crate::ws::Connection;\nuse crate::{log, http::{Request, Host}, outbox};";
        assert_eq!(imports(text), ["ws", "log", "http", "outbox"]);
        assert_eq!(imports("let it = crate::server::run();"), ["server"]);
    }

    #[test]
    fn leaves_comments_and_tests_out() {
        let text = "use a; // crate::server\n/// mio::Poll\n#[cfg(test)]\nmod tests { nix::x }";
        assert_eq!(code(text), "use a; \n");
        assert_eq!(
            code("#[cfg(test)]\nmod tests;\nuse b;"),
            "#[cfg(test)]\nmod tests;\nuse b;"
        );
    }

    #[test]
    fn finds_whole_names() {
        assert!(names("use mio::Poll", "mio::"));
        assert!(!names("use amio::Poll", "mio::"));
        assert!(names("start.elapsed()", ".elapsed()"));
    }
}
