//! The harness against itself: what the tests rely on must not be wrong in their favour.

use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;
use tokio::net::TcpListener;

use crate::support::browser::{Ask, Browser};
use crate::support::client::{Connection, Dial, request};
use crate::support::h2::H2;
use crate::support::http::{Broken, Framing, response};
use crate::support::origin::{Exchange, Origin, Responder};
use crate::support::process::Process;
use crate::support::proxy::{Proxy, Running};
use crate::support::redis::Redis;
use crate::support::tls::{self, Certificate};
use crate::support::{PATIENCE, free_port, loopback, within};

/// A connection to a new origin, on which a request is waiting for its answer.
async fn asked(raw: &[u8]) -> (Origin, Connection, Exchange) {
    let mut origin = Origin::start().await;
    let mut client = Dial::to(origin.address).connect().await;
    client.send(raw).await;
    let exchange = origin.next().await;
    (origin, client, exchange)
}

#[tokio::test]
async fn bytes_arrive_as_they_were_sent() {
    let raw = b"POST /a?b HTTP/1.1\r\nhOsT:  x \r\nCookie: a=\xff\r\nCookie: b\r\nContent-Length: 3\r\n\r\nabc";
    let (_origin, mut client, exchange) = asked(raw).await;
    assert_eq!(exchange.request.raw(), raw);
    assert_eq!(exchange.request.method, "POST");
    assert_eq!(exchange.request.target, "/a?b");
    assert_eq!(exchange.request.field("host").as_deref(), Some("x"));
    assert_eq!(exchange.request.fields().bytes("cookie"), [&b"a=\xff"[..], b"b"]);
    assert_eq!(exchange.request.fields().names(), ["hOsT", "Cookie", "Cookie", "Content-Length"]);

    exchange
        .respond("HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\nHTTP/1.1 201 Made it\r\nSet-Cookie: a\r\nSet-Cookie: b\r\nContent-Length: 2\r\n\r\nok")
        .await;
    let answer = client.response().await.expect(201);
    assert_eq!(answer.interim.len(), 1);
    assert_eq!(answer.head.start, "HTTP/1.1 201 Made it");
    assert_eq!(answer.set_cookies(), ["a", "b"]);
    assert_eq!(answer.text(), "ok");
}

#[tokio::test]
async fn connections_are_kept_and_counted() {
    let mut origin = Origin::start().await;
    let mut client = Dial::to(origin.address).connect().await;
    for number in 0..3 {
        client.send(request("GET", &format!("/{number}"), "x", &[], b"")).await;
        let seen = origin.answer(response("200 OK", &[], b"")).await;
        assert_eq!((seen.target, seen.connection), (format!("/{number}"), 0));
        client.response().await.expect(200);
    }
    assert_eq!((origin.connections(), origin.waiting()), (1, 0));
}

#[tokio::test]
async fn chunks_and_trailers_are_read_in_both_directions() {
    let body = "3;x=y\r\nabc\r\n2\r\nde\r\n0\r\nX-Sum: 5\r\n\r\n";
    let head = "POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n";
    let (_origin, mut client, mut exchange) = asked(format!("{head}{body}").as_bytes()).await;
    assert_eq!(exchange.request.body.content, b"abcde");
    assert_eq!(exchange.request.body.raw, body.as_bytes());
    assert_eq!(exchange.request.body.trailers.one("x-sum").as_deref(), Some("5"));

    exchange.write("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nx\r\n").await;
    assert_eq!(client.response_head().await.framing, Framing::Chunked);
    assert_eq!(client.chunk().await, Ok(Some(b"x".to_vec())), "before the next one is sent");
    exchange.respond("1\r\ny\r\n0\r\n\r\n").await;
    assert_eq!(client.chunk().await, Ok(Some(b"y".to_vec())));
    assert_eq!(client.chunk().await, Ok(None));
}

#[tokio::test]
async fn broken_responses_are_told_apart() {
    let get = request("GET", "/", "x", &[], b"");

    let (_origin, mut client, exchange) = asked(&get).await;
    exchange.close().await;
    assert_eq!(client.try_response().await.err(), Some(Broken::Closed));

    let (_origin, mut client, mut exchange) = asked(&get).await;
    exchange.write("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nab").await;
    exchange.close().await;
    assert_eq!(client.try_response().await.err(), Some(Broken::Truncated(b"ab".to_vec())));

    let (_origin, mut client, mut exchange) = asked(&get).await;
    exchange.write("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nab\r\n").await;
    exchange.close().await;
    assert_eq!(client.try_response().await.err(), Some(Broken::Truncated(b"2\r\nab\r\n".to_vec())));

    let (_origin, mut client, exchange) = asked(&get).await;
    exchange.reset();
    assert_eq!(client.try_response().await.err(), Some(Broken::Reset(Vec::new())));

    let (_origin, mut client, mut exchange) = asked(&get).await;
    exchange
        .write("HTTP/1.1 200 OK\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n")
        .await;
    let outcome = client.try_response().await;
    assert!(matches!(outcome, Err(Broken::Malformed(_))), "two framings: {outcome:?}");

    let (_origin, mut client, mut exchange) = asked(&get).await;
    exchange.write("HTTP/1.0 200 OK\r\n\r\nall of it").await;
    exchange.close().await;
    assert_eq!(client.response().await.text(), "all of it");
}

