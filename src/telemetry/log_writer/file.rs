//! Files that lines are appended to.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Component, Path, PathBuf};

use flate2::Compression;
use flate2::write::GzEncoder;

use super::{FileSettings, Waiting};

/// A file that stays open.
#[derive(Debug)]
pub(super) struct LogFile {
    path: PathBuf,
    file: File,
    gzip: Option<Compression>,
    /// Was compressed and not written yet.
    rest: Vec<u8>,
}

impl LogFile {
    pub fn open(settings: &FileSettings) -> io::Result<Self> {
        let FileSettings { path, gzip, .. } = settings;
        let gzip = gzip.map(Compression::new);
        Ok(Self { path: path.clone(), file: open(path)?, gzip, rest: Vec::new() })
    }

    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Opens what has the path's name now. The old file stays where that fails.
    pub fn reopen(&mut self) -> io::Result<()> {
        self.file = open(&self.path)?;
        Ok(())
    }

    pub fn has_rest(&self) -> bool {
        !self.rest.is_empty()
    }

    /// Writes lines; compressed, they are a member of their own, so that each part of the file is whole.
    pub fn write(&mut self, bytes: &mut Vec<u8>) -> io::Result<()> {
        let Some(level) = self.gzip else { return write_to(&self.file, bytes) };
        if self.rest.is_empty() && !bytes.is_empty() {
            let mut encoder = GzEncoder::new(Vec::new(), level);
            encoder.write_all(bytes)?;
            self.rest = encoder.finish()?;
            bytes.clear();
        }
        write_to(&self.file, &mut self.rest)
    }
}

/// nginx's rights: others may read it, where the umask lets them.
fn open(path: &Path) -> io::Result<File> {
    OpenOptions::new().append(true).create(true).mode(0o644).open(path)
}

/// Writes bytes, and takes those out that were written.
pub(super) fn write_to(mut output: impl Write, bytes: &mut Vec<u8>) -> io::Result<()> {
    let mut written = 0;
    let outcome = loop {
        match output.write(&bytes[written..]) {
            _ if written == bytes.len() => break Ok(()),
            Ok(0) => break Err(io::ErrorKind::WriteZero.into()),
            Ok(more) => written += more,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => break Err(error),
        }
    };
    bytes.drain(..written);
    outcome
}

/// Files that are named by each request: opened for the lines that wait, and closed again.
#[derive(Debug)]
pub(super) struct PathFiles;

impl PathFiles {
    /// A line whose file cannot be written is given up: others wait behind it.
    pub fn write(&mut self, taken: &mut Waiting) -> io::Result<()> {
        let mut begin = 0;
        let mut outcome = Ok(());
        for of_one in taken.lines.chunk_by(|(_, path), (_, other)| path == other) {
            let [.., (end, path)] = of_one else { continue };
            let mut bytes = taken.bytes.get(begin..*end).unwrap_or_default().to_vec();
            begin = *end;
            let path = Path::new(std::ffi::OsStr::from_bytes(path));
            let written = check(path).and_then(|()| write_to(open(path)?, &mut bytes));
            outcome = outcome.and(written);
        }
        taken.bytes.clear();
        taken.lines.clear();
        outcome
    }
}

/// A client that chooses a part of a path does not choose its directory.
fn check(path: &Path) -> io::Result<()> {
    match path.components().any(|part| part == Component::ParentDir) {
        true => {
            Err(io::Error::new(io::ErrorKind::InvalidInput, "the path of a log has `..` in it"))
        }
        false => Ok(()),
    }
}
