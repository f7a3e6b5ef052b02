//! Real sockets, with the crate's server at the other end.

use std::future::poll_fn;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use h2::RecvStream;
use h2::server::{self, SendResponse};
use http::{HeaderMap, Method, Request, Response};
use tokio::io::AsyncWriteExt;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

use super::{Head, Stream};
use crate::upstream::verdict::Failure;
use crate::upstream::way::{Pool, Ways};
use crate::upstream::{
    Address, Balance, EndpointSettings, NextUpstream, Protocol, Timeouts, TlsSettings,
    UpstreamSettings,
};
use crate::wire::fields::Fields;
use crate::wire::framing::Framing;
use crate::wire::response::ResponseHead;
use crate::wire::write::Announce;

mod connecting;
mod ending;
mod messages;
mod sharing;

/// A listener, and a pool that has it as its only endpoint.
struct Worker {
    listener: TcpListener,
    pool: Pool,
}

/// One connection at the worker's end.
struct Served {
    requests: mpsc::UnboundedReceiver<(Request<RecvStream>, SendResponse<Bytes>)>,
    orders: mpsc::UnboundedSender<Order>,
    /// Ends with the connection.
    task: JoinHandle<()>,
}

enum Order {
    /// GOAWAY, and the end once all streams have ended.
    Finish,
    /// The end, at once and without a word.
    Die,
}

impl Worker {
    async fn new() -> Self {
        Self::with(Timeouts::default(), None).await
    }

    async fn with(timeouts: Timeouts, tls: Option<TlsSettings>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("loopback");
        let address = Address::Inet(listener.local_addr().expect("bound"));
        let settings = UpstreamSettings {
            name: "grpc".to_owned(),
            host: None,
            balance: Balance::RoundRobin,
            queue: None,
            protocol: Protocol::Http2,
            endpoints: vec![EndpointSettings::new(address)],
            names: Vec::new(),
            resolved_by: None,
            check: None,
            timeouts,
            next: NextUpstream::default(),
            tls,
        };
        let pool = Pool::new(Arc::new(Ways::new(&[settings]).expect("good settings")), 8);
        Self { listener, pool }
    }

    fn stream(&self) -> Stream {
        self.stream_since(None)
    }

    fn stream_since(&self, since: Option<Instant>) -> Stream {
        self.pool.stream_to_known(since, Instant::now())
    }

    async fn tcp(&self) -> TcpStream {
        self.listener.accept().await.expect("a connection").0
    }

    async fn accept(&self) -> Served {
        self.accept_as(&server::Builder::new()).await
    }

    async fn accept_as(&self, builder: &server::Builder) -> Served {
        let handshake = builder.handshake::<_, Bytes>(self.tcp().await);
        let mut connection = handshake.await.expect("a client");
        let (sender, requests) = mpsc::unbounded_channel();
        let (orders, mut ordered) = mpsc::unbounded_channel();
        let task = tokio::spawn(async move {
            loop {
                tokio::select! {
                    accepted = connection.accept() => match accepted {
                        Some(Ok(accepted)) => drop(sender.send(accepted)),
                        Some(Err(_)) | None => return,
                    },
                    Some(order) = ordered.recv() => match order {
                        Order::Finish => connection.graceful_shutdown(),
                        Order::Die => return,
                    },
                }
            }
        });
        Served { requests, orders, task }
    }

    /// A connection with its first stream, begun as a GET.
    async fn first(&self) -> (Served, Stream) {
        let mut stream = self.stream();
        let (served, ready) = tokio::join!(self.accept(), stream.ready());
        assert_eq!(ready, Ok(true));
        get(&mut stream);
        (served, stream)
    }
}

impl Served {
    async fn next(&mut self) -> (Request<RecvStream>, SendResponse<Bytes>) {
        self.requests.recv().await.expect("a request")
    }

    fn order(&self, order: Order) {
        assert!(self.orders.send(order).is_ok(), "it is served");
    }
}

fn get(stream: &mut Stream) {
    begin(stream, &Method::GET, Announce::Nothing, true);
}

fn begin(stream: &mut Stream, method: &Method, announce: Announce, is_last: bool) {
    let mut fields = Fields::new();
    fields.push(b"Host", b"shop.internal").expect("it is writable");
    let head = Head { method, target: b"/path", fields: &fields, announce };
    stream.begin(&head, is_last).expect("it can be said");
}

async fn head(stream: &mut Stream) -> Result<(ResponseHead, Framing), Failure> {
    head_to(stream, &Method::GET).await
}

async fn head_to(stream: &mut Stream, method: &Method) -> Result<(ResponseHead, Framing), Failure> {
    let mut head = ResponseHead::default();
    let framing = poll_fn(|cx| stream.poll_head(cx, method, &mut head)).await?;
    Ok((head, framing))
}

/// What is left of the body.
async fn body(stream: &mut Stream) -> Result<Vec<u8>, super::stream::Incomplete> {
    let mut body = Vec::new();
    while let Some(length) = poll_fn(|cx| stream.poll_piece(cx)).await? {
        body.extend_from_slice(stream.piece());
        stream.consume(length);
    }
    Ok(body)
}

async fn send(stream: &mut Stream, mut bytes: &[u8]) {
    while !bytes.is_empty() {
        let taken = poll_fn(|cx| stream.poll_send(cx, bytes)).await.expect("it is taken");
        bytes = &bytes[taken..];
    }
}

/// An answer without a body.
fn answer(respond: &mut SendResponse<Bytes>, status: u16) {
    respond.send_response(response(status), true).expect("the stream is open");
}

fn response(status: u16) -> Response<()> {
    Response::builder().status(status).body(()).expect("a status")
}

/// Waits for what the other end's doing leads to.
async fn eventually(what: &str, mut is_so: impl FnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(20);
    while !is_so() {
        assert!(Instant::now() < deadline, "{what}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// Gives both ends time for what must not happen.
async fn settle() {
    tokio::time::sleep(Duration::from_millis(20)).await;
}
