//! The directory of `--dir`, whose programs are served: [`Directory`].
//!
//! A name is looked up for each client, so programs can be added and removed, and the directory can
//! be replaced, while the server runs. A name is inside the directory if its real path, with all
//! symbolic links followed, is below the real path of the directory. The file could be replaced by
//! a link before the program starts; but only by a user who can write to the directory, and such a
//! user could as well add a program.
//!
//! No file is opened: opening a pipe or a device could block.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use nix::unistd::{AccessFlags, eaccess};

use crate::http::routes::DirEntry;

/// A directory whose programs are served.
#[derive(Clone, Debug)]
pub(crate) struct Directory {
    root: PathBuf,
}

impl Directory {
    /// The directory at this path. A relative path is resolved now, from the current directory.
    ///
    /// # Errors
    /// The directory does not exist, is no directory, or may not be entered.
    pub(crate) fn open(path: &Path) -> io::Result<Self> {
        if !fs::metadata(path)?.is_dir() {
            return Err(io::ErrorKind::NotADirectory.into());
        }
        eaccess(path, AccessFlags::X_OK)?;
        let root = std::path::absolute(path)?;
        Ok(Self { root })
    }

    /// Its absolute path.
    pub(crate) fn path(&self) -> &Path {
        &self.root
    }

    /// The kind of the entry `name`, a relative path. A file whose kind or rights cannot be read
    /// counts as [`DirEntry::Nothing`].
    pub(super) fn entry(&self, name: &str) -> DirEntry {
        self.look_at(name).unwrap_or(DirEntry::Nothing)
    }

    fn look_at(&self, name: &str) -> io::Result<DirEntry> {
        let real = fs::canonicalize(self.root.join(name))?;
        if !real.starts_with(fs::canonicalize(&self.root)?) {
            return Ok(DirEntry::Nothing);
        }
        let file = fs::metadata(&real)?;
        if file.is_dir() {
            return Ok(DirEntry::Directory);
        }
        let runs = file.is_file() && eaccess(&real, AccessFlags::X_OK).is_ok();
        Ok(if runs {
            DirEntry::Program
        } else {
            DirEntry::Nothing
        })
    }
}

#[cfg(test)]
mod tests {
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
            ("text", DirEntry::Nothing),
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
}
