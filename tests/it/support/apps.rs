//! The real applications of `tests/apps`: Egg.js, Express, Django, and one that does everything
//! wrong.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;

use tempfile::TempDir;

use super::process::Process;
use super::redis::Redis;
use super::{free_port, loopback};

/// How many lines `GET /set-cookies` answers with (`ODD_COOKIES` in `tests/apps/shared.js`).
pub const ODD_COOKIES: usize = 15;

/// A running application.
pub struct App {
    pub address: SocketAddr,
    pub process: Process,
    /// Where it writes what it must; goes with it.
    _directory: TempDir,
}

impl App {
    /// Egg.js as it comes: a cluster of two workers, the whole session inside an encrypted cookie.
    pub fn egg() -> Self {
        Self::start("egg", &[("SESSION", "cookie")])
    }

    /// Egg.js with egg-session-redis.
    pub fn egg_redis(redis: &Redis) -> Self {
        Self::start("egg", &[("SESSION", "redis"), ("REDIS_URL", &redis.url())])
    }

    /// Express with express-session and connect-redis, two workers.
    pub fn express(redis: &Redis) -> Self {
        Self::start("express", &[("REDIS_URL", &redis.url())])
    }

    /// The application without a framework. Its sessions live in its one process: start it twice
    /// to have a cluster that shares nothing.
    pub fn naive() -> Self {
        Self::start("naive", &[])
    }

    /// Kills its process, as the system does when memory is short.
    pub fn kill(&mut self) {
        self.process.signal("KILL");
        self.process.wait_exit();
    }

    /// The application without a framework once more, at the port of one that is gone.
    pub fn naive_at(address: SocketAddr) -> Self {
        Self::start("naive", &[("PORT", &address.port().to_string())])
    }

    /// A gRPC service.
    pub fn grpc() -> Self {
        let directory = tempfile::tempdir().expect("a temporary directory can be made");
        let mut command = Command::new(Self::python());
        command
            .arg(Self::directory().join("calls_grpc.py"))
            .arg("serve")
            .env("PYTHONDONTWRITEBYTECODE", "1");
        Self::spawn("grpc", &mut command, directory).unwrap_or_else(|problem| panic!("{problem}"))
    }

    /// Where the applications are.
    pub fn directory() -> PathBuf {
        Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/apps")
    }

    /// The Python that has what they need.
    pub fn python() -> PathBuf {
        let python = Self::directory().join("venv/bin/python");
        assert!(python.exists(), "it is missing: run `scripts/test-apps` (`make test` does)");
        python
    }

    /// Django with its sessions in a cache on this Redis, two processes.
    pub fn django(redis: &Redis) -> Self {
        let directory = tempfile::tempdir().expect("a temporary directory can be made");
        let mut command = Command::new(Self::python());
        command
            .arg(Self::directory().join("shop_django.py"))
            .current_dir(directory.path())
            .env("PYTHONDONTWRITEBYTECODE", "1")
            .env("REDIS_URL", redis.url());
        Self::spawn("django", &mut command, directory).unwrap_or_else(|problem| panic!("{problem}"))
    }

    /// The server of that name in `tests/apps/garden`. It writes down in `seen` what it sees.
    pub fn garden(kind: &str, seen: &Path) -> Self {
        let apps = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/apps");
        Self::try_often(|| {
            let directory = tempfile::tempdir().expect("a temporary directory can be made");
            let mut command = Command::new(apps.join("garden/start"));
            command
                .arg(kind)
                .current_dir(directory.path())
                .env("PYTHONDONTWRITEBYTECODE", "1")
                .env("PORT", free_port().to_string())
                .env("SEEN", seen);
            Self::spawn(kind, &mut command, directory)
        })
    }

    /// Starts `tests/apps/<kind>.js`; its first comment names the settings it takes.
    ///
    /// # Panics
    /// If its dependencies are not installed, or it doesn't come up.
    pub fn start(kind: &str, settings: &[(&str, &str)]) -> Self {
        let apps = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/apps");
        assert!(
            apps.join("node_modules/.package-lock.json").exists(),
            "the applications' dependencies are missing: run `scripts/test-apps` (`make test` does)"
        );
        Self::try_often(|| Self::attempt(kind, &apps, settings))
    }

    /// The port may be taken between choosing and binding it.
    fn try_often(mut start: impl FnMut() -> Result<Self, String>) -> Self {
        let mut problem = String::new();
        (0..3)
            .find_map(|_| start().map_err(|text| problem = text).ok())
            .unwrap_or_else(|| panic!("{problem}"))
    }

    fn attempt(kind: &str, apps: &PathBuf, settings: &[(&str, &str)]) -> Result<Self, String> {
        let directory = tempfile::tempdir().expect("a temporary directory can be made");
        let mut command = Command::new("node");
        command
            .arg(format!("{kind}.js"))
            .current_dir(apps)
            .env_remove("NODE_OPTIONS")
            .env("NODE_ENV", "production")
            .env("RUN_DIR", directory.path())
            .env("PORT", free_port().to_string())
            .envs(settings.iter().copied());
        Self::spawn(kind, &mut command, directory)
    }

    fn spawn(kind: &str, command: &mut Command, directory: TempDir) -> Result<Self, String> {
        let mut process = Process::spawn(kind, command);
        let port = process.wait_line("READY ")?;
        let port = port.parse().map_err(|_| format!("{kind} said READY {port}"))?;
        Ok(Self { address: loopback(port), process, _directory: directory })
    }
}
