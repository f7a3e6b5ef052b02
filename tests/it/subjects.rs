//! Who logged in, and what the application says of its session. Rule numbers are PROTOCOL.md's.

use std::time::Duration;

use tempfile::TempDir;
use tokio::task::JoinHandle;

use crate::support::browser::{Ask, Browser};
use crate::support::client::{Connection, Dial, Response, request};
use crate::support::http::message;
use crate::support::in_process::TestClock;
use crate::support::origin::{Exchange, Origin, Request};
use crate::support::proxy::Proxy;
use crate::support::redis::Redis;
use crate::support::shop::{HOST, Shop, TICKET, browser};

/// A scripted application behind two nodes that share a clock, a key ring and a Redis. `/quiet/` is a
/// route that does not hear what the application says, `/plain/` one without sessions.
struct Stage {
    origin: Origin,
    nodes: Vec<Proxy>,
    redis: Redis,
    clock: TestClock,
    _keys: TempDir,
}

const FORM: &str = "subject: { form: user }";

impl Stage {
    /// With this in the login rule, and this line in the policy.
    async fn of(subject: &str, policy: &str) -> Self {
        let (origin, redis) = (Origin::start().await, Redis::durable());
        let (clock, keys) = (TestClock::default(), tempfile::tempdir().expect("a directory"));
        let shop = Shop::at(origin.address)
            .store(&redis)
            .policy(policy)
            .route("{ path: /quiet/, upstream: shop, session: shop }")
            .route("{ path: /plain/, upstream: shop }")
            .route("{ path: /login, upstream: shop, session: shop, request_buffering: false }")
            .sharing(&keys);
        let route = "{ path: /, upstream: shop, session: shop }";
        let heard = "{ path: /, upstream: shop, session: shop, session_header: true }";
        let (rule, named) =
            ("location: /account/ } }", format!("location: /account/ }}, {subject} }}"));
        let yaml = shop.yaml();
        assert!(yaml.contains(route) && yaml.contains(rule), "{yaml}");
        let yaml = yaml.replace(route, heard);
        let yaml = if subject.is_empty() { yaml } else { yaml.replace(rule, &named) };
        let nodes = (0..2).map(|_| Proxy::start_at(&clock, &yaml)).collect();
        Self { origin, nodes, redis, clock, _keys: keys }
    }

    fn browser(&self) -> Browser {
        browser(&self.nodes)
    }

    /// A request and its answer. The browser keeps the answer's cookies.
    async fn exchange(
        &mut self,
        browser: &mut Browser,
        ask: Ask,
        answer: &[u8],
    ) -> (Request, Response) {
        let mut sent = send(browser, &ask);
        let exchange = tokio::select! {
            exchange = self.origin.next() => exchange,
            early = &mut sent => {
                let early = early.expect("the response is read");
                panic!("{ask:?} was answered with {}: {}", early.status, early.text());
            }
        };
        let request = exchange.request.clone();
        exchange.respond(answer).await;
        let response = sent.await.expect("the response is read");
        browser.keep(&ask, &response);
        (request, response)
    }

    /// A page in whose answer the application says this.
    async fn says(&mut self, browser: &mut Browser, what: &str) -> Response {
        let answer = ok(&[("Cloakroom-Session", what)]);
        self.exchange(browser, Ask::get("/"), &answer).await.1
    }

    /// What the application is told of this browser's session: its cookies, and who it is.
    async fn told(&mut self, browser: &mut Browser) -> (String, Option<String>) {
        let (request, response) = self.exchange(browser, Ask::get("/"), &ok(&[])).await;
        response.expect(200);
        (request.field("cookie").unwrap_or_default(), request.field("x-session-subject"))
    }

    /// Whether this browser's session lends its jar, on both nodes.
    async fn is_in(&mut self, browser: &mut Browser) -> bool {
        let mut in_at = [false; 2];
        for (node, is_in) in in_at.iter_mut().enumerate() {
            *is_in = !self.told(browser.node(node)).await.0.is_empty();
        }
        browser.node(0);
        assert_eq!(in_at[0], in_at[1], "both nodes say the same");
        in_at[0]
    }

    /// A browser that has logged in as `user`, by what the application says.
    async fn logged_in(&mut self, user: &str) -> Browser {
        let mut browser = self.browser();
        self.log_in(&mut browser, user).await.expect(200);
        browser
    }

