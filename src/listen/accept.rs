//! One worker's accept loop, TLS handshakes, sweep and drain.

use std::future::{Future, poll_fn};
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::path::Path;
use std::sync::Arc;
use std::task::Poll;
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;
use tokio::io::AsyncReadExt;
use tokio::net::{TcpListener, TcpStream, UnixListener, UnixStream};
use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::MissedTickBehavior;

use super::bind::ListeningSocket;
use super::doors::{Change, Doors, Leave};
use super::gate::{Full, Gate, Permit};
use super::info::{Ends, Info};
use super::proxy_protocol::{self, Broken};
use super::registry::{Registration, Registry};
use super::{Address, Conn, Limits, Listener, Protocol, Shutdown, tls};
use crate::transport::Socket;

/// After a failed accept, usually because no more files may be open, as nginx does.
const ACCEPT_PAUSE: Duration = Duration::from_millis(500);
/// The sweeper's longest and shortest interval.
const SWEEP: (Duration, Duration) = (Duration::from_millis(250), Duration::from_millis(10));

/// What the connections of one worker share.
#[derive(Clone, Debug)]
pub struct Context {
    /// What they are at the moment.
    pub limits: Arc<ArcSwap<Limits>>,
    /// One for all workers.
    pub gate: Arc<Gate>,
    /// One for each worker.
    pub registry: Arc<Registry>,
}

impl Context {
    /// A worker with no connections yet.
    pub fn new(limits: Limits, gate: Arc<Gate>) -> Self {
        let registry = Registry::new();
        gate.watch(&registry);
        Self { limits: Arc::new(ArcSwap::from_pointee(limits)), gate, registry }
    }
}

/// Serves until told otherwise. Each connection becomes a task of the current runtime that does the
/// TLS handshake and then what `begin` has said when its listener was opened; the connection ends when it
/// is dropped.
///
/// What comes by `changes` takes the place of the listeners that there are.
///
/// Draining closes the listeners, after a last look at who is waiting to be accepted, and returns
/// when the last connection has ended. Stopping cuts them all and returns at once.
///
/// # Errors
/// A listener that the runtime cannot take. Nothing is served then.
pub async fn run<B, S, F>(
    listeners: Vec<Listener>,
    context: Context,
    begin: B,
    (mut changes, mut shutdown): (mpsc::UnboundedReceiver<Change>, watch::Receiver<Shutdown>),
) -> io::Result<()>
where
    B: Fn() -> S,
    S: Fn(Box<Conn>) -> F + Clone + Send + 'static,
    F: Future<Output = ()> + Send + 'static,
{
    let mut doors = Doors::new(context.clone(), begin);
    doors.open(listeners)?;
    let Context { limits, registry, .. } = &context;
    let mut tick = tokio::time::interval(interval(&limits.load()));
    tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut told = *shutdown.borrow_and_update();
    let mut draining = false;
    loop {
        match told {
            Shutdown::Running => {}
            Shutdown::Draining if draining => {}
            Shutdown::Draining => {
                draining = true;
                registry.drain(&limits.load(), Instant::now());
                doors.closed().await;
            }
            Shutdown::Stopped => {
                registry.abort();
                return Ok(());
            }
        }
        tokio::select! {
            biased;
            next = next(&mut shutdown) => told = next,
            () = registry.emptied(), if draining => return Ok(()),
            Some(Change { listeners, done }) = changes.recv(), if !draining => {
                let changed = doors.open(listeners);
                tick = tokio::time::interval(interval(&limits.load()));
                tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
                // Whoever asked may have gone.
                let _ = done.send(changed);
            }
            _ = tick.tick() => registry.sweep(&limits.load(), Instant::now()),
        }
    }
}

/// The next thing told. Where nobody is left to tell, it is the end.
async fn next(shutdown: &mut watch::Receiver<Shutdown>) -> Shutdown {
    match shutdown.changed().await {
        Ok(()) => *shutdown.borrow_and_update(),
        Err(_) => Shutdown::Stopped,
    }
}

/// Fine enough for the shortest deadline.
fn interval(limits: &Limits) -> Duration {
    let shortest = limits
        .handshake_timeout
        .min(limits.header_timeout)
        .min(limits.keepalive_timeout)
        .min(limits.send_timeout);
    (shortest / 4).clamp(SWEEP.1, SWEEP.0)
}

/// A listener at work.
#[derive(Clone)]
pub(super) struct Door<S> {
    /// Its number.
    listener: usize,
    /// Plain HTTP where there is none.
    tls: Option<Arc<tls::Store>>,
    redirect_to_https: Option<u16>,
    proxy_protocol: bool,
    speaks_http2: bool,
    /// The path of a unix socket.
    unix: Option<Arc<Path>>,
    context: Context,
    serve: S,
}

/// A socket that connections wait at.
pub(super) enum Waiting {
    Tcp(TcpListener),
    Unix(UnixListener),
}

