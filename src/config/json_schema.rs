//! The shape of the file as JSON Schema (draft 2020-12), for editors that complete and check it.
//!
//! Nothing is written down twice: the schema's own types are asked, by a deserializer that has no data and
//! notes what each of them wants. What values mean is not in it: `cloakroom check` knows that.

use std::cell::{Cell, RefCell};
use std::fmt;

use serde::Deserialize;
use serde::de::value::{BoolDeserializer, StrDeserializer};
use serde::de::{DeserializeSeed, Deserializer, IntoDeserializer, MapAccess, SeqAccess, Visitor};
use serde_json::{Error, Map, Value, json};

use super::schema::File;

/// The schema of a whole file.
pub fn json_schema() -> Value {
    let (told, definitions) = (Cell::new(Value::Null), RefCell::default());
    let asked = Describer { told: &told, definitions: &definitions, is_placed: false };
    // Every answer fits, so that nothing can be wrong.
    let _ = File::deserialize(asked);
    let definitions = definitions.into_inner();
    json!({
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "Cloakroom's configuration",
        "$ref": told.into_inner()["$ref"],
        "$defs": definitions,
    })
}

/// Answers every question with something that fits, and tells the schema of what was wanted.
#[derive(Clone, Copy)]
struct Describer<'a> {
    told: &'a Cell<Value>,
    definitions: &'a RefCell<Map<String, Value>>,
    /// The value is one with its place.
    is_placed: bool,
}

impl<'a> Describer<'a> {
    /// Another one, for a part of this.
    fn part<'b>(&self, told: &'b Cell<Value>) -> Describer<'b>
    where
        'a: 'b,
    {
        Describer { told, definitions: self.definitions, is_placed: false }
    }
}

/// A text, which YAML also takes for a number or a switch.
fn scalar() -> Value {
    json!({ "type": ["string", "number", "boolean"] })
}

fn list(of: &Value) -> Value {
    json!({ "type": "array", "items": of })
}

/// A value that may be left out, by saying nothing too.
fn or_nothing(mut schema: Value) -> Value {
    match schema.get_mut("type") {
        Some(Value::Array(types)) => types.push("null".into()),
        Some(one) => *one = json!([one.take(), "null"]),
        None => match schema.get_mut("anyOf") {
            Some(Value::Array(any)) => any.push(json!({ "type": "null" })),
            _ => return json!({ "anyOf": [schema, { "type": "null" }] }),
        },
    }
    schema
}

/// What a visitor says that it expects: types that take several shapes are told apart by it.
struct Expecting<'a, V>(&'a V);

impl<'de, V: Visitor<'de>> fmt::Display for Expecting<'_, V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.expecting(f)
    }
}

macro_rules! numbers {
    ($($method:ident: $max:expr,)*) => {
        $(fn $method<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
            self.told.set(json!({ "type": "integer", "minimum": 0, "maximum": $max }));
            visitor.visit_u64(1)
        })*
    };
}

