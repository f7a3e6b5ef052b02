//! URLs of Redis servers: checked when the configuration is read, and never printed with their
//! password.
//!
//! `redis://[user:password@]host[:port][/database]` names one server,
//! `redis+sentinel://[user:password@]host[:port],…/MASTER[/database]` the Sentinels that know where
//! the master of that name is, `redis+cluster://[user:password@]host[:port],…` some nodes of a
//! cluster. User and password are those of the servers that hold the data. With `rediss` all of
//! these use TLS.

use std::fmt;

use redis::{ConnectionAddr, ConnectionInfo, IntoConnectionInfo};

use crate::store::credentials::{Login, Password, Secret};

const URL_BYTES_MAX: usize = 2048;
const ADDRESSES_MAX: usize = 64;
const MASTER_NAME_BYTES_MAX: usize = 128;
const PORT: u16 = 6379;
const SENTINEL_PORT: u16 = 26379;
const FORM: &str = "redis://[user:password@]host[:port][/database]";
const SENTINEL_FORM: &str =
    "redis+sentinel://[user:password@]host[:port],host[:port]/MASTER[/database]";
const CLUSTER_FORM: &str = "redis+cluster://[user:password@]host[:port],host[:port]";

/// What the addresses of a URL are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum UrlKind {
    /// The one server.
    Single,
    /// Sentinels, which know the master.
    Sentinel { master_name: String },
    /// Some nodes of a cluster, which know the others.
    Cluster,
}

/// A URL whose `Debug` and `Display` hide user and password.
#[derive(Clone, PartialEq, Eq)]
pub struct RedisUrl {
    kind: UrlKind,
    has_tls: bool,
    addresses: Vec<(String, u16)>,
    login: Login,
    database: u16,
    /// Itself, with every default, and with `[redacted]@` where there are credentials.
    shown: String,
}

impl RedisUrl {
    /// Checks the URL.
    ///
    /// # Errors
    /// Says what is wrong with it, without repeating a password.
    pub fn parse(url: &str) -> Result<Self, String> {
        if url.len() > URL_BYTES_MAX {
            return Err(format!("longer than {URL_BYTES_MAX} bytes"));
        }
        let (scheme, rest) = url.split_once("://").ok_or_else(|| format!("expected {FORM}"))?;
        let (has_tls, topology) = match scheme.split_once('+').unwrap_or((scheme, "")) {
            ("redis", topology) => (false, topology),
            ("rediss", topology) => (true, topology),
            _ => return Err(format!("expected {FORM}")),
        };
        let (form, port) = match topology {
            "" if !scheme.contains('+') => (FORM, PORT),
            "sentinel" => (SENTINEL_FORM, SENTINEL_PORT),
            "cluster" => (CLUSTER_FORM, PORT),
            _ => return Err(format!("expected {FORM}, {SENTINEL_FORM} or {CLUSTER_FORM}")),
        };
        let (authority, path) = rest.split_at(rest.find(['/', '?', '#']).unwrap_or(rest.len()));
        let (credentials, hosts) = match authority.rsplit_once('@') {
            Some((credentials, hosts)) => (Some(credentials), hosts),
            None => (None, authority),
        };
        let addresses = addresses(hosts, port, form)?;
        let login = credentials.map(login).transpose()?.unwrap_or_default();
        if path.contains(['?', '#']) {
            return Err("nothing may follow the path; percent-encode `?` and `#` in the password"
                .to_owned());
        }
        let (kind, database) = match topology {
            "sentinel" => sentinel_path(path)?,
            "cluster" => match path.strip_prefix('/').unwrap_or(path) {
                "" | "0" => (UrlKind::Cluster, 0),
                _ => return Err("a cluster has database 0 only: leave the path out".to_owned()),
            },
            _ => (UrlKind::Single, database(path.strip_prefix('/').unwrap_or(path))?),
        };
        if kind == UrlKind::Single && addresses.len() > 1 {
            return Err(format!(
                "several servers are Sentinels or a cluster: {SENTINEL_FORM} or {CLUSTER_FORM}"
            ));
        }
        let shown = shown(scheme, &kind, &addresses, credentials.is_some(), database);
        Ok(Self { kind, has_tls, addresses, login, database, shown })
    }

    /// What [`addresses`](Self::addresses) are.
    pub fn kind(&self) -> &UrlKind {
        &self.kind
    }

    /// Hosts (IPv6 without brackets) and ports, at least one.
    pub fn addresses(&self) -> &[(String, u16)] {
        &self.addresses
    }

    /// Whether servers are spoken to over TLS.
    pub fn has_tls(&self) -> bool {
        self.has_tls
    }

    /// The credentials in the URL.
    pub fn login(&self) -> &Login {
        &self.login
    }

    /// The number of the database; 0 in a cluster.
    pub fn database(&self) -> u16 {
        self.database
    }
}