    async fn log_in(&mut self, browser: &mut Browser, user: &str) -> Response {
        let said = format!("login;subject=\"{user}\"");
        let cookie = format!("EGG_SESS={user}; Path=/");
        let answer = ok(&[("Cloakroom-Session", &said), ("Set-Cookie", &cookie)]);
        self.exchange(browser, Ask::new("POST", "/session"), &answer).await.1
    }

    /// A browser that has logged in with this body.
    async fn logged_in_with(&mut self, content_type: &str, body: &[u8]) -> Browser {
        let mut browser = self.browser();
        let ask = Ask::new("POST", "/login").field("Content-Type", content_type).body(body);
        self.exchange(&mut browser, ask, &welcome(&[])).await.1.expect(302);
        assert!(self.is_in(&mut browser).await);
        browser
    }
}

fn send(browser: &Browser, ask: &Ask) -> JoinHandle<Response> {
    tokio::spawn(browser.dispatch(ask))
}

fn ok(fields: &[(&str, &str)]) -> Vec<u8> {
    message("HTTP/1.1 200 OK", fields, b"..")
}

/// What a login is answered with if it succeeds.
fn welcome(fields: &[(&str, &str)]) -> Vec<u8> {
    let cookie = ("Set-Cookie", "EGG_SESS=in; Path=/");
    message("HTTP/1.1 302 Found\r\nLocation: /account/", &[fields, &[cookie]].concat(), b"..")
}

fn ticket(browser: &Browser) -> Option<Vec<u8>> {
    browser.cookie(TICKET).map(|cookie| cookie.value.clone())
}

#[track_caller]
fn assert_unsaid(response: &Response) {
    let raw = String::from_utf8_lossy(&response.head.raw).to_ascii_lowercase();
    assert!(!raw.contains("cloakroom") && !raw.contains("x-user"), "{raw}");
}

/// PROTOCOL 23: a claim puts a session beside the others of that user, and tells a worker nothing.
async fn claims(subject: &str, content_type: &str, bodies: [&[u8]; 3], not_hers: &[&[u8]]) {
    let mut stage = Stage::of(subject, "").await;
    let mut hers = Vec::new();
    for body in bodies {
        hers.push(stage.logged_in_with(content_type, body).await);
    }
    let mut others = Vec::new();
    for body in not_hers {
        others.push(stage.logged_in_with(content_type, body).await);
    }
    assert_eq!(stage.told(&mut hers[0]).await.1, None, "nobody has confirmed it");
    let response = stage.says(&mut hers[0], "revoke-subject").await.expect(200);
    assert!(response.set_cookies()[0].contains("Max-Age=0"), "{:?}", response.set_cookies());
    for (browser, body) in hers.iter_mut().zip(bodies) {
        assert!(!stage.is_in(browser).await, "{}", String::from_utf8_lossy(body));
    }
    for (browser, body) in others.iter_mut().zip(not_hers) {
        assert!(stage.is_in(browser).await, "{}", String::from_utf8_lossy(body));
    }
}

#[tokio::test]
async fn a_form_says_who_logs_in() {
    let hers: [&[u8]; 3] =
        [b"user=alice&password=x", b"password=x&user=ALICE+", b"user=%EF%BC%A1lice"];
    let long = [b"user=alice&x=".as_slice(), &[b'x'; 65_536]].concat();
    let others: [&[u8]; 4] = [b"user=bob", b"user=alice&user=alice", b"user=alice%", &long];
    claims(FORM, "application/x-www-form-urlencoded", hers, &others).await;
}

#[tokio::test]
async fn a_json_body_says_who_logs_in() {
    let hers: [&[u8]; 3] = [
        br#"{"user":{"name":"alice"},"password":"x"}"#,
        br#" {"x":[{}],"user":{"name":" ALICE"}} "#,
        br#"{"user":{"n\u0061me":"alice"}}"#,
    ];
    let others: [&[u8]; 3] = [
        br#"{"user":{"name":"bob"}}"#,
        br#"{"user":{"name":"alice"},"user":{"name":"alice"}}"#,
        br#"{"user":"alice"}"#,
    ];
    claims("subject: { json: user.name }", "application/json", hers, &others).await;
}

