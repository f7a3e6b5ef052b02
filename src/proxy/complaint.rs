//! What goes wrong with a request, as nginx's error log has it: what happened, to whom, and where.
//!
//! Values of cookies stand in none of its parts. Control characters of what a peer sent are escaped.

mod quoted;

use std::borrow::Cow;
use std::fmt::Display;
use std::io;

use tracing::field::display;

pub use self::quoted::Escaped;
use self::quoted::{Asked, Line, Quoted};
use crate::downstream::refused::Refusal;
use crate::downstream::{Refused, Request};
use crate::listen::Info;
use crate::proxy::asking::Failed;
use crate::proxy::context::Context;
use crate::proxy::endpoint;
use crate::proxy::shared::{ServerFacts, Shared};
use crate::telemetry::error_log::Severity;
use crate::upstream::verdict::{Failure, Phase};
use crate::wire::flaw::RequestFlaw;
use crate::wire::name::Name;

/// A request that something is said of.
#[derive(Clone, Copy)]
pub struct About<'a> {
    pub shared: &'a Shared,
    pub request: &'a Request,
    pub ctx: &'a Context,
}

/// One event, at nginx's level; `tracing` wants to know its own where it is written.
macro_rules! say {
    ($severity:expr, $($fields:tt)*) => {
        match $severity {
            Severity::Emerg | Severity::Alert => {
                tracing::error!(severity = "alert", $($fields)*);
            }
            Severity::Crit => tracing::error!(severity = "crit", $($fields)*),
            Severity::Error => tracing::error!($($fields)*),
            Severity::Warn => tracing::warn!($($fields)*),
            Severity::Notice => tracing::info!($($fields)*),
            Severity::Info => tracing::info!(severity = "info", $($fields)*),
            Severity::Debug => tracing::debug!($($fields)*),
        }
    };
}

impl About<'_> {
    /// Says what happened.
    pub fn say(&self, severity: Severity, text: impl Display) {
        self.say_of(severity, text, None::<String>);
    }

    /// The same, of somebody who was asked.
    fn say_of(&self, severity: Severity, text: impl Display, upstream: Option<impl Display>) {
        let Self { shared, request, ctx } = self;
        let fields = request.fields();
        let host = fields.get(Name::Host).map(|host| display(Quoted(host)));
        let referrer = fields.get(Name::Referer).map(|referer| display(Quoted(referer)));
        let server = ctx.server.or_else(|| shared.server_of(&ctx.connection, None));
        let server = server.and_then(|server| shared.server_name(server)).unwrap_or_default();
        say!(
            severity,
            connection = ctx.connection.id(),
            client = %ctx.client_ip(),
            server = %server,
            request = %Line(self),
            upstream = upstream.map(display),
            host,
            referrer,
            "{text}"
        );
    }

    /// Says that an endpoint, or nobody, did what was asked.
    pub fn failed(&self, failed: Failed) {
        let endpoint = self.ctx.tried.iter().last().map(|tried| tried.endpoint.text.clone());
        let whom = endpoint.as_deref().unwrap_or_default();
        let Some((severity, what, doing)) = upstream_failure(failed, whom) else { return };
        let asked = endpoint.map(|endpoint| Asked { about: self, whom: endpoint });
        self.say_of(severity, format_args!("{what} while {doing}"), asked);
    }

    /// Says that no endpoint of its upstream may be asked.
    pub fn nobody_lives(&self) {
        let Some((_, upstream)) = endpoint::upstream(self.shared, self.ctx) else { return };
        let whom = upstream.group.settings().known_as().to_owned();
        let asked = Some(Asked { about: self, whom });
        let text = "no live upstreams while connecting to upstream";
        self.say_of(Severity::Error, text, asked);
    }
}

/// Level, what happened, and what was being done.
type Said = (Severity, Cow<'static, str>, &'static str);

