//! The head that a worker sees.
//!
//! What `Connection` nominates goes first; what is set here stays (PROTOCOL.md 30). One `Cookie` line,
//! since HTTP/2 may bring many and an HTTP/1.1 worker reads only the first.

use http::Method;

use crate::downstream::{Protocol, Request};
use crate::headers::forwarded::is_about_client;
use crate::headers::identity::{self, Identity};
use crate::proxy::context::{Context, Exchange};
use crate::proxy::error::RequestError;
use crate::proxy::shared::Shared;
use crate::session::subject::Subject;
use crate::wire::connection::{ConnectionOptions, nominates_protected, remove_hop_by_hop};
use crate::wire::elements;
use crate::wire::fields::{Field, Fields, Unwritable};
use crate::wire::name::Name;

/// Room for what a worker is told beside what came.
const FIELDS_ADDED: usize = 12;
const BYTES_ADDED: usize = 256;

/// The fields for the worker.
///
/// # Errors
/// A field that names more connection options than anybody has use for, or what cannot be written.
pub fn fields(shared: &Shared, request: &Request, ctx: &Context) -> Result<Fields, RequestError> {
    let target = ctx.target.as_ref().ok_or(RequestError::Internal)?;
    let received = request.fields();
    if nominates_protected(received) {
        return Err(RequestError::BadRequest);
    }
    let room = ctx.cookie.len() + target.client.room() + BYTES_ADDED;
    let mut fields = received.with_room(FIELDS_ADDED, room);
    let passes = passes_headers(ctx);
    if !passes {
        fields.retain(|field| field.known == Name::Host);
    }
    remove_hop_by_hop(&mut fields).map_err(|_| RequestError::BadRequest)?;
    // Where the body is there, nobody has to be asked for it.
    let expects = request.expects_continue() && !ctx.has_whole_body;
    fields
        .retain(|field| (field.known != Name::Expect || expects) && !is_framing_in_disguise(field));
    let unwritable = |Unwritable| RequestError::BadRequest;
    if let Some(forwards) = max_forwards(request)? {
        fields.set_displayed(b"Max-Forwards", forwards.saturating_sub(1)).map_err(unwritable)?;
    }
    if target.route.forwarded_headers {
        target.client.write(request.authority(), &mut fields).map_err(unwritable)?;
    }
    let identity = ctx.exchange.as_ref().and_then(|exchange| identity(shared, exchange));
    identity::write(&identity.unwrap_or_default(), &mut fields).map_err(unwritable)?;
    add(&mut fields, shared, request, ctx).map_err(unwritable)?;
    Ok(fields)
}

fn add(
    fields: &mut Fields,
    shared: &Shared,
    request: &Request,
    ctx: &Context,
) -> Result<(), Unwritable> {
    let passes = passes_headers(ctx);
    match &ctx.cookie[..] {
        b"" => drop(fields.remove(Name::Cookie)),
        // Those of a session go along all the same.
        _ if !passes && ctx.exchange.is_none() => drop(fields.remove(Name::Cookie)),
        line => fields.set(b"Cookie", line)?,
    }
    if ctx.exchange.as_ref().is_some_and(|exchange| exchange.looks_at_answer) {
        fields.set(b"Accept-Encoding", b"identity")?;
    }
    if fields.get(Name::Host).is_none_or(<[u8]>::is_empty) {
        // HTTP/1.0: who speaks HTTP/1.1 names a host (RFC 9112 section 3.2). The server's name, as
        // nginx's `$host`, or where it listens.
        match shared.table.name_without_host(shared.listener(&ctx.connection)) {
            Some(name) => fields.set(b"Host", name.as_bytes())?,
            None => fields.set_displayed(b"Host", ctx.connection.local())?,
        }
    }
    if !passes {
        return Ok(());
    }
    if let Some(protocol) = upgrade(request) {
        fields.push(b"Connection", b"Upgrade")?;
        fields.push(b"Upgrade", protocol)?;
    } else if takes_trailers(request.fields()) {
        fields.push(b"Connection", b"TE")?;
        fields.push(b"TE", b"trailers")?;
    }
    Ok(())
}

