//! What operators ask and order over the admin listener, and who may.

use std::path::Path;
use std::process::Output;

use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::support::admin::{ADMIN, ask, metrics, socket};
use crate::support::client::{Dial, request};
use crate::support::http::response;
use crate::support::origin::{Request, Responder};
use crate::support::proxy::{Binary, Proxy};
use crate::support::shop::{Shop, browser};
use crate::support::{free_port, within};

async fn worker(name: &'static str) -> Responder {
    Responder::start(move |_: &Request| response("200 OK", &[], name.as_bytes())).await
}

/// Two workers behind `shop`, and a third that nobody knows yet.
struct Stage {
    node: Proxy,
    workers: [Responder; 3],
}

impl Stage {
    async fn start() -> Self {
        let workers = [worker("a").await, worker("b").await, worker("c").await];
        let yaml = format!(
            "state_directory: '{{directory}}'\nlisteners: [{{ address: '127.0.0.1:0' }}]\n\
             store: memory\n{ADMIN}\nupstreams:\n  shop: {{ endpoints: [{{ address: '{}' }}, \
             {{ address: '{}' }}] }}\nservers: [{{ routes: [{{ path: /, upstream: shop, \
             request_headers: {{ Authorization: s3cret-word }} }}] }}]\n",
            workers[0].address, workers[1].address
        );
        Self { node: Proxy::start(&yaml), workers }
    }

    fn endpoint(&self, worker: usize) -> String {
        self.workers[worker].address.to_string()
    }

    /// Who answers so many requests.
    async fn answers(&self, number: usize) -> Vec<String> {
        let mut found = Vec::new();
        for _ in 0..number {
            let mut connection = Dial::to(self.node.address()).connect().await;
            let answer = connection.exchange(request("GET", "/", "a", &[], b"")).await.expect(200);
            found.push(answer.text());
        }
        found
    }

    async fn get(&self, path: &str) -> Value {
        let (status, content) = get(&socket(&self.node), path).await;
        assert_eq!(status, 200, "{path}: {content}");
        content
    }

    async fn post(&self, path: &str, body: &Value) -> (u16, Value) {
        post(&socket(&self.node), path, body).await
    }

    fn command(&self, arguments: &[&str]) -> Output {
        let admin = format!("unix:{}", socket(&self.node).display());
        Binary::run(&[&["upstreams"], arguments, &["--admin", &admin]].concat())
    }
}

async fn get(socket: &Path, path: &str) -> (u16, Value) {
    let request = format!("GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n");
    let (status, _, content) = ask(socket, &request).await;
    (status, serde_json::from_str(&content).expect("JSON"))
}

