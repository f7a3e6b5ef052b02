//! A user's own sessions, for the application's pages (`own_sessions`): listed and ended by script.
//!
//! Needs a live ticket whose subject the application has confirmed (PROTOCOL.md 23). Only a page of the
//! same origin may ask: no answer has a CORS header, and nothing is changed for a request that does
//! not say where it comes from.

use http::header::{ALLOW, HeaderName, SET_COOKIE};
use http::{Method, StatusCode};
use serde::Serialize;
use serde_json::{Value, json};

use crate::clock::UnixMillis;
use crate::downstream::Request;
use crate::headers::fetch;
use crate::proxy::context::Context;
use crate::proxy::settle::expiry_field;
use crate::proxy::shared::Shared;
use crate::session::exchange::Held;
use crate::session::outcome::{Lookup, RecordKey, Removed};
use crate::session::own::{Asked, Refused};
use crate::session::policy::Policy;
use crate::session::record::Record;
use crate::session::subject::User;
use crate::session::view::SessionView;
use crate::store::records::users::{Others, UserSessions};
use crate::telemetry::audit;
use crate::telemetry::labels::Revocation;

/// An answer of JSON.
pub struct Json {
    pub status: StatusCode,
    pub fields: Vec<(HeaderName, String)>,
    pub body: Value,
}

impl Json {
    fn ok(body: Value) -> Self {
        Self { status: StatusCode::OK, fields: Vec::new(), body }
    }

    fn error(status: StatusCode, error: &str) -> Self {
        Self { status, fields: Vec::new(), body: json!({ "error": error }) }
    }

    fn with(mut self, name: HeaderName, value: impl Into<String>) -> Self {
        self.fields.push((name, value.into()));
        self
    }
}

/// A session as its user sees it.
#[derive(Serialize)]
struct Own {
    id: String,
    created: u64,
    last_seen: u64,
    authenticated: Option<u64>,
    network: Option<String>,
    agent: Option<String>,
    /// Whether it is the one that asks.
    current: bool,
}

/// Reads what is asked for, before any session is looked up.
pub fn read(request: &Request, ctx: &Context) -> Result<Asked, Json> {
    let Some(target) = &ctx.target else {
        return Err(Json::error(StatusCode::INTERNAL_SERVER_ERROR, "internal"));
    };
    let method = &request.method;
    let asked = Asked::read(method, target.requested.path.as_bytes(), query(request.target()))
        .map_err(|refused| match refused {
            Refused::Nothing => Json::error(StatusCode::NOT_FOUND, "not_found"),
            Refused::NotSaid => Json::error(StatusCode::BAD_REQUEST, "others_expected"),
            Refused::Method(allowed) => {
                Json::error(StatusCode::METHOD_NOT_ALLOWED, "method").with(ALLOW, allowed)
            }
        })?;
    let authority = target.client.host(request.authority()).unwrap_or_default();
    let is_ours = match fetch::same_origin(request.fields(), authority, target.client.https) {
        Some(is_ours) => is_ours,
        // A program, or a browser that says nothing about a GET: it can only be read by its own.
        None => matches!(*method, Method::GET | Method::HEAD),
    };
    if is_ours { Ok(asked) } else { Err(Json::error(StatusCode::FORBIDDEN, "cross_origin")) }
}

fn query(target: &[u8]) -> Option<&str> {
    let begin = target.iter().position(|byte| *byte == b'?')? + 1;
    std::str::from_utf8(target.get(begin..)?).ok()
}

/// Answers a request that was admitted.
pub async fn answer(shared: &Shared, ctx: &Context, policy: &Policy, asked: &Asked) -> Json {
    let held = ctx.exchange.as_ref().and_then(|exchange| exchange.bond.held());
    let confirmed = held.and_then(|held| {
        let subject = held.record.whose().filter(|subject| subject.confirmed)?;
        Some(Owner { held, user: policy.user(&subject.name) })
    });
    let Some(owner) = confirmed else {
        return login_required();
    };
    match asked {
        Asked::List => owner.list(shared).await,
        Asked::End(id) => owner.end(shared, policy, *id).await,
        Asked::EndOthers => owner.end_others(shared).await,
    }
}

