//! Which keys the nodes of a fleet have, as each announces it, and what follows for this one
//! (PROTOCOL.md 4). Names of keys only, never keys: they stand in every ticket.
//!
//! The fleet's key is the one that most live nodes seal with, so that a single node with a wrong ring
//! takes nobody out of service but itself. Nodes of a version that announces nothing do not count.
//!
//! An announcement is a version (1 byte), when the node began by the store's clock (8 bytes, Unix
//! milliseconds, big-endian), the key that it seals with (4 bytes), how many others open (1 byte),
//! those (4 bytes each), and the name of its machine. Who can write to the store can announce
//! anything; what does not read as one is nobody's.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use super::Announcement;
use crate::clock::UnixMillis;
use crate::crypto::keyring::{KEYS_MAX, KeyId, Keyring};

const VERSION: u8 = 1;
/// The longest name of a machine that Linux knows.
const NAME_BYTES_MAX: usize = 64;
/// Before anything that was not said when a node began is taken for granted it has been read so often,
/// one time after another: when the store comes back, others may not have announced themselves yet.
const READINGS_MIN: u32 = 3;

/// A node, and the keys that it has.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NodeKeys {
    /// Random, another one for each process.
    pub node: [u8; 16],
    pub machine: String,
    /// By the store's clock.
    pub began: UnixMillis,
    pub seals: KeyId,
    /// What opens beside that.
    pub accepts: Vec<KeyId>,
}

impl NodeKeys {
    /// A node with this ring. Of the machine's name only what is legible counts.
    pub fn new(node: [u8; 16], machine: &str, began: UnixMillis, ring: &Keyring) -> Self {
        Self {
            node,
            machine: machine.chars().filter(char::is_ascii_graphic).take(NAME_BYTES_MAX).collect(),
            began,
            seals: ring.sealing().id(),
            accepts: ring.in_use().skip(1).map(|key| key.id()).collect(),
        }
    }

    pub(super) fn announcement(&self) -> Announcement {
        let mut text = vec![VERSION];
        text.extend_from_slice(&self.began.0.to_be_bytes());
        text.extend_from_slice(&self.seals.0);
        text.push(u8::try_from(self.accepts.len()).unwrap_or(u8::MAX));
        for key in self.accepts.iter().take(usize::from(u8::MAX)) {
            text.extend_from_slice(&key.0);
        }
        text.extend_from_slice(self.machine.as_bytes());
        Announcement { node: self.node, text }
    }

    /// None where no node of this version can have said that.
    pub(super) fn read(announcement: &Announcement) -> Option<Self> {
        let (version, rest) = announcement.text.split_first()?;
        let (began, rest) = rest.split_first_chunk()?;
        let (seals, rest) = rest.split_first_chunk()?;
        let (accepted, rest) = rest.split_first()?;
        let (accepts, machine) = rest.split_at_checked(usize::from(*accepted) * 4)?;
        let is_legible = machine.iter().all(u8::is_ascii_graphic);
        if *version != VERSION
            || usize::from(*accepted) >= KEYS_MAX
            || machine.len() > NAME_BYTES_MAX
            || !is_legible
        {
            return None;
        }
        Some(Self {
            node: announcement.node,
            machine: String::from_utf8(machine.to_vec()).ok()?,
            began: UnixMillis(u64::from_be_bytes(*began)),
            seals: KeyId(*seals),
            accepts: accepts.as_chunks().0.iter().copied().map(KeyId).collect(),
        })
    }

    /// What opens, the one that seals first.
    pub fn opens(&self) -> impl Iterator<Item = KeyId> {
        std::iter::once(self.seals).chain(self.accepts.iter().copied())
    }

    /// Whether what this key sealed opens there.
    pub fn has(&self, key: KeyId) -> bool {
        self.opens().any(|own| own == key)
    }

