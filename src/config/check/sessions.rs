//! `sessions`: policies that can be kept. Rule numbers are PROTOCOL.md's.

use std::sync::Arc;
use std::time::Duration;

use serde_saphyr::Spanned;

use crate::config::schema::{File, Jar, Session, SessionTimeouts, Text};
use crate::config::value::name::{self, identifier};
use crate::config::value::unit::{Zero, duration, size};
use crate::config::value::{Flaw, choice};
use crate::cookie::enforce::{READ_BY_SCRIPT, SameSite};
use crate::session::policy::{
    CookiesHold, JarLimits, OnAppDelete, OnReuse, Policy, Remember, TicketCookie, Timeouts,
};

use super::cookies::same_site;
use super::cursor::{NO_SESSION, routes};
use super::modes::ModeKind;
use super::{Checker, at, items, on};

const TIMEOUTS: Timeouts = Timeouts {
    idle: Duration::from_secs(30 * 60),
    absolute: Duration::from_secs(12 * 60 * 60),
    renew_every: Duration::from_secs(15 * 60),
    grace: Duration::from_secs(60),
    anonymous: Duration::from_secs(15 * 60),
};
const ANONYMOUS_PER_MINUTE: u32 = 300;
const ANONYMOUS_WAITING: u32 = 100_000;
const LOGIN_ATTEMPTS_PER_MINUTE: u32 = 600;
/// Node.js refuses request heads beyond 16 KiB, Apache and gunicorn single fields beyond 8 KiB.
const JAR_BYTES_SANE: usize = 16 * 1024;
const JAR_BYTES_MAX: u64 = 64 * 1024;

