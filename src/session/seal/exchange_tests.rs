//! Tests of the exchange: a browser and a worker, with sealed cookies between them.

use std::time::Duration;

use super::*;
use crate::cookie::appearance::Prefix;
use crate::cookie::enforce::SameSite;
use crate::session::carried::Carried;
use crate::session::policy::Mode;

const NOW: UnixMillis = UnixMillis(1_795_462_335_000);
const HOST: &str = "shop.example.com";
const MINUTE: Duration = Duration::from_secs(60);
const DOCUMENT: Occasion<'static> =
    Occasion { is_document: true, took: Duration::ZERO, is_replaced: &|_| false };

fn ring() -> Keyring {
    Keyring::generate(NOW).expect("randomness")
}

/// One browser at one policy, whose cookies go from answers to requests.
struct Bench {
    ring: Keyring,
    policy: Policy,
    host: &'static str,
    nonce: u8,
    cookies: Vec<(String, String)>,
}

impl Bench {
    fn new() -> Self {
        Self::with(Appearance {
            prefix: Prefix::Host,
            domain: None,
            same_site: SameSite::Lax,
            partitioned: false,
            secure: true,
        })
    }

    fn with(appearance: Appearance) -> Self {
        let app_cookies = vec!["EGG_SESS".to_owned(), "wp_*".to_owned()];
        let policy =
            Policy { mode: Mode::Seal(appearance), app_cookies, ..crate::session::tests::policy() };
        Self { ring: ring(), policy, host: HOST, nonce: 0, cookies: Vec::new() }
    }

    fn place(&self) -> Place<'_> {
        let appearance = self.policy.appearance().expect("it lets cookies out");
        Place { policy: &self.policy, appearance, host: self.host }
    }

    fn brought(&self, now: UnixMillis) -> Vec<Brought> {
        let line: Vec<String> =
            self.cookies.iter().map(|(name, value)| format!("{name}={value}")).collect();
        let line = line.join("; ");
        let carried = Carried::sort([line.as_bytes()].into_iter(), Some(&self.policy), &[]);
        bring(&self.ring, self.place(), &carried.own, now)
    }

    /// What the worker is sent.
    fn arrives(&self, now: UnixMillis) -> Vec<String> {
        let pairs = self.brought(now);
        pairs
            .iter()
            .filter_map(Brought::pair)
            .map(|p| String::from_utf8(p).expect("text"))
            .collect()
    }

    fn rejected(&self, now: UnixMillis) -> Vec<Reject> {
        self.brought(now).iter().filter_map(Brought::rejected).collect()
    }

    /// An exchange at which the worker sets these cookies: what leaves.
    fn written(&mut self, set: &[&str], now: UnixMillis) -> Fields {
        let brought = self.brought(now);
        self.answered(&brought, set, &DOCUMENT, now)
    }

    /// The answer to a request that brought these cookies.
    fn answered(
        &mut self,
        brought: &[Brought],
        set: &[&str],
        occasion: &Occasion<'_>,
        now: UnixMillis,
    ) -> Fields {
        let set: Vec<SetCookie<'_>> = set
            .iter()
            .map(|field| SetCookie::parse_up_to(field.as_bytes(), usize::MAX).expect("readable"))
            .collect();
        let leaving = leaving(self.place(), brought, &set, b"/a/b", occasion, now);
        self.nonce += 1;
        let nonce = [self.nonce; 24];
        let drawn = || Ok::<_, ()>(nonce);
        write(&self.ring, self.place(), &leaving, now, drawn).expect("randomness")
    }

    /// The same, taken in by the browser. Gives the names that were set and those that were expired,
    /// the latter behind a minus sign.
    fn exchange(&mut self, set: &[&str], now: UnixMillis) -> Vec<String> {
        let fields = self.written(set, now).fields;
        let mut names = Vec::new();
        for field in &fields {
            let parsed = SetCookie::parse(field).expect("a browser takes it");
            let name = String::from_utf8(parsed.name().to_vec()).expect("text");
            let value = String::from_utf8(parsed.value().to_vec()).expect("text");
            self.cookies.retain(|(other, _)| *other != name);
            if parsed.lifetime(now) == crate::cookie::response::Lifetime::Expired {
                names.push(format!("-{name}"));
            } else {
                self.cookies.push((name.clone(), value));
                names.push(name);
            }
        }
        names
    }
}

fn later(minutes: u64) -> UnixMillis {
    NOW.plus(MINUTE * u32::try_from(minutes).expect("a short time"))
}

