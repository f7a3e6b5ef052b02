//! Exactly one access line for each request, whoever answered it and however it ended.

use std::time::Duration;

use crate::support::client::{Connection, Dial, request};
use crate::support::h2::H2;
use crate::support::http::response;
use crate::support::origin::Origin;
use crate::support::proxy::Binary;
use crate::support::shop::HOST;
use crate::support::{loopback, within};

fn yaml(origin: &Origin, listener: &str) -> String {
    format!(
        "workers: 2\nstate_directory: '{{directory}}'\n\
         listeners: [{{ address: '127.0.0.1:{{port}}'{listener} }}]\n\
         limits: {{ header_timeout: 1s, header_bytes: 4KiB }}\nlog: {{ format: json }}\n\
         store: memory\nupstreams:\n  app:\n    endpoints: [{{ address: '{}' }}]\n    \
         timeouts: {{ read: 2s }}\nservers:\n  - names: [{HOST}]\n    \
         routes: [{{ path: /app/, upstream: app, body_bytes_max: 1KiB, request_buffering: false }}]\n",
        origin.address
    )
}

/// Status and error of a line.
fn outcome(line: &serde_json::Value) -> (u64, Option<&str>) {
    (line["status"].as_u64().expect("a number"), line["error"].as_str())
}

async fn dial(binary: &Binary) -> Connection {
    Dial::to(loopback(binary.port)).connect().await
}

