//! HTTP/2 to workers: what both kinds of clients see of it, and what happens where it ends badly.

use std::time::{Duration, Instant};

use bytes::Bytes;
use h2::Reason;
use h2::server::Builder;
use http::{HeaderMap, Method, Request};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

use crate::support::apps::App;
use crate::support::client::{Connection, Dial, request};
use crate::support::h2::H2;
use crate::support::h2_origin::H2Origin;
use crate::support::proxy::Proxy;
use crate::support::shop::{HOST, Shop, TICKET};
use crate::support::tls::Certificate;
use crate::support::{loopback, within};

/// A proxy before a worker that speaks HTTP/2. `/api/` has no session.
fn before(worker: &H2Origin) -> Proxy {
    with(worker, "protocol: h2")
}

fn with(worker: &H2Origin, upstream: &str) -> Proxy {
    api(Shop::at(worker.address)).upstream(upstream).start()
}

fn api(shop: Shop) -> Shop {
    shop.route("{ path: /api/, upstream: shop, body_bytes_max: 0 }").in_memory()
}

async fn http1(proxy: &Proxy) -> Connection {
    Dial::to(proxy.address()).tls(HOST).connect().await
}

async fn http2(proxy: &Proxy) -> H2 {
    H2::connect(&Dial::to(proxy.address()).tls(HOST)).await
}

fn post(path: &str) -> Request<()> {
    let uri = format!("https://{HOST}{path}");
    Request::post(uri).header("te", "trailers").body(()).expect("the request is well-formed")
}

#[tokio::test]
async fn a_worker_gets_the_request_as_http_2_says_it() {
    let mut worker = H2Origin::start().await;
    let proxy = before(&worker);
    let mut client = http1(&proxy).await;
    let fields = [
        ("Cookie", "a=b; c=d"),
        ("Connection", "keep-alive, x-private, te"),
        ("X-Private", "1"),
        ("TE", "trailers, deflate"),
        ("Keep-Alive", "300"),
    ];
    client.send(request("PUT", "/api/a%2Fb?c=%20d", HOST, &fields, b"body")).await;
    let mut asked = worker.next().await;
    assert_eq!(asked.read().await.0, b"body");
    assert_eq!(asked.head.method, "PUT");
    assert_eq!(asked.head.uri, format!("http://{HOST}/api/a%2Fb?c=%20d").as_str());
    assert_eq!(asked.field("cookie"), Some("a=b; c=d"));
    assert_eq!(asked.field("te"), Some("trailers"));
    assert_eq!(asked.field("content-length"), Some("4"));
    assert_eq!(asked.field("x-forwarded-proto"), Some("https"));
    for gone in ["host", "connection", "keep-alive", "x-private", "transfer-encoding"] {
        assert_eq!(asked.field(gone), None, "{gone}");
    }
    asked.answer(201, "made");
    let answer = client.response().await.expect(201);
    assert_eq!(answer.text(), "made");
    assert_eq!(answer.head.start, "HTTP/1.1 201 Created");
}

#[tokio::test]
async fn a_session_is_kept_behind_the_counter_as_ever() {
    let mut worker = H2Origin::start().await;
    let proxy = before(&worker);
    let mut client = http2(&proxy).await;
    let login = &[("content-type", "application/x-www-form-urlencoded")];
    let (made, ()) = tokio::join!(
        client.request(Method::POST, HOST, "/login", login, b"username=alice"),
        async {
            let mut asked = worker.next().await;
            asked.read().await;
            let fields =
                [("set-cookie", "sid=secret"), ("set-cookie", "b=1"), ("location", "/account/")];
            asked.begin(302, &fields, true);
        }
    );
    let made = made.expect("an answer");
    let cookies = made.set_cookies();
    let ticket = cookies.iter().find(|cookie| cookie.starts_with(TICKET)).expect("a ticket");
    assert!(!cookies.iter().any(|cookie| cookie.contains("secret")), "{cookies:?}");
    let ticket = ticket.split(';').next().expect("a pair");
    let crumbs = [("cookie", "x=y"), ("cookie", ticket)];
    let (answer, ()) = tokio::join!(client.get(HOST, "/account/", &crumbs), async {
        let asked = worker.next().await;
        assert_eq!(asked.field("cookie"), Some("x=y; sid=secret"), "crumbs are one line");
        asked.answer(200, "alice");
    });
    assert_eq!(answer.body, b"alice");
}

