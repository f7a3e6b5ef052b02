//! `bind`: a ticket that was carried off is worth nothing to another client.

use std::path::Path;
use std::sync::Arc;

use rustls::{ClientConfig, SupportedProtocolVersion};

use crate::support::browser::Browser;
use crate::support::client::{Dial, request};
use crate::support::counts::{ADMIN, count};
use crate::support::http::response;
use crate::support::origin::{Request, Responder};
use crate::support::proxy::Proxy;
use crate::support::shop::{ALICE, HOST, Shop, TICKET, browser};
use crate::support::tls::{self, Certificate, client_config_as};

const FIREFOX: &str = "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0";
const MISMATCHES: &str = "cloakroom_session_events_total{event=\"binding_mismatch\"}";

/// Logs in, and says with which cookie it is asked.
async fn application() -> Responder {
    Responder::start(|request: &Request| {
        let asked = request.field("cookie").unwrap_or_default();
        if request.method == "POST" {
            let fields = [("set-cookie", "EGG_SESS=alice; path=/"), ("location", "/account/")];
            return response("302 Found", &fields, b"");
        }
        response("200 OK", &[], asked.as_bytes())
    })
    .await
}

/// One node whose clients' addresses are what they say, and a way to get browsers.
struct Stage {
    nodes: Vec<Proxy>,
    _app: Responder,
}

impl Stage {
    async fn with(bind: &str) -> Self {
        let app = application().await;
        let shop = Shop::at(app.address)
            .policy(&format!("bind: {bind}"))
            .top(ADMIN)
            .top("trusted_proxies: [127.0.0.1/32]");
        Self { nodes: vec![shop.start()], _app: app }
    }

    fn client(&self, agent: &str, address: &str) -> Browser {
        browser(&self.nodes).with_field("User-Agent", agent).with_field("X-Forwarded-For", address)
    }

    /// Somebody else with Alice's cookies.
    fn thief(&self, alice: &Browser, agent: &str, address: &str) -> Browser {
        with_jar_of(alice, self.client(agent, address))
    }

    async fn mismatches(&self) -> u64 {
        count(&self.nodes[0], MISMATCHES).await
    }
}

fn with_jar_of(owner: &Browser, mut thief: Browser) -> Browser {
    thief.jar = owner.jar.clone();
    thief
}

/// The answer's status, and whether it came with the session.
async fn asks(browser: &mut Browser) -> (u16, bool) {
    let answer = browser.get("/").await;
    (answer.status, answer.text() == "EGG_SESS=alice")
}

const IN: (u16, bool) = (200, true);
const OUT: (u16, bool) = (200, false);

#[tokio::test]
async fn a_session_ends_when_its_ticket_comes_from_another_client() {
    let stage = Stage::with("{ user_agent: true, network: { v4: 24 } }").await;
    for (agent, address, expected) in [
        (FIREFOX, "192.0.2.7", IN),
        (FIREFOX, "192.0.2.254", IN),
        (FIREFOX, "::ffff:192.0.2.9", IN),
        (FIREFOX, "192.0.3.7", OUT),
        (FIREFOX, "2001:db8::1", OUT),
        ("curl/8.14", "192.0.2.7", OUT),
    ] {
        let mut alice = stage.client(FIREFOX, "192.0.2.7");
        alice.post_form("/login", ALICE).await.expect(302);
        assert_eq!(asks(&mut stage.thief(&alice, agent, address)).await, expected);
        assert_eq!(asks(&mut alice).await, expected, "{agent} at {address}: it is over for all");
        // She logs in anew, from wherever she is now.
        let mut moved = stage.thief(&alice, agent, address);
        moved.post_form("/login", ALICE).await.expect(302);
        assert_eq!(asks(&mut moved).await, IN);
    }
    assert_eq!(stage.mismatches().await, 3);
}

#[tokio::test]
async fn another_client_may_only_be_denied() {
    let stage = Stage::with("{ user_agent: true, on_mismatch: deny }").await;
    let mut alice = stage.client(FIREFOX, "192.0.2.7");
    alice.post_form("/login", ALICE).await.expect(302);
    let mut thief = stage.thief(&alice, "curl/8.14", "192.0.2.7");
    let denied = thief.get("/").await.expect(403);
    assert!(denied.text().contains("begun elsewhere"), "{}", denied.text());
    assert_eq!(denied.set_cookies(), Vec::<String>::new());
    assert_eq!(thief.post_form("/login", ALICE).await.status, 403, "it cannot be taken over");
    assert_eq!(asks(&mut alice).await, IN, "it goes on for its owner");
    assert_eq!(stage.mismatches().await, 2);
}

#[tokio::test]
async fn nothing_binds_by_default() {
    let app = application().await;
    let nodes = vec![Shop::at(app.address).start()];
    let mut alice = browser(&nodes).with_field("User-Agent", FIREFOX);
    alice.post_form("/login", ALICE).await.expect(302);
    let mut elsewhere = with_jar_of(&alice, browser(&nodes));
    assert_eq!(asks(&mut elsewhere).await, IN);
}

