//! What a route answers by itself (nginx `return`): a status, a redirect, a text.

use bytes::Bytes;
use http::StatusCode;

use crate::downstream::{Client, Reply, Request};
use crate::proxy::context::Context;
use crate::proxy::facts::RequestFacts;
use crate::proxy::file_settings::OwnRedirects;
use crate::proxy::pages::{self, Instead};
use crate::proxy::shared::Shared;
use crate::proxy::{error::RequestError, own_redirect};
use crate::variables::evaluation::Evaluation;
use crate::variables::template::Template;
use crate::wire::fields::{Fields, Unwritable};

/// nginx's own: the connection ends without a byte.
const CLOSED: u16 = 444;

/// What is answered.
#[derive(Clone, Debug)]
pub struct Return {
    pub status: u16,
    /// Where a redirect leads, or what is said.
    pub text: Option<Template>,
    /// Of a text.
    pub media_type: String,
    pub redirects: OwnRedirects,
}

/// An answer of a route's own.
#[derive(Debug)]
pub struct Returned {
    pub status: StatusCode,
    location: Option<Vec<u8>>,
    text: Option<(String, Vec<u8>)>,
}

/// Answers a request; an error without a text may have a page.
pub fn answer(
    shared: &Shared,
    request: &Request,
    client: &Client<'_>,
    ctx: &mut Context,
    settings: &Return,
) -> Instead {
    if settings.status == CLOSED {
        return Instead::Closed;
    }
    let Ok(status) = StatusCode::from_u16(settings.status) else {
        return RequestError::Internal.into();
    };
    let mut returned = Returned { status, location: None, text: None };
    if let Some(template) = &settings.text {
        let text = evaluated(shared, request, client, ctx, template);
        if is_redirect(settings.status) {
            let name = ctx.target.as_ref().and_then(|target| shared.servers.get(target.server));
            let name = name.map(|server| server.name.as_str()).filter(|name| !name.is_empty());
            returned.location = Some(own_redirect::absolute(settings.redirects, ctx, name, text));
        } else {
            returned.text = Some((settings.media_type.clone(), text));
        }
    }
    Instead::Returned(Box::new(returned))
}

/// The statuses whose text is where they lead.
pub fn is_redirect(status: u16) -> bool {
    matches!(status, 301 | 302 | 303 | 307 | 308)
}

/// A text with variables, for this request.
pub fn evaluated(
    shared: &Shared,
    request: &Request,
    client: &Client<'_>,
    ctx: &mut Context,
    template: &Template,
) -> Vec<u8> {
    let mut values = std::mem::take(&mut ctx.values);
    let facts = RequestFacts { shared, request, client, ctx };
    let mut evaluation =
        Evaluation { variables: &shared.variables, facts: &facts, values: &mut values };
    let text = template.value(&mut evaluation).into_owned();
    ctx.values = values;
    text
}

impl Returned {
    /// Whether a page may stand for it.
    pub fn error(&self) -> Option<StatusCode> {
        (self.status.as_u16() >= 300 && self.text.is_none()).then_some(self.status)
    }

    /// The answer.
    ///
    /// # Errors
    /// What a variable holds cannot stand in a field.
    pub fn reply(self) -> Result<Reply, Unwritable> {
        let Self { status, location, text } = self;
        let mut fields = Fields::new();
        if let Some(location) = location {
            fields.push(b"Location", &location)?;
        }
        let body = match text {
            Some((media_type, text)) => {
                fields.push(b"Content-Type", media_type.as_bytes())?;
                text.into()
            }
            None if status.as_u16() < 300 => Bytes::new(),
            None => {
                fields.push(b"Content-Type", pages::HTML)?;
                pages::page(status, None).into()
            }
        };
        Ok(Reply { status, fields, body })
    }
}
