//! Times: `1h 30m`, `500ms`, a bare number of seconds.

/// Units in the order in which they must come, with their lengths in seconds.
const UNITS: [(u8, u64); 7] = [
    (b'y', 60 * 60 * 24 * 365),
    (b'M', 60 * 60 * 24 * 30),
    (b'w', 60 * 60 * 24 * 7),
    (b'd', 60 * 60 * 24),
    (b'h', 60 * 60),
    (b'm', 60),
    (b's', 1),
];

/// What nginx can hold.
const TIME_MAX: u64 = i64::MAX as u64;

/// A time in milliseconds, for directives that have them. Years and months are too long for these.
pub fn millis(text: &str) -> Option<u64> {
    time(text, 2, 1000)
}

/// A time in seconds; `ms` is no unit of theirs.
pub fn seconds(text: &str) -> Option<u64> {
    time(text, 0, 1)
}

/// Adds up a time in the `scale`-th part of a second, with units from that number on.
///
/// As nginx does it: units without a number are zero, a number without a unit is seconds wherever it
/// ends the text, and a space behind a number is as good as `s`.
fn time(text: &str, first: usize, scale: u64) -> Option<u64> {
    let mut rest = text.as_bytes();
    let mut next_unit = first;
    let (mut total, mut value) = (0_u64, 0_u64);
    while let Some((&next, after)) = rest.split_first() {
        rest = after;
        if next.is_ascii_digit() {
            value = bounded(value.checked_mul(10)?.checked_add(u64::from(next - b'0')))?;
            continue;
        }
        let length = if next == b'm' && rest.first() == Some(&b's') {
            if scale == 1 || next_unit > UNITS.len() {
                return None;
            }
            rest = &rest[1..];
            next_unit = UNITS.len() + 1;
            1
        } else {
            let index = match next {
                b' ' => UNITS.len() - 1,
                _ => UNITS.iter().position(|(unit, _)| *unit == next)?,
            };
            if index < next_unit {
                return None;
            }
            next_unit = if next == b' ' { UNITS.len() + 1 } else { index + 1 };
            UNITS[index].1 * scale
        };
        total = bounded(total.checked_add(bounded(value.checked_mul(length))?))?;
        value = 0;
        while let Some(after) = rest.strip_prefix(b" ") {
            rest = after;
        }
    }
    let digits = text.bytes().any(|next| next.is_ascii_digit());
    let total = bounded(total.checked_add(bounded(value.checked_mul(scale))?))?;
    digits.then_some(total)
}

fn bounded(time: Option<u64>) -> Option<u64> {
    time.filter(|time| *time <= TIME_MAX)
}

#[cfg(test)]
mod tests {
    use super::{millis, seconds};

    #[test]
    fn times_are_sums_of_units_in_falling_order() {
        for (text, expected) in [
            ("0", Some(0)),
            ("60", Some(60_000)),
            ("60s", Some(60_000)),
            ("1m", Some(60_000)),
            ("1h30m", Some(5_400_000)),
            ("1h 30m", Some(5_400_000)),
            ("1d", Some(86_400_000)),
            ("1w", Some(604_800_000)),
            ("500ms", Some(500)),
            ("1s500ms", Some(1500)),
            ("1m30", Some(90_000)),
            ("1m 30", Some(90_000)),
            ("1 ", Some(1000)),
            ("1 2", Some(3000)),
            ("1s ", Some(1000)),
            ("1hm", Some(3_600_000)),
            ("1ms1", Some(1001)),
            ("1 2s", None),
            (" 1s", None),
            ("30m1h", None),
            ("1h1h", None),
            ("1ms1ms", None),
            ("1ms1s", None),
            ("1y", None),
            ("1M", None),
            ("1.5h", None),
            ("", None),
            ("h", None),
            ("-1", None),
            ("1x", None),
            ("9223372036854775807", None),
            ("9223372036854775807w", None),
        ] {
            assert_eq!(millis(text), expected, "{text}");
        }
    }

    #[test]
    fn seconds_have_no_thousandths() {
        assert_eq!(seconds("1h30m"), Some(5400));
        assert_eq!(seconds("90"), Some(90));
        assert_eq!(seconds("500ms"), None);
        assert_eq!(seconds("5m"), Some(300));
        assert_eq!(seconds("1y1M"), Some(31_536_000 + 2_592_000));
        assert_eq!(seconds("1M1y"), None);
        assert_eq!(seconds("9223372036854775807"), Some(i64::MAX as u64));
    }
}
