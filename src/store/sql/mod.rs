//! The SQL engine, over SQLite. The only place that names the `sqlx` crate.
//!
//! Everything runs on the control runtime, where the engine was opened: a pool of sqlx gives
//! connections back on the runtime that used them, so that a busy or ending worker would hold up
//! all others. SQLite itself runs on threads of sqlx. A look-up thus wakes two threads, and two on
//! its way back.
//!
//! In WAL mode readers and the one writer do not wait for each other. Writers of this process take
//! turns; those of other processes on this machine are waited for by SQLite's lock.

mod beside;
mod reaper;
mod schema;
pub mod server;
#[cfg(test)]
mod tests;

use std::fmt;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use sqlx::sqlite::{SqlitePoolOptions, SqliteSynchronous};
use sqlx::{SqliteConnection, SqlitePool};
use tokio::runtime::Handle;
use tokio::sync::{Mutex, watch};
use tokio::task::AbortHandle;
use tokio::time::timeout;

use super::health::{Health, Signal};
use super::throttle::Throttle;
use super::{About, KEEP_MAX, SessionStore, StoreError, Stored, fits};
use crate::clock::{Clock, UnixMillis};
use crate::session::outcome::{
    Created, Durability, Epoch, Leased, Lookup, RecordKey, Removed, Replaced,
};

const READERS: u32 = 4;
const LOOKUP_DEADLINE: Duration = Duration::from_millis(250);
/// Above what a statement waits for the lock of another process, and what a slow disk takes.
const WRITE_DEADLINE: Duration = Duration::from_secs(1);

/// Calls in a row that failed, before the store counts as down: one may have met a long write of
/// another process.
const FAILURES_DOWN: u32 = 3;

/// Records in a SQLite file.
pub struct SqlStore {
    control: Handle,
    pools: Pools,
    clock: Clock,
    health: Arc<Signal>,
    /// Failures since the last success.
    failures: AtomicU32,
    refusals: Throttle,
    reaper: AbortHandle,
}

/// Connections to one file.
#[derive(Clone)]
struct Pools {
    readers: SqlitePool,
    /// One connection, whose commits outlive the process.
    writer: SqlitePool,
    /// One connection, whose commits outlive a loss of power, and so do all commits before them:
    /// it syncs the log that they are in.
    durable: SqlitePool,
    /// Held while one of the two writes. SQLite's own lock would do, but waits by sleeping.
    turn: Arc<Mutex<()>>,
}

impl SqlStore {
    /// Opens or makes the file. The calling runtime becomes the one that the engine works on.
    ///
    /// # Errors
    /// `File`, `Database`, `Newer`, `Foreign`.
    pub async fn open(path: &Path, clock: Clock) -> Result<Self, StoreError> {
        let path = schema::prepare(path).await?;
        let name = format!("sqlite:{}", path.display());
        let options = schema::options(&path);
        let pool = |connections: u32, deadline: Duration| {
            SqlitePoolOptions::new()
                .max_connections(connections)
                .acquire_timeout(deadline)
                .idle_timeout(None)
                .max_lifetime(None)
                .test_before_acquire(false)
        };
        let durable = options.clone().synchronous(SqliteSynchronous::Full);
        let pools = Pools {
            readers: pool(READERS, LOOKUP_DEADLINE)
                .connect_lazy_with(options.clone().pragma("query_only", "ON")),
            writer: pool(1, WRITE_DEADLINE).connect_lazy_with(options),
            durable: pool(1, WRITE_DEADLINE).connect_lazy_with(durable),
            turn: Arc::default(),
        };
        // A file that can be prepared but not read back is told of now, not with every request.
        let probe = async { pools.readers.acquire().await.map(drop) };
        probe.await.map_err(|error| StoreError::Database { path, reason: error.to_string() })?;

        let health = Arc::new(Signal::new(name, Health::Up));
        let reaper = tokio::spawn(reaper::run(pools.clone(), clock.clone(), health.clone()));
        Ok(Self {
            control: Handle::current(),
            pools,
            clock,
            health,
            failures: AtomicU32::new(0),
            refusals: Throttle::default(),
            reaper: reaper.abort_handle(),
        })
    }

