//! An endpoint as everybody sees it: what does not change of it while it is one of its group.

use std::fmt::Write;
use std::sync::OnceLock;

use md5::{Digest, Md5};

use super::{Address, EndpointSettings};

/// One endpoint of a group.
#[derive(Debug)]
pub struct Endpoint {
    /// Its own: no other one of its group has it, or ever will. Those that a group begins with go by
    /// their place in the settings.
    pub id: usize,
    pub settings: EndpointSettings,
    /// Its address as text, as sessions keep it.
    pub text: String,
    route: OnceLock<String>,
}

impl Endpoint {
    pub(super) fn new(id: usize, settings: EndpointSettings) -> Self {
        let text = settings.address.to_string();
        Self { id, settings, text, route: OnceLock::new() }
    }

    /// The same, as it is asked how it is: perhaps on another port, and with connections apart from those of
    /// requests.
    pub fn on_port(&self, port: Option<u16>) -> Self {
        let mut settings = self.settings.clone();
        if let (Address::Inet(address), Some(port)) = (&mut settings.address, port) {
            address.set_port(port);
        }
        Self::new(usize::MAX - self.id, settings)
    }

    /// What sticky clients know it by, as in nginx: what the configuration says, or a hash of its address.
    pub fn route(&self) -> &str {
        self.settings.route.as_deref().unwrap_or_else(|| {
            self.route.get_or_init(|| {
                let hash = Md5::digest(self.text.as_bytes());
                hash.iter().fold(String::new(), |mut text, byte| {
                    let _ = write!(text, "{byte:02x}");
                    text
                })
            })
        })
    }

    pub fn address(&self) -> &Address {
        &self.settings.address
    }
}