/// Whether workers see the client's fields.
fn passes_headers(ctx: &Context) -> bool {
    let asks = ctx.target.as_ref().and_then(|target| target.route.asks.as_ref());
    asks.is_none_or(|asks| asks.with_headers)
}

/// Whether a request asks the last proxy that it may reach, and that is us.
///
/// # Errors
/// What is no number.
pub fn ends_here(request: &Request) -> Result<bool, RequestError> {
    Ok(max_forwards(request)? == Some(0))
}

/// How many more proxies a request may pass (RFC 9110 section 7.6.2).
fn max_forwards(request: &Request) -> Result<Option<u64>, RequestError> {
    let fields = request.fields();
    if request.method != Method::OPTIONS || !fields.has(Name::MaxForwards) {
        return Ok(None);
    }
    let digits = fields
        .only(Name::MaxForwards)
        .filter(|text| !text.is_empty() && text.iter().all(u8::is_ascii_digit));
    let digits = digits.ok_or(RequestError::BadRequest)?.iter().map(|digit| digit - b'0');
    Ok(Some(
        digits.fold(0, |number: u64, digit| {
            number.saturating_mul(10).saturating_add(u64::from(digit))
        }),
    ))
}

/// The protocol that a request asks for in place of HTTP (RFC 9110 section 7.8). Not HTTP/2: requests
/// inside it would pass us unseen.
pub fn upgrade(request: &Request) -> Option<&[u8]> {
    let fields = request.fields();
    let mut wanted = fields.all(Name::Upgrade);
    let protocol = wanted.next()?;
    let is_asked = request.protocol == Protocol::Http11
        && wanted.next().is_none()
        && ConnectionOptions::of(fields).upgrade;
    let is_http = elements(protocol).any(|name| {
        name.get(..2).is_some_and(|begin| begin.eq_ignore_ascii_case(b"h2"))
            || name.get(..4).is_some_and(|begin| begin.eq_ignore_ascii_case(b"http"))
    });
    (is_asked && !is_http).then_some(protocol)
}

/// RFC 9110 section 10.1.4.
fn takes_trailers(fields: &Fields) -> bool {
    fields.all(Name::Te).flat_map(elements).any(|coding| coding.eq_ignore_ascii_case(b"trailers"))
}

/// `Content_Length` becomes `CONTENT_LENGTH` in CGI, as the real one does.
fn is_framing_in_disguise(field: Field<'_>) -> bool {
    if field.known != Name::Other || !field.name.contains(&b'_') {
        return false;
    }
    let is = |known: &[u8]| {
        known.len() == field.name.len()
            && known.iter().zip(field.name).all(|(known, byte)| {
                known.eq_ignore_ascii_case(byte) || (*known == b'-' && *byte == b'_')
            })
    };
    is(b"content-length") || is(b"transfer-encoding")
}

/// Takes out of a client's trailers what only we may say.
pub fn clean_trailers(fields: &mut Fields) {
    fields.retain(|field| !identity::is_reserved(field.name) && !is_about_client(field.name));
}

/// What the policy tells of the record that the request belongs to.
fn identity<'a>(shared: &Shared, exchange: &'a Exchange) -> Option<Identity<'a>> {
    let held = exchange.bond.held()?;
    let (told, record) = (exchange.policy.identity, &held.record);
    Some(Identity {
        id: told.id.then(|| held.key.hex_digits()),
        subject: record.whose().filter(|_| told.subject).and_then(Subject::for_worker),
        age: told.age.then(|| shared.clock.now().since(record.created)),
        created: told.created.then_some(record.created),
        authenticated: record.logged_in().filter(|_| told.authenticated),
    })
}
