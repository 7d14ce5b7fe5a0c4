//! The paths that belong to the server itself. No route may be at one of them.

use super::path::Path;

/// A health check for load balancers and monitoring: answers `ok` to any `Host`.
pub(super) const HEALTH_PATH: &str = "/healthz";

/// The files of the console page, except for the page itself, are below this path.
pub(super) const FILES_PATH: &str = "/.wspipe";

/// The facts about the server that the console page needs, as JSON.
pub(super) const CONFIG_PATH: &str = "/.wspipe/config.json";

/// Whether `path` belongs to the server.
pub(crate) fn is_reserved(path: &Path) -> bool {
    path.is(HEALTH_PATH) || path.below(FILES_PATH).is_some()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_health_check_and_the_console_files_are_reserved() {
        for path in [
            "/healthz",
            "/%68ealthz",
            "/.wspipe",
            "/%2ewspipe",
            "/.wspipe/",
            "/.wspipe/x",
        ] {
            assert!(is_reserved(&Path::decode(path)), "{path}");
        }
        for path in ["/", "/healthz/", "/.wspipes", "/x/healthz", ""] {
            assert!(!is_reserved(&Path::decode(path)), "{path}");
        }
    }
}
