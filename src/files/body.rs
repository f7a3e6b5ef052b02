//! The bytes of a file, a piece at a time.
//!
//! What the system has in memory is read at once; what it has to fetch from a disk is read on a thread
//! of its own, so that no other request waits for that. A file that has become shorter is an error,
//! never a shorter answer; of one that grows, only what was announced is read.

use std::collections::VecDeque;
use std::fs::File;
use std::io::{self, ErrorKind, IoSliceMut};
use std::os::unix::fs::FileExt;
use std::pin::Pin;
use std::sync::{Arc, LazyLock};
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use rustix::io::{ReadWriteFlags, preadv2};
use rustix::process::{Resource, getrlimit};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::task::JoinHandle;

use super::ranges::{Piece, Span};

/// Bytes read at a time.
const READ_MAX: usize = 128 * 1024;
/// Bytes sent at a time without being read.
const UNREAD_MAX: u64 = 1024 * 1024;
/// Files up to this many bytes are answered without staying open.
const WHOLE_MAX: u64 = 64 * 1024;

/// A place among the files that may be open to be sent; none where there are as many as may be. What is
/// left of the process's descriptors is for connections and workers.
pub fn room() -> Option<OwnedSemaphorePermit> {
    static OPEN: LazyLock<Arc<Semaphore>> = LazyLock::new(|| {
        let descriptors = getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX);
        let most = usize::try_from(descriptors / 4).unwrap_or(usize::MAX);
        Arc::new(Semaphore::new(most.clamp(64, Semaphore::MAX_PERMITS)))
    });
    OPEN.clone().try_acquire_owned().ok()
}

/// Reads a small file whole, where that needs no wait.
pub fn at_once(file: &File, span: Span) -> Option<Bytes> {
    let length = usize::try_from(span.len()).ok().filter(|_| span.len() <= WHOLE_MAX)?;
    let mut bytes = vec![0; length];
    let read = if length == 0 { 0 } else { read_cached(file, &mut bytes, span.begin).ok()? };
    (read == length).then(|| bytes.into())
}

/// What is left to be sent of a file, and of what stands between its parts.
#[derive(Debug)]
pub struct FileBody {
    file: Arc<File>,
    pieces: VecDeque<Piece>,
    length: u64,
    buffer: Buffer,
    reading: Option<JoinHandle<(io::Result<usize>, Buffer)>>,
    /// Counts it among the files that are open.
    _open: OwnedSemaphorePermit,
}

/// What was read and not taken yet.
#[derive(Debug, Default)]
struct Buffer {
    bytes: Vec<u8>,
    begin: usize,
    end: usize,
}

impl FileBody {
    pub fn new(file: File, pieces: Vec<Piece>, open: OwnedSemaphorePermit) -> Self {
        let length = pieces.iter().map(Piece::len).fold(0, u64::saturating_add);
        Self {
            file: Arc::new(file),
            pieces: pieces.into(),
            length,
            buffer: Buffer::default(),
            reading: None,
            _open: open,
        }
    }

    /// Bytes that it has in all.
    pub fn length(&self) -> u64 {
        self.length
    }

    /// Waits for bytes: `false` at the end. The same ones are there until they were consumed.
    ///
    /// # Errors
    /// The file cannot be read, or is shorter than it was.
    pub fn poll_piece(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<bool>> {
        loop {
            if self.buffer.begin < self.buffer.end {
                return Poll::Ready(Ok(true));
            }
            if self.reading.is_some() {
                ready!(self.poll_read(cx))?;
                continue;
            }
            match self.pieces.pop_front() {
                None => return Poll::Ready(Ok(false)),
                Some(Piece::Text(text)) => {
                    let end = text.len();
                    self.buffer = Buffer { bytes: text, begin: 0, end };
                }
                Some(Piece::File(span)) if span.is_empty() => {}
                Some(Piece::File(span)) => self.read(span)?,
            }
        }
    }

    /// What comes next of the file where it is large, in memory, and not read yet: it may be sent
    /// without being read here.
    pub fn unread(&self) -> Option<(&File, Span)> {
        let Some(Piece::File(span)) = self.pieces.front() else { return None };
        let is_empty = self.reading.is_none() && self.buffer.begin == self.buffer.end;
        let next = Span { begin: span.begin, end: span.end.min(span.begin + UNREAD_MAX) };
        // Its last byte: what the system has read ahead, it has read up to there.
        let last = next.end.saturating_sub(1);
        let is_worth_it = is_empty && next.len() > WHOLE_MAX;
        let is_there = is_worth_it && read_cached(&self.file, &mut [0], last).ok() == Some(1);
        is_there.then_some((&*self.file, next))
    }

    /// Says that so many bytes of [`unread`](Self::unread) were sent.
    ///
    /// # Errors
    /// None were: the file is shorter than it was.
    pub fn sent_unread(&mut self, bytes: usize) -> io::Result<()> {
        match self.pieces.pop_front() {
            Some(Piece::File(span)) => self.go_on(span, bytes),
            _ => Err(ErrorKind::InvalidData.into()),
        }
    }

    pub fn piece(&self) -> &[u8] {
        self.buffer.bytes.get(self.buffer.begin..self.buffer.end).unwrap_or_default()
    }

    pub fn consume(&mut self, bytes: usize) {
        self.buffer.begin = self.buffer.end.min(self.buffer.begin + bytes);
    }

    /// Reads the beginning of a span, now or on a thread.
    fn read(&mut self, span: Span) -> io::Result<()> {
        let mut buffer = std::mem::take(&mut self.buffer);
        let length = READ_MAX.min(usize::try_from(span.len()).unwrap_or(READ_MAX));
        if buffer.bytes.len() < length {
            buffer.bytes = vec![0; length];
        }
        let space = buffer.bytes.get_mut(..length).unwrap_or_default();
        match read_cached(&self.file, space, span.begin) {
            Ok(read) => {
                self.buffer = buffer;
                self.has_read(span, read)
            }
            Err(error)
                if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Unsupported) =>
            {
                let file = self.file.clone();
                self.reading = Some(tokio::task::spawn_blocking(move || {
                    let space = buffer.bytes.get_mut(..length).unwrap_or_default();
                    (file.read_at(space, span.begin), buffer)
                }));
                self.pieces.push_front(Piece::File(span));
                Ok(())
            }
            Err(error) => Err(error),
        }
    }

