//! `config.json`: the facts about the server that the console page needs.

use std::rc::Rc;
use std::time::Duration;

use super::routes::{Route, Router, Routes, Service};

/// The facts about the commands that the console page shows.
#[derive(Clone, Debug)]
pub struct ConsoleConfig {
    /// The names of the commands, by their index ([`Service::Command`]).
    pub command_names: Vec<Rc<str>>,
    /// Whether the commands' messages are binary (`--framing=raw`).
    pub binary: bool,
    /// Whether the messages are JSON objects that name their stream (`--stderr=json`).
    pub json: bool,
    /// How long a session waits for a disconnected client (`--resume`).
    pub resume: Option<Duration>,
}

impl ConsoleConfig {
    /// Writes what `router` and the commands offer, as one JSON object:
    ///
    /// | member | value |
    /// |---|---|
    /// | `version` | the server's version |
    /// | `demo` | whether it runs as the demo |
    /// | `echo` | the path of the first echo, or `null` |
    /// | `shell` | the first command: its `path` and `command` name, whether its messages are `binary` or `json`, and `resume`, the seconds that a session waits for its client, or `null`. Without a command: `null` |
    /// | `endpoints` | every endpoint: its `path` and `command` name, which is `null` for an echo |
    ///
    /// Paths are relative to the page, so that a proxy may serve it below any path. The programs of
    /// `--dir` are not listed: a directory may be large and change at any time.
    pub(super) fn to_json(&self, router: &Router) -> String {
        let routes = match router {
            Router::Demo { shell } => demo_routes(*shell),
            Router::Routes(routes) => routes.clone(),
        };
        let echo = routes.iter().find(|route| route.service == Service::Echo);
        let shell = routes.iter().find(|route| self.command(route).is_some());
        let endpoints: Vec<String> = routes
            .iter()
            .map(|route| {
                let command = self.command(route).map_or("null".to_owned(), json_string);
                format!(r#"{{"path":{},"command":{command}}}"#, relative_path(route))
            })
            .collect();
        // Printed from integers, because formatting a float would add kilobytes to the program.
        let seconds = |time: Duration| format!("{}.{:03}", time.as_secs(), time.subsec_millis());
        let resume = self.resume.map_or("null".to_owned(), seconds);
        format!(
            r#"{{"version":{},"demo":{},"echo":{},"shell":{},"endpoints":[{}]}}"#,
            json_string(env!("CARGO_PKG_VERSION")),
            matches!(router, Router::Demo { .. }),
            echo.map_or("null".to_owned(), relative_path),
            shell.map_or("null".to_owned(), |route| format!(
                r#"{{"path":{},"command":{},"binary":{},"json":{},"resume":{}}}"#,
                relative_path(route),
                json_string(self.command(route).unwrap_or_default()),
                self.binary,
                self.json,
                resume,
            )),
            endpoints.join(","),
        )
    }

    /// The name of the command of a route, if it has one.
    fn command(&self, route: &Route) -> Option<&str> {
        match route.service {
            Service::Command(index) => Some(&self.command_names[index]),
            Service::Echo | Service::Program(_) => None,
        }
    }
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

/// The path of a route relative to the page, as a JSON string. Characters that would end the path,
/// or look like an encoding or a scheme, are percent-encoded (RFC 3986 section 4.2).
fn relative_path(route: &Route) -> String {
    let mut path = String::new();
    for character in route.path.trim_start_matches('/').chars() {
        match character {
            '%' | '?' | '#' | ':' | '\\' => path.push_str(&format!("%{:02X}", character as u8)),
            character => path.push(character),
        }
    }
    json_string(&path)
}

/// A JSON string with its quotes (RFC 8259 section 7).
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
    use super::*;

    fn config(command_name: &str, binary: bool) -> ConsoleConfig {
        ConsoleConfig {
            command_names: vec![command_name.into()],
            binary,
            json: false,
            resume: None,
        }
    }

    #[test]
    fn the_configuration_lists_every_endpoint() {
        let version = env!("CARGO_PKG_VERSION");
        let everywhere = |service| Router::Routes(Routes::everywhere(service));
        let several = Router::Routes(Routes::new(
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
        let directory = Router::Routes(Routes::new(vec![], true));
        #[rustfmt::skip]
        let cases = [
            (Router::Demo { shell: true }, config("sh", false), r#""demo":true,"echo":"echo","shell":{"path":"ws","command":"sh","binary":false,"json":false,"resume":null},"endpoints":[{"path":"echo","command":null},{"path":"ws","command":"sh"}]"#),
            (Router::Demo { shell: false }, config("sh", false), r#""demo":true,"echo":"echo","shell":null,"endpoints":[{"path":"echo","command":null}]"#),
            (everywhere(Service::Command(0)), config("a \"b\"\\\n\u{fc}", true), r#""demo":false,"echo":null,"shell":{"path":"","command":"a \"b\"\\\u000aü","binary":true,"json":false,"resume":null},"endpoints":[{"path":"","command":"a \"b\"\\\u000aü"}]"#),
            (everywhere(Service::Echo), config("", false), r#""demo":false,"echo":"","shell":null,"endpoints":[{"path":"","command":null}]"#),
            (several, config("x", false), r#""demo":false,"echo":"e","shell":{"path":"a b%3A%3F%25","command":"x","binary":false,"json":false,"resume":null},"endpoints":[{"path":"a b%3A%3F%25","command":"x"},{"path":"e","command":null},{"path":"f","command":null}]"#),
            (directory, config("", false), r#""demo":false,"echo":null,"shell":null,"endpoints":[]"#),
        ];
        for (router, config, rest) in cases {
            assert_eq!(
                config.to_json(&router),
                format!(r#"{{"version":"{version}",{rest}}}"#)
            );
        }
    }

    #[test]
    fn the_configuration_says_how_to_read_messages_and_how_long_to_reconnect() {
        let router = Router::Routes(Routes::everywhere(Service::Command(0)));
        for (millis, json, rest) in [
            (30_000, false, r#""json":false,"resume":30.000}"#),
            (250, true, r#""json":true,"resume":0.250}"#),
        ] {
            let config = ConsoleConfig {
                json,
                resume: Some(Duration::from_millis(millis)),
                ..config("x", false)
            };
            let text = config.to_json(&router);
            assert!(text.contains(rest), "{text}");
        }
    }
}
