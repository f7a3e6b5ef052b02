//! Where records live: one trait, several engines, one contract suite.
//!
//! Engines see keys, versions and sealed bytes; what a record means is `session`'s, sealing and
//! opening is [`records`]'s. An engine that cannot answer says `Unavailable`, never "not there".

pub mod cache;
pub mod changes;
#[cfg(test)]
pub(crate) mod contract;
pub mod credentials;
pub mod era;
mod flights;
pub mod health;
pub mod key_watch;
pub mod memory;
pub mod node_keys;
pub mod records;
pub mod redis;
mod remembered_ends;
mod repair;
pub mod sql;
pub mod throttle;
#[cfg(test)]
pub(crate) mod watched;

use std::fmt::{self, Debug};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use tokio::sync::watch;

use crate::clock::{Clock, UnixMillis};
use crate::session::outcome::{
    Carried, Created, Durability, Epoch, Leased, Listing, Lookup, RecordKey, Removed, Replaced,
    Room,
};
use crate::store::changes::{Changes, Link};
use crate::store::health::Health;

/// The longest sealed record that an engine takes; a longer one is `Unavailable`. What a record
/// may hold is `session`'s to limit, far below; this bounds what a mistake there could cost.
pub const SEALED_BYTES_MAX: usize = 256 * 1024;

/// The longest time that an engine is asked to keep a record: ten years. A longer one is cut.
const KEEP_MAX: Duration = Duration::from_secs(10 * 366 * 24 * 3600);

/// The most records that [`SessionStore::list`] tells of.
pub const LISTED_MAX: usize = 1000;

/// The most records that [`SessionStore::beyond`] tells of at a time.
pub const BEYOND_MAX: usize = 64;

/// The most nodes that [`SessionStore::announced`] tells of.
pub const ANNOUNCED_MAX: usize = 256;

/// The longest announcement that an engine takes, or tells of, in bytes.
pub const ANNOUNCEMENT_BYTES_MAX: usize = 512;

/// The longest time that one is kept. What claims to be kept for longer is none of ours.
pub const ANNOUNCEMENT_KEEP_MAX: Duration = Duration::from_secs(60);

/// A node whose clock is further off the store's says so, and removes nothing there (PROTOCOL.md
/// 33).
pub const CLOCK_SKEW_MAX_MS: u64 = 5_000;

/// A sealed record and the version that compare-and-set refers to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stored {
    pub version: u64,
    pub sealed: Vec<u8>,
    /// The epoch beside it now; none where there is none, or the key asks for none.
    pub epoch: Option<Epoch>,
}

/// How an engine keeps a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Keep {
    /// At least so long: garbage collection only, never expiry.
    pub time: Duration,
    /// How it stands in the list of its tag from now on.
    pub listing: Listing,
}

/// The records of a tag.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Listed {
    /// Those that are kept longest, at most [`LISTED_MAX`].
    pub ids: Vec<[u8; 16]>,
    /// How many there are.
    pub total: usize,
}

/// What a node says of itself to the others; what it means is [`node_keys`]'s.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Announcement {
    pub node: [u8; 16],
    pub text: Vec<u8>,
}

/// A record that goes on in a new epoch of its tag, which ends all others.
#[derive(Clone, Copy, Debug)]
pub struct Carry<'a> {
    /// The version and the epoch that it has.
    pub expected: u64,
    pub over: Epoch,
    pub epoch: Epoch,
    pub sealed: &'a [u8],
    pub keep: Keep,
    /// How long the epoch is kept.
    pub epoch_keep: Duration,
}

/// An engine. Every call returns within the engine's deadline; none waits for a reconnect.
#[async_trait]
pub trait SessionStore: Send + Sync + Debug {
    /// Reads a record and, where the key says that it has a subject, the epoch of its tag, in one
    /// round trip.
    async fn load(&self, key: RecordKey) -> Lookup<Stored>;

    /// As [`load`](Self::load), and the link over which this node hears of later changes of what
    /// it answered: none where it hears of none.
    async fn load_watched(&self, key: RecordKey) -> (Lookup<Stored>, Option<Arc<Link>>) {
        (self.load(key).await, None)
    }

    /// What the engine counts changes in, those of this process included: before a write is sent
    /// and again when its answer is there, so that nobody here reads an older record from a cache
    /// than this process has written.
    fn changes(&self) -> Option<&Changes> {
        None
    }

    /// Creates a record with `version` 1, which is listed where the key says that it has a subject.
    /// Repeating the call with the same bytes is harmless. `keep` is how long the engine must keep
    /// it: garbage collection only, never expiry.
    async fn create(&self, key: RecordKey, sealed: &[u8], keep: Duration) -> Created;

