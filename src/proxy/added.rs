//! What operators say in answers, whoever gave them: `response_headers`, `expires`, `charset`, and the
//! fields that protect visitors. The last word is that of the route that answered.

use std::time::{SystemTime, UNIX_EPOCH};

use http::StatusCode;

use crate::downstream::{Client, Protocol, Request};
use crate::files::expires::Expires;
use crate::files::time;
use crate::headers::added;
use crate::proxy::context::Context;
use crate::proxy::file_settings::Charset;
use crate::proxy::nginx_pages::PageStyle;
use crate::proxy::respond::NOT_KEPT;
use crate::proxy::response::Response;
use crate::proxy::returned::with_variables;
use crate::proxy::shared::Shared;
use crate::variables::template::Template;
use crate::wire::fields::{Fields, Unwritable};
use crate::wire::name::Name;
use crate::wire::response::ResponseHead;

/// What is said in a route's answers.
#[derive(Clone, Debug, Default)]
pub struct AnswerSettings {
    /// How long they stay fresh.
    pub expires: Freshness,
    pub headers: Vec<AddedField>,
    pub trailers: Vec<AddedField>,
    /// What texts are written in, where their types do not say it.
    pub charset: Option<Charset>,
    /// With the fields that browsers protect visitors by.
    pub secure: bool,
    /// As nginx gives them; else pages name nobody.
    pub pages: Option<PageStyle>,
}

/// nginx's `expires`.
#[derive(Clone, Debug)]
pub enum Freshness {
    Fixed(Expires),
    /// The time is what variables make of it; what is none says nothing.
    Variable {
        time: Template,
        is_modified: bool,
    },
}

/// A field of the operator's own (nginx `add_header`, `add_trailer`).
#[derive(Clone, Debug)]
pub struct AddedField {
    pub name: String,
    pub value: Template,
    /// Whatever the status is.
    pub always: bool,
}

impl Default for Freshness {
    fn default() -> Self {
        Self::Fixed(Expires::Off)
    }
}

impl AnswerSettings {
    fn says_nothing(&self) -> bool {
        self.headers.is_empty()
            && self.charset.is_none()
            && !self.secure
            && matches!(self.expires, Freshness::Fixed(Expires::Off))
    }
}

/// Adds to the head of a final answer what its route says.
pub fn run(
    shared: &Shared,
    request: &Request,
    client: &Client<'_>,
    ctx: &mut Context,
    response: &mut Response,
) {
    let Some(target) = &ctx.target else { return };
    if target.route.answers.says_nothing()
        || response.head.status == StatusCode::SWITCHING_PROTOCOLS
    {
        return;
    }
    let (route, is_https) = (target.route.clone(), target.client.https);
    let answers = &route.answers;
    let is_usual = added::is_usual(response.head.status);
    if let Some(charset) = &answers.charset {
        with_charset(&mut response.head.fields, charset);
    }
    // Variables speak of the head as it is by then.
    let (announce, _) = response.framing(&request.method);
    let expires = match &answers.expires {
        _ if !is_usual => Expires::Off,
        Freshness::Fixed(expires) => *expires,
        Freshness::Variable { time, is_modified } => {
            ctx.sent = Some((std::mem::take(&mut response.head), announce));
            let time = with_variables(shared, request, client, ctx, |all| {
                String::from_utf8_lossy(&time.value(all)).into_owned()
            });
            response.head = taken(ctx);
            let time = if *is_modified { format!("modified {time}") } else { time };
            // A word behind a variable is no time.
            Expires::read(&time)
                .ok()
                .filter(|_| *is_modified || !time.contains(' '))
                .unwrap_or_default()
        }
    };
    if expires != Expires::Off {
        // What is written are dates and digits.
        let _ = fresh(expires, &mut response.head.fields);
    }
    for AddedField { name, value, .. } in
        answers.headers.iter().filter(|field| is_usual || field.always)
    {
        ctx.sent = Some((std::mem::take(&mut response.head), announce));
        let value = with_variables(shared, request, client, ctx, |all| value.value(all));
        response.head = taken(ctx);
        added::add(&mut response.head.fields, name.as_bytes(), &value);
    }
    if answers.secure {
        added::secure(&mut response.head.fields, is_https);
    }
}

fn taken(ctx: &mut Context) -> ResponseHead {
    ctx.sent.take().map(|(head, _)| head).unwrap_or_default()
}

/// Whether an answer of this status gets trailers of the route's: where the way to the client has any.
pub fn has_trailers(request: &Request, ctx: &Context, status: StatusCode) -> bool {
    let Some(target) = &ctx.target else { return false };
    let is_usual = added::is_usual(status);
    let trailers = &target.route.answers.trailers;
    request.protocol != Protocol::Http10
        && trailers.iter().any(|trailer| is_usual || trailer.always)
}

/// The trailers of an answer whose body has been sent, behind those of a worker.
pub fn trailers(
    shared: &Shared,
    request: &Request,
    client: &Client<'_>,
    ctx: &mut Context,
    fields: &mut Fields,
) {
    let Some(target) = &ctx.target else { return };
    let route = target.route.clone();
    let is_usual = ctx.sent.as_ref().is_none_or(|(head, _)| added::is_usual(head.status));
    for AddedField { name, value, .. } in
        route.answers.trailers.iter().filter(|trailer| is_usual || trailer.always)
    {
        let value = with_variables(shared, request, client, ctx, |all| value.value(all));
        added::add(fields, name.as_bytes(), &value);
    }
}

/// Says what a text is written in, unless its type does.
fn with_charset(fields: &mut Fields, charset: &Charset) {
    let Some(media_type) = fields.get(Name::ContentType) else { return };
    let is_text = |text: &String| text.as_bytes().eq_ignore_ascii_case(media_type);
    if fields.has(Name::ContentEncoding) || !charset.types.iter().any(is_text) {
        return;
    }
    let with = [media_type, b"; charset=", charset.name.as_bytes()].concat();
    // Both were checked.
    let _ = fields.set(b"Content-Type", &with);
}

/// `expires`, unless the answer is one visitor's alone.
fn fresh(expires: Expires, fields: &mut Fields) -> Result<(), Unwritable> {
    if fields.get(Name::CacheControl) == Some(NOT_KEPT) {
        return Ok(());
    }
    let now = SystemTime::now().duration_since(UNIX_EPOCH);
    let now = now.map_or(0, |now| i64::try_from(now.as_secs()).unwrap_or(i64::MAX));
    let modified = fields.get(Name::LastModified).and_then(time::parse);
    if let Some(told) = expires.told(now, modified) {
        fields.set_displayed(b"Expires", told.expires())?;
        fields.remove(Name::CacheControl);
        fields.push(b"Cache-Control", told.cache_control().as_bytes())?;
    }
    Ok(())
}
