//! The turn of a session on all nodes: a lease in the store (PROTOCOL.md 32).
//!
//! Who has the turn on its own node asks for the lease of the record, so that each node asks once
//! for a session, however many of its requests wait. While the turn is held a task of its own
//! extends the lease; it gives it back at the end, and only then passes the turn on this node on.
//! A node that dies has it for [`HOLD`] at most. Nobody's request depends on the store here: where
//! it does not answer, the turn on this node is what is left.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::oneshot;
use tokio::time::{Instant, sleep, timeout};

use crate::crypto::random;
use crate::proxy::shared::Shared;
use crate::proxy::turn::Turn;
use crate::session::event::OutOfTurn;
use crate::session::outcome::{Leased, RecordKey};

/// How long a lease lasts unless it is extended.
const HOLD: Duration = Duration::from_secs(2);
/// Two extensions may fail before somebody else can have it.
const EXTEND_EVERY: Duration = Duration::from_millis(700);
/// Between two questions, at least and at most.
const ASK_EVERY: (u64, u64) = (20, 50);
/// How long a node that has just had the lease stands back before its next request asks: longer
/// than others are silent, so that the nodes take turns too.
const STAND_BACK: Duration = Duration::from_millis(60);

/// Who lends leases.
pub trait Lender: Send + Sync + 'static {
    /// Takes the lease beside a record, or extends it where `owner` has it.
    fn lease(
        &self,
        key: RecordKey,
        owner: [u8; 16],
        hold: Duration,
    ) -> impl Future<Output = Leased> + Send;

    /// Gives it back, as far as the store can be reached.
    fn release(&self, key: RecordKey, owner: [u8; 16]) -> impl Future<Output = ()> + Send;
}

impl Lender for Shared {
    async fn lease(&self, key: RecordKey, owner: [u8; 16], hold: Duration) -> Leased {
        Self::lease(self, key, owner, hold).await
    }

    async fn release(&self, key: RecordKey, owner: [u8; 16]) {
        self.records.release(key, owner).await;
    }
}

/// The turn of a session. Dropping it passes the turn on.
#[derive(Debug)]
pub enum HeldTurn {
    /// On this node alone.
    Here { _turn: Turn },
    /// On all nodes; the task that has both ends with this.
    Everywhere { _end: oneshot::Sender<Infallible> },
}

impl From<Turn> for HeldTurn {
    fn from(turn: Turn) -> Self {
        Self::Here { _turn: turn }
    }
}

/// What became of asking for the turn on all nodes.
#[derive(Debug)]
pub struct Asked {
    /// At least the turn on this node.
    pub turn: HeldTurn,
    /// Another node had it.
    pub has_waited: bool,
    /// Why it is only that.
    pub said: Result<(), OutOfTurn>,
}

/// Takes the turn on all nodes for who has it on this one, asking until `deadline`.
pub async fn take(
    lender: &Arc<impl Lender>,
    key: RecordKey,
    turn: Turn,
    deadline: Instant,
) -> Asked {
    let here =
        |turn: Turn, has_waited, cause| Asked { turn: turn.into(), has_waited, said: Err(cause) };
    let owner: [u8; 16] = match random::bytes() {
        Ok(owner) => owner,
        Err(error) => {
            tracing::error!(%error, "no randomness for a lease");
            return here(turn, false, OutOfTurn::StoreDown);
        }
    };
    if turn.has_waited() {
        sleep(STAND_BACK).await;
    }
    // The owner is random, so its bytes spread the questions of many nodes.
    let mut has_waited = false;
    for pause in owner.iter().cycle() {
        match lender.lease(key, owner, HOLD).await {
            Leased::Taken => {
                let turn = keep(lender.clone(), key, owner, turn);
                return Asked { turn, has_waited, said: Ok(()) };
            }
            Leased::Unavailable => return here(turn, has_waited, OutOfTurn::StoreDown),
            Leased::Busy => has_waited = true,
        }
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            break;
        }
        let (least, most) = ASK_EVERY;
        let pause = least + u64::from(*pause) % (most - least + 1);
        sleep(Duration::from_millis(pause).min(left)).await;
    }
    here(turn, has_waited, OutOfTurn::TimedOut)
}

