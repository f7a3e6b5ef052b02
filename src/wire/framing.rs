//! How long a body is (RFC 9112 section 6.3): one reading, or a flaw.

use http::{Method, StatusCode};

use super::Version;
use super::fields::Fields;
use super::flaw::{RequestFlaw, ResponseFlaw};
use super::name::Name;
use super::request::RequestHead;
use super::response::ResponseHead;

/// How the end of a body is found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Framing {
    /// There is none.
    Empty,
    /// So many bytes; not zero.
    Length(u64),
    /// In chunks; in HTTP/2, whose frames are as much, without a length.
    Chunked,
    /// Answers only: everything until the connection closes.
    UntilClose,
    /// A 101: from here on the connection speaks another protocol.
    Tunnel,
}

impl Framing {
    fn of_length(length: u64) -> Self {
        if length == 0 { Self::Empty } else { Self::Length(length) }
    }

    /// The framing of a request's body. nginx refuses the same.
    ///
    /// # Errors
    /// 400 where two readers could differ, 501 for a coding that we cannot take off.
    pub fn of_request(head: &RequestHead) -> Result<Self, RequestFlaw> {
        match lengths(&head.fields) {
            Lengths { coding: true, .. } if head.version == Version::Http10 => {
                Err(RequestFlaw::CodingInHttp10)
            }
            Lengths { coding: true, length: Some(_) } => Err(RequestFlaw::LengthAndCoding),
            Lengths { coding: true, length: None } if is_chunked(&head.fields) => Ok(Self::Chunked),
            Lengths { coding: true, length: None } => Err(RequestFlaw::Coding),
            Lengths { coding: false, length: None } => Ok(Self::Empty),
            Lengths { coding: false, length: Some(Ok(length)) } => Ok(Self::of_length(length)),
            Lengths { coding: false, length: Some(Err(())) } => Err(RequestFlaw::Length),
        }
    }

    /// The framing of an answer's body, to a request with this method. What the fields say is
    /// checked where there is no body too: it reaches the client of a HEAD.
    ///
    /// # Errors
    /// Always 502.
    pub fn of_response(head: &ResponseHead, method: &Method) -> Result<Self, ResponseFlaw> {
        if head.status == StatusCode::SWITCHING_PROTOCOLS {
            return Ok(Self::Tunnel);
        }
        let framing = match lengths(&head.fields) {
            Lengths { coding: true, .. } if head.version == Version::Http10 => {
                return Err(ResponseFlaw::CodingInHttp10);
            }
            Lengths { coding: true, length: Some(_) } => return Err(ResponseFlaw::LengthAndCoding),
            Lengths { coding: true, length: None } if is_chunked(&head.fields) => Self::Chunked,
            Lengths { coding: true, length: None } => return Err(ResponseFlaw::Coding),
            Lengths { coding: false, length: None } => Self::UntilClose,
            Lengths { coding: false, length: Some(Ok(length)) } => Self::of_length(length),
            Lengths { coding: false, length: Some(Err(())) } => return Err(ResponseFlaw::Length),
        };
        Ok(if has_body(head.status, method) { framing } else { Self::Empty })
    }

    /// The framing of an answer that came in HTTP/2, where each message says where it ends (RFC 9113
    /// section 8.1); `is_over` where it has ended with its head.
    ///
    /// # Errors
    /// Always 502.
    pub fn of_stream(
        head: &ResponseHead,
        method: &Method,
        is_over: bool,
    ) -> Result<Self, ResponseFlaw> {
        let length = lengths(&head.fields).length.transpose().map_err(|()| ResponseFlaw::Length)?;
        Ok(match length {
            _ if !has_body(head.status, method) => Self::Empty,
            Some(length) => Self::of_length(length),
            None if is_over => Self::Empty,
            None => Self::Chunked,
        })
    }
}

/// The length that an answer announces, if it does, whether or not it has a body: that of a HEAD or
/// a 304 is what a GET would have had (RFC 9110 section 8.6).
pub fn announced_length(head: &ResponseHead) -> Option<u64> {
    lengths(&head.fields).length?.ok()
}

/// Whether an answer has a body, however its fields speak of one (RFC 9112 section 6.3, 1).
pub fn has_body(status: StatusCode, method: &Method) -> bool {
    !(status.is_informational()
        || status == StatusCode::NO_CONTENT
        || status == StatusCode::NOT_MODIFIED
        || *method == Method::HEAD)
}

/// The length that a request of HTTP/2 announces (RFC 9113 section 8.1.1).
///
/// # Errors
/// 400 for what is no number.
pub fn length_of(head: &RequestHead) -> Result<Option<u64>, RequestFlaw> {
    lengths(&head.fields).length.transpose().map_err(|()| RequestFlaw::Length)
}

/// What the fields say of a body's length.
struct Lengths {
    /// There is a `Transfer-Encoding`, whatever it says.
    coding: bool,
    /// The `Content-Length`; an error where it is no number, or stands there several times.
    length: Option<Result<u64, ()>>,
}

fn lengths(fields: &Fields) -> Lengths {
    let mut all = fields.all(Name::ContentLength);
    let length = all.next().map(|value| match all.next() {
        None => number(value).ok_or(()),
        Some(_) => Err(()),
    });
    Lengths { coding: fields.has(Name::TransferEncoding), length }
}

/// Digits alone: `+5`, `5, 5` and the empty value are no numbers (RFC 9110 section 8.6). Leading
/// zeros are; they are not passed on.
fn number(value: &[u8]) -> Option<u64> {
    if value.is_empty() {
        return None;
    }
    value.iter().try_fold(0_u64, |number, byte| {
        let digit = byte.is_ascii_digit().then(|| u64::from(byte - b'0'))?;
        number.checked_mul(10)?.checked_add(digit)
    })
}

