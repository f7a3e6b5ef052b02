//! How records are read: from what this node keeps, together with others who ask, or from the store
//! (ADR 17).

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::Records;
use super::belief::{Belief, Known};
use super::sealed::{self, Opened};
use crate::clock::UnixMillis;
use crate::session::outcome::{Lookup, RecordKey};
use crate::session::record::Record;
use crate::store::Stored;
use crate::store::cache::{Answer, Cache, Entry, Landed, Moment, Slot};
use crate::store::flights::{Followed, Seat};

/// How often a look-up waits for another one's before it goes its own way: whoever it waited for
/// was dropped each time.
const FOLLOWED_MAX: usize = 3;

/// When the store was asked for an answer that will do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Asked {
    /// Before this call, as far as nothing was heard to have changed.
    Before,
    /// Since it began.
    Now,
}

impl Records {
    /// Reads a record and its version. A record that does not open is not there: it was sealed
    /// with a retired key, or is not ours. One whose key this node has never heard of is
    /// unavailable: other nodes have it, and its user is to stay logged in (PROTOCOL.md 4).
    ///
    /// It may be one that was read before, as far as no change was heard of (ADR 17); what this
    /// node itself has written is always seen.
    pub async fn load(&self, key: RecordKey, now: UnixMillis) -> Lookup<(u64, Arc<Record>)> {
        self.load_at(key, now, Instant::now()).await
    }

    /// As [`load`](Self::load), where nobody has to be asked for that.
    /// `instant` is the same moment as `now`.
    pub fn cached(
        &self,
        key: RecordKey,
        now: UnixMillis,
        instant: Instant,
    ) -> Option<Lookup<(u64, Arc<Record>)>> {
        let (cache, moment) = self.moment(instant)?;
        let answer = cache.hit(key, moment)?;
        Some(self.judged(key, answer, now))
    }

    /// Whether a record is known to have this version still, without asking anybody.
    pub fn is_current(&self, key: RecordKey, version: u64) -> bool {
        let Some((cache, moment)) = self.moment(Instant::now()) else { return false };
        let kept = cache.good(key, moment).map(|landed| landed.answer);
        matches!(kept, Some(Lookup::Found((kept, _))) if kept == version)
    }

    /// As [`load`](Self::load), but never what was read before this call. Many may want that of one
    /// record at the same time: they ask together.
    pub async fn load_anew(&self, key: RecordKey, now: UnixMillis) -> Lookup<(u64, Arc<Record>)> {
        self.ask(key, now, Instant::now(), Asked::Now).await
    }

    /// As [`load_anew`](Self::load_anew), and waits for nobody who asks already.
    pub async fn reload(&self, key: RecordKey, now: UnixMillis) -> Lookup<(u64, Arc<Record>)> {
        if self.known_era().await.is_none() {
            return Lookup::Unavailable;
        }
        let landed = self.look_up(key, now, Instant::now()).await;
        self.keep(key, &landed);
        landed.answer
    }

    /// What was read of a record and not heard to have changed, though the store may not answer any
    /// more: at most `max` ago it still said of every change. To be used only where an outage of the
    /// store is to be bridged. Absences are not told.
    pub fn load_stale(
        &self,
        key: RecordKey,
        now: UnixMillis,
        max: Duration,
    ) -> Option<(u64, Arc<Record>)> {
        let (cache, moment) = self.moment(Instant::now())?;
        let found = cache.stale(key, max, moment)?;
        match self.judged(key, Lookup::Found(found), now) {
            Lookup::Found(found) => Some(found),
            Lookup::NotFound | Lookup::Revoked | Lookup::Unavailable => None,
        }
    }

    /// `instant` is the beginning of the look-up.
    pub(in crate::store) async fn load_at(
        &self,
        key: RecordKey,
        now: UnixMillis,
        instant: Instant,
    ) -> Answer {
        if self.known_era().await.is_none() {
            return Lookup::Unavailable;
        }
        match self.cached(key, now, instant) {
            Some(answer) => answer,
            None => self.ask(key, now, instant, Asked::Before).await,
        }
    }

    /// Asks the store, together with others who ask for the same record.
    async fn ask(&self, key: RecordKey, now: UnixMillis, instant: Instant, by: Asked) -> Answer {
        if self.known_era().await.is_none() {
            return Lookup::Unavailable;
        }
        let Some(cache) = &self.cache else {
            return self.look_up(key, now, instant).await.answer;
        };
        cache.missed(key);
        for round in 0..FOLLOWED_MAX {
            match cache.flights.board(Slot::from(key)) {
                Seat::Lead(lead) => {
                    // Another one's answer may have come between the miss and this.
                    let known = self.moment(instant).filter(|_| by == Asked::Before);
                    let known = known.and_then(|(_, at)| cache.good(key, at));
                    let landed = match known {
                        Some(landed) => landed,
                        None => {
                            let landed = self.look_up(key, now, instant).await;
                            self.keep(key, &landed);
                            landed
                        }
                    };
                    let answer = self.judged(key, landed.answer.clone(), now);
                    lead.land(landed);
                    return answer;
                }
                Seat::Follow(follow) => match follow.landed().await {
                    // The first that is followed began before this look-up did, so its answer is
                    // what a hit would be; any later one began after it.
                    Followed::Landed(landed)
                        if round > 0
                            || matches!(landed.answer, Lookup::Unavailable)
                            || by == Asked::Before
                                && self.is_good(key, &landed, instant.max(Instant::now())) =>
                    {
                        return self.judged(key, landed.answer, now);
                    }
                    Followed::Landed(_) | Followed::Lost => {}
                    Followed::Stuck => break,
                },
            }
        }
        self.look_up(key, now, instant).await.answer
    }

