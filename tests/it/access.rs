//! Who is let in, before any session is looked at: `access`, `auth_basic`, `auth_request`, limits.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use crate::support::client::Dial;
use crate::support::http::response;
use crate::support::in_process::TestClock;
use crate::support::origin::{Origin, Responder};
use crate::support::proxy::Proxy;

fn file(app: SocketAddr, top: &str, routes: &str) -> String {
    format!(
        "workers: 1\nstate_directory: '{{directory}}'\nlisteners: [{{ address: 127.0.0.1:0 }}]\n\
         upstreams: {{ app: {{ endpoints: [{{ address: '{app}' }}] }} }}\n{top}\n\
         servers:\n- names: [a.example]\n  routes:\n{routes}"
    )
}

async fn start(top: &str, routes: &str) -> (Responder, Proxy) {
    let app = Responder::start(|_| response("200 OK", &[], b"app")).await;
    let proxy = Proxy::start(&file(app.address, top, routes));
    (app, proxy)
}

async fn status(proxy: &Proxy, target: &str, fields: &[(&str, &str)]) -> u16 {
    Dial::to(proxy.address()).connect().await.get("a.example", target, fields).await.status
}

/// As any guard of ours: nobody walks around it by spelling the path in another way.
#[tokio::test]
async fn rules_hold_for_every_spelling_of_a_path() {
    let routes = "  - { path: /, upstream: app }\n  - { path: /admin, upstream: app, access: [deny all] }\n  \
                  - { path: /plain, upstream: app, access: [deny all], exact: true }\n";
    let (app, proxy) = start("", routes).await;
    for target in
        ["/admin", "/admin/x", "/ADMIN", "/x/../admin", "/%61dmin", "/admin;x=y/", "//admin"]
    {
        assert_eq!(status(&proxy, target, &[]).await, 403, "{target}");
    }
    assert!(app.seen().is_empty());
    assert_eq!(status(&proxy, "/plain", &[]).await, 403);
    assert_eq!(status(&proxy, "/PLAIN", &[]).await, 200);
    assert_eq!(status(&proxy, "/", &[]).await, 200);
}

/// Both guards hold where a path may mean both places.
#[tokio::test]
async fn guards_of_two_routes_hold_together() {
    let top = "defaults: { auth_basic: inside, auth_basic_user_file: '{directory}/users' }";
    let routes = "  - { path: /, upstream: app }\n  - { path: /office, upstream: app, access: [deny all], \
                  auth_basic: 'off' }\n";
    let (app, proxy) = start(top, routes).await;
    std::fs::write(proxy.directory().join("users"), "ann:{PLAIN}secret\n")
        .expect("it can be written");
    let ann = [("Authorization", "Basic YW5uOnNlY3JldA==")];
    assert_eq!(status(&proxy, "/", &ann).await, 200);
    assert_eq!(status(&proxy, "/", &[]).await, 401);
    assert_eq!(status(&proxy, "/office", &ann).await, 403);
    assert_eq!(status(&proxy, "/Office", &ann).await, 403);
    assert_eq!(status(&proxy, "/Office", &[]).await, 401, "the first of them has its say");
    assert_eq!(app.seen().len(), 1);
}

#[tokio::test]
async fn a_user_file_that_changes_counts_at_once() {
    let routes = "  - { path: /, upstream: app, auth_basic: 'the realm', auth_basic_user_file: '{directory}/users' }\n";
    let (_app, proxy) = start("", routes).await;
    let mut client = Dial::to(proxy.address()).connect().await;
    let ann = [("Authorization", "Basic YW5uOnNlY3JldA==")];
    client.get("a.example", "/", &ann).await.expect(403);
    let users = proxy.directory().join("users");
    std::fs::write(&users, "ann:{PLAIN}other\n").expect("it can be written");
    let asked = client.get("a.example", "/", &ann).await.expect(401);
    assert_eq!(asked.field("www-authenticate").as_deref(), Some("Basic realm=\"the realm\""));
    std::fs::write(&users, "ann:{PLAIN}secret\n").expect("it can be written");
    client.get("a.example", "/", &ann).await.expect(200);
    // bcrypt: compared on another thread.
    let bcrypt = "ann:$2y$04$abcdefghijklmnopqrstuu2r9OfJnfCsdneAXAGHnS4UpFFP8WIrW\n";
    std::fs::write(&users, bcrypt).expect("it can be written");
    for _ in 0..3 {
        client.get("a.example", "/", &ann).await.expect(200);
    }
    client.get("a.example", "/", &[("Authorization", "Basic YW5uOndyb25n")]).await.expect(401);
}

