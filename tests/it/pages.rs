//! The pages that are our own, in a real browser: the operators' status page, and the users' devices.

use std::path::Path;
use std::process::Command;

use serde_json::Value;

use crate::support::client::{Dial, request};
use crate::support::free_port;
use crate::support::http::response;
use crate::support::origin::{Request, Responder};
use crate::support::process::Process;
use crate::support::proxy::Proxy;
use crate::support::shop::{HOST, Shop};
use crate::support::tls::Certificate;

const TOKEN: &str = "a-token-of-sufficient-length";

struct Stage {
    node: Proxy,
    certificate: Certificate,
    worker: Responder,
    _files: tempfile::TempDir,
}

impl Stage {
    async fn start() -> Self {
        let worker = Responder::start(|request: &Request| {
            if let Some((_, user)) = request.target.split_once("/login?user=") {
                let cookie = format!("EGG_SESS=of-{user}; path=/");
                let fields = [("location", "/"), ("set-cookie", &*cookie), ("x-user", user)];
                return response("302 Found", &fields, b"");
            }
            response("200 OK", &[("content-type", "text/html")], b"<title>shop</title><p>shop</p>")
        })
        .await;
        let files = tempfile::tempdir().expect("a temporary directory can be made");
        let certificate = Certificate::for_names(&[HOST]);
        let (chain, key) = certificate.write(files.path(), "shop");
        let token = files.path().join("token");
        std::fs::write(&token, TOKEN).expect("written");
        let admin = format!(
            "admin: {{ address: '127.0.0.1:{}', token_file: '{}' }}",
            free_port(),
            token.display()
        );
        let yaml = Shop::at(worker.address)
            .in_memory()
            .policy("own_sessions: true")
            .login(
                "{ request: POST /login, success: { status: [302] }, subject: { header: X-User } }",
            )
            .top(&admin)
            .yaml()
            .replace(
                "tls: { self_signed: true }",
                &format!(
                    "tls: {{ certificates: [{{ chain: {}, key: {} }}] }}",
                    chain.display(),
                    key.display()
                ),
            );
        Self { node: Proxy::start(&yaml), certificate, worker, _files: files }
    }

    /// What a scenario saw at last, of so many things.
    async fn see(&self, scenario: &str, results: usize, directory: Option<&Path>) -> Value {
        let profile = tempfile::tempdir().expect("a temporary directory can be made");
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/chromium/pages.js");
        let port = self.node.address().port().to_string();
        let mut command = Command::new("node");
        command
            .arg(script)
            .arg(scenario)
            .arg(profile.path())
            .args([self.node.admin_address(), TOKEN, HOST, &port, &self.certificate.pin()])
            .args(directory)
            .env_remove("NODE_OPTIONS")
            .env("HOME", profile.path())
            .env("XDG_CONFIG_HOME", profile.path())
            .env("XDG_CACHE_HOME", profile.path());
        let mut process = Process::spawn("chromium", &mut command);
        tokio::task::spawn_blocking(move || {
            let mut next =
                |_| process.wait_line("RESULT ").unwrap_or_else(|problem| panic!("{problem}"));
            let seen = (0..results).map(&mut next).last().expect("one at least");
            process.wait_exit();
            drop(profile);
            serde_json::from_str(&seen).expect("the script prints JSON")
        })
        .await
        .expect("the browser comes to its end")
    }
}

fn text<'a>(value: &'a Value, key: &str) -> &'a str {
    value[key].as_str().unwrap_or_else(|| panic!("no {key} in {value}"))
}

#[track_caller]
fn has(text: &str, parts: &[&str]) {
    for part in parts {
        assert!(text.contains(part), "{part} is missing from {text}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_button_of_the_status_page_works() {
    let stage = Stage::start().await;
    let seen = stage.see("status", 1, None).await;
    let endpoint = stage.worker.address.to_string();
    has(
        text(&seen, "text"),
        &["ready", &endpoint, "shop (round_robin)", HOST, "Store (memory)", "Reload configuration"],
    );
    assert_eq!(seen["found"], Value::Array(vec![]), "axe-core, and what is too wide");
    assert_eq!(seen["complaints"], Value::Array(vec![]), "errors and broken policies");
    let asked = seen["asked"].as_array().expect("a list");
    assert_eq!(*asked, [Value::from(format!("http://{}", stage.node.admin_address()))]);
    let steps = seen["steps"].as_array().expect("steps");
    let after = |number: usize| text(&steps[number], "upstreams");
    has(after(0), &["draining", "No endpoint takes new clients"]);
    assert!(!after(1).contains("draining"), "{}", after(1));
    has(after(2), &["7"]);
    has(after(3), &["127.0.0.1:9"]);
    assert!(!after(4).contains("127.0.0.1:9\t"), "{}", after(4));
    let problems: Vec<_> = steps.iter().map(|step| step["problem"].as_str()).collect();
    let last_one = problems[5].expect("it is the last endpoint");
    assert!(last_one.contains("last endpoint"), "{last_one}");
    assert!(problems[8].is_some_and(|text| text.contains("everybody")), "{problems:?}");
    for (number, problem) in
        problems.iter().enumerate().filter(|(number, _)| ![5, 8].contains(number))
    {
        assert_eq!(*problem, None, "{}", steps[number]["label"]);
    }
    assert_eq!(seen["focused"], "reload", "where it was before the dialog");
    has(
        text(&seen, "events"),
        &["endpoint drained", "endpoint weighed", "endpoint removed", "reload ordered", "revoked"],
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_user_signs_her_devices_out_without_script() {
    let stage = Stage::start().await;
    let seen = stage.see("devices", 1, None).await;
    has(
        text(&seen, "text"),
        &["Your devices", "Firefox on Linux", "This device", "Safari on iPhone", "Edge on Windows"],
    );
    assert_eq!(seen["found"], Value::Array(vec![]), "axe-core, and what is too wide");
    assert_eq!(seen["complaints"], Value::Array(vec![]), "errors and broken policies");
    assert_eq!(
        seen["titles"],
        serde_json::json!(["en Your devices", "de Ihre Geräte", "zh 您的设备"])
    );
    has(text(&seen, "one"), &["Done.", "Edge on Windows"]);
    assert!(!text(&seen, "one").contains("Safari"), "{seen}");
    assert_eq!(seen["url"], "/.well-known/cloakroom/sessions?ended");
    assert!(!text(&seen, "others").contains("Edge"), "{seen}");
    has(text(&seen, "gone"), &["Sie sind nicht angemeldet"]);
    has(text(&seen, "here"), &["You are not signed in"]);
}

/// Run by `scripts/screenshots`: nothing is judged.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn screenshots_are_taken_where_they_are_asked_for() {
    let Some(directory) = std::env::var_os("CLOAKROOM_SCREENSHOTS") else { return };
    let stage = Stage::start().await;
    let address = stage.node.address();
    // Traffic that comes and goes, for the plots.
    let busy = tokio::spawn(async move {
        for step in 0u64.. {
            let mut connection = Dial::to(address).tls(HOST).connect().await;
            connection.exchange(request("GET", "/", HOST, &[], b"")).await;
            tokio::time::sleep(std::time::Duration::from_millis(8 + (step / 40 % 8) * 6)).await;
        }
    });
    stage.see("shots", 12, Some(Path::new(&directory))).await;
    busy.abort();
}
