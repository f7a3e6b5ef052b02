//! HTTP/1.1 messages as they are on the wire (RFC 9112), read strictly and kept byte for byte.
//! The client and the origin share it.

use std::fmt;
use std::io;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

/// What a message may be at most: a test that gets more than this is broken.
const MESSAGE_MAX: usize = 64 * 1024 * 1024;

/// Why a message could not be read to its end. Holds what had arrived.
#[derive(Debug, PartialEq, Eq)]
pub enum Broken {
    /// The peer closed before the first byte.
    Closed,
    /// The peer closed in the middle.
    Truncated(Vec<u8>),
    /// The connection was reset, at the beginning or in the middle.
    Reset(Vec<u8>),
    /// What came isn't HTTP/1.1.
    Malformed(String),
}

impl fmt::Display for Broken {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Closed => write!(out, "closed before the first byte"),
            Self::Truncated(got) => write!(out, "closed after {}", show(got)),
            Self::Reset(got) => write!(out, "reset after {}", show(got)),
            Self::Malformed(what) => write!(out, "malformed: {what}"),
        }
    }
}

/// One header line; the value without the blanks around it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Field {
    pub name: String,
    pub value: Vec<u8>,
}

/// Header lines in their order, names in their own case.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Fields(pub Vec<Field>);

impl Fields {
    /// The values of a field, in order; each line apart.
    pub fn bytes(&self, name: &str) -> Vec<&[u8]> {
        let same = |field: &&Field| field.name.eq_ignore_ascii_case(name);
        self.0.iter().filter(same).map(|field| field.value.as_slice()).collect()
    }

    /// As [`Fields::bytes`], for text.
    pub fn all(&self, name: &str) -> Vec<String> {
        self.bytes(name).into_iter().map(|v| String::from_utf8_lossy(v).into_owned()).collect()
    }

    /// The value of a field that appears at most once.
    pub fn one(&self, name: &str) -> Option<String> {
        let mut all = self.all(name);
        assert!(all.len() < 2, "{name} appears {} times: {all:?}", all.len());
        all.pop()
    }

    pub fn has(&self, name: &str) -> bool {
        !self.bytes(name).is_empty()
    }

    /// The names as they were written, in order.
    pub fn names(&self) -> Vec<&str> {
        self.0.iter().map(|field| field.name.as_str()).collect()
    }
}

/// A start line and its header lines.
#[derive(Clone, Debug, Default)]
pub struct Head {
    /// Everything up to and including the empty line.
    pub raw: Vec<u8>,
    /// The start line, without its end.
    pub start: String,
    pub fields: Fields,
}

/// A message's content.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Body {
    /// As it was on the wire, chunk sizes and trailers included.
    pub raw: Vec<u8>,
    /// Without the transfer coding.
    pub content: Vec<u8>,
    pub trailers: Fields,
}

/// How the end of a body is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Framing {
    None,
    Length(usize),
    Chunked,
    UntilClose,
}

/// Reads messages off a stream, and keeps what was read too much.
pub struct Wire<S> {
    stream: S,
    buffer: Vec<u8>,
}

impl<S: AsyncRead + AsyncWrite + Unpin> Wire<S> {
    pub fn new(stream: S) -> Self {
        Self { stream, buffer: Vec::new() }
    }

    pub fn stream(&self) -> &S {
        &self.stream
    }

