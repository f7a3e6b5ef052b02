//! Clients that stay with their endpoint (nginx `sticky`): by a cookie of ours, by what variables say, or by
//! what was learnt from answers. Sessions under `balance: session` need none of it.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, UNIX_EPOCH};

use sha2::{Digest, Sha256};

use crate::clock::UnixMillis;
use crate::downstream::{Client, Request};
use crate::proxy::context::Context;
use crate::proxy::error::RequestError;
use crate::proxy::returned::evaluated;
use crate::proxy::shared::Shared;
use crate::variables::template::Template;
use crate::wire::fields::Fields;

/// How an upstream knows whose endpoint is which.
#[derive(Clone, Debug)]
pub struct StickySettings {
    /// The first of them that is not empty says who asks, or which endpoint is wanted.
    pub lookup: Vec<Template>,
    pub kind: StickyKind,
}

#[derive(Clone, Debug)]
pub enum StickyKind {
    /// Every answer sets a cookie with the endpoint's name.
    Cookie(StickyCookie),
    /// Somebody else says which endpoint it is.
    Route,
    /// Answers with one of these begin a session at their endpoint.
    Learn { create: Vec<Template>, timeout: Duration, sessions_max: usize },
}

#[derive(Clone, Debug)]
pub struct StickyCookie {
    pub name: String,
    /// How long browsers keep it.
    pub expires: Option<Duration>,
    pub domain: Option<Template>,
    pub is_http_only: bool,
    pub is_secure: bool,
    pub same_site: Option<Template>,
    pub path: Option<String>,
}

/// It at work.
pub struct Sticky {
    settings: StickySettings,
    /// Sessions by a hash of what names them.
    learnt: Arc<Mutex<HashMap<[u8; 16], Learnt>>>,
}

struct Learnt {
    /// What the endpoint is called.
    route: String,
    last: UnixMillis,
}

impl Sticky {
    /// One that knows what the one before it has learnt of the same endpoints.
    pub fn new(settings: StickySettings, before: Option<&Self>) -> Self {
        let learnt = before.map(|before| before.learnt.clone());
        Self { settings, learnt: learnt.unwrap_or_default() }
    }

    /// What the endpoint is called that a request wants.
    pub fn wanted(
        &self,
        shared: &Shared,
        request: &Request,
        client: &Client<'_>,
        ctx: &mut Context,
    ) -> Option<Vec<u8>> {
        let said = first(shared, request, client, ctx, &self.settings.lookup)?;
        let StickyKind::Learn { timeout, .. } = self.settings.kind else { return Some(said) };
        let now = shared.clock.now();
        let mut learnt = self.lock();
        let session = learnt.get_mut(&hashed(&said))?;
        (now <= session.last.plus(timeout)).then(|| session.route.clone().into_bytes())
    }

