//! Fields that mean something between proxies and workers: what is believed, set and taken out.

use std::net::SocketAddr;

use crate::support::client::{Connection, Dial, request};
use crate::support::h2::H2;
use crate::support::http::response;
use crate::support::origin::{Origin, Request, Responder};
use crate::support::proxy::Proxy;
use crate::support::shop::{HOST, Shop, TICKET};

/// A worker that begins a session where there is none.
async fn worker() -> Responder {
    Responder::start(|request| match request.field("cookie") {
        Some(cookie) if cookie.contains("sid=") => response("200 OK", &[], b""),
        _ => response("200 OK", &[("Set-Cookie", "sid=worker-made; Path=/")], b""),
    })
    .await
}

/// The shop on a plain listener.
fn plain(shop: &Shop) -> Proxy {
    let yaml = shop.yaml();
    let plain = yaml.replace("    tls: { self_signed: true }\n", "");
    assert_ne!(yaml, plain);
    Proxy::start(&plain)
}

async fn dial(proxy: &Proxy) -> Connection {
    Dial::to(proxy.address()).tls(HOST).connect().await
}

fn ticket_of(set_cookies: &[String]) -> String {
    let [ticket] = set_cookies else { panic!("one ticket, not {set_cookies:?}") };
    assert!(ticket.starts_with(&format!("{TICKET}=")), "{ticket}");
    ticket.split(';').next().expect("a pair").to_owned()
}

/// Names that workers believe, in the spellings that frameworks make the same of.
const FORGED: &[&str] = &[
    "X-Forwarded-For",
    "x-forwarded-for",
    "X_Forwarded_For",
    "X-Forwarded_For",
    "X-Forwarded-Proto",
    "X_FORWARDED_PROTO",
    "X-Forwarded-Host",
    "x_forwarded_host",
    "X-Forwarded-Port",
    "X-Forwarded-Prefix",
    "X-Forwarded-Ssl",
    "X-Forwarded-User",
    "X-Real-IP",
    "x_real_ip",
    "Forwarded",
    "True-Client-IP",
    "X-Original-URL",
    "X-Rewrite-URL",
    "Front-End-Https",
    "X-Session-Id",
    "x-session-id",
    "X_Session_Id",
    "X-Session_Subject",
    "X-SESSION-SUBJECT",
    "X-Session-Anything",
    "X-Session.Subject",
    "X.Session.Subject",
    "X!Session#Id",
    "x$session%id",
    "x&session'id",
    "x*session+id",
    "x^session`id",
    "x|session~id",
    "X-Forwarded.For",
    "X.Real.IP",
    "Cloakroom-Session",
    "cloakroom_session",
    "cloakroom.session",
];

/// Fails where anything of what was forged is in a request.
#[track_caller]
fn assert_nothing_forged(seen: &Request) {
    let raw = String::from_utf8_lossy(&seen.raw()).into_owned();
    assert!(!raw.contains("forged"), "{raw}");
}

#[tokio::test]
async fn forged_fields_never_reach_a_worker() {
    let worker = worker().await;
    let proxy = Shop::at(worker.address).route("{ path: /plain/, upstream: shop }").start();
    let mut client = dial(&proxy).await;
    let ticket = ticket_of(&client.get(HOST, "/", &[]).await.set_cookies());
    let mut fields: Vec<(&str, &str)> = FORGED.iter().map(|name| (*name, "forged")).collect();
    fields.push(("X-Other", "kept"));
    for (target, cookie) in [("/", None), ("/", Some(&ticket)), ("/plain/", Some(&ticket))] {
        let mut fields = fields.clone();
        fields.extend(cookie.map(|ticket| ("Cookie", ticket.as_str())));
        client.get(HOST, target, &fields).await.expect(200);
        let seen = worker.last();
        assert_nothing_forged(&seen);
        assert_eq!(seen.field("x-other").as_deref(), Some("kept"));
        assert_eq!(seen.field("x-forwarded-for").as_deref(), Some("127.0.0.1"));
        assert_eq!(seen.field("x-real-ip").as_deref(), Some("127.0.0.1"));
        assert_eq!(seen.field("x-forwarded-proto").as_deref(), Some("https"));
        assert_eq!(seen.field("x-forwarded-host").as_deref(), Some(HOST));
        let port = proxy.address().port().to_string();
        assert_eq!(seen.field("x-forwarded-port"), Some(port));
        let has_session = target == "/" && cookie.is_some();
        assert_eq!(seen.field("x-session-id").is_some(), has_session, "{target} {cookie:?}");
        assert_eq!(seen.field("x-session-age").is_some(), has_session);
        assert_eq!(seen.field("x-session-created"), None, "nobody asked for it");
    }
}

