//! The pages as text: their code blocks, inline code, sections and links.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

/// A Markdown file.
pub(crate) struct Page {
    /// Its path in the repository.
    pub(crate) path: String,
    pub(crate) text: String,
}

/// README.md, then the pages of the manual by name.
pub(crate) fn pages() -> Vec<Page> {
    let folder = fs::read_dir(root("src/manual")).expect("the manual");
    let names = folder.map(|entry| entry.expect("a page").file_name());
    let mut names: Vec<String> = (names.map(|name| name.into_string().expect("UTF-8")))
        .filter(|name| name.ends_with(".md"))
        .collect();
    names.sort();
    let manual = names.iter().map(|name| page(&format!("src/manual/{name}")));
    std::iter::once(page("README.md")).chain(manual).collect()
}

pub(crate) fn page(path: &str) -> Page {
    Page {
        path: path.to_string(),
        text: read(path),
    }
}

impl Page {
    pub(crate) fn is_manual(&self) -> bool {
        self.path.starts_with("src/manual/")
    }

    /// The file's name without `.md`.
    pub(crate) fn stem(&self) -> &str {
        let name = self.path.rsplit('/').next().unwrap_or_default();
        name.strip_suffix(".md").unwrap_or(name)
    }

    /// The text under the heading `name`, up to the next heading of its rank.
    pub(crate) fn section(&self, name: &str) -> &str {
        let heading = format!("\n## {name}\n");
        let (_, rest) = self.text.split_once(&heading).expect("the section");
        rest.split("\n## ").next().unwrap_or_default()
    }

    /// The text between backticks, outside of code blocks.
    pub(crate) fn inline_code(&self) -> impl Iterator<Item = &str> {
        let prose = self.text.split("\n```").step_by(2);
        prose.flat_map(|text| text.split('`').skip(1).step_by(2))
    }

    /// The targets of all links, inline or defined.
    pub(crate) fn link_targets(&self) -> Vec<&str> {
        let defined = self.link_definitions().into_iter();
        let defined = defined.map(|(_, target)| target);
        defined.chain(self.inline_link_targets()).collect()
    }

    /// The target of each `[text](target)`.
    pub(crate) fn inline_link_targets(&self) -> Vec<&str> {
        let targets = self.text.split("](").skip(1);
        let targets = targets.map(|rest| rest.split(')').next().unwrap_or_default());
        targets.collect()
    }

    /// The name and target of each line `[name]: target`.
    pub(crate) fn link_definitions(&self) -> Vec<(&str, &str)> {
        let lines = self.text.lines();
        let definitions = lines.filter_map(|line| line.strip_prefix('[')?.split_once("]: "));
        definitions.collect()
    }

    /// The name in each `[text][name]`, and in each `[name]` alone, outside of code.
    pub(crate) fn link_names(&self) -> Vec<String> {
        let prose = self.text.split("\n```").step_by(2).collect::<String>();
        let text: String = prose.split('`').step_by(2).collect();
        let mut names = Vec::new();
        for (open, _) in text.match_indices('[') {
            let Some((inner, rest)) = text[open + 1..].split_once(']') else {
                continue;
            };
            if !rest.starts_with(['[', '(', ':']) {
                names.push(inner.to_string());
            }
        }
        names
    }
}

/// The anchor of a heading.
pub(crate) fn anchors(text: &str) -> BTreeSet<String> {
    let kept = |c: &char| c.is_alphanumeric() || matches!(c, '-' | ' ' | '_');
    (text.lines().filter(|line| line.starts_with('#')))
        .map(|line| line.trim_start_matches('#').trim().to_lowercase())
        .map(|heading| heading.chars().filter(kept).collect::<String>())
        .map(|heading| heading.replace(' ', "-"))
        .collect()
}

/// A fenced code block.
pub(crate) struct Block {
    pub(crate) language: String,
    /// The file that it is, if the comment `<!-- file: NAME -->` above it names one.
    pub(crate) file: Option<String>,
    pub(crate) text: String,
    page: String,
    /// The line of its fence.
    line: usize,
}

impl Block {
    /// Each line with its place in the repository, as an editor opens it.
    pub(crate) fn lines_with_place(&self) -> impl Iterator<Item = (String, &str)> {
        let place = |index| format!("{}:{}", self.page, self.line + 1 + index);
        (self.text.lines().enumerate()).map(move |(index, text)| (place(index), text))
    }
}

/// The code blocks of all pages. No two are files of the same name.
pub(crate) fn blocks() -> Vec<Block> {
    let blocks: Vec<Block> = pages().iter().flat_map(blocks_of).collect();
    let mut files = BTreeSet::new();
    for file in blocks.iter().filter_map(|block| block.file.as_ref()) {
        assert!(files.insert(file), "{file} has two texts");
    }
    blocks
}

fn blocks_of(page: &Page) -> Vec<Block> {
    let mut blocks: Vec<Block> = Vec::new();
    let mut is_open = false;
    let mut file = None;
    for (index, line) in page.text.lines().enumerate() {
        match (line.strip_prefix("```"), is_open) {
            (Some(language), false) => {
                blocks.push(Block {
                    language: language.to_string(),
                    file: file.take(),
                    text: String::new(),
                    page: page.path.clone(),
                    line: index + 1,
                });
                is_open = true;
            }
            (Some(_), true) => is_open = false,
            (None, true) => {
                let block = blocks.last_mut().expect("a block is open");
                block.text.push_str(line);
                block.text.push('\n');
            }
            (None, false) => {
                let comment = line.strip_prefix("<!-- file: ");
                file = comment.and_then(|rest| Some(rest.strip_suffix(" -->")?.to_string()));
            }
        }
    }
    assert!(!is_open, "{}: a code block is not closed", page.path);
    blocks
}

/// A path in the repository.
pub(crate) fn root(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(path)
}

pub(crate) fn read(path: &str) -> String {
    fs::read_to_string(root(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}
