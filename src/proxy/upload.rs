//! The request's body of one exchange, on its way to a worker.

mod kept;
mod source;

use std::task::{Context, Poll, ready};

use bytes::Bytes;

use self::kept::Kept;
use self::source::Source;
use crate::downstream::{BodyLength, Client, ClientFailure, Incoming};
use crate::proxy::context::Context as Exchange;
use crate::proxy::forward;
use crate::proxy::peer::{Peer, Refused};
use crate::proxy::request_body::WholeBody;
use crate::session::subject::body::Copied;
use crate::wire::fields::Fields;

/// A request's body on its way to a worker.
#[derive(Debug)]
pub struct Upload {
    state: State,
    source: Source,
    /// What was announced, where that is a number.
    length: Option<u64>,
    /// 0 for no limit.
    bytes_max: u64,
    sent: u64,
    kept: Kept,
    trailers: Option<Box<Fields>>,
    /// The worker does not take what there is.
    is_behind: bool,
    /// Counts what happened, so that whoever watches sees that something did.
    steps: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// The client's is on its way.
    Body,
    /// What was kept is on its way.
    Spooled,
    Flushing,
    Over,
    /// The worker takes no more; it may have answered all the same.
    Refused,
}

impl State {
    /// How an upload begins.
    fn at(source: &Source) -> Self {
        match source {
            Source::Client => Self::Body,
            Source::Spooled(_) => Self::Spooled,
            Source::Nowhere | Source::InPlace | Source::Own(_) => Self::Flushing,
        }
    }
}

/// Why an upload ends early.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum UploadFailure {
    Client(ClientFailure),
    TooLarge,
    /// What was kept of it cannot be read.
    Lost,
}

impl Upload {
    /// An upload that has not begun. With `may_repeat`, its beginning is held.
    pub fn new(body: BodyLength, bytes_max: u64, may_repeat: bool) -> Self {
        let source = if body == BodyLength::Empty { Source::Nowhere } else { Source::Client };
        Self {
            state: State::at(&source),
            source,
            length: body.known(),
            bytes_max,
            sent: 0,
            kept: Kept::new(may_repeat),
            trailers: None,
            is_behind: false,
            steps: 0,
        }
    }

    /// One of our own, whatever the client sends.
    pub fn own(body: Vec<u8>) -> Self {
        let length = body.len() as u64;
        Self::of(if body.is_empty() { Source::Nowhere } else { Source::Own(body) }, length)
    }

    /// One that is there.
    pub fn whole(body: WholeBody) -> Self {
        let length = body.length();
        match body {
            _ if length == 0 => Self::of(Source::Nowhere, 0),
            WholeBody::InPlace(_) => Self::of(Source::InPlace, length),
            WholeBody::Spooled(spool) => Self::of(Source::Spooled(spool), length),
        }
    }

    fn of(source: Source, length: u64) -> Self {
        let empty = Self::new(BodyLength::Empty, 0, true);
        Self { state: State::at(&source), source, length: Some(length), ..empty }
    }

    /// The body, where another worker can have it.
    pub fn take_whole(&mut self) -> Option<WholeBody> {
        match std::mem::replace(&mut self.source, Source::Nowhere) {
            Source::InPlace => Some(WholeBody::InPlace(self.length.unwrap_or_default())),
            Source::Spooled(spool) => Some(WholeBody::Spooled(spool)),
            Source::Nowhere | Source::Client | Source::Own(_) => None,
        }
    }

    /// What its head says of it, where it is none of the client's.
    pub fn announced(&self) -> BodyLength {
        match self.length {
            Some(length) if length > 0 => BodyLength::Known(length),
            _ => BodyLength::Empty,
        }
    }

    /// Keeps a small body for variables.
    pub fn keep_copy(&mut self) {
        self.kept.keep_copy();
    }

    /// Tells variables what came so far, where that was kept.
    pub fn note_copy(&self, ctx: &mut Exchange) {
        if self.is_streamed() {
            ctx.request_body = self.kept.copy().map(Bytes::copy_from_slice);
        }
    }

    /// Whether the worker has all that it will get.
    pub fn is_over(&self) -> bool {
        matches!(self.state, State::Over | State::Refused)
    }

    /// Whether the worker took all of the body.
    pub fn is_taken(&self) -> bool {
        self.state == State::Over
    }

    /// Whether all of the body came, so that nobody waits for the client.
    pub fn has_all(&self) -> bool {
        !self.is_streamed() || matches!(self.state, State::Over | State::Flushing)
    }

    /// Whether it comes as the client sends it.
    pub fn is_streamed(&self) -> bool {
        matches!(self.source, Source::Client)
    }

    /// Whether the worker does not take what there is.
    pub fn is_behind(&self) -> bool {
        self.is_behind
    }

    pub fn steps(&self) -> u64 {
        self.steps
    }

    /// Whether all that was sent so far can be sent again.
    pub fn may_begin_again(&self) -> bool {
        !self.is_streamed() || self.sent == 0 || self.kept.again().is_some()
    }

    /// Bytes that are held for another try.
    pub fn held(&self) -> usize {
        self.source.held().unwrap_or_else(|| self.kept.held())
    }

