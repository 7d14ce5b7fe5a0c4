//! Tests of [`check`]: real files, and what is said about each.

use std::os::unix::fs::symlink;

use super::*;
use crate::linux::testing::TestDir;

#[test]
fn each_file_that_cannot_be_started_says_what_it_is_and_the_remedy() {
    let scratch = TestDir::new("program-file");
    let path = |name: &str| scratch.path().join(name);
    let cases: [(&str, &str, u32, &str); 9] = [
        (
            "script",
            "#!/bin/sh\n",
            0o644,
            "it is not executable: chmod +x script",
        ),
        (
            "two words",
            "#!/bin/sh\n",
            0o644,
            "it is not executable: chmod +x 'two words'",
        ),
        (
            "text",
            "echo hello\n",
            0o644,
            "chmod +x text; and a script begins with a line",
        ),
        (
            "data",
            "PNG\0\u{1}",
            0o644,
            "it is a data file, not a program",
        ),
        (
            "program",
            "\x7fELF\0\0",
            0o644,
            "it is not executable: chmod +x program",
        ),
        (
            "crlf",
            "#!/bin/sh\r\necho\r\n",
            0o755,
            "its interpreter \"/bin/sh\\r\" is not there, because its lines end in \\r\\n: sed -i 's/\\r$//' crlf",
        ),
        (
            "orphan",
            "#! \t/no/such\x1b -x\n",
            0o755,
            "its interpreter \"/no/such\\x1b\" is not there: install it",
        ),
        (
            "closed",
            "#!/etc/passwd\n",
            0o755,
            "its interpreter \"/etc/passwd\" may not be executed",
        ),
        (
            "folder",
            "#!/etc\n",
            0o755,
            "its interpreter \"/etc\" may not be executed",
        ),
    ];
    for (name, content, mode, says) in cases {
        scratch.file(name, content, mode);
        let said = check(&path(name)).unwrap_err().say(OsStr::new(name));
        assert!(said.contains(says), "{name}: {said}");
        assert!(!said.contains(|c: char| c.is_control()), "{name}: {said:?}");
    }
    nix::unistd::mkfifo(&path("fifo"), nix::sys::stat::Mode::S_IRWXU).unwrap();
    symlink("loop", path("loop")).unwrap();
    assert_eq!(check(&path("fifo")), Err(Fault::Special));
    assert_eq!(check(scratch.path()), Err(Fault::Directory));
    assert_eq!(check(&path("none")), Err(Fault::Missing));
    assert_eq!(check(&path("script/below")), Err(Fault::Missing));
    assert_eq!(check(&path("loop")), Err(Fault::Closed(Errno::ELOOP)));
}

#[test]
fn a_file_that_may_be_executed_is_judged_by_its_first_bytes() {
    let scratch = TestDir::new("program-head");
    let unknown = |content| match binfmt_misc_is_used() {
        true => Ok(()),
        false => Err(Fault::UnknownFormat(content)),
    };
    for (name, content, outcome) in [
        ("text", "echo hello\n", unknown(Content::Text)),
        ("empty", "", unknown(Content::Text)),
        ("data", "PK\u{3}\u{4}", unknown(Content::Data)),
        ("script", "#!/bin/sh", Ok(())),
        ("with-an-argument", "#!/usr/bin/env sh\n", Ok(())),
        // Only exec knows whether the kernel can run it.
        ("cut", "\x7fELF", Ok(())),
        ("without-a-name", "#!\n", Ok(())),
    ] {
        let path = scratch.file(name, content, 0o755);
        assert_eq!(check(Path::new(&path)), outcome, "{name}");
    }
    assert_eq!(check(&std::env::current_exe().unwrap()), Ok(()));
    assert_eq!(check(Path::new("/bin/sh")), Ok(()));
}

#[test]
fn the_loader_of_a_program_is_found() {
    let sh = fs::read("/bin/sh").unwrap();
    let loader = loader_of_program(&sh).expect("linked dynamically");
    assert!(loader.starts_with(b"/lib"), "{}", loader.escape_ascii());
    // The same program, built for a system that is not this one.
    let at = sh
        .windows(loader.len())
        .position(|it| it == loader)
        .unwrap();
    let mut head = sh[..sh.len().min(4096)].to_vec();
    head[at + 1] = b'X';
    let fault = interpreter_exists(&head).unwrap_err();
    let said = fault.say(OsStr::new("x"));
    assert!(said.starts_with("its loader \"/X"), "{said}");
    assert!(said.ends_with("built for another system"), "{said}");
    // No header makes it fail, wherever it is cut and whatever a byte is.
    for len in 0..head.len().min(900) {
        let _ = loader_of_program(&head[..len]);
        let mut changed = head.clone();
        changed[len] = 0xFF;
        let _ = loader_of_program(&changed);
    }
}

#[test]
fn a_word_is_quoted_as_a_shell_reads_it() {
    for (word, quoted) in [
        ("a/b-1.sh", "a/b-1.sh"),
        ("", "''"),
        ("two words", "'two words'"),
        ("it's", "'it'\\''s'"),
        ("a|b", "'a|b'"),
        ("a\nb", "'a\\nb'"),
    ] {
        assert_eq!(ShellWord(OsStr::new(word)).to_string(), quoted);
    }
}
