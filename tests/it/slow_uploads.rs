//! Clients that are slow to send a body hold no worker, and what was kept of it can be sent again (nginx
//! `proxy_request_buffering`).

use std::time::{Duration, Instant};

use bytes::Bytes;
use http::Request;

use crate::support::client::{Connection, Dial, request};
use crate::support::h2::H2;
use crate::support::http::response;
use crate::support::origin::{Origin, Responder};
use crate::support::proxy::{Binary, Proxy};
use crate::support::shop::{HOST, Shop, TICKET, browser};
use crate::support::{free_port, loopback, within};

const OK: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";
/// Lengths that stay where they are read, in memory, and in a file.
const LENGTHS: [usize; 6] = [1, 5_000, 16_384, 20_480, 20_481, 700_000];
/// How long something is watched that must not happen.
const A_WHILE: Duration = Duration::from_millis(150);

fn yaml(endpoints: &[String], upstream: &str, limits: &str, routes: &str) -> String {
    let endpoints: Vec<_> = endpoints.iter().map(|at| format!("{{ address: '{at}' }}")).collect();
    format!(
        "workers: 1\nstate_directory: '{{directory}}'\nlisteners:\n  - address: 127.0.0.1:0\n  \
         - {{ address: 127.0.0.1:0, tls: {{ self_signed: true }} }}\nstore: memory\n\
         limits: {{ header_timeout: 30s{limits} }}\n\
         upstreams: {{ app: {{ endpoints: [{}]{upstream} }} }}\n\
         servers: [{{ names: [a], routes: [{{ path: /, upstream: app{routes} }}] }}]\n",
        endpoints.join(", ")
    )
}

fn before(origin: &Origin, routes: &str) -> Proxy {
    Proxy::start(&yaml(&[origin.address.to_string()], "", "", routes))
}

async fn dial(proxy: &Proxy) -> Connection {
    Dial::to(proxy.address()).connect().await
}

fn content(length: usize) -> Vec<u8> {
    (0..length).map(|at| (at / 251 + at) as u8).collect()
}

fn chunked(content: &[u8], end: &str) -> Vec<u8> {
    let mut raw =
        b"POST / HTTP/1.1\r\nHost: a\r\nTrailer: X-End\r\nTransfer-Encoding: chunked\r\n\r\n"
            .to_vec();
    for chunk in content.chunks(4_099) {
        raw.extend_from_slice(format!("{:x}\r\n", chunk.len()).as_bytes());
        raw.extend_from_slice(chunk);
        raw.extend_from_slice(b"\r\n");
    }
    raw.extend_from_slice(format!("0\r\n{end}\r\n").as_bytes());
    raw
}

