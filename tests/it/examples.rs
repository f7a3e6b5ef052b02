//! Each file of `config/examples` does what it says: every one has a test of its name.

use std::path::Path;
use std::time::Duration;

use http::Method;

use crate::support::apps::App;
use crate::support::browser::Browser;
use crate::support::client::{Connection, Dial, Response, request};
use crate::support::h2::H2;
use crate::support::h2_origin::H2Origin;
use crate::support::http::response;
use crate::support::origin::{Origin, Request, Responder};
use crate::support::proxy::Proxy;
use crate::support::shop::{ALICE, HOST, whoami};
use crate::support::tls::Certificate;
use crate::support::{free_port, soon, within};

mod files;
mod guards;

/// The text of an example, with each of these places replaced by another.
fn text(name: &str, changes: &[(&str, &str)]) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("config/examples/{name}.yaml"));
    let mut text = std::fs::read_to_string(&path).expect("the example is there");
    for (place, other) in changes {
        assert!(text.contains(place), "{name}.yaml has no `{place}`");
        text = text.replace(place, other);
    }
    for port in ["0.0.0.0:8443", "0.0.0.0:8081", "0.0.0.0:8080", "0.0.0.0:443", "0.0.0.0:80"] {
        text = text.replace(&format!("address: {port}"), "address: 127.0.0.1:0");
    }
    format!("state_directory: '{{directory}}'\n{text}")
}

/// The example in front of a worker at `127.0.0.1:3000`.
fn start(name: &str, worker: &Responder, changes: &[(&str, &str)]) -> Proxy {
    let address = worker.address.to_string();
    let changes = [&[("127.0.0.1:3000", &*address)], changes].concat();
    Proxy::start(&text(name, &changes))
}

/// Answers every request with its method, target and Host.
async fn worker() -> Responder {
    named("worker").await
}

/// The same under a name.
async fn named(name: &'static str) -> Responder {
    Responder::start(move |request: &Request| {
        let host = request.field("host").unwrap_or_default();
        let said = format!("{name} {} {} {host}", request.method, request.target);
        response("200 OK", &[("Content-Type", "text/plain")], said.as_bytes())
    })
    .await
}

async fn dial(proxy: &Proxy) -> Connection {
    Dial::to(proxy.address()).connect().await
}

async fn get(proxy: &Proxy, target: &str) -> Response {
    get_with(proxy, target, &[]).await
}

async fn get_with(proxy: &Proxy, target: &str, fields: &[(&str, &str)]) -> Response {
    dial(proxy).await.get(HOST, target, fields).await
}

#[test]
fn every_example_has_a_test_of_its_name() {
    let sources = [
        include_str!("examples.rs"),
        include_str!("examples/files.rs"),
        include_str!("examples/guards.rs"),
    ]
    .concat();
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("config/examples");
    let mut number = 0;
    for entry in std::fs::read_dir(directory).expect("the directory is there") {
        let path = entry.expect("it can be read").path();
        let name = path.file_stem().expect("a file").to_string_lossy().replace('-', "_");
        assert!(sources.contains(&format!("\nasync fn {name}() {{")), "no test `{name}`");
        number += 1;
    }
    assert!(number >= 14, "{number}");
}

#[tokio::test]
async fn egg() {
    let app = App::egg();
    let address = app.address.to_string();
    let places = ["127.0.0.1:7001", "127.0.0.1:7002", "127.0.0.1:7003", "127.0.0.1:7004"];
    let proxy = Proxy::start(&text("egg", &places.map(|place| (place, &*address))));
    let mut alice = Browser::https(HOST, &[proxy.address()]);
    alice.get("/account").await.expect(401);
    let login = alice.post_form("/login", ALICE).await.expect(302);
    assert!(login.set_cookies().iter().all(|field| !field.contains("EGG_SESS")));
    assert!(alice.cookie("__Host-egg").is_some_and(|ticket| ticket.secure && ticket.http_only));
    assert_eq!(whoami(&mut alice).await.as_deref(), Some("alice"));
}

#[tokio::test]
async fn express() {
    const APP: &str = "app.example.com";
    let app = Responder::start(|request| {
        let cookie = ("Set-Cookie", "connect.sid=s%3Aabc.def; Path=/; HttpOnly");
        match &*request.target {
            "/api/login" => response("200 OK", &[cookie, ("X-Login", "ok")], b"{}"),
            _ => response("200 OK", &[], request.field("cookie").unwrap_or_default().as_bytes()),
        }
    })
    .await;
    let address = app.address.to_string();
    let changes = [("127.0.0.1:3001", &*address), ("127.0.0.1:3002", &*address)];
    let proxy = Proxy::start(&text("express", &changes));
    let mut user = Browser::https(APP, &[proxy.address()]);
    user.get("/api/private/x").await.expect(401);
    user.post_form("/api/login", &[]).await.expect(200);
    assert!(user.cookie("__Host-app").is_some_and(|ticket| ticket.secure && ticket.http_only));
    let seen = user.get("/api/private/x").await.expect(200);
    assert_eq!(seen.text(), "connect.sid=s%3Aabc.def");
}

