//! What an application was seen to do with a session, for those who write rules for it. Target `learn`.
//!
//! No line has a cookie's value, a query or a whole identifier.

use std::fmt;

use crate::telemetry::peer_text;

/// The first bytes of a keyed hash.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct ShortHash(pub [u8; 4]);

impl fmt::Debug for ShortHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))?;
        f.write_str("..")
    }
}

/// A cookie that an answer sets.
#[derive(Clone, Debug)]
pub struct Sets {
    pub name: String,
    pub may_identify: bool,
}

/// An answer.
#[derive(Clone, Debug)]
pub struct Observed<'a> {
    /// The session policy's name.
    pub policy: &'a str,
    pub host: &'a str,
    pub method: &'a str,
    /// Anything from `?` on is left out.
    pub path: &'a str,
    pub status: u16,
    /// Where it leads, likewise.
    pub location: Option<&'a str>,
    /// The identifier that came, and the one that the browser has now.
    pub before: Option<ShortHash>,
    pub after: Option<ShortHash>,
    pub sets: Vec<Sets>,
}

impl Observed<'_> {
    /// Writes the line.
    pub fn write(&self) {
        let without_query = |text| {
            let (path, _query): (&str, _) = str::split_once(text, '?').unwrap_or((text, ""));
            peer_text(path)
        };
        // A `*` marks what may be an identifier.
        let mark = |one: &Sets| if one.may_identify { "*" } else { "" };
        let sets = self.sets.iter().map(|one| format!("{}{}", one.name, mark(one)));
        let sets = (!self.sets.is_empty()).then(|| sets.collect::<Vec<_>>().join(","));
        tracing::info!(
            target: "learn",
            policy = self.policy,
            host = peer_text(self.host),
            method = peer_text(self.method),
            path = without_query(self.path),
            status = self.status,
            location = self.location.map(without_query),
            session = self.before.map(tracing::field::debug),
            next = self.after.map(tracing::field::debug),
            sets = sets.as_deref().map(peer_text),
            "answer"
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::telemetry::LogSettings;
    use crate::telemetry::log::capture;

    #[test]
    fn a_line_has_names_and_hashes_and_no_query() {
        let observed = Observed {
            policy: "shop",
            host: "shop.example.com",
            method: "POST",
            path: "/login?next=secret",
            status: 302,
            location: Some("/account?token=secret"),
            before: None,
            after: Some(ShortHash([1, 2, 0xab, 0xcd])),
            sets: vec![
                Sets { name: "sid".to_owned(), may_identify: true },
                Sets { name: "theme".to_owned(), may_identify: false },
            ],
        };
        let written = capture::lines(&LogSettings::default(), || observed.write());
        let (_, fields) = written.split_once("learn: ").expect("the target");
        assert_eq!(
            fields,
            "answer policy=\"shop\" host=\"shop.example.com\" method=\"POST\" path=\"/login\" \
             status=302 location=\"/account\" next=0102abcd.. sets=\"sid*,theme\"\n"
        );
    }
}
