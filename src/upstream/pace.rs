//! How long an endpoint takes to answer, for who balances by that (nginx `least_time`).

use std::time::Duration;

use crate::clock::UnixMillis;

/// What of an answer is waited for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Until {
    Head,
    LastByte,
}

/// The average of one endpoint, in which what is recent counts most, and what is under way.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Pace {
    average: Option<Duration>,
    /// When the requests under way began, added up.
    begun: u64,
}

/// The share of one answer in the average.
const SHARE: u32 = 8;

impl Pace {
    /// An answer took so long.
    pub(super) fn took(&mut self, time: Duration) {
        self.average = Some(match self.average {
            None => time,
            Some(average) => (average * (SHARE - 1) + time) / SHARE,
        });
    }

    pub(super) fn begins(&mut self, now: UnixMillis) {
        self.begun = self.begun.wrapping_add(now.0);
    }

    pub(super) fn ends(&mut self, begun: UnixMillis) {
        self.begun = self.begun.wrapping_sub(begun.0);
    }

    pub(super) fn average(&self) -> Option<Duration> {
        self.average
    }

    /// The average, or how long those under way have waited so far, where that is longer.
    pub(super) fn with_those_under_way(&self, active: usize, now: UnixMillis) -> Option<Duration> {
        let active = u64::try_from(active).unwrap_or(u64::MAX);
        let waited = active.saturating_mul(now.0).saturating_sub(self.begun);
        let waited = waited.checked_div(active).map(Duration::from_millis);
        self.average.max(waited.filter(|waited| !waited.is_zero()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_recent_counts_most() {
        let mut pace = Pace::default();
        assert_eq!(pace.average(), None);
        pace.took(Duration::from_millis(80));
        assert_eq!(pace.average(), Some(Duration::from_millis(80)));
        pace.took(Duration::from_millis(160));
        assert_eq!(pace.average(), Some(Duration::from_millis(90)));
    }

    #[test]
    fn those_under_way_count_once_they_take_longer() {
        let at = UnixMillis;
        let mut pace = Pace::default();
        pace.took(Duration::from_millis(50));
        pace.begins(at(1000));
        pace.begins(at(1020));
        let average = |pace: &Pace, active, now| pace.with_those_under_way(active, at(now));
        assert_eq!(average(&pace, 2, 1030), Some(Duration::from_millis(50)));
        assert_eq!(average(&pace, 2, 1110), Some(Duration::from_millis(100)));
        pace.ends(at(1000));
        assert_eq!(average(&pace, 1, 1110), Some(Duration::from_millis(90)));
        pace.ends(at(1020));
        assert_eq!(average(&pace, 0, 9000), Some(Duration::from_millis(50)));
        assert_eq!(average(&Pace::default(), 0, 9000), None);
    }
}
