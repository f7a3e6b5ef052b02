//! TLS of a client's connection: rustls with buffers of our own. Its buffered interface keeps 4 KiB for each
//! connection, idle ones too; here records are opened where they were read, in a buffer of the thread.

use std::cell::RefCell;
use std::fmt;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use rustls::ServerConfig;
use rustls::server::{ServerConnectionData, UnbufferedServerConnection};
use rustls::unbuffered::{
    ConnectionState, EncodeError, EncryptError, InsufficientSizeError, UnbufferedStatus,
    WriteTraffic,
};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::Socket;

/// Bytes that are read at once, at least and at most.
const READ: (usize, usize) = (4 * 1024, 64 * 1024);
/// A record with all that belongs to it (RFC 5246 section 6.2.3; those of RFC 8446 are shorter).
const RECORD_MAX: usize = 5 + 16 * 1024 + 2048;
/// What most records have beside their plaintext.
const RECORD_OVERHEAD: usize = 64;
/// Plaintext that is sealed and written at once.
const WRITE_MAX: usize = 64 * 1024;

thread_local! {
    /// What is read, and opened in place.
    static READ_SPACE: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
    /// What is sealed, and written.
    static WRITE_SPACE: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
}

/// A connection whose handshake is done. While nothing is under way it holds no buffer.
pub struct Accepted {
    socket: Socket,
    tls: UnbufferedServerConnection,
    /// Records that have not come whole, and those behind what was asked for.
    incoming: Vec<u8>,
    made: Made,
    said_goodbye: bool,
}

/// What was made of records.
#[derive(Debug, Default)]
struct Made {
    /// Plaintext that nobody has asked for yet.
    plain: Vec<u8>,
    plain_taken: usize,
    /// Records that the socket has not taken yet.
    outgoing: Vec<u8>,
    outgoing_written: usize,
    ended: Option<Ended>,
}

/// How the peer has closed its side.
#[derive(Clone, Copy, Debug)]
enum Ended {
    /// By close_notify.
    Properly,
    Silently,
}

impl Accepted {
    /// Does the handshake, whose first bytes have come already. There is no deadline in here.
    ///
    /// # Errors
    /// The socket's, [`io::ErrorKind::UnexpectedEof`] where the peer goes, and
    /// [`io::ErrorKind::InvalidData`] with rustls' reason in it, of which the peer was told.
    pub(super) async fn handshake(
        config: Arc<ServerConfig>,
        socket: Socket,
        incoming: Vec<u8>,
    ) -> io::Result<Self> {
        let mut accepted = Self {
            socket,
            tls: UnbufferedServerConnection::new(config).map_err(invalid)?,
            incoming,
            made: Made::default(),
            said_goodbye: false,
        };
        std::future::poll_fn(|cx| accepted.poll_handshake(cx)).await?;
        Ok(accepted)
    }

    /// What was agreed on.
    pub fn agreed(&self) -> &rustls::CommonState {
        &self.tls
    }

    pub(super) fn socket(&self) -> &Socket {
        &self.socket
    }

    pub(super) fn held(&self) -> usize {
        let Made { plain, outgoing, .. } = &self.made;
        self.incoming.capacity() + plain.capacity() + outgoing.capacity()
    }

    pub(super) fn has_unwritten(&self) -> bool {
        self.made.outgoing_written < self.made.outgoing.len()
    }

    fn poll_handshake(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let nowhere = &mut ReadBuf::new(&mut []);
        let mut went = self.open_incoming(nowhere);
        loop {
            // Who is refused hears why.
            ready!(self.poll_write_out(cx))?;
            went?;
            if self.made.ended.is_some() {
                return Poll::Ready(Err(io::ErrorKind::UnexpectedEof.into()));
            }
            if !self.tls.is_handshaking() {
                return Poll::Ready(Ok(()));
            }
            went = ready!(self.poll_records(cx, nowhere));
        }
    }

    /// Waits until there is plaintext, in `buf` or, where it has no room, in `plain`; or until the peer has
    /// ended.
    ///
    /// # Errors
    /// As those of [`handshake`](Self::handshake).
    pub(super) fn poll_open(
        &mut self,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let room = buf.remaining();
        let mut went = self.open_incoming(buf);
        loop {
            // What is to be answered leaves now, if it can; else whoever flushes waits for that.
            if self.has_unwritten()
                && let Poll::Ready(written) = self.poll_write_out(cx)
            {
                written?;
            }
            went?;
            if !self.made.plain.is_empty() || buf.remaining() < room {
                return Poll::Ready(Ok(()));
            }
            match self.made.ended {
                Some(Ended::Properly) => return Poll::Ready(Ok(())),
                Some(Ended::Silently) => {
                    return Poll::Ready(Err(io::ErrorKind::UnexpectedEof.into()));
                }
                None => went = ready!(self.poll_records(cx, buf)),
            }
        }
    }

