//! `secure_link`: whether whoever asks was given the link, and may still use it.

use base64::Engine;
use base64::alphabet;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use md5::Md5;
use sha2::Digest;
use subtle::ConstantTimeEq;

/// What is found of a link that is whole.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Link {
    Good,
    /// It was good until then.
    Over,
}

/// Judges a link by what it says (`HASH` or `HASH,EXPIRES`) and what should have been hashed.
pub fn judge(said: &[u8], hashed: &[u8], now_secs: u64) -> Option<Link> {
    const HASH_BYTES_MAX: usize = 24;
    let (hash, expires) = match expires(said) {
        Some(expires) => (said.get(..said.len() - expires.len() - 1)?, Some(number(expires)?)),
        None => (said, None),
    };
    let hash = decode(hash).filter(|_| hash.len() <= HASH_BYTES_MAX)?;
    let is_same: bool = hash.ct_eq(&Md5::digest(hashed)).into();
    let is_over = expires.is_some_and(|expires| expires < now_secs);
    is_same.then_some(if is_over { Link::Over } else { Link::Good })
}

/// What a link says of its end.
pub fn expires(said: &[u8]) -> Option<&[u8]> {
    let comma = said.iter().position(|byte| *byte == b',')?;
    said.get(comma + 1..)
}

/// The link in `/prefix/HASH/LINK`, where the hash is that of link and secret.
pub fn by_secret<'a>(uri: &'a [u8], secret: &[u8]) -> Option<&'a [u8]> {
    let mut parts = uri.get(1..)?.splitn(3, |byte| *byte == b'/');
    let (_, hash, link) = (parts.next()?, parts.next()?, parts.next()?);
    let computed = Md5::new().chain_update(link).chain_update(secret).finalize();
    let computed: String = computed.iter().map(|byte| format!("{byte:02x}")).collect();
    let is_same: bool = hash.to_ascii_lowercase().ct_eq(computed.as_bytes()).into();
    (is_same && !link.is_empty()).then_some(link)
}

fn number(text: &[u8]) -> Option<u64> {
    let is_number = !text.is_empty() && text.iter().all(u8::is_ascii_digit);
    let number = std::str::from_utf8(text).ok()?.parse().ok()?;
    (is_number && number > 0).then_some(number)
}

/// Base64 with letters that may stand in a URL.
fn decode(text: &[u8]) -> Option<Vec<u8>> {
    const LENIENT: GeneralPurpose = GeneralPurpose::new(
        &alphabet::URL_SAFE,
        GeneralPurposeConfig::new()
            .with_decode_allow_trailing_bits(true)
            .with_decode_padding_mode(DecodePaddingMode::RequireNone),
    );
    let end = text.iter().position(|byte| *byte == b'=').unwrap_or(text.len());
    LENIENT.decode(text.get(..end)?).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `echo -n '2147483647/s/link127.0.0.1 secret' | openssl md5 -binary | openssl base64 | tr +/ -_`
    #[test]
    fn links_are_judged_by_their_hash_and_their_end() {
        let hashed = b"2147483647/s/link127.0.0.1 secret";
        for (said, now, expected) in [
            ("_e4Nc3iduzkWRm01TBBNYw,2147483647", 1, Some(Link::Good)),
            ("_e4Nc3iduzkWRm01TBBNYw==,2147483647", 1, Some(Link::Good)),
            ("_e4Nc3iduzkWRm01TBBNYw", 1, Some(Link::Good)),
            ("_e4Nc3iduzkWRm01TBBNYw,5", 5, Some(Link::Good)),
            ("_e4Nc3iduzkWRm01TBBNYw,5", 6, Some(Link::Over)),
            ("_e4Nc3iduzkWRm01TBBNYw,", 1, None),
            ("_e4Nc3iduzkWRm01TBBNYw,0", 1, None),
            ("_e4Nc3iduzkWRm01TBBNYw,-5", 1, None),
            ("_e4Nc3iduzkWRm01TBBNYw,5x", 1, None),
            ("_e4Nc3iduzkWRm02TBBNYw,5", 1, None),
            ("_e4Nc3iduzkWRm01TBBN,5", 1, None),
            ("", 1, None),
            (",", 1, None),
        ] {
            assert_eq!(judge(said.as_bytes(), hashed, now), expected, "{said}");
        }
    }

    /// `echo -n 'linksecret' | openssl md5 -hex`
    #[test]
    fn links_with_a_secret_have_its_hash_in_front() {
        let check = |uri: &str, expected: Option<&str>| {
            let found = by_secret(uri.as_bytes(), b"secret");
            assert_eq!(found, expected.map(str::as_bytes), "{uri}");
        };
        check("/p/3e24ba07ae0a0a0a0a0a0a0a0a0a0a0a/link", None);
        check("/p/HASH/link", None);
        check("/p/", None);
        check("/", None);
        check("", None);
        let good: String =
            Md5::digest(b"link/isecret").iter().map(|byte| format!("{byte:02X}")).collect();
        check(&format!("/p/{good}/link/i"), Some("link/i"));
        check(&format!("/p/{good}/link/j"), None);
        let empty: String =
            Md5::digest(b"secret").iter().map(|byte| format!("{byte:02x}")).collect();
        check(&format!("/p/{empty}/"), None);
    }
}
