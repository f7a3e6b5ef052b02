//! Request paths: normalisation (nginx `merge_slashes`, RFC 3986 section 5.2.4) and rules on them.
//!
//! Only for matching: what is forwarded to a worker is the target as the client sent it, as with
//! nginx's `proxy_pass` without a URI part.

use std::borrow::Cow;
use std::fmt;

use super::fold;
use super::normalise::{Source, normalise};
use super::reference::path_of_reference;
use super::target::RequestTarget;
use super::text::Text;

/// A path that was decoded and normalised: begins with `/`, has no dot segments, no `//`.
///
/// Bytes, since a decoded path need not be UTF-8. It may hold control characters other than NUL.
///
/// A path that workers may read in several ways has other readings beside this one
/// (`routing::target`); rules and routes look at all of them.
#[derive(Clone)]
pub struct NormalPath {
    text: Text,
    others: Vec<Box<[u8]>>,
}

impl NormalPath {
    /// A path that is normal already.
    pub(super) fn plain(path: &[u8]) -> Self {
        Self::with_readings(path, Vec::new())
    }

    pub(super) fn with_readings(path: &[u8], others: Vec<Box<[u8]>>) -> Self {
        Self { text: Text::new(path), others }
    }

    /// The path of a request target, as [`RequestTarget::read`] reads it.
    ///
    /// # Errors
    /// As there.
    pub fn from_target(target: &[u8]) -> Result<Self, BadPath> {
        RequestTarget::read(target).map(|target| target.path)
    }

    /// Normalises a path as it is written in the configuration: like a target in origin-form, so
    /// percent-escapes are decoded, though blanks and other characters may also stand as they are.
    ///
    /// # Errors
    /// As [`NormalPath::from_target`], and [`BadPath::Query`] where there is a `?` or `#`.
    pub fn from_config(path: &str) -> Result<Self, BadPath> {
        if !path.starts_with('/') {
            return Err(BadPath::Form);
        }
        if path.contains(|c: char| c.is_control()) {
            return Err(BadPath::Control);
        }
        if path.contains(['?', '#']) {
            return Err(BadPath::Query);
        }
        Ok(Self::plain(&normalise(path.as_bytes(), Source::Request)?))
    }

    /// The path's bytes.
    pub fn as_bytes(&self) -> &[u8] {
        self.text.as_bytes()
    }

    /// Whether everybody reads it the same.
    pub fn has_one_reading(&self) -> bool {
        self.others.is_empty()
    }

    /// Every reading; this one first.
    pub fn readings(&self) -> impl Iterator<Item = &[u8]> + Clone {
        std::iter::once(self.as_bytes()).chain(self.others.iter().map(|other| &**other))
    }

    /// The path for people: what is not UTF-8, and control characters (a line break would forge a
    /// second log line), are replaced by U+FFFD.
    pub fn as_str_lossy(&self) -> Cow<'_, str> {
        let text = String::from_utf8_lossy(self.as_bytes());
        if text.contains(|c: char| c.is_control()) {
            return Cow::Owned(text.replace(|c: char| c.is_control(), "\u{fffd}"));
        }
        text
    }
}

impl PartialEq for NormalPath {
    fn eq(&self, other: &Self) -> bool {
        self.readings().eq(other.readings())
    }
}

impl Eq for NormalPath {}

impl fmt::Debug for NormalPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("NormalPath").field(&self.as_str_lossy()).finish()
    }
}

/// Why a target or a configured path was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadPath {
    #[error("it is not a path: it does not begin with `/`")]
    Form,
    #[error("it contains a blank or a control character")]
    Control,
    #[error("it contains a `%` without two hexadecimal digits after it")]
    Escape,
    #[error("it contains `%00`")]
    Nul,
    #[error("its `..` lead above the root")]
    AboveRoot,
    #[error("it contains a `.` or `..` with path parameters")]
    DotParameters,
    #[error("it contains a segment of path parameters alone")]
    EmptyParameters,
    #[error("it contains a backslash")]
    Backslash,
    #[error("it contains an encoded slash beside a `.` or `..`")]
    DotsBesideSlash,
    #[error("it contains a `.` or `..` that is encoded twice")]
    DotsEncodedTwice,
    /// Configured paths only.
    #[error("it contains `?` or `#`, but queries and fragments are not matched")]
    Query,
    /// Configured paths only.
    #[error("it contains `;`, but path parameters are not compared: leave them out")]
    Parameters,
    /// Configured paths only.
    #[error("it does not decode to UTF-8")]
    Encoding,
}

