//! `gzip` and its like.

use std::sync::Arc;

use crate::config::schema::{Key, key};
use crate::config::value::unit::size;
use crate::config::value::{Flaw, choice};
use crate::headers::compression::{Compression, Proxied};

use super::Checker;
use super::cursor::RouteAt;

/// nginx's.
const MIN_LENGTH: u64 = 20;

impl Checker<'_> {
    /// How a route's answers are compressed; `None` where they are not.
    pub(super) fn compression(&mut self, route: &RouteAt<'_>) -> Option<Arc<Compression>> {
        let gzip = self.level(route, (&key::gzip, &key::gzip_comp_level), 1, 9);
        let brotli = self.level(route, (&key::brotli, &key::brotli_comp_level), 4, 11);
        let zstd = self.level(route, (&key::zstd, &key::zstd_comp_level), 3, 19);
        let gunzip = route.on(&key::gunzip);
        let mut types = vec!["text/html".to_owned()];
        if let Some(found) = route.find(&key::gzip_types) {
            types.extend(found.at.value.0.iter().map(|it| it.to_ascii_lowercase()));
        }
        let compression = Compression {
            gzip,
            brotli,
            zstd,
            types,
            min_length: self.inherited(route, &key::gzip_min_length, size).unwrap_or(MIN_LENGTH),
            vary: route.on(&key::gzip_vary),
            proxied: self.proxied(route),
            http10: self.inherited(route, &key::gzip_http_version, is_http10).unwrap_or(false),
            sessions: route.on(&key::gzip_sessions),
            gunzip,
        };
        let is_used =
            gzip.is_some() || brotli.is_some() || zstd.is_some() || gunzip || compression.vary;
        is_used.then(|| Arc::new(compression))
    }

    fn level(
        &mut self,
        route: &RouteAt<'_>,
        (switch, level): (&Key<bool>, &Key<u32>),
        default: u32,
        max: u32,
    ) -> Option<u32> {
        let given = route.find(level);
        if let Some(found) = given.as_ref().filter(|found| !(1..=max).contains(found.at.value)) {
            let flaw = Flaw::new("is no level", format!("write one from 1 to {max}"));
            self.error_at(&found.at, flaw);
        }
        route.on(switch).then(|| given.map_or(default, |found| *found.at.value))
    }

    fn proxied(&mut self, route: &RouteAt<'_>) -> Proxied {
        let mut proxied = Proxied::default();
        let Some(found) = route.find(&key::gzip_proxied) else { return proxied };
        for word in &found.at.value.0 {
            match word.as_str() {
                "off" => {}
                "any" => proxied.any = true,
                "expired" => proxied.expired = true,
                "no-cache" => proxied.no_cache = true,
                "no-store" => proxied.no_store = true,
                "private" => proxied.private = true,
                "no_last_modified" => proxied.no_last_modified = true,
                "no_etag" => proxied.no_etag = true,
                "auth" => proxied.auth = true,
                word => {
                    let flaw = Flaw::new(
                        format!("`{word}` is no condition"),
                        "write off, any, expired, no-cache, no-store, private, no_last_modified, \
                         no_etag or auth",
                    );
                    self.error_at(&found.at, flaw);
                }
            }
        }
        proxied
    }
}

fn is_http10(text: &str) -> Result<bool, Flaw> {
    choice(text, "version of HTTP", &[("1.0", true), ("1.1", false)])
}
