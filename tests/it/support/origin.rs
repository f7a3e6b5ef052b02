//! A scripted origin: each request's raw bytes go to the test, and the test says what to answer,
//! byte for byte and when.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinHandle;
use tokio_rustls::TlsAcceptor;

use super::client::Stream;
use super::http::{Body, Broken, Fields, Framing, Head, Wire, framing, show};
use super::tls::Certificate;
use super::{loopback, within};

/// A request that an origin received.
#[derive(Clone, Debug)]
pub struct Request {
    pub method: String,
    pub target: String,
    pub head: Head,
    /// Empty until it was read.
    pub body: Body,
    pub peer: SocketAddr,
    /// Counts the origin's connections, from 0.
    pub connection: usize,
}

impl Request {
    pub fn fields(&self) -> &Fields {
        &self.head.fields
    }

    pub fn field(&self, name: &str) -> Option<String> {
        self.head.fields.one(name)
    }

    /// Head and body as they were on the wire.
    pub fn raw(&self) -> Vec<u8> {
        [self.head.raw.as_slice(), self.body.raw.as_slice()].concat()
    }
}

/// An origin whose every answer the test writes.
pub struct Origin {
    pub address: SocketAddr,
    exchanges: mpsc::UnboundedReceiver<Exchange>,
    waiting: VecDeque<Exchange>,
    connections: Arc<AtomicUsize>,
    acceptor: JoinHandle<()>,
}

impl Origin {
    /// Listens for plain HTTP/1.1.
    pub async fn start() -> Self {
        Self::listen(None).await
    }

    /// Listens for HTTP/1.1 over TLS.
    pub async fn start_tls(certificate: &Certificate) -> Self {
        Self::start_tls_for(certificate, None).await
    }

    /// The same, for clients that show this certificate.
    pub async fn start_tls_for(certificate: &Certificate, client: Option<&Certificate>) -> Self {
        let config = certificate.server_config_for(client, &["http/1.1"]);
        Self::listen(Some(TlsAcceptor::from(config))).await
    }

    async fn listen(tls: Option<TlsAcceptor>) -> Self {
        let listener = TcpListener::bind(loopback(0)).await.expect("loopback has free ports");
        let address = listener.local_addr().expect("the socket is bound");
        let (sender, exchanges) = mpsc::unbounded_channel();
        let connections = Arc::new(AtomicUsize::new(0));
        let acceptor = tokio::spawn(accept(listener, tls, sender, connections.clone()));
        Self { address, exchanges, waiting: VecDeque::new(), connections, acceptor }
    }

    /// The next request with all of its body.
    pub async fn next(&mut self) -> Exchange {
        let mut exchange = self.next_head().await;
        exchange.read_body().await.unwrap_or_else(|problem| panic!("request body: {problem}"));
        exchange
    }

    /// The next request as soon as its head is there.
    pub async fn next_head(&mut self) -> Exchange {
        if let Some(exchange) = self.waiting.pop_front() {
            return exchange;
        }
        within("a request at the origin", self.exchanges.recv())
            .await
            .expect("the acceptor lives as long as the origin")
    }

    /// Answers the next request and returns it.
    pub async fn answer(&mut self, raw: impl AsRef<[u8]>) -> Request {
        let exchange = self.next().await;
        let request = exchange.request.clone();
        exchange.respond(raw).await;
        request
    }

    /// How many requests have arrived that nobody asked for yet.
    pub fn waiting(&mut self) -> usize {
        while let Ok(exchange) = self.exchanges.try_recv() {
            self.waiting.push_back(exchange);
        }
        self.waiting.len()
    }

    /// How many connections were accepted so far.
    pub fn connections(&self) -> usize {
        self.connections.load(Ordering::SeqCst)
    }

    /// Refuses connections from now on; those that are open live on.
    pub fn stop_listening(&self) {
        self.acceptor.abort();
    }
}

impl Drop for Origin {
    fn drop(&mut self) {
        self.acceptor.abort();
    }
}

/// One request in the test's hands. Dropping it unanswered closes the connection.
pub struct Exchange {
    pub request: Request,
    wire: Wire<Box<dyn Stream>>,
    back: oneshot::Sender<Wire<Box<dyn Stream>>>,
}

impl Exchange {
    /// Reads what has not been read of the request's body.
    pub async fn read_body(&mut self) -> Result<(), Broken> {
        if self.request.body == Body::default() {
            let framing = framing(self.request.fields(), Framing::None)?;
            self.request.body = within("a request body", self.wire.read_body(framing)).await?;
        }
        Ok(())
    }

