//! Connecting: one set of connections to one server.
//!
//! A set has two connections for look-ups, which tell of changes (`tracking`), one for writes, and
//! one for writes that wait for a replica. redis-rs 1.8 keeps a connection on which replies time
//! out: the heartbeat (`heartbeat`) replaces what does not answer. `endpoint` sees to the socket, on
//! which the kernel gives up where nobody acknowledges data.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use redis::aio::MultiplexedConnection;
use redis::{AsyncConnectionConfig, ErrorKind, PushInfo, ServerErrorKind, Value};

use super::cause::Cause;
use super::endpoint::Dialer;
use super::fault::Fault;
use super::fence::Fence;
use super::heartbeat::{self, Heartbeat};
use super::layout::Namespace;
use super::probe::Probe;
use super::tracking::Watcher;
use super::waits::Waits;
use crate::store::changes::{Changes, Link};

/// For the TCP handshake, HELLO, and the questions that follow it, together.
const CONNECT_DEADLINE: Duration = Duration::from_secs(1);
/// Commands that may wait for the driver of a connection. Callers beyond wait, within their
/// deadline.
const COMMANDS_QUEUED_MAX: usize = 4096;
/// How long durable writes go without WAIT after no replica had answered one in time. WAIT stops
/// everything behind it on the connection, so that a dead replica would hold up every login.
const LAGGING_FOR: Duration = Duration::from_secs(1);

/// What holds for all connections of a store.
#[derive(Clone, Debug)]
pub(super) struct Terms {
    pub(super) changes: Arc<Changes>,
    pub(super) namespace: Namespace,
    /// Whether connections for look-ups are tracked. Without, they have no link.
    pub(super) tracks: bool,
    /// How many replicas must confirm, see [`heartbeat`].
    pub(super) require_replicas: u32,
    pub(super) beat: Heartbeat,
    pub(super) probe: Arc<Probe>,
    pub(super) fence: Arc<Fence>,
    /// Whether it was said already that the server refuses to track.
    pub(super) refused: Arc<AtomicBool>,
}

/// What a connection is for; for `CLIENT LIST` its name ends with it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum LineKind {
    Read,
    Write,
    Durable,
}

/// One connection.
#[derive(Debug)]
pub(super) struct Line {
    connection: MultiplexedConnection,
    link: Option<Arc<Link>>,
    broken: Arc<AtomicBool>,
    /// Whether it owes an answer to a heartbeat for a while.
    slow: AtomicBool,
}

impl Line {
    pub(super) fn connection(&self) -> MultiplexedConnection {
        self.connection.clone()
    }

    /// Over which changes of what was read here are heard of; none where they are not.
    pub(super) fn link(&self) -> Option<Arc<Link>> {
        self.link.clone()
    }

    pub(super) fn is_broken(&self) -> bool {
        self.broken.load(Ordering::SeqCst)
    }

    pub(super) fn break_off(&self) {
        if let Some(link) = &self.link {
            link.lose();
        }
        self.broken.store(true, Ordering::SeqCst);
    }

    pub(super) fn prove(&self, sent: Instant) {
        if let Some(link) = &self.link {
            link.prove(sent);
        }
    }

    pub(super) fn set_slow(&self, slow: bool) {
        self.slow.store(slow, Ordering::Relaxed);
    }

    fn is_slow(&self) -> bool {
        self.slow.load(Ordering::Relaxed)
    }
}

/// The connections of one runtime to one server. They are replaced together.
#[derive(Debug)]
pub(super) struct Connections {
    /// Differs from that of every other set of this process.
    pub(super) id: u64,
    /// Look-ups go to the first that answers heartbeats: what is tracked twice is told twice. The
    /// other is there when an answer does not come.
    pub(super) reads: [Line; 2],
    pub(super) write: Line,
    /// For durable writes, where the server has replicas: WAIT stops whatever is behind it.
    pub(super) durable: Option<Line>,
    pub(super) fault: Arc<Fault>,
    /// Of the server: `host:port`.
    address: String,
    fence: Arc<Fence>,
    /// Since when the replicas that must confirm have; none where none must.
    confirmed: Mutex<Option<Instant>>,
    pub(super) waits: Waits,
    pub(super) opened: Instant,
    /// Milliseconds after `opened`.
    lagging_until: AtomicU64,
}

/// What connections are wanted for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Purpose {
    Reading,
    Writing,
}

impl Purpose {
    pub(super) fn other(self) -> Self {
        match self {
            Self::Reading => Self::Writing,
            Self::Writing => Self::Reading,
        }
    }
}

