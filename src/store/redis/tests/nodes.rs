//! A real cluster of the test's own.

use std::process::Command;
use std::time::{Duration, Instant};

use super::server::{Server, free_port};
use crate::session::outcome::RecordKey;
use crate::store::contract::key;
use crate::store::redis::layout::Namespace;
use crate::store::redis::slots::{SLOTS, slot_of};
use crate::store::redis::tests::{LONG, store};
use crate::store::redis::{RedisSettings, RedisStore};

/// Masters that share all slots in equal parts, spare ones that have none, and replicas: `replicas`
/// of each master that has slots.
#[derive(Clone, Copy)]
pub(super) struct Shape {
    pub(super) masters: usize,
    pub(super) spare: usize,
    pub(super) replicas: usize,
    /// When a node that does not answer is given up (`cluster-node-timeout`).
    pub(super) timeout_ms: u32,
}

pub(super) struct Nodes {
    /// Masters, spare ones, replicas.
    pub(super) nodes: Vec<Server>,
    shape: Shape,
}

impl Nodes {
    pub(super) fn start(shape: Shape) -> Self {
        Self::start_with(shape, &Vec::new)
    }

    /// `further` are options, for each node anew.
    pub(super) fn start_with(shape: Shape, further: &dyn Fn() -> Vec<String>) -> Self {
        let count = shape.masters + shape.spare + shape.masters * shape.replicas;
        let nodes: Vec<Server> = (0..count).map(|_| node(shape, &further())).collect();
        let nodes = Self { nodes, shape };
        nodes.form();
        nodes
    }

    fn form(&self) {
        let each = usize::from(SLOTS).div_ceil(self.shape.masters);
        for n in 0..self.shape.masters {
            let last = ((n + 1) * each).min(usize::from(SLOTS)) - 1;
            let (first, last) = ((n * each).to_string(), last.to_string());
            self.expect_ok(n, &["CLUSTER", "ADDSLOTSRANGE", &first, &last]);
        }
        for n in 0..self.nodes.len() {
            self.expect_ok(n, &["CLUSTER", "SET-CONFIG-EPOCH", &(n + 1).to_string()]);
        }
        for n in 1..self.nodes.len() {
            let (bus, tls) = (self.setting(n, "cluster-port"), self.setting(n, "tls-port"));
            let port = if tls == "0" { self.nodes[n].port.to_string() } else { tls };
            self.expect_ok(0, &["CLUSTER", "MEET", "127.0.0.1", &port, &bus]);
        }
        let spare = self.shape.masters + self.shape.spare;
        for n in spare..self.nodes.len() {
            let master = self.id((n - spare) / self.shape.replicas);
            // Known to it by gossip, soon.
            self.until("a replica", || self.cli(n, &["CLUSTER", "REPLICATE", &master]) == "OK");
        }
        self.until("formed", || {
            (0..self.nodes.len()).all(|n| {
                self.cli(n, &["CLUSTER", "INFO"]).contains("cluster_state:ok")
                    && self.cli(n, &["CLUSTER", "NODES"]).matches(" connected").count()
                        == self.nodes.len()
                    && (n < spare || self.info(n, "replication", "master_link_status:") == "up")
            })
        });
    }

    pub(super) fn url(&self) -> String {
        let hosts: Vec<_> =
            self.nodes.iter().map(|node| format!("127.0.0.1:{}", node.port)).collect();
        format!("redis+cluster://{}", hosts.join(","))
    }

    pub(super) fn store(&self) -> RedisStore {
        store(&self.url())
    }

    pub(super) fn cli(&self, n: usize, arguments: &[&str]) -> String {
        self.nodes[n].cli(arguments)
    }

    pub(super) fn expect_ok(&self, n: usize, arguments: &[&str]) {
        assert_eq!(self.cli(n, arguments), "OK", "{arguments:?}");
    }

    pub(super) fn setting(&self, n: usize, name: &str) -> String {
        self.cli(n, &["CONFIG", "GET", name]).lines().last().unwrap_or_default().to_owned()
    }

    pub(super) fn info(&self, n: usize, section: &str, field: &str) -> String {
        let info = self.cli(n, &["INFO", section]);
        info.lines().find_map(|line| line.strip_prefix(field)).unwrap_or_default().trim().to_owned()
    }

    pub(super) fn id(&self, n: usize) -> String {
        self.cli(n, &["CLUSTER", "MYID"])
    }

