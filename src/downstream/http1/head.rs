//! Reads the head of a request.

use std::future::poll_fn;
use std::io;
use std::time::Instant;

use super::HEAD_READ;
use crate::downstream::Request;
use crate::downstream::refused::Refusal;
use crate::listen::Conn;
use crate::wire::connection::ConnectionOptions;
use crate::wire::flaw::RequestFlaw;
use crate::wire::framing::Framing;
use crate::wire::request::{RequestHead, RequestLine};
use crate::wire::scan::HeadScan;

/// A head, and what it says to this connection alone.
pub(super) struct Head {
    pub request: Request,
    pub framing: Framing,
    pub options: ConnectionOptions,
}

/// Reads a head, and consumes it.
///
/// # Errors
/// Why there is none; nothing where none was begun. Then nothing is consumed.
pub(super) async fn read(conn: &mut Conn, bytes_max: usize) -> Result<Head, Option<Refusal>> {
    let mut scan = HeadScan::default();
    let mut is_awaited = false;
    loop {
        if let Some(range) = scan.advance(conn.input()) {
            let head = conn.input().get(range.clone()).unwrap_or_default();
            if head.len() > bytes_max {
                return Err(Some(too_large(&scan, bytes_max).into()));
            }
            let head = parse(head).map_err(|flaw| Some(flaw.into()))?;
            conn.consume(range.end);
            return Ok(head);
        }
        let begun = conn.input().get(scan.begin()..).unwrap_or_default();
        if begun.first().is_some_and(|byte| !RequestLine::may_begin_with(*byte)) {
            return Err(Some(RequestFlaw::RequestLine.into()));
        }
        if conn.input().len() > bytes_max {
            return Err(Some(too_large(&scan, bytes_max).into()));
        }
        let has_begun = !begun.is_empty();
        // Most heads come whole, and have no use for a deadline.
        if !std::mem::replace(&mut is_awaited, true) {
            conn.begin_head();
        }
        let refusal = match poll_fn(|cx| conn.poll_fill(cx, HEAD_READ)).await {
            Ok(1..) => continue,
            Err(error) if error.kind() == io::ErrorKind::TimedOut => Refusal::TimedOut,
            Ok(0) | Err(_) => Refusal::BrokenOff,
        };
        return Err(has_begun.then_some(refusal));
    }
}

/// 414 where the request line alone is too long (RFC 9110 section 15.5.15).
fn too_large(scan: &HeadScan, bytes_max: usize) -> RequestFlaw {
    match scan.first_line() {
        (0, _) => RequestFlaw::RequestLine,
        (length, is_whole) if !is_whole || length > bytes_max => RequestFlaw::RequestLineTooLong,
        _ => RequestFlaw::HeadTooLarge,
    }
}

fn parse(bytes: &[u8]) -> Result<Head, RequestFlaw> {
    let mut head = RequestHead::default();
    head.read(bytes)?;
    let framing = Framing::of_request(&head)?;
    let options = ConnectionOptions::of(&head.fields);
    head.take_authority()?;
    Ok(Head {
        request: Request::http1(head, framing, Instant::now(), bytes.len()),
        framing,
        options,
    })
}
