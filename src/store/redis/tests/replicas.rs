//! Masters with replicas, and what must be on them.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::tracking::until;
use super::{
    HOUR, IN_MEMORY, LEASE, LONG, RECOVERY, Server, becomes, created, found,
    is_unavailable_at_once, link_of, loaded, replaced, settings,
};
use crate::session::outcome::{Created, Durability, Removed, Replaced};
use crate::store::SessionStore;
use crate::store::contract::key;
use crate::store::health::Health;
use crate::store::redis::{RedisStore, Settings};

pub(super) fn attach(replica: &Server, master: &Server) {
    replica.cli(&["REPLICAOF", "127.0.0.1", &master.port.to_string()]);
    let began = Instant::now();
    while !master.cli(&["INFO", "replication"]).contains("state=online") {
        assert!(began.elapsed() < Duration::from_secs(20), "the replica does not come online");
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// Whether there was a WAIT besides the one that tries whether it is allowed.
fn waits(server: &Server) -> bool {
    let stats = server.cli(&["INFO", "commandstats"]);
    stats.contains("cmdstat_wait:") && !stats.contains("cmdstat_wait:calls=1,")
}

#[tokio::test]
async fn a_durable_write_is_on_a_replica_when_it_is_acknowledged() {
    let (master, replica) = (Server::start(IN_MEMORY), Server::start(IN_MEMORY));
    attach(&replica, &master);
    let store = master.store().patient();
    store.start().await;
    let name = store.namespace.key(key(1));
    assert_eq!(store.create(key(1), b"0", HOUR).await, Created::Created);
    for version in 1..=20 {
        let sealed = format!("number {version}");
        let outcome = store
            .replace(key(1), version, None, sealed.as_bytes(), HOUR.into(), Durability::Replica)
            .await;
        assert_eq!(outcome, Replaced::Replaced);
        assert!(replica.cli(&["GET", &name]).ends_with(&sealed), "at {version}");
    }
    assert!(waits(&master));
    assert_eq!(store.remove(key(1)).await, Removed::Removed);
    assert_eq!(replica.cli(&["EXISTS", &name]), "0");
}

#[tokio::test]
async fn a_dead_replica_delays_durable_writes_once_and_fails_none() {
    let (master, replica) = (Server::start(IN_MEMORY), Server::start(IN_MEMORY));
    attach(&replica, &master);
    // Four times what they are in production, and in the same proportions.
    let mut store = master.store().patient();
    store.deadlines.wait = Duration::from_millis(400);
    store.deadlines.write = Duration::from_millis(600);
    store.deadlines.write_overall = Duration::from_secs(2);
    let store = Arc::new(store);
    store.start().await;
    for n in 0..16 {
        assert_eq!(store.create(key(n), b"one", HOUR).await, Created::Created);
    }
    replica.signal("-STOP");
    let mut writes = tokio::task::JoinSet::new();
    for n in 0..16 {
        let store = store.clone();
        writes.spawn(async move {
            store.replace(key(n), 1, None, b"two", HOUR.into(), Durability::Replica).await
        });
    }
    let outcomes = writes.join_all().await;
    assert!(outcomes.iter().all(|outcome| *outcome == Replaced::Replaced), "{outcomes:?}");
    assert_eq!(store.unconfirmed(), 16);
    replica.signal("-CONT");
}

#[tokio::test]
async fn a_replica_that_is_attached_later_is_waited_for() {
    let (master, replica) = (Server::start(IN_MEMORY), Server::start(IN_MEMORY));
    let mut store = master.store().patient();
    store.beat().every = Duration::from_millis(25);
    store.deadlines.replacement = Duration::from_millis(25);
    store.start().await;
    assert_eq!(store.create(key(1), b"0", HOUR).await, Created::Created);
    let outcome = store.replace(key(1), 1, None, b"x", HOUR.into(), Durability::Replica).await;
    assert_eq!(outcome, Replaced::Replaced);
    assert!(!waits(&master), "a server without replicas is not asked to wait");
    attach(&replica, &master);
    let began = Instant::now();
    let mut version = 2;
    while !waits(&master) {
        assert!(began.elapsed() < Duration::from_secs(20), "the replica goes unnoticed");
        let outcome =
            store.replace(key(1), version, None, b"x", HOUR.into(), Durability::Replica).await;
        assert_eq!(outcome, Replaced::Replaced, "the change of connections costs no call");
        version += 1;
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

fn strict(server: &Server) -> RedisStore {
    let settings = Settings { require_replicas: 1, ..settings(&server.url()) };
    RedisStore::open(&settings, LEASE).expect("valid settings")
}

#[tokio::test]
async fn a_master_without_the_replicas_that_must_confirm_is_not_used() {
    let (master, replica) = (Server::start(IN_MEMORY), Server::start(IN_MEMORY));
    let store = strict(&master);
    store.start().await;
    becomes(&store, Health::Down, RECOVERY).await;
    is_unavailable_at_once(&store).await;
    attach(&replica, &master);
    becomes(&store, Health::Up, LONG).await;
    created(&store).await;
    replaced(&store, 1, b"two", Durability::Replica).await;
    assert_eq!(replica.cli(&["EXISTS", "test:beat"]), "1");
}

#[tokio::test]
async fn a_master_whose_replicas_no_longer_confirm_is_left_when_the_lease_is_over() {
    let (master, replica) = (Server::start(IN_MEMORY), Server::start(IN_MEMORY));
    attach(&replica, &master);
    let store = strict(&master);
    store.start().await;
    becomes(&store, Health::Up, LONG).await;
    created(&store).await;
    let link = link_of(&store).await;
    // The master answers as before.
    replica.signal("-STOP");
    let stopped = Instant::now();
    becomes(&store, Health::Down, RECOVERY).await;
    assert_eq!(master.cli(&["PING"]), "PONG");
    assert!(!link.is_proved(LEASE, stopped + LEASE + Duration::from_millis(1)));
    is_unavailable_at_once(&store).await;
    assert_eq!(store.create(key(2), b"x", HOUR).await, Created::Unavailable);
    replica.signal("-CONT");
    becomes(&store, Health::Up, LONG).await;
    assert_eq!(loaded(&store).await, found(1, b"one"));
}

#[tokio::test]
async fn a_durable_write_that_too_few_confirm_is_not_acknowledged() {
    let (master, replica) = (Server::start(IN_MEMORY), Server::start(IN_MEMORY));
    attach(&replica, &master);
    let mut store = strict(&master).patient();
    store.deadlines.wait = Duration::from_millis(100);
    store.start().await;
    becomes(&store, Health::Up, LONG).await;
    assert_eq!(store.create(key(1), b"one", HOUR).await, Created::Created);
    replica.signal("-STOP");
    let outcome = store.replace(key(1), 1, None, b"two", HOUR.into(), Durability::Replica).await;
    assert_eq!(outcome, Replaced::Unavailable);
    assert_eq!(store.unconfirmed(), 1);
    assert_eq!(store.load(key(1)).await, found(2, b"two"), "the master has it");
    replica.signal("-CONT");
    until("it is confirmed by a repeat", || master.cli(&["INFO", "replication"]).contains("lag=0"))
        .await;
    replaced(&store, 1, b"two", Durability::Replica).await;
}
