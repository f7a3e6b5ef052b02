//! Byte-level cookie text (RFC 6265bis): reading `Cookie` and `Set-Cookie`, enforcing attributes.
//!
//! Works on bytes: SP and HTAB are the only white space, nothing is unquoted or decoded, and what
//! is not ours leaves byte for byte as it came. Knows nothing of sessions.

pub mod agent;
pub mod appearance;
pub mod date;
pub mod enforce;
pub mod finding;
pub mod lookalike;
pub mod parts;
pub mod request;
pub mod response;
pub mod worker_clock;

/// Removes SP and HTAB from both ends. Other white space is part of a name or value: servers that
/// trim it can be given a `__Host-` cookie that the browser never checked.
fn trim(mut bytes: &[u8]) -> &[u8] {
    while let [b' ' | b'\t', rest @ ..] = bytes {
        bytes = rest;
    }
    while let [rest @ .., b' ' | b'\t'] = bytes {
        bytes = rest;
    }
    bytes
}

/// Splits at the first `=` and trims both sides; `None` where there is no `=`.
fn split_pair(piece: &[u8]) -> Option<(&[u8], &[u8])> {
    let at = piece.iter().position(|byte| *byte == b'=')?;
    Some((trim(&piece[..at]), trim(&piece[at + 1..])))
}

/// The pieces of a field between its semicolons; quotes do not protect one.
fn pieces(field: &[u8]) -> impl Iterator<Item = &[u8]> {
    field.split(|byte| *byte == b';')
}
