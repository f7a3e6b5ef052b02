//! The order of a session's requests (PROTOCOL.md 18, 32): who takes turns, how long a turn is
//! held, and that nobody waits for ever. Every answer is under the test's control here; real
//! applications are in `rounds`.

mod fleet;
mod rounds;

use std::time::{Duration, Instant};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;
use tokio::task::JoinHandle;

use crate::support::browser::{Ask, Browser};
use crate::support::client::{Dial, Response, request};
use crate::support::http::message;
use crate::support::origin::{Exchange, Origin};
use crate::support::proxy::Proxy;
use crate::support::shop::{ALICE, HOST, Shop, TICKET, browser};
use crate::support::within;

/// How long something is watched that must not happen.
const A_WHILE: Duration = Duration::from_millis(150);
const ADMIN: &str = "admin: { address: 'unix:{directory}/admin.sock' }";

/// A scripted origin behind nodes with this order.
struct Scene {
    origin: Origin,
    nodes: Vec<Proxy>,
}

impl Scene {
    async fn of(serialize: &str) -> Self {
        let origin = Origin::start().await;
        let shop = Shop::at(origin.address).policy(&format!("serialize: {serialize}"));
        Self { nodes: vec![shop.in_memory().top(ADMIN).start()], origin }
    }

    /// A browser with a session.
    async fn visitor(&mut self) -> Browser {
        let mut visitor = browser(&self.nodes);
        let asked = send(&visitor, Ask::get("/begin"));
        self.origin.answer(answer(OK, &["EGG_SESS=before; Path=/"])).await;
        visitor.keep(&Ask::get("/begin"), &finished(asked).await.expect(200));
        visitor.cookie(TICKET).expect("a session cookie makes a session");
        visitor
    }

    /// The next request at the origin, which must be this one.
    async fn arrives(&mut self, target: &str) -> Exchange {
        let exchange = self.origin.next().await;
        assert_eq!(exchange.request.target, target);
        exchange
    }

    /// Watches for a while that nothing reaches the origin.
    async fn stays_quiet(&mut self) {
        tokio::time::sleep(A_WHILE).await;
        assert_eq!(self.origin.waiting(), 0, "nobody may go on");
    }

    /// The value of a series.
    async fn counted(&self, series: &str) -> u64 {
        counted(&self.nodes[0], series).await
    }
}

/// The value of a series of a node.
async fn counted(node: &Proxy, series: &str) -> u64 {
    let asked = async {
        let socket = UnixStream::connect(node.directory().join("admin.sock")).await;
        let mut socket = socket.expect("somebody listens");
        let request = "GET /metrics HTTP/1.1\r\nHost: admin\r\nConnection: close\r\n\r\n";
        socket.write_all(request.as_bytes()).await.expect("taken");
        let mut text = String::new();
        socket.read_to_string(&mut text).await.expect("an answer");
        text
    };
    let text = within("the admin listener", asked).await;
    text.lines()
        .find_map(|line| line.strip_prefix(series)?.strip_prefix(' ')?.parse().ok())
        .unwrap_or_else(|| panic!("{series} is missing from\n{text}"))
}

const OK: &str = "HTTP/1.1 200 OK";
const WELCOME: &str = "HTTP/1.1 302 Found\r\nLocation: /account/";

fn answer(start: &str, cookies: &[&str]) -> Vec<u8> {
    let lines: Vec<(&str, &str)> = cookies.iter().map(|line| ("Set-Cookie", *line)).collect();
    message(start, &lines, b"..")
}

fn post(target: &str) -> Ask {
    Ask::new("POST", target).body(b"x")
}

fn login() -> Ask {
    Ask::form("/login", ALICE)
}

fn send(browser: &Browser, ask: Ask) -> JoinHandle<Response> {
    tokio::spawn(browser.dispatch(&ask))
}

async fn finished(sent: JoinHandle<Response>) -> Response {
    within("an answer", sent).await.expect("the answer is read")
}

