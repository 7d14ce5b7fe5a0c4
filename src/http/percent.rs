//! Percent-encoding (RFC 3986 section 2.1).

/// Replaces each `%` and its two hexadecimal digits by the byte that they encode. Everything else
/// stays as it is. The result of a request target contains no NUL: the parser refuses `%00`.
pub fn decode(text: &str) -> Vec<u8> {
    let digit = |byte: Option<&u8>| (*byte? as char).to_digit(16);
    let bytes = text.as_bytes();
    let mut decoded = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while at < bytes.len() {
        match (
            bytes[at],
            digit(bytes.get(at + 1)),
            digit(bytes.get(at + 2)),
        ) {
            (b'%', Some(high), Some(low)) => {
                decoded.push((16 * high + low) as u8);
                at += 3;
            }
            (byte, ..) => {
                decoded.push(byte);
                at += 1;
            }
        }
    }
    decoded
}

/// Encodes what a path of a URL cannot contain as it is (RFC 3986 section 3.3).
pub(crate) fn encode(path: &str) -> String {
    let mut encoded = String::with_capacity(path.len());
    for byte in path.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' => encoded.push(byte.into()),
            _ if b"/-._~!$&'()*+,;=:@".contains(&byte) => encoded.push(byte.into()),
            _ => encoded.push_str(&format!("%{byte:02X}")),
        }
    }
    encoded
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_encoded_path_is_decoded_to_the_same() {
        assert_eq!(encode("/a b/ä?#%\n"), "/a%20b/%C3%A4%3F%23%25%0A");
        let all: String = (1..=255).map(char::from).collect();
        assert_eq!(decode(&encode(&all)), all.as_bytes());
    }

    #[test]
    fn digits_are_decoded_and_everything_else_stays() {
        let cases: [(&str, &[u8]); 7] = [
            ("", b""),
            ("/a%20b", b"/a b"),
            ("%e2%82%AC", "€".as_bytes()),
            ("%2525", b"%25"),
            ("100%", b"100%"),
            ("%zz%4", b"%zz%4"),
            ("%ff+", b"\xff+"),
        ];
        for (text, decoded) in cases {
            assert_eq!(decode(text), decoded, "{text}");
        }
    }
}
