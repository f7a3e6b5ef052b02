//! Answers of workers: one reading, or 502; nothing that was said to us alone.

use super::{ANSWER, answered, dial, proxy};
use crate::support::origin::Origin;

/// RFC 9112 section 6.3, RFC 9110 section 8.6.
#[tokio::test]
async fn answers_with_two_readings_are_502() {
    let mut origin = Origin::start().await;
    let proxy = proxy(&[origin.address], "");
    for fields in [
        "Content-Length: 2\r\nTransfer-Encoding: chunked",
        "Transfer-Encoding: gzip, chunked",
        "Transfer-Encoding: chunked, chunked",
        "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked",
        "Transfer-Encoding: identity",
        "Transfer-Encoding: gzip",
        "Content-Length: 5, 5",
        "Content-Length: 5\r\nContent-Length: 5",
        "Content-Length: 5\r\nContent-Length: 6",
        "Content-Length: +5",
        "Content-Length: 5x",
        "Content-Length:",
        "No colon",
        "A b: c",
    ] {
        let answer = format!("HTTP/1.1 200 OK\r\n{fields}\r\n\r\n5\r\nabcde\r\n0\r\n\r\n");
        let whole = answered(&proxy, &mut origin, answer).await;
        assert!(whole.starts_with("HTTP/1.1 502 "), "{fields}: {whole}");
    }
    let answer = "HTTP/1.1 200 OK\r\nDate: then\r\nContent-Length: 0005\r\n\r\nabcde";
    assert_eq!(
        answered(&proxy, &mut origin, answer).await,
        "HTTP/1.1 200 OK\r\nDate: then\r\nConnection: close\r\nContent-Length: 5\r\n\r\nabcde"
    );
}

/// RFC 9110 section 7.6.1, in final and in interim answers.
#[tokio::test]
async fn what_is_about_the_workers_connection_stays_here() {
    let mut origin = Origin::start().await;
    let proxy = proxy(&[origin.address], "");
    let hop_by_hop = "Connection: X-One, keep-alive\r\nX-One: 1\r\nKeep-Alive: timeout=5\r\n\
                      Proxy-Connection: close\r\nUpgrade: h2c\r\nConnection: x-two\r\nX-Two: 2\r\n";
    let answer = format!(
        "HTTP/1.1 103 Early Hints\r\n{hop_by_hop}Content-Length: 3\r\nLink: </a>\r\n\r\n\
         HTTP/1.1 103 Early Hints\r\nTransfer-Encoding: chunked\r\nLink: </b>\r\n\r\n\
         HTTP/1.1 200 Fine\r\nDate: then\r\n{hop_by_hop}X-Three: 3\r\nContent-Length: 2\r\n\r\nok"
    );
    assert_eq!(
        answered(&proxy, &mut origin, answer).await,
        "HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n\
         HTTP/1.1 103 Early Hints\r\nLink: </b>\r\n\r\n\
         HTTP/1.1 200 Fine\r\nDate: then\r\nX-Three: 3\r\nConnection: close\r\n\
         Content-Length: 2\r\n\r\nok"
    );
}

/// RFC 9112 section 6.3, 1; RFC 9110 section 8.6. What a worker sends all the same is nobody's answer.
#[tokio::test]
async fn answers_without_content_have_neither_length_nor_coding_nor_body() {
    let mut origin = Origin::start().await;
    let proxy = proxy(&[origin.address], "");
    let evil = "HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nevil";
    for (status, fields, left) in [
        ("204 No Content", "Content-Length: 5", ""),
        ("204 No Content", "Content-Length: 0", ""),
        ("204 No Content", "Transfer-Encoding: chunked", ""),
        ("304 Not Modified", "Transfer-Encoding: chunked", ""),
        // What a GET would have had (RFC 9110 section 15.4.5).
        ("304 Not Modified", "Content-Length: 5", "Content-Length: 5\r\n"),
    ] {
        let mut client = dial(&proxy).await;
        client.send("GET /1 HTTP/1.1\r\nHost: a\r\n\r\n").await;
        let answer = format!("HTTP/1.1 {status}\r\nDate: then\r\n{fields}\r\n\r\n");
        origin.answer(format!("{answer}{evil}")).await;
        let head = client.response_head().await.head.raw;
        let expected = format!("HTTP/1.1 {status}\r\nDate: then\r\n{left}\r\n");
        assert_eq!(String::from_utf8_lossy(&head), expected);
        // The next answer is the next request's.
        client.send("GET /2 HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n").await;
        let request = origin.answer(ANSWER).await;
        assert_eq!(request.target, "/2");
        let whole = client.rest().await.expect("no reset");
        assert!(whole.ends_with(b"\r\n\r\nok"), "{fields}: {}", whole.escape_ascii());
    }
}

/// RFC 9110 section 10.1.1: it was told, so it sent all of its body.
#[tokio::test]
async fn a_connection_is_kept_after_a_client_was_told_to_continue() {
    let mut origin = Origin::start().await;
    let proxy = proxy(&[origin.address], "");
    let mut client = dial(&proxy).await;
    for _ in 0..2 {
        client
            .send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\nExpect: 100-continue\r\n\r\n")
            .await;
        let mut exchange = origin.next_head().await;
        assert_eq!(exchange.request.field("expect").as_deref(), Some("100-continue"));
        exchange.write("HTTP/1.1 100 Continue\r\nX: y\r\n\r\n").await;
        let told = client.bytes().await.expect("a word");
        assert_eq!(told.escape_ascii().to_string(), r"HTTP/1.1 100 Continue\r\nX: y\r\n\r\n");
        client.send("ab").await;
        exchange.read_body().await.expect("a body");
        exchange.respond(ANSWER).await;
        assert_eq!(client.response().await.expect(200).field("connection"), None);
    }
}

/// A connection and its port are burnt by no stream that has not begun.
#[tokio::test]
async fn event_streams_are_asked_for_over_kept_connections() {
    let mut origin = Origin::start().await;
    let proxy = proxy(&[origin.address], "");
    let mut client = dial(&proxy).await;
    for accept in ["*/*", "text/event-stream", "text/event-stream"] {
        client.send(format!("GET / HTTP/1.1\r\nHost: a\r\nAccept: {accept}\r\n\r\n")).await;
        origin
            .answer(
                "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\
                 Transfer-Encoding: chunked\r\n\r\n9\r\ndata: 1\n\n\r\n0\r\n\r\n",
            )
            .await;
        assert_eq!(client.response().await.expect(200).text(), "data: 1\n\n");
    }
    assert_eq!(origin.connections(), 1);
}
