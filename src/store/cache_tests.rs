//! What is kept, for how long, and who asks the store.

use std::pin::Pin;
use std::task::{Context, Poll, Waker};

use tokio::task::{JoinSet, yield_now};

use super::*;
use crate::clock::{Clock, UnixMillis};
use crate::crypto::keyring::Keyring;
use crate::crypto::ring_source::RingSource;
use crate::session::jar::Jar;
use crate::session::outcome::{Created, Durability, Removed, Replaced};
use crate::session::policy::Timeouts;
use crate::session::record::{Seed, Standing};
use crate::session::subject::User;
use crate::session::ticket::{Selector, record_key, user_record_key};
use crate::store::memory::MemoryStore;
use crate::store::records::Records;
use crate::store::watched::{StoreGate, Watched};

const NOW: UnixMillis = UnixMillis(1_795_462_335_000);
const HOUR: Duration = Duration::from_secs(3600);
const TIMEOUTS: Timeouts = Timeouts {
    idle: HOUR,
    absolute: HOUR,
    renew_every: Duration::from_secs(900),
    grace: Duration::from_secs(60),
    anonymous: Duration::from_secs(900),
};
/// Longer than any test takes.
const LEASE: Duration = Duration::from_secs(600);
const SETTINGS: CacheSettings = CacheSettings { lease: LEASE, bytes: 64 << 20 };

struct Node {
    engine: Arc<Watched>,
    records: Records,
}

/// Two nodes over one memory.
struct Fleet {
    here: Node,
    there: Node,
    memory: Arc<MemoryStore>,
    ring: Arc<RingSource>,
    path: std::path::PathBuf,
    _directory: tempfile::TempDir,
}

impl Fleet {
    fn new() -> Self {
        Self::with(SETTINGS)
    }

    fn with(settings: CacheSettings) -> Self {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("keyring.json");
        Keyring::generate(NOW).expect("randomness").save_new(&path).expect("a new file");
        let ring = Arc::new(RingSource::open(path.clone()).expect("just written"));
        let memory = Arc::new(MemoryStore::new(Clock::System));
        let node = || {
            let engine = Watched::over(&memory);
            let records = Records::new(engine.clone(), ring.clone(), HOUR).with_cache(settings);
            Node { engine, records }
        };
        Self { here: node(), there: node(), memory, ring, path, _directory: directory }
    }

    fn key(&self, n: u16) -> RecordKey {
        let mut selector = [7; 16];
        selector[..2].copy_from_slice(&n.to_be_bytes());
        record_key(&self.ring.current(), [1; 8], &Selector(selector))
    }

    /// A record that the other node has made.
    async fn made(&self, n: u16) -> RecordKey {
        let key = self.key(n);
        assert_eq!(self.there.records.create(key, &record(), NOW).await, Created::Created);
        key
    }

    /// A record of a subject, that the other node has made.
    async fn made_for(&self, subject: &str) -> RecordKey {
        let key = user_record_key(&self.ring.current(), user(subject), &Selector([9; 16]));
        let Lookup::Found(epoch) = self.there.records.epoch(key.tag, NOW).await else { panic!() };
        let record = Record { epoch: Some(epoch), ..record() };
        assert_eq!(self.there.records.create(key, &record, NOW).await, Created::Created);
        key
    }

    /// The other node writes it; this one has not heard of that.
    async fn rewritten(&self, key: RecordKey, version: u64) {
        let records = &self.there.records;
        let replaced = records.replace(key, version, &record(), Durability::Master, NOW).await;
        assert_eq!(replaced, Replaced::Replaced);
    }
}

impl Node {
    async fn load(&self, key: RecordKey) -> Answer {
        self.records.load(key, NOW).await
    }

    async fn version(&self, key: RecordKey) -> u64 {
        version(&self.load(key).await)
    }

    /// Loads it and says how often the store was asked for that.
    async fn asks_for(&self, key: RecordKey) -> u64 {
        let before = self.engine.asked();
        self.load(key).await;
        self.engine.asked() - before
    }
}

