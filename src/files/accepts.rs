//! Whether a client takes gzip (RFC 9110 section 12.5.3), as nginx reads `Accept-Encoding`.

use crate::wire::fields::Fields;
use crate::wire::name::Name;

/// Whether gzip is among what a client takes. Behind another proxy (`Via`) nothing is sent
/// compressed, as by default in nginx.
pub fn takes_gzip(asked: &Fields) -> bool {
    !asked.has(Name::Via) && asked.get(Name::AcceptEncoding).is_some_and(names_gzip)
}

fn names_gzip(list: &[u8]) -> bool {
    let wanted = |element: &[u8]| {
        let (name, weight) = match memchr::memchr(b';', element) {
            Some(end) => element.split_at(end),
            None => (element, &b""[..]),
        };
        name.trim_ascii().eq_ignore_ascii_case(b"gzip") && !is_zero(weight)
    };
    list.split(|byte| *byte == b',').any(wanted)
}

/// Whether a weight, if it is one, says never: `;q=0`, `;q=0.000`.
fn is_zero(weight: &[u8]) -> bool {
    let weight = weight.strip_prefix(b";").unwrap_or(weight).trim_ascii();
    let [b'q' | b'Q', b'=', digits @ ..] = weight else { return false };
    !digits.is_empty() && digits.iter().all(|byte| matches!(byte, b'0' | b'.'))
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
