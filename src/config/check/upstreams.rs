//! `upstreams`: endpoints that can be reached by address, TLS that verifies a name.

use std::time::Duration;

use serde_saphyr::Spanned;

use crate::config::schema::{
    Endpoint, File, List, Route, ShortOr, Step, Upstream, UpstreamTimeouts,
};
use crate::config::value::address::{Place, endpoint};
use crate::config::value::name::{host, identifier};
use crate::config::value::unit::{Zero, duration};
use crate::config::value::{Flaw, Parsed, choice};
use crate::proxy::sticky::StickySettings;
use crate::routing::host::Host;
use crate::upstream::pace::Until;
use crate::upstream::queue::QueueSettings;
use crate::upstream::{
    Address, Balance, EndpointSettings, Limits, NameSettings, NextUpstream, Protocol, ResolvedBy,
    Timeouts, UpstreamSettings,
};
use crate::variables::template::Template;

use super::cursor::{At, routes, top};
use super::{Checker, at, items, on};

/// nginx's own limit is about this; larger ones are mistakes.
const WEIGHT_MAX: u32 = 65_535;

/// nginx's.
const QUEUE_TIMEOUT: Duration = Duration::from_secs(60);

/// Those that another endpoint may be asked for (nginx `proxy_next_upstream`).
const NEXT_STATUSES: [u16; 7] = [403, 404, 429, 500, 502, 503, 504];

/// Whether a route, or what counts in it at times, leads to an upstream; variables may name any.
fn leads_to(route: &Route, name: &str) -> bool {
    fn steps_lead_to(steps: &List<ShortOr<Step>>, name: &str) -> bool {
        items(steps).iter().any(|step| match &step.value {
            ShortOr::Short(_) => false,
            ShortOr::Long(step) => {
                step.with.as_ref().is_some_and(|with| leads_to(&with.value, name))
                    || steps_lead_to(&step.then, name)
            }
        })
    }
    let excepted = route.limit_except.as_ref().and_then(|limit| limit.value.with.as_ref());
    route.upstream.as_ref().is_some_and(|upstream| upstream.value == name)
        || route.proxy_pass.is_some()
        || excepted.is_some_and(|with| leads_to(&with.value, name))
        || steps_lead_to(&route.rewrite, name)
}

