//! Binds listening sockets, or takes those that the service manager has bound already.
//!
//! Sockets that came with `LISTEN_FDS` (sd_listen_fds(3)) are matched to configured addresses by
//! their local address, not by their position. `[::]` is IPv6 only, as in nginx, so that it and
//! `0.0.0.0` can stand side by side; unless it is to take both.

use std::fs;
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;

use listenfd::ListenFd;
use socket2::{Domain, Protocol, Socket, Type};

use super::address::Address;
use super::socket::SocketSettings;

/// A listening socket of the system.
#[derive(Debug)]
pub enum ListeningSocket {
    Tcp(TcpListener),
    Unix(UnixListener),
}

impl ListeningSocket {
    /// A second handle on the same socket.
    ///
    /// # Errors
    /// The system's, usually that too many files are open.
    pub fn try_clone(&self) -> io::Result<Self> {
        Ok(match self {
            Self::Tcp(socket) => Self::Tcp(socket.try_clone()?),
            Self::Unix(socket) => Self::Unix(socket.try_clone()?),
        })
    }

    fn set_nonblocking(&self) -> io::Result<()> {
        match self {
            Self::Tcp(socket) => socket.set_nonblocking(true),
            Self::Unix(socket) => socket.set_nonblocking(true),
        }
    }
}

impl From<ListeningSocket> for OwnedFd {
    fn from(socket: ListeningSocket) -> Self {
        match socket {
            ListeningSocket::Tcp(socket) => socket.into(),
            ListeningSocket::Unix(socket) => socket.into(),
        }
    }
}

impl AsFd for ListeningSocket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        match self {
            Self::Tcp(socket) => socket.as_fd(),
            Self::Unix(socket) => socket.as_fd(),
        }
    }
}

/// A listening socket with the address it really has.
#[derive(Debug)]
pub struct Bound {
    pub socket: ListeningSocket,
    pub address: Address,
    /// It was bound here, so that its file goes with it.
    pub is_own: bool,
}

impl Bound {
    fn inherited(socket: TcpListener) -> io::Result<Self> {
        let address = socket.local_addr()?.into();
        Ok(Self { socket: ListeningSocket::Tcp(socket), address, is_own: false })
    }

    /// A socket that another process has bound.
    fn handed(socket: OwnedFd, is_own: bool) -> io::Result<Self> {
        let address = Socket::from(socket.try_clone()?).local_addr()?;
        match (address.as_socket(), address.as_pathname()) {
            (Some(_), _) => Ok(Self { is_own, ..Self::inherited(TcpListener::from(socket))? }),
            (None, Some(path)) => Ok(Self {
                socket: ListeningSocket::Unix(UnixListener::from(socket)),
                address: Address::Unix(path.to_owned()),
                is_own,
            }),
            (None, None) => Err(io::Error::other("a socket of no known family")),
        }
    }

    /// Takes the file of a unix socket away that was bound here.
    pub fn remove_file(&self) {
        if let (Address::Unix(path), true) = (&self.address, self.is_own) {
            let _ = fs::remove_file(path);
        }
    }
}

/// An address that cannot be listened on.
#[derive(Debug, thiserror::Error)]
#[error("cannot listen on {address}: {}", explain(address, source))]
pub struct BindError {
    pub address: Address,
    #[source]
    pub source: io::Error,
}

/// The reason in the operator's words, with a remedy where there is a usual one.
fn explain(address: &Address, error: &io::Error) -> String {
    let Address::Tcp(address) = address else { return error.to_string() };
    let port = address.port();
    match error.kind() {
        io::ErrorKind::AddrInUse => format!(
            "the address is already in use; `ss -ltnp 'sport = :{port}'` shows by which process"
        ),
        io::ErrorKind::PermissionDenied if port < 1024 => format!(
            "permission denied: ports below 1024 need CAP_NET_BIND_SERVICE (systemd: \
             `AmbientCapabilities=CAP_NET_BIND_SERVICE`) or a socket unit that passes port {port} on"
        ),
        io::ErrorKind::AddrNotAvailable => {
            "no interface of this machine has the address; `ip address` lists them".to_owned()
        }
        _ => error.to_string(),
    }
}

