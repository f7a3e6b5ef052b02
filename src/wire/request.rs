//! Heads of requests (RFC 9112 sections 2, 3 and 5).

use http::Method;

use super::Version;
use super::fields::{Fields, Span};
use super::flaw::RequestFlaw;
use super::is_token;
use super::name::Name;

/// Fields that a head may have at most, whatever is configured.
pub const FIELDS_MAX: usize = 128;

/// The head of a request. Made once for a connection and read into again and again.
#[derive(Debug, Default)]
pub struct RequestHead {
    pub method: Method,
    pub version: Version,
    pub fields: Fields,
    target: Span,
}

impl RequestHead {
    /// The request target byte for byte (RFC 9112 section 3.2): no blank, no control character; it
    /// need not be UTF-8.
    pub fn target(&self) -> &[u8] {
        self.fields.span(self.target)
    }

    /// Reads a whole head, from its request line to its empty line (`HeadScan` says where both are).
    ///
    /// # Errors
    /// The first flaw in the order of the bytes. What is in `self` then means nothing.
    pub fn read(&mut self, head: &[u8]) -> Result<(), RequestFlaw> {
        self.read_up_to(head, FIELDS_MAX)
    }

    /// The same, with so many fields at most.
    ///
    /// # Errors
    /// As [`read`](Self::read).
    pub fn read_up_to(&mut self, head: &[u8], fields_max: usize) -> Result<(), RequestFlaw> {
        let line = RequestLine::of(head)?;
        self.method = Method::from_bytes(line.method).map_err(|_| RequestFlaw::RequestLine)?;
        self.version = line.version;
        self.fields.take_text(head);
        self.target =
            Span::new(line.method.len() + 1, line.target.len()).ok_or(RequestFlaw::HeadTooLarge)?;
        let mut once = Once::default();
        read_fields(&mut self.fields, head, line.length, fields_max, |name| once.see(name))?;
        if self.version == Version::Http11 && !self.fields.has(Name::Host) {
            return Err(RequestFlaw::NoHost);
        }
        self.check_expectation()
    }

    /// Checks what [`read`](Self::read) checks of fields, in a head that was composed.
    ///
    /// # Errors
    /// A field that comes twice, or an expectation that nobody meets.
    pub fn check(&self) -> Result<(), RequestFlaw> {
        let mut once = Once::default();
        self.fields.iter().try_for_each(|field| once.see(field.known))?;
        self.check_expectation()
    }

    /// A head that did not come as bytes of HTTP/1; its fields are pushed.
    ///
    /// # Errors
    /// [`RequestFlaw::RequestLine`] for a target that could not stand in a request line.
    pub fn compose(method: Method, target: &[u8]) -> Result<Self, RequestFlaw> {
        if !is_target(target) {
            return Err(RequestFlaw::RequestLine);
        }
        let mut head = Self { method, ..Self::default() };
        head.fields.take_text(target);
        head.target = Span::new(0, target.len()).ok_or(RequestFlaw::HeadTooLarge)?;
        Ok(head)
    }

    /// Makes `Host` say what a target in absolute-form says (RFC 9112 section 3.2.2).
    ///
    /// # Errors
    /// [`RequestFlaw::RequestLine`] where the authority could not be a `Host`.
    pub fn take_authority(&mut self) -> Result<(), RequestFlaw> {
        let Some(authority) = authority_of(self.target()) else { return Ok(()) };
        let authority = authority.to_vec();
        self.fields.set(b"Host", &authority).map_err(|_| RequestFlaw::RequestLine)
    }

    /// Whether the client waits for a `100 Continue` before it sends the body. HTTP/1.0 clients do
    /// not (RFC 9110 section 10.1.1).
    pub fn expects_continue(&self) -> bool {
        self.version == Version::Http11 && self.fields.has(Name::Expect)
    }

    /// The one expectation that there is.
    fn check_expectation(&self) -> Result<(), RequestFlaw> {
        match self.fields.get(Name::Expect) {
            Some(value)
                if self.version == Version::Http11
                    && !value.eq_ignore_ascii_case(b"100-continue") =>
            {
                Err(RequestFlaw::Expectation)
            }
            _ => Ok(()),
        }
    }
}

/// Finds fields that come twice and may not.
#[derive(Default)]
struct Once {
    seen: u128,
}

impl Once {
    fn see(&mut self, name: Name) -> Result<(), RequestFlaw> {
        let bit = 1_u128 << (name as u8);
        let is_doubled = name.comes_once() && self.seen & bit != 0;
        self.seen |= bit;
        if is_doubled { Err(RequestFlaw::Doubled(name)) } else { Ok(()) }
    }
}

