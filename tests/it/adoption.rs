//! A first time: a policy that only reports, and what `report` and `learn` make of its log.

use std::io::Write;
use std::process::{Command, Stdio};

use crate::support::browser::Browser;
use crate::support::http::response;
use crate::support::loopback;
use crate::support::origin::{Request, Responder};
use crate::support::proxy::Binary;
use crate::support::within;

/// An application that keeps the identifier at login.
async fn application() -> Responder {
    let logged_in = std::sync::Mutex::new(std::collections::HashSet::new());
    Responder::start(move |request| answer(&logged_in, request)).await
}

fn answer(
    logged_in: &std::sync::Mutex<std::collections::HashSet<String>>,
    request: &Request,
) -> Vec<u8> {
    let mut logged_in = logged_in.lock().expect("no panic");
    let cookie = request.field("cookie").unwrap_or_default();
    let id = cookie.split("; ").find_map(|pair| pair.strip_prefix("sid=")).unwrap_or_default();
    let led = |to: &str| response("302 Found", &[("Location", to)], b"");
    match (request.method.as_str(), request.target.as_str()) {
        ("GET", "/") if id.is_empty() => {
            let fields = [
                ("Set-Cookie", "sid=0123456789abcdef; Path=/; HttpOnly"),
                ("Set-Cookie", "theme=dark"),
            ];
            response("200 OK", &fields, b"home")
        }
        ("POST", "/login") if request.body.content.ends_with(b"right") => {
            logged_in.insert(id.to_owned());
            led("/account")
        }
        ("POST", "/login") => led("/login"),
        ("POST", "/logout") => {
            logged_in.remove(id);
            led("/")
        }
        ("GET", "/account") if !logged_in.contains(id) => led("/login"),
        _ => response("200 OK", &[], b"a page"),
    }
}

/// Runs a command of the binary on a log.
fn told(arguments: &[&str], log: &str) -> (String, String) {
    let mut child = Command::new(env!("CARGO_BIN_EXE_cloakroom"))
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("it can be run");
    let mut stdin = child.stdin.take().expect("piped");
    stdin.write_all(log.as_bytes()).expect("it reads");
    drop(stdin);
    let output = child.wait_with_output().expect("it ends");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let text = |bytes| String::from_utf8(bytes).expect("text");
    (text(output.stdout), text(output.stderr))
}

#[tokio::test]
async fn what_a_policy_that_only_reports_sees_becomes_a_report_and_a_proposal() {
    let application = application().await;
    for format in ["text", "json"] {
        let yaml = format!(
            "workers: 1\nstate_directory: '{{directory}}'\nstore: memory\nlog: {{ format: {format} }}\n\
             listeners: [{{ address: '127.0.0.1:{{port}}', tls: {{ self_signed: true }} }}]\n\
             sessions: {{ app: {{ mode: harden, report_only: true, app_cookies: [sid] }} }}\n\
             upstreams: {{ app: {{ endpoints: [{{ address: '{}' }}] }} }}\n\
             servers: [{{ routes: [{{ path: /, upstream: app, session: app }}] }}]\n",
            application.address
        );
        let binary = Binary::serve(&yaml, &[]);
        let mut browser = Browser::https("shop.example", &[loopback(binary.port)]);
        browser.get("/").await.expect(200);
        browser.get("/account").await.expect(302);
        browser.post_form("/login", &[("password", "wrong")]).await.expect(302);
        browser.post_form("/login", &[("password", "right")]).await.expect(302);
        browser.get("/account?token=s3cret").await.expect(200);
        browser.post_form("/logout", &[]).await.expect(302);
        browser.get("/account").await.expect(302);
        // Its line is written before its answer is.
        let log = within("the last line", async {
            loop {
                let log = binary.process.log();
                if log.matches("learn").count() >= 7 {
                    return log;
                }
                tokio::time::sleep(std::time::Duration::from_millis(5)).await;
            }
        })
        .await;
        assert!(!log.contains("0123456789abcdef") && !log.contains("s3cret"), "{log}");

        let (proposal, said) = told(&["learn"], &log);
        for part in [
            "app_cookies: [sid]",
            "# left out, for they identify nobody: theme",
            "# 1 logins; 1 left the identifier as it was",
            "- { request: POST /login, success: { status: [302] }, failure: { location: /login } }",
            "- { request: POST /logout }",
        ] {
            assert!(proposal.contains(part), "{part} is missing from\n{proposal}\n{log}");
        }
        assert!(
            said.contains(
                "under the same identifier and without a `login` event, after POST /login"
            ),
            "{said}"
        );

        let (report, _) = told(&["report", "--json"], &log);
        let report: serde_json::Value = serde_json::from_str(&report).expect("JSON");
        assert_eq!(report["cookies"][0]["cookie"], "sid");
        let should_have = report["cookies"][0]["should_have"].to_string();
        assert!(should_have.contains("Secure") && should_have.contains("SameSite=Lax"), "{report}");
        assert_eq!(report["logins"][0]["identifier_unchanged"], 1, "{report}");
        let (page, _) = told(&["report", "--html"], &log);
        assert!(page.starts_with("<!doctype html>") && page.contains("POST /login"), "{page}");

        // The proposal is a policy.
        let proposed =
            proposal.lines().filter(|line| !line.is_empty()).collect::<Vec<_>>().join("\n");
        let rest = yaml
            .lines()
            .filter(|line| !line.starts_with("sessions:"))
            .collect::<Vec<_>>()
            .join("\n");
        let directory = tempfile::tempdir().expect("a directory");
        let file = directory.path().join("a.yaml");
        let text = format!("{rest}\n{proposed}\n")
            .replace("{directory}", "state")
            .replace("{port}", "8443");
        std::fs::write(&file, text).expect("it can be written");
        told(&["check", "-c", &file.display().to_string()], "");
    }
}

#[test]
fn a_log_that_shows_nothing_says_what_to_do() {
    let (proposal, _) = told(&["learn"], "2026 INFO cloakroom: listening\nnonsense\n");
    assert!(proposal.contains("mode: harden, report_only: true"), "{proposal}");
    let (report, _) = told(&["report"], "");
    assert!(report.starts_with("The log has no findings"), "{report}");
}
