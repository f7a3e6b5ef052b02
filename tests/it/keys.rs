//! Rolling the keys of a fleet (PROTOCOL 3, 4): each node reads its ring when it is told to, or when
//! it meets a key that it does not know, and nobody loses a session on the way.

use std::path::PathBuf;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use tempfile::TempDir;

use crate::support::admin::{ADMIN, metric};
use crate::support::browser::Browser;
use crate::support::http::response;
use crate::support::in_process::TestClock;
use crate::support::origin::{Request, Responder};
use crate::support::proxy::{Binary, Proxy};
use crate::support::redis::Redis;
use crate::support::shop::{Shop, TICKET, browser};

/// Begins a session of another value at each `/begin`, and says which one it is asked with.
async fn application() -> Responder {
    let number = AtomicU32::new(0);
    Responder::start(move |request: &Request| {
        let asked = request.field("cookie").unwrap_or_default();
        let mut fields = Vec::new();
        let cookie;
        if request.head.start.contains("/begin") {
            cookie = format!("EGG_SESS={}; path=/", number.fetch_add(1, Ordering::SeqCst));
            fields.push(("set-cookie", cookie.as_str()));
        }
        response("200 OK", &fields, asked.as_bytes())
    })
    .await
}

/// A visitor with a session of his own.
struct Visitor {
    browser: Browser,
    session: String,
}

impl Visitor {
    async fn is_in(&mut self, node: usize) -> bool {
        self.browser.node(node).get("/").await.expect(200).text() == self.session
    }
}

/// Two nodes over one Redis, each with a copy of the ring that it reads when it likes.
pub(crate) struct Fleet {
    pub(crate) clock: TestClock,
    pub(crate) nodes: Vec<Proxy>,
    /// Where the operator works; the nodes' copies beside it.
    pub(crate) ring: PathBuf,
    copies: Vec<PathBuf>,
    _directories: Vec<TempDir>,
    _app: Responder,
    pub(crate) redis: Redis,
}

impl Fleet {
    pub(crate) async fn start() -> Self {
        let (app, redis, clock) = (application().await, Redis::start(), TestClock::default());
        let directories: Vec<TempDir> =
            (0..3).map(|_| tempfile::tempdir().expect("a directory")).collect();
        let mut rings = directories.iter().map(|directory| directory.path().join("keyring.json"));
        let ring = rings.next().expect("three");
        let copies: Vec<PathBuf> = rings.collect();
        keys(&["new", &ring.display().to_string()]);
        let shop = Shop::at(app.address).store(&redis).top(ADMIN);
        let mut nodes = Vec::new();
        for (directory, copy) in directories[1..].iter().zip(&copies) {
            std::fs::copy(&ring, copy).expect("copied");
            let node = shop.sharing(directory).start_at(&clock);
            // One after the other: the first one is the elder.
            while metric(&node, "cloakroom_nodes").await.is_none_or(|nodes| nodes == 0) {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
            nodes.push(node);
        }
        Self { clock, nodes, ring, copies, _directories: directories, _app: app, redis }
    }

    /// A step of the operator's; returns what it printed.
    pub(crate) fn keys(&self, action: &str, rest: &[&str]) -> String {
        let ring = self.ring.display().to_string();
        keys(&[&[action, &ring], rest].concat())
    }

    /// The key of this status, from the operator's file.
    pub(crate) fn key(&self, status: &str) -> String {
        let shown = self.keys("show", &[]);
        let of = |line: &&str| line.contains("  seal   ") && line.contains(status);
        shown.lines().find(of).expect("a key of this status")[..8].to_owned()
    }

    /// Hands the operator's file out to a node, which is told so.
    pub(crate) fn reload(&self, node: usize) {
        self.hand_out(node);
        self.nodes[node].reload();
    }

    pub(crate) fn hand_out(&self, node: usize) {
        // Put there in one step, as whatever distributes files does.
        let draft = self.copies[node].with_extension("draft");
        std::fs::copy(&self.ring, &draft).expect("copied");
        std::fs::rename(&draft, &self.copies[node]).expect("renamed");
    }

    async fn visitor(&self, node: usize) -> Visitor {
        let mut browser = browser(&self.nodes);
        browser.node(node).get("/begin").await.expect(200);
        let session = browser.get("/").await.expect(200).text();
        assert!(session.starts_with("EGG_SESS="), "{session}");
        Visitor { browser, session }
    }

    /// The value of a series.
    pub(crate) async fn metric(&self, node: usize, series: &str) -> Option<u64> {
        metric(&self.nodes[node], series).await
    }

    async fn has(&self, node: usize, key: &str, status: &str) -> bool {
        let series = format!("cloakroom_keyring_key{{key=\"{key}\",status=\"{status}\"}}");
        self.metric(node, &series).await == Some(1)
    }
}

fn keys(arguments: &[&str]) -> String {
    let done = Binary::run(&[&["keys"], arguments].concat());
    assert!(done.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&done.stderr));
    String::from_utf8(done.stdout).expect("text")
}