/// A rule's path: matches normalised paths without regard to case and to one trailing slash,
/// unless `exact` (rule 17).
///
/// Matching too much costs a spare rotation of the ticket, matching too little loses a login. So,
/// unless `exact`, path parameters (`/login;jsessionid=…`) are left out of the comparison too. Case
/// means ASCII's: see `routing::fold`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PathRule {
    /// Normalised, and in lower case unless `exact`.
    pub path: String,
    pub exact: bool,
}

impl PathRule {
    /// Makes a rule from a path as it is written in the configuration.
    ///
    /// # Errors
    /// As [`NormalPath::from_config`]; [`BadPath::Parameters`] where a rule that is not `exact`
    /// contains `;`, [`BadPath::Encoding`] where the path does not decode to UTF-8.
    pub fn new(path: &str, exact: bool) -> Result<Self, BadPath> {
        let normal = NormalPath::from_config(path)?;
        let mut path =
            String::from_utf8(normal.as_bytes().to_vec()).map_err(|_| BadPath::Encoding)?;
        if !exact {
            if path.contains(';') {
                return Err(BadPath::Parameters);
            }
            path.make_ascii_lowercase();
        }
        Ok(Self { path, exact })
    }

    /// Whether a request's path is this one, in any of its readings.
    pub fn matches(&self, path: &NormalPath) -> bool {
        path.readings().any(|reading| self.matches_bytes(reading))
    }

    /// Whether a `Location` header leads to this path: its query and fragment, and where it is
    /// absolute its origin, aside.
    ///
    /// A reference with a relative path (`account/`) is resolved against the root; use
    /// [`PathRule::matches_location_from`] where the request's path is known.
    pub fn matches_location(&self, value: &[u8]) -> bool {
        self.matches_location_from(value, &NormalPath::plain(b"/"))
    }

    /// The same, with relative paths resolved against the path of the request that was answered
    /// (RFC 9110 section 10.2.2, RFC 3986 section 5.2).
    pub fn matches_location_from(&self, value: &[u8], request: &NormalPath) -> bool {
        let Some(path) = path_of_reference(value.trim_ascii()) else { return false };
        let absolute = if path.starts_with(b"/") {
            Cow::Borrowed(path)
        } else if path.is_empty() {
            // Only a query or a fragment, or nothing: the same document. It is decoded already.
            return self.matches(request);
        } else {
            Cow::Owned([encoded_directory(request).as_bytes(), path].concat())
        };
        normalise(&absolute, Source::Reference).is_ok_and(|path| self.matches_bytes(&path))
    }

    fn matches_bytes(&self, path: &[u8]) -> bool {
        if self.exact {
            return path == self.path.as_bytes();
        }
        fold::equals(path, self.path.as_bytes())
    }
}

/// A path's directory, with every `%` escaped so that decoding it once more is harmless.
fn encoded_directory(path: &NormalPath) -> String {
    let bytes = path.as_bytes();
    let end = bytes.iter().rposition(|byte| *byte == b'/').map_or(0, |slash| slash + 1);
    const ESCAPED: &percent_encoding::AsciiSet = &percent_encoding::CONTROLS.add(b'%');
    percent_encoding::percent_encode(&bytes[..end], ESCAPED).to_string()
}

#[cfg(test)]
mod tests {
    use percent_encoding::{NON_ALPHANUMERIC, percent_encode};
    use proptest::prelude::*;

    use super::*;

    #[track_caller]
    fn check(target: &[u8], expected: Result<&[u8], BadPath>) {
        let path = NormalPath::from_target(target);
        assert_eq!(
            path.as_ref().map(NormalPath::as_bytes).map_err(|error| *error),
            expected,
            "{}",
            target.escape_ascii()
        );
    }

