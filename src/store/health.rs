//! Whether a store answers, and the one log line at each edge of an outage.

use std::fmt::Display;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::watch;

/// Whether the store answers now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Health {
    /// It was not reached yet, nor did an attempt to reach it fail.
    Starting,
    /// Calls are answered.
    Up,
    /// Calls answer `Unavailable`.
    Down,
}

/// Publishes [`Health`], and logs `store down` and `store up` once each per outage.
#[derive(Debug)]
pub(super) struct Signal {
    sender: watch::Sender<Health>,
    /// What the log lines call the store: a path or a redacted URL.
    name: String,
    outage: Mutex<Option<Outage>>,
}

#[derive(Debug)]
struct Outage {
    since: Instant,
    /// What was said of it.
    causes: Vec<String>,
}

/// How many causes of one outage are logged.
const CAUSES_MAX: usize = 8;

impl Signal {
    pub(super) fn new(name: String, health: Health) -> Self {
        Self { sender: watch::Sender::new(health), name, outage: Mutex::new(None) }
    }

    pub(super) fn subscribe(&self) -> watch::Receiver<Health> {
        self.sender.subscribe()
    }

    pub(super) fn current(&self) -> Health {
        *self.sender.borrow()
    }

    /// How long calls have not been answered.
    pub(super) fn down_for(&self) -> Option<Duration> {
        let outage = self.outage.lock().unwrap_or_else(PoisonError::into_inner);
        outage.as_ref().map(|outage| outage.since.elapsed())
    }

    /// Says that calls are answered. Whether this was news.
    pub(super) fn up(&self) -> bool {
        // The common case, once per call of the SQL engine, takes no lock that excludes others.
        if self.current() == Health::Up {
            return false;
        }
        let mut outage = self.outage.lock().unwrap_or_else(PoisonError::into_inner);
        let news = self.set(Health::Up);
        if news {
            let outage_ms = outage.take().map(|outage| outage.since.elapsed().as_millis());
            tracing::info!(store = %self.name, outage_ms, "store up");
        }
        news
    }

    /// Says that calls are not answered, and why. Whether this was news.
    ///
    /// A connection is lost first, and why no other takes its place (a password that was changed,
    /// say) shows later: a cause that is new to this outage gets a line of its own.
    pub(super) fn down(&self, cause: &dyn Display) -> bool {
        let mut outage = self.outage.lock().unwrap_or_else(PoisonError::into_inner);
        let news = self.set(Health::Down);
        let outage =
            outage.get_or_insert_with(|| Outage { since: Instant::now(), causes: Vec::new() });
        let cause = cause.to_string();
        let is_known = outage.causes.contains(&cause) || outage.causes.len() == CAUSES_MAX;
        if news {
            tracing::warn!(store = %self.name, %cause, "store down");
        } else if !is_known {
            tracing::warn!(store = %self.name, %cause, "store still down");
        }
        if !is_known {
            outage.causes.push(cause);
        }
        news
    }

    fn set(&self, health: Health) -> bool {
        self.sender.send_if_modified(|current| {
            let news = *current != health;
            *current = health;
            news
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_edges_are_news() {
        let signal = Signal::new("test".to_owned(), Health::Starting);
        let receiver = signal.subscribe();
        for (step, news, health) in [
            (Health::Up, true, Health::Up),
            (Health::Up, false, Health::Up),
            (Health::Down, true, Health::Down),
            (Health::Down, false, Health::Down),
            (Health::Up, true, Health::Up),
        ] {
            let was_news = match step {
                Health::Up => signal.up(),
                Health::Down | Health::Starting => signal.down(&"test"),
            };
            assert_eq!(was_news, news, "{step:?}");
            assert_eq!(*receiver.borrow(), health, "{step:?}");
        }
    }
}
