//! Carries out what `session::decide` says before a request is forwarded.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::{Instant, sleep};

use crate::clock::UnixMillis;
use crate::crypto::random;
use crate::proxy::crowd::{self, Place};
use crate::proxy::gate::{Closed, PATIENCE, Pass};
use crate::proxy::lease::{self, Held as Turn};
use crate::proxy::opened::Opened;
use crate::proxy::shared::Shared;
use crate::proxy::touches;
use crate::session::decide::{
    Claim, Facts, Gate, Patience, Refusal, Turns, Verdict, decide, successor, without_ticket,
};
use crate::session::event::{Cause, Event, OutOfTurn};
use crate::session::exchange::{Bond, Held};
use crate::session::order::Serialize;
use crate::session::outage;
use crate::session::outcome::{Durability, Lookup, RecordKey, Replaced};
use crate::session::policy::Policy;
use crate::session::record::{Record, State, Touch, UNSETTLED};
use crate::session::ticket::Ticket;

/// Between two looks at a record that another node made pending.
const POLL: Duration = Duration::from_millis(20);
/// Between two tries to give a session back.
const RESTORE_EVERY: Duration = Duration::from_millis(100);
/// How often a login tries to suspend a record that others keep writing.
const TRIES: u32 = 16;

/// A request that may be forwarded.
#[derive(Debug)]
pub struct Admitted {
    pub bond: Bond,
    /// Its place at the session's gate; none without a ticket.
    pub pass: Option<Pass>,
    /// None where it takes no turns, or goes on out of turn.
    pub turn: Option<Turn>,
    /// When that was decided.
    pub at: UnixMillis,
}

/// How long an exchange waits for others of its session, and whether it did.
struct Waits {
    begun: Instant,
    deadline: Instant,
    /// How long a login lets it finish at least.
    grace: Duration,
    /// How long it lets others finish as a login, and waits for a login of others.
    patience: Duration,
    waited: bool,
}

