//! The proxy under test: in this process, built exactly as `main` builds it, or as the binary.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::thread;
use std::time::{Duration, Instant};

use tempfile::TempDir;

use super::process::Process;
use super::{PATIENCE, free_port, loopback, within};

/// A proxy that runs in this process.
pub trait Running: Send {
    /// The addresses that it listens on, in the order of the configuration.
    fn addresses(&self) -> Vec<SocketAddr>;
    fn admin_address(&self) -> Option<String>;
    /// Does what HUP does.
    fn reload(&self);
    /// Does what HUP does with another file: says what stays as it was, and where it listens now. An error
    /// is the text that a user would see.
    fn reload_with(&self, yaml: &str) -> Result<(Vec<&'static str>, Vec<SocketAddr>), String>;
    /// Takes no new connections, lets what is under way finish, and returns when all is done.
    fn drain(self: Box<Self>);
    /// Stops at once.
    fn stop(self: Box<Self>);
}

/// Builds and starts a proxy from configuration text. An error is the text that a user would see.
pub trait Boot: FnOnce(&str) -> Result<Box<dyn Running>, String> + Send + 'static {}

impl<F: FnOnce(&str) -> Result<Box<dyn Running>, String> + Send + 'static> Boot for F {}

/// A running proxy with a directory of its own; dropping it stops it.
pub struct Proxy {
    addresses: Vec<SocketAddr>,
    admin_address: Option<String>,
    running: Option<Box<dyn Running>>,
    directory: TempDir,
}

impl Proxy {
    /// Starts a proxy. `{directory}` in the configuration stands for a directory of its own;
    /// listeners have port 0.
    pub fn start_with(boot: impl Boot, yaml: &str) -> Self {
        Self::try_start_with(boot, yaml)
            .unwrap_or_else(|problem| panic!("the proxy does not start: {problem}"))
    }

    /// # Errors
    /// What a user would see.
    pub fn try_start_with(boot: impl Boot, yaml: &str) -> Result<Self, String> {
        let directory = tempfile::tempdir().expect("a temporary directory can be made");
        let text = fill(yaml, directory.path());
        // Tests run inside a tokio runtime, in which no other may be waited for.
        let running = apart(move || boot(&text))?;
        Ok(Self {
            addresses: running.addresses(),
            admin_address: running.admin_address(),
            running: Some(running),
            directory,
        })
    }

    /// The first listener's address.
    pub fn address(&self) -> SocketAddr {
        self.addresses[0]
    }

    pub fn addresses(&self) -> &[SocketAddr] {
        &self.addresses
    }

    /// What `admin.address` came to.
    pub fn admin_address(&self) -> &str {
        self.admin_address.as_deref().expect("the configuration has an admin listener")
    }

    pub fn directory(&self) -> &Path {
        self.directory.path()
    }

    /// Does what HUP does.
    pub fn reload(&self) {
        self.running.as_ref().expect("it runs until it is dropped").reload();
    }

    /// Puts another configuration in force. What stays as it was is returned.
    ///
    /// # Errors
    /// What a user would see.
    pub fn reload_with(&mut self, yaml: &str) -> Result<Vec<&'static str>, String> {
        let yaml = fill(yaml, self.directory.path());
        let running = self.running.as_ref().expect("it runs until it is dropped");
        let (stays, addresses) = running.reload_with(&yaml)?;
        self.addresses = addresses;
        Ok(stays)
    }

    /// Drains and waits for it, on a thread: requests under way can go on meanwhile.
    pub async fn drain(mut self) {
        let running = self.running.take().expect("it runs until now");
        let drained = tokio::task::spawn_blocking(move || running.drain());
        within("the drain", drained).await.expect("draining does not panic");
    }

    /// Stops at once, and waits for it.
    pub fn stop(mut self) {
        self.stop_now();
    }

    fn stop_now(&mut self) {
        let Some(running) = self.running.take() else { return };
        // A second panic would abort, and hide the first.
        if thread::panicking() {
            let _ = thread::spawn(move || running.stop()).join();
        } else {
            apart(move || running.stop());
        }
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.stop_now();
    }
}

/// The binary, as an operator starts it.
pub struct Binary {
    pub process: Process,
    pub port: u16,
    config: PathBuf,
    directory: TempDir,
}

impl Binary {
    /// Starts `cloakroom -c FILE` and waits until its port accepts. `{port}` and `{directory}` in
    /// the configuration stand for a free port and a directory of its own.
    pub fn serve(yaml: &str, arguments: &[&str]) -> Self {
        Self::serve_with(yaml, |command| {
            command.args(arguments);
        })
    }

    /// As [`Binary::serve`], with a command that is changed before it is run.
    pub fn serve_with(yaml: &str, prepare: impl Fn(&mut Command)) -> Self {
        let directory = tempfile::tempdir().expect("a temporary directory can be made");
        let config = directory.path().join("cloakroom.yaml");
        let mut problem = String::new();
        // The port may be taken between choosing and binding it.
        for _ in 0..3 {
            let port = free_port();
            let text = fill(yaml, directory.path()).replace("{port}", &port.to_string());
            std::fs::write(&config, text).expect("the directory can be written");
            let mut command = Command::new(env!("CARGO_BIN_EXE_cloakroom"));
            prepare(command.arg("-c").arg(&config));
            let mut process = Process::spawn("cloakroom", &mut command);
            match wait_port(&mut process, port) {
                Ok(()) => return Self { process, port, config, directory },
                Err(text) => problem = text,
            }
        }
        panic!("{problem}");
    }

    /// Runs the binary to its end.
    pub fn run(arguments: &[&str]) -> Output {
        Command::new(env!("CARGO_BIN_EXE_cloakroom"))
            .args(arguments)
            .output()
            .expect("the binary can be started")
    }

    /// Writes another configuration, for a reload.
    pub fn rewrite(&self, yaml: &str) {
        let text = fill(yaml, self.directory.path()).replace("{port}", &self.port.to_string());
        std::fs::write(&self.config, text).expect("the directory can be written");
    }

    pub fn config(&self) -> &Path {
        &self.config
    }

    /// The access lines so far, once there are so many (`log: { format: json }`).
    pub async fn access_lines(&self, number: usize) -> Vec<serde_json::Value> {
        within("access lines", async {
            loop {
                let log = self.process.log();
                let lines: Vec<serde_json::Value> = log
                    .lines()
                    .filter_map(|line| serde_json::from_str(line).ok())
                    .filter(|line: &serde_json::Value| line["target"] == "access")
                    .collect();
                if lines.len() >= number {
                    return lines;
                }
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        })
        .await
    }

    pub fn directory(&self) -> &Path {
        self.directory.path()
    }
}

fn fill(yaml: &str, directory: &Path) -> String {
    yaml.replace("{directory}", &directory.display().to_string())
}

fn wait_port(process: &mut Process, port: u16) -> Result<(), String> {
    let deadline = Instant::now() + PATIENCE;
    loop {
        if let Some(status) = process.try_exit() {
            return Err(format!("cloakroom ended with {status}:\n{}", process.log()));
        }
        if std::net::TcpStream::connect(loopback(port)).is_ok() {
            return Ok(());
        }
        if Instant::now() > deadline {
            return Err(format!("cloakroom does not listen:\n{}", process.log()));
        }
        thread::sleep(Duration::from_millis(5));
    }
}

/// Runs a blocking step on a thread outside any runtime, and passes its panic on.
fn apart<T: Send + 'static>(step: impl FnOnce() -> T + Send + 'static) -> T {
    match thread::spawn(step).join() {
        Ok(value) => value,
        Err(panic) => std::panic::resume_unwind(panic),
    }
}
