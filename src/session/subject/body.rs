//! A copy of a small request body, taken while it passes (PROTOCOL.md 23).

use zeroize::Zeroizing;

use crate::session::subject::source::{Format, Source};

/// The longest body that a claim is looked for in.
pub const BODY_BYTES_MAX: usize = 64 * 1024;

/// What has passed of a request body. Without `Debug`: there is a password in it.
pub struct Copied {
    format: Format,
    bytes: Zeroizing<Vec<u8>>,
    state: BodyState,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum BodyState {
    Passing,
    Whole,
    /// Longer than [`BODY_BYTES_MAX`].
    TooLong,
}

impl Copied {
    /// Nothing so far.
    pub fn new(format: Format) -> Self {
        Self { format, bytes: Zeroizing::default(), state: BodyState::Passing }
    }

    /// The body will be sent again from its beginning.
    pub fn begin_again(&mut self) {
        *self = Self::new(self.format);
    }

    /// Copies what passes.
    pub fn pass(&mut self, piece: &[u8], is_last: bool) {
        if self.state != BodyState::Passing {
            return;
        }
        if self.bytes.len() + piece.len() > BODY_BYTES_MAX {
            self.bytes = Zeroizing::default();
            self.state = BodyState::TooLong;
            return;
        }
        self.bytes.extend_from_slice(piece);
        if is_last {
            self.state = BodyState::Whole;
        }
    }

    /// Bytes that the copy takes.
    pub fn held(&self) -> usize {
        self.bytes.capacity()
    }

    /// What the body says, once all of it has passed.
    pub fn find(&self, source: &Source) -> Option<String> {
        if self.state == BodyState::Whole { source.find(self.format, &self.bytes) } else { None }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(pieces: &[&[u8]], is_whole: bool) -> Option<String> {
        let mut copied = Copied::new(Format::Form);
        for (index, piece) in pieces.iter().enumerate() {
            copied.pass(piece, is_whole && index + 1 == pieces.len());
        }
        copied.find(&Source::Form("user".to_owned()))
    }

    #[test]
    fn a_body_counts_once_all_of_it_has_passed() {
        assert_eq!(found(&[b"us", b"er=al", b"ice", b""], true).as_deref(), Some("alice"));
        assert_eq!(found(&[b"user=alice"], false), None);
        assert_eq!(found(&[], true), None);
    }

    #[test]
    fn a_long_body_makes_no_claim() {
        let rest = |length: usize| vec![b'x'; length - b"user=alice&".len()];
        let fits = found(&[b"user=alice&", &rest(BODY_BYTES_MAX)], true);
        assert_eq!(fits.as_deref(), Some("alice"));
        assert_eq!(found(&[b"user=alice&", &rest(BODY_BYTES_MAX + 1)], true), None);
        assert_eq!(found(&[&rest(BODY_BYTES_MAX + 1), b"x", b"&user=alice"], true), None);
    }

    #[test]
    fn a_second_try_begins_again() {
        let mut copied = Copied::new(Format::Form);
        copied.pass(b"user=ali", false);
        copied.begin_again();
        copied.pass(b"user=alice", true);
        assert_eq!(copied.find(&Source::Form("user".to_owned())).as_deref(), Some("alice"));
    }
}
