//! Statements of nginx's configuration language, as nginx reads them.
//!
//! A statement is a few words and what ends it: `;`, `{`, `}` or the end of the file. Words are ended by
//! white space, `;` or `{`; quotes hold them together; a backslash takes the next character as it is.
//! What words mean is not known here. All of nginx's corners are kept: a `}` inside a word belongs to it,
//! `${` does not open a block, after a closing quote only `)` may follow at once, and no word and no
//! comment may be longer than nginx's buffer.

use super::lua;
use super::text::text;

/// nginx reads its files through a buffer of this size. What does not fit is refused.
const WORD_BYTES_MAX: usize = 4096;

/// One word: what it says, and where it stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Token {
    /// Without quotes, escapes resolved.
    pub text: String,
    /// The line on which it begins, from 1.
    pub line: u32,
    /// Where it begins in the file, its quotes included.
    pub start: usize,
    /// Where it ends, exclusive.
    pub end: usize,
}

/// What ended a statement.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    Semicolon,
    /// `{`
    Opening,
    /// `}`, which has no words before it.
    Closing,
    /// Of the file, which has no words before it either.
    File,
}

/// Words and what ended them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Statement {
    pub words: Vec<Token>,
    pub end: End,
}

/// What is being read: the ends of both are named differently, and only files have a buffer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Source {
    File,
    /// The argument of nginx's option `-g`.
    Parameter,
}

/// Reads statements, one after the other. After a mistake it is of no use any more.
pub struct Lexer<'a> {
    bytes: &'a [u8],
    source: Source,
    at: usize,
    line: u32,
}

/// Inside which quotes the reader is.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Quotes {
    No,
    Single,
    Double,
}

/// Where the reader stands.
#[derive(Clone, Copy, PartialEq, Eq)]
enum State {
    Between,
    Comment,
    Word,
    /// Behind a closing quote.
    Closed,
}

/// What has been read of a statement.
struct Reading {
    state: State,
    quotes: Quotes,
    /// The last character was a backslash.
    escaped: bool,
    /// The last character was a `$`.
    variable: bool,
    /// Where the current word begins, without its quote.
    start: usize,
    start_line: u32,
    words: Vec<Token>,
}

impl<'a> Lexer<'a> {
    pub fn new(bytes: &'a [u8], source: Source) -> Self {
        Self { bytes, source, at: 0, line: 1 }
    }

    /// The line that is being read, which is the one that nginx names in its messages.
    pub fn line(&self) -> u32 {
        self.line
    }

    /// How much has been read.
    pub fn position(&self) -> usize {
        self.at
    }

    /// Reads up to the next `;`, `{` or `}`, or the end.
    ///
    /// # Errors
    /// nginx's message, without the place: the file, and [`Lexer::line`].
    pub fn statement(&mut self) -> Result<Statement, String> {
        let mut reading = Reading {
            state: State::Between,
            quotes: Quotes::No,
            escaped: false,
            variable: false,
            start: self.at,
            start_line: self.line,
            words: Vec::new(),
        };
        loop {
            let Some(&next) = self.bytes.get(self.at) else {
                return self.end(reading);
            };
            if self.source == Source::File && self.at - reading.start >= WORD_BYTES_MAX {
                return Err(self.too_long(&reading));
            }
            self.at += 1;
            if next == b'\n' {
                self.line += 1;
                if reading.state == State::Comment {
                    reading.state = State::Between;
                }
            }
            if reading.state == State::Comment || std::mem::take(&mut reading.escaped) {
                continue;
            }
            if let Some(end) = self.byte(&mut reading, next)? {
                return Ok(Statement { words: reading.words, end });
            }
        }
    }

    /// Reads Lua up to the `}` that closes the block it stands in.
    ///
    /// # Errors
    /// The file ends before.
    pub fn skip_lua(&mut self) -> Result<(), String> {
        let rest = self.bytes.get(self.at..).unwrap_or_default();
        let length = lua::block(rest);
        let read = &rest[..length.unwrap_or(rest.len())];
        self.at += read.len();
        let lines = memchr::memchr_iter(b'\n', read).count();
        self.line = self.line.saturating_add(u32::try_from(lines).unwrap_or(u32::MAX));
        let missing = "unexpected end of file, expecting terminating \"}\" for lua code block";
        length.map(|_| ()).ok_or_else(|| missing.to_owned())
    }

