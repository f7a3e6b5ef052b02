//! Invariant 6: no legitimate browser is logged out.
//!
//! A browser is *logged in* from the moment that the answer to its own login reached it, which set
//! a ticket. From then on its ticket must open a live record, as current or previous, with the
//! application's session in the jar, after every operation; and the request that it sends when
//! everything has come to rest must be admitted with that record. Until one of these, and nothing
//! else, has happened:
//!
//! - [`Reason::Asked`]: it sent a logout, or a request to which the application answers by
//!   deleting its session (rule 26).
//! - [`Reason::Login`]: it sent another login. What counts is the ticket of that login's answer,
//!   where it arrives, also of one that failed: its ticket is good for what the one before was. One
//!   that was broken off, lost in a crash or withheld has ended the session (rules 19, 20).
//! - [`Reason::Taken`]: the record was revoked, or lost by the store.
//! - [`Reason::Expired`]: idle or absolute end (rule 26).
//! - [`Reason::Silent`]: the record was ended because the browser had not brought its ticket 30 s
//!   after the login, and somebody brought the old one (rule 22). Not where a request with the
//!   ticket had been admitted and no store call of that had failed.
//! - [`Reason::Late`]: an older ticket came to a node although the browser had had a newer one
//!   (rule 15): from a request of a tab that was long under way, or because an answer that was
//!   overtaken on its way set the older one again. The newer one must really have been presented.
//! - [`Reason::Overtaken`]: an answer that left its node before that of the login arrived after it,
//!   and set or expired a ticket: a browser applies what arrives, and no proxy can call back what
//!   has left (rule 34).
//! - [`Reason::Unordered`]: a request that was sent before the login's answer arrived set a ticket,
//!   and belonged to another session than the login, or to none, and made one. That takes two
//!   requests without a ticket, which have no order (docs/security.md, "Two first requests at a
//!   time").

use std::collections::{BTreeMap, HashMap, HashSet};

use super::calls::Tick;
use super::exchange::{Cookie, Tie};
use super::invariants::{Ledger, Violation};
use super::schedule::{ATTACKER, Ask, BROWSERS};
use crate::clock::UnixMillis;
use crate::session::event::{Cause, Event};
use crate::session::outcome::RecordKey;
use crate::session::policy::Policy;
use crate::session::record::{Age, State, UNSETTLED};

/// Why a browser may be logged out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Reason {
    Asked,
    Login,
    Taken,
    Expired,
    Silent,
    Late,
    Overtaken,
    Unordered,
}

/// A ticket as a browser keeps it.
#[derive(Clone, Debug)]
pub struct Carried {
    pub value: String,
    pub key: RecordKey,
    pub counter: u32,
}

/// A browser that is logged in.
#[derive(Clone, Copy, Debug)]
struct LoggedIn {
    key: RecordKey,
    /// When the login's answer arrived.
    since: Tick,
    /// When it left its node.
    left: Tick,
    /// The record that the login was admitted with.
    origin: Option<RecordKey>,
}

/// An answer that arrives.
pub struct Arrival<'a> {
    pub browser: usize,
    pub exchange: usize,
    pub ask: Ask,
    pub tie: Option<Tie>,
    pub sent: Tick,
    pub left: Tick,
    pub logged_in: bool,
    pub cookie: &'a Cookie,
    /// The ticket that it sets, opened.
    pub ticket: Option<Carried>,
}

/// Who is logged in, and what excuses the end of that.
#[derive(Default)]
pub struct Legitimate {
    pub tickets: [Option<Carried>; BROWSERS],
    logged_in: [Option<LoggedIn>; BROWSERS],
    excused: HashMap<RecordKey, Reason>,
    /// Logins under way with a ticket of this record.
    logins: HashMap<RecordKey, usize>,
    /// When a ticket was first looked up.
    presented: HashMap<(RecordKey, u32), UnixMillis>,
    /// Records whose ticket was admitted without any failure.
    brought: HashSet<RecordKey>,
    /// The newest ticket that reached the browser.
    newest: HashMap<RecordKey, u32>,
    /// How often each reason was needed; and arrivals of logins.
    pub counts: BTreeMap<Reason, u64>,
    pub logins_arrived: u64,
}

