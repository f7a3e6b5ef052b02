//! Parts of a file (RFC 9110 section 14), in nginx's form.

use crate::wire::fields::{Fields, Unwritable};
use crate::wire::name::Name;

use super::time;

/// Bytes of a file: from the first to the one before the last.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Span {
    pub begin: u64,
    pub end: u64,
}

impl Span {
    pub fn len(self) -> u64 {
        self.end.saturating_sub(self.begin)
    }

    pub fn is_empty(self) -> bool {
        self.len() == 0
    }
}

/// What is sent of a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ranges {
    /// 200.
    Whole,
    /// 206.
    Parts(Vec<Span>),
    /// 416.
    NotSatisfiable,
}

/// Chooses what is sent of a file of so many bytes. `answered` is the head that would be sent with the
/// whole; `most` is how many parts may be asked for (nginx `max_ranges`).
pub fn choose(asked: &Fields, answered: &Fields, size: u64, most: usize) -> Ranges {
    let Some(range) = asked.get(Name::Range).filter(|_| most > 0) else { return Ranges::Whole };
    let Some((b"bytes=", list)) = split_unit(range) else { return Ranges::Whole };
    if asked.get(Name::IfRange).is_some_and(|tag| !is_unchanged(tag, answered)) {
        return Ranges::Whole;
    }
    parse(list, size, most)
}

/// The unit in lower case, and what follows; something must.
fn split_unit(range: &[u8]) -> Option<(&'static [u8], &[u8])> {
    let (unit, list) = range.split_at_checked(6)?;
    (unit.eq_ignore_ascii_case(b"bytes=") && !list.is_empty()).then_some((b"bytes=", list))
}

/// `If-Range` (RFC 9110 section 13.1.5): the very tag, or the very moment.
fn is_unchanged(condition: &[u8], answered: &Fields) -> bool {
    if condition.len() >= 2 && condition.ends_with(b"\"") {
        return answered.get(Name::ETag) == Some(condition);
    }
    let modified = answered.get(Name::LastModified).and_then(time::parse);
    modified.is_some() && time::parse(condition) == modified
}

fn parse(list: &[u8], size: u64, most: usize) -> Ranges {
    let mut spans: Vec<Span> = Vec::new();
    let mut sum: u64 = 0;
    for spec in list.split(|byte| *byte == b',') {
        let Some(span) = Spec::read(spec).map(|spec| spec.of(size)) else {
            return Ranges::NotSatisfiable;
        };
        if span.is_empty() {
            // Of an empty file each range is the whole.
            if span.begin == 0 {
                return Ranges::Whole;
            }
            continue;
        }
        if spans.len() == most {
            return Ranges::Whole;
        }
        spans.push(span);
        sum = sum.saturating_add(span.len());
    }
    match spans.len() {
        0 => Ranges::NotSatisfiable,
        // Overlapping parts would multiply a file.
        _ if sum > size => Ranges::Whole,
        _ => Ranges::Parts(spans),
    }
}

/// One range as it is asked for.
enum Spec {
    From(u64),
    /// The last byte included.
    Between(u64, u64),
    Last(u64),
}

impl Spec {
    fn read(text: &[u8]) -> Option<Self> {
        let text = trim(text);
        let dash = memchr::memchr(b'-', text)?;
        let (first, last) = (trim(text.get(..dash)?), text.get(dash + 1..)?);
        match (first, trim(last)) {
            // Only in front of a number, as nginx has it.
            (b"", _) => Some(Self::Last(number(last.trim_ascii_end())?)),
            (first, b"") => Some(Self::From(number(first)?)),
            (first, last) => Some(Self::Between(number(first)?, number(last)?)),
        }
    }

    fn of(self, size: u64) -> Span {
        match self {
            Self::From(begin) => Span { begin, end: size },
            Self::Between(begin, last) => Span { begin, end: size.min(last.saturating_add(1)) },
            Self::Last(length) => Span { begin: size.saturating_sub(length), end: size },
        }
    }
}