fn version(answer: &Answer) -> u64 {
    let Lookup::Found((version, _)) = answer else { panic!("{answer:?}") };
    *version
}

fn record() -> Record {
    Record::new(Seed::new([7; 32]), Jar::default(), Standing::Authenticated, &TIMEOUTS, NOW)
}

/// Lets tasks that were woken run.
async fn settle() {
    for _ in 0..20 {
        yield_now().await;
    }
}

#[tokio::test]
async fn what_was_read_is_shared_and_not_asked_for_again() {
    let fleet = Fleet::new();
    let key = fleet.made(1).await;
    let Lookup::Found((1, first)) = fleet.here.load(key).await else { panic!("not found") };
    let Lookup::Found((1, second)) = fleet.here.load(key).await else { panic!("not found") };
    assert!(Arc::ptr_eq(&first, &second), "a hit copies nothing");
    assert_eq!(fleet.here.engine.asked(), 1);
    let stats = fleet.here.records.cache_stats();
    assert_eq!((stats.hits, stats.misses, stats.entries), (1, 1, 1));
    assert!(fleet.here.records.cached(key, NOW, Instant::now()).is_some());
}

#[tokio::test]
async fn a_change_makes_the_store_be_asked() {
    let fleet = Fleet::new();
    let key = fleet.made_for("alice").await;
    let changes = &fleet.here.engine.changes;
    let cases: [(&str, &dyn Fn(), u64); 5] = [
        ("nothing", &|| {}, 0),
        ("the record", &|| changes.record(key), 1),
        ("its tag", &|| changes.tag(key.tag), 1),
        ("anything", &|| changes.all(), 1),
        ("another tag", &|| changes.tag([0xee; 8]), 0),
    ];
    for (what, change, asks) in cases {
        fleet.here.load(key).await;
        change();
        assert_eq!(fleet.here.asks_for(key).await, asks, "{what}");
    }
}

#[tokio::test]
async fn what_this_node_writes_it_reads() {
    let fleet = Fleet::new();
    let key = fleet.made(1).await;
    let records = &fleet.here.records;
    for version in 1..5 {
        assert_eq!(fleet.here.version(key).await, version);
        let replaced = records.replace(key, version, &record(), Durability::Master, NOW).await;
        assert_eq!(replaced, Replaced::Replaced);
    }
    assert_eq!(records.revoke_one(key, NOW).await, Removed::Removed);
    assert_eq!(fleet.here.load(key).await, Lookup::NotFound);
    let other = fleet.key(2);
    assert_eq!(fleet.here.load(other).await, Lookup::NotFound);
    assert_eq!(records.create(other, &record(), NOW).await, Created::Created);
    assert_eq!(fleet.here.version(other).await, 1, "that there was nothing is forgotten at once");
}

#[tokio::test]
async fn without_proof_the_store_is_asked() {
    let fleet = Fleet::new();
    let key = fleet.made(1).await;
    let asks = async |link: Option<Arc<Link>>, later: Duration| {
        fleet.here.engine.changes.all();
        fleet.here.engine.link(link);
        let before = fleet.here.engine.asked();
        for _ in 0..2 {
            let instant = Instant::now() + later;
            assert_eq!(version(&fleet.here.records.load_at(key, NOW, instant).await), 1);
        }
        fleet.here.engine.asked() - before
    };
    let proved = || Some(Watched::proved(Instant::now()));
    assert_eq!(asks(proved(), Duration::ZERO).await, 1);
    assert_eq!(asks(proved(), LEASE - Duration::from_secs(60)).await, 1);
    assert_eq!(asks(proved(), LEASE + Duration::from_secs(1)).await, 2, "its lease is over");
    assert_eq!(asks(None, Duration::ZERO).await, 2, "there is no link");
    assert_eq!(asks(Some(Arc::default()), Duration::ZERO).await, 2, "it was never proved");
    let lost = proved();
    lost.as_ref().expect("there is one").lose();
    assert_eq!(asks(lost, Duration::ZERO).await, 2, "it is lost");
}

