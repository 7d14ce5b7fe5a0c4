//! The layers of the source, held by reading it: imports go downward only, each folder uses its own
//! crates only, no files import each other in a circle, and the protocol code does no I/O and reads
//! no clock.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

/// The folders and top-level files from the bottom up, and the crates each may use. A line may
/// import the lines above it; parts of one line may not import each other.
const LAYERS: &[(&[&str], &[&str])] = &[
    (&["limits", "calendar"], &[]),
    (&["event_loop"], &["mio", "slab"]),
    (&["ws"], &[]),
    (&["http"], &["httparse", "sha1_smol", "base64"]),
    (&["framing"], &["memchr"]),
    (&["peer", "memory"], &[]),
    (&["log"], &[]),
    (&["source"], &["mio"]),
    (&["config"], &[]),
    (&["system", "context"], &[]),
    (&["process"], &[]),
    (&["client"], &[]),
    (&["server"], &["mio"]),
    (&["linux"], &["mio", "nix", "libc"]),
    (&["cli"], &["lexopt"]),
    (&["startup"], &[]),
    (&["main", "lib", "manual"], &[]),
];

/// Of each other, the four bottom folders know plain values only.
const BOTTOM: [&str; 4] = ["event_loop", "ws", "http", "framing"];
const PLAIN_VALUES: [&str; 3] = ["event_loop::instant", "ws::frame", "ws::close"];

/// Folders without I/O and without a clock, and what they must not name.
const PURE: [&str; 5] = ["limits", "calendar", "ws", "http", "framing"];
const IMPURE: [&str; 10] = [
    "std::process",
    "std::fs",
    "std::thread",
    "std::os::fd",
    "std::os::unix",
    "Instant::now",
    "SystemTime",
    "TcpStream",
    "UnixStream",
    ".elapsed()",
];

/// Every source file by its module path (`server::accept`), without comments and tests.
fn sources() -> BTreeMap<String, String> {
    let src = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut sources = BTreeMap::new();
    let mut directories = vec![src.clone()];
    while let Some(directory) = directories.pop() {
        for entry in fs::read_dir(&directory).expect("a directory").flatten() {
            let path = entry.path();
            let stem = path.file_stem().and_then(|stem| stem.to_str());
            if path.is_dir() {
                if !path.ends_with("tests") {
                    directories.push(path);
                }
            } else if path.extension().is_some_and(|it| it == "rs")
                && !matches!(stem, Some("tests" | "testing"))
            {
                let name = path.strip_prefix(&src).expect("a path under src");
                let name = name.with_extension("").to_string_lossy().replace('/', "::");
                let module = name.strip_suffix("::mod").unwrap_or(&name).to_owned();
                let text = fs::read_to_string(&path).expect("UTF-8");
                sources.insert(module, code(&text));
            }
        }
    }
    assert!(sources.len() > 40, "{}", sources.len());
    sources
}

/// `text` without comments, up to the unit tests at its end.
fn code(text: &str) -> String {
    let end = text.find("#[cfg(test)]\nmod tests").unwrap_or(text.len());
    let lines = text[..end].lines();
    let code = lines.map(|line| line.split("//").next().unwrap_or_default());
    code.collect::<Vec<_>>().join("\n")
}

/// The paths that `code` names behind `root`.
fn paths(code: &str, root: &str) -> Vec<String> {
    let paths = code.split(root).skip(1).map(|rest| {
        let is_path = |char: char| char.is_alphanumeric() || char == '_' || char == ':';
        let end = rest.find(|char| !is_path(char)).unwrap_or(rest.len());
        rest[..end].trim_end_matches(':').to_owned()
    });
    paths.collect()
}

fn imports(code: &str) -> Vec<String> {
    paths(code, "crate::")
}

fn folder(module: &str) -> &str {
    module.split("::").next().unwrap_or(module)
}

fn layer(folder: &str) -> Option<usize> {
    LAYERS.iter().position(|(parts, _)| parts.contains(&folder))
}

#[track_caller]
fn expect_none(faults: Vec<String>) {
    assert!(faults.is_empty(), "\n{}", faults.join("\n"));
}

