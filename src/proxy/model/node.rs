//! A node: what `App::build` shares between the workers of one process, over the common store.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use super::calls::{Calls, Line};
use crate::acme::Desk;
use crate::acme::vault::Vault;
use crate::clock::Clock;
use crate::cookie::enforce;
use crate::crypto::ring_source::RingSource;
use crate::proxy::buffers::Buffers;
use crate::proxy::limit::Limiter;
use crate::proxy::mass_logout::Guards;
use crate::proxy::replaced_seals::ReplacedSeals;
use crate::proxy::shared::{Lasting, Shared};
use crate::proxy::successions::Successions;
use crate::proxy::ticket_cache::TicketCache;
use crate::proxy::touches::Touches;
use crate::routing::path::PathRule;
use crate::routing::table::{ServerEntry, Table};
use crate::session::policy::{
    CrossSite, LoginRule, LogoutRule, OnAppDelete, OnReuse, Policy, RequestPart, Rotate,
    SuccessPart, Timeouts,
};
use crate::store::records::Records;
use crate::store::throttle::Throttle;
use crate::store::{SharedStore, cache};
use crate::telemetry::findings::Findings;
use crate::telemetry::metrics::Metrics;
use crate::variables::registry::Variables;

/// Of the time of this world a case takes little, and nothing is thrown out.
const CACHE: cache::CacheSettings =
    cache::CacheSettings { lease: Duration::from_secs(86_400), bytes: 16 << 20 };
pub const HOST: &str = "shop.example.com";
pub const TICKET: &str = "__Host-shop";
pub const LOGIN: &str = "/login";
pub const LATE_LOGIN: &str = "/sso";
pub const LOGOUT: &str = "/logout";
pub const ACCOUNT: &str = "/account/";
/// What a worker says with a login that has no request part.
pub const LATE_LOGIN_HEADER: &str = "x-logged-in";

/// What all nodes and all cases of a test have in common.
pub struct Fleet {
    pub ring: Arc<RingSource>,
    pub clock: Clock,
    pub metrics: Arc<Metrics>,
    pub policy: Arc<Policy>,
}

impl Fleet {
    /// Records in a store.
    pub fn records(&self, store: SharedStore) -> Records {
        Records::new(store, self.ring.clone(), self.policy.timeouts.absolute)
    }
}

/// One life of a node's process.
pub struct Node {
    pub shared: Arc<Shared>,
    is_down: Arc<AtomicBool>,
}

impl Node {
    /// Starts the process.
    pub fn start(fleet: &Fleet, calls: &Arc<Calls>, node: usize) -> Self {
        let is_down = Arc::new(AtomicBool::new(false));
        let line: SharedStore = Arc::new(Line::new(calls, node, &is_down));
        let vault = Vault::new(line.clone(), fleet.ring.clone(), PathBuf::new());
        let server =
            ServerEntry { names: vec![HOST.to_owned()], listeners: None, routes: Vec::new() };
        let lasting = Lasting {
            clock: fleet.clock.clone(),
            elsewhere: std::time::Duration::ZERO,
            ring: fleet.ring.clone(),
            opened: TicketCache::default(),
            replaced_seals: ReplacedSeals::default(),
            records: fleet.records(line).with_cache(CACHE),
            gates: Arc::default(),
            gate: crate::listen::Gate::new(1, 0),
            successions: Successions::default(),
            merges: Arc::default(),
            touches: Arc::new(Touches::new(u16::try_from(node).expect("few nodes"))),
            streams: Arc::default(),
            limiter: Limiter::default(),
            passwords: crate::proxy::guards::basic::Passwords::default(),
            metrics: fleet.metrics.clone(),
            findings: Findings::default(),
            outages: Throttle::default(),
            unread_logins: Throttle::default(),
            desk: Arc::new(Desk::new(vault, fleet.clock.clone())),
            buffers: Buffers::new(usize::MAX, u64::MAX),
            namespaces: Arc::default(),
        };
        let shared = Shared {
            lasting: Arc::new(lasting),
            listeners: Vec::new(),
            resolvers: Vec::new(),
            table: Arc::new(Table::build(vec![server]).expect("a good name")),
            upstreams: Vec::new(),
            tickets: vec![TICKET.to_owned()],
            cookies: enforce::CookieSettings::default(),
            trusted: Vec::new(),
            insecure_cookies: false,
            limit_zones: Vec::new(),
            guards: Guards::default(),
            active: Vec::new(),
            access_log: false,
            log_writer: Arc::default(),
            variables: Variables::default(),
            policies: Vec::new(),
            servers: Vec::new(),
            field_names_vary: false,
        };
        Self { shared: Arc::new(shared), is_down }
    }

    /// Ends the process where it stands.
    pub fn crash(&self) {
        self.is_down.store(true, Ordering::Relaxed);
    }
}

/// Times that the schedule's pauses reach: renewals within seconds, an idle end within minutes.
pub fn policy() -> Policy {
    let path = |path: &str| PathRule::new(path, false).expect("a good path");
    let post = |at: &str| RequestPart { method: Some(http::Method::POST), path: path(at) };
    let login = |request, success| LoginRule {
        request,
        success,
        failure: Vec::new(),
        rotate: Rotate::Always,
        cross_site: CrossSite::Deny,
        subject: None,
    };
    let by_location =
        SuccessPart { status: vec![302], location: Some(path(ACCOUNT)), ..SuccessPart::default() };
    let header = http::HeaderName::from_static(LATE_LOGIN_HEADER);
    let by_header = SuccessPart { header: Some((header, None)), ..SuccessPart::default() };
    Policy {
        app_cookies: vec!["SID".to_owned(), "c*".to_owned()],
        timeouts: Timeouts {
            idle: Duration::from_secs(150),
            absolute: Duration::from_secs(600),
            renew_every: Duration::from_secs(6),
            grace: Duration::from_secs(4),
            anonymous: Duration::from_secs(120),
        },
        idle_counts_streams: true,
        on_reuse: OnReuse::Revoke,
        // The guard has no word in the model: deletions apply at once.
        on_app_delete: OnAppDelete::End,
        login: vec![login(Some(post(LOGIN)), by_location), login(None, by_header)],
        logout: vec![LogoutRule {
            request: post(LOGOUT),
            success: SuccessPart::default(),
            clear_site_data: Vec::new(),
        }],
        anonymous_per_minute: 10_000,
        anonymous_waiting: 10_000,
        login_attempts_per_minute: 10_000,
        ..crate::session::tests::policy()
    }
}
