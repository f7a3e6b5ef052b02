//! MySQL 8 or later, MariaDB 10.6 or later. A write is a transaction of several statements, the
//! last of which leaves a row that tells of the change.
//!
//! A replacement that is fenced by an epoch locks the epoch's row before it looks at the record. A
//! revocation that runs at the same time thus waits for it, or it waits for the revocation and
//! finds another epoch: nothing is replaced after a revocation was acknowledged.

mod schema;

use std::time::Duration;

use sqlx::mysql::{MySqlConnectOptions, MySqlSslMode};
use sqlx::{ConnectOptions, MySqlConnection};

use super::args::{
    Announced, Announcement, Arg, Batch, EraStep, Key, Lease, Listing, NewEpoch, NewRecord,
    NewVersion, Sign, Statement, Surplus,
};
use super::engine::{Deadlines, Driver, Engine, Put, Role, Statements, Trouble, Unready};
use super::hearing::Hearing;
use super::poll::{self, ABOVE, Questions};
use super::server::{Protection, ServerSettings};

/// A server.
pub(super) struct MySql {
    settings: ServerSettings,
}

impl MySql {
    pub(super) fn new(settings: &ServerSettings) -> Self {
        Self { settings: settings.clone() }
    }

    fn options(&self) -> sqlx::Result<MySqlConnectOptions> {
        let (settings, url) = (&self.settings, &self.settings.url);
        let mut options = MySqlConnectOptions::new()
            .host(url.host())
            .port(url.port())
            .database(url.database())
            // What these would set is set below, or does not concern bytes and integers.
            .pipes_as_concat(false)
            .no_engine_substitution(false)
            .timezone(None)
            .set_names(false)
            .ssl_mode(match settings.protection() {
                Protection::Off => MySqlSslMode::Disabled,
                Protection::IfOffered => MySqlSslMode::Preferred,
                Protection::Encrypted => MySqlSslMode::Required,
                Protection::Authority => MySqlSslMode::VerifyCa,
                Protection::Host => MySqlSslMode::VerifyIdentity,
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
            options = options.ssl_ca(ca);
        }
        if let Some((certificate, key)) = &settings.tls.identity {
            options = options.ssl_client_cert(certificate).ssl_client_key(key);
        }
        Ok(options)
    }
}

impl Engine for MySql {
    type Connection = MySqlConnection;

    const NAME: &'static str = "mysql";
    const STATEMENTS: &'static Statements = &STATEMENTS;
    const DEADLINES: Deadlines = super::server::DEADLINES;
    const CONNECTIONS: (usize, usize) = super::server::CONNECTIONS;
    const IS_SERVER: bool = true;
    const GROUPS: bool = false;

    async fn connect(&self, role: Role) -> sqlx::Result<MySqlConnection> {
        let mut connection = self.options()?.connect().await?;
        // Fewer locks, and each statement sees what was committed before it.
        connection.run("SET SESSION TRANSACTION ISOLATION LEVEL READ COMMITTED").await?;
        connection.run(settings_of(role)).await?;
        Ok(connection)
    }

    async fn prepare(&self, connection: &mut MySqlConnection) -> Result<(), Unready> {
        schema::prepare(connection).await
    }

    async fn watch(&self, connection: MySqlConnection, hearing: &Hearing) -> String {
        poll::watch(connection, &QUESTIONS, hearing).await
    }

    fn trouble(error: &sqlx::Error) -> Trouble {
        let Some(error) = error.as_database_error() else { return Trouble::of_connection(error) };
        let number = error.try_downcast_ref::<sqlx::mysql::MySqlDatabaseError>();
        match number.map(|error| error.number()) {
            // A lock that was not had in time, a deadlock.
            Some(1205 | 1213) => Trouble::Busy,
            // The server ends, or has closed the connection.
            Some(1053 | 1077 | 1079 | 1927 | 4031) => Trouble::Broken,
            // It takes no writes (`read_only`, a member that has left its cluster): the one from
            // before a failover, perhaps, which answers for as long as it is asked.
            Some(1047 | 1290 | 1792 | 1836) => Trouble::Broken,
            Some(_) | None => Trouble::Refused,
        }
    }
}

/// No value is cut to fit its column. A writer that was stopped amid its transaction loses its
/// connection and its locks: see [`QUESTIONS`].
fn settings_of(role: Role) -> &'static str {
    match role {
        Role::Read | Role::Heart => "SET SESSION sql_mode = 'STRICT_ALL_TABLES', autocommit = 1",
        Role::Write | Role::Durable => {
            "SET SESSION sql_mode = 'STRICT_ALL_TABLES', autocommit = 1, \
             innodb_lock_wait_timeout = 1, wait_timeout = 5"
        }
    }
}

