//! The `http` block: what holds everywhere, upstreams, maps, log formats, servers.

use super::Folders;
use super::keys;
use super::limits;
use super::listeners::Listeners;
use super::notes::Notes;
use super::routes::{self, Level, Made};
use super::scope::Scope;
use super::upstreams::Upstreams;
use super::{scripts, tls};
use crate::config::write::{Map, Yaml};
use crate::import::tree::{Directive, Tree};
use crate::import::value::number::size;

pub fn translate(http: &Directive, tree: &Tree, folders: &Folders<'_>, notes: &mut Notes) -> Map {
    let block = http.children();
    let scope = Scope::default().with(block);
    let Folders { prefix, conf, as_nginx } = *folders;
    let mut made = Made { upstreams: Upstreams::default(), tree, prefix, conf, as_nginx };
    let (mut maps, mut geos, mut splits) = (Map::default(), Map::default(), Map::default());
    let mut formats = Map::default();
    for directive in block {
        let name = || directive.arg(1).unwrap_or_default().to_owned();
        match directive.name.text.as_str() {
            "upstream" => made.upstreams.block(directive, notes),
            "map" => maps.add(name(), map(directive)),
            "geo" => {
                let of_address = directive.arg(1).is_none();
                let variable = directive.arg(usize::from(!of_address)).unwrap_or_default();
                geos.add(variable, geo(directive, of_address));
            }
            "split_clients" => splits.add(name(), split(directive)),
            "log_format" => {
                formats.add(directive.first().unwrap_or_default(), log_format(directive))
            }
            _ => {}
        }
    }
    let mut defaults = keys::keys(block, Level::Http, &made, notes);
    defaults.extend(built_in(block));
    if as_nginx {
        unasked(&mut defaults, &scope, prefix);
    }
    let mut listeners = Listeners::default();
    let mut servers = Vec::new();
    for server in block.iter().filter(|directive| directive.name.text == "server") {
        servers.push(self::server(server, &scope, &mut listeners, &mut made, notes));
    }
    let mut file = Map::default();
    if as_nginx && listeners.speak_tls() {
        // nginx reads its files at HUP, and may not be able to read them later.
        file.add("watch_certificates", Yaml::on(false));
    }
    file.add("listeners", listeners.write());
    file.extend(timeouts(&scope));
    let upstreams = made.upstreams.write();
    if passes_on(block) {
        // nginx says by itself who the workers are, and never who the client is.
        if scope.find("proxy_set_header").is_none() {
            defaults.add("request_headers", keys::host_alone());
        }
        defaults.add("forwarded_headers", Yaml::on(false));
        let mut cookies = Map::default();
        cookies.add("enforce", Yaml::on(false));
        let comment = "As nginx; without this line cookies get Secure, HttpOnly and SameSite.";
        file.add_with("cookies", Yaml::Map(cookies), vec![comment.to_owned()]);
    }
    let lists = [
        ("maps", maps),
        ("geos", geos),
        ("split_clients", splits),
        ("log_formats", formats),
        ("limit_zones", limits::zones(block)),
        ("upstreams", upstreams),
        ("defaults", defaults),
    ];
    for (key, map) in lists.into_iter().filter(|(_, map)| !map.is_empty()) {
        file.add(key, Yaml::Map(map));
    }
    file.add("servers", Yaml::List(servers));
    file
}

/// nginx's own defaults that are not ours, where they count: files have few types.
fn built_in(http: &[Directive]) -> Map {
    let servers = || http.iter().filter(|directive| directive.name.text == "server");
    let says = |name: &str| http.iter().any(|directive| directive.name.text == name);
    let has_files = servers().any(|server| !answers_all(server.children()));
    let texts = |block: &Directive| any_text(block.children());
    let mut defaults = Map::default();
    if has_files && !says("default_type") {
        defaults.add("default_type", Yaml::text("text/plain"));
    }
    if (has_files || servers().any(texts)) && !says("types") {
        let mut types = Map::default();
        for (name, end) in [("text/html", "html"), ("image/gif", "gif"), ("image/jpeg", "jpg")] {
            types.add(name, Yaml::texts([end]));
        }
        defaults.add("types", Yaml::Map(types));
    }
    defaults
}