    /// Some bytes of the body as they are on the wire; empty at the peer's orderly end.
    pub async fn read_some(&mut self) -> Result<Vec<u8>, Broken> {
        within("some bytes of a request", self.wire.read_some()).await
    }

    /// Writes a part of the answer, or an interim one.
    pub async fn write(&mut self, raw: impl AsRef<[u8]>) {
        let raw = raw.as_ref();
        within("the bytes to be taken", self.wire.write(raw))
            .await
            .unwrap_or_else(|problem| panic!("cannot answer {}: {problem}", show(raw)));
    }

    /// Writes the answer, or the rest of it, and keeps the connection for the next request.
    pub async fn respond(mut self, raw: impl AsRef<[u8]>) {
        self.write(raw).await;
        // Nobody to take it back: the origin is being dropped.
        let _ = self.back.send(self.wire);
    }

    /// Closes our direction; what the peer sends can still be read.
    pub async fn finish(&mut self) {
        // The peer may be gone already.
        let _ = self.wire.shutdown().await;
    }

    /// Closes the connection, whatever was written until now.
    pub async fn close(mut self) {
        // The peer may be gone already.
        let _ = self.wire.shutdown().await;
    }

    /// Hangs up with a reset.
    pub fn reset(self) {
        self.wire.stream().tcp().set_zero_linger().expect("the socket is open");
    }

    /// Waits until the peer has closed the connection or reset it.
    pub async fn peer_closed(&mut self) {
        loop {
            match within("the peer to close", self.wire.read_some()).await {
                Ok(bytes) if !bytes.is_empty() => {}
                _ => return,
            }
        }
    }
}

/// An origin that answers by itself and keeps what it received.
pub struct Responder {
    pub address: SocketAddr,
    seen: Arc<Mutex<Vec<Request>>>,
    task: JoinHandle<()>,
}

impl Responder {
    /// Answers each request with the bytes that `answer` makes of it.
    pub async fn start(answer: impl Fn(&Request) -> Vec<u8> + Send + 'static) -> Self {
        let mut origin = Origin::start().await;
        let address = origin.address;
        let seen = Arc::new(Mutex::new(Vec::new()));
        let log = seen.clone();
        let task = tokio::spawn(async move {
            // No bound here: a responder may well be idle for longer than a test waits.
            while let Some(mut exchange) = origin.exchanges.recv().await {
                if exchange.read_body().await.is_ok() {
                    let raw = answer(&exchange.request);
                    log.lock().expect("no holder panics").push(exchange.request.clone());
                    if exchange.wire.write(&raw).await.is_ok() {
                        let _ = exchange.back.send(exchange.wire);
                    }
                }
            }
        });
        Self { address, seen, task }
    }

    /// The requests so far, in the order of their answers.
    pub fn seen(&self) -> Vec<Request> {
        self.seen.lock().expect("no holder panics").clone()
    }

    pub fn last(&self) -> Request {
        self.seen().pop().expect("a request has arrived")
    }
}

impl Drop for Responder {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn accept(
    listener: TcpListener,
    tls: Option<TlsAcceptor>,
    sender: mpsc::UnboundedSender<Exchange>,
    connections: Arc<AtomicUsize>,
) {
    while let Ok((tcp, peer)) = listener.accept().await {
        let number = connections.fetch_add(1, Ordering::SeqCst);
        tokio::spawn(serve(tcp, tls.clone(), peer, number, sender.clone()));
    }
}

async fn serve(
    tcp: TcpStream,
    tls: Option<TlsAcceptor>,
    peer: SocketAddr,
    connection: usize,
    sender: mpsc::UnboundedSender<Exchange>,
) {
    // Answers written in parts must leave in parts.
    let _ = tcp.set_nodelay(true);
    let stream: Box<dyn Stream> = match tls {
        None => Box::new(tcp),
        // A handshake that fails is the client's to report.
        Some(acceptor) => match acceptor.accept(tcp).await {
            Ok(stream) => Box::new(stream),
            Err(_) => return,
        },
    };
    let mut wire = Wire::new(stream);
    // Anything but a head is the end: an idle connection that closes, or bytes that make no head,
    // which the test notices by waiting for its request in vain.
    while let Ok(head) = wire.read_head().await {
        let mut parts = head.start.splitn(3, ' ').map(str::to_owned);
        let request = Request {
            method: parts.next().unwrap_or_default(),
            target: parts.next().unwrap_or_default(),
            head,
            body: Body::default(),
            peer,
            connection,
        };
        let (back, returned) = oneshot::channel();
        if sender.send(Exchange { request, wire, back }).is_err() {
            return;
        }
        match returned.await {
            Ok(again) => wire = again,
            Err(_) => return,
        }
    }
}
