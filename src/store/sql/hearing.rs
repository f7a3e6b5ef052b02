//! How this process hears of changes that others make: what is counted, over which link, and how
//! often the link is proved.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::{sleep, timeout};

use super::clock::StoreClock;
use crate::session::outcome::RecordKey;
use crate::store::changes::{Changes, Link};
use crate::store::health::Signal;

/// The link is proved this often within a lease, at least and at most with these pauses.
const PROOFS: u32 = 4;
const PAUSE_MIN: Duration = Duration::from_millis(10);
const PAUSE_MAX: Duration = Duration::from_millis(250);
/// How much of a pause is random, so that the nodes of a fleet do not ask in step.
const JITTER: f64 = 0.2;

pub(super) struct Hearing {
    pub changes: Changes,
    pub health: Arc<Signal>,
    pub clock: StoreClock,
    /// How long one question may take.
    pub patience: Duration,
    lease: Duration,
    link: Mutex<Option<Arc<Link>>>,
    doubts: Notify,
}

impl Hearing {
    pub(super) fn new(
        health: Arc<Signal>,
        clock: StoreClock,
        lease: Duration,
        patience: Duration,
    ) -> Self {
        Self {
            changes: Changes::default(),
            health,
            clock,
            patience,
            lease,
            link: Mutex::new(None),
            doubts: Notify::new(),
        }
    }

    /// The link of now; none while nothing is heard.
    pub(super) fn link(&self) -> Option<Arc<Link>> {
        self.link.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// A new link, from now on given out with what is read.
    pub(super) fn begin(&self) -> Arc<Link> {
        let link = Arc::new(Link::default());
        let before = self.link.lock().unwrap_or_else(PoisonError::into_inner).replace(link.clone());
        if let Some(before) = before {
            before.lose();
        }
        link
    }

    /// Nothing is heard any more.
    pub(super) fn end(&self) {
        let before = self.link.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(before) = before {
            before.lose();
        }
    }

    /// Counts a change; of the tag where there is no identifier.
    pub(super) fn count(&self, tag: [u8; 8], id: Option<[u8; 16]>) {
        match id {
            Some(id) => self.changes.record(RecordKey { tag, id, has_subject: false }),
            None => self.changes.tag(tag),
        }
    }

    /// A call failed: the supervisor should look at once.
    pub(super) fn doubt(&self) {
        self.doubts.notify_one();
    }

    /// Waits until the link is to be proved again.
    pub(super) async fn pause(&self) {
        let pause = self.pause_of(rand::random());
        sleep(PAUSE_MIN).await;
        let rest = pause.saturating_sub(PAUSE_MIN);
        let _ = timeout(rest, self.doubts.notified()).await;
    }

    fn pause_of(&self, random: f64) -> Duration {
        // Without a lease nobody keeps anything, and the pause is that of the heartbeat.
        let pause = if self.lease.is_zero() { PAUSE_MAX } else { self.lease / PROOFS };
        pause.clamp(PAUSE_MIN, PAUSE_MAX).mul_f64(1.0 - JITTER * random)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::Clock;
    use crate::store::health::Health;

    #[test]
    fn a_link_is_proved_four_times_in_a_lease_within_bounds() {
        for (lease, random, pause) in [
            (1000, 0.0, 250),
            (1000, 1.0, 200),
            (400, 0.0, 100),
            (8, 0.0, 10),
            (60_000, 0.0, 250),
            (0, 0.0, 250),
        ] {
            let signal = Arc::new(Signal::new("test".to_owned(), Health::Up));
            let clock = StoreClock::new(Clock::System, "test");
            let hearing = Hearing::new(signal, clock, Duration::from_millis(lease), Duration::ZERO);
            assert_eq!(hearing.pause_of(random), Duration::from_millis(pause), "{lease}");
        }
    }
}