/// The server's time in Unix milliseconds, the same throughout a statement.
macro_rules! now {
    () => {
        "(TIMESTAMPDIFF(MICROSECOND, '1970-01-01', UTC_TIMESTAMP(3)) DIV 1000)"
    };
}

/// What is signed stands among the leases, at a tag that no record has, and is removed like those.
/// A writer takes a number with its last statement. It commits then, or is given up within its
/// deadline; were it stopped just then, the server gives it up after `wait_timeout`.
const QUESTIONS: Questions = Questions {
    top: Statement("SELECT MAX(seq) FROM cloakroom_changes", &[]),
    above: Statement(
        "SELECT seq, tag, id FROM cloakroom_changes WHERE seq > ? ORDER BY seq LIMIT ?",
        ABOVE,
    ),
    sign: Some(Put {
        write: Statement(
            concat!(
                "INSERT INTO cloakroom_leases (tag, id, owner, keep_until) \
                 VALUES (X'0000000000000000', ?, ?, ",
                now!(),
                ") ON DUPLICATE KEY UPDATE owner = VALUES(owner), keep_until = VALUES(keep_until)"
            ),
            &[Sign::id, Sign::nonce],
        ),
        read: Some(Statement(
            concat!(
                "SELECT ",
                now!(),
                " FROM cloakroom_leases \
                 WHERE tag = X'0000000000000000' AND id = ? AND owner = ?"
            ),
            &[Sign::id, Sign::nonce],
        )),
    }),
    settled: Duration::from_secs(10),
};

