//! What is known of a connection, shared by its task, the sweeper and whoever serves its requests.
//!
//! Nothing here needs the connection's own task: the sweeper reads the state, sets an [`Order`] and
//! wakes the task, which obeys in its next read or write. So no connection has a timer of its own,
//! and any thread may end one.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::atomic::{
    AtomicBool, AtomicU8, AtomicU32, AtomicU64,
    Ordering::{AcqRel, Acquire, Relaxed, Release},
};
use std::sync::{Arc, LazyLock, OnceLock};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use atomic_waker::AtomicWaker;
use tokio::sync::watch;

use super::Protocol;
use super::certificate::Names;
use super::proxy_protocol::Proxied;
use super::registry::LINGER;
use crate::transport::x509::Unverified;

/// What a connection is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum State {
    /// The TLS handshake.
    Handshake,
    /// Open, and nothing was sent yet. HTTP/2: no request yet.
    New,
    /// Between two requests.
    Idle,
    /// The head of a request is on its way.
    Header,
    /// A request is being served. HTTP/2: from the first request on.
    Busy,
    /// Nothing more is served; the peer takes the last answer.
    Closing,
}

impl State {
    fn from_bits(bits: u64) -> Self {
        match bits & STATE_BITS {
            0 => Self::Handshake,
            1 => Self::New,
            2 => Self::Idle,
            3 => Self::Header,
            4 => Self::Busy,
            _ => Self::Closing,
        }
    }
}

const STATE_BITS: u64 = 0b111;
const STATE_WIDTH: u32 = 3;

/// What a connection's task is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Order {
    /// Go on.
    Proceed,
    /// Read nothing more: end of file.
    Close,
    /// The head took too long: reading fails. Means nothing once the head is complete.
    Expire,
    /// Every read and write fails from now on.
    Abort,
}

/// What the TLS handshake settled.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tls {
    /// The name that the client asked for (SNI), in lower case.
    pub server_name: Option<Box<str>>,
    /// The protocol that ALPN chose; HTTP/1 where the client offered none.
    pub protocol: Protocol,
    /// Whether ALPN chose it.
    pub by_alpn: bool,
    /// `TLSv1.3` or `TLSv1.2`, as in nginx's `$ssl_protocol`.
    pub version: &'static str,
    /// The cipher suite in rustls' spelling, as in `TLS13_AES_256_GCM_SHA384`.
    pub cipher: &'static str,
    /// The group of the key exchange in rustls' spelling, as in `X25519`.
    pub curve: &'static str,
    /// Whether an earlier session was resumed.
    pub resumed: bool,
    /// SHA-256 of the client's certificate, DER, where it showed one that was verified, now or in
    /// the session that was resumed.
    pub client_certificate: Option<[u8; 32]>,
    /// The client's certificate, verified or not.
    pub client: Option<Box<ClientCertificate>>,
    /// The virtual server, by its index, that hands were shaken for, where it has a say in TLS.
    pub server: Option<usize>,
    /// The names in the certificate that was shown, for requests to other hosts (421); nothing where it is
    /// shown whatever is in it.
    pub names: Option<Arc<Names>>,
}

/// The certificate of a client, whose key it has.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClientCertificate {
    pub der: Box<[u8]>,
    /// Whether it is believed, by the authorities of the server that hands were shaken for.
    pub verdict: Result<(), Unverified>,
}

/// Where a connection comes from and where it arrived.
#[derive(Clone, Debug)]
pub(super) struct Ends {
    pub peer: SocketAddr,
    pub local: SocketAddr,
    /// By its index among all.
    pub listener: usize,
    pub secure: bool,
    pub redirect_to_https: Option<u16>,
    pub speaks_http2: bool,
    /// The path of the listener's socket, where it is no TCP.
    pub unix: Option<Arc<Path>>,
}

