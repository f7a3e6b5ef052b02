//! A node's end of the way to the store.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use tokio::sync::oneshot;

use super::{Call, Calls, Changed, What};
use crate::clock::UnixMillis;
use crate::proxy::model::engine::Engine;
use crate::proxy::model::schedule::Fault;
use crate::session::outcome::{
    Carried, Created, Durability, Epoch, Leased, Lookup, RecordKey, Removed, Replaced, Room,
};
use crate::store::changes::{Changes, Link};
use crate::store::{Announcement, Carry, Keep, Listed, SessionStore, SharedStore, Stored};

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
