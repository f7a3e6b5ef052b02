//! Serving the pages: hyper's HTTP/1, with limits.

use std::convert::Infallible;
use std::future::{Future, poll_fn};
use std::io;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use http::{Request, Response};
use http_body_util::Full;
use hyper::body::{Bytes, Incoming};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, UnixListener};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;

use crate::admin::browsers::{Way, is_ours};
use crate::admin::{Listener, PagesState, operators, pages, sessions};

/// A probe and a few scrapers; more than this is a mistake, and must not eat descriptors.
const CONNECTIONS_MAX: usize = 64;
/// For a request's head, and for the wait between two requests.
const HEAD_TIMEOUT: Duration = Duration::from_secs(30);
/// For all requests of a connection: no reader is slow enough to keep it longer.
const CONNECTION_TIMEOUT: Duration = Duration::from_secs(300);
const HEAD_BYTES_MAX: usize = 16 * 1024;
const HEADERS_MAX: usize = 64;
/// What is still being written at shutdown has this long.
const SHUTDOWN_TIMEOUT: Duration = Duration::from_secs(1);
/// After a failed accept (out of descriptors, mostly): to try again at once would only spin.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Answers on `listener` until `shutdown` is done; then finishes what is being written. Shut it
/// down last: during a drain `/readyz` has something to say.
///
/// # Errors
/// The listener cannot be registered with the runtime.
pub async fn serve(
    listener: Listener,
    state: PagesState,
    shutdown: impl Future<Output = ()>,
) -> io::Result<()> {
    let state = Arc::new(state);
    match listener {
        Listener::Tcp { listener, names, token } => {
            let listener = TcpListener::from_std(listener)?;
            let accept = |cx: &mut Context<'_>| listener.poll_accept(cx).map_ok(|(s, _)| s);
            run(accept, Way::Tcp { names: names.into(), token }, state, shutdown).await;
        }
        Listener::Unix(listener) => {
            let listener = UnixListener::from_std(listener)?;
            let accept = |cx: &mut Context<'_>| listener.poll_accept(cx).map_ok(|(s, _)| s);
            run(accept, Way::UnixSocket, state, shutdown).await;
        }
    }
    Ok(())
}

