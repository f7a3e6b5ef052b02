//! What can go wrong with an authority, and what an operator does about it.

use std::fmt;
use std::time::Duration;

/// How a failure is to be taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// The authority could not be asked, or could not answer: the same again, later.
    Unreachable,
    /// It has had enough of us for now.
    Limited,
    /// It has said no: the same would be refused again, unless somebody acts.
    Refused,
    /// It does not know our account.
    NoAccount,
}

/// A failure.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Trouble {
    pub kind: Kind,
    pub text: String,
    pub remedy: &'static str,
    /// What the authority said of when to come again.
    pub retry_after: Option<Duration>,
}

/// Of what an authority says, so much is repeated.
const TEXT_CHARS_MAX: usize = 600;

impl Trouble {
    /// The authority could not be asked.
    pub fn unreachable(text: impl fmt::Display) -> Self {
        let remedy = "look whether its directory can be reached from here, and whether `ca` names who \
                      vouches for it; it is asked again by itself";
        Self::new(Kind::Unreachable, text, remedy)
    }

    /// It makes no sense to ask for the same again.
    pub fn refused(text: impl fmt::Display, remedy: &'static str) -> Self {
        Self::new(Kind::Refused, text, remedy)
    }

    /// What an authority answered: the type of a problem document (RFC 8555 section 6.7), what it says, and
    /// the status.
    pub fn said(kind: &str, text: impl fmt::Display, status: Option<u16>) -> Self {
        let kind = kind.strip_prefix("urn:ietf:params:acme:error:").unwrap_or(kind);
        let (kind, remedy) = match kind {
            "rateLimited" => (
                Kind::Limited,
                "wait: it is asked again when its limit allows; fewer names or another \
                                 `directory` need less",
            ),
            "accountDoesNotExist" => (Kind::NoAccount, "nothing: another account is made"),
            "externalAccountRequired" => (
                Kind::Refused,
                "it issues to its customers alone: write what it gave you into `eab`",
            ),
            "userActionRequired" => {
                (Kind::Refused, "its terms have changed: visit the page that it names")
            }
            "caa" => {
                (Kind::Refused, "a CAA record of the domain names other authorities: add this one")
            }
            "dns" => (Kind::Refused, "give the domain an A or AAAA record that leads here"),
            "connection" => (
                Kind::Refused,
                "let the authority reach this machine at port 80 (http-01) or 443 \
                                 (tls-alpn-01) of the domain's addresses",
            ),
            "incorrectResponse" | "unauthorized" | "tls" => (
                Kind::Refused,
                "all addresses of the domain must lead to nodes of this fleet, which \
                                 share one store",
            ),
            "rejectedIdentifier" | "unsupportedIdentifier" => {
                (Kind::Refused, "it does not issue for this name: leave it out of `domains`")
            }
            "invalidContact" | "unsupportedContact" => {
                (Kind::Refused, "write an address that it accepts into `contact`")
            }
            "badNonce" | "serverInternal" => {
                (Kind::Unreachable, "nothing: it is asked again by itself")
            }
            _ if status.is_some_and(|status| status == 429) => {
                (Kind::Limited, "wait: it is asked again when its limit allows")
            }
            _ if status.is_some_and(|status| status >= 500) => {
                (Kind::Unreachable, "nothing: it is asked again by itself")
            }
            _ => (Kind::Refused, "see what the authority says"),
        };
        Self::new(kind, text, remedy)
    }

    /// With what the authority said of when to come again.
    #[must_use]
    pub fn after(self, retry_after: Option<Duration>) -> Self {
        Self { retry_after, ..self }
    }

    fn new(kind: Kind, text: impl fmt::Display, remedy: &'static str) -> Self {
        let legible = |c: &char| !c.is_control();
        let text = text.to_string().chars().filter(legible).take(TEXT_CHARS_MAX).collect();
        Self { kind, text, remedy, retry_after: None }
    }
}

impl fmt::Display for Trouble {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn problems_of_authorities_are_told_apart() {
        for (kind, status, expected) in [
            ("urn:ietf:params:acme:error:rateLimited", Some(429), Kind::Limited),
            ("urn:ietf:params:acme:error:badNonce", Some(400), Kind::Unreachable),
            ("urn:ietf:params:acme:error:serverInternal", Some(500), Kind::Unreachable),
            ("urn:ietf:params:acme:error:accountDoesNotExist", Some(400), Kind::NoAccount),
            ("urn:ietf:params:acme:error:caa", Some(403), Kind::Refused),
            ("urn:ietf:params:acme:error:externalAccountRequired", Some(403), Kind::Refused),
            ("about:blank", Some(503), Kind::Unreachable),
            ("about:blank", Some(429), Kind::Limited),
            ("urn:ietf:params:acme:error:malformed", Some(400), Kind::Refused),
            ("", None, Kind::Refused),
        ] {
            assert_eq!(Trouble::said(kind, "why", status).kind, expected, "{kind} {status:?}");
        }
    }

    #[test]
    fn what_an_authority_says_is_cut_and_has_no_control_characters() {
        let text = format!("no\n\u{1b}[31m{}", "x".repeat(9999));
        let trouble = Trouble::said("", text, None);
        assert_eq!(trouble.text.chars().count(), TEXT_CHARS_MAX);
        assert!(trouble.text.starts_with("no[31mx"), "{trouble}");
    }
}
