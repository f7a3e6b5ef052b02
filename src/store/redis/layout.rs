//! Keys, values and scripts: everything about how records lie in Redis.
//!
//! `<namespace>:{<tag>}:s:<id>` holds a STRING, the version (8 bytes, big-endian) and the sealed
//! record; tag and id are base64url. The braces put all records of one tag into one hash slot. A
//! STRING, not a HASH: one allocation, readable by one GET, comparable by its first bytes.
//!
//! Beside the records of a subject, in their slot: `<namespace>:{<tag>}:e`, a STRING, the epoch
//! (16 bytes); `<namespace>:{<tag>}:i`, a ZSET of the identifiers (16 bytes) of those that are not
//! over, by the time at which they are garbage (Unix milliseconds of the server);
//! `<namespace>:{<tag>}:c`, a ZSET of those among them that count for a limit, by the time since when
//! (Unix milliseconds of the node that wrote it first). Beside any record:
//! `<namespace>:{<tag>}:l:<id>`, a STRING, who has its lease (16 bytes). In a slot of its own:
//! `<namespace>:era`, a STRING, a decimal number; `<namespace>:nodes`, a ZSET of what nodes say of
//! themselves (16 bytes name the node) by the time at which that is over (Unix milliseconds of the
//! server); and `<namespace>:beat`, a STRING that says nothing;
//! in a cluster that is `<namespace>:{<some tag>}:b`, one for each master.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use redis::Script;

use crate::session::outcome::{Listing, RecordKey};
use crate::store::Stored;

const VERSION_BYTES: usize = 8;

/// Names keys.
#[derive(Clone, Debug)]
pub(super) struct Namespace(String);

impl Namespace {
    const BYTES_MAX: usize = 64;

    /// Checks that the namespace moves no hash slot and is legible in `redis-cli`.
    pub(super) fn parse(name: &str) -> Result<Self, String> {
        let is_legible = name.bytes().all(|b| b.is_ascii_graphic() && b != b'{' && b != b'}');
        if name.is_empty() || name.len() > Self::BYTES_MAX || !is_legible {
            return Err(format!(
                "the namespace must have 1 to {} printable ASCII characters other than space, \
                 `{{` and `}}`",
                Self::BYTES_MAX
            ));
        }
        Ok(Self(name.to_owned()))
    }

    pub(super) fn key(&self, key: RecordKey) -> String {
        self.of_record(key, "}:s:")
    }

    pub(super) fn lease(&self, key: RecordKey) -> String {
        self.of_record(key, "}:l:")
    }

    pub(super) fn epoch(&self, tag: [u8; 8]) -> String {
        self.of_tag(tag, "}:e")
    }

    pub(super) fn index(&self, tag: [u8; 8]) -> String {
        self.of_tag(tag, "}:i")
    }

    /// Of the records in the index, those that count.
    pub(super) fn counted(&self, tag: [u8; 8]) -> String {
        self.of_tag(tag, "}:c")
    }

    pub(super) fn era(&self) -> String {
        format!("{}:era", self.0)
    }

    pub(super) fn nodes(&self) -> String {
        format!("{}:nodes", self.0)
    }

    /// What the heartbeat reads in a cluster, in the slot of `tag`: nothing is there.
    pub(super) fn probe(&self, tag: &str) -> String {
        format!("{}:{{{tag}}}:p", self.0)
    }

    /// What the heartbeat writes in a cluster where replicas must confirm, in the slot of `tag`.
    pub(super) fn beat_in(&self, tag: &str) -> String {
        format!("{}:{{{tag}}}:b", self.0)
    }

    /// What the heartbeat writes where replicas must confirm.
    pub(super) fn beat(&self) -> String {
        format!("{}:beat", self.0)
    }

    /// All keys, for an access list. The configuration has no name with a letter that means
    /// something in a pattern.
    pub(super) fn pattern(&self) -> String {
        format!("{}:*", self.0)
    }

    pub(super) fn as_bytes(&self) -> &[u8] {
        self.0.as_bytes()
    }

