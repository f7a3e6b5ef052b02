//! The applications without the proxy: what they do by default, and that the attacks which the
//! other tests close are real. If one of these fails after an update, the defence in question may
//! be tested against nothing.

use std::collections::BTreeSet;

use crate::support::apps::{App, ODD_COOKIES};
use crate::support::browser::{Ask, Browser};
use crate::support::client::{Dial, request};
use crate::support::redis::Redis;

const HOST: &str = "shop.example.com";
const ALICE: &[(&str, &str)] = &[("username", "alice"), ("password", "secret")];

fn browser(app: &App) -> Browser {
    Browser::http(HOST, &[app.address])
}

async fn whoami(browser: &mut Browser) -> Option<String> {
    browser.get("/whoami").await.expect(200).json()["user"].as_str().map(str::to_owned)
}

/// Plants an attacker's anonymous session in a victim's browser, lets the victim log in, and
/// returns who the attacker is afterwards.
async fn fixation(app: &App, cookie: &str) -> Option<String> {
    let mut attacker = browser(app);
    attacker.get("/?touch=1").await.expect(200);
    let planted = attacker.cookie(cookie).expect("writing the session sets a cookie").clone();

    let mut victim = browser(app);
    let line = format!("{cookie}={}; Path=/", planted.value_text());
    victim.plant(HOST, false, &line).expect("nothing protects it");
    victim.post_form("/login", ALICE).await.expect(302);
    assert_eq!(whoami(&mut victim).await.as_deref(), Some("alice"));
    assert_eq!(
        victim.cookie(cookie).expect("still there").value,
        planted.value,
        "the identifier stays the same at login"
    );
    whoami(&mut attacker).await
}

/// What a thief's copy of the cookies is worth after its owner has logged out.
async fn after_logout(app: &App) -> Option<String> {
    let mut alice = browser(app);
    alice.post_form("/login", ALICE).await.expect(302);
    let mut thief = alice.clone();
    assert_eq!(whoami(&mut thief).await.as_deref(), Some("alice"));
    alice.send(Ask::new("POST", "/logout")).await.expect(302);
    assert_eq!(whoami(&mut alice).await, None);
    whoami(&mut thief).await
}

/// The items left in the cart when two requests of one session add one each at the same time.
async fn parallel_adds(app: &App) -> usize {
    let mut alice = browser(app);
    alice.post_form("/cart/add", &[("item", "a")]).await.expect(200);
    let add = |item| Ask::form("/cart/add", &[("item", item), ("delay_ms", "300")]);
    let (one, two) = tokio::join!(alice.dispatch(&add("b")), alice.dispatch(&add("c")));
    alice.keep(&add("b"), &one.expect(200));
    alice.keep(&add("c"), &two.expect(200));
    alice.get("/cart").await.json()["cart"].as_array().expect("a list").len()
}

async fn workers(app: &App, requests: usize) -> BTreeSet<u64> {
    let mut workers = BTreeSet::new();
    for _ in 0..requests {
        let answer = browser(app).get("/whoami").await.expect(200).json();
        workers.insert(answer["worker"].as_u64().expect("a process"));
    }
    workers
}

