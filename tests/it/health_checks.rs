//! Active health checks: endpoints that are not well get no requests.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::HeaderMap;

use crate::support::PATIENCE;
use crate::support::client::Dial;
use crate::support::h2_origin::{H2Exchange, H2Origin};
use crate::support::http::response;
use crate::support::origin::Responder;
use crate::support::proxy::Proxy;
use crate::support::shop::HOST;
use crate::support::tls::Certificate;

/// A worker whose health answers with this status, which can be changed; everything else with its name.
async fn worker(name: &'static str, health: &Arc<AtomicUsize>) -> Responder {
    let health = health.clone();
    Responder::start(move |request| match request.target.as_str() {
        "/health" => {
            let status = health.load(Ordering::Relaxed);
            response(&format!("{status} Said"), &[("Connection", "close")], b"state: fine")
        }
        _ => response("200 OK", &[], name.as_bytes()),
    })
    .await
}

fn proxy(endpoints: &[String], upstream: &str) -> Proxy {
    let endpoints: Vec<String> =
        endpoints.iter().map(|it| format!("{{ address: '{it}' }}")).collect();
    Proxy::start(&format!(
        "workers: 1\nstate_directory: '{{directory}}'\nstore: memory\n\
         listeners: [{{ address: '127.0.0.1:0' }}]\n\
         upstreams: {{ app: {{ endpoints: [{}], {upstream} }} }}\n\
         servers: [{{ names: [_], routes: [{{ path: /, upstream: app }}] }}]\n",
        endpoints.join(", ")
    ))
}

async fn get(proxy: &Proxy) -> (u16, String) {
    let mut client = Dial::to(proxy.address()).connect().await;
    let answer = client.get("shop.example", "/", &[]).await;
    (answer.status, answer.text())
}