#[tokio::test]
async fn answers_without_a_body_have_none_for_either_client() {
    let mut worker = H2Origin::start().await;
    let proxy = before(&worker);
    let mut one = http1(&proxy).await;
    let mut two = http2(&proxy).await;
    for (method, status, fields, length) in [
        ("HEAD", 200, &[("content-length", "7")][..], Some("7")),
        ("GET", 204, &[], None),
        ("GET", 304, &[("etag", "\"a\"")], None),
        ("GET", 200, &[], Some("0")),
    ] {
        one.send(request(method, "/api/", HOST, &[], b"")).await;
        worker.next().await.begin(status, fields, true);
        let answer = match method {
            "HEAD" => one.response_to_head().await,
            _ => one.response().await,
        };
        let answer = answer.expect(status);
        assert_eq!(
            answer.head.fields.one("content-length").as_deref(),
            length,
            "{method} {status}"
        );
        assert_eq!(answer.text(), "");
        let method = method.parse().expect("a method");
        let (answer, ()) = tokio::join!(two.request(method, HOST, "/api/", &[], b""), async {
            worker.next().await.begin(status, fields, true);
        });
        let answer = answer.expect("an answer");
        assert_eq!((answer.status, answer.body.len()), (status, 0));
    }
    assert!(worker.connections() <= 2, "one for each worker runtime");
}

#[tokio::test]
async fn messages_pass_both_ways_while_both_bodies_are_open() {
    let mut worker = H2Origin::start().await;
    let proxy = before(&worker);
    let mut client = http2(&proxy).await;
    let (response, mut sending) = client.open(post("/api/talk"), false).await.expect("a stream");
    let mut asked = worker.next().await;
    let mut answering = asked.begin(200, &[("content-type", "application/grpc")], false);
    let (head, mut heard) = within("an answer", response).await.expect("one").into_parts();
    assert_eq!(head.headers.get("content-length"), None);
    for word in ["one", "two", "three"] {
        sending.send_data(word.into(), false).expect("open");
        let piece = within("a message", asked.body.data()).await.expect("more").expect("whole");
        answering.send_data(piece, false).expect("open");
        let piece = within("an answer", heard.data()).await.expect("more").expect("whole");
        assert_eq!(piece, word);
    }
    let mut trailers = HeaderMap::new();
    trailers.insert("x-sum", "3".parse().expect("a value"));
    sending.send_trailers(trailers).expect("open");
    let (rest, trailers) = asked.read().await;
    assert_eq!(rest.len(), 0);
    assert_eq!(trailers.expect("some")["x-sum"], "3");
    let mut trailers = HeaderMap::new();
    trailers.insert("grpc-status", "0".parse().expect("a value"));
    answering.send_trailers(trailers).expect("open");
    assert!(within("the end", heard.data()).await.is_none());
    let trailers = within("trailers", heard.trailers()).await.expect("whole").expect("some");
    assert_eq!(trailers["grpc-status"], "0");
}

#[tokio::test]
async fn trailers_reach_clients_of_http_1_in_chunks() {
    let mut worker = H2Origin::start().await;
    let proxy = before(&worker);
    let mut client = http1(&proxy).await;
    let body = "POST /api/ HTTP/1.1\r\nHost: shop.example.com\r\nTransfer-Encoding: chunked\r\n\r\n\
                3\r\nabc\r\n0\r\nX-Sum: 3\r\nX-Session-Id: forged\r\n\r\n";
    client.send(body).await;
    let mut asked = worker.next().await;
    assert_eq!(asked.field("content-length"), None);
    let (body, trailers) = asked.read().await;
    let trailers = trailers.expect("some");
    assert_eq!((body.as_slice(), trailers.len()), (&b"abc"[..], 1), "{trailers:?}");
    let mut answering = asked.begin(200, &[], false);
    answering.send_data("xyz".into(), false).expect("open");
    answering.send_trailers(trailers).expect("open");
    let answer = client.response().await.expect(200);
    assert_eq!(answer.text(), "xyz");
    assert_eq!(answer.body.trailers.one("x-sum").as_deref(), Some("3"));
}