/// What is asked for on behalf of a request takes nothing of it.
#[tokio::test]
async fn who_is_asked_gets_no_body_and_the_worker_gets_all_of_it() {
    let judge = Responder::start(|request| {
        let status =
            if request.field("x-pass").is_some() { "204 No Content" } else { "403 Forbidden" };
        response(status, &[("X-User", "ann"), ("Set-Cookie", "judge=1")], b"")
    })
    .await;
    let app = Responder::start(|_| response("200 OK", &[], b"app")).await;
    let text = format!("  judge: {{ endpoints: [{{ address: '{}' }}] }}\n", judge.address);
    let yaml = file(
        app.address,
        "",
        "  - { path: /, upstream: app, auth_request: /judge, auth_request_set: { $user: $upstream_http_x_user }, \
           request_headers: { X-User: $user } }\n  - { path: = /judge, upstream: judge, internal: true }\n",
    );
    let yaml = yaml.replacen("upstreams: { app:", "upstreams:\n  app:", 1).replacen(
        " }\n\nservers",
        &format!("\n{text}servers"),
        1,
    );
    let proxy = Proxy::start(&yaml);
    let mut client = Dial::to(proxy.address()).connect().await;
    let post = |fields: &str| {
        format!(
            "POST /x?y HTTP/1.1\r\nHost: a.example\r\nUpgrade: x\r\nConnection: Upgrade\r\n{fields}Content-Length: 6\r\n\r\na body"
        )
    };
    let answer = client.exchange(post("X-Pass: 1\r\n")).await.expect(200);
    assert_eq!(answer.field("set-cookie"), None, "it is not the judge's answer");
    let asked = judge.last();
    assert_eq!((asked.method.as_str(), asked.target.as_str()), ("GET", "/judge"));
    assert_eq!((asked.field("content-length"), asked.field("upgrade")), (None, None));
    assert_eq!(app.last().body.content, b"a body");
    assert_eq!(app.last().field("x-user").as_deref(), Some("ann"));
    client.exchange(post("")).await.expect(403);
    assert_eq!(app.seen().len(), 1);
    client.get("a.example", "/judge", &[]).await.expect(404);
}

/// A login that a route asks for is asked for in what is made for another request, too.
#[tokio::test]
async fn guards_of_sessions_hold_for_who_is_asked() {
    let top = "insecure_cookies: true\nstore: memory\nsessions: { one: { app_cookies: [s], login: [{ request: \
               POST /login, success: { status: [302] } }] } }";
    let routes = "  - { path: /, upstream: app, auth_request: /inside }\n  \
                  - { path: /inside, upstream: app, session: one, require: login }\n";
    let (app, proxy) = start(top, routes).await;
    assert_eq!(status(&proxy, "/", &[]).await, 401);
    assert!(app.seen().is_empty());
}

const ZONES: &str = "limit_zones: { slow: { key: $arg_k, rate: 1r/s }, once: { key: $arg_k }, \
                     by_session: { key: $session_id, rate: 1r/m } }";

