//! Who comes in, and how much of them.

use super::{dial, get, get_with, start, worker};
use crate::support::client::{Dial, request};
use crate::support::free_port;
use crate::support::http::response;
use crate::support::origin::Responder;
use crate::support::shop::HOST;

/// `ann` and `secret`.
const ANN: (&str, &str) = ("Authorization", "Basic YW5uOnNlY3JldA==");

#[tokio::test]
async fn restricted() {
    let app = worker().await;
    let changes = [("/etc/cloakroom", "{directory}"), ("192.0.2.0/24", "127.0.0.2")];
    let proxy = start("restricted", &app, &changes);
    std::fs::write(proxy.directory().join("users"), "ann:{PLAIN}secret\n")
        .expect("it can be written");
    get(&proxy, "/").await.expect(200);
    get(&proxy, "/metrics").await.expect(200);
    get_with(&proxy, "/admin/", &[ANN]).await.expect(200);
    let office = Dial::to(proxy.address()).from([127, 0, 0, 2].into());
    office.connect().await.get(HOST, "/admin/", &[]).await.expect(200);
    office.connect().await.get(HOST, "/metrics", &[]).await.expect(403);
    get(&proxy, "/admin/").await.expect(401);
    get(&proxy, "/wiki/page").await.expect(200);
    let write = request("PUT", "/wiki/page", HOST, &[], b"text");
    dial(&proxy).await.exchange(&write).await.expect(403);
    office.connect().await.exchange(&write).await.expect(200);
}

#[tokio::test]
async fn auth_request() {
    let gatekeeper = Responder::start(|request| match request.field("authorization") {
        Some(_) => response("204 No Content", &[("X-Auth-User", "ann")], b""),
        None => response("401 Unauthorized", &[], b""),
    })
    .await;
    let app = worker().await;
    let changes = [("127.0.0.1:4180", &*gatekeeper.address.to_string())];
    let proxy = start("auth-request", &app, &changes);
    let denied = get(&proxy, "/a?b").await.expect(302);
    assert!(denied.field("location").is_some_and(|to| to.ends_with("/login?next=/a?b")));
    assert_eq!(gatekeeper.last().field("x-original-uri").as_deref(), Some("/a?b"));
    get_with(&proxy, "/a?b", &[ANN, ("X-User", "root")]).await.expect(200);
    assert_eq!(app.last().field("x-user").as_deref(), Some("ann"));
    get(&proxy, "/auth").await.expect(404);
}

#[tokio::test]
async fn limits() {
    let app = worker().await;
    let proxy = start("limits", &app, &[]);
    let mut client = dial(&proxy).await;
    let mut refused = 0;
    for _ in 0..60 {
        refused += usize::from(client.get(HOST, "/", &[]).await.status == 429);
    }
    assert!((1..=29).contains(&refused), "{refused} of 60 were refused");
    let large = request("POST", "/upload", HOST, &[], &vec![b'x'; 2 << 20]);
    dial(&proxy).await.exchange(large).await.expect(200);
    let head =
        format!("POST /login HTTP/1.1\r\nHost: {HOST}\r\nContent-Length: {}\r\n\r\n", 2 << 20);
    dial(&proxy).await.exchange(head).await.expect(413);
    get(&proxy, "/downloads/a").await.expect(200);
}

#[tokio::test]
async fn behind_a_load_balancer() {
    let app = worker().await;
    let (tcp, http) = (free_port(), free_port());
    let changes = [
        ("0.0.0.0:8081", &*format!("127.0.0.1:{tcp}")),
        ("0.0.0.0:8080", &*format!("127.0.0.1:{http}")),
    ];
    let proxy = start("behind-a-load-balancer", &app, &changes);
    let (tcp, http) = (proxy.addresses()[0], proxy.addresses()[1]);
    let line = b"PROXY TCP4 203.0.113.7 127.0.0.1 4000 80\r\n";
    let mut client = Dial::to(tcp).preface(line).connect().await;
    client.get(HOST, "/", &[]).await.expect(200);
    assert_eq!(app.last().field("x-real-ip").as_deref(), Some("203.0.113.7"));
    let fields = [("X-Forwarded-For", "198.51.100.1, 203.0.113.8, 10.0.0.3")];
    let mut client = Dial::to(http).connect().await;
    client.get(HOST, "/", &fields).await.expect(200);
    assert_eq!(app.last().field("x-real-ip").as_deref(), Some("203.0.113.8"));
}
