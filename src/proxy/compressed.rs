//! Compresses an answer where its route says so (nginx `gzip`).

use std::time::{SystemTime, UNIX_EPOCH};

use http::{Method, StatusCode};

use crate::downstream::{Protocol, Request};
use crate::files::time;
use crate::headers::compression::{Decision, Exchange, announce};
use crate::proxy::coding::Outlet;
use crate::proxy::context::Context;
use crate::proxy::response::{Body, Response};
use crate::proxy::shared::Shared;
use crate::wire::fields::Fields;
use crate::wire::framing::{Framing, announced_length};
use crate::wire::response::ResponseHead;

/// What takes an answer's body to its client; its head says so then.
pub fn outlet(
    shared: &Shared,
    request: &Request,
    response: &mut Response,
    ctx: &Context,
) -> Outlet {
    let Response { head, body } = response;
    let is_head = request.method == Method::HEAD;
    // Parts of a file are those of a whole that would have been coded.
    let is_part = head.status == StatusCode::PARTIAL_CONTENT && !matches!(body, Body::Worker(_));
    let length = match is_head {
        _ if is_part => None,
        true => announced(head, body),
        false => length(body),
    };
    let status = if is_part { StatusCode::OK } else { head.status };
    let Some(mut decision) = decide(request, status, &head.fields, length, ctx) else {
        return Outlet::plain();
    };
    // Each coder takes some hundred KiB while it works.
    if is_part || shared.buffers.is_full() || matches!(body, Body::Tunnel(_)) {
        decision.coding = None;
    }
    let outlet = match decision.coding {
        None => Ok(Outlet::plain()),
        Some(_) if is_head => Ok(Outlet::without_body()),
        Some(coding) => Outlet::coded(coding, length.is_none()),
    };
    match outlet.map(|outlet| (outlet, announce(decision, &mut head.fields))) {
        Ok((outlet, Ok(()))) => outlet,
        Ok((_, Err(_))) => Outlet::plain(),
        Err(error) => {
            tracing::error!(%error, "no answer can be compressed");
            Outlet::plain()
        }
    }
}

/// What is done with an answer of so many bytes; nothing where its route has nothing to say.
pub fn decide(
    request: &Request,
    status: StatusCode,
    fields: &Fields,
    length: Option<u64>,
    ctx: &Context,
) -> Option<Decision> {
    let route = &ctx.target.as_ref()?.route;
    let compression = route.compression.as_ref()?;
    let now = SystemTime::now().duration_since(UNIX_EPOCH);
    Some(compression.decide(&Exchange {
        is_http10: request.protocol == Protocol::Http10,
        asked: request.fields(),
        status,
        fields,
        length,
        is_of_session: route.session.is_some(),
        now: now.map_or(0, |now| i64::try_from(now.as_secs()).unwrap_or(i64::MAX)),
        date: time::parse,
    }))
}

fn announced(head: &ResponseHead, body: &Body) -> Option<u64> {
    match body {
        Body::Worker(_) | Body::Tunnel(_) => announced_length(head),
        Body::Whole(_) | Body::Page(_) | Body::File(_) | Body::NotSent(_) => length(body),
    }
}

fn length(body: &Body) -> Option<u64> {
    match body {
        Body::Whole(bytes) | Body::Page(bytes) => Some(bytes.len() as u64),
        Body::File(file) => Some(file.length()),
        Body::NotSent(length) => Some(*length),
        Body::Worker(answering) | Body::Tunnel(answering) => match answering.framing() {
            Framing::Length(length) => Some(length),
            Framing::Empty => Some(0),
            Framing::Chunked | Framing::UntilClose | Framing::Tunnel => None,
        },
    }
}
