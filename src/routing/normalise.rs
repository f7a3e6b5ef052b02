//! Percent-decoding, dot segments and repeated slashes, on bytes.
//!
//! What nginx's `ngx_http_parse_complex_uri` does with `merge_slashes on`, and RFC 3986 section
//! 5.2.4 (`remove_dot_segments`), in this order: decode once, then look at segments. So `%2F` is a
//! slash and `%2e%2e` a parent, as a worker will see them. A backslash is an ordinary byte.

use std::borrow::Cow;

use super::path::BadPath;

/// Whose spelling is read, and so what a mistake in it leads to.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Source {
    /// A client's: a mistake is refused, since the worker may read it otherwise than we do.
    Request,
    /// A worker's `Location`: read as a browser does, which keeps bad escapes as they are and
    /// drops a `..` that leads above the root (RFC 3986 section 5.2.4, step 2C).
    Reference,
}

/// Normalises a path, without query and fragment, that begins with `/`. Borrows where it is normal.
pub(super) fn normalise(path: &[u8], source: Source) -> Result<Cow<'_, [u8]>, BadPath> {
    if is_plain(path) {
        return Ok(Cow::Borrowed(path));
    }
    resolve(&decode(path, source)?, source).map(Cow::Owned)
}

/// Whether nothing in a path can need work. Dot files are sent the long way round: they are rare.
fn is_plain(path: &[u8]) -> bool {
    !path.contains(&b'%') && !path.windows(2).any(|pair| matches!(pair, [b'/', b'/' | b'.']))
}

pub(super) fn decode(path: &[u8], source: Source) -> Result<Vec<u8>, BadPath> {
    let mut decoded = Vec::with_capacity(path.len());
    let mut rest = path;
    while let [byte, tail @ ..] = rest {
        rest = tail;
        if *byte != b'%' {
            decoded.push(*byte);
            continue;
        }
        match tail {
            [high, low, after @ ..] if high.is_ascii_hexdigit() && low.is_ascii_hexdigit() => {
                decoded.push(hex_digit(*high) << 4 | hex_digit(*low));
                rest = after;
            }
            _ if source == Source::Reference => decoded.push(b'%'),
            _ => return Err(BadPath::Escape),
        }
    }
    // A worker written in C ends the path here, whatever we match after it.
    if source == Source::Request && decoded.contains(&0) {
        return Err(BadPath::Nul);
    }
    Ok(decoded)
}

/// The value of an ASCII hexadecimal digit.
fn hex_digit(digit: u8) -> u8 {
    match digit {
        b'0'..=b'9' => digit - b'0',
        _ => (digit | 0x20) - b'a' + 10,
    }
}

/// Removes dot segments from a decoded path of a request, as nginx does with `merge_slashes off`: each
/// `..` takes one segment away, an empty one too.
pub(super) fn resolve_unmerged(path: &[u8]) -> Result<Vec<u8>, BadPath> {
    let mut kept: Vec<&[u8]> = Vec::new();
    let mut segments = path.split(|byte| *byte == b'/').skip(1).peekable();
    while let Some(segment) = segments.next() {
        let is_last = segments.peek().is_none();
        match segment {
            b"." if is_last => kept.push(b""),
            b"." => {}
            b".." => {
                kept.pop().ok_or(BadPath::AboveRoot)?;
                if is_last {
                    kept.push(b"");
                }
            }
            _ if is_dot_with_parameters(segment) => return Err(BadPath::DotParameters),
            _ => kept.push(segment),
        }
    }
    Ok([b"/", &kept.join(&b'/')[..]].concat())
}

/// Removes empty and dot segments from a decoded path.
pub(super) fn resolve(path: &[u8], source: Source) -> Result<Vec<u8>, BadPath> {
    let mut resolved = Vec::with_capacity(path.len());
    let mut ends_in_slash = true;
    // The first piece is the nothing before the leading slash.
    for segment in path.split(|byte| *byte == b'/').skip(1) {
        ends_in_slash = true;
        match segment {
            b"" | b"." => {}
            b".." => match resolved.iter().rposition(|byte| *byte == b'/') {
                Some(parent) => resolved.truncate(parent),
                None if source == Source::Reference => {}
                None => return Err(BadPath::AboveRoot),
            },
            _ if source == Source::Request && is_dot_with_parameters(segment) => {
                return Err(BadPath::DotParameters);
            }
            _ => {
                resolved.push(b'/');
                resolved.extend_from_slice(segment);
                ends_in_slash = false;
            }
        }
    }
    if ends_in_slash {
        resolved.push(b'/');
    }
    Ok(resolved)
}

/// `.;x` and `..;x`: names of files to us, `.` and `..` to a servlet container, which drops the
/// parameters first. `/public/..;/account/` walks around a rule for `/account/` in that way.
fn is_dot_with_parameters(segment: &[u8]) -> bool {
    segment.starts_with(b".;") || segment.starts_with(b"..;")
}
