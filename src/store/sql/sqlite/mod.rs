//! SQLite, in WAL mode: readers and the one writer do not wait for each other. Writers of this
//! process take turns; those of other processes on this machine are waited for by SQLite's lock.
//! Whatever writes, triggers leave a row for other processes.

mod schema;
#[cfg(test)]
mod tests;

use std::convert::Infallible;
use std::fs::OpenOptions;
use std::io;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant, UNIX_EPOCH};

use sqlx::sqlite::SqliteSynchronous;
use sqlx::{ConnectOptions, SqliteConnection};
use tokio::time::sleep;

use super::args::{
    Announced, Announcement, Arg, Batch, EraStep, Key, Lease, Listing, NewEpoch, NewRecord,
    NewVersion, Statement, Surplus,
};
use super::clock::StoreClock;
use super::engine::{Deadlines, Engine, Put, Role, Statements, Trouble, Unready};
use super::hearing::Hearing;
use super::poll::{self, ABOVE, Questions};
use crate::clock::UnixMillis;
use crate::store::StoreError;

/// How often the clock of the file system is read.
const CLOCK_EVERY: Duration = Duration::from_secs(1);

/// A file that is ready to be used.
pub(super) struct Sqlite {
    path: PathBuf,
}

impl Sqlite {
    pub(super) async fn prepare(path: &Path) -> Result<Self, StoreError> {
        Ok(Self { path: schema::prepare(path).await? })
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Reads the clock of the file system again and again.
    async fn follow_clock(&self, hearing: &Hearing) -> Infallible {
        loop {
            sleep(CLOCK_EVERY).await;
            self.read_clock(&hearing.clock).await;
        }
    }

    /// All processes that share a file are of one machine, and what stamps its files is what they
    /// have in common. Where it cannot be read, for want of room say, the last reading is counted on.
    pub(super) async fn read_clock(&self, clock: &StoreClock) {
        let mut name = self.path.clone().into_os_string();
        name.push("-clock");
        let sent = Instant::now();
        match tokio::task::spawn_blocking(move || stamped(Path::new(&name))).await {
            Ok(Ok(time)) => clock.note(time, sent),
            Ok(Err(error)) => tracing::debug!(%error, "the clock of the file system was not read"),
            Err(ended) => tracing::debug!(%ended, "the clock of the file system was not read"),
        }
    }
}

/// Writes to a file; with which time it was stamped for that.
fn stamped(path: &Path) -> io::Result<UnixMillis> {
    let file =
        OpenOptions::new().write(true).create(true).truncate(false).mode(0o600).open(path)?;
    file.write_all_at(b"\n", 0)?;
    let since = file.metadata()?.modified()?.duration_since(UNIX_EPOCH);
    let since = since.map_err(io::Error::other)?;
    Ok(UnixMillis(u64::try_from(since.as_millis()).unwrap_or(u64::MAX)))
}

impl Engine for Sqlite {
    type Connection = SqliteConnection;

    const NAME: &'static str = "sqlite";
    const STATEMENTS: &'static Statements = &STATEMENTS;
    const DEADLINES: Deadlines = Deadlines {
        lookup: Duration::from_millis(250),
        // Above what a statement waits for the lock of another process, and what a slow disk takes.
        write: Duration::from_secs(1),
        heartbeat: Duration::from_millis(500),
    };
    const CONNECTIONS: (usize, usize) = (4, 1);
    const IS_SERVER: bool = false;
    const GROUPS: bool = true;

    async fn connect(&self, role: Role) -> sqlx::Result<SqliteConnection> {
        let options = schema::options(&self.path);
        let options = match role {
            Role::Read | Role::Heart => options.pragma("query_only", "ON"),
            Role::Write => options,
            // Its commits outlive a loss of power, and so do all commits before them: it syncs the
            // log that they are in.
            Role::Durable => options.synchronous(SqliteSynchronous::Full),
        };
        options.connect().await
    }

    async fn prepare(&self, _: &mut SqliteConnection) -> Result<(), Unready> {
        // Was done when the file was opened.
        Ok(())
    }

    async fn watch(&self, connection: SqliteConnection, hearing: &Hearing) -> String {
        tokio::select! {
            cause = poll::watch(connection, &QUESTIONS, hearing) => cause,
            never = self.follow_clock(hearing) => match never {},
        }
    }

