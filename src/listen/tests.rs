//! The accept loop over loopback, without any HTTP engine: each connection gets one answer.

use std::future::poll_fn;
use std::io;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, HandshakeKind, RootCertStore};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use super::certificate::tests::make;
use super::conn::Linger;
use super::*;
use crate::clock::Clock;

const NOW: UnixMillis = UnixMillis(1_800_000_000_000);
const LONG: Duration = Duration::from_secs(20);
const SHORT: Duration = Duration::from_millis(150);

/// One worker that answers every connection's first bytes with `ok` and closes.
struct Served {
    address: SocketAddr,
    tls: Option<Arc<tls::Store>>,
    gate: Arc<Gate>,
    shutdown: watch::Sender<Shutdown>,
    worker: JoinHandle<io::Result<()>>,
}

fn settings(tls: Option<TlsSettings>) -> ListenerSettings {
    ListenerSettings {
        address: Address::Tcp("127.0.0.1:0".parse().expect("an address")),
        tls,
        protocols: vec![Protocol::Http2, Protocol::Http1],
        proxy_protocol: false,
        redirect_to_https: None,
        socket: SocketSettings::default(),
    }
}

/// No server has certificates of its own.
fn nobody() -> Outside {
    let secrets: Secrets = Arc::new(|| vec![zeroize::Zeroizing::new([1; 32])]);
    Outside { choose: Arc::new(|_, _| None), secrets, ordered: Arc::default() }
}

fn tls_settings(certificates: Vec<CertificateSettings>, min_version: TlsVersion) -> TlsSettings {
    let certificates = Certificates::Files(certificates);
    TlsSettings { certificates, of_servers: Vec::new(), min_version, client_certificates: None }
}

fn serve(settings: ListenerSettings, limits: Limits) -> Served {
    tls::install_provider();
    // Certificates made here are checked by clients, which have the system's clock.
    let Opened { mut listeners, .. } =
        open(&[settings], &[], &mut Inherited::default(), &nobody(), Clock::System.now())
            .expect("loopback");
    let listener = listeners.remove(0);
    let address = listener.address().tcp().expect("it is TCP");
    let tls = listener.tls().cloned();
    let gate = Gate::new(limits.connections, limits.connections_per_client);
    let (shutdown, told) = watch::channel(Shutdown::Running);
    let answer = || {
        |mut conn: Box<Conn>| async move {
            if !conn.readable().await {
                return conn.close().await;
            }
            conn.info().request_head_complete(Instant::now());
            let _ = conn.write_all(b"ok").await;
            conn.linger(Linger::default()).await;
        }
    };
    let worker = tokio::spawn(run(
        vec![listener],
        Context::new(limits, gate.clone()),
        answer,
        (unchanged(), told),
    ));
    Served { address, tls, gate, shutdown, worker }
}

/// A client that trusts these certificates.
fn client(
    trusted: &[&CertificateSettings],
    versions: &[&'static rustls::SupportedProtocolVersion],
) -> Arc<ClientConfig> {
    let mut roots = RootCertStore::empty();
    for files in trusted {
        roots.add(certificate_of(&files.chain)).expect("a certificate");
    }
    let config = ClientConfig::builder_with_provider(tls::provider())
        .with_protocol_versions(versions)
        .expect("supported")
        .with_root_certificates(roots)
        .with_no_client_auth();
    Arc::new(config)
}

const BOTH: &[&rustls::SupportedProtocolVersion] =
    &[&rustls::version::TLS13, &rustls::version::TLS12];

fn certificate_of(path: &Path) -> CertificateDer<'static> {
    CertificateDer::from_pem_file(path).expect("a certificate")
}

async fn connect(
    config: &Arc<ClientConfig>,
    address: SocketAddr,
    name: &str,
) -> io::Result<TlsStream<TcpStream>> {
    let name = ServerName::try_from(name.to_owned()).expect("a name");
    TlsConnector::from(config.clone()).connect(name, TcpStream::connect(address).await?).await
}

