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
use super::servers::Route;
use super::slots::Redirect;
use super::wire::Wire;
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
    /// How long a start waits for the server.
    pub(super) start: Duration,
}

impl Deadlines {
    pub(super) const DEFAULT: Self = Self {
        lookup: Duration::from_millis(150),
        hedge: Duration::from_millis(20),
        write: Duration::from_millis(150),
        write_overall: Duration::from_millis(500),
        wait: Duration::from_millis(100),
        replacement: Duration::from_millis(25),
        start: Duration::from_secs(1),
    };
}

/// Why a look-up of several keys failed.
pub(super) enum Missed {
    Unavailable,
    /// Some of the keys, or all, are on their way to another server.
    Scattered,
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
    /// Reads one key, on the better connection for it, and on the other as well where the answer
    /// does not come or the connection breaks. The answer, and the link that it came over. Nothing
    /// where the store is unavailable; the log says why.
    pub(super) async fn look_up<T, Fut>(
        &self,
        about: About,
        ask: impl Fn(Wire) -> Fut,
    ) -> Option<(T, Option<Arc<Link>>)>
    where
        Fut: Future<Output = RedisResult<T>>,
    {
        self.look_up_together(about, false, ask).await.ok()
    }

    /// As [`look_up`](Self::look_up). Where several keys are read (`several`) they may be in two
    /// places for a while, and each has to be looked up by itself.
    pub(super) async fn look_up_together<T, Fut>(
        &self,
        about: About,
        several: bool,
        ask: impl Fn(Wire) -> Fut,
    ) -> Result<(T, Option<Arc<Link>>), Missed>
    where
        Fut: Future<Output = RedisResult<T>>,
    {
        let (names, purpose) = (&self.namespace, Purpose::Reading);
        let tries = async {
            let patience = self.deadlines.replacement;
            let mut route = self.servers.route(names, about, purpose, patience).await?;
            let (mut tries, mut redirects) = (0, 0);
            loop {
                let error = match self.hedged(&route, &ask).await {
                    Ok(answer) => return Some(Ok(answer)),
                    Err(error) => error,
                };
                if let Some(redirect) = self.servers.redirect(&error, &route) {
                    if several && matches!(redirect, Redirect::Ask(_)) {
                        return Some(Err(Missed::Scattered));
                    }
                    route = self.follow(about, purpose, &redirect, redirects, &error).await?;
                    redirects += 1;
                    continue;
                }
                self.judge(about, &route.connections, &error)?;
                tries += 1;
                if tries == TRIES {
                    return None;
                }
                let other = self.servers.reroute(names, about, purpose, &route);
                route = timeout(self.deadlines.replacement, other).await.ok()?;
            }
        };
        let answer = timeout(self.deadlines.lookup, tries).await.ok().flatten();
        answer.unwrap_or(Err(Missed::Unavailable))
    }

    async fn follow(
        &self,
        about: About,
        purpose: Purpose,
        redirect: &Redirect,
        nth: u32,
        error: &RedisError,
    ) -> Option<Route> {
        if *redirect == Redirect::Down {
            self.log_refusal(about, error);
        }
        self.servers.follow(&self.namespace, about, purpose, redirect, nth).await
    }