const OUTSIDE: &str = "__Host-EGG_SESS";

#[test]
fn what_a_worker_sets_comes_back_to_it() {
    let mut bench = Bench::new();
    assert_eq!(bench.exchange(&["EGG_SESS=a b\"c; path=/; httponly"], NOW), [OUTSIDE]);
    assert_eq!(bench.arrives(later(1)), ["EGG_SESS=a b\"c"]);
    assert_eq!(bench.exchange(&["EGG_SESS=d", "wp_1=e"], later(1)), [OUTSIDE, "__Host-wp_1"]);
    assert_eq!(bench.arrives(later(2)), ["EGG_SESS=d", "wp_1=e"]);
    assert_eq!(bench.exchange(&["EGG_SESS=; Max-Age=0"], later(2)), ["-__Host-EGG_SESS"]);
    assert_eq!(bench.arrives(later(2)), ["wp_1=e"]);
}

#[test]
fn fields_have_the_policy_s_attributes_and_the_application_s_own() {
    let written = |appearance: Appearance, set: &str| {
        let fields = Bench::with(appearance).written(&[set], NOW).fields;
        let [field] = &fields[..] else { panic!("{} fields", fields.len()) };
        let field = String::from_utf8(field.clone()).expect("text");
        let (pair, attributes) = field.split_once("; ").expect("attributes");
        let (name, _) = pair.split_once('=').expect("a value");
        format!("{name}; {attributes}")
    };
    let host = Appearance {
        prefix: Prefix::Host,
        domain: None,
        same_site: SameSite::Lax,
        partitioned: false,
        secure: true,
    };
    let secure = Appearance { prefix: Prefix::Secure, ..host.clone() };
    let domain = Appearance { domain: Some("example.com".to_owned()), ..secure.clone() };
    let check = |appearance: &Appearance, set, expected: &str| {
        assert_eq!(written(appearance.clone(), set), expected, "{set}");
    };
    check(&host, "EGG_SESS=a", "__Host-EGG_SESS; Path=/; Secure; HttpOnly; SameSite=Lax");
    check(
        &host,
        "EGG_SESS=a; path=/x; domain=example.com; SameSite=Strict; max-age=60; Partitioned",
        "__Host-EGG_SESS; Path=/; Max-Age=60; Expires=Mon, 23 Nov 2026 19:33:15 GMT; \
         SameSite=Strict; Partitioned; Secure; HttpOnly",
    );
    // The browser's default path would be another one when the cookie is sealed anew.
    check(&secure, "EGG_SESS=a", "__Secure-EGG_SESS; Path=/a; Secure; HttpOnly; SameSite=Lax");
    check(
        &secure,
        "EGG_SESS=a; domain=example.com; Path=/x",
        "__Secure-EGG_SESS; Path=/x; Domain=example.com; Secure; HttpOnly; SameSite=Lax",
    );
    check(
        &domain,
        "EGG_SESS=a; Path=/",
        "__Secure-EGG_SESS; Path=/; Domain=example.com; Secure; HttpOnly; SameSite=Lax",
    );
    check(
        &host,
        "EGG_SESS=; Path=/; Max-Age=0",
        "__Host-EGG_SESS; Path=/; Max-Age=0; Expires=Thu, 01 Jan 1970 00:00:00 GMT; Secure; \
         HttpOnly; SameSite=Lax",
    );
    // No longer than the session can last: 12 hours.
    check(
        &host,
        "EGG_SESS=a; Max-Age=86400",
        "__Host-EGG_SESS; Path=/; Max-Age=43200; Expires=Tue, 24 Nov 2026 07:32:15 GMT; Secure; \
         HttpOnly; SameSite=Lax",
    );
}

/// A browser would drop it.
#[test]
fn a_foreign_domain_stays_inside() {
    let secure = Appearance {
        prefix: Prefix::Secure,
        domain: None,
        same_site: SameSite::Lax,
        partitioned: false,
        secure: true,
    };
    let wide = Appearance { domain: Some("example.com".to_owned()), ..secure.clone() };
    let check = |appearance: &Appearance, attributes: &str| {
        let mut bench = Bench::with(appearance.clone());
        let fields = bench.written(&["EGG_SESS=a; Path=/; Domain=shop.internal"], NOW).fields;
        let text = String::from_utf8(fields.concat()).expect("text");
        let (_, rest) = text.split_once("; ").expect("attributes");
        assert_eq!(rest, attributes);
    };
    check(&secure, "Path=/; Secure; HttpOnly; SameSite=Lax");
    check(&wide, "Path=/; Domain=example.com; Secure; HttpOnly; SameSite=Lax");
}