#[tokio::test]
async fn an_origin_sees_its_client_go() {
    let (_origin, client, mut exchange) = asked(&request("GET", "/", "x", &[], b"")).await;
    client.reset();
    exchange.peer_closed().await;
}

#[tokio::test]
async fn the_answer_to_head_has_no_body() {
    let (_origin, mut client, exchange) = asked(b"HEAD / HTTP/1.1\r\nHost: x\r\n\r\n").await;
    exchange.respond("HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n").await;
    assert_eq!(client.response_to_head().await.field("content-length").as_deref(), Some("9"));
}

#[tokio::test]
async fn tls_tells_what_was_agreed() {
    let certificate = Certificate::for_names(&["shop.example.com"]);
    let mut origin = Origin::start_tls(&certificate).await;
    for (versions, expected) in [
        (tls::ONLY_TLS12, rustls::ProtocolVersion::TLSv1_2),
        (tls::BOTH, rustls::ProtocolVersion::TLSv1_3),
    ] {
        let dial = Dial::to(origin.address).tls("anything.example").alpn(&["h2", "http/1.1"]);
        let mut client = dial.versions(versions).connect().await;
        let facts = client.tls.clone().expect("this is TLS");
        assert_eq!(facts.certificate, certificate.der);
        assert_eq!((facts.version, facts.alpn.as_deref()), (expected, Some("http/1.1")));
        client.send(request("GET", "/", "x", &[], b"")).await;
        origin.answer(response("200 OK", &[], b"sealed")).await;
        assert_eq!(client.response().await.text(), "sealed");
    }
}

#[tokio::test]
async fn http2_sends_each_cookie_field_apart() {
    let listener = TcpListener::bind(loopback(0)).await.expect("loopback has free ports");
    let address = listener.local_addr().expect("the socket is bound");
    let server = tokio::spawn(async move {
        let (stream, _) = listener.accept().await.expect("a client comes");
        let mut connection = h2::server::handshake(stream).await.expect("it speaks HTTP/2");
        let (asked, mut respond) =
            connection.accept().await.expect("a request").expect("it is well-formed");
        let cookies = asked.headers().get_all("cookie").iter().count();
        let answer = http::Response::builder().header("set-cookie", "a=1").body(()).expect("fine");
        let mut stream = respond.send_response(answer, false).expect("the client is there");
        stream.send_data(Bytes::from(format!("{cookies}")), true).expect("the client is there");
        while connection.accept().await.is_some() {}
    });
    let mut client = H2::connect(&Dial::to(address)).await;
    let answer = client.get("shop.example.com", "/", &[("cookie", "a=1"), ("cookie", "b=2")]).await;
    assert_eq!((answer.status, answer.body.as_slice()), (200, &b"2"[..]));
    assert_eq!(answer.set_cookies(), ["a=1"]);
    drop(client);
    within("the server's end", server).await.expect("it does not panic");
}

#[tokio::test]
async fn a_browser_keeps_cookies_and_follows_redirects() {
    let shop =
        Responder::start(|request| match (request.method.as_str(), request.target.as_str()) {
            ("POST", "/login") => response(
                "302 Found",
                &[("Location", "/account/"), ("Set-Cookie", "sid=1; Path=/; HttpOnly")],
                b"",
            ),
            _ => response("200 OK", &[], b"page"),
        })
        .await;
    let mut browser = Browser::http("shop.example.com", &[shop.address]).following();
    browser.script_sets("theme=dark").expect("it is a good cookie");
    let page = browser.post_form("/login", &[("username", "a b&c=\u{e9}")]).await.expect(200);
    assert_eq!(page.text(), "page");

    let seen = shop.seen();
    assert_eq!(seen[0].body.content, b"username=a+b%26c%3D%C3%A9");
    assert_eq!(seen[0].field("cookie").as_deref(), Some("theme=dark"));
    assert_eq!(seen[0].field("host").as_deref(), Some("shop.example.com"));
    assert_eq!((seen[1].method.as_str(), seen[1].target.as_str()), ("GET", "/account/"));
    assert_eq!(seen[1].field("cookie").as_deref(), Some("theme=dark; sid=1"));
    assert_eq!(browser.script_sees(), ["theme"]);

    let mut thief = browser.clone();
    thief.get("/").await;
    assert_eq!(shop.last().field("cookie").as_deref(), Some("theme=dark; sid=1"));
    thief.restart();
    assert!(thief.cookies().is_empty(), "neither cookie outlives its browser");

    browser.send(Ask::form("/login", &[]).cross_site_navigation()).await;
    let post = &shop.seen()[3];
    assert_eq!((post.method.as_str(), post.field("cookie")), ("POST", None), "Lax by default");
}

