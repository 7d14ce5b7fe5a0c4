//! Builds frames for the unit tests of this folder.

use super::frame::{Header, Opcode, mask};

/// A masked frame, as a client sends it. No two bytes of the key are equal.
pub(crate) fn masked(fin: bool, opcode: Opcode, payload: &[u8]) -> Vec<u8> {
    let key = [0x37, 0xfa, 0x21, 0x3d];
    let payload_len = payload.len() as u64;
    let header = Header {
        fin,
        opcode,
        mask: Some(key),
        payload_len,
    };
    let mut bytes = Vec::new();
    header.write(&mut bytes);
    let start = bytes.len();
    bytes.extend_from_slice(payload);
    mask(&mut bytes[start..], key);
    bytes
}

/// An unmasked frame, as a server sends it.
pub(crate) fn plain(fin: bool, opcode: Opcode, payload: &[u8]) -> Vec<u8> {
    let header = Header {
        fin,
        opcode,
        mask: None,
        payload_len: payload.len() as u64,
    };
    let mut bytes = Vec::new();
    header.write(&mut bytes);
    bytes.extend_from_slice(payload);
    bytes
}
