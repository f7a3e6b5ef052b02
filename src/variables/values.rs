//! What is kept for one request: values that were set or computed, and the groups of the last pattern
//! that matched.

use bytes::Bytes;

use super::registry::Slot;

/// The values of one request. Empty until somebody asks for one that has to be kept.
#[derive(Debug, Default)]
pub struct Values {
    slots: Vec<Option<Value>>,
    captures: Captures,
    /// A pattern took too long: what was decided by it means nothing.
    has_given_up: bool,
    /// How many computations stand inside each other.
    pub(super) depth: u8,
}

/// A value that is kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Value {
    Found(Bytes),
    /// It was looked for, and there is none.
    Missing,
}

/// Groups of a match.
#[derive(Debug, Default)]
struct Captures {
    subject: Vec<u8>,
    /// The groups from the first on; what did not take part is empty.
    groups: Vec<(usize, usize)>,
}

impl Values {
    /// Gives a variable a value for the rest of the request.
    pub fn set(&mut self, slot: Slot, value: Value) {
        let index = slot.index();
        if self.slots.len() <= index {
            self.slots.resize(index + 1, None);
        }
        self.slots[index] = Some(value);
    }

    pub(super) fn get(&self, slot: Slot) -> Option<&Value> {
        self.slots.get(slot.index())?.as_ref()
    }

    /// A group of the last pattern that matched; empty where it has none of that number.
    pub fn capture(&self, group: u8) -> &[u8] {
        let Captures { subject, groups } = &self.captures;
        let range = usize::from(group).checked_sub(1).and_then(|index| groups.get(index));
        range.and_then(|(begin, end)| subject.get(*begin..*end)).unwrap_or_default()
    }

    /// Notes that nobody knows whether a pattern matches.
    pub(super) fn give_up(&mut self) {
        self.has_given_up = true;
    }

    /// Whether that was so since the last time that somebody asked.
    pub fn take_given_up(&mut self) -> bool {
        std::mem::take(&mut self.has_given_up)
    }

    /// Notes that a pattern of a script did not match: then no groups are left, as in nginx.
    pub fn unmatched(&mut self) {
        self.captures.groups.clear();
    }

    /// Notes a match; a pattern without groups takes the groups of the one before away.
    pub(super) fn matched(&mut self, subject: &[u8], groups: impl Iterator<Item = (usize, usize)>) {
        let captures = &mut self.captures;
        captures.subject.clear();
        captures.groups.clear();
        captures.groups.extend(groups);
        if !captures.groups.is_empty() {
            captures.subject.extend_from_slice(subject);
        }
    }
}
