//! The console page and its files, compiled in, and what the page must know about the server.

use std::time::Duration;

use super::answer::Site;
use super::response::{Fields, Response, Status};
use super::routes::{Offer, Route, Routes, Service};

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
const FILES: &[(&str, &[u8])] = files!["index.html" "console.css" "console.js" "backlog.js" "connection.js" "echo.js" "ending.js" "icon.svg" "link.js" "log.js" "panel.js" "prompt.js" "session.js" "shell.js" "socket.js" "words.js"];

const PAGE_NAME: &str = "index.html";
const FILES_PATH: &str = "/.wspipe/";

/// Where whoever watches over servers asks whether this one is well.
pub const HEALTH_PATH: &str = "/healthz";

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

/// Whether a path is the server's own, at which no route may be.
pub fn is_reserved(path: &str) -> bool {
    let below = path.strip_prefix(FILES_PATH.trim_end_matches('/'));
    path == HEALTH_PATH || below.is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
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

/// What the page must know to offer what the server does: its version, whether it is the demo, and
/// what is found where: every endpoint with its command or `null` for an echo, and the first of
/// each kind, which the page shows. Of the command it also says how its messages are to be read, and
/// for how many seconds it waits for a client that was lost, or `null`. Paths are relative to the page (so that a proxy may put it
/// below any path). `null` stands for what is not served. The programs of `--dir` are not listed,
/// as a directory may be large and change at any time.
pub fn config_json(site: &Site) -> String {
    let routes = match &site.offer {
        Offer::Demo { shell } => demo_routes(*shell),
        Offer::Routes(routes) => routes.clone(),
    };
    let echo = routes.iter().find(|route| route.service == Service::Echo);
    let shell = routes.iter().find(|route| command(route, site).is_some());
    let endpoints: Vec<String> = routes
        .iter()
        .map(|route| {
            let command = command(route, site).map_or("null".to_owned(), json_string);
            format!(r#"{{"path":{},"command":{command}}}"#, relative(route))
        })
        .collect();
    // A number of JSON, without the code that it takes to print any floating-point number.
    let seconds = |linger: Duration| format!("{}.{:03}", linger.as_secs(), linger.subsec_millis());
    let linger = site.linger.map_or("null".to_owned(), seconds);
    format!(
        r#"{{"version":{},"demo":{},"echo":{},"shell":{},"endpoints":[{}]}}"#,
        json_string(env!("CARGO_PKG_VERSION")),
        matches!(site.offer, Offer::Demo { .. }),
        echo.map_or("null".to_owned(), relative),
        shell.map_or("null".to_owned(), |route| format!(
            r#"{{"path":{},"command":{},"binary":{},"json":{},"linger":{}}}"#,
            relative(route),
            json_string(command(route, site).unwrap_or_default()),
            site.binary,
            site.json,
            linger,
        )),
        endpoints.join(","),
    )
}

fn demo_routes(shell: bool) -> Routes {
    let route = |path: &str, service| Route {
        path: path.to_owned(),
        service,
    };
    let echo = route("/echo", Service::Echo);
    let shell = shell.then(|| route("/ws", Service::Command(0)));
    Routes::new([echo].into_iter().chain(shell).collect(), false)
}

/// The name of the command behind a route.
fn command<'a>(route: &Route, site: &'a Site) -> Option<&'a str> {
    match route.service {
        Service::Command(index) => Some(&site.command_names[index]),
        Service::Echo | Service::Program(_) => None,
    }
}

/// The path of a route as a reference that is relative to the page, in JSON. What would end a path
/// in a reference, or be taken for an encoding or a scheme, is encoded.
fn relative(route: &Route) -> String {
    let mut reference = String::new();
    for character in route.path.trim_start_matches('/').chars() {
        match character {
            '%' | '?' | '#' | ':' | '\\' => {
                reference.push_str(&format!("%{:02X}", character as u8))
            }
            character => reference.push(character),
        }
    }
    json_string(&reference)
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
            command_names: vec![command_name.into()],
            binary,
            json: false,
            linger: None,
            subprotocols: Vec::new(),
            policy: Policy::new(vec![], false, vec![], String::new(), true).unwrap(),
        }
    }

    #[test]
    fn the_page_is_told_what_is_served() {
        let version = env!("CARGO_PKG_VERSION");
        let everywhere = |service| Offer::Routes(Routes::everywhere(service));
        let several = Offer::Routes(Routes::new(
            [
                ("/a b:?%", Service::Command(0)),
                ("/e", Service::Echo),
                ("/f", Service::Echo),
            ]
            .map(|(path, service)| Route {
                path: path.to_owned(),
                service,
            })
            .into(),
            false,
        ));
        let directory = Offer::Routes(Routes::new(vec![], true));
        #[rustfmt::skip]
        let cases = [
            (site(Offer::Demo { shell: true }, "sh", false), r#""demo":true,"echo":"echo","shell":{"path":"ws","command":"sh","binary":false,"json":false,"linger":null},"endpoints":[{"path":"echo","command":null},{"path":"ws","command":"sh"}]"#),
            (site(Offer::Demo { shell: false }, "sh", false), r#""demo":true,"echo":"echo","shell":null,"endpoints":[{"path":"echo","command":null}]"#),
            (site(everywhere(Service::Command(0)), "a \"b\"\\\n\u{fc}", true), r#""demo":false,"echo":null,"shell":{"path":"","command":"a \"b\"\\\u000aü","binary":true,"json":false,"linger":null},"endpoints":[{"path":"","command":"a \"b\"\\\u000aü"}]"#),
            (site(everywhere(Service::Echo), "", false), r#""demo":false,"echo":"","shell":null,"endpoints":[{"path":"","command":null}]"#),
            (site(several, "x", false), r#""demo":false,"echo":"e","shell":{"path":"a b%3A%3F%25","command":"x","binary":false,"json":false,"linger":null},"endpoints":[{"path":"a b%3A%3F%25","command":"x"},{"path":"e","command":null},{"path":"f","command":null}]"#),
            (site(directory, "", false), r#""demo":false,"echo":null,"shell":null,"endpoints":[]"#),
        ];
        for (site, rest) in cases {
            assert_eq!(
                config_json(&site),
                format!(r#"{{"version":"{version}",{rest}}}"#)
            );
        }
    }

    #[test]
    fn the_page_is_told_how_to_read_and_how_long_it_is_awaited() {
        let everywhere = Offer::Routes(Routes::everywhere(Service::Command(0)));
        let plain = site(everywhere, "x", false);
        for (millis, json, rest) in [
            (30_000, false, r#""json":false,"linger":30.000}"#),
            (250, true, r#""json":true,"linger":0.250}"#),
        ] {
            let linger = Some(Duration::from_millis(millis));
            let site = Site {
                json,
                linger,
                ..plain.clone()
            };
            let config = config_json(&site);
            assert!(config.contains(rest), "{config}");
        }
    }

    #[test]
    fn the_servers_own_paths_are_reserved() {
        for path in ["/healthz", "/.wspipe", "/.wspipe/", "/.wspipe/x"] {
            assert!(is_reserved(path), "{path}");
        }
        for path in ["/", "/healthz/", "/.wspipes", "/x/healthz", ""] {
            assert!(!is_reserved(path), "{path}");
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
