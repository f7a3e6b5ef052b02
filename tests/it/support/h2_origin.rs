//! A scripted worker that speaks HTTP/2: the test answers each stream, and ends connections.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use bytes::Bytes;
use h2::server::{Builder, SendResponse};
use h2::{RecvStream, SendStream};
use http::request::Parts;
use http::{HeaderMap, Response};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpListener;
use tokio::sync::{broadcast, mpsc};
use tokio::task::JoinHandle;
use tokio_rustls::TlsAcceptor;

use super::{loopback, within};

/// The worker.
pub struct H2Origin {
    pub address: SocketAddr,
    streams: mpsc::UnboundedReceiver<H2Exchange>,
    connections: Arc<AtomicUsize>,
    orders: broadcast::Sender<Order>,
    acceptor: JoinHandle<()>,
}

/// What becomes of all connections.
#[derive(Clone, Copy, Debug)]
enum Order {
    Finish,
    Die,
}

/// A request that waits for its answer.
pub struct H2Exchange {
    pub head: Parts,
    pub body: RecvStream,
    pub respond: SendResponse<Bytes>,
    /// Counts the worker's connections, from 0.
    pub connection: usize,
}

impl H2Origin {
    /// Listens for HTTP/2 without TLS.
    pub async fn start() -> Self {
        Self::start_as(Builder::new()).await
    }

    /// The same with other settings.
    pub async fn start_as(builder: Builder) -> Self {
        Self::listen(builder, None).await
    }

    /// Listens for HTTP/2 over TLS.
    pub async fn start_tls(config: Arc<rustls::ServerConfig>) -> Self {
        Self::listen(Builder::new(), Some(TlsAcceptor::from(config))).await
    }

    async fn listen(builder: Builder, tls: Option<TlsAcceptor>) -> Self {
        let listener = TcpListener::bind(loopback(0)).await.expect("loopback has free ports");
        let address = listener.local_addr().expect("the socket is bound");
        let (sender, streams) = mpsc::unbounded_channel();
        let (orders, _) = broadcast::channel(8);
        let connections = Arc::new(AtomicUsize::new(0));
        let (counted, ordered) = (connections.clone(), orders.clone());
        let acceptor = tokio::spawn(async move {
            while let Ok((tcp, _)) = listener.accept().await {
                let number = counted.fetch_add(1, Ordering::Relaxed);
                let (builder, sender) = (builder.clone(), sender.clone());
                let (tls, orders) = (tls.clone(), ordered.subscribe());
                tokio::spawn(async move {
                    match tls {
                        None => serve(tcp, &builder, number, sender, orders).await,
                        Some(tls) => {
                            if let Ok(tcp) = tls.accept(tcp).await {
                                serve(tcp, &builder, number, sender, orders).await;
                            }
                        }
                    }
                });
            }
        });
        Self { address, streams, connections, orders, acceptor }
    }

    /// The next request.
    pub async fn next(&mut self) -> H2Exchange {
        let next = within("a request at the HTTP/2 worker", self.streams.recv()).await;
        next.expect("the acceptor lives as long as the worker")
    }

    /// How many connections were accepted so far.
    pub fn connections(&self) -> usize {
        self.connections.load(Ordering::Relaxed)
    }

    /// All connections say GOAWAY, and end once their streams have.
    pub fn go_away(&self) {
        let _ = self.orders.send(Order::Finish);
    }

    /// All connections end at once and without a word.
    pub fn die(&self) {
        let _ = self.orders.send(Order::Die);
    }
}

impl Drop for H2Origin {
    fn drop(&mut self) {
        self.acceptor.abort();
    }
}

async fn serve<T: AsyncRead + AsyncWrite + Unpin>(
    transport: T,
    builder: &Builder,
    connection: usize,
    sender: mpsc::UnboundedSender<H2Exchange>,
    mut orders: broadcast::Receiver<Order>,
) {
    let Ok(mut frames) = builder.handshake::<_, Bytes>(transport).await else { return };
    loop {
        tokio::select! {
            accepted = frames.accept() => match accepted {
                Some(Ok((request, respond))) => {
                    let (head, body) = request.into_parts();
                    let _ = sender.send(H2Exchange { head, body, respond, connection });
                }
                Some(Err(_)) | None => return,
            },
            Ok(order) = orders.recv() => match order {
                Order::Finish => frames.graceful_shutdown(),
                Order::Die => return,
            },
        }
    }
}

impl H2Exchange {
    pub fn field(&self, name: &str) -> Option<&str> {
        self.head.headers.get(name).map(|value| value.to_str().expect("text"))
    }

    /// The whole body, and its trailers.
    pub async fn read(&mut self) -> (Vec<u8>, Option<HeaderMap>) {
        let reading = async {
            let mut whole = Vec::new();
            while let Some(piece) = self.body.data().await {
                let piece = piece.expect("the body is whole");
                whole.extend_from_slice(&piece);
                self.body.flow_control().release_capacity(piece.len()).expect("it was taken");
            }
            (whole, self.body.trailers().await.expect("the body is whole"))
        };
        within("the body of a request", reading).await
    }

    /// Answers with a status and a body that is there.
    pub fn answer(mut self, status: u16, body: &str) {
        let length = body.len().to_string();
        let mut sending = self.begin(status, &[("content-length", &length)], body.is_empty());
        if !body.is_empty() {
            let body = Bytes::copy_from_slice(body.as_bytes());
            sending.send_data(body, true).expect("the stream is open");
        }
    }

    /// Begins an answer.
    pub fn begin(
        &mut self,
        status: u16,
        fields: &[(&str, &str)],
        is_last: bool,
    ) -> SendStream<Bytes> {
        let mut head = Response::builder().status(status);
        for (name, value) in fields {
            head = head.header(*name, *value);
        }
        let head = head.body(()).expect("the answer is well-formed");
        self.respond.send_response(head, is_last).expect("the stream is open")
    }
}