/// The first line of a request.
#[derive(Debug, PartialEq, Eq)]
pub struct RequestLine<'a> {
    pub method: &'a [u8],
    pub target: &'a [u8],
    pub version: Version,
    /// Bytes of the line with its line break.
    length: usize,
}

impl<'a> RequestLine<'a> {
    /// Reads the line that `head` begins with: `method SP request-target SP HTTP-version`, with one
    /// blank each (RFC 9112 section 3), ended by CRLF or LF.
    ///
    /// # Errors
    /// [`RequestFlaw::RequestLine`], or [`RequestFlaw::Version`] where only the version is at fault.
    pub fn of(head: &'a [u8]) -> Result<Self, RequestFlaw> {
        let flaw = RequestFlaw::RequestLine;
        let end = memchr::memchr(b'\n', head).ok_or(flaw)?;
        let line = head.get(..end).ok_or(flaw)?;
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        let (method, rest) = until_blank(line).ok_or(flaw)?;
        let (target, version) = until_blank(rest).ok_or(flaw)?;
        if method.is_empty() || !method.iter().all(|byte| is_token(*byte)) {
            return Err(flaw);
        }
        if !is_target(target) {
            return Err(flaw);
        }
        let version = Version::read(version).map_err(|known| match known {
            true => RequestFlaw::Version,
            false => flaw,
        })?;
        Ok(Self { method, target, version, length: end + 1 })
    }

    /// Whether a request can begin with this byte: bytes of another protocol are answered before
    /// they end a line, if they ever do.
    pub fn may_begin_with(byte: u8) -> bool {
        is_token(byte) || matches!(byte, b'\r' | b'\n')
    }
}

fn is_target(target: &[u8]) -> bool {
    !target.is_empty() && !target.iter().any(|byte| *byte <= b' ' || *byte == 0x7f)
}

/// The authority of a target in absolute-form, of whatever scheme.
pub(super) fn authority_of(target: &[u8]) -> Option<&[u8]> {
    let (scheme, rest) = target.split_at_checked(target.iter().position(|byte| *byte == b':')?)?;
    let is_scheme = scheme.first().is_some_and(u8::is_ascii_alphabetic)
        && scheme.iter().all(|byte| byte.is_ascii_alphanumeric() || b"+-.".contains(byte));
    let rest = rest.strip_prefix(b"://").filter(|_| is_scheme)?;
    let end = rest.iter().position(|byte| matches!(byte, b'/' | b'?' | b'#'));
    Some(rest.get(..end.unwrap_or(rest.len())).unwrap_or_default())
}

fn until_blank(text: &[u8]) -> Option<(&[u8], &[u8])> {
    let at = memchr::memchr(b' ', text)?;
    Some((text.get(..at)?, text.get(at + 1..)?))
}

impl Version {
    /// Reads `HTTP/1.1` (RFC 9112 section 2.3).
    ///
    /// # Errors
    /// Whether it is at least some version of HTTP.
    pub(super) fn read(text: &[u8]) -> Result<Self, bool> {
        match text {
            b"HTTP/1.1" => Ok(Self::Http11),
            b"HTTP/1.0" => Ok(Self::Http10),
            [b'H', b'T', b'T', b'P', b'/', b'1', b'.', minor] if minor.is_ascii_digit() => {
                Ok(Self::Http11)
            }
            [b'H', b'T', b'T', b'P', b'/', major, b'.', minor] => {
                Err(major.is_ascii_digit() && minor.is_ascii_digit())
            }
            _ => Err(false),
        }
    }
}

/// Reads the field lines of a head that begin at `begin`, up to its empty line.
pub(super) fn read_fields<E>(
    fields: &mut Fields,
    head: &[u8],
    begin: usize,
    most: usize,
    mut each: impl FnMut(Name) -> Result<(), E>,
) -> Result<(), E>
where
    E: From<FieldsFlaw>,
{
    let lines = head.get(begin..).unwrap_or_default();
    let mut room = [httparse::EMPTY_HEADER; FIELDS_MAX];
    let mut more_room = Vec::new();
    let mut read = httparse::parse_headers(lines, &mut room);
    if matches!(read, Err(httparse::Error::TooManyHeaders)) && most > FIELDS_MAX {
        more_room.resize(most, httparse::EMPTY_HEADER);
        read = httparse::parse_headers(lines, &mut more_room);
    }
    let parsed = match read {
        Ok(httparse::Status::Complete((_, parsed))) if parsed.len() > most => {
            return Err(FieldsFlaw::TooMany.into());
        }
        Ok(httparse::Status::Complete((length, parsed))) if length == lines.len() => parsed,
        Err(httparse::Error::TooManyHeaders) => return Err(FieldsFlaw::TooMany.into()),
        Ok(_) | Err(_) => return Err(FieldsFlaw::Line.into()),
    };
    // `httparse` gives slices of what it was given; ranges outlive the copy in `fields`.
    let base = head.as_ptr().addr();
    let span = |piece: &[u8]| {
        // An empty value may point anywhere.
        let begin = if piece.is_empty() { 0 } else { piece.as_ptr().addr() - base };
        Span::new(begin, piece.len()).ok_or(FieldsFlaw::TooLarge)
    };
    fields.expect(parsed.len());
    for field in parsed.iter() {
        each(fields.note(span(field.name.as_bytes())?, span(field.value)?))?;
    }
    Ok(())
}

