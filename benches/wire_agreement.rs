//! Millions of mutated messages: nothing panics or grows, and whatever hyper and `wire` both accept,
//! both read alike. What `wire` accepts and hyper refuses is counted by reason; without one, the run
//! fails and prints the bytes.
//!
//!     cargo bench --bench wire_agreement -- [CASES [SEED]]
//!
//! Two fifths of the cases are answers.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::convert::Infallible;
use std::future::Future;
use std::io;
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::task::{Context, Poll, Waker};

use cloakroom::wire::Version;
use cloakroom::wire::body::{BodyDecoder, Piece};
use cloakroom::wire::fields::Fields;
use cloakroom::wire::framing::Framing;
use cloakroom::wire::request::RequestHead;
use cloakroom::wire::response::ResponseHead;
use cloakroom::wire::scan::HeadScan;
use http::{Method, Uri};
use http_body_util::{BodyExt, Empty};
use hyper::body::{Bytes, Incoming};
use hyper::rt::{Read, ReadBufCursor, Write};
use hyper::service::service_fn;

/// So many are shown.
const DIFFERENCES_MAX: u32 = 10;

fn main() {
    let mut arguments = std::env::args().skip(1).filter(|argument| !argument.starts_with("--"));
    let mut number =
        |default: u64| arguments.next().map_or(default, |text| text.parse().expect("a number"));
    let (cases, seed) = (number(200_000), number(1));
    let mut random = Random(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1);
    let (mut tally, mut differences) = (Tally::default(), 0);
    for case in 0..cases {
        let is_answer = random.below(5) < 2;
        let input = mutated(if is_answer { ANSWERS } else { REQUESTS }, &mut random);
        let (ours, theirs) = if is_answer {
            (our_answer(&input), their_answer(&input))
        } else {
            (our_requests(&input), their_requests(&input))
        };
        if let Err(difference) = tally.compare(is_answer, &ours, &theirs) {
            eprintln!("case {case}, seed {seed}: {difference}\n{}", input.escape_ascii());
            eprintln!("  ours:   {ours:?}\n  theirs: {theirs:?}");
            differences += 1;
            if differences == DIFFERENCES_MAX {
                break;
            }
        }
    }
    if differences > 0 {
        std::process::exit(1);
    }
    println!("{cases} cases, no difference");
    for (what, count) in tally.0 {
        println!("{count:>10}  {what}");
    }
}

/// A message as a reader understood it.
#[derive(Default, PartialEq, Eq)]
struct Message {
    line: Vec<u8>,
    /// Names in lower case, sorted: hyper keeps no order between names.
    fields: Vec<(Vec<u8>, Vec<u8>)>,
    body: Vec<u8>,
}

impl std::fmt::Debug for Message {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}", self.line.escape_ascii())?;
        for (name, value) in &self.fields {
            write!(f, " | {}: {}", name.escape_ascii(), value.escape_ascii())?;
        }
        write!(f, " | {}", self.body.escape_ascii())
    }
}

/// What a reader made of the bytes: messages read to their end, and why it stopped.
#[derive(Debug, Default)]
struct Seen {
    messages: Vec<Message>,
    stopped: Stopped,
    /// Why hyper may refuse the last message, where there is a reason.
    excuse: Option<&'static str>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Stopped {
    /// Between messages, or in one that is not complete.
    #[default]
    AtEnd,
    Refused,
}

#[derive(Default)]
struct Tally(BTreeMap<String, u64>);

impl Tally {
    fn compare(&mut self, is_answer: bool, ours: &Seen, theirs: &Seen) -> Result<(), String> {
        for (number, (our, their)) in ours.messages.iter().zip(&theirs.messages).enumerate() {
            if our != their {
                return Err(format!("message {number} is read in two ways"));
            }
        }
        let kind = if is_answer { "answers" } else { "requests" };
        let both = ours.messages.len().min(theirs.messages.len());
        *self.0.entry(format!("{kind} accepted by both")).or_default() += both as u64;
        if theirs.messages.len() > both && ours.stopped == Stopped::Refused {
            *self.0.entry(format!("{kind} refused by us alone")).or_default() += 1;
        }
        if ours.messages.len() > both && theirs.stopped == Stopped::Refused {
            let reason = ours.excuse.ok_or("accepted by us alone, without a reason")?;
            *self.0.entry(format!("{kind} accepted by us alone: {reason}")).or_default() += 1;
        }
        Ok(())
    }
}

fn pairs(fields: &Fields) -> Vec<(Vec<u8>, Vec<u8>)> {
    let pair = |name: &[u8], value: &[u8]| (name.to_ascii_lowercase(), one_blank(value));
    let mut pairs: Vec<_> = fields.iter().map(|field| pair(field.name, field.value)).collect();
    pairs.sort();
    pairs
}

