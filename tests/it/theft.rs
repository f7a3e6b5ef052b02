//! Theft: what a copy of somebody's cookies is worth, at two nodes that share a store.

use std::net::SocketAddr;
use std::time::Duration;

use http::Method;
use tempfile::TempDir;

use crate::support::apps::App;
use crate::support::browser::{Ask, Browser};
use crate::support::client::Dial;
use crate::support::h2::H2;
use crate::support::http::response;
use crate::support::in_process::TestClock;
use crate::support::jar::Context;
use crate::support::origin::{Request, Responder};
use crate::support::proxy::Proxy;
use crate::support::redis::Redis;
use crate::support::shop::{ALICE, HOST, MALLORY, Shop, TICKET, browser, whoami};
use crate::support::{soon, within};

/// Another host with the shop's own policy.
const OTHER: &str = "other.example.com";
/// A host with another policy, whose tickets have the same name.
const TWIN: &str = "twin.example.com";

const MINUTE: Duration = Duration::from_secs(60);

/// Two nodes in front of an application, with a clock that is put forward by hand.
struct Stage {
    nodes: Vec<Proxy>,
    workers: Vec<SocketAddr>,
    clock: TestClock,
    _store: Redis,
    _keys: TempDir,
}

impl Stage {
    fn over(workers: &[SocketAddr]) -> Self {
        let (store, clock) = (Redis::start(), TestClock::default());
        let keys = tempfile::tempdir().expect("a temporary directory can be made");
        let require = "session: shop, require: login, denied: redirect /login";
        let nodes = Shop::over(workers)
            .streaming()
            .store(&store)
            .balance(if workers.len() > 1 { "session" } else { "round_robin" })
            .policy("timeouts: { idle: 30m, absolute: 12h }")
            .policy("anonymous_per_minute: 10000")
            .session("back", "back")
            .session("twin", "shop")
            .route(&format!("{{ path: /account/, upstream: shop, {require} }}"))
            .route("{ path: /cart, upstream: shop, session: back }")
            .server(OTHER, "session: shop")
            .server(TWIN, "session: twin")
            .start_nodes_at(&clock, 2, &keys);
        Self { nodes, workers: workers.to_vec(), clock, _store: store, _keys: keys }
    }

    fn browser(&self) -> Browser {
        browser(&self.nodes)
    }

    fn elsewhere(&self, host: &str) -> Browser {
        Browser::https(host, &self.nodes.iter().map(Proxy::address).collect::<Vec<_>>())
    }

    async fn logged_in(&self, who: &[(&str, &str)]) -> Browser {
        let mut browser = self.browser();
        browser.post_form("/login", who).await.expect(302);
        browser
    }

    /// Somebody with these `Cookie` lines.
    fn with(&self, lines: &[String]) -> Browser {
        let mut thief = self.browser();
        slip(&mut thief, lines);
        thief
    }
}

fn slip(browser: &mut Browser, lines: &[String]) {
    browser.slip(&lines.iter().map(|line| line.clone().into_bytes()).collect::<Vec<_>>());
}

fn ticket(browser: &Browser) -> String {
    browser.cookie(TICKET).expect("a ticket").value_text()
}

/// Asserts who this is, at every node.
#[track_caller]
fn is(thief: &Browser, name: Option<&'static str>, what: &str) -> impl Future<Output = ()> {
    let (mut thief, what) = (thief.clone(), what.to_owned());
    async move {
        for node in [0, 1, 0] {
            let name = name.map(str::to_owned);
            soon(name, &format!("{what}: at node {node}"), async || whoami(thief.node(node)).await)
                .await;
        }
    }
}