#[tokio::test]
async fn forged_fields_never_reach_a_worker_over_http2() {
    let worker = worker().await;
    let proxy = Shop::at(worker.address).start();
    let mut h2 = H2::connect(&Dial::to(proxy.address()).tls(HOST)).await;
    let lower: Vec<String> = FORGED.iter().map(|name| name.to_ascii_lowercase()).collect();
    let fields: Vec<(&str, &str)> = lower.iter().map(|name| (name.as_str(), "forged")).collect();
    assert_eq!(h2.get(HOST, "/", &fields).await.status, 200);
    assert_nothing_forged(&worker.last());
    assert_eq!(worker.last().field("host").as_deref(), Some(HOST));
}

/// RFC 9110, section 7.6.1: what `Connection` nominates goes; nobody can nominate ours away.
#[tokio::test]
async fn nominations_take_nothing_of_ours_away() {
    let worker = worker().await;
    let proxy = Shop::at(worker.address).start();
    let mut client = dial(&proxy).await;
    let ticket = ticket_of(&client.get(HOST, "/", &[]).await.set_cookies());
    let nominated = "X-Session-Id, x-session-age, Cookie, X_Session_Id, X-Hop";
    let fields = [
        ("Connection", nominated),
        ("X-Session-Id", "forged"),
        ("X_Session_Id", "forged"),
        ("X-Hop", "forged"),
        ("Keep-Alive", "forged"),
        ("Proxy-Connection", "forged"),
        ("TE", "forged"),
        ("Cookie", &*ticket),
    ];
    client.get(HOST, "/", &fields).await.expect(200);
    let seen = worker.last();
    assert_nothing_forged(&seen);
    assert_eq!(seen.field("x-session-id").map(|id| id.len()), Some(48), "of the record");
    assert_eq!(seen.field("cookie").as_deref(), Some("sid=worker-made"));

    let fields = [("Connection", "X-Real-IP, close"), ("X-Real-IP", "forged")];
    client.get(HOST, "/", &fields).await.expect(200);
    assert_eq!(worker.last().field("x-real-ip").as_deref(), Some("127.0.0.1"));

    // Whoever nominates these wants a worker to believe somebody else.
    let asked = worker.seen().len();
    for nominated in ["X-Forwarded-For", "Host", "\"X-Session-Id\"", ":path"] {
        let mut client = dial(&proxy).await;
        let answer = client.get(HOST, "/", &[("Connection", nominated)]).await;
        assert_eq!(answer.status, 400, "{nominated}");
    }
    assert_eq!(worker.seen().len(), asked);
}

/// A worker that merges trailers into the head would believe them: what a head may not bring, they may
/// not either (RFC 9110, section 6.5.1).
#[tokio::test]
async fn trailers_of_requests_bring_nothing_that_a_head_may_not() {
    let worker = worker().await;
    let proxy = Shop::at(worker.address).streaming().start();
    let mut client = dial(&proxy).await;
    let raw = format!(
        "POST / HTTP/1.1\r\nHost: {HOST}\r\nTransfer-Encoding: chunked\r\n\
         Trailer: X-Session-Id, X-Sum\r\n\r\n3\r\nabc\r\n0\r\nX-Session-Id: forged\r\n\
         X-Session.Subject: forged\r\nX-Forwarded-For: forged\r\nCookie: sid=forged\r\nX-Sum: 1\r\n\r\n"
    );
    client.exchange(raw).await.expect(200);
    let seen = worker.last();
    assert_eq!(seen.body.content, b"abc");
    assert_eq!(seen.body.trailers.all("x-sum"), ["1"]);
    assert_eq!(seen.body.trailers.0.len(), 1, "{:?}", seen.body.trailers);
    assert_nothing_forged(&seen);
    client.get(HOST, "/", &[]).await.expect(200);
    assert_nothing_forged(&worker.last());
}

