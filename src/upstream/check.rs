//! Active health checks: what is asked, what counts as good, and when that changes an endpoint's state.
//! Pure; who asks is `proxy::prober`.

use std::ops::RangeInclusive;
use std::time::Duration;

/// What an upstream's endpoints are checked by.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CheckSettings {
    pub probe: Probe,
    pub interval: Duration,
    /// Each pause is longer by a random part of this.
    pub jitter: Duration,
    pub timeout: Duration,
    /// Good answers in a row that make an endpoint healthy.
    pub rise: u32,
    /// Bad ones that make it unhealthy.
    pub fall: u32,
    /// Another port than requests go to.
    pub port: Option<u16>,
    /// What an endpoint counts as before it was ever asked.
    pub starts_healthy: bool,
}

/// What is asked of an endpoint.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Probe {
    /// A connection, and the handshake where TLS is spoken.
    Tcp,
    Http(HttpProbe),
    /// `grpc.health.v1.Health/Check`, about this service; about the whole server where it is empty.
    Grpc {
        service: String,
    },
}

/// What is asked for over HTTP.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HttpProbe {
    pub path: String,
    pub host: String,
    pub statuses: Vec<RangeInclusive<u16>>,
    /// A text that the beginning of the body has.
    pub body: Option<String>,
}

/// So much of an answer's body is looked at.
pub const BODY_MAX: usize = 64 * 1024;

impl HttpProbe {
    /// Whether an answer is a good one.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn judge(&self, status: u16, body: &[u8]) -> Result<(), String> {
        if !self.statuses.iter().any(|range| range.contains(&status)) {
            return Err(format!("it answers with {status}"));
        }
        match &self.body {
            Some(text) if memchr::memmem::find(body, text.as_bytes()).is_none() => {
                Err("its body has not the expected text".to_owned())
            }
            _ => Ok(()),
        }
    }
}

/// The message of gRPC's health protocol that asks for a service: a length-prefixed
/// `HealthCheckRequest { service = 1 }`.
pub fn grpc_question(service: &str) -> Vec<u8> {
    let mut message = Vec::new();
    if let Ok(length @ 1..=127) = u8::try_from(service.len()) {
        message.extend([0x0a, length]);
        message.extend(service.as_bytes());
    }
    let length = u32::try_from(message.len()).unwrap_or_default();
    [&[0][..], &length.to_be_bytes(), &message].concat()
}

/// Whether a `HealthCheckResponse { status = 1 }` says SERVING (1), in an answer whose `grpc-status` is
/// this.
///
/// # Errors
/// What it says instead.
pub fn judge_grpc(status: u16, grpc_status: Option<&[u8]>, body: &[u8]) -> Result<(), String> {
    if status != 200 {
        return Err(format!("it answers with {status}"));
    }
    match grpc_status {
        Some(b"0") => {}
        Some(b"12") => return Err("it has no health service".to_owned()),
        Some(b"5") => return Err("it does not know the service".to_owned()),
        Some(code) => {
            return Err(format!("it answers with gRPC's {}", String::from_utf8_lossy(code)));
        }
        None => return Err("its answer has no grpc-status".to_owned()),
    }
    // Not compressed, its length, field 1 as a number.
    match body {
        [0, 0, 0, 0, 2, 0x08, 1] => Ok(()),
        [0, 0, 0, 0, 2, 0x08, 2] | [0, 0, 0, 0, 0] => Err("it is not serving".to_owned()),
        _ => Err("it does not say that it is serving".to_owned()),
    }
}

/// What checks say of an endpoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Checked {
    is_healthy: bool,
    /// So many checks in a row say otherwise.
    against: u32,
}

impl Checked {
    pub(super) fn new(settings: &CheckSettings) -> Self {
        Self { is_healthy: settings.starts_healthy, against: 0 }
    }

    pub(super) fn is_healthy(self) -> bool {
        self.is_healthy
    }

    /// Notes a check. Says whether the state has changed.
    pub(super) fn note(&mut self, is_good: bool, settings: &CheckSettings) -> bool {
        if is_good == self.is_healthy {
            self.against = 0;
            return false;
        }
        self.against += 1;
        let enough = if is_good { settings.rise } else { settings.fall };
        let changes = self.against >= enough;
        if changes {
            *self = Self { is_healthy: is_good, against: 0 };
        }
        changes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn enough_checks_in_a_row_change_the_state() {
        let settings = CheckSettings {
            probe: Probe::Tcp,
            interval: Duration::from_secs(5),
            jitter: Duration::ZERO,
            timeout: Duration::from_secs(1),
            rise: 2,
            fall: 3,
            port: None,
            starts_healthy: true,
        };
        let mut checked = Checked::new(&settings);
        for (is_good, changes, is_healthy) in [
            (true, false, true),
            (false, false, true),
            (false, false, true),
            (true, false, true),
            (false, false, true),
            (false, false, true),
            (false, true, false),
            (false, false, false),
            (true, false, false),
            (false, false, false),
            (true, false, false),
            (true, true, true),
        ] {
            assert_eq!(
                (checked.note(is_good, &settings), checked.is_healthy()),
                (changes, is_healthy)
            );
        }
        let unseen = CheckSettings { starts_healthy: false, ..settings };
        assert!(!Checked::new(&unseen).is_healthy());
    }

    #[test]
    fn answers_are_judged_by_status_and_body() {
        let probe = |body: Option<&str>| HttpProbe {
            path: "/".to_owned(),
            host: "app".to_owned(),
            statuses: vec![200..=299, 404..=404],
            body: body.map(str::to_owned),
        };
        for (status, body, expected, is_good) in [
            (200, "", None, true),
            (299, "", None, true),
            (404, "", None, true),
            (300, "", None, false),
            (500, "fine", Some("fine"), false),
            (200, "all is fine", Some("fine"), true),
            (200, "all is Fine", Some("fine"), false),
        ] {
            assert_eq!(
                probe(expected).judge(status, body.as_bytes()).is_ok(),
                is_good,
                "{status} {body}"
            );
        }
    }

    #[test]
    fn only_serving_is_good() {
        assert_eq!(grpc_question(""), [0; 5]);
        assert_eq!(grpc_question("a.B"), *b"\0\0\0\0\x05\x0a\x03a.B");
        let serving = b"\0\0\0\0\x02\x08\x01";
        assert!(judge_grpc(200, Some(b"0"), serving).is_ok());
        for (status, grpc, body) in [
            (503, Some(&b"0"[..]), &serving[..]),
            (200, None, serving),
            (200, Some(b"12"), b""),
            (200, Some(b"0"), b"\0\0\0\0\x02\x08\x02"),
            (200, Some(b"0"), b"\0\0\0\0\0"),
            (200, Some(b"0"), b""),
        ] {
            assert!(judge_grpc(status, grpc, body).is_err(), "{status} {grpc:?} {body:?}");
        }
    }
}
