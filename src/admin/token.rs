//! The token that operators show over TCP, where anybody on the machine can connect.

use std::fmt;
use std::sync::Arc;

use http::HeaderMap;
use http::header::AUTHORIZATION;
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;
use zeroize::Zeroizing;

/// Shorter ones can be guessed.
const CHARACTERS_MIN: usize = 16;
const CHARACTERS_MAX: usize = 1024;

/// A token: printable ASCII without spaces.
#[derive(Clone)]
pub struct Token(Arc<Zeroizing<String>>);

/// Why a text is no token.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NoToken {
    #[error("has fewer than {CHARACTERS_MIN} characters, or more than {CHARACTERS_MAX}")]
    Length,
    #[error("has characters that no token has: letters, digits and punctuation, no spaces")]
    Characters,
}

impl Token {
    /// Reads what a file has; space around it does not count.
    ///
    /// # Errors
    /// [`NoToken`].
    pub fn read(text: &str) -> Result<Self, NoToken> {
        let text = text.trim();
        if !(CHARACTERS_MIN..=CHARACTERS_MAX).contains(&text.len()) {
            return Err(NoToken::Length);
        }
        match text.bytes().all(|byte| byte.is_ascii_graphic()) {
            true => Ok(Self(Arc::new(Zeroizing::new(text.to_owned())))),
            false => Err(NoToken::Characters),
        }
    }

    /// A field that shows it, for a request of ours.
    pub fn field(&self) -> Zeroizing<String> {
        Zeroizing::new(format!("Authorization: Bearer {}\r\n", self.0.as_str()))
    }

    /// Whether a request shows it (RFC 6750 section 2.1). How long that takes tells nothing of it.
    pub(super) fn is_shown(&self, headers: &HeaderMap) -> bool {
        let mut shown = headers.get_all(AUTHORIZATION).iter();
        let (Some(value), None) = (shown.next(), shown.next()) else { return false };
        let value = value.as_bytes();
        let Some((scheme, token)) = value.split_at_checked("Bearer ".len()) else { return false };
        let same = Sha256::digest(token).ct_eq(&Sha256::digest(self.0.as_bytes()));
        scheme.eq_ignore_ascii_case(b"Bearer ") && bool::from(same)
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Token([redacted])")
    }
}

impl PartialEq for Token {
    fn eq(&self, other: &Self) -> bool {
        self.0.as_bytes().ct_eq(other.0.as_bytes()).into()
    }
}

impl Eq for Token {}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    #[test]
    fn tokens_are_long_and_printable() {
        assert!(Token::read("0123456789abcdef\n").is_ok());
        assert_eq!(Token::read("0123456789abcde"), Err(NoToken::Length));
        assert_eq!(Token::read(&"x".repeat(1025)), Err(NoToken::Length));
        assert_eq!(Token::read("0123456789 abcdef"), Err(NoToken::Characters));
        assert_eq!(Token::read("0123456789abcdéf"), Err(NoToken::Characters));
        let token = Token::read("0123456789abcdef").unwrap();
        assert_eq!(format!("{token:?}"), "Token([redacted])");
    }

    #[test]
    fn a_request_shows_it_once_and_whole() {
        let token = Token::read("0123456789abcdef").unwrap();
        let check = |fields: &[&'static str], expected| {
            let mut headers = HeaderMap::new();
            for field in fields {
                headers.append(AUTHORIZATION, HeaderValue::from_static(field));
            }
            assert_eq!(token.is_shown(&headers), expected, "{fields:?}");
        };
        check(&["Bearer 0123456789abcdef"], true);
        check(&["bearer 0123456789abcdef"], true);
        for other in [
            "Bearer 0123456789abcde",
            "Bearer 0123456789abcdeg",
            "Bearer  0123456789abcdef",
            "Basic 0123456789abcdef",
            "0123456789abcdef",
            "Bearer",
        ] {
            check(&[other], false);
        }
        check(&[], false);
        check(&["Bearer 0123456789abcdef", "Bearer 0123456789abcdef"], false);
    }
}
