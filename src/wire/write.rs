//! Heads and chunks as bytes. What frames a message is written here, never passed on as it came: one
//! canonical length, or the one coding.

use std::io::Write;

use http::{Method, StatusCode};

use super::fields::Fields;
use super::framing::Framing;
use super::name::Name;

/// What a head says of its body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Announce {
    /// Neither a length nor a coding.
    Nothing,
    Length(u64),
    Chunked,
}

impl Announce {
    /// How a request says it. Where there is no body, methods that could have one say so.
    pub fn of_request(framing: Framing, method: &Method) -> Self {
        match framing {
            Framing::Length(length) => Self::Length(length),
            Framing::Chunked => Self::Chunked,
            Framing::Empty if [Method::POST, Method::PUT, Method::PATCH].contains(method) => {
                Self::Length(0)
            }
            Framing::Empty | Framing::UntilClose | Framing::Tunnel => Self::Nothing,
        }
    }
}

/// Room for the first line and for what announces the body.
const LINES_MAX: usize = 128;

/// No fewer bytes than a head takes, but for the target of a request.
pub fn head_max(fields: &Fields) -> usize {
    fields.written_max() + LINES_MAX
}

/// Appends the head of a request in HTTP/1.1.
pub fn request_head(
    out: &mut Vec<u8>,
    method: &Method,
    target: &[u8],
    fields: &Fields,
    announce: Announce,
) {
    out.reserve(target.len() + head_max(fields));
    out.extend_from_slice(method.as_str().as_bytes());
    out.push(b' ');
    out.extend_from_slice(target);
    out.extend_from_slice(b" HTTP/1.1\r\n");
    head_fields(out, fields, announce);
}

/// Appends the head of an answer in HTTP/1.1; that is what a server of 1.1 answers to an older
/// client as well (RFC 9110 section 2.5). An empty reason is replaced by the usual one.
pub fn response_head(
    out: &mut Vec<u8>,
    status: StatusCode,
    reason: &[u8],
    fields: &Fields,
    announce: Announce,
) {
    out.reserve(head_max(fields));
    out.extend_from_slice(b"HTTP/1.1 ");
    out.extend_from_slice(status.as_str().as_bytes());
    out.push(b' ');
    match reason {
        b"" => out.extend_from_slice(usual_reason(status).as_bytes()),
        reason => out.extend_from_slice(reason),
    }
    out.extend_from_slice(b"\r\n");
    head_fields(out, fields, announce);
}

/// The reason phrase of a status: nginx's, where scripts have learnt to look for it.
fn usual_reason(status: StatusCode) -> &'static str {
    match status.as_u16() {
        302 => "Moved Temporarily",
        405 => "Not Allowed",
        408 => "Request Time-out",
        413 => "Request Entity Too Large",
        414 => "Request-URI Too Large",
        416 => "Requested Range Not Satisfiable",
        503 => "Service Temporarily Unavailable",
        504 => "Gateway Time-out",
        _ => status.canonical_reason().unwrap_or_default(),
    }
}

/// Appends the line that a chunk of this many bytes begins with; [`CHUNK_END`] follows the bytes.
/// A chunk of none would end the body, so nothing is written for it.
pub fn chunk_begin(out: &mut Vec<u8>, length: usize) {
    if length > 0 {
        // Writing to memory does not fail.
        let _ = write!(out, "{length:x}\r\n");
    }
}

/// What follows a chunk's bytes.
pub const CHUNK_END: &[u8] = b"\r\n";

/// Appends the last chunk, with trailers.
pub fn last_chunk(out: &mut Vec<u8>, trailers: Option<&Fields>) {
    out.extend_from_slice(b"0\r\n");
    if let Some(trailers) = trailers {
        lines(out, trailers);
    }
    out.extend_from_slice(b"\r\n");
}