#[tokio::test]
async fn trailers_of_http2_requests_bring_nothing_that_a_head_may_not() {
    let worker = worker().await;
    let proxy = Shop::at(worker.address).start();
    let mut h2 = H2::connect(&Dial::to(proxy.address()).tls(HOST)).await;
    let sent = http::Request::post(format!("https://{HOST}/")).body(()).expect("a request");
    let (answer, mut body) = h2.open(sent, false).await.expect("a stream");
    body.send_data("abc".into(), false).expect("room");
    let mut trailers = http::HeaderMap::new();
    for name in ["x-session-id", "x-session.subject"] {
        trailers.insert(name, http::HeaderValue::from_static("forged"));
    }
    body.send_trailers(trailers).expect("room");
    let answer = crate::support::within("an answer", answer).await.expect("an answer");
    assert_eq!(answer.status(), 200);
    let seen = worker.last();
    assert_eq!(seen.body.content, b"abc");
    assert!(seen.body.trailers.0.is_empty());
    assert_nothing_forged(&seen);
}

#[tokio::test]
async fn trusted_proxies_are_believed() {
    let worker = worker().await;
    let proxy = plain(&Shop::at(worker.address).top("trusted_proxies: [127.0.0.1/32, 10.0.0.0/8]"));
    let mut client = Dial::to(proxy.address()).connect().await;
    let said = [
        ("X-Forwarded-For", "6.6.6.6, 192.0.2.7, 10.1.2.3"),
        ("X-Forwarded-Proto", "https"),
        ("X-Forwarded-Host", "www.example.net"),
        ("X-Forwarded-Port", "8443"),
        ("X_Forwarded_For", "forged"),
        ("X-Real-IP", "forged"),
        ("X-Session-Id", "forged"),
    ];
    let answer = client.get(HOST, "/", &said).await.expect(200);
    ticket_of(&answer.set_cookies());
    let seen = worker.last();
    assert_nothing_forged(&seen);
    for (name, expected) in [
        ("x-forwarded-for", "192.0.2.7, 10.1.2.3, 127.0.0.1"),
        ("x-real-ip", "192.0.2.7"),
        ("x-forwarded-proto", "https"),
        ("x-forwarded-host", "www.example.net"),
        ("x-forwarded-port", "8443"),
    ] {
        assert_eq!(seen.field(name).as_deref(), Some(expected), "{name}");
    }

    // The same, said by somebody whom nobody trusts.
    let stranger = Dial::to(proxy.address()).from([127, 0, 0, 2].into());
    stranger.connect().await.get(HOST, "/", &said).await.expect(403);
}

#[tokio::test]
async fn sessions_need_https_from_somebody_to_be_trusted() {
    let worker = worker().await;
    let shop = Shop::at(worker.address).route("{ path: /plain/, upstream: shop }");
    let proxy = plain(&shop.clone().top("trusted_proxies: [127.0.0.3/32]"));
    let dial = |from: [u8; 4]| Dial::to(proxy.address()).from(from.into());
    let https = ("X-Forwarded-Proto", "https");
    for (from, fields) in [
        ([127, 0, 0, 1], &[][..]),
        ([127, 0, 0, 1], &[https]),
        ([127, 0, 0, 3], &[]),
        ([127, 0, 0, 3], &[("X-Forwarded-Proto", "http")]),
        ([127, 0, 0, 3], &[("X-Forwarded-Proto", "https, http")]),
    ] {
        let answer = dial(from).connect().await.get(HOST, "/", fields).await.expect(403);
        assert!(answer.text().contains("https only"), "{}", answer.text());
        assert!(answer.set_cookies().is_empty());
    }
    assert_eq!(worker.seen().len(), 0, "no worker was asked");
    let mut client = dial([127, 0, 0, 3]).connect().await;
    let answer = client.get(HOST, "/", &[https]).await.expect(200);
    ticket_of(&answer.set_cookies());
    assert!(answer.set_cookies()[0].contains("; Secure"), "{:?}", answer.set_cookies());
    // Routes without sessions have nothing to lose.
    dial([127, 0, 0, 1]).connect().await.get(HOST, "/plain/", &[]).await.expect(200);
}

