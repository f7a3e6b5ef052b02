//! Bodies that wait for whoever is slow: in memory first, then in a file that nobody else sees.
//!
//! A file is written and read on the thread of the exchange, in large pieces: what was just written is in
//! the system's memory.

use std::fs::File;
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::fs::FileExt;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use crate::proxy::temp_files::{NamedFile, TempFiles};

/// Bytes that are read back at a time.
const READ_MAX: usize = 64 * 1024;

/// What all spools of this process may have in files.
#[derive(Debug)]
pub struct Disk {
    bytes: AtomicU64,
    bytes_max: AtomicU64,
}

/// A body, or a part of one.
#[derive(Debug)]
pub struct Spool {
    memory: Vec<u8>,
    memory_max: usize,
    file: Option<File>,
    /// Once there is a file, all of it goes there.
    leaves_memory: bool,
    /// Where that would lie; else nobody sees it.
    files: Option<Arc<TempFiles>>,
    name: Option<NamedFile>,
    /// Bytes in the file.
    written: u64,
    written_max: u64,
    disk: Arc<Disk>,
    /// What was read back, and from where in the file.
    buffer: Vec<u8>,
    buffer_at: u64,
}

impl Disk {
    pub fn new(bytes_max: u64) -> Arc<Self> {
        Arc::new(Self { bytes: AtomicU64::new(0), bytes_max: AtomicU64::new(bytes_max) })
    }

    /// Changes how many there may be.
    pub fn set_limit(&self, bytes_max: u64) {
        self.bytes_max.store(bytes_max, Relaxed);
    }

    /// Bytes that are in files now.
    pub fn bytes(&self) -> u64 {
        self.bytes.load(Relaxed)
    }
}

impl Spool {
    /// An empty one: so much of it stays in memory, so much goes into a file.
    pub fn new(memory_max: usize, written_max: u64, disk: Arc<Disk>) -> Self {
        Self {
            memory: Vec::new(),
            memory_max,
            file: None,
            leaves_memory: false,
            files: None,
            name: None,
            written: 0,
            written_max,
            disk,
            buffer: Vec::new(),
            buffer_at: 0,
        }
    }

    /// One for a request's body, which may wait for long: so much of it is in memory, or all of it in a
    /// file.
    pub fn of_request(memory_max: usize, disk: Arc<Disk>, files: Option<Arc<TempFiles>>) -> Self {
        let mut spool = Self::new(memory_max, u64::MAX, disk);
        spool.leaves_memory = true;
        spool.files = files;
        spool
    }

