//! Session fixation: whatever an attacker plants gains nothing while the victim logs in, nor after.
//!
//! Two nodes share a Redis. The victim is at one of them; the attacker asks the other one, without
//! a pause, who he is. Where the attack is real, `baseline.rs` shows it.

use std::net::SocketAddr;
use std::time::Duration;

use tempfile::TempDir;
use tokio::time::sleep;

use crate::support::apps::App;
use crate::support::browser::{Ask, Browser};
use crate::support::proxy::Proxy;
use crate::support::redis::Redis;
use crate::support::shop::{ALICE, HOST, MALLORY, Shop, TICKET, browser, whoami};
use crate::support::soon;
use crate::support::watch::Watch;

/// Another host with the shop's own policy.
const OTHER: &str = "other.example.com";
/// A host with another policy, whose tickets have the same name.
const TWIN: &str = "twin.example.com";

/// An application behind two nodes.
struct Stage {
    nodes: Vec<Proxy>,
    /// What the application calls its own cookie.
    cookie: &'static str,
    direct: SocketAddr,
    _store: Redis,
    _keys: TempDir,
}

impl Stage {
    fn of(apps: &[&App], cookie: &'static str) -> Self {
        let addresses: Vec<SocketAddr> = apps.iter().map(|app| app.address).collect();
        let store = Redis::start();
        let keys = tempfile::tempdir().expect("a temporary directory can be made");
        let nodes = Shop::over(&addresses)
            .streaming()
            .store(&store)
            .balance(if apps.len() > 1 { "session" } else { "round_robin" })
            .policy("anonymous_per_minute: 10000")
            .session("back", "back")
            .session("twin", "shop")
            .route("{ path: /account/, upstream: shop, session: shop, require: login }")
            .route("{ path: /cart/add, upstream: shop, session: back }")
            .server(OTHER, "session: shop")
            .server(TWIN, "session: twin")
            .start_nodes(2, &keys);
        Self { nodes, cookie, direct: addresses[0], _store: store, _keys: keys }
    }

    fn browser(&self) -> Browser {
        browser(&self.nodes)
    }

    /// The attacker, who sends what he has planted himself.
    fn attacker(&self, lines: &[Vec<u8>]) -> Browser {
        let mut attacker = self.browser();
        attacker.slip(lines);
        attacker
    }

    fn elsewhere(&self, host: &str) -> Browser {
        Browser::https(host, &self.nodes.iter().map(Proxy::address).collect::<Vec<_>>())
    }

    /// The ticket of a new anonymous session.
    async fn ticket(&self) -> String {
        value(&mut self.browser(), &Ask::get("/?touch=1"), TICKET).await
    }

    /// The value of the application's own cookie in a session that nobody but the worker knows of.
    async fn direct_cookie(&self, ask: &Ask) -> String {
        value(&mut Browser::http(HOST, &[self.direct]), ask, self.cookie).await
    }
}

/// The value of a cookie that this request is answered with.
async fn value(browser: &mut Browser, ask: &Ask, name: &str) -> String {
    browser.send(ask.clone()).await;
    browser.cookie(name).unwrap_or_else(|| panic!("{ask:?} sets no {name}")).value_text()
}

/// `Cookie` lines that an attacker has got into the victim's browser.
struct Plant {
    what: &'static str,
    lines: Vec<Vec<u8>>,
    /// Whether it stays beside the ticket of the login, which replaces a cookie of the same name.
    stays: bool,
}

fn plant(what: &'static str, lines: &[impl AsRef<[u8]>], stays: bool) -> Plant {
    Plant { what, lines: lines.iter().map(|line| line.as_ref().to_vec()).collect(), stays }
}

/// `prefix` as it is, which need not be UTF-8, and the rest of a line.
fn bytes(prefix: &[u8], rest: &str) -> Vec<u8> {
    [prefix, rest.as_bytes()].concat()
}

