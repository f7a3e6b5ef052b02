//! The Redis engine. The only place that names the `redis` crate.
//!
//! `layout` says how records lie in the server, `endpoint` and `target` where it is, `connection`
//! how it is reached, `supervisor` and `heartbeat` who keeps it reached, `tracking` how changes are heard
//! of, `calls` how a call is made. What is here are the operations. A caller gets an answer or
//! `Unavailable` within its deadline, and at once while the server is known to be down.

mod advice;
mod calls;
mod cause;
mod cluster;
mod connection;
mod endpoint;
mod fault;
mod fence;
mod heartbeat;
mod layout;
mod metadata;
mod probe;
mod rights;
mod sentinel;
mod servers;
mod slots;
mod supervisor;
mod target;
#[cfg(test)]
pub(crate) mod tests;
mod tls;
mod topology;
mod tracking;
mod url;
mod waits;
mod wire;

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use redis::{Script, ScriptInvocation};
use tokio::sync::watch;

use self::calls::Deadlines;
use self::cluster::Cluster;
use self::connection::Terms;
use self::endpoint::Endpoint;
use self::fence::Fence;
use self::heartbeat::Heartbeat;
use self::layout::{Namespace, Scripts};
use self::probe::Probe;
use self::servers::Servers;
use self::supervisor::Fleet;
use self::target::Target;
pub use self::tls::{ClientCertificate, Tls, server_name};
use self::tracking::Writing;
pub use self::url::{RedisUrl, UrlKind};
use super::changes::{Changes, Link};
use super::credentials::Login;
use super::health::Health;
use super::throttle::Throttle;
use super::{
    About, Announcement, Carry, KEEP_MAX, Keep, Listed, SessionStore, StoreError, Stored, fits,
};
use crate::clock::UnixMillis;
use crate::session::outcome::{
    Carried, Created, Durability, Epoch, Leased, Lookup, RecordKey, Removed, Replaced, Room,
};

/// Where the servers are, who we are to them, and what the keys are called.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RedisSettings {
    /// Checked. Prints without its password.
    pub url: RedisUrl,
    /// First part of every key; has no `{` or `}`.
    pub namespace: String,
    /// For the servers that hold data; what it leaves open is in the URL.
    pub login: Login,
    /// For the Sentinels.
    pub sentinel: Login,
    /// Where the URL says `rediss`.
    pub tls: Tls,
    /// How many replicas must confirm a durable write for it to be one.
    pub require_replicas: u32,
}

impl RedisSettings {
    /// What a URL alone says.
    pub fn new(url: RedisUrl, namespace: &str) -> Self {
        Self {
            url,
            namespace: namespace.to_owned(),
            login: Login::default(),
            sentinel: Login::default(),
            tls: Tls::default(),
            require_replicas: 0,
        }
    }
}

/// Records in a Redis server.
pub struct RedisStore {
    endpoint: Endpoint,
    servers: Servers,
    changes: Arc<Changes>,
    namespace: Namespace,
    scripts: Scripts,
    deadlines: Deadlines,
    require_replicas: u32,
    refusals: Throttle,
    /// Durable writes that no replica confirmed.
    unconfirmed: AtomicU64,
    unconfirmed_log: Throttle,
    /// Dropped with the store, which ends the supervisors.
    _open: watch::Sender<()>,
}

impl RedisStore {
    /// Checks the settings. Connects nothing: [`SessionStore::start`] does, on every runtime.
    /// `lease` is how long a link is relied on after it was proved; with none nothing is tracked.
    ///
    /// # Errors
    /// `Settings`, for a namespace with braces, or a URL that cannot be used.
    pub fn open(settings: &RedisSettings, lease: Duration) -> Result<Self, StoreError> {
        let (open, closed) = watch::channel(());
        let namespace = Namespace::parse(&settings.namespace).map_err(StoreError::Settings)?;
        let endpoint = Endpoint::new(settings)?;
        let changes = Arc::<Changes>::default();
        let fence = Arc::<Fence>::default();
        let terms = Terms {
            changes: changes.clone(),
            namespace: namespace.clone(),
            tracks: !lease.is_zero(),
            require_replicas: settings.require_replicas,
            beat: Heartbeat::of_lease(lease),
            probe: Arc::new(Probe::Server),
            fence: fence.clone(),
            refused: Arc::new(AtomicBool::new(false)),
        };
        let name = settings.url.to_string();
        let servers = match endpoint.kind() {
            UrlKind::Cluster => {
                Servers::Many(Arc::new(Cluster::new(endpoint.clone(), terms, name, closed)))
            }
            UrlKind::Single | UrlKind::Sentinel { .. } => {
                let target = Target::new(endpoint.clone(), fence)?;
                Servers::One(Arc::new(Fleet::new(target, terms, name, closed)))
            }
        };
        Ok(Self {
            endpoint,
            servers,
            changes,
            namespace,
            scripts: Scripts::new(),
            deadlines: Deadlines::DEFAULT,
            require_replicas: settings.require_replicas,
            refusals: Throttle::default(),
            unconfirmed: AtomicU64::new(0),
            unconfirmed_log: Throttle::default(),
            _open: open,
        })
    }

    /// A script on a record, and on its index where it has a subject.
    fn with_index<'a>(&self, script: &'a Script, key: RecordKey) -> ScriptInvocation<'a> {
        let mut invocation = script.key(self.namespace.key(key));
        if key.has_subject {
            invocation.key(self.namespace.index(key.tag)).key(self.namespace.counted(key.tag));
        }
        invocation
    }
}