impl BindError {
    /// As nginx says it.
    pub fn in_nginx_words(&self) -> String {
        let text = self.source.to_string();
        let reason = match (self.source.raw_os_error(), text.rsplit_once(" (os error")) {
            (Some(number), Some((text, _))) => format!("{number}: {text}"),
            _ => text,
        };
        format!("bind() to {} failed ({reason})", self.address)
    }
}

/// Sockets inherited from the service manager.
#[derive(Debug, Default)]
pub struct Inherited {
    sockets: Vec<Bound>,
    /// Descriptors that are no listeners.
    misfits: Vec<String>,
}

impl Inherited {
    /// Takes what the service manager passed on and removes the variables, so that no child takes
    /// the same sockets. To be called once, before any thread is started.
    pub fn from_environment() -> Self {
        let mut passed = ListenFd::from_env();
        let mut inherited = Self::default();
        for index in 0..passed.len() {
            // A socket that is no such listener stays there.
            let tcp = passed.take_tcp_listener(index).ok().flatten().map(OwnedFd::from);
            let unix = || passed.take_unix_listener(index).ok().flatten().map(OwnedFd::from);
            let bound = tcp.or_else(unix).map(|socket| Bound::handed(socket, false));
            match bound {
                Some(Ok(socket)) => inherited.sockets.push(socket),
                Some(Err(error)) => inherited
                    .misfits
                    .push(format!("inherited socket {} is not used: {error}", index + 3)),
                None => inherited.misfits.push(format!(
                    "inherited socket {} is not used, it is no listener of TCP or a unix socket",
                    index + 3
                )),
            }
        }
        inherited
    }

    /// Sockets that are already there, for tests and for a hand-over of our own.
    pub fn from_sockets(sockets: impl IntoIterator<Item = TcpListener>) -> io::Result<Self> {
        let sockets = sockets.into_iter().map(Bound::inherited).collect::<io::Result<_>>()?;
        Ok(Self { sockets, misfits: Vec::new() })
    }

    /// Sockets that another process has bound.
    ///
    /// # Errors
    /// One of them is none.
    pub fn from_descriptors(sockets: impl IntoIterator<Item = OwnedFd>) -> io::Result<Self> {
        Self::handed_over(sockets.into_iter().map(|socket| (socket, false)))
    }

    /// The same, each with whether its file goes with it, once nobody else has it.
    ///
    /// # Errors
    /// One of them is none.
    pub fn handed_over(sockets: impl IntoIterator<Item = (OwnedFd, bool)>) -> io::Result<Self> {
        let bound = |(socket, is_own)| Bound::handed(socket, is_own);
        let sockets = sockets.into_iter().map(bound).collect::<io::Result<_>>()?;
        Ok(Self { sockets, misfits: Vec::new() })
    }

    /// Takes the socket of exactly this address.
    pub fn take_exactly(&mut self, address: &Address) -> Option<ListeningSocket> {
        let place = self.sockets.iter().position(|one| one.address == *address)?;
        Some(self.sockets.remove(place).socket)
    }

    /// The socket for this address: the same one, or, where any interface is meant, the other
    /// family's "any" with that port (a socket unit with `ListenStream=443` binds `[::]:443`).
    fn take(&mut self, address: &Address) -> Option<Bound> {
        let port = address.tcp().map(|address| address.port());
        let any = |one: &Address| {
            one.tcp().is_some_and(|one| one.ip().is_unspecified() && Some(one.port()) == port)
        };
        let place = self.sockets.iter().position(|one| one.address == *address).or_else(|| {
            any(address).then(|| self.sockets.iter().position(|one| any(&one.address))).flatten()
        })?;
        Some(self.sockets.remove(place))
    }

    /// Says what nobody asked for.
    pub(super) fn unclaimed(&mut self) -> Vec<String> {
        let mut notes = std::mem::take(&mut self.misfits);
        notes.extend(self.sockets.drain(..).map(|one| {
            format!("inherited socket {} is not used: no listener has this address", one.address)
        }));
        notes
    }
}

