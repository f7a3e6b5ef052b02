//! Connecting: one set of connections to one server, and the signal that it must be replaced.
//!
//! redis-rs 1.8 keeps a connection on which replies time out: the heartbeat in `supervisor`
//! replaces what does not answer. `endpoint` sees to the socket, on which the kernel gives up where
//! nobody acknowledges data.

use std::fmt;
use std::sync::Arc;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use redis::aio::MultiplexedConnection;
use redis::{
    AsyncConnectionConfig, ErrorKind, PushInfo, PushKind, RedisError, ServerErrorKind, Value,
};
use tokio::sync::Notify;

use super::endpoint::Endpoint;

/// For the TCP handshake, HELLO, and the questions that follow it, together.
const CONNECT_DEADLINE: Duration = Duration::from_secs(1);
/// Commands that may wait for the driver of a connection. Callers beyond wait, within their
/// deadline.
const COMMANDS_QUEUED_MAX: usize = 4096;
/// How long durable writes go without WAIT after no replica had answered one in time. WAIT stops
/// everything behind it on the connection, so that a dead replica would hold up every login.
const LAGGING_FOR: Duration = Duration::from_secs(1);

impl Endpoint {
    /// Connects, and makes sure that the server serves: it has loaded its data and is a master.
    /// The connections' tasks run on the calling runtime.
    pub(super) async fn connect(&self, id: u64) -> Result<Connections, Cause> {
        tokio::time::timeout(CONNECT_DEADLINE, self.connect_all(id))
            .await
            .unwrap_or(Err(Cause::Unresponsive))
    }

    async fn connect_all(&self, id: u64) -> Result<Connections, Cause> {
        let fault = Arc::new(Fault::default());
        let mut main = self.connect_one(&fault).await?;
        // A server that is loading its data answers HELLO, but not this.
        redis::cmd("PING").exec_async(&mut main).await.map_err(|error| Cause::of(&error))?;
        let durable = match role(&mut main).await? {
            Role::Alone => None,
            Role::Replicated => Some(self.connect_one(&fault).await?),
        };
        Ok(Connections {
            id,
            main,
            durable,
            fault,
            waiting: tokio::sync::Mutex::default(),
            opened: Instant::now(),
            lagging_until: AtomicU64::new(0),
        })
    }

    async fn connect_one(&self, fault: &Arc<Fault>) -> Result<MultiplexedConnection, Cause> {
        let fault = fault.clone();
        // Called by the connection's driver, so that callers see the loss before any other task
        // has run.
        let on_push = move |push: PushInfo| {
            if push.kind == PushKind::Disconnection {
                fault.raise(Cause::Disconnected);
            }
            Ok::<(), std::convert::Infallible>(())
        };
        // The deadlines are ours: `Deadlines` in the parent, and CONNECT_DEADLINE.
        let config = AsyncConnectionConfig::new()
            .set_connection_timeout(None)
            .set_response_timeout(None)
            .set_pipeline_buffer_size(COMMANDS_QUEUED_MAX)
            .set_push_sender(on_push);
        let (host, port) = &self.addresses()[0];
        let mut connection = self.client(host, *port).open(config).await?;
        let name = format!("{}-{}", env!("CARGO_PKG_NAME"), std::process::id());
        // For `CLIENT LIST`. An access list may forbid it.
        let named = redis::cmd("CLIENT").arg("SETNAME").arg(name).exec_async(&mut connection).await;
        if let Err(error) = named {
            tracing::debug!(%error, "connection to redis left unnamed");
        }
        Ok(connection)
    }
}

/// The connections of one runtime. They are replaced together.
#[derive(Debug)]
pub(super) struct Connections {
    /// Differs from that of every other set of this process.
    pub(super) id: u64,
    pub(super) main: MultiplexedConnection,
    /// For durable writes, where the server has replicas: WAIT stops whatever is behind it.
    pub(super) durable: Option<MultiplexedConnection>,
    pub(super) fault: Arc<Fault>,
    /// Held during WAIT: whoever comes behind one that failed learns that before its own.
    pub(super) waiting: tokio::sync::Mutex<()>,
    opened: Instant,
    /// Milliseconds after `opened`.
    lagging_until: AtomicU64,
}

