//! Revocation, as two nodes over one store see it.

use super::*;
use crate::clock::Clock;
use crate::crypto::keyring::{KeyId, Keyring};
use crate::session::jar::Jar;
use crate::session::policy::Timeouts;
use crate::session::record::{Seed, Standing, State};
use crate::session::subject::{Subject, User};
use crate::session::ticket::{Selector, record_key, user_record_key};
use crate::store::Stored;
use crate::store::era;
use crate::store::memory::MemoryStore;
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

#[path = "records/users_tests.rs"]
mod users;

/// Two nodes with one key ring over one store.
struct Fleet {
    here: Records,
    there: Records,
    store: SharedStore,
    ring: Arc<RingSource>,
    _directory: tempfile::TempDir,
}

impl Fleet {
    fn new() -> Self {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("keyring.json");
        Keyring::generate(NOW).expect("randomness").save_new(&path).expect("a new file");
        let ring = Arc::new(RingSource::open(path).expect("just written"));
        let store: SharedStore = Arc::new(MemoryStore::new(Clock::System));
        let node = || Records::new(store.clone(), ring.clone(), HOUR);
        Self {
            here: node(),
            there: node(),
            store: store.clone(),
            ring: ring.clone(),
            _directory: directory,
        }
    }

    fn key_of(&self, subject: &str, n: u8) -> RecordKey {
        user_record_key(&self.ring.current(), user(subject), &Selector([n; 16]))
    }

    /// A record of the subject's current epoch, made here.
    async fn log_in(&self, subject: &str, n: u8) -> RecordKey {
        let key = self.key_of(subject, n);
        let Lookup::Found(epoch) = self.here.epoch(key.tag, NOW).await else { panic!("no epoch") };
        let subject = Subject::confirmed(subject);
        let record = Record { epoch: Some(epoch), subject, ..record(n) };
        assert_eq!(self.here.create(key, &record, NOW).await, Created::Created);
        key
    }

    /// A record without a subject, made here.
    async fn visit(&self, n: u8) -> RecordKey {
        let key = record_key(&self.ring.current(), [n; 8], &Selector([n; 16]));
        assert_eq!(self.here.create(key, &record(n), NOW).await, Created::Created);
        key
    }

    async fn listed(&self, subject: &str) -> Vec<RecordKey> {
        let listed = self.there.list_user(user(subject), NOW).await;
        let Lookup::Found(records) = listed else { panic!("{listed:?}") };
        let mut keys: Vec<_> = records.sessions.into_iter().map(|(key, _, _)| key).collect();
        keys.sort();
        keys
    }
}

fn record(n: u8) -> Record {
    Record::new(Seed::new([n; 32]), Jar::default(), Standing::Authenticated, &TIMEOUTS, NOW)
}

async fn is_found(records: &Records, key: RecordKey) -> bool {
    match records.load(key, NOW).await {
        Lookup::Found(_) => true,
        Lookup::Revoked => false,
        other => panic!("{other:?}"),
    }
}

/// PROTOCOL 27.
#[tokio::test]
async fn a_revoked_subject_is_revoked_on_another_node_at_once() {
    let fleet = Fleet::new();
    let (alice, bob, visitor) =
        (fleet.log_in("alice", 1).await, fleet.log_in("bob", 2).await, fleet.visit(3).await);
    assert!(is_found(&fleet.there, alice).await);
    assert_eq!(fleet.here.revoke_user(user("alice"), None, NOW).await, Removed::Removed);
    assert_eq!(fleet.there.load(alice, NOW).await, Lookup::Revoked);
    assert_eq!(fleet.here.load(alice, NOW).await, Lookup::Revoked);
    assert!(is_found(&fleet.there, bob).await);
    assert!(is_found(&fleet.there, visitor).await);
    let again = fleet.log_in("alice", 4).await;
    assert!(is_found(&fleet.there, again).await, "made after the revocation");
    assert!(!is_found(&fleet.there, alice).await);
}

/// PROTOCOL 27: absent epoch, no session.
#[tokio::test]
async fn a_record_whose_epoch_is_absent_is_revoked() {
    let fleet = Fleet::new();
    let key = fleet.key_of("alice", 1);
    let of_lost_epoch = Record { epoch: Some(Epoch([1; 16])), ..record(1) };
    assert_eq!(fleet.here.create(key, &of_lost_epoch, NOW).await, Created::Created);
    assert_eq!(fleet.there.load(key, NOW).await, Lookup::Revoked);
    let unaware = RecordKey { has_subject: false, ..key };
    assert_eq!(fleet.there.load(unaware, NOW).await, Lookup::Revoked, "its epoch was not read");
}

