//! An endpoint as everybody sees it: what does not change of it while it is one of its group.

use super::{Address, EndpointSettings};

/// One endpoint of a group.
#[derive(Debug, PartialEq, Eq)]
pub struct Endpoint {
    /// Its own: no other one of its group has it, or ever will. Those that a group begins with go by
    /// their place in the settings.
    pub id: usize,
    pub settings: EndpointSettings,
    /// Its address as text, as sessions keep it.
    pub text: String,
}

impl Endpoint {
    pub(super) fn new(id: usize, settings: EndpointSettings) -> Self {
        let text = settings.address.to_string();
        Self { id, settings, text }
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

    pub fn address(&self) -> &Address {
        &self.settings.address
    }
}
