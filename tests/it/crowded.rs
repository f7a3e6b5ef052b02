//! A page whose many answers set the cookies of one session at once, and pages that set them as they
//! are (PROTOCOL.md 11).

use crate::support::browser::Ask;
use crate::support::client::{Dial, request};
use crate::support::counts::{ADMIN, total};
use crate::support::http::message;
use crate::support::jar::Context;
use crate::support::origin::{Request, Responder};
use crate::support::proxy::Proxy;
use crate::support::shop::{HOST, Shop, browser};

const AT_ONCE: usize = 60;
const ROUNDS: usize = 10;
const PAGES: usize = 100;
const WRITES: &str = "cloakroom_store_calls_total{operation=\"replace\"";

/// `/set/NAME/VALUE` sets a cookie; anything else shows all, and sets `sid` as it came.
fn page(request: &Request) -> Vec<u8> {
    let cookies = request.field("cookie").unwrap_or_default();
    let set = match request.target.strip_prefix("/set/").and_then(|rest| rest.split_once('/')) {
        Some((name, value)) => format!("{name}={value}; Path=/"),
        None => {
            let sid = cookies.split("; ").find_map(|pair| pair.strip_prefix("sid="));
            format!("sid={}; Path=/; Max-Age=3600", sid.unwrap_or("first"))
        }
    };
    message("HTTP/1.1 200 OK", &[("Set-Cookie", set.as_str())], cookies.as_bytes())
}

async fn start() -> (Responder, [Proxy; 1]) {
    let origin = Responder::start(page).await;
    let node = [Shop::at(origin.address).top(ADMIN).start()];
    (origin, node)
}

#[tokio::test]
async fn many_answers_that_set_cookies_of_one_session_at_once_are_all_stored() {
    let (_origin, node) = start().await;
    let mut visitor = browser(&node);
    visitor.get("/").await.expect(200);
    let cookie = visitor.cookie_lines("/", Context::SameSite).concat();
    let cookie = String::from_utf8(cookie).expect("a ticket is text");
    let mut connections = Vec::new();
    for _ in 0..AT_ONCE {
        connections.push(Dial::to(node[0].address()).tls(HOST).connect().await);
    }
    for round in 0..ROUNDS {
        let mut answers = tokio::task::JoinSet::new();
        for (number, mut connection) in connections.drain(..).enumerate() {
            let name = ["sid", "sessionid", "EGG_SESS"][number % 3];
            let target = format!("/set/{name}/r{round}n{number}");
            let raw = request("GET", &target, HOST, &[("Cookie", &cookie)], b"");
            answers.spawn(async move {
                let status = connection.exchange(raw).await.status;
                (status, connection)
            });
        }
        for (status, connection) in answers.join_all().await {
            assert_eq!(status, 200, "in round {round}");
            connections.push(connection);
        }
        let shown = visitor.dispatch(&Ask::get("/set/connect.sid/1")).await.expect(200).text();
        for name in ["sid", "sessionid", "EGG_SESS"] {
            assert!(
                shown.contains(&format!("{name}=r{round}n")),
                "{name} of round {round}: {shown}"
            );
        }
    }
    // One write for each answer would be this many; most are written together.
    let writes = total(&node[0], WRITES).await;
    assert!(writes < (AT_ONCE * ROUNDS / 2) as u64, "{writes} writes");
}

#[tokio::test]
async fn a_page_that_sets_the_cookie_as_it_is_writes_nothing() {
    let (_origin, node) = start().await;
    let mut visitor = browser(&node);
    for _ in 0..2 {
        visitor.get("/").await.expect(200);
    }
    visitor.get("/set/sessionid/x").await.expect(200);
    let before = total(&node[0], WRITES).await;
    for _ in 0..PAGES {
        visitor.get("/").await.expect(200);
    }
    assert_eq!(total(&node[0], WRITES).await - before, 0);
}
