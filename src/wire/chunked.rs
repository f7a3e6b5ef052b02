//! Chunked bodies (RFC 9112 section 7.1), decoded as their bytes arrive.
//!
//! Stricter than many: every line ends with CRLF, a size has digits, nothing follows it but
//! extensions. Each of these, read more kindly by one of two readers, makes two messages of one.
//! How the bytes were cut never matters.

use thiserror::Error;

use super::fields::Fields;
use super::request::{FIELDS_MAX, FieldsFlaw, read_fields};

/// Bytes of extensions that one body may have: they carry nothing that we pass on.
const EXTENSIONS_MAX: usize = 16 * 1024;
/// Bytes that trailers may have.
const TRAILERS_MAX: usize = 16 * 1024;
/// Hexadecimal digits of a size, leading zeros included.
const DIGITS_MAX: u8 = 16;

/// What is wrong with a chunked body.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
pub enum ChunkFlaw {
    #[error("a chunk size that is none")]
    Size,
    #[error("a chunk size beyond any limit")]
    SizeTooLarge,
    #[error("a chunk extension with a control character")]
    Extension,
    #[error("chunk extensions that are too long")]
    ExtensionsTooLong,
    #[error("a chunk that is longer than its size says")]
    DataEnd,
    #[error("a trailer line that is none")]
    Trailers,
    #[error("trailers that are too large")]
    TrailersTooLarge,
}

/// One body being decoded.
#[derive(Debug, Default)]
pub struct ChunkedDecoder {
    state: State,
    /// Bytes of extensions so far.
    extensions: usize,
    /// The trailer section so far.
    trailers: Vec<u8>,
}

/// What the next bytes are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Size {
        size: u64,
        digits: u8,
    },
    /// Blanks behind a size: an extension must follow.
    Blank {
        size: u64,
    },
    Extension {
        size: u64,
    },
    /// The line feed of a size's line.
    SizeEnd {
        size: u64,
    },
    Data {
        left: u64,
    },
    /// The carriage return behind data …
    DataReturn,
    /// … and its line feed.
    DataEnd,
    Trailers,
    Ended,
}

impl Default for State {
    fn default() -> Self {
        Self::Size { size: 0, digits: 0 }
    }
}

/// What was found in the bytes handed in.
#[derive(Debug)]
pub enum Chunk {
    /// So many of the bytes, behind those that are to be skipped, are data.
    Data { skip: usize, length: usize },
    /// The body ended after so many bytes; the trailers, if any, without those that no trailer may
    /// be (RFC 9110 section 6.5.1).
    End { skip: usize, trailers: Option<Box<Fields>> },
    /// All bytes were taken, and there is nothing to hand on yet.
    More,
}

impl ChunkedDecoder {
    /// Looks at what has arrived. The caller skips and takes what it is told of before it calls
    /// again.
    ///
    /// # Errors
    /// A flaw, after which nothing that follows on the connection can be read.
    pub fn decode(&mut self, input: &[u8]) -> Result<Chunk, ChunkFlaw> {
        let mut at = 0;
        while let Some(&byte) = input.get(at) {
            match self.state {
                State::Data { left } => {
                    let there = input.len() - at;
                    let length = usize::try_from(left).map_or(there, |left| left.min(there));
                    self.state = match left - length as u64 {
                        0 => State::DataReturn,
                        left => State::Data { left },
                    };
                    return Ok(Chunk::Data { skip: at, length });
                }
                State::Trailers => {
                    let rest = input.get(at..).unwrap_or_default();
                    let (taken, is_whole) = self.take_trailers(rest)?;
                    at += taken;
                    if is_whole {
                        self.state = State::Ended;
                        return Ok(Chunk::End { skip: at, trailers: self.read_trailers()? });
                    }
                }
                State::Ended => return Ok(Chunk::End { skip: at, trailers: None }),
                State::Size { .. }
                | State::Blank { .. }
                | State::Extension { .. }
                | State::SizeEnd { .. }
                | State::DataReturn
                | State::DataEnd => {
                    self.state = self.after(byte)?;
                    at += 1;
                }
            }
        }
        match self.state {
            State::Ended => Ok(Chunk::End { skip: at, trailers: None }),
            _ => Ok(Chunk::More),
        }
    }

