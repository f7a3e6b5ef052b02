//! A worker with a small service, an origin on loopback, and raw clients.

mod drain;
mod http1;
mod http2;
mod limits;

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use pingora_core::upstreams::peer::HttpPeer;
use pingora_http::ResponseHeader;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::task::JoinHandle;

use super::*;
use crate::clock::Clock;
use crate::listen::{
    Certificates, Gate, Inherited, ListenerSettings, TlsSettings, TlsVersion, info::Tls, tls,
};

const LONG: Duration = Duration::from_secs(20);
const SHORT: Duration = Duration::from_millis(150);

/// What the service saw of a request.
#[derive(Clone, Debug)]
struct Seen {
    path: String,
    connection: u64,
    redirect_to_https: Option<u16>,
    tls: Option<Tls>,
}

/// Forwards to the origin; answers some paths itself.
struct Service {
    origin: SocketAddr,
    limits: Limits,
    seen: Arc<Mutex<Vec<Seen>>>,
}

#[async_trait]
impl ProxyHttp for Service {
    type CTX = ();

    fn new_ctx(&self) {}

    fn init_downstream_modules(&self, _: &mut pingora_core::modules::http::HttpModules) {}

    async fn early_request_filter(
        &self,
        session: &mut Session,
        (): &mut (),
    ) -> Result<(), Box<Error>> {
        request_head_complete(session, &self.limits)?;
        let info = conn_info(session).expect("every request comes on a connection of ours");
        let seen = Seen {
            path: session.req_header().uri.path().to_owned(),
            connection: info.id(),
            redirect_to_https: info.redirect_to_https(),
            tls: info.tls().cloned(),
        };
        assert!(info.peer().ip().is_loopback() && info.local().ip().is_loopback());
        if seen.path == "/cut" {
            info.close();
        }
        self.seen.lock().expect("no panic").push(seen);
        Ok(())
    }

    async fn request_filter(&self, session: &mut Session, (): &mut ()) -> Result<bool, Box<Error>> {
        if session.req_header().uri.path() == "/too-large" {
            // An answer to a body that is still on its way.
            let mut head = ResponseHeader::build(413, Some(1))?;
            head.insert_header("Content-Length", "0")?;
            session.set_keepalive(None);
            session.write_response_header(Box::new(head), true).await?;
            return Ok(true);
        }
        Ok(false)
    }

    async fn upstream_peer(
        &self,
        _: &mut Session,
        (): &mut (),
    ) -> Result<Box<HttpPeer>, Box<Error>> {
        Ok(Box::new(HttpPeer::new(self.origin, false, String::new())))
    }
}

/// A worker, its origin and the way to both.
struct Proxy {
    address: SocketAddr,
    gate: Arc<Gate>,
    shutdown: watch::Sender<Shutdown>,
    worker: JoinHandle<io::Result<()>>,
    seen: Arc<Mutex<Vec<Seen>>>,
    refused: Arc<Mutex<Vec<u16>>>,
    origin: Origin,
    _certificates: tempfile::TempDir,
    trusted: Arc<rustls::ClientConfig>,
}

#[derive(Clone, Copy)]
enum Transport {
    Plain,
    Tls,
}

impl Proxy {
    async fn start(limits: Limits) -> Self {
        Self::start_over(Transport::Plain, limits).await
    }

    async fn start_over(transport: Transport, limits: Limits) -> Self {
        tls::install_provider();
        let certificates = tempfile::tempdir().expect("temporary");
        let tls = match transport {
            Transport::Plain => None,
            Transport::Tls => Some(TlsSettings {
                certificates: Certificates::SelfSigned {
                    names: vec!["shop.example".to_owned()],
                    directory: certificates.path().to_owned(),
                },
                min_version: TlsVersion::Tls12,
                client_certificates: None,
            }),
        };
        let settings = ListenerSettings {
            address: "127.0.0.1:0".parse().expect("an address"),
            tls,
            protocols: vec![Protocol::Http2, Protocol::Http1],
            redirect_to_https: Some(8443),
        };
        let opened = listen::open(&[settings], &mut Inherited::default(), Clock::System.now())
            .expect("loopback");
        let trusted = client_config(certificates.path());
        let address = opened.listeners[0].address();
        let origin = Origin::start().await;
        let gate = Gate::new(limits.connections);
        let (seen, refused) = (Arc::default(), Arc::<Mutex<Vec<u16>>>::default());
        let service = Service { origin: origin.address, limits, seen: Arc::clone(&seen) };
        let context = Context::new(limits, gate.clone());
        let report = refused.clone();
        let worker = Worker::new(service, &UpstreamPool::default(), context).on_refused(Arc::new(
            move |info, status| {
                assert!(info.peer().ip().is_loopback());
                report.lock().expect("no panic").push(status);
            },
        ));
        let (shutdown, told) = watch::channel(Shutdown::Running);
        let worker = tokio::spawn(worker.run(opened.listeners, told));
        Self {
            address,
            gate,
            shutdown,
            worker,
            seen,
            refused,
            origin,
            _certificates: certificates,
            trusted,
        }
    }

