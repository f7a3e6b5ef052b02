//! Binds listening sockets, or takes those that the service manager has bound already.
//!
//! Sockets that came with `LISTEN_FDS` (sd_listen_fds(3)) are matched to configured addresses by
//! their local address, not by their position. `[::]` is IPv6 only, as in nginx, so that it and
//! `0.0.0.0` can stand side by side.

use std::io;
use std::net::{SocketAddr, TcpListener};

use listenfd::ListenFd;
use socket2::{Domain, Protocol, Socket, Type};

/// Connections that may wait to be accepted. The system caps it (`net.core.somaxconn`).
const BACKLOG: i32 = 4096;

/// A listening socket with the address it really has.
#[derive(Debug)]
pub struct Bound {
    pub socket: TcpListener,
    pub address: SocketAddr,
}

/// An address that cannot be listened on.
#[derive(Debug, thiserror::Error)]
#[error("cannot listen on {address}: {}", explain(*address, source))]
pub struct BindError {
    pub address: SocketAddr,
    #[source]
    pub source: io::Error,
}

/// The reason in the operator's words, with a remedy where there is a usual one.
fn explain(address: SocketAddr, error: &io::Error) -> String {
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

/// Sockets inherited from the service manager.
#[derive(Debug, Default)]
pub struct Inherited {
    sockets: Vec<Bound>,
    /// Descriptors that are no TCP listeners.
    misfits: Vec<String>,
}

impl Inherited {
    /// Takes what the service manager passed on and removes the variables, so that no child takes
    /// the same sockets. To be called once, before any thread is started.
    pub fn from_environment() -> Self {
        let mut passed = ListenFd::from_env();
        let mut inherited = Self::default();
        for index in 0..passed.len() {
            match passed.take_tcp_listener(index).and_then(|socket| {
                socket.map(|socket| Ok((socket.local_addr()?, socket))).transpose()
            }) {
                Ok(Some((address, socket))) => inherited.sockets.push(Bound { socket, address }),
                Ok(None) => {}
                Err(error) => inherited.misfits.push(format!(
                    "inherited socket {} is not used, it is no TCP listener: {error}",
                    index + 3
                )),
            }
        }
        inherited
    }

    /// Sockets that are already there, for tests and for a hand-over of our own.
    pub fn from_sockets(sockets: impl IntoIterator<Item = TcpListener>) -> io::Result<Self> {
        let sockets = sockets
            .into_iter()
            .map(|socket| Ok(Bound { address: socket.local_addr()?, socket }))
            .collect::<io::Result<_>>()?;
        Ok(Self { sockets, misfits: Vec::new() })
    }

    /// The socket for this address: the same one, or, where any interface is meant, the other
    /// family's "any" with that port (a socket unit with `ListenStream=443` binds `[::]:443`).
    fn take(&mut self, address: SocketAddr) -> Option<Bound> {
        let any = |one: SocketAddr| one.ip().is_unspecified() && one.port() == address.port();
        let place = self.sockets.iter().position(|one| one.address == address).or_else(|| {
            any(address).then(|| self.sockets.iter().position(|one| any(one.address))).flatten()
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
pub fn bind(address: SocketAddr, inherited: &mut Inherited) -> Result<Bound, BindError> {
    let bound = match inherited.take(address) {
        Some(bound) => Ok(bound),
        None => listen(address),
    };
    bound
        .and_then(|bound| {
            bound.socket.set_nonblocking(true)?;
            Ok(bound)
        })
        .map_err(|source| BindError { address, source })
}

fn listen(address: SocketAddr) -> io::Result<Bound> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    // Connections of a process that has just ended linger in TIME_WAIT; they must not keep its
    // successor from starting.
    socket.set_reuse_address(true)?;
    if address.is_ipv6() {
        socket.set_only_v6(true)?;
    }
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    let socket = TcpListener::from(socket);
    Ok(Bound { address: socket.local_addr()?, socket })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(text: &str) -> SocketAddr {
        text.parse().expect("a test address")
    }

    #[test]
    fn port_zero_reports_the_port_that_was_chosen() {
        let bound = bind(address("127.0.0.1:0"), &mut Inherited::default()).expect("loopback");
        assert_ne!(bound.address.port(), 0);
    }

    #[test]
    fn taken_port_is_an_error_that_names_address_and_remedy() {
        let first = bind(address("127.0.0.1:0"), &mut Inherited::default()).expect("loopback");
        let port = first.address.port();
        let error = bind(first.address, &mut Inherited::default()).expect_err("taken");
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
            let text = explain(address(at), &io::Error::from(kind));
            assert!(text.contains(expected), "{kind:?} on {at}: {text}");
        };
        check(io::ErrorKind::PermissionDenied, "0.0.0.0:80", "CAP_NET_BIND_SERVICE");
        check(io::ErrorKind::PermissionDenied, "0.0.0.0:8080", "permission denied");
        check(io::ErrorKind::AddrNotAvailable, "192.0.2.1:80", "no interface of this machine");
    }

    #[test]
    fn unavailable_address_is_reported() {
        // 192.0.2.0/24 is TEST-NET-1 (RFC 5737): no machine has it.
        let error = bind(address("192.0.2.1:0"), &mut Inherited::default()).expect_err("not ours");
        assert!(error.to_string().contains("192.0.2.1:0"), "{error}");
        assert!(error.to_string().contains("`ip address`"), "{error}");
    }

    #[test]
    fn v6_any_leaves_the_port_to_v4() {
        let Ok(six) = bind(address("[::]:0"), &mut Inherited::default()) else {
            return; // a machine without IPv6
        };
        let four = SocketAddr::new(address("0.0.0.0:1").ip(), six.address.port());
        bind(four, &mut Inherited::default()).expect("[::] is IPv6 only, as in nginx");
    }

    #[test]
    fn inherited_socket_is_taken_by_its_address() {
        let first = TcpListener::bind("127.0.0.1:0").expect("loopback");
        let second = TcpListener::bind("127.0.0.1:0").expect("loopback");
        let (one, two) = (first.local_addr().expect("bound"), second.local_addr().expect("bound"));
        let mut inherited = Inherited::from_sockets([first, second]).expect("bound");
        let bound = bind(two, &mut inherited).expect("inherited, so not taken by another");
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
        assert!(inherited.take(address("127.0.0.1:1")).is_none());
        let wanted = SocketAddr::new(address("[::]:1").ip(), at.port());
        assert_eq!(inherited.take(wanted).expect("same port, any interface").address, at);
    }
}
