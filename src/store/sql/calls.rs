//! The calls of [`SessionStore`], each of which becomes an operation.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use tokio::sync::watch;
use tokio::time::timeout;

use super::engine::{Engine, Values};
use super::operations::{
    Beyond, CarryOn, Create, List, Load, MakeEpoch, MoveEra, ReadEra, Release, Remove, Replace,
    Revoke, TakeLease,
};
use super::{START_PATIENCE, SqlStore, Use, group, millis};
use crate::session::outcome::{
    Carried, Created, Durability, Epoch, Leased, Listing, Lookup, RecordKey, Removed, Replaced,
    Room,
};
use crate::store::changes::{Changes, Link};
use crate::store::health::Health;
use crate::store::{
    About, BEYOND_MAX, Carry, KEEP_MAX, Keep, LISTED_MAX, Listed, SessionStore, Stored, fits,
};

impl<E: Engine> SqlStore<E> {
    /// What statements about a key are given now.
    fn values(&self, key: RecordKey, keep: Duration) -> Values {
        let now = self.inner.clock.now();
        Values {
            tag: key.tag,
            id: key.id,
            now: millis(now),
            keep_until: millis(now.plus(keep.min(KEEP_MAX))),
            ..Values::default()
        }
    }

    fn tag_values(&self, tag: [u8; 8], keep: Duration) -> Values {
        self.values(RecordKey { tag, id: [0; 16], has_subject: true }, keep)
    }

    async fn move_era(&self, known: u32, step: i64) -> Lookup<u32> {
        let values = Values { era: i64::from(known), step, ..Values::default() };
        let usage = Use::Write(Durability::Replica);
        found(self.call(About::Era, usage, MoveEra(values)).await)
    }
}

#[async_trait]
impl<E: Engine> SessionStore for SqlStore<E> {
    async fn load(&self, key: RecordKey) -> Lookup<Stored> {
        let values = self.values(key, Duration::ZERO);
        let load = Load { values, with_epoch: key.has_subject };
        match self.call(About::Record(key), Use::Read, load).await {
            Some(Some(stored)) => Lookup::Found(stored),
            Some(None) => Lookup::NotFound,
            None => Lookup::Unavailable,
        }
    }

    async fn load_watched(&self, key: RecordKey) -> (Lookup<Stored>, Option<Arc<Link>>) {
        // Taken before: what is read afterwards is at least as new as what it was proved for.
        let link = self.inner.hearing.link();
        (self.load(key).await, link)
    }

    fn changes(&self) -> Option<&Changes> {
        Some(&self.inner.hearing.changes)
    }

    async fn create(&self, key: RecordKey, sealed: &[u8], keep: Duration) -> Created {
        if !fits(key, sealed) {
            return Created::Unavailable;
        }
        let listing = if key.has_subject { Listing::Listed } else { Listing::Out };
        let place = place(listing);
        let values = Values { sealed: sealed.to_vec(), place, ..self.values(key, keep) };
        let changes = &self.inner.hearing.changes;
        changes.record(key);
        let usage = Use::Write(Durability::Master);
        let created = self.call(About::Record(key), usage, Create(values)).await;
        changes.record(key);
        created.unwrap_or(Created::Unavailable)
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
        // Integers of databases are signed; no record gets that far.
        let expected = i64::try_from(expected).ok().filter(|expected| *expected < i64::MAX);
        let Some(version) = expected else { return Replaced::Conflict };
        if !fits(key, sealed) {
            return Replaced::Unavailable;
        }
        let values = Values {
            sealed: sealed.to_vec(),
            version,
            place: place(keep.listing),
            epoch: epoch.map_or([0; 16], |epoch| epoch.0),
            ..self.values(key, keep.time)
        };
        let replace = Replace { values, is_fenced: epoch.is_some() };
        let changes = &self.inner.hearing.changes;
        changes.record(key);
        let (about, usage) = (About::Record(key), Use::Write(durability));
        let replaced = if E::GROUPS && durability == Durability::Master {
            self.conclude(about, usage, group::replace(self.inner.clone(), replace)).await
        } else {
            self.call(about, usage, replace).await
        };
        changes.record(key);
        replaced.unwrap_or(Replaced::Unavailable)
    }

    async fn carry(&self, key: RecordKey, carry: Carry<'_>) -> Carried {
        let expected = i64::try_from(carry.expected).ok().filter(|expected| *expected < i64::MAX);
        let Some(version) = expected else { return Carried::Conflict };
        if !fits(key, carry.sealed) {
            return Carried::Unavailable;
        }
        let values = Values {
            sealed: carry.sealed.to_vec(),
            version,
            place: place(carry.keep.listing),
            epoch: carry.over.0,
            new_epoch: carry.epoch.0,
            epoch_until: self.values(key, carry.epoch_keep).keep_until,
            ..self.values(key, carry.keep.time)
        };
        let changes = &self.inner.hearing.changes;
        changes.record(key);
        changes.tag(key.tag);
        let usage = Use::Write(Durability::Replica);
        let carried = self.call(About::Record(key), usage, CarryOn(values)).await;
        changes.record(key);
        changes.tag(key.tag);
        carried.unwrap_or(Carried::Unavailable)
    }

