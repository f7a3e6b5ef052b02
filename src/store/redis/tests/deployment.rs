//! Servers and Sentinels of the tests' own.

use std::fmt::Write as _;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use tempfile::TempDir;

use super::server::{Server, answers, cli, free_port};
use super::{IN_MEMORY, LONG};
use crate::store::redis::fence::CHANNELS;

pub(super) struct Sentinel {
    pub(super) process: Child,
    pub(super) port: u16,
    _directory: TempDir,
}

impl Sentinel {
    pub(super) fn start(master: u16, quorum: usize, more: &str) -> Self {
        for _ in 0..10 {
            let directory = tempfile::tempdir().expect("a directory");
            let port = free_port();
            let file = directory.path().join("sentinel.conf");
            let mut text = format!("port {port}\nbind 127.0.0.1\n");
            let _ = write!(
                text,
                "dir {}\nsentinel monitor main 127.0.0.1 {master} {quorum}\n\
                 sentinel down-after-milliseconds main 2000\n\
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

    pub(super) fn cli(&self, arguments: &[&str]) -> String {
        cli(self.port, arguments)
    }

    /// The port of the master that it names.
    pub(super) fn master(&self) -> Option<u16> {
        let told = self.cli(&["SENTINEL", "GET-MASTER-ADDR-BY-NAME", "main"]);
        told.lines().nth(1)?.parse().ok()
    }

    /// Whether somebody listens to it.
    pub(super) fn is_listened_to(&self) -> bool {
        self.cli(&["CLIENT", "LIST"]).contains(&format!(" sub={} ", CHANNELS.len()))
    }
}

impl Drop for Sentinel {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

pub(super) struct Deployment {
    pub(super) servers: Vec<Server>,
    pub(super) sentinels: Vec<Sentinel>,
}

impl Deployment {
    /// A master and a Sentinel.
    pub(super) fn small() -> Self {
        let server = Server::start(IN_MEMORY);
        let sentinel = Sentinel::start(server.port, 1, "");
        Self { servers: vec![server], sentinels: vec![sentinel] }
    }

    /// A master, two replicas and three Sentinels that know each other.
    pub(super) fn full() -> Self {
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

    pub(super) fn url(&self) -> String {
        let sentinels: Vec<_> =
            self.sentinels.iter().map(|sentinel| format!("127.0.0.1:{}", sentinel.port)).collect();
        format!("redis+sentinel://{}/main", sentinels.join(","))
    }

    pub(super) fn server(&self, port: u16) -> &Server {
        self.servers.iter().find(|server| server.port == port).expect("one of ours")
    }

    /// The server that a Sentinel names in the place of an old one, once it is a master.
    pub(super) fn elected(&self, old: u16) -> Option<u16> {
        let told = self.sentinels.iter().filter_map(Sentinel::master).find(|port| *port != old)?;
        self.server(told).cli(&["ROLE"]).starts_with("master").then_some(told)
    }
}

fn patiently(what: &str, holds: impl Fn() -> bool) {
    let began = Instant::now();
    while !holds() {
        assert!(began.elapsed() < LONG, "{what}: not within {LONG:?}");
        std::thread::sleep(Duration::from_millis(50));
    }
}

pub(super) fn clients(server: &Server) -> usize {
    server.cli(&["CLIENT", "LIST"]).matches("name=cloakroom-").count()
}
