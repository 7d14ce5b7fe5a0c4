//! Whether the commands can be started: [`check`].
//!
//! What is missing today may come later, so most faults are warnings: the program is looked for again
//! with each client. A word that cannot be meant as a program stops the start.

use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};

use crate::config::{Config, Mode};
use crate::linux::spawn::{Fault, ShellWord, look_up};

/// Characters of a shell that are rare in the names of programs.
const OF_A_SHELL: &[char] = &['|', '&', ';', '<', '>', '$', '`', '*', '?', '(', '\n'];

/// Checks the program of each command.
///
/// Returns a warning for each that cannot be started yet.
///
/// # Errors
/// A program is a directory, a bare name that is not in PATH, or a whole command line in one word:
/// one line with the remedy.
pub(super) fn check(config: &Config, commands: &[Vec<OsString>]) -> Result<Vec<String>, String> {
    let path = path_of_commands(config);
    let cwd = config.command.cwd.as_deref();
    let find = |program: &OsStr| look_up(program, path.as_deref(), cwd);
    let mut warnings = Vec::new();
    for words in commands {
        let program = &words[0];
        let Err((fault, file)) = find(program) else {
            continue;
        };
        // The demo's shell was not named by the operator, and its echo works without.
        if config.mode != Mode::Demo
            && let Some(error) = refuse(program, &fault, cwd, |word| find(word).is_ok())
        {
            return Err(error);
        }
        let later = match fault {
            Fault::Missing => "; it may come later: each client looks for it again",
            _ => "",
        };
        let (shown, said) = (ShellWord(program), fault.say(file.as_os_str()));
        warnings.push(format!("{shown} cannot be started yet: {said}{later}"));
    }
    Ok(warnings)
}

/// The error for a word that cannot be meant as a program. `is_program` looks another word up.
fn refuse(
    program: &OsStr,
    fault: &Fault,
    cwd: Option<&Path>,
    is_program: impl Fn(&OsStr) -> bool,
) -> Option<String> {
    let text = program.to_string_lossy();
    let (shown, is_bare) = (ShellWord(program), !text.contains('/'));
    match fault {
        Fault::Directory if !is_bare => Some(serve_directory(program)),
        Fault::Missing | Fault::Directory => {
            let ends_word = |c: char| c.is_whitespace() || OF_A_SHELL.contains(&c);
            let first = text.split(ends_word).find(|word| !word.is_empty());
            let first = first.unwrap_or_default();
            if first != text {
                let is_command_line = is_bare || is_program(first.as_ref());
                return is_command_line.then(|| one_word(program, first));
            }
            if !is_bare {
                return None;
            }
            let here = cwd.map_or_else(|| PathBuf::from(program), |cwd| cwd.join(program));
            let remedy = if let Some((name, _)) = text.split_once('=')
                && !name.is_empty()
            {
                format!("for a variable of COMMAND, write --setenv={shown} before COMMAND")
            } else if here.is_dir() {
                return Some(serve_directory(program));
            } else if here.is_file() {
                let here = Path::new(".").join(program);
                let here = ShellWord(here.as_os_str()).to_string();
                format!("for the file in the directory of commands, write {here}")
            } else {
                "install it, correct its name, or write its path".to_owned()
            };
            Some(format!("there is no program {shown} in PATH: {remedy}"))
        }
        _ => None,
    }
}

fn serve_directory(directory: &OsStr) -> String {
    let shown = ShellWord(directory);
    format!(
        "{shown} is a directory, not a program: to serve the programs in it, write --dir={shown}"
    )
}

/// The error for a command line that is one word, because it was quoted.
fn one_word(line: &OsStr, first: &str) -> String {
    let shown = ShellWord(line);
    let text = line.to_string_lossy();
    if text.contains(OF_A_SHELL) || first.contains('=') {
        return format!(
            "{shown} is one word, and there is no program of that name: a shell can run it, so write \
             sh -c {shown}"
        );
    }
    let text = text.escape_debug();
    format!(
        "{shown} is one word, and there is no program of that name: leave out the quotes around \
         {text}"
    )
}

/// The PATH of the commands.
fn path_of_commands(config: &Config) -> Option<OsString> {
    let set = config
        .command
        .setenv
        .iter()
        .rev()
        .find(|(name, _)| name == "PATH");
    match set {
        Some((_, path)) => Some(path.clone()),
        None => std::env::var_os("PATH")
            .filter(|_| config.command.passenv.iter().any(|it| it == "PATH")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn checked(mode: Mode, word: &str) -> Result<Vec<String>, String> {
        let config = Config {
            mode,
            ..Config::default()
        };
        check(&config, &[vec![word.into()]])
    }

    #[test]
    fn a_word_that_cannot_be_a_program_is_refused_with_the_remedy() {
        // The tests run in the directory of the crate.
        for (word, says) in [
            (
                "no-such-program",
                "there is no program no-such-program in PATH: install it",
            ),
            (
                "Cargo.toml",
                "there is no program Cargo.toml in PATH: for the file in the directory of commands, write ./Cargo.toml",
            ),
            (
                "src",
                "src is a directory, not a program: to serve the programs in it, write --dir=src",
            ),
            ("./src", "write --dir=./src"),
            ("/", "write --dir=/"),
            ("A=b", "write --setenv=A=b before COMMAND"),
            (
                "ls -la",
                "'ls -la' is one word, and there is no program of that name: leave out the quotes around ls -la",
            ),
            ("ls -la /tmp", "leave out the quotes around ls -la /tmp"),
            ("cat | tr 'a' b", r"write sh -c 'cat | tr '\''a'\'' b'"),
            ("cat|tr a b", "write sh -c 'cat|tr a b'"),
            (
                "cat /etc/passwd | tr a b",
                "write sh -c 'cat /etc/passwd | tr a b'",
            ),
            ("A=b cat", "write sh -c 'A=b cat'"),
            ("/bin/cat >x", "write sh -c '/bin/cat >x'"),
            (" ", "' ' is one word"),
        ] {
            let error = checked(Mode::Command(vec![word.into()]), word).unwrap_err();
            assert!(error.contains(says), "{word}: {error}");
            // The same for a route.
            assert_eq!(checked(Mode::Routes, word), Err(error));
        }
    }

    #[test]
    fn a_path_that_is_missing_is_a_warning_that_says_that_it_may_come() {
        for word in [
            "/no/such/file",
            "./no-such",
            "no such/file",
            "/no/such/file -x",
        ] {
            let warnings = checked(Mode::Routes, word).unwrap();
            assert_eq!(warnings.len(), 1, "{word}: {warnings:?}");
            let says = "cannot be started yet: there is no such file; it may come later";
            assert!(warnings[0].contains(says), "{word}: {warnings:?}");
        }
        let warnings = checked(Mode::Routes, "./Cargo.toml").unwrap();
        assert!(
            warnings[0].contains("chmod +x ./Cargo.toml"),
            "{warnings:?}"
        );
        assert_eq!(checked(Mode::Routes, "cat"), Ok(Vec::new()));
        let demo = checked(Mode::Demo, "no-such-program").unwrap();
        assert_eq!(demo.len(), 1, "{demo:?}");
    }
}
