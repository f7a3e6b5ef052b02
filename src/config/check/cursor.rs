//! Where a check is in the file: values carry their place and the path of their key with them.
//!
//! Keys that are inherited are looked for here, level by level, from a route outwards.

use serde_saphyr::Spanned;

use crate::config::diagnostic::{Place, Severity};
use crate::config::schema::{File, Given, Inherited, Key, Route, Server, key};
use crate::config::value::{Flaw, Parsed};

use super::{Checker, at};

/// A value of the file.
pub(super) struct At<'a, T> {
    pub value: &'a T,
    /// `servers[0].routes[1].path`
    pub path: String,
    pub place: Option<Place>,
}

impl<'a, T> At<'a, T> {
    pub fn new(path: impl Into<String>, given: &'a Spanned<T>) -> Self {
        Self { value: &given.value, path: path.into(), place: at(given) }
    }

    /// What stands under one of its keys.
    pub fn key<U>(&self, name: &str, given: &'a Given<U>) -> Option<At<'a, U>> {
        Some(At::new(self.path_of(name), given.as_ref()?))
    }

    /// The path of one of its keys, which may be missing.
    pub fn path_of(&self, name: &str) -> String {
        format!("{}.{name}", self.path)
    }
}

impl<'a, T> At<'a, Vec<Spanned<T>>> {
    pub fn items(&self) -> impl Iterator<Item = At<'a, T>> + use<'a, T> {
        let path = self.path.clone();
        let items = self.value.iter().enumerate();
        items.map(move |(index, item)| At::new(format!("{path}[{index}]"), item))
    }
}

/// The levels around a place, the outermost first, each with its path.
#[derive(Clone)]
pub(super) struct Levels<'a>(Vec<(String, Inherited<'a>)>);

impl<'a> Levels<'a> {
    fn of(file: &'a File) -> Self {
        let top = file.defaults.as_ref();
        Self(top.map(|top| ("defaults".to_owned(), top.value.inherited())).into_iter().collect())
    }

    fn with(&self, path: &str, level: Inherited<'a>) -> Self {
        let mut levels = self.clone();
        levels.0.push((path.to_owned(), level));
        levels
    }

    fn find<T>(&self, key: &Key<T>) -> Option<Found<'a, T>> {
        let levels = self.0.iter().enumerate().rev();
        levels.into_iter().find_map(|(index, (path, level))| {
            let given = (key.of)(level).as_ref()?;
            let at = At::new(format!("{path}.{}", key.name), given);
            Some(Found { at, is_own: index + 1 == self.0.len() })
        })
    }
}

/// A place where the nearest level can be asked for.
pub(super) trait Finds<'a> {
    fn find<T>(&self, key: &Key<T>) -> Option<Found<'a, T>>;
}

impl<'a> Finds<'a> for Levels<'a> {
    fn find<T>(&self, key: &Key<T>) -> Option<Found<'a, T>> {
        Levels::find(self, key)
    }
}

impl<'a> Finds<'a> for ServerAt<'a> {
    fn find<T>(&self, key: &Key<T>) -> Option<Found<'a, T>> {
        self.levels.find(key)
    }
}

impl<'a> Finds<'a> for RouteAt<'a> {
    fn find<T>(&self, key: &Key<T>) -> Option<Found<'a, T>> {
        self.levels.find(key)
    }
}

/// The value of an inherited key.
pub(super) struct Found<'a, T> {
    pub at: At<'a, T>,
    /// It stands in the route itself, so what it does not do there is worth a word.
    pub is_own: bool,
}

/// A server.
pub(super) struct ServerAt<'a> {
    pub at: At<'a, Server>,
    levels: Levels<'a>,
}

impl<'a> ServerAt<'a> {
    /// What the nearest level says.
    pub fn find<T>(&self, key: &Key<T>) -> Option<Found<'a, T>> {
        self.levels.find(key)
    }

    /// The server as a route that says nothing itself, which `empty` is.
    pub fn itself<'e>(&self, empty: &'e Route) -> RouteAt<'e>
    where
        'a: 'e,
    {
        let At { path, place, .. } = &self.at;
        let levels: Levels<'e> = self.levels.clone();
        let levels = levels.with(path, empty.inherited());
        RouteAt { at: At { value: empty, path: path.clone(), place: *place }, levels, outer: None }
    }

    /// Its routes with all that lie inside of them, in the order of the file.
    pub fn routes(&self) -> Vec<RouteAt<'a>> {
        let mut routes = Vec::new();
        let list = self.at.key("routes", &self.at.value.routes);
        add_routes(&mut routes, list, &self.levels, None);
        routes
    }
}

