//! Why a file cannot be started as a program, and what the operator can do about it: [`Fault`].
//!
//! exec answers with an error number that fits several causes: ENOENT for a missing file and for a
//! missing interpreter, EACCES for a directory and for a missing x bit. So look at the file. This
//! happens at the start of the server, and after exec has failed.

use std::ffi::OsStr;
use std::fmt::{self, Write as _};
use std::fs::{self, File};
use std::io::{ErrorKind, Read};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::Path;

use nix::errno::Errno;
use nix::unistd::{AccessFlags, eaccess};

/// How much of a file is read to see what it is. The kernel reads 256 bytes of a `#!` line.
const HEAD_LEN: u64 = 4096;

/// Why a file cannot be started.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    /// There is no such file.
    Missing,
    /// It is a directory.
    Directory,
    /// It is a device, a pipe or a socket.
    Special,
    /// The system refuses to look at it, for example because a directory above it is closed.
    Closed(Errno),
    /// Nobody may execute it.
    NoExecuteBit(Content),
    /// Somebody may execute it, but not this user, or not on this file system.
    NotAllowed,
    /// It may be executed, but the kernel knows no way to.
    UnknownFormat(Content),
    /// It names an interpreter that does not exist or may not be executed.
    NoInterpreter {
        /// Its path, escaped.
        interpreter: String,
        /// Of a script. Otherwise: the loader of a program.
        is_script: bool,
        /// Whether it exists.
        is_there: bool,
    },
}

/// What a file contains, as far as its first bytes show.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Content {
    /// A script that begins with `#!`.
    Script,
    /// A program of this or another machine (ELF).
    Program,
    /// Other text; also an empty file.
    Text,
    /// Other bytes.
    Data,
    /// The file may not be read.
    Unknown,
}

/// Checks that a file could be started: that it exists and may be executed, and that its interpreter
/// exists.
pub(super) fn check(file: &Path) -> Result<(), Fault> {
    may_execute(file)?;
    let Some(head) = head_of(file) else {
        return Ok(());
    };
    match content_of(&head) {
        Content::Text if !binfmt_misc_is_used() => Err(Fault::UnknownFormat(Content::Text)),
        Content::Data if !binfmt_misc_is_used() => Err(Fault::UnknownFormat(Content::Data)),
        _ => interpreter_exists(&head),
    }
}

/// Checks that a path is a file that the server's user may execute.
pub(super) fn may_execute(file: &Path) -> Result<(), Fault> {
    let found = fs::metadata(file).map_err(|error| match error.kind() {
        ErrorKind::NotFound | ErrorKind::NotADirectory => Fault::Missing,
        _ => Fault::Closed(Errno::from_raw(error.raw_os_error().unwrap_or_default())),
    })?;
    if found.is_dir() {
        return Err(Fault::Directory);
    }
    if !found.is_file() {
        return Err(Fault::Special);
    }
    eaccess(file, AccessFlags::X_OK).map_err(|_| match found.permissions().mode() & 0o111 {
        0 => Fault::NoExecuteBit(head_of(file).map_or(Content::Unknown, |it| content_of(&it))),
        _ => Fault::NotAllowed,
    })
}

/// A line about a file that cannot be started: its path, why, and the remedy.
pub(crate) fn why_not(file: &Path) -> Option<String> {
    let (fault, word) = (check(file).err()?, file.as_os_str());
    Some(format!("{}: {}", ShellWord(word), fault.say(word)))
}

/// What the kernel could not execute, although it may be executed.
pub(super) fn unknown_format(file: &Path) -> Fault {
    Fault::UnknownFormat(head_of(file).map_or(Content::Unknown, |head| content_of(&head)))
}

/// The first bytes of a regular file; `None` if it may not be read.
fn head_of(file: &Path) -> Option<Vec<u8>> {
    // The file may have been replaced by a pipe, and opening that would block.
    let flags = libc::O_NONBLOCK | libc::O_NOCTTY;
    let file = File::options().read(true).custom_flags(flags).open(file);
    let file = file.ok()?;
    let mut head = Vec::new();
    file.metadata().ok().filter(fs::Metadata::is_file)?;
    file.take(HEAD_LEN).read_to_end(&mut head).ok()?;
    Some(head)
}

fn content_of(head: &[u8]) -> Content {
    let is_text =
        |byte: &u8| !byte.is_ascii_control() || byte.is_ascii_whitespace() || *byte == 0x1B;
    if head.starts_with(b"#!") {
        Content::Script
    } else if head.starts_with(b"\x7fELF") {
        Content::Program
    } else if head.iter().all(is_text) {
        Content::Text
    } else {
        Content::Data
    }
}

/// Whether other formats were registered, which only the kernel can tell (binfmt_misc).
fn binfmt_misc_is_used() -> bool {
    let formats = fs::read_dir("/proc/sys/fs/binfmt_misc")
        .into_iter()
        .flatten();
    let mut names = formats.flatten().map(|entry| entry.file_name());
    names.any(|name| name != "register" && name != "status")
}

/// Checks that the interpreter exists that a script or a program names.
fn interpreter_exists(head: &[u8]) -> Result<(), Fault> {
    let (interpreter, is_script) = match content_of(head) {
        Content::Script => (interpreter_of_script(head), true),
        Content::Program => (loader_of_program(head), false),
        _ => return Ok(()),
    };
    let Some(interpreter) = interpreter.filter(|path| !path.is_empty()) else {
        return Ok(());
    };
    let found = may_execute(Path::new(OsStr::from_bytes(interpreter)));
    found.map_err(|fault| Fault::NoInterpreter {
        interpreter: interpreter.escape_ascii().to_string(),
        is_script,
        is_there: fault != Fault::Missing,
    })
}

