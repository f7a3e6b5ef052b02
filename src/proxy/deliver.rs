//! Takes an answer to its client: the head, then the body as it comes.

use std::future::poll_fn;
use std::sync::Arc;
use std::task::{Context as Task, Poll};
use std::time::{Duration, Instant};

use crate::downstream::{Client, ClientFailure, Incoming, Protocol, Request};
use crate::proxy::answering::Answering;
use crate::proxy::asking::{Failed, Patience};
use crate::proxy::buffers;
use crate::proxy::coding::Outlet;
use crate::proxy::context::Context;
use crate::proxy::response::{Body, Response};
use crate::proxy::shared::Shared;
use crate::proxy::spool::Disk;
use crate::proxy::upload::UploadFailure;
use crate::proxy::{added, endpoint, pacing, respond, send_file};
use crate::upstream::verdict::{Failure, Phase};
use crate::wire::fields::Fields;
use crate::wire::write::Announce;

/// Delivers an answer.
///
/// # Errors
/// Why not all of it arrived. The client notices.
pub async fn deliver(
    shared: &Shared,
    request: &Request,
    client: &mut Client<'_>,
    outlet: &mut Outlet,
    response: Response,
    ctx: &mut Context,
    patience: Patience<'_>,
) -> Result<(), Failed> {
    let delivered = send(shared, request, client, outlet, response, ctx, patience).await;
    if delivered.is_err() {
        client.abort();
    }
    let phase = Phase::ReadBody;
    delivered.map_err(|failure| Failed { phase, failure })
}

async fn send(
    shared: &Shared,
    request: &Request,
    client: &mut Client<'_>,
    outlet: &mut Outlet,
    response: Response,
    ctx: &mut Context,
    patience: Patience<'_>,
) -> Result<(), Failure> {
    let (announce, has_body) = match (outlet.is_coded(), response.framing(&request.method)) {
        (true, (_, true)) => (Announce::Chunked, true),
        (true, (_, false)) => (Announce::Nothing, false),
        (false, framing) => framing,
    };
    let Response { mut head, body } = response;
    let has_trailers = has_body && added::has_trailers(request, ctx, head.status);
    let announce = match announce {
        // Over HTTP/1 trailers stand behind chunks alone.
        Announce::Length(_) if has_trailers && request.protocol == Protocol::Http11 => {
            Announce::Chunked
        }
        announce => announce,
    };
    let behind = Behind { shared, request, has_trailers };
    match body {
        Body::Whole(body) | Body::Page(body) => {
            client.leave_body();
            client.begin(&mut head, announce, has_body).map_err(gone)?;
            ctx.sent = Some((head, announce));
            let body = if has_body { &body[..] } else { &[] };
            send_whole(client, outlet, body, ctx, patience.send, behind).await
        }
        Body::NotSent(_) => {
            client.leave_body();
            client.begin(&mut head, announce, has_body).map_err(gone)?;
            ctx.sent = Some((head, announce));
            send_whole(client, outlet, &[], ctx, patience.send, behind).await
        }
        Body::File(mut body) => {
            client.leave_body();
            client.begin(&mut head, announce, has_body).map_err(gone)?;
            ctx.sent = Some((head, announce));
            send_file::run(client, outlet, &mut body, ctx, patience.send, behind).await
        }
        Body::Worker(mut body) => {
            if !body.upload.has_all() {
                // What is left of the request would be read as the next one.
                client.keep_no_longer();
            }
            if ctx.has_whole_body {
                client.leave_body();
            }
            client.begin(&mut head, announce, has_body).map_err(gone)?;
            ctx.sent = Some((head, announce));
            let relayed = relay(client, outlet, &mut body, ctx, has_body, patience, behind).await;
            ctx.tried.has_length(body.received());
            body.upload.note_copy(ctx);
            body.release();
            relayed
        }
        Body::Tunnel(body) => {
            client.upgrade(&mut head.fields).map_err(gone)?;
            ctx.sent = Some((head, announce));
            crate::proxy::tunnel::run(client, body, ctx, patience).await;
            Ok(())
        }
    }
}

