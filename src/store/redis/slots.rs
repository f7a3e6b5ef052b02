//! What a Redis Cluster says of itself: which slot a key lies in, which master has which slot, and
//! where else to ask. Pure: answers in, tables out. (Redis Cluster Specification, "Key distribution
//! model" and "Redirection and resharding".)
//!
//! Everything here was said by a peer and is bounded: a host's length, the number of masters and of
//! nodes. An answer that breaks a bound is refused as a whole; the table that was there stays.

use std::fmt;
use std::ops::RangeInclusive;

use redis::{ErrorKind, RedisError, ServerErrorKind, Value};

/// How many slots a cluster has.
pub(super) const SLOTS: u16 = 16_384;
/// The most masters that we connect to.
pub(super) const MASTERS_MAX: usize = 256;
/// The most nodes that are remembered to be asked about the cluster.
pub(super) const NODES_MAX: usize = 64;
/// The longest host name (RFC 1035, 2.3.4).
const HOST_BYTES_MAX: usize = 255;
/// The owner of a slot that nobody has.
const NOBODY: u16 = u16::MAX;

/// The slot of a key: of what stands between its first `{` and the next `}`, if there is something,
/// else of all of it.
pub(super) fn slot_of(key: &[u8]) -> u16 {
    let tag = key.iter().position(|b| *b == b'{').and_then(|open| {
        let rest = &key[open + 1..];
        let length = rest.iter().position(|b| *b == b'}')?;
        (length > 0).then(|| &rest[..length])
    });
    crc16::State::<crc16::XMODEM>::calculate(tag.unwrap_or(key)) % SLOTS
}

/// Where a node listens.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) struct Address {
    pub(super) host: String,
    pub(super) port: u16,
}

impl Address {
    pub(super) fn new(host: &str, port: u16) -> Self {
        Self { host: host.to_owned(), port }
    }

    /// Reads `host:port`, where an IPv6 address has no brackets. No host at all is the one that was
    /// asked; `?` is one that the node does not know.
    fn parse(text: &str, asked: &str) -> Option<Self> {
        let (host, port) = text.rsplit_once(':')?;
        Self::checked(host, port.parse().ok()?, asked)
    }

    fn checked(host: &str, port: u16, asked: &str) -> Option<Self> {
        let host = match host {
            // What a node says that listens everywhere and was told no better.
            "" | "0.0.0.0" | "::" => asked,
            "?" => return None,
            host => host,
        };
        let is_host = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'-' | b'_' | b':');
        let is_valid =
            (1..=HOST_BYTES_MAX).contains(&host.len()) && host.bytes().all(is_host) && port > 0;
        is_valid.then(|| Self::new(host, port))
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.host.contains(':') {
            true => write!(f, "[{}]:{}", self.host, self.port),
            false => write!(f, "{}:{}", self.host, self.port),
        }
    }
}

impl fmt::Debug for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// What a node answered instead of doing what it was asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Redirect {
    /// The slot has another master; none where it was not told, or cannot be one.
    Moved(u16, Option<Address>),
    /// The slot is on its way to another master, which has this key, or would have it.
    Ask(Address),
    /// Some of the keys are here and some there, for a moment.
    TryAgain,
    /// The cluster, or this part of it, does not serve.
    Down,
}

impl Redirect {
    /// Reads an error; nothing where it is none of these. `asked` is the host that answered.
    pub(super) fn of(error: &RedisError, asked: &str) -> Option<Self> {
        let ErrorKind::Server(kind) = error.kind() else { return None };
        let target = || error.redirect_node().filter(|(_, slot)| *slot < SLOTS);
        match kind {
            ServerErrorKind::Moved => target().map(|(node, slot)| {
                let address = Address::parse(node, asked);
                Self::Moved(slot, address)
            }),
            ServerErrorKind::Ask => {
                target().and_then(|(node, _)| Address::parse(node, asked)).map(Self::Ask)
            }
            ServerErrorKind::TryAgain => Some(Self::TryAgain),
            ServerErrorKind::ClusterDown => Some(Self::Down),
            _ => None,
        }
    }
}

