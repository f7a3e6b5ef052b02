//! How long an answer stays fresh (nginx `expires`): `Expires` and `Cache-Control` together.

use super::time::HttpDate;

const DAY: i64 = 86_400;

/// nginx's `expires`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Expires {
    /// Nothing is said.
    #[default]
    Off,
    /// It is old already.
    Epoch,
    /// Ten years.
    Max,
    /// So many seconds after the answer.
    After(i64),
    /// So many seconds after the file's last change.
    Modified(i64),
    /// At this second of the day, today or tomorrow.
    Daily(i64),
}

/// Why a text is no `expires`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotExpires {
    #[error("is no time")]
    Time,
    #[error("is a time of day, which does not go with `modified`")]
    DailyModified,
    #[error("is later than the day is long")]
    Daily,
}

impl Expires {
    /// Reads `off`, `epoch`, `max`, `[modified] TIME` or `@TIME`.
    ///
    /// # Errors
    /// Whatever else it is.
    pub fn read(text: &str) -> Result<Self, NotExpires> {
        match text {
            "off" => return Ok(Self::Off),
            "epoch" => return Ok(Self::Epoch),
            "max" => return Ok(Self::Max),
            _ => {}
        }
        if let Some((word, time)) = text.split_once(char::is_whitespace) {
            return match (word, time.trim_start()) {
                ("modified", time) if time.starts_with('@') => Err(NotExpires::DailyModified),
                ("modified", time) => signed(time).map(Self::Modified).ok_or(NotExpires::Time),
                // `1d 12h` is one time.
                _ => signed(text).map(Self::After).ok_or(NotExpires::Time),
            };
        }
        match text.strip_prefix('@') {
            Some(time) => match seconds(time).ok_or(NotExpires::Time)? {
                time @ 0..=DAY => Ok(Self::Daily(time)),
                _ => Err(NotExpires::Daily),
            },
            None => signed(text).map(Self::After).ok_or(NotExpires::Time),
        }
    }

    /// What the answer says. `modified` is the file's last change; without one `modified` counts from
    /// now.
    pub fn told(self, now: i64, modified: Option<i64>) -> Option<Told> {
        let fresh = |expires: i64, age: i64| Told { expires, age: Some(age) };
        Some(match self {
            Self::Off => return None,
            Self::Epoch => Told { expires: 1, age: None },
            Self::Max => fresh(2_145_916_555, 315_360_000),
            Self::After(0) | Self::Modified(0) => fresh(now, 0),
            Self::After(seconds) => aged(now.saturating_add(seconds), seconds, seconds),
            Self::Modified(seconds) => {
                let expires = modified.unwrap_or(now).saturating_add(seconds);
                aged(expires, expires.saturating_sub(now), seconds)
            }
            Self::Daily(second) => {
                let today = now - now.rem_euclid(DAY) + second;
                let expires = if today > now { today } else { today + DAY };
                fresh(expires, expires - now)
            }
        })
    }
}

fn aged(expires: i64, age: i64, configured: i64) -> Told {
    Told { expires, age: Some(age).filter(|age| *age >= 0 && configured >= 0) }
}

/// What an answer says of its freshness.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Told {
    expires: i64,
    /// None where it is old already.
    age: Option<i64>,
}

impl Told {
    pub fn expires(self) -> HttpDate {
        HttpDate(self.expires)
    }

    pub fn cache_control(self) -> String {
        match self.age {
            Some(age) => format!("max-age={age}"),
            None => "no-cache".to_owned(),
        }
    }
}

/// `-1h`, `+1h`, `1h`.
fn signed(text: &str) -> Option<i64> {
    match text.strip_prefix('-') {
        Some(time) => seconds(time).map(|seconds| -seconds),
        None => seconds(text.strip_prefix('+').unwrap_or(text)),
    }
}

