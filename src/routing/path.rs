//! Request paths: normalisation (nginx `merge_slashes`, RFC 3986 section 5.2.4) and rules on them.

/// A path that was decoded and normalised: begins with `/`, has no dot segments, no `//`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NormalPath(String);

/// A rule's path: matches normalised paths without regard to case and to one trailing slash,
/// unless `exact` (rule 17).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PathRule {
    pub path: String,
    pub exact: bool,
}
