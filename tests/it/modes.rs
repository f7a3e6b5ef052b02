//! The modes in which session cookies of the application reach the browser: `harden` and `seal`.
//!
//! Through raw bytes and through a small browser, which refuses what browsers refuse.

use std::net::SocketAddr;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;

use crate::support::apps::App;
use crate::support::browser::{Ask, Browser};
use crate::support::client::Dial;
use crate::support::http::response;
use crate::support::origin::{Origin, Request, Responder};
use crate::support::proxy::Proxy;
use crate::support::shop::{ALICE, HOST, MALLORY, browser, whoami};
use crate::support::within;

/// What Egg's cookie is called outside.
const OUTSIDE: &str = "__Host-EGG_SESS";

/// A configuration with a policy and a host of its own for each of its lines.
struct Modes {
    upstream: SocketAddr,
    /// Host, policy.
    policies: Vec<(&'static str, String)>,
    top: String,
}

impl Modes {
    fn at(upstream: SocketAddr, policy: &str) -> Self {
        Self { upstream, policies: vec![(HOST, policy.to_owned())], top: String::new() }
    }

    fn top(mut self, line: &str) -> Self {
        self.top.push_str(&format!("{line}\n"));
        self
    }

    fn yaml(&self) -> String {
        let mut sessions = String::new();
        let mut servers = String::new();
        for (number, (host, policy)) in self.policies.iter().enumerate() {
            let app_cookies = "app_cookies: [EGG_SESS, 'wp_*']";
            sessions.push_str(&format!("  p{number}: {{ {app_cookies}, {policy} }}\n"));
            servers.push_str(&format!(
                "  - {{ names: [{host}], routes: [{{ path: /, upstream: up, session: p{number} }}, \
                 {{ path: /plain/, upstream: up }}] }}\n"
            ));
        }
        format!(
            "workers: 1\nstate_directory: '{{directory}}'\n{top}\
             listeners:\n  - address: 127.0.0.1:0\n    tls: {{ self_signed: true }}\n\
             admin: {{ address: 'unix:{{directory}}/admin.sock' }}\n\
             sessions:\n{sessions}\
             upstreams: {{ up: {{ endpoints: [{{ address: '{upstream}' }}] }} }}\n\
             servers:\n{servers}",
            top = self.top,
            upstream = self.upstream,
        )
    }

