//! Percent-escapes as nginx writes them (`ngx_escape_uri`), and URLs that lead back to this server.

/// Where escaped text goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    /// Into a path (`NGX_ESCAPE_URI`).
    Path,
    /// Into one argument of a query (`NGX_ESCAPE_ARGS`).
    Argument,
}

/// Whether `%` begins an escape, or is a byte like others.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Percent {
    Escape,
    Literal,
}

/// Appends text, with all escaped that would mean something else there.
pub fn escape(text: &[u8], part: Part, out: &mut Vec<u8>) {
    escape_where(text, |byte| is_escaped(byte, part), out);
}

/// A path with its query as a request target: in the query is escaped only what could not stand in a
/// request line.
pub fn target(text: &[u8], percent: Percent) -> Vec<u8> {
    let end = text.iter().position(|byte| *byte == b'?').unwrap_or(text.len());
    let (path, query) = text.split_at(end);
    let mut target = Vec::with_capacity(text.len() + 8);
    let stays = |byte| byte == b'%' && percent == Percent::Escape;
    escape_where(path, |byte| is_escaped(byte, Part::Path) && !stays(byte), &mut target);
    escape_unprintable(query, &mut target);
    target
}

/// Appends a query, with all escaped that could not stand in a request line.
pub fn escape_unprintable(query: &[u8], out: &mut Vec<u8>) {
    escape_where(query, |byte| matches!(byte, 0..=b' ' | 0x7f..), out);
}

fn escape_where(text: &[u8], is_escaped: impl Fn(u8) -> bool, out: &mut Vec<u8>) {
    const HEX: &[u8; 16] = b"0123456789ABCDEF";
    let digit = |number: u8| HEX.get(usize::from(number)).copied().unwrap_or(b'0');
    for byte in text {
        if is_escaped(*byte) {
            out.extend_from_slice(&[b'%', digit(byte >> 4), digit(byte & 15)]);
        } else {
            out.push(*byte);
        }
    }
}

fn is_escaped(byte: u8, part: Part) -> bool {
    matches!(byte, 0..=b' ' | 0x7f.. | b'"' | b'#' | b'%' | b'<' | b'>' | b'?')
        || matches!(byte, b'\\' | b'^' | b'`' | b'{' | b'|' | b'}')
        || part == Part::Argument && matches!(byte, b'&' | b'+' | b';')
}

/// Whom a client asked, for redirects that the server makes by itself (nginx 17).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Origin<'a> {
    pub https: bool,
    /// Without port.
    pub host: &'a str,
    /// It is left out where it is the scheme's own.
    pub port: u16,
}

impl Origin<'_> {
    /// The absolute URL of what begins with a path and is escaped.
    pub fn url(&self, path: &[u8]) -> Vec<u8> {
        let (scheme, own) = if self.https { ("https", 443) } else { ("http", 80) };
        let port = if self.port == own { String::new() } else { format!(":{}", self.port) };
        [scheme.as_bytes(), b"://", self.host.as_bytes(), port.as_bytes(), path].concat()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_means_something_else_is_escaped() {
        for (text, path, argument) in [
            ("/a-b_c~d.e!$'()*,:=@[]", "/a-b_c~d.e!$'()*,:=@[]", "/a-b_c~d.e!$'()*,:=@[]"),
            (" \"#%<>?", "%20%22%23%25%3C%3E%3F", "%20%22%23%25%3C%3E%3F"),
            ("\\^`{|}", "%5C%5E%60%7B%7C%7D", "%5C%5E%60%7B%7C%7D"),
            ("&+;", "&+;", "%26%2B%3B"),
            ("é\n\u{7f}", "%C3%A9%0A%7F", "%C3%A9%0A%7F"),
        ] {
            for (part, expected) in [(Part::Path, path), (Part::Argument, argument)] {
                let mut out = Vec::new();
                escape(text.as_bytes(), part, &mut out);
                assert_eq!(String::from_utf8_lossy(&out), expected, "{text}");
            }
        }
    }

    #[test]
    fn a_path_is_escaped_so_that_it_is_read_as_it_was() {
        for (text, literal, escape) in [
            ("/a", "/a", "/a"),
            ("/a b#c", "/a%20b%23c", "/a%20b%23c"),
            ("/100%", "/100%25", "/100%"),
            ("/a%2Fb", "/a%252Fb", "/a%2Fb"),
            ("/a?b c#d%", "/a?b%20c#d%", "/a?b%20c#d%"),
            ("/\u{e9}\n", "/%C3%A9%0A", "/%C3%A9%0A"),
        ] {
            assert_eq!(target(text.as_bytes(), Percent::Literal), literal.as_bytes(), "{text}");
            assert_eq!(target(text.as_bytes(), Percent::Escape), escape.as_bytes(), "{text}");
        }
    }

    #[test]
    fn a_port_is_named_where_it_is_not_the_schemes() {
        for (https, port, expected) in [
            (false, 80, "http://a.b/x"),
            (true, 443, "https://a.b/x"),
            (false, 443, "http://a.b:443/x"),
            (true, 8443, "https://a.b:8443/x"),
        ] {
            let url = Origin { https, host: "a.b", port }.url(b"/x");
            assert_eq!(String::from_utf8_lossy(&url), expected);
        }
    }
}
