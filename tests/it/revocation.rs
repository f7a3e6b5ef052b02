//! Sessions ended from outside (PROTOCOL 26, 27): by operators, over the admin listener and by
//! `cloakroom sessions`.

use std::process::Output;
use std::time::Duration;

use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::support::admin::{ADMIN, ask, metric, socket};
use crate::support::browser::{Ask, Browser};
use crate::support::http::response;
use crate::support::origin::{Request, Responder};
use crate::support::proxy::{Binary, Proxy};
use crate::support::redis::Redis;
use crate::support::shop::{Shop, TICKET, browser};
use crate::support::{free_port, loopback, soon, within};

/// Logs in whoever `/login?user=NAME` names, and says what it is asked with: `COOKIE ID`.
async fn application() -> Responder {
    Responder::start(|request: &Request| {
        if let Some((_, user)) = request.target.split_once("/login?user=") {
            let cookie = format!("EGG_SESS=of-{user}; path=/");
            let fields = [("location", "/account/"), ("set-cookie", &*cookie), ("x-user", user)];
            return response("302 Found", &fields, b"");
        }
        let field = |name| request.field(name).unwrap_or_default();
        let text = format!("{} {}", field("cookie"), field("x-session-id"));
        let begun = request.target.starts_with("/begin");
        let cookie = [("set-cookie", "EGG_SESS=anonymous; path=/")];
        response("200 OK", if begun { &cookie } else { &[] }, text.as_bytes())
    })
    .await
}

struct Stage {
    nodes: Vec<Proxy>,
    redis: Redis,
    _app: Responder,
    _keys: TempDir,
}

impl Stage {
    async fn start() -> Self {
        Self::with_admin(ADMIN).await
    }

    /// Two nodes with this line for the admin listener of the first.
    async fn with_admin(admin: &str) -> Self {
        Self::with_redis(admin, Redis::durable(), "redis://").await
    }

    /// `login` is how the URL of the server begins, with who we are to it.
    async fn with_redis(admin: &str, redis: Redis, login: &str) -> Self {
        let app = application().await;
        let keys = tempfile::tempdir().expect("a directory");
        let shop = Shop::at(app.address).store(&redis).sharing(&keys);
        let rule = "location: /account/ } }";
        let yaml = |admin: &str| {
            let yaml = shop.clone().top(admin).yaml();
            assert!(yaml.contains(rule), "{yaml}");
            yaml.replace(rule, "location: /account/ }, subject: { header: X-User } }")
                .replace("store: redis://", &format!("store: {login}"))
        };
        let nodes = vec![Proxy::start(&yaml(admin)), Proxy::start(&yaml(ADMIN))];
        Self { nodes, redis, _app: app, _keys: keys }
    }

    async fn logged_in(&self, user: &str) -> Browser {
        let mut browser = browser(&self.nodes);
        let login = Ask::new("POST", &format!("/login?user={user}"));
        browser.send(login.field("User-Agent", "Lynx/2.9")).await.expect(302);
        assert!(is_in(&mut browser).await, "{user}");
        browser
    }

    /// Asks the first node.
    async fn revoke(&self, body: &str) -> (u16, String) {
        let (status, _, content) = ask(&socket(&self.nodes[0]), &revocation(body, "")).await;
        (status, content)
    }

    async fn list(&self, user: &str) -> serde_json::Value {
        let request = format!(
            "GET /sessions?subject={user} HTTP/1.1\r\nHost: admin\r\nConnection: close\r\n\r\n"
        );
        let (status, _, content) = ask(&socket(&self.nodes[1]), &request).await;
        assert_eq!(status, 200, "{content}");
        serde_json::from_str(&content).expect("JSON")
    }
}

fn revocation(body: &str, fields: &str) -> String {
    format!(
        "POST /sessions/revoke HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\
         Content-Type: application/json\r\n{fields}Content-Length: {}\r\n\r\n{body}",
        body.len()
    )
}