    fn start(&self) -> Proxy {
        Proxy::start(&self.yaml())
    }
}

/// An origin that sets these cookies.
async fn sets(lines: &[&str]) -> Responder {
    let lines: Vec<String> = lines.iter().map(|line| (*line).to_owned()).collect();
    Responder::start(move |_: &Request| {
        let fields: Vec<(&str, &str)> =
            lines.iter().map(|line| ("Set-Cookie", line.as_str())).collect();
        response("200 OK", &fields, b"")
    })
    .await
}

/// What a `GET /` with these `Cookie` lines brings to the worker.
async fn arrives(node: &Proxy, origin: &mut Origin, lines: &[&str]) -> Option<String> {
    let fields: Vec<(&str, &str)> = lines.iter().map(|line| ("Cookie", *line)).collect();
    let mut connection = Dial::to(node.address()).tls(HOST).connect().await;
    let ask = connection.get(HOST, "/", &fields);
    let (answer, request) = tokio::join!(ask, origin.answer(response("200 OK", &[], b"")));
    assert!(answer.expect(200).set_cookies().is_empty());
    request.field("cookie")
}

async fn set_cookies(node: &Proxy, fields: &[(&str, &str)]) -> Vec<String> {
    let mut connection = Dial::to(node.address()).tls(HOST).connect().await;
    connection.get(HOST, "/", fields).await.expect(200).set_cookies()
}

async fn metric(node: &Proxy, series: &str) -> String {
    let asked = async {
        let mut stream = UnixStream::connect(node.directory().join("admin.sock")).await?;
        let request = "GET /metrics HTTP/1.1\r\nHost: admin\r\nConnection: close\r\n\r\n";
        stream.write_all(request.as_bytes()).await?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.map(|_| answer)
    };
    let metrics = within("the metrics", asked).await.expect("the admin listener answers");
    let line = metrics.lines().find_map(|line| line.strip_prefix(series)?.strip_prefix(' '));
    line.unwrap_or_else(|| panic!("{series} is missing from\n{metrics}")).to_owned()
}

/// Login, account page, logout, with a browser that refuses what browsers refuse.
async fn egg_works(node: &Proxy) {
    let mut alice = browser(std::slice::from_ref(node));
    alice.get("/?touch=1").await.expect(200);
    assert_eq!(whoami(&mut alice).await, None);
    let answer = alice.post_form("/login", ALICE).await.expect(302);
    assert_eq!(answer.field("location").as_deref(), Some("/account/"));
    assert!(alice.get("/account/").await.expect(200).text().contains("alice"));
    assert_eq!(alice.get("/").await.json()["views"], 1, "the session goes on");
    let cookie = alice.cookie(OUTSIDE).expect("it is under its prefix");
    assert!(cookie.secure && cookie.http_only && cookie.host_only && cookie.path == "/");
    assert_eq!(alice.cookies().len(), 1);
    alice.send(Ask::new("POST", "/logout")).await.expect(302);
    assert!(alice.cookies().is_empty(), "the application's deletion deletes it");
    assert_eq!(whoami(&mut alice).await, None);
    assert!(alice.jar.refused.is_empty(), "{:?}", alice.jar.refused);
}

#[tokio::test]
async fn egg_works_with_hardened_cookies() {
    let app = App::egg();
    egg_works(&Modes::at(app.address, "mode: harden").start()).await;
}

/// RFC 6265bis, section 4.1.3: what is planted under the application's own name, or under what a lax
/// reader takes for it, does not reach the worker.
#[tokio::test]
async fn planted_cookies_reach_no_worker() {
    let app = App::egg();
    let node = Modes::at(app.address, "mode: harden").start();
    let mut mallory = Browser::http(HOST, &[app.address]);
    mallory.post_form("/login", MALLORY).await.expect(302);
    let value = mallory.cookie("EGG_SESS").expect("Egg set it").value_text();
    let mut victim = browser(std::slice::from_ref(&node));
    for name in ["EGG_SESS", "egg_sess", "\u{a0}EGG_SESS", "EGG%5FSESS", "=EGG_SESS"] {
        victim.slip(&[format!("{name}={value}").into_bytes()]);
        assert_eq!(whoami(&mut victim).await, None, "{name}");
    }
    // Nobody can tell which of two is the planted one.
    let own = format!("{OUTSIDE}={value}");
    victim.slip(&[format!("{own}; {own}").into_bytes()]);
    assert_eq!(whoami(&mut victim).await, None);
    victim.slip(&[own.into_bytes()]);
    assert_eq!(whoami(&mut victim).await.as_deref(), Some("mallory"), "the value is good");
    assert_eq!(metric(&node, "cloakroom_tickets_rejected_total{reason=\"duplicate\"}").await, "1");
}

#[tokio::test]
async fn hardened_cookies_keep_their_place_and_others_their_own_rules() {
    let origin = sets(&[
        "a=1",
        "EGG_SESS=x; path=/; max-age=86400; httponly",
        "csrfToken=1; path=/",
        "wp_1=y; Domain=example.com; Path=/wp; SameSite=Strict",
        "EGG_SESS=; Path=/; Max-Age=0",
        "egg_sess=z",
    ])
    .await;
    let node = Modes::at(origin.address, "mode: harden").start();
    assert_eq!(
        set_cookies(&node, &[]).await,
        [
            "a=1; Secure; HttpOnly; SameSite=Lax",
            "__Host-EGG_SESS=x; path=/; max-age=86400; httponly; Secure; SameSite=Lax",
            "csrfToken=1; path=/; Secure; SameSite=Lax",
            "__Host-wp_1=y; Path=/; SameSite=Strict; Secure; HttpOnly",
            "__Host-EGG_SESS=; Path=/; Max-Age=0; Secure; HttpOnly; SameSite=Lax",
            "egg_sess=z; Secure; HttpOnly; SameSite=Lax",
        ]
    );
    let dropped = "cloakroom_cookie_findings_total{finding=\"domain_dropped\"}";
    assert_eq!(metric(&node, dropped).await, "1");
}

#[tokio::test]
async fn the_worker_sees_its_own_names() {
    let mut origin = Origin::start().await;
    let node = Modes::at(origin.address, "mode: harden").start();
    let arrived = arrives(&node, &mut origin, &["b=1; __Host-EGG_SESS=x", "__Host-wp_1=\"y\""]);
    assert_eq!(arrived.await.as_deref(), Some("b=1; EGG_SESS=x; wp_1=\"y\""));
    let arrived = arrives(&node, &mut origin, &["EGG_SESS=planted"]);
    assert_eq!(arrived.await, None);
}

#[tokio::test]
async fn policies_choose_prefix_domain_and_partition() {
    let origin = sets(&["EGG_SESS=x; Path=/app; Domain=shop.example.com"]).await;
    for (cookie, expected) in [
        (
            "prefix: none",
            "EGG_SESS=x; Path=/app; Domain=shop.example.com; Secure; HttpOnly; SameSite=Lax",
        ),
        (
            "prefix: secure, same_site: strict",
            "__Secure-EGG_SESS=x; Path=/app; Domain=shop.example.com; Secure; HttpOnly; \
             SameSite=Strict",
        ),
        (
            "domain: example.com",
            "__Secure-EGG_SESS=x; Path=/app; Domain=example.com; Secure; HttpOnly; SameSite=Lax",
        ),
        (
            "same_site: none, partitioned: true",
            "__Host-EGG_SESS=x; Path=/; Secure; HttpOnly; SameSite=None; Partitioned",
        ),
    ] {
        let policy = format!("mode: harden, cookie: {{ {cookie} }}");
        let node = Modes::at(origin.address, &policy).start();
        assert_eq!(set_cookies(&node, &[]).await, [expected], "{cookie}");
    }
}

#[tokio::test]
async fn same_site_none_is_left_out_for_browsers_that_misunderstand_it() {
    let origin = sets(&["EGG_SESS=x; Path=/"]).await;
    let policy = "mode: harden, cookie: { same_site: none }";
    let node = Modes::at(origin.address, policy).start();
    let ios_12 = "Mozilla/5.0 (iPhone; CPU iPhone OS 12_4 like Mac OS X) AppleWebKit/605.1.15 \
                  (KHTML, like Gecko) Version/12.1.2 Mobile/15E148 Safari/604.1";
    let found = set_cookies(&node, &[("User-Agent", ios_12)]).await;
    assert_eq!(found, ["__Host-EGG_SESS=x; Path=/; Secure; HttpOnly"]);
    let found = set_cookies(&node, &[("User-Agent", "curl/8.5.0")]).await;
    assert_eq!(found, ["__Host-EGG_SESS=x; Path=/; Secure; HttpOnly; SameSite=None"]);
}

/// For development: a browser would refuse prefix and `Secure`.
#[tokio::test]
async fn over_plain_http_there_is_neither_prefix_nor_secure() {
    let app = App::egg();
    let modes = Modes::at(app.address, "mode: harden").top("insecure_cookies: true");
    let node = Proxy::start(&modes.yaml().replace("    tls: { self_signed: true }\n", ""));
    let mut alice = Browser::http(HOST, &[node.address()]);
    alice.post_form("/login", ALICE).await.expect(302);
    assert_eq!(whoami(&mut alice).await.as_deref(), Some("alice"));
    let cookie = alice.cookie("EGG_SESS").expect("it has its own name");
    assert!(!cookie.secure && cookie.http_only);
}

/// What goes either way on a route that only reports is what goes on one without a policy, but for
/// the policy's own cookies, which leave as the worker wrote them.
#[tokio::test]
async fn a_report_changes_no_byte() {
    let lines = [
        "EGG_SESS=x; path=/; httponly",
        "wp_1=y; SameSite=None; Domain=example.org",
        "wp_2=; Max-Age=0",
        "__Host-EGG_SESS=z; Path=/x",
    ];
    let big = format!("EGG_SESS={}", "x".repeat(5000));
    let origin = sets(&[&lines[..], &[big.as_str()]].concat()).await;
    let node = Modes::at(origin.address, "mode: harden, report_only: true").start();
    let sent = "a=1; EGG_SESS=s; egg_sess=t; __Host-EGG_SESS=u; EGG_SESS=v";
    let found = set_cookies(&node, &[("Cookie", sent)]).await;
    assert_eq!(origin.last().field("cookie").as_deref(), Some(sent));
    assert_eq!(found[..3], lines[..3]);
    assert_eq!(found[4], big);
    let mut connection = Dial::to(node.address()).tls(HOST).connect().await;
    let plain = connection.get(HOST, "/plain/", &[]).await.set_cookies();
    assert_eq!(found[3], plain[3], "a cookie of another name has the rules of all others");
    for (finding, expected) in [
        ("oversized", "1"),
        ("none_without_secure", "1"),
        ("foreign_domain", "1"),
        ("domain_dropped", "1"),
        ("would_change", "4"),
    ] {
        let series = format!("cloakroom_cookie_findings_total{{finding=\"{finding}\"}}");
        assert_eq!(metric(&node, &series).await, expected, "{finding}");
    }
}