/// nginx's words for a failure at an endpoint.
fn upstream_failure(failed: Failed, whom: &str) -> Option<Said> {
    let Failed { phase, failure } = failed;
    let doing = match (phase, failure) {
        (_, Failure::Tls) => "SSL handshaking to upstream",
        (Phase::Connect, _) => "connecting to upstream",
        (Phase::SendHead | Phase::SendBody, _) => "sending request to upstream",
        (Phase::AwaitHead, _) => "reading response header from upstream",
        (Phase::ReadBody, _) => "reading upstream",
        (Phase::Tunnel, _) => "proxying upgraded connection",
    };
    let (severity, what) = match failure {
        Failure::Refused(number) | Failure::OutOfDescriptors(number) if number != 0 => {
            let (severity, what) = not_connected(number, whom);
            return Some((severity, what.into(), doing));
        }
        Failure::Refused(_) => (Severity::Error, "upstream prematurely closed connection"),
        Failure::TimedOut if phase == Phase::Tunnel => {
            (Severity::Info, "upstream timed out (110: Connection timed out)")
        }
        Failure::TimedOut => (Severity::Error, "upstream timed out (110: Connection timed out)"),
        Failure::Tls => (Severity::Error, "SSL_do_handshake() failed"),
        Failure::OutOfDescriptors(_) => (Severity::Alert, "socket() failed"),
        Failure::Closed | Failure::ClosedReused if phase != Phase::Tunnel => {
            (Severity::Error, "upstream prematurely closed connection")
        }
        Failure::Unprocessed | Failure::UnprocessedReused => {
            (Severity::Error, "upstream rejected request with error 7")
        }
        Failure::Flaw if phase == Phase::ReadBody => {
            (Severity::Error, "upstream sent invalid chunked response")
        }
        Failure::Flaw => (Severity::Error, "upstream sent invalid header"),
        Failure::ClientGone if phase != Phase::Tunnel => {
            (Severity::Info, "client prematurely closed connection")
        }
        Failure::ClientStalled => (Severity::Info, "client timed out (110: Connection timed out)"),
        Failure::TooLarge => (Severity::Error, "client intended to send too large chunked body"),
        Failure::Closed
        | Failure::ClosedReused
        | Failure::ClientGone
        | Failure::BadStatus
        | Failure::Declined
        | Failure::Internal
        | Failure::Cut => return None,
    };
    Some((severity, what.into(), doing))
}

/// What the system says of a connection that did not come about. nginx names the address where it says so at
/// once, and takes it for worse where that is neither the network's fault nor the worker's.
fn not_connected(number: i32, whom: &str) -> (Severity, String) {
    const ENFILE: i32 = 23;
    const EMFILE: i32 = 24;
    const AT_ONCE: [i32; 7] = [1, 13, 22, 97, 99, 100, 101];
    const USUAL: [i32; 7] = [11, 100, 101, 104, 111, 112, 113];
    let text = io::Error::from_raw_os_error(number).to_string();
    let reason = text.rsplit_once(" (os error").map_or(text.as_str(), |(reason, _)| reason);
    let severity = if USUAL.contains(&number) { Severity::Error } else { Severity::Crit };
    match number {
        ENFILE | EMFILE => (Severity::Alert, format!("socket() failed ({number}: {reason})")),
        _ if whom.starts_with("unix:") || AT_ONCE.contains(&number) => {
            (severity, format!("connect() to {whom} failed ({number}: {reason})"))
        }
        _ => (Severity::Error, format!("connect() failed ({number}: {reason})")),
    }
}

