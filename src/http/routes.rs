//! Routing: finds the service for a path.
//!
//! A path leads to the longest route that is a prefix of it, in whole segments; the rest of the
//! path is PATH_INFO. CGI divides a path in the same way (RFC 3875 section 3.3), so a program finds
//! its parameters in the same place whether a route, COMMAND or `--dir` leads to it. Segments are
//! compared decoded, one by one: `%2F` is part of a segment and never separates two.
//!
//! Below `--dir`, a path names a file. This module does no I/O, so it asks its caller ([`LookUp`])
//! for the kind of each name, from the top of the directory down.

use super::path::Path;
use super::refusal::Refusal;
use super::reserved;

/// The services and their paths.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Router {
    /// The demo: echo at `/echo` and a shell, command 0, at `/ws`. Nothing is below these paths.
    Demo {
        /// Whether the shell is served: only while the server listens on loopback alone.
        shell: bool,
    },
    /// The services of COMMAND, `--echo`, `--route` and `--dir`.
    Routes(Routes),
}

/// The paths of the demo.
const DEMO_ECHO: &str = "/echo";
const DEMO_SHELL: &str = "/ws";

/// What serves a WebSocket.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Service {
    /// Each message is sent back.
    Echo,
    /// A command, by its index in the server's list.
    Command(usize),
    /// A program below `--dir`, by its path there: segments separated by `/`.
    Program(String),
}

/// Where a path leads.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Endpoint {
    /// What serves it.
    pub(crate) service: Service,
    /// SCRIPT_NAME: the part of the path that leads to the service, decoded and without a final
    /// `/`. The rest of the path is PATH_INFO.
    pub(crate) script_name: String,
}

/// The kind of a name below `--dir`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DirEntry {
    /// An executable file.
    Program,
    /// A directory.
    Directory,
    /// A file that is not executable, which is not served either.
    NotExecutable,
    /// Nothing that is served.
    Nothing,
}

/// Looks up a path below `--dir`: segments separated by `/`. No segment is empty, begins with a dot
/// or contains a `/`.
pub(super) type LookUp<'a> = &'a mut dyn FnMut(&str) -> DirEntry;

/// A service and its path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Route {
    /// The path, decoded and without a final `/`. The empty path is the prefix of every path.
    pub(crate) path: String,
    /// What serves this path and all paths below it.
    pub(crate) service: Service,
}

/// The routing table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Routes {
    /// In the order of the command line.
    routes: Vec<Route>,
    /// Whether `--dir` serves the paths that no route serves.
    has_directory: bool,
}

impl Routes {
    /// Makes a table of routes with different paths.
    pub fn new(routes: Vec<Route>, has_directory: bool) -> Self {
        Self {
            routes,
            has_directory,
        }
    }

    /// Makes a table with one service at every path.
    #[cfg(test)]
    pub(crate) fn everywhere(service: Service) -> Self {
        let path = String::new();
        Self::new(vec![Route { path, service }], false)
    }

    /// The routes in the order of the command line.
    pub(crate) fn iter(&self) -> impl Iterator<Item = &Route> {
        self.routes.iter()
    }

    /// Finds the service at `path`.
    pub fn find(&self, path: &Path, look_up: LookUp<'_>) -> Option<Endpoint> {
        let routes = (self.routes.iter()).filter(|route| path.below(&route.path).is_some());
        match routes.max_by_key(|route| route.path.len()) {
            Some(route) => Some(Endpoint {
                service: route.service.clone(),
                script_name: route.path.clone(),
            }),
            None if self.has_directory && !reserved::is_reserved(path) => {
                find_program(path.below("")?, look_up)
            }
            None => None,
        }
    }
}

/// Follows a path down from the top of `--dir` to the first program.
fn find_program(segments: &[Vec<u8>], look_up: LookUp<'_>) -> Option<Endpoint> {
    let mut name = String::new();
    for segment in segments {
        if !name.is_empty() {
            name.push('/');
        }
        name.push_str(file_name(segment)?);
        match look_up(&name) {
            DirEntry::Directory => {}
            DirEntry::NotExecutable | DirEntry::Nothing => return None,
            DirEntry::Program => {
                let script_name = format!("/{name}");
                let service = Service::Program(name);
                return Some(Endpoint {
                    service,
                    script_name,
                });
            }
        }
    }
    None
}

/// The segment as a file name, if such a file may be served. A leading dot marks hidden files, `.`
/// and `..`; a decoded `/` would skip a directory that was not looked up.
fn file_name(segment: &[u8]) -> Option<&str> {
    let name = str::from_utf8(segment).ok()?;
    let served = !name.is_empty() && !name.starts_with('.') && !name.contains('/');
    served.then_some(name)
}

impl Router {
    /// Finds the service for the path of an opening handshake.
    ///
    /// # Errors
    ///
    /// 404 if no service is at the path.
    pub(crate) fn find(&self, path: &Path, look_up: LookUp<'_>) -> Result<Endpoint, Refusal> {
        let at = |script_name: &str, service| {
            Ok(Endpoint {
                service,
                script_name: script_name.to_owned(),
            })
        };
        match self {
            Router::Demo { .. } if path.is(DEMO_ECHO) => at(DEMO_ECHO, Service::Echo),
            Router::Demo { shell: true } if path.is(DEMO_SHELL) => {
                at(DEMO_SHELL, Service::Command(0))
            }
            Router::Demo { shell: false } if path.is(DEMO_SHELL) => {
                Err(Refusal::no_service(path, &format!(": {NO_SHELL}")))
            }
            Router::Demo { .. } => Err(Refusal::no_service(path, ": the demo has /echo and /ws")),
            Router::Routes(routes) => routes
                .find(path, look_up)
                .ok_or_else(|| Refusal::no_service(path, "")),
        }
    }

    /// Refuses a plain request for a path without a page: 426 if a WebSocket is served there,
    /// otherwise 404.
    pub(crate) fn refuse_page(&self, path: &Path, look_up: LookUp<'_>) -> Refusal {
        match self {
            Router::Demo { .. } if path.is(DEMO_ECHO) => Refusal::upgrade_required(),
            Router::Demo { shell: true } if path.is(DEMO_SHELL) => Refusal::upgrade_required(),
            Router::Demo { shell: false } if path.is(DEMO_SHELL) => Refusal::not_found(NO_SHELL),
            Router::Demo { .. } => nothing_there(),
            Router::Routes(routes) => match routes.find(path, look_up) {
                // COMMAND is at every path, also at /favicon.ico: 426 would be misleading.
                Some(endpoint) if endpoint.script_name.is_empty() => Refusal::not_found(
                    "there is no page at this path, only a WebSocket; the console page is at /",
                ),
                Some(_) => Refusal::upgrade_required(),
                None => nothing_there(),
            },
        }
    }
}

const NO_SHELL: &str = "the demo has a shell only while every address is a loopback one; \
                        to serve one elsewhere name it as the command: wspipe [OPTIONS] sh";

fn nothing_there() -> Refusal {
    Refusal::not_found("there is nothing at this path; the console page is at /")
}

#[cfg(test)]
mod tests;
