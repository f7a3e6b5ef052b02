//! `limit_req`: how many requests may come in how much time. A leaky bucket for each key, in thousandths of
//! a request and milliseconds, exactly as nginx counts.

use crate::clock::UnixMillis;

use super::lru::Lru;

/// How fast buckets leak: thousandths of a request in a second.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rate(u64);

/// The buckets of a zone.
#[derive(Debug)]
pub struct Buckets {
    rate: Rate,
    buckets: Lru<Bucket>,
}

/// One key's.
#[derive(Clone, Copy, Debug)]
struct Bucket {
    /// Thousandths of requests beyond the rate.
    excess: u64,
    last: UnixMillis,
}

/// How much beyond the rate is let in, in requests.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Burst {
    pub burst: u64,
    /// What is beyond this waits; `None`: nothing does.
    pub delay: Option<u64>,
}

/// Why a request is not let in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refused {
    /// So many thousandths of requests beyond the rate.
    Beyond(u64),
    /// There is no room for another key.
    Full,
}

/// How long a request waits, and for how many thousandths beyond the rate.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Wait {
    pub millis: u64,
    pub excess: u64,
}

/// Keys that are not counted, since they are longer than this.
pub const KEY_BYTES_MAX: usize = 65_535;

/// After so long an empty bucket is forgotten.
const IDLE_MILLIS: u64 = 60_000;

impl Rate {
    /// Reads `10r/s` or `30r/m`.
    pub fn parse(text: &str) -> Option<Self> {
        let (number, seconds) = match text.strip_suffix("r/s") {
            Some(number) => (number, 1),
            None => (text.strip_suffix("r/m")?, 60),
        };
        let is_number = number.bytes().all(|byte| byte.is_ascii_digit());
        let number = number.parse::<u64>().ok().filter(|number| is_number && *number > 0)?;
        Some(Self(number.checked_mul(1000)? / seconds))
    }
}

impl Buckets {
    pub fn new(rate: Rate, bytes_max: usize) -> Self {
        Self { rate, buckets: Lru::new(bytes_max) }
    }

    /// Whether a request may come in; it is not counted yet.
    ///
    /// # Errors
    /// It may not.
    pub fn ask(&mut self, key: &[u8], burst: Burst, now: UnixMillis) -> Result<(), Refused> {
        let rate = self.rate;
        if let Some(bucket) = self.buckets.get(key) {
            let excess = bucket.after(rate, now);
            if excess > burst.burst.saturating_mul(1000) {
                return Err(Refused::Beyond(excess));
            }
            return Ok(());
        }
        self.expire(now, false);
        if !self.buckets.has_room(key) {
            self.expire(now, true);
        }
        if !self.buckets.has_room(key) {
            return Err(Refused::Full);
        }
        self.buckets.insert(key, Bucket { excess: 0, last: UnixMillis(0) });
        Ok(())
    }

    /// Counts a request that comes in, and says how long it waits.
    pub fn count(&mut self, key: &[u8], burst: Burst, now: UnixMillis) -> Wait {
        let rate = self.rate;
        let excess = match self.buckets.get(key) {
            Some(bucket) => {
                let excess = bucket.after(rate, now);
                // A request in the same millisecond leaves the time as it is.
                if bucket.elapsed(now) > 0 {
                    bucket.last = now;
                }
                bucket.excess = excess;
                excess
            }
            // Another key has taken its place meanwhile.
            None => 0,
        };
        let free = burst.delay.map_or(u64::MAX, |delay| delay.saturating_mul(1000));
        let millis = excess.saturating_sub(free).saturating_mul(1000) / rate.0.max(1);
        Wait { millis, excess }
    }

    /// Forgets one or two keys whose buckets are empty; by force, the oldest one whatever it holds.
    fn expire(&mut self, now: UnixMillis, by_force: bool) {
        for number in usize::from(!by_force)..3 {
            let Some(bucket) = self.buckets.oldest() else { return };
            let idle = now.0.abs_diff(bucket.last.0);
            let is_over = idle >= IDLE_MILLIS && bucket.excess <= self.rate.leaks(idle);
            if number > 0 && !is_over {
                return;
            }
            self.buckets.remove_oldest();
        }
    }
}

impl Rate {
    fn leaks(self, millis: u64) -> u64 {
        self.0.saturating_mul(millis) / 1000
    }
}

impl Bucket {
    /// What there is beyond the rate with one more request.
    fn after(&self, rate: Rate, now: UnixMillis) -> u64 {
        (self.excess + 1000).saturating_sub(rate.leaks(self.elapsed(now)))
    }

    /// A clock that was set back a little stands still; one that was set back far starts anew.
    fn elapsed(&self, now: UnixMillis) -> u64 {
        match now.0.checked_sub(self.last.0) {
            Some(elapsed) => elapsed,
            None if self.last.0 - now.0 > IDLE_MILLIS => 1,
            None => 0,
        }
    }
}

/// Asks several zones, and counts the request in all of them if none refuses it. The longest wait counts;
/// which limit that is, by its index.
///
/// # Errors
/// The first limit that refuses it, by its index: it is counted nowhere then.
pub fn admit<Z>(
    limits: &[(Z, &[u8], Burst)],
    now: UnixMillis,
    mut with: impl FnMut(&Z, &mut dyn FnMut(&mut Buckets)),
) -> Result<(usize, Wait), (usize, Refused)> {
    for (index, (zone, key, burst)) in limits.iter().enumerate() {
        let mut asked = Ok(());
        with(zone, &mut |buckets| asked = buckets.ask(key, *burst, now));
        asked.map_err(|refused| (index, refused))?;
    }
    let mut longest = (0, Wait::default());
    // From the last one: of two that are as long that one counts, as in nginx.
    for (index, (zone, key, burst)) in limits.iter().enumerate().rev() {
        let mut wait = Wait::default();
        with(zone, &mut |buckets| wait = buckets.count(key, *burst, now));
        if wait.millis > longest.1.millis {
            longest = (index, wait);
        }
    }
    Ok(longest)
}