    fn of_record(&self, key: RecordKey, kind: &str) -> String {
        let mut name = self.of_tag(key.tag, kind);
        URL_SAFE_NO_PAD.encode_string(key.id, &mut name);
        name
    }

    fn of_tag(&self, tag: [u8; 8], kind: &str) -> String {
        let mut name = String::with_capacity(self.0.len() + 40);
        name.push_str(&self.0);
        name.push_str(":{");
        URL_SAFE_NO_PAD.encode_string(tag, &mut name);
        name.push_str(kind);
        name
    }
}

/// The value for a record.
pub(super) fn encode(version: u64, sealed: &[u8]) -> Vec<u8> {
    let mut value = Vec::with_capacity(VERSION_BYTES + sealed.len());
    value.extend_from_slice(&version.to_be_bytes());
    value.extend_from_slice(sealed);
    value
}

/// The record in a value; none where no node of ours can have written it.
pub(super) fn decode(mut value: Vec<u8>) -> Option<Stored> {
    let version = u64::from_be_bytes(*value.first_chunk::<VERSION_BYTES>()?);
    if version == 0 {
        return None;
    }
    value.drain(..VERSION_BYTES);
    Some(Stored { version, sealed: value, epoch: None })
}

/// What the scripts answer.
pub(super) const DONE: i64 = 1;
pub(super) const OTHER: i64 = 0;
pub(super) const GONE: i64 = -1;
/// What [`Scripts::carry`] answers to another version, where others answer [`OTHER`].
pub(super) const CONFLICT: i64 = -2;

/// How scripts are told of a record's place in the index: not in it, in it, or since when it counts.
pub(super) fn place(listing: Listing) -> i64 {
    match listing {
        Listing::Out => -1,
        Listing::Listed => 0,
        Listing::Counts(since) => i64::try_from(since.0).unwrap_or(i64::MAX).max(1),
    }
}

/// Writes and compares in one step of the server.
#[derive(Clone, Debug)]
pub(super) struct Scripts {
    /// KEYS: record; where it has a subject, its index and those of it that count. ARGV: value,
    /// milliseconds to keep, identifier. [`DONE`] or [`OTHER`].
    pub(super) create: Script,
    /// KEYS: as above; its epoch, where that must be a certain one. ARGV: value, milliseconds to keep,
    /// identifier, place, expected version (8 bytes); that epoch. [`DONE`], [`OTHER`], [`GONE`], or
    /// an error where the value is none of ours.
    pub(super) replace: Script,
    /// KEYS: record, index, those that count, epoch. ARGV: value, milliseconds to keep, identifier,
    /// place, expected version (8 bytes), expected epoch, its replacement, milliseconds to keep that.
    /// How many others were in the index, [`CONFLICT`] or [`GONE`].
    pub(super) carry: Script,
    /// KEYS: record; where it has a subject, its index and those of it that count. ARGV: identifier.
    /// [`DONE`].
    pub(super) remove: Script,
    /// KEYS: epoch. ARGV: proposal, milliseconds to keep. The epoch.
    pub(super) epoch: Script,
    /// KEYS: epoch, index, those that count. ARGV: replacement, milliseconds to keep. What was there,
    /// if it was another.
    pub(super) revoke: Script,
    /// KEYS: index. ARGV: how many at most. How many there are, and identifiers.
    pub(super) list: Script,
    /// KEYS: index, those that count. ARGV: how many have room, how many to tell of at most, who has
    /// none (`oldest` or `newest`); one that is not counted. Identifiers.
    pub(super) beyond: Script,
    /// KEYS: era. ARGV: the one that is known, how far to move on, the last that there may be. The
    /// new one.
    pub(super) move_era: Script,
    /// KEYS: lease. ARGV: owner, milliseconds to hold. [`DONE`] or [`OTHER`].
    pub(super) lease: Script,
    /// KEYS: lease. ARGV: owner. How many were removed.
    pub(super) release: Script,
    /// KEYS: nodes. ARGV: node, its announcement, milliseconds to keep, the most there can be. The
    /// server's time.
    pub(super) announce: Script,
    /// KEYS: nodes. ARGV: how many at most, bytes of each at most, the most milliseconds that are left
    /// of one. Nodes with their announcements.
    pub(super) announced: Script,
}

