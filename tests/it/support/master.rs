//! The binary under nginx's name, started, asked and ended as nginx's own test suite does it.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::thread;
use std::time::{Duration, Instant};

use tempfile::TempDir;

use super::process::Process;
use super::{PATIENCE, free_port, loopback};

/// A prefix of its own, with the binary under another name beside it.
pub struct Prefix {
    directory: TempDir,
    pub port: u16,
}

impl Prefix {
    pub fn new() -> Self {
        let directory = tempfile::tempdir().expect("a temporary directory can be made");
        let open = std::fs::Permissions::from_mode(0o755);
        std::fs::set_permissions(directory.path(), open).expect("it is ours");
        let prefix = Self { directory, port: free_port() };
        let binary = prefix.path("nginx");
        std::os::unix::fs::symlink(env!("CARGO_BIN_EXE_cloakroom"), binary).expect("a link");
        prefix
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    pub fn folder(&self) -> &Path {
        self.directory.path()
    }

    /// Writes a file; `{port}` and `{directory}` in it are filled in.
    pub fn write(&self, name: &str, text: &str) -> &Self {
        std::fs::write(self.path(name), self.fill(text)).expect("the directory can be written");
        self
    }

    pub fn fill(&self, text: &str) -> String {
        let folder = self.directory.path().display().to_string();
        text.replace("{port}", &self.port.to_string()).replace("{directory}", &folder)
    }

    pub fn read(&self, name: &str) -> String {
        std::fs::read_to_string(self.path(name)).unwrap_or_default()
    }

    fn command(&self, words: &[&str]) -> Command {
        let mut command = Command::new(self.path("nginx"));
        command.args(words.iter().map(|word| self.fill(word)));
        command
    }

    /// Runs it to its end.
    pub fn run(&self, words: &[&str]) -> Output {
        self.command(words).output().expect("the binary can be started")
    }

    /// Starts it as the suite does, and waits for the pid file.
    pub fn start(&self) -> Process {
        let globals = "pid {directory}/nginx.pid; error_log {directory}/error.log debug;";
        let words = ["-p", "{directory}/", "-c", "nginx.conf", "-e", "error.log", "-g", globals];
        let mut process = Process::spawn("nginx", &mut self.command(&words));
        self.wait("the pid file", || {
            let ended = process.try_exit();
            assert!(ended.is_none(), "it ended: {}\n{}", process.log(), self.read("error.log"));
            self.read("nginx.pid").ends_with('\n')
        });
        process
    }

    /// The number in the pid file.
    pub fn pid(&self) -> u32 {
        self.read("nginx.pid").trim().parse().expect("a number")
    }

    pub fn wait(&self, what: &str, mut done: impl FnMut() -> bool) {
        let deadline = Instant::now() + PATIENCE;
        while !done() {
            assert!(Instant::now() < deadline, "no {what}:\n{}", self.read("error.log"));
            thread::sleep(Duration::from_millis(5));
        }
    }

    /// Sends bytes, and reads up to the end.
    pub fn exchange(&self, bytes: &str) -> String {
        self.exchange_at(self.port, bytes)
    }

    pub fn exchange_at(&self, port: u16, bytes: &str) -> String {
        let mut stream = TcpStream::connect(loopback(port)).expect("it listens");
        stream.set_read_timeout(Some(PATIENCE)).expect("a timeout");
        stream.write_all(bytes.as_bytes()).expect("it takes them");
        let mut answer = Vec::new();
        let read = stream.read_to_end(&mut answer);
        assert!(read.is_ok(), "{bytes}: {read:?}");
        String::from_utf8_lossy(&answer).into_owned()
    }

    pub fn get(&self, target: &str) -> String {
        self.exchange(&format!("GET {target} HTTP/1.0\r\nHost: localhost\r\n\r\n"))
    }

    /// Whether somebody listens.
    pub fn listens(&self) -> bool {
        TcpStream::connect(loopback(self.port)).is_ok()
    }

    /// What the suite looks for at the end.
    pub fn alerts(&self) -> Vec<String> {
        let log = self.read("error.log");
        let bad = |line: &&str| line.contains("[alert]") || line.contains("Sanitizer");
        log.lines().filter(bad).map(str::to_owned).collect()
    }
}
