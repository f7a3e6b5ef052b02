//! One request at one worker, until the final head of its answer is there.

use std::future::poll_fn;
use std::sync::Arc;
use std::task::{Context as Task, Poll, ready};
use std::time::{Duration, Instant};

use http::{Method, StatusCode};

use crate::downstream::{BodyLength, Client, ClientFailure, Request};
use crate::proxy::answering::Answering;
use crate::proxy::buffers::{self, Buffers};
use crate::proxy::context::Context;
use crate::proxy::error::RequestError;
use crate::proxy::peer::Worker;
use crate::proxy::response::{Body, Response};
use crate::proxy::upload::{Upload, UploadFailure};
use crate::proxy::{forward, respond};
use crate::upstream::Timeouts;
use crate::upstream::verdict::{Failure, Phase};
use crate::wire::connection::remove_hop_by_hop;
use crate::wire::elements;
use crate::wire::fields::Fields;
use crate::wire::framing::Framing;
use crate::wire::name::Name;
use crate::wire::response::ResponseHead;

/// Interim answers before the final one.
const INTERIM_MAX: u32 = 16;

/// How long whom is waited for, and how much is held meanwhile.
#[derive(Clone, Copy, Debug)]
pub struct Patience<'a> {
    pub worker: Timeouts,
    /// Without a byte of an answer taken by the client.
    pub send: Duration,
    /// Without a byte of the client's body.
    pub body: Duration,
    pub buffers: &'a Arc<Buffers>,
}

/// What went wrong, and when.
#[derive(Clone, Copy, Debug)]
pub struct Failed {
    pub phase: Phase,
    pub failure: Failure,
}

/// What a worker is asked with.
#[derive(Clone, Copy, Debug)]
pub struct Ask<'a> {
    pub request: &'a Request,
    pub method: &'a Method,
    pub body: BodyLength,
}

/// One request at one worker, until the final head of its answer is there.
pub struct Asking<'a> {
    pub worker: Worker,
    upload: &'a mut Upload,
    method: &'a Method,
    pub answer: ResponseHead,
    interim: u32,
}

/// Whom an exchange waits for: who is late when it is too late.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Waiting {
    /// For the client's body.
    Client,
    /// Until the worker takes bytes.
    Taking,
    /// For the worker's answer.
    Answer,
}

impl<'a> Asking<'a> {
    /// Begins the request.
    ///
    /// # Errors
    /// One that cannot be said on the way to this worker.
    pub fn new(
        mut worker: Worker,
        upload: &'a mut Upload,
        ask: Ask<'a>,
        head: &Fields,
        client: &mut Client<'_>,
        ctx: &mut Context,
    ) -> Result<Self, RequestError> {
        let Ask { request, method, body } = ask;
        let came = request.target();
        let target = ctx.target.as_ref().map_or(came, |target| target.for_worker(came));
        let begun = worker.peer.begin(method, target, head, body);
        begun.map_err(|_| RequestError::BadRequest)?;
        if let Some(exchange) = &mut ctx.exchange {
            exchange.is_forwarded = true;
        }
        let copied = ctx.exchange.as_mut().and_then(|exchange| exchange.body.as_mut());
        upload.begin_again(client, &mut worker.peer, copied);
        Ok(Self { worker, upload, method, answer: ResponseHead::default(), interim: 0 })
    }

    /// Sends the request and waits.
    ///
    /// # Errors
    /// Why no final head came.
    pub async fn run(
        &mut self,
        client: &mut Client<'_>,
        ctx: &mut Context,
        patience: Patience<'_>,
    ) -> Result<Framing, Failed> {
        // A login goes on without its client (PROTOCOL.md 20).
        let is_patient = ctx.is_login();
        let mut waited_for = None;
        let mut begun = ctx.attempts.begun.filter(|_| self.worker.peer.is_reused());
        let answered = poll_fn(|cx| {
            if ctx.cut().is_some_and(|cut| cut.poll_cut(cx).is_ready()) {
                return Poll::Ready(Err(Failure::Cut));
            }
            let uploaded = self.poll_upload(cx, client, ctx);
            if let Poll::Ready(Err(failure)) = uploaded {
                return Poll::Ready(Err(failure));
            }
            if let Poll::Ready(answered) = self.poll_answer(cx, client, ctx) {
                return Poll::Ready(answered);
            }
            let is_client_watched = self.upload.has_all() && !is_patient;
            if is_client_watched && client.poll_gone(cx).is_ready() {
                return Poll::Ready(Err(Failure::ClientGone));
            }
            let waiting = self.waiting();
            let now_waits_for = Some((waiting, self.upload.steps()));
            if waited_for != now_waits_for {
                let since = begun.take().unwrap_or_else(Instant::now);
                waited_for = now_waits_for;
                let allowed = match waiting {
                    Waiting::Client => patience.body,
                    Waiting::Taking => patience.worker.write,
                    Waiting::Answer => patience.worker.read,
                };
                client.alarm().set(since + allowed);
            }
            let way = (&mut self.worker.peer, &*self.upload);
            buffers::note(patience.buffers, ctx, client, way, 0);
            client.alarm().poll(cx).map(|()| {
                Err(match waiting {
                    Waiting::Client => Failure::ClientStalled,
                    Waiting::Taking | Waiting::Answer => {
                        self.worker.peer.suspect();
                        Failure::TimedOut
                    }
                })
            })
        });
        let answered = answered.await;
        answered.map_err(|failure| Failed { phase: self.phase(), failure })
    }

