//! The one place that knows YAML: text to a checked model of every component's settings.
//!
//! Two steps. The shape (`schema`) is serde's: its first mistake ends the reading. The meaning
//! (`check`) is ours: all mistakes are found in one go, each with its place and a remedy. Knows
//! nothing of environment variables inside values: what the file says is what counts.

mod check;
pub mod diagnostic;
pub mod environment;
pub mod json_schema;
mod outline;
mod schema;
mod shape;
mod source;
mod value;
pub mod write;

#[cfg(test)]
mod inheritance_tests;
#[cfg(test)]
mod mistakes_tests;
#[cfg(test)]
mod schema_tests;
#[cfg(test)]
mod shipped_tests;
#[cfg(test)]
mod variables_tests;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use ipnet::IpNet;

use crate::{admin, cookie, listen, proxy, session, store, telemetry, upstream, variables};

use diagnostic::{Diagnostics, Severity};
use environment::Environment;

pub use source::SourceText;

/// A checked configuration.
#[derive(Clone, Debug)]
pub struct Config {
    /// Worker runtimes; `auto` is one per core.
    pub workers: usize,
    pub listeners: Vec<listen::ListenerSettings>,
    /// Certificates of listeners and servers are read again once they change.
    pub watch_certificates: bool,
    /// Certificates that are ordered.
    pub orders: Vec<crate::acme::OrderSettings>,
    pub limits: listen::Limits,
    /// Where a default keyring, certificate and SQLite file live.
    pub state_directory: PathBuf,
    pub store: store::StoreSettings,
    /// What is kept of it in this process.
    pub cache: store::cache::CacheSettings,
    pub keyring: PathBuf,
    pub sessions: Vec<Arc<session::policy::Policy>>,
    pub cookies: cookie::enforce::CookieSettings,
    pub upstreams: Vec<upstream::UpstreamSettings>,
    /// Of each of them, where it is balanced by one.
    pub resolvers: Vec<crate::upstream::names::ResolverSettings>,
    pub sticky: Vec<Option<crate::proxy::sticky::StickySettings>>,
    pub hash_keys: Vec<Option<crate::variables::template::Template>>,
    pub servers: Vec<proxy::settings::Server>,
    pub trusted_proxies: Vec<IpNet>,
    /// The development switch: tickets without prefix and `Secure`.
    pub insecure_cookies: bool,
    pub admin: Option<admin::AdminSettings>,
    pub log: telemetry::LogSettings,
    /// Where access logs go; routes name them by their index.
    pub log_sinks: Vec<telemetry::log_writer::SinkSettings>,
    pub variables: variables::registry::Variables,
    /// Counters of limits; routes name them by their index.
    pub limit_zones: Vec<proxy::guards::limits::ZoneSettings>,
    /// How long a drain may take before what is left is cut.
    pub drain_timeout: std::time::Duration,
    /// Where the process writes its number.
    pub pid: Option<PathBuf>,
    /// What is accepted but not built yet, and what the operator should know, said at start.
    pub notices: Vec<String>,
    /// The same findings with their snippets: warnings and notices, never errors.
    pub warnings: Diagnostics,
    /// What all of it was read from.
    pub source: SourceText,
}

impl Config {
    /// Whether a missing key ring may be made: the one in the state directory belongs to this
    /// node alone. Any other is shared, and a second one would end the sessions of the first.
    pub fn may_make_keyring(&self) -> bool {
        self.keyring == self.state_directory.join("keyring.json")
    }
}

/// Reads and checks a file, in the environment of this process.
///
/// # Errors
/// Everything that is wrong with it; warnings and notices are among it.
pub fn load(path: &Path) -> Result<Config, Diagnostics> {
    load_in(path, &Environment::of_process())
}

/// Reads and checks a file, in a given environment.
///
/// # Errors
/// As [`load`].
pub fn load_in(path: &Path, environment: &Environment) -> Result<Config, Diagnostics> {
    let name = path.display().to_string();
    let bytes = environment
        .system
        .read(path)
        .map_err(|error| Diagnostics::unreadable(&name, format!("cannot be read: {error}")))?;
    let text = String::from_utf8(bytes)
        .map_err(|_| Diagnostics::unreadable(&name, "is not UTF-8 text".to_owned()))?;
    parse(&text, &name, environment)
}

/// Checks a text. `file_name` stands in every diagnostic, and relative paths count from its
/// directory.
///
/// # Errors
/// The first mistake of syntax or shape; else all mistakes of meaning, sorted by place.
pub fn parse(
    text: &str,
    file_name: &str,
    environment: &Environment,
) -> Result<Config, Diagnostics> {
    let file = shape::read(text).map_err(|first| Diagnostics::new(file_name, text, vec![first]))?;
    let base = Path::new(file_name).parent().unwrap_or(Path::new(""));
    let (mut config, found) = check::check(&file, base, environment);
    let found = Diagnostics::new(file_name, text, found);
    if found.count(Severity::Error) > 0 {
        return Err(found);
    }
    config.notices = found.one_liners();
    config.warnings = found;
    config.source = SourceText::new(text);
    Ok(config)
}
