//! Cookie dates (RFC 6265bis, section 5.1.1): the lax reading that browsers have in common.
//!
//! Only where a cookie's `Expires` is read; every other date in HTTP is read strictly (`httpdate`).

use crate::clock::UnixMillis;

/// Reads a cookie date. Time zones are ignored, as the RFC asks: all of them mean UTC.
///
/// A date before 1970 becomes 0, which is as much in the past. `None` where the time, the day, the
/// month or the year is missing or out of range, or where there is no such day.
pub fn parse(text: &[u8]) -> Option<UnixMillis> {
    let (mut time, mut day, mut month, mut year) = (None, None, None, None);
    for token in text.split(|byte| is_delimiter(*byte)).filter(|token| !token.is_empty()) {
        // A token counts once, for the first of these that is still missing.
        let _found = fill(&mut time, || read_time(token))
            || fill(&mut day, || Some(digits(token, 1, 2)?.0))
            || fill(&mut month, || read_month(token))
            || fill(&mut year, || Some(digits(token, 2, 4)?.0));
    }
    let ((hour, minute, second), day, month) = (time?, day?, month?);
    let year = match year? {
        year @ 70..=99 => year + 1900,
        year @ 0..=69 => year + 2000,
        year => year,
    };
    if year < 1601 || hour > 23 || minute > 59 || second > 59 {
        return None;
    }
    if day < 1 || day > days_in(month, year) {
        return None;
    }
    let days = days_since_epoch(year, month, day);
    let seconds = days * 86_400 + i64::from(hour * 3600 + minute * 60 + second);
    Some(UnixMillis(u64::try_from(seconds * 1000).unwrap_or(0)))
}

fn fill<T>(slot: &mut Option<T>, read: impl FnOnce() -> Option<T>) -> bool {
    if slot.is_none() {
        *slot = read();
        return slot.is_some();
    }
    false
}

fn is_delimiter(byte: u8) -> bool {
    matches!(byte, 0x09 | 0x20..=0x2f | 0x3b..=0x40 | 0x5b..=0x60 | 0x7b..=0x7e)
}

/// Reads the digits that a token begins with, where there are `min..=max` of them and no more.
fn digits(token: &[u8], min: usize, max: usize) -> Option<(u32, &[u8])> {
    let len = token.iter().take_while(|byte| byte.is_ascii_digit()).count();
    if len < min || len > max {
        return None;
    }
    let (digits, rest) = token.split_at(len);
    Some((digits.iter().fold(0, |sum, digit| sum * 10 + u32::from(digit - b'0')), rest))
}

fn read_time(token: &[u8]) -> Option<(u32, u32, u32)> {
    let (hour, rest) = digits(token, 1, 2)?;
    let (minute, rest) = digits(rest.strip_prefix(b":")?, 1, 2)?;
    let (second, _anything) = digits(rest.strip_prefix(b":")?, 1, 2)?;
    Some((hour, minute, second))
}

/// Reads a month, 1 to 12, from its first three letters.
fn read_month(token: &[u8]) -> Option<u32> {
    const MONTHS: [&[u8; 3]; 12] = [
        b"jan", b"feb", b"mar", b"apr", b"may", b"jun", b"jul", b"aug", b"sep", b"oct", b"nov",
        b"dec",
    ];
    let name = token.first_chunk::<3>()?;
    (1..).zip(MONTHS).find(|(_, month)| name.eq_ignore_ascii_case(*month)).map(|(number, _)| number)
}

fn days_in(month: u32, year: u32) -> u32 {
    match month {
        2 if year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400)) => {
            29
        }
        2 => 28,
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    }
}