/// Tickets under the ticket's very name: the login's own takes their place.
async fn tickets(stage: &Stage) -> Vec<Plant> {
    let (valid, second) = (stage.ticket().await, stage.ticket().await);
    let cart = Ask::form("/cart/add", &[("item", "a")]);
    let back = value(&mut stage.browser(), &cart, "__Host-back").await;
    let touch = Ask::get("/?touch=1");
    let other = value(&mut stage.elsewhere(OTHER), &touch, TICKET).await;
    let twin = value(&mut stage.elsewhere(TWIN), &touch, TICKET).await;
    let tampered = format!("{}{}", if valid.starts_with('A') { 'B' } else { 'A' }, &valid[1..]);
    let line = |value: &str| format!("{TICKET}={value}");
    let (one, two) = (line(&valid), line(&second));
    vec![
        plant("a valid one", &[&one], false),
        plant("one without a value", &[line("")], false),
        plant("an invented one", &[line(&"x".repeat(valid.len()))], false),
        plant("a short invented one", &[line("made-up")], false),
        plant("a valid one with a byte changed", &[line(&tampered)], false),
        plant("a valid one with its end cut off", &[line(&valid[..valid.len() - 1])], false),
        plant("one in quotes", &[line(&format!("\"{valid}\""))], false),
        plant("one of another policy", &[line(&back)], false),
        plant("one of another host", &[line(&other)], false),
        plant("one of another policy on another host", &[line(&twin)], false),
        plant("one twice in a line", &[format!("{one}; {one}")], false),
        plant("one in each of two lines", &[&one, &one], false),
        plant("two in a line", &[format!("{one}; a=b; {two}")], false),
        plant("two in two lines", &[&one, &two], false),
        plant("a valid one and an invented one", &[&one, &line("made-up")], false),
        plant("one inside another cookie's quotes", &[format!("a=\"b; {one}; c\"")], false),
        plant("blanks around it", &[format!(" {TICKET} = {valid} ")], false),
        plant("another policy's under its own name", &[format!("__Host-back={back}")], true),
    ]
}

/// What a sloppy reader could take for a ticket: it stays in the browser beside the true one.
async fn lookalikes(stage: &Stage) -> Vec<Plant> {
    let valid = stage.ticket().await;
    let line = format!("{TICKET}={valid}");
    let named = |name: &str| format!("{name}={valid}");
    vec![
        plant("in lower case", &[named("__host-shop")], true),
        plant("in upper case", &[named("__HOST-SHOP")], true),
        plant("a Unicode blank before it", &[named("\u{2000}__Host-shop")], true),
        plant("a Unicode blank after it", &[named("__Host-shop\u{3000}")], true),
        plant("a Latin-1 blank before it", &[bytes(b"\xa0", &line)], true),
        plant("a byte order mark", &[named("\u{feff}__Host-shop")], true),
        plant("nameless", &[format!("={line}")], true),
        plant("with percent signs", &[named("__%48ost-shop")], true),
        plant("as PHP names it", &[named("..Host-shop")], true),
        plant("behind $Version", &[format!("$Version=1, {line}")], true),
        plant("beside one of its kind", &[named("__host-shop"), format!("={line}")], true),
    ]
}

/// The application's own cookie, which in a vault never comes from outside.
async fn own_cookies(stage: &Stage) -> Vec<Plant> {
    let name = stage.cookie;
    let fresh = stage.direct_cookie(&Ask::get("/?touch=1")).await;
    let his = stage.direct_cookie(&Ask::form("/login", MALLORY)).await;
    let ticket = format!("{TICKET}={}", stage.ticket().await);
    let line = format!("{name}={fresh}");
    vec![
        plant("an anonymous session", &[&line], true),
        plant("with a signature", &[format!("{line}; {name}.sig=x")], true),
        plant("the attacker's logged in session", &[format!("{name}={his}")], true),
        plant("an invented identifier", &[format!("{name}=made-up")], true),
        plant("twice", &[&line, &line], true),
        plant("in lower and upper case", &[line.to_lowercase(), line.to_uppercase()], true),
        plant("a Unicode blank before it", &[format!("\u{2000}{line}")], true),
        plant("a Latin-1 blank before it", &[bytes(b"\xa0", &line)], true),
        plant("a Latin-1 blank and made up", &[bytes(b"\xa0", &format!("{name}=evil"))], true),
        plant("another Latin-1 blank", &[bytes(b"\x85", &line)], true),
        plant("nameless", &[format!("={line}")], true),
        plant("behind $Version", &[format!("$Version=1, {line}")], true),
        plant("inside quotes", &[format!("a=\"b; {line}; c\"")], true),
        plant("beside a valid ticket", &[ticket.clone(), line.clone()], false),
        plant("in one line with a valid ticket", &[format!("{line}; {ticket}")], false),
    ]
}