impl Checker<'_> {
    /// One for each in the file and in its order.
    pub(super) fn sessions(&mut self, file: &File, insecure: bool) -> Vec<Arc<Policy>> {
        let mut policies: Vec<Arc<Policy>> = Vec::new();
        let used = routes(file);
        let used: Vec<&str> =
            used.iter().filter_map(|route| Some(route.session()?.at.value.as_str())).collect();
        for (name, given) in file.sessions.iter().flat_map(|named| &named.0) {
            let path = format!("sessions.{}", name.value);
            if let Err(flaw) = identifier(&name.value) {
                self.error(at(name), &path, flaw);
            }
            if NO_SESSION.contains(&name.value.as_str()) {
                let flaw = Flaw::new(
                    format!("`session: {}` says that a route has none", name.value),
                    "give the policy another name",
                );
                self.error(at(name), &path, flaw);
            }
            let used = used.contains(&name.value.as_str());
            if !used {
                self.warning(
                    at(name),
                    &path,
                    Flaw::new(
                        "no route uses it",
                        "name it in a route's `session`, or leave it out",
                    ),
                );
            }
            let policy = self.policy(name, given, &path, insecure);
            self.limit_counts(file, name, given, &policy, &path);
            let twin = policies.iter().find(|other| {
                let domains = policy.cookie.domain.as_deref().zip(other.cookie.domain.as_deref());
                policy.has_tickets()
                    && other.has_tickets()
                    && domains.is_some_and(|(one, other)| overlap(one, other))
                    && other.cookie.name == policy.cookie.name
            });
            if let Some(twin) = twin {
                let message = format!(
                    "session `{}` has the same cookie `{}` for the same domain, or one that lies in it",
                    twin.name, policy.cookie.name
                );
                let place = given
                    .value
                    .cookie
                    .as_ref()
                    .and_then(|cookie| cookie.name.as_ref())
                    .map_or_else(|| at(name), at);
                self.error(
                    place,
                    &format!("{path}.cookie.name"),
                    Flaw::new(
                        message,
                        "browsers would send both tickets, or neither: give one another name",
                    ),
                );
            }
            policies.push(Arc::new(policy));
        }
        self.users_apart(file, &policies);
        policies
    }

    fn policy(
        &mut self,
        name: &Spanned<String>,
        given: &Spanned<Session>,
        path: &str,
        insecure: bool,
    ) -> Policy {
        let session = &given.value;
        let kind = self.kind(session, path);
        let timeouts =
            self.session_timeouts(session.timeouts.as_ref(), &format!("{path}.timeouts"));
        let mut cookie = self.ticket(name, session, path, insecure);
        cookie.remember = self.remember(session, &timeouts, &format!("{path}.cookie.remember"));
        let mode = self.mode(kind, session, &cookie, path);
        let ticket = (kind == ModeKind::Vault).then_some(cookie.name.as_str());
        let app_cookies = self.app_cookies(given, ticket, path);
        let login = items(&session.login).iter().enumerate();
        let login =
            login.filter_map(|(n, rule)| self.login(rule, &format!("{path}.login[{n}]"))).collect();
        let logout = items(&session.logout).iter().enumerate();
        let logout = logout
            .filter_map(|(n, rule)| self.logout(rule, &format!("{path}.logout[{n}]")))
            .collect();
        let session_limit =
            self.session_limit(session, &format!("{path}.max_sessions_per_subject"));
        Policy {
            name: name.value.clone(),
            mode,
            cookie,
            app_cookies,
            app_cookies_hold: self
                .app_cookies_hold(&session.app_cookies_hold, &format!("{path}.app_cookies_hold")),
            timeouts: Timeouts {
                anonymous: self.anonymous_life(session, &timeouts, path),
                ..timeouts
            },
            idle_counts_streams: session.idle_counts_streams.as_ref().is_none_or(|on| on.value),
            on_reuse: self.on_reuse(&session.on_reuse, &format!("{path}.on_reuse")),
            on_app_delete: self.on_app_delete(session, &format!("{path}.on_app_delete")),
            login,
            logout,
            serialize: self.order(&session.serialize, &format!("{path}.serialize")),
            jar: self.jar(session.jar.as_ref(), &format!("{path}.jar")),
            anonymous_per_minute: self.positive(
                &session.anonymous_per_minute,
                &format!("{path}.anonymous_per_minute"),
                ANONYMOUS_PER_MINUTE,
                "nobody could begin a session",
            ),
            anonymous_waiting: self.positive(
                &session.anonymous_waiting,
                &format!("{path}.anonymous_waiting"),
                ANONYMOUS_WAITING,
                "nobody could begin a session",
            ),
            login_attempts_per_minute: self.positive(
                &session.login_attempts_per_minute,
                &format!("{path}.login_attempts_per_minute"),
                LOGIN_ATTEMPTS_PER_MINUTE,
                "nobody could log in",
            ),
            users: self.or(
                &session.users,
                &format!("{path}.users"),
                name.value.clone(),
                identifier,
            ),
            bind: self.bind(&session.bind, &format!("{path}.bind")),
            session_limit,
            own_sessions: on(&session.own_sessions),
            identity: self.identity(&session.identity, &format!("{path}.identity")),
            on_store_down: self
                .on_store_down(&session.on_store_down, &format!("{path}.on_store_down"))
                .unwrap_or_default(),
        }
    }

    fn ticket(
        &mut self,
        policy: &Spanned<String>,
        session: &Session,
        path: &str,
        insecure: bool,
    ) -> TicketCookie {
        let path = format!("{path}.cookie");
        let none = crate::config::schema::TicketCookie::default();
        let given = session.cookie.as_ref().unwrap_or(&none);
        let bare = match &given.name {
            Some(_) => self.or(
                &given.name,
                &format!("{path}.name"),
                policy.value.clone(),
                name::ticket_cookie,
            ),
            // The policy's name is made of characters that a cookie's may have.
            None => {
                if let Err(flaw) = name::ticket_cookie(&policy.value) {
                    self.error(at(policy), &format!("{path}.name"), flaw);
                }
                policy.value.clone()
            }
        };
        let domain = self.optional(&given.domain, &format!("{path}.domain"), name::cookie_domain);
        let prefix = match (insecure, &domain) {
            (true, _) => "",
            (false, Some(_)) => "__Secure-",
            (false, None) => "__Host-",
        };
        let same_site =
            self.or(&given.same_site, &format!("{path}.same_site"), SameSite::Lax, same_site);
        if same_site == SameSite::None {
            let path = format!("{path}.same_site");
            let place = given.same_site.as_ref().and_then(at);
            if insecure {
                let flaw = Flaw::new(
                    "browsers refuse a cookie with `SameSite=None` that is not `Secure`",
                    "write `lax`, or leave `insecure_cookies` out",
                );
                self.error(place, &path, flaw);
            } else {
                let flaw = Flaw::new(
                    "it is sent along with requests that other sites cause",
                    "write `lax` unless the application is used inside frames of other sites",
                );
                self.warning(place, &path, flaw);
            }
        }
        TicketCookie {
            name: format!("{prefix}{bare}"),
            same_site,
            domain,
            secure: !insecure,
            remember: Remember::Never,
        }
    }

    /// `ticket` is the name of the policy's ticket, where it has one.
    fn app_cookies(
        &mut self,
        given: &Spanned<Session>,
        ticket: Option<&str>,
        path: &str,
    ) -> Vec<String> {
        let path = format!("{path}.app_cookies");
        let list = &given.value.app_cookies;
        if items(list).is_empty() {
            let place = list.as_ref().map_or_else(|| at(given), at);
            self.error(place, &path, Flaw::new(
                "there is none",
                "list the cookies that make up the application's session, such as `[EGG_SESS, EGG_SESS.sig]`",
            ));
        }
        let mut patterns = Vec::new();
        for (index, given) in items(list).iter().enumerate() {
            let path = format!("{path}[{index}]");
            let pattern = match name::cookie_pattern(&given.value) {
                Ok(pattern) => pattern,
                Err(flaw) => {
                    self.error(at(given), &path, flaw);
                    continue;
                }
            };
            if pattern != "*"
                && let Some(ticket) = ticket.filter(|ticket| name::matches(&pattern, ticket))
            {
                let flaw = Flaw::new(
                    format!("`{pattern}` covers the ticket `{ticket}` itself"),
                    "give the ticket another name (`cookie: { name: … }`)",
                );
                self.error(at(given), &path, flaw);
            }
            if let Some(script) =
                READ_BY_SCRIPT.iter().find(|script| name::matches(&pattern, script))
            {
                let flaw = Flaw::new(
                    format!("`{pattern}` also keeps `{script}`, which pages read with script"),
                    "list the application's session cookies by name",
                );
                self.warning(at(given), &path, flaw);
            }
            if patterns.contains(&pattern) {
                self.warning(at(given), &path, Flaw::new("is listed twice", "keep one"));
            }
            patterns.push(pattern);
        }
        patterns
    }

    fn session_timeouts(&mut self, given: Option<&SessionTimeouts>, path: &str) -> Timeouts {
        let Some(given) = given else { return TIMEOUTS };
        let timeouts = Timeouts {
            idle: self.duration(&given.idle, &format!("{path}.idle"), TIMEOUTS.idle),
            absolute: self.duration(
                &given.absolute,
                &format!("{path}.absolute"),
                TIMEOUTS.absolute,
            ),
            renew_every: self.duration(
                &given.renew_every,
                &format!("{path}.renew_every"),
                TIMEOUTS.renew_every,
            ),
            grace: self.or(&given.grace, &format!("{path}.grace"), TIMEOUTS.grace, |text| {
                duration(text, Zero::Allowed)
            }),
            anonymous: TIMEOUTS.anonymous,
        };
        if timeouts.idle > timeouts.absolute {
            let (key, place) = first_given(&[("idle", &given.idle), ("absolute", &given.absolute)]);
            let (idle, absolute) = (timeouts.idle, timeouts.absolute);
            self.error(
                place,
                &format!("{path}.{key}"),
                Flaw::new(
                    format!("`idle` ({idle:?}) is longer than `absolute` ({absolute:?})"),
                    "a session never outlives `absolute`: shorten `idle`, or lengthen `absolute`",
                ),
            );
        }
        if timeouts.grace > timeouts.renew_every {
            let (key, place) =
                first_given(&[("grace", &given.grace), ("renew_every", &given.renew_every)]);
            let (grace, renew) = (timeouts.grace, timeouts.renew_every);
            self.error(
                place,
                &format!("{path}.{key}"),
                Flaw::new(
                    format!("`grace` ({grace:?}) is longer than `renew_every` ({renew:?})"),
                    "an old ticket must not outlive its successor: shorten `grace`",
                ),
            );
        }
        timeouts
    }

    fn anonymous_life(&mut self, session: &Session, timeouts: &Timeouts, path: &str) -> Duration {
        let path = format!("{path}.anonymous_life");
        let life = self.duration(&session.anonymous_life, &path, TIMEOUTS.anonymous);
        if let Some(given) = &session.anonymous_life
            && life > timeouts.idle
        {
            let problem = format!("{life:?} is longer than `timeouts.idle` ({:?})", timeouts.idle);
            let remedy = "no session waits longer than that for its next request: lengthen `idle`";
            self.warning(at(given), &path, Flaw::new(problem, remedy));
        }
        life
    }

    fn on_reuse(&mut self, given: &Text, path: &str) -> OnReuse {
        const KINDS: [(&str, OnReuse); 3] =
            [("revoke", OnReuse::Revoke), ("recent", OnReuse::Recent), ("log", OnReuse::Log)];
        self.or(given, path, OnReuse::Revoke, |text| {
            choice(text, "answer to an old ticket", &KINDS)
        })
    }

    fn app_cookies_hold(&mut self, given: &Text, path: &str) -> CookiesHold {
        const KINDS: [(&str, CookiesHold); 2] =
            [("content", CookiesHold::Content), ("identifier", CookiesHold::Identifier)];
        self.or(given, path, CookiesHold::Content, |text| {
            choice(text, "kind of cookie-value", &KINDS)
        })
    }

    fn on_app_delete(&mut self, session: &Session, path: &str) -> OnAppDelete {
        const KINDS: [(&str, OnAppDelete); 3] =
            [("end", OnAppDelete::End), ("guard", OnAppDelete::Guard), ("keep", OnAppDelete::Keep)];
        let given = &session.on_app_delete;
        let kind = self.or(given, path, OnAppDelete::Guard, |text| {
            choice(text, "answer to a deletion by the application", &KINDS)
        });
        if kind == OnAppDelete::Keep && items(&session.logout).is_empty() {
            self.warning(
                given.as_ref().and_then(at),
                path,
                Flaw::new(
                    "with `keep` and without `logout` no link logs anybody out",
                    "add the request that logs out, such as `logout: [{ request: GET /logout }]`",
                ),
            );
        }
        kind
    }

    fn jar(&mut self, given: Option<&Jar>, path: &str) -> JarLimits {
        let default = JarLimits::default();
        let Some(given) = given else { return default };
        let bytes_path = format!("{path}.bytes");
        let jar = JarLimits {
            cookies: self.positive(
                &given.cookies,
                &format!("{path}.cookies"),
                default.cookies,
                "no session cookie could be kept",
            ),
            bytes: self.or(&given.bytes, &bytes_path, default.bytes, |text| {
                let bytes = size(text)?;
                let fits =
                    usize::try_from(bytes).ok().filter(|_| (1..=JAR_BYTES_MAX).contains(&bytes));
                fits.ok_or_else(|| {
                    Flaw::new(format!("`{text}` is out of range"), "from 1 byte to 64KiB")
                })
            }),
        };
        if jar.bytes > JAR_BYTES_SANE {
            self.warning(
                given.bytes.as_ref().and_then(at),
                &bytes_path,
                Flaw::new(
                    "many application servers refuse request heads that long",
                    "stay below the application server's own limit (Node.js: 16 KiB)",
                ),
            );
        }
        jar
    }
}