#[tokio::test]
async fn a_field_of_the_answer_confirms_who_has_logged_in() {
    let mut stage = Stage::of("subject: { header: X-User }", "").await;
    let mut alice = stage.browser();
    let answer = welcome(&[("X-User", "Alice")]);
    let login = Ask::form("/login", &[("user", "mallory")]);
    let (_, response) = stage.exchange(&mut alice, login, &answer).await;
    assert_unsaid(&response.expect(302));
    let told = stage.told(&mut alice).await;
    assert_eq!(told, ("EGG_SESS=in".to_owned(), Some("Alice".to_owned())), "its own spelling");
    // Elsewhere it is not passed on either.
    let (_, response) = stage.exchange(&mut alice, Ask::get("/"), &ok(&[("X-User", "Bob")])).await;
    assert_unsaid(&response.expect(200));
    assert_eq!(stage.told(&mut alice).await.1.as_deref(), Some("Alice"));
}

#[tokio::test]
async fn the_application_says_that_somebody_has_logged_in() {
    let mut stage = Stage::of("", "").await;
    let mut visitor = stage.browser();
    let begin = ok(&[("Set-Cookie", "EGG_SESS=before; Path=/")]);
    stage.exchange(&mut visitor, Ask::get("/"), &begin).await;
    let mut planted = visitor.clone();
    assert_eq!(stage.told(&mut visitor).await, ("EGG_SESS=before".to_owned(), None));
    let response = stage.says(&mut visitor, "login;subject=\"Alice\"").await.expect(200);
    assert_unsaid(&response);
    assert_ne!(ticket(&visitor), ticket(&planted), "rule 21: a new ticket");
    let told = stage.told(&mut visitor).await;
    assert_eq!(told, ("EGG_SESS=before".to_owned(), Some("Alice".to_owned())));
    assert!(!stage.is_in(&mut planted).await, "rule 22: the old one lends nothing");
    // As somebody else, and as nobody in particular.
    stage.says(&mut visitor, "login;subject=%\"zo%c3%ab\"").await.expect(200);
    assert_eq!(stage.told(&mut visitor).await.1.as_deref(), Some("zoë"));
    stage.says(&mut visitor, "login").await.expect(200);
    assert_eq!(stage.told(&mut visitor).await, ("EGG_SESS=before".to_owned(), None));
}

#[tokio::test]
async fn the_application_ends_a_session() {
    let mut stage = Stage::of("", "").await;
    let mut alice = stage.logged_in("alice").await;
    let mut thief = alice.clone();
    let response = stage.says(&mut alice, "logout").await.expect(200);
    assert_unsaid(&response);
    assert_eq!(ticket(&alice), None, "{:?}", response.set_cookies());
    assert!(!stage.is_in(&mut thief).await);
}

#[tokio::test]
async fn the_application_asks_for_the_next_ticket() {
    let mut stage = Stage::of("", "").await;
    let mut alice = stage.logged_in("alice").await;
    assert!(stage.is_in(&mut alice).await);
    let mut thief = alice.clone();
    assert_unsaid(&stage.says(&mut alice, "renew").await.expect(200));
    assert_ne!(ticket(&alice), ticket(&thief));
    assert_eq!(
        stage.told(&mut alice).await,
        ("EGG_SESS=alice".to_owned(), Some("alice".to_owned()))
    );
    stage.clock.advance(Duration::from_secs(61));
    assert!(!stage.is_in(&mut thief).await, "rule 15: after the grace the old one is a copy");
    assert!(!stage.is_in(&mut alice).await);
}

#[tokio::test]
async fn the_application_ends_all_sessions_of_a_user() {
    let mut stage = Stage::of("", "").await;
    let mut alice = [stage.logged_in("alice").await, stage.logged_in("Alice").await];
    let mut bob = stage.logged_in("bob").await;
    assert!(stage.is_in(&mut alice[1]).await);
    assert_unsaid(&stage.says(&mut alice[0], "revoke-subject").await.expect(200));
    assert_eq!(ticket(&alice[0]), None);
    for alice in &mut alice {
        assert!(!stage.is_in(alice).await);
    }
    assert!(stage.is_in(&mut bob).await);
    let mut alice = stage.logged_in("alice").await;
    assert!(stage.is_in(&mut alice).await, "she may log in again");
}

#[tokio::test]
async fn a_changed_password_ends_all_other_sessions() {
    let mut stage = Stage::of("", "").await;
    let mut alice = [stage.logged_in("alice").await, stage.logged_in("alice").await];
    let mut thief = alice[0].clone();
    let said = "login;subject=\"alice\", revoke-subject";
    assert_unsaid(&stage.says(&mut alice[0], said).await.expect(200));
    assert!(stage.is_in(&mut alice[0]).await, "this one is new");
    assert_eq!(stage.told(&mut alice[0]).await.1.as_deref(), Some("alice"));
    assert!(!stage.is_in(&mut alice[1]).await);
    assert!(!stage.is_in(&mut thief).await);
}

