//! What a request changes in its record by coming in (PROTOCOL.md 9, 26).

use std::time::Duration;

use super::{Age, Record};
use crate::clock::UnixMillis;
use crate::session::outcome::RecordKey;

/// What a request changes in its record, besides what its answer does.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Touch {
    /// What others are told or refused by: to be written before the request is forwarded.
    Now(Box<Record>),
    /// Only the idle deadline moves: nobody has to wait for that.
    Soon(Box<Record>),
}

impl Touch {
    /// The record as it is to be written.
    pub fn into_record(self) -> Box<Record> {
        match self {
            Self::Now(record) | Self::Soon(record) => record,
        }
    }
}

/// How much of the idle time passes before the deadline is moved: a tenth, but ten seconds at least
/// and five minutes at most, give or take a tenth of that, which follows from record and node, so
/// that neither the sessions of a node nor the nodes of a session are all due at once. Never more
/// than half of the idle time.
pub fn idle_step(idle: Duration, key: RecordKey, node: u16) -> Duration {
    const LEAST: Duration = Duration::from_secs(10);
    const MOST: Duration = Duration::from_secs(300);
    // The hashed selector is uniform.
    let share = u16::from_be_bytes([key.id[6], key.id[7]]) ^ node;
    let part = 0.9 + 0.2 * f64::from(share) / f64::from(u16::MAX);
    (idle / 10).clamp(LEAST, MOST).mul_f64(part).min(idle / 2)
}

impl Record {
    /// What a request with this record's ticket changes in it: the ticket was presented, if it is
    /// the current one, and the idle deadline moves once `step` of the idle time has passed
    /// ([`idle_step`]). `None`: nothing.
    pub fn touched(
        &self,
        age: Age,
        idle: Duration,
        step: Duration,
        now: UnixMillis,
    ) -> Option<Touch> {
        let lags = self.idle_until.since(now) < idle.saturating_sub(step);
        let first = age == Age::Current && self.presented.is_none();
        let touched = || {
            Box::new(Self {
                presented: if first { Some(now) } else { self.presented },
                idle_until: UnixMillis(now.plus(idle).0.min(self.ends_at.0)),
                ..self.clone()
            })
        };
        if first {
            Some(Touch::Now(touched()))
        } else if lags && self.idle_until < self.ends_at {
            Some(Touch::Soon(touched()))
        } else {
            None
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::session::record::Standing;
    use crate::session::record::tests::{NOW, TIMEOUTS, record};

    const STEP: Duration = Duration::from_secs(180);

    /// A tenth, give or take a tenth of it, within bounds.
    #[test]
    fn idle_deadlines_are_moved_in_steps_of_their_own() {
        let key = |share: u16| {
            let mut id = [0; 16];
            id[6..8].copy_from_slice(&share.to_be_bytes());
            RecordKey { tag: [1; 8], id, has_subject: false }
        };
        for (idle, least, most) in [
            (1800, 162.0, 198.0),
            (60, 9.0, 11.0),
            (12 * 3600, 270.0, 330.0),
            (20, 9.0, 10.0),
            (2, 1.0, 1.0),
        ] {
            let step = |share, node| idle_step(Duration::from_secs(idle), key(share), node);
            assert_eq!(step(0, 0).as_secs_f64(), least, "{idle}");
            assert_eq!(step(u16::MAX, 0).as_secs_f64(), most, "{idle}");
            assert_eq!(step(u16::MAX, u16::MAX), step(0, 0), "nodes differ");
            assert_eq!(step(0x1234, 7), step(0x1234, 7), "it can be told beforehand");
        }
    }

    #[test]
    fn the_idle_deadline_moves_in_steps_and_never_past_the_end() {
        let record = Record { presented: Some(NOW), ..record(Standing::Authenticated) };
        let at = |secs| NOW.plus(Duration::from_secs(secs));
        let touched = |record: &Record, secs| {
            let touch = record.touched(Age::Current, TIMEOUTS.idle, STEP, at(secs))?;
            let Touch::Soon(record) = touch else { panic!("{touch:?}") };
            Some(record.idle_until)
        };
        assert_eq!(touched(&record, 179), None);
        assert_eq!(touched(&record, 181), Some(at(1981)), "a tenth has passed");
        let moved = Record { idle_until: at(3500), ..record };
        assert_eq!(touched(&moved, 3000), Some(at(3600)));
        let last = Record { idle_until: at(3600), ..moved };
        assert_eq!(touched(&last, 3500), None, "it can't live any longer");
        assert!(!last.is_expired(at(3599)) && last.is_expired(at(3600)));
    }

    /// PROTOCOL 9: a new anonymous record has a life of its own until its ticket comes back.
    #[test]
    fn an_anonymous_record_waits_for_its_ticket_as_long_as_the_policy_says() {
        let anonymous = record(Standing::Anonymous);
        assert_eq!(anonymous.idle_until, NOW.plus(TIMEOUTS.anonymous));
        let touched = anonymous.touched(Age::Current, TIMEOUTS.idle, STEP, NOW);
        let Some(Touch::Now(touched)) = touched else { panic!("{touched:?}") };
        assert_eq!(touched.presented, Some(NOW));
        assert_eq!(touched.idle_until, NOW.plus(TIMEOUTS.idle));
        assert_eq!(record(Standing::Authenticated).idle_until, NOW.plus(TIMEOUTS.idle));
    }
}
