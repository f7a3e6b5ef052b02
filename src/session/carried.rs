//! What a request carries: its ticket, and the cookies that go on to a worker (PROTOCOL.md 5).
//!
//! Tickets of any policy never go on, nor do cookies under the application's session names: in a
//! vault these never come from outside. The same holds for whatever a lax parser might take for
//! one of the two: `\u{a0}sid` reaches an application that trims names as `sid`, and one that
//! adopts the identifiers it is given has then been handed the attacker's.
//! Every other cookie goes on byte for byte.
//!
//! Where a policy lets the application's cookies out under a prefix, they come back under it, and
//! under no other name: what comes under the application's own name was planted.

use std::collections::HashMap;
use std::fmt;

use crate::cookie::appearance::Appearance;
use crate::cookie::lookalike::{Likeness, likeness, passes_for};
use crate::cookie::request;
use crate::session::policy::{Mode, Policy};
use crate::session::seal::pieces;

/// The ticket of a policy in a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CarriedTicket<'a> {
    None,
    One(&'a [u8]),
    /// Two tickets, or one twice: none of them counts.
    Duplicate,
}

/// A session cookie of the application that came back as it was sent out.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Own<'a> {
    /// The application's own name for it.
    pub name: &'a [u8],
    /// Which piece of it; 0 where it is not sealed.
    pub piece: usize,
    pub value: &'a [u8],
}

impl fmt::Debug for Own<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Own({}=[redacted])", self.name.escape_ascii())
    }
}

/// A request's cookies, sorted.
#[derive(Debug, PartialEq, Eq)]
pub struct Carried<'a> {
    pub ticket: CarriedTicket<'a>,
    /// Session cookies of a policy that lets them out; none in a vault.
    pub own: Vec<Own<'a>>,
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
        let mut carried = Self {
            ticket: CarriedTicket::None,
            own: Vec::new(),
            others: Vec::new(),
            kept_back: false,
        };
        for pair in fields.flat_map(request::pairs) {
            let ticket = tickets
                .iter()
                .map(|name| (name, likeness(&pair, name.as_bytes())))
                .find(|(_, likeness)| *likeness != Likeness::Other);
            match ticket {
                Some((name, Likeness::Same))
                    if policy.is_some_and(|policy| policy.cookie.name == *name) =>
                {
                    carried.kept_back = true;
                    carried.ticket = match carried.ticket {
                        CarriedTicket::None => CarriedTicket::One(pair.value),
                        CarriedTicket::One(_) | CarriedTicket::Duplicate => {
                            CarriedTicket::Duplicate
                        }
                    };
                }
                Some(_) => carried.kept_back = true,
                None => match policy.map_or(Kin::Other, |policy| Kin::of(policy, &pair)) {
                    Kin::Other => carried.others.push(pair.raw),
                    Kin::Own(own) => carried.own.push(own),
                    Kin::Planted => carried.kept_back = true,
                },
            }
        }
        carried
    }

    /// The pairs under the application's own names, of those that came once, and the names of those
    /// that came twice: which of them was planted cannot be told.
    pub fn unveiled(&self) -> (Vec<Vec<u8>>, Vec<&'a [u8]>) {
        let mut times: HashMap<&[u8], usize> = HashMap::new();
        for own in &self.own {
            *times.entry(own.name).or_default() += 1;
        }
        let once = self.own.iter().filter(|own| times[own.name] == 1);
        let pairs = once.map(|own| [own.name, b"=", own.value].concat()).collect();
        let twice = times.iter().filter(|(_, times)| **times > 1).map(|(name, _)| *name).collect();
        (pairs, twice)
    }
}

/// What a cookie that is no ticket is to a policy.
enum Kin<'a> {
    Other,
    Own(Own<'a>),
    /// It pretends to be a session cookie.
    Planted,
}

impl<'a> Kin<'a> {
    fn of(policy: &Policy, pair: &request::Pair<'a>) -> Self {
        let own = match &policy.mode {
            Mode::Harden { report_only: true, .. } => return Self::Other,
            Mode::Vault => None,
            Mode::Seal(appearance) | Mode::Harden { appearance, .. } => {
                own(policy, appearance, pair)
            }
        };
        match own {
            Some(own) => Self::Own(own),
            None if is_session(policy, pair) => Self::Planted,
            None => Self::Other,
        }
    }
}

fn own<'a>(policy: &Policy, appearance: &Appearance, pair: &request::Pair<'a>) -> Option<Own<'a>> {
    let is_sealed = matches!(policy.mode, Mode::Seal(_));
    let mut names = appearance
        .inside(pair.name)
        .map(|name| if is_sealed { pieces::of(name) } else { (name, 0) });
    let (name, piece) = names.find(|(name, _)| policy.owns(name))?;
    Some(Own { name, piece, value: pair.value })
}

