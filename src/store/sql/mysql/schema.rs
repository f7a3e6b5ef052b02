//! Prepares the tables of a database.

use sqlx::MySqlConnection;

use crate::store::sql::engine::{Driver, Unready};
use crate::store::sql::tables::{self, Found};

/// Nodes that start at once take turns.
const LOCK: &str = "SELECT GET_LOCK(CONCAT('cloakroom.', MD5(DATABASE())), 10)";
const UNLOCK: &str = "SELECT RELEASE_LOCK(CONCAT('cloakroom.', MD5(DATABASE())))";

/// Each brings a database from one version to the next. Never changed once released, only added
/// to. `keep_until` is Unix time in milliseconds. Each statement commits by itself: what an
/// earlier try has made is left as it is.
const MIGRATIONS: [&[&str]; 2] = [
    &[
        "CREATE TABLE IF NOT EXISTS cloakroom_meta (
        name VARCHAR(32) CHARACTER SET ascii COLLATE ascii_bin NOT NULL PRIMARY KEY,
        value BIGINT NOT NULL
    ) ENGINE = InnoDB",
        "CREATE TABLE IF NOT EXISTS cloakroom_records (
        tag BINARY(8) NOT NULL,
        id BINARY(16) NOT NULL,
        version BIGINT NOT NULL,
        sealed MEDIUMBLOB NOT NULL,
        keep_until BIGINT NOT NULL,
        PRIMARY KEY (tag, id),
        KEY keep_until (keep_until)
    ) ENGINE = InnoDB",
        "CREATE TABLE IF NOT EXISTS cloakroom_epochs (
        tag BINARY(8) NOT NULL PRIMARY KEY,
        epoch BINARY(16) NOT NULL,
        previous BINARY(16),
        keep_until BIGINT NOT NULL,
        KEY keep_until (keep_until)
    ) ENGINE = InnoDB",
        "CREATE TABLE IF NOT EXISTS cloakroom_leases (
        tag BINARY(8) NOT NULL,
        id BINARY(16) NOT NULL,
        owner BINARY(16) NOT NULL,
        keep_until BIGINT NOT NULL,
        PRIMARY KEY (tag, id),
        KEY keep_until (keep_until)
    ) ENGINE = InnoDB",
        "CREATE TABLE IF NOT EXISTS cloakroom_changes (
        seq BIGINT NOT NULL AUTO_INCREMENT PRIMARY KEY,
        tag BINARY(8) NOT NULL,
        id BINARY(16),
        at BIGINT NOT NULL,
        KEY at (at)
    ) ENGINE = InnoDB",
    ],
    // Where a record stands in the list of its tag: -1 not in it, 0 in it, else since when it counts.
    &["ALTER TABLE cloakroom_records
        ADD COLUMN place BIGINT NOT NULL DEFAULT 0, ADD KEY listed (tag, place, id)"],
];
/// Ask for every column that the statements name.
const COLUMNS: [&str; 4] = [
    "SELECT tag, id, version, sealed, keep_until, place FROM cloakroom_records LIMIT 0",
    "SELECT tag, epoch, previous, keep_until FROM cloakroom_epochs LIMIT 0",
    "SELECT tag, id, owner, keep_until FROM cloakroom_leases LIMIT 0",
    "SELECT seq, tag, id, at FROM cloakroom_changes LIMIT 0",
];

pub(super) async fn prepare(connection: &mut MySqlConnection) -> Result<(), Unready> {
    if version(connection).await? == Found::Current {
        return Ok(());
    }
    let is_held: Option<i64> = sqlx::query_scalar(LOCK).fetch_one(&mut *connection).await?;
    if is_held != Some(1) {
        return Err(sqlx::Error::Protocol("another node is making the tables".to_owned()).into());
    }
    let outcome = migrate(connection).await;
    connection.run(UNLOCK).await?;
    outcome
}

async fn migrate(connection: &mut MySqlConnection) -> Result<(), Unready> {
    let first = match version(connection).await? {
        Found::Current => return Ok(()),
        Found::Older(version) => version,
        Found::Nothing => 0,
    };
    for migration in MIGRATIONS.get(first..).unwrap_or_default() {
        for statement in *migration {
            match connection.run(statement).await {
                // An earlier try added the column.
                Err(error) if number(&error) == Some(1060) => {}
                outcome => outcome.map_err(unready)?,
            }
        }
    }
    for statement in COLUMNS {
        connection.run(statement).await.map_err(unready)?;
    }
    sqlx::query(
        "INSERT INTO cloakroom_meta (name, value) VALUES ('schema', ?) \
         ON DUPLICATE KEY UPDATE value = VALUES(value)",
    )
    .bind(i64::try_from(MIGRATIONS.len()).unwrap_or(i64::MAX))
    .execute(connection)
    .await
    .map_err(unready)?;
    Ok(())
}

/// How far the tables are.
async fn version(connection: &mut MySqlConnection) -> Result<Found, Unready> {
    let version: sqlx::Result<Option<i64>> =
        sqlx::query_scalar("SELECT value FROM cloakroom_meta WHERE name = 'schema'")
            .fetch_optional(connection)
            .await;
    match version {
        // The first table may be there, and no more: making them was broken off.
        Ok(None) => Ok(Found::Nothing),
        Ok(version) => tables::found(version, MIGRATIONS.len()),
        Err(error) if number(&error) == Some(1146) => Ok(Found::Nothing),
        Err(error) => Err(unready(error)),
    }
}

fn number(error: &sqlx::Error) -> Option<u16> {
    let error = error.as_database_error()?;
    Some(error.try_downcast_ref::<sqlx::mysql::MySqlDatabaseError>()?.number())
}

fn unready(error: sqlx::Error) -> Unready {
    match number(&error) {
        Some(1044 | 1142 | 1143 | 1227) => Unready::Refused(
            "its user may not use or make the tables; run: GRANT SELECT, INSERT, UPDATE, DELETE, \
             CREATE, ALTER, INDEX ON its_database.* TO its_user"
                .to_owned(),
        ),
        Some(1054) => Unready::Refused(tables::FOREIGN.to_owned()),
        Some(_) | None => Unready::Failed(error),
    }
}
