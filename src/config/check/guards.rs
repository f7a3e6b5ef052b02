//! `access`, `auth_basic`, `auth_request`, `satisfy`, `limit_except`: who is let in.

use std::io::ErrorKind;
use std::sync::Arc;
use std::time::Duration;

use http::Method;

use crate::access::METHODS;
use crate::access::rules::Rules;
use crate::access::{password, user_file};
use crate::config::schema::{LimitExcept, Texts, key};
use crate::config::value::unit::{Zero, duration};
use crate::config::value::{Flaw, choice};
use crate::proxy::guards::basic::Basic;
use crate::proxy::guards::subrequest::AuthRequest;
use crate::proxy::guards::{Checks, Guard};
use crate::routing::percent::{self, Part};
use crate::variables::template::Template;

use super::Checker;
use super::cursor::{At, RouteAt};

impl Checker<'_> {
    /// What guards a route beside sessions; the nearest level of each key wins whole.
    pub(super) fn guard(&mut self, route: &RouteAt<'_>) -> Option<Arc<Guard>> {
        const KINDS: [(&str, bool); 2] = [("all", false), ("any", true)];
        let mut identity = String::new();
        let satisfy = route.find(&key::satisfy).map(|found| found.at);
        let one_is_enough = self.read(satisfy.as_ref(), |text| choice(text, "rule", &KINDS));
        let one_is_enough = one_is_enough.unwrap_or(false);
        note(&mut identity, satisfy.as_ref().filter(|_| one_is_enough));
        let auth_delay =
            self.inherited(route, &key::auth_delay, |text| duration(text, Zero::Allowed));
        let access = route.find(&key::access).map(|found| found.at);
        let realm = route.find(&key::auth_basic).map(|found| found.at);
        let users = route.find(&key::auth_basic_user_file).map(|found| found.at);
        let checks = Checks {
            rules: self.rules(access.as_ref(), &mut identity),
            basic: self.basic(realm.as_ref(), users.as_ref(), &mut identity),
            request: self.auth_request(route, &mut identity),
        };
        let except = route.at.key("limit_except", &route.at.value.limit_except);
        let around = (realm.as_ref(), users.as_ref());
        let except = except.and_then(|at| self.limit_except(&at, &checks, around, &mut identity));
        if checks.is_open() && except.as_ref().is_none_or(|(_, checks)| checks.is_open()) {
            return None;
        }
        Some(Arc::new(Guard {
            identity: identity.into(),
            one_is_enough,
            checks,
            except: except.map(Box::new),
            auth_delay: auth_delay.unwrap_or(Duration::ZERO),
        }))
    }

    fn rules(&mut self, at: Option<&At<'_, Texts>>, identity: &mut String) -> Rules {
        let mut rules = Rules::default();
        note(identity, at);
        let Some(at) = at else { return rules };
        for text in &at.value.0 {
            if let Err(bad) = rules.add(text) {
                let help = "write `allow` or `deny`, and behind it an address, a network such as \
                            10.0.0.0/8, `all` or `unix:`";
                self.error_at(at, Flaw::new(bad.to_string(), help));
            }
        }
        rules
    }

    fn basic(
        &mut self,
        realm: Option<&At<'_, String>>,
        users: Option<&At<'_, String>>,
        identity: &mut String,
    ) -> Option<Basic> {
        let realm = realm.filter(|realm| realm.value != "off")?;
        note(identity, Some(realm));
        note(identity, users);
        let Some(users) = users else {
            let flaw = Flaw::new(
                "has no users",
                "add `auth_basic_user_file: FILE`, or write `auth_basic: \"off\"`",
            );
            self.error_at(realm, flaw);
            return None;
        };
        let (realm, user_file) = (self.template(realm)?, self.template(users)?);
        if let Some(path) = user_file.constant() {
            self.user_file(users, &String::from_utf8_lossy(path));
        }
        let directory = std::path::absolute(self.base).unwrap_or_else(|_| self.base.to_owned());
        Some(Basic { realm, user_file, directory })
    }

    /// It is read when somebody asks; what can be said of it now is a warning.
    fn user_file(&mut self, at: &At<'_, String>, path: &str) {
        let content = match self.environment.system.read(&self.path(path)) {
            Ok(content) => content,
            Err(error) if error.kind() == ErrorKind::FileTooLarge => return,
            Err(error) => {
                let flaw = Flaw::new(
                    format!("`{path}` cannot be read: {error}"),
                    "nobody gets in until it can be: `htpasswd -cB FILE USER` makes one",
                );
                return self.warning_at(at, flaw);
            }
        };
        let is_understood = |kept: &[u8]| {
            std::str::from_utf8(kept).map_or(kept.starts_with(b"{PLAIN}"), password::is_understood)
        };
        for (user, _) in user_file::lines(&content).filter(|(_, kept)| !is_understood(kept)) {
            let flaw = Flaw::new(
                format!(
                    "the password of `{}` is in no form that is known",
                    String::from_utf8_lossy(user)
                ),
                "it fits nothing: set it anew with `htpasswd -B`, `openssl passwd -6` or `argon2`",
            );
            self.warning_at(at, flaw);
        }
    }

    fn auth_request(
        &mut self,
        route: &RouteAt<'_>,
        identity: &mut String,
    ) -> Option<Arc<AuthRequest>> {
        let set = route.find(&key::auth_request_set).map(|found| found.at);
        // They are defined whether anybody is asked or not.
        let mut variables: Vec<(_, Template)> = Vec::new();
        for (name, value) in set.iter().flat_map(|set| &set.value.0) {
            let path = format!("auth_request_set.{}", name.value);
            let at = At::new(path, value);
            let plain = name.value.strip_prefix('$').filter(|name| !name.is_empty());
            match plain.map(|plain| self.registry.assign(plain)) {
                Some(Ok(assignee)) => {
                    variables.extend(self.template(&at).map(|value| (assignee, value)));
                }
                Some(Err(duplicate)) => {
                    let flaw =
                        Flaw::new(duplicate.to_string(), "it is built in: choose another name");
                    self.error_at(&at, flaw);
                }
                None => {
                    let flaw = Flaw::new(
                        format!("invalid variable name \"{}\"", name.value),
                        "write `$` and a name: `$user: $upstream_http_x_user`",
                    );
                    self.error_at(&at, flaw);
                }
            }
        }
        let at = route.find(&key::auth_request).map(|found| found.at);
        let at = at.filter(|at| at.value != "off")?;
        note(identity, Some(&at));
        note(identity, set.as_ref());
        if !at.value.starts_with('/') {
            let help = "write a path on the same server, such as `/auth`, or `off`";
            self.error_at(&at, Flaw::new(format!("`{}` is no path", at.value), help));
            return None;
        }
        let mut target = Vec::new();
        percent::escape(at.value.as_bytes(), Part::Path, &mut target);
        Some(Arc::new(AuthRequest { target: target.into(), set: variables }))
    }

    /// What is checked for all methods but some. What it does not say itself holds as around it.
    fn limit_except(
        &mut self,
        at: &At<'_, LimitExcept>,
        outside: &Checks,
        (realm, users): (Option<&At<'_, String>>, Option<&At<'_, String>>),
        identity: &mut String,
    ) -> Option<(Vec<Method>, Checks)> {
        let given = at.value;
        note(identity, Some(at));
        let Some(list) = at.key("methods", &given.methods) else {
            let help = "add `methods: [GET]`: what stands beside it holds for all others";
            self.error(at.place, &at.path_of("methods"), Flaw::new("is missing", help));
            return None;
        };
        let mut methods = Vec::new();
        for method in list.items() {
            let known = METHODS.iter().find(|known| known.eq_ignore_ascii_case(method.value));
            match known.and_then(|known| known.parse().ok()) {
                Some(known) => methods.push(known),
                None => {
                    let flaw = Flaw::new(
                        format!("invalid method \"{}\"", method.value),
                        format!("one of: {}", METHODS.join(", ")),
                    );
                    self.error_at(&method, flaw);
                }
            }
        }
        let mut checks = outside.clone();
        if let Some(access) = at.key("access", &given.access) {
            checks.rules = self.rules(Some(&access), identity);
        }
        let own_realm = at.key("auth_basic", &given.auth_basic);
        let own_users = at.key("auth_basic_user_file", &given.auth_basic_user_file);
        if own_realm.is_some() || own_users.is_some() {
            let (realm, users) = (own_realm.as_ref().or(realm), own_users.as_ref().or(users));
            checks.basic = self.basic(realm, users, identity);
        }
        Some((methods, checks))
    }
}

/// Adds where a part of a guard stands.
fn note<T>(identity: &mut String, at: Option<&At<'_, T>>) {
    if let Some(at) = at {
        identity.push_str(&at.path);
        identity.push('|');
    }
}