#[test]
fn a_foreign_cookie_is_deleted_under_its_domain_and_gives_way_to_others() {
    let foreign = "EGG_SESS=a; Path=/; Domain=shop.internal";
    let check = |exchanges: &[&[&str]], expected: &[&str]| {
        let mut bench = Bench::new();
        for set in exchanges {
            bench.exchange(set, NOW);
        }
        assert_eq!(bench.arrives(NOW), expected, "{exchanges:?}");
    };
    let gone = "EGG_SESS=; Path=/; Domain=.SHOP.internal; Max-Age=0";
    let other_gone = "EGG_SESS=; Path=/; Domain=localhost; Max-Age=0";
    let own = "EGG_SESS=b; Path=/; Domain=example.com";
    check(&[&[foreign]], &["EGG_SESS=a"]);
    check(&[&[foreign], &[gone]], &[]);
    check(&[&[foreign], &[other_gone]], &["EGG_SESS=a"]);
    check(&[&[foreign, other_gone]], &["EGG_SESS=a"]);
    check(&[&[foreign], &[gone, other_gone]], &[]);
    check(&[&[foreign], &["EGG_SESS=c; Domain=localhost"]], &["EGG_SESS=c"]);
    for own in [own, "EGG_SESS=b; Path=/"] {
        check(&[&[foreign, own]], &["EGG_SESS=b"]);
        check(&[&[own, foreign]], &["EGG_SESS=b"]);
        check(&[&[own], &[foreign]], &["EGG_SESS=b"]);
        check(&[&[own], &[gone]], &["EGG_SESS=b"]);
        check(&[&[foreign], &[own]], &["EGG_SESS=b"]);
    }
    // It may be at a path that this request is not in.
    assert_eq!(Bench::new().exchange(&[gone], NOW), ["-__Host-EGG_SESS"]);
}

/// The idle time counts from the last sealing, which is renewed after half of it.
#[test]
fn an_idle_cookie_is_over_and_one_in_use_is_sealed_anew() {
    let mut bench = Bench::new();
    bench.exchange(&["EGG_SESS=a; Path=/"], NOW);
    assert!(bench.exchange(&[], UnixMillis(later(15).0 - 1)).is_empty(), "too early");
    assert_eq!(bench.exchange(&[], later(15)), [OUTSIDE], "half of 30 minutes");
    assert_eq!(bench.arrives(UnixMillis(later(45).0 - 1)), ["EGG_SESS=a"]);
    assert_eq!(bench.rejected(later(45)), [Reject::TooOld]);
    assert!(bench.arrives(later(45)).is_empty());
    let mut other = Bench { cookies: bench.cookies.clone(), ..Bench::new() };
    other.ring = Keyring::parse(&bench.ring.to_json()).expect("a ring");
    assert_eq!(bench.exchange(&[], later(45)), ["-__Host-EGG_SESS"], "it is too old indeed");
    assert_eq!(other.exchange(&["EGG_SESS=b"], later(45)), [OUTSIDE], "unless there is a new one");
    assert_eq!(other.arrives(later(45)), ["EGG_SESS=b"]);
}

/// A cookie that the worker said nothing about may have been replaced while it did so.
#[test]
fn only_documents_replace_a_cookie_that_nobody_set() {
    let mut bench = Bench::new();
    bench.exchange(&["EGG_SESS=a; Path=/"], NOW);
    let slow = Occasion { took: SLOW, ..DOCUMENT };
    let fast = Occasion { took: SLOW.saturating_sub(Duration::from_millis(1)), ..DOCUMENT };
    let part = Occasion { is_document: false, ..DOCUMENT };
    // Due, and too old.
    for now in [later(15), later(31)] {
        let brought = bench.brought(now);
        let id = brought[0].found.as_ref().expect("it opens").id;
        let (is_it, is_another) = (|other| other == id, |other| other != id);
        let replaced = Occasion { is_replaced: &is_it, ..DOCUMENT };
        let another = Occasion { is_replaced: &is_another, ..DOCUMENT };
        for (occasion, count) in
            [(&part, 0), (&slow, 0), (&replaced, 0), (&fast, 1), (&another, 1), (&DOCUMENT, 1)]
        {
            let fields = bench.answered(&brought, &[], occasion, now).fields;
            assert_eq!(fields.len(), count, "{fields:?}");
        }
        // What the worker itself says counts in any case.
        let fields = bench.answered(&brought, &["EGG_SESS=b"], &part, now).fields;
        assert_eq!(fields.len(), 1);
    }
}

