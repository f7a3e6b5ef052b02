//! `auth_basic`: users and passwords of a file.
//!
//! What takes long to compare is compared on other threads, a few at a time, and its success is remembered
//! for a moment by a keyed hash: a browser sends the password with every request.

use std::collections::HashMap;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use hmac::{Hmac, KeyInit, Mac};
use http::StatusCode;
use sha2::Sha256;
use tokio::sync::Semaphore;
use zeroize::Zeroizing;

use super::{Asked, Outcome, Refusal};
use crate::access::credentials::Credentials;
use crate::access::{password, user_file};
use crate::clock::UnixMillis;
use crate::proxy::complaint::Escaped;
use crate::proxy::error::RequestError;
use crate::proxy::returned::evaluated;
use crate::telemetry::error_log::{Severity, system_error};
use crate::variables::template::Template;
use crate::wire::fields::Fields;
use crate::wire::name::Name;

/// Whom a route lets in by password.
#[derive(Clone, Debug)]
pub struct Basic {
    /// What browsers show; `off` asks nobody.
    pub realm: Template,
    pub user_file: Template,
    /// What relative paths count from.
    pub directory: PathBuf,
}

/// How long a password that was right is not compared again.
const REMEMBERED_FOR: Duration = Duration::from_secs(60);
/// Passwords that are remembered, and files that are kept.
const REMEMBERED_MAX: usize = 4096;
const FILES_MAX: usize = 64;
/// The longest file that is read.
const FILE_BYTES_MAX: u64 = 64 * 1024 * 1024;
/// A file that was changed so lately may change again without a sign.
const SETTLED_AFTER: Duration = Duration::from_secs(2);

/// Asks for a user and a password.
pub async fn check(asked: &mut Asked<'_, '_>, basic: &Basic) -> Result<Outcome, RequestError> {
    let Asked { shared, request, client, ctx, .. } = asked;
    let realm = evaluated(shared, request, client, ctx, &basic.realm);
    if realm == b"off" {
        return Ok(Outcome::Silent);
    }
    let authorization = request.fields().get(Name::Authorization).unwrap_or_default();
    let Some(credentials) = Credentials::read(authorization) else {
        let text = "no user/password was provided for basic authentication";
        asked.about().say(Severity::Info, text);
        return challenge(&realm);
    };
    let user_file = evaluated(shared, request, client, ctx, &basic.user_file);
    let path = basic.directory.join(Path::new(std::ffi::OsStr::from_bytes(&user_file)));
    let user = Escaped(credentials.user());
    let file = match shared.passwords.file(&path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            let text =
                format!("open() \"{}\" failed (2: No such file or directory)", path.display());
            asked.about().say(Severity::Error, text);
            return Ok(Outcome::Refuse(Refusal::plain(StatusCode::FORBIDDEN)));
        }
        Err(error) => {
            let text = format!("open() \"{}\" failed {}", path.display(), system_error(&error));
            asked.about().say(Severity::Crit, text);
            return Err(RequestError::Internal);
        }
    };
    let Some(kept) = user_file::find(&file, credentials.user()) else {
        let text = format!("user \"{user}\" was not found in \"{}\"", path.display());
        asked.about().say(Severity::Error, text);
        return challenge(&realm);
    };
    let now = shared.clock.now();
    if shared.passwords.is_right(credentials.password(), kept, now).await {
        return Ok(Outcome::Pass);
    }
    asked.about().say(Severity::Error, format!("user \"{user}\": password mismatch"));
    challenge(&realm)
}

fn challenge(realm: &[u8]) -> Result<Outcome, RequestError> {
    let mut challenges = Fields::new();
    let value = [b"Basic realm=\"", realm, b"\""].concat();
    let pushed = challenges.push(b"WWW-Authenticate", &value);
    pushed.map_err(|_| {
        tracing::error!("auth_basic has a realm that cannot be said in a field");
        RequestError::Internal
    })?;
    Ok(Outcome::Refuse(Refusal { challenges, ..Refusal::plain(StatusCode::UNAUTHORIZED) }))
}

/// What all workers know of passwords and their files.
pub struct Passwords {
    key: Zeroizing<[u8; 32]>,
    /// Passwords that were right, with when they were.
    remembered: Mutex<HashMap<[u8; 32], UnixMillis>>,
    files: Mutex<HashMap<PathBuf, File>>,
    /// How many are compared at a time.
    slots: Semaphore,
}

/// A file as it was read.
struct File {
    stamp: Stamp,
    content: Arc<[u8]>,
}

/// What tells one state of a file from another.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Stamp {
    modified: SystemTime,
    length: u64,
    device: u64,
    inode: u64,
}

impl Default for Passwords {
    fn default() -> Self {
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        Self {
            key: Zeroizing::new(rand::random()),
            remembered: Mutex::default(),
            files: Mutex::default(),
            slots: Semaphore::new(cores),
        }
    }
}

impl Passwords {
    /// A file's content; read again when it has changed.
    ///
    /// # Errors
    /// It is not there, or cannot be read.
    fn file(&self, path: &Path) -> io::Result<Arc<[u8]>> {
        let stamp = Stamp::of(path)?;
        let lock = || self.files.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(file) = lock().get(path).filter(|file| file.stamp == stamp) {
            return Ok(file.content.clone());
        }
        if stamp.length > FILE_BYTES_MAX {
            return Err(io::Error::new(io::ErrorKind::FileTooLarge, "too long for a user file"));
        }
        let content: Arc<[u8]> = std::fs::read(path)?.into();
        let mut files = lock();
        let is_settled = stamp.modified.elapsed().is_ok_and(|age| age > SETTLED_AFTER);
        if is_settled && stamp.length == content.len() as u64 {
            if files.len() >= FILES_MAX {
                files.clear();
            }
            files.insert(path.to_owned(), File { stamp, content: content.clone() });
        } else {
            files.remove(path);
        }
        Ok(content)
    }

