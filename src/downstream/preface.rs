//! HTTP/2 without TLS: known by its connection preface (RFC 9113 section 3.4), on the port of HTTP/1.

use std::future::poll_fn;

use crate::listen::Conn;

const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// Reads until it is clear which of the two a connection speaks. Nothing is consumed; where nothing
/// comes, whoever serves it finds that out.
pub async fn look(mut conn: Box<Conn>) -> Box<Conn> {
    loop {
        let begun = conn.input().len().min(PREFACE.len());
        if conn.input()[..begun] != PREFACE[..begun] {
            return conn;
        }
        if begun == PREFACE.len() {
            conn.become_http2();
            return conn;
        }
        if begun == 0 {
            if !conn.readable().await {
                return conn;
            }
            continue;
        }
        conn.begin_head();
        if !matches!(poll_fn(|cx| conn.poll_fill(cx, PREFACE.len())).await, Ok(1..)) {
            return conn;
        }
    }
}