    /// Notes what an answer says of its session.
    fn learn(&self, said: &[u8], is_new: bool, route: &str, now: UnixMillis) {
        let StickyKind::Learn { timeout, sessions_max, .. } = self.settings.kind else { return };
        let mut learnt = self.lock();
        let key = hashed(said);
        let is_live = |session: &&mut Learnt| now <= session.last.plus(timeout);
        if let Some(session) = learnt.get_mut(&key).filter(is_live) {
            if session.route != route {
                route.clone_into(&mut session.route);
            }
            session.last = now;
        } else if is_new {
            if learnt.len() >= sessions_max {
                forget(&mut learnt, timeout, now);
            }
            learnt.insert(key, Learnt { route: route.to_owned(), last: now });
        }
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<[u8; 16], Learnt>> {
        // What a panic left behind is whole: every change is one step.
        self.learnt.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Has the answer of a worker say which endpoint it was, or learns it from that.
///
/// # Errors
/// What variables hold cannot stand in a cookie.
pub fn after_worker(
    shared: &Shared,
    request: &Request,
    client: &Client<'_>,
    ctx: &mut Context,
    fields: &mut Fields,
) -> Result<(), RequestError> {
    let Some(sticky) = super::endpoint::sticky(shared, ctx) else { return Ok(()) };
    let Some(endpoint) = ctx.attempts.last().cloned() else { return Ok(()) };
    let route = endpoint.route();
    match &sticky.settings.kind {
        StickyKind::Route => {}
        StickyKind::Learn { create, .. } => {
            let now = shared.clock.now();
            if let Some(said) = first(shared, request, client, ctx, create) {
                sticky.learn(&said, true, route, now);
            } else if let Some(said) = first(shared, request, client, ctx, &sticky.settings.lookup)
            {
                sticky.learn(&said, false, route, now);
            }
        }
        StickyKind::Cookie(cookie) => {
            let mut of = |template: &Option<Template>| {
                let text = template.as_ref().map(|it| evaluated(shared, request, client, ctx, it));
                text.filter(|text| !text.is_empty())
            };
            let [domain, same_site] = [of(&cookie.domain), of(&cookie.same_site)];
            let written = cookie.written(route, [domain, same_site], shared.clock.now());
            let is_https = ctx.target.as_ref().is_some_and(|target| target.client.https);
            fields.push(b"Set-Cookie", &shared.cookies.rewrite(&written, is_https))?;
        }
    }
    Ok(())
}

impl StickyCookie {
    /// As nginx writes it.
    fn written(
        &self,
        route: &str,
        [domain, same_site]: [Option<Vec<u8>>; 2],
        now: UnixMillis,
    ) -> Vec<u8> {
        let mut cookie = format!("{}={route}", self.name).into_bytes();
        if let Some(expires) = self.expires {
            let end = UNIX_EPOCH + Duration::from_millis(now.0) + expires;
            let date = httpdate::fmt_http_date(end);
            cookie.extend(format!("; expires={date}; max-age={}", expires.as_secs()).bytes());
        }
        if let Some(domain) = domain {
            cookie.extend([b"; domain=", &*domain].concat());
        }
        if self.is_http_only {
            cookie.extend(b"; httponly");
        }
        if self.is_secure {
            cookie.extend(b"; secure");
        }
        if let Some(same_site) = same_site {
            let is_known = [&b"strict"[..], b"lax", b"none"]
                .iter()
                .any(|it| same_site.eq_ignore_ascii_case(it));
            let same_site = if is_known { &*same_site } else { b"strict" };
            cookie.extend([b"; samesite=", same_site].concat());
        }
        if let Some(path) = &self.path {
            cookie.extend(format!("; path={path}").bytes());
        }
        cookie
    }
}

/// The first text that is not empty.
fn first(
    shared: &Shared,
    request: &Request,
    client: &Client<'_>,
    ctx: &mut Context,
    templates: &[Template],
) -> Option<Vec<u8>> {
    let texts = templates.iter().map(|it| evaluated(shared, request, client, ctx, it));
    texts.into_iter().find(|text| !text.is_empty())
}

/// What names a session is a secret: it is not kept.
fn hashed(said: &[u8]) -> [u8; 16] {
    let mut key = [0; 16];
    key.copy_from_slice(&Sha256::digest(said)[..16]);
    key
}

/// Forgets sessions that are over; where none is, half of them.
fn forget(learnt: &mut HashMap<[u8; 16], Learnt>, timeout: Duration, now: UnixMillis) {
    let before = learnt.len();
    learnt.retain(|_, session| now <= session.last.plus(timeout));
    let mut is_kept = false;
    if learnt.len() == before {
        learnt.retain(|_, _| {
            is_kept = !is_kept;
            is_kept
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cookies_are_written_as_nginx_writes_them() {
        let plain = StickyCookie {
            name: "srv".to_owned(),
            expires: None,
            domain: None,
            is_http_only: false,
            is_secure: false,
            same_site: None,
            path: None,
        };
        let text = |cookie: &StickyCookie, texts: [Option<&str>; 2]| {
            let texts = texts.map(|text| text.map(|text| text.as_bytes().to_vec()));
            String::from_utf8(cookie.written("a", texts, UnixMillis(0))).expect("a text")
        };
        assert_eq!(text(&plain, [None, None]), "srv=a");
        let full = StickyCookie {
            expires: Some(Duration::from_secs(3600)),
            is_http_only: true,
            is_secure: true,
            path: Some("/x".to_owned()),
            ..plain
        };
        assert_eq!(
            text(&full, [Some(".a.example"), Some("Lax")]),
            "srv=a; expires=Thu, 01 Jan 1970 01:00:00 GMT; max-age=3600; domain=.a.example; httponly; secure; \
             samesite=Lax; path=/x"
        );
        assert!(text(&full, [None, Some("x; evil")]).contains("samesite=strict; path"));
    }

    #[test]
    fn sessions_are_bounded_and_end() {
        let timeout = Duration::from_secs(600);
        let kind = StickyKind::Learn { create: Vec::new(), timeout, sessions_max: 100 };
        let sticky = Sticky::new(StickySettings { lookup: Vec::new(), kind }, None);
        for number in 0..1000 {
            sticky.learn(format!("s{number}").as_bytes(), true, "a", UnixMillis(number));
            assert!(sticky.lock().len() <= 100);
        }
        sticky.learn(b"never seen", false, "a", UnixMillis(0));
        assert!(!sticky.lock().contains_key(&hashed(b"never seen")));
        sticky.learn(b"s999", false, "b", UnixMillis(5000));
        assert_eq!(sticky.lock()[&hashed(b"s999")].route, "b");
    }
}
