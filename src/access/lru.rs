//! Entries by key, bounded by what they weigh; the one that was used longest ago goes first.

use std::collections::HashMap;
use std::sync::Arc;

/// Entries in the order of their use.
#[derive(Debug)]
pub struct Lru<V> {
    by_key: HashMap<Arc<[u8]>, usize>,
    nodes: Vec<Node<V>>,
    free: Vec<usize>,
    /// Used last, and used longest ago.
    newest: Option<usize>,
    oldest: Option<usize>,
    bytes: usize,
    bytes_max: usize,
}

#[derive(Debug)]
struct Node<V> {
    key: Arc<[u8]>,
    value: V,
    newer: Option<usize>,
    older: Option<usize>,
}

/// What an entry takes of a zone of nginx's: a node of its tree with the key, in a chunk of its slab.
fn weight(key: &[u8]) -> usize {
    const NODE: usize = 76;
    const CHUNK_MIN: usize = 128;
    const PAGE: usize = 4096;
    let bytes = NODE + key.len();
    match bytes {
        _ if bytes <= PAGE / 2 => bytes.next_power_of_two().max(CHUNK_MIN),
        _ => bytes.next_multiple_of(PAGE),
    }
}

impl<V> Lru<V> {
    pub fn new(bytes_max: usize) -> Self {
        Self {
            by_key: HashMap::new(),
            nodes: Vec::new(),
            free: Vec::new(),
            newest: None,
            oldest: None,
            bytes: 0,
            bytes_max,
        }
    }

    #[cfg(test)]
    pub fn len(&self) -> usize {
        self.by_key.len()
    }

    /// An entry, which counts as used.
    pub fn get(&mut self, key: &[u8]) -> Option<&mut V> {
        let index = *self.by_key.get(key)?;
        self.unlink(index);
        self.link(index);
        self.nodes.get_mut(index).map(|node| &mut node.value)
    }

    /// The entry that was used longest ago.
    pub fn oldest(&self) -> Option<&V> {
        self.nodes.get(self.oldest?).map(|node| &node.value)
    }

    /// Takes out the entry that was used longest ago.
    pub fn remove_oldest(&mut self) {
        if let Some(index) = self.oldest {
            self.remove_at(index);
        }
    }

    /// Takes an entry out.
    pub fn remove(&mut self, key: &[u8]) {
        if let Some(index) = self.by_key.get(key) {
            self.remove_at(*index);
        }
    }

    /// Whether there is room for an entry of this key.
    pub fn has_room(&self, key: &[u8]) -> bool {
        self.bytes + weight(key) <= self.bytes_max
    }

    /// Adds an entry that is not there yet.
    pub fn insert(&mut self, key: &[u8], value: V) {
        let key: Arc<[u8]> = key.into();
        self.bytes += weight(&key);
        let node = Node { key: key.clone(), value, newer: None, older: None };
        let index = match self.free.pop() {
            Some(index) => {
                self.nodes[index] = node;
                index
            }
            None => {
                self.nodes.push(node);
                self.nodes.len() - 1
            }
        };
        self.by_key.insert(key, index);
        self.link(index);
    }

    fn remove_at(&mut self, index: usize) {
        self.unlink(index);
        let key = std::mem::replace(&mut self.nodes[index].key, Arc::new([]));
        self.bytes = self.bytes.saturating_sub(weight(&key));
        self.by_key.remove(&key);
        self.free.push(index);
    }

    fn link(&mut self, index: usize) {
        let before = self.newest.replace(index);
        self.nodes[index].older = before;
        self.nodes[index].newer = None;
        match before {
            Some(before) => self.nodes[before].newer = Some(index),
            None => self.oldest = Some(index),
        }
    }

    fn unlink(&mut self, index: usize) {
        let Node { newer, older, .. } = self.nodes[index];
        match newer {
            Some(newer) => self.nodes[newer].older = older,
            None => self.newest = older,
        }
        match older {
            Some(older) => self.nodes[older].newer = newer,
            None => self.oldest = newer,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_oldest_goes_first() {
        let mut lru = Lru::new(3 * 128);
        for (key, value) in [(b"a", 1), (b"b", 2), (b"c", 3)] {
            assert!(lru.has_room(key));
            lru.insert(key, value);
        }
        assert!(!lru.has_room(b"d") && lru.len() == 3);
        assert_eq!(lru.get(b"a"), Some(&mut 1));
        assert_eq!(lru.oldest(), Some(&2));
        lru.remove_oldest();
        assert_eq!(lru.get(b"b"), None);
        assert_eq!(lru.oldest(), Some(&3));
        assert!(lru.has_room(b"d") && !lru.has_room(&[0; 100]));
        lru.insert(b"d", 4);
        lru.remove(b"c");
        lru.remove(b"never");
        assert_eq!((lru.oldest(), lru.len()), (Some(&1), 2));
        lru.remove(b"a");
        lru.remove(b"d");
        assert_eq!((lru.oldest(), lru.len(), lru.bytes), (None, 0, 0));
        lru.insert(b"e", 5);
        assert_eq!(lru.get(b"e"), Some(&mut 5));
    }

    /// "About 8 thousand 128-byte states" in a megabyte.
    #[test]
    fn entries_weigh_what_they_do_in_nginx() {
        for (length, expected) in [
            (0, 128),
            (4, 128),
            (52, 128),
            (53, 256),
            (180, 256),
            (1972, 2048),
            (1973, 4096),
            (8000, 8192),
        ] {
            assert_eq!(weight(&vec![0; length]), expected, "{length}");
        }
    }
}