    /// Replaces the record if it still has version `expected`, and its tag still has `epoch`, where
    /// one is given; the new version is `expected + 1`. With another epoch, or none, it is
    /// [`Replaced::Gone`]. Repeating the call with the same bytes answers `Replaced` again, as long
    /// as nothing else was written. It is by their bytes that calls are told apart: two that
    /// compete must not bring the same ones, which the nonce of a sealed record sees to.
    async fn replace(
        &self,
        key: RecordKey,
        expected: u64,
        epoch: Option<Epoch>,
        sealed: &[u8],
        keep: Keep,
        durability: Durability,
    ) -> Replaced;

    /// Replaces the epoch of a record's tag and the record in one step, with the durability of a
    /// revocation: where it still has version `expected`, and its tag the epoch `over`. No other
    /// record of the tag is listed then. Repeating the call with the same bytes is harmless.
    async fn carry(&self, key: RecordKey, carry: Carry<'_>) -> Carried;

    /// Removes the record if it is there, and from its list, with the durability of a revocation.
    async fn remove(&self, key: RecordKey) -> Removed;

    /// Reads the epoch of a tag, or makes it from `proposal`: all who ask at once are told the
    /// same one. It is kept for `keep` at least, and for as long as it was kept before. Never
    /// [`Lookup::NotFound`].
    async fn epoch(&self, tag: [u8; 8], proposal: Epoch, keep: Duration) -> Lookup<Epoch>;

    /// Replaces the epoch of a tag, whether or not there was one, and empties its list, with the
    /// durability of a revocation. `keep` as above. The one that it replaced; none also where that is
    /// not known, since a repeat met its own. Never [`Lookup::NotFound`].
    async fn revoke(
        &self,
        tag: [u8; 8],
        replacement: Epoch,
        keep: Duration,
    ) -> Lookup<Option<Epoch>>;

    /// The records of a tag that are listed. None at all is an empty list, never
    /// [`Lookup::NotFound`].
    async fn list(&self, tag: [u8; 8]) -> Lookup<Listed>;

    /// The records of a tag that count and have no room, in no order, at most [`BEYOND_MAX`] of
    /// them. What that costs does not grow with how many there are.
    async fn beyond(&self, tag: [u8; 8], room: Room) -> Lookup<Vec<[u8; 16]>>;

    /// The era of the fleet; 0 before the first revocation of all sessions.
    async fn era(&self) -> Lookup<u32>;

    /// Begins another era, later than the one in the store and later than `known`, with the
    /// durability of a revocation. `known` matters where the store has lost its own. The last one
    /// is `u32::MAX`.
    async fn next_era(&self, known: u32) -> Lookup<u32>;

    /// Makes the era `least` at least, where the store has lost a later one than it has. The era
    /// that it is in now.
    async fn raise_era(&self, least: u32) -> Lookup<u32>;

    /// Takes the lease beside a record, whether or not the record is there, or extends it where
    /// `owner` has it: for `hold` from now on.
    async fn lease(&self, key: RecordKey, owner: [u8; 16], hold: Duration) -> Leased;

    /// Gives the lease up where `owner` has it. What does not reach the store ends by itself.
    async fn release(&self, key: RecordKey, owner: [u8; 16]);

    /// Puts an announcement in place of the node's earlier one, for `keep` by the store's clock (at
    /// most [`ANNOUNCEMENT_KEEP_MAX`]); with no time at all it is taken back. A repeat is harmless.
    /// The store's time; never [`Lookup::NotFound`].
    async fn announce(&self, announcement: &Announcement, keep: Duration) -> Lookup<UnixMillis>;

    /// The announcements of nodes, at most [`ANNOUNCED_MAX`], in no order. What no node can have put
    /// there is left out. None at all is an empty list, never [`Lookup::NotFound`].
    async fn announced(&self) -> Lookup<Vec<Announcement>>;

    /// How many writes with the durability of a revocation no replica has confirmed, though there
    /// was one. They stand on the master.
    fn unconfirmed(&self) -> u64 {
        0
    }

    /// How far this process' clock is ahead of the store's, in milliseconds; behind where that is
    /// negative. None where nobody has looked, or both are one.
    fn clock_ahead_ms(&self) -> Option<i64> {
        None
    }

    /// Tries the credentials as they are in their files now, and says in the log what came of it.
    /// What is connected stays so; whatever connects later reads them by itself.
    async fn reload(&self) {}

    /// Whether the store answers now.
    async fn ping(&self) -> bool;

    /// Makes the engine ready on the calling runtime. To be awaited once on every runtime that
    /// will use the store. It waits at most about a second and does not fail where the store is
    /// down: the engine goes on trying in the background.
    async fn start(&self) {}

    /// Tells whether the store answers. The engine logs the edges itself. Where it cannot go
    /// down the channel is closed, and stays at [`Health::Up`].
    fn health(&self) -> watch::Receiver<Health> {
        watch::channel(Health::Up).1
    }
}

/// An engine behind a pointer.
pub type SharedStore = Arc<dyn SessionStore>;

/// Where records are kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum StoreSettings {
    /// In this process; gone with it.
    Memory,
    /// A SQLite file in WAL mode.
    Sqlite(PathBuf),
    /// A Redis server.
    Redis(redis::RedisSettings),
    /// A database server: PostgreSQL, MySQL or MariaDB.
    Server(sql::server::ServerSettings),
}