/// Days from 1970-01-01 in the Gregorian calendar; negative before it.
fn days_since_epoch(year: u32, month: u32, day: u32) -> i64 {
    // Years begin in March here, so that the leap day is the last of its year.
    let (year, month) = if month > 2 { (year, month - 3) } else { (year - 1, month + 9) };
    let (year, day_of_year) = (i64::from(year), i64::from((153 * month + 2) / 5 + day - 1));
    365 * year + year / 4 - year / 100 + year / 400 + day_of_year - 719_468
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(text: &str, expected: Option<&str>) {
        let expected = expected.map(|date| {
            let date = httpdate::parse_http_date(date).expect("a date of RFC 9110");
            let since = date.duration_since(std::time::UNIX_EPOCH).expect("after 1970");
            UnixMillis(u64::try_from(since.as_millis()).expect("a date of our age"))
        });
        assert_eq!(parse(text.as_bytes()), expected, "{text:?}");
    }

    #[test]
    fn dates_that_servers_send() {
        check("Wed, 09 Dec 2009 16:27:23 GMT", Some("Wed, 09 Dec 2009 16:27:23 GMT"));
        check("Mon, 10-Dec-2007 17:02:24 GMT", Some("Mon, 10 Dec 2007 17:02:24 GMT"));
        check("Thursday, 01-Jan-1970 00:00:00 GMT", Some("Thu, 01 Jan 1970 00:00:00 GMT"));
        check("Thu, 01-Jan-1970 00:00:10 GMT", Some("Thu, 01 Jan 1970 00:00:10 GMT"));
        check("Mon Dec 10 16:32:30 2007 GMT", Some("Mon, 10 Dec 2007 16:32:30 GMT"));
        check("Mon, 10-Dec-07 20:35:03 GMT", Some("Mon, 10 Dec 2007 20:35:03 GMT"));
        check("Wednesday, 01-Jan-10 0:0:00 GMT", Some("Fri, 01 Jan 2010 00:00:00 GMT"));
        check("Saturday, 8-Dec-2012 21:24:09 GMT", Some("Sat, 08 Dec 2012 21:24:09 GMT"));
        check("Thu, 31 Dec 23:55:55 2037 GMT", Some("Thu, 31 Dec 2037 23:55:55 GMT"));
        check("Sun,  9 Dec 2012 13:42:05 GMT", Some("Sun, 09 Dec 2012 13:42:05 GMT"));
        check("Wed Dec 12 2007 08:44:07 GMT-0500 (EST)", Some("Wed, 12 Dec 2007 08:44:07 GMT"));
        check("Thu, 10 Dec 2009 13:57:2 GMT", Some("Thu, 10 Dec 2009 13:57:02 GMT"));
        check("Fri, 31 Dec 9999 23:59:59 GMT", Some("Fri, 31 Dec 9999 23:59:59 GMT"));
        check("Sunday, 06-Nov-94 08:49:37 GMT", Some("Sun, 06 Nov 1994 08:49:37 GMT"));
        check("Sun Nov  6 08:49:37 1994", Some("Sun, 06 Nov 1994 08:49:37 GMT"));
    }

    #[test]
    fn odd_dates_that_browsers_agree_on() {
        check("Thu, 19/Apr\\2007 16:00:00 GMT", Some("Thu, 19 Apr 2007 16:00:00 GMT"));
        check(", 1-Jan-2003 00:00:00 GMT", Some("Wed, 01 Jan 2003 00:00:00 GMT"));
        check("WillyWonka  ,  18-apr-07   22:50:12", Some("Wed, 18 Apr 2007 22:50:12 GMT"));
        check("Mon, 18-Apr-77 22:50:13 GMT", Some("Mon, 18 Apr 1977 22:50:13 GMT"));
        check("\"Sat, 15-Apr-17\\\"21:01:22\\\"GMT\"", Some("Sat, 15 Apr 2017 21:01:22 GMT"));
        check("Partyday, 18 - Apri-07 22:50:12", Some("Wed, 18 Apr 2007 22:50:12 GMT"));
        check("Wednes, 1-Januar-2003 00:00:00 GMT", Some("Wed, 01 Jan 2003 00:00:00 GMT"));
        check("Sat, 15-Apr-17 21:01:22 GMT-2", Some("Sat, 15 Apr 2017 21:01:22 GMT"));
        check("Sat, 15-Apr-17 21:01:22 GMT-0400 (EDT)", Some("Sat, 15 Apr 2017 21:01:22 GMT"));
        check("Sat, 15-Apr-17 21:01:22 -0400", Some("Sat, 15 Apr 2017 21:01:22 GMT"));
        check("Sat, 15-Apr-17 21:01:22 (hello there)", Some("Sat, 15 Apr 2017 21:01:22 GMT"));
        check("Sat, 15-Apr-17 21:01:22 11:22:33", Some("Sat, 15 Apr 2017 21:01:22 GMT"));
        check("Sat, 15-Apr-17 ::00 21:01:22", Some("Sat, 15 Apr 2017 21:01:22 GMT"));
        check("Sat, 15-Apr-17 boink:z 21:01:22", Some("Sat, 15 Apr 2017 21:01:22 GMT"));
        check("22:50:12 Thu Apr 18 2007 GMT", Some("Wed, 18 Apr 2007 22:50:12 GMT"));
        check("Thu Apr 22:50:12 18 2007 GMT", Some("Wed, 18 Apr 2007 22:50:12 GMT"));
        check("15-Sat, Apr 21:01:22 GMT 17", Some("Sat, 15 Apr 2017 21:01:22 GMT"));
        check("15 17 Apr 21:01:22", Some("Sat, 15 Apr 2017 21:01:22 GMT"));
        check("2017 April 15 21:01:22", Some("Sat, 15 Apr 2017 21:01:22 GMT"));
        check("15Apr2016 x 2017 Apr 1:2:3x", Some("Sat, 15 Apr 2017 01:02:03 GMT"));
        check("1 Jan 69 00:00:00", Some("Tue, 01 Jan 2069 00:00:00 GMT"));
        check("1 Jan 70 00:00:00", Some("Thu, 01 Jan 1970 00:00:00 GMT"));
        check("1 Jan 2024 23:59:59.999", Some("Mon, 01 Jan 2024 23:59:59 GMT"));
    }

    #[test]
    fn no_dates() {
        for text in [
            "",
            "   ",
            "IAintNoDateFool",
            "Sat, 15-Apr-17 91:22:33 21:01:22",
            "98 April 17 21:01:22",
            "Thu, 012-Aug-2008 20:49:07 GMT",
            "Thu, 12-Aug-31841 20:49:07 GMT",
            "Thu, 12-Aug-9999999999 20:49:07 GMT",
            "Thu, 999999999999-Aug-2007 20:49:07 GMT",
            "Thu, 12-Aug-2007 20:61:99999999999 GMT",
            "Mon, 01-Jan-2011 00: 00:00 GMT",
            "1 Jan 2024 24:00:00",
            "1 Jan 2024 23:60:00",
            "1 Jan 2024 23:59:60",
            "0 Jan 2024 00:00:00",
            "32 Jan 2024 00:00:00",
            "31 Apr 2024 00:00:00",
            "30 Feb 2024 00:00:00",
            "29 Feb 2023 00:00:00",
            "29 Feb 1900 00:00:00",
            "1 Jan 1600 00:00:00",
            "1 Jan 100 00:00:00",
            "1 Jan 2024",
            "Jan 2024 00:00:00",
            "1 2024 00:00:00",
            "1 Jan 00:00:00",
            "1 J\u{e4}n 2024 00:00:00",
            "2024-01-01T00:00:00Z",
            "1760000000",
            "0",
            "Session",
        ] {
            check(text, None);
        }
    }

    #[test]
    fn leap_days_are_days() {
        check("29 Feb 2024 00:00:00", Some("Thu, 29 Feb 2024 00:00:00 GMT"));
        check("29 Feb 2000 00:00:00", Some("Tue, 29 Feb 2000 00:00:00 GMT"));
        check("1 Mar 2100 00:00:00", Some("Mon, 01 Mar 2100 00:00:00 GMT"));
    }

    #[test]
    fn dates_before_1970_are_in_the_past() {
        assert_eq!(parse(b"1 Jan 1601 00:00:00"), Some(UnixMillis(0)));
        assert_eq!(parse(b"31 Dec 1969 23:59:59"), Some(UnixMillis(0)));
        assert_eq!(parse(b"1 Jan 1970 00:00:01"), Some(UnixMillis(1000)));
    }

    #[test]
    fn every_day_follows_the_one_before() {
        let mut expected = days_since_epoch(1601, 1, 1);
        assert_eq!(expected, -134_774);
        for year in 1601..=2400 {
            for month in 1..=12 {
                for day in 1..=days_in(month, year) {
                    assert_eq!(
                        days_since_epoch(year, month, day),
                        expected,
                        "{year}-{month}-{day}"
                    );
                    expected += 1;
                }
            }
        }
    }
}
