//! PostgreSQL 12 or later. Each write is one statement, which tells of its change within its own
//! transaction (`NOTIFY`), and then [`FLUSH`]; `READ COMMITTED` is enough.
//!
//! A replacement that is fenced by an epoch locks the epoch's row before it looks at the record, in
//! the same statement. A revocation that runs at the same time thus waits for it, or it waits for
//! the revocation and finds another epoch: nothing is replaced after a revocation was
//! acknowledged.

mod listen;
mod schema;

use sqlx::postgres::{PgConnectOptions, PgSslMode};
use sqlx::{ConnectOptions, PgConnection};

use super::engine::Arg::{
    Epoch, EpochUntil, Era, Id, KeepUntil, Limit, NewEpoch, Now, Offset, Owner, Place, Sealed,
    Step, Tag, Version,
};
use super::engine::{
    Deadlines, Driver, Engine, Put, Role, Statement, Statements, Trouble, Unready,
};
use super::hearing::Hearing;
use super::server::{Protection, Settings};

/// A server.
pub(super) struct Postgres {
    settings: Settings,
}

impl Postgres {
    pub(super) fn new(settings: &Settings) -> Self {
        Self { settings: settings.clone() }
    }

    fn options(&self) -> sqlx::Result<PgConnectOptions> {
        let (settings, url) = (&self.settings, &self.settings.url);
        let mut options = PgConnectOptions::new_without_pgpass()
            .host(url.host())
            .port(url.port())
            .database(url.database())
            .application_name("cloakroom")
            .ssl_mode(match settings.protection() {
                Protection::Off => PgSslMode::Disable,
                Protection::IfOffered => PgSslMode::Prefer,
                Protection::Encrypted => PgSslMode::Require,
                Protection::Authority => PgSslMode::VerifyCa,
                Protection::Host => PgSslMode::VerifyFull,
            })
            .disable_statement_logging();
        if let Some(user) = &settings.login.username {
            options = options.username(user);
        }
        if let Some(password) = settings.password()? {
            options = options.password(password.expose());
        }
        if let Some(socket) = url.socket() {
            options = options.socket(socket);
        }
        if let Some(ca) = &settings.tls.ca {
            options = options.ssl_root_cert(ca);
        }
        if let Some((certificate, key)) = &settings.tls.identity {
            options = options.ssl_client_cert(certificate).ssl_client_key(key);
        }
        Ok(options)
    }
}

impl Engine for Postgres {
    type Connection = PgConnection;

    const NAME: &'static str = "postgres";
    const STATEMENTS: &'static Statements = &STATEMENTS;
    const DEADLINES: Deadlines = super::server::DEADLINES;
    const CONNECTIONS: (usize, usize) = super::server::CONNECTIONS;
    const IS_SERVER: bool = true;
    const GROUPS: bool = false;

    async fn connect(&self, role: Role) -> sqlx::Result<PgConnection> {
        let mut connection = self.options()?.connect().await?;
        connection.run(settings_of(role)).await?;
        Ok(connection)
    }

    async fn prepare(&self, connection: &mut PgConnection) -> Result<(), Unready> {
        schema::prepare(connection).await
    }

    async fn watch(&self, connection: PgConnection, hearing: &Hearing) -> String {
        match self.options() {
            Ok(options) => listen::watch(connection, options, hearing).await,
            Err(error) => error.to_string(),
        }
    }

    fn trouble(error: &sqlx::Error) -> Trouble {
        let Some(error) = error.as_database_error() else { return Trouble::of_connection(error) };
        match error.code().as_deref() {
            // Serialization failure, deadlock, a lock that was not had in time.
            Some("40001" | "40P01" | "55P03") => Trouble::Busy,
            // The server ends, or begins.
            Some("57P01" | "57P02" | "57P03") => Trouble::Broken,
            Some(code) if code.starts_with("08") => Trouble::Broken,
            Some(_) | None => Trouble::Refused,
        }
    }
}

/// Statements are given up by the server too, somewhat after the caller has. `local`: on this
/// server's disk. `on`: also on the standbys that `synchronous_standby_names` names; a stricter
/// setting of the server stays.
fn settings_of(role: Role) -> &'static str {
    match role {
        Role::Read => "SET statement_timeout = 2000",
        Role::Write => "SET statement_timeout = 2000; SET synchronous_commit = local",
        Role::Durable => {
            "SET statement_timeout = 2000; SELECT set_config('synchronous_commit', 'on', false) \
             WHERE current_setting('synchronous_commit') IN ('off', 'local', 'remote_write')"
        }
        // It writes nothing that must last.
        Role::Heart => "SET synchronous_commit = off",
    }
}

