//! One request's values, computed on demand.

use bytes::Bytes;

use super::Facts;
use super::name::Family;
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
            Variable::Builtin(builtin) => self.facts.builtin(builtin, out),
            Variable::Slot(slot) => self.append_slot(slot, out),
        }
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
