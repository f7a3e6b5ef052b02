//! How a request with a ticket comes to be forwarded: a pure step machine (PROTOCOL.md 15, 18, 20, 22,
//! 32).
//!
//! First its turn, if it takes turns: who waits for that is not inside the gate. Then the gate, so that
//! no exchange on this node holds a record that a login has since suspended. Then the look-up, and what
//! [`decide`] makes of it. Where others may have written the record meanwhile it is looked at again.
//!
//! It asks for one thing after another and is told each outcome; the shell carries them out and reads
//! the clocks. Every wait has an end, and so has every race that it can lose.
//!
//! [`decide`]: crate::session::decide::decide

use std::mem;
use std::time::Duration;

use crate::clock::UnixMillis;
use crate::session::decide::Refusal;
use crate::session::event::{Cause, Event, OutOfTurn};
use crate::session::exchange::{Bond, Held, Presented};
use crate::session::facts::{Facts, GateState, Patience, Turns};
use crate::session::order::Serialize;
use crate::session::outage;
use crate::session::outcome::RecordKey;
use crate::session::policy::Policy;
use crate::session::ticket::Ticket;

pub use self::restore::Restore;
pub use self::step::{Closed, Granted, Hold, How, Outcome, Step};

/// Between two looks at a record that another node made pending.
const POLL: Duration = Duration::from_millis(20);
/// How often one request tries again when others write the same record.
const TRIES: u32 = 16;

/// The machine.
#[derive(Clone, Debug)]
pub struct Admission<'a> {
    policy: &'a Policy,
    ticket: &'a Ticket,
    key: RecordKey,
    facts: Facts<'a>,
    stage: Stage,
    /// How long it waits for others, from its beginning.
    until: Duration,
    /// How long a login lets it finish at least.
    grace: Duration,
    how: How,
    waited: Waited,
    others: Others,
    /// Races for the record.
    tries: u32,
    /// When the last look-up began.
    now: UnixMillis,
    events: Vec<Event>,
}

#[derive(Clone, Debug)]
enum Stage {
    Turn,
    Enter(Entering),
    Look,
    Close,
    Wait,
    /// What the request changes in its record is being written. It goes on whatever becomes of that,
    /// unless the record is another by now.
    Touch {
        old: Held,
        presented: Presented,
        written: Held,
    },
    /// The record is being suspended for this login.
    Suspend {
        old: Held,
        pending: Held,
    },
    /// The session is being ended.
    End {
        key: RecordKey,
        cause: Cause,
    },
    /// It is being looked at whether the session has a place.
    Join(Bond),
    Recall,
    AskSuccessor(RecordKey),
    /// A successor that nobody has presented is being ended.
    EndSuccessor {
        key: RecordKey,
        then: Result<Bond, Refusal>,
    },
    Finished,
}

/// Where it comes from to the gate, and how long the admission had taken by then.
#[derive(Clone, Copy, Debug)]
enum Entering {
    First,
    /// It waited for a login elsewhere.
    AfterWait(Duration),
    /// It is a login, and another one had closed the gate.
    AfterLogin(Duration),
}

/// Whether it waited for others.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Waited {
    No,
    Yes,
    /// For a login, and that was told.
    Told,
}

/// Whether others of the session may be in flight on this node when it is suspended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Others {
    MayBeInside,
    /// They are out, or nobody waits for them any longer.
    Out,
}

impl Others {
    /// Of a login that is not in the gate.
    fn outside(policy: &Policy) -> Self {
        match policy.serialize.requests {
            Serialize::Off => Self::Out,
            Serialize::Login | Serialize::Unsafe | Serialize::All => Self::MayBeInside,
        }
    }
}

impl<'a> Admission<'a> {
    /// Begins to admit a request whose ticket opened.
    pub fn begin(
        policy: &'a Policy,
        ticket: &'a Ticket,
        key: RecordKey,
        facts: Facts<'a>,
    ) -> (Self, Step) {
        let order = policy.serialize;
        let (until, grace) = match facts.turns {
            Turns::Takes => (order.wait, order.wait),
            Turns::None => (order.patience(), Duration::ZERO),
        };
        let mut admission = Self {
            policy,
            ticket,
            key,
            facts,
            stage: Stage::Turn,
            until,
            grace,
            how: How::Kept,
            waited: Waited::No,
            others: Others::outside(policy),
            tries: 0,
            now: UnixMillis(0),
            events: Vec::new(),
        };
        let step = match facts.turns {
            Turns::Takes => Step::TakeTurn { until },
            Turns::None => admission.enter(Entering::First),
        };
        (admission, step)
    }