/// Whether each path of a server, or of a location, has something else than files.
fn answers_all(block: &[Directive]) -> bool {
    let is = |directive: &Directive, names: &[&str]| names.contains(&directive.name.text.as_str());
    if block.iter().any(|directive| is(directive, &["return", "proxy_pass"])) {
        return block.iter().filter(|d| is(d, &["location"])).all(|l| answers_all(l.children()));
    }
    let mut locations = block.iter().filter(|directive| is(directive, &["location"]));
    let everything = |location: &Directive| {
        matches!(location.args.as_slice(), [.., path] if path.text == "/")
            && location.first() != Some("=")
    };
    locations.clone().any(everything) && locations.all(|location| answers_all(location.children()))
}

/// Whether somewhere in a block a text is answered.
fn any_text(block: &[Directive]) -> bool {
    block.iter().any(|directive| {
        directive.name.text == "return" && directive.arg(1).is_some()
            || any_text(directive.children())
    })
}

/// Which fields of requests count.
fn field_names(map: &mut Map, scope: &Scope<'_>, as_nginx: bool) {
    let given = scope.value("ignore_invalid_headers");
    let ignores = given.map_or(as_nginx, |word| word.eq_ignore_ascii_case("on"));
    if ignores || given.is_some() {
        map.add("ignore_invalid_headers", Yaml::on(ignores));
    }
    if scope.value("merge_slashes").is_some_and(|word| word.eq_ignore_ascii_case("off")) {
        map.add("merge_slashes", Yaml::on(false));
    }
    if scope.is_on("underscores_in_headers") {
        map.add("underscores_in_headers", Yaml::on(true));
    }
}

/// How much room heads have.
fn head_limits(map: &mut Map, scope: &Scope<'_>, as_nginx: bool) {
    let bytes = |text: &str| size(text).map(keys::bytes);
    let first = scope.value("client_header_buffer_size").and_then(bytes);
    let large = scope.find("large_client_header_buffers").and_then(|directive| {
        let (number, size) = (directive.first()?, bytes(directive.arg(1)?)?);
        Some(format!("{number} {size}"))
    });
    if as_nginx || first.is_some() || large.is_some() {
        map.add(
            "client_header_buffer_size",
            Yaml::text(first.unwrap_or_else(|| "1KiB".to_owned())),
        );
        let large = large.unwrap_or_else(|| "4 8KiB".to_owned());
        map.add("large_client_header_buffers", Yaml::text(large));
    }
    let fields = scope.value("max_headers").or(as_nginx.then_some("1000"));
    if let Some(fields) = fields {
        map.add("max_headers", Yaml::Plain(fields.to_owned()));
    }
    if let Some(time) = scope.time("client_header_timeout") {
        map.add("client_header_timeout", Yaml::text(time));
    }
}

/// What nginx does where a file says nothing.
fn unasked(defaults: &mut Map, scope: &Scope<'_>, prefix: &str) {
    if scope.find("server_tokens").is_none() {
        defaults.add("server_tokens", Yaml::text("on"));
    }
    if scope.find("keepalive_timeout").is_none() {
        defaults.add("keepalive_timeout", Yaml::text("75s"));
    }
    if scope.find("root").is_none() {
        defaults.add("root", Yaml::text(super::listeners::within(prefix, "html")));
    }
}

/// Whether anything goes to workers.
fn passes_on(block: &[Directive]) -> bool {
    block.iter().any(|directive| {
        matches!(&directive.name.text[..], "proxy_pass" | "grpc_pass")
            || passes_on(directive.children())
    })
}

