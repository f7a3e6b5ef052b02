//! An answer as a value: a head, and where its body comes from.

use bytes::Bytes;
use http::{Method, StatusCode};

use crate::downstream::Reply;
use crate::files::body::FileBody;
use crate::proxy::answering::Answering;
use crate::wire::framing::{Framing, announced_length, has_body};
use crate::wire::response::ResponseHead;
use crate::wire::write::Announce;

/// An answer.
#[derive(Debug)]
pub struct Response {
    pub head: ResponseHead,
    pub body: Body,
}

/// Where a body comes from.
#[derive(Debug)]
pub enum Body {
    /// It is there.
    Whole(Bytes),
    /// The same, and tells of the status and nothing else.
    Page(Bytes),
    /// A file, or parts of it.
    File(Box<FileBody>),
    /// So many bytes, of which a HEAD gets none.
    NotSent(u64),
    /// A worker sends it.
    Worker(Box<Answering>),
    /// A worker speaks another protocol from here on.
    Tunnel(Box<Answering>),
}

impl Response {
    /// What the head says of the body, and whether there is one.
    pub fn framing(&self, method: &Method) -> (Announce, bool) {
        let may_have = has_body(self.head.status, method);
        match &self.body {
            Body::Whole(_) | Body::Page(_) if is_bare(self.head.status) => {
                (Announce::Nothing, false)
            }
            Body::Whole(body) | Body::Page(body) => (Announce::Length(body.len() as u64), may_have),
            Body::File(body) => (Announce::Length(body.length()), may_have),
            Body::NotSent(length) => (Announce::Length(*length), false),
            Body::Worker(answering) => match answering.framing() {
                Framing::Length(length) => (Announce::Length(length), true),
                Framing::Empty if may_have => (Announce::Length(0), true),
                Framing::Empty => (self.announced(method), false),
                Framing::Chunked | Framing::UntilClose | Framing::Tunnel => {
                    (Announce::Chunked, true)
                }
            },
            Body::Tunnel(_) => (Announce::Nothing, true),
        }
    }

    /// The length that the body of a HEAD or of a 304 would have had (RFC 9110 section 8.6).
    fn announced(&self, method: &Method) -> Announce {
        let is_told = *method == Method::HEAD || self.head.status == StatusCode::NOT_MODIFIED;
        let is_none = self.head.status == StatusCode::NO_CONTENT;
        match announced_length(&self.head).filter(|_| is_told && !is_none) {
            Some(length) => Announce::Length(length),
            None => Announce::Nothing,
        }
    }
}

/// An answer of such a status has no body, and one of ours none that it could tell of (RFC 9110 section
/// 8.6).
fn is_bare(status: StatusCode) -> bool {
    matches!(status, StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED)
}

impl From<Reply> for Response {
    fn from(reply: Reply) -> Self {
        let Reply { status, fields, body, is_page } = reply;
        let body = if is_page { Body::Page(body) } else { Body::Whole(body) };
        Self { head: ResponseHead::compose(status, fields), body }
    }
}