/// A link that proves itself again makes what came over it good again: nothing was missed.
#[tokio::test]
async fn a_proof_that_was_late_is_one() {
    let fleet = Fleet::new();
    let key = fleet.made(1).await;
    let link = Arc::new(Link::default());
    fleet.here.engine.link(Some(link.clone()));
    fleet.here.load(key).await;
    link.prove(Instant::now());
    assert_eq!(fleet.here.asks_for(key).await, 0);
}

#[tokio::test]
async fn an_absence_is_believed_for_a_second() {
    let fleet = Fleet::new();
    let (absent, alice) = (fleet.key(1), fleet.made_for("alice").await);
    fleet.there.records.revoke_user(user("alice"), None, NOW).await;
    for (key, expected) in [(absent, Lookup::NotFound), (alice, Lookup::Revoked)] {
        let begun = Instant::now();
        for (millis, asks) in [(0, 1), (0, 0), (999, 0), (1000, 1), (1999, 0), (2001, 1)] {
            let before = fleet.here.engine.asked();
            let instant = begun + Duration::from_millis(millis);
            assert_eq!(fleet.here.records.load_at(key, NOW, instant).await, expected);
            assert_eq!(fleet.here.engine.asked() - before, asks, "{expected:?} at {millis} ms");
        }
    }
    fleet.here.load(absent).await;
    fleet.made(1).await;
    fleet.here.engine.changes.record(absent);
    assert_eq!(fleet.here.version(absent).await, 1, "it was heard of");
}

#[tokio::test]
async fn that_the_store_does_not_answer_is_not_kept() {
    let fleet = Fleet::new();
    let (known, key) = (fleet.made(1).await, fleet.made(2).await);
    fleet.here.load(known).await;
    fleet.here.engine.goes_down(true);
    for _ in 0..2 {
        assert_eq!(fleet.here.asks_for(key).await, 1);
        assert_eq!(fleet.here.load(key).await, Lookup::Unavailable);
    }
    assert_eq!(fleet.here.version(known).await, 1, "its link has proved itself");
    fleet.here.engine.goes_down(false);
    assert_eq!(fleet.here.version(key).await, 1);
}

#[tokio::test]
async fn without_a_lease_or_changes_each_look_up_is_one() {
    let off = Fleet::with(CacheSettings { lease: Duration::ZERO, ..SETTINGS });
    let key = off.made(1).await;
    for _ in 0..3 {
        assert_eq!(off.here.asks_for(key).await, 1);
    }
    assert_eq!(off.here.records.cache_stats(), CacheStats::default());
    let records = Records::new(off.memory.clone(), off.ring.clone(), HOUR).with_cache(SETTINGS);
    for _ in 0..2 {
        assert_eq!(version(&records.load(key, NOW).await), 1);
    }
    assert_eq!(records.cache_stats(), CacheStats::default(), "nobody tells of changes");
}

// Many at once.

/// So many look-ups of a record, all of which have begun.
async fn at_once(fleet: &Fleet, key: RecordKey, number: usize) -> JoinSet<Answer> {
    let mut loads = JoinSet::new();
    for _ in 0..number {
        let records = fleet.here.records.clone();
        loads.spawn(async move { records.load(key, NOW).await });
    }
    settle().await;
    loads
}

#[tokio::test]
async fn many_who_miss_at_once_ask_once() {
    let fleet = Fleet::new();
    let key = fleet.made(1).await;
    let gate = StoreGate::closed();
    fleet.here.engine.gate(Some(gate.clone()));
    let loads = at_once(&fleet, key, 50).await;
    gate.open();
    let answers = loads.join_all().await;
    assert!(answers.iter().all(|answer| version(answer) == 1));
    assert_eq!(fleet.here.engine.asked(), 1);
    let stats = fleet.here.records.cache_stats();
    assert_eq!((stats.hits, stats.misses), (0, 50));
}

