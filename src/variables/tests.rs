//! Values of one request: lazily, once, late.

use std::cell::Cell;
use std::net::IpAddr;

use bytes::Bytes;

use super::Facts;
use super::evaluation::Evaluation;
use super::geo::{Geo, Places};
use super::map::{BadKey, Keys, Map};
use super::matcher::Matcher;
use super::name::{Builtin, Family};
use super::registry::{Definition, Registry, Variable};
use super::split_clients::SplitClients;
use super::template::Template;
use super::values::{Value, Values};
use crate::routing::pattern::Case;

/// A request with a host, a path that may change, and a few fields.
struct Request {
    host: &'static str,
    uri: Cell<&'static str>,
    forwarded: &'static str,
    client: Option<IpAddr>,
    asked: Cell<u32>,
}

impl Default for Request {
    fn default() -> Self {
        let client = Some([192, 0, 2, 1].into());
        let (uri, asked) = (Cell::new("/"), Cell::new(0));
        Self { host: "example.com", uri, forwarded: "", client, asked }
    }
}

impl Facts for Request {
    fn builtin(&self, name: Builtin, out: &mut Vec<u8>) -> bool {
        self.asked.set(self.asked.get() + 1);
        match name {
            Builtin::Host => out.extend_from_slice(self.host.as_bytes()),
            Builtin::Uri => out.extend_from_slice(self.uri.get().as_bytes()),
            _ => return false,
        }
        true
    }

    fn member(&self, family: Family, name: &[u8], out: &mut Vec<u8>) -> bool {
        if family == Family::Http && name == b"x_forwarded_for" && !self.forwarded.is_empty() {
            out.extend_from_slice(self.forwarded.as_bytes());
            return true;
        }
        false
    }

    fn client(&self) -> Option<IpAddr> {
        self.client
    }
}

/// What `texts` are for a request, one after the other, in a configuration of `build`'s.
fn values(request: &Request, build: impl FnOnce(&mut Registry), texts: &[&str]) -> Vec<String> {
    let mut registry = Registry::default();
    build(&mut registry);
    let compile = |text: &&str| Template::compile(text, &mut registry).expect("a template");
    let templates: Vec<Template> = texts.iter().map(compile).collect();
    let variables = registry.finish();
    let mut values = Values::default();
    let mut evaluation = Evaluation { variables: &variables, facts: request, values: &mut values };
    let text = |template: &Template| {
        String::from_utf8_lossy(&template.value(&mut evaluation)).into_owned()
    };
    templates.iter().map(text).collect()
}

fn define(registry: &mut Registry, name: &str, definition: Definition) {
    registry.define(name, definition).expect("a free name");
}

/// A map of `of` with keys as nginx's files spell them.
fn map(
    registry: &mut Registry,
    of: &str,
    hostnames: bool,
    entries: &[(&str, &str)],
    default: &str,
) -> Map {
    let mut keys = Keys::new(hostnames);
    for (key, value) in entries {
        let value = Template::compile(value, registry).expect("a template");
        let (case, pattern) = match key.strip_prefix("~*") {
            Some(pattern) => (Case::Insensitive, Some(pattern)),
            None => (Case::Sensitive, key.strip_prefix('~')),
        };
        match pattern {
            Some(pattern) => {
                keys.push(Matcher::compile(pattern, case, registry).expect("a pattern"), value);
            }
            None => keys.insert(key, value).expect("a key"),
        }
    }
    let of = Template::compile(of, registry).expect("a template");
    Map::new(of, keys, Template::compile(default, registry).expect("a template"))
}

#[track_caller]
fn check_map(of: &'static str, hostnames: bool, entries: &[(&str, &str)], expected: &str) {
    let request = Request { host: of, ..Request::default() };
    let build = |registry: &mut Registry| {
        let map = map(registry, "$host", hostnames, entries, "none");
        define(registry, "m", Definition::Map(Box::new(map)));
    };
    assert_eq!(values(&request, build, &["$m"]), [expected], "{of}");
}

#[test]
fn exact_texts_come_before_wildcards_and_those_before_patterns() {
    let entries = &[
        ("~^a\\.ex", "pattern"),
        ("*.example.com", "wide"),
        ("*.shop.example.com", "narrow"),
        (".example.org", "both"),
        ("www.*", "trailing"),
        ("www.example.*", "longer"),
        ("A.Example.com", "exact"),
        ("", "empty"),
        ("~late", "first"),
        ("~latest", "second"),
        ("~*UPPER", "caseless"),
    ];
    for (of, expected) in [
        ("a.example.com", "exact"),
        ("A.EXAMPLE.COM.", "exact"),
        ("b.example.com", "wide"),
        ("x.shop.example.com", "narrow"),
        ("example.org", "both"),
        ("x.example.org", "both"),
        ("www.example.net", "longer"),
        ("www.else.net", "trailing"),
        ("a.ex", "pattern"),
        ("latest", "first"),
        ("xupperx", "caseless"),
        ("LATE", "none"),
        ("", "empty"),
        ("example.com", "none"),
    ] {
        check_map(of, true, entries, expected);
    }
    check_map("b.example.com", false, &[("*.example.com", "wide")], "none");
    check_map("*.example.com", false, &[("*.example.com", "text")], "text");
    check_map("a.", false, &[("a", "x")], "none");
}

