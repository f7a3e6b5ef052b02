//! Whether a WebSocket or an event stream has outlived its session (PROTOCOL.md 18, 26).

use std::sync::Arc;

use crate::clock::UnixMillis;
use crate::session::outcome::Lookup;
use crate::session::record::{Record, State};

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

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::session::jar::Jar;
    use crate::session::outcome::RecordKey;
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
