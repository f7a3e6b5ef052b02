//! What keeps visitors out in nginx and is not taken yet: where it is in force, nobody is let in.

use super::listeners::within;
use super::notes::{Matter, Notes};
use super::scope::Scope;
use crate::config::write::{Map, Yaml};
use crate::import::tree::Directive;

const CLOSED: &str = "nothing like it is here yet, and without it everybody would get in: this is \
                      answered with 403 until you guard it by other means";

/// Directives that count where nothing nearer says otherwise; `off` takes them back.
const INHERITED: [&str; 2] = ["auth_jwt", "ssl_ocsp"];

/// Whether visitors are kept out of a place by what is not taken. It is said of the directive.
pub fn keeps_out(scope: &Scope<'_>, notes: &mut Notes) -> bool {
    let inherited = INHERITED.iter().filter_map(|name| scope.find(name));
    let inherited = inherited.filter(|directive| directive.first() != Some("off"));
    let mut found = false;
    for directive in inherited {
        notes.say(Matter::Left, directive, CLOSED);
        found = true;
    }
    found
}

/// `allow` and `deny`, in their order.
pub fn access(block: &[Directive]) -> Option<Yaml> {
    let rules = block.iter().filter(|directive| is_rule(directive));
    let rules =
        rules.map(|rule| format!("{} {}", rule.name.text, rule.first().unwrap_or_default()));
    let rules: Vec<String> = rules.collect();
    (!rules.is_empty()).then(|| Yaml::texts(rules))
}

fn is_rule(directive: &Directive) -> bool {
    matches!(directive.name.text.as_str(), "allow" | "deny")
}

/// Which variables an answer gives a value to; the last word about one counts.
pub fn auth_request_set(all: &[&Directive]) -> Yaml {
    let mut set: Vec<(&str, &str)> = Vec::new();
    for directive in all {
        let (name, value) = (directive.first().unwrap_or_default(), directive.arg(1));
        set.retain(|(other, _)| *other != name);
        set.push((name, value.unwrap_or_default()));
    }
    let mut map = Map::default();
    set.into_iter().for_each(|(name, value)| map.add(name, Yaml::text(value)));
    Yaml::Map(map)
}

/// `limit_except`, but for where its requests go.
pub fn limit_except(directive: &Directive, conf: &str) -> Map {
    let mut map = Map::default();
    map.add("methods", Yaml::texts(directive.args.iter().map(|word| word.text.as_str())));
    if let Some(rules) = access(directive.children()) {
        map.add("access", rules);
    }
    for inner in directive.children() {
        let value = inner.first().unwrap_or_default();
        match inner.name.text.as_str() {
            "auth_basic" => map.add("auth_basic", Yaml::text(value)),
            name @ "auth_basic_user_file" => map.add(name, Yaml::text(within(conf, value))),
            _ => {}
        }
    }
    map
}