/// The key that sealed a ticket: four bytes after the version.
fn sealed_by(visitor: &Visitor) -> String {
    use base64::Engine as _;
    let value = &visitor.browser.cookie(TICKET).expect("a ticket").value;
    let bytes = base64::prelude::BASE64_URL_SAFE_NO_PAD.decode(value).expect("base64url");
    hex::encode(&bytes[1..5])
}

/// PROTOCOL 4, step by step, each node in its own time; a visitor from each state goes to both
/// nodes in each state after it.
#[tokio::test]
async fn nobody_loses_a_session_while_keys_are_rolled() {
    let fleet = Fleet::start().await;
    let old = fleet.key("primary");
    let mut visitors = Vec::new();
    type Step = Box<dyn Fn(&Fleet)>;
    let steps: [(&str, Step); 9] = [
        ("before", Box::new(|_| {})),
        ("rotated, nobody told", Box::new(|fleet| drop(fleet.keys("rotate", &[])))),
        ("one node accepts it", Box::new(|fleet| fleet.reload(0))),
        ("both accept it", Box::new(|fleet| fleet.reload(1))),
        (
            "promoted, nobody told",
            Box::new(|fleet| drop(fleet.keys("promote", &[&fleet.key("accept")]))),
        ),
        ("one node seals with it", Box::new(|fleet| fleet.reload(0))),
        ("both seal with it", Box::new(|fleet| fleet.reload(1))),
        (
            "every ticket was renewed, the old key retired, one node told",
            Box::new(|fleet| {
                drop(fleet.keys("retire", &[&fleet.key("accept")]));
                fleet.reload(0);
            }),
        ),
        ("both told", Box::new(|fleet| fleet.reload(1))),
    ];
    for (at, (state, step)) in steps.iter().enumerate() {
        if at == 7 {
            // What `keys promote` asked the operator to wait for.
            fleet.clock.advance(Duration::from_secs(900));
            for visitor in &mut visitors {
                assert!(Visitor::is_in(visitor, at % 2).await, "renewed");
                assert!(Visitor::is_in(visitor, (at + 1) % 2).await, "seen");
            }
        }
        step(&fleet);
        for node in [0, 1] {
            visitors.push(fleet.visitor(node).await);
        }
        for (number, visitor) in visitors.iter_mut().enumerate() {
            for node in [0, 1] {
                assert!(visitor.is_in(node).await, "visitor {number} at node {node}: {state}");
            }
        }
    }
    let new = fleet.key("primary");
    assert_ne!(new, old);
    for node in [0, 1] {
        assert!(fleet.has(node, &new, "primary").await && fleet.has(node, &old, "retired").await);
        let series = "cloakroom_tickets_rejected_total{reason=\"unknown_key\"}";
        assert_eq!(fleet.metric(node, series).await, Some(0), "no ticket was turned away");
    }
}

/// The metrics that tell an operator when the next step is safe.
#[tokio::test]
async fn nodes_tell_which_keys_they_have_and_which_are_still_needed() {
    let fleet = Fleet::start().await;
    let old = fleet.key("primary");
    let mut visitor = fleet.visitor(0).await;
    fleet.keys("rotate", &[]);
    let new = fleet.key("accept");
    fleet.reload(0);
    assert!(fleet.has(0, &new, "accept").await && fleet.has(0, &old, "primary").await);
    assert!(!fleet.has(1, &new, "accept").await, "it was not told");
    fleet.keys("promote", &[&new]);
    fleet.reload(0);
    assert!(fleet.has(0, &new, "primary").await && fleet.has(0, &old, "accept").await);
    assert!(!fleet.has(0, &new, "accept").await, "one status for each key");

    let opened = async |kind: &str| {
        let series = format!("cloakroom_keyring_opened_total{{key=\"{old}\",kind=\"{kind}\"}}");
        fleet.metric(0, &series).await.unwrap_or_default()
    };
    let before = (opened("ticket").await, opened("record").await);
    assert!(visitor.is_in(0).await);
    assert_eq!(sealed_by(&visitor), old, "its time has not come");
    let needed = (opened("ticket").await, opened("record").await);
    assert_eq!(needed, (before.0 + 1, before.1 + 1), "the old key is needed");
    fleet.clock.advance(Duration::from_secs(900));
    assert!(visitor.is_in(0).await);
    assert_eq!(sealed_by(&visitor), new, "renewed");
    let renewed = (opened("ticket").await, opened("record").await);
    assert!(visitor.is_in(0).await && visitor.is_in(0).await);
    assert_eq!((opened("ticket").await, opened("record").await), renewed, "needed no more");
}

