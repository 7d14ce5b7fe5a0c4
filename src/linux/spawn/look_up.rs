//! The file that a command's name stands for: [`candidates`] for exec, [`look_up`] for messages.

use std::env;
use std::ffi::OsStr;
use std::fs;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::unistd::{AccessFlags, eaccess};

use super::program_file::{Fault, check, may_execute};
use crate::system::Spawn;

/// Where programs are looked for without a PATH, as `execvp(3)` of glibc does.
const DEFAULT_PATH: &str = "/bin:/usr/bin";

/// The PATH of a command's environment, which is also searched for the command itself.
pub(super) fn path_variable<'a>(spawn: &'a Spawn<'_>) -> Option<&'a OsStr> {
    spawn.environment.get(OsStr::new("PATH")).map(AsRef::as_ref)
}

/// The files that a command's name may stand for, in the order in which exec tries them. A name
/// with a slash is a path and stands for itself. Another name is looked for in each directory of
/// `path`.
pub(super) fn candidates(command: &OsStr, path: Option<&OsStr>) -> Vec<PathBuf> {
    if command.is_empty() || command.as_bytes().contains(&b'/') {
        return vec![PathBuf::from(command)];
    }
    let directories = env::split_paths(path.unwrap_or(DEFAULT_PATH.as_ref()));
    let in_directory = |directory: PathBuf| match directory.as_os_str().is_empty() {
        // By tradition an empty entry is the current directory.
        true => Path::new(".").join(command),
        false => directory.join(command),
    };
    directories.map(in_directory).collect()
}

/// The file that exec would find for a command's name, with this PATH and from the directory `cwd`
/// (`None`: the server's own).
///
/// # Errors
/// There is no such file, or none that could be started: why, and the file.
pub(crate) fn look_up(
    command: &OsStr,
    path: Option<&OsStr>,
    cwd: Option<&Path>,
) -> Result<PathBuf, (Fault, PathBuf)> {
    let mut refused = (Fault::Missing, PathBuf::from(command));
    if command.is_empty() {
        return Err(refused);
    }
    for path in candidates(command, path) {
        let path = match cwd {
            Some(cwd) => cwd.join(path),
            None => path,
        };
        match may_execute(&path) {
            Ok(()) => {
                return match check(&path) {
                    Ok(()) => Ok(path),
                    Err(fault) => Err((fault, path)),
                };
            }
            Err(Fault::Missing) => {}
            // A later directory may have one that can be executed.
            Err(fault) => refused = (fault, path),
        }
    }
    Err(refused)
}

/// Checks that the server's user can enter a directory. The server's working directory does not
/// change.
///
/// # Errors
/// The directory does not exist, is no directory, or is closed to this user.
pub(crate) fn can_enter(directory: &Path) -> io::Result<()> {
    if !fs::metadata(directory)?.is_dir() {
        return Err(Errno::ENOTDIR.into());
    }
    Ok(eaccess(directory, AccessFlags::X_OK)?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::linux::testing::TestDir;

    #[test]
    fn names_are_looked_up_as_by_exec() {
        let one = TestDir::new("look-up-1");
        let two = TestDir::new("look-up-2");
        let plain = PathBuf::from(one.file("tool", "#!/bin/sh\n", 0o644));
        let tool = PathBuf::from(two.file("tool", "#!/bin/sh\n", 0o755));
        let path = env::join_paths([one.path(), two.path()]).unwrap();
        let found = |command: &Path, path: &OsStr| look_up(command.as_os_str(), Some(path), None);

        let second = found(Path::new("tool"), &path).unwrap();
        assert_eq!(second, tool, "a file that cannot be executed is skipped");
        let only_plain = found(Path::new("tool"), one.path().as_os_str());
        assert!(matches!(only_plain, Err((Fault::NoExecuteBit(_), _))));
        assert!(matches!(
            found(&plain, &path),
            Err((Fault::NoExecuteBit(_), _))
        ));
        assert_eq!(
            found(&tool, OsStr::new("")).unwrap(),
            tool,
            "a path needs no PATH"
        );
        assert!(matches!(
            found(Path::new("other"), &path),
            Err((Fault::Missing, _))
        ));
        assert!(matches!(
            found(Path::new(""), &path),
            Err((Fault::Missing, _))
        ));
        assert!(
            look_up(OsStr::new("sh"), None, None).is_ok(),
            "without any PATH"
        );
        let relative = |command: &str, cwd: &Path| {
            look_up(OsStr::new(command), Some(OsStr::new(".")), Some(cwd)).ok()
        };
        assert!(
            relative("./tool", two.path()).is_some(),
            "from its directory"
        );
        assert!(
            relative("tool", two.path()).is_some(),
            "a relative PATH too"
        );
        assert_eq!(relative("./tool", one.path()), None);
    }
}