impl Waiting {
    pub(super) fn new(socket: ListeningSocket) -> io::Result<Self> {
        Ok(match socket {
            ListeningSocket::Tcp(socket) => {
                socket.set_nonblocking(true)?;
                Self::Tcp(TcpListener::from_std(socket)?)
            }
            ListeningSocket::Unix(socket) => {
                socket.set_nonblocking(true)?;
                Self::Unix(UnixListener::from_std(socket)?)
            }
        })
    }

    /// The next connection, with the address of who comes by TCP.
    async fn accept(&self) -> io::Result<(Socket, Option<SocketAddr>)> {
        match self {
            Self::Tcp(socket) => {
                socket.accept().await.map(|(stream, peer)| (Socket::Tcp(stream), Some(peer)))
            }
            Self::Unix(socket) => {
                socket.accept().await.map(|(stream, _)| (Socket::Unix(stream), None))
            }
        }
    }

    /// Those who wait already, without the runtime, which may not have heard of them.
    fn rest(self) -> Vec<(Socket, Option<SocketAddr>)> {
        let mut rest = Vec::new();
        match self {
            Self::Tcp(socket) => {
                let Ok(socket) = socket.into_std() else { return rest };
                while let Ok((stream, peer)) = socket.accept() {
                    let stream =
                        stream.set_nonblocking(true).and_then(|()| TcpStream::from_std(stream));
                    rest.extend(stream.map(|stream| (Socket::Tcp(stream), Some(peer))));
                }
            }
            Self::Unix(socket) => {
                let Ok(socket) = socket.into_std() else { return rest };
                while let Ok((stream, _)) = socket.accept() {
                    let stream =
                        stream.set_nonblocking(true).and_then(|()| UnixStream::from_std(stream));
                    rest.extend(stream.map(|stream| (Socket::Unix(stream), None)));
                }
            }
        }
        rest
    }
}

impl<S, F> Door<S>
where
    S: Fn(Box<Conn>) -> F + Clone + Send + 'static,
    F: Future<Output = ()> + Send + 'static,
{
    pub(super) fn new(listener: &Listener, context: Context, serve: S) -> Self {
        let Listener { number, settings, address, tls, .. } = listener;
        let unix = match address {
            Address::Unix(path) => Some(Arc::from(path.as_path())),
            Address::Tcp(_) => None,
        };
        Self {
            listener: *number,
            tls: tls.clone(),
            redirect_to_https: settings.redirect_to_https,
            proxy_protocol: settings.proxy_protocol,
            speaks_http2: settings.protocols.contains(&Protocol::Http2),
            unix,
            context,
            serve,
        }
    }

    pub(super) async fn accept(self, socket: Waiting, mut leaving: oneshot::Receiver<Leave>) {
        let mut draining = self.context.registry.draining();
        loop {
            tokio::select! {
                biased;
                () = begun(&mut draining) => break,
                leave = &mut leaving => match leave {
                    Ok(Leave::Over) => return,
                    Ok(Leave::Closed) | Err(_) => break,
                },
                accepted = socket.accept() => match accepted {
                    Ok((stream, peer)) => self.admit(stream, peer),
                    Err(error) if is_the_peers(&error) => {
                        tracing::debug!(%error, "connection ended before it was accepted");
                    }
                    Err(error) => {
                        tracing::error!(%error, "cannot accept connections, trying again");
                        tokio::select! {
                            () = begun(&mut draining) => break,
                            () = tokio::time::sleep(ACCEPT_PAUSE) => {}
                        }
                    }
                },
            }
        }
        // Closes the listener. Peers whom the system has let in already get an answer rather than a
        // reset.
        for (stream, peer) in socket.rest() {
            self.admit(stream, peer);
        }
    }

    /// A place for a client. Where all are taken, whoever has done nothing for longest makes room:
    /// connections that are silent keep nobody out.
    fn permit(&self, client: IpAddr) -> Option<Permit> {
        let Context { gate, registry, .. } = &self.context;
        let entered = match gate.enter(client) {
            Err(Full::Everybody) if registry.make_room(Instant::now()) => gate.enter_beyond(client),
            entered => entered,
        };
        entered.inspect_err(|_| gate.refuse()).ok()
    }

    /// Starts the connection's task, where there is room for it.
    fn admit(&self, stream: Socket, peer: Option<SocketAddr>) {
        // Who comes by a unix socket has no address.
        let nowhere = SocketAddr::from(([0, 0, 0, 0], 0));
        let peer = peer.unwrap_or(nowhere);
        let Some(permit) = self.permit(peer.ip()) else {
            tracing::debug!(%peer, "connection refused: the limit is reached");
            return;
        };
        let local = match &stream {
            Socket::Tcp(stream) => {
                let Ok(local) = stream.local_addr() else {
                    return; // gone already
                };
                // Answers leave whole; waiting for more would only delay them.
                let _ = stream.set_nodelay(true);
                local
            }
            Socket::Unix(_) => nowhere,
        };
        let ends = Ends {
            peer,
            local,
            listener: self.listener,
            secure: self.tls.is_some(),
            redirect_to_https: self.redirect_to_https,
            speaks_http2: self.speaks_http2,
            unix: self.unix.clone(),
        };
        let Context { limits, registry, .. } = &self.context;
        let limits = limits.load();
        let info = Info::new(ends, limits.keepalive_requests, Instant::now());
        let place = registry.register(info, permit);
        let (store, serve) = (self.tls.clone(), self.serve.clone());
        let patience = self.proxy_protocol.then_some(limits.header_timeout);
        tokio::spawn(async move {
            let stream = match patience {
                None => stream,
                // Boxed, as below.
                Some(patience) => match Box::pin(proxied(stream, &place, patience)).await {
                    Some(stream) => stream,
                    None => return,
                },
            };
            let conn = match store {
                None => Conn::plain(stream, place),
                // Boxed, so that its state is given back when it is done.
                Some(store) => match Box::pin(handshake(store, stream, place)).await {
                    Some(conn) => conn,
                    None => return,
                },
            };
            serve(conn).await;
        });
    }
}