/// A connection as everybody but its own task sees it.
#[derive(Debug)]
pub struct Info {
    id: u64,
    begun: Instant,
    ends: Ends,
    requests_max: u32,
    tls: OnceLock<Box<Tls>>,
    /// It speaks plain HTTP where TLS is spoken.
    is_plain: AtomicBool,
    proxied: OnceLock<Box<Proxied>>,
    is_http2: AtomicBool,
    /// State in the low bits, above them the milliseconds when it began: one value, so that the
    /// sweeper never sees a new state with an old time.
    state: AtomicU64,
    order: AtomicU8,
    waker: AtomicWaker,
    /// When the peer stopped taking bytes, in milliseconds; 0 while it takes them.
    stalled: AtomicU64,
    requests: AtomicU32,
    /// What the client is told of how it goes on behind the present answer: 0 for nothing, else seconds and one.
    told: AtomicU32,
    /// How long it may rest, in milliseconds, where somebody has said so; else 0.
    rest: AtomicU64,
    /// How long a head may take, and how long its peer may take nothing of an answer, as `rest`.
    head_time: AtomicU32,
    send_time: AtomicU32,
    /// The present request is its last one.
    ends_soon: AtomicBool,
    /// Asks an HTTP/2 connection to finish (GOAWAY).
    finish: OnceLock<watch::Sender<bool>>,
}

impl Info {
    pub(super) fn new(ends: Ends, requests_max: u32, now: Instant) -> Arc<Self> {
        static NEXT: AtomicU64 = AtomicU64::new(1);
        let state = if ends.secure { State::Handshake } else { State::New };
        Arc::new(Self {
            id: NEXT.fetch_add(1, Relaxed),
            begun: now,
            ends,
            requests_max,
            tls: OnceLock::new(),
            is_plain: AtomicBool::new(false),
            proxied: OnceLock::new(),
            is_http2: AtomicBool::new(false),
            state: AtomicU64::new(pack(state, now)),
            order: AtomicU8::new(Order::Proceed as u8),
            waker: AtomicWaker::new(),
            stalled: AtomicU64::new(0),
            requests: AtomicU32::new(0),
            told: AtomicU32::new(0),
            rest: AtomicU64::new(0),
            head_time: AtomicU32::new(0),
            send_time: AtomicU32::new(0),
            ends_soon: AtomicBool::new(false),
            finish: OnceLock::new(),
        })
    }

    /// Number of the connection, unique within the process (nginx `$connection`).
    pub fn id(&self) -> u64 {
        self.id
    }

    /// When it was accepted.
    pub fn begun(&self) -> Instant {
        self.begun
    }

    /// The path of our end where both are unix sockets; they have no addresses then.
    pub fn unix(&self) -> Option<&Path> {
        self.ends.unix.as_deref()
    }

    /// The other end.
    pub fn peer(&self) -> SocketAddr {
        self.ends.peer
    }

    /// Our end, with the address the client used even where the listener has `0.0.0.0`.
    pub fn local(&self) -> SocketAddr {
        self.ends.local
    }

    /// The listener that it came by, by its number, which no other listener of this process has.
    pub fn listener(&self) -> usize {
        self.ends.listener
    }

    /// Whether TLS is spoken.
    pub fn is_secure(&self) -> bool {
        self.ends.secure && !self.is_plain_on_tls()
    }

    /// Whether plain HTTP is spoken where TLS should be (nginx's status 497).
    pub fn is_plain_on_tls(&self) -> bool {
        self.is_plain.load(Relaxed)
    }

    pub(super) fn set_plain_on_tls(&self) {
        self.is_plain.store(true, Relaxed);
    }

    /// What the handshake settled; `None` on a plain connection.
    pub fn tls(&self) -> Option<&Tls> {
        self.tls.get().map(|tls| &**tls)
    }

    /// What a load balancer said of it, where one was to.
    pub fn proxied(&self) -> Option<&Proxied> {
        self.proxied.get().map(|proxied| &**proxied)
    }

    pub(super) fn set_proxied(&self, proxied: Proxied) {
        let _ = self.proxied.set(Box::new(proxied));
    }

    /// Whether it may turn out to speak HTTP/2, without TLS to say so.
    pub fn may_speak_http2(&self) -> bool {
        self.ends.speaks_http2 && !self.ends.secure
    }

    /// Whether it speaks HTTP/2.
    pub fn is_http2(&self) -> bool {
        self.is_http2.load(Relaxed)
    }

    pub(super) fn set_http2(&self) {
        self.is_http2.store(true, Relaxed);
    }

    /// The port of `https://` that every request of this listener is redirected to.
    pub fn redirect_to_https(&self) -> Option<u16> {
        self.ends.redirect_to_https
    }

