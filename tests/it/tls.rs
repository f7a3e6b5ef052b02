//! TLS as clients see it: certificates by name, versions, and requests for other names.

use std::path::Path;

use cloakroom::clock::UnixMillis;
use cloakroom::crypto::keyring::Keyring;
use rustls::ProtocolVersion;

use crate::support::client::{Dial, request};
use crate::support::h2::H2;
use crate::support::http::response;
use crate::support::origin::Responder;
use crate::support::proxy::Proxy;
use crate::support::shop::{HOST, Shop};
use crate::support::tls::{self, Certificate};

async fn worker() -> Responder {
    Responder::start(|request| {
        response("200 OK", &[], request.field("host").unwrap_or_default().as_bytes())
    })
    .await
}

/// One TLS listener with these `tls` settings, in front of hosts of every name.
fn serving(worker: &Responder, tls: &str) -> Proxy {
    Proxy::start(&format!(
        "workers: 1\nstate_directory: '{{directory}}'\n\
         listeners: [{{ address: 127.0.0.1:0, tls: {{ {tls} }} }}]\nstore: memory\n\
         upstreams:\n  app: {{ endpoints: [{{ address: '{}' }}] }}\nservers:\n  \
         - names: [shop.example.com, '*.example.net']\n    routes: [{{ path: /, upstream: app }}]\n  \
         - names: [other.example.org]\n    routes: [{{ path: /, upstream: app }}]\n",
        worker.address
    ))
}

/// `certificates: [...]` for certificates of these names, in the order given.
fn certificates(directory: &Path, names: &[&[&str]]) -> (Vec<Certificate>, String) {
    let made: Vec<Certificate> = names.iter().map(|names| Certificate::for_names(names)).collect();
    let files: Vec<String> = made
        .iter()
        .enumerate()
        .map(|(number, certificate)| {
            let (chain, key) = certificate.write(directory, &number.to_string());
            format!("{{ chain: '{}', key: '{}' }}", chain.display(), key.display())
        })
        .collect();
    (made, format!("certificates: [{}]", files.join(", ")))
}

#[tokio::test]
async fn the_certificate_follows_the_name() {
    let directory = tempfile::tempdir().expect("a directory");
    let names: &[&[&str]] = &[&["shop.example.com"], &["other.example.org"], &["*.example.net"]];
    let (made, settings) = certificates(directory.path(), names);
    let worker = worker().await;
    let proxy = serving(&worker, &settings);
    for (sni, expected) in [
        ("shop.example.com", 0),
        ("SHOP.example.com", 0),
        ("other.example.org", 1),
        ("a.example.net", 2),
        // The first is the default, also for clients that name nobody.
        ("unknown.example", 0),
        ("a.b.example.net", 0),
        ("127.0.0.1", 0),
    ] {
        let client = Dial::to(proxy.address()).tls(sni).connect().await;
        let shown = client.tls.as_ref().expect("TLS").certificate.clone();
        let shown = made.iter().position(|certificate| certificate.der == shown);
        assert_eq!(shown, Some(expected), "{sni}");
    }
}

#[tokio::test]
async fn the_lowest_version_is_kept() {
    let worker = worker().await;
    for (settings, versions, expected) in [
        ("min_version: '1.2'", tls::ONLY_TLS12, Some(ProtocolVersion::TLSv1_2)),
        ("min_version: '1.2'", tls::BOTH, Some(ProtocolVersion::TLSv1_3)),
        ("min_version: '1.3'", tls::ONLY_TLS13, Some(ProtocolVersion::TLSv1_3)),
        ("min_version: '1.3'", tls::ONLY_TLS12, None),
    ] {
        let proxy = serving(&worker, &format!("self_signed: true, {settings}"));
        let dial = Dial::to(proxy.address()).tls(HOST).versions(versions);
        let agreed = dial.try_connect().await.ok();
        let agreed = agreed.and_then(|client| client.tls).map(|facts| facts.version);
        assert_eq!(agreed, expected, "{settings}");
    }
}

