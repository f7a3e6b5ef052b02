//! Masters with replicas, and what must be on them.

use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio::time::sleep_until;

use super::tracking::until;
use super::{
    HOUR, IN_MEMORY, LEASE, LONG, RECOVERY, Server, becomes, created, found,
    is_unavailable_at_once, link_of, loaded, replaced, settings,
};
use crate::session::outcome::{Created, Durability, Removed, Replaced};
use crate::store::SessionStore;
use crate::store::contract::key;
use crate::store::health::Health;
use crate::store::redis::{RedisSettings, RedisStore};

pub(super) fn attach(replica: &Server, master: &Server) {
    attach_at(master.port, replica, master);
}

/// As [`attach`], where the replica finds its master at another port.
fn attach_at(port: u16, replica: &Server, master: &Server) {
    replica.cli(&["REPLICAOF", "127.0.0.1", &port.to_string()]);
    let began = Instant::now();
    while !master.cli(&["INFO", "replication"]).contains("state=online") {
        assert!(began.elapsed() < Duration::from_secs(20), "the replica does not come online");
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// How often the server was asked to wait.
fn waited(server: &Server) -> u64 {
    let stats = server.cli(&["INFO", "commandstats"]);
    let calls = stats.lines().find_map(|line| line.strip_prefix("cmdstat_wait:calls="));
    let calls = calls.and_then(|calls| calls.split(',').next());
    calls.map_or(0, |calls| calls.parse().expect("a number"))
}

/// Whether there was a WAIT besides the one that tries whether it is allowed.
fn waits(server: &Server) -> bool {
    waited(server) > 1
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

/// As if the replica stood in another building.
async fn detour(to: u16, delay: Duration) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let port = listener.local_addr().expect("bound").port();
    tokio::spawn(async move {
        while let Ok((near, _)) = listener.accept().await {
            let far = TcpStream::connect(("127.0.0.1", to)).await.expect("the server listens");
            let ((near, answers), (far, asks)) = (near.into_split(), far.into_split());
            tokio::spawn(late(near, asks, delay));
            tokio::spawn(late(far, answers, delay));
        }
    });
    port
}

async fn late(mut from: OwnedReadHalf, mut to: OwnedWriteHalf, delay: Duration) {
    let (sender, mut arrives) = mpsc::unbounded_channel::<(Instant, Vec<u8>)>();
    tokio::spawn(async move {
        while let Some((at, bytes)) = arrives.recv().await {
            sleep_until((at + delay).into()).await;
            if to.write_all(&bytes).await.is_err() {
                return;
            }
        }
    });
    let mut bytes = vec![0; 64 * 1024];
    while let Ok(read @ 1..) = from.read(&mut bytes).await {
        if sender.send((Instant::now(), bytes[..read].to_vec())).is_err() {
            return;
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn logins_that_come_together_wait_together_for_a_replica_that_is_far_away() {
    const LOGINS: u8 = 150;
    let (master, replica) = (Server::start(IN_MEMORY), Server::start(IN_MEMORY));
    // Four times what it all is in production, and in the same proportions.
    let between = detour(master.port, Duration::from_millis(10)).await;
    tokio::task::block_in_place(|| attach_at(between, &replica, &master));
    let mut store = master.store().patient();
    store.deadlines.wait = Duration::from_millis(400);
    store.deadlines.write = Duration::from_millis(600);
    store.deadlines.write_overall = Duration::from_secs(2);
    let store = Arc::new(store);
    store.start().await;
    for n in 0..LOGINS {
        assert_eq!(store.create(key(n), b"one", HOUR).await, Created::Created);
    }
    let before = waited(&master);
    let mut writes = tokio::task::JoinSet::new();
    for n in 0..LOGINS {
        let store = store.clone();
        writes.spawn(async move {
            store.replace(key(n), 1, None, b"two", HOUR.into(), Durability::Replica).await
        });
    }
    let outcomes = writes.join_all().await;
    let failed = outcomes.iter().filter(|outcome| **outcome != Replaced::Replaced).count();
    assert_eq!((failed, store.unconfirmed()), (0, 0));
    let waits = waited(&master) - before;
    assert!(waits < 30, "{waits} times for {LOGINS} logins");
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
    let settings = RedisSettings { require_replicas: 1, ..settings(&server.url()) };
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