fn head_fields(out: &mut Vec<u8>, fields: &Fields, announce: Announce) {
    lines(out, fields);
    match announce {
        Announce::Nothing => {}
        Announce::Length(length) => {
            out.extend_from_slice(b"Content-Length: ");
            decimal(out, length);
            out.extend_from_slice(b"\r\n");
        }
        Announce::Chunked => out.extend_from_slice(b"Transfer-Encoding: chunked\r\n"),
    }
    out.extend_from_slice(b"\r\n");
}

fn lines(out: &mut Vec<u8>, fields: &Fields) {
    for field in fields.iter() {
        if matches!(field.known, Name::ContentLength | Name::TransferEncoding) {
            continue;
        }
        out.extend_from_slice(field.name);
        out.extend_from_slice(b": ");
        out.extend_from_slice(field.value);
        out.extend_from_slice(b"\r\n");
    }
}

/// Appends a number in decimal digits: for every answer, and without the machinery of formatting.
pub fn decimal(out: &mut Vec<u8>, mut number: u64) {
    let begin = out.len();
    loop {
        out.push(b"0123456789"[(number % 10) as usize]);
        number /= 10;
        if number == 0 {
            break;
        }
    }
    out[begin..].reverse();
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_written_as_they_are_displayed() {
        for number in [0, 1, 9, 10, 255, 1024, 65_535, 1_000_000, u64::MAX] {
            let mut out = b"x".to_vec();
            decimal(&mut out, number);
            assert_eq!(out, format!("x{number}").into_bytes());
        }
    }
    use crate::wire::request::RequestHead;
    use crate::wire::response::ResponseHead;

    #[test]
    fn a_request_is_written_anew() {
        let mut head = RequestHead::default();
        let text =
            b"PUT /a%2Fb?c HTTP/1.0\nhOST:h\nContent-Length:007\nTransfer-Encoding:x\nA: \n\n";
        head.read(text).expect("it is good");
        let mut out = Vec::new();
        request_head(&mut out, &head.method, head.target(), &head.fields, Announce::Length(7));
        let expected = "PUT /a%2Fb?c HTTP/1.1\r\nhOST: h\r\nA: \r\nContent-Length: 7\r\n\r\n";
        assert_eq!(String::from_utf8_lossy(&out), expected);
        let mut again = RequestHead::default();
        again.read(&out).expect("what we write we read");
        assert_eq!(Framing::of_request(&again), Ok(Framing::Length(7)));
    }

    #[test]
    fn an_answer_is_written_anew() {
        let mut head = ResponseHead::default();
        head.read(b"HTTP/1.0 404 Nope\nTransfer-Encoding: chunked\nX: y\n\n").expect("it is good");
        let mut out = Vec::new();
        response_head(&mut out, head.status, head.reason(), &head.fields, Announce::Chunked);
        let expected = "HTTP/1.1 404 Nope\r\nX: y\r\nTransfer-Encoding: chunked\r\n\r\n";
        assert_eq!(String::from_utf8_lossy(&out), expected);
        out.clear();
        response_head(&mut out, StatusCode::NO_CONTENT, b"", &Fields::new(), Announce::Nothing);
        assert_eq!(out, b"HTTP/1.1 204 No Content\r\n\r\n");
    }

    #[test]
    fn a_method_that_could_have_a_body_says_that_it_has_none() {
        let of = |method: Method| Announce::of_request(Framing::Empty, &method);
        assert_eq!((of(Method::POST), of(Method::GET)), (Announce::Length(0), Announce::Nothing));
        let chunked = Announce::of_request(Framing::Chunked, &Method::GET);
        assert_eq!(chunked, Announce::Chunked);
    }

    #[test]
    fn chunks() {
        let mut out = Vec::new();
        chunk_begin(&mut out, 0);
        assert!(out.is_empty(), "an empty chunk would end the body");
        chunk_begin(&mut out, 26);
        out.extend_from_slice(CHUNK_END);
        last_chunk(&mut out, None);
        let mut trailers = Fields::new();
        trailers.push(b"A", b"b").expect("it is writable");
        last_chunk(&mut out, Some(&trailers));
        assert_eq!(out, b"1a\r\n\r\n0\r\n\r\n0\r\nA: b\r\n\r\n");
    }
}
