//! Keys, values and scripts: everything about how records lie in Redis.
//!
//! `<namespace>:{<tag>}:s:<id>` holds a STRING, the version (8 bytes, big-endian) and the sealed
//! record; tag and id are base64url. The braces put all records of one tag into one hash slot. A
//! STRING, not a HASH: one allocation, readable by one GET, comparable by its first bytes.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use redis::Script;

use crate::session::outcome::RecordKey;
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
        let mut name = String::with_capacity(self.0.len() + 40);
        name.push_str(&self.0);
        name.push_str(":{");
        URL_SAFE_NO_PAD.encode_string(key.tag, &mut name);
        name.push_str("}:s:");
        URL_SAFE_NO_PAD.encode_string(key.id, &mut name);
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
    Some(Stored { version, sealed: value })
}

/// What the scripts answer.
pub(super) const DONE: i64 = 1;
pub(super) const OTHER: i64 = 0;
pub(super) const GONE: i64 = -1;

/// Writes and compares in one step of the server.
#[derive(Clone, Debug)]
pub(super) struct Scripts {
    /// KEYS: record. ARGV: value, milliseconds to keep. [`DONE`] or [`OTHER`].
    pub(super) create: Script,
    /// KEYS: record. ARGV: expected version (8 bytes), value, milliseconds to keep.
    /// [`DONE`], [`OTHER`], [`GONE`], or an error where the value is none of ours.
    pub(super) replace: Script,
}

impl Scripts {
    pub(super) fn new() -> Self {
        Self { create: Script::new(CREATE), replace: Script::new(REPLACE) }
    }
}

const CREATE: &str = "\
if redis.call('SET', KEYS[1], ARGV[1], 'NX', 'PX', ARGV[2]) then return 1 end
if redis.call('GET', KEYS[1]) == ARGV[1] then return 1 end
return 0";

/// A repeat writes the same value once more, so that the WAIT that follows it waits for something.
const REPLACE: &str = "\
local version = redis.call('GETRANGE', KEYS[1], 0, 7)
if #version < 8 then
  if redis.call('EXISTS', KEYS[1]) == 0 then return -1 end
  return redis.error_reply('MALFORMED value is too short')
end
local is_repeat = version == string.sub(ARGV[2], 1, 8) and redis.call('GET', KEYS[1]) == ARGV[2]
if version ~= ARGV[1] and not is_repeat then return 0 end
redis.call('SET', KEYS[1], ARGV[2], 'PX', ARGV[3])
return 1";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_of_one_tag_share_a_hash_slot() {
        let namespace = Namespace::parse("cloakroom").expect("a valid namespace");
        let key = RecordKey { tag: [0xfb; 8], id: [0xff; 16] };
        assert_eq!(namespace.key(key), "cloakroom:{-_v7-_v7-_s}:s:_____________________w");
        let other = RecordKey { tag: [0xfb; 8], id: [0; 16] };
        assert_eq!(namespace.key(other), "cloakroom:{-_v7-_v7-_s}:s:AAAAAAAAAAAAAAAAAAAAAA");
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
            let expected =
                expected.map(|(version, sealed)| Stored { version, sealed: sealed.to_vec() });
            assert_eq!(decode(value.to_vec()), expected, "{value:?}");
        }
    }
}
