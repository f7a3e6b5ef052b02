//! An authority that speaks ACME: Debian's `pebble`, Let's Encrypt's own for tests.

use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use rcgen::SanType;
use tempfile::TempDir;

use super::authority::Authority;
use super::dns::Dns;
use super::process::Process;
use super::{PATIENCE, free_port, loopback};

/// What it is like.
#[derive(Clone, Copy, Default)]
pub struct Mood {
    /// Of a hundred nonces it refuses so many.
    pub bad_nonces: u8,
    /// It issues to its customers alone: `kid-1` with [`EAB_KEY`].
    pub wants_customers: bool,
}

pub const EAB_KEY: &str = "zWNDZM6eQGHWpSRTPal5eIUYFTu7EajVIoguysqZ9wG44nMEtx3MUAsUDkMTQ12W";

/// A server, which asks names at these ports of the addresses that its name server gives.
pub struct Pebble {
    process: Option<Process>,
    port: u16,
    pub http_port: u16,
    pub tls_port: u16,
    pub dns: Dns,
    mood: Mood,
    log: String,
    directory: TempDir,
}

impl Pebble {
    pub async fn start(mood: Mood) -> Self {
        let directory = tempfile::tempdir().expect("a directory");
        let root = Authority::root("Pebble's own TLS");
        let own = root.issue("pebble", 7, |params| {
            params.subject_alt_names = vec![SanType::IpAddress(Ipv4Addr::LOCALHOST.into())];
        });
        let write = |name: &str, text: &str| {
            std::fs::write(directory.path().join(name), text).expect("written");
        };
        write("ca.pem", &root.pem());
        write("cert.pem", &own.chain);
        write("key.pem", &own.key);
        let mut pebble = Self {
            process: None,
            port: free_port(),
            http_port: free_port(),
            tls_port: free_port(),
            dns: Dns::start().await,
            mood,
            log: String::new(),
            directory,
        };
        pebble.start_again();
        pebble
    }

    /// Starts it once more, at the same port; it has forgotten everything.
    pub fn start_again(&mut self) {
        let at = |name: &str| self.directory.path().join(name).display().to_string();
        let keys = if self.mood.wants_customers {
            serde_json::json!({ "kid-1": EAB_KEY })
        } else {
            serde_json::json!({})
        };
        let settings = serde_json::json!({ "pebble": {
            "listenAddress": loopback(self.port).to_string(),
            "managementListenAddress": loopback(free_port()).to_string(),
            "certificate": at("cert.pem"),
            "privateKey": at("key.pem"),
            "httpPort": self.http_port,
            "tlsPort": self.tls_port,
            "ocspResponderURL": "",
            "externalAccountBindingRequired": self.mood.wants_customers,
            "externalAccountMACKeys": keys,
            "certificateValidityPeriod": 90 * 24 * 3600,
        }});
        std::fs::write(at("pebble.json"), settings.to_string()).expect("written");
        let mut command = Command::new("pebble");
        command
            .args(["-config", &at("pebble.json"), "-dnsserver", &self.dns.address.to_string()])
            .env("PEBBLE_VA_NOSLEEP", "1")
            .env("PEBBLE_VA_ALWAYS_VALID", "0")
            .env("PEBBLE_AUTHZREUSE", "0")
            .env("PEBBLE_WFE_NONCEREJECT", self.mood.bad_nonces.to_string());
        self.process = Some(Process::spawn("pebble", &mut command));
        let deadline = Instant::now() + PATIENCE;
        while std::net::TcpStream::connect(loopback(self.port)).is_err() {
            assert!(Instant::now() < deadline, "pebble does not listen:\n{}", self.log());
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    pub fn stop(&mut self) {
        let mut process = self.process.take().expect("it runs");
        process.signal("TERM");
        process.wait_exit();
        self.log.push_str(&process.log());
    }

    /// `tls: { … }` of a listener that orders from it.
    pub fn tls(&self, more: &str) -> String {
        format!(
            "{{ acme: {{ directory: 'https://{}/dir', ca: '{}', contact: [admin@example.com], \
             accept_terms_of_service: true{more} }} }}",
            loopback(self.port),
            self.file("ca.pem").display(),
        )
    }

    pub fn file(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    pub fn path(&self) -> &Path {
        self.directory.path()
    }

    /// All that it has said, since it was started first.
    pub fn log(&self) -> String {
        let now = self.process.as_ref().map(Process::log).unwrap_or_default();
        format!("{}{now}", self.log)
    }

    /// How many orders it has taken, and how many certificates came of them.
    pub fn counts(&self) -> (usize, usize) {
        let log = self.log();
        (log.matches("Added order ").count(), log.matches("Issued certificate").count())
    }
}