    /// Asks the store.
    async fn look_up(&self, key: RecordKey, now: UnixMillis, instant: Instant) -> Landed {
        // All of this before the question is sent: what changes while it is under way, changes it.
        let moment = self.moment(instant).map(|(_, moment)| moment);
        let mark = moment.map(|moment| moment.changes.mark(key));
        let (lookup, link) = match moment {
            Some(_) => self.store.load_watched(key).await,
            None => (self.store.load(key).await, None),
        };
        let (answer, may_be_kept) = match lookup {
            Lookup::Found(stored) => match self.opened(key, &stored, now).await {
                Ok(record) => (self.believed(key, &stored, record, now).await, true),
                Err(answer) => (answer, false),
            },
            Lookup::NotFound => (Lookup::NotFound, true),
            Lookup::Revoked => (Lookup::Revoked, true),
            Lookup::Unavailable => (Lookup::Unavailable, true),
        };
        let entry = match (moment, mark, link) {
            (Some(moment), Some(mark), Some(link)) if may_be_kept => {
                Entry::new(answer.clone(), mark, link, moment).map(Arc::new)
            }
            _ => None,
        };
        Landed { answer, entry }
    }

    /// Opens a record, after reading the ring again where its key is missing.
    ///
    /// # Errors
    /// What is to be said of a record that does not open.
    async fn opened(
        &self,
        key: RecordKey,
        stored: &Stored,
        now: UnixMillis,
    ) -> Result<Arc<Record>, Answer> {
        let mut opened = sealed::open(&self.ring.current(), key, stored);
        if matches!(opened, Opened::Lacking(_)) {
            self.ring.reread(now).await;
            opened = sealed::open(&self.ring.current(), key, stored);
        }
        match opened {
            Opened::Record(record) => Ok(record),
            Opened::Unreadable => {
                tracing::error!(session = ?key, "a record in the store does not open");
                Err(Lookup::NotFound)
            }
            Opened::Lacking(lacking) => {
                if let Some(suppressed) = self.lacking.admit() {
                    tracing::error!(
                        session = ?key,
                        key = %lacking,
                        suppressed,
                        "a record was sealed with a key that this node lacks: bring the same key \
                         ring to all nodes; until then the session is unavailable here"
                    );
                }
                Err(Lookup::Unavailable)
            }
        }
    }

    /// What is said of a record that the store has, and what has to be done about it.
    async fn believed(
        &self,
        key: RecordKey,
        stored: &Stored,
        record: Arc<Record>,
        now: UnixMillis,
    ) -> Answer {
        let belief = Belief::of_read(&record, stored.epoch, self.known(key, &record, now));
        match belief {
            Belief::Replaced(over) => self.ends.replaced(over, record.ends_at, now),
            Belief::Lost(lost) => {
                let read = (key, stored.version);
                self.repair.write_again(&*self.store, read, lost, self.epochs_kept()).await;
            }
            Belief::Good => self.ends.see(key, &record, now),
            Belief::Over => {}
        }
        match belief {
            Belief::Good => Lookup::Found((stored.version, record)),
            Belief::Over | Belief::Replaced(_) | Belief::Lost(_) => Lookup::Revoked,
        }
    }

    /// What is said of an answer that was read before, now.
    fn judged(&self, key: RecordKey, answer: Answer, now: UnixMillis) -> Answer {
        match answer {
            Lookup::Found((_, record))
                if Belief::of_kept(&record, self.known(key, &record, now)) != Belief::Good =>
            {
                Lookup::Revoked
            }
            answer => answer,
        }
    }

    /// A record of a later era proves that there is one.
    fn known(&self, key: RecordKey, record: &Record, now: UnixMillis) -> Known {
        Known { era: self.era.learn(record.era), lost: self.ends.lost(key, record, now) }
    }

    /// Keeps the answer to a look-up.
    fn keep(&self, key: RecordKey, landed: &Landed) {
        if let Some((cache, moment)) = self.moment(Instant::now()) {
            cache.keep(key, landed, moment);
        }
    }

    fn is_good(&self, key: RecordKey, landed: &Landed, instant: Instant) -> bool {
        self.moment(instant)
            .zip(landed.entry.as_ref())
            .is_some_and(|((cache, moment), entry)| entry.is_good(key, cache.lease, moment))
    }

    fn moment(&self, now: Instant) -> Option<(&Cache, Moment<'_>)> {
        let (cache, changes) = self.cache.as_deref().zip(self.store.changes())?;
        Some((cache, Moment { changes, ring: self.ring.number(), now }))
    }
}
