//! Failed attempts that only a text in the answer's body tells (PROTOCOL.md 17): its beginning is read
//! before the head leaves, and all of it arrives.

use std::time::{Duration, Instant};

use http::{Method, Request};

use crate::support::browser::{Ask, Browser};
use crate::support::client::{Connection, Dial, Response, request};
use crate::support::counts::{ADMIN, count};
use crate::support::h2::H2;
use crate::support::http::response;
use crate::support::origin::{Exchange, Origin};
use crate::support::proxy::Proxy;
use crate::support::shop::{ALICE, HOST, Shop, TICKET, browser};
use crate::support::{PATIENCE, soon};

const RULE: &str = "{ request: POST /login, success: { status: [200, 302] }, \
                    failure: { status: [200], body: '(?i)wrong (name|password)' } }";
const LOGGED_IN: &str = "cloakroom_session_events_total{event=\"login\"}";
const FAILED: &str = "cloakroom_session_events_total{event=\"login_failed\"}";
const LOOKED_AT: usize = 64 * 1024;
const WRONG: &[u8] = b"<p>Wrong password</p>";
const WELCOME: &[u8] = b"<p>Welcome</p>";

/// What an attempt counts as.
#[derive(Debug, PartialEq, Eq)]
enum Counted {
    Success,
    Failure,
}

struct Scene {
    origin: Origin,
    node: Proxy,
}

impl Scene {
    async fn start() -> Self {
        Self::with(Origin::start().await, |shop| shop)
    }

    fn with(origin: Origin, change: impl FnOnce(Shop) -> Shop) -> Self {
        let shop = Shop::at(origin.address).in_memory().login(RULE).top(ADMIN);
        let shop = shop.policy("login_attempts_per_minute: 1000");
        let shop = shop.route("{ path: /account/, upstream: shop, session: shop, require: login }");
        Self { origin, node: change(shop).start() }
    }

    fn visitor(&self) -> Browser {
        browser(std::slice::from_ref(&self.node))
    }

    /// A browser with the session of a login form.
    async fn at_form(&mut self) -> Browser {
        let mut visitor = self.visitor();
        let form = Ask::get("/login");
        let asked = visitor.dispatch(&form);
        let page = response("200 OK", &[("Set-Cookie", "EGG_SESS=form; Path=/")], b"");
        let (answer, _) = tokio::join!(asked, self.origin.answer(page));
        visitor.keep(&form, &answer.expect(200));
        visitor
    }

    async fn counts(&self) -> (u64, u64) {
        (count(&self.node, LOGGED_IN).await, count(&self.node, FAILED).await)
    }

    /// What was counted since then.
    async fn counted_since(&self, before: (u64, u64)) -> Counted {
        let now = self.counts().await;
        match (now.0 - before.0, now.1 - before.1) {
            (1, 0) => Counted::Success,
            (0, 1) => Counted::Failure,
            other => panic!("one attempt counts as {other:?}"),
        }
    }

    /// One attempt, answered in these parts. Without `keeps` the origin closes behind them.
    async fn attempt(&mut self, parts: &[&[u8]], keeps: bool) -> (Response, Counted) {
        let before = self.counts().await;
        let visitor = self.at_form().await;
        let asked = visitor.dispatch(&Ask::form("/login", ALICE));
        let answered = async {
            let mut exchange = self.origin.next().await;
            for part in parts {
                exchange.write(part).await;
            }
            if keeps {
                exchange.respond(b"").await;
            } else {
                exchange.close().await;
            }
        };
        let (answer, ()) = tokio::join!(asked, answered);
        (answer, self.counted_since(before).await)
    }
}

fn chunked(chunks: &[&[u8]]) -> Vec<Vec<u8>> {
    let head = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n".to_vec();
    let chunk = |chunk: &&[u8]| {
        [format!("{:x}\r\n", chunk.len()).as_bytes(), chunk, b"\r\n".as_slice()].concat()
    };
    let parts = chunks.iter().map(chunk);
    [head].into_iter().chain(parts).chain([b"0\r\n\r\n".to_vec()]).collect()
}