#[tokio::test]
async fn who_leads_and_leaves_strands_nobody() {
    let fleet = Fleet::new();
    let key = fleet.made(1).await;
    let gate = StoreGate::closed();
    fleet.here.engine.gate(Some(gate.clone()));
    let mut leader = at_once(&fleet, key, 1).await;
    let followers = at_once(&fleet, key, 20).await;
    leader.abort_all();
    while leader.join_next().await.is_some() {}
    settle().await;
    gate.open();
    assert!(followers.join_all().await.iter().all(|answer| version(answer) == 1));
    assert_eq!(fleet.here.engine.asked(), 2, "one of them leads, the others follow it");
}

#[tokio::test]
async fn an_outage_is_told_to_all_who_wait_for_the_same_look_up() {
    let fleet = Fleet::new();
    let key = fleet.made(1).await;
    let gate = StoreGate::closed();
    fleet.here.engine.gate(Some(gate.clone()));
    fleet.here.engine.goes_down(true);
    let loads = at_once(&fleet, key, 20).await;
    gate.open();
    assert_eq!(loads.join_all().await, vec![Lookup::Unavailable; 20]);
    assert_eq!(fleet.here.engine.asked(), 1);
}

/// What they wait for began before they did, and is no longer so: they ask again, together.
#[tokio::test]
async fn who_waited_for_what_has_changed_since_asks_once_more() {
    let fleet = Fleet::new();
    let key = fleet.made(1).await;
    for is_linked in [true, false] {
        let gate = StoreGate::closed();
        fleet.here.engine.link(is_linked.then(|| Watched::proved(Instant::now())));
        fleet.here.engine.changes.all();
        fleet.here.engine.gate(Some(gate.clone()));
        let before = fleet.here.engine.asked();
        let leader = at_once(&fleet, key, 1).await;
        let followers = at_once(&fleet, key, 20).await;
        if is_linked {
            fleet.here.engine.changes.record(key);
        }
        let second = StoreGate::closed();
        fleet.here.engine.gate(Some(second.clone()));
        gate.open();
        leader.join_all().await;
        settle().await;
        second.open();
        followers.join_all().await;
        assert_eq!(fleet.here.engine.asked() - before, 2, "linked: {is_linked}");
    }
}

/// A later version is not lost to an older one that arrives after it.
#[tokio::test]
async fn of_two_answers_the_later_version_is_kept() {
    let fleet = Fleet::new();
    let key = fleet.made(1).await;
    let gate = StoreGate::closed();
    fleet.here.engine.gate(Some(gate.clone()));
    let slow = at_once(&fleet, key, 1).await;
    gate.let_read();
    settle().await;
    // It has read version 1, and its answer is on the way.
    fleet.rewritten(key, 1).await;
    fleet.here.engine.gate(None);
    assert_eq!(version(&fleet.here.records.reload(key, NOW).await), 2);
    gate.let_answer();
    slow.join_all().await;
    assert_eq!(fleet.here.version(key).await, 2);
}

#[tokio::test]
async fn asking_afresh_always_asks_and_is_remembered() {
    let fleet = Fleet::new();
    let key = fleet.made(1).await;
    fleet.here.load(key).await;
    fleet.rewritten(key, 1).await;
    assert_eq!(fleet.here.version(key).await, 1, "nobody has said so yet");
    assert_eq!(version(&fleet.here.records.reload(key, NOW).await), 2);
    assert_eq!((fleet.here.asks_for(key).await, fleet.here.version(key).await), (0, 2));
    fleet.here.engine.link(None);
    fleet.rewritten(key, 2).await;
    assert_eq!(version(&fleet.here.records.reload(key, NOW).await), 3);
    assert_eq!(fleet.here.version(key).await, 3, "what cannot be kept replaces what was");
}