    /// What follows a byte of a line.
    fn after(&mut self, byte: u8) -> Result<State, ChunkFlaw> {
        match (self.state, byte) {
            (State::Size { size, digits }, b'0'..=b'9' | b'a'..=b'f' | b'A'..=b'F') => {
                if digits == DIGITS_MAX {
                    return Err(ChunkFlaw::SizeTooLarge);
                }
                let digit = char::from(byte).to_digit(16).map_or(0, u64::from);
                Ok(State::Size { size: size << 4 | digit, digits: digits + 1 })
            }
            (State::Size { digits: 0, .. }, _) => Err(ChunkFlaw::Size),
            (State::Size { size, .. } | State::Extension { size }, b'\r') => {
                Ok(State::SizeEnd { size })
            }
            (State::Size { size, .. } | State::Blank { size }, b';') => {
                Ok(State::Extension { size })
            }
            (State::Size { size, .. } | State::Blank { size }, b' ' | b'\t') => {
                self.count_extension()?;
                Ok(State::Blank { size })
            }
            (State::Extension { size }, b'\t' | b' '..=b'~' | 0x80..) => {
                self.count_extension()?;
                Ok(State::Extension { size })
            }
            (State::Extension { .. }, _) => Err(ChunkFlaw::Extension),
            (State::SizeEnd { size: 0 }, b'\n') => Ok(State::Trailers),
            (State::SizeEnd { size }, b'\n') => Ok(State::Data { left: size }),
            (State::Size { .. } | State::Blank { .. } | State::SizeEnd { .. }, _) => {
                Err(ChunkFlaw::Size)
            }
            (State::DataReturn, b'\r') => Ok(State::DataEnd),
            (State::DataEnd, b'\n') => Ok(State::default()),
            (State::DataReturn | State::DataEnd, _) => Err(ChunkFlaw::DataEnd),
            (state @ (State::Data { .. } | State::Trailers | State::Ended), _) => Ok(state),
        }
    }

    fn count_extension(&mut self) -> Result<(), ChunkFlaw> {
        self.extensions += 1;
        if self.extensions > EXTENSIONS_MAX { Err(ChunkFlaw::ExtensionsTooLong) } else { Ok(()) }
    }

    /// Takes lines up to the empty one; how many bytes, and whether that one was among them.
    fn take_trailers(&mut self, input: &[u8]) -> Result<(usize, bool), ChunkFlaw> {
        let mut taken = 0;
        while let Some(rest) = input.get(taken..).filter(|rest| !rest.is_empty()) {
            let line = memchr::memchr(b'\n', rest).map_or(rest.len(), |end| end + 1);
            if self.trailers.len() + line > TRAILERS_MAX {
                return Err(ChunkFlaw::TrailersTooLarge);
            }
            self.trailers.extend_from_slice(rest.get(..line).unwrap_or_default());
            taken += line;
            if self.trailers.ends_with(b"\n") && !self.trailers.ends_with(b"\r\n") {
                return Err(ChunkFlaw::Trailers);
            }
            let is_empty = self.trailers == b"\r\n" || self.trailers.ends_with(b"\r\n\r\n");
            if is_empty {
                return Ok((taken, true));
            }
        }
        Ok((taken, false))
    }

    fn read_trailers(&mut self) -> Result<Option<Box<Fields>>, ChunkFlaw> {
        if self.trailers == b"\r\n" {
            return Ok(None);
        }
        let section = std::mem::take(&mut self.trailers);
        let mut fields = Fields::new();
        fields.take_text(&section);
        read_fields(&mut fields, &section, 0, FIELDS_MAX, |_| Ok::<(), ChunkFlaw>(()))?;
        fields.retain(|field| !field.known.is_barred_from_trailers());
        Ok((!fields.is_empty()).then(|| Box::new(fields)))
    }
}