impl Connections {
    /// Connects, and makes sure that the server serves: it has loaded its data, is a master, and
    /// has as many replicas as must confirm. The connections' tasks run on the calling runtime.
    pub(super) async fn open(client: &Dialer, terms: &Terms, id: u64) -> Result<Self, Cause> {
        tokio::time::timeout(CONNECT_DEADLINE, Self::open_all(client, terms, id))
            .await
            .unwrap_or(Err(Cause::Unresponsive))
    }

    async fn open_all(client: &Dialer, terms: &Terms, id: u64) -> Result<Self, Cause> {
        let fault = Arc::new(Fault::default());
        let open = |kind| open_line(client, terms, &fault, kind);
        let (read, other, write) =
            tokio::try_join!(open(LineKind::Read), open(LineKind::Read), open(LineKind::Write))?;
        let durable = match (role(&mut write.connection()).await?, terms.require_replicas) {
            (Role::Alone, 0) => None,
            (Role::Alone | Role::Replicated, _) => Some(open(LineKind::Durable).await?),
        };
        let confirmed = match (&durable, terms.require_replicas) {
            (None, _) | (_, 0) => None,
            (Some(durable), _) => Some(heartbeat::confirm(durable, terms).await?),
        };
        // A fault loses both.
        let _ = fault.links.set([&read, &other].map(Line::link));
        Ok(Self {
            id,
            reads: [read, other],
            write,
            durable,
            fault,
            address: client.address(),
            fence: terms.fence.clone(),
            confirmed: Mutex::new(confirmed),
            waits: Waits::default(),
            opened: Instant::now(),
            lagging_until: AtomicU64::new(0),
        })
    }

    pub(super) fn serves(&self, purpose: Purpose) -> bool {
        self.works(purpose) && !(purpose == Purpose::Writing && self.is_fenced())
    }

    /// Whether the server is about to lose what is written to it.
    pub(super) fn is_fenced(&self) -> bool {
        self.fence.is_around(&self.address)
    }

    fn works(&self, purpose: Purpose) -> bool {
        !self.fault.is_raised()
            && match purpose {
                Purpose::Reading => !self.reads.iter().all(Line::is_broken),
                Purpose::Writing => !self.write.is_broken() && !self.is_durable_broken(),
            }
    }

    /// Whether it works for both purposes, if not as well as it could.
    pub(super) fn works_for_all(&self) -> bool {
        self.works(Purpose::Reading) && self.works(Purpose::Writing)
    }

    pub(super) fn works_for_nothing(&self) -> bool {
        !self.works(Purpose::Reading) && !self.works(Purpose::Writing)
    }

