//! What a client says of itself by HTTP's basic authentication (RFC 7617).

use std::fmt;

use zeroize::Zeroizing;

use super::password::decode;

/// A name, and a password that is nobody's business.
pub struct Credentials {
    decoded: Zeroizing<Vec<u8>>,
    /// Where the colon is.
    colon: usize,
}

impl Credentials {
    /// Reads `Authorization`, as nginx does; a name there must be.
    pub fn read(authorization: &[u8]) -> Option<Self> {
        let (scheme, rest) = authorization.split_at_checked(6)?;
        if !scheme.eq_ignore_ascii_case(b"basic ") {
            return None;
        }
        let begin = rest.iter().position(|byte| *byte != b' ')?;
        let decoded = Zeroizing::new(decode(rest.get(begin..)?)?);
        let colon = decoded.iter().position(|byte| *byte == b':').filter(|at| *at > 0)?;
        Some(Self { decoded, colon })
    }

    pub fn user(&self) -> &[u8] {
        self.decoded.get(..self.colon).unwrap_or_default()
    }

    pub fn password(&self) -> &[u8] {
        self.decoded.get(self.colon + 1..).unwrap_or_default()
    }
}

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[redacted]")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_passwords_are_read_as_nginx_reads_them() {
        let read = |text: &str| {
            let read = Credentials::read(text.as_bytes())?;
            let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
            Some((text(read.user()), text(read.password())))
        };
        let both = |user: &str, password: &str| Some((user.to_owned(), password.to_owned()));
        assert_eq!(read("Basic YWxpY2U6c2VjcmV0"), both("alice", "secret"));
        assert_eq!(read("basic   YWxpY2U6"), both("alice", ""));
        assert_eq!(read("BASIC YTpiOmM="), both("a", "b:c"));
        assert_eq!(read("Basic YTpiOmM"), both("a", "b:c"));
        for text in [
            "",
            "Basic",
            "Basic ",
            "Basic YWxpY2U=",
            "Basic OnNlY3JldA==",
            "Bearer YTpi",
            "Basic\tYTpi",
            "Basic !YTpi",
        ] {
            assert_eq!(read(text), None, "{text}");
        }
        let credentials = Credentials::read(b"Basic YTpi").expect("a user");
        assert_eq!(format!("{credentials:?}"), "[redacted]");
    }
}
