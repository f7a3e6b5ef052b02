//! One HTTP/1 connection: requests one after the other, pipelined ones too (RFC 9112 section 9.3).
//!
//! Nothing of a request exists while the connection is idle: the service's future is made anew for
//! each one, and buffers are given back. Deadlines between requests and inside heads are the
//! sweeper's, those of a request its own.

mod answer;
mod body;
mod head;

#[cfg(test)]
mod tests;

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use http::StatusCode;

use super::alarm::Alarm;
use super::client::Client;
use super::delivery::{Delivery, Linger, Lingers};
use super::keepalive::KeepAlive;
use super::refused::{Refusal, Refused};
use super::{Reply, Request, Service, Services};
use crate::listen::{self, Conn, Info};
use crate::wire::Version;
use crate::wire::framing::Framing;
use crate::wire::response::ResponseHead;
use crate::wire::write::Announce;

use self::answer::Sending;
use self::body::Receiving;
use self::head::Head;

/// Bytes read at a time while a body comes, at first and at most.
const BODY_READ: u32 = 8 * 1024;
const BODY_READ_MAX: u32 = 64 * 1024;
/// The same for heads.
const HEAD_READ: usize = 4096;
/// Bytes of later requests that are read ahead while one is served.
const PIPELINED_MAX: usize = 64 * 1024;

/// A connection, with what the present request has of it.
#[derive(Debug)]
pub struct Http1 {
    conn: Box<Conn>,
    version: Version,
    receiving: Receiving,
    sending: Sending,
    /// Bytes that the next read of a body is for.
    body_read: u32,
    may_grow: bool,
    /// Whether another request may follow.
    keeps: bool,
    /// How the answer is carried, where somebody has said that.
    delivery: Option<Arc<Delivery>>,
    /// The request came before its predecessor was answered.
    is_pipelined: bool,
    alarm: Alarm,
}

/// Serves a connection until it ends.
pub async fn serve<S: Service>(
    conn: Box<Conn>,
    context: &listen::Context,
    (mut service, services): (Arc<S>, &Services<S>),
) {
    conn.info().head_within(service.head_limits(conn.info(), None).timeout);
    let mut http1 = Http1::new(conn);
    let mut is_first = true;
    loop {
        http1.is_pipelined = !is_first && !http1.conn.input().is_empty();
        if http1.conn.input().is_empty() {
            if !is_first {
                http1.rest();
            }
            if !http1.conn.readable().await {
                break;
            }
        }
        is_first = false;
        services.renew(&mut service, http1.conn.info());
        let header_bytes = context.limits.load().header_bytes;
        let read = head::read(&mut http1.conn, header_bytes, &*service).await;
        let serving = match read {
            Ok(head) => begin(&mut http1, head, &*service),
            Err(Some(refusal)) => return Box::pin(http1.refuse(refusal, &*service)).await,
            Err(None) => break,
        };
        serving.await;
        http1.end_request();
        if !http1.keeps {
            return Box::pin(http1.end()).await;
        }
    }
    Box::pin(http1.conn.close()).await;
}

/// Begins with a request. Its head stays out of the connection's own future.
fn begin<'h, S: Service>(
    http1: &'h mut Http1,
    head: Head,
    service: &'h S,
) -> Pin<Box<impl Future<Output = ()> + use<'h, S>>> {
    let Head { request, framing, options } = head;
    let info = http1.conn.info();
    info.request_head_complete(request.begun);
    info.tell(None);
    info.send_within(None);
    http1.begin_request(&request, framing);
    http1.keeps = options.keeps(http1.version);
    Box::pin(service.serve(request, Client::Http1(http1)))
}

impl Http1 {
    fn new(conn: Box<Conn>) -> Self {
        Self {
            conn,
            version: Version::Http11,
            receiving: Receiving::default(),
            sending: Sending::default(),
            body_read: BODY_READ,
            may_grow: true,
            keeps: true,
            delivery: None,
            is_pipelined: false,
            alarm: Alarm::default(),
        }
    }

    pub fn info(&self) -> &Arc<Info> {
        self.conn.info()
    }

    pub fn alarm(&mut self) -> &mut Alarm {
        &mut self.alarm
    }

    pub fn held(&self) -> usize {
        self.conn.held()
    }

    pub fn let_grow(&mut self, may_grow: bool) {
        self.may_grow = may_grow;
    }

    /// How the connection goes on behind the answer that comes.
    pub fn keep(&mut self, keepalive: &KeepAlive, keeps: bool) {
        self.keeps &= keeps;
        self.info().tell(Some(keepalive.told));
        self.info().may_rest(keepalive.timeout);
    }

