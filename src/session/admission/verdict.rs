//! What follows from what was found of a record, and from what became of writing it.

use std::sync::Arc;

use crate::clock::UnixMillis;
use crate::session::decide::{Claim, Refusal, Verdict, decide, successor};
use crate::session::event::{Cause, Event};
use crate::session::exchange::{Bond, Held, Presented};
use crate::session::limit::Place;
use crate::session::outcome::{Durability, Lookup, RecordKey, Replaced};
use crate::session::record::{Record, Touch};

use super::{Admission, Granted, How, Others, POLL, Stage, Step, TRIES, Waited};

impl Admission<'_> {
    pub(super) fn loaded(&mut self, lookup: Lookup<(u64, Arc<Record>)>, now: UnixMillis) -> Step {
        self.now = now;
        let claim = Claim { ticket: self.ticket, key: self.key, lookup };
        let (verdict, event) = decide(self.policy, claim, self.facts, now);
        self.events.extend(event);
        match verdict {
            Verdict::Forward { bond, touch } => self.forward(bond, touch),
            Verdict::Suspend { held, pending } => match self.others {
                Others::MayBeInside => {
                    self.stage = Stage::Close;
                    Step::CloseGate { patience: self.policy.serialize.patience() }
                }
                Others::Out => {
                    self.tries += 1;
                    let (step, pending) = replace(&held, pending, Durability::Master);
                    self.stage = Stage::Suspend { old: held, pending };
                    step
                }
            },
            Verdict::Wait(_) => self.wait(),
            Verdict::End { held, ended, cause } => {
                self.tries += 1;
                self.stage = Stage::End { key: held.key, cause };
                Step::End { key: held.key, version: held.version, record: ended.into() }
            }
            Verdict::Recall(max) => {
                self.stage = Stage::Recall;
                Step::Recall { max, now }
            }
            Verdict::AskSuccessor(successor) => self.ask_successor(successor),
            Verdict::Refuse(refusal) => Step::Refuse(refusal),
        }
    }

    fn forward(&mut self, bond: Bond, touch: Option<Touch>) -> Step {
        match (bond, touch) {
            (Bond::Live(old, presented), Some(Touch::Now(record))) => {
                let (step, written) = replace(&old, record, Durability::Master);
                self.stage = Stage::Touch { old, presented, written };
                step
            }
            (bond, touch) => self.admit(bond, touch.map(Touch::into_record)),
        }
    }

    fn admit(&self, bond: Bond, touch: Option<Box<Record>>) -> Step {
        let has_waited = self.waited != Waited::No;
        Step::Admit(Granted { bond, touch, at: self.now, has_waited })
    }

    pub(super) fn admit_or_refuse(&self, bond: Result<Bond, Refusal>) -> Step {
        match bond {
            Ok(bond) => self.admit(bond, None),
            Err(refusal) => Step::Refuse(refusal),
        }
    }

    /// Whether the store takes it does not matter to the request: the next one tries again. That
    /// somebody else has written the record does: what was looked up is old.
    pub(super) fn touched(
        &mut self,
        old: Held,
        presented: Presented,
        written: Held,
        replaced: Replaced,
    ) -> Step {
        match replaced {
            Replaced::Replaced => {
                let is_first = comes_back(&old, &written);
                self.join(is_first, Bond::Live(written, presented))
            }
            Replaced::Conflict | Replaced::Gone if self.tries < TRIES => {
                self.tries += 1;
                self.look()
            }
            Replaced::Conflict | Replaced::Gone | Replaced::Unavailable => {
                self.admit(Bond::Live(old, presented), None)
            }
        }
    }

    pub(super) fn suspended(&mut self, old: &Held, pending: Held, replaced: Replaced) -> Step {
        match replaced {
            Replaced::Replaced => {
                let is_first = comes_back(old, &pending);
                self.join(is_first, Bond::Login(pending))
            }
            Replaced::Conflict | Replaced::Gone => self.again_or_refuse(),
            // It may be suspended all the same.
            Replaced::Unavailable => Step::RestoreAndRefuse(pending, Refusal::StoreDown),
        }
    }

    fn join(&mut self, is_first: bool, bond: Bond) -> Step {
        match bond.held().filter(|_| is_first).cloned() {
            Some(held) => {
                self.stage = Stage::Join(bond);
                Step::Join(held)
            }
            None => self.admit(bond, None),
        }
    }

    pub(super) fn joined(&mut self, bond: Bond, place: Place) -> Step {
        match (place, bond) {
            (Place::Kept, bond) => self.admit(bond, None),
            (Place::Ended, _) => self.look(),
            (Place::Unknown, Bond::Login(pending)) => {
                Step::RestoreAndRefuse(pending, Refusal::StoreDown)
            }
            (Place::Unknown, _) => Step::Refuse(Refusal::StoreDown),
        }
    }

    fn wait(&mut self) -> Step {
        if self.waited != Waited::Told {
            self.events.push(Event::Waited);
        }
        self.waited = Waited::Told;
        self.how = How::Anew;
        // It waits outside: whoever comes meanwhile is let in.
        self.others = Others::outside(self.policy);
        self.stage = Stage::Wait;
        Step::Wait { pause: POLL, until: self.until }
    }

    pub(super) fn ended(&mut self, key: RecordKey, cause: Cause, replaced: Replaced) -> Step {
        match replaced {
            Replaced::Replaced => {
                self.events.push(Event::Ended { id: key, cause });
                self.look()
            }
            Replaced::Conflict | Replaced::Gone => self.again_or_refuse(),
            Replaced::Unavailable => Step::Refuse(Refusal::StoreDown),
        }
    }

    fn ask_successor(&mut self, key: RecordKey) -> Step {
        self.stage = Stage::AskSuccessor(key);
        Step::AskSuccessor(key)
    }

    pub(super) fn succeeded(
        &mut self,
        key: RecordKey,
        lookup: &Lookup<(u64, Arc<Record>)>,
    ) -> Step {
        let (then, unseen) = successor(lookup, self.facts);
        match (unseen, lookup) {
            (Some(ended), Lookup::Found((version, _))) => {
                self.tries += 1;
                self.stage = Stage::EndSuccessor { key, then };
                let (version, record) = (*version, Arc::new(ended));
                Step::Replace { key, version, record, durability: Durability::Replica }
            }
            _ => self.admit_or_refuse(then),
        }
    }

    pub(super) fn ended_successor(
        &mut self,
        key: RecordKey,
        then: Result<Bond, Refusal>,
        replaced: Replaced,
    ) -> Step {
        match replaced {
            Replaced::Replaced => {
                self.events.push(Event::Ended { id: key, cause: Cause::SuccessorUnseen });
                self.admit_or_refuse(then)
            }
            // It was presented just now, or somebody else ended it.
            Replaced::Conflict if self.tries < TRIES => self.ask_successor(key),
            Replaced::Gone => self.admit_or_refuse(then),
            Replaced::Conflict | Replaced::Unavailable => Step::Refuse(Refusal::StoreDown),
        }
    }

    /// After a race for the record that was lost.
    fn again_or_refuse(&mut self) -> Step {
        if self.tries < TRIES { self.look() } else { Step::Refuse(Refusal::StoreDown) }
    }
}

/// The record in the place of `held`, and what is held once it is written.
fn replace(held: &Held, record: Box<Record>, durability: Durability) -> (Step, Held) {
    let (key, version, record) = (held.key, held.version, Arc::<Record>::from(record));
    let written = Held { key, version: version + 1, record: record.clone() };
    (Step::Replace { key, version, record, durability }, written)
}

/// Whether what was written of a record says for the first time that its ticket came back.
fn comes_back(old: &Held, written: &Held) -> bool {
    !old.record.was_seen() && written.record.was_seen()
}
