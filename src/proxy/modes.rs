//! Carries out the modes in which session cookies of the application go to the browser: `seal` and
//! `harden`.
//!
//! No ticket, no record, no store call. What goes on to the worker and what leaves in place of its
//! cookies is decided in `session`.

use std::sync::Arc;

use crate::clock::UnixMillis;
use crate::cookie::appearance::Appearance;
use crate::cookie::response::name_of;
use crate::cookie::worker_clock;
use crate::crypto::random;
use crate::downstream::Request;
use crate::headers::fetch::is_document;
use crate::proxy::context::Context;
use crate::proxy::error::RequestError;
use crate::proxy::observing;
use crate::proxy::respond::NOT_KEPT;
use crate::proxy::shared::Shared;
use crate::session::carried::Carried;
use crate::session::event::{Event, Reject};
use crate::session::harden::harden;
use crate::session::policy::{Mode, Policy};
use crate::session::seal::exchange::{Brought, Occasion, Place, bring, leaving, replaced, write};
use crate::telemetry::findings::Found;
use crate::wire::name::Name;
use crate::wire::response::ResponseHead;

/// A request under such a policy.
pub struct Guarded {
    pub policy: Arc<Policy>,
    /// When it came.
    at: UnixMillis,
    /// The sealed cookies that came.
    brought: Vec<Brought>,
    /// What came, where the policy only reports.
    observed: Option<observing::Brought>,
}

/// Takes in what a request carries. Gives the pairs for the worker.
pub async fn join(
    shared: &Shared,
    request: &Request,
    ctx: &mut Context,
    policy: &Arc<Policy>,
    carried: &Carried<'_>,
) -> Vec<Vec<u8>> {
    let (brought, pairs, rejected) = match &policy.mode {
        Mode::Seal(appearance) => {
            let host = ctx.target.as_ref().map_or("", |target| target.host.as_str());
            let brought = open(shared, Place { policy, appearance, host }, carried).await;
            let pairs = brought.iter().filter_map(Brought::pair).collect();
            let rejected = brought.iter().filter_map(Brought::rejected).collect();
            (brought, pairs, rejected)
        }
        Mode::Vault | Mode::Harden { .. } => {
            let (pairs, twice) = carried.unveiled();
            (Vec::new(), pairs, vec![Reject::Duplicate; twice.len()])
        }
    };
    for reason in rejected {
        ctx.tell(shared, request, policy, &Event::TicketRejected { reason });
    }
    let at = shared.clock.now();
    let observed = policy.only_reports().then(|| observing::Brought::of(policy, carried));
    ctx.guarded = Some(Guarded { policy: policy.clone(), at, brought, observed });
    pairs
}

/// Opens sealed cookies, after reading the ring again where a key is missing (PROTOCOL.md 4).
async fn open(shared: &Shared, place: Place<'_>, carried: &Carried<'_>) -> Vec<Brought> {
    let now = shared.clock.now();
    let brought = bring(&shared.ring.current(), place, &carried.own, now);
    let misses = |one: &Brought| one.rejected() == Some(Reject::UnknownKey);
    if brought.iter().any(misses) {
        Box::pin(shared.ring.reread(now)).await;
        return bring(&shared.ring.current(), place, &carried.own, now);
    }
    brought
}

/// Writes the cookies of an answer; they have been taken out of it.
pub fn respond(
    shared: &Shared,
    request: &Request,
    response: &mut ResponseHead,
    ctx: &mut Context,
    guarded: &Guarded,
    fields: &[Vec<u8>],
) -> Result<(), RequestError> {
    let Some(target) = &ctx.target else { return Err(RequestError::Internal) };
    let policy = &guarded.policy;
    if let Some(brought) = &guarded.observed {
        observing::tell(shared, request, response, (policy, &target.host), brought, fields);
    }
    for field in fields {
        let name = name_of(field);
        match &policy.mode {
            Mode::Seal(_) if policy.owns(name) => {}
            Mode::Harden { appearance, report_only } if policy.owns(name) => {
                let hardened = harden(appearance, *report_only, field, &target.host);
                let found = Found {
                    policy: &policy.name,
                    host: &target.host,
                    name,
                    findings: &hardened.findings,
                    instead: hardened.instead.as_deref(),
                };
                shared.findings.tell(&shared.metrics, &found, shared.clock.now());
                response.fields.push(b"Set-Cookie", &hardened.field)?;
            }
            // A worker has no say about tickets.
            _ if shared.is_ticket(name) => {}
            _ => {
                let field = shared.cookies.rewrite(field, target.client.https);
                response.fields.push(b"Set-Cookie", &field)?;
            }
        }
    }
    match &policy.mode {
        Mode::Seal(appearance) => seal(shared, request, response, ctx, guarded, appearance, fields),
        Mode::Vault | Mode::Harden { .. } => Ok(()),
    }
}

fn seal(
    shared: &Shared,
    request: &Request,
    response: &mut ResponseHead,
    ctx: &mut Context,
    guarded: &Guarded,
    appearance: &Appearance,
    fields: &[Vec<u8>],
) -> Result<(), RequestError> {
    let Some(target) = &ctx.target else { return Err(RequestError::Internal) };
    let (policy, now) = (&guarded.policy, shared.clock.now());
    let place = Place { policy, appearance, host: &target.host };
    let own = fields.iter().map(Vec::as_slice).filter(|field| policy.owns(name_of(field)));
    let set = worker_clock::cookies(own, &response.fields, now);
    for cookie in set.iter().filter(|cookie| place.is_foreign(cookie.domain())) {
        shared.tell_foreign_domain(policy, &target.host, cookie.name(), now);
    }
    let occasion = Occasion {
        is_document: is_document(&request.method, request.fields(), &response.fields),
        took: now.since(guarded.at),
        is_replaced: &|id| shared.replaced_seals.has(id, now),
    };
    let leaving =
        leaving(place, &guarded.brought, &set, target.requested.path.as_bytes(), &occasion, now);
    shared.replaced_seals.note(replaced(&guarded.brought, &leaving), now);
    let ring = shared.ring.current();
    let written = write(&ring, place, &leaving, now, random::bytes);
    let written = match written {
        Ok(written) => written,
        Err(error) => {
            tracing::error!(%error, "no randomness for a sealed cookie: the answer is withheld");
            ctx.tell(shared, request, policy, &Event::Withheld { id: None });
            return Err(RequestError::Withheld);
        }
    };
    // PROTOCOL.md 12.
    if !set.is_empty() || !written.fields.is_empty() {
        response.fields.set(b"Cache-Control", NOT_KEPT)?;
        response.fields.remove(Name::Expires);
    }
    for field in written.fields {
        response.fields.push(b"Set-Cookie", &field)?;
    }
    for (name, cause) in &written.left_out {
        let (cookie, cause) = (String::from_utf8_lossy(name), *cause);
        tracing::error!(
            policy = policy.name,
            cookie = &*cookie,
            cause = cause.name(),
            "a session cookie could not be sealed and was left out of the answer"
        );
        ctx.tell(shared, request, policy, &Event::NotMade { cause });
    }
    Ok(())
}
