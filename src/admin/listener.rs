//! The admin listener's socket: TCP, or a unix socket that only its owner may use.

use std::fs::{self, DirBuilder, Permissions};
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::{DirBuilderExt, FileTypeExt, PermissionsExt};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};

use crate::admin::{Address, AdminSettings, Token};

/// A bound socket, not yet served. Non-blocking.
#[derive(Debug)]
pub enum Listener {
    /// With the names that it may be called by, and the token to show.
    Tcp {
        listener: TcpListener,
        names: Vec<String>,
        token: Option<Token>,
    },
    Unix(UnixListener),
}

impl Listener {
    /// A socket that another process has bound at the address of these settings.
    pub fn take(settings: &AdminSettings, socket: OwnedFd) -> Self {
        match &settings.address {
            Address::Inet(_) => {
                let (names, token) = (settings.names.clone(), settings.token.clone());
                Self::Tcp { listener: TcpListener::from(socket), names, token }
            }
            Address::Unix(_) => Self::Unix(UnixListener::from(socket)),
        }
    }

    /// A second handle on the same socket.
    ///
    /// # Errors
    /// The system's, usually that too many files are open.
    pub fn try_clone(&self) -> io::Result<Self> {
        Ok(match self {
            Self::Tcp { listener, names, token } => {
                let (names, token) = (names.clone(), token.clone());
                Self::Tcp { listener: listener.try_clone()?, names, token }
            }
            Self::Unix(listener) => Self::Unix(listener.try_clone()?),
        })
    }

    /// The TCP address that was bound, with the port that the system chose for port 0.
    pub fn local_addr(&self) -> Option<SocketAddr> {
        match self {
            Self::Tcp { listener, .. } => listener.local_addr().ok(),
            Self::Unix(_) => None,
        }
    }
}

impl AsFd for Listener {
    fn as_fd(&self) -> BorrowedFd<'_> {
        match self {
            Self::Tcp { listener, .. } => listener.as_fd(),
            Self::Unix(listener) => listener.as_fd(),
        }
    }
}

/// Why the admin listener could not be bound.
#[derive(Debug, thiserror::Error)]
pub enum BindError {
    #[error("admin: cannot listen on {address}: {error}")]
    Tcp { address: SocketAddr, error: io::Error },
    #[error("admin: cannot listen on unix:{}: {error}", path.display())]
    Unix { path: PathBuf, error: io::Error },
    #[error("admin: unix:{} is in use by another process", path.display())]
    InUse { path: PathBuf },
    #[error("admin: {} is there and is no socket; not removed", path.display())]
    NotASocket { path: PathBuf },
}

/// Binds the socket. A unix socket that nobody listens on any more is replaced.
///
/// # Errors
/// The address is taken or may not be used, or something that is no socket has the name.
pub fn bind(settings: &AdminSettings) -> Result<Listener, BindError> {
    match &settings.address {
        Address::Inet(address) => {
            let fail = |error| BindError::Tcp { address: *address, error };
            let listener = TcpListener::bind(address).map_err(fail)?;
            listener.set_nonblocking(true).map_err(fail)?;
            let (names, token) = (settings.names.clone(), settings.token.clone());
            Ok(Listener::Tcp { listener, names, token })
        }
        Address::Unix(path) => {
            make_way(path)?;
            bind_private(path)
                .map(Listener::Unix)
                .map_err(|error| BindError::Unix { path: path.clone(), error })
        }
    }
}

/// Makes sure that nothing of worth has the socket's name.
fn make_way(path: &Path) -> Result<(), BindError> {
    let found = match fs::symlink_metadata(path) {
        Ok(found) => found,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(BindError::Unix { path: path.to_owned(), error }),
    };
    if !found.file_type().is_socket() {
        return Err(BindError::NotASocket { path: path.to_owned() });
    }
    match UnixStream::connect(path) {
        Ok(_) => Err(BindError::InUse { path: path.to_owned() }),
        // Nobody listens: left behind by a process that was killed. The rename replaces it.
        Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => Ok(()),
        Err(error) => Err(BindError::Unix { path: path.to_owned(), error }),
    }
}

/// Binds in a directory that only we may enter, and moves the socket to its place when its mode
/// is right: there is no moment in which somebody else could connect, whatever the umask.
fn bind_private(path: &Path) -> io::Result<UnixListener> {
    let parent = match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    };
    // Short, since a socket's path has at most 107 bytes.
    let nursery = parent.join(format!(".a{}", std::process::id()));
    let cradle = nursery.join("s");
    let clear = || {
        let _ = fs::remove_file(&cradle);
        let _ = fs::remove_dir(&nursery);
    };
    clear();
    DirBuilder::new().mode(0o700).create(&nursery)?;
    let bound = (|| {
        let listener = UnixListener::bind(&cradle)?;
        fs::set_permissions(&cradle, Permissions::from_mode(0o600))?;
        listener.set_nonblocking(true)?;
        fs::rename(&cradle, path)?;
        Ok(listener)
    })();
    clear();
    bound
}

#[cfg(test)]
mod tests {
    use super::*;

    fn unix(path: &Path) -> AdminSettings {
        AdminSettings { address: Address::Unix(path.to_owned()), names: Vec::new(), token: None }
    }

    #[test]
    fn a_unix_socket_is_for_its_owner_only() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("admin.sock");
        let _listener = bind(&unix(&path)).expect("bound");
        let mode = fs::metadata(&path).expect("it is there").permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        UnixStream::connect(&path).expect("the owner may connect");
        let names: Vec<_> = fs::read_dir(directory.path()).expect("readable").collect();
        assert_eq!(names.len(), 1, "nothing else is left behind: {names:?}");
    }

    #[test]
    fn a_stale_socket_is_replaced_and_a_live_one_is_not() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("admin.sock");
        drop(bind(&unix(&path)).expect("bound"));
        assert!(path.exists(), "dropping a listener leaves its name behind");
        let _live = bind(&unix(&path)).expect("nobody listens there any more");
        let error = bind(&unix(&path)).expect_err("somebody listens");
        assert!(matches!(error, BindError::InUse { .. }), "{error}");
        UnixStream::connect(&path).expect("the live one goes on");
    }

    #[test]
    fn what_is_no_socket_is_never_removed() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("admin.sock");
        fs::write(&path, "precious").expect("written");
        let error = bind(&unix(&path)).expect_err("a file is there");
        assert!(matches!(error, BindError::NotASocket { .. }), "{error}");
        assert_eq!(fs::read_to_string(&path).expect("still there"), "precious");
    }

    #[test]
    fn a_taken_port_and_a_missing_directory_are_errors() {
        let taken = TcpListener::bind("127.0.0.1:0").expect("a port");
        let address = taken.local_addr().expect("an address");
        let error = bind(&AdminSettings {
            address: Address::Inet(address),
            names: Vec::new(),
            token: None,
        })
        .expect_err("the port is taken");
        assert!(error.to_string().starts_with("admin: cannot listen on 127.0.0.1:"), "{error}");
        let error = bind(&unix(Path::new("/nonexistent/admin.sock"))).expect_err("no directory");
        let said = error.to_string();
        assert!(
            said.starts_with("admin: cannot listen on unix:/nonexistent/admin.sock:"),
            "{said}"
        );
    }
}
