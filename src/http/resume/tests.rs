use super::*;

/// The fields `received`, `protocol` and `returning` of a client that offers `protocols`.
fn requested(protocols: &str) -> Option<(u64, String, bool)> {
    let head =
        format!("GET / HTTP/1.1\r\nHost: localhost\r\nSec-WebSocket-Protocol: {protocols}\r\n\r\n");
    let request = Request::parse(head.as_bytes(), 8).unwrap();
    resume_request(&request).map(|it| (it.received, it.protocol.to_owned(), it.returning))
}

#[test]
fn the_session_is_found_among_the_sub_protocols() {
    const NAME: &str = "wspipe.session.0123456789abcdef0123456789ABCDEF";
    let name = format!("{NAME}.17");
    let expected = Some((17, name.clone(), true));
    assert_eq!(requested(&name), expected);
    assert_eq!(requested(&format!("chat, {name} , x")), expected);
    for bad in [
        "chat",
        "wspipe.session.",
        NAME,
        &format!("{NAME}."),
        &format!("{NAME}.+1"),
        &format!("{NAME}.1x"),
        &format!("{NAME}0.1"),
        &format!("{NAME}.99999999999999999999"),
        "wspipe.session.+123456789abcdef0123456789ABCDEF.1",
        "wspipe.session.0123456789abcdef.1",
    ] {
        assert_eq!(requested(bad), None, "{bad}");
    }
}

#[test]
fn a_returning_client_has_received_messages_or_offers_resume() {
    let returning = |protocols: &str| requested(protocols).map(|it| it.2);
    const NAME: &str = "wspipe.session.0123456789abcdef0123456789ABCDEF";
    assert_eq!(returning(&format!("{NAME}.0")), Some(false));
    assert_eq!(returning(&format!("{NAME}.1")), Some(true));
    assert_eq!(returning(&format!("{NAME}.0, wspipe.resume")), Some(true));
    assert_eq!(returning(&format!("wspipe.resume, {NAME}.0")), Some(true));
    assert_eq!(returning(&format!("{NAME}.0, wspipe.resumed")), Some(false));
    assert_eq!(returning("wspipe.resume"), None, "without a token");
}

#[test]
fn a_token_is_never_shown() {
    let token = parse(b"wspipe.session.0123456789abcdef0123456789abcdef.1")
        .unwrap()
        .token;
    assert_eq!(format!("{token:?}"), "Token");
}

#[test]
fn a_sub_protocol_that_looks_like_a_session_is_a_secret() {
    assert!(is_session_protocol(b"wspipe.session.not-quite"));
    assert!(is_session_protocol(b"WSPIPE.Session.0"));
    assert!(!is_session_protocol(b"wspipe.sessio"));
    assert!(!is_session_protocol(b"chat"));
}