#[tokio::test]
async fn insecure_cookies_are_for_development() {
    let worker = Responder::start(|_| {
        let fields = [("Set-Cookie", "sid=a; Path=/"), ("Set-Cookie", "theme=dark")];
        response("200 OK", &fields, b"")
    })
    .await;
    let proxy = plain(&Shop::at(worker.address).top("insecure_cookies: true"));
    let mut client = Dial::to(proxy.address()).connect().await;
    let answer = client.get(HOST, "/", &[]).await.expect(200);
    let cookies = answer.set_cookies();
    let [theme, ticket] = &cookies[..] else { panic!("two cookies, not {cookies:?}") };
    assert!(theme.starts_with("theme=dark"), "{theme}");
    assert!(ticket.starts_with("shop="), "without a prefix: {ticket}");
    for cookie in [theme, ticket] {
        assert!(!cookie.contains("Secure"), "the browser would refuse it: {cookie}");
        assert!(cookie.contains("HttpOnly") && cookie.contains("SameSite=Lax"), "{cookie}");
    }
    let pair = ticket.split(';').next().expect("a pair");
    client.get(HOST, "/", &[("Cookie", pair)]).await.expect(200);
    assert_eq!(worker.last().field("cookie").as_deref(), Some("sid=a"));
}

#[tokio::test]
async fn other_cookies_arrive_byte_for_byte() {
    let worker = worker().await;
    let proxy = Shop::at(worker.address).start();
    let mut client = dial(&proxy).await;
    let ticket = ticket_of(&client.get(HOST, "/", &[]).await.set_cookies());
    for (sent, expected) in [
        ("a=b", &b"a=b"[..]),
        ("a=b; c=\"d e\"; f", b"a=b; c=\"d e\"; f"),
        ("a=1; a=2", b"a=1; a=2"),
        ("=v; n=; x=y=z", b"=v; n=; x=y=z"),
        ("a=\u{fc}%41+", "a=\u{fc}%41+".as_bytes()),
        // What a lax worker might read as the session's own name stays here.
        ("SID=mine; sid2=mine", b"sid2=mine"),
    ] {
        let line = format!("{sent}; {ticket}");
        client.get(HOST, "/", &[("Cookie", &line)]).await.expect(200);
        let seen = worker.last();
        let [line] = seen.fields().bytes("cookie")[..] else { panic!("one line") };
        assert_eq!(line, [expected, b"; sid=worker-made"].concat(), "{sent}");
    }
}

/// RFC 9113, section 8.2.3: one line for workers that read but the first.
#[tokio::test]
async fn cookie_fields_of_http2_become_one_line() {
    let worker = worker().await;
    let proxy = Shop::at(worker.address).start();
    let mut h2 = H2::connect(&Dial::to(proxy.address()).tls(HOST)).await;
    let ticket = ticket_of(&h2.get(HOST, "/", &[]).await.set_cookies());
    let fields =
        [("cookie", "a=1"), ("cookie", &*ticket), ("cookie", "b=2; c=3"), ("cookie", "sid=forged")];
    assert_eq!(h2.get(HOST, "/", &fields).await.status, 200);
    let seen = worker.last();
    assert_eq!(seen.fields().all("cookie"), ["a=1; b=2; c=3; sid=worker-made"]);
    // The same where several fields come over HTTP/1.1, which RFC 6265 forbids.
    dial(&proxy).await.get(HOST, "/", &fields).await.expect(200);
    assert_eq!(worker.last().fields().all("cookie"), ["a=1; b=2; c=3; sid=worker-made"]);
}

/// PROTOCOL.md 30: what the application says to us is for us.
#[tokio::test]
async fn commands_never_pass() {
    let mut origin = Origin::start().await;
    let proxy = Shop::at(origin.address).start();
    for spelling in ["Cloakroom-Session", "cloakroom_session", "X-Session-Subject"] {
        let mut client = dial(&proxy).await;
        client.send(request("GET", "/", HOST, &[], b"")).await;
        let exchange = origin.next().await;
        exchange
            .respond(format!(
                "HTTP/1.1 103 Early Hints\r\n{spelling}: secret\r\nLink: </a>\r\n\
                 Set-Cookie: early=1\r\n\r\n\
                 HTTP/1.1 200 OK\r\n{spelling}: secret\r\nX-Other: kept\r\n\
                 Transfer-Encoding: chunked\r\nTrailer: {spelling}\r\n\r\n\
                 2\r\nok\r\n0\r\n{spelling}: secret\r\n\r\n"
            ))
            .await;
        let answer = client.response().await.expect(200);
        let [hints] = &answer.interim[..] else { panic!("one interim response") };
        assert!(hints.fields.has("link") && !hints.fields.has("set-cookie"));
        assert_eq!(answer.field("x-other").as_deref(), Some("kept"));
        assert_eq!(answer.text(), "ok");
        let raw = [&hints.raw[..], &answer.head.raw, &answer.body.raw].concat();
        assert!(!String::from_utf8_lossy(&raw).contains("secret"), "{spelling}");
    }
}