    /// Runs statements on the control runtime; nothing where they fail or take too long.
    async fn run<T: Send + 'static>(
        &self,
        about: About,
        deadline: Duration,
        statements: impl Future<Output = sqlx::Result<T>> + Send + 'static,
    ) -> Option<T> {
        let failure = match self.attempt(deadline, statements).await {
            Ok(outcome) => {
                self.failures.store(0, Ordering::Relaxed);
                self.health.up();
                return Some(outcome);
            }
            Err(failure) => failure,
        };
        if self.failures.fetch_add(1, Ordering::Relaxed) + 1 >= FAILURES_DOWN {
            self.health.down(&failure);
        }
        if let Some(suppressed) = self.refusals.admit() {
            tracing::error!(record = ?about, error = failure, suppressed, "sqlite refused a command");
        }
        None
    }

    /// The same, or why not, without a word about the store's health.
    async fn attempt<T: Send + 'static>(
        &self,
        deadline: Duration,
        statements: impl Future<Output = sqlx::Result<T>> + Send + 'static,
    ) -> Result<T, String> {
        // Timed there, so that what took too long is given up; and here, should the control
        // runtime be held up itself.
        let task = self.control.spawn(async move { timeout(deadline, statements).await });
        match timeout(deadline, task).await {
            Ok(Ok(Ok(Ok(outcome)))) => Ok(outcome),
            Ok(Ok(Ok(Err(error)))) => Err(error.to_string()),
            Ok(Ok(Err(_elapsed))) | Err(_elapsed) => Err(format!("no answer within {deadline:?}")),
            Ok(Err(ended)) => Err(ended.to_string()),
        }
    }
}

impl Pools {
    /// Runs statements on the connection that the durability asks for.
    async fn write<T>(
        self,
        durability: Durability,
        statements: impl AsyncFnOnce(&mut SqliteConnection) -> sqlx::Result<T>,
    ) -> sqlx::Result<T> {
        let _turn = self.turn.lock().await;
        let pool = match durability {
            Durability::Master => &self.writer,
            Durability::Replica => &self.durable,
        };
        statements(&mut *pool.acquire().await?).await
    }
}

impl Drop for SqlStore {
    fn drop(&mut self) {
        self.reaper.abort();
    }
}

impl fmt::Debug for SqlStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SqlStore").field("health", &self.health.current()).finish_non_exhaustive()
    }
}

#[async_trait]
impl SessionStore for SqlStore {
    async fn load(&self, key: RecordKey) -> Lookup<Stored> {
        let (readers, now) = (self.pools.readers.clone(), millis(self.clock.now()));
        let statements = async move { read(&mut *readers.acquire().await?, key, now).await };
        match self.run(About::Record(key), LOOKUP_DEADLINE, statements).await {
            Some(Some(stored)) => Lookup::Found(stored),
            Some(None) => Lookup::NotFound,
            None => Lookup::Unavailable,
        }
    }

    async fn create(&self, key: RecordKey, sealed: &[u8], keep: Duration) -> Created {
        if !fits(key, sealed) {
            return Created::Unavailable;
        }
        let row = Row::new(key, sealed, keep, self.clock.now());
        let statements = self
            .pools
            .clone()
            .write(Durability::Master, async move |connection| insert(connection, &row).await);
        self.run(About::Record(key), WRITE_DEADLINE, statements)
            .await
            .unwrap_or(Created::Unavailable)
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
        // SQLite's integers are signed; no record gets that far.
        let expected = i64::try_from(expected).ok().filter(|expected| *expected < i64::MAX);
        let Some(expected) = expected else { return Replaced::Conflict };
        if !fits(key, sealed) {
            return Replaced::Unavailable;
        }
        let row = Row::new(key, sealed, keep, self.clock.now());
        let statements = self.pools.clone().write(durability, async move |connection| {
            update(connection, &row, expected, epoch).await
        });
        self.run(About::Record(key), WRITE_DEADLINE, statements)
            .await
            .unwrap_or(Replaced::Unavailable)
    }

    async fn remove(&self, key: RecordKey) -> Removed {
        let statements = self.pools.clone().write(Durability::Replica, async move |connection| {
            sqlx::query("DELETE FROM records WHERE tag = ?1 AND id = ?2")
                .bind(key.tag.to_vec())
                .bind(key.id.to_vec())
                .execute(connection)
                .await
        });
        match self.run(About::Record(key), WRITE_DEADLINE, statements).await {
            Some(_) => Removed::Removed,
            None => Removed::Unavailable,
        }
    }

    async fn epoch(&self, tag: [u8; 8], proposal: Epoch, keep: Duration) -> Lookup<Epoch> {
        self.read_or_make_epoch(tag, proposal, keep).await
    }

    async fn revoke(
        &self,
        tag: [u8; 8],
        replacement: Epoch,
        keep: Duration,
    ) -> Lookup<Option<Epoch>> {
        self.replace_epoch(tag, replacement, keep).await
    }

    async fn list(&self, tag: [u8; 8]) -> Lookup<Vec<[u8; 16]>> {
        self.list_of(tag).await
    }

    async fn era(&self) -> Lookup<u32> {
        self.read_era().await
    }

    async fn next_era(&self, known: u32) -> Lookup<u32> {
        self.move_era(known, 1).await
    }

    async fn raise_era(&self, least: u32) -> Lookup<u32> {
        self.move_era(least, 0).await
    }

