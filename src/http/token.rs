//! Tokens (RFC 9110 section 5.6.2): the words that methods, header names and most list members are.

/// Whether `word` is a token: at least one byte, and every byte allowed in a token.
pub(super) fn is_token(word: &[u8]) -> bool {
    !word.is_empty() && word.iter().all(|&byte| is_token_byte(byte))
}

/// Whether a token may contain `byte`.
pub(super) fn is_token_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte)
}
