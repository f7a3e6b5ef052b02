//! What one database has of its own: how to connect, its tables, its statements, and how it tells
//! of changes. All else is common.

use std::time::Duration;

use sqlx::Row as _;

use super::args::{
    Announced, Announcement, Batch, EraStep, Key, Lease, Listing, NewEpoch, NewRecord, NewVersion,
    Statement, Surplus, Value,
};
use super::hearing::Hearing;

/// A database.
pub(super) trait Engine: Send + Sync + Sized + 'static {
    type Connection: Driver;

    /// What log lines call it.
    const NAME: &'static str;
    const STATEMENTS: &'static Statements;
    const DEADLINES: Deadlines;
    /// Connections for look-ups, and for writes, at most.
    const CONNECTIONS: (usize, usize);
    /// Whether there is a server, which may be down: calls fail at once while it is known to be,
    /// and the supervisor says when it is not. Else calls themselves find out.
    const IS_SERVER: bool;
    /// Whether replacements that wait for each other are written in one transaction.
    const GROUPS: bool;

    /// Opens a connection.
    fn connect(&self, role: Role) -> impl Future<Output = sqlx::Result<Self::Connection>> + Send;

    /// Brings the tables of a server up to date.
    fn prepare(
        &self,
        connection: &mut Self::Connection,
    ) -> impl Future<Output = Result<(), Unready>> + Send;

    /// Hears of changes, and has the link proved again and again, until that fails: why.
    fn watch(
        &self,
        connection: Self::Connection,
        hearing: &Hearing,
    ) -> impl Future<Output = String> + Send;

    /// What an error means for the call that met it.
    fn trouble(error: &sqlx::Error) -> Trouble;

    /// What an error says, in words that tell the operator what to do where we know.
    fn explained(error: &sqlx::Error) -> String {
        error.to_string()
    }
}

/// What an error means. Whatever a call writes, it writes once, so that it may be repeated.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Trouble {
    /// It would be the same with a repeat.
    Refused,
    /// Others had the rows: repeat it.
    Busy,
    /// The connection is gone, or at its other end is no server that takes writes; and others of
    /// its age may be so too: repeat it on a new one.
    Broken,
}

impl Trouble {
    /// What an error means that is not the database's own answer.
    pub(super) fn of_connection(error: &sqlx::Error) -> Self {
        match error {
            sqlx::Error::Io(_)
            | sqlx::Error::Tls(_)
            | sqlx::Error::Protocol(_)
            | sqlx::Error::WorkerCrashed => Self::Broken,
            _ => Self::Refused,
        }
    }
}

/// What a connection is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Role {
    Read,
    /// Commits outlive the end of the server's process.
    Write,
    /// Commits outlive what the server has been set up to outlive: a loss of power, or of the
    /// machine where a replica must confirm.
    Durable,
    /// The supervisor's.
    Heart,
}

/// Why the tables of a server cannot be used.
#[derive(Debug)]
pub(super) enum Unready {
    /// The operator has to act.
    Refused(String),
    Failed(sqlx::Error),
}

impl From<sqlx::Error> for Unready {
    fn from(error: sqlx::Error) -> Self {
        Self::Failed(error)
    }
}

/// How long things may take.
#[derive(Clone, Copy, Debug)]
pub(super) struct Deadlines {
    pub lookup: Duration,
    /// A write with its repeats.
    pub write: Duration,
    /// One question of the supervisor.
    pub heartbeat: Duration,
}

/// A statement that puts a row, and answers with rows: by itself or by the one after it.
pub(super) struct Put<A: 'static> {
    pub write: Statement<A>,
    pub read: Option<Statement<A>>,
}

