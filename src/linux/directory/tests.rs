use std::os::unix::fs::symlink;

use super::*;
use crate::linux::testing::TestDir;

#[test]
fn only_programs_and_directories_inside_are_found() {
    let scratch = TestDir::new("directory");
    let inside = |name: &str| scratch.path().join("root").join(name);
    fs::create_dir_all(inside("sub")).unwrap();
    fs::create_dir(scratch.path().join("root-beside")).unwrap();
    scratch.file("outside", "#!/bin/sh\n", 0o755);
    scratch.file("root-beside/run", "#!/bin/sh\n", 0o755);
    scratch.file("root/run", "#!/bin/sh\n", 0o755);
    scratch.file("root/text", "#!/bin/sh\n", 0o644);
    scratch.file("root/sub/tool", "#!/bin/sh\n", 0o755);
    symlink("run", inside("link")).unwrap();
    symlink(inside("sub"), inside("sublink")).unwrap();
    symlink("../outside", inside("escape")).unwrap();
    symlink("..", inside("up")).unwrap();
    symlink("../root-beside", inside("beside")).unwrap();
    symlink("loop", inside("loop")).unwrap();
    symlink("/dev/null", inside("device")).unwrap();
    symlink(".", inside("here")).unwrap();
    nix::unistd::mkfifo(&inside("fifo"), nix::sys::stat::Mode::S_IRWXU).unwrap();

    let directory = Directory::open(&scratch.path().join("root")).unwrap();
    #[rustfmt::skip]
    let cases = [
        ("run", DirEntry::Program),
        ("link", DirEntry::Program),
        ("sub", DirEntry::Directory),
        ("sub/tool", DirEntry::Program),
        ("sublink/tool", DirEntry::Program),
        ("here/run", DirEntry::Program),
        ("text", DirEntry::NotExecutable),
        ("run/x", DirEntry::Nothing),
        ("none", DirEntry::Nothing),
        ("escape", DirEntry::Nothing),
        ("up", DirEntry::Nothing),
        ("up/outside", DirEntry::Nothing),
        ("beside/run", DirEntry::Nothing),
        ("loop", DirEntry::Nothing),
        ("device", DirEntry::Nothing),
        ("fifo", DirEntry::Nothing),
        ("run\0", DirEntry::Nothing),
    ];
    for (name, entry) in cases {
        assert_eq!(directory.entry(name), entry, "{name}");
    }
}

#[test]
fn a_file_that_is_not_executable_is_reported_once_by_whatever_name() {
    let scratch = TestDir::new("reported");
    let text = scratch.file("text", "#!/bin/sh\n", 0o644);
    symlink(".", scratch.path().join("here")).unwrap();
    let mut directory = Directory::open(scratch.path()).unwrap();
    let report = directory.report("text").expect("the first time");
    assert!(
        report.contains(&format!("{text}: it is not executable: chmod +x {text}")),
        "{report}"
    );
    assert_eq!(directory.report("text"), None);
    assert_eq!(directory.report("here/here/text"), None);
    for number in 0..2 * REPORTED_MAX {
        directory.reported.insert(number.to_string().into());
        directory.report(&scratch.file("more", "", 0o644));
        assert!(directory.reported.len() <= REPORTED_MAX + 1);
    }
}

#[test]
fn a_directory_may_be_a_link_that_is_replaced() {
    let scratch = TestDir::new("turned");
    for release in ["1", "2"] {
        fs::create_dir(scratch.path().join(release)).unwrap();
        scratch.file(&format!("{release}/only-{release}"), "#!/bin/sh\n", 0o755);
    }
    let current = scratch.path().join("current");
    symlink("1", &current).unwrap();
    let directory = Directory::open(&current).unwrap();
    assert_eq!(directory.entry("only-1"), DirEntry::Program);
    fs::remove_file(&current).unwrap();
    symlink("2", &current).unwrap();
    assert_eq!(directory.entry("only-1"), DirEntry::Nothing);
    assert_eq!(directory.entry("only-2"), DirEntry::Program);
}

#[test]
fn a_path_that_is_no_directory_is_refused() {
    for path in ["/nonexistent/x", "/dev/null", "/etc/passwd"] {
        assert!(Directory::open(Path::new(path)).is_err(), "{path}");
    }
    let here = Directory::open(Path::new(".")).unwrap();
    assert!(here.path().is_absolute());
}
