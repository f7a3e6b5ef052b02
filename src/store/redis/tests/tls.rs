//! TLS on a real server that wants a client certificate: the contract, and what goes wrong.

use std::path::{Path, PathBuf};

use rcgen::{CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair};

use std::net::TcpStream;
use std::process::{Command, Stdio};

use super::server::free_port;
use super::*;
use crate::store::redis::{ClientCertificate, Tls};

/// What the certificate of the server is for, which is not where it listens.
const NAME: &str = "cache.internal";

/// A server on TLS alone, with an authority of its own.
struct TlsServer {
    server: Server,
    authority: Authority,
}

pub(super) struct Authority {
    issuer: CertifiedIssuer<'static, KeyPair>,
}

impl Authority {
    pub(super) fn new(name: &str) -> Self {
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::CommonName, name);
        params.is_ca = IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
        let key = KeyPair::generate().expect("entropy");
        Self { issuer: CertifiedIssuer::self_signed(params, key).expect("an authority") }
    }

    /// Writes `FILE.pem` and `FILE.key`.
    pub(super) fn issue(&self, directory: &Path, file: &str, name: &str) -> ClientCertificate {
        let key = KeyPair::generate().expect("entropy");
        let mut params = CertificateParams::new([name.to_owned()]).expect("a name");
        params.distinguished_name.push(DnType::CommonName, file);
        let made = params.signed_by(&key, &self.issuer).expect("a certificate");
        ClientCertificate {
            certificate: write(directory, &format!("{file}.pem"), &made.pem()),
            key: write(directory, &format!("{file}.key"), &key.serialize_pem()),
        }
    }

    pub(super) fn write(&self, directory: &Path, file: &str) -> PathBuf {
        write(directory, file, &self.issuer.as_ref().pem())
    }
}

fn write(directory: &Path, file: &str, text: &str) -> PathBuf {
    let path = directory.join(file);
    std::fs::write(&path, text).expect("the directory can be written to");
    path
}

impl TlsServer {
    /// `clients` is what `tls-auth-clients` shall be.
    fn start(clients: &str) -> Self {
        Self::start_as(clients, NAME)
    }

    fn start_as(clients: &str, name: &str) -> Self {
        let authority = Authority::new("an authority");
        for _ in 0..10 {
            let directory = tempfile::tempdir().expect("a directory");
            let own = authority.issue(directory.path(), "server", name);
            let ca = authority.write(directory.path(), "ca.pem");
            let port = free_port();
            let mut process = Command::new("redis-server")
                .args(["--port", "0", "--bind", "127.0.0.1", "--save", "", "--dir"])
                .arg(directory.path())
                .args(["--tls-port", &port.to_string(), "--tls-auth-clients", clients])
                .arg("--tls-cert-file")
                .arg(&own.certificate)
                .arg("--tls-key-file")
                .arg(&own.key)
                .arg("--tls-ca-cert-file")
                .arg(&ca)
                .stdin(Stdio::null())
                .stdout(Stdio::null())
                .spawn()
                .expect("redis-server is installed");
            let began = Instant::now();
            while process.try_wait().expect("a child of ours").is_none() {
                if TcpStream::connect(("127.0.0.1", port)).is_ok() {
                    let server = Server { process, port, directory, options: Vec::new() };
                    return Self { server, authority };
                }
                assert!(began.elapsed() < Duration::from_secs(20), "redis-server does not listen");
                std::thread::sleep(Duration::from_millis(10));
            }
        }
        panic!("redis-server does not start");
    }

    /// Settings that work, unless `clients` was something else.
    fn settings(&self) -> RedisSettings {
        let directory = self.server.directory.path();
        let mut settings = settings(&format!("rediss://127.0.0.1:{}", self.server.port));
        settings.tls = Tls {
            ca: Some(directory.join("ca.pem")),
            client: Some(self.authority.issue(directory, "client", "client")),
            server_name: Some(NAME.to_owned()),
        };
        settings
    }
}

async fn tls_bench() -> Bench {
    let server = TlsServer::start("yes");
    let store = RedisStore::open(&server.settings(), LEASE).expect("valid settings").patient();
    store.start().await;
    Bench { store: Arc::new(store), elapse: Elapse::Really, keep_alive: Box::new(server.server) }
}

mod suite {
    crate::store::contract::suite!(super::tls_bench);
}

/// Why a store with these settings is down.
async fn cause(settings: &RedisSettings) -> String {
    let store = RedisStore::open(settings, LEASE).expect("valid settings");
    let cause = store.endpoint.probe().await.expect_err("the server must not be reached");
    store.start().await;
    becomes(&store, Health::Down, Duration::from_secs(10)).await;
    cause.to_string()
}