impl StoreSettings {
    /// What it is called.
    pub fn engine(&self) -> &'static str {
        match self {
            Self::Memory => "memory",
            Self::Sqlite(_) => "sqlite",
            Self::Redis(_) => "redis",
            Self::Server(settings) => settings.url.engine(),
        }
    }
}

/// How a node learns what others have changed in a store.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Hears {
    /// The store says so, or nobody else can have changed it.
    AtOnce,
    /// It asks, several times a second.
    WhenItAsks,
}

impl StoreSettings {
    /// How nodes of such a store learn of each other's changes.
    pub fn hears(&self) -> Hears {
        match self {
            Self::Memory | Self::Redis(_) => Hears::AtOnce,
            Self::Sqlite(_) => Hears::WhenItAsks,
            Self::Server(settings) => settings.url.kind().hears(),
        }
    }
}

/// What every engine is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Options {
    /// How old the last proof of a [`Link`] may be for what was read over it to be used again;
    /// zero: nothing is, and nobody has to hear of changes.
    pub lease: Duration,
}

/// Why a store could not be opened. The operator has to act on every one of these; a Redis server
/// that cannot be reached is not among them.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    #[error("store: {0}")]
    Settings(String),
    #[error("store: cannot {action} {path}: {source}", path = path.display())]
    File { action: &'static str, path: PathBuf, source: std::io::Error },
    #[error("store: {path} cannot be used as a session database: {reason}", path = path.display())]
    Database { path: PathBuf, reason: String },
    #[error(
        "store: {path} was written by a newer version of this program (schema {found}, this one \
         knows {known}); start the newer version, or name another file", path = path.display()
    )]
    Newer { path: PathBuf, found: i64, known: i64 },
    #[error(
        "store: {path} is a database of another program; name another file", path = path.display()
    )]
    Foreign { path: PathBuf },
    #[error("store: {name} cannot be used: {reason}")]
    Server { name: String, reason: String },
}

/// Opens the store. To be awaited on the control runtime, which must outlive every use of the
/// store: the SQL engine works there. Then [`SessionStore::start`] on every runtime.
///
/// # Errors
/// [`StoreError`], where the settings or the file cannot work; not where a server is down.
pub async fn open(
    settings: &StoreSettings,
    options: &Options,
    clock: Clock,
) -> Result<SharedStore, StoreError> {
    Ok(match settings {
        StoreSettings::Memory => Arc::new(memory::MemoryStore::new(clock)),
        StoreSettings::Sqlite(path) => sql::open_file(path, options.lease, clock).await?,
        StoreSettings::Redis(settings) => {
            Arc::new(redis::RedisStore::open(settings, options.lease)?)
        }
        StoreSettings::Server(settings) => sql::open_server(settings, options.lease, clock).await?,
    })
}

/// Whether an engine takes an announcement of this size; [`node_keys`] makes no longer one.
fn is_short(announcement: &Announcement) -> bool {
    announcement.text.len() <= ANNOUNCEMENT_BYTES_MAX
}

/// Whether an engine takes a record of this size; says so in the log where not.
fn fits(key: RecordKey, sealed: &[u8]) -> bool {
    let fits = sealed.len() <= SEALED_BYTES_MAX;
    if !fits {
        tracing::error!(record = ?key, bytes = sealed.len(), "record too large for the store");
    }
    fits
}

/// What a call is about, for a log line that says that it failed: never a whole identifier.
#[derive(Clone, Copy)]
enum About {
    Record(RecordKey),
    Tag([u8; 8]),
    Era,
    Nodes,
}

impl Debug for About {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Record(key) => key.fmt(f),
            Self::Tag([a, b, ..]) => write!(f, "tag {a:02x}{b:02x}.."),
            Self::Era => f.write_str("era"),
            Self::Nodes => f.write_str("nodes"),
        }
    }
}
