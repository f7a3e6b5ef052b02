//! Whether a record that was read is to be believed: pure (PROTOCOL.md 26, 27).
//!
//! The store may say of a session that is over that it is live: its epoch or era is over, or a
//! failover has lost its end.

use crate::session::outcome::Epoch;
use crate::session::record::Record;
use crate::store::remembered_ends::Lost;

/// What this node knows of a record besides what the store says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Known {
    /// The era of the fleet.
    pub era: u32,
    /// What the store has lost, if this is what it says of the record.
    pub lost: Option<Lost>,
}

/// What is believed of a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Belief {
    /// What it says.
    Good,
    /// Its epoch or era is over.
    Over,
    /// Another epoch stands in the place of this one, which is over wherever this node meets it.
    Replaced(Epoch),
    /// This node remembers its end, and the store does not.
    Lost(Lost),
}

impl Belief {
    /// Of a record that was read with this epoch beside it.
    pub(super) fn of_read(record: &Record, beside: Option<Epoch>, known: Known) -> Self {
        match (record.epoch, beside) {
            (Some(epoch), Some(current)) if !epoch.is(current) => Self::Replaced(epoch),
            // That there is none says nothing about what there was.
            (Some(_), None) => Self::Over,
            (Some(_), Some(_)) | (None, _) => Self::of_kept(record, known),
        }
    }

    /// Of one that was read before, in its epoch, which has not changed as far as is known.
    pub(super) fn of_kept(record: &Record, known: Known) -> Self {
        match known.lost {
            Some(lost) => Self::Lost(lost),
            None if record.era < known.era => Self::Over,
            None => Self::Good,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::clock::UnixMillis;
    use crate::session::jar::Jar;
    use crate::session::policy::Timeouts;
    use crate::session::record::{Seed, Standing};

    const ITS: Epoch = Epoch([1; 16]);
    const OTHER: Epoch = Epoch([2; 16]);

    fn record(epoch: Option<Epoch>, era: u32) -> Record {
        let timeouts = Timeouts {
            idle: Duration::from_secs(1800),
            absolute: Duration::from_secs(3600),
            renew_every: Duration::from_secs(900),
            grace: Duration::from_secs(60),
            anonymous: Duration::from_secs(900),
        };
        let (seed, jar) = (Seed::new([7; 32]), Jar::default());
        let record = Record::new(seed, jar, Standing::Anonymous, &timeouts, UnixMillis(0));
        Record { epoch, era, ..record }
    }

    /// PROTOCOL 27: absent epoch, no session.
    #[test]
    fn a_record_is_good_for_its_epoch_and_era_and_as_long_as_its_end_is_not_remembered() {
        let lost = Lost::Revocation(ITS);
        for (epoch, beside, era, known, expected) in [
            (None, None, 3, None, Belief::Good),
            (None, Some(OTHER), 3, None, Belief::Good),
            (Some(ITS), Some(ITS), 3, None, Belief::Good),
            (Some(ITS), Some(OTHER), 3, None, Belief::Replaced(ITS)),
            (Some(ITS), None, 3, None, Belief::Over),
            (None, None, 2, None, Belief::Over),
            (Some(ITS), Some(ITS), 2, None, Belief::Over),
            (None, None, 3, Some(Lost::End), Belief::Lost(Lost::End)),
            (Some(ITS), Some(ITS), 3, Some(lost), Belief::Lost(lost)),
            // It is to be written again in any case.
            (Some(ITS), Some(ITS), 2, Some(lost), Belief::Lost(lost)),
            // Nothing was lost: the store knows of another.
            (Some(ITS), Some(OTHER), 3, Some(lost), Belief::Replaced(ITS)),
        ] {
            let (record, known) = (record(epoch, era), Known { era: 3, lost: known });
            let what = format!("{beside:?} {known:?} {era}");
            assert_eq!(Belief::of_read(&record, beside, known), expected, "{what}");
        }
    }

    #[test]
    fn what_was_read_before_is_asked_for_its_era_and_end_again() {
        for (era, lost, expected) in [
            (3, None, Belief::Good),
            (2, None, Belief::Over),
            (3, Some(Lost::End), Belief::Lost(Lost::End)),
        ] {
            let belief = Belief::of_kept(&record(Some(ITS), era), Known { era: 3, lost });
            assert_eq!(belief, expected, "{era} {lost:?}");
        }
    }
}
