//! What is read of a record, and what lies beside records in the server: epochs, indexes, leases,
//! the era, what nodes say of themselves.

use std::sync::Arc;
use std::time::Duration;

use redis::{Cmd, FromRedisValue, ScriptInvocation};

use super::calls::Missed;
use super::tracking::Writing;
use super::{RedisStore, keep_ms, layout};
use crate::clock::UnixMillis;
use crate::session::outcome::{
    Carried, Durability, Epoch, Leased, Lookup, RecordKey, Room, Surplus,
};
use crate::store::changes::Link;
use crate::store::{
    ANNOUNCED_MAX, ANNOUNCEMENT_BYTES_MAX, ANNOUNCEMENT_KEEP_MAX, About, Announcement, BEYOND_MAX,
    Carry, LISTED_MAX, Listed, Stored, fits, is_short,
};

impl RedisStore {
    /// A record that has no subject.
    pub(super) async fn load_alone(&self, key: RecordKey) -> (Lookup<Stored>, Option<Arc<Link>>) {
        let mut get = redis::cmd("GET");
        get.arg(self.namespace.key(key));
        let get = &get;
        let about = About::Record(key);
        let value = self.look_up(about, |mut connection| async move {
            get.query_async::<Option<Vec<u8>>>(&mut connection).await
        });
        match value.await {
            Some((value, link)) => (self.read_record(about, value), link),
            None => (Lookup::Unavailable, None),
        }
    }

    /// The record and its tag's epoch in one round trip: two GETs behind one another, since MGET
    /// would say of a value of another kind that there is none.
    pub(super) async fn load_with_epoch(
        &self,
        key: RecordKey,
    ) -> (Lookup<Stored>, Option<Arc<Link>>) {
        let (mut record, mut epoch) = (redis::cmd("GET"), redis::cmd("GET"));
        record.arg(self.namespace.key(key));
        epoch.arg(self.namespace.epoch(key.tag));
        let (record, epoch) = (&record, &epoch);
        let about = About::Record(key);
        let values = self.look_up_together(about, true, |connection| async move {
            let (mut first, mut second) = (connection.clone(), connection);
            // Biased: the epoch is read last, so that a revocation in between is seen.
            tokio::try_join!(
                biased;
                record.query_async::<Option<Vec<u8>>>(&mut first),
                epoch.query_async::<Option<Vec<u8>>>(&mut second),
            )
        });
        let ((value, epoch), link) = match values.await {
            Ok(read) => read,
            Err(Missed::Unavailable) => return (Lookup::Unavailable, None),
            Err(Missed::Scattered) => return self.load_scattered(about, record, epoch).await,
        };
        let read = match self.read_record(about, value) {
            Lookup::Found(stored) => self.with_epoch(about, stored, epoch),
            other => other,
        };
        (read, link)
    }

    /// The same one after the other, each wherever it is: a server that a slot is on its way to
    /// says of a key that has not arrived yet that there is none. The epoch is read last here too.
    async fn load_scattered(
        &self,
        about: About,
        record: &Cmd,
        epoch: &Cmd,
    ) -> (Lookup<Stored>, Option<Arc<Link>>) {
        let read = async |key: &Cmd| {
            let ask = |mut connection| async move {
                key.query_async::<Option<Vec<u8>>>(&mut connection).await
            };
            self.look_up::<_, _>(about, ask).await
        };
        let Some((value, _)) = read(record).await else { return (Lookup::Unavailable, None) };
        let stored = match self.read_record(about, value) {
            Lookup::Found(stored) => stored,
            other => return (other, None),
        };
        let Some((epoch, _)) = read(epoch).await else { return (Lookup::Unavailable, None) };
        // It came over two links, and is about to move: not worth keeping.
        (self.with_epoch(about, stored, epoch), None)
    }

    fn read_record(&self, about: About, value: Option<Vec<u8>>) -> Lookup<Stored> {
        let Some(value) = value else { return Lookup::NotFound };
        match layout::decode(value) {
            Some(stored) => Lookup::Found(stored),
            None => {
                self.log_refusal(about, &"the value is not a record of ours");
                Lookup::Unavailable
            }
        }
    }

    fn with_epoch(&self, about: About, stored: Stored, epoch: Option<Vec<u8>>) -> Lookup<Stored> {
        match epoch.map(<[u8; 16]>::try_from).transpose() {
            Ok(epoch) => Lookup::Found(Stored { epoch: epoch.map(Epoch), ..stored }),
            Err(_) => {
                self.log_refusal(about, &"the epoch beside the record is not one of ours");
                Lookup::Unavailable
            }
        }
    }