fn addresses(hosts: &str, port: u16, form: &str) -> Result<Vec<(String, u16)>, String> {
    let addresses: Vec<_> =
        hosts.split(',').map(|host| address(host, port, form)).collect::<Result<_, _>>()?;
    if addresses.len() > ADDRESSES_MAX {
        return Err(format!("more than {ADDRESSES_MAX} servers"));
    }
    Ok(addresses)
}

/// One `host[:port]`. The crate's parser reads it, as part of a URL that has nothing else. What is
/// wrong may be part of a password with a character that is not encoded, so that none of it is
/// repeated.
fn address(text: &str, default_port: u16, form: &str) -> Result<(String, u16), String> {
    if text.is_empty() {
        return Err("the host is missing".to_owned());
    }
    let url = format!("redis://{text}");
    let parsed = redis::parse_redis_url(&url).ok_or_else(|| {
        format!("not a URL of the form {form}; percent-encode `@ : / ? # [ ]` in the password")
    })?;
    if parsed.host_str().is_none_or(str::is_empty) {
        return Err("the host is missing".to_owned());
    }
    let info = connection_info(&url)?;
    let ConnectionAddr::Tcp(host, _) = info.addr() else { return Err(format!("expected {form}")) };
    match parsed.port() {
        Some(0) => Err("no server has port 0".to_owned()),
        port => Ok((host.clone(), port.unwrap_or(default_port))),
    }
}

/// `[user]:password`, percent-encoded.
fn login(credentials: &str) -> Result<Login, String> {
    let url = format!("redis://{credentials}@host");
    let parsed = redis::parse_redis_url(&url).ok_or_else(|| {
        "not user and password; percent-encode `@ : / ? # [ ]` in them".to_owned()
    })?;
    if !parsed.username().is_empty() && parsed.password().is_none_or(str::is_empty) {
        return Err("a user needs a password: redis://user:password@host, or `username` and \
                    `password_file`"
            .to_owned());
    }
    let info = connection_info(&url)?;
    let settings = info.redis_settings();
    Ok(Login {
        username: settings.username().map(str::to_owned),
        password: settings
            .password()
            .map(|password| Secret::Given(Password::new(password.to_owned()))),
    })
}

/// The crate's own messages may repeat parts of the URL. What is left to refuse are the two that
/// this one names.
fn connection_info(url: &str) -> Result<ConnectionInfo, String> {
    url.into_connection_info().map_err(|_| {
        "the host must not be a wildcard address, and user and password must be percent-encoded \
         UTF-8"
            .to_owned()
    })
}

/// `/MASTER[/database]`
fn sentinel_path(path: &str) -> Result<(UrlKind, u16), String> {
    let mut parts = path.strip_prefix('/').unwrap_or(path).splitn(2, '/');
    let name = parts.next().unwrap_or_default();
    // As Sentinel itself: letters, digits and these.
    let is_name = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'-' | b'_');
    if name.is_empty() {
        return Err(format!("the master's name is missing: {SENTINEL_FORM}"));
    }
    if name.len() > MASTER_NAME_BYTES_MAX || !name.bytes().all(is_name) {
        return Err("the master's name after the hosts has letters, digits, `.`, `-` and `_` only"
            .to_owned());
    }
    let database = database(parts.next().unwrap_or_default())?;
    Ok((UrlKind::Sentinel { master_name: name.to_owned() }, database))
}

fn database(text: &str) -> Result<u16, String> {
    let is_number = text.bytes().all(|b| b.is_ascii_digit());
    match text {
        "" => Ok(0),
        number if is_number => {
            number.parse().map_err(|_| "the database must be a number up to 65535".to_owned())
        }
        _ => Err("the database after the host must be a number".to_owned()),
    }
}

fn shown(
    scheme: &str,
    kind: &UrlKind,
    addresses: &[(String, u16)],
    has_credentials: bool,
    database: u16,
) -> String {
    let credentials = if has_credentials { "[redacted]@" } else { "" };
    let hosts: Vec<_> =
        addresses.iter().map(|(host, port)| Address(host, *port).to_string()).collect();
    let path = match kind {
        UrlKind::Single => format!("/{database}"),
        UrlKind::Sentinel { master_name } => format!("/{master_name}/{database}"),
        UrlKind::Cluster => String::new(),
    };
    format!("{scheme}://{credentials}{}{path}", hosts.join(","))
}

/// `host:port`, with brackets around IPv6.
pub(super) struct Address<'a>(pub(super) &'a str, pub(super) u16);

impl fmt::Display for Address<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self(host, port) = self;
        if host.contains(':') { write!(f, "[{host}]:{port}") } else { write!(f, "{host}:{port}") }
    }
}

impl fmt::Debug for RedisUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.shown)
    }
}