/// PROTOCOL 4, 5: who keeps a ticket of a retired key has no session, and harms nobody.
#[tokio::test]
async fn a_retired_keys_ticket_is_no_session() {
    let fleet = Fleet::start().await;
    let old = fleet.key("primary");
    let mut late = fleet.visitor(0).await;
    fleet.keys("rotate", &[]);
    fleet.keys("promote", &[&fleet.key("accept")]);
    fleet.keys("retire", &[&old]);
    fleet.reload(0);
    fleet.reload(1);
    for node in [0, 1] {
        let answer = late.browser.node(node).get("/").await.expect(200);
        assert_eq!((answer.text(), answer.set_cookies()), (String::new(), Vec::new()));
        let series = "cloakroom_tickets_rejected_total{reason=\"unknown_key\"}";
        assert_eq!(fleet.metric(node, series).await, Some(1));
    }
    let mut fresh = fleet.visitor(1).await;
    assert!(fresh.is_in(0).await);
}

/// PROTOCOL 4: a node that was not told reads its ring when it meets a key that it does not know.
#[tokio::test]
async fn an_unknown_key_makes_a_node_read_its_ring() {
    let fleet = Fleet::start().await;
    fleet.keys("rotate", &[]);
    fleet.keys("promote", &[&fleet.key("accept")]);
    fleet.reload(0);
    fleet.hand_out(1);
    let mut visitor = fleet.visitor(0).await;
    assert_eq!(sealed_by(&visitor), fleet.key("primary"));
    assert!(visitor.is_in(1).await);
    assert!(fleet.has(1, &fleet.key("primary"), "primary").await);
}

/// PROTOCOL 4: anybody can make unknown keys up; that reads the file no more than once a second.
#[tokio::test]
async fn a_flood_of_unknown_keys_hardly_reads_the_ring() {
    use base64::Engine as _;
    let fleet = Fleet::start().await;
    let rubbish = |key: u8| {
        let mut ticket = [7; 95];
        ticket[..5].copy_from_slice(&[1, 0xff, 0xff, 0xff, key]);
        let value = base64::prelude::BASE64_URL_SAFE_NO_PAD.encode(ticket);
        browser(&fleet.nodes).with_field("Cookie", &format!("{TICKET}={value}"))
    };
    let begun = Instant::now();
    for key in 0..200 {
        rubbish(key).get("/").await.expect(200);
    }
    let seconds = begun.elapsed().as_secs();
    let series = "cloakroom_tickets_rejected_total{reason=\"unknown_key\"}";
    assert_eq!(fleet.metric(0, series).await, Some(200));
    let reads = fleet.metric(0, "cloakroom_keyring_reads_total").await.expect("counted");
    assert!((2..=3 + seconds).contains(&reads), "{reads} in {seconds} s, the first included");
}

/// PROTOCOL 3: every session ends with the index key, and whoever asks for that is told first.
#[tokio::test]
async fn replacing_the_index_key_ends_every_session() {
    let fleet = Fleet::start().await;
    let mut visitor = fleet.visitor(0).await;
    let ring = fleet.ring.display().to_string();
    let refused = Binary::run(&["keys", "replace-index", &ring]);
    assert_eq!(refused.status.code(), Some(1));
    let said = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert!(said.contains("ends every session") && said.contains("--yes"), "{said}");
    fleet.reload(0);
    assert!(visitor.is_in(0).await, "nothing was changed");
    fleet.keys("replace-index", &["--yes"]);
    fleet.reload(0);
    assert!(!visitor.is_in(0).await);
}
