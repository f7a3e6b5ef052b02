//! A browser's cookie store, by draft-ietf-httpbis-rfc6265bis sections 5.6 to 5.8: the rules that
//! decide whether a cookie is kept, sent, replaced or refused.
//!
//! Left out: the public suffix list (a single label counts as one), `Partitioned`, and the two
//! minutes in which Chromium sends a cookie without SameSite along with a cross-site POST.

use std::time::SystemTime;

use super::http::show;
use super::set_cookie::{Attributes, SameSite, split_at_equals};

const COOKIE_BYTES_MAX: usize = 4096;

/// A cookie that was kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cookie {
    pub name: Vec<u8>,
    pub value: Vec<u8>,
    pub domain: String,
    pub host_only: bool,
    pub path: String,
    pub secure: bool,
    pub http_only: bool,
    pub same_site: SameSite,
    /// `None`: until the browser is closed.
    pub expires: Option<SystemTime>,
    /// The Set-Cookie line that it came in.
    pub raw: Vec<u8>,
    created: u64,
}

impl Cookie {
    pub fn value_text(&self) -> String {
        String::from_utf8_lossy(&self.value).into_owned()
    }
}

/// Why a cookie was not kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refused {
    ControlCharacter,
    Empty,
    TooLarge,
    ForeignDomain,
    PublicSuffix,
    /// `Secure` from a page that isn't.
    SecureFromPlain,
    /// A `Secure` cookie of that name is there, and this page isn't secure.
    CoversSecure,
    /// `SameSite=None` without `Secure`.
    NoneWithoutSecure,
    /// Less than `__Host-` or `__Secure-` demands.
    Prefix,
    /// A script may not make or replace `HttpOnly` cookies.
    HttpOnlyFromScript,
    /// A cross-site subresource may only set `SameSite=None`.
    CrossSite,
}

/// Who stands behind a request or sets a cookie.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Context {
    SameSite,
    /// A link (safe) or a form (unsafe) on another site that replaces the page.
    CrossSiteNavigation {
        safe: bool,
    },
    /// An image, a frame or `fetch` on another site.
    CrossSiteSubresource,
}

/// Where a cookie comes from, or a request goes to.
#[derive(Clone, Copy, Debug)]
pub struct Place<'a> {
    pub host: &'a str,
    /// Without the query.
    pub path: &'a str,
    pub secure: bool,
}

/// Whether a header or a script sets a cookie.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Setter {
    Header,
    Script,
}

#[derive(Clone, Debug, Default)]
pub struct Jar {
    cookies: Vec<Cookie>,
    created: u64,
    /// The lines that were refused, and why.
    pub refused: Vec<(String, Refused)>,
}

impl Jar {
    /// Takes a Set-Cookie line in, or refuses it.
    pub fn receive(
        &mut self,
        raw: &[u8],
        place: Place<'_>,
        setter: Setter,
        context: Context,
        now: SystemTime,
    ) -> Result<(), Refused> {
        let outcome = self.judge(raw, place, setter, context, now);
        if let Err(reason) = outcome {
            self.refused.push((show(raw), reason));
        }
        outcome
    }

    /// The value of the Cookie field for a request; nothing where there is none.
    pub fn header(&self, place: Place<'_>, context: Context, now: SystemTime) -> Option<Vec<u8>> {
        let mut fitting: Vec<&Cookie> = self
            .cookies
            .iter()
            .filter(|cookie| cookie.expires.is_none_or(|at| at > now))
            .filter(|cookie| match cookie.host_only {
                true => cookie.domain == place.host,
                false => domain_matches(place.host, &cookie.domain),
            })
            .filter(|cookie| path_matches(place.path, &cookie.path))
            .filter(|cookie| !cookie.secure || place.secure)
            .filter(|cookie| goes_along(cookie.same_site, context))
            .collect();
        fitting.sort_by_key(|cookie| (std::cmp::Reverse(cookie.path.len()), cookie.created));
        let pairs: Vec<Vec<u8>> = fitting.into_iter().map(pair).collect();
        (!pairs.is_empty()).then(|| pairs.join(&b"; "[..]))
    }