async fn a_ticket_dies_with_its_logout(stage: &Stage) {
    let mut alice = stage.logged_in(ALICE).await;
    alice.post_form("/cart/add", &[("item", "a")]).await.expect(200);
    let mut thief = alice.clone();
    is(&thief, Some("alice"), "the attack is real").await;

    let bye = alice.node(1).send(Ask::new("POST", "/logout")).await.expect(302);
    assert!(bye.set_cookies()[0].starts_with("__Host-shop=;"), "{:?}", bye.set_cookies());
    is(&thief, None, "after the logout").await;
    is(&alice, None, "after the logout").await;
    thief.node(0).send(Ask::get("/account/").field("Accept", "text/html")).await.expect(302);
    thief.node(1).send(Ask::get("/account/")).await.expect(401);

    // The dead ticket neither comes back with its owner, nor harms her, nor ends her session.
    alice.post_form("/login", ALICE).await.expect(302);
    is(&thief, None, "after the next login").await;
    thief.clone().send(Ask::new("POST", "/logout")).await.expect(302);
    is(&alice, Some("alice"), "after a logout with the dead ticket").await;
    thief.post_form("/login", MALLORY).await.expect(302);
    is(&thief, Some("mallory"), "his own login").await;
    is(&alice, Some("alice"), "after a login with the dead ticket").await;

    // Whoever logs out ends the session for every copy.
    let mut second = alice.clone();
    second.send(Ask::new("POST", "/logout")).await.expect(302);
    is(&alice, None, "a copy has logged out").await;
}

async fn a_ticket_from_before_a_login_is_nobody_s(stage: &Stage) {
    let mut alice = stage.browser();
    alice.get("/?touch=1").await.expect(200);
    let thief = alice.clone();
    alice.post_form("/login", ALICE).await.expect(302);
    is(&thief, None, "from before the login").await;
    // Re-authentication is a login (PROTOCOL 24).
    let thief = alice.clone();
    is(&thief, Some("alice"), "the attack is real").await;
    alice.node(1).post_form("/login", ALICE).await.expect(302);
    is(&thief, None, "from before the re-authentication").await;
    is(&alice, Some("alice"), "her new ticket").await;
}

/// PROTOCOL 22: where the answer to a login was lost, its session ends, and the ticket from before
/// it is nobody's all the same.
async fn a_login_whose_answer_was_lost_helps_nobody(stage: &Stage) {
    for is_lost in [true, false] {
        let mut alice = stage.browser();
        alice.get("/?touch=1").await.expect(200);
        let thief = alice.clone();
        alice.post_form("/login", ALICE).await.expect(302);
        if !is_lost {
            is(&alice, Some("alice"), "her new ticket").await;
        }
        stage.clock.advance(MINUTE);
        is(&thief, None, "a minute later").await;
        is(&alice, (!is_lost).then_some("alice"), "a minute later").await;
    }
}

/// PROTOCOL 20: a worker may have logged the session in, however late its answer is.
async fn a_login_that_takes_too_long_logs_nobody_in(stage: &Stage) {
    let mut alice = stage.browser();
    alice.get("/?touch=1").await.expect(200);
    let thief = alice.clone();
    let login = Ask::form("/login", ALICE);
    let (clock, mut asking) = (stage.clock.clone(), thief.clone());
    let late = alice.dispatch_held(&login, async move {
        // The proxy has it as soon as others no longer see the session.
        while asking.get("/").await.json()["views"] != 0 {}
        clock.advance(MINUTE);
    });
    let answer = within("a late login's answer", late).await.expect(503);
    assert!(answer.set_cookies().is_empty(), "{:?}", answer.set_cookies());
    is(&thief, None, "a login of a minute").await;
    assert_eq!(thief.clone().get("/").await.json()["views"], 0, "the session has ended");
    alice.send(login).await.expect(302);
    is(&alice, Some("alice"), "she tries again").await;
    is(&thief, None, "she tries again").await;
}

async fn a_ticket_is_good_for_its_host_and_policy_alone(stage: &Stage) {
    let mut alice = stage.logged_in(ALICE).await;
    alice.post_form("/cart/add", &[("item", "a")]).await.expect(200);
    let stolen = ticket(&alice);
    let back = alice.cookie("__Host-back").expect("another policy's").value_text();
    assert_ne!(stolen, back);
    for host in [OTHER, TWIN] {
        let mut thief = stage.elsewhere(host);
        slip(&mut thief, &[format!("{TICKET}={stolen}")]);
        is(&thief, None, host).await;
    }
    is(&stage.with(&[format!("{TICKET}={back}")]), None, "another policy's ticket").await;
    let mut owner = stage.with(&[format!("__Host-back={back}")]);
    assert_eq!(owner.get("/cart").await.json()["cart"][0], "a", "the attack is real");
    let mut thief = stage.with(&[format!("__Host-back={stolen}; {TICKET}={stolen}")]);
    assert_eq!(thief.get("/cart").await.json()["cart"], serde_json::json!([]));
    let mut other = stage.elsewhere(OTHER);
    other.post_form("/login", ALICE).await.expect(302);
    let foreign = format!("{TICKET}={}", ticket(&other));
    is(&stage.with(&[foreign]), None, "a ticket of another host").await;
}

