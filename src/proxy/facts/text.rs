//! How values are written. Each says whether there is one.

use std::io::Write;
use std::time::Duration;

pub fn put(out: &mut Vec<u8>, value: Option<&[u8]>) -> bool {
    out.extend_from_slice(value.unwrap_or_default());
    value.is_some()
}

pub fn put_all(out: &mut Vec<u8>, pieces: &[&[u8]]) -> bool {
    pieces.iter().for_each(|piece| out.extend_from_slice(piece));
    true
}

pub fn put_hex(out: &mut Vec<u8>, bytes: &[u8]) -> bool {
    bytes.iter().all(|byte| write!(out, "{byte:02x}").is_ok())
}

pub fn show(out: &mut Vec<u8>, value: impl std::fmt::Display) -> bool {
    write!(out, "{value}").is_ok()
}

pub fn took(duration: Option<Duration>, out: &mut Vec<u8>) -> bool {
    duration.is_some_and(|duration| seconds(out, duration))
}

/// Seconds with three digits.
pub fn seconds(out: &mut Vec<u8>, duration: Duration) -> bool {
    write!(out, "{}.{:03}", duration.as_secs(), duration.subsec_millis()).is_ok()
}
