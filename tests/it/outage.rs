//! The store goes away and comes back: who asks without a session notices nothing, nobody loses a
//! session or a cookie, and no answer takes long (PROTOCOL.md 8).

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use tokio::task::{JoinHandle, block_in_place};

use crate::support::apps::App;
use crate::support::browser::{Ask, Browser};
use crate::support::client::Response;
use crate::support::proxy::{Binary, Proxy};
use crate::support::redis::Redis;
use crate::support::shop::{ALICE, HOST, Shop, TICKET, browser, whoami};
use crate::support::{loopback, within};

const VISITORS: usize = 20;
/// Every answer during an outage comes within this.
const PROMPT: Duration = Duration::from_secs(1);
/// How long a node may take until it has noticed that the store is gone, or back.
const NOTICE: Duration = Duration::from_secs(2);

/// A shop whose application needs no Redis, with one route that has no session policy.
fn shop(app: &App) -> Shop {
    Shop::at(app.address).route("{ path: /healthz, upstream: shop }")
}

/// Browsers of users who logged in, each under a name of its own.
async fn users(nodes: &[SocketAddr]) -> Vec<(String, Browser)> {
    let mut users = Vec::new();
    for number in 0..VISITORS {
        let (user, mut browser) = (format!("user-{number}"), Browser::https(HOST, nodes));
        let form = [("username", user.as_str()), ("password", "secret")];
        browser.node(number % nodes.len()).post_form("/login", &form).await.expect(302);
        users.push((user, browser));
    }
    users
}

/// Asserts that everybody still is who they were, on every node.
async fn all_are_in(users: &mut [(String, Browser)], nodes: usize) {
    for (user, browser) in users {
        for node in 0..nodes {
            assert_eq!(whoami(browser.node(node)).await.as_deref(), Some(&**user));
        }
    }
}

/// What an answer during the traffic was.
struct Seen {
    begun: Instant,
    took: Duration,
    is_public: bool,
    /// Whom the application took the visitor for, where it answered.
    user: Option<String>,
    expected: String,
    response: Response,
}

/// Requests of all users, on session routes and public ones, until it is stopped.
struct Traffic {
    seen: Arc<Mutex<Vec<Seen>>>,
    tasks: Vec<JoinHandle<()>>,
}

impl Traffic {
    fn start(users: &[(String, Browser)], nodes: usize) -> Self {
        let seen = Arc::new(Mutex::new(Vec::new()));
        let tasks = users.iter().enumerate().map(|(number, (user, browser))| {
            let (seen, expected, mut browser) = (seen.clone(), user.clone(), browser.clone());
            tokio::spawn(async move {
                for round in number.. {
                    let is_public = round % 3 == 0;
                    let ask = Ask::get(if is_public { "/healthz" } else { "/whoami" });
                    let begun = Instant::now();
                    let response = browser.node(round % nodes).dispatch(&ask).await;
                    let is_answered = response.status == 200 && !is_public;
                    let user =
                        is_answered.then(|| response.json()["user"].as_str().map(str::to_owned));
                    seen.lock().expect("no holder panics").push(Seen {
                        begun,
                        took: begun.elapsed(),
                        is_public,
                        user: user.flatten(),
                        expected: expected.clone(),
                        response,
                    });
                    tokio::time::sleep(Duration::from_millis(50)).await;
                }
            })
        });
        Self { tasks: tasks.collect(), seen }
    }

    /// Ends it. A task that panicked makes the test fail.
    async fn stop(self) -> Vec<Seen> {
        for task in self.tasks {
            task.abort();
            if let Err(end) = task.await {
                assert!(end.is_cancelled(), "a request failed: {end}");
            }
        }
        std::mem::take(&mut *self.seen.lock().expect("no holder panics"))
    }
}

