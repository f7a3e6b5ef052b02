//! `on_store_down` of policies and routes (PROTOCOL.md 8).

use std::time::Duration;

use crate::config::Config;
use crate::config::diagnostic::Severity;
use crate::config::schema::{File, Given, OnStoreDown as Long, ShortOr, key};
use crate::config::value::unit::{Zero, duration};
use crate::config::value::{Flaw, choice};
use crate::proxy::settings::Require;
use crate::session::outage::OnStoreDown;
use crate::session::policy::Policy;
use crate::store::StoreSettings as Store;

use super::cursor::{At, RouteAt, routes};
use super::{Checker, at};

/// For so long a revoked session may be served; longer is worth a word.
const STALE_SANE: Duration = Duration::from_secs(5 * 60);
const STALE_HELP: &str = "write `on_store_down: { stale: 30s }`";

impl Checker<'_> {
    /// `None` where nothing is said, or nothing that makes sense.
    pub(super) fn on_store_down(
        &mut self,
        given: &Given<ShortOr<Long>>,
        path: &str,
    ) -> Option<OnStoreDown> {
        self.answer_to_outage(&At::new(path, given.as_ref()?))
    }

    fn answer_to_outage(&mut self, given: &At<'_, ShortOr<Long>>) -> Option<OnStoreDown> {
        let long = match given.value {
            ShortOr::Short(text) => {
                return word(text).map_err(|flaw| self.error_at(given, flaw)).ok();
            }
            ShortOr::Long(long) => long,
        };
        let path = given.path_of("stale");
        let stale = self.required(&long.stale, given.place, &path, "30s", |text| {
            duration(text, Zero::Refused)
        })?;
        if stale > STALE_SANE {
            let flaw = Flaw::new(
                format!("a session that was revoked may be served for {stale:?} of an outage"),
                "5m at most is prudent: whoever was shut out is let in for so long",
            );
            self.warning(long.stale.as_ref().and_then(at), &path, flaw);
        }
        Some(OnStoreDown::Stale(stale))
    }

    /// What holds for a route: its own word, else its policy's.
    pub(super) fn route_on_store_down(
        &mut self,
        route: &RouteAt<'_>,
        session: Option<&Policy>,
        require: Require,
    ) -> OnStoreDown {
        let of_policy = session.map(|policy| policy.on_store_down).unwrap_or_default();
        let Some(found) = route.find(&key::on_store_down) else { return of_policy };
        let said = self.answer_to_outage(&found.at);
        if route.session().is_none() {
            let flaw = Flaw::new(
                "such requests never ask the store",
                "add `session: NAME` to the route, or leave it out",
            );
            if found.is_own {
                self.error_at(&found.at, flaw);
            }
        } else if let Some(policy) = session.filter(|policy| !policy.has_tickets()) {
            let flaw = Flaw::new(
                format!("session `{}` keeps nothing in the store", policy.name),
                "leave it out",
            );
            if found.is_own {
                self.error_at(&found.at, flaw);
            }
        } else if said == Some(OnStoreDown::Anonymous) && require == Require::Login && found.is_own
        {
            let flaw = Flaw::new(
                "nobody is anonymous where a login is required: such requests get 503",
                "leave it out, write `reject`, or `{ stale: 30s }`",
            );
            self.warning_at(&found.at, flaw);
        }
        said.unwrap_or(of_policy)
    }

    /// `stale` serves what is kept of the store in this process: where nothing is, it is `reject`.
    pub(super) fn nothing_to_serve(&mut self, file: &File, config: &Config) {
        let said = file.cache.as_ref().is_some_and(|cache| cache.lease.is_some());
        let (with, help) = match &config.store {
            Store::Memory => ("this store", ""),
            _ if !config.cache.lease.is_zero() => return,
            _ if said => ("`cache.lease: 0s`", ""),
            _ => (
                "this store and no `cache.lease`",
                "where no other node uses the store: `cache: { lease: 1s }`",
            ),
        };
        let mut found = Vec::new();
        let mut look = |given: &Given<ShortOr<Long>>, path: String| {
            if let Some(given) = given.as_ref().filter(|given| is_long(&given.value)) {
                found.push((at(given), path));
            }
        };
        for (name, session) in file.sessions.iter().flat_map(|named| &named.0) {
            look(&session.value.on_store_down, format!("sessions.{}.on_store_down", name.value));
        }
        let said = routes(file).into_iter().filter_map(|route| route.find(&key::on_store_down));
        for given in said.map(|found| found.at).filter(|given| is_long(given.value)) {
            found.push((given.place, given.path));
        }
        for (place, path) in found {
            let flaw = Flaw::new(
                format!(
                    "has no effect: with {with} there is nothing to serve, and such requests get 503"
                ),
                help,
            );
            self.report(Severity::Notice, place, &path, flaw);
        }
    }
}

