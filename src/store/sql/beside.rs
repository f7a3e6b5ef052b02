//! What lies beside records in the file: epochs, leases, the era.
//!
//! Each is one statement, so that SQLite's own lock makes it atomic. Rows that are garbage count
//! as not there until the reaper has removed them.

use std::time::Duration;

use sqlx::SqliteConnection;

use super::{LOOKUP_DEADLINE, SqlStore, WRITE_DEADLINE, millis};
use crate::session::outcome::{Durability, Epoch, Leased, Lookup, RecordKey};
use crate::store::{About, KEEP_MAX, LISTED_MAX};

/// The name of the era's row in `meta`.
const ERA: &str = "era";

impl SqlStore {
    pub(super) async fn read_or_make_epoch(
        &self,
        tag: [u8; 8],
        proposal: Epoch,
        keep: Duration,
    ) -> Lookup<Epoch> {
        let (now, keep_until) = self.now_and_until(keep);
        let statements = self.pools.clone().write(Durability::Master, async move |connection| {
            // Returns what is there afterwards, its own or another's.
            let epoch: Vec<u8> = sqlx::query_scalar(
                "INSERT INTO epochs (tag, epoch, keep_until) VALUES (?1, ?2, ?3) \
                 ON CONFLICT (tag) DO UPDATE SET \
                 epoch = CASE WHEN epochs.keep_until > ?4 THEN epochs.epoch \
                 ELSE excluded.epoch END, \
                 keep_until = max(epochs.keep_until, excluded.keep_until) \
                 RETURNING epoch",
            )
            .bind(tag.to_vec())
            .bind(proposal.0.to_vec())
            .bind(keep_until)
            .bind(now)
            .fetch_one(connection)
            .await?;
            epoch_of(epoch)
        });
        match self.run(About::Tag(tag), WRITE_DEADLINE, statements).await {
            Some(epoch) => Lookup::Found(epoch),
            None => Lookup::Unavailable,
        }
    }

    pub(super) async fn replace_epoch(
        &self,
        tag: [u8; 8],
        replacement: Epoch,
        keep: Duration,
    ) -> Lookup<Option<Epoch>> {
        let (now, keep_until) = self.now_and_until(keep);
        let statements = self.pools.clone().write(Durability::Replica, async move |connection| {
            let before: Option<Vec<u8>> = sqlx::query_scalar(
                "SELECT epoch FROM epochs WHERE tag = ?1 AND keep_until > ?2 AND epoch <> ?3",
            )
            .bind(tag.to_vec())
            .bind(now)
            .bind(replacement.0.to_vec())
            .fetch_optional(&mut *connection)
            .await?;
            sqlx::query(
                "INSERT INTO epochs (tag, epoch, keep_until) VALUES (?1, ?2, ?3) \
                 ON CONFLICT (tag) DO UPDATE SET epoch = excluded.epoch, \
                 keep_until = max(epochs.keep_until, excluded.keep_until)",
            )
            .bind(tag.to_vec())
            .bind(replacement.0.to_vec())
            .bind(keep_until)
            .execute(connection)
            .await?;
            before.map(epoch_of).transpose()
        });
        match self.run(About::Tag(tag), WRITE_DEADLINE, statements).await {
            Some(before) => Lookup::Found(before),
            None => Lookup::Unavailable,
        }
    }

    pub(super) async fn list_of(&self, tag: [u8; 8]) -> Lookup<Vec<[u8; 16]>> {
        let (readers, now) = (self.pools.readers.clone(), millis(self.clock.now()));
        let statements = async move {
            let ids: Vec<Vec<u8>> = sqlx::query_scalar(
                "SELECT id FROM records WHERE tag = ?1 AND keep_until > ?2 LIMIT ?3",
            )
            .bind(tag.to_vec())
            .bind(now)
            .bind(i64::try_from(LISTED_MAX).unwrap_or(i64::MAX))
            .fetch_all(&mut *readers.acquire().await?)
            .await?;
            ids.into_iter().map(sixteen).collect::<sqlx::Result<Vec<_>>>()
        };
        match self.run(About::Tag(tag), LOOKUP_DEADLINE, statements).await {
            Some(ids) => Lookup::Found(ids),
            None => Lookup::Unavailable,
        }
    }

