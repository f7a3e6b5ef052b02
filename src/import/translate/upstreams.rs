//! Upstreams: nginx's blocks, and what `proxy_pass` names without one.

use std::collections::BTreeMap;

use super::notes::Notes;
use super::scope::{Scope, time};
use super::tls;
use super::unknown;
use crate::config::write::{Map, Yaml};
use crate::import::tree::Directive;
use crate::import::value::upstream::Server;

/// The upstreams of a translation. Where two locations ask for other deadlines or another protocol, one
/// block becomes two.
#[derive(Default)]
pub struct Upstreams {
    blocks: BTreeMap<String, Map>,
    /// How blocks keep connections, which stands beside the deadlines of locations.
    kept: BTreeMap<String, Map>,
    /// In the order in which they are needed.
    needed: Vec<(Need, String)>,
}

/// What a location needs of an upstream.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Need {
    host: String,
    is_http2: bool,
    /// How TLS is spoken to the endpoints.
    tls: Option<Map>,
    /// To connect, to read, to write.
    timeouts: [Option<String>; 3],
    /// What sends requests on to another endpoint.
    next: Vec<String>,
    /// How often, and how long.
    tries: [Option<String>; 2],
}

/// What `proxy_pass` says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Passed<'a> {
    pub is_tls: bool,
    /// `grpc_pass` says it.
    pub is_grpc: bool,
    /// A name with or without a port, or a socket.
    pub host: &'a str,
    /// What replaces the location's prefix.
    pub uri: Option<&'a str>,
}

/// Reads what `proxy_pass` says; nothing where variables say it.
pub fn passed(text: &str) -> Option<Passed<'_>> {
    let (scheme, rest) = text.split_once("://")?;
    let is_tls = match scheme.to_ascii_lowercase().as_str() {
        "http" => false,
        "https" => true,
        _ => return None,
    };
    let end = match rest.strip_prefix("unix:") {
        Some(socket) => socket.find(':').map_or(rest.len(), |end| end + 5),
        None => rest.find(['/', '?']).unwrap_or(rest.len()),
    };
    let (host, uri) = rest.split_at_checked(end)?;
    let uri = uri.strip_prefix(':').unwrap_or(uri);
    if host.contains('$') {
        return None;
    }
    Some(Passed { is_tls, is_grpc: false, host, uri: (!uri.is_empty()).then_some(uri) })
}

/// Reads what `grpc_pass` says; nothing where variables say it.
pub fn passed_by_grpc(text: &str) -> Option<Passed<'_>> {
    let (is_tls, host) = match text.split_once("://") {
        Some((scheme, host)) => (scheme.eq_ignore_ascii_case("grpcs"), host),
        None => (false, text),
    };
    (!host.contains('$')).then_some(Passed { is_tls, is_grpc: true, host, uri: None })
}

impl Upstreams {
    /// Reads an `upstream` block.
    pub fn block(&mut self, block: &Directive, notes: &mut Notes) {
        let mut upstream = Map::default();
        let (mut endpoints, mut kept) = (Vec::new(), Map::default());
        for directive in block.children() {
            match directive.name.text.as_str() {
                "server" => endpoints.extend(endpoint(directive)),
                "least_conn" | "least_time" | "ip_hash" | "hash" | "random" => {
                    let words = directive.args.iter().map(|word| word.text.as_str());
                    let words = std::iter::once(directive.name.text.as_str()).chain(words);
                    upstream.add("balance", Yaml::text(words.collect::<Vec<_>>().join(" ")));
                }
                "keepalive_timeout" | "keepalive_time" => {
                    let key = directive.name.text.replace("keepalive_timeout", "keepalive");
                    let time = directive.first().and_then(time);
                    time.into_iter().for_each(|it| kept.add(key.as_str(), Yaml::text(it)));
                }
                "keepalive_requests" => {
                    let number = directive.first().unwrap_or_default();
                    kept.add("keepalive_requests", Yaml::Plain(number.to_owned()));
                }
                "sticky" if directive.args.len() > 1 => upstream.add("sticky", sticky(directive)),
                "queue" => {
                    let words = directive.args.iter().map(|word| timed(&word.text, &["timeout"]));
                    upstream.add("queue", Yaml::text(words.collect::<Vec<_>>().join(" ")));
                }
                "resolver" => upstream.add("resolver", resolver(directive)),
                "resolver_timeout" => {
                    let time = directive.first().and_then(time);
                    time.into_iter()
                        .for_each(|it| upstream.add("resolver_timeout", Yaml::text(it)));
                }
                _ => unknown(directive, notes),
            }
        }
        upstream.add("endpoints", Yaml::List(endpoints));
        self.kept.insert(block.first().unwrap_or_default().to_owned(), kept);
        self.blocks.insert(block.first().unwrap_or_default().to_owned(), upstream);
    }

