//! One exchange: what the proxy does with a request and its answer, HTTP aside. Everything
//! that decides or writes is the proxy's own code.

use std::net::{IpAddr, Ipv4Addr};
use std::sync::{Arc, Mutex, MutexGuard};

use http::Method;
use tokio::sync::oneshot;

use super::application::{Grant, Reply};
use super::node::{ACCOUNT, HOST, LATE_LOGIN, LATE_LOGIN_HEADER, LOGIN, LOGOUT, TICKET};
use super::schedule::Ask;
use crate::clock::UnixMillis;
use crate::cookie::response::{Lifetime, SetCookie};
use crate::proxy::admit::{self, Admitted};
use crate::proxy::settle::{carry_out, expiry_field, since, ticket_field};
use crate::proxy::shared::Shared;
use crate::routing::path::NormalPath;
use crate::session::event::Event;
use crate::session::exchange::Bond;
use crate::session::facts::{Facts, Intent};
use crate::session::jar::Edit;
use crate::session::matching::{Attempt, Head as AnswerHead};
use crate::session::outcome::RecordKey;
use crate::session::policy::{CrossSite, Policy};
use crate::session::settle::{Answer, Happened, Settle, TicketEffect};
use crate::wire::fields::Fields;

/// Where all clients come from.
const CLIENT: IpAddr = IpAddr::V4(Ipv4Addr::new(192, 0, 2, 1));

/// What a browser sends.
#[derive(Clone, Debug)]
pub struct Request {
    pub ask: Ask,
    pub ticket: Option<String>,
}

/// How an exchange was admitted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tie {
    Free,
    Live(RecordKey),
    Login(RecordKey),
    Silent,
}

impl Tie {
    /// The record whose jar goes along.
    pub fn held(self) -> Option<RecordKey> {
        match self {
            Self::Live(key) | Self::Login(key) => Some(key),
            Self::Free | Self::Silent => None,
        }
    }
}

/// A request at the worker.
pub struct Job {
    /// The `name=value` pairs of the jar.
    pub pairs: Vec<String>,
    pub reply: oneshot::Sender<Result<Reply, Broken>>,
}

/// The client left, or the worker broke off.
#[derive(Clone, Copy, Debug)]
pub struct Broken {
    /// Whether the worker had been sent the request.
    pub forwarded: bool,
}

/// What the model sees of an exchange from outside. It only ever looks between two polls.
#[derive(Default)]
pub struct Seat {
    pub events: Vec<Event>,
    pub tie: Option<Tie>,
    /// Of the record that it was admitted with.
    pub version: Option<u64>,
    pub job: Option<Job>,
    /// What the answer that is being settled asks of the jar, once it is.
    pub edits: Vec<(String, Option<String>)>,
}

pub type SharedSeat = Arc<Mutex<Seat>>;

/// What an answer does to the browser's ticket.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Cookie {
    Keep,
    Set(String),
    Expire,
}

/// The answer as it leaves the node.
#[derive(Clone, Debug)]
pub struct Head {
    /// 503 or 502 in the worker's place.
    pub replaced: bool,
    pub cookie: Cookie,
    /// Whose page it is: the worker's words reach the browser.
    pub grant: Option<Grant>,
    pub logged_in: bool,
}

impl Head {
    fn ours() -> Self {
        Self { replaced: true, cookie: Cookie::Keep, grant: None, logged_in: false }
    }
}

fn lock(seat: &SharedSeat) -> MutexGuard<'_, Seat> {
    seat.lock().expect("no panic while it is held")
}

/// Method and path of a request.
pub fn target(ask: Ask) -> (Method, NormalPath) {
    let (method, path) = match ask {
        Ask::Login(_) => (Method::POST, LOGIN),
        Ask::LateLogin => (Method::GET, LATE_LOGIN),
        Ask::Logout => (Method::POST, LOGOUT),
        Ask::Look | Ask::Visit | Ask::Put(_) | Ask::Drop(_) | Ask::Delete => (Method::GET, "/"),
    };
    (method, NormalPath::from_target(path.as_bytes()).expect("a good path"))
}

