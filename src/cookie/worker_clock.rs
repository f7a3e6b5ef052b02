//! What a worker's clock says against ours, by the `Date` of its answer (RFC 9110, section 6.6.1).
//!
//! `Expires` is a time of that clock. A browser that takes it for one of its own drops cookies that
//! were meant to live, which is why the engines of Chromium and Firefox correct it by `Date`. So is
//! done here wherever Cloakroom keeps cookies in a browser's place.

use std::time::UNIX_EPOCH;

use super::response::SetCookie;
use crate::clock::UnixMillis;
use crate::wire::fields::Fields;
use crate::wire::name::Name;

/// Reads the cookies of an answer that came `now`, of any size, with their times on our clock.
pub fn cookies<'a>(
    fields: impl Iterator<Item = &'a [u8]>,
    head: &Fields,
    now: UnixMillis,
) -> Vec<SetCookie<'a>> {
    let mut clock = None;
    fields
        .filter_map(|field| SetCookie::parse_up_to(field, usize::MAX))
        .map(|cookie| cookie.by(*clock.get_or_insert_with(|| WorkerClock::read(head, now))))
        .collect()
}

/// A clock that is further off than a day has not been set: nothing can be learned from it.
const OFF_AT_MOST: i64 = 24 * 3600 * 1000;

/// How far a worker's clock is behind ours.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct WorkerClock {
    /// In milliseconds; negative where it is ahead.
    behind: i64,
}

impl WorkerClock {
    /// Reads the head of an answer that came `now`. The clocks count as one where there is not
    /// exactly one `Date` that can be read, where that is more than a day off, and where the answer
    /// has been kept by a cache since then (`Age`).
    fn read(head: &Fields, now: UnixMillis) -> Self {
        let date = head.only(Name::Date).filter(|_| !head.has(Name::Age));
        let date = date.and_then(|date| std::str::from_utf8(date).ok());
        let date = date.and_then(|text| httpdate::parse_http_date(text).ok());
        let date = date
            .and_then(|date| i64::try_from(date.duration_since(UNIX_EPOCH).ok()?.as_millis()).ok());
        let behind = date.zip(i64::try_from(now.0).ok()).map(|(date, now)| now - date);
        Self { behind: behind.filter(|behind| behind.abs() <= OFF_AT_MOST).unwrap_or(0) }
    }

    /// A time of this clock on ours.
    pub(super) fn in_our_time(self, at: UnixMillis) -> UnixMillis {
        UnixMillis(at.0.saturating_add_signed(self.behind))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cookie::response::Lifetime;

    /// 1,795,462,335 is Mon, 23 Nov 2026 19:32:15 GMT.
    const NOW: UnixMillis = UnixMillis(1_795_462_335_250);

    fn clock(dates: &[&str], more: &[(&str, &str)]) -> WorkerClock {
        let dates = dates.iter().map(|date| ("date", *date));
        let head: Vec<_> = dates.chain(more.iter().copied()).collect();
        WorkerClock::read(&Fields::of(&head), NOW)
    }

    #[test]
    fn only_a_date_that_can_be_believed_says_how_late_it_is() {
        let check = |dates: &[&str], seconds: i64| {
            let behind = if seconds == 0 { 0 } else { seconds * 1000 + 250 };
            assert_eq!(clock(dates, &[]), WorkerClock { behind }, "{dates:?}");
        };
        check(&[], 0);
        check(&["Mon, 23 Nov 2026 18:32:15 GMT"], 3600);
        check(&["Mon, 23 Nov 2026 20:32:15 GMT"], -3600);
        check(&["Monday, 23-Nov-26 18:32:15 GMT"], 3600);
        check(&["Mon Nov 23 18:32:15 2026"], 3600);
        // A day, and more than that.
        check(&["Tue, 24 Nov 2026 19:32:15 GMT"], -86_400);
        check(&["Sun, 22 Nov 2026 19:32:16 GMT"], 86_399);
        check(&["Sun, 22 Nov 2026 19:32:15 GMT"], 0);
        check(&["Tue, 24 Nov 2026 19:32:16 GMT"], 0);
        check(&["Thu, 01 Jan 1970 00:00:00 GMT"], 0);
        check(&["Fri, 31 Dec 9999 23:59:59 GMT"], 0);
        for unreadable in ["", "yesterday", "1795458735", "Mon, 23 Nov 2026 18:32:15"] {
            check(&[unreadable], 0);
        }
        let one = "Mon, 23 Nov 2026 18:32:15 GMT";
        check(&[one, one], 0);
        check(&[one, "junk"], 0);
        assert_eq!(
            clock(&[one], &[("age", "3600")]),
            WorkerClock::default(),
            "its age, not its clock"
        );
    }

    /// Nothing but `Expires` is a time of that clock, and what has expired there has expired here.
    #[test]
    fn cookies_expire_by_the_clock_that_their_expiry_was_written_by() {
        let hour_behind = clock(&["Mon, 23 Nov 2026 18:32:15 GMT"], &[]);
        let hour_ahead = clock(&["Mon, 23 Nov 2026 20:32:15 GMT"], &[]);
        let check = |clock: WorkerClock, attributes: &str, expected: Lifetime| {
            let field = format!("sid=1; {attributes}");
            let cookie = SetCookie::parse(field.as_bytes()).expect("a readable field").by(clock);
            assert_eq!(cookie.lifetime(NOW), expected, "{attributes} by {clock:?}");
        };
        let after = |seconds: u64| Lifetime::Until(UnixMillis(NOW.0 + seconds * 1000));
        for clock in [hour_behind, hour_ahead, WorkerClock::default()] {
            check(clock, "Path=/", Lifetime::Session);
            check(clock, "Max-Age=60", after(60));
            check(clock, "Max-Age=60; Expires=Thu, 01 Jan 1970 00:00:00 GMT", after(60));
            check(clock, "Expires=Thu, 01 Jan 1970 00:00:00 GMT", Lifetime::Expired);
            check(clock, "Expires=Mon, 01 Jan 1601 00:00:00 GMT", Lifetime::Expired);
            check(clock, "Expires=Fri, 31 Dec 9999 23:59:59 GMT", after(400 * 86_400));
        }
        check(hour_behind, "Expires=Mon, 23 Nov 2026 19:02:15 GMT", after(1800));
        check(hour_behind, "Expires=Mon, 23 Nov 2026 18:32:16 GMT", after(1));
        check(hour_behind, "Expires=Mon, 23 Nov 2026 18:32:15 GMT", Lifetime::Expired);
        check(hour_behind, "Expires=Mon, 23 Nov 2026 18:02:15 GMT", Lifetime::Expired);
        check(hour_ahead, "Expires=Mon, 23 Nov 2026 21:02:15 GMT", after(1800));
        check(hour_ahead, "Expires=Mon, 23 Nov 2026 20:32:15 GMT", Lifetime::Expired);
        check(hour_ahead, "Expires=Mon, 23 Nov 2026 20:02:15 GMT", Lifetime::Expired);
    }
}
