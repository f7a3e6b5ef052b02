//! The vault's cookie jar: the application's session cookies, kept as a browser would keep them
//! (RFC 6265bis, sections 5.7 and 5.8; PROTOCOL.md 7, 9, 11).
//!
//! `Secure` and `HttpOnly` play no part: the jar never leaves the proxy's side.

use std::fmt;

use crate::clock::UnixMillis;
use crate::cookie::request::Field;
use crate::cookie::response::{Lifetime, SetCookie};
use crate::session::policy::{CookiesHold, JarLimits};
use crate::session::record::HEAP_SLACK;

/// One cookie. Two are the same if name, domain, host-only flag and path are.
#[derive(Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Cookie {
    name: Vec<u8>,
    value: Vec<u8>,
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
    ///
    /// `None` where a browser would ignore the field: a `Domain` that the host is not in.
    pub fn read(field: &SetCookie<'_>, host: &str, path: &[u8], now: UnixMillis) -> Option<Self> {
        let domain = field
            .domain()
            .filter(|domain| !domain.is_empty())
            .map(|domain| String::from_utf8_lossy(domain).to_ascii_lowercase());
        let host_only = domain.as_deref().is_none_or(|domain| domain == host && is_address(host));
        let domain = match domain {
            Some(domain) if domain == host || is_subdomain(host, &domain) => domain,
            Some(_) => return None,
            None => host.to_owned(),
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
            Lifetime::Expired => return Some(Self::Delete(cookie)),
            Lifetime::Session => {}
            Lifetime::Until(end) => cookie.expires = Some(end),
        }
        cookie.value = field.value().to_vec();
        Some(Self::Put(cookie))
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
                Edit::Delete(gone) => self.cookies.retain(|cookie| !cookie.is(gone)),
                Edit::Put(new) => {
                    let at = self.cookies.iter().position(|cookie| cookie.is(new));
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
            other.cookies.iter().any(|twin| twin.is(cookie) && twin.value == cookie.value)
        })
    }

    /// Whether these edits, taken together, put another value into it or take one out.
    pub fn would_change(&self, edits: &[Edit]) -> bool {
        final_edits(edits).any(|edit| {
            let own = self.cookies.iter().find(|own| own.is(edit.cookie()));
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
            let own = self.cookies.iter().find(|own| own.is(edit.cookie()));
            match (edit, own) {
                (Edit::Delete(_), own) => own.is_none(),
                (Edit::Put(new), Some(own)) => own.value == new.value && own.ends_like(new, now),
                (Edit::Put(_), None) => false,
            }
        })
    }

    /// Takes those edits out that would take a cookie of this jar away: deletions, and where
    /// cookies hold identifiers other values too.
    pub fn spare(&self, edits: &mut Vec<Edit>, hold: CookiesHold) {
        let own = |wanted: &Cookie| self.cookies.iter().find(|cookie| cookie.is(wanted));
        edits.retain(|edit| match edit {
            Edit::Delete(gone) => own(gone).is_none(),
            Edit::Put(new) => {
                hold == CookiesHold::Content || own(new).is_none_or(|old| old.value == new.value)
            }
        });
    }

    /// These cookies and those of `other` that are not among them, as far as they fit.
    pub fn and(mut self, other: &Self, limits: JarLimits) -> Self {
        let mut bytes = self.cookies.iter().map(Cookie::bytes).sum::<usize>();
        for cookie in &other.cookies {
            let fits =
                self.cookies.len() < limits.cookies && bytes + cookie.bytes() <= limits.bytes;
            if fits && !self.cookies.iter().any(|own| own.is(cookie)) {
                bytes += cookie.bytes();
                self.cookies.push(cookie.clone());
            }
        }
        self
    }

    /// Adds the cookies for a request to `host` and `path`: longer paths first, then the older
    /// cookie (RFC 6265bis, section 5.8.3).
    pub fn write(&self, field: &mut Field, host: &str, path: &[u8], now: UnixMillis) {
        let fits = |cookie: &&Cookie| {
            cookie.expires.is_none_or(|end| end > now)
                && (cookie.domain == host
                    || (!cookie.host_only && is_subdomain(host, &cookie.domain)))
                && path_matches(path, &cookie.path)
        };
        // Hardly any jar has cookies of two paths: one round, and nothing to be sorted.
        let longest_below = |bound: usize| {
            let lengths = self.cookies.iter().filter(fits).map(|cookie| cookie.path.len());
            lengths.filter(|length| *length < bound).max()
        };
        let mut next = longest_below(usize::MAX);
        while let Some(length) = next {
            for cookie in self.cookies.iter().filter(|cookie| cookie.path.len() == length) {
                if fits(&cookie) {
                    field.push_cookie(&cookie.name, &cookie.value);
                }
            }
            next = longest_below(length);
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
        let is_last = !edits[index + 1..].iter().any(|later| later.cookie().is(edit.cookie()));
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
mod tests {
    use std::time::Duration;

    use super::*;

    const NOW: UnixMillis = UnixMillis(1_795_462_335_000);

    fn edit(field: &str, host: &str, path: &str) -> Option<Edit> {
        let parsed = SetCookie::parse(field.as_bytes()).expect("a readable field");
        Edit::read(&parsed, host, path.as_bytes(), NOW)
    }

    fn jar(fields: &[&str]) -> Jar {
        let mut jar = Jar::default();
        for field in fields {
            let edit = edit(field, "shop.example.com", "/a/b").expect("an accepted field");
            jar.apply(&[edit], JarLimits::default(), NOW);
        }
        jar
    }

    fn sent(jar: &Jar, host: &str, path: &str, now: UnixMillis) -> String {
        jar.written(host, path, now)
    }

    #[test]
    fn cookies_come_back_where_they_belong() {
        let check = |fields: &[&str], host: &str, path: &str, expected: &str| {
            assert_eq!(sent(&jar(fields), host, path, NOW), expected, "{fields:?} {host}{path}");
        };
        let here = "shop.example.com";
        check(&["a=1; path=/"], here, "/", "a=1");
        check(&["a=1"], here, "/a/c", "a=1"); // default-path of /a/b is /a
        check(&["a=1"], here, "/ab", "");
        check(&["a=1; path=/x"], here, "/x", "a=1");
        check(&["a=1; path=/x"], here, "/xy", "");
        check(&["a=1; path=/x/"], here, "/x", "");
        check(&["a=1; path=/x/"], here, "/x/y", "a=1");
        check(&["a=1; path=relative"], here, "/a/", "a=1");
        check(&["a=1; path=/", "b=2; path=/a", "c=3; path=/"], here, "/a/b", "b=2; a=1; c=3");
        check(&["a=1; path=/", "a=2; path=/"], here, "/", "a=2");
        check(&["a=1; path=/", "a=2; path=/a"], here, "/a", "a=2; a=1");
        check(&["a=1; path=/", "b=2; path=/", "a=3; path=/"], here, "/", "a=3; b=2");
        check(&["a=1; path=/; domain=example.com"], "www.example.com", "/", "a=1");
        check(&["a=1; path=/; domain=.Example.COM"], "www.example.com", "/", "a=1");
        check(&["a=1; path=/"], "www.example.com", "/", "");
        check(&["a=\"quoted x\"; path=/"], here, "/", "a=\"quoted x\"");
    }

    #[test]
    fn a_foreign_domain_is_ignored() {
        for domain in ["example.org", "other.example.com", "com.evil", "hop.example.com"] {
            assert_eq!(edit(&format!("a=1; domain={domain}"), "shop.example.com", "/"), None);
        }
        assert_eq!(edit("a=1; domain=0.0.1", "127.0.0.1", "/"), None);
        assert!(edit("a=1; domain=127.0.0.1", "127.0.0.1", "/").is_some());
    }

    #[test]
    fn cookies_are_deleted_and_expire() {
        let check = |fields: &[&str], now: UnixMillis, expected: &str| {
            assert_eq!(sent(&jar(fields), "shop.example.com", "/", now), expected, "{fields:?}");
        };
        check(&["a=1; path=/", "a=; path=/; max-age=0"], NOW, "");
        check(&["a=1; path=/", "a=; path=/; expires=Thu, 01 Jan 1970 00:00:00 GMT"], NOW, "");
        check(&["a=1; path=/", "a=; path=/x; max-age=0"], NOW, "a=1");
        check(&["a=1; path=/; max-age=10"], UnixMillis(NOW.0 + 9_999), "a=1");
        check(&["a=1; path=/; max-age=10"], UnixMillis(NOW.0 + 10_000), "");
        check(&["a=1; path=/; max-age=10; expires=Thu, 01 Jan 1970 00:00:00 GMT"], NOW, "a=1");
    }

    /// PROTOCOL 29: edits that take nothing away are left as they are.
    #[test]
    fn a_jar_is_spared() {
        let check = |hold, fields: &[&str], left: usize| {
            let read = |field: &&str| edit(field, "shop.example.com", "/").expect("accepted");
            let mut edits: Vec<Edit> = fields.iter().map(read).collect();
            jar(&["a=1; path=/"]).spare(&mut edits, hold);
            assert_eq!(edits.len(), left, "{hold:?} {fields:?}");
        };
        for hold in [CookiesHold::Content, CookiesHold::Identifier] {
            check(hold, &["a=; path=/; max-age=0", "b=; path=/; max-age=0", "c=3; path=/"], 2);
            check(hold, &["a=1; path=/; max-age=60"], 1);
        }
        check(CookiesHold::Content, &["a=2; path=/"], 1);
        check(CookiesHold::Identifier, &["a=2; path=/"], 0);
    }

    /// Frameworks set their cookie with every answer: as it is, or with an expiry that slides.
    #[test]
    fn edits_that_say_what_is_there_are_told_from_others() {
        let jar = jar(&["a=1; path=/", "b=2; path=/; max-age=1000", "c=3"]);
        let check = |fields: &[&str], secs: u64, expected: bool| {
            let now = UnixMillis(NOW.0 + secs * 1000);
            let read = |field: &&str| {
                let parsed = SetCookie::parse(field.as_bytes()).expect("a readable field");
                Edit::read(&parsed, "shop.example.com", b"/a/b", now).expect("accepted")
            };
            let edits: Vec<Edit> = fields.iter().map(read).collect();
            assert_eq!(jar.has_already(&edits, now), expected, "{fields:?} after {secs} s");
        };
        check(&[], 0, true);
        check(&["a=1; path=/", "c=3"], 0, true);
        check(&["a=1; path=/; secure; httponly; samesite=lax"], 0, true);
        check(&["a=2; path=/"], 0, false);
        check(&["a=1; path=/a"], 0, false);
        check(&["a=1; path=/; domain=shop.example.com"], 0, false);
        check(&["d=4; path=/"], 0, false);
        check(&["d=; path=/; max-age=0"], 0, true);
        check(&["a=; path=/; max-age=0"], 0, false);
        check(&["a=2; path=/", "a=1; path=/"], 0, true);
        check(&["a=1; path=/", "a=; path=/; max-age=0"], 0, false);
        // An expiry appears, goes, moves.
        check(&["a=1; path=/; max-age=1000"], 0, false);
        check(&["b=2; path=/"], 0, false);
        check(&["b=2; path=/; max-age=1000"], 0, true);
        check(&["b=2; path=/; max-age=1099"], 0, true);
        check(&["b=2; path=/; max-age=1100"], 0, false);
        check(&["b=2; path=/; max-age=901"], 0, true);
        check(&["b=2; path=/; max-age=900"], 0, false);
        // It slides: 1000 s of life, of which 90 and 91 have gone by.
        check(&["b=2; path=/; max-age=1000"], 90, true);
        check(&["b=2; path=/; max-age=1000"], 91, false);
        check(&["b=2; path=/; max-age=1000"], 1000, false);
    }

    #[test]
    fn the_longest_lived_of_the_named_cookies_says_how_long_a_browser_keeps_them() {
        let soon = NOW.plus(Duration::from_secs(1800));
        let check = |fields: &[&str], names: &[&str], expected: Option<u64>| {
            let names: Vec<Vec<u8>> = names.iter().map(|name| name.as_bytes().to_vec()).collect();
            let until = jar(fields).lasts_until(&names, soon, NOW);
            let expected = expected.map(|seconds| NOW.plus(Duration::from_secs(seconds)));
            assert_eq!(until, expected, "{fields:?} by {names:?}");
        };
        let (session, hour, day) = ("a=1", "b=1; Max-Age=3600", "c=1; Max-Age=86400");
        let (short, dead) = ("d=1; Max-Age=10", "e=1; Max-Age=0");
        check(&[], &[], None);
        check(&[session], &[], None);
        check(&[session, hour, day], &[], Some(86_400));
        check(&[session, hour, day], &["a", "b"], Some(3600));
        check(&[session, hour, day], &["a"], None);
        check(&[session, day], &["b"], None);
        check(&[dead, hour], &["e"], None);
        // A message that is shown once does not end the session.
        check(&[session, short], &[], None);
        check(&[session, short], &["d"], None);
        check(&[short, day], &["d"], None);
        check(&[short], &[], Some(10));
    }

    #[test]
    fn two_jars_become_one_within_limits() {
        let limits = JarLimits { cookies: 2, bytes: 100 };
        let own = jar(&["a=1; path=/"]);
        let other = jar(&["a=2; path=/", "b=2; path=/", "c=3; path=/"]);
        assert_eq!(sent(&own.and(&other, limits), "shop.example.com", "/", NOW), "a=1; b=2");
    }

    /// PROTOCOL 9: a jar has its limits; what does not fit leaves the rest alone.
    #[test]
    fn a_full_jar_takes_nothing_more() {
        let limits = JarLimits { cookies: 2, bytes: 100 };
        let mut jar = Jar::default();
        let put = |field: &str| edit(field, "h", "/").expect("an accepted field");
        assert_eq!(jar.apply(&[put("a=1"), put("b=2"), put("c=3")], limits, NOW), 1);
        assert_eq!(sent(&jar, "h", "/", NOW), "a=1; b=2");
        assert_eq!(jar.apply(&[put(&format!("a={}", "x".repeat(100)))], limits, NOW), 1);
        assert_eq!(jar.apply(&[put("b=new")], limits, NOW), 0, "replacing needs no new place");
        assert_eq!(sent(&jar, "h", "/", NOW), "a=1; b=new");
    }
}
