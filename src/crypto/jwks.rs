//! The text of a key ring: a JWK Set (RFC 7517) of symmetric keys (`oct`, RFC 7518 section 6.4).
//!
//! ```json
//! {"keys":[
//!   {"kty":"oct","kid":"1f0c77a2","use":"seal","status":"primary","created":1760000000,"k":"…"},
//!   {"kty":"oct","kid":"8d41b0e6","use":"index","status":"primary","created":1760000000,"k":"…"}
//! ]}
//! ```
//!
//! `use` and `status` have values of our own; `k` is 32 bytes in base64url. Other members are
//! ignored, as RFC 7517 asks. What concerns the ring as a whole is checked in [`super::keyring`].

use serde_json::Value;
use zeroize::{Zeroize, Zeroizing};

use super::base64;
use super::keyring::{Description, Entry, KeyId, KeyringError, Secret, Status, Usage};

/// Reads the keys of a text; its size is the caller's to bound.
pub(super) fn read(text: &str) -> Result<Vec<Entry>, KeyringError> {
    let mut set: Value = serde_json::from_str(text)
        .map_err(|error| KeyringError::NotJson { line: error.line(), column: error.column() })?;
    let keys = read_set(&set);
    wipe(&mut set);
    keys.map_err(KeyringError::Mistakes)
}

/// Writes keys, one a line.
pub(super) fn write(entries: &[Entry]) -> Zeroizing<String> {
    // Room for all of it, since a string that grows leaves copies of itself behind.
    let mut json = Zeroizing::new(String::with_capacity(64 + 256 * entries.len()));
    json.push_str("{\"keys\":[");
    let mut separator = "\n";
    for Entry { about: Description { kid, usage, status, created }, key } in entries {
        json.push_str(separator);
        json.push_str("  {\"kty\":\"oct\",\"kid\":\"");
        json.push_str(&kid.to_string());
        json.push_str("\",\"use\":\"");
        json.push_str(usage.as_str());
        json.push_str("\",\"status\":\"");
        json.push_str(status.as_str());
        json.push_str("\",\"created\":");
        json.push_str(&created.to_string());
        json.push_str(",\"k\":\"");
        json.push_str(&Zeroizing::new(base64::encode(key.as_bytes())));
        json.push_str("\"}");
        separator = ",\n";
    }
    json.push_str("\n]}\n");
    json
}

/// Reads the keys of a JWK Set; else every mistake in them.
fn read_set(set: &Value) -> Result<Vec<Entry>, Vec<String>> {
    let Some(keys) = set.get("keys").and_then(Value::as_array) else {
        return Err(vec!["no list `keys`: make a ring with `keys new`".to_owned()]);
    };
    let (mut entries, mut mistakes) = (Vec::new(), Vec::new());
    // The bound on the text already bounds how many are read here.
    for (at, key) in keys.iter().enumerate() {
        let mut found = Vec::new();
        if let Some(entry) = read_key(key, &mut found) {
            entries.push(entry);
        }
        let name = match kid_of(key) {
            Some(kid) => format!("keys[{at}] ({kid})"),
            None => format!("keys[{at}]"),
        };
        mistakes.extend(found.into_iter().map(|mistake| format!("{name}: {mistake}")));
    }
    if mistakes.is_empty() { Ok(entries) } else { Err(mistakes) }
}

/// Reads one key; where it is `None`, at least one mistake was found.
fn read_key(key: &Value, mistakes: &mut Vec<String>) -> Option<Entry> {
    let text = |member: &str| key.get(member).and_then(Value::as_str);
    if text("kty") != Some("oct") {
        mistakes.push(format!("`kty` is {}, write \"oct\"", shown(text("kty"))));
    }
    let kid = kid_of(key);
    if kid.is_none() {
        mistakes.push("`kid` must be eight hex digits".to_owned());
    }
    let usage = Usage::ALL.into_iter().find(|usage| Some(usage.as_str()) == text("use"));
    if usage.is_none() {
        mistakes.push(format!("`use` is {}, write \"seal\" or \"index\"", shown(text("use"))));
    }
    let status = Status::ALL.into_iter().find(|status| Some(status.as_str()) == text("status"));
    if status.is_none() {
        mistakes.push(format!(
            "`status` is {}, write \"primary\", \"accept\" or \"retired\"",
            shown(text("status"))
        ));
    }
    if usage == Some(Usage::Index) && status == Some(Status::Accept) {
        mistakes.push("an index key is \"primary\" or \"retired\", never \"accept\"".to_owned());
    }
    let created = key.get("created").and_then(Value::as_u64);
    if created.is_none() {
        mistakes.push("`created` must be a number of Unix seconds".to_owned());
    }
    let secret = read_secret(text("k").unwrap_or_default(), mistakes);
    let about = Description { kid: kid?, usage: usage?, status: status?, created: created? };
    Some(Entry { about, key: secret? })
}

fn kid_of(key: &Value) -> Option<KeyId> {
    key.get("kid").and_then(Value::as_str).and_then(KeyId::parse)
}

fn read_secret(text: &str, mistakes: &mut Vec<String>) -> Option<Secret> {
    // One byte more than a key has, so that a longer one is not cut but seen.
    let mut bytes = Zeroizing::new([0; 33]);
    if let (Some(32), Some(key)) =
        (base64::decode_canonical(text.as_bytes(), &mut *bytes), bytes.first_chunk())
    {
        if *key != [0; 32] {
            return Some(Secret::from(*key));
        }
        mistakes.push("`k` is all zeros: make a key with `keys rotate`".to_owned());
    } else {
        mistakes
            .push("`k` must be 32 bytes in base64url without padding (43 characters)".to_owned());
    }
    None
}

/// A value for a message. Long ones are not shown: somebody may have put the key there.
fn shown(value: Option<&str>) -> String {
    match value {
        Some(value) if value.len() <= 12 => format!("{value:?}"),
        Some(_) => "something long".to_owned(),
        None => "missing".to_owned(),
    }
}

/// Overwrites every string in a JSON value.
fn wipe(value: &mut Value) {
    match value {
        Value::String(text) => text.zeroize(),
        Value::Array(items) => items.iter_mut().for_each(wipe),
        Value::Object(members) => members.values_mut().for_each(wipe),
        Value::Null | Value::Bool(_) | Value::Number(_) => {}
    }
}