async fn begun(draining: &mut watch::Receiver<bool>) {
    // An error means that the registry is gone, and this listener has no use without it.
    let _ = draining.wait_for(|begun| *begun).await;
}

/// Errors of accept(2) that concern one connection only.
fn is_the_peers(error: &io::Error) -> bool {
    use io::ErrorKind::{ConnectionAborted, ConnectionRefused, ConnectionReset, Interrupted};
    matches!(error.kind(), ConnectionAborted | ConnectionRefused | ConnectionReset | Interrupted)
}

/// Reads what a load balancer says, and not a byte more: what follows may be TLS.
async fn proxied(mut stream: Socket, place: &Registration, patience: Duration) -> Option<Socket> {
    let reading = async {
        let (mut bytes, mut seen) = (Vec::new(), [0; proxy_protocol::BYTES_MAX]);
        loop {
            let more = stream.peek(&mut seen).await?;
            if more == 0 {
                return Err(io::Error::from(io::ErrorKind::UnexpectedEof));
            }
            let had = bytes.len();
            bytes.extend_from_slice(&seen[..more]);
            let read = proxy_protocol::read(&bytes);
            // What is unread when the socket closes would make the system send a reset.
            let taken = match &read {
                Ok(Some((_, length))) => length - had,
                Ok(None) | Err(Broken) => more,
            };
            stream.read_exact(&mut seen[..taken]).await?;
            match read {
                Ok(Some((proxied, _))) => return Ok(proxied),
                Ok(None) => {}
                Err(Broken) => return Err(io::Error::other("it is no PROXY header")),
            }
        }
    };
    let outcome = tokio::select! {
        read = tokio::time::timeout(patience, reading) => read.unwrap_or_else(|late| Err(late.into())),
        () = poll_fn(|cx| place.poll_abort(cx)) => Err(io::ErrorKind::TimedOut.into()),
    };
    match outcome {
        Ok(proxied) => {
            place.shared().set_proxied(proxied);
            Some(stream)
        }
        Err(error) => {
            tracing::error!(peer = %place.peer(), %error, "broken header of the PROXY protocol");
            None
        }
    }
}

/// Whether what comes is no TLS, so that a request of plain HTTP gets an answer of plain HTTP.
async fn is_plain(stream: &Socket, place: &Registration) -> bool {
    const HANDSHAKE: u8 = 22;
    let mut first = [0; 1];
    let peeked = tokio::select! {
        peeked = stream.peek(&mut first) => peeked.unwrap_or(0),
        () = poll_fn(|cx| place.poll_abort(cx)) => 0,
    };
    // Versions of SSL before 3 begin with a length whose first bit is set.
    peeked == 1 && first[0] != HANDSHAKE && first[0] & 0x80 == 0
}

async fn handshake(
    store: Arc<tls::Store>,
    stream: Socket,
    place: Registration,
) -> Option<Box<Conn>> {
    if is_plain(&stream, &place).await {
        place.shared().set_plain_on_tls();
        return Some(Conn::plain(stream, place));
    }
    let mut accepting = Box::pin(store.accept(stream));
    let outcome = poll_fn(|cx| match place.poll_abort(cx) {
        Poll::Ready(()) => Poll::Ready(Err(io::ErrorKind::TimedOut.into())),
        Poll::Pending => accepting.as_mut().poll(cx),
    })
    .await;
    match outcome {
        Ok((stream, tls)) => {
            let protocol = tls.protocol;
            place.set_tls(tls);
            Some(Conn::tls(stream, place, protocol))
        }
        Err(error) => {
            place.gate().handshake_failed();
            tracing::debug!(peer = %place.peer(), %error, "tls handshake failed");
            None
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sweep_is_fine_enough_for_the_shortest_deadline() {
        let check = |header_timeout: u64, expected: u64| {
            let header_timeout = Duration::from_millis(header_timeout);
            let limits = Limits { header_timeout, ..Limits::default() };
            assert_eq!(interval(&limits), Duration::from_millis(expected), "{header_timeout:?}");
        };
        check(60_000, 250);
        check(400, 100);
        check(8, 10);
    }
}
