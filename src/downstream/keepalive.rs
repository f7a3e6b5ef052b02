//! How long connections are kept, and for how many requests, as the place says that answered (nginx
//! `keepalive_timeout`, `keepalive_requests`, `keepalive_time`, `keepalive_disable`).

use std::time::Duration;

use http::Method;

use super::Request;
use crate::listen::Info;
use crate::wire::name::Name;

/// What is said of connections.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeepAlive {
    /// How long one may rest; nothing: it ends with the answer.
    pub timeout: Duration,
    /// What clients are told of that, in seconds (`Keep-Alive: timeout=`); 0 for nothing.
    pub told: u16,
    pub requests: u32,
    /// From its begin on.
    pub time: Duration,
    pub msie6: Disabled,
    pub safari: Disabled,
}

/// Whether connections of a kind of browser are kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Disabled {
    No,
    Yes,
}

impl KeepAlive {
    /// Whether a connection goes on behind this request.
    pub fn keeps(&self, connection: &Info, request: &Request) -> bool {
        self.timeout > Duration::ZERO
            && connection.requests() < self.requests
            && connection.begun().elapsed() <= self.time
            && !self.is_disabled(request)
    }

    fn is_disabled(&self, request: &Request) -> bool {
        if self.msie6 == Disabled::No && self.safari == Disabled::No {
            return false;
        }
        let Some(agent) = request.fields().get(Name::UserAgent) else { return false };
        (self.msie6 == Disabled::Yes && request.method == Method::POST && is_msie6(agent))
            || (self.safari == Disabled::Yes && is_safari(agent))
    }
}

fn has(agent: &[u8], part: &[u8]) -> bool {
    memchr::memmem::find(agent, part).is_some()
}

/// Internet Explorer up to 6, but for 6 with its second service pack.
fn is_msie6(agent: &[u8]) -> bool {
    let Some(at) = memchr::memmem::find(agent, b"MSIE ") else { return false };
    if has(agent, b"Opera") {
        return false;
    }
    match agent.get(at + 5..at + 7) {
        Some([b'4' | b'5', b'.']) => true,
        Some([b'6', b'.']) => !has(agent, b"SV1"),
        _ => false,
    }
}

/// Safari on macOS.
fn is_safari(agent: &[u8]) -> bool {
    let other: [&[u8]; 4] = [b"MSIE ", b"Opera", b"Gecko/", b"Chrome/"];
    !other.into_iter().any(|part| has(agent, part))
        && has(agent, b"Safari/")
        && has(agent, b"Mac OS X")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn browsers_are_known_by_what_they_call_themselves() {
        for (agent, msie6, safari) in [
            ("Mozilla/4.0 (compatible; MSIE 5.5; Windows 98)", true, false),
            ("Mozilla/4.0 (compatible; MSIE 6.0; Windows NT 5.1)", true, false),
            ("Mozilla/4.0 (compatible; MSIE 6.0; Windows NT 5.1; SV1)", false, false),
            ("Mozilla/4.0 (compatible; MSIE 7.0; Windows NT 6.0)", false, false),
            ("Mozilla/4.0 (compatible; MSIE 6.0; Windows) Opera 7", false, false),
            (
                "Mozilla/5.0 (Macintosh; Mac OS X) AppleWebKit (KHTML) Version/5 Safari/533",
                false,
                true,
            ),
            ("Mozilla/5.0 (Macintosh; Mac OS X) Chrome/120 Safari/537", false, false),
            ("Mozilla/5.0 (Windows) Safari/533", false, false),
            ("", false, false),
        ] {
            let agent_bytes = agent.as_bytes();
            assert_eq!((is_msie6(agent_bytes), is_safari(agent_bytes)), (msie6, safari), "{agent}");
        }
    }
}
