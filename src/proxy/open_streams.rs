//! Streams whose sessions end elsewhere: on another node, at a time, by revocation (PROTOCOL.md 26).
//!
//! What ends a session on this node cuts its streams at once (`gate.rs`). For everything else one
//! task in the process looks at the records of open streams, and cuts those whose session is over.
//!
//! It also moves the idle deadline of sessions whose streams are in use, as requests do: a look that
//! finds the write not done tries again.

use std::collections::HashMap;
use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use arc_swap::ArcSwap;
use tokio::task::JoinSet;
use tokio::time::{MissedTickBehavior, interval};

use crate::clock::UnixMillis;
use crate::proxy::cut::Cut;
use crate::proxy::shared::Shared;
use crate::proxy::touches;
use crate::session::exchange::Held;
use crate::session::outcome::{Lookup, RecordKey};
use crate::session::stream::{Traffic, is_over, kept_in_use};

/// Between two looks. With a look-up's deadline a stream outlives its session by less than a second.
const LOOK_EVERY: Duration = Duration::from_millis(400);
/// Look-ups under way at a time.
const LOOKUPS_MAX: usize = 64;

/// Open streams, by the record that they belong to.
#[derive(Default)]
pub struct OpenStreams {
    by_record: Mutex<HashMap<RecordKey, Streams>>,
}

/// Those of one record.
#[derive(Default)]
struct Streams {
    cuts: Vec<Arc<Cut>>,
    /// The idle time that their traffic keeps the session for; absent: it does not count.
    idle: Option<Duration>,
    last_traffic: Option<UnixMillis>,
}

impl Streams {
    /// Each of them is asked, also where another one has said yes.
    fn traffic(&mut self, now: UnixMillis) -> Option<Traffic> {
        if self.cuts.iter().filter(|cut| cut.take_traffic()).count() > 0 {
            self.last_traffic = Some(now);
        }
        Some(Traffic { at: self.last_traffic?, idle: self.idle? })
    }
}

impl OpenStreams {
    /// Watches over a stream until the returned value is dropped. With `idle`, its traffic counts as
    /// use of the session.
    #[must_use = "the stream is watched as long as this lives"]
    pub fn watch(
        self: &Arc<Self>,
        record: RecordKey,
        cut: &Arc<Cut>,
        idle: Option<Duration>,
    ) -> Watched {
        let mut by_record = self.lock();
        let streams = by_record.entry(record).or_default();
        streams.cuts.push(cut.clone());
        streams.idle = idle;
        drop(by_record);
        Watched { streams: self.clone(), record, cut: cut.clone() }
    }

    /// Records with open streams, and what went over these last.
    fn records(&self, now: UnixMillis) -> Vec<(RecordKey, Option<Traffic>)> {
        self.lock().iter_mut().map(|(key, streams)| (*key, streams.traffic(now))).collect()
    }

    /// Cuts the streams of a record and says how many there were.
    fn cut(&self, record: RecordKey) -> usize {
        let cuts = self.lock().get(&record).map(|streams| streams.cuts.clone()).unwrap_or_default();
        cuts.iter().filter(|cut| !cut.is_cut()).map(|cut| cut.cut()).count()
    }

    fn len(&self) -> usize {
        self.lock().values().map(|streams| streams.cuts.len()).sum()
    }

    /// Each change is whole, so a panic elsewhere did no harm.
    fn lock(&self) -> MutexGuard<'_, HashMap<RecordKey, Streams>> {
        self.by_record.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for OpenStreams {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "OpenStreams({})", self.len())
    }
}

/// A stream that is watched over.
#[derive(Debug)]
pub struct Watched {
    streams: Arc<OpenStreams>,
    record: RecordKey,
    cut: Arc<Cut>,
}

impl Drop for Watched {
    fn drop(&mut self) {
        let mut by_record = self.streams.lock();
        if let Some(streams) = by_record.get_mut(&self.record) {
            streams.cuts.retain(|cut| !Arc::ptr_eq(cut, &self.cut));
            if streams.cuts.is_empty() {
                by_record.remove(&self.record);
            }
        }
    }
}

