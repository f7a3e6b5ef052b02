//! The modes in which session cookies of the application reach the browser: `harden` and `seal`.
//!
//! Through raw bytes and through a small browser, which refuses what browsers refuse.

use std::net::SocketAddr;
use std::time::Duration;

use cloakroom::clock::UnixMillis;
use cloakroom::crypto::keyring::Keyring;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;

use crate::interleavings::{ok, send};
use crate::support::apps::App;
use crate::support::browser::{Ask, Browser};
use crate::support::client::Dial;
use crate::support::http::response;
use crate::support::in_process::TestClock;
use crate::support::origin::{Origin, Request, Responder};
use crate::support::proxy::Proxy;
use crate::support::shop::{ALICE, HOST, MALLORY, browser, whoami};
use crate::support::within;

/// What Egg's cookie is called outside.
const OUTSIDE: &str = "__Host-EGG_SESS";

/// A configuration: policies that all keep the same cookies, hosts with one of them each.
struct Modes {
    upstream: SocketAddr,
    policies: Vec<String>,
    /// Host, index of its policy.
    servers: Vec<(&'static str, usize)>,
    top: String,
}

impl Modes {
    fn at(upstream: SocketAddr, policy: &str) -> Self {
        let (policies, servers) = (vec![policy.to_owned()], vec![(HOST, 0)]);
        Self { upstream, policies, servers, top: String::new() }
    }

    /// A further policy with a host of its own.
    fn policy(mut self, host: &'static str, policy: &str) -> Self {
        self.servers.push((host, self.policies.len()));
        self.policies.push(policy.to_owned());
        self
    }

    /// A further host.
    fn server(mut self, host: &'static str, policy: usize) -> Self {
        self.servers.push((host, policy));
        self
    }

    fn top(mut self, line: &str) -> Self {
        self.top.push_str(&format!("{line}\n"));
        self
    }

