//! How a call is made: on which connection, how long it may take, and what an error means.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use redis::aio::MultiplexedConnection;
use redis::{
    ErrorKind, FromRedisValue, RedisError, RedisResult, ScriptInvocation, ServerErrorKind,
};
use tokio::time::timeout;

use super::cause::Cause;
use super::connection::{Connections, Line, Purpose};
use super::supervisor::Fleet;
use super::{RedisStore, layout};
use crate::session::outcome::Durability;
use crate::store::About;
use crate::store::changes::Link;

/// A call is tried this often: whatever it writes, it writes once.
const TRIES: u32 = 2;

/// How long calls may take.
#[derive(Clone, Copy, Debug)]
pub(super) struct Deadlines {
    /// One look-up, with its repeats.
    pub(super) lookup: Duration,
    /// How long an answer is waited for before the other connection is asked too.
    pub(super) hedge: Duration,
    /// One attempt to write.
    pub(super) write: Duration,
    /// A write with its repeat.
    pub(super) write_overall: Duration,
    /// How long WAIT waits for replicas, within a durable attempt to write.
    pub(super) wait: Duration,
    /// How long a call whose connection broke under it waits for the one that replaces it. The
    /// first attempt to reconnect is made at once, so that a restarted connection costs no
    /// request; a call that begins while the server is down does not wait at all.
    pub(super) replacement: Duration,
}

impl Deadlines {
    pub(super) const DEFAULT: Self = Self {
        lookup: Duration::from_millis(150),
        hedge: Duration::from_millis(20),
        write: Duration::from_millis(150),
        write_overall: Duration::from_millis(500),
        wait: Duration::from_millis(100),
        replacement: Duration::from_millis(25),
    };
}

/// Why an attempt to write failed.
pub(super) enum Failure {
    Redis(RedisError),
    /// The master has it, but fewer replicas than must.
    Unconfirmed,
}

impl From<RedisError> for Failure {
    fn from(error: RedisError) -> Self {
        Self::Redis(error)
    }
}

impl RedisStore {
    /// Reads, on the better connection for it, and on the other as well where the answer does not
    /// come or the connection breaks. The answer, and the link that it came over. Nothing where
    /// the store is unavailable; the log says why.
    pub(super) async fn look_up<T, Fut>(
        &self,
        about: About,
        ask: impl Fn(MultiplexedConnection) -> Fut,
    ) -> Option<(T, Option<Arc<Link>>)>
    where
        Fut: Future<Output = RedisResult<T>>,
    {
        let fleet = self.servers.of(about);
        let tries = async {
            let mut connections = self.pick(fleet, Purpose::Reading).await?;
            for _ in 0..TRIES {
                match self.hedged(&connections, &ask).await {
                    Ok(answer) => return Some(answer),
                    Err(error) => self.judge(about, &connections, &error)?,
                }
                let other = fleet.pick_other(Purpose::Reading, connections.id);
                connections = timeout(self.deadlines.replacement, other).await.ok()?;
            }
            None
        };
        timeout(self.deadlines.lookup, tries).await.ok().flatten()
    }

    async fn hedged<T, Fut>(
        &self,
        connections: &Connections,
        ask: impl Fn(MultiplexedConnection) -> Fut,
    ) -> RedisResult<(T, Option<Arc<Link>>)>
    where
        Fut: Future<Output = RedisResult<T>>,
    {
        let asked = |line: &Line| {
            let (answer, link) = (ask(line.connection()), line.link());
            async move { answer.await.map(|answer| (answer, link)) }
        };
        let broke = |answer: &RedisResult<_>| match answer {
            Ok(_) => false,
            Err(error) => Cause::of_command(error) == Some(Cause::Disconnected),
        };
        let mut readers = connections.readers();
        let Some(first) = readers.next() else {
            return Err(std::io::Error::from(std::io::ErrorKind::NotConnected).into());
        };
        let mut first = std::pin::pin!(asked(first));
        let Some(second) = readers.next() else { return first.await };
        match timeout(self.deadlines.hedge, first.as_mut()).await {
            Ok(answer) if broke(&answer) => return asked(second).await,
            Ok(answer) => return answer,
            Err(_elapsed) => {}
        }
        let mut second = std::pin::pin!(asked(second));
        tokio::select! {
            answer = first.as_mut() => if broke(&answer) { second.await } else { answer },
            answer = second.as_mut() => if broke(&answer) { first.await } else { answer },
        }
    }

    /// Runs an operation on working connections, and once more where that makes sense: where its
    /// connections broke and others are there in time, or where an attempt took too long.
    /// Nothing where the store is unavailable; the log says why.
    pub(super) async fn run<T, Fut>(
        &self,
        about: About,
        attempt: Duration,
        overall: Duration,
        operation: impl Fn(Arc<Connections>) -> Fut,
    ) -> Option<T>
    where
        Fut: Future<Output = Result<T, Failure>>,
    {
        let fleet = self.servers.of(about);
        let tries = async {
            let mut connections = self.pick(fleet, Purpose::Writing).await?;
            for _ in 0..TRIES {
                match timeout(attempt, operation(connections.clone())).await {
                    Ok(Ok(outcome)) => return Some(outcome),
                    Ok(Err(Failure::Unconfirmed)) => return None,
                    Ok(Err(Failure::Redis(error))) => self.judge(about, &connections, &error)?,
                    // Unknown whether it was carried out; repeats are harmless. If the server
                    // hangs, the heartbeat will find out.
                    Err(_elapsed) if connections.serves(Purpose::Writing) => continue,
                    Err(_elapsed) => {}
                }
                let other = fleet.pick_other(Purpose::Writing, connections.id);
                connections = timeout(self.deadlines.replacement, other).await.ok()?;
            }
            None
        };
        timeout(overall, tries).await.ok().flatten()
    }

