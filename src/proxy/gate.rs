//! The order of one session's exchanges on this node (PROTOCOL.md 18, 32).
//!
//! Every exchange with a ticket passes the gate of its session before the record is looked up. A
//! login closes the gate: what is inside finishes first, at most two seconds long, and is then
//! cut; what arrives waits outside, at most two seconds long. Registering *before* the look-up
//! means that no exchange can hold a record that a login on this node has since suspended.

use std::collections::HashMap;
use std::fmt;
use std::hash::{BuildHasher, RandomState};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use atomic_waker::AtomicWaker;
use tokio::sync::Notify;
use tokio::time::{Instant, timeout_at};

use crate::session::ticket::Selector;

/// How long a login waits for what is in flight, and others for a login.
pub const PATIENCE: Duration = Duration::from_secs(2);

const SHARDS: usize = 32;

/// Ends one exchange from outside.
#[derive(Default)]
pub struct Cut {
    cut: AtomicBool,
    is_stream: AtomicBool,
    waker: AtomicWaker,
}

impl Cut {
    /// Ends the exchange: its upstream socket fails, and no more of its answer goes out.
    pub fn cut(&self) {
        self.cut.store(true, Ordering::Release);
        self.waker.wake();
    }

    /// Whether the exchange was ended.
    pub fn is_cut(&self) -> bool {
        self.cut.load(Ordering::Acquire)
    }

    /// Marks a WebSocket or an event stream: nobody waits for its end.
    pub fn mark_stream(&self) {
        self.is_stream.store(true, Ordering::Release);
    }

    /// Whether the exchange was ended; else the task is woken when it is.
    pub fn poll_cut(&self, cx: &mut Context<'_>) -> Poll<()> {
        if self.is_cut() {
            return Poll::Ready(());
        }
        self.waker.register(cx.waker());
        if self.is_cut() { Poll::Ready(()) } else { Poll::Pending }
    }
}

impl fmt::Debug for Cut {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Cut({})", self.is_cut())
    }
}

/// The gates of all sessions that have exchanges in flight.
#[derive(Debug, Default)]
pub struct Gates {
    hasher: RandomState,
    shards: [Mutex<HashMap<Selector, Arc<Gate>>>; SHARDS],
}

#[derive(Debug, Default)]
struct Gate {
    inner: Mutex<Inner>,
    changed: Notify,
}

#[derive(Debug, Default)]
struct Inner {
    inside: Vec<Arc<Cut>>,
    /// Passes and waiters that refer to this gate.
    users: usize,
    closed: bool,
}

/// An exchange inside a gate. Dropping it lets others in.
#[derive(Debug)]
pub struct Pass {
    gates: Arc<Gates>,
    selector: Selector,
    gate: Arc<Gate>,
    cut: Arc<Cut>,
    closes: bool,
    /// The gate was closed when it came.
    has_waited: bool,
    /// It was let in for its patience, beside a login that still has the gate closed.
    beside_login: bool,
}

/// What became of closing a gate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Closed {
    /// Only this exchange is inside.
    Alone,
    /// Another login closed it first.
    Taken,
}

impl Gates {
    /// Enters the gate of a session, after waiting until `deadline` where it is closed. Says
    /// whether it is still closed: the record then tells what goes on.
    pub async fn enter(self: &Arc<Self>, selector: Selector, deadline: Instant) -> Pass {
        let gate = self.gate(selector);
        let cut = Arc::new(Cut::default());
        let gates = self.clone();
        let mut pass = Pass {
            gates,
            selector,
            gate,
            cut,
            closes: false,
            has_waited: false,
            beside_login: false,
        };
        loop {
            let changed = pass.gate.changed.notified();
            tokio::pin!(changed);
            changed.as_mut().enable();
            let is_closed = {
                let mut inner = lock(&pass.gate.inner);
                if !inner.closed {
                    inner.inside.push(pass.cut.clone());
                }
                inner.closed
            };
            if !is_closed {
                break;
            }
            pass.has_waited = true;
            if timeout_at(deadline, changed).await.is_err() {
                lock(&pass.gate.inner).inside.push(pass.cut.clone());
                pass.beside_login = true;
                break;
            }
        }
        pass
    }

    /// Sessions with exchanges in flight.
    pub fn len(&self) -> usize {
        self.shards.iter().map(|shard| lock(shard).len()).sum()
    }

    /// Whether no session has an exchange in flight.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    fn shard(&self, selector: &Selector) -> &Mutex<HashMap<Selector, Arc<Gate>>> {
        let hash = self.hasher.hash_one(selector);
        &self.shards[usize::try_from(hash % SHARDS as u64).expect("less than SHARDS")]
    }

    fn gate(&self, selector: Selector) -> Arc<Gate> {
        let mut shard = lock(self.shard(&selector));
        let gate = shard.entry(selector).or_default().clone();
        lock(&gate.inner).users += 1;
        gate
    }

    fn leave(&self, selector: &Selector, gate: &Gate) {
        let mut shard = lock(self.shard(selector));
        let mut inner = lock(&gate.inner);
        inner.users -= 1;
        if inner.users == 0 {
            drop(inner);
            shard.remove(selector);
        }
    }
}

impl Pass {
    /// What ends this exchange from outside.
    pub fn cut(&self) -> &Arc<Cut> {
        &self.cut
    }

    /// Whether it had to wait for a login.
    pub fn has_waited(&self) -> bool {
        self.has_waited
    }

