//! The calls of [`SessionStore`], each of which becomes an operation.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use tokio::sync::watch;
use tokio::time::timeout;

use super::args::{self, EraStep, Key, Lease, NewEpoch, NewRecord, NewVersion};
use super::engine::Engine;
use super::operations::{
    Announce, Beyond, CarryOn, Create, List, Load, MakeEpoch, MoveEra, Operation, ReadAnnounced,
    ReadEra, Release, Remove, Replace, Revoke, TakeLease,
};
use super::{START_PATIENCE, SqlStore, Use, group, millis};
use crate::clock::UnixMillis;
use crate::session::outcome::{
    Carried, Created, Durability, Epoch, Leased, Listing, Lookup, RecordKey, Removed, Replaced,
    Room,
};
use crate::store::changes::{Changes, Link};
use crate::store::health::Health;
use crate::store::{
    ANNOUNCED_MAX, ANNOUNCEMENT_BYTES_MAX, ANNOUNCEMENT_KEEP_MAX, About, Announcement, BEYOND_MAX,
    Carry, KEEP_MAX, Keep, LISTED_MAX, Listed, SessionStore, Stored, fits, is_short,
};

impl<E: Engine> SqlStore<E> {
    fn now(&self) -> i64 {
        millis(self.inner.hearing.clock.now())
    }

    /// Carries out what is asked for again and again, by nobody's request. It is for the calls of
    /// requests to say whether the store is up, since a file that cannot be written may well be read.
    async fn in_background<O: Operation>(
        &self,
        about: About,
        usage: Use,
        operation: O,
    ) -> Lookup<O::Answer> {
        if E::IS_SERVER && self.health().current() != Health::Up {
            return Lookup::Unavailable;
        }
        let inner = self.inner.clone();
        let call = async move { inner.perform(usage, &operation).await };
        match self.attempt(usage, call).await {
            Ok(answer) => Lookup::Found(answer),
            Err(error) => {
                tracing::debug!(?about, error, "a call in the background failed");
                Lookup::Unavailable
            }
        }
    }

    async fn move_era(&self, known: u32, step: i64) -> Lookup<u32> {
        let step = EraStep { era: i64::from(known), step };
        let usage = Use::Write(Durability::Replica);
        found(self.call(About::Era, usage, MoveEra(step)).await)
    }
}

#[async_trait]
impl<E: Engine> SessionStore for SqlStore<E> {
    async fn load(&self, key: RecordKey) -> Lookup<Stored> {
        let load = Load { key: Key::new(key, self.now()), with_epoch: key.has_subject };
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
        let RecordKey { tag, id, .. } = key;
        let (sealed, keep, now) = (sealed.to_vec(), kept(keep), self.now());
        let listing = if key.has_subject { Listing::Listed } else { Listing::Out };
        let new = NewRecord { tag, id, sealed, keep, place: place(listing), now };
        let changes = &self.inner.hearing.changes;
        changes.record(key);
        let usage = Use::Write(Durability::Master);
        let created = self.call(About::Record(key), usage, Create(new)).await;
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
        let new = NewVersion {
            tag: key.tag,
            id: key.id,
            version,
            epoch: epoch.map_or([0; 16], |epoch| epoch.0),
            sealed: sealed.to_vec(),
            keep: kept(keep.time),
            place: place(keep.listing),
            now: self.now(),
        };
        let replace = Replace { new, is_fenced: epoch.is_some() };
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
        let RecordKey { tag, id, .. } = key;
        let (over, now) = (carry.over.0, self.now());
        let carry_on = CarryOn {
            epoch: NewEpoch { tag, epoch: carry.epoch.0, over, keep: kept(carry.epoch_keep), now },
            new: NewVersion {
                tag,
                id,
                version,
                epoch: over,
                sealed: carry.sealed.to_vec(),
                keep: kept(carry.keep.time),
                place: place(carry.keep.listing),
                now,
            },
        };
        let changes = &self.inner.hearing.changes;
        changes.record(key);
        changes.tag(key.tag);
        let usage = Use::Write(Durability::Replica);
        let carried = self.call(About::Record(key), usage, carry_on).await;
        changes.record(key);
        changes.tag(key.tag);
        carried.unwrap_or(Carried::Unavailable)
    }

