//! A flat list of fields over one buffer: order, spelling and doubled fields are kept, and nothing
//! is hashed.
//!
//! A head has some twenty fields and is asked some ten times. A scan over numbers costs less than
//! making a map, and what is written again is what came.

use std::fmt;
use std::io::{self, Write as _};

use thiserror::Error;

use super::is_token;
use super::name::Name;

/// Room for what is usually added to a head that was read.
const SPARE_FIELDS: usize = 4;
const SPARE_BYTES: usize = 128;

/// Fields of a head or of trailers (RFC 9110 section 5), in their order.
#[derive(Clone, Default)]
pub struct Fields {
    /// What names and values are ranges of; also the first line of a head.
    text: Vec<u8>,
    list: Vec<Entry>,
}

/// One field.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Field<'a> {
    pub known: Name,
    /// As it was spelled.
    pub name: &'a [u8],
    /// Without white space around it.
    pub value: &'a [u8],
}

/// A piece of the text.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Span {
    begin: u32,
    length: u32,
}

#[derive(Clone, Copy)]
struct Entry {
    known: Name,
    name: Span,
    value: Span,
}

/// A name that is no token, or a value that would end its line.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
#[error("text that cannot stand in a field")]
pub struct Unwritable;

impl Fields {
    pub fn new() -> Self {
        Self::default()
    }

    /// The same fields, with room for so many more of so many bytes: a head that is about to be added
    /// to grows no more then.
    pub fn with_room(&self, fields: usize, bytes: usize) -> Self {
        let mut copy = Self {
            text: Vec::with_capacity(self.text.len() + bytes),
            list: Vec::with_capacity(self.list.len() + fields),
        };
        copy.text.extend_from_slice(&self.text);
        copy.list.extend_from_slice(&self.list);
        copy
    }

    /// No fewer bytes than all fields take when they are written.
    pub(super) fn written_max(&self) -> usize {
        self.text.len() + 4 * self.list.len()
    }

    /// Forgets all fields; the memory stays.
    pub fn clear(&mut self) {
        self.text.clear();
        self.list.clear();
    }

    pub fn len(&self) -> usize {
        self.list.len()
    }

    pub fn is_empty(&self) -> bool {
        self.list.is_empty()
    }

