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

/// Names and contents of files in `www/`.
macro_rules! files {
    ($($name:literal)*) => {
        &[$(($name, include_bytes!(concat!("../../www/", $name)) as &[u8])),*]
    };
}

/// All that `www/` holds: the first is the page at `/`, the others are found under [`FILES_PATH`].
const FILES: &[(&str, &[u8])] = files!["index.html" "console.css" "console.js" "backlog.js" "connection.js" "echo.js" "ending.js" "icon.svg" "log.js" "panel.js" "prompt.js" "shell.js" "socket.js" "words.js"];

const PAGE_NAME: &str = "index.html";
const FILES_PATH: &str = "/.wspipe/";

/// Where [`config_json`] is found.
pub const CONFIG_PATH: &str = "/.wspipe/config.json";

/// The page or the file at `path`, if there is one.
pub fn find(path: &str) -> Option<Response<'static>> {
    let wanted = match path {
        "/" => PAGE_NAME,
        path => path
            .strip_prefix(FILES_PATH)
            .filter(|name| *name != PAGE_NAME)?,
    };
    let (name, body) = FILES.iter().find(|(name, _)| *name == wanted)?;
    Some(page(media_type(name), body))
}

/// The media type that a file's name stands for. With `nosniff` a browser takes no other's word.
fn media_type(name: &str) -> &'static str {
    match name.rsplit('.').next() {
        Some("html") => "text/html; charset=utf-8",
        Some("css") => "text/css; charset=utf-8",
        Some("js") => "text/javascript; charset=utf-8",
        Some("svg") => "image/svg+xml",
        _ => "application/octet-stream",
    }
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
    fn every_file_of_www_is_served_with_its_type() {
        let www = concat!(env!("CARGO_MANIFEST_DIR"), "/www");
        let mut names_len = 0;
        for entry in std::fs::read_dir(www).unwrap() {
            let name = entry.unwrap().file_name().into_string().unwrap();
            let path = match name.as_str() {
                PAGE_NAME => "/".to_owned(),
                name => format!("{FILES_PATH}{name}"),
            };
            let response = find(&path).unwrap_or_else(|| panic!("{name} is not compiled in"));
            let known = response.content_type != media_type("");
            assert!(known, "{name} has no media type");
            names_len += 1;
        }
        assert_eq!(names_len, FILES.len());
    }

    #[test]
    fn nothing_is_found_elsewhere() {
        let paths = [
            "",
            "//",
            "/x",
            "/index.html",
            "/console.js",
            "/.wspipe",
            "/.wspipe/",
            "/.wspipe/index.html",
            "/.wspipe/console.jsx",
            "/.wspipe/../",
            "/.wspipe//console.js",
        ];
        for path in paths {
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
