//! Two nodes over a store that tells of changes only when it is asked (PROTOCOL.md 15, 33): what one
//! of them wrote, the next request finds at the other, a moment later or not.
//!
//! The application keeps its session in its cookie and sets it with every answer, as most do whose
//! sessions roll: a page that is made of an old session takes back what was written since.

use std::time::Duration;

use crate::support::browser::{Ask, Browser};
use crate::support::client::Response;
use crate::support::http::message;
use crate::support::in_process::TestClock;
use crate::support::origin::{Request, Responder};
use crate::support::proxy::Proxy;
use crate::support::shop::{ALICE, Shop, TICKET, browser};

const ROUNDS: usize = 30;
const LOGINS: usize = 10;
const RENEWALS: usize = 5;
/// What an operator may ask for in spite of the warning.
const KEPT: &str = "cache: { lease: 1s }";

/// Shows the session as it came. `/add` adds an item, `/look` sets nothing.
fn cart(request: &Request) -> Vec<u8> {
    let cookie = request.field("cookie").unwrap_or_default();
    let found = cookie.strip_prefix("EGG_SESS=");
    let items = found.unwrap_or("0");
    let (start, items) = match request.target.as_str() {
        "/add" => ("HTTP/1.1 200 OK", format!("{items}i")),
        "/login" => ("HTTP/1.1 302 Found\r\nLocation: /account/", format!("{items}u")),
        _ => ("HTTP/1.1 200 OK", items.to_owned()),
    };
    let set = format!("EGG_SESS={items}; Path=/");
    let set = [("Set-Cookie", set.as_str())];
    let set = if request.target == "/look" { &[] } else { &set[..] };
    message(start, set, found.unwrap_or("nobody").as_bytes())
}

struct Scene {
    nodes: Vec<Proxy>,
    _origin: Responder,
    _shared: tempfile::TempDir,
}

impl Scene {
    /// Two nodes over one file.
    async fn of(change: impl FnOnce(Shop) -> Shop, clock: Option<&TestClock>) -> Self {
        let origin = Responder::start(cart).await;
        let shared = tempfile::tempdir().expect("a directory");
        let shop = change(Shop::at(origin.address).in_file(shared.path()));
        let nodes = match clock {
            Some(clock) => shop.start_nodes_at(clock, 2, &shared),
            None => shop.start_nodes(2, &shared),
        };
        Self { nodes, _origin: origin, _shared: shared }
    }

    /// A browser whose session both nodes have just read.
    async fn visitor(&self) -> Browser {
        let mut visitor = browser(&self.nodes);
        visitor.get("/").await.expect(200);
        for node in [0, 1, 1] {
            visitor.node(node).get("/look").await.expect(200);
        }
        visitor
    }
}

async fn shown(visitor: &mut Browser, node: usize) -> String {
    text(&visitor.node(node).get("/").await.expect(200))
}

fn text(response: &Response) -> String {
    String::from_utf8_lossy(&response.body.content).into_owned()
}

/// Adds at one node, then looks at the other: what was lost.
async fn lost(visitor: &mut Browser) -> usize {
    for _ in 0..ROUNDS {
        visitor.node(1).get("/look").await.expect(200);
        visitor.node(0).send(Ask::new("POST", "/add").body(b"x")).await.expect(200);
        shown(visitor, 1).await;
    }
    ROUNDS - shown(visitor, 1).await.matches('i').count()
}

#[tokio::test]
async fn nothing_is_kept_by_default_so_that_nothing_is_lost() {
    let scene = Scene::of(|shop| shop, None).await;
    assert_eq!(lost(&mut scene.visitor().await).await, 0);
}

#[tokio::test]
async fn after_a_turn_the_store_is_read_whatever_is_kept() {
    let turns = |shop: Shop| shop.top(KEPT).policy("serialize: { requests: all, fleet: true }");
    let scene = Scene::of(turns, None).await;
    assert_eq!(lost(&mut scene.visitor().await).await, 0);
}

/// The renewal that came with the addition is the only thing that says so.
#[tokio::test]
async fn a_ticket_that_is_newer_than_what_is_kept_has_the_store_read() {
    let clock = TestClock::default();
    let scene = Scene::of(|shop| shop.top(KEPT), Some(&clock)).await;
    let mut visitor = scene.visitor().await;
    for round in 1..=RENEWALS {
        let before = visitor.cookie(TICKET).expect("a session").value.clone();
        clock.advance(Duration::from_secs(16 * 60));
        // The other node reads it twice, and keeps it: its answers renew the ticket, and get lost.
        for _ in 0..2 {
            visitor.clone().node(1).dispatch(&Ask::get("/look")).await.expect(200);
        }
        clock.advance(Duration::from_secs(16 * 60));
        visitor.node(0).send(Ask::new("POST", "/add").body(b"x")).await.expect(200);
        assert_ne!(visitor.cookie(TICKET).expect("a session").value, before, "renewed");
        assert_eq!(shown(&mut visitor, 1).await.matches('i').count(), round);
    }
}

#[tokio::test]
async fn a_ticket_from_before_a_login_is_nobodys_at_once() {
    let scene = Scene::of(|shop| shop, None).await;
    for round in 0..LOGINS {
        let mut victim = scene.visitor().await;
        let mut attacker = victim.clone();
        victim.node(0).post_form("/login", ALICE).await.expect(302);
        assert_eq!(shown(&mut attacker, 1).await, "nobody", "login {round}");
        assert_eq!(shown(&mut victim, 1).await, "0u");
    }
}