/// What follows a body.
#[derive(Clone, Copy)]
pub struct Behind<'a> {
    shared: &'a Shared,
    request: &'a Request,
    has_trailers: bool,
}

impl Behind<'_> {
    /// Ends a body, with its worker's trailers and those of its route.
    ///
    /// # Errors
    /// The client is gone, or fewer bytes were sent than announced.
    pub fn finish(
        self,
        (client, outlet): (&mut Client<'_>, &mut Outlet),
        ctx: &mut Context,
        trailers: Option<Box<Fields>>,
    ) -> Result<(), Failure> {
        if !self.has_trailers {
            if self.shared.variables.speak_of_workers() {
                ctx.sent_trailers = trailers.clone();
            }
            return outlet.finish(client, trailers.as_deref()).map_err(gone);
        }
        let mut trailers = trailers.unwrap_or_default();
        added::trailers(self.shared, self.request, client, ctx, &mut trailers);
        let finished = outlet.finish(client, Some(&*trailers)).map_err(gone);
        ctx.sent_trailers = Some(trailers);
        finished
    }
}

pub fn gone(_: ClientFailure) -> Failure {
    Failure::ClientGone
}

async fn send_whole(
    client: &mut Client<'_>,
    outlet: &mut Outlet,
    body: &[u8],
    ctx: &mut Context,
    patience: Duration,
    behind: Behind<'_>,
) -> Result<(), Failure> {
    let mut rest = body;
    let mut left_before = None;
    client.alarm().set(Instant::now() + patience);
    poll_fn(|cx| {
        while !rest.is_empty() {
            let Poll::Ready(room) = pacing::poll_room(cx, client, ctx) else {
                let _ = client.poll_flush(cx).map_err(gone)?;
                return Poll::Pending;
            };
            let piece = rest.get(..room).unwrap_or(rest);
            match outlet.poll_send(cx, client, piece).map_err(gone)? {
                Poll::Ready(taken) => rest = rest.get(taken..).unwrap_or_default(),
                Poll::Pending => break,
            }
        }
        if rest.is_empty() {
            if left_before != Some(0) {
                behind.finish((client, outlet), ctx, None)?;
            }
            if outlet.poll_flush(cx, client).map_err(gone)?.is_ready() {
                return Poll::Ready(Ok(()));
            }
        }
        if left_before != Some(rest.len()) {
            left_before = Some(rest.len());
            client.alarm().set(Instant::now() + patience);
        }
        client.alarm().poll(cx).map(|()| Err(Failure::ClientStalled))
    })
    .await
}

/// Moves an answer's body from its worker to its client, and what is left of the request's the other
/// way.
async fn relay(
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
            let allowed = match waiting {
                Waiting::Client | Waiting::Pace => patience.send,
                // A worker may wait for all of the body before it goes on.
                Waiting::Body => patience.worker.read.max(patience.body),
                Waiting::Worker => patience.worker.read,
            };
            client.alarm().set(Instant::now() + allowed);
        }
        let put_back = body.held();
        if let Some((peer, upload)) = body.way() {
            buffers::note(patience.buffers, ctx, client, (peer, upload), put_back);
        }
        client.alarm().poll(cx).map(|()| {
            Err(match waiting {
                Waiting::Client | Waiting::Pace | Waiting::Body => Failure::ClientStalled,
                Waiting::Worker => {
                    body.suspect();
                    Failure::TimedOut
                }
            })
        })
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
        (Waiting::Client, outlet.poll_flush(cx, client).map_err(gone))
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
                        let _ = client.poll_flush(cx).map_err(gone)?;
                        body.collect(cx, disk).map_err(|_| Failure::Closed)?;
                        return Ok(Some(Waiting::Pace));
                    };
                    let piece = body.piece();
                    let piece = piece.get(..room).unwrap_or(piece);
                    match outlet.poll_send(cx, client, piece).map_err(gone)? {
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
                    if outlet.poll_flush(cx, client).map_err(gone)?.is_pending() {
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
