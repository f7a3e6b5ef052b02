//! Who logged in, and how many sessions that user may have (rules 22 and 23).

use std::sync::Arc;

use http::HeaderName;
use http::header::{
    CONNECTION, CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_TYPE, DATE, LOCATION, SET_COOKIE,
    TRANSFER_ENCODING, UPGRADE,
};
use serde_saphyr::Spanned;

use crate::config::schema::{File, Login, Session, key};
use crate::config::value::{Flaw, Parsed, choice, name};
use crate::headers::identity;
use crate::session::limit::{Beyond, SessionLimit};
use crate::session::policy::Policy;
use crate::session::subject::source::Source;

use super::cursor::{RouteAt, routes};
use super::{Checker, at};

impl Checker<'_> {
    pub(super) fn subject(&mut self, rule: &Login, path: &str) -> Option<Source> {
        let given = rule.subject.as_ref()?;
        let path = format!("{path}.subject");
        let subject = &given.value;
        let sources = [&subject.form, &subject.json, &subject.header];
        if sources.iter().filter(|source| source.is_some()).count() != 1 {
            let help = "write one of `form: FIELD`, `json: FIELD` and `header: NAME`";
            self.error(at(given), &path, Flaw::new("needs exactly one source", help));
        }
        let form = self.optional(&subject.form, &format!("{path}.form"), form);
        let json = self.optional(&subject.json, &format!("{path}.json"), json);
        let header = self.optional(&subject.header, &format!("{path}.header"), header);
        form.or(json).or(header)
    }

    pub(super) fn session_limit(&mut self, session: &Session, path: &str) -> Option<SessionLimit> {
        const KINDS: [(&str, Beyond); 2] =
            [("refuse", Beyond::Refuse), ("end-oldest", Beyond::EndOldest)];
        let given = session.max_sessions_per_subject.as_ref()?;
        let limit = &given.value;
        if limit.sessions.is_none() {
            let flaw = Flaw::new("is missing", "add it, such as `sessions: 5`");
            self.error(at(given), &format!("{path}.sessions"), flaw);
        }
        Some(SessionLimit {
            sessions: self.positive(
                &limit.sessions,
                &format!("{path}.sessions"),
                1,
                "nobody could log in",
            ),
            beyond: self.or(&limit.beyond, &format!("{path}.beyond"), Beyond::Refuse, |text| {
                choice(text, "answer to a login too many", &KINDS)
            }),
        })
    }

    /// Policies of one application may well have the same users, and whoever wants to end all of her
    /// sessions means those of all of them (rule 27).
    pub(super) fn users_apart(&mut self, file: &File, policies: &[Arc<Policy>]) {
        let routes: Vec<_> = routes(file)
            .iter()
            .filter_map(|route| {
                let (session, upstream) = (route.session()?, route.at.value.upstream.as_ref()?);
                let is_heard = route.on(&key::session_header);
                Some((session.at.value.as_str(), &*upstream.value, is_heard))
            })
            .collect();
        let knows_users = |policy: &Policy| {
            policy.has_tickets()
                && (policy.login.iter().any(|rule| rule.subject.is_some())
                    || routes.iter().any(|(session, _, heard)| *session == policy.name && *heard))
        };
        let given = file.sessions.iter().flat_map(|named| &named.0);
        let known: Vec<_> = given.zip(policies).filter(|(_, policy)| knows_users(policy)).collect();
        for (index, ((name, session), policy)) in known.iter().enumerate() {
            let upstreams = |name: &str| {
                let of = routes.iter().filter(move |(session, ..)| *session == name);
                of.map(|(_, upstream, _)| *upstream).collect::<Vec<_>>()
            };
            let mine = upstreams(&policy.name);
            let twin = known[..index].iter().find(|((_, other), twin)| {
                twin.users != policy.users
                    && (session.value.users.is_none() || other.value.users.is_none())
                    && upstreams(&twin.name).iter().any(|upstream| mine.contains(upstream))
            });
            if let Some((_, twin)) = twin {
                let message = format!(
                    "its users and those of `{}` are different ones, though both go to one upstream",
                    twin.name
                );
                let help = "write `users: NAME` in both: the same name where the same people log in, \
                            so that lists, limits and revocations are about both, else each its own";
                let path = format!("sessions.{}.users", policy.name);
                self.warning(at(name), &path, Flaw::new(message, help));
            }
        }
    }

    /// A limit on the sessions of users whom nobody confirms holds nobody back, and none of them may
    /// see his own.
    pub(super) fn limit_counts(
        &mut self,
        file: &File,
        name: &Spanned<String>,
        given: &Spanned<Session>,
        policy: &Policy,
        path: &str,
    ) {
        let limit = given.value.max_sessions_per_subject.as_ref().and_then(at);
        let limit = limit.map(|place| ("max_sessions_per_subject", place));
        let own = given.value.own_sessions.as_ref().filter(|own| own.value).and_then(at);
        let own = own.map(|place| ("own_sessions", place));
        let mut wanted = limit.into_iter().chain(own).peekable();
        if wanted.peek().is_none() || !policy.has_tickets() {
            return;
        }
        let is_said = routes(file)
            .iter()
            .filter(|route| route.on(&key::session_header))
            .filter_map(RouteAt::session)
            .any(|session| *session.at.value == name.value);
        if is_said || policy.subject_headers().next().is_some() {
            return;
        }
        for (key, place) in wanted {
            let flaw = Flaw::new(
                "has no effect: only users that the application confirms count, and it never does",
                "add `subject: { header: NAME }` to a login rule, or `session_header: true` to a route",
            );
            self.warning(Some(place), &format!("{path}.{key}"), flaw);
        }
    }
}