/// Asserts an answer of the proxy's own while the store is down.
#[track_caller]
fn refused(response: Response, why: &str) {
    let response = response.expect(503);
    assert!(response.field("retry-after").is_some(), "{why}: it is worth trying again");
    assert_eq!(response.set_cookies(), Vec::<String>::new(), "{why}: no cookie is touched");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stop_of_redis_costs_no_session() {
    survives(Redis::stop).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_crash_of_redis_costs_no_session() {
    survives(Redis::kill9).await;
}

async fn survives(end: fn(&mut Redis)) {
    let (app, mut redis) = (App::egg(), Redis::durable());
    let keys = tempfile::tempdir().expect("a directory");
    let nodes = shop(&app).store(&redis).start_nodes(2, &keys);
    let addresses: Vec<SocketAddr> = nodes.iter().map(Proxy::address).collect();
    let mut users = users(&addresses).await;
    let traffic = Traffic::start(&users, nodes.len());
    tokio::time::sleep(Duration::from_millis(500)).await;

    let ending = Instant::now();
    block_in_place(|| end(&mut redis));
    // What was answered a moment ago may be remembered for the lease, 1 s.
    let down = Instant::now() + Duration::from_secs(1);
    tokio::time::sleep_until((down + NOTICE).into()).await;
    let starting = Instant::now();
    block_in_place(|| redis.start_again());
    let up = Instant::now() + NOTICE;
    tokio::time::sleep_until((up + Duration::from_secs(1)).into()).await;

    let seen = traffic.stop().await;
    let (mut served, mut turned_away, mut served_again) = (0, 0, 0);
    for Seen { begun, took, is_public, user, expected, response } in seen {
        let at = begun.duration_since(ending).as_millis();
        assert_eq!(response.set_cookies(), Vec::<String>::new(), "{at} ms after its end");
        if is_public {
            response.expect(200);
            continue;
        }
        if response.status == 200 {
            assert_eq!(user.as_deref(), Some(&*expected), "served, but as somebody else");
        }
        if begun + took < ending {
            response.expect(200);
            served += 1;
        } else if begun > down && begun + took < starting {
            refused(response, "the store is down");
            assert!(took < PROMPT, "{took:?}");
            turned_away += 1;
        } else if begun > up {
            response.expect(200);
            served_again += 1;
        } else if response.status != 200 {
            refused(response, "the store has just gone, or has just come back");
        }
    }
    for (number, what) in [(served, "before"), (turned_away, "during"), (served_again, "after")] {
        assert!(number > VISITORS, "there was traffic {what} the outage: {number} requests");
    }
    all_are_in(&mut users, nodes.len()).await;
}

#[tokio::test]
async fn while_redis_is_away_every_request_has_its_answer() {
    let (app, mut redis) = (App::egg(), Redis::durable());
    let node = [shop(&app).store(&redis).start()];
    let mut alice = browser(&node);
    alice.post_form("/login", ALICE).await.expect(302);
    let ticket = alice.cookie(TICKET).expect("a ticket").value.clone();
    redis.stop();
    answers(&node, &mut alice).await;
    assert_eq!(alice.cookie(TICKET).expect("still a ticket").value, ticket);
    redis.start_again();
    recovers(&mut alice).await;
    // What was refused has not happened, and happens now.
    alice.post_form("/logout", &[]).await.expect(302);
    assert!(alice.cookie(TICKET).is_none(), "the ticket is gone with the session");
}

#[tokio::test]
async fn while_redis_hangs_every_request_has_its_answer() {
    let (app, redis) = (App::egg(), Redis::durable());
    let node = [shop(&app).store(&redis).start()];
    let mut alice = browser(&node);
    alice.post_form("/login", ALICE).await.expect(302);
    let ticket = alice.cookie(TICKET).expect("a ticket").value.clone();
    redis.freeze();
    answers(&node, &mut alice).await;
    assert_eq!(alice.cookie(TICKET).expect("still a ticket").value, ticket);
    redis.thaw();
    recovers(&mut alice).await;
}

/// Each kind of request while the store is down, first of all one with a ticket.
async fn answers(node: &[Proxy], alice: &mut Browser) {
    let login = Ask::form("/login", ALICE);
    let add = Ask::form("/cart/add", &[("item", "a")]);
    for (ask, why) in [
        (Ask::get("/whoami"), "a read with a ticket"),
        (add.clone(), "a write with a ticket"),
        (login.clone(), "a login with a ticket"),
        (Ask::new("POST", "/logout"), "a logout"),
    ] {
        let begun = Instant::now();
        refused(alice.send(ask).await, why);
        assert!(begun.elapsed() < PROMPT, "{why} took {:?}", begun.elapsed());
    }
    for (ask, is_served, why) in [
        (Ask::get("/healthz"), true, "a route without sessions"),
        (Ask::get("/whoami"), true, "a read without a ticket"),
        (Ask::form("/login", &[("username", "")]), true, "a login that fails"),
        (Ask::get("/?touch=1"), false, "a read that begins a session"),
        (add, false, "a write that begins a session"),
        (login, false, "a login that begins a session"),
    ] {
        let begun = Instant::now();
        let response = browser(node).send(ask).await;
        assert!(begun.elapsed() < PROMPT, "{why} took {:?}", begun.elapsed());
        if is_served {
            let cookies = response.expect(200).set_cookies();
            assert_eq!(cookies, Vec::<String>::new(), "{why}");
        } else {
            refused(response, why);
        }
    }
    let mut forged = browser(node);
    let line = format!("{TICKET}=AAAA; Path=/; Secure; HttpOnly");
    forged.plant(HOST, true, &line).expect("it is a cookie");
    assert_eq!(whoami(&mut forged).await, None, "a ticket that does not open costs no look-up");
}

/// Asserts that a session is served again within [`NOTICE`], without help.
async fn recovers(alice: &mut Browser) {
    let back = Instant::now();
    loop {
        let begun = Instant::now();
        let response = alice.get("/whoami").await;
        if response.status == 200 {
            assert_eq!(response.json()["user"], "alice", "she is who she was");
            return;
        }
        assert!(begun < back + NOTICE, "a session is served again within {NOTICE:?}");
        refused(response, "not back yet");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_restarted_proxy_keeps_the_sessions_of_its_state_directory() {
    let app = App::egg();
    let state = tempfile::tempdir().expect("a directory");
    let yaml = shop(&app)
        .yaml()
        .replace("{directory}", &state.path().display().to_string())
        .replace("127.0.0.1:0", "127.0.0.1:{port}");
    let start = || block_in_place(|| Binary::serve(&yaml, &[]));
    let mut node = start();
    let mut users = users(&[loopback(node.port)]).await;
    for signal in ["QUIT", "TERM", "KILL"] {
        node.process.signal(signal);
        block_in_place(|| node.process.wait_exit());
        node = start();
        for (_, browser) in &mut users {
            let jar = std::mem::take(&mut browser.jar);
            *browser = Browser::https(HOST, &[loopback(node.port)]);
            browser.jar = jar;
        }
        all_are_in(&mut users, 1).await;
    }
    let (_, first) = &mut users[0];
    first.post_form("/logout", &[]).await.expect(302);
    assert_eq!(whoami(first).await, None);
}

/// docs/operations/redis.md, "The way to the store".
#[tokio::test(flavor = "multi_thread")]
async fn a_password_of_the_store_that_changes_costs_no_session_and_no_restart() {
    let (app, redis) = (App::egg(), Redis::start());
    let set = |password: &str| {
        let password = format!(">{password}");
        let rules = ["ACL", "SETUSER", "cloakroom", "reset", "on", &password, "~*", "+@all"];
        assert_eq!(redis.cli(&rules), "OK");
    };
    set("first");
    let file = redis.directory().join("password");
    std::fs::write(&file, "first\n").expect("written");
    let (url, file) = (redis.url(), file.as_path());
    let yaml = shop(&app).store(&redis).yaml().replace(
        &format!("store: {url}"),
        &format!(
            "store: {{ url: '{url}', username: cloakroom, password_file: '{}' }}",
            file.display()
        ),
    );
    let node = Proxy::start(&yaml);
    let mut alice = browser(std::slice::from_ref(&node));
    alice.post_form("/login", ALICE).await.expect(302);

    set("second");
    node.reload();
    assert_eq!(whoami(&mut alice).await.as_deref(), Some("alice"), "what is connected stays so");
    redis.cli(&["CLIENT", "KILL", "USER", "cloakroom"]);
    until_answered(&mut alice, 503).await;
    std::fs::write(file, "second\n").expect("written");
    until_answered(&mut alice, 200).await;
    assert_eq!(whoami(&mut alice).await.as_deref(), Some("alice"));
}

/// Until the application's page is answered so.
async fn until_answered(browser: &mut Browser, status: u16) {
    let answered = async {
        while browser.get("/whoami").await.status != status {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    within("the store's edge", answered).await;
}