/// Says something and reads to the end, which collects session tickets too.
async fn exchange<S>(stream: &mut S) -> io::Result<String>
where
    S: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin,
{
    stream.write_all(b"hello").await?;
    let mut answer = String::new();
    tokio::time::timeout(LONG, stream.read_to_string(&mut answer)).await??;
    stream.shutdown().await?;
    Ok(answer)
}

#[tokio::test]
async fn plain_connection_is_served() {
    let served = serve(settings(None), Limits::default());
    let mut stream = TcpStream::connect(served.address).await.expect("listening");
    assert_eq!(exchange(&mut stream).await.expect("answered"), "ok");
}

#[tokio::test]
async fn certificate_is_chosen_by_name() {
    let directory = tempfile::tempdir().expect("temporary");
    let first = make(directory.path(), "first", &["first.example"]);
    let second = make(directory.path(), "second", &["second.example", "*.wild.example"]);
    let wanted = tls_settings(vec![first.clone(), second.clone()], TlsVersion::Tls12);
    let served = serve(settings(Some(wanted)), Limits::default());
    let config = client(&[&first, &second], BOTH);

    for (name, expected) in
        [("first.example", &first), ("second.example", &second), ("a.wild.example", &second)]
    {
        let mut stream = connect(&config, served.address, name).await.expect("trusted");
        let shown = stream.get_ref().1.peer_certificates().expect("shown")[0].clone();
        assert_eq!(shown, certificate_of(&expected.chain), "{name}");
        assert_eq!(exchange(&mut stream).await.expect("answered"), "ok");
    }
    // A name that nobody has gets the first certificate, which is not for it.
    let error = connect(&config, served.address, "other.example").await.expect_err("refused");
    assert!(error.to_string().contains("not valid for name \"other.example\""), "{error}");
}

#[tokio::test]
async fn lowest_version_is_kept() {
    let directory = tempfile::tempdir().expect("temporary");
    let files = make(directory.path(), "a", &["a.example"]);
    let only_12 = client(&[&files], &[&rustls::version::TLS12]);
    let both = client(&[&files], BOTH);

    let wanted = tls_settings(vec![files.clone()], TlsVersion::Tls12);
    let served = serve(settings(Some(wanted)), Limits::default());
    for (config, expected) in
        [(&only_12, rustls::ProtocolVersion::TLSv1_2), (&both, rustls::ProtocolVersion::TLSv1_3)]
    {
        let mut stream = connect(config, served.address, "a.example").await.expect("spoken");
        assert_eq!(stream.get_ref().1.protocol_version(), Some(expected));
        assert_eq!(exchange(&mut stream).await.expect("answered"), "ok");
    }

    let wanted = tls_settings(vec![files.clone()], TlsVersion::Tls13);
    let served = serve(settings(Some(wanted)), Limits::default());
    let error = connect(&only_12, served.address, "a.example").await.expect_err("too old");
    assert!(error.to_string().contains("ProtocolVersion"), "{error}");
    connect(&both, served.address, "a.example").await.expect("TLS 1.3");
    assert_eq!(served.gate.counts().handshakes_failed, 1);
}

#[tokio::test]
async fn post_quantum_key_exchange_is_preferred() {
    let directory = tempfile::tempdir().expect("temporary");
    let files = make(directory.path(), "a", &["a.example"]);
    let wanted = tls_settings(vec![files.clone()], TlsVersion::Tls12);
    let served = serve(settings(Some(wanted)), Limits::default());
    let stream =
        connect(&client(&[&files], BOTH), served.address, "a.example").await.expect("trusted");
    let group = stream.get_ref().1.negotiated_key_exchange_group().expect("after the handshake");
    assert_eq!(group.name(), rustls::NamedGroup::X25519MLKEM768);
}