/// What the application is asked with. On a busy machine a look-up may miss the store's deadline: that
/// is 503 and not what these tests are about.
async fn page(browser: &mut Browser) -> String {
    let served = async {
        loop {
            let answer = browser.get("/").await;
            if answer.status != 503 {
                return answer.expect(200).text();
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    };
    within("the store to be in time", served).await
}

/// Whether the node that was asked to revoke lends a jar, and soon the other one as well.
async fn is_in(browser: &mut Browser) -> bool {
    let here = page(browser.node(0)).await.starts_with("EGG_SESS=");
    soon(here, "the other node", async || page(browser.node(1)).await.starts_with("EGG_SESS="))
        .await;
    here
}

async fn id(browser: &mut Browser) -> String {
    let text = page(browser).await;
    text.split_once(' ').expect("an identifier").1.to_owned()
}

#[tokio::test]
async fn revoking_a_user_ends_her_sessions_and_no_others() {
    let stage = Stage::start().await;
    let mut alice = [stage.logged_in("alice").await, stage.logged_in("alice").await];
    let mut bob = stage.logged_in("bob").await;
    let (status, content) = stage.revoke(r#"{"subject":"Alice"}"#).await;
    assert_eq!((status, &*content), (200, "{\"revoked\":{\"subject\":\"alice\"}}\n"));
    for session in &mut alice {
        assert!(!is_in(session).await);
    }
    assert!(is_in(&mut bob).await);
    let mut again = stage.logged_in("alice").await;
    assert!(is_in(&mut again).await, "she may come back");
    let series = "cloakroom_revocations_total{scope=\"subject\"}";
    assert_eq!(metric(&stage.nodes[0], series).await, Some(1));
}

/// The line for `ACL SETUSER` on a server in docs/operations/redis.md, from the keys on.
fn documented_rules() -> Vec<String> {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/operations/redis.md");
    let text = std::fs::read_to_string(path).expect("the documentation is there");
    let line = "ACL SETUSER cloakroom on >… resetkeys ";
    let rules = text.split(line).find(|rules| rules.starts_with("~")).expect("the line");
    let (rules, _) = rules.split_once("```").expect("the end of the block");
    rules.split_whitespace().map(str::to_owned).collect()
}

#[tokio::test]
async fn the_documented_access_list_is_enough_for_logins_logouts_and_revocations() {
    let redis = Redis::durable();
    let rules = documented_rules();
    assert!(rules.contains(&"-@all".to_owned()) && rules.len() > 10, "{rules:?}");
    let mut user = vec!["ACL", "SETUSER", "cloakroom", "on", ">hunter2"];
    user.extend(rules.iter().map(String::as_str));
    assert_eq!(redis.cli(&user), "OK");
    let stage = Stage::with_redis(ADMIN, redis, "redis://cloakroom:hunter2@").await;
    let mut alice = [stage.logged_in("alice").await, stage.logged_in("alice").await];
    let mut bob = stage.logged_in("bob").await;
    assert_eq!(stage.list("alice").await["sessions"].as_array().map(Vec::len), Some(2));
    let body = format!(r#"{{"session":"{}"}}"#, id(&mut alice[0]).await);
    assert_eq!(stage.revoke(&body).await.0, 200);
    assert!(!is_in(&mut alice[0]).await && is_in(&mut alice[1]).await);
    assert_eq!(stage.revoke(r#"{"subject":"alice"}"#).await.0, 200);
    assert!(!is_in(&mut alice[1]).await);
    bob.send(Ask::new("POST", "/logout")).await.expect(200);
    assert!(!is_in(&mut bob).await);
    assert_eq!(stage.revoke(r#"{"all":true}"#).await.0, 200);
    let log = stage.redis.cli(&["ACL", "LOG"]);
    let refused = log.lines().zip(log.lines().skip(1)).filter(|(field, _)| *field == "object");
    for (_, object) in refused {
        assert_eq!(object, "config|get", "the one question that a server may refuse");
    }
    let clients = stage.redis.cli(&["CLIENT", "LIST"]);
    assert!(clients.contains("user=cloakroom"), "{clients}");
}

#[tokio::test]
async fn revoking_one_session_leaves_the_user_her_others() {
    let stage = Stage::start().await;
    let (mut lost, mut kept) = (stage.logged_in("alice").await, stage.logged_in("alice").await);
    let body = format!(r#"{{"session":"{}"}}"#, id(&mut lost).await);
    assert_eq!(stage.revoke(&body).await.0, 200);
    assert!(!is_in(&mut lost).await);
    assert!(is_in(&mut kept).await);
    let (status, content) = stage.revoke(&body).await;
    assert_eq!(status, 404, "there is nothing to acknowledge: {content}");
    assert!(content.contains("no_such_session"), "{content}");
}

/// What workers log of a visitor who never logged in names a session as well.
#[tokio::test]
async fn an_anonymous_session_can_be_revoked() {
    let stage = Stage::start().await;
    let mut visitor = browser(&stage.nodes);
    visitor.get("/begin").await.expect(200);
    let body = format!(r#"{{"session":"{}"}}"#, id(&mut visitor).await);
    assert_eq!(stage.revoke(&body).await.0, 200);
    assert!(!is_in(&mut visitor).await);
}

#[tokio::test]
async fn revoking_all_ends_every_session_within_a_second() {
    let stage = Stage::start().await;
    let mut visitor = browser(&stage.nodes);
    visitor.get("/begin").await.expect(200);
    let mut sessions = vec![stage.logged_in("alice").await, stage.logged_in("bob").await, visitor];
    assert_eq!(stage.revoke(r#"{"all":true}"#).await.0, 200);
    for session in &mut sessions {
        let here = page(session.node(0)).await;
        assert_eq!(here, " ", "at once on the node that was asked");
    }
    tokio::time::sleep(Duration::from_secs(1)).await;
    for session in &mut sessions {
        let there = page(session.node(1)).await;
        assert_eq!(there, " ", "a second later on every other one");
    }
    let mut again = stage.logged_in("alice").await;
    assert!(is_in(&mut again).await);
}

#[tokio::test]
async fn sessions_are_listed_without_their_secrets() {
    let stage = Stage::start().await;
    let mut alice = [stage.logged_in("alice").await, stage.logged_in("alice").await];
    let _bob = stage.logged_in("bob").await;
    let answer = stage.list("ALICE").await;
    assert_eq!(answer["subject"], "alice");
    let sessions = answer["sessions"].as_array().expect("a list");
    let mut found: Vec<&str> =
        sessions.iter().map(|session| session["id"].as_str().expect("an id")).collect();
    let mut expected = [id(&mut alice[0]).await, id(&mut alice[1]).await];
    found.sort_unstable();
    expected.sort_unstable();
    assert_eq!(found, expected, "by what workers have in X-Session-Id");
    for session in sessions {
        assert_eq!(session["network"], "127.0.0.0/24");
        assert_eq!(session["agent"], "Lynx/2.9");
        assert_eq!(session["confirmed"], true);
        let (made, seen) = (session["created"].as_u64(), session["last_seen"].as_u64());
        assert!(made.is_some() && session["authenticated"].as_u64() >= made && seen >= made);
    }
    let text = answer.to_string();
    let ticket = alice[0].cookie(TICKET).expect("a ticket").value_text();
    assert!(!text.contains("of-alice") && !text.contains(&ticket), "{text}");
    assert_eq!(stage.list("nobody").await["sessions"], serde_json::json!([]));
}

#[tokio::test]
async fn a_browser_gets_nowhere() {
    let port = free_port();
    let stage = Stage::with_admin(&format!("admin: {{ address: '127.0.0.1:{port}' }}")).await;
    let mut alice = stage.logged_in("alice").await;
    let body = r#"{"all":true}"#;
    let over_tcp = async |request: &str| {
        let asked = async {
            let mut stream = TcpStream::connect(loopback(port)).await.expect("it listens");
            stream.write_all(request.as_bytes()).await.expect("taken");
            let mut answer = String::new();
            stream.read_to_string(&mut answer).await.expect("an answer");
            answer
        };
        let answer = within("the admin listener", asked).await;
        answer.split(' ').nth(1).expect("a status").to_owned()
    };
    let own = format!("Host: 127.0.0.1:{port}\r\n");
    let plain = revocation(body, "").replace("Host: 127.0.0.1\r\n", &own);
    for (field, status) in [
        ("Origin: http://evil.example\r\n", "403"),
        ("Origin: null\r\n", "403"),
        ("Sec-Fetch-Site: cross-site\r\n", "403"),
        ("Sec-Fetch-Site: same-origin\r\n", "403"),
    ] {
        let request = plain.replace(&own, &format!("{own}{field}"));
        assert_eq!(over_tcp(&request).await, status, "{field}");
    }
    // A name that its owner has pointed at us.
    let rebound = plain.replace(&own, &format!("Host: evil.example:{port}\r\n"));
    assert_eq!(over_tcp(&rebound).await, "421");
    let list =
        "GET /sessions?subject=alice HTTP/1.1\r\nHost: evil.example\r\nConnection: close\r\n\r\n";
    assert_eq!(over_tcp(list).await, "421");
    for kind in ["text/plain", "application/x-www-form-urlencoded"] {
        assert_eq!(over_tcp(&plain.replace("application/json", kind)).await, "415", "{kind}");
    }
    assert_eq!(over_tcp(&plain.replace("POST ", "GET ")).await, "405");
    assert!(is_in(&mut alice).await, "none of it did anything");
    assert_eq!(over_tcp(&plain).await, "200");
    assert!(!page(alice.node(0)).await.starts_with("EGG_SESS="));
}

#[tokio::test]
async fn what_makes_no_sense_is_refused_with_a_remedy() {
    let stage = Stage::start().await;
    let mut alice = stage.logged_in("alice").await;
    for (body, status, word) in [
        ("", 400, "exactly one of"),
        ("{}", 400, "exactly one of"),
        (r#"{"subject":"alice","all":true}"#, 400, "exactly one of"),
        (r#"{"all":false}"#, 400, "exactly one of"),
        (r#"{"subject":""}"#, 400, "a user's name"),
        (r#"{"session":"alice"}"#, 400, "48 hex digits"),
    ] {
        let (found, content) = stage.revoke(body).await;
        assert_eq!(found, status, "{body}: {content}");
        let answer: serde_json::Value = serde_json::from_str(&content).expect("JSON");
        assert!(answer["message"].as_str().is_some_and(|text| text.contains(word)), "{content}");
    }
    let large = format!(r#"{{"subject":"{}"}}"#, "a".repeat(5000));
    assert_eq!(stage.revoke(&large).await.0, 413);
    assert!(is_in(&mut alice).await);
}

/// PROTOCOL 26: acknowledged means stored.
#[tokio::test]
async fn what_the_store_does_not_take_is_not_acknowledged() {
    let mut stage = Stage::start().await;
    let mut alice = stage.logged_in("alice").await;
    let session = format!(r#"{{"session":"{}"}}"#, id(&mut alice).await);
    stage.redis.stop();
    for body in [r#"{"subject":"alice"}"#, r#"{"all":true}"#, &session] {
        let (status, content) = stage.revoke(body).await;
        assert_eq!(status, 503, "{body}");
        assert!(content.contains("store_down"), "{content}");
    }
    let done = sessions(&stage, &["revoke", "--subject", "alice"]);
    assert_eq!(done.status.code(), Some(1));
    let said = text(&done.stderr);
    assert!(said.contains("did not acknowledge") && text(&done.stdout).is_empty(), "{said}");
    for series in ["subject", "all", "session"] {
        let series = format!("cloakroom_revocations_total{{scope=\"{series}\"}}");
        assert_eq!(metric(&stage.nodes[0], &series).await, Some(0), "{series}");
    }
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// Runs `cloakroom sessions` for the first node.
fn sessions(stage: &Stage, arguments: &[&str]) -> Output {
    let admin = format!("unix:{}", socket(&stage.nodes[0]).display());
    Binary::run(&[&["sessions"], arguments, &["--admin", &admin]].concat())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_operator_lists_and_revokes_by_command() {
    let stage = Stage::start().await;
    let (mut alice, mut bob) = (stage.logged_in("alice").await, stage.logged_in("bob").await);
    let listed = sessions(&stage, &["list", "--subject", "Alice"]);
    let said = text(&listed.stdout);
    assert!(listed.status.success(), "{}", text(&listed.stderr));
    assert!(said.contains("alice has 1 session") && said.contains(&id(&mut alice).await), "{said}");

    let done = sessions(&stage, &["revoke", "--session", &id(&mut alice).await]);
    assert!(done.status.success(), "{}", text(&done.stderr));
    assert!(!is_in(&mut alice).await && is_in(&mut bob).await);
    let again = sessions(&stage, &["revoke", "--session", &"0".repeat(48)]);
    assert_eq!(again.status.code(), Some(1));
    assert!(text(&again.stderr).contains("no such session"), "{}", text(&again.stderr));

    let done = sessions(&stage, &["revoke", "--subject", "bob"]);
    assert!(text(&done.stdout).contains("every session of bob has ended"), "{done:?}");
    assert!(!is_in(&mut bob).await);
    let done = sessions(&stage, &["revoke", "--all"]);
    assert!(text(&done.stdout).contains("every session of everybody"), "{done:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_operator_reaches_a_process_by_its_configuration() {
    let port = free_port();
    let line = format!("admin: {{ address: '127.0.0.1:{port}' }}");
    let stage = Stage::with_admin(&line).await;
    let mut alice = stage.logged_in("alice").await;
    let directory = tempfile::tempdir().expect("a directory");
    let config = directory.path().join("cloakroom.yaml");
    let yaml = Shop::at(loopback(1)).top(&line).yaml();
    let yaml = yaml.replace("{directory}", &directory.path().display().to_string());
    std::fs::write(&config, &yaml).expect("written");
    let file = config.display().to_string();
    let done = Binary::run(&["sessions", "revoke", "--subject", "alice", "-c", &file]);
    assert!(done.status.success(), "{}", text(&done.stderr));
    assert!(!is_in(&mut alice).await);

    std::fs::write(&config, yaml.replace(&line, "")).expect("written");
    let done = Binary::run(&["sessions", "revoke", "--all", "-c", &file]);
    assert_eq!(done.status.code(), Some(1));
    assert!(text(&done.stderr).contains("no `admin.address`"), "{}", text(&done.stderr));
    let nowhere = format!("unix:{}/nobody.sock", directory.path().display());
    let done = Binary::run(&["sessions", "revoke", "--all", "--admin", &nowhere]);
    assert_eq!(done.status.code(), Some(1));
    assert!(text(&done.stderr).contains("is it running"), "{}", text(&done.stderr));
}
