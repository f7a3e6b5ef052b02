//! Every key that serde accepts stands in `config/reference.yaml`.
//!
//! The list of keys is not kept by hand: a deserializer that has no data asks the schema's own
//! types for their fields, so a new field without a line in the reference fails here.

use std::cell::RefCell;
use std::collections::BTreeSet;

use serde::Deserialize;
use serde::de::value::{BoolDeserializer, StrDeserializer};
use serde::de::{DeserializeSeed, Deserializer, IntoDeserializer, MapAccess, SeqAccess, Visitor};
use serde_json::Error;

use super::outline::outline;
use super::schema::{File, Inherited};
use super::shipped_tests::shipped;

/// Answers every question with something that fits, and notes the fields of structs.
struct Collector<'a> {
    path: String,
    keys: &'a RefCell<BTreeSet<String>>,
    /// The value is one with its place.
    placed: bool,
}

impl<'a> Collector<'a> {
    fn below(&self, step: &str) -> Self {
        Self { path: format!("{}{step}", self.path), keys: self.keys, placed: false }
    }
}

macro_rules! numbers {
    ($($method:ident)*) => {
        $(fn $method<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
            visitor.visit_u64(1)
        })*
    };
}

impl<'de> Deserializer<'de> for Collector<'_> {
    type Error = Error;

    /// A value with its place asks this, and wants the value and two locations; and what may be a
    /// text or a mapping, whose keys are wanted.
    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        if self.placed {
            visitor.visit_map(Placed { collector: Some(self), step: 0 })
        } else {
            visitor.visit_newtype_struct(self)
        }
    }

    /// Only a value with its place asks this, and then the other.
    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        visitor: V,
    ) -> Result<V::Value, Error> {
        visitor.visit_newtype_struct(Self { placed: true, ..self })
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        visitor.visit_some(self)
    }

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Error> {
        // What may stand there is what may stand in a route.
        let is_inside = ["rewrite[].with", "limit_except.with"]
            .iter()
            .any(|inside| self.path.ends_with(inside));
        let fields = if is_inside { &[] } else { fields };
        visitor.visit_map(Entries { collector: self, left: fields.iter(), current: "" })
    }

    fn deserialize_map<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        visitor.visit_map(AnyName { collector: Some(self), key_given: false })
    }

    /// Routes lie in routes, steps in steps: once is enough.
    fn deserialize_seq<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        let is_deep = ["routes[].routes", "rewrite[].then", "servers[].rewrite"]
            .iter()
            .any(|deep| self.path.ends_with(deep));
        visitor.visit_seq(One(Some(self.below("[]")).filter(|_| !is_deep)))
    }

    fn deserialize_bool<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        visitor.visit_bool(true)
    }

    fn deserialize_string<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        visitor.visit_str("*")
    }

    numbers! { deserialize_u8 deserialize_u16 deserialize_u32 deserialize_u64 }

    serde::forward_to_deserialize_any! {
        i8 i16 i32 i64 i128 u128 f32 f64 char str bytes byte_buf unit unit_struct tuple
        tuple_struct enum identifier ignored_any
    }
}

/// The fields of a struct, one after the other.
struct Entries<'a> {
    collector: Collector<'a>,
    left: std::slice::Iter<'static, &'static str>,
    current: &'static str,
}

impl<'de> MapAccess<'de> for Entries<'_> {
    type Error = Error;

    fn next_key_seed<K: DeserializeSeed<'de>>(
        &mut self,
        seed: K,
    ) -> Result<Option<K::Value>, Error> {
        let Some(field) = self.left.next() else { return Ok(None) };
        self.current = field;
        let key: StrDeserializer<'_, Error> = field.into_deserializer();
        seed.deserialize(key).map(Some)
    }

    fn next_value_seed<V: DeserializeSeed<'de>>(&mut self, seed: V) -> Result<V::Value, Error> {
        let dot = if self.collector.path.is_empty() { "" } else { "." };
        let below = self.collector.below(&format!("{dot}{}", self.current));
        below.keys.borrow_mut().insert(below.path.clone());
        seed.deserialize(below)
    }
}

/// A mapping with one entry of any name.
struct AnyName<'a> {
    collector: Option<Collector<'a>>,
    key_given: bool,
}

impl<'de> MapAccess<'de> for AnyName<'_> {
    type Error = Error;

    fn next_key_seed<K: DeserializeSeed<'de>>(
        &mut self,
        seed: K,
    ) -> Result<Option<K::Value>, Error> {
        if std::mem::replace(&mut self.key_given, true) {
            return Ok(None);
        }
        let collector = self.collector.as_ref().expect("the value comes after its key");
        seed.deserialize(collector.below("")).map(Some)
    }

    fn next_value_seed<V: DeserializeSeed<'de>>(&mut self, seed: V) -> Result<V::Value, Error> {
        let collector = self.collector.take().expect("there is one value");
        seed.deserialize(collector.below(".*"))
    }
}

/// A list with one item.
struct One<'a>(Option<Collector<'a>>);

impl<'de> SeqAccess<'de> for One<'_> {
    type Error = Error;

    fn next_element_seed<T: DeserializeSeed<'de>>(
        &mut self,
        seed: T,
    ) -> Result<Option<T::Value>, Error> {
        self.0.take().map(|collector| seed.deserialize(collector)).transpose()
    }
}

/// What `serde_saphyr::Spanned` reads: marker, value, and where it is used and defined.
struct Placed<'a> {
    collector: Option<Collector<'a>>,
    step: usize,
}

impl<'de> MapAccess<'de> for Placed<'_> {
    type Error = Error;

    fn next_key_seed<K: DeserializeSeed<'de>>(
        &mut self,
        seed: K,
    ) -> Result<Option<K::Value>, Error> {
        const KEYS: [&str; 4] =
            ["__serde_saphyr_private_spanned", "value", "referenced", "defined"];
        let Some(key) = KEYS.get(self.step) else { return Ok(None) };
        self.step += 1;
        let key: StrDeserializer<'_, Error> = key.into_deserializer();
        seed.deserialize(key).map(Some)
    }

    fn next_value_seed<V: DeserializeSeed<'de>>(&mut self, seed: V) -> Result<V::Value, Error> {
        match self.step {
            1 => seed.deserialize(BoolDeserializer::new(true)),
            2 => seed.deserialize(self.collector.take().expect("there is one value").below("")),
            _ => seed.deserialize(serde_json::json!({ "line": 1, "column": 1 })),
        }
    }
}

/// All keys of the schema: `sessions.*.login[].request`.
fn schema_keys() -> BTreeSet<String> {
    let keys = RefCell::new(BTreeSet::new());
    File::deserialize(Collector { path: String::new(), keys: &keys, placed: false })
        .expect("every answer fits");
    keys.into_inner()
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

/// Keys that are inherited are described once, at routes.
fn described_at(key: &str) -> String {
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
