//! Users and their own sessions (`own_sessions`): who may ask, from where, and what it does.

use tempfile::TempDir;

use crate::support::admin::{ADMIN, metric};
use crate::support::browser::{Ask, Browser};
use crate::support::client::Response;
use crate::support::http::response;
use crate::support::origin::{Request, Responder};
use crate::support::proxy::Proxy;
use crate::support::redis::Redis;
use crate::support::shop::{HOST, Shop, TICKET, browser};

const PATH: &str = "/.well-known/cloakroom/sessions";
const FROM_HERE: (&str, &str) = ("Sec-Fetch-Site", "same-origin");

/// Logs in whoever `/login?user=NAME` names; `/claim` tells nobody who it was.
async fn application() -> Responder {
    Responder::start(|request: &Request| {
        if let Some((_, user)) = request.target.split_once("/login?user=") {
            let cookie = format!("EGG_SESS=of-{user}; path=/");
            let fields = [("location", "/account/"), ("set-cookie", &*cookie), ("x-user", user)];
            return response("302 Found", &fields, b"");
        }
        if request.target == "/claim" {
            let fields = [("location", "/account/"), ("set-cookie", "EGG_SESS=typed; path=/")];
            return response("302 Found", &fields, b"");
        }
        response("200 OK", &[], request.field("cookie").unwrap_or_default().as_bytes())
    })
    .await
}

struct Stage {
    nodes: Vec<Proxy>,
    redis: Option<Redis>,
    app: Responder,
    _keys: TempDir,
}

impl Stage {
    async fn start() -> Self {
        Self::with("own_sessions: true").await
    }

    async fn with(policy: &str) -> Self {
        Self::over(policy, Some(Redis::durable())).await
    }

    /// Two nodes over a Redis, or one that has its sessions in memory, where every call is in time.
    async fn over(policy: &str, redis: Option<Redis>) -> Self {
        let app = application().await;
        let keys = tempfile::tempdir().expect("a directory");
        let (shop, nodes) = match &redis {
            Some(redis) => (Shop::at(app.address).store(redis), 2),
            None => (Shop::at(app.address).in_memory(), 1),
        };
        let shop = shop.policy(policy).top(ADMIN).sharing(&keys);
        let rule = "{ request: POST /login, success: { status: [302], location: /account/ } }";
        let yaml = shop.yaml();
        assert!(yaml.contains(rule), "{yaml}");
        let named = "{ request: POST /login, success: { status: [302], location: /account/ }, \
                     subject: { header: X-User } }\n      - { request: POST /claim, success: \
                     { status: [302], location: /account/ }, subject: { form: user } }";
        let yaml = yaml.replace(rule, named);
        let nodes = (0..nodes).map(|_| Proxy::start(&yaml)).collect();
        Self { nodes, redis, app, _keys: keys }
    }

    async fn logged_in(&self, user: &str) -> Browser {
        let mut browser = browser(&self.nodes);
        let login = Ask::new("POST", &format!("/login?user={user}"));
        browser.send(login.field("User-Agent", user)).await.expect(302);
        assert!(is_in(&mut browser).await, "{user}");
        browser
    }
}

async fn is_in(browser: &mut Browser) -> bool {
    browser.get("/").await.expect(200).text().starts_with("EGG_SESS=")
}

fn ask(method: &str, rest: &str) -> Ask {
    Ask::new(method, &format!("{PATH}{rest}"))
}

/// As a script of the application's own page asks.
async fn from_here(browser: &mut Browser, method: &str, rest: &str) -> Response {
    let (name, value) = FROM_HERE;
    browser.send(ask(method, rest).field(name, value)).await
}

/// The list, each session as `(id, agent, current)`.
async fn list(browser: &mut Browser) -> Vec<(String, String, bool)> {
    let answer = from_here(browser, "GET", "").await.expect(200).json();
    let sessions = answer["sessions"].as_array().expect("a list").iter();
    let text = |value: &serde_json::Value| value.as_str().expect("text").to_owned();
    sessions
        .map(|session| {
            let current = session["current"].as_bool().expect("a truth");
            (text(&session["id"]), text(&session["agent"]), current)
        })
        .collect()
}

