//! What is held of bodies under way: it has a limit over all connections, and what nobody takes costs
//! little.

use std::time::Duration;

use bytes::Bytes;
use http::Request;
use tokio::task::JoinSet;

use crate::support::client::{Connection, Dial, request};
use crate::support::counts::{ADMIN, count};
use crate::support::http::message;
use crate::support::origin::{Exchange, Origin};
use crate::support::proxy::{Binary, Proxy};
use crate::support::within;

const MIB: u64 = 1024 * 1024;
/// More than the system takes for a worker that reads nothing: its buffers grow to some 16 MiB.
const BODY: u64 = 24 * MIB;
const HELD: &str = "cloakroom_buffered_bytes";
const NAME: &str = "app.example";
const ANSWER: &str = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";

fn yaml(origin: &Origin, listener: &str, top: &str) -> String {
    format!(
        "workers: 1\nstate_directory: '{{directory}}'\nlisteners: [{{ {listener} }}]\nstore: memory\n{top}\n\
         upstreams:\n  app:\n    endpoints: [{{ address: '{}' }}]\nservers:\n  - names: [{NAME}]\n    \
         routes: [{{ path: /, upstream: app, body_bytes_max: 64MiB }}]\nlog: {{ access: false }}\n",
        origin.address
    )
}

async fn dial(proxy: &Proxy) -> Connection {
    Dial::to(proxy.address()).connect().await
}

fn head_of_upload(fields: &str) -> String {
    format!("POST / HTTP/1.1\r\nHost: {NAME}\r\n{fields}\r\n\r\n")
}

/// Sends a large body; the status of its answer.
async fn upload(mut client: Connection) -> u16 {
    client.send(head_of_upload(&format!("Content-Length: {BODY}"))).await;
    let piece = [b'x'; 64 * 1024];
    for _ in 0..BODY / piece.len() as u64 {
        // Without the bound that `send` has: the worker takes its time.
        client.try_send(piece).await.expect("the proxy takes it");
    }
    client.response().await.status
}

/// Asks until the count of what is held is one that `is` wants.
async fn held(proxy: &Proxy, is: impl Fn(u64) -> bool) -> u64 {
    within("what is held to change", async {
        loop {
            let held = count(proxy, HELD).await;
            if is(held) {
                return held;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    })
    .await
}

/// What is held once it is more than before and has stopped growing: until then, an upload may still fill
/// the limit, and the next one would be refused.
async fn grown(proxy: &Proxy, before: u64) -> u64 {
    let mut now = held(proxy, |held| held > before).await;
    loop {
        tokio::time::sleep(Duration::from_millis(300)).await;
        match count(proxy, HELD).await {
            same if same == now => return now,
            more => now = more,
        }
    }
}

#[tokio::test]
async fn where_bodies_fill_the_limit_new_ones_are_refused_and_those_under_way_arrive() {
    let mut origin = Origin::start().await;
    let top = format!("{ADMIN}\nlimits: {{ buffered_bytes: 1MiB }}");
    let proxy = Proxy::start(&yaml(&origin, "address: 127.0.0.1:0", &top));
    let (mut uploads, mut stalled) = (JoinSet::new(), Vec::<Exchange>::new());
    let mut full = 0;
    while full < MIB {
        uploads.spawn(upload(dial(&proxy).await));
        stalled.push(origin.next_head().await);
        full = grown(&proxy, full).await;
    }
    assert!(full < MIB + MIB / 4, "{full} bytes are held");

    for fields in [format!("Content-Length: {BODY}"), "Transfer-Encoding: chunked".to_owned()] {
        let mut refused = dial(&proxy).await;
        refused.send(head_of_upload(&fields)).await;
        let answer = refused.response().await.expect(503);
        assert_eq!(answer.field("retry-after").as_deref(), Some("2"));
    }
    // Whoever needs no room is served.
    for (method, body) in [("GET", &b""[..]), ("POST", b"ab")] {
        let mut client = dial(&proxy).await;
        client.send(request(method, "/", NAME, &[], body)).await;
        origin.answer(ANSWER).await;
        client.response().await.expect(200);
    }

    let mut answering = JoinSet::new();
    for mut exchange in stalled {
        answering.spawn(async move {
            exchange.read_body().await.expect("all of it comes");
            assert_eq!(exchange.request.body.content.len() as u64, BODY);
            exchange.respond(ANSWER).await;
        });
    }
    answering.join_all().await;
    assert!(uploads.join_all().await.iter().all(|status| *status == 200));
    held(&proxy, |held| held == 0).await;
    let late = tokio::spawn(upload(dial(&proxy).await));
    origin.answer(ANSWER).await;
    assert_eq!(late.await.expect("no panic"), 200);
}

const CONNECTIONS: usize = 10;
const STREAMS: usize = 90;

/// Streams whose clients give them no window: their answers stay with their workers.
#[tokio::test]
async fn nine_hundred_streams_without_a_window_take_little_memory_and_keep_nobody_out() {
    let mut origin = Origin::start().await;
    let listener =
        "address: '127.0.0.1:{port}', protocols: [h2, http/1.1], tls: { self_signed: true }";
    let binary = Binary::serve(&yaml(&origin, listener, ""), &[]);
    let dial = Dial::to(([127, 0, 0, 1], binary.port).into()).tls(NAME);
    let before = resident_kib(&binary);
    let big = message("HTTP/1.1 200 OK", &[], &vec![b'x'; MIB as usize]);
    let answering = tokio::spawn(async move {
        let mut answers = JoinSet::new();
        loop {
            let (mut exchange, big) = (origin.next().await, big.clone());
            if exchange.request.target == "/" {
                exchange.respond(ANSWER).await;
            } else {
                answers.spawn(async move { exchange.write(&big).await });
            }
        }
    });
    let (mut senders, mut open) = (Vec::new(), Vec::new());
    for _ in 0..CONNECTIONS {
        let stream = dial.clone().alpn(&["h2"]).connect().await.into_stream();
        let mut builder = h2::client::Builder::new();
        let handshake = builder.initial_window_size(0).handshake::<_, Bytes>(stream);
        let (mut sender, connection) =
            within("a handshake", handshake).await.expect("it is HTTP/2");
        tokio::spawn(connection);
        for _ in 0..STREAMS {
            let request = Request::get("https://app.example/big").body(()).expect("a request");
            sender = within("a stream", sender.ready()).await.expect("it goes on");
            let (answer, _) = sender.send_request(request, true).expect("it is sent");
            open.push(within("a head", answer).await.expect("the head comes"));
        }
        senders.push(sender);
    }
    let grown = resident_kib(&binary) - before;
    assert!(grown < 64 * 1024, "{grown} KiB for {} streams", open.len());

    let mut other = dial.connect().await;
    other.get(NAME, "/", &[]).await.expect(200);
    answering.abort();
}

fn resident_kib(binary: &Binary) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{}/status", binary.process.id()));
    let status = status.expect("the process lives");
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let kib = line.and_then(|line| line.trim().strip_suffix("kB"));
    kib.expect("a size").trim().parse().expect("a number")
}
