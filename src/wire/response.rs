//! Heads of answers (RFC 9112 sections 4 and 5).

use http::StatusCode;

use super::fields::{Fields, Span};
use super::flaw::ResponseFlaw;
use super::request::{FIELDS_MAX, FieldsFlaw, read_fields};
use super::{Version, trim};

/// The head of an answer. Made once for a connection and read into again and again.
#[derive(Debug, Default)]
pub struct ResponseHead {
    pub status: StatusCode,
    pub version: Version,
    pub fields: Fields,
    reason: Span,
}

impl ResponseHead {
    /// A head that did not come as bytes.
    pub fn compose(status: StatusCode, fields: Fields) -> Self {
        Self { status, fields, ..Self::default() }
    }

    /// Another status, with its usual reason.
    pub fn set_status(&mut self, status: StatusCode) {
        self.status = status;
        self.reason = Span::default();
    }

    /// The reason phrase byte for byte; may be empty.
    pub fn reason(&self) -> &[u8] {
        self.fields.span(self.reason)
    }

    /// Reads a whole head, from its status line to its empty line.
    ///
    /// # Errors
    /// The first flaw in the order of the bytes. What is in `self` then means nothing.
    pub fn read(&mut self, head: &[u8]) -> Result<(), ResponseFlaw> {
        let line = StatusLine::of(head)?;
        self.status = line.status;
        self.version = line.version;
        self.fields.take_text(head);
        self.reason = line.reason;
        match read_fields(&mut self.fields, head, line.length, FIELDS_MAX, |_| Ok(())) {
            Err(ResponseFlaw::FieldLine) => match mended(head, line.length) {
                Some(mended) => {
                    self.fields.take_text(&mended);
                    read_fields(&mut self.fields, &mended, line.length, FIELDS_MAX, |_| Ok(()))
                }
                None => Err(ResponseFlaw::FieldLine),
            },
            read => read,
        }
    }
}

struct StatusLine {
    version: Version,
    status: StatusCode,
    reason: Span,
    /// Bytes of the line with its line break.
    length: usize,
}

impl StatusLine {
    /// Reads `HTTP-version SP status-code [SP [reason-phrase]]`. The blank behind the status is
    /// often missing where no reason is given.
    fn of(head: &[u8]) -> Result<Self, ResponseFlaw> {
        let flaw = ResponseFlaw::StatusLine;
        let end = memchr::memchr(b'\n', head).ok_or(flaw)?;
        let line = head.get(..end).ok_or(flaw)?;
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        let (version, rest) = line.split_at_checked(8).ok_or(flaw)?;
        let version = Version::read(version).map_err(|_| flaw)?;
        let (code, reason) = match rest.split_at_checked(4).ok_or(flaw)? {
            ([b' ', code @ ..], [] | [b' ', ..]) => (code, rest.get(5..).unwrap_or_default()),
            _ => return Err(flaw),
        };
        if reason.iter().any(|byte| matches!(byte, 0..=0x08 | 0x0a..=0x1f | 0x7f)) {
            return Err(flaw);
        }
        Ok(Self {
            version,
            status: StatusCode::from_bytes(code).map_err(|_| flaw)?,
            reason: Span::new(13, reason.len()).ok_or(ResponseFlaw::HeadTooLarge)?,
            length: end + 1,
        })
    }
}

/// The head without blanks between names and colons, and with folded lines in one; `None` where there
/// is nothing to mend. Whoever passes an answer on does both (RFC 9112 sections 5.1 and 5.2).
fn mended(head: &[u8], begin: usize) -> Option<Vec<u8>> {
    let (first, fields) = head.split_at_checked(begin)?;
    let mut mended = first.to_vec();
    let (mut is_mended, mut has_begun) = (false, false);
    for line in fields.split_inclusive(|byte| *byte == b'\n') {
        let is_folded = matches!(line.first(), Some(b' ' | b'\t'));
        if is_folded {
            // Only a line of a field goes on, and only its line break is one: any other return stays.
            let kept = mended.strip_suffix(b"\n").filter(|_| has_begun)?;
            let length = kept.strip_suffix(b"\r").unwrap_or(kept).len();
            mended.truncate(length);
            while matches!(mended.last(), Some(b' ' | b'\t')) {
                mended.pop();
            }
            mended.push(b' ');
            let text = line.iter().position(|byte| !matches!(byte, b' ' | b'\t'));
            mended.extend_from_slice(line.get(text.unwrap_or(line.len())..).unwrap_or_default());
            is_mended = true;
            continue;
        }
        let parts = memchr::memchr(b':', line).and_then(|colon| line.split_at_checked(colon));
        has_begun = parts.is_some();
        match parts {
            Some((name, value)) => {
                is_mended |= trim(name).len() < name.len();
                mended.extend_from_slice(trim(name));
                mended.extend_from_slice(value);
            }
            None => mended.extend_from_slice(line),
        }
    }
    is_mended.then_some(mended)
}

