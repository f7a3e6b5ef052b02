//! The Redis engine. The only place that names the `redis` crate.
//!
//! `layout` says how records lie in the server, `connection` how it is reached, `supervisor` who
//! keeps it reached. What is here are the operations and their deadlines. A caller gets an answer
//! or `Unavailable` within its deadline, and at once while the server is known to be down.

mod advice;
mod beside;
mod connection;
mod endpoint;
mod layout;
#[cfg(test)]
mod slots;
mod supervisor;
#[cfg(test)]
pub(crate) mod tests;
mod url;

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use redis::{ErrorKind, RedisResult, Script, ScriptInvocation, ServerErrorKind};
use tokio::sync::watch;
use tokio::time::timeout;

use self::connection::{Cause, Connections};
use self::endpoint::Endpoint;
use self::layout::{Namespace, Scripts};
use self::supervisor::Fleet;
pub use self::url::{Kind, RedisUrl};
use super::credentials::Login;
use super::health::Health;
use super::throttle::Throttle;
use super::{About, KEEP_MAX, SessionStore, StoreError, Stored, fits};
use crate::session::outcome::{
    Created, Durability, Epoch, Leased, Lookup, RecordKey, Removed, Replaced,
};

/// Where the servers are, who we are to them, and what the keys are called.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// Checked. Prints without its password.
    pub url: RedisUrl,
    /// First part of every key; has no `{` or `}`.
    pub namespace: String,
    /// For the servers that hold data; what it leaves open is in the URL.
    pub login: Login,
    /// For the Sentinels.
    pub sentinel: Login,
    /// How many replicas must confirm a durable write for it to be one.
    pub require_replicas: u32,
}

impl Settings {
    /// What a URL alone says.
    pub fn new(url: RedisUrl, namespace: &str) -> Self {
        Self {
            url,
            namespace: namespace.to_owned(),
            login: Login::default(),
            sentinel: Login::default(),
            require_replicas: 0,
        }
    }
}

/// How long calls may take.
#[derive(Clone, Copy, Debug)]
struct Deadlines {
    /// One look-up, with its repeat.
    lookup: Duration,
    /// One attempt to write.
    write: Duration,
    /// A write with its repeat.
    write_overall: Duration,
    /// How long WAIT waits for a replica, within a durable attempt to write.
    wait: Duration,
    /// How long a call whose connection broke under it waits for the one that replaces it. The
    /// first attempt to reconnect is made at once, so that a restarted connection costs no
    /// request; a call that begins while the server is down does not wait at all.
    replacement: Duration,
}

impl Deadlines {
    const DEFAULT: Self = Self {
        lookup: Duration::from_millis(150),
        write: Duration::from_millis(150),
        write_overall: Duration::from_millis(500),
        wait: Duration::from_millis(100),
        replacement: Duration::from_millis(25),
    };
}

/// How long [`SessionStore::start`] waits for the server.
const START_PATIENCE: Duration = Duration::from_secs(1);
/// A call is tried this often: whatever it writes, it writes once.
const TRIES: u32 = 2;

/// Records in a Redis server.
pub struct RedisStore {
    fleet: Arc<Fleet>,
    namespace: Namespace,
    scripts: Scripts,
    deadlines: Deadlines,
    refusals: Throttle,
    unconfirmed: Throttle,
    /// Dropped with the store, which ends the supervisors.
    _open: watch::Sender<()>,
}

impl RedisStore {
    /// Checks the settings. Connects nothing: [`SessionStore::start`] does, on every runtime.
    ///
    /// # Errors
    /// `Settings`, for a namespace with braces, or a URL that cannot be used.
    pub fn open(settings: &Settings) -> Result<Self, StoreError> {
        let (open, closed) = watch::channel(());
        let endpoint = Endpoint::new(settings)?;
        match endpoint.kind() {
            Kind::Single => {}
            Kind::Sentinel { .. } | Kind::Cluster => {
                let reason = "Sentinels and clusters are not supported yet: name one server";
                return Err(StoreError::Settings(reason.to_owned()));
            }
        }
        let fleet = Fleet::new(endpoint, settings.url.to_string(), closed);
        Ok(Self {
            fleet: Arc::new(fleet),
            namespace: Namespace::parse(&settings.namespace).map_err(StoreError::Settings)?,
            scripts: Scripts::new(),
            deadlines: Deadlines::DEFAULT,
            refusals: Throttle::default(),
            unconfirmed: Throttle::default(),
            _open: open,
        })
    }

