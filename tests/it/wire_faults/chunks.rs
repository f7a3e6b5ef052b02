//! Chunks (RFC 9112 section 7.1): whoever reads them more kindly than the next makes two messages of one.

use super::{answered, dial, proxy, sent};
use crate::support::origin::Origin;

/// Bodies that are none, all of which somebody reads.
const BROKEN: &[&str] = &[
    "\r\n5\r\nabcde\r\n0\r\n\r\n",
    "5 \r\nabcde\r\n0\r\n\r\n",
    "5\t\r\nabcde\r\n0\r\n\r\n",
    " 5\r\nabcde\r\n0\r\n\r\n",
    "5\nabcde\r\n0\r\n\r\n",
    "5\rabcde\r\n0\r\n\r\n",
    "5\r\nabcde0\r\n\r\n",
    "5\r\nabcde\n0\r\n\r\n",
    "5\r\nabcdef\r\n0\r\n\r\n",
    "5;a\nabcde\r\n0\r\n\r\n",
    "4;a\n4c\r\nabcd\r\n0\r\n\r\n",
    "5;a\rb\r\nabcde\r\n0\r\n\r\n",
    "5;a\0b\r\nabcde\r\n0\r\n\r\n",
    ";a\r\nabcde\r\n0\r\n\r\n",
    "0x5\r\nabcde\r\n0\r\n\r\n",
    "+5\r\nabcde\r\n0\r\n\r\n",
    "-5\r\nabcde\r\n0\r\n\r\n",
    "5,5\r\nabcde\r\n0\r\n\r\n",
    "5 5\r\nabcde\r\n0\r\n\r\n",
    "10000000000000005\r\nabcde\r\n0\r\n\r\n",
    "5\r\nabcde\r\n0\n\r\n",
    "5\r\nabcde\r\n0\r\n\n",
    "5\r\nabcde\r\n0\r\nGET /x HTTP/1.1\r\n\r\n",
    "5\r\nabcde\r\n0\r\nX: a\0\r\n\r\n",
    "5\r\nabcde\r\n0\r\nX y: a\r\n\r\n",
    "5\r\nabcde\r\n0\r\nX : a\r\n\r\n",
    "5\r\nabcde\r\n0\r\nX: a\r\n b\r\n\r\n",
    "5\r\nabcde\r\n0\r\n: a\r\n\r\n",
];

#[tokio::test]
async fn broken_chunks_of_a_request_are_400_however_they_are_cut() {
    let mut origin = Origin::start().await;
    let proxy = proxy(&[origin.address], "");
    let head = "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n";
    for body in BROKEN {
        let found = sent(&proxy, &mut origin, format!("{head}{body}")).await;
        assert_eq!(found.map(|request| request.body.content), Err(400), "{body:?}");
        // Byte by byte.
        let mut client = dial(&proxy).await;
        client.send(head).await;
        for byte in body.bytes() {
            // It may have been answered, and the connection closed.
            let _ = client.try_send([byte]).await;
            tokio::task::yield_now().await;
        }
        assert_eq!(client.response().await.status, 400, "{body:?}");
    }
}

#[tokio::test]
async fn good_chunks_pass_without_what_was_said_to_us() {
    let mut origin = Origin::start().await;
    let proxy = proxy(&[origin.address], "");
    let head = "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nTE: trailers\r\n\r\n";
    for (body, forwarded) in [
        ("5\r\nabcde\r\n0\r\n\r\n", "5\r\nabcde\r\n0\r\n\r\n"),
        ("0005\r\nabcde\r\n000\r\n\r\n", "5\r\nabcde\r\n0\r\n\r\n"),
        ("5;a=b;c=\"d\"\r\nabcde\r\n0;e\r\n\r\n", "5\r\nabcde\r\n0\r\n\r\n"),
        ("A\r\n0123456789\r\n0\r\n\r\n", "a\r\n0123456789\r\n0\r\n\r\n"),
        ("1\r\na\r\n0\r\nX-Sum: 1\r\nHost: b\r\n\r\n", "1\r\na\r\n0\r\nX-Sum: 1\r\n\r\n"),
    ] {
        let request = sent(&proxy, &mut origin, format!("{head}{body}")).await.expect("a request");
        assert_eq!(String::from_utf8_lossy(&request.body.raw), forwarded, "{body:?}");
        assert_eq!(request.field("te").as_deref(), Some("trailers"));
    }
}

/// A client must not take a part for the whole.
#[tokio::test]
async fn a_broken_chunk_of_an_answer_is_seen_to_be_incomplete() {
    let mut origin = Origin::start().await;
    let proxy = proxy(&[origin.address], "");
    let head = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n";
    for body in BROKEN {
        let whole = answered(&proxy, &mut origin, format!("{head}{body}")).await;
        assert!(whole.starts_with("HTTP/1.1 200 OK\r\n"), "{whole}");
        assert!(!whole.ends_with("0\r\n\r\n"), "{body:?} became {whole:?}");
    }
    let whole = answered(&proxy, &mut origin, format!("{head}5\r\nabc")).await;
    assert!(whole.ends_with("abc\r\n") && !whole.contains("0\r\n\r\n"), "{whole:?}");
    let whole = answered(&proxy, &mut origin, format!("{head}3\r\nabc\r\n0\r\nX: 1\r\n\r\n")).await;
    assert!(whole.ends_with("\r\n\r\n3\r\nabc\r\n0\r\nX: 1\r\n\r\n"), "{whole:?}");
}