#[tokio::test]
async fn sessions_are_resumed_by_ticket_and_across_reloads() {
    let directory = tempfile::tempdir().expect("temporary");
    let old = make(directory.path(), "old", &["a.example"]);
    let new = make(directory.path(), "new", &["a.example"]);
    for version in BOTH {
        let wanted = tls_settings(vec![old.clone()], TlsVersion::Tls12);
        let served = serve(settings(Some(wanted)), Limits::default());
        let config = client(&[&old, &new], &[version]);
        let kind = async |config: &Arc<ClientConfig>| {
            let mut stream = connect(config, served.address, "a.example").await.expect("trusted");
            exchange(&mut stream).await.expect("answered");
            stream.get_ref().1.handshake_kind()
        };
        let first = kind(&config).await;
        assert_ne!(first, Some(HandshakeKind::Resumed), "{version:?}");
        assert_eq!(kind(&config).await, Some(HandshakeKind::Resumed), "{version:?}");

        let store = served.tls.as_ref().expect("a TLS listener");
        for (from, to) in [(&new.chain, &old.chain), (&new.key, &old.key)] {
            std::fs::copy(from, to).expect("written");
        }
        store.reload(NOW).expect("good files");
        assert_eq!(kind(&config).await, Some(HandshakeKind::Resumed), "{version:?}, reloaded");
        // A client without a ticket is shown the new certificate.
        let fresh = client(&[&new], &[version]);
        connect(&fresh, served.address, "a.example").await.expect("the new certificate");
    }
}

#[tokio::test]
async fn failed_reload_keeps_the_old_certificate() {
    let directory = tempfile::tempdir().expect("temporary");
    let files = make(directory.path(), "a", &["a.example"]);
    let wanted = tls_settings(vec![files.clone()], TlsVersion::Tls12);
    let served = serve(settings(Some(wanted)), Limits::default());
    let config = client(&[&files], BOTH);
    std::fs::write(&files.key, "nonsense").expect("writable");
    let store = served.tls.as_ref().expect("a TLS listener");
    let errors = store.reload(NOW).expect_err("no key");
    assert!(errors[0].to_string().contains("a.key"), "{}", errors[0]);
    connect(&config, served.address, "a.example").await.expect("as before");
}

#[tokio::test]
async fn handshake_has_a_deadline() {
    let directory = tempfile::tempdir().expect("temporary");
    let files = make(directory.path(), "a", &["a.example"]);
    let wanted = tls_settings(vec![files], TlsVersion::Tls12);
    let limits = Limits { handshake_timeout: SHORT, ..Limits::default() };
    let served = serve(settings(Some(wanted)), limits);
    let begun = Instant::now();
    let mut stream = TcpStream::connect(served.address).await.expect("listening");
    let mut byte = [0];
    let read = tokio::time::timeout(LONG, stream.read(&mut byte)).await.expect("closed");
    assert!(matches!(read, Ok(0)), "{read:?}");
    assert!(begun.elapsed() >= SHORT);
    assert_eq!(served.gate.counts().handshakes_failed, 1);
}

#[tokio::test]
async fn silent_connection_is_closed_without_a_word() {
    let limits = Limits { header_timeout: SHORT, ..Limits::default() };
    let served = serve(settings(None), limits);
    let mut stream = TcpStream::connect(served.address).await.expect("listening");
    let mut all = Vec::new();
    tokio::time::timeout(LONG, stream.read_to_end(&mut all)).await.expect("closed").expect("read");
    assert!(all.is_empty(), "an answer to no request: {}", all.escape_ascii());
}

#[tokio::test]
async fn a_silent_connection_makes_room_where_the_limit_is_reached() {
    let limits = Limits { connections: 2, ..Limits::default() };
    let served = serve(settings(None), limits);
    let mut silent = Vec::new();
    for open in 1..=2 {
        silent.push(TcpStream::connect(served.address).await.expect("listening"));
        while served.gate.counts().open < open {
            tokio::task::yield_now().await;
        }
    }
    let mut third = TcpStream::connect(served.address).await.expect("listening");
    assert_eq!(exchange(&mut third).await.expect("there is room"), "ok");
    let mut byte = [0];
    let read = tokio::time::timeout(LONG, silent[0].read(&mut byte)).await.expect("it went");
    assert!(matches!(read, Ok(0)), "{read:?}");
    assert_eq!(served.gate.counts().refused, 0);
    assert_eq!(exchange(&mut silent[1]).await.expect("it may stay"), "ok");
}

