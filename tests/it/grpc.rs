//! gRPC's own library on both sides.

use std::path::Path;
use std::process::Command;

use serde_json::json;

use crate::support::apps::App;
use crate::support::proxy::Proxy;
use crate::support::shop::HOST;
use crate::support::tls::Certificate;

/// A proxy with a certificate that is written to `files`.
fn proxy(app: &App, files: &Path) -> Proxy {
    let (chain, key) = Certificate::for_names(&[HOST]).write(files, "proxy");
    Proxy::start(&format!(
        "\
state_directory: '{{directory}}'
listeners:
  - address: 127.0.0.1:0
    tls: {{ certificates: [{{ chain: '{}', key: '{}' }}] }}
store: memory
upstreams:
  calls: {{ protocol: h2, endpoints: [{{ address: '{}' }}] }}
servers:
  - names: [{HOST}]
    routes: [{{ path: /, upstream: calls, body_bytes_max: 0 }}]
",
        chain.display(),
        key.display(),
        app.address,
    ))
}

#[tokio::test]
async fn all_four_kinds_of_calls_pass() {
    let app = App::grpc();
    let files = tempfile::tempdir().expect("a temporary directory can be made");
    let proxy = proxy(&app, files.path());
    let output = Command::new(App::python())
        .arg(App::directory().join("calls_grpc.py"))
        .args(["call", &proxy.address().to_string(), HOST])
        .arg(files.path().join("proxy.pem"))
        .output()
        .expect("python can be started");
    let text = String::from_utf8_lossy(&output.stdout);
    let found: serde_json::Value = serde_json::from_str(&text)
        .unwrap_or_else(|_| panic!("{text}\n{}", String::from_utf8_lossy(&output.stderr)));
    let expected = json!({
        "unary": "cba",
        "initial": { "x-initial": "here" },
        "trailing": { "x-trailing": "me", "x-binary-bin": [0, 255] },
        "gather": "a,b,c",
        "spread": ["0", "1", "2", "3", "4"],
        "talk": ["re: one", "re: two", "re: three"],
        "refuse": ["RESOURCE_EXHAUSTED", "no room: 100 %"],
        "missing": "UNIMPLEMENTED",
        "deadline": "DEADLINE_EXCEEDED",
        "cancelled": ["CANCELLED", "asleep", "CANCELLED", 2],
        "large": true,
        "many": 300,
    });
    assert_eq!(found, expected);
}
