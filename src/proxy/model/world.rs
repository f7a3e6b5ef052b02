//! A case: browsers, nodes, the application and the store, and what is between them.
//!
//! Everything that takes time waits here as something that can happen next. The schedule chooses
//! which; after each step all exchanges go on as far as they can.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use self::under_way::{AtWorker, Exchange, Next};
use super::application::{AppKind, Application, Reply};
use super::calls::{Call, Calls, Tick, What};
use super::engine::Engine;
use super::exchange::{self, Broken, Cookie, Head, Job, Request, SharedSeat, Tie};
use super::invariants::{Ledger, Violation, Writer, Wrote};
use super::legitimate::{Arrival, Carried, Legitimate};
use super::node::{Fleet, HOST, Node};
use super::schedule::{ATTACKER, Ask, BROWSERS, Fault, NODES, Op};
use crate::proxy::settle::scope;
use crate::session::event::Event;
use crate::session::outcome::{Lookup, RecordKey};
use crate::session::record::State;
use crate::session::ticket::Ticket;
use crate::store::records::Records;

/// Above every deadline of a store, and below the lease.
const STORE_DEADLINE: Duration = Duration::from_millis(500);

/// The whole of a case.
pub struct World<'a> {
    engine: &'a Engine,
    fleet: &'a Fleet,
    /// The store as it is, past all faults.
    truth: Records,
    calls: Arc<Calls>,
    nodes: Vec<Node>,
    application: Application,
    ledger: Ledger,
    pub legitimate: Legitimate,
    exchanges: Vec<Exchange>,
    wire: Vec<(Tick, usize)>,
    workers: Vec<AtWorker>,
    answers: Vec<(Tick, usize, Head)>,
    /// Every ticket that the attacker ever had.
    hoard: Vec<Carried>,
    /// What happened, for whoever has to understand a failure.
    pub trace: Option<Vec<String>>,
    /// How often what happened.
    pub counts: BTreeMap<&'static str, u64>,
}

macro_rules! say {
    ($world:expr, $($text:tt)*) => {
        if let Some(trace) = &mut $world.trace {
            trace.push(format!($($text)*));
        }
    };
}

impl<'a> World<'a> {
    pub fn new(engine: &'a Engine, fleet: &'a Fleet, kind: AppKind, rolling: bool) -> Self {
        let calls = Arc::new(Calls::default());
        Self {
            engine,
            fleet,
            truth: fleet.records(engine.store.clone()),
            nodes: (0..NODES).map(|node| Node::start(fleet, &calls, node)).collect(),
            calls,
            application: Application::new(kind, rolling),
            ledger: Ledger::default(),
            legitimate: Legitimate::default(),
            exchanges: Vec::new(),
            wire: Vec::new(),
            workers: Vec::new(),
            answers: Vec::new(),
            hoard: Vec::new(),
            trace: None,
            counts: BTreeMap::new(),
        }
    }

    /// Carries an operation out. One that refers to nothing does nothing.
    pub async fn apply(&mut self, op: Op) -> Result<(), Violation> {
        match op {
            Op::Nothing => {}
            Op::Send { browser, ask, node, on_the_wire, old, twice } => {
                for _ in 0..=usize::from(twice) {
                    self.send(browser, ask, node, on_the_wire, old).await?;
                }
            }
            Op::Step { pick, fault } => {
                let next = self.next();
                if let Some(&(_, next)) = next.get(usize::from(pick) % next.len().max(1)) {
                    self.happens(next, fault).await?;
                }
            }
            Op::Run(times) => {
                for _ in 0..times {
                    let Some(&(_, next)) = self.next().first() else { break };
                    self.happens(next, Fault::None).await?;
                }
            }
            Op::Finish(pick) => {
                let open = self.next();
                let Some(&(_, next)) = open.get(usize::from(pick) % open.len().max(1)) else {
                    return Ok(());
                };
                let id = self.exchange_of(next);
                let of_it = |world: &Self| {
                    let next = world.next().into_iter();
                    next.map(|(_, next)| next).find(|next| world.exchange_of(*next) == id)
                };
                while let Some(next) = of_it(self).filter(|_| id.is_some()) {
                    self.happens(next, Fault::None).await?;
                }
            }
            Op::Wait(duration) => self.pass(duration).await?,
            Op::Abort { pick, forwarded } => self.abort(usize::from(pick), forwarded).await?,
            Op::Crash(node) => self.crash(node).await?,
            Op::Revoke(pick) => self.revoke(usize::from(pick)),
            Op::Plant(browser) => self.plant(browser),
        }
        self.legitimate.check(&self.ledger, &self.fleet.policy, self.engine.now())
    }

    /// Lets everything come to rest, then asks every browser that is logged in for proof.
    pub async fn finish(&mut self) -> Result<(), Violation> {
        self.settle_down().await?;
        for browser in 0..BROWSERS {
            let Some(key) = self.legitimate.must_have(browser) else { continue };
            let id = self.exchanges.len();
            self.send(browser, Ask::Look, browser % NODES, false, 0).await?;
            self.settle_down().await?;
            if self.legitimate.must_have(browser) == Some(key) {
                *self.counts.entry("proofs").or_default() += 1;
                let tie = self.exchanges[id].tie;
                if tie != Some(Tie::Live(key)) {
                    let what = format!("b{browser} is logged in, and is admitted as {tie:?}");
                    return Err(Violation::new(6, what));
                }
            }
        }
        Ok(())
    }