/// One field with one coding, `chunked` (RFC 9112 section 6.1). Anything else we could not take off.
fn is_chunked(fields: &Fields) -> bool {
    let mut all = fields.all(Name::TransferEncoding);
    all.next().is_some_and(|value| value.eq_ignore_ascii_case(b"chunked")) && all.next().is_none()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn request(version: u8, lines: &str, expected: Result<Framing, RequestFlaw>) {
        let text = format!("POST / HTTP/1.{version}\r\nHost: h\r\n{lines}\r\n");
        let mut head = RequestHead::default();
        let found = head.read(text.as_bytes()).and_then(|()| Framing::of_request(&head));
        assert_eq!(found, expected, "{lines:?}");
    }

    #[test]
    fn bodies_of_requests() {
        use Framing::{Chunked, Empty, Length};
        request(1, "", Ok(Empty));
        request(1, "Content-Length: 0\r\n", Ok(Empty));
        request(1, "Content-Length: 12\r\n", Ok(Length(12)));
        request(0, "content-length:12\r\n", Ok(Length(12)));
        request(1, "Content-Length: 0012\r\n", Ok(Length(12)));
        request(1, "Content-Length: 18446744073709551615\r\n", Ok(Length(u64::MAX)));
        request(1, "Transfer-Encoding: chunked\r\n", Ok(Chunked));
        request(1, "transfer-encoding: Chunked\r\n", Ok(Chunked));
        for length in
            ["", "+1", "-1", "1 2", "1, 1", "1,1", "0x1", "1.0", "18446744073709551616", "\u{661}"]
        {
            request(1, &format!("Content-Length: {length}\r\n"), Err(RequestFlaw::Length));
        }
        for coding in [
            "",
            "gzip",
            "gzip, chunked",
            "chunked, gzip",
            "chunked, chunked",
            ", chunked",
            "chunked,",
            "chunked;a",
            "xchunked",
            "identity",
            "\"chunked\"",
        ] {
            request(1, &format!("Transfer-Encoding: {coding}\r\n"), Err(RequestFlaw::Coding));
        }
        let both = "Content-Length: 1\r\nTransfer-Encoding: chunked\r\n";
        request(1, both, Err(RequestFlaw::LengthAndCoding));
        request(0, "Transfer-Encoding: chunked\r\n", Err(RequestFlaw::CodingInHttp10));
        let twice = "Content-Length: 1\r\nContent-Length: 1\r\n";
        request(1, twice, Err(RequestFlaw::Doubled(Name::ContentLength)));
        let twice = "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n";
        request(1, twice, Err(RequestFlaw::Doubled(Name::TransferEncoding)));
    }

    fn answer(line: &str, lines: &str, method: &Method) -> Result<Framing, ResponseFlaw> {
        let mut head = ResponseHead::default();
        head.read(format!("HTTP/1.{line}\r\n{lines}\r\n").as_bytes())?;
        Framing::of_response(&head, method)
    }

    #[test]
    fn bodies_of_answers() {
        use Framing::{Chunked, Empty, Length, Tunnel, UntilClose};
        let get = |line, lines| answer(line, lines, &Method::GET);
        assert_eq!(get("1 200 OK", ""), Ok(UntilClose));
        assert_eq!(get("1 200 OK", "Content-Length: 0\r\n"), Ok(Empty));
        assert_eq!(get("1 200 OK", "Content-Length: 5\r\n"), Ok(Length(5)));
        assert_eq!(get("0 200 OK", "Content-Length: 5\r\n"), Ok(Length(5)));
        assert_eq!(get("1 200 OK", "Transfer-Encoding: chunked\r\n"), Ok(Chunked));
        assert_eq!(get("1 101 X", ""), Ok(Tunnel));
        for line in ["1 204 X", "1 304 X", "1 103 X", "1 100 X"] {
            assert_eq!(get(line, "Content-Length: 5\r\n"), Ok(Empty), "{line}");
            assert_eq!(get(line, "Transfer-Encoding: chunked\r\n"), Ok(Empty), "{line}");
            assert_eq!(get(line, ""), Ok(Empty), "{line}");
        }
        for lines in ["", "Content-Length: 5\r\n", "Transfer-Encoding: chunked\r\n"] {
            assert_eq!(answer("1 200 OK", lines, &Method::HEAD), Ok(Empty));
        }
    }

    /// nginx answers 502 to each, to a HEAD too.
    #[test]
    fn ambiguous_answers_are_refused() {
        for method in [Method::GET, Method::HEAD] {
            let get = |line: &str, lines: &str| answer(line, lines, &method);
            for length in ["5, 5", "", "+5", "x"] {
                let lines = format!("Content-Length: {length}\r\n");
                assert_eq!(get("1 200 OK", &lines), Err(ResponseFlaw::Length), "{length}");
            }
            let twice = "Content-Length: 5\r\nContent-Length: 5\r\n";
            assert_eq!(get("1 200 OK", twice), Err(ResponseFlaw::Length));
            let both = "Content-Length: 5\r\nTransfer-Encoding: chunked\r\n";
            assert_eq!(get("1 200 OK", both), Err(ResponseFlaw::LengthAndCoding));
            for coding in ["gzip", "gzip, chunked", "", "chunked\r\nTransfer-Encoding: chunked"] {
                let lines = format!("Transfer-Encoding: {coding}\r\n");
                assert_eq!(get("1 200 OK", &lines), Err(ResponseFlaw::Coding), "{coding}");
            }
            let old = get("0 200 OK", "Transfer-Encoding: chunked\r\n");
            assert_eq!(old, Err(ResponseFlaw::CodingInHttp10));
        }
    }
}