async fn nothing_planted_gains_anything(stage: &Stage) {
    for plant in tickets(stage).await {
        attack(stage, &plant).await;
    }
    for plant in lookalikes(stage).await {
        attack(stage, &plant).await;
    }
    for plant in own_cookies(stage).await {
        attack(stage, &plant).await;
    }
}

/// The victim logs in at one node; the attacker watches the other.
async fn attack(stage: &Stage, plant: &Plant) {
    let Plant { what, lines, stays } = plant;
    let mut attacker = stage.attacker(lines);
    let mut watch = Watch::begin(what, attacker.node(1));
    watch.asks(1).await;

    let mut victim = stage.attacker(lines);
    assert_eq!(whoami(&mut victim).await, None, "{what}: nobody before the login");
    victim.post_form("/login", ALICE).await.expect(302);
    if !stays {
        victim.slip(&[]);
    }
    for node in [0, 1, 0] {
        let name = whoami(victim.node(node)).await;
        assert_eq!(name.as_deref(), Some("alice"), "{what}: the victim is served");
    }
    watch.asks(2).await;
    watch.end().await;
    for node in [0, 1, 0] {
        let attacker = attacker.node(node);
        assert_eq!(whoami(attacker).await, None, "{what}");
        attacker.get("/account/").await.expect(401);
    }

    // Nor does his own login with it come anywhere near the victim's session.
    attacker.post_form("/login", MALLORY).await.expect(302);
    if !stays {
        attacker.slip(&[]);
    }
    assert_eq!(whoami(&mut attacker).await.as_deref(), Some("mallory"), "{what}");
    assert_eq!(whoami(&mut victim).await.as_deref(), Some("alice"), "{what}");
}

/// A login that takes its time: whoever comes with the planted ticket meanwhile waits, and then
/// goes on without a session (PROTOCOL 18).
async fn a_login_on_its_way_lends_its_session_to_nobody(stage: &Stage) {
    let line = format!("{TICKET}={}", stage.ticket().await).into_bytes();
    let mut attacker = stage.attacker(&[line]);
    let mut watches = [0, 1].map(|node| Watch::begin("a slow login", attacker.node(node)));
    let mut victim = attacker.clone();
    let login = Ask::form("/login", ALICE);
    let touches = [0, 1].map(|node| attacker.node(node).dispatch(&Ask::get("/?touch=1")));
    let [zeroth, first] = touches;
    let pause = async {
        watches[0].asks(1).await;
        watches[1].asks(1).await;
        for answer in <[_; 2]>::from(tokio::join!(zeroth, first)) {
            let answer = answer.expect(200);
            assert_eq!(answer.json()["views"], 1, "the jar is empty: {}", answer.text());
            assert!(answer.set_cookies().is_empty(), "{:?}", answer.set_cookies());
        }
    };
    let answer = victim.dispatch_held(&login, pause).await.expect(302);
    victim.slip(&[]);
    victim.keep(&login, &answer);
    assert_eq!(whoami(&mut victim).await.as_deref(), Some("alice"));
    for mut watch in watches {
        watch.asks(1).await;
        watch.end().await;
    }
}

/// The victim finds herself in the attacker's account and logs in with her own.
async fn a_planted_account_is_left_behind(stage: &Stage) {
    let mut attacker = stage.browser();
    attacker.post_form("/login", MALLORY).await.expect(302);
    let mut victim = attacker.clone();
    assert_eq!(whoami(victim.node(1)).await.as_deref(), Some("mallory"), "the attack is real");
    victim.post_form("/login", ALICE).await.expect(302);
    for node in [0, 1] {
        soon(None, "the planted one", async || whoami(attacker.node(node)).await).await;
        assert_eq!(whoami(victim.node(node)).await.as_deref(), Some("alice"));
    }
}

