//! Redis Sentinel: three servers and three Sentinels, and what becomes of a failover.

use std::fmt::Write as _;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use tempfile::TempDir;
use tokio::time::timeout;

use super::server::{Server, answers, cli, free_port};
use super::tracking::until;
use super::{
    HOUR, IN_MEMORY, LEASE, LONG, LOOKUP, RECOVERY, becomes, created, found, link_of, loaded,
    replaced, settings, store,
};
use crate::session::outcome::{Created, Durability, Lookup};
use crate::store::SessionStore;
use crate::store::contract::{self, Bench, Elapse, key};
use crate::store::credentials::{Password, Secret};
use crate::store::health::Health;
use crate::store::redis::RedisStore;
use crate::store::redis::cause::Cause;
use crate::store::redis::endpoint::Endpoint;
use crate::store::redis::rights::SENTINEL_RULES;
use crate::store::redis::sentinel::Sentinels;

struct Sentinel {
    process: Child,
    port: u16,
    _directory: TempDir,
}

impl Sentinel {
    fn start(master: u16, quorum: usize, more: &str) -> Self {
        for _ in 0..10 {
            let directory = tempfile::tempdir().expect("a directory");
            let port = free_port();
            let file = directory.path().join("sentinel.conf");
            let mut text = format!("port {port}\nbind 127.0.0.1\n");
            let _ = write!(
                text,
                "dir {}\nsentinel monitor main 127.0.0.1 {master} {quorum}\n\
                 sentinel down-after-milliseconds main 500\n\
                 sentinel failover-timeout main 3000\nsentinel parallel-syncs main 2\n{more}\n",
                directory.path().display()
            );
            std::fs::write(&file, text).expect("a file");
            let mut process = Command::new("redis-sentinel")
                .arg(&file)
                .stdin(Stdio::null())
                .stdout(Stdio::null())
                .stderr(Stdio::null())
                .spawn()
                .expect("redis-sentinel is installed");
            let began = Instant::now();
            while process.try_wait().expect("a child of ours").is_none() {
                if answers(port) {
                    return Self { process, port, _directory: directory };
                }
                assert!(began.elapsed() < LONG, "redis-sentinel does not answer");
                std::thread::sleep(Duration::from_millis(10));
            }
        }
        panic!("redis-sentinel does not start");
    }

    fn cli(&self, arguments: &[&str]) -> String {
        cli(self.port, arguments)
    }

    /// The port of the master that it names.
    fn master(&self) -> Option<u16> {
        let told = self.cli(&["SENTINEL", "GET-MASTER-ADDR-BY-NAME", "main"]);
        told.lines().nth(1)?.parse().ok()
    }

    /// Whether somebody listens to it.
    fn is_listened_to(&self) -> bool {
        self.cli(&["CLIENT", "LIST"]).contains(" sub=1 ")
    }
}

impl Drop for Sentinel {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

struct Deployment {
    servers: Vec<Server>,
    sentinels: Vec<Sentinel>,
}

impl Deployment {
    /// A master and a Sentinel.
    fn small() -> Self {
        let server = Server::start(IN_MEMORY);
        let sentinel = Sentinel::start(server.port, 1, "");
        Self { servers: vec![server], sentinels: vec![sentinel] }
    }

    /// A master, two replicas and three Sentinels that know each other.
    fn full() -> Self {
        let servers: Vec<_> = (0..3).map(|_| Server::start(IN_MEMORY)).collect();
        let master = servers[0].port;
        for replica in &servers[1..] {
            replica.cli(&["REPLICAOF", "127.0.0.1", &master.to_string()]);
        }
        let online = || servers[0].cli(&["INFO", "replication"]).matches("state=online").count();
        patiently("the replicas", || online() == 2);
        let sentinels: Vec<_> = (0..3).map(|_| Sentinel::start(master, 2, "")).collect();
        for sentinel in &sentinels {
            let state = || sentinel.cli(&["SENTINEL", "MASTER", "main"]).replace('\n', " ");
            patiently("the Sentinels", || {
                let state = state();
                state.contains("num-slaves 2 ") && state.contains("num-other-sentinels 2 ")
            });
        }
        Self { servers, sentinels }
    }

    fn url(&self) -> String {
        let sentinels: Vec<_> =
            self.sentinels.iter().map(|sentinel| format!("127.0.0.1:{}", sentinel.port)).collect();
        format!("redis+sentinel://{}/main", sentinels.join(","))
    }

    fn server(&self, port: u16) -> &Server {
        self.servers.iter().find(|server| server.port == port).expect("one of ours")
    }

    /// The server that a Sentinel names in the place of an old one, once it is a master.
    fn elected(&self, old: u16) -> Option<u16> {
        let told = self.sentinels.iter().filter_map(Sentinel::master).find(|port| *port != old)?;
        self.server(told).cli(&["ROLE"]).starts_with("master").then_some(told)
    }

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

fn patiently(what: &str, holds: impl Fn() -> bool) {
    let began = Instant::now();
    while !holds() {
        assert!(began.elapsed() < LONG, "{what}: not within {LONG:?}");
        std::thread::sleep(Duration::from_millis(50));
    }
}

fn clients(server: &Server) -> usize {
    server.cli(&["CLIENT", "LIST"]).matches("name=cloakroom-").count()
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
    // The Sentinels take eight seconds for that, in which the store goes on.
    let is_replica = || deployment.servers[0].cli(&["ROLE"]).starts_with("slave");
    until("the old master is a replica", is_replica).await;
    assert_eq!(clients(deployment.server(old)), 0);
    assert_eq!(loaded(&store).await, found(2, b"two"));
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

fn sentinels(deployment: &Deployment) -> (Endpoint, Sentinels) {
    let endpoint = Endpoint::new(&settings(&deployment.url())).expect("valid settings");
    (endpoint.clone(), Sentinels::new(endpoint, "main"))
}

#[tokio::test]
async fn a_switch_is_announced_by_whichever_sentinel_lives() {
    let mut deployment = Deployment::full();
    let (endpoint, sentinels) = sentinels(&deployment);
    let sentinels = Arc::new(sentinels);
    let old = endpoint.client("127.0.0.1", deployment.servers[0].port);
    assert_eq!(located(&sentinels).await, old.address());
    let listening = tokio::spawn({
        let sentinels = sentinels.clone();
        async move { sentinels.moved(&old).await }
    });
    let listened_to = || deployment.sentinels.iter().position(Sentinel::is_listened_to);
    until("somebody is listened to", || listened_to().is_some()).await;
    let first = listened_to().expect("as above");
    deployment.sentinels.remove(first);
    let listened_to = || deployment.sentinels.iter().any(Sentinel::is_listened_to);
    until("another is listened to", listened_to).await;
    assert!(!listening.is_finished());
    assert_eq!(deployment.sentinels[0].cli(&["SENTINEL", "FAILOVER", "main"]), "OK");
    let moved = timeout(LONG, listening).await.expect("it is announced").expect("no panic");
    let now = located(&sentinels).await;
    assert_eq!(moved, Cause::Moved(now));
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
    refused(&Sentinels::new(endpoint, "other"), "it knows no master `other`").await;
    let endpoint = Endpoint::new(&super::settings(&url("main"))).expect("valid settings");
    refused(&Sentinels::new(endpoint, "main"), "sentinel.password_file").await;
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