/// The application's own cookie in somebody's hands, as a worker's log may have it.
async fn the_application_s_cookie_is_useless_from_outside(stage: &Stage, outlives_logout: bool) {
    let mut alice = stage.logged_in(ALICE).await;
    let login = alice.cookie(TICKET).expect("a ticket").clone();
    assert_eq!(alice.cookies(), [&login], "nothing else came out");
    let seen = alice.get("/headers").await.expect(200).json();
    let fields = seen["headers"].as_array().expect("a list").iter();
    let cookies: Vec<&str> = fields
        .filter(|field| field[0].as_str().is_some_and(|name| name.eq_ignore_ascii_case("cookie")))
        .filter_map(|field| field[1].as_str())
        .collect();
    let [line] = cookies[..] else { panic!("one Cookie line: {cookies:?}") };
    assert!(!line.contains(TICKET), "the ticket stays here: {line}");
    let line = line.to_owned();
    assert!(knows_alice(stage, &line).await, "the attack is real");

    let refused = async |when: &str| {
        for spelling in [
            line.clone(),
            format!("a=b; {line}; c=d"),
            format!("\u{2000}{line}"),
            format!("={line}"),
            format!("$Version=1,{line}"),
        ] {
            is(&stage.with(std::slice::from_ref(&spelling)), None, when).await;
            let mut h2 = H2::connect(&Dial::to(stage.nodes[1].address()).tls(HOST)).await;
            let crumbs = [("cookie", "a=b"), ("cookie", spelling.as_str())];
            let answer = h2.get(HOST, "/whoami", &crumbs).await;
            assert_eq!((answer.status, &answer.json()["user"]), (200, &serde_json::Value::Null));
        }
        // Nor does it get into a session of his own.
        let mut thief = stage.browser();
        thief.get("/?touch=1").await.expect(200);
        slip(&mut thief, std::slice::from_ref(&line));
        is(&thief, None, when).await;
        thief.post_form("/login", MALLORY).await.expect(302);
        is(&thief, Some("mallory"), when).await;
    };
    refused("while its owner is logged in").await;
    is(&alice, Some("alice"), "its owner").await;
    alice.send(Ask::new("POST", "/logout")).await.expect(302);
    assert_eq!(knows_alice(stage, &line).await, outlives_logout, "without the proxy");
    refused("after the logout").await;
}

/// Whether any worker, asked directly, takes this `Cookie` line for Alice's.
async fn knows_alice(stage: &Stage, line: &str) -> bool {
    for worker in &stage.workers {
        let mut thief = Browser::http(HOST, &[*worker]);
        slip(&mut thief, &[line.to_owned()]);
        if whoami(&mut thief).await.as_deref() == Some("alice") {
            return true;
        }
    }
    false
}

async fn a_ticket_expires_for_every_copy(stage: &Stage) {
    let mut alice = stage.logged_in(ALICE).await;
    let mut thief = alice.clone();
    for node in [1, 0, 1] {
        stage.clock.advance(29 * MINUTE);
        assert_eq!(whoami(alice.node(node)).await.as_deref(), Some("alice"), "used in time");
    }
    stage.clock.advance(30 * MINUTE);
    is(&thief, None, "half an hour without a request").await;
    is(&alice, None, "half an hour without a request").await;
    thief.get("/account/").await.expect(401);

    let mut alice = stage.logged_in(ALICE).await;
    for round in 0..24 {
        stage.clock.advance(29 * MINUTE);
        let name = whoami(alice.node(round % 2)).await;
        assert_eq!(name.as_deref(), Some("alice"), "after {} minutes", 29 * (round + 1));
    }
    stage.clock.advance(23 * MINUTE);
    let thief = alice.clone();
    is(&thief, Some("alice"), "after 11 hours and 59 minutes").await;
    stage.clock.advance(MINUTE);
    is(&thief, None, "after twelve hours").await;
    is(&alice, None, "after twelve hours").await;
}

