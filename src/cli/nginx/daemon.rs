//! `daemon on`: the process goes into the background, and whoever started it goes on once it serves.
//!
//! The program starts itself once more, since a process of several threads cannot be copied safely. The
//! copy says on its standard input that it serves; where it ends before, so does the one that waits.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::net::UnixStream;
use std::process::{Command, ExitCode, Stdio};

use rustix::process::setsid;
use rustix::stdio::{dup2_stderr, dup2_stdin, dup2_stdout};

use super::handing;
use crate::listen::succession;

/// How the copy knows what it is.
pub const MARK: &str = "CLOAKROOM_BACKGROUND";

/// Whether this is the copy.
pub fn is_copy() -> bool {
    std::env::var_os(MARK).is_some()
}

/// Whether a copy is to be started: where that is wanted, neither by it nor by who takes another one's place.
pub fn is_wanted(daemon: bool) -> bool {
    daemon && !is_copy() && !succession::succeeds()
}

/// Starts the copy, and waits until it serves.
///
/// # Errors
/// It cannot be started.
pub fn start() -> io::Result<ExitCode> {
    let (ours, its) = UnixStream::pair()?;
    let mut command = Command::new(std::env::current_exe()?);
    let mut words = std::env::args_os();
    if let Some(name) = words.next() {
        std::os::unix::process::CommandExt::arg0(&mut command, name);
    }
    command.args(words).env(MARK, "1").stdin(Stdio::from(std::os::fd::OwnedFd::from(its)));
    let mut copy = command.spawn()?;
    drop(command);
    if handing::hear_serving(&ours).is_ok() {
        return Ok(ExitCode::SUCCESS);
    }
    // It has said why.
    copy.wait().map(|_| ExitCode::FAILURE)
}

/// Leaves the terminal, and says that it serves. To be called by the copy.
///
/// # Errors
/// The system refuses.
pub fn leave() -> io::Result<()> {
    let starter = handing::standard_input()?;
    setsid()?;
    dup2_stdin(&nothing()?)?;
    handing::say_serving(&starter)?;
    fall_silent()
}

/// Gives up the output that somebody else may wait to see the end of.
///
/// # Errors
/// The system refuses.
pub fn fall_silent() -> io::Result<()> {
    let nothing = nothing()?;
    dup2_stdout(&nothing)?;
    dup2_stderr(&nothing)?;
    Ok(())
}

fn nothing() -> io::Result<File> {
    OpenOptions::new().read(true).write(true).open("/dev/null")
}