/// RFC 9113 section 8.7: also a POST, with its body.
#[tokio::test]
async fn what_a_worker_has_not_begun_with_is_sent_again() {
    let mut worker = H2Origin::start().await;
    let proxy = before(&worker);
    let mut client = http2(&proxy).await;
    let (first, ()) = tokio::join!(client.get(HOST, "/api/", &[]), async {
        worker.next().await.answer(200, "warm");
    });
    assert_eq!(first.status, 200);
    let asking = client.request(Method::POST, HOST, "/api/", &[], b"once and again");
    let (answer, again) = tokio::join!(asking, async {
        let mut refused = worker.next().await;
        refused.read().await;
        refused.respond.send_reset(Reason::REFUSED_STREAM);
        let mut again = worker.next().await;
        let body = again.read().await.0;
        assert_ne!(again.connection, refused.connection, "over a fresh connection");
        again.answer(200, "done");
        body
    });
    assert_eq!(
        (answer.expect("an answer").body, again),
        (b"done".to_vec(), b"once and again".to_vec())
    );
}

#[tokio::test]
async fn a_worker_that_refuses_every_stream_is_asked_twice_at_most() {
    let mut worker = H2Origin::start().await;
    let proxy = before(&worker);
    let mut client = http1(&proxy).await;
    client.send(request("POST", "/api/", HOST, &[], b"x")).await;
    worker.next().await.respond.send_reset(Reason::REFUSED_STREAM);
    assert_eq!(client.response().await.status, 502, "it was a fresh connection");
}

