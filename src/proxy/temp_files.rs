//! Files that bodies of requests wait in, where the operator says where and whether they have names
//! (nginx `client_body_temp_path`, `client_body_in_file_only`).

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// Names that are taken already before somebody else is thought to make them.
const TAKEN_MAX: u32 = 1000;

/// The number of the next file, as nginx counts.
static NEXT: AtomicU64 = AtomicU64::new(1);

/// Where files lie, and what becomes of them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TempFiles {
    pub directory: PathBuf,
    /// Digits in the names of directories inside it, each the next ones from the end of the number.
    pub levels: Vec<usize>,
    pub kept: Kept,
}

/// How long a file has a name.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Kept {
    #[default]
    Nameless,
    /// As long as its request.
    UntilEnd,
    Always,
}

/// A file that has a name.
#[derive(Debug)]
pub struct NamedFile {
    path: PathBuf,
    kept: Kept,
}

impl TempFiles {
    /// Makes a file.
    ///
    /// # Errors
    /// It cannot be made.
    pub fn create(&self) -> io::Result<(File, Option<NamedFile>)> {
        if self.kept == Kept::Nameless {
            let made = tempfile::tempfile_in(&self.directory);
            let made = made.or_else(|error| {
                self.make_directory(&self.directory, error)?;
                tempfile::tempfile_in(&self.directory)
            });
            return Ok((made?, None));
        }
        for _ in 0..TAKEN_MAX {
            let path = self.path(NEXT.fetch_add(1, Relaxed));
            match create_new(&path) {
                Ok(file) => return Ok((file, Some(NamedFile { path, kept: self.kept }))),
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                    // Those of another process, or of one before this.
                    NEXT.fetch_add(u64::from(rand::random::<u16>()), Relaxed);
                }
                Err(error) => {
                    self.make_directory(path.parent().unwrap_or(&self.directory), error)?;
                    let file = create_new(&path)?;
                    return Ok((file, Some(NamedFile { path, kept: self.kept })));
                }
            }
        }
        Err(io::ErrorKind::AlreadyExists.into())
    }

    /// Makes a directory where that is what is missing.
    fn make_directory(&self, path: &Path, error: io::Error) -> io::Result<()> {
        match error.kind() {
            io::ErrorKind::NotFound => fs::create_dir_all(path),
            _ => Err(error),
        }
    }

    fn path(&self, number: u64) -> PathBuf {
        let name = format!("{number:010}");
        let mut path = self.directory.clone();
        let mut end = name.len();
        for digits in &self.levels {
            let begin = end.saturating_sub(*digits);
            path.push(name.get(begin..end).unwrap_or_default());
            end = begin;
        }
        path.push(name);
        path
    }
}

fn create_new(path: &Path) -> io::Result<File> {
    File::options().read(true).write(true).create_new(true).mode(0o600).open(path)
}

impl NamedFile {
    pub fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for NamedFile {
    fn drop(&mut self) {
        if self.kept != Kept::Always
            && let Err(error) = fs::remove_file(&self.path)
        {
            tracing::error!(%error, "the file of a request's body cannot be removed");
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    #[test]
    fn levels_are_the_last_digits() {
        let path = |levels: &[usize]| {
            let files = TempFiles {
                directory: "/spool".into(),
                levels: levels.to_vec(),
                kept: Kept::default(),
            };
            files.path(123_457).display().to_string()
        };
        assert_eq!(path(&[]), "/spool/0000123457");
        assert_eq!(path(&[1, 2]), "/spool/7/45/0000123457");
        assert_eq!(path(&[3, 3, 3]), "/spool/457/123/000/0000123457");
    }

    #[test]
    fn files_have_names_for_as_long_as_is_said() {
        let directory = tempfile::tempdir().expect("a directory");
        let inside = directory.path().join("a/b");
        for (kept, during, after) in
            [(Kept::Nameless, 0, 0), (Kept::UntilEnd, 1, 0), (Kept::Always, 1, 1)]
        {
            let files = TempFiles { directory: inside.clone(), levels: Vec::new(), kept };
            let (mut file, name) = files.create().expect("a file");
            file.write_all(b"abc").expect("writable");
            let count = || fs::read_dir(&inside).expect("a directory").count();
            assert_eq!(count(), during, "{kept:?}");
            if let Some(name) = &name {
                assert_eq!(fs::read(name.path()).expect("readable"), b"abc");
            }
            drop(name);
            assert_eq!(count(), after, "{kept:?}");
        }
    }
}
