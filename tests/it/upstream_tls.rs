//! TLS to a worker: verified, or not spoken at all.

use crate::support::client::{Dial, Response};
use crate::support::origin::Origin;
use crate::support::shop::{HOST, Shop};
use crate::support::tls::Certificate;

const WORKER: &str = "worker.internal";

/// Asks once through a proxy that trusts `trusted` and expects the name `name`, while the worker
/// has a certificate of its own.
async fn ask(worker: &Certificate, trusted: &Certificate, name: &str) -> Response {
    let mut origin = Origin::start_tls(worker).await;
    let files = tempfile::tempdir().expect("a temporary directory can be made");
    let (bundle, _) = trusted.write(files.path(), "ca");
    let tls = format!("tls: {{ server_name: {name}, ca: '{}' }}", bundle.display());
    let proxy = Shop::at(origin.address).upstream(&tls).start();
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

#[tokio::test]
async fn a_worker_is_verified_by_authority_and_name() {
    let worker = Certificate::for_names(&[WORKER]);
    assert_eq!(ask(&worker, &worker, WORKER).await.expect(200).text(), "ok");
    let stranger = Certificate::for_names(&[WORKER]);
    assert_eq!(ask(&worker, &stranger, WORKER).await.status, 502, "another authority");
    assert_eq!(ask(&worker, &worker, "other.internal").await.status, 502, "another name");
}
