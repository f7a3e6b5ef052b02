//! The words between [`Admission`](super::Admission) and the shell: steps, and what became of them.

use std::sync::Arc;
use std::time::Duration;

use crate::clock::UnixMillis;
use crate::session::decide::Refusal;
use crate::session::event::OutOfTurn;
use crate::session::exchange::{Bond, Held};
use crate::session::facts::GateState;
use crate::session::limit::Place;
use crate::session::outcome::{Durability, Lookup, RecordKey, Replaced};
use crate::session::record::Record;

/// What the shell is to do next. Times are counted from the beginning of the admission.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// Wait for the turn of the session; [`Outcome::Turn`].
    TakeTurn {
        until: Duration,
    },
    /// Enter the gate of the session, after leaving it where the exchange is inside, and wait until
    /// then where it is closed. A login that closes it later lets the exchange finish for `grace` at
    /// least; [`Outcome::Entered`].
    Enter {
        until: Duration,
        grace: Duration,
    },
    /// Look the record up; [`Outcome::Loaded`].
    LookUp {
        how: How,
    },
    /// Close the gate, and let others finish for so long at least; [`Outcome::Closed`].
    CloseGate {
        patience: Duration,
    },
    /// Leave the gate, for others of this node must not wait for who waits, and pause for so long, but
    /// not beyond `until`; [`Outcome::Paused`].
    Wait {
        pause: Duration,
        until: Duration,
    },
    /// Replace a record that has this version; [`Outcome::Replaced`].
    Replace {
        key: RecordKey,
        version: u64,
        record: Arc<Record>,
        durability: Durability,
    },
    /// The same with the record's end. Once that is written, cut the streams of the session.
    End {
        key: RecordKey,
        version: u64,
        record: Arc<Record>,
    },
    /// The ticket of this record has come back for the first time, and that is written: see to the
    /// limits on sessions; [`Outcome::Joined`].
    Join(Held),
    /// Look whether this node knew the record, at most so long before `now`; [`Outcome::Remembered`].
    Recall {
        max: Duration,
        now: UnixMillis,
    },
    /// Look up the record that took the place of the ticket's; [`Outcome::Loaded`].
    AskSuccessor(RecordKey),
    Admit(Granted),
    Refuse(Refusal),
    /// Give the session back that this login has suspended, or may have ([`Restore`]), and refuse.
    ///
    /// [`Restore`]: super::Restore
    RestoreAndRefuse(Held, Refusal),
}

/// Which word on a record will do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum How {
    /// What this node keeps of it, too.
    Kept,
    /// The store's. Who waited did so for somebody who may have written the record, on another node
    /// perhaps, which a node hears of a moment later (rule 33).
    Anew,
}

/// What became of a step.
#[derive(Clone, Debug)]
pub enum Outcome {
    /// `elapsed`: how long the admission has taken until then.
    Turn {
        hold: Hold,
        has_waited: bool,
        elapsed: Duration,
    },
    Entered {
        gate: GateState,
        has_waited: bool,
    },
    /// `now`: when the look-up began.
    Loaded {
        lookup: Lookup<(u64, Arc<Record>)>,
        now: UnixMillis,
    },
    Closed {
        closed: Closed,
        has_waited: bool,
        elapsed: Duration,
    },
    Paused {
        elapsed: Duration,
    },
    Replaced(Replaced),
    Joined(Place),
    Remembered(Option<(u64, Arc<Record>)>),
}

/// What became of waiting for a turn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Hold {
    /// It has the turn, wherever the policy wants it.
    Whole,
    /// It has the turn on this node alone.
    Here(OutOfTurn),
    None(OutOfTurn),
}

/// What became of closing a gate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Closed {
    /// Only this exchange is inside.
    Alone,
    /// Another login closed it first.
    Taken,
}

/// A request that may be forwarded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Granted {
    pub bond: Bond,
    /// To be written some time soon: the idle deadline moves.
    pub touch: Option<Box<Record>>,
    /// When that was decided.
    pub at: UnixMillis,
    /// Others of its session were there first.
    pub has_waited: bool,
}
