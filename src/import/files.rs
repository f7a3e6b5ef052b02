//! Where configuration files come from: the disk, or a table in a test.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

use super::text::{bytes, text};

/// Reads files and lists folders. Names are [texts](super::text).
pub trait Files {
    /// The bytes of a file; more than `most` are an error.
    fn read(&self, name: &str, most: usize) -> io::Result<Vec<u8>>;

    /// The names in a folder, without `.` and `..`, in any order.
    fn names(&self, folder: &str) -> io::Result<Vec<String>>;

    /// Whether there is something by that name, a broken link included.
    fn exists(&self, name: &str) -> bool;
}

/// The files of this machine.
pub struct Disk;

impl Files for Disk {
    fn read(&self, name: &str, most: usize) -> io::Result<Vec<u8>> {
        let limit = u64::try_from(most).unwrap_or(u64::MAX).saturating_add(1);
        let mut read = Vec::new();
        File::open(path(name))?.take(limit).read_to_end(&mut read)?;
        if read.len() > most {
            return Err(io::ErrorKind::FileTooLarge.into());
        }
        Ok(read)
    }

    fn names(&self, folder: &str) -> io::Result<Vec<String>> {
        let entries = path(folder).read_dir()?;
        entries.map(|entry| Ok(text(entry?.file_name().as_encoded_bytes()))).collect()
    }

    fn exists(&self, name: &str) -> bool {
        path(name).symlink_metadata().is_ok()
    }
}

fn path(name: &str) -> std::path::PathBuf {
    use std::os::unix::ffi::OsStrExt;
    Path::new(std::ffi::OsStr::from_bytes(&bytes(name))).to_path_buf()
}

/// The error number of Linux for a file that is not there.
const NO_SUCH_FILE: i32 = 2;

/// Files in memory, by their whole names.
impl Files for BTreeMap<String, Vec<u8>> {
    fn read(&self, name: &str, most: usize) -> io::Result<Vec<u8>> {
        let missing = || io::Error::from_raw_os_error(NO_SUCH_FILE);
        let bytes = self.get(name).ok_or_else(missing)?;
        if bytes.len() > most {
            return Err(io::ErrorKind::FileTooLarge.into());
        }
        Ok(bytes.clone())
    }

    fn names(&self, folder: &str) -> io::Result<Vec<String>> {
        let folder = folder.trim_end_matches('/');
        let below = self.keys().filter_map(|name| name.strip_prefix(folder)?.strip_prefix('/'));
        let mut names: Vec<String> =
            below.filter_map(|rest| Some(rest.split('/').next()?.to_owned())).collect();
        names.dedup();
        Ok(names)
    }

    fn exists(&self, name: &str) -> bool {
        let name = name.trim_end_matches('/');
        self.keys().any(|key| {
            key.strip_prefix(name).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
        })
    }
}
