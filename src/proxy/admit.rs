//! Carries out what `session::admission` asks for before a request is forwarded.

use std::sync::Arc;

use tokio::time::{Instant, sleep};

use crate::clock::UnixMillis;
use crate::crypto::random;
use crate::proxy::gate::Pass;
use crate::proxy::lease::{self, HeldTurn};
use crate::proxy::session_limit;
use crate::proxy::shared::Shared;
use crate::proxy::ticket_cache::Opened;
use crate::proxy::touches;
use crate::session::admission::{Admission, Granted, Hold, How, Outcome, Restore, Step};
use crate::session::decide::{Refusal, without_ticket};
use crate::session::event::Event;
use crate::session::exchange::{Bond, Held};
use crate::session::facts::{Facts, GateState};
use crate::session::outcome::{Durability, RecordKey, Replaced};
use crate::session::policy::Policy;
use crate::session::ticket::Ticket;

/// A request that may be forwarded.
#[derive(Debug)]
pub struct Admitted {
    pub bond: Bond,
    /// Its place at the session's gate; none without a ticket.
    pub pass: Option<Pass>,
    /// None where it takes no turns, or goes on out of turn.
    pub turn: Option<HeldTurn>,
    /// When that was decided.
    pub at: UnixMillis,
}

/// Decides on a request with an opened ticket or none. Events go to `heard`.
///
/// What hardly any request waits for is awaited in boxes: all have to make room for it.
pub async fn admit(
    shared: &Arc<Shared>,
    policy: &Policy,
    opened: Option<&Opened>,
    mut facts: Facts,
    mut heard: impl FnMut(Event),
) -> Result<Admitted, Refusal> {
    let Some(Opened { ticket, key }) = opened else {
        let at = shared.clock.now();
        let bond = without_ticket(facts)?;
        return Ok(Admitted { bond, pass: None, turn: None, at });
    };
    if facts.is_login() {
        facts.attempt = random::bytes().map(u64::from_ne_bytes).map_err(|error| {
            tracing::error!(%error, "no randomness: the login is refused");
            Refusal::StoreDown
        })?;
    }
    facts.node = shared.touches.node;
    let begun = Instant::now();
    // Most look up what is kept, and at once.
    let mut at_once = Some(begun);
    let (mut turn, mut pass) = (None, None);
    let (mut admission, mut step) = Admission::begin(policy, ticket, *key, facts);
    loop {
        admission.events().for_each(&mut heard);
        let outcome = match step {
            Step::TakeTurn { until } => {
                let waiting = take_turn(shared, policy, ticket, *key, begun + until);
                let (taken, hold, has_waited) = Box::pin(waiting).await;
                turn = taken;
                Outcome::Turn { hold, has_waited, elapsed: begun.elapsed() }
            }
            Step::Enter { until, grace } => {
                drop(pass.take());
                let entered = shared.gates.enter(ticket.selector, begun + until, grace).await;
                let gate =
                    if entered.is_beside_login() { GateState::Login } else { GateState::Open };
                let has_waited = entered.has_waited();
                pass = Some(entered);
                Outcome::Entered { gate, has_waited }
            }
            Step::LookUp { how } => {
                let now = shared.clock.now();
                let lookup = match how {
                    How::Kept => {
                        let begun = at_once.take().unwrap_or_else(Instant::now).into_std();
                        shared.load_presented(*key, ticket.counter, now, begun).await
                    }
                    How::Anew => Box::pin(shared.load_anew(*key)).await,
                };
                Outcome::Loaded { lookup, now }
            }
            Step::CloseGate { patience } => {
                let pass: &mut Pass =
                    pass.as_mut().expect("the record is looked at inside the gate");
                let closed = pass.close(patience).await;
                let has_waited = pass.has_waited();
                Outcome::Closed { closed, has_waited, elapsed: begun.elapsed() }
            }
            Step::Wait { pause, until } => {
                drop(pass.take());
                sleep(pause.min(until.saturating_sub(begun.elapsed()))).await;
                Outcome::Paused { elapsed: begun.elapsed() }
            }
            Step::Replace { key, version, record, durability } => {
                let writing = shared.replace(key, version, &record, durability);
                Outcome::Replaced(Box::pin(writing).await)
            }
            Step::End { key, version, record } => {
                let writing = shared.replace(key, version, &record, Durability::Replica);
                let replaced = Box::pin(writing).await;
                if let (Replaced::Replaced, Some(pass)) = (replaced, &pass) {
                    pass.cut_streams();
                }
                Outcome::Replaced(replaced)
            }
            Step::Join(held) => {
                if held.record.authenticated.is_none() {
                    shared.limiter.came_back(&policy.name);
                }
                let joining = session_limit::joined(shared, policy, &held, &mut heard);
                Outcome::Joined(Box::pin(joining).await)
            }
            Step::Recall { max, now } => {
                Outcome::Remembered(shared.records.load_stale(*key, now, max))
            }
            Step::AskSuccessor(key) => {
                let now = shared.clock.now();
                Outcome::Loaded { lookup: Box::pin(shared.load(key)).await, now }
            }
            Step::Admit(granted) => {
                let Granted { bond, touch, at, has_waited } = granted;
                if matches!(bond, Bond::Login(_)) && !shared.elsewhere.is_zero() {
                    Box::pin(sleep(shared.elsewhere)).await;
                }
                if let (Some(held), Some(touch)) = (bond.held(), touch) {
                    touches::soon(shared, held, touch);
                }
                if has_waited {
                    shared.metrics.waited(begun.elapsed());
                }
                return Ok(Admitted { bond, pass, turn, at });
            }
            Step::Refuse(refusal) => return Err(refusal),
            Step::RestoreAndRefuse(pending, refusal) => {
                tokio::spawn(restore(shared.clone(), pending));
                return Err(refusal);
            }
        };
        step = admission.next(outcome);
    }
}

/// Waits for the turn. Says what it has of it, and whether it waited.
async fn take_turn(
    shared: &Arc<Shared>,
    policy: &Policy,
    ticket: &Ticket,
    key: RecordKey,
    deadline: Instant,
) -> (Option<HeldTurn>, Hold, bool) {
    let turn = match shared.gates.turn(ticket.selector, deadline).await {
        Ok(turn) => turn,
        Err(cause) => return (None, Hold::None(cause), false),
    };
    let has_waited = turn.has_waited();
    if !policy.serialize.fleet {
        return (Some(turn.into()), Hold::Whole, has_waited);
    }
    let asked = lease::take(shared, key, turn, deadline).await;
    let hold = asked.said.map_or_else(Hold::Here, |()| Hold::Whole);
    (Some(asked.turn), hold, has_waited || asked.has_waited)
}

async fn restore(shared: Arc<Shared>, pending: Held) {
    let Held { key, version, .. } = pending;
    loop {
        sleep(Restore::EVERY).await;
        let lookup = shared.reload(key).await;
        match Restore::of(&pending, lookup, shared.clock.now()) {
            Restore::Write(live) => {
                match shared.replace(key, version, &live, Durability::Master).await {
                    Replaced::Unavailable => {}
                    Replaced::Replaced | Replaced::Conflict | Replaced::Gone => return,
                }
            }
            Restore::Again => {}
            Restore::Over => return,
        }
    }
}