impl Legitimate {
    pub fn is_logged_in(&self, browser: usize) -> bool {
        self.logged_in[browser].is_some()
    }

    /// The record that a browser must be admitted with.
    pub fn must_have(&self, browser: usize) -> Option<RecordKey> {
        let key = self.logged_in[browser]?.key;
        let is_open = self.logins.get(&key).is_some_and(|open| *open > 0);
        (!is_open && !self.excused.contains_key(&key)).then_some(key)
    }

    pub fn excuse(&mut self, key: RecordKey, reason: Reason) {
        self.excused.entry(key).or_insert(reason);
    }

    /// A request with this ticket is sent.
    pub fn sends(&mut self, ask: Ask, ticket: Option<&Carried>) {
        let Some(ticket) = ticket else { return };
        match ask {
            Ask::Logout | Ask::Delete => self.excuse(ticket.key, Reason::Asked),
            Ask::Login(_) | Ask::LateLogin => *self.logins.entry(ticket.key).or_default() += 1,
            Ask::Look | Ask::Visit | Ask::Put(_) | Ask::Drop(_) => {}
        }
    }

    /// A login is over. `harmless`: it never reached a node, or found no session to move.
    pub fn login_is_over(&mut self, ticket: Option<&Carried>, is_harmless: bool) {
        let Some(ticket) = ticket else { return };
        if let Some(open) = self.logins.get_mut(&ticket.key) {
            *open = open.saturating_sub(1);
        }
        if !is_harmless {
            self.excuse(ticket.key, Reason::Login);
        }
    }

    /// The record of a ticket was looked up.
    pub fn looked_up(&mut self, ticket: &Carried, now: UnixMillis) {
        self.presented.entry((ticket.key, ticket.counter)).or_insert(now);
    }

    /// A request was admitted.
    pub fn admitted(&mut self, tie: Tie, failed: bool) {
        if let (Tie::Live(key) | Tie::Login(key), false) = (tie, failed) {
            self.brought.insert(key);
        }
    }

    /// A node says something about an exchange with this ticket.
    pub fn heard(
        &mut self,
        event: &Event,
        ticket: Option<&Carried>,
        ledger: &Ledger,
        policy: &Policy,
        now: UnixMillis,
    ) -> Result<(), Violation> {
        match (event, ticket) {
            (Event::Reused { id }, Some(ticket)) => {
                let moved_on = ledger.get(*id).map_or(0, |entry| entry.record.counter);
                let is_rightful = self.presented.iter().any(|((key, counter), first)| {
                    key == id
                        && *counter > ticket.counter
                        && (moved_on >= ticket.counter + 2
                            || now.since(*first) >= policy.timeouts.grace)
                });
                if !is_rightful && self.matters(*id) {
                    let what = "a ticket counts as reused, though no newer one was in use";
                    return Err(Violation::new(6, what));
                }
                self.excuse(*id, Reason::Late);
            }
            (Event::Ended { id, cause: Cause::SuccessorUnseen }, _) => {
                if self.brought.contains(id) && self.matters(*id) {
                    let what = "a session ended as never presented, though it had been";
                    return Err(Violation::new(6, what));
                }
                self.excuse(*id, Reason::Silent);
            }
            // Rule 20, though the login may still be at the worker.
            (Event::Ended { id, cause: Cause::PendingTimedOut }, _) => {
                if ledger.get(*id).is_some_and(|entry| !entry.is_over(now)) {
                    return Err(Violation::new(6, "a login counts as given up, and is not"));
                }
                self.excuse(*id, Reason::Login);
            }
            _ => {}
        }
        Ok(())
    }

    fn matters(&self, key: RecordKey) -> bool {
        (0..BROWSERS).any(|browser| self.must_have(browser) == Some(key))
    }

