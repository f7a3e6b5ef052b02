//! The contract on a real server, and what only a server does: be stopped, hang, come back, fill
//! up, be demoted, have replicas.

mod access;
mod cluster;
mod credentials;
mod deployment;
mod faults;
mod metadata;
mod nodes;
mod replicas;
mod sentinel;
mod server;
mod tls;
mod tracking;

use std::time::Instant;

use tokio::time::timeout;

use self::server::Server;
use super::connection::Purpose;
use super::*;
use crate::store::contract::{self, Bench, Elapse, key};

/// How long links are relied on.
const LEASE: Duration = Duration::from_secs(1);
const HOUR: Duration = Duration::from_secs(3600);
/// What anything may take on a busy machine.
const LONG: Duration = Duration::from_secs(60);
/// What the supervisor may take to be connected again: at most a second between attempts.
const RECOVERY: Duration = Duration::from_secs(5);
/// What a look-up may take while the server is not known to be down: its deadline, not what the
/// heartbeat waits.
const LOOKUP: Duration = Duration::from_millis(450);

fn settings(url: &str) -> RedisSettings {
    RedisSettings::new(RedisUrl::parse(url).expect("a valid URL"), "test")
}

fn store(url: &str) -> RedisStore {
    RedisStore::open(&settings(url), LEASE).expect("valid settings")
}

/// The connections to a store's only server.
fn one(store: &RedisStore) -> &Arc<Fleet> {
    let Servers::One(fleet) = &store.servers else { panic!("a cluster") };
    fleet
}

const IN_MEMORY: &[&str] = &["--save", "", "--appendonly", "no"];
const ON_DISK: &[&str] = &["--save", "", "--appendonly", "yes", "--appendfsync", "always"];

pub(crate) async fn bench() -> Bench {
    let server = Server::start(IN_MEMORY);
    let store = server.store().patient();
    store.start().await;
    Bench { store: Arc::new(store), elapse: Elapse::Really, keep_alive: Box::new(server) }
}

contract::suite!(bench);

fn found(version: u64, sealed: &[u8]) -> Lookup<Stored> {
    Lookup::Found(Stored { version, sealed: sealed.to_vec(), epoch: None })
}

async fn becomes(store: &RedisStore, wanted: Health, within: Duration) {
    let mut health = store.health();
    let became = timeout(within, health.wait_for(|health| *health == wanted)).await;
    became.unwrap_or_else(|_| panic!("not {wanted:?} within {within:?}")).expect("store is open");
}

async fn is_unavailable(store: &RedisStore, within: Duration) {
    let began = Instant::now();
    assert_eq!(store.load(key(1)).await, Lookup::Unavailable);
    assert!(began.elapsed() < within, "took {:?}", began.elapsed());
}

/// While the store is known to be down nothing is waited for. The quickest of a few counts: a busy
/// machine may take its time for one.
async fn is_unavailable_at_once(store: &RedisStore) {
    let mut quickest = Duration::MAX;
    for _ in 0..5 {
        let began = Instant::now();
        assert_eq!(store.load(key(1)).await, Lookup::Unavailable);
        quickest = quickest.min(began.elapsed());
    }
    assert!(quickest < Duration::from_millis(20), "took {quickest:?}");
}

