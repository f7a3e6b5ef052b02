//! Listening sockets given to another process: a worker of a master, or the binary that takes this one's
//! place.
//!
//! They go through a socket that the other one has as standard input, with a word about them, and it says
//! back when it serves. The socket stays open: where it closes, the other side is gone.

use std::io::{self, IoSlice, IoSliceMut, Read, Write};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;

use rustix::cmsg_space;
use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags, recvmsg, sendmsg,
};

/// Sockets in one message; the system takes 253.
const TOGETHER: usize = 64;
/// What is said by who serves.
const SERVES: &[u8] = b"+";
/// A word is no longer than what is read of files.
const BYTES_MAX: u64 = 256 << 20;

/// Gives sockets and a word.
///
/// # Errors
/// Nobody is there.
pub fn give(mut to: &UnixStream, sockets: &[BorrowedFd<'_>], word: &[u8]) -> io::Result<()> {
    to.write_all(&(sockets.len() as u64).to_le_bytes())?;
    to.write_all(&(word.len() as u64).to_le_bytes())?;
    for some in sockets.chunks(TOGETHER) {
        let mut space = [MaybeUninit::uninit(); cmsg_space!(ScmRights(TOGETHER))];
        let mut rights = SendAncillaryBuffer::new(&mut space);
        if !rights.push(SendAncillaryMessage::ScmRights(some)) {
            return Err(io::ErrorKind::InvalidInput.into());
        }
        sendmsg(to, &[IoSlice::new(b"s")], &mut rights, SendFlags::empty())?;
    }
    to.write_all(word)
}

/// Takes what [`give`] gives.
///
/// # Errors
/// The other one is gone, or gives something else.
pub fn take(mut from: &UnixStream) -> io::Result<(Vec<OwnedFd>, Vec<u8>)> {
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
    let mut word = Vec::new();
    from.take(length.min(BYTES_MAX)).read_to_end(&mut word)?;
    Ok((sockets, word))
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
    fn sockets_and_word_arrive_as_they_were() {
        let (one, other) = UnixStream::pair().expect("a pair");
        let sockets: Vec<TcpListener> =
            (0..100).map(|_| TcpListener::bind("127.0.0.1:0").expect("loopback")).collect();
        let given: Vec<BorrowedFd<'_>> = sockets.iter().map(AsFd::as_fd).collect();
        let word = "x".repeat(100_000);
        let (taken, got) = std::thread::scope(|scope| {
            let taking = scope.spawn(|| take(&other));
            give(&one, &given, word.as_bytes()).expect("it takes them");
            taking.join().expect("no panic").expect("it has them")
        });
        assert_eq!(got, word.as_bytes());
        let address = |listener: &TcpListener| listener.local_addr().expect("bound");
        let taken: Vec<_> = taken.into_iter().map(|one| address(&one.into())).collect();
        assert_eq!(taken, sockets.iter().map(address).collect::<Vec<_>>());
        say_serving(&other).expect("there is somebody");
        hear_serving(&one).expect("it was said");
        drop(other);
        assert!(hear_serving(&one).is_err(), "nobody is there to say it");
    }
}
