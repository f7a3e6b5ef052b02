//! A configuration made to work: all that a reload replaces. What did not change goes over from the one
//! before.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::BuildError;
use crate::acme::Orders;
use crate::config::Config;
use crate::crypto::ring_source::RingSource;
use crate::listen::{self, Inherited, Listener, Opened, Outside};
use crate::proxy::guards::limits::Zone;
use crate::proxy::mass_logout::Guards;
use crate::proxy::settings::{Route, Server};
use crate::proxy::shared::{Lasting, ServerFacts, Shared, Upstream};
use crate::proxy::sticky::Sticky;
use crate::routing::host::Host;
use crate::routing::table::{RouteEntry, ServerEntry, Table};
use crate::store::throttle::Throttle;
use crate::telemetry::active::ActiveSessions;
use crate::telemetry::log_writer::{LogWriter, SinkSettings};
use crate::upstream::group::Group;
use crate::upstream::names::{Resolver, ResolverSettings};
use crate::upstream::way::Ways;

/// A configuration made to work.
pub(super) struct Generation {
    pub shared: Arc<Shared>,
    pub ways: Arc<Ways>,
    pub listeners: Vec<Listener>,
    pub limits: listen::Limits,
    pub orders: Orders,
    sinks: Vec<SinkSettings>,
}

impl Generation {
    /// Makes one, in place of the one `before`. Nothing of that changes meanwhile.
    ///
    /// # Errors
    /// Everything that keeps it from working: a port that is taken, a certificate that can't be read.
    pub fn make(
        config: &Config,
        lasting: &Arc<Lasting>,
        before: Option<&Self>,
        inherited: &mut Inherited,
    ) -> Result<Self, BuildError> {
        let mut servers: Vec<_> = config.servers.iter().map(server_facts).collect();
        note_head_limits(&mut servers);
        let table = Arc::new(table(&config.servers, &servers)?);
        let known = before.map(|before| &*before.shared);
        let resolvers = resolvers(config, lasting, known);
        let same = |index: usize| same_upstream(config, &resolvers, known?, index);
        let ways = match before {
            Some(before) => before.ways.succeeding(&config.upstreams, same),
            None => Ways::new(&config.upstreams),
        };
        let ways = Arc::new(ways.map_err(BuildError::one)?);
        let known_upstream = |index| known?.upstreams.get(same(index)?);
        let upstreams = 0..config.upstreams.len();
        let upstreams =
            upstreams.map(|index| upstream(config, lasting, index, known_upstream(index)));
        let upstreams = upstreams.collect();
        let log_writer = match before.filter(|before| before.sinks == config.log_sinks) {
            Some(before) => before.shared.log_writer.clone(),
            None => {
                let opened = LogWriter::open(config.log_sinks.clone());
                Arc::new(opened.map_err(BuildError::one)?)
            }
        };
        let orders = Orders::new(&config.orders, &lasting.desk, before.map(|it| &it.orders));
        let orders = orders.map_err(BuildError::one)?;
        let outside = Outside {
            choose: choose_server(&table),
            secrets: ticket_secrets(&lasting.ring),
            ordered: Arc::new(orders.book(&lasting.desk)),
        };
        // Last, since sockets are bound here: whatever fails leaves none behind.
        let Opened { listeners, warnings } = open(config, &outside, before, inherited, lasting)?;
        warnings.iter().for_each(|warning| tracing::warn!("{warning}"));
        let zones = known.map(|known| &known.limit_zones[..]).unwrap_or_default();
        let guards = known.map(|known| known.guards.clone()).unwrap_or_default();
        let tickets = config.sessions.iter().filter(|policy| policy.has_tickets());
        let shared = Shared {
            lasting: lasting.clone(),
            listeners: listeners.iter().map(Listener::number).collect(),
            table,
            upstreams,
            resolvers,
            tickets: tickets.map(|policy| policy.cookie.name.clone()).collect(),
            cookies: config.cookies.clone(),
            trusted: config.trusted_proxies.clone(),
            insecure_cookies: config.insecure_cookies,
            limit_zones: config.limit_zones.iter().map(|zone| Zone::new(zone, zones)).collect(),
            guards: Guards::new(&config.sessions, &guards, &lasting.metrics),
            active: active_sessions(config, known),
            access_log: config.log.access,
            log_writer,
            variables: config.variables.clone(),
            policies: config.sessions.clone(),
            field_names_vary: field_names_vary(&servers),
            servers,
        };
        let (limits, sinks) = (config.limits, config.log_sinks.clone());
        Ok(Self { shared: Arc::new(shared), ways, listeners, limits, orders, sinks })
    }
}

/// What counts sessions in use, where somebody may ask. Those that are known go on.
fn active_sessions(config: &Config, known: Option<&Shared>) -> Vec<Arc<ActiveSessions>> {
    let policies = config.sessions.iter().filter(|policy| policy.has_tickets());
    let asked = policies.filter(|_| config.admin.is_some());
    let of_policy = |name: &str| {
        let mut known = known.iter().flat_map(|known| &known.active);
        let known = known.find(|known| known.policy() == name).cloned();
        known.unwrap_or_else(|| Arc::new(ActiveSessions::new(name)))
    };
    asked.map(|policy| of_policy(&policy.name)).collect()
}

