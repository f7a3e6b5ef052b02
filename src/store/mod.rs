//! Where records live: one trait, several engines, one contract suite.
//!
//! Engines see keys, versions and sealed bytes; what a record means is `session`'s, sealing and
//! opening is [`records`]'s. An engine that cannot answer says `Unavailable`, never "not there".

pub mod memory;
pub mod records;
pub mod redis;
pub mod sql;

use std::fmt::Debug;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;

use crate::session::outcome::{Created, Durability, Lookup, RecordKey, Removed, Replaced};

/// A sealed record and the version that compare-and-set refers to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stored {
    pub version: u64,
    pub sealed: Vec<u8>,
}

/// An engine. Every call returns within the engine's deadline; none waits for a reconnect.
#[async_trait]
pub trait SessionStore: Send + Sync + Debug {
    /// Reads a record.
    async fn load(&self, key: RecordKey) -> Lookup<Stored>;

    /// Creates a record with `version` 1. Repeating the call with the same bytes is harmless.
    /// `keep` is how long the engine must keep it: garbage collection only, never expiry.
    async fn create(&self, key: RecordKey, sealed: &[u8], keep: Duration) -> Created;

    /// Replaces the record if it still has version `expected`; the new version is
    /// `expected + 1`. Repeating the call with the same bytes answers `Replaced` again, as long
    /// as nothing else was written.
    async fn replace(
        &self,
        key: RecordKey,
        expected: u64,
        sealed: &[u8],
        keep: Duration,
        durability: Durability,
    ) -> Replaced;

    /// Removes the record if it is there.
    async fn remove(&self, key: RecordKey) -> Removed;

    /// Whether the store answers now.
    async fn ping(&self) -> bool;
}

/// An engine behind a pointer.
pub type SharedStore = Arc<dyn SessionStore>;

/// Where records are kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Settings {
    /// In this process; gone with it.
    Memory,
    /// A SQLite file in WAL mode.
    Sqlite(std::path::PathBuf),
    /// A Redis server.
    Redis(redis::Settings),
}
