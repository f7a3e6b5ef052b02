//! Writes log lines to files, standard error and syslog, on a thread of its own: a disk that is slow or
//! full stops no request.
//!
//! Requests leave lines with the sink; the thread takes all that wait there in one write. What cannot
//! be written now waits, up to a limit, and is tried again each second from the byte on where it ended,
//! so that no line is torn. Beyond the limit lines are lost, counted, and said.

mod file;
mod syslog;

#[cfg(test)]
mod tests;

use std::io;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle, Thread};
use std::time::{Duration, Instant};

pub use self::syslog::{SyslogServer, SyslogSettings, hostname};

use self::file::{LogFile, PathFiles};
pub(super) use self::syslog::Syslog;

/// Bytes that wait for one sink.
const WAITING_MAX: usize = 8 * 1024 * 1024;
/// Lines that come within so long after a write are written together: waking the thread for each of them
/// would cost more than the rest of a short request.
const GATHER: Duration = Duration::from_millis(2);
/// After a write that failed.
const RETRY_AFTER: Duration = Duration::from_secs(1);
/// A failure that lasts is said so often.
const SAY_EVERY: Duration = Duration::from_secs(60);

/// A place where lines go, by its index.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SinkId(pub usize);

/// Where lines go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SinkSettings {
    File(FileSettings),
    /// Files whose paths have variables: opened for each write.
    Paths,
    Stderr,
    Syslog(SyslogSettings),
}

/// A file, and how long lines may wait for it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FileSettings {
    pub path: PathBuf,
    /// Bytes that are collected before they are written; none: at once.
    pub buffer: Option<usize>,
    /// How long a line may wait in the buffer.
    pub flush: Option<Duration>,
    /// The level that what is written is compressed with (RFC 1952).
    pub gzip: Option<u32>,
}

/// Writes lines, until it is finished or dropped.
#[derive(Debug, Default)]
pub struct LogWriter {
    shared: Arc<Shared>,
    thread: Option<Thread>,
    ending: Mutex<Option<JoinHandle<()>>>,
}

#[derive(Debug, Default)]
struct Shared {
    sinks: Vec<Mutex<Waiting>>,
    settings: Vec<SinkSettings>,
    /// Somebody left lines that are to be written now.
    is_due: AtomicBool,
    reopens: AtomicBool,
    ends: AtomicBool,
}

/// Lines that wait for the thread.
#[derive(Debug, Default)]
struct Waiting {
    bytes: Vec<u8>,
    /// Where each line ends and, where paths have variables, its file.
    lines: Vec<(usize, Box<[u8]>)>,
    /// When the oldest of them came.
    since: Option<Instant>,
    lost: u64,
}

impl LogWriter {
    /// Opens files and sockets, and begins to write.
    ///
    /// # Errors
    /// What cannot be opened.
    pub fn open(settings: Vec<SinkSettings>) -> Result<Self, String> {
        if settings.is_empty() {
            return Ok(Self::default());
        }
        let outputs = settings.iter().map(Output::open).collect::<Result<Vec<_>, _>>()?;
        let sinks = settings.iter().map(|_| Mutex::default()).collect();
        let shared = Arc::new(Shared { sinks, settings, ..Shared::default() });
        let writing = shared.clone();
        let thread = thread::Builder::new()
            .name("log".to_owned())
            .spawn(move || run(&writing, outputs))
            .map_err(|error| format!("the thread of the logs: {error}"))?;
        let handle = thread.thread().clone();
        Ok(Self { shared, thread: Some(handle), ending: Mutex::new(Some(thread)) })
    }

    /// Leaves a line with a sink.
    pub fn write(&self, sink: SinkId, line: &[u8]) {
        self.leave(sink, b"", line);
    }

    /// Leaves a line for a file.
    pub fn write_to(&self, sink: SinkId, path: &[u8], line: &[u8]) {
        self.leave(sink, path, line);
    }

    fn leave(&self, SinkId(index): SinkId, path: &[u8], line: &[u8]) {
        let (Some(sink), Some(settings)) =
            (self.shared.sinks.get(index), self.shared.settings.get(index))
        else {
            return;
        };
        let is_due = lock(sink).add(settings, path, line);
        if is_due && !self.shared.is_due.swap(true, Ordering::AcqRel) {
            self.wake();
        }
    }

    /// Has all files opened anew, after those that were moved got what was theirs (USR1).
    pub fn reopen(&self) {
        self.shared.reopens.store(true, Ordering::Release);
        self.wake();
    }

    fn wake(&self) {
        self.thread.as_ref().map(Thread::unpark);
    }

    /// Writes what waits, once, and ends.
    pub fn finish(&self) {
        self.shared.ends.store(true, Ordering::Release);
        self.wake();
        let ending = self.ending.lock().unwrap_or_else(PoisonError::into_inner).take();
        let _ = ending.map(JoinHandle::join);
    }
}

impl Drop for LogWriter {
    fn drop(&mut self) {
        self.finish();
    }
}

