//! Takes an answer to its client: the head, then the body as it comes.

use std::future::poll_fn;
use std::task::Poll;
use std::time::{Duration, Instant};

use crate::downstream::{Client, ClientFailure, Protocol, Request};
use crate::proxy::asking::{Failed, Patience};
use crate::proxy::coding::Outlet;
use crate::proxy::context::Context;
use crate::proxy::response::{Body, Response};
use crate::proxy::shared::Shared;
use crate::proxy::{added, pacing, relay, send_file};
use crate::upstream::verdict::{Failure, Phase};
use crate::wire::fields::Fields;
use crate::wire::response::ResponseHead;
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
    ctx.packed = outlet.packed();
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
    let Framing { announce, has_body, has_trailers } = framing(request, outlet, &response, ctx);
    let Response { mut head, body } = response;
    let behind = Behind { shared, request, has_trailers };
    match body {
        Body::Whole(body) | Body::Page(body) => {
            client.leave_body();
            begin(client, ctx, head, announce, has_body)?;
            let body = if has_body { &body[..] } else { &[] };
            send_whole(client, outlet, body, ctx, patience.send, behind).await
        }
        Body::NotSent(_) => {
            client.leave_body();
            begin(client, ctx, head, announce, has_body)?;
            send_whole(client, outlet, &[], ctx, patience.send, behind).await
        }
        Body::File(mut body) => {
            client.leave_body();
            begin(client, ctx, head, announce, has_body)?;
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
            begin(client, ctx, head, announce, has_body)?;
            let relayed =
                relay::run(client, outlet, &mut body, ctx, has_body, patience, behind).await;
            ctx.tried.has_length(body.received());
            ctx.tried.has_moved(body.moved());
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

/// How a body is sent, and what comes behind it.
struct Framing {
    announce: Announce,
    has_body: bool,
    has_trailers: bool,
}

fn framing(request: &Request, outlet: &Outlet, response: &Response, ctx: &Context) -> Framing {
    let (announce, has_body) = match (outlet.is_coded(), response.framing(&request.method)) {
        (true, (_, true)) => (Announce::Chunked, true),
        (true, (_, false)) => (Announce::Nothing, false),
        (false, framing) => framing,
    };
    let has_trailers = has_body && added::has_trailers(request, ctx, response.head.status);
    let announce = match announce {
        // Over HTTP/1 trailers stand behind chunks alone.
        Announce::Length(_) if has_trailers && request.protocol == Protocol::Http11 => {
            Announce::Chunked
        }
        announce => announce,
    };
    Framing { announce, has_body, has_trailers }
}

/// Begins the answer.
fn begin(
    client: &mut Client<'_>,
    ctx: &mut Context,
    mut head: ResponseHead,
    announce: Announce,
    has_body: bool,
) -> Result<(), Failure> {
    client.begin(&mut head, announce, has_body).map_err(gone)?;
    ctx.sent = Some((head, announce));
    Ok(())
}

/// What follows a body.
#[derive(Clone, Copy)]
pub struct Behind<'a> {
    pub shared: &'a Shared,
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
            return outlet.finish(client, trailers.as_deref());
        }
        let mut trailers = trailers.unwrap_or_default();
        added::trailers(self.shared, self.request, client, ctx, &mut trailers);
        let finished = outlet.finish(client, Some(&*trailers));
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
                let _ = outlet.poll_flush(cx, client)?;
                return Poll::Pending;
            };
            let piece = rest.get(..room).unwrap_or(rest);
            match outlet.poll_send(cx, client, piece)? {
                Poll::Ready(taken) => rest = rest.get(taken..).unwrap_or_default(),
                Poll::Pending => break,
            }
        }
        if rest.is_empty() {
            if left_before != Some(0) {
                behind.finish((client, outlet), ctx, None)?;
            }
            if outlet.poll_flush(cx, client)?.is_ready() {
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
