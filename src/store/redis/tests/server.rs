//! Real servers, and what can be done to them.

use std::ffi::OsStr;
use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use tempfile::TempDir;

use super::super::RedisStore;

/// A `redis-server` of its own on a free port, killed when dropped.
pub(super) struct Server {
    pub(super) process: Child,
    pub(super) port: u16,
    pub(super) directory: TempDir,
    pub(super) options: Vec<String>,
}

impl Server {
    pub(super) fn start(options: &[&str]) -> Self {
        // Another may take the port before the server has it, which then ends at once.
        let server = (0..10).find_map(|_| Self::try_start(options));
        server.expect("redis-server starts")
    }

    pub(super) fn try_start(options: &[&str]) -> Option<Self> {
        let directory = tempfile::tempdir().expect("a directory");
        let port = free_port();
        let options = options.iter().map(|option| (*option).to_owned()).collect::<Vec<_>>();
        let process = launch(&directory, port, &options)?;
        Some(Self { process, port, directory, options })
    }

    pub(super) fn restart(&mut self) {
        self.kill();
        self.process = launch(&self.directory, self.port, &self.options).expect("the same port");
    }

    pub(super) fn kill(&mut self) {
        self.process.kill().expect("a child of ours");
        self.process.wait().expect("a child of ours");
    }

    pub(super) fn signal(&self, signal: &str) {
        let pid = self.process.id().to_string();
        let status = Command::new("kill").args([signal, &pid]).status();
        assert!(status.expect("kill is installed").success());
    }

    pub(super) fn cli(&self, arguments: &[&str]) -> String {
        cli(self.port, arguments)
    }

    pub(super) fn url(&self) -> String {
        format!("redis://127.0.0.1:{}", self.port)
    }

    pub(super) fn store(&self) -> RedisStore {
        super::store(&self.url())
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

pub(super) fn cli(port: u16, arguments: &[&str]) -> String {
    let port = port.to_string();
    let output = Command::new("redis-cli").args(["-p", &port]).args(arguments).output();
    let output = output.expect("redis-cli is installed");
    String::from_utf8(output.stdout).expect("text").trim().to_owned()
}

pub(super) fn free_port() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    listener.local_addr().expect("bound").port()
}

/// None where the server ended before it answered.
pub(super) fn launch<T: AsRef<OsStr>>(
    directory: &TempDir,
    port: u16,
    options: &[T],
) -> Option<Child> {
    let mut server = Command::new("redis-server")
        .args(["--port", &port.to_string(), "--bind", "127.0.0.1", "--dir"])
        .arg(directory.path())
        .args(["--repl-diskless-sync-delay", "0"])
        .args(options)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .expect("redis-server is installed");
    let began = Instant::now();
    while server.try_wait().expect("a child of ours").is_none() {
        if answers(port) {
            return Some(server);
        }
        assert!(began.elapsed() < Duration::from_secs(20), "redis-server does not answer");
        std::thread::sleep(Duration::from_millis(10));
    }
    None
}

/// Whether a server has loaded its data, or wants a password.
pub(super) fn answers(port: u16) -> bool {
    let Ok(mut connection) = TcpStream::connect(("127.0.0.1", port)) else { return false };
    let mut line = String::new();
    connection.write_all(b"PING\r\n").is_ok()
        && BufReader::new(connection).read_line(&mut line).is_ok()
        && (line.starts_with("+PONG") || line.starts_with("-NOAUTH"))
}
