//! A plain nginx, in front of an application or of files: what the proxy is compared with.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use tempfile::TempDir;

use super::process::Process;
use super::{PATIENCE, free_port, loopback};

/// A running nginx with a configuration and a prefix of its own.
pub struct Nginx {
    pub address: SocketAddr,
    _process: Process,
    directory: TempDir,
}

impl Nginx {
    /// Starts an nginx that passes everything on to `upstream`, as its manual shows it.
    pub fn start(upstream: SocketAddr) -> Self {
        let location =
            format!("location / {{ proxy_pass http://{upstream}; proxy_set_header Host $host; }}");
        Self::serve("", &location)
    }

    /// Starts an nginx of one server, with these directives around and in it.
    pub fn serve(http: &str, server: &str) -> Self {
        Self::serving(&format!("{http}\nserver {{\nlisten 127.0.0.1:{{port}};\n{server}\n}}\n"))
    }

    /// Starts an nginx with what stands in `http`; `{port}` is where it listens.
    pub fn serving(http: &str) -> Self {
        let directory = tempfile::tempdir().expect("a temporary directory can be made");
        let prefix = directory.path().display().to_string();
        let file = directory.path().join("nginx.conf");
        let mut problem = String::new();
        // The port may be taken between choosing and binding it.
        for _ in 0..3 {
            let port = free_port();
            std::fs::write(&file, configuration(port, http)).expect("the file can be written");
            let mut command = Command::new("nginx");
            command.args(["-p", &prefix, "-e", "stderr", "-c"]).arg(&file);
            let mut process = Process::spawn("nginx", &mut command);
            match wait(&mut process, port) {
                Ok(()) => {
                    let address = loopback(port);
                    return Self { address, _process: process, directory };
                }
                Err(text) => problem = text,
            }
        }
        panic!("{problem}");
    }

    /// A file under its prefix.
    pub fn file(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }
}

fn configuration(port: u16, http: &str) -> String {
    let temporary: String = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"]
        .iter()
        .map(|kind| format!("  {kind}_temp_path {kind};\n"))
        .collect();
    format!(
        "daemon off;\nmaster_process off;\npid nginx.pid;\nerror_log stderr warn;\n\
         events {{}}\nhttp {{\n  access_log off;\n{temporary}{}}}\n",
        http.replace("{port}", &port.to_string())
    )
}

fn wait(process: &mut Process, port: u16) -> Result<(), String> {
    let deadline = Instant::now() + PATIENCE;
    loop {
        if let Some(status) = process.try_exit() {
            return Err(format!("nginx ended with {status}:\n{}", process.log()));
        }
        if std::net::TcpStream::connect(loopback(port)).is_ok() {
            return Ok(());
        }
        if Instant::now() > deadline {
            return Err(format!("nginx does not listen:\n{}", process.log()));
        }
        thread::sleep(Duration::from_millis(5));
    }
}