/// Another ticket, and nothing else: nobody else's copy is worth anything, its user is who she was
/// (PROTOCOL 19).
async fn a_failed_login_changes_only_the_ticket(stage: &Stage) {
    let wrong: &[(&str, &str)] = &[("username", "alice"), ("password", "wrong")];
    let attempts = [("/login", 200), ("/login?failure=401", 401), ("/login?failure=403", 403)];
    let mut anonymous = stage.browser();
    anonymous.get("/?touch=1").await.expect(200);
    let mut attacker = anonymous.clone();
    let mut alice = stage.browser();
    alice.post_form("/login", ALICE).await.expect(302);
    for (views, (target, status)) in (2..).zip(attempts) {
        for (visitor, name) in [(&mut anonymous, None), (&mut alice, Some("alice"))] {
            let before = visitor.cookie(TICKET).expect("a ticket").value_text();
            visitor.node(views % 2).post_form(target, wrong).await.expect(status);
            let after = visitor.cookie(TICKET).expect("a ticket").value_text();
            assert_ne!(after, before, "{target}");
            for node in [0, 1] {
                assert_eq!(whoami(visitor.node(node)).await.as_deref(), name, "{target}");
            }
            let account = if name.is_some() { 200 } else { 401 };
            visitor.get("/account/").await.expect(account);
        }
        let page = anonymous.get("/?touch=1").await.expect(200).json();
        assert_eq!(page["views"], views, "{target}: the session goes on");
        let page = attacker.get("/?touch=1").await.expect(200).json();
        assert_eq!(page["views"], 1, "{target}: the copy has none");
    }
}

/// The attacker has the victim's login lead to where no rule expects it (`?next=`).
async fn a_login_that_is_not_recognised_is_no_fixation(stage: &Stage) {
    let line = format!("{TICKET}={}", stage.ticket().await).into_bytes();
    let mut attacker = stage.attacker(&[line]);
    let mut watch = Watch::begin("a login that leads elsewhere", attacker.node(1));
    watch.asks(1).await;
    let mut victim = attacker.clone();
    let answer = victim.post_form("/login?next=/cart", ALICE).await.expect(302);
    assert_eq!(answer.field("location").as_deref(), Some("/cart"), "the application obeys");
    victim.slip(&[]);
    assert_eq!(whoami(&mut victim).await.as_deref(), Some("alice"));
    watch.asks(2).await;
    watch.end().await;
    for node in [0, 1] {
        assert_eq!(whoami(attacker.node(node)).await, None);
    }
}

/// Both log in with the planted ticket at a time, each with his own account.
async fn two_logins_at_once_stay_apart(stage: &Stage) {
    const STARTS: [(u64, u64); 5] = [(0, 0), (0, 3), (3, 0), (0, 12), (12, 0)];
    const HOLDS: [(u64, u64); 4] = [(0, 0), (25, 0), (0, 25), (25, 25)];
    let login = |browser: &Browser, who, start: u64, hold: u64| {
        let held =
            browser.dispatch_held(&Ask::form("/login", who), sleep(Duration::from_millis(hold)));
        async move {
            sleep(Duration::from_millis(start)).await;
            held.await.expect(302)
        }
    };
    let rounds = HOLDS.iter().flat_map(|hold| STARTS.iter().map(move |start| (*start, *hold)));
    for (round, (start, hold)) in rounds.enumerate() {
        let planted = format!("{TICKET}={}", stage.ticket().await).into_bytes();
        let (mut victim, mut attacker) = (
            stage.attacker(std::slice::from_ref(&planted)),
            stage.attacker(std::slice::from_ref(&planted)),
        );
        // Most of the time they are at different nodes.
        attacker.node(usize::from(round % 4 != 0));
        let (hers, his) = tokio::join!(
            login(&victim, ALICE, start.0, hold.0),
            login(&attacker, MALLORY, start.1, hold.1)
        );
        let mut planted = stage.attacker(&[planted]);
        for (browser, answer) in [(&mut victim, hers), (&mut attacker, his)] {
            browser.slip(&[]);
            browser.keep(&Ask::form("/login", &[]), &answer);
        }
        let what = format!("starting at {start:?} ms, held for {hold:?} ms");
        for node in [0, 1] {
            assert_eq!(whoami(victim.node(node)).await.as_deref(), Some("alice"), "{what}");
            assert_eq!(whoami(attacker.node(node)).await.as_deref(), Some("mallory"), "{what}");
            assert_eq!(whoami(planted.node(node)).await, None, "{what}");
        }
    }
}

