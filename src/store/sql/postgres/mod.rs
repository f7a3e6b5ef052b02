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

use super::args::{
    Announced, Announcement, Arg, Batch, EraStep, Key, Lease, Listing, NewEpoch, NewRecord,
    NewVersion, Sign, Statement, Surplus,
};
use super::engine::{Deadlines, Driver, Engine, Put, Role, Statements, Trouble, Unready};
use super::hearing::Hearing;
use super::server::{Protection, ServerSettings};

/// A server.
pub(super) struct Postgres {
    settings: ServerSettings,
}

impl Postgres {
    pub(super) fn new(settings: &ServerSettings) -> Self {
        Self { settings: settings.clone() }
    }

    fn options(&self) -> sqlx::Result<PgConnectOptions> {
        let (settings, url) = (&self.settings, &self.settings.url);
        let mut options = PgConnectOptions::new_without_pgpass()
            .host(url.host())
            .port(url.port())
            .database(url.database())
            .application_name("cloakroom")
            // There are no such numbers here, and poolers do not let it through.
            .extra_float_digits(None)
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
            // The server ends, or begins, or takes no writes: it may be the one from before a
            // failover.
            Some("57P01" | "57P02" | "57P03" | "25006") => Trouble::Broken,
            Some(code) if code.starts_with("08") => Trouble::Broken,
            Some(_) | None => Trouble::Refused,
        }
    }

    fn explained(error: &sqlx::Error) -> String {
        explained(error.to_string())
    }
}

/// Says what to do where a pooler shows: a prepared statement is there already, or is not, or a
/// connection hears what another one listens for.
fn explained(error: String) -> String {
    let is_poolers = ["prepared statement \"", "NotificationResponse"];
    match is_poolers.iter().any(|sign| error.contains(sign)) {
        true => format!("{error}; {POOLER}"),
        false => error,
    }
}

/// Who must not stand in between: each transaction would be another connection's, and what is
/// listened for on one is not heard on the next.
const POOLER: &str = "between this node and the server stands a pooler such as PgBouncer that gives \
                      each transaction another connection: set `pool_mode = session` for this \
                      database, or name the server itself in `store`";

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
const FLUSH: &str = "SELECT pg_logical_emit_message(true, 'cloakroom', '')";

/// The server's time in Unix milliseconds, the same throughout a statement.
macro_rules! now {
    () => {
        "(extract(epoch FROM statement_timestamp()) * 1000)::bigint"
    };
}

/// Writes a row of a node's own, and answers with the server's time. It stands among the leases, at a
/// tag that no record has, and is removed like those.
const SIGN: Put<Sign> = Put {
    write: Statement(
        concat!(
            "INSERT INTO cloakroom_leases AS l (tag, id, owner, keep_until) \
             VALUES ('\\x0000000000000000', $1, $2, ",
            now!(),
            ") ON CONFLICT (tag, id) DO UPDATE SET \
             owner = excluded.owner, keep_until = excluded.keep_until RETURNING keep_until"
        ),
        &[Sign::id, Sign::nonce],
    ),
    read: None,
};

