//! A request's head, whatever carried it.

use std::num::NonZeroU16;
use std::time::Instant;

use http::Method;

use super::refused::Refused;
use crate::wire::Version;
use crate::wire::fields::{Field, Fields, Unwritable};
use crate::wire::flaw::RequestFlaw;
use crate::wire::framing::Framing;
use crate::wire::name::Name;
use crate::wire::request::RequestHead;

/// The protocol that a request came in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Protocol {
    Http10,
    Http11,
    Http2,
}

/// How long a body is, as far as its head says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BodyLength {
    /// There is none.
    Empty,
    /// So many bytes; not zero.
    Known(u64),
    /// Until it ends.
    Unknown,
}

/// A request without its body, which the [`Client`](super::Client) has.
#[derive(Debug)]
pub struct Request {
    pub method: Method,
    pub protocol: Protocol,
    pub body: BodyLength,
    /// When its head was complete.
    pub begun: Instant,
    /// It is none: the status that says so.
    pub refused: Option<NonZeroU16>,
    /// How long its head was in HTTP/1.
    head_bytes: u32,
    head: RequestHead,
}

impl Request {
    /// A request in HTTP/1.
    pub(super) fn http1(
        mut head: RequestHead,
        framing: Framing,
        begun: Instant,
        head_bytes: usize,
    ) -> Self {
        let protocol = match head.version {
            Version::Http10 => Protocol::Http10,
            Version::Http11 => Protocol::Http11,
        };
        let head_bytes = u32::try_from(head_bytes).unwrap_or(u32::MAX);
        let body = match framing {
            Framing::Empty => BodyLength::Empty,
            Framing::Length(length) => BodyLength::Known(length),
            Framing::Chunked | Framing::UntilClose | Framing::Tunnel => BodyLength::Unknown,
        };
        let method = std::mem::take(&mut head.method);
        Self { method, protocol, body, begun, refused: None, head_bytes, head }
    }

    /// A request in HTTP/2: its head has the `:authority` as `Host`.
    pub(super) fn http2(mut head: RequestHead, body: BodyLength, begun: Instant) -> Self {
        let method = std::mem::take(&mut head.method);
        let protocol = Protocol::Http2;
        Self { method, protocol, body, begun, refused: None, head_bytes: 0, head }
    }

    /// What stands for a head that makes no request, so that a page can answer it.
    ///
    /// # Errors
    /// As [`inside`](Self::inside).
    pub(super) fn refused(refused: &Refused<'_>) -> Result<Self, RequestFlaw> {
        let line = refused.line();
        let target = line.as_ref().map_or(&b"/"[..], |line| line.target);
        let method = line.as_ref().and_then(|line| Method::from_bytes(line.method).ok());
        let mut head = RequestHead::compose(Method::default(), target)?;
        let protocol = match line.as_ref().map(|line| line.version) {
            Some(Version::Http10) => Protocol::Http10,
            Some(Version::Http11) | None => Protocol::Http11,
        };
        head.version = line.map_or(Version::Http11, |line| line.version);
        if let Some(host) = refused.host() {
            let _ = head.fields.push(b"Host", host);
        }
        Ok(Self {
            method: method.unwrap_or_default(),
            protocol,
            body: BodyLength::Empty,
            begun: Instant::now(),
            refused: NonZeroU16::new(refused.refusal.status()),
            head_bytes: u32::try_from(refused.head.len()).unwrap_or(u32::MAX),
            head,
        })
    }

    /// What is asked for instead, after a redirect inside: the same fields. Without `with_body` the
    /// client's body is nobody's business any more.
    ///
    /// # Errors
    /// A target that could not stand in a request line, or fields beyond any limit.
    pub fn inside(
        &self,
        method: Method,
        target: &[u8],
        with_body: bool,
    ) -> Result<Self, RequestFlaw> {
        let mut head = RequestHead::compose(Method::default(), target)?;
        head.version = self.head.version;
        for field in self.fields().iter().filter(|field| with_body || field.known != Name::Expect) {
            let pushed = head.fields.push(field.name, field.value);
            pushed.map_err(|Unwritable| RequestFlaw::HeadTooLarge)?;
        }
        let body = if with_body { self.body } else { BodyLength::Empty };
        let Self { protocol, begun, head_bytes, .. } = *self;
        Ok(Self { method, protocol, body, begun, refused: None, head_bytes, head })
    }

    /// What is asked for on behalf of this request: the same fields but for what asks for another
    /// protocol, and no body.
    ///
    /// # Errors
    /// As [`inside`](Self::inside).
    pub fn on_behalf(&self, method: Method, target: &[u8]) -> Result<Self, RequestFlaw> {
        let mut request = self.inside(method, target, false)?;
        request.head.fields.remove(Name::Upgrade);
        Ok(request)
    }

    pub(super) fn version(&self) -> Version {
        self.head.version
    }

    /// Whether the client waits for word before it sends the body (RFC 9110 section 10.1.1).
    pub fn expects_continue(&self) -> bool {
        self.head.expects_continue()
    }

    /// The target byte for byte (RFC 9112 section 3.2).
    pub fn target(&self) -> &[u8] {
        self.head.target()
    }

    /// Bytes of its head; nothing in HTTP/2, where that is the connection's affair.
    pub fn head_bytes(&self) -> u64 {
        self.head_bytes.into()
    }

    pub fn fields(&self) -> &Fields {
        &self.head.fields
    }

    /// Keeps the fields that `keeps` wants, in their order.
    pub fn keep_fields(&mut self, keeps: impl FnMut(Field<'_>) -> bool) {
        self.head.fields.retain(keeps);
    }

    /// Who was asked: the authority of the target or `:authority`, else `Host`.
    pub fn authority(&self) -> Option<&[u8]> {
        self.fields().get(Name::Host)
    }
}

impl Protocol {
    /// As in nginx's `$server_protocol`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Http10 => "HTTP/1.0",
            Self::Http11 => "HTTP/1.1",
            Self::Http2 => "HTTP/2.0",
        }
    }
}

impl BodyLength {
    /// The length, where there is one.
    pub fn known(self) -> Option<u64> {
        match self {
            Self::Empty => Some(0),
            Self::Known(length) => Some(length),
            Self::Unknown => None,
        }
    }
}