fn is_long<T>(given: &ShortOr<T>) -> bool {
    matches!(given, ShortOr::Long(_))
}

fn word(text: &str) -> Result<OnStoreDown, Flaw> {
    const KINDS: [(&str, Option<OnStoreDown>); 3] = [
        ("reject", Some(OnStoreDown::Reject)),
        ("anonymous", Some(OnStoreDown::Anonymous)),
        ("stale", None),
    ];
    choice(text, "answer to a store that is down", &KINDS)?
        .ok_or_else(|| Flaw::new("`stale` does not say for how long", STALE_HELP))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::environment::testing::Given as Files;
    use crate::config::parse;

    /// A policy with these words of its own, and a route with these.
    fn read(policy: &str, route: &str, top: &str) -> Config {
        let text = format!(
            "listeners: [{{ address: '127.0.0.1:8443', tls: {{ self_signed: true }} }}]\n\
             {top}\n\
             sessions: {{ app: {{ app_cookies: [SESS], {policy} }} }}\n\
             upstreams: {{ app: {{ endpoints: [{{ address: '127.0.0.1:7001' }}] }} }}\n\
             servers: [{{ routes: [{{ path: /, upstream: app, session: app, {route} }}] }}]\n"
        );
        parse(&text, "c.yaml", &Files::default().environment())
            .unwrap_or_else(|found| panic!("{found}"))
    }

    #[test]
    fn a_route_has_its_own_word_or_its_policys() {
        let check = |policy: &str, route: &str, expected: OnStoreDown| {
            let config = read(policy, route, "");
            let found = config.servers[0].routes[0].on_store_down;
            assert_eq!(found, expected, "{policy}; {route}");
        };
        let stale = |secs| OnStoreDown::Stale(Duration::from_secs(secs));
        check("", "", OnStoreDown::Reject);
        check("on_store_down: reject", "", OnStoreDown::Reject);
        check("on_store_down: anonymous", "", OnStoreDown::Anonymous);
        check("on_store_down: { stale: 30s }", "", stale(30));
        check("", "on_store_down: anonymous", OnStoreDown::Anonymous);
        check("on_store_down: anonymous", "on_store_down: { stale: 5m }", stale(300));
        check("on_store_down: { stale: 30s }", "on_store_down: reject", OnStoreDown::Reject);
    }

    #[test]
    fn without_a_cache_there_is_nothing_to_serve() {
        let check = |top: &str, policy: &str, expected: &[&str]| {
            let config = read(policy, "", top);
            let said = config.warnings.iter().filter(|found| found.path.contains("on_store_down"));
            let said: Vec<_> = said.map(|found| found.message.as_str()).collect();
            assert_eq!(said, expected, "{top}; {policy}");
        };
        let stale = "on_store_down: { stale: 30s }";
        let this =
            "has no effect: with this store there is nothing to serve, and such requests get 503";
        let lease = "has no effect: with `cache.lease: 0s` there is nothing to serve, and such requests \
                     get 503";
        let unsaid = "has no effect: with this store and no `cache.lease` there is nothing to serve, \
                      and such requests get 503";
        check("store: memory", stale, &[this]);
        check("", stale, &[unsaid]);
        check("cache: { lease: 1s }", stale, &[]);
        check("", "on_store_down: anonymous", &[]);
        check("store: 'redis://127.0.0.1/0'", stale, &[]);
        check("store: 'redis://127.0.0.1/0'\ncache: { lease: 0s }", stale, &[lease]);
    }
}
