//! A worker with a small service, and raw clients, over loopback.

mod drain;
mod http1;
mod idle;
mod limits;
mod service;

use std::net::SocketAddr;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::Semaphore;
use tokio::task::JoinHandle;

use super::*;
use crate::clock::Clock;
use crate::listen::{
    Certificates, Gate, Inherited, Limits, Listener, ListenerSettings, Protocol, TlsSettings,
    TlsVersion, tls,
};

use self::service::{Notes, Origin, Seen};

pub(super) const LONG: Duration = Duration::from_secs(20);
pub(super) const SHORT: Duration = Duration::from_millis(150);

/// A worker, and the way to it.
pub(super) struct Proxy {
    pub(super) address: SocketAddr,
    pub(super) gate: Arc<Gate>,
    pub(super) shutdown: watch::Sender<Shutdown>,
    pub(super) worker: JoinHandle<io::Result<()>>,
    pub(super) notes: Arc<Notes>,
    _certificates: tempfile::TempDir,
    pub(super) trusted: Arc<rustls::ClientConfig>,
}

#[derive(Clone, Copy)]
pub(super) enum Transport {
    Plain,
    Tls,
}

impl Proxy {
    pub(super) async fn start(limits: Limits) -> Self {
        Self::start_over(Transport::Plain, limits).await
    }

    pub(super) async fn start_over(transport: Transport, limits: Limits) -> Self {
        Self::start_with(transport, limits, LONG).await
    }

    /// With a service that has little patience.
    pub(super) async fn start_with(
        transport: Transport,
        limits: Limits,
        patience: Duration,
    ) -> Self {
        Self::start_by(transport, limits, patience, |origin, listeners, context, told| {
            tokio::spawn(Worker::new(origin, context).run(
                listeners,
                mpsc::unbounded_channel().1,
                told,
            ))
        })
    }

    /// With something else that serves.
    pub(super) fn start_by(
        transport: Transport,
        limits: Limits,
        patience: Duration,
        serve: impl FnOnce(
            Origin,
            Vec<Listener>,
            Context,
            watch::Receiver<Shutdown>,
        ) -> JoinHandle<io::Result<()>>,
    ) -> Self {
        tls::install_provider();
        let certificates = tempfile::tempdir().expect("temporary");
        let tls = match transport {
            Transport::Plain => None,
            Transport::Tls => Some(TlsSettings {
                certificates: Certificates::SelfSigned {
                    names: vec!["shop.example".to_owned()],
                    directory: certificates.path().to_owned(),
                },
                of_servers: Vec::new(),
                min_version: TlsVersion::Tls12,
                client_certificates: None,
            }),
        };
        let settings = ListenerSettings {
            address: listen::Address::Tcp("127.0.0.1:0".parse().expect("an address")),
            tls,
            protocols: match transport {
                Transport::Plain => vec![Protocol::Http1],
                Transport::Tls => vec![Protocol::Http2, Protocol::Http1],
            },
            proxy_protocol: false,
            redirect_to_https: Some(8443),
            socket: listen::SocketSettings::default(),
        };
        let nobody = listen::Outside {
            choose: Arc::new(|_, _| None),
            secrets: Arc::new(|| vec![zeroize::Zeroizing::new([1; 32])]),
            ordered: Arc::default(),
        };
        let opened =
            listen::open(&[settings], &[], &mut Inherited::default(), &nobody, Clock::System.now())
                .expect("loopback");
        let trusted = client_config(certificates.path());
        let address = opened.listeners[0].address().tcp().expect("it is TCP");
        let gate = Gate::new(limits.connections, limits.connections_per_client);
        let notes = Arc::new(Notes {
            patience,
            seen: Default::default(),
            refused: Default::default(),
            arrived: Default::default(),
            permits: Semaphore::new(0),
            serving: Default::default(),
        });
        let context = Context::new(limits, gate.clone());
        let (shutdown, told) = watch::channel(Shutdown::Running);
        let worker = serve(Origin(notes.clone()), opened.listeners, context, told);
        Self { address, gate, shutdown, worker, notes, _certificates: certificates, trusted }
    }

    pub(super) async fn connect(&self) -> TcpStream {
        TcpStream::connect(self.address).await.expect("listening")
    }

    pub(super) async fn connect_tls(
        &self,
        alpn: &[u8],
    ) -> tokio_rustls::client::TlsStream<TcpStream> {
        let mut config = (*self.trusted).clone();
        config.alpn_protocols = vec![alpn.to_vec()];
        let name = rustls::pki_types::ServerName::try_from("Shop.example").expect("a name");
        tokio_rustls::TlsConnector::from(Arc::new(config))
            .connect(name, self.connect().await)
            .await
            .expect("the certificate is trusted")
    }

    pub(super) fn seen(&self) -> Vec<Seen> {
        self.notes.seen.lock().expect("no panic").clone()
    }

    pub(super) fn paths(&self) -> Vec<String> {
        self.seen().into_iter().map(|seen| seen.path).collect()
    }