    /// Runs an operation on working connections, and once more where that makes sense: where its
    /// connections broke and others are there in time, or where an attempt took too long.
    /// Nothing where the store is unavailable; the log says why.
    async fn run<T, Fut>(
        &self,
        about: About,
        attempt: Duration,
        overall: Duration,
        operation: impl Fn(Arc<Connections>) -> Fut,
    ) -> Option<T>
    where
        Fut: Future<Output = RedisResult<T>>,
    {
        let tries = async {
            let mut connections = self.fleet.pick()?;
            for _ in 0..TRIES {
                let tried = connections.id;
                match timeout(attempt, operation(connections.clone())).await {
                    Ok(Ok(outcome)) => return Some(outcome),
                    Ok(Err(error)) => match Cause::of_command(&error) {
                        Some(cause) => connections.fault.raise(cause),
                        None => {
                            self.log_refusal(about, &error);
                            return None;
                        }
                    },
                    // Unknown whether it was carried out; repeats are harmless. If the server
                    // hangs, the heartbeat will find out.
                    Err(_elapsed) if !connections.fault.is_raised() => continue,
                    Err(_elapsed) => {}
                }
                let other = self.fleet.pick_other(tried);
                connections = timeout(self.deadlines.replacement, other).await.ok()?;
            }
            None
        };
        timeout(overall, tries).await.ok().flatten()
    }

    /// The server answered, but not what it should: memory is full, a disk failed, an access list
    /// forbids a command, or something that is not ours is stored at the key. None of these may
    /// pass for "not there": the proxy would make a new session over one that lives, and hide a
    /// mistake that only an operator can mend.
    fn log_refusal(&self, about: About, error: &dyn fmt::Display) {
        if let Some(suppressed) = self.refusals.admit() {
            tracing::error!(record = ?about, %error, suppressed, "redis refused a command");
        }
    }

    /// Runs a script that writes, on the connection that the durability asks for, and then waits
    /// for a replica where there is one.
    async fn write(
        &self,
        connections: &Connections,
        script: &ScriptInvocation<'_>,
        durability: Durability,
    ) -> RedisResult<i64> {
        let durable = match durability {
            Durability::Master => None,
            Durability::Replica => connections.durable.clone(),
        };
        let Some(mut durable) = durable else {
            return script.invoke_async(&mut connections.main.clone()).await;
        };
        let outcome = script.invoke_async(&mut durable).await?;
        if outcome == layout::DONE {
            self.wait_for_replica(connections, &mut durable).await?;
        }
        Ok(outcome)
    }

    /// Waits for a replica. A write that none confirmed in time stands: the master has it, and
    /// undoing it would be no safer.
    async fn wait_for_replica(
        &self,
        connections: &Connections,
        durable: &mut redis::aio::MultiplexedConnection,
    ) -> RedisResult<()> {
        let _waiting = connections.waiting.lock().await;
        if !connections.is_lagging() {
            let mut wait = redis::cmd("WAIT");
            wait.arg(1).arg(u64::try_from(self.deadlines.wait.as_millis()).unwrap_or(u64::MAX));
            match wait.query_async::<u64>(durable).await {
                Ok(0) => {}
                Ok(_replicas) => return Ok(()),
                Err(error) if error.kind() == ErrorKind::Server(ServerErrorKind::NoPerm) => {}
                Err(error) => return Err(error),
            }
            connections.note_lag();
        }
        if let Some(suppressed) = self.unconfirmed.admit() {
            tracing::warn!(suppressed, "redis: no replica confirmed a revocation or login");
        }
        Ok(())
    }

    /// A script on a record, and on its index where it has a subject.
    fn with_index<'a>(&self, script: &'a Script, key: RecordKey) -> ScriptInvocation<'a> {
        let mut invocation = script.key(self.namespace.key(key));
        if key.has_subject {
            invocation.key(self.namespace.index(key.tag));
        }
        invocation
    }

    /// The deadline of one attempt to write.
    fn attempt(&self, durability: Durability) -> Duration {
        match durability {
            Durability::Master => self.deadlines.write,
            Durability::Replica => self.deadlines.write + self.deadlines.wait,
        }
    }
}

impl fmt::Debug for RedisStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RedisStore")
            .field("namespace", &self.namespace)
            .field("health", &self.fleet.health.current())
            .finish_non_exhaustive()
    }
}

#[async_trait]
impl SessionStore for RedisStore {
    async fn load(&self, key: RecordKey) -> Lookup<Stored> {
        if key.has_subject {
            return self.load_with_epoch(key).await;
        }
        let mut get = redis::cmd("GET");
        get.arg(self.namespace.key(key));
        let get = &get;
        let deadline = self.deadlines.lookup;
        let value = self.run(About::Record(key), deadline, deadline, |connections| async move {
            get.query_async::<Option<Vec<u8>>>(&mut connections.main.clone()).await
        });
        match value.await {
            Some(Some(value)) => match layout::decode(value) {
                Some(stored) => Lookup::Found(stored),
                None => {
                    self.log_refusal(About::Record(key), &"the value is not a record of ours");
                    Lookup::Unavailable
                }
            },
            Some(None) => Lookup::NotFound,
            None => Lookup::Unavailable,
        }
    }