    /// How the answer that comes is carried.
    pub fn deliver_by(&mut self, delivery: &Arc<Delivery>) {
        self.delivery = Some(delivery.clone());
    }

    pub fn keep_no_longer(&mut self) {
        self.keeps = false;
    }

    /// Ready when the client has left. Requests that it sends meanwhile are kept for later; where
    /// that is too many bytes, nobody looks any more.
    pub fn poll_gone(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        while self.conn.input().len() < PIPELINED_MAX {
            match self.conn.poll_look(cx) {
                Poll::Pending => return Poll::Pending,
                Poll::Ready(Ok(0) | Err(_)) => {
                    self.keeps = false;
                    return Poll::Ready(());
                }
                Poll::Ready(Ok(_)) => {}
            }
        }
        Poll::Pending
    }

    fn begin_request(&mut self, request: &Request, framing: Framing) {
        let expects = request.expects_continue();
        self.version = request.version();
        self.receiving = Receiving::new(framing, expects);
        self.sending = Sending::default();
        self.body_read = BODY_READ;
        self.delivery = None;
    }

    /// A body that nobody took to its end would be read as the next request; an answer that did not
    /// end leaves the client waiting.
    fn end_request(&mut self) {
        self.alarm.clear();
        self.keeps &= self.sending.has_ended() && self.skip_body();
    }

    /// The next request is awaited: gives memory and the timer back.
    fn rest(&mut self) {
        self.receiving = Receiving::default();
        self.conn.rest();
        self.alarm.rest();
    }

    fn linger(&self) -> Linger {
        self.delivery.as_ref().map_or_else(Linger::default, |delivery| delivery.linger)
    }

    async fn end(self) {
        let is_unread = !self.receiving.is_over() || !self.conn.input().is_empty();
        let linger = self.linger();
        let resets = self.delivery.as_ref().is_some_and(|delivery| delivery.resets);
        let is_cut = resets && (!self.sending.has_begun() || self.conn.is_cut());
        let lingers = match linger.when {
            Lingers::Never => false,
            Lingers::Unread => is_unread,
            Lingers::Always => true,
        };
        if self.sending.must_reset() || is_cut {
            self.conn.reset();
        } else if lingers {
            self.conn.linger(linger).await;
        } else {
            self.conn.close().await;
        }
    }

    async fn refuse<S: Service>(mut self, refusal: Refusal, service: &S) {
        match refusal {
            Refusal::TimedOut => self.conn.gate().header_timeout(),
            Refusal::Flaw(flaw) if matches!(flaw.status(), 431 | 494) => {
                self.conn.gate().header_too_large()
            }
            Refusal::Flaw(_) | Refusal::BrokenOff => {}
        }
        let (page, reply) = {
            let head = self.conn.input();
            let refused = Refused { refusal, head: &head[..head.len().min(HEAD_READ)] };
            let info = self.conn.info();
            let page =
                service.has_page_for(info, &refused).then(|| Request::refused(&refused).ok());
            let page = page.flatten();
            let reply = page.is_none().then(|| service.refuse(info, &refused));
            (page, reply)
        };
        if let Some(request) = page {
            self.begin_request(&request, Framing::Empty);
            self.keeps = false;
            Box::pin(service.serve(request, Client::Http1(&mut self))).await;
        }
        if refusal == Refusal::BrokenOff {
            return self.conn.close().await;
        }
        self.keeps = false;
        // What came cannot be read, so that nothing is left to wait for.
        if let Some(reply) = reply {
            let _ = self.send(reply).await;
        }
        let linger = self.linger();
        self.conn.linger(linger).await;
    }

    async fn send(&mut self, reply: Reply) -> Result<(), super::ClientFailure> {
        let Reply { status, fields, body, .. } = reply;
        let mut head = ResponseHead::compose(status, fields);
        self.begin(&mut head, Announce::Length(body.len() as u64), true)?;
        let mut rest = &body[..];
        while !rest.is_empty() {
            let taken = std::future::poll_fn(|cx| self.poll_send(cx, rest)).await?;
            rest = &rest[taken..];
        }
        self.finish(None)?;
        std::future::poll_fn(|cx| self.poll_flush(cx)).await
    }

    pub fn status(&self) -> Option<StatusCode> {
        self.sending.status()
    }

    pub fn sent(&self) -> u64 {
        self.sending.sent()
    }

    pub fn head_sent(&self) -> u64 {
        self.sending.head_bytes()
    }

    pub fn sent_on_wire(&self) -> u64 {
        self.sending.sent() + self.sending.framing_bytes()
    }

    pub fn has_finished(&self) -> bool {
        self.sending.has_ended()
    }

    pub fn is_pipelined(&self) -> bool {
        self.is_pipelined
    }
}
