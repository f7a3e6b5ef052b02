//! Which route a request takes: hosts, paths in every spelling, and what is refused outright.

use crate::support::client::{Connection, Dial, Response, request};
use crate::support::h2::H2;
use crate::support::http::response;
use crate::support::origin::Responder;
use crate::support::proxy::Proxy;
use crate::support::shop::{HOST, Shop, TICKET};

const GUARDED: &str =
    "{ path: /account/, upstream: shop, session: shop, require: login, denied: redirect /login }";
/// What a browser sends when somebody follows a link.
const NAVIGATION: (&str, &str) = ("Sec-Fetch-Mode", "navigate");

/// A worker that says its name, and logs everybody in who asks.
async fn worker(name: &'static str) -> Responder {
    Responder::start(move |request| match (request.method.as_str(), request.target.as_str()) {
        ("POST", "/login") => {
            let fields = [("Location", "/account/"), ("Set-Cookie", "sid=worker-made; Path=/")];
            response("302 Found", &fields, b"")
        }
        _ => response("200 OK", &[], name.as_bytes()),
    })
    .await
}

async fn dial(proxy: &Proxy) -> Connection {
    Dial::to(proxy.address()).tls(HOST).connect().await
}

/// A plain listener, no sessions, and these servers; each upstream's worker says its name.
async fn serving(names: &[&'static str], servers: &str) -> (Proxy, Vec<Responder>) {
    let mut workers = Vec::new();
    let mut upstreams = String::new();
    for name in names {
        let worker = worker(name).await;
        upstreams += &format!("  {name}: {{ endpoints: [{{ address: '{}' }}] }}\n", worker.address);
        workers.push(worker);
    }
    let yaml = format!(
        "workers: 1\nstate_directory: '{{directory}}'\nlisteners: [{{ address: 127.0.0.1:0 }}]\n\
         store: memory\nupstreams:\n{upstreams}servers:\n{servers}"
    );
    (Proxy::start(&yaml), workers)
}

fn seen(workers: &[Responder]) -> usize {
    workers.iter().map(|worker| worker.seen().len()).sum()
}

/// The ticket of somebody who has logged in.
async fn log_in(client: &mut Connection) -> String {
    let answer = client.exchange(request("POST", "/login", HOST, &[], b"")).await.expect(302);
    let cookies = answer.set_cookies();
    let [ticket] = &cookies[..] else { panic!("one ticket, not {cookies:?}") };
    assert!(ticket.starts_with(TICKET), "{ticket}");
    ticket.split(';').next().expect("a pair").to_owned()
}

/// Every one of these is `/account/` to some worker.
const SPELLINGS: &[&str] = &[
    "/account/",
    "//account/",
    "/%61ccount/",
    "/x/../account/",
    "/x/%2e%2e/account/",
    "/./account/",
    "/ACCOUNT",
    "/AcCoUnT/settings",
    "/account;x/",
    "/account;jsessionid=1",
    "/account%3bx/",
    "/account%2f",
    "/account%2Fsettings?a=b",
    "/%2f%2faccount/",
    "/account/?next=/",
    "http://shop.example.com/account/",
    "http://shop.example.com//x/..//account/",
];

/// These lack the slash, and are sent to it.
const WITHOUT_SLASH: &[&str] =
    &["/account", "/account?x", "//account", "http://shop.example.com//x/..//account"];

#[tokio::test]
async fn guarded_paths_reach_no_worker_without_a_login() {
    let worker = worker("shop").await;
    let proxy = Shop::at(worker.address).route(GUARDED).start();
    let mut client = dial(&proxy).await;
    for target in SPELLINGS {
        let answer = client.get(HOST, target, &[NAVIGATION]).await.expect(302);
        assert_eq!(answer.field("location").as_deref(), Some("/login"), "{target}");
        assert_eq!(answer.field("cache-control").as_deref(), Some("private, no-store"));
        let answer = client.get(HOST, target, &[("Sec-Fetch-Mode", "cors")]).await.expect(401);
        assert!(answer.field("www-authenticate").is_some(), "RFC 9110, 15.5.2 asks for one");
        let sent = request("POST", target, HOST, &[NAVIGATION], b"");
        let answer = client.exchange(sent).await.expect(303);
        assert_eq!(answer.field("location").as_deref(), Some("/login"), "{target}");
        let sent = request("DELETE", target, HOST, &[], b"");
        client.exchange(sent).await.expect(401);
        let sent = request("HEAD", target, HOST, &[("Accept", "text/html")], b"");
        client.exchange(sent).await.expect(302);
    }
    for target in WITHOUT_SLASH {
        let answer = client.get(HOST, target, &[NAVIGATION]).await.expect(301);
        let location = answer.field("location").expect("a place");
        let (_, path) = location.split_once("shop.example.com:").expect("an absolute URL");
        let path = path.trim_start_matches(|digit: char| digit.is_ascii_digit());
        let query = target.find('?').map_or("", |at| &target[at..]);
        assert_eq!(path, format!("/account/{query}"), "{target}");
    }
    assert_eq!(worker.seen().len(), 0, "{:?}", worker.seen());

    for target in [
        "/x/..;/account/",
        "/;/../account/..;/account",
        "/account/1%2F..%2F..%2Fx",
        "/account%5C1",
        "/\\x/account/1",
        "/x\\..\\account\\1",
        "/account\\1",
        "/x/;/../account/1",
        "/;v/account/1",
    ] {
        dial(&proxy).await.get(HOST, target, &[NAVIGATION]).await.expect(400);
    }
    assert_eq!(worker.seen().len(), 0, "{:?}", worker.seen());
}

/// These are not `/account/`, and no worker can take them for it: they arrive resolved.
#[tokio::test]
async fn what_leads_out_of_a_guarded_path_arrives_outside() {
    let worker = worker("shop").await;
    let proxy = Shop::at(worker.address).route(GUARDED).start();
    let mut client = dial(&proxy).await;
    for (target, arrives) in [
        ("/account/..", "/"),
        ("/account/%2e%2e", "/"),
        ("/account/1/../../x", "/x"),
        ("/account/x//../../1", "/1"),
        ("//x/account/1", "/x/account/1"),
        ("/group%2Fproject", "/group%2Fproject"),
    ] {
        client.get(HOST, target, &[]).await.expect(200);
        assert_eq!(worker.last().target, arrives, "{target}");
    }
}

/// What is open inside of a guarded path is so in its own spelling alone.
#[tokio::test]
async fn an_open_path_inside_a_guarded_one_opens_nothing_else() {
    let worker = worker("shop").await;
    let open = "{ path: /account/help/, upstream: shop, session: shop }";
    let proxy = Shop::at(worker.address).route(GUARDED).route(open).start();
    let mut client = dial(&proxy).await;
    client.get(HOST, "/account/help/x", &[]).await.expect(200);
    for target in [
        "/account/HELP/x",
        "/account/%68elp/x",
        "/account/help%2Fx",
        "/account//help/x",
        "/account/help;v/x",
        "/account/HELP",
        "/account%252Fhelp/x",
    ] {
        client.get(HOST, target, &[]).await.expect(401);
    }
    assert_eq!(worker.seen().len(), 1, "{:?}", worker.seen());
}

/// Whatever a route restricts, it restricts for every spelling of its path.
#[tokio::test]
async fn restrictions_hold_for_every_spelling() {
    let worker = worker("shop").await;
    let strict = "{ path: /transfer, upstream: shop, cross_site: { unsafe: deny } }";
    let small = "{ path: /small/, upstream: shop, body_bytes_max: 10 }";
    let proxy = Shop::at(worker.address).route(strict).route(small).start();
    let mut client = dial(&proxy).await;
    let cross = [("Sec-Fetch-Site", "cross-site")];
    for target in ["/transfer", "/TRANSFER", "/Transfer/", "/transfer;v=1", "/%74ransfer"] {
        client.exchange(request("POST", target, HOST, &cross, b"")).await.expect(403);
    }
    for target in ["/small/", "/SMALL/x", "/Small", "/x/../Small"] {
        let sent = request("POST", target, HOST, &[], b"more than ten");
        dial(&proxy).await.exchange(sent).await.expect(413);
    }
    assert_eq!(worker.seen().len(), 0, "{:?}", worker.seen());
}

/// A worker that answers TRACE repeats what it was sent, the session cookie included.
#[tokio::test]
async fn trace_is_not_allowed() {
    let worker = worker("shop").await;
    let proxy = Shop::at(worker.address).start();
    for method in ["TRACE", "TRACK"] {
        let mut client = dial(&proxy).await;
        client.exchange(request(method, "/", HOST, &[], b"")).await.expect(405);
    }
    let mut h2 = H2::connect(&Dial::to(proxy.address()).tls(HOST)).await;
    let sent = http::Request::builder().method("TRACE").uri(format!("https://{HOST}/"));
    let (answer, _) = h2.open(sent.body(()).expect("a request"), true).await.expect("a stream");
    assert_eq!(crate::support::within("an answer", answer).await.expect("an answer").status(), 405);
    assert_eq!(worker.seen().len(), 0, "{:?}", worker.seen());
}

#[tokio::test]
async fn guarded_paths_reach_no_worker_over_http2_either() {
    let worker = worker("shop").await;
    let proxy = Shop::at(worker.address).route(GUARDED).start();
    let mut h2 = H2::connect(&Dial::to(proxy.address()).tls(HOST)).await;
    for target in SPELLINGS.iter().filter(|target| target.starts_with('/')) {
        let answer = h2.get(HOST, target, &[("sec-fetch-mode", "navigate")]).await;
        assert_eq!((answer.status, answer.fields["location"].as_bytes()), (302, &b"/login"[..]));
        assert_eq!(h2.get(HOST, target, &[]).await.status, 401, "{target}");
    }
    assert_eq!(worker.seen().len(), 0, "{:?}", worker.seen());
}

#[tokio::test]
async fn guarded_paths_open_for_who_has_logged_in_and_nobody_else() {
    let worker = worker("shop").await;
    let proxy = Shop::at(worker.address).route(GUARDED).start();
    let mut client = dial(&proxy).await;
    // A session is not yet a login.
    let ticket = {
        let before = Responder::start(|_| {
            response("200 OK", &[("Set-Cookie", "sid=anonymous; Path=/")], b"")
        })
        .await;
        let other = Shop::at(before.address).route(GUARDED).start();
        let mut client = dial(&other).await;
        let answer = client.get(HOST, "/", &[]).await.expect(200);
        let ticket = answer.set_cookies()[0].split(';').next().expect("a pair").to_owned();
        client.get(HOST, "/account/", &[("Cookie", &ticket)]).await.expect(401);
        assert_eq!(before.seen().len(), 1);
        ticket
    };
    client.get(HOST, "/account/", &[("Cookie", &ticket)]).await.expect(401);

    let ticket = log_in(&mut client).await;
    for target in SPELLINGS {
        client.get(HOST, target, &[("Cookie", &ticket)]).await.expect(200);
        assert_eq!(worker.last().field("cookie").as_deref(), Some("sid=worker-made"), "{target}");
    }
    // Not the same path, so not guarded.
    client.get(HOST, "/accounts", &[]).await.expect(200);
    client.get(HOST, "/my/account/", &[]).await.expect(200);
}

/// PROTOCOL.md 31.
#[tokio::test]
async fn preflights_pass_with_an_empty_jar() {
    let worker = worker("shop").await;
    let proxy = Shop::at(worker.address).route(GUARDED).start();
    let mut client = dial(&proxy).await;
    let ticket = log_in(&mut client).await;
    let preflight = [
        ("Origin", "https://other.example"),
        ("Access-Control-Request-Method", "PUT"),
        ("Cookie", &*format!("{ticket}; theme=dark")),
    ];
    client.exchange(request("OPTIONS", "/account/", HOST, &preflight, b"")).await.expect(200);
    assert_eq!(worker.last().method, "OPTIONS");
    assert_eq!(worker.last().field("cookie").as_deref(), Some("theme=dark"));
    assert_eq!(worker.last().field("x-session-id"), None);
    // An OPTIONS that is no preflight is a request like others.
    let asked = worker.seen().len();
    client.exchange(request("OPTIONS", "/account/", HOST, &[], b"")).await.expect(401);
    assert_eq!(worker.seen().len(), asked);
}

#[tokio::test]
async fn the_longest_prefix_wins() {
    let (proxy, workers) = serving(
        &["root", "api", "newer"],
        "  - routes:\n      - { path: /api/v2/, upstream: newer }\n      \
         - { path: /, upstream: root }\n      - { path: /api/, upstream: api }\n",
    )
    .await;
    let mut client = Dial::to(proxy.address()).connect().await;
    for (target, expected) in [
        ("/", "root"),
        ("/API", "root"),
        ("/API/", "root"),
        ("/api/", "api"),
        ("/api/v3", "api"),
        ("//api//v2x", "api"),
        ("/api/v2/", "newer"),
        ("/api/%76%32/x?y=/", "newer"),
        ("/api/v2/../v1", "api"),
        ("/api/v2/../../", "root"),
        ("/api%2fv2%2f", "newer"),
    ] {
        let answer = client.get("any.example", target, &[]).await.expect(200);
        assert_eq!(answer.text(), expected, "{target}");
    }
    assert_eq!(seen(&workers), 11);
}

#[tokio::test]
async fn hosts_are_found_as_nginx_finds_them() {
    let (proxy, _workers) = serving(
        &["exact", "wild", "rest"],
        "  - names: ['*.example.com']\n    routes: [{ path: /, upstream: wild }]\n  \
         - names: [shop.example.com]\n    routes: [{ path: /, upstream: exact }]\n  \
         - names: [_]\n    routes: [{ path: /, upstream: rest }]\n",
    )
    .await;
    let mut client = Dial::to(proxy.address()).connect().await;
    for (host, expected) in [
        ("shop.example.com", "exact"),
        ("SHOP.Example.com", "exact"),
        ("shop.example.com:8443", "exact"),
        ("shop.example.com.", "exact"),
        ("www.example.com", "wild"),
        ("a.b.example.com", "wild"),
        ("example.com", "rest"),
        ("shop.example.com.evil.test", "rest"),
        ("127.0.0.1", "rest"),
        ("[::1]:80", "rest"),
    ] {
        let answer = client.get(host, "/", &[]).await.expect(200);
        assert_eq!(answer.text(), expected, "{host}");
    }
    let mut client = Dial::to(proxy.address()).connect().await;
    let answer = client.exchange("GET / HTTP/1.0\r\n\r\n").await.expect(200);
    assert_eq!(answer.text(), "rest", "HTTP/1.0 may leave the host out");
}

#[tokio::test]
async fn unknown_paths_are_not_found() {
    let (proxy, workers) =
        serving(&["api"], "  - routes: [{ path: /api/, upstream: api }]\n").await;
    let mut client = Dial::to(proxy.address()).connect().await;
    for target in ["/", "/ap", "/x/api/", "/api/../x"] {
        let answer = client.get("any.example", target, &[]).await.expect(404);
        assert!(answer.text().contains("<h1>404 Not Found</h1>"), "{}", answer.text());
    }
    client.get("any.example", "/api/", &[]).await.expect(200);
    assert_eq!(seen(&workers), 1);
}

/// One request on a connection of its own, and what came back.
async fn once(proxy: &Proxy, raw: impl AsRef<[u8]>) -> Response {
    Dial::to(proxy.address()).connect().await.exchange(raw).await
}

#[tokio::test]
async fn hosts_that_are_none_are_refused() {
    let (proxy, workers) = serving(&["any"], "  - routes: [{ path: /, upstream: any }]\n").await;
    for fields in [
        "",
        "Host:\r\n",
        "Host: a b\r\n",
        "Host: a/b\r\n",
        "Host: a\\b\r\n",
        "Host: user@a\r\n",
        "Host: a:99999\r\n",
        "Host: a:b\r\n",
        "Host: a..b\r\n",
        "Host: a,b\r\n",
        "Host: %61\r\n",
        "Host: [::1\r\n",
        "Host: a\r\nHost: a\r\n",
        "Host: a\r\nHost: b\r\n",
        "Host: a\tb\r\n",
        "Host: \u{fc}.example\r\n",
        "Host : a\r\n",
    ] {
        let answer = once(&proxy, format!("GET / HTTP/1.1\r\n{fields}\r\n")).await;
        assert_eq!(answer.status, 400, "{fields:?}");
        assert!(answer.text().contains("<h1>400 Bad Request</h1>"), "{fields:?}");
    }
    // The target's authority counts, but the field must be there all the same.
    once(&proxy, "GET http://a/ HTTP/1.1\r\n\r\n").await.expect(400);
    assert_eq!(seen(&workers), 0);
    once(&proxy, "GET http://a/ HTTP/1.1\r\nHost: b\r\n\r\n").await.expect(200);
    assert_eq!(workers[0].last().field("host").as_deref(), Some("a"));
}

#[tokio::test]
async fn the_asterisk_is_for_options_alone() {
    let (proxy, workers) = serving(&["any"], "  - routes: [{ path: /, upstream: any }]\n").await;
    for method in ["GET", "HEAD", "POST", "DELETE"] {
        once(&proxy, request(method, "*", "a", &[], b"")).await.expect(400);
    }
    assert_eq!(seen(&workers), 0);
    once(&proxy, request("OPTIONS", "*", "a", &[], b"")).await.expect(200);
    assert_eq!(workers[0].last().target, "*");
}

#[tokio::test]
async fn targets_that_could_be_read_in_two_ways_are_refused() {
    let (proxy, workers) = serving(&["any"], "  - routes: [{ path: /, upstream: any }]\n").await;
    for target in [
        "/%",
        "/%4",
        "/%zz",
        "/a%00b",
        "/%00",
        "/..",
        "/../etc/passwd",
        "/a/../../b",
        "/%2e%2e/b",
        "/a/%2e%2e%2f%2e%2e/b",
        "/a/..;/b",
        "/.;x/b",
        "a",
        "?a",
        "**",
    ] {
        let answer = once(&proxy, request("GET", target, "a", &[], b"")).await;
        assert_eq!(answer.status, 400, "{target}");
    }
    assert_eq!(seen(&workers), 0);
}

/// As nginx's `proxy_pass` without a URI part: what was matched is one thing, what is sent another. But
/// for what workers would resolve in ways of their own.
#[tokio::test]
async fn the_target_is_forwarded_as_it_came() {
    let (proxy, workers) = serving(&["any"], "  - routes: [{ path: /, upstream: any }]\n").await;
    let mut client = Dial::to(proxy.address()).connect().await;
    for target in [
        "/",
        "/?",
        "/a//b",
        "/a%2Fb%41?x=%zz&y=../..&z=%00",
        "/a;b=c/d?e;f",
        "/a%20b+c?d+e%20",
        "/\u{fc}\u{4e2d}?\u{fc}",
        "/a\"b{c}|d^ef[g]'h?i|j^k`l\\m{n}",
        "/a?b?c=//&&",
        // In no URI (RFC 3986, appendix A), and escaped by every browser: as nginx takes them.
        "/a<b>c`d?e\"f<g>",
    ] {
        let answer = client.get("a", target, &[]).await;
        assert_eq!(answer.status, 200, "{target}");
        assert_eq!(workers[0].last().target, target);
        assert_eq!(workers[0].last().field("host").as_deref(), Some("a"));
    }
    // RFC 9112, section 3.2.1: a server is asked for the path alone.
    for (target, expected) in [
        ("http://a/b//c?d", "/b//c?d"),
        ("http://a", "/"),
        ("HTTP://a?b", "/?b"),
        ("//", "/"),
        ("//a//b?//", "/a/b?//"),
        ("/a//b/./c/../d%41?../e", "/a/b/d%41?../e"),
        ("/%2e/a%20b/%2E%2e/c?d", "/c?d"),
        ("/a#b?c", "/a"),
    ] {
        client.get("a", target, &[]).await.expect(200);
        assert_eq!(workers[0].last().target, expected, "{target}");
    }
}