/// The body tells, whatever its framing and wherever it is cut; up to 64 KiB of it.
#[tokio::test]
async fn a_text_in_the_body_tells_a_failed_attempt_from_a_login() {
    let mut scene = Scene::start().await;
    let until_close = |body: &[u8]| [b"HTTP/1.1 200 OK\r\n\r\n".as_slice(), body].concat();
    let whole = |body: &[u8]| vec![response("200 OK", &[], body)];
    let far = |before: usize| [vec![b' '; before], b"wrong name, and more".to_vec()].concat();
    let (inside, beyond) = (far(LOOKED_AT - 10), far(LOOKED_AT - 9));
    let table = [
        ("a length", whole(WRONG), true, WRONG, Counted::Failure),
        ("a length", whole(WELCOME), true, WELCOME, Counted::Success),
        ("nothing", whole(b""), true, b"", Counted::Success),
        ("a redirect", vec![response("302 Found", &[], WRONG)], true, WRONG, Counted::Success),
        ("two chunks", chunked(&[b"<p>Wrong pass", b"word</p>"]), true, WRONG, Counted::Failure),
        ("one chunk", chunked(&[WELCOME]), true, WELCOME, Counted::Success),
        ("until close", vec![until_close(WRONG)], false, WRONG, Counted::Failure),
        ("until close", vec![until_close(WELCOME)], false, WELCOME, Counted::Success),
        ("the last of 64 KiB", whole(&inside), true, &inside, Counted::Failure),
        ("a byte further", whole(&beyond), true, &beyond, Counted::Success),
    ];
    for (what, parts, keeps, body, expected) in table {
        let parts: Vec<&[u8]> = parts.iter().map(Vec::as_slice).collect();
        let (answer, counted) = scene.attempt(&parts, keeps).await;
        assert_eq!(counted, expected, "{what}");
        assert!(answer.content() == body, "{what}: the body came as it was");
    }
}

/// `require: login` goes by it.
#[tokio::test]
async fn a_failed_attempt_with_200_opens_no_door() {
    let mut scene = Scene::start().await;
    for (body, status) in [(WRONG, 401), (WELCOME, 200)] {
        let mut visitor = scene.at_form().await;
        let login = Ask::form("/login", ALICE);
        let asked = visitor.dispatch(&login);
        let (answer, _) = tokio::join!(asked, scene.origin.answer(response("200 OK", &[], body)));
        assert_eq!(answer.set_cookies().len(), 1, "either has a new ticket");
        visitor.keep(&login, &answer);
        let asked = visitor.dispatch(&Ask::get("/account/"));
        let answered = async {
            if status == 200 {
                scene.origin.answer(response("200 OK", &[], b"")).await;
            }
        };
        let (page, ()) = tokio::join!(asked, answered);
        page.expect(status);
        assert_eq!(scene.origin.waiting(), 0);
    }
}

/// Workers are asked for what can be read, whatever the client would take; where one encodes all the
/// same, the attempt has failed.
#[tokio::test]
async fn an_encoded_answer_is_no_success() {
    let mut scene = Scene::start().await;
    let gzip: &[u8] = b"\x1f\x8b\x08\x00\x00\x00\x00\x00\x00\x03";
    let before = scene.counts().await;
    let visitor = scene.at_form().await.with_field("Accept-Encoding", "gzip, br");
    let asked = visitor.dispatch(&Ask::form("/login", ALICE));
    let raw = response("200 OK", &[("Content-Encoding", "gzip")], gzip);
    let (answer, seen) = tokio::join!(asked, scene.origin.answer(raw));
    assert_eq!(seen.fields().all("accept-encoding"), ["identity"]);
    assert_eq!(answer.content(), gzip);
    assert_eq!(scene.counted_since(before).await, Counted::Failure);

    let asked = visitor.dispatch(&Ask::get("/"));
    let (_, seen) = tokio::join!(asked, scene.origin.answer(response("200 OK", &[], b"")));
    assert_eq!(seen.fields().all("accept-encoding"), ["gzip, br"], "of no other request");
}

