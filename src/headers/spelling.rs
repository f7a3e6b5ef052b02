//! Spellings of a field name that one worker or another takes for the same.
//!
//! CGI, WSGI and Rack hand a field over as `HTTP_` and its name in upper case with `_` for `-`. Some
//! write `_` for more than that: PHP for `.`, HAProxy, lighttpd and older Apache for whatever is neither
//! letter nor digit. They would hand `X-Session.Subject` over under the name of our own.

/// Whether `name` is a spelling of `wanted`, which is in lower case with `-`.
pub(super) fn is(name: &[u8], wanted: &str) -> bool {
    name.len() == wanted.len() && begins(name, wanted)
}

/// Whether `name` begins with a spelling of `prefix`, which is in lower case with `-`.
pub(super) fn begins(name: &[u8], prefix: &str) -> bool {
    name.len() >= prefix.len()
        && name.iter().zip(prefix.bytes()).all(|(byte, wanted)| match wanted {
            b'-' => !byte.is_ascii_alphanumeric(),
            _ => byte.to_ascii_lowercase() == wanted,
        })
}

/// Whether a name is spelled with letters, digits and `-` alone, as everybody reads it the same.
pub(super) fn is_plain(name: &[u8]) -> bool {
    name.iter().all(|byte| byte.is_ascii_alphanumeric() || *byte == b'-')
}

#[cfg(test)]
mod tests {
    use super::*;

    /// RFC 9110, section 5.6.2: what a field name may have beside letters and digits.
    const MARKS: &[u8] = b"!#$%&'*+-.^_`|~";

    /// What workers make of a name; each of these is somebody's rule.
    fn readings(name: &str) -> [String; 3] {
        let map = |to: fn(char) -> char| name.to_ascii_uppercase().chars().map(to).collect();
        [
            map(|c| if c == '-' { '_' } else { c }),
            map(|c| if matches!(c, '-' | '.') { '_' } else { c }),
            map(|c| if c.is_ascii_alphanumeric() { c } else { '_' }),
        ]
    }

    #[test]
    fn every_mark_stands_for_every_other() {
        for &first in MARKS {
            for &second in MARKS {
                let name = format!("X{}Session{}Subject", char::from(first), char::from(second));
                assert!(readings(&name).contains(&"X_SESSION_SUBJECT".to_owned()), "{name}");
                assert!(is(name.as_bytes(), "x-session-subject"), "{name}");
                assert!(begins(name.as_bytes(), "x-session-"), "{name}");
                assert_eq!(is_plain(name.as_bytes()), first == b'-' && second == b'-', "{name}");
            }
        }
    }

    #[test]
    fn letters_and_digits_stand_for_themselves() {
        for name in ["x1session-subject", "xxsession-subject", "x-session-subjec", "x--session-id"]
        {
            assert!(!is(name.as_bytes(), "x-session-subject"), "{name}");
        }
    }
}
