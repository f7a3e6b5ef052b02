//! Patterns whose groups become variables: of locations, server names, `if`, `rewrite`, `map`.

use bytes::Bytes;

use super::registry::{Definition, Duplicate, Registry, Slot};
use super::values::{Value, Values};
use crate::routing::pattern::{BadPattern, Case, GaveUp, Pattern, watched};

/// A pattern, and what its named groups are called.
#[derive(Clone, Debug)]
pub struct Matcher {
    pattern: Pattern,
    named: Box<[(usize, Slot)]>,
}

/// What is wrong with a pattern.
#[derive(Clone, Debug, thiserror::Error, PartialEq, Eq)]
pub enum BadMatcher {
    #[error(transparent)]
    Pattern(#[from] BadPattern),
    #[error(transparent)]
    Name(#[from] Duplicate),
}

impl Matcher {
    /// Compiles a pattern; its named groups are variables from here on.
    ///
    /// # Errors
    /// It is no pattern, or a group has the name of a variable that is built in.
    pub fn compile(text: &str, case: Case, registry: &mut Registry) -> Result<Self, BadMatcher> {
        let pattern = Pattern::compile(text, case)?;
        let named = pattern.names().into_iter().map(|(group, name)| {
            registry.define(name, Definition::Captured).map(|slot| (group, slot))
        });
        let named = named.collect::<Result<_, _>>()?;
        Ok(Self { pattern, named })
    }

    /// Whether groups of it have names.
    pub fn names_groups(&self) -> bool {
        !self.named.is_empty()
    }

    /// Whether a text matches. If so, its groups are the request's from here on. What takes too long is no
    /// match, and is noted.
    pub fn run(&self, text: &[u8], values: &mut Values) -> bool {
        let run = watched(|| self.match_with(text, values));
        run.unwrap_or_else(|GaveUp| {
            values.give_up();
            false
        })
    }

    fn match_with(&self, text: &[u8], values: &mut Values) -> bool {
        if self.pattern.groups() == 0 {
            let matches = self.pattern.is_match(text);
            if matches {
                values.matched(text, std::iter::empty());
            }
            return matches;
        }
        let Some(captures) = self.pattern.captures(text) else { return false };
        let range = |group| captures.range(group).map_or((0, 0), |found| (found.start, found.end));
        values.matched(text, (1..captures.len()).map(range));
        for (group, slot) in &self.named {
            let found = captures.range(*group).and_then(|range| text.get(range));
            let text = found.unwrap_or_default();
            values.set(*slot, Value::Found(Bytes::copy_from_slice(text)));
        }
        true
    }
}
