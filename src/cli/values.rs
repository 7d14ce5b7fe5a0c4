//! Reads the values of options: numbers, times, sizes, lists and their items, routes.
//!
//! Each function takes the text of a value. Its error says what to write instead.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::Duration;

use super::shell_words;
use crate::config::{Route, Target};
use crate::http::path::Path;
use crate::http::policy::{check_host_entry, check_origin_entry};
use crate::http::reserved::is_reserved;
use crate::limits::{DURATION_MAX, SIZE_MAX};
use crate::process::environment;

/// A number from `min` to `max`.
pub(super) fn number(text: &str, min: u32, max: u32) -> Result<u32, String> {
    let number = text.parse().ok();
    number
        .filter(|number| (min..=max).contains(number))
        .ok_or_else(|| format!("write a number from {min} to {max}"))
}

/// As [`number`], for counts of things in memory.
pub(super) fn count(text: &str, min: u32, max: u32) -> Result<usize, String> {
    number(text, min, max).map(|number| number as usize)
}

/// A time longer than 0.
pub(super) fn time(text: &str) -> Result<Duration, String> {
    parse_time(text, Duration::from_millis(1))
}

/// A time that may be 0.
pub(super) fn time_or_zero(text: &str) -> Result<Duration, String> {
    parse_time(text, Duration::ZERO)
}

/// A time that may be 0 and must have a unit. Some readers would take a bare number for
/// milliseconds, others for seconds; only 0 is the same in both.
pub(super) fn time_with_unit(text: &str) -> Result<Duration, String> {
    let (digits, unit) = split_unit(text);
    if unit.is_empty() && !digits.is_empty() && digits != "0" {
        return Err(format!("name the unit: write {digits}ms or {digits}s"));
    }
    time_or_zero(text)
}

/// A time with its unit (`250ms`, `10s`, `2m`, `1h`) or a bare number of seconds; at least `min`
/// and at most [`DURATION_MAX`].
fn parse_time(text: &str, min: Duration) -> Result<Duration, String> {
    let (digits, unit) = split_unit(text);
    let unit = match unit {
        "ms" => Some(Duration::from_millis(1)),
        "" | "s" => Some(Duration::from_secs(1)),
        "m" => Some(Duration::from_secs(60)),
        "h" => Some(Duration::from_secs(60 * 60)),
        _ => None,
    };
    let number = digits.parse::<u32>().ok();
    let time = unit.and_then(|unit| unit.checked_mul(number?));
    time.filter(|time| (min..=DURATION_MAX).contains(time))
        .ok_or_else(|| {
            let above = if min.is_zero() {
                ""
            } else {
                "longer than 0 and "
            };
            format!("write a time such as 250ms, 10s or 2m, {above}at most 24h")
        })
}

/// A size in bytes, bare or in units of 1,024 (`64k`, `1M`, `1G`); at least `min` and at most
/// [`SIZE_MAX`].
pub(super) fn size(text: &str, min: usize) -> Result<usize, String> {
    let size = bytes(text).and_then(|size| usize::try_from(size).ok());
    size.filter(|size| (min..=SIZE_MAX).contains(size))
        .ok_or_else(|| format!("write a size such as 64k or 1M, from {min} to 1G"))
}

/// A size of memory in bytes, as [`size`] but without a maximum. A size that exceeds the address space
/// counts as all of it.
pub(super) fn memory_size(text: &str) -> Result<usize, String> {
    let size = bytes(text).map(|size| usize::try_from(size).unwrap_or(usize::MAX));
    size.ok_or_else(|| "write a size such as 64M or 2G".to_owned())
}

fn bytes(text: &str) -> Option<u64> {
    let (digits, unit) = split_unit(text);
    let unit = match unit {
        "" => 1,
        "k" | "K" => 1024,
        "m" | "M" => 1024 * 1024,
        "g" | "G" => 1024 * 1024 * 1024,
        _ => return None,
    };
    digits.parse::<u64>().ok()?.checked_mul(unit)
}

/// Splits `10s` into `10` and `s`.
fn split_unit(text: &str) -> (&str, &str) {
    let unit = text.find(|c: char| !c.is_ascii_digit());
    text.split_at(unit.unwrap_or(text.len()))
}

/// `yes` or `no`.
pub(super) fn yes_or_no(text: &str) -> Result<bool, String> {
    match text {
        "yes" => Ok(true),
        "no" => Ok(false),
        _ => Err("write yes or no".to_owned()),
    }
}