/// What the worker does with a request that gets as far.
#[derive(Clone, Copy)]
enum Worker {
    IsNotAsked,
    Answers(&'static str),
    HangsUp,
    HangsUpAfter(&'static str),
    Waits,
    WaitsForTheClientToLeave,
}

#[tokio::test]
async fn every_request_has_one_line() {
    let mut origin = Origin::start().await;
    let binary = Binary::serve(&yaml(&origin, ""), &[]);
    let get = |target: &str| request("GET", target, HOST, &[], b"");
    let raw = |text: &str| text.as_bytes().to_vec();
    let long = format!("GET / HTTP/1.1\r\nHost: {HOST}\r\nX: {}\r\n\r\n", "x".repeat(5000));
    let chunked =
        format!("POST /app/ HTTP/1.1\r\nHost: {HOST}\r\nTransfer-Encoding: chunked\r\n\r\n");
    use Worker::{Answers, HangsUp, HangsUpAfter, IsNotAsked, Waits, WaitsForTheClientToLeave};
    let cases = [
        (get("/app/"), Answers("200 OK"), (200, None)),
        (request("HEAD", "/app/", HOST, &[], b""), Answers("200 OK"), (200, None)),
        (get("/app/"), Answers("404 Not Found"), (404, None)),
        (get("/app/"), Answers("503 Service Unavailable"), (503, None)),
        // Answered without a worker.
        (get("/other"), IsNotAsked, (404, Some("no_route"))),
        (get("/app/%"), IsNotAsked, (400, Some("bad_request"))),
        (raw("GET /app/ HTTP/1.1\r\n\r\n"), IsNotAsked, (400, Some("bad_request"))),
        (
            request("POST", "/app/", HOST, &[], &[b'x'; 1025]),
            IsNotAsked,
            (413, Some("body_too_large")),
        ),
        // Answered without any hook.
        (raw("nonsense\r\n\r\n"), IsNotAsked, (400, Some("bad_request"))),
        (raw("GET / HTTP/1.1\r\nBad Field: x\r\n\r\n"), IsNotAsked, (400, Some("bad_request"))),
        (
            raw("CONNECT a:1 HTTP/1.1\r\nHost: a:1\r\n\r\n"),
            IsNotAsked,
            (405, Some("method_not_allowed")),
        ),
        (long.into_bytes(), IsNotAsked, (431, Some("head_too_large"))),
        (raw("GET / HTTP/1.1\r\nHost:"), IsNotAsked, (408, Some("request_timeout"))),
        // The worker's doing.
        (request("POST", "/app/", HOST, &[], b""), HangsUp, (502, Some("bad_gateway"))),
        (
            get("/app/"),
            HangsUpAfter("HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhalf"),
            (200, Some("bad_gateway")),
        ),
        (get("/app/"), Waits, (504, Some("upstream_timeout"))),
        // The client's.
        (get("/app/"), WaitsForTheClientToLeave, (499, Some("client_gone"))),
        (
            raw(&format!("{chunked}1\r\nx\r\n")),
            WaitsForTheClientToLeave,
            (499, Some("client_gone")),
        ),
        (raw(&format!("{chunked}x\r\n")), IsNotAsked, (400, Some("bad_request"))),
    ];
    for (number, (raw, worker, expected)) in cases.iter().enumerate() {
        let what = raw[..raw.len().min(60)].escape_ascii().to_string();
        let mut client = dial(&binary).await;
        client.send(raw).await;
        match *worker {
            IsNotAsked => {}
            Answers(status) => drop(origin.answer(response(status, &[], b"")).await),
            HangsUp => origin.next().await.close().await,
            HangsUpAfter(part) => {
                let mut exchange = origin.next().await;
                exchange.write(part).await;
                exchange.close().await;
            }
            Waits => origin.next().await.peer_closed().await,
            WaitsForTheClientToLeave => {
                let mut exchange = origin.next_head().await;
                client.reset();
                client = dial(&binary).await;
                exchange.peer_closed().await;
            }
        }
        let lines = binary.access_lines(number + 1).await;
        assert_eq!(lines.len(), number + 1, "{what}");
        assert_eq!(outcome(&lines[number]), *expected, "{what}: {}", lines[number]);
        assert_eq!(lines[number]["client"], "127.0.0.1", "{what}");
        drop(client);
        // What a worker was sent of a broken request is of no interest here.
        tokio::time::sleep(Duration::from_millis(10)).await;
        while origin.waiting() > 0 {
            drop(origin.next_head().await);
        }
    }
    // Connections without a request have none: all of these and the harness' own first one.
    drop(dial(&binary).await);
    let mut client = dial(&binary).await;
    client.send(get("/app/last")).await;
    origin.answer(response("200 OK", &[], b"")).await;
    client.response().await.expect(200);
    let lines = binary.access_lines(cases.len() + 1).await;
    assert_eq!(lines.len(), cases.len() + 1);
    assert_eq!(lines[cases.len()]["path"], "/app/last");
}

#[tokio::test]
async fn requests_of_one_connection_have_a_line_each() {
    let mut origin = Origin::start().await;
    let binary = Binary::serve(&yaml(&origin, ""), &[]);
    let mut client = dial(&binary).await;
    let get = |target: &str| request("GET", target, HOST, &[], b"");
    client
        .send([get("/app/1"), get("/app/2?secret=1"), get("/3"), b"no\r\n\r\n".to_vec()].concat())
        .await;
    for _ in 0..2 {
        origin.answer(response("200 OK", &[], b"body")).await;
        client.response().await.expect(200);
    }
    client.response().await.expect(404);
    client.response().await.expect(400);
    let lines = binary.access_lines(4).await;
    let seen: Vec<_> =
        lines.iter().map(|line| (line["path"].as_str().expect("text"), outcome(line).0)).collect();
    assert_eq!(seen, [("/app/1", 200), ("/app/2", 200), ("/3", 404), ("-", 400)]);
    assert_eq!((&lines[0]["bytes_out"], &lines[0]["route"]), (&4.into(), &"/app/".into()));
    assert!(!binary.process.log().contains("secret"), "queries carry secrets");
}

#[tokio::test]
async fn http2_streams_have_a_line_each() {
    let mut origin = Origin::start().await;
    let binary = Binary::serve(&yaml(&origin, ", tls: { self_signed: true }"), &[]);
    let mut h2 = H2::connect(&Dial::to(loopback(binary.port)).tls(HOST)).await;
    assert_eq!(h2.get(HOST, "/other", &[]).await.status, 404);
    assert_eq!(h2.get(HOST, "/app/%", &[]).await.status, 400);
    assert_eq!(h2.get("unknown.example", "/app/", &[]).await.status, 421);
    let get = || http::Request::get(format!("https://{HOST}/app/")).body(()).expect("a request");
    let (answer, _) = h2.open(get(), true).await.expect("a stream");
    origin.answer(response("200 OK", &[], b"")).await;
    assert_eq!(within("an answer", answer).await.expect("a response").status(), 200);
    let (_answer, mut stream) = h2.open(get(), true).await.expect("a stream");
    let mut exchange = origin.next().await;
    stream.send_reset(h2::Reason::CANCEL);
    exchange.peer_closed().await;
    let lines = binary.access_lines(5).await;
    let seen: Vec<_> = lines.iter().map(outcome).collect();
    assert_eq!(
        seen,
        [
            (404, Some("no_route")),
            (400, Some("bad_request")),
            (421, Some("misdirected")),
            (200, None),
            (499, Some("client_gone")),
        ]
    );
    for line in &lines {
        assert_eq!((&line["protocol"], &line["tls"]), (&"HTTP/2.0".into(), &"TLSv1.3".into()));
    }
}