#[tokio::test]
async fn http2_is_offered_unless_it_is_turned_off() {
    let worker = worker().await;
    let proxy = serving(&worker, "self_signed: true");
    for (offered, expected) in
        [(&["h2", "http/1.1"][..], Some("h2")), (&["http/1.1"], Some("http/1.1")), (&[], None)]
    {
        let client = Dial::to(proxy.address()).tls(HOST).alpn(offered).connect().await;
        assert_eq!(client.tls.expect("TLS").alpn.as_deref(), expected);
    }
    let yaml = Shop::at(worker.address).yaml().replace(
        "    tls: { self_signed: true }\n",
        "    tls: { self_signed: true }\n    protocols: [http/1.1]\n",
    );
    let proxy = Proxy::start(&yaml);
    let mut client = Dial::to(proxy.address()).tls(HOST).alpn(&["h2", "http/1.1"]).connect().await;
    assert_eq!(client.tls.as_ref().expect("TLS").alpn.as_deref(), Some("http/1.1"));
    client.get(HOST, "/", &[]).await.expect(200);
}

/// An exception that somebody made in a browser must outlive a restart.
#[tokio::test]
async fn a_self_signed_certificate_is_kept() {
    let directory = tempfile::tempdir().expect("a directory");
    let worker = worker().await;
    let yaml = Shop::at(worker.address)
        .yaml()
        .replace("{directory}", &directory.path().display().to_string());
    let shown = async |yaml: &str| {
        let proxy = Proxy::start(yaml);
        let client = Dial::to(proxy.address()).tls(HOST).connect().await;
        client.tls.expect("TLS").certificate
    };
    let first = shown(&yaml).await;
    assert!(shown(&yaml).await == first, "another certificate after a restart");
    let renamed = yaml.replace(&format!("names: [{HOST}]"), "names: [www.example.com]");
    assert!(shown(&renamed).await != first, "the certificate of other names");
}

/// RFC 9110, section 15.5.20: a browser may reuse a connection for every name of its certificate,
/// and then asks a server for what belongs to another.
#[tokio::test]
async fn requests_for_names_that_the_certificate_lacks_are_misdirected() {
    let directory = tempfile::tempdir().expect("a directory");
    let names: &[&[&str]] = &[&["shop.example.com", "*.example.net"], &["other.example.org"]];
    let (_made, settings) = certificates(directory.path(), names);
    let worker = worker().await;
    let proxy = serving(&worker, &settings);
    let expectations = [
        ("shop.example.com", "shop.example.com", 200),
        ("shop.example.com", "SHOP.example.com:8443", 200),
        ("shop.example.com", "a.example.net", 200),
        ("a.example.net", "shop.example.com", 200),
        ("shop.example.com", "other.example.org", 421),
        ("shop.example.com", "unknown.example", 421),
        ("shop.example.com", "a.b.example.net", 421),
        ("shop.example.com", "example.net", 421),
        ("shop.example.com", "127.0.0.1", 421),
        ("other.example.org", "shop.example.com", 421),
        ("other.example.org", "other.example.org", 200),
    ];
    for (sni, host, status) in expectations {
        let dial = Dial::to(proxy.address()).tls(sni);
        let mut client = dial.connect().await;
        let answer = client.get(host, "/", &[]).await;
        assert_eq!(answer.status, status, "{sni} then {host}");
        let mut h2 = H2::connect(&dial).await;
        assert_eq!(h2.get(host, "/", &[]).await.status, status, "{sni} then {host}, HTTP/2");
        // One misdirected request is no reason to end a connection.
        client.get(sni, "/", &[]).await.expect(200);
        assert_eq!(h2.get(sni, "/", &[]).await.status, 200);
    }
    let refused = expectations.iter().filter(|(_, _, status)| *status == 421).count();
    assert_eq!(worker.seen().len(), 4 * expectations.len() - 2 * refused);
}

/// A first look: no server has a name, and the certificate was made for nobody in particular.
#[tokio::test]
async fn where_no_server_has_a_name_a_self_signed_certificate_is_good_for_any() {
    let worker = worker().await;
    let proxy = |names: &str| {
        Proxy::start(&format!(
            "workers: 1\nstate_directory: '{{directory}}'\n\
             listeners: [{{ address: 127.0.0.1:0, tls: {{ self_signed: true }} }}]\nstore: memory\n\
             upstreams:\n  app: {{ endpoints: [{{ address: '{}' }}] }}\nservers:\n  \
             - {names}routes: [{{ path: /, upstream: app }}]\n",
            worker.address
        ))
    };
    for (names, status) in [("", 200), ("names: [shop.example.com]\n    ", 421)] {
        let proxy = proxy(names);
        let dial = Dial::to(proxy.address()).tls("visitor.example");
        let answer = dial.connect().await.get("visitor.example", "/", &[]).await;
        assert_eq!(answer.status, status, "{names}");
        let mut h2 = H2::connect(&dial).await;
        assert_eq!(h2.get("visitor.example", "/", &[]).await.status, status, "{names}, HTTP/2");
    }
}