    fn poll_read(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let Some(reading) = &mut self.reading else { return Poll::Ready(Ok(())) };
        let done = ready!(Pin::new(reading).poll(cx));
        self.reading = None;
        let (read, buffer) = done.map_err(io::Error::other)?;
        self.buffer = buffer;
        match self.pieces.pop_front() {
            Some(Piece::File(span)) => Poll::Ready(self.has_read(span, read?)),
            _ => Poll::Ready(Err(ErrorKind::InvalidData.into())),
        }
    }

    fn has_read(&mut self, span: Span, read: usize) -> io::Result<()> {
        (self.buffer.begin, self.buffer.end) = (0, read);
        self.go_on(span, read)
    }

    /// Leaves out what was taken of a span.
    fn go_on(&mut self, span: Span, taken: usize) -> io::Result<()> {
        if taken == 0 {
            return Err(ErrorKind::UnexpectedEof.into());
        }
        let rest = Span { begin: span.begin + taken as u64, end: span.end };
        if !rest.is_empty() {
            self.pieces.push_front(Piece::File(rest));
        }
        Ok(())
    }
}

/// Reads what is in memory.
///
/// # Errors
/// `WouldBlock` and `Unsupported` where that is not known or nothing is.
fn read_cached(file: &File, space: &mut [u8], offset: u64) -> io::Result<usize> {
    Ok(preadv2(file, &mut [IoSliceMut::new(space)], offset, ReadWriteFlags::NOWAIT)?)
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;
    use std::io::Write;

    use super::*;

    fn open(content: &[u8]) -> File {
        let mut file = tempfile::tempfile().expect("a file");
        file.write_all(content).expect("it is written");
        file
    }

    fn body(file: File, pieces: Vec<Piece>) -> FileBody {
        FileBody::new(file, pieces, room().expect("there is room"))
    }

    async fn read(mut body: FileBody) -> io::Result<Vec<u8>> {
        let mut all = Vec::new();
        while poll_fn(|cx| body.poll_piece(cx)).await? {
            let taken = body.piece().len().div_ceil(2);
            all.extend_from_slice(&body.piece()[..taken]);
            body.consume(taken);
        }
        Ok(all)
    }

    fn span(begin: u64, end: u64) -> Piece {
        Piece::File(Span { begin, end })
    }

    #[tokio::test]
    async fn pieces_come_in_their_order() {
        let content: Vec<u8> = (0..300_000_u32).map(|number| (number / 7) as u8).collect();
        let whole = body(open(&content), vec![span(0, 300_000)]);
        assert_eq!(whole.length(), 300_000);
        assert!(read(whole).await.expect("it is read") == content);
        let pieces =
            vec![Piece::Text(b"<".into()), span(5, 5), span(7, 9), Piece::Text(b">".into())];
        let parts = body(open(&content), pieces);
        assert_eq!(parts.length(), 4);
        assert_eq!(read(parts).await.expect("it is read"), [b"<", &content[7..9], b">"].concat());
    }

    #[tokio::test]
    async fn a_file_that_has_shrunk_does_not_look_whole() {
        let file = open(b"abc");
        let failed = read(body(file, vec![span(0, 4)])).await;
        assert_eq!(failed.expect_err("it is short").kind(), ErrorKind::UnexpectedEof);
    }

    #[test]
    fn small_files_are_read_at_once() {
        let file = open(b"abc");
        let at_once = |begin, end| at_once(&file, Span { begin, end });
        assert_eq!(at_once(1, 3).as_deref(), Some(&b"bc"[..]));
        assert_eq!(at_once(3, 3).as_deref(), Some(&b""[..]));
        assert_eq!(at_once(0, 4), None, "it is shorter than it was");
        assert_eq!(at_once(0, WHOLE_MAX + 1), None);
    }
}
