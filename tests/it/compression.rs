//! Compressed answers. How nginx does it is compared in `differential::compressed`.

use std::io::{Read, Write};

use crate::support::client::{Dial, Response};
use crate::support::http::response;
use crate::support::loopback;
use crate::support::origin::{Origin, Responder};
use crate::support::proxy::{Binary, Proxy};

const HOST: &str = "app.example";

fn yaml(address: std::net::SocketAddr, route: &str) -> String {
    format!(
        "workers: 1\nstate_directory: '{{directory}}'\nlisteners: [{{ address: 127.0.0.1:0 }}]\nstore: memory\n\
         insecure_cookies: true\nupstreams: {{ app: {{ endpoints: [{{ address: '{address}' }}] }} }}\n\
         sessions: {{ shop: {{ app_cookies: [sid] }} }}\n\
         servers: [{{ routes: [{{ path: /, upstream: app, {route} }}] }}]\n"
    )
}

fn page() -> String {
    (0..20_000).map(|n| format!("<p>line {n}</p>\n")).collect()
}

fn unpacked(answer: &Response) -> String {
    let mut text = String::new();
    let body = answer.content();
    let read = match answer.field("content-encoding").as_deref() {
        Some("br") => brotli::Decompressor::new(body, 4096).read_to_string(&mut text),
        Some("zstd") => {
            zstd::stream::read::Decoder::new(body).and_then(|mut it| it.read_to_string(&mut text))
        }
        Some("gzip") => flate2::read::GzDecoder::new(body).read_to_string(&mut text),
        _ => return answer.text(),
    };
    read.expect("whole");
    text
}

#[tokio::test]
async fn a_page_arrives_whole_in_every_coding() {
    let page = page();
    let body = page.clone();
    let worker = Responder::start(move |_| {
        response("200 OK", &[("Content-Type", "text/html"), ("ETag", "\"a\"")], body.as_bytes())
    })
    .await;
    let proxy = Proxy::start(&yaml(worker.address, "gzip: true, brotli: true, zstd: true"));
    let mut client = Dial::to(proxy.address()).connect().await;
    for (takes, expected) in
        [("gzip", "gzip"), ("br, gzip", "br"), ("zstd, gzip", "zstd"), ("deflate", "")]
    {
        let answer = client.get(HOST, "/", &[("Accept-Encoding", takes)]).await.expect(200);
        assert_eq!(answer.field("content-encoding").unwrap_or_default(), expected);
        let tag = if expected.is_empty() { "\"a\"" } else { "W/\"a\"" };
        assert_eq!(answer.field("etag").as_deref(), Some(tag));
        let is_smaller = answer.content().len() < page.len() / 4;
        assert_eq!(is_smaller, !expected.is_empty(), "{expected}: {}", answer.content().len());
        assert!(unpacked(&answer) == page, "{expected}");
    }
}

#[tokio::test]
async fn what_a_worker_has_said_is_not_held_back_until_it_goes_on() {
    let mut origin = Origin::start().await;
    let proxy = Proxy::start(&yaml(origin.address, "gzip: true"));
    let mut client = Dial::to(proxy.address()).connect().await;
    client.send(format!("GET / HTTP/1.1\r\nHost: {HOST}\r\nAccept-Encoding: gzip\r\n\r\n")).await;
    let mut exchange = origin.next().await;
    exchange
        .write("HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n")
        .await;
    client.response_head().await;
    let mut decoder = flate2::write::GzDecoder::new(Vec::new());
    while decoder.get_ref() != b"hello" {
        let chunk = client.chunk().await.expect("a chunk").expect("no end yet");
        decoder.write_all(&chunk).expect("good gzip");
        decoder.flush().expect("good gzip");
    }
    exchange.respond("0\r\n\r\n").await;
    while let Some(chunk) = client.chunk().await.expect("chunks") {
        decoder.write_all(&chunk).expect("good gzip");
    }
    assert_eq!(decoder.finish().expect("a whole stream"), b"hello");
}

#[tokio::test]
async fn pages_of_sessions_are_not_compressed_unless_that_is_asked_for() {
    let worker = Responder::start(|request| {
        let media_type = if request.target == "/a.css" { "text/css" } else { "text/html" };
        response("200 OK", &[("Content-Type", media_type)], &[b'a'; 1000])
    })
    .await;
    for (more, of_page) in [("", None), (", gzip_sessions: true", Some("gzip"))] {
        let route = format!("session: shop, gzip: true, gzip_types: [text/css]{more}");
        let proxy = Proxy::start(&yaml(worker.address, &route));
        let mut client = Dial::to(proxy.address()).connect().await;
        for (target, expected) in [("/", of_page), ("/a.css", Some("gzip"))] {
            let answer = client.get(HOST, target, &[("Accept-Encoding", "gzip")]).await.expect(200);
            assert_eq!(answer.field("content-encoding").as_deref(), expected, "{target} {more}");
            assert_eq!(unpacked(&answer).len(), 1000);
        }
    }
}

#[tokio::test]
async fn what_cannot_be_unpacked_does_not_look_whole() {
    let worker = Responder::start(|_| {
        response("200 OK", &[("Content-Encoding", "gzip")], b"not gzip at all, whatever it says")
    })
    .await;
    let proxy = Proxy::start(&yaml(worker.address, "gunzip: true"));
    let mut client = Dial::to(proxy.address()).connect().await;
    client.send(format!("GET / HTTP/1.1\r\nHost: {HOST}\r\n\r\n")).await;
    assert!(client.try_response().await.is_err());
}

/// What a worker sends is no gzip: that is its failure, and no client's.
#[tokio::test]
async fn what_cannot_be_unpacked_is_the_worker_s_failure() {
    let worker = Responder::start(|_| {
        let fields = [("Content-Type", "text/html"), ("Content-Encoding", "gzip")];
        response("200 OK", &fields, b"this is no gzip, and never was")
    })
    .await;
    let yaml = yaml(worker.address, "gunzip: true").replace("127.0.0.1:0", "127.0.0.1:{port}");
    let binary = Binary::serve(&format!("{yaml}log: {{ format: json }}\n"), &[]);
    let mut client = Dial::to(loopback(binary.port)).connect().await;
    client.send(format!("GET / HTTP/1.1\r\nHost: {HOST}\r\n\r\n")).await;
    assert!(client.try_response().await.is_err(), "it does not look whole");
    let line = binary.access_lines(1).await.remove(0);
    assert_eq!((&line["status"], &line["error"]), (&200.into(), &"bad_gateway".into()));
}