fn lock(waiting: &Mutex<Waiting>) -> std::sync::MutexGuard<'_, Waiting> {
    waiting.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Waiting {
    /// Adds a line. Whether the thread has something to do now.
    fn add(&mut self, settings: &SinkSettings, path: &[u8], line: &[u8]) -> bool {
        if self.bytes.len() + line.len() > WAITING_MAX {
            self.lost += 1;
            return false;
        }
        self.bytes.extend_from_slice(line);
        match settings {
            SinkSettings::File(FileSettings { buffer: Some(buffer), flush, .. }) => {
                let begins_to_wait = flush.is_some() && self.since.is_none();
                self.since.get_or_insert_with(Instant::now);
                self.bytes.len() >= *buffer || begins_to_wait
            }
            SinkSettings::File(_) | SinkSettings::Stderr => true,
            SinkSettings::Paths | SinkSettings::Syslog(_) => {
                self.lines.push((self.bytes.len(), path.into()));
                true
            }
        }
    }

    /// When what waits is to be written; nothing where that is decided by its length alone.
    fn is_due_at(&self, settings: &SinkSettings, now: Instant) -> Option<Instant> {
        let SinkSettings::File(FileSettings { buffer: Some(buffer), flush, .. }) = settings else {
            return (!self.bytes.is_empty()).then_some(now);
        };
        match self.since? {
            since if self.bytes.len() >= *buffer => Some(since),
            since => flush.map(|flush| since + flush),
        }
    }
}

/// Where a sink writes to.
#[derive(Debug)]
enum Output {
    File(LogFile),
    Paths(PathFiles),
    Stderr,
    Syslog(Syslog),
}

impl Output {
    fn open(settings: &SinkSettings) -> Result<Self, String> {
        match settings {
            SinkSettings::File(file) => LogFile::open(file).map(Self::File).map_err(|error| {
                format!("the log file {} cannot be opened: {error}", file.path.display())
            }),
            SinkSettings::Paths => Ok(Self::Paths(PathFiles)),
            SinkSettings::Stderr => Ok(Self::Stderr),
            SinkSettings::Syslog(syslog) => Syslog::open(syslog)
                .map(Self::Syslog)
                .map_err(|error| format!("syslog at {}: {error}", syslog.server)),
        }
    }

    /// Whether a part of what was taken is still to be written.
    fn has_rest(&self) -> bool {
        matches!(self, Self::File(file) if file.has_rest())
    }

    /// Writes; what could not be written stays in `taken`, or here.
    fn write(&mut self, taken: &mut Waiting) -> io::Result<()> {
        match self {
            Self::File(file) => file.write(&mut taken.bytes),
            Self::Stderr => file::write_to(io::stderr().lock(), &mut taken.bytes),
            Self::Paths(files) => files.write(taken),
            Self::Syslog(syslog) => syslog.write(taken),
        }
    }
}

/// What the thread has of a sink.
struct Writing {
    output: Output,
    /// Was taken and could not be written.
    taken: Waiting,
    retry_at: Option<Instant>,
    said_at: Option<Instant>,
}

fn run(shared: &Shared, outputs: Vec<Output>) {
    let new = |output| Writing { output, taken: Waiting::default(), retry_at: None, said_at: None };
    let mut writings: Vec<Writing> = outputs.into_iter().map(new).collect();
    loop {
        let ends = shared.ends.load(Ordering::Acquire);
        let reopens = shared.reopens.swap(false, Ordering::AcqRel);
        // Swapped, not stored: whoever found it set has left a line that is seen below.
        shared.is_due.swap(false, Ordering::AcqRel);
        let (mut next, mut has_written): (Option<Instant>, bool) = (None, false);
        for (index, writing) in writings.iter_mut().enumerate() {
            let (sink, settings) = (&shared.sinks[index], &shared.settings[index]);
            let (due, wrote) = writing.step(sink, settings, ends || reopens);
            has_written |= wrote;
            next = next.into_iter().chain(due).min();
            if reopens {
                writing.reopen();
            }
        }
        if ends {
            return;
        }
        if has_written {
            // Meanwhile nobody wakes this thread but to reopen or to end.
            shared.is_due.store(true, Ordering::Release);
            thread::park_timeout(GATHER);
            continue;
        }
        if shared.is_due.load(Ordering::Acquire) {
            continue;
        }
        match next {
            None => thread::park(),
            Some(next) => thread::park_timeout(next.saturating_duration_since(Instant::now())),
        }
    }
}

impl Writing {
    /// Writes what is due, all of it where `flushes`. When to come again, and whether something was written.
    fn step(
        &mut self,
        sink: &Mutex<Waiting>,
        settings: &SinkSettings,
        flushes: bool,
    ) -> (Option<Instant>, bool) {
        let now = Instant::now();
        if let Some(retry_at) = self.retry_at.filter(|at| *at > now && !flushes) {
            return (Some(retry_at), false);
        }
        let mut lost = 0;
        if self.taken.bytes.is_empty() && !self.output.has_rest() {
            let mut waiting = lock(sink);
            let due = waiting.is_due_at(settings, now);
            if !flushes && due.is_none_or(|due| due > now) {
                return (due, false);
            }
            lost = std::mem::take(&mut waiting.lost);
            std::mem::swap(&mut *waiting, &mut self.taken);
        }
        let outcome = self.output.write(&mut self.taken);
        if lost > 0 {
            tracing::error!(lines = lost, sink = ?settings, "log lines were lost");
        }
        match outcome {
            Ok(()) => {
                self.taken.bytes.clear();
                self.taken.lines.clear();
                self.taken.since = None;
                self.retry_at = None;
                (lock(sink).is_due_at(settings, now), true)
            }
            Err(error) => {
                if self.said_at.is_none_or(|said| now - said >= SAY_EVERY) {
                    tracing::error!(%error, sink = ?settings, "a log cannot be written");
                    self.said_at = Some(now);
                }
                self.retry_at = Some(now + RETRY_AFTER);
                (self.retry_at, false)
            }
        }
    }

    fn reopen(&mut self) {
        if let Output::File(file) = &mut self.output
            && let Err(error) = file.reopen()
        {
            tracing::error!(%error, path = %file.path().display(), "a log file was not opened again");
        }
    }
}