    /// The name of the upstream that a location needs.
    pub fn need(
        &mut self,
        passed: &Passed<'_>,
        scope: &Scope<'_>,
        conf: &str,
        notes: &mut Notes,
    ) -> String {
        let module = if passed.is_grpc { "grpc" } else { "proxy" };
        let named = |name: &str| format!("{module}_{name}");
        let tls = passed.is_tls.then(|| tls::to_workers(module, passed.host, scope, conf, notes));
        let timeouts = ["connect_timeout", "read_timeout", "send_timeout"];
        let timeouts = timeouts.map(|name| scope.time(&named(name)));
        let next = scope.find(&named("next_upstream")).map_or(Vec::new(), |directive| {
            directive.args.iter().map(|word| word.text.clone()).collect()
        });
        let tries = [
            scope.value(&named("next_upstream_tries")).map(str::to_owned),
            scope.time(&named("next_upstream_timeout")),
        ];
        let is_http2 = passed.is_grpc || scope.value("proxy_http_version") == Some("2");
        let host = passed.host.to_owned();
        let need = Need { host, is_http2, tls, timeouts, next, tries };
        if let Some((_, name)) = self.needed.iter().find(|(other, _)| *other == need) {
            return name.clone();
        }
        let base = match self.blocks.contains_key(passed.host) {
            true => passed.host.to_owned(),
            false => passed.host.replace(|byte: char| !byte.is_ascii_alphanumeric(), "_"),
        };
        let mut name = base.clone();
        let mut number = 1;
        while self.needed.iter().any(|(_, other)| *other == name) {
            number += 1;
            name = format!("{base}_{number}");
        }
        self.needed.push((need, name.clone()));
        name
    }

    /// Every block, where variables may name any.
    pub fn need_all(&mut self, scope: &Scope<'_>, conf: &str, notes: &mut Notes) {
        let names: Vec<String> = self.blocks.keys().cloned().collect();
        for host in names {
            if !self.needed.iter().any(|(need, name)| need.host == host && *name == host) {
                let passed = Passed { is_tls: false, is_grpc: false, host: &host, uri: None };
                self.need(&passed, scope, conf, notes);
            }
        }
    }

    /// All that are needed.
    pub fn write(self) -> Map {
        let mut upstreams = Map::default();
        for (Need { host, is_http2, tls, timeouts, next, tries }, name) in self.needed {
            let mut upstream = match self.blocks.get(&host) {
                Some(block) => block.clone(),
                None => alone(&host, if tls.is_some() { 443 } else { 80 }),
            };
            if is_http2 {
                upstream.add("protocol", Yaml::text("h2"));
            }
            let mut given = Map::default();
            for (key, value) in ["connect", "read", "write"].into_iter().zip(timeouts) {
                value.into_iter().for_each(|value| given.add(key, Yaml::text(value)));
            }
            if let Some(kept) = self.kept.get(&host) {
                given.extend(kept.clone());
            }
            if !next.is_empty() {
                upstream.add("next_upstream", Yaml::texts(next.iter().map(String::as_str)));
            }
            for (key, value) in
                ["next_upstream_tries", "next_upstream_timeout"].into_iter().zip(tries)
            {
                value.into_iter().for_each(|value| upstream.add(key, Yaml::Plain(value)));
            }
            if !given.is_empty() {
                upstream.add("timeouts", Yaml::Map(given));
            }
            let has_tls = tls.is_some();
            if let Some(tls) = tls {
                upstream.add("tls", Yaml::Map(tls));
            }
            let known_as = known_as(&host, if has_tls { 443 } else { 80 });
            if known_as != name {
                upstream.add("host", Yaml::text(known_as));
            }
            upstreams.add(name, Yaml::Map(upstream));
        }
        upstreams
    }
}

/// An upstream of one endpoint, which `proxy_pass` names itself.
fn alone(host: &str, port: u16) -> Map {
    let (mut upstream, mut endpoint) = (Map::default(), Map::default());
    endpoint.add("address", Yaml::text(with_port(host, port)));
    upstream.add("endpoints", Yaml::List(vec![Yaml::Map(endpoint)]));
    upstream
}

