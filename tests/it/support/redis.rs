//! A real Redis server of the test's own.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use tempfile::TempDir;

use super::process::Process;
use super::{PATIENCE, free_port, loopback};

/// A server on a port and in a directory that it keeps over restarts.
pub struct Redis {
    port: u16,
    directory: TempDir,
    arguments: Vec<String>,
    process: Option<Process>,
}

impl Redis {
    /// Starts a server that forgets everything when it is stopped.
    pub fn start() -> Self {
        Self::with(&["--appendonly", "no"])
    }

    /// Starts a server that has everything it acknowledged again after a restart, even after a
    /// kill.
    pub fn durable() -> Self {
        Self::with(&["--appendonly", "yes", "--appendfsync", "always"])
    }

    /// Starts a server with further arguments.
    pub fn with(arguments: &[&str]) -> Self {
        let directory = tempfile::tempdir().expect("a temporary directory can be made");
        let arguments = arguments.iter().map(|text| (*text).to_owned()).collect();
        let mut redis = Self { port: free_port(), directory, arguments, process: None };
        // The port may be taken between choosing and binding it.
        for attempt in 1.. {
            match redis.try_start() {
                Ok(()) => break,
                Err(problem) => assert!(attempt < 3, "{problem}"),
            }
            redis.port = free_port();
        }
        redis
    }

    pub fn port(&self) -> u16 {
        self.port
    }

    /// `redis://…` of database 0.
    pub fn url(&self) -> String {
        format!("redis://{}/0", loopback(self.port))
    }

    pub fn directory(&self) -> &Path {
        self.directory.path()
    }

    /// Stops the server in an orderly way and waits for its end. Connections are closed.
    pub fn stop(&mut self) {
        let mut process = self.process.take().expect("redis is running");
        process.signal("TERM");
        process.wait_exit();
    }

    /// Kills the server and waits for its end.
    pub fn kill9(&mut self) {
        let mut process = self.process.take().expect("redis is running");
        process.signal("KILL");
        process.wait_exit();
    }

    /// Starts the server again: same port, same directory.
    pub fn start_again(&mut self) {
        assert!(self.process.is_none(), "redis is running already");
        if let Err(problem) = self.try_start() {
            panic!("{problem}");
        }
    }

    /// Stops the server's clock, so to speak: connections stay open and nothing answers.
    pub fn freeze(&self) {
        self.process.as_ref().expect("redis is running").signal("STOP");
    }

    /// Ends what [`Redis::freeze`] began.
    pub fn thaw(&self) {
        self.process.as_ref().expect("redis is running").signal("CONT");
    }

    /// Runs one command through `redis-cli` and returns what it prints, without the last newline.
    pub fn cli(&self, arguments: &[&str]) -> String {
        let output = Command::new("redis-cli")
            .args(["-h", "127.0.0.1", "-p", &self.port.to_string(), "--raw", "-e"])
            .args(arguments)
            .output()
            .expect("redis-cli is installed");
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).trim_end_matches('\n').to_owned();
        assert!(
            output.status.success(),
            "redis-cli {arguments:?}: {}{}",
            text(&output.stdout),
            text(&output.stderr)
        );
        text(&output.stdout)
    }

    /// All keys, sorted.
    pub fn keys(&self) -> Vec<String> {
        let mut keys: Vec<String> = self
            .cli(&["--scan"])
            .lines()
            .map(str::to_owned)
            .filter(|key| !key.is_empty())
            .collect();
        keys.sort();
        keys
    }

    /// The keys of records.
    pub fn records(&self) -> Vec<String> {
        self.keys().into_iter().filter(|key| key.contains("}:s:")).collect()
    }

    /// The number of commands that the server has run so far, this question included.
    pub fn commands_processed(&self) -> u64 {
        self.cli(&["INFO", "stats"])
            .lines()
            .find_map(|line| line.trim().strip_prefix("total_commands_processed:")?.parse().ok())
            .expect("INFO stats has the number of commands")
    }

    fn try_start(&mut self) -> Result<(), String> {
        let mut process = Process::spawn(
            "redis-server",
            Command::new("redis-server")
                .args(["--port", &self.port.to_string(), "--bind", "127.0.0.1", "--save", ""])
                .args(["--dir", &self.directory.path().display().to_string()])
                .args(&self.arguments),
        );
        let deadline = Instant::now() + PATIENCE;
        while !self.answers() {
            if process.try_exit().is_some() || Instant::now() > deadline {
                return Err(format!("redis-server does not answer:\n{}", process.log()));
            }
            thread::sleep(Duration::from_millis(5));
        }
        // Somebody else's server on the port would have answered as well.
        if process.try_exit().is_some() {
            return Err(format!("redis-server ended:\n{}", process.log()));
        }
        self.process = Some(process);
        Ok(())
    }

    fn answers(&self) -> bool {
        let Ok(mut stream) = TcpStream::connect(loopback(self.port)) else { return false };
        let mut answer = [0; 7];
        stream.set_read_timeout(Some(Duration::from_secs(1))).is_ok()
            && stream.write_all(b"PING\r\n").is_ok()
            && stream.read_exact(&mut answer).is_ok()
            && answer == *b"+PONG\r\n"
    }
}
