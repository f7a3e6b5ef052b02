//! Requests: one reading, or none.

use super::{NAME, dial, proxy, sent};
use crate::support::client::Dial;
use crate::support::origin::Origin;
use crate::support::proxy::{Binary, Proxy};
use crate::support::{loopback, within};

fn get(fields: &str) -> String {
    format!("GET / HTTP/1.1\r\nHost: a\r\n{fields}\r\n")
}

/// RFC 9112 section 3: one blank between words, and nothing in a target that would end it.
#[tokio::test]
async fn request_lines_have_three_words() {
    let mut origin = Origin::start().await;
    let proxy = proxy(&[origin.address], "");
    let mut lines: Vec<Vec<u8>> = [
        "GET  / HTTP/1.1",
        "GET /  HTTP/1.1",
        "GET / HTTP/1.1 ",
        "GET / HTTP/1.1 x",
        "GET / x HTTP/1.1",
        "GET\t/ HTTP/1.1",
        "GET /\tHTTP/1.1",
        " GET / HTTP/1.1",
        "GET / HTTP/1.1\r",
        "GET / HTTP/1.",
        "GET / HTTP/11",
        "GET / http/1.1",
        "GET /",
    ]
    .map(|line| line.as_bytes().to_vec())
    .to_vec();
    let controls = (0..=b' ').chain([0x7f]).filter(|byte| *byte != b'\n');
    lines.extend(controls.map(|byte| [b"GET /a", &[byte][..], b"b HTTP/1.1"].concat()));
    for line in lines {
        let raw = [&line[..], b"\r\nHost: a\r\n\r\n"].concat();
        let found = sent(&proxy, &mut origin, raw).await.map(|request| request.target);
        assert_eq!(found, Err(400), "{}", line.escape_ascii());
    }
    for line in ["GET / HTTP/2.0", "GET / HTTP/0.9"] {
        let raw = format!("{line}\r\nHost: a\r\n\r\n");
        assert_eq!(sent(&proxy, &mut origin, raw).await.err(), Some(505), "{line}");
    }
    assert_eq!(origin.connections(), 0);
}

/// It is bytes to us and to the worker.
#[tokio::test]
async fn a_target_need_not_be_text() {
    let mut origin = Origin::start().await;
    let proxy = proxy(&[origin.address], "");
    let raw = b"GET /caf\xe9/\xff\xfe?\x80 HTTP/1.1\r\nHost: a\r\n\r\n";
    let request = sent(&proxy, &mut origin, raw).await.expect("a request");
    let line = &request.head.raw[..raw.len() - b"Host: a\r\n\r\n".len()];
    assert_eq!(line.escape_ascii().to_string(), raw[..line.len()].escape_ascii().to_string());
}

/// RFC 9112 section 6, RFC 9110 section 8.6.
#[tokio::test]
async fn one_length_or_one_coding_frames_a_body() {
    let mut origin = Origin::start().await;
    let proxy = proxy(&[origin.address], "");
    let post =
        |fields: &str, body: &str| format!("POST / HTTP/1.1\r\nHost: a\r\n{fields}\r\n\r\n{body}");
    for (fields, body, status) in [
        ("Transfer-Encoding: gzip, chunked", "0\r\n\r\n", 501),
        ("Transfer-Encoding: foo, chunked", "0\r\n\r\n", 501),
        ("Transfer-Encoding: , chunked", "0\r\n\r\n", 501),
        ("Transfer-Encoding: chunked, chunked", "0\r\n\r\n", 501),
        ("Transfer-Encoding: chunked,", "0\r\n\r\n", 501),
        ("Transfer-Encoding: identity", "", 501),
        ("Transfer-Encoding:", "", 501),
        ("Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked", "0\r\n\r\n", 400),
        ("Transfer-Encoding: gzip\r\nTransfer-Encoding: chunked", "0\r\n\r\n", 400),
        ("Transfer-Encoding: chunked\r\nContent-Length: 5", "0\r\n\r\n", 400),
        ("Content-Length: 3\r\nContent-Length: 3", "abc", 400),
        ("Content-Length: 3\r\nContent-Length: 4", "abc", 400),
        ("Content-Length: 3, 3", "abc", 400),
        ("Content-Length: +3", "abc", 400),
        ("Content-Length: -0", "", 400),
        ("Content-Length: 0x3", "abc", 400),
        ("Content-Length: 3 4", "abc", 400),
        ("Content-Length:", "", 400),
        ("Content-Length: 18446744073709551619", "abc", 400),
    ] {
        let found = sent(&proxy, &mut origin, post(fields, body)).await;
        assert_eq!(found.map(|request| request.body.content), Err(status), "{fields}");
    }
    assert_eq!(origin.connections(), 0);
    for (fields, body, framing, content) in [
        ("Content-Length: 0003", "abc", ("content-length", "3"), "abc"),
        ("content-length:\t3 ", "abc", ("content-length", "3"), "abc"),
        (
            "Transfer-Encoding: Chunked",
            "3\r\nabc\r\n0\r\n\r\n",
            ("transfer-encoding", "chunked"),
            "abc",
        ),
        ("X: y", "", ("content-length", "0"), ""),
    ] {
        let request = sent(&proxy, &mut origin, post(fields, body)).await.expect("a request");
        assert_eq!(request.field(framing.0).as_deref(), Some(framing.1), "{fields}");
        assert_eq!(request.body.content, content.as_bytes(), "{fields}");
    }
}

