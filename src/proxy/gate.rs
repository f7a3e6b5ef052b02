//! The order of one session's exchanges on this node (PROTOCOL.md 18, 32).
//!
//! Every exchange with a ticket passes the gate of its session before the record is looked up. A
//! login closes the gate: what is inside finishes first, but for a bounded time, and is then cut;
//! what arrives waits outside, as bounded. Registering *before* the look-up means that no exchange
//! can hold a record that a login on this node has since suspended.
//!
//! Those that take turns do so before they come to the gate: `turn.rs`.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::Instant;

use crate::proxy::pass::{Inside, Pass};
use crate::proxy::turn::Wake;
use crate::session::ticket::Selector;
use crate::session::turn_queue::TurnQueue;
use crate::uniform::Uniform;

const SHARDS: usize = 32;
/// Gates of a shard that wait for another session, so that few requests have to make one …
const SPARE_MAX: usize = 64;
/// … if no more exchanges than these were inside at a time: they keep the memory for that.
const SPARE_INSIDE_MAX: usize = 8;

/// The gates of all sessions that have exchanges in flight.
#[derive(Debug, Default)]
pub struct Gates {
    shards: [Mutex<Shard>; SHARDS],
}

#[derive(Debug, Default)]
struct Shard {
    gates: HashMap<Selector, Arc<SessionGate>, Uniform>,
    /// As good as new: nobody is inside, nobody waits.
    spare: Vec<Arc<SessionGate>>,
}

#[derive(Debug, Default)]
pub(super) struct SessionGate {
    pub(super) inner: Mutex<Inner>,
    pub(super) changed: Notify,
}

#[derive(Debug, Default)]
pub(super) struct Inner {
    pub(super) inside: Vec<Inside>,
    /// Passes and turns that refer to this gate, waiters included.
    users: usize,
    pub(super) closed: bool,
    pub(super) turns: TurnQueue<Wake>,
}

impl Gates {
    /// Enters the gate of a session, after waiting until `deadline` where it is closed. The pass
    /// says whether it is still closed: the record then tells what goes on. A login lets it finish
    /// for `grace` from now at least.
    pub async fn enter(
        self: &Arc<Self>,
        selector: Selector,
        deadline: Instant,
        grace: Duration,
    ) -> Pass {
        let mut pass = Pass::outside(self.clone(), selector, self.gate(selector));
        pass.go_in(deadline, grace).await;
        pass
    }

    /// Sessions with exchanges in flight.
    pub fn len(&self) -> usize {
        self.shards.iter().map(|shard| lock(shard).gates.len()).sum()
    }

    /// Whether no session has an exchange in flight.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// By a byte that plays no part in the hash.
    fn shard(&self, selector: &Selector) -> &Mutex<Shard> {
        &self.shards[usize::from(selector.0[15]) % SHARDS]
    }

    /// The gate of a session, which [`Gates::leave`] gives back.
    pub(super) fn gate(&self, selector: Selector) -> Arc<SessionGate> {
        let mut shard = lock(self.shard(&selector));
        let Shard { gates, spare } = &mut *shard;
        let gate = gates.entry(selector).or_insert_with(|| spare.pop().unwrap_or_default()).clone();
        lock(&gate.inner).users += 1;
        gate
    }

    /// Gives a gate back, after `last` was done to it. Wakes who waits for a change.
    pub(super) fn leave(
        &self,
        selector: &Selector,
        gate: &SessionGate,
        last: impl FnOnce(&mut Inner),
    ) {
        let mut shard = lock(self.shard(selector));
        let mut inner = lock(&gate.inner);
        last(&mut inner);
        inner.users -= 1;
        let (users, room) = (inner.users, inner.inside.capacity());
        drop(inner);
        if users > 0 {
            gate.changed.notify_waiters();
        } else if let Some(gate) = shard.gates.remove(selector)
            && shard.spare.len() < SPARE_MAX
            && room <= SPARE_INSIDE_MAX
        {
            shard.spare.push(gate);
        }
    }
}