#[tokio::test]
async fn requests_that_come_too_fast_are_refused_until_there_is_room() {
    let app = Responder::start(|_| response("200 OK", &[], b"app")).await;
    let routes = "  - { path: /, upstream: app, limit_req: { zone: slow, burst: 2, nodelay: true }, \
                  limit_req_status: 429 }\n  - { path: /dry/, upstream: app, limit_req: slow, \
                  limit_req_dry_run: true }\n";
    let clock = TestClock::default();
    let proxy = Proxy::start_at(&clock, &file(app.address, ZONES, routes));
    let mut client = Dial::to(proxy.address()).connect().await;
    for expected in [200, 200, 200, 429] {
        client.get("a.example", "/?k=a", &[]).await.expect(expected);
    }
    client.get("a.example", "/?k=b", &[]).await.expect(200);
    client.get("a.example", "/dry/?k=a", &[]).await.expect(200);
    clock.advance(Duration::from_secs(10));
    client.get("a.example", "/?k=a", &[]).await.expect(200);
    assert_eq!(app.seen().len(), 6);
}

#[tokio::test]
async fn what_is_within_a_burst_waits() {
    let routes = "  - { path: /, upstream: app, limit_req: { zone: slow, burst: 1 } }\n";
    let top = ZONES.replace("1r/s", "5r/s");
    let (_app, proxy) = start(&top, routes).await;
    let mut client = Dial::to(proxy.address()).connect().await;
    client.get("a.example", "/?k=a", &[]).await.expect(200);
    let begun = Instant::now();
    client.get("a.example", "/?k=a", &[]).await.expect(200);
    assert!(begun.elapsed() > Duration::from_millis(100), "{:?}", begun.elapsed());
}

#[tokio::test]
async fn so_many_requests_are_under_way_and_no_more() {
    let mut app = Origin::start().await;
    let routes = "  - { path: /, upstream: app, limit_conn: { zone: once, connections: 1 } }\n";
    let proxy = Proxy::start(&file(app.address, ZONES, routes));
    let mut first = Dial::to(proxy.address()).connect().await;
    first.send("GET /?k=a HTTP/1.1\r\nHost: a.example\r\n\r\n").await;
    let exchange = app.next().await;
    assert_eq!(status(&proxy, "/?k=a", &[]).await, 503);
    exchange.respond(response("200 OK", &[], b"")).await;
    first.response().await.expect(200);
    first.send("GET /?k=a HTTP/1.1\r\nHost: a.example\r\n\r\n").await;
    app.answer(response("200 OK", &[], b"")).await;
    first.response().await.expect(200);
}

/// Beyond nginx: what is counted is the session, whatever address it comes from.
#[tokio::test]
async fn sessions_are_limited_once_they_are_known() {
    let app = Responder::start(|_| response("200 OK", &[("Set-Cookie", "s=1")], b"")).await;
    let top = format!(
        "insecure_cookies: true\nstore: memory\nsessions: {{ one: {{ app_cookies: [s] }} }}\n{ZONES}"
    );
    let routes = "  - { path: /, upstream: app, session: one, limit_req: by_session }\n";
    let proxy = Proxy::start(&file(app.address, &top, routes));
    let mut client = Dial::to(proxy.address()).connect().await;
    client.get("a.example", "/", &[]).await.expect(200);
    let begun = client.get("a.example", "/", &[]).await.expect(200);
    let ticket = begun.set_cookies().pop().expect("a ticket");
    let ticket = ticket.split(';').next().expect("a pair").to_owned();
    let cookie = [("Cookie", ticket.as_str())];
    client.get("a.example", "/", &cookie).await.expect(200);
    client.get("a.example", "/", &cookie).await.expect(503);
    client.get("a.example", "/", &[]).await.expect(200);
}

