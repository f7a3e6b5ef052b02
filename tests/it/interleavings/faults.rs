//! A login whose store fails at one of its three writes: withheld, and never two live records
//! (rule 19).

use std::time::Duration;

use super::tap::{Fault, Tap};
use super::*;

/// What is left of the old session once the store is back.
#[derive(Debug, PartialEq, Eq)]
enum Left {
    /// Its ticket lends its jar as before.
    All,
    /// Its ticket lends nothing, and a login on it sets a ticket at once.
    Moved,
    /// Its ticket lends nothing; nothing is decided for 30 s, then it has ended.
    Undecided,
}

#[tokio::test]
async fn before_the_record_is_pending_nothing_has_happened() {
    check(1, Fault::Lost, Left::All).await;
}

#[tokio::test]
async fn a_record_that_became_pending_without_anybody_knowing_is_given_back() {
    check(1, Fault::AnswerLost, Left::All).await;
}

#[tokio::test]
async fn a_record_that_could_not_be_moved_stays_pending() {
    check(2, Fault::Lost, Left::Undecided).await;
}

#[tokio::test]
async fn a_record_that_was_moved_without_anybody_knowing_lends_no_jar() {
    check(2, Fault::AnswerLost, Left::Moved).await;
}

#[tokio::test]
async fn a_successor_that_could_not_be_made_leaves_a_moved_record() {
    check(3, Fault::Lost, Left::Moved).await;
}

#[tokio::test]
async fn a_successor_that_was_made_without_anybody_knowing_is_nobody_s() {
    check(3, Fault::AnswerLost, Left::Moved).await;
}

async fn check(write: usize, fault: Fault, expected: Left) {
    let tap = Tap::start().await;
    let mut scene = Scene::with(2, |yaml, url| yaml.replace(url, &tap.lead_to(url))).await;
    let mut visitor = scene.visitor().await;
    tap.break_at(write, fault);
    let login = send(&visitor, login());
    if write > 1 {
        let forwarded = scene.origin.next().await;
        forwarded.respond(welcome(&["EGG_SESS=alice; Path=/"])).await;
    }
    let response = login.kept(&mut visitor).await.expect(503);
    silent(&response, "rules 8 and 19: the login is withheld");
    assert!(response.field("retry-after").is_some(), "it is worth trying again");
    assert!(tap.is_broken(), "the login has made {write} writes");
    assert_eq!(scene.origin.waiting(), 0, "the login was forwarded once at most");
    tap.mend();
    recovered(&mut scene).await;

    let made = usize::from((write, fault) == (3, Fault::AnswerLost));
    let probes = scene.nodes.len();
    assert_eq!(
        scene.redis.records().len(),
        1 + made + probes,
        "records of this visitor and others"
    );
    for node in [1, 0] {
        let lent = scene.lent(visitor.node(node)).await;
        let jar = if expected == Left::All { "EGG_SESS=before" } else { "" };
        assert_eq!(lent, jar, "rule 19: never two live records");
    }
    let answer = welcome(&["EGG_SESS=again; Path=/"]);
    let mut repeating = visitor.clone();
    scene.exchange(&mut repeating, super::login(), &answer).await.1.expect(302);
    let is_in = scene.lent(&mut repeating).await == "EGG_SESS=again";
    assert_eq!(is_in, expected != Left::Undecided, "whether a login may be repeated at once");
    if expected == Left::Undecided {
        scene.clock.advance(Duration::from_secs(31));
        assert_eq!(scene.lent(&mut visitor).await, "", "rule 20: it has ended");
        scene.exchange(&mut visitor, super::login(), &answer).await.1.expect(302);
        assert_eq!(scene.lent(&mut visitor).await, "EGG_SESS=again", "and a login works again");
    }
}

/// Waits until each node has its store again: a new visitor then gets a session there, one for
/// each node.
pub(super) async fn recovered(scene: &mut Scene) {
    let deadline = tokio::time::Instant::now() + crate::support::PATIENCE;
    for node in 0..scene.nodes.len() {
        loop {
            let sent = send(browser(&scene.nodes).node(node), Ask::get("/"));
            scene.origin.answer(ok(&["EGG_SESS=probe; Path=/"])).await;
            if sent.response().await.status == 200 {
                break;
            }
            assert!(tokio::time::Instant::now() < deadline, "node {node} finds its store again");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
}
