//! What is under way while a login is: on the same node, and on another one.

use std::time::{Duration, Instant};

use super::*;

#[tokio::test]
async fn a_login_waits_for_what_is_in_flight_on_its_node() {
    let mut scene = Scene::of(1).await;
    let mut visitor = scene.visitor().await;
    let page = send(&visitor, Ask::get("/cart"));
    let under_way = scene.origin.next().await;
    let login = send(&visitor, login());
    // Nothing but time tells that a request is held back; the wait itself is 2 s long.
    tokio::time::sleep(Duration::from_millis(300)).await;
    assert_eq!(scene.origin.waiting(), 0, "rule 18: what is in flight finishes first");
    under_way.respond(ok(&["EGG_SESS=cart; Path=/"])).await;
    silent(&page.response().await.expect(200), "the ticket is the same");
    let forwarded = scene.origin.answer(welcome(&["EGG_SESS=alice; Path=/"])).await;
    assert_eq!(lent(&forwarded), "EGG_SESS=cart", "the login has what was written before it");
    login.kept(&mut visitor).await.expect(302);
    assert_eq!(scene.lent(&mut visitor).await, "EGG_SESS=alice");
}

#[tokio::test]
async fn what_takes_longer_than_a_login_waits_is_cut() {
    let mut scene = Scene::of(1).await;
    let mut visitor = scene.visitor().await;
    let page = send(&visitor, Ask::get("/report"));
    let under_way = scene.origin.next().await;
    let begun = Instant::now();
    let login = send(&visitor, login());
    let forwarded = scene.origin.next().await;
    let waited = begun.elapsed();
    assert!(waited >= Duration::from_millis(1900), "rule 18: at most 2 s, not {waited:?}");
    forwarded.respond(welcome(&["EGG_SESS=alice; Path=/"])).await;
    login.kept(&mut visitor).await.expect(302);
    under_way.respond(ok(&["EGG_SESS=late; Path=/"])).await;
    let page = page.response().await.expect(503);
    silent(&page, "rule 25: the answer came after its record had moved");
    assert_eq!(scene.lent(&mut visitor).await, "EGG_SESS=alice", "nothing was stored");
}

#[tokio::test]
async fn an_answer_that_another_node_gives_after_a_login_is_fenced() {
    let mut scene = Scene::of(2).await;
    let mut visitor = scene.visitor().await;
    let mut old = visitor.clone();
    let page = send(visitor.node(1), Ask::get("/cart"));
    let under_way = scene.origin.next().await;
    let answer = welcome(&["EGG_SESS=alice; Path=/"]);
    let (_, welcome) = scene.exchange(visitor.node(0), login(), &answer).await;
    welcome.expect(302);
    under_way.respond(ok(&["EGG_SESS=late; Path=/"])).await;
    let page = page.kept(&mut visitor).await.expect(200);
    silent(&page, "rule 25: the answer came after its record had moved");
    for node in [0, 1] {
        assert_eq!(scene.lent(visitor.node(node)).await, "EGG_SESS=alice", "nothing was stored");
        assert_eq!(scene.lent(old.node(node)).await, "", "rule 22: the old ticket has no jar");
    }
}

#[tokio::test]
async fn an_answer_that_another_node_gives_during_a_login_is_fenced() {
    let mut scene = Scene::of(2).await;
    let mut visitor = scene.visitor().await;
    let page = send(visitor.node(1), Ask::get("/cart"));
    let under_way = scene.origin.next().await;
    let login = send(visitor.node(0), login());
    let forwarded = scene.origin.next().await;
    under_way.respond(ok(&["EGG_SESS=late; Path=/"])).await;
    let page = page.kept(&mut visitor).await.expect(200);
    silent(&page, "rule 25: the record is pending, not what it was");
    forwarded.respond(welcome(&[])).await;
    login.kept(&mut visitor).await.expect(302);
    let lent = scene.lent(&mut visitor).await;
    assert_eq!(lent, "EGG_SESS=before", "rule 19: the jar of the login, and no late cookie");
}

#[tokio::test]
async fn a_request_that_meets_a_login_waits_and_then_goes_on_without_a_jar() {
    for node in [0, 1] {
        let mut scene = Scene::of(2).await;
        let mut visitor = scene.visitor().await;
        let login = send(visitor.node(0), login());
        let forwarded = scene.origin.next().await;
        let begun = Instant::now();
        let page = send(visitor.node(node), Ask::get("/cart"));
        let under_way = scene.origin.next().await;
        let waited = begun.elapsed();
        assert!(waited >= Duration::from_millis(1900), "rule 18: 2 s on node {node}: {waited:?}");
        assert_eq!(lent(&under_way.request), "", "rule 18: an empty jar on node {node}");
        under_way.respond(ok(&["EGG_SESS=anonymous; Path=/"])).await;
        let page = page.kept(&mut visitor).await.expect(200);
        silent(&page, "rule 18: no Set-Cookie");
        forwarded.respond(welcome(&["EGG_SESS=alice; Path=/"])).await;
        login.kept(&mut visitor).await.expect(302);
        assert_eq!(scene.lent(&mut visitor).await, "EGG_SESS=alice");
    }
}

#[tokio::test]
async fn a_request_that_waited_for_a_login_goes_on_as_soon_as_it_is_over() {
    for node in [0, 1] {
        let mut scene = Scene::of(2).await;
        let mut visitor = scene.visitor().await;
        let login = send(visitor.node(0), login());
        let forwarded = scene.origin.next().await;
        let page = send(visitor.node(node), Ask::get("/cart"));
        tokio::time::sleep(Duration::from_millis(100)).await;
        assert_eq!(scene.origin.waiting(), 0, "rule 18: it waits on node {node}");
        forwarded.respond(welcome(&["EGG_SESS=alice; Path=/"])).await;
        login.kept(&mut visitor).await.expect(302);
        let late = scene.origin.answer(ok(&["EGG_SESS=anonymous; Path=/"])).await;
        assert_eq!(lent(&late), "", "rule 22: the moved record has no jar");
        let page = page.kept(&mut visitor).await.expect(200);
        silent(&page, "rule 22: no Set-Cookie");
        assert_eq!(scene.lent(&mut visitor).await, "EGG_SESS=alice", "on node {node}");
    }
}

