//! Where requests come from, as servers and routes look at it: which proxies tell who asks, from which pages
//! and by which links they are welcome.

use std::fmt;
use std::sync::Arc;

use crate::access::real_ip::RealIp;
use crate::access::referer::Referers;
use crate::variables::template::Template;

/// What is said of it in one place.
#[derive(Clone, Debug, Default)]
pub struct Origins {
    /// Of a route only where it is not what the server says.
    pub real_ip: Option<Arc<RealIp>>,
    pub referers: Option<Arc<Referers>>,
    pub secure_link: Option<Arc<SecureLink>>,
}

/// How links are judged.
#[derive(Clone, Debug)]
pub enum SecureLink {
    /// By a hash that they bring.
    Hash { said: Template, hashed: Template },
    /// By a hash in their path.
    Secret(Secret),
}

/// A word that goes into hashes.
#[derive(Clone)]
pub struct Secret(String);

impl Secret {
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    pub fn expose(&self) -> &[u8] {
        self.0.as_bytes()
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[redacted]")
    }
}