#[tokio::test]
async fn a_write_waits_until_the_answer_before_it_was_read_to_its_end() {
    let mut scene = Scene::of("unsafe").await;
    let visitor = scene.visitor().await;
    let first = send(&visitor, post("/first"));
    let mut writing = scene.arrives("/first").await;
    let second = send(&visitor, post("/second"));
    scene.stays_quiet().await;
    writing.write("HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nab").await;
    scene.stays_quiet().await;
    writing.respond("cd").await;
    finished(first).await.expect(200);
    scene.arrives("/second").await.respond(answer(OK, &[])).await;
    finished(second).await.expect(200);
}

#[tokio::test]
async fn an_answer_without_a_body_ends_the_turn_too() {
    let mut scene = Scene::of("unsafe").await;
    let visitor = scene.visitor().await;
    let first = send(&visitor, post("/first"));
    let writing = scene.arrives("/first").await;
    let second = send(&visitor, post("/second"));
    writing.respond("HTTP/1.1 204 No Content\r\n\r\n").await;
    finished(first).await.expect(204);
    scene.arrives("/second").await.respond(answer(OK, &[])).await;
    finished(second).await.expect(200);
}

#[tokio::test]
async fn pages_and_other_sessions_wait_for_no_write() {
    let mut scene = Scene::of("unsafe").await;
    let (visitor, other) = (scene.visitor().await, scene.visitor().await);
    let first = send(&visitor, post("/first"));
    let writing = scene.arrives("/first").await;
    let waiting = send(&visitor, post("/second"));
    for (browser, ask, target) in
        [(&visitor, Ask::get("/page"), "/page"), (&other, post("/other"), "/other")]
    {
        let sent = send(browser, ask);
        scene.arrives(target).await.respond(answer(OK, &[])).await;
        finished(sent).await.expect(200);
    }
    // Without a ticket there is no session whose turn it could be.
    let stranger = send(&browser(&scene.nodes), post("/stranger"));
    scene.arrives("/stranger").await.respond(answer(OK, &[])).await;
    finished(stranger).await.expect(200);
    writing.respond(answer(OK, &[])).await;
    finished(first).await.expect(200);
    scene.arrives("/second").await.respond(answer(OK, &[])).await;
    finished(waiting).await.expect(200);
}

#[tokio::test]
async fn with_login_alone_writes_do_not_wait() {
    let mut scene = Scene::of("login").await;
    let visitor = scene.visitor().await;
    let first = send(&visitor, post("/first"));
    let writing = scene.arrives("/first").await;
    let second = send(&visitor, post("/second"));
    scene.arrives("/second").await.respond(answer(OK, &[])).await;
    finished(second).await.expect(200);
    writing.respond(answer(OK, &[])).await;
    finished(first).await.expect(200);
}

#[tokio::test]
async fn with_all_pages_take_turns_and_preflights_do_not() {
    let mut scene = Scene::of("all").await;
    let visitor = scene.visitor().await;
    let first = send(&visitor, Ask::get("/first"));
    let reading = scene.arrives("/first").await;
    let second = send(&visitor, Ask::get("/second"));
    scene.stays_quiet().await;
    let preflight = Ask::new("OPTIONS", "/preflight")
        .field("Origin", "https://other.example.com")
        .field("Access-Control-Request-Method", "PUT");
    let preflight = send(&visitor, preflight);
    scene.arrives("/preflight").await.respond(answer(OK, &[])).await;
    finished(preflight).await.expect(200);
    reading.respond(answer(OK, &[])).await;
    finished(first).await.expect(200);
    scene.arrives("/second").await.respond(answer(OK, &[])).await;
    finished(second).await.expect(200);
}

#[tokio::test]
async fn with_all_an_event_stream_takes_no_turn() {
    let mut scene = Scene::of("all").await;
    let visitor = scene.visitor().await;
    let stream = send(&visitor, Ask::get("/events").field("Accept", "text/event-stream"));
    let _held = scene.arrives("/events").await;
    let page = send(&visitor, Ask::get("/page"));
    scene.arrives("/page").await.respond(answer(OK, &[])).await;
    finished(page).await.expect(200);
    stream.abort();
}