impl Scripts {
    pub(super) fn new() -> Self {
        Self {
            create: Script::new(&[SWEEP, INDEX, CREATE].concat()),
            replace: Script::new(&[SWEEP, INDEX, REPLACE].concat()),
            carry: Script::new(&[SWEEP, INDEX, CARRY].concat()),
            remove: Script::new(REMOVE),
            epoch: Script::new(EPOCH),
            revoke: Script::new(REVOKE),
            list: Script::new(LIST),
            beyond: Script::new(&[SWEEP, BEYOND].concat()),
            move_era: Script::new(MOVE_ERA),
            lease: Script::new(LEASE),
            release: Script::new(RELEASE),
            announce: Script::new(ANNOUNCE),
            announced: Script::new(ANNOUNCED),
        }
    }
}

/// Takes what is garbage out of an index, and tells the time.
const SWEEP: &str = "\
local function sweep(index, counted)
  local time = redis.call('TIME')
  local now = time[1] * 1000 + math.floor(time[2] / 1000)
  local garbage = redis.call('ZRANGEBYSCORE', index, '-inf', now, 'LIMIT', 0, 1000)
  if #garbage > 0 then
    redis.call('ZREM', index, unpack(garbage))
    redis.call('ZREM', counted, unpack(garbage))
  end
  return now
end
";

/// Notes in the index, if there is one, until when the record is kept, and whether it counts; what
/// is over leaves it. The index lives as long as the record in it that lives longest.
const INDEX: &str = "\
local function index(id, keep, place)
  if not KEYS[2] then return end
  local now = sweep(KEYS[2], KEYS[3])
  place = tonumber(place)
  if place < 0 then redis.call('ZREM', KEYS[2], id)
  else redis.call('ZADD', KEYS[2], now + keep, id) end
  if place < 1 then redis.call('ZREM', KEYS[3], id)
  else redis.call('ZADD', KEYS[3], 'NX', place, id) end
  for n = 2, 3 do
    if redis.call('PTTL', KEYS[n]) < tonumber(keep) then redis.call('PEXPIRE', KEYS[n], keep) end
  end
end
";

const CREATE: &str = "\
if redis.call('SET', KEYS[1], ARGV[1], 'NX', 'PX', ARGV[2])
  or redis.call('GET', KEYS[1]) == ARGV[1] then
  index(ARGV[3], ARGV[2], 0)
  return 1
end
return 0";

/// A repeat writes the same value once more, so that the WAIT that follows it waits for something.
const REPLACE: &str = "\
local version = redis.call('GETRANGE', KEYS[1], 0, 7)
if #version < 8 then
  if redis.call('EXISTS', KEYS[1]) == 0 then return -1 end
  return redis.error_reply('MALFORMED value is too short')
end
if ARGV[6] and redis.call('GET', KEYS[4]) ~= ARGV[6] then return -1 end
local is_repeat = version == string.sub(ARGV[1], 1, 8) and redis.call('GET', KEYS[1]) == ARGV[1]
if version ~= ARGV[5] and not is_repeat then return 0 end
index(ARGV[3], ARGV[2], ARGV[4])
redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[2])
return 1";

/// As [`REPLACE`] and [`REVOKE`] in one. The record that goes on keeps the time since when it counts.
const CARRY: &str = "\
local version = redis.call('GETRANGE', KEYS[1], 0, 7)
if #version < 8 then return -1 end
local epoch = redis.call('GET', KEYS[4])
local is_repeat = epoch == ARGV[7] and redis.call('GET', KEYS[1]) == ARGV[1]
if not is_repeat then
  if epoch ~= ARGV[6] then return -1 end
  if version ~= ARGV[5] then return -2 end
