//! The console page and its files, compiled in, and what the page must know about the server.

use super::answer::{Offer, Site};
use super::response::{Fields, Response, Status};

/// Whence the page may load and where it may connect: nowhere but here. No other page may frame
/// it, so that none can have a shell typed into under a false picture.
const FIELDS: Fields = &[
    (
        "Content-Security-Policy",
        "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; \
         img-src 'self' data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    ),
    ("Referrer-Policy", "no-referrer"),
    ("Cache-Control", "no-cache"),
];

/// Path, media type and content of each file in `www/`.
const FILES: &[(&str, &str, &[u8])] = &[
    ("/", HTML, include_bytes!("../../www/index.html")),
    (
        "/.wspipe/console.css",
        CSS,
        include_bytes!("../../www/console.css"),
    ),
    (
        "/.wspipe/console.js",
        JAVASCRIPT,
        include_bytes!("../../www/console.js"),
    ),
];

const HTML: &str = "text/html; charset=utf-8";
const CSS: &str = "text/css; charset=utf-8";
const JAVASCRIPT: &str = "text/javascript; charset=utf-8";

/// Where [`config_json`] is found.
pub const CONFIG_PATH: &str = "/.wspipe/config.json";

/// The file at `path`, if there is one.
pub fn find(path: &str) -> Option<Response<'static>> {
    let (_, content_type, body) = FILES.iter().find(|(at, _, _)| *at == path)?;
    Some(page(content_type, body))
}

/// A response with what [`config_json`] says.
pub fn config(json: &str) -> Response<'_> {
    page("application/json", json.as_bytes())
}

fn page<'a>(content_type: &'a str, body: &'a [u8]) -> Response<'a> {
    Response {
        status: Status::Ok,
        fields: FIELDS,
        content_type,
        body,
    }
}

/// What the page must know to offer what the server does: its version, and where echo and the
/// command are found, as paths relative to the page (so that a proxy may put it below any path).
/// `null` stands for what is not served.
pub fn config_json(site: &Site) -> String {
    let (echo, shell_path) = match site.offer {
        Offer::Demo { shell } => (Some("echo"), shell.then_some("ws")),
        Offer::Command => (None, Some("")),
        Offer::Echo => (Some(""), None),
    };
    let echo = echo.map_or("null".to_owned(), json_string);
    let shell = shell_path.map_or("null".to_owned(), |path| {
        format!(
            r#"{{"path":{},"command":{},"binary":{}}}"#,
            json_string(path),
            json_string(&site.command_name),
            site.binary,
        )
    });
    let version = json_string(env!("CARGO_PKG_VERSION"));
    format!(r#"{{"version":{version},"echo":{echo},"shell":{shell}}}"#)
}

/// A string in JSON (RFC 8259 section 7).
fn json_string(text: &str) -> String {
    let mut json = String::with_capacity(text.len() + 2);
    json.push('"');
    for character in text.chars() {
        match character {
            '"' | '\\' => json.extend(['\\', character]),
            '\0'..='\x1f' => json.push_str(&format!("\\u{:04x}", u32::from(character))),
            _ => json.push(character),
        }
    }
    json.push('"');
    json
}

#[cfg(test)]
mod tests {
    use super::super::policy::Policy;
    use super::*;

    fn site(offer: Offer, command_name: &str, binary: bool) -> Site {
        Site {
            offer,
            command_name: command_name.to_owned(),
            binary,
            subprotocols: Vec::new(),
            policy: Policy::new(vec![], false, vec![], String::new(), true).unwrap(),
        }
    }

    #[test]
    fn the_page_is_told_what_is_served() {
        let version = env!("CARGO_PKG_VERSION");
        #[rustfmt::skip]
        let cases = [
            (site(Offer::Demo { shell: true }, "sh", false), r#""echo":"echo","shell":{"path":"ws","command":"sh","binary":false}"#),
            (site(Offer::Demo { shell: false }, "sh", false), r#""echo":"echo","shell":null"#),
            (site(Offer::Command, "a \"b\"\\\n\u{fc}", true), r#""echo":null,"shell":{"path":"","command":"a \"b\"\\\u000aü","binary":true}"#),
            (site(Offer::Echo, "", false), r#""echo":"","shell":null"#),
        ];
        for (site, rest) in cases {
            assert_eq!(
                config_json(&site),
                format!(r#"{{"version":"{version}",{rest}}}"#)
            );
        }
    }

    #[test]
    fn every_file_is_found_at_its_path_alone() {
        for (path, content_type, body) in FILES {
            let response = find(path).unwrap();
            assert_eq!(
                (response.content_type, response.body),
                (*content_type, *body)
            );
            assert!(find(&format!("{path}x")).is_none());
        }
        for path in [
            "",
            "//",
            "/index.html",
            "/.wspipe",
            "/.wspipe/",
            "/.wspipe/../",
        ] {
            assert!(find(path).is_none(), "{path:?}");
        }
    }

    #[test]
    fn the_page_may_load_from_here_only() {
        let (name, value) = FIELDS[0];
        assert_eq!(name, "Content-Security-Policy");
        assert!(value.starts_with("default-src 'none';"), "{value}");
        assert!(value.ends_with("frame-ancestors 'none'"), "{value}");
        assert!(
            !value.contains("  ") && !value.contains("unsafe"),
            "{value}"
        );
    }
}
