//! Which requests of one session take turns, and how long they wait for it (PROTOCOL.md 32).

use std::time::Duration;

use crate::wire::fields::Fields;
use crate::wire::name::Name;

/// How long a login waits for what is in flight, and others for a login, unless the policy says
/// otherwise (PROTOCOL.md 18).
pub const PATIENCE: Duration = Duration::from_secs(2);

/// Which requests of one session take turns.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Serialize {
    /// None; a login does not wait for others either.
    Off,
    /// None, but a login waits for what is in flight, and what arrives waits for the login.
    Login,
    /// Those that may write the session: methods that are not safe (RFC 9110, section 9.2.1),
    /// logins and logouts. The rest as with `Login`.
    Unsafe,
    /// All but streams and preflights.
    All,
}

/// A policy's order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Order {
    pub requests: Serialize,
    /// How long a request waits for its turn before it goes on without; with `Login`, how long a
    /// login waits for others and others for a login.
    pub wait: Duration,
    /// The turn is taken on all nodes, through the store.
    pub fleet: bool,
}

impl Order {
    /// How long a login lets others finish, and others wait for a login.
    pub fn patience(self) -> Duration {
        match self.requests {
            Serialize::Login => self.wait,
            Serialize::Off | Serialize::Unsafe | Serialize::All => PATIENCE,
        }
    }
}

/// What of a request decides whether it takes turns.
#[derive(Clone, Copy, Debug, Default)]
pub struct Nature {
    /// An unsafe method, a login or a logout.
    pub writes: bool,
    pub is_preflight: bool,
    pub stream: Stream,
}

/// Whether a request asks for a stream: an upgrade, or what `EventSource` sends.
pub fn is_stream_wanted(head: &Fields) -> bool {
    head.has(Name::Upgrade)
        || head.all(Name::Accept).any(|accept| accept.starts_with(b"text/event-stream"))
}

/// Whether a request is one that may be answered for ever.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Stream {
    #[default]
    No,
    /// It asks for a WebSocket or an event stream.
    Wanted,
    /// Its route says so, whatever it asks for, and it is neither login nor logout.
    Declared,
}

impl Serialize {
    /// Whether such a request takes turns; `nature` is only asked for where it matters.
    pub fn covers(self, nature: impl FnOnce() -> Nature) -> bool {
        match self {
            Self::Off | Self::Login => false,
            Self::Unsafe => {
                let nature = nature();
                nature.writes && !nature.is_preflight && nature.stream != Stream::Declared
            }
            Self::All => {
                let nature = nature();
                let may_turn_out = nature.stream == Stream::Wanted && nature.writes;
                !nature.is_preflight && (nature.stream == Stream::No || may_turn_out)
            }
        }
    }

    /// The `wait` that a policy has where it gives none.
    pub fn default_wait(self) -> Duration {
        match self {
            Self::Off | Self::Login => Duration::from_secs(2),
            Self::Unsafe | Self::All => Duration::from_secs(10),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_takes_turns() {
        const PAGE: Nature = Nature { writes: false, is_preflight: false, stream: Stream::No };
        const WRITE: Nature = Nature { writes: true, ..PAGE };
        const STREAM: Nature = Nature { stream: Stream::Wanted, ..PAGE };
        const POLL: Nature = Nature { stream: Stream::Declared, ..PAGE };
        const WRITING_POLL: Nature = Nature { writes: true, ..POLL };
        // Of a `POST` with `Accept: text/event-stream` nobody knows yet what it will be.
        const WRITING_STREAM: Nature = Nature { writes: true, ..STREAM };
        const PREFLIGHT: Nature = Nature { is_preflight: true, ..PAGE };
        // A login rule without a method fits a preflight too.
        const LOGIN_PREFLIGHT: Nature = Nature { is_preflight: true, ..WRITE };
        let check = |nature, expected: &[Serialize]| {
            use Serialize::{All, Login, Off, Unsafe};
            for serialize in [Off, Login, Unsafe, All] {
                let covers = expected.contains(&serialize);
                assert_eq!(serialize.covers(|| nature), covers, "{serialize:?} {nature:?}");
            }
        };
        check(PAGE, &[Serialize::All]);
        check(WRITE, &[Serialize::Unsafe, Serialize::All]);
        check(STREAM, &[]);
        check(POLL, &[]);
        check(WRITING_POLL, &[]);
        check(WRITING_STREAM, &[Serialize::Unsafe, Serialize::All]);
        check(PREFLIGHT, &[]);
        check(LOGIN_PREFLIGHT, &[]);
    }
}
