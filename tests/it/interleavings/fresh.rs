//! New sessions: when they are made, how long they wait, and which answer settles them.

use std::time::Duration;

use super::*;

#[tokio::test]
async fn an_anonymous_session_whose_ticket_never_came_back_is_gone_after_15_minutes() {
    let mut scene = Scene::of(1).await;
    let mut visitor = scene.newcomer().await;
    scene.clock.advance(Duration::from_secs(15 * 60 + 1));
    assert_eq!(scene.lent(&mut visitor).await, "", "rule 9");
    assert!(scene.may_begin_a_session(&mut visitor).await, "and another may begin");
}

#[tokio::test]
async fn an_anonymous_session_whose_ticket_came_back_lives_as_long_as_others() {
    let mut scene = Scene::of(2).await;
    let mut visitor = scene.newcomer().await;
    scene.clock.advance(Duration::from_secs(15 * 60 - 1));
    assert_eq!(scene.lent(&mut visitor).await, "EGG_SESS=before", "rule 9: 15 minutes");
    for node in [1, 0] {
        // The idle time is 30 minutes.
        scene.clock.advance(Duration::from_secs(29 * 60));
        assert_eq!(scene.lent(visitor.node(node)).await, "EGG_SESS=before");
    }
    scene.clock.advance(Duration::from_secs(31 * 60));
    assert_eq!(scene.lent(&mut visitor).await, "", "rule 26: idle");
}

/// The limit is on those whose ticket has not come back.
#[tokio::test]
async fn a_ticket_that_comes_back_with_a_login_makes_room_for_the_next_visitor() {
    let origin = Responder::start(|request| match request.target.as_str() {
        "/login" => welcome(&["EGG_SESS=alice; Path=/"]),
        _ => ok(&["EGG_SESS=form; Path=/"]),
    })
    .await;
    let node = [Shop::at(origin.address).in_memory().policy("anonymous_waiting: 1").start()];
    let (mut alice, mut next, mut late) = (browser(&node), browser(&node), browser(&node));
    alice.get("/form").await.expect(200);
    alice.send(login()).await.expect(302);
    for (visitor, has_session) in [(&mut next, true), (&mut late, false)] {
        visitor.get("/form").await.expect(200);
        assert_eq!(visitor.cookie(TICKET).is_some(), has_session);
    }
}

#[tokio::test]
async fn cookies_are_settled_once_with_the_final_head() {
    let mut scene = Scene::of(1).await;
    let mut visitor = browser(&scene.nodes);
    let hints = "HTTP/1.1 103 Early Hints\r\nLink: </a.css>; rel=preload\r\n\
                 Set-Cookie: EGG_SESS=early; Path=/\r\nSet-Cookie: other=early\r\n\r\n";
    let both = |last: Vec<u8>| [hints.as_bytes(), &last].concat();
    let first = both(ok(&["EGG_SESS=before; Path=/"]));
    let (_, page) = scene.exchange(&mut visitor, Ask::get("/"), &first).await;
    assert_eq!(page.status, 200);
    assert_eq!(page.set_cookies().len(), 1, "{:?}", page.set_cookies());
    for interim in &page.interim {
        assert!(!interim.fields.has("set-cookie"), "rule 26: only a final head settles");
    }
    assert_eq!(scene.lent(&mut visitor).await, "EGG_SESS=before");
    let second = both(welcome(&["EGG_SESS=alice; Path=/"]));
    let (_, page) = scene.exchange(&mut visitor, login(), &second).await;
    assert_eq!(page.status, 302);
    assert_eq!(page.set_cookies().len(), 1, "{:?}", page.set_cookies());
    assert_eq!(scene.lent(&mut visitor).await, "EGG_SESS=alice");
    assert_eq!(scene.redis.records().len(), 2, "the moved record and its successor");
}

#[tokio::test]
async fn a_cross_site_request_that_the_browser_stripped_of_its_ticket_makes_no_session() {
    let mut scene = Scene::of(1).await;
    let mut visitor = scene.visitor().await;
    let ticket = visitor.cookie(TICKET).expect("a ticket").value.clone();
    let answer = ok(&["EGG_SESS=planted; Path=/"]);
    for ask in [
        Ask::form("/comments", &[("text", "hello")]).cross_site_navigation(),
        Ask::form("/comments", &[("text", "hello")]).cross_site_subresource(),
    ] {
        let (request, response) = scene.exchange(&mut visitor, ask, &answer).await;
        assert_eq!(lent(&request), "", "SameSite=Lax keeps the ticket back");
        silent(&response.expect(200), "rule 10: it would overwrite the ticket");
    }
    assert_eq!(visitor.cookie(TICKET).expect("a ticket").value, ticket);
    assert_eq!(scene.redis.records().len(), 1, "no record was made");
    assert_eq!(scene.lent(&mut visitor).await, "EGG_SESS=before");
    // A link is followed with the ticket under Lax; without one there is none to overwrite.
    let link = Ask::get("/").cross_site_navigation();
    let mut stranger = browser(&scene.nodes);
    scene.exchange(&mut stranger, link, &answer).await.1.expect(200);
    assert_eq!(scene.lent(&mut stranger).await, "EGG_SESS=planted");
}

#[tokio::test]
async fn a_login_from_another_site_never_reaches_the_application() {
    let mut scene = Scene::of(1).await;
    let mut visitor = scene.visitor().await;
    let stranger = browser(&scene.nodes);
    // A browser that ignores SameSite sends the ticket along.
    let ticket = visitor.cookie(TICKET).expect("a ticket").value_text();
    let with_ticket =
        login().cross_site_navigation().field("Cookie", &format!("{TICKET}={ticket}"));
    for (who, ask) in [
        (&visitor, login().cross_site_navigation()),
        (&stranger, login().cross_site_navigation()),
        (&stranger, login().cross_site_subresource()),
        (&stranger, with_ticket),
    ] {
        let response = send(who, ask).response().await.expect(403);
        silent(&response, "rule 24");
    }
    assert_eq!(scene.origin.waiting(), 0, "rule 24: refused before it is forwarded");
    assert_eq!(scene.lent(&mut visitor).await, "EGG_SESS=before", "its record is untouched");
}