    pub fn len(&self) -> u64 {
        self.memory.len() as u64 + self.written
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// All of it, where there is no file.
    pub fn in_memory(&self) -> Option<&[u8]> {
        self.file.is_none().then_some(&self.memory)
    }

    /// Bytes of memory that it takes.
    pub fn held(&self) -> usize {
        self.memory.capacity() + self.buffer.capacity()
    }

    /// Takes all of a piece. `false`: there is no room; one for an answer has taken nothing of it then, one
    /// for a request is of no use any more.
    ///
    /// # Errors
    /// The file cannot be made or written.
    pub fn push(&mut self, piece: &[u8]) -> io::Result<bool> {
        if self.file.is_none() && self.memory.len() + piece.len() <= self.memory_max {
            self.memory.extend_from_slice(piece);
            return Ok(true);
        }
        if self.leaves_memory && !self.memory.is_empty() {
            let memory = std::mem::take(&mut self.memory);
            return Ok(self.write(&memory)? && self.write(piece)?);
        }
        self.write(piece)
    }

    fn write(&mut self, piece: &[u8]) -> io::Result<bool> {
        let length = piece.len() as u64;
        let is_too_much = self.disk.bytes() + length > self.disk.bytes_max.load(Relaxed);
        if length > self.written_max - self.written || is_too_much {
            return Ok(false);
        }
        let at = self.written;
        self.file()?.write_all_at(piece, at)?;
        self.written += length;
        self.disk.bytes.fetch_add(length, Relaxed);
        Ok(true)
    }

    /// The file, which is made where there is none.
    ///
    /// # Errors
    /// It cannot be made.
    pub fn file(&mut self) -> io::Result<&File> {
        let made = match (&self.file, &self.files) {
            (Some(_), _) => None,
            (None, None) => Some(tempfile::tempfile()?),
            (None, Some(files)) => {
                let (file, name) = files.create()?;
                self.name = name;
                Some(file)
            }
        };
        self.file = made.or(self.file.take());
        self.file.as_ref().ok_or_else(|| io::ErrorKind::NotFound.into())
    }

    /// Where the file can be read, as long as it is here.
    pub fn path(&self) -> Option<PathBuf> {
        let file = self.file.as_ref()?;
        Some(match &self.name {
            Some(name) => name.path().to_owned(),
            None => format!("/proc/{}/fd/{}", std::process::id(), file.as_raw_fd()).into(),
        })
    }

    /// The bytes from here on, some of them; none at the end.
    ///
    /// # Errors
    /// The file cannot be read.
    pub fn load(&mut self, at: u64) -> io::Result<()> {
        let Some(at) = at.checked_sub(self.memory.len() as u64) else { return Ok(()) };
        let is_loaded = at >= self.buffer_at && at < self.buffer_at + self.buffer.len() as u64;
        let Some(file) = self.file.as_ref().filter(|_| !is_loaded && at < self.written) else {
            return Ok(());
        };
        let length = usize::try_from(self.written - at).unwrap_or(READ_MAX).min(READ_MAX);
        self.buffer.resize(length, 0);
        self.buffer_at = at;
        file.read_exact_at(&mut self.buffer, at)
    }

    /// What [`load`](Self::load) has made ready.
    pub fn piece(&self, at: u64) -> &[u8] {
        let in_memory = usize::try_from(at).ok().and_then(|at| self.memory.get(at..));
        match in_memory.filter(|piece| !piece.is_empty()) {
            Some(piece) => piece,
            None => {
                let at = at.saturating_sub(self.memory.len() as u64);
                let begin = at.checked_sub(self.buffer_at).and_then(|it| usize::try_from(it).ok());
                begin.and_then(|begin| self.buffer.get(begin..)).unwrap_or_default()
            }
        }
    }

    /// Forgets all of it.
    pub fn clear(&mut self) -> io::Result<()> {
        self.memory.clear();
        self.buffer = Vec::new();
        self.buffer_at = 0;
        self.disk.bytes.fetch_sub(std::mem::take(&mut self.written), Relaxed);
        self.file.as_ref().map_or(Ok(()), |file| file.set_len(0))
    }
}

impl Drop for Spool {
    fn drop(&mut self) {
        self.disk.bytes.fetch_sub(self.written, Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(spool: &mut Spool) -> Vec<u8> {
        let mut all = Vec::new();
        while (all.len() as u64) < spool.len() {
            let at = all.len() as u64;
            spool.load(at).expect("readable");
            let piece = spool.piece(at);
            assert!(!piece.is_empty(), "at {at}");
            all.extend_from_slice(&piece[..piece.len().div_ceil(2)]);
        }
        all
    }

    #[test]
    fn what_goes_in_comes_out_again_and_again() {
        let disk = Disk::new(1_000_000);
        let mut spool = Spool::new(100, 500_000, disk.clone());
        let mut expected = Vec::new();
        for (n, length) in [0_usize, 60, 40, 1, 70_000, 130_000, 5].into_iter().enumerate() {
            let piece = vec![u8::try_from(n).expect("few"); length];
            assert!(spool.push(&piece).expect("writable"));
            expected.extend_from_slice(&piece);
            assert_eq!(read(&mut spool), expected);
        }
        assert_eq!(
            (spool.len(), disk.bytes()),
            (expected.len() as u64, expected.len() as u64 - 100)
        );
        assert_eq!(read(&mut spool), expected);
        spool.clear().expect("writable");
        assert_eq!((spool.len(), disk.bytes()), (0, 0));
        assert!(spool.push(b"again").expect("writable"));
        assert_eq!(read(&mut spool), b"again");
        drop(spool);
        assert_eq!(disk.bytes(), 0);
    }

    #[test]
    fn a_request_is_in_memory_or_in_a_file() {
        let disk = Disk::new(1_000);
        let mut spool = Spool::of_request(10, disk.clone(), None);
        assert!(spool.push(b"0123456789").expect("writable"));
        assert_eq!((spool.in_memory(), disk.bytes()), (Some(&b"0123456789"[..]), 0));
        assert!(spool.push(b"ab").expect("writable"));
        assert_eq!((spool.in_memory(), spool.held(), disk.bytes()), (None, 0, 12));
        assert!(spool.push(b"c").expect("writable"));
        assert_eq!(read(&mut spool), b"0123456789abc");
        assert_eq!(read(&mut spool), b"0123456789abc");
        assert!(!spool.push(&[0; 988]).expect("writable"));
    }

    #[test]
    fn it_has_limits() {
        let disk = Disk::new(25);
        let (mut one, mut other) =
            (Spool::new(10, 20, disk.clone()), Spool::new(0, 20, disk.clone()));
        let push = |spool: &mut Spool, length| spool.push(&vec![0; length]).expect("writable");
        assert!(push(&mut one, 10) && push(&mut one, 20) && !push(&mut one, 1));
        assert!(push(&mut other, 5) && !push(&mut other, 1), "all of them together");
        drop(one);
        assert!(push(&mut other, 15) && !push(&mut other, 1));
    }
}
