//! Which keys the nodes of a fleet have, as a running process knows it.

use std::path::Path;

use serde::Deserialize;
use serde_json::Value;

use super::ask::{Place, shown};
use crate::crypto::keyring::KeyId;

/// What was read longer ago than an announcement holds says nothing of now.
const READ_AGO_MAX_SECS: u64 = 15;

/// What the process answers to `GET /keys`.
#[derive(Debug, Deserialize)]
pub(super) struct FleetKeys {
    this_node: String,
    fleet_seals: String,
    read_seconds_ago: Option<u64>,
    nodes: Vec<Node>,
}

#[derive(Debug, Deserialize)]
struct Node {
    node: String,
    seals: String,
    accepts: Vec<String>,
    lacks: Vec<String>,
}

impl FleetKeys {
    /// Asks the process there.
    pub(super) fn of(place: &Place, config: &Path) -> Result<Self, String> {
        Self::read(&place.get(config, "/keys")?)
    }

    fn read(answer: &Value) -> Result<Self, String> {
        Self::deserialize(answer).map_err(|error| format!("the answer makes no sense: {error}"))
    }

    /// How many nodes there are.
    pub(super) fn count(&self) -> usize {
        self.nodes.len()
    }

    /// Those that do not open what this key seals.
    pub(super) fn without(&self, key: KeyId) -> Vec<String> {
        let key = key.to_string();
        let lacking =
            self.nodes.iter().filter(|node| node.seals != key && !node.accepts.contains(&key));
        lacking.map(|node| shown(&node.node)).collect()
    }

    /// Why what is known may be out of date.
    pub(super) fn doubt(&self) -> Option<String> {
        match self.read_seconds_ago {
            None => Some("the store has never answered: other nodes are not known".to_owned()),
            Some(secs) if secs > READ_AGO_MAX_SECS => {
                Some(format!("the store has not answered for {secs} s: this is from before"))
            }
            Some(_) => None,
        }
    }

    /// A line for each node.
    pub(super) fn list(&self) -> String {
        let mut lines = Vec::new();
        for Node { node, seals, accepts, lacks } in &self.nodes {
            let mut line = format!("{}  seals {}", shown(node), shown(seals));
            for (word, keys) in [("accepts", accepts), ("lacks", lacks)] {
                if !keys.is_empty() {
                    line.push_str(&format!("  {word} {}", shown(&keys.join(" "))));
                }
            }
            if *node == self.this_node {
                line.push_str("  (asked)");
            }
            if lacks.contains(&self.fleet_seals) {
                line.push_str("  not ready");
            }
            lines.push(line);
        }
        lines.extend(self.doubt().map(|doubt| format!("warning: {doubt}")));
        lines.join("\n")
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn answer(read_seconds_ago: Option<u64>) -> FleetKeys {
        let answer = json!({
            "this_node": "web-1 (01010101)", "standing": "agrees", "fleet_seals": "0000000a",
            "read_seconds_ago": read_seconds_ago,
            "nodes": [
                { "node": "web-1 (01010101)", "seals": "0000000a", "accepts": ["0000000b"],
                  "lacks": ["0000000c"] },
                { "node": "web-2 (02\u{1b}020202)", "seals": "0000000c", "accepts": [],
                  "lacks": ["0000000a", "0000000b"] },
            ]
        });
        FleetKeys::read(&answer).unwrap()
    }

    #[test]
    fn nodes_are_listed_for_people() {
        let fleet = answer(Some(1));
        assert_eq!(
            fleet.list(),
            "web-1 (01010101)  seals 0000000a  accepts 0000000b  lacks 0000000c  (asked)\n\
             web-2 (02\u{fffd}020202)  seals 0000000c  lacks 0000000a 0000000b  not ready"
        );
        assert!(answer(None).list().ends_with(
            "warning: the store has never answered: other nodes \
                                               are not known"
        ));
        assert!(answer(Some(16)).list().contains("for 16 s"));
    }

    #[test]
    fn who_lacks_a_key_neither_seals_with_it_nor_accepts_it() {
        for (key, expected) in [
            (0xa, &["web-2 (02\u{fffd}020202)"][..]),
            (0xb, &["web-2 (02\u{fffd}020202)"]),
            (0xc, &["web-1 (01010101)"]),
            (0xd, &["web-1 (01010101)", "web-2 (02\u{fffd}020202)"]),
        ] {
            assert_eq!(answer(Some(0)).without(KeyId([0, 0, 0, key])), expected, "{key}");
        }
    }
}
