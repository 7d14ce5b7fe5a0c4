//! Reads the values of options that say how a command starts: variables, directory, mask,
//! priority, signal, resource limits, users.
//!
//! As in `values.rs`, an error says what to write instead.

use std::ffi::OsString;
use std::path::PathBuf;

use crate::config::{Resource, ResourceLimit, Signal};
use crate::process::environment;

/// The name of a variable and its value. A variable that describes the request is refused, because
/// the request of a client would overwrite it.
pub(super) fn assignment(text: &str) -> Result<(OsString, OsString), String> {
    let (name, value) = text.split_once('=').unwrap_or_default();
    if name.is_empty() || text.contains('\0') {
        return Err("write a variable and its value: NAME=VALUE".to_owned());
    }
    if environment::is_request_variable(name) {
        return Err(format!(
            "{name} is set for each request: choose another name"
        ));
    }
    Ok((name.into(), value.into()))
}

/// The path of a directory. It need not exist yet.
pub(super) fn directory(text: &str) -> Result<PathBuf, String> {
    if text.is_empty() || text.contains('\0') {
        return Err("write the path of a directory".to_owned());
    }
    Ok(text.into())
}

/// A file mode creation mask in octal (umask(2)), from 0 to 0o777.
pub(super) fn umask(text: &str) -> Result<u32, String> {
    let octal = !text.is_empty() && text.bytes().all(|byte| matches!(byte, b'0'..=b'7'));
    let mask = u32::from_str_radix(text, 8).ok().filter(|_| octal);
    mask.filter(|mask| *mask <= 0o777)
        .ok_or_else(|| "write an octal number from 0 to 777, such as 027".to_owned())
}

/// A nice value, from -20 to 19.
pub(super) fn nice(text: &str) -> Result<i32, String> {
    let nice = text.parse().ok();
    nice.filter(|nice| (-20..=19).contains(nice))
        .ok_or_else(|| "write a number from -20 to 19".to_owned())
}

/// A signal by its name, in upper or lower case, with or without SIG.
pub(super) fn signal(text: &str) -> Result<Signal, String> {
    let name = text.to_ascii_uppercase();
    let name = name.strip_prefix("SIG").unwrap_or(&name);
    let found = Signal::NAMES.iter().find(|(known, _)| *known == name);
    found.map(|(_, signal)| *signal).ok_or_else(|| {
        let names = Signal::NAMES.map(|(name, _)| name).join(", ");
        let (others, last) = names.rsplit_once(", ").unwrap_or_default();
        format!("write {others} or {last}")
    })
}

/// A resource and its limit: bytes with k, M or G for sizes, a plain number of seconds, descriptors
/// or processes for the others, or `unlimited`.
pub(super) fn rlimit(text: &str) -> Result<(Resource, ResourceLimit), String> {
    let (name, value) = text.split_once(':').unwrap_or((text, ""));
    let found = Resource::NAMES.iter().find(|(known, _)| *known == name);
    let Some(&(name, resource)) = found else {
        let names = Resource::NAMES.map(|(name, _)| name).join(", ");
        return Err(format!("write NAME:VALUE, where NAME is one of {names}"));
    };
    if value == "unlimited" {
        return Ok((resource, None));
    }
    let counted = match resource {
        Resource::Cpu => Some("seconds"),
        Resource::Nofile => Some("descriptors"),
        Resource::Nproc => Some("processes"),
        _ => None,
    };
    let (digits, unit) = match counted {
        Some(_) => (value, Some(1)),
        None => bytes_unit(value),
    };
    let plain = digits.bytes().all(|byte| byte.is_ascii_digit());
    let number = digits.parse::<u64>().ok().filter(|_| plain);
    let limit = unit.and_then(|unit: u64| number?.checked_mul(unit));
    match (limit, counted) {
        (Some(limit), _) => Ok((resource, Some(limit))),
        (None, Some(what)) => Err(format!(
            "write {name}: and a number of {what}, or unlimited"
        )),
        (None, None) => Err(format!(
            "write {name}: and a size such as 64M or 1G, or unlimited"
        )),
    }
}

/// Splits `64k` into `64` and 1,024.
fn bytes_unit(text: &str) -> (&str, Option<u64>) {
    let at = text.find(|c: char| !c.is_ascii_digit());
    let (digits, unit) = text.split_at(at.unwrap_or(text.len()));
    let unit = match unit {
        "" => Some(1),
        "k" | "K" => Some(1 << 10),
        "m" | "M" => Some(1 << 20),
        "g" | "G" => Some(1 << 30),
        _ => None,
    };
    (digits, unit)
}

