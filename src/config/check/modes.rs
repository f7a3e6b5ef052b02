//! `sessions.*.mode`: which of the other keys a mode has a meaning for, and how cookies leave that
//! are not kept here.

use serde_saphyr::Spanned;

use crate::config::schema::{self, Given, Session, Text};
use crate::config::value::{Flaw, choice, name};
use crate::cookie::appearance::{Appearance, Prefix};
use crate::session::policy::{Mode, Policy, TicketCookie};

use super::{Checker, Place, at, on};

/// A mode without its data.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ModeKind {
    Vault,
    Seal,
    Harden,
}

impl ModeKind {
    fn as_str(self) -> &'static str {
        match self {
            Self::Vault => "vault",
            Self::Seal => "seal",
            Self::Harden => "harden",
        }
    }
}

/// A key of a policy: its path below the policy, where it stands if it does, and for which modes it
/// has a meaning.
struct Key(&'static str, Option<Option<Place>>, &'static [ModeKind]);

impl Key {
    fn new<T>(path: &'static str, given: &Given<T>, modes: &'static [ModeKind]) -> Self {
        Self(path, given.as_ref().map(at), modes)
    }
}

/// Every key but those of all modes. The patterns name each field, so that a new one is not forgotten.
fn keys(session: &Session) -> Vec<Key> {
    use ModeKind::{Harden, Seal, Vault};
    let no_cookie = schema::TicketCookie::default();
    let no_timeouts = schema::SessionTimeouts::default();
    let no_jar = schema::Jar::default();
    let Session {
        mode: _,
        cookie,
        app_cookies: _,
        app_cookies_hold,
        timeouts,
        idle_counts_streams,
        on_reuse,
        on_app_delete,
        login,
        logout,
        serialize,
        jar,
        anonymous_per_minute,
        anonymous_life,
        anonymous_waiting,
        login_attempts_per_minute,
        bind,
        users,
        max_sessions_per_subject,
        own_sessions,
        identity,
        on_store_down,
        report_only,
    } = session;
    let schema::TicketCookie { name, same_site: _, domain: _, prefix, partitioned, remember } =
        cookie.as_ref().unwrap_or(&no_cookie);
    let schema::SessionTimeouts { idle, absolute, renew_every, grace } =
        timeouts.as_ref().unwrap_or(&no_timeouts);
    let schema::Jar { cookies, bytes } = jar.as_ref().unwrap_or(&no_jar);
    vec![
        Key::new("cookie.name", name, &[Vault]),
        Key::new("cookie.prefix", prefix, &[Seal, Harden]),
        Key::new("cookie.partitioned", partitioned, &[Seal, Harden]),
        Key::new("cookie.remember", remember, &[Vault]),
        Key::new("timeouts.idle", idle, &[Vault, Seal]),
        Key::new("timeouts.absolute", absolute, &[Vault, Seal]),
        Key::new("timeouts.renew_every", renew_every, &[Vault]),
        Key::new("timeouts.grace", grace, &[Vault]),
        Key::new("idle_counts_streams", idle_counts_streams, &[Vault]),
        Key::new("on_reuse", on_reuse, &[Vault]),
        Key::new("login", login, &[Vault]),
        Key::new("logout", logout, &[Vault]),
        Key::new("serialize", serialize, &[Vault]),
        Key::new("jar.cookies", cookies, &[Vault]),
        Key::new("jar.bytes", bytes, &[Vault]),
        Key::new("anonymous_per_minute", anonymous_per_minute, &[Vault]),
        Key::new("anonymous_life", anonymous_life, &[Vault]),
        Key::new("anonymous_waiting", anonymous_waiting, &[Vault]),
        Key::new("login_attempts_per_minute", login_attempts_per_minute, &[Vault]),
        Key::new("bind", bind, &[Vault]),
        Key::new("app_cookies_hold", app_cookies_hold, &[Vault]),
        Key::new("on_app_delete", on_app_delete, &[Vault]),
        Key::new("users", users, &[Vault]),
        Key::new("max_sessions_per_subject", max_sessions_per_subject, &[Vault]),
        Key::new("own_sessions", own_sessions, &[Vault]),
        Key::new("identity", identity, &[Vault]),
        Key::new("on_store_down", on_store_down, &[Vault]),
        Key::new("report_only", report_only, &[Harden]),
    ]
}

