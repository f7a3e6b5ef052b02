//! What browsers are asked to keep (`cookie: { remember: … }`) and to forget (`Clear-Site-Data`).

use std::time::Duration;

use crate::support::browser::Ask;
use crate::support::client::Response;
use crate::support::http::response;
use crate::support::in_process::TestClock;
use crate::support::origin::{Request, Responder};
use crate::support::proxy::Proxy;
use crate::support::shop::{ALICE, HOST, Shop, TICKET, browser};

const CLEARING: &str = "{ request: POST /logout, clear_site_data: [cache, storage] }";

/// Logs in and out, and says with which cookie it is asked.
async fn application() -> Responder {
    Responder::start(|request: &Request| {
        let asked = request.field("cookie").unwrap_or_default();
        match (request.method.as_str(), request.target.as_str()) {
            ("POST", "/login") => {
                let fields = [("set-cookie", "EGG_SESS=alice; path=/"), ("location", "/account/")];
                response("302 Found", &fields, b"")
            }
            ("POST", "/logout") => response("302 Found", &[("location", "/")], b""),
            ("GET", "/account/said") => {
                response("200 OK", &[("cache-control", "max-age=60")], asked.as_bytes())
            }
            ("GET", "/account/until") => {
                let expires = ("expires", "Thu, 01 Jan 2065 00:00:00 GMT");
                response("200 OK", &[expires], asked.as_bytes())
            }
            ("POST", "/out") => response("500 Internal Server Error", &[], b""),
            _ => response("200 OK", &[], asked.as_bytes()),
        }
    })
    .await
}

/// `Max-Age` of the ticket that an answer sets.
fn max_age(answer: &Response) -> Option<u64> {
    let tickets: Vec<String> =
        answer.set_cookies().into_iter().filter(|line| line.starts_with(TICKET)).collect();
    let [ticket] = tickets.as_slice() else { panic!("one ticket, not {tickets:?}") };
    let value = ticket.split("; ").find_map(|part| part.strip_prefix("Max-Age="));
    value.map(|value| value.parse().expect("a number"))
}

/// The absolute end is so far away, less what the test itself took; never further.
#[track_caller]
fn lives(answer: &Response, seconds: u64) {
    let max_age = max_age(answer).expect("it has Max-Age");
    assert!((seconds - 60..=seconds).contains(&max_age), "{max_age}, not {seconds}");
}

/// A ticket that survives the browser ends with its record, renewed or not.
#[tokio::test]
async fn a_remembered_ticket_lives_as_long_as_its_session() {
    let (app, clock) = (application().await, TestClock::default());
    let yaml = Shop::at(app.address)
        .yaml()
        .replace("same_site: lax }", "same_site: lax, remember: true }");
    let nodes = vec![Proxy::start_at(&clock, &yaml)];
    let mut alice = browser(&nodes);
    let login = alice.post_form("/login", ALICE).await.expect(302);
    lives(&login, 12 * 3600);

    alice.restart();
    assert_eq!(alice.get("/").await.expect(200).text(), "EGG_SESS=alice", "it survives");
    for _ in 0..4 {
        clock.advance(Duration::from_secs(20 * 60));
        alice.get("/").await.expect(200);
    }
    clock.advance(Duration::from_secs(16 * 60));
    let renewed = alice.get("/").await.expect(200);
    lives(&renewed, 12 * 3600 - 96 * 60);
}

/// Sets the cookies that the query names, as if the application had so decided.
async fn obedient() -> Responder {
    Responder::start(|request: &Request| {
        let (path, query) = request.target.split_once('?').unwrap_or((&request.target, ""));
        let cookies = query.split('&').filter(|cookie| !cookie.is_empty());
        let cookies: Vec<String> = cookies.map(|cookie| cookie.replace('~', "; ")).collect();
        let mut fields: Vec<(&str, &str)> =
            cookies.iter().map(|cookie| ("set-cookie", cookie.as_str())).collect();
        match path {
            "/login" => {
                fields.push(("location", "/account/"));
                response("302 Found", &fields, b"")
            }
            _ => {
                response("200 OK", &fields, request.field("cookie").unwrap_or_default().as_bytes())
            }
        }
    })
    .await
}

const DAY: u64 = 86_400;