    fn trouble(error: &sqlx::Error) -> Trouble {
        let code = error.as_database_error().and_then(|error| error.code());
        match code.and_then(|code| code.parse::<u32>().ok()) {
            // SQLITE_READONLY: another file may have taken the place of the one that is open.
            Some(code) if code & 0xff == 8 => Trouble::Broken,
            // A lock was waited for already, and a file has no connection that could break.
            Some(_) | None => Trouble::Refused,
        }
    }
}

/// There is one writer at a time, so that commits are in the order of their numbers.
const QUESTIONS: Questions = Questions {
    top: Statement("SELECT max(seq) FROM changes", &[]),
    above: Statement(
        "SELECT seq, tag, id FROM changes WHERE seq > ?1 ORDER BY seq LIMIT ?2",
        ABOVE,
    ),
    sign: None,
    settled: Duration::ZERO,
};

const STATEMENTS: Statements = Statements {
    // Each write is one statement; where it is two, the second does no harm by being late.
    begin: None,
    begin_several: "BEGIN IMMEDIATE",
    load: Statement(
        "SELECT version, sealed FROM records WHERE tag = ?1 AND id = ?2 AND keep_until > ?3",
        KEY,
    ),
    load_with_epoch: Statement(
        "SELECT records.version, records.sealed, epochs.epoch FROM records \
         LEFT JOIN epochs ON epochs.tag = records.tag AND epochs.keep_until > ?3 \
         WHERE records.tag = ?1 AND records.id = ?2 AND records.keep_until > ?3",
        KEY,
    ),
    create: Put {
        write: Statement(
            "INSERT INTO records (tag, id, version, sealed, keep_until, place) \
             VALUES (?1, ?2, 1, ?3, ?4 + ?5, ?6) ON CONFLICT (tag, id) DO UPDATE SET \
             version = excluded.version, sealed = excluded.sealed, \
             keep_until = excluded.keep_until, place = excluded.place \
             WHERE records.keep_until <= ?5 RETURNING version",
            &[
                NewRecord::tag,
                NewRecord::id,
                NewRecord::sealed,
                NewRecord::keep,
                NewRecord::now,
                NewRecord::place,
            ],
        ),
        read: None,
    },
    fence: None,
    replace: Statement(
        "UPDATE records SET version = version + 1, sealed = ?3, keep_until = ?4 + ?6, \
         place = iif(place > 0 AND ?7 > 0, place, ?7) \
         WHERE tag = ?1 AND id = ?2 AND version = ?5 AND keep_until > ?6",
        NEW_VERSION.split_at(7).0,
    ),
    replace_fenced: Statement(
        "UPDATE records SET version = version + 1, sealed = ?3, keep_until = ?4 + ?6, \
         place = iif(place > 0 AND ?7 > 0, place, ?7) \
         WHERE tag = ?1 AND id = ?2 AND version = ?5 AND keep_until > ?6 AND EXISTS \
         (SELECT 1 FROM epochs WHERE tag = ?1 AND epoch = ?8 AND keep_until > ?6)",
        NEW_VERSION,
    ),
    remove: Statement("DELETE FROM records WHERE tag = ?1 AND id = ?2", &[Key::tag, Key::id]),
    epoch: Put {
        // Returns what is there afterwards, its own or another's.
        write: Statement(
            "INSERT INTO epochs (tag, epoch, keep_until) VALUES (?1, ?2, ?3 + ?4) \
             ON CONFLICT (tag) DO UPDATE SET \
             epoch = CASE WHEN epochs.keep_until > ?4 THEN epochs.epoch ELSE excluded.epoch END, \
             keep_until = max(epochs.keep_until, excluded.keep_until) RETURNING epoch",
            NEW_EPOCH,
        ),
        read: None,
    },
    revoke: Put {
        write: Statement(
            "INSERT INTO epochs (tag, epoch, keep_until) VALUES (?1, ?2, ?3 + ?4) \
             ON CONFLICT (tag) DO UPDATE SET previous = CASE WHEN epochs.keep_until > ?4 \
             AND epochs.epoch <> excluded.epoch THEN epochs.epoch END, epoch = excluded.epoch, \
             keep_until = max(epochs.keep_until, excluded.keep_until) RETURNING previous",
            NEW_EPOCH,
        ),
        read: None,
    },
    carry_epoch: Statement(
        "UPDATE epochs SET previous = epoch, epoch = ?2, keep_until = max(keep_until, ?3 + ?4) \
         WHERE tag = ?1 AND epoch = ?5 AND keep_until > ?4",
        &[NewEpoch::tag, NewEpoch::epoch, NewEpoch::keep, NewEpoch::now, NewEpoch::over],
    ),
    unlist: Statement(
        "UPDATE records SET place = -1 \
         WHERE tag = ?1 AND place >= 0 AND id <> ?2 AND keep_until > ?3",
        KEY,
    ),
    list: Statement(
        "SELECT id FROM records WHERE tag = ?1 AND place >= 0 AND keep_until > ?2 \
         ORDER BY keep_until DESC LIMIT ?3",
        &[Listing::tag, Listing::now, Listing::limit],
    ),
    count: Statement(
        "SELECT count(*) FROM records WHERE tag = ?1 AND place >= 0 AND keep_until > ?2",
        &[Listing::tag, Listing::now],
    ),
    newest: Statement(
        "SELECT id FROM records WHERE tag = ?1 AND place > 0 AND keep_until > ?2 AND id <> ?3 \
         ORDER BY place, id LIMIT ?4 OFFSET ?5",
        SURPLUS,
    ),
    oldest: Statement(
        "SELECT id FROM records WHERE tag = ?1 AND place > 0 AND keep_until > ?2 AND id <> ?3 \
         ORDER BY place DESC, id DESC LIMIT ?4 OFFSET ?5",
        SURPLUS,
    ),
    era: Statement("SELECT value FROM meta WHERE name = 'era'", &[]),
    move_era: Put {
        write: Statement(
            "INSERT INTO meta (name, value) VALUES ('era', min(?1 + ?2, 4294967295)) \
             ON CONFLICT (name) DO UPDATE SET \
             value = min(max(meta.value, ?1) + ?2, 4294967295) RETURNING value",
            &[EraStep::era, EraStep::step],
        ),
        read: None,
    },
    lease: Put {
        write: Statement(
            "INSERT INTO leases (tag, id, owner, keep_until) VALUES (?1, ?2, ?3, ?4 + ?5) \
             ON CONFLICT (tag, id) DO UPDATE SET \
             owner = excluded.owner, keep_until = excluded.keep_until \
             WHERE leases.owner = excluded.owner OR leases.keep_until <= ?5 RETURNING owner",
            &[Lease::tag, Lease::id, Lease::owner, Lease::hold, Lease::now],
        ),
        read: None,
    },
    release: Statement(
        "DELETE FROM leases WHERE tag = ?1 AND id = ?2 AND owner = ?3",
        &[Lease::tag, Lease::id, Lease::owner],
    ),
    announce: Put {
        write: Statement(
            "INSERT INTO records (tag, id, version, sealed, keep_until, place) \
             VALUES (zeroblob(8), ?1, 1, ?2, ?3 + ?4, -1) ON CONFLICT (tag, id) DO UPDATE SET \
             sealed = excluded.sealed, keep_until = excluded.keep_until RETURNING ?4",
            &[Announcement::node, Announcement::text, Announcement::keep, Announcement::now],
        ),
        read: None,
    },
    announced: Statement(
        "SELECT id, sealed FROM records WHERE tag = zeroblob(8) AND keep_until > ?1 \
         AND keep_until <= ?1 + ?2 AND length(sealed) <= ?3 ORDER BY keep_until DESC LIMIT ?4",
        &[Announced::now, Announced::keep, Announced::bytes, Announced::limit],
    ),
    after_record: None,
    after_tag: None,
    reap: &[
        Statement(
            "DELETE FROM records WHERE (tag, id) IN \
             (SELECT tag, id FROM records WHERE keep_until <= ?1 - 3600000 LIMIT ?2)",
            &[Batch::now, Batch::limit],
        ),
        Statement(
            "DELETE FROM epochs WHERE tag IN \
             (SELECT tag FROM epochs WHERE keep_until <= ?1 - 3600000 LIMIT ?2)",
            &[Batch::now, Batch::limit],
        ),
        Statement(
            "DELETE FROM leases WHERE (tag, id) IN \
             (SELECT tag, id FROM leases WHERE keep_until <= ?1 - 3600000 LIMIT ?2)",
            &[Batch::now, Batch::limit],
        ),
        // `poll::KEPT`. The rows are in the order of their time, but for clocks that were moved.
        Statement(
            "DELETE FROM changes WHERE seq IN \
             (SELECT seq FROM changes WHERE at <= ?1 - 120000 ORDER BY seq LIMIT ?2)",
            &[Batch::now, Batch::limit],
        ),
    ],
};

const KEY: &[Arg<Key>] = &[Key::tag, Key::id, Key::now];
const NEW_EPOCH: &[Arg<NewEpoch>] =
    &[NewEpoch::tag, NewEpoch::epoch, NewEpoch::keep, NewEpoch::now];
const SURPLUS: &[Arg<Surplus>] =
    &[Surplus::tag, Surplus::now, Surplus::id, Surplus::limit, Surplus::offset];
/// The last one is for a replacement that is fenced.
const NEW_VERSION: &[Arg<NewVersion>] = &[
    NewVersion::tag,
    NewVersion::id,
    NewVersion::sealed,
    NewVersion::keep,
    NewVersion::version,
    NewVersion::now,
    NewVersion::place,
    NewVersion::epoch,
];
