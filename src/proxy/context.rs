//! What is known of one request on its way: each step of the exchange adds to it.

use std::net::IpAddr;
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::{Method, StatusCode};

use crate::downstream::Request;
use crate::headers::forwarded::Client;
use crate::listen::Info;
use crate::proxy::buffers::Share;
use crate::proxy::cut::Cut;
use crate::proxy::error::RequestError;
use crate::proxy::guards::limits::Limited;
use crate::proxy::lease::HeldTurn;
use crate::proxy::modes::Guarded;
use crate::proxy::open_streams::Watched;
use crate::proxy::pacing::Pacer;
use crate::proxy::pass::Pass;
use crate::proxy::request_body::WholeBody;
use crate::proxy::route::query;
use crate::proxy::shared::Shared;
use crate::proxy::target::{Came, Target};
use crate::proxy::tried::AllTried;
use crate::rewrite::Uri;
use crate::session::binding::Bearer;
use crate::session::event::{Event, NotMade};
use crate::session::exchange::{Bond, Presented};
use crate::session::matching::Attempt;
use crate::session::outcome::RecordKey;
use crate::session::policy::Policy;
use crate::session::record::Record;
use crate::session::subject::body::Copied;
use crate::telemetry::audit::{self, AuditContext};
use crate::telemetry::labels::RouteKind;
use crate::telemetry::metrics::InFlight;
use crate::upstream::endpoint::Endpoint;
use crate::upstream::group::Active;
use crate::variables::values::Values;
use crate::wire::fields::Fields;
use crate::wire::flaw::RequestFlaw;
use crate::wire::response::ResponseHead;
use crate::wire::write::Announce;

/// One request on its way.
pub struct Context {
    pub begun: Instant,
    pub connection: Arc<Info>,
    /// The client's address: the connection's, until trusted proxies were asked.
    client_ip: IpAddr,
    /// A proxy has told it (`set_real_ip_from`), and with which port.
    pub has_real_ip: bool,
    pub real_port: Option<Option<u16>>,
    pub target: Option<Target>,
    pub exchange: Option<Exchange>,
    /// In place of `exchange` where the policy has no tickets.
    pub guarded: Option<Guarded>,
    pub attempts: Attempts,
    /// The `Cookie` line for the worker; empty: none is sent.
    pub cookie: Vec<u8>,
    /// Why the proxy answered by itself.
    pub error: Option<RequestError>,
    /// The error that another route answers in place of.
    pub replaced: Option<RequestError>,
    /// A worker sent the request here, whatever the route requires of visitors.
    pub is_vouched: bool,
    /// The record of a turn before this one.
    session_before: Option<RecordKey>,
    /// What is wrong with the request's body.
    pub flaw: Option<RequestFlaw>,
    pub kind: RouteKind,
    /// What its buffers take.
    pub share: Share,
    /// Bytes of its answer in a second, where somebody has said that.
    pub limit_rate: Option<u64>,
    pub pacer: Option<Box<Pacer>>,
    /// What limits have said of it.
    pub limited: Limited,
    /// The method of the request that this one is made for (`auth_request`).
    pub made_for: Option<Method>,
    /// Fields that the client has to be told whatever is answered.
    pub owed: Option<Box<Fields>>,
    /// The virtual server, by its index, once it is known.
    pub server: Option<usize>,
    /// The head of the answer as it was sent.
    pub sent: Option<(ResponseHead, Announce)>,
    /// The request's body, once all of it is there, while nobody else has it.
    pub body: Option<WholeBody>,
    /// All of it is there, whoever has it.
    pub has_whole_body: bool,
    /// The request's body, where variables speak of it.
    pub request_body: Option<Bytes>,
    /// Where it lies, where it is in a file.
    pub request_body_file: Option<Box<[u8]>>,
    /// All attempts at endpoints.
    pub tried: AllTried,
    /// Fields of the last worker's answer as they came, where variables speak of them; its trailers.
    pub worker_fields: Option<Fields>,
    pub worker_trailers: Option<Fields>,
    /// The trailers of the answer, where they are our own.
    pub sent_trailers: Option<Box<Fields>>,
    /// Bytes of the answer's body that were packed, and into how many.
    pub packed: Option<(u64, u64)>,
    /// Variables that were set or computed for it.
    pub values: Values,
    /// The URI, where a script has looked at it.
    pub uri: Option<Box<Uri>>,
    /// How often it went to another route, by a redirect inside or a script.
    pub redirects: u8,
    /// It may go where only redirects inside lead (nginx `internal`).
    pub is_internal: bool,
    /// The status of the error that another route answers in place of.
    pub shown: Option<StatusCode>,
    /// Its answer was sent, as far as it could be.
    pub is_over: bool,
    /// What the client asked for, once something else is.
    pub came: Option<Box<Came>>,
    request_id: OnceLock<[u8; 16]>,
    session_event: OnceLock<&'static str>,
    _in_flight: InFlight,
}