    pub(super) fn refused(&self) -> Vec<u16> {
        self.notes.refused.lock().expect("no panic").clone()
    }

    /// Whether a request has come whole.
    pub(super) fn has(&self, path: &str) -> bool {
        self.notes.arrived.lock().expect("no panic").iter().any(|one| one == path)
    }

    pub(super) fn release(&self) {
        self.notes.permits.add_permits(1);
    }

    pub(super) fn serving(&self) -> usize {
        self.notes.serving.load(Relaxed)
    }

    pub(super) async fn until(&self, what: &str, condition: impl Fn(&Self) -> bool) {
        within(what, async {
            while !condition(self) {
                tokio::time::sleep(Duration::from_millis(2)).await;
            }
        })
        .await;
    }

    /// Waits for the worker to return by itself.
    pub(super) async fn returned(self) {
        within("the worker returns", self.worker).await.expect("no panic").expect("served");
    }
}

pub(super) fn client_config(certificates: &std::path::Path) -> Arc<rustls::ClientConfig> {
    use rustls::pki_types::{CertificateDer, pem::PemObject};
    let mut roots = rustls::RootCertStore::empty();
    if let Ok(made) = CertificateDer::from_pem_file(certificates.join("self-signed.pem")) {
        roots.add(made).expect("a certificate");
    }
    Arc::new(rustls::ClientConfig::builder().with_root_certificates(roots).with_no_client_auth())
}

/// What the process has in memory, in KiB.
pub(super) fn resident() -> u64 {
    let text = std::fs::read_to_string("/proc/self/statm").expect("Linux");
    let pages: u64 = text.split(' ').nth(1).expect("a number").parse().expect("a number");
    pages * 4
}

pub(super) async fn within<F: Future>(what: &str, future: F) -> F::Output {
    match tokio::time::timeout(LONG, future).await {
        Ok(output) => output,
        Err(_) => panic!("took too long: {what}"),
    }
}

/// Reads until the empty line, which is taken as well. `None` at the end of the file.
pub(super) async fn read_head<S: AsyncRead + Unpin>(
    stream: &mut S,
    buffer: &mut Vec<u8>,
) -> Option<String> {
    loop {
        if let Some(end) = buffer.windows(4).position(|part| part == b"\r\n\r\n") {
            let head = buffer.drain(..end + 4).collect();
            return String::from_utf8(head).ok();
        }
        if stream.read_buf(buffer).await.ok()? == 0 {
            return None;
        }
    }
}

pub(super) async fn read_exact<S: AsyncRead + Unpin>(
    stream: &mut S,
    buffer: &mut Vec<u8>,
    count: usize,
) -> Option<Vec<u8>> {
    while buffer.len() < count {
        if stream.read_buf(buffer).await.ok()? == 0 {
            return None;
        }
    }
    Some(buffer.drain(..count).collect())
}

pub(super) fn header<'a>(head: &'a str, name: &str) -> Option<&'a str> {
    head.lines().find_map(|line| {
        let (found, value) = line.split_once(':')?;
        found.eq_ignore_ascii_case(name).then_some(value.trim())
    })
}

/// A response as the raw client reads it.
#[derive(Debug)]
pub(super) struct Answer {
    pub(super) head: String,
    pub(super) body: String,
}

impl Answer {
    pub(super) fn status(&self) -> u16 {
        self.head.split(' ').nth(1).and_then(|status| status.parse().ok()).expect("a status line")
    }
}

/// An HTTP/1 client that says exactly what it is told.
pub(super) struct RawClient<S> {
    pub(super) stream: S,
    pub(super) buffer: Vec<u8>,
}

impl<S: AsyncRead + AsyncWrite + Unpin> RawClient<S> {
    pub(super) fn new(stream: S) -> Self {
        Self { stream, buffer: Vec::new() }
    }

    pub(super) async fn send(&mut self, bytes: impl AsRef<[u8]>) {
        self.stream.write_all(bytes.as_ref()).await.expect("taken");
        self.stream.flush().await.expect("taken");
    }

    pub(super) async fn answer(&mut self) -> Answer {
        within("an answer", async {
            let head = read_head(&mut self.stream, &mut self.buffer).await.expect("a head");
            let length = header(&head, "content-length").unwrap_or("0").parse().expect("a number");
            let body =
                read_exact(&mut self.stream, &mut self.buffer, length).await.expect("a body");
            Answer { head, body: String::from_utf8(body).expect("text") }
        })
        .await
    }

    pub(super) async fn get(&mut self, path: &str) -> Answer {
        self.send(format!("GET {path} HTTP/1.1\r\nHost: shop.example\r\n\r\n")).await;
        self.answer().await
    }

    /// What still comes until the connection ends well; over TLS that takes a close_notify.
    pub(super) async fn rest(&mut self) -> Vec<u8> {
        let mut rest = std::mem::take(&mut self.buffer);
        within("the end", self.stream.read_to_end(&mut rest)).await.expect("a clean end");
        rest
    }
}
