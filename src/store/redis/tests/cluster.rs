//! The contract on a real cluster, and what only a cluster does: move slots under traffic, promote
//! replicas, fall apart.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use super::nodes::{Nodes, Shape, manage, names, settings_in, slot};
use super::server::free_port;
use super::tls::Authority;
use super::{HOUR, LEASE, LONG, RECOVERY, Server, becomes, found, is_unavailable_at_once, store};
use crate::session::outcome::{Created, Durability, Epoch, Lookup, RecordKey, Replaced};
use crate::store::changes::{Changes, Link, Mark};
use crate::store::contract::{self, Bench, Elapse, key};
use crate::store::credentials::{Password, Secret};
use crate::store::health::Health;
use crate::store::redis::RedisStore;
use crate::store::redis::layout::Namespace;
use crate::store::redis::rights::acl_rules;
use crate::store::redis::servers::Servers;
use crate::store::redis::slots::Address;
use crate::store::{SessionStore, SharedStore, Stored};

const EPOCH: Epoch = Epoch([b'e'; 16]);

/// A node that is not stopped is not given up, however busy the machine is.
const CALM: Shape = Shape { masters: 3, spare: 0, replicas: 0, timeout_ms: 60_000 };

/// One cluster for the whole suite, and a namespace for each property, whose user may do what the
/// documentation says and nothing else.
struct Shared {
    nodes: Nodes,
    namespaces: AtomicU32,
}

impl Shared {
    async fn start() -> Self {
        let nodes = Nodes::start(Shape { replicas: 1, ..CALM });
        Self { nodes, namespaces: AtomicU32::new(0) }
    }

    async fn bench(&self) -> Bench {
        let namespace = format!("n{}", self.namespaces.fetch_add(1, Ordering::Relaxed));
        let mut settings = settings_in(&self.nodes, &namespace);
        let rules = acl_rules(&Namespace::parse(&namespace).expect("a valid namespace"));
        let mut user = vec!["ACL", "SETUSER", &namespace, "on", ">hunter2"];
        user.extend(rules.iter().map(String::as_str));
        for n in 0..self.nodes.nodes.len() {
            self.nodes.expect_ok(n, &user);
        }
        settings.login.username = Some(namespace.clone());
        settings.login.password = Some(Secret::Given(Password::new("hunter2".to_owned())));
        let store = RedisStore::open(&settings, LEASE).expect("valid settings").patient();
        store.start().await;
        Bench { store: Arc::new(store), elapse: Elapse::Really, keep_alive: Box::new(()) }
    }
}

contract::suite!(in turn: a_cluster_keeps_the_contract, Shared::start);

async fn patient(nodes: &Nodes) -> RedisStore {
    let mut store = nodes.store().patient();
    store.beat().every = Duration::from_millis(20);
    store.start().await;
    store
}

/// Waits long for an answer, and as little as ever for a server that is gone.
async fn thorough(nodes: &Nodes) -> RedisStore {
    let mut store = nodes.store();
    store.deadlines.lookup = LONG;
    (store.deadlines.write, store.deadlines.write_overall) = (LONG, LONG);
    store.beat().patience = Duration::from_secs(3);
    store.start().await;
    store
}

/// On a thread of its own, since what it asks `redis-cli` blocks.
async fn aside<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    tokio::task::spawn_blocking(work).await.expect("no failed assertion")
}

