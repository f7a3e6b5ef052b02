//! How the cookies of an application look outside: under a prefix, with attributes that the
//! application did not give them (RFC 6265bis, sections 4.1.2 and 4.1.3).
//!
//! A cookie has two names then, the application's own *inside* and the prefixed one *outside*.
//! Which is which depends on the settings alone, never on what a request or an answer says: what a
//! browser may be made to send under another name counts for nothing.

use std::borrow::Cow;

use super::enforce::{Demand, SameSite, Wish};
use super::response::name_of;

pub use super::enforce::Prefix;

/// What is put on a cookie on its way out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Appearance {
    pub prefix: Prefix,
    /// For cookies of several hosts; never together with [`Prefix::Host`].
    pub domain: Option<String>,
    /// A stricter one of the application's own stays, unless this is `None`: that is never a default.
    pub same_site: SameSite,
    pub partitioned: bool,
    /// `Secure` is left out only for development over plain HTTP.
    pub secure: bool,
}

impl Appearance {
    /// The name outside. One that carries a prefix already keeps it and gets no other.
    pub fn outside<'a>(&self, inside: &'a [u8]) -> Cow<'a, [u8]> {
        if self.prefix == Prefix::Plain || Prefix::of(inside) != Prefix::Plain {
            Cow::Borrowed(inside)
        } else {
            Cow::Owned([self.prefix.as_str().as_bytes(), inside].concat())
        }
    }

    /// The names that a cookie may have inside, the likelier first: its own where it carries a
    /// prefix of the application's, or what is behind ours. The prefix is compared byte for byte,
    /// since browsers that overlook case are not all of them.
    pub fn inside<'a>(&self, outside: &'a [u8]) -> impl Iterator<Item = &'a [u8]> {
        let own = (Prefix::of(outside) != Prefix::Plain).then_some(outside);
        let behind = outside.strip_prefix(self.prefix.as_str().as_bytes());
        own.into_iter().chain(behind.filter(|name| Some(*name) != own))
    }

    /// Dresses a `Set-Cookie` field that has a name.
    pub fn dress<'a>(&self, field: &'a [u8]) -> Cow<'a, [u8]> {
        let demand = Demand {
            secure: Some(self.secure),
            http_only: Some(true),
            same_site: match self.same_site {
                SameSite::None => Wish::Exactly(SameSite::None),
                least => Wish::AtLeast(least),
            },
            partitioned: self.partitioned,
            domain: self.domain.as_deref(),
        };
        match self.renamed(field) {
            Cow::Borrowed(field) => demand.rewrite(field, self.secure),
            Cow::Owned(field) => Cow::Owned(demand.rewrite(&field, self.secure).into_owned()),
        }
    }

    fn renamed<'a>(&self, field: &'a [u8]) -> Cow<'a, [u8]> {
        match self.outside(name_of(field)) {
            Cow::Borrowed(_) => Cow::Borrowed(field),
            Cow::Owned(_) => {
                let indent = field.iter().take_while(|byte| matches!(byte, b' ' | b'\t')).count();
                let (indent, rest) = field.split_at(indent);
                Cow::Owned([indent, self.prefix.as_str().as_bytes(), rest].concat())
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn appearance(prefix: Prefix) -> Appearance {
        Appearance {
            prefix,
            domain: None,
            same_site: SameSite::Lax,
            partitioned: false,
            secure: true,
        }
    }

    #[track_caller]
    fn check(appearance: &Appearance, field: &str, expected: &str) {
        let dressed = appearance.dress(field.as_bytes());
        assert_eq!(String::from_utf8_lossy(&dressed), expected, "from {field:?}");
        let again = appearance.dress(&dressed);
        if appearance.prefix != Prefix::Plain {
            assert_eq!(again, dressed, "twice is once: {field:?}");
        }
    }

    /// RFC 6265bis, section 4.1.3.2: `Secure`, `Path=/`, no `Domain`.
    #[test]
    fn a_host_cookie_has_what_its_prefix_demands() {
        let check = |field, expected| check(&appearance(Prefix::Host), field, expected);
        check("EGG_SESS=a", "__Host-EGG_SESS=a; Path=/; Secure; HttpOnly; SameSite=Lax");
        check(
            "EGG_SESS=a; path=/; max-age=86400; expires=Mon, 23 Nov 2026 19:32:14 GMT; httponly",
            "__Host-EGG_SESS=a; path=/; max-age=86400; expires=Mon, 23 Nov 2026 19:32:14 GMT; \
             httponly; Secure; SameSite=Lax",
        );
        check(
            "sid=a; Domain=example.com; Path=/app; Priority=High",
            "__Host-sid=a; Path=/; Priority=High; Secure; HttpOnly; SameSite=Lax",
        );
        check("  sid=a", "  __Host-sid=a; Path=/; Secure; HttpOnly; SameSite=Lax");
        // A deletion deletes the prefixed one.
        check(
            "EGG_SESS=; path=/; expires=Thu, 01 Jan 1970 00:00:00 GMT",
            "__Host-EGG_SESS=; path=/; expires=Thu, 01 Jan 1970 00:00:00 GMT; Secure; HttpOnly; \
             SameSite=Lax",
        );
        check("__Host-own=a; Path=/", "__Host-own=a; Path=/; Secure; HttpOnly; SameSite=Lax");
        check("__secure-own=a", "__secure-own=a; Secure; HttpOnly; SameSite=Lax");
    }

    #[test]
    fn a_secure_cookie_keeps_path_and_domain() {
        let mut appearance = appearance(Prefix::Secure);
        check(
            &appearance,
            "sid=a; Domain=example.com; Path=/app",
            "__Secure-sid=a; Domain=example.com; Path=/app; Secure; HttpOnly; SameSite=Lax",
        );
        appearance.domain = Some("example.com".to_owned());
        check(
            &appearance,
            "sid=a; Path=/app",
            "__Secure-sid=a; Path=/app; Domain=example.com; Secure; HttpOnly; SameSite=Lax",
        );
        check(
            &appearance,
            "sid=a; domain=a.example.com; Path=/; Domain=b.example.com",
            "__Secure-sid=a; Domain=example.com; Path=/; Secure; HttpOnly; SameSite=Lax",
        );
    }

    #[test]
    fn same_site_is_loosened_only_by_none() {
        let mut appearance = appearance(Prefix::Plain);
        check(&appearance, "a=b; SameSite=Strict", "a=b; SameSite=Strict; Secure; HttpOnly");
        check(&appearance, "a=b; SameSite=None", "a=b; SameSite=Lax; Secure; HttpOnly");
        appearance.same_site = SameSite::None;
        check(&appearance, "a=b; SameSite=Strict", "a=b; SameSite=None; Secure; HttpOnly");
        check(&appearance, "a=b", "a=b; Secure; HttpOnly; SameSite=None");
        appearance.partitioned = true;
        check(&appearance, "a=b", "a=b; Secure; HttpOnly; SameSite=None; Partitioned");
        check(&appearance, "a=b; partitioned", "a=b; partitioned; Secure; HttpOnly; SameSite=None");
    }

    /// Over plain HTTP a browser refuses prefix, `Secure` and whatever demands it.
    #[test]
    fn without_secure_there_is_no_prefix() {
        let appearance = Appearance { secure: false, ..appearance(Prefix::Plain) };
        check(&appearance, "a=b", "a=b; HttpOnly; SameSite=Lax");
        check(&appearance, "a=b; Secure", "a=b; HttpOnly; SameSite=Lax");
        let appearance = Appearance { same_site: SameSite::None, partitioned: true, ..appearance };
        check(&appearance, "a=b", "a=b; HttpOnly");
    }

    #[test]
    fn names_lead_back() {
        let check = |prefix, outside: &str, expected: &[&str]| {
            let appearance = appearance(prefix);
            let found: Vec<_> = appearance.inside(outside.as_bytes()).collect();
            let expected: Vec<_> = expected.iter().map(|name| name.as_bytes()).collect();
            assert_eq!(found, expected, "{outside}");
        };
        check(Prefix::Host, "__Host-sid", &["__Host-sid", "sid"]);
        check(Prefix::Host, "__host-sid", &["__host-sid"]);
        check(Prefix::Host, "sid", &[]);
        check(Prefix::Host, "__Secure-sid", &["__Secure-sid"]);
        check(Prefix::Secure, "__Secure-sid", &["__Secure-sid", "sid"]);
        check(Prefix::Plain, "sid", &["sid"]);
        check(Prefix::Plain, "__Host-sid", &["__Host-sid"]);
        for name in ["sid", "__Host-sid", "__Secure-sid"] {
            for prefix in [Prefix::Host, Prefix::Secure, Prefix::Plain] {
                let appearance = appearance(prefix);
                let outside = appearance.outside(name.as_bytes());
                let back: Vec<_> = appearance.inside(&outside).collect();
                assert!(back.contains(&name.as_bytes()), "{name} under {prefix:?}");
            }
        }
    }
}
