//! What is known of a certificate that is ordered, and what follows from it: pure functions of that and
//! `now`.
//!
//! The whole of it is one record of the store, which all nodes read and who has the lease writes. An order
//! is noted before it is placed, with the private key that it is for, so that whoever takes over from a
//! node that died goes on with the same order.

use std::fmt;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use zeroize::{Zeroize, ZeroizeOnDrop};

use super::trouble::{Kind, Trouble};
use crate::clock::UnixMillis;

const MINUTE: Duration = Duration::from_secs(60);
const HOUR: Duration = Duration::from_secs(3600);
const DAY: Duration = Duration::from_secs(24 * 3600);

/// After a failure for which the authority is to blame: at first, and at most.
const UNREACHABLE: (Duration, Duration) = (MINUTE, HOUR);
/// After an order that was refused: no new one before. Authorities count failures by the hour (Let's
/// Encrypt: five for each name).
const REFUSED: (Duration, Duration) = (Duration::from_secs(15 * 60), DAY);
/// After the authority has said that there was too much, where it does not say for how long.
const LIMITED: (Duration, Duration) = (HOUR, DAY);
/// The longest that a `Retry-After` is believed. A time that is further off is a clock's mistake.
const RETRY_AFTER_MAX: Duration = Duration::from_secs(7 * 24 * 3600);
/// How much longer a wait may be than it must, as a share of it: nodes and their fleets out of step.
const JITTER: f64 = 0.2;
/// Without a certificate no failure is followed by more silence: users wait.
const WAIT_WITHOUT_MAX: Duration = Duration::from_secs(4 * 3600);
/// With one, so much of its life may pass.
const WAIT_SHARE: u32 = 3;
/// An order that is older is void: authorities keep them for a week.
const ORDER_LIFE: Duration = Duration::from_secs(6 * 24 * 3600);
/// Of its lifetime, when a certificate is renewed where its authority says nothing.
const RENEW_AT: f64 = 2.0 / 3.0;
/// How much earlier that may be, for the authority's sake: certificates that were ordered together.
const RENEW_JITTER: f64 = 0.05;
/// So much of its lifetime has to be left, whatever the authority suggests.
const RENEW_BEFORE_END: f64 = 0.05;
/// So long a certificate is kept at least, or a tenth of its lifetime, though its authority suggest what is
/// over: it must not be ordered again and again.
const RENEW_AFTER: Duration = DAY;
/// How often the authority is asked when to renew, at most and at least (RFC 9773 section 4.3.2).
const ASK_EVERY: (Duration, Duration) = (Duration::from_secs(10 * 60), DAY);

/// A private key in PEM. Prints as `[redacted]`, and is wiped when it is dropped.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, Zeroize, ZeroizeOnDrop)]
pub struct KeyPem(pub String);

impl fmt::Debug for KeyPem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[redacted]")
    }
}

/// A certificate's record.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct State {
    pub issued: Option<Issued>,
    pub order: Option<Order>,
    /// In a row.
    pub failures: u32,
    /// The authority is asked for nothing before.
    pub retry_at: UnixMillis,
    /// What failed last, until something succeeds.
    pub complaint: Option<String>,
}

/// A certificate that is there.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Issued {
    /// In PEM, its own first.
    pub chain: String,
    pub key: KeyPem,
    pub not_before: UnixMillis,
    pub not_after: UnixMillis,
    /// When it came.
    pub came_at: UnixMillis,
    pub renew_at: UnixMillis,
    /// What its authority suggested last.
    pub window: Option<Window>,
    /// When it is asked again.
    pub ask_at: UnixMillis,
}

/// When an authority suggests to renew (RFC 9773 section 4.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Window {
    pub begin: UnixMillis,
    pub end: UnixMillis,
}

/// An order under way.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Order {
    /// Where it is, once it was placed.
    pub url: Option<String>,
    /// What the certificate will be for.
    pub key: KeyPem,
    pub begun: UnixMillis,
    /// What proves that the names are ours.
    pub proofs: Vec<Proof>,
}

/// The answer to a challenge. Whoever asks may know it: the account's key made it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Proof {
    pub name: String,
    pub token: String,
    pub key_authorization: String,
}

/// What is to be done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// Nothing until then.
    Wait(UnixMillis),
    /// To ask the authority when it wants the certificate renewed.
    AskWhen,
    /// To place an order.
    Order,
    /// To go on with the one that is under way.
    CarryOn,
}