impl From<FieldsFlaw> for ResponseFlaw {
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
    use crate::wire::name::Name;

    fn read(head: impl AsRef<[u8]>) -> Result<ResponseHead, ResponseFlaw> {
        let mut read = ResponseHead::default();
        read.read(head.as_ref()).map(|()| read)
    }

    #[test]
    fn status_lines() {
        let line = |line: &[u8]| {
            let head = read([line, b"\r\n\r\n"].concat())?;
            Ok((head.status.as_u16(), head.reason().to_vec(), head.version))
        };
        let good = |status, reason: &[u8], version| Ok((status, reason.to_vec(), version));
        assert_eq!(line(b"HTTP/1.1 200 OK"), good(200, b"OK", Version::Http11));
        assert_eq!(line(b"HTTP/1.0 404 Not Found"), good(404, b"Not Found", Version::Http10));
        assert_eq!(line(b"HTTP/1.1 200 "), good(200, b"", Version::Http11));
        assert_eq!(line(b"HTTP/1.1 200"), good(200, b"", Version::Http11));
        assert_eq!(line(b"HTTP/1.1 999 \xe4 b"), good(999, b"\xe4 b", Version::Http11));
        for bad in [
            &b""[..],
            b"200 OK",
            b"HTTP/1.1",
            b"HTTP/1.1 20",
            b"HTTP/1.1 2000 OK",
            b"HTTP/1.1 099 x",
            b"HTTP/1.1  200 OK",
            b"HTTP/2 200",
            b"HTTP/2.0 200 OK",
            b"http/1.1 200 OK",
            b"HTTP/1.1 2x0 OK",
            b"HTTP/1.1\t200 OK",
            b"HTTP/1.1 200\tOK",
            b"HTTP/1.1 200 O\rK",
            b"HTTP/1.1 200 \0",
            b"ICY 200 OK",
        ] {
            assert_eq!(line(bad), Err(ResponseFlaw::StatusLine), "{}", bad.escape_ascii());
        }
    }

    #[test]
    fn fields_keep_their_order_and_doubles() {
        let head = read("HTTP/1.1 200 OK\nSet-Cookie: a\nSet-Cookie: b\n\n").expect("it is good");
        let values: Vec<_> = head.fields.all(super::super::name::Name::SetCookie).collect();
        assert_eq!(values, [b"a", b"b"]);
    }

    /// RFC 9112 section 5.1: a proxy removes them.
    #[test]
    fn blanks_before_a_colon_are_removed() {
        let head = read("HTTP/1.1 200 OK\r\nA : b: c\r\nD\t :e\r\n\r\n").expect("it is good");
        let fields: Vec<_> = head.fields.iter().map(|field| (field.name, field.value)).collect();
        assert_eq!(fields, [(&b"A"[..], &b"b: c"[..]), (b"D", b"e")]);
        assert_eq!(head.reason(), b"OK");
    }

    #[test]
    fn folded_lines_become_one() {
        let check = |lines: &str, expected: &str| {
            let head = read(format!("HTTP/1.1 200 OK\r\n{lines}\r\n")).expect("a head");
            assert_eq!(head.fields.only(Name::Link), Some(expected.as_bytes()), "{lines:?}");
        };
        check("Link: b\r\n c\r\n", "b c");
        check("Link: b\r\n\t c: d\r\nX: y\r\n", "b c: d");
        check("Link: b \r\n \t\r\n c\n", "b c");
        check("Link:\r\n c\r\n", "c");
    }

    #[test]
    fn broken_lines_are_refused() {
        for lines in [
            " a: b\r\n",
            "a\r\n",
            "a b\r\n",
            "a: b\rc\r\n",
            "a: b\0\r\n",
            "a b : c\r\n",
            ": c\r\n",
            " : c\r\n",
            // No folded line hides what is no line of a field, or a return.
            " \r\n a: b\r\n",
            "\r\r\n a: b\r\n",
            "a: b\r\n\r\r\n c: d\r\n",
            "a: b\r\nc\r\n d: e\r\n",
            "a: b\r\r\n c\r\n",
            "a: b\r\n \r\r\n c\r\n",
            "a: b\r\n\t\r \r\n c\r\n",
        ] {
            let found = read(format!("HTTP/1.1 200 OK\r\n{lines}\r\n"));
            assert_eq!(found.err(), Some(ResponseFlaw::FieldLine), "{lines:?}");
        }
    }
}