    pub fn iter(&self) -> impl DoubleEndedIterator<Item = Field<'_>> + ExactSizeIterator {
        self.list.iter().map(|entry| self.field(entry))
    }

    /// The value of the first field of this name.
    pub fn get(&self, name: Name) -> Option<&[u8]> {
        self.all(name).next()
    }

    /// The values of all fields of this name.
    pub fn all(&self, name: Name) -> impl DoubleEndedIterator<Item = &[u8]> {
        debug_assert_ne!(name, Name::Other, "others are found by their text");
        let of_name = self.list.iter().filter(move |entry| entry.known == name);
        of_name.map(|entry| self.span(entry.value))
    }

    /// The value of the only field of this name; nothing where there are several.
    pub fn only(&self, name: Name) -> Option<&[u8]> {
        let mut values = self.all(name);
        values.next().filter(|_| values.next().is_none())
    }

    /// The values of all fields of a name that need not have a number.
    pub fn all_named<'a>(&'a self, name: &'a [u8]) -> impl DoubleEndedIterator<Item = &'a [u8]> {
        let known = Name::of(name);
        self.iter()
            .filter(move |field| field.known == known && field.name.eq_ignore_ascii_case(name))
            .map(|field| field.value)
    }

    pub fn has(&self, name: Name) -> bool {
        self.get(name).is_some()
    }

    pub fn has_named(&self, name: &[u8]) -> bool {
        self.all_named(name).next().is_some()
    }

    /// Adds a field behind the others.
    ///
    /// # Errors
    /// [`Unwritable`], and then nothing is added: whoever puts a client's text into a field must not
    /// be able to begin another one with it.
    pub fn push(&mut self, name: &[u8], value: &[u8]) -> Result<(), Unwritable> {
        let entry = self.append(name, |text| text.write_all(value))?;
        self.list.push(entry);
        Ok(())
    }

    /// Sets a field: in the place of the first of this name, or behind all others.
    ///
    /// # Errors
    /// As [`Fields::push`].
    pub fn set(&mut self, name: &[u8], value: &[u8]) -> Result<(), Unwritable> {
        let new = self.append(name, |text| text.write_all(value))?;
        self.replace(new);
        Ok(())
    }

    /// Sets a field to what is displayed, without a string in between.
    ///
    /// # Errors
    /// As [`Fields::push`].
    pub fn set_displayed(
        &mut self,
        name: &[u8],
        value: impl fmt::Display,
    ) -> Result<(), Unwritable> {
        let new = self.append(name, |text| write!(text, "{value}"))?;
        self.replace(new);
        Ok(())
    }

    /// Adds a field behind the others whose value is written straight into the buffer.
    ///
    /// # Errors
    /// As [`Fields::push`].
    pub fn push_with(
        &mut self,
        name: &[u8],
        write_value: impl FnOnce(&mut Vec<u8>),
    ) -> Result<(), Unwritable> {
        let new = self.append(name, |text| {
            write_value(text);
            Ok(())
        })?;
        self.list.push(new);
        Ok(())
    }

    /// Removes all fields of a name that has a number; says whether there were any.
    pub fn remove(&mut self, name: Name) -> bool {
        let before = self.list.len();
        self.list.retain(|entry| entry.known != name);
        self.list.len() < before
    }

    /// Removes all fields of a name that need not have a number.
    pub fn remove_named(&mut self, name: &[u8]) {
        self.retain(|field| !field.name.eq_ignore_ascii_case(name));
    }

    /// Keeps the fields that `keep` wants.
    pub fn retain(&mut self, mut keep: impl FnMut(Field<'_>) -> bool) {
        let Self { text, list } = self;
        list.retain(|entry| keep(entry.field(text)));
    }

    /// Takes `text` in, whose pieces [`Fields::note`] may then be told of.
    pub(super) fn take_text(&mut self, text: &[u8]) {
        self.clear();
        self.text.reserve(text.len() + SPARE_BYTES);
        self.text.extend_from_slice(text);
    }

    /// So many fields are about to be noted.
    pub(super) fn expect(&mut self, fields: usize) {
        self.list.reserve(fields + SPARE_FIELDS);
    }

    /// Notes a field that stands in the text.
    pub(super) fn note(&mut self, name: Span, value: Span) -> Name {
        let known = Name::of(name.of(&self.text));
        self.list.push(Entry { known, name, value });
        known
    }

    pub(super) fn span(&self, span: Span) -> &[u8] {
        span.of(&self.text)
    }

    /// Writes a field behind the text; what cannot stand in one leaves no trace.
    fn append(
        &mut self,
        name: &[u8],
        write_value: impl FnOnce(&mut Vec<u8>) -> io::Result<()>,
    ) -> Result<Entry, Unwritable> {
        if name.is_empty() || !name.iter().all(|byte| is_token(*byte)) {
            return Err(Unwritable);
        }
        let begin = self.text.len();
        self.text.extend_from_slice(name);
        let written = write_value(&mut self.text);
        let entry = match self.text.get(begin + name.len()..) {
            Some(value) if written.is_ok() && is_value(value) => {
                Entry::at(begin, name, value.len())
            }
            _ => None,
        };
        if entry.is_none() {
            self.text.truncate(begin);
        }
        entry.ok_or(Unwritable)
    }

    /// Puts a field in the place of the first of its name, or behind all others.
    fn replace(&mut self, new: Entry) {
        let Self { text, list } = self;
        let is_same = |entry: &Entry| {
            entry.known == new.known && entry.name.of(text).eq_ignore_ascii_case(new.name.of(text))
        };
        let place = list.iter().position(is_same);
        list.retain(|entry| !is_same(entry));
        list.insert(place.unwrap_or(list.len()), new);
    }

    fn field(&self, entry: &Entry) -> Field<'_> {
        entry.field(&self.text)
    }
}

impl Span {
    /// `None` beyond 4 GiB: no limit on heads is that high.
    pub(super) fn new(begin: usize, length: usize) -> Option<Self> {
        Some(Self { begin: u32::try_from(begin).ok()?, length: u32::try_from(length).ok()? })
    }

    fn of(self, text: &[u8]) -> &[u8] {
        let begin = self.begin as usize;
        text.get(begin..begin + self.length as usize).unwrap_or_default()
    }
}

impl Entry {
    /// A field whose name begins at `begin` and is followed by its value.
    fn at(begin: usize, name: &[u8], value_length: usize) -> Option<Self> {
        let value = Span::new(begin + name.len(), value_length)?;
        Some(Self { known: Name::of(name), name: Span::new(begin, name.len())?, value })
    }

    fn field<'a>(&self, text: &'a [u8]) -> Field<'a> {
        Field { known: self.known, name: self.name.of(text), value: self.value.of(text) }
    }
}

