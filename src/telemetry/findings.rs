//! What is wrong with the cookies of applications, for the log and for the counters.
//!
//! Target `cookies`. Every finding is counted; a line is written at most once a minute for each
//! policy and cookie-name, since an application repeats its mistake with every answer. A line never
//! has a cookie-value.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use crate::clock::UnixMillis;
use crate::cookie::finding::Finding;
use crate::telemetry::metrics::Metrics;
use crate::telemetry::peer_text;

/// Between two lines about one cookie.
const EVERY: Duration = Duration::from_secs(60);
/// Names remembered at most: an application may make them up. Beyond, nothing is written.
const NAMES: usize = 1024;
/// Characters of the line that a cookie would have had.
const INSTEAD: usize = 400;

/// When a cookie was last written about.
#[derive(Debug, Default)]
pub struct Findings(Mutex<HashMap<(String, Vec<u8>), UnixMillis>>);

/// A cookie of an answer.
#[derive(Clone, Copy, Debug)]
pub struct Found<'a> {
    /// The session policy's name.
    pub policy: &'a str,
    pub host: &'a str,
    pub name: &'a [u8],
    pub findings: &'a [Finding],
    /// Name and attributes that it would have had, without its value.
    pub instead: Option<&'a str>,
}

impl Findings {
    /// Counts what was found, and writes it down unless that was done lately.
    pub fn tell(&self, metrics: &Metrics, found: &Found<'_>, now: UnixMillis) {
        for finding in found.findings {
            metrics.cookie_finding(*finding);
        }
        if found.findings.is_empty() || !self.is_due(found, now) {
            return;
        }
        let names: Vec<&str> = found.findings.iter().map(|finding| finding.name()).collect();
        let cookie = String::from_utf8_lossy(found.name);
        let instead: Option<String> =
            found.instead.map(|text| text.chars().take(INSTEAD).collect());
        tracing::warn!(
            target: "cookies",
            policy = found.policy,
            host = peer_text(found.host),
            cookie = peer_text(&cookie),
            findings = names.join(","),
            instead = instead.as_deref().map(peer_text),
            "cookie"
        );
    }

    fn is_due(&self, found: &Found<'_>, now: UnixMillis) -> bool {
        let mut told = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let key = (found.policy.to_owned(), found.name.to_vec());
        if told.get(&key).is_some_and(|last| now.since(*last) < EVERY) {
            return false;
        }
        if told.len() >= NAMES {
            told.retain(|_, last| now.since(*last) < EVERY);
        }
        if told.len() >= NAMES {
            return false;
        }
        told.insert(key, now);
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::telemetry::LogSettings;
    use crate::telemetry::log::capture;

    const FOUND: Found<'static> = Found {
        policy: "shop",
        host: "shop.example.com",
        name: b"EGG_SESS",
        findings: &[Finding::Oversized, Finding::WouldChange],
        instead: Some("__Host-EGG_SESS; Path=/"),
    };

    #[test]
    fn every_finding_is_counted_and_one_a_minute_is_written() {
        let (metrics, findings) = (Metrics::new(), Findings::default());
        let written = capture::lines(&LogSettings::default(), || {
            for secs in [0, 1, 59, 60, 61] {
                findings.tell(&metrics, &FOUND, UnixMillis(secs * 1000));
            }
            findings.tell(&metrics, &Found { name: b"other", ..FOUND }, UnixMillis(61_000));
            findings.tell(&metrics, &Found { findings: &[], ..FOUND }, UnixMillis(999_000));
        });
        let lines: Vec<_> = written.lines().collect();
        assert_eq!(lines.len(), 3, "{written}");
        let (_time, rest) = lines[0].trim_start().split_once(' ').expect("a line");
        assert_eq!(
            rest.trim_start(),
            "WARN cookies: cookie policy=\"shop\" host=\"shop.example.com\" cookie=\"EGG_SESS\" \
             findings=\"oversized,would_change\" instead=\"__Host-EGG_SESS; Path=/\""
        );
        let counted = metrics.render();
        for name in ["oversized", "would_change"] {
            let line = format!("cloakroom_cookie_findings_total{{finding=\"{name}\"}} 6");
            assert!(counted.contains(&line), "{line}");
        }
    }

    #[test]
    fn names_that_are_made_up_fill_neither_memory_nor_log() {
        let (metrics, findings) = (Metrics::new(), Findings::default());
        let written = capture::lines(&LogSettings::default(), || {
            for number in 0..NAMES + 100 {
                let name = format!("n{number}").into_bytes();
                findings.tell(&metrics, &Found { name: &name, ..FOUND }, UnixMillis(0));
            }
        });
        assert_eq!(written.lines().count(), NAMES);
        assert!(findings.is_due(&FOUND, UnixMillis(60_000)), "the old ones are forgotten");
    }
}