    async fn create(&self, key: RecordKey, sealed: &[u8], keep: Duration) -> Created {
        if !fits(key, sealed) {
            return Created::Unavailable;
        }
        let mut script = self.with_index(&self.scripts.create, key);
        script.arg(layout::encode(1, sealed)).arg(keep_ms(keep)).arg(&key.id[..]);
        let script = &script;
        let outcome = self.run(
            About::Record(key),
            self.attempt(Durability::Master),
            self.deadlines.write_overall,
            |connections| async move { self.write(&connections, script, Durability::Master).await },
        );
        match outcome.await {
            Some(layout::DONE) => Created::Created,
            Some(layout::OTHER) => Created::Taken,
            Some(_) | None => Created::Unavailable,
        }
    }

    async fn replace(
        &self,
        key: RecordKey,
        expected: u64,
        epoch: Option<Epoch>,
        sealed: &[u8],
        keep: Duration,
        durability: Durability,
    ) -> Replaced {
        let Some(version) = expected.checked_add(1) else { return Replaced::Conflict };
        if !fits(key, sealed) {
            return Replaced::Unavailable;
        }
        let key = RecordKey { has_subject: key.has_subject || epoch.is_some(), ..key };
        let mut script = self.with_index(&self.scripts.replace, key);
        if epoch.is_some() {
            script.key(self.namespace.epoch(key.tag));
        }
        script
            .arg(&expected.to_be_bytes()[..])
            .arg(layout::encode(version, sealed))
            .arg(keep_ms(keep))
            .arg(&key.id[..]);
        if let Some(epoch) = epoch {
            script.arg(&epoch.0[..]);
        }
        let script = &script;
        let outcome = self.run(
            About::Record(key),
            self.attempt(durability),
            self.deadlines.write_overall,
            |connections| async move { self.write(&connections, script, durability).await },
        );
        match outcome.await {
            Some(layout::DONE) => Replaced::Replaced,
            Some(layout::OTHER) => Replaced::Conflict,
            Some(layout::GONE) => Replaced::Gone,
            Some(_) | None => Replaced::Unavailable,
        }
    }

    async fn remove(&self, key: RecordKey) -> Removed {
        let mut script = self.with_index(&self.scripts.remove, key);
        script.arg(&key.id[..]);
        let script = &script;
        let outcome = self.run(
            About::Record(key),
            self.attempt(Durability::Replica),
            self.deadlines.write_overall,
            |connections| async move { self.write(&connections, script, Durability::Replica).await },
        );
        match outcome.await {
            Some(layout::DONE) => Removed::Removed,
            Some(_) | None => Removed::Unavailable,
        }
    }

    async fn epoch(&self, tag: [u8; 8], proposal: Epoch, keep: Duration) -> Lookup<Epoch> {
        self.read_or_make_epoch(tag, proposal, keep).await
    }

    async fn revoke(
        &self,
        tag: [u8; 8],
        replacement: Epoch,
        keep: Duration,
    ) -> Lookup<Option<Epoch>> {
        self.replace_epoch(tag, replacement, keep).await
    }

    async fn list(&self, tag: [u8; 8]) -> Lookup<Vec<[u8; 16]>> {
        self.list_of(tag).await
    }

    async fn era(&self) -> Lookup<u32> {
        self.read_era().await
    }

    async fn next_era(&self, known: u32) -> Lookup<u32> {
        self.move_era(known, 1).await
    }

    async fn raise_era(&self, least: u32) -> Lookup<u32> {
        self.move_era(least, 0).await
    }

    async fn lease(&self, key: RecordKey, owner: [u8; 16], hold: Duration) -> Leased {
        self.take_lease(key, owner, hold).await
    }

    async fn release(&self, key: RecordKey, owner: [u8; 16]) {
        self.give_lease_up(key, owner).await;
    }

    async fn ping(&self) -> bool {
        let Some(connections) = self.fleet.pick() else { return false };
        let ping = redis::cmd("PING");
        let answer = timeout(
            self.deadlines.lookup,
            ping.query_async::<redis::Value>(&mut connections.main.clone()),
        )
        .await;
        match answer {
            Ok(Ok(_)) => true,
            Ok(Err(error)) => {
                if let Some(cause) = Cause::of_command(&error) {
                    connections.fault.raise(cause);
                }
                false
            }
            Err(_elapsed) => false,
        }
    }

    async fn start(&self) {
        self.fleet.join(START_PATIENCE).await;
    }

    fn health(&self) -> watch::Receiver<Health> {
        self.fleet.health.subscribe()
    }
}

/// PX takes at least a millisecond.
fn keep_ms(keep: Duration) -> u64 {
    u64::try_from(keep.min(KEEP_MAX).as_millis()).unwrap_or(u64::MAX).max(1)
}

/// A shorthand for the tests, which need other deadlines on a busy machine.
#[cfg(test)]
impl RedisStore {
    fn patient(mut self) -> Self {
        let long = Duration::from_secs(20);
        self.deadlines = Deadlines {
            lookup: long,
            write: long,
            write_overall: long,
            wait: long,
            replacement: long,
        };
        let fleet = Arc::get_mut(&mut self.fleet).expect("not started yet");
        fleet.set_heartbeat(long);
        self
    }
}
