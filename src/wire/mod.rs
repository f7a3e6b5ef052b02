//! HTTP/1 as bytes: heads, framing, bodies (RFC 9112). No socket, no clock, no configuration.
//!
//! One reading of every message, or a flaw that names its status. What another reader could take
//! for something else is refused where it decides about framing (lengths, codings, chunks), and
//! otherwise never passed on as it came: heads are written anew from what was read.
//!
//! Lines of a head may end with a bare LF, as RFC 9112 section 2.2 allows and nginx takes them;
//! lines of a chunked body may not.
//!
//! | file | holds |
//! | --- | --- |
//! | `name` | the field names that are looked up or treated apart, as numbers |
//! | `fields` | a flat list of fields over one buffer |
//! | `head_room` | whether a head fits, where nginx's buffers say that |
//! | `scan` | where a head ends, as its bytes arrive |
//! | `request`, `response` | heads |
//! | `framing` | how long a body is |
//! | `body`, `chunked` | bodies, decoded piece by piece |
//! | `map` | fields as HTTP/2 has them |
//! | `connection` | what `Connection` says, and what must not be passed on |
//! | `write` | heads and chunks as bytes |
//! | `flaw` | what is wrong with a message, and the status that says so |

pub mod body;
pub mod chunked;
pub mod connection;
pub mod fields;
pub mod flaw;
pub mod framing;
pub mod head_room;
pub mod map;
pub mod name;
pub mod request;
pub mod response;
pub mod scan;
pub mod write;

/// The versions that have this form; a higher minor version counts as 1.1 (RFC 9110 section 2.5).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Version {
    Http10,
    #[default]
    Http11,
}

/// Whether a byte may stand in a token (RFC 9110 section 5.6.2).
pub(crate) const fn is_token(byte: u8) -> bool {
    matches!(byte,
        b'0'..=b'9' | b'a'..=b'z' | b'A'..=b'Z' | b'!' | b'#' | b'$' | b'%' | b'&' | b'\'' | b'*'
        | b'+' | b'-' | b'.' | b'^' | b'_' | b'`' | b'|' | b'~')
}

/// The elements of a comma-separated list (RFC 9110 section 5.6.1), without the empty ones.
pub(crate) fn elements(value: &[u8]) -> impl Iterator<Item = &[u8]> {
    value.split(|byte| *byte == b',').map(trim).filter(|element| !element.is_empty())
}

/// Without optional white space around it (RFC 9110 section 5.6.3).
pub(crate) fn trim(bytes: &[u8]) -> &[u8] {
    let is_blank = |byte: &u8| matches!(byte, b' ' | b'\t');
    let begin = bytes.iter().position(|byte| !is_blank(byte)).unwrap_or(bytes.len());
    let end = bytes.iter().rposition(|byte| !is_blank(byte)).map_or(begin, |last| last + 1);
    bytes.get(begin..end).unwrap_or_default()
}
