//! The answer to a request, as it is written.

use std::fs::File;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::SystemTime;

use http::StatusCode;
use tokio::io::AsyncWrite;

use super::Http1;
use crate::downstream::client::ClientFailure;
use crate::wire::Version;
use crate::wire::fields::Fields;
use crate::wire::name::Name;
use crate::wire::response::ResponseHead;
use crate::wire::write::{self, Announce};

/// Bytes of a body for which there is room behind its head.
const TOGETHER_MAX: usize = 8 * 1024;

/// Where the answer is.
#[derive(Debug, Default)]
pub(super) struct Sending {
    status: Option<StatusCode>,
    framing: Framing,
    sent: u64,
    /// Bytes of the head, and of what frames the body.
    head_bytes: u32,
    framing_bytes: usize,
}

/// What is still to be sent.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Framing {
    #[default]
    NotBegun,
    Length(u64),
    /// Inside a chunk there are so many bytes left.
    Chunked {
        left: usize,
    },
    UntilClose,
    Ended,
    /// Not all was sent. The client notices, but for a body that lasts until the close: then it must
    /// be no clean one.
    Broken {
        until_close: bool,
    },
}

impl Sending {
    pub fn status(&self) -> Option<StatusCode> {
        self.status
    }

    pub fn sent(&self) -> u64 {
        self.sent
    }

    pub fn head_bytes(&self) -> u64 {
        self.head_bytes.into()
    }

    pub fn framing_bytes(&self) -> u64 {
        self.framing_bytes as u64
    }

    pub fn has_begun(&self) -> bool {
        self.status.is_some()
    }

    pub fn has_ended(&self) -> bool {
        self.framing == Framing::Ended
    }

    /// Whether a clean end would make a part look like the whole.
    pub fn must_reset(&self) -> bool {
        self.framing == Framing::Broken { until_close: true }
    }
}

impl Http1 {
    pub fn interim(&mut self, status: StatusCode, fields: &Fields) {
        let is_awaited = status != StatusCode::CONTINUE || self.receiving.told_to_continue();
        if is_awaited && self.version == Version::Http11 && !self.sending.has_begun() {
            write::response_head(self.conn.out(), status, b"", fields, Announce::Nothing);
        }
    }

    pub fn begin(
        &mut self,
        head: &mut ResponseHead,
        announce: Announce,
        has_body: bool,
    ) -> Result<(), ClientFailure> {
        let (announce, framing) = match announce {
            Announce::Length(length) if has_body => (announce, Framing::Length(length)),
            Announce::Chunked
                if has_body
                    && self.version == Version::Http11
                    && self.delivery.as_ref().is_none_or(|delivery| delivery.chunks) =>
            {
                (announce, Framing::Chunked { left: 0 })
            }
            Announce::Chunked | Announce::Nothing if has_body => {
                self.keeps = false;
                (Announce::Nothing, Framing::UntilClose)
            }
            Announce::Length(_) => (announce, Framing::Ended),
            Announce::Chunked | Announce::Nothing => (Announce::Nothing, Framing::Ended),
        };
        let told = self.info().told();
        let is_last = told.is_none() && self.info().has_had_all();
        self.keeps &= !is_last && !self.conn.is_draining() && !self.receiving.waits();
        if !self.keeps {
            push(&mut head.fields, b"Connection", b"close");
        } else if self.version == Version::Http10 || told.is_some() {
            push(&mut head.fields, b"Connection", b"keep-alive");
            if let Some(seconds @ 1..) = told {
                push(&mut head.fields, b"Keep-Alive", format!("timeout={seconds}").as_bytes());
            }
        }
        if !head.fields.has(Name::Date) {
            let date = httpdate::fmt_http_date(SystemTime::now());
            push(&mut head.fields, b"Date", date.as_bytes());
        }
        let ResponseHead { status, fields, .. } = &*head;
        if let Framing::Length(length) = framing {
            // A short body leaves together with the head.
            let room = usize::try_from(length).unwrap_or(usize::MAX).min(TOGETHER_MAX);
            self.conn.out().reserve(write::head_max(fields) + room);
        }
        let head_bytes = added(self.conn.out(), |out| {
            write::response_head(out, *status, head.reason(), fields, announce);
        });
        let head_bytes = narrow(head_bytes);
        self.sending = Sending { status: Some(*status), framing, head_bytes, ..Sending::default() };
        Ok(())
    }

