//! Users of several applications behind one node (PROTOCOL 27): one name in two of them is two users,
//! unless the policies say that they are the same.

use std::process::Output;

use crate::support::admin::{ADMIN, socket};
use crate::support::browser::{Ask, Browser};
use crate::support::http::response;
use crate::support::origin::{Request, Responder};
use crate::support::proxy::{Binary, Proxy};
use crate::support::shop::{HOST, Shop};

const STAFF: &str = "staff.example.com";
const PATH: &str = "/.well-known/cloakroom/sessions";

/// A shop and the application of its staff, where whoever asks for `/login?user=NAME` is logged in, and
/// `/everywhere` ends all sessions of whoever asks.
struct Stage {
    node: Proxy,
    _app: Responder,
}

impl Stage {
    /// With this line in both policies.
    async fn with(line: &str) -> Self {
        let app = Responder::start(|request: &Request| {
            let text = request.field("cookie").unwrap_or_default();
            if let Some((_, user)) = request.target.split_once("/login?user=") {
                let said = format!("login;subject=\"{user}\"");
                let cookie = format!("EGG_SESS={user}; path=/");
                let fields = [("cloakroom-session", &*said), ("set-cookie", &*cookie)];
                return response("200 OK", &fields, b"");
            }
            let said = [("cloakroom-session", "revoke-subject")];
            let is_all = request.target == "/everywhere";
            response("200 OK", if is_all { &said } else { &[] }, text.as_bytes())
        })
        .await;
        let yaml = Shop::at(app.address)
            .in_memory()
            .top(ADMIN)
            .session("staff", "staff")
            .server(STAFF, "session: staff, session_header: true")
            .yaml();
        let limit =
            "own_sessions: true\n    max_sessions_per_subject: { sessions: 2, beyond: end-oldest }";
        let route = "{ path: /, upstream: shop, session: shop }";
        let heard = "{ path: /, upstream: shop, session: shop, session_header: true }";
        assert!(yaml.contains("  shop:\n    mode") && yaml.contains("  staff:\n"), "{yaml}");
        let yaml = yaml
            .replace(route, heard)
            .replace("  shop:\n    mode", &format!("  shop:\n    {line}\n    {limit}\n    mode"))
            .replace("  staff:\n", &format!("  staff:\n    {line}\n    {limit}\n"));
        Self { node: Proxy::start(&yaml), _app: app }
    }

    async fn logged_in(&self, host: &str, user: &str) -> Browser {
        let mut browser = Browser::https(host, &[self.node.address()]);
        browser.send(Ask::new("POST", &format!("/login?user={user}"))).await.expect(200);
        assert!(is_in(&mut browser).await);
        browser
    }

    /// `cloakroom sessions`
    fn sessions(&self, arguments: &[&str]) -> Output {
        let admin = format!("unix:{}", socket(&self.node).display());
        Binary::run(&[&["sessions"], arguments, &["--admin", &admin]].concat())
    }
}

async fn is_in(browser: &mut Browser) -> bool {
    !browser.get("/").await.expect(200).text().is_empty()
}

async fn own(browser: &mut Browser, method: &str, rest: &str) -> serde_json::Value {
    let ask = Ask::new(method, &format!("{PATH}{rest}")).field("Sec-Fetch-Site", "same-origin");
    browser.send(ask).await.expect(200).json()
}

#[tokio::test]
async fn a_customer_who_is_called_admin_is_not_the_staff_s() {
    let stage = Stage::with("on_reuse: log").await;
    let mut staff = stage.logged_in(STAFF, "admin").await;
    let mut other = stage.logged_in(STAFF, "admin").await;
    let mut customer = stage.logged_in(HOST, "admin").await;
    assert_eq!(own(&mut customer, "GET", "").await["total"], 1, "she sees her own");
    assert_eq!(own(&mut staff, "GET", "").await["total"], 2);
    assert_eq!(own(&mut customer, "POST", "?others").await["ended"], 0);
    // Her sessions take nobody's place.
    for _ in 0..3 {
        customer = stage.logged_in(HOST, "admin").await;
    }
    assert!(is_in(&mut staff).await && is_in(&mut other).await);
    customer.get("/everywhere").await.expect(200);
    assert!(!is_in(&mut customer).await);
    assert!(is_in(&mut staff).await && is_in(&mut other).await);
}

#[tokio::test]
async fn policies_that_name_the_same_users_share_them() {
    let stage = Stage::with("users: people").await;
    let mut staff = stage.logged_in(STAFF, "alice").await;
    let mut customer = stage.logged_in(HOST, "alice").await;
    assert_eq!(own(&mut customer, "GET", "").await["total"], 2);
    assert_eq!(own(&mut customer, "POST", "?others").await["ended"], 1);
    assert!(!is_in(&mut staff).await && is_in(&mut customer).await);
    // A limit is on all of them.
    let mut second = stage.logged_in(STAFF, "alice").await;
    let mut third = stage.logged_in(STAFF, "alice").await;
    assert!(!is_in(&mut customer).await && is_in(&mut second).await && is_in(&mut third).await);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_operator_means_all_users_of_a_name_unless_told() {
    let stage = Stage::with("on_reuse: log").await;
    let mut staff = stage.logged_in(STAFF, "admin").await;
    let mut customer = stage.logged_in(HOST, "admin").await;
    let said = |output: &Output| {
        let text = [&output.stdout[..], &output.stderr].concat();
        String::from_utf8_lossy(&text).into_owned()
    };
    let listed = stage.sessions(&["list", "--subject", "Admin"]);
    let text = said(&listed);
    assert!(text.contains("admin has 2 session(s)"), "{text}");
    assert!(text.contains("users      shop") && text.contains("users      staff"), "{text}");
    let listed = stage.sessions(&["list", "--subject", "admin", "--users", "staff"]);
    let text = said(&listed);
    assert!(text.contains("admin has 1 session(s)") && !text.contains("shop"), "{text}");
    for arguments in [["list", "--subject", "admin"], ["revoke", "--subject", "admin"]] {
        let output = stage.sessions(&[&arguments[..], &["--users", "stuff"]].concat());
        assert_eq!(output.status.code(), Some(1), "{}", said(&output));
        assert!(said(&output).contains("no session policy"), "{}", said(&output));
    }
    let done = stage.sessions(&["revoke", "--subject", "admin", "--users", "shop"]);
    assert!(said(&done).contains("every session of admin of shop has ended"), "{}", said(&done));
    assert!(is_in(&mut staff).await && !is_in(&mut customer).await);
    let mut customer = stage.logged_in(HOST, "admin").await;
    let done = stage.sessions(&["revoke", "--subject", "admin"]);
    assert!(done.status.success(), "{}", said(&done));
    assert!(!is_in(&mut staff).await && !is_in(&mut customer).await);
    let both = stage.sessions(&["revoke", "--all", "--users", "shop"]);
    assert_ne!(both.status.code(), Some(0), "{}", said(&both));
}
