//! Connections that break or fall silent, one by one and together.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};

use super::replicas::attach;
use super::tracking::until;
use super::{
    HOUR, IN_MEMORY, LEASE, LOOKUP, RECOVERY, Server, becomes, created, found, is_unavailable,
    is_unavailable_at_once, link_of, loaded, one, store,
};
use crate::session::outcome::{Created, Durability, Lookup, Replaced};
use crate::store::SessionStore;
use crate::store::contract::key;
use crate::store::health::Health;
use crate::store::redis::connection::Purpose;

/// Who is connected: what for, and from where.
fn clients(server: &Server) -> Vec<(String, String)> {
    let list = server.cli(&["CLIENT", "LIST"]);
    let field = |line: &str, name: &str| -> Option<String> {
        line.split(' ').find_map(|field| field.strip_prefix(name)).map(str::to_owned)
    };
    let client = |line| {
        let name = field(line, "name=")?;
        let kind = name.strip_prefix("cloakroom-")?.rsplit('-').next()?.to_owned();
        Some((kind, field(line, "addr=")?))
    };
    list.lines().filter_map(client).collect()
}

fn address_of(server: &Server, wanted: &str) -> String {
    let mut clients = clients(server).into_iter();
    clients.find(|(kind, _)| kind == wanted).expect("it is connected").1
}

#[tokio::test]
async fn a_connection_that_is_killed_is_replaced_and_costs_no_call() {
    let (server, replica) = (Server::start(IN_MEMORY), Server::start(IN_MEMORY));
    attach(&replica, &server);
    let store = server.store().patient();
    store.start().await;
    assert_eq!(store.create(key(1), b"one", HOUR).await, Created::Created);
    let mut version = 1;
    for kind in ["read", "write", "durable", "read"] {
        assert_eq!(clients(&server).len(), 4, "before {kind}");
        let address = address_of(&server, kind);
        assert_eq!(server.cli(&["CLIENT", "KILL", "ADDR", &address]), "1");
        let is_gone = || !clients(&server).iter().any(|(_, other)| *other == address);
        while !is_gone() || clients(&server).len() != 4 {
            assert!(matches!(store.load(key(1)).await, Lookup::Found(_)), "{kind}");
            for durability in [Durability::Master, Durability::Replica] {
                let outcome =
                    store.replace(key(1), version, None, b"x", HOUR.into(), durability).await;
                assert_eq!(outcome, Replaced::Replaced, "{kind}");
                version += 1;
            }
            assert_eq!(*store.health().borrow(), Health::Up, "{kind}");
        }
    }
}

#[tokio::test]
async fn the_other_connection_serves_while_one_for_look_ups_cannot_be_replaced() {
    let server = Server::start(IN_MEMORY);
    let store = server.store().patient();
    store.start().await;
    assert_eq!(store.create(key(1), b"one", HOUR).await, Created::Created);
    // Nobody can log in any more, and whoever is logged in is not concerned.
    assert_eq!(server.cli(&["ACL", "SETUSER", "operator", "on", "nopass", "~*", "+@all"]), "OK");
    assert_eq!(server.cli(&["CONFIG", "SET", "requirepass", "hunter2"]), "OK");
    let cli = |arguments: &[&str]| {
        server
            .cli(&[&["--user", "operator", "--pass", "x", "--no-auth-warning"], arguments].concat())
    };
    let list = || cli(&["CLIENT", "LIST"]);
    let first = list();
    let line = first.lines().find(|line| line.contains("-read ")).expect("it is connected");
    let address = line.split(' ').find_map(|field| field.strip_prefix("addr=")).expect("from");
    assert_eq!(cli(&["CLIENT", "KILL", "ADDR", address]), "1");
    for version in 1..=20 {
        let lookup = store.load(key(1)).await;
        assert!(matches!(lookup, Lookup::Found(_)), "{lookup:?}");
        let outcome =
            store.replace(key(1), version, None, b"x", HOUR.into(), Durability::Master).await;
        assert_eq!(outcome, Replaced::Replaced);
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    assert_eq!(list().matches("-read ").count(), 1);
    assert_eq!(*store.health().borrow(), Health::Up);
    assert_eq!(cli(&["CONFIG", "SET", "requirepass", ""]), "OK");
    until("the other is back", || list().matches("-read ").count() == 2).await;
}

#[tokio::test]
async fn a_server_that_hangs_proves_nothing_and_is_unavailable_until_it_goes_on() {
    let server = Server::start(IN_MEMORY);
    let store = server.store();
    store.start().await;
    created(&store).await;
    let link = link_of(&store).await;
    until("proved", || link.is_proved(LEASE, Instant::now())).await;
    server.signal("-STOP");
    let stopped = Instant::now();
    is_unavailable(&store, LOOKUP).await;
    assert!(!link.is_proved(LEASE, stopped + LEASE + Duration::from_millis(1)));
    becomes(&store, Health::Down, RECOVERY).await;
    assert!(!link.is_proved(Duration::MAX, Instant::now()), "lost");
    is_unavailable_at_once(&store).await;
    server.signal("-CONT");
    becomes(&store, Health::Up, RECOVERY).await;
    assert_eq!(loaded(&store).await, found(1, b"one"));
    let link = link_of(&store).await;
    until("proved", || link.is_proved(LEASE, Instant::now())).await;
}

/// Stands between store and server, and can swallow what passes, in both directions, without
/// closing anything.
struct Between {
    port: u16,
    passing: Passing,
}

/// From which address the server is connected to, and whether what passes is swallowed.
type Passing = Arc<Mutex<Vec<(SocketAddr, Arc<AtomicBool>)>>>;

impl Between {
    async fn new(server: &Server) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let port = listener.local_addr().expect("bound").port();
        let (passing, to) = (Passing::default(), server.port);
        let all = passing.clone();
        tokio::spawn(async move {
            while let Ok((near, _)) = listener.accept().await {
                let Ok(far) = TcpStream::connect(("127.0.0.1", to)).await else { continue };
                let swallows = Arc::new(AtomicBool::new(false));
                let from = far.local_addr().expect("connected");
                all.lock().expect("no panic").push((from, swallows.clone()));
                let ((near_read, near_write), (far_read, far_write)) =
                    (near.into_split(), far.into_split());
                tokio::spawn(pass(near_read, far_write, swallows.clone()));
                tokio::spawn(pass(far_read, near_write, swallows));
            }
        });
        Self { port, passing }
    }

    fn url(&self) -> String {
        format!("redis://127.0.0.1:{}", self.port)
    }

    /// Swallows what passes over the connections that there are now, or over one of them.
    fn swallow(&self, only: Option<&str>) {
        for (from, swallows) in self.passing.lock().expect("no panic").iter() {
            if only.is_none_or(|only| only == from.to_string()) {
                swallows.store(true, Ordering::SeqCst);
            }
        }
    }
}