    async fn lease(&self, key: RecordKey, owner: [u8; 16], hold: Duration) -> Leased {
        self.take_lease(key, owner, hold).await
    }

    async fn release(&self, key: RecordKey, owner: [u8; 16]) {
        self.give_lease_up(key, owner).await;
    }

    async fn ping(&self) -> bool {
        let anything = RecordKey { tag: [0; 8], id: [0; 16], has_subject: false };
        !matches!(self.load(anything).await, Lookup::Unavailable)
    }

    fn health(&self) -> watch::Receiver<Health> {
        self.health.subscribe()
    }
}

/// What a write brings.
struct Row {
    key: RecordKey,
    sealed: Vec<u8>,
    keep_until: i64,
    now: i64,
}

impl Row {
    fn new(key: RecordKey, sealed: &[u8], keep: Duration, now: UnixMillis) -> Self {
        let keep_until = millis(now.plus(keep.min(KEEP_MAX)));
        Self { key, sealed: sealed.to_vec(), keep_until, now: millis(now) }
    }
}

fn millis(time: UnixMillis) -> i64 {
    i64::try_from(time.0).unwrap_or(i64::MAX)
}

async fn read(
    connection: &mut SqliteConnection,
    key: RecordKey,
    now: i64,
) -> sqlx::Result<Option<Stored>> {
    let row = if key.has_subject {
        beside::read_with_epoch(connection, key, now).await?
    } else {
        let row: Option<(i64, Vec<u8>)> = sqlx::query_as(
            "SELECT version, sealed FROM records WHERE tag = ?1 AND id = ?2 AND keep_until > ?3",
        )
        .bind(key.tag.to_vec())
        .bind(key.id.to_vec())
        .bind(now)
        .fetch_optional(connection)
        .await?;
        row.map(|(version, sealed)| (version, sealed, None))
    };
    row.map(|(version, sealed, epoch)| {
        let version = u64::try_from(version).map_err(|error| sqlx::Error::Decode(error.into()))?;
        Ok(Stored { version, sealed, epoch })
    })
    .transpose()
}

/// Inserts the row, over one that is garbage if need be.
async fn insert(connection: &mut SqliteConnection, row: &Row) -> sqlx::Result<Created> {
    let inserted = sqlx::query(
        "INSERT INTO records (tag, id, version, sealed, keep_until) VALUES (?1, ?2, 1, ?3, ?4) \
         ON CONFLICT (tag, id) DO UPDATE SET \
         version = excluded.version, sealed = excluded.sealed, keep_until = excluded.keep_until \
         WHERE records.keep_until <= ?5",
    )
    .bind(row.key.tag.to_vec())
    .bind(row.key.id.to_vec())
    .bind(row.sealed.as_slice())
    .bind(row.keep_until)
    .bind(row.now)
    .execute(&mut *connection)
    .await?;
    if inserted.rows_affected() == 1 {
        return Ok(Created::Created);
    }
    // Ours, if an earlier try of this call put it there. Gone by now means that another had it.
    let there = read(connection, row.key, row.now).await?;
    Ok(match there {
        Some(there) if there.version == 1 && there.sealed == row.sealed => Created::Created,
        Some(_) | None => Created::Taken,
    })
}

/// Replaces the row in one statement, so that of two writers one finds another version.
async fn update(
    connection: &mut SqliteConnection,
    row: &Row,
    expected: i64,
    epoch: Option<Epoch>,
) -> sqlx::Result<Replaced> {
    let updated = sqlx::query(
        "UPDATE records SET version = version + 1, sealed = ?3, keep_until = ?4 \
         WHERE tag = ?1 AND id = ?2 AND version = ?5 AND keep_until > ?6 AND (?7 IS NULL OR EXISTS \
         (SELECT 1 FROM epochs WHERE tag = ?1 AND epoch = ?7 AND keep_until > ?6))",
    )
    .bind(row.key.tag.to_vec())
    .bind(row.key.id.to_vec())
    .bind(row.sealed.as_slice())
    .bind(row.keep_until)
    .bind(expected)
    .bind(row.now)
    .bind(epoch.map(|epoch| epoch.0.to_vec()))
    .execute(&mut *connection)
    .await?;
    if updated.rows_affected() == 1 {
        return Ok(Replaced::Replaced);
    }
    // Ours, if an earlier try of this call wrote it, and nobody has since.
    let version = u64::try_from(expected).map_err(|error| sqlx::Error::Decode(error.into()))? + 1;
    let key = RecordKey { has_subject: epoch.is_some(), ..row.key };
    Ok(match read(connection, key, row.now).await? {
        Some(there) if epoch.is_some() && there.epoch != epoch => Replaced::Gone,
        Some(there) if there.version == version && there.sealed == row.sealed => Replaced::Replaced,
        Some(_) => Replaced::Conflict,
        None => Replaced::Gone,
    })
}
