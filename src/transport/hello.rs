//! What a client of TLS says first, while it is not known yet which settings it gets.

use std::io;
use std::sync::Arc;

use rustls::ServerConfig;
use rustls::server::{Accepted as Beginning, Acceptor};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::{Accepted, Socket};

/// Bytes that are read at once. A hello has some 600, with a post-quantum key 1,800.
const READ: usize = 4096;

/// A ClientHello (RFC 8446 section 4.1.2).
pub struct Hello {
    socket: Socket,
    /// All that has come.
    bytes: Vec<u8>,
    beginning: Beginning,
}

impl Hello {
    /// Waits for it. There is no deadline in here.
    ///
    /// # Errors
    /// The socket's, [`io::ErrorKind::UnexpectedEof`] where the peer goes, and
    /// [`io::ErrorKind::InvalidData`] with rustls' reason in it, of which the peer was told.
    pub async fn read(mut socket: Socket) -> io::Result<Self> {
        let mut acceptor = Acceptor::default();
        let mut bytes = Vec::new();
        loop {
            let before = bytes.len();
            bytes.reserve_exact(READ);
            if socket.read_buf(&mut bytes).await? == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            let mut news = &bytes[before..];
            while !news.is_empty() {
                acceptor.read_tls(&mut news)?;
                match acceptor.accept() {
                    Ok(None) => {}
                    Ok(Some(beginning)) => return Ok(Self { socket, bytes, beginning }),
                    Err((error, mut alert)) => {
                        let mut said = Vec::new();
                        alert.write_all(&mut said)?;
                        // Who has gone already needs none.
                        let _ = socket.write_all(&said).await;
                        return Err(io::Error::new(io::ErrorKind::InvalidData, error));
                    }
                }
            }
        }
    }

    /// The server that is asked for (RFC 6066 section 3).
    pub fn server_name(&self) -> Option<String> {
        self.beginning.client_hello().server_name().map(str::to_owned)
    }

    /// Whether ALPN offers this protocol (RFC 7301 section 3.1).
    pub fn offers(&self, protocol: &[u8]) -> bool {
        let offered = self.beginning.client_hello().alpn();
        offered.is_some_and(|mut offered| offered.any(|one| one == protocol))
    }

    /// Does the rest of the handshake.
    ///
    /// # Errors
    /// As those of [`read`](Self::read).
    pub async fn accept(self, config: Arc<ServerConfig>) -> io::Result<Accepted> {
        Accepted::handshake(config, self.socket, self.bytes).await
    }

    /// Ends the connection with this alert.
    ///
    /// # Errors
    /// The socket's.
    pub async fn refuse(mut self, alert: &[u8]) -> io::Result<()> {
        self.socket.write_all(alert).await?;
        self.socket.shutdown().await
    }
}
