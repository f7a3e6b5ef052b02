//! Which codings a client takes (RFC 9110 section 12.5.3), as nginx reads `Accept-Encoding`.

use crate::wire::fields::Fields;
use crate::wire::name::Name;

/// Whether gzip is among what a client takes. Behind another proxy (`Via`) nothing is sent
/// compressed, as by default in nginx.
pub fn takes_gzip(asked: &Fields) -> bool {
    !asked.has(Name::Via) && takes(asked, b"gzip")
}

/// Whether a coding is among what a client takes.
pub fn takes(asked: &Fields, coding: &[u8]) -> bool {
    asked.get(Name::AcceptEncoding).is_some_and(|list| names(list, coding))
}

fn names(list: &[u8], coding: &[u8]) -> bool {
    let wanted = |element: &[u8]| {
        let (name, weight) = match memchr::memchr(b';', element) {
            Some(end) => element.split_at(end),
            None => (element, &b""[..]),
        };
        name.trim_ascii().eq_ignore_ascii_case(coding) && has_weight(weight)
    };
    list.split(|byte| *byte == b',').any(wanted)
}

/// Whether a weight, if it is one, is more than nothing: not `;q=0.000`, nor what is no weight: `;q=1.5`.
fn has_weight(weight: &[u8]) -> bool {
    let weight = weight.strip_prefix(b";").unwrap_or(weight).trim_ascii();
    let [b'q' | b'Q', b'=', digits @ ..] = weight else { return true };
    let (whole, part) = match digits {
        [whole, b'.', part @ ..] => (*whole, part),
        [whole] => (*whole, &b""[..]),
        _ => return false,
    };
    let is_nothing = part.iter().all(|digit| *digit == b'0');
    part.len() <= 3
        && part.iter().all(u8::is_ascii_digit)
        && matches!((whole, is_nothing), (b'1', true) | (b'0', false))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gzip_is_taken_where_it_is_named() {
        for (list, expected) in [
            ("gzip", true),
            ("deflate, GZIP;q=0.5", true),
            ("gzip;q=1", true),
            ("gzip; q=0.001", true),
            ("gzip;q=0", false),
            ("gzip;q=1.5", false),
            ("gzip;q=0.1234", false),
            ("gzip;q=", false),
            ("gzip; q=0.000, deflate", false),
            ("x-gzip", false),
            ("gzippy", false),
            ("*", false),
            ("", false),
        ] {
            assert_eq!(takes_gzip(&Fields::of(&[("Accept-Encoding", list)])), expected, "{list}");
        }
        assert!(!takes_gzip(&Fields::new()));
        assert!(!takes_gzip(&Fields::of(&[("Accept-Encoding", "gzip"), ("Via", "1.1 x")])));
    }
}