/// A panic elsewhere leaves these values whole: each change is a single statement.
pub(super) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::session::admission::Closed;
    use crate::session::order::PATIENCE;

    const SESSION: Selector = Selector([1; 16]);

    const NONE: Duration = Duration::ZERO;

    fn soon() -> Instant {
        Instant::now() + PATIENCE
    }

    #[tokio::test(start_paused = true)]
    async fn a_login_waits_for_what_is_inside() {
        let gates = Arc::new(Gates::default());
        let inside = gates.enter(SESSION, soon(), NONE).await;
        let mut login = gates.enter(SESSION, soon(), NONE).await;
        let begun = Instant::now();
        let leaves = async {
            tokio::time::sleep(Duration::from_millis(300)).await;
            drop(inside);
        };
        let (closed, ()) = tokio::join!(login.close(PATIENCE), leaves);
        assert_eq!(closed, Closed::Alone);
        assert_eq!(begun.elapsed().as_millis(), 300);
        drop(login);
        assert!(gates.is_empty(), "nothing is left behind");
    }

    #[tokio::test(start_paused = true)]
    async fn what_takes_longer_than_two_seconds_is_cut() {
        let gates = Arc::new(Gates::default());
        let slow = gates.enter(SESSION, soon(), NONE).await;
        let mut login = gates.enter(SESSION, soon(), NONE).await;
        let begun = Instant::now();
        assert_eq!(login.close(PATIENCE).await, Closed::Alone);
        assert_eq!(begun.elapsed(), PATIENCE);
        assert!(slow.cut().is_cut() && !login.cut().is_cut());
    }

    /// What takes turns was promised its whole wait; what did not is cut before.
    #[tokio::test(start_paused = true)]
    async fn what_was_promised_more_time_has_it() {
        let gates = Arc::new(Gates::default());
        let begun = Instant::now();
        let page = gates.enter(SESSION, soon(), NONE).await;
        let writer = gates.enter(SESSION, soon(), Duration::from_secs(10)).await;
        let mut login = gates.enter(SESSION, soon(), NONE).await;
        tokio::time::sleep(Duration::from_secs(3)).await;
        let at = |millis| begun + Duration::from_millis(millis);
        let looks = async {
            tokio::time::sleep_until(at(4990)).await;
            assert!(!page.cut().is_cut());
            tokio::time::sleep_until(at(5010)).await;
            assert!(page.cut().is_cut() && !writer.cut().is_cut());
        };
        let (closed, ()) = tokio::join!(login.close(PATIENCE), looks);
        assert_eq!((closed, begun.elapsed().as_secs()), (Closed::Alone, 10));
        assert!(writer.cut().is_cut());
    }

    #[tokio::test(start_paused = true)]
    async fn streams_are_cut_at_once() {
        let gates = Arc::new(Gates::default());
        let stream = gates.enter(SESSION, soon(), NONE).await;
        stream.mark_stream();
        let other = gates.enter(Selector([2; 16]), soon(), NONE).await;
        other.mark_stream();
        let mut login = gates.enter(SESSION, soon(), NONE).await;
        let begun = Instant::now();
        assert_eq!(login.close(PATIENCE).await, Closed::Alone);
        assert!(stream.cut().is_cut() && begun.elapsed().is_zero());
        assert!(!other.cut().is_cut(), "another session's stream goes on");
    }

    /// It is known to be one only when its endpoint is chosen, and a login may come before that.
    #[tokio::test(start_paused = true)]
    async fn what_turns_out_to_be_a_stream_is_waited_for_no_longer() {
        let gates = Arc::new(Gates::default());
        let stream = gates.enter(SESSION, soon(), NONE).await;
        let mut login = gates.enter(SESSION, soon(), NONE).await;
        let begun = Instant::now();
        let turns_out = async {
            tokio::time::sleep(Duration::from_millis(5)).await;
            stream.mark_stream();
        };
        let (closed, ()) = tokio::join!(login.close(PATIENCE), turns_out);
        assert_eq!((closed, begun.elapsed().as_millis()), (Closed::Alone, 5));
        assert!(stream.cut().is_cut() && !login.cut().is_cut());
        login.mark_stream();
        assert!(!login.cut().is_cut(), "it waits for nobody but itself");
    }

    #[tokio::test(start_paused = true)]
    async fn arrivals_wait_until_the_login_is_over_or_their_patience_is() {
        let gates = Arc::new(Gates::default());
        let mut login = gates.enter(SESSION, soon(), NONE).await;
        login.close(PATIENCE).await;
        let begun = Instant::now();
        let arrives = async {
            let pass = gates.enter(SESSION, soon(), NONE).await;
            (begun.elapsed().as_millis(), pass)
        };
        let ends = async {
            tokio::time::sleep(Duration::from_millis(700)).await;
            drop(login);
        };
        let ((waited, pass), ()) = tokio::join!(arrives, ends);
        assert_eq!(waited, 700);
        drop(pass);

        let mut login = gates.enter(SESSION, soon(), NONE).await;
        login.close(PATIENCE).await;
        let begun = Instant::now();
        let pass = gates.enter(SESSION, soon(), NONE).await;
        assert_eq!(begun.elapsed(), PATIENCE);
        assert!(pass.is_beside_login());
    }

    #[tokio::test(start_paused = true)]
    async fn two_logins_do_not_wait_for_each_other() {
        let gates = Arc::new(Gates::default());
        let mut first = gates.enter(SESSION, soon(), NONE).await;
        let mut second = gates.enter(SESSION, soon(), NONE).await;
        let (a, b) = tokio::join!(first.close(PATIENCE), async {
            let closed = second.close(PATIENCE).await;
            drop(second);
            closed
        });
        assert_eq!((a, b), (Closed::Alone, Closed::Taken));
    }
}
