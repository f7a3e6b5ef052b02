//! Logins that break off: what a worker may have done decides (rules 20 and 26).

use std::time::Duration;

use super::*;

#[tokio::test]
async fn a_client_that_leaves_during_its_login_has_no_session_and_can_repeat_it() {
    for node in [0, 1] {
        let mut scene = Scene::of(2).await;
        let mut visitor = scene.visitor().await;
        let first = send(visitor.node(0), login());
        let forwarded = scene.origin.next().await;
        first.answer.abort();
        // Rule 20: that does not end the exchange.
        forwarded.respond(welcome(&["EGG_SESS=unheard; Path=/"])).await;
        let answer = welcome(&["EGG_SESS=alice; Path=/"]);
        let (request, response) = scene.exchange(visitor.node(node), login(), &answer).await;
        assert_eq!(lent(&request), "", "rule 22: the worker has logged that identifier in");
        response.expect(302);
        assert_eq!(scene.lent(&mut visitor).await, "EGG_SESS=alice", "on node {node}");
    }
}

#[tokio::test]
async fn a_client_that_leaves_during_its_login_leaves_a_dead_ticket() {
    let mut scene = Scene::of(2).await;
    let mut visitor = scene.visitor().await;
    let login = send(&visitor, login());
    let forwarded = scene.origin.next().await;
    login.answer.abort();
    forwarded.respond(welcome(&["EGG_SESS=unheard; Path=/"])).await;
    for node in [0, 1] {
        assert_eq!(scene.lent(visitor.node(node)).await, "", "rule 20");
    }
    scene.clock.advance(Duration::from_secs(31));
    assert!(scene.may_begin_a_session(&mut visitor).await, "rule 22: its record has moved");
}

#[tokio::test]
async fn a_worker_that_dies_during_a_login_takes_the_session_with_it() {
    for reset in [false, true] {
        let mut scene = Scene::of(2).await;
        let mut visitor = scene.visitor().await;
        let mut old = visitor.clone();
        let first = send(&visitor, login());
        let forwarded = scene.origin.next().await;
        if reset {
            forwarded.reset();
        } else {
            forwarded.close().await;
        }
        silent(&first.kept(&mut visitor).await.expect(502), "no ticket is replaced");
        let repeated = scene.origin.waiting();
        assert_eq!(repeated, 0, "RFC 9110 9.2.2: a POST may have been carried out");
        for node in [0, 1] {
            assert_eq!(scene.lent(old.node(node)).await, "", "rule 20: X may be logged in");
        }
        let answer = welcome(&["EGG_SESS=alice; Path=/"]);
        scene.exchange(&mut visitor, login(), &answer).await.1.expect(302);
        assert_eq!(scene.lent(&mut visitor).await, "EGG_SESS=alice");
    }
}

#[tokio::test]
async fn a_worker_that_dies_within_the_answer_s_head_takes_the_session_with_it() {
    let mut scene = Scene::of(1).await;
    let mut visitor = scene.visitor().await;
    let first = send(&visitor, login());
    let mut forwarded = scene.origin.next().await;
    forwarded.write("HTTP/1.1 302 Found\r\nLocation: /account/\r\nSet-Cookie: EGG_SESS=al").await;
    forwarded.close().await;
    silent(&first.kept(&mut visitor).await.expect(502), "half a head is none");
    assert_eq!(scene.lent(&mut visitor).await, "", "rule 20");
}

#[tokio::test]
async fn a_login_that_never_reached_a_worker_leaves_the_session_as_it_was() {
    // Nobody listens on port 1.
    let dead = "upstreams:\n  dead:\n    endpoints: [{ address: '127.0.0.1:1' }]\n";
    let route = "      - { path: /login, upstream: dead, session: shop }\n";
    let edit = |yaml: String, _: &str| yaml.replace("upstreams:\n", dead) + route;
    let mut scene = Scene::with(2, edit).await;
    let mut visitor = scene.visitor().await;
    let response = send(&visitor, login()).kept(&mut visitor).await.expect(502);
    silent(&response, "the ticket is still good");
    for node in [0, 1] {
        assert_eq!(scene.lent(visitor.node(node)).await, "EGG_SESS=before", "rules 20 and 26");
    }
}

#[tokio::test]
async fn a_logout_that_breaks_off_after_it_was_forwarded_has_ended_the_session() {
    let mut scene = Scene::of(2).await;
    let mut visitor = scene.visitor().await;
    let logout = send(&visitor, Ask::new("POST", "/logout"));
    let mut forwarded = scene.origin.next().await;
    logout.answer.abort();
    forwarded.peer_closed().await;
    // A logout closes no gate: that its abort is settled shows on the other node in time.
    let deadline = tokio::time::Instant::now() + crate::support::PATIENCE;
    while !scene.lent(visitor.node(1)).await.is_empty() {
        assert!(tokio::time::Instant::now() < deadline, "rule 26: settled when it is logged");
    }
    assert_eq!(scene.lent(visitor.node(0)).await, "");
}
