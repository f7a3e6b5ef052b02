//! What is said in answers and changed in those of workers: `add_header`, `proxy_redirect`, cookies.

use super::notes::{Matter, Notes};
use crate::config::write::{Map, Yaml};
use crate::import::tree::Directive;

/// Directives whose every line counts, with our keys.
const KEYS: [(&str, &str); 9] = [
    ("add_header", "response_headers"),
    ("add_trailer", "response_trailers"),
    ("proxy_hide_header", "hide_headers"),
    ("proxy_pass_header", "pass_headers"),
    ("proxy_ignore_headers", "ignore_headers"),
    ("proxy_redirect", "proxy_redirect"),
    ("proxy_cookie_domain", "cookie_domain"),
    ("proxy_cookie_path", "cookie_path"),
    ("proxy_cookie_flags", "cookie_flags"),
];

/// Fields that the engine writes by itself.
const BY_ITSELF: [&str; 6] =
    ["content-length", "transfer-encoding", "connection", "keep-alive", "upgrade", "date"];

/// Our key for a directive, where it is one of these.
pub fn key(name: &str) -> Option<&'static str> {
    KEYS.iter().find(|(known, _)| *known == name).map(|(_, key)| *key)
}

/// What stands under the key of these lines.
pub fn value(name: &str, all: &[&Directive], notes: &mut Notes) -> Yaml {
    match name {
        "add_header" | "add_trailer" => added(all, notes),
        "proxy_hide_header" | "proxy_pass_header" | "proxy_ignore_headers" => {
            Yaml::texts(all.iter().flat_map(|directive| words(directive)))
        }
        _ if all.iter().all(|directive| directive.first() == Some("off")) => Yaml::text("off"),
        "proxy_cookie_flags" => {
            let mut rules = Map::default();
            for directive in all.iter().filter(|directive| directive.first() != Some("off")) {
                let flags = Yaml::texts(words(directive).skip(1));
                rules.add(directive.first().unwrap_or_default(), flags);
            }
            Yaml::Map(rules)
        }
        _ => {
            let mut rules = Map::default();
            for directive in all.iter().filter(|directive| directive.first() != Some("off")) {
                let to = Yaml::text(directive.arg(1).unwrap_or_default());
                rules.add(directive.first().unwrap_or_default(), to);
            }
            Yaml::Map(rules)
        }
    }
}

fn words(directive: &Directive) -> impl Iterator<Item = &str> {
    directive.args.iter().map(|word| word.text.as_str())
}

/// Fields by their names, each with all of its values.
fn added(all: &[&Directive], notes: &mut Notes) -> Yaml {
    let mut fields: Vec<(&str, Vec<Yaml>)> = Vec::new();
    for directive in all {
        let name = directive.first().unwrap_or_default();
        if BY_ITSELF.iter().any(|known| known.eq_ignore_ascii_case(name)) {
            let text = "it is written by itself, as the message needs it";
            notes.say(Matter::Left, directive, text);
            continue;
        }
        let text = Yaml::text(directive.arg(1).unwrap_or_default());
        let value = match directive.arg(2) {
            Some("always") => {
                let mut long = Map::default();
                long.add("value", text);
                long.add("always", Yaml::on(true));
                Yaml::Map(long)
            }
            _ => text,
        };
        match fields.iter_mut().find(|(other, _)| other.eq_ignore_ascii_case(name)) {
            Some((_, values)) => values.push(value),
            None => fields.push((name, vec![value])),
        }
    }
    let mut map = Map::default();
    for (name, mut values) in fields {
        match values.pop() {
            Some(only) if values.is_empty() => map.add(name, only),
            last => map.add(name, Yaml::List(values.into_iter().chain(last).collect())),
        }
    }
    Yaml::Map(map)
}
