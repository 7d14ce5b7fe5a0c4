//! UTF-8 validation in pieces, against the standard library on the whole text.

use std::str;

use wspipe::ws::utf8::Utf8;

/// Knob: the pieces. Stream: the text.
pub fn check(data: &[u8]) {
    let Some((&knob, text)) = data.split_first() else {
        return;
    };
    let mut utf8 = Utf8::new();
    let mut seen = 0;
    for piece in super::pieces(text, knob) {
        seen += piece.len();
        let accepted = utf8.push(piece).is_ok();
        let expected = str::from_utf8(&text[..seen]);
        let possible = !expected.is_err_and(|error| error.error_len().is_some());
        assert_eq!(accepted, possible, "after {seen} bytes");
        if !accepted {
            return;
        }
        assert_eq!(
            utf8.is_complete(),
            expected.is_ok(),
            "completeness after {seen} bytes"
        );
    }
}