    fn yaml(&self) -> String {
        let mut sessions = String::new();
        for (number, policy) in self.policies.iter().enumerate() {
            let app_cookies = "app_cookies: [EGG_SESS, 'wp_*']";
            sessions.push_str(&format!("  p{number}: {{ {app_cookies}, {policy} }}\n"));
        }
        let mut servers = String::new();
        for (host, number) in &self.servers {
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

/// In every mode, for tickets, for exceptions, and where the application says it itself.
#[tokio::test]
async fn same_site_none_is_left_out_for_browsers_that_misunderstand_it() {
    const IOS_12: &str = "Mozilla/5.0 (iPhone; CPU iPhone OS 12_4 like Mac OS X) \
                          AppleWebKit/605.1.15 (KHTML, like Gecko) Version/12.1.2 Mobile/15E148 \
                          Safari/604.1";
    let origin =
        sets(&["EGG_SESS=x; Path=/", "embed=1; Path=/", "own=1; Secure; SameSite=None"]).await;
    let exceptions = "cookies: { defaults: { secure: true, http_only: false }, \
                      exceptions: { embed: { same_site: none }, own: { same_site: none } } }";
    for policy in [
        "mode: vault, cookie: { name: p, same_site: none }",
        "mode: seal, cookie: { same_site: none }",
        "mode: harden, cookie: { same_site: none }",
    ] {
        let node = Modes::at(origin.address, policy).top(exceptions).start();
        for (agent, expected) in [(IOS_12, 0), ("curl/8.5.0", 3)] {
            let found = set_cookies(&node, &[("User-Agent", agent)]).await;
            assert_eq!(found.len(), 3, "{policy}: {found:?}");
            let with_none = found.iter().filter(|field| field.contains("SameSite=None")).count();
            assert_eq!(with_none, expected, "{policy}, {agent}: {found:?}");
            let without = found.iter().filter(|field| !field.contains("SameSite")).count();
            assert_eq!(without, 3 - expected, "{policy}, {agent}: {found:?}");
        }
        // Where there is no session.
        let mut connection = Dial::to(node.address()).tls(HOST).connect().await;
        let answer = connection.get(HOST, "/plain/", &[("User-Agent", IOS_12)]).await.expect(200);
        assert_eq!(
            answer.set_cookies(),
            [
                "EGG_SESS=x; Path=/; Secure; SameSite=Lax",
                "embed=1; Path=/; Secure",
                "own=1; Secure"
            ],
            "{policy}"
        );
    }
}

/// A report changes nothing, whoever asks.
#[tokio::test]
async fn a_report_leaves_same_site_none_where_it_is() {
    let line = "EGG_SESS=x; Path=/; Secure; SameSite=None";
    let origin = sets(&[line]).await;
    let node = Modes::at(origin.address, "mode: harden, report_only: true").start();
    let ios_12 = "Mozilla/5.0 (iPad; CPU OS 12_3_1 like Mac OS X) AppleWebKit/605.1.15 (KHTML, \
                  like Gecko) CriOS/80.0.3987.95 Mobile/15E148 Safari/604.1";
    assert_eq!(set_cookies(&node, &[("User-Agent", ios_12)]).await, [line]);
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

#[tokio::test]
async fn egg_works_with_sealed_cookies() {
    let app = App::egg();
    let node = Modes::at(app.address, "mode: seal").start();
    egg_works(&node).await;
    let mut direct = Browser::http(HOST, &[app.address]);
    direct.post_form("/login", ALICE).await.expect(302);
    let mut alice = browser(std::slice::from_ref(&node));
    let answer = alice.post_form("/login", ALICE).await.expect(302);
    assert_eq!(answer.field("cache-control").as_deref(), Some("private, no-store"), "PROTOCOL 12");
    let inside = direct.cookie("EGG_SESS").expect("Egg set it").value_text();
    let outside = alice.cookie(OUTSIDE).expect("it is sealed").value_text();
    // Egg encrypts without a random part, so the two differ in their expiry at most.
    assert!(!outside.contains(&inside[..40]) && outside.starts_with('1'), "{outside}");
    assert!(alice.get("/whoami").await.set_cookies().is_empty(), "nothing is due");
}

/// The name, the policy and the host are associated data.
#[tokio::test]
async fn a_sealed_cookie_is_good_where_it_was_made_alone() {
    let mut origin = Origin::start().await;
    let modes = Modes::at(origin.address, "mode: seal")
        .policy("twin.example.com", "mode: seal")
        .server("other.example.com", 0);
    let node = modes.start();
    let set = response("200 OK", &[("Set-Cookie", "EGG_SESS=secret; Path=/")], b"");
    let mut alice = browser(std::slice::from_ref(&node));
    let (_, _) = tokio::join!(alice.get("/"), origin.answer(set));
    let value = alice.cookie(OUTSIDE).expect("it is sealed").value_text();
    let tampered = format!("{}{}", &value[..value.len() - 5], "AAAAA");
    for (host, cookie, expected) in [
        (HOST, format!("{OUTSIDE}={value}"), Some("EGG_SESS=secret")),
        (HOST, format!("__Host-wp_1={value}"), None),
        (HOST, format!("{OUTSIDE}={tampered}"), None),
        (HOST, format!("{OUTSIDE}={value}x"), None),
        (HOST, format!("{OUTSIDE}={value}; {OUTSIDE}={value}"), None),
        (HOST, format!("EGG_SESS={value}"), None),
        (HOST, "EGG_SESS=secret".to_owned(), None),
        (HOST, format!("{OUTSIDE}=secret; a=1"), Some("a=1")),
        ("twin.example.com", format!("{OUTSIDE}={value}"), None),
        ("other.example.com", format!("{OUTSIDE}={value}"), None),
    ] {
        let mut connection = Dial::to(node.address()).tls(host).connect().await;
        let fields = [("Cookie", cookie.as_str())];
        let ask = connection.get(host, "/", &fields);
        let (answer, request) = tokio::join!(ask, origin.answer(response("200 OK", &[], b"")));
        assert_eq!(request.field("cookie").as_deref(), expected, "{host} {cookie}");
        assert!(answer.expect(200).set_cookies().is_empty(), "nothing is expired: {cookie}");
    }
    for (reason, expected) in [("forged", "4"), ("malformed", "2"), ("duplicate", "1")] {
        let series = format!("cloakroom_tickets_rejected_total{{reason=\"{reason}\"}}");
        assert_eq!(metric(&node, &series).await, expected, "{reason}");
    }
}

/// PROTOCOL 4: an older key still opens, and the cookie leaves sealed with the new one. A node that
/// does not know that reads its ring again.
#[tokio::test]
async fn keys_roll_under_sealed_cookies() {
    let app = App::egg();
    let keys = tempfile::tempdir().expect("a temporary directory can be made");
    let path = keys.path().join("keyring.json");
    let mut ring = Keyring::generate(UnixMillis(0)).expect("randomness");
    ring.save_new(&path).expect("the directory can be written");
    let keyring = format!("keyring: {}", path.display());
    let modes = Modes::at(app.address, "mode: seal").top(&keyring);
    let old = modes.start();
    let added = ring.rotate(UnixMillis(0)).expect("there is room");
    ring.promote(added).expect("it is accepted");
    ring.replace(&path).expect("the file can be written");
    let nodes = [old, modes.start()];

    let mut alice = browser(&nodes).with_field("Sec-Fetch-Dest", "document");
    alice.post_form("/login", ALICE).await.expect(302);
    let before = alice.cookie(OUTSIDE).expect("it is sealed").value_text();
    alice.node(1);
    assert_eq!(whoami(&mut alice).await.as_deref(), Some("alice"));
    let after = alice.cookie(OUTSIDE).expect("it is sealed").value_text();
    // Version, key, nonce: the key's four bytes are within these characters.
    assert_ne!(before[..8], after[..8], "it left anew");
    alice.node(0);
    assert_eq!(whoami(&mut alice).await.as_deref(), Some("alice"), "the ring was read again");
    assert_eq!(alice.cookie(OUTSIDE).expect("it stays").value_text(), after);
}

/// RFC 6265bis, section 5.6: a browser keeps 4096 bytes.
#[tokio::test]
async fn a_long_cookie_is_cut_joined_and_its_rest_expired() {
    let long = "x".repeat(5500);
    let origin = {
        let long = long.clone();
        Responder::start(move |request: &Request| {
            let value = match request.target.as_str() {
                "/long" => long.as_str(),
                "/short" => "short",
                _ => return response("200 OK", &[], b""),
            };
            let cookie = format!("EGG_SESS={value}; Path=/; HttpOnly");
            response("200 OK", &[("Set-Cookie", &cookie)], b"")
        })
        .await
    };
    let node = Modes::at(origin.address, "mode: seal").start();
    let mut alice = browser(std::slice::from_ref(&node));
    let names = |browser: &Browser| -> Vec<String> {
        let name = |name: &Vec<u8>| String::from_utf8_lossy(name).into_owned();
        browser.cookies().iter().map(|cookie| name(&cookie.name)).collect()
    };
    alice.get("/long").await.expect(200);
    assert_eq!(names(&alice), [OUTSIDE, "__Host-EGG_SESS~1"]);
    let thief = alice.clone();
    alice.get("/").await.expect(200);
    assert_eq!(origin.last().field("cookie"), Some(format!("EGG_SESS={long}")));
    alice.get("/short").await.expect(200);
    assert_eq!(names(&alice), [OUTSIDE], "what is left of the longer one is expired");
    alice.get("/").await.expect(200);
    assert_eq!(origin.last().field("cookie").as_deref(), Some("EGG_SESS=short"));
    assert!(alice.jar.refused.is_empty(), "{:?}", alice.jar.refused);
    // A piece alone, or of another set, is nothing.
    let piece = thief.cookie("__Host-EGG_SESS~1").expect("it had one").value_text();
    alice.slip(&[format!("__Host-EGG_SESS~1={piece}").into_bytes()]);
    alice.get("/").await.expect(200);
    assert_eq!(origin.last().field("cookie").as_deref(), Some("EGG_SESS=short"));
}

#[tokio::test]
async fn an_idle_cookie_ends_and_one_in_use_goes_on() {
    let app = App::egg();
    let clock = TestClock::default();
    let modes = Modes::at(app.address, "mode: seal, timeouts: { idle: 10m, absolute: 1h }");
    let node = Proxy::start_at(&clock, &modes.yaml());
    let mut alice = browser(std::slice::from_ref(&node)).with_field("Sec-Fetch-Dest", "document");
    alice.post_form("/login", ALICE).await.expect(302);
    let minutes = |minutes: u64| Duration::from_secs(minutes * 60);
    let mut copy = alice.clone();
    for _ in 0..3 {
        clock.advance(minutes(9));
        let answer = alice.get("/whoami").await.expect(200);
        assert_eq!(answer.json()["user"], "alice");
        assert_eq!(answer.set_cookies().len(), 1, "sealed anew");
        assert_eq!(answer.field("cache-control").as_deref(), Some("private, no-store"));
    }
    let answer = copy.get("/whoami").await.expect(200);
    assert_eq!(answer.json()["user"], serde_json::Value::Null, "the one that nobody used is over");
    assert!(copy.cookies().is_empty(), "and gone: {:?}", answer.set_cookies());
    assert_eq!(metric(&node, "cloakroom_tickets_rejected_total{reason=\"too_old\"}").await, "1");
    for _ in 0..3 {
        clock.advance(minutes(9));
        assert_eq!(whoami(&mut alice).await.as_deref(), Some("alice"));
    }
    clock.advance(minutes(6));
    assert_eq!(whoami(&mut alice).await, None, "an hour after it began");
    assert!(alice.cookies().is_empty());
}

/// Pages and their parts that began before a form was sent and end after it bring the old value; what
/// the form saved, or that it logged out, stays.
#[tokio::test]
async fn a_late_answer_takes_back_nothing_that_was_saved_meanwhile() {
    let mut origin = Origin::start().await;
    let clock = TestClock::default();
    let node = Proxy::start_at(&clock, &Modes::at(origin.address, "mode: seal").yaml());
    let mut alice = browser(std::slice::from_ref(&node));
    let minutes = |minutes: u64| Duration::from_secs(minutes * 60);
    for (saves, left) in
        [("EGG_SESS=new; Path=/", Some("EGG_SESS=new")), ("EGG_SESS=; Path=/; Max-Age=0", None)]
    {
        let set = ok(&["EGG_SESS=old; Path=/"]);
        let sent = send(&alice, Ask::get("/"));
        origin.answer(set).await;
        sent.kept(&mut alice).await.expect(200);
        clock.advance(minutes(20));
        let mut late = Vec::new();
        for destination in [Some("document"), Some("empty"), Some("image"), None] {
            let ask = Ask::get("/slow");
            let sent = send(
                &alice,
                match destination {
                    Some(destination) => ask.field("Sec-Fetch-Dest", destination),
                    None => ask,
                },
            );
            late.push((sent, origin.next().await));
        }
        let form = send(&alice, Ask::form("/save", &[]).field("Sec-Fetch-Dest", "document"));
        origin.answer(ok(&[saves])).await;
        form.kept(&mut alice).await.expect(200);
        for (sent, exchange) in late {
            exchange.respond(response("200 OK", &[("Content-Type", "text/html")], b"")).await;
            let answer = sent.kept(&mut alice).await.expect(200);
            assert_eq!(answer.set_cookies(), Vec::<String>::new(), "{saves}");
        }
        let sent = send(&alice, Ask::get("/"));
        assert_eq!(origin.answer(ok(&[])).await.field("cookie").as_deref(), left);
        sent.response().await.expect(200);
    }
}

/// Its parts do not, nor a page that took long: on another node its cookie may have been replaced.
#[tokio::test]
async fn a_page_seals_what_it_brought_anew() {
    let mut origin = Origin::start().await;
    let clock = TestClock::default();
    let node = Proxy::start_at(&clock, &Modes::at(origin.address, "mode: seal").yaml());
    let mut alice = browser(std::slice::from_ref(&node));
    let sent = send(&alice, Ask::get("/"));
    origin.answer(ok(&["EGG_SESS=old; Path=/"])).await;
    sent.kept(&mut alice).await.expect(200);
    clock.advance(Duration::from_secs(15 * 60));
    let document = || Ask::get("/").field("Sec-Fetch-Dest", "document");
    let html = response("200 OK", &[("Content-Type", "text/html")], b"");
    for (ask, seconds, count) in [
        (Ask::get("/").field("Sec-Fetch-Dest", "script"), 0, 0),
        (document(), 5, 0),
        (document(), 0, 1),
    ] {
        let sent = send(&alice, ask);
        let exchange = origin.next().await;
        clock.advance(Duration::from_secs(seconds));
        exchange.respond(html.clone()).await;
        let answer = sent.response().await.expect(200);
        assert_eq!(answer.set_cookies().len(), count);
    }
}

#[tokio::test]
async fn what_is_too_large_is_left_out_and_the_rest_leaves() {
    let huge = format!("EGG_SESS={}", "x".repeat(30_000));
    let origin = sets(&["a=1; Path=/", &huge, "wp_1=b; Path=/"]).await;
    let node = Modes::at(origin.address, "mode: seal").start();
    let mut alice = browser(std::slice::from_ref(&node));
    alice.get("/").await.expect(200);
    let names: Vec<_> = alice.cookies().iter().map(|cookie| cookie.name.clone()).collect();
    assert_eq!(names, [b"a".to_vec(), b"__Host-wp_1".to_vec()]);
    let series = "cloakroom_sessions_not_made_total{cause=\"too_large\"}";
    assert_eq!(metric(&node, series).await, "1");
}
