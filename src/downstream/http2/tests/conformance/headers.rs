//! Heads and trailers: RFC 9113 sections 8.1 to 8.3.

use super::*;

const HEAD: [(&str, &str); 4] =
    [(":method", "GET"), (":scheme", "https"), (":authority", "shop.example"), (":path", "/")];

#[tokio::test]
async fn malformed_heads_are_reset() {
    let with = |more: &[(&str, &str)]| sends(&[fields(&[&HEAD[..], more].concat())]);
    let without = |name: &str| {
        let rest: Vec<_> = HEAD.into_iter().filter(|field| field.0 != name).collect();
        sends(&[fields(&rest)])
    };
    let late = [("x", "y"), (":method", "GET"), (":scheme", "https"), (":path", "/")];
    let refused = || is_reset(PROTOCOL_ERROR);
    check(vec![
        ("8.2.1 capitals", with(&[("X-Test", "ok")]), Err(PROTOCOL_ERROR)),
        ("8.2.1 a blank in a name", with(&[("x y", "ok")]), Err(PROTOCOL_ERROR)),
        ("8.2.1 a colon in a name", with(&[("x:y", "ok")]), Err(PROTOCOL_ERROR)),
        ("8.2.1 an empty name", with(&[("", "ok")]), Err(PROTOCOL_ERROR)),
        ("8.2.1 a line break in a value", with(&[("x", "a\nb")]), Err(PROTOCOL_ERROR)),
        ("8.2.1 a null in a value", with(&[("x", "a\0b")]), Err(PROTOCOL_ERROR)),
        ("8.2.2 connection", with(&[("connection", "keep-alive")]), refused()),
        ("8.2.2 keep-alive", with(&[("keep-alive", "3")]), refused()),
        ("8.2.2 proxy-connection", with(&[("proxy-connection", "x")]), refused()),
        ("8.2.2 transfer-encoding", with(&[("transfer-encoding", "chunked")]), refused()),
        ("8.2.2 upgrade", with(&[("upgrade", "h2c")]), refused()),
        ("8.2.2 te", with(&[("te", "trailers, deflate")]), refused()),
        ("8.2.2 te: trailers", with(&[("te", "trailers")]), answered(&[1])),
        ("8.3 an unknown pseudo-field", with(&[(":test", "ok")]), Err(PROTOCOL_ERROR)),
        ("8.3 one of answers", with(&[(":status", "200")]), refused()),
        ("8.3 one behind others", sends(&[fields(&late)]), refused()),
        ("8.3.1 no method", without(":method"), refused()),
        ("8.3.1 no scheme", without(":scheme"), refused()),
        ("8.3.1 no path", without(":path"), refused()),
        ("8.3.1 two methods", with(&[(":method", "GET")]), refused()),
        ("8.3.1 two schemes", with(&[(":scheme", "https")]), refused()),
        ("8.3.1 two paths", with(&[(":path", "/")]), refused()),
        ("8.3.1 two authorities", with(&[(":authority", "a")]), refused()),
        (
            "8.3.1 an empty path",
            sends(&[fields(&[
                (":method", "GET"),
                (":scheme", "https"),
                (":authority", "a"),
                (":path", ""),
            ])]),
            refused(),
        ),
        ("8.5 :protocol", with(&[(":protocol", "websocket")]), refused()),
    ])
    .await;
}

#[tokio::test]
async fn bodies_have_the_length_that_was_said() {
    let said = |length: &str| {
        let mut head = super::super::frames::block(&super::super::frames::request("POST", "/"));
        head.extend(super::super::frames::block(&[("content-length", length)]));
        head
    };
    let refused = || is_reset(PROTOCOL_ERROR);
    let open = |length| head(1, 0, &said(length));
    check(vec![
        (
            "8.1.1 right",
            sends(&[open("4"), data(1, 0, b"te"), data(1, END_STREAM, b"st")]),
            answered(&[1]),
        ),
        ("8.1.1 too short", sends(&[open("1"), data(1, END_STREAM, b"test")]), refused()),
        ("8.1.1 too long", sends(&[open("5"), data(1, END_STREAM, b"test")]), refused()),
        (
            "8.1.1 in two",
            sends(&[open("1"), data(1, 0, b"te"), data(1, END_STREAM, b"st")]),
            refused(),
        ),
        ("8.1.1 none at all", sends(&[head(1, END_STREAM, &said("4"))]), refused()),
        ("8.1.1 no number", sends(&[open("x"), data(1, END_STREAM, b"test")]), refused()),
        (
            "8.1.1 before trailers",
            sends(&[open("5"), data(1, 0, b"test"), head(1, END_STREAM, b"")]),
            refused(),
        ),
    ])
    .await;
}

#[tokio::test]
async fn trailers_end_a_stream_and_have_no_pseudo_fields() {
    let trailers = |flags, more: &[(&str, &str)]| {
        sends(&[post(1), data(1, 0, b"x"), head(1, flags, &super::super::frames::block(more))])
    };
    let refused = || is_reset(PROTOCOL_ERROR);
    check(vec![
        ("8.1 trailers", trailers(END_STREAM, &[("x", "y")]), answered(&[1])),
        ("8.1 trailers that are none", trailers(END_STREAM, &[]), answered(&[1])),
        ("8.1 a second head", trailers(0, &[("x", "y")]), refused()),
        ("8.1 an unknown pseudo-field", trailers(END_STREAM, &[(":x", "y")]), Err(PROTOCOL_ERROR)),
        ("8.2.2 connection", trailers(END_STREAM, &[("connection", "x")]), refused()),
        ("8.1 capitals", trailers(END_STREAM, &[("X", "y")]), Err(PROTOCOL_ERROR)),
    ])
    .await;
}
