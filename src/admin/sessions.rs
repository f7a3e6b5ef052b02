//! `GET /sessions?subject=NAME` and `POST /sessions/revoke`: what an operator asks of sessions.
//!
//! Answers are JSON, errors too: `{"error": "a_word", "message": "what it means, and what to do"}`. A
//! revocation is answered with 200 once the store has acknowledged it (PROTOCOL.md 26), not before.

use std::time::Duration;

use http::header::{ALLOW, CACHE_CONTROL, CONTENT_TYPE, RETRY_AFTER};
use http::{HeaderValue, Method, Request, Response, StatusCode};
use http_body_util::{BodyExt, LengthLimitError, Limited};
use hyper::body::Body;
use percent_encoding::percent_decode_str;
use serde::{Deserialize, Serialize};
use serde_json::json;

use crate::admin::guard::{Suspicion, Way, suspicion};
use crate::clock::Clock;
use crate::session::outcome::{Lookup, RecordKey, Removed};
use crate::session::shown::{Shown, is_live};
use crate::session::subject::normalised;
use crate::store::records::Records;
use crate::store::records::users::UserSessions;
use crate::telemetry::audit;
use crate::telemetry::labels::Revocation;
use crate::telemetry::metrics::Metrics;

/// A name of 256 bytes, escaped in whatever way, fits.
const BODY_BYTES_MAX: usize = 4 * 1024;
/// For the body, once the head is there.
const BODY_TIMEOUT: Duration = Duration::from_secs(10);

/// Where sessions are looked up and ended.
#[derive(Clone, Debug)]
pub struct Sessions {
    pub records: Records,
    pub clock: Clock,
}

/// What is asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Asked {
    List(String),
    Revoke(Revoke),
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Revoke {
    Subject(String),
    Session(RecordKey),
    All,
}

/// Why there is nothing but an error to answer with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Problem {
    Suspicious(Suspicion),
    Method(&'static str),
    BodyTooLarge,
    BodyTooSlow,
    BodyBroken,
    NotOneTarget,
    NoName,
    NoSessionId,
    NoSuchSession,
    StoreDown,
}

/// Whether a path is answered here.
pub(super) fn is_here(path: &str) -> bool {
    matches!(path, "/sessions" | "/sessions/revoke")
}

/// Answers a request for one of these paths.
pub(super) async fn answer<B>(
    request: Request<B>,
    way: Way,
    sessions: &Sessions,
    metrics: &Metrics,
) -> Response<String>
where
    B: Body,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    let asked = match read(request, way).await {
        Ok(asked) => asked,
        Err(problem) => return problem.response(),
    };
    let done = match asked {
        Asked::List(subject) => sessions.list(&subject).await,
        Asked::Revoke(revoke) => sessions.revoke(&revoke, metrics).await,
    };
    done.unwrap_or_else(Problem::response)
}

async fn read<B>(request: Request<B>, way: Way) -> Result<Asked, Problem>
where
    B: Body,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    let (method, allowed) = match request.uri().path() {
        "/sessions" => (Method::GET, "GET"),
        _ => (Method::POST, "POST"),
    };
    if *request.method() != method {
        return Err(Problem::Method(allowed));
    }
    if let Some(suspicion) = suspicion(&request, way) {
        return Err(Problem::Suspicious(suspicion));
    }
    if method == Method::GET {
        return listed(request.uri().query().unwrap_or_default()).map(Asked::List);
    }
    let body = Limited::new(request.into_body(), BODY_BYTES_MAX).collect();
    match tokio::time::timeout(BODY_TIMEOUT, body).await {
        Err(_) => Err(Problem::BodyTooSlow),
        Ok(Err(error)) if error.is::<LengthLimitError>() => Err(Problem::BodyTooLarge),
        Ok(Err(_)) => Err(Problem::BodyBroken),
        Ok(Ok(body)) => to_revoke(&body.to_bytes()).map(Asked::Revoke),
    }
}

