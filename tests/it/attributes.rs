//! Every cookie leaves with the attributes that the policy says, and otherwise byte for byte.
//!
//! Tables of lines as workers write them and as browsers get them: in their order, none merged,
//! none lost, over HTTP/1.1 and HTTP/2, on routes with and without a session.

use std::net::SocketAddr;

use crate::support::apps::{App, ODD_COOKIES};
use crate::support::browser::{Ask, Browser};
use crate::support::client::{Connection, Dial};
use crate::support::h2::H2;
use crate::support::http::response;
use crate::support::origin::{Request, Responder};
use crate::support::proxy::Proxy;
use crate::support::redis::Redis;
use crate::support::shop::{ALICE, HOST, Shop, TICKET, browser};

/// A host whose route has no session.
const PLAIN: &str = "plain.example.com";

/// A line as the worker writes it, and as the browser gets it; nothing where it stays here.
type Row = (Vec<u8>, Option<Vec<u8>>);

fn row(line: impl AsRef<[u8]>, expected: impl AsRef<[u8]>) -> Row {
    (line.as_ref().to_vec(), Some(expected.as_ref().to_vec()))
}

fn same(line: impl AsRef<[u8]>) -> Row {
    row(&line, &line)
}

/// A line that gets this at its end.
fn plus(line: impl AsRef<[u8]>, added: &str) -> Row {
    row(&line, [line.as_ref(), added.as_bytes()].concat())
}

fn absorbed(line: &str) -> Row {
    (line.as_bytes().to_vec(), None)
}

const ALL: &str = "; Secure; HttpOnly; SameSite=Lax";

/// `ODD_COOKIES` of `tests/apps/shared.js`, under the defaults.
fn odd() -> Vec<Row> {
    vec![
        plus("plain=1", ALL),
        same(
            "full=a; Path=/; Domain=shop.example.com; Expires=Wed, 21 Oct 2065 07:28:00 GMT; \
              Max-Age=3600; Secure; HttpOnly; SameSite=Strict",
        ),
        plus(
            "lower=b; path=/; expires=wed, 21 oct 2065 07:28:00 gmt; max-age=3600; httponly; \
             samesite=lax",
            "; Secure",
        ),
        plus("dashes=c; EXPIRES=Wednesday, 21-Oct-65 07:28:00 GMT; PATH=/account", ALL),
        row("none=d; path=/; samesite=none", "none=d; path=/; SameSite=Lax; Secure; HttpOnly"),
        row(
            "NoneUpper=e; Path=/; SameSite=NONE; Partitioned",
            "NoneUpper=e; Path=/; SameSite=Lax; Partitioned; Secure; HttpOnly",
        ),
        plus("quoted=\"a, b; c\"; Path=/", ALL),
        plus("empty=; Path=/", ALL),
        plus("unknown=f; Path=/; Priority=High; X-Flavour=vanilla; flag", ALL),
        plus("twice=1; Path=/", ALL),
        plus("twice=2; Path=/account", ALL),
        plus("csrfToken=yX-Q5CKNbe2I-Iy7uQRidcb-; path=/", "; Secure; SameSite=Lax"),
        plus(format!("big={}; Path=/", "x".repeat(4092)), ALL),
        plus("accent=caf\u{e9}; Path=/", ALL),
        plus("equals=a=b==;Path=/;;  Secure ; Path=\"/second\"", "; HttpOnly; SameSite=Lax"),
    ]
}