fn server(
    server: &Directive,
    scope: &Scope<'_>,
    listeners: &mut Listeners,
    made: &mut Made<'_>,
    notes: &mut Notes,
) -> Yaml {
    let block = server.children();
    let scope = scope.with(block);
    let mut map = Map::default();
    let comment = vec![format!("from {}", made.tree.at(server.place))];
    let names: Vec<&str> = block
        .iter()
        .filter(|directive| directive.name.text == "server_name")
        .flat_map(|directive| directive.args.iter().map(|word| word.text.as_str()))
        .collect();
    let named = listeners.of_server(block, &scope, notes);
    map.add_with("listeners", Yaml::texts(named.clone()), comment);
    let names = if names.is_empty() { vec![""] } else { names };
    map.add("names", Yaml::texts(names));
    field_names(&mut map, &scope, made.as_nginx);
    head_limits(&mut map, &scope, made.as_nginx);
    let is_tls = listeners.has_tls(&named);
    if is_tls {
        let pairs = tls::certificates(&scope, made.conf, notes);
        if !pairs.is_empty() {
            map.add("certificates", Yaml::List(pairs));
        }
        let own = tls::own(&scope, made.conf, notes);
        if !own.is_empty() {
            map.add("tls", Yaml::Map(own));
        }
    }
    map.extend(keys::keys(block, Level::Server, made, notes));
    let steps = scripts::steps(block, Level::Server, &scope, made, notes);
    if !steps.is_empty() {
        map.add("rewrite", Yaml::List(steps));
    }
    let mut routes = routes::routes(block, &scope, made, notes);
    routes.extend(routes::of_server(block, &scope, made, notes));
    map.add("routes", Yaml::List(routes));
    Yaml::Map(map)
}

/// Of a `map`: what it goes by, its values, and its switches.
fn map(directive: &Directive) -> Yaml {
    let mut map = Map::default();
    map.add("of", Yaml::text(directive.first().unwrap_or_default()));
    let mut values = Map::default();
    let mut rest = Map::default();
    for line in directive.children() {
        let name = line.name.text.as_str();
        match (name, line.first()) {
            ("hostnames", None) => rest.add("hostnames", Yaml::on(true)),
            ("volatile", None) => rest.add("volatile", Yaml::on(true)),
            ("default", Some(value)) => rest.add("default", Yaml::text(value)),
            (_, Some(value)) => values.add(name, Yaml::text(value)),
            _ => {}
        }
    }
    map.add("values", Yaml::Map(values));
    map.extend(rest);
    Yaml::Map(map)
}

fn geo(directive: &Directive, of_address: bool) -> Yaml {
    let mut map = Map::default();
    if !of_address {
        map.add("of", Yaml::text(directive.first().unwrap_or_default()));
    }
    let (mut values, mut rest) = (Map::default(), Map::default());
    let (mut proxies, mut deleted) = (Vec::new(), Vec::new());
    for line in directive.children() {
        let name = line.name.text.as_str();
        match (name, line.first()) {
            ("ranges", None) => rest.add("ranges", Yaml::on(true)),
            ("proxy_recursive", None) => rest.add("proxy_recursive", Yaml::on(true)),
            ("proxy", Some(network)) => proxies.push(network),
            ("delete", Some(network)) => deleted.push(network),
            ("default", Some(value)) => rest.add("default", Yaml::text(value)),
            (_, Some(value)) => values.add(name, Yaml::text(value)),
            _ => {}
        }
    }
    map.add("values", Yaml::Map(values));
    map.extend(rest);
    for (key, list) in [("proxies", proxies), ("delete", deleted)] {
        if !list.is_empty() {
            map.add(key, Yaml::texts(list));
        }
    }
    Yaml::Map(map)
}

fn split(directive: &Directive) -> Yaml {
    let (mut map, mut values) = (Map::default(), Map::default());
    map.add("of", Yaml::text(directive.first().unwrap_or_default()));
    for line in directive.children() {
        values.add(line.name.text.as_str(), Yaml::text(line.first().unwrap_or_default()));
    }
    map.add("values", Yaml::Map(values));
    Yaml::Map(map)
}

fn log_format(directive: &Directive) -> Yaml {
    let words = directive.args.iter().skip(1).map(|word| word.text.as_str());
    let escape = directive.arg(1).and_then(|word| word.strip_prefix("escape="));
    let format: String = words.skip(usize::from(escape.is_some())).collect();
    match escape {
        None => Yaml::text(format),
        Some(escape) => {
            let mut map = Map::default();
            map.add("format", Yaml::text(format));
            map.add("escape", Yaml::text(escape));
            Yaml::Map(map)
        }
    }
}

/// What our listeners share: nginx's are those of each server, but nearly always said once.
fn timeouts(scope: &Scope<'_>) -> Map {
    let mut limits = Map::default();
    for (name, key) in [("client_body_timeout", "body_timeout")] {
        if let Some(time) = scope.time(name) {
            limits.add(key, Yaml::text(time));
        }
    }
    let mut file = Map::default();
    if !limits.is_empty() {
        file.add("limits", Yaml::Map(limits));
    }
    file
}
