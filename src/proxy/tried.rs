//! What became of each attempt at an endpoint, for variables (nginx 47): over all turns of a request.

use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::upstream::endpoint::Endpoint;
use crate::upstream::way::Moved;

/// One attempt.
#[derive(Clone, Debug)]
pub struct Tried {
    pub endpoint: Arc<Endpoint>,
    begun: Instant,
    /// In the queue of its upstream, before.
    pub waited: Option<Duration>,
    pub connected: Option<Duration>,
    pub answered: Option<Duration>,
    pub ended: Option<Duration>,
    pub status: Option<u16>,
    /// Bytes of the answer's body.
    pub length: u64,
    /// Heads included.
    pub moved: Moved,
    /// It is the first one since a redirect inside.
    pub begins_turn: bool,
}

/// All of them, in their order. One attempt, which is nearly always all there is, takes no memory.
#[derive(Debug, Default)]
pub struct AllTried {
    before: Vec<Tried>,
    last: Option<Tried>,
    has_turned: bool,
}

impl AllTried {
    /// A request goes to an endpoint.
    pub fn begin(&mut self, endpoint: Arc<Endpoint>, begun: Instant) {
        self.before.extend(self.last.take());
        let begins_turn = std::mem::take(&mut self.has_turned) && !self.before.is_empty();
        self.last = Some(Tried {
            endpoint,
            begun,
            waited: None,
            connected: None,
            answered: None,
            ended: None,
            status: None,
            length: 0,
            moved: Moved::default(),
            begins_turn,
        });
    }

    /// A redirect inside follows.
    pub fn turn(&mut self) {
        self.end(None);
        self.has_turned = true;
    }

    pub fn connected(&mut self) {
        self.note(|tried| &mut tried.connected);
    }

    /// The head of the answer is there.
    pub fn answered(&mut self, status: u16) {
        self.note(|tried| &mut tried.answered);
        if let Some(last) = &mut self.last {
            last.status = Some(status);
        }
    }

    /// Nothing more comes; `status` is what that counts as, where there was no head.
    pub fn end(&mut self, status: Option<u16>) {
        self.note(|tried| &mut tried.ended);
        if let Some(last) = &mut self.last {
            last.status = last.status.or(status);
        }
    }

    pub fn has_length(&mut self, length: u64) {
        if let Some(last) = &mut self.last {
            last.length = length;
        }
    }

    /// It has waited so long before.
    pub fn has_waited(&mut self, time: Duration) {
        if let Some(last) = &mut self.last {
            last.waited = Some(time);
        }
    }

    /// What has gone both ways.
    pub fn has_moved(&mut self, moved: Moved) {
        if let Some(last) = &mut self.last {
            last.moved = moved;
        }
    }

    /// Notes how long it took; the first time counts.
    fn note(&mut self, of: impl FnOnce(&mut Tried) -> &mut Option<Duration>) {
        if let Some(last) = &mut self.last {
            let so_far = last.begun.elapsed();
            of(last).get_or_insert(so_far);
        }
    }

    pub fn iter(&self) -> impl Iterator<Item = &Tried> {
        self.before.iter().chain(&self.last)
    }
}