/// What is the same in every application.
async fn common(app: &App, kind: &str) {
    let mut visitor = browser(app);
    let page = visitor.get("/").await.expect(200);
    assert_eq!(page.json()["app"], kind);
    assert!(page.set_cookies().is_empty(), "a visit alone makes no session");
    let form = visitor.get("/login").await.expect(200);
    assert!(form.text().contains("name=\"password\""));
    assert!(form.set_cookies().is_empty());
    assert_eq!(
        visitor.get("/account/").await.expect(302).field("location").as_deref(),
        Some("/login")
    );

    let wrong = [("username", "alice"), ("password", "wrong")];
    let failed = visitor.post_form("/login", &wrong).await.expect(200);
    assert!(failed.set_cookies().is_empty());
    visitor.post_form("/login?failure=401", &wrong).await.expect(401);
    assert_eq!(whoami(&mut visitor).await, None);

    let success = visitor.post_form("/login", ALICE).await.expect(302);
    assert_eq!(success.field("location").as_deref(), Some("/account/"));
    let cookie = &success.set_cookies()[0].to_ascii_lowercase();
    assert!(!cookie.contains("secure") && !cookie.contains("samesite"), "{cookie}");
    let page = visitor.get("/account/").await.expect(200);
    assert!(page.text().contains("alice"));
    assert!(page.set_cookies().is_empty(), "reading the session sends no cookie");

    let odd = visitor.get("/set-cookies").await.expect(200);
    assert_eq!(odd.fields().bytes("set-cookie").len(), ODD_COOKIES);
    let accent = odd.fields().bytes("set-cookie").into_iter().find(|c| c.starts_with(b"accent="));
    assert_eq!(accent, Some("accent=caf\u{e9}; Path=/".as_bytes()));

    let seen = browser(app).with_field("X-Odd", "1").get("/headers").await.json();
    let field = |name: &str, value: &str| serde_json::json!([name, value]);
    assert_eq!(seen["headers"][0], field("Host", HOST));
    assert_eq!(seen["headers"][1], field("X-Odd", "1"));

    let body = vec![b'x'; 200_000];
    let echo = Ask::new("POST", "/echo").field("Content-Type", "text/plain").body(&body);
    assert_eq!(visitor.send(echo).await.expect(200).content(), body);
    assert_eq!(visitor.get("/stream?n=3&every_ms=1").await.text(), "line 0\nline 1\nline 2\n");
    let events = visitor.get("/sse?n=2&every_ms=1").await.expect(200);
    let kind_of_body = events.field("content-type").expect("it is said");
    assert!(kind_of_body.starts_with("text/event-stream"), "{kind_of_body}");
    assert_eq!(events.text().matches("data: ").count(), 2);
    assert_eq!(visitor.get("/slow?ms=1").await.json()["slept"], true);

    // A kept connection stays with one worker.
    let mut kept = Dial::to(app.address).connect().await;
    let first = kept.get(HOST, "/whoami", &[]).await.json();
    for _ in 0..3 {
        assert_eq!(kept.get(HOST, "/whoami", &[]).await.json()["worker"], first["worker"]);
    }
}

/// A WebSocket handshake and one masked text frame there and back (RFC 6455).
async fn web_socket_echo(app: &App) {
    let mut client = Dial::to(app.address).connect().await;
    let fields = [
        ("Connection", "Upgrade"),
        ("Upgrade", "websocket"),
        ("Sec-WebSocket-Version", "13"),
        ("Sec-WebSocket-Key", "dGhlIHNhbXBsZSBub25jZQ=="),
    ];
    let upgraded = client.exchange(request("GET", "/ws", HOST, &fields, b"")).await.expect(101);
    assert_eq!(
        upgraded.field("sec-websocket-accept").as_deref(),
        Some("s3pPLMBiTxaQ9kYGzzhZRbK+xOo="),
        "the example of RFC 6455 section 1.3"
    );
    client.send([0x81, 0x82, 0, 0, 0, 0, b'h', b'i']).await;
    assert_eq!(client.exactly(4).await, Ok(vec![0x81, 0x02, b'h', b'i']));
}

/// SIGTERM ends all of it, and so does the death of whoever started it.
fn ends_with_its_parent(start: impl Fn() -> App) {
    let mut app = start();
    app.process.signal("TERM");
    assert!(app.process.wait_exit().success(), "{}", app.process.log());
    app.process.wait_group_gone();

    let mut app = start();
    app.process.close_stdin();
    app.process.wait_group_gone();

    let mut app = start();
    app.process.signal("KILL");
    app.process.wait_group_gone();
}

#[tokio::test]
async fn egg_with_its_default_session_behaves_as_measured() {
    let app = App::egg();
    common(&app, "egg").await;
    assert_eq!(workers(&app, 12).await.len(), 2, "the cluster is a real one");
    // The case counts for its router, a trailing slash does not.
    browser(&app).get("/LOGIN").await.expect(404);
    browser(&app).get("/login/").await.expect(200);
}

#[tokio::test]
async fn egg_cookie_session_survives_its_own_logout() {
    let app = App::egg();
    assert_eq!(after_logout(&app).await.as_deref(), Some("alice"), "the attack is real");

    let mut alice = browser(&app);
    alice.post_form("/login", ALICE).await.expect(302);
    let bye = alice.send(Ask::new("POST", "/logout")).await.expect(302);
    let [line] = bye.set_cookies().try_into().expect("one cookie");
    assert_eq!(line, "EGG_SESS=; path=/; expires=Thu, 01 Jan 1970 00:00:00 GMT; httponly");
}