fn trim(mut text: &[u8]) -> &[u8] {
    while let [b' ', rest @ ..] | [rest @ .., b' '] = text {
        text = rest;
    }
    text
}

fn number(digits: &[u8]) -> Option<u64> {
    if digits.is_empty() || !digits.iter().all(u8::is_ascii_digit) {
        return None;
    }
    let number: u64 = std::str::from_utf8(digits).ok()?.parse().ok()?;
    (number <= i64::MAX as u64).then_some(number)
}

/// A piece of a body of several parts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Piece {
    Text(Vec<u8>),
    File(Span),
}

impl Piece {
    pub fn len(&self) -> u64 {
        match self {
            Self::Text(text) => text.len() as u64,
            Self::File(span) => span.len(),
        }
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// Several parts as one body (RFC 9110 section 14.6). `content_type` is what the whole would have had;
/// `boundary` a number that no file has by chance.
pub fn multipart(
    spans: &[Span],
    size: u64,
    content_type: Option<&[u8]>,
    boundary: u64,
) -> Vec<Piece> {
    let mut pieces = Vec::with_capacity(2 * spans.len() + 1);
    for span in spans {
        let mut head = format!("\r\n--{boundary:020}\r\n").into_bytes();
        if let Some(content_type) = content_type {
            head.extend_from_slice(b"Content-Type: ");
            head.extend_from_slice(content_type);
            head.extend_from_slice(b"\r\n");
        }
        let range = content_range(*span, size);
        head.extend_from_slice(format!("Content-Range: {range}\r\n\r\n").as_bytes());
        pieces.extend([Piece::Text(head), Piece::File(*span)]);
    }
    pieces.push(Piece::Text(format!("\r\n--{boundary:020}--\r\n").into_bytes()));
    pieces
}

/// Writes into the head of a 206 what its one part is.
///
/// # Errors
/// None: what is written is digits.
pub fn single(head: &mut Fields, span: Span, size: u64) -> Result<(), Unwritable> {
    head.set(b"Content-Range", content_range(span, size).as_bytes())
}

/// Writes into the head of a 206 that it has several parts.
///
/// # Errors
/// None: what is written is digits.
pub fn several(head: &mut Fields, boundary: u64) -> Result<(), Unwritable> {
    let content_type = format!("multipart/byteranges; boundary={boundary:020}");
    head.set(b"Content-Type", content_type.as_bytes())
}

/// The value of `Content-Range` of a 416.
pub fn unsatisfied(size: u64) -> String {
    format!("bytes */{size}")
}

fn content_range(span: Span, size: u64) -> String {
    format!("bytes {}-{}/{size}", span.begin, span.end.saturating_sub(1))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn head() -> Fields {
        Fields::of(&[("ETag", "\"a\""), ("Last-Modified", "Sun, 06 Nov 1994 08:49:37 GMT")])
    }

    fn ask(range: &str, size: u64) -> Ranges {
        choose(&Fields::of(&[("Range", range)]), &head(), size, usize::MAX)
    }

    fn parts(spans: &[(u64, u64)]) -> Ranges {
        Ranges::Parts(spans.iter().map(|(begin, end)| Span { begin: *begin, end: *end }).collect())
    }

    #[test]
    fn ranges_are_read_as_nginx_does() {
        use Ranges::{NotSatisfiable, Whole};
        for (range, expected) in [
            ("bytes=0-0", parts(&[(0, 1)])),
            ("BYTES=1-", parts(&[(1, 10)])),
            ("bytes=-3", parts(&[(7, 10)])),
            ("bytes=-30", parts(&[(0, 10)])),
            ("bytes=5-99", parts(&[(5, 10)])),
            ("bytes= 1 - 2 ", parts(&[(1, 3)])),
            ("bytes=0-1,4-5, -1", parts(&[(0, 2), (4, 6), (9, 10)])),
            ("bytes=10-", NotSatisfiable),
            ("bytes=10-12", NotSatisfiable),
            ("bytes=-0", NotSatisfiable),
            ("bytes=12-,1-2", parts(&[(1, 3)])),
            ("bytes=5-3", NotSatisfiable),
            ("bytes=a", NotSatisfiable),
            ("bytes=1", NotSatisfiable),
            ("bytes=--1", NotSatisfiable),
            ("bytes=1-2x", NotSatisfiable),
            ("bytes=1-2,", NotSatisfiable),
            ("bytes=1-2,x", NotSatisfiable),
            ("bytes=9223372036854775807-", NotSatisfiable),
            ("bytes=9223372036854775808-", NotSatisfiable),
            ("bytes=0-9,0-9", Whole),
            ("bytes=0-9,9-9", Whole),
            ("bytes=", Whole),
            ("items=0-1", Whole),
            ("bytes 0-1", Whole),
            ("", Whole),
        ] {
            assert_eq!(ask(range, 10), expected, "{range}");
        }
        assert_eq!(ask("bytes=0-0", 0), Whole);
        assert_eq!(ask("bytes=-1", 0), Whole);
        assert_eq!(ask("bytes=1-2", 0), NotSatisfiable);
    }

    #[test]
    fn too_many_ranges_are_none() {
        let ask = |most| choose(&Fields::of(&[("Range", "bytes=0-0,2-2")]), &head(), 10, most);
        assert_eq!(ask(2), parts(&[(0, 1), (2, 3)]));
        assert_eq!(ask(1), Ranges::Whole);
        assert_eq!(ask(0), Ranges::Whole);
    }

    #[test]
    fn a_range_of_what_has_changed_is_the_whole() {
        for (condition, is_part) in [
            ("\"a\"", true),
            ("\"b\"", false),
            ("W/\"a\"", false),
            ("Sun, 06 Nov 1994 08:49:37 GMT", true),
            ("Sun, 06 Nov 1994 08:49:38 GMT", false),
            ("soon", false),
        ] {
            let asked = Fields::of(&[("Range", "bytes=0-0"), ("If-Range", condition)]);
            let chosen = |head: Fields| choose(&asked, &head, 10, 9);
            assert_eq!(chosen(head()) != Ranges::Whole, is_part, "{condition}");
            let untagged = chosen(Fields::new());
            assert_eq!(untagged, Ranges::Whole, "{condition}: what has no tag matches none");
        }
    }

    #[test]
    fn several_parts_are_one_body() {
        let spans = [Span { begin: 0, end: 2 }, Span { begin: 4, end: 5 }];
        let mut body = Vec::new();
        for piece in multipart(&spans, 6, Some(b"text/plain"), 7) {
            match piece {
                Piece::Text(text) => body.extend(text),
                Piece::File(span) => {
                    body.extend(&b"abcdef"[span.begin as usize..span.end as usize])
                }
            }
        }
        let expected = "\r\n--00000000000000000007\r\nContent-Type: text/plain\r\n\
                        Content-Range: bytes 0-1/6\r\n\r\nab\
                        \r\n--00000000000000000007\r\nContent-Type: text/plain\r\n\
                        Content-Range: bytes 4-4/6\r\n\r\ne\
                        \r\n--00000000000000000007--\r\n";
        assert_eq!(String::from_utf8(body).expect("text"), expected);
    }

    proptest! {
        #[test]
        fn no_range_makes_it_panic_or_leaves_the_file(range in "bytes=[0-9, -]{0,40}", size in any::<u64>()) {
            if let Ranges::Parts(spans) = ask(&range, size) {
                prop_assert!(spans.iter().all(|span| span.begin < span.end && span.end <= size));
                prop_assert!(spans.iter().map(|span| u128::from(span.len())).sum::<u128>() <= u128::from(size));
            }
        }
    }
}