#[tokio::test]
async fn what_is_wrong_with_certificates_is_an_outage_that_says_so() {
    let server = TlsServer::start("yes");
    let directory = server.server.directory.path();
    let good = server.settings();
    let stranger = Authority::new("a stranger");
    let with = |change: &dyn Fn(&mut Tls)| {
        let mut settings = good.clone();
        change(&mut settings.tls);
        settings
    };
    let other_ca = stranger.write(directory, "other.pem");
    let other_client = stranger.issue(directory, "other-client", "client");
    for (settings, expected) in [
        (with(&|tls| tls.ca = Some(other_ca.clone())), "of no authority that tls.ca "),
        (with(&|tls| tls.ca = None), "of no authority that this system trusts; set tls.ca"),
        (with(&|tls| tls.server_name = None), "is not for `127.0.0.1`; set tls.server_name"),
        (
            with(&|tls| tls.server_name = Some("other.internal".to_owned())),
            "is not for `other.internal`",
        ),
        (with(&|tls| tls.client = None), "set tls.certificate and tls.key"),
        (
            with(&|tls| tls.client = Some(other_client.clone())),
            "the server refuses tls.certificate ",
        ),
    ] {
        let cause = cause(&settings).await;
        assert!(cause.contains(expected), "{expected}: {cause}");
    }
}

#[tokio::test]
async fn a_server_without_tls_is_told_apart() {
    let server = Server::start(IN_MEMORY);
    let mut settings = settings(&server.url().replace("redis://", "rediss://"));
    let directory = server.directory.path();
    settings.tls.ca = Some(Authority::new("an authority").write(directory, "ca.pem"));
    let cause = cause(&settings).await;
    assert!(
        cause.contains("no answer to a TLS handshake; check the port, or write redis://"),
        "{cause}"
    );
}

#[tokio::test]
async fn the_host_of_the_url_counts_where_no_name_is_given() {
    let server = TlsServer::start_as("no", "localhost");
    let mut settings = server.settings();
    settings.url = RedisUrl::parse(&format!("rediss://localhost:{}", server.server.port))
        .expect("a valid URL");
    settings.tls.server_name = None;
    settings.tls.client = None;
    let endpoint = Endpoint::new(&settings).expect("valid settings");
    endpoint.probe().await.expect("a name that resolves and that the certificate has");
}

#[tokio::test]
async fn renewed_files_are_used_from_the_next_connection_on() {
    let server = TlsServer::start("yes");
    let directory = server.server.directory.path();
    let mut settings = server.settings();
    let later = directory.join("later.pem");
    settings.tls.ca = Some(later.clone());
    Authority::new("a stranger").write(directory, "later.pem");
    let endpoint = Endpoint::new(&settings).expect("valid settings");
    assert!(endpoint.probe().await.is_err(), "an authority that did not issue it");
    server.authority.write(directory, "later.pem");
    assert!(endpoint.probe().await.is_err(), "not read again yet");
    endpoint.reload().expect("a good file");
    endpoint.probe().await.expect("the new authority counts");

    std::fs::write(&later, "nonsense").expect("written");
    let error = endpoint.reload().expect_err("a bad file");
    assert!(error.contains("later.pem holds no certificate"), "{error}");
    endpoint.probe().await.expect("what was read before stays");
}

#[test]
fn files_that_cannot_be_used_are_named() {
    let directory = tempfile::tempdir().expect("a directory");
    let authority = Authority::new("an authority");
    let good = authority.issue(directory.path(), "client", "client");
    let other = authority.issue(directory.path(), "other", "client");
    let empty = write(directory.path(), "empty.pem", "");
    let none = directory.path().join("none.pem");
    let ca = authority.write(directory.path(), "ca.pem");
    let client = |certificate: &PathBuf, key: &PathBuf| {
        Some(ClientCertificate { certificate: certificate.clone(), key: key.clone() })
    };
    for (ca, client, expected) in [
        (&none, None, "tls.ca "),
        (&empty, None, "empty.pem holds no certificate"),
        (&ca, client(&none, &good.key), "tls.certificate "),
        (&ca, client(&empty, &good.key), "empty.pem holds no certificate"),
        (&ca, client(&good.certificate, &empty), "empty.pem holds no private key"),
        (&ca, client(&good.certificate, &other.key), "tls.key "),
    ] {
        let mut settings = settings("rediss://127.0.0.1");
        settings.tls = Tls { ca: Some(ca.clone()), client, server_name: None };
        let error = Endpoint::new(&settings).expect_err("unusable").to_string();
        assert!(error.contains(expected), "{expected}: {error}");
    }
}