    /// Those of the keys that it has not.
    pub fn lacks(&self, keys: &BTreeSet<KeyId>) -> Vec<KeyId> {
        keys.iter().copied().filter(|key| !self.has(*key)).collect()
    }
}

/// The machine and the process: `web-1 (3f2a91c0)`.
impl fmt::Display for NodeKeys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [a, b, c, d, ..] = self.node;
        write!(f, "{} ({a:02x}{b:02x}{c:02x}{d:02x})", self.machine)
    }
}

/// All keys that open anywhere.
pub fn keys_of(nodes: &[NodeKeys]) -> BTreeSet<KeyId> {
    nodes.iter().flat_map(NodeKeys::opens).collect()
}

/// How a node's ring stands to those of the fleet.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Standing {
    /// It seals with the fleet's key, or is alone.
    #[default]
    Agrees,
    /// It seals with another one and has the fleet's: keys are being rolled, or it was forgotten.
    SealsWithAnother(KeyId),
    /// What most nodes seal does not open here: it must not be sent users.
    Lacks(KeyId),
}

/// The key that most nodes seal with; of several the one of the eldest node among theirs.
fn fleets_key<'a>(own: &'a NodeKeys, others: &'a [NodeKeys]) -> KeyId {
    let mut sealed = BTreeMap::<KeyId, (usize, Reverse<(UnixMillis, [u8; 16])>)>::new();
    for node in others.iter().chain([own]) {
        let age = Reverse((node.began, node.node));
        let (count, eldest) = sealed.entry(node.seals).or_insert((0, age));
        *count += 1;
        *eldest = age.max(*eldest);
    }
    sealed.into_iter().max_by_key(|(_, found)| *found).map_or(own.seals, |(key, _)| key)
}

fn compared(own: &NodeKeys, others: &[NodeKeys]) -> Standing {
    match fleets_key(own, others) {
        key if key == own.seals => Standing::Agrees,
        key if own.has(key) => Standing::SealsWithAnother(key),
        key => Standing::Lacks(key),
    }
}

/// What a node has read of the others.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Others {
    /// As they were read last, each once; this node is not among them.
    pub nodes: Vec<NodeKeys>,
    /// How often in a row a key of the fleet was lacking; the first reading counts for as many as are
    /// wanted.
    lacking: u32,
    is_read: bool,
}

impl Others {
    /// What is known after a further reading.
    pub(super) fn next(&self, own: &NodeKeys, announced: &[Announcement]) -> Self {
        let mut nodes: Vec<NodeKeys> = announced.iter().filter_map(NodeKeys::read).collect();
        nodes.retain(|node| node.node != own.node);
        nodes.sort_by_key(|node| node.node);
        nodes.dedup_by_key(|node| node.node);
        let lacking = match (compared(own, &nodes), self.is_read) {
            (Standing::Lacks(_), true) => self.lacking.saturating_add(1),
            (Standing::Lacks(_), false) => READINGS_MIN,
            (Standing::Agrees | Standing::SealsWithAnother(_), _) => 0,
        };
        Self { nodes, lacking, is_read: true }
    }

