//! Cutting a sealed text into cookies that browsers keep, and joining them again.
//!
//! A browser keeps a cookie whose name and value have 4096 bytes together (RFC 6265bis, section
//! 5.6). The first piece has the cookie's name and begins with the number of pieces, one digit; the
//! others are `NAME~1` to `NAME~7`. All but the last are full, so that a text has one way to be
//! cut. Pieces that are left of a longer predecessor are not looked at.

use std::borrow::Cow;

use crate::cookie::response::NAME_VALUE_BYTES_MAX;
use crate::session::event::Reject;

/// The most pieces that a cookie is cut into.
pub const MAX: usize = 8;
/// A name that leaves less for the value is too long.
const ROOM_MIN: usize = 1024;

/// The name of a piece.
pub fn name(cookie: &[u8], piece: usize) -> Cow<'_, [u8]> {
    match piece {
        0 => Cow::Borrowed(cookie),
        piece => Cow::Owned([cookie, format!("~{piece}").as_bytes()].concat()),
    }
}

/// The cookie and the piece that a name stands for.
pub fn of(name: &[u8]) -> (&[u8], usize) {
    match name {
        [cookie @ .., b'~', digit @ b'1'..=b'7'] => (cookie, usize::from(digit - b'0')),
        cookie => (cookie, 0),
    }
}

/// How many characters of the text fit into a piece.
fn room(cookie: &[u8], piece: usize) -> usize {
    // Behind the name stands `~1`, before the first piece's value its digit.
    NAME_VALUE_BYTES_MAX.saturating_sub(cookie.len() + if piece == 0 { 1 } else { 2 })
}

/// The number of pieces for so many characters; `None` where there would be too many.
pub fn count(cookie: &[u8], characters: usize) -> Option<u8> {
    if room(cookie, 1) < ROOM_MIN {
        return None;
    }
    let mut left = characters;
    for piece in 0..MAX {
        left = left.saturating_sub(room(cookie, piece));
        if left == 0 {
            return u8::try_from(piece + 1).ok();
        }
    }
    None
}

/// Cuts an ASCII text into so many pieces, as [`count`] said: their values.
pub fn split(cookie: &[u8], count: u8, text: &str) -> Vec<String> {
    let mut rest = text;
    let cut = |piece| {
        let (value, behind) = rest.split_at(room(cookie, piece).min(rest.len()));
        rest = behind;
        if piece == 0 { format!("{count}{value}") } else { value.to_owned() }
    };
    (0..usize::from(count)).map(cut).collect()
}

/// The pieces of one cookie in a request.
#[derive(Clone, Copy, Debug, Default)]
pub struct Pieces<'a> {
    values: [Option<&'a [u8]>; MAX],
    has_twins: bool,
}

impl<'a> Pieces<'a> {
    /// Takes a piece in.
    pub fn put(&mut self, piece: usize, value: &'a [u8]) {
        if let Some(place) = self.values.get_mut(piece) {
            self.has_twins |= place.replace(value).is_some();
        }
    }

    /// Those that came, one bit each.
    pub fn carried(&self) -> u8 {
        let values = self.values.iter().enumerate();
        values.fold(0, |carried, (piece, value)| carried | (u8::from(value.is_some()) << piece))
    }