#[tokio::test]
async fn reverse_proxy() {
    let (app, reports) = (worker().await, named("reports").await);
    let port = free_port();
    let changes = [
        ("unix:/run/reports/worker.sock", &*reports.address.to_string()),
        ("0.0.0.0:8443", &*format!("127.0.0.1:{port}")),
    ];
    let proxy = start("reverse-proxy", &app, &changes);
    let mut client = Dial::to(proxy.address()).tls("localhost").connect().await;
    assert_eq!(client.get("localhost", "/a?b", &[]).await.text(), "worker GET /a?b localhost");
    let seen = app.last();
    assert_eq!(seen.field("x-forwarded-proto").as_deref(), Some("https"));
    assert_eq!(seen.field("x-forwarded-for").as_deref(), Some("127.0.0.1"));
    let answer = client.get("localhost", "/reports/a", &[]).await;
    assert_eq!(answer.text(), "reports GET /a localhost");
    let large = request("POST", "/", "localhost", &[], &vec![b'x'; 2 << 20]);
    assert_eq!(client.exchange(large).await.status, 200, "20 MiB are welcome");
    let plain = Dial::to(proxy.addresses()[1]).connect().await.get(HOST, "/a?b", &[]).await;
    assert_eq!(plain.status, 301);
    assert_eq!(plain.field("location"), Some(format!("https://{HOST}:{port}/a?b")));
}

#[tokio::test]
async fn several_sites() {
    let (shop, blog, tenants) = (worker().await, named("blog").await, named("tenants").await);
    let files = tempfile::tempdir().expect("a temporary directory can be made");
    for (file, name) in [("shop", "shop"), ("blog", "blog"), ("any", "*")] {
        Certificate::for_names(&[&format!("{name}.example.com")]).write(files.path(), file);
    }
    let directory = files.path().display().to_string();
    let changes = [
        ("/etc/cloakroom/tls", &*directory),
        ("127.0.0.1:4000", &*blog.address.to_string()),
        ("127.0.0.1:5000", &*tenants.address.to_string()),
    ];
    let proxy = start("several-sites", &shop, &changes);
    let ask = async |host: &str| {
        let mut client = Dial::to(proxy.address()).tls(host).connect().await;
        client.exchange(request("GET", "/x", host, &[], b"")).await
    };
    let (of_shop, of_blog) = (ask("shop.example.com").await, ask("blog.example.com").await);
    assert_eq!(of_shop.text(), "worker GET /x shop.example.com");
    assert_eq!(of_blog.text(), "blog GET /x blog.example.com");
    assert_eq!(ask("acme.example.com").await.text(), "tenants GET /x acme.example.com");
    assert_eq!(tenants.last().field("x-tenant").as_deref(), Some("acme"));
    let moved = ask("www.example.com").await;
    assert_eq!(moved.field("location").as_deref(), Some("https://shop.example.com/x"));
    let mut stranger = Dial::to(proxy.address()).tls("127.0.0.1").connect().await;
    stranger.send(request("GET", "/", "127.0.0.1", &[], b"")).await;
    assert_eq!(stranger.rest().await.ok(), Some(Vec::new()), "not a byte");
}

#[tokio::test]
async fn load_balancing() {
    let workers = [named("first").await, named("second").await, named("third").await];
    let files = [named("one").await, named("two").await];
    let places =
        ["10.0.0.11:3000", "10.0.0.12:3000", "10.0.0.13:3000", "10.0.0.21:3000", "10.0.0.22:3000"];
    let addresses: Vec<String> =
        workers.iter().chain(&files).map(|worker| worker.address.to_string()).collect();
    let changes: Vec<(&str, &str)> =
        places.into_iter().zip(addresses.iter().map(String::as_str)).collect();
    let proxy = Proxy::start(&text("load-balancing", &changes));
    for _ in 0..9 {
        get(&proxy, "/").await.expect(200);
    }
    let asked = workers.each_ref().map(|worker| worker.seen().len());
    assert_eq!((asked[0] + asked[1], asked[2]), (9, 0), "{asked:?}");
    for _ in 0..3 {
        get(&proxy, "/files/a").await.expect(200);
    }
    let mut of_one_key = files.each_ref().map(|worker| worker.seen().len());
    of_one_key.sort_unstable();
    assert_eq!(of_one_key, [0, 3]);
    let [first, second, third] = workers;
    drop((first, second));
    assert!(get(&proxy, "/").await.expect(200).text().starts_with("third"), "the one for bad days");
    assert_eq!(third.seen().len(), 1);
}

#[tokio::test]
async fn websockets() {
    let mut origin = Origin::start().await;
    let address = origin.address.to_string();
    let changes = [("127.0.0.1:3000", &*address), ("127.0.0.1:3001", &*address)];
    let proxy = Proxy::start(&text("websockets", &changes));
    let mut client = Dial::to(proxy.address()).tls("localhost").connect().await;
    let upgrade = [("Connection", "Upgrade"), ("Upgrade", "websocket")];
    client.send(request("GET", "/socket", "localhost", &upgrade, b"")).await;
    let mut exchange = origin.next().await;
    exchange
        .write("HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\nhello")
        .await;
    client.response_head().await.expect(101);
    assert_eq!(client.exactly(5).await.ok().as_deref(), Some(&b"hello"[..]));
    client.send("back").await;
    assert_eq!(exchange.read_some().await.ok().as_deref(), Some(&b"back"[..]));
}

