//! `limit_req` and `limit_conn`, and their zones.

use super::keys::bytes;
use crate::config::write::{Map, Yaml};
use crate::import::tree::Directive;
use crate::import::value::number::size;

/// `limit_req_zone` and `limit_conn_zone`.
pub fn zones(http: &[Directive]) -> Map {
    let mut zones = Map::default();
    for directive in http {
        if !matches!(directive.name.text.as_str(), "limit_req_zone" | "limit_conn_zone") {
            continue;
        }
        let mut zone = Map::default();
        zone.add("key", Yaml::text(directive.first().unwrap_or_default()));
        let mut name = None;
        for word in directive.args.iter().skip(1) {
            match word.text.split_once('=') {
                Some(("zone", value)) => {
                    let (own, bytes_max) = value.split_once(':').unwrap_or((value, ""));
                    name = Some(own.to_owned());
                    if let Some(bytes_max) = size(bytes_max) {
                        zone.add("size", Yaml::text(bytes(bytes_max)));
                    }
                }
                Some(("rate", rate)) => zone.add("rate", Yaml::text(rate)),
                _ => {}
            }
        }
        // nginx's default.
        let has_rate = directive.args.iter().any(|word| word.text.starts_with("rate="));
        if directive.name.text == "limit_req_zone" && !has_rate {
            zone.add("rate", Yaml::text("1r/s"));
        }
        zones.add(name.unwrap_or_default(), Yaml::Map(zone));
    }
    zones
}

/// Of all `limit_req` of a block, or all `limit_conn`, what they limit.
pub fn limits(all: &[&Directive]) -> Yaml {
    Yaml::List(all.iter().map(|directive| limit(directive)).collect())
}

fn limit(directive: &Directive) -> Yaml {
    let mut limit = Map::default();
    if directive.name.text == "limit_conn" {
        limit.add("zone", Yaml::text(directive.first().unwrap_or_default()));
        limit.add("connections", Yaml::Plain(directive.arg(1).unwrap_or_default().to_owned()));
        return Yaml::Map(limit);
    }
    for word in &directive.args {
        match word.text.split_once('=') {
            Some(("zone", name)) => limit.add("zone", Yaml::text(name)),
            Some((key @ ("burst" | "delay"), number)) => {
                limit.add(key, Yaml::Plain(number.to_owned()));
            }
            _ if word.text == "nodelay" => limit.add("nodelay", Yaml::on(true)),
            _ => {}
        }
    }
    Yaml::Map(limit)
}