#[tokio::test]
async fn egg_cookie_session_loses_updates() {
    assert_eq!(parallel_adds(&App::egg()).await, 2, "a, and one of b and c");
}

#[tokio::test]
async fn egg_redis_session_can_be_fixated() {
    let redis = Redis::start();
    let app = App::egg_redis(&redis);
    assert_eq!(fixation(&app, "EGG_SESS").await.as_deref(), Some("alice"), "the attack is real");
    assert_eq!(redis.keys().len(), 1, "no session was made at login");
    assert_eq!(redis.keys()[0].len(), 36, "the key is the bare identifier, a UUID");
}

#[tokio::test]
async fn egg_redis_session_behaves_as_measured() {
    let redis = Redis::start();
    let app = App::egg_redis(&redis);
    common(&app, "egg").await;
    assert_eq!(after_logout(&app).await, None, "the store has forgotten it");
    assert_eq!(parallel_adds(&app).await, 2, "updates are lost");

    let mut made_up = browser(&app);
    made_up.plant(HOST, false, "EGG_SESS=made-up; Path=/").expect("nothing protects it");
    made_up.get("/?touch=1").await.expect(200);
    let cookie = made_up.cookie("EGG_SESS").expect("a new one").value_text();
    assert_eq!(cookie.len(), 64, "unknown identifiers are not adopted: {cookie}");
}

#[tokio::test]
async fn egg_believes_a_forwarded_scheme_only_if_told_to() {
    let https = |app: &App| browser(app).with_field("X-Forwarded-Proto", "https");
    let secure = |line: &str| line.split("; ").any(|attribute| attribute == "secure");

    let app = App::start("egg", &[("PROXY", "1")]);
    let login = https(&app).post_form("/login", ALICE).await.expect(302);
    assert!(secure(&login.set_cookies()[0]), "{login:?}");
    assert_eq!(https(&app).get("/headers").await.json()["secure"], true);

    let app = App::start("egg", &[("COOKIE_SECURE", "1")]);
    https(&app).post_form("/login", ALICE).await.expect(500);
}

#[tokio::test]
async fn egg_csrf_token_is_demanded_where_it_is_on() {
    let app = App::start("egg", &[("CSRF", "1")]);
    let mut alice = browser(&app);
    alice.post_form("/login", ALICE).await.expect(403);
    alice.get("/login").await.expect(200);
    assert_eq!(alice.script_sees(), ["csrfToken"], "pages read it with script");
    let token = alice.cookie("csrfToken").expect("the form set it").value_text();
    alice.send(Ask::form("/login", ALICE).field("x-csrf-token", &token)).await.expect(302);
}

#[tokio::test]
async fn a_careful_application_makes_a_new_identifier_at_login() {
    let redis = Redis::start();
    let url = redis.url();
    for (kind, cookie) in [("egg", "EGG_SESS"), ("express", "connect.sid")] {
        let app = App::start(
            kind,
            &[("SESSION", "redis"), ("REDIS_URL", &url), ("REGENERATE", "1"), ("WORKERS", "1")],
        );
        let mut alice = browser(&app);
        alice.get("/?touch=1").await.expect(200);
        let before = alice.cookie(cookie).expect("a session").value.clone();
        let mut attacker = alice.clone();
        alice.post_form("/login", ALICE).await.expect(302);
        assert_ne!(alice.cookie(cookie).expect("a session").value, before, "{kind}");
        assert_eq!(whoami(&mut attacker).await, None, "{kind}");
    }
}

#[tokio::test]
async fn express_session_can_be_fixated() {
    let redis = Redis::start();
    let app = App::express(&redis);
    assert_eq!(fixation(&app, "connect.sid").await.as_deref(), Some("alice"), "the attack is real");
    assert!(redis.keys()[0].starts_with("sess:"));

    // The login response of an existing session says nothing that a proxy could go by.
    let mut alice = browser(&app);
    alice.get("/?touch=1").await.expect(200);
    let login = alice.post_form("/login", ALICE).await.expect(302);
    assert!(login.set_cookies().is_empty());
}

