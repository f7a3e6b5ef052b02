//! TLS to a worker: verified, or not spoken at all.

use crate::support::client::{Dial, Response};
use crate::support::origin::Origin;
use crate::support::shop::{HOST, Shop};
use crate::support::tls::Certificate;

const WORKER: &str = "worker.internal";

/// Asks once through a proxy with this `tls` of the upstream.
async fn ask(origin: &mut Origin, tls: &str) -> Response {
    let proxy = Shop::at(origin.address).upstream(&format!("tls: {{ {tls} }}")).start();
    let mut client = Dial::to(proxy.address()).tls(HOST).connect().await;
    let answers = async {
        origin.answer("HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok").await;
        std::future::pending::<()>().await;
    };
    tokio::select! {
        response = client.get(HOST, "/", &[]) => response,
        () = answers => unreachable!("it never ends"),
    }
}

/// Asks a worker through a proxy that trusts `trusted` and expects the name `name`.
async fn ask_as(worker: &Certificate, trusted: &Certificate, name: &str) -> Response {
    let mut origin = Origin::start_tls(worker).await;
    let files = tempfile::tempdir().expect("a temporary directory can be made");
    let (bundle, _) = trusted.write(files.path(), "ca");
    ask(&mut origin, &format!("server_name: {name}, ca: '{}'", bundle.display())).await
}

#[tokio::test]
async fn a_worker_is_verified_by_authority_and_name() {
    let worker = Certificate::for_names(&[WORKER]);
    assert_eq!(ask_as(&worker, &worker, WORKER).await.expect(200).text(), "ok");
    let stranger = Certificate::for_names(&[WORKER]);
    assert_eq!(ask_as(&worker, &stranger, WORKER).await.status, 502, "another authority");
    assert_eq!(ask_as(&worker, &worker, "other.internal").await.status, 502, "another name");
}

#[tokio::test]
async fn a_worker_that_asks_for_a_certificate_gets_the_one_of_its_upstream() {
    let worker = Certificate::for_names(&[WORKER]);
    let (ours, other) = (Certificate::for_names(&["proxy"]), Certificate::for_names(&["other"]));
    let mut origin = Origin::start_tls_for(&worker, Some(&ours)).await;
    let files = tempfile::tempdir().expect("a temporary directory can be made");
    let (bundle, _) = worker.write(files.path(), "ca");
    let tls = format!("server_name: {WORKER}, ca: '{}'", bundle.display());
    let showing = |certificate: &Certificate, stem| {
        let (chain, key) = certificate.write(files.path(), stem);
        let (chain, key) = (chain.display(), key.display());
        format!("{tls}, certificate: {{ chain: '{chain}', key: '{key}' }}")
    };
    assert_eq!(ask(&mut origin, &showing(&ours, "ours")).await.expect(200).text(), "ok");
    assert_eq!(ask(&mut origin, &tls).await.status, 502, "none to show");
    assert_eq!(ask(&mut origin, &showing(&other, "other")).await.status, 502, "not the one");
}
