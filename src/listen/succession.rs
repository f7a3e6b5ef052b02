//! One binary in another one's place (nginx's USR2): the new process is started by the old one and gets its
//! sockets. Both serve until the old one is told to go.

use std::ffi::{OsStr, OsString};
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use rustix::process::{Pid, getppid};
use serde::{Deserialize, Serialize};

use super::bind::Inherited;
use super::handing;

/// How the new process knows what it is.
const MARK: &str = "CLOAKROOM_SUCCEEDS";

/// What is said of the sockets. Another version of the program reads it: keys are added, none changes.
#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(default)]
struct Word {
    /// Which of them were bound by us, so that files go with them.
    own: Vec<bool>,
}

/// The process whose place this one takes.
#[derive(Debug)]
pub struct Predecessor {
    line: UnixStream,
    pid: Option<Pid>,
}

impl Predecessor {
    /// Takes the sockets, where this process was started to take another one's place. To be called once,
    /// before any thread is started.
    ///
    /// # Errors
    /// It has ended meanwhile.
    pub fn of_this_process() -> io::Result<Option<(Self, Inherited)>> {
        if std::env::var_os(MARK).is_none() {
            return Ok(None);
        }
        let pid = getppid();
        let line = handing::standard_input()?;
        let (sockets, word) = handing::take(&line)?;
        let Word { own } = serde_json::from_slice(&word)?;
        let own = own.into_iter().chain(std::iter::repeat(false));
        let inherited = Inherited::handed_over(sockets.into_iter().zip(own))?;
        Ok(Some((Self { line, pid }, inherited)))
    }

    /// Tells it that its place is taken.
    pub fn relieve(&self) {
        // Where it is gone there is nobody to be told.
        let _ = handing::say_serving(&self.line);
    }

    /// Whether it still runs: what both have is not to be taken away.
    pub fn is_there(&self) -> bool {
        getppid() == self.pid
    }
}

/// Whether this process was started to take another one's place.
pub fn succeeds() -> bool {
    std::env::var_os(MARK).is_some()
}

/// Starts the program that has this one's name now, with the same arguments. `without` are variables that
/// it does not get. Returns the way to it.
///
/// # Errors
/// The system's.
pub fn command(without: &[&str]) -> io::Result<(Command, UnixStream)> {
    let (ours, its) = UnixStream::pair()?;
    let mut words = std::env::args_os();
    let name = words.next().unwrap_or_default();
    let mut command = Command::new(program(&name)?);
    std::os::unix::process::CommandExt::arg0(&mut command, &name);
    command.args(words).env(MARK, "1").stdin(Stdio::from(OwnedFd::from(its)));
    without.iter().for_each(|name| {
        command.env_remove(name);
    });
    Ok((command, ours))
}

/// Gives it the sockets, each with whether it was bound by us.
///
/// # Errors
/// It has ended.
pub fn give(line: &UnixStream, sockets: &[(OwnedFd, bool)]) -> io::Result<()> {
    let word = Word { own: sockets.iter().map(|(_, is_own)| *is_own).collect() };
    let sockets: Vec<BorrowedFd<'_>> = sockets.iter().map(|(socket, _)| socket.as_fd()).collect();
    handing::give(line, &sockets, &serde_json::to_vec(&word)?)
}

/// The file that a name on a command line means.
fn program(name: &OsStr) -> io::Result<PathBuf> {
    if name.as_bytes().contains(&b'/') {
        return Ok(name.into());
    }
    let folders = std::env::var_os("PATH").unwrap_or_default();
    let found = std::env::split_paths(&folders).map(|folder| folder.join(name));
    match found.into_iter().find(|path| path.is_file()) {
        Some(found) => Ok(found),
        None => std::env::current_exe(),
    }
}

/// Whether a file has the number of this process: others may have taken its name meanwhile.
pub fn is_own(pid: &Path) -> bool {
    let text = std::fs::read_to_string(pid).unwrap_or_default();
    text.trim() == std::process::id().to_string()
}

/// Takes the file with the number of this process away, under whichever name it is.
pub fn remove_own(pid: &Path) {
    let names = [pid.to_owned(), old(pid)];
    for name in names.iter().filter(|name| is_own(name)) {
        // Somebody else may have.
        let _ = std::fs::remove_file(name);
    }
}

/// What the file of an old process's number is called while a new one has its name (`PID.oldbin`).
pub fn old(pid: &Path) -> PathBuf {
    let mut name = OsString::from(pid);
    name.push(".oldbin");
    name.into()
}
