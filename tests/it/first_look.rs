//! `cloakroom --listen … --upstream … --session …`: served at once, without any file.

use std::path::Path;
use std::process::Command;

use crate::support::browser::Browser;
use crate::support::client::Dial;
use crate::support::http::response;
use crate::support::origin::Responder;
use crate::support::process::Process;
use crate::support::{free_port, loopback};

/// Counts the visits of whoever brings its cookie back.
async fn application() -> Responder {
    Responder::start(|request| {
        let cookie = request.field("cookie").unwrap_or_default();
        let visits = cookie
            .split("; ")
            .find_map(|pair| pair.strip_prefix("sid=visits-")?.parse::<u32>().ok())
            .unwrap_or_default()
            + 1;
        let set = format!("sid=visits-{visits}; Path=/");
        let fields = [("Set-Cookie", set.as_str()), ("Set-Cookie", "theme=dark")];
        response("200 OK", &fields, format!("visit {visits}, with {cookie}").as_bytes())
    })
    .await
}

fn look(directory: &Path, arguments: &[&str]) -> Process {
    let mut command = Command::new(env!("CARGO_BIN_EXE_cloakroom"));
    Process::spawn("cloakroom", command.args(arguments).current_dir(directory))
}

fn ended(arguments: &[&str]) -> (Option<i32>, String, String) {
    let directory = tempfile::tempdir().expect("a directory");
    let output = Command::new(env!("CARGO_BIN_EXE_cloakroom"))
        .args(arguments)
        .current_dir(directory.path())
        .output()
        .expect("it can be run");
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let left = std::fs::read_dir(directory.path()).expect("it is there").count();
    assert_eq!(left, 0, "nothing is made before it serves");
    (output.status.code(), text(&output.stdout), text(&output.stderr))
}

#[tokio::test]
async fn arguments_alone_serve_https_with_sessions_that_stay_here() {
    let (application, directory) = (application().await, tempfile::tempdir().expect("a directory"));
    let (port, second) = (free_port(), free_port());
    let worker = application.address.to_string();
    let (listen, second_listen) = (format!("127.0.0.1:{port}"), format!("127.0.0.1:{second}"));
    let mut process = look(
        directory.path(),
        &[
            "--listen",
            &listen,
            "--listen",
            &second_listen,
            "--upstream",
            &worker,
            "--session",
            "sid",
        ],
    );
    let said = process.wait_line("A real deployment says").map(|_| process.log());
    let said = said.expect("what is served where");
    assert!(said.contains(&format!("Serving https://localhost:{port}/ from {worker}.")), "{said}");
    assert!(said.contains(&format!("Serving https://localhost:{second}/")), "{said}");

    let mut browser = Browser::https("anybody.example", &[loopback(port), loopback(second)]);
    browser.get("/").await.expect(200);
    let answer = browser.node(1).get("/").await.expect(200);
    assert!(answer.text().starts_with("visit 2, with "), "{}", answer.text());
    let kept: Vec<String> = browser
        .cookies()
        .iter()
        .map(|cookie| String::from_utf8_lossy(&cookie.name).into_owned())
        .collect();
    assert!(kept.contains(&"__Host-app".to_owned()), "{kept:?}");
    assert!(!kept.iter().any(|name| name == "sid"), "{kept:?}");
    let theme = browser.cookie("theme").expect("the other cookie");
    assert!(theme.secure && theme.http_only, "{theme:?}");
    assert!(directory.path().join("cloakroom-state/keyring.json").is_file());
}

#[test]
fn the_arguments_are_tested_and_printed_as_a_file_that_says_the_same() {
    let arguments = ["--listen", "8443", "--upstream", "127.0.0.1:7001", "--session", "sid"];
    let (code, stdout, stderr) = ended(&[&arguments[..], &["-t"]].concat());
    assert_eq!((code, stdout.as_str()), (Some(0), ""), "{stderr}");
    let (code, yaml, stderr) = ended(&[&arguments[..], &["-T"]].concat());
    assert_eq!(code, Some(0), "{stderr}");
    let directory = tempfile::tempdir().expect("a directory");
    let file = directory.path().join("cloakroom.yaml");
    std::fs::write(&file, yaml).expect("it can be written");
    let (code, said, stderr) = ended(&["check", "-c", &file.display().to_string()]);
    assert_eq!(code, Some(0), "{said}{stderr}");
}

#[test]
fn contradictions_end_it_with_a_remedy() {
    let (code, _, stderr) = ended(&["--listen", "8443"]);
    assert_eq!(code, Some(1));
    assert!(stderr.contains("--upstream is missing: say where"), "{stderr}");
    let (code, _, stderr) = ended(&["--listen", "8443", "--upstream", "7001", "-c", "a.yaml"]);
    assert_eq!(code, Some(2));
    assert!(stderr.contains("keep them, or `-c`"), "{stderr}");
}

#[tokio::test]
async fn a_port_that_is_taken_is_told() {
    let taken = std::net::TcpListener::bind(("127.0.0.1", 0)).expect("a port");
    let address = taken.local_addr().expect("it has one").to_string();
    let directory = tempfile::tempdir().expect("a directory");
    let mut process = look(directory.path(), &["--listen", &address, "--upstream", "7001"]);
    let told = process.wait_line("cloakroom: ").expect("an error");
    assert!(told.contains(&address), "{told}");
    assert!(Dial::to(taken.local_addr().expect("it has one")).try_connect().await.is_ok());
}
