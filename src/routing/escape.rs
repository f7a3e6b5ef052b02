//! Text as a request target again.

/// Whether `%` begins an escape, or is a byte like others.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Percent {
    Escape,
    Literal,
}

/// A path with its query as a target: in the path is escaped what would be read as something else
/// there, in the query what could not stand in a request line. That is what nginx escapes.
pub fn target(text: &[u8], percent: Percent) -> Vec<u8> {
    let end = text.iter().position(|byte| *byte == b'?').unwrap_or(text.len());
    let (path, query) = text.split_at(end);
    let mut target = Vec::with_capacity(text.len() + 8);
    escape_into(&mut target, path, |byte| {
        byte == b'#' || byte == b'%' && percent == Percent::Literal
    });
    escape_into(&mut target, query, |_| false);
    target
}

fn escape_into(out: &mut Vec<u8>, text: &[u8], also: impl Fn(u8) -> bool) {
    const HEX: &[u8; 16] = b"0123456789ABCDEF";
    for byte in text {
        if *byte <= b' ' || *byte >= 0x7f || also(*byte) {
            let digit = |number: u8| HEX.get(usize::from(number)).copied().unwrap_or(b'0');
            out.extend_from_slice(&[b'%', digit(byte >> 4), digit(byte & 15)]);
        } else {
            out.push(*byte);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

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
}