    pub(super) async fn read_or_make_epoch(
        &self,
        tag: [u8; 8],
        proposal: Epoch,
        keep: Duration,
    ) -> Lookup<Epoch> {
        let mut script = self.scripts.epoch.key(self.namespace.epoch(tag));
        script.arg(&proposal.0[..]).arg(keep_ms(keep));
        let about = About::Tag(tag);
        let _writing = Writing::epoch(&self.changes, tag);
        let epoch = self.call::<Vec<u8>>(about, &script, Durability::Master).await;
        match epoch.map(<[u8; 16]>::try_from) {
            Some(Ok(epoch)) => Lookup::Found(Epoch(epoch)),
            Some(Err(_)) => {
                self.log_refusal(about, &"the value is not an epoch of ours");
                Lookup::Unavailable
            }
            None => Lookup::Unavailable,
        }
    }

    pub(super) async fn replace_epoch(
        &self,
        tag: [u8; 8],
        replacement: Epoch,
        keep: Duration,
    ) -> Lookup<Option<Epoch>> {
        let mut script = self.scripts.revoke.key(self.namespace.epoch(tag));
        script.key(self.namespace.index(tag)).key(self.namespace.counted(tag));
        script.arg(&replacement.0[..]).arg(keep_ms(keep));
        let _writing = Writing::epoch(&self.changes, tag);
        match self.call::<Option<Vec<u8>>>(About::Tag(tag), &script, Durability::Replica).await {
            // What was there before may have been anything: none of ours ends with it.
            Some(before) => Lookup::Found(before.and_then(|text| text.try_into().ok()).map(Epoch)),
            None => Lookup::Unavailable,
        }
    }

    pub(super) async fn carry_alone(&self, key: RecordKey, carry: Carry<'_>) -> Carried {
        let Some(version) = carry.expected.checked_add(1) else { return Carried::Conflict };
        if !fits(key, carry.sealed) {
            return Carried::Unavailable;
        }
        let mut script = self.with_index(&self.scripts.carry, key);
        script
            .key(self.namespace.epoch(key.tag))
            .arg(layout::encode(version, carry.sealed))
            .arg(keep_ms(carry.keep.time))
            .arg(&key.id[..])
            .arg(layout::place(carry.keep.listing))
            .arg(&carry.expected.to_be_bytes()[..])
            .arg(&carry.over.0[..])
            .arg(&carry.epoch.0[..])
            .arg(keep_ms(carry.epoch_keep));
        let _writing =
            (Writing::record(&self.changes, key), Writing::epoch(&self.changes, key.tag));
        match self.call::<i64>(About::Record(key), &script, Durability::Replica).await {
            Some(layout::CONFLICT) => Carried::Conflict,
            Some(layout::GONE) => Carried::Gone,
            Some(others) => usize::try_from(others).map_or(Carried::Unavailable, Carried::Carried),
            None => Carried::Unavailable,
        }
    }

    pub(super) async fn list_of(&self, tag: [u8; 8]) -> Lookup<Listed> {
        let mut script = self.scripts.list.key(self.namespace.index(tag));
        script.arg(LISTED_MAX);
        match self.ask::<(usize, Vec<Vec<u8>>)>(About::Tag(tag), &script).await {
            Some((total, members)) => match self.read_members(tag, members) {
                Lookup::Found(ids) => Lookup::Found(Listed { total: total.max(ids.len()), ids }),
                Lookup::NotFound | Lookup::Revoked | Lookup::Unavailable => Lookup::Unavailable,
            },
            None => Lookup::Unavailable,
        }
    }

    pub(super) async fn beyond_room(&self, tag: [u8; 8], room: Room) -> Lookup<Vec<[u8; 16]>> {
        let mut script = self.scripts.beyond.key(self.namespace.index(tag));
        let end = match room.ends {
            Surplus::Oldest => "oldest",
            Surplus::Newest => "newest",
        };
        let counted = self.namespace.counted(tag);
        script.key(counted).arg(room.sessions).arg(BEYOND_MAX).arg(end);
        if let Some(besides) = room.besides.filter(|besides| besides.tag == tag) {
            script.arg(&besides.id[..]);
        }
        match self.ask(About::Tag(tag), &script).await {
            Some(members) => self.read_members(tag, members),
            None => Lookup::Unavailable,
        }
    }

    /// Not where what is read is tracked: nobody keeps it.
    async fn ask<T: FromRedisValue>(
        &self,
        about: About,
        script: &ScriptInvocation<'_>,
    ) -> Option<T> {
        let deadline = self.deadlines.lookup;
        self.run(about, deadline, deadline, |route| async move {
            let mut wire = route.over(&route.connections.write);
            Ok(script.invoke_async::<T>(&mut wire).await?)
        })
        .await
    }

