//! The way from the nodes to the store: every call waits here until the schedule lets it go, and
//! may be lost on its way there or on its way back.
//!
//! Nodes keep what they read. Who makes a change knows of it at once; every other node hears of it
//! when the schedule says so (rule 34), of all changes in their order, and before the lease is over.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use tokio::sync::oneshot;

use super::engine::Engine;
use super::schedule::Fault;
use crate::clock::UnixMillis;
use crate::session::outcome::{
    Carried, Created, Durability, Epoch, Leased, Lookup, RecordKey, Removed, Replaced, Room,
};
use crate::store::changes::{Changes, Link};
use crate::store::{Announcement, Carry, Keep, Listed, SessionStore, SharedStore, Stored};

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

/// A node's end of the way. Everything of a node that crashed waits for ever.
pub struct Line {
    calls: Arc<Calls>,
    node: usize,
    is_down: Arc<AtomicBool>,
    changes: Arc<Changes>,
    link: Arc<Link>,
}

impl Line {
    pub fn new(calls: &Arc<Calls>, node: usize, is_down: &Arc<AtomicBool>) -> Self {
        let (changes, link) = (Arc::new(Changes::default()), Arc::new(Link::default()));
        link.prove(Instant::now());
        calls.joins(node, &changes);
        Self { calls: calls.clone(), node, is_down: is_down.clone(), changes, link }
    }

    async fn call<T, Fut>(
        &self,
        what: What,
        key: RecordKey,
        changed: Changed,
        unavailable: T,
        work: impl FnOnce(SharedStore) -> Fut + Send + 'static,
    ) -> T
    where
        T: Send + 'static,
        Fut: Future<Output = T> + Send + 'static,
    {
        if self.is_down.load(Ordering::Relaxed) {
            return std::future::pending().await;
        }
        let (tell, told) = oneshot::channel();
        changed.count(&self.changes);
        // It waits among the calls.
        let (calls, node) = (Arc::downgrade(&self.calls), self.node);
        let own = self.changes.clone();
        let carry_out = move |engine: &Engine, fault| {
            let result = (fault != Fault::Before).then(|| {
                let result = engine.run(work(engine.store.clone()));
                changed.count(&own);
                calls.upgrade().inspect(|calls| calls.tell(changed, Some(node)));
                result
            });
            let _ = tell.send(if fault == Fault::None { result } else { None });
        };
        let by = self.calls.current.load(Ordering::Relaxed).checked_sub(1);
        self.calls.waiting().push(Call {
            turn: self.calls.turn(),
            node: self.node,
            by: by.map(|id| usize::try_from(id).expect("few exchanges")),
            what,
            key,
            carry_out: Box::new(carry_out),
        });
        match told.await {
            Ok(answer) => {
                changed.count(&self.changes);
                answer.unwrap_or(unavailable)
            }
            // The node crashed.
            Err(_closed) => std::future::pending().await,
        }
    }
}

impl fmt::Debug for Line {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Line").field("node", &self.node).finish_non_exhaustive()
    }
}

#[async_trait]
impl SessionStore for Line {
    async fn load(&self, key: RecordKey) -> Lookup<Stored> {
        let work = move |store: SharedStore| async move { store.load(key).await };
        self.call(What::Load, key, Changed::Nothing, Lookup::Unavailable, work).await
    }

    async fn load_watched(&self, key: RecordKey) -> (Lookup<Stored>, Option<Arc<Link>>) {
        (self.load(key).await, Some(self.link.clone()))
    }

    fn changes(&self) -> Option<&Changes> {
        if self.calls.current.load(Ordering::Relaxed) > 0 {
            self.calls.has_looked.store(true, Ordering::Relaxed);
        }
        Some(&self.changes)
    }

    async fn create(&self, key: RecordKey, sealed: &[u8], keep: Duration) -> Created {
        let sealed = sealed.to_vec();
        let work = move |store: SharedStore| async move { store.create(key, &sealed, keep).await };
        self.call(What::Create, key, Changed::Record(key), Created::Unavailable, work).await
    }

    async fn replace(
        &self,
        key: RecordKey,
        expected: u64,
        epoch: Option<Epoch>,
        sealed: &[u8],
        keep: Keep,
        durability: Durability,
    ) -> Replaced {
        let sealed = sealed.to_vec();
        let work = move |store: SharedStore| async move {
            store.replace(key, expected, epoch, &sealed, keep, durability).await
        };
        self.call(What::Replace, key, Changed::Record(key), Replaced::Unavailable, work).await
    }

