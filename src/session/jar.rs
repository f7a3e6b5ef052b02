//! The vault's cookie jar: the application's session cookies, kept as a browser would keep them
//! (RFC 6265bis, sections 5.7 and 5.8; PROTOCOL.md 7, 9, 11).
//!
//! `Secure` and `HttpOnly` play no part: the jar never leaves the proxy's side. A `Domain` that the host
//! is not in, for which browsers drop a cookie, is no reason to: see `Cookie::is_foreign`.

use std::fmt;

use crate::clock::UnixMillis;
use crate::cookie::finding::covers;
use crate::cookie::request::Field;
use crate::cookie::response::{Lifetime, SetCookie};
use crate::session::policy::{CookiesHold, JarLimits};
use crate::session::record::HEAP_SLACK;

/// One cookie. Two are the same if name, domain, host-only flag and path are.
#[derive(Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Cookie {
    name: Vec<u8>,
    value: Vec<u8>,
    /// With a dot in front where it is foreign. Nodes that know of none such lend it to no host.
    domain: String,
    host_only: bool,
    path: Vec<u8>,
    /// Absent: for the session.
    expires: Option<UnixMillis>,
}

impl fmt::Debug for Cookie {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Cookie({}=[redacted])", self.name.escape_ascii())
    }
}

impl Cookie {
    fn is(&self, other: &Self) -> bool {
        self.name == other.name
            && self.host_only == other.host_only
            && self.path == other.path
            && self.domain == other.domain
    }

    /// Whether the application has given it a `Domain` that its host is not in: that of another
    /// environment, or of the address that the worker is known by inside. It goes wherever the ticket
    /// goes, unless a cookie goes there that browsers would have kept under the same name.
    fn is_foreign(&self) -> bool {
        self.domain.starts_with('.')
    }

    /// Whether it is kept in place of the other one. Of foreign ones there is one to a name and path:
    /// nobody can tell which of two is meant.
    fn replaces(&self, other: &Self) -> bool {
        let are_foreign = self.is_foreign() && other.is_foreign();
        self.is(other) || (are_foreign && self.name == other.name && self.path == other.path)
    }

    /// Whether the other one, which a browser would have kept, has gone in its place.
    fn is_hidden_by(&self, own: &Self) -> bool {
        let are_alike = self.name == own.name && self.path == own.path;
        self.is_foreign() && !own.is_foreign() && are_alike
    }

    /// Whether a request to this host, for this path, gets it.
    fn goes_to(&self, host: &str, path: &[u8], now: UnixMillis) -> bool {
        self.expires.is_none_or(|end| end > now)
            && (self.domain == host
                || self.is_foreign()
                || (!self.host_only && is_subdomain(host, &self.domain)))
            && path_matches(path, &self.path)
    }

    /// Whether it ends as the other one does, or so that it makes no difference: expiries that move
    /// with every answer are followed in steps of a tenth.
    fn ends_like(&self, other: &Self, now: UnixMillis) -> bool {
        match (self.expires, other.expires) {
            (None, None) => true,
            (Some(own), Some(other)) => {
                let left = u64::try_from(own.since(now).as_millis()).unwrap_or(u64::MAX);
                own.0.abs_diff(other.0) < left / 10
            }
            (None, Some(_)) | (Some(_), None) => false,
        }
    }

    fn bytes(&self) -> usize {
        self.name.len() + self.value.len() + self.domain.len() + self.path.len()
    }
}

/// What one `Set-Cookie` field asks of a jar. Merging is by the single cookie (rule 11).
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Edit {
    Put(Cookie),
    /// Carries the identity only.
    Delete(Cookie),
}

impl Edit {
    /// Reads a parsed field that answers a request for `path` on `host` (lower-case, no port).
    pub fn read(field: &SetCookie<'_>, host: &str, path: &[u8], now: UnixMillis) -> Self {
        let (domain, host_only) = match field.domain() {
            None => (host.to_owned(), true),
            Some(domain) => {
                let is_foreign = !covers(domain, host);
                let dot = if is_foreign { "." } else { "" };
                let domain = String::from_utf8_lossy(domain).to_ascii_lowercase();
                (format!("{dot}{domain}"), is_foreign || is_address(host))
            }
        };
        let path = match field.path() {
            Some(path) if path.first() == Some(&b'/') => path.to_vec(),
            _ => default_path(path).to_vec(),
        };
        let mut cookie = Cookie {
            name: field.name().to_vec(),
            value: Vec::new(),
            domain,
            host_only,
            path,
            expires: None,
        };
        match field.lifetime(now) {
            Lifetime::Expired => return Self::Delete(cookie),
            Lifetime::Session => {}
            Lifetime::Until(end) => cookie.expires = Some(end),
        }
        cookie.value = field.value().to_vec();
        Self::Put(cookie)
    }

    /// Whether it takes the place of that cookie, or takes it away.
    fn meets(&self, cookie: &Cookie) -> bool {
        match self {
            Self::Put(new) => new.replaces(cookie),
            Self::Delete(gone) => gone.is(cookie),
        }
    }

