//! The turns of one session's exchanges on this node (PROTOCOL.md 32).
//!
//! `session/turn_queue.rs` says whose turn it is; here is the waiting. Who waits for its turn is not
//! inside the gate yet, so that a login which has the turn never waits for who waits for it.

use std::sync::Arc;

use tokio::sync::oneshot;
use tokio::time::{Instant, timeout_at};

use crate::proxy::gate::{Gates, SessionGate, lock};
use crate::session::event::OutOfTurn;
use crate::session::ticket::Selector;
use crate::session::turn_queue::{Asked, Number};

/// What wakes a waiter.
pub type Wake = oneshot::Sender<()>;

/// The turn of a session, or a place in the queue for it. Dropping it passes the turn on.
#[derive(Debug)]
pub struct Turn {
    gates: Arc<Gates>,
    selector: Selector,
    gate: Arc<SessionGate>,
    number: Number,
    has_waited: bool,
}

impl Gates {
    /// Waits for the turn of a session, until `deadline`.
    ///
    /// # Errors
    /// Why the exchange has to go on without.
    pub async fn turn(
        self: &Arc<Self>,
        selector: Selector,
        deadline: Instant,
    ) -> Result<Turn, OutOfTurn> {
        let gate = self.gate(selector);
        let mut woken = None;
        let asked = lock(&gate.inner).turns.ask(|| {
            let (wake, waiter) = oneshot::channel();
            woken = Some(waiter);
            wake
        });
        let number = match asked {
            Asked::Held(number) | Asked::Queued(number) => number,
            Asked::Full => {
                self.leave(&selector, &gate, |_| {});
                return Err(OutOfTurn::QueueFull);
            }
        };
        // From here on it leaves by itself, also where nobody waits for this future any more.
        let has_waited = woken.is_some();
        let turn = Turn { gates: self.clone(), selector, gate, number, has_waited };
        if let Some(woken) = woken {
            // Woken or out of patience, or both: the queue knows.
            let _ = timeout_at(deadline, woken).await;
            if !lock(&turn.gate.inner).turns.is_held_by(number) {
                return Err(OutOfTurn::TimedOut);
            }
        }
        Ok(turn)
    }
}