    /// Connections to begin with. Where the server is down there are none at once; where only those
    /// for this purpose are missing, others are waited for as after a break.
    async fn pick(&self, fleet: &Fleet, purpose: Purpose) -> Option<Arc<Connections>> {
        if let Some(connections) = fleet.pick(purpose) {
            return Some(connections);
        }
        let rest = fleet.pick(match purpose {
            Purpose::Reading => Purpose::Writing,
            Purpose::Writing => Purpose::Reading,
        })?;
        timeout(self.deadlines.replacement, fleet.pick_other(purpose, rest.id)).await.ok()
    }

    /// What to do after an error: to try again on other connections, or to give up.
    fn judge(&self, about: About, connections: &Connections, error: &RedisError) -> Option<()> {
        match Cause::of_command(error) {
            // Its driver has noted that already.
            Some(Cause::Disconnected) => {}
            Some(cause) => connections.fault.raise(cause),
            None => {
                self.log_refusal(about, error);
                return None;
            }
        }
        Some(())
    }

    /// The server answered, but not what it should: memory is full, a disk failed, an access list
    /// forbids a command, or something that is not ours is stored at the key. None of these may
    /// pass for "not there": the proxy would make a new session over one that lives, and hide a
    /// mistake that only an operator can mend.
    pub(super) fn log_refusal(&self, about: About, error: &dyn fmt::Display) {
        if let Some(suppressed) = self.refusals.admit() {
            tracing::error!(record = ?about, %error, suppressed, "redis refused a command");
        }
    }

    /// Runs a script that writes something only where it answers [`layout::DONE`], as
    /// [`write_any`](Self::write_any) does.
    pub(super) async fn write(
        &self,
        connections: &Connections,
        script: &ScriptInvocation<'_>,
        durability: Durability,
    ) -> Result<i64, Failure> {
        self.write_if(connections, script, durability, |outcome| *outcome == layout::DONE).await
    }

    /// Runs a script that writes something whatever it finds, on the connection that the durability
    /// asks for, and then waits for replicas where there are any.
    pub(super) async fn write_any<T: FromRedisValue>(
        &self,
        connections: &Connections,
        script: &ScriptInvocation<'_>,
        durability: Durability,
    ) -> Result<T, Failure> {
        self.write_if(connections, script, durability, |_| true).await
    }

    async fn write_if<T: FromRedisValue>(
        &self,
        connections: &Connections,
        script: &ScriptInvocation<'_>,
        durability: Durability,
        wrote: impl Fn(&T) -> bool,
    ) -> Result<T, Failure> {
        let durable = match durability {
            Durability::Master => None,
            Durability::Replica => connections.durable.as_ref(),
        };
        let Some(durable) = durable else {
            return Ok(script.invoke_async(&mut connections.write.connection()).await?);
        };
        let mut durable = durable.connection();
        let outcome = script.invoke_async(&mut durable).await?;
        if wrote(&outcome) {
            self.wait_for_replicas(connections, &mut durable).await?;
        }
        Ok(outcome)
    }

    /// Waits for replicas. A write that none confirmed in time stands, unless some must: the master
    /// has it, and undoing it would be no safer.
    async fn wait_for_replicas(
        &self,
        connections: &Connections,
        durable: &mut MultiplexedConnection,
    ) -> Result<(), Failure> {
        let required = u64::from(self.require_replicas);
        let _waiting = connections.waiting.lock().await;
        let confirmed = if connections.is_lagging() && required == 0 {
            0
        } else {
            let mut wait = redis::cmd("WAIT");
            let wait_ms = u64::try_from(self.deadlines.wait.as_millis()).unwrap_or(u64::MAX);
            wait.arg(required.max(1)).arg(wait_ms);
            let confirmed = match wait.query_async::<u64>(durable).await {
                Ok(replicas) => replicas,
                Err(error) if error.kind() == ErrorKind::Server(ServerErrorKind::NoPerm) => 0,
                Err(error) => return Err(error.into()),
            };
            if confirmed == 0 {
                connections.note_lag();
            }
            confirmed
        };
        if confirmed == 0 {
            self.unconfirmed.fetch_add(1, Ordering::Relaxed);
        }
        if confirmed < required.max(1)
            && let Some(suppressed) = self.unconfirmed_log.admit()
        {
            let replicas = required.max(1);
            tracing::warn!(
                confirmed,
                replicas,
                suppressed,
                "redis: too few replicas confirmed a revocation or login"
            );
        }
        if confirmed < required { Err(Failure::Unconfirmed) } else { Ok(()) }
    }

    /// The deadline of one attempt to write.
    pub(super) fn attempt(&self, durability: Durability) -> Duration {
        match durability {
            Durability::Master => self.deadlines.write,
            Durability::Replica => self.deadlines.write + self.deadlines.wait,
        }
    }
}
