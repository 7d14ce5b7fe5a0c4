//! What is served at which path.
//!
//! A path leads to the route that is the longest beginning of it, counted in whole segments; what
//! is left of the path is PATH_INFO. That is how CGI divides a path (RFC 3875 section 3.3), and
//! how COMMAND, which is at every path, has always been given the whole of it; so a program finds
//! its parameters in the same place however it came to be served. Segments are compared decoded,
//! one by one: `%2F` is part of a name and never divides two.
//!
//! Below `--dir` the path names a file. Whether there is one is not known here: the table asks for
//! one name after the other, from the top, and is told by whoever can look.

use super::pages;
use super::percent;
use super::refusal::Refusal;

/// Which services there are, and where.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Offer {
    /// Echo at `/echo` and a shell at `/ws`, which is command 0: these paths and none below them.
    Demo {
        /// Whether there is the shell: not if an address is listened on that is not loopback.
        shell: bool,
    },
    /// What COMMAND, `--echo`, `--route` and `--dir` name.
    Routes(Routes),
}

/// What is behind a WebSocket.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Service {
    /// Each message comes back.
    Echo,
    /// A command of this index in the server's list.
    Command(usize),
    /// The program of this name below `--dir`: segments, with `/` between them.
    Program(String),
}

/// Where a path leads.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Endpoint {
    /// What is there.
    pub service: Service,
    /// The beginning of the path that led there, decoded and without a final `/`. The rest of the
    /// path is PATH_INFO.
    pub script_name: String,
}

/// What a name below `--dir` stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Entry {
    /// A file that may be executed.
    Program,
    /// A directory.
    Directory,
    /// Nothing that is served.
    Nothing,
}

/// Tells what a name below `--dir` stands for: segments, with `/` between them; none of them is
/// empty, begins with a dot or has a `/` in it.
pub type LookUp<'a> = &'a mut dyn FnMut(&str) -> Entry;

/// A service and the path it is at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Route {
    /// The path, decoded and without a final `/`; empty: every path.
    pub path: String,
    /// What is there, and at every path below.
    pub service: Service,
}

/// The routes of a server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Routes {
    /// In the order in which they were given.
    routes: Vec<Route>,
    /// Whether the paths that no route takes are names below `--dir`.
    has_directory: bool,
}

impl Routes {
    /// A table of these routes, whose paths differ.
    pub fn new(routes: Vec<Route>, has_directory: bool) -> Self {
        Self {
            routes,
            has_directory,
        }
    }

    /// One service at every path.
    pub fn everywhere(service: Service) -> Self {
        let path = String::new();
        Self::new(vec![Route { path, service }], false)
    }

    /// The routes in the order in which they were given.
    pub fn iter(&self) -> impl Iterator<Item = &Route> {
        self.routes.iter()
    }

    /// Where a path leads, if it leads anywhere. `path` is as it came, percent-encoded.
    pub fn find(&self, path: &str, look_up: LookUp<'_>) -> Option<Endpoint> {
        let segments: Vec<Vec<u8>> = path.split('/').skip(1).map(percent::decode).collect();
        let routes = self.routes.iter().filter(|route| route.takes(&segments));
        match routes.max_by_key(|route| route.path.len()) {
            Some(route) => Some(Endpoint {
                service: route.service.clone(),
                script_name: route.path.clone(),
            }),
            None if self.has_directory && !pages::is_reserved(path) => {
                find_program(&segments, look_up)
            }
            None => None,
        }
    }
}

impl Route {
    /// Whether a path of these segments is this route's, or below it.
    fn takes(&self, segments: &[Vec<u8>]) -> bool {
        let mut segments = segments.iter();
        let own = self.path.split('/').skip(1);
        own.map(str::as_bytes)
            .all(|own| segments.next().is_some_and(|segment| segment == own))
    }
}