    pub(super) async fn read_era(&self) -> Lookup<u32> {
        let readers = self.pools.readers.clone();
        let statements = async move {
            let era: Option<i64> = sqlx::query_scalar("SELECT value FROM meta WHERE name = ?1")
                .bind(ERA)
                .fetch_optional(&mut *readers.acquire().await?)
                .await?;
            era_of(era.unwrap_or(0))
        };
        // Read several times a second in the background: it is for the calls of requests to say
        // whether the store is up, since a file that cannot be written may well be read.
        match self.attempt(LOOKUP_DEADLINE, statements).await {
            Ok(era) => Lookup::Found(era),
            Err(error) => {
                tracing::debug!(error, "the era was not read");
                Lookup::Unavailable
            }
        }
    }

    /// Moves the era on by `step` from the one in the file, or from `known` where that is later.
    pub(super) async fn move_era(&self, known: u32, step: u32) -> Lookup<u32> {
        let statements = self.pools.clone().write(Durability::Replica, async move |connection| {
            let era: i64 = sqlx::query_scalar(
                "INSERT INTO meta (name, value) VALUES (?1, min(?2 + ?4, ?3)) \
                 ON CONFLICT (name) DO UPDATE SET value = min(max(meta.value, ?2) + ?4, ?3) \
                 RETURNING value",
            )
            .bind(ERA)
            .bind(i64::from(known))
            .bind(i64::from(u32::MAX))
            .bind(i64::from(step))
            .fetch_one(connection)
            .await?;
            era_of(era)
        });
        match self.run(About::Era, WRITE_DEADLINE, statements).await {
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
        let (now, keep_until) = self.now_and_until(hold);
        let statements = self.pools.clone().write(Durability::Master, async move |connection| {
            let taken = sqlx::query(
                "INSERT INTO leases (tag, id, owner, keep_until) VALUES (?1, ?2, ?3, ?4) \
                 ON CONFLICT (tag, id) DO UPDATE SET \
                 owner = excluded.owner, keep_until = excluded.keep_until \
                 WHERE leases.owner = excluded.owner OR leases.keep_until <= ?5",
            )
            .bind(key.tag.to_vec())
            .bind(key.id.to_vec())
            .bind(owner.to_vec())
            .bind(keep_until)
            .bind(now)
            .execute(connection)
            .await?;
            Ok(if taken.rows_affected() == 1 { Leased::Taken } else { Leased::Busy })
        });
        let leased = self.run(About::Record(key), WRITE_DEADLINE, statements).await;
        leased.unwrap_or(Leased::Unavailable)
    }

    pub(super) async fn give_lease_up(&self, key: RecordKey, owner: [u8; 16]) {
        let statements = self.pools.clone().write(Durability::Master, async move |connection| {
            sqlx::query("DELETE FROM leases WHERE tag = ?1 AND id = ?2 AND owner = ?3")
                .bind(key.tag.to_vec())
                .bind(key.id.to_vec())
                .bind(owner.to_vec())
                .execute(connection)
                .await
        });
        // Whether it was there makes no difference, and what failed is in the log.
        let _ = self.run(About::Record(key), WRITE_DEADLINE, statements).await;
    }

    /// Now, and when what is kept for `keep` becomes garbage.
    fn now_and_until(&self, keep: Duration) -> (i64, i64) {
        let now = self.clock.now();
        (millis(now), millis(now.plus(keep.min(KEEP_MAX))))
    }
}

/// The record with the epoch of its tag, which is none where it is garbage.
pub(super) async fn read_with_epoch(
    connection: &mut SqliteConnection,
    key: RecordKey,
    now: i64,
) -> sqlx::Result<Option<(i64, Vec<u8>, Option<Epoch>)>> {
    let row: Option<(i64, Vec<u8>, Option<Vec<u8>>)> = sqlx::query_as(
        "SELECT records.version, records.sealed, epochs.epoch FROM records \
         LEFT JOIN epochs ON epochs.tag = records.tag AND epochs.keep_until > ?3 \
         WHERE records.tag = ?1 AND records.id = ?2 AND records.keep_until > ?3",
    )
    .bind(key.tag.to_vec())
    .bind(key.id.to_vec())
    .bind(now)
    .fetch_optional(connection)
    .await?;
    row.map(|(version, sealed, epoch)| Ok((version, sealed, epoch.map(epoch_of).transpose()?)))
        .transpose()
}

fn epoch_of(bytes: Vec<u8>) -> sqlx::Result<Epoch> {
    sixteen(bytes).map(Epoch)
}

fn sixteen(bytes: Vec<u8>) -> sqlx::Result<[u8; 16]> {
    bytes.try_into().map_err(|_| sqlx::Error::Decode("not 16 bytes".into()))
}

fn era_of(value: i64) -> sqlx::Result<u32> {
    u32::try_from(value).map_err(|error| sqlx::Error::Decode(error.into()))
}