    async fn connect(&self) -> TcpStream {
        TcpStream::connect(self.address).await.expect("listening")
    }

    async fn connect_tls(&self, alpn: &[u8]) -> tokio_rustls::client::TlsStream<TcpStream> {
        let mut config = (*self.trusted).clone();
        config.alpn_protocols = vec![alpn.to_vec()];
        let name = rustls::pki_types::ServerName::try_from("Shop.example").expect("a name");
        tokio_rustls::TlsConnector::from(Arc::new(config))
            .connect(name, self.connect().await)
            .await
            .expect("the certificate is trusted")
    }

    fn paths(&self) -> Vec<String> {
        self.seen.lock().expect("no panic").iter().map(|seen| seen.path.clone()).collect()
    }

    fn refused(&self) -> Vec<u16> {
        self.refused.lock().expect("no panic").clone()
    }

    async fn until(&self, what: &str, condition: impl Fn(&Self) -> bool) {
        within(what, async {
            while !condition(self) {
                tokio::time::sleep(Duration::from_millis(2)).await;
            }
        })
        .await;
    }

    /// Waits for the worker to return by itself.
    async fn returned(self) {
        within("the worker returns", self.worker).await.expect("no panic").expect("served");
    }
}

fn client_config(certificates: &std::path::Path) -> Arc<rustls::ClientConfig> {
    use rustls::pki_types::{CertificateDer, pem::PemObject};
    let mut roots = rustls::RootCertStore::empty();
    if let Ok(made) = CertificateDer::from_pem_file(certificates.join("self-signed.pem")) {
        roots.add(made).expect("a certificate");
    }
    Arc::new(rustls::ClientConfig::builder().with_root_certificates(roots).with_no_client_auth())
}

async fn within<F: Future>(what: &str, future: F) -> F::Output {
    match tokio::time::timeout(LONG, future).await {
        Ok(output) => output,
        Err(_) => panic!("took too long: {what}"),
    }
}

/// An application with keep-alive. `/held…` waits for [`release`](Self::release); `/trickle` sends
/// half of its answer before it waits; `/big` sends 32 MiB; `/upgrade` echoes. All others say what
/// they got.
struct Origin {
    address: SocketAddr,
    permits: Arc<Semaphore>,
    arrived: Arc<Mutex<Vec<String>>>,
    server: JoinHandle<()>,
}

impl Origin {
    async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("loopback");
        let address = listener.local_addr().expect("bound");
        let permits = Arc::new(Semaphore::new(0));
        let arrived = Arc::new(Mutex::new(Vec::new()));
        let server = tokio::spawn({
            let (permits, arrived) = (permits.clone(), arrived.clone());
            async move {
                while let Ok((stream, _)) = listener.accept().await {
                    tokio::spawn(serve_origin(stream, permits.clone(), arrived.clone()));
                }
            }
        });
        Self { address, permits, arrived, server }
    }

    fn release(&self) {
        self.permits.add_permits(1);
    }

    fn has(&self, path: &str) -> bool {
        self.arrived.lock().expect("no panic").iter().any(|one| one == path)
    }
}

impl Drop for Origin {
    fn drop(&mut self) {
        self.server.abort();
    }
}

async fn serve_origin(
    mut stream: TcpStream,
    permits: Arc<Semaphore>,
    arrived: Arc<Mutex<Vec<String>>>,
) -> Option<()> {
    let mut buffer = Vec::new();
    loop {
        let head = read_head(&mut stream, &mut buffer).await?;
        let mut words = head.split(' ');
        let (method, path) = (words.next()?.to_owned(), words.next()?.to_owned());
        let body = read_request_body(&mut stream, &mut buffer, &head).await?;
        arrived.lock().expect("no panic").push(path.clone());
        let text = format!("{method} {path} {}", String::from_utf8_lossy(&body));
        if path.starts_with("/held") {
            permits.acquire().await.ok()?.forget();
        }
        match path.as_str() {
            "/trickle" => {
                stream
                    .write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nfirst")
                    .await
                    .ok()?;
                permits.acquire().await.ok()?.forget();
                stream.write_all(b"-last").await.ok()?;
            }
            "/big" => {
                let size = 32 << 20;
                let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {size}\r\n\r\n");
                stream.write_all(head.as_bytes()).await.ok()?;
                stream.write_all(&vec![b'x'; size]).await.ok()?;
            }
            "/upgrade" => {
                let head = "HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\n\
                            Upgrade: websocket\r\n\r\n";
                stream.write_all(head.as_bytes()).await.ok()?;
                let (mut read, mut write) = stream.split();
                tokio::io::copy(&mut read, &mut write).await.ok()?;
                return Some(());
            }
            _ => {
                let answer =
                    format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{text}", text.len());
                stream.write_all(answer.as_bytes()).await.ok()?;
            }
        }
    }
}

