//! nginx's rewrite phases: the server's script, the route of the path, the route's script, and again.
//!
//! What a script does is `crate::rewrite`'s to say. A path that was rewritten is read as any other is,
//! and its route found by all readings: what a route keeps visitors from, a rewrite keeps, too.

use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::sync::Arc;

use crate::downstream::{Client, Request};
use crate::files::disk::RealDisk;
use crate::files::resolve::Disk as _;
use crate::proxy::complaint::{About, Escaped};
use crate::proxy::context::Context;
use crate::proxy::error::RequestError;
use crate::proxy::facts::RequestFacts;
use crate::proxy::pages::Instead;
use crate::proxy::settings::{Route, Target as Destination};
use crate::proxy::shared::Shared;
use crate::proxy::turns::TURNS_MAX;
use crate::proxy::{access, file_settings, pacing, returned, route};
use crate::rewrite::{Around, File, FileKind, Files, Outcome, Script, Uri};
use crate::routing::path::BadPath;
use crate::routing::target::RequestTarget;
use crate::telemetry::error_log::Severity;

/// What is run in a route, or before one is looked for.
#[derive(Clone, Debug)]
pub struct Rewriting {
    pub script: Script,
    /// What counts while a condition holds, by the index that its step has.
    pub inside: Vec<Arc<Route>>,
    /// Whether rules are logged (nginx `rewrite_log`).
    pub logs: bool,
}

/// Runs the server's script, and goes on as [`by_path`].
///
/// # Errors
/// What is answered in place of a route.
pub fn by_server(
    shared: &Shared,
    request: &Request,
    client: &Client<'_>,
    ctx: &mut Context,
) -> Result<(), Instead> {
    let own = ctx.target.as_ref().map(|target| target.route.clone());
    if let Some(rewriting) = own.as_deref().and_then(|own| own.rewriting.as_deref()) {
        run(shared, request, client, ctx, rewriting)?;
    }
    by_path(shared, request, client, ctx)
}

/// Finds the route of the path, and goes on as in a route.
///
/// # Errors
/// What is answered in place of a route.
pub fn by_path(
    shared: &Shared,
    request: &Request,
    client: &Client<'_>,
    ctx: &mut Context,
) -> Result<(), Instead> {
    let route = route::by_path(shared, request, ctx)?;
    enter(shared, request, ctx, route)?;
    in_route(shared, request, client, ctx)
}

/// Goes on as [`by_path`] in the route that a name led to.
///
/// # Errors
/// What is answered in place of a route.
pub fn in_named(
    shared: &Shared,
    request: &Request,
    client: &Client<'_>,
    ctx: &mut Context,
) -> Result<(), Instead> {
    let Some(target) = &ctx.target else { return Err(RequestError::Internal.into()) };
    let route = target.route.clone();
    enter(shared, request, ctx, route)?;
    in_route(shared, request, client, ctx)
}

/// Runs the script of the route that was found; it may lead to others.
fn in_route(
    shared: &Shared,
    request: &Request,
    client: &Client<'_>,
    ctx: &mut Context,
) -> Result<(), Instead> {
    loop {
        let Some(target) = &ctx.target else { return Err(RequestError::Internal.into()) };
        let route = target.route.clone();
        let Some(rewriting) = route.rewriting.as_deref().filter(|_| !route.is_server()) else {
            return Ok(());
        };
        match run(shared, request, client, ctx, rewriting)? {
            Outcome::Continue { inside } => {
                let inside = inside.and_then(|inside| rewriting.inside.get(inside));
                if let (Some(inside), Some(target)) = (inside, &mut ctx.target) {
                    target.route = inside.in_place_of(&route);
                }
                return Ok(());
            }
            Outcome::SearchAgain | Outcome::Answer(_) => {}
        }
        ctx.redirects += 1;
        if ctx.redirects > TURNS_MAX {
            let path = ctx.path().unwrap_or_default();
            let text = format!(
                "rewrite or internal redirection cycle while processing \"{}\"",
                Escaped(path)
            );
            About { shared, request, ctx }.say(Severity::Error, text);
            return Err(RequestError::Internal.into());
        }
        let route = route::by_path(shared, request, ctx)?;
        enter(shared, request, ctx, route)?;
    }
}