    /// Opens what came before.
    fn open_incoming(&mut self, buf: &mut ReadBuf<'_>) -> io::Result<()> {
        if self.incoming.is_empty() {
            return Ok(());
        }
        let mut incoming = std::mem::take(&mut self.incoming);
        let (used, opened) = self.open(&mut incoming, buf);
        self.incoming = rest(incoming, used);
        opened
    }

    /// Reads once, and opens that.
    fn poll_records(
        &mut self,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        READ_SPACE.with_borrow_mut(|space| {
            let before = self.incoming.len();
            let more = if before > 0 { RECORD_MAX } else { buf.remaining() + RECORD_OVERHEAD };
            let length = before + more.clamp(READ.0, READ.1);
            if space.len() < length {
                space.resize(length, 0);
            }
            let mut read = ReadBuf::new(&mut space[before..length]);
            ready!(Pin::new(&mut self.socket).poll_read(cx, &mut read))?;
            let count = read.filled().len();
            if count == 0 {
                self.made.ended = Some(Ended::Silently);
                return Poll::Ready(Ok(()));
            }
            space[..before].copy_from_slice(&self.incoming);
            let records = &mut space[..before + count];
            let (used, opened) = self.open(records, buf);
            self.incoming = records[used..].to_vec();
            Poll::Ready(opened)
        })
    }

    /// Goes through records until there is as much plaintext as `buf` takes; how many bytes are done with.
    /// What is left has to be there, as it is now, the next time.
    fn open(&mut self, records: &mut [u8], buf: &mut ReadBuf<'_>) -> (usize, io::Result<()>) {
        let mut used = 0;
        loop {
            let UnbufferedStatus { discard, state } =
                self.tls.process_tls_records(&mut records[used..]);
            let went = match state {
                Ok(ConnectionState::WriteTraffic(_) | ConnectionState::BlockedHandshake) => {
                    return (used + discard, Ok(()));
                }
                Ok(state) => self.made.absorb(state, buf),
                Err(error) => Err(invalid(error)),
            };
            used += discard;
            if went.is_err() {
                self.tell_reason(&mut records[used..]);
            }
            if went.is_err() || !self.made.plain.is_empty() || self.made.ended.is_some() {
                return (used, went);
            }
        }
    }

    /// Makes ready what the peer is told of a failure.
    fn tell_reason(&mut self, records: &mut [u8]) {
        let nowhere = &mut ReadBuf::new(&mut []);
        while let Ok(
            state @ (ConnectionState::EncodeTlsData(_) | ConnectionState::TransmitTlsData(_)),
        ) = self.tls.process_tls_records(records).state
        {
            if self.made.absorb(state, nowhere).is_err() {
                return;
            }
        }
    }

    /// Writes records that wait.
    fn poll_write_out(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let Made { outgoing, outgoing_written, .. } = &mut self.made;
        while *outgoing_written < outgoing.len() {
            let rest = &outgoing[*outgoing_written..];
            let written = ready!(Pin::new(&mut self.socket).poll_write(cx, rest))?;
            if written == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            *outgoing_written += written;
        }
        (*outgoing, *outgoing_written) = (Vec::new(), 0);
        Poll::Ready(Ok(()))
    }

    /// Has records written into `space`; how many bytes. What is to be said before is in `outgoing` then.
    fn seal(
        &mut self,
        space: &mut Vec<u8>,
        mut write: impl FnMut(
            &mut WriteTraffic<'_, ServerConnectionData>,
            &mut [u8],
        ) -> Result<usize, EncryptError>,
    ) -> io::Result<usize> {
        loop {
            let UnbufferedStatus { discard, state } =
                self.tls.process_tls_records(&mut self.incoming);
            let sealed = match state.map_err(invalid)? {
                ConnectionState::WriteTraffic(mut traffic) => {
                    Some(fill(space, 0, |space| write(&mut traffic, space))?)
                }
                ConnectionState::BlockedHandshake | ConnectionState::Closed => {
                    return Err(io::ErrorKind::BrokenPipe.into());
                }
                state => {
                    self.made.absorb(state, &mut ReadBuf::new(&mut []))?;
                    None
                }
            };
            self.incoming = rest(std::mem::take(&mut self.incoming), discard);
            if let Some(length) = sealed {
                return Ok(length);
            }
        }
    }
}

impl fmt::Debug for Accepted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Accepted").field("socket", &self.socket).finish_non_exhaustive()
    }
}

