//! `servers[].routes`: paths that differ, targets that exist, requirements that can be met.

use std::sync::Arc;

use crate::config::schema::{self, File, Named, key};
use crate::config::value::unit::size;
use crate::config::value::{Flaw, Parsed, choice, did_you_mean, name, path};
use crate::headers::cross_site::{CrossSite, Exceptions};
use crate::proxy::file_settings::Lies;
use crate::proxy::passed::Passed;
use crate::proxy::rewriting::Rewriting;
use crate::proxy::settings::{self, Denied, Require, Target};
use crate::routing::location;
use crate::routing::pattern::Case;
use crate::session::policy::Policy;
use crate::variables::matcher::Matcher;

use super::cursor::{At, RouteAt, ServerAt};
use super::{Checker, items, on};

/// Modifier and path, and the route around it.
type Taken<'f> = (&'static str, &'f str, Option<usize>);

/// nginx's `proxy_max_temp_file_size`.
const SPOOL_MAX: u64 = 1024 * 1024 * 1024;
/// nginx's `client_max_body_size`.
const BODY_BYTES_MAX: u64 = 1024 * 1024;

impl Checker<'_> {
    /// Each with where it stands in the file; one without a path is left out.
    pub(super) fn routes<'a, 'f>(
        &mut self,
        file: &File,
        server: &ServerAt<'_>,
        given: &'a [RouteAt<'f>],
        sessions: &[Arc<Policy>],
    ) -> Vec<(&'a RouteAt<'f>, settings::Route)> {
        let has_own = server.find(&key::root).is_some() || server.at.value.rewrite.is_some();
        if given.is_empty() && !has_own {
            let list = server.at.key("routes", &server.at.value.routes);
            let place = list.map_or(server.at.place, |list| list.place);
            let flaw = Flaw::new("there is none", "add `routes: [{ path: /, upstream: shop }]`");
            self.error(place, &server.at.path_of("routes"), flaw);
        }
        let mut taken: Vec<(Taken<'_>, usize)> = Vec::new();
        let mut routes: Vec<(&RouteAt<'_>, settings::Route)> = Vec::new();
        // Where each is in the list, if it has a place there.
        let mut placed: Vec<Option<usize>> = Vec::new();
        let merges = server.at.value.merge_slashes.as_ref().is_none_or(|merges| merges.value);
        for route in given {
            self.twin(route, &mut taken);
            if let Some(at) = route.at.key("path", &route.at.value.path)
                && let Some(flaw) = path::unmet(at.value, merges)
            {
                self.warning_at(&at, flaw);
            }
            let outer = route.outer.and_then(|outer| placed.get(outer).copied().flatten());
            let checked = self.route(file, route, outer.map(|outer| &routes[outer].1), sessions);
            placed.push(checked.is_some().then_some(routes.len()));
            routes.extend(checked.map(|checked| (route, settings::Route { outer, ..checked })));
        }
        routes
    }

    /// Of two routes with one path only one could be taken.
    fn twin<'f>(&mut self, route: &RouteAt<'f>, taken: &mut Vec<(Taken<'f>, usize)>) {
        let Some(path) = route.at.key("path", &route.at.value.path) else { return };
        let key = match location::split(path.value) {
            ("~" | "~*", _) => return,
            ("=", text) => ("=", text, route.outer),
            ("@", name) => ("@", name, route.outer),
            (_, text) => ("", text, route.outer),
        };
        if let Some((_, line)) = taken.iter().find(|(other, _)| *other == key) {
            let flaw = Flaw::new(
                format!("`{}` has a route already, on line {line}", path.value),
                "only one of the two can be taken: leave one out, or give it another path",
            );
            self.error_at(&path, flaw);
        }
        taken.push((key, path.place.map_or(0, |place| place.line)));
    }

    fn route(
        &mut self,
        file: &File,
        route: &RouteAt<'_>,
        outer: Option<&settings::Route>,
        sessions: &[Arc<Policy>],
    ) -> Option<settings::Route> {
        let At { value: given, place, .. } = &route.at;
        let route_path =
            self.required(&given.path, *place, &route.at.path_of("path"), "/", |text| {
                path::location(text, outer.map(|outer| outer.path.as_str()))
            });
        let around = outer.and_then(|outer| outer.lies.as_ref());
        let lies = self.lies(route, around, given.path.as_ref().map_or("", |path| &path.value));
        let target = self.target(file, route, lies.is_some())?;
        let mut made = self.settings(route, (route_path?, lies), target, sessions, file);
        if let Some(exact) = route.at.key("exact", &given.exact)
            && *exact.value
            && !made.restricts()
            && route.find(&key::body_bytes_max).is_none()
        {
            let flaw = Flaw::new(
                "has no effect on a route that restricts nothing",
                "it says how the path of one that does is compared: leave it out",
            );
            self.warning_at(&exact, flaw);
        }
        let rewriting = self.rewriting(file, route, &made, sessions);
        made.excepted = self.excepted(file, route, &made, sessions);
        made.rewriting = rewriting;
        Some(made)
    }

    /// All that counts in a route but for its steps.
    pub(super) fn settings(
        &mut self,
        route: &RouteAt<'_>,
        (path, lies): (String, Option<Lies>),
        target: Target,
        sessions: &[Arc<Policy>],
        file: &File,
    ) -> settings::Route {
        let given = route.at.value;
        let session = self.session(file, route, sessions);
        let require = self.require(file, route, session.as_deref());
        let body_bytes_max =
            self.inherited(route, &key::body_bytes_max, size).unwrap_or(BODY_BYTES_MAX);
        let spool_max = self.inherited(route, &key::max_temp_file_size, size).unwrap_or(SPOOL_MAX);
        settings::Route {
            matcher: self.matcher(&path),
            path,
            outer: None,
            exact: on(&given.exact),
            target,
            session_header: self.session_header(route, session.as_deref()),
            require,
            denied: self.denied(route, require),
            cross_site: self.cross_site(route),
            guards: self.guard(route).into_iter().collect(),
            limits: self.request_limits(route),
            pace: self.pace(route),
            origins: self.origins(route),
            on_store_down: self.route_on_store_down(route, session.as_deref(), require),
            stream: self.stream(route, session.as_deref()),
            access_log: self.access_logs(route.find(&key::access_log)),
            session,
            answers: self.answers(route),
            compression: self.compression(route),
            own_texts: self.own_texts(route),
            lies,
            keepalive: self.keepalive(route).map(Arc::new),
            delivery: self.delivery(route).map(Arc::new),
            try_files: self.try_files(route).map(Arc::new),
            edits: self.answer_edits(file, route),
            asks: self.worker_request(route).map(Box::new),
            body_bytes_max,
            request_headers: self.request_headers(route),
            forwarded_headers: route.unless_off(&key::forwarded_headers),
            body: self.taken_in(route),
            is_spooled: route.unless_off(&key::response_buffering),
            spool_max,
            replaced: self.uri(route),
            error_pages: self.error_pages(route),
            recursive_error_pages: route.on(&key::recursive_error_pages),
            intercept_errors: route.on(&key::intercept_errors),
            internal: on(&given.internal),
            rewriting: None,
            excepted: None,
        }
    }

    /// The pattern of a route's path, whose groups are variables.
    fn matcher(&mut self, path: &str) -> Option<Matcher> {
        let (case, pattern) = match location::split(path) {
            ("~", pattern) => (Case::Sensitive, pattern),
            ("~*", pattern) => (Case::Insensitive, pattern),
            _ => return None,
        };
        // What is no pattern has been reported; what a group must not be called is a mistake, too.
        Matcher::compile(pattern, case, &mut self.registry).ok()
    }

    fn target(&mut self, file: &File, route: &RouteAt<'_>, has_files: bool) -> Option<Target> {
        let at = &route.at;
        let upstream = at.key("upstream", &at.value.upstream);
        if at.value.r#return.is_some() {
            if let Some(upstream) = upstream {
                let flaw = Flaw::new(
                    "stands beside `return`",
                    "nobody would be asked: leave one of the two out",
                );
                self.error_at(&upstream, flaw);
            }
            return Some(Target::Nothing);
        }
        if let Some(url) = at.key("proxy_pass", &at.value.proxy_pass) {
            if let Some(upstream) = upstream {
                let flaw = Flaw::new("stands beside `proxy_pass`", "leave one of the two out");
                self.error_at(&upstream, flaw);
            }
            return self.passed(&url, route);
        }
        let tries_files = at.value.try_files.is_some();
        let Some(upstream) = upstream else {
            if !has_files {
                if at.value.routes.is_some() || at.value.rewrite.is_some() || tries_files {
                    return Some(Target::Nothing);
                }
                let flaw = Flaw::new("leads nowhere", "add `upstream: NAME`, or `root: DIRECTORY`");
                self.error_at(at, flaw);
                return None;
            }
            return Some(Target::Files(Arc::new(self.files(route))));
        };
        let own_root = route.find(&key::root).filter(|root| root.is_own).map(|root| root.at);
        let beside = [own_root, at.key("alias", &at.value.alias)];
        for beside in beside.into_iter().flatten().filter(|_| !tries_files) {
            let flaw = Flaw::new(
                "stands beside `upstream`, and no file is served",
                "add `try_files` that looks for some, or leave it out: variables alone speak of it",
            );
            self.warning_at(&beside, flaw);
        }
        self.led_to(file, &upstream)
    }

    /// A URL with variables.
    pub(super) fn passed(&mut self, at: &At<'_, String>, route: &RouteAt<'_>) -> Option<Target> {
        let url = self.template(at)?;
        if url.constant().is_some() {
            let flaw =
                Flaw::new("has no variables", "define an upstream and write `upstream: NAME`");
            self.error_at(at, flaw);
        }
        self.uses_direct = true;
        let resolved_by = self.resolved_by(route);
        Some(Target::Passed(Arc::new(Passed { url, direct: self.direct, resolved_by })))
    }

    pub(super) fn led_to(&mut self, file: &File, at: &At<'_, String>) -> Option<Target> {
        Some(Target::Upstream(self.find(&file.upstreams, at, "upstream")?))
    }

    /// What has no route of its own, as the server itself has it.
    pub(super) fn itself(
        &mut self,
        file: &File,
        server: &ServerAt<'_>,
        sessions: &[Arc<Policy>],
    ) -> settings::Route {
        let empty = schema::Route::default();
        let route = server.itself(&empty);
        // What is wrong with it is said of the routes that have it, and nothing is where none has.
        let found = self.found.len();
        let lies = self.lies(&route, None, "");
        let target = match lies {
            Some(_) => Target::Files(Arc::new(self.files(&route))),
            None => Target::Nothing,
        };
        let mut made = self.settings(&route, (String::new(), lies), target, sessions, file);
        self.found.truncate(found);
        if made.require != Require::Nothing && made.session.is_none() {
            made.target = Target::Nothing;
        }
        let steps = self.steps(server.at.key("rewrite", &server.at.value.rewrite), None);
        let logs = route.on(&key::rewrite_log);
        made.rewriting = (!steps.is_empty())
            .then(|| Arc::new(Rewriting { script: steps, inside: Vec::new(), logs }));
        made
    }

    fn session(
        &mut self,
        file: &File,
        route: &RouteAt<'_>,
        sessions: &[Arc<Policy>],
    ) -> Option<Arc<Policy>> {
        let index = self.find(&file.sessions, &route.session()?.at, "session")?;
        sessions.get(index).cloned()
    }

    /// Whether the application behind a route may say what happened to its session.
    fn session_header(&mut self, route: &RouteAt<'_>, session: Option<&Policy>) -> bool {
        let Some(found) = route.find(&key::session_header).filter(|found| *found.at.value) else {
            return false;
        };
        let has_none =
            route.session().is_none() || session.is_some_and(|session| !session.has_tickets());
        if has_none && found.is_own {
            let flaw = Flaw::new(
                "there is no session that an answer could speak of",
                "add `session: NAME` to the route, of `mode: vault`, or leave it out",
            );
            self.error_at(&found.at, flaw);
        }
        !has_none
    }

    /// The index of what a route names.
    fn find<T>(
        &mut self,
        named: &Option<Named<T>>,
        wanted: &At<'_, String>,
        what: &str,
    ) -> Option<usize> {
        let names: Vec<&str> =
            named.iter().flat_map(|named| &named.0).map(|(name, _)| name.value.as_str()).collect();
        let index = names.iter().position(|name| name == wanted.value);
        if index.is_none() {
            let help = match names.as_slice() {
                [] => format!("none is defined: add it under `{what}s:`"),
                names => {
                    format!("{}defined: {}", did_you_mean(wanted.value, names), names.join(", "))
                }
            };
            self.error_at(
                wanted,
                Flaw::new(format!("no {what} is named `{}`", wanted.value), help),
            );
        }
        index
    }

    fn require(&mut self, file: &File, route: &RouteAt<'_>, policy: Option<&Policy>) -> Require {
        const KINDS: [(&str, Require); 2] =
            [("nothing", Require::Nothing), ("login", Require::Login)];
        let Some(found) = route.find(&key::require) else { return Require::Nothing };
        let require = self
            .read(Some(&found.at), |text| choice(text, "requirement", &KINDS))
            .unwrap_or(Require::Nothing);
        if require == Require::Nothing {
            return require;
        }
        let session = route.session();
        if session.is_none() {
            let flaw = Flaw::new(
                "there is no session that could be logged in",
                "add `session: NAME` to the route",
            );
            self.error_in(route, &found, flaw);
        }
        if let Some(policy) = policy.filter(|policy| !policy.has_tickets()) {
            let flaw = Flaw::new(
                format!("session `{}` knows no logins", policy.name),
                format!("use `mode: vault` in `sessions.{}`, or leave `require` out", policy.name),
            );
            self.error_in(route, &found, flaw);
            return require;
        }
        let named = file.sessions.iter().flat_map(|named| &named.0);
        let named = named.filter(|(name, _)| {
            session.as_ref().is_some_and(|found| *found.at.value == name.value)
        });
        for (name, _) in named.filter(|(_, session)| items(&session.value.login).is_empty()) {
            let name = &name.value;
            let flaw = Flaw::new(
                format!("session `{name}` has no login rule, so nobody could ever pass"),
                format!(
                    "add `login: [{{ request: POST /login, success: {{ … }} }}]` to `sessions.{name}`"
                ),
            );
            self.error_in(route, &found, flaw);
        }
        require
    }

    fn denied(&mut self, route: &RouteAt<'_>, require: Require) -> Denied {
        let Some(found) = route.find(&key::denied) else { return Denied::Unauthorized };
        if require == Require::Nothing && found.is_own {
            let flaw = Flaw::new(
                "nothing is required here, so nobody is denied",
                "add `require: login`, or leave it out",
            );
            self.error_at(&found.at, flaw);
        }
        self.read(Some(&found.at), denied).unwrap_or(Denied::Unauthorized)
    }

    fn cross_site(&mut self, route: &RouteAt<'_>) -> CrossSite {
        const KINDS: [(&str, bool); 2] = [("allow", false), ("deny", true)];
        let Some(found) = route.find(&key::cross_site) else { return CrossSite::Allow };
        let (at, given) = (&found.at, found.at.value);
        let denies = self.read(at.key("unsafe", &given.unsafe_methods).as_ref(), |text| {
            choice(text, "answer to other sites", &KINDS)
        });
        // A word that is none has been reported; that something is meant is plain.
        let denies = denies.unwrap_or(given.unsafe_methods.is_some());
        let (except, origins) =
            (at.key("except", &given.except), at.key("origins", &given.origins));
        let mut exceptions = Exceptions::default();
        for except in except.iter().flat_map(At::items) {
            exceptions.paths.extend(self.read(Some(&except), path::normal));
        }
        for origin in origins.iter().flat_map(At::items) {
            exceptions.origins.extend(self.read(Some(&origin), name::origin));
        }
        if denies {
            return CrossSite::DenyUnsafe(exceptions);
        }
        for list in [except, origins].into_iter().flatten().filter(|list| !list.value.is_empty()) {
            let flaw = Flaw::new(
                "has no effect: nothing is denied here",
                "add `unsafe: deny`, or leave it out",
            );
            self.warning_at(&list, flaw);
        }
        CrossSite::Allow
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