/// A value with one blank where there are more: hyper unfolds lines without removing any.
fn one_blank(value: &[u8]) -> Vec<u8> {
    let mut value = value.to_vec();
    value.iter_mut().filter(|byte| **byte == b'\t').for_each(|byte| *byte = b' ');
    value.dedup_by(|next, byte| (*next, *byte) == (b' ', b' '));
    value
}

fn header_pairs(headers: &http::HeaderMap) -> Vec<(Vec<u8>, Vec<u8>)> {
    let pair = |(name, value): (&http::HeaderName, &http::HeaderValue)| {
        (name.as_str().into(), one_blank(value.as_bytes()))
    };
    let mut pairs: Vec<_> = headers.iter().map(pair).collect();
    pairs.sort();
    pairs
}

/// Reads a body; how many bytes it took, `None` where it is not complete.
fn our_body(framing: Framing, input: &[u8]) -> Result<Option<(Vec<u8>, usize)>, ()> {
    let (mut decoder, mut data, mut at) = (BodyDecoder::new(framing), Vec::new(), 0);
    loop {
        match decoder.decode(&input[at..]).map_err(drop)? {
            Piece::Data { skip, length } => {
                data.extend_from_slice(&input[at + skip..at + skip + length]);
                at += skip + length;
            }
            Piece::End { skip, .. } => return Ok(Some((data, at + skip))),
            Piece::More => return Ok(decoder.close().ok().map(|()| (data, input.len()))),
        }
    }
}

fn our_requests(input: &[u8]) -> Seen {
    let (mut seen, mut rest, mut head) = (Seen::default(), input, RequestHead::default());
    while let Some(range) = HeadScan::default().advance(rest) {
        let read = head.read(&rest[range.clone()]).and_then(|()| Framing::of_request(&head));
        let body = read.map_err(drop).and_then(|framing| our_body(framing, &rest[range.end..]));
        match body {
            Ok(Some((body, taken))) => {
                // As `http::Uri` writes it: without a fragment, with a path.
                let target = Uri::try_from(head.target()).map(|uri| uri.to_string());
                let line = format!("{} {}", head.method, target.unwrap_or_default()).into();
                seen.messages.push(Message { line, fields: pairs(&head.fields), body });
                seen.excuse = excuse(&head, &rest[range.clone()]);
                rest = &rest[range.end + taken..];
                if seen.excuse.is_some() {
                    break;
                }
            }
            Ok(None) => break,
            Err(()) => {
                seen.stopped = Stopped::Refused;
                break;
            }
        }
    }
    seen
}

/// Why hyper refuses a request that we take.
fn excuse(head: &RequestHead, text: &[u8]) -> Option<&'static str> {
    let target = head.target();
    let line = text.split(|byte| *byte == b'\n').next().unwrap_or_default();
    let line = line.strip_suffix(b"\r").unwrap_or(line);
    let is_newer = head.version == Version::Http11 && !line.ends_with(b"HTTP/1.1");
    match () {
        () if !target.is_ascii() => {
            Some("a target with bytes beyond ASCII (forwarded as they are)")
        }
        () if Uri::try_from(target).is_err() => Some("a target that `http::Uri` does not take"),
        () if is_newer => Some("a minor version above 1 (RFC 9110 section 2.5)"),
        () => None,
    }
}

fn our_answer(input: &[u8]) -> Seen {
    let (mut seen, mut rest, mut head) = (Seen::default(), input, ResponseHead::default());
    while let Some(range) = HeadScan::default().advance(rest) {
        let text = &rest[range.clone()];
        let framing = head.read(text).and_then(|()| Framing::of_response(&head, &Method::GET));
        rest = &rest[range.end..];
        seen.excuse = seen.excuse.or_else(|| answer_excuse(&head, text));
        match framing {
            Err(_) => seen.stopped = Stopped::Refused,
            // What comes behind is another protocol's.
            Ok(Framing::Tunnel) => {}
            Ok(_) if head.status.is_informational() => continue,
            Ok(framing) => match our_body(framing, rest) {
                Ok(Some((body, _))) => {
                    let line = head.status.as_str().into();
                    seen.messages.push(Message { line, fields: pairs(&head.fields), body });
                }
                Ok(None) => {}
                Err(()) => seen.stopped = Stopped::Refused,
            },
        }
        break;
    }
    seen
}

/// Why hyper refuses an answer that we take.
fn answer_excuse(head: &ResponseHead, text: &[u8]) -> Option<&'static str> {
    let is_newer = head.version == Version::Http11 && !text.starts_with(b"HTTP/1.1");
    is_newer.then_some("a minor version above 1 (RFC 9110 section 2.5)")
}