impl Checker<'_> {
    /// The mode's name, and complaints about keys that it does not know.
    pub(super) fn kind(&mut self, session: &Session, path: &str) -> ModeKind {
        const KINDS: [(&str, ModeKind); 3] =
            [("vault", ModeKind::Vault), ("seal", ModeKind::Seal), ("harden", ModeKind::Harden)];
        let kind =
            self.or(&session.mode, &format!("{path}.mode"), ModeKind::Vault, |text| match text {
                "native" => Err(Flaw::new(
                    format!("`{text}` is not built yet"),
                    "write `vault`, `seal` or `harden`, or leave `mode` out",
                )),
                _ => choice(text, "mode", &KINDS),
            });
        // Under a mode that is wrong nobody knows which keys are.
        let is_good = session.mode.as_ref().is_none_or(|mode| mode.value == kind.as_str());
        for Key(key, given, modes) in keys(session).into_iter().filter(|_| is_good) {
            if let Some(place) = given.filter(|_| !modes.contains(&kind)) {
                let meant: Vec<_> =
                    modes.iter().map(|mode| format!("`mode: {}`", mode.as_str())).collect();
                let flaw = Flaw::new(
                    format!("has no meaning with `mode: {}`", kind.as_str()),
                    format!("leave it out, or write {}", meant.join(" or ")),
                );
                self.error(place, &format!("{path}.{key}"), flaw);
            }
        }
        kind
    }

    /// The mode with its data. `cookie` has been checked.
    pub(super) fn mode(
        &mut self,
        kind: ModeKind,
        session: &Session,
        cookie: &TicketCookie,
        path: &str,
    ) -> Mode {
        match kind {
            ModeKind::Vault => Mode::Vault,
            ModeKind::Seal => Mode::Seal(self.appearance(session, cookie, path)),
            ModeKind::Harden => Mode::Harden {
                appearance: self.appearance(session, cookie, path),
                report_only: on(&session.report_only),
            },
        }
    }

    fn appearance(&mut self, session: &Session, cookie: &TicketCookie, path: &str) -> Appearance {
        let none = schema::TicketCookie::default();
        let given = session.cookie.as_ref().unwrap_or(&none);
        let prefix = self.prefix(&given.prefix, cookie, &format!("{path}.cookie.prefix"));
        self.renamed(session, prefix, path);
        let partitioned = on(&given.partitioned);
        if partitioned && !cookie.secure {
            self.error(
                given.partitioned.as_ref().and_then(at),
                &format!("{path}.cookie.partitioned"),
                Flaw::new(
                    "browsers refuse a cookie with `Partitioned` that is not `Secure`",
                    "leave it out, or leave `insecure_cookies` out",
                ),
            );
        }
        Appearance {
            // Over plain HTTP browsers refuse cookies with a prefix.
            prefix: if cookie.secure { prefix } else { Prefix::Plain },
            domain: cookie.domain.clone(),
            same_site: cookie.same_site,
            partitioned,
            secure: cookie.secure,
        }
    }

    fn prefix(&mut self, given: &Text, cookie: &TicketCookie, path: &str) -> Prefix {
        const KINDS: [(&str, Prefix); 3] =
            [("host", Prefix::Host), ("secure", Prefix::Secure), ("none", Prefix::Plain)];
        let default = if cookie.domain.is_some() { Prefix::Secure } else { Prefix::Host };
        let prefix = self.or(given, path, default, |text| choice(text, "prefix", &KINDS));
        if prefix == Prefix::Host && cookie.domain.is_some() {
            let flaw = Flaw::new(
                "browsers refuse a `__Host-` cookie with a `Domain`",
                "write `secure`, or leave `domain` out",
            );
            self.error(given.as_ref().and_then(at), path, flaw);
        }
        prefix
    }

    /// Names that could not be told apart once they carry the prefix.
    fn renamed(&mut self, session: &Session, prefix: Prefix, path: &str) {
        if prefix == Prefix::Plain {
            return;
        }
        let patterns: &[Spanned<String>] = super::items(&session.app_cookies);
        for (index, given) in patterns.iter().enumerate() {
            let pattern = &given.value;
            let path = format!("{path}.app_cookies[{index}]");
            let covers = |own: Prefix| {
                let (own, stem) = (own.as_str(), pattern.strip_suffix('*'));
                stem.is_some_and(|stem| {
                    own.get(..stem.len()).is_some_and(|start| start.eq_ignore_ascii_case(stem))
                })
            };
            if covers(Prefix::Host) || covers(Prefix::Secure) {
                let flaw = Flaw::new(
                    format!("`{pattern}` also covers cookies that carry a prefix of their own"),
                    "list the application's session cookies by name, or write `prefix: none`",
                );
                self.error(at(given), &path, flaw);
            }
            let renamed = format!("{}{pattern}", prefix.as_str());
            if patterns.iter().any(|other| other.value == renamed) {
                let flaw = Flaw::new(
                    format!("leaves as `{renamed}`, which is listed too"),
                    "keep one of the two, or choose another `prefix`",
                );
                self.error(at(given), &path, flaw);
            }
        }
    }
}

/// The name that cookies of a pattern have outside, as a pattern.
fn outside(policy: &Policy, pattern: &str) -> Option<String> {
    let appearance = policy.appearance()?;
    let carries = Prefix::of(pattern.as_bytes()) != Prefix::Plain;
    let prefix = if carries { "" } else { appearance.prefix.as_str() };
    Some(format!("{prefix}{pattern}"))
}

/// A cookie-name that two policies of one host would both send, if there is one.
pub(super) fn shared_name(a: &Policy, b: &Policy) -> Option<String> {
    match (a.has_tickets(), b.has_tickets()) {
        (true, true) => (a.cookie.name == b.cookie.name).then(|| a.cookie.name.clone()),
        (true, false) => ticket_among(a, b),
        (false, true) => ticket_among(b, a),
        // What is hardened twice is as good.
        (false, false) if !a.seals() && !b.seals() => None,
        (false, false) => leaves_from_both(a, b),
    }
}

/// A cookie that one policy seals and another one sends out under the same name: whatever is set on
/// one of their routes is not understood on the other one's.
fn leaves_from_both(a: &Policy, b: &Policy) -> Option<String> {
    let of = |policy: &Policy| -> Vec<String> {
        policy.app_cookies.iter().filter_map(|pattern| outside(policy, pattern)).collect()
    };
    let (a, b) = (of(a), of(b));
    let overlap = |one: &str, other: &str| {
        let stem = |pattern: &str| pattern.strip_suffix('*').unwrap_or(pattern).to_owned();
        name::matches(one, &stem(other)) || name::matches(other, &stem(one))
    };
    a.into_iter().find(|one| b.iter().any(|other| overlap(one, other)))
}

fn ticket_among(vault: &Policy, other: &Policy) -> Option<String> {
    let ticket = &vault.cookie.name;
    let mut patterns = other.app_cookies.iter().filter_map(|pattern| outside(other, pattern));
    patterns.any(|pattern| name::matches(&pattern, ticket)).then(|| ticket.clone())
}

#[cfg(test)]
#[path = "modes_tests.rs"]
mod tests;
