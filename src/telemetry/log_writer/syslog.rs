//! Lines as messages of syslog (RFC 3164), as nginx sends them: UDP or a unix socket, and nobody waits.

use std::fmt;
use std::io;
use std::net::{SocketAddr, UdpSocket};
use std::os::unix::net::UnixDatagram;
use std::path::PathBuf;
use std::sync::LazyLock;

use super::Waiting;
use crate::clock::Clock;
use crate::telemetry::local_time;

/// Where messages go, and what stands before the line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SyslogSettings {
    pub server: SyslogServer,
    /// Facility times eight, plus severity.
    pub priority: u8,
    pub tag: String,
    /// Whether the name of this machine stands in messages.
    pub has_hostname: bool,
}

/// Who takes messages.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SyslogServer {
    Udp(SocketAddr),
    Unix(PathBuf),
}

impl fmt::Display for SyslogServer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Udp(address) => address.fmt(f),
            Self::Unix(path) => write!(f, "unix:{}", path.display()),
        }
    }
}

/// The name of this machine.
pub fn hostname() -> &'static str {
    static NAME: LazyLock<String> = LazyLock::new(|| {
        let name = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
        name.trim().to_owned()
    });
    &NAME
}

#[derive(Debug)]
pub(in crate::telemetry) struct Syslog {
    settings: SyslogSettings,
    socket: Option<Socket>,
}

#[derive(Debug)]
enum Socket {
    Udp(UdpSocket),
    Unix(UnixDatagram),
}

impl Syslog {
    pub fn open(settings: &SyslogSettings) -> io::Result<Self> {
        let mut syslog = Self { settings: settings.clone(), socket: None };
        // A unix socket may come later, as with nginx.
        if let SyslogServer::Udp(_) = settings.server {
            syslog.connect()?;
        }
        Ok(syslog)
    }

    fn connect(&mut self) -> io::Result<()> {
        self.socket = Some(match &self.settings.server {
            SyslogServer::Udp(address) => {
                let own = if address.is_ipv4() { "0.0.0.0:0" } else { "[::]:0" };
                let socket = UdpSocket::bind(own)?;
                socket.connect(address)?;
                socket.set_nonblocking(true)?;
                Socket::Udp(socket)
            }
            SyslogServer::Unix(path) => {
                let socket = UnixDatagram::unbound()?;
                socket.connect(path)?;
                socket.set_nonblocking(true)?;
                Socket::Unix(socket)
            }
        });
        Ok(())
    }

    /// Sends each line as a message. One that nobody takes is gone.
    pub(super) fn write(&mut self, taken: &mut Waiting) -> io::Result<()> {
        let mut begin = 0;
        let mut outcome = Ok(());
        for (end, _) in &taken.lines {
            let line = taken.bytes.get(begin..*end).unwrap_or_default();
            begin = *end;
            let message = self.message(self.settings.priority, line.trim_ascii_end());
            outcome = outcome.and(self.send(&message));
        }
        taken.bytes.clear();
        taken.lines.clear();
        outcome
    }

    /// Sends one line, of this severity.
    pub fn say(&mut self, severity: u8, line: &[u8]) -> io::Result<()> {
        let message = self.message(self.settings.priority & !7 | severity, line);
        self.send(&message)
    }

    fn message(&self, priority: u8, line: &[u8]) -> Vec<u8> {
        let SyslogSettings { tag, has_hostname, .. } = &self.settings;
        let mut message = format!("<{priority}>").into_bytes();
        local_time::syslog(Clock::System.now(), &mut message);
        message.push(b' ');
        if *has_hostname {
            message.extend_from_slice(hostname().as_bytes());
            message.push(b' ');
        }
        message.extend_from_slice(tag.as_bytes());
        message.extend_from_slice(b": ");
        message.extend_from_slice(line);
        message
    }

    fn send(&mut self, message: &[u8]) -> io::Result<()> {
        if self.socket.is_none() {
            self.connect()?;
        }
        let sent = match &self.socket {
            Some(Socket::Udp(socket)) => socket.send(message),
            Some(Socket::Unix(socket)) => socket.send(message),
            None => return Ok(()),
        };
        if sent.is_err() && matches!(self.settings.server, SyslogServer::Unix(_)) {
            // Whoever listened may have begun anew.
            self.socket = None;
        }
        sent.map(drop)
    }
}
