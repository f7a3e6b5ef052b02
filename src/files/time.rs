//! Dates as HTTP and listings write them, and as nginx reads them.
//!
//! What comes from a file's metadata may lie in any year, so nothing here fails on one.

use std::fmt;

pub const MONTHS: [&str; 12] =
    ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
const DAYS: [&str; 7] = ["Thu", "Fri", "Sat", "Sun", "Mon", "Tue", "Wed"];
const DAY: i64 = 86_400;

/// A moment in UTC, in the calendar's words.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Civil {
    pub year: i64,
    /// From 1.
    pub month: u8,
    pub day: u8,
    pub hour: u8,
    pub minute: u8,
    pub second: u8,
    weekday: u8,
}

impl Civil {
    /// Seconds since 1970; those before count as its first, as nginx has it.
    pub fn of(seconds: i64) -> Self {
        let seconds = seconds.max(0);
        let (days, second) = (seconds / DAY, seconds % DAY);
        // Counted from the first of March of the year 0, so that leap days come last.
        let shifted = days + 719_468;
        let (era, day_of_era) = (shifted / 146_097, shifted % 146_097);
        let year_of_era =
            (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
        let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
        let month = (5 * day_of_year + 2) / 153;
        let day = day_of_year - (153 * month + 2) / 5 + 1;
        let month = if month < 10 { month + 3 } else { month - 9 };
        Self {
            year: era * 400 + year_of_era + i64::from(month <= 2),
            month: month as u8,
            day: day as u8,
            hour: (second / 3600) as u8,
            minute: (second / 60 % 60) as u8,
            second: (second % 60) as u8,
            weekday: (days % 7) as u8,
        }
    }

    pub fn month_name(&self) -> &'static str {
        usize::from(self.month).checked_sub(1).and_then(|index| MONTHS.get(index)).unwrap_or(&"")
    }
}

/// A date as HTTP writes it (RFC 9110 section 5.6.7).
#[derive(Clone, Copy, Debug)]
pub struct HttpDate(pub i64);

impl fmt::Display for HttpDate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let civil = Civil::of(self.0);
        let Civil { year, day, hour, minute, second, .. } = civil;
        let (weekday, month) = (DAYS[usize::from(civil.weekday % 7)], civil.month_name());
        write!(f, "{weekday}, {day:02} {month} {year:04} {hour:02}:{minute:02}:{second:02} GMT")
    }
}

/// Reads a date in one of the three forms of RFC 9110 section 5.6.7, as leniently as nginx: the names
/// of days and what follows the time are not looked at.
pub fn parse(text: &[u8]) -> Option<i64> {
    let end = text.iter().position(|byte| matches!(byte, b',' | b' '))?;
    let is_ansi = text.get(end) == Some(&b' ');
    let rest = text.get(end + 1..)?.trim_ascii_start();
    let (day, month, year, time) = if is_ansi { ansi(rest)? } else { standard(rest)? };
    let [hour, minute, second] = clock(time)?;
    let is_leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
    let longest = match month {
        2 => 28 + i64::from(is_leap),
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    };
    if day > longest || hour > 23 || minute > 59 || second > 59 {
        return None;
    }
    // As in `Civil::of`, the other way.
    let (year, month) = if month <= 2 { (year - 1, month + 9) } else { (year, month - 3) };
    let day_of_year = (153 * month + 2) / 5 + day - 1;
    let days =
        365 * year + year.div_euclid(4) - year.div_euclid(100) + year.div_euclid(400) + day_of_year
            - 719_468;
    Some(days * DAY + hour * 3600 + minute * 60 + second)
}

/// Day, month, year, and the time of day.
type Read<'a> = (i64, i64, i64, &'a [u8]);

