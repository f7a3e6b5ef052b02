//! Redirects inside: error pages and `X-Accel-Redirect` lead the same request to another route.

use crate::support::client::{Dial, Response};
use crate::support::http::response;
use crate::support::origin::{Request, Responder};
use crate::support::proxy::Proxy;
use crate::support::shop::{ALICE, Shop, TICKET, browser};

/// Two workers: `app` answers with the status in its path, `pages` with what it was asked for.
struct Stage {
    proxy: Proxy,
    app: Responder,
    pages: Responder,
}

impl Stage {
    async fn start(server: &str, routes: &str) -> Self {
        let app = Responder::start(answer).await;
        let pages = Responder::start(echo).await;
        let proxy = Proxy::start(&format!(
            "workers: 1\nstate_directory: '{{directory}}'\nlisteners: [{{ address: 127.0.0.1:0 }}]\n\
             store: memory\nupstreams:\n  app: {{ endpoints: [{{ address: '{}' }}] }}\n  \
             pages: {{ endpoints: [{{ address: '{}' }}] }}\nservers:\n- {server}\n  routes:\n{routes}",
            app.address, pages.address
        ));
        Self { proxy, app, pages }
    }

    async fn asks(&self, raw: &str) -> Response {
        Dial::to(self.proxy.address()).connect().await.exchange(raw).await
    }

    async fn gets(&self, target: &str) -> Response {
        self.asks(&format!("GET {target} HTTP/1.1\r\nHost: a\r\n\r\n")).await
    }
}

/// `/404?a` is answered with 404; `/accel?/x` with an `X-Accel-Redirect` to `/x`.
fn answer(request: &Request) -> Vec<u8> {
    let (path, query) = request.target.split_once('?').unwrap_or((&request.target, ""));
    let status = format!("{} Said", &path[1..]);
    match path {
        "/accel" => {
            let fields = [
                ("X-Accel-Redirect", query),
                ("Set-Cookie", "seen=1"),
                ("Content-Disposition", "attachment"),
                ("X-Own", "1"),
                ("Cache-Control", "max-age=5"),
            ];
            response("200 OK", &fields, b"not this")
        }
        "/401" => response(&status, &[("WWW-Authenticate", "Basic realm=x")], b"from app"),
        _ => response(&status, &[("X-Own", "1"), ("Set-Cookie", "seen=1")], b"from app"),
    }
}

fn echo(request: &Request) -> Vec<u8> {
    let said = format!("{} {} {}", request.method, request.target, request.body.content.len());
    let mut raw = response("200 OK", &[], said.as_bytes());
    if request.method == "HEAD" {
        raw.truncate(raw.len() - said.len());
    }
    raw
}

const PAGES: &str = "  - { path: /, upstream: app, intercept_errors: true }\n\
                     \x20 - { path: /pages/, upstream: pages, internal: true }\n";

#[track_caller]
fn shows(response: &Response, status: u16, content: &str) {
    assert_eq!((response.status, response.text().as_str()), (status, content));
}

#[tokio::test]
async fn an_error_of_a_worker_has_its_page_and_keeps_its_status() {
    let pages = "error_page: { 404 410: /pages/404?a=b, 403: '= /pages/403', 409: '=200 /pages/409', \
                 500: '=303 https://status.example.com/' }";
    let stage = Stage::start(pages, PAGES).await;
    let missing = stage.gets("/404").await;
    shows(&missing, 404, "GET /pages/404?a=b 0");
    assert_eq!(missing.field("x-own"), None, "the answer of the first worker is gone");
    assert_eq!(missing.set_cookies(), Vec::<String>::new(), "and its cookies");
    shows(&stage.gets("/410").await, 410, "GET /pages/404?a=b 0");
    shows(&stage.gets("/403").await, 200, "GET /pages/403 0");
    shows(&stage.gets("/409").await, 200, "GET /pages/409 0");
    let moved = stage.gets("/500").await.expect(303);
    assert_eq!(moved.field("location").as_deref(), Some("https://status.example.com/"));
    shows(&stage.gets("/502").await, 502, "from app");
    shows(&stage.gets("/200").await, 200, "from app");
}

