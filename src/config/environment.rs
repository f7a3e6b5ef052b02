//! What a configuration depends on besides its text: the service manager's directories, the
//! number of cores, files and name service. Handed in, so that checking is a function.

use std::fmt::Debug;
use std::fs::File;
use std::io::{self, Read};
use std::net::{SocketAddr, ToSocketAddrs};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

/// Larger files are no configuration and no certificate.
const FILE_BYTES_MAX: u64 = 1024 * 1024;

/// What surrounds the process.
#[derive(Debug)]
pub struct Environment {
    /// `$STATE_DIRECTORY`, which systemd sets for `StateDirectory=`.
    pub state_directory: Option<PathBuf>,
    /// `$CREDENTIALS_DIRECTORY`, which systemd sets for `LoadCredential=`.
    pub credentials_directory: Option<PathBuf>,
    /// Processor cores that this process may use.
    pub cores: usize,
    pub system: Box<dyn System>,
}

impl Environment {
    /// The environment of this process.
    pub fn of_process() -> Self {
        let directory = |variable| {
            // systemd separates several directories by colons; the first is the main one.
            let value = std::env::var_os(variable)?.into_string().ok()?;
            let first = value.split(':').next().unwrap_or_default();
            (!first.is_empty()).then(|| PathBuf::from(first))
        };
        Self {
            state_directory: directory("STATE_DIRECTORY"),
            credentials_directory: directory("CREDENTIALS_DIRECTORY"),
            cores: std::thread::available_parallelism().map_or(1, usize::from),
            system: Box::new(Host),
        }
    }
}

/// Files and names, as far as a check looks at them.
pub trait System: Debug + Send + Sync {
    /// Reads a regular file of at most 1 MiB.
    ///
    /// # Errors
    /// The system's; `FileTooLarge`; `InvalidInput` where it is no regular file.
    fn read(&self, path: &Path) -> io::Result<Vec<u8>>;

    /// The permission bits of a file; `None` where there is none, or none that can be seen.
    fn mode(&self, path: &Path) -> Option<u32>;

    /// The addresses of a host name.
    ///
    /// # Errors
    /// The name service's.
    fn resolve(&self, host: &str, port: u16) -> io::Result<Vec<SocketAddr>>;
}

/// The machine itself.
#[derive(Clone, Copy, Debug)]
pub struct Host;

impl System for Host {
    fn read(&self, path: &Path) -> io::Result<Vec<u8>> {
        // Opening a FIFO would block until someone writes to it.
        if !std::fs::metadata(path)?.is_file() {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "not a regular file"));
        }
        let mut bytes = Vec::new();
        File::open(path)?.take(FILE_BYTES_MAX + 1).read_to_end(&mut bytes)?;
        if bytes.len() as u64 > FILE_BYTES_MAX {
            return Err(io::Error::new(io::ErrorKind::FileTooLarge, "larger than 1 MiB"));
        }
        Ok(bytes)
    }

    fn mode(&self, path: &Path) -> Option<u32> {
        std::fs::metadata(path).ok().map(|metadata| metadata.permissions().mode() & 0o7777)
    }

    fn resolve(&self, host: &str, port: u16) -> io::Result<Vec<SocketAddr>> {
        Ok((host, port).to_socket_addrs()?.collect())
    }
}

#[cfg(test)]
pub(crate) mod testing {
    //! An environment made of values.

    use std::collections::BTreeMap;

    use super::{Debug, Environment, Path, PathBuf, SocketAddr, System, io};

    /// Files with their permission bits, and hosts.
    #[derive(Clone, Debug, Default)]
    pub(crate) struct Given {
        pub(crate) files: BTreeMap<PathBuf, (Vec<u8>, u32)>,
        pub(crate) hosts: BTreeMap<String, Vec<std::net::IpAddr>>,
    }

    impl Given {
        /// The same with a file more.
        pub(crate) fn with(mut self, path: &str, content: impl Into<Vec<u8>>, mode: u32) -> Self {
            self.files.insert(PathBuf::from(path), (content.into(), mode));
            self
        }

        /// An environment with four cores that sees nothing else.
        pub(crate) fn environment(self) -> Environment {
            Environment {
                state_directory: None,
                credentials_directory: None,
                cores: 4,
                system: Box::new(self),
            }
        }
    }

    impl System for Given {
        fn read(&self, path: &Path) -> io::Result<Vec<u8>> {
            let file = self.files.get(path);
            file.map(|file| file.0.clone()).ok_or_else(|| io::ErrorKind::NotFound.into())
        }

        fn mode(&self, path: &Path) -> Option<u32> {
            self.files.get(path).map(|file| file.1)
        }

        fn resolve(&self, host: &str, port: u16) -> io::Result<Vec<SocketAddr>> {
            let addresses = self.hosts.get(host).ok_or(io::ErrorKind::NotFound)?;
            Ok(addresses.iter().map(|ip| SocketAddr::new(*ip, port)).collect())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_regular_files_of_a_sane_size_are_read() {
        let directory = tempfile::tempdir().expect("a temporary directory can be made");
        let check = |bytes: usize| {
            let path = directory.path().join("file");
            std::fs::write(&path, vec![b'x'; bytes]).expect("the file can be written");
            Host.read(&path).map(|read| read.len()).map_err(|error| error.kind())
        };
        assert_eq!(check(3), Ok(3));
        assert_eq!(check(1024 * 1024), Ok(1024 * 1024));
        assert_eq!(check(1024 * 1024 + 1), Err(io::ErrorKind::FileTooLarge));
        let kind = |path| Host.read(path).map_err(|error| error.kind()).err();
        assert_eq!(kind(directory.path()), Some(io::ErrorKind::InvalidInput));
        assert_eq!(kind(Path::new("/dev/zero")), Some(io::ErrorKind::InvalidInput));
        assert_eq!(kind(&directory.path().join("none")), Some(io::ErrorKind::NotFound));
    }
}
