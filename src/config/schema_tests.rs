//! Every key that serde accepts stands in `config/reference.yaml`.
//!
//! The list of keys is not kept by hand but read off the JSON Schema, which is made from the types: a new
//! field without a line in the reference fails here.

use std::collections::BTreeSet;

use serde_json::Value;

use super::json_schema::json_schema;
use super::outline::outline;
use super::schema::Inherited;
use super::shipped_tests::shipped;

/// What may stand there is what may stand in a route.
const AS_IN_ROUTES: [&str; 3] = ["rewrite[].with", "limit_except.with", "servers[].rewrite[]"];

/// All keys of the schema: `sessions.*.login[].request`.
fn schema_keys() -> BTreeSet<String> {
    let (schema, mut keys) = (json_schema(), BTreeSet::new());
    collect(&schema, &schema, "", &mut Vec::new(), &mut keys);
    keys
}

/// Collects the keys below a part of the schema. What stands inside its own kind is not gone into.
fn collect<'s>(
    root: &'s Value,
    part: &'s Value,
    path: &str,
    around: &mut Vec<&'s str>,
    keys: &mut BTreeSet<String>,
) {
    if let Some(name) = part["$ref"].as_str() {
        let definition = name.strip_prefix("#").and_then(|pointer| root.pointer(pointer));
        let definition = definition.expect("it is defined");
        if !around.contains(&name) {
            around.push(name);
            collect(root, definition, path, around, keys);
            around.pop();
        }
    }
    // What may be one or several is described as one.
    let forms = || part["anyOf"].as_array().into_iter().flatten();
    let has_one = forms().any(|form| form["$ref"].is_string());
    for form in forms().filter(|form| !(has_one && form["items"].is_object())) {
        collect(root, form, path, around, keys);
    }
    if part["items"].is_object() {
        collect(root, &part["items"], &format!("{path}[]"), around, keys);
    }
    if part["additionalProperties"].is_object() {
        collect(root, &part["additionalProperties"], &format!("{path}.*"), around, keys);
    }
    if AS_IN_ROUTES.iter().any(|inside| path.ends_with(inside)) {
        return;
    }
    for (key, value) in part["properties"].as_object().into_iter().flatten() {
        let path = if path.is_empty() { key.clone() } else { format!("{path}.{key}") };
        collect(root, value, &path, around, keys);
        keys.insert(path);
    }
}

/// Whether a path of a file is one of a schema's key: `*` stands for a name, `[]` for an index.
fn is(path: &str, key: &str) -> bool {
    let steps = |text: &str| -> Vec<String> {
        text.replace('[', ".[").split('.').map(str::to_owned).collect()
    };
    let (path, key) = (steps(path), steps(key));
    path.len() == key.len()
        && path.iter().zip(&key).all(|(step, key)| match key.as_str() {
            "*" => !step.starts_with('['),
            "[]" => step.starts_with('['),
            name => step == name,
        })
}

#[test]
fn the_reference_names_every_key() {
    let keys = schema_keys();
    assert!(keys.contains("sessions.*.login[].success.status"), "{keys:#?}");
    assert!(keys.contains("cookies.exceptions.*.http_only"), "{keys:#?}");
    assert!(keys.len() > 100, "{} keys", keys.len());
    let entries = outline(&shipped("reference.yaml"));
    let missing: Vec<_> = keys
        .iter()
        .map(|key| described_at(key))
        .filter(|key| !entries.iter().any(|entry| is(&entry.path, key)))
        .collect();
    assert!(missing.is_empty(), "config/reference.yaml lacks {missing:#?}");
}

/// Keys that are inherited are described once, at routes; what may be ordered once, at listeners.
fn described_at(key: &str) -> String {
    if let Some(below) = key.strip_prefix("servers[].tls.acme") {
        return format!("listeners[].tls.acme{below}");
    }
    let below = key.strip_prefix("defaults.").or_else(|| key.strip_prefix("servers[]."));
    let is_inherited =
        |below: &&str| Inherited::NAMES.contains(&below.split(['.', '[']).next().unwrap());
    below.filter(is_inherited).map_or(key.to_owned(), |below| format!("servers[].routes[].{below}"))
}

#[test]
fn the_reference_names_every_key_that_is_inherited() {
    let list = Inherited::NAMES.join(", ");
    let text = shipped("reference.yaml").replace("\n#", "");
    assert!(text.contains(&format!(" {list}\n")), "config/reference.yaml lacks the list {list}");
}

#[test]
fn the_keys_of_a_file_are_told_apart() {
    assert!(is("a[0].b", "a[].b") && is("s.shop.x", "s.*.x") && is("a[12][3]", "a[][]"));
    assert!(!is("a[0].b", "a.*.b") && !is("a.b", "a[].b") && !is("a", "a.b") && !is("a.b", "a"));
}