/// The items of a list, separated by commas, without the blanks around them. Each must pass
/// `check`, whose error says what an item looks like.
pub(super) fn list(text: &str, check: fn(&str) -> Result<(), String>) -> Result<Vec<&str>, String> {
    let items = text.split(',').map(str::trim);
    items.map(|item| check(item).map(|()| item)).collect()
}

/// An IP address, IPv6 with or without brackets. `localhost` is 127.0.0.1 only: on a kernel without
/// IPv6, which small devices use, ::1 could not be bound. Other host names are refused, because a
/// lookup can take long and its answer can change.
pub(super) fn address(text: &str) -> Result<IpAddr, String> {
    if text == "localhost" {
        return Ok(IpAddr::V4(Ipv4Addr::LOCALHOST));
    }
    if let Ok(with_port) = text.parse::<SocketAddr>() {
        let (ip, port) = (with_port.ip(), with_port.port());
        return Err(format!(
            "the port is an option: --address={ip} --port={port}"
        ));
    }
    let bare = text
        .strip_prefix('[')
        .and_then(|rest| rest.strip_suffix(']'));
    let address = match bare {
        Some(bare) => bare.parse().ok().filter(IpAddr::is_ipv6),
        None => text.parse().ok(),
    };
    // An IPv6 socket is IPV6_V6ONLY here, so ::ffff:10.0.0.1 means the IPv4 address.
    address
        .map(|address| address.to_canonical())
        .ok_or_else(|| {
            "write an IP address: 192.168.1.2, or 0.0.0.0 for all of IPv4, [::] for all of IPv6"
                .to_owned()
        })
}

/// Checks an origin: `https://app.example`, `app.example:8443`, `file://`, `null`, or `any`.
pub(super) fn origin(text: &str) -> Result<(), String> {
    match text {
        "any" => Ok(()),
        entry => check_origin_entry(entry),
    }
}

/// Checks a host name: letters, digits, `-`, `_` and dots, or an IP address.
pub(super) fn host_name(text: &str) -> Result<(), String> {
    check_host_entry(text)
}

/// Checks a sub-protocol's name: a token (RFC 6455, section 4.1; RFC 9110, section 5.6.2).
pub(super) fn token(text: &str) -> Result<(), String> {
    let tchar = |b: u8| b.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&b);
    let fits = !text.is_empty() && text.bytes().all(tchar);
    must(
        fits,
        "a sub-protocol is a name such as chat or v2.example.com",
    )
}

/// Checks the name of an environment variable that may be inherited: it does not describe the
/// request. An empty name is accepted, because an empty list is one empty item.
pub(super) fn variable(text: &str) -> Result<(), String> {
    let fits = !text.contains(['=', '\0']);
    must(fits, "write names of variables alone, such as PATH,TERM")?;
    let free = !environment::is_request_variable(text);
    must(
        free,
        "variables that are set for each request cannot be inherited",
    )
}

/// A route: `/path=COMMAND`, where [`shell_words::split`] splits COMMAND, or `/path=echo:`. The
/// first `=` ends the path.
pub(super) fn route(text: &str) -> Result<Route, String> {
    let Some((path, target)) = text.split_once('=') else {
        return Err("write a path and a command: --route=/log='tail -f log.txt'".to_owned());
    };
    let path = route_path(path)?;
    let target = match target {
        "echo:" => Target::Echo,
        command => {
            let words = shell_words::split(command)?;
            if words.first().is_none_or(String::is_empty) {
                return Err("name a program behind the path, or echo:".to_owned());
            }
            Target::Command(words.into_iter().map(Into::into).collect())
        }
    };
    Ok(Route { path, target })
}

/// The path of a route; the root, `/`, becomes empty. Browsers remove `.` and `..` from a path, so
/// a route that contains them could not be reached.
fn route_path(path: &str) -> Result<String, String> {
    if path == "/" {
        return Ok(String::new());
    }
    let mut segments = path.split('/').skip(1);
    let fits = path.starts_with('/')
        && segments.all(|segment| !matches!(segment, "" | "." | ".."))
        && !path.contains(|c: char| c.is_control() || "?#%".contains(c));
    must(
        fits,
        "a path begins with / and does not end with one: /log or /a/b, \
         without . and .., and not percent-encoded",
    )?;
    must(
        !is_reserved(&Path::plain(path)),
        "/healthz and /.wspipe are the server's own: choose another path",
    )?;
    Ok(path.to_owned())
}

fn must(fits: bool, otherwise: &str) -> Result<(), String> {
    if fits {
        Ok(())
    } else {
        Err(otherwise.to_owned())
    }
}

#[cfg(test)]
mod tests;
