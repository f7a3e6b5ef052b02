//! The sessions that a user has (PROTOCOL.md 22, 26, 27): their epoch, their list, and which are
//! beyond a limit.

use std::sync::Arc;

use tokio::task::JoinSet;

use super::{Records, keep, random_epoch};
use crate::clock::UnixMillis;
use crate::session::outcome::{Carried, Epoch, Lookup, RecordKey, Removed, Room, Surplus};
use crate::session::record::{Record, State};
use crate::session::subject::User;
use crate::session::view::is_live;
use crate::store::{Carry, Listed};

/// Look-ups that a list has under way at a time.
const LOOKUPS_AT_ONCE: usize = 16;

/// How often a session that is to go on alone is read again because others wrote it.
const TRIES: usize = 16;

/// A record with its key and version.
pub type Versioned = (RecordKey, u64, Arc<Record>);

/// The live sessions of a user.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct UserSessions {
    /// In no order.
    pub sessions: Vec<Versioned>,
    /// How many there are: more than that where the list was cut.
    pub total: usize,
}

impl UserSessions {
    /// Whether there are more than are told.
    pub fn is_cut(&self) -> bool {
        self.total > self.sessions.len()
    }
}

/// What became of all sessions of a user but one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Others {
    /// They are over: so many.
    Ended(usize),
    /// The one that was to go on is over itself; nothing was changed.
    NotLive,
    Unavailable,
}

impl Records {
    /// The epoch of a subject's tag, made where there is none; for a new record of the subject.
    pub async fn epoch(&self, tag: [u8; 8], now: UnixMillis) -> Lookup<Epoch> {
        let Some(proposal) = random_epoch() else { return Lookup::Unavailable };
        match self.store.epoch(tag, proposal, self.epochs_kept()).await {
            Lookup::Found(epoch) if self.ends.is_replaced(epoch, now) => {
                tracing::warn!("the store has lost a revocation of a subject; written again");
                match self.store.revoke(tag, proposal, self.epochs_kept()).await {
                    Lookup::Found(_) => Lookup::Found(proposal),
                    Lookup::NotFound | Lookup::Revoked | Lookup::Unavailable => Lookup::Unavailable,
                }
            }
            epoch => epoch,
        }
    }

    /// Ends all sessions of a user, on every node at once; those also that have the tag of this record
    /// of hers, should that be another: the configuration has had another name for the namespace.
    pub async fn revoke_user(
        &self,
        user: User<'_>,
        beside: Option<RecordKey>,
        now: UnixMillis,
    ) -> Removed {
        let Some(mut tags) = self.tags_of(user).await else { return Removed::Unavailable };
        tags.extend(beside.map(|key| key.tag).filter(|tag| !tags.contains(tag)));
        self.revoke_tags(&tags, now).await
    }

    /// Ends all sessions of a user but this one, on every node at once. In one step: whatever
    /// breaks off, either all of it was done or nothing. Those that have another tag follow.
    pub async fn end_others(&self, user: User<'_>, key: RecordKey, now: UnixMillis) -> Others {
        let ended = match self.carry(key, now).await {
            Others::Ended(ended) => ended,
            others => return others,
        };
        let Some(mut tags) = self.tags_of(user).await else { return Others::Unavailable };
        tags.retain(|tag| *tag != key.tag);
        match self.revoke_tags(&tags, now).await {
            Removed::Removed => Others::Ended(ended),
            Removed::Unavailable => Others::Unavailable,
        }
    }

    fn tag_of(&self, user: User<'_>) -> [u8; 8] {
        self.ring.current().user_tag(user.namespace, user.name)
    }

    /// The tags that a user's records may have: hers, and as long as there are any, that of before
    /// users had namespaces. `None` where the store does not answer.
    async fn tags_of(&self, user: User<'_>) -> Option<Vec<[u8; 8]>> {
        let bare = self.ring.current().bare_tag(user.name);
        let Lookup::Found(earlier) = self.store.list(bare).await else { return None };
        let mut tags = vec![self.tag_of(user)];
        tags.extend((earlier.total > 0).then_some(bare));
        Some(tags)
    }

    async fn revoke_tags(&self, tags: &[[u8; 8]], now: UnixMillis) -> Removed {
        for tag in tags {
            let Some(replacement) = random_epoch() else { return Removed::Unavailable };
            match self.store.revoke(*tag, replacement, self.epochs_kept()).await {
                Lookup::Found(Some(over)) => {
                    self.ends.replaced(over, now.plus(self.epochs_kept()), now);
                }
                Lookup::Found(None) => {}
                Lookup::NotFound | Lookup::Revoked | Lookup::Unavailable => {
                    return Removed::Unavailable;
                }
            }
        }
        Removed::Removed
    }