/// What a `POST` is answered with is known when its head is there.
#[tokio::test]
async fn an_answer_that_is_a_stream_gives_its_turn_up_at_the_head() {
    let mut scene = Scene::of("unsafe").await;
    let visitor = scene.visitor().await;
    let stream = send(&visitor, post("/chat"));
    let mut chat = scene.arrives("/chat").await;
    let second = send(&visitor, post("/second"));
    scene.stays_quiet().await;
    let head = "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\
                Transfer-Encoding: chunked\r\n\r\n";
    chat.write(head).await;
    scene.arrives("/second").await.respond(answer(OK, &[])).await;
    finished(second).await.expect(200);
    chat.respond("0\r\n\r\n").await;
    finished(stream).await.expect(200);
}

#[tokio::test]
async fn a_wait_is_bounded_and_what_goes_on_is_counted() {
    let mut scene = Scene::of("{ requests: unsafe, wait: 400ms }").await;
    let visitor = scene.visitor().await;
    let first = send(&visitor, post("/first"));
    let writing = scene.arrives("/first").await;
    let begun = Instant::now();
    let second = send(&visitor, post("/second"));
    let late = scene.arrives("/second").await;
    assert!(begun.elapsed() >= Duration::from_millis(400), "{:?}", begun.elapsed());
    assert_eq!(late.request.field("cookie").as_deref(), Some("EGG_SESS=before"));
    late.respond(answer(OK, &[])).await;
    finished(second).await.expect(200);
    let timed_out = r#"cloakroom_out_of_turn_total{cause="timed_out"}"#;
    assert_eq!(scene.counted(timed_out).await, 1);
    let audited = r#"cloakroom_session_events_total{event="out_of_turn"}"#;
    assert_eq!(scene.counted(audited).await, 1);
    writing.respond(answer(OK, &[])).await;
    finished(first).await.expect(200);
}

#[tokio::test]
async fn how_long_requests_wait_is_in_a_histogram() {
    let mut scene = Scene::of("unsafe").await;
    let visitor = scene.visitor().await;
    let first = send(&visitor, post("/first"));
    let writing = scene.arrives("/first").await;
    let second = send(&visitor, post("/second"));
    scene.stays_quiet().await;
    writing.respond(answer(OK, &[])).await;
    finished(first).await.expect(200);
    scene.arrives("/second").await.respond(answer(OK, &[])).await;
    finished(second).await.expect(200);
    // The first found the turn free; the second waited for a while.
    assert_eq!(scene.counted("cloakroom_session_wait_seconds_count").await, 1);
    let shorter = r#"cloakroom_session_wait_seconds_bucket{le="0.1"}"#;
    assert_eq!(scene.counted(shorter).await, 0);
}

#[tokio::test]
async fn a_client_that_leaves_passes_its_turn_on() {
    let mut scene = Scene::of("unsafe").await;
    let visitor = scene.visitor().await;
    let first = send(&visitor, post("/first"));
    let mut writing = scene.arrives("/first").await;
    let second = send(&visitor, post("/second"));
    scene.stays_quiet().await;
    first.abort();
    scene.arrives("/second").await.respond(answer(OK, &[])).await;
    finished(second).await.expect(200);
    writing.peer_closed().await;
}

#[tokio::test]
async fn a_worker_that_hangs_up_passes_the_turn_on() {
    let mut scene = Scene::of("unsafe").await;
    let visitor = scene.visitor().await;
    let first = send(&visitor, post("/first"));
    let writing = scene.arrives("/first").await;
    let second = send(&visitor, post("/second"));
    writing.reset();
    finished(first).await.expect(502);
    scene.arrives("/second").await.respond(answer(OK, &[])).await;
    finished(second).await.expect(200);
}

