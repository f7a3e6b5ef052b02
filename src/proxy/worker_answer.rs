//! What is changed in answers of workers, as nginx's `proxy_hide_header`, `proxy_redirect` and
//! `proxy_cookie_…` do: what is the application's own. A vault's cookies and tickets are not.

use crate::cookie::parts::{CookieParts, Flags};
use crate::cookie::response::name_of;
use crate::downstream::{Client, Request};
use crate::proxy::context::Context;
use crate::proxy::error::RequestError;
use crate::proxy::file_settings::OwnRedirects;
use crate::proxy::own_redirect;
use crate::proxy::returned::with_variables;
use crate::proxy::shared::Shared;
use crate::variables::evaluation::Evaluation;
use crate::variables::matcher::Matcher;
use crate::variables::template::Template;
use crate::wire::fields::{Field, Fields};
use crate::wire::name::Name;
use crate::wire::response::ResponseHead;

/// Fields that concern this proxy alone, or would name a server that clients do not ask (nginx 37). A
/// worker's `Date` stays: it says when the answer was made.
pub const HIDDEN: [&str; 7] = [
    "Server",
    "X-Pad",
    "X-Accel-Expires",
    "X-Accel-Redirect",
    "X-Accel-Limit-Rate",
    "X-Accel-Buffering",
    "X-Accel-Charset",
];

/// Fields that are written here as well: a worker's go before that.
const SHARED: [Name; 4] = [Name::SetCookie, Name::CacheControl, Name::Expires, Name::ClearSiteData];

/// What a route changes.
#[derive(Clone, Debug, Default)]
pub struct AnswerEdits {
    /// Fields that go no further.
    pub hidden: Vec<HiddenField>,
    /// Fields that nobody here obeys.
    pub ignored: Vec<Name>,
    pub redirects: Vec<Rewrite>,
    /// The form of redirects that `redirects` has changed.
    pub form: OwnRedirects,
    pub cookie_domains: Vec<Rewrite>,
    pub cookie_paths: Vec<Rewrite>,
    pub cookie_flags: Vec<CookieFlags>,
}

/// The name of a field that goes no further.
#[derive(Clone, Debug)]
pub struct HiddenField {
    known: Name,
    name: Box<[u8]>,
}

/// A text, and what stands in its place.
#[derive(Clone, Debug)]
pub struct Rewrite {
    pub from: Matched,
    pub to: Template,
}

/// What is looked for.
#[derive(Clone, Debug)]
pub enum Matched {
    Text(Template),
    Pattern(Matcher),
}

/// Cookies by their names, and what becomes of their flags.
#[derive(Clone, Debug)]
pub struct CookieFlags {
    pub name: Matched,
    pub flags: Vec<Template>,
}

impl HiddenField {
    pub fn new(name: &str) -> Self {
        Self { known: Name::of(name.as_bytes()), name: name.as_bytes().into() }
    }

    fn is(&self, field: &Field<'_>) -> bool {
        self.known == field.known
            && (self.known != Name::Other || self.name.eq_ignore_ascii_case(field.name))
    }
}

impl AnswerEdits {
    fn hides(&self, field: &Field<'_>) -> bool {
        self.hidden.iter().any(|hidden| hidden.is(field))
    }

    /// What a worker asks of its proxy by this field, where it is heard (nginx `proxy_ignore_headers`).
    pub fn heard<'f>(&self, fields: &'f Fields, name: Name) -> Option<&'f [u8]> {
        fields.get(name).filter(|_| !self.ignored.contains(&name))
    }

    /// Whether a worker says itself what it is.
    pub fn passes_server(&self) -> bool {
        !self.hidden.iter().any(|hidden| hidden.name.eq_ignore_ascii_case(b"server"))
    }

    fn edits_cookies(&self) -> bool {
        !(self.cookie_domains.is_empty()
            && self.cookie_paths.is_empty()
            && self.cookie_flags.is_empty())
    }
}

/// Before its session is settled: takes out what is written here as well, and changes cookies that are
/// nobody's but the application's.
///
/// # Errors
/// What variables hold cannot stand in a field.
pub fn before_session(
    shared: &Shared,
    request: &Request,
    client: &Client<'_>,
    ctx: &mut Context,
    head: &mut ResponseHead,
) -> Result<(), RequestError> {
    let Some(target) = &ctx.target else { return Ok(()) };
    let route = target.route.clone();
    let edits = &route.edits;
    let hides = |field: &Field<'_>| SHARED.contains(&field.known) && edits.hides(field);
    if !edits.edits_cookies() && !head.fields.iter().any(|field| hides(&field)) {
        return Ok(());
    }
    let is_own = |cookie: &[u8], ctx: &Context| {
        let name = name_of(cookie);
        let policy = ctx.exchange.as_ref().map(|exchange| &exchange.policy);
        let policy = policy.or(ctx.guarded.as_ref().map(|guarded| &guarded.policy));
        shared.is_ticket(name) || policy.is_some_and(|policy| policy.owns(name))
    };
    let mut fields = Fields::new();
    for field in head.fields.iter() {
        if field.known == Name::SetCookie && !is_own(field.value, ctx) {
            if !edits.hides(&field) {
                let edit = |evaluation: &mut Evaluation<'_>| edits.cookie(field.value, evaluation);
                let edited = with_variables(shared, request, client, ctx, edit);
                fields.push(field.name, edited.as_deref().unwrap_or(field.value))?;
            }
        } else if field.known == Name::SetCookie || !hides(&field) {
            fields.push(field.name, field.value)?;
        }
    }
    head.fields = fields;
    Ok(())
}