#[tokio::test]
async fn a_session_is_not_ended_where_the_application_may_not_say_so() {
    let mut stage = Stage::of("", "").await;
    let mut alice = stage.logged_in("alice").await;
    let mut visitor = stage.browser();
    for said in ["logout", "revoke-subject", "renew", "login;subject=\"bob\""] {
        for path in ["/quiet/", "/plain/"] {
            let answer = ok(&[("Cloakroom-Session", said), ("Cloakroom_Session", said)]);
            let (_, response) = stage.exchange(&mut alice, Ask::get(path), &answer).await;
            assert_unsaid(&response);
            assert_eq!(response.set_cookies(), [""; 0], "{said} on {path}");
            let answer = ok(&[("Cloakroom-Session", said), ("Set-Cookie", "EGG_SESS=v; Path=/")]);
            stage.exchange(&mut visitor, Ask::get(path), &answer).await;
        }
    }
    assert_eq!(stage.told(&mut alice).await.1.as_deref(), Some("alice"));
    assert_eq!(stage.told(&mut visitor).await.1, None);
}

/// PROTOCOL 30: final heads only, this spelling only; nothing is passed on from anywhere.
#[tokio::test]
async fn only_a_final_head_says_anything() {
    let mut stage = Stage::of("", "").await;
    let mut alice = stage.logged_in("alice").await;
    assert!(stage.is_in(&mut alice).await);
    let interim =
        b"HTTP/1.1 103 Early Hints\r\nCloakroom-Session: logout\r\nLink: </a.css>\r\n\r\n";
    let trailer = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n\
        2\r\n..\r\n0\r\nCloakroom-Session: logout\r\n\r\n";
    for answer in [
        [&interim[..], &ok(&[])].concat(),
        trailer.to_vec(),
        ok(&[("cloakroom_session", "logout")]),
    ] {
        let (_, response) = stage.exchange(&mut alice, Ask::get("/"), &answer).await;
        assert_unsaid(&response);
        for head in &response.interim {
            let raw = String::from_utf8_lossy(&head.raw).to_ascii_lowercase();
            assert!(!raw.contains("cloakroom"), "{raw}");
        }
        let body = String::from_utf8_lossy(&response.body.raw).into_owned();
        assert!(!body.contains("loakroom"), "{body}");
        assert!(stage.is_in(&mut alice).await);
    }
    // Nor does a client's own reach the application.
    let ask = Ask::get("/").field("Cloakroom-Session", "login;subject=\"bob\"");
    let (request, _) = stage.exchange(&mut alice, ask, &ok(&[])).await;
    assert_eq!(request.field("cloakroom-session"), None);
    assert_eq!(request.field("x-session-subject").as_deref(), Some("alice"));
}

#[tokio::test]
async fn nonsense_changes_nothing_and_several_lines_are_one() {
    let mut stage = Stage::of("", "").await;
    let mut alice = stage.logged_in("alice").await;
    for said in ["sign-out", "login, logout", "logout;", "renew, revoke-subject", "logout, x"] {
        let response = stage.says(&mut alice, said).await.expect(200);
        assert_unsaid(&response);
        assert_eq!(response.set_cookies(), [""; 0], "{said}");
    }
    assert!(stage.is_in(&mut alice).await);
    let lines =
        [("Cloakroom-Session", "login;subject=\"bob\""), ("Cloakroom-Session", "revoke-subject")];
    let (_, response) = stage.exchange(&mut alice, Ask::get("/"), &ok(&lines)).await;
    assert_unsaid(&response.expect(200));
    assert_eq!(stage.told(&mut alice).await.1.as_deref(), Some("bob"));
}

