//! What follows from a failure on the way to a worker or back: whose fault, what next, which status.
//!
//! One closed table, and beside it what the operator wants (`next_upstream`). A request is sent again only where no worker has carried it out, or where
//! carrying it out twice does no harm (RFC 9110 section 9.2.2). An endpoint is blamed for what it
//! did: not for a client that stalls or leaves, a kept connection it had given up, or our own lack
//! of descriptors.

use super::NextUpstream;

/// How far an exchange had come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// No connection yet: nothing was sent.
    Connect,
    SendHead,
    SendBody,
    /// All was sent, and no final answer has begun.
    AwaitHead,
    /// The head of the answer has come.
    ReadBody,
    /// An upgraded connection.
    Tunnel,
}

/// What went wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Failure {
    /// Nobody listens there, or there is no way there: the system's number of the error, 0 where it has
    /// none.
    Refused(i32),
    /// The worker took too long to accept, to take our bytes or to send its own.
    TimedOut,
    Tls,
    /// Ours, not the worker's: descriptors, local ports, memory. With the system's number.
    OutOfDescriptors(i32),
    /// Ours as well: what was kept cannot be read, what came cannot be coded.
    Internal,
    /// A kept connection was closed before a byte of the answer.
    ClosedReused,
    Closed,
    /// The worker says that it has not begun with the request (RFC 9113 section 8.7), over a connection
    /// that had served others: it may be about to close that one.
    UnprocessedReused,
    /// The same over a connection that was made for it: the worker has no room.
    Unprocessed,
    /// An answer that is none.
    Flaw,
    /// An answer with a status that speaks against the endpoint, and another one may do better.
    BadStatus,
    /// An answer that another endpoint may have a better one for: 403, 404.
    Declined,
    ClientGone,
    /// The client takes too long to send its body, or to take the answer.
    ClientStalled,
    /// The exchange was ended from outside: its session has ended.
    Cut,
    /// The request's body is larger than it may be.
    TooLarge,
}

/// What follows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Verdict {
    pub blame: Blame,
    pub retry: Retry,
    /// What the client is told where nothing is tried again and no answer has begun.
    pub status: Status,
}

/// Who is marked as failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Blame {
    Endpoint,
    Nobody,
}

/// What is tried next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Retry {
    No,
    /// Nothing was sent, or nothing was begun with: any request whose body, if it has one, is still held
    /// may go to another endpoint.
    AnotherEndpoint,
    /// It may have been carried out: an idempotent request whose body, if it has one, is still held may
    /// go to another endpoint.
    Elsewhere,
    /// The kept connection was closed: an idempotent request whose body, if it has one, is still
    /// held may go to the same endpoint over a fresh connection.
    SameEndpointFresh,
    /// The worker has not begun with it: any request whose body, if it has one, is still held may go to
    /// the same endpoint over a fresh connection.
    SameEndpointUnprocessed,
}

/// What an exchange ends with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Status {
    BadGateway,
    UpstreamTimeout,
    RequestTimeout,
    BodyTooLarge,
    /// The exchange was cut.
    Cut,
    Internal,
    /// Nobody is there to read an answer.
    ClientGone,
    /// An upgraded connection that ended: no error, and 101 was its status.
    Ended,
}

impl Status {
    /// The status as a number, where somebody can read it.
    pub const fn code(self) -> Option<u16> {
        match self {
            Self::BadGateway => Some(502),
            Self::UpstreamTimeout => Some(504),
            Self::RequestTimeout => Some(408),
            Self::BodyTooLarge => Some(413),
            Self::Cut => Some(503),
            Self::Internal => Some(500),
            Self::ClientGone | Self::Ended => None,
        }
    }
}