const STATEMENTS: Statements = Statements {
    begin: Some("START TRANSACTION"),
    begin_several: "START TRANSACTION",
    load: Statement(
        concat!(
            "SELECT version, sealed FROM cloakroom_records \
             WHERE tag = ? AND id = ? AND keep_until > ",
            now!()
        ),
        &[Key::tag, Key::id],
    ),
    load_with_epoch: Statement(
        concat!(
            "SELECT r.version, r.sealed, e.epoch FROM cloakroom_records r \
             LEFT JOIN cloakroom_epochs e ON e.tag = r.tag AND e.keep_until > ",
            now!(),
            " WHERE r.tag = ? AND r.id = ? AND r.keep_until > ",
            now!()
        ),
        &[Key::tag, Key::id],
    ),
    create: Put {
        // Assignments are made from left to right: the time that is compared comes last.
        write: Statement(
            concat!(
                "INSERT INTO cloakroom_records (tag, id, version, sealed, keep_until, place) \
                 VALUES (?, ?, 1, ?, ? + ",
                now!(),
                ", ?) ON DUPLICATE KEY UPDATE version = IF(keep_until <= ",
                now!(),
                ", 1, version), sealed = IF(keep_until <= ",
                now!(),
                ", VALUES(sealed), sealed), place = IF(keep_until <= ",
                now!(),
                ", VALUES(place), place), keep_until = IF(keep_until <= ",
                now!(),
                ", VALUES(keep_until), keep_until)"
            ),
            &[NewRecord::tag, NewRecord::id, NewRecord::sealed, NewRecord::keep, NewRecord::place],
        ),
        read: Some(Statement(
            "SELECT version FROM cloakroom_records \
             WHERE tag = ? AND id = ? AND version = 1 AND sealed = ?",
            &[NewRecord::tag, NewRecord::id, NewRecord::sealed],
        )),
    },
    // This spelling is MariaDB's too.
    fence: Some(Statement(
        concat!(
            "SELECT 1 FROM cloakroom_epochs WHERE tag = ? AND epoch = ? AND keep_until > ",
            now!(),
            " LOCK IN SHARE MODE"
        ),
        &[NewVersion::tag, NewVersion::epoch],
    )),
    replace: REPLACE,
    replace_fenced: REPLACE,
    remove: Statement(
        "DELETE FROM cloakroom_records WHERE tag = ? AND id = ?",
        &[Key::tag, Key::id],
    ),
    epoch: Put {
        write: Statement(
            concat!(
                "INSERT INTO cloakroom_epochs (tag, epoch, keep_until) VALUES (?, ?, ? + ",
                now!(),
                ") ON DUPLICATE KEY UPDATE epoch = IF(keep_until > ",
                now!(),
                ", epoch, VALUES(epoch)), keep_until = GREATEST(keep_until, VALUES(keep_until))"
            ),
            NEW_EPOCH,
        ),
        read: Some(Statement("SELECT epoch FROM cloakroom_epochs WHERE tag = ?", &[NewEpoch::tag])),
    },
    revoke: Put {
        write: Statement(
            concat!(
                "INSERT INTO cloakroom_epochs (tag, epoch, keep_until) VALUES (?, ?, ? + ",
                now!(),
                ") ON DUPLICATE KEY UPDATE previous = IF(keep_until > ",
                now!(),
                " AND epoch <> VALUES(epoch), epoch, NULL), epoch = VALUES(epoch), \
                 keep_until = GREATEST(keep_until, VALUES(keep_until))"
            ),
            NEW_EPOCH,
        ),
        read: Some(Statement(
            "SELECT previous FROM cloakroom_epochs WHERE tag = ?",
            &[NewEpoch::tag],
        )),
    },
    carry_epoch: Statement(
        concat!(
            "UPDATE cloakroom_epochs SET previous = epoch, epoch = ?, \
             keep_until = GREATEST(keep_until, ? + ",
            now!(),
            ") WHERE tag = ? AND epoch = ? AND keep_until > ",
            now!()
        ),
        &[NewEpoch::epoch, NewEpoch::keep, NewEpoch::tag, NewEpoch::over],
    ),
    unlist: Statement(
        concat!(
            "UPDATE cloakroom_records SET place = -1 \
             WHERE tag = ? AND place >= 0 AND id <> ? AND keep_until > ",
            now!()
        ),
        &[Key::tag, Key::id],
    ),
    list: Statement(
        concat!(
            "SELECT id FROM cloakroom_records WHERE tag = ? AND place >= 0 AND keep_until > ",
            now!(),
            " ORDER BY keep_until DESC LIMIT ?"
        ),
        &[Listing::tag, Listing::limit],
    ),
    count: Statement(
        concat!(
            "SELECT COUNT(*) FROM cloakroom_records \
             WHERE tag = ? AND place >= 0 AND keep_until > ",
            now!()
        ),
        &[Listing::tag],
    ),
    newest: Statement(
        concat!(
            "SELECT id FROM cloakroom_records WHERE tag = ? AND place > 0 AND keep_until > ",
            now!(),
            " AND id <> ? ORDER BY place, id LIMIT ? OFFSET ?"
        ),
        SURPLUS,
    ),
    oldest: Statement(
        concat!(
            "SELECT id FROM cloakroom_records WHERE tag = ? AND place > 0 AND keep_until > ",
            now!(),
            " AND id <> ? ORDER BY place DESC, id DESC LIMIT ? OFFSET ?"
        ),
        SURPLUS,
    ),
    era: Statement("SELECT value FROM cloakroom_meta WHERE name = 'era'", &[]),
    move_era: Put {
        write: Statement(
            "INSERT INTO cloakroom_meta (name, value) VALUES ('era', LEAST(? + ?, 4294967295)) \
             ON DUPLICATE KEY UPDATE value = LEAST(GREATEST(value, ?) + ?, 4294967295)",
            &[EraStep::era, EraStep::step, EraStep::era, EraStep::step],
        ),
        read: Some(Statement("SELECT value FROM cloakroom_meta WHERE name = 'era'", &[])),
    },
    lease: Put {
        // The second condition sees what the first assignment has made of the owner.
        write: Statement(
            concat!(
                "INSERT INTO cloakroom_leases (tag, id, owner, keep_until) VALUES (?, ?, ?, ? + ",
                now!(),
                ") ON DUPLICATE KEY UPDATE owner = IF(owner = VALUES(owner) OR keep_until <= ",
                now!(),
                ", VALUES(owner), owner), \
                 keep_until = IF(owner = VALUES(owner), VALUES(keep_until), keep_until)"
            ),
            &[Lease::tag, Lease::id, Lease::owner, Lease::hold],
        ),
        read: Some(Statement(
            "SELECT owner FROM cloakroom_leases WHERE tag = ? AND id = ? AND owner = ?",
            &[Lease::tag, Lease::id, Lease::owner],
        )),
    },
    release: Statement(
        "DELETE FROM cloakroom_leases WHERE tag = ? AND id = ? AND owner = ?",
        &[Lease::tag, Lease::id, Lease::owner],
    ),
    announce: Put {
        write: Statement(
            concat!(
                "INSERT INTO cloakroom_records (tag, id, version, sealed, keep_until, place) \
                 VALUES (X'0000000000000000', ?, 1, ?, ? + ",
                now!(),
                ", -1) ON DUPLICATE KEY UPDATE \
                 sealed = VALUES(sealed), keep_until = VALUES(keep_until)"
            ),
            &[Announcement::node, Announcement::text, Announcement::keep],
        ),
        read: Some(Statement(
            concat!(
                "SELECT ",
                now!(),
                " FROM cloakroom_records WHERE tag = X'0000000000000000' AND id = ?"
            ),
            &[Announcement::node],
        )),
    },
    announced: Statement(
        concat!(
            "SELECT id, sealed FROM cloakroom_records \
             WHERE tag = X'0000000000000000' AND keep_until > ",
            now!(),
            " AND keep_until <= ? + ",
            now!(),
            " AND LENGTH(sealed) <= ? ORDER BY keep_until DESC LIMIT ?"
        ),
        &[Announced::keep, Announced::bytes, Announced::limit],
    ),
    after_record: Some(Statement(
        concat!("INSERT INTO cloakroom_changes (tag, id, at) VALUES (?, ?, ", now!(), ")"),
        &[Key::tag, Key::id],
    )),
    after_tag: Some(Statement(
        concat!("INSERT INTO cloakroom_changes (tag, id, at) VALUES (?, NULL, ", now!(), ")"),
        &[NewEpoch::tag],
    )),
    reap: &[
        Statement(
            concat!(
                "DELETE FROM cloakroom_records WHERE keep_until <= ",
                now!(),
                " - 3600000 ORDER BY keep_until LIMIT ?"
            ),
            &[Batch::limit],
        ),
        Statement(
            concat!(
                "DELETE FROM cloakroom_epochs WHERE keep_until <= ",
                now!(),
                " - 3600000 ORDER BY keep_until LIMIT ?"
            ),
            &[Batch::limit],
        ),
        Statement(
            concat!(
                "DELETE FROM cloakroom_leases WHERE keep_until <= ",
                now!(),
                " - 3600000 ORDER BY keep_until LIMIT ?"
            ),
            &[Batch::limit],
        ),
        // `poll::KEPT`.
        Statement(
            concat!(
                "DELETE FROM cloakroom_changes WHERE at <= ",
                now!(),
                " - 120000 ORDER BY at LIMIT ?"
            ),
            &[Batch::limit],
        ),
    ],
};

const NEW_EPOCH: &[Arg<NewEpoch>] = &[NewEpoch::tag, NewEpoch::epoch, NewEpoch::keep];

const SURPLUS: &[Arg<Surplus>] = &[Surplus::tag, Surplus::id, Surplus::limit, Surplus::offset];

const REPLACE: Statement<NewVersion> = Statement(
    concat!(
        "UPDATE cloakroom_records SET version = version + 1, sealed = ?, keep_until = ? + ",
        now!(),
        ", place = IF(place > 0 AND ? > 0, place, ?) \
         WHERE tag = ? AND id = ? AND version = ? AND keep_until > ",
        now!()
    ),
    &[
        NewVersion::sealed,
        NewVersion::keep,
        NewVersion::place,
        NewVersion::place,
        NewVersion::tag,
        NewVersion::id,
        NewVersion::version,
    ],
);
