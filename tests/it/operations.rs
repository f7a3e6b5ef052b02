//! The binary as an operator meets it: start, signals, probes, metrics, checks, keys.

use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;

use crate::support::client::{Connection, Dial, request};
use crate::support::http::response;
use crate::support::origin::{Exchange, Origin, Responder};
use crate::support::process::Process;
use crate::support::proxy::{Binary, Proxy};
use crate::support::redis::Redis;
use crate::support::shop::{HOST, Shop};
use crate::support::{PATIENCE, free_port, loopback, within};

/// What an operator calls at once. Far below every timeout, with room for a busy machine.
const PROMPT: Duration = Duration::from_secs(10);

/// A plain listener in front of one worker.
fn yaml(origin: &Origin, more: &str) -> String {
    format!(
        "workers: 2\nstate_directory: '{{directory}}'\n\
         listeners: [{{ address: '127.0.0.1:{{port}}' }}]\nstore: memory\n{more}upstreams:\n  \
         app: {{ endpoints: [{{ address: '{}' }}] }}\n\
         servers: [{{ routes: [{{ path: /, upstream: app }}] }}]\n",
        origin.address
    )
}

async fn dial(binary: &Binary) -> Connection {
    Dial::to(loopback(binary.port)).connect().await
}

/// A request that is with the worker, so the binary is up in every respect.
async fn under_way(binary: &Binary, origin: &mut Origin) -> (Connection, Exchange) {
    let mut client = dial(binary).await;
    client.send(request("GET", "/", "a", &[], b"")).await;
    (client, origin.next().await)
}

