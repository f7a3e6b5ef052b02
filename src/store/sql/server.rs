//! Where a database server is: URL, credentials, TLS. `postgres://` and `mysql://` alike.
//!
//! What neither URL nor settings say, PostgreSQL's library may take from the variables that its
//! programs know (`PGUSER`, `PGPASSWORD`); files of client programs (`~/.pgpass`, `~/.my.cnf`) are
//! not read.

use std::fmt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use percent_encoding::percent_decode_str;

use super::engine::Deadlines;
use crate::store::Hears;
use crate::store::credentials::{Login, Password, Secret};

/// As for Redis: what a request waits for at most.
pub(super) const DEADLINES: Deadlines = Deadlines {
    lookup: Duration::from_millis(150),
    write: Duration::from_millis(500),
    heartbeat: Duration::from_millis(500),
};
/// For look-ups and for writes. With those of the supervisor a process has at most 18 to a server.
pub(super) const CONNECTIONS: (usize, usize) = (8, 4);

/// What the URL must look like.
const FORM: &str = "postgres://[user[:password]@]host[:port]/database[?sslmode=MODE] or \
                    mysql://[user[:password]@]host[:port]/database[?ssl-mode=MODE]";
const URL_BYTES_MAX: usize = 2048;

/// A server and how to log in to it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServerSettings {
    pub url: ServerUrl,
    /// Who we are: what the URL says, or what takes its place. A password in a file is read again
    /// whenever a connection is made.
    pub login: Login,
    pub tls: Tls,
}

/// What TLS is made of. With a `ca` the server must show a certificate for the host that the URL
/// names, whatever mode the URL asks for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tls {
    /// Certificates in PEM, trusted besides the public ones.
    pub ca: Option<PathBuf>,
    /// Certificate and key in PEM that this program shows.
    pub identity: Option<(PathBuf, PathBuf)>,
}

/// Which server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ServerKind {
    /// PostgreSQL 12 or later.
    Postgres,
    /// MySQL 8 or later, MariaDB 10.6 or later.
    MySql,
}

impl ServerKind {
    /// How nodes learn of each other's changes.
    pub fn hears(self) -> Hears {
        match self {
            Self::Postgres => Hears::AtOnce,
            Self::MySql => Hears::WhenItAsks,
        }
    }
}

/// How a connection is protected.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Protection {
    /// Not at all.
    Off,
    /// TLS where the server offers it, whoever it is.
    IfOffered,
    /// TLS, whoever the server is.
    Encrypted,
    /// TLS with a certificate of a trusted authority.
    Authority,
    /// TLS with a certificate of a trusted authority for the host that is connected to.
    Host,
}

/// A URL that was checked. Prints without user, password and query.
#[derive(Clone, PartialEq, Eq)]
pub struct ServerUrl {
    kind: ServerKind,
    login: Login,
    host: String,
    port: u16,
    database: String,
    /// A Unix socket, in place of host and port.
    socket: Option<PathBuf>,
    protection: Protection,
}

impl ServerSettings {
    /// What a URL says by itself.
    pub fn new(url: ServerUrl) -> Self {
        Self { login: url.login.clone(), url, tls: Tls::default() }
    }

    /// The password of this moment; none where there is none.
    ///
    /// # Errors
    /// `Configuration`: a file that cannot be used.
    pub(super) fn password(&self) -> sqlx::Result<Option<Password>> {
        let password = self.login.password.as_ref().map(Secret::read).transpose();
        password.map_err(|reason| sqlx::Error::Configuration(reason.into()))
    }

    /// The mode of the URL, made as strict as the certificate authority asks for.
    pub(super) fn protection(&self) -> Protection {
        if self.tls.ca.is_some() { Protection::Host } else { self.url.protection }
    }
}