/// The one `subject` of a query.
fn listed(query: &str) -> Result<String, Problem> {
    let mut subjects = query.split('&').filter_map(|pair| pair.strip_prefix("subject="));
    let (Some(subject), None) = (subjects.next(), subjects.next()) else {
        return Err(Problem::NoName);
    };
    let subject = subject.replace('+', " ");
    let subject = percent_decode_str(&subject).decode_utf8().map_err(|_| Problem::NoName)?;
    normalised(&subject).ok_or(Problem::NoName)
}

/// What a body asks to revoke: exactly one thing, so that a slip of the pen does not revoke more.
fn to_revoke(body: &[u8]) -> Result<Revoke, Problem> {
    #[derive(Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Wanted {
        subject: Option<String>,
        session: Option<String>,
        all: Option<bool>,
    }
    let wanted: Wanted = serde_json::from_slice(body).map_err(|_| Problem::NotOneTarget)?;
    match (wanted.subject, wanted.session, wanted.all) {
        (Some(subject), None, None) => {
            normalised(&subject).map(Revoke::Subject).ok_or(Problem::NoName)
        }
        (None, Some(session), None) => {
            RecordKey::from_hex(&session).map(Revoke::Session).ok_or(Problem::NoSessionId)
        }
        (None, None, Some(true)) => Ok(Revoke::All),
        _ => Err(Problem::NotOneTarget),
    }
}

impl Sessions {
    async fn list(&self, subject: &str) -> Result<Response<String>, Problem> {
        let now = self.clock.now();
        let found = match self.records.list_subject(subject, now).await {
            Lookup::Found(found) => found,
            Lookup::NotFound | Lookup::Revoked => UserSessions::default(),
            Lookup::Unavailable => return Err(Problem::StoreDown),
        };
        let mut sessions: Vec<Shown> = found
            .sessions
            .iter()
            .filter_map(|(key, _, record)| Shown::of(*key, record, subject, now))
            .collect();
        sessions.sort_by(|a, b| b.created.cmp(&a.created).then_with(|| a.id.cmp(&b.id)));
        let is_cut = found.is_cut();
        let total = if is_cut { found.total } else { sessions.len() };
        let list = json!({
            "subject": subject,
            "sessions": sessions,
            "total": total,
            "truncated": is_cut,
        });
        Ok(json(StatusCode::OK, &list))
    }

    async fn revoke(
        &self,
        revoke: &Revoke,
        metrics: &Metrics,
    ) -> Result<Response<String>, Problem> {
        let now = self.clock.now();
        let (removed, scope, what) = match revoke {
            Revoke::Subject(subject) => (
                self.records.revoke_subject(subject, now).await,
                Revocation::Subject,
                json!({ "subject": subject }),
            ),
            Revoke::Session(key) => {
                match self.records.reload(*key, now).await {
                    Lookup::Found((_, record)) if is_live(&record, now) => {}
                    // Tried all the same: with the attempt this node forgets what it knew.
                    Lookup::Unavailable => {}
                    Lookup::Found(_) | Lookup::NotFound | Lookup::Revoked => {
                        return Err(Problem::NoSuchSession);
                    }
                }
                let removed = self.records.revoke_one(*key, now).await;
                (removed, Revocation::Session, json!({ "session": key.to_hex() }))
            }
            Revoke::All => {
                (self.records.revoke_all().await, Revocation::All, json!({ "all": true }))
            }
        };
        if removed == Removed::Unavailable {
            return Err(Problem::StoreDown);
        }
        let (subject, session) = match revoke {
            Revoke::Subject(subject) => (Some(subject.as_str()), None),
            Revoke::Session(key) => (None, Some(*key)),
            Revoke::All => (None, None),
        };
        audit::revoked(metrics, scope, subject, session, "operator");
        Ok(json(StatusCode::OK, &json!({ "revoked": what })))
    }
}