impl fmt::Debug for RedisStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RedisStore")
            .field("namespace", &self.namespace)
            .field("health", &*self.servers.health().borrow())
            .finish_non_exhaustive()
    }
}

#[async_trait]
impl SessionStore for RedisStore {
    async fn load(&self, key: RecordKey) -> Lookup<Stored> {
        self.load_watched(key).await.0
    }

    async fn load_watched(&self, key: RecordKey) -> (Lookup<Stored>, Option<Arc<Link>>) {
        if key.has_subject { self.load_with_epoch(key).await } else { self.load_alone(key).await }
    }

    fn changes(&self) -> Option<&Changes> {
        Some(&self.changes)
    }

    async fn create(&self, key: RecordKey, sealed: &[u8], keep: Duration) -> Created {
        if !fits(key, sealed) {
            return Created::Unavailable;
        }
        let mut script = self.with_index(&self.scripts.create, key);
        script.arg(layout::encode(1, sealed)).arg(keep_ms(keep)).arg(&key.id[..]);
        let script = &script;
        let _writing = Writing::record(&self.changes, key);
        let outcome = self.run(
            About::Record(key),
            self.attempt(Durability::Master),
            self.deadlines.write_overall,
            |route| async move { self.write(&route, script, Durability::Master).await },
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
        keep: Keep,
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
            .arg(layout::encode(version, sealed))
            .arg(keep_ms(keep.time))
            .arg(&key.id[..])
            .arg(layout::place(keep.listing))
            .arg(&expected.to_be_bytes()[..]);
        if let Some(epoch) = epoch {
            script.arg(&epoch.0[..]);
        }
        let script = &script;
        let _writing = Writing::record(&self.changes, key);
        let outcome = self.run(
            About::Record(key),
            self.attempt(durability),
            self.deadlines.write_overall,
            |route| async move { self.write(&route, script, durability).await },
        );
        match outcome.await {
            Some(layout::DONE) => Replaced::Replaced,
            Some(layout::OTHER) => Replaced::Conflict,
            Some(layout::GONE) => Replaced::Gone,
            Some(_) | None => Replaced::Unavailable,
        }
    }

    async fn carry(&self, key: RecordKey, carry: Carry<'_>) -> Carried {
        self.carry_alone(RecordKey { has_subject: true, ..key }, carry).await
    }

    async fn remove(&self, key: RecordKey) -> Removed {
        let mut script = self.with_index(&self.scripts.remove, key);
        script.arg(&key.id[..]);
        let script = &script;
        let _writing = Writing::record(&self.changes, key);
        let outcome = self.run(
            About::Record(key),
            self.attempt(Durability::Replica),
            self.deadlines.write_overall,
            |route| async move { self.write(&route, script, Durability::Replica).await },
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

    async fn list(&self, tag: [u8; 8]) -> Lookup<Listed> {
        self.list_of(tag).await
    }

    async fn beyond(&self, tag: [u8; 8], room: Room) -> Lookup<Vec<[u8; 16]>> {
        self.beyond_room(tag, room).await
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

    async fn announce(&self, announcement: &Announcement, keep: Duration) -> Lookup<UnixMillis> {
        self.put_announcement(announcement, keep).await
    }

    async fn announced(&self) -> Lookup<Vec<Announcement>> {
        self.read_announcements().await
    }

    fn unconfirmed(&self) -> u64 {
        self.unconfirmed.load(Ordering::Relaxed)
    }

    async fn reload(&self) {
        if let Err(reason) = self.endpoint.reload() {
            tracing::error!(%reason, "the store's TLS files were not read again; the old ones stay");
        }
        match self.endpoint.probe().await {
            Ok(()) => tracing::info!("the store takes the credentials as they are now"),
            Err(cause) => tracing::error!(
                %cause,
                "the store does not take the credentials as they are now; connections stay open"
            ),
        }
    }

    async fn ping(&self) -> bool {
        let ask =
            |mut connection| async move { redis::cmd("PING").exec_async(&mut connection).await };
        self.look_up(About::Era, ask).await.is_some()
    }

    async fn start(&self) {
        self.servers.join(self.deadlines.start).await;
    }

    fn health(&self) -> watch::Receiver<Health> {
        self.servers.health()
    }
}

/// PX takes at least a millisecond.
fn keep_ms(keep: Duration) -> u64 {
    u64::try_from(keep.min(KEEP_MAX).as_millis()).unwrap_or(u64::MAX).max(1)
}

/// Shorthands for the tests, some of which need other deadlines on a busy machine.
#[cfg(test)]
impl RedisStore {
    fn patient(mut self) -> Self {
        let long = Duration::from_secs(20);
        self.deadlines = Deadlines {
            lookup: long,
            hedge: long,
            write: long,
            write_overall: long,
            wait: long,
            replacement: long,
            start: long,
        };
        let beat = self.beat();
        (beat.patience, beat.lease) = (long, long);
        self
    }

    fn beat(&mut self) -> &mut Heartbeat {
        let terms = match &mut self.servers {
            Servers::One(fleet) => Arc::get_mut(fleet).map(|fleet| &mut fleet.terms),
            Servers::Many(cluster) => Arc::get_mut(cluster).map(|cluster| &mut cluster.terms),
        };
        &mut terms.expect("not started yet").beat
    }
}