impl<'de> Deserializer<'de> for Describer<'_> {
    type Error = Error;

    /// A value with its place asks this, and what may have several shapes.
    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        if self.is_placed {
            return visitor.visit_map(Placed { describer: self, step: 0 });
        }
        let expected = Expecting(&visitor).to_string();
        let told = Cell::new(Value::Null);
        let value = visitor.visit_newtype_struct(self.part(&told))?;
        let one = told.into_inner();
        self.told.set(match expected.as_str() {
            "a text or a mapping" => json!({ "anyOf": [scalar(), one] }),
            "a text or a list of texts" => json!({ "anyOf": [scalar(), list(&scalar())] }),
            "a text, a mapping or a list of them" => {
                let items = json!({ "anyOf": [scalar(), one] });
                json!({ "anyOf": [scalar(), one, list(&items)] })
            }
            "a mapping or a list of them" => json!({ "anyOf": [one, list(&one)] }),
            _ => json!({}),
        });
        Ok(value)
    }

    /// Only a value with its place asks this, and then the other.
    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        visitor: V,
    ) -> Result<V::Value, Error> {
        visitor.visit_newtype_struct(Self { is_placed: true, ..self })
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        visitor.visit_some(self)
    }

    /// Each once: routes lie in routes.
    fn deserialize_struct<V: Visitor<'de>>(
        self,
        name: &'static str,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Error> {
        self.told.set(json!({ "$ref": format!("#/$defs/{name}") }));
        let is_known = self.definitions.borrow().contains_key(name);
        let fields = if is_known { &[] } else { fields };
        self.definitions.borrow_mut().entry(name).or_insert(Value::Null);
        let properties = RefCell::default();
        let entries =
            Entries { describer: self, left: fields.iter(), current: "", properties: &properties };
        let value = visitor.visit_map(entries)?;
        if !is_known {
            let properties = properties.into_inner();
            let schema = json!({
                "type": "object",
                "properties": properties,
                "additionalProperties": false,
            });
            self.definitions.borrow_mut().insert(name.to_owned(), schema);
        }
        Ok(value)
    }

    /// Names of the operator's.
    fn deserialize_map<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        let told = Cell::new(Value::Null);
        let value = visitor.visit_map(AnyName { describer: self.part(&told), step: 0 })?;
        self.told.set(json!({ "type": "object", "additionalProperties": told.into_inner() }));
        Ok(value)
    }

    fn deserialize_seq<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        let told = Cell::new(Value::Null);
        let value = visitor.visit_seq(One(Some(self.part(&told))))?;
        self.told.set(list(&told.into_inner()));
        Ok(value)
    }

    fn deserialize_bool<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        self.told.set(json!({ "type": "boolean" }));
        visitor.visit_bool(true)
    }

    fn deserialize_string<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        self.told.set(scalar());
        visitor.visit_str("")
    }

    numbers! {
        deserialize_u8: u8::MAX,
        deserialize_u16: u16::MAX,
        deserialize_u32: u32::MAX,
        deserialize_u64: u64::MAX,
    }

    serde::forward_to_deserialize_any! {
        i8 i16 i32 i64 i128 u128 f32 f64 char str bytes byte_buf unit unit_struct tuple
        tuple_struct enum identifier ignored_any
    }
}

/// The fields of a struct, one after the other.
struct Entries<'a> {
    describer: Describer<'a>,
    left: std::slice::Iter<'static, &'static str>,
    current: &'static str,
    properties: &'a RefCell<Map<String, Value>>,
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
        let told = Cell::new(Value::Null);
        let value = seed.deserialize(self.describer.part(&told))?;
        let schema = or_nothing(told.into_inner());
        self.properties.borrow_mut().insert(self.current.to_owned(), schema);
        Ok(value)
    }
}

/// A mapping with one entry of any name.
struct AnyName<'a> {
    describer: Describer<'a>,
    step: usize,
}

impl<'de> MapAccess<'de> for AnyName<'_> {
    type Error = Error;

    fn next_key_seed<K: DeserializeSeed<'de>>(
        &mut self,
        seed: K,
    ) -> Result<Option<K::Value>, Error> {
        self.step += 1;
        if self.step > 1 {
            return Ok(None);
        }
        seed.deserialize(self.describer).map(Some)
    }

    fn next_value_seed<V: DeserializeSeed<'de>>(&mut self, seed: V) -> Result<V::Value, Error> {
        seed.deserialize(self.describer)
    }
}

/// A list with one item.
struct One<'a>(Option<Describer<'a>>);

impl<'de> SeqAccess<'de> for One<'_> {
    type Error = Error;

    fn next_element_seed<T: DeserializeSeed<'de>>(
        &mut self,
        seed: T,
    ) -> Result<Option<T::Value>, Error> {
        self.0.take().map(|describer| seed.deserialize(describer)).transpose()
    }
}

