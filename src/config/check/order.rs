//! `sessions.*.serialize`: which requests of one session take turns (PROTOCOL.md 32).

use std::time::Duration;

use crate::config::schema::{Given, Serialize as Long, ShortOr};
use crate::config::value::unit::{Zero, duration};
use crate::config::value::{Flaw, Parsed, choice};
use crate::session::order::{Order, Serialize};

use super::{Checker, at, on};

const KINDS: [(&str, Serialize); 4] = [
    ("off", Serialize::Off),
    ("login", Serialize::Login),
    ("unsafe", Serialize::Unsafe),
    ("all", Serialize::All),
];
const DEFAULT: Serialize = Serialize::Login;
/// Longer, and whoever waits has long given up.
const WAIT_MAX: Duration = Duration::from_secs(60);

impl Checker<'_> {
    pub(super) fn order(&mut self, given: &Given<ShortOr<Long>>, path: &str) -> Order {
        let alone =
            |requests: Serialize| Order { requests, wait: requests.default_wait(), fleet: false };
        let Some(given) = given else { return alone(DEFAULT) };
        let long = match &given.value {
            ShortOr::Long(long) => long,
            ShortOr::Short(text) => {
                let requests = kind(text).map_err(|flaw| self.error(at(given), path, flaw));
                return alone(requests.unwrap_or(DEFAULT));
            }
        };
        let requests = self.or(&long.requests, &format!("{path}.requests"), DEFAULT, kind);
        let wait = self.or(&long.wait, &format!("{path}.wait"), requests.default_wait(), |text| {
            let wait = duration(text, Zero::Refused)?;
            if wait > WAIT_MAX {
                let message = format!("`{text}` is too long");
                return Err(Flaw::new(message, "60s at most: nobody waits longer for an answer"));
            }
            Ok(wait)
        });
        let fleet = on(&long.fleet);
        if fleet && !matches!(requests, Serialize::Unsafe | Serialize::All) {
            let flaw = Flaw::new(
                "there are no turns to take on all nodes",
                "add `requests: unsafe` (or `all`), or leave `fleet` out",
            );
            self.error(long.fleet.as_ref().and_then(at), &format!("{path}.fleet"), flaw);
        }
        Order { requests, wait, fleet }
    }
}

fn kind(text: &str) -> Parsed<Serialize> {
    choice(text, "order of requests", &KINDS)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Config, Diagnostics, environment::testing, parse};

    fn read(serialize: &str) -> Result<Config, Diagnostics> {
        let text = format!(
            "listeners: [{{ address: '127.0.0.1:8443', tls: {{ self_signed: true }} }}]\n\
             sessions: {{ app: {{ app_cookies: [SESS], serialize: {serialize} }} }}\n\
             upstreams: {{ app: {{ endpoints: [{{ address: '127.0.0.1:7001' }}] }} }}\n\
             servers: [{{ routes: [{{ path: /, upstream: app, session: app }}] }}]\n"
        );
        parse(&text, "c.yaml", &testing::Given::default().environment())
    }

    #[test]
    fn a_word_says_it_or_a_mapping() {
        let check = |text: &str, requests, wait, fleet| {
            let config = read(text).unwrap_or_else(|found| panic!("{text}: {found}"));
            let wait = Duration::from_millis(wait);
            assert_eq!(config.sessions[0].serialize, Order { requests, wait, fleet }, "{text}");
        };
        check("null", Serialize::Login, 2000, false);
        check("off", Serialize::Off, 2000, false);
        check("login", Serialize::Login, 2000, false);
        check("unsafe", Serialize::Unsafe, 10_000, false);
        check("'all'", Serialize::All, 10_000, false);
        check("{}", Serialize::Login, 2000, false);
        check("{ wait: 500ms }", Serialize::Login, 500, false);
        check("{ requests: unsafe }", Serialize::Unsafe, 10_000, false);
        check("{ requests: all, wait: 60s, fleet: true }", Serialize::All, 60_000, true);
        check("{ requests: 'off', fleet: false }", Serialize::Off, 2000, false);
    }

    #[test]
    fn mistakes_have_a_place_and_a_remedy() {
        let check = |text: &str, expected: &str| {
            let found = read(text).err().map(|found| found.to_string()).unwrap_or_default();
            assert!(found.contains(expected), "{text}:\n{found}");
        };
        check("sometimes", "sessions.app.serialize: ");
        check("sometimes", "order of requests");
        check("{ requests: writes }", "sessions.app.serialize.requests: ");
        check("{ wait: 0s }", "sessions.app.serialize.wait: must be longer than nothing");
        check("{ wait: 61s }", "sessions.app.serialize.wait: `61s` is too long");
        check("{ fleet: true }", "sessions.app.serialize.fleet: there are no turns");
        check("{ requests: all, fleat: true }", "unknown key");
        check("{ requests: all, fleat: true }", "fleet");
        check("true", "serialize: ");
        check("[unsafe]", "serialize: ");
    }
}
