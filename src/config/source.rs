//! The text that a configuration was read from, to be shown to operators without its secrets.

use std::fmt;
use std::sync::Arc;

use serde_json::Value;

use super::diagnostic::without_userinfo;

/// What stands in place of a secret.
const MASKED: &str = "[redacted]";

/// The text of a configuration.
#[derive(Clone, Default)]
pub struct SourceText(Arc<str>);

impl fmt::Debug for SourceText {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SourceText([redacted])")
    }
}

impl SourceText {
    pub(super) fn new(text: &str) -> Self {
        Self(text.into())
    }

    /// What it says, as JSON. Passwords and other secrets are left out, also those in addresses; aliases stand for
    /// what they mean.
    pub fn shown(&self) -> Value {
        let read: Result<Value, _> = serde_saphyr::from_str(&self.0);
        // It was read before, and every value of it fits JSON.
        let mut shown = read.unwrap_or_default();
        mask(&mut shown, false);
        shown
    }
}

/// Masks what is secret in a value. `in_headers`: its keys are names of fields.
fn mask(value: &mut Value, in_headers: bool) {
    match value {
        Value::Object(entries) => {
            for (key, value) in entries {
                let key = key.to_ascii_lowercase();
                let is_secret = is_secret(&key) || in_headers && is_secret_field(&key);
                match value {
                    Value::String(text) if is_secret => MASKED.clone_into(text),
                    Value::Number(_) if is_secret => *value = MASKED.into(),
                    // `{ value: …, always: … }`
                    Value::Object(entries) if is_secret && entries.contains_key("value") => {
                        entries.insert("value".to_owned(), MASKED.into());
                    }
                    value => mask(value, key == "request_headers" || key == "response_headers"),
                }
            }
        }
        Value::Array(list) => list.iter_mut().for_each(|value| mask(value, in_headers)),
        Value::String(text) => *text = without_userinfo(text),
        Value::Null | Value::Bool(_) | Value::Number(_) => {}
    }
}

/// Whether what a key of ours has is a secret. Files that hold one are none.
fn is_secret(key: &str) -> bool {
    const PARTS: [&str; 4] = ["password", "passwd", "secret", "secure_link_md5"];
    !key.ends_with("_file")
        && !key.ends_with("_keys")
        && PARTS.iter().any(|part| key.contains(part))
}

/// Whether a field of this name tells a secret, mostly.
fn is_secret_field(name: &str) -> bool {
    const PARTS: [&str; 6] = ["auth", "token", "key", "cookie", "password", "credential"];
    PARTS.iter().any(|part| name.contains(part))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn secrets_are_left_out() {
        let text = "\
store: &store redis://app:s3cret@127.0.0.1:6379/0
password_file: /etc/cloakroom/password
mysql: { password: s3cret, port: 7 }
servers:
  - routes:
      - path: /
        secure_link_md5: '$uri s3cret'
        secure_link_secret: s3cret
        request_headers: { Authorization: Bearer s3cret, X-Api-Key: s3cret, Host: $host }
        response_headers: { X-Token: { value: s3cret, always: true }, Via: us }
again: *store
";
        let shown = SourceText::new(text).shown();
        assert!(!shown.to_string().contains("s3cret"), "{shown:#}");
        let route = &shown["servers"][0]["routes"][0];
        assert_eq!(route["request_headers"]["Host"], "$host");
        assert_eq!(route["response_headers"]["Via"], "us");
        assert_eq!(route["response_headers"]["X-Token"]["always"], true);
        assert_eq!(shown["password_file"], "/etc/cloakroom/password");
        assert_eq!(shown["mysql"], json!({ "password": MASKED, "port": 7 }));
        assert!(shown["again"].as_str().is_some_and(|url| url.ends_with("@127.0.0.1:6379/0")));
        assert_eq!(format!("{:?}", SourceText::new(text)), "SourceText([redacted])");
    }
}