/// From here on a route's settings count.
fn enter(
    shared: &Shared,
    request: &Request,
    ctx: &mut Context,
    route: Arc<Route>,
) -> Result<(), Instead> {
    let Some(target) = &mut ctx.target else { return Err(RequestError::Internal.into()) };
    target.route = route;
    if target.route.internal && !ctx.is_internal {
        return Err(RequestError::NoRoute.into());
    }
    let length = access::length(request, &target.route);
    if let (Err(_), Some(bytes)) = (&length, request.body.known()) {
        let text = format_args!("client intended to send too large body: {bytes} bytes");
        About { shared, request, ctx }.say(Severity::Error, text);
    }
    length?;
    note_groups(shared, ctx);
    if let Some(target) = &mut ctx.target
        && let Some(excepted) = &target.route.excepted
        && !excepted.methods.contains(&request.method)
    {
        target.route = excepted.route.in_place_of(&target.route);
    }
    Ok(())
}

/// The groups of the pattern that a route's path is are the request's (`$1`).
fn note_groups(shared: &Shared, ctx: &mut Context) {
    let Some(target) = &ctx.target else { return };
    let Some(matcher) = &target.route.matcher else { return };
    if matcher.names_groups() || shared.variables.uses_groups() {
        matcher.run(target.requested.path.as_bytes(), &mut ctx.values);
    }
}

/// Runs a script. What it answers is answered; a path that it made is read.
fn run(
    shared: &Shared,
    request: &Request,
    client: &Client<'_>,
    ctx: &mut Context,
    rewriting: &Rewriting,
) -> Result<Outcome, Instead> {
    let mut uri = ctx.uri.take().unwrap_or_else(|| Box::new(uri_of(request, ctx)));
    let mut values = std::mem::take(&mut ctx.values);
    let facts = RequestFacts { shared, request, client, ctx };
    let mut around = Around {
        variables: &shared.variables,
        facts: &facts,
        values: &mut values,
        files: &Disk(ctx),
        logs: rewriting.logs,
    };
    let run = rewriting.script.run(&mut uri, &mut around);
    ctx.values = values;
    ctx.is_internal |= run.is_internal;
    if let Some(rate) = &run.limit_rate {
        pacing::set(ctx, rate);
    }
    let read = run.is_new.then(|| RequestTarget::inside(&uri.path, &uri.args));
    ctx.uri = Some(uri);
    if ctx.values.take_given_up() {
        return Err(RequestError::Internal.into());
    }
    if let Outcome::Answer(answer) = run.outcome {
        return Err(returned::answer(shared, ctx, answer));
    }
    match (read, &mut ctx.target) {
        (Some(Ok(read)), Some(target)) => target.requested = read,
        // No location can have it.
        (Some(Err(BadPath::Form)), _) => return Err(RequestError::NoRoute.into()),
        (Some(Err(flaw)), _) => {
            tracing::warn!(%flaw, "a path was rewritten to one that can be read in two ways");
            return Err(RequestError::BadRequest.into());
        }
        (Some(Ok(_)) | None, _) => {}
    }
    Ok(run.outcome)
}

/// The URI as it came.
pub fn uri_of(request: &Request, ctx: &Context) -> Uri {
    let came = ctx.came.as_ref().map_or(request.target(), |came| &came.target);
    let is_special = |byte: &u8| matches!(byte, b'%' | b'+');
    Uri {
        path: ctx.path().unwrap_or_default().to_vec(),
        args: route::query(request.target()).unwrap_or_default().to_vec(),
        was_escaped: came
            .split(|byte| *byte == b'?')
            .next()
            .is_some_and(|p| p.iter().any(is_special)),
        is_changed: false,
        is_final: false,
    }
}

/// The disk, as a route's files see it.
struct Disk<'a>(&'a Context);

impl Files for Disk<'_> {
    fn look(&self, path: &[u8]) -> Option<File> {
        let route = self.0.target.as_ref().map(|target| &target.route.target);
        if let Some(Destination::Files(settings)) = route {
            settings.disk().look(path).ok()?;
        }
        let found = std::fs::metadata(std::ffi::OsStr::from_bytes(path)).ok()?;
        let kind = match found.file_type() {
            kind if kind.is_file() => FileKind::Regular,
            kind if kind.is_dir() => FileKind::Directory,
            _ => FileKind::Other,
        };
        Some(File { kind, is_executable: found.mode() & 0o100 != 0 })
    }
}

impl file_settings::FileSettings {
    /// The disk as these settings let it be seen.
    pub fn disk(&self) -> RealDisk<'_> {
        RealDisk { symlinks: self.symlinks, trusted: &self.trusted }
    }
}

impl Route {
    /// Itself, with what another route keeps visitors from, where that is more than its own does: routes
    /// that other readings of a path lead to had their say.
    fn in_place_of(self: &Arc<Self>, route: &Arc<Self>) -> Arc<Self> {
        if self.keeps_the_same(route) {
            self.clone()
        } else {
            Arc::new(Self::clone(self).within(route))
        }
    }
}
