//! The generations of a record's ticket: one counter, whose secret follows from the seed (PROTOCOL.md
//! 13-16).

use std::time::Duration;

use super::Record;
use crate::clock::UnixMillis;
use crate::session::binding::Bearer;
use crate::session::policy::Remember;
use crate::session::ticket::Secret;

/// A cookie that is kept for less, or for less than the idle time, is no sign that its user is to be
/// remembered where others in the jar live longer: a message that is shown once, say.
const PASSING: Duration = Duration::from_secs(24 * 60 * 60);

/// How old a ticket is against its record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Age {
    /// Newer than the record: the store has lost a renewal.
    Newer,
    Current,
    /// One renewal old, and still good.
    Previous,
    /// Older than that.
    Reused,
}

impl Record {
    /// The secret that a ticket with this counter carries.
    pub fn secret(&self, counter: u32) -> Secret {
        self.seed.secret(counter)
    }

    /// How old a genuine ticket with this counter is (rules 13 to 15).
    pub fn age_of(&self, counter: u32, grace: Duration, now: UnixMillis) -> Age {
        let in_grace = self.presented.is_none_or(|first| now.since(first) < grace);
        match self.counter.checked_sub(counter) {
            None => Age::Newer,
            Some(0) => Age::Current,
            Some(1) if in_grace => Age::Previous,
            Some(_) => Age::Reused,
        }
    }

    /// Since when a ticket is too old (rule 15), at the latest.
    pub fn overtaken(&self, counter: u32, grace: Duration) -> UnixMillis {
        match (self.counter.checked_sub(counter), self.presented) {
            (Some(1), Some(first)) => first.plus(grace),
            _ => self.renewed,
        }
    }

    /// Whether a ticket is one generation old and comes from a browser that looks like the one that
    /// holds its successor.
    pub fn is_twin(&self, counter: u32, bearer: Option<&Bearer>) -> bool {
        self.counter.checked_sub(counter) == Some(1)
            && bearer
                .zip(self.holder.as_ref())
                .is_some_and(|(bearer, holder)| holder.holds(&self.seed, bearer))
    }

    /// Whether the browser has ever brought a ticket of this record (rule 22).
    pub fn was_seen(&self) -> bool {
        self.presented.is_some() || self.counter > 0
    }

    /// The record with its next counter, once that is due.
    pub fn renewed(&self, every: Duration, now: UnixMillis) -> Option<Self> {
        if self.is_renewal_due(every, now) { self.advanced(now) } else { None }
    }

    /// Whether its ticket has been in use for long enough.
    pub fn is_renewal_due(&self, every: Duration, now: UnixMillis) -> bool {
        self.presented.is_some() && now.since(self.renewed) >= every
    }

    /// The record with its next counter. Counters never wrap.
    pub fn advanced(&self, now: UnixMillis) -> Option<Self> {
        let counter = self.counter.checked_add(1)?;
        Some(Self { counter, renewed: now, presented: None, ..self.clone() })
    }

    /// The record as a ticket with a newer counter proves that it was, before a failover of the
    /// store lost that write (rule 15).
    pub fn repaired(&self, counter: u32, now: UnixMillis) -> Self {
        Self { counter, renewed: now, presented: Some(now), ..self.clone() }
    }

    /// Until when browsers keep its ticket; `None`: until they are closed.
    pub fn ticket_until(
        &self,
        remember: Remember,
        idle: Duration,
        now: UnixMillis,
    ) -> Option<UnixMillis> {
        let until = match remember {
            Remember::Never => None,
            Remember::Always => Some(self.ends_at),
            Remember::AsApplication => {
                self.jar.lasts_until(&self.lasting, now.plus(idle.min(PASSING)), now)
            }
        };
        until.map(|until| until.min(self.ends_at))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::session::record::Standing;
    use crate::session::record::tests::{NOW, TIMEOUTS, record};

    /// PROTOCOL 13 to 15: by counter, by whether the current ticket was presented, by grace.
    #[test]
    fn tickets_age_with_the_counter() {
        let at = |secs| NOW.plus(Duration::from_secs(secs));
        let fresh = record(Standing::Authenticated);
        let record = |counter, presented| Record { counter, presented, ..fresh.clone() };
        let check = |record: &Record, counter, secs, expected| {
            let age = record.age_of(counter, TIMEOUTS.grace, at(secs));
            assert_eq!(age, expected, "{counter} against {record:?} after {secs} s");
        };
        let unseen = record(5, None);
        check(&unseen, 6, 0, Age::Newer);
        check(&unseen, 5, 0, Age::Current);
        check(&unseen, 4, 100_000, Age::Previous);
        check(&unseen, 3, 0, Age::Reused);
        let seen = record(5, Some(NOW));
        check(&seen, 5, 100_000, Age::Current);
        check(&seen, 4, 59, Age::Previous);
        check(&seen, 4, 60, Age::Reused);
        check(&seen, 0, 0, Age::Reused);
        check(&record(0, None), 0, 0, Age::Current);
    }

    /// PROTOCOL 13: one successor, only after the ticket has been in use for `renew_every`.
    #[test]
    fn a_ticket_is_renewed_when_it_is_due() {
        let every = TIMEOUTS.renew_every;
        let unseen = record(Standing::Authenticated);
        assert_eq!(unseen.renewed(every, NOW.plus(every)), None, "never came back");
        let seen = Record { presented: Some(NOW), ..unseen };
        let early = NOW.plus(every - Duration::from_millis(1));
        assert_eq!(seen.renewed(every, early), None);
        let renewed = seen.renewed(every, NOW.plus(every)).expect("due");
        assert_eq!((renewed.counter, renewed.presented), (1, None));
        assert!(renewed.was_seen() && !record(Standing::Anonymous).was_seen());
        let last = Record { counter: u32::MAX, ..seen };
        assert_eq!(last.renewed(every, NOW.plus(every)), None, "counters never wrap");
    }
}