/// What is looked into is not changed, nor held back.
#[tokio::test]
async fn a_login_s_body_arrives_byte_for_byte() {
    let mut stage = Stage::of(FORM, "").await;
    let fields = [("Content-Type", "application/x-www-form-urlencoded")];
    let bytes: Vec<u8> =
        (0..200_000_u32).map(|n| n.to_le_bytes()[1] ^ n.to_le_bytes()[0]).collect();
    for length in [0, 1, 65_535, 65_536, 65_537, 200_000] {
        let body = &bytes[..length];
        let mut client = dial(&stage).await;
        client.send(request("POST", "/login", HOST, &fields, body)).await;
        let seen = stage.origin.answer(welcome(&[])).await;
        assert!(seen.body.content == body, "{length} bytes with a length");
        client.response().await.expect(302);

        let head = format!(
            "POST /login HTTP/1.1\r\nHost: {HOST}\r\nContent-Type: {}\r\n\
             Transfer-Encoding: chunked\r\n\r\n",
            fields[0].1
        );
        let mut raw = head.into_bytes();
        for chunk in body.chunks(7_001) {
            raw.extend_from_slice(format!("{:x}\r\n", chunk.len()).as_bytes());
            raw.extend_from_slice(chunk);
            raw.extend_from_slice(b"\r\n");
        }
        raw.extend_from_slice(b"0\r\n\r\n");
        let mut client = dial(&stage).await;
        client.send(raw).await;
        let seen = stage.origin.answer(welcome(&[])).await;
        assert!(seen.body.content == body, "{length} bytes in chunks");
        client.response().await.expect(302);
    }
    // The worker has the beginning before the client has sent the end.
    let mut client = dial(&stage).await;
    let head = request("POST", "/login", HOST, &fields, b"user=alice");
    let (beginning, end) = head.split_at(head.len() - 5);
    client.send(beginning).await;
    let mut exchange = stage.origin.next_head().await;
    arrives(&mut exchange, b"user=").await;
    client.send(end).await;
    arrives(&mut exchange, b"alice").await;
    exchange.respond(welcome(&[])).await;
    client.response().await.expect(302);
}

/// Reads until these bytes have arrived.
async fn arrives(exchange: &mut Exchange, expected: &[u8]) {
    let mut arrived = Vec::new();
    while arrived.len() < expected.len() {
        arrived.extend(exchange.read_some().await.expect("some bytes"));
    }
    assert_eq!(arrived, expected);
}

async fn dial(stage: &Stage) -> Connection {
    Dial::to(stage.nodes[0].address()).tls(HOST).connect().await
}

/// PROTOCOL 27: the session that ends all others goes on, with what it is told meanwhile.
#[tokio::test]
async fn what_is_on_its_way_while_all_others_end_is_kept() {
    let mut stage = Stage::of("", "own_sessions: true").await;
    let (mut alice, mut other) = (stage.logged_in("alice").await, stage.logged_in("alice").await);
    assert!(stage.is_in(&mut alice).await && stage.is_in(&mut other).await);
    let page = send(&alice, &Ask::get("/"));
    let exchange = stage.origin.next().await;
    let others = Ask::new("POST", "/.well-known/cloakroom/sessions?others");
    let ended = alice.send(others.field("Sec-Fetch-Site", "same-origin")).await.expect(200);
    assert_eq!(ended.json()["ended"], 1);
    exchange.respond(ok(&[("Set-Cookie", "sid=late; Path=/")])).await;
    page.await.expect("the response is read").expect(200);
    let told = stage.told(&mut alice).await;
    assert_eq!(told, ("EGG_SESS=alice; sid=late".to_owned(), Some("alice".to_owned())));
    assert!(!stage.is_in(&mut other).await);
    // A logout as well.
    let page = send(&alice, &Ask::new("POST", "/logout"));
    let exchange = stage.origin.next().await;
    let others = Ask::new("POST", "/.well-known/cloakroom/sessions?others");
    alice.send(others.field("Sec-Fetch-Site", "same-origin")).await.expect(200);
    exchange.respond(ok(&[])).await;
    page.await.expect("the response is read").expect(200);
    assert!(!stage.is_in(&mut alice).await);
}

const TWO: &str = "max_sessions_per_subject: { sessions: 2, beyond: refuse }";
const LAST_TWO: &str = "max_sessions_per_subject: { sessions: 2, beyond: end-oldest }";

#[tokio::test]
async fn a_login_too_many_is_refused() {
    let mut stage = Stage::of("", TWO).await;
    let mut first = stage.logged_in("alice").await;
    let mut second = stage.logged_in("Alice").await;
    assert!(stage.is_in(&mut first).await && stage.is_in(&mut second).await);
    let mut third = stage.browser();
    let begin = ok(&[("Set-Cookie", "EGG_SESS=before; Path=/")]);
    stage.exchange(&mut third, Ask::get("/"), &begin).await;
    let response = stage.log_in(third.node(1), "alice").await.expect(403);
    assert!(response.text().contains("logged in"), "{}", response.text());
    assert_eq!(response.set_cookies(), [""; 0]);
    assert!(!stage.is_in(&mut third).await, "the worker has logged its session in");
    assert!(stage.is_in(&mut first).await && stage.is_in(&mut second).await);

    stage.log_in(&mut second, "alice").await.expect(200);
    assert!(stage.is_in(&mut second).await, "the session that is replaced does not count");
    let mut bob = stage.logged_in("bob").await;
    assert!(stage.is_in(&mut bob).await, "others are not concerned");
    stage.says(&mut first, "logout").await.expect(200);
    stage.log_in(&mut third, "alice").await.expect(200);
    assert!(stage.is_in(&mut third).await, "there is room again");
}

