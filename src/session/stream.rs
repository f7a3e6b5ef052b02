//! Whether a WebSocket or an event stream has outlived its session (PROTOCOL.md 18, 26), and what its
//! traffic does for it.

use std::sync::Arc;
use std::time::Duration;

use crate::clock::UnixMillis;
use crate::session::outcome::{Lookup, RecordKey};
use crate::session::record::{Age, Record, State, Touch, idle_step};

/// Says whether the session of an open stream is over, from what a look-up of its record gave.
///
/// A login on its way ends streams too: what answers them may hold the session from before it. So
/// does a session that the application took away (rule 29). An outage of the store ends nothing.
pub fn is_over(lookup: &Lookup<(u64, Arc<Record>)>, now: UnixMillis) -> bool {
    match lookup {
        Lookup::Unavailable => false,
        Lookup::NotFound | Lookup::Revoked => true,
        Lookup::Found((_, record)) => match record.state {
            State::Live => record.is_expired(now) || record.parked.is_some(),
            State::Pending { .. } | State::Moved { .. } | State::Ended => true,
        },
    }
}

/// What went over the streams of a session last, where that counts as use of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Traffic {
    pub at: UnixMillis,
    /// The policy's idle time.
    pub idle: Duration,
}

/// The record of an open stream with a later idle deadline, once that is due: in the steps that
/// requests move it in ([`idle_step`]), and never past its absolute end. `None`: nothing is to be
/// written.
///
/// A ticket that never came back keeps no session (rule 9), however busy the stream is that made it.
pub fn kept_in_use(
    record: &Record,
    key: RecordKey,
    traffic: Traffic,
    node: u16,
) -> Option<Box<Record>> {
    let Traffic { at, idle } = traffic;
    if record.state != State::Live || !record.was_seen() {
        return None;
    }
    // No ticket is presented with it.
    match record.touched(Age::Previous, idle, idle_step(idle, key, node), at)? {
        Touch::Soon(record) => Some(record),
        Touch::Now(_) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::session::jar::Jar;
    use crate::session::record::{Seed, Standing};
    use crate::session::tests::policy;

    const NOW: UnixMillis = UnixMillis(1_795_462_335_000);

    fn found(state: State) -> Lookup<(u64, Arc<Record>)> {
        let timeouts = policy().timeouts;
        let record = Record::new(
            Seed::new([7; 32]),
            Jar::default(),
            Standing::Authenticated,
            &timeouts,
            NOW,
        );
        Lookup::Found((3, Arc::new(record.into_state(state))))
    }

    #[test]
    fn traffic_moves_the_idle_deadline_in_steps_up_to_the_end() {
        const KEY: RecordKey = RecordKey { tag: [1; 8], id: [0; 16], has_subject: false };
        let Lookup::Found((_, record)) = found(State::Live) else { unreachable!() };
        let seen = Record { presented: Some(NOW), ..Arc::unwrap_or_clone(record) };
        let idle = policy().timeouts.idle;
        let minutes = |minutes: u64| NOW.plus(Duration::from_secs(60 * minutes));
        let check = |record: &Record, at, expected: Option<UnixMillis>| {
            let kept = kept_in_use(record, KEY, Traffic { at, idle }, 0);
            assert_eq!(kept.map(|record| record.idle_until), expected, "{record:?} at {at}");
        };
        check(&seen, minutes(2), None);
        check(&seen, minutes(20), Some(minutes(50)));
        let ends_soon = Record { ends_at: minutes(40), ..seen.clone() };
        check(&ends_soon, minutes(20), Some(minutes(40)));
        // A request came after it.
        check(&Record { idle_until: minutes(55), ..seen.clone() }, minutes(20), None);
        check(&Record { presented: None, ..seen.clone() }, minutes(20), None);
        check(&seen.into_state(State::Ended), minutes(20), None);
    }

    #[test]
    fn a_stream_lives_as_long_as_its_record() {
        let check = |lookup: Lookup<_>, after: Duration, expected| {
            assert_eq!(is_over(&lookup, NOW.plus(after)), expected, "{lookup:?} after {after:?}");
        };
        let timeouts = policy().timeouts;
        let moment = Duration::from_millis(1);
        check(found(State::Live), Duration::ZERO, false);
        check(found(State::Live), timeouts.idle.saturating_sub(moment), false);
        check(found(State::Live), timeouts.idle, true);
        check(found(State::Live), timeouts.absolute, true);
        check(found(State::Pending { since: NOW, by: 0 }), Duration::ZERO, true);
        let successor = RecordKey { tag: [1; 8], id: [2; 16], has_subject: false };
        check(found(State::Moved { successor, at: NOW }), Duration::ZERO, true);
        check(found(State::Ended), Duration::ZERO, true);
        let Lookup::Found((version, record)) = found(State::Live) else { unreachable!() };
        let parked = Arc::unwrap_or_clone(record).park(NOW);
        check(Lookup::Found((version, Arc::new(parked))), Duration::ZERO, true);
        check(Lookup::NotFound, Duration::ZERO, true);
        check(Lookup::Revoked, Duration::ZERO, true);
        check(Lookup::Unavailable, timeouts.absolute, false);
    }
}