    /// All cookies that have not expired.
    pub fn cookies(&self, now: SystemTime) -> Vec<&Cookie> {
        let alive = |cookie: &&Cookie| cookie.expires.is_none_or(|at| at > now);
        self.cookies.iter().filter(alive).collect()
    }

    fn judge(
        &mut self,
        raw: &[u8],
        place: Place<'_>,
        setter: Setter,
        context: Context,
        now: SystemTime,
    ) -> Result<(), Refused> {
        if raw.iter().any(|byte| byte.is_ascii_control() && *byte != b'\t') {
            return Err(Refused::ControlCharacter);
        }
        let mut parts = raw.split(|byte| *byte == b';');
        let (name, value) = match split_at_equals(parts.next().unwrap_or_default()) {
            (name, Some(value)) => (name, value),
            (value, None) => (&b""[..], value),
        };
        if name.len() + value.len() > COOKIE_BYTES_MAX {
            return Err(Refused::TooLarge);
        }
        if name.is_empty() && value.is_empty() {
            return Err(Refused::Empty);
        }
        let given = Attributes::parse(parts, now);
        let (domain, host_only) = scope(given.domain.as_deref(), place.host)?;
        let path = given.path.clone().unwrap_or_else(|| default_path(place.path).to_owned());
        if given.secure && !place.secure {
            return Err(Refused::SecureFromPlain);
        }
        if given.http_only && setter == Setter::Script {
            return Err(Refused::HttpOnlyFromScript);
        }
        let covers = |old: &Cookie| {
            old.secure
                && old.name == name
                && (domain_matches(&old.domain, &domain) || domain_matches(&domain, &old.domain))
                && path_matches(&path, &old.path)
        };
        if !given.secure && !place.secure && self.cookies.iter().any(covers) {
            return Err(Refused::CoversSecure);
        }
        if given.same_site != SameSite::None && context == Context::CrossSiteSubresource {
            return Err(Refused::CrossSite);
        }
        if given.same_site == SameSite::None && !given.secure {
            return Err(Refused::NoneWithoutSecure);
        }
        // A cookie without a name is sent as its value alone: it must not pass for a prefixed one.
        let shown = if name.is_empty() { value } else { name };
        let host_prefix = starts_with(shown, b"__host-");
        let secure_prefix = starts_with(shown, b"__secure-");
        let host_kept = given.secure && host_only && given.path.as_deref() == Some("/");
        if (host_prefix || secure_prefix) && name.is_empty()
            || host_prefix && !host_kept
            || secure_prefix && !given.secure
        {
            return Err(Refused::Prefix);
        }

        let old = self.cookies.iter().position(|old| {
            old.name == name
                && old.domain == domain
                && old.host_only == host_only
                && old.path == path
        });
        let mut created = self.created;
        if let Some(at) = old {
            if self.cookies[at].http_only && setter == Setter::Script {
                return Err(Refused::HttpOnlyFromScript);
            }
            created = self.cookies.remove(at).created;
        } else {
            self.created += 1;
        }
        if given.expires.is_some_and(|at| at <= now) {
            return Ok(()); // that is how cookies are deleted
        }
        self.cookies.push(Cookie {
            name: name.to_vec(),
            value: value.to_vec(),
            domain,
            host_only,
            path,
            secure: given.secure,
            http_only: given.http_only,
            same_site: given.same_site,
            expires: given.expires,
            raw: raw.to_vec(),
            created,
        });
        Ok(())
    }
}

fn scope(attribute: Option<&str>, host: &str) -> Result<(String, bool), Refused> {
    match attribute {
        None | Some("") => Ok((host.to_owned(), true)),
        Some(domain) if !domain.contains('.') && domain == host => Ok((host.to_owned(), true)),
        Some(domain) if !domain.contains('.') => Err(Refused::PublicSuffix),
        Some(domain) if domain_matches(host, domain) => Ok((domain.to_owned(), false)),
        Some(_) => Err(Refused::ForeignDomain),
    }
}

