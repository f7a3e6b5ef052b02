//! gunicorn with one sync worker, which serves nobody else as long as one client is served: slow clients
//! must not be its affair. Measured beside nginx.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};
use tokio::task::JoinSet;

use crate::support::apps::App;
use crate::support::client::{Dial, request};
use crate::support::nginx::Nginx;
use crate::support::proxy::Proxy;
use crate::support::within;

const SLOW: usize = 50;
/// What is uploaded: no socket holds it.
const UPLOAD: usize = 300_000;
/// What is asked for an answer, which has twice as many bytes.
const ASKED: usize = 1_500_000;
const QUICK: usize = 20;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn fifty_slow_uploads_and_fifty_slow_readers_hold_one_worker_no_longer_than_behind_nginx() {
    let directory = tempfile::tempdir().expect("a directory");
    let seen = directory.path().join("seen");
    std::fs::write(&seen, "").expect("the directory can be written");
    let app = App::garden("gunicorn-sync", &seen);
    let nginx = Nginx::serve(
        "client_max_body_size 10m;",
        &format!("location / {{ proxy_pass http://{}; }}", app.address),
    );
    let theirs = served(nginx.address).await;
    let proxy = Proxy::start(&format!(
        "workers: 2\nstate_directory: '{{directory}}'\nlisteners: [{{ address: 127.0.0.1:0 }}]\nstore: memory\n\
         upstreams: {{ app: {{ endpoints: [{{ address: '{}' }}] }} }}\n\
         servers: [{{ routes: [{{ path: /, upstream: app, body_bytes_max: 10MiB }}] }}]\n",
        app.address
    ));
    let ours = served(proxy.address()).await;
    // Each of them would wait for the slow ones else, for ever.
    let bound = 2 * theirs + Duration::from_secs(3);
    assert!(ours < bound, "{ours:?} for {QUICK} requests, {theirs:?} behind nginx");
}

/// How long quick requests take while others are slow, which have their answers in the end.
async fn served(address: SocketAddr) -> Duration {
    let body = vec![b'x'; ASKED];
    let upload = request("POST", "/upload", "a", &[("Connection", "close")], &body[..UPLOAD]);
    let asks = request("POST", "/read", "a", &[("Connection", "close")], &body);
    let (begin, end) = upload.split_at(upload.len() - 1);
    let (mut uploads, mut readers) = (Vec::new(), Vec::new());
    for _ in 0..SLOW {
        let mut stream = slow(address).await;
        stream.write_all(begin).await.expect("it is taken");
        uploads.push(stream);
        let mut stream = slow(address).await;
        stream.write_all(&asks).await.expect("it is taken");
        readers.push(stream);
    }
    let begun = Instant::now();
    for _ in 0..QUICK {
        let mut client = Dial::to(address).connect().await;
        client.get("a", "/quick", &[]).await.expect(200);
    }
    let took = begun.elapsed();
    let mut rest = JoinSet::new();
    for mut stream in uploads {
        stream.write_all(end).await.expect("it is taken");
        rest.spawn(read(stream, UPLOAD));
    }
    readers.into_iter().for_each(|stream| drop(rest.spawn(read(stream, ASKED))));
    within("all answers", rest.join_all()).await;
    took
}

/// A client whose socket holds little.
async fn slow(address: SocketAddr) -> TcpStream {
    let socket = TcpSocket::new_v4().expect("a socket");
    socket.set_recv_buffer_size(8 * 1024).expect("a size");
    within("a connection", socket.connect(address)).await.expect("somebody listens")
}

/// The worker says what it was sent, in hexadecimal.
async fn read(mut stream: TcpStream, length: usize) {
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).await.expect("it is readable");
    assert!(answer.starts_with(b"HTTP/1.1 200 OK\r\n"), "{}", answer[..40].escape_ascii());
    assert!(answer.ends_with(&b"78".repeat(length)), "all of it");
}
