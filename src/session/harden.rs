//! Mode `harden`: session cookies of the application leave under a prefix and with the policy's
//! attributes. Nothing is kept and nothing is sealed.

use std::borrow::Cow;
use std::fmt;

use crate::cookie::appearance::{Appearance, Prefix};
use crate::cookie::finding::{Finding, findings};
use crate::cookie::response::{SetCookie, name_of};

/// What becomes of a `Set-Cookie` field.
#[derive(PartialEq, Eq)]
pub struct Hardened<'a> {
    /// As it leaves.
    pub field: Cow<'a, [u8]>,
    /// What a browser does not like about it, and what an operator should know.
    pub findings: Vec<Finding>,
    /// Name and attributes that it would have had, where it leaves as it was.
    pub instead: Option<String>,
}

impl fmt::Debug for Hardened<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Hardened")
            .field("name", &format_args!("{}", name_of(&self.field).escape_ascii()))
            .field("findings", &self.findings)
            .finish_non_exhaustive()
    }
}

/// Decides what leaves in place of one of the policy's cookies, in an answer of `host` (lower-case,
/// no port).
pub fn harden<'a>(
    appearance: &Appearance,
    report_only: bool,
    field: &'a [u8],
    host: &str,
) -> Hardened<'a> {
    let dressed = appearance.dress(field);
    let loses_domain = appearance.prefix == Prefix::Host
        && SetCookie::parse_up_to(field, usize::MAX)
            .is_some_and(|cookie| cookie.domain().is_some());
    let domain = loses_domain.then_some(Finding::DomainDropped);
    if report_only {
        let changed = *dressed != *field;
        let change = changed.then_some(Finding::WouldChange);
        let findings = findings(field, host).into_iter().chain(domain).chain(change).collect();
        let instead = changed.then(|| without_value(&dressed));
        return Hardened { field: Cow::Borrowed(field), findings, instead };
    }
    let findings = findings(&dressed, host).into_iter().chain(domain).collect();
    Hardened { field: dressed, findings, instead: None }
}

/// A field as it may be logged.
fn without_value(field: &[u8]) -> String {
    let attributes = field.iter().position(|byte| *byte == b';').map_or(&[][..], |at| &field[at..]);
    String::from_utf8_lossy(&[name_of(field), attributes].concat()).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cookie::enforce::SameSite;

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
    fn check(prefix: Prefix, field: &str, expected: &str, findings: &[Finding]) {
        let hardened = harden(&appearance(prefix), false, field.as_bytes(), "shop.example.com");
        assert_eq!(String::from_utf8_lossy(&hardened.field), expected);
        assert_eq!((&hardened.findings[..], hardened.instead), (findings, None));
    }

    #[test]
    fn what_can_be_mended_is_and_the_rest_is_told() {
        use Finding::*;
        let big = "x".repeat(4096);
        let wide = "x".repeat(1025);
        check(
            Prefix::Host,
            "EGG_SESS=a; SameSite=None",
            "__Host-EGG_SESS=a; SameSite=Lax; Path=/; Secure; HttpOnly",
            &[],
        );
        check(
            Prefix::Host,
            "a=b; Domain=example.org",
            "__Host-a=b; Path=/; Secure; HttpOnly; SameSite=Lax",
            &[DomainDropped],
        );
        check(
            Prefix::Secure,
            "a=b; Domain=example.org",
            "__Secure-a=b; Domain=example.org; Secure; HttpOnly; SameSite=Lax",
            &[ForeignDomain],
        );
        check(
            Prefix::Host,
            &format!("a={big}; Path=/"),
            &format!("__Host-a={big}; Path=/; Secure; HttpOnly; SameSite=Lax"),
            &[Oversized],
        );
        check(
            Prefix::Plain,
            &format!("a=b; Path=/; Note={wide}"),
            &format!("a=b; Path=/; Note={wide}; Secure; HttpOnly; SameSite=Lax"),
            &[LongAttribute],
        );
    }

    #[test]
    fn a_report_changes_no_byte_and_shows_no_value() {
        use Finding::*;
        #[track_caller]
        fn check(field: &str, findings: &[Finding], instead: Option<&str>) {
            let appearance = appearance(Prefix::Host);
            let hardened = harden(&appearance, true, field.as_bytes(), "shop.example.com");
            assert_eq!(hardened.field, Cow::Borrowed(field.as_bytes()));
            assert_eq!(hardened.findings, findings);
            assert_eq!(hardened.instead.as_deref(), instead);
        }
        check(
            "EGG_SESS=secret; path=/; httponly",
            &[WouldChange],
            Some("__Host-EGG_SESS; path=/; httponly; Secure; SameSite=Lax"),
        );
        check(
            "EGG_SESS=secret; SameSite=None",
            &[NoneWithoutSecure, WouldChange],
            Some("__Host-EGG_SESS; SameSite=Lax; Path=/; Secure; HttpOnly"),
        );
        check(
            "a=secret; Domain=example.com; Path=/; Secure; HttpOnly; SameSite=Lax",
            &[DomainDropped, WouldChange],
            Some("__Host-a; Path=/; Secure; HttpOnly; SameSite=Lax"),
        );
        check("__Host-a=secret; Path=/; Secure; HttpOnly; SameSite=Strict", &[], None);
        check(
            "__Host-a=secret; Path=/x; Secure; HttpOnly; SameSite=Strict",
            &[HostPrefix, WouldChange],
            Some("__Host-a; Path=/; Secure; HttpOnly; SameSite=Strict"),
        );
    }
}
