//! Certificates that are ordered from an authority: pebble, which believes nothing that is not proved.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use x509_parser::prelude::{FromDer, X509Certificate};

use crate::support::admin::{ADMIN, metric};
use crate::support::client::{Dial, request};
use crate::support::http::response;
use crate::support::in_process::TestClock;
use crate::support::origin::Responder;
use crate::support::pebble::{EAB_KEY, Mood, Pebble};
use crate::support::proxy::{Binary, Proxy};
use crate::support::redis::Redis;
use crate::support::{tls, within};

const DAY: Duration = Duration::from_secs(24 * 3600);
const NAMES: [&str; 3] = ["a.test", "b.test", "c.test"];

/// Nodes at 127.0.0.1 and above, at the ports where pebble looks for them.
struct Fleet {
    pebble: Pebble,
    worker: Responder,
    ring: PathBuf,
    store: String,
    clock: TestClock,
    directory: tempfile::TempDir,
}

impl Fleet {
    async fn new(mood: Mood, store: &str) -> Self {
        let pebble = Pebble::start(mood).await;
        let directory = tempfile::tempdir().expect("a directory");
        let ring = directory.path().join("keyring.json");
        let made = Binary::run(&["keys", "new", &ring.display().to_string()]);
        assert!(made.status.success());
        // Each name leads to another node, so that one has to answer for the others.
        for (name, node) in NAMES.iter().zip(1..) {
            pebble.dns.has(name, 60, &[Ipv4Addr::new(127, 0, 0, node)]);
        }
        let worker = Responder::start(|request| {
            response("200 OK", &[], format!("worker {}", request.head.start).as_bytes())
        });
        let (worker, store, clock) = (worker.await, store.to_owned(), TestClock::default());
        Self { pebble, worker, ring, store, clock, directory }
    }

    /// The first node has the address 127.0.0.1.
    fn start(&self, node: u8, domains: &[&str], more: &str) -> Proxy {
        Proxy::start_at(&self.clock, &self.yaml(node, domains, more))
    }

    fn yaml(&self, node: u8, domains: &[&str], more: &str) -> String {
        let address = Ipv4Addr::new(127, 0, 0, node);
        let state = self.directory.path().join(format!("node-{node}"));
        let domains = domains.join(", ");
        let tls = self.pebble.tls(&format!(", domains: [{domains}]{more}"));
        format!(
            "workers: 1\nstate_directory: '{}'\nkeyring: '{}'\nstore: '{}'\n{ADMIN}\n\
             listeners:\n  - {{ address: '{address}:{}', tls: {tls} }}\n  \
             - {{ address: '{address}:{}', redirect_to_https: true }}\n\
             upstreams:\n  app: {{ endpoints: [{{ address: '{}' }}] }}\nservers:\n  \
             - names: [a.test, b.test, c.test]\n    routes: [{{ path: /, upstream: app }}]\n",
            state.display(),
            self.ring.display(),
            self.store,
            self.pebble.tls_port,
            self.pebble.http_port,
            self.worker.address
        )
    }
}

/// Who has issued the certificate that a node shows, and its serial number.
async fn shown(node: &Proxy) -> (String, String) {
    let client = Dial::to(node.address()).tls("a.test").connect().await;
    let der = &client.tls.as_ref().expect("TLS").certificate;
    let (_, parsed) = X509Certificate::from_der(der).expect("a certificate");
    (parsed.issuer().to_string(), parsed.raw_serial_as_string())
}

