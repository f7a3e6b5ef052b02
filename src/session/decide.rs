//! One pure step from what is known of a request to what is to be done with it.

use std::sync::Arc;
use std::time::Duration;

use crate::clock::UnixMillis;
use crate::cookie::enforce::SameSite;
use crate::session::binding::OnMismatch;
use crate::session::event::{Cause, Event, NotMade, Reject};
use crate::session::exchange::{Bond, Held, Presented, Silence};
use crate::session::facts::{Access, Facts, GateState, Intent, Origin, Patience};
use crate::session::outage;
use crate::session::outcome::{Lookup, RecordKey};
use crate::session::policy::{OnReuse, Policy, Timeouts};
use crate::session::record::{Age, Record, State, Touch, UNSETTLED, idle_step};
use crate::session::ticket::Ticket;

/// A ticket that opened and the record that it selects.
#[derive(Clone, Debug)]
pub struct Claim<'a> {
    pub ticket: &'a Ticket,
    pub key: RecordKey,
    pub lookup: Lookup<(u64, Arc<Record>)>,
}

/// What to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Forward; where `touch` is given, write it: an attempt, whose failure does not matter.
    Forward {
        bond: Bond,
        touch: Option<Touch>,
    },
    /// A login: make the record `pending` in the store, then forward with [`Bond::Login`].
    /// Look up and decide again if another version is there.
    Suspend {
        held: Held,
        pending: Box<Record>,
    },
    /// A login of this record is on its way: look again, at most two seconds long.
    Wait(RecordKey),
    /// An older ticket was presented (rule 15), or another client's, or the application took the
    /// session away and nobody was left to see to it (rule 29): end its record in the store, then
    /// go on without a session. Look up and decide again if another version is there.
    End {
        held: Held,
        ended: Box<Record>,
        cause: Cause,
    },
    /// The record was moved a while ago: should this successor never have been presented, it ends.
    /// Look the successor up and ask [`successor`].
    AskSuccessor(RecordKey),
    /// The store does not answer, and what this node knew of the record at most so long ago will
    /// do. Look there and ask [`outage::recalled`].
    Recall(Duration),
    Refuse(Refusal),
}

/// Why a request does not reach a worker.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// 503, with `Retry-After`.
    StoreDown,
    /// 403 (rule 24).
    CrossSiteLogin,
    /// 403: the ticket belongs to another client.
    BindingMismatch,
    /// A redirect for navigations, 401 for everything else (rule 31).
    LoginRequired,
}

/// Decides on a request with a ticket that opened.
pub fn decide(
    policy: &Policy,
    claim: Claim<'_>,
    facts: Facts<'_>,
    now: UnixMillis,
) -> (Verdict, Option<Event>) {
    match beforehand(facts) {
        Some(Ok(bond)) => (forward(bond), None),
        Some(Err(refusal)) => (Verdict::Refuse(refusal), None),
        None => {
            let (verdict, event) = on_claim(policy, claim, facts, now);
            (require(verdict, facts), event)
        }
    }
}

/// Decides on a request of which no ticket opened.
///
/// # Errors
/// Why it is refused.
pub fn without_ticket(facts: Facts<'_>) -> Result<Bond, Refusal> {
    beforehand(facts).unwrap_or_else(|| free(facts))
}

/// What needs no look at a session.
fn beforehand(facts: Facts<'_>) -> Option<Result<Bond, Refusal>> {
    if facts.intent == Intent::Preflight {
        Some(Ok(Bond::Silent(Silence::Preflight)))
    } else if facts.is_foreign_login() {
        Some(Err(Refusal::CrossSiteLogin))
    } else {
        None
    }
}

fn free(facts: Facts<'_>) -> Result<Bond, Refusal> {
    match facts.access {
        Access::Anybody => Ok(Bond::Free),
        Access::LoggedIn => Err(Refusal::LoginRequired),
    }
}

/// Decides on a request whose record was moved a while ago, once its successor was looked up
/// (rule 22): the ticket counts as none. A successor that nobody has presented is to be ended first,
/// as the record returned.
pub fn successor(
    lookup: &Lookup<(u64, Arc<Record>)>,
    facts: Facts<'_>,
) -> (Result<Bond, Refusal>, Option<Record>) {
    match lookup {
        // What was moved has no jar to lend, however well it is remembered.
        Lookup::Unavailable => (outage::without_record(facts), None),
        Lookup::Found((_, record)) if record.state == State::Live && !record.was_seen() => {
            (free(facts), Some(Record::clone(record).into_state(State::Ended)))
        }
        Lookup::Found(_) | Lookup::NotFound | Lookup::Revoked => (free(facts), None),
    }
}

/// Whether the application may make a session in answer to a request without a ticket: not where
/// `SameSite` may have held the ticket back, which a new one would overwrite (rule 10).
pub fn may_make(same_site: SameSite, is_safe: bool, facts: Facts<'_>) -> Result<(), NotMade> {
    let withheld = facts.origin == Origin::CrossSite
        && match same_site {
            SameSite::Strict => true,
            SameSite::Lax => !is_safe,
            SameSite::None => false,
        };
    if withheld && !facts.is_login() { Err(NotMade::CrossSite) } else { Ok(()) }
}

fn forward(bond: Bond) -> Verdict {
    Verdict::Forward { bond, touch: None }
}

