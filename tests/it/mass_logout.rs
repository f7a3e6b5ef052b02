//! The guard against mass logouts (PROTOCOL.md 29): an application that loses its own store logs
//! nobody out, and a visitor who logs out by a link is logged out all the same.

use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;
use tokio::sync::watch;
use tokio::task::{JoinHandle, block_in_place};

use crate::support::apps::App;
use crate::support::browser::Browser;
use crate::support::http::response;
use crate::support::in_process::TestClock;
use crate::support::nginx::Nginx;
use crate::support::origin::{Request, Responder};
use crate::support::proxy::Proxy;
use crate::support::redis::Redis;
use crate::support::shop::{HOST, Shop, TICKET, browser, whoami};
use crate::support::within;

const ENDED: &str = "cloakroom_sessions_ended_total{cause=\"app_deleted\"}";
const RESTORED: &str = "cloakroom_session_events_total{event=\"restored\"}";
const PARKED: &str = "cloakroom_session_events_total{event=\"parked\"}";
const SURGE: &str = "cloakroom_mass_logout{policy=\"shop\"}";
/// From parking to its end, and a little.
const OVER: Duration = Duration::from_millis(10_100);

const HEALTHY: u8 = 0;
/// It finds no session, and deletes the cookie: Django.
const DELETES: u8 = 1;
/// It finds no session, and begins another: Rails.
const REPLACES: u8 = 2;

/// An application whose session cookie names the user, and whose store can be taken away.
struct Application {
    responder: Responder,
    mood: Arc<AtomicU8>,
}

impl Application {
    async fn start() -> Self {
        let mood = Arc::new(AtomicU8::new(HEALTHY));
        let mine = mood.clone();
        let responder =
            Responder::start(move |asked| answer(asked, mine.load(Ordering::SeqCst))).await;
        Self { responder, mood }
    }

    fn set(&self, mood: u8) {
        self.mood.store(mood, Ordering::SeqCst);
    }

    fn shop(&self) -> Shop {
        Shop::at(self.responder.address)
            .top("admin: { address: 'unix:{directory}/admin.sock' }")
            .route("{ path: /account/, upstream: shop, session: shop, require: login }")
    }
}

fn answer(request: &Request, mood: u8) -> Vec<u8> {
    let cookie = request.field("cookie").unwrap_or_default();
    let sid = cookie.strip_prefix("sid=");
    let form = String::from_utf8_lossy(&request.body.content).into_owned();
    let set = |value: &str| format!("sid={value}; Path=/; HttpOnly");
    let gone = || Some("sid=; Path=/; Max-Age=0".to_owned());
    let (status, cookie) = match (&*request.method, &*request.target) {
        ("POST", "/login") => {
            let user = form.split('&').find_map(|field| field.strip_prefix("username="));
            ("302 Found", Some(set(user.unwrap_or_default())))
        }
        ("GET", "/begin") => ("200 OK", Some(set("nobody"))),
        ("GET", "/logout") => ("200 OK", gone()),
        _ if mood == DELETES => ("200 OK", sid.and_then(|_| gone())),
        _ if mood == REPLACES => ("200 OK", Some(set("another"))),
        _ => ("200 OK", None),
    };
    let user = sid.filter(|_| mood == HEALTHY);
    let json = serde_json::json!({ "user": user }).to_string();
    let mut fields = vec![("location", "/account/")];
    fields.extend(cookie.as_deref().map(|cookie| ("set-cookie", cookie)));
    response(status, &fields[usize::from(status == "200 OK")..], json.as_bytes())
}

/// Browsers of users who logged in, with their names.
async fn users(names: &[&str], nodes: &[Proxy]) -> Vec<(String, Browser)> {
    let mut users = Vec::new();
    for name in names {
        let mut browser = browser(nodes);
        let form = [("username", *name), ("password", "secret")];
        browser.post_form("/login", &form).await.expect(302);
        assert_eq!(whoami(&mut browser).await.as_deref(), Some(*name));
        users.push(((*name).to_owned(), browser));
    }
    users
}

const FIVE: &[&str] = &["alice", "bob", "carol", "dave", "eve"];

/// Everybody asks once, whatever the answer.
async fn all_ask(users: &mut [(String, Browser)]) {
    for (_, browser) in users {
        browser.get("/whoami").await.expect(200);
    }
}

/// How many users still are who they were.
async fn left(users: &mut [(String, Browser)]) -> usize {
    let mut left = 0;
    for (name, browser) in users {
        match whoami(browser).await {
            Some(user) if user == *name => left += 1,
            Some(other) => panic!("{name} became {other}"),
            None => {}
        }
    }
    left
}

async fn value(node: &Proxy, series: &str) -> u64 {
    let asked = async {
        let socket = node.directory().join("admin.sock");
        let mut stream = UnixStream::connect(socket).await.expect("somebody listens");
        let ask = b"GET /metrics HTTP/1.1\r\nHost: admin\r\nConnection: close\r\n\r\n";
        stream.write_all(ask).await.expect("taken");
        let mut text = String::new();
        stream.read_to_string(&mut text).await.expect("an answer");
        text
    };
    let text = within("the admin listener", asked).await;
    text.lines()
        .find_map(|line| line.strip_prefix(series)?.strip_prefix(' ')?.parse().ok())
        .unwrap_or_else(|| panic!("{series} is missing from\n{text}"))
}

