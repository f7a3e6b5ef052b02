//! Prepares the tables of a database.

use sqlx::{Connection, PgConnection};

use crate::store::sql::engine::{Driver, Engine, Unready};
use crate::store::sql::tables::{self, Found};

/// Nodes that start at once take turns: "CLRM". The lock is taken before the transaction begins: one
/// that began earlier may not see what was made while it waited. Others' locks are not waited for
/// without end.
const LOCK: &str = "SET lock_timeout = 10000; SELECT pg_advisory_lock(1129075277)";
const UNLOCK: &str = "SELECT pg_advisory_unlock(1129075277)";

/// Each brings a database from one version to the next. Never changed once released, only added
/// to. `keep_until` is Unix time in milliseconds.
const MIGRATIONS: [&str; 2] = [
    "\
CREATE TABLE cloakroom_meta (
    name text PRIMARY KEY,
    value bigint NOT NULL
);
CREATE TABLE cloakroom_records (
    tag bytea NOT NULL,
    id bytea NOT NULL,
    version bigint NOT NULL,
    sealed bytea NOT NULL,
    keep_until bigint NOT NULL,
    PRIMARY KEY (tag, id)
);
ALTER TABLE cloakroom_records ALTER COLUMN sealed SET STORAGE EXTERNAL;
CREATE INDEX cloakroom_records_keep_until ON cloakroom_records (keep_until);
CREATE TABLE cloakroom_epochs (
    tag bytea PRIMARY KEY,
    epoch bytea NOT NULL,
    previous bytea,
    keep_until bigint NOT NULL
);
CREATE INDEX cloakroom_epochs_keep_until ON cloakroom_epochs (keep_until);
CREATE TABLE cloakroom_leases (
    tag bytea NOT NULL,
    id bytea NOT NULL,
    owner bytea NOT NULL,
    keep_until bigint NOT NULL,
    PRIMARY KEY (tag, id)
);
CREATE INDEX cloakroom_leases_keep_until ON cloakroom_leases (keep_until);",
    // Where a record stands in the list of its tag: -1 not in it, 0 in it, else since when it counts.
    "\
ALTER TABLE cloakroom_records ADD COLUMN place bigint NOT NULL DEFAULT 0;
CREATE INDEX cloakroom_records_listed ON cloakroom_records (tag, place, id) WHERE place >= 0;",
];

pub(super) async fn prepare(connection: &mut PgConnection) -> Result<(), Unready> {
    if version(connection).await? == Found::Current {
        return Ok(());
    }
    connection.run(LOCK).await?;
    // Where this fails the connection is closed, and the lock with it.
    migrate(connection).await?;
    connection.run(UNLOCK).await?;
    Ok(())
}

async fn migrate(connection: &mut PgConnection) -> Result<(), Unready> {
    // All or nothing: in PostgreSQL tables are made within transactions.
    let mut transaction = connection.begin().await?;
    let first = match version(&mut transaction).await? {
        Found::Current => return Ok(()),
        Found::Older(version) => version,
        Found::Nothing => 0,
    };
    for migration in MIGRATIONS.iter().skip(first) {
        transaction.run(migration).await.map_err(unready)?;
    }
    sqlx::query(
        "INSERT INTO cloakroom_meta (name, value) VALUES ('schema', $1) \
         ON CONFLICT (name) DO UPDATE SET value = excluded.value",
    )
    .bind(i64::try_from(MIGRATIONS.len()).unwrap_or(i64::MAX))
    .execute(&mut *transaction)
    .await
    .map_err(unready)?;
    transaction.commit().await?;
    Ok(())
}

/// How far the tables are.
async fn version(connection: &mut PgConnection) -> Result<Found, Unready> {
    let is_there: bool = sqlx::query_scalar("SELECT to_regclass('cloakroom_meta') IS NOT NULL")
        .fetch_one(&mut *connection)
        .await
        .map_err(unready)?;
    if !is_there {
        return Ok(Found::Nothing);
    }
    let version: Option<i64> =
        sqlx::query_scalar("SELECT value FROM cloakroom_meta WHERE name = 'schema'")
            .fetch_optional(connection)
            .await
            .map_err(unready)?;
    tables::found(version, MIGRATIONS.len())
}

fn unready(error: sqlx::Error) -> Unready {
    let code = error.as_database_error().and_then(|error| error.code());
    match code.as_deref() {
        Some("42501") => Unready::Refused(
            "its user may not use or make the tables; as the owner of the database run: \
             GRANT USAGE, CREATE ON SCHEMA public TO its_user; where the tables are another \
             user's also: GRANT SELECT, INSERT, UPDATE, DELETE ON cloakroom_meta, \
             cloakroom_records, cloakroom_epochs, cloakroom_leases TO its_user"
                .to_owned(),
        ),
        Some("42P05" | "26000") => Unready::Refused(super::Postgres::explained(&error)),
        Some("3F000") => Unready::Refused(
            "there is no schema that tables could be made in; see `search_path`".to_owned(),
        ),
        // A table, column or type that is not what ours is.
        Some("42P07" | "42703" | "42804" | "42883") => Unready::Refused(tables::FOREIGN.to_owned()),
        Some(_) | None => Unready::Failed(error),
    }
}