end
sweep(KEYS[2], KEYS[3])
local others = redis.call('ZCARD', KEYS[2])
if redis.call('ZSCORE', KEYS[2], ARGV[3]) then others = others - 1 end
local place = redis.call('ZSCORE', KEYS[3], ARGV[3]) or ARGV[4]
redis.call('UNLINK', KEYS[2], KEYS[3])
index(ARGV[3], ARGV[2], place)
redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[2])
local keep = math.max(redis.call('PTTL', KEYS[4]), tonumber(ARGV[8]))
redis.call('SET', KEYS[4], ARGV[7], 'PX', string.format('%d', keep))
return others";

const REMOVE: &str = "\
redis.call('UNLINK', KEYS[1])
if KEYS[2] then
  redis.call('ZREM', KEYS[2], ARGV[1])
  redis.call('ZREM', KEYS[3], ARGV[1])
end
return 1";

/// A time of -1 is none: it is not shortened either.
const EPOCH: &str = "\
local epoch = redis.call('GET', KEYS[1])
if not epoch then
  redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[2])
  return ARGV[1]
end
local left = redis.call('PTTL', KEYS[1])
if left >= 0 and left < tonumber(ARGV[2]) then redis.call('PEXPIRE', KEYS[1], ARGV[2]) end
return epoch";

/// `SET` takes the place of whatever is there, which ends the sessions of this tag in any case.
const REVOKE: &str = "\
local before = redis.pcall('GET', KEYS[1])
if type(before) ~= 'string' or before == ARGV[1] then before = false end
local left = redis.call('PTTL', KEYS[1])
local keep = tonumber(ARGV[2])
if left > keep then keep = left end
redis.call('SET', KEYS[1], ARGV[1], 'PX', string.format('%d', keep))
redis.call('UNLINK', KEYS[2], KEYS[3])
return before";

const LIST: &str = "\
local time = redis.call('TIME')
local now = string.format('%d', time[1] * 1000 + math.floor(time[2] / 1000))
local total = redis.call('ZCARD', KEYS[1]) - #redis.call('ZRANGEBYSCORE', KEYS[1], '-inf', now)
local members = redis.call('ZRANGE', KEYS[1], '+inf', '(' .. now, 'BYSCORE', 'REV',
  'LIMIT', 0, ARGV[1])
return {total, members}";

/// What is left at one end, but for those at the other that have room. Members that count since the
/// same time are in the order of their bytes, the same for all who ask.
const BEYOND: &str = "\
sweep(KEYS[1], KEYS[2])
local besides = ARGV[4] and redis.call('ZSCORE', KEYS[2], ARGV[4]) and 1 or 0
local beyond = math.min(redis.call('ZCARD', KEYS[2]) - besides - ARGV[1], tonumber(ARGV[2]))
if beyond <= 0 then return {} end
local members
if ARGV[3] == 'oldest' then members = redis.call('ZRANGE', KEYS[2], 0, beyond + besides - 1)
else members = redis.call('ZRANGE', KEYS[2], 0, beyond + besides - 1, 'REV') end
local others = {}
for _, member in ipairs(members) do
  if member ~= ARGV[4] and #others < beyond then others[#others + 1] = member end
end
return others";

const MOVE_ERA: &str = "\
local era = tonumber(redis.call('GET', KEYS[1]) or '0')
if not era then return redis.error_reply('MALFORMED value is not a number') end
era = math.min(math.max(era, tonumber(ARGV[1])) + tonumber(ARGV[2]), tonumber(ARGV[3]))
redis.call('SET', KEYS[1], string.format('%d', era))
return era";

const LEASE: &str = "\
if redis.call('SET', KEYS[1], ARGV[1], 'NX', 'PX', ARGV[2]) then return 1 end
if redis.call('GET', KEYS[1]) ~= ARGV[1] then return 0 end
redis.call('PEXPIRE', KEYS[1], ARGV[2])
return 1";

