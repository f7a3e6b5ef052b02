//! A user's own sessions (`own_sessions`): listed and ended by the application's pages in JSON, and by users on a
//! page of ours where HTML is asked for (`devices`).
//!
//! Needs a live ticket whose subject the application has confirmed (PROTOCOL.md 23). Only a page of the
//! same origin may ask: no answer has a CORS header, and nothing is changed for a request that does
//! not say where it comes from. Anybody may lead a browser to the page: it is shown in no frame, and read by nobody
//! else.

mod owner;

use http::header::{
    ALLOW, CONTENT_LANGUAGE, CONTENT_SECURITY_POLICY, HeaderName, LOCATION, REFERRER_POLICY,
    RETRY_AFTER, SET_COOKIE, VARY, WWW_AUTHENTICATE, X_CONTENT_TYPE_OPTIONS, X_FRAME_OPTIONS,
};
use http::{Method, StatusCode};
use serde::Serialize;
use serde_json::json;

use self::owner::Owner;
use crate::clock::UnixMillis;
use crate::downstream::Request;
use crate::headers::fetch;
use crate::proxy::context::Context;
use crate::proxy::devices::{self, Device, Language, Said};
use crate::proxy::shared::Shared;
use crate::session::own::{Asked, PATH, Refused};
use crate::session::policy::Policy;

/// What is asked, and in which form the answer is wanted.
pub struct Question {
    asked: Asked,
    form: Form,
}

#[derive(Clone, Copy)]
enum Form {
    Json,
    Page {
        language: Language,
        /// Sessions were ended just before.
        ended: bool,
    },
}

/// An answer as it is sent.
pub struct OwnAnswer {
    pub status: StatusCode,
    pub fields: Vec<(HeaderName, String)>,
    pub content_type: &'static [u8],
    pub body: String,
}

/// What came of it.
enum Outcome {
    Listed {
        sessions: Vec<Own>,
        total: usize,
        is_cut: bool,
    },
    /// So many; the ticket is taken away where it is the one that asks.
    Ended {
        ended: usize,
        ticket: Option<String>,
    },
    Problem(Problem),
}

/// Why there is nothing to answer.
#[derive(Clone, Copy)]
enum Problem {
    Internal,
    NotFound,
    OthersExpected,
    Method(&'static str),
    CrossOrigin,
    LoginRequired,
    NoSuchSession,
    StoreDown,
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
///
/// # Errors
/// What is answered to who may not ask this, or not so.
pub fn read(request: &Request, ctx: &Context) -> Result<Question, OwnAnswer> {
    let form = Form::read(request);
    // Without a session there is nothing that needs the time.
    let refuse = |problem| Outcome::Problem(problem).answer(form, UnixMillis(0));
    let Some(target) = &ctx.target else { return Err(refuse(Problem::Internal)) };
    let method = &request.method;
    let asked = Asked::read(method, target.requested.path.as_bytes(), query(request.target()))
        .map_err(|refused| match refused {
            Refused::Nothing => refuse(Problem::NotFound),
            Refused::NotSaid => refuse(Problem::OthersExpected),
            Refused::Method(allowed) => refuse(Problem::Method(allowed)),
        })?;
    let authority = target.client.host(request.authority()).unwrap_or_default();
    let is_ours = match fetch::same_origin(request.fields(), authority, target.client.https) {
        Some(is_ours) => is_ours || fetch::is_document_by_get(method, request.fields()),
        // A program, or a browser that says nothing about a GET: it can only be read by its own.
        None => matches!(*method, Method::GET | Method::HEAD),
    };
    if is_ours { Ok(Question { asked, form }) } else { Err(refuse(Problem::CrossOrigin)) }
}

fn query(target: &[u8]) -> Option<&str> {
    let begin = target.iter().position(|byte| *byte == b'?')? + 1;
    std::str::from_utf8(target.get(begin..)?).ok()
}

/// Answers a request that was admitted.
pub async fn answer(
    shared: &Shared,
    ctx: &Context,
    policy: &Policy,
    question: &Question,
) -> OwnAnswer {
    let outcome = outcome(shared, ctx, policy, &question.asked).await;
    outcome.answer(question.form, shared.clock.now())
}

async fn outcome(shared: &Shared, ctx: &Context, policy: &Policy, asked: &Asked) -> Outcome {
    let held = ctx.exchange.as_ref().and_then(|exchange| exchange.bond.held());
    let confirmed = held.and_then(|held| {
        let subject = held.record.whose().filter(|subject| subject.confirmed)?;
        Some(Owner { held, user: policy.user(&subject.name) })
    });
    let Some(owner) = confirmed else {
        return Outcome::Problem(Problem::LoginRequired);
    };
    match asked {
        Asked::List => owner.list(shared).await,
        Asked::End(id) => owner.end(shared, policy, *id).await,
        Asked::EndOthers => owner.end_others(shared).await,
    }
}

impl Form {
    /// A page where a browser asks for one, in the language that it prefers.
    fn read(request: &Request) -> Self {
        let fields = request.fields();
        if fetch::is_of_script(fields) || !fetch::wants_html(fields) {
            return Self::Json;
        }
        let ended = query(request.target()) == Some("ended");
        Self::Page { language: Language::of(fields), ended }
    }
}

impl Problem {
    fn status(self) -> StatusCode {
        match self {
            Self::Internal => StatusCode::INTERNAL_SERVER_ERROR,
            Self::NotFound | Self::NoSuchSession => StatusCode::NOT_FOUND,
            Self::OthersExpected => StatusCode::BAD_REQUEST,
            Self::Method(_) => StatusCode::METHOD_NOT_ALLOWED,
            Self::CrossOrigin => StatusCode::FORBIDDEN,
            Self::LoginRequired => StatusCode::UNAUTHORIZED,
            Self::StoreDown => StatusCode::SERVICE_UNAVAILABLE,
        }
    }

    fn word(self) -> &'static str {
        match self {
            Self::Internal => "internal",
            Self::NotFound => "not_found",
            Self::OthersExpected => "others_expected",
            Self::Method(_) => "method",
            Self::CrossOrigin => "cross_origin",
            Self::LoginRequired => "login_required",
            Self::NoSuchSession => "no_such_session",
            Self::StoreDown => "store_down",
        }
    }

    fn fields(self) -> Vec<(HeaderName, String)> {
        match self {
            Self::Method(allowed) => vec![(ALLOW, allowed.to_owned())],
            Self::LoginRequired => vec![(WWW_AUTHENTICATE, "Cookie".to_owned())],
            Self::StoreDown => vec![(RETRY_AFTER, "2".to_owned())],
            Self::Internal
            | Self::NotFound
            | Self::OthersExpected
            | Self::CrossOrigin
            | Self::NoSuchSession => Vec::new(),
        }
    }

    fn said(self) -> Said<'static> {
        match self {
            Self::LoginRequired => Said::LoginRequired,
            Self::NoSuchSession | Self::NotFound => Said::NoSuchSession,
            Self::StoreDown | Self::Internal => Said::StoreDown,
            Self::OthersExpected | Self::Method(_) | Self::CrossOrigin => Said::Refused,
        }
    }
}