/// Takes the inherited socket for this address, or binds one.
///
/// # Errors
/// [`BindError`] with the address, the reason and a remedy.
pub fn bind(
    address: &Address,
    settings: &SocketSettings,
    inherited: &mut Inherited,
) -> Result<Bound, BindError> {
    let bound = match (inherited.take(address), address) {
        (Some(bound), _) => Ok(bound),
        (None, Address::Tcp(address)) => listen(*address, settings),
        (None, Address::Unix(path)) => listen_unix(path),
    };
    bound
        .and_then(|bound| {
            bound.socket.set_nonblocking()?;
            Ok(bound)
        })
        .map_err(|source| BindError { address: address.clone(), source })
}

/// A file that nobody listens on any more is in nobody's way.
fn listen_unix(path: &Path) -> io::Result<Bound> {
    let bound = match UnixListener::bind(path) {
        Err(error) if error.kind() == io::ErrorKind::AddrInUse => match UnixStream::connect(path) {
            Err(gone) if gone.kind() == io::ErrorKind::ConnectionRefused => {
                fs::remove_file(path)?;
                UnixListener::bind(path)?
            }
            _ => return Err(error),
        },
        bound => bound?,
    };
    // As nginx: whoever may enter the folder may connect.
    fs::set_permissions(path, fs::Permissions::from_mode(0o666))?;
    let address = Address::Unix(path.to_owned());
    Ok(Bound { socket: ListeningSocket::Unix(bound), address, is_own: true })
}

