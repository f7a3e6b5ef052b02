//! Base64url without padding (RFC 4648, section 5), in its one canonical spelling.
//!
//! A decoder that overlooks padding or spare bits gives one ticket several spellings, and whatever
//! counts or compares spellings is then fooled (PROTOCOL 1).

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

/// Encodes bytes; `n` of them become `ceil(4n / 3)` characters.
pub fn encode(bytes: &[u8]) -> String {
    URL_SAFE_NO_PAD.encode(bytes)
}

/// Decodes the canonical spelling into `out` and says how many bytes there are.
///
/// `None` where a character is outside the alphabet, padding is there, the spare bits of the last
/// character are not zero, or `out` is too small.
pub fn decode_canonical(text: &[u8], out: &mut [u8]) -> Option<usize> {
    URL_SAFE_NO_PAD.decode_slice(text, out).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_canonical_spelling_decodes() {
        #[track_caller]
        fn check(text: &str, expected: Option<&[u8]>) {
            let mut out = [0; 8];
            let decoded = decode_canonical(text.as_bytes(), &mut out);
            assert_eq!(decoded.map(|len| &out[..len]), expected, "{text:?}");
        }
        check("", Some(b""));
        check("Zg", Some(b"f"));
        check("Zm8", Some(b"fo"));
        check("Zm9v", Some(b"foo"));
        check("-_-_", Some(&[0xfb, 0xff, 0xbf]));
        check("Zh", None); // spare bits
        check("Zm9", None); // spare bits
        check("Zg==", None); // padding
        check("Zg=", None);
        check("Zm9v=", None);
        check("Z", None); // half a byte
        check("Zm9vZ", None);
        check("+/+/", None); // the other alphabet
        check(" Zm9v", None);
        check("Zm9v\n", None);
        check("Zm\u{e9}v", None);
        check("AAAAAAAAAAA", Some(&[0; 8]));
        check("AAAAAAAAAAAA", None); // nine bytes into eight
    }

    #[test]
    fn every_length_survives_both_ways() {
        for len in 0..200 {
            let bytes: Vec<u8> = (0..len).map(|i: usize| (i * 31 + len) as u8).collect();
            let mut out = vec![0; len];
            assert_eq!(decode_canonical(encode(&bytes).as_bytes(), &mut out), Some(len));
            assert_eq!(out, bytes);
        }
    }
}