#[test]
fn keys_that_cannot_be_are_refused() {
    let insert = |keys: &mut Keys, key| keys.insert(key, Template::literal("x"));
    let mut names = Keys::new(true);
    for key in ["a*", "*.a.*", "a..b", "*a.com"] {
        assert_eq!(insert(&mut names, key), Err(BadKey::Wildcard), "{key}");
    }
    assert_eq!(insert(&mut names, ".a.com"), Ok(()));
    assert_eq!(insert(&mut names, "A.com"), Err(BadKey::Conflict));
    assert_eq!(insert(&mut names, "*.a.com"), Err(BadKey::Conflict));
    let mut texts = Keys::new(false);
    assert_eq!(insert(&mut texts, "a*"), Ok(()));
    assert_eq!(insert(&mut texts, "A*"), Err(BadKey::Conflict));
}

#[test]
fn values_of_a_map_are_made_late_and_may_use_its_groups() {
    let request = Request::default();
    let build = |registry: &mut Registry| {
        let entries = &[("~^(?<head>[a-z]+)\\.(com)$", "$head-$2-$later")];
        let first = map(registry, "$host", false, entries, "");
        define(registry, "first", Definition::Map(Box::new(first)));
        let later = map(registry, "$uri", false, &[("/", "root")], "");
        define(registry, "later", Definition::Map(Box::new(later)));
    };
    let expected = ["example-com-root", "example", "com"];
    assert_eq!(values(&request, build, &["$first", "$head", "$2"]), expected);
}

#[test]
fn a_map_is_computed_once_unless_it_is_volatile() {
    let mut registry = Registry::default();
    let kept = map(&mut registry, "$uri", false, &[("/", "root"), ("/b", "b")], "");
    let volatile = kept.clone().volatile();
    define(&mut registry, "kept", Definition::Map(Box::new(kept)));
    define(&mut registry, "volatile", Definition::Map(Box::new(volatile)));
    let template = Template::compile("$kept $volatile", &mut registry).expect("a template");
    let variables = registry.finish();
    let (request, mut values) = (Request::default(), Values::default());
    let mut value = |request: &Request| {
        let mut evaluation =
            Evaluation { variables: &variables, facts: request, values: &mut values };
        String::from_utf8_lossy(&template.value(&mut evaluation)).into_owned()
    };
    assert_eq!(value(&request), "root root");
    request.uri.set("/b");
    assert_eq!(value(&request), "root b");
    assert_eq!(request.asked.get(), 3, "one look at the path for the one that is kept");
}

#[test]
fn what_is_set_counts_until_the_end_of_the_request() {
    let mut registry = Registry::default();
    let computed = map(&mut registry, "$host", false, &[], "computed");
    define(&mut registry, "m", Definition::Map(Box::new(computed)));
    let text = "[$m][$http_x_forwarded_for][$mine][$unset]";
    let template = Template::compile(text, &mut registry).expect("a template");
    let slots = ["m", "http_x_forwarded_for", "mine"].map(|name| match registry.variable(name) {
        Variable::Slot(slot) => slot,
        Variable::Builtin(builtin) => panic!("{builtin:?}"),
    });
    let variables = registry.finish();
    let request = Request { forwarded: "192.0.2.9", ..Request::default() };
    let mut values = Values::default();
    let value = |values: &mut Values| {
        let mut evaluation = Evaluation { variables: &variables, facts: &request, values };
        String::from_utf8_lossy(&template.value(&mut evaluation)).into_owned()
    };
    assert_eq!(value(&mut values), "[computed][192.0.2.9][][]");
    for slot in slots {
        values.set(slot, Value::Found(Bytes::from_static(b"set")));
    }
    assert_eq!(value(&mut values), "[set][set][set][]");
}

#[test]
fn a_circle_of_maps_ends() {
    let build = |registry: &mut Registry| {
        for (name, other) in [("a", "$b"), ("b", "$a")] {
            let map = map(registry, other, false, &[("", "end")], "x");
            define(registry, name, Definition::Map(Box::new(map)));
        }
    };
    let found = values(&Request::default(), build, &["$a"]);
    assert!(found == ["x"] || found == ["end"], "{found:?}");
}

