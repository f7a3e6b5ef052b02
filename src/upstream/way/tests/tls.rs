//! TLS: verified, resumed, and ended properly or not.

use std::path::{Path, PathBuf};

use rcgen::{CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair};
use rustls::ServerConfig;
use rustls::pki_types::PrivateKeyDer;
use rustls::server::WebPkiClientVerifier;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

use super::*;

pub(in crate::upstream::way) const NAME: &str = "worker.internal";

pub(in crate::upstream::way) struct Authority(CertifiedIssuer<'static, KeyPair>);

impl Authority {
    pub(in crate::upstream::way) fn new(name: &str) -> Self {
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::CommonName, name);
        params.is_ca = IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
        let key = KeyPair::generate().expect("entropy");
        Self(CertifiedIssuer::self_signed(params, key).expect("an authority"))
    }

    pub(in crate::upstream::way) fn write(&self, directory: &Path) -> PathBuf {
        write(directory, "ca.pem", &self.0.as_ref().pem())
    }

    /// A certificate for a name, with its key.
    pub(in crate::upstream::way) fn issue(&self, name: &str) -> (rcgen::Certificate, KeyPair) {
        let key = KeyPair::generate().expect("entropy");
        let params = CertificateParams::new([name.to_owned()]).expect("a name");
        (params.signed_by(&key, &self.0).expect("signed"), key)
    }

    /// A server with a certificate for [`NAME`].
    fn server(&self) -> TlsAcceptor {
        self.server_for(None, &[])
    }

    /// The same, for clients that this authority has issued certificates to.
    pub(in crate::upstream::way) fn server_for(
        &self,
        clients: Option<&Self>,
        alpn: &[&str],
    ) -> TlsAcceptor {
        let (certificate, key) = self.issue(NAME);
        let key = PrivateKeyDer::try_from(key.serialize_der()).expect("a key");
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let builder = ServerConfig::builder_with_provider(provider.clone())
            .with_safe_default_protocol_versions()
            .expect("versions");
        let builder = match clients {
            None => builder.with_no_client_auth(),
            Some(clients) => {
                let mut roots = rustls::RootCertStore::empty();
                roots.add(clients.0.as_ref().der().clone()).expect("an authority");
                let verifier = WebPkiClientVerifier::builder_with_provider(roots.into(), provider);
                builder.with_client_cert_verifier(verifier.build().expect("an authority"))
            }
        };
        let chain = vec![certificate.der().clone()];
        let mut config = builder.with_single_cert(chain, key).expect("a pair");
        config.alpn_protocols = alpn.iter().map(|name| name.as_bytes().to_vec()).collect();
        TlsAcceptor::from(Arc::new(config))
    }
}

pub(super) fn write(directory: &Path, file: &str, text: &str) -> PathBuf {
    let path = directory.join(file);
    std::fs::write(&path, text).expect("written");
    path
}

/// A worker with TLS.
struct Worker {
    listener: TcpListener,
    acceptor: TlsAcceptor,
    pool: Pool,
}

impl Worker {
    /// It is believed if `trusted` issued its certificate and it is asked for `name`.
    async fn new(issuer: &Authority, trusted: &Authority, name: &str) -> Self {
        let directory = tempfile::tempdir().expect("a directory");
        let ca = Some(trusted.write(directory.path()));
        let tls = TlsSettings { ca, ..TlsSettings::new(name) };
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("loopback");
        let address = Address::Inet(listener.local_addr().expect("bound"));
        let pool = pool(upstream(vec![address], Some(tls)), 8);
        Self { listener, acceptor: issuer.server(), pool }
    }

    async fn good() -> Self {
        let authority = Authority::new("an authority");
        Self::new(&authority, &authority, NAME).await
    }

    async fn connect(&self) -> (io::Result<TlsStream<TcpStream>>, Result<Link, ConnectError>) {
        let accepting = async {
            let (tcp, _) = self.listener.accept().await.expect("a connection");
            self.acceptor.accept(tcp).await
        };
        tokio::join!(accepting, self.pool.connect_to_known(0))
    }

    async fn pair(&self) -> (TlsStream<TcpStream>, Link) {
        let (there, link) = self.connect().await;
        (there.expect("shaken"), link.expect("shaken"))
    }
}