/// What `serde_saphyr::Spanned` reads: marker, value, and where it is used and defined.
struct Placed<'a> {
    describer: Describer<'a>,
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
            2 => seed.deserialize(Describer { is_placed: false, ..self.describer }),
            _ => seed.deserialize(json!({ "line": 1, "column": 1 })),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    /// As much of a validator as this schema has use for: the first thing that does not fit.
    fn misfit(root: &Value, schema: &Value, value: &Value, at: &str) -> Option<String> {
        if let Some(name) = schema["$ref"].as_str() {
            let name = name.strip_prefix("#/$defs/").expect("a definition");
            return misfit(root, &root["$defs"][name], value, at);
        }
        if let Some(any) = schema["anyOf"].as_array() {
            let misfits: Vec<_> =
                any.iter().filter_map(|one| misfit(root, one, value, at)).collect();
            let fits = misfits.len() < any.len();
            return (!fits).then(|| misfits.join(" | "));
        }
        let types = match &schema["type"] {
            Value::Array(types) => types.iter().filter_map(Value::as_str).collect(),
            one => Vec::from_iter(one.as_str()),
        };
        let is = match value {
            Value::Null => "null",
            Value::Bool(_) => "boolean",
            Value::Number(_) if types.contains(&"integer") => "integer",
            Value::Number(_) => "number",
            Value::String(_) => "string",
            Value::Array(_) => "array",
            Value::Object(_) => "object",
        };
        if !types.contains(&is) {
            return Some(format!("{at}: {is}, not {types:?}"));
        }
        match value {
            Value::Array(items) => items.iter().enumerate().find_map(|(index, item)| {
                misfit(root, &schema["items"], item, &format!("{at}[{index}]"))
            }),
            Value::Object(entries) => entries.iter().find_map(|(key, value)| {
                let at = format!("{at}.{key}");
                match (schema["properties"].get(key), &schema["additionalProperties"]) {
                    (Some(schema), _) => misfit(root, schema, value, &at),
                    (None, Value::Bool(false)) => Some(format!("{at}: unknown")),
                    (None, schema) => misfit(root, schema, value, &at),
                }
            }),
            _ => None,
        }
    }

    fn check(yaml: &str) -> Option<String> {
        let schema = json_schema();
        let value: Value = serde_saphyr::from_str(yaml).expect("it is YAML");
        misfit(&schema, &schema, &value, "")
    }

    #[test]
    fn every_shipped_file_fits() {
        let config = Path::new(env!("CARGO_MANIFEST_DIR")).join("config");
        let mut checked = 0;
        for folder in [config.clone(), config.join("examples")] {
            for entry in std::fs::read_dir(folder).expect("config/ is there") {
                let path = entry.expect("an entry").path();
                if path.extension().is_some_and(|extension| extension == "yaml") {
                    let text = std::fs::read_to_string(&path).expect("it can be read");
                    assert_eq!(check(&text), None, "{}", path.display());
                    checked += 1;
                }
            }
        }
        assert!(checked >= 4, "{checked} files");
    }

    #[test]
    fn what_has_no_such_shape_does_not_fit() {
        assert_eq!(check("workers: auto"), None);
        assert_eq!(check("workers: 4"), None);
        assert_eq!(check("limits: null"), None);
        assert_eq!(check("worker: 4").as_deref(), Some(".worker: unknown"));
        assert_eq!(
            check("servers: [{ routes: [{ routes: [{ pth: / }] }] }]").as_deref(),
            Some(".servers[0].routes[0].routes[0].pth: unknown")
        );
        for wrong in
            ["listeners: 3", "workers: [3]", "sessions: { a: 3 }", "log: { access: maybe }"]
        {
            assert!(check(wrong).is_some(), "{wrong}");
        }
    }

    /// `cloakroom schema > config/schema.json` writes it anew.
    #[test]
    fn the_shipped_schema_is_this_one() {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("config/schema.json");
        let text = std::fs::read_to_string(path).unwrap_or_default();
        let shipped: Value = serde_json::from_str(&text).unwrap_or_default();
        assert!(shipped == json_schema(), "write it anew: cloakroom schema > config/schema.json");
    }
}