/// A node whose tickets follow the application's cookies.
fn following(app: &Responder, clock: &TestClock) -> Vec<Proxy> {
    let shop = Shop::at(app.address).policy("timeouts: { idle: 14d, absolute: 30d }");
    let yaml = shop.yaml().replace("same_site: lax }", "same_site: lax, remember: application }");
    vec![Proxy::start_at(clock, &yaml)]
}

/// "Remember me" is for who asked for it: as long as the application keeps its own cookie, renewed or
/// not, and no longer than the session.
#[tokio::test]
async fn a_ticket_lives_as_the_cookies_of_the_login_do() {
    let (app, clock) = (obedient().await, TestClock::default());
    let nodes = following(&app, &clock);
    for (cookies, expected) in [
        ("sid=1~Path=/", None),
        ("sid=1~Path=/~Max-Age=864000", Some(10 * DAY)),
        ("sid=1~Path=/~Max-Age=34560000", Some(30 * DAY)),
        // The longest-lived of several, which may be a token beside the identifier.
        ("sid=1~Path=/&sessionid=2~Path=/~Max-Age=864000", Some(10 * DAY)),
        ("sid=1~Path=/~Max-Age=86400&sessionid=2~Path=/~Max-Age=864000", Some(10 * DAY)),
        // What is over in a moment must not take the session with it.
        ("sid=1~Path=/&sessionid=2~Path=/~Max-Age=10", None),
        ("sid=1~Path=/&sessionid=2~Path=/~Max-Age=0", None),
    ] {
        let mut alice = browser(&nodes);
        // What was there before the login says nothing about who logs in.
        alice.get("/?EGG_SESS=0~Path=/~Max-Age=20000000").await.expect(200);
        let answer = alice.post_form(&format!("/login?{cookies}"), ALICE).await.expect(302);
        check(&answer, expected, cookies);
        alice.get("/").await.expect(200);
        clock.advance(Duration::from_secs(20 * 60));
        check(&alice.get("/").await.expect(200), expected, "renewed");
        alice.restart();
        let is_back = alice.get("/").await.expect(200).text().contains("sid=1");
        assert_eq!(is_back, expected.is_some(), "{cookies}");
    }
}

#[track_caller]
fn check(answer: &Response, expected: Option<u64>, what: &str) {
    match expected {
        Some(seconds) => {
            let found =
                max_age(answer).unwrap_or_else(|| panic!("{what}: it ends with the browser"));
            assert!((seconds - 1800..=seconds).contains(&found), "{what}: {found}, not {seconds}");
        }
        None => assert_eq!(max_age(answer), None, "{what}"),
    }
}

/// An application that keeps its identifier sets nothing at the login: what it has set before counts.
#[tokio::test]
async fn a_login_that_sets_no_cookie_leaves_the_life_that_there_was() {
    let (app, clock) = (obedient().await, TestClock::default());
    let nodes = following(&app, &clock);
    for (cookies, expected) in
        [("sid=1~Path=/", None), ("sid=1~Path=/~Max-Age=864000", Some(10 * DAY))]
    {
        let mut alice = browser(&nodes);
        check(&alice.get(&format!("/?{cookies}")).await.expect(200), expected, "before");
        let answer = alice.post_form("/login", ALICE).await.expect(302);
        check(&answer, expected, cookies);
    }
}

/// The application may change its mind: the same ticket is sent again, for another time.
#[tokio::test]
async fn a_ticket_follows_what_the_application_says_later() {
    let (app, clock) = (obedient().await, TestClock::default());
    let nodes = following(&app, &clock);
    let mut alice = browser(&nodes);
    let answer = alice.post_form("/login?sid=1~Path=/~Max-Age=864000", ALICE).await.expect(302);
    check(&answer, Some(10 * DAY), "the login");
    for (cookies, expected) in [
        ("sid=2~Path=/~Max-Age=864000", Some(Some(10 * DAY))),
        ("sid=2~Path=/~Max-Age=1728000", Some(Some(20 * DAY))),
        ("connect.sid=1~Path=/~Max-Age=20000000", None),
        ("sid=3~Path=/", Some(None)),
        ("sid=4~Path=/", None),
        ("sid=5~Path=/~Max-Age=864000", Some(Some(10 * DAY))),
        ("sid=~Path=/~Max-Age=0", Some(None)),
    ] {
        clock.advance(Duration::from_secs(60));
        let answer = alice.get(&format!("/?{cookies}")).await.expect(200);
        match expected {
            Some(expected) => check(&answer, expected, cookies),
            None => assert_eq!(answer.set_cookies(), Vec::<String>::new(), "{cookies}"),
        }
    }
}