/// nginx refuses them, whatever they say; so nobody can believe the other one.
#[tokio::test]
async fn fields_that_may_come_once_come_once() {
    let mut origin = Origin::start().await;
    let proxy = proxy(&[origin.address], "");
    for name in [
        "Host",
        "Content-Length",
        "Content-Range",
        "Transfer-Encoding",
        "Expect",
        "Authorization",
        "If-Match",
        "If-None-Match",
        "If-Modified-Since",
        "If-Unmodified-Since",
        "If-Range",
    ] {
        let lower = name.to_ascii_lowercase();
        let raw = format!("GET / HTTP/1.1\r\nHost: a\r\n{name}: 0\r\nX: y\r\n{lower}: 0\r\n\r\n");
        assert_eq!(sent(&proxy, &mut origin, raw).await.err(), Some(400), "{name}");
    }
    assert_eq!(origin.connections(), 0);
    let raw = get("Accept: a\r\nAccept: b\r\n");
    let request = sent(&proxy, &mut origin, raw).await.expect("a request");
    assert_eq!(request.fields().all("accept"), ["a", "b"]);
}

/// RFC 9110 section 7.6.1.
#[tokio::test]
async fn what_is_about_the_clients_connection_stays_there() {
    let mut origin = Origin::start().await;
    let proxy = proxy(&[origin.address], "");
    let raw = "GET / HTTP/1.1\r\nHost: a\r\nConnection: x-one, keep-alive\r\nX-One: 1\r\n\
               Keep-Alive: timeout=5\r\nProxy-Connection: keep-alive\r\nUpgrade: websocket\r\n\
               X-Two: 2\r\nConnection: x-two\r\nTE: gzip\r\nContent_Length: 7\r\n\
               Transfer_Encoding: chunked\r\nX-Three: 3\r\n\r\n";
    let request = sent(&proxy, &mut origin, raw).await.expect("a request");
    let ours = ["X-Forwarded-For", "X-Forwarded-Proto", "X-Forwarded-Host", "X-Forwarded-Port"];
    let names = request.fields().names();
    let left: Vec<_> = names.into_iter().filter(|name| !ours.contains(name)).collect();
    assert_eq!(left, ["Host", "X-Three", "X-Real-Ip"]);
    // Framing stays, named or not: without it the message would be another one.
    let raw =
        "POST / HTTP/1.1\r\nHost: a\r\nConnection: content-length\r\nContent-Length: 2\r\n\r\nab";
    let request = sent(&proxy, &mut origin, raw).await.expect("a request");
    assert_eq!(request.body.content, b"ab");
}

/// RFC 9110 section 5.3: two fields are one list.
#[tokio::test]
async fn a_close_in_a_second_connection_field_is_heard() {
    let mut origin = Origin::start().await;
    let proxy = proxy(&[origin.address], "");
    let mut client = dial(&proxy).await;
    client.send(get("Connection: x-foo\r\nConnection: close\r\n")).await;
    origin.answer(super::ANSWER).await;
    let whole = client.rest().await.expect("no reset");
    let expected =
        "HTTP/1.1 200 OK\r\nDate: then\r\nConnection: close\r\nContent-Length: 2\r\n\r\nok";
    assert_eq!(String::from_utf8_lossy(&whole), expected);
}

/// RFC 9110 section 7.6.2.
#[tokio::test]
async fn max_forwards_is_counted_down_and_answered_at_zero() {
    let mut origin = Origin::start().await;
    let proxy = proxy(&[origin.address], "");
    let options =
        |value: &str| format!("OPTIONS / HTTP/1.1\r\nHost: a\r\nMax-Forwards: {value}\r\n\r\n");
    let mut client = dial(&proxy).await;
    let answer = client.exchange(options("0")).await.expect(200);
    assert_eq!(answer.field("content-length").as_deref(), Some("0"));
    assert!(answer.fields().has("allow"));
    client.exchange(options("000")).await.expect(200);
    assert_eq!(origin.connections(), 0, "nobody was asked");
    for (value, expected) in
        [("1", "0"), ("010", "9"), ("99999999999999999999999999", "18446744073709551614")]
    {
        let request = sent(&proxy, &mut origin, options(value)).await.expect("a request");
        assert_eq!(request.field("max-forwards").as_deref(), Some(expected));
    }
    for value in ["", "-1", "1, 0", "x", "0\r\nMax-Forwards: 1"] {
        assert_eq!(sent(&proxy, &mut origin, options(value)).await.err(), Some(400), "{value}");
    }
    // It means something for OPTIONS (and TRACE, which goes nowhere).
    let request = sent(&proxy, &mut origin, get("Max-Forwards: 0\r\n")).await.expect("a request");
    assert_eq!(request.field("max-forwards").as_deref(), Some("0"));
}