/// PROTOCOL 33: who waited for another one wants what that one wrote, and so do those beside him.
#[tokio::test]
async fn who_asks_anew_follows_only_what_began_later() {
    let fleet = Fleet::new();
    let key = fleet.made(1).await;
    let gate = StoreGate::closed();
    fleet.here.engine.gate(Some(gate.clone()));
    let slow = at_once(&fleet, key, 1).await;
    gate.let_read();
    settle().await;
    // Its answer is on the way, and is that of before.
    fleet.rewritten(key, 1).await;
    let before = fleet.here.engine.asked();
    let mut waited = JoinSet::new();
    for _ in 0..8 {
        let records = fleet.here.records.clone();
        waited.spawn(async move { version(&records.load_anew(key, NOW).await) });
    }
    settle().await;
    let later = StoreGate::closed();
    fleet.here.engine.gate(Some(later.clone()));
    gate.open();
    slow.join_all().await;
    settle().await;
    later.open();
    assert_eq!(waited.join_all().await, [2; 8]);
    assert_eq!(fleet.here.engine.asked() - before, 1, "all of them together");
    assert_eq!((fleet.here.asks_for(key).await, fleet.here.version(key).await), (0, 2));
}

// Revocation.

#[tokio::test]
async fn a_revocation_is_seen_here_at_once_and_there_when_it_is_heard_of() {
    let fleet = Fleet::new();
    let (here, there) = (&fleet.here, &fleet.there);
    let (alice, visitor) = (fleet.made_for("alice").await, fleet.made(1).await);
    for node in [here, there] {
        assert_eq!((node.version(alice).await, node.version(visitor).await), (1, 1));
    }
    assert_eq!(here.records.revoke_user(user("alice"), None, NOW).await, Removed::Removed);
    assert_eq!(here.load(alice).await, Lookup::Revoked);
    assert_eq!(there.version(alice).await, 1, "within the lease");
    there.engine.changes.tag(alice.tag);
    assert_eq!(there.load(alice).await, Lookup::Revoked);

    assert_eq!(here.records.revoke_one(visitor, NOW).await, Removed::Removed);
    assert_eq!(here.load(visitor).await, Lookup::NotFound);
    there.engine.changes.record(visitor);
    assert_eq!(there.load(visitor).await, Lookup::NotFound);
}

#[tokio::test]
async fn another_era_needs_no_look_up() {
    let fleet = Fleet::new();
    let key = fleet.made(1).await;
    assert_eq!((fleet.here.version(key).await, fleet.there.version(key).await), (1, 1));
    let asked = (fleet.here.engine.asked(), fleet.there.engine.asked());
    assert_eq!(fleet.here.records.revoke_all().await, Removed::Removed);
    assert_eq!(fleet.here.load(key).await, Lookup::Revoked);
    fleet.there.records.read_era().await;
    assert_eq!(fleet.there.load(key).await, Lookup::Revoked);
    assert_eq!((fleet.here.engine.asked(), fleet.there.engine.asked()), asked);
}

#[tokio::test]
async fn what_was_opened_with_another_ring_is_read_again() {
    let fleet = Fleet::new();
    let key = fleet.made(1).await;
    fleet.here.load(key).await;
    fleet.ring.reload().expect("it is as it was");
    assert_eq!(fleet.here.asks_for(key).await, 0, "nothing has changed");
    let mut ring = Keyring::load(&fleet.path).expect("written above");
    ring.rotate(NOW).expect("randomness");
    ring.replace(&fleet.path).expect("the file is ours");
    fleet.ring.reload().expect("just written");
    assert_eq!(fleet.here.asks_for(key).await, 1);
}

