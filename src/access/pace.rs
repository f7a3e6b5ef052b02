//! `limit_rate`: how fast an answer may go.

use std::time::Duration;

/// Bytes in a second, once so many have gone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pace {
    pub bytes_per_second: u64,
    pub after: u64,
}

impl Pace {
    /// How many bytes may go now, of a request that began so long ago and of whose answer so many went.
    ///
    /// # Errors
    /// None may; in so long they may again.
    pub fn room(self, elapsed: Duration, sent: u64) -> Result<u64, Duration> {
        let seconds = elapsed.as_secs().saturating_add(1);
        let may = self.bytes_per_second.saturating_mul(seconds).saturating_add(self.after);
        match may.checked_sub(sent).filter(|room| *room > 0) {
            Some(room) => Ok(room),
            None => {
                // Each second adds its bytes when it begins.
                let steps = sent.saturating_sub(may) / self.bytes_per_second.max(1) + 1;
                let then = Duration::from_secs(elapsed.as_secs().saturating_add(steps));
                Err(then.saturating_sub(elapsed))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_second_adds_its_bytes() {
        let pace = Pace { bytes_per_second: 1000, after: 500 };
        let millis = Duration::from_millis;
        for (elapsed, sent, expected) in [
            (0, 0, Ok(1500)),
            (0, 1499, Ok(1)),
            (0, 1500, Err(millis(1000))),
            (0, 2600, Err(millis(2000))),
            (999, 1750, Err(millis(1))),
            (1000, 1750, Ok(750)),
            (3000, 0, Ok(4500)),
        ] {
            assert_eq!(pace.room(millis(elapsed), sent), expected, "{elapsed} {sent}");
        }
        let fast = Pace { bytes_per_second: u64::MAX, after: u64::MAX };
        assert_eq!(fast.room(millis(u64::MAX), 5), Ok(u64::MAX - 5));
    }
}
