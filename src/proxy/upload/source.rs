//! Where a request's body comes from.

use crate::proxy::spool::Spool;

/// Where it comes from.
#[derive(Debug)]
pub enum Source {
    /// There is none; the client is not asked for one.
    Nowhere,
    /// The client, as it sends it.
    Client,
    /// The client has sent it, and it is where it was read.
    InPlace,
    /// The client has sent it.
    Spooled(Box<Spool>),
    /// It is one of our own.
    Own(Vec<u8>),
}

impl Source {
    /// Bytes that it holds, where another try needs nothing else.
    pub fn held(&self) -> Option<usize> {
        match self {
            Self::Spooled(spool) => Some(spool.held()),
            Self::Own(body) => Some(body.capacity()),
            Self::Nowhere | Self::Client | Self::InPlace => None,
        }
    }
}
