//! Workers whose clock is wrong: what they say of their cookies counts from their own `Date`.

use std::time::{Duration, SystemTime};

use httpdate::fmt_http_date;

use crate::support::browser::Browser;
use crate::support::client::Response;
use crate::support::http::response;
use crate::support::in_process::TestClock;
use crate::support::origin::{Request, Responder};
use crate::support::proxy::Proxy;
use crate::support::shop::{ALICE, HOST, Shop, browser};

const HOUR: u64 = 3600;
const HALF: u64 = HOUR / 2;

/// A clock that is so many seconds ahead, or behind.
#[derive(Clone, Copy)]
enum Off {
    Ahead(u64),
    Behind(u64),
}

impl Off {
    fn now(self) -> SystemTime {
        match self {
            Self::Ahead(by) => SystemTime::now() + Duration::from_secs(by),
            Self::Behind(by) => SystemTime::now() - Duration::from_secs(by),
        }
    }
}

/// Logs in for half an hour, by `Expires` alone, and out; says with which cookie it is asked.
async fn application(clock: Off) -> Responder {
    Responder::start(move |request: &Request| {
        let asked = request.field("cookie").unwrap_or_default();
        let date = fmt_http_date(clock.now());
        let until = fmt_http_date(clock.now() + Duration::from_secs(HALF));
        let login = format!("EGG_SESS=alice; Path=/; Expires={until}");
        let logout = format!("EGG_SESS=; Path=/; Expires={date}");
        let mut fields = vec![("Date", date.as_str())];
        let status = match request.target.as_str() {
            "/login" => {
                fields.extend([("Set-Cookie", login.as_str()), ("Location", "/account/")]);
                "302 Found"
            }
            "/out" => {
                fields.push(("Set-Cookie", logout.as_str()));
                "200 OK"
            }
            _ => "200 OK",
        };
        response(status, &fields, asked.as_bytes())
    })
    .await
}

const CLOCKS: [Off; 3] = [Off::Behind(HOUR), Off::Ahead(HOUR), Off::Ahead(0)];

async fn asked(alice: &mut Browser) -> String {
    alice.get("/").await.expect(200).text()
}

/// The session was lost with the login: half an hour from then was half an hour ago.
#[tokio::test]
async fn a_session_lives_as_long_as_a_worker_with_a_wrong_clock_means_it_to() {
    for off in CLOCKS {
        let (app, clock) = (application(off).await, TestClock::default());
        let shop = Shop::at(app.address).policy("timeouts: { idle: 14d, absolute: 30d }");
        let nodes = [shop.start_at(&clock)];
        let mut alice = browser(&nodes);
        alice.post_form("/login", ALICE).await.expect(302);
        assert_eq!(asked(&mut alice).await, "EGG_SESS=alice");
        clock.advance(Duration::from_secs(HALF - 60));
        assert_eq!(asked(&mut alice).await, "EGG_SESS=alice", "it lasts");
        clock.advance(Duration::from_secs(120));
        assert_eq!(asked(&mut alice).await, "", "and no longer");
    }
}

/// What is deleted by a date that is now there is deleted here.
#[tokio::test]
async fn a_worker_with_a_wrong_clock_deletes_its_cookies() {
    for off in CLOCKS {
        let app = application(off).await;
        let nodes = [Shop::at(app.address).start()];
        let mut alice = browser(&nodes);
        alice.post_form("/login", ALICE).await.expect(302);
        assert_eq!(asked(&mut alice).await, "EGG_SESS=alice");
        alice.post_form("/out", &[]).await.expect(200);
        assert_eq!(asked(&mut alice).await, "");
    }
}

/// `Max-Age` of the cookie that begins like this.
fn max_age(answer: &Response, cookie: &str) -> u64 {
    let lines = answer.set_cookies();
    let line = lines.iter().find(|line| line.starts_with(cookie));
    let value =
        line.and_then(|line| line.split("; ").find_map(|part| part.strip_prefix("Max-Age=")));
    value.and_then(|value| value.parse().ok()).unwrap_or_else(|| panic!("no Max-Age: {lines:?}"))
}

/// A node with a policy whose cookies go to the browser.
fn without_vault(app: &Responder, policy: &str) -> Proxy {
    Proxy::start(&format!(
        "workers: 1\nstate_directory: '{{directory}}'\n\
         listeners:\n  - address: 127.0.0.1:0\n    tls: {{ self_signed: true }}\n\
         sessions: {{ shop: {{ app_cookies: [EGG_SESS], {policy} }} }}\n\
         upstreams: {{ shop: {{ endpoints: [{{ address: '{address}' }}] }} }}\n\
         servers: [{{ names: [{HOST}], routes: [{{ path: /, upstream: shop, session: shop }}] }}]\n",
        address = app.address,
    ))
}

/// Tickets that follow the application's cookies, and sealed cookies.
#[tokio::test]
async fn what_leaves_lives_as_long_as_a_worker_with_a_wrong_clock_means_it_to() {
    for off in CLOCKS {
        let app = application(off).await;
        let shop = Shop::at(app.address).policy("timeouts: { idle: 14d, absolute: 30d }");
        let yaml =
            shop.yaml().replace("same_site: lax }", "same_site: lax, remember: application }");
        let nodes = [
            (Proxy::start(&yaml), "__Host-shop="),
            (
                without_vault(&app, "mode: seal, timeouts: { idle: 14d, absolute: 30d }"),
                "__Host-EGG_SESS=",
            ),
        ];
        for (node, cookie) in nodes {
            let mut alice = browser(std::slice::from_ref(&node));
            let answer = alice.post_form("/login", ALICE).await.expect(302);
            let left = max_age(&answer, cookie);
            assert!((HALF - 60..=HALF + 2).contains(&left), "{cookie} {left}");
            assert_eq!(asked(&mut alice).await, "EGG_SESS=alice", "{cookie}");
        }
    }
}