impl ServerUrl {
    /// What speaks there.
    pub fn engine(&self) -> &'static str {
        match self.kind {
            ServerKind::Postgres => "postgresql",
            ServerKind::MySql => "mysql",
        }
    }

    /// Parses a URL.
    ///
    /// # Errors
    /// What is wrong with it, without repeating any part of it.
    pub fn parse(text: &str) -> Result<Self, String> {
        if text.len() > URL_BYTES_MAX {
            return Err(format!("longer than {URL_BYTES_MAX} bytes"));
        }
        if !text.bytes().all(|byte| byte.is_ascii_graphic()) {
            return Err("percent-encode what is not a visible ASCII character".to_owned());
        }
        let (kind, rest) = match text.split_once("://") {
            Some(("postgres" | "postgresql", rest)) => (ServerKind::Postgres, rest),
            Some(("mysql" | "mariadb", rest)) => (ServerKind::MySql, rest),
            Some(_) | None => return Err(format!("expected {FORM}")),
        };
        if rest.contains('#') {
            return Err("percent-encode `#` in the password".to_owned());
        }
        let (rest, query) = rest.split_once('?').unwrap_or((rest, ""));
        // The last `@`, though one in a password should be encoded: what stands behind it is
        // shown, what stands before it is not.
        let (login, place) = match rest.rsplit_once('@') {
            Some((login, place)) => (Some(login), place),
            None => (None, rest),
        };
        if login.is_some_and(|login| login.contains(['@', '/', '[', ']'])) {
            return Err("percent-encode `@ : / ? # [ ]` in user and password".to_owned());
        }
        let (user, password) = match login.map(|login| login.split_once(':').ok_or(login)) {
            None => (None, None),
            Some(Ok((user, password))) => (Some(decoded(user)?), Some(decoded(password)?)),
            Some(Err(user)) => (Some(decoded(user)?), None),
        };
        if user.as_deref() == Some("") || password.as_deref() == Some("") {
            return Err("user and password must not be empty; leave them out".to_owned());
        }
        let (address, database) = place
            .split_once('/')
            .filter(|(_, database)| !database.is_empty() && !database.contains('/'))
            .ok_or("the name of the database is missing: host/database")?;
        let (host, port) = host_and_port(address, kind)?;
        let mut url = Self {
            kind,
            login: Login {
                username: user,
                password: password.map(|password| Secret::Given(Password::new(password))),
            },
            host,
            port,
            database: decoded(database)?,
            socket: None,
            protection: Protection::IfOffered,
        };
        for pair in query.split('&').filter(|pair| !pair.is_empty()) {
            url.take_parameter(pair)?;
        }
        if url.host.is_empty() && url.socket.is_none() {
            return Err("the host is missing".to_owned());
        }
        Ok(url)
    }

    fn take_parameter(&mut self, pair: &str) -> Result<(), String> {
        let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
        match (self.kind, name) {
            (ServerKind::Postgres, "sslmode") => {
                self.protection = match value {
                    "disable" => Protection::Off,
                    "prefer" => Protection::IfOffered,
                    "require" => Protection::Encrypted,
                    "verify-ca" => Protection::Authority,
                    "verify-full" => Protection::Host,
                    _ => {
                        return Err("`sslmode` is disable, prefer, require, verify-ca or \
                                    verify-full"
                            .to_owned());
                    }
                };
            }
            (ServerKind::MySql, "ssl-mode") => {
                self.protection = match value.to_ascii_lowercase().as_str() {
                    "disabled" => Protection::Off,
                    "preferred" => Protection::IfOffered,
                    "required" => Protection::Encrypted,
                    "verify_ca" => Protection::Authority,
                    "verify_identity" => Protection::Host,
                    _ => {
                        return Err("`ssl-mode` is disabled, preferred, required, verify_ca or \
                                    verify_identity"
                            .to_owned());
                    }
                };
            }
            (_, "socket") => {
                let path = PathBuf::from(decoded(value)?);
                if !path.is_absolute() {
                    return Err("`socket` must be an absolute path".to_owned());
                }
                self.socket = Some(path);
            }
            (ServerKind::Postgres, _) => {
                return Err("the parameters are `sslmode` and `socket`; percent-encode `?` and \
                            `&` in the password"
                    .to_owned());
            }
            (ServerKind::MySql, _) => {
                return Err("the parameters are `ssl-mode` and `socket`; percent-encode `?` and \
                            `&` in the password"
                    .to_owned());
            }
        }
        Ok(())
    }

    pub fn kind(&self) -> ServerKind {
        self.kind
    }

    /// User and password that it names.
    pub fn login(&self) -> &Login {
        &self.login
    }

    /// Whether it turns TLS off.
    pub fn is_plain(&self) -> bool {
        self.protection == Protection::Off
    }

    pub(super) fn host(&self) -> &str {
        &self.host
    }

    pub(super) fn port(&self) -> u16 {
        self.port
    }

    pub(super) fn database(&self) -> &str {
        &self.database
    }

    pub(super) fn socket(&self) -> Option<&Path> {
        self.socket.as_deref()
    }
}