/// Looks after open streams until the runtime ends.
pub async fn look_after(current: Arc<ArcSwap<Shared>>) {
    let mut ticks = interval(LOOK_EVERY);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        let shared = current.load_full();
        shared.metrics.streams_open(shared.streams.len());
        look(&shared).await;
    }
}

/// One look at each record. A store that does not answer ends it: the next one comes soon.
async fn look(shared: &Arc<Shared>) {
    let records = shared.streams.records(shared.clock.now());
    let lookers = records.len().min(LOOKUPS_MAX);
    let records = Arc::new(Mutex::new(records.into_iter()));
    let is_down = Arc::new(AtomicBool::new(false));
    let mut at_work = JoinSet::new();
    for _ in 0..lookers {
        let (shared, records, is_down) = (shared.clone(), records.clone(), is_down.clone());
        at_work.spawn(async move {
            let next = || records.lock().unwrap_or_else(PoisonError::into_inner).next();
            while let Some((record, traffic)) = next() {
                let lookup = shared.load(record).await;
                if lookup == Lookup::Unavailable {
                    is_down.store(true, Ordering::Relaxed);
                }
                if is_down.load(Ordering::Relaxed) {
                    return;
                }
                if is_over(&lookup, shared.clock.now()) {
                    let closed = shared.streams.cut(record);
                    shared.metrics.streams_closed(closed);
                    tracing::debug!(session = ?record, closed, "streams outlived their session");
                } else if let (Lookup::Found((version, found)), Some(traffic)) = (lookup, traffic)
                    && let Some(kept) = kept_in_use(&found, record, traffic, shared.touches.node)
                {
                    touches::soon(&shared, &Held { key: record, version, record: found }, kept);
                }
            }
        });
    }
    while at_work.join_next().await.is_some() {}
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: UnixMillis = UnixMillis(1_795_462_335_000);

    const KEYS: [RecordKey; 2] = [
        RecordKey { tag: [1; 8], id: [1; 16], has_subject: false },
        RecordKey { tag: [1; 8], id: [2; 16], has_subject: false },
    ];

    #[test]
    fn streams_are_cut_by_record_and_forgotten_with_their_exchange() {
        let streams = Arc::new(OpenStreams::default());
        let cuts: Vec<Arc<Cut>> = (0..3).map(|_| Arc::default()).collect();
        let watched = [(0, &cuts[0]), (0, &cuts[1]), (1, &cuts[2])]
            .map(|(key, cut)| streams.watch(KEYS[key], cut, None));
        assert_eq!(streams.records(NOW).len(), 2);
        assert_eq!((streams.cut(KEYS[0]), streams.cut(KEYS[0])), (2, 0), "each once");
        let is_cut: Vec<bool> = cuts.iter().map(|cut| cut.is_cut()).collect();
        assert_eq!(is_cut, [true, true, false]);
        let [first, second, third] = watched;
        drop(first);
        assert_eq!(streams.len(), 2);
        drop((second, third));
        assert_eq!(streams.records(NOW), []);
        assert_eq!(streams.cut(KEYS[1]), 0);
    }

    #[test]
    fn traffic_is_remembered_until_a_record_was_written() {
        let streams = Arc::new(OpenStreams::default());
        let cuts: Vec<Arc<Cut>> = (0..3).map(|_| Arc::default()).collect();
        let idle = Duration::from_secs(1800);
        let _watched = [(0, 0, Some(idle)), (0, 1, Some(idle)), (1, 2, None)]
            .map(|(key, cut, idle)| streams.watch(KEYS[key], &cuts[cut], idle));
        let seen = |now| {
            let mut records = streams.records(now);
            records.sort_by_key(|(key, _)| *key);
            let [(_, first), (_, second)] = records[..] else { panic!("{records:?}") };
            assert_eq!(second, None, "it does not count there");
            first
        };
        let later = NOW.plus(Duration::from_secs(60));
        assert_eq!(seen(NOW), None, "nothing went over them");
        cuts[1].note_traffic();
        cuts[2].note_traffic();
        assert_eq!(seen(NOW), Some(Traffic { at: NOW, idle }));
        assert_eq!(seen(later), Some(Traffic { at: NOW, idle }), "nothing since then");
        cuts[0].note_traffic();
        assert_eq!(seen(later), Some(Traffic { at: later, idle }));
    }
}
