//! The opening handshake and the request head, rule by rule: one test for each MUST of RFC 6455
//! section 4 and of RFC 9112 that a client can break, and one for each form that must be accepted.
//! The tests are grouped in modules, so that the path of a test is a sentence:
//! `a_handshake_is_refused_with::two_keys`. The heads are sent byte for byte as written here. A
//! refusal has the expected status, and no 101 follows it.

mod support;

use std::time::{Duration, Instant};

use support::{Client, FIN, Response, Server, TEXT, Wire, masked};

const LINE: &[u8] = b"GET / HTTP/1.1";

/// The header fields of a valid handshake.
const FIELDS: [&[u8]; 5] = [
    b"Host: localhost",
    b"Upgrade: websocket",
    b"Connection: Upgrade",
    b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==",
    b"Sec-WebSocket-Version: 13",
];

/// A request head: its request line and its fields.
struct Head {
    line: Vec<u8>,
    fields: Vec<Vec<u8>>,
}

impl Head {
    fn right() -> Head {
        Head::with_line(LINE)
    }

    fn with_line(line: &[u8]) -> Head {
        Head {
            line: line.to_vec(),
            fields: FIELDS.iter().map(|field| field.to_vec()).collect(),
        }
    }

    /// A request for a page, which is answered with 200.
    fn plain(line: &[u8]) -> Head {
        Head {
            line: line.to_vec(),
            fields: vec![FIELDS[0].to_vec()],
        }
    }

    /// Adds `field` before all others, so that it is not skipped because it comes last.
    fn and(mut self, field: &[u8]) -> Head {
        self.fields.insert(0, field.to_vec());
        self
    }

    /// Replaces the field with the name of `field`.
    fn instead(self, field: &[u8]) -> Head {
        let name = field.split(|&byte| byte == b':').next().unwrap_or_default();
        let name = std::str::from_utf8(name).expect("a name").to_owned();
        self.without(&name).and(field)
    }

    fn without(mut self, name: &str) -> Head {
        let start = format!("{name}:");
        let before = self.fields.len();
        (self.fields).retain(|field| !field.starts_with(start.as_bytes()));
        assert!(self.fields.len() < before, "there is no {name}");
        self
    }

    fn bytes(&self) -> Vec<u8> {
        let mut bytes = self.line.clone();
        for field in &self.fields {
            bytes.extend(b"\r\n");
            bytes.extend(field);
        }
        bytes.extend(b"\r\n\r\n");
        bytes
    }
}

/// Sends `bytes`. Asserts a response with `status` and no 101 after it.
#[track_caller]
fn refused(bytes: &[u8], status: u16) -> Response {
    let server = Server::echo();
    let mut wire = server.connect();
    wire.send(bytes);
    let response = Response::read(&mut wire, false);
    response.expect_refusal("the head", status);
    // An accepted handshake would echo this. After a refusal the server may have closed already.
    wire.try_send(&masked(FIN | TEXT, b"accepted?"));
    wire.finish();
    let rest = wire.take_to_end();
    assert!(
        !rest.windows(3).any(|bytes| bytes == b"101"),
        "{}",
        rest.escape_ascii()
    );
    response
}

/// Sends `bytes` and a valid request after them. Asserts one response with `status`, then EOF.
#[track_caller]
fn refused_and_closed(bytes: &[u8], status: u16) {
    let server = Server::echo();
    let mut wire = server.connect();
    wire.send(&[bytes, &Head::plain(b"GET /healthz HTTP/1.1").bytes()].concat());
    let response = Response::read(&mut wire, false);
    response.expect_refusal("the head", status);
    assert_eq!(response.header("Connection"), Some("close"));
    wire.expect_eof();
}

/// Sends `bytes`. Asserts a 101 and a working echo.
#[track_caller]
fn accepted(bytes: &[u8]) {
    let server = Server::echo();
    let mut wire = server.connect();
    wire.send(bytes);
    expect_open(wire);
}

#[track_caller]
fn expect_open(mut wire: Wire) {
    let response = Response::read(&mut wire, false);
    assert_eq!(response.status, 101, "{}", response.text());
    // The key of FIELDS and this value are the example of RFC 6455 1.3.
    let accept = response.header("Sec-WebSocket-Accept");
    assert_eq!(accept, Some("s3pPLMBiTxaQ9kYGzzhZRbK+xOo="));
    let mut client = Client::new(wire, response);
    client.round_trip("accepted");
    client.leave();
}

