//! Our own certificate, for workers that ask for one.

use std::path::{Path, PathBuf};

use rustls::pki_types::CertificateDer;

use super::tls::{Authority, NAME, write};
use super::*;
use crate::upstream::ClientCertificate;

/// A certificate that this authority issued to us.
fn certificate(
    issuer: &Authority,
    directory: &Path,
) -> (CertificateDer<'static>, ClientCertificate) {
    let (certificate, key) = issuer.issue("proxy.internal");
    let chain = write(directory, "client.pem", &certificate.pem());
    let key = write(directory, "client.key", &key.serialize_pem());
    (certificate.der().clone(), ClientCertificate { chain, key, password_file: None })
}

/// TLS that believes this authority.
fn settings(ca: PathBuf, certificate: Option<ClientCertificate>) -> TlsSettings {
    TlsSettings { ca: Some(ca), certificate, ..TlsSettings::new(NAME) }
}

/// Whom a worker sees that asks for a certificate of `clients`, and what becomes of the connection.
async fn seen(
    workers: &Authority,
    clients: &Authority,
    tls: TlsSettings,
) -> io::Result<Option<Vec<CertificateDer<'static>>>> {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("loopback");
    let address = Address::Inet(listener.local_addr().expect("bound"));
    let pool = pool(upstream(vec![address], Some(tls)), 8);
    let accepting = async {
        let (tcp, _) = listener.accept().await.expect("a connection");
        workers.server_for(Some(clients), &[]).accept(tcp).await
    };
    let (there, _link) = tokio::join!(accepting, pool.connect_to_known(0));
    let seen = there?.get_ref().1.peer_certificates().map(<[_]>::to_vec);
    Ok(seen.map(|chain| chain.into_iter().map(CertificateDer::into_owned).collect()))
}

#[tokio::test]
async fn a_worker_that_asks_sees_the_certificate_of_the_upstream() {
    let directory = tempfile::tempdir().expect("a directory");
    let (workers, clients) = (Authority::new("workers"), Authority::new("clients"));
    let ca = workers.write(directory.path());
    let (ours, files) = certificate(&clients, directory.path());
    let shown = seen(&workers, &clients, settings(ca.clone(), Some(files))).await;
    assert_eq!(shown.expect("believed"), Some(vec![ours]));

    let none = seen(&workers, &clients, settings(ca.clone(), None)).await;
    none.expect_err("it wants one");
    let (_, foreign) = certificate(&workers, directory.path());
    let foreign = seen(&workers, &clients, settings(ca, Some(foreign))).await;
    foreign.expect_err("another authority's");
}

#[test]
fn files_that_cannot_be_used_are_an_error_at_start() {
    let directory = tempfile::tempdir().expect("a directory");
    let authority = Authority::new("an authority");
    let ca = authority.write(directory.path());
    let (_, good) = certificate(&authority, directory.path());
    let empty = write(directory.path(), "empty.pem", "");
    let other = authority.issue("other").1.serialize_pem();
    let other = write(directory.path(), "other.key", &other);
    let none = directory.path().join("none");
    let with = |chain: &PathBuf, key: &PathBuf| ClientCertificate {
        chain: chain.clone(),
        key: key.clone(),
        password_file: None,
    };
    for (files, expected) in [
        (with(&none, &good.key), ["tls.certificate.chain: ", "none: No such file"]),
        (with(&good.chain, &none), ["tls.certificate.key: ", "none: No such file"]),
        (with(&empty, &good.key), ["tls.certificate.chain: ", "empty.pem holds no certificates"]),
        (with(&good.chain, &empty), ["tls.certificate.key: ", "empty.pem holds no private key"]),
        (with(&good.chain, &other), ["tls.certificate.key: ", "cannot be used with "]),
    ] {
        let tls = settings(ca.clone(), Some(files));
        let settings = upstream(vec![Address::Inet(([127, 0, 0, 1], 1).into())], Some(tls));
        let error = Ways::new(&[settings]).expect_err("unusable").to_string();
        assert!(expected.iter().all(|part| error.contains(part)), "{expected:?}: {error}");
    }
}