fn end(held: Held, cause: Cause) -> Verdict {
    let ended = Box::new(Record::clone(&held.record).into_state(State::Ended));
    Verdict::End { held, ended, cause }
}

fn require(verdict: Verdict, facts: Facts<'_>) -> Verdict {
    match &verdict {
        Verdict::Forward { bond, .. }
            if facts.access == Access::LoggedIn
                && bond.record().is_none_or(|record| record.logged_in().is_none()) =>
        {
            Verdict::Refuse(Refusal::LoginRequired)
        }
        _ => verdict,
    }
}

fn on_claim(
    policy: &Policy,
    claim: Claim<'_>,
    facts: Facts<'_>,
    now: UnixMillis,
) -> (Verdict, Option<Event>) {
    let Claim { ticket, key, lookup } = claim;
    let (version, record) = match lookup {
        Lookup::Found(found) => found,
        Lookup::Unavailable => return (outage::verdict(facts), None),
        // Never merely expired: a late request must not kill the ticket that came after it.
        Lookup::NotFound | Lookup::Revoked => return (forward(Bond::Free), None),
    };
    if !ticket.secret.proves(&record.secret(ticket.counter)) {
        let event = Event::TicketRejected { reason: Reject::WrongSecret };
        return (forward(Bond::Free), Some(event));
    }
    let ended = |cause| (forward(Bond::Free), Some(Event::Ended { id: key, cause }));
    let is_past_end = now >= record.ends_at;
    match record.state {
        State::Ended => (forward(Bond::Free), None),
        // Nothing ends: what an attempt to log in has left is not kept for long.
        State::Moved { .. } if is_past_end => (forward(Bond::Free), None),
        State::Live | State::Pending { .. } if is_past_end => ended(Cause::Absolute),
        State::Moved { successor, at } if now.since(at) > UNSETTLED => {
            (Verdict::AskSuccessor(successor), None)
        }
        State::Moved { .. } => (forward(Bond::Silent(Silence::Moved(key))), None),
        State::Pending { since, .. } if now.since(since) > UNSETTLED => {
            ended(Cause::PendingTimedOut)
        }
        State::Pending { .. } if facts.patience == Patience::Over => {
            (forward(Bond::Silent(Silence::Pending(key))), None)
        }
        State::Pending { .. } => (Verdict::Wait(key), None),
        State::Live if now >= record.idle_until => ended(Cause::Idle),
        State::Live => on_live(policy, ticket, Held { key, version, record }, facts, now),
    }
}

fn on_live(
    policy: &Policy,
    ticket: &Ticket,
    mut held: Held,
    facts: Facts<'_>,
    now: UnixMillis,
) -> (Verdict, Option<Event>) {
    let Timeouts { idle, grace, .. } = policy.timeouts;
    let is_overdue = held.record.is_overdue(now);
    if is_overdue {
        held.record = Arc::new(Arc::unwrap_or_clone(held.record).unparked());
    }
    let age = held.record.age_of(ticket.counter, grace, now);
    let touch = match age {
        Age::Current | Age::Previous => {
            let step = idle_step(idle, held.key, facts.node);
            let touch = held.record.touched(age, idle, step, now);
            if is_overdue { touch.map(|touch| Touch::Now(touch.into_record())) } else { touch }
        }
        Age::Newer => Some(Touch::Now(Box::new(held.record.repaired(ticket.counter, now)))),
        Age::Reused => {
            let event = Some(Event::Reused { id: held.key });
            return match policy.on_reuse {
                // By then no request is late: its user is to be able to log in (rule 22).
                OnReuse::Log
                    if now.since(held.record.overtaken(ticket.counter, grace)) > UNSETTLED =>
                {
                    (forward(Bond::Free), event)
                }
                OnReuse::Log => (forward(Bond::Silent(Silence::Reused)), event),
                OnReuse::Recent if held.record.is_twin(ticket.counter, facts.bearer) => {
                    (forward(Bond::Silent(Silence::Outdated)), event)
                }
                OnReuse::Revoke | OnReuse::Recent => (end(held, Cause::Reused), event),
            };
        }
    };
    if let Some(bind) = &policy.bind
        && let Some(binding) = &held.record.binding
        && !facts.bearer.is_some_and(|bearer| binding.holds(&held.record.seed, bearer))
    {
        let event = Some(Event::BindingMismatch { id: held.key });
        return match bind.on_mismatch {
            OnMismatch::Deny => (Verdict::Refuse(Refusal::BindingMismatch), event),
            OnMismatch::End => (end(held, Cause::BindingMismatch), event),
        };
    }
    if is_overdue && held.record.jar.is_empty() {
        return (end(held, Cause::AppDeleted), None);
    }
    let written = || Touch::Now(Box::new(Record::clone(&held.record)));
    let touch = touch.or_else(|| is_overdue.then(written));
    if facts.gate == GateState::Login {
        return (forward(Bond::Silent(Silence::Pending(held.key))), None);
    }
    if facts.is_login() {
        let pending =
            touch.map_or_else(|| Record::clone(&held.record), |touch| *touch.into_record());
        let state = State::Pending { since: now, by: facts.attempt };
        let pending = Box::new(pending.into_state(state));
        return (Verdict::Suspend { held, pending }, None);
    }
    let Ticket { tag, selector, counter, .. } = *ticket;
    let bond = Bond::Live(held, Presented { tag, selector, counter });
    (Verdict::Forward { bond, touch }, None)
}

#[cfg(test)]
mod tests;
