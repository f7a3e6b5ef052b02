//! Locations: paths with nginx's modifiers.

use super::normalise::{Source, decode};
use super::path::BadPath;
use super::pattern::{BadPattern, Case, Pattern};

/// How a route is chosen.
#[derive(Clone, Debug)]
pub enum Location {
    /// `= /x`
    Exact(Box<[u8]>),
    /// `/x`, or `^~ /x`: no regular expression is tried then.
    Prefix { text: Box<[u8]>, is_last: bool },
    /// `~ re`, `~* re`
    Regex(Pattern),
    /// `@name`: redirects inside only.
    Named(Box<str>),
}

/// Why a location was refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadLocation {
    #[error(transparent)]
    Path(#[from] BadPath),
    #[error("it is no regular expression: {0}")]
    Pattern(#[from] BadPattern),
    #[error("`@` is no name")]
    Name,
    #[error("it lies outside of the route around it")]
    Outside,
    #[error("nothing can lie inside `= PATH` or `@name`")]
    Inside,
    #[error("`@name` can stand in a server only")]
    Nested,
}

impl Location {
    /// Reads what stands as `path` in the configuration.
    ///
    /// # Errors
    /// A path or pattern that is none.
    pub fn parse(written: &str) -> Result<Self, BadLocation> {
        let (modifier, rest) = split(written);
        Ok(match modifier {
            "=" => Self::Exact(path(rest)?),
            "^~" => Self::Prefix { text: path(rest)?, is_last: true },
            "~" => Self::Regex(Pattern::compile(rest, Case::Sensitive)?),
            "~*" => Self::Regex(Pattern::compile(rest, Case::Insensitive)?),
            "@" if rest.is_empty() => return Err(BadLocation::Name),
            "@" => Self::Named(written.into()),
            _ => Self::Prefix { text: path(rest)?, is_last: false },
        })
    }

    /// What every path belongs to that belongs to no other.
    pub(super) fn everything() -> Self {
        Self::Prefix { text: Box::default(), is_last: false }
    }

    /// Whether one may lie inside another.
    ///
    /// # Errors
    /// Why not.
    pub fn fits_in(&self, outer: &Self) -> Result<(), BadLocation> {
        let text = match self {
            Self::Named(_) => return Err(BadLocation::Nested),
            Self::Exact(text) | Self::Prefix { text, .. } => Some(text),
            Self::Regex(_) => None,
        };
        match outer {
            Self::Exact(_) | Self::Named(_) => Err(BadLocation::Inside),
            Self::Regex(_) if text.is_some() => Err(BadLocation::Outside),
            Self::Prefix { text: outer, .. }
                if text.is_some_and(|text| !text.starts_with(outer)) =>
            {
                Err(BadLocation::Outside)
            }
            Self::Regex(_) | Self::Prefix { .. } => Ok(()),
        }
    }

    pub(super) fn matches(&self, path: &[u8]) -> bool {
        match self {
            Self::Exact(text) => path == &**text,
            Self::Prefix { text, .. } => path.starts_with(text),
            Self::Regex(pattern) => pattern.is_match(path),
            Self::Named(_) => false,
        }
    }

    /// Of its text; patterns have none.
    pub(super) fn length(&self) -> usize {
        match self {
            Self::Exact(text) | Self::Prefix { text, .. } => text.len(),
            Self::Regex(_) | Self::Named(_) => 0,
        }
    }
}

/// A path as it is compared, byte for byte as in nginx, with paths that were decoded: `?` and `#` stand for
/// themselves, and what is resolved in requests (`//`, `/./`) is met only where it is not.
///
/// # Errors
/// It is no path, or has an escape that is none.
pub fn path(text: &str) -> Result<Box<[u8]>, BadPath> {
    if !text.starts_with('/') {
        return Err(BadPath::Form);
    }
    if text.contains(char::is_control) {
        return Err(BadPath::Control);
    }
    Ok(decode(text.as_bytes(), Source::Request)?.into())
}

/// The modifier, which may be empty, and the rest.
pub fn split(written: &str) -> (&str, &str) {
    for modifier in ["=", "^~", "~*", "~"] {
        if let Some(rest) = written.strip_prefix(modifier) {
            return (modifier, rest.trim_start());
        }
    }
    match written.strip_prefix('@') {
        Some(rest) => ("@", rest),
        None => ("", written),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn locations_lie_where_nginx_lets_them() {
        for (outer, inner, expected) in [
            ("/a", "/ab", Ok(())),
            ("^~ /a", "= /a", Ok(())),
            ("/a", "/b", Err(BadLocation::Outside)),
            ("/a", "~ b", Ok(())),
            ("~ a", "~ b", Ok(())),
            ("~ a", "/a", Err(BadLocation::Outside)),
            ("= /a", "/a", Err(BadLocation::Inside)),
            ("@a", "~ b", Err(BadLocation::Inside)),
            ("/a", "@b", Err(BadLocation::Nested)),
        ] {
            let parse = |text| Location::parse(text).expect("a location");
            assert_eq!(parse(inner).fits_in(&parse(outer)), expected, "{outer} {inner}");
        }
        for bad in ["@", "x", "~ (", "= x", "^~", "", "/a%", "/a\u{7}"] {
            Location::parse(bad).expect_err(bad);
        }
    }

    #[test]
    fn a_path_is_compared_as_it_is_written() {
        for (written, decoded, expected) in [
            ("/a//b", "/a//b", true),
            ("/a//b", "/a/b", false),
            ("/a?b", "/a?bc", true),
            ("/a#", "/a#/x", true),
            ("= /100%25", "/100%", true),
            ("/a/../b", "/b", false),
        ] {
            let location = Location::parse(written).expect("a location");
            assert_eq!(location.matches(decoded.as_bytes()), expected, "{written} {decoded}");
        }
    }
}
