//! What is asked of the store, and counted.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::Shared;
use crate::clock::UnixMillis;
use crate::session::outcome::{
    Created, Durability, Epoch, Leased, Lookup, RecordKey, Removed, Replaced, Room,
};
use crate::session::record::Record;
use crate::session::subject::User;
use crate::store::records::users::{Others, UserSessions};
use crate::telemetry::labels::{StoreOp, StoreOutcome};

impl Shared {
    /// Looks a record up, in the cache first (ADR 17): where any write that follows fails if the
    /// record is another by then, and what was so a moment ago will do for the rest.
    pub async fn load(&self, key: RecordKey) -> Lookup<(u64, Arc<Record>)> {
        self.load_at(key, self.clock.now(), Instant::now()).await
    }

    /// The same, where the time was read just now: for the wall clock, and for what is measured.
    pub async fn load_at(
        &self,
        key: RecordKey,
        now: UnixMillis,
        begun: Instant,
    ) -> Lookup<(u64, Arc<Record>)> {
        if let Some(lookup) = self.records.cached(key, now, begun) {
            return lookup;
        }
        // In a box: every request has to make room for what is awaited here, and few miss.
        let lookup = Box::pin(self.records.load(key, now)).await;
        self.metrics.store_call(StoreOp::Load, (&lookup).into(), begun.elapsed());
        lookup
    }

    /// Looks the record of a ticket up, as [`load_at`](Self::load_at). A ticket that is newer than
    /// what was found proves that what this node keeps is old (PROTOCOL.md 15).
    pub async fn load_presented(
        &self,
        key: RecordKey,
        counter: u32,
        now: UnixMillis,
        begun: Instant,
    ) -> Lookup<(u64, Arc<Record>)> {
        let lookup = self.load_at(key, now, begun).await;
        match &lookup {
            Lookup::Found((_, record)) if counter > record.counter => {
                Box::pin(self.load_anew(key)).await
            }
            _ => lookup,
        }
    }

    /// Looks a record up in the store: what others wrote a moment ago, this node may not have heard
    /// of yet.
    pub async fn load_anew(&self, key: RecordKey) -> Lookup<(u64, Arc<Record>)> {
        let begun = Instant::now();
        let lookup = self.records.load_anew(key, self.clock.now()).await;
        self.metrics.store_call(StoreOp::Load, (&lookup).into(), begun.elapsed());
        lookup
    }

    /// Looks a record up in the store: after a write that failed (rule 25), and for what a node
    /// does about a session by itself.
    pub async fn reload(&self, key: RecordKey) -> Lookup<(u64, Arc<Record>)> {
        let begun = Instant::now();
        let lookup = self.records.reload(key, self.clock.now()).await;
        self.metrics.store_call(StoreOp::Load, (&lookup).into(), begun.elapsed());
        lookup
    }

    /// Creates a record.
    pub async fn create(&self, key: RecordKey, record: &Record) -> Created {
        let begun = Instant::now();
        let created = self.records.create(key, record, self.clock.now()).await;
        self.metrics.store_call(StoreOp::Create, created.into(), begun.elapsed());
        created
    }

    /// Takes or extends the lease beside a record.
    pub async fn lease(&self, key: RecordKey, owner: [u8; 16], hold: Duration) -> Leased {
        let begun = Instant::now();
        let leased = self.records.lease(key, owner, hold).await;
        self.metrics.store_call(StoreOp::Lease, leased.into(), begun.elapsed());
        leased
    }

    /// The epoch of a subject's tag, made where there is none.
    pub async fn epoch(&self, tag: [u8; 8]) -> Lookup<Epoch> {
        let begun = Instant::now();
        let epoch = self.records.epoch(tag, self.clock.now()).await;
        self.metrics.store_call(StoreOp::Epoch, (&epoch).into(), begun.elapsed());
        epoch
    }

    /// Ends all sessions of a user, and those that have the tag of this record of hers.
    pub async fn revoke_user(&self, user: User<'_>, beside: Option<RecordKey>) -> Removed {
        let begun = Instant::now();
        let revoked = self.records.revoke_user(user, beside, self.clock.now()).await;
        self.metrics.store_call(StoreOp::Revoke, revoked.into(), begun.elapsed());
        revoked
    }

    /// The live records of a user.
    pub async fn list(&self, user: User<'_>) -> Lookup<UserSessions> {
        let begun = Instant::now();
        let listed = self.records.list_user(user, self.clock.now()).await;
        self.metrics.store_call(StoreOp::List, (&listed).into(), begun.elapsed());
        listed
    }

    /// The sessions of a user that are beyond a limit, a bounded number at a time.
    pub async fn beyond(&self, user: User<'_>, room: Room) -> Lookup<Vec<RecordKey>> {
        let begun = Instant::now();
        let beyond = self.records.beyond(user, room, self.clock.now()).await;
        self.metrics.store_call(StoreOp::Count, (&beyond).into(), begun.elapsed());
        beyond
    }

    /// Ends all sessions of a user but one.
    pub async fn end_others(&self, user: User<'_>, key: RecordKey) -> Others {
        let begun = Instant::now();
        let others = self.records.end_others(user, key, self.clock.now()).await;
        let outcome = match others {
            Others::Ended(_) => StoreOutcome::Ok,
            Others::NotLive => StoreOutcome::Absent,
            Others::Unavailable => StoreOutcome::Unavailable,
        };
        self.metrics.store_call(StoreOp::Revoke, outcome, begun.elapsed());
        others
    }

    /// Ends one session.
    pub async fn remove(&self, key: RecordKey) -> Removed {
        let begun = Instant::now();
        let removed = self.records.revoke_one(key, self.clock.now()).await;
        self.metrics.store_call(StoreOp::Remove, removed.into(), begun.elapsed());
        removed
    }

    /// Replaces a record if it still has this version.
    pub async fn replace(
        &self,
        key: RecordKey,
        version: u64,
        record: &Record,
        durability: Durability,
    ) -> Replaced {
        let begun = Instant::now();
        let now = self.clock.now();
        let replaced = self.records.replace(key, version, record, durability, now).await;
        self.metrics.store_call(StoreOp::Replace, replaced.into(), begun.elapsed());
        replaced
    }
}
