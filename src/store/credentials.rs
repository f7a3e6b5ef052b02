//! Passwords of stores: in memory, and in files that an operator may change while we run.
//!
//! A file is read again at every attempt to connect, so that a new password needs no restart.

use std::fmt;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use subtle::ConstantTimeEq;
use zeroize::{Zeroize, ZeroizeOnDrop, Zeroizing};

/// The longest password.
pub const PASSWORD_BYTES_MAX: usize = 1024;

/// A password. Prints as `[redacted]`, and is wiped when it is dropped.
#[derive(Clone, Zeroize, ZeroizeOnDrop)]
pub struct Password(String);

impl Password {
    /// Takes a password as it is.
    pub fn new(text: String) -> Self {
        Self(text)
    }

    /// Reads what a file holds: the password, and perhaps the end of its line, which is cut.
    ///
    /// # Errors
    /// Says what is wrong with it, without repeating it.
    pub fn from_file(bytes: &[u8]) -> Result<Self, &'static str> {
        let line = bytes.strip_suffix(b"\n").unwrap_or(bytes);
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        if line.is_empty() {
            return Err("is empty");
        }
        if line.len() > PASSWORD_BYTES_MAX {
            return Err("is longer than 1 KiB: this is no password");
        }
        let text = str::from_utf8(line).map_err(|_| "is not UTF-8 text")?;
        if text.chars().any(char::is_control) {
            return Err("has more than one line, or control characters");
        }
        Ok(Self(text.to_owned()))
    }

    /// The password itself, for whoever proves it to a server.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl PartialEq for Password {
    fn eq(&self, other: &Self) -> bool {
        self.0.as_bytes().ct_eq(other.0.as_bytes()).into()
    }
}

impl Eq for Password {}

impl fmt::Debug for Password {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[redacted]")
    }
}

/// Where a password is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Secret {
    /// In the configuration.
    Given(Password),
    /// In a file, which is read whenever the password is needed.
    File(PathBuf),
}

impl Secret {
    /// The password as it is now. Reads a small file, which blocks for as long as a disk takes.
    ///
    /// # Errors
    /// Says what is wrong with the file, by its name.
    pub fn read(&self) -> Result<Password, String> {
        match self {
            Self::Given(password) => Ok(password.clone()),
            Self::File(path) => {
                let bytes = read(path)
                    .map_err(|error| format!("password_file {}: {error}", path.display()))?;
                Password::from_file(&bytes)
                    .map_err(|reason| format!("password_file {} {reason}", path.display()))
            }
        }
    }

    /// The file, where it is in one.
    pub fn path(&self) -> Option<&Path> {
        match self {
            Self::Given(_) => None,
            Self::File(path) => Some(path),
        }
    }
}

/// At most a little more than a password, so that a wrong path costs nothing.
fn read(path: &Path) -> io::Result<Zeroizing<Vec<u8>>> {
    // Opening a FIFO would block until someone writes to it.
    if !std::fs::metadata(path)?.is_file() {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "not a regular file"));
    }
    let most = PASSWORD_BYTES_MAX + 3;
    // Never grown, since what it grew out of would not be wiped.
    let mut bytes = Zeroizing::new(Vec::with_capacity(most + 32));
    std::fs::File::open(path)?.take(most as u64).read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// Who we are to a server.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Login {
    pub username: Option<String>,
    pub password: Option<Secret>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_holds_one_line_of_text() {
        let long = "x".repeat(1025);
        for (bytes, expected) in [
            (&b"hunter2"[..], Ok("hunter2")),
            (b"hunter2\n", Ok("hunter2")),
            (b"hunter2\r\n", Ok("hunter2")),
            (b" pass word \n", Ok(" pass word ")),
            ("pässword\n".as_bytes(), Ok("pässword")),
            (&long.as_bytes()[..1024], Ok(&long[..1024])),
            (b"", Err("is empty")),
            (b"\n", Err("is empty")),
            (b"hunter2\n\n", Err("more than one line")),
            (b"user\nhunter2", Err("more than one line")),
            (b"hunter2\0", Err("control characters")),
            (b"\xff", Err("not UTF-8")),
            (long.as_bytes(), Err("longer than 1 KiB")),
        ] {
            let read = Password::from_file(bytes);
            match expected {
                Ok(text) => assert_eq!(read.expect("a password").expose(), text),
                Err(reason) => assert!(read.expect_err("no password").contains(reason), "{reason}"),
            }
        }
    }

    #[test]
    fn a_password_is_read_anew_each_time_and_never_printed() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("password");
        let secret = Secret::File(path.clone());
        assert!(secret.read().expect_err("no file").contains(&*path.to_string_lossy()));
        for password in ["hunter2", "hunter3"] {
            std::fs::write(&path, password).expect("written");
            assert_eq!(secret.read().expect("a password").expose(), password);
        }
        std::fs::write(&path, "x".repeat(100_000)).expect("written");
        assert!(secret.read().expect_err("too long").contains("longer than 1 KiB"));
        let login = Login {
            username: Some("alice".to_owned()),
            password: Some(Secret::Given(Password::new("hunter2".to_owned()))),
        };
        assert!(!format!("{login:?}").contains("hunter2"));
        assert_ne!(login, Login { password: None, ..login.clone() });
    }

    #[test]
    fn what_is_no_regular_file_is_not_opened() {
        let error = Secret::File(PathBuf::from("/dev/zero")).read().expect_err("a device");
        assert!(error.contains("not a regular file"), "{error}");
    }
}
