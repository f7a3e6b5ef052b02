//! What an application does with its sessions, for policies that only report: a line of the log for each answer
//! that says something about them, which `cloakroom learn` and `report` read.
//!
//! An identifier is known by the first bytes of a keyed hash of the session cookies, before and after the answer.

use std::collections::BTreeMap;

use crate::clock::UnixMillis;
use crate::cookie::request::pairs;
use crate::cookie::response::{Lifetime, SetCookie, name_of};
use crate::downstream::Request;
use crate::proxy::shared::Shared;
use crate::session::carried::Carried;
use crate::session::policy::Policy;
use crate::telemetry::observed::{Observed, Sets, ShortHash};
use crate::wire::name::Name;
use crate::wire::response::ResponseHead;

/// Values that browsers keep for themselves and that say who somebody is have so many bytes at least.
const IDENTIFIER_BYTES_MIN: usize = 16;
/// Cookies of an answer that are named.
const SETS_MAX: usize = 16;

/// The session cookies of a request; values are secrets.
#[derive(Clone, Default)]
pub struct Brought(BTreeMap<Vec<u8>, Vec<u8>>);

impl Brought {
    /// Those of a policy, by name; the first of each, as most applications read them.
    pub fn of(policy: &Policy, carried: &Carried<'_>) -> Self {
        let mut cookies = BTreeMap::new();
        for pair in carried.others.iter().flat_map(|raw| pairs(raw)) {
            if policy.owns(pair.name) {
                cookies.entry(pair.name.to_vec()).or_insert_with(|| pair.value.to_vec());
            }
        }
        Self(cookies)
    }

    /// What a browser has after an answer.
    fn after(&self, policy: &Policy, fields: &[Vec<u8>], now: UnixMillis) -> Self {
        let mut cookies = self.0.clone();
        for field in fields {
            let Some(cookie) = SetCookie::parse_up_to(field, usize::MAX) else { continue };
            if !policy.owns(cookie.name()) {
                continue;
            }
            if cookie.value().is_empty() || cookie.lifetime(now) == Lifetime::Expired {
                cookies.remove(cookie.name());
            } else {
                cookies.insert(cookie.name().to_vec(), cookie.value().to_vec());
            }
        }
        Self(cookies)
    }

    fn hash(&self, shared: &Shared) -> Option<ShortHash> {
        if self.0.is_empty() {
            return None;
        }
        let mut text = Vec::new();
        for part in self.0.iter().flat_map(|(name, value)| [name, value]) {
            text.extend_from_slice(&u32::try_from(part.len()).unwrap_or(u32::MAX).to_be_bytes());
            text.extend_from_slice(part);
        }
        let mac = shared.ring.current().index().mac(b"observed", &text);
        Some(ShortHash([mac[0], mac[1], mac[2], mac[3]]))
    }
}

/// Writes a line about an answer. `fields` are all cookies that it sets.
pub fn tell(
    shared: &Shared,
    request: &Request,
    response: &ResponseHead,
    (policy, host): (&Policy, &str),
    brought: &Brought,
    fields: &[Vec<u8>],
) {
    let before = brought.hash(shared);
    let after = brought.after(policy, fields, shared.clock.now()).hash(shared);
    if before.is_none() && after.is_none() && fields.is_empty() && request.method.is_safe() {
        return;
    }
    let path = String::from_utf8_lossy(request.target());
    let location = response.fields.get(Name::Location).map(String::from_utf8_lossy);
    let sets = fields.iter().take(SETS_MAX).map(|field| Sets {
        name: String::from_utf8_lossy(name_of(field)).into_owned(),
        may_identify: may_identify(field),
    });
    let observed = Observed {
        policy: &policy.name,
        host,
        method: request.method.as_str(),
        path: &path,
        status: response.status.as_u16(),
        location: location.as_deref(),
        before,
        after,
        sets: sets.collect(),
    };
    observed.write();
}

/// Whether a cookie looks as if it said who somebody is: kept from scripts, long, without spaces.
fn may_identify(field: &[u8]) -> bool {
    SetCookie::parse_up_to(field, usize::MAX).is_some_and(|cookie| {
        cookie.http_only()
            && cookie.value().len() >= IDENTIFIER_BYTES_MIN
            && !cookie.value().contains(&b' ')
    })
}