/// Who asks, and with which session.
struct Owner<'a> {
    held: &'a Held,
    user: User<'a>,
}

impl Owner<'_> {
    async fn list(&self, shared: &Shared) -> Json {
        let now = shared.clock.now();
        let listed = match shared.list(self.user).await {
            Lookup::Found(listed) => listed,
            Lookup::NotFound | Lookup::Revoked => UserSessions::default(),
            Lookup::Unavailable => return store_down(),
        };
        let (is_cut, total) = (listed.is_cut(), listed.total);
        let mut found: Vec<_> =
            listed.sessions.into_iter().map(|(key, _, record)| (key, record)).collect();
        if found.iter().all(|(key, _)| *key != self.held.key) {
            found.push((self.held.key, self.held.record.clone()));
        }
        let mut own: Vec<(RecordKey, SessionView)> = found
            .iter()
            .filter_map(|(key, record)| Some((*key, self.shown(*key, record, now)?)))
            .collect();
        own.sort_by(|(_, a), (_, b)| b.created.cmp(&a.created).then_with(|| a.id.cmp(&b.id)));
        let sessions: Vec<Own> = own
            .into_iter()
            .map(|(key, shown)| Own {
                id: own_id(key),
                created: shown.created,
                last_seen: shown.last_seen,
                authenticated: shown.authenticated,
                network: shown.network,
                agent: shown.agent,
                current: key == self.held.key,
            })
            .collect();
        let total = if is_cut { total } else { sessions.len() };
        Json::ok(json!({ "sessions": sessions, "total": total, "truncated": is_cut }))
    }

    async fn end(&self, shared: &Shared, policy: &Policy, id: [u8; 16]) -> Json {
        // One that was made before users had namespaces has another tag than those that it lists.
        let User { namespace, name } = self.user;
        let tag = shared.ring.current().user_tag(namespace, name);
        let listed = RecordKey { tag, id, has_subject: true };
        let key = if id == self.held.key.id { self.held.key } else { listed };
        match shared.reload(key).await {
            Lookup::Found((_, record))
                if self.shown(key, &record, shared.clock.now()).is_some() => {}
            Lookup::Found(_) | Lookup::NotFound | Lookup::Revoked => return no_such_session(),
            Lookup::Unavailable => return store_down(),
        }
        if shared.remove(key).await == Removed::Unavailable {
            return store_down();
        }
        self.note(shared, Revocation::Session, key);
        let done = Json::ok(json!({ "ended": 1 }));
        if key == self.held.key { done.with(SET_COOKIE, expiry_field(policy)) } else { done }
    }

    async fn end_others(&self, shared: &Shared) -> Json {
        match shared.end_others(self.user, self.held.key).await {
            Others::Ended(ended) => {
                self.note(shared, Revocation::Others, self.held.key);
                Json::ok(json!({ "ended": ended }))
            }
            Others::NotLive => login_required(),
            Others::Unavailable => store_down(),
        }
    }

    fn note(&self, shared: &Shared, scope: Revocation, key: RecordKey) {
        let User { namespace, name } = self.user;
        audit::revoked(&shared.metrics, scope, Some(name), Some(namespace), Some(key), "user");
    }

    /// What may be shown of a session, if it is the user's. What somebody merely typed into a form
    /// is nobody's.
    fn shown(&self, key: RecordKey, record: &Record, now: UnixMillis) -> Option<SessionView> {
        SessionView::of(key, record, self.user.name, now).filter(|shown| shown.confirmed)
    }
}

/// The part of a record's key that tells a user's sessions apart.
fn own_id(key: RecordKey) -> String {
    key.id.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn login_required() -> Json {
    Json::error(StatusCode::UNAUTHORIZED, "login_required")
        .with(http::header::WWW_AUTHENTICATE, "Cookie")
}

fn no_such_session() -> Json {
    Json::error(StatusCode::NOT_FOUND, "no_such_session")
}

fn store_down() -> Json {
    Json::error(StatusCode::SERVICE_UNAVAILABLE, "store_down").with(http::header::RETRY_AFTER, "2")
}