impl Checker<'_> {
    /// One for each in the file and in its order, so that indices hold.
    pub(super) fn upstreams(
        &mut self,
        file: &File,
    ) -> (Vec<UpstreamSettings>, Vec<Option<Template>>, Vec<Option<StickySettings>>) {
        let (mut upstreams, mut keys, mut sticky) = (Vec::new(), Vec::new(), Vec::new());
        for (name, given) in file.upstreams.iter().flat_map(|named| &named.0) {
            let path = format!("upstreams.{}", name.value);
            if let Err(flaw) = identifier(&name.value) {
                self.error(at(name), &path, flaw);
            }
            let used = routes(file).iter().any(|route| leads_to(route.at.value, &name.value));
            if !used {
                self.warning(
                    at(name),
                    &path,
                    Flaw::new("no route leads here", "use it, or leave it out"),
                );
            }
            let (balance, key) = self.balance(&given.value, &format!("{path}.balance"));
            upstreams.push(self.upstream(&name.value, given, balance, file, &path));
            keys.push(key);
            let given = At { value: &given.value, path, place: at(given) };
            let stays = given.key("sticky", &given.value.sticky);
            sticky.push(stays.and_then(|stays| self.sticky(&stays)));
        }
        (upstreams, keys, sticky)
    }

    fn upstream(
        &mut self,
        name: &str,
        given: &Spanned<Upstream>,
        balance: Balance,
        file: &File,
        path: &str,
    ) -> UpstreamSettings {
        let upstream = &given.value;
        let (endpoints, names) = self.endpoints(given, balance, path);
        let resolved_by = self.resolves_for(upstream, file, path);
        if resolved_by.is_none() && !names.is_empty() {
            let flaw = Flaw::new(
                "has names to resolve, and nobody who does",
                "add `resolver: [ADDRESS]` here or in `defaults`, or leave `resolve` out",
            );
            self.error(at(given), path, flaw);
        }
        let tls = upstream.tls.as_ref().map(|tls| self.upstream_tls(tls, &format!("{path}.tls")));
        let protocol = self.protocol(upstream, &format!("{path}.protocol"));
        let given = At { value: upstream, path: path.to_owned(), place: at(given) };
        let check = given.key("health_check", &upstream.health_check);
        let check = check.and_then(|check| self.health_check(&check, name, protocol));
        UpstreamSettings {
            name: name.to_owned(),
            host: self.known_as(upstream, &format!("{path}.host")),
            balance,
            queue: self.optional(&upstream.queue, &format!("{path}.queue"), queue),
            protocol,
            endpoints,
            names,
            resolved_by,
            check,
            timeouts: self
                .upstream_timeouts(upstream.timeouts.as_ref(), &format!("{path}.timeouts")),
            next: self.next_upstream(upstream, path),
            tls: tls.flatten(),
        }
    }

    fn known_as(&mut self, upstream: &Upstream, path: &str) -> Option<String> {
        let given = upstream.host.as_ref()?;
        if Host::parse(given.value.as_bytes()).is_ok() {
            return Some(given.value.clone());
        }
        self.error(at(given), path, Flaw::new("is no host", "write app.internal, or app:8080"));
        None
    }

    /// How it balances, and by which key where that is a hash: `hash $request_uri consistent`.
    fn balance(&mut self, upstream: &Upstream, path: &str) -> (Balance, Option<Template>) {
        let by_time =
            |until, with_those_under_way| Balance::LeastTime { until, with_those_under_way };
        let balances: [(&str, Balance); 11] = [
            ("round_robin", Balance::RoundRobin),
            ("session", Balance::Session),
            ("least_conn", Balance::LeastConn),
            ("ip_hash", Balance::IpHash),
            ("random", Balance::Random { two: false }),
            ("random two", Balance::Random { two: true }),
            ("random two least_conn", Balance::Random { two: true }),
            ("least_time header", by_time(Until::Head, false)),
            ("least_time last_byte", by_time(Until::LastByte, false)),
            ("least_time header inflight", by_time(Until::Head, true)),
            ("least_time last_byte inflight", by_time(Until::LastByte, true)),
        ];
        if let Some(given) = &upstream.balance
            && let Some(hash) = given.value.strip_prefix("hash ")
        {
            let (key, consistent) = match hash.trim().strip_suffix(" consistent") {
                Some(key) => (key.trim().to_owned(), true),
                None => (hash.trim().to_owned(), false),
            };
            let at = At { value: &key, path: path.to_owned(), place: at(given) };
            return (Balance::Hash { consistent }, self.template(&at));
        }
        let balance = self.or(&upstream.balance, path, Balance::RoundRobin, |text| {
            choice(text, "way to balance", &balances)
        });
        (balance, None)
    }

    /// `next_upstream` and what limits it.
    fn next_upstream(&mut self, upstream: &Upstream, path: &str) -> NextUpstream {
        let mut next = NextUpstream::default();
        if let Some(given) = &upstream.next_upstream {
            (next.error, next.timeout) = (false, false);
            for word in &given.value.0 {
                match word.as_str() {
                    "error" => next.error = true,
                    "timeout" => next.timeout = true,
                    "invalid_header" => next.invalid_header = true,
                    "non_idempotent" => next.non_idempotent = true,
                    "off" if given.value.0.len() == 1 => {}
                    word => match word.strip_prefix("http_").and_then(|text| text.parse().ok()) {
                        Some(status) if NEXT_STATUSES.contains(&status) => {
                            next.statuses.push(status);
                        }
                        _ => {
                            let flaw = Flaw::new(
                                format!("`{word}` is no condition"),
                                "write error, timeout, invalid_header, http_403, http_404, http_429, \
                                 http_500, http_502, http_503, http_504, non_idempotent, or off alone",
                            );
                            self.error(at(given), &format!("{path}.next_upstream"), flaw);
                        }
                    },
                }
            }
        }
        next.tries = upstream.next_upstream_tries.as_ref().map_or(0, |tries| tries.value);
        let path = format!("{path}.next_upstream_timeout");
        next.timeout_after =
            self.or(&upstream.next_upstream_timeout, &path, Duration::ZERO, |text| {
                duration(text, Zero::Allowed)
            });
        next
    }

    fn protocol(&mut self, upstream: &Upstream, path: &str) -> Protocol {
        const PROTOCOLS: [(&str, Protocol); 2] =
            [("http/1.1", Protocol::Http1), ("h2", Protocol::Http2)];
        self.or(&upstream.protocol, path, Protocol::Http1, |text| {
            choice(text, "protocol that is spoken with workers", &PROTOCOLS)
        })
    }

    /// Who looks its names up.
    fn resolves_for(&mut self, upstream: &Upstream, file: &File, path: &str) -> Option<ResolvedBy> {
        let given = At { value: upstream, path: path.to_owned(), place: None };
        let timeout = given.key("resolver_timeout", &upstream.resolver_timeout);
        match given.key("resolver", &upstream.resolver) {
            Some(resolver) => self.resolver(&resolver, timeout.as_ref()),
            None => {
                let found = self.resolved_by(&top(file))?;
                let timeout = self.read(timeout.as_ref(), |text| duration(text, Zero::Refused));
                Some(ResolvedBy { timeout: timeout.unwrap_or(found.timeout), ..found })
            }
        }
    }

    /// Those that have addresses, and the names whose addresses are found while the process runs.
    fn endpoints(
        &mut self,
        given: &Spanned<Upstream>,
        balance: Balance,
        path: &str,
    ) -> (Vec<EndpointSettings>, Vec<NameSettings>) {
        let list = &given.value.endpoints;
        let path = format!("{path}.endpoints");
        if items(list).is_empty() {
            let place = list.as_ref().map_or_else(|| at(given), at);
            let flaw = Flaw::new("there is none", "add `endpoints: [{ address: 127.0.0.1:7001 }]`");
            self.error(place, &path, flaw);
        }
        let (mut endpoints, mut names) = (Vec::<EndpointSettings>::new(), Vec::new());
        for (index, given) in items(list).iter().enumerate() {
            let path = format!("{path}[{index}]");
            let (weight, limits) = (
                self.weight(&given.value, &format!("{path}.weight")),
                self.fail_limits(&given.value, &path),
            );
            let slow_start = self.slow_start(&given.value, balance, &path);
            let Endpoint { address, max_conns, backup, down, .. } = &given.value;
            let of = |address: Address| EndpointSettings {
                server: given
                    .value
                    .address
                    .as_ref()
                    .map_or_else(String::new, |it| it.value.clone()),
                address,
                name: None,
                weight,
                limits,
                slow_start,
                max_conns: max_conns.as_ref().map_or(0, |max| max.value as usize),
                is_backup: on(backup),
                is_down: on(down),
                is_draining: on(&given.value.drain),
                route: given.value.route.as_ref().map(|route| route.value.clone()),
            };
            if let Some(Resolve { host, port, service }) = self.looked_up_later(&given.value, &path)
            {
                let nowhere = Address::Inet(([0, 0, 0, 0], 0).into());
                let endpoint = EndpointSettings { name: Some(names.len()), ..of(nowhere) };
                names.push(NameSettings { host, port, service, endpoint });
                continue;
            }
            for found in self.addresses(given, &format!("{path}.address")) {
                if endpoints.iter().any(|endpoint| endpoint.address == found) {
                    let place = address.as_ref().and_then(at);
                    let flaw = Flaw::new(
                        "is listed twice",
                        "to send more requests there, give it a `weight`",
                    );
                    self.warning(place, &format!("{path}.address"), flaw);
                }
                endpoints.push(of(found));
            }
        }
        (endpoints, names)
    }

    /// What is to be looked up while the process runs; nothing where that is not asked for, or where
    /// there is nothing to look up.
    fn looked_up_later(&mut self, given: &Endpoint, path: &str) -> Option<Resolve> {
        let Endpoint { address, resolve, service, .. } = given;
        let path_of = |key: &str| format!("{path}.{key}");
        if let Some(service) = service.as_ref().filter(|_| !on(resolve)) {
            let flaw =
                Flaw::new("needs `resolve: true`", "add it: services are only looked up then");
            self.error(at(service), &path_of("service"), flaw);
        }
        let address = address.as_ref().filter(|_| on(resolve))?;
        if let Some(service) = service {
            let host = host(&address.value).map_err(|_| {
                Flaw::new(
                    format!("`{}` is no name alone", address.value),
                    "the service says which port: write the name without one",
                )
            });
            let host =
                host.map_err(|flaw| self.error(at(address), &path_of("address"), flaw)).ok()?;
            let is_good = |byte: u8| byte.is_ascii_alphanumeric() || b"._-".contains(&byte);
            if service.value.is_empty() || !service.value.bytes().all(is_good) {
                let flaw = Flaw::new(
                    format!("`{}` is no service", service.value),
                    "write `http` for `_http._tcp`, or all that comes before the name",
                );
                self.error(at(service), &path_of("service"), flaw);
            }
            return Some(Resolve { host, port: 0, service: Some(service.value.clone()) });
        }
        match endpoint(&address.value) {
            Ok(Place::Named(host, port)) => Some(Resolve { host, port, service: None }),
            // What it is, or why it is nothing, is found out as without `resolve`.
            Ok(Place::Inet(_) | Place::Unix(_)) | Err(_) => None,
        }
    }

    /// The addresses of an endpoint: a name stands for all of its own, as in nginx.
    fn addresses(&mut self, given: &Spanned<Endpoint>, path: &str) -> Vec<Address> {
        let text = &given.value.address;
        let Some(place) = self.required(text, at(given), path, "127.0.0.1:7001", endpoint) else {
            return Vec::new();
        };
        let flaw = match place {
            Place::Inet(address) => return vec![Address::Inet(address)],
            Place::Unix(socket) => return vec![Address::Unix(socket)],
            Place::Named(name, port) => {
                const HELP: &str = "names are looked up once, when the file is read: check the name, or write the address";
                match self.environment.system.resolve(&name, port) {
                    Ok(found) if !found.is_empty() => {
                        return found.into_iter().map(Address::Inet).collect();
                    }
                    Ok(_) => Flaw::new(format!("`{name}` has no address"), HELP),
                    Err(error) => Flaw::new(format!("`{name}` cannot be resolved: {error}"), HELP),
                }
            }
        };
        self.error(text.as_ref().and_then(at), path, flaw);
        Vec::new()
    }

    fn fail_limits(&mut self, endpoint: &Endpoint, path: &str) -> Limits {
        let default = Limits::default();
        let path = format!("{path}.fail_timeout");
        let fail_timeout = self.or(&endpoint.fail_timeout, &path, default.fail_timeout, |text| {
            duration(text, Zero::Allowed)
        });
        let max_fails = endpoint.max_fails.as_ref().map_or(default.max_fails, |max| max.value);
        Limits { max_fails, fail_timeout }
    }

    fn slow_start(&mut self, endpoint: &Endpoint, balance: Balance, path: &str) -> Duration {
        let path = format!("{path}.slow_start");
        let by_weight = match balance {
            Balance::RoundRobin
            | Balance::Session
            | Balance::LeastConn
            | Balance::LeastTime { .. } => true,
            Balance::IpHash | Balance::Hash { .. } | Balance::Random { .. } => false,
        };
        if let Some(given) = endpoint.slow_start.as_ref().filter(|_| !by_weight) {
            let flaw = Flaw::new(
                "goes with round_robin, least_conn, least_time and session only",
                "leave it out: what a hash places elsewhere would be lost",
            );
            self.error(at(given), &path, flaw);
        }
        self.or(&endpoint.slow_start, &path, Duration::ZERO, |text| duration(text, Zero::Allowed))
    }

    fn weight(&mut self, endpoint: &Endpoint, path: &str) -> u32 {
        let weight = self.positive(
            &endpoint.weight,
            path,
            1,
            "to take an endpoint out, leave it out of the list",
        );
        if weight > WEIGHT_MAX {
            let flaw = Flaw::new(
                format!("must be at most {WEIGHT_MAX}"),
                "weights are shares: 1 and 2 do what 1000 and 2000 do",
            );
            self.error(endpoint.weight.as_ref().and_then(at), path, flaw);
        }
        weight
    }

    fn upstream_timeouts(&mut self, given: Option<&UpstreamTimeouts>, path: &str) -> Timeouts {
        let default = Timeouts::default();
        let Some(given) = given else { return default };
        let mut read =
            |text, key: &str, default| self.duration(text, &format!("{path}.{key}"), default);
        Timeouts {
            connect: read(&given.connect, "connect", default.connect),
            read: read(&given.read, "read", default.read),
            write: read(&given.write, "write", default.write),
            keepalive: read(&given.keepalive, "keepalive", default.keepalive),
            keepalive_time: read(&given.keepalive_time, "keepalive_time", default.keepalive_time),
            keepalive_requests: self.positive(
                &given.keepalive_requests,
                &format!("{path}.keepalive_requests"),
                default.keepalive_requests,
                "for a connection of its own per request write 1",
            ),
        }
    }
}

/// What is to be looked up while the process runs.
struct Resolve {
    host: String,
    port: u16,
    service: Option<String>,
}
/// `100`, or `100 timeout=60s`.
fn queue(text: &str) -> Parsed<QueueSettings> {
    const HELP: &str = "write how many requests may wait, and for how long: `100 timeout=60s`";
    let flaw = || Flaw::new(format!("`{text}` is no queue"), HELP);
    let mut words = text.split_ascii_whitespace();
    let requests_max = words.next().and_then(|word| word.parse().ok()).filter(|max| *max > 0);
    let requests_max = requests_max.ok_or_else(flaw)?;
    let timeout = match words.next() {
        None => QUEUE_TIMEOUT,
        Some(word) => duration(word.strip_prefix("timeout=").ok_or_else(flaw)?, Zero::Refused)?,
    };
    match words.next() {
        None => Ok(QueueSettings { requests_max, timeout }),
        Some(_) => Err(flaw()),
    }
}