    /// How the ring that the node has now stands to theirs.
    pub fn standing(&self, own: &NodeKeys) -> Standing {
        match compared(own, &self.nodes) {
            Standing::Lacks(_) if self.lacking < READINGS_MIN => Standing::Agrees,
            standing => standing,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::ANNOUNCEMENT_BYTES_MAX;

    fn key(n: u8) -> KeyId {
        KeyId([n; 4])
    }

    /// A node that began at `began`, with these keys, the sealing one first.
    fn node(number: u8, began: u64, keys: &[u8]) -> NodeKeys {
        NodeKeys {
            node: [number; 16],
            machine: format!("web-{number}"),
            began: UnixMillis(began),
            seals: key(keys[0]),
            accepts: keys[1..].iter().copied().map(key).collect(),
        }
    }

    fn announced(nodes: &[NodeKeys]) -> Vec<Announcement> {
        nodes.iter().map(NodeKeys::announcement).collect()
    }

    #[test]
    fn the_fleets_key_is_the_one_that_most_seal_with() {
        use Standing::{Agrees, Lacks, SealsWithAnother};
        let others = |sealing: &[&[u8]]| -> Vec<NodeKeys> {
            let numbered = (1..).zip(sealing);
            numbered.map(|(number, keys)| node(number, 100 + u64::from(number), keys)).collect()
        };
        for (what, own, began, sealing, expected) in [
            ("alone", &[1][..], 0, &[][..], Agrees),
            ("all alike", &[1], 0, &[&[1][..], &[1]], Agrees),
            ("one is wrong, not this one", &[1], 0, &[&[1], &[9]], Agrees),
            ("this one is", &[9], 0, &[&[1], &[1]], Lacks(key(1))),
            ("and was there first", &[9], 0, &[&[1], &[1], &[1, 9]], Lacks(key(1))),
            ("a key that is only accepted is no matter", &[1], 0, &[&[1, 2], &[1, 2]], Agrees),
            (
                "promoted elsewhere, known here",
                &[1, 2],
                0,
                &[&[2, 1], &[2, 1]],
                SealsWithAnother(key(2)),
            ),
            ("promoted elsewhere, unknown here", &[1], 0, &[&[2, 1], &[2, 1]], Lacks(key(2))),
            ("promoted here first", &[2, 1], 0, &[&[1, 2], &[1, 2]], SealsWithAnother(key(1))),
            ("as many each, and this one is older", &[1], 7, &[&[2, 1]], Agrees),
            ("as many each, and this one is younger", &[1], 700, &[&[2, 1]], Lacks(key(2))),
            ("two rotated at once, the elder here", &[2, 1], 7, &[&[3, 1]], Agrees),
            ("two rotated at once, the younger here", &[3, 1], 700, &[&[2, 1]], Lacks(key(2))),
            ("three keys, each once", &[3, 1], 700, &[&[1, 2], &[2, 1]], SealsWithAnother(key(1))),
            ("most, not the eldest, decide", &[2], 700, &[&[1], &[2], &[2]], Agrees),
        ] {
            let (own, others) = (node(200, began, own), others(sealing));
            let read = Others::default().next(&own, &announced(&others));
            assert_eq!(read.standing(&own), expected, "{what}");
            // Whoever is asked, there is one key of the fleet, and somebody has it.
            let all: Vec<_> = others.iter().chain([&own]).cloned().collect();
            let of = |at: usize| {
                let mut rest = all.clone();
                let own = rest.remove(at);
                (fleets_key(&own, &rest), own.seals)
            };
            let told: Vec<_> = (0..all.len()).map(of).collect();
            assert!(told.iter().all(|(key, _)| *key == told[0].0), "{what}: {told:?}");
            assert!(told.iter().any(|(key, seals)| key == seals), "{what}: {told:?}");
        }
    }

    #[test]
    fn a_tie_is_decided_by_the_store_s_clock_and_then_by_name() {
        let own = node(5, 100, &[1]);
        for (other, expected) in [
            (node(6, 99, &[2]), Standing::Lacks(key(2))),
            (node(6, 101, &[2]), Standing::Agrees),
            (node(4, 100, &[2]), Standing::Lacks(key(2))),
            (node(6, 100, &[2]), Standing::Agrees),
            // It has not heard the store's time yet.
            (node(4, u64::MAX, &[2]), Standing::Agrees),
        ] {
            let read = Others::default().next(&own, &announced(&[other]));
            assert_eq!(read.standing(&own), expected);
        }
    }

    #[test]
    fn a_single_reading_that_says_otherwise_is_not_believed() {
        let (own, same) = (node(1, 9, &[1]), announced(&[node(2, 1, &[1]), node(3, 1, &[1])]));
        let (odd, none) = (announced(&[node(4, 2, &[7])]), announced(&[]));
        let mut read = Others::default().next(&own, &same);
        for (announced, lacks) in [
            (&odd, false),
            (&odd, false),
            (&odd, true),
            (&odd, true),
            (&same, false),
            (&odd, false),
            (&none, false),
            (&odd, false),
        ] {
            read = read.next(&own, announced);
            let standing = read.standing(&own);
            assert_eq!(standing == Standing::Lacks(key(7)), lacks, "{standing:?}");
        }
        // What is there when a node begins has been there before.
        let first = Others::default().next(&own, &odd);
        assert_eq!(first.standing(&own), Standing::Lacks(key(7)));
        // The ring was read again, and has the key.
        let mended = node(1, 9, &[1, 7]);
        assert_eq!(first.standing(&mended), Standing::SealsWithAnother(key(7)));
    }

    #[test]
    fn a_node_is_no_other_and_nobody_counts_twice() {
        let own = node(1, 9, &[1]);
        let before = node(1, 9, &[7]);
        let read = Others::default().next(&own, &announced(&[before.clone(), before]));
        assert_eq!((read.nodes.len(), read.standing(&own)), (0, Standing::Agrees));
        let twice = announced(&[node(2, 1, &[7]), node(3, 8, &[1]), node(2, 1, &[7])]);
        let read = Others::default().next(&own, &twice);
        assert_eq!((read.nodes.len(), read.standing(&own)), (2, Standing::Agrees));
    }

    #[test]
    fn what_a_node_lacks_is_what_others_open() {
        let nodes = [node(1, 1, &[1, 2]), node(2, 2, &[2, 3])];
        let keys = keys_of(&nodes);
        assert_eq!(nodes.each_ref().map(|node| node.lacks(&keys)), [vec![key(3)], vec![key(1)]]);
        assert_eq!(nodes[0].to_string(), "web-1 (01010101)");
    }

    #[test]
    fn an_announcement_reads_as_what_was_said() {
        let most: Vec<u8> = (0..u8::try_from(KEYS_MAX).unwrap()).collect();
        for said in [node(1, 0, &[1]), node(2, u64::MAX, &[1, 2, 3]), node(3, 7, &most)] {
            let said = NodeKeys { machine: "x".repeat(NAME_BYTES_MAX), ..said };
            let announcement = said.announcement();
            assert!(announcement.text.len() <= ANNOUNCEMENT_BYTES_MAX);
            assert_eq!(NodeKeys::read(&announcement), Some(said));
        }
        let ring = Keyring::generate(UnixMillis(0)).unwrap();
        let name = format!("wéb\n-1 \u{1b}[31m{}", "x".repeat(100));
        let said = NodeKeys::new([1; 16], &name, UnixMillis(5), &ring);
        assert_eq!(said.machine.len(), NAME_BYTES_MAX);
        assert!(said.machine.starts_with("wb-1[31mx"), "{}", said.machine);
        assert_eq!(NodeKeys::read(&said.announcement()), Some(said));
    }

    #[test]
    fn what_no_node_says_is_nobodys() {
        let good = node(1, 5, &[1, 2]).announcement();
        let read = |text: Vec<u8>| NodeKeys::read(&Announcement { node: [1; 16], text });
        for length in 0..good.text.len() - "web-1".len() {
            assert_eq!(read(good.text[..length].to_vec()), None, "{length} bytes");
        }
        let with = |at: usize, byte: u8| {
            let mut text = good.text.clone();
            text[at] = byte;
            read(text)
        };
        assert!(with(12, 9).is_some());
        for (at, byte) in [(0, 0), (0, 2), (13, 64), (13, 255), (20, b'\n'), (20, 0x1b), (20, 0xc3)]
        {
            assert_eq!(with(at, byte), None, "{at} {byte}");
        }
        let long = [&good.text[..], &[b'x'; NAME_BYTES_MAX]].concat();
        assert_eq!(read(long), None);
    }
}
