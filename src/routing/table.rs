//! The table of servers and routes: which one answers for a host and a path.
//!
//! Servers are chosen by name (`names.rs`), routes as nginx's locations (`tree.rs`). What a path
//! means to a lenient worker is looked at here: no reading of it leads past a route that restricts.

use std::collections::HashMap;

use super::host::Host;
use super::location::{BadLocation, Location};
use super::names::Names;
use super::path::{BadPath, NormalPath};
use super::pattern::BadPattern;
use super::tree::{Entry, Found, Tree, Twice};

/// What a table is built from: one virtual host.
#[derive(Clone, Debug)]
pub struct ServerEntry<T> {
    /// `shop.example.com`, `*.example.com`, `.example.com` (both), `www.example.*`, `~^re$`, an address
    /// (`[::1]` for IPv6), `""` (requests without a host), or `_` (the default server; the first
    /// one where no server has it). In any case.
    pub names: Vec<String>,
    /// The listeners that it answers on, by their index; all where it names none.
    pub listeners: Option<Vec<Listens>>,
    pub routes: Vec<RouteEntry<T>>,
}

/// A server on a listener.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Listens {
    pub listener: usize,
    /// It is the listener's default server, whatever its names (nginx `default_server`).
    pub is_default: bool,
}

/// What a table is built from: one route.
#[derive(Clone, Debug)]
pub struct RouteEntry<T> {
    /// As written in the configuration: with nginx's modifiers. An empty one is that of the server
    /// itself, which has what no other route has.
    pub path: String,
    /// The route that it lies in, by its index; a smaller one than its own.
    pub outer: Option<usize>,
    /// Whether it also matches without regard to ASCII case and to path parameters, and where a
    /// path lacks just the prefix's trailing slash: for routes that restrict anything and are not
    /// `exact`. Matching too much costs a login there, too little lets somebody in.
    pub folded: bool,
    /// Whether a request for its path without the slash at the end is redirected to it.
    pub adds_slash: bool,
    pub payload: T,
}

/// Servers and their routes, compiled.
#[derive(Clone, Debug)]
pub struct Table<T> {
    /// One for all listeners, or one for each.
    names: Vec<Names>,
    /// Of each server the first that is a host's.
    first_names: Vec<Option<Box<str>>>,
    servers: Vec<Server<T>>,
}

#[derive(Clone, Debug)]
struct Server<T> {
    tree: Tree,
    /// By the indices of the tree.
    payloads: Vec<T>,
    named: HashMap<Box<str>, T>,
}

/// The server that was chosen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Chosen {
    /// Its index in the list that the table was built from.
    pub server: usize,
    /// The index of the name that was a regular expression, among the server's names.
    pub pattern: Option<usize>,
}

/// Where a path leads.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome<T> {
    Route(T),
    /// To this route, whose path is this one with a slash behind it (nginx 5): 301.
    AddSlash(T),
    /// Nowhere: 404.
    Nothing,
}

/// What a route keeps visitors from.
pub trait Restricts: Sized {
    /// Whether whoever `self` lets in, `other` would let in too.
    fn restricts_at_least(&self, other: &Self) -> bool;

    /// What restricts at least as much as both, for readings of which none is the strictest.
    ///
    /// # Errors
    /// [`Ambiguous`], where one request cannot meet both.
    fn joined(&self, other: &Self) -> Result<Self, Ambiguous>;
}

/// A path whose readings lead to routes that exclude each other: 400.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ambiguous;

