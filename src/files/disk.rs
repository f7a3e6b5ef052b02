//! The disk: looks, opens, lists. Nothing here waits for a pipe or a device, and symbolic links are
//! followed as far as the operator allows (nginx `disable_symlinks`).

use std::fs::File;

use rustix::fd::{AsFd, OwnedFd};
use rustix::fs::{self, AtFlags, Dir, FileType, Mode, OFlags, Stat};
use rustix::io::{Errno, Result};

use super::listing::Entry;
use super::place::Located;
use super::resolve::{Disk, Kind, Missing};
use super::validators::Stamp;

/// Which symbolic links are followed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Symlinks {
    #[default]
    All,
    None,
    /// Those that belong to whom what they lead to belongs to.
    OfOwner,
}

/// The real one.
#[derive(Clone, Copy, Debug, Default)]
pub struct RealDisk<'a> {
    pub symlinks: Symlinks,
    /// What a path begins with that is not looked at (`from=`).
    pub trusted: &'a [u8],
}

/// What was opened.
#[derive(Debug)]
pub enum Opened {
    File(File, Stamp),
    Directory,
    Other,
}

/// Never waits for a writer of a pipe, and takes no terminal.
const READ: OFlags =
    OFlags::RDONLY.union(OFlags::NONBLOCK).union(OFlags::CLOEXEC).union(OFlags::NOCTTY);
const STEP: OFlags = OFlags::PATH.union(OFlags::CLOEXEC);

impl Disk for RealDisk<'_> {
    fn look(&self, path: &[u8]) -> std::result::Result<Kind, Missing> {
        let stat = match self.symlinks {
            Symlinks::All => fs::stat(path),
            Symlinks::None | Symlinks::OfOwner => self.walk(path, STEP).and_then(fs::fstat),
        };
        Ok(kind(&stat.map_err(missing)?))
    }
}

impl RealDisk<'_> {
    /// Opens a file to read it.
    ///
    /// # Errors
    /// Why there is none.
    pub fn open(&self, located: &Located) -> std::result::Result<Opened, Missing> {
        let opened = self.descriptor(located.as_bytes());
        let with_stat = opened.and_then(|file| fs::fstat(&file).map(|stat| (file, stat)));
        let (file, stat) = with_stat.map_err(missing)?;
        Ok(match kind(&stat) {
            Kind::File => Opened::File(file.into(), stamp(&stat)),
            Kind::Directory => Opened::Directory,
            Kind::Other => Opened::Other,
        })
    }

    /// What a directory holds but for hidden names.
    ///
    /// # Errors
    /// Why it cannot be read.
    pub fn list(&self, located: &Located) -> std::result::Result<Vec<Entry>, Missing> {
        let directory = self.descriptor(located.as_bytes()).map_err(missing)?;
        let mut entries = Vec::new();
        for entry in Dir::read_from(&directory).map_err(missing)? {
            let entry = entry.map_err(missing)?;
            let name = entry.file_name();
            if name.to_bytes().starts_with(b".") {
                continue;
            }
            // What leads nowhere is listed as the link that it is.
            let stat = fs::statat(&directory, name, AtFlags::empty())
                .or_else(|_| fs::statat(&directory, name, AtFlags::SYMLINK_NOFOLLOW));
            if let Ok(stat) = stat {
                let (kind, Stamp { size, modified }) = (kind(&stat), stamp(&stat));
                entries.push(Entry { name: name.to_bytes().to_vec(), kind, size, modified });
            }
        }
        Ok(entries)
    }

    fn descriptor(&self, path: &[u8]) -> Result<OwnedFd> {
        match self.symlinks {
            Symlinks::All => fs::open(path, READ, Mode::empty()),
            Symlinks::None | Symlinks::OfOwner => self.walk(path, READ),
        }
    }

    /// Goes along a path one name at a time: a link that is put in its place meanwhile is noticed.
    fn walk(&self, path: &[u8], last: OFlags) -> Result<OwnedFd> {
        let (begin, rest) = match self.beyond_trusted(path) {
            Some(rest) => (self.trusted, rest),
            None if path.starts_with(b"/") => (&b"/"[..], path),
            None => (&b"."[..], path),
        };
        let mut here = fs::open(begin, STEP | OFlags::DIRECTORY, Mode::empty())?;
        let mut names = rest.split(|byte| *byte == b'/').filter(|name| !name.is_empty()).peekable();
        let ends_in_slash = rest.ends_with(b"/");
        if names.peek().is_none() {
            return fs::openat(&here, ".", last, Mode::empty());
        }
        while let Some(name) = names.next() {
            here = match names.peek() {
                Some(_) => self.step(&here, name, STEP | OFlags::DIRECTORY)?,
                None if ends_in_slash => self.step(&here, name, last | OFlags::DIRECTORY)?,
                None => self.step(&here, name, last)?,
            };
        }
        Ok(here)
    }

    /// The rest of a path that begins with the trusted one: whole names of it.
    fn beyond_trusted<'p>(&self, path: &'p [u8]) -> Option<&'p [u8]> {
        let trusted = self.trusted.strip_suffix(b"/").unwrap_or(self.trusted);
        let rest = path.strip_prefix(trusted).filter(|_| !self.trusted.is_empty())?;
        (rest.is_empty() || rest.starts_with(b"/")).then_some(rest)
    }

    fn step(&self, here: impl AsFd, name: &[u8], flags: OFlags) -> Result<OwnedFd> {
        if self.symlinks == Symlinks::None {
            let next = fs::openat(here, name, flags | OFlags::NOFOLLOW, Mode::empty())?;
            // What is opened by its place alone may be a link itself.
            return match FileType::from_raw_mode(fs::fstat(&next)?.st_mode) {
                FileType::Symlink => Err(Errno::LOOP),
                _ => Ok(next),
            };
        }
        let next = fs::openat(&here, name, flags, Mode::empty())?;
        let link = fs::statat(&here, name, AtFlags::SYMLINK_NOFOLLOW)?;
        let is_link = FileType::from_raw_mode(link.st_mode) == FileType::Symlink;
        match is_link && link.st_uid != fs::fstat(&next)?.st_uid {
            true => Err(Errno::LOOP),
            false => Ok(next),
        }
    }
}

