//! The paths that belong to the server itself. No route may be at one of them.

/// A health check for load balancers and monitoring: answers `ok` to any `Host`.
pub(super) const HEALTH_PATH: &str = "/healthz";

/// The files of the console page, except for the page itself, are below this path.
pub(super) const FILES_PATH: &str = "/.wspipe/";

/// The facts about the server that the console page needs, as JSON.
pub(super) const CONFIG_PATH: &str = "/.wspipe/config.json";

/// Whether `path` (decoded) belongs to the server.
pub(crate) fn is_reserved(path: &str) -> bool {
    let below = path.strip_prefix(FILES_PATH.trim_end_matches('/'));
    path == HEALTH_PATH || below.is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_health_check_and_the_console_files_are_reserved() {
        for path in ["/healthz", "/.wspipe", "/.wspipe/", "/.wspipe/x"] {
            assert!(is_reserved(path), "{path}");
        }
        for path in ["/", "/healthz/", "/.wspipes", "/x/healthz", ""] {
            assert!(!is_reserved(path), "{path}");
        }
    }
}