/// Says what is wrong with a head that makes no request.
pub fn refused(info: &Info, server: Option<&ServerFacts>, refused: &Refused<'_>) {
    const LINE: &str = "reading client request line";
    const TOO_LONG: Refusal = Refusal::Flaw(RequestFlaw::RequestLineTooLong);
    /// nginx's lines end before 2 KiB.
    const LINE_BYTES_MAX: usize = 1024;
    const FIELDS: &str = "reading client request headers";
    let is_too_long = matches!(refused.refusal, TOO_LONG);
    let doing = if refused.line().is_some() && !is_too_long { FIELDS } else { LINE };
    let invalid = |what: &str| format!("client sent {what} while {doing}");
    let text = match refused.refusal {
        Refusal::TimedOut => format!("client timed out (110: Connection timed out) while {doing}"),
        Refusal::BrokenOff => format!("client prematurely closed connection while {doing}"),
        Refusal::Flaw(flaw) => match flaw {
            RequestFlaw::RequestLine => invalid("invalid request"),
            RequestFlaw::RequestLineTooLong => invalid("too long URI"),
            RequestFlaw::Version => invalid("invalid version"),
            RequestFlaw::FieldLine => invalid("invalid header line"),
            RequestFlaw::TooManyFields | RequestFlaw::FieldsBeyondMax => {
                invalid("too many header lines")
            }
            RequestFlaw::HeadTooLarge | RequestFlaw::FieldsTooLarge => invalid("too large request"),
            RequestFlaw::Doubled(Name::Host) => invalid("duplicate host header"),
            RequestFlaw::Doubled(name) => {
                invalid(&format!("duplicate header line: \"{}\"", name.as_str()))
            }
            RequestFlaw::NoHost => invalid("HTTP/1.1 request without \"Host\" header"),
            RequestFlaw::Length => invalid("invalid \"Content-Length\" header"),
            RequestFlaw::LengthAndCoding => {
                invalid("\"Content-Length\" and \"Transfer-Encoding\" headers at the same time")
            }
            RequestFlaw::CodingInHttp10 => {
                invalid("HTTP/1.0 request with \"Transfer-Encoding\" header")
            }
            RequestFlaw::Coding => invalid("unknown \"Transfer-Encoding\""),
            RequestFlaw::Expectation => invalid("unknown \"Expect\""),
            RequestFlaw::Chunk(_) => invalid("invalid chunked body"),
        },
    };
    let line = refused.line();
    let is_known = line.is_some() || is_too_long;
    let line = refused.head.split(|byte| *byte == b'\n').next().filter(|_| is_known);
    let line = line.map(|line| line.strip_suffix(b"\r").unwrap_or(line));
    let line = line.map(|line| line.get(..LINE_BYTES_MAX).unwrap_or(line));
    let host = refused.host().filter(|_| !is_too_long).map(|host| display(Quoted(host)));
    say!(
        Severity::Info,
        connection = info.id(),
        client = %info.peer().ip().to_canonical(),
        server = %server.map_or("", |server| &server.name),
        request = line.map(|line| display(Quoted(line))),
        host,
        "{text}"
    );
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn failures_have_nginx_s_words() {
        let said_of = |phase, failure, whom| upstream_failure(Failed { phase, failure }, whom);
        let said = |phase, failure| said_of(phase, failure, "10.0.0.1:80");
        let connecting = "connecting to upstream";
        assert_eq!(
            said(Phase::Connect, Failure::Refused(111)),
            Some((
                Severity::Error,
                "connect() failed (111: Connection refused)".into(),
                connecting
            ))
        );
        for (failure, whom, severity, expected) in [
            (
                Failure::Refused(113),
                "a:80",
                Severity::Error,
                "connect() failed (113: No route to host)",
            ),
            (
                Failure::Refused(101),
                "a:80",
                Severity::Error,
                "connect() to a:80 failed (101: Network is unreachable)",
            ),
            (
                Failure::Refused(2),
                "unix:/a",
                Severity::Crit,
                "connect() to unix:/a failed (2: No such file or directory)",
            ),
            (
                Failure::OutOfDescriptors(99),
                "a:80",
                Severity::Crit,
                "connect() to a:80 failed (99: Cannot assign requested address)",
            ),
            (
                Failure::OutOfDescriptors(24),
                "a:80",
                Severity::Alert,
                "socket() failed (24: Too many open files)",
            ),
            (
                Failure::Refused(0),
                "a:80",
                Severity::Error,
                "upstream prematurely closed connection",
            ),
        ] {
            let said = said_of(Phase::Connect, failure, whom);
            assert_eq!(said, Some((severity, expected.into(), connecting)));
        }
        let reading = "reading response header from upstream";
        assert_eq!(
            said(Phase::AwaitHead, Failure::Closed),
            Some((Severity::Error, "upstream prematurely closed connection".into(), reading))
        );
        assert_eq!(said(Phase::Tunnel, Failure::Closed), None);
        assert_eq!(said(Phase::AwaitHead, Failure::BadStatus), None);
    }
}