    async fn carry(&self, key: RecordKey, carry: Carry<'_>) -> Carried {
        let Carry { expected, over, epoch, keep, epoch_keep, sealed } = carry;
        let sealed = sealed.to_vec();
        let work = move |store: SharedStore| async move {
            let carry = Carry { expected, over, epoch, keep, epoch_keep, sealed: &sealed };
            store.carry(key, carry).await
        };
        self.call(What::Beside, key, Changed::Tag(key.tag), Carried::Unavailable, work).await
    }

    async fn remove(&self, key: RecordKey) -> Removed {
        let work = move |store: SharedStore| async move { store.remove(key).await };
        self.call(What::Remove, key, Changed::Record(key), Removed::Unavailable, work).await
    }

    async fn epoch(&self, tag: [u8; 8], proposal: Epoch, keep: Duration) -> Lookup<Epoch> {
        let work = move |store: SharedStore| async move { store.epoch(tag, proposal, keep).await };
        self.call(What::Beside, beside(tag), Changed::Tag(tag), Lookup::Unavailable, work).await
    }

    async fn revoke(
        &self,
        tag: [u8; 8],
        replacement: Epoch,
        keep: Duration,
    ) -> Lookup<Option<Epoch>> {
        let work =
            move |store: SharedStore| async move { store.revoke(tag, replacement, keep).await };
        self.call(What::Beside, beside(tag), Changed::Tag(tag), Lookup::Unavailable, work).await
    }

    async fn list(&self, tag: [u8; 8]) -> Lookup<Listed> {
        let work = move |store: SharedStore| async move { store.list(tag).await };
        self.call(What::Beside, beside(tag), Changed::Nothing, Lookup::Unavailable, work).await
    }

    async fn beyond(&self, tag: [u8; 8], room: Room) -> Lookup<Vec<[u8; 16]>> {
        let work = move |store: SharedStore| async move { store.beyond(tag, room).await };
        self.call(What::Beside, beside(tag), Changed::Nothing, Lookup::Unavailable, work).await
    }

    async fn era(&self) -> Lookup<u32> {
        let work = |store: SharedStore| async move { store.era().await };
        self.call(What::Beside, beside([0; 8]), Changed::Nothing, Lookup::Unavailable, work).await
    }

    async fn next_era(&self, known: u32) -> Lookup<u32> {
        let work = move |store: SharedStore| async move { store.next_era(known).await };
        self.call(What::Beside, beside([0; 8]), Changed::Nothing, Lookup::Unavailable, work).await
    }

    async fn raise_era(&self, least: u32) -> Lookup<u32> {
        let work = move |store: SharedStore| async move { store.raise_era(least).await };
        self.call(What::Beside, beside([0; 8]), Changed::Nothing, Lookup::Unavailable, work).await
    }

    async fn lease(&self, key: RecordKey, owner: [u8; 16], hold: Duration) -> Leased {
        let work = move |store: SharedStore| async move { store.lease(key, owner, hold).await };
        self.call(What::Beside, key, Changed::Nothing, Leased::Unavailable, work).await
    }

    async fn release(&self, key: RecordKey, owner: [u8; 16]) {
        let work = move |store: SharedStore| async move { store.release(key, owner).await };
        self.call(What::Beside, key, Changed::Nothing, (), work).await;
    }

    async fn announce(&self, announcement: &Announcement, keep: Duration) -> Lookup<UnixMillis> {
        let announcement = announcement.clone();
        let work =
            move |store: SharedStore| async move { store.announce(&announcement, keep).await };
        self.call(What::Beside, beside([0; 8]), Changed::Nothing, Lookup::Unavailable, work).await
    }

    async fn announced(&self) -> Lookup<Vec<Announcement>> {
        let work = |store: SharedStore| async move { store.announced().await };
        self.call(What::Beside, beside([0; 8]), Changed::Nothing, Lookup::Unavailable, work).await
    }

    async fn ping(&self) -> bool {
        true
    }
}

fn beside(tag: [u8; 8]) -> RecordKey {
    RecordKey { tag, id: [0; 16], has_subject: true }
}