#[cfg(test)]
mod tests {
    use super::*;

    const NONE: Burst = Burst { burst: 0, delay: Some(0) };

    fn rate(text: &str) -> Rate {
        Rate::parse(text).expect(text)
    }

    /// What comes of requests of one key at these times: thousandths waited for, or refused.
    #[track_caller]
    fn check(speed: &str, burst: Burst, times: &[(u64, Result<u64, u64>)]) {
        let mut buckets = Buckets::new(rate(speed), 1 << 20);
        for (time, expected) in times {
            let now = UnixMillis(1_000_000 + time);
            let came = match buckets.ask(b"k", burst, now) {
                Ok(()) => Ok(buckets.count(b"k", burst, now).millis),
                Err(Refused::Beyond(excess)) => Err(excess),
                Err(Refused::Full) => panic!("there is room"),
            };
            assert_eq!(came, *expected, "{speed} {burst:?} at {time}");
        }
    }

    #[test]
    fn rates_are_read_as_nginx_reads_them() {
        assert_eq!((rate("10r/s").0, rate("1r/m").0, rate("90r/m").0), (10_000, 16, 1500));
        for text in ["", "10", "r/s", "0r/s", "-1r/s", "+1r/s", "1.5r/s", "1r/h", "10 r/s"] {
            assert_eq!(Rate::parse(text), None, "{text}");
        }
    }

    #[test]
    fn what_comes_too_fast_is_refused_and_not_counted() {
        check(
            "1r/s",
            NONE,
            &[
                (0, Ok(0)),
                (0, Err(1000)),
                (500, Err(500)),
                (999, Err(1)),
                (1000, Ok(0)),
                (1999, Err(1)),
                (2000, Ok(0)),
                (60_000, Ok(0)),
            ],
        );
        check("2r/s", NONE, &[(0, Ok(0)), (499, Err(2)), (500, Ok(0))]);
    }

    #[test]
    fn a_burst_waits_for_its_turn() {
        let burst = Burst { burst: 2, delay: Some(0) };
        check(
            "1r/s",
            burst,
            &[
                (0, Ok(0)),
                (0, Ok(1000)),
                (0, Ok(2000)),
                (0, Err(3000)),
                (1000, Ok(2000)),
                (1000, Err(3000)),
                (9000, Ok(0)),
            ],
        );
        check(
            "1r/s",
            Burst { delay: None, ..burst },
            &[(0, Ok(0)), (0, Ok(0)), (0, Ok(0)), (0, Err(3000))],
        );
        check(
            "1r/s",
            Burst { delay: Some(1), ..burst },
            &[(0, Ok(0)), (0, Ok(0)), (0, Ok(1000)), (0, Err(3000))],
        );
    }

    #[test]
    fn a_clock_that_was_set_back_stands_still() {
        let mut buckets = Buckets::new(rate("1r/s"), 1 << 20);
        let at = |millis| UnixMillis(millis);
        assert_eq!(buckets.ask(b"k", NONE, at(500_000)), Ok(()));
        buckets.count(b"k", NONE, at(500_000));
        assert_eq!(buckets.ask(b"k", NONE, at(499_000)), Err(Refused::Beyond(1000)));
        assert_eq!(buckets.ask(b"k", NONE, at(400_000)), Err(Refused::Beyond(999)));
    }

    #[test]
    fn a_zone_forgets_who_came_longest_ago() {
        let mut buckets = Buckets::new(rate("1r/s"), 2 * 128);
        let mut come = |key: &[u8], millis: u64| {
            let now = UnixMillis(1_000_000 + millis);
            buckets.ask(key, NONE, now)?;
            buckets.count(key, NONE, now);
            Ok::<_, Refused>(buckets.buckets.len())
        };
        assert_eq!((come(b"a", 0), come(b"b", 1)), (Ok(1), Ok(2)));
        assert_eq!(come(b"a", 2), Err(Refused::Beyond(998)), "which counts as use");
        assert_eq!(come(b"c", 3), Ok(2), "b is forgotten");
        assert_eq!(come(b"b", 4), Ok(2), "and comes anew, in the place of a");
        assert_eq!(come(&[7; 300], 5), Err(Refused::Full), "where one place is not enough");
        assert_eq!(come(b"d", 100_000), Ok(1), "empty buckets are forgotten");
    }

    #[test]
    fn of_several_limits_the_first_refusal_or_the_longest_wait_counts() {
        let zones = [rate("1r/s"), rate("10r/s")].map(|rate| Buckets::new(rate, 1 << 20));
        let mut zones = zones;
        let burst = |burst| Burst { burst, delay: Some(0) };
        let limits = [(0, &b"a"[..], burst(2)), (1, &b"b"[..], burst(1))];
        let mut admit = |millis: u64| {
            super::admit(&limits, UnixMillis(1_000_000 + millis), |zone, with| {
                with(&mut zones[*zone])
            })
        };
        assert_eq!(admit(0), Ok((0, Wait::default())));
        assert_eq!(admit(0), Ok((0, Wait { millis: 1000, excess: 1000 })));
        assert_eq!(admit(0), Err((1, Refused::Beyond(2000))));
        assert_eq!(
            admit(100),
            Ok((0, Wait { millis: 1900, excess: 1900 })),
            "it was counted nowhere"
        );
        assert_eq!(admit(1000), Ok((0, Wait { millis: 2000, excess: 2000 })));
        assert_eq!(admit(1100), Err((0, Refused::Beyond(2900))));
    }
}
