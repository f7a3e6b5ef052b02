//! `sessions.*.own_sessions`: where users ask about their own sessions, on which hosts.

use std::sync::Arc;

use crate::config::value::Flaw;
use crate::headers::cross_site::CrossSite;
use crate::proxy::added::AnswerSettings;
use crate::proxy::error_page::ErrorPages;
use crate::proxy::origins::Origins;
use crate::proxy::request_body::BodySettings;
use crate::proxy::settings::{self, Denied, Require, Target};
use crate::proxy::worker_answer::AnswerEdits;
use crate::session::outage::OnStoreDown;
use crate::session::own;
use crate::telemetry::access_logs::AccessLogs;

use super::Checker;
use super::cursor::RouteAt;

/// What is asked has no body; some programs send a few bytes all the same.
const BODY_BYTES_MAX: u64 = 4 * 1024;

impl Checker<'_> {
    /// The route for what users ask of their own sessions, where a policy of the server lets them.
    pub(super) fn own_sessions(
        &mut self,
        routes: &[(&RouteAt<'_>, settings::Route)],
        access_log: &AccessLogs,
    ) -> Option<settings::Route> {
        let mut allowed = routes.iter().filter_map(|(given, route)| {
            Some((given, route.session.as_ref().filter(|policy| policy.own_sessions)?))
        });
        let (_, policy) = allowed.next()?;
        if let Some((given, other)) = allowed.find(|(_, other)| other.name != policy.name) {
            let message = format!(
                "sessions `{}` and `{}` both have `own_sessions`, and a host has one list",
                policy.name, other.name
            );
            let flaw = Flaw::new(message, "leave it out of one of them, or give it another host");
            if let Some(session) = given.session() {
                self.error_at(&session.at, flaw);
            }
        }
        for (given, route) in routes.iter().filter(|(_, route)| route.path.starts_with(own::PATH)) {
            let message = format!("`{}` is where users ask about their own sessions", route.path);
            let help = "leave the route out, or `own_sessions`";
            if let Some(path) = given.at.key("path", &given.at.value.path) {
                self.error_at(&path, Flaw::new(message, help));
            }
        }
        // What guards all routes of the policy guards this one.
        let of_policy = routes.iter().map(|(_, route)| route).filter(|route| {
            route.session.as_ref().is_some_and(|session| session.name == policy.name)
        });
        let of_policy: Vec<_> = of_policy.collect();
        let first = of_policy.iter().flat_map(|route| &route.guards);
        let guards = first.filter(|guard| of_policy.iter().all(|route| route.has_guard(guard)));
        let mut guards: Vec<_> = guards.cloned().collect();
        guards.dedup_by(|one, other| one.identity == other.identity);
        Some(settings::Route {
            path: own::PATH.to_owned(),
            outer: None,
            exact: false,
            target: Target::OwnSessions,
            try_files: None,
            session: Some(policy.clone()),
            session_header: false,
            require: Require::Nothing,
            denied: Denied::Unauthorized,
            // It says for itself who may ask, and that is less.
            cross_site: CrossSite::default(),
            guards,
            limits: None,
            pace: None,
            origins: Origins::default(),
            // Without the store there is nothing to tell.
            on_store_down: OnStoreDown::Reject,
            stream: false,
            answers: AnswerSettings::default(),
            compression: None,
            edits: AnswerEdits::default(),
            asks: None,
            body_bytes_max: BODY_BYTES_MAX,
            request_headers: Vec::new(),
            forwarded_headers: true,
            body: BodySettings::default(),
            is_spooled: false,
            spool_max: 0,
            replaced: None,
            error_pages: ErrorPages::default(),
            recursive_error_pages: false,
            intercept_errors: false,
            internal: false,
            rewriting: None,
            excepted: None,
            matcher: None,
            lies: None,
            own_texts: Arc::default(),
            access_log: access_log.clone(),
            keepalive: None,
            delivery: None,
        })
    }
}

#[cfg(test)]
mod tests {
    use crate::config::environment::testing::Given;
    use crate::config::{Config, parse};
    use crate::proxy::settings::Target;
    use crate::session::own;

    /// Two policies, the first of which says this, and these routes.
    fn read(policy: &str, routes: &str) -> Result<Config, String> {
        let text = format!(
            "listeners: [{{ address: '127.0.0.1:0', tls: {{ self_signed: true }} }}]\nstore: memory\n\
sessions:\n  a: {{ app_cookies: [a_sid], {policy} }}\n  \
             b: {{ app_cookies: [b_sid], own_sessions: true }}\nupstreams:\n  \
             up: {{ endpoints: [{{ address: '127.0.0.1:1' }}] }}\n\
             servers: [{{ routes: [{routes}] }}]\n"
        );
        parse(&text, "cloakroom.yaml", &Given::default().environment())
            .map_err(|found| found.to_string())
    }

    const A: &str = "{ path: /, upstream: up, session: a, session_header: true }";
    const ON: &str = "own_sessions: true";

    #[test]
    fn hosts_of_the_policy_have_a_route_for_it() {
        for (policy, expected) in [(ON, true), ("own_sessions: false", false), ("jar: {}", false)] {
            let config = read(policy, A).expect("a good file");
            let own = config.servers[0].routes.iter().find(|route| route.path == own::PATH);
            let found = own.is_some_and(|route| matches!(route.target, Target::OwnSessions));
            assert_eq!(found, expected, "{policy}");
        }
    }

    #[test]
    fn a_host_has_one_list_and_its_path_for_itself() {
        let check = |routes: &str, expected: &str| {
            let said = read(ON, routes).expect_err("a mistake");
            assert!(said.contains(expected), "{said}");
        };
        let b = "{ path: /b, upstream: up, session: b, session_header: true }";
        check(
            &format!("{A}, {b}"),
            "servers[0].routes[1].session: sessions `a` and `b` both have `own_sessions`",
        );
        for path in [own::PATH.to_owned(), format!("{}/x", own::PATH)] {
            let taken = format!("{{ path: {path}, upstream: up }}");
            check(&format!("{A}, {taken}"), "is where users ask about their own sessions");
        }
    }

    #[test]
    fn users_whom_nobody_confirms_have_no_list() {
        let warned = |route: &str| {
            let config = read(ON, route).expect("a good file");
            config.warnings.iter().any(|found| found.path == "sessions.a.own_sessions")
        };
        assert!(warned("{ path: /, upstream: up, session: a }"));
        assert!(!warned(A));
    }
}
