//! A real browser at two nodes behind one name: Chromium spreads the connections of its tabs over
//! both, as it would with a balancer in front.

use serde_json::Value;

use crate::support::apps::App;
use crate::support::browser::Ask;
use crate::support::chromium::scenario;
use crate::support::proxy::Proxy;
use crate::support::redis::Redis;
use crate::support::shop::{HOST, Shop, TICKET, browser};
use crate::support::spread::Spread;
use crate::support::tls::Certificate;

/// Two nodes with one store, one key ring and one certificate.
struct Cluster {
    nodes: Vec<Proxy>,
    spread: Spread,
    certificate: Certificate,
    _redis: Redis,
    _files: tempfile::TempDir,
}

impl Cluster {
    /// `protocols` is what ALPN offers: over HTTP/1.1 the browser opens several connections.
    async fn of(app: &App, nodes: usize, protocols: &str) -> Self {
        let files = tempfile::tempdir().expect("a temporary directory can be made");
        let redis = Redis::start();
        let certificate = Certificate::for_names(&[HOST]);
        let (chain, key) = certificate.write(files.path(), "shop");
        let yaml = Shop::at(app.address)
            .store(&redis)
            .policy("anonymous_per_minute: 10000")
            .route("{ path: /account/, upstream: shop, session: shop, require: login, denied: redirect /login }")
            .sharing(&files)
            .yaml()
            .replace("POST /logout }", "POST /logout, clear_site_data: [cache, storage] }")
            .replace(
                "tls: { self_signed: true }",
                &format!(
                    "tls: {{ certificates: [{{ chain: {}, key: {} }}] }}\n    protocols: {protocols}",
                    chain.display(),
                    key.display()
                ),
            );
        let nodes: Vec<Proxy> = (0..nodes).map(|_| Proxy::start(&yaml)).collect();
        let spread = Spread::over(nodes.iter().map(Proxy::address).collect()).await;
        Self { nodes, spread, certificate, _redis: redis, _files: files }
    }

    async fn see(&self, name: &str, results: usize) -> Vec<Value> {
        scenario(name, HOST, self.spread.address, &self.certificate.pin(), results).await
    }

    /// Who somebody is who sends these bytes as his ticket, at each node.
    async fn is(&self, ticket: &str) -> Vec<Option<String>> {
        let mut users = Vec::new();
        for node in 0..self.nodes.len() {
            let mut thief = browser(&self.nodes);
            thief.slip(&[format!("{TICKET}={ticket}").into_bytes()]);
            let answer = thief.node(node).send(Ask::get("/whoami")).await.expect(200);
            users.push(answer.json()["user"].as_str().map(str::to_owned));
        }
        users
    }
}

fn text<'a>(value: &'a Value, key: &str) -> &'a str {
    value[key].as_str().unwrap_or_else(|| panic!("no {key} in {value}"))
}

fn texts<'a>(value: &'a Value, key: &str) -> Vec<&'a str> {
    let all = value[key].as_array().unwrap_or_else(|| panic!("no {key} in {value}"));
    all.iter().map(|one| one.as_str().unwrap_or("(none)")).collect()
}

/// One tab logs in while three others fetch, post and walk about: all of them are logged in
/// afterwards, nothing failed meanwhile, and the ticket from before is worth nothing.
async fn nobody_is_logged_out(app: &App, nodes: usize, protocols: &str) {
    let cluster = Cluster::of(app, nodes, protocols).await;
    for round in &cluster.see("login", 3).await {
        assert_eq!(text(round, "landed"), "/account/", "{round}");
        assert_eq!(texts(round, "users"), ["alice"; 4], "{round}");
        assert_eq!(texts(round, "pages"), ["account of alice"; 4], "{round}");
        assert!(texts(round, "odd").is_empty() && round["odd"] == Value::Array(vec![]), "{round}");
        assert!(round["fetches"].as_u64() > Some(20), "{round}");
        assert!(round["walks"].as_u64() > Some(2), "{round}");
        let (before, after) = (text(round, "before"), text(round, "after"));
        assert_ne!(before, after, "a new ticket at login");
        assert_eq!(text(round, "at_last"), after, "late answers leave it alone");
        let everywhere = |user: Option<&str>| vec![user.map(str::to_owned); nodes];
        assert_eq!(cluster.is(before).await, everywhere(None), "the old one is dead on every node");
        assert_eq!(cluster.is(after).await, everywhere(Some("alice")));
    }
    let counts = cluster.spread.counts();
    let least = if protocols.contains("h2") { 1 } else { 5 };
    assert!(counts.iter().all(|count| *count >= least), "it was at every node: {counts:?}");
}

