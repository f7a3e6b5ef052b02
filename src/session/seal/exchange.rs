//! What an exchange does with sealed cookies: which go on to the worker, which leave anew, which are
//! taken away.
//!
//! Whatever does not open is no cookie and is left where it is: a key may come back, and a late
//! request must not take away the cookie that came after it. Only what opened and is too old is
//! expired at the browser.
//!
//! For the same reason few answers replace a cookie that their worker said nothing about: see
//! [`Occasion`].

use std::collections::BTreeMap;
use std::time::Duration;

use crate::clock::UnixMillis;
use crate::cookie::appearance::Appearance;
use crate::cookie::finding::covers;
use crate::cookie::response::{Lifetime, SetCookie};
use crate::crypto::keyring::Keyring;
use crate::crypto::seal::NONCE_LEN;
use crate::session::carried::Own;
use crate::session::event::{NotMade, Reject};
use crate::session::jar::default_path;
use crate::session::policy::{Policy, Timeouts};
use crate::session::seal::pieces::{self, Pieces};
use crate::session::seal::{Kept, Opened, Scope, SealId, open, seal};

/// A policy of this mode, on a host.
#[derive(Clone, Copy, Debug)]
pub struct Place<'a> {
    pub policy: &'a Policy,
    pub appearance: &'a Appearance,
    /// Lower-case, without port.
    pub host: &'a str,
}

impl Place<'_> {
    fn timeouts(&self) -> &Timeouts {
        &self.policy.timeouts
    }

    /// Whether the host is not in this `Domain`. Browsers would drop the cookie, so it is sealed
    /// without; the `Domain` stays inside, for it to be told from one that was right.
    pub fn is_foreign(&self, domain: Option<&[u8]>) -> bool {
        domain.is_some_and(|domain| !covers(domain, self.host))
    }

    fn with_scope<T>(&self, name: &[u8], act: impl FnOnce(&Scope<'_>) -> T) -> T {
        let outside = self.appearance.outside(name);
        act(&Scope {
            name: &outside,
            policy: &self.policy.name,
            site: self.appearance.domain.as_deref().unwrap_or(self.host),
        })
    }
}

/// A sealed cookie that a request carries.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Brought {
    /// The application's name for it.
    pub name: Vec<u8>,
    /// The pieces that came, one bit each.
    pub carried: u8,
    pub found: Result<Opened, Reject>,
    /// It opened, but its time is over.
    pub is_over: bool,
}

impl Leaving {
    /// The application's name for it.
    fn name(&self) -> &[u8] {
        match self {
            Self::Sealed { name, .. } | Self::Expired { name, .. } => name,
        }
    }
}

/// Which sealings that were brought are over, now that these cookies leave.
pub fn replaced<'a>(
    brought: &'a [Brought],
    leaving: &'a [Leaving],
) -> impl Iterator<Item = SealId> + 'a {
    let leaves = |brought: &&Brought| leaving.iter().any(|one| one.name() == brought.name);
    brought.iter().filter(leaves).filter_map(|brought| Some(brought.found.as_ref().ok()?.id))
}

impl Brought {
    /// The pair for the worker.
    pub fn pair(&self) -> Option<Vec<u8>> {
        let opened = self.found.as_ref().ok().filter(|_| !self.is_over)?;
        Some([&self.name, &b"="[..], &opened.kept.value].concat())
    }

    /// Why it is no cookie.
    pub fn rejected(&self) -> Option<Reject> {
        match &self.found {
            Err(reason) => Some(*reason),
            Ok(_) if self.is_over => Some(Reject::TooOld),
            Ok(_) => None,
        }
    }

    fn valid(&self) -> Option<&Opened> {
        self.found.as_ref().ok().filter(|_| !self.is_over)
    }
}

/// Opens what a request carries.
pub fn bring(ring: &Keyring, place: Place<'_>, own: &[Own<'_>], now: UnixMillis) -> Vec<Brought> {
    let mut cookies: BTreeMap<&[u8], Pieces<'_>> = BTreeMap::new();
    for Own { name, piece, value } in own {
        cookies.entry(name).or_default().put(*piece, value);
    }
    let bring = |(name, pieces): (&[u8], Pieces<'_>)| {
        let found = place.with_scope(name, |scope| open(ring, &pieces, scope));
        Brought {
            name: name.to_vec(),
            carried: pieces.carried(),
            is_over: found.as_ref().is_ok_and(|opened| opened.kept.is_over(place.timeouts(), now)),
            found,
        }
    };
    // Pieces without a first one are what is left of a longer cookie.
    cookies.into_iter().filter(|(_, pieces)| pieces.carried() & 1 == 1).map(bring).collect()
}

/// An answer that takes longer replaces no cookie that its worker said nothing about.
pub const SLOW: Duration = Duration::from_secs(5);

