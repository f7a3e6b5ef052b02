//! Redis Sentinel: three servers and three Sentinels, and what becomes of a failover.

use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use tokio::time::timeout;

use super::deployment::{Deployment, Sentinel, clients};
use super::server::Server;
use super::tracking::until;
use super::{
    HOUR, LEASE, LONG, LOOKUP, RECOVERY, answered, becomes, created, found, link_of, loaded,
    replaced, settings, store,
};
use crate::session::outcome::{Created, Durability, Lookup, RecordKey, Replaced};
use crate::store::SessionStore;
use crate::store::contract::{self, Bench, Elapse, key};
use crate::store::credentials::{Password, Secret};
use crate::store::health::Health;
use crate::store::redis::RedisStore;
use crate::store::redis::cause::Cause;
use crate::store::redis::endpoint::Endpoint;
use crate::store::redis::rights::SENTINEL_RULES;
use crate::store::redis::sentinel::Sentinels;

impl Deployment {
    /// Looks up until there is another master, each time within the deadline, and then until it is
    /// used. How long after the election that was.
    async fn fails_over(&self, store: &RedisStore) -> Duration {
        let old = self.servers[0].port;
        let began = Instant::now();
        while self.elected(old).is_none() {
            assert!(began.elapsed() < LONG, "no failover");
            let asked = Instant::now();
            let lookup = store.load(key(1)).await;
            assert!(asked.elapsed() < LOOKUP, "took {:?}", asked.elapsed());
            let possible = [Lookup::Unavailable, found(2, b"two")];
            assert!(possible.contains(&lookup), "{lookup:?}");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        let elected = Instant::now();
        let is_used = || {
            let new = self.elected(old).map(|port| self.server(port));
            new.is_some_and(|server| clients(server) > 0)
        };
        until("the new master is used", is_used).await;
        elected.elapsed()
    }
}

/// A record of version 2 that a replica has.
async fn record(store: &RedisStore) {
    created(store).await;
    // The first may find a replica that is slow.
    replaced(store, 1, b"two", Durability::Replica).await;
}

async fn located(sentinels: &Sentinels) -> String {
    let began = Instant::now();
    loop {
        match sentinels.locate().await {
            Ok(master) => return master.address(),
            Err(cause) => assert!(began.elapsed() < LONG, "{cause}"),
        }
    }
}

/// Until it is this that the Sentinels, or their silence, answer.
async fn refused(sentinels: &Sentinels, expected: &str) {
    let began = Instant::now();
    loop {
        let cause = sentinels.locate().await.expect_err("no master is told").to_string();
        if cause.contains(expected) {
            return;
        }
        assert!(began.elapsed() < LONG, "{cause}");
    }
}

async fn bench() -> Bench {
    let deployment = Deployment::small();
    let store = store(&deployment.url()).patient();
    store.start().await;
    Bench { store: Arc::new(store), elapse: Elapse::Really, keep_alive: Box::new(deployment) }
}

contract::suite!(bench);

#[tokio::test]
async fn a_killed_master_is_replaced_and_not_used_when_it_comes_back() {
    let mut deployment = Deployment::full();
    let old = deployment.servers[0].port;
    let store = store(&deployment.url());
    store.start().await;
    record(&store).await;
    let link = link_of(&store).await;
    deployment.servers[0].kill();
    let took = deployment.fails_over(&store).await;
    assert!(took < RECOVERY, "used {took:?} after its election");
    becomes(&store, Health::Up, RECOVERY).await;
    assert_eq!(loaded(&store).await, found(2, b"two"));
    let is_lost = || !link.is_proved(Duration::MAX, Instant::now());
    until("the old master's link is lost", is_lost).await;

    deployment.servers[0].restart();
    // For eight seconds or more, until the Sentinels lead it away, it takes itself for a master. Each
    // of them is asked once a second.
    for _ in 0..25 {
        assert_eq!(clients(deployment.server(old)), 0);
        assert_eq!(loaded(&store).await, found(2, b"two"));
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

#[tokio::test]
async fn a_planned_failover_is_followed() {
    let deployment = Deployment::full();
    let store = store(&deployment.url());
    store.start().await;
    record(&store).await;
    let link = link_of(&store).await;
    assert_eq!(deployment.sentinels[0].cli(&["SENTINEL", "FAILOVER", "main"]), "OK");
    let took = deployment.fails_over(&store).await;
    assert!(took < RECOVERY, "used {took:?} after its election");
    becomes(&store, Health::Up, RECOVERY).await;
    let is_lost = || !link.is_proved(Duration::MAX, Instant::now());
    until("the old master's link is lost", is_lost).await;
    replaced(&store, 2, b"three", Durability::Replica).await;
}

fn numbered(n: u64) -> RecordKey {
    let mut key = key(3);
    key.id[..8].copy_from_slice(&n.to_be_bytes());
    key
}

/// Creates records, and replaces one of them again and again, until told to stop. Those that were
/// created, and the version of the one, as far as that was acknowledged.
async fn write(store: Arc<RedisStore>, stop: Arc<AtomicBool>) -> (Vec<RecordKey>, u64) {
    let (mut created, mut version) = (Vec::new(), 1);
    for n in 0.. {
        if store.create(numbered(n), b"new", HOUR).await == Created::Created {
            created.push(numbered(n));
        }
        let outcome = match created.first() {
            Some(first) if n > 0 => {
                store.replace(*first, version, None, b"new", HOUR.into(), Durability::Replica).await
            }
            Some(_) | None => Replaced::Unavailable,
        };
        match outcome {
            Replaced::Replaced => version += 1,
            // The next attempt writes the same.
            Replaced::Unavailable => {}
            Replaced::Conflict | Replaced::Gone => panic!("version {version} is lost"),
        }
        if stop.load(Ordering::Relaxed) {
            break;
        }
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    (created, version)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_planned_failover_loses_nothing_that_was_acknowledged() {
    let deployment = Deployment::full();
    let store = Arc::new(store(&deployment.url()));
    store.start().await;
    record(&store).await;
    let listened_to = || deployment.sentinels.iter().all(Sentinel::is_listened_to);
    until("all are listened to", listened_to).await;
    let stop = Arc::new(AtomicBool::new(false));
    let writing = tokio::spawn(write(store.clone(), stop.clone()));
    tokio::time::sleep(Duration::from_millis(200)).await;
    assert_eq!(deployment.sentinels[0].cli(&["SENTINEL", "FAILOVER", "main"]), "OK");
    deployment.fails_over(&store).await;
    tokio::time::sleep(Duration::from_millis(200)).await;
    stop.store(true, Ordering::Relaxed);
    let (created, version) = writing.await.expect("no replacement is lost");
    let mut lost = 0;
    for (n, key) in created.iter().enumerate() {
        let lookup = answered(Lookup::Unavailable, async || store.load(*key).await).await;
        let version = if n == 0 { version } else { 1 };
        lost += usize::from(lookup != found(version, b"new"));
    }
    assert_eq!(lost, 0, "of {} records", created.len());
}

#[tokio::test]
async fn a_failover_that_is_given_up_refuses_writes_until_then_and_no_look_ups() {
    let deployment = Deployment::full();
    let store = store(&deployment.url());
    store.start().await;
    record(&store).await;
    let listened_to = || deployment.sentinels.iter().all(Sentinel::is_listened_to);
    until("all are listened to", listened_to).await;
    // Whichever is selected does not hear of its promotion, and seems well until then.
    deployment.sentinels[0].cli(&["SENTINEL", "SET", "main", "down-after-milliseconds", "5000"]);
    for replica in &deployment.servers[1..] {
        replica.signal("-STOP");
    }
    assert_eq!(deployment.sentinels[0].cli(&["SENTINEL", "FAILOVER", "main"]), "OK");
    let began = Instant::now();
    let is_refused = async |n| store.create(numbered(n), b"x", HOUR).await == Created::Unavailable;
    let mut n = 0;
    for refused in [true, false] {
        while is_refused(n).await != refused {
            assert!(began.elapsed() < LONG, "refused: {}", !refused);
            assert_eq!(loaded(&store).await, found(2, b"two"));
            n += 1;
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
    assert_eq!(deployment.sentinels[0].master(), Some(deployment.servers[0].port));
}

fn sentinels(deployment: &Deployment) -> (Endpoint, Sentinels) {
    let endpoint = Endpoint::new(&settings(&deployment.url())).expect("valid settings");
    (endpoint.clone(), Sentinels::new(endpoint, "main", Arc::default()))
}

#[tokio::test]
async fn a_switch_is_announced_by_whichever_sentinel_lives() {
    let mut deployment = Deployment::full();
    let (endpoint, sentinels) = sentinels(&deployment);
    let sentinels = Arc::new(sentinels);
    let old = endpoint.client("127.0.0.1", deployment.servers[0].port);
    assert_eq!(located(&sentinels).await, old.address());
    let watching = tokio::spawn({
        let sentinels = sentinels.clone();
        async move { sentinels.watch().await }
    });
    let moving = tokio::spawn({
        let sentinels = sentinels.clone();
        async move { sentinels.moved(&old).await }
    });
    let listened_to = || deployment.sentinels.iter().all(Sentinel::is_listened_to);
    until("all are listened to", listened_to).await;
    deployment.sentinels.remove(0);
    assert_eq!(deployment.sentinels[0].cli(&["SENTINEL", "FAILOVER", "main"]), "OK");
    let moved = timeout(LONG, moving).await.expect("it is announced").expect("no panic");
    let now = located(&sentinels).await;
    assert_eq!(moved, Cause::Moved(now));
    watching.abort();
}

#[tokio::test]
async fn a_sentinel_that_hangs_or_is_gone_is_done_without() {
    let mut deployment = Deployment::full();
    let (_, sentinels) = sentinels(&deployment);
    let pid = deployment.sentinels[0].process.id().to_string();
    let stopped = Command::new("kill").args(["-STOP", &pid]).status();
    assert!(stopped.expect("kill is installed").success());
    let master = located(&sentinels).await;
    assert_eq!(master, format!("127.0.0.1:{}", deployment.servers[0].port));
    deployment.sentinels.remove(0);
    assert_eq!(located(&sentinels).await, master);
    deployment.sentinels.clear();
    refused(&sentinels, "no Sentinel tells the master: 127.0.0.1:").await;
}

#[tokio::test]
async fn a_sentinel_has_a_password_of_its_own_and_may_not_know_the_master() {
    let server = Server::start(&["--save", "", "--requirepass", "hunter2"]);
    let sentinel =
        Sentinel::start(server.port, 1, "requirepass other\nsentinel auth-pass main hunter2");
    let url = |name| format!("redis+sentinel://:hunter2@127.0.0.1:{}/{name}/1", sentinel.port);
    let mut settings = settings(&url("main"));
    settings.sentinel.password = Some(Secret::Given(Password::new("other".to_owned())));
    let store = RedisStore::open(&settings, LEASE).expect("valid settings").patient();
    store.start().await;
    assert_eq!(store.create(key(1), b"one", HOUR).await, Created::Created);

    let endpoint = Endpoint::new(&settings).expect("valid settings");
    refused(&Sentinels::new(endpoint, "other", Arc::default()), "it knows no master `other`").await;
    let endpoint = Endpoint::new(&super::settings(&url("main"))).expect("valid settings");
    refused(&Sentinels::new(endpoint, "main", Arc::default()), "sentinel.password_file").await;
}

#[tokio::test]
async fn the_user_that_the_documentation_describes_may_ask_and_listen() {
    let deployment = Deployment::small();
    let sentinel = &deployment.sentinels[0];
    let user = ["ACL", "SETUSER", "cloakroom", "on", ">hunter2"].into_iter();
    let made = sentinel.cli(&user.chain(SENTINEL_RULES).collect::<Vec<_>>());
    assert_eq!(made, "OK");
    let mut settings = settings(&deployment.url());
    settings.sentinel.username = Some("cloakroom".to_owned());
    settings.sentinel.password = Some(Secret::Given(Password::new("hunter2".to_owned())));
    let store = RedisStore::open(&settings, LEASE).expect("valid settings").patient();
    store.start().await;
    assert_eq!(store.load(key(1)).await, Lookup::NotFound);
    until("it is listened to", || sentinel.is_listened_to()).await;
    assert_eq!(sentinel.cli(&["ACL", "LOG"]), "", "nothing was forbidden");
}