#[tokio::test]
async fn a_login_beside_busy_tabs_logs_nobody_out_of_eggs_cookie_session() {
    nobody_is_logged_out(&App::egg(), 2, "[http/1.1]").await;
}

/// Where the application has a store of its own and keeps its identifier, a request at another node
/// may write the old session back (docs/security.md): so it makes a new one.
#[tokio::test]
async fn a_login_beside_busy_tabs_logs_nobody_out_of_eggs_redis_session() {
    let redis = Redis::start();
    let settings = [("SESSION", "redis"), ("REDIS_URL", &*redis.url()), ("REGENERATE", "1")];
    nobody_is_logged_out(&App::start("egg", &settings), 2, "[http/1.1]").await;
}

/// At one node it may keep its identifier. Over HTTP/2 all tabs share one connection.
#[tokio::test]
async fn a_login_beside_busy_tabs_logs_nobody_out_over_http2() {
    let redis = Redis::start();
    nobody_is_logged_out(&App::egg_redis(&redis), 1, "[h2, http/1.1]").await;
}

/// Script sees neither session nor ticket, and cannot put one in its place.
#[tokio::test]
async fn script_sees_no_session_and_plants_no_ticket() {
    let app = App::egg();
    let cluster = Cluster::of(&app, 2, "[h2, http/1.1]").await;
    let seen = &cluster.see("cookies", 1).await[0];
    assert_eq!(seen["script"], "csrfToken=yX-Q5CKNbe2I-Iy7uQRidcb-", "it is for script");
    assert_eq!(seen["kept"], true, "{seen}");
    let cookies = seen["cookies"].as_array().expect("a list");
    let names: Vec<_> = cookies.iter().map(|cookie| text(cookie, "name")).collect();
    assert!(!names.contains(&"EGG_SESS"), "{names:?}");
    let ticket = cookies.iter().find(|cookie| cookie["name"] == TICKET).expect("the ticket");
    for (attribute, value) in [
        ("domain", Value::from(HOST)),
        ("path", "/".into()),
        ("secure", true.into()),
        ("httpOnly", true.into()),
        ("sameSite", "Lax".into()),
        ("session", true.into()),
    ] {
        assert_eq!(ticket[attribute], value, "{attribute} of {ticket}");
    }
    for cookie in cookies {
        assert_eq!(cookie["secure"], true, "{cookie}");
        assert!(cookie["sameSite"].is_string(), "{cookie}");
    }
}

/// A page that requires a login is kept by no cache, and the back button's own is emptied by
/// `Clear-Site-Data`. (The very page that the logout was sent from is put there afterwards:
/// docs/security.md.)
#[tokio::test]
async fn the_back_button_shows_nothing_private_after_a_logout() {
    let app = App::egg();
    let cluster = Cluster::of(&app, 2, "[h2, http/1.1]").await;
    let seen = &cluster.see("back", 1).await[0];
    assert_eq!(text(seen, "account"), "account of alice");
    assert_eq!(text(seen, "out"), "/");
    assert_eq!((text(seen, "url"), text(seen, "back")), ("/login", "Log in"), "asked for anew");
    assert_eq!(seen["stored"], Value::Null, "what scripts have stored is gone too");
}