/// A request under a session policy, as it was admitted.
pub struct Exchange {
    pub policy: Arc<Policy>,
    /// The record whose jar goes along.
    pub session: Option<RecordKey>,
    /// The same record, as it was then.
    pub admitted: Option<Arc<Record>>,
    /// Until it is settled.
    pub bond: Bond,
    /// The ticket that it came with.
    pub ticket: Option<Presented>,
    /// Its body, where a login rule looks for a name in it.
    pub body: Option<Copied>,
    pub pass: Option<Pass>,
    /// Until the answer has been read to its end.
    pub turn: Option<HeldTurn>,
    /// Where it is a stream of a live record: what ends it with its session.
    pub watched: Option<Watched>,
    pub may_make: Result<(), NotMade>,
    pub method: Method,
    pub attempt: Attempt,
    /// A login rule looks for a text in the answer's body.
    pub looks_at_answer: bool,
    /// Its beginning, where it was looked at and could be read, until it is settled.
    pub answer_begins: Option<Bytes>,
    pub is_logout: bool,
    pub is_cross_site: bool,
    /// Given where that matters to the policy.
    pub bearer: Option<Bearer>,
    /// The head went to a worker.
    pub is_forwarded: bool,
    /// The final head came back and was settled.
    pub is_settled: bool,
}

/// The endpoints that were tried.
#[derive(Default)]
pub struct Attempts {
    /// Those that are not asked any more.
    pub before: Vec<Arc<Endpoint>>,
    /// The one in use.
    pub endpoint: Option<Arc<Endpoint>>,
    /// Counts the request as one of the endpoint's own.
    pub active: Option<Active>,
    pub status: Option<u16>,
    pub begun: Option<Instant>,
    pub duration: Option<Duration>,
}

impl Attempts {
    /// Endpoints that it was sent to so far.
    pub fn count(&self) -> usize {
        self.before.len() + usize::from(self.endpoint.is_some())
    }

    /// The endpoint that was chosen last.
    pub fn last(&self) -> Option<&Arc<Endpoint>> {
        self.endpoint.as_ref().or_else(|| self.before.last())
    }
}

impl Context {
    /// A request that has just begun.
    pub fn new(shared: &Shared, connection: Arc<Info>, begun: Instant) -> Self {
        Self {
            begun,
            client_ip: connection.peer().ip().to_canonical(),
            connection,
            has_real_ip: false,
            real_port: None,
            target: None,
            exchange: None,
            guarded: None,
            attempts: Attempts::default(),
            cookie: Vec::new(),
            error: None,
            replaced: None,
            is_vouched: false,
            session_before: None,
            flaw: None,
            kind: RouteKind::Unrouted,
            share: Share::default(),
            limit_rate: None,
            pacer: None,
            limited: Limited::default(),
            made_for: None,
            owed: None,
            server: None,
            sent: None,
            body: None,
            has_whole_body: false,
            request_body: None,
            request_body_file: None,
            tried: AllTried::default(),
            worker_fields: None,
            worker_trailers: None,
            sent_trailers: None,
            packed: None,
            values: Values::default(),
            uri: None,
            redirects: 0,
            is_internal: false,
            shown: None,
            is_over: false,
            came: None,
            request_id: OnceLock::new(),
            session_event: OnceLock::new(),
            _in_flight: shared.metrics.request_begins(),
        }
    }

