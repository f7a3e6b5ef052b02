//! Locations as routes: who answers there, and what stands inside.

use super::guards;
use super::keys::{Form, keys, value};
use super::notes::{Matter, Notes};
use super::scope::Scope;
use super::scripts;
use super::upstreams::{Upstreams, passed, passed_by_grpc};
use crate::config::write::{Map, Yaml};
use crate::import::tree::{Directive, Tree};

/// What is collected on the way.
pub struct Made<'a> {
    pub upstreams: Upstreams,
    pub tree: &'a Tree,
    /// The directory that relative paths start from.
    pub prefix: &'a str,
    /// That of certificates and lists of users.
    pub conf: &'a str,
    /// What nginx does without being asked is done too.
    pub as_nginx: bool,
}

/// Where a directive stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Level {
    Http,
    Server,
    Location,
}

/// The routes that a block's locations are.
pub fn routes(
    block: &[Directive],
    scope: &Scope<'_>,
    made: &mut Made<'_>,
    notes: &mut Notes,
) -> Vec<Yaml> {
    let mut routes = Vec::new();
    for location in block.iter().filter(|directive| directive.name.text == "location") {
        routes.push(route(location, scope, made, notes));
    }
    routes
}

/// What nginx does where no location fits: files, below the root that counts.
pub fn of_server(
    block: &[Directive],
    scope: &Scope<'_>,
    made: &Made<'_>,
    notes: &mut Notes,
) -> Option<Yaml> {
    let is_root = |location: &Directive| {
        matches!((location.first(), location.arg(1)), (Some("/"), None) | (Some("^~"), Some("/")))
    };
    let has_one = block.iter().any(|inner| inner.name.text == "location" && is_root(inner));
    let is_answered = block.iter().any(|inner| inner.name.text == "return");
    if has_one || is_answered {
        return None;
    }
    let mut route = Map::default();
    route.add("path", Yaml::text("/"));
    if guards::keeps_out(scope, notes) {
        route.add("return", Yaml::text("403"));
        return Some(Yaml::Map(route));
    }
    serves_files(&mut route, scope, made);
    let tried = block.iter().find(|directive| directive.name.text == "try_files");
    if let Some(tried) = tried.and_then(|tried| value(tried, Form::Words, made)) {
        route.add("try_files", tried);
    }
    Some(Yaml::Map(route))
}

fn route(location: &Directive, scope: &Scope<'_>, made: &mut Made<'_>, notes: &mut Notes) -> Yaml {
    let block = location.children();
    let scope = scope.with(block);
    let mut route = Map::default();
    let words: Vec<&str> = location.args.iter().map(|word| word.text.as_str()).collect();
    let comment = vec![format!("from {}", made.tree.at(location.place))];
    // nginx compares what is written with paths that were decoded.
    let written = match words.as_slice() {
        [path] if path.starts_with('/') => path.replace('%', "%25"),
        [modifier @ ("=" | "^~"), path] => format!("{modifier} {}", path.replace('%', "%25")),
        words => words.join(" "),
    };
    route.add_with("path", Yaml::text(written), comment);
    let named = |name: &str| block.iter().find(|directive| directive.name.text == name);
    let is_closed = guards::keeps_out(&scope, notes);
    match scripts::answer_alone(block) {
        Some(answer) => route.add("return", Yaml::text(answer)),
        None if scripts::has_steps(block) => {
            let steps = scripts::steps(block, Level::Location, &scope, made, notes);
            route.add("rewrite", Yaml::List(steps));
            if is_closed {
                route.add("return", Yaml::text("403"));
            }
        }
        None if is_closed => route.add("return", Yaml::text("403")),
        None => {}
    }
    let is_answered = is_closed || scripts::answer_alone(block).is_some();
    if !is_answered {
        let path = words.last().copied().filter(|_| has_path(&words));
        pass(block, path, &scope, &mut route, made, notes);
    }
    if !is_answered && !route.has("upstream") && !route.has("proxy_pass") {
        match block.iter().any(is_handler) {
            // Its files are no pages: scripts would be shown as they are.
            true => route.add("return", Yaml::text("501")),
            false => serves_files(&mut route, &scope, made),
        }
    }
    if let Some(limit) = named("limit_except") {
        let mut except = guards::limit_except(limit, made.conf);
        let mut with = Map::default();
        let scope = scope.with(limit.children());
        pass(limit.children(), None, &scope, &mut with, made, notes);
        if !with.is_empty() {
            except.add("with", Yaml::Map(with));
        }
        route.add("limit_except", Yaml::Map(except));
    }
    if named("internal").is_some() {
        route.add("internal", Yaml::on(true));
    }
    route.extend(keys(block, Level::Location, made, notes));
    let inner = routes(block, &scope, made, notes);
    if !inner.is_empty() {
        route.add("routes", Yaml::List(inner));
    }
    Yaml::Map(route)
}

/// What counts while the condition of an `if` in a location holds.
pub fn inside(
    block: &[Directive],
    scope: &Scope<'_>,
    made: &mut Made<'_>,
    notes: &mut Notes,
) -> Map {
    let mut with = Map::default();
    pass(block, None, scope, &mut with, made, notes);
    with.extend(keys(block, Level::Location, made, notes));
    with
}

/// Where a block's requests go, if it says so; `path` is that of its location.
fn pass(
    block: &[Directive],
    path: Option<&str>,
    scope: &Scope<'_>,
    route: &mut Map,
    made: &mut Made<'_>,
    notes: &mut Notes,
) {
    let named = |name: &str| block.iter().find(|directive| directive.name.text == name);
    if let Some(grpc) = named("grpc_pass") {
        match passed_by_grpc(grpc.first().unwrap_or_default()) {
            Some(to) => {
                route.add("upstream", Yaml::text(made.upstreams.need(&to, scope, made.conf, notes)))
            }
            None => notes.say(Matter::Left, grpc, "no variable names a worker that speaks gRPC"),
        }
        return;
    }
    let Some(pass) = named("proxy_pass") else { return };
    let text = pass.first().unwrap_or_default();
    let Some(to) = passed(text).filter(|_| !text.contains('$')) else {
        made.upstreams.need_all(scope, made.conf, notes);
        return route.add("proxy_pass", Yaml::text(text));
    };
    route.add("upstream", Yaml::text(made.upstreams.need(&to, scope, made.conf, notes)));
    match to.uri {
        Some(_) if path.is_none() => {
            let text = "the path is forwarded as it came, without being replaced";
            notes.say(Matter::Left, pass, text);
        }
        Some(uri) => route.add("uri", Yaml::text(uri)),
        None => {}
    }
}

/// nginx has a root where nobody names one.
fn serves_files(route: &mut Map, scope: &Scope<'_>, made: &Made<'_>) {
    if scope.find("root").is_none() && scope.find("alias").is_none() {
        route.add("root", Yaml::text(super::listeners::within(made.prefix, "html")));
    }
}

/// Whether a directive has somebody answer who is not asked here.
fn is_handler(directive: &Directive) -> bool {
    let name = directive.name.text.as_str();
    name.ends_with("_pass") || matches!(name, "perl" | "js_content")
}

/// Whether a location is told by a path, and not by a pattern or a name.
fn has_path(words: &[&str]) -> bool {
    match words {
        [path] => path.starts_with('/'),
        [modifier, path] => matches!(*modifier, "=" | "^~") && path.starts_with('/'),
        _ => false,
    }
}