/// What follows from what is known.
pub fn next_step(state: &State, now: UnixMillis) -> Step {
    // A wait that is longer than any that is ever set comes from a clock that was wrong.
    let is_held = now < state.retry_at && state.retry_at.since(now) <= RETRY_AFTER_MAX * 2;
    if is_held {
        return Step::Wait(state.retry_at);
    }
    if let Some(order) = &state.order {
        return match now.since(order.begun) < ORDER_LIFE {
            true => Step::CarryOn,
            false => Step::Order,
        };
    }
    match &state.issued {
        None => Step::Order,
        Some(issued) if issued.renew_at <= now => Step::Order,
        Some(issued) if issued.ask_at <= now => Step::AskWhen,
        Some(issued) => Step::Wait(issued.renew_at.min(issued.ask_at)),
    }
}

impl State {
    /// With an order that is about to be placed.
    #[must_use]
    pub fn ordering(mut self, key: KeyPem, now: UnixMillis) -> Self {
        self.order = Some(Order { url: None, key, begun: now, proofs: Vec::new() });
        self
    }

    /// With the certificate that the order came to.
    #[must_use]
    pub fn issued(mut self, issued: Issued) -> Self {
        self.issued = Some(issued);
        self.order = None;
        self.failures = 0;
        self.complaint = None;
        self.retry_at = UnixMillis(0);
        self
    }

    /// After a failure. `chance` is from 0 to 1.
    #[must_use]
    pub fn failed(mut self, trouble: &Trouble, now: UnixMillis, chance: f64) -> Self {
        let (first, most) = match trouble.kind {
            Kind::Unreachable => UNREACHABLE,
            Kind::Refused | Kind::NoAccount => REFUSED,
            Kind::Limited => LIMITED,
        };
        let wait = first.saturating_mul(1 << self.failures.min(12)).min(most);
        let wait = wait.mul_f64(1.0 + JITTER * chance).min(self.patience(now, first));
        // What the authority says counts, however long that is.
        let said = trouble.retry_after.unwrap_or_default().min(RETRY_AFTER_MAX);
        self.retry_at = now.plus(wait.max(said));
        self.failures = self.failures.saturating_add(1);
        self.complaint = Some(trouble.text.clone());
        if trouble.kind != Kind::Unreachable {
            // What was refused is not good for another try.
            self.order = self.order.take_if(|_| trouble.kind == Kind::Limited);
        }
        self
    }

    /// How long may be waited: not until the certificate is over.
    fn patience(&self, now: UnixMillis, least: Duration) -> Duration {
        let left = self.issued.as_ref().map(|issued| issued.not_after.since(now));
        left.map_or(WAIT_WITHOUT_MAX, |left| left / WAIT_SHARE).max(least.mul_f64(1.0 + JITTER))
    }
}

impl Issued {
    /// A certificate that has just come. `chance` is from 0 to 1.
    pub fn new(
        chain: String,
        key: KeyPem,
        [not_before, not_after]: [UnixMillis; 2],
        now: UnixMillis,
        chance: f64,
    ) -> Self {
        let life = not_after.since(not_before);
        let share = RENEW_AT - RENEW_JITTER * chance;
        // A clock that is ahead must not order again and again.
        let least = now.plus(life.mul_f64(1.0 - RENEW_AT));
        let renew_at = not_before.plus(life.mul_f64(share)).max(least);
        let (came_at, window, ask_at) = (now, None, now);
        Self { chain, key, not_before, not_after, came_at, renew_at, window, ask_at }
    }

    /// What its authority suggests; it may be asked again after `ask_after`. The time in a window is chosen
    /// once (RFC 9773 section 4.2).
    #[must_use]
    pub fn suggested(
        mut self,
        window: Window,
        ask_after: Duration,
        now: UnixMillis,
        chance: f64,
    ) -> Self {
        self.ask_at = now.plus(ask_after.clamp(ASK_EVERY.0, ASK_EVERY.1));
        if self.window == Some(window) || window.end < window.begin {
            return self;
        }
        let spread = window.end.since(window.begin).mul_f64(chance);
        let life = self.not_after.since(self.not_before);
        let latest = self.not_before.plus(life.mul_f64(1.0 - RENEW_BEFORE_END));
        let earliest = self.came_at.plus(RENEW_AFTER.min(life / 10));
        self.renew_at = window.begin.plus(spread).min(latest).max(earliest);
        self.window = Some(window);
        self
    }

