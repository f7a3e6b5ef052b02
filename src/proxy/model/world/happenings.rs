//! What happens at the worker, on the way back, to clients and to nodes.

use std::time::Duration;

use super::{ATTACKER, Ask, RecordKey, STORE_DEADLINE, Tie, Violation, World};
use super::{Arrival, Broken, Carried, Cookie, Exchange, Fault, Head, Next, Node, Reply};
use crate::proxy::model::legitimate::Reason;

impl World<'_> {
    /// The worker does its work, or its answer arrives at the node.
    pub(super) fn work(&mut self, at: usize, fault: Fault) {
        let turn = self.calls.turn();
        let id = self.workers[at].exchange;
        let is_done = self.workers[at].reply.is_some();
        if !is_done && fault != Fault::Before {
            let ask = self.exchanges[id].ask;
            let reply = self.application.work(id, ask, &self.workers[at].pairs, turn);
            say!(self, "  e{id}: the worker, given {:?}, says {reply:?}", self.workers[at].pairs);
            self.workers[at].reply = Some(reply);
        }
        let is_broken = fault != Fault::None;
        if !is_done && !is_broken && self.workers[at].job.is_some() {
            self.workers[at].turn = turn;
            return;
        }
        let worker = self.workers.remove(at);
        let Some(job) = worker.job else { return };
        let answer: Result<Reply, Broken> = match worker.reply {
            Some(reply) if !is_broken => Ok(reply),
            Some(_) | None => Err(Broken { forwarded: true }),
        };
        say!(
            self,
            "  e{id}: the worker's answer arrives{}",
            if is_broken { " broken" } else { "" }
        );
        let _ = job.reply.send(answer);
    }

    /// The head of an answer leaves its node.
    pub(super) fn leaves(&mut self, id: usize, head: Head) -> Result<(), Violation> {
        let turn = self.calls.turn();
        let Exchange { ask, failed, tie, stored, fenced, looked_up, behind, .. } =
            self.exchanges[id];
        let is_replaced = head.replaced;
        say!(self, "  e{id}: an answer leaves, ours: {is_replaced}, {}", cookie(&head));
        self.exchanges[id].left = turn;
        if matches!(ask, Ask::Login(_) | Ask::LateLogin) {
            // Rule 19: what one ticket was good for, the answer's is.
            let has_moved =
                matches!(tie, Some(Tie::Login(_))) && matches!(head.cookie, Cookie::Set(_));
            let is_harmless = !(is_replaced || head.logged_in || has_moved || failed);
            let ticket = self.exchanges[id].ticket.clone();
            self.legitimate.login_is_over(ticket.as_ref(), is_harmless);
        }
        if !is_replaced {
            let seat = self.exchanges[id].seat.clone();
            let seat = seat.lock().expect("no panic while it is held");
            let puts = seat.edits.iter().any(|(_, value)| value.is_some());
            let must_store = match tie {
                Some(Tie::Live(_) | Tie::Login(_)) => !seat.edits.is_empty() && !fenced,
                Some(Tie::Free) => puts,
                Some(Tie::Silent) | None => false,
            };
            // What only says again what was there needs no writing.
            let held = tie.and_then(Tie::held).and_then(|key| self.ledger.get(key));
            let then = if behind { 0 } else { looked_up };
            let was_there = held.is_some_and(|entry| entry.had_already(&seat.edits, then));
            if must_store && !stored && !was_there {
                let what = format!("the answer to e{id} sets cookies that nobody stored");
                return Err(Violation::new(3, what));
            }
        }
        if let Some(grant) = head.grant {
            self.may_see(id, grant)?;
        }
        if !self.exchanges[id].deaf {
            self.answers.push((turn, id, head));
        }
        Ok(())
    }

    /// Invariant 1. What remains by the rules: an exchange that another node had admitted before
    /// the login was, or before it heard of it (rule 34), and a login that is known from its answer
    /// alone, until that has been stored (rule 21).
    fn may_see(&self, id: usize, grant: usize) -> Result<(), Violation> {
        let granted = self.application.granted[grant];
        let exchange = &self.exchanges[id];
        let held = exchange.tie.and_then(Tie::held);
        let Some(record) = held.and_then(|key| self.ledger.get(key)) else { return Ok(()) };
        if granted.by == id || record.born > granted.at {
            return Ok(());
        }
        let login = &self.exchanges[granted.by];
        // An attempt to log in at another node has moved its record since, and did not wait for it.
        let is_left_behind = self.exchanges.iter().any(|attempt| {
            attempt.moved.is_some()
                && attempt.tie.and_then(Tie::held) == held
                && attempt.node != exchange.node
                && (exchange.looked_up < attempt.admitted || exchange.behind)
        });
        let is_elsewhere = login.node != exchange.node;
        let remains = is_left_behind
            || is_elsewhere && exchange.behind
            || match login.ask {
                Ask::LateLogin => login.moved.is_none_or(|moved| exchange.looked_up < moved),
                _ => is_elsewhere && exchange.looked_up < login.admitted,
            };
        if remains {
            return Ok(());
        }
        let what = format!("e{id} is answered as the user of e{}, by an older ticket", granted.by);
        Err(Violation::new(1, what))
    }

    /// An answer reaches its browser, or gets lost.
    pub(super) fn deliver(
        &mut self,
        id: usize,
        head: &Head,
        fault: Fault,
    ) -> Result<(), Violation> {
        if fault != Fault::None {
            say!(self, "  e{id}: the answer gets lost");
            return Ok(());
        }
        let turn = self.calls.turn();
        let ticket = match &head.cookie {
            Cookie::Set(value) => Some(self.open(value)),
            Cookie::Keep | Cookie::Expire => None,
        };
        let exchange = &self.exchanges[id];
        let browser = exchange.browser;
        if let (ATTACKER, Some(ticket)) = (browser, &ticket) {
            self.hoard.push(ticket.clone());
        }
        let name = ticket.as_ref().map(|ticket| self.name_of(ticket));
        say!(self, "  e{id}: the answer reaches b{browser}, {name:?}");
        let exchange = &self.exchanges[id];
        // A user who tried to log in once more is still logged in.
        let stays_logged_in = matches!(exchange.ask, Ask::Login(_))
            && ticket.as_ref().is_some_and(|ticket| {
                let entry = self.ledger.get(ticket.key);
                entry.is_some_and(|entry| entry.record.authenticated.is_some())
            });
        let arrival = Arrival {
            browser,
            exchange: id,
            ask: exchange.ask,
            tie: exchange.tie,
            sent: exchange.sent,
            left: exchange.left,
            logged_in: head.logged_in || stays_logged_in,
            cookie: &head.cookie,
            ticket,
        };
        self.legitimate.arrives(arrival, turn)
    }

    /// A request or a whole exchange comes to nothing.
    pub(super) fn gets_lost(&mut self, id: usize, is_harmless: bool) {
        say!(self, "  e{id} is lost");
        if matches!(self.exchanges[id].ask, Ask::Login(_) | Ask::LateLogin) {
            let ticket = self.exchanges[id].ticket.clone();
            self.legitimate.login_is_over(ticket.as_ref(), is_harmless);
        }
    }

    /// Time passes. No store call takes that long: what is under way is given up first. Nor is a
    /// node behind for so long, or nothing that it keeps is good any more.
    pub(super) async fn pass(&mut self, duration: Duration) -> Result<(), Violation> {
        if duration >= STORE_DEADLINE {
            while let Some(at) = self.next().iter().find_map(|(_, next)| match next {
                Next::Call(at) => Some(*at),
                _ => None,
            }) {
                self.happens(Next::Call(at), Fault::Before).await?;
            }
        }
        while let Some(word) = self.calls.unheard().first().filter(|_| duration >= STORE_DEADLINE) {
            self.happens(Next::Hear(word.node), Fault::None).await?;
        }
        say!(self, "{duration:?} pass");
        self.engine.pass(duration);
        tokio::time::advance(duration).await;
        self.pump().await
    }

    /// A client leaves.
    pub(super) async fn abort(&mut self, pick: usize, forwarded: bool) -> Result<(), Violation> {
        let waiting = self.workers.iter().enumerate().filter(|(_, worker)| worker.job.is_some());
        let waiting: Vec<usize> = waiting.map(|(at, _)| at).collect();
        let Some(&at) = waiting.get(pick % waiting.len().max(1)) else { return Ok(()) };
        let id = self.workers[at].exchange;
        let forwarded = forwarded || self.workers[at].reply.is_some();
        say!(self, "the client of e{id} leaves, forwarded: {forwarded}");
        self.exchanges[id].deaf = true;
        if let Some(job) = self.workers[at].job.take() {
            let _ = job.reply.send(Err(Broken { forwarded }));
        }
        if !forwarded || self.workers[at].reply.is_some() {
            self.workers.remove(at);
        }
        self.pump().await
    }

    /// A node's process dies. Of what it had asked the store, some arrives.
    pub(super) async fn crash(&mut self, node: usize) -> Result<(), Violation> {
        say!(self, "n{node} crashes");
        self.nodes[node].crash();
        for id in 0..self.exchanges.len() {
            if self.exchanges[id].node == node && self.exchanges[id].future.take().is_some() {
                self.gets_lost(id, false);
            }
        }
        while let Some(at) = self.call_of(node) {
            let call = self.calls.waiting().remove(at);
            let fault = if call.turn.is_multiple_of(2) { Fault::Before } else { Fault::After };
            self.carry_out(call, fault)?;
        }
        for worker in &mut self.workers {
            if self.exchanges[worker.exchange].node == node {
                worker.job = None;
            }
        }
        self.workers.retain(|worker| worker.job.is_some() || worker.reply.is_none());
        self.nodes[node] = Node::start(self.fleet, &self.calls, node);
        self.pump().await
    }

    fn call_of(&self, node: usize) -> Option<usize> {
        self.calls.waiting().iter().position(|call| call.node == node)
    }

    /// Takes a record out of the store.
    pub(super) fn revoke(&mut self, pick: usize) {
        if self.ledger.entries.is_empty() {
            return;
        }
        let place = pick % self.ledger.entries.len();
        let key: RecordKey = self.ledger.entries[place].key;
        say!(self, "r{place} is taken out of the store");
        let store = self.engine.store.clone();
        self.engine.run(async move { store.remove(key).await });
        self.calls.changed(key);
        self.ledger.removed(place);
        self.legitimate.excuse(key, Reason::Taken);
    }

    /// The attacker's ticket takes the place of one that nobody is logged in with.
    pub(super) fn plant(&mut self, browser: usize) {
        let planted: Option<Carried> = self.legitimate.tickets[ATTACKER].clone();
        if planted.is_none() || self.legitimate.is_logged_in(browser) {
            return;
        }
        say!(self, "the attacker's ticket is planted in b{browser}");
        self.legitimate.tickets[browser] = planted;
    }
}

fn cookie(head: &Head) -> &'static str {
    match head.cookie {
        Cookie::Keep => "no ticket",
        Cookie::Set(_) => "a ticket",
        Cookie::Expire => "without the ticket",
    }
}