impl<T> Table<T> {
    /// Compiles servers.
    ///
    /// # Errors
    /// All mistakes at once.
    pub fn build(servers: Vec<ServerEntry<T>>) -> Result<Self, Vec<Mistake>> {
        let mut mistakes = Vec::new();
        if servers.is_empty() {
            mistakes.push(Mistake::NoServers);
        }
        let listeners = servers.iter().flat_map(|server| server.listeners.iter().flatten());
        let listeners = listeners.map(|listens| listens.listener + 1).max().unwrap_or(0);
        // Where a server names listeners, the others need not have the same servers.
        let mut names = vec![Names::default(); listeners + 1];
        for (server, entry) in servers.iter().enumerate() {
            for (listener, names) in names.iter_mut().enumerate() {
                let listens = |listens: &&Listens| listens.listener == listener;
                let listens = entry.listeners.as_ref().map(|all| all.iter().find(listens));
                if let Some(None) = listens {
                    continue;
                }
                if listens.flatten().is_some_and(|listens| listens.is_default) {
                    names.set_default(server);
                }
                for (index, name) in entry.names.iter().enumerate() {
                    let inserted = names.insert(name, server, index);
                    mistakes.extend(inserted.err().filter(|mistake| !mistakes.contains(mistake)));
                }
            }
        }
        let first_names = servers.iter().map(|server| first_name(&server.names)).collect();
        let compile =
            |(server, entry): (usize, ServerEntry<T>)| compile(server, entry.routes, &mut mistakes);
        let compiled = servers.into_iter().enumerate().map(compile).collect();
        if mistakes.is_empty() {
            Ok(Self { names, first_names, servers: compiled })
        } else {
            Err(mistakes)
        }
    }

    /// The server for a host, on a listener.
    pub fn server(&self, listener: usize, host: &Host<'_>) -> Chosen {
        self.names(listener)
            .map_or(Chosen { server: 0, pattern: None }, |names| names.find(host.as_str()))
    }

    /// Whether a server on a listener has this name, rather than being its default.
    pub fn is_named(&self, listener: usize, host: &Host<'_>) -> bool {
        self.names(listener).is_some_and(|names| names.find_named(host.as_str()).is_some())
    }

    /// The server that answers whoever names none.
    pub fn default_server(&self, listener: usize) -> Option<usize> {
        Some(self.names(listener)?.find("").server)
    }

    /// What the server is called that answers whoever names no host: its first name without a `*`.
    pub fn name_without_host(&self, listener: usize) -> Option<&str> {
        let server = self.names(listener)?.find("").server;
        self.first_names.get(server)?.as_deref()
    }

    /// Those behind the last that any server names are all alike.
    fn names(&self, listener: usize) -> Option<&Names> {
        self.names.get(listener).or(self.names.last())
    }
}

impl<T: Restricts + Clone> Table<T> {
    /// A server's route by its name (`@name`), which no request's path leads to.
    pub fn named(&self, server: usize, name: &str) -> Option<T> {
        self.servers.get(server)?.named.get(name).cloned()
    }

    /// Where a path leads on a server.
    ///
    /// As nginx finds it, byte for byte. But no reading of the path leads past a route that restricts
    /// more than what all of them have in common: each that some reading meets, or would meet if it
    /// were spelled as the route is, has its say.
    ///
    /// # Errors
    /// [`Ambiguous`].
    pub fn route(&self, server: usize, path: &NormalPath) -> Result<Outcome<T>, Ambiguous> {
        let Some(Server { tree, payloads, .. }) = self.servers.get(server) else {
            return Ok(Outcome::Nothing);
        };
        let first = match tree.find(path.as_bytes()) {
            Found::Slash(node) => return Ok(Outcome::AddSlash(payloads[node].clone())),
            Found::Node(node) => Some(node),
            Found::Nothing => None,
        };
        // What all readings have in common: they may well differ in what lies inside of it.
        let leads_there = |reading| tree.find(reading).node() == first;
        let is_agreed = path.has_one_reading() || path.readings().all(leads_there);
        let base = if is_agreed { first } else { tree.common(path.readings()) };
        let mut strictest = first.map(|node| payloads[node].clone());
        let loose = path.readings().flat_map(|reading| tree.loosely(reading, base, is_agreed));
        for other in base.into_iter().filter(|base| Some(*base) != first).chain(loose) {
            let payload = &payloads[other];
            strictest = Some(match strictest {
                None => payload.clone(),
                Some(one) if one.restricts_at_least(payload) => one,
                Some(one) if payload.restricts_at_least(&one) => payload.clone(),
                // What the operator wrote out for this very spelling.
                Some(one)
                    if base == first && first.is_some_and(|it| tree.is_as_long(it, other)) =>
                {
                    one
                }
                Some(one) => one.joined(payload)?,
            });
        }
        Ok(strictest.map_or(Outcome::Nothing, Outcome::Route))
    }
}