/// The name or number of a user or group. Whether it exists is checked at the start.
pub(super) fn account(text: &str) -> Result<String, String> {
    if text.is_empty() || text.contains([':', '\n', '\0']) {
        return Err("write a name or a number".to_owned());
    }
    Ok(text.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn assignments() {
        let pair = |name: &str, value: &str| Ok((name.into(), value.into()));
        assert_eq!(assignment("A=b"), pair("A", "b"));
        assert_eq!(assignment("A="), pair("A", ""));
        assert_eq!(assignment("A=b=c d"), pair("A", "b=c d"));
        assert_eq!(
            assignment("HTTP_PROXY=http://a:1"),
            pair("HTTP_PROXY", "http://a:1")
        );
        for text in ["", "A", "=", "=b", "A=\0"] {
            assert!(
                assignment(text).unwrap_err().contains("NAME=VALUE"),
                "{text}"
            );
        }
        for text in ["REMOTE_ADDR=1.2.3.4", "HTTP_X_ROLE=admin", "HTTPS=on"] {
            assert!(
                assignment(text).unwrap_err().contains("each request"),
                "{text}"
            );
        }
    }

    #[test]
    fn masks() {
        for (text, mask) in [("0", 0), ("022", 0o22), ("27", 0o27), ("0777", 0o777)] {
            assert_eq!(umask(text), Ok(mask), "{text}");
        }
        for text in [
            "",
            "1000",
            "8",
            "0o22",
            "+22",
            "-1",
            "u=rwx",
            "77777777777777",
        ] {
            assert!(umask(text).unwrap_err().contains("octal"), "{text}");
        }
    }

    #[test]
    fn nice_values() {
        assert_eq!(nice("-20"), Ok(-20));
        assert_eq!(nice("19"), Ok(19));
        for text in ["", "-21", "20", "high", "1.5"] {
            let message = nice(text).unwrap_err();
            assert_eq!(message, "write a number from -20 to 19", "{text}");
        }
    }

    #[test]
    fn signals() {
        for (name, expected) in Signal::NAMES {
            for text in [name.to_owned(), format!("SIG{name}"), name.to_lowercase()] {
                assert_eq!(signal(&text), Ok(expected), "{text}");
            }
        }
        for text in ["", "SIG", "2", "STOP", "INT ", "SIGSIGINT"] {
            assert!(
                signal(text).unwrap_err().ends_with("WINCH or KILL"),
                "{text}"
            );
        }
    }

    #[test]
    fn resource_limits() {
        let good = [
            ("as:1G", Resource::As, Some(1 << 30)),
            ("as:64g", Resource::As, Some(64 << 30)),
            ("core:0", Resource::Core, Some(0)),
            ("cpu:60", Resource::Cpu, Some(60)),
            ("data:512M", Resource::Data, Some(512 << 20)),
            ("fsize:10k", Resource::Fsize, Some(10 << 10)),
            ("nofile:64", Resource::Nofile, Some(64)),
            ("nproc:100", Resource::Nproc, Some(100)),
            ("stack:unlimited", Resource::Stack, None),
            ("core:unlimited", Resource::Core, None),
        ];
        for (text, resource, limit) in good {
            assert_eq!(rlimit(text), Ok((resource, limit)), "{text}");
        }
        let bad = [
            ("", "one of as, core"),
            ("rss:1M", "one of as, core"),
            ("AS:1M", "one of as, core"),
            ("as", "write as: and a size"),
            ("as:", "write as: and a size"),
            ("as:k", "write as: and a size"),
            ("as:-1", "write as: and a size"),
            ("as:1T", "write as: and a size"),
            ("as:99999999999G", "write as: and a size"),
            ("as:1:2", "write as: and a size"),
            ("cpu:1m", "a number of seconds"),
            ("nofile:1k", "a number of descriptors"),
            ("nproc:+1", "a number of processes"),
        ];
        for (text, says) in bad {
            let message = rlimit(text).unwrap_err();
            assert!(message.contains(says), "{text}: {message}");
        }
    }

    #[test]
    fn accounts() {
        assert_eq!(account("www-data"), Ok("www-data".to_owned()));
        assert_eq!(account("1000"), Ok("1000".to_owned()));
        for text in ["", "a:b", "a\nb", "a\0"] {
            assert!(account(text).is_err(), "{text}");
        }
    }
}