#[tokio::test]
async fn a_user_sees_her_own_sessions_and_no_secrets() {
    let stage = Stage::start().await;
    let mut alice = stage.logged_in("alice").await;
    let _second = stage.logged_in("ALICE").await;
    let _bob = stage.logged_in("bob").await;
    let mut found = list(alice.node(1)).await;
    found.sort_by(|a, b| a.1.cmp(&b.1));
    let seen: Vec<(&str, bool)> = found.iter().map(|(_, agent, now)| (&**agent, *now)).collect();
    assert_eq!(seen, [("ALICE", false), ("alice", true)]);
    let answer = from_here(&mut alice, "GET", "").await.expect(200);
    let ticket = alice.cookie(TICKET).expect("a ticket").value_text();
    assert!(!answer.text().contains("of-alice") && !answer.text().contains(&ticket));
    assert_eq!(answer.field("cache-control").as_deref(), Some("no-store"));
    assert_eq!(answer.field("content-type").as_deref(), Some("application/json"));
    let cors = answer.fields().names().iter().any(|name| name.starts_with("access-control"));
    assert!(!cors, "no other origin may read it");
    let asked = stage.app.seen().iter().any(|request| request.target.contains("well-known"));
    assert!(!asked, "no worker has heard of it");
}

#[tokio::test]
async fn a_user_ends_one_of_her_sessions() {
    let stage = Stage::start().await;
    let mut alice = stage.logged_in("alice").await;
    let mut lost = stage.logged_in("alice").await;
    let other = list(&mut alice).await.into_iter().find(|(.., current)| !current).expect("two");
    let target = format!("/{}", other.0);
    let ended = from_here(&mut alice, "DELETE", &target).await.expect(200);
    assert_eq!((ended.text(), ended.set_cookies()), ("{\"ended\":1}\n".to_owned(), Vec::new()));
    assert!(!is_in(lost.node(1)).await, "on every node");
    assert!(is_in(&mut alice).await);
    from_here(&mut alice, "DELETE", &target).await.expect(404);
    let series = "cloakroom_revocations_total{scope=\"session\"}";
    assert_eq!(metric(&stage.nodes[0], series).await, Some(1));
}

#[tokio::test]
async fn ending_the_current_session_takes_its_ticket_away() {
    let stage = Stage::start().await;
    let mut alice = stage.logged_in("alice").await;
    let mut thief = alice.clone();
    let current = list(&mut alice).await.remove(0).0;
    from_here(&mut alice, "DELETE", &format!("/{current}")).await.expect(200);
    assert!(alice.cookie(TICKET).is_none());
    assert!(!is_in(thief.node(1)).await, "and it is over for whoever has a copy");
}

#[tokio::test]
async fn a_user_ends_all_sessions_but_this_one() {
    let stage = Stage::start().await;
    for (method, rest) in [("DELETE", "?others"), ("POST", "?others=true")] {
        let mut alice = stage.logged_in("alice").await;
        let mut others = [stage.logged_in("alice").await, stage.logged_in("alice").await];
        let mut bob = stage.logged_in("bob").await;
        let ended = from_here(&mut alice, method, rest).await.expect(200);
        assert_eq!(ended.json()["ended"], 2, "{method}");
        assert!(is_in(&mut alice).await && is_in(&mut bob).await);
        for other in &mut others {
            assert!(!is_in(other.node(1)).await, "{method}");
        }
        from_here(&mut alice, method, "").await.expect(400);
        let current = list(&mut alice).await.remove(0).0;
        from_here(&mut alice, "DELETE", &format!("/{current}")).await.expect(200);
    }
}

/// Logs in again and again in one browser, each time with the ticket of the time before. On a busy
/// machine one login or other may miss the store's deadline: that is 503, and not what this is about.
async fn log_in_often(alice: &mut Browser, times: usize) {
    let mut succeeded = 0;
    while succeeded < times {
        match alice.send(Ask::new("POST", "/login?user=alice")).await.status {
            302 => succeeded += 1,
            status => assert_eq!(status, 503),
        }
    }
    assert!(is_in(alice).await);
}