/// One question, one answer.
async fn exchange(there: &mut TlsStream<TcpStream>, link: &mut Link) {
    send(link, b"ping").await;
    let mut heard = [0; 4];
    there.read_exact(&mut heard).await.expect("sent");
    there.write_all(b"pong").await.expect("written");
    there.flush().await.expect("written");
    fill_to(link, 4).await;
    assert_eq!(link.input(), b"pong");
    link.consume(4);
}

#[tokio::test]
async fn the_second_connection_resumes_the_session_of_the_first() {
    let worker = Worker::good().await;
    let (mut there, mut link) = worker.pair().await;
    assert_eq!(there.get_ref().1.server_name(), Some(NAME));
    assert_eq!(there.get_ref().1.alpn_protocol(), None, "the server offers none");
    exchange(&mut there, &mut link).await;
    let (mut there, mut second) = worker.pair().await;
    exchange(&mut there, &mut second).await;
    assert_eq!((link.io().is_resumed(), second.io().is_resumed()), (false, true));
}

#[tokio::test]
async fn kept_connections_are_used_again_over_tls() {
    let worker = Worker::good().await;
    let now = Instant::now();
    let (mut there, mut link) = worker.pair().await;
    exchange(&mut there, &mut link).await;
    worker.pool.give_back(0, 0, link, now);
    let mut link = worker.pool.take(0, 0, now).expect("kept");
    exchange(&mut there, &mut link).await;
    worker.pool.give_back(0, 0, link, now);
    there.shutdown().await.expect("a closing word");
    settle().await;
    assert!(worker.pool.take(0, 0, now).is_none(), "closed");
}

#[tokio::test]
async fn tickets_that_come_late_do_no_harm() {
    let worker = Worker::good().await;
    let now = Instant::now();
    // The tickets lie unread in the socket.
    let (_there, link) = worker.pair().await;
    worker.pool.give_back(0, 0, link, now);
    settle().await;
    worker.pool.sweep(now);
    assert!(worker.pool.take(0, 0, now).is_some());
    let (_there, link) = worker.pair().await;
    assert!(link.io().is_resumed(), "the sweep has read them");
}

#[tokio::test]
async fn a_worker_is_verified_by_authority_and_name() {
    let authority = Authority::new("an authority");
    let stranger = Authority::new("a stranger");
    for (trusted, name, expected) in
        [(&stranger, NAME, "UnknownIssuer"), (&authority, "other.internal", "not valid for name")]
    {
        let worker = Worker::new(&authority, trusted, name).await;
        let (_, link) = worker.connect().await;
        let error = link.expect_err("not believed");
        assert!(matches!(error, ConnectError::Tls(_)), "{error}");
        assert!(error.to_string().contains(expected), "{expected}: {error}");
    }
}

#[tokio::test]
async fn what_speaks_no_tls_or_nothing_at_all_is_told() {
    let mut worker = Worker::good().await;
    let (mut there, link) = tokio::join!(
        async {
            let (mut tcp, _) = worker.listener.accept().await.expect("a connection");
            tcp.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n").await.expect("written");
            tcp
        },
        worker.pool.connect_to_known(0)
    );
    there.flush().await.expect("open");
    assert!(matches!(link.expect_err("no TLS"), ConnectError::Tls(_)));

    let authority = Authority::new("an authority");
    let directory = tempfile::tempdir().expect("a directory");
    let ca = Some(authority.write(directory.path()));
    let tls = TlsSettings { ca, ..TlsSettings::new(NAME) };
    let address = Address::Inet(worker.listener.local_addr().expect("bound"));
    let mut settings = upstream(vec![address], Some(tls));
    settings.timeouts.connect = Duration::from_millis(50);
    worker.pool = pool(settings, 8);
    let error = worker.pool.connect_to_known(0).await.expect_err("nobody answers");
    assert!(matches!(error, ConnectError::HandshakeTimedOut), "{error}");
}

#[tokio::test]
async fn an_end_without_a_closing_word_is_told_apart() {
    let worker = Worker::good().await;
    let (mut there, mut link) = worker.pair().await;
    exchange(&mut there, &mut link).await;
    there.shutdown().await.expect("a closing word");
    assert_eq!(fill(&mut link).await, 0);
    assert!(!link.is_truncated());

    let (mut there, mut link) = worker.pair().await;
    exchange(&mut there, &mut link).await;
    let (tcp, _) = there.into_inner();
    drop(tcp);
    assert_eq!(fill(&mut link).await, 0);
    assert!(link.is_truncated());
    worker.pool.give_back(0, 0, link, Instant::now());
    assert_eq!(worker.pool.idle_count(), 0);
}

