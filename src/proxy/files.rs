//! Answers with files from disk.
//!
//! Which file, and what its answer says, `crate::files` decides. Here the disk is asked, and a head and
//! a body are made of it.

use std::borrow::Cow;
use std::fs::File;
use std::sync::Arc;

use http::{Method, StatusCode};

use crate::downstream::{Client, Request};
use crate::files::body::{self, FileBody};
use crate::files::conditions::{self, Verdict};
use crate::files::disk::{Opened, RealDisk};
use crate::files::listing::{self, Format, Listing};
use crate::files::place::{Located, Outside, Place};
use crate::files::ranges::{self, Piece, Ranges, Span};
use crate::files::resolve::{Indexed, Missing, index};
use crate::files::validators::Stamp;
use crate::headers::accepts::takes_gzip;
use crate::proxy::complaint::{About, Escaped};
use crate::proxy::compressed;
use crate::proxy::context::Context;
use crate::proxy::error::RequestError;
use crate::proxy::file_settings::{FileSettings, GzipStatic, Lies};
use crate::proxy::inside::Inside;
use crate::proxy::pages::{self, Instead};
use crate::proxy::response::{Body, Response};
use crate::proxy::settings::Route;
use crate::proxy::shared::Shared;
use crate::proxy::{document_root, own_redirect, returned};
use crate::telemetry::error_log::Severity;
use crate::wire::fields::{Fields, Unwritable};
use crate::wire::name::Name;
use crate::wire::response::ResponseHead;

/// Answers with a file, with a listing, or with a redirect to where it is.
///
/// # Errors
/// What is answered in its place; another path, where a directory has an index.
pub async fn answer(
    shared: &Arc<Shared>,
    request: &Request,
    client: &Client<'_>,
    ctx: &mut Context,
    (route, files): (&Route, &Arc<FileSettings>),
    for_error: bool,
) -> Result<Response, Instead> {
    let Some(lies) = &route.lies else { return Err(RequestError::NotFound.into()) };
    let directory = document_root::directory(shared, request, client, ctx, lies)?;
    let is_directory = ctx.path().is_some_and(|path| path.ends_with(b"/"));
    let mut index = Vec::new();
    for name in files.index.iter().filter(|_| is_directory) {
        index.push(returned::value(shared, request, client, ctx, name));
    }
    let ctx = &*ctx;
    let Some(target) = &ctx.target else { return Err(RequestError::Internal.into()) };
    // What an alias stands for is no longer at its beginning.
    if matches!(lies, Lies::InPlace { .. }) && ctx.uri.as_ref().is_some_and(|uri| uri.is_final) {
        tracing::error!("an alias has no file for a path that was rewritten");
        return Err(RequestError::Internal.into());
    }
    let path = ctx.path().unwrap_or_default();
    let place = document_root::place(path, lies, &directory, target.is_below)?;
    Asked { shared, request, ctx, files, place, path, for_error }.content(&index).await
}

impl From<Missing> for RequestError {
    fn from(missing: Missing) -> Self {
        match missing {
            Missing::NotFound => Self::NotFound,
            Missing::Forbidden => Self::Forbidden,
            Missing::Failed => Self::Internal,
        }
    }
}

impl From<Outside> for RequestError {
    fn from(_: Outside) -> Self {
        Self::NotFound
    }
}

/// A request for a file.
struct Asked<'a> {
    shared: &'a Shared,
    request: &'a Request,
    ctx: &'a Context,
    files: &'a Arc<FileSettings>,
    /// Where the path counts from.
    place: Place<'a>,
    path: &'a [u8],
    /// It stands for an error: its status is no 200, so nothing is asked of conditions and ranges.
    for_error: bool,
}

/// A file that was opened.
struct Found {
    file: File,
    stamp: Stamp,
    is_gzip: bool,
}

