//! Looks for files before anybody answers (nginx `try_files`, 18).

use std::borrow::Cow;

use crate::downstream::{Client, Request};
use crate::files::disk::RealDisk;
use crate::files::resolve::{self, Candidate, Found};
use crate::proxy::context::Context;
use crate::proxy::error::RequestError;
use crate::proxy::file_settings::{Last, Lies, TryFiles};
use crate::proxy::inside::Inside;
use crate::proxy::pages::Instead;
use crate::proxy::settings::Route;
use crate::proxy::shared::Shared;
use crate::proxy::{document_root, returned, rewriting};
use crate::rewrite::{Answer, Content};
use crate::routing::percent::{self, Part};

/// Has the first file that is there stand for the request's path.
///
/// # Errors
/// None is there, and this is what is done then.
pub fn run(
    shared: &Shared,
    request: &Request,
    client: &Client<'_>,
    ctx: &mut Context,
    route: &Route,
) -> Result<(), Instead> {
    let Some(tried) = &route.try_files else { return Ok(()) };
    let TryFiles { candidates, symlinks, trusted, .. } = &**tried;
    let directory = match &route.lies {
        Some(lies) => document_root::directory(shared, request, client, ctx, lies)?,
        None => Cow::Borrowed(&b""[..]),
    };
    let mut texts = Vec::with_capacity(candidates.len());
    for Candidate { text, means_directory, is_literal } in candidates {
        let text = returned::value(shared, request, client, ctx, text);
        texts.push(Candidate { text, means_directory: *means_directory, is_literal: *is_literal });
    }
    let path = ctx.path().unwrap_or_default();
    let found = match &route.lies {
        Some(lies) => {
            let place = document_root::place_of_entries(path, lies, &directory)?;
            let disk = RealDisk { symlinks: *symlinks, trusted };
            resolve::try_files(texts, place, path, &disk)
        }
        None => None,
    };
    match found {
        Some(found) => {
            stand_in(request, ctx, route, found);
            Ok(())
        }
        None => Err(otherwise(shared, request, client, ctx, &tried.last)),
    }
}

/// What was found is the request's path from here on.
fn stand_in(request: &Request, ctx: &mut Context, route: &Route, found: Found) {
    let is_of_pattern =
        matches!(&route.lies, Some(Lies::InPlace { of, .. }) if of.starts_with('~'));
    // What lies in an alias of a pattern has no path of its own.
    if is_of_pattern && found.is_directory {
        return;
    }
    let mut uri = ctx.uri.take().unwrap_or_else(|| Box::new(rewriting::uri_of(request, ctx)));
    // With a path of its own a worker is asked for what was found, else for what came (nginx).
    let sent = route.replaced.as_ref().filter(|_| !uri.is_final).map(|replaced| {
        let mut sent = replaced.by.to_vec();
        let rest = found.path.get(replaced.prefix.len()..).unwrap_or_default();
        percent::escape(rest, Part::Path, &mut sent);
        if !uri.args.is_empty() {
            sent.push(b'?');
            sent.extend_from_slice(&uri.args);
        }
        sent
    });
    uri.path = found.path;
    ctx.uri = Some(uri);
    if let Some(target) = &mut ctx.target {
        target.is_below = is_of_pattern;
        if let Some(sent) = sent {
            target.sent = Some(sent.into());
        }
    }
}

fn otherwise(
    shared: &Shared,
    request: &Request,
    client: &Client<'_>,
    ctx: &mut Context,
    last: &Last,
) -> Instead {
    let text = match last {
        Last::Status(status) => {
            let answer = Answer { status: *status, content: Content::Error };
            return returned::answer(shared, ctx, answer);
        }
        Last::Inside(text) => returned::value(shared, request, client, ctx, text),
    };
    if text.starts_with(b"@") {
        return Instead::Inside(Box::new(Inside::named(&text)));
    }
    if !text.starts_with(b"/") {
        tracing::error!("the last entry of `try_files` is neither a path nor `@name`");
        return RequestError::NotFound.into();
    }
    let (path, query) = match memchr::memchr(b'?', &text) {
        Some(mark) => (&text[..mark], text.get(mark + 1..).filter(|query| !query.is_empty())),
        None => (&text[..], None),
    };
    Instead::Inside(Box::new(Inside::path(path, query)))
}
