//! Prepares the file: permissions, WAL mode, tables.

use std::fs::{self, DirBuilder, OpenOptions, Permissions};
use std::io;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use sqlx::sqlite::{SqliteConnectOptions, SqliteSynchronous};
use sqlx::{ConnectOptions, Connection, SqliteConnection};

use crate::store::StoreError;

/// "CLRM": marks our files, so that no other program's is taken for one.
const APPLICATION_ID: i64 = 0x434c_524d;

/// Each brings a file from one `user_version` to the next. Never changed once released, only
/// added to. `keep_until` is Unix time in milliseconds.
const MIGRATIONS: [&str; 5] = [
    "\
CREATE TABLE records (
    tag BLOB NOT NULL,
    id BLOB NOT NULL,
    version INTEGER NOT NULL,
    sealed BLOB NOT NULL,
    keep_until INTEGER NOT NULL,
    PRIMARY KEY (tag, id)
) STRICT, WITHOUT ROWID;
CREATE INDEX records_keep_until ON records (keep_until);
PRAGMA application_id = 0x434c524d;
PRAGMA user_version = 1;",
    "\
CREATE TABLE epochs (
    tag BLOB NOT NULL PRIMARY KEY,
    epoch BLOB NOT NULL,
    keep_until INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
CREATE INDEX epochs_keep_until ON epochs (keep_until);
CREATE TABLE leases (
    tag BLOB NOT NULL,
    id BLOB NOT NULL,
    owner BLOB NOT NULL,
    keep_until INTEGER NOT NULL,
    PRIMARY KEY (tag, id)
) STRICT, WITHOUT ROWID;
CREATE INDEX leases_keep_until ON leases (keep_until);
CREATE TABLE meta (
    name TEXT NOT NULL PRIMARY KEY,
    value INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
PRAGMA user_version = 2;",
    // A removal of garbage, and an epoch that is made where there was none, change nothing that
    // anybody could have kept: garbage counts as not there.
    "\
ALTER TABLE epochs ADD COLUMN previous BLOB;
CREATE TABLE changes (
    seq INTEGER NOT NULL PRIMARY KEY AUTOINCREMENT,
    tag BLOB NOT NULL,
    id BLOB,
    at INTEGER NOT NULL
) STRICT;
CREATE TRIGGER records_replaced AFTER UPDATE ON records BEGIN
    INSERT INTO changes (tag, id, at)
    VALUES (new.tag, new.id, strftime('%s', 'now') * 1000);
END;
CREATE TRIGGER records_removed AFTER DELETE ON records 
WHEN old.keep_until > strftime('%s', 'now') * 1000 BEGIN
    INSERT INTO changes (tag, id, at)
    VALUES (old.tag, old.id, strftime('%s', 'now') * 1000);
END;
CREATE TRIGGER epochs_replaced AFTER UPDATE OF epoch ON epochs WHEN new.epoch <> old.epoch BEGIN
    INSERT INTO changes (tag, id, at)
    VALUES (new.tag, NULL, strftime('%s', 'now') * 1000);
END;
PRAGMA user_version = 3;",
    // Where a record stands in the list of its tag: -1 not in it, 0 in it, else since when it counts.
    // Its place is not kept anywhere, so that nobody has to hear of it.
    "\
ALTER TABLE records ADD COLUMN place INTEGER NOT NULL DEFAULT 0;
CREATE INDEX records_listed ON records (tag, place, id) WHERE place >= 0;
DROP TRIGGER records_replaced;
CREATE TRIGGER records_replaced AFTER UPDATE OF version ON records BEGIN
    INSERT INTO changes (tag, id, at)
    VALUES (new.tag, new.id, strftime('%s', 'now') * 1000);
END;
PRAGMA user_version = 4;",
    // As before, and also where the clock of who removes a record is an hour ahead.
    "\
DROP TRIGGER records_removed;
CREATE TRIGGER records_removed AFTER DELETE ON records
WHEN old.keep_until > strftime('%s', 'now') * 1000 - 3600000 BEGIN
    INSERT INTO changes (tag, id, at)
    VALUES (old.tag, old.id, strftime('%s', 'now') * 1000);
END;
PRAGMA user_version = 5;",
];

/// How long a statement waits for the lock of another process.
const BUSY_TIMEOUT: Duration = Duration::from_millis(500);
/// How long opening waits for another process that is preparing the same file. Changing to WAL
/// mode does not wait by itself.
const PREPARE_DEADLINE: Duration = Duration::from_secs(5);
/// What is left of the log after a checkpoint, at most.
const WAL_BYTES_KEPT: &str = "16777216";