fn add_routes<'a>(
    routes: &mut Vec<RouteAt<'a>>,
    list: Option<At<'a, Vec<Spanned<Route>>>>,
    levels: &Levels<'a>,
    outer: Option<usize>,
) {
    for at in list.iter().flat_map(At::items) {
        let levels = levels.with(&at.path, at.value.inherited());
        let inner = at.key("routes", &at.value.routes);
        let index = routes.len();
        routes.push(RouteAt { at, levels: levels.clone(), outer });
        add_routes(routes, inner, &levels, Some(index));
    }
}

/// A route.
pub(super) struct RouteAt<'a> {
    pub at: At<'a, Route>,
    /// The route that it lies in, by its index in the server's list.
    pub outer: Option<usize>,
    levels: Levels<'a>,
}

impl<'a> RouteAt<'a> {
    /// What stands inside this route and has from it what it does not say itself.
    pub fn inside(&self, at: At<'a, Route>) -> Self {
        let levels = self.levels.with(&at.path, at.value.inherited());
        Self { at, levels, outer: self.outer }
    }

    /// What the nearest level says.
    pub fn find<T>(&self, key: &Key<T>) -> Option<Found<'a, T>> {
        self.levels.find(key)
    }

    /// Whether a switch is on; off where nobody says anything.
    pub fn on(&self, key: &Key<bool>) -> bool {
        self.find(key).is_some_and(|switch| *switch.at.value)
    }

    /// Whether a switch is on that is on where nobody says anything.
    pub fn unless_off(&self, key: &Key<bool>) -> bool {
        self.find(key).is_none_or(|switch| *switch.at.value)
    }

    /// The name of its session policy; `none` cancels one that would be inherited.
    pub fn session(&self) -> Option<Found<'a, String>> {
        self.find(&key::session).filter(|found| !NO_SESSION.contains(&found.at.value.as_str()))
    }
}

/// What stands in a policy's place where a route has none.
pub(super) const NO_SESSION: [&str; 2] = ["none", "off"];

/// What holds at the top of a file.
pub(super) fn top(file: &File) -> Levels<'_> {
    Levels::of(file)
}

/// The servers of a file.
pub(super) fn servers(file: &File) -> Vec<ServerAt<'_>> {
    let top = Levels::of(file);
    let servers = file.servers.as_ref().map(|servers| At::new("servers", servers));
    let servers = servers.iter().flat_map(At::items);
    servers.map(|at| ServerAt { levels: top.with(&at.path, at.value.inherited()), at }).collect()
}

/// The routes of all servers of a file.
pub(super) fn routes(file: &File) -> Vec<RouteAt<'_>> {
    servers(file).iter().flat_map(ServerAt::routes).collect()
}

impl Checker<'_> {
    pub(super) fn error_at<T>(&mut self, at: &At<'_, T>, flaw: Flaw) {
        self.error(at.place, &at.path, flaw);
    }

    pub(super) fn warning_at<T>(&mut self, at: &At<'_, T>, flaw: Flaw) {
        self.warning(at.place, &at.path, flaw);
    }

    pub(super) fn notice_at<T>(&mut self, at: &At<'_, T>, flaw: Flaw) {
        self.report(Severity::Notice, at.place, &at.path, flaw);
    }

    /// A mistake of a key in this route: at the key, or where that is inherited, at the route.
    pub(super) fn error_in<T>(&mut self, route: &RouteAt<'_>, found: &Found<'_, T>, flaw: Flaw) {
        if found.is_own {
            return self.error_at(&found.at, flaw);
        }
        let line = found.at.place.map_or(0, |place| place.line);
        let message = format!("inherits `{}` from line {line}: {}", found.at.path, flaw.message);
        self.error_at(&route.at, Flaw::new(message, flaw.help));
    }

    /// Reads a text; `None` where it is not there, or is wrong.
    pub(super) fn read<T>(
        &mut self,
        at: Option<&At<'_, String>>,
        parse: impl FnOnce(&str) -> Parsed<T>,
    ) -> Option<T> {
        let at = at?;
        parse(at.value).map_err(|flaw| self.error_at(at, flaw)).ok()
    }

    /// Reads the text of an inherited key.
    pub(super) fn inherited<T>(
        &mut self,
        route: &RouteAt<'_>,
        key: &Key<String>,
        parse: impl FnOnce(&str) -> Parsed<T>,
    ) -> Option<T> {
        self.read(route.find(key).map(|found| found.at).as_ref(), parse)
    }
}
