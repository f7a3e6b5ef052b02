//! One connection, from the call that makes it to its end, and the places of requests on it.

use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

use bytes::Bytes;
use h2::client::SendRequest;
use tokio::sync::watch;

use super::STREAMS_MAX;
use super::dial::{self, Dialed};
use crate::upstream::verdict::Failure;
use crate::upstream::way::connect::ConnectError;
use crate::upstream::way::ways::Target;

/// A connection. It ends when nobody has it any more, neither the pool nor a request.
pub(super) struct Connection {
    begun: Instant,
    state: watch::Sender<State>,
    load: Mutex<Load>,
    /// How often the worker sent something.
    heard: Arc<AtomicU64>,
    /// One more than `heard` was when a request waited for the worker in vain.
    suspected: AtomicU64,
}

#[derive(Clone)]
enum State {
    Dialing,
    Ready(SendRequest<Bytes>),
    Failed(Failure),
    /// It takes no more requests; those under way may still end well.
    Closed,
}

struct Load {
    /// Requests that have a place.
    open: usize,
    /// Since when there is none.
    idle_since: Instant,
}

impl Connection {
    /// Begins to connect, whoever still waits for it in the end.
    pub(super) fn dial(target: Arc<Target>, limit: Duration, now: Instant) -> Arc<Self> {
        let connection = Arc::new(Self {
            begun: now,
            state: watch::Sender::new(State::Dialing),
            load: Mutex::new(Load { open: 0, idle_since: now }),
            heard: Arc::default(),
            suspected: AtomicU64::new(0),
        });
        let heard = connection.heard.clone();
        let weak = Arc::downgrade(&connection);
        tokio::spawn(async move {
            let dialed = dial::dial(&target, limit, heard).await;
            if let Err(error) = &dialed {
                tell(error, &target.address);
            }
            drive(dialed, weak).await;
        });
        connection
    }

    /// Whether a request may join that wants no connection from before `since`.
    pub(super) fn has_room(&self, streams_max: usize, since: Option<Instant>) -> bool {
        let streams_max = match &*self.state.borrow() {
            State::Dialing => streams_max,
            State::Ready(sender) => sender.current_max_send_streams(),
            State::Failed(_) | State::Closed => return false,
        };
        self.lock().open < streams_max.min(STREAMS_MAX)
            && !self.is_suspected()
            && since.is_none_or(|since| self.begun >= since)
    }

    /// Whether it may still be of use: neither over, nor told to end, nor idle for too long.
    pub(super) fn is_good(&self, idle_max: Duration, now: Instant) -> bool {
        let is_open = match &*self.state.borrow() {
            State::Dialing => return true,
            // The worker's GOAWAY shows here (RFC 9113 section 6.8).
            State::Ready(sender) => {
                let cx = &mut Context::from_waker(Waker::noop());
                !matches!(sender.clone().poll_ready(cx), Poll::Ready(Err(_)))
            }
            State::Failed(_) | State::Closed => false,
        };
        let load = self.lock();
        is_open && (load.open > 0 || now.saturating_duration_since(load.idle_since) <= idle_max)
    }

    /// How many requests the worker takes, once it has said so.
    pub(super) fn streams_max(&self) -> Option<usize> {
        match &*self.state.borrow() {
            State::Ready(sender) => Some(sender.current_max_send_streams()),
            State::Dialing | State::Failed(_) | State::Closed => None,
        }
    }

    /// Somebody waited in vain, and nothing has come since: perhaps nobody is there any more.
    fn is_suspected(&self) -> bool {
        self.suspected.load(Relaxed) == self.heard.load(Relaxed) + 1
    }

    fn lock(&self) -> MutexGuard<'_, Load> {
        // What a panic left behind is whole: every change is one step.
        self.load.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Says why there is no connection. That no HTTP/2 is spoken is the operator's to mend.
fn tell(error: &ConnectError, endpoint: &crate::upstream::Address) {
    match error {
        ConnectError::NoHttp2(_) => {
            tracing::warn!(%endpoint, %error, "an upstream with `protocol: h2` has an endpoint without");
        }
        _ => tracing::debug!(%endpoint, %error, "no connection to an endpoint"),
    }
}

/// Moves frames until the connection is over.
async fn drive(dialed: Result<Dialed, ConnectError>, connection: Weak<Connection>) {
    let enter = |state| {
        if let Some(connection) = connection.upgrade() {
            connection.state.send_replace(state);
        }
    };
    match dialed {
        Err(error) => enter(State::Failed(error.failure())),
        Ok((sender, frames)) => {
            enter(State::Ready(sender));
            if let Err(error) = frames.await {
                tracing::debug!(%error, "a connection to a worker ended badly");
            }
            enter(State::Closed);
        }
    }
}

/// A request's place on a connection, which may not be there yet.
pub(in crate::upstream::way) struct Place {
    connection: Arc<Connection>,
    is_reused: bool,
}

impl Place {
    /// Takes one, for a request that may have any connection or wants a fresh one.
    pub(super) fn take(connection: &Arc<Connection>, is_fresh: bool) -> Self {
        connection.lock().open += 1;
        let is_reused = !is_fresh && connection.streams_max().is_some();
        Self { connection: connection.clone(), is_reused }
    }

    pub(super) fn is_reused(&self) -> bool {
        self.is_reused
    }

    pub(super) fn is_ready(&self) -> bool {
        self.connection.streams_max().is_some()
    }

    /// As [`Stream::ready`](super::Stream::ready).
    pub(super) async fn ready(&self) -> Result<bool, Failure> {
        let mut state = self.connection.state.subscribe();
        let reached = state.wait_for(|state| !matches!(state, State::Dialing)).await;
        match reached.as_deref() {
            Ok(State::Ready(sender)) => {
                Ok(self.connection.lock().open <= sender.current_max_send_streams())
            }
            Ok(State::Failed(failure)) => Err(*failure),
            Ok(State::Dialing | State::Closed) | Err(_) => Err(Failure::Closed),
        }
    }

    /// Notes that the worker was waited for in vain.
    pub(super) fn suspect(&self) {
        let heard = self.connection.heard.load(Relaxed);
        self.connection.suspected.store(heard + 1, Relaxed);
    }

    /// What begins requests, unless the connection is over.
    pub(super) fn sender(&self) -> Option<SendRequest<Bytes>> {
        match &*self.connection.state.borrow() {
            State::Ready(sender) => Some(sender.clone()),
            State::Dialing | State::Failed(_) | State::Closed => None,
        }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut load = self.connection.lock();
        load.open -= 1;
        if load.open == 0 {
            load.idle_since = Instant::now();
        }
    }
}

impl fmt::Debug for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Place").field("is_reused", &self.is_reused).finish_non_exhaustive()
    }
}
