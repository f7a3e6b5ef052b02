//! The text of a Set-Cookie line, as browsers read it: draft-ietf-httpbis-rfc6265bis section 5.6.

use std::time::{Duration, SystemTime};

const ATTRIBUTE_BYTES_MAX: usize = 1024;
const AGE_MAX: Duration = Duration::from_secs(400 * 24 * 3600);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SameSite {
    /// Not given: handled as Lax.
    Default,
    None,
    Lax,
    Strict,
}

/// The attributes that mean something, the last of each kind.
pub struct Attributes {
    pub domain: Option<String>,
    pub path: Option<String>,
    pub secure: bool,
    pub http_only: bool,
    pub same_site: SameSite,
    /// From `Max-Age`, else from `Expires`; at most 400 days from now.
    pub expires: Option<SystemTime>,
}

impl Attributes {
    pub fn parse<'a>(parts: impl Iterator<Item = &'a [u8]>, now: SystemTime) -> Self {
        let mut given = Self {
            domain: None,
            path: None,
            secure: false,
            http_only: false,
            same_site: SameSite::Default,
            expires: None,
        };
        let mut max_age = None;
        let mut date = None;
        for part in parts {
            let (name, value) = split_at_equals(part);
            let value = String::from_utf8_lossy(value.unwrap_or_default()).into_owned();
            if value.len() > ATTRIBUTE_BYTES_MAX {
                continue;
            }
            match name.to_ascii_lowercase().as_slice() {
                b"expires" => date = parse_date(&value).or(date),
                b"max-age" => max_age = parse_age(&value).or(max_age),
                b"domain" => {
                    given.domain =
                        Some(value.strip_prefix('.').unwrap_or(&value).to_ascii_lowercase());
                }
                b"path" => given.path = value.starts_with('/').then_some(value),
                b"secure" => given.secure = true,
                b"httponly" => given.http_only = true,
                b"samesite" => {
                    given.same_site = match value.to_ascii_lowercase().as_str() {
                        "none" => SameSite::None,
                        "lax" => SameSite::Lax,
                        "strict" => SameSite::Strict,
                        _ => SameSite::Default,
                    };
                }
                _ => {}
            }
        }
        given.expires = match max_age {
            Some(age) => Some(now + age),
            None => date.map(|at| at.min(now + AGE_MAX)),
        };
        given
    }
}

/// The part before the first `=` and the part after it, without blanks around them.
pub fn split_at_equals(part: &[u8]) -> (&[u8], Option<&[u8]>) {
    let trim = |text: &'_ [u8]| -> (usize, usize) {
        let blank = |byte: &u8| *byte == b' ' || *byte == b'\t';
        let start = text.iter().position(|byte| !blank(byte)).unwrap_or(text.len());
        let end = text.iter().rposition(|byte| !blank(byte)).map_or(start, |at| at + 1);
        (start, end)
    };
    match part.iter().position(|byte| *byte == b'=') {
        Some(at) => {
            let (name, value) = (&part[..at], &part[at + 1..]);
            let (n, v) = (trim(name), trim(value));
            (&name[n.0..n.1], Some(&value[v.0..v.1]))
        }
        None => {
            let (start, end) = trim(part);
            (&part[start..end], None)
        }
    }
}

/// `Max-Age`: digits, or a minus sign and digits, which means "at once".
fn parse_age(text: &str) -> Option<Duration> {
    let digits = text.strip_prefix('-').unwrap_or(text);
    if digits.is_empty() || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    if text.starts_with('-') {
        return Some(Duration::ZERO);
    }
    Some(digits.parse().map_or(AGE_MAX, |secs| Duration::from_secs(secs).min(AGE_MAX)))
}

/// The cookie date algorithm (RFC 6265 section 5.1.1), which takes far more than HTTP dates.
fn parse_date(text: &str) -> Option<SystemTime> {
    const MONTHS: &str = "janfebmaraprmayjunjulaugsepoctnovdec";
    let (mut time, mut day, mut month, mut year) = (None, None, None, None);
    let delimiter = |c: char| !(c.is_ascii_alphanumeric() || c == ':');
    for token in text.split(delimiter).filter(|token| !token.is_empty()) {
        let number = |token: &str| token.parse::<u64>().ok();
        let clock: Vec<u64> = token.split(':').filter_map(number).collect();
        let lower = token.to_ascii_lowercase();
        if time.is_none() && token.split(':').count() == 3 && clock.len() == 3 {
            time = Some((clock[0], clock[1], clock[2]));
        } else if day.is_none() && token.len() <= 2 && number(token).is_some() {
            day = number(token);
        } else if month.is_none()
            && let Some(at) = lower.get(..3).and_then(|name| MONTHS.find(name))
            && at % 3 == 0
        {
            month = Some(at as u64 / 3 + 1);
        } else if year.is_none() && matches!(token.len(), 2 | 4) {
            year = number(token).map(|year| match year {
                70..=99 => year + 1900,
                0..=69 => year + 2000,
                other => other,
            });
        }
    }
    let ((hour, minute, second), day, month, year) = (time?, day?, month?, year?);
    if !(1..=31).contains(&day) || year < 1601 || hour > 23 || minute > 59 || second > 59 {
        return None;
    }
    // Days from 1970 by the civil calendar, in years that begin with March.
    let (y, m) = if month > 2 { (year, month - 3) } else { (year - 1, month + 9) };
    let days = (365 * y + y / 4 - y / 100 + y / 400 + (153 * m + 2) / 5 + day - 1) as i64 - 719_468;
    let secs = days * 86_400 + (hour * 3600 + minute * 60 + second) as i64;
    match u64::try_from(secs) {
        Ok(secs) => Some(SystemTime::UNIX_EPOCH + Duration::from_secs(secs)),
        Err(_) => Some(SystemTime::UNIX_EPOCH),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_are_read_by_the_cookie_algorithm() {
        let at = |secs| Some(SystemTime::UNIX_EPOCH + Duration::from_secs(secs));
        for (text, expected) in [
            ("Mon, 23 Nov 2026 19:32:14 GMT", at(1_795_462_334)),
            ("Monday, 23-Nov-26 19:32:14 GMT", at(1_795_462_334)),
            ("Mon Nov 23 19:32:14 2026", at(1_795_462_334)),
            ("thu, 01 jan 1970 00:00:00 gmt", at(0)),
            ("Thu, 29 Feb 2024 00:00:00 GMT", at(1_709_164_800)),
            ("Fri, 01 Jan 1960 00:00:00 GMT", at(0)),
            ("23 Nov 2026", None),
            ("tomorrow", None),
        ] {
            assert_eq!(parse_date(text), expected, "{text}");
        }
    }
}