    fn read_members(&self, tag: [u8; 8], members: Vec<Vec<u8>>) -> Lookup<Vec<[u8; 16]>> {
        match members.into_iter().map(<[u8; 16]>::try_from).collect() {
            Ok(ids) => Lookup::Found(ids),
            Err(_) => {
                self.log_refusal(About::Tag(tag), &"a member of the index is not one of ours");
                Lookup::Unavailable
            }
        }
    }

    pub(super) async fn read_era(&self) -> Lookup<u32> {
        let mut get = redis::cmd("GET");
        get.arg(self.namespace.era());
        let get = &get;
        let era = self.look_up(About::Era, |mut connection| async move {
            get.query_async::<Option<Vec<u8>>>(&mut connection).await
        });
        let text = match era.await {
            Some((Some(text), _)) => text,
            Some((None, _)) => return Lookup::Found(0),
            None => return Lookup::Unavailable,
        };
        match std::str::from_utf8(&text).ok().and_then(|text| text.parse().ok()) {
            Some(era) => Lookup::Found(era),
            None => {
                self.log_refusal(About::Era, &"the value is not an era of ours");
                Lookup::Unavailable
            }
        }
    }

    /// Moves the era on by `step` from the one in the server, or from `known` where that is later.
    pub(super) async fn move_era(&self, known: u32, step: u32) -> Lookup<u32> {
        let mut script = self.scripts.move_era.key(self.namespace.era());
        script.arg(known).arg(step).arg(u32::MAX);
        match self.call::<u32>(About::Era, &script, Durability::Replica).await {
            Some(era) => Lookup::Found(era),
            None => Lookup::Unavailable,
        }
    }

    pub(super) async fn take_lease(
        &self,
        key: RecordKey,
        owner: [u8; 16],
        hold: Duration,
    ) -> Leased {
        let mut script = self.scripts.lease.key(self.namespace.lease(key));
        script.arg(&owner[..]).arg(keep_ms(hold));
        match self.call::<i64>(About::Record(key), &script, Durability::Master).await {
            Some(layout::DONE) => Leased::Taken,
            Some(layout::OTHER) => Leased::Busy,
            Some(_) | None => Leased::Unavailable,
        }
    }

    pub(super) async fn give_lease_up(&self, key: RecordKey, owner: [u8; 16]) {
        let mut script = self.scripts.release.key(self.namespace.lease(key));
        script.arg(&owner[..]);
        // Whether it was there makes no difference, and what failed is in the log.
        let _ = self.call::<i64>(About::Record(key), &script, Durability::Master).await;
    }

    pub(super) async fn put_announcement(
        &self,
        announcement: &Announcement,
        keep: Duration,
    ) -> Lookup<UnixMillis> {
        if !is_short(announcement) {
            return Lookup::Unavailable;
        }
        let mut script = self.scripts.announce.key(self.namespace.nodes());
        let keep = keep.min(ANNOUNCEMENT_KEEP_MAX);
        script.arg(&announcement.node[..]).arg(&announcement.text[..]);
        script
            .arg(if keep.is_zero() { 0 } else { keep_ms(keep) })
            .arg(keep_ms(ANNOUNCEMENT_KEEP_MAX));
        match self.call::<u64>(About::Nodes, &script, Durability::Master).await {
            Some(now) => Lookup::Found(UnixMillis(now)),
            None => Lookup::Unavailable,
        }
    }

    pub(super) async fn read_announcements(&self) -> Lookup<Vec<Announcement>> {
        let mut script = self.scripts.announced.key(self.namespace.nodes());
        script
            .arg(ANNOUNCED_MAX)
            .arg(16 + ANNOUNCEMENT_BYTES_MAX)
            .arg(keep_ms(ANNOUNCEMENT_KEEP_MAX));
        let Some(members) = self.ask::<Vec<Vec<u8>>>(About::Nodes, &script).await else {
            return Lookup::Unavailable;
        };
        let announcements = members.iter().filter_map(|member| {
            let (node, text) = member.split_first_chunk()?;
            Some(Announcement { node: *node, text: text.to_vec() })
        });
        Lookup::Found(announcements.collect())
    }

    /// Runs a script that writes something whatever it finds.
    async fn call<T: FromRedisValue>(
        &self,
        about: About,
        script: &ScriptInvocation<'_>,
        durability: Durability,
    ) -> Option<T> {
        let attempt = self.attempt(durability);
        self.run(about, attempt, self.deadlines.write_overall, |route| async move {
            self.write_any(&route, script, durability).await
        })
        .await
    }
}