/// The path behind `#!`, up to a blank or the end of the line (execve(2)). A `\r` belongs to it.
fn interpreter_of_script(head: &[u8]) -> Option<&[u8]> {
    let is_blank = |byte: &u8| matches!(byte, b' ' | b'\t');
    let line = head
        .strip_prefix(b"#!")?
        .split(|byte| *byte == b'\n')
        .next()?;
    let start = line.iter().position(|byte| !is_blank(byte))?;
    let path = line[start..].split(|byte| is_blank(byte) || *byte == 0);
    path.into_iter().next()
}

/// The loader that a program asks for (PT_INTERP, elf(5)); `None`: it needs none, or its header is
/// not within `head`.
fn loader_of_program(head: &[u8]) -> Option<&[u8]> {
    const PT_INTERP: usize = 3;
    let number = |at: usize, len: usize| -> Option<usize> {
        let bytes = head.get(at..at.checked_add(len)?)?;
        let fold = |number: usize, byte: &u8| number << 8 | usize::from(*byte);
        Some(match cfg!(target_endian = "little") {
            true => bytes.iter().rev().fold(0, fold),
            false => bytes.iter().fold(0, fold),
        })
    };
    // Where the fields are in a header of 64 and of 32 bits, and how long an address is.
    let is_64 = *head.get(4)? == 2;
    let (table, entry_len, count, offset, len, word) = match is_64 {
        true => (0x20, 0x36, 0x38, 8, 32, 8),
        false => (0x1C, 0x2A, 0x2C, 4, 16, 4),
    };
    let (table, entry_len) = (number(table, word)?, number(entry_len, 2)?);
    for index in 0..number(count, 2)? {
        let entry = table.checked_add(index.checked_mul(entry_len)?)?;
        if number(entry, 4)? == PT_INTERP {
            let start = number(entry.checked_add(offset)?, word)?;
            let len = number(entry.checked_add(len)?, word)?;
            let path = head.get(start..start.checked_add(len)?)?;
            return path.split(|byte| *byte == 0).next();
        }
    }
    None
}

impl Fault {
    /// What is wrong and the remedy, in one line. `file` is how to write the file's name or path.
    pub(crate) fn say(&self, file: &OsStr) -> String {
        let file = ShellWord(file);
        match self {
            Fault::Missing => "there is no such file".to_owned(),
            Fault::Directory => "it is a directory".to_owned(),
            Fault::Special => "it is neither a file nor a directory".to_owned(),
            Fault::Closed(errno) => format!("the system does not show it: {}", errno.desc()),
            Fault::NoExecuteBit(Content::Data) => "it is a data file, not a program".to_owned(),
            Fault::NoExecuteBit(Content::Text) => format!(
                "it is not executable: chmod +x {file}; and a script begins with a line that names \
                 its interpreter, such as #!/bin/sh"
            ),
            Fault::NoExecuteBit(_) => format!("it is not executable: chmod +x {file}"),
            Fault::NotAllowed => format!(
                "this user may not execute it: ls -l {file} shows who may; or its file system is \
                 mounted with noexec"
            ),
            Fault::UnknownFormat(Content::Text) => {
                "it is a script without #!: begin it with a line that names its interpreter, such \
                 as #!/bin/sh"
                    .to_owned()
            }
            Fault::UnknownFormat(Content::Script) => {
                "its first line, which begins with #!, names no interpreter: write one, such as \
                 #!/bin/sh"
                    .to_owned()
            }
            Fault::UnknownFormat(Content::Program) => {
                "it is a program for another kind of machine".to_owned()
            }
            Fault::UnknownFormat(Content::Data) => "it is a data file, not a program".to_owned(),
            Fault::UnknownFormat(Content::Unknown) => {
                "it is no program of this machine, and no script that begins with #!".to_owned()
            }
            Fault::NoInterpreter { interpreter, .. } if interpreter.ends_with("\\r") => format!(
                "its interpreter \"{interpreter}\" is not there, because its lines end in \\r\\n: \
                 sed -i 's/\\r$//' {file}"
            ),
            Fault::NoInterpreter {
                interpreter,
                is_there: true,
                ..
            } => format!("its interpreter \"{interpreter}\" may not be executed"),
            Fault::NoInterpreter {
                interpreter,
                is_script: true,
                ..
            } => format!(
                "its interpreter \"{interpreter}\" is not there: install it, or correct the first \
                 line"
            ),
            Fault::NoInterpreter { interpreter, .. } => format!(
                "its loader \"{interpreter}\" is not there: it was built for another system"
            ),
        }
    }
}

/// A word as a shell must read it, in quotes only if it needs them. Control characters are escaped,
/// so it stays one line.
pub(crate) struct ShellWord<'a>(pub(crate) &'a OsStr);

impl fmt::Display for ShellWord<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let word = self.0.to_string_lossy();
        let is_plain = |c: char| c.is_alphanumeric() || "/._-+,:@%=".contains(c);
        let is_quoted = word.is_empty() || !word.chars().all(is_plain);
        let quote = if is_quoted { "'" } else { "" };
        f.write_str(quote)?;
        for character in word.chars() {
            match character {
                '\'' => f.write_str("'\\''")?,
                control if control.is_control() => write!(f, "{}", control.escape_debug())?,
                plain => f.write_char(plain)?,
            }
        }
        f.write_str(quote)
    }
}

#[cfg(test)]
mod tests;