    /// Its authority had nothing to say.
    #[must_use]
    pub fn without_suggestion(mut self, now: UnixMillis) -> Self {
        self.ask_at = now.plus(ASK_EVERY.1);
        self
    }

    /// Days that it is good for.
    pub fn days_left(&self, now: UnixMillis) -> u64 {
        self.not_after.since(now).as_secs() / DAY.as_secs()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: UnixMillis = UnixMillis(1_800_000_000_000);

    fn days(days: u64) -> Duration {
        DAY * u32::try_from(days).expect("few")
    }

    fn key() -> KeyPem {
        KeyPem("secret".to_owned())
    }

    fn fresh(chance: f64) -> Issued {
        Issued::new("chain".to_owned(), key(), [NOW, NOW.plus(days(90))], NOW, chance)
    }

    fn trouble(kind: Kind, retry_after: Option<Duration>) -> Trouble {
        Trouble { kind, text: "why".to_owned(), remedy: "do", retry_after }
    }

    fn asked(at: UnixMillis) -> Issued {
        Issued { ask_at: at, ..fresh(0.0) }
    }

    #[test]
    fn what_is_next_follows_from_what_is_known() {
        let none = State::default();
        let good = State { issued: Some(asked(NOW.plus(DAY))), ..none.clone() };
        let held = State { retry_at: NOW.plus(HOUR), ..none.clone() };
        let ordering = none.clone().ordering(key(), NOW);
        let renewing = good.clone().ordering(key(), NOW);
        let far = State { retry_at: NOW.plus(days(1000)), ..none.clone() };
        for (what, state, after, expected) in [
            ("nothing is there", &none, Duration::ZERO, Step::Order),
            ("after a failure", &held, Duration::ZERO, Step::Wait(NOW.plus(HOUR))),
            ("its wait is over", &held, HOUR, Step::Order),
            ("a clock was wrong", &far, HOUR, Step::Order),
            ("an order is under way", &ordering, HOUR, Step::CarryOn),
            ("one is too old", &ordering, ORDER_LIFE, Step::Order),
            ("a good one", &good, Duration::ZERO, Step::Wait(NOW.plus(DAY))),
            ("its authority may be asked", &good, DAY, Step::AskWhen),
            ("it is not due", &good, days(59), Step::AskWhen),
            ("two thirds are over", &good, days(60), Step::Order),
            ("long over", &good, days(600), Step::Order),
            ("a renewal is under way", &renewing, DAY, Step::CarryOn),
        ] {
            assert_eq!(next_step(state, NOW.plus(after)), expected, "{what}");
        }
    }

    #[test]
    fn no_order_follows_a_failure_within_its_time() {
        let wait = |kind, failures, retry_after, chance| {
            let state = State { failures, ..State::default() };
            let failed = state.failed(&trouble(kind, retry_after), NOW, chance);
            assert_eq!(failed.failures, failures + 1);
            assert_eq!(next_step(&failed, NOW), Step::Wait(failed.retry_at));
            failed.retry_at.since(NOW)
        };
        let minutes = |minutes: u32| MINUTE * minutes;
        for (kind, failures, retry_after, chance, expected) in [
            (Kind::Unreachable, 0, None, 0.0, minutes(1)),
            (Kind::Unreachable, 0, None, 1.0, Duration::from_secs(72)),
            (Kind::Unreachable, 3, None, 0.0, minutes(8)),
            (Kind::Unreachable, 99, None, 0.0, minutes(60)),
            (Kind::Unreachable, 0, Some(minutes(9)), 0.0, minutes(9)),
            (Kind::Refused, 0, None, 0.0, minutes(15)),
            (Kind::Refused, 2, None, 0.5, minutes(66)),
            (Kind::Refused, 20, None, 1.0, WAIT_WITHOUT_MAX),
            (Kind::NoAccount, 0, None, 0.0, minutes(15)),
            (Kind::Limited, 0, None, 0.0, minutes(60)),
            (Kind::Limited, 0, Some(days(2)), 0.0, days(2)),
            (Kind::Limited, 0, Some(days(99)), 0.0, days(7)),
            (Kind::Limited, 0, Some(Duration::ZERO), 0.0, minutes(60)),
        ] {
            let waited = wait(kind, failures, retry_after, chance);
            assert_eq!(waited, expected, "{kind:?} after {failures}");
        }
    }

    #[test]
    fn failures_of_a_renewal_wait_no_longer_than_a_third_of_what_is_left() {
        let waits = |left: Duration| {
            let issued = Issued { not_after: NOW.plus(left), ..fresh(0.0) };
            let state = State { issued: Some(issued), failures: 20, ..State::default() };
            state.failed(&trouble(Kind::Refused, None), NOW, 0.0).retry_at.since(NOW)
        };
        assert_eq!(waits(days(30)), DAY);
        assert_eq!(waits(HOUR * 9), HOUR * 3);
        assert_eq!(
            waits(Duration::ZERO),
            REFUSED.0.mul_f64(1.2),
            "nor less than after a first one"
        );
    }

    #[test]
    fn an_order_survives_what_is_not_its_fault() {
        for (kind, is_kept) in [
            (Kind::Unreachable, true),
            (Kind::Limited, true),
            (Kind::Refused, false),
            (Kind::NoAccount, false),
        ] {
            let state =
                State::default().ordering(key(), NOW).failed(&trouble(kind, None), NOW, 0.0);
            assert_eq!(state.order.is_some(), is_kept, "{kind:?}");
            let later = next_step(&state, state.retry_at);
            let expected = if is_kept { Step::CarryOn } else { Step::Order };
            assert_eq!(later, expected, "{kind:?}");
        }
    }

    #[test]
    fn success_forgets_failures() {
        let failed = State::default().failed(&trouble(Kind::Refused, None), NOW, 0.0);
        let state = failed.ordering(key(), NOW).issued(asked(NOW.plus(DAY)));
        assert_eq!(state, State { issued: state.issued.clone(), ..State::default() });
        assert_eq!(next_step(&state, NOW), Step::Wait(NOW.plus(DAY)));
    }

    #[test]
    fn a_certificate_is_renewed_at_two_thirds_of_its_life_or_a_little_earlier() {
        let renewed = |chance| fresh(chance).renew_at.since(NOW);
        assert_eq!(renewed(0.0), days(60));
        let earliest = days(60) - days(90).mul_f64(0.05);
        assert!(renewed(1.0).abs_diff(earliest) < MINUTE);
        // The clock says that it is over already.
        let ahead = NOW.plus(days(400));
        let odd = Issued::new(String::new(), key(), [NOW, NOW.plus(days(90))], ahead, 0.0);
        assert!(odd.renew_at.since(ahead).abs_diff(days(30)) < MINUTE);
    }

    #[test]
    fn what_the_authority_suggests_counts() {
        let at = |day| NOW.plus(days(day));
        let window = |begin, end| Window { begin: at(begin), end: at(end) };
        let suggested = |window, chance| fresh(0.0).suggested(window, HOUR, at(1), chance);
        for (what, window, chance, expected) in [
            ("its begin", window(50, 54), 0.0, 50),
            ("its end", window(50, 54), 1.0, 54),
            ("between", window(50, 54), 0.5, 52),
            ("at once, but not for ever", window(0, 0), 0.5, 1),
            ("too late", window(200, 204), 0.5, 85),
            ("no window", window(54, 50), 0.5, 60),
        ] {
            let issued = suggested(window, chance);
            let expected = if expected == 85 { days(90).mul_f64(0.95) } else { days(expected) };
            assert!(issued.renew_at.since(NOW).abs_diff(expected) < MINUTE, "{what}");
        }
        // The same again is no reason to choose again.
        let again = suggested(window(50, 54), 0.0).suggested(window(50, 54), HOUR, at(2), 1.0);
        assert_eq!((again.renew_at, again.ask_at), (at(50), at(2).plus(HOUR)));
        for (said, expected) in [(Duration::ZERO, ASK_EVERY.0), (days(9), DAY)] {
            let issued = fresh(0.0).suggested(window(50, 54), said, NOW, 0.0);
            assert_eq!(issued.ask_at, NOW.plus(expected));
        }
        assert_eq!(fresh(0.0).without_suggestion(NOW).ask_at, at(1));
        assert_eq!(fresh(0.0).days_left(at(80)), 10);
    }

    #[test]
    fn a_key_is_not_printed() {
        let state = State::default().issued(fresh(0.0)).ordering(key(), NOW);
        assert!(!format!("{state:?}").contains("secret"));
        let text = serde_json::to_string(&state).expect("it can be written");
        assert_eq!(serde_json::from_str::<State>(&text).expect("and read"), state);
    }
}
