//! What of a configuration holds as long as the process runs.

use std::path::PathBuf;

use crate::admin::AdminSettings;
use crate::config::Config;
use crate::store::StoreSettings;
use crate::store::cache::CacheSettings;
use crate::telemetry::LogSettings;

/// The parts of a configuration that a reload does not change.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Fixed {
    workers: usize,
    state_directory: PathBuf,
    store: StoreSettings,
    cache: CacheSettings,
    keyring: PathBuf,
    pid: Option<PathBuf>,
    admin: Option<AdminSettings>,
    log: LogSettings,
}

impl Fixed {
    pub fn of(config: &Config) -> Self {
        Self {
            workers: config.workers,
            state_directory: config.state_directory.clone(),
            store: config.store.clone(),
            cache: config.cache,
            keyring: config.keyring.clone(),
            pid: config.pid.clone(),
            admin: config.admin.clone(),
            // Access lines are a part of what changes.
            log: LogSettings { access: false, ..config.log.clone() },
        }
    }

    /// The keys of those that another configuration has otherwise.
    pub fn differ(&self, other: &Self) -> Vec<&'static str> {
        let Self { workers, state_directory, store, cache, keyring, pid, admin, log } = self;
        let log = |other: &LogSettings| (log.level == other.level, log.format == other.format);
        let (has_level, has_format) = log(&other.log);
        [
            ("workers", *workers == other.workers),
            ("state_directory", *state_directory == other.state_directory),
            ("store", *store == other.store),
            ("cache", *cache == other.cache),
            ("keyring", *keyring == other.keyring),
            ("pid", *pid == other.pid),
            ("admin", *admin == other.admin),
            ("log.level", has_level),
            ("log.format", has_format),
            ("error_log", self.log.error_logs == other.log.error_logs),
        ]
        .into_iter()
        .filter_map(|(key, is_same)| (!is_same).then_some(key))
        .collect()
    }
}