    fn sets(&self, cookie: &Cookie) -> bool {
        matches!(self, Self::Put(new) if new.is(cookie))
    }

    /// The name of its cookie, where that has a `Domain` that its host is not in.
    pub fn foreign(&self) -> Option<&[u8]> {
        let cookie = self.cookie();
        cookie.is_foreign().then_some(&cookie.name)
    }

    fn cookie(&self) -> &Cookie {
        match self {
            Self::Put(cookie) | Self::Delete(cookie) => cookie,
        }
    }

    /// Whether it stores something.
    pub fn is_put(&self) -> bool {
        matches!(self, Self::Put(_))
    }

    /// The name of what it stores.
    pub fn put(&self) -> Option<&[u8]> {
        match self {
            Self::Put(cookie) => Some(&cookie.name),
            Self::Delete(_) => None,
        }
    }
}

/// The cookies of one session, in order of creation.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Jar {
    cookies: Vec<Cookie>,
}

impl Jar {
    /// What it has on the heap, in bytes, as [`Record::heap_bytes`] counts.
    ///
    /// [`Record::heap_bytes`]: crate::session::record::Record::heap_bytes
    pub fn heap_bytes(&self) -> usize {
        let cookies = self.cookies.iter().map(|cookie| {
            let Cookie { name, value, domain, path, .. } = cookie;
            let pieces = [name.capacity(), value.capacity(), domain.capacity(), path.capacity()];
            pieces.iter().map(|bytes| bytes + HEAP_SLACK).sum::<usize>()
        });
        cookies.sum::<usize>() + self.cookies.capacity() * size_of::<Cookie>() + HEAP_SLACK
    }

    /// Whether nothing is left in it.
    pub fn is_empty(&self) -> bool {
        self.cookies.is_empty()
    }

    /// Applies edits in order and forgets what has expired. Says how many cookies did not fit.
    pub fn apply(&mut self, edits: &[Edit], limits: JarLimits, now: UnixMillis) -> usize {
        let mut left_out = 0;
        self.cookies.retain(|cookie| cookie.expires.is_none_or(|end| end > now));
        for edit in edits {
            match edit {
                Edit::Delete(gone) => {
                    let is_set = |one: &Cookie| edits.iter().any(|edit| edit.sets(one));
                    let was_there = self.cookies.iter().any(|cookie| cookie.is(gone));
                    self.cookies.retain(|cookie| {
                        // In a browser nothing would be left of that name.
                        let was_hidden = was_there && cookie.is_hidden_by(gone);
                        !cookie.is(gone) && (!was_hidden || is_set(cookie))
                    });
                }
                Edit::Put(new) => {
                    let at = self.cookies.iter().position(|cookie| new.replaces(cookie));
                    let replaced = at.map_or(0, |at| self.cookies[at].bytes());
                    let bytes = self.cookies.iter().map(Cookie::bytes).sum::<usize>();
                    if bytes - replaced + new.bytes() > limits.bytes
                        || (at.is_none() && self.cookies.len() >= limits.cookies)
                    {
                        left_out += 1;
                        continue;
                    }
                    match at {
                        // The creation-time of the old cookie is kept: so is its place.
                        Some(at) => self.cookies[at] = new.clone(),
                        None => self.cookies.push(new.clone()),
                    }
                }
            }
        }
        left_out
    }

    /// Whether there is a cookie that has not expired.
    pub fn has_unexpired(&self, now: UnixMillis) -> bool {
        self.cookies.iter().any(|cookie| cookie.expires.is_none_or(|end| end > now))
    }

    /// Until when a browser would keep the longest-lived of the cookies with these names, or of all
    /// where there is none; `None` where that ends with the browser.
    ///
    /// Where that is before `soon` it does not count, if the jar has others that live on, be it until
    /// the browser is closed: they would be lost with the ticket.
    pub fn lasts_until(
        &self,
        names: &[Vec<u8>],
        soon: UnixMillis,
        now: UnixMillis,
    ) -> Option<UnixMillis> {
        let ends = self.cookies.iter().map(|cookie| (&cookie.name, cookie.expires));
        let ends = ends.filter(|(_, end)| end.is_none_or(|end| end > now));
        let counts = |name: &Vec<u8>| names.is_empty() || names.contains(name);
        let last =
            ends.clone().filter(|(name, _)| counts(name)).filter_map(|(_, end)| end).max()?;
        let others_live_on = || ends.clone().any(|(_, end)| end.is_none_or(|end| end > last));
        if last < soon && others_live_on() { None } else { Some(last) }
    }

    /// Whether `other` has all of these cookies, but for those that have expired, with their values.
    pub fn is_whole_in(&self, other: &Self, now: UnixMillis) -> bool {
        let mut rest =
            self.cookies.iter().filter(|cookie| cookie.expires.is_none_or(|end| end > now));
        rest.all(|cookie| {
            other.cookies.iter().any(|twin| twin.replaces(cookie) && twin.value == cookie.value)
        })
    }

