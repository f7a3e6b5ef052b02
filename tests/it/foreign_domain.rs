//! Session cookies with a `Domain` that the host is not in: that of another environment, say. A
//! browser drops them, and its user never gets beyond the login.

use crate::support::browser::Browser;
use crate::support::client::Dial;
use crate::support::counts::{ADMIN, count};
use crate::support::http::response;
use crate::support::origin::{Request, Responder};
use crate::support::proxy::Proxy;
use crate::support::shop::{ALICE, HOST, Shop};

const FOUND: &str = "cloakroom_cookie_findings_total{finding=\"foreign_domain\"}";

/// Logs in and out with the cookies that the query names, and says with which it is asked.
async fn application() -> Responder {
    Responder::start(|request: &Request| {
        let asked = request.field("cookie").unwrap_or_default();
        let (path, query) = request.target.split_once('?').unwrap_or((&request.target, ""));
        let cookies: Vec<String> = query.split('&').map(|line| line.replace('~', "; ")).collect();
        let cookies = cookies.iter().filter(|line| !line.is_empty());
        let mut fields: Vec<(&str, &str)> =
            cookies.map(|line| ("Set-Cookie", line.as_str())).collect();
        fields.push(("Location", "/account/"));
        let status = if path == "/login" { "302 Found" } else { "200 OK" };
        response(status, &fields, asked.as_bytes())
    })
    .await
}

/// Where a session is kept in the vault, where it is sealed, and two hosts that share one.
fn node(app: &Responder) -> Proxy {
    let policies = "  shut: { mode: seal, app_cookies: [EGG_SESS] }\n  wide:\n    \
                    cookie: { name: wide, domain: example.com }\n    \
                    app_cookies: [EGG_SESS]\nupstreams:\n";
    let shop = Shop::at(app.address)
        .top(ADMIN)
        .server("shut.example.com", "session: shut")
        .server("one.example.com", "session: wide")
        .server("two.example.com", "session: wide");
    Proxy::start(&shop.yaml().replacen("upstreams:\n", policies, 1))
}

async fn asked(alice: &mut Browser) -> String {
    alice.get("/").await.expect(200).text()
}

#[tokio::test]
async fn a_session_cookie_with_a_foreign_domain_is_kept_and_told() {
    let app = application().await;
    let node = node(&app);
    let mut told = 0;
    for host in [HOST, "shut.example.com"] {
        for domain in ["shop.internal", "www.example.com", "localhost", "10.0.0.7"] {
            let mut alice = Browser::https(host, &[node.address()]);
            let login = format!("/login?EGG_SESS=1~Path=/~Domain={domain}");
            alice.post_form(&login, ALICE).await.expect(302);
            assert_eq!(asked(&mut alice).await, "EGG_SESS=1", "{domain} on {host}");
            told += 1;
            assert_eq!(count(&node, FOUND).await, told, "{domain} on {host}");
            let other = format!("/?EGG_SESS=2~Path=/~Domain=.{}", domain.to_uppercase());
            alice.get(&other).await.expect(200);
            assert_eq!(asked(&mut alice).await, "EGG_SESS=2", "{domain} on {host}");
            let deleted = format!("/?EGG_SESS=~Path=/~Domain={domain}~Max-Age=0");
            alice.post_form(&deleted, &[]).await.expect(200);
            assert_eq!(asked(&mut alice).await, "", "{domain} on {host}");
            told += 2;
        }
        // A domain of this host is nothing to tell.
        let mut alice = Browser::https(host, &[node.address()]);
        alice.get("/?EGG_SESS=1~Path=/~Domain=.EXAMPLE.com").await.expect(200);
        assert_eq!(asked(&mut alice).await, "EGG_SESS=1");
        assert_eq!(count(&node, FOUND).await, told);
    }
}

/// What browsers keep goes on as if the cookies for other hosts were not there.
#[tokio::test]
async fn a_foreign_cookie_takes_nothing_from_one_that_browsers_keep() {
    let app = application().await;
    let node = node(&app);
    for host in [HOST, "shut.example.com"] {
        for (set, expected) in [
            ("EGG_SESS=1~Path=/&EGG_SESS=2~Path=/~Domain=shop.internal", "EGG_SESS=1"),
            ("EGG_SESS=2~Path=/~Domain=shop.internal&EGG_SESS=1~Path=/", "EGG_SESS=1"),
            ("EGG_SESS=1~Path=/&EGG_SESS=~Path=/~Domain=shop.internal~Max-Age=0", "EGG_SESS=1"),
            (
                "EGG_SESS=2~Path=/~Domain=shop.internal&EGG_SESS=~Path=/~Domain=localhost~Max-Age=0",
                "EGG_SESS=2",
            ),
        ] {
            let mut alice = Browser::https(host, &[node.address()]);
            for target in [format!("/?{set}"), "/?EGG_SESS=3~Path=/~Domain=localhost".to_owned()] {
                alice.get(&target).await.expect(200);
                let expected = if target.contains("=3") {
                    expected.replace('2', "3")
                } else {
                    expected.to_owned()
                };
                assert_eq!(asked(&mut alice).await, expected, "{target} on {host}");
            }
        }
    }
}

/// Hosts that share a ticket share such a cookie.
#[tokio::test]
async fn a_foreign_cookie_goes_to_all_hosts_of_its_ticket() {
    let app = application().await;
    let node = node(&app);
    let mut one = Dial::to(node.address()).tls("one.example.com").connect().await;
    let login = "/?EGG_SESS=1~Path=/~Domain=shop.internal";
    let answer = one.get("one.example.com", login, &[]).await.expect(200);
    let ticket = answer.set_cookies();
    let [ticket] = &ticket[..] else { panic!("one ticket, not {ticket:?}") };
    let ticket = ticket.split(';').next().expect("a pair");
    let mut two = Dial::to(node.address()).tls("two.example.com").connect().await;
    let answer = two.get("two.example.com", "/", &[("Cookie", ticket)]).await.expect(200);
    assert_eq!(answer.text(), "EGG_SESS=1");
}
