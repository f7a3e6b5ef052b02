//! Moves idle deadlines in the background: no request waits for that, and each that finds one due
//! tries, so that nothing is lost where one fails.

use std::collections::HashSet;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::proxy::shared::Shared;
use crate::session::exchange::Held;
use crate::session::outcome::{Durability, RecordKey};
use crate::session::record::Record;

/// Writes under way at a time, in the whole process. Beyond, the next request tries.
const AT_ONCE: usize = 512;

/// Writes under way.
#[derive(Debug)]
pub struct Touches {
    /// Random in each process: nodes that serve the same sessions do not write in step.
    pub node: u16,
    under_way: Mutex<HashSet<RecordKey>>,
}

/// A write under way, until it is dropped.
#[derive(Debug)]
struct Place {
    touches: Arc<Touches>,
    key: RecordKey,
}

impl Touches {
    /// For a node with this number.
    pub fn new(node: u16) -> Self {
        Self { node, under_way: Mutex::default() }
    }

    /// `None` where there is one of this record already, or too many of others.
    fn begin(self: &Arc<Self>, key: RecordKey) -> Option<Place> {
        let mut under_way = self.lock();
        if under_way.len() >= AT_ONCE || !under_way.insert(key) {
            return None;
        }
        drop(under_way);
        Some(Place { touches: self.clone(), key })
    }

    /// Each change is whole, so a panic elsewhere did no harm.
    fn lock(&self) -> MutexGuard<'_, HashSet<RecordKey>> {
        self.under_way.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.touches.lock().remove(&self.key);
    }
}

/// Writes `record` in place of what is held, some time soon. What else is written meanwhile wins: an
/// answer that finds another version reads again and keeps the later deadline.
pub fn soon(shared: &Arc<Shared>, held: &Held, record: Box<Record>) {
    let Some(place) = shared.touches.begin(held.key) else { return };
    let (shared, version) = (shared.clone(), held.version);
    tokio::spawn(async move {
        shared.replace(place.key, version, &record, Durability::Master).await;
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(n: usize) -> RecordKey {
        let mut id = [0; 16];
        id[..8].copy_from_slice(&n.to_be_bytes());
        RecordKey { tag: [1; 8], id, has_subject: false }
    }

    #[test]
    fn there_is_one_for_a_record_and_so_many_in_all() {
        let touches = Arc::new(Touches::new(0));
        let first = touches.begin(key(0));
        assert!(first.is_some() && touches.begin(key(0)).is_none(), "one at a time");
        let others: Vec<_> = (1..AT_ONCE).map(|n| touches.begin(key(n))).collect();
        assert!(others.iter().all(Option::is_some));
        assert!(touches.begin(key(AT_ONCE)).is_none(), "so many in all");
        drop(first);
        assert!(touches.begin(key(AT_ONCE)).is_some(), "it is over");
        drop(others);
        assert!(touches.lock().is_empty());
    }
}
