//! Ends of sessions, and what arrives after them (rules 8, 25, 26).

use super::faults::recovered;
use super::*;

#[tokio::test]
async fn an_answer_that_arrives_after_the_logout_is_fenced() {
    for node in [0, 1] {
        let mut scene = Scene::of(2).await;
        let mut visitor = scene.visitor().await;
        let mut thief = visitor.clone();
        let page = send(visitor.node(node), Ask::get("/cart"));
        let under_way = scene.origin.next().await;
        let logout = Ask::new("POST", "/logout");
        let (_, response) = scene.exchange(visitor.node(0), logout, &farewell()).await;
        expires(&response.expect(302));
        under_way.respond(ok(&["EGG_SESS=late; Path=/"])).await;
        let page = page.kept(&mut visitor).await.expect(200);
        silent(&page, "rule 25: the record ended meanwhile");
        assert!(visitor.cookie(TICKET).is_none(), "the user stays logged out");
        for node in [0, 1] {
            assert_eq!(scene.lent(thief.node(node)).await, "", "nothing was stored");
        }
    }
}

#[tokio::test]
async fn a_late_deletion_does_not_take_away_the_ticket_of_a_login() {
    let mut scene = Scene::of(2).await;
    let mut visitor = scene.visitor().await;
    let page = send(visitor.node(1), Ask::get("/cart"));
    let under_way = scene.origin.next().await;
    let answer = welcome(&["EGG_SESS=alice; Path=/"]);
    scene.exchange(visitor.node(0), login(), &answer).await.1.expect(302);
    under_way.respond(ok(&["EGG_SESS=; Path=/; Max-Age=0"])).await;
    silent(&page.kept(&mut visitor).await.expect(200), "rules 8 and 25");
    assert_eq!(scene.lent(&mut visitor).await, "EGG_SESS=alice");
}

#[tokio::test]
async fn a_logout_that_cannot_be_written_is_not_acknowledged() {
    let mut scene = Scene::of(2).await;
    let mut visitor = scene.visitor().await;
    let logout = send(&visitor, Ask::new("POST", "/logout"));
    let forwarded = scene.origin.next().await;
    scene.redis.kill9();
    forwarded.respond(farewell()).await;
    let response = logout.kept(&mut visitor).await.expect(503);
    silent(&response, "rule 8: an outage expires no ticket");
    assert!(response.field("retry-after").is_some(), "it is worth trying again");
    scene.redis.start_again();
    recovered(&mut scene).await;
    assert_eq!(scene.lent(&mut visitor).await, "EGG_SESS=before", "nothing was acknowledged");
    let logout = Ask::new("POST", "/logout");
    expires(&scene.exchange(&mut visitor, logout, &farewell()).await.1.expect(302));
}

#[tokio::test]
async fn deletion_of_every_session_cookie_ends_the_session() {
    let mut scene = Scene::of(1).await;
    let mut visitor = scene.visitor().await;
    let both = ok(&["EGG_SESS.sig=signed; Path=/"]);
    silent(&scene.exchange(&mut visitor, Ask::get("/"), &both).await.1, "the ticket is the same");
    let mut thief = visitor.clone();
    let one = ok(&["EGG_SESS.sig=; Path=/; Expires=Thu, 01 Jan 1970 00:00:00 GMT"]);
    let (_, response) = scene.exchange(&mut visitor, Ask::new("POST", "/bye"), &one).await;
    silent(&response.expect(200), "one cookie is left");
    assert_eq!(scene.lent(&mut visitor).await, "EGG_SESS=before");
    let other = ok(&["EGG_SESS=; path=/; expires=Thu, 01 Jan 1970 00:00:00 GMT; httponly"]);
    let (_, response) = scene.exchange(&mut visitor, Ask::new("POST", "/bye"), &other).await;
    expires(&response.expect(200));
    assert_eq!(scene.lent(&mut thief).await, "", "rule 26: deletion by the application");
}

#[tokio::test]
async fn a_deletion_under_another_path_deletes_nothing() {
    let mut scene = Scene::of(1).await;
    let mut visitor = scene.visitor().await;
    let answer = ok(&["EGG_SESS=; Path=/elsewhere; Max-Age=0"]);
    silent(&scene.exchange(&mut visitor, Ask::get("/"), &answer).await.1, "RFC 6265bis 5.7");
    assert_eq!(scene.lent(&mut visitor).await, "EGG_SESS=before");
}
