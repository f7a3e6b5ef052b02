//! The request's body of one exchange, on its way to a worker.

use std::task::{Context, Poll, ready};

use crate::downstream::{BodyLength, Client, ClientFailure, Incoming};
use crate::proxy::forward;
use crate::proxy::peer::{Peer, Refused};
use crate::session::subject::body::Copied;
use crate::wire::fields::Fields;

/// Bytes of a body that are held for another try.
const HELD_MAX: usize = 64 * 1024;

/// Bytes of a body that variables may speak of; there is no value of a larger one (nginx
/// `client_body_buffer_size`).
const COPY_MAX: usize = 16 * 1024;

/// A request's body on its way to a worker.
#[derive(Debug)]
pub struct Upload {
    state: State,
    /// Where there is no body the client is not asked for one.
    begins: State,
    /// What was announced, where that is a number.
    length: Option<u64>,
    /// 0 for no limit.
    bytes_max: u64,
    sent: u64,
    /// What was sent so far, where it may have to be sent again.
    held: Option<Vec<u8>>,
    trailers: Option<Box<Fields>>,
    /// What is held is all of it.
    is_own: bool,
    /// What came so far, for variables.
    copy: Option<Vec<u8>>,
    /// Counts what happened, so that whoever watches sees that something did.
    steps: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Body,
    Flushing,
    Over,
    /// The worker takes no more; it may have answered all the same.
    Refused,
}

/// Why an upload ends early.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum UploadFailure {
    Client(ClientFailure),
    TooLarge,
}

impl Upload {
    /// An upload that has not begun. With `may_repeat`, its beginning is held.
    pub fn new(body: BodyLength, bytes_max: u64, may_repeat: bool) -> Self {
        let begins = if body == BodyLength::Empty { State::Flushing } else { State::Body };
        Self {
            state: begins,
            begins,
            length: body.known(),
            bytes_max,
            sent: 0,
            held: may_repeat.then(Vec::new),
            trailers: None,
            is_own: false,
            copy: None,
            steps: 0,
        }
    }

    /// One of our own, whatever the client sends.
    pub fn own(body: Vec<u8>) -> Self {
        let is_own = !body.is_empty();
        let length = Some(body.len() as u64);
        let held = Some(body);
        let empty = Self::new(BodyLength::Empty, 0, true);
        Self { is_own, length, held, ..empty }
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
        self.copy = Some(Vec::new());
    }

    /// The body, where it was kept and something came.
    pub fn copy(&self) -> Option<&[u8]> {
        self.copy.as_deref().filter(|copy| !copy.is_empty())
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
        matches!(self.state, State::Over | State::Flushing)
    }

    pub fn steps(&self) -> u64 {
        self.steps
    }

    /// Whether all that was sent so far can be sent again.
    pub fn may_begin_again(&self) -> bool {
        self.sent == 0 || self.held.is_some()
    }

    /// Bytes that are held for another try.
    pub fn held(&self) -> usize {
        self.held.as_ref().map_or(0, Vec::capacity)
    }

    /// Begins again over another connection, with what was sent so far.
    pub fn begin_again(&mut self, peer: &mut Peer, copied: Option<&mut Copied>) {
        self.state = self.begins;
        let held = self.held.as_deref().unwrap_or_default();
        if !held.is_empty() {
            peer.put(held);
        }
        if self.is_own && peer.finish(None).is_err() {
            self.state = State::Refused;
        }
        if let Some(copied) = copied {
            copied.begin_again();
            copied.pass(held, self.begins != State::Body);
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
                State::Body if peer.is_full() => {
                    if ready!(peer.poll_flush(cx)).is_err() {
                        self.enter(State::Refused);
                    }
                    self.steps += 1;
                }
                State::Body => match client.poll_body(cx) {
                    Poll::Ready(Ok(Incoming::Data(_))) => {
                        let taken = ready!(self.poll_take(cx, client, peer, copied.as_deref_mut()));
                        self.steps += 1;
                        self.sent += taken as u64;
                        if self.bytes_max > 0 && self.sent > self.bytes_max {
                            return Poll::Ready(Err(UploadFailure::TooLarge));
                        }
                    }
                    // Whoever waits for more would take the next request for it.
                    Poll::Ready(Ok(Incoming::End))
                        if self.length.is_some_and(|n| n != self.sent) =>
                    {
                        return Poll::Ready(Err(UploadFailure::Client(ClientFailure::Gone)));
                    }
                    Poll::Ready(Ok(Incoming::End)) => {
                        if let Some(copied) = copied.as_deref_mut() {
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
                    Poll::Ready(Err(failure)) => {
                        return Poll::Ready(Err(UploadFailure::Client(failure)));
                    }
                    Poll::Pending => {
                        if let Poll::Ready(Err(Refused)) = peer.poll_flush(cx) {
                            self.enter(State::Refused);
                            continue;
                        }
                        return Poll::Pending;
                    }
                },
            }
        }
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
        match &mut self.copy {
            Some(copy) if copy.len() + taken <= COPY_MAX => copy.extend_from_slice(piece),
            copy => *copy = None,
        }
        match &mut self.held {
            Some(held) if held.len() + taken <= HELD_MAX => held.extend_from_slice(piece),
            held => *held = None,
        }
        client.consume(taken);
        Poll::Ready(taken)
    }

    fn enter(&mut self, state: State) {
        self.state = state;
        self.steps += 1;
    }
}