    async fn carry(&self, key: RecordKey, now: UnixMillis) -> Others {
        for _ in 0..TRIES {
            let (version, record) = match self.reload(key, now).await {
                Lookup::Found(found) => found,
                Lookup::NotFound | Lookup::Revoked => return Others::NotLive,
                Lookup::Unavailable => return Others::Unavailable,
            };
            // A login takes its place in the epoch that it has read.
            if matches!(record.state, State::Pending { .. }) {
                return Others::Unavailable;
            }
            let Some(over) = record.epoch.filter(|_| is_live(&record, now)) else {
                return Others::NotLive;
            };
            let Some(epoch) = random_epoch() else { return Others::Unavailable };
            let record = Record { epoch: Some(epoch), ..Record::clone(&record) };
            let Some(sealed) = self.seal(key, version + 1, &record) else {
                return Others::Unavailable;
            };
            let (keep, epoch_keep) = (keep(&record, now), self.epochs_kept());
            let carry = Carry { expected: version, over, epoch, sealed: &sealed, keep, epoch_keep };
            match self.store.carry(key, carry).await {
                Carried::Carried(others) => {
                    self.ends.replaced(over, now.plus(self.epochs_kept()), now);
                    return Others::Ended(others);
                }
                // Somebody else has written it, or asked for the same.
                Carried::Conflict | Carried::Gone => {}
                Carried::Unavailable => return Others::Unavailable,
            }
        }
        Others::Unavailable
    }

    /// The live records of a user, those whose login is on its way included; at most
    /// [`LISTED_MAX`](crate::store::LISTED_MAX) are looked at. A look-up that fails fails them all:
    /// half a list would pass for a whole one.
    pub async fn list_user(&self, user: User<'_>, now: UnixMillis) -> Lookup<UserSessions> {
        self.list_tag(self.tag_of(user), now).await
    }

    /// The live records of whoever had this name before users had namespaces.
    pub async fn list_bare(&self, name: &str, now: UnixMillis) -> Lookup<UserSessions> {
        self.list_tag(self.ring.current().bare_tag(name), now).await
    }

    async fn list_tag(&self, tag: [u8; 8], now: UnixMillis) -> Lookup<UserSessions> {
        let Lookup::Found(Listed { ids, total }) = self.store.list(tag).await else {
            return Lookup::Unavailable;
        };
        let is_cut = total > ids.len();
        let Some(read) = self.read_all(tag, ids, now).await else { return Lookup::Unavailable };
        let sessions: Vec<_> = read
            .into_iter()
            .filter_map(|(key, found)| Some((key, found?)))
            .map(|(key, (version, record))| (key, version, record))
            .collect();
        let total = if is_cut { total } else { sessions.len() };
        Lookup::Found(UserSessions { sessions, total })
    }

    /// The sessions of a user that are beyond a limit, a bounded number at a time.
    pub async fn beyond(
        &self,
        user: User<'_>,
        room: Room,
        now: UnixMillis,
    ) -> Lookup<Vec<RecordKey>> {
        let tag = self.tag_of(user);
        let beyond = match self.store.beyond(tag, room).await {
            Lookup::Found(ids) if room.ends == Surplus::Newest && !ids.is_empty() => {
                self.beyond_the_living(tag, room, ids, now).await
            }
            beyond => beyond,
        };
        match beyond {
            Lookup::Found(ids) => Lookup::Found(ids.iter().map(|id| of_tag(tag, *id)).collect()),
            Lookup::NotFound | Lookup::Revoked | Lookup::Unavailable => Lookup::Unavailable,
        }
    }

    /// Looks once more before somebody is refused: some that count may be over without having left
    /// the list, since they were idle, of an earlier era, or the store has lost them. They take
    /// nobody's room, but stay: it is by this node's clock, or keys, that they are over.
    async fn beyond_the_living(
        &self,
        tag: [u8; 8],
        room: Room,
        beyond: Vec<[u8; 16]>,
        now: UnixMillis,
    ) -> Lookup<Vec<[u8; 16]>> {
        let all = Room { sessions: 0, ends: Surplus::Oldest, ..room };
        let Lookup::Found(counted) = self.store.beyond(tag, all).await else {
            return Lookup::Unavailable;
        };
        let Some(read) = self.read_all(tag, counted, now).await else { return Lookup::Unavailable };
        match read.iter().filter(|(_, found)| found.is_none()).count() {
            0 => Lookup::Found(beyond),
            over => {
                let sessions = room.sessions.saturating_add(over);
                self.store.beyond(tag, Room { sessions, ..room }).await
            }
        }
    }

    /// Reads records of a tag, a few at a time: what is live of them. `None` where the store does
    /// not answer for one.
    async fn read_all(
        &self,
        tag: [u8; 8],
        ids: Vec<[u8; 16]>,
        now: UnixMillis,
    ) -> Option<Vec<(RecordKey, Option<(u64, Arc<Record>)>)>> {
        let mut ids = ids.into_iter();
        let mut look_ups = JoinSet::new();
        let mut read = Vec::new();
        loop {
            for id in ids.by_ref().take(LOOKUPS_AT_ONCE - look_ups.len()) {
                let (records, key) = (self.clone(), of_tag(tag, id));
                look_ups.spawn(async move { (key, records.reload(key, now).await) });
            }
            match look_ups.join_next().await {
                None => return Some(read),
                Some(Ok((key, Lookup::Found(found)))) => {
                    read.push((key, is_live(&found.1, now).then_some(found)));
                }
                Some(Ok((key, Lookup::NotFound | Lookup::Revoked))) => read.push((key, None)),
                Some(Ok((_, Lookup::Unavailable)) | Err(_)) => return None,
            }
        }
    }
}

fn of_tag(tag: [u8; 8], id: [u8; 16]) -> RecordKey {
    RecordKey { tag, id, has_subject: true }
}
