//! Who defines which name.
//!
//! While a configuration is read, names are mentioned and defined in any order. When all of it has
//! been read, a name that nobody defined and that is not built in is a mistake of whoever used it.

use std::collections::{HashMap, HashSet};

use thiserror::Error;

use super::geo::Geo;
use super::map::Map;
use super::name::{Builtin, Family};
use super::split_clients::SplitClients;
use super::template::Template;

/// What a name in a text stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Variable {
    Builtin(Builtin),
    /// Defined by the operator, or a member of a family.
    Slot(Slot),
}

/// The place of a variable among those that are not built in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Slot(u32);

/// Where the value of a slot comes from, as long as nobody has set it for the request.
#[derive(Clone, Debug)]
pub enum Definition {
    /// From nowhere: somebody sets it (`set`). Empty until then.
    Assigned,
    /// A group of a pattern of this name, or what `auth_request_set` names. Without a value until then.
    Captured,
    Map(Box<Map>),
    Geo(Box<Geo>),
    Split(Box<SplitClients>),
    Member(Family, Box<[u8]>),
}

/// What a `set` gives a value to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Assignee {
    Slot(Slot),
    /// `$args` or `$limit_rate`.
    Builtin(Builtin),
}

/// A name that is built in cannot be defined again.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
#[error("the duplicate \"{0}\" variable")]
pub struct Duplicate(pub String);

/// Collects names.
#[derive(Debug, Default)]
pub struct Registry {
    slots: HashMap<Box<str>, Slot>,
    definitions: Vec<Option<Definition>>,
    /// Mentioned while nobody had defined them.
    mentions: Vec<Box<str>>,
    /// Some text uses `$1`.
    uses_groups: bool,
    speaks_of_body: bool,
}

/// All variables of a configuration that are not built in.
#[derive(Clone, Debug, Default)]
pub struct Variables {
    definitions: Box<[Definition]>,
    uses_groups: bool,
    speak_of_workers: bool,
    speak_of_body: bool,
}

impl Registry {
    /// What a name stands for, without its `$`; case does not matter.
    pub fn variable(&mut self, name: &str) -> Variable {
        let name = name.to_ascii_lowercase();
        if let Some(builtin) = Builtin::of(&name) {
            self.speaks_of_body |=
                matches!(builtin, Builtin::RequestBody | Builtin::RequestBodyFile);
            return Variable::Builtin(builtin);
        }
        if !self.knows_lower(&name) {
            self.mentions.push(name.as_str().into());
        }
        Variable::Slot(self.slot(&name))
    }

    /// The names that were used, since this was last asked, while nobody had defined them: to be
    /// looked at again with [`knows`](Self::knows) when all has been read.
    pub fn take_mentions(&mut self) -> Vec<Box<str>> {
        std::mem::take(&mut self.mentions)
    }

    /// Whether a name means something.
    pub fn knows(&self, name: &str) -> bool {
        self.knows_lower(&name.to_ascii_lowercase())
    }

    fn knows_lower(&self, name: &str) -> bool {
        let defined = |slot: &Slot| self.definitions[slot.index()].is_some();
        Builtin::of(name).is_some()
            || Family::of(name).is_some()
            || self.slots.get(name).is_some_and(defined)
    }

    /// Gives a name a meaning. A later one replaces an earlier one, as in nginx; being set is none.
    ///
    /// # Errors
    /// It is built in.
    pub fn define(&mut self, name: &str, definition: Definition) -> Result<Slot, Duplicate> {
        let name = name.to_ascii_lowercase();
        if Builtin::of(&name).is_some() {
            return Err(Duplicate(name));
        }
        let slot = self.slot(&name);
        let place = &mut self.definitions[slot.index()];
        match definition {
            // `set $http_x` leaves the field where nothing was set yet.
            Definition::Assigned if place.is_some() || Family::of(&name).is_some() => {}
            definition => *place = Some(definition),
        }
        Ok(slot)
    }

    /// What `set` of a name gives a value to.
    ///
    /// # Errors
    /// It is built in, and not to be changed.
    pub fn assign(&mut self, name: &str) -> Result<Assignee, Duplicate> {
        match Builtin::of(&name.to_ascii_lowercase()) {
            Some(builtin) if builtin.is_assignable() => Ok(Assignee::Builtin(builtin)),
            _ => self.define(name, Definition::Assigned).map(Assignee::Slot),
        }
    }

    /// Whether a text goes by one of these, be it by way of others.
    pub fn goes_by(&self, text: &Template, wanted: &[Builtin]) -> bool {
        let mut seen = HashSet::new();
        let mut waiting: Vec<Variable> = text.variables().collect();
        while let Some(variable) = waiting.pop() {
            match variable {
                Variable::Builtin(builtin) if wanted.contains(&builtin) => return true,
                Variable::Slot(slot) if seen.insert(slot) => {
                    let definition = self.definitions.get(slot.index()).and_then(Option::as_ref);
                    waiting.extend(definition.into_iter().flat_map(Definition::variables));
                }
                Variable::Builtin(_) | Variable::Slot(_) => {}
            }
        }
        false
    }

