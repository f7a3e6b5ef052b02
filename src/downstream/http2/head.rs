//! The head of a request in HTTP/2, as one of HTTP/1.1 (RFC 9113 section 8.3.1).

use std::time::Instant;

use http::Method;
use http::request::Parts;

use crate::downstream::request::{BodyLength, Request};
use crate::wire::flaw::RequestFlaw;
use crate::wire::name::Name;
use crate::wire::request::{FIELDS_MAX, RequestHead};

/// What a field counts beside its name and value (RFC 9113 section 6.5.2).
const FIELD_OVERHEAD: usize = 32;

/// Reads a head. The h2 crate has seen to it that pseudo-fields come once, that names are in lower
/// case, and that no field is about a connection.
///
/// # Errors
/// The flaw, and what the request line would have been.
pub(super) fn read(
    head: Parts,
    is_over: bool,
    bytes_max: usize,
    now: Instant,
) -> Result<Request, (RequestFlaw, Vec<u8>)> {
    let target = target(&head);
    convert(&head, target, is_over, bytes_max, now).map_err(|flaw| {
        let line = [head.method.as_str().as_bytes(), b" ", target, b" HTTP/1.1\r\n"].concat();
        (flaw, line)
    })
}

fn target(head: &Parts) -> &[u8] {
    let authority = || head.uri.authority().map(|authority| authority.as_str().as_bytes());
    match head.uri.path_and_query() {
        Some(path) if head.method != Method::CONNECT => path.as_str().as_bytes(),
        _ => authority().unwrap_or_default(),
    }
}

fn convert(
    head: &Parts,
    target: &[u8],
    is_over: bool,
    bytes_max: usize,
    now: Instant,
) -> Result<Request, RequestFlaw> {
    // Without an authority the crate keeps no scheme; that there was one, it has seen to.
    if head.uri.scheme_str().is_some_and(|scheme| !matches!(scheme, "http" | "https")) {
        return Err(RequestFlaw::RequestLine);
    }
    if head.headers.len() >= FIELDS_MAX {
        return Err(RequestFlaw::TooManyFields);
    }
    let mut read = RequestHead::compose(head.method.clone(), target)?;
    let mut bytes = target.len();
    for (name, value) in &head.headers {
        bytes += name.as_str().len() + value.len() + FIELD_OVERHEAD;
        let pushed = read.fields.push(name.as_str().as_bytes(), value.as_bytes());
        pushed.map_err(|_| RequestFlaw::FieldLine)?;
    }
    if bytes > bytes_max {
        return Err(RequestFlaw::HeadTooLarge);
    }
    read.check()?;
    if let Some(authority) = head.uri.authority() {
        let authority = authority.as_str().as_bytes();
        // They must be the same; who believes which is anybody's guess.
        if read.fields.all(Name::Host).any(|host| !host.eq_ignore_ascii_case(authority)) {
            return Err(RequestFlaw::Doubled(Name::Host));
        }
        read.fields.set(b"Host", authority).map_err(|_| RequestFlaw::RequestLine)?;
    } else if !read.fields.has(Name::Host) {
        return Err(RequestFlaw::NoHost);
    }
    let length = crate::wire::framing::length_of(&read)?;
    let body = match length {
        _ if is_over => BodyLength::Empty,
        Some(length @ 1..) => BodyLength::Known(length),
        Some(0) | None => BodyLength::Unknown,
    };
    Ok(Request::http2(read, body, now))
}