impl Problem {
    fn response(self) -> Response<String> {
        use StatusCode as S;
        let (status, error, message) = match self {
            Self::Suspicious(Suspicion::Browser) => (
                S::FORBIDDEN,
                "browser",
                "this request comes from a browser; use `cloakroom sessions`, or curl",
            ),
            Self::Suspicious(Suspicion::Host) => (
                S::MISDIRECTED_REQUEST,
                "host",
                "call this listener by its address or as localhost, not by a name",
            ),
            Self::Suspicious(Suspicion::Form) => (
                S::UNSUPPORTED_MEDIA_TYPE,
                "content_type",
                "send JSON, and say so: `Content-Type: application/json`",
            ),
            Self::Method(_) => (
                S::METHOD_NOT_ALLOWED,
                "method",
                "`GET /sessions?subject=NAME` lists, `POST /sessions/revoke` revokes",
            ),
            Self::BodyTooLarge => (S::PAYLOAD_TOO_LARGE, "too_large", "at most 4 KiB"),
            Self::BodyTooSlow => {
                (S::REQUEST_TIMEOUT, "too_slow", "the body did not come within 10 seconds")
            }
            Self::BodyBroken => (S::BAD_REQUEST, "broken", "the body broke off"),
            Self::NotOneTarget => (
                S::BAD_REQUEST,
                "target",
                "send exactly one of {\"subject\": \"NAME\"}, {\"session\": \"ID\"} and \
                 {\"all\": true}",
            ),
            Self::NoName => (
                S::BAD_REQUEST,
                "subject",
                "one subject: a user's name, at most 256 bytes, no control characters; in a \
                 query percent-encoded",
            ),
            Self::NoSessionId => (
                S::BAD_REQUEST,
                "session",
                "a session is named by 48 hex digits, as workers have it in X-Session-Id",
            ),
            Self::NoSuchSession => {
                (S::NOT_FOUND, "no_such_session", "no such session: it is over, or never was")
            }
            Self::StoreDown => (
                S::SERVICE_UNAVAILABLE,
                "store_down",
                "the store did not acknowledge it; nothing can be said about whether it was done: \
                 try again",
            ),
        };
        let mut response = json(status, &json!({ "error": error, "message": message }));
        match self {
            Self::Method(allowed) => {
                response.headers_mut().insert(ALLOW, HeaderValue::from_static(allowed));
            }
            Self::StoreDown => {
                response.headers_mut().insert(RETRY_AFTER, HeaderValue::from_static("2"));
            }
            _ => {}
        }
        response
    }
}

fn json(status: StatusCode, value: &impl Serialize) -> Response<String> {
    let mut text = serde_json::to_string(value).expect("maps have keys of text");
    text.push('\n');
    let mut response = Response::new(text);
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_body_names_exactly_one_thing() {
        let check = |body: &str, expected| {
            assert_eq!(to_revoke(body.as_bytes()), expected, "{body}");
        };
        let id = "01".repeat(24);
        check(r#"{"subject":"Alice"}"#, Ok(Revoke::Subject("alice".to_owned())));
        let key = RecordKey::from_hex(&id).unwrap();
        check(&format!(r#"{{"session":"{id}"}}"#), Ok(Revoke::Session(key)));
        check(r#"{"all":true}"#, Ok(Revoke::All));
        for many in [
            "",
            "{}",
            "[]",
            r#"{"all":false}"#,
            r#"{"all":1}"#,
            r#"{"subject":"alice","all":true}"#,
            r#"{"subject":"alice","all":false}"#,
            r#"{"subject":"alice","session":"x"}"#,
            r#"{"subject":"alice","subject":"bob"}"#,
            r#"{"subjects":"alice"}"#,
            r#"{"subject":7}"#,
            r#"{"all":true} x"#,
        ] {
            check(many, Err(Problem::NotOneTarget));
        }
        check(r#"{"subject":" "}"#, Err(Problem::NoName));
        check(r#"{"subject":"a\nb"}"#, Err(Problem::NoName));
        check(&format!(r#"{{"session":"{}"}}"#, &id[1..]), Err(Problem::NoSessionId));
    }

    #[test]
    fn a_query_names_one_subject() {
        let check = |query: &str, expected: Option<&str>| {
            assert_eq!(listed(query).ok().as_deref(), expected, "{query}");
        };
        check("subject=alice", Some("alice"));
        check("x=1&subject=Alice%40Example.com", Some("alice@example.com"));
        check("subject=two+words", Some("two words"));
        check("subject=zo%C3%AB", Some("zoë"));
        for nothing in
            ["", "subject", "subject=", "subject=a&subject=b", "subject=%FF", "Subject=a"]
        {
            check(nothing, None);
        }
    }
}
