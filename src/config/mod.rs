//! The one place that knows YAML: text to a checked model of every component's settings.

use std::path::PathBuf;
use std::sync::Arc;

use ipnet::IpNet;

use crate::{admin, cookie, listen, proxy, session, store, telemetry, upstream};

/// A checked configuration.
#[derive(Clone, Debug)]
pub struct Config {
    /// Worker runtimes; `auto` is one per core.
    pub workers: usize,
    pub listeners: Vec<listen::Settings>,
    pub limits: listen::Limits,
    /// Where a default keyring, certificate and SQLite file live.
    pub state_directory: PathBuf,
    pub store: store::Settings,
    pub keyring: PathBuf,
    pub sessions: Vec<Arc<session::policy::Policy>>,
    pub cookies: cookie::enforce::Settings,
    pub upstreams: Vec<upstream::Settings>,
    pub servers: Vec<proxy::settings::Server>,
    pub trusted_proxies: Vec<IpNet>,
    /// The development switch: tickets without prefix and `Secure`.
    pub insecure_cookies: bool,
    pub admin: Option<admin::Settings>,
    pub log: telemetry::Settings,
    /// How long a drain may take before what is left is cut.
    pub drain_timeout: std::time::Duration,
    /// What is accepted but not built yet, and what the operator should know, said at start.
    pub notices: Vec<String>,
}
