//! `servers[].routes[].stream`: exchanges that are streams, whatever their heads look like.

use crate::config::schema::key;
use crate::config::value::Flaw;
use crate::session::policy::Policy;

use super::Checker;
use super::cursor::RouteAt;

impl Checker<'_> {
    pub(super) fn stream(&mut self, route: &RouteAt<'_>, session: Option<&Policy>) -> bool {
        let Some(found) = route.find(&key::stream).filter(|found| *found.at.value) else {
            return false;
        };
        if !session.is_some_and(Policy::has_tickets) {
            let flaw = Flaw::new(
                "has no effect without a session that could end: add `session: NAME` to the route, of `mode: vault`",
                "",
            );
            if found.is_own {
                self.notice_at(&found.at, flaw);
            }
        } else if route.at.value.path.as_ref().is_some_and(|path| path.value == "/") {
            let flaw = Flaw::new(
                "a login cuts all other requests of its session that this route serves, at once",
                "give the long polls a route of their own, such as `path: /poll/`",
            );
            self.warning_at(&found.at, flaw);
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use crate::config::{environment::testing, parse};

    #[test]
    fn what_has_no_effect_or_too_much_is_said() {
        let check = |route: &str, expected: &str| {
            let text = format!(
                "listeners: [{{ address: '127.0.0.1:8443', tls: {{ self_signed: true }} }}]\n\
                 sessions:\n\x20 app: {{ app_cookies: [s] }}\n\x20 sealed: {{ mode: seal, app_cookies: [t] }}\n\
                 upstreams: {{ app: {{ endpoints: [{{ address: '127.0.0.1:7001' }}] }} }}\n\
                 servers: [{{ routes: [{{ path: /a, upstream: app, session: app }}, \
                 {{ upstream: app, {route} }}] }}]\n"
            );
            let config = parse(&text, "c.yaml", &testing::Given::default().environment())
                .unwrap_or_else(|found| panic!("{route}: {found}"));
            let said = config.warnings.to_string();
            assert_eq!(said.contains("routes[1].stream"), !expected.is_empty(), "{route}: {said}");
            assert!(said.contains(expected), "{route}: {said}");
        };
        check("path: /poll/, session: app, stream: true", "");
        check("path: /poll/, stream: false", "");
        check(
            "path: /poll/, stream: true",
            "servers[0].routes[1].stream has no effect without a session",
        );
        check("path: /poll/, session: sealed, stream: true", "has no effect");
        check(
            "path: /, session: app, stream: true",
            "warning: servers[0].routes[1].stream: a login",
        );
    }
}