/// Every connection is told to end as soon as it is there.
#[tokio::test]
async fn a_storm_of_goaways_is_502_in_time() {
    let listener = TcpListener::bind(loopback(0)).await.expect("loopback has free ports");
    let address = listener.local_addr().expect("bound");
    let storm = tokio::spawn(async move {
        let mut connections = 0;
        while let Ok(accepted) =
            tokio::time::timeout(Duration::from_secs(2), listener.accept()).await
        {
            let (mut tcp, _) = accepted.expect("a connection");
            connections += 1;
            let settings = [0, 0, 0, 4, 0, 0, 0, 0, 0];
            let goaway = [0, 0, 8, 7, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
            let _ = tcp.write_all(&[&settings[..], &goaway].concat()).await;
            let mut rest = Vec::new();
            let _ = tcp.read_to_end(&mut rest).await;
        }
        connections
    });
    let proxy = api(Shop::at(address)).upstream("protocol: h2").start();
    let mut client = http1(&proxy).await;
    for _ in 0..3 {
        client = match client.get(HOST, "/api/", &[]).await.status {
            502 => http1(&proxy).await,
            other => panic!("{other}"),
        };
    }
    let connections = storm.await.expect("no panic");
    assert!((3..=6).contains(&connections), "{connections}");
}

#[tokio::test]
async fn a_worker_that_goes_away_loses_no_request() {
    let mut worker = H2Origin::start().await;
    let proxy = before(&worker);
    let mut client = http2(&proxy).await;
    for number in 0..20 {
        let asking = client.request(Method::POST, HOST, "/api/", &[], b"x");
        let (answer, ()) = tokio::join!(asking, async {
            let asked = worker.next().await;
            if number % 2 == 0 {
                worker.go_away();
            }
            asked.answer(200, "ok");
        });
        assert_eq!(answer.expect("an answer").status, 200, "{number}");
    }
    assert!(worker.connections() >= 10, "{}", worker.connections());
}

#[tokio::test]
async fn a_worker_that_dies_breaks_its_answers_off_and_is_reached_again() {
    let mut worker = H2Origin::start().await;
    let proxy = before(&worker);
    let mut client = http2(&proxy).await;
    let (response, _) = client.open(post("/api/"), true).await.expect("a stream");
    let mut asked = worker.next().await;
    let mut answering = asked.begin(200, &[("content-length", "100")], false);
    answering.send_data("half".into(), false).expect("open");
    let mut heard = within("an answer", response).await.expect("one").into_body();
    assert_eq!(within("a piece", heard.data()).await.expect("more").expect("whole"), "half");
    worker.die();
    let broken = within("the end", heard.data()).await.expect("an end").expect_err("not whole");
    assert!(broken.is_reset(), "{broken}");
    let (answer, ()) = tokio::join!(client.get(HOST, "/api/", &[]), async {
        worker.next().await.answer(200, "back");
    });
    assert_eq!(answer.body, b"back");
}

#[tokio::test]
async fn lengths_that_are_not_kept_break_the_answer_off() {
    let mut worker = H2Origin::start().await;
    let proxy = before(&worker);
    let mut client = http1(&proxy).await;
    client.send(request("GET", "/api/", HOST, &[], b"")).await;
    let mut answering = worker.next().await.begin(200, &[("content-length", "5")], false);
    answering.send_data("abc".into(), true).expect("open");
    assert!(client.try_response().await.is_err());
}

#[tokio::test]
async fn a_client_that_leaves_cancels_its_stream_alone() {
    let mut worker = H2Origin::start().await;
    let proxy = before(&worker);
    let mut client = http2(&proxy).await;
    let (leaving, mut sending) = client.open(post("/api/leaves"), false).await.expect("a stream");
    let mut left = worker.next().await;
    let (stays, _) = client.open(post("/api/stays"), true).await.expect("a stream");
    let other = worker.next().await;
    sending.send_reset(Reason::CANCEL);
    drop(leaving);
    let reset = within("a reset", std::future::poll_fn(|cx| left.respond.poll_reset(cx))).await;
    assert_eq!(reset.expect("it is one"), Reason::CANCEL);
    other.answer(200, "stays");
    assert_eq!(within("an answer", stays).await.expect("one").status(), 200);
}

#[tokio::test]
async fn clients_that_read_nothing_hold_up_no_others() {
    let mut worker = H2Origin::start().await;
    let proxy = before(&worker);
    let mut slow = http2(&proxy).await;
    let mut lying = Vec::new();
    let piece = Bytes::from(vec![7; 1024 * 1024]);
    for _ in 0..90 {
        let (response, _) = slow.open(post("/api/slow"), true).await.expect("a stream");
        let mut asked = worker.next().await;
        let mut answering = asked.begin(200, &[], false);
        answering.send_data(piece.clone(), true).expect("open");
        lying.push((response, answering));
    }
    let mut quick = http1(&proxy).await;
    for _ in 0..3 {
        quick.send(request("GET", "/api/", HOST, &[], b"")).await;
        let mut answering = worker.next().await.begin(200, &[], false);
        answering.send_data(piece.clone(), true).expect("open");
        assert_eq!(quick.response().await.expect(200).body.content.len(), piece.len());
    }
}

#[tokio::test]
async fn a_worker_that_is_silent_is_504_and_its_connection_is_left() {
    let mut worker = H2Origin::start().await;
    let proxy = with(&worker, "protocol: h2\n    timeouts: { read: 200ms }");
    let mut client = http1(&proxy).await;
    client.send(request("GET", "/api/", HOST, &[], b"")).await;
    let silent = worker.next().await;
    let begun = Instant::now();
    assert_eq!(client.response().await.status, 504);
    assert!(begun.elapsed() < Duration::from_secs(5));
    drop(silent);
}

#[tokio::test]
async fn a_body_that_the_worker_does_not_take_is_504() {
    let mut builder = Builder::new();
    builder.initial_window_size(0);
    let mut worker = H2Origin::start_as(builder).await;
    let proxy = with(&worker, "protocol: h2\n    timeouts: { write: 200ms }");
    let mut client = http1(&proxy).await;
    client.send(request("POST", "/api/", HOST, &[], &[7; 1000])).await;
    let _asked = worker.next().await;
    assert_eq!(client.response().await.status, 504);
}

#[tokio::test]
async fn a_worker_that_speaks_http_1_is_502() {
    let listener = TcpListener::bind(loopback(0)).await.expect("loopback has free ports");
    let address = listener.local_addr().expect("bound");
    tokio::spawn(async move {
        while let Ok((mut tcp, _)) = listener.accept().await {
            let _ = tcp.write_all(b"HTTP/1.1 400 Bad Request\r\nConnection: close\r\n\r\n").await;
        }
    });
    let proxy = api(Shop::at(address)).upstream("protocol: h2").start();
    let mut client = http1(&proxy).await;
    assert_eq!(client.get(HOST, "/api/", &[]).await.status, 502);
}

/// nginx passes the request on without `Upgrade`, and so do we.
#[tokio::test]
async fn an_upgrade_is_not_offered_to_the_worker() {
    let mut worker = H2Origin::start().await;
    let proxy = before(&worker);
    let mut client = http1(&proxy).await;
    let fields = [
        ("Connection", "Upgrade"),
        ("Upgrade", "websocket"),
        ("Sec-WebSocket-Version", "13"),
        ("Sec-WebSocket-Key", "dGhlIHNhbXBsZSBub25jZQ=="),
    ];
    client.send(request("GET", "/api/ws", HOST, &fields, b"")).await;
    let asked = worker.next().await;
    assert_eq!((asked.field("upgrade"), asked.field("connection")), (None, None));
    asked.answer(426, "over HTTP/1.1, please");
    assert_eq!(client.response().await.expect(426).text(), "over HTTP/1.1, please");
}

#[tokio::test]
async fn over_tls_http_2_is_agreed_to_and_our_certificate_shown() {
    let (theirs, ours) =
        (Certificate::for_names(&["worker.internal"]), Certificate::for_names(&["us"]));
    let files = tempfile::tempdir().expect("a temporary directory can be made");
    let (bundle, _) = theirs.write(files.path(), "ca");
    let (chain, key) = ours.write(files.path(), "ours");
    let tls = format!(
        "protocol: h2\n    tls: {{ server_name: worker.internal, ca: '{}', certificate: {{ chain: '{}', key: '{}' }} }}",
        bundle.display(),
        chain.display(),
        key.display(),
    );
    let mut worker = H2Origin::start_tls(theirs.server_config_for(Some(&ours), &["h2"])).await;
    let proxy = with(&worker, &tls);
    let mut client = http2(&proxy).await;
    let (answer, ()) = tokio::join!(client.get(HOST, "/api/", &[]), async {
        let asked = worker.next().await;
        assert_eq!(asked.head.uri.scheme_str(), Some("https"));
        asked.answer(200, "ok");
    });
    assert_eq!(answer.body, b"ok");
    // One that has not agreed to HTTP/2 gets no request.
    let other = H2Origin::start_tls(theirs.server_config_for(Some(&ours), &[])).await;
    let proxy = with(&other, &tls);
    let mut client = http1(&proxy).await;
    assert_eq!(client.get(HOST, "/api/", &[]).await.status, 502);
}

fn node() -> (App, Proxy) {
    let app = App::start("http2", &[]);
    let proxy = api(Shop::at(app.address))
        .upstream("protocol: h2")
        .route("{ path: /echo, upstream: shop, body_bytes_max: 0 }")
        .route("{ path: /large, upstream: shop }")
        .route("{ path: /early, upstream: shop, body_bytes_max: 0 }")
        .start();
    (app, proxy)
}

#[tokio::test]
async fn node_gets_and_sends_large_bodies() {
    let (_app, proxy) = node();
    let body = vec![b'y'; 5 * 1024 * 1024];
    let mut two = http2(&proxy).await;
    let answer = two.request(Method::POST, HOST, "/echo", &[], &body).await.expect("an answer");
    assert!(answer.body == body, "{} bytes", answer.body.len());
    assert_eq!(answer.trailers.expect("some")["x-bytes"], body.len().to_string().as_str());
    // Answered before all of the request was there, a connection is not kept.
    let mut one = http1(&proxy).await;
    one.send(request("POST", "/echo", HOST, &[], &body)).await;
    assert!(one.response().await.expect(200).body.content == body);
    let mut one = http1(&proxy).await;
    let answer = one.get(HOST, "/large?bytes=3000000", &[]).await.expect(200);
    assert_eq!(answer.body.content.len(), 3_000_000);
    let answer = one.get(HOST, "/early", &[]).await;
    assert_eq!((answer.status, answer.interim.len()), (413, 1));
}

/// More trailers than the crate takes empty frames for.
#[tokio::test]
async fn node_answers_hundreds_of_requests_with_trailers() {
    let (_app, proxy) = node();
    let mut client = http2(&proxy).await;
    for number in 0..300 {
        let answer = client.request(Method::POST, HOST, "/echo", &[], b"abc").await;
        let answer = answer.unwrap_or_else(|problem| panic!("{number}: {problem}"));
        assert_eq!((answer.status, answer.body.as_slice()), (200, &b"abc"[..]), "{number}");
        assert!(answer.trailers.is_some(), "{number}");
    }
    let seen = client.get(HOST, "/api/", &[]).await.json();
    assert_eq!(seen["headers"][":authority"], HOST);
    assert!(seen["connections"].as_u64() <= Some(2), "{}", seen["connections"]);
}

#[tokio::test]
async fn node_serves_many_clients_over_few_connections() {
    let (_app, proxy) = node();
    let mut answers = Vec::new();
    for _ in 0..60 {
        let mut client = http1(&proxy).await;
        answers.push(tokio::spawn(async move {
            for _ in 0..5 {
                client.get(HOST, "/large?bytes=100000", &[]).await.expect(200);
            }
        }));
    }
    for answer in answers {
        answer.await.expect("all answers come");
    }
    let mut client = http1(&proxy).await;
    let seen = client.get(HOST, "/api/", &[]).await.expect(200).json();
    assert!(seen["connections"].as_u64() <= Some(8), "{}", seen["connections"]);
}