/// More than Node lets through, under the defaults.
fn odder() -> Vec<Row> {
    vec![
        same("a=1; Path=/; Secure; HttpOnly; SameSite=Lax"),
        same("a=1; Path=/; Secure; HttpOnly; SameSite=Lax"),
        same("b=1; SECURE; hTTPoNLY; SAMESITE=STRICT"),
        same("c=1;HttpOnly;Secure;SameSite=lax"),
        row("d=1; SameSite=sometimes", "d=1; SameSite=Lax; Secure; HttpOnly"),
        row("e=1; SameSite=Strict; SameSite=None", "e=1; SameSite=Lax; Secure; HttpOnly"),
        plus("f=1; SameSite=None; SameSite=Strict", "; Secure; HttpOnly"),
        plus("g=1; Secure=false; HttpOnly=no", "; SameSite=Lax"),
        plus("h=1, i=2; Path=/", ALL),
        plus("j=1; Expires=Thu, 01 Jan 1970 00:00:00 GMT", ALL),
        plus("k=1; Max-Age=0", ALL),
        row("l=1;", "l=1; Secure; HttpOnly; SameSite=Lax"),
        plus("m=1;\tPath=/\t;  Secure", "; HttpOnly; SameSite=Lax"),
        plus(b"n=\xff\xfe\x80; Path=/caf\xe9", ALL),
        plus("o o=with blanks; Path=/", ALL),
        plus("=nameless; Path=/", ALL),
        plus("alone", ALL),
        plus("secure", ALL),
        plus("p=Secure", ALL),
        plus(format!("q={}", "x".repeat(6000)), ALL),
        plus(format!("r=1; Path=/{}", "x".repeat(2000)), ALL),
        row(
            "__Host-s=1; Domain=example.com; Path=/x",
            "__Host-s=1; Path=/; Secure; HttpOnly; SameSite=Lax",
        ),
        row("__host-t=1", "__host-t=1; Path=/; Secure; HttpOnly; SameSite=Lax"),
        plus("__Secure-u=1; Domain=example.com", ALL),
        plus("csrftoken=x", "; Secure; SameSite=Lax"),
        plus("XSRF-TOKEN=x; Path=/; SameSite=Strict", "; Secure"),
        row("_xsrf=x; HttpOnly; Path=/", "_xsrf=x; Path=/; Secure; SameSite=Lax"),
        plus("CSRFTOKEN=the case counts", ALL),
        // A worker has no say about tickets.
        absorbed("__Host-shop=evil; Path=/; Secure"),
        absorbed("__Host-shop=; Path=/; Max-Age=0"),
        plus("v=last", ALL),
    ]
}

/// Under defaults and exceptions of the operator's own.
const CHOSEN: &str = "cookies: { defaults: { secure: true, http_only: false, same_site: strict }, \
    exceptions: { embed: { same_site: none }, 'ads_*': { same_site: lax, http_only: true }, \
    ads_id: { same_site: none }, csrfToken: { http_only: true }, legacy: { secure: false } } }";

fn chosen() -> Vec<Row> {
    vec![
        plus("a=1", "; Secure; SameSite=Strict"),
        row("a=1; HttpOnly; SameSite=Lax", "a=1; SameSite=Strict; Secure"),
        row("embed=1; SameSite=Lax", "embed=1; SameSite=None; Secure"),
        plus("embed=1; Secure", "; SameSite=None"),
        plus("Embed=1", "; Secure; SameSite=Strict"),
        plus("ads_x=1", "; Secure; HttpOnly; SameSite=Lax"),
        row("ads_x=1; SameSite=Strict", "ads_x=1; SameSite=Lax; Secure; HttpOnly"),
        plus("ads_id=1", "; Secure; SameSite=None"),
        plus("csrfToken=1", "; Secure; HttpOnly; SameSite=Strict"),
        row("csrftoken=1; HttpOnly", "csrftoken=1; Secure; SameSite=Strict"),
        row("legacy=1; Secure", "legacy=1; SameSite=Strict"),
    ]
}

/// Asserts that these lines arrive at the client, in this order and no other.
#[track_caller]
fn assert_lines(found: &[Vec<u8>], table: &[Row], what: &str) {
    let expected: Vec<&Vec<u8>> = table.iter().filter_map(|(_, line)| line.as_ref()).collect();
    for (at, (found, expected)) in found.iter().zip(&expected).enumerate() {
        let shown = [found, expected].map(|line| line.escape_ascii().to_string());
        assert!(found == *expected, "{what}, line {at}:\n{}\ninstead of\n{}", shown[0], shown[1]);
    }
    assert_eq!(found.len(), expected.len(), "{what}");
}