    pub fn upgrade(&mut self, fields: &mut Fields) -> Result<(), ClientFailure> {
        let status = StatusCode::SWITCHING_PROTOCOLS;
        self.keeps = false;
        push(fields, b"Connection", b"Upgrade");
        let head_bytes = added(self.conn.out(), |out| {
            write::response_head(out, status, b"", fields, Announce::Nothing);
        });
        let head_bytes = narrow(head_bytes);
        let framing = Framing::UntilClose;
        self.sending = Sending { status: Some(status), framing, head_bytes, ..Sending::default() };
        self.receiving.be_tunnel();
        Ok(())
    }

    pub fn poll_send(
        &mut self,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<Result<usize, ClientFailure>> {
        let most = match &mut self.sending.framing {
            Framing::Length(left) => usize::try_from(*left).unwrap_or(usize::MAX),
            Framing::Chunked { left: left @ 0 } if !bytes.is_empty() => {
                *left = bytes.len();
                self.sending.framing_bytes +=
                    added(self.conn.out(), |out| write::chunk_begin(out, bytes.len()));
                bytes.len()
            }
            Framing::Chunked { left } => *left,
            Framing::UntilClose => usize::MAX,
            Framing::NotBegun | Framing::Ended | Framing::Broken { .. } => 0,
        };
        let bytes = bytes.get(..most.min(bytes.len())).unwrap_or_default();
        if bytes.is_empty() {
            return Poll::Ready(Err(ClientFailure::Gone));
        }
        let polled = ready!(Pin::new(&mut self.conn).poll_write(cx, bytes));
        let taken = polled.map_err(|error| self.lost(&error))?;
        self.sending.sent += taken as u64;
        match &mut self.sending.framing {
            Framing::Length(left) => *left -= taken as u64,
            Framing::Chunked { left } => {
                *left -= taken;
                if *left == 0 {
                    self.conn.out().extend_from_slice(write::CHUNK_END);
                    self.sending.framing_bytes += write::CHUNK_END.len();
                }
            }
            Framing::NotBegun | Framing::UntilClose | Framing::Ended | Framing::Broken { .. } => {}
        }
        Poll::Ready(Ok(taken))
    }

    pub fn poll_send_file(
        &mut self,
        cx: &mut Context<'_>,
        file: &File,
        offset: u64,
        length: usize,
    ) -> Poll<Result<Option<usize>, ClientFailure>> {
        let Framing::Length(left) = &mut self.sending.framing else { return Poll::Ready(Ok(None)) };
        let length = length.min(usize::try_from(*left).unwrap_or(usize::MAX));
        let sent = ready!(self.conn.poll_send_file(cx, file, offset, length));
        let sent = match sent {
            Ok(sent) => sent,
            Err(error) => return Poll::Ready(Err(self.lost(&error))),
        };
        let bytes = sent.unwrap_or_default() as u64;
        *left = left.saturating_sub(bytes);
        self.sending.sent += bytes;
        Poll::Ready(Ok(sent))
    }

    pub fn finish(&mut self, trailers: Option<&Fields>) -> Result<(), ClientFailure> {
        match self.sending.framing {
            Framing::Length(0) | Framing::UntilClose | Framing::Ended => {}
            Framing::Chunked { left: 0 } => {
                self.sending.framing_bytes +=
                    added(self.conn.out(), |out| write::last_chunk(out, trailers));
            }
            Framing::NotBegun
            | Framing::Length(_)
            | Framing::Chunked { .. }
            | Framing::Broken { .. } => {
                self.abort();
                return Err(ClientFailure::Gone);
            }
        }
        self.sending.framing = Framing::Ended;
        Ok(())
    }

    pub fn abort(&mut self) {
        self.keeps = false;
        if self.sending.has_begun() && !self.sending.has_ended() {
            let until_close = self.sending.framing == Framing::UntilClose;
            self.sending.framing = Framing::Broken { until_close };
        }
    }

    pub fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), ClientFailure>> {
        Pin::new(&mut self.conn).poll_flush(cx).map_err(|error| self.lost(&error))
    }

    /// The client takes no more.
    pub fn poll_shutdown(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), ClientFailure>> {
        Pin::new(&mut self.conn).poll_shutdown(cx).map_err(|error| self.lost(&error))
    }

    fn lost(&mut self, error: &io::Error) -> ClientFailure {
        tracing::debug!(%error, "the client takes no more of its answer");
        self.keeps = false;
        ClientFailure::Gone
    }
}

/// Heads have limits: this is kept for each connection.
fn narrow(bytes: usize) -> u32 {
    u32::try_from(bytes).unwrap_or(u32::MAX)
}

/// How many bytes were written.
fn added(out: &mut Vec<u8>, write: impl FnOnce(&mut Vec<u8>)) -> usize {
    let before = out.len();
    write(out);
    out.len() - before
}

/// Our own fields; their text is good.
fn push(fields: &mut Fields, name: &[u8], value: &[u8]) {
    let _ = fields.set(name, value);
}