/// What a node says about the cluster's state (`CLUSTER INFO`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Standing {
    /// Whether it serves: it sees a majority, and all slots where it insists on that.
    pub(super) is_ok: bool,
    /// The latest epoch that it heard of. Whoever missed a failover is behind.
    pub(super) epoch: u64,
}

impl Standing {
    pub(super) fn parse(text: &str) -> Option<Self> {
        let field = |name| {
            text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':')).map(str::trim)
        };
        Some(Self {
            is_ok: field("cluster_state")? == "ok",
            epoch: field("cluster_current_epoch")?.parse().ok()?,
        })
    }
}

/// What a node says about the slots (`CLUSTER SLOTS`): the deprecated command, because every server
/// from Redis 3 to 8 and Valkey knows it, and it names one address per node, the one that
/// is meant for this client: with the port for TLS where it asked over TLS, and with the host name
/// where `cluster-preferred-endpoint-type` says so.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct View {
    ranges: Vec<(RangeInclusive<u16>, Address)>,
    /// Masters and replicas, as far as they are remembered.
    pub(super) nodes: Vec<Address>,
}

impl View {
    /// Reads the answer of the node at `asked`.
    ///
    /// # Errors
    /// Says what is wrong with it.
    pub(super) fn parse(answer: &Value, asked: &str) -> Result<Self, &'static str> {
        let Value::Array(items) = answer else { return Err("no list of slots") };
        let mut view = Self::default();
        let mut left = usize::from(SLOTS);
        for item in items {
            let Value::Array(fields) = item else { return Err("a range that is no list") };
            let [Value::Int(first), Value::Int(last), Value::Array(master), replicas @ ..] =
                &fields[..]
            else {
                return Err("a range of another form");
            };
            let slot = |n: &i64| u16::try_from(*n).ok().filter(|slot| *slot < SLOTS);
            let (Some(first), Some(last)) = (slot(first), slot(last)) else {
                return Err("a slot that does not exist");
            };
            let range = first..=last;
            if range.is_empty() {
                return Err("an empty range");
            }
            left = left.checked_sub(range.len()).ok_or("more slots than there are")?;
            // A master whose address the node does not know (yet) cannot be reached.
            if let Some(master) = node(master, asked) {
                view.remember(&master);
                view.ranges.push((range, master));
            }
            for replica in replicas {
                if let Value::Array(replica) = replica
                    && let Some(replica) = node(replica, asked)
                {
                    view.remember(&replica);
                }
            }
        }
        Ok(view)
    }

    fn remember(&mut self, node: &Address) {
        if self.nodes.len() < NODES_MAX && !self.nodes.contains(node) {
            self.nodes.push(node.clone());
        }
    }
}

/// A node in a range: preferred endpoint, port, identifier, and from Redis 7 on what else is known.
fn node(fields: &[Value], asked: &str) -> Option<Address> {
    let [endpoint, Value::Int(port), rest @ ..] = fields else { return None };
    let port = u16::try_from(*port).ok()?;
    let host = match endpoint {
        Value::Nil => "",
        other => text(other)?,
    };
    // A node that was given no host name, though names are preferred, still has an address.
    let ip = || rest.iter().find_map(|other| entry(other, "ip"));
    let host = if host == "?" { ip()? } else { host };
    Address::checked(host, port, asked)
}

/// An entry of a map, which is a list of names and values in RESP2.
fn entry<'a>(value: &'a Value, name: &str) -> Option<&'a str> {
    match value {
        Value::Map(entries) => entries
            .iter()
            .find(|(key, _)| text(key) == Some(name))
            .and_then(|(_, value)| text(value)),
        Value::Array(flat) => flat
            .chunks_exact(2)
            .find(|pair| text(&pair[0]) == Some(name))
            .and_then(|pair| text(&pair[1])),
        _ => None,
    }
}

fn text(value: &Value) -> Option<&str> {
    match value {
        Value::BulkString(bytes) => std::str::from_utf8(bytes).ok(),
        Value::SimpleString(text) => Some(text),
        _ => None,
    }
}

/// Which master has which slot.
#[derive(Clone, PartialEq, Eq)]
pub(super) struct SlotMap {
    /// By slot, an index into `masters`, or [`NOBODY`].
    owners: Vec<u16>,
    masters: Vec<Address>,
}