fn domain_matches(host: &str, domain: &str) -> bool {
    let is_address = host.parse::<std::net::IpAddr>().is_ok();
    host == domain
        || !is_address && host.strip_suffix(domain).is_some_and(|rest| rest.ends_with('.'))
}

fn path_matches(path: &str, of_cookie: &str) -> bool {
    path == of_cookie
        || path
            .strip_prefix(of_cookie)
            .is_some_and(|rest| of_cookie.ends_with('/') || rest.starts_with('/'))
}

fn default_path(path: &str) -> &str {
    match path.rfind('/') {
        Some(at) if at > 0 && path.starts_with('/') => &path[..at],
        _ => "/",
    }
}

fn goes_along(same_site: SameSite, context: Context) -> bool {
    match (context, same_site) {
        (Context::SameSite, _) | (_, SameSite::None) => true,
        (Context::CrossSiteNavigation { safe }, SameSite::Lax | SameSite::Default) => safe,
        (Context::CrossSiteNavigation { .. }, SameSite::Strict) => false,
        (Context::CrossSiteSubresource, _) => false,
    }
}

fn pair(cookie: &Cookie) -> Vec<u8> {
    if cookie.name.is_empty() {
        return cookie.value.clone();
    }
    [cookie.name.as_slice(), b"=", cookie.value.as_slice()].concat()
}

