//! The key ring on disk.
//!
//! A ring is written beside its place and then put there in one step, so that a reader (a reload, a
//! crash in between) meets the old text, the new text or none. Who changes a ring has it locked
//! from reading to writing, so that of two changes at once neither is lost.

use std::fs::{self, File, OpenOptions, Permissions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt, fchown};
use std::path::{Path, PathBuf};

use zeroize::Zeroizing;

use super::keyring::{KEYRING_BYTES_MAX, Keyring, KeyringError};
use super::random;

impl Keyring {
    /// Reads a ring from a file. Its permissions are not held against it; checking a
    /// configuration warns of them.
    ///
    /// # Errors
    ///
    /// [`KeyringError::File`], and those of [`Keyring::parse`].
    pub fn load(path: &Path) -> Result<Self, KeyringError> {
        let read_error = failed("read", path);
        // The whole room at once, since a buffer that grows leaves copies of itself behind.
        let mut text = Zeroizing::new(String::with_capacity(KEYRING_BYTES_MAX + 1));
        let bound = KEYRING_BYTES_MAX as u64 + 1;
        File::open(path)
            .and_then(|file| file.take(bound).read_to_string(&mut text))
            .map_err(read_error)?;
        Self::parse(&text)
    }

    /// Writes a new file, mode 0600, synced. What is there already stays as it is, even where two
    /// processes start at the same moment.
    ///
    /// # Errors
    ///
    /// [`KeyringError::Exists`], [`KeyringError::File`] (also where the file system has no hard
    /// links), [`KeyringError::Random`].
    pub fn save_new(&self, path: &Path) -> Result<(), KeyringError> {
        let draft = Draft::write(self, path)?;
        // Unlike a rename, a link never replaces what is there.
        fs::hard_link(&draft.path, path).map_err(|error| match error.kind() {
            io::ErrorKind::AlreadyExists => KeyringError::Exists(path.to_owned()),
            _ => failed("create", path)(error),
        })?;
        drop(draft);
        sync_directory(path)
    }

    /// Reads a ring, changes it and puts it back, as [`Keyring::replace`] does. Where the change is
    /// refused the file stays as it was. Other changes wait for this one; readers do not.
    ///
    /// # Errors
    ///
    /// Those of [`Keyring::load`], of `change` and of [`Keyring::replace`].
    pub fn edit<T>(
        path: &Path,
        change: impl FnOnce(&mut Self) -> Result<T, KeyringError>,
    ) -> Result<T, KeyringError> {
        let locked = lock(path)?;
        let mut ring = Self::load(path)?;
        let changed = change(&mut ring)?;
        ring.replace(path)?;
        drop(locked);
        Ok(changed)
    }

    /// Replaces a file that is there, keeping its mode and owner: `keys rotate` run by root must
    /// not take the ring away from the service. A symbolic link stays one.
    ///
    /// # Errors
    ///
    /// [`KeyringError::File`], [`KeyringError::Random`].
    pub fn replace(&self, path: &Path) -> Result<(), KeyringError> {
        let path = &fs::canonicalize(path).map_err(failed("find", path))?;
        let present = fs::metadata(path).map_err(failed("read", path))?;
        let draft = Draft::write(self, path)?;
        fchown(&draft.file, Some(present.uid()), Some(present.gid()))
            .and_then(|()| {
                draft.file.set_permissions(Permissions::from_mode(present.mode() & 0o7777))
            })
            .and_then(|()| draft.file.sync_all())
            .and_then(|()| fs::rename(&draft.path, path))
            .map_err(failed("replace", path))?;
        sync_directory(path)
    }
}

/// Locks the file that a path names until the returned value is dropped (flock(2), so that it ends
/// with the process at the latest).
fn lock(path: &Path) -> Result<File, KeyringError> {
    loop {
        let file = File::open(path).map_err(failed("read", path))?;
        file.lock().map_err(failed("lock", path))?;
        // Whoever had the lock may have put another file there meanwhile.
        let (held, present) = file
            .metadata()
            .and_then(|held| Ok((held, fs::metadata(path)?)))
            .map_err(failed("read", path))?;
        if (held.dev(), held.ino()) == (present.dev(), present.ino()) {
            return Ok(file);
        }
    }
}

/// A file beside the place where it will be; removed when dropped.
struct Draft {
    file: File,
    path: PathBuf,
}

impl Draft {
    fn write(keyring: &Keyring, beside: &Path) -> Result<Self, KeyringError> {
        let mut name = beside.file_name().unwrap_or_default().to_owned();
        name.push(format!(".{:016x}", u64::from_be_bytes(random::bytes()?)));
        let path = beside.with_file_name(name);
        let file = OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(&path)
            .map_err(failed("create", &path))?;
        let mut draft = Self { file, path };
        // Once more, since the umask may have taken even the owner's rights away.
        draft
            .file
            .set_permissions(Permissions::from_mode(0o600))
            .and_then(|()| draft.file.write_all(keyring.to_json().as_bytes()))
            .and_then(|()| draft.file.sync_all())
            .map_err(failed("write", &draft.path))?;
        Ok(draft)
    }
}

