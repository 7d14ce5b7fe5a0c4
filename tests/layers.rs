//! The layering of DESIGN section 4, held by reading the source: imports go downward only, and
//! the protocol code does no I/O and reads no clock.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

/// The layer of each module, by the first part of its path under `src`. The vocabulary that
/// every layer may use (limits, and nothing that does anything) is at the bottom.
const LAYERS: [(&str, u8); 22] = [
    ("ws", 0),
    ("http", 0),
    ("lines", 0),
    ("arena", 0),
    ("outbox", 0),
    ("deadlines", 0),
    ("config", 0),
    ("event_loop", 1),
    ("readiness", 1),
    ("log", 1),
    ("limits", 1),
    ("pool", 1),
    ("client", 2),
    ("process", 2),
    ("environment", 2),
    ("spawn", 2),
    ("listener", 2),
    ("signals", 2),
    ("server", 3),
    ("cli", 4),
    ("main", 4),
    ("lib", 4),
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
const CRATES: [(&str, &[&str]); 7] = [
    ("ws", &[]),
    ("http", &["httparse", "sha1_smol", "base64"]),
    ("lines", &["memchr"]),
    ("arena", &["slab"]),
    ("outbox", &[]),
    ("deadlines", &[]),
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
            } else if path.extension().is_some_and(|it| it == "rs") {
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
    let code = text
        .split("#[cfg(test)]\nmod ")
        .next()
        .expect("a first part");
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

#[test]
fn every_file_has_its_layer() {
    for file in sources().keys() {
        assert!(
            layer(module(file)).is_some(),
            "give {file} a layer in tests/layers.rs"
        );
    }
}

#[test]
fn imports_go_downward_only() {
    for (file, code) in sources() {
        let Some(own) = layer(module(&file)) else {
            continue;
        };
        for import in imports(&code) {
            if let Some(other) = layer(&import) {
                assert!(
                    other <= own,
                    "{file} (layer {own}) uses {import} (layer {other})"
                );
            }
        }
    }
}

#[test]
fn the_protocol_does_no_io_and_reads_no_clock() {
    for (file, code) in sources() {
        if layer(module(&file)) != Some(0) {
            continue;
        }
        for word in FORBIDDEN {
            assert!(!names(&code, word), "{file} names {word}");
        }
    }
}

#[test]
fn the_protocol_uses_the_crates_it_is_meant_to() {
    let sources = sources();
    for (own, allowed) in CRATES {
        for (file, code) in sources.iter().filter(|(file, _)| module(file) == own) {
            for name in ALL_CRATES.iter().filter(|name| !allowed.contains(name)) {
                assert!(!names(code, &format!("{name}::")), "{file} uses {name}");
            }
        }
    }
}

#[test]
fn websocket_and_http_do_not_know_each_other() {
    for (file, code) in sources() {
        let stranger = match module(&file) {
            "ws" => "http",
            "http" => "ws",
            _ => continue,
        };
        assert!(
            !imports(&code).iter().any(|it| it == stranger),
            "{file} uses {stranger}"
        );
    }
}

#[test]
fn a_client_and_a_process_know_each_other_by_an_id_only() {
    // Only the server joins them, so `client.rs` may name the type in an `Id<Process>` at most.
    for (file, code) in sources() {
        let other = match module(&file) {
            "client" => "Process",
            "process" => "Client",
            _ => continue,
        };
        for (index, _) in code.match_indices(other) {
            let before = &code[..index];
            let after = &code[index + other.len()..];
            let word_before = before
                .chars()
                .next_back()
                .is_some_and(char::is_alphanumeric);
            let word_after = after.chars().next().is_some_and(char::is_alphanumeric);
            let line = before.rfind('\n').map_or(0, |it| it + 1);
            let import = code[line..].trim_start().starts_with("use ");
            if word_before || word_after || import {
                continue;
            }
            assert!(
                before.ends_with("Id<"),
                "{file} uses {other} other than by its Id"
            );
        }
    }
}

#[test]
fn only_the_start_of_a_process_and_system_calls_are_unsafe() {
    // The crate denies unsafe code; each exception is an `allow` at the item that needs it.
    for (file, code) in sources() {
        if code.contains("allow(unsafe_code)") {
            assert!(layer(module(&file)) > Some(0), "{file} is unsafe");
        }
    }
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
    }

    #[test]
    fn finds_whole_names() {
        assert!(names("use mio::Poll", "mio::"));
        assert!(!names("use amio::Poll", "mio::"));
        assert!(names("start.elapsed()", ".elapsed()"));
    }
}