    /// Whether it was let in beside a login: its record may read as live only because the login
    /// has not suspended it yet.
    pub fn is_beside_login(&self) -> bool {
        self.beside_login
    }

    /// Closes the gate and waits until the others are out: streams are cut at once, everything
    /// else after [`PATIENCE`]. The gate opens again when this pass is dropped.
    pub async fn close(&mut self) -> Closed {
        {
            let mut inner = lock(&self.gate.inner);
            if inner.closed && !self.closes {
                return Closed::Taken;
            }
            inner.closed = true;
            self.closes = true;
        }
        self.cut_others(|cut| cut.is_stream.load(Ordering::Acquire));
        let deadline = Instant::now() + PATIENCE;
        loop {
            let changed = self.gate.changed.notified();
            tokio::pin!(changed);
            changed.as_mut().enable();
            if lock(&self.gate.inner).inside.iter().all(|cut| cut.is_cut() || self.is_mine(cut)) {
                return Closed::Alone;
            }
            if timeout_at(deadline, changed).await.is_err() {
                self.cut_others(|_| true);
                return Closed::Alone;
            }
        }
    }

    /// Cuts the other streams of the session: it has ended.
    pub fn cut_streams(&self) {
        self.cut_others(|cut| cut.is_stream.load(Ordering::Acquire));
    }

    fn cut_others(&self, which: impl Fn(&Cut) -> bool) {
        for cut in &lock(&self.gate.inner).inside {
            if !self.is_mine(cut) && which(cut) {
                cut.cut();
            }
        }
    }

    fn is_mine(&self, cut: &Arc<Cut>) -> bool {
        Arc::ptr_eq(cut, &self.cut)
    }
}

impl Drop for Pass {
    fn drop(&mut self) {
        {
            let mut inner = lock(&self.gate.inner);
            inner.inside.retain(|cut| !Arc::ptr_eq(cut, &self.cut));
            if self.closes {
                inner.closed = false;
            }
        }
        self.gate.changed.notify_waiters();
        self.gates.leave(&self.selector, &self.gate);
    }
}

/// A panic elsewhere leaves these values whole: each change is a single statement.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    const SESSION: Selector = Selector([1; 16]);

    fn soon() -> Instant {
        Instant::now() + PATIENCE
    }

    #[tokio::test(start_paused = true)]
    async fn a_login_waits_for_what_is_inside() {
        let gates = Arc::new(Gates::default());
        let inside = gates.enter(SESSION, soon()).await;
        let mut login = gates.enter(SESSION, soon()).await;
        let begun = Instant::now();
        let leaves = async {
            tokio::time::sleep(Duration::from_millis(300)).await;
            drop(inside);
        };
        let (closed, ()) = tokio::join!(login.close(), leaves);
        assert_eq!(closed, Closed::Alone);
        assert_eq!(begun.elapsed().as_millis(), 300);
        drop(login);
        assert!(gates.is_empty(), "nothing is left behind");
    }

    #[tokio::test(start_paused = true)]
    async fn what_takes_longer_than_two_seconds_is_cut() {
        let gates = Arc::new(Gates::default());
        let slow = gates.enter(SESSION, soon()).await;
        let mut login = gates.enter(SESSION, soon()).await;
        let begun = Instant::now();
        assert_eq!(login.close().await, Closed::Alone);
        assert_eq!(begun.elapsed(), PATIENCE);
        assert!(slow.cut().is_cut() && !login.cut().is_cut());
    }

    #[tokio::test(start_paused = true)]
    async fn streams_are_cut_at_once() {
        let gates = Arc::new(Gates::default());
        let stream = gates.enter(SESSION, soon()).await;
        stream.cut().mark_stream();
        let other = gates.enter(Selector([2; 16]), soon()).await;
        other.cut().mark_stream();
        let mut login = gates.enter(SESSION, soon()).await;
        let begun = Instant::now();
        assert_eq!(login.close().await, Closed::Alone);
        assert!(stream.cut().is_cut() && begun.elapsed().is_zero());
        assert!(!other.cut().is_cut(), "another session's stream goes on");
    }

    #[tokio::test(start_paused = true)]
    async fn arrivals_wait_until_the_login_is_over_or_their_patience_is() {
        let gates = Arc::new(Gates::default());
        let mut login = gates.enter(SESSION, soon()).await;
        login.close().await;
        let begun = Instant::now();
        let arrives = async {
            let pass = gates.enter(SESSION, soon()).await;
            (begun.elapsed().as_millis(), pass)
        };
        let ends = async {
            tokio::time::sleep(Duration::from_millis(700)).await;
            drop(login);
        };
        let ((waited, pass), ()) = tokio::join!(arrives, ends);
        assert_eq!(waited, 700);
        drop(pass);

        let mut login = gates.enter(SESSION, soon()).await;
        login.close().await;
        let begun = Instant::now();
        let pass = gates.enter(SESSION, soon()).await;
        assert_eq!(begun.elapsed(), PATIENCE);
        assert!(pass.is_beside_login());
    }

    #[tokio::test(start_paused = true)]
    async fn two_logins_do_not_wait_for_each_other() {
        let gates = Arc::new(Gates::default());
        let mut first = gates.enter(SESSION, soon()).await;
        let mut second = gates.enter(SESSION, soon()).await;
        let (a, b) = tokio::join!(first.close(), async {
            let closed = second.close().await;
            drop(second);
            closed
        });
        assert_eq!((a, b), (Closed::Alone, Closed::Taken));
    }
}