#[tokio::test]
async fn half_closed_over_tls_the_worker_may_go_on_to_send() {
    let worker = Worker::good().await;
    let (mut there, mut link) = worker.pair().await;
    poll_fn(|cx| link.poll_shutdown(cx)).await.expect("shut");
    let mut heard = Vec::new();
    there.read_to_end(&mut heard).await.expect("a closing word");
    there.write_all(b"still here").await.expect("our side is open");
    there.flush().await.expect("written");
    fill_to(&mut link, 10).await;
    assert_eq!(link.input(), b"still here");
}

#[tokio::test]
async fn large_pieces_arrive_whole_over_tls() {
    let worker = Worker::good().await;
    let (mut there, mut link) = worker.pair().await;
    let bytes: Vec<u8> = (0..1_000_000_u32).map(|number| (number % 251) as u8).collect();
    let writing = async {
        link.output().extend_from_slice(&bytes[..100]);
        let mut rest = &bytes[100..];
        while !rest.is_empty() {
            let taken = poll_fn(|cx| link.poll_write(cx, rest)).await.expect("written");
            rest = &rest[taken..];
        }
        poll_fn(|cx| link.poll_flush(cx)).await.expect("written");
    };
    let reading = async {
        let mut heard = vec![0; bytes.len()];
        there.read_exact(&mut heard).await.expect("sent");
        heard
    };
    let ((), heard) = tokio::join!(writing, reading);
    assert!(heard == bytes);
}

#[test]
fn authorities_that_cannot_be_used_are_an_error_at_start() {
    let directory = tempfile::tempdir().expect("a directory");
    let empty = write(directory.path(), "empty.pem", "");
    let damaged = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
    let damaged = write(directory.path(), "damaged.pem", damaged);
    let none = directory.path().join("none.pem");
    let good = Authority::new("an authority").write(directory.path());
    for (ca, name, expected) in [
        (&empty, NAME, "tls.ca: ", "empty.pem holds no certificate"),
        (&damaged, NAME, "tls.ca: ", "damaged.pem is damaged: "),
        (&none, NAME, "tls.ca: ", "none.pem: No such file"),
        (&good, "no name", "tls.server_name: `no name` is no name", ""),
    ]
    .map(|(ca, name, begin, end)| (ca, name, [begin, end]))
    {
        let tls = TlsSettings { ca: Some(ca.clone()), ..TlsSettings::new(name) };
        let settings = upstream(vec![Address::Inet(([127, 0, 0, 1], 1).into())], Some(tls));
        let error = Ways::new(&[settings]).expect_err("unusable").to_string();
        assert!(error.starts_with("upstreams.shop: "), "{error}");
        assert!(expected.iter().all(|part| error.contains(part)), "{expected:?}: {error}");
    }
}

#[tokio::test]
async fn over_tls_a_worker_that_ended_its_side_still_hears_us() {
    let worker = Worker::good().await;
    let (mut there, mut link) = worker.pair().await;
    there.shutdown().await.expect("shut");
    assert_eq!(fill(&mut link).await, 0);
    send(&mut link, b"still here").await;
    let mut heard = [0; 10];
    there.read_exact(&mut heard).await.expect("sent");
    assert_eq!(&heard, b"still here");
}

#[tokio::test]
async fn a_quiet_connection_over_tls_holds_no_buffer() {
    let worker = Worker::good().await;
    let (mut there, mut link) = worker.pair().await;
    exchange(&mut there, &mut link).await;
    link.release_buffers();
    let waiting = poll_fn(|cx| Poll::Ready(link.poll_fill(cx).is_pending())).await;
    assert!(waiting && link.input_capacity() == 0, "nothing came yet");
    exchange(&mut there, &mut link).await;
    link.release_buffers();
    let (tcp, _) = there.into_inner();
    drop(tcp);
    assert_eq!(fill(&mut link).await, 0);
    assert!(link.is_truncated());
}

#[tokio::test]
async fn idle_connections_end_with_a_closing_word() {
    let worker = Worker::good().await;
    let now = Instant::now();
    let (mut there, mut link) = worker.pair().await;
    exchange(&mut there, &mut link).await;
    worker.pool.give_back(0, 0, link, now);
    worker.pool.sweep(now + 2 * Timeouts::default().keepalive);
    let mut heard = Vec::new();
    there.read_to_end(&mut heard).await.expect("an end that is told");
}
