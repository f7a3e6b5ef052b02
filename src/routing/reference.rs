//! Where the path is in a request target and in a URI reference (RFC 3986 section 4.1).

/// The parts of a request target that matter to whoever serves it.
pub(super) struct Parts<'a> {
    /// Begins with `/`.
    pub path: &'a [u8],
    /// With its `?`; may be empty.
    pub query: &'a [u8],
    /// Path and query are all that there was.
    pub is_whole: bool,
}

/// Finds the parts of a target in origin-form or absolute-form (RFC 9112 section 3.2). A fragment,
/// which a target has not, is left out.
pub(super) fn parts_of_target(target: &[u8]) -> Option<Parts<'_>> {
    if target.starts_with(b"/") {
        // `//host/p` too: a path with an empty segment, not an authority.
        let (path, query) = path_and_query(target);
        return Some(Parts { path, query, is_whole: path.len() + query.len() == target.len() });
    }
    let (_, rest) = split_scheme(target)?;
    let rest = rest.strip_prefix(b"//")?;
    let (authority, rest) = rest.split_at(authority_length(rest));
    if authority.is_empty() {
        return None;
    }
    let (path, query) = path_and_query(rest);
    let path = if path.is_empty() { b"/" } else { path };
    Some(Parts { path, query, is_whole: false })
}

fn path_and_query(text: &[u8]) -> (&[u8], &[u8]) {
    let path = without_query(text);
    let rest = &text[path.len()..];
    let end = rest.iter().position(|byte| *byte == b'#').unwrap_or(rest.len());
    (path, &rest[..end])
}

/// The path of a URI reference (RFC 3986 section 4.1). `None` where it has none, as in `mailto:`.
pub(super) fn path_of_reference(reference: &[u8]) -> Option<&[u8]> {
    let (has_scheme, rest) = match split_scheme(reference) {
        Some((_, rest)) => (true, rest),
        None => (false, reference),
    };
    if let Some(rest) = rest.strip_prefix(b"//") {
        let path = without_query(&rest[authority_length(rest)..]);
        return Some(if path.is_empty() { b"/" } else { path });
    }
    let path = without_query(rest);
    (!has_scheme || path.starts_with(b"/")).then_some(path)
}

/// Splits `scheme:rest` (RFC 3986 section 3.1).
fn split_scheme(text: &[u8]) -> Option<(&[u8], &[u8])> {
    let colon = text.iter().position(|byte| *byte == b':')?;
    let (scheme, rest) = text.split_at(colon);
    let is_scheme = scheme.first()?.is_ascii_alphabetic()
        && scheme.iter().all(|byte| byte.is_ascii_alphanumeric() || b"+-.".contains(byte));
    is_scheme.then_some((scheme, &rest[1..]))
}

fn authority_length(text: &[u8]) -> usize {
    text.iter().position(|byte| b"/?#".contains(byte)).unwrap_or(text.len())
}

fn without_query(text: &[u8]) -> &[u8] {
    let end = text.iter().position(|byte| b"?#".contains(byte)).unwrap_or(text.len());
    &text[..end]
}
