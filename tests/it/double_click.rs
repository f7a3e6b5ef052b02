//! A double click on "log in" (PROTOCOL.md 20, 22): the browser drops the first request, and the worker
//! carries it out all the same. Every answer is under the test's control.

use http::{Method, Request};

use crate::support::browser::{Ask, Browser};
use crate::support::client::{Dial, request};
use crate::support::counts::{ADMIN, count};
use crate::support::h2::H2;
use crate::support::http::message;
use crate::support::origin::{Exchange, Origin};
use crate::support::proxy::Proxy;
use crate::support::shop::{ALICE, HOST, Shop, TICKET, browser};
use crate::support::{soon, within};

const LOGGED_IN: &str = "cloakroom_session_events_total{event=\"login\"}";
const MOVED: &str = "cloakroom_session_events_total{event=\"moved\"}";
const WELCOME: &str = "HTTP/1.1 302 Found\r\nLocation: /account/";
const FORBIDDEN: &str = "HTTP/1.1 403 Forbidden";

struct Scene {
    origin: Origin,
    nodes: Vec<Proxy>,
}

impl Scene {
    async fn start() -> Self {
        let origin = Origin::start().await;
        let nodes = vec![Shop::at(origin.address).in_memory().top(ADMIN).start()];
        Self { origin, nodes }
    }

    /// A browser with the session of a login form.
    async fn visitor(&mut self) -> Browser {
        let mut visitor = browser(&self.nodes);
        let form = Ask::get("/login");
        let asked = visitor.dispatch(&form);
        let answered = self.origin.answer(message(
            "HTTP/1.1 200 OK",
            &[("Set-Cookie", "EGG_SESS=form; Path=/")],
            b"..",
        ));
        let (answer, _) = tokio::join!(asked, answered);
        visitor.keep(&form, &answer.expect(200));
        visitor
    }

    async fn arrives(&mut self) -> Exchange {
        let exchange = self.origin.next().await;
        assert_eq!(exchange.request.target, "/login");
        exchange
    }
}

fn line(visitor: &Browser) -> String {
    format!("{TICKET}={}", visitor.cookie(TICKET).expect("a ticket").value_text())
}

fn answer(start: &str, cookie: Option<&str>) -> Vec<u8> {
    let fields: Vec<(&str, &str)> = cookie.iter().map(|cookie| ("Set-Cookie", *cookie)).collect();
    message(start, &fields, b"..")
}

/// The session is the worker's to log in, whoever waits for that: with HTTP/1.1 the connection ends.
#[tokio::test]
async fn a_login_whose_client_leaves_is_settled() {
    let mut scene = Scene::start().await;
    for reset in [false, true] {
        let visitor = scene.visitor().await;
        let before = count(&scene.nodes[0], LOGGED_IN).await;
        let mut first = Dial::to(scene.nodes[0].address()).tls(HOST).connect().await;
        let cookie = line(&visitor);
        first.send(request("POST", "/login", HOST, &[("Cookie", &cookie)], b"x=y")).await;
        let entering = scene.arrives().await;
        if reset {
            first.reset();
        } else {
            drop(first);
        }
        // The node has a moment to hear of it.
        tokio::time::sleep(std::time::Duration::from_millis(100)).await;
        entering.respond(answer(WELCOME, Some("EGG_SESS=alice; Path=/"))).await;
        soon(before + 1, "the login is settled", async || count(&scene.nodes[0], LOGGED_IN).await)
            .await;
    }
}