fn first_name(names: &[String]) -> Option<Box<str>> {
    let is_host = |name: &&str| {
        !name.is_empty() && *name != "_" && !name.contains('*') && !name.starts_with('~')
    };
    let mut names = names.iter().map(|name| name.strip_prefix('.').unwrap_or(name));
    names.find(is_host).map(|name| name.to_ascii_lowercase().into())
}

fn compile<T>(server: usize, routes: Vec<RouteEntry<T>>, mistakes: &mut Vec<Mistake>) -> Server<T> {
    let mut entries: Vec<Entry> = Vec::new();
    let mut payloads = Vec::new();
    let mut named = HashMap::new();
    // Where each route is among the entries, and each entry among the routes.
    let mut placed: Vec<Option<usize>> = Vec::new();
    let mut places: Vec<usize> = Vec::new();
    for (route, entry) in routes.into_iter().enumerate() {
        let RouteEntry { path, outer, folded, adds_slash, payload } = entry;
        let outer = outer.and_then(|outer| placed.get(outer).copied().flatten());
        let location = outer.map(|outer| &entries[outer].location);
        placed.push(None);
        match read_location(&path, location, folded) {
            Err(error) => mistakes.push(Mistake::Path { server, route, path, error }),
            Ok(Location::Named(name)) => {
                if named.insert(name, payload).is_some() {
                    mistakes.push(Mistake::DuplicateRoute { server, route, path });
                }
            }
            Ok(location) => {
                placed[route] = Some(entries.len());
                entries.push(Entry { location, outer, adds_slash, loose: folded, written: path });
                places.push(route);
                payloads.push(payload);
            }
        }
    }
    let written: Vec<String> = entries.iter().map(|entry| entry.written.clone()).collect();
    let (tree, twice) = Tree::build(entries);
    mistakes.extend(twice.into_iter().map(|Twice(index)| Mistake::DuplicateRoute {
        server,
        route: places[index],
        path: written[index].clone(),
    }));
    Server { tree, payloads, named }
}

fn read_location(
    path: &str,
    outer: Option<&Location>,
    is_loose: bool,
) -> Result<Location, BadLocation> {
    let location = match path {
        "" => Location::everything(),
        path => Location::parse(path)?,
    };
    outer.map_or(Ok(()), |outer| location.fits_in(outer))?;
    match &location {
        Location::Exact(text) | Location::Prefix { text, .. }
            if is_loose && text.contains(&b';') =>
        {
            Err(BadPath::Parameters.into())
        }
        _ => Ok(location),
    }
}

/// What is wrong with a table's servers.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Mistake {
    #[error("there is no server")]
    NoServers,
    #[error(
        "servers[{server}].names: `{name}` is not a name: write `shop.example.com`, \
         `*.example.com`, `www.example.*` or `_`, without port"
    )]
    Name { server: usize, name: String },
    #[error("servers[{server}].names: `{name}` is no regular expression: {error}")]
    Pattern { server: usize, name: String, error: BadPattern },
    #[error("servers[{server}].names: `{name}` already belongs to servers[{other}]")]
    DuplicateName { server: usize, name: String, other: usize },
    #[error("servers[{server}].routes[{route}].path: `{path}`: {error}")]
    Path { server: usize, route: usize, path: String, error: BadLocation },
    #[error("servers[{server}].routes[{route}].path: `{path}` is there twice")]
    DuplicateRoute { server: usize, route: usize, path: String },
}

#[cfg(test)]
mod tests {
    use super::*;

    fn server(names: &[&str], routes: &[(&str, bool)]) -> ServerEntry<String> {
        ServerEntry {
            names: names.iter().map(|name| (*name).to_owned()).collect(),
            listeners: None,
            routes: routes
                .iter()
                .map(|(path, folded)| {
                    route(path, *folded, &format!("{path}{}", if *folded { " folded" } else { "" }))
                })
                .collect(),
        }
    }

    fn route(path: &str, folded: bool, payload: &str) -> RouteEntry<String> {
        RouteEntry {
            path: path.to_owned(),
            outer: None,
            folded,
            adds_slash: false,
            payload: payload.to_owned(),
        }
    }

