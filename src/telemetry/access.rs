//! The access line: one event for each request, on every path, when all of it is over.
//!
//! Target `access`, level info, structured fields. It carries no query (codes and tokens travel
//! there), no cookie and no header; the session is the hashed key's first bytes. What the peer chose
//! (host, path, method, request identifier) is written as quoted strings with quotes and control
//! characters escaped, so that no request can forge a second line.

use std::net::IpAddr;
use std::time::Duration;

use crate::session::outcome::RecordKey;
use crate::telemetry::peer_text;

/// What there is to say about a request that is over.
#[derive(Clone, Debug)]
pub struct AccessLine<'a> {
    /// The client, after trusted proxies have been taken at their word.
    pub client: IpAddr,
    pub method: &'a str,
    pub host: &'a str,
    /// As received; anything from `?` on is left out.
    pub path: &'a str,
    /// `HTTP/1.0`, `HTTP/1.1`, `HTTP/2.0`.
    pub protocol: &'a str,
    /// The status that was sent; 499 where the client left before it, as in nginx.
    pub status: u16,
    /// Body bytes to the client.
    pub bytes_out: u64,
    /// Body bytes from the client.
    pub bytes_in: u64,
    /// From the first byte of the request to the last of the response.
    pub duration: Duration,
    /// The endpoint that answered last.
    pub upstream: Option<&'a str>,
    pub upstream_status: Option<u16>,
    pub upstream_duration: Option<Duration>,
    /// The record that the ticket stood for.
    pub session: Option<RecordKey>,
    /// `TLSv1.3`, …
    pub tls: Option<&'a str>,
    pub request_id: Option<&'a str>,
    /// The route's configured path, `-` where none matched.
    pub route: &'a str,
    /// What went wrong, in our words.
    pub error: Option<&'a str>,
}

impl AccessLine<'_> {
    /// Writes the line.
    pub fn write(&self) {
        let (path, _query) = self.path.split_once('?').unwrap_or((self.path, ""));
        tracing::info!(
            target: "access",
            client = %self.client,
            method = peer_text(self.method),
            host = peer_text(self.host),
            path = peer_text(path),
            protocol = self.protocol,
            status = self.status,
            bytes_out = self.bytes_out,
            bytes_in = self.bytes_in,
            duration_ms = millis(self.duration),
            upstream = self.upstream,
            upstream_status = self.upstream_status,
            upstream_ms = self.upstream_duration.map(millis),
            session = self.session.map(tracing::field::debug),
            tls = self.tls,
            request_id = self.request_id.map(peer_text),
            route = self.route,
            error = self.error.map(peer_text),
            "request"
        );
    }
}

/// Milliseconds, to the microsecond.
fn millis(duration: Duration) -> f64 {
    duration.as_micros() as f64 / 1000.0
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::telemetry::log::capture;
    use crate::telemetry::{Format, LogSettings};

    fn line() -> AccessLine<'static> {
        AccessLine {
            client: IpAddr::from([192, 0, 2, 7]),
            method: "GET",
            host: "shop.example.com",
            path: "/account/?token=s3cret",
            protocol: "HTTP/1.1",
            status: 200,
            bytes_out: 512,
            bytes_in: 0,
            duration: Duration::from_micros(12_345),
            upstream: Some("127.0.0.1:7001"),
            upstream_status: Some(200),
            upstream_duration: Some(Duration::from_millis(11)),
            session: Some(RecordKey { tag: [1; 8], id: [0xab; 16], has_subject: false }),
            tls: Some("TLSv1.3"),
            request_id: None,
            route: "/account/",
            error: None,
        }
    }

    #[test]
    fn one_line_says_it_all_and_nothing_of_the_query() {
        let written = capture::lines(&LogSettings::default(), || line().write());
        assert!(!written.contains("s3cret"), "queries carry secrets: {written}");
        let (_, fields) = written.split_once("access: ").expect("the target");
        assert_eq!(
            fields,
            "request client=192.0.2.7 method=\"GET\" host=\"shop.example.com\" path=\"/account/\" \
             protocol=\"HTTP/1.1\" status=200 bytes_out=512 bytes_in=0 duration_ms=12.345 \
             upstream=\"127.0.0.1:7001\" upstream_status=200 upstream_ms=11.0 \
             session=abababab.. tls=\"TLSv1.3\" route=\"/account/\"\n"
        );
    }

    #[test]
    fn a_peer_cannot_forge_a_line() {
        // Newlines, quotes, a terminal's escape sequences (C0 and C1), bidirectional overrides.
        let hostile = "/a\" status=500\r\n2026 INFO audit: login\u{1b}[2J\u{9b}2J\u{202e}\\";
        let forged = AccessLine { path: hostile, host: hostile, method: hostile, ..line() };
        let forged = AccessLine { request_id: Some(hostile), error: Some(hostile), ..forged };

        let text = capture::lines(&LogSettings::default(), || forged.write());
        assert_eq!(text.lines().count(), 1, "{text}");
        let body = text.strip_suffix('\n').expect("a line");
        assert!(!body.contains(char::is_control), "{body:?}");
        assert!(!body.contains('\u{202e}'), "{body:?}");
        assert!(body.contains(r#"path="/a\" status=500\r\n2026 INFO audit: login"#), "{body}");

        let json = LogSettings { format: Format::Json, ..LogSettings::default() };
        let written = capture::lines(&json, || forged.write());
        assert_eq!(written.lines().count(), 1, "{written}");
        let object: serde_json::Value = serde_json::from_str(&written).expect("JSON");
        assert_eq!(object["path"], hostile, "JSON keeps the value whole");
        assert_eq!(object["status"], 200);
    }

    #[test]
    fn an_overlong_path_is_cut() {
        let path = format!("/{}", "x".repeat(30_000));
        let written = capture::lines(&LogSettings::default(), || {
            AccessLine { path: &path, ..line() }.write();
        });
        assert!(written.len() < 2_000, "{} bytes", written.len());
    }

    #[test]
    fn no_line_where_access_is_off() {
        let off = LogSettings { access: false, ..LogSettings::default() };
        assert_eq!(capture::lines(&off, || line().write()), "");
    }
}
