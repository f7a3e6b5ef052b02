//! `servers`: names that exist, policies that fit together.

use std::net::SocketAddr;
use std::sync::Arc;

use serde_saphyr::Spanned;

use crate::config::diagnostic::Place;
use crate::config::schema::{File, key};
use crate::config::value::{Flaw, name};
use crate::listen::{CertificateSettings, OrderedSettings};
use crate::proxy::settings::{self, Denied, FieldNames, Require};
use crate::routing::location;
use crate::routing::pattern::Case;
use crate::routing::table::Listens;
use crate::session::policy::Policy;
use crate::variables::matcher::{BadMatcher, Matcher};

use super::cursor::{At, RouteAt, ServerAt, servers};
use super::modes::shared_name;
use super::{Checker, at, items, on};

impl Checker<'_> {
    pub(super) fn servers(
        &mut self,
        file: &File,
        sessions: &[Arc<Policy>],
        insecure: bool,
    ) -> Vec<settings::Server> {
        let redirects = |text: &Option<Spanned<String>>| {
            text.as_ref().is_some_and(|text| text.value != "false")
        };
        let all_redirect = items(&file.listeners)
            .iter()
            .all(|listener| redirects(&listener.value.redirect_to_https));
        if items(&file.servers).is_empty() && !(all_redirect && file.listeners.is_some()) {
            let place = file.servers.as_ref().and_then(at);
            let help = "add `servers: [{ names: [shop.example.com], routes: [{ path: /, upstream: shop }] }]`";
            self.error(place, "servers", Flaw::new("there is none", help));
        }
        let mut taken: Vec<TakenName> = Vec::new();
        let mut checked = Vec::new();
        for server in servers(file) {
            let listeners = self.server_listeners(file, &server);
            let names = self.names(&server, listeners.as_deref(), &mut taken);
            let given = server.routes();
            self.server_origins(&server, &names);
            let routes = self.routes(file, &server, &given, sessions);
            self.policies(&given, &names, sessions, insecure);
            self.circles(&routes);
            let mut own = self.itself(file, &server, sessions);
            own.origins.real_ip = self.real_ip_of_server.clone();
            let own_sessions = self.own_sessions(&routes, &own.access_log);
            let routes = routes.into_iter().map(|(_, route)| route).chain(own_sessions).collect();
            let patterns = names.iter().map(|name| self.pattern(&server, name)).collect();
            let certificates = self.server_certificates(&server);
            let tls = self.server_tls(&server);
            let ordered = self.server_order(&server, &names);
            let given = server.at.value;
            let field_names =
                match (on(&given.ignore_invalid_headers), on(&given.underscores_in_headers)) {
                    (false, _) => FieldNames::Tokens,
                    (true, false) => FieldNames::Plain,
                    (true, true) => FieldNames::Underscores,
                };
            let head_limits = self.head_limits(&server);
            checked.push(settings::Server {
                names,
                listeners,
                certificates,
                ordered,
                tls,
                field_names,
                head_limits,
                keeps_slashes: given.merge_slashes.as_ref().is_some_and(|merges| !merges.value),
                patterns,
                routes,
                own,
            });
        }
        checked
    }

    fn server_certificates(&mut self, server: &ServerAt<'_>) -> Vec<CertificateSettings> {
        let example = ["/etc/cloakroom/tls/site.pem", "/etc/cloakroom/tls/site.key"];
        let path = server.at.path_of("certificates");
        let given = items(&server.at.value.certificates).iter().enumerate();
        let mut pairs: Vec<_> = given
            .filter_map(|(index, pair)| self.key_pair(pair, &format!("{path}[{index}]"), example))
            .collect();
        let tls = server.at.value.tls.as_ref();
        let staple = tls.and_then(|tls| tls.value.stapling_file.as_ref());
        let staple = staple.map(|file| self.path(&file.value));
        pairs.iter_mut().for_each(|pair| pair.stapling_file.clone_from(&staple));
        pairs
    }

    fn server_order(&mut self, server: &ServerAt<'_>, names: &[String]) -> Option<OrderedSettings> {
        let tls = server.at.key("tls", &server.at.value.tls)?;
        let acme = tls.key("acme", &tls.value.acme)?;
        let beside = server.at.value.certificates.is_some().then_some("certificates");
        self.acme(&acme, names, beside)
    }

    /// The listeners that a server names by their addresses: `0.0.0.0:443`, and `default_server`
    /// behind it where it is that listener's default.
    fn server_listeners(&mut self, file: &File, server: &ServerAt<'_>) -> Option<Vec<Listens>> {
        let list = server.at.key("listeners", &server.at.value.listeners)?;
        let addresses: Vec<&str> = items(&file.listeners)
            .iter()
            .map(|listener| listener.value.address.as_ref().map_or("", |text| &text.value))
            .collect();
        let mut listeners: Vec<Listens> = Vec::new();
        for given in list.items() {
            let (address, rest) = given.value.split_once(' ').unwrap_or((given.value, ""));
            let is_default = rest.trim() == "default_server";
            let found = addresses.iter().position(|other| same_address(other, address));
            match found.filter(|_| is_default || rest.trim().is_empty()) {
                Some(listener) => listeners.push(Listens { listener, is_default }),
                None => {
                    let flaw = Flaw::new(
                        format!("`{}` is no listener", given.value),
                        format!(
                            "write the address of one, and `default_server` behind it where this is \
                             its default: {}",
                            addresses.join(", ")
                        ),
                    );
                    self.error_at(&given, flaw);
                }
            }
        }
        Some(listeners)
    }

    fn names(
        &mut self,
        server: &ServerAt<'_>,
        listeners: Option<&[Listens]>,
        taken: &mut Vec<TakenName>,
    ) -> Vec<String> {
        let line = |at: Option<Place>| at.map_or(0, |place| place.line);
        let mut take = |name: &str, line: usize| {
            let listeners = listeners.map(<[Listens]>::to_vec);
            let mine = TakenName { name: name.to_owned(), listeners, line };
            let other =
                taken.iter().find(|other| other.clashes_with(&mine)).map(|other| other.line);
            taken.push(mine);
            other
        };
        let Some(list) = server.at.key("names", &server.at.value.names) else {
            // Without names it is the default server, as in nginx.
            if let Some(line) = take("_", line(server.at.place)) {
                let message =
                    format!("is missing, and the server on line {line} is the default one already");
                let flaw = Flaw::new(message, "add `names: [shop.example.com]`");
                self.error(server.at.place, &server.at.path_of("names"), flaw);
            }
            return vec!["_".to_owned()];
        };
        if list.value.is_empty() {
            let flaw = Flaw::new(
                "is empty",
                "list the names, or leave `names` out for the default server",
            );
            self.error_at(&list, flaw);
        }
        let mut names = Vec::new();
        for given in list.items() {
            let Some(name) = self.read(Some(&given), name::server) else { continue };
            if let Some(line) = take(&name, line(given.place)) {
                let flaw = Flaw::new(
                    format!("`{name}` is taken on line {line}"),
                    "a name belongs to one server: leave one of the two out",
                );
                self.error_at(&given, flaw);
            }
            names.push(name);
        }
        names
    }

    /// The pattern that a server's name is; its groups are variables.
    fn pattern(&mut self, server: &ServerAt<'_>, name: &str) -> Option<Matcher> {
        let pattern = name.strip_prefix('~')?;
        match Matcher::compile(pattern, Case::Insensitive, &mut self.registry) {
            Err(BadMatcher::Name(bad)) => {
                let flaw = Flaw::new(bad.to_string(), "it is built in: name the group otherwise");
                self.error(server.at.place, &server.at.path_of("names"), flaw);
                None
            }
            // What is no pattern has been reported.
            read => read.ok(),
        }
    }

    /// Tickets of the policies of one host must not overwrite each other, and must be accepted.
    fn policies(
        &mut self,
        routes: &[RouteAt<'_>],
        names: &[String],
        sessions: &[Arc<Policy>],
        insecure: bool,
    ) {
        let mut seen: Vec<&Policy> = Vec::new();
        for route in routes {
            let Some(At { value: name, path, place }) = route.session().map(|found| found.at)
            else {
                continue;
            };
            let Some(policy) = sessions.iter().find(|policy| policy.name == *name) else {
                continue;
            };
            if seen.iter().any(|other| other.name == policy.name) {
                continue;
            }
            let twin = seen.iter().find_map(|other| Some((other, shared_name(other, policy)?)));
            if let Some((other, cookie)) = twin {
                let message = format!(
                    "sessions `{}` and `{}` have the same cookie `{cookie}` on this server",
                    other.name, policy.name
                );
                let help = if other.has_tickets() && policy.has_tickets() {
                    format!(
                        "their tickets would overwrite each other: give `sessions.{}.cookie.name` another value",
                        policy.name
                    )
                } else {
                    "they would overwrite each other: choose another name or `prefix`".to_owned()
                };
                self.error(place, &path, Flaw::new(message, help));
            }
            if let (Some(domain), false) = (&policy.cookie.domain, insecure) {
                let outside = |name: &&String| {
                    let is_open = matches!(name.as_str(), "" | "_")
                        || name.starts_with('~')
                        || name.ends_with('*');
                    let name = name.strip_prefix('*').unwrap_or(name).trim_start_matches('.');
                    !is_open && name != domain && !name.ends_with(&format!(".{domain}"))
                };
                if let Some(name) = names.iter().find(outside) {
                    let flaw = Flaw::new(
                        format!("browsers refuse a cookie for `{domain}` from `{name}`"),
                        format!(
                            "`sessions.{}.cookie.domain` must be the server's name or a domain above it",
                            policy.name
                        ),
                    );
                    self.error(place, &path, flaw);
                }
            }
            seen.push(policy);
        }
    }

    /// A redirect to a page that requires a login itself never ends.
    fn circles(&mut self, routes: &[(&RouteAt<'_>, settings::Route)]) {
        for (given, route) in routes {
            let Denied::Redirect(to) = &route.denied else { continue };
            let to = to.split(['?', '#']).next().unwrap_or_default().to_ascii_lowercase();
            let covers = |route: &settings::Route| {
                let (modifier, path) = location::split(&route.path);
                let path = path.to_ascii_lowercase();
                match modifier {
                    "" | "^~" => to.starts_with(&path) || path.strip_suffix('/') == Some(&to),
                    "=" => to == path,
                    _ => false,
                }
            };
            let target = routes
                .iter()
                .filter(|(_, other)| covers(other))
                .max_by_key(|(_, other)| other.path.len());
            if target.is_some_and(|(_, target)| target.require == Require::Login)
                && route.require == Require::Login
                && let Some(denied) = given.find(&key::denied)
            {
                let flaw = Flaw::new(
                    "redirects to a page that requires a login itself, in a circle",
                    "add a route for that page without `require`",
                );
                self.error_at(&denied.at, flaw);
            }
        }
    }
}

/// A name that a server has.
struct TakenName {
    name: String,
    /// Where; everywhere if it says nothing.
    listeners: Option<Vec<Listens>>,
    line: usize,
}

impl TakenName {
    fn clashes_with(&self, other: &Self) -> bool {
        let meet = |one: &[Listens], other: &[Listens]| {
            one.iter().any(|one| other.iter().any(|other| one.listener == other.listener))
        };
        // Of regular expressions the first is taken.
        self.name == other.name
            && !self.name.starts_with('~')
            && match (&self.listeners, &other.listeners) {
                (Some(one), Some(other)) => meet(one, other),
                _ => true,
            }
    }
}

fn same_address(one: &str, other: &str) -> bool {
    let address = |text: &str| text.parse::<SocketAddr>().ok();
    one == other || address(one).is_some_and(|one| address(other) == Some(one))
}