    /// What has happened since this was asked last.
    pub fn events(&mut self) -> impl Iterator<Item = Event> {
        self.events.drain(..)
    }

    /// Goes on after the outcome of the last step.
    pub fn next(&mut self, outcome: Outcome) -> Step {
        let stage = mem::replace(&mut self.stage, Stage::Finished);
        match (stage, outcome) {
            (Stage::Turn, Outcome::Turn { hold, has_waited, elapsed }) => {
                if has_waited {
                    self.note_wait();
                }
                self.turned(hold, elapsed)
            }
            (Stage::Enter(entering), Outcome::Entered { gate, has_waited }) => {
                if has_waited {
                    self.note_wait();
                }
                self.entered(entering, gate)
            }
            (Stage::Look, Outcome::Loaded { lookup, now }) => self.loaded(lookup, now),
            (Stage::Close, Outcome::Closed { closed, has_waited, elapsed }) => {
                if has_waited {
                    self.note_wait();
                }
                match closed {
                    // What was in flight may have written the record.
                    Closed::Alone => {
                        self.others = Others::Out;
                        self.look()
                    }
                    Closed::Taken => {
                        self.note_wait();
                        self.enter(Entering::AfterLogin(elapsed))
                    }
                }
            }
            (Stage::Wait, Outcome::Paused { elapsed }) => self.enter(Entering::AfterWait(elapsed)),
            (Stage::Touch { old, presented, written }, Outcome::Replaced(replaced)) => {
                self.touched(old, presented, written, replaced)
            }
            (Stage::Suspend { old, pending }, Outcome::Replaced(replaced)) => {
                self.suspended(&old, pending, replaced)
            }
            (Stage::End { key, cause }, Outcome::Replaced(replaced)) => {
                self.ended(key, cause, replaced)
            }
            (Stage::Join(bond), Outcome::Joined(place)) => self.joined(bond, place),
            (Stage::Recall, Outcome::Remembered(remembered)) => {
                let (ticket, key) = (self.ticket, self.key);
                let bond =
                    outage::recalled(self.policy, ticket, key, remembered, self.facts, self.now);
                self.admit_or_refuse(bond)
            }
            (Stage::AskSuccessor(key), Outcome::Loaded { lookup, .. }) => {
                self.succeeded(key, &lookup)
            }
            (Stage::EndSuccessor { key, then }, Outcome::Replaced(replaced)) => {
                self.ended_successor(key, then, replaced)
            }
            (stage, outcome) => unreachable!("{outcome:?} is no outcome of {stage:?}"),
        }
    }
}

// To where the record is looked at.
impl Admission<'_> {
    fn note_wait(&mut self) {
        self.how = How::Anew;
        if self.waited == Waited::No {
            self.waited = Waited::Yes;
        }
    }

    fn turned(&mut self, hold: Hold, elapsed: Duration) -> Step {
        let cause = match hold {
            Hold::Whole => None,
            Hold::Here(cause) | Hold::None(cause) => Some(cause),
        };
        if !matches!(hold, Hold::None(_)) {
            self.how = How::Anew;
        }
        if cause == Some(OutOfTurn::TimedOut) {
            self.note_wait();
        } else {
            // What follows may take as long as for any other request.
            self.until = elapsed + self.policy.serialize.patience();
        }
        self.events.extend(cause.map(|cause| Event::OutOfTurn { cause }));
        self.enter(Entering::First)
    }

    fn enter(&mut self, entering: Entering) -> Step {
        self.stage = Stage::Enter(entering);
        Step::Enter { until: self.until, grace: self.grace }
    }

    fn entered(&mut self, entering: Entering, gate: GateState) -> Step {
        self.facts.gate = gate;
        if let Entering::AfterWait(elapsed) | Entering::AfterLogin(elapsed) = entering {
            // A gate that was still closed took all the time that was left.
            let is_over = gate == GateState::Login || elapsed >= self.until;
            self.facts.patience = if is_over { Patience::Over } else { Patience::Left };
        }
        if let (Entering::AfterLogin(_), Patience::Over) = (entering, self.facts.patience) {
            self.others = Others::Out;
        }
        self.look()
    }

    fn look(&mut self) -> Step {
        self.stage = Stage::Look;
        Step::LookUp { how: self.how }
    }
}

mod restore;
mod step;
#[cfg(test)]
mod tests;
mod verdict;