fn decoded(text: &str) -> Result<String, String> {
    let bytes = text.as_bytes();
    let is_whole = bytes.iter().enumerate().filter(|(_, byte)| **byte == b'%').all(|(at, _)| {
        bytes.get(at + 1..at + 3).is_some_and(|two| two.iter().all(u8::is_ascii_hexdigit))
    });
    if !is_whole {
        return Err("`%` must be followed by two hexadecimal digits; write %25 for itself".into());
    }
    let decoded = percent_decode_str(text).decode_utf8();
    let decoded = decoded.map_err(|_| "what is percent-encoded must be UTF-8".to_owned())?;
    if decoded.contains('\0') {
        return Err("%00 is part of no name or password".to_owned());
    }
    Ok(decoded.into_owned())
}

fn host_and_port(address: &str, kind: ServerKind) -> Result<(String, u16), String> {
    let default = match kind {
        ServerKind::Postgres => 5432,
        ServerKind::MySql => 3306,
    };
    let (host, port) = match address.strip_prefix('[').map(|rest| rest.split_once(']')) {
        Some(Some((host, rest))) => {
            if host.parse::<std::net::Ipv6Addr>().is_err() {
                return Err("what stands in brackets is no IPv6 address".to_owned());
            }
            (host, rest.strip_prefix(':').or((rest.is_empty()).then_some("")))
        }
        Some(None) => return Err("a bracket of the host is not closed".to_owned()),
        None => match address.split_once(':') {
            Some((host, port)) => (host, Some(port)),
            None => (address, Some("")),
        },
    };
    let is_host = |byte: u8| byte.is_ascii_alphanumeric() || b"-._:".contains(&byte);
    if !host.bytes().all(is_host) {
        return Err("the host is a name or an address".to_owned());
    }
    let port = match port {
        Some("") => Some(default),
        Some(port) => port.parse().ok().filter(|port| *port > 0),
        None => None,
    };
    let port = port.ok_or("the port is a number from 1 to 65535")?;
    Ok((host.to_owned(), port))
}

impl fmt::Display for ServerUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scheme = match self.kind {
            ServerKind::Postgres => "postgres",
            ServerKind::MySql => "mysql",
        };
        let login = if self.login.username.is_some() { "[redacted]@" } else { "" };
        match &self.socket {
            Some(path) => write!(f, "{scheme}://{login}{}/{}", path.display(), self.database),
            None if self.host.contains(':') => {
                write!(f, "{scheme}://{login}[{}]:{}/{}", self.host, self.port, self.database)
            }
            None => write!(f, "{scheme}://{login}{}:{}/{}", self.host, self.port, self.database),
        }
    }
}