fn endpoint(directive: &Directive) -> Option<Yaml> {
    // The reader has judged it.
    let server = Server::read(directive).ok()?;
    let mut endpoint = Map::default();
    match &server.service {
        Some(service) => {
            endpoint.add("address", Yaml::text(server.name.as_str()));
            endpoint.add("service", Yaml::text(service.as_str()));
        }
        None => endpoint.add("address", Yaml::text(with_port(&server.name, 80))),
    }
    if let Some(route) = &server.route {
        endpoint.add("route", Yaml::text(route.as_str()));
    }
    if server.resolve {
        endpoint.add("resolve", Yaml::on(true));
    }
    if server.weight != 1 {
        endpoint.add("weight", Yaml::number(server.weight));
    }
    if server.max_fails != 1 {
        endpoint.add("max_fails", Yaml::number(server.max_fails));
    }
    if server.fail_timeout_secs != 10 {
        endpoint.add("fail_timeout", Yaml::text(format!("{}s", server.fail_timeout_secs)));
    }
    if server.slow_start_secs != 0 {
        endpoint.add("slow_start", Yaml::text(format!("{}s", server.slow_start_secs)));
    }
    if server.max_conns != 0 {
        endpoint.add("max_conns", Yaml::number(server.max_conns));
    }
    for (key, _) in [("backup", server.backup), ("down", server.down), ("drain", server.drain)]
        .iter()
        .filter(|(_, is)| *is)
    {
        endpoint.add(*key, Yaml::on(true));
    }
    Some(Yaml::Map(endpoint))
}

/// What clients stay with their endpoint by: nginx's words, with units of time.
fn sticky(directive: &Directive) -> Yaml {
    let words = directive.args.iter().map(|word| timed(&word.text, &["expires", "timeout"]));
    Yaml::text(words.collect::<Vec<_>>().join(" "))
}

/// A word whose value is a time, with its unit.
fn timed(word: &str, keys: &[&str]) -> String {
    match word.split_once('=') {
        Some((key, value)) if keys.contains(&key) => {
            time(value).map_or_else(|| word.to_owned(), |it| format!("{key}={it}"))
        }
        _ => word.to_owned(),
    }
}

/// Who is asked for names: nginx's words, with units of time.
pub fn resolver(directive: &Directive) -> Yaml {
    let words = directive.args.iter().map(|word| match word.text.strip_prefix("valid=") {
        Some(valid) => time(valid).map_or_else(|| word.text.clone(), |it| format!("valid={it}")),
        None => word.text.clone(),
    });
    let words: Vec<String> = words.collect();
    Yaml::texts(words.iter().map(String::as_str))
}

/// The address with its port.
fn with_port(host: &str, port: u16) -> String {
    let has_port = match host.rsplit_once(':') {
        _ if host.starts_with("unix:") => true,
        Some((before, after)) => {
            after.bytes().all(|byte| byte.is_ascii_digit())
                && (before.ends_with(']') || !before.contains(':'))
        }
        None => false,
    };
    if has_port { host.to_owned() } else { format!("{host}:{port}") }
}

/// What `$proxy_host` says: the port of the scheme is left out.
fn known_as(host: &str, port: u16) -> String {
    match host.strip_suffix(&format!(":{port}")) {
        _ if host.starts_with("unix:") => "localhost".to_owned(),
        Some(name) if !name.contains(':') || name.ends_with(']') => name.to_owned(),
        _ => host.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_proxy_pass_says() {
        let plain = |host, uri| Some(Passed { is_tls: false, is_grpc: false, host, uri });
        assert_eq!(passed("http://app"), plain("app", None));
        assert_eq!(passed("HTTP://app/"), plain("app", Some("/")));
        assert_eq!(passed("http://a:1/x?y"), plain("a:1", Some("/x?y")));
        assert_eq!(passed("http://[::1]:8080/"), plain("[::1]:8080", Some("/")));
        assert_eq!(passed("http://unix:/run/a.sock"), plain("unix:/run/a.sock", None));
        assert_eq!(passed("http://unix:/run/a.sock:/x/"), plain("unix:/run/a.sock", Some("/x/")));
        let tls = Passed { is_tls: true, is_grpc: false, host: "a", uri: Some("?x") };
        assert_eq!(passed("https://a?x"), Some(tls));
        for text in ["http://$app", "http://a$b/", "$url", "ftp://a", "app"] {
            assert_eq!(passed(text), None, "{text}");
        }
        let grpc = |is_tls, host| Some(Passed { is_tls, is_grpc: true, host, uri: None });
        assert_eq!(passed_by_grpc("grpc://a:1"), grpc(false, "a:1"));
        assert_eq!(passed_by_grpc("GRPCS://a"), grpc(true, "a"));
        assert_eq!(passed_by_grpc("a:50051"), grpc(false, "a:50051"));
        assert_eq!(passed_by_grpc("unix:/run/a.sock"), grpc(false, "unix:/run/a.sock"));
        assert_eq!(passed_by_grpc("$a"), None);
        let variable = passed("http://a/$b");
        assert_eq!(variable, plain("a", Some("/$b")));
    }

    #[test]
    fn addresses_get_their_port() {
        for (host, expected) in [
            ("a", "a:80"),
            ("a:1", "a:1"),
            ("127.0.0.1", "127.0.0.1:80"),
            ("[::1]", "[::1]:80"),
            ("[::1]:2", "[::1]:2"),
            ("unix:/a", "unix:/a"),
        ] {
            assert_eq!(with_port(host, 80), expected);
        }
    }
}