async fn over_h1(connection: &mut Connection, host: &str, target: &str) -> Vec<Vec<u8>> {
    let answer = connection.get(host, target, &[]).await;
    answer.fields().bytes("set-cookie").into_iter().map(<[u8]>::to_vec).collect()
}

async fn over_h2(node: SocketAddr, host: &str, target: &str) -> Vec<Vec<u8>> {
    let mut connection = H2::connect(&Dial::to(node).tls(host)).await;
    let answer = connection.get(host, target, &[]).await;
    let lines = answer.fields.get_all("set-cookie").iter();
    lines.map(|line| line.as_bytes().to_vec()).collect()
}

/// Checks a table over both protocols, with a session and without.
async fn check(node: SocketAddr, target: &str, table: &[Row]) {
    for host in [HOST, PLAIN] {
        let mut connection = Dial::to(node).tls(host).connect().await;
        // Twice, on one connection: nothing is left over.
        for _ in 0..2 {
            let found = over_h1(&mut connection, host, target).await;
            assert_lines(&found, table, &format!("{host}{target} over HTTP/1.1"));
        }
        let found = over_h2(node, host, target).await;
        assert_lines(&found, table, &format!("{host}{target} over HTTP/2"));
    }
}

fn shop(upstream: SocketAddr) -> Shop {
    Shop::at(upstream).server(PLAIN, "body_bytes_max: 1m")
}

/// An origin that answers with these lines, and with the status that the path names.
async fn sets(table: &[Row]) -> Responder {
    let lines: Vec<Vec<u8>> = table.iter().map(|(line, _)| line.clone()).collect();
    Responder::start(move |request: &Request| {
        let status = match &request.target[1..] {
            "" => "200",
            status => status,
        };
        let mut raw = format!("HTTP/1.1 {status} Whatever\r\n").into_bytes();
        for line in &lines {
            raw.extend_from_slice(&[b"Set-Cookie: ", line.as_slice(), b"\r\n"].concat());
        }
        raw.extend_from_slice(match status {
            "204" | "304" => b"\r\n",
            _ => b"Content-Length: 0\r\n\r\n",
        });
        raw
    })
    .await
}

async fn application(app: &App) {
    let table = odd();
    assert_eq!(table.len(), ODD_COOKIES);
    let mut direct = Dial::to(app.address).connect().await;
    let written = over_h1(&mut direct, HOST, "/set-cookies").await;
    let inputs: Vec<Row> = table.iter().map(|(line, _)| same(line)).collect();
    assert_lines(&written, &inputs, "what the application writes");

    let node = shop(app.address).start();
    check(node.address(), "/set-cookies", &table).await;

    let mut visitor = browser(std::slice::from_ref(&node));
    visitor.get("/set-cookies").await.expect(200);
    assert!(visitor.jar.refused.is_empty(), "{:?}", visitor.jar.refused);
    assert_eq!(visitor.cookies().len(), ODD_COOKIES, "a browser keeps them all");
    assert_eq!(visitor.script_sees(), ["csrfToken"], "pages read it with script, and it alone");
    assert!(visitor.cookies().iter().all(|cookie| cookie.secure));
}

#[tokio::test]
async fn cookies_of_egg_leave_with_all_attributes() {
    application(&App::egg()).await;
}

#[tokio::test]
async fn cookies_of_express_leave_with_all_attributes() {
    let redis = Redis::start();
    application(&App::express(&redis)).await;
}

#[tokio::test]
async fn cookies_of_naive_leave_with_all_attributes() {
    application(&App::naive()).await;
}

