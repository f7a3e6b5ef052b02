//! What must hold of the store after every write: invariants 1 to 5, against a small reference.
//!
//! 1. A ticket from before a privilege change has no privilege after it.
//! 2. Nothing ended comes back.
//! 3. No acknowledged cookie is lost: what an answer that reached the browser set was stored, and
//!    a write changes no cookie but those that its own answer named. Of two writers of one cookie
//!    the later wins, a fenced exchange stores nothing (rules 11, 25).
//! 4. An application session lies in at most one live record.
//! 5. A record has at most one live successor.
//! 6. No legitimate browser is logged out: see `legitimate`.

use std::collections::{BTreeMap, HashMap};
use std::fmt;

use super::application::identifier;
use super::calls::Tick;
use super::node::HOST;
use crate::clock::UnixMillis;
use crate::session::outcome::RecordKey;
use crate::session::record::{Record, State, UNSETTLED};

/// An invariant that does not hold.
#[derive(Debug)]
pub struct Violation {
    pub invariant: u8,
    pub what: String,
}

impl Violation {
    pub fn new(invariant: u8, what: impl Into<String>) -> Self {
        Self { invariant, what: what.into() }
    }
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "invariant ({}): {}", self.invariant, self.what)
    }
}

type Cookies = BTreeMap<String, String>;
/// A cookie's name and its value; none where it is deleted.
pub type Edit = (String, Option<String>);

/// A record as the store has it.
pub struct Entry {
    pub key: RecordKey,
    pub version: u64,
    pub record: Record,
    pub born: Tick,
    pub is_removed: bool,
    /// With which version each counter was reached.
    reached: BTreeMap<u32, u64>,
    cookies: Cookies,
    /// What it held since when.
    held: Vec<(Tick, Cookies)>,
    /// Its cookies before a login took them.
    inheritance: Cookies,
    successors: Vec<usize>,
}

impl Entry {
    /// Whether its session is over, by its state or by time.
    pub fn is_over(&self, now: UnixMillis) -> bool {
        self.is_removed || is_over(&self.record, now)
    }

    /// The version that first had this counter.
    pub fn reached(&self, counter: u32) -> Option<u64> {
        self.reached.get(&counter).copied()
    }

    /// Whether these edits changed nothing in its jar then, or at some time since.
    pub fn had_already(&self, edits: &[Edit], then: Tick) -> bool {
        let first = self.held.iter().rposition(|(since, _)| *since <= then).unwrap_or(0);
        self.held[first..].iter().any(|(_, held)| edited(held.clone(), edits) == *held)
    }

    /// The application's session in its jar.
    pub fn session(&self) -> Option<&str> {
        self.cookies.get("SID").map(|value| identifier(value))
    }
}

/// The exchange that wrote; nobody for what a node does by itself.
#[derive(Clone, Copy, Default)]
pub struct Writer<'a> {
    pub held: Option<RecordKey>,
    /// It tries to log in: whatever comes of that, a record that it makes takes the held one's
    /// place (rule 19).
    pub is_login: bool,
    /// What its answer asked of the jar.
    pub edits: &'a [Edit],
}

/// Of answers that their node may have written together with another one's: those that are in what
/// the store holds, by their number, and what it holds of them. Of two that name one cookie the
/// later one is there.
pub fn written_along(
    record: &Record,
    now: UnixMillis,
    others: &[(usize, Vec<Edit>)],
) -> (Vec<usize>, Vec<Edit>) {
    let found = cookies(record, now);
    let is_there = |(name, value): &Edit| found.get(name) == value.as_ref();
    let is_there_of = |of: usize, edit: &Edit| {
        let others = others.iter().filter(|(other, _)| *other != of);
        let mut later = others.flat_map(|(_, edits)| edits).filter(|(name, _)| *name == edit.0);
        is_there(edit) || later.any(is_there)
    };
    let written = others.iter().filter(|(of, edits)| edits.iter().all(|e| is_there_of(*of, e)));
    let (written, edits): (Vec<_>, Vec<_>) = written
        .map(|(of, edits)| (*of, edits.iter().filter(|edit| is_there(edit)).cloned()))
        .unzip();
    (written, edits.into_iter().flatten().collect())
}

/// What a call has written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wrote {
    Nothing,
    /// The writer's cookies, or the end of the record that held them.
    Cookies,
    Otherwise,
}

/// All records that there ever were, in the order of their creation.
#[derive(Default)]
pub struct Ledger {
    pub entries: Vec<Entry>,
    places: HashMap<RecordKey, usize>,
}

impl Ledger {
    /// Its number in the trace.
    pub fn place(&self, key: RecordKey) -> Option<usize> {
        self.places.get(&key).copied()
    }

    pub fn get(&self, key: RecordKey) -> Option<&Entry> {
        self.place(key).map(|place| &self.entries[place])
    }

    /// A record was taken out of the store from outside.
    pub fn removed(&mut self, place: usize) {
        self.entries[place].is_removed = true;
    }