#[tokio::test]
async fn express_behaves_as_measured() {
    let redis = Redis::start();
    let app = App::express(&redis);
    common(&app, "express").await;
    web_socket_echo(&app).await;
    assert_eq!(workers(&app, 12).await.len(), 2, "the cluster is a real one");
    // Neither the case nor a trailing slash counts for its router.
    browser(&app).get("/LOGIN").await.expect(200);
    browser(&app).post_form("/Login/", ALICE).await.expect(302);
    assert_eq!(after_logout(&app).await, None, "the store has forgotten it");
    assert_eq!(parallel_adds(&app).await, 2, "updates are lost");

    let mut alice = browser(&app);
    alice.post_form("/login", ALICE).await.expect(302);
    let bye = alice.send(Ask::new("POST", "/logout")).await.expect(302);
    assert!(bye.set_cookies().is_empty(), "logout leaves the cookie in the browser");
    assert!(alice.cookie("connect.sid").is_some());
}

#[tokio::test]
async fn express_keeps_a_secure_cookie_back_without_a_word() {
    let redis = Redis::start();
    let url = redis.url();
    let settings = [("REDIS_URL", url.as_str()), ("COOKIE_SECURE", "1"), ("WORKERS", "1")];
    let app = App::start("express", &settings);
    let login = browser(&app).post_form("/login", ALICE).await.expect(302);
    assert!(login.set_cookies().is_empty(), "the login never sticks");

    let app = App::start("express", &[settings.as_slice(), &[("PROXY", "1")]].concat());
    let mut alice = browser(&app).with_field("X-Forwarded-Proto", "https");
    let login = alice.post_form("/login", ALICE).await.expect(302);
    assert!(login.set_cookies()[0].ends_with("; Secure"), "{:?}", login.set_cookies());
}

#[tokio::test]
async fn naive_adopts_any_identifier_and_can_be_fixated() {
    let app = App::naive();
    assert_eq!(fixation(&app, "sid").await.as_deref(), Some("alice"), "the attack is real");

    let mut made_up = browser(&app);
    made_up.plant(HOST, false, "sid=chosen-by-the-attacker").expect("nothing protects it");
    let login = made_up.post_form("/login", ALICE).await.expect(302);
    assert!(login.set_cookies().is_empty(), "it keeps the made-up one");
    assert_eq!(whoami(&mut made_up).await.as_deref(), Some("alice"));
}

#[tokio::test]
async fn naive_behaves_as_its_mistakes_have_it() {
    let app = App::naive();
    common(&app, "naive").await;
    web_socket_echo(&app).await;
    assert_eq!(after_logout(&app).await, None);
    assert_eq!(parallel_adds(&app).await, 2, "updates are lost");
    let cookie = browser(&app).post_form("/login", ALICE).await.expect(302).set_cookies();
    assert!(!cookie[0].contains(';'), "no attribute at all: {cookie:?}");
}

#[tokio::test]
async fn naive_cluster_forgets_half_of_the_time() {
    let (one, two) = (App::naive(), App::naive());
    let mut alice = Browser::http(HOST, &[one.address, two.address]);
    alice.node(0).post_form("/login", ALICE).await.expect(302);
    assert_eq!(whoami(alice.node(0)).await.as_deref(), Some("alice"));
    assert_eq!(whoami(alice.node(1)).await, None);

    // Logged in on both, logged out on one: the other has not heard of it.
    alice.node(1).post_form("/login", ALICE).await.expect(302);
    let mut thief = alice.clone();
    alice.node(0).send(Ask::new("POST", "/logout")).await.expect(302);
    assert_eq!(whoami(thief.node(0)).await, None);
    assert_eq!(whoami(thief.node(1)).await.as_deref(), Some("alice"));
}

#[test]
fn egg_ends_with_its_parent() {
    ends_with_its_parent(App::egg);
}

#[test]
fn express_ends_with_its_parent() {
    ends_with_its_parent(|| App::start("express", &[("SESSION", "memory")]));
}

#[test]
fn naive_ends_with_its_parent() {
    ends_with_its_parent(App::naive);
}