    fn found(outcome: Outcome<String>) -> Option<String> {
        match outcome {
            Outcome::Route(payload) => Some(payload),
            Outcome::AddSlash(_) => Some("+/".to_owned()),
            Outcome::Nothing => None,
        }
    }

    impl Restricts for String {
        /// Folded routes restrict; a `+` restricts something else.
        fn restricts_at_least(&self, other: &Self) -> bool {
            (self.contains("folded") || !other.contains("folded"))
                && (self.contains('+') || !other.contains('+'))
        }

        fn joined(&self, other: &Self) -> Result<Self, Ambiguous> {
            let mut both = [self.as_str(), other];
            both.sort_unstable();
            if both.concat().contains('!') { Err(Ambiguous) } else { Ok(both.join(" & ")) }
        }
    }

    #[track_caller]
    fn check_route(routes: &[(&str, bool)], cases: &[(&str, Option<&str>)]) {
        let table = Table::build(vec![server(&["_"], routes)]).expect("good routes");
        for (target, expected) in cases {
            let path = NormalPath::from_target(target.as_bytes()).expect("a good target");
            let route = table.route(0, &path).expect("one of them restricts most");
            assert_eq!(found(route).as_deref(), *expected, "{target}");
        }
    }

    #[test]
    fn whoever_names_no_host_asks_the_default_server() {
        for (servers, expected) in [
            (&[&["*.a", "B.example", "c.example"][..]][..], Some("b.example")),
            (&[&["a.example"], &["b.example", "_"]], Some("b.example")),
            (&[&["a.example"], &["_"]], None),
            (&[&["a.example"], &["", "b.example"]], Some("b.example")),
            (&[&[".a.example"]], Some("a.example")),
            (&[&["*.a.example", "www.a.*"]], None),
        ] {
            let servers = servers.iter().map(|names| server(names, &[])).collect();
            let table = Table::build(servers).expect("good names");
            assert_eq!(table.name_without_host(0), expected);
        }
    }

    #[test]
    fn the_longest_prefix_wins() {
        check_route(
            &[("/", false), ("/static/", false), ("/static/img", false), ("/a%20b", false)],
            &[
                ("/", Some("/")),
                ("/static", Some("/")),
                ("/static/", Some("/static/")),
                ("/STATIC/", Some("/")),
                ("/static/x", Some("/static/")),
                ("/static/imgs", Some("/static/img")),
                ("/static/../x", Some("/")),
                ("/x/%2e%2e/static/img", Some("/static/img")),
                ("/a%20b", Some("/a%20b")),
            ],
        );
        check_route(&[("/a", false)], &[("/b", None), ("/a", Some("/a")), ("/ab", Some("/a"))]);
        check_route(&[], &[("/", None)]);
    }

    /// The server itself has what no location has (nginx: its own root and error pages).
    #[test]
    fn what_no_route_has_is_the_server_s_own() {
        let routes = [("/a", false), ("~ x$", false), ("/b/", true), ("", false)];
        let cases = [("/", Some("")), ("/a", Some("/a")), ("/c/x", Some("~ x$"))];
        check_route(&routes, &cases);
        check_route(&routes, &[("/B/", Some("/b/ folded")), ("/c", Some(""))]);
        let guarded = [("/a", false), ("", true)];
        let own = Some(" folded");
        check_route(
            &guarded,
            &[("/a", Some("/a")), ("/b", own), ("/A", own), ("/a%2Fb", Some("/a"))],
        );
    }

    #[test]
    fn guarded_routes_are_not_walked_around() {
        let folded = Some("/account/ folded");
        check_route(
            &[("/", false), ("/account/", true), ("/account/help/", false), ("/Open", false)],
            &[
                ("/account/", folded),
                ("/account", folded),
                ("/ACCOUNT", folded),
                ("/Account/x", folded),
                ("//account/x", folded),
                ("/account;v=1/x", folded),
                ("/%61ccount/x", folded),
                ("/account/help/x", Some("/account/help/")),
                ("/ACCOUNT/help/x", folded),
                ("/account/HELP/", folded),
                ("/accounting", Some("/")),
                ("/open", Some("/")),
                ("/Open", Some("/Open")),
            ],
        );
    }

