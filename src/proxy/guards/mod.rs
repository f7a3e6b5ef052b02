//! What nginx's modules of access ask before anybody is let in, in nginx's order: `allow` and `deny`,
//! `auth_basic`, `auth_request`; one of them or all (`satisfy`).
//!
//! Asked on every turn of an exchange, before any session is looked up, and not in what is asked for on
//! behalf of another request.

pub mod basic;
pub mod limits;
pub mod subrequest;

use std::future::poll_fn;
use std::pin::pin;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use http::{Method, StatusCode};

use crate::access::rules::{Rules, Says};
use crate::downstream::{BodyLength, Client, Request};
use crate::proxy::complaint::About;
use crate::proxy::context::Context;
use crate::proxy::error::RequestError;
use crate::proxy::pages::Instead;
use crate::proxy::returned::Returned;
use crate::proxy::service::Proxy;
use crate::proxy::settings::Route;
use crate::proxy::shared::Shared;
use crate::telemetry::error_log::Severity;
use crate::wire::fields::Fields;

use self::basic::Basic;
use self::subrequest::AuthRequest;

/// What guards a route.
#[derive(Clone, Debug)]
pub struct Guard {
    /// Where its parts stand in the configuration: the same there is the same guard.
    pub identity: Box<str>,
    /// `satisfy any`: who gets past one of its checks is let in.
    pub one_is_enough: bool,
    pub checks: Checks,
    /// `limit_except`: what is checked for all methods but these.
    pub except: Option<Box<(Vec<Method>, Checks)>>,
    /// How long who is not let in for want of a name waits for the answer.
    pub auth_delay: Duration,
}

/// What is checked.
#[derive(Clone, Debug, Default)]
pub struct Checks {
    pub rules: Rules,
    pub basic: Option<Basic>,
    pub request: Option<Arc<AuthRequest>>,
}

/// A request that asks to be let in.
pub struct Asked<'a, 'c> {
    pub proxy: &'a Proxy,
    pub shared: &'a Arc<Shared>,
    pub request: &'a Request,
    pub client: &'a mut Client<'c>,
    pub ctx: &'a mut Context,
}

impl Asked<'_, '_> {
    /// Whom something is said of.
    fn about(&self) -> About<'_> {
        About { shared: self.shared, request: self.request, ctx: self.ctx }
    }
}

/// What one check says.
pub enum Outcome {
    /// It lets the request in.
    Pass,
    /// It is not there, or has no say.
    Silent,
    Refuse(Refusal),
}

/// Why somebody is not let in.
pub struct Refusal {
    status: StatusCode,
    /// What is asked for.
    challenges: Fields,
}

/// Asks all guards of a route.
///
/// # Errors
/// What is answered.
pub async fn check(asked: &mut Asked<'_, '_>, route: &Route) -> Result<(), Instead> {
    for guard in &route.guards {
        if let Some(refusal) = guard.refuses(asked).await? {
            return Err(refusal.answer(asked, guard).await);
        }
    }
    Ok(())
}

/// nginx's words for `deny`.
const FORBIDDEN: &str = "access forbidden by rule";

impl Guard {
    fn checks_for(&self, method: &Method) -> &Checks {
        match &self.except {
            Some(except) if !is_among(method, &except.0) => &except.1,
            _ => &self.checks,
        }
    }

    async fn refuses(&self, asked: &mut Asked<'_, '_>) -> Result<Option<Refusal>, RequestError> {
        let checks = self.checks_for(&asked.request.method);
        let mut refused: Option<Refusal> = None;
        for number in 0..3 {
            let outcome = match (number, &checks.basic, &checks.request) {
                (0, ..) => checks.by_address(asked.ctx),
                (1, Some(basic), _) => basic::check(asked, basic).await?,
                (2, _, Some(request)) => match subrequest::check(asked, request).await {
                    // What another check has asked for is asked for all the same.
                    Err(error) if refused.is_some() => {
                        let status = error.status().unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
                        return Ok(refused.map(|refused| Refusal { status, ..refused }));
                    }
                    outcome => outcome?,
                },
                _ => Outcome::Silent,
            };
            match outcome {
                Outcome::Pass if self.one_is_enough => return Ok(None),
                Outcome::Pass | Outcome::Silent => {}
                Outcome::Refuse(refusal) if self.one_is_enough => {
                    refused = Some(refusal.after(refused));
                }
                Outcome::Refuse(refusal) => {
                    if number == 0 {
                        asked.about().say(Severity::Error, FORBIDDEN);
                    }
                    return Ok(Some(refusal));
                }
            }
        }
        if refused.as_ref().is_some_and(|it| it.status == StatusCode::FORBIDDEN) {
            asked.about().say(Severity::Error, FORBIDDEN);
        }
        Ok(refused)
    }
}

impl Checks {
    /// Whether nothing is checked.
    pub fn is_open(&self) -> bool {
        self.rules.is_empty() && self.basic.is_none() && self.request.is_none()
    }

    fn by_address(&self, ctx: &Context) -> Outcome {
        match self.rules.of(Some(ctx.client_ip())) {
            Says::Allow => Outcome::Pass,
            Says::Nothing => Outcome::Silent,
            Says::Deny => Outcome::Refuse(Refusal::plain(StatusCode::FORBIDDEN)),
        }
    }
}

/// GET stands for HEAD as well (nginx 20).
fn is_among(method: &Method, methods: &[Method]) -> bool {
    let asked = if *method == Method::HEAD { &Method::GET } else { method };
    methods.iter().any(|other| other == method || other == asked)
}

impl Refusal {
    pub fn plain(status: StatusCode) -> Self {
        Self { status, challenges: Fields::new() }
    }

    /// The refusal that is told, where another check has refused before: who may come in with a name is
    /// asked for it.
    fn after(self, before: Option<Self>) -> Self {
        match before {
            Some(mut before) if before.status == StatusCode::UNAUTHORIZED => {
                for field in self.challenges.iter() {
                    let _ = before.challenges.push(field.name, field.value);
                }
                before
            }
            _ => self,
        }
    }

    async fn answer(self, asked: &mut Asked<'_, '_>, guard: &Guard) -> Instead {
        let Self { status, challenges } = self;
        let is_nameless = status == StatusCode::UNAUTHORIZED;
        if is_nameless
            && !guard.auth_delay.is_zero()
            && let Err(gone) = wait(asked.client, asked.request, guard.auth_delay).await
        {
            return gone.into();
        }
        asked.ctx.error = Some(match status {
            StatusCode::UNAUTHORIZED => RequestError::NameRequired,
            StatusCode::FORBIDDEN => RequestError::AccessDenied,
            _ => RequestError::Internal,
        });
        Instead::Returned(Box::new(Returned::refusal(status, challenges)))
    }
}

/// Lets time pass, as long as somebody waits for the answer.
///
/// # Errors
/// Nobody does.
pub async fn wait(
    client: &mut Client<'_>,
    request: &Request,
    time: Duration,
) -> Result<(), RequestError> {
    let mut sleep = pin!(tokio::time::sleep(time));
    poll_fn(|cx| {
        if request.body == BodyLength::Empty && client.poll_gone(cx).is_ready() {
            return Poll::Ready(Err(RequestError::ClientGone));
        }
        sleep.as_mut().poll(cx).map(Ok)
    })
    .await
}
