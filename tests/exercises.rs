//! The answers to the exercises of the manual still fit the source. They are patches, which
//! `tests/exercises/run` applies, builds and tests; here, each line that they expect is looked for.

use std::fs;
use std::path::{Path, PathBuf};

/// What a patch does to one file.
struct Change {
    /// The file's path in the repository.
    path: String,
    is_new: bool,
    /// The lines that each hunk expects, with their ends.
    expected: Vec<String>,
}

/// The name and the text of each answer.
fn answers() -> Vec<(String, String)> {
    let folder = fs::read_dir(root("tests/exercises")).expect("the answers");
    let paths = folder.map(|entry| entry.expect("an answer").path());
    let patches = paths.filter(|path| path.extension().is_some_and(|it| it == "patch"));
    let mut answers: Vec<(String, String)> = patches
        .map(|path| {
            let name = path.file_name().expect("a name").to_string_lossy();
            (name.into_owned(), fs::read_to_string(&path).expect("UTF-8"))
        })
        .collect();
    answers.sort();
    answers
}

/// The changes in a unified diff.
fn changes(patch: &str) -> Vec<Change> {
    let mut changes: Vec<Change> = Vec::new();
    let mut old = "";
    // How many lines of the present hunk are left, of the file before and after the change.
    let (mut before, mut after) = (0, 0);
    for line in patch.lines() {
        let (sign, text) = line.split_at_checked(1).unwrap_or((" ", ""));
        if before + after > 0 {
            if sign != "+" {
                let expected = changes.last_mut().and_then(|it| it.expected.last_mut());
                let expected = expected.expect("a hunk");
                expected.push_str(text);
                expected.push('\n');
                before -= 1;
            }
            after -= usize::from(sign != "-");
        } else if let Some(path) = line.strip_prefix("--- ") {
            old = path;
        } else if let Some(path) = line.strip_prefix("+++ b/") {
            changes.push(Change {
                path: path.to_owned(),
                is_new: old == "/dev/null",
                expected: Vec::new(),
            });
        } else if let Some(ranges) = line.strip_prefix("@@ -") {
            let (ranges, _) = ranges.split_once(" @@").expect("the end of the ranges");
            let (old, new) = ranges.split_once(" +").expect("two ranges");
            (before, after) = (len(old), len(new));
            let change = changes.last_mut().expect("a file");
            change.expected.push(String::new());
        }
    }
    assert_eq!((before, after), (0, 0), "a hunk is cut");
    changes
}

/// The number of lines in a range, `START,LEN` or `START`.
fn len(range: &str) -> usize {
    let len = range.split_once(',').map_or("1", |(_, len)| len);
    len.parse().expect("a number")
}

fn root(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(path)
}

#[test]
fn each_answer_fits_the_source() {
    let mut faults = Vec::new();
    for (name, patch) in answers() {
        for change in changes(&patch) {
            let path = &change.path;
            if change.is_new {
                if root(path).exists() {
                    faults.push(format!("{name}: {path} exists already"));
                }
                continue;
            }
            let text = fs::read_to_string(root(path)).unwrap_or_default();
            let mut rest = &text[..];
            for expected in &change.expected {
                match rest.split_once(expected.as_str()) {
                    Some((_, behind)) => rest = behind,
                    None => faults.push(format!("{name}: {path} no longer has\n{expected}")),
                }
            }
        }
    }
    assert!(
        faults.is_empty(),
        "\n{}\nThe answers to the exercises (src/manual/exercises.md) no longer fit the source. \
         If you are doing an exercise, go on. Otherwise run: tests/exercises/run refresh",
        faults.join("\n")
    );
}

#[test]
fn each_answer_brings_tests_and_the_page_names_the_files_it_touches() {
    let page = fs::read_to_string(root("src/manual/exercises.md")).expect("the page");
    let answers = answers();
    assert_eq!(answers.len(), 3);
    for (name, patch) in answers {
        assert!(
            page.contains(&format!("`tests/exercises/{name}`")),
            "{name}"
        );
        let mut tests = None;
        for Change { path, is_new, .. } in changes(&patch) {
            let own = path.strip_prefix("tests/").filter(|_| is_new);
            match own.and_then(|path| path.strip_suffix(".rs")) {
                Some(own) => tests = Some(own.to_owned()),
                None => {
                    let shown = path.strip_prefix("src/").unwrap_or(&path);
                    assert!(page.contains(&format!("`{shown}`")), "{name}: {path}");
                }
            }
        }
        let tests = tests.expect("a new file in tests/");
        let (head, _) = patch.split_once("\n--- ").expect("a head and a diff");
        let run = head.lines().find(|line| line.starts_with("Tests: "));
        assert!(
            run.is_some_and(|run| run.contains(&format!("--test {tests}"))),
            "{name}"
        );
    }
}

/// The reader above, tested: one that finds nothing would accept every patch.
#[test]
fn the_expected_lines_of_a_hunk_are_its_context_and_the_lines_it_removes() {
    let patch = "A title\nTests: --lib\n\n--- a/src/x.rs\n+++ b/src/x.rs\n@@ -1,3 +1,3 @@ fn x\n \
                 one\n--- two\n+++ 2\n three\n@@ -9 +9,2 @@\n nine\n+ten\n\
                 --- /dev/null\n+++ b/tests/y.rs\n@@ -0,0 +1 @@\n+new\n";
    let changes = changes(patch);
    assert_eq!(
        (&changes[0].path[..], changes[0].is_new),
        ("src/x.rs", false)
    );
    assert_eq!(changes[0].expected, ["one\n-- two\nthree\n", "nine\n"]);
    assert_eq!(
        (&changes[1].path[..], changes[1].is_new),
        ("tests/y.rs", true)
    );
    assert_eq!(changes[1].expected, [""]);
}