/// The table.
pub const fn verdict(phase: Phase, failure: Failure) -> Verdict {
    use Phase::{AwaitHead, Connect, ReadBody, SendBody, SendHead, Tunnel};
    match failure {
        // The session's end, or ours, whatever else was going on.
        Failure::Cut => nobody(Retry::No, Status::Cut),
        Failure::OutOfDescriptors(_) | Failure::Internal => nobody(Retry::No, Status::Internal),
        Failure::ClientGone => match phase {
            Connect | SendHead | SendBody | AwaitHead | ReadBody => {
                nobody(Retry::No, Status::ClientGone)
            }
            Tunnel => ENDED,
        },
        Failure::ClientStalled => match phase {
            Connect | SendHead | SendBody | AwaitHead | ReadBody => {
                nobody(Retry::No, Status::RequestTimeout)
            }
            Tunnel => ENDED,
        },
        Failure::TooLarge => match phase {
            Connect | SendHead | SendBody | AwaitHead | ReadBody => {
                nobody(Retry::No, Status::BodyTooLarge)
            }
            Tunnel => ENDED,
        },
        Failure::ClosedReused => {
            unanswered(phase, nobody(Retry::SameEndpointFresh, Status::BadGateway))
        }
        Failure::UnprocessedReused => {
            unanswered(phase, nobody(Retry::SameEndpointUnprocessed, Status::BadGateway))
        }
        Failure::Unprocessed => {
            unanswered(phase, endpoint(Retry::AnotherEndpoint, Status::BadGateway))
        }
        Failure::TimedOut => match phase {
            Connect => endpoint(Retry::AnotherEndpoint, Status::UpstreamTimeout),
            SendHead | SendBody | AwaitHead => endpoint(Retry::Elsewhere, Status::UpstreamTimeout),
            ReadBody => endpoint(Retry::No, Status::UpstreamTimeout),
            Tunnel => ENDED,
        },
        Failure::Refused(_) | Failure::Tls | Failure::Closed | Failure::Flaw => match phase {
            Connect => endpoint(Retry::AnotherEndpoint, Status::BadGateway),
            SendHead | SendBody | AwaitHead => endpoint(Retry::Elsewhere, Status::BadGateway),
            ReadBody => endpoint(Retry::No, Status::BadGateway),
            Tunnel => ENDED,
        },
        Failure::BadStatus => unanswered(phase, endpoint(Retry::Elsewhere, Status::BadGateway)),
        Failure::Declined => unanswered(phase, nobody(Retry::Elsewhere, Status::BadGateway)),
    }
}

/// Whether a request goes on to another try after a failure, as far as that is the operator's to say.
/// `is_repeatable`: carrying it out twice does no harm.
pub fn goes_on(retry: Retry, failure: Failure, next: &NextUpstream, is_repeatable: bool) -> bool {
    let is_repeatable = is_repeatable || next.non_idempotent;
    match retry {
        Retry::No => false,
        Retry::SameEndpointFresh => is_repeatable,
        Retry::SameEndpointUnprocessed => true,
        Retry::AnotherEndpoint => next.includes(failure),
        Retry::Elsewhere => is_repeatable && next.includes(failure),
    }
}

impl NextUpstream {
    /// Whether a failure is among its conditions.
    fn includes(&self, failure: Failure) -> bool {
        match failure {
            Failure::TimedOut => self.timeout,
            Failure::Flaw => self.invalid_header,
            // They are asked about by their statuses.
            Failure::BadStatus | Failure::Declined => true,
            Failure::Refused(_)
            | Failure::Tls
            | Failure::Closed
            | Failure::ClosedReused
            | Failure::Unprocessed
            | Failure::UnprocessedReused => self.error,
            Failure::OutOfDescriptors(_)
            | Failure::Internal
            | Failure::ClientGone
            | Failure::ClientStalled
            | Failure::Cut
            | Failure::TooLarge => false,
        }
    }

    /// What an answer's status counts as, if it is one of the conditions.
    pub fn of_status(&self, status: u16) -> Option<Failure> {
        let is_listed = !self.statuses.is_empty() && self.statuses.contains(&status);
        is_listed.then_some(match status {
            403 | 404 => Failure::Declined,
            _ => Failure::BadStatus,
        })
    }
}

/// The verdict, unless the answer had begun: then the worker had taken the request.
const fn unanswered(phase: Phase, verdict: Verdict) -> Verdict {
    match phase {
        Phase::Connect | Phase::SendHead | Phase::SendBody | Phase::AwaitHead => verdict,
        Phase::ReadBody => endpoint(Retry::No, Status::BadGateway),
        Phase::Tunnel => ENDED,
    }
}

/// Upgraded connections end one way or the other.
const ENDED: Verdict = nobody(Retry::No, Status::Ended);

const fn nobody(retry: Retry, status: Status) -> Verdict {
    Verdict { blame: Blame::Nobody, retry, status }
}

const fn endpoint(retry: Retry, status: Status) -> Verdict {
    Verdict { blame: Blame::Endpoint, retry, status }
}