/// A form saves while a page is on its way: whoever answers later knows that its own is not the last.
#[test]
fn what_an_answer_replaces_is_known_by_its_seal() {
    let mut bench = Bench::new();
    bench.exchange(&["EGG_SESS=a; Path=/", "wp_1=b"], NOW);
    let now = later(20);
    let brought = bench.brought(now);
    let ids: Vec<SealId> =
        brought.iter().map(|one| one.found.as_ref().expect("it opens").id).collect();
    let check = |set: &[&str], occasion: &Occasion<'_>, expected: &[SealId]| {
        let set: Vec<SetCookie<'_>> =
            set.iter().map(|field| SetCookie::parse(field.as_bytes()).expect("readable")).collect();
        let leaving = leaving(bench.place(), &brought, &set, b"/", occasion, now);
        let found: Vec<SealId> = replaced(&brought, &leaving).collect();
        assert_eq!(found, expected);
    };
    let part = Occasion { is_document: false, ..DOCUMENT };
    check(&[], &part, &[]);
    check(&["EGG_SESS=c", "wp_2=d"], &part, &ids[..1]);
    check(&["wp_1=; Max-Age=0"], &part, &ids[1..]);
    check(&[], &DOCUMENT, &ids);
}

#[test]
fn the_absolute_end_holds_however_often_a_cookie_is_set() {
    let mut bench = Bench::new();
    let mut at = 0;
    bench.exchange(&["EGG_SESS=0; Path=/"], NOW);
    while at < 12 * 60 - 20 {
        at += 20;
        let set = format!("EGG_SESS={at}; Path=/");
        assert_eq!(bench.exchange(&[&set], later(at)), [OUTSIDE], "{at}");
    }
    assert_eq!(bench.arrives(UnixMillis(later(12 * 60).0 - 1)), ["EGG_SESS=700"]);
    assert_eq!(bench.rejected(later(12 * 60)), [Reject::TooOld]);
    // What begins then is another session.
    bench.exchange(&["EGG_SESS=new; Path=/"], later(12 * 60));
    assert_eq!(bench.arrives(later(12 * 60 + 20)), ["EGG_SESS=new"]);
}

#[test]
fn an_expiry_of_the_application_s_own_holds_against_copies() {
    let mut bench = Bench::new();
    bench.exchange(&["EGG_SESS=a; Max-Age=60"], NOW);
    assert_eq!(bench.arrives(UnixMillis(later(1).0 - 1)), ["EGG_SESS=a"]);
    assert_eq!(bench.rejected(later(1)), [Reject::TooOld]);
}

/// PROTOCOL 4: keys roll, and what an accepted one has sealed is sealed anew.
#[test]
fn a_cookie_of_an_older_key_leaves_anew() {
    let mut bench = Bench::new();
    bench.exchange(&["EGG_SESS=a; Path=/"], NOW);
    let old = bench.ring.sealing().id();
    let new = bench.ring.rotate(NOW).expect("room for a key");
    assert!(bench.exchange(&[], NOW).is_empty(), "it only opens as yet");
    bench.ring.promote(new).expect("it is accepted");
    assert_eq!(bench.arrives(NOW), ["EGG_SESS=a"]);
    assert_eq!(bench.exchange(&[], NOW), [OUTSIDE]);
    bench.ring.retire(old).expect("it is only accepted");
    assert_eq!(bench.arrives(NOW), ["EGG_SESS=a"]);
    assert!(bench.exchange(&[], NOW).is_empty());
}

/// What does not open is left where it is.
#[test]
fn what_does_not_open_is_neither_sent_nor_expired() {
    let mut bench = Bench::new();
    bench.exchange(&["EGG_SESS=a; Path=/"], NOW);
    bench.ring = ring();
    assert_eq!(bench.rejected(NOW), [Reject::UnknownKey]);
    assert!(bench.arrives(NOW).is_empty() && bench.exchange(&[], NOW).is_empty());
    bench.cookies = vec![(OUTSIDE.to_owned(), "planted".to_owned())];
    assert_eq!(bench.rejected(NOW), [Reject::Malformed]);
    assert!(bench.exchange(&[], NOW).is_empty());
    let twin = bench.cookies[0].clone();
    bench.cookies.push(twin);
    assert_eq!(bench.rejected(NOW), [Reject::Duplicate]);
    assert!(bench.exchange(&[], NOW).is_empty());
}

