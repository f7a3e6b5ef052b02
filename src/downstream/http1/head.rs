//! Reads the head of a request.

use std::future::poll_fn;
use std::io;
use std::time::Instant;

use super::HEAD_READ;
use crate::downstream::head_limits::{FIELDS_CEILING, HeadLimits};
use crate::downstream::refused::Refusal;
use crate::downstream::{Request, Service};
use crate::listen::Conn;
use crate::wire::connection::ConnectionOptions;
use crate::wire::flaw::RequestFlaw;
use crate::wire::framing::Framing;
use crate::wire::head_room::HeadRoom;
use crate::wire::name::Name;
use crate::wire::request::{FIELDS_MAX, RequestHead, RequestLine};
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
pub(super) async fn read<S: Service>(
    conn: &mut Conn,
    bytes_max: usize,
    service: &S,
) -> Result<Head, Option<Refusal>> {
    let mut scan = HeadScan::default();
    let mut room = None;
    let mut is_awaited = false;
    loop {
        if let Some(head) = look(conn, &mut scan, &mut room, bytes_max, service)? {
            return Ok(head);
        }
        let has_begun = conn.input().len() > scan.begin();
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

/// Looks at what has come of a head, and consumes it once it is whole.
fn look<S: Service>(
    conn: &mut Conn,
    scan: &mut HeadScan,
    room: &mut Option<Box<HeadRoom>>,
    bytes_max: usize,
    service: &S,
) -> Result<Option<Head>, Refusal> {
    // Asked for each time: whoever waits for more of a head keeps as little as can be.
    let limits = &service.head_limits(conn.info(), None);
    if let Some(range) = scan.advance(conn.input()) {
        let head = conn.input().get(range.clone()).unwrap_or_default();
        if limits.buffers.is_some() {
            fits(room, head, true, limits, conn, service)?;
        } else if head.len() > bytes_max {
            return Err(too_large(scan, bytes_max).into());
        }
        let head = parse(head, limits, |host| service.head_limits(conn.info(), host))?;
        conn.consume(range.end);
        return Ok(Some(head));
    }
    let begun = conn.input().get(scan.begin()..).unwrap_or_default();
    if begun.first().is_some_and(|byte| !RequestLine::may_begin_with(*byte)) {
        return Err(RequestFlaw::RequestLine.into());
    }
    if limits.buffers.is_some() {
        fits(room, begun, false, limits, conn, service)?;
    } else if conn.input().len() > bytes_max {
        return Err(too_large(scan, bytes_max).into());
    }
    Ok(None)
}

/// Whether what there is of a head fits the buffers of whoever is asked.
fn fits<S: Service>(
    room: &mut Option<Box<HeadRoom>>,
    head: &[u8],
    is_whole: bool,
    limits: &HeadLimits,
    conn: &Conn,
    service: &S,
) -> Result<(), RequestFlaw> {
    // Most fit the first one.
    let Some(buffers) = limits.buffers.filter(|buffers| head.len() >= buffers.first) else {
        return Ok(());
    };
    let room = room.get_or_insert_with(|| Box::new(HeadRoom::new(buffers)));
    let of_host = |host: &[u8]| match limits.varies {
        true => service.head_limits(conn.info(), Some(host)).buffers,
        false => None,
    };
    room.count(head, is_whole, of_host)
}

/// 414 where the request line alone is too long (RFC 9110 section 15.5.15).
fn too_large(scan: &HeadScan, bytes_max: usize) -> RequestFlaw {
    match scan.first_line() {
        (0, _) => RequestFlaw::RequestLine,
        (length, is_whole) if !is_whole || length > bytes_max => RequestFlaw::RequestLineTooLong,
        _ => RequestFlaw::HeadTooLarge,
    }
}

fn parse(
    bytes: &[u8],
    limits: &HeadLimits,
    of_host: impl Fn(Option<&[u8]>) -> HeadLimits,
) -> Result<Head, RequestFlaw> {
    let mut head = RequestHead::default();
    match limits.fields_max {
        None => head.read_up_to(bytes, FIELDS_MAX)?,
        Some(most) => {
            head.read_up_to(bytes, FIELDS_CEILING)?;
            let host = head.fields.get(Name::Host).filter(|_| limits.varies);
            let most = host.map_or(Some(most), |host| of_host(Some(host)).fields_max);
            if most.is_some_and(|most| head.fields.len() > most) {
                return Err(RequestFlaw::FieldsBeyondMax);
            }
        }
    }
    let framing = Framing::of_request(&head)?;
    let options = ConnectionOptions::of(&head.fields);
    head.take_authority()?;
    Ok(Head {
        request: Request::http1(head, framing, Instant::now(), bytes.len()),
        framing,
        options,
    })
}
