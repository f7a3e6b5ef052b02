//! `limit_conn`: how many requests of one key may be under way at a time.

use std::sync::{Arc, Mutex, PoisonError};

use super::lru::Lru;

/// Keys that are not counted, since they are longer than this.
pub const KEY_BYTES_MAX: usize = 255;

/// The counters of a zone.
#[derive(Debug)]
pub struct Counters(Mutex<Lru<usize>>);

/// A request that is under way, until this is dropped.
#[derive(Debug)]
pub struct Counted {
    counters: Arc<Counters>,
    key: Box<[u8]>,
}

/// Why a request is not let in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refused {
    Beyond,
    /// There is no room for another key.
    Full,
}

impl Counters {
    pub fn new(bytes_max: usize) -> Arc<Self> {
        Arc::new(Self(Mutex::new(Lru::new(bytes_max))))
    }

    /// Counts a request, where no more than `max` are under way with it.
    ///
    /// # Errors
    /// There are.
    pub fn count(self: &Arc<Self>, key: &[u8], max: usize) -> Result<Counted, Refused> {
        let mut counters = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = counters.get(key) {
            if *count >= max {
                return Err(Refused::Beyond);
            }
            *count += 1;
        } else if counters.has_room(key) {
            counters.insert(key, 1);
        } else {
            // Nobody who is under way is forgotten.
            return Err(Refused::Full);
        }
        Ok(Counted { counters: self.clone(), key: key.into() })
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        let mut counters = self.counters.0.lock().unwrap_or_else(PoisonError::into_inner);
        match counters.get(&self.key) {
            Some(count) if *count > 1 => *count -= 1,
            _ => counters.remove(&self.key),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_count_as_long_as_they_are_under_way() {
        let counters = Counters::new(2 * 128);
        let first = counters.count(b"a", 2).expect("the first");
        let second = counters.count(b"a", 2).expect("the second");
        assert_eq!(counters.count(b"a", 2).err(), Some(Refused::Beyond));
        let other = counters.count(b"b", 2).expect("another key");
        assert_eq!(counters.count(b"c", 2).err(), Some(Refused::Full));
        drop(second);
        let third = counters.count(b"a", 2).expect("one has ended");
        drop((first, third));
        let _ = counters.count(b"c", 1).expect("a is forgotten");
        drop(other);
        assert_eq!(counters.0.lock().expect("whole").len(), 0);
    }
}
