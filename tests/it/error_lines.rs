//! Lines of the error log, beside those that nginx writes of the same file and the same requests.

use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

use crate::support::client::Dial;
use crate::support::nginx::Nginx;
use crate::support::proxy::Binary;
use crate::support::{free_port, loopback, within};

const SERVER: &str = r#"
limit_req_zone $binary_remote_addr zone=one:1m rate=1r/m;
limit_conn_zone $binary_remote_addr zone=two:1m;
upstream gone { server {closed} down; server {origin} down; }
server {
    listen 127.0.0.1:{port};
    server_name shop.example;
    error_log {dir}/error.log info;
    root {dir}/root;
    client_max_body_size 10;
    large_client_header_buffers 2 1k;
    location / { }
    location /closed/ { proxy_pass http://{closed}; }
    location /uri/ { proxy_pass http://{closed}/other/; }
    location /no-socket/ { proxy_pass http://unix:{dir}/none.sock; }
    location /dead-socket/ { proxy_pass http://unix:{dir}/dead.sock; }
    location /no-way/ { proxy_pass http://127.255.255.255:81; }
    location /gone/ { proxy_pass http://gone; }
    location /breaks/ { proxy_pass http://{origin}; proxy_next_upstream off; }
    location /slow/ { proxy_pass http://{origin}; proxy_read_timeout 1s; }
    location /flaw/ { proxy_pass http://{origin}; }
    location /denied/ { deny all; }
    location /limited/ { limit_req zone=one; return 200; error_page 503 =200 /fine; try_files /fine =404; }
    location /basic/ { auth_basic x; auth_basic_user_file {dir}/users; }
    location /nobody/ { auth_basic x; auth_basic_user_file {dir}/none; }
    location /cycle/ { rewrite ^/cycle/(.*)$ /cycle/x$1 last; }
    location /pages/ { error_page 404 /pages/again; recursive_error_pages on; }
}
"#;

/// What is asked, and whether the line names the connection's end alone.
fn asked() -> Vec<String> {
    let get = |target: &str, lines: &str| {
        format!("GET {target} HTTP/1.1\r\nHost: shop.example\r\nConnection: close\r\n{lines}\r\n")
    };
    let basic = |pair: &str| format!("Authorization: Basic {pair}\r\n");
    vec![
        get("/nowhere?a=b", "Referer: http://from.example/x\r\nCookie: sid=secret\r\n"),
        get("/folder/", ""),
        get("/closed/x?y=z", ""),
        get("/uri/x", ""),
        get("/no-socket/x", ""),
        get("/dead-socket/x", ""),
        get("/no-way/x", ""),
        get("/gone/x", ""),
        get("/breaks/x", ""),
        get("/slow/x", ""),
        get("/flaw/x", ""),
        get("/denied/x", ""),
        get("/basic/", ""),
        // alice:wrong, bob:x
        get("/basic/", &basic("YWxpY2U6d3Jvbmc=")),
        get("/basic/", &basic("Ym9iOng=")),
        get("/nobody/", &basic("Ym9iOng=")),
        get("/cycle/", ""),
        get("/pages/x", ""),
        "POST / HTTP/1.1\r\nHost: shop.example\r\nContent-Length: 11\r\nConnection: close\r\n\r\n12345678901".to_owned(),
        "GET / HTTP/1.1\r\n\r\n".to_owned(),
        "GET / HTTP/1.1\r\nHost: a..b\r\nConnection: close\r\n\r\n".to_owned(),
        format!("GET /{} HTTP/1.1\r\nHost: shop.example\r\n\r\n", "a".repeat(2000)),
    ]
}

/// A worker that does none of it well.
async fn worker() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("it is bound");
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            tokio::spawn(async move {
                let mut head = [0; 4096];
                let read = stream.read(&mut head).await.unwrap_or_default();
                let head = String::from_utf8_lossy(&head[..read]).into_owned();
                if head.starts_with("GET /flaw/") {
                    let _ = stream.write_all(b"HTTP/1.1 200 OK\r\nno field\r\n\r\n").await;
                }
                if head.starts_with("GET /slow/") {
                    tokio::time::sleep(Duration::from_secs(20)).await;
                }
            });
        }
    });
    address
}

/// The lines without what differs by nature: time, process, number, addresses.
fn lines(folder: &Path, names: &[(String, &str)]) -> Vec<String> {
    let text = std::fs::read_to_string(folder.join("error.log")).unwrap_or_default();
    let said = text.lines().filter_map(|line| {
        let (_, rest) = line.split_once(" [")?;
        let (level, rest) = rest.split_once("] ")?;
        let (_, said) = rest.split_once(": *")?;
        let (_, said) = said.split_once(' ')?;
        let mut said = format!("[{level}] {said}");
        for (text, name) in names {
            said = said.replace(text, name);
        }
        Some(said)
    });
    // What the worker sent may be anything, a cookie, too.
    let said = said.map(|line| line.replace(": \"no\\x20...\"", "").replace(&"a".repeat(16), ""));
    // Nothing that a client has done wrong but close.
    said.filter(|line| !line.contains("keepalive connection") && !line.contains("client closed"))
        .collect()
}

async fn ask_all(port: u16) {
    for raw in asked() {
        let mut connection = Dial::to(loopback(port)).connect().await;
        connection.send(raw.as_bytes()).await;
        assert!(connection.try_response().await.is_ok(), "{raw}");
    }
}

fn folder() -> tempfile::TempDir {
    let folder = tempfile::tempdir().expect("a folder");
    std::fs::create_dir_all(folder.path().join("root/folder")).expect("it can be made");
    std::fs::create_dir_all(folder.path().join("root/basic")).expect("it can be made");
    std::fs::write(folder.path().join("users"), "alice:{PLAIN}right\n").expect("it can be written");
    let dead = folder.path().join("dead.sock");
    drop(std::os::unix::net::UnixListener::bind(dead).expect("a socket that nobody listens on"));
    folder
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn errors_are_told_in_the_words_of_nginx() {
    let origin = worker().await;
    let closed = loopback(free_port());
    let fill = |folder: &Path| {
        SERVER
            .replace("{origin}", &origin.to_string())
            .replace("{closed}", &closed.to_string())
            .replace("{dir}", &folder.display().to_string())
    };
    let (theirs, ours) = (folder(), folder());
    let nginx = Nginx::serving(&fill(theirs.path()));
    let conf = format!("events {{}}\nhttp {{\naccess_log off;\n{}\n}}\n", fill(ours.path()));
    let binary = Binary::serve(&conf, &["import", "--run", "-q"]);
    ask_all(nginx.address.port()).await;
    ask_all(binary.port).await;
    let names = |folder: &Path, port: u16| {
        vec![
            (folder.display().to_string(), "DIR"),
            (format!("127.0.0.1:{port}"), "PORT"),
            (origin.to_string(), "ORIGIN"),
            (closed.to_string(), "CLOSED"),
        ]
    };
    let expected = lines(theirs.path(), &names(theirs.path(), nginx.address.port()));
    let said = within("lines", async {
        loop {
            let said = lines(ours.path(), &names(ours.path(), binary.port));
            if said.len() >= expected.len() {
                return said;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    });
    let said = said.await;
    let differing: Vec<String> = expected
        .iter()
        .zip(&said)
        .filter(|(theirs, ours)| theirs != ours)
        .map(|(theirs, ours)| format!("nginx: {theirs}\nours:  {ours}\n"))
        .collect();
    assert!(differing.is_empty(), "{}", differing.join("\n"));
    assert_eq!(said.len(), expected.len(), "{said:#?}");
    assert!(!said.iter().any(|line| line.contains("secret")), "{said:#?}");
}