/// Whether some host gets the cookies of both domains.
fn overlap(one: &str, other: &str) -> bool {
    let lies_in = |inner: &str, outer: &str| {
        inner.strip_suffix(outer).is_some_and(|rest| rest.is_empty() || rest.ends_with('.'))
    };
    lies_in(one, other) || lies_in(other, one)
}

/// The first of some keys that is there, to point at.
fn first_given<'a>(keys: &[(&'a str, &Text)]) -> (&'a str, Option<super::Place>) {
    let given = keys.iter().find_map(|(key, text)| Some((*key, text.as_ref()?)));
    given.map_or((keys[0].0, None), |(key, text)| (key, at(text)))
}

#[cfg(test)]
mod tests {
    use crate::config::environment::testing::Given as Files;

    /// What `check` says of a policy with this line, each problem as path and message.
    fn said(line: &str) -> Vec<String> {
        let text = format!(
            "listeners: [{{ address: '127.0.0.1:0', tls: {{ self_signed: true }} }}]\n\
             upstreams: {{ shop: {{ endpoints: [{{ address: '127.0.0.1:1' }}] }} }}\n\
             servers: [{{ routes: [{{ path: /, upstream: shop, session: shop }}] }}]\n\
             sessions: {{ shop: {{ app_cookies: [sid], {line} }} }}\n"
        );
        let found = match crate::config::parse(&text, "c.yaml", &Files::default().environment()) {
            Ok(config) => config.warnings,
            Err(found) => found,
        };
        let found = found.iter().filter(|found| found.path.starts_with("sessions."));
        found.map(|found| format!("{}: {}", found.path, found.message)).collect()
    }

    /// Rule 29: `keep` needs another way out.
    #[test]
    fn a_session_that_is_kept_needs_a_logout_rule() {
        let warned = "sessions.shop.on_app_delete: with `keep` and without `logout` no link logs anybody out";
        for (line, expected) in [
            ("on_app_delete: guard", None),
            ("on_app_delete: end", None),
            ("on_app_delete: keep", Some(warned)),
            ("on_app_delete: keep, logout: [{ request: GET /logout }]", None),
            ("app_cookies_hold: identifier", None),
            (
                "on_app_delete: guards",
                Some(
                    "sessions.shop.on_app_delete: `guards` is no answer to a deletion by the \
                     application",
                ),
            ),
            (
                "app_cookies_hold: identity",
                Some("sessions.shop.app_cookies_hold: `identity` is no kind of cookie-value"),
            ),
        ] {
            assert_eq!(said(line), Vec::from_iter(expected), "{line}");
        }
    }
}
