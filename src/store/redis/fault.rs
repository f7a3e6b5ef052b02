//! The signal that a set of connections must be replaced.

use std::sync::{Arc, OnceLock};

use tokio::sync::Notify;

use super::cause::Cause;
use crate::store::changes::Link;

/// Says that a set of connections must be replaced: at once, or when others are there.
#[derive(Debug, Default)]
pub(super) struct Fault {
    cause: OnceLock<Cause>,
    raised: Notify,
    worn: Notify,
    pub(super) links: OnceLock<[Option<Arc<Link>>; 2]>,
}

impl Fault {
    /// The set must not be used any more. The first cause stays.
    pub(super) fn raise(&self, cause: Cause) {
        if self.cause.set(cause).is_ok() {
            self.lose_links();
            self.raised.notify_one();
        }
    }

    /// Nothing that was read over the set is to be relied on any more.
    pub(super) fn lose_links(&self) {
        for link in self.links.get().into_iter().flatten().flatten() {
            link.lose();
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

    /// The set lacks something: one of its connections broke, or the server has gained its first
    /// replica or lost its last.
    pub(super) fn wear(&self) {
        self.worn.notify_one();
    }

    /// Waits until the set lacks something. For one task only, the supervisor.
    pub(super) async fn worn(&self) {
        self.worn.notified().await;
    }
}
