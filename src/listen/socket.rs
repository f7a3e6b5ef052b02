//! What is asked of a listening socket, and what its connections inherit (nginx `listen`).

use std::time::Duration;

use socket2::{Socket, TcpKeepalive};

/// Connections that may wait to be accepted. The system caps it (`net.core.somaxconn`).
const BACKLOG: i32 = 4096;

/// What is asked of a socket; what is not said is the system's.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SocketSettings {
    pub backlog: Option<u16>,
    pub receive_bytes: Option<usize>,
    pub send_bytes: Option<usize>,
    /// `[::]` takes connections of IPv4, too.
    pub takes_v4: bool,
    pub keepalive: Option<SocketKeepalive>,
}

/// TCP's own keep-alive.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SocketKeepalive {
    Off,
    On { idle: Option<Duration>, interval: Option<Duration>, probes: Option<u32> },
}

impl SocketSettings {
    pub(super) fn backlog(&self) -> i32 {
        self.backlog.map_or(BACKLOG, i32::from)
    }

    /// Sets what a socket of TCP has to have before it listens.
    ///
    /// # Errors
    /// The system's.
    pub(super) fn apply(&self, socket: &Socket) -> std::io::Result<()> {
        if let Some(bytes) = self.receive_bytes {
            socket.set_recv_buffer_size(bytes)?;
        }
        if let Some(bytes) = self.send_bytes {
            socket.set_send_buffer_size(bytes)?;
        }
        match self.keepalive {
            None => {}
            Some(SocketKeepalive::Off) => socket.set_keepalive(false)?,
            Some(SocketKeepalive::On { idle, interval, probes }) => {
                socket.set_keepalive(true)?;
                let mut keepalive = TcpKeepalive::new();
                if let Some(idle) = idle {
                    keepalive = keepalive.with_time(idle);
                }
                if let Some(interval) = interval {
                    keepalive = keepalive.with_interval(interval);
                }
                if let Some(probes) = probes {
                    keepalive = keepalive.with_retries(probes);
                }
                socket.set_tcp_keepalive(&keepalive)?;
            }
        }
        Ok(())
    }
}
