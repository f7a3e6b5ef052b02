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
    /// The status of the answer; of one that nobody reads, what the access line says. What stands for
    /// 400 and says why is nginx's own ([`outside`]).
    pub fn status(self) -> u16 {
        match self {
            Self::Flaw(flaw) => flaw.status(),
            Self::TimedOut => 408,
            Self::BrokenOff => 400,
        }
    }
}

/// What clients and logs see of a status: those from 494 to 497 say why they are 400.
pub fn outside(status: u16) -> u16 {
    if matches!(status, 494..=497) { 400 } else { status }
}

impl<'a> Refused<'a> {
    /// The host that it names, if it is there already.
    pub fn host(&self) -> Option<&'a [u8]> {
        let mut lines = self.head.split(|byte| *byte == b'\n').skip(1);
        lines.find_map(|line| {
            let (name, value) = line.split_at_checked(5)?;
            name.eq_ignore_ascii_case(b"host:").then(|| value.trim_ascii())
        })
    }

    /// The request line, where at least that makes sense.
    pub fn line(&self) -> Option<RequestLine<'a>> {
        RequestLine::of(self.head).ok()
    }
}
