//! The line splitter: whatever the pieces and the fragments, its messages joined are the bytes.

use wspipe::config::Crlf;
use wspipe::framing::Piece;
use wspipe::framing::records::Records;

/// Knobs: the pieces, the fragment length. Stream: what a command prints.
pub fn check(data: &[u8]) {
    let [knob, fragment_knob, output @ ..] = data else {
        return;
    };
    let fragment_len = 8 + usize::from(*fragment_knob);
    let mut messages = Messages {
        whole: Vec::new(),
        begun: None,
        fragment_len,
    };
    let mut lines = Records::with(b'\n', Crlf::Strip, fragment_len, usize::MAX);
    let mut sink = |piece: Piece<'_>| messages.add(piece);
    for piece in super::pieces(output, *knob) {
        assert_eq!(lines.push(piece, &mut sink), Ok(()));
    }
    assert_eq!(lines.finish(&mut sink), Ok(()));
    assert_eq!(lines.finish(&mut |_| panic!("a second end")), Ok(()));
    assert_eq!(messages.begun, None, "a message has no end");
    assert_eq!(messages.whole, reference(output));
    if let Ok(text) = std::str::from_utf8(output) {
        let end = if text.ends_with('\n') { "\n" } else { "" };
        let joined = messages.whole.join("\n") + end;
        assert_eq!(joined, text.replace("\r\n", "\n"), "not the bytes again");
    }
}

struct Messages {
    whole: Vec<String>,
    begun: Option<String>,
    fragment_len: usize,
}

impl Messages {
    fn add(&mut self, piece: Piece<'_>) {
        let Piece {
            bytes, first, last, ..
        } = piece;
        let text = std::str::from_utf8(bytes).expect("a piece is UTF-8 by itself");
        // A byte that is no UTF-8 becomes three.
        assert!(text.len() <= 3 * self.fragment_len, "{} bytes", text.len());
        assert_eq!(first, self.begun.is_none(), "messages are interleaved");
        let mut message = self.begun.take().unwrap_or_default();
        message.push_str(text);
        match last {
            true => self.whole.push(message),
            false => self.begun = Some(message),
        }
    }
}

/// The lines of all that was printed, the last one with or without its end.
fn reference(output: &[u8]) -> Vec<String> {
    let mut lines: Vec<&[u8]> = output.split(|&byte| byte == b'\n').collect();
    let unfinished = lines.pop().filter(|line| !line.is_empty());
    let ended = lines
        .into_iter()
        .map(|line| line.strip_suffix(b"\r").unwrap_or(line));
    ended
        .chain(unfinished)
        .map(|line| String::from_utf8_lossy(line).into_owned())
        .collect()
}