/// What is wrong with field lines, whoever sent them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum FieldsFlaw {
    Line,
    TooMany,
    TooLarge,
}

impl From<FieldsFlaw> for RequestFlaw {
    fn from(flaw: FieldsFlaw) -> Self {
        match flaw {
            FieldsFlaw::Line => Self::FieldLine,
            FieldsFlaw::TooMany => Self::TooManyFields,
            FieldsFlaw::TooLarge => Self::HeadTooLarge,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(head: impl AsRef<[u8]>) -> Result<RequestHead, RequestFlaw> {
        let mut read = RequestHead::default();
        read.read(head.as_ref()).map(|()| read)
    }

    #[track_caller]
    fn line(line: impl AsRef<[u8]>, expected: Result<(&str, &[u8], Version), RequestFlaw>) {
        let line = line.as_ref();
        let head = [line, b"\r\nHost: h\r\n\r\n"].concat();
        let found = read(&head);
        let found = found.as_ref().map_err(|flaw| *flaw);
        let found = found.map(|head| (head.method.as_str(), head.target(), head.version));
        assert_eq!(found, expected, "{}", line.escape_ascii());
    }

    /// RFC 9112 section 3: one blank, no more; nothing in a target that ends it for somebody.
    #[test]
    fn request_lines() {
        use RequestFlaw::{RequestLine, Version as Unspoken};
        use Version::{Http10, Http11};
        line("GET / HTTP/1.1", Ok(("GET", b"/", Http11)));
        line("GET / HTTP/1.0", Ok(("GET", b"/", Http10)));
        line("GET / HTTP/1.7", Ok(("GET", b"/", Http11)));
        line("OPTIONS * HTTP/1.1", Ok(("OPTIONS", b"*", Http11)));
        line("GET http://h/p?q HTTP/1.1", Ok(("GET", b"http://h/p?q", Http11)));
        line("M-SEARCH /x HTTP/1.1", Ok(("M-SEARCH", b"/x", Http11)));
        line("get / HTTP/1.1", Ok(("get", b"/", Http11)));
        line(b"GET /\xff\xe4 HTTP/1.1", Ok(("GET", b"/\xff\xe4", Http11)));
        for bad in [
            "",
            "GET",
            "GET /",
            "GET  / HTTP/1.1",
            "GET /  HTTP/1.1",
            "GET / HTTP/1.1 ",
            " GET / HTTP/1.1",
            "GET / HTTP/1.1 x",
            "GET /a b HTTP/1.1",
            "GET\t/ HTTP/1.1",
            "GET /\tx HTTP/1.1",
            "GET /\x01 HTTP/1.1",
            "GET /\x7f HTTP/1.1",
            "GET /\0 HTTP/1.1",
            "G(T / HTTP/1.1",
            "GET / http/1.1",
            "GET / HTTP/1.",
            "GET / HTTP/11",
            "GET / HTTP/1.10",
            "GET / HTTP/x.1",
            "GET / XTTP/1.1",
            "GET /\r HTTP/1.1",
            "GET / HTTP/1.1\r",
            "\u{e4} / HTTP/1.1",
        ] {
            line(bad, Err(RequestLine));
        }
        for unspoken in ["GET / HTTP/2.0", "GET / HTTP/0.9", "PRI * HTTP/2.0", "GET / HTTP/3.1"] {
            line(unspoken, Err(Unspoken));
        }
    }

    #[track_caller]
    fn field_lines(lines: impl AsRef<[u8]>, expected: Result<usize, RequestFlaw>) {
        let lines = lines.as_ref();
        let head = [b"GET / HTTP/1.1\r\nHost: h\r\n", lines, b"\r\n"].concat();
        let found = read(head).map(|head| head.fields.len() - 1);
        assert_eq!(found, expected, "{}", lines.escape_ascii());
    }

    /// RFC 9112 section 5.
    #[test]
    fn field_lines_are_names_and_values() {
        field_lines("", Ok(0));
        field_lines("a: b\r\nc:\r\nd:e\r\n", Ok(3));
        field_lines("a: b\nc: d\n", Ok(2));
        field_lines("a:\t b \t\r\n", Ok(1));
        field_lines(b"a: \xe4\xff\r\n", Ok(1));
        field_lines("A!#$%&'*+-.^_`|~9: b\r\n", Ok(1));
        for bad in [
            "a\r\n",
            "a b: c\r\n",
            "a : b\r\n",
            "a\t: b\r\n",
            ": b\r\n",
            " a: b\r\n",
            "a: b\r\n c\r\n",
            "a: b\r\n\tc\r\n",
            "a: b\rc\r\n",
            "a: b\r\r\n",
            "a: \x01\r\n",
            "a: b\0\r\n",
            "a: \x7f\r\n",
            "a(: b\r\n",
            "\u{e4}: b\r\n",
            "\r: b\r\n",
        ] {
            field_lines(bad, Err(RequestFlaw::FieldLine));
        }
    }

    #[test]
    fn values_are_trimmed_and_names_kept() {
        let head = read("GET / HTTP/1.1\r\nhOsT:  h \r\nX-Y:\t\r\n\r\n").expect("it is good");
        let fields: Vec<_> = head.fields.iter().map(|field| (field.name, field.value)).collect();
        assert_eq!(fields, [(&b"hOsT"[..], &b"h"[..]), (b"X-Y", b"")]);
    }

    /// nginx refuses these doubled, with equal values too (RFC 9110 section 5.3).
    #[test]
    fn fields_that_come_once() {
        for (name, known) in [
            ("Host", Name::Host),
            ("content-length", Name::ContentLength),
            ("Transfer-Encoding", Name::TransferEncoding),
            ("Expect", Name::Expect),
            ("Authorization", Name::Authorization),
            ("If-Match", Name::IfMatch),
            ("If-None-Match", Name::IfNoneMatch),
            ("If-Modified-Since", Name::IfModifiedSince),
            ("If-Unmodified-Since", Name::IfUnmodifiedSince),
            ("If-Range", Name::IfRange),
            ("Content-Range", Name::ContentRange),
        ] {
            let once = format!("{name}: 1\r\n");
            let doubled = format!("{once}x: y\r\n{}", once.to_ascii_uppercase());
            field_lines(doubled, Err(RequestFlaw::Doubled(known)));
        }
        field_lines("Cookie: a\r\nCookie: b\r\nAccept: a\r\nAccept: b\r\n", Ok(4));
    }

    #[test]
    fn a_host_is_needed_from_1_1_on() {
        assert_eq!(read("GET / HTTP/1.1\r\n\r\n").err(), Some(RequestFlaw::NoHost));
        assert!(read("GET / HTTP/1.0\r\n\r\n").is_ok());
        assert!(read("GET / HTTP/1.1\r\nHost:\r\n\r\n").is_ok(), "what is in it is routing's");
    }

    #[test]
    fn the_number_of_fields_has_a_limit() {
        let lines = |count| "a: b\r\n".repeat(count);
        field_lines(lines(FIELDS_MAX - 1), Ok(FIELDS_MAX - 1));
        field_lines(lines(FIELDS_MAX), Err(RequestFlaw::TooManyFields));
    }

    /// RFC 9110 section 10.1.1.
    #[test]
    fn there_is_one_expectation() {
        let expecting = |version, value| {
            read(format!("PUT / HTTP/1.{version}\r\nHost: h\r\nExpect: {value}\r\n\r\n"))
                .map(|head| head.expects_continue())
        };
        assert_eq!(expecting(1, "100-Continue"), Ok(true));
        assert_eq!(expecting(0, "100-continue"), Ok(false));
        assert_eq!(expecting(0, "more"), Ok(false));
        assert_eq!(expecting(1, "more"), Err(RequestFlaw::Expectation));
    }

    #[test]
    fn a_head_is_read_over_another() {
        let mut head = RequestHead::default();
        head.read(b"POST /one HTTP/1.0\r\nA: 1\r\nB: 2\r\n\r\n").expect("it is good");
        head.read(b"GET /two HTTP/1.1\r\nHost: h\r\n\r\n").expect("it is good");
        assert_eq!((head.method.as_str(), head.target()), ("GET", &b"/two"[..]));
        assert_eq!((head.version, head.fields.len()), (Version::Http11, 1));
    }
}
