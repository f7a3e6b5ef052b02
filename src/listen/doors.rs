//! The listeners that a worker accepts at: they may be others from one moment to the next.

use std::io;

use tokio::sync::oneshot;
use tokio::task::JoinSet;

use super::accept::{Context, Door, Waiting};
use super::{Conn, Listener};

/// Other listeners in place of those that there are.
#[derive(Debug)]
pub struct Change {
    pub listeners: Vec<Listener>,
    /// Told what came of it.
    pub done: oneshot::Sender<io::Result<()>>,
}

/// How a listener ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Leave {
    /// Another one accepts at its socket.
    Over,
    /// Nobody does.
    Closed,
}

/// Listeners at work.
pub(super) struct Doors<B> {
    context: Context,
    /// Says what connections are served by from now on.
    begin: B,
    accepting: JoinSet<()>,
    open: Vec<Open>,
}

struct Open {
    number: usize,
    /// Another one may accept at its socket where it has the same address.
    address: super::Address,
    leave: oneshot::Sender<Leave>,
}

impl<B, S, F> Doors<B>
where
    B: Fn() -> S,
    S: Fn(Box<Conn>) -> F + Clone + Send + 'static,
    F: Future<Output = ()> + Send + 'static,
{
    pub(super) fn new(context: Context, begin: B) -> Self {
        Self { context, begin, accepting: JoinSet::new(), open: Vec::new() }
    }

    /// Accepts at these, and at no others any more. Connections of a listener that is not among them end
    /// with the requests that they have.
    ///
    /// # Errors
    /// The runtime cannot take one of them: all is as it was.
    pub(super) fn open(&mut self, listeners: Vec<Listener>) -> io::Result<()> {
        let waiting = listeners.iter().map(|one| Waiting::new(one.socket.try_clone()?));
        let waiting = waiting.collect::<io::Result<Vec<_>>>()?;
        // Those that have ended.
        while self.accepting.try_join_next().is_some() {}
        for Open { number, address, leave } in self.open.drain(..) {
            let is_there = listeners.iter().any(|one| one.number == number);
            let is_taken = listeners.iter().any(|one| one.address == address);
            // It may have ended by itself.
            let _ = leave.send(if is_taken { Leave::Over } else { Leave::Closed });
            if !is_there {
                self.context.registry.retire(number);
            }
        }
        let serve = (self.begin)();
        for (listener, socket) in listeners.iter().zip(waiting) {
            let (leave, leaving) = oneshot::channel();
            let Listener { number, address, .. } = listener;
            self.open.push(Open { number: *number, address: address.clone(), leave });
            let door = Door::new(listener, self.context.clone(), serve.clone());
            self.accepting.spawn(door.accept(socket, leaving));
        }
        Ok(())
    }

    /// Waits until nobody accepts any more.
    pub(super) async fn closed(&mut self) {
        while self.accepting.join_next().await.is_some() {}
    }
}
