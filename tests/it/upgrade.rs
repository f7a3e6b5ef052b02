//! Another binary in the old one's place, and what operators do with signals meanwhile: no connection is
//! refused, none is reset, and no WebSocket is cut.

use std::path::PathBuf;
use std::process::{Command, Output};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst};
use std::time::{Duration, Instant};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream, UnixStream};

use crate::support::client::{Connection, Dial, request};
use crate::support::http::response;
use crate::support::loopback;
use crate::support::master::Prefix;
use crate::support::origin::Responder;
use crate::support::proxy::Binary;
use crate::support::within;

/// An application that answers everything, and sends back what comes by its WebSockets.
async fn application() -> std::net::SocketAddr {
    let listener = TcpListener::bind(loopback(0)).await.expect("loopback");
    let address = listener.local_addr().expect("bound");
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(answer(stream));
        }
    });
    address
}

async fn answer(mut stream: TcpStream) {
    let (mut read, mut buffer) = (Vec::new(), [0; 4096]);
    loop {
        let Ok(count @ 1..) = stream.read(&mut buffer).await else { return };
        read.extend_from_slice(&buffer[..count]);
        if !read.ends_with(b"\r\n\r\n") {
            continue;
        }
        let text = String::from_utf8_lossy(&read).to_ascii_lowercase();
        read.clear();
        if text.contains("upgrade: websocket") {
            let head = "HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n";
            let _ = stream.write_all(head.as_bytes()).await;
            let (mut from, mut to) = stream.split();
            let _ = tokio::io::copy(&mut from, &mut to).await;
            return;
        }
        let _ = stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok").await;
    }
}

/// Requests without a pause, on kept connections and on new ones, and sockets that are open all the time.
struct Load {
    ends: Arc<AtomicBool>,
    done: Arc<AtomicUsize>,
    clients: Vec<tokio::task::JoinHandle<()>>,
    sockets: Vec<Connection>,
}

impl Load {
    async fn begin(port: u16, clients: usize, sockets: usize) -> Self {
        let (ends, done) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
        let client = |number: usize| {
            let (ends, done) = (ends.clone(), done.clone());
            tokio::spawn(async move {
                let mut kept: Option<Connection> = None;
                while !ends.load(SeqCst) {
                    let mut connection = match kept.take() {
                        Some(kept) => kept,
                        None => Dial::to(loopback(port)).connect().await,
                    };
                    let answer = connection.get("a", "/", &[]).await.expect(200);
                    done.fetch_add(1, SeqCst);
                    let goes_on = answer.field("connection").as_deref() != Some("close");
                    kept = (goes_on && number.is_multiple_of(2)).then_some(connection);
                }
            })
        };
        let clients = (0..clients).map(client).collect();
        let mut open = Vec::new();
        for _ in 0..sockets {
            open.push(websocket(port).await);
        }
        Self { ends, done, clients, sockets: open }
    }

    /// Waits for so many answers more.
    async fn goes_on(&self, more: usize) {
        let before = self.done.load(SeqCst);
        within("more answers", async {
            while self.done.load(SeqCst) < before + more {
                tokio::time::sleep(Duration::from_millis(2)).await;
            }
        })
        .await;
    }

    /// Sends something through every socket.
    async fn ping(&mut self) {
        for socket in &mut self.sockets {
            socket.send(b"ping").await;
            assert_eq!(within("an echo", socket.exactly(4)).await.expect("it is open"), b"ping");
        }
    }

    /// No client has met anything but an answer.
    async fn end(self) {
        self.ends.store(true, SeqCst);
        for client in self.clients {
            within("the client", client).await.expect("every request was answered");
        }
    }
}

async fn websocket(port: u16) -> Connection {
    let mut socket = Dial::to(loopback(port)).connect().await;
    let upgrade = [("Connection", "upgrade"), ("Upgrade", "websocket")];
    socket.send(request("GET", "/", "a", &upgrade, b"")).await;
    assert_eq!(socket.response_head().await.status, 101);
    socket
}

fn yaml(origin: std::net::SocketAddr, more: &str) -> String {
    format!(
        "workers: 2\nstate_directory: '{{directory}}'\npid: pid\nstore: memory\nlog: {{ access: false }}\n\
         listeners: [{{ address: '127.0.0.1:{{port}}' }}{more}]\n\
         upstreams:\n  app: {{ endpoints: [{{ address: '{origin}' }}] }}\n\
         servers: [{{ routes: [{{ path: /, upstream: app }}] }}]\n"
    )
}