fn is_session(policy: &Policy, pair: &request::Pair<'_>) -> bool {
    policy.app_cookies.iter().any(|name| passes_for(pair, name.as_bytes()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cookie::appearance::Prefix;
    use crate::cookie::enforce::SameSite;
    use crate::session::tests::policy;

    fn harden(prefix: Prefix, report_only: bool) -> Policy {
        let appearance = Appearance {
            prefix,
            domain: None,
            same_site: SameSite::Lax,
            partitioned: false,
            secure: true,
        };
        let app_cookies = ["EGG_SESS", "wp_*", "__Host-native"].map(str::to_owned).to_vec();
        Policy { mode: Mode::Harden { appearance, report_only }, app_cookies, ..policy() }
    }

    #[track_caller]
    fn check_harden(policy: &Policy, field: &str, own: &[&str], others: &[&str]) {
        let tickets = ["__Host-admin".to_owned()];
        let carried = Carried::sort([field.as_bytes()].into_iter(), Some(policy), &tickets);
        let (pairs, _) = carried.unveiled();
        let found: Vec<_> = pairs.iter().map(|pair| String::from_utf8_lossy(pair)).collect();
        assert_eq!(found, own, "{field}");
        let found: Vec<_> = carried.others.iter().map(|raw| String::from_utf8_lossy(raw)).collect();
        assert_eq!(found, others, "{field}");
        assert_eq!(carried.ticket, CarriedTicket::None);
    }

    #[test]
    fn hardened_cookies_come_back_under_their_prefix_alone() {
        let check = |field, own: &[&str], others: &[&str]| {
            check_harden(&harden(Prefix::Host, false), field, own, others);
        };
        check("a=1; __Host-EGG_SESS=s; b=2", &["EGG_SESS=s"], &["a=1", "b=2"]);
        check("EGG_SESS=planted; __Host-EGG_SESS=s", &["EGG_SESS=s"], &[]);
        check("EGG_SESS=planted", &[], &[]);
        check("egg_sess=planted; \u{a0}EGG_SESS=planted; EGG%5FSESS=planted; a=1", &[], &["a=1"]);
        check("=EGG_SESS=planted; $Version=1,EGG_SESS=planted", &[], &[]);
        // Not every browser guards a prefix in small letters.
        check("__host-EGG_SESS=planted", &[], &["__host-EGG_SESS=planted"]);
        check("__Secure-EGG_SESS=planted", &[], &["__Secure-EGG_SESS=planted"]);
        check("__Host-EGG_SESS=a; __Host-EGG_SESS=a", &[], &[]);
        check("__Host-EGG_SESS=a; x=1; __Host-EGG_SESS=b", &[], &["x=1"]);
        check("__Host-wp_1=a; __Host-wp_2=b; wp_3=c", &["wp_1=a", "wp_2=b"], &[]);
        check("__Host-native=a; __Host-other=b", &["__Host-native=a"], &["__Host-other=b"]);
        check("__Host-admin=ticket", &[], &[]);
        check("__Host-EGG_SESS=\"a b\"", &["EGG_SESS=\"a b\""], &[]);
    }

    #[test]
    fn without_a_prefix_the_very_name_comes_back() {
        let check = |field, own: &[&str], others: &[&str]| {
            check_harden(&harden(Prefix::Plain, false), field, own, others);
        };
        check("a=1; EGG_SESS=s", &["EGG_SESS=s"], &["a=1"]);
        check("EGG_SESS=s; egg_sess=planted", &["EGG_SESS=s"], &[]);
        check("EGG_SESS=s; EGG_SESS=s", &[], &[]);
        check("__Host-EGG_SESS=s", &[], &["__Host-EGG_SESS=s"]);
    }

    #[test]
    fn a_report_changes_nothing() {
        let field = "a=1; EGG_SESS=s; EGG_SESS=t; egg_sess=u; __Host-EGG_SESS=v; a=2";
        let all: Vec<&str> = field.split("; ").collect();
        check_harden(&harden(Prefix::Host, true), field, &[], &all);
    }

    fn check(fields: &[&str], ticket: CarriedTicket<'_>, others: &[&str]) {
        let tickets = ["__Host-shop".to_owned(), "__Host-admin".to_owned()];
        let fields = fields.iter().map(|field| field.as_bytes());
        let carried = Carried::sort(fields, Some(&policy()), &tickets);
        assert_eq!(carried.ticket, ticket);
        let expected: Vec<&[u8]> = others.iter().map(|other| other.as_bytes()).collect();
        assert_eq!(carried.others, expected);
    }

    #[test]
    fn cookies_are_sorted() {
        use CarriedTicket::{Duplicate, None, One};
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
        use CarriedTicket::{None, One};
        check(&["__host-shop=T"], None, &[]);
        check(&["__HOST-SHOP=T; __Host-shop=U"], One(b"U"), &[]);
        check(&["\u{2000}__Host-shop=T"], None, &[]);
        check(&["\u{a0}__Host-shop=T; __Host-shop=U"], One(b"U"), &[]);
        check(&["=__Host-shop=T"], None, &[]);
        check(&["egg_sess=planted; \u{a0}EGG_SESS=planted; a=1"], None, &["a=1"]);
        check(&["=EGG_SESS=planted; $Version=1,EGG_SESS=planted; EGG%5FSESS.sig=x"], None, &[]);
    }
}