    #[test]
    fn targets_are_normalised_as_nginx_does() {
        for (target, expected) in [
            ("/", "/"),
            ("/a/b", "/a/b"),
            ("/a?x=/../..", "/a"),
            ("/a#f?x", "/a"),
            ("/?", "/"),
            ("//a///b//", "/a/b/"),
            ("//host/p", "/host/p"),
            ("/a/./b/.", "/a/b/"),
            ("/a/../b", "/b"),
            ("/a/b/..", "/a/"),
            ("/a/..", "/"),
            ("/a//../b", "/b"),
            ("/%2e/a/%2E%2e/b", "/b"),
            ("/a/%2e./b", "/b"),
            ("/a%2Fb%2f%2fc", "/a/b/c"),
            ("/%41%62", "/Ab"),
            ("/a%20b%3Fc%23d", "/a b?c#d"),
            ("/%252e%252ex/", "/%2e%2ex/"),
            ("/...", "/..."),
            ("/.well-known/x", "/.well-known/x"),
            ("/..a/b", "/..a/b"),
            ("/a;v=1/b", "/a;v=1/b"),
            ("/a%0ab", "/a\nb"),
            ("http://h/a/../b?q", "/b"),
            ("HTTPS://h:1?q", "/"),
            ("http://h", "/"),
            ("*", "/"),
        ] {
            check(target.as_bytes(), Ok(expected.as_bytes()));
        }
        check(b"/%ff\xfe", Ok(b"/\xff\xfe"));
        let long = format!("/{}", "x".repeat(5000));
        check(long.as_bytes(), Ok(long.as_bytes()));
    }

    #[test]
    fn targets_that_could_be_read_in_two_ways_are_refused() {
        for (target, error) in [
            ("", BadPath::Form),
            ("a", BadPath::Form),
            ("?a", BadPath::Form),
            ("host:443", BadPath::Form),
            ("http:/a", BadPath::Form),
            ("http:///a", BadPath::Form),
            ("1http://h/", BadPath::Form),
            ("**", BadPath::Form),
            ("/a b", BadPath::Control),
            ("/a\x01", BadPath::Control),
            ("/a?b\x7f", BadPath::Control),
            ("/%", BadPath::Escape),
            ("/%4", BadPath::Escape),
            ("/%g0", BadPath::Escape),
            ("/%+1", BadPath::Escape),
            ("/a%00", BadPath::Nul),
            ("/..", BadPath::AboveRoot),
            ("/../a", BadPath::AboveRoot),
            ("/a/../..", BadPath::AboveRoot),
            ("//..", BadPath::AboveRoot),
            ("/%2e%2e/a", BadPath::AboveRoot),
            ("/a%2f..%2fb", BadPath::DotsBesideSlash),
            ("/a\\..\\b", BadPath::Backslash),
            ("/a/..;/b", BadPath::DotParameters),
            ("/.;x/b", BadPath::DotParameters),
            ("/a/%2e.%3bx/b", BadPath::DotParameters),
        ] {
            check(target.as_bytes(), Err(error));
        }
    }

    #[test]
    fn paths_in_logs_stay_on_one_line() {
        let path = NormalPath::from_target(b"/a%0ab%ff").expect("a good path");
        assert_eq!(path.as_str_lossy(), "/a\u{fffd}b\u{fffd}");
        assert_eq!(format!("{path:?}"), "NormalPath(\"/a\u{fffd}b\u{fffd}\")");
    }

    #[test]
    fn rules_are_stored_normalised() {
        for (path, exact, expected) in [
            ("/Login", false, Ok("/login")),
            ("/Login", true, Ok("/Login")),
            ("/a//b/./c/", false, Ok("/a/b/c/")),
            ("/a%20b c/ü", false, Ok("/a b c/ü")),
            ("/a;b", true, Ok("/a;b")),
            ("/a;b", false, Err(BadPath::Parameters)),
            ("login", false, Err(BadPath::Form)),
            ("", false, Err(BadPath::Form)),
            ("/a?b", false, Err(BadPath::Query)),
            ("/a\n", false, Err(BadPath::Control)),
            ("/%zz", false, Err(BadPath::Escape)),
            ("/%ff", false, Err(BadPath::Encoding)),
            ("/../a", false, Err(BadPath::AboveRoot)),
        ] {
            let rule = PathRule::new(path, exact);
            assert_eq!(rule.map(|rule| rule.path), expected.map(str::to_owned), "{path}");
        }
    }

    #[test]
    fn rules_match_loosely_unless_exact() {
        for (rule, exact, target, expected) in [
            ("/login", false, "/login", true),
            ("/Login/", false, "/lOGIN?next=/", true),
            ("/login", false, "//x/..//login/", true),
            ("/login", false, "/login;jsessionid=A1", true),
            ("/login", false, "/login2", false),
            ("/login", false, "/login/2", false),
            ("/login", true, "/login", true),
            ("/login", true, "/Login", false),
            ("/login", true, "/login/", false),
            ("/login", true, "/login;x", false),
            ("/", false, "/", true),
            ("/", false, "/a", false),
        ] {
            let rule = PathRule::new(rule, exact).expect("a good rule");
            let path = NormalPath::from_target(target.as_bytes()).expect("a good target");
            assert_eq!(rule.matches(&path), expected, "{rule:?} {target}");
        }
    }

