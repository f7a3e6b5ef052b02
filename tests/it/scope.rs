//! A ticket is good for its policy and scope alone (PROTOCOL 1): on one host under several
//! policies, on several hosts under one, and over the subdomains of a domain.

use crate::support::client::{Dial, request};
use crate::support::counts::{ADMIN, count, total};
use crate::support::http::response;
use crate::support::origin::{Request, Responder};
use crate::support::proxy::Proxy;
use crate::support::shop::{HOST, Shop};

const FORGED: &str = "cloakroom_tickets_rejected_total{reason=\"forged\"}";

/// Where a session may be, with the cookie that its tickets have there.
#[derive(Clone, Copy, Debug)]
struct Place {
    host: &'static str,
    path: &'static str,
    cookie: &'static str,
    /// Places of one letter share their sessions.
    class: char,
}

const fn place(host: &'static str, path: &'static str, cookie: &'static str, class: char) -> Place {
    Place { host, path, cookie, class }
}

const PLACES: &[Place] = &[
    // Three policies on one host.
    place("shop.example.com", "/", "__Host-shop", 'a'),
    place("shop.example.com", "/back/", "__Host-back", 'b'),
    place("shop.example.com", "/wide/", "__Secure-wide", 'w'),
    // The first one on another host, and another policy under its cookie's name.
    place("other.example.com", "/", "__Host-shop", 'c'),
    place("twin.example.com", "/", "__Host-shop", 'd'),
    // One policy over the subdomains of a domain.
    place("example.com", "/wide/", "__Secure-wide", 'w'),
    place("a.b.example.com", "/wide/", "__Secure-wide", 'w'),
    // Another one under its cookie's name over those of another domain.
    place("www.example.net", "/wide/", "__Secure-wide", 'n'),
];

/// Begins a session where it is asked to, and says which one it is asked with.
async fn application() -> Responder {
    Responder::start(|request: &Request| {
        let asked = request.field("cookie").unwrap_or_default();
        let host = request.field("host").unwrap_or_default();
        let domain = match (request.target.starts_with("/wide/"), host.ends_with("example.net")) {
            (false, _) => "",
            (true, false) => "; Domain=example.com",
            (true, true) => "; Domain=example.net",
        };
        let begun = format!("EGG_SESS={}{}; Path=/{domain}", host, request.target.len());
        let fields: &[(&str, &str)] = match request.target.ends_with("?begin") {
            true => &[("set-cookie", &begun)],
            false => &[],
        };
        response("200 OK", fields, asked.as_bytes())
    })
    .await
}

fn node(app: &Responder) -> Proxy {
    let policies = "  \
  wide:
    cookie: { name: wide, domain: example.com }
    app_cookies: [EGG_SESS]
  wide-net:
    cookie: { name: wide, domain: example.net }
    app_cookies: [EGG_SESS]
upstreams:
";
    let wide = |name: &str, session: &str| {
        format!(
            "  - names: [{name}]\n    routes:\n      \
             - {{ path: /, upstream: shop }}\n      \
             - {{ path: /wide/, upstream: shop, session: {session} }}\n"
        )
    };
    let mut yaml = Shop::at(app.address)
        .top(ADMIN)
        .session("back", "back")
        .session("twin", "shop")
        .route("{ path: /back/, upstream: shop, session: back }")
        .route("{ path: /wide/, upstream: shop, session: wide }")
        .server("other.example.com", "session: shop")
        .server("twin.example.com", "session: twin")
        .yaml()
        .replacen("upstreams:\n", policies, 1);
    yaml.push_str(&wide("example.com", "wide"));
    yaml.push_str(&wide("a.b.example.com", "wide"));
    yaml.push_str(&wide("www.example.net", "wide-net"));
    Proxy::start(&yaml)
}

/// What the application says when it is asked at a place with this `Cookie` line.
async fn asks(node: &Proxy, at: &Place, host: &str, line: &str) -> String {
    let mut connection = Dial::to(node.address()).tls(at.host).connect().await;
    let raw = request("GET", at.path, host, &[("Cookie", line)], b"");
    let answer = connection.exchange(raw).await.expect(200);
    assert_eq!(answer.set_cookies(), Vec::<String>::new(), "a foreign ticket is left alone");
    answer.text()
}

