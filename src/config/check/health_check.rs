//! `upstreams.*.health_check`.

use std::ops::RangeInclusive;
use std::time::Duration;

use super::Checker;
use super::cursor::At;
use crate::config::schema::HealthCheck;
use crate::config::value::unit::{Zero, duration};
use crate::config::value::{Flaw, Parsed, choice};
use crate::routing::host::Host;
use crate::upstream::Protocol;
use crate::upstream::check::{CheckSettings, HttpProbe, Probe};

#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Tcp,
    Http,
    Grpc,
}

const KINDS: [(&str, Kind); 3] = [("http", Kind::Http), ("tcp", Kind::Tcp), ("grpc", Kind::Grpc)];

/// What a service of gRPC may be called: the length fits one byte.
const SERVICE_BYTES_MAX: usize = 127;

impl Checker<'_> {
    pub(super) fn health_check(
        &mut self,
        check: &At<'_, HealthCheck>,
        upstream: &str,
        protocol: Protocol,
    ) -> Option<CheckSettings> {
        let given = check.value;
        let path = |key: &str| check.path_of(key);
        let kind = self.or(&given.kind, &path("type"), Kind::Http, |text| {
            choice(text, "type of check", &KINDS)
        });
        self.only_for(check, kind);
        if kind == Kind::Grpc && protocol != Protocol::Http2 {
            let flaw = Flaw::new(
                "asks over gRPC, which needs HTTP/2",
                "add `protocol: h2` to the upstream",
            );
            self.error_at(check, flaw);
        }
        let probe = match kind {
            Kind::Tcp => Probe::Tcp,
            Kind::Grpc => Probe::Grpc { service: self.service(check) },
            Kind::Http => Probe::Http(self.http_probe(check, upstream)),
        };
        const INITIAL: [(&str, bool); 2] = [("healthy", true), ("unhealthy", false)];
        let starts_healthy =
            self.or(&given.initial, &path("initial"), true, |text| choice(text, "state", &INITIAL));
        if given.port.as_ref().is_some_and(|port| port.value == 0) {
            self.error_at(
                check,
                Flaw::new("has port 0", "leave `port` out to ask on the endpoint's own"),
            );
        }
        let why = "one answer in a row is the least that can change a state";
        Some(CheckSettings {
            probe,
            interval: self.duration(&given.interval, &path("interval"), Duration::from_secs(5)),
            jitter: self.or(&given.jitter, &path("jitter"), Duration::ZERO, |text| {
                duration(text, Zero::Allowed)
            }),
            timeout: self.duration(&given.timeout, &path("timeout"), Duration::from_secs(5)),
            rise: self.positive(&given.rise, &path("rise"), 1, why),
            fall: self.positive(&given.fall, &path("fall"), 1, why),
            port: given.port.as_ref().map(|port| port.value),
            starts_healthy,
        })
    }

    fn http_probe(&mut self, check: &At<'_, HealthCheck>, upstream: &str) -> HttpProbe {
        let given = check.value;
        let target = |text: &str| -> Parsed<String> {
            let is_good = text.starts_with('/')
                && text.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'#');
            match is_good {
                true => Ok(text.to_owned()),
                false => Err(Flaw::new(
                    format!("`{text}` cannot be asked for"),
                    "write /healthz, and escape blanks",
                )),
            }
        };
        let host = |text: &str| match Host::parse(text.as_bytes()) {
            Ok(_) => Ok(text.to_owned()),
            Err(_) => {
                Err(Flaw::new(format!("`{text}` is no host"), "write app.internal, or app:8080"))
            }
        };
        let statuses = check.key("status", &given.status);
        let statuses = statuses
            .map(|at| (at.value.0.iter().map(|text| range(text)).collect::<Parsed<_>>(), at));
        let statuses = match statuses {
            None => vec![200..=399],
            Some((read, at)) => read.unwrap_or_else(|flaw| {
                self.error_at(&at, flaw);
                Vec::new()
            }),
        };
        HttpProbe {
            path: self.or(&given.path, &check.path_of("path"), "/".to_owned(), target),
            host: self.or(&given.host, &check.path_of("host"), upstream.to_owned(), host),
            statuses,
            body: given.body.as_ref().map(|text| text.value.clone()),
        }
    }

    fn service(&mut self, check: &At<'_, HealthCheck>) -> String {
        let fits = |text: &str| match text.len() <= SERVICE_BYTES_MAX {
            true => Ok(text.to_owned()),
            false => Err(Flaw::new(
                "is too long for the name of a service",
                "write it as the .proto file has it",
            )),
        };
        self.or(&check.value.service, &check.path_of("service"), String::new(), fits)
    }

    /// Keys that mean nothing to a type of check.
    fn only_for(&mut self, check: &At<'_, HealthCheck>, kind: Kind) {
        let given = check.value;
        for (key, is_given, of) in [
            ("path", given.path.is_some(), Kind::Http),
            ("host", given.host.is_some(), Kind::Http),
            ("status", given.status.is_some(), Kind::Http),
            ("body", given.body.is_some(), Kind::Http),
            ("service", given.service.is_some(), Kind::Grpc),
        ] {
            if is_given && of != kind {
                let name =
                    KINDS.iter().find(|(_, known)| *known == of).map_or("", |(name, _)| name);
                let flaw = Flaw::new(
                    format!("has `{key}`, which belongs to `type: {name}`"),
                    "leave it out",
                );
                self.error_at(check, flaw);
            }
        }
    }
}

/// `200`, or `200-299`.
fn range(text: &str) -> Parsed<RangeInclusive<u16>> {
    let (first, last) = text.split_once('-').unwrap_or((text, text));
    let status = |text: &str| text.parse().ok().filter(|status| (100..=599).contains(status));
    match (status(first), status(last)) {
        (Some(first), Some(last)) if first <= last => Ok(first..=last),
        _ => Err(Flaw::new(format!("`{text}` is no status"), "write 200, or 200-399")),
    }
}
