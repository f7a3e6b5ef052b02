//! An engine for tests of what is kept of answers: the memory engine, with changes that are counted
//! and a link that the test proves and loses. Nodes share the memory; what one of them writes is
//! counted on itself, and on others when the test says that they hear of it.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use tokio::sync::Semaphore;

use super::changes::{Changes, Link};
use super::memory::MemoryStore;
use super::{Announcement, Carry, Keep, Listed, SessionStore, Stored};
use crate::clock::UnixMillis;
use crate::session::outcome::{
    Carried, Created, Durability, Epoch, Leased, Lookup, RecordKey, Removed, Replaced, Room,
};

/// One node's engine.
#[derive(Debug)]
pub(crate) struct Watched {
    pub(crate) memory: Arc<MemoryStore>,
    pub(crate) changes: Changes,
    link: Mutex<Option<Arc<Link>>>,
    gate: Mutex<Option<Arc<StoreGate>>>,
    is_down: AtomicBool,
    asked: AtomicU64,
}

/// Holds look-ups twice: before the store reads, and before the answer is there.
#[derive(Debug)]
pub(crate) struct StoreGate {
    read: Semaphore,
    answer: Semaphore,
}

impl StoreGate {
    pub(crate) fn closed() -> Arc<Self> {
        Arc::new(Self { read: Semaphore::new(0), answer: Semaphore::new(0) })
    }

    pub(crate) fn let_read(&self) {
        self.read.add_permits(1000);
    }

    pub(crate) fn let_answer(&self) {
        self.answer.add_permits(1000);
    }

    pub(crate) fn open(&self) {
        self.let_read();
        self.let_answer();
    }
}

impl Watched {
    /// An engine over `memory` whose link is proved now.
    pub(crate) fn over(memory: &Arc<MemoryStore>) -> Arc<Self> {
        let watched = Self {
            memory: memory.clone(),
            changes: Changes::default(),
            link: Mutex::default(),
            gate: Mutex::default(),
            is_down: AtomicBool::new(false),
            asked: AtomicU64::new(0),
        };
        watched.link(Some(Self::proved(Instant::now())));
        Arc::new(watched)
    }

    /// A link that was proved then.
    pub(crate) fn proved(at: Instant) -> Arc<Link> {
        let link = Arc::new(Link::default());
        link.prove(at);
        link
    }

    /// What later answers come over.
    pub(crate) fn link(&self, link: Option<Arc<Link>>) {
        *self.link.lock().expect("no holder panics") = link;
    }

    /// What later look-ups wait at.
    pub(crate) fn gate(&self, gate: Option<Arc<StoreGate>>) {
        *self.gate.lock().expect("no holder panics") = gate;
    }

    /// Whether look-ups are answered.
    pub(crate) fn goes_down(&self, is_down: bool) {
        self.is_down.store(is_down, Ordering::SeqCst);
    }

    /// How many look-ups there were.
    pub(crate) fn asked(&self) -> u64 {
        self.asked.load(Ordering::SeqCst)
    }
}

#[async_trait]
impl SessionStore for Watched {
    async fn load(&self, key: RecordKey) -> Lookup<Stored> {
        self.load_watched(key).await.0
    }

    async fn load_watched(&self, key: RecordKey) -> (Lookup<Stored>, Option<Arc<Link>>) {
        self.asked.fetch_add(1, Ordering::SeqCst);
        let gate = self.gate.lock().expect("no holder panics").clone();
        let link = self.link.lock().expect("no holder panics").clone();
        if let Some(gate) = &gate {
            gate.read.acquire().await.expect("never closed").forget();
        }
        let is_down = self.is_down.load(Ordering::SeqCst);
        let lookup = if is_down { Lookup::Unavailable } else { self.memory.load(key).await };
        if let Some(gate) = &gate {
            gate.answer.acquire().await.expect("never closed").forget();
        }
        (lookup, link)
    }

    fn changes(&self) -> Option<&Changes> {
        Some(&self.changes)
    }

    async fn create(&self, key: RecordKey, sealed: &[u8], keep: Duration) -> Created {
        self.changes.record(key);
        let created = self.memory.create(key, sealed, keep).await;
        self.changes.record(key);
        created
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
        self.changes.record(key);
        let replaced = self.memory.replace(key, expected, epoch, sealed, keep, durability).await;
        self.changes.record(key);
        replaced
    }

    async fn carry(&self, key: RecordKey, carry: Carry<'_>) -> Carried {
        self.changes.record(key);
        self.changes.tag(key.tag);
        let carried = self.memory.carry(key, carry).await;
        self.changes.record(key);
        self.changes.tag(key.tag);
        carried
    }

    async fn remove(&self, key: RecordKey) -> Removed {
        self.changes.record(key);
        let removed = self.memory.remove(key).await;
        self.changes.record(key);
        removed
    }

    async fn epoch(&self, tag: [u8; 8], proposal: Epoch, keep: Duration) -> Lookup<Epoch> {
        self.memory.epoch(tag, proposal, keep).await
    }

    async fn revoke(
        &self,
        tag: [u8; 8],
        replacement: Epoch,
        keep: Duration,
    ) -> Lookup<Option<Epoch>> {
        self.changes.tag(tag);
        let revoked = self.memory.revoke(tag, replacement, keep).await;
        self.changes.tag(tag);
        revoked
    }

    async fn list(&self, tag: [u8; 8]) -> Lookup<Listed> {
        self.memory.list(tag).await
    }

    async fn beyond(&self, tag: [u8; 8], room: Room) -> Lookup<Vec<[u8; 16]>> {
        self.memory.beyond(tag, room).await
    }

    async fn era(&self) -> Lookup<u32> {
        self.memory.era().await
    }

    async fn next_era(&self, known: u32) -> Lookup<u32> {
        self.memory.next_era(known).await
    }

    async fn raise_era(&self, least: u32) -> Lookup<u32> {
        self.memory.raise_era(least).await
    }

    async fn lease(&self, key: RecordKey, owner: [u8; 16], hold: Duration) -> Leased {
        self.memory.lease(key, owner, hold).await
    }

    async fn release(&self, key: RecordKey, owner: [u8; 16]) {
        self.memory.release(key, owner).await;
    }

    async fn announce(&self, announcement: &Announcement, keep: Duration) -> Lookup<UnixMillis> {
        if self.is_down.load(Ordering::SeqCst) {
            return Lookup::Unavailable;
        }
        self.memory.announce(announcement, keep).await
    }

    async fn announced(&self) -> Lookup<Vec<Announcement>> {
        if self.is_down.load(Ordering::SeqCst) {
            return Lookup::Unavailable;
        }
        self.memory.announced().await
    }

    async fn ping(&self) -> bool {
        !self.is_down.load(Ordering::SeqCst)
    }
}