#[tokio::test]
async fn an_error_page_is_asked_for_by_get_without_the_body() {
    let server = "request_buffering: false\n  error_page: { 404: /pages/404 }";
    let stage = Stage::start(server, PAGES).await;
    let mut client = Dial::to(stage.proxy.address()).connect().await;
    let post = "POST /404 HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\n\r\nabcd";
    shows(&client.exchange(post).await, 404, "GET /pages/404 0");
    let asked = stage.pages.last();
    assert_eq!(asked.field("content-length"), None);
    client.send("HEAD /404 HTTP/1.1\r\nHost: a\r\n\r\n").await;
    let head = client.response_to_head().await;
    assert_eq!((head.status, head.field("content-length").as_deref()), (404, Some("17")));
    assert_eq!(stage.pages.last().method, "HEAD");
    shows(&client.exchange("GET /200 HTTP/1.1\r\nHost: a\r\n\r\n").await, 200, "from app");
}

#[tokio::test]
async fn challenges_survive_an_error_page() {
    let stage = Stage::start("error_page: { 401: /pages/401 }", PAGES).await;
    let asked = stage.gets("/401").await;
    shows(&asked, 401, "GET /pages/401 0");
    assert_eq!(asked.field("www-authenticate").as_deref(), Some("Basic realm=x"));
}

#[tokio::test]
async fn a_worker_s_errors_are_passed_on_unless_they_are_intercepted() {
    let routes = "  - { path: /, upstream: app }\n  - { path: /pages/, upstream: pages }\n";
    let stage = Stage::start("error_page: { 404: /pages/404 }", routes).await;
    shows(&stage.gets("/404").await, 404, "from app");
}

#[tokio::test]
async fn our_own_errors_have_pages_too() {
    let stage = Stage::start("error_page: { 404 413: /pages/own }", PAGES).await;
    shows(&stage.gets("/pages/x").await, 404, "GET /pages/own 0");
    let large = "POST /200 HTTP/1.1\r\nHost: a\r\nContent-Length: 9999999\r\n\r\n";
    shows(&stage.asks(large).await, 413, "GET /pages/own 0");
    assert!(stage.app.seen().is_empty());
}

#[tokio::test]
async fn an_error_inside_a_page_is_shown_as_it_is_unless_pages_recur() {
    let routes = |recursive: &str| {
        format!(
            "  - {{ path: /, upstream: app, intercept_errors: true, {recursive} error_page: \
             {{ 404: /403, 403: /pages/last }} }}\n  - {{ path: /pages/, upstream: pages }}\n"
        )
    };
    let stage = Stage::start("names: [a]", &routes("")).await;
    shows(&stage.gets("/404").await, 404, "from app");
    let stage = Stage::start("names: [a]", &routes("recursive_error_pages: true,")).await;
    shows(&stage.gets("/404").await, 403, "GET /pages/last 0");
}

#[tokio::test]
async fn pages_that_lead_in_a_circle_end() {
    let route = "  - { path: /, upstream: app, intercept_errors: true, recursive_error_pages: true, \
                 error_page: { 404: /404 } }\n";
    let stage = Stage::start("names: [a]", route).await;
    stage.gets("/404").await.expect(500);
    assert_eq!(stage.app.seen().len(), 11);
}

#[tokio::test]
async fn a_worker_sends_a_request_to_another_route() {
    let stage = Stage::start("names: [a]", PAGES).await;
    let sent = stage.gets("/accel?/pages/a%20b?c=d").await;
    shows(&sent, 200, "GET /pages/a%20b?c=d 0");
    assert_eq!(sent.field("content-disposition").as_deref(), Some("attachment"));
    assert_eq!(sent.field("cache-control").as_deref(), Some("max-age=5"));
    assert_eq!(sent.field("x-own"), None);
    assert_eq!(sent.field("x-accel-redirect"), None);
    assert_eq!(sent.set_cookies().len(), 1, "{:?}", sent.set_cookies());
    for outside in ["/pages/../x", "/pages/%2e%2e/x", "/pages/..", "pages", "/pages/%00"] {
        stage.gets(&format!("/accel?{outside}")).await.expect(404);
    }
    stage.gets("/accel?@nowhere").await.expect(500);
}

/// The first worker has taken the body: the second one must not wait for it, or it takes the next
/// request for it.
#[tokio::test]
async fn a_body_that_was_taken_is_not_announced_again() {
    let named = "  - { path: /, upstream: app, request_buffering: false }\n\
                 \x20 - { path: '@pages', upstream: pages }\n";
    let stage = Stage::start("names: [a]", named).await;
    let mut client = Dial::to(stage.proxy.address()).connect().await;
    for framing in
        ["Content-Length: 4\r\n\r\nabcd", "Transfer-Encoding: chunked\r\n\r\n1\r\na\r\n0\r\n\r\n"]
    {
        let post = format!("POST /accel?@pages HTTP/1.1\r\nHost: a\r\n{framing}");
        shows(&client.exchange(post).await, 200, "POST /accel?@pages 0");
        let asked = stage.pages.last();
        assert!(!asked.fields().has("transfer-encoding"));
        assert!(asked.field("content-length").is_none_or(|length| length == "0"));
        shows(&client.exchange("GET /200 HTTP/1.1\r\nHost: a\r\n\r\n").await, 200, "from app");
    }
}

