//! Requests that wait until an endpoint has room for them (nginx `queue`), first come, first served.

use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::time::Duration;

use tokio::sync::Notify;

/// How many may wait, and for how long.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct QueueSettings {
    pub requests_max: usize,
    pub timeout: Duration,
}

/// Those that wait for an upstream.
#[derive(Debug)]
pub struct Queue {
    pub settings: QueueSettings,
    waiting: AtomicUsize,
    freed: Notify,
}

/// A place in the queue, until it is dropped.
#[derive(Debug)]
pub struct Place<'a>(&'a Queue);

impl Queue {
    pub(super) fn new(settings: QueueSettings) -> Self {
        Self { settings, waiting: AtomicUsize::new(0), freed: Notify::new() }
    }

    /// Whether somebody has waited for longer.
    pub fn is_waited_for(&self) -> bool {
        self.waiting.load(Relaxed) > 0
    }

    /// A place; none where the queue is full.
    pub fn enter(&self) -> Option<Place<'_>> {
        let max = self.settings.requests_max;
        let entered = self
            .waiting
            .fetch_update(Relaxed, Relaxed, |waiting| (waiting < max).then_some(waiting + 1));
        entered.is_ok().then(|| Place(self))
    }

    /// An endpoint may have room: whoever waits longest looks.
    pub(super) fn free(&self) {
        if self.is_waited_for() {
            self.freed.notify_one();
        }
    }

    /// Many endpoints may have room: all that wait look, in their order.
    pub(super) fn free_all(&self) {
        self.freed.notify_waiters();
    }

    /// Waits until it is worth looking.
    pub async fn freed(&self) {
        self.freed.notified().await;
    }
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        self.0.waiting.fetch_sub(1, Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn so_many_wait_and_no_more() {
        let settings = QueueSettings { requests_max: 2, timeout: Duration::from_secs(1) };
        let queue = Queue::new(settings);
        assert!(!queue.is_waited_for());
        let first = queue.enter().expect("there is room");
        let _second = queue.enter().expect("there is room");
        assert!(queue.enter().is_none());
        drop(first);
        assert!(queue.is_waited_for() && queue.enter().is_some());
    }
}
