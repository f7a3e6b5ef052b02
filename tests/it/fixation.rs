//! Session fixation: whatever an attacker plants gains nothing while the victim logs in, nor after.

use crate::support::apps::App;
use crate::support::shop::{ALICE, HOST, Shop, TICKET, browser, whoami};

#[tokio::test]
async fn a_planted_ticket_gains_nothing() {
    let app = App::egg();
    let nodes = [Shop::at(app.address).start()];
    let mut attacker = browser(&nodes);
    attacker.get("/?touch=1").await.expect(200);
    let planted = attacker.cookie(TICKET).expect("a ticket").clone();
    let mut victim = browser(&nodes);
    let line = format!("{TICKET}={}; Path=/; Secure; HttpOnly", planted.value_text());
    victim.plant(HOST, true, &line).expect("as if the attacker had been at the victim's desk");
    victim.post_form("/login", ALICE).await.expect(302);
    assert_eq!(whoami(&mut victim).await.as_deref(), Some("alice"));
    assert_ne!(victim.cookie(TICKET).expect("a ticket").value, planted.value);
    assert_eq!(whoami(&mut attacker).await, None, "the planted ticket is dead");
}