impl SlotMap {
    /// # Errors
    /// Where there are more masters than we connect to.
    pub(super) fn of(view: &View) -> Result<Self, &'static str> {
        let mut map = Self::default();
        for (range, master) in &view.ranges {
            let index = map.index_of(master)?;
            for slot in range.clone() {
                map.owners[usize::from(slot)] = index;
            }
        }
        Ok(map)
    }

    fn index_of(&mut self, master: &Address) -> Result<u16, &'static str> {
        let index = match self.masters.iter().position(|known| known == master) {
            Some(index) => index,
            None if self.masters.len() < MASTERS_MAX => {
                self.masters.push(master.clone());
                self.masters.len() - 1
            }
            None => return Err("more masters than are supported"),
        };
        u16::try_from(index).map_err(|_| "more masters than are supported")
    }

    pub(super) fn masters(&self) -> &[Address] {
        &self.masters
    }

    /// The index of a slot's master in [`Self::masters`].
    pub(super) fn owner(&self, slot: u16) -> Option<usize> {
        self.owners
            .get(usize::from(slot))
            .filter(|owner| **owner != NOBODY)
            .copied()
            .map(usize::from)
    }

    pub(super) fn address(&self, slot: u16) -> Option<&Address> {
        self.masters.get(self.owner(slot)?)
    }

    /// How many slots have no master.
    pub(super) fn uncovered(&self) -> usize {
        self.owners.iter().filter(|owner| **owner == NOBODY).count()
    }

    /// How many slots had a master in `before` that is not the one that they have here.
    pub(super) fn moved_since(&self, before: &Self) -> usize {
        (0..SLOTS)
            .filter(|slot| before.owner(*slot).is_some())
            .filter(|slot| before.address(*slot) != self.address(*slot))
            .count()
    }
}

/// Nobody has anything.
impl Default for SlotMap {
    fn default() -> Self {
        Self { owners: vec![NOBODY; usize::from(SLOTS)], masters: Vec::new() }
    }
}

impl fmt::Debug for SlotMap {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SlotMap")
            .field("masters", &self.masters)
            .field("uncovered", &self.uncovered())
            .finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slot_is_the_checksum_of_the_hash_tag() {
        // The specification's own examples, and what `CLUSTER KEYSLOT` says.
        for (key, slot) in [
            (&b"123456789"[..], 0x31c3),
            (b"foo", 12182),
            (b"{user1000}.following", 3443),
            (b"user1000", 3443),
            (b"foo{}{bar}", 8363),
            (b"foo{{bar}}zap", 4015),
            (b"{bar", 4015),
            (b"foo{bar}{zap}", 5061),
            (b"bar", 5061),
            (b"", 0),
            (b"cloakroom:{AQEBAQEBAQE}:s:AQEBAQEBAQEBAQEBAQEBAQ", 10806),
            (b"AQEBAQEBAQE", 10806),
        ] {
            assert_eq!(slot_of(key), slot, "{}", String::from_utf8_lossy(key));
        }
    }

    #[test]
    fn a_redirect_names_a_slot_and_a_node_as_servers_write_them() {
        let at = |host, port| Some(Address::new(host, port));
        for (line, expected) in [
            ("MOVED 3999 127.0.0.1:6381", Some(Redirect::Moved(3999, at("127.0.0.1", 6381)))),
            ("MOVED 3999 :6381", Some(Redirect::Moved(3999, at("asked", 6381)))),
            ("MOVED 3999 ::1:6381", Some(Redirect::Moved(3999, at("::1", 6381)))),
            ("MOVED 0 a.example.com:1", Some(Redirect::Moved(0, at("a.example.com", 1)))),
            ("MOVED 3999 ?:6381", Some(Redirect::Moved(3999, None))),
            ("MOVED 3999 a:0", Some(Redirect::Moved(3999, None))),
            ("MOVED 3999 a:99999", Some(Redirect::Moved(3999, None))),
            ("MOVED 3999 a/b:1", Some(Redirect::Moved(3999, None))),
            ("MOVED 3999 6381", Some(Redirect::Moved(3999, None))),
            ("MOVED 16384 a:1", None),
            ("MOVED", None),
            ("ASK 7 10.0.0.1:6381", at("10.0.0.1", 6381).map(Redirect::Ask)),
            ("ASK 7 ?:6381", None),
            ("TRYAGAIN Multiple keys request during rehashing of slot", Some(Redirect::TryAgain)),
            ("CLUSTERDOWN The cluster is down", Some(Redirect::Down)),
            ("CLUSTERDOWN Hash slot not served", Some(Redirect::Down)),
            ("ERR unknown command", None),
            ("READONLY You can't write against a read only replica.", None),
        ] {
            let value = redis::parse_redis_value(format!("-{line}\r\n").as_bytes());
            let error = value.and_then(Value::extract_error).expect_err(line);
            assert_eq!(Redirect::of(&error, "asked"), expected, "{line}");
        }
        let long = format!("-MOVED 1 {}:1\r\n", "a".repeat(256));
        let value = redis::parse_redis_value(long.as_bytes());
        let error = value.and_then(Value::extract_error).expect_err("an error");
        assert_eq!(Redirect::of(&error, "asked"), Some(Redirect::Moved(1, None)));
    }