/// Every spelling of the login's path that the framework routes is a login (PROTOCOL 17); the
/// statuses are the frameworks' own.
async fn spelled_otherwise_it_is_a_login(stage: &Stage, spellings: &[(&str, u16)]) {
    for (target, status) in spellings {
        let line = format!("{TICKET}={}", stage.ticket().await).into_bytes();
        let mut attacker = stage.attacker(&[line]);
        let mut victim = attacker.clone();
        let answer = victim.post_form(target, ALICE).await.expect(*status);
        assert_eq!(answer.set_cookies().len(), 1, "{target}: a ticket, whatever the answer");
        for node in [0, 1] {
            assert_eq!(whoami(attacker.node(node)).await, None, "{target}");
        }
        victim.slip(&[]);
        let name = (*status == 302).then_some("alice");
        assert_eq!(whoami(&mut victim).await.as_deref(), name, "{target}");
    }
}

#[tokio::test]
async fn egg_with_its_cookie_session_cannot_be_fixated() {
    let app = App::egg();
    let stage = Stage::of(&[&app], "EGG_SESS");
    nothing_planted_gains_anything(&stage).await;
    a_planted_account_is_left_behind(&stage).await;
    a_failed_login_changes_only_the_ticket(&stage).await;
    a_login_that_is_not_recognised_is_no_fixation(&stage).await;
    two_logins_at_once_stay_apart(&stage).await;
}

#[tokio::test]
async fn egg_with_its_redis_session_cannot_be_fixated() {
    let redis = Redis::start();
    let app = App::egg_redis(&redis);
    let stage = Stage::of(&[&app], "EGG_SESS");
    nothing_planted_gains_anything(&stage).await;
    a_planted_account_is_left_behind(&stage).await;
    a_login_on_its_way_lends_its_session_to_nobody(&stage).await;
    a_failed_login_changes_only_the_ticket(&stage).await;
    a_login_that_is_not_recognised_is_no_fixation(&stage).await;
    two_logins_at_once_stay_apart(&stage).await;
    let spellings = [("/login/", 302), ("/LOGIN", 404), ("//login", 302), ("/%6cogin", 404)];
    spelled_otherwise_it_is_a_login(&stage, &spellings).await;
}

#[tokio::test]
async fn express_cannot_be_fixated() {
    let redis = Redis::start();
    let app = App::express(&redis);
    let stage = Stage::of(&[&app], "connect.sid");
    nothing_planted_gains_anything(&stage).await;
    a_planted_account_is_left_behind(&stage).await;
    a_login_on_its_way_lends_its_session_to_nobody(&stage).await;
    a_failed_login_changes_only_the_ticket(&stage).await;
    a_login_that_is_not_recognised_is_no_fixation(&stage).await;
    two_logins_at_once_stay_apart(&stage).await;
    let spellings = [
        ("/login?next=/", 302),
        ("/LOGIN", 302),
        ("/login/", 302),
        ("/LogIn/?", 302),
        ("//login", 302),
        ("/%6cogin", 404),
        ("/x/../login", 302),
    ];
    spelled_otherwise_it_is_a_login(&stage, &spellings).await;
}

#[tokio::test]
async fn naive_workers_that_adopt_anything_cannot_be_fixated() {
    let apps = [App::naive(), App::naive()];
    let stage = Stage::of(&[&apps[0], &apps[1]], "sid");
    nothing_planted_gains_anything(&stage).await;
    a_planted_account_is_left_behind(&stage).await;
    a_login_on_its_way_lends_its_session_to_nobody(&stage).await;
    a_failed_login_changes_only_the_ticket(&stage).await;
    a_login_that_is_not_recognised_is_no_fixation(&stage).await;
    two_logins_at_once_stay_apart(&stage).await;
}