#[tokio::test]
async fn a_key_read_from_hex_finds_records_with_and_without_a_subject() {
    let fleet = Fleet::new();
    for key in [fleet.log_in("alice", 1).await, fleet.visit(2).await] {
        let read = RecordKey::from_hex(&key.to_hex()).expect("hex");
        assert!(is_found(&fleet.there, read).await, "{key:?}");
    }
    let alice = RecordKey::from_hex(&fleet.key_of("alice", 1).to_hex()).expect("hex");
    assert_eq!(fleet.here.revoke_user(user("alice"), None, NOW).await, Removed::Removed);
    assert_eq!(fleet.there.load(alice, NOW).await, Lookup::Revoked);
}

#[tokio::test]
async fn what_is_written_keeps_its_epoch_and_era() {
    let fleet = Fleet::new();
    assert_eq!(fleet.here.revoke_all().await, Removed::Removed);
    let alice = fleet.log_in("alice", 1).await;
    let Lookup::Found((version, record)) = fleet.there.load(alice, NOW).await else {
        panic!("not found")
    };
    assert_eq!(record.era, 1);
    let record = Arc::unwrap_or_clone(record).into_state(State::Pending { since: NOW, by: 0 });
    let replaced = fleet.there.replace(alice, version, &record, Durability::Master, NOW).await;
    assert_eq!(replaced, Replaced::Replaced);
    assert_eq!(fleet.here.load(alice, NOW).await, Lookup::Found((version + 1, Arc::new(record))));
}

/// PROTOCOL 26: revocation of all.
#[tokio::test]
async fn when_all_are_revoked_another_node_knows_with_its_next_reading() {
    let fleet = Fleet::new();
    let (alice, visitor) = (fleet.log_in("alice", 1).await, fleet.visit(2).await);
    assert!(is_found(&fleet.there, alice).await);
    assert_eq!(fleet.here.revoke_all().await, Removed::Removed);
    assert_eq!(fleet.here.load(alice, NOW).await, Lookup::Revoked);
    fleet.there.read_era().await;
    for key in [alice, visitor] {
        assert_eq!(fleet.there.load(key, NOW).await, Lookup::Revoked);
    }
    let again = fleet.log_in("alice", 3).await;
    assert!(is_found(&fleet.there, again).await, "made after the revocation");
    assert_eq!(fleet.listed("alice").await, [again]);
}