#[tokio::test]
async fn commands_never_pass_over_http2() {
    let worker = Responder::start(|_| {
        b"HTTP/1.1 200 OK\r\nCloakroom-Session: secret\r\nTransfer-Encoding: chunked\r\n\r\n\
          2\r\nok\r\n0\r\nCloakroom-Session: secret\r\nX-Sum: 1\r\n\r\n"
            .to_vec()
    })
    .await;
    let proxy = Shop::at(worker.address).start();
    let mut h2 = H2::connect(&Dial::to(proxy.address()).tls(HOST)).await;
    let answer = h2.get(HOST, "/", &[]).await;
    assert_eq!((answer.status, &answer.body[..]), (200, &b"ok"[..]));
    assert!(!answer.fields.contains_key("cloakroom-session"));
    let trailers = answer.trailers.expect("what the worker says to the client");
    assert_eq!((trailers.len(), &trailers["x-sum"]), (1, &http::HeaderValue::from_static("1")));
}

/// What we answer ourselves names neither us nor what we are made of.
#[tokio::test]
async fn own_answers_name_nobody() {
    let worker = worker().await;
    let shop = Shop::at(worker.address)
        .route("{ path: /account/, upstream: shop, session: shop, require: login }")
        .route("{ path: /files/, root: /nonexistent }")
        .top("limits: { header_bytes: 2KiB }");
    let proxy = shop.start();
    let long = format!("GET / HTTP/1.1\r\nHost: {HOST}\r\nX: {}\r\n\r\n", "x".repeat(3000));
    let too_much = format!("POST / HTTP/1.1\r\nHost: {HOST}\r\nContent-Length: 99999999\r\n\r\n");
    for (status, raw) in [
        (400, "GET / HTTP/1.1\r\n\r\n".to_owned()),
        (400, "nonsense\r\n\r\n".to_owned()),
        (400, format!("GET / HTTP/1.1\r\nHost: {HOST}\r\nBad Field: x\r\n\r\n")),
        (401, format!("GET /account/ HTTP/1.1\r\nHost: {HOST}\r\n\r\n")),
        (405, format!("CONNECT {HOST}:443 HTTP/1.1\r\nHost: {HOST}:443\r\n\r\n")),
        (413, too_much),
        (421, "GET / HTTP/1.1\r\nHost: other.example\r\n\r\n".to_owned()),
        (431, long),
        (404, format!("GET /files/a HTTP/1.1\r\nHost: {HOST}\r\n\r\n")),
        (405, format!("PUT /files/a HTTP/1.1\r\nHost: {HOST}\r\n\r\n")),
    ] {
        let mut client = dial(&proxy).await;
        client.send(raw.as_bytes()).await;
        let answer = client.response().await.expect(status);
        let raw = String::from_utf8_lossy(&answer.head.raw).to_lowercase() + &answer.text();
        for name in ["server:", "pingora", "cloakroom", "via:", "x-powered-by"] {
            assert!(!raw.contains(name), "{name} in {raw}");
        }
        assert!(answer.field("date").is_some(), "RFC 9110, section 6.6.1: {raw}");
        if status != 431 {
            assert!(answer.text().contains(&format!("<h1>{status} ")), "{raw}");
        }
    }
    // What a worker says of itself goes no further (nginx 37).
    let worker = Responder::start(|_| response("200 OK", &[("Server", "shop/1.0")], b"")).await;
    let proxy = Shop::at(worker.address).start();
    let answer = dial(&proxy).await.get(HOST, "/", &[]).await.expect(200);
    assert_eq!(answer.field("server"), None);
}