/// An outage may be bridged with what is still known, by the age of its proof.
#[tokio::test]
async fn what_is_known_outlasts_its_link() {
    let fleet = Fleet::new();
    let (here, key) = (&fleet.here, fleet.made(1).await);
    let stale = |max: u64| {
        let found = here.records.load_stale(key, NOW, Duration::from_secs(max));
        found.map(|(version, _)| version)
    };
    assert_eq!(stale(30), None, "never read");
    let link = Watched::proved(Instant::now());
    here.engine.link(Some(link.clone()));
    here.load(key).await;
    link.lose();
    here.engine.goes_down(true);
    assert_eq!(here.load(key).await, Lookup::Unavailable);
    assert_eq!((stale(300), stale(0)), (Some(1), None));
    here.engine.goes_down(false);
    here.records.revoke_one(key, NOW).await;
    assert_eq!(stale(300), None, "its end was noted");
    here.load(key).await;
    assert_eq!(stale(300), None, "an absence is nothing to go on with");
}

// Memory.

#[tokio::test]
async fn memory_is_bounded() {
    let fleet = Fleet::with(CacheSettings { bytes: 1 << 20, ..SETTINGS });
    for n in 0..2500 {
        let key = fleet.made(n).await;
        fleet.here.load(key).await;
    }
    let stats = fleet.here.records.cache_stats();
    assert!(stats.bytes <= 1 << 20, "{stats:?}");
    assert!(stats.bytes > 1 << 19, "it is made use of: {stats:?}");
    assert_eq!(stats.entries + stats.evicted, 2500, "{stats:?}");
}

#[test]
fn what_is_replaced_is_not_evicted() {
    let cache = Cache::new(SETTINGS).expect("it has a lease");
    let changes = Changes::default();
    let moment = Moment { changes: &changes, ring: 0, now: Instant::now() };
    let key = RecordKey { tag: [1; 8], id: [2; 16], has_subject: false };
    for version in 1..10 {
        let answer = Lookup::Found((version, Arc::new(record())));
        let link = Watched::proved(moment.now);
        let entry = Entry::new(answer.clone(), changes.mark(key), link, moment).map(Arc::new);
        cache.keep(key, &Landed { answer, entry }, moment);
    }
    let stats = cache.stats();
    assert_eq!((stats.entries, stats.evicted), (1, 0));
}

#[test]
fn an_estimate_holds_what_the_record_holds() {
    use crate::cookie::response::SetCookie;
    use crate::session::jar::Edit;
    use crate::session::policy::JarLimits;
    let changes = Changes::default();
    let moment = Moment { changes: &changes, ring: 0, now: Instant::now() };
    let key = RecordKey { tag: [1; 8], id: [2; 16], has_subject: false };
    let bytes = |answer| {
        let link = Watched::proved(moment.now);
        Entry::new(answer, changes.mark(key), link, moment).expect("an answer").bytes
    };
    let of = |cookies: usize, value: usize| {
        let fields: Vec<_> = (0..cookies).map(|n| format!("c{n}={}", "v".repeat(value))).collect();
        let edits: Vec<_> = fields
            .iter()
            .map(|field| SetCookie::parse(field.as_bytes()).expect("a readable field"))
            .map(|field| Edit::read(&field, "shop.example.com", b"/", NOW))
            .collect();
        let mut jar = Jar::default();
        jar.apply(&edits, JarLimits { bytes: 1 << 20, cookies: 1000 }, NOW);
        // As it comes out of the store.
        let record = Record::decode(&Record { jar, ..record() }.encode()).expect("just encoded");
        bytes(Lookup::Found((1, Arc::new(record))))
    };
    let empty = of(0, 0);
    assert!((300..1200).contains(&empty), "{empty}");
    assert!(bytes(Lookup::NotFound) < empty);
    for (cookies, value) in [(1, 100), (4, 1000), (64, 100)] {
        let (pure, all) = (u64::try_from(cookies * value).expect("small"), of(cookies, value));
        let most = empty + pure + 400 * u64::try_from(cookies).expect("small");
        assert!((empty + pure..most).contains(&all), "{cookies} of {value}: {all}");
    }
    let parked = Arc::new(record().park(NOW));
    assert!(bytes(Lookup::Found((1, parked))) > empty);
}

