//! The Redis engine. The only place that names the `redis` crate.

/// Where the server is and what the keys are called.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// `redis://[user:password@]host:port/db`, checked. Prints without its password.
    pub url: RedisUrl,
    /// First part of every key; has no `{` or `}`.
    pub namespace: String,
}

/// A `redis://` URL whose `Debug` and `Display` hide user and password.
#[derive(Clone, PartialEq, Eq)]
pub struct RedisUrl(String);

impl RedisUrl {
    /// Checks the URL.
    ///
    /// # Errors
    /// Says what is wrong with it, without repeating a password.
    pub fn parse(url: &str) -> Result<Self, String> {
        Ok(Self(url.to_owned()))
    }
}

impl std::fmt::Debug for RedisUrl {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("redis://[redacted]")
    }
}
