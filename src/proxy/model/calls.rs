//! The way from the nodes to the store: every call waits here until the schedule lets it go, and
//! may be lost on its way there or on its way back.

use std::fmt;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use async_trait::async_trait;
use tokio::sync::oneshot;

use super::engine::Engine;
use super::schedule::Fault;
use crate::session::outcome::{
    Created, Durability, Epoch, Leased, Lookup, RecordKey, Removed, Replaced,
};
use crate::store::{SessionStore, SharedStore, Stored};

/// A place in the order of all that happens in a case.
pub type Turn = u64;

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
    pub turn: Turn,
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
}

impl Calls {
    /// The next turn.
    pub fn turn(&self) -> Turn {
        self.turns.fetch_add(1, Ordering::Relaxed) + 1
    }

    /// Says whose calls come next.
    pub fn on_behalf_of(&self, exchange: Option<usize>) {
        self.current.store(exchange.map_or(0, |id| id as u64 + 1), Ordering::Relaxed);
    }

    /// The calls, oldest first.
    pub fn waiting(&self) -> MutexGuard<'_, Vec<Call>> {
        self.waiting.lock().expect("no panic while it is held")
    }
}

/// A node's end of the way. Everything of a node that crashed waits for ever.
pub struct Line {
    pub calls: Arc<Calls>,
    pub node: usize,
    pub is_down: Arc<AtomicBool>,
}

impl Line {
    async fn call<T, Fut>(
        &self,
        what: What,
        key: RecordKey,
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
        let carry_out = move |engine: &Engine, fault| {
            let result = (fault != Fault::Before).then(|| engine.run(work(engine.store.clone())));
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
            Ok(answer) => answer.unwrap_or(unavailable),
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
        self.call(What::Load, key, Lookup::Unavailable, work).await
    }

    async fn create(&self, key: RecordKey, sealed: &[u8], keep: Duration) -> Created {
        let sealed = sealed.to_vec();
        let work = move |store: SharedStore| async move { store.create(key, &sealed, keep).await };
        self.call(What::Create, key, Created::Unavailable, work).await
    }

    async fn replace(
        &self,
        key: RecordKey,
        expected: u64,
        epoch: Option<Epoch>,
        sealed: &[u8],
        keep: Duration,
        durability: Durability,
    ) -> Replaced {
        let sealed = sealed.to_vec();
        let work = move |store: SharedStore| async move {
            store.replace(key, expected, epoch, &sealed, keep, durability).await
        };
        self.call(What::Replace, key, Replaced::Unavailable, work).await
    }

    async fn remove(&self, key: RecordKey) -> Removed {
        let work = move |store: SharedStore| async move { store.remove(key).await };
        self.call(What::Remove, key, Removed::Unavailable, work).await
    }

    async fn epoch(&self, tag: [u8; 8], proposal: Epoch, keep: Duration) -> Lookup<Epoch> {
        let work = move |store: SharedStore| async move { store.epoch(tag, proposal, keep).await };
        self.call(What::Beside, beside(tag), Lookup::Unavailable, work).await
    }

    async fn revoke(
        &self,
        tag: [u8; 8],
        replacement: Epoch,
        keep: Duration,
    ) -> Lookup<Option<Epoch>> {
        let work =
            move |store: SharedStore| async move { store.revoke(tag, replacement, keep).await };
        self.call(What::Beside, beside(tag), Lookup::Unavailable, work).await
    }

    async fn list(&self, tag: [u8; 8]) -> Lookup<Vec<[u8; 16]>> {
        let work = move |store: SharedStore| async move { store.list(tag).await };
        self.call(What::Beside, beside(tag), Lookup::Unavailable, work).await
    }

    async fn era(&self) -> Lookup<u32> {
        let work = |store: SharedStore| async move { store.era().await };
        self.call(What::Beside, beside([0; 8]), Lookup::Unavailable, work).await
    }

    async fn next_era(&self, known: u32) -> Lookup<u32> {
        let work = move |store: SharedStore| async move { store.next_era(known).await };
        self.call(What::Beside, beside([0; 8]), Lookup::Unavailable, work).await
    }

    async fn raise_era(&self, least: u32) -> Lookup<u32> {
        let work = move |store: SharedStore| async move { store.raise_era(least).await };
        self.call(What::Beside, beside([0; 8]), Lookup::Unavailable, work).await
    }

    async fn lease(&self, key: RecordKey, owner: [u8; 16], hold: Duration) -> Leased {
        let work = move |store: SharedStore| async move { store.lease(key, owner, hold).await };
        self.call(What::Beside, key, Leased::Unavailable, work).await
    }

    async fn release(&self, key: RecordKey, owner: [u8; 16]) {
        let work = move |store: SharedStore| async move { store.release(key, owner).await };
        self.call(What::Beside, key, (), work).await;
    }

    async fn ping(&self) -> bool {
        true
    }
}

fn beside(tag: [u8; 8]) -> RecordKey {
    RecordKey { tag, id: [0; 16], has_subject: true }
}