    pub(super) fn confirmed(&self) -> Option<Instant> {
        *self.confirmed.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Notes that as many replicas as must have confirmed a write that was sent then.
    pub(super) fn confirm(&self, sent: Instant) {
        *self.confirmed.lock().unwrap_or_else(PoisonError::into_inner) = Some(sent);
    }

    fn is_durable_broken(&self) -> bool {
        self.durable.as_ref().is_some_and(Line::is_broken)
    }

    /// The connections to read on, the better one first.
    pub(super) fn readers(&self) -> impl Iterator<Item = &Line> {
        let [first, second] = &self.reads;
        let swapped = first.is_slow() && !second.is_slow();
        let order = if swapped { [second, first] } else { [first, second] };
        order.into_iter().filter(|line| !line.is_broken())
    }

    /// Whether WAIT is worth its while.
    pub(super) fn is_lagging(&self) -> bool {
        self.age_ms() < self.lagging_until.load(Ordering::Relaxed)
    }

    /// Notes that no replica answered WAIT in time.
    pub(super) fn note_lag(&self) {
        let until = self.age_ms() + u64::try_from(LAGGING_FOR.as_millis()).unwrap_or(u64::MAX);
        self.lagging_until.store(until, Ordering::Relaxed);
    }

    fn age_ms(&self) -> u64 {
        u64::try_from(self.opened.elapsed().as_millis()).unwrap_or(u64::MAX)
    }
}

async fn open_line(
    client: &Dialer,
    terms: &Terms,
    fault: &Arc<Fault>,
    kind: LineKind,
) -> Result<Line, Cause> {
    let link = (kind == LineKind::Read && terms.tracks).then(Arc::<Link>::default);
    let broken = Arc::new(AtomicBool::new(false));
    let watcher = Watcher {
        changes: terms.changes.clone(),
        namespace: terms.namespace.clone(),
        link: link.clone(),
        broken: broken.clone(),
        fault: fault.clone(),
    };
    // Called by the connection's driver, so that callers see the loss before any other task has
    // run.
    let on_push = move |push: PushInfo| {
        watcher.hear(&push);
        Ok::<(), std::convert::Infallible>(())
    };
    // The deadlines are ours: `Deadlines` in the parent, and CONNECT_DEADLINE.
    let config = AsyncConnectionConfig::new()
        .set_connection_timeout(None)
        .set_response_timeout(None)
        .set_pipeline_buffer_size(COMMANDS_QUEUED_MAX)
        .set_push_sender(on_push);
    let connection = client.open(config).await?;
    let (named, tracked, answered) = tokio::join!(
        name(connection.clone(), kind),
        track(connection.clone(), terms, link),
        async {
            let sent = Instant::now();
            // A server that is loading its data answers HELLO, but not this.
            let question = terms.probe.question();
            (question.exec_async(&mut connection.clone()).await, sent)
        },
    );
    if let Err(error) = named {
        tracing::debug!(%error, "connection to redis left unnamed");
    }
    let line = Line { link: tracked?, broken, slow: AtomicBool::new(false), connection };
    let (answer, sent) = answered;
    if terms.probe.judge(answer)? {
        line.prove(sent);
    }
    Ok(line)
}

/// For `CLIENT LIST`. An access list may forbid it.
async fn name(mut connection: MultiplexedConnection, kind: LineKind) -> redis::RedisResult<()> {
    let kind = match kind {
        LineKind::Read => "read",
        LineKind::Write => "write",
        LineKind::Durable => "durable",
    };
    let name = format!("{}-{}-{kind}", env!("CARGO_PKG_NAME"), std::process::id());
    redis::cmd("CLIENT").arg("SETNAME").arg(name).exec_async(&mut connection).await
}

/// Has the server tell of changes of what will be read over the connection. The link where it does.
async fn track(
    mut connection: MultiplexedConnection,
    terms: &Terms,
    link: Option<Arc<Link>>,
) -> Result<Option<Arc<Link>>, Cause> {
    let Some(link) = link else { return Ok(None) };
    let asked = redis::cmd("CLIENT").arg("TRACKING").arg("ON").exec_async(&mut connection).await;
    match asked {
        Ok(()) => Ok(Some(link)),
        Err(error) if Cause::of_command(&error).is_some() => Err(Cause::of(&error)),
        Err(error) => {
            if !terms.refused.swap(true, Ordering::Relaxed) {
                tracing::warn!(
                    %error,
                    "redis refuses CLIENT TRACKING: nothing is cached, and every request asks the \
                     server; allow the user +client|tracking, with Redis 6 or newer"
                );
            }
            Ok(None)
        }
    }
}

/// What a server does, as far as it may serve us.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Role {
    /// A master without replicas; also one that does not tell.
    Alone,
    /// A master with a replica.
    Replicated,
}

/// Asks for the role. Reading from a replica would bring back revoked sessions.
pub(super) async fn role(connection: &mut MultiplexedConnection) -> Result<Role, Cause> {
    match redis::cmd("ROLE").query_async(connection).await {
        Ok(answer) => read_role(&answer),
        Err(error) if error.kind() == ErrorKind::Server(ServerErrorKind::NoPerm) => Ok(Role::Alone),
        Err(error) => Err(Cause::of(&error)),
    }
}

fn read_role(answer: &Value) -> Result<Role, Cause> {
    let Value::Array(fields) = answer else { return Err(Cause::NotMaster("of unknown role")) };
    match &fields[..] {
        [Value::BulkString(role), _, Value::Array(replicas), ..] if role == b"master" => {
            Ok(if replicas.is_empty() { Role::Alone } else { Role::Replicated })
        }
        [Value::BulkString(role), ..] if role == b"slave" => Err(Cause::NotMaster("a replica")),
        [Value::BulkString(role), ..] if role == b"sentinel" => Err(Cause::NotMaster("a sentinel")),
        _ => Err(Cause::NotMaster("of unknown role")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_master_is_served_from() {
        let text = |text: &str| Value::BulkString(text.as_bytes().to_vec());
        let replica = Value::Array(vec![text("10.0.0.2"), text("6379"), text("42")]);
        let master = |replicas| Value::Array(vec![text("master"), Value::Int(42), replicas]);
        for (answer, expected) in [
            (master(Value::Array(vec![])), Ok(Role::Alone)),
            (master(Value::Array(vec![replica])), Ok(Role::Replicated)),
            (
                Value::Array(vec![
                    text("slave"),
                    text("10.0.0.1"),
                    Value::Int(6379),
                    text("connect"),
                    Value::Int(-1),
                ]),
                Err(Cause::NotMaster("a replica")),
            ),
            (
                Value::Array(vec![text("sentinel"), Value::Array(vec![])]),
                Err(Cause::NotMaster("a sentinel")),
            ),
            (Value::Okay, Err(Cause::NotMaster("of unknown role"))),
            (Value::Array(vec![]), Err(Cause::NotMaster("of unknown role"))),
        ] {
            assert_eq!(read_role(&answer), expected, "{answer:?}");
        }
    }
}
