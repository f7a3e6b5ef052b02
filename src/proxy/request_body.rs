//! Takes a request's body in, whole, before anybody is asked for an answer to it (nginx
//! `proxy_request_buffering`): whoever is slow to send one holds no worker and no turn of a session, a
//! worker hears how long it is, and it can be sent more than once.
//!
//! A short body stays where it was read. Others go into memory, and into a file where they are long.

use std::future::poll_fn;
use std::io;
use std::sync::Arc;
use std::task::{Context as Task, Poll, ready};
use std::time::Instant;

use bytes::Bytes;
use http::StatusCode;

use crate::downstream::{BodyLength, Client, ClientFailure, Incoming, Request};
use crate::proxy::buffers;
use crate::proxy::complaint::About;
use crate::proxy::context::Context;
use crate::proxy::error::RequestError;
use crate::proxy::service::Proxy;
use crate::proxy::shared::Shared;
use crate::proxy::spool::Spool;
use crate::proxy::temp_files::{Kept, TempFiles};
use crate::proxy::{endpoint, forward};
use crate::telemetry::error_log::Severity;
use crate::wire::fields::Fields;

/// Bytes of a body that stay where they were read. A client that leaves would not be seen behind more.
const IN_PLACE_MAX: usize = 32 * 1024;

/// How a route takes bodies of requests in.
#[derive(Clone, Debug)]
pub struct BodySettings {
    /// A worker is asked once a body is there; else it gets it as it comes.
    pub is_buffered: bool,
    /// Bytes of one that stay in memory (nginx `client_body_buffer_size`).
    pub memory_max: usize,
    /// Where files lie; else they have no names.
    pub files: Option<Arc<TempFiles>>,
}

impl Default for BodySettings {
    fn default() -> Self {
        Self { is_buffered: true, memory_max: 16 * 1024, files: None }
    }
}

impl BodySettings {
    /// What is hardly longer than the buffer needs no file, as in nginx.
    fn short_max(&self) -> usize {
        match self.is_in_file_only() {
            true => 0,
            false => self.memory_max.saturating_add(self.memory_max / 4),
        }
    }

    /// Whether there is a file for each.
    fn is_in_file_only(&self) -> bool {
        self.files.as_ref().is_some_and(|files| files.kept != Kept::Nameless)
    }
}

/// A request's body, all of which has come.
#[derive(Debug)]
pub enum WholeBody {
    /// So many bytes, where they were read: [`Client::whole_body`].
    InPlace(u64),
    Spooled(Box<Spool>),
}

impl WholeBody {
    pub fn length(&self) -> u64 {
        match self {
            Self::InPlace(length) => *length,
            Self::Spooled(spool) => spool.len(),
        }
    }
}

/// Whether a body has to be waited for. One that is there already is noted.
pub fn is_awaited(
    shared: &Shared,
    request: &Request,
    client: &mut Client<'_>,
    ctx: &mut Context,
) -> bool {
    if request.body == BodyLength::Empty || ctx.has_whole_body {
        return false;
    }
    let Some(settings) = ctx.target.as_ref().map(|target| &target.route.body) else { return false };
    // What goes both ways at once is not held up.
    if !settings.is_buffered
        || forward::upgrade(request).is_some()
        || endpoint::is_http2(shared, ctx)
    {
        return false;
    }
    let short_max = settings.short_max();
    if request.expects_continue() {
        client.interim(StatusCode::CONTINUE, &Fields::new());
    }
    let length = client.whole_body().map_or(0, <[u8]>::len);
    if length == 0 || length > short_max.min(IN_PLACE_MAX) {
        return true;
    }
    note(shared, client, ctx, WholeBody::InPlace(length as u64));
    false
}

/// Waits for a body.
///
/// # Errors
/// Why it does not come, or cannot be kept.
pub async fn read(
    proxy: &Proxy,
    request: &Request,
    client: &mut Client<'_>,
    ctx: &mut Context,
) -> Result<(), RequestError> {
    let shared = &proxy.shared;
    let route = ctx.target.as_ref().ok_or(RequestError::Internal)?.route.clone();
    let is_full = shared.buffers.is_full();
    client.let_grow(!is_full);
    let is_in_file_only = route.body.is_in_file_only();
    let (length, short_max) = (request.body.known(), route.body.short_max());
    let is_short = length.is_some_and(|length| length <= short_max as u64);
    let memory_max = match is_full || is_in_file_only {
        true => 0,
        false if is_short => short_max,
        false => route.body.memory_max,
    };
    let files = &route.body.files;
    let mut reading = Reading {
        length,
        in_place_max: short_max.min(IN_PLACE_MAX),
        bytes_max: route.body_bytes_max,
        received: 0,
        spool: None,
        new: || {
            Box::new(Spool::of_request(memory_max, shared.buffers.disk().clone(), files.clone()))
        },
    };
    let mut had_before = None;
    let read = poll_fn(|cx| {
        if let Poll::Ready(read) = reading.poll(cx, client, ctx) {
            return Poll::Ready(read);
        }
        let had = Some(client.received_on_wire() + client.in_hand() as u64);
        if had != had_before {
            had_before = had;
            client.alarm().set(Instant::now() + proxy.body_timeout);
        }
        buffers::note_received(
            &shared.buffers,
            ctx,
            client,
            reading.spool.as_ref().map_or(0, |spool| spool.held()),
        );
        client.alarm().poll(cx).map(|()| Err(RequestError::RequestTimeout))
    });
    let read = read.await;
    let received = reading.received;
    let mut body = read.inspect_err(|error| {
        complain(About { shared, request, ctx }, *error, received);
    })?;
    if let WholeBody::Spooled(spool) = &mut body
        && is_in_file_only
    {
        spool.file().map_err(|error| failed(&error))?;
    }
    note(shared, client, ctx, body);
    Ok(())
}