    /// Takes one byte that is neither in a comment nor escaped.
    fn byte(&self, reading: &mut Reading, next: u8) -> Result<Option<End>, String> {
        if reading.state == State::Closed {
            match next {
                b' ' | b'\t' | b'\r' | b'\n' => {
                    reading.state = State::Between;
                    return Ok(None);
                }
                b';' => return Ok(Some(End::Semicolon)),
                b'{' => return Ok(Some(End::Opening)),
                // It begins a word of its own, as in `if ($a = "b")`.
                b')' => reading.state = State::Between,
                _ => return Err(unexpected(next)),
            }
        }
        if reading.state == State::Between {
            return self.between(reading, next);
        }
        if next == b'{' && reading.variable {
            return Ok(None);
        }
        reading.variable = next == b'$';
        match (reading.quotes, next) {
            (_, b'\\') => reading.escaped = true,
            (Quotes::Double, b'"') | (Quotes::Single, b'\'') => {
                reading.quotes = Quotes::No;
                reading.state = State::Closed;
                self.word(reading, 1);
            }
            (Quotes::No, b' ' | b'\t' | b'\r' | b'\n' | b';' | b'{') => {
                reading.state = State::Between;
                self.word(reading, 0);
                return Ok(match next {
                    b';' => Some(End::Semicolon),
                    b'{' => Some(End::Opening),
                    _ => None,
                });
            }
            _ => {}
        }
        Ok(None)
    }

    /// Takes one byte between words.
    fn between(&self, reading: &mut Reading, next: u8) -> Result<Option<End>, String> {
        reading.start = self.at - 1;
        reading.start_line = self.line;
        if matches!(next, b' ' | b'\t' | b'\r' | b'\n') {
            return Ok(None);
        }
        match next {
            b';' | b'{' if reading.words.is_empty() => return Err(unexpected(next)),
            b';' => return Ok(Some(End::Semicolon)),
            b'{' => return Ok(Some(End::Opening)),
            b'}' if reading.words.is_empty() => return Ok(Some(End::Closing)),
            b'}' => return Err(unexpected(next)),
            b'#' => {
                reading.state = State::Comment;
                return Ok(None);
            }
            b'"' | b'\'' => {
                reading.start += 1;
                reading.quotes = if next == b'"' { Quotes::Double } else { Quotes::Single };
            }
            _ => {}
        }
        reading.state = State::Word;
        reading.escaped = next == b'\\';
        reading.variable = next == b'$';
        Ok(None)
    }

    /// Ends a word before the byte that was read last; `quote` is the length of its quotes.
    fn word(&self, reading: &mut Reading, quote: usize) {
        let end = self.at - 1;
        let written = self.bytes.get(reading.start..end).unwrap_or_default();
        reading.words.push(Token {
            text: text(&unescaped(written)),
            line: reading.start_line,
            start: reading.start - quote,
            end: end + quote,
        });
    }

    fn end(&self, reading: Reading) -> Result<Statement, String> {
        let between = matches!(reading.state, State::Between | State::Comment);
        if between && reading.words.is_empty() {
            return Ok(Statement { words: reading.words, end: End::File });
        }
        Err(match self.source {
            Source::File => "unexpected end of file, expecting \";\" or \"}\"".to_owned(),
            Source::Parameter => "unexpected end of parameter, expecting \";\"".to_owned(),
        })
    }

    /// The message names the line on which the word began.
    fn too_long(&mut self, reading: &Reading) -> String {
        self.line = reading.start_line;
        let quote = match reading.quotes {
            Quotes::Double => '"',
            Quotes::Single => '\'',
            Quotes::No => {
                let begin = self.bytes.get(reading.start..reading.start + 10).unwrap_or_default();
                return format!("too long parameter \"{}...\" started", text(begin));
            }
        };
        format!("too long parameter, probably missing terminating \"{quote}\" character")
    }
}

fn unexpected(byte: u8) -> String {
    format!("unexpected \"{}\"", text(&[byte]))
}

/// Resolves the escapes that nginx resolves; a backslash before anything else stays.
fn unescaped(written: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(written.len());
    let mut rest = written;
    while let Some((&first, after)) = rest.split_first() {
        let (byte, length) = match (first, after.first()) {
            (b'\\', Some(&escaped @ (b'"' | b'\'' | b'\\'))) => (escaped, 2),
            (b'\\', Some(b't')) => (b'\t', 2),
            (b'\\', Some(b'r')) => (b'\r', 2),
            (b'\\', Some(b'n')) => (b'\n', 2),
            _ => (first, 1),
        };
        bytes.push(byte);
        rest = &rest[length..];
    }
    bytes
}

#[cfg(test)]
#[path = "lex_tests.rs"]
mod tests;
