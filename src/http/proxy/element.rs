//! The grammar of `Forwarded` (RFC 7239 section 4).

use super::{Remote, parse_node, parse_scheme};
use crate::http::token::is_token;

/// The report of one proxy about its peer: a forwarded-element (RFC 7239 section 4).
#[derive(Clone, Copy, Default)]
pub(super) struct Element {
    pub(super) node: Option<Remote>,
    pub(super) https: Option<bool>,
}

/// Parses the elements of one header line. `None` if it breaks the grammar. For example, a client
/// may leave a quoted string open to swallow what the proxy appends.
pub(super) fn parse_elements(line: &[u8]) -> Option<Vec<Element>> {
    let mut rest = std::str::from_utf8(line).ok()?.trim_ascii();
    let mut elements = Vec::new();
    let mut pairs = Pairs::default();
    loop {
        // Search only where a pair begins: a search from each of many separators would take
        // quadratic time.
        if !rest.starts_with([',', ';'])
            && let Some(name_len) = rest.find('=')
        {
            let name = &rest[..name_len];
            let (value, after) = parse_value(&rest[name_len + 1..])?;
            pairs.add(name, value)?;
            rest = after.trim_ascii_start();
        }
        let separator = rest.chars().next();
        // Empty members of a list do not count (RFC 9110 section 5.6.1).
        if matches!(separator, None | Some(',')) && pairs.any {
            elements.push(std::mem::take(&mut pairs).element());
        }
        match separator {
            None => return Some(elements),
            Some(',' | ';') => rest = rest[1..].trim_ascii_start(),
            Some(_) => return None,
        }
    }
}

/// The pairs of one element; only `for` and `proto` matter.
#[derive(Default)]
struct Pairs {
    any: bool,
    node: Option<String>,
    scheme: Option<String>,
}

impl Pairs {
    /// `None` for an invalid name or a repeated one (RFC 7239 section 4).
    fn add(&mut self, name: &str, value: String) -> Option<()> {
        if !is_token(name.as_bytes()) {
            return None;
        }
        self.any = true;
        let known = if name.eq_ignore_ascii_case("for") {
            &mut self.node
        } else if name.eq_ignore_ascii_case("proto") {
            &mut self.scheme
        } else {
            return Some(());
        };
        match known.replace(value) {
            None => Some(()),
            Some(_) => None,
        }
    }

    fn element(self) -> Element {
        Element {
            node: self.node.and_then(|node| parse_node(node.as_bytes())),
            https: self
                .scheme
                .and_then(|scheme| parse_scheme(scheme.as_bytes())),
        }
    }
}

/// Splits a value off the front: a quoted string, which loses its quotes, or a plain value. A plain
/// value may contain more than a token, because some proxies write `for=10.0.0.1:80` unquoted.
fn parse_value(text: &str) -> Option<(String, &str)> {
    let Some(quoted) = text.strip_prefix('"') else {
        let len = text.find([',', ';', ' ', '\t']).unwrap_or(text.len());
        let (value, rest) = text.split_at(len);
        return (!value.contains('"')).then(|| (value.to_owned(), rest));
    };
    let mut value = String::new();
    let mut chars = quoted.char_indices();
    while let Some((index, char)) = chars.next() {
        match char {
            '"' => return Some((value, &quoted[index + 1..])),
            '\\' => value.push(chars.next()?.1),
            char => value.push(char),
        }
    }
    None
}
