//! Numbers and sizes.

/// What nginx's numbers are: positive and within 63 bits.
const NUMBER_MAX: u64 = i64::MAX as u64;

/// A decimal number without sign, as by `ngx_atoi`.
pub fn number(text: &str) -> Option<u64> {
    if text.is_empty() {
        return None;
    }
    text.bytes().try_fold(0_u64, |number, next| {
        let digit = u64::from(next.wrapping_sub(b'0'));
        if digit > 9 {
            return None;
        }
        number.checked_mul(10)?.checked_add(digit).filter(|number| *number <= NUMBER_MAX)
    })
}

/// A size in bytes: a number with `k` or `m`, of either case.
pub fn size(text: &str) -> Option<u64> {
    scaled(text, &[('k', 10), ('m', 20)])
}

/// A size of a file: as [`size`], and `g`.
pub fn offset(text: &str) -> Option<u64> {
    scaled(text, &[('k', 10), ('m', 20), ('g', 30)])
}

/// A decimal number with a point and some digits behind it, times ten to the power of `digits`.
pub fn fixed(text: &str, digits: usize) -> Option<u64> {
    let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
    if fraction.len() > digits || whole.len() + fraction.len() == 0 {
        return None;
    }
    number(&format!("{whole}{fraction}{}", "0".repeat(digits - fraction.len())))
}

fn scaled(text: &str, units: &[(char, u32)]) -> Option<u64> {
    let last = text.chars().last()?.to_ascii_lowercase();
    let unit = units.iter().find(|(unit, _)| *unit == last);
    let (digits, shift) = unit.map_or((text, 0), |(_, shift)| (&text[..text.len() - 1], *shift));
    let bytes = number(digits)?.checked_mul(1 << shift)?;
    (bytes <= NUMBER_MAX).then_some(bytes)
}

#[cfg(test)]
mod tests {
    use super::{fixed, number, offset, size};

    #[test]
    fn numbers_have_digits_only() {
        for (text, expected) in [
            ("0", Some(0)),
            ("007", Some(7)),
            ("9223372036854775807", Some(i64::MAX as u64)),
            ("9223372036854775808", None),
            ("99999999999999999999", None),
            ("", None),
            ("-1", None),
            ("+1", None),
            ("1.5", None),
            ("1k", None),
            (" 1", None),
        ] {
            assert_eq!(number(text), expected, "{text}");
        }
    }

    #[test]
    fn sizes_have_one_unit() {
        for (text, expected) in [
            ("1", Some(1)),
            ("4k", Some(4096)),
            ("4K", Some(4096)),
            ("2m", Some(2 << 20)),
            ("2M", Some(2 << 20)),
            ("1kb", None),
            ("k", None),
            ("", None),
            ("1g", None),
            ("9007199254740991k", Some(9_007_199_254_740_991 << 10)),
            ("9007199254740992k", None),
        ] {
            assert_eq!(size(text), expected, "{text}");
        }
        assert_eq!(offset("3g"), Some(3 << 30));
        assert_eq!(offset("3G"), Some(3 << 30));
        assert_eq!(offset("3t"), None);
    }

    #[test]
    fn fixed_points_are_moved() {
        assert_eq!(fixed("33.3", 2), Some(3330));
        assert_eq!(fixed("33", 2), Some(3300));
        assert_eq!(fixed("0.5", 2), Some(50));
        assert_eq!(fixed(".5", 2), Some(50));
        assert_eq!(fixed("1.234", 2), None);
        assert_eq!(fixed("", 2), None);
        assert_eq!(fixed("a", 2), None);
    }
}