fn pid(binary: &Binary, name: &str) -> Option<u32> {
    std::fs::read_to_string(binary.directory().join(name)).ok()?.trim().parse().ok()
}

async fn pid_other_than(path: PathBuf, known: u32) -> u32 {
    within("another process", async {
        loop {
            let text = std::fs::read_to_string(&path).unwrap_or_default();
            if let Some(id) = text.trim().parse().ok().filter(|id| *id != known) {
                return id;
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    })
    .await
}

fn kill(signal: &str, process: u32) {
    let status = Command::new("kill").args([format!("-{signal}"), process.to_string()]).status();
    assert!(status.expect("kill can be run").success());
}

async fn ended(process: u32) {
    within("the end of a process", async {
        let state = || std::fs::read_to_string(format!("/proc/{process}/stat")).unwrap_or_default();
        while !state().is_empty() && !state().contains(") Z ") {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    })
    .await;
}

fn ordered(binary: &Binary, order: &str) -> Output {
    Binary::run(&["-s", order, "-c", &binary.config().display().to_string()])
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn reloads_and_upgrades_under_load_lose_nothing() {
    let origin = application().await;
    let mut binary = Binary::serve(&yaml(origin, ""), &[]);
    let mut load = Load::begin(binary.port, 8, 200).await;
    for round in 0..10 {
        let more = format!(", {{ address: 'unix:{{directory}}/{round}.sock' }}");
        binary.rewrite(&yaml(origin, &more));
        let said = ordered(&binary, "reload");
        assert!(said.status.success(), "{}", String::from_utf8_lossy(&said.stderr));
        load.goes_on(20).await;
    }
    load.ping().await;
    let old = pid_other_than(binary.directory().join("pid"), 0).await;
    binary.process.signal("USR2");
    let new = pid_other_than(binary.directory().join("pid"), old).await;
    assert_eq!(pid(&binary, "pid.oldbin"), Some(old));
    load.goes_on(50).await;
    kill("QUIT", old);
    load.goes_on(200).await;
    load.ping().await;
    let socket = binary.directory().join("9.sock");
    UnixStream::connect(&socket).await.expect("it outlives who bound it");
    load.sockets.clear();
    assert_eq!(binary.process.wait_exit().code(), Some(0), "{}", binary.process.log());
    load.goes_on(50).await;
    UnixStream::connect(&socket).await.expect("it outlives who bound it");
    load.end().await;
    kill("QUIT", new);
    ended(new).await;
    assert!(!socket.exists(), "nobody has it any more");
    assert!(!binary.directory().join("pid").exists());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_old_process_that_still_has_sockets_is_in_no_later_one_s_way() {
    let origin = application().await;
    let mut binary = Binary::serve(&yaml(origin, ""), &[]);
    let file = binary.directory().join("pid");
    let first = pid_other_than(file.clone(), 0).await;
    let mut load = Load::begin(binary.port, 2, 1).await;
    kill("USR2", first);
    let second = pid_other_than(file.clone(), first).await;
    kill("QUIT", first);
    load.goes_on(20).await;
    kill("USR2", second);
    let third = pid_other_than(file.clone(), second).await;
    kill("QUIT", second);
    ended(second).await;
    load.ping().await;
    assert_eq!(pid(&binary, "pid"), Some(third));
    load.sockets.clear();
    assert_eq!(binary.process.wait_exit().code(), Some(0), "{}", binary.process.log());
    assert_eq!(pid(&binary, "pid"), Some(third), "it is another one's");
    load.goes_on(20).await;
    load.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_new_binary_that_does_not_serve_leaves_everything_to_the_old_one() {
    let origin = application().await;
    let binary = Binary::serve(&yaml(origin, ""), &[]);
    let load = Load::begin(binary.port, 4, 0).await;
    let id = pid_other_than(binary.directory().join("pid"), 0).await;
    binary.rewrite("listeners: [");
    binary.process.signal("USR2");
    within("a word about it", async {
        while !binary.process.log().contains("this one goes on alone") {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    })
    .await;
    assert_eq!(pid(&binary, "pid"), Some(id));
    load.goes_on(20).await;
    load.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_upgrade_is_taken_back_as_in_nginx() {
    let origin = application().await;
    let binary = Binary::serve(&yaml(origin, ""), &[]);
    let load = Load::begin(binary.port, 4, 0).await;
    let old = pid_other_than(binary.directory().join("pid"), 0).await;
    binary.process.signal("USR2");
    let new = pid_other_than(binary.directory().join("pid"), old).await;
    binary.process.signal("WINCH");
    load.goes_on(100).await;
    binary.process.signal("HUP");
    load.goes_on(20).await;
    kill("QUIT", new);
    assert_eq!(pid_other_than(binary.directory().join("pid"), new).await, old);
    load.goes_on(100).await;
    load.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_master_under_nginx_s_name_is_upgraded_too() {
    let origin = Responder::start(|_| response("200 OK", &[], b"ok")).await;
    let prefix = Prefix::new();
    prefix.write(
        "nginx.conf",
        &format!(
            "daemon off; events {{}} http {{ server {{ listen 127.0.0.1:{{port}}; \
             listen unix:{{directory}}/a.sock; location / {{ proxy_pass http://{}; }} }} }}",
            origin.address
        ),
    );
    let mut master = prefix.start();
    let old = master.id();
    let load = Load::begin(prefix.port, 4, 0).await;
    master.signal("USR2");
    let new = pid_other_than(prefix.path("nginx.pid"), old).await;
    assert_eq!(prefix.read("nginx.pid.oldbin").trim(), old.to_string());
    load.goes_on(50).await;
    master.signal("QUIT");
    load.goes_on(50).await;
    assert_eq!(master.wait_exit().code(), Some(0), "{}", master.log());
    UnixStream::connect(prefix.path("a.sock")).await.expect("it outlives who bound it");
    load.goes_on(50).await;
    load.end().await;
    kill("QUIT", new);
    ended(new).await;
    assert!(!prefix.path("a.sock").exists(), "nobody has it any more");
}

#[tokio::test]
async fn orders_say_what_came_of_them() {
    let origin = application().await;
    let mut binary = Binary::serve(&yaml(origin, ""), &[]);
    let said = |output: &Output| String::from_utf8_lossy(&output.stderr).into_owned();
    let reloaded = ordered(&binary, "reload");
    assert_eq!((reloaded.status.code(), said(&reloaded)), (Some(0), String::new()));
    binary.rewrite(&yaml(origin, "").replace("workers: 2", "workers: 1"));
    let named = ordered(&binary, "reload");
    let expected = "cloakroom: workers: stays what it was until the process is started again\n";
    assert_eq!((named.status.code(), said(&named).as_str()), (Some(0), expected));
    binary.rewrite(&yaml(origin, "").replace("upstream: app", "upstream: none"));
    let wrong = ordered(&binary, "reload");
    assert_eq!(wrong.status.code(), Some(1));
    assert!(said(&wrong).contains("`none`"), "{}", said(&wrong));
    let taken = TcpListener::bind(loopback(0)).await.expect("loopback");
    let taken = taken.local_addr().expect("bound");
    binary.rewrite(&yaml(origin, &format!(", {{ address: '{taken}' }}")));
    let refused = ordered(&binary, "reload");
    assert_eq!(refused.status.code(), Some(1));
    assert!(said(&refused).contains("already in use"), "{}", said(&refused));
    binary.rewrite(&yaml(origin, ""));
    assert!(ordered(&binary, "reopen").status.success());
    assert!(ordered(&binary, "quit").status.success());
    assert_eq!(binary.process.wait_exit().code(), Some(0));
    let gone = ordered(&binary, "stop");
    assert_eq!(gone.status.code(), Some(1));
    assert!(said(&gone).contains("pid"), "{}", said(&gone));
}

#[tokio::test]
async fn the_lines_of_a_unit_for_nginx_work() {
    let origin = application().await;
    let directory = tempfile::tempdir().expect("a directory");
    let port = crate::support::free_port();
    let config = directory.path().join("a.yaml");
    let text = yaml(origin, "").replace("pid: pid\n", "").replace("{port}", &port.to_string());
    let text = text.replace("{directory}", &directory.path().display().to_string());
    std::fs::write(&config, text).expect("written");
    let pid = directory.path().join("a.pid");
    let globals = format!("daemon on; master_process on; pid {};", pid.display());
    let run = |more: &[&str]| {
        let config = config.display().to_string();
        Binary::run(&[&["-q", "-g", &globals, "-c", &config], more].concat())
    };
    assert!(run(&["-t"]).status.success());
    let started = run(&[]);
    assert!(started.status.success(), "{}", String::from_utf8_lossy(&started.stderr));
    let begun = Instant::now();
    Dial::to(loopback(port)).connect().await.get("a", "/", &[]).await.expect(200);
    let process: u32 =
        std::fs::read_to_string(&pid).expect("it serves").trim().parse().expect("one");
    assert!(run(&["-s", "reload"]).status.success());
    assert!(run(&["-s", "stop"]).status.success());
    ended(process).await;
    assert!(begun.elapsed() < Duration::from_secs(20));
}