/// Whether an answer may seal those cookies anew that its worker said nothing about. It has what the
/// browser had when it asked, and would take back what another answer has set since then.
pub struct Occasion<'a> {
    /// It is a page by itself ([`is_document`]): of these few are on their way at a time.
    ///
    /// [`is_document`]: crate::headers::fetch::is_document
    pub is_document: bool,
    pub took: Duration,
    /// Whether an answer of this node has replaced that sealing lately.
    pub is_replaced: &'a dyn Fn(SealId) -> bool,
}

impl Occasion<'_> {
    fn may_replace(&self, opened: &Opened) -> bool {
        self.is_document && self.took < SLOW && !(self.is_replaced)(opened.id)
    }
}

/// A cookie that leaves with an answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Leaving {
    /// Sealed now. Of the pieces that came, those beyond its own are expired.
    Sealed { name: Vec<u8>, kept: Kept, carried: u8 },
    /// Expired, with all pieces that came. Only the identity of `kept` counts.
    Expired { name: Vec<u8>, kept: Kept, carried: u8 },
}

/// Decides what leaves, given the session cookies that the worker set in its answer to a request for
/// `path`.
pub fn leaving(
    place: Place<'_>,
    brought: &[Brought],
    set: &[SetCookie<'_>],
    path: &[u8],
    occasion: &Occasion<'_>,
    now: UnixMillis,
) -> Vec<Leaving> {
    let mut leaving: Vec<(&[u8], Leaving)> = Vec::new();
    for cookie in set {
        let name = cookie.name();
        let before = brought.iter().find(|brought| brought.name == name);
        if place.is_foreign(cookie.domain()) && gives_way(place, before, cookie, set, now) {
            continue;
        }
        let one = set_by_worker(place, before, cookie, path, now);
        // The last one counts; the earlier one's pieces must not mix with it.
        leaving.retain(|(other, _)| *other != name);
        leaving.push((name, one));
    }
    let untouched = brought
        .iter()
        .filter(|brought| set.iter().all(|cookie| cookie.name() != brought.name.as_slice()));
    let renewed: Vec<_> = untouched
        .filter_map(|brought| left_alone(place.timeouts(), brought, occasion, now))
        .collect();
    leaving.into_iter().map(|(_, one)| one).chain(renewed).collect()
}

/// Whether a cookie with a foreign `Domain` changes nothing, as in a browser: there is one of the same
/// name with a better one, or what it deletes is another one.
fn gives_way(
    place: Place<'_>,
    before: Option<&Brought>,
    foreign: &SetCookie<'_>,
    set: &[SetCookie<'_>],
    now: UnixMillis,
) -> bool {
    let is_set = |cookie: &SetCookie<'_>| cookie.lifetime(now) != Lifetime::Expired;
    let is_another = |domain: Option<&[u8]>| {
        let is_same =
            || domain.zip(foreign.domain()).is_some_and(|(a, b)| a.eq_ignore_ascii_case(b));
        !place.is_foreign(domain) || !(is_set(foreign) || is_same())
    };
    let kept = before.and_then(Brought::valid).map(|opened| opened.kept.domain.as_deref());
    let beside = set.iter().filter(|cookie| cookie.name() == foreign.name() && is_set(cookie));
    kept.into_iter().chain(beside.map(SetCookie::domain)).any(is_another)
}

fn set_by_worker(
    place: Place<'_>,
    before: Option<&Brought>,
    cookie: &SetCookie<'_>,
    path: &[u8],
    now: UnixMillis,
) -> Leaving {
    let began = before.and_then(Brought::valid).map_or(now, |opened| opened.kept.began);
    let end = began.plus(place.timeouts().absolute);
    let lifetime = cookie.lifetime(now);
    let kept = Kept {
        began,
        sealed: now,
        expires: match lifetime {
            Lifetime::Until(until) => Some(until.min(end)),
            Lifetime::Session | Lifetime::Expired => None,
        },
        path: cookie.path().map_or_else(|| sendable(default_path(path)), <[u8]>::to_vec),
        domain: cookie.domain().map(<[u8]>::to_vec),
        same_site: cookie.same_site(),
        partitioned: cookie.partitioned(),
        value: cookie.value().to_vec(),
    };
    let (name, carried) = (cookie.name().to_vec(), before.map_or(0, |before| before.carried));
    match lifetime {
        Lifetime::Expired => Leaving::Expired { name, kept, carried },
        Lifetime::Session | Lifetime::Until(_) => Leaving::Sealed { name, kept, carried },
    }
}

/// A cookie that the worker says nothing about.
fn left_alone(
    timeouts: &Timeouts,
    brought: &Brought,
    occasion: &Occasion<'_>,
    now: UnixMillis,
) -> Option<Leaving> {
    let opened = brought.found.as_ref().ok().filter(|opened| occasion.may_replace(opened))?;
    let Opened { kept, is_current, .. } = opened;
    let (name, carried) = (brought.name.clone(), brought.carried);
    if brought.is_over {
        return Some(Leaving::Expired { name, kept: kept.clone(), carried });
    }
    if *is_current && !kept.is_due(timeouts, now) {
        return None;
    }
    Some(Leaving::Sealed { name, kept: Kept { sealed: now, ..kept.clone() }, carried })
}

/// A path as it can stand in an attribute: what is behind a semicolon would be lost.
fn sendable(path: &[u8]) -> Vec<u8> {
    let good = path.iter().take_while(|byte| !matches!(byte, b';' | 0..=b' ' | 0x7f)).count();
    match path.get(..good) {
        Some(whole) if good == path.len() => whole.to_vec(),
        cut => default_path(cut.unwrap_or_default()).to_vec(),
    }
}

/// The `Set-Cookie` fields of an answer.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Fields {
    pub fields: Vec<Vec<u8>>,
    /// Names of cookies that could not be sealed, and why.
    pub left_out: Vec<(Vec<u8>, NotMade)>,
}

/// Seals what leaves and writes it down. `nonce` draws a random one for each cookie.
///
/// # Errors
/// Those of `nonce`: then nothing may leave.
pub fn write<E>(
    ring: &Keyring,
    place: Place<'_>,
    leaving: &[Leaving],
    now: UnixMillis,
    mut nonce: impl FnMut() -> Result<[u8; NONCE_LEN], E>,
) -> Result<Fields, E> {
    let mut written = Fields::default();
    let mut push = |name: &[u8], piece, value: &str, kept: &Kept, end| {
        let domain = kept.domain.as_deref().filter(|domain| !place.is_foreign(Some(domain)));
        let field = field(&pieces::name(name, piece), value, kept, domain, end, now);
        written.fields.push(place.appearance.dress(&field).into_owned());
    };
    let mut left_out = Vec::new();
    for one in leaving {
        let (name, kept, carried, values) = match one {
            Leaving::Expired { name, kept, carried } => (name, kept, carried | 1, Vec::new()),
            Leaving::Sealed { name, .. } if pieces::of(name).1 != 0 => {
                left_out.push((name.clone(), NotMade::ReservedName));
                continue;
            }
            Leaving::Sealed { name, kept, carried } => {
                let nonce = nonce()?;
                match place.with_scope(name, |scope| seal(ring, &nonce, scope, kept)) {
                    Some(values) => (name, kept, *carried, values),
                    None => {
                        left_out.push((name.clone(), NotMade::TooLarge));
                        continue;
                    }
                }
            }
        };
        for (piece, value) in values.iter().enumerate() {
            push(name, piece, value, kept, End::of(kept));
        }
        for piece in (values.len()..pieces::MAX).filter(|piece| carried & (1 << piece) != 0) {
            push(name, piece, "", kept, End::Now);
        }
    }
    written.left_out = left_out;
    Ok(written)
}

#[derive(Clone, Copy)]
enum End {
    Now,
    Session,
    At(UnixMillis),
}

impl End {
    fn of(kept: &Kept) -> Self {
        kept.expires.map_or(Self::Session, Self::At)
    }
}

/// A field with the application's own attributes, as far as they are known here. Path and domain are
/// always written: the browser's default may be another one when the cookie is sent again.
fn field(
    name: &[u8],
    value: &str,
    kept: &Kept,
    domain: Option<&[u8]>,
    end: End,
    now: UnixMillis,
) -> Vec<u8> {
    let mut field = [name, b"=", value.as_bytes(), b"; Path=", &kept.path].concat();
    if let Some(domain) = domain {
        field.extend_from_slice(&[b"; Domain=", domain].concat());
    }
    match end {
        End::Session => {}
        End::Now => {
            field.extend_from_slice(b"; Max-Age=0; Expires=Thu, 01 Jan 1970 00:00:00 GMT");
        }
        End::At(end) => {
            let at = std::time::UNIX_EPOCH + std::time::Duration::from_secs(end.as_secs());
            let (left, date) = (end.since(now).as_secs().max(1), httpdate::fmt_http_date(at));
            field.extend_from_slice(format!("; Max-Age={left}; Expires={date}").as_bytes());
        }
    }
    if let Some(same_site) = kept.same_site {
        field.extend_from_slice(format!("; SameSite={}", same_site.as_str()).as_bytes());
    }
    if kept.partitioned {
        field.extend_from_slice(b"; Partitioned");
    }
    field
}

#[cfg(test)]
#[path = "exchange_tests.rs"]
mod tests;