/// Waits until a series has this value.
async fn until(node: &Proxy, series: &str, expected: u64) {
    within(&format!("{series} to be {expected}"), async {
        while value(node, series).await != expected {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    })
    .await;
}

/// A logout by a link that no rule names is one at once, and for good after ten seconds.
#[tokio::test]
async fn a_logout_by_a_link_needs_no_rule() {
    let (app, clock) = (Application::start().await, TestClock::default());
    let node = [app.shop().policy("identity: [authenticated]").start_at(&clock)];
    let (_, mut alice) = users(&["alice"], &node).await.remove(0);
    alice.get("/account/").await.expect(200);
    let logged_in = || app.responder.last().field("x-session-authenticated").is_some();
    assert!(logged_in());
    let mut thief = alice.clone();

    alice.get("/logout").await.expect(200);
    assert_eq!(whoami(&mut thief).await, None, "it is one at once");
    alice.get("/account/").await.expect(401);
    assert!(!logged_in(), "nobody is");
    clock.advance(Duration::from_secs(9));
    tokio::time::sleep(Duration::from_millis(600)).await;
    assert_eq!(value(&node[0], ENDED).await, 0, "it may still come back");
    clock.advance(OVER - Duration::from_secs(9));
    until(&node[0], ENDED, 1).await;
    assert_eq!(whoami(&mut thief).await, None);
    assert_eq!((value(&node[0], PARKED).await, value(&node[0], RESTORED).await), (1, 0));
}

/// Many users lose their session at once: it is the application that fails, and all come back.
#[tokio::test]
async fn a_surge_of_deletions_logs_nobody_out() {
    let (app, clock) = (Application::start().await, TestClock::default());
    let node = [app.shop().start_at(&clock)];
    let mut users = users(FIVE, &node).await;
    app.set(DELETES);
    all_ask(&mut users).await;
    assert_eq!(value(&node[0], SURGE).await, 1);
    until(&node[0], RESTORED, 2).await;
    all_ask(&mut users).await;
    assert_eq!(value(&node[0], PARKED).await, 2, "the third makes it a surge");
    for (_, browser) in &users {
        assert!(browser.cookie(TICKET).is_some(), "tickets stay");
    }
    app.set(HEALTHY);
    assert_eq!(left(&mut users).await, 5);
    clock.advance(Duration::from_secs(25));
    until(&node[0], SURGE, 0).await;
    assert_eq!((left(&mut users).await, value(&node[0], ENDED).await), (5, 0));
}

/// The same without the guard: the test above can fail.
#[tokio::test]
async fn without_the_guard_a_surge_logs_everybody_out() {
    let app = Application::start().await;
    let node = [app.shop().policy("on_app_delete: end").start()];
    let mut users = users(FIVE, &node).await;
    app.set(DELETES);
    all_ask(&mut users).await;
    app.set(HEALTHY);
    assert_eq!((left(&mut users).await, value(&node[0], ENDED).await), (0, 5));
}

/// `keep` ignores every such deletion; a logout rule still ends the session.
#[tokio::test]
async fn a_policy_may_keep_sessions() {
    let app = Application::start().await;
    let node = [app.shop().policy("on_app_delete: keep").start()];
    let mut users = users(&["alice"], &node).await;
    app.set(DELETES);
    all_ask(&mut users).await;
    app.set(HEALTHY);
    assert_eq!(left(&mut users).await, 1);
    users[0].1.post_form("/logout", &[]).await.expect(200);
    assert_eq!(left(&mut users).await, 0);
}

/// Who has no account cannot stage a surge, and so undo somebody's logout.
#[tokio::test]
async fn visitors_without_an_account_make_no_surge() {
    let (app, clock) = (Application::start().await, TestClock::default());
    let node = [app.shop().start_at(&clock)];
    let mut users = users(&["alice"], &node).await;
    users[0].1.get("/logout").await.expect(200);
    for _ in 0..10 {
        let mut attacker = browser(&node);
        attacker.get("/begin").await.expect(200);
        assert_eq!(whoami(&mut attacker).await.as_deref(), Some("nobody"));
        attacker.get("/logout").await.expect(200);
    }
    assert_eq!(value(&node[0], SURGE).await, 0);
    clock.advance(OVER);
    until(&node[0], ENDED, 11).await;
    assert_eq!(left(&mut users).await, 0);
}

/// Where cookies are identifiers, another one is a session lost: Rails.
#[tokio::test]
async fn a_surge_of_replacements_logs_nobody_out() {
    for (hold, expected) in [("identifier", 5), ("content", 0)] {
        let app = Application::start().await;
        let node = [app.shop().policy(&format!("app_cookies_hold: {hold}")).start()];
        let mut users = users(FIVE, &node).await;
        app.set(REPLACES);
        all_ask(&mut users).await;
        if hold == "identifier" {
            until(&node[0], RESTORED, 2).await;
        }
        app.set(HEALTHY);
        let mut left = 0;
        for (name, browser) in &mut users {
            left += usize::from(whoami(browser).await.as_ref() == Some(name));
        }
        assert_eq!(left, expected, "{hold}");
    }
}

/// The node that parked a session is gone: another one ends it.
#[tokio::test]
async fn what_a_dead_node_parked_ends_on_another() {
    let (app, redis, clock) = (Application::start().await, Redis::start(), TestClock::default());
    let keys = tempfile::tempdir().expect("a temporary directory can be made");
    let mut nodes = app.shop().store(&redis).start_nodes_at(&clock, 2, &keys);
    let (_, mut alice) = users(&["alice"], &nodes).await.remove(0);
    alice.node(0).get("/logout").await.expect(200);
    nodes.remove(0).stop();
    let [other] = &nodes[..] else { panic!("one is left") };

    clock.advance(Duration::from_secs(14));
    assert_eq!(whoami(alice.node(1)).await, None, "what is parked is lent nowhere");
    assert_eq!(value(other, ENDED).await, 0);
    clock.advance(Duration::from_millis(1100));
    assert_eq!(whoami(alice.node(1)).await, None);
    assert_eq!(value(other, ENDED).await, 1);
}

/// The store does not answer when a parked session is due: it is settled when it is back.
#[tokio::test]
async fn an_outage_at_the_sweep_only_delays_it() {
    let (app, clock) = (Application::start().await, TestClock::default());
    let mut redis = Redis::durable();
    let node = [app.shop().store(&redis).start_at(&clock)];
    let mut users = users(&["alice"], &node).await;
    users[0].1.get("/logout").await.expect(200);
    redis.stop();
    clock.advance(OVER);
    let unanswered = "cloakroom_store_calls_total{operation=\"load\",outcome=\"unavailable\"}";
    within("a look-up that fails", async {
        while value(&node[0], unanswered).await == 0 {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    })
    .await;
    assert_eq!(value(&node[0], ENDED).await, 0);
    redis.start_again();
    until(&node[0], ENDED, 1).await;
    assert_eq!(left(&mut users).await, 0);
}

/// Users of a real application who keep asking who they are.
struct Traffic {
    stop: watch::Sender<bool>,
    tasks: Vec<JoinHandle<(String, Browser, usize)>>,
}

impl Traffic {
    fn start(users: Vec<(String, Browser)>) -> Self {
        let (stop, stopped) = watch::channel(false);
        let ask = |(name, mut browser): (String, Browser)| {
            let stopped = stopped.clone();
            tokio::spawn(async move {
                let mut unknown = 0;
                while !*stopped.borrow() {
                    unknown += usize::from(whoami(&mut browser).await.is_none());
                    tokio::time::sleep(Duration::from_millis(50)).await;
                }
                (name, browser, unknown)
            })
        };
        Self { tasks: users.into_iter().map(ask).collect(), stop }
    }

    /// The users again, none of whom went through it without being taken for nobody.
    async fn stop(self) -> Vec<(String, Browser)> {
        self.stop.send_replace(true);
        let mut users = Vec::new();
        for task in self.tasks {
            let (name, browser, unknown) = within("the last answer", task).await.expect("no panic");
            assert!(unknown > 0, "the application did not notice its store's outage");
            users.push((name, browser));
        }
        users
    }
}

/// Django with its sessions in a Redis of its own, which ends under traffic and comes back with all
/// its data. Says how many of five users are still logged in.
async fn django(front: impl FnOnce(&App) -> (Vec<Proxy>, Option<Nginx>)) -> usize {
    let mut redis = block_in_place(Redis::durable);
    let app = block_in_place(|| App::django(&redis));
    let (nodes, nginx) = block_in_place(|| front(&app));
    let visitor = || match &nginx {
        Some(nginx) => Browser::http(HOST, &[nginx.address]),
        None => browser(&nodes),
    };
    let mut users = Vec::new();
    for name in FIVE {
        let mut browser = visitor();
        let form = [("username", *name), ("password", "secret")];
        browser.post_form("/login", &form).await.expect(302);
        users.push(((*name).to_owned(), browser));
    }
    assert_eq!(left(&mut users).await, FIVE.len());
    let traffic = Traffic::start(users);
    block_in_place(|| redis.stop());
    tokio::time::sleep(Duration::from_secs(2)).await;
    block_in_place(|| redis.start_again());
    let mut users = traffic.stop().await;
    left(&mut users).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn django_loses_its_store_and_nobody_is_logged_out() {
    let guarded = django(|app| (vec![Shop::at(app.address).start()], None)).await;
    assert_eq!(guarded, FIVE.len());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_the_guard_django_logs_everybody_out() {
    let end = |app: &App| vec![Shop::at(app.address).policy("on_app_delete: end").start()];
    assert_eq!(django(|app| (end(app), None)).await, 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn behind_nginx_django_logs_everybody_out() {
    assert_eq!(django(|app| (Vec::new(), Some(Nginx::start(app.address)))).await, 0);
}