    /// Begins again over another connection, with what was sent so far.
    pub fn begin_again(
        &mut self,
        client: &mut Client<'_>,
        peer: &mut Peer,
        copied: Option<&mut Copied>,
    ) {
        self.state = State::at(&self.source);
        let (beginning, is_all) = match &self.source {
            Source::InPlace => (client.whole_body().unwrap_or_default(), true),
            Source::Own(body) => (&body[..], true),
            Source::Nowhere => (&[][..], true),
            Source::Client => (self.kept.again().unwrap_or_default(), false),
            Source::Spooled(_) => {
                self.sent = 0;
                (&[][..], false)
            }
        };
        if !beginning.is_empty() {
            peer.put(beginning);
            if is_all && peer.finish(None).is_err() {
                self.state = State::Refused;
            }
        }
        if let Some(copied) = copied {
            copied.begin_again();
            copied.pass(beginning, is_all);
        }
    }

    /// Moves what there is to be moved. Ready when the worker has all that it will get.
    ///
    /// # Errors
    /// The client's, or a body beyond the limit. What a worker does not take is no error: it may have
    /// answered.
    pub fn poll(
        &mut self,
        cx: &mut Context<'_>,
        client: &mut Client<'_>,
        peer: &mut Peer,
        mut copied: Option<&mut Copied>,
    ) -> Poll<Result<(), UploadFailure>> {
        loop {
            match self.state {
                State::Over | State::Refused => return Poll::Ready(Ok(())),
                State::Flushing => match ready!(peer.poll_flush(cx)) {
                    Ok(()) => self.enter(State::Over),
                    Err(Refused) => self.enter(State::Refused),
                },
                State::Body | State::Spooled if peer.is_full() => {
                    if ready!(peer.poll_flush(cx)).is_err() {
                        self.enter(State::Refused);
                    }
                    self.steps += 1;
                }
                State::Spooled => {
                    if ready!(self.poll_spooled(cx, peer, copied.as_deref_mut()))? {
                        self.enter(State::Flushing);
                    }
                }
                State::Body => ready!(self.poll_client(cx, client, peer, copied.as_deref_mut()))?,
            }
        }
    }

    /// Moves what the client has sent.
    fn poll_client(
        &mut self,
        cx: &mut Context<'_>,
        client: &mut Client<'_>,
        peer: &mut Peer,
        copied: Option<&mut Copied>,
    ) -> Poll<Result<(), UploadFailure>> {
        let came = match client.poll_body(cx) {
            Poll::Ready(came) => came.map_err(UploadFailure::Client)?,
            Poll::Pending => {
                if let Poll::Ready(Err(Refused)) = peer.poll_flush(cx) {
                    self.enter(State::Refused);
                    return Poll::Ready(Ok(()));
                }
                return Poll::Pending;
            }
        };
        match came {
            Incoming::Data(_) => {
                let polled = self.poll_take(cx, client, peer, copied);
                self.is_behind = polled.is_pending();
                let taken = ready!(polled);
                self.steps += 1;
                self.sent += taken as u64;
                if self.bytes_max > 0 && self.sent > self.bytes_max {
                    return Poll::Ready(Err(UploadFailure::TooLarge));
                }
            }
            // Whoever waits for more would take the next request for it.
            Incoming::End if self.length.is_some_and(|n| n != self.sent) => {
                return Poll::Ready(Err(UploadFailure::Client(ClientFailure::Gone)));
            }
            Incoming::End => {
                if let Some(copied) = copied {
                    copied.pass(&[], true);
                }
                if let Some(mut trailers) = client.take_trailers() {
                    forward::clean_trailers(&mut trailers);
                    self.trailers = Some(trailers);
                }
                match peer.finish(self.trailers.as_deref()) {
                    Ok(()) => self.enter(State::Flushing),
                    Err(Refused) => self.enter(State::Refused),
                }
            }
        }
        Poll::Ready(Ok(()))
    }

    /// Takes the client's piece, or a part of it; how much.
    fn poll_take(
        &mut self,
        cx: &mut Context<'_>,
        client: &mut Client<'_>,
        peer: &mut Peer,
        copied: Option<&mut Copied>,
    ) -> Poll<usize> {
        let piece = client.piece();
        let Ok(taken) = ready!(peer.poll_take(cx, piece)) else {
            self.state = State::Refused;
            return Poll::Ready(0);
        };
        let piece = piece.get(..taken).unwrap_or_default();
        if let Some(copied) = copied {
            copied.pass(piece, false);
        }
        self.kept.note(piece);
        client.consume(taken);
        Poll::Ready(taken)
    }

    /// Moves a piece of what was kept. Whether that was all.
    fn poll_spooled(
        &mut self,
        cx: &mut Context<'_>,
        peer: &mut Peer,
        copied: Option<&mut Copied>,
    ) -> Poll<Result<bool, UploadFailure>> {
        let Source::Spooled(spool) = &mut self.source else { return Poll::Ready(Ok(true)) };
        if let Err(error) = spool.load(self.sent) {
            tracing::error!(%error, "a request's body cannot be read back");
            return Poll::Ready(Err(UploadFailure::Lost));
        }
        let piece = spool.piece(self.sent);
        let polled = if piece.is_empty() {
            Poll::Ready(peer.finish(None).map(|()| 0))
        } else {
            peer.poll_take(cx, piece)
        };
        self.is_behind = polled.is_pending();
        let Ok(taken) = ready!(polled) else {
            self.enter(State::Refused);
            return Poll::Ready(Ok(false));
        };
        if let Some(copied) = copied {
            copied.pass(piece.get(..taken).unwrap_or_default(), piece.is_empty());
        }
        let is_all = piece.is_empty();
        self.sent += taken as u64;
        self.steps += 1;
        Poll::Ready(Ok(is_all))
    }

    fn enter(&mut self, state: State) {
        self.state = state;
        self.steps += 1;
    }
}
