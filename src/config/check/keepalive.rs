//! How long connections are kept behind a route's answers.

use std::time::Duration;

use super::Checker;
use super::cursor::RouteAt;
use crate::config::schema::key;
use crate::config::value::unit::{Zero, duration};
use crate::config::value::{Flaw, choice};
use crate::downstream::keepalive::{Disabled, KeepAlive};
use crate::listen::Limits;

/// nginx's `keepalive_time`.
const TIME: Duration = Duration::from_secs(3600);

impl Checker<'_> {
    /// Nothing where a route and what is around it say nothing of it.
    pub(super) fn keepalive(&mut self, route: &RouteAt<'_>) -> Option<KeepAlive> {
        const KINDS: [(&str, Kind); 3] =
            [("none", Kind::None), ("msie6", Kind::Msie6), ("safari", Kind::Safari)];
        let disabled = route.find(&key::keepalive_disable);
        let requests = route.find(&key::keepalive_requests);
        let texts = [&key::keepalive_timeout, &key::keepalive_header, &key::keepalive_time];
        let is_said = texts.iter().any(|key| route.find(key).is_some());
        if !is_said && disabled.is_none() && requests.is_none() {
            return None;
        }
        let any = |text: &str| duration(text, Zero::Allowed);
        let timeout = self.inherited(route, &key::keepalive_timeout, any);
        let told = self.inherited(route, &key::keepalive_header, any);
        let time = self.inherited(route, &key::keepalive_time, any);
        let mut kinds = vec![Kind::Msie6];
        if let Some(disabled) = disabled {
            let read =
                disabled.at.value.0.iter().map(|text| choice(text, "kind of browser", &KINDS));
            match read.collect::<Result<Vec<_>, Flaw>>() {
                Ok(read) => kinds = read,
                Err(flaw) => self.error_at(&disabled.at, flaw),
            }
        }
        let is_disabled = |kind| if kinds.contains(&kind) { Disabled::Yes } else { Disabled::No };
        let limits = Limits::default();
        Some(KeepAlive {
            timeout: timeout.unwrap_or(limits.keepalive_timeout),
            told: told.map_or(0, |told| u16::try_from(told.as_secs()).unwrap_or(u16::MAX)),
            requests: requests.map_or(limits.keepalive_requests, |found| *found.at.value),
            time: time.unwrap_or(TIME),
            msie6: is_disabled(Kind::Msie6),
            safari: is_disabled(Kind::Safari),
        })
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    None,
    Msie6,
    Safari,
}
