//! Media types by the end of a file's name (nginx `types`, `default_type`).

use std::borrow::Cow;
use std::collections::BTreeMap;

use super::types_table::BUILT_IN;

/// What a name's end says of a file.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Types {
    /// nginx's own table.
    #[default]
    BuiltIn,
    /// By end, in lower case.
    Own(BTreeMap<String, String>),
}

impl Types {
    /// The type of what a path names.
    pub fn of(&self, path: &[u8]) -> Option<&str> {
        let end = extension(path)?;
        let end = std::str::from_utf8(end).ok()?;
        let end = match end.bytes().any(|byte| byte.is_ascii_uppercase()) {
            true => Cow::Owned(end.to_ascii_lowercase()),
            false => Cow::Borrowed(end),
        };
        match self {
            Self::BuiltIn => {
                let found = BUILT_IN.binary_search_by(|(known, _)| (*known).cmp(&*end)).ok()?;
                BUILT_IN.get(found).map(|(_, media_type)| *media_type)
            }
            Self::Own(table) => table.get(&*end).map(String::as_str),
        }
    }
}

/// What follows the last dot of the last segment. A name that begins with its only dot has none.
fn extension(path: &[u8]) -> Option<&[u8]> {
    let begin = memchr::memrchr(b'/', path).map_or(0, |slash| slash + 1);
    let name = path.get(begin..)?;
    let dot = memchr::memrchr(b'.', name).filter(|dot| *dot > 0)?;
    name.get(dot + 1..)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_is_sorted() {
        assert!(BUILT_IN.windows(2).all(|pair| pair[0].0 < pair[1].0));
        assert!(BUILT_IN.iter().all(|(end, _)| *end == end.to_ascii_lowercase()));
    }

    #[test]
    fn a_type_is_told_by_the_end_of_a_name() {
        for (path, expected) in [
            ("/a.html", Some("text/html")),
            ("/a.HTML", Some("text/html")),
            ("/a.b/c.tar.zip", Some("application/zip")),
            ("/a.css", Some("text/css")),
            ("/.html", None),
            ("/a/.html", None),
            ("/a.html/b", None),
            ("/a.", None),
            ("/a", None),
            ("/a.unknown", None),
            ("/a.é", None),
        ] {
            assert_eq!(Types::BuiltIn.of(path.as_bytes()), expected, "{path}");
        }
        let own = Types::Own([("x".to_owned(), "a/b".to_owned())].into());
        assert_eq!((own.of(b"/a.X"), own.of(b"/a.html")), (Some("a/b"), None));
    }
}