/// A body is there.
fn note(shared: &Shared, client: &mut Client<'_>, ctx: &mut Context, body: WholeBody) {
    if shared.variables.speak_of_body() {
        let text = match &body {
            WholeBody::InPlace(_) => client.whole_body(),
            WholeBody::Spooled(spool) => spool.in_memory(),
        };
        if let WholeBody::Spooled(spool) = &body {
            let path = spool.path().map(|path| path.into_os_string().into_encoded_bytes());
            ctx.request_body_file = path.map(Vec::into_boxed_slice);
        }
        ctx.request_body = text.filter(|text| !text.is_empty()).map(Bytes::copy_from_slice);
    }
    ctx.has_whole_body = true;
    ctx.body = Some(body);
}

/// A body that is on its way.
struct Reading<F> {
    /// What was announced, where that is a number.
    length: Option<u64>,
    /// Bytes of one that may stay where it is read.
    in_place_max: usize,
    /// 0 for no limit.
    bytes_max: u64,
    received: u64,
    spool: Option<Box<Spool>>,
    new: F,
}

impl<F: Fn() -> Box<Spool>> Reading<F> {
    fn poll(
        &mut self,
        cx: &mut Task<'_>,
        client: &mut Client<'_>,
        ctx: &mut Context,
    ) -> Poll<Result<WholeBody, RequestError>> {
        if self.spool.is_none() && self.length.is_some() {
            match ready!(client.poll_whole(cx, self.in_place_max)) {
                Ok(true) => {
                    let length = client.whole_body().map_or(0, <[u8]>::len);
                    return Poll::Ready(Ok(WholeBody::InPlace(length as u64)));
                }
                Ok(false) => {}
                Err(failure) => return Poll::Ready(Err(error_of(failure, ctx))),
            }
        }
        let spool = self.spool.get_or_insert_with(&self.new);
        loop {
            match ready!(client.poll_body(cx)) {
                Ok(Incoming::Data(length)) => {
                    self.received += length as u64;
                    if self.bytes_max > 0 && self.received > self.bytes_max {
                        return Poll::Ready(Err(RequestError::BodyTooLarge));
                    }
                    if let Err(error) = keep(spool, client.piece()) {
                        return Poll::Ready(Err(error));
                    }
                    client.consume(length);
                }
                // Whoever waits for more would take the next request for it.
                Ok(Incoming::End) if self.length.is_some_and(|n| n != self.received) => {
                    return Poll::Ready(Err(RequestError::ClientGone));
                }
                Ok(Incoming::End) => {
                    // A body of a known length has no trailers (RFC 9112 section 7.1.2).
                    drop(client.take_trailers());
                    let new = &self.new;
                    let body = self.spool.take().unwrap_or_else(new);
                    return Poll::Ready(Ok(WholeBody::Spooled(body)));
                }
                Err(failure) => return Poll::Ready(Err(error_of(failure, ctx))),
            }
        }
    }
}

fn keep(spool: &mut Spool, piece: &[u8]) -> Result<(), RequestError> {
    match spool.push(piece) {
        Ok(true) => Ok(()),
        Ok(false) => {
            tracing::warn!("a request's body is refused: limits.spooled_bytes is reached");
            Err(RequestError::BuffersFull)
        }
        Err(error) => Err(failed(&error)),
    }
}

fn failed(error: &io::Error) -> RequestError {
    tracing::error!(%error, "a request's body cannot be kept");
    RequestError::Internal
}

/// What nginx's error log has of a body that does not come.
fn complain(about: About<'_>, error: RequestError, received: u64) {
    const DOING: &str = "while reading client request body";
    match error {
        RequestError::BodyTooLarge => about.say(
            Severity::Error,
            format_args!(
                "client intended to send too large chunked body: {received} bytes {DOING}"
            ),
        ),
        RequestError::ClientGone => {
            about.say(Severity::Info, format_args!("client prematurely closed connection {DOING}"));
        }
        RequestError::RequestTimeout => about.say(
            Severity::Info,
            format_args!("client timed out (110: Connection timed out) {DOING}"),
        ),
        RequestError::BadRequest | RequestError::HeadTooLarge => {
            about.say(Severity::Info, format_args!("client sent invalid chunked body {DOING}"));
        }
        _ => {}
    }
}

fn error_of(failure: ClientFailure, ctx: &mut Context) -> RequestError {
    match failure {
        ClientFailure::Gone => RequestError::ClientGone,
        ClientFailure::Flaw(flaw) => {
            ctx.flaw = Some(flaw);
            match flaw.status() {
                431 => RequestError::HeadTooLarge,
                _ => RequestError::BadRequest,
            }
        }
    }
}