    fn waiting(&self) -> Waiting {
        if self.upload.is_over() {
            Waiting::Answer
        } else if self.upload.has_all() || self.upload.is_behind() || self.worker.peer.is_behind() {
            Waiting::Taking
        } else {
            Waiting::Client
        }
    }

    fn phase(&self) -> Phase {
        if self.upload.is_over() { Phase::AwaitHead } else { Phase::SendBody }
    }

    fn poll_upload(
        &mut self,
        cx: &mut Task<'_>,
        client: &mut Client<'_>,
        ctx: &mut Context,
    ) -> Poll<Result<(), Failure>> {
        if self.upload.is_over() {
            return Poll::Ready(Ok(()));
        }
        let copied = ctx.exchange.as_mut().and_then(|exchange| exchange.body.as_mut());
        let polled = ready!(self.upload.poll(cx, client, &mut self.worker.peer, copied));
        Poll::Ready(polled.map_err(|failure| match failure {
            UploadFailure::TooLarge => Failure::TooLarge,
            UploadFailure::Lost => Failure::Internal,
            UploadFailure::Client(ClientFailure::Gone) => Failure::ClientGone,
            UploadFailure::Client(ClientFailure::Flaw(flaw)) => {
                tracing::debug!(%flaw, "a request's body is none");
                ctx.flaw = Some(flaw);
                Failure::ClientGone
            }
        }))
    }

    fn poll_answer(
        &mut self,
        cx: &mut Task<'_>,
        client: &mut Client<'_>,
        ctx: &Context,
    ) -> Poll<Result<Framing, Failure>> {
        loop {
            let Self { worker, method, answer, .. } = self;
            match worker.peer.poll_head(cx, method, answer) {
                Poll::Ready(Ok(_)) if is_interim(self.answer.status) => {
                    self.pass_interim(client, ctx)?;
                }
                Poll::Pending => {
                    // An interim answer is of no use later.
                    let _ = self.interim > 0 && client.poll_flush(cx).is_ready();
                    return Poll::Pending;
                }
                answered => return answered,
            }
        }
    }

    /// RFC 9110 section 15.2: interim answers are passed on.
    fn pass_interim(&mut self, client: &mut Client<'_>, ctx: &Context) -> Result<(), Failure> {
        self.interim += 1;
        if self.interim > INTERIM_MAX {
            return Err(Failure::Flaw);
        }
        let head = &mut self.answer;
        remove_hop_by_hop(&mut head.fields).map_err(|_| Failure::Flaw)?;
        respond::interim(head, ctx);
        if ctx.made_for.is_some() {
            return Ok(());
        }
        client.interim(head.status, &head.fields);
        Ok(())
    }
}

fn is_interim(status: StatusCode) -> bool {
    status.is_informational() && status != StatusCode::SWITCHING_PROTOCOLS
}

/// What an answer is for us.
///
/// # Errors
/// A 101 that nobody asked for (RFC 9110 section 15.2.2).
pub fn accept(
    request: &Request,
    mut head: ResponseHead,
    body: Box<Answering>,
) -> Result<Response, Failure> {
    if head.status != StatusCode::SWITCHING_PROTOCOLS {
        remove_hop_by_hop(&mut head.fields).map_err(|_| Failure::Flaw)?;
        return Ok(Response { head, body: Body::Worker(body) });
    }
    let asked = forward::upgrade(request).ok_or(Failure::Flaw)?;
    let protocol = head.fields.only(Name::Upgrade).ok_or(Failure::Flaw)?.to_vec();
    if !elements(asked).any(|offered| offered.eq_ignore_ascii_case(&protocol)) {
        return Err(Failure::Flaw);
    }
    remove_hop_by_hop(&mut head.fields).map_err(|_| Failure::Flaw)?;
    head.fields.push(b"Upgrade", &protocol).map_err(|_| Failure::Flaw)?;
    Ok(Response { head, body: Body::Tunnel(body) })
}
