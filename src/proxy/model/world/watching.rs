//! What the model sees: what an exchange has come to, and what the store holds after each call.

use std::sync::Arc;

use super::{
    Ask, AtWorker, Call, Carried, Event, Fault, HOST, Lookup, RecordKey, State, Ticket, Tie,
};
use super::{Tick, Violation, What, World, Writer, Wrote, scope};
use crate::proxy::model::invariants::{Edit, written_along};

impl World<'_> {
    /// Takes in what an exchange has come to.
    pub(super) fn look(&mut self, id: usize) -> Result<(), Violation> {
        let (events, tie, version, job) = {
            let mut seat = self.exchanges[id].seat.lock().expect("no panic while it is held");
            let exchange = (seat.tie, seat.version, seat.job.take());
            (std::mem::take(&mut seat.events), exchange.0, exchange.1, exchange.2)
        };
        for event in events {
            say!(self, "  e{id}: {event:?}");
            self.exchanges[id].fenced |= matches!(event, Event::Fenced { .. });
            self.exchanges[id].has_waited |= event == Event::Waited;
            *self.counts.entry(event.name()).or_default() += 1;
            let ticket = self.exchanges[id].ticket.clone();
            let (policy, now) = (&self.fleet.policy, self.engine.now());
            self.legitimate.heard(&event, ticket.as_ref(), &self.ledger, policy, now)?;
        }
        if let (Some(tie), None) = (tie, self.exchanges[id].tie) {
            let turn = self.calls.turn();
            let exchange = &mut self.exchanges[id];
            exchange.tie = Some(tie);
            exchange.admitted = turn;
            self.legitimate.admitted(tie, exchange.failed);
            let name = tie.held().and_then(|key| self.ledger.place(key));
            say!(self, "  e{id} is admitted: {} {name:?}", word(tie));
            if tie.held().is_some() && exchange.found_over && !exchange.behind {
                let what = format!("e{id} was admitted with r{name:?}, which was over");
                return Err(Violation::new(2, what));
            }
            self.has_its_own(id, version)?;
        }
        if let Some(job) = job {
            let turn = self.calls.turn();
            let pairs = job.pairs.clone();
            self.workers.push(AtWorker { turn, exchange: id, job: Some(job), pairs, reply: None });
        }
        Ok(())
    }

    /// Rules 15 and 33: whatever a node keeps, it knows what the answer stored that set the ticket,
    /// and after a wait what the store has.
    fn has_its_own(&mut self, id: usize, version: Option<u64>) -> Result<(), Violation> {
        let exchange = &self.exchanges[id];
        let (Some(version), Some(ticket)) = (version, &exchange.ticket) else { return Ok(()) };
        let Some(entry) = self.ledger.get(ticket.key) else { return Ok(()) };
        *self.counts.entry("behind").or_default() += u64::from(version < entry.version);
        if let Some(known) = entry.reached(ticket.counter)
            && version < known
        {
            let what = format!("e{id} brought a ticket of v{known}, and was given v{version}");
            return Err(Violation::new(3, what));
        }
        Ok(())
    }

    /// An exchange that is not admitted yet looks its record up, in the store or in what its node
    /// has kept.
    pub(super) fn looked_up(&mut self, id: usize) {
        let (turn, now) = (self.calls.turn(), self.engine.now());
        let exchange = &mut self.exchanges[id];
        if let (Some(ticket), None) = (&exchange.ticket, exchange.tie) {
            let entry = self.ledger.get(ticket.key);
            exchange.looked_up = turn;
            exchange.behind =
                !exchange.has_waited && self.calls.is_behind(exchange.node, ticket.key);
            exchange.found_over = entry.is_none_or(|entry| entry.is_over(now));
            self.legitimate.looked_up(ticket, now);
        }
    }

    /// A store call is carried out.
    pub(super) fn carry_out(&mut self, call: Call, fault: Fault) -> Result<(), Violation> {
        let Call { by, what, key, node, .. } = call;
        let turn = self.calls.turn();
        call.go(self.engine, fault);
        if let Some(id) = by {
            let exchange = &mut self.exchanges[id];
            exchange.failed |= fault != Fault::None;
            if (what, fault) == (What::Load, Fault::None)
                && exchange.ticket.as_ref().is_some_and(|ticket| ticket.key == key)
            {
                self.looked_up(id);
            }
        }
        if matches!(what, What::Create | What::Replace) && fault != Fault::Before {
            self.observe(by, key, turn)?;
        }
        let by = by.map_or_else(|| format!("n{node} itself"), |id| format!("e{id}"));
        let record = self.ledger.get(key).map(|entry| (entry.version, &entry.record.state));
        let place = self.ledger.place(key);
        say!(self, "  {by}: {what:?} r{place:?} ({fault:?}); it is {record:?}");
        Ok(())
    }

    fn observe(&mut self, by: Option<usize>, key: RecordKey, turn: Tick) -> Result<(), Violation> {
        let (records, now) = (self.truth.clone(), self.engine.now());
        let found = self.engine.run(async move { records.load(key, now).await });
        let Lookup::Found((version, record)) = found else { return Ok(()) };
        let found = (version, Arc::unwrap_or_clone(record));
        let is_moved = matches!(found.1.state, State::Moved { .. });
        let Some(id) = by else {
            return self.ledger.wrote(key, found, Writer::default(), turn, now).map(drop);
        };
        let along = match found.1.state {
            State::Live => self.settling_along(id, key),
            State::Pending { .. } | State::Moved { .. } | State::Ended => Vec::new(),
        };
        let (along, theirs) = written_along(&found.1, now, &along);
        let exchange = &mut self.exchanges[id];
        let mut edits = exchange.seat.lock().expect("no panic while it is held").edits.clone();
        edits.extend(theirs);
        let writer = Writer {
            held: exchange.tie.and_then(Tie::held),
            is_login: matches!(exchange.ask, Ask::Login(_) | Ask::LateLogin),
            edits: &edits,
        };
        match self.ledger.wrote(key, found, writer, turn, now)? {
            Wrote::Nothing => {}
            Wrote::Cookies => {
                exchange.stored = true;
                along.into_iter().for_each(|id| self.exchanges[id].stored = true);
            }
            Wrote::Otherwise if is_moved => exchange.moved = Some(turn),
            Wrote::Otherwise => {}
        }
        Ok(())
    }

    /// Other answers of this session that are being settled on the same node, and what they ask of
    /// the jar.
    fn settling_along(&self, writer: usize, key: RecordKey) -> Vec<(usize, Vec<Edit>)> {
        let node = self.exchanges[writer].node;
        let others = self.exchanges.iter().enumerate().filter(|(id, exchange)| {
            *id != writer
                && exchange.node == node
                && exchange.future.is_some()
                && exchange.tie == Some(Tie::Live(key))
        });
        let edits = others.map(|(id, exchange)| {
            (id, exchange.seat.lock().expect("no panic while it is held").edits.clone())
        });
        edits.filter(|(_, edits)| !edits.is_empty()).collect()
    }

    pub(super) fn name_of(&self, ticket: &Carried) -> String {
        match self.ledger.place(ticket.key) {
            Some(place) => format!("r{place} S{}", ticket.counter),
            None => "an unknown record".to_owned(),
        }
    }

    pub(super) fn open(&self, value: &str) -> Carried {
        let ring = self.fleet.ring.current();
        let ticket = Ticket::open(&ring, value.as_bytes(), &scope(&self.fleet.policy, HOST));
        let ticket = ticket.expect("our own ticket");
        Carried { value: value.to_owned(), key: ticket.key(&ring), counter: ticket.counter }
    }
}

fn word(tie: Tie) -> &'static str {
    match tie {
        Tie::Free => "free",
        Tie::Live(_) => "live",
        Tie::Login(_) => "login",
        Tie::Silent => "silent",
    }
}