/// Bytes to read, all there at once and then the end; writing goes nowhere.
struct Script {
    input: Bytes,
    /// Nothing is read before something was written: an answer follows a request.
    waits: bool,
    has_written: Cell<bool>,
}

impl Read for Script {
    fn poll_read(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
        mut buffer: ReadBufCursor<'_>,
    ) -> Poll<io::Result<()>> {
        if self.waits && !self.has_written.get() {
            return Poll::Pending;
        }
        let length = self.input.len().min(buffer.remaining());
        buffer.put_slice(&self.input.split_to(length));
        Poll::Ready(Ok(()))
    }
}

impl Write for Script {
    fn poll_write(
        self: Pin<&mut Self>,
        _: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.has_written.set(true);
        Poll::Ready(Ok(bytes.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

/// Polls until it is ready; everything here is, but for what hyper yields.
fn run<F: Future>(future: F) -> Option<F::Output> {
    let mut future = pin!(future);
    let mut context = Context::from_waker(Waker::noop());
    (0..200).find_map(|_| match future.as_mut().poll(&mut context) {
        Poll::Ready(output) => Some(output),
        Poll::Pending => None,
    })
}

fn script(input: &[u8], waits: bool) -> Script {
    Script { input: Bytes::copy_from_slice(input), waits, has_written: Cell::new(false) }
}

fn their_requests(input: &[u8]) -> Seen {
    let seen = Rc::new(RefCell::new(Seen::default()));
    let service = service_fn(|request: http::Request<Incoming>| {
        let seen = seen.clone();
        async move {
            let (parts, body) = request.into_parts();
            let body = body.collect().await;
            let mut seen = seen.borrow_mut();
            match body {
                Ok(body) => {
                    let line = format!("{} {}", parts.method, parts.uri).into();
                    let (fields, body) = (header_pairs(&parts.headers), body.to_bytes().to_vec());
                    seen.messages.push(Message { line, fields, body });
                }
                // Not complete, which is no refusal, or chunks that are none.
                Err(error) if error.is_incomplete_message() || is_eof(&error) => {}
                Err(_) => seen.stopped = Stopped::Refused,
            }
            Ok::<_, Infallible>(http::Response::new(Empty::<Bytes>::new()))
        }
    });
    let mut server = hyper::server::conn::http1::Builder::new();
    server.half_close(true).auto_date_header(false).max_headers(128);
    let ended = run(server.serve_connection(script(input, false), service));
    let mut seen = seen.take();
    if ended.is_some_and(|ended| ended.is_err_and(|error| error.is_parse())) {
        seen.stopped = Stopped::Refused;
    }
    seen
}

fn is_eof(error: &hyper::Error) -> bool {
    let mut source = std::error::Error::source(error);
    while let Some(error) = source {
        let eof = |error: &io::Error| error.kind() == io::ErrorKind::UnexpectedEof;
        if error.downcast_ref::<io::Error>().is_some_and(eof) {
            return true;
        }
        source = error.source();
    }
    false
}

fn their_answer(input: &[u8]) -> Seen {
    let mut seen = Seen::default();
    let request = http::Request::new(Empty::<Bytes>::new());
    let exchange = async {
        let handshake = hyper::client::conn::http1::Builder::new()
            .max_headers(128)
            .allow_spaces_after_header_name_in_responses(true)
            .allow_obsolete_multiline_headers_in_responses(true)
            .handshake::<_, Empty<Bytes>>(script(input, true));
        let (mut sender, connection) = handshake.await.ok()?;
        let answer = async {
            let answer = sender.send_request(request).await?;
            let (parts, body) = answer.into_parts();
            let is_tunnel = parts.status == http::StatusCode::SWITCHING_PROTOCOLS;
            Ok::<_, hyper::Error>((
                parts,
                if is_tunnel { None } else { Some(body.collect().await?) },
            ))
        };
        let (mut answer, mut connection) = (pin!(answer), pin!(connection));
        let mut is_over = false;
        let both = std::future::poll_fn(|context| {
            if !is_over {
                is_over = connection.as_mut().poll(context).is_ready();
            }
            answer.as_mut().poll(context)
        });
        Some(both.await)
    };
    match run(exchange).flatten() {
        Some(Ok((parts, Some(body)))) => {
            let (line, body) = (parts.status.as_str().into(), body.to_bytes().to_vec());
            let fields = header_pairs(&parts.headers);
            seen.messages.push(Message { line, fields, body });
        }
        Some(Err(error)) if !(error.is_incomplete_message() || is_eof(&error)) => {
            seen.stopped = Stopped::Refused;
        }
        Some(_) | None => {}
    }
    seen
}

/// Xorshift; good enough to choose among bytes.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    fn below(&mut self, limit: usize) -> usize {
        usize::try_from(self.next() >> 11).expect("64 bits") % limit.max(1)
    }
}

fn mutated(corpus: &[&str], random: &mut Random) -> Vec<u8> {
    let mut bytes = corpus[random.below(corpus.len())].as_bytes().to_vec();
    if random.below(3) == 0 {
        bytes.extend_from_slice(corpus[random.below(corpus.len())].as_bytes());
    }
    for _ in 0..random.below(5) {
        let at = random.below(bytes.len() + 1);
        let piece = FRAGMENTS[random.below(FRAGMENTS.len())].as_bytes();
        match random.below(6) {
            0 | 1 => drop(bytes.splice(at..at, piece.iter().copied())),
            2 => {
                let end = (at + 1 + random.below(6)).min(bytes.len());
                bytes.drain(at.min(end)..end);
            }
            3 => {
                let byte = u8::try_from(random.below(256)).expect("a byte");
                bytes.iter_mut().skip(at).take(1).for_each(|place| *place = byte);
            }
            4 => {
                let end = (at + piece.len()).min(bytes.len());
                bytes.splice(at.min(end)..end, piece.iter().copied());
            }
            _ => {
                let end = (at + random.below(40)).min(bytes.len());
                let copy = bytes[at.min(end)..end].to_vec();
                let to = random.below(bytes.len() + 1);
                bytes.splice(to..to, copy);
            }
        }
    }
    bytes
}

const REQUESTS: &[&str] = &[
    "GET / HTTP/1.1\r\nHost: h\r\n\r\n",
    "GET /a?b=c HTTP/1.1\r\nHost: h\r\nCookie: a=b; c=d\r\nAccept: */*\r\n\r\n",
    "GET http://h/p HTTP/1.1\nHost: h\n\n",
    "OPTIONS * HTTP/1.1\r\nHost: h\r\n\r\n",
    "POST /p HTTP/1.1\r\nHost: h\r\nContent-Length: 5\r\n\r\nhello",
    "POST /p HTTP/1.0\r\nContent-Length: 3\r\nConnection: keep-alive\r\n\r\nabc",
    "POST /p HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
    "POST /p HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n4;a=b\r\nwiki\r\n5\r\npedia\r\n0\r\nA: b\r\n\r\n",
    "PUT /p HTTP/1.1\r\nHost: h\r\nExpect: 100-continue\r\nContent-Length: 2\r\n\r\nok",
    "GET / HTTP/1.1\r\nHost: h\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n",
    "\r\nDELETE /x HTTP/1.1\r\nHost:h\r\nX-Y:\t z \r\n\r\n",
];

const ANSWERS: &[&str] = &[
    "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello",
    "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
    "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3;x\r\nabc\r\n0\r\nT: v\r\n\r\n",
    "HTTP/1.0 404 Not Found\r\nServer: x\r\n\r\nuntil the end",
    "HTTP/1.1 204 No Content\r\nSet-Cookie: a=b\r\nSet-Cookie: c=d\r\n\r\n",
    "HTTP/1.1 304 Not Modified\r\nETag: \"x\"\r\n\r\n",
    "HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\nHTTP/1.1 200\r\nContent-Length: 2\r\n\r\nok",
    "HTTP/1.1 500 x y z\nA : b\nContent-Length: 0\n\n",
    "HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n\x01\x02",
];

const FRAGMENTS: &[&str] = &[
    "\r\n",
    "\n",
    "\r",
    "\r\n\r\n",
    "\n\n",
    " ",
    "\t",
    "\0",
    ":",
    ";",
    ",",
    "0\r\n\r\n",
    "5\r\n",
    "0",
    "Content-Length: 5\r\n",
    "Content-Length: 3\r\n",
    "content-length:",
    "Transfer-Encoding: chunked\r\n",
    "Transfer-Encoding: gzip, chunked\r\n",
    "transfer-encoding:",
    "chunked",
    "identity",
    ", chunked",
    "HTTP/1.1",
    "HTTP/1.0",
    "HTTP/1.2",
    "GET ",
    "Host: h\r\n",
    "Host: i\r\n",
    "\u{e4}",
    "%2e%2e/",
    "//",
    "..",
    "+5",
    "-1",
    "0x5",
    "00",
    "ffffffffffffffff",
    "Connection: close\r\n",
    "Connection: x, Cookie\r\n",
    "\x0b",
    "\x0c",
    "\x7f",
    "\u{a0}",
    " \r\n",
    "\r\n ",
    "\r\n\t",
    "5 \r\n",
    "5;\n",
    "GET /x HTTP/1.1\r\nHost: h\r\n\r\n",
];
