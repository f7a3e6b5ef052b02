//! Shape to meaning. Every mistake is collected; none ends the walk.
//!
//! A value that is wrong is replaced by a default, so that the rest can be looked at; the result
//! is thrown away if there was any error.

mod access_logs;
mod acme;
mod answers;
mod binding;
mod cache;
mod certificate;
mod compression;
mod cookies;
mod cursor;
mod delivery;
mod error_logs;
mod error_pages;
mod files;
mod general;
mod guards;
mod head_limits;
mod health_check;
mod identity;
mod keepalive;
mod limits;
mod listeners;
mod logins;
mod modes;
mod names;
mod order;
mod origins;
mod outage;
mod own_sessions;
mod remember;
mod request_bodies;
mod request_headers;
mod returns;
mod rewriting;
mod routes;
mod server_tls;
mod servers;
mod sessions;
mod sockets;
mod sticky;
mod store;
#[cfg(test)]
mod store_tests;
mod stream;
mod subjects;
mod upstream_tls;
mod upstreams;
mod variables;
mod worker_answers;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde_saphyr::Spanned;

use crate::access::real_ip::RealIp;
use crate::acme::OrderSettings;
use crate::proxy::guards::limits::ZoneSettings;
use crate::telemetry::log_format::LogFormat;
use crate::telemetry::log_writer::SinkSettings;
use crate::upstream::UpstreamSettings;
use crate::upstream::names::ResolverSettings;
use crate::variables::registry::Registry;

use super::Config;
use super::diagnostic::{Diagnostic, Place, Severity};
use super::environment::Environment;
use super::schema::{File, Given, List, Text};
use super::shape::place;
use super::value::unit::{Zero, duration};
use super::value::{Flaw, Parsed};

/// Checks a whole file. The configuration is only good if no finding is an error.
///
/// `base` is the directory that relative paths count from.
pub fn check(file: &File, base: &Path, environment: &Environment) -> (Config, Vec<Diagnostic>) {
    let mut checker = Checker {
        environment,
        base,
        found: Vec::new(),
        registry: Registry::default(),
        mentions: Vec::new(),
        formats: Vec::new(),
        sinks: Vec::new(),
        limit_zones: Vec::new(),
        names_of_server: Vec::new(),
        real_ip_of_server: None,
        direct: 0,
        uses_direct: false,
        resolvers: Vec::new(),
        has_plain_listener: false,
        orders: Vec::new(),
    };
    let config = checker.config(file);
    (config, checker.found)
}

/// Collects findings.
struct Checker<'a> {
    environment: &'a Environment,
    base: &'a Path,
    found: Vec<Diagnostic>,
    registry: Registry,
    /// Names that nobody had defined where they were used.
    mentions: Vec<variables::Mention>,
    /// The formats of logs, by name.
    formats: Vec<(String, Arc<LogFormat>)>,
    /// Where logs go, each once.
    sinks: Vec<SinkSettings>,
    limit_zones: Vec<ZoneSettings>,
    /// Of the server that is looked at.
    names_of_server: Vec<String>,
    real_ip_of_server: Option<Arc<RealIp>>,
    /// The upstream that addresses count as which texts with variables name.
    direct: usize,
    uses_direct: bool,
    /// Who is asked for names, each once.
    resolvers: Vec<ResolverSettings>,
    /// Some listener speaks plain HTTP.
    has_plain_listener: bool,
    /// Certificates to order, each once.
    orders: Vec<OrderSettings>,
}

