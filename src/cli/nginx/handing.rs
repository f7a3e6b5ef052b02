//! What the master gives its workers: sockets that are bound already, and the configuration.
//!
//! Both go through the socket that a worker has as standard input, which says back when it serves. It
//! stays open: where it closes, the other one is gone.

use std::io::{self, IoSlice, IoSliceMut, Read, Write};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;

use rustix::cmsg_space;
use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags, recvmsg, sendmsg,
};
use serde::{Deserialize, Serialize};

use super::privileges::Account;

/// Sockets in one message; the system takes 253.
const TOGETHER: usize = 64;
/// What a worker says when it serves.
const SERVES: &[u8] = b"+";
/// A configuration is no larger than what is read of files.
const BYTES_MAX: u64 = 256 << 20;

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
pub fn give(mut to: &UnixStream, sockets: &[BorrowedFd<'_>], work: &Work) -> io::Result<()> {
    let work = serde_json::to_vec(work)?;
    to.write_all(&(sockets.len() as u64).to_le_bytes())?;
    to.write_all(&(work.len() as u64).to_le_bytes())?;
    for some in sockets.chunks(TOGETHER) {
        let mut space = [MaybeUninit::uninit(); cmsg_space!(ScmRights(TOGETHER))];
        let mut rights = SendAncillaryBuffer::new(&mut space);
        if !rights.push(SendAncillaryMessage::ScmRights(some)) {
            return Err(io::ErrorKind::InvalidInput.into());
        }
        sendmsg(to, &[IoSlice::new(b"s")], &mut rights, SendFlags::empty())?;
    }
    to.write_all(&work)
}

/// Takes what [`give`] gives.
///
/// # Errors
/// The master is gone, or it was no master.
pub fn take(mut from: &UnixStream) -> io::Result<(Vec<OwnedFd>, Work)> {
    let mut number = [0; 8];
    from.read_exact(&mut number)?;
    let count = u64::from_le_bytes(number);
    from.read_exact(&mut number)?;
    let length = u64::from_le_bytes(number);
    let mut sockets = Vec::new();
    while (sockets.len() as u64) < count {
        let mut byte = [0; 1];
        let mut space = [MaybeUninit::uninit(); cmsg_space!(ScmRights(TOGETHER))];
        let mut rights = RecvAncillaryBuffer::new(&mut space);
        let mut into = [IoSliceMut::new(&mut byte)];
        let read = recvmsg(from, &mut into, &mut rights, RecvFlags::CMSG_CLOEXEC)?;
        if read.bytes == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        for message in rights.drain() {
            if let RecvAncillaryMessage::ScmRights(some) = message {
                sockets.extend(some);
            }
        }
    }
    let mut work = Vec::new();
    from.take(length.min(BYTES_MAX)).read_to_end(&mut work)?;
    Ok((sockets, serde_json::from_slice(&work)?))
}

/// Says that everything is open and served.
///
/// # Errors
/// Nobody is there to hear it.
pub fn say_serving(mut to: &UnixStream) -> io::Result<()> {
    to.write_all(SERVES)
}

/// Waits for that.
///
/// # Errors
/// It will not be said: who should have said it has ended.
pub fn hear_serving(mut from: &UnixStream) -> io::Result<()> {
    let mut said = [0; SERVES.len()];
    from.read_exact(&mut said)?;
    if said == SERVES { Ok(()) } else { Err(io::ErrorKind::InvalidData.into()) }
}

/// Standard input as the socket that it is.
///
/// # Errors
/// It is none.
pub fn standard_input() -> io::Result<UnixStream> {
    Ok(UnixStream::from(io::stdin().as_fd().try_clone_to_owned()?))
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

    use super::*;

    #[test]
    fn sockets_and_work_arrive_as_they_were() {
        let (one, other) = UnixStream::pair().expect("a pair");
        let sockets: Vec<TcpListener> =
            (0..100).map(|_| TcpListener::bind("127.0.0.1:0").expect("loopback")).collect();
        let given: Vec<BorrowedFd<'_>> = sockets.iter().map(AsFd::as_fd).collect();
        let work = Work {
            name: "/a".to_owned(),
            yaml: "x".repeat(100_000),
            account: None,
            open_files: Some(3),
            working_directory: None,
            detaches: false,
        };
        let (taken, got) = std::thread::scope(|scope| {
            let taking = scope.spawn(|| take(&other));
            give(&one, &given, &work).expect("it takes them");
            taking.join().expect("no panic").expect("it has them")
        });
        assert_eq!((got.name, got.yaml.len(), got.open_files), (work.name, 100_000, Some(3)));
        let address = |listener: &TcpListener| listener.local_addr().expect("bound");
        let taken: Vec<_> = taken.into_iter().map(|one| address(&one.into())).collect();
        assert_eq!(taken, sockets.iter().map(address).collect::<Vec<_>>());
        say_serving(&other).expect("there is somebody");
        hear_serving(&one).expect("it was said");
        drop(other);
        assert!(hear_serving(&one).is_err(), "nobody is there to say it");
    }
}
