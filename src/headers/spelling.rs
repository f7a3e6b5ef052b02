//! Spellings of a field name that one worker or another takes for the same.
//!
//! CGI, WSGI and Rack hand a field over as `HTTP_` and its name in upper case with `_` for `-`, so
//! `X_Forwarded_For` arrives there as `X-Forwarded-For` does (nginx: `underscores_in_headers`).

/// Whether `name` is a spelling of `wanted`, which is in lower case with `-`.
pub(super) fn is(name: &str, wanted: &str) -> bool {
    name.len() == wanted.len() && begins(name, wanted)
}

/// Whether `name` begins with a spelling of `prefix`, which is in lower case with `-`.
pub(super) fn begins(name: &str, prefix: &str) -> bool {
    name.len() >= prefix.len()
        && name.bytes().zip(prefix.bytes()).all(|(byte, wanted)| match byte {
            b'_' => wanted == b'-',
            _ => byte.to_ascii_lowercase() == wanted,
        })
}
