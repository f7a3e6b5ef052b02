//! Turns of an exchange: a redirect inside leads the same request to another route, where all that
//! keeps visitors out is asked again.

use http::{Method, StatusCode};

use crate::downstream::refused::outside;
use crate::downstream::{BodyLength, Client, Request};
use crate::proxy::context::Context;
use crate::proxy::error::RequestError;
use crate::proxy::error_page::{ErrorPage, Place, Shown};
use crate::proxy::inside::{Inside, To, accelerated};
use crate::proxy::pages::Instead;
use crate::proxy::response::Response;
use crate::proxy::settings::Route;
use crate::proxy::shared::Shared;
use crate::proxy::target::Came;
use crate::wire::fields::Fields;
use crate::wire::flaw::RequestFlaw;
use crate::wire::name::Name;

/// Redirects inside that one request may take (nginx's number).
pub const TURNS_MAX: u8 = 10;

/// What turns before this one have left.
#[derive(Default)]
pub struct Turns {
    taken: u8,
    /// It is made for another request.
    is_subrequest: bool,
    /// The name of the route that the present turn leads to; else its path says so.
    named: Option<String>,
    /// What is answered in place of an error has this status.
    status: Option<StatusCode>,
    has_error_page: bool,
    /// Fields of answers that were replaced.
    kept: Fields,
}

/// What follows from the outcome of a turn.
pub enum Follow {
    Answer(Result<Response, Instead>),
    Inside(Box<Inside>),
}

impl Turns {
    /// Of a request that is made for another one: where that one asks, and no visitor need to be able to.
    pub fn of_subrequest() -> Self {
        Self { taken: 1, is_subrequest: true, ..Self::default() }
    }

    /// Whether all of this is for another request.
    pub fn is_subrequest(&self) -> bool {
        self.is_subrequest
    }

    /// Whether this is the turn that the client asked for.
    pub fn is_first(&self) -> bool {
        self.taken == 0
    }

    /// The name of the route that this turn leads to.
    pub fn named(&self) -> Option<&str> {
        self.named.as_deref()
    }

    /// Whether what this turn answers has the status of an error.
    pub fn is_for_error(&self) -> bool {
        self.status.is_some_and(|status| status != StatusCode::OK)
    }

    /// What follows from the outcome of a turn. An error may have a page.
    pub fn follow(
        &mut self,
        shared: &Shared,
        outcome: Result<Response, Instead>,
        request: &Request,
        client: &Client<'_>,
        ctx: &mut Context,
    ) -> Follow {
        let instead = match outcome {
            Ok(response) => return Follow::Answer(Ok(response)),
            Err(Instead::Inside(inside)) => return Follow::Inside(inside),
            Err(instead) => instead,
        };
        if matches!(instead, Instead::Redirect(..)) {
            // It replaces the error (nginx 15).
            self.status = None;
        }
        let Some(status) = instead.status() else { return Follow::Answer(Err(instead)) };
        let route = ctx.target.as_ref().map(|target| target.route.clone());
        let recurs = route.as_ref().is_some_and(|route| route.recursive_error_pages);
        let is_whole = is_whole(request, client, ctx);
        let page = route.as_ref().and_then(|route| self.page(route, status, is_whole));
        let leads = page.map(|page| {
            let said = page.said(shared, request, client, ctx);
            page.leads(status, said, recurs)
        });
        match leads {
            None => {
                self.status = None;
                Follow::Answer(Err(instead))
            }
            Some(Err(elsewhere)) => {
                self.status = None;
                Follow::Answer(Err(elsewhere))
            }
            Some(Ok(mut inside)) => {
                match instead {
                    Instead::Error(error) => ctx.error = Some(error),
                    Instead::Returned(returned) => {
                        // Where a redirect led is told beside what its page says, as in nginx; and
                        // what is asked for is asked for with any page.
                        inside.keep_location(returned.location());
                        for field in returned.fields.iter() {
                            let _ = inside.kept.push(field.name, field.value);
                        }
                    }
                    _ => {}
                }
                Follow::Inside(Box::new(inside))
            }
        }
    }