#[test]
fn every_file_has_a_layer_and_imports_go_downward_only() {
    let mut faults = Vec::new();
    for (module, code) in sources() {
        let own = folder(&module);
        let Some(level) = layer(own) else {
            faults.push(format!("give {own} a layer in tests/layers.rs"));
            continue;
        };
        for import in imports(&code) {
            let other = folder(&import);
            let is_plain = PLAIN_VALUES.iter().any(|value| import.starts_with(value));
            let is_below = layer(other).is_some_and(|it| it < level);
            let are_strangers = BOTTOM.contains(&own) && BOTTOM.contains(&other);
            if own != other && !is_plain && (!is_below || are_strangers) {
                faults.push(format!("{module} imports {import}"));
            }
        }
    }
    expect_none(faults);
}

#[test]
fn each_folder_uses_its_own_crates_only() {
    let crates: BTreeSet<&str> = LAYERS
        .iter()
        .flat_map(|(_, crates)| *crates)
        .copied()
        .collect();
    let mut faults = Vec::new();
    for (module, code) in sources() {
        let allowed = layer(folder(&module)).map_or(&[][..], |level| LAYERS[level].1);
        for name in crates.iter().filter(|name| !allowed.contains(name)) {
            if names(&code, &format!("{name}::")) {
                faults.push(format!("{module} uses {name}"));
            }
        }
        if folder(&module) != "linux" && names(&code, "unsafe") {
            faults.push(format!("{module} is unsafe outside of linux"));
        }
    }
    expect_none(faults);
}

#[test]
fn the_protocol_does_no_io_and_reads_no_clock() {
    let mut faults = Vec::new();
    for (module, code) in sources() {
        if PURE.contains(&folder(&module)) {
            let words = IMPURE.iter().filter(|word| names(&code, word));
            faults.extend(words.map(|word| format!("{module} names {word}")));
        }
    }
    expect_none(faults);
}

/// Parents and their children may know each other, as a `mod.rs` and its files do.
#[test]
fn no_files_import_each_other_in_a_circle() {
    let sources = sources();
    let mut edges: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
    for (module, code) in &sources {
        let parent = module.rsplit_once("::").map_or("", |(parent, _)| parent);
        let siblings = paths(code, "super::").into_iter();
        let siblings = siblings.map(|path| format!("{parent}::{path}"));
        for import in imports(code).into_iter().chain(siblings) {
            // The import without its item: the longest path that is a file.
            let mut path = import.as_str();
            while !sources.contains_key(path) {
                let Some((shorter, _)) = path.rsplit_once("::") else {
                    break;
                };
                path = shorter;
            }
            if let Some((path, _)) = sources.get_key_value(path)
                && !path.starts_with(module.as_str())
                && !module.starts_with(path.as_str())
            {
                edges.entry(module).or_default().insert(path);
            }
        }
    }
    // Take out files that import no file that is left, until none is left or all are in circles.
    let mut left: BTreeSet<&str> = sources.keys().map(String::as_str).collect();
    loop {
        let is_leaf = |it: &&str| edges.get(it).is_none_or(|to| to.is_disjoint(&left));
        let leaves: Vec<&str> = left.iter().copied().filter(is_leaf).collect();
        if leaves.is_empty() {
            break;
        }
        leaves.into_iter().for_each(|leaf| {
            left.remove(leaf);
        });
    }
    assert!(left.is_empty(), "in circles, or above one: {left:?}");
}

/// Whether `code` has `word` with no letter, digit or `_` before it.
fn names(code: &str, word: &str) -> bool {
    code.match_indices(word).any(|(index, _)| {
        let before = code[..index].chars().next_back();
        !before.is_some_and(|char| char.is_alphanumeric() || char == '_') || word.starts_with('.')
    })
}

/// The reader above, tested: a reader that finds nothing would let everything pass.
mod reader {
    use super::{code, imports, names};

    #[test]
    fn finds_imported_paths() {
        let text = "use crate::ws::Connection;\nlet it = crate::server::run();";
        assert_eq!(imports(text), ["ws::Connection", "server::run"]);
        assert_eq!(imports("use crate::http::{a, b};"), ["http"]);
    }

    #[test]
    fn skips_comments_and_unit_tests() {
        let text = "use a; // crate::server\n/// mio::Poll\n#[cfg(test)]\nmod tests { nix::x }";
        assert_eq!(code(text), "use a; \n");
    }

    #[test]
    fn finds_whole_names_only() {
        assert!(names("use mio::Poll", "mio::"));
        assert!(!names("use amio::Poll", "mio::"));
        assert!(names("start.elapsed()", ".elapsed()"));
    }
}