#[tokio::test]
async fn a_ticket_ends_with_the_browser_by_default() {
    let app = application().await;
    let nodes = vec![Shop::at(app.address).start()];
    let mut alice = browser(&nodes);
    assert_eq!(max_age(&alice.post_form("/login", ALICE).await.expect(302)), None);
    alice.restart();
    assert_eq!(alice.get("/").await.expect(200).text(), "");
}

/// A logout clears what it was told to, and never the cookies of the whole domain (PROTOCOL 28).
#[tokio::test]
async fn a_logout_that_succeeded_clears_cache_and_storage() {
    let app = application().await;
    let rules = format!("- {CLEARING}\n      - {{ request: POST /out, clear_site_data: [cache] }}");
    let yaml = Shop::at(app.address).yaml().replace("- { request: POST /logout }", &rules);
    let nodes = vec![Proxy::start(&yaml)];
    let mut alice = browser(&nodes);
    let field = |answer: &Response| answer.field("clear-site-data");
    assert_eq!(field(&alice.post_form("/login", ALICE).await.expect(302)), None);
    assert_eq!(field(&alice.get("/").await.expect(200)), None);
    let failed = alice.send(Ask::new("POST", "/out")).await.expect(500);
    assert_eq!(field(&failed), None, "the logout did not succeed");
    let forged = Ask::new("POST", "/logout").cross_site_navigation();
    let forged = alice.send(forged).await.expect(302);
    assert_eq!(field(&forged), None, "another site empties nobody's storage");
    let both = Some("\"cache\", \"storage\"".to_owned());
    let out = alice.send(Ask::new("POST", "/logout")).await.expect(302);
    assert_eq!(field(&out), both);
    assert!(alice.cookie(TICKET).is_none(), "the ticket itself is expired");
    let again = alice.send(Ask::new("POST", "/logout")).await.expect(302);
    assert_eq!(field(&again), both, "pages of a session that has ended may be there still");
}

/// What requires a login is kept by no cache, unless the application says something about it.
#[tokio::test]
async fn pages_that_require_a_login_are_not_kept() {
    let app = application().await;
    let route = "{ path: /account/, upstream: shop, session: shop, require: login }";
    let nodes = vec![Shop::at(app.address).route(route).start()];
    let mut alice = browser(&nodes);
    alice.post_form("/login", ALICE).await.expect(302);
    for (target, expected) in [
        ("/account/", Some("private, no-store")),
        ("/ACCOUNT", Some("private, no-store")),
        ("/account/said", Some("max-age=60")),
        ("/account/until", None),
        ("/", None),
    ] {
        let answer = alice.get(target).await.expect(200);
        assert_eq!(answer.text(), "EGG_SESS=alice");
        assert_eq!(answer.field("cache-control").as_deref(), expected, "{target}");
    }
}

/// `check` says what `cookies` does before anybody wonders.
#[tokio::test]
async fn clearing_the_cookies_of_a_domain_gives_a_warning() {
    let app = application().await;
    let yaml = Shop::at(app.address).yaml().replace(
        "- { request: POST /logout }",
        "- { request: POST /logout, clear_site_data: [cookies] }",
    );
    let directory = tempfile::tempdir().expect("a directory");
    let file = directory.path().join("cloakroom.yaml");
    let text = yaml.replace("{directory}", &directory.path().display().to_string());
    std::fs::write(&file, text.replace(":0\n", ":8443\n")).expect("the directory can be written");
    let checked = crate::support::proxy::Binary::run(&["check", "-c", &file.display().to_string()]);
    let said = [checked.stdout, checked.stderr].concat();
    let said = String::from_utf8_lossy(&said);
    assert!(checked.status.success(), "{said}");
    assert!(said.contains("sessions.shop.logout[0].clear_site_data[0]"), "{said}");
    assert!(said.contains("whole registrable domain"), "{said} for {HOST}");
}