fn form(text: &str) -> Parsed<Source> {
    if text.is_empty() {
        return Err(Flaw::new("is empty", "write the field's name, such as `form: username`"));
    }
    Ok(Source::Form(text.to_owned()))
}

fn json(text: &str) -> Parsed<Source> {
    let path: Vec<String> = text.split('.').map(str::to_owned).collect();
    if path.iter().any(String::is_empty) {
        let message = format!("`{text}` leads nowhere");
        return Err(Flaw::new(message, "write names with dots between, such as `json: user.name`"));
    }
    Ok(Source::Json(path))
}

fn header(text: &str) -> Parsed<Source> {
    const ITS_OWN: [HeaderName; 9] = [
        CONNECTION,
        CONTENT_ENCODING,
        CONTENT_LENGTH,
        CONTENT_TYPE,
        DATE,
        LOCATION,
        SET_COOKIE,
        TRANSFER_ENCODING,
        UPGRADE,
    ];
    const HELP: &str = "write the name of a field that the application sends for this alone";
    let (name, value) = name::header(text)?;
    if value.is_some() {
        let message = format!("`{text}` has a value, which is what the field has to tell");
        return Err(Flaw::new(message, HELP));
    }
    if identity::is_reserved(name.as_str().as_bytes()) {
        let message = format!("`{name}` is removed from every answer");
        return Err(Flaw::new(message, HELP));
    }
    if ITS_OWN.contains(&name) {
        let message = format!("`{name}` is part of the answer, and would be taken out of it");
        return Err(Flaw::new(message, HELP));
    }
    Ok(Source::Header(name))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::environment::testing::Given;
    use crate::config::{Config, parse};

    /// A file with this in its login rule, in its policy and in its route.
    fn read(rule: &str, policy: &str, route: &str) -> Result<Config, String> {
        let text = format!(
            "listeners: [{{ address: 127.0.0.1:0, tls: {{ self_signed: true }} }}]\nstore: memory\n\
             sessions:\n  shop:\n    app_cookies: [sid]\n    login:\n      - request: POST /login\n        \
             success: {{ location: /account/ }}\n{rule}{policy}\
             upstreams: {{ shop: {{ endpoints: [{{ address: 127.0.0.1:1 }}] }} }}\n\
             servers: [{{ routes: [{{ path: /, upstream: shop{route} }}] }}]\n"
        );
        parse(&text, "shop.yaml", &Given::default().environment())
            .map_err(|found| found.to_string())
    }

    const SESSION: &str = ", session: shop";

    #[test]
    fn a_rule_says_where_the_subject_is() {
        let check = |given: &str, expected: Result<Source, &str>| {
            let rule = format!("        subject: {{ {given} }}\n");
            match (read(&rule, "", SESSION), expected) {
                (Ok(config), Ok(source)) => {
                    assert_eq!(config.sessions[0].login[0].subject, Some(source), "{given}");
                }
                (Err(found), Err(expected)) => assert!(found.contains(expected), "{found}"),
                (got, expected) => panic!("{given}: {got:?}, not {expected:?}"),
            }
        };
        check("form: user", Ok(Source::Form("user".to_owned())));
        check("json: user", Ok(Source::Json(vec!["user".to_owned()])));
        check("json: a.b", Ok(Source::Json(vec!["a".to_owned(), "b".to_owned()])));
        check("header: X-User", Ok(Source::Header(HeaderName::from_static("x-user"))));
        check("form: user, json: user", Err("needs exactly one source"));
        check("form: ''", Err("is empty"));
        check("json: a..b", Err("leads nowhere"));
        check("header: 'X-User: alice'", Err("has a value"));
        check("header: Set-Cookie", Err("is part of the answer"));
        check("header: X-Session-Subject", Err("is removed from every answer"));
    }

    #[test]
    fn a_limit_needs_somebody_to_count() {
        let limited = |policy: &str, rule: &str, route: &str| {
            let policy = format!("    max_sessions_per_subject: {{ {policy} }}\n");
            read(rule, &policy, &format!("{SESSION}{route}"))
        };
        let warns = |rule: &str, route: &str| {
            let config = limited("sessions: 3", rule, route).expect("a good file");
            config.warnings.iter().any(|found| found.path.ends_with(".max_sessions_per_subject"))
        };
        assert!(warns("", ""));
        assert!(warns("        subject: { form: user }\n", ""));
        assert!(!warns("        subject: { header: X-User }\n", ""));
        assert!(!warns("", ", session_header: true"));

        let limit = |policy: &str| {
            let config = limited(policy, "", ", session_header: true").expect("a good file");
            config.sessions[0].session_limit.expect("a limit")
        };
        let (sessions, beyond) = (3, Beyond::Refuse);
        assert_eq!(limit("sessions: 3"), SessionLimit { sessions, beyond });
        let beyond = Beyond::EndOldest;
        assert_eq!(limit("sessions: 3, beyond: end-oldest"), SessionLimit { sessions, beyond });
        for (policy, expected) in [
            ("sessions: 0", "nobody could log in"),
            ("beyond: refuse", "is missing"),
            ("sessions: 1, beyond: end", "end-oldest"),
        ] {
            let found = limited(policy, "", "").expect_err(policy);
            assert!(found.contains(expected), "{found}");
        }
    }

    #[test]
    fn policies_of_one_application_say_whether_their_users_are_the_same() {
        let check = |shop: &str, back: &str, upstream: &str, warned: bool| {
            let header = "session_header: true";
            let text = format!(
                "listeners: [{{ address: 127.0.0.1:0, tls: {{ self_signed: true }} }}]\n\
                 store: memory\nsessions:\n  shop: {{ app_cookies: [sid]{shop} }}\n  \
                 back: {{ app_cookies: [bsid]{back} }}\nupstreams:\n  \
                 app: {{ endpoints: [{{ address: 127.0.0.1:1 }}] }}\n  \
                 other: {{ endpoints: [{{ address: 127.0.0.1:2 }}] }}\nservers:\n  - routes:\n      \
                 - {{ path: /, upstream: app, session: shop, {header} }}\n      \
                 - {{ path: /back/, upstream: {upstream}, session: back, {header} }}\n"
            );
            let config = parse(&text, "shop.yaml", &Given::default().environment())
                .unwrap_or_else(|found| panic!("{found}"));
            let found = config.warnings.iter().any(|found| found.path == "sessions.back.users");
            assert_eq!(found, warned, "{shop} {back} {upstream}");
            config.sessions.iter().map(|policy| policy.users.clone()).collect::<Vec<_>>()
        };
        assert_eq!(check("", "", "app", true), ["shop", "back"]);
        check("", "", "other", false);
        assert_eq!(check("", ", users: shop", "app", false), ["shop", "shop"]);
        check("", ", users: back", "app", true);
        assert_eq!(check(", users: all", ", users: all", "app", false), ["all", "all"]);
        check(", users: a", ", users: b", "app", false);
        let found = read("", "    users: 'a b'\n", SESSION).expect_err("no name");
        assert!(found.contains("sessions.shop.users: `a b` cannot be a name"), "{found}");
    }

    #[test]
    fn an_answer_speaks_of_a_session() {
        let config = read("", "", &format!("{SESSION}, session_header: true")).expect("good");
        assert!(config.servers[0].routes[0].session_header);
        let found = read("", "", ", session_header: true").expect_err("there is no session");
        assert!(found.contains("there is no session that an answer could speak of"), "{found}");
    }
}
