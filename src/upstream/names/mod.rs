//! Names of endpoints, looked up in the DNS while the process runs (RFC 1034, 1035, 2782), by nginx's
//! rules: which servers are asked, in which order, and how long what they say is kept.
//!
//! | file | holds |
//! | --- | --- |
//! | `message` | questions and answers as bytes |
//! | `ask` | a question on its way to the servers: UDP, TCP for what is cut, the next server |
//! | `resolver` | what is kept of the answers, and who waits for one |
//! | `follow` | the names of upstreams, looked up again and again |
//!
//! No request waits for the names of its upstream. Those that variables name are looked up by whoever
//! asks first.

mod ask;
pub mod follow;
mod message;
mod resolver;

use std::fmt;
use std::net::SocketAddr;
use std::time::Duration;

pub use self::resolver::{Found, Resolved, Resolver};

/// Which servers are asked, and what of their answers counts (nginx `resolver`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ResolverSettings {
    /// They take turns.
    pub servers: Vec<SocketAddr>,
    /// How long answers are kept, whatever they say themselves.
    pub valid: Option<Duration>,
    pub ipv4: bool,
    pub ipv6: bool,
}

/// Why a name has no address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unresolved {
    /// What a server says (RFC 1035 section 4.1.1). 3: there is no such name, or none with an address.
    Code(u16),
    TimedOut,
    /// It cannot be a name.
    NoName,
    /// Too many names are looked up at the moment.
    TooMany,
}

impl Unresolved {
    /// There is no such name, or none with an address.
    pub const NOT_FOUND: Self = Self::Code(3);
}

impl fmt::Display for Unresolved {
    /// In nginx's words.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Code(1) => f.write_str("1: Format error"),
            Self::Code(2) => f.write_str("2: Server failure"),
            Self::Code(3) => f.write_str("3: Host not found"),
            Self::Code(4) => f.write_str("4: Unimplemented"),
            Self::Code(5) => f.write_str("5: Operation refused"),
            Self::Code(code) => write!(f, "{code}: Unknown error"),
            Self::TimedOut => f.write_str("110: Operation timed out"),
            Self::NoName => f.write_str("3: it is no host name"),
            Self::TooMany => f.write_str("2: too many names are being resolved"),
        }
    }
}
