//! Which characters a log line shows as they are: [`is_visible`].

/// Characters with no ink, or that change how others look, in categories where others are letters,
/// marks and symbols: the rest of Unicode's `Default_Ignorable_Code_Point`, and the empty braille
/// pattern.
const BLANK: [(char, char); 10] = [
    ('\u{34f}', '\u{34f}'),     // combining grapheme joiner
    ('\u{115f}', '\u{1160}'),   // Hangul fillers
    ('\u{17b4}', '\u{17b5}'),   // Khmer inherent vowels
    ('\u{180b}', '\u{180f}'),   // Mongolian variation selectors
    ('\u{2800}', '\u{2800}'),   // braille pattern blank
    ('\u{3164}', '\u{3164}'),   // Hangul filler
    ('\u{fe00}', '\u{fe0f}'),   // variation selectors
    ('\u{ffa0}', '\u{ffa0}'),   // halfwidth Hangul filler
    ('\u{fffc}', '\u{fffc}'),   // object replacement
    ('\u{e0100}', '\u{e01ef}'), // variation selectors
];

/// Whether a log line may contain `character` unescaped.
///
/// Control characters could forge a line or control the terminal. Format characters can reorder the
/// line (U+202E and the other bidirectional controls) or hide in it (zero-width ones); the odd spaces
/// look like the usual one. Private and unassigned characters look like nothing in particular. The
/// standard library knows these categories (`Cc`, `Cf`, `Zl`, `Zp`, `Zs`, `Co`, `Cn`), because it
/// escapes them in `{:?}`.
pub(super) fn is_visible(character: char) -> bool {
    match character {
        ' '..='~' => true,
        _ if character.is_ascii() => false,
        _ => {
            // Behind another character: the first of a text is escaped also if it is a combining mark.
            let mut text = [b'a', 0, 0, 0, 0];
            let len = character.encode_utf8(&mut text[1..]).len();
            let pair = std::str::from_utf8(&text[..=len]).unwrap_or_default();
            pair.escape_debug().count() == 2
                && !BLANK
                    .iter()
                    .any(|&(from, to)| (from..=to).contains(&character))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_of_the_worlds_languages_is_visible() {
        let text = "az AZ 09 ~!\"'\\ é ß Ж ע ة ไทย हिन्दी e\u{301} 漢字 かな 한글 … — “ € 😀";
        assert!(text.chars().all(is_visible));
    }

    #[test]
    fn characters_that_reorder_hide_or_look_like_a_space_are_not() {
        let bidi = "\u{202a}\u{202b}\u{202c}\u{202d}\u{202e}\u{2066}\u{2067}\u{2068}\u{2069}\
                    \u{200e}\u{200f}\u{61c}";
        let hidden = "\u{200b}\u{200c}\u{200d}\u{2060}\u{2064}\u{feff}\u{ad}\u{34f}\u{115f}\
                      \u{1160}\u{3164}\u{ffa0}\u{17b4}\u{180e}\u{fe0f}\u{e0001}\u{e0041}\u{e0101}";
        let spaces = "\u{a0}\u{1680}\u{2000}\u{200a}\u{202f}\u{205f}\u{3000}\u{2800}";
        let breaks = "\0\t\n\r\u{1b}\u{7f}\u{85}\u{9b}\u{2028}\u{2029}";
        let others = "\u{fff9}\u{fffb}\u{fffc}\u{e000}\u{f8ff}\u{10fffd}\u{ffff}\u{378}";
        for character in [bidi, hidden, spaces, breaks, others].concat().chars() {
            assert!(!is_visible(character), "{}", character.escape_unicode());
        }
    }
}