/// Values hold passwords and cookies: only the names are shown.
impl fmt::Debug for Fields {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.iter()).finish()
    }
}

impl fmt::Debug for Field<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: [redacted]", self.name.escape_ascii())
    }
}

/// What may stand in a value (RFC 9110 section 5.5).
fn is_value(value: &[u8]) -> bool {
    !value.iter().any(|byte| matches!(byte, 0..=0x08 | 0x0a..=0x1f | 0x7f))
}

#[cfg(test)]
impl Fields {
    /// These fields, which can be written.
    pub(crate) fn of(pairs: &[(&str, &str)]) -> Self {
        let mut fields = Self::new();
        for (name, value) in pairs {
            fields.push(name.as_bytes(), value.as_bytes()).expect("it is writable");
        }
        fields
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(fields: &Fields) -> String {
        let line = |field: Field<'_>| {
            format!("{}: {}", field.name.escape_ascii(), field.value.escape_ascii())
        };
        fields.iter().map(line).collect::<Vec<_>>().join(", ")
    }

    #[test]
    fn order_spelling_and_doubles_stay() {
        let fields = Fields::of(&[("B", "1"), ("hOST", "h"), ("b", "2"), ("Cookie", "")]);
        assert_eq!(text(&fields), "B: 1, hOST: h, b: 2, Cookie: ");
        assert_eq!(fields.get(Name::Host), Some(&b"h"[..]));
        assert_eq!(fields.get(Name::Cookie), Some(&b""[..]));
        assert_eq!(fields.get(Name::Via), None);
        assert_eq!(fields.all_named(b"b").collect::<Vec<_>>(), [b"1", b"2"]);
        assert_eq!(fields.all_named(b"HOST").collect::<Vec<_>>(), [b"h"]);
        assert_eq!(fields.all_named(b"b").next_back(), Some(&b"2"[..]));
        assert!(fields.has_named(b"COOKIE") && fields.has_named(b"B"));
        assert!(!fields.has_named(b"via") && !fields.has_named(b"c"));
    }

    #[test]
    fn a_doubled_field_is_not_the_only_one() {
        let fields = Fields::of(&[("Origin", "a"), ("host", "h"), ("ORIGIN", "a")]);
        assert_eq!(fields.only(Name::Host), Some(&b"h"[..]));
        assert_eq!(fields.only(Name::Origin), None);
        assert_eq!(fields.only(Name::Via), None);
    }

    #[test]
    fn a_field_is_set_in_its_place() {
        let mut fields = Fields::of(&[("a", "1"), ("X-Y", "2"), ("b", "3"), ("x-y", "4")]);
        fields.set(b"x-Y", b"5").expect("it is writable");
        fields.set(b"c", b"6").expect("it is writable");
        assert_eq!(text(&fields), "a: 1, x-Y: 5, b: 3, c: 6");
        assert!(!fields.remove(Name::Via));
        fields.retain(|field| field.value != b"3");
        assert_eq!(text(&fields), "a: 1, x-Y: 5, c: 6");
        fields.set_displayed(b"X-y", 8080).expect("it is writable");
        assert_eq!(text(&fields), "a: 1, X-y: 8080, c: 6");
    }

    /// A value from a client's text must not end its line (RFC 9110 section 5.5).
    #[test]
    fn what_would_begin_another_line_is_not_taken() {
        let mut fields = Fields::new();
        for value in ["a\r\nb: c", "a\nb", "a\rb", "a\0b", "\x7f", "\x01"] {
            assert_eq!(fields.push(b"a", value.as_bytes()), Err(Unwritable), "{value:?}");
            assert_eq!(fields.set(b"a", value.as_bytes()), Err(Unwritable), "{value:?}");
            assert_eq!(fields.set_displayed(b"a", value), Err(Unwritable), "{value:?}");
        }
        for name in ["", "a b", "a:", "a\r\n", "ä", ":path"] {
            assert_eq!(fields.push(name.as_bytes(), b"x"), Err(Unwritable), "{name:?}");
        }
        assert!(fields.is_empty() && fields.text.is_empty());
        fields.push(b"a", b"\tt\xe4b ").expect("it is writable");
        assert_eq!(fields.len(), 1);
    }

    #[test]
    fn debug_output_shows_no_value() {
        let fields = Fields::of(&[("Cookie", "sid=secret")]);
        assert_eq!(format!("{fields:?}"), "[Cookie: [redacted]]");
    }
}
