//! Moves a worker's answer to its client as it comes, and what is left of the request the other way.

use std::future::poll_fn;
use std::sync::Arc;
use std::task::{Context as Task, Poll};
use std::time::{Duration, Instant};

use crate::downstream::{Client, ClientFailure, Incoming};
use crate::proxy::answering::Answering;
use crate::proxy::asking::Patience;
use crate::proxy::buffers;
use crate::proxy::coding::Outlet;
use crate::proxy::context::Context;
use crate::proxy::deliver::Behind;
use crate::proxy::spool::Disk;
use crate::proxy::upload::UploadFailure;
use crate::proxy::{endpoint, pacing, respond};
use crate::upstream::verdict::Failure;

/// Relays an answer's body.
///
/// # Errors
/// Why not all of it arrived.
pub async fn run(
    client: &mut Client<'_>,
    outlet: &mut Outlet,
    body: &mut Answering,
    ctx: &mut Context,
    has_body: bool,
    patience: Patience<'_>,
    behind: Behind<'_>,
) -> Result<(), Failure> {
    let mut relay = Relay { has_ended: false, steps: 0 };
    let mut waited_for = None;
    poll_fn(|cx| {
        if ctx.cut().is_some_and(|cut| cut.poll_cut(cx).is_ready()) {
            return Poll::Ready(Err(Failure::Cut));
        }
        if !relay.has_ended {
            poll_upload(cx, client, body, ctx)?;
        }
        let (waiting, polled) = relay.poll(
            cx,
            (client, outlet),
            body,
            ctx,
            (has_body, patience.buffers.disk()),
            behind,
        );
        if body.has_ended() {
            // The worker has done what it does, its session saved (PROTOCOL.md 32).
            ctx.end_turn();
            endpoint::finished(ctx);
        }
        if polled.is_ready() {
            return polled;
        }
        if waiting == Waiting::Pace {
            waited_for = None;
            return Poll::Pending;
        }
        let waiting = match waiting {
            Waiting::Worker if body.waits_for_body() => Waiting::Body,
            waiting => waiting,
        };
        let now_waits_for = Some((waiting, relay.steps, body.upload.steps()));
        if waited_for != now_waits_for {
            waited_for = now_waits_for;
            client.alarm().set(Instant::now() + waiting.allowed(patience));
        }
        let put_back = body.held();
        if let Some((peer, upload)) = body.way() {
            buffers::note(patience.buffers, ctx, client, (peer, upload), put_back);
        }
        client.alarm().poll(cx).map(|()| Err(waiting.in_vain(body)))
    })
    .await
}

/// What is left of an upload goes on beside its answer. A body that is none ends it, not the answer.
pub fn poll_upload(
    cx: &mut Task<'_>,
    client: &mut Client<'_>,
    body: &mut Answering,
    ctx: &mut Context,
) -> Result<(), Failure> {
    let copied = ctx.exchange.as_mut().and_then(|exchange| exchange.body.as_mut());
    let Some((peer, upload)) = body.way().filter(|(_, upload)| !upload.is_over()) else {
        return Ok(());
    };
    match upload.poll(cx, client, peer, copied) {
        Poll::Ready(Err(UploadFailure::Client(ClientFailure::Gone))) => Err(Failure::ClientGone),
        Poll::Ready(Err(UploadFailure::Client(ClientFailure::Flaw(_)))) => Err(Failure::ClientGone),
        Poll::Ready(Err(UploadFailure::TooLarge)) => Err(Failure::TooLarge),
        Poll::Ready(Err(UploadFailure::Lost)) => Err(Failure::Internal),
        Poll::Ready(Ok(())) | Poll::Pending => Ok(()),
    }
}

/// Whom a relay waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Waiting {
    /// Until the client takes bytes.
    Client,
    /// Until more may go (`limit_rate`).
    Pace,
    /// For the rest of the client's body, and for the worker.
    Body,
    Worker,
}

