//! The way from the nodes to the store: every call waits here until the schedule lets it go, and
//! may be lost on its way there or on its way back.
//!
//! Nodes keep what they read. Who makes a change knows of it at once; every other node hears of it
//! when the schedule says so (rule 34), of all changes in their order, and before the lease is over.

mod line;

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};

pub use self::line::Line;
use super::engine::Engine;
use super::schedule::Fault;
use crate::session::outcome::RecordKey;
use crate::store::changes::Changes;

/// A place in the order of all that happens in a case.
pub type Tick = u64;

/// What a call does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum What {
    Load,
    Create,
    Replace,
    Remove,
    /// What stands beside records; its key is the tag's.
    Beside,
}

/// A call that waits.
pub struct Call {
    pub turn: Tick,
    pub node: usize,
    /// The exchange; none for what a node does by itself.
    pub by: Option<usize>,
    pub what: What,
    pub key: RecordKey,
    carry_out: CarryOut,
}

type CarryOut = Box<dyn FnOnce(&Engine, Fault) + Send>;

impl Call {
    /// Carries it out, as far as the fault lets it.
    pub fn go(self, engine: &Engine, fault: Fault) {
        (self.carry_out)(engine, fault);
    }
}

/// All calls that wait, and the order of everything.
#[derive(Default)]
pub struct Calls {
    waiting: Mutex<Vec<Call>>,
    turns: AtomicU64,
    /// The exchange that is being polled, plus one.
    current: AtomicU64,
    /// Whether it has looked into its node's cache since it was last asked.
    has_looked: AtomicBool,
    /// What each node counts changes in.
    nodes: Mutex<BTreeMap<usize, Arc<Changes>>>,
    /// What nodes have not heard of yet, in the order in which it happened.
    unheard: Mutex<Vec<Word>>,
}

/// How much else may happen before a node hears of a change.
const LATE: Tick = 60;

/// Word of a change, on its way to a node.
#[derive(Clone, Copy)]
pub struct Word {
    pub turn: Tick,
    pub node: usize,
    changed: Changed,
}

/// What a call changes.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Changed {
    Nothing,
    Record(RecordKey),
    Tag([u8; 8]),
}

impl Changed {
    fn count(self, changes: &Changes) {
        match self {
            Self::Nothing => {}
            Self::Record(key) => changes.record(key),
            Self::Tag(tag) => changes.tag(tag),
        }
    }
}

impl Calls {
    /// The next turn.
    pub fn turn(&self) -> Tick {
        self.turns.fetch_add(1, Ordering::Relaxed) + 1
    }

    /// Says whose calls come next.
    pub fn on_behalf_of(&self, exchange: Option<usize>) {
        self.current.store(exchange.map_or(0, |id| id as u64 + 1), Ordering::Relaxed);
    }

    /// Whether the exchange that was polled last looked into its node's cache.
    pub fn has_looked(&self) -> bool {
        self.has_looked.swap(false, Ordering::Relaxed)
    }

    /// The store's record was changed past all nodes.
    pub fn changed(&self, key: RecordKey) {
        self.tell(Changed::Record(key), None);
    }

    /// Tells everybody of a change but who made it.
    fn tell(&self, changed: Changed, by: Option<usize>) {
        if changed == Changed::Nothing {
            return;
        }
        let nodes = self.nodes.lock().expect("no panic while it is held");
        let mut unheard = self.unheard.lock().expect("no panic while it is held");
        for node in nodes.keys().copied().filter(|node| Some(*node) != by) {
            let turn = self.turn();
            let late = if turn.is_multiple_of(3) { 0 } else { LATE };
            unheard.push(Word { turn: turn + late, node, changed });
        }
    }

    /// The next word of each node that has not heard of everything.
    pub fn unheard(&self) -> Vec<Word> {
        let mut first = BTreeMap::new();
        for word in self.unheard.lock().expect("no panic while it is held").iter() {
            first.entry(word.node).or_insert(*word);
        }
        first.into_values().collect()
    }

    /// A node hears the next word.
    pub fn hear(&self, node: usize) {
        let mut unheard = self.unheard.lock().expect("no panic while it is held");
        let Some(at) = unheard.iter().position(|word| word.node == node) else { return };
        let word = unheard.remove(at);
        let nodes = self.nodes.lock().expect("no panic while it is held");
        nodes.get(&node).inspect(|changes| word.changed.count(changes));
    }

    /// Whether word of this record is on its way to a node.
    pub fn is_behind(&self, node: usize, key: RecordKey) -> bool {
        let unheard = self.unheard.lock().expect("no panic while it is held");
        unheard.iter().any(|word| word.node == node && word.changed == Changed::Record(key))
    }

    /// A node begins anew: it has kept nothing that it could hear of.
    fn joins(&self, node: usize, changes: &Arc<Changes>) {
        self.unheard.lock().expect("no panic while it is held").retain(|word| word.node != node);
        self.nodes.lock().expect("no panic while it is held").insert(node, changes.clone());
    }

    /// The calls, oldest first.
    pub fn waiting(&self) -> MutexGuard<'_, Vec<Call>> {
        self.waiting.lock().expect("no panic while it is held")
    }
}