impl Checker<'_> {
    fn config(&mut self, file: &File) -> Config {
        let insecure_cookies = self.insecure_cookies(file);
        self.has_plain_listener =
            items(&file.listeners).iter().any(|listener| listener.value.tls.is_none());
        let state_directory = self.state_directory(file);
        let (mut upstreams, mut hash_keys, mut sticky) = self.upstreams(file);
        self.direct = upstreams.len();
        let sessions = self.sessions(file, insecure_cookies);
        self.defined_variables(file);
        self.log_formats(file);
        self.limit_zones(file);
        let servers = self.servers(file, &sessions, insecure_cookies);
        if self.uses_direct {
            upstreams.push(UpstreamSettings::direct());
            hash_keys.push(None);
            sticky.push(None);
        }
        let listeners = self.listeners(file, &servers, &state_directory);
        let trusted_proxies = self.trusted_proxies(file);
        self.unreachable_tickets(file, &listeners);
        self.certificates_asked_for(file, &listeners);
        let store = self.store(file, &state_directory);
        let config = Config {
            workers: self.workers(file),
            watch_certificates: file.watch_certificates.as_ref().is_none_or(|it| it.value),
            limits: self.limits(file),
            cache: self.cache(file, &store),
            store,
            keyring: self.keyring(file, &state_directory),
            cookies: self.cookies(file, insecure_cookies),
            admin: self.admin(file, &listeners),
            log: self.log(file),
            drain_timeout: self.drain_timeout(file),
            pid: self.pid(file),
            variables: self.finish_variables(),
            limit_zones: std::mem::take(&mut self.limit_zones),
            resolvers: std::mem::take(&mut self.resolvers),
            log_sinks: std::mem::take(&mut self.sinks),
            orders: std::mem::take(&mut self.orders),
            notices: Vec::new(),
            warnings: super::diagnostic::Diagnostics::default(),
            source: super::SourceText::default(),
            listeners,
            state_directory,
            sessions,
            upstreams,
            hash_keys,
            sticky,
            servers,
            trusted_proxies,
            insecure_cookies,
        };
        self.nothing_to_serve(file, &config);
        config
    }

    fn report(&mut self, severity: Severity, at: Option<Place>, path: &str, flaw: Flaw) {
        let Flaw { message, help } = flaw;
        let found = Diagnostic { severity, place: at, path: path.to_owned(), message, help };
        // What is inherited is looked at from each route, and told once.
        if !self.found.contains(&found) {
            self.found.push(found);
        }
    }

    fn error(&mut self, at: Option<Place>, path: &str, flaw: Flaw) {
        self.report(Severity::Error, at, path, flaw);
    }

    fn warning(&mut self, at: Option<Place>, path: &str, flaw: Flaw) {
        self.report(Severity::Warning, at, path, flaw);
    }

    /// Reads a text if it is given; `None` where it is not, or is wrong.
    fn optional<T>(
        &mut self,
        given: &Text,
        path: &str,
        parse: impl FnOnce(&str) -> Parsed<T>,
    ) -> Option<T> {
        let text = given.as_ref()?;
        parse(&text.value).map_err(|flaw| self.error(at(text), path, flaw)).ok()
    }

    /// Reads a text that has a default.
    fn or<T>(
        &mut self,
        given: &Text,
        path: &str,
        default: T,
        parse: impl FnOnce(&str) -> Parsed<T>,
    ) -> T {
        self.optional(given, path, parse).unwrap_or(default)
    }

    /// Reads a text that there must be; `parent` is the place of the mapping that lacks it.
    fn required<T>(
        &mut self,
        given: &Text,
        parent: Option<Place>,
        path: &str,
        example: &str,
        parse: impl FnOnce(&str) -> Parsed<T>,
    ) -> Option<T> {
        if given.is_none() {
            let key = path.rsplit('.').next().unwrap_or(path);
            self.error(parent, path, Flaw::new("is missing", format!("add `{key}: {example}`")));
        }
        self.optional(given, path, parse)
    }

    /// Reads a duration that must be longer than nothing.
    fn duration(
        &mut self,
        given: &Text,
        path: &str,
        default: std::time::Duration,
    ) -> std::time::Duration {
        self.or(given, path, default, |text| duration(text, Zero::Refused))
    }

    /// Reads a number that must be at least 1.
    fn positive<N: Copy + Default + PartialEq>(
        &mut self,
        given: &Given<N>,
        path: &str,
        default: N,
        why: &str,
    ) -> N {
        let Some(number) = given else { return default };
        if number.value == N::default() {
            self.error(at(number), path, Flaw::new("must be at least 1", why));
        }
        number.value
    }

    /// A path on this machine; relative ones count from the file's own directory.
    fn path(&self, text: &str) -> PathBuf {
        self.base.join(text)
    }
}

/// The place of a value.
fn at<T>(value: &Spanned<T>) -> Option<Place> {
    place(value.referenced)
}

/// The items of a list, none where it is missing.
fn items<T>(list: &List<T>) -> &[Spanned<T>] {
    list.as_ref().map_or(&[], |list| &list.value)
}

/// Whether a switch is on; off where it is missing.
fn on(given: &Given<bool>) -> bool {
    given.as_ref().is_some_and(|switch| switch.value)
}