impl Drop for Draft {
    fn drop(&mut self) {
        // After a rename it is not there any more; otherwise nothing better can be done here.
        let _ = fs::remove_file(&self.path);
    }
}

/// Makes the entry in the directory as durable as the file.
fn sync_directory(of: &Path) -> Result<(), KeyringError> {
    let directory = match of.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    };
    File::open(directory)
        .and_then(|directory| directory.sync_all())
        .map_err(failed("sync", directory))
}

fn failed(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> KeyringError {
    let path = path.to_owned();
    move |source| KeyringError::File { action, path, source }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::UnixMillis;

    fn ring() -> Keyring {
        Keyring::generate(UnixMillis(1_760_000_000_000)).unwrap()
    }

    fn names(directory: &Path) -> Vec<String> {
        let entries = fs::read_dir(directory).unwrap();
        entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
    }

    fn set_mode(path: &Path, mode: u32) {
        fs::set_permissions(path, Permissions::from_mode(mode)).unwrap();
    }

    #[test]
    fn a_new_file_is_private_and_reads_back() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("keyring.json");
        let ring = ring();
        ring.save_new(&path).unwrap();
        assert_eq!(fs::metadata(&path).unwrap().mode() & 0o7777, 0o600);
        assert_eq!(*Keyring::load(&path).unwrap().to_json(), *ring.to_json());
        assert_eq!(names(directory.path()), ["keyring.json"], "no draft is left behind");
    }

    #[test]
    fn a_file_that_is_there_is_never_overwritten() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("keyring.json");
        fs::write(&path, "mine").unwrap();
        assert!(matches!(ring().save_new(&path), Err(KeyringError::Exists(at)) if at == path));
        assert_eq!(fs::read(&path).unwrap(), b"mine");
        assert_eq!(names(directory.path()), ["keyring.json"], "no draft is left behind");

        let dangling = directory.path().join("dangling.json");
        std::os::unix::fs::symlink("nowhere", &dangling).unwrap();
        assert!(matches!(ring().save_new(&dangling), Err(KeyringError::Exists(_))));
    }

    #[test]
    fn a_replaced_file_keeps_its_mode_and_its_links() {
        let directory = tempfile::tempdir().unwrap();
        let (path, link) = (directory.path().join("a.json"), directory.path().join("b.json"));
        let mut ring = ring();
        ring.save_new(&path).unwrap();
        set_mode(&path, 0o640);
        std::os::unix::fs::symlink("a.json", &link).unwrap();
        ring.rotate(UnixMillis(1)).unwrap();
        ring.replace(&link).unwrap();
        assert_eq!(fs::metadata(&path).unwrap().mode() & 0o7777, 0o640);
        assert!(fs::symlink_metadata(&link).unwrap().is_symlink());
        assert_eq!(*Keyring::load(&path).unwrap().to_json(), *ring.to_json());
        assert_eq!(names(directory.path()).len(), 2, "no draft is left behind");
    }

    #[test]
    fn of_changes_at_once_none_is_lost() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("keyring.json");
        ring().save_new(&path).unwrap();
        std::thread::scope(|scope| {
            for _ in 0..8 {
                scope.spawn(|| Keyring::edit(&path, |ring| ring.rotate(UnixMillis(1))).unwrap());
            }
        });
        assert_eq!(Keyring::load(&path).unwrap().describe().len(), 2 + 8);
    }

    #[test]
    fn a_refused_change_leaves_the_file_alone() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("keyring.json");
        ring().save_new(&path).unwrap();
        let (before, inode) = (fs::read(&path).unwrap(), fs::metadata(&path).unwrap().ino());
        let refused = Keyring::edit(&path, |ring| {
            ring.rotate(UnixMillis(1))?;
            ring.retire(ring.sealing().id())
        });
        assert!(matches!(refused, Err(KeyringError::Refused(_))), "{refused:?}");
        assert_eq!(fs::read(&path).unwrap(), before);
        assert_eq!(fs::metadata(&path).unwrap().ino(), inode);
    }

    #[test]
    fn missing_and_oversized_files_are_told_apart() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("keyring.json");
        let missing = Keyring::load(&path).unwrap_err();
        assert!(
            missing.to_string().starts_with(&format!("cannot read {}: ", path.display())),
            "{missing}"
        );
        assert!(matches!(ring().replace(&path), Err(KeyringError::File { action: "find", .. })));
        fs::write(&path, " ".repeat(KEYRING_BYTES_MAX + 1)).unwrap();
        assert!(matches!(Keyring::load(&path), Err(KeyringError::TooLarge)));
        fs::write(&path, b"\xff").unwrap();
        assert!(matches!(Keyring::load(&path), Err(KeyringError::File { action: "read", .. })));
    }
}
