//! Connections that do not come about, and those over TLS.

use tokio::io::AsyncReadExt;

use super::*;
use crate::upstream::way::tests::tls::{Authority, NAME};

fn brief() -> Timeouts {
    Timeouts { connect: Duration::from_millis(100), ..Timeouts::default() }
}

#[tokio::test]
async fn nothing_is_sent_before_the_worker_has_said_what_it_takes() {
    let worker = Worker::with(brief(), None).await;
    let stream = worker.stream();
    let (mut tcp, ready) = tokio::join!(worker.tcp(), stream.ready());
    assert_eq!(ready, Err(Failure::TimedOut));
    let mut heard = Vec::new();
    tcp.read_to_end(&mut heard).await.expect("it is closed");
    assert!(heard.starts_with(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"));
    assert!(!worker.stream().is_ready(), "the next one tries again");
}

#[tokio::test]
async fn a_worker_that_speaks_http_1_is_told_at_once() {
    let worker = Worker::new().await;
    let stream = worker.stream();
    let answering = async {
        let mut tcp = worker.tcp().await;
        tcp.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n").await.expect("written");
        tcp
    };
    let (_tcp, ready) = tokio::join!(answering, stream.ready());
    assert_eq!(ready, Err(Failure::Flaw));
}

#[tokio::test]
async fn a_worker_that_closes_or_is_not_there_is_told_at_once() {
    let worker = Worker::new().await;
    let stream = worker.stream();
    let (_, ready) = tokio::join!(async { drop(worker.tcp().await) }, stream.ready());
    assert_eq!(ready, Err(Failure::Refused(0)));
    let Worker { listener, pool } = worker;
    drop(listener);
    let stream = pool.stream_to_known(None, Instant::now());
    assert_eq!(stream.ready().await, Err(Failure::Refused(111)));
}

#[tokio::test]
async fn all_who_wait_for_a_connection_hear_that_there_is_none() {
    let worker = Worker::new().await;
    let waiting: Vec<_> = (0..3).map(|_| worker.stream()).collect();
    drop(worker.tcp().await);
    for stream in &waiting {
        assert_eq!(stream.ready().await, Err(Failure::Refused(0)));
    }
}

/// RFC 9113 section 3.2: over TLS, HTTP/2 is agreed to.
#[tokio::test]
async fn over_tls_the_worker_has_to_agree() {
    let authority = Authority::new("workers");
    let directory = tempfile::tempdir().expect("a directory");
    let ca = Some(authority.write(directory.path()));
    let tls = TlsSettings { ca, ..TlsSettings::new(NAME) };
    let worker = Worker::with(Timeouts::default(), Some(tls)).await;
    for (alpn, expected) in [
        (&["h2", "http/1.1"][..], Ok(true)),
        (&[], Err(Failure::Flaw)),
        (&["http/1.1"], Err(Failure::Tls)),
    ] {
        let mut stream = worker.stream_since(Some(Instant::now()));
        let serving = async {
            let acceptor = authority.server_for(None, alpn);
            let tls = acceptor.accept(worker.tcp().await).await.ok()?;
            let mut connection = server::handshake(tls).await.ok()?;
            let (request, mut respond) = connection.accept().await?.ok()?;
            answer(&mut respond, 200);
            tokio::spawn(async move { while connection.accept().await.is_some() {} });
            Some(request.into_parts().0.uri)
        };
        let asking = async {
            let ready = stream.ready().await;
            if ready == Ok(true) {
                get(&mut stream);
                assert_eq!(head(&mut stream).await.expect("an answer").0.status, 200);
            }
            ready
        };
        let (uri, ready) = tokio::join!(serving, asking);
        assert_eq!(ready, expected, "{alpn:?}");
        if expected.is_ok() {
            assert_eq!(uri.expect("a request"), "https://shop.internal/path");
        }
    }
}