fn posted(path: &str, body: &Value) -> String {
    let body = body.to_string();
    format!(
        "POST {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\
         Content-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    )
}

async fn post(socket: &Path, path: &str, body: &Value) -> (u16, Value) {
    let (status, _, content) = ask(socket, &posted(path, body)).await;
    (status, serde_json::from_str(&content).expect("JSON"))
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

#[tokio::test]
async fn endpoints_are_drained_weighed_added_and_removed_under_way() {
    let stage = Stage::start().await;
    let order = |worker: usize| json!({ "upstream": "shop", "endpoint": stage.endpoint(worker) });
    assert_eq!(stage.answers(4).await, ["a", "b", "a", "b"]);
    let (status, shop) = stage.post("/upstreams/drain", &order(0)).await;
    assert_eq!((status, &shop["endpoints"][0]["state"]), (200, &json!("draining")), "{shop}");
    assert_eq!(stage.answers(3).await, ["b", "b", "b"]);
    let mut add = order(2);
    add["weight"] = 2.into();
    assert_eq!(stage.post("/upstreams/add", &add).await.0, 200);
    let mut found = stage.answers(6).await;
    found.sort();
    assert_eq!(found, ["b", "b", "c", "c", "c", "c"]);
    assert_eq!(stage.post("/upstreams/remove", &order(1)).await.0, 200);
    assert_eq!(stage.answers(2).await, ["c", "c"]);
    assert_eq!(stage.post("/upstreams/enable", &order(0)).await.0, 200);
    let mut weigh = order(0);
    weigh["weight"] = 4.into();
    assert_eq!(stage.post("/upstreams/weight", &weigh).await.0, 200);
    let mut found = stage.answers(6).await;
    found.sort();
    assert_eq!(found, ["a", "a", "a", "a", "c", "c"]);

    let shown = stage.get("/upstreams").await;
    let endpoints = shown["upstreams"][0]["endpoints"].as_array().expect("a list");
    let seen: Vec<_> = endpoints.iter().map(|one| (&one["address"], &one["weight"])).collect();
    let (a, c) = (json!(stage.endpoint(0)), json!(stage.endpoint(2)));
    assert_eq!(seen, [(&a, &json!(4)), (&c, &json!(2))]);
    let events = stage.get("/audit").await;
    let names: Vec<_> =
        events["events"].as_array().expect("a list").iter().map(|one| &one["event"]).collect();
    let expected = ["drained", "added", "removed", "enabled", "weighed"];
    assert_eq!(names, expected.map(|verb| json!(format!("endpoint_{verb}"))).each_ref());
}

#[tokio::test]
async fn orders_that_make_no_sense_change_nothing_and_say_why() {
    let stage = Stage::start().await;
    let before = stage.get("/upstreams").await;
    let [a, b, c] = [0, 1, 2].map(|worker| stage.endpoint(worker));
    for (verb, body, status, word) in [
        ("drain", json!({}), 400, "body"),
        ("drain", json!({ "upstream": "shop", "endpoint": a, "weight": 2 }), 400, "body"),
        ("weight", json!({ "upstream": "shop", "endpoint": a }), 400, "body"),
        ("weight", json!({ "upstream": "shop", "endpoint": a, "weight": 0 }), 400, "weight"),
        ("drain", json!({ "upstream": "shop", "endpoint": a, "more": 1 }), 400, "body"),
        ("drain", json!({ "upstream": "x", "endpoint": a }), 404, "no_such_upstream"),
        ("drain", json!({ "upstream": "shop", "endpoint": c }), 404, "no_such_endpoint"),
        ("add", json!({ "upstream": "shop", "endpoint": b }), 409, "known"),
        ("add", json!({ "upstream": "shop", "endpoint": "app:1" }), 400, "endpoint"),
        ("add", json!({ "upstream": "shop", "endpoint": "127.0.0.1:0" }), 400, "endpoint"),
        ("add", json!({ "upstream": "shop", "endpoint": c, "weight": 70000 }), 400, "weight"),
    ] {
        let (found, content) = stage.post(&format!("/upstreams/{verb}"), &body).await;
        assert_eq!((found, &content["error"]), (status, &json!(word)), "{verb} {body}: {content}");
        assert!(content["message"].as_str().is_some_and(|text| text.len() > 10), "{content}");
    }
    let (status, _, _) = ask(
        &socket(&stage.node),
        "GET /upstreams/drain HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n",
    )
    .await;
    assert_eq!(status, 405);
    let form = posted("/upstreams/remove", &json!({ "upstream": "shop", "endpoint": a }));
    let form = form.replace("application/json", "text/plain");
    assert_eq!(ask(&socket(&stage.node), &form).await.0, 415);
    assert_eq!(stage.get("/upstreams").await, before);
    let order = |endpoint: &str| json!({ "upstream": "shop", "endpoint": endpoint });
    assert_eq!(stage.post("/upstreams/remove", &order(&a)).await.0, 200);
    let (status, content) = stage.post("/upstreams/remove", &order(&b)).await;
    assert_eq!((status, &content["error"]), (409, &json!("last_one")));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_operator_changes_endpoints_by_command() {
    let stage = Stage::start().await;
    let [a, b, c] = [0, 1, 2].map(|worker| stage.endpoint(worker));
    let listed = stage.command(&["list"]);
    let said = text(&listed.stdout);
    assert!(said.starts_with("shop (round_robin)\n") && said.contains(&a), "{listed:?}");
    let done = stage.command(&["drain", "shop", &a]);
    assert!(text(&done.stdout).contains("draining"), "{done:?}");
    assert!(!text(&done.stdout).contains("no endpoint"), "{done:?}");
    let done = stage.command(&["drain", "shop", &b]);
    assert!(text(&done.stdout).contains("no endpoint of shop takes new clients"), "{done:?}");
    let done = stage.command(&["add", "shop", &c, "--weight", "3"]);
    assert!(text(&done.stdout).contains("weight 3"), "{done:?}");
    assert_eq!(stage.answers(2).await, ["c", "c"]);
    assert!(stage.command(&["weight", "shop", &c, "5"]).status.success());
    assert!(stage.command(&["enable", "shop", &a]).status.success());
    assert!(stage.command(&["remove", "shop", &c]).status.success());
    assert_eq!(stage.answers(2).await, ["a", "a"]);
    let done = stage.command(&["remove", "shop", &c]);
    assert_eq!(done.status.code(), Some(1));
    assert!(text(&done.stderr).contains("no endpoint"), "{done:?}");
    let done = stage.command(&["list", "nothing"]);
    assert_eq!(done.status.code(), Some(1), "{done:?}");
}

#[tokio::test]
async fn the_process_is_shown_without_its_secrets() {
    let stage = Stage::start().await;
    let config = stage.get("/config").await;
    assert_eq!(config["store"], "memory");
    let route = &config["servers"][0]["routes"][0];
    assert_eq!(route["request_headers"]["Authorization"], "[redacted]");
    assert!(!config.to_string().contains("s3cret-word"), "{config}");
    let status = stage.get("/status").await;
    assert_eq!(status["ready"], true);
    assert_eq!(status["version"], env!("CARGO_PKG_VERSION"));
    assert_eq!(status["upstreams"][0]["name"], "shop");
    assert_eq!(status["store"]["engine"], "memory");
    assert_eq!(status["store"]["answers"], true);
    assert!(status["history"]["at"].is_array());
    let described = stage.get("/openapi.json").await;
    let reload = &described["paths"]["/reload"]["post"]["summary"];
    assert_eq!(*reload, "Do what HUP does");
    let reloaded = json!({ "reloaded": true, "needs_restart": [] });
    assert_eq!(stage.post("/reload", &json!({})).await, (200, reloaded));
}

#[tokio::test]
async fn certificates_and_sessions_in_use_are_told() {
    let worker = Responder::start(|_: &Request| {
        response("200 OK", &[("set-cookie", "EGG_SESS=x; path=/")], b"")
    })
    .await;
    let node = Shop::at(worker.address).in_memory().top(ADMIN).start();
    for _ in 0..3 {
        let mut visitor = browser(std::slice::from_ref(&node));
        visitor.get("/").await.expect(200);
        visitor.get("/").await.expect(200);
    }
    let (_, active) = get(&socket(&node), "/sessions/active").await;
    assert_eq!(active, json!({ "active": { "shop": 3 } }));
    let (_, certificates) = get(&socket(&node), "/certificates").await;
    let certificate = &certificates["certificates"][0];
    assert!(certificate["days_left"].as_i64() > Some(0), "{certificates}");
    assert!(certificate["names"].as_array().is_some_and(|names| !names.is_empty()));
    let shown = metrics(&node).await;
    assert!(shown.contains("cloakroom_session_events_total{event=\"created\"} 3"), "{shown}");
}

/// Over TCP anybody on the machine can connect.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn over_tcp_the_token_opens() {
    const TOKEN: &str = "a-token-of-sufficient-length";
    let files = tempfile::tempdir().expect("a directory");
    let file = files.path().join("token");
    std::fs::write(&file, format!("{TOKEN}\n")).expect("written");
    let worker = worker("a").await;
    let node = |port: u16, more: &str| {
        Proxy::start(&format!(
            "state_directory: '{{directory}}'\nlisteners: [{{ address: '127.0.0.1:0' }}]\n\
             store: memory\nadmin: {{ address: '127.0.0.1:{port}'{more} }}\nupstreams: {{ shop: \
             {{ endpoints: [{{ address: '{}' }}] }} }}\nservers: [{{ routes: [{{ path: /, \
             upstream: shop }}] }}]\n",
            worker.address
        ))
    };
    let with_token = node(free_port(), &format!(", token_file: '{}'", file.display()));
    let without = node(free_port(), "");
    let ask = async |node: &Proxy, head: &str| {
        let address = node.admin_address().to_owned();
        let head = head.replace("OWN", &address);
        let request = format!("{head}Host: {address}\r\nConnection: close\r\n\r\n");
        let asked = async {
            let mut stream = TcpStream::connect(address).await.expect("it listens");
            stream.write_all(request.as_bytes()).await.expect("taken");
            let mut answer = String::new();
            stream.read_to_string(&mut answer).await.expect("an answer");
            answer.split(' ').nth(1).expect("a status").to_owned()
        };
        within("the admin listener", asked).await
    };
    let get = "GET /status HTTP/1.1\r\n";
    let shown = format!("{get}Authorization: Bearer {TOKEN}\r\n");
    assert_eq!(ask(&with_token, get).await, "401");
    assert_eq!(ask(&with_token, &format!("{get}Authorization: Bearer {TOKEN}x\r\n")).await, "401");
    assert_eq!(ask(&with_token, &shown).await, "200");
    assert_eq!(ask(&with_token, &format!("{shown}Sec-Fetch-Site: same-origin\r\n")).await, "200");
    assert_eq!(ask(&with_token, &format!("{shown}Origin: http://OWN\r\n")).await, "200");
    assert_eq!(ask(&with_token, &format!("{shown}Sec-Fetch-Site: same-site\r\n")).await, "403");
    assert_eq!(ask(&with_token, &format!("{shown}Origin: http://evil.example\r\n")).await, "403");
    let sessions = "GET /sessions?subject=a HTTP/1.1\r\n";
    assert_eq!(ask(&with_token, sessions).await, "401");
    assert_eq!(ask(&with_token, "GET /metrics HTTP/1.1\r\n").await, "200");
    assert_eq!(ask(&without, get).await, "403");
    assert_eq!(ask(&without, &shown).await, "403");
    assert_eq!(ask(&without, sessions).await, "200");

    let admin = with_token.admin_address().to_owned();
    let token = file.display().to_string();
    let done = Binary::run(&["upstreams", "list", "--admin", &admin, "--token-file", &token]);
    assert!(done.status.success(), "{done:?}");
    let done = Binary::run(&["upstreams", "list", "--admin", &admin]);
    assert_eq!(done.status.code(), Some(1), "{done:?}");
    assert!(text(&done.stderr).contains("admin.token_file"), "{done:?}");
}