    /// Writes and flushes.
    pub async fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.stream.write_all(bytes).await?;
        self.stream.flush().await
    }

    /// Says that nothing more will be written.
    pub async fn shutdown(&mut self) -> io::Result<()> {
        self.stream.shutdown().await
    }

    /// The stream, to go on in another way. Nothing may have been read too much.
    pub fn into_stream(self) -> S {
        assert!(self.buffer.is_empty(), "there is more: {}", show(&self.buffer));
        self.stream
    }

    pub async fn read_head(&mut self) -> Result<Head, Broken> {
        let end = self.find(b"\r\n\r\n").await? + 4;
        let raw = self.take(end);
        parse_head(raw)
    }

    pub async fn read_body(&mut self, framing: Framing) -> Result<Body, Broken> {
        match framing {
            Framing::None => Ok(Body::default()),
            Framing::Length(length) => {
                let raw = self.read_exact(length).await?;
                Ok(Body { content: raw.clone(), raw, trailers: Fields::default() })
            }
            Framing::UntilClose => {
                let raw = self.read_to_end().await?;
                Ok(Body { content: raw.clone(), raw, trailers: Fields::default() })
            }
            Framing::Chunked => {
                let mut body = Body::default();
                let finished = async {
                    while let Some(content) = self.chunk(&mut body).await? {
                        body.content.extend_from_slice(&content);
                    }
                    Ok(())
                };
                match finished.await {
                    Ok(()) => Ok(body),
                    // What had arrived of earlier chunks belongs into the report.
                    Err(Broken::Truncated(rest)) => {
                        Err(Broken::Truncated([body.raw, rest].concat()))
                    }
                    Err(Broken::Closed) => Err(Broken::Truncated(body.raw)),
                    Err(Broken::Reset(rest)) => Err(Broken::Reset([body.raw, rest].concat())),
                    Err(malformed @ Broken::Malformed(_)) => Err(malformed),
                }
            }
        }
    }

    /// The next chunk's content; nothing after the last one, whose trailers are then in `body`.
    pub async fn chunk(&mut self, body: &mut Body) -> Result<Option<Vec<u8>>, Broken> {
        let line_end = self.find(b"\r\n").await? + 2;
        let line = self.take(line_end);
        body.raw.extend_from_slice(&line);
        let text = String::from_utf8_lossy(&line[..line.len() - 2]).into_owned();
        let digits = text.split(';').next().unwrap_or_default().trim_end();
        let size = usize::from_str_radix(digits, 16)
            .ok()
            .filter(|size| *size <= MESSAGE_MAX && !digits.starts_with('+'))
            .ok_or_else(|| Broken::Malformed(format!("chunk size `{text}`")))?;
        if size > 0 {
            let mut chunk = self.read_exact(size + 2).await?;
            body.raw.extend_from_slice(&chunk);
            if !chunk.ends_with(b"\r\n") {
                return Err(Broken::Malformed(format!("chunk of {size} without its end")));
            }
            chunk.truncate(size);
            return Ok(Some(chunk));
        }
        loop {
            let line_end = self.find(b"\r\n").await? + 2;
            let line = self.take(line_end);
            body.raw.extend_from_slice(&line);
            match &line[..line.len() - 2] {
                [] => return Ok(None),
                trailer => body.trailers.0.push(parse_field(trailer)?),
            }
        }
    }

    pub async fn read_exact(&mut self, length: usize) -> Result<Vec<u8>, Broken> {
        while self.buffer.len() < length {
            self.fill().await?;
        }
        Ok(self.take(length))
    }

    /// Reads up to the peer's end.
    pub async fn read_to_end(&mut self) -> Result<Vec<u8>, Broken> {
        loop {
            match self.fill().await {
                Ok(()) => {}
                Err(Broken::Closed) => return Ok(Vec::new()),
                Err(Broken::Truncated(all)) => return Ok(all),
                Err(other) => return Err(other),
            }
        }
    }

    /// Whatever arrives next, at least one byte; empty at the peer's orderly end.
    pub async fn read_some(&mut self) -> Result<Vec<u8>, Broken> {
        if self.buffer.is_empty() {
            match self.fill().await {
                Ok(()) => {}
                Err(Broken::Closed) => return Ok(Vec::new()),
                Err(other) => return Err(other),
            }
        }
        Ok(std::mem::take(&mut self.buffer))
    }

    async fn find(&mut self, mark: &[u8]) -> Result<usize, Broken> {
        let mut from = 0;
        loop {
            let found = self.buffer[from..].windows(mark.len()).position(|part| part == mark);
            if let Some(at) = found {
                return Ok(from + at);
            }
            from = self.buffer.len().saturating_sub(mark.len() - 1);
            self.fill().await?;
        }
    }

    async fn fill(&mut self) -> Result<(), Broken> {
        if self.buffer.len() > MESSAGE_MAX {
            return Err(Broken::Malformed(format!("more than {MESSAGE_MAX} bytes")));
        }
        match self.stream.read_buf(&mut self.buffer).await {
            Ok(0) if self.buffer.is_empty() => Err(Broken::Closed),
            Ok(0) => Err(Broken::Truncated(std::mem::take(&mut self.buffer))),
            Ok(_) => Ok(()),
            Err(problem) if problem.kind() == io::ErrorKind::UnexpectedEof => {
                // TLS without close_notify: a truncation as far as TLS is concerned.
                Err(Broken::Truncated(std::mem::take(&mut self.buffer)))
            }
            Err(_) => Err(Broken::Reset(std::mem::take(&mut self.buffer))),
        }
    }

    fn take(&mut self, length: usize) -> Vec<u8> {
        let rest = self.buffer.split_off(length);
        std::mem::replace(&mut self.buffer, rest)
    }
}