const RELEASE: &str = "\
if redis.call('GET', KEYS[1]) ~= ARGV[1] then return 0 end
return redis.call('UNLINK', KEYS[1])";

/// What is over goes, and what claims to end later than anything of ours, and what the node has said
/// before.
const ANNOUNCE: &str = "\
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local late = string.format('(%d', now + ARGV[4])
for _, range in ipairs({{'-inf', now}, {late, '+inf'}}) do
  local garbage = redis.call('ZRANGEBYSCORE', KEYS[1], range[1], range[2], 'LIMIT', 0, 1000)
  if #garbage > 0 then redis.call('ZREM', KEYS[1], unpack(garbage)) end
end
for _, member in ipairs(redis.call('ZRANGEBYSCORE', KEYS[1], '-inf', '+inf', 'LIMIT', 0, 1000)) do
  if string.sub(member, 1, 16) == ARGV[1] then redis.call('ZREM', KEYS[1], member) end
end
if tonumber(ARGV[3]) > 0 then
  redis.call('ZADD', KEYS[1], now + ARGV[3], ARGV[1] .. ARGV[2])
  redis.call('PEXPIRE', KEYS[1], ARGV[4])
end
return now";

const ANNOUNCED: &str = "\
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local members = redis.call('ZRANGE', KEYS[1], string.format('%d', now + ARGV[3]),
  string.format('(%d', now), 'BYSCORE', 'REV', 'LIMIT', 0, ARGV[1])
local short = {}
for _, member in ipairs(members) do
  if #member <= tonumber(ARGV[2]) then short[#short + 1] = member end
end
return short";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_of_one_tag_share_a_hash_slot() {
        let namespace = Namespace::parse("cloakroom").expect("a valid namespace");
        let key = RecordKey { tag: [0xfb; 8], id: [0xff; 16], has_subject: false };
        assert_eq!(namespace.key(key), "cloakroom:{-_v7-_v7-_s}:s:_____________________w");
        let other = RecordKey { tag: [0xfb; 8], id: [0; 16], has_subject: false };
        assert_eq!(namespace.key(other), "cloakroom:{-_v7-_v7-_s}:s:AAAAAAAAAAAAAAAAAAAAAA");
        assert_eq!(namespace.lease(other), "cloakroom:{-_v7-_v7-_s}:l:AAAAAAAAAAAAAAAAAAAAAA");
        assert_eq!(namespace.epoch(key.tag), "cloakroom:{-_v7-_v7-_s}:e");
        assert_eq!(namespace.index(key.tag), "cloakroom:{-_v7-_v7-_s}:i");
        assert_eq!(namespace.counted(key.tag), "cloakroom:{-_v7-_v7-_s}:c");
        assert_eq!(namespace.era(), "cloakroom:era");
        assert_eq!(namespace.nodes(), "cloakroom:nodes");
    }

    #[test]
    fn a_namespace_is_legible_and_has_no_braces() {
        for name in ["a", "cloakroom", "shop:prod", &"x".repeat(64)] {
            assert!(Namespace::parse(name).is_ok(), "{name}");
        }
        for name in ["", "a b", "{a}", "a}", "ü", "a\n", &"x".repeat(65)] {
            assert!(Namespace::parse(name).is_err(), "{name}");
        }
    }

    #[test]
    fn a_value_is_a_version_and_the_sealed_bytes() {
        assert_eq!(encode(258, b"ab"), b"\0\0\0\0\0\0\x01\x02ab");
        for (value, expected) in [
            (&b"\0\0\0\0\0\0\x01\x02ab"[..], Some((258, &b"ab"[..]))),
            (b"\0\0\0\0\0\0\0\x01", Some((1, b""))),
            (b"\0\0\0\0\0\0\0\0ab", None),
            (b"\0\0\0\0\0\0\x01", None),
            (b"", None),
        ] {
            let expected = expected.map(|(version, sealed)| Stored {
                version,
                sealed: sealed.to_vec(),
                epoch: None,
            });
            assert_eq!(decode(value.to_vec()), expected, "{value:?}");
        }
    }
}