    async fn remove(&self, key: RecordKey) -> Removed {
        let remove = Remove(Key::new(key, self.now()));
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
        let new =
            NewEpoch { tag, epoch: proposal.0, over: [0; 16], keep: kept(keep), now: self.now() };
        let usage = Use::Write(Durability::Master);
        found(self.call(About::Tag(tag), usage, MakeEpoch(new)).await)
    }

    async fn revoke(
        &self,
        tag: [u8; 8],
        replacement: Epoch,
        keep: Duration,
    ) -> Lookup<Option<Epoch>> {
        let new = NewEpoch {
            tag,
            epoch: replacement.0,
            over: [0; 16],
            keep: kept(keep),
            now: self.now(),
        };
        let changes = &self.inner.hearing.changes;
        changes.tag(tag);
        let usage = Use::Write(Durability::Replica);
        let before = self.call(About::Tag(tag), usage, Revoke(new)).await;
        changes.tag(tag);
        found(before)
    }

    async fn list(&self, tag: [u8; 8]) -> Lookup<Listed> {
        let limit = i64::try_from(LISTED_MAX).unwrap_or(i64::MAX);
        let listing = args::Listing { tag, limit, now: self.now() };
        found(self.call(About::Tag(tag), Use::Read, List(listing)).await)
    }

    async fn beyond(&self, tag: [u8; 8], room: Room) -> Lookup<Vec<[u8; 16]>> {
        let surplus = args::Surplus {
            tag,
            // Nobody's identifier is zero: it is a hash.
            id: room.besides.map_or([0; 16], |besides| besides.id),
            limit: i64::try_from(BEYOND_MAX).unwrap_or(i64::MAX),
            offset: i64::try_from(room.sessions).unwrap_or(i64::MAX),
            now: self.now(),
        };
        let beyond = Beyond { surplus, ends: room.ends };
        found(self.call(About::Tag(tag), Use::Read, beyond).await)
    }

    async fn era(&self) -> Lookup<u32> {
        self.in_background(About::Era, Use::Read, ReadEra).await
    }

    async fn next_era(&self, known: u32) -> Lookup<u32> {
        self.move_era(known, 1).await
    }

    async fn raise_era(&self, least: u32) -> Lookup<u32> {
        self.move_era(least, 0).await
    }

    async fn lease(&self, key: RecordKey, owner: [u8; 16], hold: Duration) -> Leased {
        let RecordKey { tag, id, .. } = key;
        let lease = Lease { tag, id, owner, hold: kept(hold), now: self.now() };
        let usage = Use::Write(Durability::Master);
        let leased = self.call(About::Record(key), usage, TakeLease(lease)).await;
        leased.unwrap_or(Leased::Unavailable)
    }

    async fn release(&self, key: RecordKey, owner: [u8; 16]) {
        let RecordKey { tag, id, .. } = key;
        let lease = Lease { tag, id, owner, hold: 0, now: self.now() };
        let usage = Use::Write(Durability::Master);
        // Whether it was there makes no difference, and what failed is in the log.
        let _ = self.call(About::Record(key), usage, Release(lease)).await;
    }

    async fn announce(&self, announcement: &Announcement, keep: Duration) -> Lookup<UnixMillis> {
        if !is_short(announcement) {
            return Lookup::Unavailable;
        }
        let announce = Announce(args::Announcement {
            node: announcement.node,
            text: announcement.text.clone(),
            keep: kept(keep.min(ANNOUNCEMENT_KEEP_MAX)),
            now: self.now(),
        });
        self.in_background(About::Nodes, Use::Write(Durability::Master), announce).await
    }

    async fn announced(&self) -> Lookup<Vec<Announcement>> {
        let announced = ReadAnnounced(args::Announced {
            limit: i64::try_from(ANNOUNCED_MAX).unwrap_or(i64::MAX),
            bytes: i64::try_from(ANNOUNCEMENT_BYTES_MAX).unwrap_or(i64::MAX),
            keep: kept(ANNOUNCEMENT_KEEP_MAX),
            now: self.now(),
        });
        self.in_background(About::Nodes, Use::Read, announced).await
    }

    fn clock_ahead_ms(&self) -> Option<i64> {
        self.inner.hearing.clock.ahead_ms()
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

/// How long a row is kept, in milliseconds.
fn kept(keep: Duration) -> i64 {
    i64::try_from(keep.min(KEEP_MAX).as_millis()).unwrap_or(i64::MAX)
}

fn found<T>(answer: Option<T>) -> Lookup<T> {
    match answer {
        Some(answer) => Lookup::Found(answer),
        None => Lookup::Unavailable,
    }
}