// Every order of events.

/// What happens in the course of two look-ups of one record and one write of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Happens {
    Begins(usize),
    /// The store reads for this look-up, if it has asked.
    Reads(usize),
    /// The answer arrives.
    Answers(usize),
    Writes,
    Counts,
}

/// All merges of these sequences.
fn merges(sequences: &[&[Happens]], so_far: &mut Vec<Happens>, all: &mut Vec<Vec<Happens>>) {
    if sequences.iter().all(|sequence| sequence.is_empty()) {
        all.push(so_far.clone());
    }
    for at in 0..sequences.len() {
        if let Some((first, rest)) = sequences[at].split_first() {
            let mut sequences = sequences.to_vec();
            sequences[at] = rest;
            so_far.push(*first);
            merges(&sequences, so_far, all);
            so_far.pop();
        }
    }
}

type Load<'a> = Pin<Box<dyn Future<Output = Answer> + 'a>>;

/// Runs one order; the versions that the look-ups found.
async fn found(fleet: &Fleet, key: RecordKey, order: &[Happens]) -> [u64; 2] {
    let engine = &fleet.here.engine;
    let gates = [StoreGate::closed(), StoreGate::closed()];
    let mut loads: [Option<Load>; 2] = [None, None];
    let mut found = [0; 2];
    let mut go_on = |loads: &mut [Option<Load>; 2]| {
        // Twice: the one may wait for the other.
        for at in [0, 1, 0, 1] {
            let Some(load) = &mut loads[at] else { continue };
            engine.gate(Some(gates[at].clone()));
            if let Poll::Ready(answer) = load.as_mut().poll(&mut Context::from_waker(Waker::noop()))
            {
                found[at] = version(&answer);
                loads[at] = None;
            }
        }
    };
    for event in order {
        match event {
            Happens::Begins(at) => {
                // Polled by hand, without end.
                let load = tokio::task::unconstrained(fleet.here.load(key));
                loads[*at] = Some(Box::pin(load));
            }
            Happens::Reads(at) => gates[*at].let_read(),
            Happens::Answers(at) => gates[*at].let_answer(),
            Happens::Writes => fleet.rewritten(key, 1).await,
            Happens::Counts => engine.changes.record(key),
        }
        go_on(&mut loads);
    }
    engine.gate(None);
    assert!(loads.iter().all(Option::is_none), "somebody waits for ever: {order:?}");
    found
}

/// No look-up that begins after a change was counted finds what was there before.
#[tokio::test]
async fn in_no_order_of_events_is_a_change_missed() {
    use Happens::{Answers, Begins, Counts, Reads, Writes};
    let fleet = Fleet::new();
    let one = [Begins(0), Reads(0), Answers(0)];
    let other = [Begins(1), Reads(1), Answers(1)];
    let mut keys = 0;
    // Another node's write is counted once it was done, this node's before it is sent too.
    for write in [&[Writes, Counts][..], &[Counts, Writes, Counts]] {
        let mut orders = Vec::new();
        merges(&[&one, &other, write], &mut Vec::new(), &mut orders);
        for (order, is_known) in orders.iter().flat_map(|order| [(order, false), (order, true)]) {
            keys += 1;
            let key = fleet.made(keys).await;
            if is_known {
                assert_eq!(fleet.here.version(key).await, 1);
            }
            let found = found(&fleet, key, order).await;
            let counted = order.iter().rposition(|event| *event == Counts);
            for (at, found) in found.into_iter().enumerate() {
                let begun = order.iter().position(|event| *event == Begins(at));
                assert!(
                    found == 2 || begun < counted,
                    "look-up {at} found version {found}; known before: {is_known}; {order:?}"
                );
            }
            assert_eq!(fleet.here.version(key).await, 2, "after all of it: {order:?}");
        }
    }
    assert_eq!(keys, 2 * (560 + 1680));
}

fn user(name: &str) -> User<'_> {
    User { namespace: "shop", name }
}