    /// Joins them: their number and the text. Nothing is known of it yet.
    pub(super) fn join(&self, cookie: &[u8]) -> Result<(u8, Vec<u8>), Reject> {
        if self.has_twins {
            return Err(Reject::Duplicate);
        }
        let [first, others @ ..] = &self.values;
        let (digit, first) = first.and_then(<[u8]>::split_first).ok_or(Reject::Malformed)?;
        let count = match digit {
            b'1'..=b'8' => digit - b'0',
            _ => return Err(Reject::Malformed),
        };
        let wanted = others.iter().take(usize::from(count) - 1);
        let mut text = Vec::with_capacity(usize::from(count) * NAME_VALUE_BYTES_MAX);
        for (piece, value) in std::iter::once(&Some(first)).chain(wanted).enumerate() {
            let (value, room) = (value.ok_or(Reject::Malformed)?, room(cookie, piece));
            if value.len() > room {
                return Err(Reject::Oversized);
            }
            let is_last = piece + 1 == usize::from(count);
            if value.is_empty() || (!is_last && value.len() < room) {
                return Err(Reject::Malformed);
            }
            text.extend_from_slice(value);
        }
        Ok((count, text))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NAME: &[u8] = b"__Host-EGG_SESS";

    fn joined(values: &[String]) -> Result<(u8, Vec<u8>), Reject> {
        let mut pieces = Pieces::default();
        for (piece, value) in values.iter().enumerate() {
            pieces.put(piece, value.as_bytes());
        }
        pieces.join(NAME)
    }

    fn text(len: usize) -> String {
        (0..len).map(|at| char::from(b'a' + (at % 26) as u8)).collect()
    }

    #[test]
    fn what_is_cut_is_joined() {
        let first = 4096 - NAME.len() - 1;
        let other = 4096 - NAME.len() - 2;
        for (len, pieces) in [
            (1, 1),
            (first, 1),
            (first + 1, 2),
            (first + other, 2),
            (first + other + 1, 3),
            (first + 7 * other, 8),
        ] {
            let text = text(len);
            assert_eq!(count(NAME, len), Some(pieces), "{len}");
            let values = split(NAME, pieces, &text);
            assert_eq!(values.len(), usize::from(pieces));
            for (piece, value) in values.iter().enumerate() {
                assert!(name(NAME, piece).len() + value.len() <= 4096, "{len}, piece {piece}");
            }
            assert_eq!(joined(&values), Ok((pieces, text.into_bytes())), "{len}");
        }
        assert_eq!(count(NAME, first + 7 * other + 1), None);
        assert_eq!(count(&[b'n'; 3100], 1), None, "no room beside such a name");
    }

    #[test]
    fn names_lead_to_pieces_and_back() {
        for (text, expected) in [
            ("sid", ("sid", 0)),
            ("sid~1", ("sid", 1)),
            ("sid~7", ("sid", 7)),
            ("sid~0", ("sid~0", 0)),
            ("sid~8", ("sid~8", 0)),
            ("sid~11", ("sid~11", 0)),
            ("~1", ("", 1)),
            ("sid~1~2", ("sid~1", 2)),
        ] {
            let (cookie, piece) = of(text.as_bytes());
            assert_eq!((cookie, piece), (expected.0.as_bytes(), expected.1), "{text}");
            assert_eq!(name(cookie, piece), text.as_bytes());
        }
    }

    #[test]
    fn what_was_cut_otherwise_does_not_join() {
        let whole = split(NAME, 3, &text(10_000));
        assert!(joined(&whole).is_ok());
        let check = |change: &dyn Fn(&mut Vec<String>), expected| {
            let mut values = whole.clone();
            change(&mut values);
            assert_eq!(joined(&values).err(), Some(expected));
        };
        check(&|values| values.truncate(2), Reject::Malformed);
        check(&|values| values[0].clear(), Reject::Malformed);
        check(&|values| values[2].clear(), Reject::Malformed);
        check(&|values| values[0].replace_range(..1, "9"), Reject::Malformed);
        check(&|values| values[0].replace_range(..1, "0"), Reject::Malformed);
        check(&|values| values[0].replace_range(..1, "a"), Reject::Malformed);
        check(&|values| values[1].push('x'), Reject::Oversized);
        check(
            &|values| {
                let moved = values[1].pop().expect("a character");
                values[2].insert(0, moved);
            },
            Reject::Malformed,
        );
    }

    #[test]
    fn what_is_left_of_a_longer_one_is_not_looked_at() {
        let mut values = split(NAME, 1, "short");
        values.push("left over".to_owned());
        assert_eq!(joined(&values), Ok((1, b"short".to_vec())));
    }

    #[test]
    fn twins_are_none() {
        let mut pieces = Pieces::default();
        pieces.put(0, b"1a");
        pieces.put(3, b"x");
        assert_eq!(pieces.carried(), 0b1001);
        assert!(pieces.join(NAME).is_ok());
        pieces.put(3, b"x");
        assert_eq!(pieces.join(NAME).err(), Some(Reject::Duplicate));
    }
}
