//! Requests and answers of one session that cross each other: every answer is under the test's
//! control, so that each order is played on purpose. Rule numbers are PROTOCOL.md's.

mod aborts;
mod end;
mod faults;
mod fresh;
mod login;
mod moved;
pub(crate) mod streams;
mod tap;

use tempfile::TempDir;
use tokio::task::JoinHandle;

use crate::support::browser::{Ask, Browser};
use crate::support::client::Response;
use crate::support::http::message;
use crate::support::in_process::TestClock;
use crate::support::origin::{Origin, Request, Responder};
use crate::support::proxy::{Binary, Proxy};
use crate::support::redis::Redis;
use crate::support::shop::{ALICE, Shop, TICKET, browser};

/// A scripted origin behind nodes that share a clock, a key ring and a Redis.
pub(crate) struct Scene {
    pub(crate) origin: Origin,
    pub(crate) nodes: Vec<Proxy>,
    pub(crate) redis: Redis,
    pub(crate) clock: TestClock,
    _keys: TempDir,
}

impl Scene {
    pub(crate) async fn of(nodes: usize) -> Self {
        Self::with(nodes, |yaml, _| yaml).await
    }

    /// As [`Scene::of`], with another configuration; the second argument is the Redis's URL.
    pub(crate) async fn with(nodes: usize, edit: impl Fn(String, &str) -> String) -> Self {
        let (origin, redis) = (Origin::start().await, Redis::durable());
        let (clock, keys) = (TestClock::default(), tempfile::tempdir().expect("a directory"));
        let ring = keys.path().join("keyring.json").display().to_string();
        let made = Binary::run(&["keys", "new", &ring]);
        assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
        let shop = Shop::at(origin.address).store(&redis).top(&format!("keyring: {ring}"));
        let yaml = edit(shop.yaml(), &redis.url());
        let nodes = (0..nodes).map(|_| Proxy::start_at(&clock, &yaml)).collect();
        Self { origin, nodes, redis, clock, _keys: keys }
    }

    /// A browser with a session that the application knows as `before`, and whose ticket has come
    /// back once.
    pub(crate) async fn visitor(&mut self) -> Browser {
        let mut visitor = self.newcomer().await;
        assert_eq!(self.lent(&mut visitor).await, "EGG_SESS=before");
        visitor
    }

    /// As [`Scene::visitor`], with a ticket that has not come back.
    async fn newcomer(&mut self) -> Browser {
        let mut visitor = browser(&self.nodes);
        self.exchange(&mut visitor, Ask::get("/"), &ok(&["EGG_SESS=before; Path=/"])).await;
        visitor.cookie(TICKET).expect("a session cookie makes a session");
        visitor
    }

    /// A request and its answer. The browser keeps the answer's cookies.
    pub(crate) async fn exchange(
        &mut self,
        browser: &mut Browser,
        ask: Ask,
        answer: &[u8],
    ) -> (Request, Response) {
        let sent = send(browser, ask);
        let request = self.origin.answer(answer).await;
        (request, sent.kept(browser).await)
    }

    /// The cookies that reach the application with this browser's request.
    pub(crate) async fn lent(&mut self, browser: &mut Browser) -> String {
        let (request, response) = self.exchange(browser, Ask::get("/"), &ok(&[])).await;
        response.expect(200);
        lent(&request)
    }

    /// Whether an answer to this browser may set a ticket.
    async fn may_begin_a_session(&mut self, browser: &mut Browser) -> bool {
        let answer = ok(&["EGG_SESS=new; Path=/"]);
        let (_, response) = self.exchange(browser, Ask::get("/"), &answer).await;
        !response.expect(200).set_cookies().is_empty()
    }
}

/// A request that is on its way.
pub(crate) struct Sent {
    ask: Ask,
    answer: JoinHandle<Response>,
}

impl Sent {
    pub(crate) async fn response(self) -> Response {
        self.answer.await.expect("the response is read")
    }

    /// The response, whose cookies the browser has kept.
    pub(crate) async fn kept(self, browser: &mut Browser) -> Response {
        let ask = self.ask.clone();
        let response = self.response().await;
        browser.keep(&ask, &response);
        response
    }
}

/// Sends a request with the browser's cookies of this moment, from its node.
pub(crate) fn send(browser: &Browser, ask: Ask) -> Sent {
    Sent { answer: tokio::spawn(browser.dispatch(&ask)), ask }
}

pub(crate) fn login() -> Ask {
    Ask::form("/login", ALICE)
}

/// What the application got for cookies.
fn lent(request: &Request) -> String {
    request.field("cookie").unwrap_or_default()
}

/// A page with these `Set-Cookie` lines.
pub(crate) fn ok(cookies: &[&str]) -> Vec<u8> {
    answer("HTTP/1.1 200 OK", cookies)
}

/// What a login is answered with if it succeeds.
pub(crate) fn welcome(cookies: &[&str]) -> Vec<u8> {
    answer("HTTP/1.1 302 Found\r\nLocation: /account/", cookies)
}

/// What a logout is answered with.
pub(crate) fn farewell() -> Vec<u8> {
    answer("HTTP/1.1 302 Found\r\nLocation: /", &[])
}

fn answer(start: &str, cookies: &[&str]) -> Vec<u8> {
    let lines: Vec<(&str, &str)> = cookies.iter().map(|line| ("Set-Cookie", *line)).collect();
    message(start, &lines, b"..")
}

/// Asserts that an answer touches no cookie at all.
#[track_caller]
fn silent(response: &Response, why: &str) {
    assert_eq!(response.set_cookies(), Vec::<String>::new(), "{why}");
}

/// Asserts that an answer takes the ticket away.
#[track_caller]
fn expires(response: &Response) {
    let lines = response.set_cookies();
    assert_eq!(lines.len(), 1, "{lines:?}");
    assert!(lines[0].starts_with(&format!("{TICKET}=;")), "{lines:?}");
    assert!(lines[0].contains("Max-Age=0"), "{lines:?}");
}