/// Many times what is held, over chunks that fit nowhere; the connection is kept.
#[tokio::test]
async fn a_large_body_arrives_whole() {
    let mut scene = Scene::start().await;
    let body: Vec<u8> =
        (0..1_000_003_u32).map(|at| (at.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
    let chunks: Vec<&[u8]> = body.chunks(30_011).collect();
    let (in_chunks, whole) = (chunked(&chunks), vec![response("200 OK", &[], &body)]);
    for parts in [&in_chunks, &whole, &in_chunks, &whole] {
        let parts: Vec<&[u8]> = parts.iter().map(Vec::as_slice).collect();
        let (answer, counted) = scene.attempt(&parts, true).await;
        assert!(answer.content() == body, "{} bytes came", answer.content().len());
        assert_eq!(counted, Counted::Success);
    }
    assert!(scene.origin.connections() <= 2, "each of two threads keeps one");
}

/// Also where all of the body was read before.
#[tokio::test]
async fn trailers_follow_what_was_held() {
    let mut scene = Scene::start().await;
    let head = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n";
    let (answer, counted) =
        scene.attempt(&[head, b"5\r\nhello\r\n0\r\nX-Sum: 5\r\n\r\n"], true).await;
    assert_eq!((answer.content(), counted), (&b"hello"[..], Counted::Success));
    assert_eq!(answer.body.trailers.one("x-sum").as_deref(), Some("5"));
}

async fn http2(scene: &Scene) -> H2 {
    H2::connect(&Dial::to(scene.node.address()).tls(HOST)).await
}

#[tokio::test]
async fn a_body_is_looked_at_over_http2_too() {
    let mut scene = Scene::start().await;
    let mut client = http2(&scene).await;
    let long = [WELCOME, &[b'x'; 300_000]].concat();
    for (body, expected) in
        [(WRONG, Counted::Failure), (WELCOME, Counted::Success), (&long, Counted::Success)]
    {
        let before = scene.counts().await;
        let line = ticket(&scene.at_form().await);
        let fields = [("cookie", line.as_str())];
        let asked = client.request(Method::POST, HOST, "/login", &fields, b"x=y");
        let (answer, _) = tokio::join!(asked, scene.origin.answer(response("200 OK", &[], body)));
        let answer = answer.expect("an answer");
        assert!(answer.body == body, "{} bytes came", answer.body.len());
        assert_eq!(scene.counted_since(before).await, expected);
    }
}

fn ticket(visitor: &Browser) -> String {
    format!("{TICKET}={}", visitor.cookie(TICKET).expect("a ticket").value_text())
}

/// A connection that has sent its login, and what the origin makes of it.
async fn entering(scene: &mut Scene) -> (Connection, Exchange) {
    let line = ticket(&scene.at_form().await);
    let mut client = Dial::to(scene.node.address()).tls(HOST).connect().await;
    client.send(request("POST", "/login", HOST, &[("Cookie", &line)], b"x=y")).await;
    (client, scene.origin.next().await)
}

/// Nothing has left yet, so the client hears of it; what the worker has done nobody knows.
#[tokio::test]
async fn an_answer_that_breaks_off_in_what_is_held_is_502() {
    let mut scene = Scene::start().await;
    let ended = "cloakroom_sessions_ended_total{cause=\"login_aborted\"}";
    for begun in [
        "HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nWelc",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nWelc\r\n",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nWelcome\r\n0\r\n\r\n",
    ] {
        let (before, aborted) = (scene.counts().await, count(&scene.node, ended).await);
        let (mut client, mut exchange) = entering(&mut scene).await;
        exchange.write(begun).await;
        exchange.close().await;
        client.response().await.expect(502);
        soon(aborted + 1, "the login is aborted", async || count(&scene.node, ended).await).await;
        assert_eq!(scene.counts().await, before);
    }
}

/// `timeouts.read` is for what is held in whole: its session waits.
#[tokio::test]
async fn an_answer_that_trickles_in_is_504() {
    let origin = Origin::start().await;
    let mut scene = Scene::with(origin, |shop| shop.upstream("timeouts: { read: 300ms }"));
    let (mut client, mut exchange) = entering(&mut scene).await;
    exchange.write("HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n").await;
    let trickle = async {
        let begun = Instant::now();
        while begun.elapsed() < PATIENCE {
            exchange.write("x").await;
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    tokio::select! {
        answer = client.response() => drop(answer.expect(504)),
        () = trickle => panic!("it may take for ever"),
    }
}

/// As while the head is awaited (PROTOCOL.md 20), with HTTP/1.1 and a stream of HTTP/2 that is reset.
#[tokio::test]
async fn a_client_that_leaves_meanwhile_is_logged_in_all_the_same() {
    let mut scene = Scene::start().await;
    let begun = "HTTP/1.1 200 OK\r\nContent-Length: 14\r\n\r\n<p>Wel";
    for is_http2 in [false, true] {
        let before = scene.counts().await;
        let exchange = if is_http2 {
            let line = ticket(&scene.at_form().await);
            let mut client = http2(&scene).await;
            let login =
                Request::builder().method(Method::POST).uri(format!("https://{HOST}/login"));
            let login = login.header("cookie", line).body(()).expect("a request");
            let (_answer, mut stream) = client.open(login, true).await.expect("a stream");
            let mut exchange = scene.origin.next().await;
            exchange.write(begun).await;
            stream.send_reset(h2::Reason::CANCEL);
            exchange
        } else {
            let (client, mut exchange) = entering(&mut scene).await;
            exchange.write(begun).await;
            drop(client);
            exchange
        };
        // The node has a moment to hear of it.
        tokio::time::sleep(Duration::from_millis(100)).await;
        exchange.respond("come</p>").await;
        soon(before.0 + 1, "the login is settled", async || scene.counts().await.0).await;
    }
}

/// Nothing else is held back: neither another request's answer nor one that no text would change.
#[tokio::test]
async fn other_answers_leave_with_their_heads() {
    let mut scene = Scene::start().await;
    let visitor = scene.at_form().await;
    let line = ticket(&visitor);
    for (method, target, start) in
        [("GET", "/login", "200 OK"), ("POST", "/cart", "200 OK"), ("POST", "/login", "302 Found")]
    {
        let mut client = Dial::to(scene.node.address()).tls(HOST).connect().await;
        client.send(request(method, target, HOST, &[("Cookie", &line)], b"x=y")).await;
        let mut exchange = scene.origin.next().await;
        exchange.write(format!("HTTP/1.1 {start}\r\nContent-Length: 4\r\n\r\nab")).await;
        let head = client.response_head().await;
        assert!(head.head.start.ends_with(start), "{method} {target}: {}", head.head.start);
        exchange.respond("cd").await;
    }
}
