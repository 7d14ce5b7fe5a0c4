//! The console page: the files of `www/`, compiled in.

use super::path::Path;
use super::reserved::FILES_PATH;
use super::response::{Fields, Response, Status};

/// The page may load from and connect to its own server only. No other page may frame it, so none
/// can trick a user into typing into a shell that they do not see (clickjacking).
const FIELDS: Fields = &[
    (
        "Content-Security-Policy",
        "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; \
         img-src 'self' data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    ),
    // A page of another origin that opens this one gets no handle of its window, and this one no
    // opener: it cannot bring the console to the front while its reader types (keyjacking).
    ("Cross-Origin-Opener-Policy", "same-origin"),
    // No page of another origin may load a file of the console: its image or script would tell every
    // site that wspipe runs here.
    ("Cross-Origin-Resource-Policy", "same-origin"),
    ("Referrer-Policy", "no-referrer"),
    ("Cache-Control", "no-cache"),
];

/// The names and contents of files in `www/`.
macro_rules! files {
    ($($name:literal)*) => {
        &[$(($name, include_bytes!(concat!("../../www/", $name)) as &[u8])),*]
    };
}

/// All of `www/`. The page is at `/`, the other files below [`FILES_PATH`].
const FILES: &[(&str, &[u8])] = files!["index.html" "console.css" "console.js" "attention.js" "backlog.js" "connection.js" "echo.js" "ending.js" "icon.svg" "link.js" "log.js" "panel.js" "prompt.js" "session.js" "shell.js" "socket.js" "words.js"];

const PAGE_NAME: &str = "index.html";

/// The response with the page or file at `path`, if there is one.
pub(super) fn find(path: &Path) -> Option<Response<'static>> {
    let wanted = match path.below(FILES_PATH) {
        Some([name]) if name != PAGE_NAME.as_bytes() => name,
        None if path.is("/") => PAGE_NAME.as_bytes(),
        _ => return None,
    };
    let (name, body) = FILES.iter().find(|(name, _)| name.as_bytes() == wanted)?;
    Some(page(media_type(name), body))
}

/// The media type for a file name. With `nosniff`, the browser relies on it alone.
fn media_type(name: &str) -> &'static str {
    match name.rsplit('.').next() {
        Some("html") => "text/html; charset=utf-8",
        Some("css") => "text/css; charset=utf-8",
        Some("js") => "text/javascript; charset=utf-8",
        Some("svg") => "image/svg+xml",
        _ => "application/octet-stream",
    }
}

/// The response with `config.json`.
pub(super) fn config(json: &str) -> Response<'_> {
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

#[cfg(test)]
mod tests;