fn listen(address: SocketAddr, settings: &SocketSettings) -> io::Result<Bound> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    // Connections of a process that has just ended linger in TIME_WAIT; they must not keep its
    // successor from starting.
    socket.set_reuse_address(true)?;
    if address.is_ipv6() {
        socket.set_only_v6(!settings.takes_v4)?;
    }
    settings.apply(&socket)?;
    socket.bind(&address.into())?;
    socket.listen(settings.backlog())?;
    Ok(Bound { is_own: true, ..Bound::inherited(TcpListener::from(socket))? })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::listen::socket::SocketKeepalive;

    #[test]
    fn a_socket_has_what_is_asked_of_it() {
        let idle = Some(std::time::Duration::from_secs(77));
        let settings = SocketSettings {
            backlog: Some(5),
            receive_bytes: Some(8192),
            keepalive: Some(SocketKeepalive::On { idle, interval: None, probes: Some(3) }),
            ..SocketSettings::default()
        };
        let bound = bind(&address("127.0.0.1:0"), &settings, &mut Inherited::default());
        let bound = bound.expect("loopback");
        let ListeningSocket::Tcp(socket) = &bound.socket else { panic!("it is TCP") };
        let socket = socket2::SockRef::from(socket);
        assert!(socket.keepalive().expect("it is asked"));
        assert_eq!(socket.tcp_keepalive_time().ok(), idle);
        assert_eq!(socket.tcp_keepalive_retries().ok(), Some(3));
        assert!(socket.recv_buffer_size().expect("it is asked") <= 32 * 1024);
    }

    fn address(text: &str) -> Address {
        Address::Tcp(text.parse().expect("a test address"))
    }

    fn port(bound: &Bound) -> u16 {
        bound.address.tcp().expect("it is TCP").port()
    }

    #[test]
    fn port_zero_reports_the_port_that_was_chosen() {
        let bound =
            bind(&address("127.0.0.1:0"), &SocketSettings::default(), &mut Inherited::default())
                .expect("loopback");
        assert_ne!(port(&bound), 0);
    }

    #[test]
    fn taken_port_is_an_error_that_names_address_and_remedy() {
        let first =
            bind(&address("127.0.0.1:0"), &SocketSettings::default(), &mut Inherited::default())
                .expect("loopback");
        let port = port(&first);
        let error = bind(&first.address, &SocketSettings::default(), &mut Inherited::default())
            .expect_err("taken");
        assert_eq!(
            error.to_string(),
            format!(
                "cannot listen on 127.0.0.1:{port}: the address is already in use; \
                 `ss -ltnp 'sport = :{port}'` shows by which process"
            )
        );
    }

    #[test]
    fn reasons_are_explained() {
        let check = |kind: io::ErrorKind, at: &str, expected: &str| {
            let text = explain(&address(at), &io::Error::from(kind));
            assert!(text.contains(expected), "{kind:?} on {at}: {text}");
        };
        check(io::ErrorKind::PermissionDenied, "0.0.0.0:80", "CAP_NET_BIND_SERVICE");
        check(io::ErrorKind::PermissionDenied, "0.0.0.0:8080", "permission denied");
        check(io::ErrorKind::AddrNotAvailable, "192.0.2.1:80", "no interface of this machine");
    }

    #[test]
    fn unavailable_address_is_reported() {
        // 192.0.2.0/24 is TEST-NET-1 (RFC 5737): no machine has it.
        let error =
            bind(&address("192.0.2.1:0"), &SocketSettings::default(), &mut Inherited::default())
                .expect_err("not ours");
        assert!(error.to_string().contains("192.0.2.1:0"), "{error}");
        assert!(error.to_string().contains("`ip address`"), "{error}");
    }

    #[test]
    fn v6_any_leaves_the_port_to_v4() {
        let Ok(six) =
            bind(&address("[::]:0"), &SocketSettings::default(), &mut Inherited::default())
        else {
            return; // a machine without IPv6
        };
        let four = address(&format!("0.0.0.0:{}", port(&six)));
        bind(&four, &SocketSettings::default(), &mut Inherited::default())
            .expect("[::] is IPv6 only, as in nginx");
    }

    #[test]
    fn inherited_socket_is_taken_by_its_address() {
        let first = TcpListener::bind("127.0.0.1:0").expect("loopback");
        let second = TcpListener::bind("127.0.0.1:0").expect("loopback");
        let at = |socket: &TcpListener| Address::Tcp(socket.local_addr().expect("bound"));
        let (one, two) = (at(&first), at(&second));
        let mut inherited = Inherited::from_sockets([first, second]).expect("bound");
        let bound = bind(&two, &SocketSettings::default(), &mut inherited)
            .expect("inherited, so not taken by another");
        assert_eq!(bound.address, two);
        let notes = inherited.unclaimed();
        assert_eq!(notes.len(), 1);
        assert!(notes[0].contains(&one.to_string()), "{}", notes[0]);
    }

    #[test]
    fn any_interface_matches_across_families() {
        let socket = TcpListener::bind("0.0.0.0:0").expect("any");
        let at = socket.local_addr().expect("bound");
        let mut inherited = Inherited::from_sockets([socket]).expect("bound");
        assert!(inherited.take(&address("127.0.0.1:1")).is_none());
        let wanted = address(&format!("[::]:{}", at.port()));
        let taken = inherited.take(&wanted).expect("same port, any interface");
        assert_eq!(taken.address, Address::Tcp(at));
    }

    #[test]
    fn a_unix_socket_that_nobody_listens_on_is_replaced() {
        let folder = tempfile::tempdir().expect("temporary");
        let path = folder.path().join("a.sock");
        let at = Address::Unix(path.clone());
        let first =
            bind(&at, &SocketSettings::default(), &mut Inherited::default()).expect("a free path");
        let error =
            bind(&at, &SocketSettings::default(), &mut Inherited::default()).expect_err("taken");
        assert_eq!(
            error.in_nginx_words(),
            format!("bind() to {at} failed (98: Address already in use)")
        );
        drop(first);
        assert!(path.exists(), "its file stays");
        let second = bind(&at, &SocketSettings::default(), &mut Inherited::default())
            .expect("nobody is there");
        let mode = fs::metadata(&path).expect("it is there").permissions().mode();
        assert_eq!(mode & 0o777, 0o666);
        let again = Inherited::from_descriptors([second
            .socket
            .as_fd()
            .try_clone_to_owned()
            .expect("it is open")]);
        let taken = again.expect("a socket").take(&at).expect("the same path");
        taken.remove_file();
        assert!(path.exists(), "it is another's");
        second.remove_file();
        assert!(!path.exists());
    }
}