#[test]
fn what_has_no_value_is_told_from_what_is_empty() {
    let mut registry = Registry::default();
    registry.assign("assigned").expect("a free name");
    define(&mut registry, "captured", Definition::Captured);
    let names = ["assigned", "captured", "http_x", "upstream_cache_status", "host", "unknown"];
    let variables: Vec<Variable> = names.iter().map(|name| registry.variable(name)).collect();
    let definitions = registry.finish();
    let (request, mut values) = (Request::default(), Values::default());
    let mut evaluation =
        Evaluation { variables: &definitions, facts: &request, values: &mut values };
    let found: Vec<bool> =
        variables.iter().map(|variable| evaluation.append(*variable, &mut Vec::new())).collect();
    assert_eq!(found, [true, false, false, false, true, false]);
}

#[test]
fn groups_are_those_of_the_last_match() {
    let mut registry = Registry::default();
    let mut compile = |text| Matcher::compile(text, Case::Sensitive, &mut registry);
    let groups = compile("^/(a)?(b)").expect("a pattern");
    let none = compile("^/").expect("a pattern");
    let mut values = Values::default();
    assert!(groups.run(b"/b", &mut values));
    assert_eq!((values.capture(1), values.capture(2)), (&b""[..], &b"b"[..]));
    assert!(!groups.run(b"/c", &mut values));
    assert_eq!(values.capture(2), b"b", "what does not match changes nothing");
    assert!(none.run(b"/b", &mut values));
    assert_eq!(values.capture(2), b"");
    assert_eq!(values.capture(0), b"");
}

fn geo(of: Option<Variable>, places: Places) -> Geo {
    let proxies = vec!["192.0.2.0/24".parse().expect("a network")];
    Geo { of, places, default: "far".into(), proxies, proxy_recursive: false }
}

#[track_caller]
fn check_geo(request: &Request, change: impl FnOnce(&mut Geo), expected: &str) {
    let mut places = Places::networks();
    for (network, value) in [
        ("198.51.100.0/24", "near"),
        ("192.0.2.0/24", "proxy"),
        ("255.255.255.255", "none"),
        ("2001:db8::/32", "six"),
    ] {
        places.insert(network, value.into()).expect("a network");
    }
    let mut geo = geo(None, places);
    change(&mut geo);
    let build = |registry: &mut Registry| define(registry, "g", Definition::Geo(Box::new(geo)));
    assert_eq!(values(request, build, &["$g"]), [expected]);
}

#[test]
fn an_address_is_the_clients_or_what_a_proxy_says() {
    let from = |forwarded| Request { forwarded, ..Request::default() };
    check_geo(&from(""), |_| {}, "proxy");
    check_geo(&from("198.51.100.1"), |_| {}, "near");
    check_geo(&from("203.0.113.1, 198.51.100.1:80"), |_| {}, "near");
    check_geo(&from("[2001:db8::1]:80 ,"), |_| {}, "six");
    check_geo(&from("198.51.100.1, 192.0.2.7"), |_| {}, "proxy");
    let recursive = |geo: &mut Geo| geo.proxy_recursive = true;
    check_geo(&from("198.51.100.1, 192.0.2.7"), recursive, "near");
    check_geo(&from("x, 192.0.2.7"), recursive, "proxy");
    check_geo(&from("198.51.100.1"), |geo| geo.proxies.clear(), "proxy");
    check_geo(&Request { client: None, ..Request::default() }, |_| {}, "none");
    check_geo(&Request { client: Some([8, 8, 8, 8].into()), ..Request::default() }, |_| {}, "far");
    let of_host = |geo: &mut Geo| geo.of = Some(Variable::Builtin(Builtin::Host));
    check_geo(&from(""), of_host, "none");
    let host = Request { host: "198.51.100.3", ..Request::default() };
    check_geo(&host, of_host, "near");
}

#[test]
fn clients_are_split_by_a_text() {
    let split = |of: &'static str| {
        let request = Request { host: of, ..Request::default() };
        let build = |registry: &mut Registry| {
            let of = Template::compile("$host", registry).expect("a template");
            let split = SplitClients::new(of, [("20%", "a"), ("30%", "b")]).expect("shares");
            define(registry, "s", Definition::Split(Box::new(split)));
        };
        values(&request, build, &["$s"]).remove(0)
    };
    // Their hashes are 0, 0x92685f5e and 0x13577c9b.
    assert_eq!([split(""), split("a"), split("abc")], ["a", "", "a"]);
}