/// PROTOCOL 27: what a login has moved is no session any more, however often that was.
#[tokio::test]
async fn a_thousand_logins_hide_no_thief_and_pass_no_limit() {
    let policy =
        "own_sessions: true\n    max_sessions_per_subject: { sessions: 2, beyond: end-oldest }";
    let stage = Stage::over(policy, None).await;
    let mut thief = stage.logged_in("alice").await;
    let mut alice = stage.logged_in("alice").await;
    log_in_often(&mut alice, 1010).await;
    let answer = from_here(&mut alice, "GET", "").await.expect(200).json();
    assert_eq!((&answer["total"], &answer["truncated"]), (&2.into(), &false.into()));
    assert_eq!(list(&mut alice).await.len(), 2, "hers and the thief's");
    // Whoever comes later: the oldest end.
    let mut all = Vec::new();
    for _ in 0..4 {
        all.push(stage.logged_in("alice").await);
    }
    assert!(!is_in(&mut thief).await && !is_in(&mut alice).await);
    let mut live = Vec::new();
    for browser in &mut all {
        live.push(is_in(browser).await);
    }
    assert_eq!(live, [false, false, true, true]);

    let mut last = all.pop().expect("the last");
    let mut thief = all.pop().expect("the last but one");
    log_in_often(&mut thief, 20).await;
    let ended = from_here(&mut last, "POST", "?others").await.expect(200).json();
    assert_eq!(ended["ended"], 1);
    assert!(!is_in(&mut thief).await && is_in(&mut last).await);
    let series = "cloakroom_revocations_total{scope=\"others\"}";
    assert_eq!(metric(&stage.nodes[0], series).await, Some(1));
}

/// The store counts: what a login costs does not grow with how many there were.
#[tokio::test]
async fn a_login_costs_the_same_after_many_others() {
    let policy = "max_sessions_per_subject: { sessions: 2, beyond: refuse }";
    let stage = Stage::over(policy, Some(Redis::start())).await;
    let redis = stage.redis.as_ref().expect("a Redis");
    let gets = || {
        let stats = redis.cli(&["INFO", "commandstats"]);
        let line = stats.lines().find_map(|line| line.strip_prefix("cmdstat_get:calls="));
        line.and_then(|line| line.split(',').next()).map_or(0, |n| n.parse().expect("a number"))
    };
    let mut alice = stage.logged_in("alice").await;
    let mut counts: [u64; 3] = [gets(), 0, 0];
    for count in &mut counts[1..] {
        log_in_often(&mut alice, 80).await;
        *count = gets();
    }
    let [first, second] = [counts[1] - counts[0], counts[2] - counts[1]];
    // Nodes read the era all the time, and a slow machine gives them more of it.
    assert!(first < 80 * 25 && second < 80 * 25, "{first}, then {second}");
    let mut other = stage.logged_in("alice").await;
    let mut third = browser(&stage.nodes);
    third.send(Ask::new("POST", "/login?user=alice")).await.expect(403);
    assert!(is_in(&mut other).await && is_in(&mut alice).await, "nobody else has to go");
}

/// PROTOCOL 23: another user's session is nobody's business, and a claim is nobody's name.
#[tokio::test]
async fn only_a_confirmed_user_is_answered() {
    let stage = Stage::start().await;
    let mut alice = stage.logged_in("alice").await;
    let hers = list(&mut alice).await.remove(0).0;

    let mut nobody = browser(&stage.nodes);
    from_here(&mut nobody, "GET", "").await.expect(401);
    from_here(&mut nobody, "DELETE", "?others").await.expect(401);

    let mut mallory = stage.logged_in("mallory").await;
    from_here(&mut mallory, "DELETE", &format!("/{hers}")).await.expect(404);

    let mut liar = browser(&stage.nodes);
    liar.post_form("/claim", &[("user", "alice")]).await.expect(302);
    assert!(is_in(&mut liar).await);
    from_here(&mut liar, "GET", "").await.expect(401);
    from_here(&mut liar, "DELETE", &format!("/{hers}")).await.expect(401);
    from_here(&mut liar, "POST", "?others").await.expect(401);
    assert!(is_in(&mut alice).await);
    assert_eq!(list(&mut alice).await.len(), 1, "what somebody typed is not listed as hers");
}