async fn run<S>(
    mut accept: impl FnMut(&mut Context<'_>) -> Poll<io::Result<S>>,
    way: Way,
    state: Arc<PagesState>,
    shutdown: impl Future<Output = ()>,
) where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let places = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    let (closing, closed) = tokio::sync::watch::channel(());
    let mut connections = JoinSet::new();
    let mut shutdown = std::pin::pin!(shutdown);
    loop {
        let accepted = tokio::select! {
            accepted = poll_fn(&mut accept) => accepted,
            () = &mut shutdown => break,
            Some(_) = connections.join_next() => continue,
        };
        match accepted {
            Ok(stream) => {
                // One too many is closed at once.
                if let Ok(place) = Arc::clone(&places).try_acquire_owned() {
                    let (way, state) = (way.clone(), Arc::clone(&state));
                    let closed = closed.clone();
                    connections.spawn(async move {
                        connection(stream, way, state, closed).await;
                        drop(place);
                    });
                }
            }
            Err(error) => {
                tracing::warn!(%error, "admin listener cannot accept");
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
    drop(closing);
    let _ = tokio::time::timeout(SHUTDOWN_TIMEOUT, async {
        while connections.join_next().await.is_some() {}
    })
    .await;
}

async fn connection<S>(
    stream: S,
    way: Way,
    state: Arc<PagesState>,
    mut closed: tokio::sync::watch::Receiver<()>,
) where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let service = service_fn(move |request: Request<Incoming>| {
        let (way, state) = (way.clone(), state.clone());
        async move {
            let answer = answer(request, &way, &state).await;
            let answer: Response<Full<Bytes>> = answer.map(|body| Full::new(Bytes::from(body)));
            Ok::<_, Infallible>(answer)
        }
    });
    let mut connection = std::pin::pin!(
        http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(HEAD_TIMEOUT)
            .max_buf_size(HEAD_BYTES_MAX)
            .max_headers(HEADERS_MAX)
            .serve_connection(TokioIo::new(stream), service)
    );
    let serve = async {
        tokio::select! {
            result = &mut connection => return result,
            // The sender is never used, only dropped.
            _ = closed.changed() => {}
        }
        connection.as_mut().graceful_shutdown();
        connection.await
    };
    // How a probe's connection ends is of no interest.
    let _ = tokio::time::timeout(CONNECTION_TIMEOUT, serve).await;
}

async fn answer(request: Request<Incoming>, way: &Way, state: &PagesState) -> Response<String> {
    if !is_ours(&request, way) {
        return pages::misdirected();
    }
    let path = request.uri().path();
    match (&state.sessions, &state.operators) {
        (Some(known), _) if sessions::is_here(path) => {
            sessions::answer(request, way, known, &state.metrics).await
        }
        (_, Some(known)) if let Some(found) = operators::find(path) => {
            operators::answer(request, found, way, state, known).await
        }
        _ => pages::answer(request.method(), path, state),
    }
}

#[cfg(test)]
mod tests {
    use std::net::SocketAddr;
    use std::os::unix::fs::FileTypeExt;

    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::{TcpStream, UnixStream};
    use tokio::sync::oneshot;
    use tokio::task::JoinHandle;

    use super::*;
    use crate::admin::{Address, AdminSettings, Readiness, bind};
    use crate::telemetry::metrics::Metrics;

    struct Running {
        address: Option<SocketAddr>,
        stop: oneshot::Sender<()>,
        task: JoinHandle<io::Result<()>>,
    }

    fn start(address: Address) -> Running {
        let listener =
            bind(&AdminSettings { address, names: Vec::new(), token: None }).expect("bound");
        let address = listener.local_addr();
        let (stop, stopped) = oneshot::channel::<()>();
        let state = PagesState {
            metrics: Arc::new(Metrics::new()),
            readiness: Arc::new(|| Readiness { ready: false, reasons: vec!["draining".into()] }),
            keys: None,
            sessions: None,
            operators: None,
        };
        let task = tokio::spawn(serve(listener, state, async {
            let _ = stopped.await;
        }));
        Running { address, stop, task }
    }

    async fn exchange(mut stream: impl AsyncRead + AsyncWrite + Unpin, request: &str) -> String {
        stream.write_all(request.as_bytes()).await.expect("written");
        let mut answer = Vec::new();
        // A server that refuses a head may reset the connection after its answer.
        let _ = stream.read_to_end(&mut answer).await;
        String::from_utf8(answer).expect("text")
    }

    fn any_port() -> Address {
        Address::Inet(SocketAddr::from(([127, 0, 0, 1], 0)))
    }

    async fn connect(running: &Running) -> TcpStream {
        let address = running.address.expect("a TCP listener");
        TcpStream::connect(address).await.expect("connected")
    }

    #[tokio::test]
    async fn answers_over_tcp_without_naming_itself() {
        let running = start(any_port());
        let request = "GET /readyz?now HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";
        let answer = exchange(connect(&running).await, request).await;
        assert!(answer.starts_with("HTTP/1.1 503 Service Unavailable\r\n"), "{answer}");
        assert!(answer.ends_with("\r\n\r\nnot ready\n- draining\n"), "{answer}");
        assert!(!answer.to_lowercase().contains("\r\nserver:"), "{answer}");
    }

    #[tokio::test]
    async fn answers_over_a_unix_socket_and_to_head_without_a_body() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("admin.sock");
        let _running = start(Address::Unix(path.clone()));
        assert!(path.metadata().expect("it is there").file_type().is_socket());
        let stream = UnixStream::connect(&path).await.expect("connected");
        let request = "HEAD /livez HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";
        let answer = exchange(stream, request).await;
        assert!(answer.starts_with("HTTP/1.1 200 OK\r\n"), "{answer}");
        assert!(answer.ends_with("\r\n\r\n"), "{answer}");
        assert!(answer.contains("content-length: 6\r\n"), "{answer}");
    }

    #[tokio::test]
    async fn pages_are_for_who_calls_by_address() {
        let running = start(any_port());
        let request = "GET /metrics HTTP/1.1\r\nHost: evil.example\r\nConnection: close\r\n\r\n";
        let answer = exchange(connect(&running).await, request).await;
        assert!(answer.starts_with("HTTP/1.1 421 "), "{answer}");
        let answer = exchange(connect(&running).await, "GET /livez HTTP/1.0\r\n\r\n").await;
        assert!(answer.starts_with("HTTP/1.0 200 "), "{answer}");
    }

    #[tokio::test]
    async fn an_oversized_head_is_refused() {
        let running = start(any_port());
        let request =
            format!("GET / HTTP/1.1\r\nHost: localhost\r\nX: {}\r\n\r\n", "x".repeat(20_000));
        let answer = exchange(connect(&running).await, &request).await;
        assert!(answer.starts_with("HTTP/1.1 431 "), "{answer:?}");
    }

    #[tokio::test]
    async fn connections_beyond_the_limit_are_closed() {
        let running = start(any_port());
        let mut held = Vec::new();
        for _ in 0..CONNECTIONS_MAX {
            let mut stream = connect(&running).await;
            // An answer says that the connection has its place.
            stream
                .write_all(b"HEAD /livez HTTP/1.1\r\nHost: localhost\r\n\r\n")
                .await
                .expect("written");
            assert_ne!(stream.read(&mut [0; 512]).await.expect("an answer"), 0);
            held.push(stream);
        }
        let request = "GET /livez HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";
        assert_eq!(exchange(connect(&running).await, request).await, "");
    }

    #[tokio::test]
    async fn shutdown_closes_idle_connections_at_once() {
        let running = start(any_port());
        let mut idle = connect(&running).await;
        idle.write_all(b"HEAD /livez HTTP/1.1\r\nHost: localhost\r\n\r\n").await.expect("written");
        assert_ne!(idle.read(&mut [0; 512]).await.expect("an answer"), 0);
        running.stop.send(()).expect("it runs");
        running.task.await.expect("no panic").expect("served");
        assert_eq!(idle.read(&mut [0; 512]).await.expect("closed in order"), 0);
    }
}
