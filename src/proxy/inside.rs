//! Redirects inside: where they lead, and what of the answer before goes with them.

use http::StatusCode;

use crate::cookie::response::name_of;
use crate::downstream::{Client, Request};
use crate::proxy::complaint::Escaped;
use crate::proxy::context::Context;
use crate::proxy::error::RequestError;
use crate::proxy::error_page::{ErrorPage, Place, Shown};
use crate::proxy::pages::Instead;
use crate::proxy::respond::NOT_KEPT;
use crate::proxy::returned::evaluated;
use crate::proxy::shared::Shared;
use crate::routing::percent::{self, Part, Percent};
use crate::wire::fields::{Field, Fields};
use crate::wire::name::Name;

/// A redirect inside.
#[derive(Debug)]
pub struct Inside {
    pub to: To,
    /// `None`: it answers in no error's place.
    pub shown: Option<(StatusCode, Shown)>,
    /// What goes wrong there may have a page as well.
    pub recurs: bool,
    pub is_vouched: bool,
    pub kept: Fields,
}

/// Where a redirect inside leads.
#[derive(Debug)]
pub enum To {
    /// A request target, which is asked for by GET or HEAD.
    Target(Vec<u8>),
    /// Another request target, which is asked for as this one is.
    Path(Vec<u8>),
    /// A route by its name, which gets the request as it is.
    Named(String),
    /// The same, where it goes on with what this turn began.
    Fallback(String),
}

impl Inside {
    /// Another path of the same server, decoded, in place of the one that was asked for.
    pub fn path(path: &[u8], query: Option<&[u8]>) -> Self {
        let mut target = Vec::new();
        percent::escape(path, Part::Path, &mut target);
        if let Some(query) = query {
            target.push(b'?');
            percent::escape_unprintable(query, &mut target);
        }
        Self {
            to: To::Path(target),
            shown: None,
            recurs: true,
            is_vouched: false,
            kept: Fields::new(),
        }
    }

    /// Where it leads, in nginx's words.
    pub fn leads(&self) -> String {
        match &self.to {
            To::Target(target) | To::Path(target) => {
                format!("internally redirecting to \"{}\"", Escaped(target))
            }
            To::Named(name) | To::Fallback(name) => {
                format!("redirect to named location \"{name}\"")
            }
        }
    }

    pub fn keep_location(&mut self, location: Option<&[u8]>) {
        if let Some(location) = location {
            // What cannot be written is an error of its own where it is answered.
            let _ = self.kept.push(b"Location", location);
        }
    }

    /// A route by its name, for want of a file.
    pub fn named(name: &[u8]) -> Self {
        let to = To::Fallback(String::from_utf8_lossy(name).into_owned());
        Self { to, shown: None, recurs: true, is_vouched: false, kept: Fields::new() }
    }

    /// Keeps what the answer that is replaced has to tell the client all the same: of an error that
    /// was intercepted the ticket and the challenges, of an accelerated answer what nginx keeps.
    pub fn keep(&mut self, shared: &Shared, fields: &Fields) {
        let is_error = self.shown.is_some();
        let is_private = fields.get(Name::CacheControl) == Some(NOT_KEPT);
        let is_kept = |field: &Field<'_>| match field.known {
            Name::SetCookie => !is_error || shared.is_ticket(name_of(field.value)),
            Name::ClearSiteData => true,
            Name::CacheControl => is_private || !is_error,
            Name::WwwAuthenticate => is_error,
            Name::ContentType | Name::ContentDisposition | Name::AcceptRanges | Name::Expires => {
                !is_error
            }
            _ => false,
        };
        for field in fields.iter().filter(is_kept) {
            let _ = self.kept.push(field.name, field.value);
        }
    }
}

impl ErrorPage {
    /// The place, where variables say it.
    pub fn said(
        &self,
        shared: &Shared,
        request: &Request,
        client: &Client<'_>,
        ctx: &mut Context,
    ) -> Option<Vec<u8>> {
        let Place::Text(text) = &self.to else { return None };
        Some(evaluated(shared, request, client, ctx, text))
    }

    pub fn leads(
        &self,
        error: StatusCode,
        said: Option<Vec<u8>>,
        recurs: bool,
    ) -> Result<Inside, Instead> {
        let place = match &self.to {
            Place::Path(text) | Place::Named(text) | Place::Url(text) => text.as_bytes(),
            Place::Text(_) => said.as_deref().unwrap_or_default(),
        };
        let to = match place {
            [b'/', ..] => To::Target(percent::target(place, Percent::Literal)),
            [b'@', ..] => To::Named(String::from_utf8_lossy(place).into_owned()),
            url => {
                let status = match self.status {
                    Shown::Fixed(status @ (301 | 302 | 303 | 307 | 308)) => status,
                    Shown::Fixed(_) | Shown::Error | Shown::Answer => 302,
                };
                let status = StatusCode::from_u16(status).unwrap_or(StatusCode::FOUND);
                return Err(Instead::Redirect(status, url.to_vec()));
            }
        };
        let shown = Some((error, self.status));
        Ok(Inside { to, shown, recurs, is_vouched: false, kept: Fields::new() })
    }
}

/// Where `X-Accel-Redirect` leads. A path that leaves its directory is refused, however it is spelled.
pub fn accelerated(target: &[u8]) -> Result<Inside, Instead> {
    let path = target.split(|byte| *byte == b'?').next().unwrap_or_default();
    let decoded: Vec<u8> = percent_encoding::percent_decode(path).collect();
    let leaves = decoded.contains(&0) || decoded.split(|byte| *byte == b'/').any(|s| s == b"..");
    let to = match (target, std::str::from_utf8(target)) {
        ([b'@', ..], Ok(name)) => To::Named(name.to_owned()),
        ([b'/', ..], _) if !leaves => To::Target(percent::target(target, Percent::Escape)),
        _ => {
            tracing::error!("the X-Accel-Redirect of a worker is no path inside");
            return Err(RequestError::NoRoute.into());
        }
    };
    Ok(Inside { to, shown: None, recurs: true, is_vouched: true, kept: Fields::new() })
}