#[tokio::test]
async fn a_node_that_follows_the_era_needs_nobody_to_tell_it() {
    let fleet = Fleet::new();
    let visitor = fleet.visit(1).await;
    assert!(is_found(&fleet.there, visitor).await);
    let following = tokio::spawn(era::follow(fleet.there.clone()));
    assert_eq!(fleet.here.revoke_all().await, Removed::Removed);
    let revoked = async {
        while is_found(&fleet.there, visitor).await {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(20), revoked).await.expect("it follows");
    following.abort();
}

#[tokio::test]
async fn a_record_of_a_later_era_tells_of_it() {
    let fleet = Fleet::new();
    let old = fleet.visit(1).await;
    assert!(is_found(&fleet.there, old).await);
    assert_eq!(fleet.here.revoke_all().await, Removed::Removed);
    let new = fleet.visit(2).await;
    assert!(is_found(&fleet.there, new).await);
    assert!(!is_found(&fleet.there, old).await, "without another reading");
}

#[tokio::test]
async fn a_store_that_lost_its_era_is_told_and_every_revocation_counts() {
    let fleet = Fleet::new();
    for _ in 0..3 {
        assert_eq!(fleet.here.revoke_all().await, Removed::Removed);
    }
    let empty: SharedStore = Arc::new(MemoryStore::new(Clock::System));
    let here = Records { store: empty.clone(), ..fleet.here.clone() };
    here.read_era().await;
    assert_eq!(empty.era().await, Lookup::Found(3));
    let empty: SharedStore = Arc::new(MemoryStore::new(Clock::System));
    let here = Records { store: empty.clone(), ..fleet.here.clone() };
    assert_eq!(here.revoke_all().await, Removed::Removed);
    assert_eq!(empty.era().await, Lookup::Found(4), "later than what was known");
    assert_eq!(fleet.store.era().await, Lookup::Found(3));
}

#[tokio::test]
async fn one_session_is_ended_and_its_neighbours_live() {
    let fleet = Fleet::new();
    let (first, second) = (fleet.log_in("alice", 1).await, fleet.log_in("alice", 2).await);
    assert_eq!(fleet.here.revoke_one(first, NOW).await, Removed::Removed);
    assert_eq!(fleet.there.load(first, NOW).await, Lookup::NotFound);
    assert!(is_found(&fleet.there, second).await);
    assert_eq!(fleet.listed("alice").await, [second]);
}

#[tokio::test]
async fn a_lease_that_one_node_has_the_other_waits_for() {
    let fleet = Fleet::new();
    let key = fleet.key_of("alice", 1);
    assert_eq!(fleet.here.lease(key, [1; 16], HOUR).await, Leased::Taken);
    assert_eq!(fleet.there.lease(key, [2; 16], HOUR).await, Leased::Busy);
    fleet.here.release(key, [1; 16]).await;
    assert_eq!(fleet.there.lease(key, [2; 16], HOUR).await, Leased::Taken);
}

/// PROTOCOL 4: while keys are rolled, what is written moves to the new one, so that the old one
/// is needed no more in the end.
#[tokio::test]
async fn records_are_sealed_with_the_key_of_the_day_when_written() {
    const KEY: RecordKey = RecordKey { tag: [1; 8], id: [2; 16], has_subject: false };
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("keyring.json");
    let mut ring = Keyring::generate(NOW).expect("randomness");
    ring.save_new(&path).expect("a new file");
    let old = ring.sealing().id();
    let store: SharedStore = Arc::new(MemoryStore::new(Clock::System));
    let source = Arc::new(RingSource::open(path.clone()).expect("just written"));
    let records = Records::new(store.clone(), source.clone(), HOUR);
    let sealed_by = async || match store.load(KEY).await {
        Lookup::Found(stored) => KeyId(*stored.sealed.first_chunk().expect("a key's name")),
        other => panic!("{other:?}"),
    };

    let record = record(3);
    assert_eq!(records.create(KEY, &record, NOW).await, Created::Created);
    assert_eq!(sealed_by().await, old);

    let new = ring.rotate(NOW).expect("randomness");
    ring.promote(new).expect("it is in the ring");
    ring.replace(&path).expect("the file is ours");
    source.reload().expect("just written");
    assert_eq!(records.load(KEY, NOW).await, Lookup::Found((1, Arc::new(record.clone()))));
    assert_eq!(sealed_by().await, old, "reading writes nothing");
    let replaced = records.replace(KEY, 1, &record, Durability::Master, NOW).await;
    assert_eq!(replaced, Replaced::Replaced);
    assert_eq!(sealed_by().await, new);

    ring.retire(old).expect("it seals no more");
    ring.replace(&path).expect("the file is ours");
    source.reload().expect("just written");
    assert_eq!(records.load(KEY, NOW).await, Lookup::Found((2, Arc::new(record))));
}

/// PROTOCOL 4: a node that was forgotten in a roll-out logs nobody out.
#[tokio::test]
async fn a_record_whose_key_a_node_lacks_is_unavailable_and_with_a_retired_key_not_there() {
    const KEY: RecordKey = RecordKey { tag: [1; 8], id: [2; 16], has_subject: false };
    let directory = tempfile::tempdir().expect("a directory");
    let (here, there) = (directory.path().join("here.json"), directory.path().join("there.json"));
    let mut ring = Keyring::generate(NOW).expect("randomness");
    ring.save_new(&there).expect("a new file");
    let added = ring.rotate(NOW).expect("randomness");
    ring.promote(added).expect("it is in the ring");
    ring.save_new(&here).expect("a new file");
    let store: SharedStore = Arc::new(MemoryStore::new(Clock::System));
    let node = |path: &std::path::Path| {
        let source = Arc::new(RingSource::open(path.to_owned()).expect("just written"));
        (Records::new(store.clone(), source.clone(), HOUR), source)
    };
    let ((here_records, _), (there_records, there_ring)) = (node(&here), node(&there));
    assert_eq!(here_records.create(KEY, &record(3), NOW).await, Created::Created);

    assert_eq!(there_records.load(KEY, NOW).await, Lookup::Unavailable);
    assert_eq!(there_ring.reads(), 2, "it looked whether the key had come");
    assert_eq!(there_records.reload(KEY, NOW).await, Lookup::Unavailable);
    assert_eq!(there_ring.reads(), 2, "once a second");

    ring.replace(&there).expect("the file is ours");
    let later = NOW.plus(Duration::from_secs(1));
    assert_eq!(there_records.load(KEY, later).await, Lookup::Found((1, Arc::new(record(3)))));

    let last = ring.rotate(NOW).expect("randomness");
    ring.promote(last).expect("it is in the ring");
    ring.retire(added).expect("it seals no more");
    ring.replace(&there).expect("the file is ours");
    there_ring.reload().expect("just written");
    assert_eq!(there_records.load(KEY, later).await, Lookup::NotFound);
}

/// PROTOCOL 25: what was admitted before a revocation writes nothing after it.
#[tokio::test]
async fn a_write_does_not_outlive_a_revocation() {
    let fleet = Fleet::new();
    let hers = fleet.log_in("alice", 1).await;
    let visitor = fleet.visit(2).await;
    let read = async |key| match fleet.there.load(key, NOW).await {
        Lookup::Found(found) => found,
        other => panic!("{other:?}"),
    };
    let ((her_version, her_record), (version, record)) = (read(hers).await, read(visitor).await);
    let write = async |key, version, record: &Record| {
        fleet.there.replace(key, version, record, Durability::Master, NOW).await
    };
    assert_eq!(write(hers, her_version, &her_record).await, Replaced::Replaced);
    assert_eq!(fleet.here.revoke_user(user("alice"), None, NOW).await, Removed::Removed);
    assert_eq!(write(hers, her_version + 1, &her_record).await, Replaced::Gone);

    assert_eq!(write(visitor, version, &record).await, Replaced::Replaced);
    assert_eq!(fleet.here.revoke_all().await, Removed::Removed);
    fleet.there.read_era().await;
    assert_eq!(write(visitor, version + 1, &record).await, Replaced::Gone);
}

// What a failover of the store has lost.

impl Fleet {
    /// The store has this record again, whatever became of it.
    async fn fails_over_to(&self, key: RecordKey, stored: &Stored) {
        assert_eq!(self.store.remove(key).await, Removed::Removed);
        assert_eq!(self.store.create(key, &stored.sealed, HOUR).await, Created::Created);
    }

    async fn stored(&self, key: RecordKey) -> Stored {
        let Lookup::Found(stored) = self.store.load(key).await else { panic!("not there") };
        stored
    }

    async fn writes(&self, key: RecordKey, state: State) {
        let record = record(3).into_state(state);
        let replaced = self.here.replace(key, 1, &record, Durability::Replica, NOW).await;
        assert_eq!(replaced, Replaced::Replaced);
    }
}

/// PROTOCOL 26: remembered until the absolute end, by who ended it and by who read that.
#[tokio::test]
async fn a_session_that_is_over_does_not_come_back_with_a_failover() {
    let successor = RecordKey { tag: [9; 8], id: [9; 16], has_subject: false };
    for state in [State::Ended, State::Moved { successor, at: NOW }] {
        let fleet = Fleet::new();
        let key = fleet.visit(3).await;
        let before = fleet.stored(key).await;
        fleet.writes(key, state.clone()).await;
        let after = fleet.here.load(key, NOW).await;
        assert!(matches!(&after, Lookup::Found((2, record)) if record.state == state), "{after:?}");
        assert_eq!(fleet.there.load(key, NOW).await, after);
        let stranger = Records::new(fleet.store.clone(), fleet.ring.clone(), HOUR);
        for node in [&fleet.here, &fleet.there] {
            fleet.fails_over_to(key, &before).await;
            assert!(is_found(&stranger, key).await, "who never read it cannot know");
            assert_eq!(node.load(key, NOW).await, Lookup::Revoked, "{state:?}");
            assert_eq!(stranger.load(key, NOW).await, Lookup::NotFound, "but is told");
        }
        fleet.fails_over_to(key, &before).await;
        let forgotten = fleet.here.load(key, NOW.plus(HOUR)).await;
        let Lookup::Found((1, record)) = forgotten else { panic!("{forgotten:?}") };
        assert!(record.is_expired(NOW.plus(HOUR)), "which it is by itself");
    }
}

#[tokio::test]
async fn a_session_that_was_suspended_does_come_back() {
    let fleet = Fleet::new();
    let key = fleet.visit(3).await;
    let before = fleet.stored(key).await;
    fleet.writes(key, State::Pending { since: NOW, by: 1 }).await;
    fleet.fails_over_to(key, &before).await;
    assert!(is_found(&fleet.here, key).await, "its login was lost, and it with it");
}

#[tokio::test]
async fn a_session_that_was_removed_does_not_come_back() {
    let fleet = Fleet::new();
    let key = fleet.visit(3).await;
    let live = fleet.stored(key).await;
    assert_eq!(fleet.here.revoke_one(key, NOW).await, Removed::Removed);
    assert_eq!(fleet.here.load(key, NOW).await, Lookup::NotFound);
    fleet.fails_over_to(key, &live).await;
    assert_eq!(fleet.here.load(key, NOW).await, Lookup::Revoked);
    assert_eq!(fleet.there.load(key, NOW).await, Lookup::NotFound, "removed again");
}

/// PROTOCOL 26, 27: and whoever logs in then tells the store again.
#[tokio::test]
async fn who_has_read_that_an_epoch_is_over_does_not_believe_in_it_again() {
    let fleet = Fleet::new();
    let alice = fleet.log_in("alice", 1).await;
    let Some(epoch) = fleet.stored(alice).await.epoch else { panic!("no epoch") };
    assert_eq!(fleet.here.revoke_user(user("alice"), None, NOW).await, Removed::Removed);
    assert_eq!(fleet.there.load(alice, NOW).await, Lookup::Revoked);
    let lost = fleet.store.revoke(alice.tag, epoch, HOUR).await;
    assert!(matches!(lost, Lookup::Found(Some(_))));
    assert_eq!(fleet.there.load(alice, NOW).await, Lookup::Revoked);
}

#[tokio::test]
async fn a_subject_that_was_revoked_does_not_come_back_with_a_failover() {
    let fleet = Fleet::new();
    let (alice, bob) = (fleet.log_in("alice", 1).await, fleet.log_in("bob", 2).await);
    let Some(epoch) = fleet.stored(alice).await.epoch else { panic!("no epoch") };
    assert_eq!(fleet.here.revoke_user(user("alice"), None, NOW).await, Removed::Removed);
    let lost = fleet.store.revoke(alice.tag, epoch, HOUR).await;
    assert!(matches!(lost, Lookup::Found(Some(_))));
    assert!(is_found(&fleet.there, alice).await, "nobody told this node");
    assert_eq!(fleet.here.load(alice, NOW).await, Lookup::Revoked);
    assert_eq!(fleet.there.load(alice, NOW).await, Lookup::Revoked, "and now it was told");
    assert!(is_found(&fleet.here, bob).await);
    let again = fleet.log_in("alice", 4).await;
    for node in [&fleet.here, &fleet.there] {
        assert!(is_found(node, again).await);
        assert_eq!(node.load(alice, NOW).await, Lookup::Revoked);
    }
}

/// An answer that was on its way when the session ended says nothing about what the store has lost.
#[tokio::test]
async fn what_was_read_before_an_end_is_not_taken_for_its_loss() {
    let fleet = Fleet::new();
    let engine = Watched::over(&Arc::new(MemoryStore::new(Clock::System)));
    let here = Records::new(engine.clone(), fleet.ring.clone(), HOUR);
    let fleet = Fleet { store: engine.clone(), there: here.clone(), here, ..fleet };
    let (visitor, alice) = (fleet.visit(3).await, fleet.log_in("alice", 1).await);
    for key in [visitor, alice] {
        let gate = StoreGate::closed();
        engine.gate(Some(gate.clone()));
        let slow = tokio::spawn({
            let here = fleet.here.clone();
            async move { here.load(key, NOW).await }
        });
        gate.let_read();
        for _ in 0..100 {
            tokio::task::yield_now().await;
        }
        engine.gate(None);
        if key == visitor {
            fleet.writes(key, State::Ended).await;
        } else {
            assert_eq!(fleet.here.revoke_user(user("alice"), None, NOW).await, Removed::Removed);
        }
        let ended = fleet.stored(key).await;
        gate.let_answer();
        assert_eq!(slow.await.expect("no panic"), Lookup::Revoked);
        assert_eq!(fleet.stored(key).await, ended, "nothing is written again");
    }
}

fn user(name: &str) -> User<'_> {
    User { namespace: "shop", name }
}