/// Decides on a request with an opened ticket or none. Events go to `heard`.
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
    let key = *key;
    if facts.is_login() {
        facts.attempt = random::bytes().map(u64::from_ne_bytes).map_err(|error| {
            tracing::error!(%error, "no randomness: the login is refused");
            Refusal::StoreDown
        })?;
    }
    facts.node = shared.touches.node;
    let mut waits = Waits::begin(policy, facts);
    // Its turn comes first: who waits for it is not inside the gate.
    let turn = match facts.turns {
        Turns::Takes => Box::pin(waits.for_turn(shared, policy, ticket, key, &mut heard)).await,
        Turns::None => None,
    };
    let mut pass = waits.enter(shared, ticket).await;
    let mut is_alone = policy.serialize.requests == Serialize::Off;
    let mut has_told = false;
    let mut tries = 0;
    // Most have not waited for anybody.
    let mut first = (!waits.waited).then_some(waits.begun);
    loop {
        let now = shared.clock.now();
        let begun = first.take().unwrap_or_else(Instant::now);
        facts.gate = if pass.is_beside_login() { Gate::Login } else { Gate::Open };
        // Who waited did so for somebody who may have written the record, on another node perhaps,
        // which a node hears of a moment later (rule 33).
        let lookup = if turn.is_some() || waits.waited || pass.has_waited() {
            Box::pin(shared.load_anew(key)).await
        } else {
            shared.load_presented(key, ticket.counter, now, begun.into_std()).await
        };
        let (verdict, event) = decide(policy, Claim { ticket, key, lookup }, facts, now);
        event.into_iter().for_each(&mut heard);
        match verdict {
            Verdict::Forward { bond, touch } => {
                let is_first = match &touch {
                    Some(Touch::Now(record)) => comes_back(bond.record(), Some(record)),
                    Some(Touch::Soon(_)) | None => false,
                };
                let (bond, is_overtaken) = touched(shared, bond, touch).await;
                if is_overtaken && tries < TRIES {
                    tries += 1;
                    continue;
                }
                if let (true, Some(held)) = (is_first, bond.held())
                    && joined(shared, policy, held, &mut heard).await? == Place::Ended
                {
                    continue;
                }
                return Ok(waits.over(shared, bond, pass, turn, now));
            }
            Verdict::Refuse(refusal) => return Err(refusal),
            Verdict::Suspend { .. } if !is_alone => match pass.close(waits.patience).await {
                // What was in flight may have written the record: look again.
                Closed::Alone => is_alone = true,
                Closed::Taken => {
                    waits.waited = true;
                    drop(pass);
                    pass = waits.enter(shared, ticket).await;
                    facts.patience = waits.patience_left();
                    is_alone = facts.patience == Patience::Over;
                }
            },
            Verdict::Suspend { held, pending } => {
                tries += 1;
                let (key, version) = (held.key, held.version);
                match replace(shared, key, version, &pending, Durability::Master).await {
                    Replaced::Replaced => {
                        let is_first = comes_back(Some(&held.record), Some(&pending));
                        let held = Held { key, version: version + 1, record: pending.into() };
                        if is_first {
                            match joined(shared, policy, &held, &mut heard).await {
                                Ok(Place::Kept) => {}
                                Ok(Place::Ended) => continue,
                                Err(refusal) => {
                                    let Held { key, version, record } = held;
                                    let pending = Arc::unwrap_or_clone(record);
                                    tokio::spawn(restore(shared.clone(), key, version, pending));
                                    return Err(refusal);
                                }
                            }
                        }
                        return Ok(waits.over(shared, Bond::Login(held), pass, turn, now));
                    }
                    Replaced::Conflict | Replaced::Gone if tries < TRIES => {}
                    Replaced::Conflict | Replaced::Gone => return Err(Refusal::StoreDown),
                    Replaced::Unavailable => {
                        tokio::spawn(restore(shared.clone(), key, version + 1, *pending));
                        return Err(Refusal::StoreDown);
                    }
                }
            }
            Verdict::Wait(_) => {
                if !has_told {
                    has_told = true;
                    heard(Event::Waited);
                }
                waits.waited = true;
                // Outside the gate: a login on this node must not wait for who waits for it.
                drop(pass);
                sleep(POLL.min(waits.deadline.saturating_duration_since(Instant::now()))).await;
                pass = waits.enter(shared, ticket).await;
                facts.patience = waits.patience_left();
            }
            Verdict::End { held, ended, cause } => {
                tries += 1;
                let (key, version) = (held.key, held.version);
                match replace(shared, key, version, &ended, Durability::Replica).await {
                    Replaced::Replaced => {
                        pass.cut_streams();
                        heard(Event::Ended { id: key, cause });
                    }
                    Replaced::Conflict | Replaced::Gone if tries < TRIES => {}
                    Replaced::Conflict | Replaced::Gone | Replaced::Unavailable => {
                        return Err(Refusal::StoreDown);
                    }
                }
            }
            Verdict::Recall(max) => {
                let remembered = shared.records.load_stale(key, now, max);
                let bond = outage::recalled(policy, ticket, key, remembered, facts, now)?;
                return Ok(waits.over(shared, bond, pass, turn, now));
            }
            Verdict::AskSuccessor(successor) => {
                let asked = ask_successor(shared, successor, facts, &mut heard);
                let bond = Box::pin(asked).await?;
                return Ok(waits.over(shared, bond, pass, turn, now));
            }
        }
    }
}

impl Waits {
    fn begin(policy: &Policy, facts: Facts) -> Self {
        let order = policy.serialize;
        let begun = Instant::now();
        let patience = match order.requests {
            Serialize::Login => order.wait,
            Serialize::Off | Serialize::Unsafe | Serialize::All => PATIENCE,
        };
        let (wait, grace) = match facts.turns {
            Turns::Takes => (order.wait, order.wait),
            Turns::None => (patience, Duration::ZERO),
        };
        Self { begun, deadline: begun + wait, grace, patience, waited: false }
    }

    /// Waits for the turn. What follows may then take as long as for any other request.
    async fn for_turn(
        &mut self,
        shared: &Arc<Shared>,
        policy: &Policy,
        ticket: &Ticket,
        key: RecordKey,
        heard: &mut impl FnMut(Event),
    ) -> Option<Turn> {
        let (turn, said) = match shared.gates.turn(ticket.selector, self.deadline).await {
            Ok(turn) => {
                self.waited |= turn.has_waited();
                if policy.serialize.fleet {
                    let asked = lease::take(shared, key, turn, self.deadline).await;
                    self.waited |= asked.has_waited;
                    (Some(asked.turn), asked.said)
                } else {
                    (Some(turn.into()), Ok(()))
                }
            }
            Err(cause) => (None, Err(cause)),
        };
        if said == Err(OutOfTurn::TimedOut) {
            self.waited = true;
        } else {
            self.deadline = Instant::now() + self.patience;
        }
        if let Err(cause) = said {
            heard(Event::OutOfTurn { cause });
        }
        turn
    }

    async fn enter(&mut self, shared: &Shared, ticket: &Ticket) -> Pass {
        let pass = shared.gates.enter(ticket.selector, self.deadline, self.grace).await;
        self.waited |= pass.has_waited();
        pass
    }

