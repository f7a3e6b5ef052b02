//! The configuration that most tests share: a shop behind one or more nodes.

use std::net::SocketAddr;

use super::browser::Browser;
use super::in_process::TestClock;
use super::proxy::Proxy;
use super::redis::Redis;

/// The shop's name.
pub const HOST: &str = "shop.example.com";
/// The ticket's cookie-name.
pub const TICKET: &str = "__Host-shop";
/// The session cookies of all the applications.
const APP_COOKIES: &str = "EGG_SESS, EGG_SESS.sig, connect.sid, sid, sessionid";
/// What Alice types into the login form.
pub const ALICE: &[(&str, &str)] = &[("username", "alice"), ("password", "secret")];

/// What the attacker types, who has an account of his own.
pub const MALLORY: &[(&str, &str)] = &[("username", "mallory"), ("password", "secret")];

/// A configuration, to be changed where a test needs another.
#[derive(Clone)]
pub struct Shop {
    upstreams: Vec<SocketAddr>,
    store: String,
    /// Where nodes share one: a file outside of their directories.
    keyring: Option<String>,
    balance: &'static str,
    /// The login rule.
    login: &'static str,
    /// Further lines of the session policy, indented by four.
    policy: String,
    /// Further lines of the upstream, indented by four.
    upstream: String,
    /// Further session policies, indented by two.
    sessions: String,
    /// Further routes, indented by six.
    routes: String,
    /// Further servers, indented by two.
    servers: String,
    /// Further top-level lines.
    top: String,
}

impl Shop {
    /// One endpoint, one node, the embedded store.
    pub fn at(upstream: SocketAddr) -> Self {
        Self::over(&[upstream])
    }

    /// Several endpoints.
    pub fn over(upstreams: &[SocketAddr]) -> Self {
        Self {
            upstreams: upstreams.to_vec(),
            store: "sqlite:{directory}/sessions.db".to_owned(),
            keyring: None,
            balance: "round_robin",
            login: "{ request: POST /login, success: { status: [302], location: /account/ } }",
            policy: String::new(),
            upstream: String::new(),
            sessions: String::new(),
            routes: String::new(),
            servers: String::new(),
            top: String::new(),
        }
    }

    /// Records in this Redis.
    pub fn store(mut self, redis: &Redis) -> Self {
        self.store = redis.url();
        self
    }

    /// Records in a SQLite file in this directory, which several nodes may share.
    pub fn in_file(mut self, directory: &std::path::Path) -> Self {
        self.store = format!("sqlite:{}", directory.join("sessions.db").display());
        self
    }

    /// Records in the node's memory, which always answers in time.
    pub fn in_memory(mut self) -> Self {
        self.store = "memory".to_owned();
        self
    }

    /// `balance: …`
    pub fn balance(mut self, balance: &'static str) -> Self {
        self.balance = balance;
        self
    }

    /// Another login rule.
    pub fn login(mut self, rule: &'static str) -> Self {
        self.login = rule;
        self
    }

    /// A line of the session policy: `timeouts: { idle: 10m }`.
    pub fn policy(mut self, line: &str) -> Self {
        self.policy.push_str(&format!("    {line}\n"));
        self
    }

    /// A line of the upstream: `timeouts: { read: 200ms }`.
    pub fn upstream(mut self, line: &str) -> Self {
        self.upstream.push_str(&format!("    {line}\n"));
        self
    }

    /// A further session policy with its tickets' name: `("back", "back")`. It keeps the same
    /// cookies of the applications.
    pub fn session(mut self, name: &str, ticket: &str) -> Self {
        self.sessions.push_str(&format!(
            "  {name}:\n    cookie: {{ name: {ticket}, same_site: lax }}\n    \
             app_cookies: [{APP_COOKIES}]\n"
        ));
        self
    }