async fn nothing_stolen_is_worth_anything(stage: &Stage, outlives_logout: bool) {
    a_ticket_dies_with_its_logout(stage).await;
    a_ticket_from_before_a_login_is_nobody_s(stage).await;
    a_login_whose_answer_was_lost_helps_nobody(stage).await;
    a_login_that_takes_too_long_logs_nobody_in(stage).await;
    a_ticket_is_good_for_its_host_and_policy_alone(stage).await;
    the_application_s_cookie_is_useless_from_outside(stage, outlives_logout).await;
    a_ticket_expires_for_every_copy(stage).await;
}

#[tokio::test]
async fn egg_with_its_cookie_session_really_ends_at_logout() {
    let app = App::egg();
    nothing_stolen_is_worth_anything(&Stage::over(&[app.address]), true).await;
}

#[tokio::test]
async fn egg_with_its_redis_session_is_safe_from_theft() {
    let redis = Redis::start();
    let app = App::egg_redis(&redis);
    nothing_stolen_is_worth_anything(&Stage::over(&[app.address]), false).await;
}

#[tokio::test]
async fn express_is_safe_from_theft() {
    let redis = Redis::start();
    let app = App::express(&redis);
    nothing_stolen_is_worth_anything(&Stage::over(&[app.address]), false).await;
}

#[tokio::test]
async fn naive_workers_are_safe_from_theft() {
    let apps = [App::naive(), App::naive()];
    let stage = Stage::over(&[apps[0].address, apps[1].address]);
    nothing_stolen_is_worth_anything(&stage, false).await;
}

/// An application in five lines: whoever posts to `/login` is in.
fn scripted(request: &Request) -> Vec<u8> {
    let session = |value| ("Set-Cookie", value);
    match (request.method.as_str(), request.target.as_str()) {
        ("POST", "/login") => {
            let fields = [session("EGG_SESS=in; path=/; httponly"), ("Location", "/account/")];
            response("302 Found", &fields, b"")
        }
        ("POST", "/logout") => {
            response("302 Found", &[session("EGG_SESS=; max-age=0"), ("Location", "/")], b"")
        }
        ("GET", "/") => response("200 OK", &[session("EGG_SESS=out; path=/")], b""),
        _ => response("200 OK", &[], b"a page for whoever is logged in"),
    }
}

/// Every way to ask for the page that requires a login. None is answered by a worker.
async fn is_refused(stage: &Stage, thief: &Browser, what: &str) {
    let mut thief = thief.clone();
    for node in [0, 1] {
        thief.node(node);
        for target in SPELLINGS {
            let page = Ask::get(target).field("Sec-Fetch-Mode", "navigate");
            let answer = thief.send(page).await.expect(302);
            assert_eq!(answer.field("location").as_deref(), Some("/login"), "{what}: {target}");
            assert!(answer.set_cookies().is_empty(), "{what}: {target}");
            thief.send(Ask::get(target)).await.expect(401);
            thief.send(Ask::form(target, ALICE)).await.expect(401);
            let form = Ask::form(target, ALICE).field("Sec-Fetch-Mode", "navigate");
            thief.send(form).await.expect(303);
            thief.send(Ask::new("HEAD", target)).await.expect(401);
            thief.send(Ask::new("OPTIONS", target)).await.expect(401);
        }
        let mut h2 = H2::connect(&Dial::to(stage.nodes[node].address()).tls(HOST)).await;
        let lines = thief.cookie_lines("/account/", Context::SameSite);
        let lines = lines.into_iter().map(|line| String::from_utf8(line).expect("UTF-8"));
        let lines: Vec<String> = lines.collect();
        let cookies: Vec<(&str, &str)> = lines.iter().map(|line| ("cookie", &**line)).collect();
        let answer = h2.request(Method::GET, HOST, "/account/", &cookies, b"").await;
        assert_eq!(answer.expect("an answer").status, 401, "{what} over HTTP/2");
    }
}

const SPELLINGS: [&str; 8] = [
    "/account/",
    "/Account",
    "/ACCOUNT/orders",
    "//account/",
    "/%61ccount/",
    "/x/../account/",
    "/./account/?a=b",
    "/account/../account/",
];