/// Where somebody asks from and for what is known before it is known where it goes.
#[tokio::test]
async fn refusals_name_client_and_host() {
    let yaml = format!(
        "workers: 1\nstate_directory: '{{directory}}'\nlisteners: \
         [{{ address: '127.0.0.1:{{port}}', tls: {{ self_signed: true }} }}]\nstore: memory\n\
         limits: {{ header_timeout: 30s }}\nlog: {{ format: json }}\n\
         trusted_proxies: [127.0.0.1/32]\nupstreams:\n  app:\n    \
         endpoints: [{{ address: '127.0.0.1:9' }}]\nservers:\n  - names: [{NAME}]\n    \
         routes: [{{ path: /app/, upstream: app }}]\n",
    );
    let binary = Binary::serve(&yaml, &[]);
    let from = "X-Forwarded-For: 192.0.2.7\r\n";
    for (number, (host, status)) in
        [(NAME, 404), ("APP.example:443", 404), ("other.example", 421)].into_iter().enumerate()
    {
        let mut client = Dial::to(loopback(binary.port)).tls(NAME).connect().await;
        let raw = format!("GET /no HTTP/1.1\r\nHost: {host}\r\n{from}\r\n");
        client.exchange(raw).await.expect(status);
        let lines = binary.access_lines(number + 1).await;
        let line = &lines[number];
        assert_eq!((&line["client"], &line["status"]), (&"192.0.2.7".into(), &status.into()));
        let expected = if status == 421 { host } else { NAME };
        assert_eq!(line["host"], expected);
    }
    // A head that was begun and broken off.
    let mut client = Dial::to(loopback(binary.port)).tls(NAME).connect().await;
    client.send("GET /app/x HTTP/1.1\r\nHost: a").await;
    client.finish().await;
    within("the end", client.rest()).await.expect("no reset");
    let lines = binary.access_lines(4).await;
    let line = &lines[3];
    assert_eq!(
        (&line["path"], &line["status"], &line["error"]),
        (&"/app/x".into(), &400.into(), &"client_gone".into())
    );
}

/// What it is to our eyes, a client may say. The jar's cookies are ours to send.
#[tokio::test]
async fn cookies_that_a_client_nominates_go_no_further_and_the_jars_do() {
    use crate::support::shop::{HOST, Shop};
    let mut origin = Origin::start().await;
    let proxy = Shop::at(origin.address).in_memory().start();
    let mut client = Dial::to(proxy.address()).tls(HOST).connect().await;
    client.send(format!("GET / HTTP/1.1\r\nHost: {HOST}\r\n\r\n")).await;
    origin
        .answer("HTTP/1.1 200 OK\r\nSet-Cookie: sid=1; Path=/\r\nContent-Length: 0\r\n\r\n")
        .await;
    let ticket = client.response().await.expect(200).set_cookies().remove(0);
    let ticket = ticket.split(';').next().expect("a pair").to_owned();
    for (nominated, expected) in [("", "theme=dark; sid=1"), ("Connection: cookie\r\n", "sid=1")] {
        let raw = format!(
            "GET / HTTP/1.1\r\nHost: {HOST}\r\n{nominated}Cookie: theme=dark; {ticket}\r\n\r\n"
        );
        client.send(raw).await;
        let seen = origin.answer(super::ANSWER).await;
        client.response().await.expect(200);
        assert_eq!(seen.field("cookie").as_deref(), Some(expected), "{nominated}");
    }
}

/// The path of a target in absolute form is kept.
#[tokio::test]
async fn a_redirect_to_https_keeps_the_path_of_an_absolute_target() {
    let proxy = redirecting("servers:\n  - names: [_]\n");
    let mut client = dial(&proxy).await;
    let raw = "GET http://h.example/deep?x HTTP/1.1\r\nHost: h.example\r\n\r\n";
    let answer = client.exchange(raw).await.expect(301);
    assert_eq!(answer.field("location").as_deref(), Some("https://h.example:8443/deep?x"));
}

/// Its listener redirects to port 8443.
pub fn redirecting(servers: &str) -> Proxy {
    Proxy::start(&format!(
        "workers: 1\nstate_directory: '{{directory}}'\nlisteners: \
         [{{ address: 127.0.0.1:0, redirect_to_https: 8443 }}]\nstore: memory\n\
         limits: {{ header_timeout: 30s }}\nupstreams:\n  app:\n    \
         endpoints: [{{ address: '127.0.0.1:9' }}]\n{servers}    \
         routes: [{{ path: /, upstream: app }}]\n"
    ))
}
