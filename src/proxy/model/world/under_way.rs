//! What is under way: exchanges, requests at workers, and what can happen next.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::Wake;

use super::{Ask, Carried, Head, Job, Reply, SharedSeat, Tick, Tie};

/// An exchange from the moment that a browser sends its request.
pub(super) struct Exchange {
    pub(super) browser: usize,
    pub(super) ask: Ask,
    pub(super) node: usize,
    pub(super) ticket: Option<Carried>,
    pub(super) sent: Tick,
    pub(super) future: Option<Pin<Box<dyn Future<Output = Head> + Send>>>,
    pub(super) waker: Arc<Flag>,
    pub(super) seat: SharedSeat,
    pub(super) tie: Option<Tie>,
    pub(super) admitted: Tick,
    /// When its record was looked up last, and whether that was over.
    pub(super) looked_up: Tick,
    pub(super) found_over: bool,
    /// Its node had not heard of all changes of the record then, and nothing told it to ask.
    pub(super) behind: bool,
    pub(super) has_waited: bool,
    /// When its login moved the record.
    pub(super) moved: Option<Tick>,
    /// A store call of it failed.
    pub(super) failed: bool,
    /// Its cookies are in the store.
    pub(super) stored: bool,
    pub(super) fenced: bool,
    pub(super) left: Tick,
    /// Its client is gone.
    pub(super) deaf: bool,
}

/// A request at the worker. Without an exchange that waits, the worker goes on all the same.
pub(super) struct AtWorker {
    pub(super) turn: Tick,
    pub(super) exchange: usize,
    pub(super) job: Option<Job>,
    pub(super) pairs: Vec<String>,
    pub(super) reply: Option<Reply>,
}

/// Something that can happen next.
#[derive(Clone, Copy)]
pub(super) enum Next {
    Arrive(usize),
    Call(usize),
    Worker(usize),
    Deliver(usize),
    /// This node hears of a change.
    Hear(usize),
}

#[derive(Default)]
pub(super) struct Flag(pub(super) AtomicBool);

impl Wake for Flag {
    fn wake(self: Arc<Self>) {
        self.0.store(true, Ordering::Relaxed);
    }
}
