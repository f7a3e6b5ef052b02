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

/// The path of the first candidate that is there and is what was meant: a directory, or anything else.
/// The text of one that means a directory comes without its last slash.
pub fn try_files<T: AsRef<[u8]>>(
    candidates: impl IntoIterator<Item = (T, Kind)>,
    place: Place<'_>,
    path: &[u8],
    disk: &impl Disk,
) -> Option<Vec<u8>> {
    candidates.into_iter().find_map(|(text, wanted)| {
        let text = text.as_ref();
        let located = place.locate_entry(text, path).ok()?;
        let kind = disk.look(located.as_bytes()).ok()?;
        let is_meant = (kind == Kind::Directory) == (wanted == Kind::Directory);
        is_meant.then(|| place.path_of_entry(text, path))
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
        let Ok(file) = Place::Exactly(directory.as_bytes()).locate_entry(name, path) else {
            continue;
        };
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
        let tried = |candidates: &[(&str, Kind)], place, path: &str| {
            let found = try_files(candidates.iter().copied(), place, path.as_bytes(), &DISK);
            found.map(|found| String::from_utf8(found).expect("text"))
        };
        let file = |text| (text, Kind::File);
        let directory = |text| (text, Kind::Directory);
        let check = |candidates: &[(&str, Kind)], place, path, expected: Option<&str>| {
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
