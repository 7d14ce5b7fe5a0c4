//! The directory of `--dir`, and what is in it.
//!
//! What a name stands for is looked up anew for each client, so that programs can be added and
//! taken away, and the directory be replaced, while the server runs. A name leads into the
//! directory if its real path, symbolic links followed, is below the real path of the directory.
//! Between this and the start of the program somebody could put a link in its place; but whoever
//! can write here can also write a program, and have it run.
//!
//! Nothing is opened: a look at a file's kind and rights does not wait for a pipe or a device.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use nix::unistd::{AccessFlags, eaccess};

use crate::http::routes::DirEntry;

/// A directory whose programs are served.
#[derive(Clone, Debug)]
pub struct Directory {
    root: PathBuf,
}

impl Directory {
    /// The directory at this path. A relative one counts from where the server is now, even when
    /// the server or a command has gone elsewhere later.
    ///
    /// # Errors
    /// There is none, or it may not be entered.
    pub fn open(path: &Path) -> io::Result<Self> {
        if !fs::metadata(path)?.is_dir() {
            return Err(io::ErrorKind::NotADirectory.into());
        }
        eaccess(path, AccessFlags::X_OK)?;
        let root = std::path::absolute(path)?;
        Ok(Self { root })
    }

    /// Its path, absolute.
    pub fn path(&self) -> &Path {
        &self.root
    }

    /// What `name`, a relative path, stands for. What cannot be looked at is nothing.
    pub fn entry(&self, name: &str) -> DirEntry {
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
    use std::os::unix::fs::{PermissionsExt, symlink};

    use super::*;

    /// A directory of the test's own, which goes with it.
    struct Scratch(PathBuf);

    impl Scratch {
        fn new(name: &str) -> Self {
            let path = std::env::temp_dir().join(format!("wspipe-{name}-{}", std::process::id()));
            fs::create_dir(&path).unwrap();
            Self(path)
        }

        fn file(&self, name: &str, mode: u32) {
            let path = self.0.join(name);
            fs::write(&path, "#!/bin/sh\n").unwrap();
            fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
        }
    }

    impl Drop for Scratch {
        fn drop(&mut self) {
            let _ = fs::remove_dir_all(&self.0);
        }
    }

    #[test]
    fn programs_and_directories_are_told_from_all_else() {
        let scratch = Scratch::new("directory");
        let inside = |name: &str| scratch.0.join("root").join(name);
        fs::create_dir_all(inside("sub")).unwrap();
        fs::create_dir(scratch.0.join("root-beside")).unwrap();
        scratch.file("outside", 0o755);
        scratch.file("root-beside/run", 0o755);
        scratch.file("root/run", 0o755);
        scratch.file("root/text", 0o644);
        scratch.file("root/sub/tool", 0o755);
        symlink("run", inside("link")).unwrap();
        symlink(inside("sub"), inside("sublink")).unwrap();
        symlink("../outside", inside("escape")).unwrap();
        symlink("..", inside("up")).unwrap();
        symlink("../root-beside", inside("beside")).unwrap();
        symlink("loop", inside("loop")).unwrap();
        symlink("/dev/null", inside("device")).unwrap();
        symlink(".", inside("here")).unwrap();
        nix::unistd::mkfifo(&inside("fifo"), nix::sys::stat::Mode::S_IRWXU).unwrap();

        let directory = Directory::open(&scratch.0.join("root")).unwrap();
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
    fn a_directory_may_be_a_link_that_is_turned_elsewhere() {
        let scratch = Scratch::new("turned");
        for release in ["1", "2"] {
            fs::create_dir(scratch.0.join(release)).unwrap();
            scratch.file(&format!("{release}/only-{release}"), 0o755);
        }
        let current = scratch.0.join("current");
        symlink("1", &current).unwrap();
        let directory = Directory::open(&current).unwrap();
        assert_eq!(directory.entry("only-1"), DirEntry::Program);
        fs::remove_file(&current).unwrap();
        symlink("2", &current).unwrap();
        assert_eq!(directory.entry("only-1"), DirEntry::Nothing);
        assert_eq!(directory.entry("only-2"), DirEntry::Program);
    }

    #[test]
    fn what_is_no_directory_is_refused() {
        for path in ["/nonexistent/x", "/dev/null", "/etc/passwd"] {
            assert!(Directory::open(Path::new(path)).is_err(), "{path}");
        }
        let here = Directory::open(Path::new(".")).unwrap();
        assert!(here.path().is_absolute());
    }
}
