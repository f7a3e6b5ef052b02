//! `redis://` URLs: checked when the configuration is read, and never printed with their password.

use std::fmt;

use redis::{ConnectionAddr, ConnectionInfo, IntoConnectionInfo};

const URL_BYTES_MAX: usize = 2048;
const FORM: &str = "redis://[user:password@]host[:port][/database]";

/// A `redis://` URL whose `Debug` and `Display` hide user and password.
#[derive(Clone, PartialEq, Eq)]
pub struct RedisUrl {
    url: String,
    /// `redis://host:port/database`, with `[redacted]@` where there are credentials.
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
        match url.split_once("://").map(|(scheme, _)| scheme) {
            Some("redis") => {}
            Some("rediss") => {
                return Err("TLS (rediss://) is not supported yet: use redis:// over a private \
                            network or a TLS tunnel"
                    .to_owned());
            }
            Some(scheme @ ("redis+sentinel" | "redis+cluster")) => {
                return Err(format!("{scheme}:// is not supported yet: name one server, {FORM}"));
            }
            Some(_) | None => return Err(format!("expected {FORM}")),
        }
        // The values below may be parts of a password with a character that is not encoded, so
        // that none of them is repeated.
        let parsed = redis::parse_redis_url(url).ok_or_else(|| {
            format!("not a URL of the form {FORM}; percent-encode `@ : / ? # [ ]` in the password")
        })?;
        if parsed.query().is_some() || parsed.fragment().is_some() {
            return Err("nothing may follow the database number; percent-encode `?` and `#` in \
                        the password"
                .to_owned());
        }
        if !parsed.username().is_empty() && parsed.password().is_none_or(str::is_empty) {
            return Err("a user needs a password: redis://user:password@host".to_owned());
        }
        if parsed.host_str().is_none_or(str::is_empty) {
            return Err("the host is missing".to_owned());
        }
        let database = match parsed.path().trim_start_matches('/') {
            "" => 0,
            number => number
                .parse::<u16>()
                .map_err(|_| "the database after the host must be a number".to_owned())?,
        };
        let info = connection_info(url)?;
        let ConnectionAddr::Tcp(host, port) = info.addr() else {
            return Err(format!("expected {FORM}"));
        };
        let host = if host.contains(':') { format!("[{host}]") } else { host.clone() };
        let credentials = match parsed.password() {
            Some(_) => "[redacted]@",
            None => "",
        };
        let shown = format!("redis://{credentials}{host}:{port}/{database}");
        Ok(Self { url: url.to_owned(), shown })
    }

    /// What the `redis` crate connects with.
    pub(super) fn connection_info(&self) -> Result<ConnectionInfo, String> {
        connection_info(&self.url)
    }
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
    fn a_url_prints_without_its_credentials() {
        for (url, shown) in [
            ("redis://localhost", "redis://localhost:6379/0"),
            ("redis://127.0.0.1:7000/", "redis://127.0.0.1:7000/0"),
            ("redis://[::1]:7000/3", "redis://[::1]:7000/3"),
            ("redis://:hunter2@cache/1", "redis://[redacted]@cache:6379/1"),
            ("redis://alice:hunter2@cache:1/15", "redis://[redacted]@cache:1/15"),
            ("redis://alice:%40%2F%3F@cache", "redis://[redacted]@cache:6379/0"),
        ] {
            let parsed = RedisUrl::parse(url).expect(url);
            assert_eq!(parsed.to_string(), shown);
            assert_eq!(format!("{parsed:?}"), shown);
        }
    }

    #[test]
    fn what_the_url_says_is_what_is_connected_to() {
        let info = RedisUrl::parse("redis://alice:p%40ss@cache:7001/4")
            .and_then(|url| url.connection_info())
            .expect("a valid URL");
        assert_eq!(*info.addr(), ConnectionAddr::Tcp("cache".to_owned(), 7001));
        let login = info.redis_settings();
        assert_eq!(
            (login.username(), login.password(), login.db()),
            (Some("alice"), Some("p@ss"), 4)
        );
    }

    #[test]
    fn a_bad_url_is_refused_without_repeating_the_password() {
        for (url, reason) in [
            ("", "expected redis://"),
            ("localhost:6379", "expected redis://"),
            ("http://:hunter2@cache", "expected redis://"),
            ("unix:///run/redis.sock?pass=hunter2", "expected redis://"),
            ("rediss://:hunter2@cache", "TLS"),
            ("redis+sentinel://:hunter2@cache", "not supported yet"),
            ("redis+cluster://:hunter2@cache", "not supported yet"),
            ("redis://", "the host is missing"),
            ("redis://:hunter2@", "not a URL"),
            ("redis://cache:99999", "not a URL"),
            ("redis://0.0.0.0", "wildcard"),
            ("redis://:hunter2/x@cache", "not a URL"),
            ("redis://:hunter2#x@cache", "not a URL"),
            ("redis://cache/hunter2", "must be a number"),
            ("redis://cache/-1", "must be a number"),
            ("redis://cache/0/1", "must be a number"),
            ("redis://cache/70000", "must be a number"),
            ("redis://cache/0?password=hunter2", "nothing may follow"),
            ("redis://cache/#hunter2", "nothing may follow"),
            ("redis://hunter2@cache", "a user needs a password"),
            ("redis://:%ff@cache", "percent-encoded"),
        ] {
            let error = RedisUrl::parse(url).expect_err(url);
            assert!(error.contains(reason), "{url}: {error}");
            assert!(!error.contains("hunter2"), "{url}: {error}");
        }
        assert!(RedisUrl::parse(&format!("redis://{}", "a".repeat(3000))).is_err());
    }
}