#[tokio::test]
async fn egg_s_token_works_with_the_proxy_in_between() {
    let app = App::start("egg", &[("CSRF", "1")]);
    let node = shop(app.address).start();
    let mut alice = browser(std::slice::from_ref(&node));
    alice.post_form("/login", ALICE).await.expect(403);
    alice.get("/login").await.expect(200);
    assert_eq!(alice.script_sees(), ["csrfToken"]);
    let token = alice.cookie("csrfToken").expect("the form set it").value_text();
    alice.send(Ask::form("/login", ALICE).field("x-csrf-token", &token)).await.expect(302);
    assert_eq!(alice.cookie(TICKET).map(|cookie| cookie.http_only), Some(true));
}

#[tokio::test]
async fn odd_lines_leave_with_all_attributes() {
    let table = odder();
    let origin = sets(&table).await;
    let node = shop(origin.address).start();
    // Whatever the status is: errors, redirects and answers without a body set cookies too.
    for target in ["/", "/204", "/302", "/304", "/404", "/500", "/503"] {
        check(node.address(), target, &table).await;
    }
}

#[tokio::test]
async fn the_operator_s_defaults_and_exceptions_hold() {
    let table = chosen();
    let origin = sets(&table).await;
    check(shop(origin.address).top(CHOSEN).start().address(), "/", &table).await;
}

/// Over plain HTTP browsers refuse what is `Secure`: it is not added, nor what demands it.
#[tokio::test]
async fn nothing_becomes_secure_over_plain_http() {
    let table = vec![
        plus("a=1", "; HttpOnly; SameSite=Lax"),
        row("b=1; SameSite=Strict; HttpOnly", "b=1; SameSite=Strict; HttpOnly"),
        plus("csrfToken=1; Path=/", "; SameSite=Lax"),
    ];
    let origin = sets(&table).await;
    let yaml = shop(origin.address).top("insecure_cookies: true").yaml();
    let node = Proxy::start(&yaml.replace("    tls: { self_signed: true }\n", ""));
    for host in [HOST, PLAIN] {
        let mut connection = Dial::to(node.address()).connect().await;
        assert_lines(&over_h1(&mut connection, host, "/").await, &table, host);
    }
}

/// The session's cookies stay here, the others keep their order, and the ticket comes last.
#[tokio::test]
async fn session_cookies_stay_and_the_rest_keeps_its_order() {
    let mut table = vec![
        plus("z=1", ALL),
        absorbed("EGG_SESS=secret; path=/; httponly"),
        plus("z=2; Path=/x", ALL),
        absorbed("EGG_SESS.sig=secret; path=/"),
        plus("egg_sess=another cookie", ALL),
        plus("y=1", ALL),
        absorbed("connect.sid=secret"),
        plus("z=1", ALL),
    ];
    let origin = sets(&table).await;
    let node = shop(origin.address).start();
    let mut connection = Dial::to(node.address()).tls(HOST).connect().await;
    for found in
        [over_h1(&mut connection, HOST, "/").await, over_h2(node.address(), HOST, "/").await]
    {
        let (ticket, rest) = found.split_last().expect("lines");
        assert_lines(rest, &table, "with a session");
        assert_ticket(ticket, "Lax");
    }
    // Without a session policy there is nobody to keep them.
    for at in [1, 3, 6] {
        table[at] = match String::from_utf8(table[at].0.clone()).expect("ASCII") {
            line if line.ends_with("httponly") => plus(line, "; Secure; SameSite=Lax"),
            line => plus(line, ALL),
        };
    }
    let mut connection = Dial::to(node.address()).tls(PLAIN).connect().await;
    assert_lines(&over_h1(&mut connection, PLAIN, "/").await, &table, "without a session");
    assert_lines(&over_h2(node.address(), PLAIN, "/").await, &table, "without a session");
}