/// All statements of a database; their order of columns is that of the names here.
pub(super) struct Statements {
    /// Begins a transaction, where a write is several statements.
    pub begin: Option<&'static str>,
    /// Begins one where it is several statements whatever the database.
    pub begin_several: &'static str,
    /// version, sealed
    pub load: Statement<Key>,
    /// version, sealed, epoch or null
    pub load_with_epoch: Statement<Key>,
    /// A row where the record is the caller's now.
    pub create: Put<NewRecord>,
    /// A row where the tag still has the epoch, which cannot be replaced then until the
    /// transaction ends; none where [`Self::replace_fenced`] sees to it.
    pub fence: Option<Statement<NewVersion>>,
    /// Changes or returns one row, or none.
    pub replace: Statement<NewVersion>,
    pub replace_fenced: Statement<NewVersion>,
    pub remove: Statement<Key>,
    /// epoch
    pub epoch: Put<NewEpoch>,
    /// previous epoch or null
    pub revoke: Put<NewEpoch>,
    /// Replaces an epoch that is still the one given.
    pub carry_epoch: Statement<NewEpoch>,
    /// Takes all records of a tag but one out of its list; changes so many.
    pub unlist: Statement<Key>,
    /// id
    pub list: Statement<Listing>,
    /// count
    pub count: Statement<Listing>,
    /// id; but for those that count longest, and for those that came last.
    pub newest: Statement<Surplus>,
    pub oldest: Statement<Surplus>,
    /// value
    pub era: Statement<()>,
    /// value
    pub move_era: Put<EraStep>,
    /// A row where the lease is the caller's now.
    pub lease: Put<Lease>,
    pub release: Statement<Lease>,
    /// The store's time. What nodes say of themselves stands among the records, at a tag that none
    /// has, out of every list, and is removed like those.
    pub announce: Put<Announcement>,
    /// node, text
    pub announced: Statement<Announced>,
    /// What follows a change of a record, or of a tag's epoch, before it is acknowledged: telling
    /// other nodes of it, or seeing that it lasts. None where the change itself does both.
    pub after_record: Option<Statement<Key>>,
    pub after_tag: Option<Statement<NewEpoch>>,
    /// What removes garbage, in batches: an hour late, since a clock may be wrong for a while.
    pub reap: &'static [Statement<Batch>],
}

/// A connection, whatever is at its other end.
pub(super) trait Driver: Send + 'static {
    type Row: Cells + Send;

    /// How many rows were changed, or returned.
    fn execute<A: Sync>(
        &mut self,
        statement: &'static Statement<A>,
        args: &A,
    ) -> impl Future<Output = sqlx::Result<u64>> + Send;

    fn fetch<A: Sync>(
        &mut self,
        statement: &'static Statement<A>,
        args: &A,
    ) -> impl Future<Output = sqlx::Result<Vec<Self::Row>>> + Send;

    /// Runs statements as they are.
    fn run(&mut self, sql: &'static str) -> impl Future<Output = sqlx::Result<()>> + Send;
}

/// A row of an answer.
pub(super) trait Cells {
    fn integer(&self, column: usize) -> sqlx::Result<i64>;
    fn bytes(&self, column: usize) -> sqlx::Result<Vec<u8>>;
    fn maybe_bytes(&self, column: usize) -> sqlx::Result<Option<Vec<u8>>>;
    fn maybe_integer(&self, column: usize) -> sqlx::Result<Option<i64>>;
}

macro_rules! driver {
    ($connection:ty, $row:ty) => {
        impl Driver for $connection {
            type Row = $row;

            async fn execute<A: Sync>(
                &mut self,
                statement: &'static Statement<A>,
                args: &A,
            ) -> sqlx::Result<u64> {
                let mut query = sqlx::query(statement.0);
                for arg in statement.1 {
                    query = match arg(args) {
                        Value::Integer(integer) => query.bind(integer),
                        Value::Bytes(bytes) => query.bind(bytes.to_vec()),
                    };
                }
                Ok(query.execute(self).await?.rows_affected())
            }

            async fn fetch<A: Sync>(
                &mut self,
                statement: &'static Statement<A>,
                args: &A,
            ) -> sqlx::Result<Vec<$row>> {
                let mut query = sqlx::query(statement.0);
                for arg in statement.1 {
                    query = match arg(args) {
                        Value::Integer(integer) => query.bind(integer),
                        Value::Bytes(bytes) => query.bind(bytes.to_vec()),
                    };
                }
                query.fetch_all(self).await
            }

            async fn run(&mut self, sql: &'static str) -> sqlx::Result<()> {
                sqlx::raw_sql(sql).execute(self).await.map(drop)
            }
        }

        impl Cells for $row {
            fn integer(&self, column: usize) -> sqlx::Result<i64> {
                self.try_get(column)
            }

            fn bytes(&self, column: usize) -> sqlx::Result<Vec<u8>> {
                self.try_get(column)
            }

            fn maybe_bytes(&self, column: usize) -> sqlx::Result<Option<Vec<u8>>> {
                self.try_get(column)
            }

            fn maybe_integer(&self, column: usize) -> sqlx::Result<Option<i64>> {
                self.try_get(column)
            }
        }
    };
}

driver!(sqlx::SqliteConnection, sqlx::sqlite::SqliteRow);
driver!(sqlx::PgConnection, sqlx::postgres::PgRow);
driver!(sqlx::MySqlConnection, sqlx::mysql::MySqlRow);
