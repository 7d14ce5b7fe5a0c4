//! The lines that say where the server is: [`start_lines`].
//!
//! ```text
//! http://127.0.0.1:8080/   page
//! ws://127.0.0.1:8080/log  tail ...
//! listening on http://127.0.0.1:8080/
//! ```
//!
//! Scripts wait for the last kind, one for each address: `listening on http://ADDRESS/`. It always
//! begins like that and is a link that works; a note may follow after a comma.

use std::ffi::OsString;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::Path;

use crate::http::percent;
use crate::http::routes::{Router, Service};
use crate::linux::spawn::ShellWord;

/// What is served and where, with links to the first address, and a line for each address.
pub(super) fn start_lines(
    router: &Router,
    commands: &[Vec<OsString>],
    directory: Option<&Path>,
    addresses: &[SocketAddr],
) -> Vec<String> {
    let mut lines = Vec::new();
    if let Some(first) = addresses.first() {
        let first = link(*first);
        let mut rows = vec![(format!("http://{first}/"), "page".to_owned())];
        for (path, what) in services(router, commands, directory) {
            rows.push((format!("ws://{first}{path}"), what));
        }
        let width = rows.iter().map(|(url, _)| url.chars().count()).max();
        let width = width.unwrap_or(0);
        lines.extend(
            rows.iter()
                .map(|(url, what)| format!("{url:width$}  {what}")),
        );
    }
    lines.extend(addresses.iter().map(|address| {
        let note = match address.ip() {
            IpAddr::V4(ip) if ip.is_unspecified() => ", on every IPv4 address (0.0.0.0)",
            IpAddr::V6(ip) if ip.is_unspecified() => ", on every IPv6 address (::)",
            _ => "",
        };
        format!("listening on http://{}/{note}", link(*address))
    }));
    lines
}

/// An address to connect to: for a wildcard, which is none, the loopback address.
fn link(address: SocketAddr) -> SocketAddr {
    let ip = match address.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(ip) if ip.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
        _ => return address,
    };
    SocketAddr::new(ip, address.port())
}

/// The path of each service, as in a URL, and what it is.
fn services(
    router: &Router,
    commands: &[Vec<OsString>],
    directory: Option<&Path>,
) -> Vec<(String, String)> {
    let what = |service: &Service| match service {
        Service::Echo | Service::Program(_) => "echo".to_owned(),
        Service::Command(index) => shown(&commands[*index]),
    };
    let mut services = Vec::new();
    match router {
        Router::Demo { shell } => {
            services.push(("/echo".to_owned(), what(&Service::Echo)));
            let shell = shell.then(|| ("/ws".to_owned(), what(&Service::Command(0))));
            services.extend(shell);
        }
        Router::Routes(routes) => services.extend(routes.iter().map(|route| {
            let path = if route.path.is_empty() {
                "/"
            } else {
                &route.path
            };
            (percent::encode(path), what(&route.service))
        })),
    }
    let programs = directory.map(|path| format!("PROGRAM of {}", ShellWord(path.as_os_str())));
    services.extend(programs.map(|what| ("/PROGRAM".to_owned(), what)));
    services
}

/// A command without its arguments, which may hold a secret that does not belong into a log.
fn shown(words: &[OsString]) -> String {
    let arguments = if words.len() > 1 { " ..." } else { "" };
    format!("{}{arguments}", ShellWord(&words[0]))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http::routes::{Route, Routes};

    #[test]
    fn the_start_lines_name_page_paths_and_commands() {
        let words = |words: &[&str]| words.iter().map(OsString::from).collect::<Vec<_>>();
        let commands = [words(&["cat"]), words(&["sh", "-c", "a | b"])];
        let route = |path: &str, service| Route {
            path: path.to_owned(),
            service,
        };
        let routes = vec![
            route("", Service::Command(0)),
            route("/a b", Service::Command(1)),
            route("/e", Service::Echo),
        ];
        let router = Router::Routes(Routes::new(routes, true));
        let addresses = ["127.0.0.1:80", "[::1]:80"].map(|it| it.parse().unwrap());
        assert_eq!(
            start_lines(&router, &commands, Some(Path::new("/srv")), &addresses),
            [
                "http://127.0.0.1:80/       page",
                "ws://127.0.0.1:80/         cat",
                "ws://127.0.0.1:80/a%20b    sh ...",
                "ws://127.0.0.1:80/e        echo",
                "ws://127.0.0.1:80/PROGRAM  PROGRAM of /srv",
                "listening on http://127.0.0.1:80/",
                "listening on http://[::1]:80/",
            ]
        );
        let demo = start_lines(
            &Router::Demo { shell: true },
            &[words(&["sh"])],
            None,
            &addresses,
        );
        assert_eq!(
            demo[1..3],
            ["ws://127.0.0.1:80/echo  echo", "ws://127.0.0.1:80/ws    sh"]
        );
    }

    #[test]
    fn a_wildcard_address_is_never_a_link() {
        let router = Router::Demo { shell: false };
        let addresses = ["0.0.0.0:80", "[::]:80"].map(|it| it.parse().unwrap());
        let lines = start_lines(&router, &[], None, &addresses);
        assert_eq!(
            lines[2..],
            [
                "listening on http://127.0.0.1:80/, on every IPv4 address (0.0.0.0)",
                "listening on http://[::1]:80/, on every IPv6 address (::)",
            ]
        );
        assert!(!lines.concat().contains("//0.0.0.0") && !lines.concat().contains("//[::]"));
    }
}
