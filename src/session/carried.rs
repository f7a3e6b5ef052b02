//! What a request carries: its ticket, and the cookies that go on to a worker (PROTOCOL.md 5).
//!
//! Tickets of any policy never go on, nor do cookies under the application's session names: in a
//! vault these never come from outside. The same holds for whatever a lax parser might take for
//! one of the two: `\u{a0}sid` reaches an application that trims names as `sid`, and one that
//! adopts the identifiers it is given has then been handed the attacker's.
//! Every other cookie goes on byte for byte.

use crate::cookie::lookalike::{Likeness, likeness, passes_for};
use crate::cookie::request;
use crate::session::policy::Policy;

/// The ticket of a policy in a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Presented<'a> {
    None,
    One(&'a [u8]),
    /// Two tickets, or one twice: none of them counts.
    Duplicate,
}

/// A request's cookies, sorted.
#[derive(Debug, PartialEq, Eq)]
pub struct Carried<'a> {
    pub ticket: Presented<'a>,
    /// What goes on, each piece as it was sent.
    pub others: Vec<&'a [u8]>,
    /// Whether anything was kept back.
    pub kept_back: bool,
}

impl<'a> Carried<'a> {
    /// Sorts the `Cookie` fields of a request on a route of `policy`; `tickets` are the ticket
    /// names of all policies.
    pub fn sort(
        fields: impl Iterator<Item = &'a [u8]>,
        policy: Option<&Policy>,
        tickets: &[String],
    ) -> Self {
        let mut carried = Self { ticket: Presented::None, others: Vec::new(), kept_back: false };
        for pair in fields.flat_map(request::pairs) {
            let ticket = tickets
                .iter()
                .map(|name| (name, likeness(pair.name, pair.value, name.as_bytes())))
                .find(|(_, likeness)| *likeness != Likeness::Other);
            match ticket {
                Some((name, Likeness::Same))
                    if policy.is_some_and(|policy| policy.cookie.name == *name) =>
                {
                    carried.kept_back = true;
                    carried.ticket = match carried.ticket {
                        Presented::None => Presented::One(pair.value),
                        Presented::One(_) | Presented::Duplicate => Presented::Duplicate,
                    };
                }
                Some(_) => carried.kept_back = true,
                None if policy.is_some_and(|policy| is_session(policy, &pair)) => {
                    carried.kept_back = true;
                }
                None => carried.others.push(pair.raw),
            }
        }
        carried
    }
}

fn is_session(policy: &Policy, pair: &request::Pair<'_>) -> bool {
    policy.app_cookies.iter().any(|name| passes_for(pair.name, pair.value, name.as_bytes()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::session::tests::policy;

    fn check(fields: &[&str], ticket: Presented<'_>, others: &[&str]) {
        let tickets = ["__Host-shop".to_owned(), "__Host-admin".to_owned()];
        let fields = fields.iter().map(|field| field.as_bytes());
        let carried = Carried::sort(fields, Some(&policy()), &tickets);
        assert_eq!(carried.ticket, ticket);
        let expected: Vec<&[u8]> = others.iter().map(|other| other.as_bytes()).collect();
        assert_eq!(carried.others, expected);
    }

    #[test]
    fn cookies_are_sorted() {
        use Presented::{Duplicate, None, One};
        check(&[], None, &[]);
        check(&["a=1; b=\"2; c"], None, &["a=1", "b=\"2", "c"]);
        check(&["a=1; __Host-shop=T; b=2"], One(b"T"), &["a=1", "b=2"]);
        check(&["a=1", "__Host-shop=T", "b=2"], One(b"T"), &["a=1", "b=2"]);
        // PROTOCOL 5: duplicates are no session, in one field or in two, equal or not.
        check(&["__Host-shop=T; __Host-shop=T"], Duplicate, &[]);
        check(&["__Host-shop=T", "a=1; __Host-shop=U"], Duplicate, &["a=1"]);
        // The application's session cookies never come from outside.
        check(&["EGG_SESS=planted; EGG_SESS.sig=x; EGG_SESSION=a"], None, &["EGG_SESSION=a"]);
        // Tickets of other policies don't go on.
        check(&["__Host-admin=A; __Host-shop=T"], One(b"T"), &[]);
    }

    /// Look-alikes count for nothing and reach no worker.
    #[test]
    fn look_alikes_are_kept_back() {
        use Presented::{None, One};
        check(&["__host-shop=T"], None, &[]);
        check(&["__HOST-SHOP=T; __Host-shop=U"], One(b"U"), &[]);
        check(&["\u{2000}__Host-shop=T"], None, &[]);
        check(&["\u{a0}__Host-shop=T; __Host-shop=U"], One(b"U"), &[]);
        check(&["=__Host-shop=T"], None, &[]);
        check(&["egg_sess=planted; \u{a0}EGG_SESS=planted; a=1"], None, &["a=1"]);
        check(&["=EGG_SESS=planted; $Version=1,EGG_SESS=planted; EGG%5FSESS.sig=x"], None, &[]);
    }
}
