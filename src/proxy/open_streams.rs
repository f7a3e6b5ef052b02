//! Streams whose sessions end elsewhere: on another node, at a time, by revocation (PROTOCOL.md 26).
//!
//! What ends a session on this node cuts its streams at once (`gate.rs`). For everything else one
//! task in the process looks at the records of open streams, and cuts those whose session is over.

use std::collections::HashMap;
use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::task::JoinSet;
use tokio::time::{MissedTickBehavior, interval};

use crate::proxy::gate::Cut;
use crate::proxy::shared::Shared;
use crate::session::outcome::{Lookup, RecordKey};
use crate::session::stream::is_over;

/// Between two looks. With a look-up's deadline a stream outlives its session by less than a second.
const LOOK_EVERY: Duration = Duration::from_millis(400);
/// Look-ups under way at a time.
const LOOKUPS_MAX: usize = 64;

/// Open streams, by the record that they belong to.
#[derive(Default)]
pub struct OpenStreams {
    by_record: Mutex<HashMap<RecordKey, Vec<Arc<Cut>>>>,
}

impl OpenStreams {
    /// Watches over a stream until the returned value is dropped.
    #[must_use = "the stream is watched as long as this lives"]
    pub fn watch(self: &Arc<Self>, record: RecordKey, cut: &Arc<Cut>) -> Watched {
        self.lock().entry(record).or_default().push(cut.clone());
        Watched { streams: self.clone(), record, cut: cut.clone() }
    }

    /// Records with open streams.
    fn records(&self) -> Vec<RecordKey> {
        self.lock().keys().copied().collect()
    }

    /// Cuts the streams of a record and says how many there were.
    fn cut(&self, record: RecordKey) -> usize {
        let cuts = self.lock().get(&record).cloned().unwrap_or_default();
        cuts.iter().filter(|cut| !cut.is_cut()).map(|cut| cut.cut()).count()
    }

    fn len(&self) -> usize {
        self.lock().values().map(Vec::len).sum()
    }

    /// Each change is whole, so a panic elsewhere did no harm.
    fn lock(&self) -> MutexGuard<'_, HashMap<RecordKey, Vec<Arc<Cut>>>> {
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
        if let Some(cuts) = by_record.get_mut(&self.record) {
            cuts.retain(|cut| !Arc::ptr_eq(cut, &self.cut));
            if cuts.is_empty() {
                by_record.remove(&self.record);
            }
        }
    }
}

/// Looks after open streams until the runtime ends.
pub async fn look_after(shared: Arc<Shared>) {
    let mut ticks = interval(LOOK_EVERY);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        shared.metrics.streams_open(shared.streams.len());
        look(&shared).await;
    }
}

/// One look at each record. A store that does not answer ends it: the next one comes soon.
async fn look(shared: &Arc<Shared>) {
    let records = shared.streams.records();
    let lookers = records.len().min(LOOKUPS_MAX);
    let records = Arc::new(Mutex::new(records.into_iter()));
    let is_down = Arc::new(AtomicBool::new(false));
    let mut at_work = JoinSet::new();
    for _ in 0..lookers {
        let (shared, records, is_down) = (shared.clone(), records.clone(), is_down.clone());
        at_work.spawn(async move {
            let next = || records.lock().unwrap_or_else(PoisonError::into_inner).next();
            while let Some(record) = next() {
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
                }
            }
        });
    }
    while at_work.join_next().await.is_some() {}
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEYS: [RecordKey; 2] = [
        RecordKey { tag: [1; 8], id: [1; 16], has_subject: false },
        RecordKey { tag: [1; 8], id: [2; 16], has_subject: false },
    ];

    #[test]
    fn streams_are_cut_by_record_and_forgotten_with_their_exchange() {
        let streams = Arc::new(OpenStreams::default());
        let cuts: Vec<Arc<Cut>> = (0..3).map(|_| Arc::default()).collect();
        let watched = [(0, &cuts[0]), (0, &cuts[1]), (1, &cuts[2])]
            .map(|(key, cut)| streams.watch(KEYS[key], cut));
        assert_eq!(streams.records().len(), 2);
        assert_eq!((streams.cut(KEYS[0]), streams.cut(KEYS[0])), (2, 0), "each once");
        let is_cut: Vec<bool> = cuts.iter().map(|cut| cut.is_cut()).collect();
        assert_eq!(is_cut, [true, true, false]);
        let [first, second, third] = watched;
        drop(first);
        assert_eq!(streams.len(), 2);
        drop((second, third));
        assert_eq!(streams.records(), []);
        assert_eq!(streams.cut(KEYS[1]), 0);
    }
}