/// nginx's times: `1d12h`, `90`, `1M`; units fall, and a number without one is seconds.
fn seconds(text: &str) -> Option<i64> {
    const UNITS: [(char, i64); 7] = [
        ('y', 365 * DAY),
        ('M', 30 * DAY),
        ('w', 7 * DAY),
        ('d', DAY),
        ('h', 3600),
        ('m', 60),
        ('s', 1),
    ];
    let mut units = UNITS.iter();
    let mut sum: i64 = 0;
    let mut rest = text;
    if rest.is_empty() {
        return None;
    }
    while !rest.is_empty() {
        let end = rest.find(|c: char| !c.is_ascii_digit()).unwrap_or(rest.len());
        let number: i64 = rest.get(..end)?.parse().ok()?;
        rest = rest.get(end..)?;
        let unit = match rest.chars().next() {
            None => 1,
            // nginx takes a blank for the end of seconds.
            Some(' ') => {
                units.find(|(name, _)| *name == 's')?;
                1
            }
            Some(name) => units.find(|(unit, _)| *unit == name)?.1,
        };
        rest = rest.get(1..).unwrap_or_default().trim_start_matches(' ');
        sum = sum.checked_add(number.checked_mul(unit)?)?;
    }
    // A hundred years; later ones would overflow dates.
    (sum <= 100 * 365 * DAY).then_some(sum)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_read_as_nginx_does() {
        use Expires::{After, Daily, Epoch, Max, Modified, Off};
        for (text, expected) in [
            ("off", Ok(Off)),
            ("epoch", Ok(Epoch)),
            ("max", Ok(Max)),
            ("30d", Ok(After(30 * DAY))),
            ("1d12h", Ok(After(36 * 3600))),
            ("1d 12h", Ok(After(36 * 3600))),
            ("+24h", Ok(After(DAY))),
            ("-1", Ok(After(-1))),
            ("0", Ok(After(0))),
            ("90", Ok(After(90))),
            ("1M", Ok(After(30 * DAY))),
            ("modified +24h", Ok(Modified(DAY))),
            ("modified  -1h", Ok(Modified(-3600))),
            ("@15h30m", Ok(Daily(55_800))),
            ("@24h", Ok(Daily(DAY))),
            ("@25h", Err(NotExpires::Daily)),
            ("modified @15h", Err(NotExpires::DailyModified)),
            ("12h1d", Err(NotExpires::Time)),
            ("1ms", Err(NotExpires::Time)),
            ("soon", Err(NotExpires::Time)),
            ("", Err(NotExpires::Time)),
            ("9223372036854775807y", Err(NotExpires::Time)),
            ("1é", Err(NotExpires::Time)),
        ] {
            assert_eq!(Expires::read(text), expected, "{text}");
        }
    }

    #[test]
    fn both_fields_say_the_same() {
        let now = 784_111_777;
        for (text, expected) in [
            ("epoch", "Thu, 01 Jan 1970 00:00:01 GMT; no-cache"),
            ("max", "Thu, 31 Dec 2037 23:55:55 GMT; max-age=315360000"),
            ("0", "Sun, 06 Nov 1994 08:49:37 GMT; max-age=0"),
            ("1h", "Sun, 06 Nov 1994 09:49:37 GMT; max-age=3600"),
            ("-1", "Sun, 06 Nov 1994 08:49:36 GMT; no-cache"),
            ("@9h", "Sun, 06 Nov 1994 09:00:00 GMT; max-age=623"),
            ("@8h", "Mon, 07 Nov 1994 08:00:00 GMT; max-age=83423"),
            ("modified 2h", "Sun, 06 Nov 1994 09:49:37 GMT; max-age=3600"),
            ("modified 30m", "Sun, 06 Nov 1994 08:19:37 GMT; no-cache"),
        ] {
            let told = Expires::read(text).expect("it is one").told(now, Some(now - 3600));
            let told = told.expect("it says something");
            assert_eq!(format!("{}; {}", told.expires(), told.cache_control()), expected, "{text}");
        }
        assert_eq!(Expires::Off.told(now, None), None);
    }
}
