//! Which of several files is meant (nginx `try_files`, `index`): pure but for looks at the disk.

use super::place::Place;

/// What is on the disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    File,
    Directory,
    /// A pipe, a socket, a device: nothing that is served.
    Other,
}

/// Why nothing can be had there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Missing {
    NotFound,
    /// No permission, or a symbolic link that is not followed.
    Forbidden,
    /// The system's fault: no descriptors, a broken disk.
    Failed,
}

/// What is asked of a disk.
pub trait Disk {
    /// Looks what is there, without opening it.
    ///
    /// # Errors
    /// Why there is nothing.
    fn look(&self, path: &[u8]) -> Result<Kind, Missing>;
}

/// What is looked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Candidate<T> {
    /// Without its last slash, where it means a directory.
    pub text: T,
    pub means_directory: bool,
    /// No variable has made it, so nothing of it stands for an alias.
    pub is_literal: bool,
}

/// What was found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Found {
    /// The request's path from here on.
    pub path: Vec<u8>,
    pub is_directory: bool,
}

/// The first candidate that is there and is what was meant: a directory, or anything else.
pub fn try_files<T: AsRef<[u8]>>(
    candidates: impl IntoIterator<Item = Candidate<T>>,
    place: Place<'_>,
    path: &[u8],
    disk: &impl Disk,
) -> Option<Found> {
    candidates.into_iter().find_map(|candidate| {
        let text = candidate.text.as_ref();
        let entry = if candidate.is_literal { text } else { place.entry(text, path) };
        let located = place.locate_entry(entry).ok()?;
        let is_directory = disk.look(located.as_bytes()).ok()? == Kind::Directory;
        let is_meant = is_directory == candidate.means_directory;
        is_meant.then(|| Found { path: place.path_of_entry(entry, path), is_directory })
    })
}

/// What a path that ends in a slash comes to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Indexed {
    /// A redirect inside.
    Inside(Vec<u8>),
    /// A directory without any of the names.
    Nothing,
    Missing(Missing),
}

/// Looks for the first name that there is. One that begins with a slash is not looked for.
pub fn index<T: AsRef<[u8]>>(
    names: impl IntoIterator<Item = T>,
    place: Place<'_>,
    path: &[u8],
    disk: &impl Disk,
) -> Indexed {
    let Ok(directory) = place.locate(path) else { return Indexed::Missing(Missing::NotFound) };
    let mut is_directory = false;
    for name in names {
        let name = name.as_ref();
        if name.starts_with(b"/") {
            return Indexed::Inside(name.to_vec());
        }
        let Ok(file) = Place::Exactly(directory.as_bytes()).locate_entry(name) else { continue };
        match disk.look(file.as_bytes()) {
            Ok(_) => return Indexed::Inside([path, name].concat()),
            Err(Missing::NotFound) => {}
            Err(missing) => return Indexed::Missing(missing),
        }
        if !is_directory {
            match disk.look(directory.as_bytes()) {
                Ok(Kind::Directory) => is_directory = true,
                Ok(Kind::File | Kind::Other) => return Indexed::Missing(Missing::NotFound),
                Err(missing) => return Indexed::Missing(missing),
            }
        }
    }
    Indexed::Nothing
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Paths; directories end in a slash, what nobody may read in `!`.
    struct Paths(&'static [&'static str]);

    impl Disk for Paths {
        fn look(&self, path: &[u8]) -> Result<Kind, Missing> {
            let text = std::str::from_utf8(path).expect("text");
            let name = text.strip_suffix('/').unwrap_or(text);
            let has = |path: &str| self.0.contains(&path);
            match () {
                () if has(&format!("{name}/")) => Ok(Kind::Directory),
                () if has(name) && name == text => Ok(Kind::File),
                () if has(&format!("{name}!")) => Err(Missing::Forbidden),
                () => Err(Missing::NotFound),
            }
        }
    }

    const DISK: Paths = Paths(&[
        "/srv/",
        "/srv/a.html",
        "/srv/dir/",
        "/srv/dir/index.htm",
        "/srv/empty/",
        "/srv/shut/",
        "/srv/shut/index.html!",
        "/etc/passwd",
    ]);
    const ROOT: Place<'_> = Place::Root(b"/srv");
    const ALIAS: Place<'_> = Place::Alias(b"/srv/", 3);

    #[test]
    fn the_first_that_is_there_is_taken() {
        type Text = Candidate<&'static str>;
        let tried = |candidates: &[Text], place, path: &str| {
            let found = try_files(candidates.iter().copied(), place, path.as_bytes(), &DISK);
            found.map(|found| String::from_utf8(found.path).expect("text"))
        };
        let file = |text| Candidate { text, means_directory: false, is_literal: false };
        let literal = |text| Candidate { text, means_directory: false, is_literal: true };
        let directory = |text| Candidate { text, means_directory: true, is_literal: false };
        let check = |candidates: &[Text], place, path, expected: Option<&str>| {
            assert_eq!(
                tried(candidates, place, path).as_deref(),
                expected,
                "{candidates:?} {path}"
            );
        };
        check(&[file("/x"), file("/a.html")], ROOT, "/x", Some("/a.html"));
        check(&[file("/dir"), directory("/dir")], ROOT, "/dir", Some("/dir"));
        check(&[file("/dir")], ROOT, "/dir", None);
        check(&[directory("/a.html")], ROOT, "/a.html", None);
        check(&[file("/a.html/")], ROOT, "/a.html/", None);
        check(&[file("/../etc/passwd"), file("/dir/../../etc/passwd")], ROOT, "/", None);
        check(&[file("/i/a.html")], ALIAS, "/i/a.html", Some("/i/a.html"));
        check(&[file("a.html")], ALIAS, "/i/x", Some("/i/a.html"));
        check(&[literal("/i/a.html")], ALIAS, "/i/a.html", None);
        check(&[literal("a.html")], ALIAS, "/i/x", Some("/i/a.html"));
        check(&[], ROOT, "/a.html", None);
    }

    #[test]
    fn a_directory_is_its_index() {
        let inside = |path: &str| Indexed::Inside(path.as_bytes().to_vec());
        for (names, place, path, expected) in [
            (&["index.html", "index.htm"][..], ROOT, "/dir/", inside("/dir/index.htm")),
            (&["index.htm"], ALIAS, "/i/dir/", inside("/i/dir/index.htm")),
            (&["x", "/fallback"], ROOT, "/dir/", inside("/fallback")),
            (&["/fallback"], ROOT, "/none/", inside("/fallback")),
            (&["index.html"], ROOT, "/empty/", Indexed::Nothing),
            (&["../a.html"], ROOT, "/dir/", Indexed::Nothing),
            (&["index.html"], ROOT, "/shut/", Indexed::Missing(Missing::Forbidden)),
            (&["index.html"], ROOT, "/none/", Indexed::Missing(Missing::NotFound)),
            (&["index.html"], ROOT, "/a.html/", Indexed::Missing(Missing::NotFound)),
            (&["passwd"], ROOT, "/../etc/", Indexed::Missing(Missing::NotFound)),
        ] {
            assert_eq!(index(names, place, path.as_bytes(), &DISK), expected, "{names:?} {path}");
        }
    }
}