impl Asked<'_> {
    async fn content(&self, index: &[Cow<'_, [u8]>]) -> Result<Response, Instead> {
        if self.path.ends_with(b"/") {
            return self.directory(index).await;
        }
        let method = &self.request.method;
        if ![Method::GET, Method::HEAD, Method::POST].contains(method) {
            return Err(RequestError::MethodNotAllowed.into());
        }
        let located = self.place.locate(self.path).map_err(RequestError::from)?;
        let found = match self.twin(&located) {
            Some(found) => found,
            None => match self
                .disk()
                .open(&located)
                .map_err(|missing| self.missing(&located, missing))?
            {
                Opened::File(file, stamp) => Found { file, stamp, is_gzip: false },
                Opened::Directory => return Ok(self.with_slash()?),
                Opened::Other => return Err(self.missing(&located, Missing::NotFound).into()),
            },
        };
        if *method == Method::POST {
            return Err(RequestError::MethodNotAllowed.into());
        }
        Ok(self.file(found)?)
    }

    fn disk(&self) -> RealDisk<'_> {
        RealDisk { symlinks: self.files.symlinks, trusted: &self.files.trusted }
    }

    fn about(&self) -> About<'_> {
        About { shared: self.shared, request: self.request, ctx: self.ctx }
    }

    /// Says what is missing, where that is wanted.
    fn missing(&self, located: &Located, missing: Missing) -> RequestError {
        let (severity, why) = match missing {
            Missing::NotFound if !self.files.log_not_found => return missing.into(),
            Missing::NotFound => (Severity::Error, "2: No such file or directory"),
            Missing::Forbidden => (Severity::Error, "13: Permission denied"),
            Missing::Failed => (Severity::Crit, "5: Input/output error"),
        };
        let path = Escaped(located.as_bytes());
        self.about().say(severity, format_args!("open() \"{path}\" failed ({why})"));
        missing.into()
    }

    async fn directory(&self, names: &[Cow<'_, [u8]>]) -> Result<Response, Instead> {
        let located = self.place.locate(self.path).map_err(RequestError::from)?;
        match index(names, self.place, self.path, &self.disk()) {
            Indexed::Inside(path) => {
                let inside = Inside::path(&path, self.query());
                return Err(Instead::Inside(Box::new(inside)));
            }
            Indexed::Missing(missing) => return Err(self.missing(&located, missing).into()),
            Indexed::Nothing => {}
        }
        let method = &self.request.method;
        let is_read = [Method::GET, Method::HEAD].contains(method);
        match self.files.listing {
            Some(listing) if is_read => Ok(self.listed(listing, located).await?),
            _ if is_read || *method == Method::POST => {
                let path = Escaped(located.as_bytes());
                let text = format_args!("directory index of \"{path}\" is forbidden");
                self.about().say(Severity::Error, text);
                Err(RequestError::Forbidden.into())
            }
            _ => Err(RequestError::MethodNotAllowed.into()),
        }
    }

    async fn listed(&self, listing: Listing, located: Located) -> Result<Response, RequestError> {
        let query = match listing.format {
            Format::Jsonp => self.query().unwrap_or_default(),
            Format::Html | Format::Json | Format::Xml => b"",
        };
        let callback = listing::callback(query).map_err(|_| RequestError::BadRequest)?;
        let content_type = listing.content_type(callback.as_deref());
        let (files, path) = (self.files.clone(), self.path.to_vec());
        let content_type = files.with_charset(content_type);
        let in_utf8 = content_type.ends_with("charset=utf-8");
        // Directories may be large, and each of their entries is looked at.
        let listed = tokio::task::spawn_blocking(move || {
            let disk = RealDisk { symlinks: files.symlinks, trusted: &files.trusted };
            let entries = disk.list(&located)?;
            Ok(listing.write(&path, entries, callback.as_deref(), in_utf8))
        });
        let listed = listed.await.map_err(|_| RequestError::Internal)?;
        let listed = listed.map_err(|missing: Missing| RequestError::from(missing))?;
        let mut fields = Fields::new();
        fields.push(b"Content-Type", content_type.as_bytes())?;
        let head = ResponseHead::compose(StatusCode::OK, fields);
        Ok(Response { head, body: Body::Whole(listed.into()) })
    }

    /// A directory is asked for as if it were a file.
    fn with_slash(&self) -> Result<Response, RequestError> {
        let path = [self.path, b"/"].concat();
        let name = self.shared.table.name_without_host(self.shared.listener(&self.ctx.connection));
        let form = self.files.redirects;
        let location = own_redirect::location(form, self.ctx, name, &path, self.query());
        let mut reply = pages::redirect(StatusCode::MOVED_PERMANENTLY, &location)?;
        // Everybody may keep it, as with nginx.
        reply.fields.remove_named(b"Cache-Control");
        Ok(reply.into())
    }

    fn query(&self) -> Option<&[u8]> {
        let target = self.ctx.target.as_ref()?.requested.forwarded(self.request.target());
        let mark = memchr::memchr(b'?', target)?;
        target.get(mark + 1..).filter(|query| !query.is_empty())
    }

    /// The compressed twin of a file, where the client takes one and there is one.
    fn twin(&self, located: &Located) -> Option<Found> {
        let is_wanted = match self.files.gzip_static {
            GzipStatic::Off => false,
            GzipStatic::On => takes_gzip(self.request.fields()),
            GzipStatic::Always => true,
        };
        if !is_wanted || self.request.method == Method::POST {
            return None;
        }
        match self.disk().open(&located.with(b".gz")).ok()? {
            Opened::File(file, stamp) => Some(Found { file, stamp, is_gzip: true }),
            Opened::Directory | Opened::Other => None,
        }
    }

    fn file(&self, found: Found) -> Result<Response, RequestError> {
        let Found { file, stamp, is_gzip } = found;
        let content_type = self.files.with_charset(self.files.type_of(self.path)).into_owned();
        let asked = self.request.fields();
        let mut fields = Fields::new();
        fields.push(b"Content-Type", content_type.as_bytes())?;
        fields.set_displayed(b"Last-Modified", stamp.last_modified())?;
        let etag = self.files.etag.then(|| stamp.etag());
        if let Some(etag) = &etag {
            fields.push(b"ETag", etag.as_bytes())?;
        }
        let compared = self.files.if_modified_since;
        let etag = etag.as_deref().map(str::as_bytes);
        let whole = vec![Piece::File(Span { begin: 0, end: stamp.size })];
        if self.for_error {
            fields.remove(Name::LastModified);
            return self.response(ResponseHead::compose(StatusCode::OK, fields), file, whole);
        }
        let verdict = conditions::verdict(asked, etag, stamp.modified, compared);
        if verdict == Verdict::Failed {
            return Err(RequestError::PreconditionFailed);
        }
        if verdict == Verdict::NotModified {
            fields.remove_named(b"Content-Type");
            let head = ResponseHead::compose(StatusCode::NOT_MODIFIED, fields);
            return Ok(Response { head, body: Body::Whole(bytes::Bytes::new()) });
        }
        if is_gzip {
            // Parts of what is compressed are of no use: nginx gives none either.
            fields.push(b"Content-Encoding", b"gzip")?;
            let compression = self.ctx.target.as_ref().map(|target| &target.route.compression);
            if compression.is_some_and(|it| it.as_ref().is_some_and(|it| it.vary)) {
                fields.push(b"Vary", b"Accept-Encoding")?;
            }
            let head = ResponseHead::compose(StatusCode::OK, fields);
            return self.response(head, file, whole);
        }
        let head = ResponseHead::compose(StatusCode::OK, fields);
        self.parts(head, file, stamp.size, &content_type)
    }

    /// What was asked for of a file.
    fn parts(
        &self,
        mut head: ResponseHead,
        file: File,
        size: u64,
        content_type: &str,
    ) -> Result<Response, RequestError> {
        let decision =
            compressed::decide(self.request, head.status, &head.fields, Some(size), self.ctx);
        // Of what is coded on its way there are no parts.
        let is_coded = decision.is_some_and(|decision| decision.coding.is_some());
        let most = if is_coded { 0 } else { self.files.max_ranges };
        let pieces = match ranges::choose(self.request.fields(), &head.fields, size, most) {
            Ranges::NotSatisfiable => return Ok(unsatisfied(size)?),
            Ranges::Whole => {
                if most > 0 {
                    head.fields.push(b"Accept-Ranges", b"bytes")?;
                }
                vec![Piece::File(Span { begin: 0, end: size })]
            }
            Ranges::Parts(spans) => {
                head.set_status(StatusCode::PARTIAL_CONTENT);
                match spans.as_slice() {
                    [span] => {
                        ranges::single(&mut head.fields, *span, size)?;
                        vec![Piece::File(*span)]
                    }
                    spans => {
                        let boundary = rand::random();
                        ranges::several(&mut head.fields, boundary)?;
                        ranges::multipart(spans, size, Some(content_type.as_bytes()), boundary)
                    }
                }
            }
        };
        self.response(head, file, pieces)
    }

    fn response(
        &self,
        head: ResponseHead,
        file: File,
        pieces: Vec<Piece>,
    ) -> Result<Response, RequestError> {
        let length = pieces.iter().map(Piece::len).fold(0, u64::saturating_add);
        if self.request.method == Method::HEAD {
            return Ok(Response { head, body: Body::NotSent(length) });
        }
        if let [Piece::File(span)] = pieces.as_slice()
            && let Some(bytes) = body::at_once(&file, *span)
        {
            return Ok(Response { head, body: Body::Whole(bytes) });
        }
        let Some(room) = body::room() else {
            tracing::error!("as many files are being sent as there may be");
            return Err(RequestError::Internal);
        };
        Ok(Response { head, body: Body::File(Box::new(FileBody::new(file, pieces, room))) })
    }
}

/// RFC 9110 section 15.5.17.
fn unsatisfied(size: u64) -> Result<Response, Unwritable> {
    let mut reply = pages::refusal(416);
    reply.fields.set(b"Content-Range", ranges::unsatisfied(size).as_bytes())?;
    Ok(reply.into())
}