    /// Whether this is the password.
    async fn is_right(&self, given: &[u8], kept: &[u8], now: UnixMillis) -> bool {
        let is_slow = std::str::from_utf8(kept).is_ok_and(password::is_slow);
        if !is_slow {
            return password::fits(given, kept);
        }
        let name = self.name(given, kept);
        if self.remembers(&name, now) {
            return true;
        }
        // It is never closed.
        let Ok(_slot) = self.slots.acquire().await else { return false };
        let (given, kept) = (Zeroizing::new(given.to_vec()), kept.to_vec());
        let compared = tokio::task::spawn_blocking(move || password::fits(&given, &kept));
        let is_right = compared.await.unwrap_or(false);
        if is_right {
            self.remember(name, now);
        }
        is_right
    }

    /// What a password and what is kept of it are remembered by: nobody learns either from it.
    fn name(&self, given: &[u8], kept: &[u8]) -> [u8; 32] {
        let mac = Hmac::<Sha256>::new_from_slice(&*self.key);
        let mut mac = mac.expect("any length of a key will do");
        mac.update(&(kept.len() as u64).to_be_bytes());
        mac.update(kept);
        mac.update(given);
        mac.finalize().into_bytes().into()
    }

    fn remembers(&self, name: &[u8; 32], now: UnixMillis) -> bool {
        let remembered = self.remembered.lock().unwrap_or_else(PoisonError::into_inner);
        remembered.get(name).is_some_and(|since| is_fresh(*since, now))
    }

    fn remember(&self, name: [u8; 32], now: UnixMillis) {
        let mut remembered = self.remembered.lock().unwrap_or_else(PoisonError::into_inner);
        if remembered.len() >= REMEMBERED_MAX {
            remembered.retain(|_, since| is_fresh(*since, now));
        }
        if remembered.len() >= REMEMBERED_MAX {
            remembered.clear();
        }
        remembered.insert(name, now);
    }
}

fn is_fresh(since: UnixMillis, now: UnixMillis) -> bool {
    let age = now.0.checked_sub(since.0);
    age.is_some_and(|age| u128::from(age) < REMEMBERED_FOR.as_millis())
}

impl Stamp {
    fn of(path: &Path) -> io::Result<Self> {
        use std::os::unix::fs::MetadataExt;
        let metadata = std::fs::metadata(path)?;
        if metadata.is_dir() {
            return Err(io::ErrorKind::IsADirectory.into());
        }
        Ok(Self {
            modified: metadata.modified()?,
            length: metadata.len(),
            device: metadata.dev(),
            inode: metadata.ino(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEPT: &[u8] = b"$apr1$saltsalt$LrttParrLPdxvgutaSXWJ0";

    #[tokio::test]
    async fn a_right_password_is_remembered_for_a_moment() {
        let passwords = Passwords::default();
        let at = |secs: u64| UnixMillis(1_000_000 + secs * 1000);
        assert!(!passwords.is_right(b"wrong", KEPT, at(0)).await);
        assert!(passwords.remembered.lock().expect("whole").is_empty(), "a wrong one is not");
        assert!(passwords.is_right(b"secret", KEPT, at(0)).await);
        let name = passwords.name(b"secret", KEPT);
        assert!(passwords.remembers(&name, at(59)) && !passwords.remembers(&name, at(60)));
        assert!(!passwords.remembers(&name, UnixMillis(0)), "the clock was set back");
        assert!(!passwords.remembers(&passwords.name(b"secret", b"other"), at(0)));
        assert!(!passwords.remembers(&passwords.name(b"wrong", KEPT), at(0)));
        assert_ne!(passwords.name(b"ab", b"c"), passwords.name(b"b", b"ca"));
    }

    #[test]
    fn what_is_remembered_is_bounded() {
        let passwords = Passwords::default();
        for number in 0..=REMEMBERED_MAX as u64 {
            let mut name = [0; 32];
            name[..8].copy_from_slice(&number.to_be_bytes());
            passwords.remember(name, UnixMillis(1));
        }
        assert_eq!(passwords.remembered.lock().expect("whole").len(), 1);
    }

    #[test]
    fn a_file_that_changed_is_read_again() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("users");
        let passwords = Passwords::default();
        assert_eq!(passwords.file(&path).expect_err("missing").kind(), io::ErrorKind::NotFound);
        for content in ["ann:one", "ann:two", "ann:three"] {
            std::fs::write(&path, content).expect("it can be written");
            assert_eq!(&*passwords.file(&path).expect("it is there"), content.as_bytes());
        }
        let file = std::fs::File::options().write(true).open(&path).expect("it is there");
        let old = SystemTime::now() - Duration::from_secs(60);
        file.set_modified(old).expect("its time can be set");
        assert_eq!(&*passwords.file(&path).expect("it is there"), b"ann:three");
        assert_eq!(passwords.files.lock().expect("whole").len(), 1, "it is kept");
        std::fs::remove_file(&path).expect("it can be removed");
        assert!(passwords.file(&path).is_err());
        assert!(passwords.file(directory.path()).is_err());
    }
}
