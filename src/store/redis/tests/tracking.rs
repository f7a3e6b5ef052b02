//! Whether changes are heard of, and links proved, on a real server.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::{HOUR, IN_MEMORY, LEASE, LONG, RECOVERY, Server, becomes, found};
use crate::session::outcome::{Created, Durability, Epoch, Lookup, RecordKey, Removed, Replaced};
use crate::store::SessionStore;
use crate::store::changes::{Changes, Link, Mark};
use crate::store::contract::key;
use crate::store::health::Health;
use crate::store::redis::RedisStore;

const EPOCH: Epoch = Epoch([b'e'; 16]);
const OTHER: Epoch = Epoch([b'o'; 16]);

fn of_subject(n: u8) -> RecordKey {
    RecordKey { has_subject: true, ..key(n) }
}

/// A store with beats behind one another, to have proofs soon.
async fn eager(server: &Server) -> RedisStore {
    let mut store = server.store().patient();
    store.beat().every = Duration::from_millis(1);
    store.start().await;
    store
}

fn changes(store: &RedisStore) -> &Changes {
    store.changes().expect("Redis tells of changes")
}

/// Looks up as a cache does.
async fn watch(
    store: &RedisStore,
    key: RecordKey,
) -> (Mark, Lookup<crate::store::Stored>, Arc<Link>) {
    let mark = changes(store).mark(key);
    let (lookup, link) = store.load_watched(key).await;
    (mark, lookup, link.expect("a link"))
}

pub(super) async fn until(what: &str, holds: impl Fn() -> bool) {
    let began = Instant::now();
    while !holds() {
        assert!(began.elapsed() < LONG, "{what}: not within {LONG:?}");
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
}

/// Waits until the link was proved by a question that was sent after `moment`.
async fn proved_after(link: &Link, moment: Instant) {
    until("a proof", || {
        let now = Instant::now();
        link.silence(now).is_some_and(|silence| silence < now.duration_since(moment))
    })
    .await;
}

#[tokio::test]
async fn what_was_read_is_current_until_another_node_changes_it() {
    let server = Server::start(IN_MEMORY);
    let (store, other) = (eager(&server).await, eager(&server).await);
    let (one, two) = (of_subject(1), of_subject(2));
    for key in [one, two] {
        assert_eq!(other.epoch(key.tag, EPOCH, HOUR).await, Lookup::Found(EPOCH));
        assert_eq!(other.create(key, b"one", HOUR).await, Created::Created);
    }
    for what in ["replaced", "revoked", "removed", "made again"] {
        let (mark, _, link) = watch(&store, one).await;
        let (unconcerned, _, _) = watch(&store, two).await;
        assert!(link.is_proved(LEASE, Instant::now()) && changes(&store).is_current(one, mark));
        match what {
            "replaced" => {
                let outcome = other
                    .replace(one, 1, Some(EPOCH), b"two", HOUR.into(), Durability::Master)
                    .await;
                assert_eq!(outcome, Replaced::Replaced);
            }
            "revoked" => {
                assert_eq!(other.revoke(one.tag, OTHER, HOUR).await, Lookup::Found(Some(EPOCH)));
            }
            "removed" => assert_eq!(other.remove(one).await, Removed::Removed),
            _ => assert_eq!(other.create(one, b"three", HOUR).await, Created::Created),
        }
        until(what, || !changes(&store).is_current(one, mark)).await;
        assert!(changes(&store).is_current(two, unconcerned), "{what}: the other one is not");
    }
}

#[tokio::test]
async fn a_proof_after_an_acknowledged_change_means_that_the_change_was_counted() {
    let server = Server::start(IN_MEMORY);
    let (store, other) = (eager(&server).await, eager(&server).await);
    let key = key(1);
    assert_eq!(other.create(key, b"0", HOUR).await, Created::Created);
    for version in 1..=300_u64 {
        let (mark, _, link) = watch(&store, key).await;
        let sealed = version.to_be_bytes();
        let outcome =
            other.replace(key, version, None, &sealed, HOUR.into(), Durability::Master).await;
        assert_eq!(outcome, Replaced::Replaced);
        proved_after(&link, Instant::now()).await;
        assert!(!changes(&store).is_current(key, mark), "at {version}");
    }
}

#[tokio::test]
async fn an_emptied_server_has_changed_everything() {
    let server = Server::start(IN_MEMORY);
    let store = eager(&server).await;
    for command in ["FLUSHALL", "FLUSHDB"] {
        assert_eq!(store.create(key(1), b"one", HOUR).await, Created::Created);
        let (mark, _, _) = watch(&store, key(1)).await;
        let (missing, lookup, _) = watch(&store, of_subject(2)).await;
        assert_eq!(lookup, Lookup::NotFound);
        server.cli(&[command]);
        until(command, || !changes(&store).is_current(key(1), mark)).await;
        assert!(!changes(&store).is_current(of_subject(2), missing), "{command}");
    }
}

#[tokio::test]
async fn writes_of_this_node_are_counted_before_and_after() {
    let mut server = Server::start(IN_MEMORY);
    let store = eager(&server).await;
    assert_eq!(store.create(key(1), b"one", HOUR).await, Created::Created);
    let (mark, lookup, _) = watch(&store, key(1)).await;
    assert_eq!(lookup, found(1, b"one"));
    let outcome = store.replace(key(1), 1, None, b"two", HOUR.into(), Durability::Master).await;
    assert_eq!(outcome, Replaced::Replaced);
    assert!(!changes(&store).is_current(key(1), mark));
    // Also what is not known to be written.
    server.kill();
    becomes(&store, Health::Down, RECOVERY).await;
    let mark = changes(&store).mark(key(1));
    assert_eq!(store.remove(key(1)).await, Removed::Unavailable);
    assert!(!changes(&store).is_current(key(1), mark));
}

#[tokio::test]
async fn the_link_of_a_lost_server_is_lost() {
    let mut server = Server::start(IN_MEMORY);
    let store = eager(&server).await;
    let (_, _, link) = watch(&store, key(1)).await;
    server.kill();
    until("lost", || !link.is_proved(Duration::MAX, Instant::now())).await;
    becomes(&store, Health::Down, RECOVERY).await;
    assert!(store.load_watched(key(1)).await.1.is_none());
}

#[tokio::test]
async fn a_server_that_refuses_to_track_is_used_without_a_link() {
    let server = Server::start(IN_MEMORY);
    let user = ["ACL", "SETUSER", "default", "-client|tracking"];
    assert_eq!(server.cli(&user), "OK");
    let store = eager(&server).await;
    assert_eq!(store.create(key(1), b"one", HOUR).await, Created::Created);
    let (lookup, link) = store.load_watched(key(1)).await;
    assert_eq!(lookup, found(1, b"one"));
    assert!(link.is_none());
}

#[tokio::test]
async fn without_a_lease_nothing_is_tracked() {
    let server = Server::start(IN_MEMORY);
    let settings = super::settings(&server.url());
    let store = RedisStore::open(&settings, Duration::ZERO).expect("valid settings").patient();
    store.start().await;
    assert_eq!(store.load_watched(key(1)).await.0, Lookup::NotFound);
    assert!(store.load_watched(key(1)).await.1.is_none());
    assert_eq!(server.cli(&["CLIENT", "LIST"]).matches("flags=t").count(), 0);
}