/// Who names nobody in TLS can't be held to it: probes and old clients by address.
#[tokio::test]
async fn clients_without_a_server_name_may_ask_for_any_host() {
    let worker = worker().await;
    let proxy = serving(&worker, "self_signed: true");
    let mut client = Dial::to(proxy.address()).tls("127.0.0.1").connect().await;
    let answer = client.exchange(request("GET", "/", "unknown.example", &[], b"")).await;
    assert_eq!(answer.expect(200).text(), "unknown.example");
}

#[tokio::test]
async fn plain_http_on_a_tls_port_is_refused() {
    let worker = worker().await;
    let proxy = serving(&worker, "self_signed: true");
    let mut client = Dial::to(proxy.address()).connect().await;
    client.send(request("GET", "/", HOST, &[], b"")).await;
    let answer = client.response().await.expect(400);
    assert!(answer.text().contains("https only"), "{}", answer.text());
    assert_eq!(worker.seen().len(), 0);
}

/// A node whose only state are these files.
fn node(worker: &Responder, ring: &Path, tls: &str) -> Proxy {
    Proxy::start(&format!(
        "workers: 1\nstate_directory: '{{directory}}'\nkeyring: '{}'\n\
         listeners: [{{ address: 127.0.0.1:0, tls: {{ {tls} }} }}]\nstore: memory\n\
         upstreams:\n  app: {{ endpoints: [{{ address: '{}' }}] }}\nservers:\n  \
         - names: [shop.example.com]\n    routes: [{{ path: /, upstream: app }}]\n",
        ring.display(),
        worker.address
    ))
}

#[tokio::test]
async fn a_session_of_one_node_is_resumed_by_another_that_has_its_key_ring() {
    let directory = tempfile::tempdir().expect("a directory");
    let (_, settings) = certificates(directory.path(), &[&["shop.example.com"]]);
    let worker = worker().await;
    let ring = |name: &str| {
        let file = directory.path().join(name);
        let ring = Keyring::generate(UnixMillis(1)).expect("entropy");
        ring.save_new(&file).expect("written");
        file
    };
    let (ring, other) = (ring("ring.json"), ring("other.json"));
    let nodes = [
        node(&worker, &ring, &settings),
        node(&worker, &ring, &settings),
        node(&worker, &other, &settings),
    ];
    for versions in [tls::ONLY_TLS12, tls::ONLY_TLS13] {
        let config = tls::client_config(&[], versions);
        let resumed = async |node: &Proxy| {
            let dial = Dial::to(node.address()).tls("shop.example.com").config(config.clone());
            let mut client = dial.connect().await;
            client.get("shop.example.com", "/", &[]).await.expect(200);
            client.tls.as_ref().expect("TLS").resumed
        };
        assert!(!resumed(&nodes[0]).await, "the first one");
        assert!(resumed(&nodes[0]).await);
        assert!(resumed(&nodes[1]).await, "the same ring");
        assert!(!resumed(&nodes[2]).await, "another ring");
    }
}

#[tokio::test]
async fn a_certificate_that_is_renewed_is_shown_without_a_word() {
    let directory = tempfile::tempdir().expect("a directory");
    let (made, settings) = certificates(directory.path(), &[&["shop.example.com"]]);
    let worker = worker().await;
    let proxy = serving(&worker, &settings);
    let shown = async || {
        let client = Dial::to(proxy.address()).tls("shop.example.com").connect().await;
        client.tls.as_ref().expect("TLS").certificate.clone()
    };
    assert_eq!(shown().await, made[0].der);
    let renewed = Certificate::for_names(&["shop.example.com"]);
    renewed.write(directory.path(), "0");
    let deadline = std::time::Instant::now() + std::time::Duration::from_secs(30);
    while shown().await != renewed.der {
        assert!(std::time::Instant::now() < deadline, "it is not shown");
        tokio::time::sleep(std::time::Duration::from_millis(100)).await;
    }
}