#[tokio::test]
async fn a_browser_reaches_every_node_over_tls() {
    let certificate = Certificate::for_names(&["shop.example.com"]);
    let mut nodes = [Origin::start_tls(&certificate).await, Origin::start_tls(&certificate).await];
    let addresses = [nodes[0].address, nodes[1].address];
    let mut browser = Browser::https("shop.example.com", &addresses);
    let set = response("200 OK", &[("Set-Cookie", "__Host-t=1; Secure; Path=/; Max-Age=60")], b"");
    tokio::join!(browser.get("/"), nodes[0].answer(&set));
    browser.node(1);
    let (_, seen) = tokio::join!(browser.get("/x"), nodes[1].answer(response("200 OK", &[], b"")));
    assert_eq!(seen.field("cookie").as_deref(), Some("__Host-t=1"));

    browser.advance(Duration::from_secs(61));
    let (_, seen) = tokio::join!(browser.get("/x"), nodes[1].answer(response("200 OK", &[], b"")));
    assert_eq!(seen.field("cookie"), None, "it has expired for this browser");
}

#[test]
fn redis_comes_back_with_what_it_acknowledged() {
    let mut redis = Redis::durable();
    assert_eq!(redis.cli(&["SET", "k", "v"]), "OK");
    redis.kill9();
    assert!(std::net::TcpStream::connect(loopback(redis.port())).is_err());
    redis.start_again();
    assert_eq!(redis.cli(&["GET", "k"]), "v");
    redis.stop();
    redis.start_again();
    assert_eq!(redis.keys(), ["k"]);
    assert!(redis.commands_processed() > 0);
}

#[test]
fn a_process_ends_with_its_value_and_takes_its_children_along() {
    let mut process = Process::spawn(
        "shell",
        Command::new("sh").args(["-c", "sleep 1000 & echo CHILD $!; wait"]),
    );
    let child = process.wait_line("CHILD ").expect("it says so");
    // A zombie that nobody has reaped yet has no command any more.
    let until = |is_running: bool, why: &str| {
        let deadline = Instant::now() + PATIENCE;
        let command = format!("/proc/{child}/cmdline");
        while std::fs::read_to_string(&command).unwrap_or_default().contains("sleep") != is_running
        {
            assert!(Instant::now() < deadline, "{why}");
            std::thread::sleep(Duration::from_millis(5));
        }
    };
    until(true, "the child never became `sleep`");
    drop(process);
    until(false, "the child outlived its group's leader");
}

#[test]
fn a_process_that_never_comes_up_shows_its_output() {
    let mut process =
        Process::spawn("shell", Command::new("sh").args(["-c", "echo no port >&2; exit 3"]));
    let problem = process.wait_line("READY ").expect_err("it never says so");
    assert!(problem.contains("no port"), "{problem}");
    assert_eq!(process.wait_exit().code(), Some(3));
}

/// A proxy that does nothing but listen, and counts how often it was stopped.
struct Pretended(std::net::TcpListener, Arc<AtomicUsize>);

impl Running for Pretended {
    fn addresses(&self) -> Vec<std::net::SocketAddr> {
        vec![self.0.local_addr().expect("the socket is bound")]
    }

    fn admin_address(&self) -> Option<String> {
        None
    }

    fn reload(&self) {}

    fn reload_with(
        &self,
        _: &str,
    ) -> Result<(Vec<&'static str>, Vec<std::net::SocketAddr>), String> {
        Ok((Vec::new(), Vec::new()))
    }

    fn drain(self: Box<Self>) {
        self.stop();
    }

    fn stop(self: Box<Self>) {
        self.1.fetch_add(1, Ordering::SeqCst);
    }
}

#[tokio::test]
async fn a_proxy_is_started_outside_the_runtime_and_stopped_once() {
    let stops = Arc::new(AtomicUsize::new(0));
    let boot = || {
        let stops = stops.clone();
        move |yaml: &str| -> Result<Box<dyn Running>, String> {
            if yaml.contains('{') {
                return Err(format!("not filled in: {yaml}"));
            }
            // What would panic inside of the test's own runtime.
            let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
            runtime.block_on(async {});
            let listener = std::net::TcpListener::bind(loopback(0)).expect("loopback has ports");
            Ok(Box::new(Pretended(listener, stops)))
        }
    };
    let proxy = Proxy::start_with(boot(), "state_directory: {directory}\n");
    Dial::to(proxy.address()).connect().await;
    assert!(proxy.directory().exists());
    proxy.stop();
    assert_eq!(stops.load(Ordering::SeqCst), 1);
    Proxy::start_with(boot(), "").drain().await;
    assert_eq!(stops.load(Ordering::SeqCst), 2);
    drop(Proxy::start_with(boot(), ""));
    assert_eq!(stops.load(Ordering::SeqCst), 3);
    let problem = Proxy::try_start_with(boot(), "{nothing}").err();
    assert_eq!(problem.as_deref(), Some("not filled in: {nothing}"));
}

#[tokio::test]
async fn a_refused_connection_is_an_error() {
    assert!(Dial::to(loopback(free_port())).try_connect().await.is_err());
}