fn kind(stat: &Stat) -> Kind {
    match FileType::from_raw_mode(stat.st_mode) {
        FileType::RegularFile => Kind::File,
        FileType::Directory => Kind::Directory,
        _ => Kind::Other,
    }
}

fn stamp(stat: &Stat) -> Stamp {
    Stamp { size: u64::try_from(stat.st_size).unwrap_or_default(), modified: stat.st_mtime }
}

fn missing(error: Errno) -> Missing {
    match error {
        // Nobody listens at a socket's end, or behind a device's.
        Errno::NOENT | Errno::NOTDIR | Errno::NAMETOOLONG | Errno::NXIO | Errno::NODEV => {
            Missing::NotFound
        }
        Errno::ACCESS | Errno::PERM | Errno::LOOP | Errno::MLINK => Missing::Forbidden,
        _ => Missing::Failed,
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;
    use crate::files::place::Place;

    fn opened(disk: RealDisk<'_>, root: &std::path::Path, path: &str) -> &'static str {
        let root = root.as_os_str().as_encoded_bytes();
        let located = Place::Root(root).locate(path.as_bytes()).expect("it is inside");
        let opened = disk.open(&located);
        let looked = disk.look(located.as_bytes());
        match &opened {
            Ok(Opened::File(..)) => assert_eq!(looked, Ok(Kind::File), "{path}"),
            Ok(Opened::Directory) => assert_eq!(looked, Ok(Kind::Directory), "{path}"),
            Ok(Opened::Other) => assert_eq!(looked, Ok(Kind::Other), "{path}"),
            // A socket can be seen, and not be opened.
            Err(Missing::NotFound) if looked == Ok(Kind::Other) => {}
            Err(missing) => assert_eq!(looked, Err(*missing), "{path}"),
        }
        match opened {
            Ok(Opened::File(..)) => "file",
            Ok(Opened::Directory) => "directory",
            Ok(Opened::Other) => "other",
            Err(Missing::NotFound) => "not found",
            Err(Missing::Forbidden) => "forbidden",
            Err(Missing::Failed) => "failed",
        }
    }

    #[test]
    fn links_are_followed_as_far_as_is_allowed() {
        let directory = tempfile::tempdir().expect("a directory");
        let root = directory.path();
        std::fs::create_dir(root.join("d")).expect("a directory");
        std::fs::write(root.join("d/a"), "x").expect("a file");
        for (link, to) in [("l", "d/a"), ("dl", "d"), ("up", "/"), ("circle", "circle")] {
            symlink(to, root.join(link)).expect("a link");
        }
        let disk = |symlinks| RealDisk { symlinks, trusted: b"" };
        for (path, all, none) in [
            ("/d/a", "file", "file"),
            ("/d", "directory", "directory"),
            ("/d/", "directory", "directory"),
            ("/l", "file", "forbidden"),
            ("/dl", "directory", "forbidden"),
            ("/dl/", "directory", "not found"),
            ("/dl/a", "file", "not found"),
            ("/up/etc/passwd", "file", "not found"),
            ("/circle", "forbidden", "forbidden"),
            ("/d/a/", "not found", "not found"),
            ("/d/a/b", "not found", "not found"),
            ("/x", "not found", "not found"),
        ] {
            assert_eq!(opened(disk(Symlinks::All), root, path), all, "{path}");
            assert_eq!(opened(disk(Symlinks::None), root, path), none, "{path}");
        }
        // All of them are ours.
        assert_eq!(opened(disk(Symlinks::OfOwner), root, "/dl/a"), "file");
        let linked = root.join("dl");
        let trusted = linked.as_os_str().as_encoded_bytes();
        let disk = RealDisk { symlinks: Symlinks::None, trusted };
        assert_eq!(opened(disk, &linked, "/a"), "file");
        assert_eq!(opened(disk, root, "/dl/a"), "file");
        assert_eq!(opened(disk, root, "/l"), "forbidden");
    }

    #[test]
    fn what_is_no_file_is_not_waited_for() {
        let directory = tempfile::tempdir().expect("a directory");
        let root = directory.path();
        let pipe = root.join("pipe");
        fs::mknodat(fs::CWD, &pipe, FileType::Fifo, Mode::RUSR, 0).expect("a pipe");
        let _socket =
            std::os::unix::net::UnixListener::bind(root.join("socket")).expect("a socket");
        let disk = RealDisk::default();
        assert_eq!(opened(disk, root, "/pipe"), "other");
        assert_eq!(opened(disk, root, "/socket"), "not found");
        assert_eq!(opened(disk, std::path::Path::new("/dev"), "/null"), "other");
        assert_eq!(opened(disk, root, &format!("/{}", "a".repeat(300))), "not found");
    }
}