impl Made {
    /// Does what a state asks for.
    fn absorb(
        &mut self,
        state: ConnectionState<'_, '_, ServerConnectionData>,
        buf: &mut ReadBuf<'_>,
    ) -> io::Result<()> {
        match state {
            ConnectionState::ReadTraffic(mut traffic) => {
                while let Some(record) = traffic.next_record() {
                    let plain = record.map_err(invalid)?.payload;
                    let room = if self.plain.is_empty() { buf.remaining() } else { 0 };
                    let (fits, rest) = plain.split_at(plain.len().min(room));
                    buf.put_slice(fits);
                    self.plain.extend_from_slice(rest);
                }
            }
            ConnectionState::EncodeTlsData(mut encode) => {
                let before = self.outgoing.len();
                let length = fill(&mut self.outgoing, before, |space| encode.encode(space))?;
                self.outgoing.truncate(before + length);
            }
            ConnectionState::TransmitTlsData(transmit) => transmit.done(),
            ConnectionState::PeerClosed | ConnectionState::Closed => {
                self.ended = Some(Ended::Properly);
            }
            // Nobody is offered to send before the handshake is done.
            _ => return Err(io::ErrorKind::InvalidData.into()),
        }
        Ok(())
    }

    fn take_plain(&mut self, buf: &mut ReadBuf<'_>) {
        let rest = &self.plain[self.plain_taken..];
        let count = rest.len().min(buf.remaining());
        buf.put_slice(&rest[..count]);
        self.plain_taken += count;
        if self.plain_taken == self.plain.len() {
            (self.plain, self.plain_taken) = (Vec::new(), 0);
        }
    }
}

impl AsyncRead for Accepted {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let me = self.get_mut();
        if me.made.plain.is_empty() {
            ready!(me.poll_open(cx, buf))?;
        } else {
            me.made.take_plain(buf);
        }
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Accepted {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let me = self.get_mut();
        ready!(me.poll_write_out(cx))?;
        let count = bytes.len().min(WRITE_MAX);
        WRITE_SPACE.with_borrow_mut(|space| {
            let sealed =
                me.seal(space, |traffic, space| traffic.encrypt(&bytes[..count], space))?;
            let mut written = 0;
            if !me.has_unwritten()
                && let Poll::Ready(taken) =
                    Pin::new(&mut me.socket).poll_write(cx, &space[..sealed])
            {
                written = taken?;
            }
            me.made.outgoing.extend_from_slice(&space[written..sealed]);
            Poll::Ready(Ok(count))
        })
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.get_mut().poll_write_out(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let me = self.get_mut();
        if !me.said_goodbye {
            me.said_goodbye = true;
            let mut goodbye = Vec::new();
            let length =
                me.seal(&mut goodbye, |traffic, space| traffic.queue_close_notify(space))?;
            me.made.outgoing.extend_from_slice(&goodbye[..length]);
        }
        ready!(me.poll_write_out(cx))?;
        Pin::new(&mut me.socket).poll_shutdown(cx)
    }
}

/// Lets `write` fill what lies behind the first bytes, and makes as much room as it asks for; how many bytes
/// it wrote.
fn fill<E>(
    space: &mut Vec<u8>,
    behind: usize,
    mut write: impl FnMut(&mut [u8]) -> Result<usize, E>,
) -> io::Result<usize>
where
    E: NeedsRoom + std::error::Error + Send + Sync + 'static,
{
    loop {
        let room = space.len() - behind;
        match write(&mut space[behind..]) {
            Ok(length) => return Ok(length),
            Err(error) => match error.needed() {
                Some(needed) if needed > room => space.resize(behind + needed, 0),
                _ => return Err(io::Error::other(error)),
            },
        }
    }
}

/// An error that may say how much room there should have been.
trait NeedsRoom {
    fn needed(&self) -> Option<usize>;
}

impl NeedsRoom for EncodeError {
    fn needed(&self) -> Option<usize> {
        match self {
            Self::InsufficientSize(InsufficientSizeError { required_size }) => Some(*required_size),
            Self::AlreadyEncoded => None,
        }
    }
}

impl NeedsRoom for EncryptError {
    fn needed(&self) -> Option<usize> {
        match self {
            Self::InsufficientSize(InsufficientSizeError { required_size }) => Some(*required_size),
            Self::EncryptExhausted => None,
        }
    }
}

/// What is behind the bytes that are done with; no room is kept for those.
fn rest(mut bytes: Vec<u8>, done: usize) -> Vec<u8> {
    if done == 0 { bytes } else { bytes.split_off(done) }
}

fn invalid(error: rustls::Error) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, error)
}

#[cfg(test)]
mod tests;
