//! The SQL engines: SQLite, PostgreSQL, MySQL and MariaDB. The only place that names the `sqlx`
//! crate.
//!
//! `engine` says what a database has of its own: connections, tables, statements, how it tells of
//! changes; `sqlite`, `postgres` and `mysql` say it. `calls` are those of the trait, `operations`
//! what they come down to.
//!
//! What is here carries them out: on the control runtime, where the engine was opened, since timers
//! and sockets of a busy or ending worker would hold up all others. A look-up thus wakes two
//! threads, and with SQLite, which has threads of its own, two more on its way back.

mod args;
mod calls;
mod clock;
mod engine;
mod group;
mod hearing;
mod mysql;
mod operations;
mod poll;
mod pool;
mod postgres;
mod reaper;
pub mod server;
mod sqlite;
mod supervisor;
mod tables;
#[cfg(test)]
mod tests;

use std::fmt;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use tokio::runtime::Handle;
use tokio::task::AbortHandle;
use tokio::time::{sleep, timeout};

use self::clock::StoreClock;
use self::engine::{Deadlines, Engine, Trouble};
use self::hearing::Hearing;
use self::mysql::MySql;
use self::operations::{Operation, ReadEra};
use self::pool::{Pool, Pools};
use self::postgres::Postgres;
use self::sqlite::Sqlite;
use self::supervisor::Cause;
use super::health::{Health, Signal};
use super::throttle::Throttle;
use super::{About, SharedStore, StoreError};
use crate::clock::{Clock, UnixMillis};
use crate::session::outcome::Durability;

/// Calls in a row that failed, before a store that is no server counts as down: one may have met a
/// long write of another process.
const FAILURES_DOWN: u32 = 3;
/// The most often that a call is repeated, all within its deadline.
const REPEATS_MAX: u32 = 20;
/// Pauses between repeats grow by this; a random part of each is left out.
const REPEAT_PAUSE: Duration = Duration::from_millis(2);
/// How long [`SessionStore::start`](super::SessionStore::start) waits for a server, and
/// [`open_server`] for its tables.
const START_PATIENCE: Duration = Duration::from_secs(1);

/// Opens or makes a SQLite file. The calling runtime becomes the one that the engine works on. Links
/// are proved so often that what was read over them is good for `lease`.
///
/// # Errors
/// `File`, `Database`, `Newer`, `Foreign`.
pub async fn open_file(
    path: &Path,
    lease: Duration,
    clock: Clock,
) -> Result<SharedStore, StoreError> {
    Ok(Arc::new(open_sqlite(path, lease, clock).await?))
}

async fn open_sqlite(
    path: &Path,
    lease: Duration,
    clock: Clock,
) -> Result<SqlStore<Sqlite>, StoreError> {
    let sqlite = Sqlite::prepare(path).await?;
    let name = format!("sqlite:{}", sqlite.path().display());
    let store = SqlStore::new(sqlite, name, Health::Up, clock, lease, Sqlite::DEADLINES);
    store.inner.engine.read_clock(&store.inner.hearing.clock).await;
    // A file that can be prepared but not read back is told of now, not with every request.
    let probe = store.inner.pools.read.perform(&ReadEra).await;
    probe.map_err(|error| StoreError::Database {
        path: store.inner.engine.path().to_owned(),
        reason: error.to_string(),
    })?;
    Ok(store)
}

/// Opens a store on a server. The calling runtime becomes the one that the engine works on. A
/// server that cannot be reached is no error: the engine goes on trying.
///
/// # Errors
/// `Server`, where the tables cannot be used and the server says so now.
pub async fn open_server(
    settings: &server::ServerSettings,
    lease: Duration,
    clock: Clock,
) -> Result<SharedStore, StoreError> {
    open_within(settings, lease, clock, server::DEADLINES).await
}

async fn open_within(
    settings: &server::ServerSettings,
    lease: Duration,
    clock: Clock,
    deadlines: Deadlines,
) -> Result<SharedStore, StoreError> {
    Ok(match settings.url.kind() {
        server::ServerKind::Postgres => {
            Arc::new(start(Postgres::new(settings), settings, lease, clock, deadlines).await?)
        }
        server::ServerKind::MySql => {
            Arc::new(start(MySql::new(settings), settings, lease, clock, deadlines).await?)
        }
    })
}

async fn start<E: Engine>(
    engine: E,
    settings: &server::ServerSettings,
    lease: Duration,
    clock: Clock,
    deadlines: Deadlines,
) -> Result<SqlStore<E>, StoreError> {
    let name = settings.url.to_string();
    if let Ok(Err(Cause::Refused(reason))) =
        timeout(START_PATIENCE, supervisor::reach(&engine)).await
    {
        return Err(StoreError::Server { name, reason });
    }
    Ok(SqlStore::new(engine, name, Health::Starting, clock, lease, deadlines))
}

/// Records in a database.
struct SqlStore<E: Engine> {
    control: Handle,
    inner: Arc<Inner<E>>,
    /// Failures since the last success.
    failures: AtomicU32,
    refusals: Throttle,
    tasks: [AbortHandle; 2],
}

/// What calls and the tasks in the background share.
struct Inner<E: Engine> {
    engine: Arc<E>,
    pools: Pools<E>,
    hearing: Hearing,
    deadlines: Deadlines,
}