    /// Requests whose head was complete so far (nginx `$connection_requests`).
    pub fn requests(&self) -> u32 {
        self.requests.load(Relaxed)
    }

    /// What it is doing.
    pub fn state(&self) -> State {
        State::from_bits(self.state.load(Acquire))
    }

    /// Disarms the header deadline: the head of a request is complete. How many there were so far.
    pub fn request_head_complete(&self, now: Instant) -> u32 {
        self.enter(State::Busy, now);
        let requests = self.requests.fetch_add(1, Relaxed).saturating_add(1);
        if requests >= self.requests_max {
            self.finish();
        }
        requests
    }

    /// Ends the connection from any thread: whoever reads sees the end of the file, and what does
    /// not end by that is cut some seconds later.
    pub fn close(&self) {
        self.obey(Order::Close);
    }

    /// Has it end with the requests that it has: the last answer says so.
    pub fn end_soon(&self) {
        self.ends_soon.store(true, Relaxed);
        self.finish();
    }

    /// Whether that was said.
    pub fn ends_soon(&self) -> bool {
        self.ends_soon.load(Relaxed)
    }

    /// Whether an HTTP/2 connection was asked to finish, and asks it from now on.
    pub fn finish(&self) {
        if let Some(finish) = self.finish.get() {
            finish.send_if_modified(|asked| !std::mem::replace(asked, true));
        }
    }

    /// Changes to `true` when an HTTP/2 connection shall finish. The receiver has seen nothing yet.
    pub fn finishing(&self) -> watch::Receiver<bool> {
        self.finish.get_or_init(|| watch::Sender::new(false)).subscribe()
    }

    pub(super) fn set_tls(&self, tls: Tls) {
        // A connection has one handshake.
        let _ = self.tls.set(Box::new(tls));
    }

    pub(super) fn enter(&self, state: State, now: Instant) {
        self.state.store(pack(state, now), Release);
        // An expiry that comes too late must not meet the next head.
        let (expire, proceed) = (Order::Expire as u8, Order::Proceed as u8);
        let _ = self.order.compare_exchange(expire, proceed, AcqRel, Relaxed);
    }

    /// The state and how long it has lasted.
    pub(super) fn age(&self, now: Instant) -> (State, Duration) {
        let packed = self.state.load(Acquire);
        let since = packed >> STATE_WIDTH;
        let age = Duration::from_millis(millis(now).saturating_sub(since));
        (State::from_bits(packed), age)
    }

    /// For how long the peer has taken no byte of what is to be written.
    pub(super) fn stalled_for(&self, now: Instant) -> Option<Duration> {
        let since = self.stalled.load(Relaxed);
        (since != 0).then(|| Duration::from_millis(millis(now).saturating_sub(since)))
    }

    /// Whether it has had as many requests as any may have.
    pub fn has_had_all(&self) -> bool {
        self.requests() >= self.requests_max
    }

    /// Says what the client is told of how the connection goes on: for how many seconds, if for any.
    pub fn tell(&self, seconds: Option<u16>) {
        self.told.store(seconds.map_or(0, |seconds| u32::from(seconds) + 1), Relaxed);
    }

    /// What was said by [`tell`](Self::tell).
    pub fn told(&self) -> Option<u32> {
        self.told.load(Relaxed).checked_sub(1)
    }

    /// Says how long it may rest between two requests.
    pub fn may_rest(&self, time: Duration) {
        let millis = u64::try_from(time.as_millis()).unwrap_or(u64::MAX).max(1);
        self.rest.store(millis, Relaxed);
    }

    /// How long it may rest, where that was said.
    pub(super) fn rest(&self) -> Option<Duration> {
        let millis = self.rest.load(Relaxed);
        (millis > 0).then(|| Duration::from_millis(millis))
    }

    /// Says how long its heads may take, where that is not what all have.
    pub fn head_within(&self, time: Option<Duration>) {
        self.head_time.store(millis_or_none(time), Relaxed);
    }

    pub(super) fn head_time(&self) -> Option<Duration> {
        some_millis(self.head_time.load(Relaxed))
    }

    /// Says how long its peer may take nothing of an answer, where that is not what all have.
    pub fn send_within(&self, time: Option<Duration>) {
        self.send_time.store(millis_or_none(time), Relaxed);
    }