    /// No reading of a path leads past a guard that another reading meets.
    #[test]
    fn the_strictest_reading_counts() {
        let folded = Some("/account/ folded");
        check_route(
            &[("/", false), ("/account/", true), ("/account/open/", false)],
            &[
                ("/account/open/x", Some("/account/open/")),
                ("/account%2Fx", folded),
                ("/account/open%2Fx", folded),
                ("/account/%6fpen/x", folded),
                ("/account//open/x", folded),
                ("/account/open/a%20b", Some("/account/open/")),
                ("/x%2Faccount", Some("/")),
            ],
        );
    }

    /// What is open inside a guarded path is so in its own spelling, although it restricts too.
    #[test]
    fn restrictions_of_several_routes_are_joined() {
        let table = |inner: &str| {
            let routes = vec![route("/a/", true, "folded"), route("/a/b/", true, inner)];
            let names = vec!["_".to_owned()];
            Table::build(vec![ServerEntry { names, listeners: None, routes }]).expect("good routes")
        };
        let find = |inner: &str, target: &[u8]| {
            let path = NormalPath::from_target(target).expect("a good target");
            table(inner).route(0, &path).map(found)
        };
        assert_eq!(find("+", b"/a/b/x"), Ok(Some("+".to_owned())));
        for target in [&b"/a/B/x"[..], b"/a/b", b"/a/b%2Fx", b"/a//b/x", b"/a/b;v/x"] {
            let found = find("+", target);
            assert_eq!(found, Ok(Some("+ & folded".to_owned())), "{}", target.escape_ascii());
            assert_eq!(find("+!", target), Err(Ambiguous), "{}", target.escape_ascii());
        }
    }

    /// Two that differ by case and restrict in different ways are told apart by it.
    #[test]
    fn what_is_written_out_wins_over_what_is_meant_loosely() {
        let routes = [("/Api/", true), ("/api+/", true), ("/Api+/", true), ("/api/", true)];
        check_route(
            &routes,
            &[
                ("/Api/x", Some("/Api/ folded")),
                ("/api/x", Some("/api/ folded")),
                ("/API/x", Some("/Api/ folded")),
                ("/api+/x", Some("/api+/ folded")),
            ],
        );
    }

    #[test]
    fn a_guard_wins_over_a_plain_route_as_long() {
        check_route(
            &[("/ACCOUNT/", false), ("/account/", true), ("/account", false)],
            &[
                ("/ACCOUNT/", Some("/account/ folded")),
                ("/account", Some("/account/ folded")),
                ("/accounts", Some("/account")),
            ],
        );
    }

    /// A guard that is a regular expression, one inside another route, and one that another route
    /// wins over where it is spelled as written.
    #[test]
    fn guards_of_every_kind_are_not_walked_around() {
        let guard = |path: &str| Some(format!("{path} folded"));
        let regex = "~ ^/admin(/|$)";
        let routes = [
            ("/", false),
            (regex, true),
            ("^~ /admin/help/", false),
            ("= /Only", true),
            ("/files/", true),
            (r"~ \.png$", false),
        ];
        let cases = [
            ("/admin", guard(regex)),
            ("/admin/x", guard(regex)),
            ("/ADMIN/x", guard(regex)),
            ("/admin;v=1/x", guard(regex)),
            ("/x%2Fadmin", Some("/".to_owned())),
            ("/admin%2Fx", guard(regex)),
            ("/%61dmin/x", guard(regex)),
            ("/admin/help/x", Some("^~ /admin/help/".to_owned())),
            ("/admin/HELP/x", guard(regex)),
            ("/Only", guard("= /Only")),
            ("/only/", guard("= /Only")),
            ("/only/x", Some("/".to_owned())),
            // nginx prefers the pattern, whoever spells it how.
            ("/files/x.png", Some(r"~ \.png$".to_owned())),
            ("/FILES/x.png", Some(r"~ \.png$".to_owned())),
            ("/FILES/x", guard("/files/")),
        ];
        let cases: Vec<_> = cases.iter().map(|(path, found)| (*path, found.as_deref())).collect();
        check_route(&routes, &cases);
    }