    async fn settle_down(&mut self) -> Result<(), Violation> {
        for _ in 0..10_000 {
            if let Some(&(_, next)) = self.next().first() {
                self.happens(next, Fault::None).await?;
            } else if self.exchanges.iter().any(|exchange| exchange.future.is_some()) {
                self.pass(Duration::from_millis(100)).await?;
            } else {
                return self.legitimate.check(&self.ledger, &self.fleet.policy, self.engine.now());
            }
        }
        panic!("an exchange never ends");
    }

    /// What can happen, oldest first.
    fn next(&self) -> Vec<(Tick, Next)> {
        let wire = self.wire.iter().enumerate();
        let workers = self.workers.iter().enumerate();
        let answers = self.answers.iter().enumerate();
        let mut next: Vec<(Tick, Next)> = wire
            .map(|(at, (turn, _))| (*turn, Next::Arrive(at)))
            .chain(workers.map(|(at, worker)| (worker.turn, Next::Worker(at))))
            .chain(answers.map(|(at, (turn, ..))| (*turn, Next::Deliver(at))))
            .collect();
        let calls = self.calls.waiting();
        next.extend(calls.iter().enumerate().map(|(at, call)| (call.turn, Next::Call(at))));
        let words = self.calls.unheard();
        next.extend(words.iter().map(|word| (word.turn, Next::Hear(word.node))));
        next.sort_unstable_by_key(|(turn, _)| *turn);
        next
    }

    fn exchange_of(&self, next: Next) -> Option<usize> {
        match next {
            Next::Arrive(at) => Some(self.wire[at].1),
            Next::Call(at) => self.calls.waiting()[at].by,
            Next::Worker(at) => Some(self.workers[at].exchange),
            Next::Deliver(at) => Some(self.answers[at].1),
            Next::Hear(_) => None,
        }
    }

    async fn happens(&mut self, next: Next, fault: Fault) -> Result<(), Violation> {
        match next {
            Next::Arrive(at) => {
                let (_, id) = self.wire.remove(at);
                match fault {
                    Fault::Before => self.gets_lost(id, true),
                    Fault::None => self.arrive(id).await?,
                    Fault::After => {
                        self.exchanges[id].deaf = true;
                        self.arrive(id).await?;
                    }
                }
            }
            Next::Call(at) => {
                let call = self.calls.waiting().remove(at);
                self.carry_out(call, fault)?;
            }
            Next::Worker(at) => self.work(at, fault),
            Next::Deliver(at) => {
                let (_, id, head) = self.answers.remove(at);
                self.deliver(id, &head, fault)?;
            }
            Next::Hear(node) => {
                say!(self, "  n{node} hears of a change");
                self.calls.hear(node);
            }
        }
        self.pump().await
    }

    async fn send(
        &mut self,
        browser: usize,
        ask: Ask,
        node: usize,
        on_the_wire: bool,
        old: u8,
    ) -> Result<(), Violation> {
        let id = self.exchanges.len();
        let mut ticket = self.legitimate.tickets[browser].clone();
        if browser == ATTACKER && !self.hoard.is_empty() && old >= 128 {
            ticket = Some(self.hoard[usize::from(old) % self.hoard.len()].clone());
        }
        self.legitimate.sends(ask, ticket.as_ref());
        let name = ticket.as_ref().map(|ticket| self.name_of(ticket));
        say!(self, "b{browser} sends e{id} to n{node}: {ask:?} with {name:?}");
        let sent = self.calls.turn();
        self.exchanges.push(Exchange {
            browser,
            ask,
            node,
            ticket,
            sent,
            future: None,
            waker: Arc::default(),
            seat: SharedSeat::default(),
            tie: None,
            admitted: 0,
            looked_up: 0,
            found_over: false,
            behind: false,
            has_waited: false,
            moved: None,
            failed: false,
            stored: false,
            fenced: false,
            left: 0,
            deaf: false,
        });
        if on_the_wire {
            self.wire.push((sent, id));
            return Ok(());
        }
        self.arrive(id).await?;
        self.pump().await
    }

    async fn arrive(&mut self, id: usize) -> Result<(), Violation> {
        let exchange = &mut self.exchanges[id];
        say!(self, "  e{id} arrives at n{}", exchange.node);
        let shared = self.nodes[exchange.node].shared.clone();
        let ticket = exchange.ticket.as_ref().map(|ticket| ticket.value.clone());
        let request = Request { ask: exchange.ask, ticket };
        let seat = exchange.seat.clone();
        let future = exchange::run(shared, self.fleet.policy.clone(), request, seat);
        exchange.future = Some(Box::pin(future));
        exchange.waker.0.store(true, Ordering::Relaxed);
        Ok(())
    }

    /// Lets every exchange go on as far as it can.
    async fn pump(&mut self) -> Result<(), Violation> {
        loop {
            // What nodes do by themselves, and timers.
            tokio::task::yield_now().await;
            let mut is_still = true;
            for id in 0..self.exchanges.len() {
                let exchange = &mut self.exchanges[id];
                if exchange.future.is_none() || !exchange.waker.0.swap(false, Ordering::Relaxed) {
                    continue;
                }
                is_still = false;
                let waker = Waker::from(exchange.waker.clone());
                self.calls.on_behalf_of(Some(id));
                let future = exchange.future.as_mut().expect("it is there");
                let polled = future.as_mut().poll(&mut Context::from_waker(&waker));
                self.calls.on_behalf_of(None);
                if self.calls.has_looked() {
                    self.looked_up(id);
                }
                self.look(id)?;
                if let Poll::Ready(head) = polled {
                    self.exchanges[id].future = None;
                    self.leaves(id, head)?;
                }
            }
            if is_still {
                return Ok(());
            }
        }
    }
}

mod happenings;
mod under_way;
mod watching;