#[tokio::test]
async fn connections_over_a_clients_share_are_closed_at_once() {
    let limits = Limits { connections_per_client: 2, ..Limits::default() };
    let served = serve(settings(None), limits);
    let mut inside = Vec::new();
    for _ in 0..2 {
        inside.push(TcpStream::connect(served.address).await.expect("listening"));
    }
    let mut third = TcpStream::connect(served.address).await.expect("listening");
    let mut byte = [0];
    let read = tokio::time::timeout(LONG, third.read(&mut byte)).await.expect("at once");
    assert!(matches!(read, Ok(0)), "{read:?}");
    assert_eq!((served.gate.counts().open, served.gate.counts().refused), (2, 1));

    drop(inside.pop());
    while served.gate.counts().open == 2 {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    let mut fourth = TcpStream::connect(served.address).await.expect("listening");
    assert_eq!(exchange(&mut fourth).await.expect("a place was free again"), "ok");
}

#[tokio::test]
async fn drain_closes_the_listener_and_waits_for_handshakes() {
    let directory = tempfile::tempdir().expect("temporary");
    let files = make(directory.path(), "a", &["a.example"]);
    let wanted = tls_settings(vec![files.clone()], TlsVersion::Tls12);
    let served = serve(settings(Some(wanted)), Limits::default());
    let tcp = TcpStream::connect(served.address).await.expect("listening");
    while served.gate.counts().open == 0 {
        tokio::task::yield_now().await;
    }
    served.shutdown.send_replace(Shutdown::Draining);
    while TcpStream::connect(served.address).await.is_ok() {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    assert!(!served.worker.is_finished(), "a handshake is in progress");
    let name = ServerName::try_from("a.example").expect("a name");
    let mut stream = TlsConnector::from(client(&[&files], BOTH))
        .connect(name, tcp)
        .await
        .expect("the handshake may end");
    assert_eq!(exchange(&mut stream).await.expect("answered"), "ok");
    drop(stream);
    let returned = tokio::time::timeout(LONG, served.worker).await.expect("drained");
    returned.expect("no panic").expect("served");
}

#[tokio::test]
async fn stop_returns_at_once_and_cuts_what_is_left() {
    let served = serve(settings(None), Limits::default());
    let mut stream = TcpStream::connect(served.address).await.expect("listening");
    while served.gate.counts().open == 0 {
        tokio::task::yield_now().await;
    }
    served.shutdown.send_replace(Shutdown::Stopped);
    tokio::time::timeout(LONG, served.worker).await.expect("at once").expect("ends").expect("ok");
    let mut byte = [0];
    let read = tokio::time::timeout(LONG, stream.read(&mut byte)).await.expect("cut");
    assert!(matches!(read, Ok(0) | Err(_)), "{read:?}");
}

#[tokio::test]
async fn two_workers_share_a_listener_and_a_limit() {
    let Opened { mut listeners, .. } =
        open(&[settings(None)], &[], &mut Inherited::default(), &nobody(), NOW).expect("loopback");
    let listener = listeners.remove(0);
    let address = listener.address().tcp().expect("it is TCP");
    let gate = Gate::new(100, 0);
    let (shutdown, told) = watch::channel(Shutdown::Running);
    let workers: Vec<_> = [listener.try_clone().expect("a file descriptor"), listener]
        .into_iter()
        .map(|listener| {
            let answer = || {
                |mut conn: Box<Conn>| async move {
                    let _ = conn.write_all(b"ok").await;
                    conn.linger(Linger::default()).await;
                }
            };
            let context = Context::new(Limits::default(), gate.clone());
            tokio::spawn(run(vec![listener], context, answer, (unchanged(), told.clone())))
        })
        .collect();
    for _ in 0..20 {
        let mut stream = TcpStream::connect(address).await.expect("listening");
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.expect("answered");
        assert_eq!(answer, "ok");
    }
    assert_eq!(gate.counts().accepted, 20);
    shutdown.send_replace(Shutdown::Draining);
    for worker in workers {
        tokio::time::timeout(LONG, worker).await.expect("drained").expect("ends").expect("ok");
    }
}

/// The listeners stay what they are.
fn unchanged() -> mpsc::UnboundedReceiver<Change> {
    mpsc::unbounded_channel().1
}

#[tokio::test]
async fn who_waits_for_bytes_holds_no_buffer() {
    const ROOM: usize = 64 * 1024;
    let Opened { mut listeners, .. } =
        open(&[settings(None)], &[], &mut Inherited::default(), &nobody(), NOW).expect("loopback");
    let listener = listeners.remove(0);
    let address = listener.address().tcp().expect("it is TCP");
    let (told, mut hears) = tokio::sync::mpsc::unbounded_channel();
    let (_shutdown, ordered) = watch::channel(Shutdown::Running);
    let hold = move |mut conn: Box<Conn>| {
        let told = told.clone();
        async move {
            for expected in [5, 0] {
                let mut is_told = false;
                let filled = poll_fn(|cx| {
                    let polled = conn.poll_fill(cx, ROOM);
                    if polled.is_pending() && !std::mem::replace(&mut is_told, true) {
                        let _ = told.send(conn.held());
                    }
                    polled
                });
                assert_eq!(filled.await.expect("nothing is wrong"), expected);
                let _ = told.send(conn.input().len());
                conn.consume(ROOM);
            }
        }
    };
    let context = Context::new(Limits::default(), Gate::new(100, 0));
    tokio::spawn(run(vec![listener], context, move || hold.clone(), (unchanged(), ordered)));
    let mut stream = TcpStream::connect(address).await.expect("listening");
    assert_eq!(hears.recv().await, Some(0), "it waits for the first bytes");
    stream.write_all(b"bytes").await.expect("taken");
    assert_eq!(hears.recv().await, Some(5));
    assert_eq!(hears.recv().await, Some(0), "it waits for more");
}

#[tokio::test]
async fn every_mistake_of_every_listener_is_reported() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").expect("loopback");
    let plain =
        ListenerSettings { address: taken.local_addr().expect("bound").into(), ..settings(None) };
    let nowhere = |name: &str| CertificateSettings {
        chain: format!("/nowhere/{name}.pem").into(),
        key: format!("/nowhere/{name}.key").into(),
        password_file: None,
        stapling_file: None,
    };
    let tls = settings(Some(tls_settings(vec![nowhere("a"), nowhere("b")], TlsVersion::Tls12)));
    let errors =
        open(&[plain, tls], &[], &mut Inherited::default(), &nobody(), NOW).expect_err("all wrong");
    let texts: Vec<_> = errors.iter().map(ToString::to_string).collect();
    assert_eq!(texts.len(), 5, "{texts:?}");
    assert!(texts[0].contains("already in use"), "{}", texts[0]);
    for (text, file) in texts[1..].iter().zip(["a.pem", "a.key", "b.pem", "b.key"]) {
        assert!(text.starts_with("listener 127.0.0.1:0: cannot read /nowhere/"), "{text}");
        assert!(text.contains(file), "{text}");
    }
}

#[tokio::test]
async fn self_signed_listener_speaks_tls() {
    let directory = tempfile::tempdir().expect("temporary");
    let certificates = Certificates::SelfSigned {
        names: vec!["shop.example".to_owned()],
        directory: directory.path().to_owned(),
    };
    let tls = TlsSettings {
        certificates,
        of_servers: Vec::new(),
        min_version: TlsVersion::Tls13,
        client_certificates: None,
    };
    let served = serve(settings(Some(tls)), Limits::default());
    let made = CertificateSettings {
        chain: directory.path().join("self-signed.pem"),
        key: directory.path().join("self-signed.key"),
        password_file: None,
        stapling_file: None,
    };
    let config = client(&[&made], BOTH);
    let mut stream = connect(&config, served.address, "shop.example").await.expect("trusted");
    assert_eq!(exchange(&mut stream).await.expect("answered"), "ok");
}