/// One test for each head that must be refused. The status follows the head.
macro_rules! refused {
    (mod $group:ident; $($(#[$doc:meta])* $name:ident: $head:expr => $status:expr;)*) => {
        mod $group {
            use super::*;
            $(
                $(#[$doc])*
                #[test]
                fn $name() {
                    refused(&$head.bytes(), $status);
                }
            )*
        }
    };
}

/// One test for each set of header fields that no request may have. A handshake with them would be
/// refused for any body, so each is also tried with a request for a page. Where the next request
/// begins is unknown then, so none may be answered.
macro_rules! never_accepted {
    (mod $group:ident; $($(#[$doc:meta])* $name:ident: $fields:expr => $status:expr;)*) => {
        mod $group {
            use super::*;
            $(
                $(#[$doc])*
                #[test]
                fn $name() {
                    for head in [Head::right(), Head::plain(LINE)] {
                        let fields: &[&[u8]] = &$fields;
                        let head = fields.iter().rev().fold(head, |head, field| head.and(field));
                        refused_and_closed(&head.bytes(), $status);
                    }
                }
            )*
        }
    };
}

/// One test for each head that must be accepted.
macro_rules! accepted {
    (mod $group:ident; $($(#[$doc:meta])* $name:ident: $head:expr;)*) => {
        mod $group {
            use super::*;
            $(
                $(#[$doc])*
                #[test]
                fn $name() {
                    accepted(&$head.bytes());
                }
            )*
        }
    };
}

// -- RFC 6455, section 4.1 (what a client must send) and 4.2.1 (what a server must check) ----------

refused! {
    mod a_handshake_is_refused_with;

    /// 4.1 (2): "The method of the request MUST be GET".
    the_method_post: Head::with_line(b"POST / HTTP/1.1") => 405;
    the_method_put: Head::with_line(b"PUT / HTTP/1.1") => 405;
    /// RFC 9110 9.1: "The method token is case-sensitive".
    the_method_in_small_letters: Head::with_line(b"get / HTTP/1.1") => 501;
    /// RFC 9112 3: "a method longer than any that it implements SHOULD respond with a 501".
    an_unknown_method: Head::with_line(b"BREW / HTTP/1.1") => 501;
    a_method_of_more_than_8_kib: Head::with_line(&[&[b'M'; 8193][..], b" / HTTP/1.1"].concat()) => 501;
    /// 4.1 (2): "and the HTTP version MUST be at least 1.1".
    http_1_0: Head::with_line(b"GET / HTTP/1.0") => 400;
    http_1_0_with_keep_alive: Head::with_line(b"GET / HTTP/1.0").instead(b"Connection: keep-alive, Upgrade") => 400;
    /// 4.1 (4): "The request MUST contain a |Host| header field".
    no_host: Head::right().without("Host") => 400;
    /// 4.1 (5): "The request MUST contain an |Upgrade| header field whose value MUST include the
    /// "websocket" keyword". The other fields show that an upgrade was intended.
    no_upgrade: Head::right().without("Upgrade") => 400;
    an_empty_upgrade: Head::right().instead(b"Upgrade:") => 400;
    another_upgrade: Head::right().instead(b"Upgrade: h2c") => 400;
    an_upgrade_that_only_begins_with_websocket: Head::right().instead(b"Upgrade: websockets") => 400;
    an_upgrade_with_a_blank_inside: Head::right().instead(b"Upgrade: web socket") => 400;
    /// 4.1 (6): "The request MUST contain a |Connection| header field whose value MUST include the
    /// "Upgrade" token".
    no_connection: Head::right().without("Connection") => 400;
    an_empty_connection: Head::right().instead(b"Connection:") => 400;
    a_connection_without_the_token: Head::right().instead(b"Connection: keep-alive") => 400;
    a_connection_with_a_part_of_the_token: Head::right().instead(b"Connection: Upgrade-Insecure-Requests") => 400;
    /// 4.1 (7): "The value of this header field MUST be a nonce consisting of a randomly selected
    /// 16-byte value that has been base64-encoded".
    no_key: Head::right().without("Sec-WebSocket-Key") => 400;
    an_empty_key: Head::right().instead(b"Sec-WebSocket-Key:") => 400;
    a_key_of_3_bytes: Head::right().instead(b"Sec-WebSocket-Key: YWJj") => 400;
    a_key_of_15_bytes: Head::right().instead(b"Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAA") => 400;
    a_key_of_17_bytes: Head::right().instead(b"Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAAA=") => 400;
    a_key_without_padding: Head::right().instead(b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ") => 400;
    a_key_with_too_much_padding: Head::right().instead(b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ===") => 400;
    a_key_with_a_blank_inside: Head::right().instead(b"Sec-WebSocket-Key: dGhlIHNhbXBs ZSBub25jZQ==") => 400;
    a_key_in_the_alphabet_of_urls: Head::right().instead(b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25j_-==") => 400;
    /// 11.3.1: "The |Sec-WebSocket-Key| header field MUST NOT appear more than once".
    two_keys: Head::right().and(b"Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==") => 400;
    the_same_key_twice: Head::right().and(FIELDS[3]) => 400;
    a_list_of_keys: Head::right().instead(b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==, dGhlIHNhbXBsZSBub25jZQ==") => 400;
    /// 4.1 (9): "The request MUST include a header field with the name |Sec-WebSocket-Version|. The
    /// value of this header field MUST be 13."
    no_version: Head::right().without("Sec-WebSocket-Version") => 400;
    two_versions: Head::right().and(b"Sec-WebSocket-Version: 13") => 400;
    /// 4.1 (8): at most one |Origin|.
    two_origins: Head::right().and(b"Origin: http://localhost").and(b"Origin: http://localhost") => 400;
    /// 4.2.2 (4): 403 for an origin that is not acceptable.
    the_origin_of_another_host: Head::right().and(b"Origin: http://evil.example") => 403;
    an_opaque_origin: Head::right().and(b"Origin: null") => 403;
    an_empty_origin: Head::right().and(b"Origin:") => 403;
    /// RFC 9110 7.8: the request, with its body, ends before the new protocol begins. A body that
    /// is not read would be taken for frames.
    a_body_with_a_length: Head::right().and(b"Content-Length: 5") => 400;
    a_body_in_chunks: Head::right().and(b"Transfer-Encoding: chunked") => 400;
}

/// HEAD is answered like GET for pages, but is no method of a handshake.
#[test]
fn a_handshake_with_the_method_head_is_refused() {
    let server = Server::echo();
    let mut wire = server.connect();
    wire.send(&Head::with_line(b"HEAD / HTTP/1.1").bytes());
    assert_eq!(Response::read(&mut wire, true).status, 400);
    wire.expect_eof();
}

refused! {
    mod a_handshake_is_refused_for_the_grammar_of;

    /// 4.2.1: "any violations of the ABNF grammar" of 4.3, even in a value that would be ignored.
    an_upgrade_that_is_no_list_of_protocols: Head::right().and(b"Upgrade: \xff;;") => 400;
    a_connection_that_is_no_list_of_tokens: Head::right().and(b"Connection: (x)") => 400;
    an_empty_subprotocol: Head::right().and(b"Sec-WebSocket-Protocol:") => 400;
    a_subprotocol_of_nothing_but_commas: Head::right().and(b"Sec-WebSocket-Protocol: , ,") => 400;
    a_subprotocol_with_a_space: Head::right().and(b"Sec-WebSocket-Protocol: chat, a b") => 400;
    a_subprotocol_with_a_slash: Head::right().and(b"Sec-WebSocket-Protocol: a/b") => 400;
    a_subprotocol_above_0x7e: Head::right().and(b"Sec-WebSocket-Protocol: \xff") => 400;
    an_extension_without_a_name: Head::right().and(b"Sec-WebSocket-Extensions: ;a=1") => 400;
    an_extension_whose_parameter_has_no_value: Head::right().and(b"Sec-WebSocket-Extensions: x; a=") => 400;
    /// 9.1: a quoted value must be a token without its quotes.
    an_extension_whose_quotes_hide_a_comma: Head::right().and(b"Sec-WebSocket-Extensions: x; a=\"b,c\"") => 400;
    an_extension_whose_quotes_do_not_end: Head::right().and(b"Sec-WebSocket-Extensions: x; a=\"b") => 400;
    /// 4.1 (10): sub-protocols "MUST all be unique strings".
    a_subprotocol_twice: Head::right().and(b"Sec-WebSocket-Protocol: chat, x, chat") => 400;
    a_subprotocol_in_two_fields: Head::right().and(b"Sec-WebSocket-Protocol: chat").and(b"Sec-WebSocket-Protocol: chat") => 400;
}

/// 4.2.2 (4).
#[test]
fn another_version_is_426_with_version_13_in_the_response() {
    for version in [
        "0", "7", "8", "12", "14", "25", "013", "13x", "-13", "1 3", "13, 8", "13, 13",
    ] {
        let field = format!("Sec-WebSocket-Version: {version}");
        let response = refused(&Head::right().instead(field.as_bytes()).bytes(), 426);
        assert_eq!(
            response.header("Sec-WebSocket-Version"),
            Some("13"),
            "{version}"
        );
    }
}

// -- RFC 9112: the request head ----------------------------------------------------------------------

never_accepted! {
    mod any_request_is_refused_with;

    /// 6.3 (3) and 6.1: both headers together may be an attempt at request smuggling.
    chunked_before_a_length: [b"Transfer-Encoding: chunked", b"Content-Length: 5"] => 400;
    a_length_before_chunked: [b"Content-Length: 5", b"Transfer-Encoding: chunked"] => 400;
    chunked_before_a_length_of_zero: [b"Transfer-Encoding: chunked", b"Content-Length: 0"] => 400;
    /// 6.3 (5): lengths that differ or are invalid.
    two_lengths: [b"Content-Length: 5", b"Content-Length: 0"] => 400;
    the_same_length_twice: [b"Content-Length: 0", b"Content-Length: 0"] => 400;
    lengths_that_differ_only_in_leading_zeros: [b"Content-Length: 5", b"Content-Length: 05"] => 400;
    a_list_of_lengths: [b"Content-Length: 0, 5"] => 400;
    /// RFC 9110 8.6 allows a server to refuse repeated equal lengths or to merge them. They are
    /// refused.
    a_list_of_equal_lengths: [b"Content-Length: 5, 5"] => 400;
    a_list_of_zero_lengths: [b"Content-Length: 0, 0"] => 400;
    a_list_of_one_length: [b"Content-Length: 0,"] => 400;
    a_length_with_a_sign: [b"Content-Length: +0"] => 400;
    a_length_of_5_with_a_sign: [b"Content-Length: +5"] => 400;
    a_negative_length: [b"Content-Length: -1"] => 400;
    a_negative_zero: [b"Content-Length: -0"] => 400;
    a_negative_length_beyond_64_bits: [b"Content-Length: -18446744073709551616"] => 400;
    a_length_with_a_blank_inside: [b"Content-Length: 0 0"] => 400;
    a_length_with_a_fraction: [b"Content-Length: 0.0"] => 400;
    a_length_in_hexadecimal: [b"Content-Length: 0x0"] => 400;
    a_length_without_digits: [b"Content-Length:"] => 400;
    /// 6.3 (4): the last coding of a request must be chunked; 7.1: and only once.
    chunked_as_the_first_of_two_codings: [b"Transfer-Encoding: chunked, gzip"] => 400;
    chunked_twice: [b"Transfer-Encoding: chunked, chunked"] => 400;
    chunked_in_two_fields: [b"Transfer-Encoding: chunked", b"Transfer-Encoding: chunked"] => 400;
    an_unknown_coding_whose_name_ends_in_chunked: [b"Transfer-Encoding: xchunked"] => 400;
    a_vertical_tab_before_chunked: [b"Transfer-Encoding: \x0bchunked"] => 400;
    the_identity_coding: [b"Transfer-Encoding: identity"] => 400;
    /// 6.1: "A server that receives a request message with a transfer coding it does not understand
    /// SHOULD respond with 501".
    an_unknown_transfer_coding: [b"Transfer-Encoding: gzip, chunked"] => 501;
}

refused! {
    mod a_request_head_is_refused_with;

    /// 6.1: such a message is to be treated "as if the framing is faulty".
    chunked_in_http_1_0: Head::plain(b"GET / HTTP/1.0").and(b"Transfer-Encoding: chunked") => 400;
    /// 2.2: "A recipient of such a bare CR MUST consider that element to be invalid".
    a_bare_cr_in_a_value: Head::right().and(b"X: a\rb") => 400;
    a_bare_cr_before_a_field: Head::right().and(b"\rX: y") => 400;
    a_bare_cr_in_the_request_line: Head::with_line(b"GET /\r HTTP/1.1") => 400;
    a_cr_twice: Head::right().and(b"X: y\r") => 400;
    /// 2.2 allows a server to accept a bare LF as a line end. A proxy before it may not do so, so
    /// it is refused.
    a_bare_lf_in_a_value: Head::right().and(b"X: a\nb: c") => 400;
    a_bare_lf_for_the_first_line: Head::with_line(b"GET / HTTP/1.1\nX: y") => 400;
    a_bare_lf_before_a_field: Head::right().and(b"\nX: y") => 400;
    /// 5.2: "A server that receives an obs-fold in a request message [...] MUST either reject the
    /// message by sending a 400 [...]".
    a_folded_value: Head::right().and(b"X: y\r\n z") => 400;
    a_value_folded_by_a_tab: Head::right().and(b"X: y\r\n\tz") => 400;
    a_folded_upgrade: Head::right().instead(b"Upgrade:\r\n websocket") => 400;
    /// 2.2: white space between the request line and the first field.
    white_space_before_the_first_field: Head::right().and(b" X: y") => 400;
    /// 5.1: "A server MUST reject, with a response status code of 400, any received request message
    /// that contains whitespace between a header field name and colon."
    a_space_before_the_colon: Head::right().and(b"X : y") => 400;
    a_tab_before_the_colon: Head::right().and(b"X\t: y") => 400;
    a_space_before_the_colon_of_the_length: Head::right().and(b"Content-Length : 5") => 400;
    /// RFC 9110 5.5: "Field values containing CR, LF, or NUL characters are invalid and dangerous".
    a_nul_in_a_value: Head::right().and(b"X: a\0b") => 400;
    a_nul_in_a_name: Head::right().and(b"X\0: y") => 400;
    a_nul_in_the_target: Head::with_line(b"GET /\0 HTTP/1.1") => 400;
    an_escape_character_in_a_value: Head::right().and(b"X: \x1b[2J") => 400;
    a_del_in_a_value: Head::right().and(b"X: \x7f") => 400;
    /// RFC 9110 5.1: a field name is a token, so it is not empty.
    a_name_that_is_no_token: Head::right().and(b"X(y): z") => 400;
    a_name_that_is_not_ascii: Head::right().and(b"X\xc3\xa9: y") => 400;
    an_empty_name: Head::right().and(b": y") => 400;
    a_field_without_a_colon: Head::right().and(b"X") => 400;
    /// 3.2: "A server MUST respond with a 400 status code to any HTTP/1.1 request message that
    /// lacks a Host header field and to any request message that contains more than one".
    two_hosts: Head::right().and(b"Host: localhost") => 400;
    two_hosts_in_another_case: Head::right().and(b"hOsT: localhost") => 400;
    a_list_of_hosts: Head::right().instead(b"Host: localhost, localhost") => 400;
    a_host_with_a_user: Head::right().instead(b"Host: user@localhost") => 400;
    a_host_with_a_path: Head::right().instead(b"Host: localhost/") => 400;
    a_host_with_a_port_too_large: Head::right().instead(b"Host: localhost:65536") => 400;
    a_host_that_is_not_ascii: Head::right().instead(b"Host: l\xc3\xb6calhost") => 400;
    /// 3: the request line is three words separated by single spaces.
    two_spaces_in_the_request_line: Head::with_line(b"GET  / HTTP/1.1") => 400;
    a_tab_in_the_request_line: Head::with_line(b"GET\t/ HTTP/1.1") => 400;
    a_space_in_the_target: Head::with_line(b"GET /a b HTTP/1.1") => 400;
    a_space_after_the_request_line: Head::with_line(b"GET / HTTP/1.1 ") => 400;
    a_space_before_the_request_line: Head::with_line(b" GET / HTTP/1.1") => 400;
    no_target: Head::with_line(b"GET HTTP/1.1") => 400;
    no_version_of_http: Head::with_line(b"GET /") => 400;
    a_version_of_http_in_small_letters: Head::with_line(b"GET / http/1.1") => 400;
    a_version_of_http_with_two_digits: Head::with_line(b"GET / HTTP/1.10") => 400;
    /// RFC 9110 15.6.6.
    http_1_2: Head::with_line(b"GET / HTTP/1.2") => 505;
    http_2: Head::with_line(b"GET / HTTP/2.0") => 505;
    a_method_that_is_no_token: Head::with_line(b"G(ET / HTTP/1.1") => 400;
    /// 3.2: a GET has two of the four forms of a target.
    the_asterisk_form: Head::with_line(b"GET * HTTP/1.1") => 400;
    the_authority_form: Head::with_line(b"GET localhost:80 HTTP/1.1") => 400;
    a_target_without_a_slash: Head::with_line(b"GET a/b HTTP/1.1") => 400;
    a_target_with_a_fragment: Head::with_line(b"GET /#a HTTP/1.1") => 400;
    a_query_with_a_fragment: Head::with_line(b"GET /?a#b HTTP/1.1") => 400;
    a_target_above_0x7e: Head::with_line(b"GET /\xc3\xa9 HTTP/1.1") => 400;
    a_target_with_a_del: Head::with_line(b"GET /\x7f HTTP/1.1") => 400;
    a_target_with_an_encoded_nul: Head::with_line(b"GET /%00 HTTP/1.1") => 400;
    another_scheme: Head::with_line(b"GET ftp://localhost/ HTTP/1.1") => 400;
    an_absolute_target_with_a_user: Head::with_line(b"GET http://user@localhost/ HTTP/1.1") => 400;
    an_absolute_target_without_a_host: Head::with_line(b"GET http:///a HTTP/1.1") => 400;
    /// RFC 9110 4.2.1: an http URI with an empty host is to be rejected as invalid.
    an_absolute_target_with_a_port_alone: Head::with_line(b"GET http://:80/ HTTP/1.1") => 400;
    an_absolute_target_with_a_dot_for_a_host: Head::with_line(b"GET http://./ HTTP/1.1") => 400;
    a_host_with_a_port_alone: Head::right().instead(b"Host: :80") => 400;
    /// 3.2: an absolute target does not make Host optional.
    an_absolute_target_without_host: Head::with_line(b"GET http://localhost/ HTTP/1.1").without("Host") => 400;
    /// 3.2.2: "must ignore the received Host header field (if any) and instead replace it".
    an_absolute_target_of_another_host: Head::with_line(b"GET http://evil.example/ HTTP/1.1").and(b"Origin: http://evil.example") => 403;
    /// RFC 6585 5.
    a_head_of_more_than_16_kib: Head::right().and(&[b"X: ", &[b'x'; 16384][..]].concat()) => 431;
    /// RFC 9112 3: "MUST respond with a 414".
    a_target_of_more_than_8_kib: Head::with_line(&[b"GET /", &[b'a'; 8192][..], b" HTTP/1.1"].concat()) => 414;
    sixty_five_fields: (0..60).fold(Head::right(), |head, _| head.and(b"X: y")) => 431;
}

/// RFC 9110 8.6: "a recipient MUST anticipate potentially large decimal numerals and prevent
/// parsing errors due to integer conversion overflows". A length that wraps to 0 would turn the
/// body into frames.
#[test]
fn a_content_length_that_overflows_is_refused() {
    let (zeros, digits) = ("0".repeat(1000), "9".repeat(1000));
    for length in [
        "4294967296",
        "9223372036854775808",
        "18446744073709551616",
        "18446744073709551621",
        "340282366920938463463374607431768211456",
        "340282366920938463463374607431768211461",
        &format!("{zeros}5"),
        &format!("1{zeros}"),
        &digits,
    ] {
        println!("{length}");
        let field = format!("Content-Length: {length}");
        refused_and_closed(&Head::right().and(field.as_bytes()).bytes(), 400);
    }
}

/// Two requests in one packet. A reader that counts the length takes part of the second for the
/// body of the first.
#[test]
fn a_smuggled_request_is_not_answered() {
    let mut bytes = Head::right()
        .and(b"Content-Length: 5")
        .and(b"Transfer-Encoding: chunked")
        .bytes();
    bytes.extend(b"0\r\n\r\n");
    bytes.extend(Head::right().bytes());
    refused(&bytes, 400);
}

/// RFC 9112 9.3: a server that does not read the body of a request must close after the response.
#[test]
fn bytes_after_a_body_are_not_taken_for_a_request() {
    let server = Server::echo();
    let mut wire = server.connect();
    let mut bytes = b"GET / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 5\r\n\r\nhello".to_vec();
    bytes.extend(Head::right().bytes());
    wire.send(&bytes);
    assert_ne!(Response::read(&mut wire, false).status, 101);
    wire.expect_eof();
}

/// A client that does not wait for the 101 sends frames after its handshake, not requests.
#[test]
fn bytes_after_a_refused_handshake_are_not_taken_for_a_request() {
    let server = Server::echo();
    let mut wire = server.connect();
    let mut bytes = Head::right().without("Sec-WebSocket-Key").bytes();
    bytes.extend(Head::plain(b"GET /healthz HTTP/1.1").bytes());
    wire.send(&bytes);
    Response::read(&mut wire, false).expect_refusal("no key", 400);
    wire.expect_eof();
}

// -- Heads that must be accepted -------------------------------------------------------------------

accepted! {
    mod a_handshake_is_accepted_with;

    only_the_required_fields: Head::right();
    /// RFC 9112 3.2.2: "a server MUST accept the absolute-form in requests".
    an_absolute_target: Head::with_line(b"GET http://localhost/chat HTTP/1.1");
    an_absolute_target_without_a_path: Head::with_line(b"GET http://localhost HTTP/1.1");
    an_absolute_target_of_websocket: Head::with_line(b"GET ws://localhost/chat?x=y HTTP/1.1");
    an_absolute_target_in_any_case: Head::with_line(b"GET HTTP://LOCALHOST/ HTTP/1.1");
    /// The authority replaces the value of `Host`.
    an_absolute_target_in_place_of_host: Head::with_line(b"GET http://localhost/ HTTP/1.1").instead(b"Host: evil.example").and(b"Origin: http://localhost");
    /// RFC 9110 5.1: "Field names are case-insensitive".
    names_in_small_letters: Head {
        line: LINE.to_vec(),
        fields: FIELDS.iter().map(|field| lower_name(field)).collect(),
    };
    names_in_capitals: Head {
        line: LINE.to_vec(),
        fields: FIELDS.iter().map(|field| upper_name(field)).collect(),
    };
    /// 4.2.1 (3) and (4): the values "treated as an ASCII case-insensitive value".
    tokens_in_capitals: Head::right().instead(b"Upgrade: WEBSOCKET").instead(b"Connection: UPGRADE");
    tokens_in_mixed_case: Head::right().instead(b"Upgrade: WebSocket").instead(b"Connection: uPgRaDe");
    /// RFC 9110 5.6.1: lists; 5.3: in several fields.
    the_connection_header_of_firefox: Head::right().instead(b"Connection: keep-alive, Upgrade");
    a_list_of_upgrades: Head::right().instead(b"Upgrade: h2c, websocket");
    lists_with_empty_members: Head::right().instead(b"Upgrade: , websocket ,,").instead(b"Connection: ,,Upgrade,");
    lists_in_several_fields: Head::right().and(b"Upgrade: h2c").and(b"Connection: keep-alive");
    /// RFC 9112 5: optional white space around a value.
    no_white_space_around_values: Head {
        line: LINE.to_vec(),
        fields: FIELDS.iter().map(|field| without_space(field)).collect(),
    };
    white_space_around_values: Head::right().instead(b"Upgrade: \t websocket\t ").instead(b"Sec-WebSocket-Version:  13  ");
    empty_values: Head::right().and(b"X:");
    /// RFC 9110 5.5: obs-text is opaque data in a value.
    a_value_above_0x7e: Head::right().and(b"X: \xc3\xa9\xff");
    a_length_of_zero: Head::right().and(b"Content-Length: 0");
    a_length_of_zero_in_many_digits: Head::right().and(&[b"Content-Length: ", &[b'0'; 1000][..]].concat());
    /// RFC 9112 2.2: "a server SHOULD ignore at least one empty line received prior".
    an_empty_line_first: Head::with_line(b"\r\nGET / HTTP/1.1");
    an_encoded_path: Head::with_line(b"GET /%E2%82%AC/%2e%2e/%2F?%25 HTTP/1.1");
    /// Paths do not name files here, so dots are harmless.
    dots_in_a_path: Head::with_line(b"GET /../../etc/passwd HTTP/1.1");
    a_percent_sign_that_encodes_nothing: Head::with_line(b"GET /%zz%2 HTTP/1.1");
    a_target_of_every_allowed_byte: Head::with_line(b"GET /!$%&'()*+,-./09:;=?@AZ[]^_`az{|}~\"<>\\ HTTP/1.1");
    an_unknown_extension: Head::right().and(b"Sec-WebSocket-Extensions: permessage-deflate; client_max_window_bits");
    an_extension_with_a_value_in_quotes: Head::right().and(b"Sec-WebSocket-Extensions: x ; a = \"\\b\" , y");
    /// Some gateways pass it on so. There is nothing in it to accept.
    an_empty_list_of_extensions: Head::right().and(b"Sec-WebSocket-Extensions:");
    a_list_of_extensions_of_nothing_but_commas: Head::right().and(b"Sec-WebSocket-Extensions: , ,");
    an_unknown_subprotocol: Head::right().and(b"Sec-WebSocket-Protocol: chat");
    subprotocols_that_differ_in_case: Head::right().and(b"Sec-WebSocket-Protocol: chat, CHAT");
    an_upgrade_with_a_version: Head::right().instead(b"Upgrade: HTTP/2.0, websocket");
    the_same_origin: Head::right().and(b"Origin: http://localhost");
    sixty_four_fields: (0..59).fold(Head::right(), |head, _| head.and(b"X: y"));
    a_head_of_16_kib: {
        let len = Head::right().and(b"X: ").bytes().len();
        Head::right().and(&[b"X: ", &vec![b'x'; 16384 - len][..]].concat())
    };
    a_request_line_of_8000_bytes: Head::with_line(&[b"GET /", &[b'a'; 7986][..], b" HTTP/1.1"].concat());
}

fn colon(field: &[u8]) -> usize {
    (field.iter().position(|&byte| byte == b':')).expect("a colon")
}

fn lower_name(field: &[u8]) -> Vec<u8> {
    let (name, value) = field.split_at(colon(field));
    [&name.to_ascii_lowercase(), value].concat()
}

fn upper_name(field: &[u8]) -> Vec<u8> {
    let (name, value) = field.split_at(colon(field));
    [&name.to_ascii_uppercase(), value].concat()
}

fn without_space(field: &[u8]) -> Vec<u8> {
    let (name, value) = field.split_at(colon(field) + 1);
    [name, value.trim_ascii_start()].concat()
}

/// A handshake and a frame after it arrive in two parts, split at every byte. The server has read
/// the first part when the second arrives.
#[test]
fn a_handshake_and_a_frame_may_be_split_at_any_byte() {
    let server = Server::echo();
    let mut bytes = Head::right().bytes();
    let head_len = bytes.len();
    bytes.extend(masked(FIN | TEXT, b"the frame"));
    // All first parts are sent at once, so that one wait suffices.
    let mut wires: Vec<Wire> = Vec::new();
    for cut in 1..bytes.len() {
        let mut wire = server.connect();
        wire.send(&bytes[..cut]);
        wires.push(wire);
    }
    // A client that connects last is served last.
    server.open("/").round_trip("all first parts are read");
    for (mut wire, cut) in wires.into_iter().zip(1..) {
        wire.send(&bytes[cut..]);
        let response = Response::read(&mut wire, false);
        assert_eq!(response.status, 101, "cut at {cut} of {head_len}");
        let mut client = Client::new(wire, response);
        assert_eq!(client.text(), "the frame", "cut at {cut} of {head_len}");
        client.leave();
    }
}

#[test]
fn an_endless_head_is_431_and_a_slow_head_is_408() {
    let server = Server::start(&["--echo", "--max-head=1k", "--head-timeout=500ms"]);
    let mut wire = server.connect();
    wire.send(b"GET / HTTP/1.1\r\n");
    for _ in 0..200 {
        wire.try_send(b"X: yyyy\r\n");
    }
    Response::read(&mut wire, false).expect_refusal("an endless head", 431);
    let mut wire = server.connect();
    let start = Instant::now();
    // All bytes would take 20 s, and no pause is as long as the timeout, which must expire
    // meanwhile.
    let slow = [&b"GET / HTTP/1.1\r\nX: "[..], &[b'y'; 480]].concat();
    wire.send_slowly(&slow, Duration::from_millis(40));
    let waited = start.elapsed();
    Response::read(&mut wire, false).expect_refusal("a slow head", 408);
    wire.expect_eof();
    assert!(waited > Duration::from_millis(450), "{waited:?}");
    assert!(waited < Duration::from_secs(8), "{waited:?}");
}