/// Runs an exchange until the head of its answer has left.
pub async fn run(
    shared: Arc<Shared>,
    policy: Arc<Policy>,
    request: Request,
    seat: SharedSeat,
) -> Head {
    let (method, path) = target(request.ask);
    let ticket = match &request.ticket {
        Some(value) => shared.open(value.as_bytes(), &policy, HOST).await.ok(),
        None => None,
    };
    let policy = &*policy;
    let intent = match policy.attempt(&method, &path) {
        Attempt::None => Intent::Use,
        Attempt::Stays | Attempt::Moves => Intent::Login(CrossSite::Deny),
    };
    let facts = Facts { intent, ..Facts::default() };
    let heard = |event| lock(&seat).events.push(event);
    let admitted = admit::admit(&shared, policy, ticket.as_ref(), facts, heard).await;
    let Ok(Admitted { bond, pass, turn: _turn, at: _ }) = admitted else { return Head::ours() };
    let is_cut = || pass.as_ref().is_some_and(|pass| pass.cut().is_cut());
    let held = bond.held().map(|held| held.key);
    lock(&seat).version = bond.held().map(|held| held.version);
    lock(&seat).tie = Some(tie(&bond));
    let answered = match is_cut() {
        true => Err(Broken { forwarded: false }),
        false => at_worker(&shared, &bond, &seat).await,
    };
    let reply = match answered {
        Ok(reply) if !is_cut() => reply,
        broken => {
            let forwarded = broken.err().is_none_or(|broken| broken.forwarded);
            let is_logout = policy.is_logout(&method, &path);
            let settling = Settle::abort(policy, bond, is_logout, forwarded, shared.clock.now());
            let effect = carry_out(&shared, policy, CLIENT, settling).await;
            lock(&seat).events.extend(effect.events);
            return Head::ours();
        }
    };
    let now = shared.clock.now();
    let record = since(&shared, &bond);
    let answer = Answer { record, ..read(policy, &method, &path, &reply, now) };
    let logged_in = answer.logged_in();
    lock(&seat).edits = reply.edits;
    let settling = Settle::begin(policy, bond, Ok(()), answer, now);
    let effect = carry_out(&shared, policy, CLIENT, settling).await;
    if let (Some(old), Some(pass)) = (held, &pass)
        && effect.ticket.replaces(old)
    {
        pass.cut_streams();
    }
    let cookie = cookie(&shared, policy, &effect.ticket);
    lock(&seat).events.extend(effect.events);
    if effect.withheld || effect.refused {
        return Head::ours();
    }
    // What was cut in the meantime has a head, but no body.
    let grant = if is_cut() { None } else { reply.grant };
    Head { replaced: false, cookie, grant, logged_in }
}

fn tie(bond: &Bond) -> Tie {
    match bond {
        Bond::Free => Tie::Free,
        Bond::Live(held, _) => Tie::Live(held.key),
        Bond::Login(held) => Tie::Login(held.key),
        // The model's routes want 503 in an outage.
        Bond::Silent(_) | Bond::Stale(_) => Tie::Silent,
    }
}

/// Sends the request to the worker, and waits.
async fn at_worker(shared: &Shared, bond: &Bond, seat: &SharedSeat) -> Result<Reply, Broken> {
    let now = shared.clock.now();
    let written = bond.record().map(|record| record.jar.written(HOST, "/", now));
    let written = written.unwrap_or_default();
    let pairs = written.split("; ").filter(|pair| !pair.is_empty()).map(str::to_owned).collect();
    let (reply, replied) = oneshot::channel();
    lock(seat).job = Some(Job { pairs, reply });
    replied.await.unwrap_or(Err(Broken { forwarded: true }))
}

/// What the browser is told of its ticket.
fn cookie(shared: &Shared, policy: &Policy, ticket: &TicketEffect) -> Cookie {
    match ticket {
        TicketEffect::Keep => Cookie::Keep,
        TicketEffect::Expire => received(&expiry_field(policy)),
        TicketEffect::Set(issue) => {
            received(&ticket_field(shared, policy, HOST, *issue).expect("randomness"))
        }
    }
}

/// What `response_filter` reads from an answer.
fn read(
    policy: &Policy,
    method: &Method,
    path: &NormalPath,
    reply: &Reply,
    now: UnixMillis,
) -> Answer {
    let fields = reply.fields();
    let parsed: Vec<SetCookie<'_>> =
        fields.iter().filter_map(|field| SetCookie::parse(field.as_bytes())).collect();
    let set: Vec<&[u8]> = parsed
        .iter()
        .filter(|cookie| cookie.lifetime(now) != Lifetime::Expired)
        .map(SetCookie::name)
        .collect();
    let mut said = Vec::new();
    if reply.to_account {
        said.push(("location", ACCOUNT));
    }
    if reply.late_login {
        said.push((LATE_LOGIN_HEADER, "1"));
    }
    let fields = &Fields::of(&said);
    let head = AnswerHead { status: reply.status, fields, cookies: &set, body: None };
    let attempt = policy.attempt(method, path);
    Answer {
        attempt,
        happened: Happened::by_rules(policy, attempt, method, path, head),
        edits: parsed.iter().map(|cookie| Edit::read(cookie, HOST, b"/", now)).collect(),
        ..Answer::default()
    }
}

/// What a browser makes of our field.
fn received(field: &str) -> Cookie {
    let field = SetCookie::parse(field.as_bytes()).expect("our own field");
    assert_eq!(field.name(), TICKET.as_bytes());
    match field.lifetime(UnixMillis(0)) {
        Lifetime::Expired => Cookie::Expire,
        Lifetime::Session | Lifetime::Until(_) => {
            Cookie::Set(String::from_utf8(field.value().to_vec()).expect("base64"))
        }
    }
}