/// A new session's ticket, and what the application says when it is asked with it.
async fn begin(node: &Proxy, at: &Place) -> (String, String) {
    let mut connection = Dial::to(node.address()).tls(at.host).connect().await;
    let answer = connection.get(at.host, &format!("{}?begin", at.path), &[]).await.expect(200);
    let [ticket] = &answer.set_cookies()[..] else { panic!("one ticket at {at:?}") };
    let (name, rest) = ticket.split_once('=').expect("a pair");
    assert_eq!(name, at.cookie);
    let domain = ticket.split("; ").find_map(|part| part.strip_prefix("Domain="));
    assert_eq!(domain.is_some(), name.starts_with("__Secure-"), "{ticket}");
    let value = rest.split(';').next().expect("a value").to_owned();
    let session = format!("EGG_SESS={}{}", at.host, at.path.len() + "?begin".len());
    (value, session)
}

async fn store_calls(node: &Proxy) -> u64 {
    total(node, "cloakroom_store_calls_total").await
}

#[tokio::test]
async fn a_ticket_is_worth_nothing_in_another_s_place() {
    let app = application().await;
    let node = node(&app);
    let mut tickets = Vec::new();
    for from in PLACES {
        tickets.push((from, begin(&node, from).await));
    }
    let mut replayed = 0;
    for (from, (value, session)) in &tickets {
        for to in PLACES {
            let what = format!("from {from:?} to {to:?}");
            let line = format!("{}={value}", to.cookie);
            if from.class == to.class {
                assert_eq!(&asks(&node, to, to.host, &line).await, session, "{what}");
                continue;
            }
            replayed += 1;
            let (calls, forged) = (store_calls(&node).await, count(&node, FORGED).await);
            assert_eq!(asks(&node, to, to.host, &line).await, "", "{what}");
            assert_eq!(count(&node, FORGED).await, forged + 1, "{what}");
            // Under its own name it is another's, and no worker sees it either.
            let own = format!("{}={value}", from.cookie);
            assert_eq!(asks(&node, to, to.host, &own).await, "", "{what}");
            assert_eq!(store_calls(&node).await, calls, "{what}: no store call");
        }
    }
    assert_eq!(replayed, 8 * 7 - 3 * 2, "every other place was tried");
}

/// The scope is the host, however it is spelled.
#[tokio::test]
async fn a_host_is_itself_in_every_spelling() {
    let app = application().await;
    let node = node(&app);
    let at = &PLACES[0];
    let (value, session) = begin(&node, at).await;
    let line = format!("{}={value}", at.cookie);
    for host in [HOST, "SHOP.example.COM", "shop.example.com:443", "shop.example.com."] {
        assert_eq!(asks(&node, at, host, &line).await, session, "{host}");
    }
}

/// Two tickets of policies whose domains lie in one another have one name, and a browser sends
/// both: neither would count.
#[tokio::test]
async fn overlapping_domains_need_names_of_their_own() {
    let app = application().await;
    let policies = "  \
  wide:
    cookie: { name: wide, domain: example.com }
    app_cookies: [EGG_SESS]
  deep:
    cookie: { name: wide, domain: b.example.com }
    app_cookies: [EGG_SESS]
upstreams:
";
    let yaml = Shop::at(app.address)
        .route("{ path: /wide/, upstream: shop, session: wide }")
        .server("a.b.example.com", "session: deep")
        .yaml()
        .replacen("upstreams:\n", policies, 1);
    let problem = Proxy::try_start(&yaml).err().expect("it is refused");
    assert!(problem.contains("sessions.deep.cookie.name"), "{problem}");
    assert!(problem.contains("give one another name"), "{problem}");
    let renamed = yaml.replace("name: wide, domain: b.", "name: deep, domain: b.");
    assert!(Proxy::try_start(&renamed).is_ok());
}
