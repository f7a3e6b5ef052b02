//! `servers` and their routes: names that exist, paths that differ, requirements that can be met.

use std::sync::Arc;

use serde_saphyr::Spanned;

use crate::config::schema::{self, File, Given, Named, Route, Server};
use crate::config::value::unit::size;
use crate::config::value::{Flaw, Parsed, choice, did_you_mean, name, path};
use crate::headers::cross_site::{CrossSite, Exceptions};
use crate::proxy::settings::{self, Denied, Require, Target};
use crate::session::policy::Policy;

use super::modes::shared_name;
use super::{Checker, at, items, on};

/// nginx's `client_max_body_size`.
const BODY_BYTES_MAX: u64 = 1024 * 1024;

impl Checker<'_> {
    pub(super) fn servers(
        &mut self,
        file: &File,
        sessions: &[Arc<Policy>],
        insecure: bool,
    ) -> Vec<settings::Server> {
        let given = items(&file.servers);
        let redirects = |text: &Option<Spanned<String>>| {
            text.as_ref().is_some_and(|text| text.value != "false")
        };
        let all_redirect = items(&file.listeners)
            .iter()
            .all(|listener| redirects(&listener.value.redirect_to_https));
        if given.is_empty() && !(all_redirect && file.listeners.is_some()) {
            let place = file.servers.as_ref().and_then(at);
            let help = "add `servers: [{ names: [shop.example.com], routes: [{ path: /, upstream: shop }] }]`";
            self.error(place, "servers", Flaw::new("there is none", help));
        }
        let mut taken: Vec<(String, usize)> = Vec::new();
        let mut servers = Vec::new();
        for (index, server) in given.iter().enumerate() {
            let path = format!("servers[{index}]");
            let names = self.names(server, &path, &mut taken);
            let routes = self.routes(file, server, &path, sessions);
            self.policies(&server.value, &names, &path, sessions, insecure);
            self.circles(&server.value, &routes, &path);
            let own = self.own_sessions(&server.value, &routes, &path);
            let routes = routes.into_iter().map(|(_, route)| route).chain(own).collect();
            servers.push(settings::Server { names, routes });
        }
        servers
    }

    fn names(
        &mut self,
        server: &Spanned<Server>,
        path: &str,
        taken: &mut Vec<(String, usize)>,
    ) -> Vec<String> {
        let path = format!("{path}.names");
        let Some(list) = &server.value.names else {
            // Without names it is the default server, as in nginx.
            let place = at(server);
            if let Some((_, line)) = taken.iter().find(|(name, _)| name == "_") {
                let message =
                    format!("is missing, and the server on line {line} is the default one already");
                self.error(place, &path, Flaw::new(message, "add `names: [shop.example.com]`"));
            }
            taken.push(("_".to_owned(), place.map_or(0, |place| place.line)));
            return vec!["_".to_owned()];
        };
        if list.value.is_empty() {
            let flaw = Flaw::new(
                "is empty",
                "list the names, or leave `names` out for the default server",
            );
            self.error(at(list), &path, flaw);
        }
        let mut names = Vec::new();
        for (index, given) in list.value.iter().enumerate() {
            let path = format!("{path}[{index}]");
            let name = match name::server(&given.value) {
                Ok(name) => name,
                Err(flaw) => {
                    self.error(at(given), &path, flaw);
                    continue;
                }
            };
            if let Some((_, line)) = taken.iter().find(|(other, _)| *other == name) {
                let flaw = Flaw::new(
                    format!("`{name}` is taken on line {line}"),
                    "a name belongs to one server: leave one of the two out",
                );
                self.error(at(given), &path, flaw);
            }
            taken.push((name.clone(), at(given).map_or(0, |place| place.line)));
            names.push(name);
        }
        names
    }

    /// Routes with their index in the file; one without a path is left out.
    fn routes(
        &mut self,
        file: &File,
        server: &Spanned<Server>,
        path: &str,
        sessions: &[Arc<Policy>],
    ) -> Vec<(usize, settings::Route)> {
        let list = &server.value.routes;
        let path = format!("{path}.routes");
        if items(list).is_empty() {
            let place = list.as_ref().map_or_else(|| at(server), at);
            self.error(
                place,
                &path,
                Flaw::new("there is none", "add `routes: [{ path: /, upstream: shop }]`"),
            );
        }
        let mut taken: Vec<(&str, usize)> = Vec::new();
        let mut routes = Vec::new();
        for (index, given) in items(list).iter().enumerate() {
            let path = format!("{path}[{index}]");
            if let Some(route_path) = &given.value.path {
                if let Some((_, line)) = taken.iter().find(|(other, _)| *other == route_path.value)
                {
                    let flaw = Flaw::new(
                        format!("`{}` has a route already, on line {line}", route_path.value),
                        "only one of the two can be taken: leave one out, or give it another path",
                    );
                    self.error(at(route_path), &format!("{path}.path"), flaw);
                }
                taken.push((&route_path.value, at(route_path).map_or(0, |place| place.line)));
            }
            if let Some(route) = self.route(file, given, &path, sessions) {
                routes.push((index, route));
            }
        }
        routes
    }

    fn route(
        &mut self,
        file: &File,
        given: &Spanned<Route>,
        path: &str,
        sessions: &[Arc<Policy>],
    ) -> Option<settings::Route> {
        let route = &given.value;
        let route_path =
            self.required(&route.path, at(given), &format!("{path}.path"), "/", path::normal);
        let target = self.target(file, given, path);
        let session = self.session(file, route, path, sessions);
        let require = self.require(file, given, path, session.as_deref());
        let denied = self.denied(route, require, path);
        let cross_site = self.cross_site(&route.cross_site, &format!("{path}.cross_site"));
        let body_bytes_max =
            self.or(&route.body_bytes_max, &format!("{path}.body_bytes_max"), BODY_BYTES_MAX, size);
        let restricts = require != Require::Nothing
            || session.is_some()
            || cross_site != CrossSite::Allow
            || route.body_bytes_max.is_some();
        if let (Some(exact), false) = (&route.exact, restricts)
            && exact.value
        {
            let flaw = Flaw::new(
                "has no effect on a route that restricts nothing",
                "it says how the path of one that does is compared: leave it out",
            );
            self.warning(at(exact), &format!("{path}.exact"), flaw);
        }
        let on_store_down = self.route_on_store_down(route, path, session.as_deref(), require);
        Some(settings::Route {
            path: route_path?,
            exact: on(&route.exact),
            target: target?,
            session_header: self.session_header(route, path, session.as_deref()),
            require,
            denied,
            cross_site,
            on_store_down,
            stream: self.stream(route, path, session.as_deref()),
            session,
            body_bytes_max,
        })
    }

    fn target(&mut self, file: &File, given: &Spanned<Route>, path: &str) -> Option<Target> {
        let route = &given.value;
        match (&route.upstream, &route.root) {
            (Some(upstream), None) => {
                let path = format!("{path}.upstream");
                Some(Target::Upstream(self.find(&file.upstreams, upstream, &path, "upstream")?))
            }
            (None, Some(root)) => {
                self.not_built(
                    at(root),
                    &format!("{path}.root"),
                    "such requests are answered with 501",
                );
                self.files_are_public(route, path);
                Some(Target::Files(self.path(&root.value)))
            }
            (None, None) => {
                self.error(
                    at(given),
                    path,
                    Flaw::new("leads nowhere", "add `upstream: NAME`, or `root: DIRECTORY`"),
                );
                None
            }
            (Some(_), Some(root)) => {
                let flaw = Flaw::new(
                    "stands beside `upstream`",
                    "a route leads to one of the two: leave one out",
                );
                self.error(at(root), &format!("{path}.root"), flaw);
                None
            }
        }
    }

    /// Files are served without a look at the session; nobody shall believe otherwise.
    fn files_are_public(&mut self, route: &Route, path: &str) {
        let asks =
            [("session", &route.session), ("require", &route.require), ("denied", &route.denied)];
        for (key, given) in asks {
            if let Some(given) = given.as_ref().filter(|given| given.value != "nothing") {
                let flaw = Flaw::new(
                    "files are served without a session: this would protect nothing",
                    "leave it out, or let an upstream serve what is private",
                );
                self.error(at(given), &format!("{path}.{key}"), flaw);
            }
        }
        if let Some(given) = &route.cross_site {
            let flaw = Flaw::new("files are only ever read", "leave it out");
            self.warning(at(given), &format!("{path}.cross_site"), flaw);
        }
    }

    fn session(
        &mut self,
        file: &File,
        route: &Route,
        path: &str,
        sessions: &[Arc<Policy>],
    ) -> Option<Arc<Policy>> {
        let given = route.session.as_ref()?;
        let index = self.find(&file.sessions, given, &format!("{path}.session"), "session")?;
        sessions.get(index).cloned()
    }

    /// Whether the application behind a route may say what happened to its session.
    fn session_header(&mut self, route: &Route, path: &str, session: Option<&Policy>) -> bool {
        let is_on = on(&route.session_header);
        let has_none =
            route.session.is_none() || session.is_some_and(|session| !session.has_tickets());
        if is_on && has_none {
            let flaw = Flaw::new(
                "there is no session that an answer could speak of",
                "add `session: NAME` to the route, of `mode: vault`, or leave it out",
            );
            let place = route.session_header.as_ref().and_then(at);
            self.error(place, &format!("{path}.session_header"), flaw);
        }
        is_on
    }

    /// The index of what a route names.
    fn find<T>(
        &mut self,
        named: &Option<Named<T>>,
        wanted: &Spanned<String>,
        path: &str,
        what: &str,
    ) -> Option<usize> {
        let names: Vec<&str> =
            named.iter().flat_map(|named| &named.0).map(|(name, _)| name.value.as_str()).collect();
        let index = names.iter().position(|name| *name == wanted.value);
        if index.is_none() {
            let help = match names.as_slice() {
                [] => format!("none is defined: add it under `{what}s:`"),
                names => {
                    format!("{}defined: {}", did_you_mean(&wanted.value, names), names.join(", "))
                }
            };
            self.error(
                at(wanted),
                path,
                Flaw::new(format!("no {what} is named `{}`", wanted.value), help),
            );
        }
        index
    }

    fn require(
        &mut self,
        file: &File,
        given: &Spanned<Route>,
        path: &str,
        policy: Option<&Policy>,
    ) -> Require {
        const KINDS: [(&str, Require); 2] =
            [("nothing", Require::Nothing), ("login", Require::Login)];
        let route = &given.value;
        let path = format!("{path}.require");
        let require = self.or(&route.require, &path, Require::Nothing, |text| {
            choice(text, "requirement", &KINDS)
        });
        if require == Require::Login && route.root.is_none() {
            let place = route.require.as_ref().and_then(at);
            if route.session.is_none() {
                let flaw = Flaw::new(
                    "there is no session that could be logged in",
                    "add `session: NAME` to the route",
                );
                self.error(place, &path, flaw);
            }
            if let Some(policy) = policy.filter(|policy| !policy.has_tickets()) {
                let flaw = Flaw::new(
                    format!("session `{}` knows no logins", policy.name),
                    format!(
                        "use `mode: vault` in `sessions.{}`, or leave `require` out",
                        policy.name
                    ),
                );
                self.error(place, &path, flaw);
                return require;
            }
            let session = file.sessions.iter().flat_map(|named| &named.0).find(|(name, _)| {
                route.session.as_ref().is_some_and(|session| session.value == name.value)
            });
            if let Some((name, _)) =
                session.filter(|(_, session)| items(&session.value.login).is_empty())
            {
                let name = &name.value;
                let flaw = Flaw::new(
                    format!("session `{name}` has no login rule, so nobody could ever pass"),
                    format!(
                        "add `login: [{{ request: POST /login, success: {{ … }} }}]` to `sessions.{name}`"
                    ),
                );
                self.error(place, &path, flaw);
            }
        }
        require
    }

    fn denied(&mut self, route: &Route, require: Require, path: &str) -> Denied {
        let path = format!("{path}.denied");
        if let (Some(given), Require::Nothing, None) = (&route.denied, require, &route.root) {
            let flaw = Flaw::new(
                "nothing is required here, so nobody is denied",
                "add `require: login`, or leave it out",
            );
            self.error(at(given), &path, flaw);
        }
        self.or(&route.denied, &path, Denied::Unauthorized, denied)
    }

    fn cross_site(&mut self, given: &Given<schema::CrossSite>, path: &str) -> CrossSite {
        const KINDS: [(&str, bool); 2] = [("allow", false), ("deny", true)];
        let Some(given) = given else { return CrossSite::Allow };
        let given = &given.value;
        let denies = self.optional(&given.unsafe_methods, &format!("{path}.unsafe"), |text| {
            choice(text, "answer to other sites", &KINDS)
        });
        // A word that is none has been reported; that something is meant is plain.
        let denies = denies.unwrap_or(given.unsafe_methods.is_some());
        let mut exceptions = Exceptions::default();
        for (index, except) in items(&given.except).iter().enumerate() {
            match path::normal(&except.value) {
                Ok(except) => exceptions.paths.push(except),
                Err(flaw) => self.error(at(except), &format!("{path}.except[{index}]"), flaw),
            }
        }
        for (index, origin) in items(&given.origins).iter().enumerate() {
            match name::origin(&origin.value) {
                Ok(origin) => exceptions.origins.push(origin),
                Err(flaw) => self.error(at(origin), &format!("{path}.origins[{index}]"), flaw),
            }
        }
        if denies {
            return CrossSite::DenyUnsafe(exceptions);
        }
        for (key, list) in [("except", &given.except), ("origins", &given.origins)] {
            if let Some(list) = list.as_ref().filter(|list| !list.value.is_empty()) {
                let flaw = Flaw::new(
                    "has no effect: nothing is denied here",
                    "add `unsafe: deny`, or leave it out",
                );
                self.warning(at(list), &format!("{path}.{key}"), flaw);
            }
        }
        CrossSite::Allow
    }

    /// Tickets of the policies of one host must not overwrite each other, and must be accepted.
    fn policies(
        &mut self,
        server: &Server,
        names: &[String],
        path: &str,
        sessions: &[Arc<Policy>],
        insecure: bool,
    ) {
        let mut seen: Vec<&Policy> = Vec::new();
        for (index, route) in items(&server.routes).iter().enumerate() {
            let Some(given) = &route.value.session else { continue };
            let Some(policy) = sessions.iter().find(|policy| policy.name == given.value) else {
                continue;
            };
            if seen.iter().any(|other| other.name == policy.name) {
                continue;
            }
            let path = format!("{path}.routes[{index}].session");
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
                self.error(at(given), &path, Flaw::new(message, help));
            }
            if let (Some(domain), false) = (&policy.cookie.domain, insecure) {
                let outside = |name: &&String| {
                    let name = name.strip_prefix("*.").unwrap_or(name);
                    name != "_" && name != domain && !name.ends_with(&format!(".{domain}"))
                };
                if let Some(name) = names.iter().find(outside) {
                    let flaw = Flaw::new(
                        format!("browsers refuse a cookie for `{domain}` from `{name}`"),
                        format!(
                            "`sessions.{}.cookie.domain` must be the server's name or a domain above it",
                            policy.name
                        ),
                    );
                    self.error(at(given), &path, flaw);
                }
            }
            seen.push(policy);
        }
    }

    /// A redirect to a page that requires a login itself never ends.
    fn circles(&mut self, server: &Server, routes: &[(usize, settings::Route)], path: &str) {
        for (index, route) in routes {
            let Denied::Redirect(to) = &route.denied else { continue };
            let to = to.split(['?', '#']).next().unwrap_or_default().to_ascii_lowercase();
            let covers = |route: &settings::Route| {
                let prefix = route.path.to_ascii_lowercase();
                to.starts_with(&prefix) || prefix.strip_suffix('/') == Some(to.as_str())
            };
            let target = routes
                .iter()
                .filter(|(_, other)| covers(other))
                .max_by_key(|(_, other)| other.path.len());
            if target.is_some_and(|(_, target)| target.require == Require::Login) {
                let given =
                    items(&server.routes).get(*index).and_then(|route| route.value.denied.as_ref());
                let flaw = Flaw::new(
                    "redirects to a page that requires a login itself, in a circle",
                    "add a route for that page without `require`",
                );
                self.error(given.and_then(at), &format!("{path}.routes[{index}].denied"), flaw);
            }
        }
    }
}

/// Reads `unauthorized` or `redirect TARGET`.
fn denied(text: &str) -> Parsed<Denied> {
    match text.split_once(char::is_whitespace) {
        Some(("redirect", to)) => Ok(Denied::Redirect(path::redirect(to.trim())?)),
        None if text == "unauthorized" => Ok(Denied::Unauthorized),
        _ => Err(Flaw::new(
            format!("`{text}` is no answer"),
            "write `unauthorized`, or `redirect` and a path, such as `redirect /login`",
        )),
    }
}
