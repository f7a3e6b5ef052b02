//! Takes a file to its client.

use std::future::poll_fn;
use std::io;
use std::task::{Context as Task, Poll};
use std::time::{Duration, Instant};

use crate::downstream::Client;
use crate::files::body::FileBody;
use crate::proxy::coding::Outlet;
use crate::proxy::context::Context;
use crate::proxy::deliver::{Behind, gone};
use crate::proxy::pacing;
use crate::upstream::verdict::Failure;

/// Bytes of a file that are sent before others on the same thread have their turn.
const TURN_MAX: u64 = 2 * 1024 * 1024;

/// Sends a file as fast as the client takes it.
///
/// # Errors
/// Why not all of it arrived.
pub async fn run(
    client: &mut Client<'_>,
    outlet: &mut Outlet,
    body: &mut FileBody,
    ctx: &mut Context,
    patience: Duration,
    behind: Behind<'_>,
) -> Result<(), Failure> {
    let is_sent_unread = !outlet.is_coded();
    let mut sending = Sending { has_ended: false, is_sent_unread, moved: 0 };
    let mut moved_before = None;
    poll_fn(|cx| {
        if ctx.cut().is_some_and(|cut| cut.poll_cut(cx).is_ready()) {
            return Poll::Ready(Err(Failure::Cut));
        }
        if sending.go_on(cx, (client, outlet), body, ctx, behind)? == Waiting::ForItsTurn {
            moved_before = None;
            return Poll::Pending;
        }
        if sending.has_ended && outlet.poll_flush(cx, client)?.is_ready() {
            return Poll::Ready(Ok(()));
        }
        if moved_before != Some(sending.moved) {
            moved_before = Some(sending.moved);
            client.alarm().set(Instant::now() + patience);
        }
        client.alarm().poll(cx).map(|()| Err(Failure::ClientStalled))
    })
    .await
}

/// How far a file is.
struct Sending {
    has_ended: bool,
    /// Until the client says that it cannot be.
    is_sent_unread: bool,
    /// Bytes.
    moved: u64,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Waiting {
    /// Others go first, or more may go later (`limit_rate`).
    ForItsTurn,
    ForClientOrDisk,
}

impl Sending {
    fn go_on(
        &mut self,
        cx: &mut Task<'_>,
        (client, outlet): (&mut Client<'_>, &mut Outlet),
        body: &mut FileBody,
        ctx: &mut Context,
        behind: Behind<'_>,
    ) -> Result<Waiting, Failure> {
        let until = self.moved + TURN_MAX;
        while !self.has_ended {
            if self.moved >= until {
                cx.waker().wake_by_ref();
                return Ok(Waiting::ForItsTurn);
            }
            let Poll::Ready(room) = pacing::poll_room(cx, client, ctx) else {
                let _ = outlet.poll_flush(cx, client)?;
                return Ok(Waiting::ForItsTurn);
            };
            if let Some((file, span)) = self.is_sent_unread.then(|| body.unread()).flatten() {
                let length = usize::try_from(span.len()).unwrap_or(usize::MAX).min(room);
                match client.poll_send_file(cx, file, span.begin, length).map_err(gone)? {
                    Poll::Ready(Some(taken)) => {
                        body.sent_unread(taken).map_err(|error| broken(&error))?;
                        self.moved += taken as u64;
                        continue;
                    }
                    Poll::Ready(None) => self.is_sent_unread = false,
                    Poll::Pending => break,
                }
            }
            match body.poll_piece(cx) {
                Poll::Ready(Ok(true)) => {
                    let piece = body.piece();
                    let piece = piece.get(..room).unwrap_or(piece);
                    match outlet.poll_send(cx, client, piece)? {
                        Poll::Ready(taken) => {
                            body.consume(taken);
                            self.moved += taken as u64;
                        }
                        Poll::Pending => break,
                    }
                }
                Poll::Ready(Ok(false)) => {
                    behind.finish((client, outlet), ctx, None)?;
                    self.has_ended = true;
                }
                Poll::Ready(Err(error)) => return Err(broken(&error)),
                Poll::Pending => {
                    // What was collected does not wait for a disk.
                    let _ = outlet.poll_flush(cx, client)?;
                    break;
                }
            }
        }
        Ok(Waiting::ForClientOrDisk)
    }
}

fn broken(error: &io::Error) -> Failure {
    tracing::error!(%error, "a file could not be read to its end");
    Failure::Closed
}