/// Nobody has the gate closed while a login waits for its turn, so pages are not held up by it;
/// and a write that came after it does not undo it.
#[tokio::test]
async fn a_login_takes_its_turn_among_the_writes() {
    let mut scene = Scene::of("unsafe").await;
    let mut visitor = scene.visitor().await;
    let first = send(&visitor, post("/first"));
    let writing = scene.arrives("/first").await;
    let logging_in = send(&visitor, login());
    scene.stays_quiet().await;
    let after = send(&visitor, post("/after"));
    let page = send(&visitor, Ask::get("/page"));
    scene.arrives("/page").await.respond(answer(OK, &[])).await;
    finished(page).await.expect(200);
    // Longer than rule 18's two seconds: a write has its whole wait.
    tokio::time::sleep(Duration::from_millis(2300)).await;
    assert_eq!(scene.origin.waiting(), 0);
    writing.respond(answer(OK, &["EGG_SESS=written; Path=/"])).await;
    finished(first).await.expect(200);
    let entering = scene.arrives("/login").await;
    assert_eq!(entering.request.field("cookie").as_deref(), Some("EGG_SESS=written"));
    scene.stays_quiet().await;
    entering.respond(answer(WELCOME, &["EGG_SESS=alice; Path=/"])).await;
    visitor.keep(&login(), &finished(logging_in).await.expect(302));
    let late = scene.arrives("/after").await;
    assert_eq!(late.request.field("cookie"), None, "its ticket's record was moved");
    late.respond(answer(OK, &["EGG_SESS=nobody; Path=/"])).await;
    assert_eq!(finished(after).await.expect(200).set_cookies(), Vec::<String>::new());
    let page = send(&visitor, Ask::get("/page"));
    let page_at = scene.arrives("/page").await;
    assert_eq!(page_at.request.field("cookie").as_deref(), Some("EGG_SESS=alice"));
    page_at.respond(answer(OK, &[])).await;
    finished(page).await.expect(200);
}

/// Two logins and a write of one session, all at once, each after the other.
#[tokio::test]
async fn two_logins_take_turns() {
    let mut scene = Scene::of("unsafe").await;
    let visitor = scene.visitor().await;
    let first = send(&visitor, login());
    let entering = scene.arrives("/login").await;
    let second = send(&visitor, login());
    scene.stays_quiet().await;
    entering.respond(answer(WELCOME, &["EGG_SESS=alice; Path=/"])).await;
    finished(first).await.expect(302);
    let again = scene.arrives("/login").await;
    assert_eq!(again.request.field("cookie"), None, "the record was moved by the first");
    again.respond(answer(WELCOME, &["EGG_SESS=again; Path=/"])).await;
    finished(second).await.expect(302);
}

/// A request that is refused before it reaches a worker holds its turn no longer than that.
#[tokio::test]
async fn a_refused_request_passes_its_turn_on() {
    let origin = Origin::start().await;
    let shop = Shop::at(origin.address)
        .in_memory()
        .policy("serialize: unsafe")
        .route("{ path: /account/, upstream: shop, session: shop, require: login }");
    let mut scene = Scene { nodes: vec![shop.start()], origin };
    let visitor = scene.visitor().await;
    for _ in 0..2 {
        finished(send(&visitor, post("/account/x"))).await.expect(401);
    }
    let next = send(&visitor, post("/next"));
    scene.arrives("/next").await.respond(answer(OK, &[])).await;
    finished(next).await.expect(200);
}

/// Raw, so that the connection is closed while the request waits for its turn.
#[tokio::test]
async fn a_client_that_leaves_while_waiting_holds_nobody_up() {
    let mut scene = Scene::of("unsafe").await;
    let visitor = scene.visitor().await;
    let ticket = visitor.cookie(TICKET).expect("a ticket").value_text();
    let first = send(&visitor, post("/first"));
    let writing = scene.arrives("/first").await;
    let mut gone = Dial::to(scene.nodes[0].address()).tls(HOST).connect().await;
    let fields = [("Cookie", format!("{TICKET}={ticket}"))];
    let fields: Vec<(&str, &str)> = fields.iter().map(|(n, v)| (*n, v.as_str())).collect();
    gone.send(request("POST", "/gone", HOST, &fields, b"x")).await;
    scene.stays_quiet().await;
    let third = send(&visitor, post("/third"));
    scene.stays_quiet().await;
    gone.reset();
    writing.respond(answer(OK, &[])).await;
    finished(first).await.expect(200);
    // Its head may reach the origin before anybody notices; nobody waits for its answer.
    let mut next = scene.origin.next_head().await;
    if next.request.target == "/gone" {
        next = scene.origin.next_head().await;
    }
    assert_eq!(next.request.target, "/third");
    next.read_body().await.expect("a body");
    next.respond(answer(OK, &[])).await;
    finished(third).await.expect(200);
}
