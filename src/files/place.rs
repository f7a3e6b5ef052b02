//! The path on disk that a request's path means (nginx `root`, `alias`).
//!
//! The path of a request comes decoded and normalised. It is looked at again all the same: this is the
//! last place where a way out of the directory can be seen. Symbolic links are `disk`'s business.

/// Where files lie.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place<'a> {
    /// The whole path is looked for below it.
    Root(&'a [u8]),
    /// It stands in place of as many bytes of the path as the route's own path has.
    Alias(&'a [u8], usize),
    /// It is the whole path on disk: an alias of a route with a regular expression.
    Exactly(&'a [u8]),
}

/// A path on disk.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Located {
    path: Vec<u8>,
}

/// A path that leads out of its directory, or to no file at all.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Outside;

impl Place<'_> {
    /// The path on disk.
    ///
    /// # Errors
    /// It has a NUL, or a segment of dots. An alias `/srv/x/` of a route `/x` makes one of `/x../y`.
    pub fn locate(self, path: &[u8]) -> Result<Located, Outside> {
        match self {
            Self::Root(root) => Located::join(without_slash(root), path),
            Self::Alias(alias, cut) => Located::join(alias, path.get(cut..).unwrap_or_default()),
            Self::Exactly(file) => Located::join(file, b""),
        }
    }

    /// What is looked for of a text that variables have made: `$uri` begins with what an alias stands
    /// for.
    pub fn entry<'e>(self, text: &'e [u8], path: &[u8]) -> &'e [u8] {
        match self {
            Self::Root(_) | Self::Exactly(_) => text,
            Self::Alias(_, cut) => {
                let prefix = path.get(..cut);
                prefix.and_then(|prefix| text.strip_prefix(prefix)).unwrap_or(text)
            }
        }
    }

    /// The path on disk of what `try_files` names: below the directory that the path counts from.
    ///
    /// # Errors
    /// As [`Place::locate`].
    pub fn locate_entry(self, entry: &[u8]) -> Result<Located, Outside> {
        match self {
            Self::Root(_) => self.locate(entry),
            Self::Alias(directory, _) | Self::Exactly(directory) => Located::join(directory, entry),
        }
    }

    /// The request's path, once an entry of `try_files` was found.
    pub fn path_of_entry(self, entry: &[u8], path: &[u8]) -> Vec<u8> {
        match self {
            Self::Root(_) | Self::Exactly(_) => entry.to_vec(),
            Self::Alias(_, cut) => [path.get(..cut).unwrap_or_default(), entry].concat(),
        }
    }
}

fn without_slash(root: &[u8]) -> &[u8] {
    root.strip_suffix(b"/").unwrap_or(root)
}

impl Located {
    fn join(configured: &[u8], rest: &[u8]) -> Result<Self, Outside> {
        let path = [configured, rest].concat();
        // From the beginning of the segment that the two may share.
        let begin = configured.iter().rposition(|byte| *byte == b'/').map_or(0, |slash| slash + 1);
        let begin = if rest.is_empty() { path.len() } else { begin };
        let mut segments = path.get(begin..).unwrap_or_default().split(|byte| *byte == b'/');
        if path.contains(&0) || segments.any(|segment| matches!(segment, b"." | b"..")) {
            return Err(Outside);
        }
        Ok(Self { path })
    }

    pub fn as_bytes(&self) -> &[u8] {
        &self.path
    }

    /// The same path with something behind it, which is the operator's own word too.
    #[must_use]
    pub fn with(&self, suffix: &[u8]) -> Self {
        Self { path: [&self.path, suffix].concat() }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[track_caller]
    fn check(place: Place<'_>, path: &str, expected: Option<&str>) {
        let located = place.locate(path.as_bytes());
        let located = located.ok().map(|located| String::from_utf8(located.path).expect("text"));
        assert_eq!(located.as_deref(), expected, "{place:?} {path}");
    }

    #[test]
    fn a_path_is_looked_for_below_its_root() {
        let root = Place::Root(b"/srv");
        check(root, "/", Some("/srv/"));
        check(root, "/a/b.html", Some("/srv/a/b.html"));
        check(root, "/..a/.b/...", Some("/srv/..a/.b/..."));
        check(Place::Root(b"/srv/"), "/a", Some("/srv/a"));
        check(Place::Root(b"/"), "/a", Some("/a"));
        check(Place::Root(b"/srv/../x"), "/a", Some("/srv/../x/a"));
        check(root, "/a/../../etc/passwd", None);
        check(root, "/a/./b", None);
        check(root, "/a/..", None);
        check(root, "/a\0.html", None);
    }

    #[test]
    fn an_alias_stands_in_place_of_the_route() {
        check(Place::Alias(b"/srv/x/", 3), "/i/a", Some("/srv/x/a"));
        check(Place::Alias(b"/srv/x", 2), "/i/a", Some("/srv/x/a"));
        check(Place::Alias(b"/srv/x", 2), "/i", Some("/srv/x"));
        check(Place::Alias(b"/srv/x/", 2), "/i../secret", None);
        check(Place::Alias(b"/srv/x", 2), "/i../secret", Some("/srv/x../secret"));
        check(Place::Alias(b"/srv/.", 2), "/i./secret", None);
        check(Place::Exactly(b"/srv/../a.gif"), "/i/b", Some("/srv/../a.gif"));
    }

    #[test]
    fn an_entry_counts_from_where_the_path_does() {
        let located = |place: Place<'_>, entry: &str, path: &str| {
            let entry = place.entry(entry.as_bytes(), path.as_bytes());
            let located = place.locate_entry(entry).expect("inside");
            let path = place.path_of_entry(entry, path.as_bytes());
            let text = |bytes| String::from_utf8(bytes).expect("text");
            (text(located.path), text(path))
        };
        let pair = |path: &str, uri: &str| (path.to_owned(), uri.to_owned());
        assert_eq!(located(Place::Root(b"/srv"), "/b", "/a"), pair("/srv/b", "/b"));
        let alias = Place::Alias(b"/srv/x/", 3);
        assert_eq!(located(alias, "/i/b", "/i/a"), pair("/srv/x/b", "/i/b"));
        assert_eq!(located(alias, "b.html", "/i/a"), pair("/srv/x/b.html", "/i/b.html"));
        assert!(Place::Root(b"/srv").locate_entry(b"/../x").is_err());
        assert!(alias.locate_entry(b"../x").is_err());
    }

    proptest! {
        #[test]
        fn nothing_leads_out_of_a_directory(
            path in "/[a./%\\\\]{0,12}", cut in 0_usize..4, slash in any::<bool>(),
        ) {
            let directory: &[u8] = if slash { b"/srv/x/" } else { b"/srv/x" };
            for place in [Place::Root(directory), Place::Alias(directory, cut)] {
                if let Ok(located) = place.locate(path.as_bytes()) {
                    let mut depth = 0_i32;
                    for segment in located.as_bytes().split(|byte| *byte == b'/') {
                        prop_assert!(segment != b"..");
                        depth += i32::from(!segment.is_empty());
                    }
                    prop_assert!(depth >= 2 && located.as_bytes().starts_with(b"/srv/x"));
                }
            }
        }
    }
}
