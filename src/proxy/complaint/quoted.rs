//! Parts of a line in quotes.

use std::fmt::{self, Display};

use super::About;
use crate::proxy::endpoint;

/// `"GET / HTTP/1.1"`
pub(super) struct Line<'a>(pub(super) &'a About<'a>);

impl Display for Line<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let About { request, ctx, .. } = self.0;
        let came = ctx.came.as_ref();
        let method = came.map_or(&request.method, |came| &came.method);
        let target = came.map_or(request.target(), |came| &came.target);
        write!(f, "\"{method} {} {}\"", Escaped(target), request.protocol.as_str())
    }
}

/// `"http://127.0.0.1:8080/path"`
pub(super) struct Asked<'a> {
    pub(super) about: &'a About<'a>,
    pub(super) whom: String,
}

impl Display for Asked<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { about: About { shared, request, ctx }, whom } = self;
        let Some((target, upstream)) = endpoint::upstream(shared, ctx) else { return Ok(()) };
        let scheme = if upstream.group.settings().tls.is_some() { "https" } else { "http" };
        let sent = target.for_worker(request.target());
        let colon = if whom.starts_with("unix:") { ":" } else { "" };
        write!(f, "\"{scheme}://{}{colon}{}\"", Escaped(whom.as_bytes()), Escaped(sent))
    }
}

pub(super) struct Quoted<'a>(pub(super) &'a [u8]);

impl Display for Quoted<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "\"{}\"", Escaped(self.0))
    }
}

/// Bytes of a peer's, of which none ends a line or a text in quotes.
pub struct Escaped<'a>(pub &'a [u8]);

impl Display for Escaped<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let is_control = |c: char| c.is_control() || c == '"';
        for chunk in self.0.utf8_chunks() {
            let mut rest = chunk.valid();
            while let Some(at) = rest.find(is_control) {
                let (before, from) = rest.split_at(at);
                f.write_str(before)?;
                let mut chars = from.chars();
                for byte in chars.next().iter().flat_map(|c| c.to_string().into_bytes()) {
                    write!(f, "\\x{byte:02X}")?;
                }
                rest = chars.as_str();
            }
            f.write_str(rest)?;
            for byte in chunk.invalid() {
                write!(f, "\\x{byte:02X}")?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_peer_sent_ends_no_line() {
        let escaped = |bytes: &[u8]| Escaped(bytes).to_string();
        assert_eq!(escaped(b"/a b?c=d%20"), "/a b?c=d%20");
        assert_eq!(escaped(b"a\"b\r\n\x1b[1m\xff"), "a\\x22b\\x0D\\x0A\\x1B[1m\\xFF");
        assert_eq!(escaped("é\u{85}".as_bytes()), "é\\xC2\\x85");
    }
}
