//! What a look-up of a live session costs: from the local cache, and from Redis with a thousand to a
//! million sessions in it. Budget (DESIGN section 9): a cached look-up 1 µs, flat.
//!
//! Needs `redis-server`. Says at its beginning how much memory a cached session takes.

use std::hint::black_box;
use std::net::{TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use cloakroom::clock::{Clock, UnixMillis};
use cloakroom::cookie::response::SetCookie;
use cloakroom::crypto::keyring::Keyring;
use cloakroom::crypto::ring_source::RingSource;
use cloakroom::session::jar::{Edit, Jar};
use cloakroom::session::outcome::{Created, Lookup, RecordKey};
use cloakroom::session::policy::{JarLimits, Timeouts};
use cloakroom::session::record::{Record, Seed, Standing};
use cloakroom::session::ticket::{Selector, record_key};
use cloakroom::store::records::Records;
use cloakroom::store::{self, cache, redis};
use criterion::{BenchmarkId, Criterion, criterion_group, criterion_main};
use tempfile::TempDir;
use tokio::runtime::Runtime;
use tokio::task::JoinSet;

const CACHED: [u32; 3] = [1_000, 10_000, 100_000];
const STORED: [u32; 4] = [1_000, 10_000, 100_000, 1_000_000];
const AT_ONCE: usize = 64;
/// What a server says of a write may come a little after its answer.
const SETTLES: Duration = Duration::from_millis(200);
const DAY: Duration = Duration::from_secs(24 * 3600);
const TIMEOUTS: Timeouts = Timeouts {
    idle: DAY,
    absolute: DAY,
    renew_every: Duration::from_secs(900),
    grace: Duration::from_secs(60),
    anonymous: Duration::from_secs(900),
};

/// A server of its own, killed when dropped.
struct Server {
    process: Child,
    port: u16,
    directory: TempDir,
}

impl Server {
    fn start() -> Self {
        let directory = tempfile::tempdir().expect("a directory");
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let port = listener.local_addr().expect("bound").port();
        drop(listener);
        let process = Command::new("redis-server")
            .args(["--port", &port.to_string(), "--bind", "127.0.0.1", "--save", ""])
            .args(["--enable-debug-command", "yes", "--dir"])
            .arg(directory.path())
            .stdout(Stdio::null())
            .spawn()
            .expect("redis-server is installed");
        let began = Instant::now();
        while TcpStream::connect(("127.0.0.1", port)).is_err() {
            assert!(began.elapsed() < Duration::from_secs(20), "redis-server does not listen");
            std::thread::sleep(Duration::from_millis(10));
        }
        Self { process, port, directory }
    }

    fn cli(&self, arguments: &[&str]) -> String {
        let port = self.port.to_string();
        let output = Command::new("redis-cli").args(["-p", &port]).args(arguments).output();
        String::from_utf8(output.expect("redis-cli is installed").stdout).expect("text")
    }

    /// Makes the server hold as many keys, of the size of a session.
    fn fill_up_to(&self, keys: u32) {
        let said = self.cli(&["DEBUG", "POPULATE", &keys.to_string(), "filler", "700"]);
        assert!(said.contains("OK"), "{said}");
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// A node: its records, and the runtime that its connections live on.
struct Node {
    runtime: Runtime,
    ring: Arc<RingSource>,
    records: Records,
    now: UnixMillis,
}

impl Node {
    fn start(server: &Server, cache: cache::CacheSettings) -> Self {
        let now = Clock::System.now();
        let path = server.directory.path().join("keyring.json");
        if !path.exists() {
            Keyring::generate(now).expect("randomness").save_new(&path).expect("a new file");
        }
        let ring = Arc::new(RingSource::open(path).expect("just written"));
        let url = redis::RedisUrl::parse(&format!("redis://127.0.0.1:{}", server.port));
        let settings = redis::RedisSettings::new(url.expect("a URL"), "bench");
        let options = store::Options { lease: cache.lease };
        // Heartbeats go on while the benchmark's own thread is busy.
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()
            .expect("a runtime");
        let store = runtime.block_on(async {
            let settings = store::StoreSettings::Redis(settings);
            let store = store::open(&settings, &options, Clock::System).await.expect("valid");
            store.start().await;
            store
        });
        let records = Records::new(store, ring.clone(), DAY).with_cache(cache);
        Self { runtime, ring, records, now }
    }

    fn key(&self, number: u32) -> RecordKey {
        let mut selector = [0; 16];
        selector[..4].copy_from_slice(&number.to_be_bytes());
        let mut tag = [0; 8];
        tag[4..].copy_from_slice(&number.to_le_bytes());
        record_key(&self.ring.current(), tag, &Selector(selector))
    }

    /// Makes sessions, and reads each of them once nothing more is heard of that.
    fn serve(&self, sessions: u32) -> Vec<RecordKey> {
        let record = Arc::new(record(self.now));
        let keys: Vec<RecordKey> = (0..sessions).map(|number| self.key(number)).collect();
        self.runtime.block_on(async {
            self.each(&keys, move |records, key, now| {
                let record = record.clone();
                async move {
                    // Made in an earlier round, perhaps: with other bytes.
                    assert_ne!(records.create(key, &record, now).await, Created::Unavailable);
                }
            })
            .await;
            tokio::time::sleep(SETTLES).await;
            self.each(&keys, |records, key, now| async move {
                assert!(matches!(records.load(key, now).await, Lookup::Found(_)));
            })
            .await;
        });
        keys
    }

    /// A server that is being filled answers nobody for seconds: its connections are replaced.
    fn until_it_serves(&self, key: RecordKey) {
        let began = Instant::now();
        let serves = || self.runtime.block_on(self.records.load(key, self.now));
        while !matches!(serves(), Lookup::Found(_)) {
            assert!(began.elapsed() < Duration::from_secs(20), "redis-server does not answer");
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// Does something with each key, with some at once.
    async fn each<F>(&self, keys: &[RecordKey], act: impl Fn(Records, RecordKey, UnixMillis) -> F)
    where
        F: Future<Output = ()> + Send + 'static,
    {
        for some in keys.chunks(AT_ONCE) {
            let calls = some.iter().map(|key| act(self.records.clone(), *key, self.now));
            calls.collect::<JoinSet<()>>().join_all().await;
        }
    }
}

/// A session that logged in, with a signed application session of 300 bytes.
fn record(now: UnixMillis) -> Record {
    let mut jar = Jar::default();
    for (name, bytes) in [("EGG_SESS", 300), ("EGG_SESS.sig", 43)] {
        let line = format!("{name}={}; path=/; httponly", "x".repeat(bytes));
        let field = SetCookie::parse(line.as_bytes()).expect("a cookie");
        let edit = Edit::read(&field, "shop.example.com", b"/", now);
        jar.apply(&[edit], JarLimits::default(), now);
    }
    let mut record = Record::new(Seed::new([7; 32]), jar, Standing::Authenticated, &TIMEOUTS, now);
    record.presented = Some(now);
    record
}

/// Bytes of this process in memory.
fn resident() -> u64 {
    let text = std::fs::read_to_string("/proc/self/statm").unwrap_or_default();
    text.split(' ').nth(1).and_then(|pages| pages.parse::<u64>().ok()).unwrap_or(0) * 4096
}

fn cached(c: &mut Criterion) {
    let server = Server::start();
    let mut group = c.benchmark_group("cached look-up");
    for sessions in CACHED {
        let before = resident();
        let settings = cache::CacheSettings { lease: Duration::from_secs(5), bytes: 1 << 30 };
        let node = Node::start(&server, settings);
        let keys = node.serve(sessions);
        let stats = node.records.cache_stats();
        println!(
            "{sessions} sessions: {} cached, {} bytes each as reckoned, {} as the process grew",
            stats.entries,
            stats.bytes / stats.entries.max(1),
            resident().saturating_sub(before) / u64::from(sessions),
        );
        // In an order that no cache of the processor foresees.
        let mut at = 0_usize;
        group.bench_function(BenchmarkId::from_parameter(sessions), |b| {
            b.iter(|| {
                at = (at + 7_919) % keys.len();
                let found = node.records.cached(black_box(keys[at]), node.now, Instant::now());
                assert!(matches!(found, Some(Lookup::Found(_))));
            });
        });
    }
    group.finish();
}

fn stored(c: &mut Criterion) {
    let server = Server::start();
    let node = Node::start(&server, cache::CacheSettings { lease: Duration::ZERO, bytes: 1 << 20 });
    let keys = node.serve(1_000);
    let mut group = c.benchmark_group("look-up in Redis");
    group.sample_size(20);
    for sessions in STORED {
        server.fill_up_to(sessions);
        node.until_it_serves(keys[0]);
        let mut at = 0_usize;
        group.bench_function(BenchmarkId::from_parameter(sessions), |b| {
            b.to_async(&node.runtime).iter(|| {
                at = (at + 7_919) % keys.len();
                let look_up = node.records.load(keys[at], node.now);
                async { assert!(matches!(look_up.await, Lookup::Found(_))) }
            });
        });
    }
    group.finish();
}

criterion_group!(benches, cached, stored);
criterion_main!(benches);
