//! Where a request goes, and what the client asked for.

use std::sync::Arc;

use http::Method;

use crate::headers::forwarded::Client;
use crate::proxy::passed::PassedTo;
use crate::proxy::settings::Route;
use crate::routing::target::RequestTarget;

/// Where a request goes.
pub struct Target {
    pub client: Client,
    /// Lower-case, without port.
    pub host: String,
    /// The server, by its index.
    pub server: usize,
    pub requested: RequestTarget,
    /// What workers are asked for, where the route says something else.
    pub sent: Option<Box<[u8]>>,
    /// Where a text with variables leads.
    pub passed: Option<Box<PassedTo>>,
    /// A file was found below the directory that an alias of a pattern is: the path counts from there.
    pub is_below: bool,
    pub route: Arc<Route>,
}

/// What a client asked for.
#[derive(Clone)]
pub struct Came {
    pub method: Method,
    pub target: Vec<u8>,
}

impl Target {
    /// What workers are asked for.
    pub fn for_worker<'a>(&'a self, came: &'a [u8]) -> &'a [u8] {
        self.sent.as_deref().unwrap_or_else(|| self.requested.forwarded(came))
    }
}
