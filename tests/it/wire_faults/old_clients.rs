//! HTTP/1.0 clients.

use super::requests::redirecting;
use super::{ANSWER, NAME, dial, proxy, sent};
use crate::support::origin::Origin;

const CHUNKED: &str = "HTTP/1.1 200 OK\r\nDate: then\r\nTransfer-Encoding: chunked\r\n\r\n\
                       2\r\nab\r\n2\r\ncd\r\n0\r\nX-Sum: 4\r\n\r\n";

/// RFC 9112 section 6.1, RFC 9110 section 15.2.
#[tokio::test]
async fn they_get_neither_chunks_nor_interim_answers() {
    let mut origin = Origin::start().await;
    let proxy = proxy(&[origin.address], "");
    let expected = "HTTP/1.1 200 OK\r\nDate: then\r\nConnection: close\r\n\r\nabcd".to_owned();
    for keep in ["", "Connection: keep-alive\r\n"] {
        let mut client = dial(&proxy).await;
        client.send(format!("GET / HTTP/1.0\r\nHost: a\r\n{keep}\r\n")).await;
        let mut exchange = origin.next().await;
        assert!(exchange.request.head.start.ends_with(" HTTP/1.1"));
        exchange.write("HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n").await;
        exchange.respond(CHUNKED).await;
        let whole = client.rest().await.expect("no reset");
        assert_eq!(String::from_utf8_lossy(&whole), expected, "{keep}");
    }
    // Nor are they told to continue.
    let mut client = dial(&proxy).await;
    let head = "POST / HTTP/1.0\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 2\r\n\r\nab";
    client.send(head).await;
    let mut exchange = origin.next().await;
    assert_eq!(exchange.request.field("expect"), None);
    exchange.write("HTTP/1.1 100 Continue\r\n\r\n").await;
    exchange.respond(CHUNKED).await;
    let whole = client.rest().await.expect("no reset");
    assert_eq!(String::from_utf8_lossy(&whole), expected);
}

#[tokio::test]
async fn their_connections_are_kept_where_they_ask_and_the_length_is_known() {
    let mut origin = Origin::start().await;
    let proxy = proxy(&[origin.address], "");
    let mut client = dial(&proxy).await;
    for _ in 0..2 {
        client.send("GET / HTTP/1.0\r\nHost: a\r\nConnection: Keep-Alive\r\n\r\n").await;
        origin.answer(ANSWER).await;
        let answer = client.response().await.expect(200);
        assert_eq!(answer.field("connection").as_deref(), Some("keep-alive"));
        assert_eq!(answer.text(), "ok");
    }
    client.send("GET / HTTP/1.0\r\nHost: a\r\n\r\n").await;
    origin.answer(ANSWER).await;
    let whole = client.rest().await.expect("no reset");
    let expected =
        "HTTP/1.1 200 OK\r\nDate: then\r\nConnection: close\r\nContent-Length: 2\r\n\r\nok";
    assert_eq!(String::from_utf8_lossy(&whole), expected);
}

/// RFC 9112 section 3.2: what goes on speaks HTTP/1.1, and has one.
#[tokio::test]
async fn whoever_names_no_host_asks_for_the_server() {
    let mut origin = Origin::start().await;
    let proxy = proxy(&[origin.address], "");
    for raw in ["GET / HTTP/1.0\r\n\r\n", "GET / HTTP/1.0\r\nHost:\r\n\r\n"] {
        let request = sent(&proxy, &mut origin, raw).await.expect("a request");
        assert_eq!(request.fields().all("host"), [NAME], "{raw}");
    }
    for (names, expected) in [
        ("[app.example]", Ok("https://app.example:8443/a?b")),
        ("['*.example', app.example]", Ok("https://app.example:8443/a?b")),
        ("['*.example']", Err(400)),
    ] {
        let proxy = redirecting(&format!("servers:\n  - names: {names}\n"));
        let answer = dial(&proxy).await.exchange("GET /a?b HTTP/1.0\r\n\r\n").await;
        match expected {
            Ok(location) => {
                assert_eq!(answer.expect(301).field("location").as_deref(), Some(location));
            }
            Err(status) => drop(answer.expect(status)),
        }
    }
}
