//! The table of servers and routes: which one answers for a host and a path.
//!
//! Servers are chosen by name (`names.rs`). Routes as nginx's prefix locations: the longest prefix, byte
//! for byte, without regard to where segments end.

use std::collections::HashMap;

use super::fold;
use super::host::Host;
use super::names::Names;
use super::path::{BadPath, NormalPath};

/// What a table is built from: one virtual host.
#[derive(Clone, Debug)]
pub struct ServerEntry<T> {
    /// `shop.example.com`, `*.example.com`, `.example.com` (both), `www.example.*`, an address
    /// (`[::1]` for IPv6), `""` (requests without a host), or `_` (the default server; the first
    /// one where no server has it). In any case.
    pub names: Vec<String>,
    pub routes: Vec<RouteEntry<T>>,
}

/// What a table is built from: one route.
#[derive(Clone, Debug)]
pub struct RouteEntry<T> {
    /// As written in the configuration; begins with `/`, or with `@` where it is a name.
    pub prefix: String,
    /// Whether it also matches without regard to ASCII case and to path parameters, and where a
    /// path lacks just the prefix's trailing slash: for routes that restrict anything and are not
    /// `exact`. Matching too much costs a login there, too little lets somebody in.
    pub folded: bool,
    pub payload: T,
}

/// Servers and their routes, compiled.
#[derive(Clone, Debug)]
pub struct Table<T> {
    names: Names,
    /// Of each server the first that is a host's.
    first_names: Vec<Option<Box<str>>>,
    /// By server, each in the order in which routes are tried.
    servers: Vec<Vec<Route<T>>>,
    /// By server, what only redirects inside lead to.
    named: Vec<HashMap<Box<str>, T>>,
}

#[derive(Clone, Debug)]
struct Route<T> {
    prefix: Box<[u8]>,
    /// In lower case, where it also matches loosely.
    folded: Option<Box<[u8]>>,
    payload: T,
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
        let mut names = Names::default();
        let mut compiled = Vec::with_capacity(servers.len());
        let mut named = Vec::with_capacity(servers.len());
        let first_names = servers.iter().map(|server| first_name(&server.names)).collect();
        for (server, entry) in servers.into_iter().enumerate() {
            for name in &entry.names {
                if let Err(mistake) = names.insert(name, server) {
                    mistakes.push(mistake);
                }
            }
            let (by_name, by_path) =
                entry.routes.into_iter().partition(|route| route.prefix.starts_with('@'));
            compiled.push(compile_routes(server, by_path, &mut mistakes));
            let by_name: Vec<RouteEntry<T>> = by_name;
            let by_name = by_name.into_iter().map(|route| (route.prefix.into(), route.payload));
            named.push(by_name.collect());
        }
        if mistakes.is_empty() {
            Ok(Self { names, first_names, servers: compiled, named })
        } else {
            Err(mistakes)
        }
    }

    /// The server for a host, by its index in the list that the table was built from.
    pub fn server(&self, host: &Host<'_>) -> usize {
        self.names.find(host.as_str())
    }

    /// What the server is called that answers whoever names no host: its first name without a `*`.
    pub fn name_without_host(&self) -> Option<&str> {
        self.first_names.get(self.names.find(""))?.as_deref()
    }
}

impl<T: Restricts + Clone> Table<T> {
    /// A server's route by its name (`@name`), which no request's path leads to.
    pub fn named(&self, server: usize, name: &str) -> Option<T> {
        self.named.get(server)?.get(name).cloned()
    }

    /// The route of a server for a path; `None` where there is none: 404.
    ///
    /// As nginx finds it, by the longest prefix, byte for byte. But no reading of the path leads past
    /// a route that restricts more: one that every reading meets, and each longer one that some reading
    /// meets loosely, have their say.
    ///
    /// # Errors
    /// [`Ambiguous`].
    pub fn route(&self, server: usize, path: &NormalPath) -> Result<Option<T>, Ambiguous> {
        let routes = self.servers.get(server).map(Vec::as_slice).unwrap_or_default();
        let is_first = |route: &&Route<T>| path.as_bytes().starts_with(&route.prefix);
        let is_each =
            |route: &Route<T>| path.readings().all(|reading| reading.starts_with(&route.prefix));
        let is_loose = |route: &&Route<T>| {
            let folded = route.folded.as_deref();
            folded.is_some_and(|prefix| {
                path.readings().any(|reading| fold::starts_with(reading, prefix))
            })
        };
        // The longest come first.
        let base = routes.iter().position(is_each);
        let (longer, rest) = routes.split_at(base.unwrap_or(routes.len()));
        let base = rest.first();
        let found = longer.iter().chain(base).find(is_first);
        let mut candidates = longer.iter().filter(is_loose).chain(base);
        let Some(first) = found.or_else(|| candidates.next()) else { return Ok(None) };
        let strictest = candidates.try_fold(first.payload.clone(), |strictest, other| {
            let is_beside = other.prefix.len() <= first.prefix.len() && !std::ptr::eq(other, first);
            match &other.payload {
                other if strictest.restricts_at_least(other) => Ok(strictest),
                other if other.restricts_at_least(&strictest) => Ok(other.clone()),
                // What the operator wrote out for this very spelling.
                _ if is_beside && base.is_some_and(|base| std::ptr::eq(base, first)) => {
                    Ok(strictest)
                }
                other => strictest.joined(other),
            }
        });
        strictest.map(Some)
    }
}

