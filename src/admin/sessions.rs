//! `GET /sessions?subject=NAME[&users=NAME]` and `POST /sessions/revoke`: what an operator asks of sessions.
//!
//! Answers are JSON, errors too: `{"error": "a_word", "message": "what it means, and what to do"}`. A
//! revocation is answered with 200 once the store has acknowledged it (PROTOCOL.md 26), not before.

use std::sync::Arc;

use arc_swap::ArcSwap;
use http::header::{ALLOW, RETRY_AFTER};
use http::{HeaderValue, Method, Request, Response, StatusCode};
use hyper::body::Body;
use percent_encoding::percent_decode_str;
use serde::{Deserialize, Serialize};
use serde_json::json;

use crate::admin::answers::{self, NoBody, json};
use crate::admin::browsers::{Room, Suspicion, Way, suspicion};
use crate::clock::{Clock, UnixMillis};
use crate::session::outcome::{Lookup, RecordKey, Removed};
use crate::session::subject::{User, normalised};
use crate::session::view::{SessionView, is_live};
use crate::store::records::Records;
use crate::store::records::users::UserSessions;
use crate::telemetry::audit;
use crate::telemetry::labels::Revocation;
use crate::telemetry::metrics::Metrics;

/// Where sessions are looked up and ended.
#[derive(Clone, Debug)]
pub struct Sessions {
    pub records: Records,
    pub clock: Clock,
    /// The namespaces that the configuration has for users (PROTOCOL.md 27).
    pub namespaces: Arc<ArcSwap<Vec<String>>>,
}

/// A user in one namespace, or in all.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Wanted {
    subject: String,
    users: Option<String>,
}

/// What is asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Asked {
    List(Wanted),
    Revoke(Revoke),
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Revoke {
    Subject(Wanted),
    Session(RecordKey),
    All,
}

/// Why there is nothing but an error to answer with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Problem {
    Suspicious(Suspicion),
    Method(&'static str),
    Body(NoBody),
    NotOneTarget,
    NoName,
    NoSuchUsers,
    NoSessionId,
    NoSuchSession,
    StoreDown,
}

/// A session in a list, with the namespace of its user: none where it was made before there were any.
#[derive(Serialize)]
struct Entry<'a> {
    users: Option<&'a str>,
    #[serde(flatten)]
    session: SessionView,
}

/// Whether a path is answered here.
pub(super) fn is_here(path: &str) -> bool {
    matches!(path, "/sessions" | "/sessions/revoke")
}

/// Answers a request for one of these paths.
pub(super) async fn answer<B>(
    request: Request<B>,
    way: &Way,
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
        Asked::List(wanted) => sessions.list(&wanted).await,
        Asked::Revoke(revoke) => sessions.revoke(&revoke, metrics).await,
    };
    done.unwrap_or_else(Problem::response)
}

async fn read<B>(request: Request<B>, way: &Way) -> Result<Asked, Problem>
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
    if let Some(suspicion) = suspicion(&request, way, Room::Sessions) {
        return Err(Problem::Suspicious(suspicion));
    }
    if method == Method::GET {
        return listed(request.uri().query().unwrap_or_default()).map(Asked::List);
    }
    let body = answers::body(request).await.map_err(Problem::Body)?;
    to_revoke(&body).map(Asked::Revoke)
}

/// The one `subject` of a query, and the `users` that it is of.
fn listed(query: &str) -> Result<Wanted, Problem> {
    let one = |key: &str| {
        let mut values = query.split('&').filter_map(|pair| pair.strip_prefix(key));
        match (values.next(), values.next()) {
            (None, _) => Ok(None),
            (Some(value), None) => {
                let value = value.replace('+', " ");
                let value = percent_decode_str(&value).decode_utf8();
                value.map(|value| Some(value.into_owned())).map_err(|_| Problem::NoName)
            }
            (Some(_), Some(_)) => Err(Problem::NoName),
        }
    };
    let subject = one("subject=")?.ok_or(Problem::NoName)?;
    let users = one("users=")?;
    Ok(Wanted { subject: normalised(&subject).ok_or(Problem::NoName)?, users })
}

/// What a body asks to revoke: exactly one thing, so that a slip of the pen does not revoke more.
fn to_revoke(body: &[u8]) -> Result<Revoke, Problem> {
    #[derive(Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Body {
        subject: Option<String>,
        users: Option<String>,
        session: Option<String>,
        all: Option<bool>,
    }
    let body: Body = serde_json::from_slice(body).map_err(|_| Problem::NotOneTarget)?;
    match (body.subject, body.users, body.session, body.all) {
        (Some(subject), users, None, None) => {
            let subject = normalised(&subject).ok_or(Problem::NoName)?;
            Ok(Revoke::Subject(Wanted { subject, users }))
        }
        (None, None, Some(session), None) => {
            RecordKey::from_hex(&session).map(Revoke::Session).ok_or(Problem::NoSessionId)
        }
        (None, None, None, Some(true)) => Ok(Revoke::All),
        _ => Err(Problem::NotOneTarget),
    }
}