impl Outcome {
    fn answer(self, form: Form, now: UnixMillis) -> OwnAnswer {
        match form {
            Form::Json => self.json(),
            Form::Page { language, ended } => self.page(language, ended, now),
        }
    }

    fn json(self) -> OwnAnswer {
        let (status, fields, body) = match self {
            Self::Listed { sessions, total, is_cut } => {
                let body = json!({ "sessions": sessions, "total": total, "truncated": is_cut });
                (StatusCode::OK, Vec::new(), body)
            }
            Self::Ended { ended, ticket } => {
                let fields = ticket.into_iter().map(|ticket| (SET_COOKIE, ticket)).collect();
                (StatusCode::OK, fields, json!({ "ended": ended }))
            }
            Self::Problem(problem) => {
                (problem.status(), problem.fields(), json!({ "error": problem.word() }))
            }
        };
        let fields = [fields, vec![(VARY, "Accept".to_owned())]].concat();
        OwnAnswer { status, fields, content_type: b"application/json", body: format!("{body}\n") }
    }

    fn page(self, language: Language, ended: bool, now: UnixMillis) -> OwnAnswer {
        let (status, mut fields, body) = match &self {
            Self::Ended { ticket, .. } => {
                let mut fields = vec![(LOCATION, format!("{PATH}?ended"))];
                fields.extend(ticket.iter().map(|ticket| (SET_COOKIE, ticket.clone())));
                (StatusCode::SEE_OTHER, fields, String::new())
            }
            Self::Problem(problem) => {
                let page = devices::page(&problem.said(), language, now);
                (problem.status(), problem.fields(), page)
            }
            Self::Listed { sessions, is_cut, .. } => {
                let mut devices: Vec<_> = sessions.iter().map(Own::device).collect();
                devices.sort_by_key(|device| !device.current);
                let said = Said::List { devices, truncated: *is_cut, ended };
                (StatusCode::OK, Vec::new(), devices::page(&said, language, now))
            }
        };
        let policy = devices::CONTENT_SECURITY_POLICY.as_str();
        for (name, value) in [
            (CONTENT_LANGUAGE, language.tag()),
            (VARY, "Accept, Accept-Language"),
            (CONTENT_SECURITY_POLICY, policy),
            (X_CONTENT_TYPE_OPTIONS, "nosniff"),
            (X_FRAME_OPTIONS, "DENY"),
            (REFERRER_POLICY, "same-origin"),
            (HeaderName::from_static("cross-origin-resource-policy"), "same-origin"),
            (HeaderName::from_static("cross-origin-opener-policy"), "same-origin"),
        ] {
            fields.push((name, value.to_owned()));
        }
        OwnAnswer { status, fields, content_type: b"text/html; charset=utf-8", body }
    }
}

impl Own {
    fn device(&self) -> Device<'_> {
        Device {
            id: &self.id,
            created: self.created,
            last_seen: self.last_seen,
            authenticated: self.authenticated,
            network: self.network.as_deref(),
            agent: self.agent.as_deref(),
            current: self.current,
        }
    }
}
