//! Carries out what `session::admission` asks for before a request is forwarded.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::{Instant, sleep};

use crate::clock::UnixMillis;
use crate::crypto::random;
use crate::proxy::lease::{self, HeldTurn};
use crate::proxy::pass::Pass;
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
use crate::session::record::Record;
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
    mut facts: Facts<'_>,
    mut heard: impl FnMut(Event),
) -> Result<Admitted, Refusal> {
    let Some(Opened { ticket, key }) = opened else {
        let at = shared.clock.now();
        let bond = without_ticket(facts)?;
        return Ok(Admitted { bond, pass: None, turn: None, at });
    };
    if facts.is_login() {
        facts.attempt = attempt_number()?;
    }
    facts.node = shared.touches.node;
    let mut carrying = Carrying::new(shared, policy, ticket, *key);
    let (mut admission, mut step) = Admission::begin(policy, ticket, *key, facts);
    loop {
        admission.events().for_each(&mut heard);
        let outcome = match step {
            Step::TakeTurn { until } => Box::pin(carrying.take_turn(until)).await,
            Step::Enter { until, grace } => carrying.enter(until, grace).await,
            Step::LookUp { how: How::Kept } => {
                let (now, at) = (shared.clock.now(), carrying.moment());
                let looking = shared.load_presented(*key, ticket.counter, now, at.into_std());
                Outcome::Loaded { lookup: looking.await, now }
            }
            Step::LookUp { how: How::Anew } => {
                let now = shared.clock.now();
                Outcome::Loaded { lookup: Box::pin(shared.load_anew(*key)).await, now }
            }
            Step::CloseGate { patience } => Box::pin(carrying.close_gate(patience)).await,
            Step::Wait { pause, until } => Box::pin(carrying.wait(pause, until)).await,
            Step::Replace { key, version, record, durability } => {
                let writing = shared.replace(key, version, &record, durability);
                Outcome::Replaced(Box::pin(writing).await)
            }
            Step::End { key, version, record } => {
                Box::pin(carrying.end(key, version, &record)).await
            }
            Step::Join(held) => Box::pin(carrying.join(&held, &mut heard)).await,
            Step::Recall { max, now } => {
                Outcome::Remembered(shared.records.load_stale(*key, now, max))
            }
            Step::AskSuccessor(key) => Box::pin(carrying.ask(key)).await,
            Step::Admit(granted) => return Ok(carrying.admit(granted).await),
            Step::Refuse(refusal) => return Err(refusal),
            Step::RestoreAndRefuse(pending, refusal) => {
                tokio::spawn(restore(shared.clone(), pending));
                return Err(refusal);
            }
        };
        step = admission.next(outcome);
    }
}

/// A random number that tells a login from all others.
fn attempt_number() -> Result<u64, Refusal> {
    random::bytes().map(u64::from_ne_bytes).map_err(|error| {
        tracing::error!(%error, "no randomness: the login is refused");
        Refusal::StoreDown
    })
}

/// An admission that is under way, with what it has of its session so far.
struct Carrying<'a> {
    shared: &'a Arc<Shared>,
    policy: &'a Policy,
    ticket: &'a Ticket,
    key: RecordKey,
    begun: Instant,
    /// The same, until it has waited or was asked for.
    just_begun: Option<Instant>,
    pass: Option<Pass>,
    turn: Option<HeldTurn>,
}

impl<'a> Carrying<'a> {
    fn new(
        shared: &'a Arc<Shared>,
        policy: &'a Policy,
        ticket: &'a Ticket,
        key: RecordKey,
    ) -> Self {
        let begun = Instant::now();
        let just_begun = Some(begun);
        Self { shared, policy, ticket, key, begun, just_begun, pass: None, turn: None }
    }

    /// What time it is. Most look up what is kept, and at once: then that was just asked. Who has waited
    /// must ask again, since what is kept may be too old by now.
    fn moment(&mut self) -> Instant {
        self.just_begun.take().unwrap_or_else(Instant::now)
    }

    async fn take_turn(&mut self, until: Duration) -> Outcome {
        let deadline = self.begun + until;
        let waiting = take_turn(self.shared, self.policy, self.ticket, self.key, deadline);
        let (turn, hold, has_waited) = waiting.await;
        self.turn = turn;
        self.just_begun = None;
        Outcome::Turn { hold, has_waited, elapsed: self.begun.elapsed() }
    }

    async fn enter(&mut self, until: Duration, grace: Duration) -> Outcome {
        drop(self.pass.take());
        let (selector, deadline) = (self.ticket.selector, self.begun + until);
        let entered = self.shared.gates.enter(selector, deadline, grace).await;
        let gate = if entered.is_beside_login() { GateState::Login } else { GateState::Open };
        let has_waited = entered.has_waited();
        if has_waited {
            self.just_begun = None;
        }
        self.pass = Some(entered);
        Outcome::Entered { gate, has_waited }
    }

    async fn close_gate(&mut self, patience: Duration) -> Outcome {
        self.just_begun = None;
        let pass = self.pass.as_mut().expect("the record is looked at inside the gate");
        let closed = pass.close(patience).await;
        let has_waited = pass.has_waited();
        Outcome::Closed { closed, has_waited, elapsed: self.begun.elapsed() }
    }

    async fn wait(&mut self, pause: Duration, until: Duration) -> Outcome {
        drop(self.pass.take());
        self.just_begun = None;
        sleep(pause.min(until.saturating_sub(self.begun.elapsed()))).await;
        Outcome::Paused { elapsed: self.begun.elapsed() }
    }

    async fn end(&self, key: RecordKey, version: u64, record: &Record) -> Outcome {
        let replaced = self.shared.replace(key, version, record, Durability::Replica).await;
        if let (Replaced::Replaced, Some(pass)) = (replaced, &self.pass) {
            pass.cut_streams();
        }
        Outcome::Replaced(replaced)
    }

    async fn join(&self, held: &Held, heard: &mut impl FnMut(Event)) -> Outcome {
        if held.record.authenticated.is_none() {
            self.shared.limiter.came_back(&self.policy.name);
        }
        Outcome::Joined(session_limit::joined(self.shared, self.policy, held, heard).await)
    }

    async fn ask(&self, key: RecordKey) -> Outcome {
        let now = self.shared.clock.now();
        Outcome::Loaded { lookup: self.shared.load(key).await, now }
    }

    async fn admit(self, granted: Granted) -> Admitted {
        let Self { shared, begun, turn, pass, .. } = self;
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
        Admitted { bond, pass, turn, at }
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