#[tokio::test]
async fn what_requires_a_login_is_refused_before_any_worker_sees_it() {
    let origin = Responder::start(scripted).await;
    let stage = Stage::over(&[origin.address]);
    let mut alice = stage.logged_in(ALICE).await;
    for (count, target) in (2..).zip(SPELLINGS) {
        alice.get(target).await.expect(200);
        assert_eq!(origin.seen().len(), count, "the page is there: {target}");
    }
    let valid = ticket(&alice);
    let line = |value: &str| format!("{TICKET}={value}");

    let mut anonymous = stage.browser();
    anonymous.get("/").await.expect(200);
    let mut before_login = stage.browser();
    before_login.get("/").await.expect(200);
    before_login.clone().post_form("/login", ALICE).await.expect(302);
    let after_logout = stage.logged_in(ALICE).await;
    after_logout.clone().send(Ask::new("POST", "/logout")).await.expect(302);
    let mut tickets = Vec::new();
    for host in [OTHER, TWIN] {
        let mut browser = stage.elsewhere(host);
        browser.post_form("/login", ALICE).await.expect(302);
        tickets.push(ticket(&browser));
    }
    let thieves = [
        ("nothing at all", stage.browser()),
        ("an anonymous ticket", anonymous),
        ("a ticket from before the login", before_login),
        ("a ticket from before the logout", after_logout),
        ("an invented ticket", stage.with(&[line(&"x".repeat(valid.len()))])),
        ("a ticket of another host", stage.with(&[line(&tickets[0])])),
        ("a ticket of another policy", stage.with(&[line(&tickets[1])])),
        ("a ticket under another policy's name", stage.with(&[format!("__Host-back={valid}")])),
        ("a ticket twice", stage.with(&[line(&valid), line(&valid)])),
        ("two tickets", stage.with(&[format!("{}; {}", line(&valid), line(&tickets[0]))])),
        ("a look-alike", stage.with(&[format!("\u{2000}{}", line(&valid))])),
        ("a nameless one", stage.with(&[format!("={}", line(&valid))])),
        ("the application's cookie", stage.with(&["EGG_SESS=in".to_owned()])),
    ];
    let seen = origin.seen().len();
    for (what, thief) in &thieves {
        is_refused(&stage, thief, what).await;
    }
    assert_eq!(origin.seen().len(), seen, "no worker has seen any of it");

    // While a login is on its way, its session is nobody's.
    let mut waiting = stage.browser();
    waiting.get("/").await.expect(200);
    let login = waiting.dispatch_held(&Ask::form("/login", ALICE), async {
        let asks = [0, 1].map(|node| waiting.clone().node(node).dispatch(&Ask::get("/account/")));
        let [zeroth, first] = asks;
        let (zeroth, first) = tokio::join!(zeroth, first);
        zeroth.expect(401);
        first.expect(401);
    });
    login.await.expect(302);
    assert_eq!(origin.seen().len(), seen + 2, "its first visit and the login itself");

    alice.get("/account/").await.expect(200);
    stage.clock.advance(30 * MINUTE);
    is_refused(&stage, &alice, "half an hour without a request").await;
    assert_eq!(origin.seen().len(), seen + 3, "no worker has seen any of it");
    let mut alice = stage.logged_in(ALICE).await;
    for _ in 0..25 {
        stage.clock.advance(28 * MINUTE);
        alice.get("/account/").await.expect(200);
    }
    stage.clock.advance(20 * MINUTE);
    is_refused(&stage, &alice, "twelve hours").await;
    assert_eq!(origin.seen().len(), seen + 3 + 1 + 25, "no worker has seen any of it");
}

/// Nodes may share host, ticket's name, keys and store while their policies differ, during a change
/// of the configuration for one: neither takes the other's tickets (PROTOCOL 1).
#[tokio::test]
async fn a_ticket_is_good_for_its_policy_on_other_nodes_too() {
    let origin = Responder::start(scripted).await;
    let store = Redis::start();
    let keys = tempfile::tempdir().expect("a temporary directory can be made");
    let require = "{ path: /account/, upstream: shop, session: shop, require: login }";
    let yaml =
        Shop::at(origin.address).streaming().store(&store).route(require).sharing(&keys).yaml();
    let renamed = yaml.replace("  shop:\n    mode", "  club:\n    mode");
    let renamed = renamed.replace("session: shop", "session: club");
    assert_ne!(yaml, renamed);
    let nodes = [&yaml, &yaml, &renamed].map(|yaml| Proxy::start(yaml));
    let mut alice = browser(&nodes);
    alice.post_form("/login", ALICE).await.expect(302);
    for (node, status) in [(0, 200), (1, 200), (2, 401)] {
        alice.node(node).get("/account/").await.expect(status);
    }
}