#[tokio::test]
async fn a_body_that_was_not_taken_is_never_read_as_a_request() {
    let stage = Stage::start("error_page: { 413: /pages/own }", PAGES).await;
    let mut client = Dial::to(stage.proxy.address()).connect().await;
    let smuggled = "GET /200 HTTP/1.1\r\nHost: a\r\n\r\n";
    client
        .send(format!("POST /200 HTTP/1.1\r\nHost: a\r\nContent-Length: 9999999\r\n\r\n{smuggled}"))
        .await;
    shows(&client.response().await, 413, "GET /pages/own 0");
    assert!(client.try_response().await.is_err(), "the connection ends");
    assert!(stage.app.seen().is_empty());
}

/// A shop whose worker answers what the path says, with these routes beside `/`.
async fn shop(routes: &[&str]) -> (Responder, Proxy) {
    let app = Responder::start(|request| match request.target.as_str() {
        "/form" => response("200 OK", &[("Set-Cookie", "EGG_SESS=form; Path=/")], b"form"),
        "/login" => response("403 Forbidden", &[("Set-Cookie", "EGG_SESS=again; Path=/")], b"no"),
        "/hidden" => response("200 OK", &[("X-Accel-Redirect", "/account/file")], b""),
        target => {
            let said = format!("{target} {}", request.field("cookie").unwrap_or_default());
            response("200 OK", &[], said.as_bytes())
        }
    })
    .await;
    let rule = "{ request: POST /login, success: { status: [302] } }";
    let mut shop = Shop::at(app.address).in_memory().login(rule);
    for route in routes {
        shop = shop.route(route);
    }
    let proxy = shop.start();
    (app, proxy)
}

const GUARDED: &str = "{ path: /account/, upstream: shop, session: shop, require: login }";

#[tokio::test]
async fn an_error_page_does_not_walk_around_a_guard() {
    let lost =
        "{ path: /lost, upstream: shop, internal: true, error_page: { 404: /account/file } }";
    let (app, proxy) = shop(&[GUARDED, lost]).await;
    let mut visitor = browser(std::slice::from_ref(&proxy));
    visitor.get("/lost").await.expect(401);
    assert!(app.seen().is_empty());
}

/// It knows whom it answers, and asked for the file on its own account.
#[tokio::test]
async fn a_worker_may_send_a_visitor_to_what_is_guarded() {
    let (app, proxy) = shop(&[GUARDED]).await;
    let mut visitor = browser(std::slice::from_ref(&proxy));
    visitor.get("/account/file").await.expect(401);
    let sent = visitor.get("/hidden").await.expect(200);
    assert_eq!(sent.text(), "/account/file ");
    assert_eq!(app.seen().len(), 2);
}

/// The attempt moved the record, so the answer that stands for its own must bring the new ticket.
#[tokio::test]
async fn the_ticket_of_a_login_leaves_with_the_error_page() {
    let login = "{ path: /login, upstream: shop, session: shop, intercept_errors: true, \
                 error_page: { 403: /denied } }";
    let (app, proxy) = shop(&[login]).await;
    let mut visitor = browser(std::slice::from_ref(&proxy));
    visitor.get("/form").await.expect(200);
    let before = visitor.cookie(TICKET).expect("a ticket").value.clone();
    let denied = visitor.post_form("/login", ALICE).await.expect(403);
    assert!(denied.text().starts_with("/denied"), "{}", denied.text());
    let tickets = denied.set_cookies().into_iter().filter(|field| field.starts_with(TICKET));
    assert_eq!(tickets.count(), 1, "{:?}", denied.set_cookies());
    assert_eq!(denied.field("cache-control").as_deref(), Some("private, no-store"));
    assert_ne!(visitor.cookie(TICKET).expect("a ticket").value, before);
    visitor.get("/next").await.expect(200);
    assert_eq!(app.last().field("cookie").as_deref(), Some("EGG_SESS=again"));
}