    async fn hedged<T, Fut>(
        &self,
        route: &Route,
        ask: impl Fn(Wire) -> Fut,
    ) -> RedisResult<(T, Option<Arc<Link>>)>
    where
        Fut: Future<Output = RedisResult<T>>,
    {
        let asked = |line: &Line| {
            let (answer, link) = (ask(route.over(line)), line.link());
            async move { answer.await.map(|answer| (answer, link)) }
        };
        let broke = |answer: &RedisResult<_>| match answer {
            Ok(_) => false,
            Err(error) => Cause::of_command(error) == Some(Cause::Disconnected),
        };
        let mut readers = route.connections.readers();
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
        operation: impl Fn(Route) -> Fut,
    ) -> Option<T>
    where
        Fut: Future<Output = Result<T, Failure>>,
    {
        let (names, purpose) = (&self.namespace, Purpose::Writing);
        let tries = async {
            let patience = self.deadlines.replacement;
            let mut route = self.servers.route(names, about, purpose, patience).await?;
            let (mut tries, mut redirects) = (0, 0);
            while tries < TRIES {
                let tried = timeout(attempt, operation(route.clone())).await;
                if let Ok(Err(Failure::Redis(error))) = &tried
                    && let Some(redirect) = self.servers.redirect(error, &route)
                {
                    route = self.follow(about, purpose, &redirect, redirects, error).await?;
                    redirects += 1;
                    continue;
                }
                tries += 1;
                match tried {
                    // The next master may never hear of what was written behind the fence.
                    Ok(Ok(_)) if route.connections.is_fenced() => return None,
                    Ok(Ok(outcome)) => return Some(outcome),
                    Ok(Err(Failure::Unconfirmed)) => return None,
                    Ok(Err(Failure::Redis(error))) => {
                        self.judge(about, &route.connections, &error)?;
                    }
                    // Unknown whether it was carried out; repeats are harmless. If the server
                    // hangs, the heartbeat will find out.
                    Err(_elapsed) if route.connections.serves(purpose) => continue,
                    Err(_elapsed) => {}
                }
                let other = self.servers.reroute(names, about, purpose, &route);
                route = timeout(self.deadlines.replacement, other).await.ok()?;
            }
            None
        };
        timeout(overall, tries).await.ok().flatten()
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
        route: &Route,
        script: &ScriptInvocation<'_>,
        durability: Durability,
    ) -> Result<i64, Failure> {
        self.write_if(route, script, durability, |outcome| *outcome == layout::DONE).await
    }

    /// Runs a script that writes something whatever it finds, on the connection that the durability
    /// asks for, and then waits for replicas where there are any.
    pub(super) async fn write_any<T: FromRedisValue>(
        &self,
        route: &Route,
        script: &ScriptInvocation<'_>,
        durability: Durability,
    ) -> Result<T, Failure> {
        self.write_if(route, script, durability, |_| true).await
    }

    async fn write_if<T: FromRedisValue>(
        &self,
        route: &Route,
        script: &ScriptInvocation<'_>,
        durability: Durability,
        wrote: impl Fn(&T) -> bool,
    ) -> Result<T, Failure> {
        let durable = match durability {
            Durability::Master => None,
            Durability::Replica => route.connections.durable.as_ref(),
        };
        let Some(durable) = durable else {
            return Ok(script.invoke_async(&mut route.over(&route.connections.write)).await?);
        };
        let mut durable = route.over(durable);
        let outcome = script.invoke_async(&mut durable).await?;
        if wrote(&outcome) {
            self.wait_for_replicas(&route.connections, durable.plain()).await?;
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
        let wait = self.ask_replicas(connections, durable);
        let confirmed = connections.waits.covered(wait).await?;
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

    /// How many replicas have confirmed what was written on this connection until now.
    async fn ask_replicas(
        &self,
        connections: &Connections,
        durable: &mut MultiplexedConnection,
    ) -> RedisResult<u64> {
        let required = u64::from(self.require_replicas);
        if connections.is_lagging() && required == 0 {
            return Ok(0);
        }
        let mut wait = redis::cmd("WAIT");
        let wait_ms = u64::try_from(self.deadlines.wait.as_millis()).unwrap_or(u64::MAX);
        wait.arg(required.max(1)).arg(wait_ms);
        let confirmed = match wait.query_async::<u64>(durable).await {
            Ok(replicas) => replicas,
            Err(error) if error.kind() == ErrorKind::Server(ServerErrorKind::NoPerm) => 0,
            Err(error) => return Err(error),
        };
        if confirmed == 0 {
            connections.note_lag();
        }
        Ok(confirmed)
    }

    /// The deadline of one attempt to write.
    pub(super) fn attempt(&self, durability: Durability) -> Duration {
        match durability {
            Durability::Master => self.deadlines.write,
            Durability::Replica => self.deadlines.write + self.deadlines.wait,
        }
    }
}