fn both_framings(length: usize) -> [Vec<u8>; 2] {
    let content = content(length);
    [request("POST", "/", "a", &[], &content), chunked(&content, "X-End: yes\r\n")]
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_worker_hears_of_a_request_once_its_body_is_there_and_how_long_it_is() {
    for length in LENGTHS {
        for raw in both_framings(length) {
            let mut origin = Origin::start().await;
            let proxy = before(&origin, "");
            let mut client = dial(&proxy).await;
            client.send(&raw[..raw.len() - 1]).await;
            tokio::time::sleep(Duration::from_millis(30)).await;
            assert_eq!(origin.connections(), 0, "{length}");
            client.send(&raw[raw.len() - 1..]).await;
            let seen = origin.answer(OK).await;
            assert_eq!(seen.field("content-length").as_deref(), Some(&*length.to_string()));
            assert!(!seen.fields().has("transfer-encoding"), "{length}");
            assert!(seen.body.content == content(length), "{length}");
            client.response().await.expect(200);
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_follows_a_body_is_the_next_request() {
    let mut origin = Origin::start().await;
    let proxy = before(&origin, "");
    let mut client = dial(&proxy).await;
    for length in LENGTHS {
        for raw in both_framings(length) {
            let next = request("POST", "/next", "a", &[], b"second");
            client.send([raw, next].concat()).await;
            assert_eq!(origin.answer(OK).await.body.content.len(), length);
            let second = origin.answer(response("201 Made", &[], b"")).await;
            assert_eq!((&*second.target, &second.body.content[..]), ("/next", &b"second"[..]));
            client.response().await.expect(200);
            client.response().await.expect(201);
        }
    }
    // Nothing, in chunks.
    client.send(chunked(b"", "")).await;
    assert_eq!(origin.answer(OK).await.field("content-length").as_deref(), Some("0"));
    client.response().await.expect(200);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_an_upload_that_breaks_off_no_worker_hears() {
    let origin = Origin::start().await;
    let proxy = before(&origin, "");
    for length in LENGTHS {
        for raw in both_framings(length) {
            let mut client = dial(&proxy).await;
            client.send(&raw[..raw.len() - 1]).await;
            client.finish().await;
            assert!(client.try_response().await.is_err(), "{length}");
        }
    }
    assert_eq!(origin.connections(), 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_body_that_stops_is_408_and_one_that_trickles_is_not() {
    let mut origin = Origin::start().await;
    let limits = ", body_timeout: 300ms";
    let proxy = Proxy::start(&yaml(&[origin.address.to_string()], "", limits, ""));
    for length in [100, 30_000] {
        for raw in both_framings(length) {
            let mut client = dial(&proxy).await;
            client.send(&raw[..raw.len() - 2]).await;
            client.response().await.expect(408);
            assert!(client.try_response().await.is_err());

            let mut client = dial(&proxy).await;
            let (begin, end) = raw.split_at(raw.len() - 5);
            client.send(begin).await;
            for byte in end {
                tokio::time::sleep(Duration::from_millis(100)).await;
                client.send([*byte]).await;
            }
            origin.answer(OK).await;
            client.response().await.expect(200);
        }
    }
    assert_eq!(origin.connections(), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_limit_counts_to_the_byte() {
    let mut origin = Origin::start().await;
    for limit in [100, 30_000] {
        let proxy = before(&origin, &format!(", body_bytes_max: {limit}"));
        for raw in both_framings(limit) {
            let mut client = dial(&proxy).await;
            client.send(raw).await;
            assert_eq!(origin.answer(OK).await.body.content.len(), limit);
            client.response().await.expect(200);
        }
        for raw in both_framings(limit + 1) {
            let mut client = dial(&proxy).await;
            client.send(raw).await;
            client.response().await.expect(413);
            assert!(client.try_response().await.is_err(), "what follows may be anything");
        }
        assert_eq!(origin.waiting(), 0);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn chunks_that_are_none_are_400_and_no_worker_hears_of_them() {
    let origin = Origin::start().await;
    let proxy = before(&origin, "");
    for end in ["x\r\n", "3\r\nabcd\r\n0\r\n\r\n", "0\r\n: x\r\n\r\n", "-1\r\n\r\n"] {
        let mut client = dial(&proxy).await;
        let head = "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nab\r\n";
        client.send(format!("{head}{end}")).await;
        client.response().await.expect(400);
    }
    assert_eq!(origin.connections(), 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_that_waits_is_told_to_go_on_by_us() {
    let mut origin = Origin::start().await;
    let proxy = before(&origin, "");
    for framing in ["Content-Length: 3\r\n", "Transfer-Encoding: chunked\r\n"] {
        let mut client = dial(&proxy).await;
        let head = format!("POST / HTTP/1.1\r\nHost: a\r\nExpect: 100-Continue\r\n{framing}\r\n");
        client.send(head).await;
        assert_eq!(client.bytes().await.expect("a word"), b"HTTP/1.1 100 Continue\r\n\r\n");
        client.send(if framing.starts_with('C') { "abc" } else { "3\r\nabc\r\n0\r\n\r\n" }).await;
        let seen = origin.answer(OK).await;
        assert_eq!((seen.field("expect"), &seen.body.content[..]), (None, &b"abc"[..]));
        client.response().await.expect(200);
    }
    // It did not wait.
    let mut client = dial(&proxy).await;
    client.send(request("POST", "/", "a", &[("Expect", "100-continue")], b"abc")).await;
    assert_eq!(origin.answer(OK).await.field("expect"), None);
    assert_eq!(client.exactly(25).await.expect("a word"), b"HTTP/1.1 100 Continue\r\n\r\n");
    client.response().await.expect(200);
}

/// A worker that hangs up, one that answers with 503, and one that is well.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn another_endpoint_gets_all_of_a_body_where_posts_may_be_repeated() {
    for length in LENGTHS {
        for raw in both_framings(length) {
            let mut gone = Origin::start().await;
            let bad = Responder::start(|_| response("503 Busy", &[], b"")).await;
            let good = Responder::start(|_| OK.to_vec()).await;
            let endpoints = [gone.address, bad.address, good.address].map(|at| at.to_string());
            let next = ", next_upstream: [error, http_503, non_idempotent]";
            let proxy = Proxy::start(&yaml(&endpoints, next, "", ""));
            let mut client = dial(&proxy).await;
            client.send(&raw).await;
            gone.next().await.close().await;
            client.response().await.expect(200);
            for worker in [bad, good] {
                let seen = worker.last();
                assert_eq!(seen.field("content-length").as_deref(), Some(&*length.to_string()));
                assert!(seen.body.content == content(length), "{length}");
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_post_is_not_repeated_unless_that_is_said() {
    let mut origin = Origin::start().await;
    let other = Responder::start(|_| OK.to_vec()).await;
    let endpoints = [origin.address, other.address].map(|at| at.to_string());
    let proxy = Proxy::start(&yaml(&endpoints, "", "", ""));
    let mut client = dial(&proxy).await;
    client.send(request("POST", "/", "a", &[], &content(30_000))).await;
    origin.next().await.close().await;
    client.response().await.expect(502);
    assert!(other.seen().is_empty());
    // What reached nobody is repeated.
    let endpoints = [loopback(free_port()), other.address].map(|at| at.to_string());
    let proxy = Proxy::start(&yaml(&endpoints, "", "", ""));
    for _ in 0..2 {
        let mut client = dial(&proxy).await;
        client.exchange(request("POST", "/", "a", &[], &content(30_000))).await.expect(200);
        assert!(other.last().body.content == content(30_000));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn redirects_inside_take_a_body_along() {
    let bad = Responder::start(|request| match &*request.target {
        "/accel" => response("200 OK", &[("X-Accel-Redirect", "/page")], b""),
        "/named" => response("200 OK", &[("X-Accel-Redirect", "@other")], b""),
        _ => response("404 None", &[], b""),
    })
    .await;
    let good = Responder::start(|_| OK.to_vec()).await;
    let proxy = Proxy::start(&format!(
        "workers: 1\nstate_directory: '{{directory}}'\nlisteners: [{{ address: 127.0.0.1:0 }}]\n\
         store: memory\nupstreams:\n  bad: {{ endpoints: [{{ address: '{}' }}] }}\n  \
         good: {{ endpoints: [{{ address: '{}' }}] }}\n  \
         gone: {{ endpoints: [{{ address: '{}' }}] }}\nservers:\n- routes:\n  \
         - {{ path: /, upstream: bad, intercept_errors: true, error_page: {{ 404: '=200 @other' }} }}\n  \
         - {{ path: /gone, upstream: gone, error_page: {{ 502: '=200 /page' }} }}\n  \
         - {{ path: /page, upstream: good }}\n  - {{ path: '@other', upstream: good }}\n",
        bad.address,
        good.address,
        loopback(free_port()),
    ));
    for (target, method, to) in [
        ("/404", "POST", "/404"),
        ("/accel", "GET", "/page"),
        ("/named", "POST", "/named"),
        ("/gone", "GET", "/page"),
    ] {
        for length in LENGTHS {
            for mut raw in both_framings(length) {
                raw.splice(5..6, target.bytes());
                let mut client = dial(&proxy).await;
                client.send([raw, request("GET", "/page", "a", &[], b"")].concat()).await;
                client.response().await.expect(200);
                client.response().await.expect(200);
                let seen = good.seen();
                let seen = &seen[seen.len() - 2];
                assert_eq!((&*seen.method, &*seen.target), (method, to));
                assert_eq!(seen.field("content-length").as_deref(), Some(&*length.to_string()));
                assert!(seen.body.content == content(length), "{target} {length}");
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn http2_clients_send_whole_bodies_too() {
    let mut origin = Origin::start().await;
    let proxy = before(&origin, "");
    let mut h2 = H2::connect(&Dial::to(proxy.addresses()[1]).tls("a")).await;
    let post = || Request::post("https://a/").body(()).expect("a request");
    for length in LENGTHS {
        let content = content(length);
        let before = origin.connections();
        let (answer, mut sending) = h2.open(post(), false).await.expect("a stream");
        let (begin, end) = content.split_at(length - 1);
        sending.send_data(Bytes::copy_from_slice(begin), false).expect("room");
        tokio::time::sleep(Duration::from_millis(30)).await;
        assert_eq!((origin.connections(), origin.waiting()), (before, 0));
        sending.send_data(Bytes::copy_from_slice(end), true).expect("room");
        let seen = origin.answer(OK).await;
        assert_eq!(seen.field("content-length").as_deref(), Some(&*length.to_string()));
        assert!(seen.body.content == content, "{length}");
        assert_eq!(within("an answer", answer).await.expect("no reset").status(), 200);
        // In one go.
        let (answer, mut sending) = h2.open(post(), false).await.expect("a stream");
        sending.send_data(Bytes::copy_from_slice(&content), true).expect("room");
        assert!(origin.answer(OK).await.body.content == content, "{length}");
        assert_eq!(within("an answer", answer).await.expect("no reset").status(), 200);
        // Broken off.
        let (_, mut sending) = h2.open(post(), false).await.expect("a stream");
        sending.send_data(Bytes::copy_from_slice(begin), false).expect("room");
        sending.send_reset(h2::Reason::CANCEL);
        tokio::time::sleep(Duration::from_millis(30)).await;
        assert_eq!(origin.waiting(), 0);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_is_slow_to_send_holds_no_turn_of_a_session() {
    let mut origin = Origin::start().await;
    let policy = "serialize: { requests: all, wait: 30s }";
    let proxy = Shop::at(origin.address).in_memory().policy(policy).start();
    let mut visitor = browser(std::slice::from_ref(&proxy));
    let ask = crate::support::browser::Ask::get("/begin");
    let mut first = Dial::to(proxy.address()).tls(HOST).connect().await;
    first.send(format!("GET /begin HTTP/1.1\r\nHost: {HOST}\r\n\r\n")).await;
    origin.answer(response("200 OK", &[("Set-Cookie", "EGG_SESS=a; Path=/")], b"")).await;
    visitor.keep(&ask, &first.response().await.expect(200));
    let ticket = format!("{TICKET}={}", visitor.cookie(TICKET).expect("a ticket").value_text());
    let mut slow = Dial::to(proxy.address()).tls(HOST).connect().await;
    let raw = request("POST", "/slow", HOST, &[("Cookie", &ticket)], b"0123456789");
    slow.send(&raw[..raw.len() - 1]).await;
    tokio::time::sleep(A_WHILE).await;
    let begun = Instant::now();
    first.send(request("POST", "/quick", HOST, &[("Cookie", &ticket)], b"x")).await;
    assert_eq!(origin.answer(OK).await.target, "/quick");
    first.response().await.expect(200);
    assert!(begun.elapsed() < Duration::from_secs(5));
    slow.send(&raw[raw.len() - 1..]).await;
    assert_eq!(origin.answer(OK).await.target, "/slow");
    slow.response().await.expect(200);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn where_files_are_full_a_long_body_is_503_and_a_short_one_is_not() {
    let mut origin = Origin::start().await;
    let limits = ", spooled_bytes: 50KiB";
    let proxy = Proxy::start(&yaml(&[origin.address.to_string()], "", limits, ""));
    let mut held = dial(&proxy).await;
    let raw = request("POST", "/", "a", &[], &content(40_000));
    held.send(&raw[..raw.len() - 1]).await;
    tokio::time::sleep(A_WHILE).await;
    let mut refused = dial(&proxy).await;
    refused.exchange(&raw).await.expect(503);
    let mut short = dial(&proxy).await;
    short.send(request("POST", "/", "a", &[], b"short")).await;
    origin.answer(OK).await;
    short.response().await.expect(200);
    held.send(&raw[raw.len() - 1..]).await;
    assert_eq!(origin.answer(OK).await.body.content.len(), 40_000);
    held.response().await.expect(200);
    // There is room again.
    refused = dial(&proxy).await;
    refused.send(&raw).await;
    origin.answer(OK).await;
    refused.response().await.expect(200);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn bodies_lie_in_files_with_names_where_that_is_said() {
    let directory = tempfile::tempdir().expect("a directory");
    for (kept, during, after) in [("off", 0, 0), ("clean", 1, 0), ("'on'", 1, 1)] {
        let bodies = directory.path().join(during.to_string()).join(after.to_string());
        let mut origin = Origin::start().await;
        let proxy = before(
            &origin,
            &format!(
                ", client_body_temp_path: '{} 1', client_body_in_file_only: {kept}, \
                 request_headers: {{ X-File: $request_body_file, X-Body: $request_body }}",
                bodies.display()
            ),
        );
        for (n, length) in [1_usize, 700_000].into_iter().enumerate() {
            // It stands in a field.
            let content = vec![b'x'; length];
            let mut client = dial(&proxy).await;
            client.send(request("POST", "/", "a", &[], &content)).await;
            let exchange = origin.next().await;
            let named = exchange.request.field("x-file");
            // What has no file is a variable's.
            assert_eq!(named.is_none(), during == 0 && length == 1, "{kept} {length}");
            assert_eq!(exchange.request.fields().has("x-body"), named.is_none());
            if let Some(named) = &named {
                assert!(std::fs::read(named).expect("it can be read") == content);
                assert_eq!(named.starts_with(&*bodies.to_string_lossy()), during == 1, "{named}");
            }
            assert!(exchange.request.body.content == content);
            exchange.respond(OK).await;
            client.response().await.expect(200);
            let count = || files(&bodies);
            crate::support::soon(after * (n + 1), "files to go", async || count()).await;
        }
    }
}

fn files(directory: &std::path::Path) -> usize {
    let entries = std::fs::read_dir(directory).into_iter().flatten().flatten();
    entries.map(|entry| if entry.path().is_dir() { files(&entry.path()) } else { 1 }).sum()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_body_that_cannot_be_kept_is_500_and_harms_nobody_else() {
    let mut origin = Origin::start().await;
    let proxy = before(&origin, ", client_body_temp_path: /dev/null/none");
    let mut long = dial(&proxy).await;
    long.exchange(request("POST", "/", "a", &[], &content(30_000))).await.expect(500);
    let mut short = dial(&proxy).await;
    short.send(request("POST", "/", "a", &[], &content(3_000))).await;
    origin.answer(OK).await;
    short.response().await.expect(200);
    assert_eq!(origin.connections(), 1);
}

/// A file that may grow no further is what a full disk is: the writer is told, and goes on.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_full_disk_is_500_and_harms_nobody_else() {
    let mut origin = Origin::start().await;
    let yaml = yaml(&[origin.address.to_string()], "", "", "").replacen(
        "127.0.0.1:0",
        "127.0.0.1:{port}",
        1,
    );
    let binary = Binary::serve(&yaml, &[]);
    let limit = std::process::Command::new("prlimit")
        .args(["--pid", &binary.process.id().to_string(), "--fsize=100000"])
        .status();
    assert!(limit.expect("prlimit is there").success());
    let dial = Dial::to(loopback(binary.port));
    let mut long = dial.connect().await;
    long.exchange(request("POST", "/", "a", &[], &content(700_000))).await.expect(500);
    for length in [10, 50_000] {
        let mut other = dial.connect().await;
        other.send(request("POST", "/", "a", &[], &content(length))).await;
        assert_eq!(origin.answer(OK).await.body.content.len(), length);
        other.response().await.expect(200);
    }
    assert!(binary.process.log().contains("a request's body cannot be kept"));
}