#[test]
fn a_long_cookie_is_cut_and_what_is_left_of_it_expired() {
    let mut bench = Bench::new();
    let long = |len: usize| format!("EGG_SESS={}; Path=/", "x".repeat(len));
    let (one, two, three) = (OUTSIDE.to_owned(), format!("{OUTSIDE}~1"), format!("{OUTSIDE}~2"));
    assert_eq!(bench.exchange(&[&long(7000)], NOW), [&one, &two, &three].map(Clone::clone));
    assert_eq!(bench.arrives(NOW), [long(7000).replace("; Path=/", "")]);
    assert_eq!(
        bench.exchange(&[&long(5500)], NOW),
        [one.clone(), two.clone(), format!("-{three}")]
    );
    assert_eq!(bench.arrives(NOW), [long(5500).replace("; Path=/", "")]);
    // Even where the expiry was lost, what is left does not disturb, and is expired again.
    bench.cookies.push((three.clone(), "left".to_owned()));
    assert_eq!(bench.arrives(NOW), [long(5500).replace("; Path=/", "")]);
    assert_eq!(
        bench.exchange(&[&long(10)], NOW),
        [one.clone(), format!("-{two}"), format!("-{three}")]
    );
    assert_eq!(bench.arrives(NOW), ["EGG_SESS=xxxxxxxxxx"]);
    bench.exchange(&[&long(7000)], NOW);
    assert_eq!(
        bench.exchange(&["EGG_SESS=; Max-Age=0; Path=/"], NOW),
        [format!("-{one}"), format!("-{two}"), format!("-{three}")]
    );
    // Without the first one they are nothing.
    bench.cookies = vec![(two, "x".to_owned())];
    assert!(bench.rejected(NOW).is_empty());
}

#[test]
fn what_cannot_be_sealed_is_left_out() {
    let mut bench = Bench::new();
    let huge = format!("EGG_SESS={}", "x".repeat(25_000));
    let written = bench.written(&[&huge, "wp_~1=a", "wp_1=b"], NOW);
    assert_eq!(
        written.left_out,
        [(b"EGG_SESS".to_vec(), NotMade::TooLarge), (b"wp_~1".to_vec(), NotMade::ReservedName)]
    );
    assert_eq!(written.fields.len(), 1, "the rest leaves");
}

#[test]
fn of_one_name_the_last_counts() {
    let mut bench = Bench::new();
    let names = bench.exchange(&["EGG_SESS=a", "EGG_SESS=; Max-Age=0", "EGG_SESS=b"], NOW);
    assert_eq!(names, [OUTSIDE]);
    assert_eq!(bench.arrives(NOW), ["EGG_SESS=b"]);
    assert_eq!(bench.exchange(&["EGG_SESS=c", "EGG_SESS=; Max-Age=0"], NOW), ["-__Host-EGG_SESS"]);
}

/// Without random numbers nothing is sealed, and the answer must not leave.
#[test]
fn without_randomness_nothing_is_written() {
    let bench = Bench::new();
    let set = [SetCookie::parse(b"EGG_SESS=a").expect("readable")];
    let leaving = leaving(bench.place(), &[], &set, b"/", &DOCUMENT, NOW);
    assert!(matches!(leaving[..], [Leaving::Sealed { .. }]));
    let written = write(&bench.ring, bench.place(), &leaving, NOW, || Err("none"));
    assert_eq!(written, Err("none"));
}

#[test]
fn another_host_or_policy_is_another_scope() {
    let mut bench = Bench::new();
    bench.exchange(&["EGG_SESS=a"], NOW);
    bench.host = "other.example.com";
    assert_eq!(bench.rejected(NOW), [Reject::Forged]);
    bench.host = HOST;
    assert!(bench.rejected(NOW).is_empty());
    bench.policy.name = "other".to_owned();
    assert_eq!(bench.rejected(NOW), [Reject::Forged]);
    // A cookie of several hosts belongs to its domain.
    let mut bench = Bench::with(Appearance {
        prefix: Prefix::Secure,
        domain: Some("example.com".to_owned()),
        same_site: SameSite::Lax,
        partitioned: false,
        secure: true,
    });
    bench.exchange(&["EGG_SESS=a"], NOW);
    bench.host = "other.example.com";
    assert_eq!(bench.arrives(NOW), ["EGG_SESS=a"]);
}