/// After that: takes out what is hidden, and leads redirects back here.
///
/// # Errors
/// What variables hold cannot stand in a field.
pub fn after_session(
    shared: &Shared,
    request: &Request,
    client: &Client<'_>,
    ctx: &mut Context,
    head: &mut ResponseHead,
) -> Result<(), RequestError> {
    let Some(target) = &ctx.target else { return Ok(()) };
    if target.route.edits.redirects.is_empty()
        || !(head.fields.has(Name::Location) || head.fields.has(Name::Refresh))
    {
        let edits = &target.route.edits;
        head.fields.retain(|field| SHARED.contains(&field.known) || !edits.hides(&field));
        return Ok(());
    }
    let route = target.route.clone();
    let edits = &route.edits;
    head.fields.retain(|field| SHARED.contains(&field.known) || !edits.hides(&field));
    let rules = &edits.redirects;
    if let Some(location) = head.fields.get(Name::Location) {
        let rewritten = with_variables(shared, request, client, ctx, |evaluation| {
            rules.iter().find_map(|rule| rule.prefix(location, evaluation))
        });
        if let Some(location) = rewritten {
            let name = shared.server_name(ctx.server.unwrap_or_default());
            let location = own_redirect::absolute(edits.form, ctx, name, location);
            head.fields.set(b"Location", &location)?;
        }
    }
    if let Some((begin, url)) = head.fields.get(Name::Refresh).and_then(refreshed) {
        let rewritten = with_variables(shared, request, client, ctx, |evaluation| {
            rules.iter().find_map(|rule| rule.prefix(url, evaluation))
        });
        if let Some(url) = rewritten {
            let refresh = [begin, &url].concat();
            head.fields.set(b"Refresh", &refresh)?;
        }
    }
    Ok(())
}

/// `3; url=/x`, divided before the URL.
fn refreshed(refresh: &[u8]) -> Option<(&[u8], &[u8])> {
    let at = refresh.windows(4).position(|four| four.eq_ignore_ascii_case(b"url="))?;
    refresh.split_at_checked(at + 4)
}

impl AnswerEdits {
    /// The cookie as it is to be; nothing where no rule is for it.
    fn cookie(&self, field: &[u8], evaluation: &mut Evaluation<'_>) -> Option<Vec<u8>> {
        let mut parts = CookieParts::read(field);
        let domains = parts.change(b"domain", |domain| {
            self.cookie_domains.iter().find_map(|rule| rule.domain(domain, evaluation))
        });
        let paths = parts.change(b"path", |path| {
            self.cookie_paths.iter().find_map(|rule| rule.prefix(path, evaluation))
        });
        let flags = self.flags(parts.name(), evaluation);
        let has_flags = flags != Flags::default();
        parts.set_flags(flags);
        (domains || paths || has_flags).then(|| parts.write())
    }

    fn flags(&self, name: &[u8], evaluation: &mut Evaluation<'_>) -> Flags {
        let mut flags = Flags::default();
        let is_meant = |rule: &&CookieFlags| match &rule.name {
            Matched::Text(text) => text.value(evaluation).eq_ignore_ascii_case(name),
            Matched::Pattern(pattern) => pattern.run(name, evaluation.values),
        };
        let Some(rule) = self.cookie_flags.iter().find(is_meant) else { return flags };
        for word in &rule.flags {
            let word = word.value(evaluation);
            if !word.is_empty() && flags.add(&word).is_err() {
                tracing::error!("variables have made no flag of a cookie");
            }
        }
        flags
    }
}

impl Rewrite {
    /// A text that begins with what is looked for, rewritten; of a pattern the whole text is replaced.
    fn prefix(&self, text: &[u8], evaluation: &mut Evaluation<'_>) -> Option<Vec<u8>> {
        let rest = match &self.from {
            Matched::Text(from) => {
                let from = from.value(evaluation);
                text.strip_prefix(&*from)?
            }
            Matched::Pattern(pattern) => {
                if !pattern.run(text, evaluation.values) {
                    return None;
                }
                b""
            }
        };
        let mut rewritten = self.to.value(evaluation).into_owned();
        rewritten.extend_from_slice(rest);
        Some(rewritten)
    }

    /// A domain, rewritten. A dot before it stays.
    fn domain(&self, domain: &[u8], evaluation: &mut Evaluation<'_>) -> Option<Vec<u8>> {
        let Matched::Text(from) = &self.from else { return self.prefix(domain, evaluation) };
        let (dot, plain) = match domain.strip_prefix(b".") {
            Some(plain) => (&b"."[..], plain),
            None => (&b""[..], domain),
        };
        let is_it = from.value(evaluation).eq_ignore_ascii_case(plain);
        is_it.then(|| [dot, &self.to.value(evaluation)].concat())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_url_of_a_refresh_is_found() {
        for (refresh, expected) in [
            ("3; url=/x", Some(("3; url=", "/x"))),
            ("0;URL=http://a/", Some(("0;URL=", "http://a/"))),
            ("3", None),
            ("url=", Some(("url=", ""))),
        ] {
            let expected = expected.map(|(begin, url)| (begin.as_bytes(), url.as_bytes()));
            assert_eq!(refreshed(refresh.as_bytes()), expected, "{refresh}");
        }
    }
}