async fn pass(mut from: OwnedReadHalf, mut to: OwnedWriteHalf, swallows: Arc<AtomicBool>) {
    let mut buffer = [0; 4096];
    while let Ok(length @ 1..) = from.read(&mut buffer).await {
        if !swallows.load(Ordering::SeqCst) && to.write_all(&buffer[..length]).await.is_err() {
            return;
        }
    }
    // Not even the end is told.
    while swallows.load(Ordering::SeqCst) {
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
}

#[tokio::test]
async fn half_open_connections_prove_nothing_and_are_replaced() {
    let server = Server::start(IN_MEMORY);
    let between = Between::new(&server).await;
    let (store, other) = (store(&between.url()), server.store().patient());
    store.start().await;
    other.start().await;
    created(&store).await;
    let mark = store.changes().expect("Redis tells").mark(key(1));
    let link = link_of(&store).await;
    between.swallow(None);
    let swallowed = Instant::now();
    let outcome = other.replace(key(1), 1, None, b"two", HOUR.into(), Durability::Master).await;
    assert_eq!(outcome, Replaced::Replaced);
    assert!(store.changes().expect("Redis tells").is_current(key(1), mark), "it was not told");
    assert!(!link.is_proved(LEASE, swallowed + LEASE + Duration::from_millis(1)));
    until("replaced", || !link.is_proved(Duration::MAX, Instant::now())).await;
    becomes(&store, Health::Up, RECOVERY).await;
    assert_eq!(loaded(&store).await, found(2, b"two"));
}

#[tokio::test]
async fn a_look_up_on_a_silent_connection_is_answered_over_the_other() {
    let server = Server::start(IN_MEMORY);
    let between = Between::new(&server).await;
    let mut store = store(&between.url()).patient();
    let patience = Duration::from_secs(4);
    (store.deadlines.hedge, store.beat().patience) = (Duration::from_millis(20), patience);
    store.start().await;
    assert_eq!(store.create(key(1), b"one", HOUR).await, Created::Created);
    let connections = one(&store).pick(Purpose::Reading).expect("started");
    let [silent, other] = &connections.reads;
    let id: u64 = redis::cmd("CLIENT")
        .arg("ID")
        .query_async(&mut silent.connection())
        .await
        .expect("it is connected");
    let client = server.cli(&["CLIENT", "LIST", "ID", &id.to_string()]);
    let from = client.split(' ').find_map(|field| field.strip_prefix("addr=")).expect("from");
    between.swallow(Some(from));
    let began = Instant::now();
    // The heartbeat gives it up only after its patience, and the proxy never.
    let mut look_ups = 0;
    while !silent.is_broken() {
        let asked = Instant::now();
        let (lookup, link) = store.load_watched(key(1)).await;
        assert!(asked.elapsed() < patience / 2, "took {:?}", asked.elapsed());
        assert_eq!(lookup, found(1, b"one"));
        if !silent.is_broken() {
            assert!(Arc::ptr_eq(&link.expect("a link"), &other.link().expect("tracked")));
            look_ups += 1;
        }
        assert!(began.elapsed() < Duration::from_secs(20), "not given up");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    assert!(look_ups > 0);
    let is_replaced = || one(&store).pick(Purpose::Reading).map(|set| set.id);
    until("replaced", || is_replaced().is_some_and(|id| id != connections.id)).await;
}