fn first_name(names: &[String]) -> Option<Box<str>> {
    let is_host = |name: &&str| !name.is_empty() && *name != "_" && !name.contains('*');
    let mut names = names.iter().map(|name| name.strip_prefix('.').unwrap_or(name));
    names.find(is_host).map(|name| name.to_ascii_lowercase().into())
}

/// Normalises and sorts routes: the longest first, and of two as long the folded one.
fn compile_routes<T>(
    server: usize,
    entries: Vec<RouteEntry<T>>,
    mistakes: &mut Vec<Mistake>,
) -> Vec<Route<T>> {
    let mut routes: Vec<Route<T>> = Vec::with_capacity(entries.len());
    for (index, RouteEntry { prefix: written, folded, payload }) in entries.into_iter().enumerate()
    {
        let mistake = |error| Mistake::Path { server, route: index, path: written.clone(), error };
        let normal = match NormalPath::from_config(&written) {
            Ok(normal) => normal,
            Err(error) => {
                mistakes.push(mistake(error));
                continue;
            }
        };
        let prefix: Box<[u8]> = normal.as_bytes().into();
        if folded && prefix.contains(&b';') {
            mistakes.push(mistake(BadPath::Parameters));
            continue;
        }
        let folded: Option<Box<[u8]>> = folded.then(|| prefix.to_ascii_lowercase().into());
        let is_twin = |other: &Route<T>| other.prefix == prefix && other.folded == folded;
        if routes.iter().any(is_twin) {
            mistakes.push(Mistake::DuplicateRoute { server, route: index, path: written });
            continue;
        }
        routes.push(Route { prefix, folded, payload });
    }
    routes.sort_by_key(|route| (std::cmp::Reverse(route.prefix.len()), route.folded.is_none()));
    routes
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
    #[error("servers[{server}].names: `{name}` already belongs to servers[{other}]")]
    DuplicateName { server: usize, name: String, other: usize },
    #[error("servers[{server}].routes[{route}].path: `{path}`: {error}")]
    Path { server: usize, route: usize, path: String, error: BadPath },
    #[error("servers[{server}].routes[{route}].path: `{path}` is there twice")]
    DuplicateRoute { server: usize, route: usize, path: String },
}

#[cfg(test)]
mod tests {
    use super::*;

    fn server(names: &[&str], routes: &[(&str, bool)]) -> ServerEntry<String> {
        ServerEntry {
            names: names.iter().map(|name| (*name).to_owned()).collect(),
            routes: routes
                .iter()
                .map(|(prefix, folded)| RouteEntry {
                    prefix: (*prefix).to_owned(),
                    folded: *folded,
                    payload: format!("{prefix}{}", if *folded { " folded" } else { "" }),
                })
                .collect(),
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
            assert_eq!(route.as_deref(), *expected, "{target}");
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
            assert_eq!(table.name_without_host(), expected);
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
        let route = |prefix: &str, payload: &str| RouteEntry {
            prefix: prefix.to_owned(),
            folded: true,
            payload: payload.to_owned(),
        };
        let table = |inner: &str| {
            let routes = vec![route("/a/", "folded"), route("/a/b/", inner)];
            let names = vec!["_".to_owned()];
            Table::build(vec![ServerEntry { names, routes }]).expect("good routes")
        };
        let find = |inner: &str, target: &[u8]| {
            table(inner).route(0, &NormalPath::from_target(target).expect("a good target"))
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

    #[test]
    fn mistakes_are_reported_all_at_once() {
        let mistakes = Table::build(vec![
            server(&["a.example", "A.example"], &[("x", false), ("/a", false), ("//a", false)]),
            server(&["A.Example", "*.*", "~^a$", "b:80", "*.a.*", "a b", "*"], &[("/;x", true)]),
            server(&["_", "*.example"], &[]),
            server(&["_", "*.EXAMPLE"], &[("/a", true), ("/a", false)]),
        ])
        .expect_err("everything is wrong");
        let texts: Vec<String> = mistakes.iter().map(ToString::to_string).collect();
        let expected = [
            "servers[0].routes[0].path: `x`: it is not a path",
            "servers[0].routes[2].path: `//a` is there twice",
            "servers[1].names: `A.Example` already belongs to servers[0]",
            "servers[1].names: `*.*` is not a name",
            "servers[1].names: `~^a$` is not a name",
            "servers[1].names: `b:80` is not a name",
            "servers[1].names: `*.a.*` is not a name",
            "servers[1].names: `a b` is not a name",
            "servers[1].names: `*` is not a name",
            "servers[1].routes[0].path: `/;x`: it contains `;`",
            "servers[3].names: `_` already belongs to servers[2]",
            "servers[3].names: `*.EXAMPLE` already belongs to servers[2]",
        ];
        assert_eq!(texts.len(), expected.len(), "{texts:#?}");
        for (text, expected) in texts.iter().zip(expected) {
            assert!(text.starts_with(expected), "{text}");
        }
        let none = Table::<()>::build(Vec::new()).expect_err("no servers");
        assert_eq!(none, [Mistake::NoServers]);
    }
}