#[tokio::test]
async fn other_origins_get_nowhere() {
    let stage = Stage::start().await;
    let mut alice = stage.logged_in("alice").await;
    let mut other = stage.logged_in("alice").await;
    let port = stage.nodes[0].address().port();
    let origins = [
        ("Origin", "https://evil.example.net".to_owned()),
        ("Origin", "null".to_owned()),
        ("Origin", format!("http://{HOST}")),
        ("Origin", format!("https://evil.{HOST}")),
        ("Origin", format!("https://{HOST}:{}", port.wrapping_add(1))),
        ("Sec-Fetch-Site", "cross-site".to_owned()),
        ("Sec-Fetch-Site", "same-site".to_owned()),
        ("Sec-Fetch-Site", "none".to_owned()),
    ];
    for (name, value) in &origins {
        for (method, rest) in [("GET", ""), ("DELETE", "?others"), ("POST", "?others")] {
            let answer = alice.send(ask(method, rest).field(name, value)).await;
            let text = answer.expect(403).text();
            assert_eq!(text, "{\"error\":\"cross_origin\"}\n", "{method} {name}: {value}");
        }
    }
    // Neither field: a program, which may read.
    alice.send(ask("GET", "")).await.expect(200);
    alice.send(ask("DELETE", "?others")).await.expect(403);
    alice.send(ask("POST", "?others")).await.expect(403);
    let preflight = ask("OPTIONS", "")
        .field("Origin", "https://evil.example.net")
        .field("Access-Control-Request-Method", "DELETE");
    let answer = alice.send(preflight).await.expect(405);
    let cors = answer.fields().names().iter().any(|name| name.starts_with("access-control"));
    assert!(!cors, "a preflight is told nothing");
    assert!(is_in(&mut other).await, "none of it did anything");
    // An old browser, from the right page.
    let here = ask("DELETE", "?others").field("Origin", &format!("https://{HOST}"));
    alice.send(here).await.expect(200);
    assert!(!is_in(&mut other).await);
}

#[tokio::test]
async fn it_is_off_unless_a_policy_says_so() {
    let stage = Stage::with("own_sessions: false").await;
    let mut alice = stage.logged_in("alice").await;
    from_here(&mut alice, "GET", "").await.expect(200);
    let last = stage.app.last();
    assert_eq!(last.target, PATH, "it is the application's own path then");
}

#[tokio::test]
async fn what_the_store_does_not_take_is_not_acknowledged() {
    let mut stage = Stage::start().await;
    let mut alice = stage.logged_in("alice").await;
    let current = list(&mut alice).await.remove(0).0;
    stage.redis.as_mut().expect("a Redis").stop();
    for (method, rest) in [("GET", ""), ("DELETE", &*format!("/{current}")), ("POST", "?others")] {
        let answer = from_here(&mut alice, method, rest).await.expect(503);
        assert_eq!(answer.set_cookies(), Vec::<String>::new(), "{method}");
    }
    assert!(alice.cookie(TICKET).is_some());
    stage.redis.as_mut().expect("a Redis").start_again();
}

#[tokio::test]
async fn other_paths_and_methods_are_told_apart() {
    let stage = Stage::start().await;
    let mut alice = stage.logged_in("alice").await;
    for (method, rest, status) in [
        ("PUT", "", 405),
        ("GET", &*format!("/{}", "0".repeat(32)), 405),
        ("DELETE", &*format!("/{}", "0".repeat(32)), 404),
        ("DELETE", "/x", 404),
        ("GET", "/", 404),
        ("DELETE", "", 400),
    ] {
        from_here(&mut alice, method, rest).await.expect(status);
    }
    assert!(is_in(&mut alice).await);
}

/// As a browser goes to a page, and as a form of that page is sent.
fn visit() -> Ask {
    ask("GET", "").field("Accept", "text/html,*/*;q=0.8").field("Sec-Fetch-Mode", "navigate")
}

