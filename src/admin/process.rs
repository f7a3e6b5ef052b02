//! The process as operators ask about it: what only whoever has put it together knows.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use serde_json::Value;

use crate::clock::UnixMillis;
use crate::upstream::group::Group;

/// A reload under way.
pub type Reloading<'a> = Pin<Box<dyn Future<Output = Reloaded> + Send + 'a>>;

/// Keys of what stays what it was; or what is wrong.
pub type Reloaded = Result<Vec<&'static str>, String>;

/// The process.
pub trait Process: Send + Sync {
    /// By its own clock.
    fn now(&self) -> UnixMillis;

    /// Since when it runs.
    fn started(&self) -> UnixMillis;

    /// What nodes call each other.
    fn node(&self) -> String;

    /// The configuration in force, without secrets.
    fn config(&self) -> Value;

    /// The upstreams that have names.
    fn upstreams(&self) -> Vec<Arc<Group>>;

    /// What is shown to clients.
    fn certificates(&self) -> Vec<Certificate>;

    fn store(&self) -> StoreState;

    /// About how many sessions of each policy were seen lately.
    fn active_sessions(&self) -> Vec<(String, u64)>;

    /// Does what HUP does, which may take as long as a disk does. Keys of what stays what it was are returned.
    ///
    /// # Errors
    /// The old configuration stays: why.
    fn reload(&self) -> Reloading<'_>;
}

/// A certificate that listeners show.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Certificate {
    /// Where it is shown.
    pub listener: String,
    /// Names and addresses that it is for.
    pub names: Vec<String>,
    pub not_after: UnixMillis,
}

impl Certificate {
    /// Days that it is good for yet, rounded down; below 0 once it is over.
    pub fn days_left(&self, now: UnixMillis) -> i64 {
        const DAY_MS: i64 = 86_400_000;
        let millis = |at: UnixMillis| i64::try_from(at.0).unwrap_or(i64::MAX);
        millis(self.not_after).saturating_sub(millis(now)).div_euclid(DAY_MS)
    }
}

/// How the store is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StoreState {
    /// `redis`, `sqlite`, …
    pub engine: &'static str,
    /// `None`: it was not reached yet.
    pub answers: Option<bool>,
    /// How far this process' clock is ahead of the store's.
    pub clock_ahead_ms: Option<i64>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn days_are_counted_down() {
        let now = UnixMillis(1_800_000_000_000);
        let of = |not_after| {
            let certificate = Certificate { listener: String::new(), names: Vec::new(), not_after };
            certificate.days_left(now)
        };
        let day = std::time::Duration::from_secs(86_400);
        assert_eq!(of(now.plus(day * 30)), 30);
        assert_eq!(of(now.plus(day / 2)), 0);
        assert_eq!(of(UnixMillis(now.0 - 1)), -1);
    }
}