    async fn remove(&self, key: RecordKey) -> Removed {
        let remove = Remove(self.values(key, Duration::ZERO));
        let changes = &self.inner.hearing.changes;
        changes.record(key);
        let usage = Use::Write(Durability::Replica);
        let removed = self.call(About::Record(key), usage, remove).await;
        changes.record(key);
        match removed {
            Some(()) => Removed::Removed,
            None => Removed::Unavailable,
        }
    }

    async fn epoch(&self, tag: [u8; 8], proposal: Epoch, keep: Duration) -> Lookup<Epoch> {
        let values = Values { epoch: proposal.0, ..self.tag_values(tag, keep) };
        let usage = Use::Write(Durability::Master);
        found(self.call(About::Tag(tag), usage, MakeEpoch(values)).await)
    }

    async fn revoke(
        &self,
        tag: [u8; 8],
        replacement: Epoch,
        keep: Duration,
    ) -> Lookup<Option<Epoch>> {
        let values = Values { epoch: replacement.0, ..self.tag_values(tag, keep) };
        let changes = &self.inner.hearing.changes;
        changes.tag(tag);
        let usage = Use::Write(Durability::Replica);
        let before = self.call(About::Tag(tag), usage, Revoke(values)).await;
        changes.tag(tag);
        found(before)
    }

    async fn list(&self, tag: [u8; 8]) -> Lookup<Listed> {
        let limit = i64::try_from(LISTED_MAX).unwrap_or(i64::MAX);
        let values = Values { limit, ..self.tag_values(tag, Duration::ZERO) };
        found(self.call(About::Tag(tag), Use::Read, List(values)).await)
    }

    async fn beyond(&self, tag: [u8; 8], room: Room) -> Lookup<Vec<[u8; 16]>> {
        let values = Values {
            // Nobody's identifier is zero: it is a hash.
            id: room.besides.map_or([0; 16], |besides| besides.id),
            limit: i64::try_from(BEYOND_MAX).unwrap_or(i64::MAX),
            offset: i64::try_from(room.sessions).unwrap_or(i64::MAX),
            ..self.tag_values(tag, Duration::ZERO)
        };
        let beyond = Beyond { values, ends: room.ends };
        found(self.call(About::Tag(tag), Use::Read, beyond).await)
    }

    async fn era(&self) -> Lookup<u32> {
        if E::IS_SERVER && self.health().current() != Health::Up {
            return Lookup::Unavailable;
        }
        let inner = self.inner.clone();
        // Read several times a second in the background: it is for the calls of requests to say
        // whether the store is up, since a file that cannot be written may well be read.
        let call = async move { inner.perform(Use::Read, &ReadEra).await };
        match self.attempt(Use::Read, call).await {
            Ok(era) => Lookup::Found(era),
            Err(error) => {
                tracing::debug!(error, "the era was not read");
                Lookup::Unavailable
            }
        }
    }

    async fn next_era(&self, known: u32) -> Lookup<u32> {
        self.move_era(known, 1).await
    }

    async fn raise_era(&self, least: u32) -> Lookup<u32> {
        self.move_era(least, 0).await
    }

    async fn lease(&self, key: RecordKey, owner: [u8; 16], hold: Duration) -> Leased {
        let values = Values { owner, ..self.values(key, hold) };
        let usage = Use::Write(Durability::Master);
        let leased = self.call(About::Record(key), usage, TakeLease(values)).await;
        leased.unwrap_or(Leased::Unavailable)
    }

    async fn release(&self, key: RecordKey, owner: [u8; 16]) {
        let values = Values { owner, ..self.values(key, Duration::ZERO) };
        let usage = Use::Write(Durability::Master);
        // Whether it was there makes no difference, and what failed is in the log.
        let _ = self.call(About::Record(key), usage, Release(values)).await;
    }

    async fn ping(&self) -> bool {
        let anything = RecordKey { tag: [0; 8], id: [0; 16], has_subject: false };
        !matches!(self.load(anything).await, Lookup::Unavailable)
    }

    async fn start(&self) {
        let mut health = self.inner.hearing.health.subscribe();
        let reached = health.wait_for(|health| *health != Health::Starting);
        // Not reached yet: the engine goes on trying.
        let _ = timeout(START_PATIENCE, reached).await;
    }

    fn health(&self) -> watch::Receiver<Health> {
        self.inner.hearing.health.subscribe()
    }
}

/// What a record's place in the list of its tag is written as.
fn place(listing: Listing) -> i64 {
    match listing {
        Listing::Out => -1,
        Listing::Listed => 0,
        Listing::Counts(since) => i64::try_from(since.0).unwrap_or(i64::MAX).max(1),
    }
}

fn found<T>(answer: Option<T>) -> Lookup<T> {
    match answer {
        Some(answer) => Lookup::Found(answer),
        None => Lookup::Unavailable,
    }
}