impl Sessions {
    /// The namespaces that are meant.
    fn meant(&self, users: Option<&str>) -> Result<Vec<String>, Problem> {
        let all = self.namespaces.load();
        let is_meant = |name: &&String| users.is_none_or(|users| users == *name);
        let meant: Vec<_> = all.iter().filter(is_meant).cloned().collect();
        if meant.is_empty() && users.is_some() { Err(Problem::NoSuchUsers) } else { Ok(meant) }
    }

    async fn list(&self, wanted: &Wanted) -> Result<Response<String>, Problem> {
        let Wanted { subject, users } = wanted;
        let now = self.clock.now();
        let mut found = Vec::new();
        let meant = self.meant(users.as_deref())?;
        for namespace in &meant {
            let user = User { namespace, name: subject };
            found.push((Some(namespace.as_str()), self.records.list_user(user, now).await));
        }
        if users.is_none() {
            found.push((None, self.records.list_bare(subject, now).await));
        }
        let (mut sessions, mut total, mut is_cut) = (Vec::new(), 0, false);
        for (users, listed) in found {
            let listed = match listed {
                Lookup::Found(listed) => listed,
                Lookup::NotFound | Lookup::Revoked => UserSessions::default(),
                Lookup::Unavailable => return Err(Problem::StoreDown),
            };
            let before = sessions.len();
            let shown = listed
                .sessions
                .iter()
                .filter_map(|(key, _, record)| SessionView::of(*key, record, subject, now));
            sessions.extend(shown.map(|session| Entry { users, session }));
            total += if listed.is_cut() { listed.total } else { sessions.len() - before };
            is_cut |= listed.is_cut();
        }
        sessions.sort_by(|Entry { session: a, .. }, Entry { session: b, .. }| {
            b.created.cmp(&a.created).then_with(|| a.id.cmp(&b.id))
        });
        let list = json!({
            "subject": subject,
            "sessions": sessions,
            "total": total,
            "truncated": is_cut,
        });
        Ok(json(StatusCode::OK, &list))
    }

    async fn revoke_user(&self, wanted: &Wanted, now: UnixMillis) -> Result<Removed, Problem> {
        for namespace in self.meant(wanted.users.as_deref())? {
            let user = User { namespace: &namespace, name: &wanted.subject };
            if self.records.revoke_user(user, None, now).await == Removed::Unavailable {
                return Ok(Removed::Unavailable);
            }
        }
        Ok(Removed::Removed)
    }

    async fn revoke(
        &self,
        revoke: &Revoke,
        metrics: &Metrics,
    ) -> Result<Response<String>, Problem> {
        let now = self.clock.now();
        let (removed, scope, what) = match revoke {
            Revoke::Subject(wanted) => {
                let Wanted { subject, users } = wanted;
                let what = match users {
                    Some(users) => json!({ "subject": subject, "users": users }),
                    None => json!({ "subject": subject }),
                };
                (self.revoke_user(wanted, now).await?, Revocation::Subject, what)
            }
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
        let (subject, users, session) = match revoke {
            Revoke::Subject(Wanted { subject, users }) => {
                (Some(subject.as_str()), users.as_deref(), None)
            }
            Revoke::Session(key) => (None, None, Some(*key)),
            Revoke::All => (None, None, None),
        };
        audit::revoked(metrics, scope, subject, users, session, "operator");
        Ok(json(StatusCode::OK, &json!({ "revoked": what })))
    }
}

impl Problem {
    fn response(self) -> Response<String> {
        use StatusCode as S;
        let (status, error, message) = match self {
            Self::Suspicious(suspicion) => return suspicion.response(),
            Self::Body(problem) => return problem.response(),
            Self::Method(_) => (
                S::METHOD_NOT_ALLOWED,
                "method",
                "`GET /sessions?subject=NAME` lists, `POST /sessions/revoke` revokes",
            ),
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
            Self::NoSuchUsers => (
                S::NOT_FOUND,
                "no_such_users",
                "no session policy of this configuration has these `users`; leave them out for all",
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
        let mut response = answers::error(status, error, message);
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_body_names_exactly_one_thing() {
        let check = |body: &str, expected| {
            assert_eq!(to_revoke(body.as_bytes()), expected, "{body}");
        };
        let id = "01".repeat(24);
        let alice = |users: Option<&str>| {
            let users = users.map(str::to_owned);
            Ok(Revoke::Subject(Wanted { subject: "alice".to_owned(), users }))
        };
        check(r#"{"subject":"Alice"}"#, alice(None));
        check(r#"{"subject":"Alice","users":"shop"}"#, alice(Some("shop")));
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
            r#"{"users":"shop"}"#,
            r#"{"all":true,"users":"shop"}"#,
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
            let found = listed(query).ok().map(|Wanted { subject, users }| match users {
                Some(users) => format!("{subject} of {users}"),
                None => subject,
            });
            assert_eq!(found.as_deref(), expected, "{query}");
        };
        check("subject=alice", Some("alice"));
        check("x=1&subject=Alice%40Example.com", Some("alice@example.com"));
        check("subject=two+words", Some("two words"));
        check("subject=zo%C3%AB", Some("zoë"));
        check("subject=alice&users=shop", Some("alice of shop"));
        for nothing in [
            "",
            "subject",
            "subject=",
            "subject=a&subject=b",
            "subject=%FF",
            "Subject=a",
            "users=shop",
            "subject=a&users=b&users=c",
        ] {
            check(nothing, None);
        }
    }
}