    pub(super) fn send_time(&self) -> Option<Duration> {
        some_millis(self.send_time.load(Relaxed))
    }

    /// Is closing, and is cut after so long, whatever others have.
    pub(super) fn linger(&self, timeout: Duration, now: Instant) {
        // The sweeper gives all of them the same time: the begin moves instead.
        let begun = now.checked_sub(LINGER).unwrap_or(now) + timeout;
        self.enter(State::Closing, begun);
    }

    /// Notes that a write has to wait, or that the peer took something.
    pub(super) fn write_waits(&self, waits: bool) {
        if !waits {
            self.stalled.store(0, Relaxed);
        } else if self.stalled.load(Relaxed) == 0 {
            self.stalled.store(millis(Instant::now()) + 1, Relaxed);
        }
    }

    pub(super) fn order(&self) -> Order {
        match self.order.load(Acquire) {
            0 => Order::Proceed,
            1 => Order::Close,
            2 => Order::Expire,
            _ => Order::Abort,
        }
    }

    /// Gives an order; a harder one that stands is not softened.
    pub(super) fn obey(&self, order: Order) {
        self.order.fetch_max(order as u8, AcqRel);
        self.waker.wake();
    }

    /// To be called before a read or write returns `Pending`, so that an order ends the wait.
    pub(super) fn wait_for_order(&self, cx: &Context<'_>) {
        let before = self.order();
        self.waker.register(cx.waker());
        if self.order() != before {
            cx.waker().wake_by_ref();
        }
    }

    /// Ready once the connection shall be cut.
    pub(super) fn poll_abort(&self, cx: &Context<'_>) -> Poll<()> {
        self.wait_for_order(cx);
        if self.order() == Order::Abort { Poll::Ready(()) } else { Poll::Pending }
    }
}

/// 0 for nothing.
fn millis_or_none(time: Option<Duration>) -> u32 {
    time.map_or(0, |time| u32::try_from(time.as_millis()).unwrap_or(u32::MAX).max(1))
}

fn some_millis(millis: u32) -> Option<Duration> {
    (millis > 0).then(|| Duration::from_millis(millis.into()))
}

/// The begin is rounded up, so that no deadline comes early.
fn pack(state: State, now: Instant) -> u64 {
    ((millis(now) + 1) << STATE_WIDTH) | state as u64
}

/// Milliseconds since this was first asked for.
fn millis(now: Instant) -> u64 {
    static START: LazyLock<Instant> = LazyLock::new(Instant::now);
    u64::try_from(now.saturating_duration_since(*START).as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    pub(in crate::listen) fn ends() -> Ends {
        let loopback = |port| SocketAddr::from(([127, 0, 0, 1], port));
        let (peer, local) = (loopback(1), loopback(2));
        let (secure, redirect_to_https, speaks_http2) = (false, None, false);
        Ends { peer, local, listener: 0, secure, redirect_to_https, speaks_http2, unix: None }
    }

    #[test]
    fn state_and_its_begin_survive_packing() {
        let t0 = Instant::now() + Duration::from_secs(1);
        let info = Info::new(ends(), 10, t0);
        assert_eq!(info.state(), State::New);
        for state in
            [State::Handshake, State::New, State::Idle, State::Header, State::Busy, State::Closing]
        {
            info.enter(state, t0);
            let (seen, age) = info.age(t0 + Duration::from_millis(700));
            assert_eq!(seen, state);
            assert!(age.abs_diff(Duration::from_millis(700)) <= Duration::from_millis(1));
        }
    }

    #[test]
    fn orders_only_harden() {
        let info = Info::new(ends(), 10, Instant::now());
        info.obey(Order::Abort);
        info.close();
        assert_eq!(info.order(), Order::Abort);
    }

    #[test]
    fn late_expiry_does_not_meet_the_next_request() {
        let info = Info::new(ends(), 10, Instant::now());
        info.obey(Order::Expire);
        info.request_head_complete(Instant::now());
        assert_eq!(info.order(), Order::Proceed);
    }

    #[test]
    fn last_allowed_request_asks_http2_to_finish() {
        let info = Info::new(ends(), 2, Instant::now());
        let finishing = info.finishing();
        info.request_head_complete(Instant::now());
        assert!(!*finishing.borrow());
        info.request_head_complete(Instant::now());
        assert!(*finishing.borrow());
    }
}