    /// All variables. One that nobody defined has no value.
    pub fn finish(self) -> Variables {
        let mut definitions = self.definitions;
        for (name, slot) in &self.slots {
            let place = &mut definitions[slot.index()];
            if place.is_none()
                && let Some((family, rest)) = Family::of(name)
            {
                *place = Some(Definition::Member(family, rest.as_bytes().into()));
            }
        }
        let or_none = |place: Option<Definition>| place.unwrap_or(Definition::Captured);
        let definitions: Box<[_]> = definitions.into_iter().map(or_none).collect();
        let speaks = |definition: &Definition| {
            use Family::{SentTrailer, UpstreamCookie, UpstreamHttp, UpstreamTrailer};
            let families = [SentTrailer, UpstreamCookie, UpstreamHttp, UpstreamTrailer];
            matches!(definition, Definition::Member(family, _) if families.contains(family))
        };
        Variables {
            speak_of_workers: definitions.iter().any(speaks),
            definitions,
            uses_groups: self.uses_groups,
            speak_of_body: self.speaks_of_body,
        }
    }

    /// Notes that a text uses `$1`.
    pub(super) fn use_groups(&mut self) {
        self.uses_groups = true;
    }

    fn slot(&mut self, name: &str) -> Slot {
        if let Some(slot) = self.slots.get(name) {
            return *slot;
        }
        let slot = Slot(u32::try_from(self.definitions.len()).unwrap_or(u32::MAX));
        self.slots.insert(name.into(), slot);
        self.definitions.push(None);
        slot
    }
}

impl Variables {
    /// Whether anybody asks for the groups of the last pattern (`$1`).
    pub fn uses_groups(&self) -> bool {
        self.uses_groups
    }

    /// Whether some say what a worker's answer has, so that its fields have to be kept.
    pub fn speak_of_workers(&self) -> bool {
        self.speak_of_workers
    }

    /// Whether any says what a request's body is, so that it has to be kept.
    pub fn speak_of_body(&self) -> bool {
        self.speak_of_body
    }

    pub(super) fn definition(&self, slot: Slot) -> Option<&Definition> {
        self.definitions.get(slot.index())
    }
}

impl Definition {
    /// Those that it is made of.
    fn variables(&self) -> Vec<Variable> {
        match self {
            Self::Map(map) => map.texts().flat_map(Template::variables).collect(),
            Self::Geo(geo) => geo.of.into_iter().collect(),
            Self::Split(split) => split.of().variables().collect(),
            Self::Assigned | Self::Captured | Self::Member(..) => Vec::new(),
        }
    }
}

impl Slot {
    pub(super) fn index(self) -> usize {
        self.0 as usize
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::variables::map::Keys;

    #[test]
    fn a_name_may_be_used_before_it_is_defined() {
        let mut registry = Registry::default();
        let used = registry.variable("Later");
        assert_eq!(registry.take_mentions(), [Box::from("later")]);
        assert!(!registry.knows("later"));
        let slot = registry.define("later", Definition::Captured).expect("a free name");
        assert_eq!(used, Variable::Slot(slot));
        assert!(registry.knows("LATER"));
        registry.variable("later");
        registry.variable("http_x");
        registry.variable("host");
        assert!(registry.take_mentions().is_empty());
    }

    #[test]
    fn what_is_built_in_cannot_be_defined() {
        let mut registry = Registry::default();
        let error = registry.define("Host", Definition::Captured).expect_err("built in");
        assert_eq!(error.to_string(), "the duplicate \"host\" variable");
        assert!(registry.assign("uri").is_err());
        assert_eq!(registry.assign("args"), Ok(Assignee::Builtin(Builtin::Args)));
        assert!(matches!(registry.assign("mine"), Ok(Assignee::Slot(_))));
    }

    #[test]
    fn a_text_goes_by_what_its_variables_are_made_of() {
        let mut registry = Registry::default();
        let compile =
            |registry: &mut Registry, text| Template::compile(text, registry).expect("a text");
        let of = compile(&mut registry, "x$session_id");
        let default = compile(&mut registry, "$circle");
        let map = Map::new(of, Keys::new(false), default);
        registry.define("circle", Definition::Map(Box::new(map))).expect("a free name");
        for (text, expected) in
            [("$circle", true), ("a$session_id", true), ("$host$later", false), ("", false)]
        {
            let text = compile(&mut registry, text);
            assert_eq!(registry.goes_by(&text, &[Builtin::SessionId]), expected, "{text:?}");
        }
    }

    #[test]
    fn being_set_takes_no_other_meaning_away() {
        let mut registry = Registry::default();
        let map = Definition::Captured;
        let slot = registry.define("x", map).expect("a free name");
        assert_eq!(registry.assign("x"), Ok(Assignee::Slot(slot)));
        let field = registry.assign("http_x").expect("a family");
        let variables = registry.finish();
        assert!(matches!(variables.definition(slot), Some(Definition::Captured)));
        let Assignee::Slot(field) = field else { panic!("{field:?}") };
        assert!(matches!(
            variables.definition(field),
            Some(Definition::Member(Family::Http, name)) if **name == *b"x"
        ));
    }
}