impl fmt::Display for RedisUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.shown)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_prints_with_its_defaults_and_without_its_credentials() {
        for (url, shown) in [
            ("redis://localhost", "redis://localhost:6379/0"),
            ("redis://127.0.0.1:7000/", "redis://127.0.0.1:7000/0"),
            ("redis://[::1]:7000/3", "redis://[::1]:7000/3"),
            ("redis://[::1]", "redis://[::1]:6379/0"),
            ("rediss://cache/2", "rediss://cache:6379/2"),
            ("redis://:hunter2@cache/1", "redis://[redacted]@cache:6379/1"),
            ("redis://alice:hunter2@cache:1/15", "redis://[redacted]@cache:1/15"),
            ("redis://alice:%40%2F%3F@cache", "redis://[redacted]@cache:6379/0"),
            ("redis+sentinel://a/mine", "redis+sentinel://a:26379/mine/0"),
            (
                "redis+sentinel://:hunter2@a:1,[::2],b/my-m.1_x/3",
                "redis+sentinel://[redacted]@a:1,[::2]:26379,b:26379/my-m.1_x/3",
            ),
            ("rediss+sentinel://a,b/m/0", "rediss+sentinel://a:26379,b:26379/m/0"),
            ("redis+cluster://a:7000,b", "redis+cluster://a:7000,b:6379"),
            ("redis+cluster://a/", "redis+cluster://a:6379"),
            ("rediss+cluster://u:hunter2@a/0", "rediss+cluster://[redacted]@a:6379"),
        ] {
            let parsed = RedisUrl::parse(url).expect(url);
            assert_eq!(parsed.to_string(), shown);
            assert_eq!(format!("{parsed:?}"), shown);
        }
    }

    #[test]
    fn what_the_url_says_is_what_is_connected_to() {
        let url = RedisUrl::parse("redis://alice:p%40ss@cache:7001/4").expect("a valid URL");
        assert_eq!(url.addresses(), [("cache".to_owned(), 7001)]);
        let login = Login {
            username: Some("alice".to_owned()),
            password: Some(Secret::Given(Password::new("p@ss".to_owned()))),
        };
        assert_eq!(*url.login(), login);
        assert_eq!((url.kind(), url.has_tls(), url.database()), (&UrlKind::Single, false, 4));

        let url = RedisUrl::parse("rediss+sentinel://:x@[::1]:1,b/main/2").expect("a valid URL");
        assert_eq!(url.addresses(), [("::1".to_owned(), 1), ("b".to_owned(), 26379)]);
        let kind = UrlKind::Sentinel { master_name: "main".to_owned() };
        assert_eq!((url.kind(), url.has_tls(), url.database()), (&kind, true, 2));
        assert_eq!(url.login().username, None);

        let url = RedisUrl::parse("redis+cluster://a,b:7001").expect("a valid URL");
        assert_eq!(url.addresses(), [("a".to_owned(), 6379), ("b".to_owned(), 7001)]);
        assert_eq!((url.kind(), url.login()), (&UrlKind::Cluster, &Login::default()));
    }

    #[test]
    fn a_bad_url_is_refused_without_repeating_the_password() {
        for (url, reason) in [
            ("", "expected redis://"),
            ("localhost:6379", "expected redis://"),
            ("http://:hunter2@cache", "expected redis://"),
            ("unix:///run/redis.sock?pass=hunter2", "expected redis://"),
            ("redis+hunter2://cache", "redis+sentinel://"),
            ("redis+://cache", "redis+sentinel://"),
            ("redis://", "the host is missing"),
            ("redis://:hunter2@", "the host is missing"),
            ("redis://cache:99999", "not a URL"),
            ("redis://cache:0", "port 0"),
            ("redis://0.0.0.0", "wildcard"),
            ("redis://:hunter2/x@cache", "not a URL"),
            ("redis://:hunter2#x@cache", "not a URL"),
            ("redis://cache/hunter2", "must be a number"),
            ("redis://cache/-1", "must be a number"),
            ("redis://cache/+1", "must be a number"),
            ("redis://cache/0/1", "must be a number"),
            ("redis://cache/70000", "must be a number"),
            ("redis://cache/0?password=hunter2", "nothing may follow"),
            ("redis://cache/#hunter2", "nothing may follow"),
            ("redis://hunter2@cache", "a user needs a password"),
            ("redis://:%ff@cache", "percent-encoded"),
            ("redis://:hunter2@a,b", "several servers"),
            ("redis://a,,b", "the host is missing"),
            ("redis+sentinel://:hunter2@a", "the master's name is missing"),
            ("redis+sentinel://a//1", "the master's name is missing"),
            ("redis+sentinel://a/hunter2 x", "letters, digits"),
            ("redis+sentinel://a/m/x", "must be a number"),
            ("redis+sentinel://a/m/1/2", "must be a number"),
            ("redis+cluster://:hunter2@a/1", "database 0 only"),
            ("redis+cluster://a/0?x=hunter2", "nothing may follow"),
            ("redis+cluster://a,:hunter2", "not a URL"),
        ] {
            let error = RedisUrl::parse(url).expect_err(url);
            assert!(error.contains(reason), "{url}: {error}");
            assert!(!error.contains("hunter2"), "{url}: {error}");
        }
        assert!(RedisUrl::parse(&format!("redis://{}", "a".repeat(3000))).is_err());
        let many = vec!["a"; 65].join(",");
        assert!(RedisUrl::parse(&format!("redis+cluster://{many}")).is_err());
    }
}