    /// Compares what the store holds after a call with what the reference expects.
    pub fn wrote(
        &mut self,
        key: RecordKey,
        (version, record): (u64, Record),
        writer: Writer<'_>,
        turn: Tick,
        now: UnixMillis,
    ) -> Result<Wrote, Violation> {
        let stored = match self.place(key) {
            Some(place) if self.entries[place].version == version => return Ok(Wrote::Nothing),
            Some(place) => {
                let stored = self.replaced(place, version, record, writer, now)?;
                let entry = &mut self.entries[place];
                entry.held.push((turn, entry.cookies.clone()));
                stored
            }
            None => self.created(key, version, record, writer, turn, now)?,
        };
        self.lies_in_one_record(self.places[&key], now)?;
        Ok(stored)
    }

    fn replaced(
        &mut self,
        place: usize,
        version: u64,
        record: Record,
        writer: Writer<'_>,
        now: UnixMillis,
    ) -> Result<Wrote, Violation> {
        let entry = &mut self.entries[place];
        let was_over = entry.is_over(now);
        if was_over && !is_over(&record, now) {
            let was = &entry.record.state;
            let what = format!("r{place} was over ({was:?}) and is {:?} again", record.state);
            return Err(Violation::new(2, what));
        }
        let was_pending = matches!(entry.record.state, State::Pending { .. });
        let is_moved = matches!(record.state, State::Moved { .. });
        if was_over && was_pending && is_moved {
            let what = format!("r{place} was pending for too long, and a login succeeded on it");
            return Err(Violation::new(2, what));
        }
        let cookies = cookies(&record, now);
        let lends = matches!(record.state, State::Live | State::Pending { .. });
        let stored = if lends {
            let expected = edited(entry.cookies.clone(), writer.edits);
            as_expected(place, &expected, &cookies)?;
            if writer.edits.is_empty() { Wrote::Otherwise } else { Wrote::Cookies }
        } else {
            if !is_moved && !cookies.is_empty() {
                return Err(Violation::new(2, format!("r{place} has ended with its jar")));
            }
            if is_moved {
                entry.inheritance = std::mem::take(&mut entry.cookies);
            }
            if is_moved { Wrote::Otherwise } else { Wrote::Cookies }
        };
        entry.cookies = cookies;
        entry.reached.entry(record.counter).or_insert(version);
        entry.record = record;
        entry.version = version;
        Ok(stored)
    }

    fn created(
        &mut self,
        key: RecordKey,
        version: u64,
        record: Record,
        writer: Writer<'_>,
        turn: Tick,
        now: UnixMillis,
    ) -> Result<Wrote, Violation> {
        let place = self.entries.len();
        let old = writer.held.filter(|_| writer.is_login).and_then(|key| self.place(key));
        let cookies = cookies(&record, now);
        self.places.insert(key, place);
        self.entries.push(Entry {
            key,
            version,
            reached: BTreeMap::from([(record.counter, version)]),
            record,
            born: turn,
            is_removed: false,
            held: vec![(turn, cookies.clone())],
            cookies: cookies.clone(),
            inheritance: Cookies::new(),
            successors: Vec::new(),
        });
        if let Some(old) = old {
            self.entries[old].successors.push(place);
            let live = |place: &&usize| !self.entries[**place].is_over(now);
            let live = self.entries[old].successors.iter().filter(live).count();
            if live > 1 {
                let what = format!("r{old} has {live} live successors, r{place} being the last");
                return Err(Violation::new(5, what));
            }
        }
        self.lies_in_one_record(place, now)?;
        let inheritance = old.map(|old| self.entries[old].inheritance.clone());
        let expected = edited(inheritance.unwrap_or_default(), writer.edits);
        as_expected(place, &expected, &cookies)?;
        Ok(Wrote::Cookies)
    }

    fn lies_in_one_record(&self, place: usize, now: UnixMillis) -> Result<(), Violation> {
        let entry = &self.entries[place];
        let Some(session) = entry.session().filter(|_| !entry.is_over(now)) else { return Ok(()) };
        let other = self.entries.iter().enumerate().find(|(other, entry)| {
            *other != place && entry.session() == Some(session) && !entry.is_over(now)
        });
        match other {
            Some((other, _)) => {
                let what = format!("{session} lies in two live records, r{other} and r{place}");
                Err(Violation::new(4, what))
            }
            None => Ok(()),
        }
    }
}

fn is_over(record: &Record, now: UnixMillis) -> bool {
    match record.state {
        State::Ended | State::Moved { .. } => true,
        State::Pending { since, .. } => now >= record.ends_at || now.since(since) > UNSETTLED,
        State::Live => record.is_expired(now),
    }
}

fn cookies(record: &Record, now: UnixMillis) -> Cookies {
    let written = record.jar.written(HOST, "/", now);
    written.split("; ").filter_map(|pair| pair.split_once('=').map(own)).collect()
}

fn own((name, value): (&str, &str)) -> (String, String) {
    (name.to_owned(), value.to_owned())
}

fn edited(mut cookies: Cookies, edits: &[Edit]) -> Cookies {
    for (name, value) in edits {
        match value {
            Some(value) => drop(cookies.insert(name.clone(), value.clone())),
            None => drop(cookies.remove(name)),
        }
    }
    cookies
}

fn as_expected(place: usize, expected: &Cookies, found: &Cookies) -> Result<(), Violation> {
    if expected == found {
        return Ok(());
    }
    let what = format!("the jar of r{place} should hold {expected:?}, and holds {found:?}");
    Err(Violation::new(3, what))
}