impl Connections {
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

/// Says once that a set of connections must be replaced.
#[derive(Debug, Default)]
pub(super) struct Fault {
    cause: OnceLock<Cause>,
    raised: Notify,
}

impl Fault {
    /// The first cause stays.
    pub(super) fn raise(&self, cause: Cause) {
        if self.cause.set(cause).is_ok() {
            self.raised.notify_one();
        }
    }

    pub(super) fn is_raised(&self) -> bool {
        self.cause.get().is_some()
    }

    /// Waits for the cause. For one task only, the supervisor.
    pub(super) async fn raised(&self) -> Cause {
        loop {
            if let Some(cause) = self.cause.get() {
                return cause.clone();
            }
            self.raised.notified().await;
        }
    }
}

/// Why there is no connection, or no longer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Cause {
    Disconnected,
    Unresponsive,
    /// What the server is instead.
    NotMaster(&'static str),
    /// READONLY, LOADING, MASTERDOWN, UNBLOCKED: the server stopped serving as a master, or does
    /// not serve yet.
    NotServing(String),
    TooOld,
    /// The server knows us not, or not by this password; or there is no password to tell.
    Login(String),
    Failed(String),
}

impl Cause {
    /// What a failed attempt to connect, or to ask on a new connection, says.
    pub(super) fn of(error: &RedisError) -> Self {
        match (error.kind(), not_serving(error)) {
            (ErrorKind::RESP3NotSupported, _) => Self::TooOld,
            (_, Some(code)) => Self::NotServing(code.to_owned()),
            (_, None) => Self::Failed(error.to_string()),
        }
    }

    /// Whether an error of a command means that its connections must be replaced.
    pub(super) fn of_command(error: &RedisError) -> Option<Self> {
        if let Some(code) = not_serving(error) {
            return Some(Self::NotServing(code.to_owned()));
        }
        // Nothing that is ours times out inside the crate, so that every error of input and
        // output is one of the connection.
        (error.is_unrecoverable_error() || error.is_io_error()).then_some(Self::Disconnected)
    }
}

/// The code of an answer by a server that is not, or no more, a master that serves.
fn not_serving(error: &RedisError) -> Option<&'static str> {
    const CODES: [&str; 4] = ["READONLY", "LOADING", "MASTERDOWN", "UNBLOCKED"];
    let is_code = |code: &&str| error.code() == Some(*code);
    // Before Redis 7, a script's error carries that of its command in its text.
    let is_in_script = |code: &&str| {
        let detail = error.detail().unwrap_or_default();
        error.code() == Some("ERR") && detail.contains(&format!(" -{code} "))
    };
    CODES.into_iter().find(|code| is_code(code) || is_in_script(code))
}

impl fmt::Display for Cause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Disconnected => f.write_str("connection lost"),
            Self::Unresponsive => f.write_str("no answer"),
            Self::NotMaster(what) => write!(f, "the server is {what}, not a master"),
            Self::NotServing(code) => write!(f, "the server answered {code}"),
            Self::TooOld => f.write_str("the server knows no RESP3: Redis 6 or newer is needed"),
            Self::Login(error) | Self::Failed(error) => f.write_str(error),
        }
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

    #[test]
    fn errors_of_a_demoted_or_loading_server_replace_the_connection_and_others_do_not() {
        let server = |code: &str, detail: &str| {
            redis::make_extension_error(code.to_owned(), Some(detail.to_owned()))
        };
        let broken = RedisError::from(std::io::Error::from(std::io::ErrorKind::BrokenPipe));
        let timed_out = RedisError::from(std::io::Error::from(std::io::ErrorKind::TimedOut));
        for (error, expected) in [
            (broken, Some(Cause::Disconnected)),
            (timed_out, Some(Cause::Disconnected)),
            (server("READONLY", "a replica"), Some(Cause::NotServing("READONLY".to_owned()))),
            (server("UNBLOCKED", "demoted"), Some(Cause::NotServing("UNBLOCKED".to_owned()))),
            (
                server("ERR", "Error running script: @user_script:1: -READONLY You can't write"),
                Some(Cause::NotServing("READONLY".to_owned())),
            ),
            (server("OOM", "command not allowed when used memory > 'maxmemory'"), None),
            (server("WRONGTYPE", "not a string"), None),
            (server("MISCONF", "unable to persist on disk"), None),
        ] {
            assert_eq!(Cause::of_command(&error), expected, "{error}");
        }
    }
}