    /// A route: `{ path: /public/, upstream: shop }`. The catch-all `/` is there already.
    pub fn route(mut self, line: &str) -> Self {
        self.routes.push_str(&format!("      - {line}\n"));
        self
    }

    /// A further server with one route for everything: `("other.example.com", "session: shop")`.
    pub fn server(mut self, host: &str, route: &str) -> Self {
        self.servers.push_str(&format!(
            "  - names: [{host}]\n    routes:\n      - {{ path: /, upstream: shop, {route} }}\n"
        ));
        self
    }

    /// A line at the top level: `trusted_proxies: [127.0.0.1/32]`.
    pub fn top(mut self, line: &str) -> Self {
        self.top.push_str(&format!("{line}\n"));
        self
    }

    /// Bodies of requests go on as they come.
    pub fn streaming(self) -> Self {
        self.top("defaults: { request_buffering: false }")
    }

    /// Starts one node.
    pub fn start(&self) -> Proxy {
        Proxy::start(&self.yaml())
    }

    /// Starts one node with a clock that the test moves.
    pub fn start_at(&self, clock: &TestClock) -> Proxy {
        Proxy::start_at(clock, &self.yaml())
    }

    /// Starts nodes that share key ring and store (a Redis).
    pub fn start_nodes(&self, number: usize, keys: &tempfile::TempDir) -> Vec<Proxy> {
        let shared = self.sharing(keys);
        (0..number).map(|_| shared.start()).collect()
    }

    /// As [`Shop::start_nodes`], all with this clock.
    pub fn start_nodes_at(
        &self,
        clock: &TestClock,
        number: usize,
        keys: &tempfile::TempDir,
    ) -> Vec<Proxy> {
        let shared = self.sharing(keys);
        (0..number).map(|_| shared.start_at(clock)).collect()
    }

    /// The same with a key ring that several nodes read.
    pub fn sharing(&self, keys: &tempfile::TempDir) -> Self {
        let ring = keys.path().join("keyring.json");
        if !ring.exists() {
            let made = super::proxy::Binary::run(&["keys", "new", &ring.display().to_string()]);
            assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
        }
        Self { keyring: Some(ring.display().to_string()), ..self.clone() }
    }

    /// The text.
    pub fn yaml(&self) -> String {
        let endpoints: Vec<String> =
            self.upstreams.iter().map(|at| format!("{{ address: '{at}' }}")).collect();
        let keyring = self.keyring.as_ref().map(|file| format!("keyring: {file}\n"));
        format!(
            "\
workers: 2
state_directory: '{{directory}}'
listeners:
  - address: 127.0.0.1:0
    tls: {{ self_signed: true }}
store: {store}
{keyring}{top}sessions:
  shop:
    mode: vault
    cookie: {{ name: shop, same_site: lax }}
    app_cookies: [{APP_COOKIES}]
    login:
      - {login}
    logout:
      - {{ request: POST /logout }}
{policy}{sessions}upstreams:
  shop:
    balance: {balance}
    endpoints: [{endpoints}]
{upstream}servers:
  - names: [{HOST}]
    routes:
      - {{ path: /, upstream: shop, session: shop }}
{routes}{servers}",
            store = self.store,
            keyring = keyring.unwrap_or_default(),
            top = self.top,
            login = self.login,
            policy = self.policy,
            upstream = self.upstream,
            balance = self.balance,
            endpoints = endpoints.join(", "),
            sessions = self.sessions,
            routes = self.routes,
            servers = self.servers,
        )
    }
}

/// A browser at these nodes.
pub fn browser(nodes: &[Proxy]) -> Browser {
    let addresses: Vec<SocketAddr> = nodes.iter().map(Proxy::address).collect();
    Browser::https(HOST, &addresses)
}

/// Who the application thinks that somebody is.
pub async fn whoami(browser: &mut Browser) -> Option<String> {
    browser.get("/whoami").await.expect(200).json()["user"].as_str().map(str::to_owned)
}
