//! Cookies as variables show them: those of sessions, and whatever passes for one, masked.

use crate::cookie::request::{Likeness, Pair, likeness, pairs};
use crate::cookie::{lookalike::passes_for, response::name_of};
use crate::proxy::shared::Shared;
use crate::session::policy::Policy;
use crate::variables::parts;
use crate::wire::fields::Fields;
use crate::wire::name::Name;

const MASK: &[u8] = b"[redacted]";

/// `$http_cookie`.
pub(super) fn line(shared: &Shared, fields: &Fields, out: &mut Vec<u8>) -> bool {
    let mut found = false;
    for field in fields.all(Name::Cookie) {
        if std::mem::replace(&mut found, true) {
            out.extend_from_slice(b"; ");
        }
        if !pairs(field).any(|pair| is_masked(shared, &pair)) {
            out.extend_from_slice(field);
            continue;
        }
        for (number, pair) in pairs(field).enumerate() {
            if number > 0 {
                out.extend_from_slice(b"; ");
            }
            match is_masked(shared, &pair) {
                true => mask(pair.name, out),
                false => out.extend_from_slice(pair.raw),
            }
        }
    }
    found
}

/// `$cookie_NAME`.
pub(super) fn cookie(shared: &Shared, fields: &Fields, name: &[u8], out: &mut Vec<u8>) -> bool {
    let mut lines = fields.all(Name::Cookie);
    let Some(value) = lines.find_map(|line| parts::cookie(line, name)) else { return false };
    let is_masked = fields.all(Name::Cookie).flat_map(pairs).any(|pair| {
        (pair.name.eq_ignore_ascii_case(name) || pair.value == value) && is_masked(shared, &pair)
    });
    out.extend_from_slice(if is_masked { MASK } else { value });
    true
}

/// `$sent_http_set_cookie`: all of them, as nginx joins fields of a name.
pub(super) fn set_cookies(shared: &Shared, fields: &Fields, out: &mut Vec<u8>) -> bool {
    let mut found = false;
    for field in fields.all(Name::SetCookie) {
        if std::mem::replace(&mut found, true) {
            out.extend_from_slice(b", ");
        }
        let name = name_of(field);
        let (pair, attributes) = match field.iter().position(|byte| *byte == b';') {
            Some(end) => field.split_at(end),
            None => (field, &b""[..]),
        };
        match pairs(pair).any(|pair| is_masked(shared, &pair)) {
            true => mask(name, out),
            false => out.extend_from_slice(pair),
        }
        out.extend_from_slice(attributes);
    }
    found
}

/// `$upstream_cookie_NAME`: the value of the first of this name, in any case.
pub(super) fn set_cookie(shared: &Shared, fields: &Fields, name: &[u8], out: &mut Vec<u8>) -> bool {
    let mut all = fields.all(Name::SetCookie).filter_map(|field| {
        let pair = field.split(|byte| *byte == b';').next()?;
        Some((pair, parts::cookie(pair, name)?))
    });
    let Some((pair, value)) = all.next() else { return false };
    let is_masked = pairs(pair).any(|pair| is_masked(shared, &pair));
    out.extend_from_slice(if is_masked { MASK } else { value });
    true
}

fn mask(name: &[u8], out: &mut Vec<u8>) {
    if !name.is_empty() {
        out.extend_from_slice(name);
        out.push(b'=');
    }
    out.extend_from_slice(MASK);
}

/// Whether some reader may take a cookie for a ticket or for a session cookie of the application.
fn is_masked(shared: &Shared, pair: &Pair<'_>) -> bool {
    let is_ticket = |name: &String| likeness(pair, name.as_bytes()) != Likeness::Other;
    let is_held = |policy: &Policy| {
        policy.app_cookies.iter().any(|pattern| passes_for(pair, pattern.as_bytes()))
            || policy.appearance().is_some_and(|appearance| {
                appearance.inside(pair.name).any(|inside| policy.owns(inside))
            })
    };
    shared.tickets.iter().any(is_ticket) || shared.policies.iter().any(|policy| is_held(policy))
}
