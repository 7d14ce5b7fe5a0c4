//! The directory of `--dir`, whose programs are served: [`Directory`].
//!
//! A name is looked up for each client, so programs can be added and removed, and the directory can
//! be replaced, while the server runs. A name is inside the directory if its real path, with all
//! symbolic links followed, is below the real path of the directory. The file could be replaced by
//! a link before the program starts; but only by a user who can write to the directory, and such a
//! user could as well add a program.
//!
//! No pipe or device is opened: that could block.

use std::collections::HashSet;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use nix::unistd::{AccessFlags, eaccess};

use super::spawn::why_not;
use crate::http::routes::DirEntry;

/// How many files are remembered as reported. Beyond that, a file may be reported again.
const REPORTED_MAX: usize = 1024;

/// A directory whose programs are served.
#[derive(Clone, Debug)]
pub(crate) struct Directory {
    root: PathBuf,
    /// The real paths of files that were asked for and are not executable.
    reported: HashSet<PathBuf>,
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
        Ok(Self {
            root,
            reported: HashSet::new(),
        })
    }

    /// Its absolute path.
    pub(crate) fn path(&self) -> &Path {
        &self.root
    }

    /// Why the file `name` is not served, the first time that it is asked for.
    pub(super) fn report(&mut self, name: &str) -> Option<String> {
        let path = self.root.join(name);
        let real = fs::canonicalize(&path).ok()?;
        if self.reported.len() == REPORTED_MAX {
            self.reported.clear();
        }
        if !self.reported.insert(real) {
            return None;
        }
        why_not(&path)
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
        if !file.is_file() {
            return Ok(DirEntry::Nothing);
        }
        Ok(match eaccess(&real, AccessFlags::X_OK) {
            Ok(()) => DirEntry::Program,
            Err(_) => DirEntry::NotExecutable,
        })
    }
}

#[cfg(test)]
mod tests;