    /// For what other processes do.
    pub(super) fn until(&self, what: &str, holds: impl Fn() -> bool) {
        let began = Instant::now();
        while !holds() {
            assert!(began.elapsed() < LONG, "{what}: not within {LONG:?}\n{}", self.logs());
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    fn logs(&self) -> String {
        let log = |node: &Server| std::fs::read_to_string(node.directory.path().join("log"));
        let last = |log: String| log.lines().rev().take(15).collect::<Vec<_>>().join("\n");
        self.nodes
            .iter()
            .filter_map(|node| log(node).ok().map(last))
            .collect::<Vec<_>>()
            .join("\n\n")
    }

    /// Has a replica take its master's place.
    pub(super) fn promote(&self, n: usize) {
        self.until("attached", || self.info(n, "replication", "master_link_status:") == "up");
        // A master that takes it for one of its own kind denies its vote, and is asked again only
        // after four times the node timeout.
        let id = self.id(n);
        self.until("known as a replica", || {
            (0..self.nodes.len()).all(|other| {
                let known = self.cli(other, &["CLUSTER", "NODES"]);
                known.lines().any(|line| line.starts_with(&id) && line.contains("slave"))
            })
        });
        self.until("promoted", || {
            if self.cli(n, &["ROLE"]).starts_with("master") {
                return true;
            }
            // One that does not succeed is given up after five seconds.
            let began = Instant::now();
            let _ = self.cli(n, &["CLUSTER", "FAILOVER"]);
            while began.elapsed() < Duration::from_secs(6) {
                if self.cli(n, &["ROLE"]).starts_with("master") {
                    return true;
                }
                std::thread::sleep(Duration::from_millis(20));
            }
            false
        });
    }

    /// The master among the first that had a slot when the cluster was formed.
    pub(super) fn home(&self, slot: u16) -> usize {
        usize::from(slot) / usize::from(SLOTS).div_ceil(self.shape.masters)
    }

    /// A key whose slot was given to this master when the cluster was formed.
    pub(super) fn key_at(&self, n: usize) -> RecordKey {
        (1..=255).map(key).find(|key| self.home(slot(*key)) == n).expect("255 slots are many")
    }

    /// How often a node answered with an error of this code.
    pub(super) fn errors(&self, n: usize, code: &str) -> u64 {
        let count = self.info(n, "errorstats", &format!("errorstat_{code}:count="));
        count.parse().unwrap_or(0)
    }

    /// Begins to move a slot.
    pub(super) fn open_slot(&self, slot: u16, from: usize, to: usize) {
        let slot = &slot.to_string();
        self.expect_ok(to, &["CLUSTER", "SETSLOT", slot, "IMPORTING", &self.id(from)]);
        self.expect_ok(from, &["CLUSTER", "SETSLOT", slot, "MIGRATING", &self.id(to)]);
    }

    /// Moves keys; all that are in the slot where none are named.
    pub(super) fn migrate(&self, slot: u16, from: usize, to: usize, keys: &[&str]) {
        let port = self.nodes[to].port.to_string();
        let migrate = |keys: &[&str]| {
            let to = ["MIGRATE", "127.0.0.1", &port, "", "0", "5000", "KEYS"];
            let moved = self.cli(from, &[&to[..], keys].concat());
            assert!(matches!(&moved[..], "OK" | "NOKEY"), "{moved}");
        };
        if !keys.is_empty() {
            return migrate(keys);
        }
        loop {
            let some = self.cli(from, &["CLUSTER", "GETKEYSINSLOT", &slot.to_string(), "100"]);
            let some: Vec<&str> = some.lines().filter(|key| !key.is_empty()).collect();
            match some[..] {
                [] => return,
                _ => migrate(&some),
            }
        }
    }

    /// Ends what [`Self::open_slot`] began.
    pub(super) fn close_slot(&self, slot: u16, from: usize, to: usize) {
        let (slot, new) = (&slot.to_string(), self.id(to));
        for n in [to, from] {
            self.expect_ok(n, &["CLUSTER", "SETSLOT", slot, "NODE", &new]);
        }
    }
}

pub(super) fn names() -> Namespace {
    Namespace::parse("test").expect("a valid namespace")
}

pub(super) fn slot(key: RecordKey) -> u16 {
    slot_of(names().key(key).as_bytes())
}

fn node(shape: Shape, further: &[String]) -> Server {
    let timeout_ms = shape.timeout_ms.to_string();
    for _ in 0..10 {
        // Not the server's port and ten thousand, which may be none.
        let bus = free_port().to_string();
        let options = [
            ["--cluster-enabled", "yes"],
            ["--cluster-port", &bus],
            ["--cluster-node-timeout", &timeout_ms],
            ["--cluster-require-full-coverage", "no"],
            ["--cluster-replica-validity-factor", "0"],
            // A master that gives its last slot away stays one.
            ["--cluster-allow-replica-migration", "no"],
            ["--logfile", "log"],
            ["--appendonly", "no"],
            ["--save", ""],
        ];
        let further = further.iter().map(String::as_str);
        let options: Vec<&str> = options.concat().into_iter().chain(further).collect();
        if let Some(server) = Server::try_start(&options) {
            return server;
        }
    }
    panic!("no node starts");
}

/// Settings of a cluster with a namespace.
pub(super) fn settings_in(nodes: &Nodes, namespace: &str) -> RedisSettings {
    RedisSettings { namespace: namespace.to_owned(), ..super::settings(&nodes.url()) }
}

/// A process of `redis-cli --cluster`, which must succeed.
pub(super) fn manage(arguments: &[&str]) -> std::process::Child {
    Command::new("redis-cli")
        .arg("--cluster")
        .args(arguments)
        .arg("--cluster-yes")
        .stdin(std::process::Stdio::null())
        .stdout(std::process::Stdio::null())
        .spawn()
        .expect("redis-cli is installed")
}
