use std::time::Duration;

use rustls::pki_types::{PrivateKeyDer, ServerName};
use rustls::{ClientConfig, RootCertStore, SupportedProtocolVersion, version};
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream};
use tokio::net::UnixStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use super::*;
use crate::transport::Hello;

fn configs(
    version: &'static SupportedProtocolVersion,
    fragment: Option<usize>,
) -> (Arc<ServerConfig>, Arc<ClientConfig>) {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let made = rcgen::generate_simple_self_signed(["shop.example".to_owned()]).expect("it can");
    let key = PrivateKeyDer::try_from(made.signing_key.serialize_der()).expect("a key");
    let mut roots = RootCertStore::empty();
    roots.add(made.cert.der().clone()).expect("a certificate");
    let server = ServerConfig::builder_with_provider(provider.clone())
        .with_protocol_versions(&[version])
        .expect("it is known")
        .with_no_client_auth()
        .with_single_cert(vec![made.cert.der().clone()], key)
        .expect("they belong together");
    let mut client = ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(&[version])
        .expect("it is known")
        .with_root_certificates(roots)
        .with_no_client_auth();
    client.max_fragment_size = fragment;
    (Arc::new(server), Arc::new(client))
}

/// A client and what it is connected to; between them each piece has at most so many bytes.
async fn pair(
    version: &'static SupportedProtocolVersion,
    fragment: Option<usize>,
    piece: usize,
) -> (TlsStream<DuplexStream>, Accepted) {
    let (server, client) = configs(version, fragment);
    let (ours, theirs) = UnixStream::pair().expect("a pair of sockets");
    let (near, mut far) = tokio::io::duplex(piece);
    let mut theirs = theirs;
    tokio::spawn(async move {
        let _ = tokio::io::copy_bidirectional_with_sizes(&mut far, &mut theirs, piece, piece).await;
    });
    let name = ServerName::try_from("shop.example").expect("a name");
    let connect = TlsConnector::from(client).connect(name, near);
    let accept = async {
        let hello = Hello::read(Socket::Unix(ours)).await?;
        assert_eq!(hello.server_name().as_deref(), Some("shop.example"));
        hello.accept(server).await
    };
    let (client, accepted) = tokio::join!(connect, accept);
    (client.expect("a connection"), accepted.expect("a connection"))
}

fn bytes(length: usize) -> Vec<u8> {
    (0..length).map(|at| (at % 251) as u8).collect()
}

#[tokio::test]
async fn what_is_sent_arrives_in_records_of_any_size_and_pieces_of_any_size() {
    for version in [&version::TLS13, &version::TLS12] {
        for (fragment, piece) in
            [(None, 64 * 1024), (None, 7), (Some(64), 64 * 1024), (Some(300), 11)]
        {
            let (mut client, mut accepted) = pair(version, fragment, piece).await;
            for length in [1, 300, 16 * 1024, 16 * 1024 + 1, 200_000] {
                let sent = bytes(length);
                let mut received = vec![0; length];
                let (wrote, read) = tokio::join!(
                    async {
                        client.write_all(&sent).await?;
                        client.flush().await
                    },
                    accepted.read_exact(&mut received)
                );
                wrote.expect("it can be written");
                read.expect("it can be read");
                assert!(received == sent, "{length} bytes up, {fragment:?}, {piece}");
                received.fill(0);
                let (wrote, read) = tokio::join!(
                    async {
                        accepted.write_all(&sent).await?;
                        accepted.flush().await
                    },
                    client.read_exact(&mut received)
                );
                wrote.expect("it can be written");
                read.expect("it can be read");
                assert!(received == sent, "{length} bytes down, {fragment:?}, {piece}");
            }
            assert_eq!(accepted.held(), 0, "it rests without a buffer");
        }
    }
}

#[tokio::test]
async fn a_small_reader_gets_all_of_a_record() {
    let (mut client, mut accepted) = pair(&version::TLS13, None, 64 * 1024).await;
    let sent = bytes(40_000);
    client.write_all(&sent).await.expect("it can be written");
    client.flush().await.expect("it can be written");
    let mut received = Vec::new();
    while received.len() < sent.len() {
        let mut few = [0; 33];
        let count = accepted.read(&mut few).await.expect("it can be read");
        assert!(count > 0, "it has not ended");
        received.extend_from_slice(&few[..count]);
    }
    assert!(received == sent);
    assert_eq!(accepted.held(), 0);
}

/// RFC 8446 section 4.6.3.
#[tokio::test]
async fn keys_may_change_at_any_time() {
    let (mut client, mut accepted) = pair(&version::TLS13, None, 64 * 1024).await;
    for round in 0..3 {
        client.get_mut().1.refresh_traffic_keys().expect("they can change");
        client.write_all(b"up").await.expect("it can be written");
        client.flush().await.expect("it can be written");
        let mut two = [0; 2];
        accepted.read_exact(&mut two).await.expect("it can be read");
        assert_eq!(&two, b"up", "{round}");
        accepted.write_all(b"down").await.expect("it can be written");
        accepted.flush().await.expect("it can be written");
        let mut four = [0; 4];
        client.read_exact(&mut four).await.expect("it can be read");
        assert_eq!(&four, b"down", "{round}");
    }
}

#[tokio::test]
async fn a_goodbye_is_told_from_a_break() {
    let (mut client, mut accepted) = pair(&version::TLS13, None, 64 * 1024).await;
    client.write_all(b"last").await.expect("it can be written");
    client.shutdown().await.expect("it can say goodbye");
    let mut all = Vec::new();
    accepted.read_to_end(&mut all).await.expect("a goodbye");
    assert_eq!(all, b"last");
    accepted.write_all(b"answer").await.expect("the other side is open");
    accepted.shutdown().await.expect("it can say goodbye");
    let mut answer = Vec::new();
    client.read_to_end(&mut answer).await.expect("a goodbye");
    assert_eq!(answer, b"answer");

    let (client, mut accepted) = pair(&version::TLS13, None, 64 * 1024).await;
    drop(client);
    let broken = accepted.read(&mut [0; 9]).await.expect_err("no goodbye");
    assert_eq!(broken.kind(), io::ErrorKind::UnexpectedEof);
}

/// What stands between does not change a byte, unnoticed.
#[tokio::test]
async fn a_forged_record_ends_the_connection_with_an_alert() {
    let (server, _) = configs(&version::TLS13, None);
    for (said, alert) in [
        (&b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"[..], Some(&[21, 3, 3, 0, 2, 2][..])),
        (&[22, 3, 1, 0, 4, 1, 0, 0, 0], Some(&[21, 3, 3, 0, 2, 2][..])),
        (&[22, 3, 1], None),
    ] {
        let (ours, mut theirs) = UnixStream::pair().expect("a pair of sockets");
        theirs.write_all(said).await.expect("there is room");
        theirs.shutdown().await.expect("it can be closed");
        let refused = async {
            Hello::read(Socket::Unix(ours)).await?.accept(server.clone()).await.map(|_| ())
        };
        assert!(refused.await.is_err(), "{said:?}");
        let mut heard = Vec::new();
        tokio::time::timeout(Duration::from_secs(5), theirs.read_to_end(&mut heard))
            .await
            .expect("it is closed")
            .expect("it can be read");
        assert!(heard.starts_with(alert.unwrap_or_default()), "{said:?}: {heard:?}");
        assert_eq!(heard.is_empty(), alert.is_none(), "{said:?}: {heard:?}");
    }
}