    #[test]
    fn a_standing_is_read_from_the_lines_that_matter() {
        for (text, expected) in [
            (
                "cluster_state:ok\r\ncluster_slots_assigned:16384\r\ncluster_current_epoch:6\r\n",
                Some((true, 6)),
            ),
            ("cluster_state:fail\r\ncluster_current_epoch:0\r\n", Some((false, 0))),
            ("cluster_state:ok\r\n", None),
            ("cluster_current_epoch:1\r\n", None),
            ("cluster_state:ok\r\ncluster_current_epoch:x\r\n", None),
            ("", None),
        ] {
            let expected = expected.map(|(is_ok, epoch)| Standing { is_ok, epoch });
            assert_eq!(Standing::parse(text), expected, "{text}");
        }
    }

    fn bulk(text: &str) -> Value {
        Value::BulkString(text.as_bytes().to_vec())
    }

    fn member(host: Value, port: i64, more: &[Value]) -> Value {
        let mut fields =
            vec![host, Value::Int(port), bulk("09dbe9720cda62f7865eabc5fd8857c5d2678366")];
        fields.extend_from_slice(more);
        Value::Array(fields)
    }

    fn range(first: i64, last: i64, nodes: &[Value]) -> Value {
        let mut fields = vec![Value::Int(first), Value::Int(last)];
        fields.extend_from_slice(nodes);
        Value::Array(fields)
    }

    #[test]
    fn a_nodes_address_is_the_one_that_it_prefers() {
        let ip = || vec![(bulk("ip"), bulk("10.0.0.9"))];
        let flat = Value::Array(vec![bulk("hostname"), bulk("b"), bulk("ip"), bulk("10.0.0.9")]);
        for (what, member, expected) in [
            ("Redis 6", member(bulk("10.0.0.1"), 7000, &[]), Some(("10.0.0.1", 7000))),
            (
                "Redis 7",
                member(bulk("10.0.0.1"), 7000, &[Value::Map(vec![])]),
                Some(("10.0.0.1", 7000)),
            ),
            ("a name", member(bulk("a"), 7000, &[Value::Map(ip())]), Some(("a", 7000))),
            ("no name", member(bulk("?"), 7000, &[Value::Map(ip())]), Some(("10.0.0.9", 7000))),
            ("no name, RESP2", member(bulk("?"), 7000, &[flat]), Some(("10.0.0.9", 7000))),
            ("nothing known", member(bulk("?"), 7000, &[Value::Map(vec![])]), None),
            ("an unknown endpoint", member(Value::Nil, 7000, &[]), Some(("asked", 7000))),
            ("before it met another", member(bulk(""), 7000, &[]), Some(("asked", 7000))),
            ("a wildcard", member(bulk("0.0.0.0"), 7000, &[]), Some(("asked", 7000))),
            ("IPv6", member(bulk("fe80::1"), 7000, &[]), Some(("fe80::1", 7000))),
            ("no port for TLS", member(bulk("a"), 0, &[]), None),
            ("a port out of range", member(bulk("a"), 70000, &[]), None),
            ("no host", member(bulk("a b"), 7000, &[]), None),
            ("a long host", member(bulk(&"a".repeat(256)), 7000, &[]), None),
        ] {
            let answer = Value::Array(vec![range(0, 1, &[member])]);
            let view = View::parse(&answer, "asked").expect(what);
            let map = SlotMap::of(&view).expect(what);
            let expected = expected.map(|(host, port)| Address::new(host, port));
            assert_eq!(map.address(1), expected.as_ref(), "{what}");
        }
    }