impl From<FieldsFlaw> for ChunkFlaw {
    fn from(flaw: FieldsFlaw) -> Self {
        match flaw {
            FieldsFlaw::Line => Self::Trailers,
            FieldsFlaw::TooMany | FieldsFlaw::TooLarge => Self::TrailersTooLarge,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A body's data, how many bytes it took, and its trailers.
    type Read = (Vec<u8>, usize, Vec<(Vec<u8>, Vec<u8>)>);

    /// Decodes `input` handed in pieces of `step` bytes; `None` where it is not complete.
    fn read(input: &[u8], step: usize) -> Result<Option<Read>, ChunkFlaw> {
        let (mut decoder, mut data, mut begin) = (ChunkedDecoder::default(), Vec::new(), 0);
        let mut end = 0;
        loop {
            let there = &input[begin..end];
            match decoder.decode(there)? {
                Chunk::Data { skip, length } => {
                    data.extend_from_slice(&there[skip..skip + length]);
                    begin += skip + length;
                }
                Chunk::End { skip, trailers } => {
                    let trailers = trailers.unwrap_or_default();
                    let pairs =
                        trailers.iter().map(|field| (field.name.into(), field.value.into()));
                    return Ok(Some((data, begin + skip, pairs.collect())));
                }
                Chunk::More if end == input.len() => return Ok(None),
                Chunk::More => {
                    begin = end;
                    end = (end + step).min(input.len());
                }
            }
        }
    }

    /// The same comes out, however the bytes are cut.
    #[track_caller]
    fn check(input: impl AsRef<[u8]>, expected: Result<Option<(&str, usize)>, ChunkFlaw>) {
        let input = input.as_ref();
        for step in 1..=input.len().clamp(1, 64) {
            let found = read(input, step);
            let found = found.map(|read| {
                read.map(|(data, taken, _)| (String::from_utf8_lossy(&data).into_owned(), taken))
            });
            let expected = expected.map(|read| read.map(|(data, taken)| (data.to_owned(), taken)));
            assert_eq!(found, expected, "{} by {step}", input.escape_ascii());
        }
    }

    #[test]
    fn chunks_and_their_end() {
        check("0\r\n\r\n", Ok(Some(("", 5))));
        check("3\r\nabc\r\n0\r\n\r\n", Ok(Some(("abc", 13))));
        check("3\r\nabc\r\nA\r\n0123456789\r\n0\r\n\r\nGET /", Ok(Some(("abc0123456789", 28))));
        check("0a\r\n0123456789\r\n000\r\n\r\n", Ok(Some(("0123456789", 23))));
        check("2\r\n\r\n\r\n0\r\n\r\n", Ok(Some(("\r\n", 12))));
        for whole in ["3\r\nabc\r\n0\r\n\r\n", "1;a\r\nx\r\n0\r\nA: b\r\n\r\n"] {
            for length in 0..whole.len() {
                check(&whole[..length], Ok(None));
            }
        }
    }

    /// RFC 9112 section 7.1.1.
    #[test]
    fn extensions_are_skipped() {
        for extension in [";a", ";a=b", ";a=\"b c\"", " ;a", "\t ; a = b", ";", ";a;b=c", ";\u{e4}"]
        {
            let body = format!("3{extension}\r\nabc\r\n0{extension}\r\n\r\n");
            check(&body, Ok(Some(("abc", body.len()))));
        }
        for byte in ["\0", "\x01", "\x7f", "\n", "\x0b"] {
            check(format!("3;a{byte}b\r\nabc\r\n0\r\n\r\n"), Err(ChunkFlaw::Extension));
        }
    }

    /// A bare LF in an extension, taken for the end of the line by one of two readers, smuggles.
    #[test]
    fn lines_end_with_crlf() {
        check("4;a\n4c\r\nGET / HTTP/1.1\r\n", Err(ChunkFlaw::Extension));
        check("3\nabc\r\n0\r\n\r\n", Err(ChunkFlaw::Size));
        check("3;a\rb\r\nabc\r\n0\r\n\r\n", Err(ChunkFlaw::Size));
        check("3\r\nabc\n0\r\n\r\n", Err(ChunkFlaw::DataEnd));
        check("3\r\nabc\r0\r\n\r\n", Err(ChunkFlaw::DataEnd));
        check("3\r\nabcd\r\n0\r\n\r\n", Err(ChunkFlaw::DataEnd));
        check("0\n\r\n", Err(ChunkFlaw::Size));
        check("0\r\n\n", Err(ChunkFlaw::Trailers));
        check("0\r\nA: b\n\r\n", Err(ChunkFlaw::Trailers));
        check("0\r\nA: b\r\n\n", Err(ChunkFlaw::Trailers));
    }

    #[test]
    fn sizes_are_digits_and_nothing_else() {
        for bad in [
            "\r\n",
            ";a\r\n",
            " 3\r\nabc\r\n",
            "3 \r\nabc\r\n",
            "3\t\r\nabc\r\n",
            "0x3\r\nabc\r\n",
            "+3\r\nabc\r\n",
            "-3\r\n",
            "g\r\n",
            "3 4\r\nabc\r\n",
            "3\0\r\nabc\r\n",
            "3\r\r\nabc\r\n",
        ] {
            check(bad, Err(ChunkFlaw::Size));
        }
        check("fffffffffffffffff\r\n", Err(ChunkFlaw::SizeTooLarge));
        check("00000000000000003\r\nabc\r\n", Err(ChunkFlaw::SizeTooLarge));
        check("ffffffffffffffff\r\nab", Ok(None));
    }

    #[test]
    fn what_is_not_passed_on_has_limits() {
        let long = format!("3;{}\r\nabc\r\n0\r\n\r\n", "a".repeat(EXTENSIONS_MAX));
        assert_eq!(read(long.as_bytes(), 64).map(|read| read.is_some()), Ok(true));
        let longer = format!("1;{0}\r\na\r\n1;{0}\r\nb\r\n", "a".repeat(EXTENSIONS_MAX / 2 + 1));
        assert_eq!(read(longer.as_bytes(), 64), Err(ChunkFlaw::ExtensionsTooLong));
        let blank = format!("3{};a\r\nabc\r\n", " ".repeat(EXTENSIONS_MAX + 1));
        assert_eq!(read(blank.as_bytes(), 64), Err(ChunkFlaw::ExtensionsTooLong));
        let trailer = format!("0\r\na: {}", "b".repeat(TRAILERS_MAX));
        assert_eq!(read(trailer.as_bytes(), 64), Err(ChunkFlaw::TrailersTooLarge));
        let many = format!("0\r\n{}\r\n", "a: b\r\n".repeat(200));
        assert_eq!(read(many.as_bytes(), 64), Err(ChunkFlaw::TrailersTooLarge));
    }

    /// RFC 9112 section 7.1.2 and RFC 9110 section 6.5.1.
    #[test]
    fn trailers_are_read_without_what_none_may_be() {
        let input = b"0\r\nA: 1\r\nContent-Length: 5\r\ntransfer-encoding: x\r\nHost: h\r\n\
                      Set-Cookie: s=1\r\nb:2\r\n\r\nrest";
        for step in 1..input.len() {
            let (data, taken, trailers) = read(input, step).expect("good").expect("whole");
            assert_eq!((data.len(), taken), (0, input.len() - 4));
            let pair = |name: &str, value: &str| (name.into(), value.into());
            assert_eq!(trailers, [pair("A", "1"), pair("b", "2")]);
        }
        for bad in [
            "GET /x HTTP/1.1",
            "a",
            ": b",
            "a b: c",
            "a : b",
            " a: b",
            "a: \0",
            "a: b\r\n c",
            ":path: /x",
        ] {
            check(format!("0\r\n{bad}\r\n\r\n"), Err(ChunkFlaw::Trailers));
        }
    }

    #[test]
    fn nothing_is_taken_behind_the_end() {
        let mut decoder = ChunkedDecoder::default();
        assert!(matches!(decoder.decode(b"0\r\n\r\n"), Ok(Chunk::End { skip: 5, trailers: None })));
        assert!(matches!(decoder.decode(b"GET"), Ok(Chunk::End { skip: 0, trailers: None })));
        assert!(matches!(decoder.decode(b""), Ok(Chunk::End { skip: 0, trailers: None })));
    }
}
