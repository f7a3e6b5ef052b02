//! `limit_zones`, `limit_req`, `limit_conn`: how many requests of one key, and how many at a time.

use std::sync::Arc;

use http::StatusCode;

use crate::access::rate::{Burst, Rate};
use crate::config::schema::{File, Key, LimitConn, LimitReq, LimitZone, Several, ShortOr, key};
use crate::config::value::unit::size;
use crate::config::value::{Flaw, choice, did_you_mean};
use crate::proxy::guards::limits::{Answers, Level, Limits, OF_SESSION, ZoneSettings};
use crate::proxy::pacing::PaceSettings;
use crate::variables::template::Template;

use super::Checker;
use super::cursor::{At, Found, RouteAt};

/// Where nothing is said: what nginx's examples have.
const ZONE_BYTES: u64 = 10 * 1024 * 1024;
/// nginx's least: eight pages.
const ZONE_BYTES_MIN: u64 = 32 * 1024;

impl Checker<'_> {
    /// The zones; routes name them by their index.
    pub(super) fn limit_zones(&mut self, file: &File) {
        for (name, zone) in file.limit_zones.iter().flat_map(|zones| &zones.0) {
            let at = At::new(format!("limit_zones.{}", name.value), zone);
            let zone = self.limit_zone(&name.value, &at);
            self.limit_zones.push(zone);
        }
    }

    fn limit_zone(&mut self, name: &str, at: &At<'_, LimitZone>) -> ZoneSettings {
        let given = at.value;
        let key = at.key("key", &given.key);
        if key.is_none() {
            let help = "add `key: $binary_remote_addr`, or another text with variables";
            self.error(at.place, &at.path_of("key"), Flaw::new("is missing", help));
        }
        let key = key.and_then(|key| self.template(&key));
        let rate = self.read(at.key("rate", &given.rate).as_ref(), |text| {
            Rate::parse(text).ok_or_else(|| {
                let help = "write requests in a second or a minute: `10r/s`, `30r/m`";
                Flaw::new(format!("`{text}` is no rate"), help)
            })
        });
        let bytes = self.read(at.key("size", &given.size).as_ref(), |text| {
            let bytes = size(text)?;
            match bytes >= ZONE_BYTES_MIN {
                true => Ok(bytes),
                false => Err(Flaw::new(format!("`{text}` is too small"), "32KiB at least")),
            }
        });
        let key = key.unwrap_or_else(|| Template::literal(""));
        ZoneSettings {
            name: name.to_owned(),
            by_session: self.registry.goes_by(&key, &OF_SESSION),
            key,
            rate,
            bytes_max: usize::try_from(bytes.unwrap_or(ZONE_BYTES)).unwrap_or(usize::MAX),
        }
    }

    /// The limits of a route.
    pub(super) fn request_limits(&mut self, route: &RouteAt<'_>) -> Option<Arc<Limits>> {
        let of_rates = Answers {
            status: self.limit_status(route, &key::limit_req_status),
            dry_run: route.on(&key::limit_req_dry_run),
            level: self.limit_level(route, &key::limit_req_log_level),
        };
        let of_connections = Answers {
            status: self.limit_status(route, &key::limit_conn_status),
            dry_run: route.on(&key::limit_conn_dry_run),
            level: self.limit_level(route, &key::limit_conn_log_level),
        };
        let mut rates = Vec::new();
        if let Some(found) = route.find(&key::limit_req) {
            for (index, given) in found.at.value.0.iter().enumerate() {
                let at = item(&found, index);
                rates.extend(self.limit_req(&at, given));
            }
        }
        let mut connections = Vec::new();
        if let Some(found) = route.find(&key::limit_conn) {
            for (index, given) in found.at.value.0.iter().enumerate() {
                let at = item(&found, index);
                connections.extend(self.limit_conn(&at, given));
            }
        }
        for (index, (zone, _)) in rates.iter().enumerate() {
            if rates.iter().take(index).any(|(other, _)| other == zone)
                && let Some(found) = route.find(&key::limit_req)
            {
                self.limit_twice(&found, *zone);
            }
        }
        for (index, (zone, _)) in connections.iter().enumerate() {
            if connections.iter().take(index).any(|(other, _)| other == zone)
                && let Some(found) = route.find(&key::limit_conn)
            {
                self.limit_twice(&found, *zone);
            }
        }
        if rates.is_empty() && connections.is_empty() {
            return None;
        }
        let zones = rates.iter().map(|(zone, _)| zone);
        let mut zones = zones.chain(connections.iter().map(|(zone, _)| zone));
        let by_session = zones.any(|zone| self.limit_zones[*zone].by_session);
        Some(Arc::new(Limits { rates, of_rates, connections, of_connections, by_session }))
    }

    /// How fast answers go.
    pub(super) fn pace(&mut self, route: &RouteAt<'_>) -> Option<Arc<PaceSettings>> {
        let rate = self.pace_of(route.find(&key::limit_rate));
        let after = self.pace_of(route.find(&key::limit_rate_after));
        let rate = rate.filter(|rate| rate.constant().is_none_or(|text| text != "0"))?;
        let after = after.unwrap_or_else(|| Template::literal(""));
        Some(Arc::new(PaceSettings { rate, after }))
    }

    fn pace_of(&mut self, found: Option<Found<'_, String>>) -> Option<Template> {
        let at = found?.at;
        if at.value.contains('$') {
            return self.template(&at);
        }
        let bytes = self.read(Some(&at), size)?;
        Some(Template::literal(bytes.to_string()))
    }

    fn limit_req(&mut self, at: &At<'_, ()>, given: &ShortOr<LimitReq>) -> Option<(usize, Burst)> {
        const HELP: &str = "write `zone: NAME`, and beside it `burst`, `delay` or `nodelay: true`";
        let given = match given {
            ShortOr::Short(zone) => {
                return Some((
                    self.limit_zone_of(at, zone, true)?,
                    Burst { burst: 0, delay: Some(0) },
                ));
            }
            ShortOr::Long(given) => given,
        };
        let Some(zone) = &given.zone else {
            self.error_at(at, Flaw::new("names no zone", HELP));
            return None;
        };
        let zone = self.limit_zone_of(at, &zone.value, true);
        let nodelay = given.nodelay.as_ref().is_some_and(|nodelay| nodelay.value);
        let delay = given.delay.as_ref().map(|delay| u64::from(delay.value));
        if nodelay && delay.is_some() {
            self.error_at(at, Flaw::new("has both `delay` and `nodelay`", "leave one of them out"));
        }
        let burst = given.burst.as_ref().map_or(0, |burst| u64::from(burst.value));
        let delay = if nodelay { None } else { Some(delay.unwrap_or(0)) };
        Some((zone?, Burst { burst, delay }))
    }

    fn limit_conn(
        &mut self,
        at: &At<'_, ()>,
        given: &ShortOr<LimitConn>,
    ) -> Option<(usize, usize)> {
        const HELP: &str = "write a zone and a number: `{ zone: per_ip, connections: 10 }`";
        let ShortOr::Long(given) = given else {
            self.error_at(at, Flaw::new("does not say how many", HELP));
            return None;
        };
        let (Some(zone), Some(max)) = (&given.zone, &given.connections) else {
            self.error_at(at, Flaw::new("names no zone, or does not say how many", HELP));
            return None;
        };
        if !(1..=65_535).contains(&max.value) {
            let flaw = Flaw::new(format!("{} is no limit", max.value), "from 1 to 65535");
            self.error_at(at, flaw);
        }
        let zone = self.limit_zone_of(at, &zone.value, false)?;
        Some((zone, usize::try_from(max.value).unwrap_or(usize::MAX)))
    }

    /// The index of a zone, which must count what is limited.
    fn limit_zone_of(&mut self, at: &At<'_, ()>, name: &str, has_rate: bool) -> Option<usize> {
        let names: Vec<&str> = self.limit_zones.iter().map(|zone| zone.name.as_str()).collect();
        let Some(index) = names.iter().position(|other| *other == name) else {
            let help = match names.as_slice() {
                [] => "none is defined: add it under `limit_zones:`".to_owned(),
                names => format!("{}defined: {}", did_you_mean(name, names), names.join(", ")),
            };
            self.error_at(at, Flaw::new(format!("no zone is named `{name}`"), help));
            return None;
        };
        if self.limit_zones[index].rate.is_some() != has_rate {
            let flaw = match has_rate {
                true => Flaw::new(
                    format!("zone `{name}` has no rate"),
                    format!("add `rate: 10r/s` to `limit_zones.{name}`"),
                ),
                false => Flaw::new(
                    format!(
                        "zone `{name}` has a rate, so it counts what comes, not what is under way"
                    ),
                    "add another zone without `rate`",
                ),
            };
            self.error_at(at, flaw);
            return None;
        }
        Some(index)
    }

    fn limit_twice<T>(&mut self, found: &Found<'_, T>, zone: usize) {
        let message = format!("names zone `{}` twice", self.limit_zones[zone].name);
        self.error_at(&found.at, Flaw::new(message, "leave one of the two out"));
    }

    fn limit_status(&mut self, route: &RouteAt<'_>, key: &Key<u16>) -> StatusCode {
        let Some(found) = route.find(key) else { return StatusCode::SERVICE_UNAVAILABLE };
        let status = StatusCode::from_u16(*found.at.value).ok();
        match status.filter(|status| (400..=599).contains(&status.as_u16())) {
            Some(status) => status,
            None => {
                let message = format!("{} is no status of an error", found.at.value);
                self.error_at(&found.at, Flaw::new(message, "from 400 to 599, such as 429"));
                StatusCode::SERVICE_UNAVAILABLE
            }
        }
    }

    fn limit_level(&mut self, route: &RouteAt<'_>, key: &Key<String>) -> Level {
        const LEVELS: [(&str, Level); 4] = [
            ("info", Level::Info),
            ("notice", Level::Notice),
            ("warn", Level::Warn),
            ("error", Level::Error),
        ];
        self.inherited(route, key, |text| choice(text, "level", &LEVELS)).unwrap_or(Level::Error)
    }
}

/// One of several, whose place is that of all.
fn item<T>(found: &Found<'_, Several<T>>, index: usize) -> At<'static, ()> {
    let path = match found.at.value.0.len() {
        1 => found.at.path.clone(),
        _ => format!("{}[{index}]", found.at.path),
    };
    At { value: &(), path, place: found.at.place }
}
