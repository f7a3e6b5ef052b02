//! What the master gives its workers: sockets that are bound already, and the configuration.

use std::io;
use std::os::fd::{BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::privileges::Account;
use crate::listen::handing;

pub use crate::listen::handing::{hear_serving, say_serving, standard_input};

/// What a worker is given beside its sockets.
#[derive(Debug, Serialize, Deserialize)]
pub struct Work {
    /// The name of the configuration, which relative paths of ours count from.
    pub name: String,
    pub yaml: String,
    /// Whom it becomes when everything is open.
    pub account: Option<Account>,
    pub open_files: Option<u64>,
    pub working_directory: Option<PathBuf>,
    /// Nobody sits in front of it once it serves.
    pub detaches: bool,
}

/// Gives a worker its sockets and its work.
///
/// # Errors
/// It is gone.
pub fn give(to: &UnixStream, sockets: &[BorrowedFd<'_>], work: &Work) -> io::Result<()> {
    handing::give(to, sockets, &serde_json::to_vec(work)?)
}

/// Takes what [`give`] gives.
///
/// # Errors
/// The master is gone, or it was no master.
pub fn take(from: &UnixStream) -> io::Result<(Vec<OwnedFd>, Work)> {
    let (sockets, work) = handing::take(from)?;
    Ok((sockets, serde_json::from_slice(&work)?))
}