    #[test]
    fn slots_belong_to_the_master_of_their_range_and_replicas_are_remembered() {
        let [a, b, c] = ["a", "b", "c"].map(|host| member(bulk(host), 1, &[]));
        let answer = Value::Array(vec![
            range(0, 99, &[a.clone(), c]),
            range(200, 16383, &[b]),
            range(150, 150, &[a]),
        ]);
        let view = View::parse(&answer, "asked").expect("well-formed");
        assert_eq!(view.nodes, ["a", "c", "b"].map(|host| Address::new(host, 1)));
        let map = SlotMap::of(&view).expect("few masters");
        assert_eq!(map.masters(), ["a", "b"].map(|host| Address::new(host, 1)));
        for (slot, owner) in [
            (0, Some(0)),
            (99, Some(0)),
            (100, None),
            (150, Some(0)),
            (199, None),
            (200, Some(1)),
            (16383, Some(1)),
            (16384, None),
        ] {
            assert_eq!(map.owner(slot), owner, "{slot}");
        }
        assert_eq!(map.uncovered(), 99);
    }

    #[test]
    fn a_malformed_or_oversized_answer_is_refused() {
        let node = member(bulk("a"), 1, &[]);
        let many: Vec<Value> = (0..=MASTERS_MAX as i64)
            .map(|n| range(n, n, &[member(bulk("a"), n + 1, &[])]))
            .collect();
        for (answer, reason) in [
            (Value::Nil, "no list of slots"),
            (Value::Array(vec![Value::Nil]), "is no list"),
            (Value::Array(vec![range(0, 1, &[])]), "another form"),
            (Value::Array(vec![range(0, 16384, std::slice::from_ref(&node))]), "not exist"),
            (Value::Array(vec![range(-1, 1, std::slice::from_ref(&node))]), "not exist"),
            (Value::Array(vec![range(1, 0, std::slice::from_ref(&node))]), "empty"),
            (Value::Array(vec![range(0, 0, std::slice::from_ref(&node)); 16385]), "more slots"),
            (Value::Array(vec![range(0, 16383, &[node]); 2]), "more slots"),
            (Value::Array(many), "more masters"),
        ] {
            let outcome = View::parse(&answer, "asked").and_then(|view| SlotMap::of(&view));
            let error = outcome.expect_err(reason);
            assert!(error.contains(reason), "{error}");
        }
    }

    #[test]
    fn as_many_nodes_are_remembered_as_there_is_room_for() {
        let nodes: Vec<Value> = (1..=200).map(|n| member(bulk("a"), n, &[])).collect();
        let view = View::parse(&Value::Array(vec![range(0, 1, &nodes)]), "asked");
        assert_eq!(view.expect("well-formed").nodes.len(), NODES_MAX);
    }

    #[test]
    fn a_slot_has_moved_when_it_had_a_master_and_has_not_that_one_now() {
        let map = |ranges: &[(u16, u16, &str)]| {
            let ranges = ranges
                .iter()
                .map(|(first, last, host)| (*first..=*last, Address::new(host, 1)))
                .collect();
            SlotMap::of(&View { ranges, nodes: vec![] }).expect("few masters")
        };
        let before = map(&[(0, 9, "a"), (10, 19, "b")]);
        for (what, after, moved) in [
            ("nothing", map(&[(0, 9, "a"), (10, 19, "b")]), 0),
            ("another order", map(&[(10, 19, "b"), (0, 9, "a")]), 0),
            ("more slots", map(&[(0, 9, "a"), (10, 29, "b")]), 0),
            ("one slot", map(&[(0, 8, "a"), (9, 19, "b")]), 1),
            ("a failover", map(&[(0, 9, "c"), (10, 19, "b")]), 10),
            ("a slot lost", map(&[(0, 8, "a"), (10, 19, "b")]), 1),
        ] {
            assert_eq!(after.moved_since(&before), moved, "{what}");
        }
    }
}