    /// The page that stands for an error here. What goes wrong inside a page is shown as it is, unless
    /// the page's own route says `recursive_error_pages`, or the one that had it.
    fn page<'a>(
        &self,
        route: &'a Route,
        status: StatusCode,
        is_whole: bool,
    ) -> Option<&'a ErrorPage> {
        if self.has_error_page {
            return None;
        }
        let page = route.error_pages.find(status.as_u16())?;
        let is_named = matches!(page.to, Place::Named(_));
        (!is_named || is_whole).then_some(page)
    }

    /// Where the answer of a worker leads, where not to the client: `X-Accel-Redirect`, and errors
    /// that the route intercepts.
    pub fn after_worker(
        &self,
        shared: &Shared,
        response: &Response,
        request: &Request,
        client: &Client<'_>,
        ctx: &mut Context,
    ) -> Option<Result<Inside, Instead>> {
        let route = &ctx.target.as_ref()?.route;
        let fields = &response.head.fields;
        if let Some(target) = route.edits.heard(fields, Name::XAccelRedirect) {
            return Some(self::accelerated(target));
        }
        let status = response.head.status;
        if !route.intercept_errors || status.as_u16() < 300 {
            return None;
        }
        let route = route.clone();
        // The worker's answer has it still.
        let is_whole = ctx.has_whole_body || is_whole(request, client, ctx);
        let page = self.page(&route, status, is_whole)?;
        let said = page.said(shared, request, client, ctx);
        Some(page.leads(status, said, route.recursive_error_pages))
    }

    /// Begins the turn that a redirect leads to: what is asked for in it.
    ///
    /// # Errors
    /// There were too many already, or nobody can be asked for that.
    pub fn begin(
        &mut self,
        inside: Inside,
        asked: &Request,
        client: &mut Client<'_>,
        ctx: &mut Context,
    ) -> Result<Request, Instead> {
        // A file in another's place stands for the same error.
        let is_new = !matches!(inside.to, To::Path(_) | To::Fallback(_));
        if is_new {
            self.status = None;
        }
        if ctx.redirects >= TURNS_MAX {
            return Err(RequestError::Internal.into());
        }
        ctx.redirects += 1;
        self.taken += 1;
        ctx.is_internal = true;
        if !matches!(inside.to, To::Named(_) | To::Fallback(_)) {
            ctx.uri = None;
        }
        ctx.came.get_or_insert_with(|| {
            Box::new(Came { method: asked.method.clone(), target: asked.target().to_vec() })
        });
        let Inside { to, shown, recurs, is_vouched, kept } = inside;
        self.has_error_page |= !recurs;
        if is_new {
            ctx.is_vouched = is_vouched;
        }
        for field in kept.iter() {
            let _ = self.kept.push(field.name, field.value);
        }
        let next = self.request(
            to,
            shown.is_some_and(|(error, _)| is_of_request(error)),
            asked,
            client,
            ctx,
        );
        let mut next = next.map_err(|flaw| {
            tracing::error!(%flaw, "a redirect inside leads to no target");
            RequestError::Internal
        })?;
        if let Some(body) = ctx.body.as_ref().filter(|_| next.body != BodyLength::Empty) {
            // One that came in chunks has a length now.
            next.body = match body.length() {
                0 => BodyLength::Empty,
                length => BodyLength::Known(length),
            };
        }
        if let Some((error, shown)) = shown {
            self.status = match shown {
                Shown::Error => StatusCode::from_u16(outside(error.as_u16())).ok(),
                Shown::Answer => None,
                Shown::Fixed(status) => StatusCode::from_u16(status).ok(),
            };
        }
        ctx.shown = self.status;
        Ok(next)
    }

    /// The request of the next turn.
    fn request(
        &mut self,
        to: To,
        is_bad: bool,
        asked: &Request,
        client: &mut Client<'_>,
        ctx: &Context,
    ) -> Result<Request, RequestFlaw> {
        match to {
            To::Named(name) | To::Fallback(name) => {
                self.named = Some(name);
                // A body that a worker has taken is not there a second time.
                let is_whole = is_whole(asked, client, ctx);
                if !is_whole && !self.is_subrequest {
                    client.leave_body();
                }
                asked.inside(asked.method.clone(), asked.target(), is_whole)
            }
            To::Path(target) => {
                self.named = None;
                asked.inside(asked.method.clone(), &target, true)
            }
            To::Target(target) => {
                self.named = None;
                // It goes along, as in nginx, unless it is what is wrong.
                let with_body = !is_bad && is_whole(asked, client, ctx);
                if !with_body && !self.is_subrequest {
                    client.leave_body();
                }
                let method = if asked.method == Method::HEAD { Method::HEAD } else { Method::GET };
                asked.inside(method, &target, with_body)
            }
        }
    }

    /// Completes the answer of the last turn.
    pub fn finish(&mut self, response: &mut Response) {
        // Of what stands for an error as a success, a part may have been asked for, or nothing new.
        let is_asked_for = matches!(response.head.status.as_u16(), 206 | 304 | 416);
        if let Some(status) =
            self.status.filter(|status| *status != StatusCode::OK || !is_asked_for)
        {
            response.head.set_status(status);
        }
        for field in self.kept.iter() {
            match field.known {
                Name::SetCookie | Name::WwwAuthenticate | Name::ClearSiteData => {
                    let _ = response.head.fields.push(field.name, field.value);
                }
                // Where the last answer leads counts.
                Name::Location if response.head.fields.has(Name::Location) => {}
                _ => {
                    let _ = response.head.fields.set(field.name, field.value);
                }
            }
        }
    }
}

/// Whether an error says that the request, or its body, is what is wrong.
fn is_of_request(error: StatusCode) -> bool {
    matches!(error.as_u16(), 400 | 408 | 413)
}

/// Whether all of a request's body is still to be had.
fn is_whole(request: &Request, client: &Client<'_>, ctx: &Context) -> bool {
    let is_untouched = !ctx.has_whole_body && client.received() == 0;
    request.body == BodyLength::Empty || ctx.body.is_some() || is_untouched
}