/// Extends the lease until what is returned is dropped.
fn keep(lender: Arc<impl Lender>, key: RecordKey, owner: [u8; 16], turn: Turn) -> HeldTurn {
    let (end, mut ended) = oneshot::channel::<Infallible>();
    tokio::spawn(async move {
        let mut is_ours = true;
        // Nothing is ever sent: the channel closes.
        while timeout(EXTEND_EVERY, &mut ended).await.is_err() {
            if is_ours && lender.lease(key, owner, HOLD).await == Leased::Busy {
                // The store was silent for too long, or this process was.
                tracing::warn!(session = ?key, "another node took the turn before it was passed on");
                is_ours = false;
            }
        }
        if is_ours {
            lender.release(key, owner).await;
        }
        drop(turn);
    });
    HeldTurn::Everywhere { _end: end }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use super::*;
    use crate::proxy::gate::Gates;
    use crate::session::ticket::Selector;

    const SESSION: Selector = Selector([1; 16]);
    const KEY: RecordKey = RecordKey { tag: [1; 8], id: [2; 16], has_subject: false };
    const WAIT: Duration = Duration::from_secs(10);

    /// One lease, as the engines keep it: its owner and its end.
    #[derive(Default)]
    struct Store {
        lease: Mutex<Option<([u8; 16], Instant)>>,
        asked: Mutex<Vec<Instant>>,
        is_down: Mutex<bool>,
    }

    impl Lender for Store {
        async fn lease(&self, _: RecordKey, owner: [u8; 16], hold: Duration) -> Leased {
            let now = Instant::now();
            self.asked.lock().expect("no holder panics").push(now);
            if *self.is_down.lock().expect("no holder panics") {
                return Leased::Unavailable;
            }
            let mut lease = self.lease.lock().expect("no holder panics");
            if lease.is_some_and(|(holder, until)| holder != owner && now < until) {
                return Leased::Busy;
            }
            *lease = Some((owner, now + hold));
            Leased::Taken
        }

        async fn release(&self, _: RecordKey, owner: [u8; 16]) {
            let mut lease = self.lease.lock().expect("no holder panics");
            *lease = lease.filter(|(holder, _)| *holder != owner);
        }
    }

    impl Store {
        fn is_held(&self) -> bool {
            let lease = self.lease.lock().expect("no holder panics");
            lease.is_some_and(|(_, until)| Instant::now() < until)
        }

        fn goes_down(&self, is_down: bool) {
            *self.is_down.lock().expect("no holder panics") = is_down;
        }
    }

    async fn turn(gates: &Arc<Gates>) -> Turn {
        gates.turn(SESSION, Instant::now() + WAIT).await.expect("its turn comes")
    }

    async fn taken(store: &Arc<Store>, gates: &Arc<Gates>) -> (HeldTurn, Result<(), OutOfTurn>) {
        let turn = turn(gates).await;
        let asked = take(store, KEY, turn, Instant::now() + WAIT).await;
        (asked.turn, asked.said)
    }

    /// Lets tasks that were woken run.
    async fn settle() {
        sleep(Duration::from_millis(1)).await;
    }

    #[tokio::test(start_paused = true)]
    async fn a_lease_is_held_as_long_as_the_turn_and_given_back_at_its_end() {
        let (store, gates) = (Arc::new(Store::default()), Arc::new(Gates::default()));
        let (held, said) = taken(&store, &gates).await;
        assert_eq!(said, Ok(()));
        for _ in 0..30 {
            sleep(Duration::from_millis(1000)).await;
            assert!(store.is_held(), "it is extended");
        }
        drop(held);
        settle().await;
        assert!(!store.is_held() && gates.is_empty(), "nothing is left behind");
    }

    #[tokio::test(start_paused = true)]
    async fn another_node_waits_until_the_lease_is_given_back() {
        let store = Arc::new(Store::default());
        let (here, there) = (Arc::new(Gates::default()), Arc::new(Gates::default()));
        let (held, _) = taken(&store, &here).await;
        let begun = Instant::now();
        let other = async { (taken(&store, &there).await.1, begun.elapsed()) };
        let ends = async {
            sleep(Duration::from_secs(5)).await;
            drop(held);
        };
        let ((said, waited), ()) = tokio::join!(other, ends);
        assert_eq!(said, Ok(()));
        let most = Duration::from_millis(5000 + ASK_EVERY.1 + 5);
        assert!((Duration::from_secs(5)..most).contains(&waited), "{waited:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn questions_come_every_twenty_to_fifty_milliseconds() {
        let store = Arc::new(Store::default());
        let (here, there) = (Arc::new(Gates::default()), Arc::new(Gates::default()));
        let _held = taken(&store, &here).await;
        let deadline = Instant::now() + Duration::from_millis(600);
        store.asked.lock().expect("no holder panics").clear();
        let asked = take(&store, KEY, turn(&there).await, deadline).await;
        assert_eq!((asked.said, asked.has_waited), (Err(OutOfTurn::TimedOut), true));
        assert_eq!(Instant::now(), deadline);
        let asked = store.asked.lock().expect("no holder panics").clone();
        // The last pause ends with the wait.
        for pair in asked[..asked.len() - 1].windows(2) {
            let pause = (pair[1] - pair[0]).as_millis();
            assert!((20..=51).contains(&pause), "{pause} ms");
        }
    }

    /// The node is gone, and its tasks with it.
    #[tokio::test(start_paused = true)]
    async fn a_dead_node_holds_a_lease_for_two_seconds() {
        let store = Arc::new(Store::default());
        let here = Arc::new(Gates::default());
        assert_eq!(store.lease(KEY, [9; 16], HOLD).await, Leased::Taken);
        let begun = Instant::now();
        let (_held, said) = taken(&store, &here).await;
        assert_eq!(said, Ok(()));
        assert!(begun.elapsed() <= HOLD + Duration::from_millis(55), "{:?}", begun.elapsed());
    }

    #[tokio::test(start_paused = true)]
    async fn without_the_store_the_turn_on_this_node_is_left() {
        let (store, gates) = (Arc::new(Store::default()), Arc::new(Gates::default()));
        store.goes_down(true);
        let begun = Instant::now();
        let (held, said) = taken(&store, &gates).await;
        assert_eq!((said, begun.elapsed()), (Err(OutOfTurn::StoreDown), Duration::ZERO));
        let late = gates.turn(SESSION, Instant::now() + HOLD).await;
        assert_eq!(late.err(), Some(OutOfTurn::TimedOut), "it is held here");
        drop(held);
        turn(&gates).await;
    }

    #[tokio::test(start_paused = true)]
    async fn a_short_outage_costs_no_turn() {
        let (store, gates) = (Arc::new(Store::default()), Arc::new(Gates::default()));
        let (held, _) = taken(&store, &gates).await;
        store.goes_down(true);
        sleep(Duration::from_millis(1500)).await;
        store.goes_down(false);
        sleep(Duration::from_millis(1000)).await;
        assert!(store.is_held());
        drop(held);
        settle().await;
        assert!(!store.is_held());
    }

    /// After a long outage somebody else has it: what is his is not taken from him.
    #[tokio::test(start_paused = true)]
    async fn a_lease_that_was_lost_is_left_to_its_owner() {
        let (store, gates) = (Arc::new(Store::default()), Arc::new(Gates::default()));
        let (held, _) = taken(&store, &gates).await;
        store.goes_down(true);
        sleep(Duration::from_secs(3)).await;
        store.goes_down(false);
        assert_eq!(store.lease(KEY, [9; 16], Duration::from_secs(60)).await, Leased::Taken);
        sleep(Duration::from_secs(3)).await;
        drop(held);
        settle().await;
        assert!(store.is_held() && gates.is_empty());
    }

    /// Two nodes with a queue each: neither keeps the lease to itself.
    #[tokio::test(start_paused = true)]
    async fn nodes_take_turns_too() {
        let store = Arc::new(Store::default());
        let nodes = [Arc::new(Gates::default()), Arc::new(Gates::default())];
        let log = Arc::new(Mutex::new(String::new()));
        let mut writers = tokio::task::JoinSet::new();
        for number in 0..6 {
            let (store, log, gates) = (store.clone(), log.clone(), nodes[number / 3].clone());
            writers.spawn(async move {
                let (_held, said) = taken(&store, &gates).await;
                assert_eq!(said, Ok(()));
                log.lock().expect("no holder panics").push(if number < 3 { 'a' } else { 'b' });
                sleep(Duration::from_millis(200)).await;
            });
        }
        writers.join_all().await;
        assert_eq!(*log.lock().expect("no holder panics"), "ababab");
    }
}