/// The first program on the way down a path.
fn find_program(segments: &[Vec<u8>], look_up: LookUp<'_>) -> Option<Endpoint> {
    let mut name = String::new();
    for segment in segments {
        if !name.is_empty() {
            name.push('/');
        }
        name.push_str(file_name(segment)?);
        match look_up(&name) {
            Entry::Directory => {}
            Entry::Nothing => return None,
            Entry::Program => {
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

/// A segment as the name of a file that may be served. A dot begins the names of hidden files,
/// and `.` and `..` too; a decoded `/` would lead where the table did not look.
fn file_name(segment: &[u8]) -> Option<&str> {
    let name = str::from_utf8(segment).ok()?;
    let served = !name.is_empty() && !name.starts_with('.') && !name.contains('/');
    served.then_some(name)
}

impl Offer {
    /// Where the path of an opening handshake leads.
    ///
    /// # Errors
    /// 404, when it leads nowhere. The demo's paths are compared as they came, without decoding.
    pub fn find(&self, path: &str, look_up: LookUp<'_>) -> Result<Endpoint, Refusal> {
        let at = |script_name: &str, service| {
            Ok(Endpoint {
                service,
                script_name: script_name.to_owned(),
            })
        };
        match (self, path) {
            (Offer::Demo { .. }, "/echo") => at("/echo", Service::Echo),
            (Offer::Demo { shell: true }, "/ws") => at("/ws", Service::Command(0)),
            (Offer::Demo { shell: false }, "/ws") => Err(no_shell()),
            (Offer::Demo { .. }, _) => Err(Refusal::not_found(
                "no WebSocket is served at this path: the demo has /echo and /ws",
            )),
            (Offer::Routes(routes), _) => routes
                .find(path, look_up)
                .ok_or_else(|| Refusal::not_found("no WebSocket is served at this path")),
        }
    }

    /// The refusal of a plain request for a path at which there is no page.
    pub fn no_page_at(&self, path: &str, look_up: LookUp<'_>) -> Refusal {
        match (self, path) {
            (Offer::Demo { .. }, "/echo") | (Offer::Demo { shell: true }, "/ws") => {
                Refusal::upgrade_required()
            }
            (Offer::Demo { shell: false }, "/ws") => no_shell(),
            (Offer::Demo { .. }, _) => nothing_there(),
            (Offer::Routes(routes), _) => match routes.find(path, look_up) {
                Some(endpoint) if endpoint.script_name.is_empty() => Refusal::not_found(
                    "there is no page at this path, only a WebSocket; the console page is at /",
                ),
                Some(_) => Refusal::upgrade_required(),
                None => nothing_there(),
            },
        }
    }
}

fn nothing_there() -> Refusal {
    Refusal::not_found("there is nothing at this path; the console page is at /")
}

fn no_shell() -> Refusal {
    Refusal::not_found(
        "the demo has a shell only while every address is a loopback one; \
         to serve one elsewhere name it as the command: wspipe [OPTIONS] sh",
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table(routes: &[(&str, Service)], has_directory: bool) -> Routes {
        let route = |(path, service): &(&str, Service)| Route {
            path: path.to_string(),
            service: service.clone(),
        };
        Routes::new(routes.iter().map(route).collect(), has_directory)
    }

    fn nowhere(name: &str) -> Entry {
        panic!("{name} is looked up without a directory")
    }

    #[test]
    fn the_longest_route_in_whole_segments_takes_a_path() {
        let routes = table(
            &[
                ("/a", Service::Command(0)),
                ("/a/b", Service::Command(1)),
                ("/ä b", Service::Echo),
            ],
            false,
        );
        #[rustfmt::skip]
        let cases = [
            ("/a", Some(("/a", Service::Command(0)))),
            ("/a/", Some(("/a", Service::Command(0)))),
            ("/a/c/d", Some(("/a", Service::Command(0)))),
            ("/a//b", Some(("/a", Service::Command(0)))),
            ("/a/b", Some(("/a/b", Service::Command(1)))),
            ("/a/b/", Some(("/a/b", Service::Command(1)))),
            ("/%61/%62/c", Some(("/a/b", Service::Command(1)))),
            ("/%C3%A4%20b", Some(("/ä b", Service::Echo))),
            ("/a%2Fb", None),
            ("/ab", None),
            ("/A", None),
            ("/", None),
            ("//a", None),
            ("", None),
        ];
        for (path, expected) in cases {
            let found = routes.find(path, &mut nowhere);
            let found = found.map(|found| (found.script_name, found.service));
            let expected = expected.map(|(name, service)| (name.to_owned(), service));
            assert_eq!(found, expected, "{path}");
        }
    }

    #[test]
    fn a_service_everywhere_takes_what_no_other_route_does() {
        let routes = table(&[("", Service::Command(0)), ("/e", Service::Echo)], false);
        for (path, service) in [
            ("/", Service::Command(0)),
            ("", Service::Command(0)),
            ("/x/e", Service::Command(0)),
            ("/healthz", Service::Command(0)),
            ("/e/x", Service::Echo),
        ] {
            let found = routes.find(path, &mut nowhere).unwrap();
            assert_eq!(found.service, service, "{path}");
        }
    }

    /// Looks paths up in a directory with the programs `run` and `sub/tool`, and notes what was
    /// asked for.
    fn looked_up(path: &str) -> (Option<Endpoint>, Vec<String>) {
        let routes = table(&[("/sub/route", Service::Echo)], true);
        let mut asked = Vec::new();
        let found = routes.find(path, &mut |name| {
            asked.push(name.to_owned());
            match name {
                "run" | "sub/tool" | "healthz" => Entry::Program,
                "sub" => Entry::Directory,
                _ => Entry::Nothing,
            }
        });
        (found, asked)
    }

    #[test]
    fn a_path_is_followed_down_to_the_first_program() {
        #[rustfmt::skip]
        let cases: [(&str, Option<&str>, &[&str]); 11] = [
            ("/run", Some("run"), &["run"]),
            ("/%72un/", Some("run"), &["run"]),
            ("/run/../../etc", Some("run"), &["run"]),
            ("/run//x", Some("run"), &["run"]),
            ("/sub/tool/a/b", Some("sub/tool"), &["sub", "sub/tool"]),
            ("/sub", None, &["sub"]),
            ("/sub/", None, &["sub"]),
            ("/sub/none/x", None, &["sub", "sub/none"]),
            ("/none/run", None, &["none"]),
            ("/", None, &[]),
            ("/healthz", None, &[]),
        ];
        for (path, expected, asked) in cases {
            let (found, names) = looked_up(path);
            let expected = expected.map(|name| Endpoint {
                service: Service::Program(name.to_owned()),
                script_name: format!("/{name}"),
            });
            assert_eq!(found, expected, "{path}");
            assert_eq!(names, asked, "{path}");
        }
    }

    #[test]
    fn names_that_could_lead_elsewhere_are_not_even_looked_up() {
        for path in [
            "/..",
            "/../run",
            "/%2e%2e/run",
            "/.hidden",
            "/%2Ehidden",
            "/./run",
            "//run",
            "/%2Frun",
            "/sub%2Ftool",
            "/%2e%2e%2frun",
            "/%ff",
            "/.wspipe/run",
        ] {
            let (found, names) = looked_up(path);
            assert_eq!((found, names), (None, vec![]), "{path}");
        }
        assert_eq!(looked_up("/sub/../run"), (None, vec!["sub".to_owned()]));
    }

    #[test]
    fn a_route_comes_before_the_directory() {
        let (found, names) = looked_up("/sub/route");
        assert_eq!(found.unwrap().service, Service::Echo);
        assert_eq!(names, [""; 0]);
    }

    #[test]
    fn a_plain_request_is_told_what_is_there() {
        let routes = Offer::Routes(table(&[("/a", Service::Echo)], true));
        let everywhere = Offer::Routes(Routes::everywhere(Service::Echo));
        let mut look_up = |name: &str| match name {
            "run" => Entry::Program,
            _ => Entry::Nothing,
        };
        for (offer, path, code) in [
            (&routes, "/a", 426),
            (&routes, "/a/x", 426),
            (&routes, "/run/x", 426),
            (&routes, "/none", 404),
            (&routes, "/favicon.ico", 404),
            (&everywhere, "/a", 404),
        ] {
            let refusal = offer.no_page_at(path, &mut look_up);
            assert_eq!(refusal.status.code(), code, "{path}");
        }
    }
}