/// The first answer that is not `unavailable`: with the deadlines of production a busy machine may
/// need several calls, all of which are harmless to repeat.
async fn answered<T: PartialEq>(unavailable: T, call: impl AsyncFn() -> T) -> T {
    let began = Instant::now();
    loop {
        let answer = call().await;
        if answer != unavailable {
            return answer;
        }
        assert!(began.elapsed() < LONG, "not answered within {LONG:?}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

async fn loaded(store: &RedisStore) -> Lookup<Stored> {
    answered(Lookup::Unavailable, async || store.load(key(1)).await).await
}

async fn created(store: &RedisStore) {
    let outcome = answered(Created::Unavailable, async || store.create(key(1), b"one", HOUR).await);
    assert_eq!(outcome.await, Created::Created);
}

async fn replaced(store: &RedisStore, version: u64, sealed: &[u8], durability: Durability) {
    let outcome = answered(Replaced::Unavailable, async || {
        store.replace(key(1), version, None, sealed, HOUR.into(), durability).await
    });
    assert_eq!(outcome.await, Replaced::Replaced);
}

/// The link that a record is read over, as it is once it was.
async fn link_of(store: &RedisStore) -> Arc<Link> {
    let began = Instant::now();
    loop {
        if let (Lookup::Found(_), Some(link)) = store.load_watched(key(1)).await {
            return link;
        }
        assert!(began.elapsed() < LONG, "not found within {LONG:?}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

#[tokio::test]
async fn a_stopped_server_is_unavailable_at_once_and_a_restarted_one_comes_back_by_itself() {
    let mut server = Server::start(ON_DISK);
    let store = server.store();
    store.start().await;
    becomes(&store, Health::Up, RECOVERY).await;
    created(&store).await;
    for _ in 0..2 {
        server.kill();
        is_unavailable(&store, LOOKUP).await;
        becomes(&store, Health::Down, RECOVERY).await;
        is_unavailable_at_once(&store).await;
        assert_eq!(store.create(key(2), b"x", HOUR).await, Created::Unavailable);
        assert_eq!(store.remove(key(1)).await, Removed::Unavailable);
        assert!(!store.ping().await);
        let lost = store.replace(key(1), 1, None, b"two", HOUR.into(), Durability::Replica).await;
        assert_eq!(lost, Replaced::Unavailable);

        server.restart();
        becomes(&store, Health::Up, RECOVERY).await;
        assert_eq!(loaded(&store).await, found(1, b"one"));
    }
}

#[tokio::test]
async fn a_hanging_server_is_unavailable_within_the_deadline_and_is_then_not_waited_for() {
    let server = Server::start(IN_MEMORY);
    let mut store = server.store();
    // It is the deadlines that end these calls, not the heartbeat.
    store.beat().patience = Duration::from_secs(3);
    store.start().await;
    created(&store).await;
    server.signal("-STOP");
    is_unavailable(&store, Duration::from_secs(1)).await;
    let began = Instant::now();
    assert_eq!(store.create(key(2), b"x", HOUR).await, Created::Unavailable);
    assert!(began.elapsed() < Duration::from_millis(1500), "took {:?}", began.elapsed());
    becomes(&store, Health::Down, RECOVERY).await;
    is_unavailable_at_once(&store).await;
    assert!(!store.ping().await);

    server.signal("-CONT");
    becomes(&store, Health::Up, RECOVERY).await;
    assert_eq!(loaded(&store).await, found(1, b"one"));
}

#[tokio::test]
async fn a_server_that_is_down_at_the_start_delays_it_by_a_second_and_is_used_once_it_is_there() {
    let mut server = Server::start(IN_MEMORY);
    server.kill();
    let store = server.store();
    assert_eq!(*store.health().borrow(), Health::Starting);
    let began = Instant::now();
    store.start().await;
    assert!(began.elapsed() < Duration::from_secs(5), "took {:?}", began.elapsed());
    becomes(&store, Health::Down, RECOVERY).await;
    is_unavailable_at_once(&store).await;
    server.restart();
    becomes(&store, Health::Up, RECOVERY).await;
    assert_eq!(loaded(&store).await, Lookup::NotFound);
}

#[tokio::test]
async fn a_call_whose_connection_breaks_under_it_goes_on_over_the_next_one() {
    let server = Server::start(IN_MEMORY);
    let store = server.store().patient();
    store.start().await;
    assert_eq!(store.create(key(1), b"0", HOUR).await, Created::Created);
    for version in 1..=3 {
        // This runtime does not run meanwhile: the loss is noticed by the call that follows.
        server.cli(&["CLIENT", "KILL", "TYPE", "normal"]);
        let sealed = format!("{version}");
        let outcome = store
            .replace(key(1), version, None, sealed.as_bytes(), HOUR.into(), Durability::Master)
            .await;
        assert_eq!(outcome, Replaced::Replaced);
        server.cli(&["CLIENT", "KILL", "TYPE", "normal"]);
        assert_eq!(store.load(key(1)).await, found(version + 1, sealed.as_bytes()));
    }
}

#[tokio::test]
async fn scripts_that_the_server_forgot_are_loaded_again() {
    let server = Server::start(IN_MEMORY);
    let store = server.store().patient();
    store.start().await;
    for version in 1..=3 {
        server.cli(&["SCRIPT", "FLUSH"]);
        if version == 1 {
            assert_eq!(store.create(key(1), b"1", HOUR).await, Created::Created);
        }
        let outcome =
            store.replace(key(1), version, None, b"x", HOUR.into(), Durability::Master).await;
        assert_eq!(outcome, Replaced::Replaced);
    }
}

#[tokio::test]
async fn what_is_not_a_record_is_unavailable_never_not_found() {
    let server = Server::start(IN_MEMORY);
    let store = server.store().patient();
    store.start().await;
    let name = store.namespace.key(key(1));
    for (what, command) in [
        ("a list", &["RPUSH", &name, "x"][..]),
        ("a short string", &["SET", &name, "short"]),
        ("an empty string", &["SET", &name, ""]),
        ("a string of version zero", &["SETRANGE", &name, "12", "x"]),
    ] {
        server.cli(command);
        assert_eq!(store.load(key(1)).await, Lookup::Unavailable, "{what}");
        let created = store.create(key(1), b"x", HOUR).await;
        assert_ne!(created, Created::Created, "{what}");
        let replaced = store.replace(key(1), 1, None, b"x", HOUR.into(), Durability::Master).await;
        assert!(matches!(replaced, Replaced::Unavailable | Replaced::Conflict), "{what}");
        assert_eq!(*store.health().borrow(), Health::Up, "{what} is no outage");
        assert_eq!(store.remove(key(1)).await, Removed::Removed, "{what}");
        assert_eq!(store.load(key(1)).await, Lookup::NotFound, "{what}");
    }
}

#[tokio::test]
async fn a_full_server_refuses_writes_and_still_answers_look_ups() {
    let server = Server::start(IN_MEMORY);
    let store = server.store().patient();
    store.start().await;
    assert_eq!(store.create(key(1), b"one", HOUR).await, Created::Created);
    assert_eq!(server.cli(&["CONFIG", "SET", "maxmemory", "1"]), "OK");
    assert_eq!(store.create(key(2), b"x", HOUR).await, Created::Unavailable);
    let replaced = store.replace(key(1), 1, None, b"two", HOUR.into(), Durability::Master).await;
    assert_eq!(replaced, Replaced::Unavailable);
    assert_eq!(store.load(key(1)).await, found(1, b"one"));
    assert_eq!(*store.health().borrow(), Health::Up);
}

#[tokio::test]
async fn a_server_that_is_made_a_replica_is_no_longer_used_until_it_is_a_master_again() {
    let server = Server::start(IN_MEMORY);
    let store = server.store();
    store.start().await;
    created(&store).await;
    server.cli(&["REPLICAOF", "127.0.0.1", "1"]);
    let refused = store.replace(key(1), 1, None, b"two", HOUR.into(), Durability::Master).await;
    assert_eq!(refused, Replaced::Unavailable);
    becomes(&store, Health::Down, RECOVERY).await;
    is_unavailable_at_once(&store).await;

    server.cli(&["REPLICAOF", "NO", "ONE"]);
    becomes(&store, Health::Up, RECOVERY).await;
    assert_eq!(loaded(&store).await, found(1, b"one"));
}

#[tokio::test]
async fn a_server_that_is_made_a_replica_is_noticed_without_a_write() {
    let server = Server::start(IN_MEMORY);
    let mut store = server.store();
    store.beat().every = Duration::from_millis(25);
    store.start().await;
    server.cli(&["REPLICAOF", "127.0.0.1", "1"]);
    becomes(&store, Health::Down, RECOVERY).await;
}

#[tokio::test]
async fn a_password_is_used_and_a_wrong_one_is_an_outage() {
    let server = Server::start(&["--save", "", "--requirepass", "hunter2"]);
    let with_password =
        |password: &str| store(&format!("redis://:{password}@127.0.0.1:{}/1", server.port));
    let store = with_password("hunter2");
    store.start().await;
    created(&store).await;
    let stranger = with_password("wrong");
    stranger.start().await;
    becomes(&stranger, Health::Down, RECOVERY).await;
    is_unavailable_at_once(&stranger).await;
}

#[tokio::test]
async fn namespaces_and_databases_are_apart() {
    let server = Server::start(IN_MEMORY);
    let store = server.store().patient();
    let mut other_settings = settings(&server.url());
    other_settings.namespace = "other".to_owned();
    let other_namespace =
        RedisStore::open(&other_settings, LEASE).expect("valid settings").patient();
    let other_database = self::store(&format!("{}/1", server.url())).patient();
    for store in [&store, &other_namespace, &other_database] {
        store.start().await;
        assert_eq!(store.create(key(1), b"one", HOUR).await, Created::Created);
    }
    assert_eq!(store.remove(key(1)).await, Removed::Removed);
    assert_eq!(other_namespace.load(key(1)).await, found(1, b"one"));
    assert_eq!(other_database.load(key(1)).await, found(1, b"one"));

    other_settings.namespace = "a{b}".to_owned();
    let refused = RedisStore::open(&other_settings, LEASE);
    assert!(matches!(refused, Err(StoreError::Settings(_))), "{refused:?}");
}

#[tokio::test]
async fn a_runtime_without_a_connection_uses_anothers_and_an_ended_runtime_is_forgotten() {
    let server = Server::start(IN_MEMORY);
    let store = Arc::new(server.store().patient());
    assert_eq!(store.load(key(1)).await, Lookup::Unavailable, "started nowhere");
    let (started, is_started) = tokio::sync::oneshot::channel();
    let (end, ended) = tokio::sync::oneshot::channel::<()>();
    let worker = std::thread::spawn({
        let store = store.clone();
        move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
            runtime.expect("a runtime").block_on(async {
                store.start().await;
                started.send(()).expect("the test waits");
                ended.await.expect("the test says when");
            });
        }
    });
    is_started.await.expect("the worker runs");
    assert_eq!(store.create(key(1), b"one", HOUR).await, Created::Created);
    end.send(()).expect("the worker waits");
    worker.join().expect("no panic");
    assert_eq!(store.load(key(1)).await, Lookup::Unavailable);
    store.start().await;
    assert_eq!(store.load(key(1)).await, found(1, b"one"));
}

#[tokio::test]
async fn starting_twice_connects_once_and_a_dropped_store_leaves_no_connection() {
    let server = Server::start(IN_MEMORY);
    let store = server.store().patient();
    store.start().await;
    store.start().await;
    let clients = || server.cli(&["CLIENT", "LIST"]).matches("name=cloakroom-").count();
    assert_eq!(clients(), 3, "two to read and one to write");
    drop(store);
    let began = Instant::now();
    while clients() > 0 {
        assert!(began.elapsed() < Duration::from_secs(10), "the connection stays open");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::test]
async fn a_careless_servers_settings_are_remarked_upon() {
    let server = Server::start(&[
        "--save",
        "",
        "--appendonly",
        "no",
        "--maxmemory-policy",
        "allkeys-lru",
        "--tracking-table-max-keys",
        "1000",
    ]);
    let store = server.store().patient();
    store.start().await;
    let connections = one(&store).pick(Purpose::Reading).expect("started");
    let wanted = advice::tests::wanted();
    let asked = advice::ask(&connections.write.connection(), &wanted).await.expect("it answers");
    let advice = advice::advise(&asked, &wanted);
    assert_eq!(advice.len(), 3, "{advice:?}");
    for (advice, expected) in advice.iter().zip(["allkeys-lru", "appendonly", "tracking-table"]) {
        assert!(advice.contains(expected), "{advice}");
    }
}

#[test]
fn a_store_prints_without_its_password() {
    let store = store("redis://alice:hunter2@cache/1");
    assert!(!format!("{store:?}").contains("hunter2"));
    let settings = settings("redis://alice:hunter2@cache/1");
    assert!(!format!("{settings:?}").contains("hunter2"));
    assert!(!format!("{settings:?}").contains("alice"));
}
