//! Takes a file to its client.

use std::future::poll_fn;
use std::io;
use std::task::Poll;
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
    let mut has_ended = false;
    // Until the client says that it cannot be.
    let mut is_sent_unread = !outlet.is_coded();
    let mut moved: u64 = 0;
    let mut moved_before = None;
    poll_fn(|cx| {
        if ctx.cut().is_some_and(|cut| cut.poll_cut(cx).is_ready()) {
            return Poll::Ready(Err(Failure::Cut));
        }
        let until = moved + TURN_MAX;
        while !has_ended {
            if moved >= until {
                cx.waker().wake_by_ref();
                return Poll::Pending;
            }
            let Poll::Ready(room) = pacing::poll_room(cx, client, ctx) else {
                moved_before = None;
                let _ = outlet.poll_flush(cx, client)?;
                return Poll::Pending;
            };
            if let Some((file, span)) = is_sent_unread.then(|| body.unread()).flatten() {
                let length = usize::try_from(span.len()).unwrap_or(usize::MAX).min(room);
                match client.poll_send_file(cx, file, span.begin, length).map_err(gone)? {
                    Poll::Ready(Some(taken)) => {
                        body.sent_unread(taken).map_err(|error| broken(&error))?;
                        moved += taken as u64;
                        continue;
                    }
                    Poll::Ready(None) => is_sent_unread = false,
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
                            moved += taken as u64;
                        }
                        Poll::Pending => break,
                    }
                }
                Poll::Ready(Ok(false)) => {
                    behind.finish((client, outlet), ctx, None)?;
                    has_ended = true;
                }
                Poll::Ready(Err(error)) => return Poll::Ready(Err(broken(&error))),
                Poll::Pending => {
                    // What was collected does not wait for a disk.
                    let _ = outlet.poll_flush(cx, client)?;
                    break;
                }
            }
        }
        if has_ended && outlet.poll_flush(cx, client)?.is_ready() {
            return Poll::Ready(Ok(()));
        }
        if moved_before != Some(moved) {
            moved_before = Some(moved);
            client.alarm().set(Instant::now() + patience);
        }
        client.alarm().poll(cx).map(|()| Err(Failure::ClientStalled))
    })
    .await
}

fn broken(error: &io::Error) -> Failure {
    tracing::error!(%error, "a file could not be read to its end");
    Failure::Closed
}