/// Asks until four in a row are answered so.
async fn comes_to(proxy: &Proxy, expected: &[&str]) {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let mut seen = Vec::new();
        for _ in 0..4 {
            let (status, text) = get(proxy).await;
            seen.push(if status == 200 { text } else { status.to_string() });
        }
        seen.sort();
        seen.dedup();
        if seen == expected {
            return;
        }
        assert!(Instant::now() < deadline, "{seen:?} instead of {expected:?}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn who_is_not_well_gets_no_request_until_it_is_again() {
    let states = [200, 200].map(|status| Arc::new(AtomicUsize::new(status)));
    let workers = [worker("one", &states[0]).await, worker("two", &states[1]).await];
    let addresses = [&workers[0], &workers[1]].map(|worker| worker.address.to_string());
    let check = "health_check: { path: /health, host: health.internal, status: [200-299], body: fine, \
                 interval: 50ms, rise: 2, fall: 2 }";
    let proxy = proxy(&addresses, check);
    comes_to(&proxy, &["one", "two"]).await;
    states[0].store(500, Ordering::Relaxed);
    comes_to(&proxy, &["two"]).await;
    states[1].store(404, Ordering::Relaxed);
    comes_to(&proxy, &["502"]).await;
    states[0].store(204, Ordering::Relaxed);
    comes_to(&proxy, &["502"]).await;
    states[0].store(299, Ordering::Relaxed);
    states[1].store(200, Ordering::Relaxed);
    comes_to(&proxy, &["one", "two"]).await;
    let asked = workers[0].seen().into_iter().find(|request| request.target == "/health");
    assert_eq!(asked.and_then(|it| it.field("host")).as_deref(), Some("health.internal"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_connection_is_enough_for_tcp_and_nothing_is_asked_before_it_where_that_is_said() {
    let state = Arc::new(AtomicUsize::new(200));
    let (one, two) = (worker("one", &state).await, worker("two", &state).await);
    let closed = crate::support::loopback(crate::support::free_port());
    let addresses = [one.address, closed, two.address].map(|address| address.to_string());
    let check =
        "next_upstream: 'off', health_check: { type: tcp, interval: 50ms, initial: unhealthy }";
    let proxy = proxy(&addresses, check);
    comes_to(&proxy, &["one", "two"]).await;
    for _ in 0..6 {
        assert_eq!(get(&proxy).await.0, 200, "who does not listen is never asked");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn checks_speak_tls_as_the_upstream_does_and_use_their_own_port() {
    let certificate = Certificate::for_names(&[HOST]);
    let files = tempfile::tempdir().expect("a temporary directory can be made");
    let (ca, _) = certificate.write(files.path(), "ca");
    let mut secure = crate::support::origin::Origin::start_tls(&certificate).await;
    let nobody = crate::support::loopback(crate::support::free_port());
    let check = format!(
        "tls: {{ server_name: {HOST}, ca: '{}' }}, \
         health_check: {{ path: /health, port: {}, interval: 50ms }}",
        ca.display(),
        secure.address.port()
    );
    let _proxy = proxy(&[nobody.to_string()], &check);
    let asked = secure.answer(response("200 OK", &[], b"")).await;
    assert_eq!(
        (asked.target.as_str(), asked.field("connection").as_deref()),
        ("/health", Some("close"))
    );
}

/// Answers of gRPC's health service.
fn say(mut exchange: H2Exchange, status: u8) {
    let mut sending = exchange.begin(200, &[("content-type", "application/grpc")], false);
    let message = Bytes::copy_from_slice(&[0, 0, 0, 0, 2, 8, status]);
    sending.send_data(message, false).expect("the stream is open");
    let mut trailers = HeaderMap::new();
    trailers.insert("grpc-status", "0".parse().expect("a value"));
    sending.send_trailers(trailers).expect("the stream is open");
}

#[tokio::test(flavor = "multi_thread")]
async fn grpc_says_by_its_own_protocol_whether_it_serves() {
    let mut worker = H2Origin::start().await;
    let check = "protocol: h2, health_check: { type: grpc, service: shop.Cart, interval: 50ms, initial: unhealthy }";
    let proxy = proxy(&[worker.address.to_string()], check);
    let state = Arc::new(AtomicUsize::new(1));
    let said = state.clone();
    let answering = tokio::spawn(async move {
        loop {
            let mut exchange = worker.next().await;
            match exchange.head.uri.path() {
                "/grpc.health.v1.Health/Check" => {
                    let (question, _) = exchange.read().await;
                    assert_eq!(question, b"\0\0\0\0\x0b\x0a\x09shop.Cart");
                    assert_eq!(exchange.field("te"), Some("trailers"));
                    say(exchange, u8::try_from(said.load(Ordering::Relaxed)).expect("a state"));
                }
                _ => exchange.answer(200, "served"),
            }
        }
    });
    comes_to(&proxy, &["served"]).await;
    state.store(2, Ordering::Relaxed);
    comes_to(&proxy, &["502"]).await;
    state.store(1, Ordering::Relaxed);
    comes_to(&proxy, &["served"]).await;
    answering.abort();
}

#[tokio::test(flavor = "multi_thread")]
async fn checks_without_sense_are_mistakes() {
    for (check, expected) in [
        ("{ type: ping }", "is no type of check"),
        ("{ type: grpc }", "needs HTTP/2"),
        ("{ type: tcp, path: /x }", "has `path`, which belongs to `type: http`"),
        ("{ service: x }", "has `service`, which belongs to `type: grpc`"),
        ("{ path: 'x y' }", "cannot be asked for"),
        ("{ status: [200-100] }", "`200-100` is no status"),
        ("{ rise: 0 }", "must be at least 1"),
        ("{ interval: 0s }", "must be longer than nothing"),
        ("{ initial: maybe }", "is no state"),
        ("{ port: 0 }", "has port 0"),
    ] {
        let yaml = format!(
            "state_directory: '{{directory}}'\nstore: memory\nlisteners: [{{ address: '127.0.0.1:0' }}]\n\
             upstreams: {{ app: {{ endpoints: [{{ address: '127.0.0.1:1' }}], health_check: {check} }} }}\n\
             servers: [{{ names: [_], routes: [{{ path: /, upstream: app }}] }}]\n"
        );
        let problem = Proxy::try_start(&yaml).err().expect("a mistake");
        assert!(problem.contains(expected), "{check}: {problem}");
    }
}