/// Which connections a call uses, and how long it may take.
#[derive(Clone, Copy)]
enum Use {
    Read,
    Write(Durability),
}

impl<E: Engine> SqlStore<E> {
    fn new(
        engine: E,
        name: String,
        health: Health,
        clock: Clock,
        lease: Duration,
        deadlines: Deadlines,
    ) -> Self {
        let engine = Arc::new(engine);
        let health = Arc::new(Signal::new(name, health));
        let inner = Arc::new(Inner {
            pools: Pools::new(&engine),
            engine,
            hearing: Hearing::new(
                health,
                StoreClock::new(clock, E::NAME),
                lease,
                deadlines.heartbeat,
            ),
            deadlines,
        });
        let tasks = [
            tokio::spawn(supervisor::run(inner.clone())).abort_handle(),
            tokio::spawn(reaper::run(inner.clone())).abort_handle(),
        ];
        Self {
            control: Handle::current(),
            inner,
            failures: AtomicU32::new(0),
            refusals: Throttle::default(),
            tasks,
        }
    }

    fn health(&self) -> &Signal {
        &self.inner.hearing.health
    }

    /// Carries an operation out; nothing where it fails or takes too long.
    async fn call<O: Operation>(
        &self,
        about: About,
        usage: Use,
        operation: O,
    ) -> Option<O::Answer> {
        let inner = self.inner.clone();
        let calls = async move { inner.perform(usage, &operation).await };
        self.conclude(about, usage, calls).await
    }

    /// Runs a call on the control runtime, and concludes from its end whether the store is up.
    async fn conclude<T: Send + 'static>(
        &self,
        about: About,
        usage: Use,
        call: impl Future<Output = sqlx::Result<T>> + Send + 'static,
    ) -> Option<T> {
        if E::IS_SERVER && self.health().current() != Health::Up {
            return None;
        }
        let failure = match self.attempt(usage, call).await {
            Ok(answer) => {
                self.failures.store(0, Ordering::Relaxed);
                if !E::IS_SERVER {
                    self.health().up();
                }
                return Some(answer);
            }
            Err(failure) => failure,
        };
        if E::IS_SERVER {
            self.inner.hearing.doubt();
        } else if self.failures.fetch_add(1, Ordering::Relaxed) + 1 >= FAILURES_DOWN {
            self.health().down(&failure);
        }
        if let Some(suppressed) = self.refusals.admit() {
            let engine = E::NAME;
            tracing::error!(
                record = ?about, error = failure, suppressed, engine, "database refused a command"
            );
        }
        None
    }

    /// Runs a call there, and says nothing about the store's health.
    async fn attempt<T: Send + 'static>(
        &self,
        usage: Use,
        call: impl Future<Output = sqlx::Result<T>> + Send + 'static,
    ) -> Result<T, String> {
        let deadline = self.inner.deadline(usage);
        // Timed there, so that what took too long is given up; and here, should the control
        // runtime be held up itself.
        let task = self.control.spawn(async move { timeout(deadline, call).await });
        match timeout(deadline, task).await {
            Ok(Ok(Ok(Ok(answer)))) => Ok(answer),
            Ok(Ok(Ok(Err(error)))) => Err(E::explained(&error)),
            Ok(Ok(Err(_elapsed))) | Err(_elapsed) => Err(format!("no answer within {deadline:?}")),
            Ok(Err(ended)) => Err(ended.to_string()),
        }
    }
}

impl<E: Engine> Inner<E> {
    fn pool(&self, usage: Use) -> &Pool<E> {
        match usage {
            Use::Read => &self.pools.read,
            Use::Write(durability) => self.pools.for_writes(durability),
        }
    }

    fn deadline(&self, usage: Use) -> Duration {
        match usage {
            Use::Read => self.deadlines.lookup,
            Use::Write(_) => self.deadlines.write,
        }
    }

    /// Carries an operation out, again and again where that makes sense.
    async fn perform<O: Operation>(&self, usage: Use, operation: &O) -> sqlx::Result<O::Answer> {
        let mut broken = 0;
        for repeat in 1.. {
            let error = match self.pool(usage).perform(operation).await {
                Ok(answer) => return Ok(answer),
                Err(error) => error,
            };
            match E::trouble(&error) {
                Trouble::Busy if repeat <= REPEATS_MAX => {}
                // The second one was new: the server is down.
                Trouble::Broken if broken == 0 => {
                    broken += 1;
                    self.pools.clear();
                    self.hearing.doubt();
                    continue;
                }
                Trouble::Busy | Trouble::Broken | Trouble::Refused => return Err(error),
            }
            sleep(REPEAT_PAUSE.mul_f64(f64::from(repeat) * rand::random::<f64>())).await;
        }
        Err(sqlx::Error::WorkerCrashed)
    }
}

impl<E: Engine> Drop for SqlStore<E> {
    fn drop(&mut self) {
        for task in &self.tasks {
            task.abort();
        }
    }
}

impl<E: Engine> fmt::Debug for SqlStore<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SqlStore")
            .field("engine", &E::NAME)
            .field("health", &self.health().current())
            .finish_non_exhaustive()
    }
}

fn millis(time: UnixMillis) -> i64 {
    i64::try_from(time.0).unwrap_or(i64::MAX)
}
