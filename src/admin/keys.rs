//! `GET /keys`: which keys the live nodes have, as each of them says, and how this one's stand to
//! them. Keys by name; there is nothing of a key itself.

use serde_json::{Value, json};

use crate::crypto::keyring::KeyId;
use crate::store::key_watch::KeyWatch;
use crate::store::node_keys::{Standing, keys_of};

/// `lacks` are the keys that other live nodes open. `read_seconds_ago` is null where the store never
/// answered.
pub(super) fn shown(watch: &KeyWatch) -> Value {
    let (nodes, standing) = (watch.nodes(), watch.standing());
    let all = keys_of(&nodes);
    let names = |keys: &mut dyn Iterator<Item = KeyId>| -> Vec<String> {
        keys.map(|key| key.to_string()).collect()
    };
    let shown = nodes.iter().map(|node| {
        json!({
            "node": node.to_string(),
            "seals": node.seals.to_string(),
            "accepts": names(&mut node.accepts.iter().copied()),
            "lacks": names(&mut node.lacks(&all).into_iter()),
        })
    });
    let (word, fleet) = match standing {
        Standing::Agrees => ("agrees", nodes.first().map(|own| own.seals)),
        Standing::SealsWithAnother(key) => ("seals_with_another", Some(key)),
        Standing::Lacks(key) => ("lacks", Some(key)),
    };
    json!({
        "this_node": nodes.first().map(ToString::to_string),
        "standing": word,
        "fleet_seals": fleet.map(|key| key.to_string()),
        "read_seconds_ago": watch.read_ago().map(|ago| ago.as_secs()),
        "nodes": shown.collect::<Vec<_>>(),
    })
}