    /// Whether these edits, taken together, put another value into it or take one out.
    pub fn would_change(&self, edits: &[Edit]) -> bool {
        final_edits(edits).any(|edit| {
            let own = self.cookies.iter().find(|own| edit.meets(own));
            match edit {
                Edit::Delete(_) => own.is_some(),
                Edit::Put(new) => own.is_none_or(|own| own.value != new.value),
            }
        })
    }

    /// Whether these edits, taken together, only say again what is in it, but for an expiry that
    /// moves by less than a tenth of what was left: it is not worth a write.
    pub fn has_already(&self, edits: &[Edit], now: UnixMillis) -> bool {
        final_edits(edits).all(|edit| {
            let own = self.cookies.iter().find(|own| edit.meets(own));
            match (edit, own) {
                (Edit::Delete(_), own) => own.is_none(),
                (Edit::Put(new), Some(own)) => {
                    own.is(new) && own.value == new.value && own.ends_like(new, now)
                }
                (Edit::Put(_), None) => false,
            }
        })
    }

    /// Takes those edits out that would take a cookie of this jar away: deletions, and where
    /// cookies hold identifiers other values too.
    pub fn spare(&self, edits: &mut Vec<Edit>, hold: CookiesHold) {
        edits.retain(|edit| {
            let own = self.cookies.iter().find(|own| edit.meets(own));
            match edit {
                Edit::Delete(_) => own.is_none(),
                Edit::Put(new) => {
                    hold == CookiesHold::Content || own.is_none_or(|old| old.value == new.value)
                }
            }
        });
    }

    /// These cookies and those of `other` that are not among them, as far as they fit.
    pub fn and(mut self, other: &Self, limits: JarLimits) -> Self {
        let mut bytes = self.cookies.iter().map(Cookie::bytes).sum::<usize>();
        for cookie in &other.cookies {
            let fits =
                self.cookies.len() < limits.cookies && bytes + cookie.bytes() <= limits.bytes;
            if fits && !self.cookies.iter().any(|own| own.replaces(cookie)) {
                bytes += cookie.bytes();
                self.cookies.push(cookie.clone());
            }
        }
        self
    }

    /// Adds the cookies for a request to `host` and `path`: longer paths first, then the older
    /// cookie (RFC 6265bis, section 5.8.3).
    pub fn write(&self, field: &mut Field, host: &str, path: &[u8], now: UnixMillis) {
        let gives_way = |foreign: &Cookie| {
            let own = self.cookies.iter().filter(|cookie| !cookie.is_foreign());
            own.filter(|own| own.name == foreign.name).any(|own| own.goes_to(host, path, now))
        };
        let fits = |cookie: &&Cookie| {
            cookie.goes_to(host, path, now) && !(cookie.is_foreign() && gives_way(cookie))
        };
        // Hardly any jar has cookies of two paths: one round, and nothing to be sorted.
        let mut next = self.cookies.iter().map(|cookie| cookie.path.len()).max();
        while let Some(length) = next {
            next = None;
            for cookie in &self.cookies {
                let own = cookie.path.len();
                if own == length && fits(&cookie) {
                    field.push_cookie(&cookie.name, &cookie.value);
                } else if own < length {
                    next = next.max(Some(own));
                }
            }
        }
    }

    /// What [`write`](Self::write) makes of it alone.
    #[cfg(test)]
    pub fn written(&self, host: &str, path: &str, now: UnixMillis) -> String {
        let mut field = Field::default();
        self.write(&mut field, host, path.as_bytes(), now);
        String::from_utf8(field.as_bytes().to_vec()).expect("text")
    }
}

/// Of several edits of one cookie the last one.
fn final_edits(edits: &[Edit]) -> impl Iterator<Item = &Edit> {
    edits.iter().enumerate().filter_map(|(index, edit)| {
        let is_last = !edits[index + 1..].iter().any(|later| later.meets(edit.cookie()));
        is_last.then_some(edit)
    })
}

/// RFC 6265bis, section 5.1.3: a suffix behind a dot, and not of an IP address.
fn is_subdomain(host: &str, domain: &str) -> bool {
    host.strip_suffix(domain).is_some_and(|rest| rest.ends_with('.')) && !is_address(host)
}

fn is_address(host: &str) -> bool {
    host.trim_matches(['[', ']']).parse::<std::net::IpAddr>().is_ok()
}

/// RFC 6265bis, section 5.1.4.
pub(super) fn default_path(request_path: &[u8]) -> &[u8] {
    match request_path.iter().rposition(|&byte| byte == b'/') {
        Some(0) | None => b"/",
        Some(at) if request_path[0] == b'/' => &request_path[..at],
        Some(_) => b"/",
    }
}

/// RFC 6265bis, section 5.1.4.
fn path_matches(request_path: &[u8], cookie_path: &[u8]) -> bool {
    request_path.strip_prefix(cookie_path).is_some_and(|rest| {
        rest.is_empty() || cookie_path.ends_with(b"/") || rest.starts_with(b"/")
    })
}

#[cfg(test)]
#[path = "jar_tests.rs"]
mod tests;