impl Turn {
    /// Whether others were there first.
    pub fn has_waited(&self) -> bool {
        self.has_waited
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        self.gates.leave(&self.selector, &self.gate, |inner| {
            if let Some(wake) = inner.turns.leave(self.number) {
                // Who has just stopped waiting has the turn all the same, and is about to drop it.
                let _ = wake.send(());
            }
        });
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;
    use std::time::Duration;

    use tokio::task::JoinSet;
    use tokio::time::{sleep, sleep_until, timeout};

    use super::*;
    use crate::session::admission::Closed;
    use crate::session::order::PATIENCE;
    use crate::session::turn_queue::WAITING_MAX;

    const SESSION: Selector = Selector([1; 16]);
    const OTHER: Selector = Selector([2; 16]);
    const WAIT: Duration = Duration::from_secs(10);

    fn soon() -> Instant {
        Instant::now() + WAIT
    }

    fn millis(number: u64) -> Duration {
        Duration::from_millis(number)
    }

    #[tokio::test(start_paused = true)]
    async fn turns_are_taken_one_after_the_other_in_the_order_of_arrival() {
        let gates = Arc::new(Gates::default());
        let begun = Instant::now();
        let log = Arc::new(Mutex::new(Vec::new()));
        let mut writers = JoinSet::new();
        for name in 0..4_u64 {
            let (gates, log) = (gates.clone(), log.clone());
            writers.spawn(async move {
                sleep_until(begun + millis(name)).await;
                let turn = gates.turn(SESSION, soon()).await.expect("its turn comes");
                log.lock().expect("no holder panics").push((name, begun.elapsed().as_millis()));
                sleep(millis(1000)).await;
                drop(turn);
            });
        }
        writers.join_all().await;
        let expected = [(0, 0), (1, 1000), (2, 2000), (3, 3000)];
        assert_eq!(*log.lock().expect("no holder panics"), expected);
        assert!(gates.is_empty(), "nothing is left behind");
    }

    #[tokio::test(start_paused = true)]
    async fn a_wait_is_bounded() {
        let gates = Arc::new(Gates::default());
        let first = gates.turn(SESSION, soon()).await.expect("it is free");
        let begun = Instant::now();
        let late = gates.turn(SESSION, soon()).await;
        assert_eq!((late.err(), begun.elapsed()), (Some(OutOfTurn::TimedOut), WAIT));
        drop(first);
        let next = gates.turn(SESSION, soon()).await.expect("who gave up waiting is forgotten");
        assert!(!next.has_waited());
    }

    #[tokio::test(start_paused = true)]
    async fn other_sessions_do_not_wait() {
        let gates = Arc::new(Gates::default());
        let _first = gates.turn(SESSION, soon()).await.expect("it is free");
        let begun = Instant::now();
        let _other = gates.turn(OTHER, soon()).await.expect("it is free");
        assert_eq!(begun.elapsed(), Duration::ZERO);
    }

    /// The client went away, and with it the future: whoever comes next has the turn in time.
    #[tokio::test(start_paused = true)]
    async fn who_goes_away_while_waiting_holds_nobody_up() {
        let gates = Arc::new(Gates::default());
        let first = gates.turn(SESSION, soon()).await.expect("it is free");
        let begun = Instant::now();
        let gone = timeout(millis(100), gates.turn(SESSION, soon()));
        let third = async {
            sleep(millis(50)).await;
            gates.turn(SESSION, soon()).await.map(|_turn| begun.elapsed().as_millis())
        };
        let ends = async {
            sleep(millis(500)).await;
            drop(first);
        };
        let (gone, third, ()) = tokio::join!(gone, third, ends);
        assert!(gone.is_err());
        assert_eq!(third, Ok(500));
        assert!(gates.is_empty(), "nothing is left behind");
    }

    /// Given the turn at the very moment at which nobody waits for it any more.
    #[tokio::test(start_paused = true)]
    async fn a_turn_that_nobody_takes_is_passed_on() {
        let gates = Arc::new(Gates::default());
        let first = gates.turn(SESSION, soon()).await.expect("it is free");
        let mut second = Box::pin(gates.turn(SESSION, soon()));
        assert!(futures_poll(&mut second).await.is_none(), "it waits");
        drop(first);
        drop(second);
        let third = gates.turn(SESSION, Instant::now()).await;
        assert!(third.is_ok_and(|turn| !turn.has_waited()));
        assert!(gates.is_empty(), "nothing is left behind");
    }

    async fn futures_poll<F: Future + Unpin>(future: &mut F) -> Option<F::Output> {
        timeout(Duration::ZERO, future).await.ok()
    }

    #[tokio::test(start_paused = true)]
    async fn a_full_queue_is_said_at_once() {
        let gates = Arc::new(Gates::default());
        let first = gates.turn(SESSION, soon()).await.expect("it is free");
        let mut waiting: Vec<_> =
            (0..WAITING_MAX).map(|_| Box::pin(gates.turn(SESSION, soon()))).collect();
        for waiter in &mut waiting {
            assert!(futures_poll(waiter).await.is_none());
        }
        let begun = Instant::now();
        let full = gates.turn(SESSION, soon()).await;
        assert_eq!((full.err(), begun.elapsed()), (Some(OutOfTurn::QueueFull), Duration::ZERO));
        drop((waiting, first));
        assert!(gates.is_empty(), "nothing is left behind");
    }

    /// A login has the turn and closes the gate while writers wait for theirs: it does not wait
    /// for them, but for the page that is inside.
    #[tokio::test(start_paused = true)]
    async fn a_login_in_its_turn_does_not_wait_for_who_waits_for_it() {
        let gates = Arc::new(Gates::default());
        let begun = Instant::now();
        let page = gates.enter(SESSION, soon(), Duration::ZERO).await;
        let turn = gates.turn(SESSION, soon()).await.expect("it is free");
        let mut login = gates.enter(SESSION, soon(), WAIT).await;
        let writer = async {
            let turn = gates.turn(SESSION, soon()).await.expect("its turn comes");
            let pass = gates.enter(SESSION, soon(), WAIT).await;
            assert!(!pass.is_beside_login());
            drop((pass, turn));
            begun.elapsed().as_millis()
        };
        let page_ends = async {
            sleep(millis(300)).await;
            drop(page);
        };
        let login = async {
            assert_eq!(login.close(PATIENCE).await, Closed::Alone);
            assert_eq!(begun.elapsed().as_millis(), 300);
            sleep(millis(500)).await;
            drop((login, turn));
        };
        let (written, (), ()) = tokio::join!(writer, page_ends, login);
        assert_eq!(written, 800);
    }

    /// Two logins, the second of which is out of patience and closes the gate first: the one that
    /// has the turn waits outside the gate, keeps its turn, and both are done in time.
    #[tokio::test(start_paused = true)]
    async fn two_logins_end_in_time_whoever_closes_the_gate() {
        let gates = Arc::new(Gates::default());
        let turn = gates.turn(SESSION, soon()).await.expect("it is free");
        let mut first = gates.enter(SESSION, soon(), WAIT).await;
        let late = gates.turn(SESSION, Instant::now()).await;
        assert_eq!(late.err(), Some(OutOfTurn::TimedOut));
        let mut second = gates.enter(SESSION, soon(), WAIT).await;
        let begun = Instant::now();
        let second = async {
            assert_eq!(second.close(PATIENCE).await, Closed::Alone);
            sleep(millis(200)).await;
            drop(second);
        };
        let first = async {
            assert_eq!(first.close(PATIENCE).await, Closed::Taken);
            drop(first);
            let mut again = gates.enter(SESSION, soon(), WAIT).await;
            assert_eq!(again.close(PATIENCE).await, Closed::Alone);
            drop((again, turn));
        };
        let ((), ()) = tokio::join!(second, first);
        assert_eq!(begun.elapsed().as_millis(), 200);
        assert!(gates.is_empty(), "nothing is left behind");
    }
}