#[tokio::test]
async fn a_login_too_many_ends_the_oldest() {
    let mut stage = Stage::of("", LAST_TWO).await;
    let mut all = Vec::new();
    for _ in 0..3 {
        let mut alice = stage.logged_in("alice").await;
        assert!(stage.is_in(&mut alice).await);
        all.push(alice);
        stage.clock.advance(Duration::from_secs(10));
    }
    let mut still_in = Vec::new();
    for alice in &mut all {
        still_in.push(stage.is_in(alice).await);
    }
    assert_eq!(still_in, [false, true, true]);
}

/// PROTOCOL 22: a session that was never presented does not count, and so two that begin at once
/// don't see each other; when they come back, they do.
#[tokio::test]
async fn of_logins_at_once_no_more_than_the_limit_stay() {
    for (limit, expected) in [(TWO, [true, true, false]), (LAST_TWO, [false, true, true])] {
        let mut stage = Stage::of("", limit).await;
        let mut all = Vec::new();
        for _ in 0..3 {
            all.push(stage.logged_in("alice").await);
            stage.clock.advance(Duration::from_secs(1));
        }
        for alice in &mut all {
            stage.told(alice).await;
            stage.clock.advance(Duration::from_secs(1));
        }
        let mut still_in = Vec::new();
        for alice in &mut all {
            still_in.push(stage.is_in(alice).await);
        }
        assert_eq!(still_in, expected, "{limit}");
    }
}

#[tokio::test]
async fn of_tickets_that_come_back_at_once_no_more_than_the_limit_stay() {
    for limit in [TWO, LAST_TWO] {
        let mut stage = Stage::of("", limit).await;
        let mut all = Vec::new();
        for _ in 0..6 {
            all.push(stage.logged_in("alice").await);
        }
        let sent: Vec<_> = all
            .iter_mut()
            .enumerate()
            .map(|(n, alice)| send(alice.node(n % 2), &Ask::get("/")))
            .collect();
        for _ in 0..6 {
            stage.origin.answer(ok(&[])).await;
        }
        for sent in sent {
            sent.await.expect("the response is read").expect(200);
        }
        let mut still_in = 0;
        for alice in &mut all {
            still_in += usize::from(stage.is_in(alice).await);
        }
        assert_eq!(still_in, 2, "{limit}");
    }
}

/// Nor does a failed login on a ticket that is new bring one in unseen.
#[tokio::test]
async fn a_ticket_that_comes_back_with_a_login_counts() {
    let mut stage = Stage::of("", TWO).await;
    let mut all = Vec::new();
    for _ in 0..3 {
        all.push(stage.logged_in("alice").await);
        stage.clock.advance(Duration::from_secs(1));
    }
    for alice in &mut all {
        let login = Ask::form("/login", &[("user", "alice")]);
        stage.exchange(alice, login, &ok(&[])).await.1.expect(200);
        stage.clock.advance(Duration::from_secs(1));
    }
    let mut still_in = Vec::new();
    for alice in &mut all {
        still_in.push(stage.is_in(alice).await);
    }
    assert_eq!(still_in, [true, true, false]);
}

/// PROTOCOL 8, 19: what the application asked for is done, or its answer is withheld.
#[tokio::test]
async fn nothing_is_acknowledged_while_the_store_is_down() {
    for said in
        ["login;subject=\"alice\"", "logout", "renew", "revoke-subject", "login, revoke-subject"]
    {
        let mut stage = Stage::of("", TWO).await;
        let mut alice = stage.logged_in("alice").await;
        assert!(stage.is_in(&mut alice).await);
        let sent = send(&alice, &Ask::get("/"));
        let exchange = stage.origin.next().await;
        stage.redis.stop();
        exchange.respond(ok(&[("Cloakroom-Session", said)])).await;
        let response = sent.await.expect("the response is read").expect(503);
        assert_eq!(response.set_cookies(), [""; 0], "{said}");
        assert_unsaid(&response);
    }
}
