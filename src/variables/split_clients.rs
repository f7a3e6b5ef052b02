//! `split_clients`: a variable that divides requests by the hash of a text, as nginx does (nginx 22).

use bytes::Bytes;

use super::evaluation::Evaluation;
use super::template::Template;

/// A `split_clients`.
#[derive(Clone, Debug)]
pub struct SplitClients {
    of: Template,
    parts: Vec<(Share, Bytes)>,
}

/// Which hashes belong to a part.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Share {
    Below(u32),
    /// All that are left (`*`).
    Rest,
}

/// Why a part was refused.
#[derive(Clone, Debug, thiserror::Error, PartialEq, Eq)]
pub enum BadShare {
    #[error("invalid percent value \"{0}\"")]
    Percent(String),
    #[error("percent total is greater than 100%")]
    Total,
}

/// Hundredths of a percent in the whole.
const WHOLE: u32 = 10_000;

impl SplitClients {
    /// What is divided by.
    pub(super) fn of(&self) -> &Template {
        &self.of
    }

    /// Divides by shares like `0.5%`, and `*` for the rest, in their order.
    ///
    /// # Errors
    /// With its index: a share that is none, or the first that goes beyond the whole.
    pub fn new<'a>(
        of: Template,
        shares: impl IntoIterator<Item = (&'a str, &'a str)>,
    ) -> Result<Self, (usize, BadShare)> {
        let (mut total, mut end) = (0, 0);
        let mut parts = Vec::new();
        for (index, (share, value)) in shares.into_iter().enumerate() {
            let hundredths =
                hundredths(share).ok_or_else(|| (index, BadShare::Percent(share.to_owned())))?;
            total = if hundredths > 0 { total + hundredths } else { WHOLE };
            if total > WHOLE {
                return Err((index, BadShare::Total));
            }
            let share = match hundredths {
                0 => Share::Rest,
                _ => {
                    let width = u64::from(hundredths) * u64::from(u32::MAX) / u64::from(WHOLE);
                    end += u32::try_from(width).unwrap_or(u32::MAX);
                    Share::Below(end)
                }
            };
            parts.push((share, Bytes::copy_from_slice(value.as_bytes())));
        }
        Ok(Self { of, parts })
    }

    pub(super) fn value(&self, evaluation: &mut Evaluation<'_>) -> Bytes {
        let hash = murmur2(&self.of.value(evaluation));
        let has = |share| match share {
            Share::Below(end) => hash < end,
            Share::Rest => true,
        };
        let part = self.parts.iter().find(|(share, _)| has(*share));
        part.map(|(_, value)| value.clone()).unwrap_or_default()
    }
}

/// Hundredths of a percent; 0 for `*`. With at most two digits behind the point, and not zero.
fn hundredths(share: &str) -> Option<u32> {
    if share == "*" {
        return Some(0);
    }
    let number = share.strip_suffix('%')?;
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    let is_digits = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
    if number.is_empty() || fraction.len() > 2 || !is_digits(whole) || !is_digits(fraction) {
        return None;
    }
    let hundredths = format!("{whole}{fraction:0<2}").parse::<u32>().ok()?;
    (1..=WHOLE).contains(&hundredths).then_some(hundredths)
}

/// MurmurHash2 with the seed 0.
fn murmur2(data: &[u8]) -> u32 {
    const MIX: u32 = 0x5bd1_e995;
    let mut hash = u32::try_from(data.len()).unwrap_or(u32::MAX);
    let (words, tail) = data.as_chunks::<4>();
    for word in words {
        let mut word = u32::from_le_bytes(*word).wrapping_mul(MIX);
        word ^= word >> 24;
        hash = hash.wrapping_mul(MIX) ^ word.wrapping_mul(MIX);
    }
    if !tail.is_empty() {
        for (index, byte) in tail.iter().enumerate() {
            hash ^= u32::from(*byte) << (8 * index);
        }
        hash = hash.wrapping_mul(MIX);
    }
    hash ^= hash >> 13;
    hash = hash.wrapping_mul(MIX);
    hash ^ (hash >> 15)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Values of nginx's `ngx_murmur_hash2`.
    #[test]
    fn hashes_are_nginx() {
        for (text, hash) in [("", 0), ("a", 0x9268_5f5e), ("abc", 0x1357_7c9b)] {
            assert_eq!(murmur2(text.as_bytes()), hash, "{text}");
        }
    }

    #[test]
    fn shares_are_read_as_nginx_reads_them() {
        for (share, expected) in [
            ("*", Some(0)),
            ("0.5%", Some(50)),
            ("100%", Some(10_000)),
            ("33.33%", Some(3_333)),
            ("5.%", Some(500)),
            (".5%", Some(50)),
            ("0%", None),
            ("0.001%", None),
            ("%", None),
            ("50", None),
            ("-5%", None),
            ("101%", None),
            ("5 %", None),
        ] {
            assert_eq!(hundredths(share), expected, "{share}");
        }
    }

    #[test]
    fn the_whole_is_given_away_once() {
        let split = |shares: &[&'static str]| {
            let shares = shares.iter().map(|share| (*share, "x"));
            SplitClients::new(Template::literal(""), shares).map(|split| split.parts.len())
        };
        assert_eq!(split(&["50%", "50%"]), Ok(2));
        assert_eq!(split(&["50%", "*"]), Ok(2));
        assert_eq!(split(&["50%", "50.01%"]), Err((1, BadShare::Total)));
        assert_eq!(split(&["*", "1%"]), Err((1, BadShare::Total)));
        assert_eq!(split(&["x"]), Err((0, BadShare::Percent("x".to_owned()))));
    }
}
