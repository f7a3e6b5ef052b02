//! Heads that make no request: what is known of them, for the answer and the access line.

use thiserror::Error;

use crate::wire::flaw::RequestFlaw;
use crate::wire::request::RequestLine;

/// Why there is no request.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
pub enum Refusal {
    #[error(transparent)]
    Flaw(#[from] RequestFlaw),
    #[error("the request head took too long")]
    TimedOut,
    #[error("the connection ended inside the request head")]
    BrokenOff,
}

/// A head that makes no request.
#[derive(Clone, Copy, Debug)]
pub struct Refused<'a> {
    pub refusal: Refusal,
    /// What came, or its beginning.
    pub head: &'a [u8],
}

impl Refusal {
    /// The status of the answer; of one that nobody reads, what the access line says.
    pub fn status(self) -> u16 {
        match self {
            Self::Flaw(flaw) => flaw.status(),
            Self::TimedOut => 408,
            Self::BrokenOff => 400,
        }
    }
}

impl<'a> Refused<'a> {
    /// The request line, where at least that makes sense.
    pub fn line(&self) -> Option<RequestLine<'a>> {
        RequestLine::of(self.head).ok()
    }
}
