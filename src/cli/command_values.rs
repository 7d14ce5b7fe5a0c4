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
mod tests;
