//! The last audit events, for the status page.

use std::collections::VecDeque;
use std::net::IpAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{SystemTime, UNIX_EPOCH};

use serde::Serialize;

/// So many are kept.
pub const KEPT: usize = 200;

/// An event as it is shown: what its line in the log has, shortened.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct RecentEvent {
    /// Unix seconds.
    pub at: u64,
    pub event: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub policy: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub client: Option<IpAddr>,
    /// The first bytes of the hashed key.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub session: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub subject: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub about: Option<String>,
}

/// The last events, the newest last; none where nobody will ask.
#[derive(Debug, Default)]
pub(super) struct Recent {
    is_asked: AtomicBool,
    kept: Mutex<VecDeque<RecentEvent>>,
}

impl Recent {
    /// From now on events are kept.
    pub(super) fn begin(&self) {
        self.is_asked.store(true, Ordering::Relaxed);
    }

    pub(super) fn note(&self, event: impl FnOnce() -> RecentEvent) {
        if !self.is_asked.load(Ordering::Relaxed) {
            return;
        }
        let mut event = event();
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        event.at = now.as_secs();
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        if kept.len() >= KEPT {
            kept.pop_front();
        }
        kept.push_back(event);
    }

    pub(super) fn all(&self) -> Vec<RecentEvent> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner).iter().cloned().collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_oldest_make_room() {
        let recent = Recent::default();
        recent.note(|| panic!("nobody asks"));
        recent.begin();
        for number in 0..KEPT + 2 {
            let about = Some(number.to_string());
            recent.note(|| RecentEvent { event: "login", about, ..RecentEvent::default() });
        }
        let all = recent.all();
        assert_eq!(all.len(), KEPT);
        assert_eq!(all[0].about.as_deref(), Some("2"));
        assert!(all[0].at > 1_700_000_000);
    }
}
