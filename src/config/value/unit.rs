//! Durations (`1500ms`, `30m`) and sizes (`64KiB`, nginx's `1m`).

use std::time::Duration;

use super::{Flaw, Parsed};

/// Whether a duration may be nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Zero {
    Allowed,
    Refused,
}

const DURATION_HELP: &str = "write a number and its unit, such as 1500ms, 30s, 15m, 12h or 1d";
const SIZE_HELP: &str =
    "write bytes, or a number with KiB, MiB or GiB (1024 each; nginx's k, m, g too)";

/// Longer durations are mistakes, and would overflow sums with the time.
const DAYS_MAX: u64 = 3650;

/// Reads a duration: a whole number and one of `ms`, `s`, `m`, `h`, `d`.
///
/// # Errors
/// No number, no unit, an unknown unit, zero where that is refused, more than ten years.
pub fn duration(text: &str, zero: Zero) -> Parsed<Duration> {
    let (number, unit) =
        split(text).ok_or_else(|| Flaw::new(format!("`{text}` is no duration"), DURATION_HELP))?;
    let millis: u64 = match unit {
        "ms" => 1,
        "s" => 1000,
        "m" => 60 * 1000,
        "h" => 60 * 60 * 1000,
        "d" => 24 * 60 * 60 * 1000,
        "" => {
            let help = format!(
                "write {number}s for seconds, or {number}ms, {number}m, {number}h, {number}d"
            );
            return Err(Flaw::new(format!("`{text}` has no unit"), help));
        }
        _ => return Err(Flaw::new(format!("`{unit}` is no unit of time"), DURATION_HELP)),
    };
    let duration = number
        .checked_mul(millis)
        .filter(|millis| *millis <= DAYS_MAX * 24 * 60 * 60 * 1000)
        .map(Duration::from_millis)
        .ok_or_else(|| Flaw::new(format!("`{text}` is too long"), "ten years (3650d) at most"))?;
    if duration.is_zero() && zero == Zero::Refused {
        return Err(Flaw::new("must be longer than nothing", DURATION_HELP));
    }
    Ok(duration)
}

/// Reads a size in bytes.
///
/// # Errors
/// No number, an unknown unit, more than 64 bits hold.
pub fn size(text: &str) -> Parsed<u64> {
    let (number, unit) =
        split(text).ok_or_else(|| Flaw::new(format!("`{text}` is no size"), SIZE_HELP))?;
    let factor: u64 = match unit {
        "" | "B" => 1,
        "k" | "K" | "KiB" => 1 << 10,
        "m" | "M" | "MiB" => 1 << 20,
        "g" | "G" | "GiB" => 1 << 30,
        _ => return Err(Flaw::new(format!("`{unit}` is no unit of size"), SIZE_HELP)),
    };
    number.checked_mul(factor).ok_or_else(|| Flaw::new(format!("`{text}` is too large"), SIZE_HELP))
}

/// Splits `30m` in number and unit; a blank may stand between.
fn split(text: &str) -> Option<(u64, &str)> {
    let end = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (number, unit) = text.split_at(end);
    Some((number.parse().ok()?, unit.trim_start_matches(' ')))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_have_a_unit() {
        let check = |text: &str, expected: Result<u64, &str>| {
            let parsed = duration(text, Zero::Refused);
            let parsed =
                parsed.map(|duration| duration.as_millis() as u64).map_err(|flaw| flaw.message);
            assert_eq!(parsed, expected.map_err(str::to_owned), "{text}");
        };
        check("1500ms", Ok(1500));
        check("30s", Ok(30_000));
        check("30 m", Ok(1_800_000));
        check("12h", Ok(43_200_000));
        check("3650d", Ok(315_360_000_000));
        check("30", Err("`30` has no unit"));
        check("0s", Err("must be longer than nothing"));
        check("3651d", Err("`3651d` is too long"));
        check("18446744073709551615d", Err("`18446744073709551615d` is too long"));
        check("18446744073709551616s", Err("`18446744073709551616s` is no duration"));
        check("5w", Err("`w` is no unit of time"));
        check("1h30m", Err("`h30m` is no unit of time"));
        check("1.5s", Err("`.5s` is no unit of time"));
        check("-1s", Err("`-1s` is no duration"));
        check("soon", Err("`soon` is no duration"));
        check("", Err("`` is no duration"));
        assert_eq!(duration("0s", Zero::Allowed), Ok(Duration::ZERO));
    }

    #[test]
    fn sizes_count_in_steps_of_1024() {
        let check = |text: &str, expected: Result<u64, &str>| {
            let parsed = size(text).map_err(|flaw| flaw.message);
            assert_eq!(parsed, expected.map_err(str::to_owned), "{text}");
        };
        check("0", Ok(0));
        check("8192", Ok(8192));
        check("64KiB", Ok(65_536));
        check("1m", Ok(1_048_576));
        check("2 GiB", Ok(2_147_483_648));
        check("64KB", Err("`KB` is no unit of size"));
        check("17179869184g", Err("`17179869184g` is too large"));
        check("big", Err("`big` is no size"));
    }
}