fn form(rest: &str) -> Ask {
    let form = ask("POST", rest).field("Accept", "text/html,*/*;q=0.8");
    form.field("Content-Type", "application/x-www-form-urlencoded")
}

#[tokio::test]
async fn who_asks_for_html_gets_a_page_in_her_language() {
    let stage = Stage::start().await;
    let mut alice = stage.logged_in("alice").await;
    let _other = stage.logged_in("alice").await;
    for (language, title) in
        [("de-AT,en;q=0.5", "Ihre Geräte"), ("zh", "您的设备"), ("fr", "Your devices")]
    {
        let visit =
            visit().field("Accept-Language", language).field("Sec-Fetch-Site", "same-origin");
        let page = alice.send(visit).await.expect(200);
        assert!(page.text().contains(&format!("<h1>{title}</h1>")), "{}", page.text());
        assert_eq!(page.text().matches("<li>").count(), 2);
        let policy = page.field("content-security-policy").expect("a policy");
        assert!(
            policy.contains("frame-ancestors 'none'") && !policy.contains("script"),
            "{policy}"
        );
        assert_eq!(page.field("cache-control").as_deref(), Some("no-store"));
        assert_eq!(page.field("vary").as_deref(), Some("Accept, Accept-Language"));
        assert!(!page.text().contains("<script"));
    }
    // A bookmark, or a link from elsewhere: the page is shown, and to nobody else.
    for site in ["none", "cross-site"] {
        let visit = visit().field("Sec-Fetch-Site", site);
        alice.send(visit.clone().field("Sec-Fetch-Dest", "document")).await.expect(200);
        alice.send(visit.field("Sec-Fetch-Dest", "iframe")).await.expect(403);
    }
    let json = alice.send(ask("GET", "").field("Accept", "application/json")).await.expect(200);
    assert_eq!(json.field("content-type").as_deref(), Some("application/json"));
    let mut nobody = browser(&stage.nodes);
    let page = nobody.send(visit().field("Sec-Fetch-Site", "same-origin")).await.expect(401);
    assert!(page.text().contains("You are not signed in"), "{}", page.text());
}

#[tokio::test]
async fn forms_of_the_page_end_sessions_and_no_others_do() {
    let stage = Stage::start().await;
    let mut alice = stage.logged_in("alice").await;
    let mut lost = stage.logged_in("alice").await;
    let mut third = stage.logged_in("alice").await;
    let found = list(&mut lost).await;
    let (hers, ..) = found.iter().find(|(.., current)| *current).expect("her own");
    for (name, value) in [
        ("Origin", "https://evil.example.net"),
        ("Origin", "null"),
        ("Sec-Fetch-Site", "cross-site"),
        ("Sec-Fetch-Site", "same-site"),
        ("Sec-Fetch-Site", "none"),
        ("X-Nothing", "said"),
    ] {
        for rest in [&*format!("/{hers}"), "?others"] {
            let page = alice.send(form(rest).field(name, value)).await.expect(403);
            assert!(page.text().contains("did not come from this page"), "{name}: {value}");
        }
    }
    assert!(is_in(&mut lost).await, "none of it did anything");
    let here = FROM_HERE;
    let ended = alice.send(form(&format!("/{hers}")).field(here.0, here.1)).await.expect(303);
    assert_eq!(ended.field("location"), Some(format!("{PATH}?ended")));
    assert!(!is_in(lost.node(1)).await && is_in(&mut third).await);
    let again = alice.send(form(&format!("/{hers}")).field(here.0, here.1)).await.expect(404);
    assert!(again.text().contains("over already"), "{}", again.text());
    alice.send(form("?others").field("Origin", &format!("https://{HOST}"))).await.expect(303);
    assert!(!is_in(third.node(1)).await && is_in(&mut alice).await);
    let (own, ..) = list(&mut alice).await.remove(0);
    alice.send(form(&format!("/{own}")).field(here.0, here.1)).await.expect(303);
    assert!(alice.cookie(TICKET).is_none());
}
