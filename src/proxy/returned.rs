//! What scripts answer (nginx `return`, `rewrite … redirect`): a status, a redirect, a text.

use std::borrow::Cow;

use bytes::Bytes;
use http::StatusCode;

use crate::downstream::{Client, Reply, Request};
use crate::proxy::context::Context;
use crate::proxy::facts::RequestFacts;
use crate::proxy::pages::{self, Instead};
use crate::proxy::shared::Shared;
use crate::proxy::{error::RequestError, own_redirect};
use crate::rewrite::{Answer, Content};
use crate::variables::evaluation::Evaluation;
use crate::variables::template::Template;
use crate::wire::fields::{Fields, Unwritable};

/// Without a text the connection ends without a byte: nginx's own, and what nobody is there to read.
const CLOSED: [u16; 3] = [408, 444, 499];

/// An answer of a route's own.
#[derive(Debug)]
pub struct Returned {
    pub status: StatusCode,
    location: Option<Vec<u8>>,
    text: Option<(String, Bytes)>,
    /// What is said beside it.
    pub fields: Fields,
}

/// What a script answers; an error without a text may have a page.
pub fn answer(shared: &Shared, ctx: &Context, answer: Answer) -> Instead {
    let Answer { status, content } = answer;
    if CLOSED.contains(&status) && matches!(content, Content::Error) {
        return Instead::Closed;
    }
    if let (Content::Error, Some(error)) = (&content, RequestError::of_code(status)) {
        return error.into();
    }
    // nginx's own numbers for what is wrong with TLS and heads.
    let status = if (494..=497).contains(&status) { 400 } else { status };
    let (Ok(status), Some(target)) = (StatusCode::from_u16(status), &ctx.target) else {
        return RequestError::Internal.into();
    };
    let mut returned = Returned::refusal(status, Fields::new());
    let own = &target.route.own_texts;
    match content {
        Content::Error => {}
        Content::Text(text) => {
            let media_type = own.type_of(ctx.path().unwrap_or_default());
            returned.text = Some((media_type.into_owned(), text));
        }
        Content::Location(location) => {
            let name = shared.server_name(target.server);
            let location = location.to_vec();
            returned.location = Some(own_redirect::absolute(own.redirects, ctx, name, location));
        }
    }
    let is_bare = returned.status == StatusCode::NO_CONTENT;
    if returned.status.is_success() && !is_bare && returned.text.is_none() {
        let media_type = own.type_of(ctx.path().unwrap_or_default());
        returned.text = Some((media_type.into_owned(), Bytes::new()));
    }
    Instead::Returned(Box::new(returned))
}

/// As [`evaluated`]; what has no variables is borrowed.
pub fn value<'t>(
    shared: &Shared,
    request: &Request,
    client: &Client<'_>,
    ctx: &mut Context,
    template: &'t Template,
) -> Cow<'t, [u8]> {
    match template.constant() {
        Some(text) => Cow::Borrowed(text),
        None => Cow::Owned(evaluated(shared, request, client, ctx, template)),
    }
}

/// A text with variables, for this request.
pub fn evaluated(
    shared: &Shared,
    request: &Request,
    client: &Client<'_>,
    ctx: &mut Context,
    template: &Template,
) -> Vec<u8> {
    with_variables(shared, request, client, ctx, |all| template.value(all).into_owned())
}

/// What comes of variables, for this request.
pub fn with_variables<T>(
    shared: &Shared,
    request: &Request,
    client: &Client<'_>,
    ctx: &mut Context,
    make: impl FnOnce(&mut Evaluation<'_>) -> T,
) -> T {
    let mut values = std::mem::take(&mut ctx.values);
    let facts = RequestFacts { shared, request, client, ctx };
    let mut evaluation =
        Evaluation { variables: &shared.variables, facts: &facts, values: &mut values };
    let made = make(&mut evaluation);
    ctx.values = values;
    made
}

/// Whether nginx has a page for a status.
fn has_page(status: StatusCode) -> bool {
    matches!(
        status.as_u16(),
        301 | 302 | 303 | 307 | 308 | 400..=406 | 408..=416 | 421 | 429 | 500..=505 | 507
    )
}

impl Returned {
    /// An answer that is its status, and some fields.
    pub fn refusal(status: StatusCode, fields: Fields) -> Self {
        Self { status, location: None, text: None, fields }
    }

    /// Where it leads.
    pub fn location(&self) -> Option<&[u8]> {
        self.location.as_deref()
    }

    /// Whether a page may stand for it.
    pub fn error(&self) -> Option<StatusCode> {
        (self.status.as_u16() >= 300 && self.text.is_none()).then_some(self.status)
    }

    /// The answer.
    ///
    /// # Errors
    /// What a variable holds cannot stand in a field.
    pub fn reply(self) -> Result<Reply, Unwritable> {
        let Self { status, location, text, mut fields } = self;
        if let Some(location) = location {
            fields.push(b"Location", &location)?;
        }
        let is_page = text.is_none();
        let body = match text {
            Some(_) if status == StatusCode::NO_CONTENT => Bytes::new(),
            Some((media_type, text)) => {
                fields.push(b"Content-Type", media_type.as_bytes())?;
                text
            }
            None if !has_page(status) => Bytes::new(),
            None => {
                fields.push(b"Content-Type", pages::HTML)?;
                pages::page(status, None).into()
            }
        };
        Ok(Reply { status, fields, body, is_page })
    }
}