/// With HTTP/2 the stream is reset, and the second click comes on the same connection: it follows the
/// session, with its jar, and gets the next ticket.
#[tokio::test]
async fn a_second_click_on_the_same_connection_follows_the_session() {
    let mut scene = Scene::start().await;
    let visitor = scene.visitor().await;
    let cookie = line(&visitor);
    let mut http2 = H2::connect(&Dial::to(scene.nodes[0].address()).tls(HOST)).await;
    let head = || {
        let login = Request::builder().method(Method::POST).uri(format!("https://{HOST}/login"));
        login.header("cookie", &cookie).body(()).expect("a request")
    };
    let (first, mut stream) = http2.open(head(), true).await.expect("a stream");
    let entering = scene.arrives().await;
    stream.send_reset(h2::Reason::CANCEL);
    drop(first);
    let (second, _stream) = http2.open(head(), true).await.expect("a stream");
    tokio::time::sleep(std::time::Duration::from_millis(100)).await;
    entering.respond(answer(WELCOME, Some("EGG_SESS=alice; Path=/"))).await;
    let again = scene.arrives().await;
    assert_eq!(again.request.field("cookie").as_deref(), Some("EGG_SESS=alice"));
    again.respond(answer(FORBIDDEN, None)).await;
    let second = within("an answer", second).await.expect("an answer");
    assert_eq!(second.status(), 403, "the application's own");
    let cookies: Vec<_> = second.headers().get_all("set-cookie").iter().collect();
    assert_eq!(cookies.len(), 1, "the next ticket: {cookies:?}");
    assert_eq!(count(&scene.nodes[0], LOGGED_IN).await, 1);
    assert_eq!(count(&scene.nodes[0], MOVED).await, 1, "she stays logged in");
}

/// On another connection it might be anybody's: it is lent nothing, and led to the form where the
/// application says that it is an error.
#[tokio::test]
async fn a_second_click_elsewhere_is_led_to_the_form() {
    let mut scene = Scene::start().await;
    let visitor = scene.visitor().await;
    let login = |visitor: &Browser, ask: Ask| tokio::spawn(visitor.dispatch(&ask));
    let first = login(&visitor, Ask::form("/login", ALICE));
    scene.arrives().await.respond(answer(WELCOME, Some("EGG_SESS=alice; Path=/"))).await;
    first.await.expect("no panic").expect(302);

    let again = |fields: &[(&str, &str)]| {
        fields.iter().fold(Ask::form("/login", ALICE), |ask, (name, value)| ask.field(name, value))
    };
    let page = format!("https://{HOST}/sign-in");
    let navigates = ("Sec-Fetch-Mode", "navigate");
    for (fields, start, status, location, expires) in [
        (&[][..], FORBIDDEN, 303, Some("/login"), false),
        (&[navigates, ("Referer", page.as_str())], FORBIDDEN, 303, Some("/sign-in"), true),
        (&[navigates], "HTTP/1.1 200 OK", 200, None, true),
        (&[("Sec-Fetch-Mode", "cors")], FORBIDDEN, 403, None, false),
    ] {
        let second = login(&visitor, again(fields));
        let arrived = scene.arrives().await;
        assert_eq!(arrived.request.field("cookie"), None, "the jar is never lent again");
        arrived.respond(answer(start, None)).await;
        let second = second.await.expect("no panic").expect(status);
        assert_eq!(second.field("location").as_deref(), location, "{fields:?}");
        let cookies = second.set_cookies();
        let has_expired = cookies.iter().any(|cookie| cookie.contains("Max-Age=0"));
        assert_eq!((cookies.len(), has_expired), (usize::from(expires), expires), "{cookies:?}");
    }
}

/// A proxy in front has the requests of many on one connection.
#[tokio::test]
async fn behind_a_proxy_no_second_click_follows() {
    let mut scene = Scene::start().await;
    let visitor = scene.visitor().await;
    let cookie = line(&visitor);
    let mut http2 = H2::connect(&Dial::to(scene.nodes[0].address()).tls(HOST)).await;
    let head = || {
        let login = Request::builder().method(Method::POST).uri(format!("https://{HOST}/login"));
        let login = login.header("cookie", &cookie).header("x-forwarded-for", "192.0.2.1");
        login.body(()).expect("a request")
    };
    let (first, _stream) = http2.open(head(), true).await.expect("a stream");
    scene.arrives().await.respond(answer(WELCOME, Some("EGG_SESS=alice; Path=/"))).await;
    assert_eq!(within("an answer", first).await.expect("an answer").status(), 302);
    let (_second, _stream) = http2.open(head(), true).await.expect("a stream");
    assert_eq!(scene.arrives().await.request.field("cookie"), None);
}
