//! One request's values, computed on demand.

use bytes::Bytes;

use super::Facts;
use super::name::{Builtin, Family};
use super::registry::{Definition, Slot, Variable, Variables};
use super::template::Part;
use super::values::{Value, Values};

/// Variables that are made of each other, at most so many deep: a circle ends here, as in nginx.
const DEPTH_MAX: u8 = 100;

/// Variables as they are for one request.
pub struct Evaluation<'a> {
    pub variables: &'a Variables,
    pub facts: &'a dyn Facts,
    pub values: &'a mut Values,
}

impl Evaluation<'_> {
    /// Appends a variable's value. Says whether it has one.
    pub fn append(&mut self, variable: Variable, out: &mut Vec<u8>) -> bool {
        match variable {
            Variable::Builtin(Builtin::SecureLink) if self.facts.secure_link().is_some() => {
                self.append_link(out)
            }
            Variable::Builtin(Builtin::SecureLinkExpires) => self.append_expires(out),
            Variable::Builtin(
                name @ (Builtin::DocumentRoot | Builtin::RealpathRoot | Builtin::RequestFilename),
            ) => self.append_of_directory(name, out),
            Variable::Builtin(builtin) => self.facts.builtin(builtin, out),
            Variable::Slot(slot) => self.append_slot(slot, out),
        }
    }

    /// What goes by the directory of the request's files, which may have variables itself.
    fn append_of_directory(&mut self, name: Builtin, out: &mut Vec<u8>) -> bool {
        let facts = self.facts;
        let Some(directory) = facts.directory() else { return false };
        if self.values.depth >= DEPTH_MAX {
            tracing::error!("a directory is made of itself, by way of variables: it is empty");
            return false;
        }
        self.values.depth += 1;
        let directory = directory.value(self);
        let found = facts.of_directory(name, &directory, out);
        self.values.depth -= 1;
        found
    }

    pub(super) fn append_part(&mut self, part: &Part, out: &mut Vec<u8>) {
        match part {
            Part::Text(text) => out.extend_from_slice(text),
            Part::Capture(group) => out.extend_from_slice(self.values.capture(*group)),
            Part::Variable(variable) => {
                self.append(*variable, out);
            }
        }
    }

    fn append_slot(&mut self, slot: Slot, out: &mut Vec<u8>) -> bool {
        let variables = self.variables;
        let Some(definition) = variables.definition(slot) else { return false };
        match self.values.get(slot) {
            // Computed anew each time.
            _ if definition.is_volatile() => {}
            Some(Value::Found(value)) => {
                out.extend_from_slice(value);
                return true;
            }
            Some(Value::Missing) => return false,
            None => {}
        }
        let value = match definition {
            Definition::Assigned => return true,
            Definition::Captured => return false,
            Definition::Member(family, name) => return self.facts.member(*family, name, out),
            computed => self.compute(computed),
        };
        out.extend_from_slice(&value);
        if !definition.is_volatile() {
            self.values.set(slot, Value::Found(value));
        }
        true
    }

    /// Whether a link is good (nginx `secure_link`).
    fn append_link(&mut self, out: &mut Vec<u8>) -> bool {
        let facts = self.facts;
        let Some((said, hashed)) = facts.secure_link() else { return false };
        if self.values.depth >= DEPTH_MAX {
            return false;
        }
        self.values.depth += 1;
        let said = said.value(self).into_owned();
        let hashed = hashed.value(self).into_owned();
        self.values.depth -= 1;
        facts.judge_link(&said, &hashed, out)
    }

    /// What a link says of its end.
    fn append_expires(&mut self, out: &mut Vec<u8>) -> bool {
        let facts = self.facts;
        let Some((said, _)) = facts.secure_link() else { return false };
        if self.values.depth >= DEPTH_MAX {
            return false;
        }
        self.values.depth += 1;
        let said = said.value(self).into_owned();
        self.values.depth -= 1;
        let expires = said.iter().position(|byte| *byte == b',').and_then(|at| said.get(at + 1..));
        expires.into_iter().for_each(|expires| out.extend_from_slice(expires));
        expires.is_some()
    }

    /// The value of a variable that is made of others.
    fn compute(&mut self, definition: &Definition) -> Bytes {
        if self.values.depth >= DEPTH_MAX {
            tracing::error!("a variable is made of itself, by way of others: it is empty");
            return Bytes::new();
        }
        self.values.depth += 1;
        let value = match definition {
            Definition::Map(map) => map.value(self),
            Definition::Geo(geo) => geo.value(self),
            Definition::Split(split) => split.value(self),
            Definition::Assigned | Definition::Captured | Definition::Member(..) => Bytes::new(),
        };
        self.values.depth -= 1;
        value
    }
}

impl Definition {
    /// Whether what was computed or set is not kept. `$arg_…` follows `$args`, which may change.
    fn is_volatile(&self) -> bool {
        match self {
            Self::Map(map) => map.is_volatile(),
            Self::Member(family, _) => matches!(
                family,
                Family::Arg
                    | Family::UpstreamHttp
                    | Family::UpstreamTrailer
                    | Family::UpstreamCookie
            ),
            Self::Assigned | Self::Captured | Self::Geo(_) | Self::Split(_) => false,
        }
    }
}
