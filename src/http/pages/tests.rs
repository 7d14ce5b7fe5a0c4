use super::*;

#[test]
fn every_file_of_www_is_served_with_its_type() {
    let www = concat!(env!("CARGO_MANIFEST_DIR"), "/www");
    let mut names_len = 0;
    for entry in std::fs::read_dir(www).unwrap() {
        let name = entry.unwrap().file_name().into_string().unwrap();
        let path = match name.as_str() {
            PAGE_NAME => "/".to_owned(),
            name => format!("{FILES_PATH}/{name}"),
        };
        let response =
            find(&Path::decode(&path)).unwrap_or_else(|| panic!("{name} is not compiled in"));
        let known = response.content_type != media_type("");
        assert!(known, "{name} has no media type");
        names_len += 1;
    }
    assert_eq!(names_len, FILES.len());
}

#[test]
fn other_paths_have_no_page() {
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
        assert!(find(&Path::decode(path)).is_none(), "{path:?}");
    }
}

#[test]
fn a_page_of_another_origin_gets_no_handle_of_the_consoles_window() {
    let response = find(&Path::plain("/")).unwrap();
    let expected = ("Cross-Origin-Opener-Policy", "same-origin");
    assert!(response.fields.contains(&expected));
}

#[test]
fn a_page_of_another_origin_cannot_load_a_file_of_the_console() {
    let expected = ("Cross-Origin-Resource-Policy", "same-origin");
    for (name, _) in FILES {
        let path = match *name {
            PAGE_NAME => "/".to_owned(),
            name => format!("{FILES_PATH}/{name}"),
        };
        let response = find(&Path::decode(&path)).unwrap();
        assert!(response.fields.contains(&expected), "{name}");
    }
    assert!(config("{}").fields.contains(&expected));
}

#[test]
fn the_page_may_load_from_its_own_server_only() {
    let (name, value) = FIELDS[0];
    assert_eq!(name, "Content-Security-Policy");
    assert!(value.starts_with("default-src 'none';"), "{value}");
    assert!(value.ends_with("frame-ancestors 'none'"), "{value}");
    assert!(
        !value.contains("  ") && !value.contains("unsafe"),
        "{value}"
    );
}