/// The framing that a head announces; `otherwise` where it says nothing (RFC 9112 6.3).
pub fn framing(fields: &Fields, otherwise: Framing) -> Result<Framing, Broken> {
    let codings = fields.all("transfer-encoding");
    let lengths = fields.all("content-length");
    match (codings.as_slice(), lengths.as_slice()) {
        ([], []) => Ok(otherwise),
        ([coding], []) if coding.eq_ignore_ascii_case("chunked") => Ok(Framing::Chunked),
        ([], [length]) => length
            .parse()
            .map(Framing::Length)
            .map_err(|_| Broken::Malformed(format!("content-length `{length}`"))),
        // Both, or one twice: what request smuggling is made of. No test may pass by luck.
        _ => Err(Broken::Malformed(format!("codings {codings:?} and lengths {lengths:?}"))),
    }
}

/// A message of a start line, fields and content, with its `Content-Length`.
pub fn message(start: &str, fields: &[(&str, &str)], content: &[u8]) -> Vec<u8> {
    let mut raw = format!("{start}\r\n").into_bytes();
    for (name, value) in fields {
        raw.extend_from_slice(format!("{name}: {value}\r\n").as_bytes());
    }
    raw.extend_from_slice(format!("Content-Length: {}\r\n\r\n", content.len()).as_bytes());
    raw.extend_from_slice(content);
    raw
}

/// A response as [`message`]: `response("200 OK", &[("Set-Cookie", "a=b")], b"hello")`.
pub fn response(status: &str, fields: &[(&str, &str)], content: &[u8]) -> Vec<u8> {
    message(&format!("HTTP/1.1 {status}"), fields, content)
}

/// Bytes for a failed test's message.
pub fn show(bytes: &[u8]) -> String {
    const SHOWN: usize = 512;
    let text = bytes[..bytes.len().min(SHOWN)].escape_ascii();
    format!("{} bytes \"{text}\"", bytes.len())
}

fn parse_head(raw: Vec<u8>) -> Result<Head, Broken> {
    let text = &raw[..raw.len() - 4];
    let mut lines = Vec::new();
    let mut rest = text;
    while let Some(at) = rest.windows(2).position(|part| part == b"\r\n") {
        lines.push(&rest[..at]);
        rest = &rest[at + 2..];
    }
    lines.push(rest);
    let start = String::from_utf8_lossy(lines[0]).into_owned();
    let fields = lines[1..].iter().map(|line| parse_field(line)).collect::<Result<_, _>>()?;
    Ok(Head { start, fields: Fields(fields), raw })
}

fn parse_field(line: &[u8]) -> Result<Field, Broken> {
    let malformed = || Broken::Malformed(format!("field {}", show(line)));
    let colon = line.iter().position(|byte| *byte == b':').ok_or_else(malformed)?;
    let (name, value) = (&line[..colon], line[colon + 1..].trim_ascii());
    if name.is_empty() || name.iter().any(|byte| byte.is_ascii_whitespace()) {
        return Err(malformed());
    }
    Ok(Field { name: String::from_utf8_lossy(name).into_owned(), value: value.to_vec() })
}
