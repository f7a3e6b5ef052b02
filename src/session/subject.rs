//! Who a session belongs to (PROTOCOL.md 23).
//!
//! A name that came in a login form is a claim: good for listing and revoking, nothing else. One that
//! the application said itself is confirmed. Both are found by their normalised name, so that
//! `Alice` and `ALICE` are listed and revoked together; a worker is told the application's own
//! spelling, which another normalisation than its own could make somebody else's name.

use std::fmt;

use icu_casemap::CaseMapper;
use icu_normalizer::ComposingNormalizerBorrowed;

use crate::session::record::HEAP_SLACK;

pub mod body;
pub mod source;

/// The longest name in bytes, normalised and as it was said.
pub const NAME_BYTES_MAX: usize = 256;
/// What of a `User-Agent` is kept, in bytes.
pub const AGENT_BYTES_MAX: usize = 160;

/// The user that a record belongs to.
#[derive(Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Subject {
    /// Normalised: NFKC, case-folded, trimmed, at most [`NAME_BYTES_MAX`] bytes, no control
    /// characters. What it is listed, counted and revoked by.
    pub name: String,
    /// Whether the application said so itself.
    pub confirmed: bool,
    /// The application's own spelling, where it is another.
    spelling: Option<String>,
}

impl Subject {
    /// What it has on the heap, in bytes, as [`Record::heap_bytes`] counts.
    ///
    /// [`Record::heap_bytes`]: crate::session::record::Record::heap_bytes
    pub fn heap_bytes(&self) -> usize {
        let spelling = self.spelling.as_ref().map_or(0, |text| text.capacity() + HEAP_SLACK);
        self.name.capacity() + HEAP_SLACK + spelling
    }

    /// A name that a client has sent. `None` where it is no name.
    pub fn claimed(text: &str) -> Option<Self> {
        Some(Self { name: normalised(text)?, confirmed: false, spelling: None })
    }

    /// A name that the application said. `None` where it is no name.
    pub fn confirmed(text: &str) -> Option<Self> {
        let name = normalised(text).filter(|_| text.len() <= NAME_BYTES_MAX)?;
        let spelling = (text != name).then(|| text.to_owned());
        Some(Self { name, confirmed: true, spelling })
    }

    /// What a worker may be told: the application's own spelling of a confirmed name.
    pub fn for_worker(&self) -> Option<&str> {
        self.confirmed.then(|| self.spelling.as_deref().unwrap_or(&self.name))
    }
}

impl fmt::Debug for Subject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kind = if self.confirmed { "confirmed" } else { "claimed" };
        write!(f, "Subject({kind} {:?})", self.name)
    }
}

/// A user by whom sessions are listed, counted and revoked: a name among those that policies with the
/// same `users` share (rule 27).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct User<'a> {
    pub namespace: &'a str,
    /// Normalised.
    pub name: &'a str,
}

/// Where a login came from, for the list of a user's sessions.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct LoginClient {
    /// The beginning of its `User-Agent`: visible ASCII and blanks, at most [`AGENT_BYTES_MAX`].
    pub agent: String,
    /// `192.0.2.0/24`, `2001:db8:0:100::/56`
    pub network: String,
}

impl LoginClient {
    /// Anything but visible ASCII and blanks in `agent` becomes `?`.
    pub fn new(agent: &[u8], network: String) -> Self {
        let kept = &agent[..agent.len().min(AGENT_BYTES_MAX)];
        let char = |byte: &u8| if matches!(byte, b' '..=b'~') { char::from(*byte) } else { '?' };
        Self { agent: kept.iter().map(char).collect(), network }
    }
}

/// The form by which names are compared; `None` where nothing, too much or a control character is
/// left.
pub fn normalised(text: &str) -> Option<String> {
    // Normalising makes a name shorter by a factor of four at most.
    if text.len() > 4 * NAME_BYTES_MAX {
        return None;
    }
    // Twice: folding can undo the normal form, and the normal form bring letters to fold
    // (Unicode 3.13, D146).
    let name = folded(&folded(text));
    let name = name.trim();
    let is_good = !name.is_empty()
        && name.len() <= NAME_BYTES_MAX
        && !text.contains(char::is_control)
        && !name.contains(char::is_control);
    is_good.then(|| name.to_owned())
}

fn folded(text: &str) -> String {
    let nfkc = ComposingNormalizerBorrowed::new_nfkc();
    nfkc.normalize(&CaseMapper::new().fold_string(&nfkc.normalize(text))).into_owned()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn names_are_normalised() {
        let check = |text: &str, expected: Option<&str>| {
            assert_eq!(normalised(text).as_deref(), expected, "{text:?}");
        };
        check("alice", Some("alice"));
        check("Alice@Example.COM", Some("alice@example.com"));
        check("  alice\u{a0}", Some("alice"));
        check("two words", Some("two words"));
        // Composed and decomposed, full width, ligatures, sharp s, final sigma, Kelvin.
        check("zoe\u{308}", Some("zoë"));
        check("ＡＬＩＣＥ", Some("alice"));
        check("ﬁnn", Some("finn"));
        check("STRASSE", Some("strasse"));
        check("straße", Some("strasse"));
        check("ΟΔΥΣΣΕΥΣ", normalised("οδυσσευς").as_deref());
        check("\u{212a}elvin", Some("kelvin"));
        for nothing in ["", "  ", "\u{a0}", "a\0", "a\nb", "a\tb", "alice\r", "\u{85}alice"] {
            check(nothing, None);
        }
        check(&"x".repeat(256), Some(&"x".repeat(256)));
        check(&"x".repeat(257), None);
        check(&"Ａ".repeat(256), Some(&"a".repeat(256)));
        // One character becomes eighteen.
        check(&"\u{fdfa}".repeat(100), None);
    }

    #[test]
    fn a_worker_is_told_the_applications_own_spelling() {
        let said = |text| Subject::confirmed(text).expect("a name");
        assert_eq!(said("Alice").name, "alice");
        assert_eq!(said("Alice").for_worker(), Some("Alice"));
        assert_eq!(said("alice").for_worker(), Some("alice"));
        let claimed = Subject::claimed("Alice").expect("a name");
        assert_eq!((claimed.name.as_str(), claimed.for_worker()), ("alice", None));
        assert_eq!(Subject::confirmed(&"Ａ".repeat(256)), None, "too long to be passed on");
    }

    #[test]
    fn of_a_client_little_is_kept() {
        let client = LoginClient::new(b"Mozilla/5.0 (\xff\x1b[0m)", "192.0.2.0/24".to_owned());
        assert_eq!(client.agent, "Mozilla/5.0 (??[0m)");
        assert_eq!(LoginClient::new(&[b'x'; 1000], String::new()).agent.len(), AGENT_BYTES_MAX);
    }

    proptest! {
        #[test]
        fn a_normalised_name_stays_as_it_is(text in "\\PC{0,80}") {
            if let Some(name) = normalised(&text) {
                prop_assert_eq!(normalised(&name), Some(name));
            }
        }
    }
}