/// The namespaces of users, each once.
pub(super) fn namespaces(config: &Config) -> Vec<String> {
    let policies = config.sessions.iter().filter(|policy| policy.has_tickets());
    let names: BTreeSet<&str> = policies.map(|policy| policy.users.as_str()).collect();
    names.into_iter().map(str::to_owned).collect()
}

fn resolvers(config: &Config, lasting: &Lasting, known: Option<&Shared>) -> Vec<Arc<Resolver>> {
    let resolver = |settings: &ResolverSettings| {
        let mut known = known.iter().flat_map(|known| &known.resolvers);
        let known = known.find(|known| known.settings() == settings);
        let new = || Arc::new(Resolver::new(settings.clone(), lasting.clock.clone()));
        known.cloned().unwrap_or_else(new)
    };
    config.resolvers.iter().map(resolver).collect()
}

/// The upstream of an earlier configuration that has the same name and the same settings, by its index.
fn same_upstream(
    config: &Config,
    resolvers: &[Arc<Resolver>],
    known: &Shared,
    index: usize,
) -> Option<usize> {
    let settings = config.upstreams.get(index)?;
    let same = known.upstreams.iter().position(|one| one.group.settings() == settings)?;
    let is_resolved_alike = settings.resolved_by.is_none_or(|by| {
        match (resolvers.get(by.resolver), known.resolvers.get(by.resolver)) {
            (Some(one), Some(other)) => Arc::ptr_eq(one, other),
            _ => false,
        }
    });
    is_resolved_alike.then_some(same)
}

/// An upstream, with what is known of its endpoints where it is the `same` as one before.
fn upstream(config: &Config, lasting: &Lasting, index: usize, same: Option<&Upstream>) -> Upstream {
    let settings = &config.upstreams[index];
    let learnt = same.and_then(|same| same.sticky.as_deref());
    let sticky = config.sticky[index].clone().map(|it| Arc::new(Sticky::new(it, learnt)));
    Upstream {
        sticky,
        hash_key: config.hash_keys[index].clone(),
        metrics: lasting.metrics.upstream(&settings.name),
        group: match same {
            Some(same) => same.group.clone(),
            None => Arc::new(Group::new(settings.clone())),
        },
        failovers: Throttle::default(),
    }
}

fn open(
    config: &Config,
    outside: &Outside,
    before: Option<&Generation>,
    inherited: &mut Inherited,
    lasting: &Lasting,
) -> Result<Opened, BuildError> {
    let before = before.map(|before| &before.listeners[..]).unwrap_or_default();
    let now = lasting.clock.now();
    listen::open(&config.listeners, before, inherited, outside, now)
        .map_err(|errors| BuildError(errors.iter().map(ToString::to_string).collect()))
}

fn table(servers: &[Server], facts: &[ServerFacts]) -> Result<Table<Arc<Route>>, BuildError> {
    let servers = servers.iter().zip(facts).map(|(server, facts)| {
        let is_smaller = |route: &Route| server.routes.iter().any(|o| route.is_smaller_than(o));
        let entry = |route: Arc<Route>| RouteEntry {
            path: route.path.clone(),
            outer: route.outer,
            folded: (route.restricts() || is_smaller(&route)) && !route.exact,
            adds_slash: route.adds_slash(),
            payload: route,
        };
        let routes = server.routes.iter().cloned().map(Arc::new);
        ServerEntry {
            names: server.names.clone(),
            listeners: server.listeners.clone(),
            routes: routes.chain([facts.own.clone()]).map(entry).collect(),
        }
    });
    Table::build(servers.collect())
        .map_err(|mistakes| BuildError(mistakes.iter().map(ToString::to_string).collect()))
}

/// Who asks for a name by TLS gets the certificate of the server that answers for it.
fn choose_server(table: &Arc<Table<Arc<Route>>>) -> listen::ChooseServer {
    let table = table.clone();
    Arc::new(move |listener, name| {
        let host = name.and_then(|name| Host::parse(name.as_bytes()).ok());
        match host {
            Some(host) => Some(table.server(listener, &host).server),
            None => table.default_server(listener),
        }
    })
}

/// Keys of TLS tickets are derived from those of the ring, so that all nodes that share it, and this one
/// after a restart, resume each other's sessions.
fn ticket_secrets(ring: &Arc<RingSource>) -> listen::Secrets {
    let ring = ring.clone();
    Arc::new(move || ring.current().in_use().map(|key| key.tls_secret().clone()).collect())
}

/// What is known of a server beside its routes.
fn server_facts(server: &Server) -> ServerFacts {
    let name = server.names.first().filter(|name| *name != "_");
    // `.a.example` stands for `a.example`, too.
    let name = name.map(|name| name.strip_prefix('.').unwrap_or(name).to_owned());
    ServerFacts {
        name: name.unwrap_or_default(),
        patterns: server.patterns.clone(),
        own: Arc::new(server.own.clone()),
        field_names: server.field_names,
        clients: server.tls.clients.clone(),
        head_limits: server.head_limits,
        keeps_slashes: server.keeps_slashes,
    }
}

fn field_names_vary(servers: &[ServerFacts]) -> bool {
    servers.windows(2).any(|two| two[0].field_names != two[1].field_names)
}

/// Notes whether a head has to be asked whose it is before it is known what it may have.
fn note_head_limits(servers: &mut [ServerFacts]) {
    let varies = servers.windows(2).any(|two| two[0].head_limits != two[1].head_limits);
    for server in servers {
        server.head_limits.varies = varies;
    }
}
