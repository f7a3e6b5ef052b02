//! The ticket that a login replaced: silent, unless its successor was never seen (rule 22).

use std::time::Duration;

use super::*;

/// A visitor who logged in, and a copy of the browser from before.
async fn logged_in(scene: &mut Scene) -> (Browser, Browser) {
    let mut visitor = scene.visitor().await;
    let old = visitor.clone();
    let answer = welcome(&["EGG_SESS=alice; Path=/"]);
    let (_, response) = scene.exchange(&mut visitor, login(), &answer).await;
    response.expect(302);
    (visitor, old)
}

#[tokio::test]
async fn it_is_silent_for_thirty_seconds_and_counts_for_none_afterwards() {
    let mut scene = Scene::of(2).await;
    let (mut visitor, mut old) = logged_in(&mut scene).await;
    assert!(!scene.may_begin_a_session(&mut old).await, "within 30 s");
    assert_eq!(scene.lent(&mut visitor).await, "EGG_SESS=alice");
    scene.clock.advance(Duration::from_secs(31));
    for node in [0, 1] {
        assert_eq!(scene.lent(old.node(node)).await, "", "it has no jar");
        let mut late = old.clone();
        assert!(scene.may_begin_a_session(late.node(node)).await, "late requests are over");
        assert_eq!(scene.lent(visitor.node(node)).await, "EGG_SESS=alice", "which lives on");
    }
}

#[tokio::test]
async fn if_its_successor_was_never_seen_that_ends_and_a_session_may_begin() {
    let mut scene = Scene::of(2).await;
    let (mut visitor, mut old) = logged_in(&mut scene).await;
    scene.clock.advance(Duration::from_secs(29));
    assert!(!scene.may_begin_a_session(old.node(1)).await, "the answer may still arrive");
    scene.clock.advance(Duration::from_secs(2));
    assert!(scene.may_begin_a_session(old.node(1)).await, "the answer was lost");
    assert_eq!(scene.lent(&mut old).await, "EGG_SESS=new");
    assert_eq!(scene.lent(&mut visitor).await, "", "the successor that nobody saw has ended");
}

#[tokio::test]
async fn a_login_whose_answer_was_lost_can_be_repeated_at_once() {
    for node in [0, 1] {
        let mut scene = Scene::of(2).await;
        let (_, mut old) = logged_in(&mut scene).await;
        let answer = welcome(&["EGG_SESS=again; Path=/"]);
        let (request, response) = scene.exchange(old.node(node), login(), &answer).await;
        assert_eq!(lent(&request), "", "a moved record lends no jar");
        response.expect(302);
        assert_eq!(scene.lent(&mut old).await, "EGG_SESS=again", "on node {node}");
    }
}

#[tokio::test]
async fn a_login_that_fails_on_it_sets_no_ticket() {
    let mut scene = Scene::of(1).await;
    let (_, mut old) = logged_in(&mut scene).await;
    let answer = ok(&["EGG_SESS=anonymous; Path=/"]);
    let (_, response) = scene.exchange(&mut old, login(), &answer).await;
    silent(&response.expect(200), "only a success sets one");
}