    fn patience_left(&self) -> Patience {
        if Instant::now() >= self.deadline { Patience::Over } else { Patience::Left }
    }

    fn over(
        self,
        shared: &Shared,
        bond: Bond,
        pass: Pass,
        turn: Option<Turn>,
        at: UnixMillis,
    ) -> Admitted {
        if self.waited || pass.has_waited() {
            shared.metrics.waited(self.begun.elapsed());
        }
        Admitted { bond, pass: Some(pass), turn, at }
    }
}

/// As [`Shared::replace`], in a box: every request has to make room for what is awaited here, and
/// hardly any writes.
async fn replace(
    shared: &Shared,
    key: RecordKey,
    version: u64,
    record: &Record,
    durability: Durability,
) -> Replaced {
    Box::pin(shared.replace(key, version, record, durability)).await
}

/// The ticket of a session has come back for the first time, and that was written down. What its
/// user's limit on sessions says to that is asked in a box.
async fn joined(
    shared: &Arc<Shared>,
    policy: &Policy,
    held: &Held,
    heard: &mut impl FnMut(Event),
) -> Result<Place, Refusal> {
    if !held.record.was_seen() {
        // It could not be: the next request is the first.
        return Ok(Place::Kept);
    }
    if held.record.authenticated.is_none() {
        shared.limiter.came_back(&policy.name);
    }
    Box::pin(crowd::joined(shared, policy, held, heard)).await
}

/// Whether what is written of a record says for the first time that its ticket came back.
fn comes_back(before: Option<&Record>, written: Option<&Record>) -> bool {
    before.is_some_and(|record| !record.was_seen()) && written.is_some_and(Record::was_seen)
}

/// Writes a touch, or begins to. Whether the store takes it does not matter to the request: the next
/// one tries again. That somebody else has written the record does: what was looked up is old.
async fn touched(shared: &Arc<Shared>, bond: Bond, touch: Option<Touch>) -> (Bond, bool) {
    match (bond, touch) {
        (Bond::Live(held, presented), Some(Touch::Soon(record))) => {
            touches::soon(shared, &held, record);
            (Bond::Live(held, presented), false)
        }
        (Bond::Live(held, presented), Some(Touch::Now(record))) => {
            let (key, version) = (held.key, held.version);
            match replace(shared, key, version, &record, Durability::Master).await {
                Replaced::Replaced => {
                    let record = record.into();
                    (Bond::Live(Held { key, version: version + 1, record }, presented), false)
                }
                Replaced::Conflict | Replaced::Gone => (Bond::Live(held, presented), true),
                Replaced::Unavailable => (Bond::Live(held, presented), false),
            }
        }
        (bond, _) => (bond, false),
    }
}

/// Gives a session back that a login may have suspended without hearing of it. Nothing was
/// forwarded, so no worker has logged it in; left alone it would end (rule 20).
async fn restore(shared: Arc<Shared>, key: RecordKey, version: u64, pending: Record) {
    let State::Pending { since, .. } = pending.state else { return };
    loop {
        sleep(RESTORE_EVERY).await;
        // By now it counts as ended everywhere.
        if shared.clock.now().since(since) > UNSETTLED {
            return;
        }
        match shared.reload(key).await {
            Lookup::Unavailable => {}
            Lookup::Found((found, record)) if found == version && *record == pending => {
                let live = Arc::unwrap_or_clone(record).into_state(State::Live);
                match shared.replace(key, version, &live, Durability::Master).await {
                    Replaced::Unavailable => {}
                    Replaced::Replaced | Replaced::Conflict | Replaced::Gone => return,
                }
            }
            Lookup::Found(_) | Lookup::NotFound | Lookup::Revoked => return,
        }
    }
}

async fn ask_successor(
    shared: &Shared,
    key: RecordKey,
    facts: Facts,
    heard: &mut impl FnMut(Event),
) -> Result<Bond, Refusal> {
    loop {
        let lookup = shared.load(key).await;
        let (bond, unseen) = successor(&lookup, facts);
        if let (Some(record), Lookup::Found((version, _))) = (unseen, &lookup) {
            match shared.replace(key, *version, &record, Durability::Replica).await {
                Replaced::Replaced => {
                    heard(Event::Ended { id: key, cause: Cause::SuccessorUnseen })
                }
                // It was presented just now, or somebody else ended it.
                Replaced::Conflict => continue,
                Replaced::Gone => {}
                Replaced::Unavailable => return Err(Refusal::StoreDown),
            }
        }
        return bond;
    }
}