#[tokio::test]
async fn a_login_that_fails_moves_the_record_away_from_who_waits() {
    for node in [0, 1] {
        let mut scene = Scene::of(2).await;
        let mut visitor = scene.visitor().await;
        let login = send(visitor.node(0), login());
        let forwarded = scene.origin.next().await;
        let page = send(visitor.node(node), Ask::get("/cart"));
        forwarded.respond(ok(&["EGG_SESS=failed-once; Path=/"])).await;
        let answer = login.kept(&mut visitor).await.expect(200);
        assert_eq!(answer.set_cookies().len(), 1, "rule 19: whatever the answer says");
        let waited = scene.origin.answer(ok(&[])).await;
        assert_eq!(lent(&waited), "", "rule 22: a moved record lends no jar");
        silent(&page.response().await.expect(200), "of the old ticket");
        assert_eq!(scene.lent(&mut visitor).await, "EGG_SESS=failed-once");
    }
}

#[tokio::test]
async fn of_two_logins_at_once_the_second_follows_the_first() {
    for node in [0, 1] {
        let mut scene = Scene::of(2).await;
        let mut visitor = scene.visitor().await;
        let first = send(visitor.node(0), login());
        let forwarded = scene.origin.next().await;
        let second = send(visitor.node(node), login());
        tokio::time::sleep(Duration::from_millis(100)).await;
        assert_eq!(scene.origin.waiting(), 0, "rule 18: it waits on node {node}");
        forwarded.respond(welcome(&["EGG_SESS=first; Path=/"])).await;
        first.kept(&mut visitor).await.expect(302);
        let repeated = scene.origin.answer(welcome(&["EGG_SESS=second; Path=/"])).await;
        assert_eq!(lent(&repeated), "", "the moved record has no jar");
        // Rule 22, double submit: the browser keeps the last ticket, which must be one.
        second.kept(&mut visitor).await.expect(302);
        assert_eq!(scene.lent(&mut visitor).await, "EGG_SESS=second", "on node {node}");
    }
}

#[tokio::test]
async fn a_second_login_that_overtakes_a_pending_one_sets_no_ticket() {
    let mut scene = Scene::of(2).await;
    let mut visitor = scene.visitor().await;
    let first = send(visitor.node(0), login());
    let forwarded = scene.origin.next().await;
    let second = send(visitor.node(1), login());
    let overtaking = scene.origin.next().await;
    assert_eq!(lent(&overtaking.request), "", "rule 18: 2 s later, with an empty jar");
    overtaking.respond(welcome(&["EGG_SESS=second; Path=/"])).await;
    silent(&second.kept(&mut visitor).await.expect(302), "rule 18: no Set-Cookie");
    forwarded.respond(welcome(&["EGG_SESS=first; Path=/"])).await;
    first.kept(&mut visitor).await.expect(302);
    assert_eq!(scene.lent(&mut visitor).await, "EGG_SESS=first");
}

#[tokio::test]
async fn a_second_login_that_is_answered_after_the_first_has_moved_sets_a_ticket() {
    let mut scene = Scene::of(2).await;
    let mut visitor = scene.visitor().await;
    let first = send(visitor.node(0), login());
    let forwarded = scene.origin.next().await;
    let second = send(visitor.node(1), login());
    let overtaking = scene.origin.next().await;
    forwarded.respond(welcome(&["EGG_SESS=first; Path=/"])).await;
    first.kept(&mut visitor).await.expect(302);
    overtaking.respond(welcome(&["EGG_SESS=second; Path=/"])).await;
    second.kept(&mut visitor).await.expect(302);
    assert_eq!(scene.lent(&mut visitor).await, "EGG_SESS=second", "rule 22: double submit");
}

#[tokio::test]
async fn a_login_that_nobody_settles_ends_its_session() {
    let mut scene = Scene::of(2).await;
    let mut visitor = scene.visitor().await;
    let login = send(visitor.node(0), login());
    let forwarded = scene.origin.next().await;
    scene.clock.advance(Duration::from_secs(31));
    let mut old = visitor.clone();
    let begun = Instant::now();
    assert_eq!(scene.lent(old.node(1)).await, "", "rule 20: ended after 30 s");
    assert!(begun.elapsed() < Duration::from_millis(1900), "nobody waits for what has ended");
    assert!(scene.may_begin_a_session(&mut old).await, "rule 20: an ended record binds nobody");
    forwarded.respond(welcome(&["EGG_SESS=alice; Path=/"])).await;
    silent(&login.response().await.expect(503), "rule 20: its answer comes too late");
    assert_eq!(scene.lent(visitor.node(1)).await, "", "the old ticket stays dead");
}

#[tokio::test]
async fn a_pending_login_has_thirty_seconds() {
    let mut scene = Scene::of(1).await;
    let mut visitor = scene.visitor().await;
    let login = send(&visitor, login());
    let forwarded = scene.origin.next().await;
    scene.clock.advance(Duration::from_secs(29));
    forwarded.respond(welcome(&["EGG_SESS=alice; Path=/"])).await;
    login.kept(&mut visitor).await.expect(302);
    assert_eq!(scene.lent(&mut visitor).await, "EGG_SESS=alice");
}