    /// Forgets what belongs to a turn, after a redirect inside. Whoever waits for its session goes on.
    pub fn begin_again(&mut self) {
        self.session_before = self.session();
        self.replaced = self.error.take().or(self.replaced);
        self.tried.turn();
        self.exchange = None;
        self.guarded = None;
        self.attempts = Attempts::default();
        self.cookie.clear();
        self.flaw = None;
    }

    /// The path, decoded, as scripts left it (`$uri`).
    pub fn path(&self) -> Option<&[u8]> {
        let asked = || Some(self.target.as_ref()?.requested.path.as_bytes());
        self.uri.as_ref().map(|uri| &*uri.path).or_else(asked)
    }

    /// The query without its `?`, as scripts left it (`$args`).
    pub fn args<'a>(&'a self, request: &'a Request) -> &'a [u8] {
        let asked = || query(request.target()).unwrap_or_default();
        self.uri.as_ref().map_or_else(asked, |uri| &uri.args)
    }

    /// The client's address, as far as it is known.
    pub fn client_ip(&self) -> IpAddr {
        self.client_ip
    }

    /// Says who asks.
    pub fn is_from(&mut self, client: &Client) {
        self.client_ip = client.ip;
    }

    /// What ends this exchange from outside.
    pub fn cut(&self) -> Option<&Arc<Cut>> {
        self.exchange.as_ref()?.pass.as_ref().map(Pass::cut)
    }

    /// Lets the next request of the session go on: the worker is done with this one.
    pub fn end_turn(&mut self) {
        if let Some(exchange) = &mut self.exchange {
            exchange.turn = None;
        }
    }

    /// Whether it was ended from outside.
    pub fn is_cut(&self) -> bool {
        self.cut().is_some_and(|cut| cut.is_cut())
    }

    /// Whether a record is suspended for it: its answer decides what becomes of that.
    pub fn is_login(&self) -> bool {
        self.exchange.as_ref().is_some_and(|exchange| matches!(exchange.bond, Bond::Login(_)))
    }

    /// The record that the request belongs to, for the log.
    pub fn session(&self) -> Option<RecordKey> {
        let present = self.exchange.as_ref().and_then(|exchange| exchange.session);
        present.or(self.session_before)
    }

    /// Names the request, made when somebody first asks (nginx `$request_id`).
    pub fn request_id(&self) -> [u8; 16] {
        *self.request_id.get_or_init(rand::random)
    }

    /// Gives the request the name of the one that it is made for.
    pub fn call(&mut self, request_id: [u8; 16]) {
        self.request_id = OnceLock::from(request_id);
    }

    /// Adds what is owed to the answer.
    pub fn pay(&mut self, fields: &mut Fields) {
        for field in self.owed.take().iter().flat_map(|owed| owed.iter()) {
            let _ = fields.push(field.name, field.value);
        }
    }

    /// The first thing that happened to its session.
    pub fn session_event(&self) -> Option<&'static str> {
        self.session_event.get().copied()
    }

    /// Writes an event to the audit trail.
    pub fn tell(&self, shared: &Shared, request: &Request, policy: &Policy, event: &Event) {
        self.tell_of(shared, request, Some(policy), event);
    }

    /// The same, where the route may have no session policy.
    pub fn tell_of(
        &self,
        shared: &Shared,
        request: &Request,
        policy: Option<&Policy>,
        event: &Event,
    ) {
        let host = self.target.as_ref().map_or("-", |target| target.host.as_str());
        let path = String::from_utf8_lossy(request.target());
        let client = self.client_ip();
        let policy = policy.map_or("-", |policy| policy.name.as_str());
        let context = AuditContext { client, policy, host, path: &path };
        self.session_event.get_or_init(|| event.name());
        // In an outage every request causes one.
        if matches!(event, Event::WithoutStore { .. }) && shared.outages.admit().is_none() {
            audit::emit_again(&shared.metrics, event, &context);
        } else {
            audit::emit(&shared.metrics, event, &context);
        }
    }
}
