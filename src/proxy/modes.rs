//! Carries out the modes in which session cookies of the application go to the browser: `harden`.
//!
//! No ticket, no record, no store call. What goes on to the worker and what leaves in place of its
//! cookies is decided in `session`.

use std::sync::Arc;

use http::header::{SET_COOKIE, USER_AGENT};
use pingora_core::Result;
use pingora_http::ResponseHeader;
use pingora_proxy::Session;

use crate::cookie::agent::takes_same_site_none;
use crate::cookie::response::name_of;
use crate::proxy::context::Context;
use crate::proxy::error::RequestError;
use crate::proxy::fail_to_proxy::raise;
use crate::proxy::shared::Shared;
use crate::session::carried::Carried;
use crate::session::event::{Event, Reject};
use crate::session::harden::harden;
use crate::session::policy::{Mode, Policy};
use crate::telemetry::findings::Found;

/// A request under such a policy.
pub struct Guarded {
    pub policy: Arc<Policy>,
    /// Whether the browser understands `SameSite=None`.
    takes_none: bool,
}

/// Takes in what a request carries. Gives the pairs for the worker.
pub fn join(
    shared: &Shared,
    session: &Session,
    ctx: &mut Context,
    policy: &Arc<Policy>,
    carried: &Carried<'_>,
) -> Vec<Vec<u8>> {
    let agent = session.req_header().headers.get(USER_AGENT);
    let takes_none = agent.is_none_or(|agent| takes_same_site_none(agent.as_bytes()));
    let (pairs, twice) = carried.unveiled();
    for _name in &twice {
        let event = Event::TicketRejected { reason: Reject::Duplicate };
        ctx.tell(shared, session, policy, &event);
    }
    ctx.guarded = Some(Guarded { policy: policy.clone(), takes_none });
    pairs
}

/// Writes the cookies of an answer; they have been taken out of it.
pub fn respond(
    shared: &Shared,
    response: &mut ResponseHeader,
    ctx: &mut Context,
    guarded: &Guarded,
    fields: &[Vec<u8>],
) -> Result<()> {
    let Some(target) = &ctx.target else { return raise(ctx, RequestError::Internal) };
    let Guarded { policy, takes_none } = guarded;
    for field in fields {
        let name = name_of(field);
        match &policy.mode {
            Mode::Harden { guise, report_only } if policy.owns(name) => {
                let hardened = harden(guise, *report_only, field, &target.host, *takes_none);
                shared.findings.tell(
                    &shared.metrics,
                    &Found {
                        policy: &policy.name,
                        host: &target.host,
                        name,
                        findings: &hardened.findings,
                        instead: hardened.instead.as_deref(),
                    },
                    shared.clock.now(),
                );
                response.append_header(SET_COOKIE, &*hardened.field)?;
            }
            // A worker has no say about tickets.
            _ if shared.is_ticket(name) => {}
            _ => {
                let field = shared.cookies.rewrite(field, target.client.https);
                response.append_header(SET_COOKIE, &*field)?;
            }
        }
    }
    Ok(())
}