/// Waits until a node shows one of pebble's that is none of these; its serial number.
async fn issued(node: &Proxy, not: &[&str]) -> String {
    within("a certificate of pebble's", async {
        loop {
            let (issuer, serial) = shown(node).await;
            if issuer.contains("Pebble") && !not.contains(&serial.as_str()) {
                return serial;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    })
    .await
}

async fn get(address: SocketAddr, host: &str, path: &str) -> (u16, String) {
    let mut client = Dial::to(address).connect().await;
    client.send(request("GET", path, host, &[], b"")).await;
    let answer = client.response().await;
    (answer.status, answer.text())
}

#[tokio::test]
async fn a_certificate_is_ordered_over_http_and_kept_over_a_restart() {
    let fleet = Fleet::new(Mood::default(), "memory").await;
    let node = fleet.start(1, &["a.test"], "");
    let plain = node.addresses()[1];
    let serial = issued(&node, &[]).await;
    assert_eq!(fleet.pebble.counts(), (1, 1));
    let days = metric(&node, "cloakroom_acme_days_left{domain=\"a.test\"}").await;
    assert!(days.is_some_and(|days| (88..=90).contains(&days)), "{days:?}");
    // What is no challenge goes on as before.
    for path in
        ["/", "/.well-known/acme-challenge/", "/.well-known/acme-challenge/evaGxfADs6pSRb2LAv9IZf"]
    {
        assert_eq!(get(plain, "a.test", path).await.0, 301, "{path}");
    }
    let mut client = Dial::to(node.address()).tls("a.test").connect().await;
    client.send(request("GET", "/.well-known/acme-challenge/x", "a.test", &[], b"")).await;
    assert!(client.response().await.expect(200).text().starts_with("worker GET"));
    node.stop();
    // The store is gone with the process.
    let again = fleet.start(1, &["a.test"], "");
    assert_eq!(shown(&again).await.1, serial, "from the first handshake on");
    fleet.clock.advance(Duration::from_secs(3600));
    tokio::time::sleep(Duration::from_secs(4)).await;
    assert_eq!((shown(&again).await.1, fleet.pebble.counts()), (serial, (1, 1)));
}

#[tokio::test]
async fn a_certificate_is_ordered_over_tls() {
    let fleet = Fleet::new(Mood::default(), "memory").await;
    let node = fleet.start(1, &["a.test"], ", challenge: tls-alpn-01, key_type: 'ecdsa:384'");
    let (issuer, _) = shown(&node).await;
    assert!(issuer.contains("Cloakroom") || issuer.contains("Pebble"), "{issuer}");
    issued(&node, &[]).await;
    assert_eq!(fleet.pebble.counts(), (1, 1));
    // Who asks for a proof that nobody has to give is told so, and the listener serves as before.
    let config = tls::client_config(&["acme-tls/1"], tls::BOTH);
    let refused = Dial::to(node.address()).tls("a.test").config(config).try_connect().await;
    let refused = refused.err().expect("no proof").to_string();
    assert!(refused.contains("NoApplicationProtocol"), "{refused}");
    let mut client = Dial::to(node.address()).tls("a.test").connect().await;
    client.send(request("GET", "/", "a.test", &[], b"")).await;
    client.response().await.expect(200);
}

#[tokio::test]
async fn a_name_more_is_ordered_at_a_reload_and_what_was_shown_is_shown_until_then() {
    let mut fleet = Fleet::new(Mood::default(), "memory").await;
    let mut node = fleet.start(1, &["a.test"], "");
    let first = issued(&node, &[]).await;
    fleet.pebble.dns.has("b.test", 60, &[Ipv4Addr::LOCALHOST]);
    assert_eq!(node.reload_with(&fleet.yaml(1, &["a.test"], "")), Ok(vec![]));
    assert_eq!((shown(&node).await.1, fleet.pebble.counts()), (first.clone(), (1, 1)));
    fleet.pebble.stop();
    assert_eq!(node.reload_with(&fleet.yaml(1, &["a.test", "b.test"], "")), Ok(vec![]));
    assert_eq!(shown(&node).await.1, first, "better than none");
    // It has forgotten our account as well.
    fleet.pebble.start_again();
    within("another certificate", async {
        while shown(&node).await.1 == first {
            fleet.clock.advance(Duration::from_secs(1200));
            tokio::time::sleep(Duration::from_secs(1)).await;
        }
    })
    .await;
    let (issuer, _) = shown(&node).await;
    assert!(issuer.contains("Pebble"), "{issuer}");
}

#[tokio::test]
async fn three_nodes_order_once_and_each_answers_for_the_others() {
    let redis = Redis::start();
    let mut fleet = Fleet::new(Mood::default(), &redis.url()).await;
    // All of them are there before names are asked for.
    fleet.pebble.stop();
    let mut nodes: Vec<_> = (1..=3).map(|node| fleet.start(node, &NAMES, "")).collect();
    fleet.pebble.start_again();
    fleet.clock.advance(Duration::from_secs(120));
    let mut serials = Vec::new();
    for node in &nodes {
        serials.push(issued(node, &[]).await);
    }
    assert!(serials.iter().all(|serial| *serial == serials[0]), "{serials:?}");
    assert_eq!(fleet.pebble.counts(), (1, 1));
    // Renewal, while a node is killed.
    nodes.remove(0).stop();
    fleet.clock.advance(DAY * 61);
    fleet.pebble.dns.has("a.test", 60, &[Ipv4Addr::new(127, 0, 0, 2)]);
    for node in &nodes {
        serials.push(issued(node, &[&serials[0]]).await);
    }
    assert_eq!(serials[3], serials[4]);
    assert_eq!(fleet.pebble.counts(), (2, 2));
    // What is in the store opens with the key ring alone.
    let late = fleet.start(1, &NAMES, "");
    assert_eq!(issued(&late, &[&serials[0]]).await, serials[3]);
}

#[tokio::test]
async fn an_authority_that_is_down_or_refuses_nonces_is_asked_again() {
    let mut fleet = Fleet::new(Mood { bad_nonces: 25, ..Mood::default() }, "memory").await;
    fleet.pebble.stop();
    let node = fleet.start(1, &["a.test"], "");
    let failures = || metric(&node, "cloakroom_acme_failures{domain=\"a.test\"}");
    within("a failure", async {
        while failures().await != Some(1) {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    })
    .await;
    let (issuer, _) = shown(&node).await;
    assert!(issuer.contains("Cloakroom"), "{issuer}");
    let days = metric(&node, "cloakroom_acme_days_left{domain=\"a.test\"}").await;
    assert_eq!(days, Some(0), "there is none yet");
    fleet.pebble.start_again();
    tokio::time::sleep(Duration::from_secs(4)).await;
    assert_eq!(fleet.pebble.counts(), (0, 0), "not within its time after a failure");
    within("a certificate", async {
        // What it refuses too often in a row is a failure as well.
        while !shown(&node).await.0.contains("Pebble") {
            fleet.clock.advance(Duration::from_secs(120));
            tokio::time::sleep(Duration::from_secs(1)).await;
        }
    })
    .await;
    assert_eq!(fleet.pebble.counts().1, 1, "one came of it");
    assert_eq!(failures().await, Some(0));
}

#[tokio::test]
async fn who_issues_to_customers_alone_is_told_which_one_we_are() {
    let fleet = Fleet::new(Mood { wants_customers: true, ..Mood::default() }, "memory").await;
    let key = fleet.pebble.file("eab.key");
    std::fs::write(&key, EAB_KEY).expect("written");
    let stranger = fleet.start(1, &["a.test"], "");
    within("a refusal", async {
        let series = "cloakroom_acme_failures{domain=\"a.test\"}";
        while metric(&stranger, series).await != Some(1) {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    })
    .await;
    stranger.stop();
    let eab = format!(", eab: {{ key_id: kid-1, key_file: '{}' }}", key.display());
    fleet.clock.advance(DAY);
    let customer = fleet.start(1, &["a.test"], &eab);
    issued(&customer, &[]).await;
}

/// A name that leads elsewhere is not proved, and nothing is ordered again soon.
#[tokio::test]
async fn a_name_that_leads_elsewhere_is_refused() {
    let fleet = Fleet::new(Mood::default(), "sqlite:{directory}/sessions.db").await;
    fleet.pebble.dns.has("a.test", 60, &[Ipv4Addr::new(127, 0, 0, 99)]);
    let node = fleet.start(1, &["a.test"], "");
    within("a refusal", async {
        let series = "cloakroom_acme_failures{domain=\"a.test\"}";
        while metric(&node, series).await != Some(1) {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    })
    .await;
    fleet.pebble.dns.has("a.test", 60, &[Ipv4Addr::LOCALHOST]);
    fleet.clock.advance(Duration::from_secs(14 * 60));
    tokio::time::sleep(Duration::from_secs(4)).await;
    assert_eq!(fleet.pebble.counts(), (1, 0));
    fleet.clock.advance(Duration::from_secs(10 * 60));
    issued(&node, &[]).await;
    assert_eq!(fleet.pebble.counts(), (2, 1));
}
