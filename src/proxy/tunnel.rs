//! Bytes of another protocol, both ways, after a 101: each side may end before the other.

use std::future::poll_fn;
use std::task::{Context as Task, Poll, ready};
use std::time::Instant;

use crate::downstream::{Client, Incoming};
use crate::proxy::answering::Answering;
use crate::proxy::asking::Patience;
use crate::proxy::buffers;
use crate::proxy::context::Context;
use crate::upstream::way::Link;

/// Carries bytes until both sides have ended, one of them is gone, nothing moves for too long, or the
/// exchange is cut.
pub async fn run(
    client: &mut Client<'_>,
    mut body: Box<Answering>,
    ctx: &mut Context,
    patience: Patience<'_>,
) {
    let Some((peer, upload)) = body.way() else { return };
    let mut tunnel = Tunnel::default();
    let mut steps_before = None;
    poll_fn(|cx| {
        if ctx.cut().is_some_and(|cut| cut.poll_cut(cx).is_ready()) {
            return Poll::Ready(());
        }
        let Some(link) = peer.link() else { return Poll::Ready(()) };
        let up = tunnel.poll_up(cx, client, link);
        let down = tunnel.poll_down(cx, client, link);
        match (up, down) {
            (Poll::Ready(Ok(())), Poll::Ready(Ok(()))) => return Poll::Ready(()),
            (Poll::Ready(Err(Gone)), _) | (_, Poll::Ready(Err(Gone))) => return Poll::Ready(()),
            _ => {}
        }
        if steps_before != Some(tunnel.steps) {
            steps_before = Some(tunnel.steps);
            client.alarm().set(Instant::now() + patience.worker.read);
            if let Some(cut) = ctx.cut() {
                cut.note_traffic();
            }
        }
        link.release_buffers();
        buffers::note(patience.buffers, ctx, client, (peer, upload), 0);
        client.alarm().poll(cx)
    })
    .await;
    ctx.tried.has_moved(body.moved());
    let _ = client.finish(None);
}

/// One side failed.
struct Gone;

#[derive(Default)]
struct Tunnel {
    up_ended: bool,
    down_ended: bool,
    steps: u64,
}

impl Tunnel {
    fn poll_up(
        &mut self,
        cx: &mut Task<'_>,
        client: &mut Client<'_>,
        link: &mut Link,
    ) -> Poll<Result<(), Gone>> {
        while !self.up_ended {
            match client.poll_body(cx).map_err(|_| Gone)? {
                Poll::Ready(Incoming::Data(_)) => {
                    let taken = ready!(link.poll_write(cx, client.piece())).map_err(|_| Gone)?;
                    client.consume(taken);
                    self.steps += 1;
                }
                Poll::Ready(Incoming::End) => {
                    ready!(link.poll_flush(cx)).map_err(|_| Gone)?;
                    ready!(link.poll_shutdown(cx)).map_err(|_| Gone)?;
                    self.up_ended = true;
                }
                Poll::Pending => {
                    let _ = link.poll_flush(cx).map_err(|_| Gone)?;
                    return Poll::Pending;
                }
            }
        }
        Poll::Ready(Ok(()))
    }

    fn poll_down(
        &mut self,
        cx: &mut Task<'_>,
        client: &mut Client<'_>,
        link: &mut Link,
    ) -> Poll<Result<(), Gone>> {
        while !self.down_ended {
            if !link.input().is_empty() {
                let taken = ready!(client.poll_send(cx, link.input())).map_err(|_| Gone)?;
                link.consume(taken);
                self.steps += 1;
                continue;
            }
            match link.poll_fill(cx).map_err(|_| Gone)? {
                Poll::Ready(0) => {
                    ready!(client.poll_flush(cx)).map_err(|_| Gone)?;
                    ready!(client.poll_shutdown(cx)).map_err(|_| Gone)?;
                    self.down_ended = true;
                }
                Poll::Ready(_) => {}
                Poll::Pending => {
                    let _ = client.poll_flush(cx).map_err(|_| Gone)?;
                    return Poll::Pending;
                }
            }
        }
        Poll::Ready(Ok(()))
    }
}