/// Transactions that notify commit one after another. Were each flushed while the others wait,
/// writes were as slow as one disk: instead such a transaction does not wait for the flush of its
/// own commit, and the write is acknowledged after this one, which notifies nobody, writes next to
/// nothing, and is flushed together with others of its kind, and with all that was committed
/// before.
const FLUSH: Statement = Statement("SELECT pg_logical_emit_message(true, 'cloakroom', '')", &[]);

const STATEMENTS: Statements = Statements {
    begin: None,
    begin_several: "BEGIN",
    load: Statement(
        "SELECT version, sealed FROM cloakroom_records \
         WHERE tag = $1 AND id = $2 AND keep_until > $3",
        &[Tag, Id, Now],
    ),
    load_with_epoch: Statement(
        "SELECT r.version, r.sealed, e.epoch FROM cloakroom_records r \
         LEFT JOIN cloakroom_epochs e ON e.tag = r.tag AND e.keep_until > $3 \
         WHERE r.tag = $1 AND r.id = $2 AND r.keep_until > $3",
        &[Tag, Id, Now],
    ),
    create: Put {
        write: Statement(
            "INSERT INTO cloakroom_records AS r (tag, id, version, sealed, keep_until, place) \
             VALUES ($1, $2, 1, $3, $4, $6) ON CONFLICT (tag, id) DO UPDATE SET \
             version = excluded.version, sealed = excluded.sealed, \
             keep_until = excluded.keep_until, place = excluded.place \
             WHERE r.keep_until <= $5 RETURNING version",
            &[Tag, Id, Sealed, KeepUntil, Now, Place],
        ),
        read: None,
    },
    fence: None,
    replace: Statement(
        "WITH changed AS (UPDATE cloakroom_records \
         SET version = version + 1, sealed = $3, keep_until = $4, \
         place = CASE WHEN place > 0 AND $7::bigint > 0 THEN place ELSE $7::bigint END \
         WHERE tag = $1 AND id = $2 AND version = $5 AND keep_until > $6 RETURNING tag, id) \
         SELECT pg_notify('cloakroom', encode(tag || id, 'hex')), \
         set_config('synchronous_commit', 'off', true) FROM changed",
        &[Tag, Id, Sealed, KeepUntil, Version, Now, Place],
    ),
    replace_fenced: Statement(
        "WITH fence AS MATERIALIZED (SELECT 1 FROM cloakroom_epochs \
         WHERE tag = $1 AND epoch = $8 AND keep_until > $6 FOR SHARE), \
         changed AS (UPDATE cloakroom_records \
         SET version = version + 1, sealed = $3, keep_until = $4, \
         place = CASE WHEN place > 0 AND $7::bigint > 0 THEN place ELSE $7::bigint END \
         WHERE tag = $1 AND id = $2 AND version = $5 AND keep_until > $6 \
         AND EXISTS (SELECT 1 FROM fence) RETURNING tag, id) \
         SELECT pg_notify('cloakroom', encode(tag || id, 'hex')), \
         set_config('synchronous_commit', 'off', true) FROM changed",
        &[Tag, Id, Sealed, KeepUntil, Version, Now, Place, Epoch],
    ),
    remove: Statement(
        "WITH changed AS (DELETE FROM cloakroom_records WHERE tag = $1 AND id = $2 \
         RETURNING tag, id) \
         SELECT pg_notify('cloakroom', encode(tag || id, 'hex')), \
         set_config('synchronous_commit', 'off', true) FROM changed",
        &[Tag, Id],
    ),
    epoch: Put {
        write: Statement(
            "INSERT INTO cloakroom_epochs AS e (tag, epoch, keep_until) VALUES ($1, $2, $3) \
             ON CONFLICT (tag) DO UPDATE SET \
             epoch = CASE WHEN e.keep_until > $4 THEN e.epoch ELSE excluded.epoch END, \
             keep_until = greatest(e.keep_until, excluded.keep_until) RETURNING epoch",
            &[Tag, Epoch, KeepUntil, Now],
        ),
        read: None,
    },
    revoke: Put {
        write: Statement(
            "WITH put AS (INSERT INTO cloakroom_epochs AS e (tag, epoch, keep_until) \
             VALUES ($1, $2, $3) ON CONFLICT (tag) DO UPDATE SET previous = CASE \
             WHEN e.keep_until > $4 AND e.epoch <> excluded.epoch THEN e.epoch END, \
             epoch = excluded.epoch, \
             keep_until = greatest(e.keep_until, excluded.keep_until) \
             RETURNING tag, previous) \
             SELECT previous, pg_notify('cloakroom', encode(tag, 'hex')), \
             set_config('synchronous_commit', 'off', true) FROM put",
            &[Tag, Epoch, KeepUntil, Now],
        ),
        read: None,
    },
    carry_epoch: Statement(
        "WITH put AS (UPDATE cloakroom_epochs SET previous = epoch, epoch = $2, \
         keep_until = greatest(keep_until, $3) \
         WHERE tag = $1 AND epoch = $4 AND keep_until > $5 RETURNING tag) \
         SELECT pg_notify('cloakroom', encode(tag, 'hex')), \
         set_config('synchronous_commit', 'off', true) FROM put",
        &[Tag, NewEpoch, EpochUntil, Epoch, Now],
    ),
    unlist: Statement(
        "UPDATE cloakroom_records SET place = -1 \
         WHERE tag = $1 AND place >= 0 AND id <> $2 AND keep_until > $3",
        &[Tag, Id, Now],
    ),
    list: Statement(
        "SELECT id FROM cloakroom_records WHERE tag = $1 AND place >= 0 AND keep_until > $2 \
         ORDER BY keep_until DESC LIMIT $3",
        &[Tag, Now, Limit],
    ),
    count: Statement(
        "SELECT count(*) FROM cloakroom_records \
         WHERE tag = $1 AND place >= 0 AND keep_until > $2",
        &[Tag, Now],
    ),
    newest: Statement(
        "SELECT id FROM cloakroom_records \
         WHERE tag = $1 AND place > 0 AND keep_until > $2 AND id <> $3 \
         ORDER BY place, id LIMIT $4 OFFSET $5",
        &[Tag, Now, Id, Limit, Offset],
    ),
    oldest: Statement(
        "SELECT id FROM cloakroom_records \
         WHERE tag = $1 AND place > 0 AND keep_until > $2 AND id <> $3 \
         ORDER BY place DESC, id DESC LIMIT $4 OFFSET $5",
        &[Tag, Now, Id, Limit, Offset],
    ),
    era: Statement("SELECT value FROM cloakroom_meta WHERE name = 'era'", &[]),
    move_era: Put {
        write: Statement(
            "INSERT INTO cloakroom_meta AS m (name, value) \
             VALUES ('era', least($1::bigint + $2::bigint, 4294967295)) \
             ON CONFLICT (name) DO UPDATE SET \
             value = least(greatest(m.value, $1) + $2, 4294967295) RETURNING value",
            &[Era, Step],
        ),
        read: None,
    },
    lease: Put {
        write: Statement(
            "INSERT INTO cloakroom_leases AS l (tag, id, owner, keep_until) \
             VALUES ($1, $2, $3, $4) ON CONFLICT (tag, id) DO UPDATE SET \
             owner = excluded.owner, keep_until = excluded.keep_until \
             WHERE l.owner = excluded.owner OR l.keep_until <= $5 RETURNING owner",
            &[Tag, Id, Owner, KeepUntil, Now],
        ),
        read: None,
    },
    release: Statement(
        "DELETE FROM cloakroom_leases WHERE tag = $1 AND id = $2 AND owner = $3",
        &[Tag, Id, Owner],
    ),
    after_record: Some(FLUSH),
    after_tag: Some(FLUSH),
    // What another node is removing is left to it.
    reap: &[
        Statement(
            "DELETE FROM cloakroom_records WHERE (tag, id) IN \
             (SELECT tag, id FROM cloakroom_records WHERE keep_until <= $1 LIMIT $2 \
             FOR UPDATE SKIP LOCKED)",
            &[Now, Limit],
        ),
        Statement(
            "DELETE FROM cloakroom_epochs WHERE tag IN \
             (SELECT tag FROM cloakroom_epochs WHERE keep_until <= $1 LIMIT $2 \
             FOR UPDATE SKIP LOCKED)",
            &[Now, Limit],
        ),
        Statement(
            "DELETE FROM cloakroom_leases WHERE (tag, id) IN \
             (SELECT tag, id FROM cloakroom_leases WHERE keep_until <= $1 LIMIT $2 \
             FOR UPDATE SKIP LOCKED)",
            &[Now, Limit],
        ),
    ],
};