/// How to connect to a file that [`prepare`] has prepared.
pub(super) fn options(path: &Path) -> SqliteConnectOptions {
    SqliteConnectOptions::new()
        .filename(path)
        // NORMAL: a commit outlives this process, however it ends, since the log is written to
        // the file at each one. A loss of power may undo the last few, as it may in Redis with
        // `appendfsync everysec`. `durable` connections override it.
        .synchronous(SqliteSynchronous::Normal)
        .busy_timeout(BUSY_TIMEOUT)
        .pragma("journal_size_limit", WAL_BYTES_KEPT)
        .disable_statement_logging()
}

/// Makes the directory and the file where they are missing, readable by their owner alone, and
/// brings the tables up to date. The absolute path of the file.
pub(super) async fn prepare(path: &Path) -> Result<PathBuf, StoreError> {
    let path = file(path)?;
    let began = Instant::now();
    loop {
        match migrate(&path).await {
            Ok(()) => return Ok(path),
            Err(Failure::Refused(error)) => return Err(error),
            Err(Failure::Sqlite(error))
                if is_locked(&error) && began.elapsed() < PREPARE_DEADLINE =>
            {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
            Err(Failure::Sqlite(error)) => {
                return Err(StoreError::Database { path, reason: error.to_string() });
            }
        }
    }
}

fn file(path: &Path) -> Result<PathBuf, StoreError> {
    let failed = |action| {
        let path = path.to_owned();
        move |source| StoreError::File { action, path, source }
    };
    // Absolute, so that SQLite never takes a name for a `file:` URI.
    let path = std::path::absolute(path).map_err(failed("find"))?;
    if let Some(directory) = path.parent() {
        DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(directory)
            .map_err(failed("make the directory of"))?;
    }
    // A file that is there is not opened: closing it would take away the locks that another
    // store of this process has on it, as POSIX wants it.
    let made = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&path);
    match made {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => {
            return Err(failed("make")(error));
        }
        Ok(_) | Err(_) => {}
    }
    let metadata = fs::metadata(&path).map_err(failed("examine"))?;
    if !metadata.is_file() {
        return Err(failed("use")(io::Error::other("not a regular file")));
    }
    if metadata.permissions().mode() & 0o077 != 0 {
        // SQLite gives the log and the index of the log the mode of the file.
        fs::set_permissions(&path, Permissions::from_mode(0o600))
            .map_err(failed("withdraw the permissions of others from"))?;
        tracing::warn!(path = %path.display(), "session database was accessible to others");
    }
    Ok(path)
}

enum Failure {
    Refused(StoreError),
    Sqlite(sqlx::Error),
}

impl From<sqlx::Error> for Failure {
    fn from(error: sqlx::Error) -> Self {
        Self::Sqlite(error)
    }
}

async fn migrate(path: &Path) -> Result<(), Failure> {
    let mut connection = options(path).connect().await?;
    let outcome = migrate_on(&mut connection, path).await;
    connection.close().await?;
    outcome
}

async fn migrate_on(connection: &mut SqliteConnection, path: &Path) -> Result<(), Failure> {
    let path = path.to_owned();
    // Looked at before anything is changed: the file may be another program's. In one
    // transaction: another process may be making the tables.
    let mut look = connection.begin().await?;
    let id: i64 = sqlx::query_scalar("PRAGMA application_id").fetch_one(&mut *look).await?;
    let tables: i64 =
        sqlx::query_scalar("SELECT count(*) FROM sqlite_schema").fetch_one(&mut *look).await?;
    look.rollback().await?;
    if id != APPLICATION_ID && (id != 0 || tables != 0) {
        return Err(Failure::Refused(StoreError::Foreign { path }));
    }
    // WAL is a property of the file: the connections opened later find it.
    let made: String =
        sqlx::query_scalar("PRAGMA journal_mode = WAL").fetch_one(&mut *connection).await?;
    if !made.eq_ignore_ascii_case("wal") {
        let reason = format!(
            "its file system does not allow WAL mode (it stayed in mode {made}); name a file on \
             a local disk"
        );
        return Err(Failure::Refused(StoreError::Database { path, reason }));
    }
    let mut transaction = connection.begin_with("BEGIN IMMEDIATE").await?;
    let found: i64 = sqlx::query_scalar("PRAGMA user_version").fetch_one(&mut *transaction).await?;
    let missing = usize::try_from(found).ok().and_then(|found| MIGRATIONS.get(found..));
    let Some(missing) = missing else {
        let known = MIGRATIONS.len().try_into().unwrap_or(i64::MAX);
        return Err(Failure::Refused(StoreError::Newer { path, found, known }));
    };
    for migration in missing {
        sqlx::raw_sql(*migration).execute(&mut *transaction).await?;
    }
    transaction.commit().await?;
    Ok(())
}

/// SQLITE_BUSY and SQLITE_LOCKED, whatever their extension.
fn is_locked(error: &sqlx::Error) -> bool {
    let code = error.as_database_error().and_then(|error| error.code());
    let code: Option<u32> = code.and_then(|code| code.parse().ok());
    code.is_some_and(|code| matches!(code & 0xff, 5 | 6))
}
