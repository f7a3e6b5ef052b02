//! What ends one exchange from outside.
//!
//! The only thing here that is shared without a lock: `tests/loom` tries every order in which the
//! two sides can meet.

use std::fmt;
use std::task::{Context, Poll};

#[cfg(not(loom))]
use std::sync::atomic::{AtomicBool, Ordering};

#[cfg(not(loom))]
use atomic_waker::AtomicWaker;
#[cfg(loom)]
use loom::sync::atomic::{AtomicBool, Ordering};

#[cfg(loom)]
use crate::AtomicWaker;

/// Ends one exchange from outside.
#[derive(Default)]
pub struct Cut {
    cut: AtomicBool,
    is_stream: AtomicBool,
    has_traffic: AtomicBool,
    waker: AtomicWaker,
}

impl Cut {
    /// Ends the exchange: its upstream socket fails, and no more of its answer goes out.
    pub fn cut(&self) {
        self.cut.store(true, Ordering::Release);
        self.waker.wake();
    }

    /// Whether the exchange was ended.
    pub fn is_cut(&self) -> bool {
        self.cut.load(Ordering::Acquire)
    }

    /// Marks a WebSocket or an event stream: nobody waits for its end.
    pub fn mark_stream(&self) {
        self.is_stream.store(true, Ordering::Release);
    }

    /// Whether nobody waits for its end.
    pub fn is_stream(&self) -> bool {
        self.is_stream.load(Ordering::Acquire)
    }

    /// Notes that something went over a stream.
    pub fn note_traffic(&self) {
        // Most notes find one: reading leaves the line where it is.
        if !self.has_traffic.load(Ordering::Relaxed) {
            self.has_traffic.store(true, Ordering::Relaxed);
        }
    }

    /// Whether something has since this was asked last.
    pub fn take_traffic(&self) -> bool {
        self.has_traffic.load(Ordering::Relaxed) && self.has_traffic.swap(false, Ordering::Relaxed)
    }

    /// Whether the exchange was ended; else the task is woken when it is.
    pub fn poll_cut(&self, cx: &mut Context<'_>) -> Poll<()> {
        if self.is_cut() {
            return Poll::Ready(());
        }
        self.waker.register(cx.waker());
        if self.is_cut() { Poll::Ready(()) } else { Poll::Pending }
    }
}

impl fmt::Debug for Cut {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Cut({})", self.is_cut())
    }
}