impl Waiting {
    /// How long.
    fn allowed(self, patience: Patience<'_>) -> Duration {
        match self {
            Self::Client | Self::Pace => patience.send,
            // A worker may wait for all of the body before it goes on.
            Self::Body => patience.worker.read.max(patience.body),
            Self::Worker => patience.worker.read,
        }
    }

    /// Nothing came.
    fn in_vain(self, body: &mut Answering) -> Failure {
        match self {
            Self::Client | Self::Pace | Self::Body => Failure::ClientStalled,
            Self::Worker => {
                body.suspect();
                Failure::TimedOut
            }
        }
    }
}

struct Relay {
    has_ended: bool,
    /// Pieces that were moved.
    steps: u64,
}

impl Relay {
    fn poll(
        &mut self,
        cx: &mut Task<'_>,
        (client, outlet): (&mut Client<'_>, &mut Outlet),
        body: &mut Answering,
        ctx: &mut Context,
        (has_body, disk): (bool, &Arc<Disk>),
        behind: Behind<'_>,
    ) -> (Waiting, Poll<Result<(), Failure>>) {
        if !self.has_ended {
            match self.poll_pieces(cx, (client, outlet), body, ctx, (has_body, disk)) {
                Ok(None) => {}
                Ok(Some(waiting)) => return (waiting, Poll::Pending),
                Err(failure) => return (Waiting::Worker, Poll::Ready(Err(failure))),
            }
            self.has_ended = true;
            self.steps += 1;
            // The worker has done what it does, its session saved (PROTOCOL.md 32).
            ctx.end_turn();
            let mut trailers = body.take_trailers();
            if behind.shared.variables.speak_of_workers() {
                ctx.worker_trailers = trailers.as_deref().cloned();
            }
            trailers.as_deref_mut().into_iter().for_each(|fields| respond::trailers(fields, ctx));
            body.release();
            if let Err(failure) = behind.finish((client, outlet), ctx, trailers) {
                return (Waiting::Client, Poll::Ready(Err(failure)));
            }
        }
        (Waiting::Client, outlet.poll_flush(cx, client))
    }

    /// Moves pieces until somebody has to be waited for; `None` when the body has ended.
    fn poll_pieces(
        &mut self,
        cx: &mut Task<'_>,
        (client, outlet): (&mut Client<'_>, &mut Outlet),
        body: &mut Answering,
        ctx: &mut Context,
        (has_body, disk): (bool, &Arc<Disk>),
    ) -> Result<Option<Waiting>, Failure> {
        loop {
            match body.poll_piece(cx) {
                Poll::Ready(Ok(Incoming::Data(_))) if has_body => {
                    let Poll::Ready(room) = pacing::poll_room(cx, client, ctx) else {
                        let _ = outlet.poll_flush(cx, client)?;
                        body.collect(cx, disk).map_err(|_| Failure::Closed)?;
                        return Ok(Some(Waiting::Pace));
                    };
                    let piece = body.piece();
                    let piece = piece.get(..room).unwrap_or(piece);
                    match outlet.poll_send(cx, client, piece)? {
                        Poll::Ready(taken) => body.consume(taken),
                        Poll::Pending => {
                            body.collect(cx, disk).map_err(|_| Failure::Closed)?;
                            return Ok(Some(Waiting::Client));
                        }
                    }
                    self.steps += 1;
                    if let Some(cut) = ctx.cut().filter(|cut| cut.is_stream()) {
                        cut.note_traffic();
                    }
                }
                Poll::Ready(Ok(Incoming::Data(_) | Incoming::End)) => return Ok(None),
                Poll::Ready(Err(_)) => return Err(Failure::Closed),
                Poll::Pending => {
                    // Nothing waits here for what may never come.
                    if outlet.poll_flush(cx, client)?.is_pending() {
                        return Ok(Some(Waiting::Client));
                    }
                    if body.upload.has_all() && client.poll_gone(cx).is_ready() {
                        return Err(Failure::ClientGone);
                    }
                    return Ok(Some(Waiting::Worker));
                }
            }
        }
    }
}
