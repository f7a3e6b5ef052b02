//! `maps`, `geos`, `split_clients`: variables that are made of others; and texts with variables,
//! wherever they stand.

use bytes::Bytes;
use serde_saphyr::Spanned;

use crate::config::diagnostic::Place;
use crate::config::schema::{File, Geo, Map, Named, SplitClients};
use crate::config::value::{Flaw, did_you_mean};
use crate::routing::pattern::Case;
use crate::variables::geo::{self, Places};
use crate::variables::map::{self, BadKey, Keys};
use crate::variables::matcher::Matcher;
use crate::variables::name::BUILTINS;
use crate::variables::registry::{Definition, Variable, Variables};
use crate::variables::split_clients;
use crate::variables::template::{BadTemplate, Template};

use super::cursor::At;
use super::{Checker, at, on};

/// A name that was used before anybody had defined it.
pub(super) struct Mention {
    name: Box<str>,
    path: String,
    place: Option<Place>,
}

impl Checker<'_> {
    /// Everything that defines variables at the top of the file.
    pub(super) fn defined_variables(&mut self, file: &File) {
        for (name, at) in entries("maps", file.maps.as_ref()) {
            let map = self.map(&at);
            self.define(&name, map.map(|map| Definition::Map(Box::new(map))));
        }
        for (name, at) in entries("geos", file.geos.as_ref()) {
            let geo = self.geo(&at);
            self.define(&name, geo.map(|geo| Definition::Geo(Box::new(geo))));
        }
        for (name, at) in entries("split_clients", file.split_clients.as_ref()) {
            let split = self.split_clients(&at);
            self.define(&name, split.map(|split| Definition::Split(Box::new(split))));
        }
    }

    /// All variables, when all of the file was read: a name that means nothing is a mistake.
    pub(super) fn finish_variables(&mut self) -> Variables {
        for Mention { name, path, place } in std::mem::take(&mut self.mentions) {
            if self.registry.knows(&name) {
                continue;
            }
            let known: Vec<&str> = BUILTINS.iter().map(|(name, _)| *name).collect();
            let help = format!(
                "{}define it under `maps`, `geos` or `split_clients`, or name one of nginx's",
                did_you_mean(&name, &known)
            );
            self.error(place, &path, Flaw::new(format!("unknown \"{name}\" variable"), help));
        }
        std::mem::take(&mut self.registry).finish()
    }

    /// Compiles a text with variables.
    pub(super) fn template(&mut self, at: &At<'_, String>) -> Option<Template> {
        let template = Template::compile(at.value, &mut self.registry);
        self.note_mentions(at);
        template.map_err(|bad| self.error_at(at, flaw_of(&bad))).ok()
    }

    /// Names that were just used: to be looked at again at the end.
    pub(super) fn note_mentions(&mut self, at: &At<'_, String>) {
        let At { path, place, .. } = at;
        let mentions = self.registry.take_mentions().into_iter();
        let mention = |name| Mention { name, path: path.clone(), place: *place };
        self.mentions.extend(mentions.map(mention));
    }

    fn define(&mut self, name: &At<'_, String>, definition: Option<Definition>) {
        let plain = name.value.strip_prefix('$').unwrap_or(name.value);
        let fits = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
        if plain.is_empty() || !plain.bytes().all(fits) {
            let flaw = Flaw::new(
                format!("invalid variable name \"{}\"", name.value),
                "write `$` and letters, digits and `_`",
            );
            return self.error_at(name, flaw);
        }
        // What could not be read still has its name.
        let definition = definition.unwrap_or(Definition::Captured);
        if let Err(duplicate) = self.registry.define(plain, definition) {
            let flaw = Flaw::new(duplicate.to_string(), "it is built in: choose another name");
            self.error_at(name, flaw);
        }
    }

    /// The text that decides.
    fn of<T>(&mut self, at: &At<'_, T>, given: &Option<Spanned<String>>) -> Option<Template> {
        let Some(of) = at.key("of", given) else {
            let flaw = Flaw::new("is missing", "add `of: $host`, or another text with variables");
            self.error(at.place, &at.path_of("of"), flaw);
            return None;
        };
        self.template(&of)
    }

    fn map(&mut self, at: &At<'_, Map>) -> Option<map::Map> {
        let given = at.value;
        let of = self.of(at, &given.of);
        let mut keys = Keys::new(on(&given.hostnames));
        for (key, value) in entries(&at.path_of("values"), given.values.as_ref()) {
            if let Some(value) = self.template(&value) {
                self.map_key(&mut keys, &key, value);
            }
        }
        let default = at.key("default", &given.default);
        let default = default.and_then(|default| self.template(&default));
        let map = map::Map::new(of?, keys, default.unwrap_or_else(|| Template::literal("")));
        Some(if on(&given.volatile) { map.volatile() } else { map })
    }

    fn map_key(&mut self, keys: &mut Keys, key: &At<'_, String>, value: Template) {
        let text = key.value.as_str();
        let (case, pattern) = match text.strip_prefix("~*") {
            Some(pattern) => (Case::Insensitive, Some(pattern)),
            None => (Case::Sensitive, text.strip_prefix('~')),
        };
        if let Some(pattern) = pattern {
            match Matcher::compile(pattern, case, &mut self.registry) {
                Ok(matcher) => keys.push(matcher, value),
                Err(bad) => self.error_at(key, Flaw::new(bad.to_string(), "")),
            }
            return;
        }
        if text == "default" {
            let help = "write `default:` beside `values`, or `\\default` for the text itself";
            return self.error_at(key, Flaw::new("is no value of the variable", help));
        }
        let bad = keys.insert(text.strip_prefix('\\').unwrap_or(text), value);
        if let Err(bad) = bad {
            let help = match bad {
                BadKey::Wildcard => "write `*.example.com`, `www.example.*` or `.example.com`",
                BadKey::Conflict => "another key says the same: leave one of the two out",
            };
            self.error_at(key, Flaw::new(format!("{bad} \"{text}\""), help));
        }
    }

    fn geo(&mut self, at: &At<'_, Geo>) -> Option<geo::Geo> {
        let given = at.value;
        let of = match at.key("of", &given.of) {
            None => None,
            Some(of) => Some(self.one_variable(&of)?),
        };
        let mut places = if on(&given.ranges) { Places::ranges() } else { Places::networks() };
        for (place, value) in entries(&at.path_of("values"), given.values.as_ref()) {
            match places.insert(place.value, Bytes::copy_from_slice(value.value.as_bytes())) {
                Ok(None) => {}
                Ok(Some(_)) => {
                    let message = format!("duplicate network \"{}\": the last counts", place.value);
                    self.warning_at(&place, Flaw::new(message, "leave one of the two out"));
                }
                Err(bad) => self.bad_place(&place, &bad),
            }
        }
        for place in at.key("delete", &given.delete).iter().flat_map(At::items) {
            match places.remove(place.value) {
                Ok(true) => {}
                Ok(false) => {
                    let message = format!("no network \"{}\" to delete", place.value);
                    self.warning_at(&place, Flaw::new(message, "leave it out"));
                }
                Err(bad) => self.bad_place(&place, &bad),
            }
        }
        let mut proxies = Vec::new();
        for proxy in at.key("proxies", &given.proxies).iter().flat_map(At::items) {
            match geo::network(proxy.value) {
                Ok(network) => proxies.push(network),
                Err(bad) => self.bad_place(&proxy, &bad),
            }
        }
        let default = given.default.as_ref().map_or("", |default| default.value.as_str());
        let default = Bytes::copy_from_slice(default.as_bytes());
        let proxy_recursive = on(&given.proxy_recursive);
        Some(geo::Geo { of, places, default, proxies, proxy_recursive })
    }

    fn bad_place(&mut self, at: &At<'_, String>, bad: &geo::BadPlace) {
        let help = match bad {
            geo::BadPlace::Network(_) => "write an address or a network, such as 10.0.0.0/8",
            geo::BadPlace::Range(_) => "write two IPv4 addresses, such as 10.0.0.0-10.0.0.255",
            geo::BadPlace::Overlaps(..) => "one range may lie in another, or beside it",
        };
        self.error_at(at, Flaw::new(bad.to_string(), help));
    }

    /// A text that is one variable and nothing else.
    fn one_variable(&mut self, at: &At<'_, String>) -> Option<Variable> {
        let name = at.value.strip_prefix('$').unwrap_or_default();
        let fits = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
        if name.is_empty() || !name.bytes().all(fits) {
            let message = format!("invalid variable name \"{}\"", at.value);
            self.error_at(at, Flaw::new(message, "name one variable, such as `$remote_addr`"));
            return None;
        }
        let variable = self.registry.variable(name);
        self.note_mentions(at);
        Some(variable)
    }

    fn split_clients(&mut self, at: &At<'_, SplitClients>) -> Option<split_clients::SplitClients> {
        let of = self.of(at, &at.value.of);
        let shares = entries(&at.path_of("values"), at.value.values.as_ref());
        let texts =
            shares.iter().map(|(share, value)| (share.value.as_str(), value.value.as_str()));
        let of = of.unwrap_or_else(|| Template::literal(""));
        match split_clients::SplitClients::new(of, texts) {
            Ok(split) => Some(split),
            Err((index, bad)) => {
                let help = "shares are like `0.5%`, together 100% at most; `*` is the rest";
                let (share, _) = &shares[index];
                self.error_at(share, Flaw::new(bad.to_string(), help));
                None
            }
        }
    }
}

/// What is wrong with a text with variables, and what to write.
pub(super) fn flaw_of(bad: &BadTemplate) -> Flaw {
    let help = match bad {
        BadTemplate::Name => {
            "a `$` begins a variable: for the character itself, define one by `geos`"
        }
        BadTemplate::Bracket(_) => "write `${name}`",
    };
    Flaw::new(bad.to_string(), help)
}

/// The entries of a mapping from the operator's names, in their order: names and values with places.
pub(super) fn entries<'a, T>(
    path: &str,
    named: Option<&'a Named<T>>,
) -> Vec<(At<'a, String>, At<'a, T>)> {
    let entry = |(name, value): &'a (Spanned<String>, Spanned<T>)| {
        let path = format!("{path}.{}", name.value);
        (
            At { value: &name.value, path: path.clone(), place: at(name) },
            At { value: &value.value, path, place: at(value) },
        )
    };
    named.into_iter().flat_map(|named| &named.0).map(entry).collect()
}