    /// An answer reached its browser, which does what it says.
    pub fn arrives(&mut self, arrival: Arrival<'_>, turn: Tick) -> Result<(), Violation> {
        let Arrival { browser, exchange, ask, tie, sent, left, logged_in, cookie, ticket } =
            arrival;
        if *cookie == Cookie::Keep {
            return Ok(());
        }
        self.tickets[browser].clone_from(&ticket);
        if let Some(ticket) = &ticket {
            let newest = self.newest.entry(ticket.key).or_default();
            *newest = (*newest).max(ticket.counter);
        }
        let was = self.logged_in[browser];
        if let (true, Some(ticket), true) = (logged_in, &ticket, browser != ATTACKER) {
            self.logins_arrived += 1;
            let origin = tie.and_then(Tie::held);
            let logged_in = LoggedIn { key: ticket.key, since: turn, left, origin };
            self.logged_in[browser] = Some(logged_in);
            return Ok(());
        }
        let Some(was) = was else { return Ok(()) };
        if ticket.is_some_and(|ticket| ticket.key == was.key) {
            return Ok(());
        }
        let reason = if self.excused.contains_key(&was.key) {
            self.excused[&was.key]
        } else if matches!(ask, Ask::Logout | Ask::Delete) {
            Reason::Asked
        } else if left < was.left {
            Reason::Overtaken
        } else if sent < was.since && is_elsewhere(tie, was.origin) && *cookie != Cookie::Expire {
            Reason::Unordered
        } else {
            let what = format!("the answer to e{exchange} took the ticket of b{browser} away");
            return Err(Violation::new(6, what));
        };
        self.leaves(browser, reason);
        Ok(())
    }

    fn leaves(&mut self, browser: usize, reason: Reason) {
        self.logged_in[browser] = None;
        *self.counts.entry(reason).or_default() += 1;
    }

    /// Looks whether everybody who is logged in still is.
    pub fn check(
        &mut self,
        ledger: &Ledger,
        policy: &Policy,
        now: UnixMillis,
    ) -> Result<(), Violation> {
        for browser in 0..BROWSERS {
            let Some(LoggedIn { key, .. }) = self.logged_in[browser] else { continue };
            if let Some(reason) = self.excused.get(&key) {
                self.leaves(browser, *reason);
                continue;
            }
            let Some(entry) = ledger.get(key) else {
                return Err(Violation::new(6, format!("b{browser} has a ticket without a record")));
            };
            if entry.record.is_expired(now) {
                self.leaves(browser, Reason::Expired);
                continue;
            }
            if self.must_have(browser).is_none() {
                continue;
            }
            // Rule 22, by a node that was gone before it could say so.
            if entry.record.state == State::Ended
                && !self.brought.contains(&key)
                && now.since(entry.record.created) >= UNSETTLED
            {
                self.leaves(browser, Reason::Silent);
                continue;
            }
            let fault = |what: String| Err(Violation::new(6, format!("b{browser} {what}")));
            if entry.record.state != State::Live {
                return fault(format!("is logged in, and its record is {:?}", entry.record.state));
            } else if entry.session().is_none() {
                return fault("is logged in, and its jar is empty".to_owned());
            } else if let Some(ticket) = &self.tickets[browser]
                && entry.record.age_of(ticket.counter, policy.timeouts.grace, now) == Age::Reused
            {
                if self.newest[&key] <= ticket.counter {
                    return fault("is logged in, and its newest ticket has run out".to_owned());
                }
                self.leaves(browser, Reason::Late);
            }
        }
        Ok(())
    }
}

/// Whether an exchange belonged to another session than the login, or to none.
fn is_elsewhere(tie: Option<Tie>, origin: Option<RecordKey>) -> bool {
    match tie {
        Some(Tie::Free) => true,
        Some(Tie::Live(key) | Tie::Login(key)) => Some(key) != origin,
        Some(Tie::Silent) | None => false,
    }
}