#[tokio::test]
async fn rewrites() {
    let (pages, tools) = (worker().await, named("tools").await);
    let proxy = start("rewrites", &pages, &[("127.0.0.1:4000", &*tools.address.to_string())]);
    for (target, agent, expected) in [
        ("/x?y", "Mozilla/5.0", "worker GET /x?y"),
        ("/x", "curl/8", "tools GET /x"),
        ("/de/cart?a=1", "Mozilla/5.0", "worker GET /cart?lang=de&a=1"),
        ("/posts/17", "Mozilla/5.0", "worker GET /post?id=17"),
    ] {
        let answer = get_with(&proxy, target, &[("User-Agent", agent)]).await.expect(200);
        assert!(answer.text().starts_with(&format!("{expected} ")), "{target}: {}", answer.text());
    }
    let moved = get(&proxy, "/team.html").await.expect(301);
    assert!(moved.field("location").is_some_and(|to| to.ends_with("/about#team")));
    assert_eq!(get(&proxy, "/old/x").await.expect(410).text(), "gone for good");
    let post = request("POST", "/posts/17", HOST, &[], b"");
    assert_eq!(dial(&proxy).await.exchange(post).await.status, 405);
}

#[tokio::test]
async fn compression() {
    let app = Responder::start(|request| {
        let kind = if request.target.ends_with(".png") { "image/png" } else { "text/css" };
        response("200 OK", &[("Content-Type", kind)], "p {} ".repeat(400).as_bytes())
    })
    .await;
    let proxy = start("compression", &app, &[]);
    for (target, accepted, expected) in [
        ("/a.css", "gzip", Some("gzip")),
        ("/a.css", "gzip, zstd", Some("zstd")),
        ("/a.css", "gzip, br, zstd", Some("br")),
        ("/a.css", "identity", None),
        ("/a.png", "gzip", None),
        ("/downloads/a.css", "gzip, br, zstd", None),
    ] {
        let answer = get_with(&proxy, target, &[("Accept-Encoding", accepted)]).await.expect(200);
        assert_eq!(answer.field("content-encoding").as_deref(), expected, "{target} {accepted}");
    }
}

#[tokio::test]
async fn logs() {
    let app = Responder::start(|request| match &*request.target {
        "/missing" => response("404 Not Found", &[], b""),
        _ => response("200 OK", &[], b"four"),
    })
    .await;
    let proxy = start("logs", &app, &[("/var/log/cloakroom", "{directory}")]);
    get(&proxy, "/a?\"b\"").await.expect(200);
    get(&proxy, "/healthz").await.expect(200);
    get(&proxy, "/missing").await.expect(404);
    let read =
        |name: &str| std::fs::read_to_string(proxy.directory().join(name)).unwrap_or_default();
    soon(2, "two lines in the log", async || read("access.log").lines().count()).await;
    let flushed = async {
        while read("failed.json").is_empty() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    within("what waits in the buffer", flushed).await;
    let lines = read("access.log");
    let first = lines.lines().find(|line| line.contains("/a?")).expect("a line");
    assert!(first.starts_with("127.0.0.1 - - ["), "{first}");
    assert!(first.contains("\"GET /a?\\x22b\\x22 HTTP/1.1\" 200 4 \"-\" \"-\""), "{first}");
    let failed: serde_json::Value =
        serde_json::from_str(&read("failed.json")).expect("a line of JSON");
    assert_eq!((&failed["uri"], &failed["status"]), (&"/missing".into(), &"404".into()));
    assert_eq!(failed["worker"], app.address.to_string());
}

#[tokio::test]
async fn grpc() {
    let mut greeter = H2Origin::start().await;
    let pages = worker().await;
    let address = greeter.address.to_string();
    let changes =
        [("127.0.0.1:50051", &*address), ("address: 127.0.0.1:8080", "address: 127.0.0.1:0")];
    let proxy = start("grpc", &pages, &changes);
    let mut client = H2::connect(&Dial::to(proxy.addresses()[1])).await;
    let calling = tokio::spawn(async move {
        let fields = [("content-type", "application/grpc"), ("te", "trailers")];
        client.request(Method::POST, HOST, "/helloworld.Greeter/SayHello", &fields, b"hi").await
    });
    let mut asked = greeter.next().await;
    assert_eq!(asked.read().await.0, b"hi");
    asked.answer(200, "hello");
    let answer = calling.await.expect("no panic").expect("an answer");
    assert_eq!(answer.body, b"hello");
    let mut browser = Dial::to(proxy.address()).tls("localhost").connect().await;
    browser.get("localhost", "/page", &[]).await.expect(200);
}