    #[test]
    fn locations_match_by_their_path() {
        let at = |target: &str| NormalPath::from_target(target.as_bytes()).expect("a good target");
        for (location, request, expected) in [
            ("/account/", "/login", true),
            ("/Account?welcome=1#top", "/login", true),
            (" /account ", "/login", true),
            ("https://shop.example/account/", "/login", true),
            ("https://shop.example:8443/x/../account", "/login", true),
            ("//shop.example/account", "/login", true),
            ("/../account", "/login", true),
            ("account", "/login", true),
            ("account", "/users/login", false),
            ("../account", "/users/login", true),
            ("../account", "/users/50%25/login", false),
            ("../../account", "/users/50%25/login", true),
            ("?again", "/account", true),
            ("", "/login", false),
            ("/accounts", "/login", false),
            ("/login?next=/account/", "/login", false),
            ("https://account/", "/login", false),
            ("mailto:account", "/login", false),
            ("/account/%zz", "/login", false),
        ] {
            let rule = PathRule::new("/account/", false).expect("a good rule");
            let matched = rule.matches_location_from(location.as_bytes(), &at(request));
            assert_eq!(matched, expected, "{location} from {request}");
        }
        let root = PathRule::new("/", false).expect("a good rule");
        assert!(root.matches_location(b"https://shop.example"));
        assert!(root.matches_location(b"https://shop.example?x"));
        let percent = PathRule::new("/100%25", true).expect("a good rule");
        assert!(percent.matches_location(b"/100%"), "browsers keep a bad escape as it is");
    }

    /// Bytes that make dots, slashes and escapes likely.
    fn targets() -> impl Strategy<Value = Vec<u8>> {
        let piece = prop_oneof![
            Just(b"/".to_vec()),
            Just(b".".to_vec()),
            Just(b"%2e".to_vec()),
            Just(b"%2F".to_vec()),
            Just(b"%25".to_vec()),
            Just(b";".to_vec()),
            Just(b"a".to_vec()),
            any::<u8>().prop_map(|byte| vec![byte]),
        ];
        proptest::collection::vec(piece, 0..24).prop_map(|pieces| {
            let mut target = b"/".to_vec();
            target.extend(pieces.concat());
            target
        })
    }

    proptest! {
        #[test]
        fn normal_paths_have_no_dot_segments_and_no_double_slashes(target in targets()) {
            if let Ok(path) = NormalPath::from_target(&target) {
                let bytes = path.as_bytes();
                prop_assert!(bytes.starts_with(b"/"));
                prop_assert!(!bytes.windows(2).any(|pair| pair == b"//"));
                prop_assert!(!bytes.split(|byte| *byte == b'/').any(|s| s == b"." || s == b".."));
                prop_assert!(!bytes.contains(&0));
            }
        }

        #[test]
        fn normalising_twice_changes_nothing(target in targets()) {
            if let Ok(path) = NormalPath::from_target(&target) {
                // Encoded wholly, so that decoding gives the same bytes again.
                let encoded = percent_encode(path.as_bytes(), NON_ALPHANUMERIC).to_string();
                let again = NormalPath::from_target(format!("/{encoded}").as_bytes());
                let again = again.map(|again| again.as_bytes().to_vec());
                prop_assert_eq!(again, Ok(path.as_bytes().to_vec()));
            }
        }

        #[test]
        fn no_bytes_make_it_panic(bytes in any::<Vec<u8>>(), base in targets()) {
            let _ = NormalPath::from_target(&bytes);
            let rule = PathRule::new("/account", false).expect("a good rule");
            let _ = rule.matches_location(&bytes);
            if let Ok(base) = NormalPath::from_target(&base) {
                let _ = rule.matches_location_from(&bytes, &base);
            }
        }

        #[test]
        fn a_rule_matches_its_own_path_in_every_case(path in "/[a-zA-Z0-9/._~-]{0,20}") {
            if let Ok(rule) = PathRule::new(&path, false) {
                let upper = NormalPath::from_target(path.to_ascii_uppercase().as_bytes());
                prop_assert!(upper.is_ok_and(|upper| rule.matches(&upper)));
            }
        }
    }
}