#[cfg(test)]
mod tests {
    use super::Failure::{
        BadStatus, ClientGone, ClientStalled, Closed, ClosedReused, Cut, Declined, Flaw, Internal,
        OutOfDescriptors, Refused, TimedOut, Tls, TooLarge, Unprocessed, UnprocessedReused,
    };
    use super::*;

    const PHASES: [Phase; 6] = [
        Phase::Connect,
        Phase::SendHead,
        Phase::SendBody,
        Phase::AwaitHead,
        Phase::ReadBody,
        Phase::Tunnel,
    ];

    /// A row for each failure, a column for each phase: blame (`E`ndpoint or nobody, `-`), retry
    /// (`a`nother endpoint, `e`lsewhere if idempotent, `f`resh connection, fresh for any method: `u`, or none, `-`), status.
    const TABLE: [(Failure, [&str; 6]); 16] = [
        //                  Connect   SendHead  SendBody  AwaitHead ReadBody  Tunnel
        (Refused(111), ["Ea 502", "Ee 502", "Ee 502", "Ee 502", "E- 502", "-- end"]),
        (TimedOut, ["Ea 504", "Ee 504", "Ee 504", "Ee 504", "E- 504", "-- end"]),
        (Tls, ["Ea 502", "Ee 502", "Ee 502", "Ee 502", "E- 502", "-- end"]),
        (OutOfDescriptors(24), ["-- 500", "-- 500", "-- 500", "-- 500", "-- 500", "-- 500"]),
        (Internal, ["-- 500", "-- 500", "-- 500", "-- 500", "-- 500", "-- 500"]),
        (ClosedReused, ["-f 502", "-f 502", "-f 502", "-f 502", "E- 502", "-- end"]),
        (UnprocessedReused, ["-u 502", "-u 502", "-u 502", "-u 502", "E- 502", "-- end"]),
        (Unprocessed, ["Ea 502", "Ea 502", "Ea 502", "Ea 502", "E- 502", "-- end"]),
        (Closed, ["Ea 502", "Ee 502", "Ee 502", "Ee 502", "E- 502", "-- end"]),
        (Flaw, ["Ea 502", "Ee 502", "Ee 502", "Ee 502", "E- 502", "-- end"]),
        (BadStatus, ["Ee 502", "Ee 502", "Ee 502", "Ee 502", "E- 502", "-- end"]),
        (Declined, ["-e 502", "-e 502", "-e 502", "-e 502", "E- 502", "-- end"]),
        (ClientGone, ["-- 499", "-- 499", "-- 499", "-- 499", "-- 499", "-- end"]),
        (ClientStalled, ["-- 408", "-- 408", "-- 408", "-- 408", "-- 408", "-- end"]),
        (Cut, ["-- 503", "-- 503", "-- 503", "-- 503", "-- 503", "-- 503"]),
        (TooLarge, ["-- 413", "-- 413", "-- 413", "-- 413", "-- 413", "-- end"]),
    ];

    fn shown(verdict: Verdict) -> String {
        let blame = match verdict.blame {
            Blame::Endpoint => 'E',
            Blame::Nobody => '-',
        };
        let retry = match verdict.retry {
            Retry::AnotherEndpoint => 'a',
            Retry::Elsewhere => 'e',
            Retry::SameEndpointFresh => 'f',
            Retry::SameEndpointUnprocessed => 'u',
            Retry::No => '-',
        };
        let status = match (verdict.status, verdict.status.code()) {
            (Status::ClientGone, None) => "499".to_owned(),
            (Status::Ended, None) => "end".to_owned(),
            (_, code) => code.expect("a status that can be read").to_string(),
        };
        format!("{blame}{retry} {status}")
    }

    #[test]
    fn every_failure_in_every_phase_has_its_verdict() {
        for (failure, row) in TABLE {
            for (phase, expected) in PHASES.into_iter().zip(row) {
                assert_eq!(shown(verdict(phase, failure)), expected, "{failure:?} in {phase:?}");
            }
        }
    }

    #[test]
    fn whatever_may_have_been_begun_with_goes_to_no_other_endpoint() {
        for (failure, _) in TABLE {
            for phase in PHASES {
                let retry = verdict(phase, failure).retry;
                assert!(
                    retry != Retry::AnotherEndpoint
                        || phase == Phase::Connect
                        || failure == Unprocessed,
                    "{failure:?} in {phase:?}"
                );
            }
        }
    }
}
