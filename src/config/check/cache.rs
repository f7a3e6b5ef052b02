//! `cache`: what is kept of the store in this process.

use std::time::Duration;

use crate::config::schema::File;
use crate::config::value::Flaw;
use crate::config::value::unit::{Zero, duration, size};
use crate::store::cache::Settings;

use super::Checker;

/// A session that was revoked elsewhere may be served so long on a broken link.
const LEASE_MAX: Duration = Duration::from_secs(60);
/// Some hundred records: less would be thrown out before it is used.
const BYTES_MIN: u64 = 1 << 20;

impl Checker<'_> {
    pub(super) fn cache(&mut self, file: &File) -> Settings {
        let default = Settings::default();
        let Some(given) = &file.cache else { return default };
        Settings {
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
        }
    }
}