fn starts_with(text: &[u8], prefix: &[u8]) -> bool {
    text.get(..prefix.len()).is_some_and(|start| start.eq_ignore_ascii_case(prefix))
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: SystemTime = SystemTime::UNIX_EPOCH;
    const SHOP: Place<'_> = Place { host: "shop.example.com", path: "/account/x", secure: true };
    const PLAIN: Place<'_> = Place { secure: false, ..SHOP };

    /// The Cookie field that the lines lead to at `SHOP`, or why the last one was refused.
    fn check(lines: &[(&str, Place<'_>, Setter)], expected: Result<Option<&str>, Refused>) {
        let mut jar = Jar::default();
        let mut last = Ok(());
        for (line, place, setter) in lines {
            last = jar.receive(line.as_bytes(), *place, *setter, Context::SameSite, NOW);
        }
        let header = jar.header(SHOP, Context::SameSite, NOW);
        let outcome = last.map(|()| header.map(|text| String::from_utf8(text).expect("ASCII")));
        assert_eq!(
            outcome.as_ref().map(|text| text.as_deref()),
            expected.as_ref().map(|t| *t),
            "{lines:?}"
        );
    }

    fn check_one(line: &str, expected: Result<Option<&str>, Refused>) {
        check(&[(line, SHOP, Setter::Header)], expected);
    }

    #[test]
    fn lines_are_kept_or_refused_as_browsers_do() {
        check_one("a=1", Ok(Some("a=1")));
        check_one(" a = 1 ; Path=/", Ok(Some("a=1")));
        check_one("a=\"x y\"; Path=/", Ok(Some("a=\"x y\"")));
        check_one("flag", Ok(Some("flag")));
        check_one("=v", Ok(Some("v")));
        check_one("=", Err(Refused::Empty));
        check_one("a=1\u{1}", Err(Refused::ControlCharacter));
        check_one(&format!("a={}", "x".repeat(4096)), Err(Refused::TooLarge));
        check_one("a=1; Path=/other", Ok(None));
        check_one("a=1; Path=/acc", Ok(None));
        check_one("a=1; Domain=example.com; Path=/", Ok(Some("a=1")));
        check_one("a=1; Domain=.EXAMPLE.com", Ok(Some("a=1")));
        check_one("a=1; Domain=ample.com", Err(Refused::ForeignDomain));
        check_one("a=1; Domain=com", Err(Refused::PublicSuffix));
        check_one("a=1; SameSite=None", Err(Refused::NoneWithoutSecure));
        check_one("a=1; samesite=none; SECURE", Ok(Some("a=1")));
        check_one("a=1; Max-Age=0", Ok(None));
        check_one("a=1; Max-Age=-5", Ok(None));
        check_one("a=1; Max-Age=x; Expires=Thu, 01 Jan 1970 00:00:00 GMT", Ok(None));
        check_one("a=1; Max-Age=5; Expires=Thu, 01 Jan 1970 00:00:00 GMT", Ok(Some("a=1")));
    }

    #[test]
    fn prefixes_are_enforced_whatever_their_case() {
        check_one("__Host-a=1; Secure; Path=/", Ok(Some("__Host-a=1")));
        check_one("__Host-a=1; Secure", Err(Refused::Prefix));
        check_one("__Host-a=1; Path=/", Err(Refused::Prefix));
        check_one("__host-a=1; Secure; Path=/; Domain=example.com", Err(Refused::Prefix));
        check_one("__HOST-a=1; Secure; Path=/x", Err(Refused::Prefix));
        check_one("__Secure-a=1; Path=/", Err(Refused::Prefix));
        check_one("__Secure-a=1; Secure; Path=/", Ok(Some("__Secure-a=1")));
        check_one("=__Host-a=1; Secure; Path=/", Err(Refused::Prefix));
    }

    #[test]
    fn a_plain_page_cannot_touch_secure_cookies() {
        check(&[("a=1; Secure", PLAIN, Setter::Header)], Err(Refused::SecureFromPlain));
        let both = [
            ("a=1; Secure; Path=/", SHOP, Setter::Header),
            ("a=evil; Path=/account", PLAIN, Setter::Header),
        ];
        check(&both, Err(Refused::CoversSecure));
    }

    #[test]
    fn a_script_cannot_touch_http_only_cookies() {
        check(&[("a=1; HttpOnly", SHOP, Setter::Script)], Err(Refused::HttpOnlyFromScript));
        let both = [("a=1; HttpOnly", SHOP, Setter::Header), ("a=2", SHOP, Setter::Script)];
        check(&both, Err(Refused::HttpOnlyFromScript));
    }

    #[test]
    fn longer_paths_come_first_and_replacing_keeps_the_place() {
        let lines = [
            ("a=1; Path=/", SHOP, Setter::Header),
            ("b=2; Path=/", SHOP, Setter::Header),
            ("c=3; Path=/account", SHOP, Setter::Header),
            ("a=4; Path=/", SHOP, Setter::Header),
        ];
        check(&lines, Ok(Some("c=3; a=4; b=2")));
    }

    #[test]
    fn same_site_decides_what_goes_along_across_sites() {
        let mut jar = Jar::default();
        for line in
            ["n=1; SameSite=None; Secure", "l=1; SameSite=Lax", "s=1; SameSite=Strict", "d=1"]
        {
            jar.receive(line.as_bytes(), SHOP, Setter::Header, Context::SameSite, NOW)
                .expect("all of them are good");
        }
        let sent = |context| {
            let header = jar.header(SHOP, context, NOW).expect("at least one");
            String::from_utf8(header).expect("ASCII")
        };
        assert_eq!(sent(Context::SameSite), "n=1; l=1; s=1; d=1");
        assert_eq!(sent(Context::CrossSiteNavigation { safe: true }), "n=1; l=1; d=1");
        assert_eq!(sent(Context::CrossSiteNavigation { safe: false }), "n=1");
        assert_eq!(sent(Context::CrossSiteSubresource), "n=1");
        let subresource = Context::CrossSiteSubresource;
        let refused = jar.receive(b"x=1", SHOP, Setter::Header, subresource, NOW);
        assert_eq!(refused, Err(Refused::CrossSite), "a frame elsewhere may not set it");
    }
}