/// Reads until the empty line, which is taken as well. `None` at the end of the file.
async fn read_head<S: AsyncRead + Unpin>(stream: &mut S, buffer: &mut Vec<u8>) -> Option<String> {
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

async fn read_exact<S: AsyncRead + Unpin>(
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

fn header<'a>(head: &'a str, name: &str) -> Option<&'a str> {
    head.lines().find_map(|line| {
        let (found, value) = line.split_once(':')?;
        found.eq_ignore_ascii_case(name).then_some(value.trim())
    })
}

async fn read_request_body<S: AsyncRead + Unpin>(
    stream: &mut S,
    buffer: &mut Vec<u8>,
    head: &str,
) -> Option<Vec<u8>> {
    if let Some(length) = header(head, "content-length") {
        return read_exact(stream, buffer, length.parse().ok()?).await;
    }
    let mut body = Vec::new();
    while header(head, "transfer-encoding").is_some() {
        let mut line = Vec::new();
        while !line.ends_with(b"\r\n") {
            line.extend(read_exact(stream, buffer, 1).await?);
        }
        let size = usize::from_str_radix(std::str::from_utf8(&line).ok()?.trim(), 16).ok()?;
        let chunk = read_exact(stream, buffer, size + 2).await?;
        if size == 0 {
            break;
        }
        body.extend_from_slice(&chunk[..size]);
    }
    Some(body)
}

/// A response as the raw client reads it.
#[derive(Debug)]
struct Answer {
    head: String,
    body: String,
}

impl Answer {
    fn status(&self) -> u16 {
        self.head.split(' ').nth(1).and_then(|status| status.parse().ok()).expect("a status line")
    }
}

/// An HTTP/1 client that says exactly what it is told.
struct Client<S> {
    stream: S,
    buffer: Vec<u8>,
}

impl<S: AsyncRead + AsyncWrite + Unpin> Client<S> {
    fn new(stream: S) -> Self {
        Self { stream, buffer: Vec::new() }
    }

    async fn send(&mut self, bytes: impl AsRef<[u8]>) {
        self.stream.write_all(bytes.as_ref()).await.expect("taken");
        self.stream.flush().await.expect("taken");
    }

    async fn answer(&mut self) -> Answer {
        within("an answer", async {
            let head = read_head(&mut self.stream, &mut self.buffer).await.expect("a head");
            let length = header(&head, "content-length").unwrap_or("0").parse().expect("a number");
            let body =
                read_exact(&mut self.stream, &mut self.buffer, length).await.expect("a body");
            Answer { head, body: String::from_utf8(body).expect("text") }
        })
        .await
    }

    async fn get(&mut self, path: &str) -> Answer {
        self.send(format!("GET {path} HTTP/1.1\r\nHost: shop.example\r\n\r\n")).await;
        self.answer().await
    }

    /// What still comes until the connection ends well; over TLS that takes a close_notify.
    async fn rest(&mut self) -> Vec<u8> {
        let mut rest = std::mem::take(&mut self.buffer);
        within("the end", self.stream.read_to_end(&mut rest)).await.expect("a clean end");
        rest
    }
}

#[tokio::test]
async fn settings_with_bytes_of_the_next_request_are_recognised() {
    let (stream, _peer) = tokio::io::duplex(16);
    let session = ServerSession::new_http1(Box::new(stream));
    let mut settings = HttpPersistentSettings::for_session(&session);
    settings.set_user_context(Box::new("pipelined_prefix: Some"));
    assert!(!holds_pipelined_bytes(&settings));
    settings.set_pipelined_prefix(bytes::BytesMut::from(&b"None"[..]));
    assert!(holds_pipelined_bytes(&settings));
    settings.set_pipelined_prefix(bytes::BytesMut::from(&b"G"[..]));
    assert!(holds_pipelined_bytes(&settings));
}

/// Room for bodies in HTTP/2 tests.
fn body(text: &'static str) -> Bytes {
    Bytes::from_static(text.as_bytes())
}

#[test]
fn connection_that_waits_holds_nothing_of_a_request() {
    fn size<F: Future>(_: impl FnOnce(&'static Worker<Service>, Conn) -> F) -> usize {
        size_of::<F>()
    }
    let waiting = size(|worker, conn| worker.serve_http1(conn));
    assert!(waiting <= 1024, "the future of a connection has {waiting} bytes");
}