/// A ticket's line: its value, and each attribute exactly once.
#[track_caller]
fn assert_ticket(line: &[u8], same_site: &str) {
    let line = String::from_utf8_lossy(line);
    let (pair, attributes) = line.split_once("; ").expect("attributes");
    let value = pair.strip_prefix("__Host-shop=").unwrap_or_else(|| panic!("{line}"));
    assert_eq!(value.len(), 127, "{line}");
    assert!(value.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_'), "{line}");
    let mut attributes: Vec<&str> = attributes.split("; ").collect();
    attributes.sort_unstable();
    let same_site = format!("SameSite={same_site}");
    assert_eq!(attributes, ["HttpOnly", "Path=/", &same_site, "Secure"], "{line}");
}

#[tokio::test]
async fn the_ticket_has_what_its_prefix_and_policy_demand() {
    let app = App::naive();
    for (given, written) in [("lax", "Lax"), ("strict", "Strict"), ("none", "None")] {
        // The exceptions are for cookies of the applications: tickets are not loosened.
        let loose = "cookies: { defaults: { secure: false, http_only: false } }";
        let yaml = Shop::at(app.address).top(loose).yaml();
        let node = Proxy::start(&yaml.replace("same_site: lax", &format!("same_site: {given}")));
        let mut alice = Browser::https(HOST, &[node.address()]);
        for ask in [Ask::get("/?touch=1"), Ask::form("/login", ALICE)] {
            let answer = alice.send(ask).await;
            let [line] = answer.fields().bytes("set-cookie")[..] else { panic!("{answer:?}") };
            assert_ticket(line, written);
            let cache = answer.field("cache-control");
            assert_eq!(cache.as_deref(), Some("private, no-store"), "PROTOCOL 12");
        }
        let bye = alice.send(Ask::new("POST", "/logout")).await.expect(302);
        let [line] = &bye.set_cookies()[..] else { panic!("{bye:?}") };
        let mut attributes: Vec<&str> = line.split("; ").collect();
        attributes[1..].sort_unstable();
        let same_site = format!("SameSite={written}");
        let expires = "Expires=Thu, 01 Jan 1970 00:00:00 GMT";
        let expected =
            ["__Host-shop=", expires, "HttpOnly", "Max-Age=0", "Path=/", &same_site, "Secure"];
        assert_eq!(attributes, expected);
        assert!(alice.cookies().is_empty(), "the browser obeys");
    }
}

#[tokio::test]
async fn answers_of_the_proxy_s_own_set_no_cookie() {
    let origin = Responder::start(|_| response("200 OK", &[("Set-Cookie", "a=1")], b"")).await;
    let node = shop(origin.address)
        .route("{ path: /account/, upstream: shop, session: shop, require: login }")
        .route(
            "{ path: /mine/, upstream: shop, session: shop, require: login, denied: redirect / }",
        )
        .route("{ path: /small/, upstream: shop, session: shop, body_bytes_max: 1 }")
        .start();
    let own = [
        (Ask::get("/account/"), 401),
        (Ask::get("/mine/").field("Sec-Fetch-Mode", "navigate"), 302),
        (Ask::new("POST", "/small/").body(b"too large"), 413),
        (Ask::form("/login", ALICE).cross_site_navigation(), 403),
        (Ask::get("/%zz"), 400),
    ];
    let mut visitor = browser(std::slice::from_ref(&node));
    visitor.slip(&[b"__Host-shop=made-up; EGG_SESS=x".to_vec()]);
    for (ask, status) in own {
        let answer = visitor.send(ask).await.expect(status);
        assert!(answer.set_cookies().is_empty(), "{status}: {:?}", answer.set_cookies());
        assert_eq!(answer.field("cache-control").as_deref(), Some("private, no-store"));
    }
    assert!(origin.seen().is_empty());
    drop(origin);
    let answer = visitor.get("/").await.expect(502);
    assert!(answer.set_cookies().is_empty(), "{:?}", answer.set_cookies());
}