    #[test]
    fn guards_inside_routes_are_met_where_the_route_is() {
        let mut inner = route(r"~ \.key$", true, "guard folded");
        inner.outer = Some(1);
        let routes = vec![route("/", false, "top"), route("/a/", false, "a"), inner];
        let entry = ServerEntry { names: vec!["_".to_owned()], listeners: None, routes };
        let table = Table::build(vec![entry]).expect("good routes");
        for (target, expected) in [
            ("/a/x.key", "guard folded"),
            ("/a/x.KEY", "guard folded"),
            ("/A/x.key", "guard folded"),
            ("/a/x", "a"),
            ("/b/x.key", "top"),
            ("/A/x", "top"),
        ] {
            let path = NormalPath::from_target(target.as_bytes()).expect("a good target");
            let route = table.route(0, &path).expect("one of them restricts most");
            assert_eq!(found(route).as_deref(), Some(expected), "{target}");
        }
    }

    #[test]
    fn servers_answer_on_the_listeners_that_they_name() {
        let listens = |all: &[(usize, bool)]| {
            let listens = |(listener, is_default): &(usize, bool)| Listens {
                listener: *listener,
                is_default: *is_default,
            };
            Some(all.iter().map(listens).collect())
        };
        let entry = |names: &[&str], listeners| ServerEntry { listeners, ..server(names, &[]) };
        let table = Table::build(vec![
            entry(&["a", "both"], listens(&[(0, false)])),
            entry(&["b", "both"], listens(&[(1, false)])),
            entry(&["c", r"~^(?<x>d+)$"], listens(&[(1, true)])),
            entry(&["everywhere"], None),
        ]);
        let table = table.expect("good names");
        for (listener, host, expected) in [
            (0, "a", 0),
            (0, "b", 0),
            (0, "both", 0),
            (1, "both", 1),
            (1, "a", 2),
            (1, "dd", 2),
            (0, "dd", 0),
            (0, "everywhere", 3),
            (2, "everywhere", 3),
            (2, "a", 3),
            (7, "a", 3),
        ] {
            let host = Host::parse(host.as_bytes()).expect("a host");
            assert_eq!(table.server(listener, &host).server, expected, "{listener} {host:?}");
        }
        let host = Host::parse(b"dd").expect("a host");
        assert_eq!(table.server(1, &host).pattern, Some(1));
    }

    #[test]
    fn mistakes_are_reported_all_at_once() {
        let mistakes = Table::build(vec![
            server(&["a.example", "A.example"], &[("x", false), ("/a", false), ("/a", false)]),
            server(&["A.Example", "*.*", "~(a", "b:80", "*.a.*", "a b", "*"], &[("/;x", true)]),
            server(&["_", "*.example"], &[]),
            server(&["_", "*.EXAMPLE"], &[("/a", true), ("/a", false)]),
        ])
        .expect_err("everything is wrong");
        let texts: Vec<String> = mistakes.iter().map(ToString::to_string).collect();
        let expected = [
            "servers[1].names: `A.Example` already belongs to servers[0]",
            "servers[1].names: `*.*` is not a name",
            "servers[1].names: `~(a` is no regular expression",
            "servers[1].names: `b:80` is not a name",
            "servers[1].names: `*.a.*` is not a name",
            "servers[1].names: `a b` is not a name",
            "servers[1].names: `*` is not a name",
            "servers[3].names: `_` already belongs to servers[2]",
            "servers[3].names: `*.EXAMPLE` already belongs to servers[2]",
            "servers[0].routes[0].path: `x`: it is not a path",
            "servers[0].routes[2].path: `/a` is there twice",
            "servers[1].routes[0].path: `/;x`: it contains `;`",
            "servers[3].routes[1].path: `/a` is there twice",
        ];
        assert_eq!(texts.len(), expected.len(), "{texts:#?}");
        for (text, expected) in texts.iter().zip(expected) {
            assert!(text.starts_with(expected), "{text}");
        }
        let none = Table::<()>::build(Vec::new()).expect_err("no servers");
        assert_eq!(none, [Mistake::NoServers]);
    }
}