/// `06 Nov 1994 08:49:37` and `06-Nov-94 08:49:37`.
fn standard(text: &[u8]) -> Option<Read<'_>> {
    let day = digits(text.get(..2)?)?;
    let separator = *text.get(2)?;
    let month = month(text.get(3..6)?)?;
    let (year, time) = match (separator, *text.get(6)?) {
        (b' ', b' ') => (digits(text.get(7..11)?)?, text.get(11..)?),
        (b'-', b'-') => {
            let year = digits(text.get(7..9)?)?;
            (year + if year < 70 { 2000 } else { 1900 }, text.get(9..)?)
        }
        _ => return None,
    };
    Some((day, month, year, time.trim_ascii_start()))
}

/// `Nov  6 08:49:37 1994`.
fn ansi(text: &[u8]) -> Option<Read<'_>> {
    let month = month(text.get(..3)?)?;
    let day = digits(text.get(4..6)?.trim_ascii_start())?;
    let time = text.get(7..15)?;
    let year = digits(text.get(16..20)?)?;
    Some((day, month, year, time))
}

fn month(text: &[u8]) -> Option<i64> {
    let index = MONTHS.iter().position(|month| month.as_bytes() == text)?;
    Some(index as i64 + 1)
}

fn clock(text: &[u8]) -> Option<[i64; 3]> {
    match text.get(..8)? {
        [a, b, b':', c, d, b':', e, f] => {
            Some([digits(&[*a, *b])?, digits(&[*c, *d])?, digits(&[*e, *f])?])
        }
        _ => None,
    }
}

fn digits(text: &[u8]) -> Option<i64> {
    if text.is_empty() || text.len() > 4 || !text.iter().all(u8::is_ascii_digit) {
        return None;
    }
    Some(text.iter().fold(0, |number, digit| number * 10 + i64::from(digit - b'0')))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn dates_are_written_as_http_has_them() {
        for (seconds, expected) in [
            (784_111_777, "Sun, 06 Nov 1994 08:49:37 GMT"),
            (0, "Thu, 01 Jan 1970 00:00:00 GMT"),
            (-1, "Thu, 01 Jan 1970 00:00:00 GMT"),
            (951_782_400, "Tue, 29 Feb 2000 00:00:00 GMT"),
            (4_107_542_399, "Sun, 28 Feb 2100 23:59:59 GMT"),
            (4_107_542_400, "Mon, 01 Mar 2100 00:00:00 GMT"),
            (253_402_300_800, "Sat, 01 Jan 10000 00:00:00 GMT"),
        ] {
            assert_eq!(HttpDate(seconds).to_string(), expected);
        }
        assert!(!HttpDate(i64::MAX).to_string().is_empty());
    }

    #[test]
    fn dates_are_read_in_three_forms() {
        for (text, expected) in [
            ("Sun, 06 Nov 1994 08:49:37 GMT", Some(784_111_777)),
            ("Sunday, 06-Nov-94 08:49:37 GMT", Some(784_111_777)),
            ("Sun Nov  6 08:49:37 1994", Some(784_111_777)),
            ("Xyz, 06 Nov 1994 08:49:37", Some(784_111_777)),
            ("Sun, 06 Nov 1994 08:49:37 CET", Some(784_111_777)),
            ("Mon, 29 Feb 2000 00:00:00 GMT", Some(951_782_400)),
            ("Mon, 29 Feb 1900 00:00:00 GMT", None),
            ("Mon, 31 Apr 2001 00:00:00 GMT", None),
            ("Sun, 06 nov 1994 08:49:37 GMT", None),
            ("Sun, 06 Nov 1994 24:49:37 GMT", None),
            ("Sun, 6 Nov 1994 08:49:37 GMT", None),
            ("Sun, 06 Nov 1994", None),
            ("tomorrow", None),
            ("", None),
        ] {
            assert_eq!(parse(text.as_bytes()), expected, "{text}");
        }
    }

    proptest! {
        #[test]
        fn what_is_written_is_read_again(seconds in 0..253_402_300_799_i64) {
            prop_assert_eq!(parse(HttpDate(seconds).to_string().as_bytes()), Some(seconds));
        }

        #[test]
        fn no_text_makes_it_panic(text in any::<Vec<u8>>()) {
            let _ = parse(&text);
        }
    }
}