/// RFC 6265bis, section 5.6: no browser takes a cookie with a control character; what a laxer reader
/// makes of it, nobody knows. The engine takes no head with one (RFC 9110, section 5.5).
#[tokio::test]
async fn cookies_with_control_characters_never_leave() {
    let mut origin = Origin::start().await;
    let proxy = Shop::at(origin.address).start();
    for name in ["theme", "sid"] {
        for control in ["\u{0}", "\u{1}", "\u{b}", "\u{c}", "\u{1f}", "\u{7f}", "\r"] {
            let mut client = dial(&proxy).await;
            client.send(request("GET", "/", HOST, &[], b"")).await;
            let line = format!("{name}=a{control}b; Path=/");
            origin.answer(response("200 OK", &[("Set-Cookie", &line)], b"")).await;
            let answer = client.response().await.expect(502);
            assert_eq!(answer.set_cookies(), [""; 0], "{line:?}");
        }
    }
    // Folded lines (RFC 9112, section 5.2) are unfolded before anybody looks at them.
    let mut client = dial(&proxy).await;
    client.send(request("GET", "/", HOST, &[], b"")).await;
    origin
        .answer(
            "HTTP/1.1 200 OK\r\nSet-Cookie: theme=dark;\r\n Path=/\r\nContent-Length: 0\r\n\r\n",
        )
        .await;
    let cookies = client.response().await.expect(200).set_cookies();
    let [cookie] = &cookies[..] else { panic!("one cookie, not {cookies:?}") };
    let attributes: Vec<&str> = cookie.split(';').map(str::trim).collect();
    assert_eq!(attributes, ["theme=dark", "Path=/", "Secure", "HttpOnly", "SameSite=Lax"]);
}

/// PROTOCOL.md 12: no cache may keep an answer that carried a session, whatever the worker says.
#[tokio::test]
async fn answers_that_carry_a_session_are_not_cached() {
    let mut origin = Origin::start().await;
    let proxy = Shop::at(origin.address).start();
    let mut client = dial(&proxy).await;
    let cached =
        [("Cache-Control", "public, max-age=600"), ("Expires", "Thu, 01 Jan 2099 00:00:00 GMT")];
    let mut ask = async |cookie: &str, fields: &[(&str, &str)]| {
        let sent: &[(&str, &str)] = if cookie.is_empty() { &[] } else { &[("Cookie", cookie)] };
        client.send(request("GET", "/", HOST, sent, b"")).await;
        origin.answer(response("200 OK", fields, b"")).await;
        let answer = client.response().await.expect(200);
        (answer.field("cache-control"), answer.field("expires"), answer.set_cookies())
    };
    let kept = |name: &str| cached.iter().find(|(n, _)| *n == name).map(|(_, v)| (*v).to_owned());

    let (control, expires, _) = ask("", &cached).await;
    assert_eq!((control, expires), (kept("Cache-Control"), kept("Expires")), "no session at all");
    let with = |cookie| [&cached[..], &[("Set-Cookie", cookie)]].concat();
    let (control, expires, cookies) = ask("", &with("sid=1; Path=/")).await;
    assert_eq!((control.as_deref(), expires), (Some("private, no-store"), None), "a ticket is set");
    let ticket = ticket_of(&cookies);
    let (control, expires, cookies) = ask(&ticket, &with("sid=2; Path=/")).await;
    assert_eq!((control.as_deref(), expires), (Some("private, no-store"), None), "absorbed");
    assert_eq!(cookies, [""; 0]);
    let (control, _, _) = ask(&ticket, &with("theme=dark")).await;
    assert_eq!(control, kept("Cache-Control"), "no cookie of the session");
}

/// A worker has no say about tickets, not even about another policy's.
#[tokio::test]
async fn workers_set_no_tickets() {
    let worker = Responder::start(|_| {
        let fields = [("Set-Cookie", "__Host-shop=planted; Path=/; Secure"), ("X-A", "b")];
        response("200 OK", &fields, b"")
    })
    .await;
    let proxy = Shop::at(worker.address).route("{ path: /plain/, upstream: shop }").start();
    let mut client = dial(&proxy).await;
    for target in ["/", "/plain/"] {
        let answer = client.get(HOST, target, &[]).await.expect(200);
        assert_eq!(answer.set_cookies(), [""; 0], "{target}");
    }
}

/// The address of whoever speaks, on every route.
#[tokio::test]
async fn the_peer_is_named_by_its_address() {
    let worker = worker().await;
    let proxy = Shop::at(worker.address).start();
    let peer: SocketAddr = "127.0.0.9:0".parse().expect("an address");
    let dial = Dial::to(proxy.address()).tls(HOST).from(peer.ip());
    dial.connect().await.get(HOST, "/", &[]).await.expect(200);
    assert_eq!(worker.last().field("x-forwarded-for").as_deref(), Some("127.0.0.9"));
}
