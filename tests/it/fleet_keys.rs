//! What nodes tell each other of their keys (PROTOCOL 4): who lacks the key that the fleet seals with
//! gets no users, and the operator is told who that is before it matters.

use std::time::Duration;

use serde_json::Value;

use crate::keys::Fleet;
use crate::support::admin::{ask, socket};
use crate::support::proxy::Binary;
use crate::support::within;

/// Polls a page of a node until it is as wanted; its text.
async fn until(
    fleet: &Fleet,
    node: usize,
    page: &str,
    is_so: impl Fn(u16, &str) -> bool,
) -> String {
    let socket = socket(&fleet.nodes[node]);
    let request = format!("GET {page} HTTP/1.1\r\nHost: admin\r\nConnection: close\r\n\r\n");
    within(page, async {
        loop {
            let (status, _, text) = ask(&socket, &request).await;
            if is_so(status, &text) {
                return text;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    })
    .await
}

async fn nodes(fleet: &Fleet, node: usize, is_so: impl Fn(&[Value]) -> bool) -> Value {
    let parsed = |text: &str| serde_json::from_str::<Value>(text).expect("JSON");
    let is_so = |status, text: &str| {
        status == 200 && is_so(parsed(text)["nodes"].as_array().expect("a list"))
    };
    parsed(&until(fleet, node, "/keys", is_so).await)
}

/// `keys …` with a node to ask: whether it did it, and what it said.
fn asking(fleet: &Fleet, arguments: &[&str]) -> (bool, String) {
    let admin = format!("unix:{}", socket(&fleet.nodes[0]).display());
    let done = Binary::run(&[&["keys"], arguments, &["--admin", &admin]].concat());
    let said = [done.stdout, done.stderr].concat();
    (done.status.success(), String::from_utf8(said).expect("text"))
}

#[tokio::test]
async fn a_node_that_lacks_the_fleets_key_is_not_ready_until_its_file_has_it() {
    let fleet = Fleet::start().await;
    until(&fleet, 1, "/readyz", |_, text| text == "ready\n").await;
    fleet.keys("rotate", &[]);
    let new = fleet.key("accept");
    fleet.keys("promote", &[&new]);
    // The elder node's key counts, of two.
    fleet.reload(0);
    let why = until(&fleet, 1, "/readyz", |status, _| status == 503).await;
    assert!(why.contains(&format!("this node lacks the key {new}")), "{why}");
    let ready = until(&fleet, 0, "/readyz", |_, _| true).await;
    assert_eq!(ready, "ready\n", "who has it is");
    for (node, lacks) in [(0, 0), (1, 1)] {
        for (series, value) in [
            ("cloakroom_nodes", 2),
            ("cloakroom_keyring_lacks_fleet_key", lacks),
            ("cloakroom_keyring_seals_with_another", lacks),
        ] {
            assert_eq!(fleet.metric(node, series).await, Some(value), "{series} of node {node}");
        }
    }
    let known = nodes(&fleet, 1, |nodes| nodes.len() == 2).await;
    assert_eq!((&known["standing"], &known["fleet_seals"]), (&"lacks".into(), &new.clone().into()));
    assert_eq!(known["nodes"][0]["lacks"], Value::from(vec![new]), "itself first");
    // Nobody has to tell it that there is another file.
    fleet.hand_out(1);
    fleet.clock.advance(Duration::from_secs(2));
    until(&fleet, 1, "/readyz", |status, text| (status, text) == (200, "ready\n")).await;
    assert_eq!(fleet.metric(1, "cloakroom_keyring_lacks_fleet_key").await, Some(0));
}

#[tokio::test]
async fn a_node_that_seals_with_another_key_and_has_the_fleets_is_ready() {
    let fleet = Fleet::start().await;
    let old = fleet.key("primary");
    fleet.keys("rotate", &[]);
    fleet.reload(0);
    fleet.reload(1);
    let new = fleet.key("accept");
    fleet.keys("promote", &[&new]);
    fleet.reload(1);
    let warning = format!("- this node seals with the key {new}, most nodes with {old}");
    until(&fleet, 1, "/readyz", |status, text| status == 200 && text.contains(&warning)).await;
    until(&fleet, 0, "/readyz", |_, text| text == "ready\n").await;
    fleet.reload(0);
    until(&fleet, 1, "/readyz", |_, text| text == "ready\n").await;
}

#[tokio::test]
async fn a_key_that_a_live_node_lacks_is_promoted_by_force_alone() {
    let fleet = Fleet::start().await;
    nodes(&fleet, 0, |nodes| nodes.len() == 2).await;
    fleet.keys("rotate", &[]);
    let (ring, new) = (fleet.ring.display().to_string(), fleet.key("accept"));
    fleet.reload(0);
    let (done, said) = asking(&fleet, &["promote", &ring, &new]);
    assert!(!done && said.contains(&format!("live nodes lack {new}: ")), "{said}");
    assert!(said.contains("--force"), "{said}");
    assert_eq!(fleet.key("accept"), new, "nothing was changed");
    let (done, listed) = asking(&fleet, &["nodes"]);
    assert!(done, "{listed}");
    let lines: Vec<_> = listed.lines().collect();
    assert_eq!(lines.len(), 2, "{listed}");
    assert!(
        lines[0].ends_with("(asked)") && lines[1].ends_with(&format!("lacks {new}")),
        "{listed}"
    );

    fleet.reload(1);
    let has_it = |node: &Value| node["lacks"].as_array().is_some_and(Vec::is_empty);
    nodes(&fleet, 0, |nodes| nodes.iter().all(has_it)).await;
    let (done, said) = asking(&fleet, &["promote", &ring, &new]);
    assert!(done && said.contains("it opens on all 2 live nodes"), "{said}");

    let said = fleet.keys("rotate", &[]);
    let newer = said.split_once("added ").expect("a key").1[..8].to_owned();
    let (done, said) = asking(&fleet, &["promote", &ring, &newer, "--force"]);
    assert!(done && said.contains(&format!("note: live nodes lack {newer}: ")), "{said}");
    assert_eq!(fleet.key("primary"), newer);
}

/// Nobody asks about a node that was stopped in order; one that died is forgotten with its time.
#[tokio::test]
async fn a_node_that_ends_takes_back_what_it_has_announced() {
    let mut fleet = Fleet::start().await;
    nodes(&fleet, 0, |nodes| nodes.len() == 2).await;
    fleet.nodes.pop().expect("two").stop();
    assert_eq!(fleet.redis.cli(&["ZCARD", "cloakroom:nodes"]), "1");
    nodes(&fleet, 0, |nodes| nodes.len() == 1).await;
}