/// A `map` of the session is known no sooner than the session is.
#[tokio::test]
async fn sessions_are_limited_by_what_is_made_of_them_too() {
    let app = Responder::start(|_| response("200 OK", &[("Set-Cookie", "s=1")], b"")).await;
    let top = "insecure_cookies: true\nstore: memory\nsessions: { one: { app_cookies: [s] } }\n\
               maps: { $of: { of: $session_id, default: '$session_id', values: { '': '' } } }\n\
               limit_zones: { mapped: { key: 'x$of', rate: 1r/m }, none: { key: $of, rate: 1r/m } }";
    let routes = "  - { path: /, upstream: app, session: one, limit_req: { zone: mapped, burst: 1, nodelay: true } }\n  \
                  - { path: /none/, upstream: app, session: one, limit_req: none }\n";
    let proxy = Proxy::start(&file(app.address, top, routes));
    let mut client = Dial::to(proxy.address()).connect().await;
    let begun = client.get("a.example", "/", &[]).await.expect(200);
    let ticket = begun.set_cookies().pop().expect("a ticket");
    let ticket = ticket.split(';').next().expect("a pair").to_owned();
    let cookie = [("Cookie", ticket.as_str())];
    for expected in [200, 200, 503] {
        client.get("a.example", "/", &cookie).await.expect(expected);
    }
    client.get("a.example", "/", &[]).await.expect(200);
    client.get("a.example", "/none/", &cookie).await.expect(200);
    client.get("a.example", "/none/", &cookie).await.expect(503);
    client.get("a.example", "/none/", &[]).await.expect(200);
}

/// Nobody knows whom a request counts for whose key took too long to be found.
#[tokio::test]
async fn a_key_whose_pattern_gives_up_lets_nobody_in() {
    let app = Responder::start(|_| response("200 OK", &[("Set-Cookie", "s=1")], b"")).await;
    let top = "insecure_cookies: true\nstore: memory\nsessions: { one: { app_cookies: [s] } }\n\
               maps: { $of: { of: '$arg_a', default: '$session_id', values: { '~^(?:(a+)(?!b))+\\1c$': bad } } }\n\
               limit_zones: { mapped: { key: $of, rate: 9r/s } }";
    let routes = "  - { path: /, upstream: app, session: one, limit_req: { zone: mapped, burst: 9, nodelay: true } }\n";
    let proxy = Proxy::start(&file(app.address, top, routes));
    let mut client = Dial::to(proxy.address()).connect().await;
    client.get("a.example", "/?a=x", &[]).await.expect(200);
    let slow = format!("/?a={}!c", "a".repeat(2000));
    client.get("a.example", &slow, &[]).await.expect(500);
    assert_eq!(app.seen().len(), 1);
}

#[tokio::test]
async fn an_answer_goes_as_fast_as_its_route_says() {
    let body = vec![b'x'; 3000];
    let app = {
        let body = body.clone();
        Responder::start(move |_| response("200 OK", &[], &body)).await
    };
    let routes = "  - { path: /, upstream: app, limit_rate: '2000' }\n  - { path: /fast/, upstream: app, \
                  limit_rate: '2000', limit_rate_after: '9000' }\n";
    let proxy = Proxy::start(&file(app.address, "", routes));
    let mut client = Dial::to(proxy.address()).connect().await;
    let begun = Instant::now();
    assert_eq!(client.get("a.example", "/", &[]).await.expect(200).content(), body);
    assert!(begun.elapsed() > Duration::from_millis(500), "{:?}", begun.elapsed());
    let begun = Instant::now();
    assert_eq!(client.get("a.example", "/fast/", &[]).await.expect(200).content(), body);
    assert!(begun.elapsed() < Duration::from_millis(500), "{:?}", begun.elapsed());
}

#[tokio::test]
async fn mistakes_of_guards_and_limits_are_all_told() {
    let routes = "  - { path: /, upstream: app, access: [permit all], satisfy: some, auth_basic: x, \
                  auth_request: judge, limit_req: nobody, limit_conn: slow, limit_req_status: 200, \
                  limit_except: { methods: [BREW] }, set_real_ip_from: ['not a host'] }\n";
    let app: SocketAddr = "127.0.0.1:1".parse().expect("an address");
    let Err(found) = Proxy::try_start(&file(app, ZONES, routes)) else {
        panic!("it is full of mistakes")
    };
    for message in [
        "`permit all` begins with neither `allow` nor `deny`",
        "`some` is no rule",
        "auth_basic: has no users",
        "`judge` is no path",
        "no zone is named `nobody`",
        "does not say how many",
        "200 is no status of an error",
        "invalid method \"BREW\"",
        "host not found in set_real_ip_from \"not a host\"",
    ] {
        assert!(found.contains(message), "{message}: {found}");
    }
}