/// A node that knows these clients' certificates, which issue themselves.
fn certified(app: &Responder, directory: &Path, clients: &[&Certificate], require: bool) -> Proxy {
    let bundle = directory.join("clients.pem");
    let pem: String = clients.iter().map(|client| client.chain_pem.as_str()).collect();
    std::fs::write(&bundle, pem).expect("the directory can be written");
    let clients =
        format!("client_certificates: {{ ca: '{}', require: {require} }}", bundle.display());
    let yaml = Shop::at(app.address)
        .policy("bind: { client_certificate: true, on_mismatch: deny }")
        .top(ADMIN)
        .yaml()
        .replace("self_signed: true }", &format!("self_signed: true, {clients} }}"));
    Proxy::start(&yaml)
}

/// One request over a connection of its own: the status, the cookies that it sets, and whether TLS
/// was resumed.
async fn over(
    proxy: &Proxy,
    config: &Arc<ClientConfig>,
    method: &str,
    target: &str,
    ticket: Option<&str>,
) -> (u16, Vec<String>, bool) {
    let mut connection = Dial::to(proxy.address()).tls(HOST).config(config.clone()).connect().await;
    let resumed = connection.tls.as_ref().expect("TLS").resumed;
    let cookie = ticket.map(|ticket| format!("{TICKET}={ticket}"));
    let fields: Vec<(&str, &str)> =
        cookie.iter().map(|cookie| ("Cookie", cookie.as_str())).collect();
    let answer = connection.exchange(request(method, target, HOST, &fields, b"")).await;
    (answer.status, answer.set_cookies(), resumed)
}

/// A certificate of TLS binds as well, and a resumed session of TLS has it still.
#[tokio::test]
async fn a_session_follows_the_certificate_of_its_client_through_resumption() {
    let app = application().await;
    let directory = tempfile::tempdir().expect("a directory");
    let (alice, bob) = (Certificate::for_names(&["alice"]), Certificate::for_names(&["bob"]));
    let proxy = certified(&app, directory.path(), &[&alice, &bob], false);
    for versions in [tls::ONLY_TLS13, tls::ONLY_TLS12] {
        let hers = client_config_as(Some(&alice), &[], versions);
        let (status, cookies, _) = over(&proxy, &hers, "POST", "/login", None).await;
        assert_eq!((status, cookies.len()), (302, 1));
        let ticket = cookies[0].split(['=', ';']).nth(1).expect("a value").to_owned();
        let ticket = Some(ticket.as_str());
        let (status, _, resumed) = over(&proxy, &hers, "GET", "/", ticket).await;
        assert_eq!((status, resumed), (200, true), "resumed, and still hers");
        let again = client_config_as(Some(&alice), &[], versions);
        let (status, _, resumed) = over(&proxy, &again, "GET", "/", ticket).await;
        assert_eq!((status, resumed), (200, false), "shown once more");
        for other in [Some(&bob), None] {
            let other = client_config_as(other, &[], versions);
            let (status, _, _) = over(&proxy, &other, "GET", "/", ticket).await;
            assert_eq!(status, 403, "another one, or none");
        }
    }
    assert_eq!(count(&proxy, MISMATCHES).await, 4);
}

/// A session of TLS that began where nobody was asked for a certificate is not resumed where one
/// is required, though both listeners have one name.
#[tokio::test]
async fn a_required_certificate_cannot_be_resumed_away() {
    let app = application().await;
    let directory = tempfile::tempdir().expect("a directory");
    let (alice, mallory) =
        (Certificate::for_names(&["alice"]), Certificate::for_names(&["mallory"]));
    let bundle = directory.path().join("clients.pem");
    std::fs::write(&bundle, &alice.chain_pem).expect("the directory can be written");
    let asking = format!(
        "  - address: 127.0.0.1:0\n    tls: {{ self_signed: true, client_certificates: {{ ca: '{}', require: true }} }}\n",
        bundle.display()
    );
    let yaml = Shop::at(app.address).yaml().replace("store: ", &format!("{asking}store: "));
    let proxy = Proxy::start(&yaml);
    let [open, strict] = proxy.addresses() else { panic!("two listeners") };
    let reaches = async |config: &Arc<ClientConfig>, at: &std::net::SocketAddr| {
        let dial = Dial::to(*at).tls(HOST).config(config.clone());
        // With TLS 1.3 a client learns of its refusal only when it reads.
        match dial.try_connect().await {
            Err(_) => None,
            Ok(mut connection) => {
                let resumed = connection.tls.as_ref().is_some_and(|tls| tls.resumed);
                let sent = connection.try_send(request("GET", "/", HOST, &[], b"")).await;
                sent.ok()?;
                connection.try_response().await.ok().map(|answer| (answer.status, resumed))
            }
        }
    };
    let versions: [&'static [&'static SupportedProtocolVersion]; 2] =
        [tls::ONLY_TLS13, tls::ONLY_TLS12];
    for versions in versions {
        let anonymous = client_config_as(None, &[], versions);
        assert_eq!(reaches(&anonymous, open).await, Some((200, false)));
        assert_eq!(reaches(&anonymous, open).await, Some((200, true)), "a ticket is there");
        assert_eq!(reaches(&anonymous, strict).await, None, "and does not open here");
        let stranger = client_config_as(Some(&mallory), &[], versions);
        assert_eq!(reaches(&stranger, strict).await, None);
        let hers = client_config_as(Some(&alice), &[], versions);
        assert_eq!(reaches(&hers, strict).await, Some((200, false)));
    }
}