/// Waits until connections are refused.
async fn closed(port: u16) {
    within("the listener to close", async {
        while Dial::to(loopback(port)).try_connect().await.is_ok() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    })
    .await;
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// Runs the binary on a configuration that it must refuse at once, and returns what it said.
fn refused(config: &Path) -> String {
    let begun = Instant::now();
    let output = Binary::run(&["-c", &config.display().to_string()]);
    assert!(begun.elapsed() < PROMPT, "took {:?}", begun.elapsed());
    assert_eq!(output.status.code(), Some(1), "{}", text(&output.stderr));
    text(&output.stderr)
}

fn written(directory: &Path, yaml: &str) -> std::path::PathBuf {
    let config = directory.join("cloakroom.yaml");
    let text = yaml.replace("{directory}", &directory.display().to_string());
    std::fs::write(&config, text).expect("the directory can be written");
    config
}

#[tokio::test]
async fn a_taken_port_ends_the_start() {
    let origin = Origin::start().await;
    let directory = tempfile::tempdir().expect("a directory");
    let taken = TcpListener::bind(loopback(0)).expect("a port");
    let port = taken.local_addr().expect("bound").port();
    let yaml = yaml(&origin, "").replace("{port}", &port.to_string());
    let said = refused(&written(directory.path(), &yaml));
    let expected = format!("cannot listen on 127.0.0.1:{port}: the address is already in use");
    assert!(said.contains(&expected), "{said}");
    assert!(said.contains("ss -ltnp"), "a remedy: {said}");
}

#[tokio::test]
async fn certificates_that_cannot_be_used_end_the_start() {
    let origin = Origin::start().await;
    let directory = tempfile::tempdir().expect("a directory");
    let at = |name: &str| directory.path().join(name).display().to_string();
    std::fs::write(at("no.pem"), "hello").expect("written");
    for (chain, expected) in [("missing.pem", "missing.pem"), ("no.pem", "no.pem")] {
        let tls = format!(
            "', tls: {{ certificates: [{{ chain: '{}', key: '{}' }}] }} }}]",
            at(chain),
            at("missing.key")
        );
        let yaml = yaml(&origin, "").replace("{port}' }]", &format!("0{tls}"));
        let said = refused(&written(directory.path(), &yaml));
        assert!(said.contains(expected), "{said}");
    }
}

#[tokio::test]
async fn a_keyring_that_is_missing_or_broken_ends_the_start() {
    let origin = Origin::start().await;
    let directory = tempfile::tempdir().expect("a directory");
    let ring = directory.path().join("ring.json");
    let line = format!("keyring: '{}'\n", ring.display());
    let config = written(directory.path(), &yaml(&origin, &line).replace("{port}", "0"));
    let said = refused(&config);
    assert!(said.contains("ring.json") && said.contains("cloakroom keys new"), "{said}");
    assert!(!ring.exists(), "only the default one is made by itself");
    std::fs::write(&ring, "{}").expect("written");
    assert!(refused(&config).contains("keyring"));
}

#[tokio::test]
async fn quit_lets_requests_finish() {
    let mut origin = Origin::start().await;
    let mut binary = Binary::serve(&yaml(&origin, ""), &[]);
    let (mut client, exchange) = under_way(&binary, &mut origin).await;
    binary.process.signal("QUIT");
    closed(binary.port).await;
    assert_eq!(binary.process.try_exit(), None, "a request is under way");
    exchange.respond(response("200 OK", &[], b"finished")).await;
    let answer = client.response().await.expect(200);
    assert_eq!(answer.text(), "finished");
    assert_eq!(answer.field("connection").as_deref(), Some("close"));
    assert_eq!(binary.process.wait_exit().code(), Some(0), "{}", binary.process.log());
}

#[tokio::test]
async fn quit_without_requests_ends_at_once() {
    let origin = Origin::start().await;
    let mut binary = Binary::serve(&yaml(&origin, ""), &[]);
    let mut idle = dial(&binary).await;
    idle.exchange("nonsense\r\n\r\n").await.expect(400);
    let _idle = dial(&binary).await;
    let begun = Instant::now();
    binary.process.signal("QUIT");
    assert_eq!(binary.process.wait_exit().code(), Some(0), "{}", binary.process.log());
    assert!(begun.elapsed() < PROMPT, "took {:?}", begun.elapsed());
}

#[tokio::test]
async fn term_and_int_do_not_wait() {
    for signal in ["TERM", "INT"] {
        let mut origin = Origin::start().await;
        let mut binary = Binary::serve(&yaml(&origin, ""), &[]);
        let (mut client, _exchange) = under_way(&binary, &mut origin).await;
        let begun = Instant::now();
        binary.process.signal(signal);
        assert_eq!(binary.process.wait_exit().code(), Some(0), "{}", binary.process.log());
        assert!(begun.elapsed() < PROMPT, "{signal} took {:?}", begun.elapsed());
        assert!(client.try_response().await.is_err(), "{signal}: it was cut");
    }
}

#[tokio::test]
async fn a_second_signal_cuts_a_drain_short() {
    for signal in ["TERM", "INT"] {
        let mut origin = Origin::start().await;
        let mut binary = Binary::serve(&yaml(&origin, "drain_timeout: 5m\n"), &[]);
        let (_client, _exchange) = under_way(&binary, &mut origin).await;
        binary.process.signal("QUIT");
        closed(binary.port).await;
        // Once more means nothing more.
        binary.process.signal("QUIT");
        let begun = Instant::now();
        binary.process.signal(signal);
        assert_eq!(binary.process.wait_exit().code(), Some(0), "{}", binary.process.log());
        assert!(begun.elapsed() < PROMPT, "{signal} took {:?}", begun.elapsed());
    }
}

#[tokio::test]
async fn a_drain_has_its_time() {
    let mut origin = Origin::start().await;
    let mut binary = Binary::serve(&yaml(&origin, "drain_timeout: 200ms\n"), &[]);
    let (mut client, _exchange) = under_way(&binary, &mut origin).await;
    let begun = Instant::now();
    binary.process.signal("QUIT");
    assert_eq!(binary.process.wait_exit().code(), Some(0), "{}", binary.process.log());
    assert!(begun.elapsed() < PROMPT, "took {:?}", begun.elapsed());
    assert!(client.try_response().await.is_err(), "it was cut");
    assert!(binary.process.log().contains("the drain took too long"), "{}", binary.process.log());
}

/// nginx's scripts and logrotate send them.
#[tokio::test]
async fn signals_with_another_meaning_do_no_harm() {
    let mut origin = Origin::start().await;
    let binary = Binary::serve(&yaml(&origin, ""), &[]);
    let (mut client, exchange) = under_way(&binary, &mut origin).await;
    for (signal, word) in
        [("HUP", "the key ring was read again"), ("USR1", "reopening logs"), ("WINCH", "")]
    {
        binary.process.signal(signal);
        within("a word about it", async {
            while !binary.process.log().contains(word) {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        })
        .await;
    }
    exchange.respond(response("200 OK", &[], b"")).await;
    client.response().await.expect(200);
    client.send(request("GET", "/", "a", &[], b"")).await;
    origin.answer(response("200 OK", &[], b"")).await;
    client.response().await.expect(200);
}

#[tokio::test]
async fn the_service_manager_is_told() {
    let mut origin = Origin::start().await;
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("notify.sock");
    let socket = UnixDatagram::bind(&path).expect("a socket");
    socket.set_read_timeout(Some(PATIENCE)).expect("a timeout");
    let told = || {
        let mut buffer = [0; 256];
        let count = socket.recv(&mut buffer).expect("a word in time");
        text(&buffer[..count]).trim().to_owned()
    };
    let mut binary = Binary::serve_with(&yaml(&origin, ""), |command| {
        command.env("NOTIFY_SOCKET", &path);
    });
    assert_eq!(told(), "READY=1");
    binary.process.signal("HUP");
    let reloading = told();
    assert!(reloading.starts_with("RELOADING=1\nMONOTONIC_USEC="), "{reloading}");
    assert_eq!(told(), "READY=1");
    let (mut client, exchange) = under_way(&binary, &mut origin).await;
    binary.process.signal("QUIT");
    assert_eq!(told(), "STOPPING=1");
    exchange.respond(response("200 OK", &[], b"")).await;
    client.response().await.expect(200);
    assert_eq!(binary.process.wait_exit().code(), Some(0), "{}", binary.process.log());
}

#[tokio::test]
async fn the_watchdog_is_told_and_who_takes_the_place_is_named() {
    let origin = Origin::start().await;
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("notify.sock");
    let socket = UnixDatagram::bind(&path).expect("a socket");
    socket.set_read_timeout(Some(PATIENCE)).expect("a timeout");
    let told = || {
        let mut buffer = [0; 256];
        let count = socket.recv(&mut buffer).expect("a word in time");
        text(&buffer[..count]).trim().to_owned()
    };
    let binary = Binary::serve_with(&yaml(&origin, "pid: pid\n"), |command| {
        command.env("NOTIFY_SOCKET", &path).env("WATCHDOG_USEC", "300000");
    });
    assert_eq!(told(), "READY=1");
    for _ in 0..3 {
        assert_eq!(told(), "WATCHDOG=1");
    }
    binary.process.signal("USR2");
    let named = within("the new process", async {
        loop {
            if let Some(named) = told().strip_prefix("MAINPID=") {
                return named.to_owned();
            }
        }
    });
    let named = named.await;
    let written = std::fs::read_to_string(binary.directory().join("pid")).expect("it is there");
    assert_eq!(written.trim(), named);
}

/// sd_listen_fds(3): the socket is there before the process is, and no connection is lost.
#[tokio::test]
async fn sockets_of_the_service_manager_are_used() {
    let mut origin = Origin::start().await;
    let directory = tempfile::tempdir().expect("a directory");
    let socket = TcpListener::bind(loopback(0)).expect("a port");
    let address = socket.local_addr().expect("bound");
    let port = address.port().to_string();
    let config = written(directory.path(), &yaml(&origin, "").replace("{port}", &port));
    // Waits in the socket's queue.
    let mut client = Dial::to(address).connect().await;
    client.send(request("GET", "/", "a", &[], b"")).await;
    let mut process = Process::spawn_on(
        "cloakroom",
        Stdio::from(std::os::fd::OwnedFd::from(socket)),
        Command::new("sh")
            .args(["-c", "exec 3<&0 0</dev/null; LISTEN_FDS=1 LISTEN_PID=$$ exec \"$0\" -c \"$1\""])
            .arg(env!("CARGO_BIN_EXE_cloakroom"))
            .arg(&config),
    );
    origin.answer(response("200 OK", &[], b"from the queue")).await;
    assert_eq!(client.response().await.expect(200).text(), "from the queue");
    process.signal("TERM");
    assert_eq!(process.wait_exit().code(), Some(0), "{}", process.log());
}

/// The admin listener as an operator has it: a socket in the state directory.
const ADMIN: &str = "admin: { address: 'unix:{directory}/admin.sock' }";

fn admin_of(directory: &Path) -> PathBuf {
    directory.join("admin.sock")
}

async fn probe(admin: &Path, path: &str) -> (u16, String) {
    let asked = async {
        let mut stream = UnixStream::connect(admin).await.expect("somebody listens");
        let request = format!("GET {path} HTTP/1.1\r\nHost: admin\r\nConnection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).await.expect("taken");
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.expect("an answer");
        answer
    };
    let answer = within("the admin listener", asked).await;
    let (head, body) = answer.split_once("\r\n\r\n").expect("a head and a body");
    let status = head.split(' ').nth(1).and_then(|status| status.parse().ok());
    (status.expect("a status line"), body.to_owned())
}

/// Waits for a probe to have this status.
async fn until(admin: &Path, path: &str, status: u16) -> String {
    within(&format!("{path} to say {status}"), async {
        loop {
            let (found, text) = probe(admin, path).await;
            if found == status {
                return text;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    })
    .await
}

#[tokio::test]
async fn a_store_that_is_down_is_no_reason_to_restart_but_to_send_nothing() {
    let worker = Responder::start(|_| response("200 OK", &[], b"")).await;
    let mut redis = Redis::start();
    let proxy = Shop::at(worker.address).store(&redis).top(ADMIN).start();
    let admin = &admin_of(proxy.directory());
    until(admin, "/readyz", 200).await;
    redis.stop();
    let why = until(admin, "/readyz", 503).await;
    assert!(why.contains("the store does not answer"), "{why}");
    assert_eq!(probe(admin, "/livez").await.0, 200);
    let (_, metrics) = probe(admin, "/metrics").await;
    assert!(metrics.contains("\ncloakroom_requests_in_flight 0\n"), "{metrics}");
    redis.start_again();
    until(admin, "/readyz", 200).await;
    assert_eq!(probe(admin, "/other").await.0, 404);
}

#[tokio::test]
async fn a_process_that_drains_is_not_ready() {
    let mut origin = Origin::start().await;
    let proxy = Shop::at(origin.address).top(ADMIN).start();
    let admin = admin_of(proxy.directory());
    assert_eq!(until(&admin, "/readyz", 200).await, "ready\n");
    let mut client = Dial::to(proxy.address()).tls(HOST).connect().await;
    client.send(request("GET", "/", HOST, &[], b"")).await;
    let exchange = origin.next().await;
    let drained = tokio::spawn(proxy.drain());
    let why = until(&admin, "/readyz", 503).await;
    assert!(why.contains("draining"), "{why}");
    assert_eq!(probe(&admin, "/livez").await.0, 200);
    exchange.respond(response("200 OK", &[], b"")).await;
    client.response().await.expect(200);
    within("the drain", drained).await.expect("no panic");
}

/// The value of a series.
fn value(metrics: &str, series: &str) -> u64 {
    metrics
        .lines()
        .find_map(|line| line.strip_prefix(series)?.strip_prefix(' ')?.parse().ok())
        .unwrap_or_else(|| panic!("{series} is missing from\n{metrics}"))
}

#[tokio::test]
async fn connections_are_counted() {
    let worker = Responder::start(|_| response("200 OK", &[], b"")).await;
    let proxy =
        Shop::at(worker.address).top(ADMIN).top("limits: { connections_per_client: 2 }").start();
    let admin = &admin_of(proxy.directory());
    let counted = async |series: &str, expected: u64| {
        within(&format!("{series} to be {expected}"), async {
            while value(&probe(admin, "/metrics").await.1, series) != expected {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        })
        .await;
    };
    let dial = Dial::to(proxy.address()).tls(HOST);
    let mut first = dial.connect().await;
    first.get(HOST, "/", &[]).await.expect(200);
    counted("cloakroom_connections_open", 1).await;
    counted("cloakroom_connections_total", 1).await;

    // Something like TLS. What is no TLS at all is answered as nginx does (497).
    let mut plain = Dial::to(proxy.address()).connect().await;
    plain.send(b"\x16\x03\x01\x00\x04\x01\x00\x00\x00").await;
    let _alert = plain.rest().await;
    drop(plain);
    counted("cloakroom_tls_handshake_failures_total", 1).await;
    counted("cloakroom_connections_open", 1).await;
    counted("cloakroom_connections_total", 2).await;

    let mut second = dial.connect().await;
    second.get(HOST, "/", &[]).await.expect(200);
    counted("cloakroom_connections_refused_total", 0).await;
    assert!(dial.try_connect().await.is_err(), "one too many");
    counted("cloakroom_connections_refused_total", 1).await;
    drop(second);
    counted("cloakroom_connections_open", 1).await;
    dial.connect().await.get(HOST, "/", &[]).await.expect(200);
    counted("cloakroom_connections_total", 4).await;
    // Those that are served as well as those that are refused without a hook.
    first.send("nonsense\r\n\r\n").await;
    first.response().await.expect(400);
    counted(r#"cloakroom_requests_total{route="session",status="2xx"}"#, 3).await;
    counted(r#"cloakroom_requests_total{route="unrouted",status="4xx"}"#, 1).await;
    counted("cloakroom_upstream_attempts_total{upstream=\"shop\"}", 3).await;
}

/// The line of a text that begins with this, and the lines up to the next finding.
#[track_caller]
fn finding<'a>(said: &'a str, begin: &str) -> &'a str {
    let at = said.find(begin).unwrap_or_else(|| panic!("`{begin}` is missing from\n{said}"));
    let rest = &said[at..];
    let end = rest.match_indices('\n').map(|(end, _)| end + 1).find(|end| {
        let next = &rest[*end..];
        !next.starts_with([' ', '|']) && !next.starts_with(|first: char| first.is_ascii_digit())
    });
    &rest[..end.unwrap_or(rest.len())]
}

const MISTAKEN: &str = "\
state_directory: '{directory}'
listeners:
  - address: 127.0.0.1:18443
  - address: 127.0.0.1:18443
sessions:
  shop:
    app_cookies: [sid]
    timeouts: { idle: 13h, absolute: 12h }
    login:
      - { request: POST login, success: { status: [302], location: /account/ } }
upstreams:
  shop:
    endpoints: [{ address: '127.0.0.1:70000' }]
servers:
  - names: [shop.example.com]
    routes:
      - { path: /, upstream: shpo, session: shop }
      - { path: /account/, upstream: shop, require: login }
";

#[test]
fn every_mistake_is_named_with_its_place_and_a_remedy() {
    let directory = tempfile::tempdir().expect("a directory");
    let config = written(directory.path(), MISTAKEN);
    let file = config.display().to_string();
    for arguments in [&["check", "-c", &file][..], &["-t", "-c", &file], &["-c", &file]] {
        let output = Binary::run(arguments);
        assert_eq!(output.status.code(), Some(1), "{arguments:?}");
        let said = text(&output.stderr);
        for (place, key, remedy) in [
            ("4:14", "listeners[1].address", "give it another port"),
            ("8:23", "sessions.shop.timeouts.idle", "shorten `idle`"),
            ("10:20", "sessions.shop.login[0].request", "write `/login`"),
            ("13:28", "upstreams.shop.endpoints[0].address", "write `127.0.0.1:7001`"),
            ("17:30", "servers[0].routes[0].upstream", "did you mean `shop`?"),
            ("18:53", "servers[0].routes[1].require", "add `session: NAME`"),
        ] {
            let finding = finding(&said, &format!("{file}:{place}: error: {key}: "));
            assert!(finding.contains(remedy), "{remedy}: {finding}");
        }
        assert_eq!(said.matches(": error: ").count(), 6, "{said}");
    }
}

#[test]
fn good_files_are_called_good() {
    let directory = tempfile::tempdir().expect("a directory");
    let yaml = "listeners: [{ address: 127.0.0.1:80 }]\nstate_directory: '{directory}/state'\n\
                upstreams:\n  app: { endpoints: [{ address: 'user.invalid:1' }] }\n\
                servers: [{ routes: [{ path: /, upstream: app }] }]\n";
    let config = written(directory.path(), &yaml.replace("user.invalid:1", "127.0.0.1:7001"));
    let file = config.display().to_string();
    let run = |arguments: &[&str]| -> Output {
        let output = Binary::run(arguments);
        assert!(output.status.success(), "{arguments:?}: {}", text(&output.stderr));
        output
    };
    let output = run(&["check", "-c", &file]);
    assert!(text(&output.stdout).contains(&format!("{file}: configuration is valid")));
    let said = text(&run(&["-t", "-c", &file]).stderr);
    assert!(said.contains(&format!("configuration file {file} syntax is ok")), "{said}");
    assert!(said.contains(&format!("configuration file {file} test is successful")), "{said}");
    let output = run(&["-t", "-q", "-c", &file]);
    assert_eq!((text(&output.stdout), text(&output.stderr)), (String::new(), String::new()));
    let dumped = text(&run(&["-T", "-c", &file]).stdout);
    assert!(dumped.contains("  app: { endpoints:"), "{dumped}");
    assert!(!directory.path().join("state").exists(), "checking makes nothing");

    let missing = Binary::run(&["check", "-c", "/nonexistent/cloakroom.yaml"]);
    assert_eq!(missing.status.code(), Some(1));
    assert!(text(&missing.stderr).contains("/nonexistent/cloakroom.yaml"));
    assert_eq!(Binary::run(&["--no-such-switch"]).status.code(), Some(2));
}

#[test]
fn keys_are_made_once_and_never_shown() {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("ring.json");
    let file = path.display().to_string();
    let made = Binary::run(&["keys", "new", &file]);
    assert!(made.status.success(), "{}", text(&made.stderr));
    let mode = std::fs::metadata(&path).expect("it is there").permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    let ring = std::fs::read_to_string(&path).expect("it is there");
    let again = Binary::run(&["keys", "new", &file]);
    assert_eq!(again.status.code(), Some(1));
    assert!(text(&again.stderr).contains(&file), "{}", text(&again.stderr));
    assert_eq!(std::fs::read_to_string(&path).expect("it is there"), ring, "not overwritten");

    let shown = Binary::run(&["keys", "show", &file]);
    assert!(shown.status.success(), "{}", text(&shown.stderr));
    let said: String = [&made, &again, &shown]
        .iter()
        .map(|output| text(&output.stdout) + &text(&output.stderr))
        .collect();
    let json: serde_json::Value = serde_json::from_str(&ring).expect("JSON");
    let keys = json["keys"].as_array().expect("a set of keys");
    assert!(keys.len() >= 2, "one seals, one is the index: {}", keys.len());
    for key in keys {
        let kid = key["kid"].as_str().expect("an identifier");
        assert!(text(&shown.stdout).contains(kid), "{said}");
        let secret = key["k"].as_str().expect("a key");
        assert!(secret.len() >= 43, "256 bits");
        assert!(!said.contains(&secret[..8]), "a key was shown");
    }
    let other = directory.path().join("other.json").display().to_string();
    assert!(Binary::run(&["keys", "new", &other]).status.success());
    assert_ne!(std::fs::read_to_string(&other).expect("it is there"), ring);
    let missing = Binary::run(&["keys", "show", "/nonexistent/ring.json"]);
    assert_eq!(missing.status.code(), Some(1));
}

/// The reader of the demo types what it prints; here a shell does, and looks for what it promises.
#[test]
fn the_demo_keeps_its_promises() {
    let directory = tempfile::tempdir().expect("a directory");
    let mut problem = String::new();
    // The port may be taken between choosing and binding it.
    let (mut process, port) = (0..3)
        .find_map(|_| {
            let port = free_port();
            let mut process = Process::spawn(
                "demo",
                Command::new(env!("CARGO_BIN_EXE_cloakroom"))
                    .args(["demo", "--port", &port.to_string()])
                    .current_dir(directory.path()),
            );
            match process.wait_line("Ctrl-C stops it all.") {
                Ok(_) => Some((process, port)),
                Err(text) => {
                    problem = text;
                    None
                }
            }
        })
        .unwrap_or_else(|| panic!("{problem}"));
    let printed = process.log();
    let worker = |name: &str| -> u16 {
        let line = printed.lines().find_map(|line| {
            line.trim()
                .strip_prefix(&format!("worker {name}"))?
                .trim()
                .strip_prefix("http://127.0.0.1:")
        });
        line.and_then(|rest| rest.strip_suffix('/')?.parse().ok())
            .unwrap_or_else(|| panic!("no port of {name} in\n{printed}"))
    };
    let ports = cloakroom::demo::Ports { listen: port, workers: [worker("red"), worker("blue")] };
    let (program, config) =
        (Path::new(env!("CARGO_BIN_EXE_cloakroom")), Path::new("cloakroom-demo/demo.yaml"));
    let steps = cloakroom::demo::steps(ports, program, config);
    assert!(printed.contains(&cloakroom::demo::first_minute(ports, program, config)), "{printed}");

    // One shell for all of them, since they share variables.
    let script: String =
        steps.iter().map(|step| format!("{}\necho; echo '<<END>>'\n", step.command)).collect();
    let output = Command::new("sh")
        .args(["-c", &format!("exec 2>&1\n{script}")])
        .current_dir(directory.path())
        .env("TMPDIR", directory.path())
        .output()
        .expect("there is a shell");
    let said = text(&output.stdout);
    let outputs: Vec<&str> = said.split("<<END>>\n").collect();
    assert_eq!(outputs.len(), steps.len() + 1, "{said}");
    for (step, output) in steps.iter().zip(outputs) {
        for shown in step.shows {
            assert!(output.contains(shown), "{}\nlacks {shown}:\n{output}", step.command);
        }
        for hidden in step.hides {
            assert!(!output.contains(hidden), "{}\nshows {hidden}:\n{output}", step.command);
        }
    }
    let left: Vec<_> = std::fs::read_dir(directory.path())
        .expect("it is there")
        .flatten()
        .map(|entry| entry.file_name())
        .collect();
    assert_eq!(left, ["cloakroom-demo"], "the walk clears up after itself");
    process.signal("INT");
    assert_eq!(process.wait_exit().code(), Some(0), "{}", process.log());
}

/// Somebody else may have the workers' usual ports, a second demo for one.
#[test]
fn the_demo_finds_other_ports_for_its_workers() {
    let begun = Instant::now();
    let _taken = [9001, 9002].map(|port| {
        loop {
            // The other test may be running.
            match TcpListener::bind(loopback(port)) {
                Ok(listener) => break listener,
                Err(_) => assert!(begun.elapsed() < PATIENCE, "port {port} is never free"),
            }
            std::thread::sleep(Duration::from_millis(20));
        }
    });
    let directory = tempfile::tempdir().expect("a directory");
    let mut process = Process::spawn(
        "demo",
        Command::new(env!("CARGO_BIN_EXE_cloakroom"))
            .args(["demo", "--port", &free_port().to_string()])
            .current_dir(directory.path()),
    );
    process.wait_line("Ctrl-C stops it all.").unwrap_or_else(|problem| panic!("{problem}"));
    let printed = process.log();
    assert!(!printed.contains(":9001/") && !printed.contains(":9002/"), "{printed}");
    let config = std::fs::read_to_string(directory.path().join("cloakroom-demo/demo.yaml"));
    let config = config.expect("it is there");
    assert!(!config.contains(":9001") && !config.contains(":9002"), "{config}");
}

/// A plain reverse proxy needs no store, no keys and no directory.
#[tokio::test]
async fn where_nobody_has_a_session_nothing_is_kept() {
    let app = Responder::start(|_| response("200 OK", &[], b"here")).await;
    let proxy = Proxy::start(&format!(
        "state_directory: '{{directory}}/state'\nlisteners: [{{ address: 127.0.0.1:0 }}]\n\
         upstreams: {{ app: {{ endpoints: [{{ address: '{}' }}] }} }}\n\
         servers: [{{ routes: [{{ path: /, upstream: app }}] }}]\n",
        app.address
    ));
    let answer = Dial::to(proxy.address()).connect().await.get("a", "/", &[]).await.expect(200);
    assert_eq!(answer.set_cookies(), Vec::<String>::new());
    assert!(!proxy.directory().join("state").exists());
}
