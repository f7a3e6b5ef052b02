//! `cache`: what is kept of the store in this process.

use std::time::Duration;

use crate::config::diagnostic::Severity;
use crate::config::schema::File;
use crate::config::value::Flaw;
use crate::config::value::unit::{Zero, duration, size};
use crate::store::cache::CacheSettings;
use crate::store::{self, Hears};

use super::{Checker, at};

/// A session that was revoked elsewhere may be served so long on a broken link.
const LEASE_MAX: Duration = Duration::from_secs(60);
/// Some hundred records: less would be thrown out before it is used.
const BYTES_MIN: u64 = 1 << 20;

impl Checker<'_> {
    pub(super) fn cache(&mut self, file: &File, store: &store::StoreSettings) -> CacheSettings {
        let default = CacheSettings::of(store);
        let Some(given) = &file.cache else { return default };
        let settings = CacheSettings {
            lease: self.or(&given.lease, "cache.lease", default.lease, |text| {
                let lease = duration(text, Zero::Allowed)?;
                if lease > LEASE_MAX {
                    return Err(Flaw::new(
                        format!("`{text}` is too long"),
                        "a revoked session may be served so long after its link to the store \
                         broke: 60s at most, 0s to keep nothing",
                    ));
                }
                Ok(lease)
            }),
            bytes: self.or(&given.bytes, "cache.bytes", default.bytes, |text| {
                let bytes = size(text)?;
                if bytes < BYTES_MIN {
                    return Err(Flaw::new(
                        format!("`{text}` is too small"),
                        "at least 1MiB; to keep nothing write `lease: 0s`",
                    ));
                }
                Ok(bytes)
            }),
        };
        if store.hears() == Hears::WhenItAsks && !settings.lease.is_zero() {
            // A file is most often one node's own.
            let severity = match store {
                store::StoreSettings::Sqlite(_) => Severity::Notice,
                _ => Severity::Warning,
            };
            let flaw = Flaw::new(
                "this store tells nodes of each other's changes only when it is asked, up to a \
                 quarter of a second later: until then a node serves sessions as they were, also \
                 those that have ended or whose user has just logged in, and a page that is made \
                 of one may take back what was written at another node",
                "right where one node alone uses the store; else leave it out",
            );
            self.report(severity, given.lease.as_ref().and_then(at), "cache.lease", flaw);
        }
        settings
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::environment::testing::Given as Files;
    use crate::config::parse;

    /// PROTOCOL 33.
    #[test]
    fn nothing_is_kept_of_a_store_that_only_answers_unless_the_operator_says_so() {
        let check = |top: &str, lease: u64, said: Option<Severity>| {
            let text = format!(
                "listeners: [{{ address: '127.0.0.1:8443', tls: {{ self_signed: true }} }}]\n\
                 upstreams: {{ app: {{ endpoints: [{{ address: '127.0.0.1:7001' }}] }} }}\n\
                 sessions: {{ shop: {{ app_cookies: [s] }} }}\n\
                 servers: [{{ routes: [{{ path: /, upstream: app, session: shop }}] }}]\n{top}\n"
            );
            let config = parse(&text, "c.yaml", &Files::default().environment())
                .unwrap_or_else(|found| panic!("{found}"));
            assert_eq!(config.cache.lease, Duration::from_secs(lease), "{top}");
            let found = config.warnings.iter().find(|found| found.path == "cache.lease");
            assert_eq!(found.map(|found| found.severity), said, "{top}");
        };
        let kept = "\ncache: { lease: 2s }";
        for (store, default, said) in [
            ("store: memory", 1, None),
            ("store: 'redis://h/0'", 1, None),
            ("store: 'postgres://u:p@h/d'", 1, None),
            ("", 0, Some(Severity::Notice)),
            ("store: 'sqlite:sessions.db'", 0, Some(Severity::Notice)),
            ("store: 'mysql://u:p@h/d'", 0, Some(Severity::Warning)),
        ] {
            check(store, default, None);
            check(&format!("{store}\ncache: {{ bytes: 1MiB }}"), default, None);
            check(&format!("{store}\ncache: {{ lease: 0s }}"), 0, None);
            check(&format!("{store}{kept}"), 2, said);
        }
    }
}
