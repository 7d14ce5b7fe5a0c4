use super::*;

fn table(routes: &[(&str, Service)], has_directory: bool) -> Routes {
    let route = |(path, service): &(&str, Service)| Route {
        path: path.to_string(),
        service: service.clone(),
    };
    Routes::new(routes.iter().map(route).collect(), has_directory)
}

fn nowhere(name: &str) -> DirEntry {
    panic!("{name} is looked up without --dir")
}

#[test]
fn a_path_leads_to_its_longest_prefix_in_whole_segments() {
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
        let found = routes.find(&Path::decode(path), &mut nowhere);
        let found = found.map(|found| (found.script_name, found.service));
        let expected = expected.map(|(name, service)| (name.to_owned(), service));
        assert_eq!(found, expected, "{path}");
    }
}

#[test]
fn a_service_everywhere_serves_the_paths_of_no_other_route() {
    let routes = table(&[("", Service::Command(0)), ("/e", Service::Echo)], false);
    for (path, service) in [
        ("/", Service::Command(0)),
        ("", Service::Command(0)),
        ("/x/e", Service::Command(0)),
        ("/healthz", Service::Command(0)),
        ("/e/x", Service::Echo),
    ] {
        let found = routes.find(&Path::decode(path), &mut nowhere).unwrap();
        assert_eq!(found.service, service, "{path}");
    }
}

/// Follows a path through a directory with the programs `run` and `sub/tool`. Returns the names
/// that were looked up, too.
fn looked_up(path: &str) -> (Option<Endpoint>, Vec<String>) {
    let routes = table(&[("/sub/route", Service::Echo)], true);
    let mut asked = Vec::new();
    let found = routes.find(&Path::decode(path), &mut |name| {
        asked.push(name.to_owned());
        match name {
            "run" | "sub/tool" | "healthz" => DirEntry::Program,
            "sub" => DirEntry::Directory,
            _ => DirEntry::Nothing,
        }
    });
    (found, asked)
}

#[test]
fn a_path_is_followed_down_to_the_first_program() {
    #[rustfmt::skip]
    let cases: [(&str, Option<&str>, &[&str]); 13] = [
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
        ("/%68ealthz", None, &[]),
        ("/health%7A/x", Some("healthz"), &["healthz"]),
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
fn names_that_could_leave_the_directory_are_not_looked_up() {
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
fn a_route_takes_precedence_over_the_directory() {
    let (found, names) = looked_up("/sub/route");
    assert_eq!(found.unwrap().service, Service::Echo);
    assert_eq!(names, [""; 0]);
}

#[test]
fn a_plain_request_learns_whether_a_websocket_is_there() {
    let routes = Router::Routes(table(&[("/a", Service::Echo)], true));
    let everywhere = Router::Routes(Routes::everywhere(Service::Echo));
    let mut look_up = |name: &str| match name {
        "run" => DirEntry::Program,
        _ => DirEntry::Nothing,
    };
    for (router, path, code) in [
        (&routes, "/a", 426),
        (&routes, "/a/x", 426),
        (&routes, "/run/x", 426),
        (&routes, "/none", 404),
        (&routes, "/favicon.ico", 404),
        (&everywhere, "/a", 404),
    ] {
        let refusal = router.refuse_page(&Path::decode(path), &mut look_up);
        assert_eq!(refusal.status.code(), code, "{path}");
    }
}