async fn until(what: &str, mut holds: impl AsyncFnMut() -> bool) {
    let began = Instant::now();
    while !holds().await {
        assert!(began.elapsed() < LONG, "{what}: not within {LONG:?}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

fn changes(store: &RedisStore) -> &Changes {
    store.changes().expect("Redis tells of changes")
}

/// Looks up as a cache does.
async fn watch(store: &RedisStore, key: RecordKey) -> (Mark, Lookup<Stored>, Arc<Link>) {
    let mark = changes(store).mark(key);
    let (lookup, link) = store.load_watched(key).await;
    (mark, lookup, link.expect("a link"))
}

#[tokio::test]
async fn keys_lie_on_all_masters_and_two_nodes_see_the_same() {
    let nodes = Nodes::start(CALM);
    let (store, other) = (patient(&nodes).await, patient(&nodes).await);
    for n in 0..60 {
        assert_eq!(store.create(key(n), &[n], HOUR).await, Created::Created);
    }
    for n in 0..60 {
        assert_eq!(other.load(key(n)).await, found(1, &[n]));
    }
    for n in 0..3 {
        let count: u32 = nodes.cli(n, &["DBSIZE"]).parse().expect("a number");
        assert!(count > 5, "node {n} has {count} of 60 keys");
    }
    // The table was read before the first call: nobody was asked in vain.
    assert_eq!([0, 1, 2].map(|n| nodes.errors(n, "MOVED")), [0; 3]);
    assert_eq!(*store.health().borrow(), Health::Up);
}

/// Adds to two records in one slot, one of a subject and one of none, and reads them back, until
/// told to stop. No call may fail, and nothing older be read than was acknowledged.
struct Traffic {
    stop: Arc<AtomicBool>,
    tasks: tokio::task::JoinSet<u64>,
}

impl Traffic {
    const ANONYMOUS: RecordKey = RecordKey { id: [1; 16], ..Self::KEY };
    const KEY: RecordKey = RecordKey { tag: [1; 8], id: [2; 16], has_subject: true };

    async fn start(store: &SharedStore) -> Self {
        let first = 0_u64.to_be_bytes();
        let anonymous = RecordKey { has_subject: false, ..Self::ANONYMOUS };
        assert_eq!(store.epoch([1; 8], EPOCH, HOUR).await, Lookup::Found(EPOCH));
        let stop = Arc::new(AtomicBool::new(false));
        let mut tasks = tokio::task::JoinSet::new();
        for (key, epoch) in [(anonymous, None), (Self::KEY, Some(EPOCH))] {
            assert_eq!(store.create(key, &first, HOUR).await, Created::Created);
            let acknowledged = Arc::new(AtomicU64::new(0));
            for _ in 0..2 {
                let (store, acknowledged, stop) =
                    (store.clone(), acknowledged.clone(), stop.clone());
                tasks.spawn(async move {
                    let mut written = 0;
                    while !stop.load(Ordering::Relaxed) {
                        count_up(&*store, key, epoch, &acknowledged).await;
                        written += 1;
                        tokio::time::sleep(Duration::from_millis(1)).await;
                    }
                    written
                });
            }
        }
        // New records, whose keys are nowhere yet.
        let (creator, stopped) = (store.clone(), stop.clone());
        tasks.spawn(async move {
            let mut n = 1000_u64;
            while !stopped.load(Ordering::Relaxed) {
                n += 1;
                let mut key = anonymous;
                key.id[..8].copy_from_slice(&n.to_be_bytes());
                assert_eq!(creator.load(key).await, Lookup::NotFound);
                assert_eq!(creator.create(key, b"new", HOUR).await, Created::Created);
                assert_eq!(creator.load(key).await, found(1, b"new"));
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
            0
        });
        Self { stop, tasks }
    }

    /// Stops, and checks that every write is there, once.
    async fn finish(self, store: &SharedStore) {
        assert_eq!(self.surplus(store).await, 0);
    }

    /// Stops, and checks that every acknowledged write is there. How many more there are: where a
    /// connection breaks, the answer to a write is lost, and its repeat is a conflict if another
    /// has written since. Then it was written, and nobody was told so.
    async fn surplus(self, store: &SharedStore) -> u64 {
        self.stop.store(true, Ordering::Relaxed);
        let written: u64 = self.tasks.join_all().await.into_iter().sum();
        let mut there = 0;
        for key in [RecordKey { has_subject: false, ..Self::ANONYMOUS }, Self::KEY] {
            let Lookup::Found(stored) = store.load(key).await else { panic!("not found") };
            assert_eq!(stored.version, number(&stored) + 1, "one version for each write");
            there += number(&stored);
        }
        assert!(written > 10, "there was traffic");
        there.checked_sub(written).expect("no acknowledged write is lost")
    }
}

fn number(stored: &Stored) -> u64 {
    u64::from_be_bytes(stored.sealed[..8].try_into().expect("8 bytes"))
}

async fn count_up(
    store: &dyn SessionStore,
    key: RecordKey,
    epoch: Option<Epoch>,
    acknowledged: &AtomicU64,
) {
    loop {
        let least = acknowledged.load(Ordering::SeqCst);
        let Lookup::Found(stored) = store.load(key).await else { panic!("not found") };
        assert_eq!(stored.epoch, epoch, "an epoch is where its record is");
        let number = number(&stored);
        assert!(number >= least, "read {number} after {least} was acknowledged");
        let next = [(number + 1).to_be_bytes(), rand::random::<u64>().to_be_bytes()].concat();
        let durability =
            if number.is_multiple_of(4) { Durability::Replica } else { Durability::Master };
        match store.replace(key, stored.version, epoch, &next, HOUR.into(), durability).await {
            Replaced::Replaced => {
                acknowledged.fetch_max(number + 1, Ordering::SeqCst);
                return;
            }
            Replaced::Conflict => {}
            outcome => panic!("{outcome:?}"),
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_slot_that_moves_under_traffic_costs_no_call_and_no_write() {
    // The second time to a master that had no slot, and is in no table.
    let nodes = Arc::new(Nodes::start(Shape { spare: 1, ..CALM }));
    let store: SharedStore = Arc::new(patient(&nodes).await);
    let traffic = Traffic::start(&store).await;
    let (slot, cluster) = (slot(Traffic::KEY), nodes.clone());
    let home = nodes.home(slot);
    let away = (home + 1) % 3;
    aside(move || {
        let pause = || std::thread::sleep(Duration::from_millis(100));
        for (from, to) in [(home, away), (away, 3), (3, home)] {
            cluster.open_slot(slot, from, to);
            pause();
            // The record first, then the epoch: for a while they are in two places.
            for key in [names().key(Traffic::KEY), names().epoch(Traffic::KEY.tag)] {
                cluster.migrate(slot, from, to, &[&key]);
                pause();
            }
            // New ones are made elsewhere by now.
            cluster.migrate(slot, from, to, &[]);
            pause();
            cluster.close_slot(slot, from, to);
            pause();
        }
    })
    .await;
    traffic.finish(&store).await;
    let count = |code| (0..4).map(|n| nodes.errors(n, code)).sum::<u64>();
    assert!(count("MOVED") > 0, "calls were sent on");
    assert!(count("ASK") > 0, "keys were asked for where they had gone");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn resharding_by_redis_cli_costs_no_call_and_no_write() {
    let nodes = Nodes::start(CALM);
    let store: SharedStore = Arc::new(patient(&nodes).await);
    let traffic = Traffic::start(&store).await;
    let slot = slot(Traffic::KEY);
    let (home, away) = (nodes.home(slot), (nodes.home(slot) + 1) % 3);
    let (at, from, to) =
        (format!("127.0.0.1:{}", nodes.nodes[0].port), nodes.id(home), nodes.id(away));
    // As many as there may be before ours, which is then among them.
    let count = (usize::from(slot) % 5462 + 1).to_string();
    let mut process = manage(&[
        "reshard",
        &at,
        "--cluster-from",
        &from,
        "--cluster-to",
        &to,
        "--cluster-slots",
        &count,
    ]);
    let status = aside(move || process.wait()).await.expect("redis-cli runs");
    assert!(status.success());
    traffic.finish(&store).await;
    assert!(nodes.errors(home, "MOVED") > 0, "calls were sent on");
}

#[tokio::test]
async fn what_was_read_is_stale_once_it_has_moved() {
    let nodes = Nodes::start(CALM);
    let store = patient(&nodes).await;
    let key = RecordKey { has_subject: true, ..nodes.key_at(0) };
    let (slot, absent) = (slot(key), RecordKey { id: [9; 16], ..key });
    assert_eq!(store.create(key, b"one", HOUR).await, Created::Created);
    assert_eq!(store.epoch(key.tag, EPOCH, HOUR).await, Lookup::Found(EPOCH));
    let (mark, _, link) = watch(&store, key).await;
    assert!(link.is_proved(LEASE, Instant::now()) && changes(&store).is_current(key, mark));

    nodes.open_slot(slot, 0, 1);
    for name in [names().key(key), names().epoch(key.tag)] {
        let (mark, _) = (changes(&store).mark(key), store.load(key).await);
        nodes.migrate(slot, 0, 1, &[&name]);
        // The node that had it removes it, and so tells.
        until("a change", async || !changes(&store).is_current(key, mark)).await;
    }

    // Of what is not there nothing is removed: the new master of the slot makes it stale.
    let mark = changes(&store).mark(absent);
    assert_eq!(store.load(absent).await, Lookup::NotFound);
    assert!(changes(&store).is_current(absent, mark));
    nodes.close_slot(slot, 0, 1);
    assert_eq!(store.load(absent).await, Lookup::NotFound, "sent on");
    until("another master", async || !changes(&store).is_current(absent, mark)).await;
    // And from now on it is the new one that tells.
    let other = patient(&nodes).await;
    let (mark, _, link) = watch(&store, key).await;
    assert!(link.is_proved(LEASE, Instant::now()));
    assert_eq!(
        other.replace(key, 1, Some(EPOCH), b"two", HOUR.into(), Durability::Master).await,
        Replaced::Replaced
    );
    until("a change", async || !changes(&store).is_current(key, mark)).await;
}

#[tokio::test]
async fn a_master_that_dies_costs_its_own_sessions_until_a_replica_takes_its_place() {
    let mut nodes = Nodes::start(Shape { replicas: 1, timeout_ms: 2000, ..CALM });
    let store = thorough(&nodes).await;
    let keys = [0, 1, 2].map(|n| nodes.key_at(n));
    for key in keys {
        until("a record", async || store.create(key, b"one", HOUR).await == Created::Created).await;
    }
    nodes.until("replicated", || (3..6).all(|n| nodes.cli(n, &["DBSIZE"]) == "1"));
    nodes.nodes[0].kill();
    until("an outage", async || store.load(keys[0]).await == Lookup::Unavailable).await;
    let began = Instant::now();
    let mut promoted = None;
    let mut others = 0;
    loop {
        for key in &keys[1..] {
            assert_eq!(store.load(*key).await, found(1, b"one"), "another master's");
            others += 1;
        }
        if promoted.is_none() && nodes.cli(3, &["ROLE"]).starts_with("master") {
            promoted = Some(Instant::now());
        }
        if store.load(keys[0]).await == found(1, b"one") {
            break;
        }
        assert_eq!(*store.health().borrow(), Health::Up, "two of three masters serve");
        let is_late = promoted.is_some_and(|promoted| promoted.elapsed() > RECOVERY);
        assert!(!is_late && began.elapsed() < LONG, "not recovered");
    }
    assert!(others > 2);
    // The new master waits for no replica: it has none.
    let replaced = store.replace(keys[0], 1, None, b"two", HOUR.into(), Durability::Replica).await;
    assert_eq!(replaced, Replaced::Replaced);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_failover_by_hand_costs_no_call_and_no_write() {
    let nodes = Arc::new(Nodes::start(Shape { replicas: 1, ..CALM }));
    let watcher = patient(&nodes).await;
    let store: SharedStore = Arc::new(patient(&nodes).await);
    let traffic = Traffic::start(&store).await;
    let (mark, _, link) = watch(&watcher, Traffic::KEY).await;
    let home = nodes.home(slot(Traffic::KEY));
    let cluster = nodes.clone();
    aside(move || {
        std::thread::sleep(Duration::from_millis(100));
        for n in [3 + home, home] {
            cluster.promote(n);
            std::thread::sleep(Duration::from_millis(100));
        }
    })
    .await;
    // Each of four writers loses at most one answer each time.
    assert!(traffic.surplus(&store).await <= 8);
    until("stale", async || !changes(&watcher).is_current(Traffic::KEY, mark)).await;
    until("lost", async || !link.is_proved(LONG, Instant::now())).await;
}

#[tokio::test]
async fn a_master_that_is_cut_off_from_the_others_is_not_relied_on() {
    let nodes = Nodes::start(Shape { timeout_ms: 1000, ..CALM });
    let store = thorough(&nodes).await;
    let key = nodes.key_at(0);
    until("a record", async || store.create(key, b"one", HOUR).await == Created::Created).await;
    let (_, lookup, link) = watch(&store, key).await;
    assert_eq!(lookup, found(1, b"one"));
    for n in [1, 2] {
        nodes.nodes[n].signal("-STOP");
    }
    until("not relied on", async || !link.is_proved(LEASE, Instant::now())).await;
    assert_eq!(nodes.cli(0, &["PING"]), "PONG", "though it answers");
    becomes(&store, Health::Down, LONG).await;
    until("unavailable", async || store.load(key).await == Lookup::Unavailable).await;
    for n in [1, 2] {
        nodes.nodes[n].signal("-CONT");
    }
    until("found again", async || store.load(key).await == found(1, b"one")).await;
    becomes(&store, Health::Up, LONG).await;
}

#[tokio::test]
async fn every_master_has_its_own_replicas_confirm_where_that_is_required() {
    let nodes = Nodes::start(Shape { replicas: 1, ..CALM });
    let mut settings = settings_in(&nodes, "test");
    settings.require_replicas = 1;
    let store = RedisStore::open(&settings, LEASE).expect("valid settings").patient();
    store.start().await;
    for n in 0..3 {
        let key = nodes.key_at(n);
        assert_eq!(store.create(key, b"one", HOUR).await, Created::Created);
        let replaced = store.replace(key, 1, None, b"two", HOUR.into(), Durability::Replica).await;
        assert_eq!(replaced, Replaced::Replaced);
        let (_, _, link) = watch(&store, key).await;
        assert!(link.is_proved(LONG, Instant::now()), "node {n} is relied on");
    }
    assert_eq!(store.unconfirmed(), 0);
}

#[tokio::test]
async fn a_cluster_that_is_down_at_the_start_is_used_once_it_is_there() {
    let mut nodes = Nodes::start(CALM);
    for node in &mut nodes.nodes {
        node.kill();
    }
    let store = nodes.store();
    store.start().await;
    becomes(&store, Health::Down, RECOVERY).await;
    is_unavailable_at_once(&store).await;
    for node in &mut nodes.nodes {
        node.restart();
    }
    becomes(&store, Health::Up, LONG).await;
    let keys = [0, 1, 2].map(|n| nodes.key_at(n));
    for key in keys {
        until("a record", async || store.load(key).await == Lookup::NotFound).await;
    }
}

#[tokio::test]
async fn a_cluster_over_tls_is_reached_by_the_names_that_it_announces() {
    let directory = tempfile::tempdir().expect("a directory");
    let authority = Authority::new("an authority");
    let own = authority.issue(directory.path(), "node", "localhost");
    let ca = authority.write(directory.path(), "ca.pem");
    let further = || {
        let shown = |path: &std::path::Path| path.display().to_string();
        let options = [
            ("tls-port", free_port().to_string()),
            ("tls-cluster", "yes".to_owned()),
            ("tls-cert-file", shown(&own.certificate)),
            ("tls-key-file", shown(&own.key)),
            ("tls-ca-cert-file", shown(&ca)),
            ("cluster-announce-hostname", "localhost".to_owned()),
            ("cluster-preferred-endpoint-type", "hostname".to_owned()),
        ];
        options.into_iter().flat_map(|(name, value)| [format!("--{name}"), value]).collect()
    };
    let nodes = Nodes::start_with(CALM, &further);
    let seed = format!("rediss+cluster://localhost:{}", nodes.setting(0, "tls-port"));
    let mut settings = super::settings(&seed);
    settings.tls.ca = Some(ca.clone());
    settings.tls.client = Some(authority.issue(directory.path(), "client", "client"));
    let store = RedisStore::open(&settings, LEASE).expect("valid settings").patient();
    store.start().await;
    for n in 0..3 {
        let key = nodes.key_at(n);
        assert_eq!(store.create(key, b"one", HOUR).await, Created::Created);
        assert_eq!(store.load(key).await, found(1, b"one"));
    }
    let Servers::Many(cluster) = &store.servers else { panic!("a cluster") };
    let (mut masters, _) = cluster.addresses();
    masters.sort();
    let mut ports = [0, 1, 2].map(|n| nodes.setting(n, "tls-port").parse().expect("a port"));
    ports.sort_unstable();
    assert_eq!(masters, ports.map(|port| Address::new("localhost", port)));
}

#[tokio::test]
async fn a_server_that_is_no_cluster_is_down() {
    let server = Server::start(super::IN_MEMORY);
    let store = store(&format!("redis+cluster://127.0.0.1:{}", server.port));
    store.start().await;
    becomes(&store, Health::Down, RECOVERY).await;
    is_unavailable_at_once(&store).await;
}
