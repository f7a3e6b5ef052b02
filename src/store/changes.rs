//! How a node that keeps what it read finds out that it is no longer so.
//!
//! An engine counts changes in [`Changes`], over a [`Link`] that it proves to be alive again and
//! again. Whoever keeps an answer keeps with it the [`Mark`] that it took *before* the look-up was
//! sent, and the link that the answer came over. The answer is good as long as the mark is current
//! and the link has been proved a moment ago: a change during the look-up makes the mark stale
//! before the answer is there, so that no order of the two can go wrong.
//!
//! Changes are counted by hash, not by key: one may be taken for another's, which costs a look-up.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use crate::session::outcome::RecordKey;

/// Counters of each kind; a power of two. A node that keeps a hundred thousand records has one or
/// two to a counter.
const COUNTERS: usize = 1 << 16;

/// Counts changes. Made once per store.
pub struct Changes {
    records: Box<[AtomicU64]>,
    tags: Box<[AtomicU64]>,
    all: AtomicU64,
}

/// What was counted of a record and its tag when a look-up began.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Mark {
    record: u64,
    tag: u64,
    all: u64,
}

impl Changes {
    /// Notes that a record was written or removed, or may be about to.
    pub fn record(&self, key: RecordKey) {
        self.of_record(key).fetch_add(1, Ordering::SeqCst);
    }

    /// Notes that the epoch of a tag was replaced, or may be about to.
    pub fn tag(&self, tag: [u8; 8]) {
        self.of_tag(tag).fetch_add(1, Ordering::SeqCst);
    }

    /// Notes that anything may have changed.
    pub fn all(&self) {
        self.all.fetch_add(1, Ordering::SeqCst);
    }

    /// To be taken before the look-up is sent.
    pub fn mark(&self, key: RecordKey) -> Mark {
        Mark {
            record: self.of_record(key).load(Ordering::SeqCst),
            tag: if key.has_subject { self.of_tag(key.tag).load(Ordering::SeqCst) } else { 0 },
            all: self.all.load(Ordering::SeqCst),
        }
    }

    /// Whether nothing was noted of the record since the mark was taken. `key` must say the same
    /// of having a subject as it did then.
    pub fn is_current(&self, key: RecordKey, mark: Mark) -> bool {
        self.mark(key) == mark
    }

    /// Both halves of a key are uniform: the one is a hash, the other a hash or random.
    fn of_record(&self, key: RecordKey) -> &AtomicU64 {
        let [a, b, ..] = key.id;
        &self.records[usize::from(u16::from_be_bytes([a, b])) % COUNTERS]
    }

    fn of_tag(&self, tag: [u8; 8]) -> &AtomicU64 {
        let [a, b, ..] = tag;
        &self.tags[usize::from(u16::from_be_bytes([a, b])) % COUNTERS]
    }
}

impl Default for Changes {
    fn default() -> Self {
        let counters = || (0..COUNTERS).map(|_| AtomicU64::new(0)).collect();
        Self { records: counters(), tags: counters(), all: AtomicU64::new(0) }
    }
}

impl std::fmt::Debug for Changes {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Changes").finish_non_exhaustive()
    }
}

/// A way over which an engine hears of changes: one connection, or one poller.
#[derive(Debug, Default)]
pub struct Link {
    /// Nanoseconds on the clock of [`since_start`]; 0 while it has not proved itself, or is lost.
    proved: AtomicU64,
    lost: AtomicBool,
}

impl Link {
    /// Notes that every change that was made before `sent` has been counted: the other side has
    /// answered, in order, a question that was sent then.
    pub fn prove(&self, sent: Instant) {
        self.proved.fetch_max(since_start(sent), Ordering::SeqCst);
    }

    /// Notes that nothing more will be heard over it, ever.
    pub fn lose(&self) {
        self.lost.store(true, Ordering::SeqCst);
    }

    /// Whether it may be relied on at `now`.
    pub fn is_proved(&self, lease: Duration, now: Instant) -> bool {
        !self.lost.load(Ordering::SeqCst)
            && self.silence(now).is_some_and(|silence| silence <= lease)
    }

    /// How long ago it was proved last, even if it was lost since; `None` where it never was.
    pub fn silence(&self, now: Instant) -> Option<Duration> {
        let proved = self.proved.load(Ordering::SeqCst);
        (proved > 0).then(|| Duration::from_nanos(since_start(now).saturating_sub(proved)))
    }
}

/// Nanoseconds since a moment in this process' youth, never 0.
fn since_start(moment: Instant) -> u64 {
    static START: OnceLock<Instant> = OnceLock::new();
    // The first caller's moment may be a little earlier than this.
    let start = *START.get_or_init(|| Instant::now() - Duration::from_nanos(1));
    u64::try_from(moment.saturating_duration_since(start).as_nanos()).unwrap_or(u64::MAX).max(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: RecordKey = RecordKey { tag: [1; 8], id: [2; 16], has_subject: true };
    const ANONYMOUS: RecordKey = RecordKey { has_subject: false, ..KEY };
    const OTHER: RecordKey = RecordKey { tag: [3; 8], id: [4; 16], has_subject: true };

    #[test]
    fn a_mark_is_stale_after_a_change_of_its_record_its_epoch_or_everything() {
        let changes = Changes::default();
        type Change = fn(&Changes);
        for (what, change, current) in [
            ("record", (|changes| changes.record(KEY)) as Change, [false, false, true]),
            ("tag", |changes| changes.tag(KEY.tag), [false, true, true]),
            ("other record", |changes| changes.record(OTHER), [true, true, false]),
            ("all", |changes| changes.all(), [false, false, false]),
        ] {
            let keys = [KEY, ANONYMOUS, OTHER];
            let marks = keys.map(|key| changes.mark(key));
            assert!(keys.iter().zip(marks).all(|(key, mark)| changes.is_current(*key, mark)));
            change(&changes);
            for ((key, mark), current) in keys.iter().zip(marks).zip(current) {
                assert_eq!(changes.is_current(*key, mark), current, "{what}: {key:?}");
            }
        }
    }

    #[test]
    fn a_link_is_relied_on_from_its_proof_until_the_lease_is_over_or_it_is_lost() {
        let link = Link::default();
        let begin = Instant::now();
        let at = |millis| begin + Duration::from_millis(millis);
        let lease = Duration::from_secs(1);
        assert!(!link.is_proved(lease, begin), "never proved");
        link.prove(at(100));
        // A late answer to an earlier question proves nothing new, and takes nothing back.
        link.prove(at(50));
        for (millis, proved) in [(100, true), (1100, true), (1101, false)] {
            assert_eq!(link.is_proved(lease, at(millis)), proved, "at {millis}");
        }
        link.prove(at(1000));
        assert!(link.is_proved(lease, at(2000)));
        link.lose();
        link.prove(at(1900));
        assert!(!link.is_proved(lease, at(2000)), "lost for good");
        assert_eq!(link.silence(at(2000)), Some(Duration::from_millis(100)));
    }
}
