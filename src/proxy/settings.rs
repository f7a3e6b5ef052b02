//! Servers and routes as the proxy wants them: checked, names resolved.

use std::path::PathBuf;
use std::sync::Arc;

use crate::headers::cross_site::CrossSite;
use crate::session::outage::OnStoreDown;
use crate::session::policy::Policy;

/// What a route does with its requests.
#[derive(Clone, Debug)]
pub enum Target {
    /// Forwards them to an upstream, by its index in the configuration's list.
    Upstream(usize),
    /// Static files: accepted, not served yet (501).
    Files(PathBuf),
    /// What users ask of their own sessions; the proxy answers by itself.
    OwnSessions,
}

/// What a route asks of a session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Require {
    Nothing,
    Login,
}

/// What a visitor without the required login gets (rule 31).
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Denied {
    /// 401 for everybody.
    Unauthorized,
    /// Navigations are redirected there, everything else gets 401.
    Redirect(String),
}

/// One route.
#[derive(Clone, Debug)]
pub struct Route {
    /// Its path as configured; the longest prefix wins.
    pub path: String,
    /// Its `require` counts for the path in exactly this spelling only.
    pub exact: bool,
    pub target: Target,
    pub session: Option<Arc<Policy>>,
    /// Whether `Cloakroom-Session` in its answers is believed (rule 30).
    pub session_header: bool,
    pub require: Require,
    pub denied: Denied,
    /// What other sites may do here through a visitor's browser.
    pub cross_site: CrossSite,
    /// What becomes of requests with a ticket while the store does not answer.
    pub on_store_down: OnStoreDown,
    /// Largest request body in bytes, 0 for no limit (nginx `client_max_body_size`): 413.
    pub body_bytes_max: u64,
}

/// A virtual host.
#[derive(Clone, Debug)]
pub struct Server {
    /// Lower-case host names without port; `*.example.com` and `_` (the default) as in nginx.
    pub names: Vec<String>,
    pub routes: Vec<Route>,
}