impl fmt::Debug for ServerUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings(url: &str) -> ServerSettings {
        ServerSettings::new(ServerUrl::parse(url).expect(url))
    }

    #[test]
    fn a_url_prints_without_its_credentials() {
        for (url, shown) in [
            ("postgres://db/sessions", "postgres://db:5432/sessions"),
            ("postgresql://db:1/s", "postgres://db:1/s"),
            ("mysql://127.0.0.1/s", "mysql://127.0.0.1:3306/s"),
            ("mariadb://[::1]:7000/s", "mysql://[::1]:7000/s"),
            ("postgres://me@db/s", "postgres://[redacted]@db:5432/s"),
            ("mysql://me:hunter2@db/s?ssl-mode=REQUIRED", "mysql://[redacted]@db:3306/s"),
            ("postgres://me@/s?socket=/run/postgresql", "postgres://[redacted]@/run/postgresql/s"),
        ] {
            let parsed = ServerUrl::parse(url).expect(url);
            assert_eq!(parsed.to_string(), shown);
            assert_eq!(format!("{parsed:?}"), shown);
        }
    }

    #[test]
    fn what_the_url_says_is_what_is_connected_to() {
        let settings = settings("postgres://al%69ce:p%40%2F%3Ass@cache:7001/se%20ss");
        let url = &settings.url;
        assert_eq!((url.host(), url.port(), url.database()), ("cache", 7001, "se ss"));
        assert_eq!(settings.login.username.as_deref(), Some("alice"));
        let password = settings.password().expect("no file").expect("one");
        assert_eq!(password.expose(), "p@/:ss");
    }

    #[test]
    fn a_mode_names_a_protection_and_an_authority_asks_for_all_of_it() {
        for (url, protection) in [
            ("postgres://db/s", Protection::IfOffered),
            ("postgres://db/s?sslmode=disable", Protection::Off),
            ("postgres://db/s?sslmode=require", Protection::Encrypted),
            ("postgres://db/s?sslmode=verify-ca", Protection::Authority),
            ("postgres://db/s?sslmode=verify-full", Protection::Host),
            ("mysql://db/s?ssl-mode=DISABLED", Protection::Off),
            ("mysql://db/s?ssl-mode=preferred", Protection::IfOffered),
            ("mysql://db/s?ssl-mode=REQUIRED", Protection::Encrypted),
            ("mysql://db/s?ssl-mode=VERIFY_CA", Protection::Authority),
            ("mysql://db/s?ssl-mode=verify_identity", Protection::Host),
        ] {
            let mut settings = settings(url);
            assert_eq!(settings.protection(), protection, "{url}");
            settings.tls.ca = Some(PathBuf::from("/ca.pem"));
            assert_eq!(settings.protection(), Protection::Host, "{url}");
        }
    }

    #[test]
    fn a_bad_url_is_refused_without_repeating_the_password() {
        for (url, reason) in [
            ("", "expected postgres://"),
            ("localhost:5432/s", "expected postgres://"),
            ("http://:hunter2@db/s", "expected postgres://"),
            ("Postgres://:hunter2@db/s", "expected postgres://"),
            ("postgres://", "name of the database"),
            ("postgres://me:hunter2@db", "name of the database"),
            ("postgres://me:hunter2@db/", "name of the database"),
            ("postgres://me:hunter2@db/a/b", "name of the database"),
            ("postgres://me:hunter2@/s", "the host is missing"),
            ("postgres://me:hunter2@db:0/s", "the port"),
            ("postgres://me:hunter2@db:99999/s", "the port"),
            ("postgres://me:hunter2@db:/hunter2:1/s", "name of the database"),
            ("mysql://me:hunter2@[::1/s", "not closed"),
            ("mysql://me:hunter2@[::1]x/s", "the port"),
            ("mysql://me:hunter2@[db]/s", "no IPv6 address"),
            ("mysql://me:hunter2@a,b/s", "the host is a name"),
            ("mysql://me:hunter2/x@db/s", "percent-encode"),
            ("mysql://me:hunter2@x@db/s", "percent-encode"),
            ("mysql://me:hunter2#x@db/s", "percent-encode"),
            ("mysql://me:hunter2?x@db/s", "name of the database"),
            ("mysql://me:hunter2 x@db/s", "percent-encode"),
            ("mysql://me:hunter2%f@db/s", "two hexadecimal digits"),
            ("mysql://me:hunter2%ff@db/s", "UTF-8"),
            ("mysql://me:hunter2%00@db/s", "%00"),
            ("mysql://:hunter2@db/s", "must not be empty"),
            ("mysql://me:@db/s", "must not be empty"),
            ("mysql://db/s?sslmode=require", "the parameters are `ssl-mode`"),
            ("mysql://db/s?ssl-mode=hunter2", "`ssl-mode` is"),
            ("postgres://db/s?sslmode=allow", "`sslmode` is"),
            ("postgres://db/s?ssl-mode=required", "the parameters are `sslmode`"),
            ("postgres://db/s?password=hunter2", "the parameters are `sslmode`"),
            ("postgres://db/s?socket=hunter2", "absolute path"),
        ] {
            let error = ServerUrl::parse(url).expect_err(url);
            assert!(error.contains(reason), "{url}: {error}");
            assert!(!error.contains("hunter2"), "{url}: {error}");
        }
        assert!(ServerUrl::parse(&format!("mysql://{}/s", "a".repeat(3000))).is_err());
    }
}
