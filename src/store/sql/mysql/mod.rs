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

use super::engine::Arg::{
    Epoch, EpochUntil, Era, Id, KeepUntil, Limit, NewEpoch, Now, Offset, Owner, Place, Sealed,
    Step, Tag, Version,
};
use super::engine::{
    Deadlines, Driver, Engine, Put, Role, Statement, Statements, Trouble, Unready,
};
use super::hearing::Hearing;
use super::poll::{self, ABOVE, Questions};
use super::server::{Protection, Settings};

/// A server.
pub(super) struct MySql {
    settings: Settings,
}

impl MySql {
    pub(super) fn new(settings: &Settings) -> Self {
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

/// A writer takes a number with its last statement. It commits then, or is given up within its
/// deadline; were it stopped just then, the server gives it up after `wait_timeout`.
const QUESTIONS: Questions = Questions {
    top: Statement("SELECT MAX(seq) FROM cloakroom_changes", &[]),
    above: Statement(
        "SELECT seq, tag, id FROM cloakroom_changes WHERE seq > ? ORDER BY seq LIMIT ?",
        ABOVE,
    ),
    settled: Duration::from_secs(10),
};

const STATEMENTS: Statements = Statements {
    begin: Some("START TRANSACTION"),
    begin_several: "START TRANSACTION",
    load: Statement(
        "SELECT version, sealed FROM cloakroom_records \
         WHERE tag = ? AND id = ? AND keep_until > ?",
        &[Tag, Id, Now],
    ),
    load_with_epoch: Statement(
        "SELECT r.version, r.sealed, e.epoch FROM cloakroom_records r \
         LEFT JOIN cloakroom_epochs e ON e.tag = r.tag AND e.keep_until > ? \
         WHERE r.tag = ? AND r.id = ? AND r.keep_until > ?",
        &[Now, Tag, Id, Now],
    ),
    create: Put {
        // Assignments are made from left to right: the time that is compared comes last.
        write: Statement(
            "INSERT INTO cloakroom_records (tag, id, version, sealed, keep_until, place) \
             VALUES (?, ?, 1, ?, ?, ?) ON DUPLICATE KEY UPDATE \
             version = IF(keep_until <= ?, 1, version), \
             sealed = IF(keep_until <= ?, VALUES(sealed), sealed), \
             place = IF(keep_until <= ?, VALUES(place), place), \
             keep_until = IF(keep_until <= ?, VALUES(keep_until), keep_until)",
            &[Tag, Id, Sealed, KeepUntil, Place, Now, Now, Now, Now],
        ),
        read: Some(Statement(
            "SELECT version FROM cloakroom_records \
             WHERE tag = ? AND id = ? AND version = 1 AND sealed = ?",
            &[Tag, Id, Sealed],
        )),
    },
    // This spelling is MariaDB's too.
    fence: Some(Statement(
        "SELECT 1 FROM cloakroom_epochs WHERE tag = ? AND epoch = ? AND keep_until > ? \
         LOCK IN SHARE MODE",
        &[Tag, Epoch, Now],
    )),
    replace: REPLACE,
    replace_fenced: REPLACE,
    remove: Statement("DELETE FROM cloakroom_records WHERE tag = ? AND id = ?", &[Tag, Id]),
    epoch: Put {
        write: Statement(
            "INSERT INTO cloakroom_epochs (tag, epoch, keep_until) VALUES (?, ?, ?) \
             ON DUPLICATE KEY UPDATE epoch = IF(keep_until > ?, epoch, VALUES(epoch)), \
             keep_until = GREATEST(keep_until, VALUES(keep_until))",
            &[Tag, Epoch, KeepUntil, Now],
        ),
        read: Some(Statement("SELECT epoch FROM cloakroom_epochs WHERE tag = ?", &[Tag])),
    },
    revoke: Put {
        write: Statement(
            "INSERT INTO cloakroom_epochs (tag, epoch, keep_until) VALUES (?, ?, ?) \
             ON DUPLICATE KEY UPDATE \
             previous = IF(keep_until > ? AND epoch <> VALUES(epoch), epoch, NULL), \
             epoch = VALUES(epoch), keep_until = GREATEST(keep_until, VALUES(keep_until))",
            &[Tag, Epoch, KeepUntil, Now],
        ),
        read: Some(Statement("SELECT previous FROM cloakroom_epochs WHERE tag = ?", &[Tag])),
    },
    carry_epoch: Statement(
        "UPDATE cloakroom_epochs SET previous = epoch, epoch = ?, \
         keep_until = GREATEST(keep_until, ?) WHERE tag = ? AND epoch = ? AND keep_until > ?",
        &[NewEpoch, EpochUntil, Tag, Epoch, Now],
    ),
    unlist: Statement(
        "UPDATE cloakroom_records SET place = -1 \
         WHERE tag = ? AND place >= 0 AND id <> ? AND keep_until > ?",
        &[Tag, Id, Now],
    ),
    list: Statement(
        "SELECT id FROM cloakroom_records WHERE tag = ? AND place >= 0 AND keep_until > ? \
         ORDER BY keep_until DESC LIMIT ?",
        &[Tag, Now, Limit],
    ),
    count: Statement(
        "SELECT COUNT(*) FROM cloakroom_records WHERE tag = ? AND place >= 0 AND keep_until > ?",
        &[Tag, Now],
    ),
    newest: Statement(
        "SELECT id FROM cloakroom_records \
         WHERE tag = ? AND place > 0 AND keep_until > ? AND id <> ? \
         ORDER BY place, id LIMIT ? OFFSET ?",
        &[Tag, Now, Id, Limit, Offset],
    ),
    oldest: Statement(
        "SELECT id FROM cloakroom_records \
         WHERE tag = ? AND place > 0 AND keep_until > ? AND id <> ? \
         ORDER BY place DESC, id DESC LIMIT ? OFFSET ?",
        &[Tag, Now, Id, Limit, Offset],
    ),
    era: Statement("SELECT value FROM cloakroom_meta WHERE name = 'era'", &[]),
    move_era: Put {
        write: Statement(
            "INSERT INTO cloakroom_meta (name, value) VALUES ('era', LEAST(? + ?, 4294967295)) \
             ON DUPLICATE KEY UPDATE value = LEAST(GREATEST(value, ?) + ?, 4294967295)",
            &[Era, Step, Era, Step],
        ),
        read: Some(Statement("SELECT value FROM cloakroom_meta WHERE name = 'era'", &[])),
    },
    lease: Put {
        // The second condition sees what the first assignment has made of the owner.
        write: Statement(
            "INSERT INTO cloakroom_leases (tag, id, owner, keep_until) VALUES (?, ?, ?, ?) \
             ON DUPLICATE KEY UPDATE \
             owner = IF(owner = VALUES(owner) OR keep_until <= ?, VALUES(owner), owner), \
             keep_until = IF(owner = VALUES(owner), VALUES(keep_until), keep_until)",
            &[Tag, Id, Owner, KeepUntil, Now],
        ),
        read: Some(Statement(
            "SELECT owner FROM cloakroom_leases WHERE tag = ? AND id = ? AND owner = ?",
            &[Tag, Id, Owner],
        )),
    },
    release: Statement(
        "DELETE FROM cloakroom_leases WHERE tag = ? AND id = ? AND owner = ?",
        &[Tag, Id, Owner],
    ),
    after_record: Some(Statement(
        "INSERT INTO cloakroom_changes (tag, id, at) VALUES (?, ?, ?)",
        &[Tag, Id, Now],
    )),
    after_tag: Some(Statement(
        "INSERT INTO cloakroom_changes (tag, id, at) VALUES (?, NULL, ?)",
        &[Tag, Now],
    )),
    reap: &[
        Statement(
            "DELETE FROM cloakroom_records WHERE keep_until <= ? ORDER BY keep_until LIMIT ?",
            &[Now, Limit],
        ),
        Statement(
            "DELETE FROM cloakroom_epochs WHERE keep_until <= ? ORDER BY keep_until LIMIT ?",
            &[Now, Limit],
        ),
        Statement(
            "DELETE FROM cloakroom_leases WHERE keep_until <= ? ORDER BY keep_until LIMIT ?",
            &[Now, Limit],
        ),
        // `poll::KEPT`.
        Statement(
            "DELETE FROM cloakroom_changes WHERE at <= ? - 120000 ORDER BY at LIMIT ?",
            &[Now, Limit],
        ),
    ],
};

const REPLACE: Statement = Statement(
    "UPDATE cloakroom_records SET version = version + 1, sealed = ?, keep_until = ?, \
     place = IF(place > 0 AND ? > 0, place, ?) \
     WHERE tag = ? AND id = ? AND version = ? AND keep_until > ?",
    &[Sealed, KeepUntil, Place, Place, Tag, Id, Version, Now],
);
