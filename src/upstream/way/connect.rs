//! A new connection: the socket, then TLS, each within the upstream's `timeouts.connect`.

use std::io;
use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use socket2::{SockRef, TcpKeepalive};
use thiserror::Error;
use tokio::net::{TcpSocket, TcpStream, UnixStream};
use tokio::time;

use super::ways::{Target, Tls};
use crate::transport::{Ahead, Io, Socket};
use crate::upstream::Address;
use crate::upstream::verdict::Failure;

/// Why no connection came about. Nothing of a request was sent.
#[derive(Debug, Error)]
pub enum ConnectError {
    /// Nobody listens there.
    #[error("connection refused")]
    Refused,
    /// No route, no such socket, no right to open it, a reset.
    #[error("unreachable: {0}")]
    Unreachable(io::Error),
    #[error("connecting took too long")]
    TimedOut,
    #[error("the TLS handshake took too long")]
    HandshakeTimedOut,
    /// The handshake failed: a certificate that is not believed, no TLS there, a closed connection.
    #[error("TLS: {0}")]
    Tls(io::Error),
    /// Its settings did not come (RFC 9113 section 3.4).
    #[error("no HTTP/2 settings came in time")]
    GreetingTimedOut,
    #[error("no HTTP/2 is spoken there: {0}")]
    NoHttp2(String),
    /// This process or this machine has no more of them, which is no endpoint's fault.
    #[error("no descriptor, port or memory is left for a connection: {0}")]
    OutOfDescriptors(io::Error),
}

impl ConnectError {
    /// What it is to the table of verdicts.
    pub fn failure(&self) -> Failure {
        match self {
            Self::Refused => Failure::Refused(ECONNREFUSED),
            Self::Unreachable(error) => Failure::Refused(number(error)),
            Self::TimedOut | Self::HandshakeTimedOut | Self::GreetingTimedOut => Failure::TimedOut,
            Self::Tls(_) => Failure::Tls,
            Self::NoHttp2(_) => Failure::Flaw,
            Self::OutOfDescriptors(error) => Failure::OutOfDescriptors(number(error)),
        }
    }
}

pub(super) async fn connect(target: &Target, limit: Duration) -> Result<Io, ConnectError> {
    let dialed = match &target.address {
        Address::Inet(address) => time::timeout(limit, tcp(*address)).await.map(wrap(Socket::Tcp)),
        Address::Unix(path) => time::timeout(limit, unix(path)).await.map(wrap(Socket::Unix)),
    };
    let socket = dialed.map_err(|_elapsed| ConnectError::TimedOut)?.map_err(classify)?;
    match &target.tls {
        None => Ok(Io::Plain(socket)),
        Some(tls) => shake_hands(tls, socket, limit).await,
    }
}

fn wrap<T>(kind: fn(T) -> Socket) -> impl FnOnce(io::Result<T>) -> io::Result<Socket> {
    move |dialed| dialed.map(kind)
}

async fn tcp(address: SocketAddr) -> io::Result<TcpStream> {
    let socket = match address {
        SocketAddr::V4(_) => TcpSocket::new_v4()?,
        SocketAddr::V6(_) => TcpSocket::new_v6()?,
    };
    socket.set_nodelay(true)?;
    // A worker that is gone without a word is noticed, however long an answer may take.
    let probes = TcpKeepalive::new()
        .with_time(Duration::from_secs(60))
        .with_interval(Duration::from_secs(5))
        .with_retries(5);
    SockRef::from(&socket).set_tcp_keepalive(&probes)?;
    socket.connect(address).await
}

/// A unix socket whose queue is full says so at once, where TCP would wait: so does this.
async fn unix(path: &Path) -> io::Result<UnixStream> {
    const LONGEST_PAUSE: Duration = Duration::from_millis(50);
    let mut pause = Duration::from_millis(1);
    loop {
        match UnixStream::connect(path).await {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                time::sleep(pause).await;
                pause = (pause * 2).min(LONGEST_PAUSE);
            }
            connected => return connected,
        }
    }
}

async fn shake_hands(tls: &Tls, socket: Socket, limit: Duration) -> Result<Io, ConnectError> {
    let handshake = tls.connector.connect(tls.name.clone(), Ahead::new(socket));
    match time::timeout(limit, handshake).await {
        Ok(Ok(stream)) => Ok(Io::tls(stream)),
        Ok(Err(error)) => Err(ConnectError::Tls(error)),
        Err(_elapsed) => Err(ConnectError::HandshakeTimedOut),
    }
}

/// Linux's number of the error that is usual.
const ECONNREFUSED: i32 = 111;

fn number(error: &io::Error) -> i32 {
    error.raw_os_error().unwrap_or(0)
}

/// Whose fault it is.
fn classify(error: io::Error) -> ConnectError {
    // Linux's numbers; the kinds of the standard library leave these out.
    const ENFILE: i32 = 23;
    const EMFILE: i32 = 24;
    const ENOBUFS: i32 = 105;
    if matches!(error.raw_os_error(), Some(ENFILE | EMFILE | ENOBUFS)) {
        return ConnectError::OutOfDescriptors(error);
    }
    match error.kind() {
        // All local ports are in use, or routes cannot be remembered (connect(2)).
        io::ErrorKind::AddrNotAvailable
        | io::ErrorKind::WouldBlock
        | io::ErrorKind::OutOfMemory => ConnectError::OutOfDescriptors(error),
        io::ErrorKind::ConnectionRefused => ConnectError::Refused,
        // The system gave up before we did.
        io::ErrorKind::TimedOut => ConnectError::TimedOut,
        _ => ConnectError::Unreachable(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn our_own_lack_of_descriptors_is_told_apart() {
        for (errno, expected) in [
            (23, "no descriptor"),
            (24, "no descriptor"),
            (105, "no descriptor"),
            (12, "no descriptor"),
            (99, "no descriptor"),
            (11, "no descriptor"),
            (111, "connection refused"),
            (110, "connecting took too long"),
            (113, "unreachable"),
            (101, "unreachable"),
            (2, "unreachable"),
            (13, "unreachable"),
            (104, "unreachable"),
        ] {
            let error = classify(io::Error::from_raw_os_error(errno)).to_string();
            assert!(error.starts_with(expected), "{errno}: {error}");
        }
    }
}