const STATEMENTS: Statements = Statements {
    begin: None,
    begin_several: "BEGIN",
    load: Statement(
        concat!(
            "SELECT version, sealed FROM cloakroom_records \
             WHERE tag = $1 AND id = $2 AND keep_until > ",
            now!()
        ),
        &[Key::tag, Key::id],
    ),
    load_with_epoch: Statement(
        concat!(
            "SELECT r.version, r.sealed, e.epoch FROM cloakroom_records r \
             LEFT JOIN cloakroom_epochs e ON e.tag = r.tag AND e.keep_until > ",
            now!(),
            " WHERE r.tag = $1 AND r.id = $2 AND r.keep_until > ",
            now!()
        ),
        &[Key::tag, Key::id],
    ),
    create: Put {
        write: Statement(
            concat!(
                "INSERT INTO cloakroom_records AS r (tag, id, version, sealed, keep_until, place) \
                 VALUES ($1, $2, 1, $3, $4 + ",
                now!(),
                ", $5) ON CONFLICT (tag, id) DO UPDATE SET \
                 version = excluded.version, sealed = excluded.sealed, \
                 keep_until = excluded.keep_until, place = excluded.place WHERE r.keep_until <= ",
                now!(),
                " RETURNING version"
            ),
            &[NewRecord::tag, NewRecord::id, NewRecord::sealed, NewRecord::keep, NewRecord::place],
        ),
        read: None,
    },
    fence: None,
    replace: Statement(
        concat!(
            "WITH changed AS (UPDATE cloakroom_records \
             SET version = version + 1, sealed = $3, keep_until = $4 + ",
            now!(),
            ", place = CASE WHEN place > 0 AND $6::bigint > 0 THEN place ELSE $6::bigint END \
             WHERE tag = $1 AND id = $2 AND version = $5 AND keep_until > ",
            now!(),
            " RETURNING tag, id) \
             SELECT pg_notify('cloakroom', encode(tag || id, 'hex')), \
             set_config('synchronous_commit', 'off', true) FROM changed"
        ),
        &[
            NewVersion::tag,
            NewVersion::id,
            NewVersion::sealed,
            NewVersion::keep,
            NewVersion::version,
            NewVersion::place,
        ],
    ),
    replace_fenced: Statement(
        concat!(
            "WITH fence AS MATERIALIZED (SELECT 1 FROM cloakroom_epochs \
             WHERE tag = $1 AND epoch = $7 AND keep_until > ",
            now!(),
            " FOR SHARE), changed AS (UPDATE cloakroom_records \
             SET version = version + 1, sealed = $3, keep_until = $4 + ",
            now!(),
            ", place = CASE WHEN place > 0 AND $6::bigint > 0 THEN place ELSE $6::bigint END \
             WHERE tag = $1 AND id = $2 AND version = $5 AND keep_until > ",
            now!(),
            " AND EXISTS (SELECT 1 FROM fence) RETURNING tag, id) \
             SELECT pg_notify('cloakroom', encode(tag || id, 'hex')), \
             set_config('synchronous_commit', 'off', true) FROM changed"
        ),
        &[
            NewVersion::tag,
            NewVersion::id,
            NewVersion::sealed,
            NewVersion::keep,
            NewVersion::version,
            NewVersion::place,
            NewVersion::epoch,
        ],
    ),
    remove: Statement(
        "WITH changed AS (DELETE FROM cloakroom_records WHERE tag = $1 AND id = $2 \
         RETURNING tag, id) \
         SELECT pg_notify('cloakroom', encode(tag || id, 'hex')), \
         set_config('synchronous_commit', 'off', true) FROM changed",
        &[Key::tag, Key::id],
    ),
    epoch: Put {
        write: Statement(
            concat!(
                "INSERT INTO cloakroom_epochs AS e (tag, epoch, keep_until) VALUES ($1, $2, $3 + ",
                now!(),
                ") ON CONFLICT (tag) DO UPDATE SET epoch = CASE WHEN e.keep_until > ",
                now!(),
                " THEN e.epoch ELSE excluded.epoch END, \
                 keep_until = greatest(e.keep_until, excluded.keep_until) RETURNING epoch"
            ),
            &[NewEpoch::tag, NewEpoch::epoch, NewEpoch::keep],
        ),
        read: None,
    },
    revoke: Put {
        write: Statement(
            concat!(
                "WITH put AS (INSERT INTO cloakroom_epochs AS e (tag, epoch, keep_until) \
                 VALUES ($1, $2, $3 + ",
                now!(),
                ") ON CONFLICT (tag) DO UPDATE SET previous = CASE WHEN e.keep_until > ",
                now!(),
                " AND e.epoch <> excluded.epoch THEN e.epoch END, epoch = excluded.epoch, \
                 keep_until = greatest(e.keep_until, excluded.keep_until) \
                 RETURNING tag, previous) \
                 SELECT previous, pg_notify('cloakroom', encode(tag, 'hex')), \
                 set_config('synchronous_commit', 'off', true) FROM put"
            ),
            &[NewEpoch::tag, NewEpoch::epoch, NewEpoch::keep],
        ),
        read: None,
    },
    carry_epoch: Statement(
        concat!(
            "WITH put AS (UPDATE cloakroom_epochs SET previous = epoch, epoch = $2, \
             keep_until = greatest(keep_until, $3 + ",
            now!(),
            ") WHERE tag = $1 AND epoch = $4 AND keep_until > ",
            now!(),
            " RETURNING tag) \
             SELECT pg_notify('cloakroom', encode(tag, 'hex')), \
             set_config('synchronous_commit', 'off', true) FROM put"
        ),
        &[NewEpoch::tag, NewEpoch::epoch, NewEpoch::keep, NewEpoch::over],
    ),
    unlist: Statement(
        concat!(
            "UPDATE cloakroom_records SET place = -1 \
             WHERE tag = $1 AND place >= 0 AND id <> $2 AND keep_until > ",
            now!()
        ),
        &[Key::tag, Key::id],
    ),
    list: Statement(
        concat!(
            "SELECT id FROM cloakroom_records WHERE tag = $1 AND place >= 0 AND keep_until > ",
            now!(),
            " ORDER BY keep_until DESC LIMIT $2"
        ),
        &[Listing::tag, Listing::limit],
    ),
    count: Statement(
        concat!(
            "SELECT count(*) FROM cloakroom_records \
             WHERE tag = $1 AND place >= 0 AND keep_until > ",
            now!()
        ),
        &[Listing::tag],
    ),
    newest: Statement(
        concat!(
            "SELECT id FROM cloakroom_records WHERE tag = $1 AND place > 0 AND keep_until > ",
            now!(),
            " AND id <> $2 ORDER BY place, id LIMIT $3 OFFSET $4"
        ),
        SURPLUS,
    ),
    oldest: Statement(
        concat!(
            "SELECT id FROM cloakroom_records WHERE tag = $1 AND place > 0 AND keep_until > ",
            now!(),
            " AND id <> $2 ORDER BY place DESC, id DESC LIMIT $3 OFFSET $4"
        ),
        SURPLUS,
    ),
    era: Statement("SELECT value FROM cloakroom_meta WHERE name = 'era'", &[]),
    move_era: Put {
        write: Statement(
            "INSERT INTO cloakroom_meta AS m (name, value) \
             VALUES ('era', least($1::bigint + $2::bigint, 4294967295)) \
             ON CONFLICT (name) DO UPDATE SET \
             value = least(greatest(m.value, $1) + $2, 4294967295) RETURNING value",
            &[EraStep::era, EraStep::step],
        ),
        read: None,
    },
    lease: Put {
        write: Statement(
            concat!(
                "INSERT INTO cloakroom_leases AS l (tag, id, owner, keep_until) \
                 VALUES ($1, $2, $3, $4 + ",
                now!(),
                ") ON CONFLICT (tag, id) DO UPDATE SET \
                 owner = excluded.owner, keep_until = excluded.keep_until \
                 WHERE l.owner = excluded.owner OR l.keep_until <= ",
                now!(),
                " RETURNING owner"
            ),
            &[Lease::tag, Lease::id, Lease::owner, Lease::hold],
        ),
        read: None,
    },
    release: Statement(
        "DELETE FROM cloakroom_leases WHERE tag = $1 AND id = $2 AND owner = $3",
        &[Lease::tag, Lease::id, Lease::owner],
    ),
    announce: Put {
        write: Statement(
            concat!(
                "INSERT INTO cloakroom_records (tag, id, version, sealed, keep_until, place) \
                 VALUES ('\\x0000000000000000', $1, 1, $2, $3 + ",
                now!(),
                ", -1) ON CONFLICT (tag, id) DO UPDATE SET \
                 sealed = excluded.sealed, keep_until = excluded.keep_until RETURNING ",
                now!()
            ),
            &[Announcement::node, Announcement::text, Announcement::keep],
        ),
        read: None,
    },
    announced: Statement(
        concat!(
            "SELECT id, sealed FROM cloakroom_records \
             WHERE tag = '\\x0000000000000000' AND keep_until > ",
            now!(),
            " AND keep_until <= $1 + ",
            now!(),
            " AND octet_length(sealed) <= $2::bigint ORDER BY keep_until DESC LIMIT $3"
        ),
        &[Announced::keep, Announced::bytes, Announced::limit],
    ),
    after_record: Some(Statement(FLUSH, &[])),
    after_tag: Some(Statement(FLUSH, &[])),
    // What another node is removing is left to it.
    reap: &[
        Statement(
            concat!(
                "DELETE FROM cloakroom_records WHERE (tag, id) IN \
                 (SELECT tag, id FROM cloakroom_records WHERE keep_until <= ",
                now!(),
                " - 3600000 LIMIT $1 FOR UPDATE SKIP LOCKED)"
            ),
            &[Batch::limit],
        ),
        Statement(
            concat!(
                "DELETE FROM cloakroom_epochs WHERE tag IN \
                 (SELECT tag FROM cloakroom_epochs WHERE keep_until <= ",
                now!(),
                " - 3600000 LIMIT $1 FOR UPDATE SKIP LOCKED)"
            ),
            &[Batch::limit],
        ),
        Statement(
            concat!(
                "DELETE FROM cloakroom_leases WHERE (tag, id) IN \
                 (SELECT tag, id FROM cloakroom_leases WHERE keep_until <= ",
                now!(),
                " - 3600000 LIMIT $1 FOR UPDATE SKIP LOCKED)"
            ),
            &[Batch::limit],
        ),
    ],
};

const SURPLUS: &[Arg<Surplus>] = &[Surplus::tag, Surplus::id, Surplus::limit, Surplus::offset];
