//! A question on its way: to one server after another until one answers, over TCP where an answer does
//! not fit.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpStream, UdpSocket};
use tokio::time::{Instant, sleep, timeout};

use super::Unresolved;
use super::message::{Said, Wanted, question, read};

/// After so long the next server is asked (nginx's resend interval).
const NEXT_AFTER: Duration = Duration::from_secs(5);
/// After so long nobody is asked any more, whoever may still wait.
const LONGEST: Duration = Duration::from_secs(30);
/// Before a question goes on after a server could not be reached.
const PAUSE: Duration = Duration::from_secs(1);
/// More does not come over UDP to those who do not say that they take more (RFC 1035 section 4.2.1); some
/// servers do not care.
const DATAGRAM_MAX: usize = 4096;

/// The servers of a resolver, which take turns.
#[derive(Debug)]
pub struct Servers {
    addresses: Vec<SocketAddr>,
    next: AtomicUsize,
}

impl Servers {
    pub fn new(addresses: Vec<SocketAddr>) -> Self {
        Self { addresses, next: AtomicUsize::new(0) }
    }

    /// Asks until there is an answer. One that only says what is wrong with a server counts once all
    /// servers have said such a thing.
    ///
    /// # Errors
    /// It is no name; nobody has answered.
    pub async fn ask(&self, name: &str, wanted: Wanted) -> Result<Said, Unresolved> {
        let given_up = Instant::now() + LONGEST;
        let first = self.next.fetch_add(1, Relaxed);
        let mut complaints = 0;
        for turn in first.. {
            let left = given_up.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Err(Unresolved::TimedOut);
            }
            let server = self.at(turn).ok_or(Unresolved::TimedOut)?;
            let exchanged = timeout(NEXT_AFTER.min(left), exchange(server, name, wanted)).await;
            match exchanged {
                Err(_elapsed) => {}
                Ok(Err(error)) if error.kind() == io::ErrorKind::InvalidInput => {
                    return Err(Unresolved::NoName);
                }
                Ok(Err(error)) => {
                    tracing::debug!(%server, name, %error, "a name server cannot be asked");
                    sleep(PAUSE.min(left)).await;
                }
                Ok(Ok(Said::Failed(why))) => {
                    complaints += 1;
                    if complaints >= self.addresses.len() {
                        return Ok(Said::Failed(why));
                    }
                }
                Ok(Ok(said)) => return Ok(said),
            }
        }
        Err(Unresolved::TimedOut)
    }

    fn at(&self, turn: usize) -> Option<SocketAddr> {
        self.addresses.get(turn.checked_rem(self.addresses.len())?).copied()
    }
}

/// One question to one server. A socket of its own, with a port that nobody can know, and a random id
/// keep others from answering in its place (RFC 5452); what is no answer to it is not looked at.
async fn exchange(server: SocketAddr, name: &str, wanted: Wanted) -> io::Result<Said> {
    let any: IpAddr = match server {
        SocketAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
        SocketAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
    };
    let socket = UdpSocket::bind((any, 0)).await?;
    socket.connect(server).await?;
    let id = rand::random();
    socket.send(&asked(id, name, wanted)?).await?;
    let mut buffer = [0; DATAGRAM_MAX];
    loop {
        let length = socket.recv(&mut buffer).await?;
        match read(&buffer[..length], id, name, wanted) {
            Some(Said::Truncated) => return over_tcp(server, name, wanted).await,
            Some(said) => return Ok(said),
            None => tracing::debug!(%server, name, "a name server sent what is no answer"),
        }
    }
}

async fn over_tcp(server: SocketAddr, name: &str, wanted: Wanted) -> io::Result<Said> {
    let id = rand::random();
    let question = asked(id, name, wanted)?;
    let length = u16::try_from(question.len()).map_err(io::Error::other)?;
    let mut stream = TcpStream::connect(server).await?;
    stream.write_all(&[&length.to_be_bytes()[..], &question].concat()).await?;
    let mut buffer = vec![0; stream.read_u16().await?.into()];
    stream.read_exact(&mut buffer).await?;
    match read(&buffer, id, name, wanted) {
        None | Some(Said::Truncated) => Err(io::ErrorKind::InvalidData.into()),
        Some(said) => Ok(said),
    }
}

fn asked(id: u16, name: &str, wanted: Wanted) -> io::Result<Vec<u8>> {
    question(id, name, wanted).ok_or_else(|| io::ErrorKind::InvalidInput.into())
}
