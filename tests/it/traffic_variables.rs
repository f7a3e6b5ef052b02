//! Variables that count: bytes of workers, how much an answer was compressed, connections, as nginx has them
//! in lines of a log of the same file.

use std::path::Path;
use std::time::Duration;

use crate::support::client::Dial;
use crate::support::http::response;
use crate::support::nginx::Nginx;
use crate::support::origin::{Request, Responder};
use crate::support::proxy::Binary;
use crate::support::{free_port, loopback, within};

const HTTP: &str = r#"
log_format told '$request_uri|$status|$upstream_bytes_received|$gzip_ratio';
upstream both { server {closed}; server {origin} backup; }
server {
    listen 127.0.0.1:{port};
    access_log {dir}/told.log told;
    gzip on;
    gzip_types text/plain;
    location / { proxy_pass http://{origin}; proxy_http_version 1.1; }
    location /both/ { proxy_pass http://both; proxy_http_version 1.1; }
    location /page/ { proxy_pass http://{closed}; error_page 502 = /from-page; }
    location /text { return 200 "$status"; }
    location /numbers { return 200 "$connections_active $connections_reading $connections_writing $connections_waiting"; }
}
"#;

fn answer(request: &Request) -> Vec<u8> {
    match request.head.start.as_str() {
        start if start.contains("long") => response(
            "200 OK",
            &[("Content-Type", "text/plain")],
            "0123456789".repeat(400).as_bytes(),
        ),
        _ => response("200 OK", &[("Content-Type", "text/plain")], b"hello"),
    }
}

async fn ask(port: u16) -> String {
    for target in ["/", "/long", "/both/long", "/page/", "/text", "/plain"] {
        let mut connection = Dial::to(loopback(port)).connect().await;
        let coding = if target == "/plain" { "" } else { "Accept-Encoding: gzip\r\n" };
        connection
            .send(format!("GET {target} HTTP/1.1\r\nHost: a\r\nConnection: close\r\n{coding}\r\n"))
            .await;
        connection.response().await.expect(200);
        assert_eq!(connection.rest().await, Ok(Vec::new()), "{target}");
    }
    let mut waits = Dial::to(loopback(port)).connect().await;
    waits.get("a", "/text", &[]).await.expect(200);
    let mut begins = Dial::to(loopback(port)).connect().await;
    begins.send("GET / HTTP/1.1\r\n").await;
    let mut connection = Dial::to(loopback(port)).connect().await;
    within("counts", async {
        loop {
            let numbers = connection.get("a", "/numbers", &[]).await.text();
            if numbers == "3 1 1 1" {
                return numbers;
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    })
    .await
}

async fn lines(folder: &Path) -> Vec<String> {
    within("lines", async {
        loop {
            let text = std::fs::read_to_string(folder.join("told.log")).unwrap_or_default();
            let lines: Vec<String> = text.lines().map(str::to_owned).collect();
            if lines.len() >= 6 {
                return lines.into_iter().take(6).collect();
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    })
    .await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_variables_count_is_what_nginx_counts() {
    let origin = Responder::start(answer).await;
    let closed = loopback(free_port());
    let (theirs, ours) = (tempfile::tempdir(), tempfile::tempdir());
    let (theirs, ours) = (theirs.expect("a folder"), ours.expect("a folder"));
    let fill = |folder: &Path| {
        HTTP.replace("{origin}", &origin.address.to_string())
            .replace("{closed}", &closed.to_string())
            .replace("{dir}", &folder.display().to_string())
    };
    let nginx = Nginx::serving(&fill(theirs.path()));
    let conf = format!("events {{}}\nhttp {{\naccess_log off;\n{}\n}}\n", fill(ours.path()));
    let binary = Binary::serve(&conf, &["import", "--run", "-q"]);
    let (expected, numbers) = (ask(nginx.address.port()).await, ask(binary.port).await);
    assert_eq!(numbers, expected);
    let (theirs, ours) = (lines(theirs.path()).await, lines(ours.path()).await);
    assert_eq!(without_ratios(&ours), without_ratios(&theirs));
}

/// How small something becomes is the coder's business; that it is a ratio is checked.
fn without_ratios(lines: &[String]) -> Vec<String> {
    let without = |line: &String| {
        let mut parts: Vec<&str> = line.split('|').collect();
        let ratio = parts.remove(3);
        let digits = ratio.replace('.', "");
        let is_ratio = ratio.len() == 5 && digits.len() == 4 && digits.parse::<u32>().is_ok();
        assert!(is_ratio || ratio == "-", "{line}");
        format!("{} {is_ratio}", parts.join("|"))
    };
    lines.iter().map(without).collect()
}

/// The heads that go to workers are ours, so their bytes are counted at the worker.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn bytes_that_went_to_a_worker_are_those_that_came_there() {
    let origin = Responder::start(answer).await;
    let folder = tempfile::tempdir().expect("a folder");
    let conf = format!(
        "events {{}}\nhttp {{ log_format sent '$upstream_bytes_sent'; server {{ listen 127.0.0.1:{{port}}; \
         access_log {}/told.log sent; location / {{ proxy_pass http://{}; }} }} }}\n",
        folder.path().display(),
        origin.address
    );
    let binary = Binary::serve(&conf, &["import", "--run", "-q"]);
    let mut connection = Dial::to(loopback(binary.port)).connect().await;
    for length in [0, 1, 10, 5000, 100_000, 7] {
        let body = "x".repeat(length);
        let head = format!("POST /x HTTP/1.1\r\nHost: a\r\nContent-Length: {length}\r\n\r\n");
        connection.exchange(format!("{head}{body}")).await.expect(200);
    }
    let came: Vec<String> =
        origin.seen().iter().map(|request| request.raw().len().to_string()).collect();
    assert_eq!(lines(folder.path()).await, came);
}
