//! What a worker runtime serves requests with: an exchange for each, and the line that says what became of
//! it.

use std::sync::Arc;
use std::time::Duration;

use http::StatusCode;

use crate::downstream::refused::Refusal;
use crate::downstream::{Client, HeadLimits, Refused, Reply, Request, Service};
use crate::listen::Info;
use crate::proxy::asking::Patience;
use crate::proxy::context::Context;
use crate::proxy::deliver::deliver;
use crate::proxy::error::RequestError;
use crate::proxy::exchange;
use crate::proxy::nginx_pages::PageStyle;
use crate::proxy::pages::{self, Instead};
use crate::proxy::response::Response;
use crate::proxy::settings::FieldNames;
use crate::proxy::shared::{ServerFacts, Shared};
use crate::proxy::turns::Turns;
use crate::proxy::{added, compressed, endpoint, finish, nginx_pages, pacing};
use crate::upstream::way::Pool;
use crate::wire::name::Name;

/// What one worker runtime serves requests with.
#[derive(Clone)]
pub struct Proxy {
    pub shared: Arc<Shared>,
    pub pool: Arc<Pool>,
    /// Without a byte of an answer taken by the client (nginx `send_timeout`).
    pub send_timeout: Duration,
    /// Without a byte of a request's body (nginx `client_body_timeout`).
    pub body_timeout: Duration,
}

impl Service for Proxy {
    async fn serve(&self, mut request: Request, mut client: Client<'_>) {
        believed_fields(&self.shared, &mut request, client.info());
        let mut ctx = Context::new(&self.shared, client.info().clone(), request.begun);
        let mut turns = Turns::default();
        let mut response =
            match exchange::respond(self, &request, &mut client, &mut ctx, &mut turns).await {
                Ok(response) => Some(response),
                Err(instead) => self.instead(instead, &mut client, &mut ctx),
            };
        if let Some(response) = &mut response {
            turns.finish(response);
            ctx.pay(&mut response.head.fields);
            added::run(&self.shared, &request, &client, &mut ctx, response);
            let route = ctx.target.as_ref().map(|target| &target.route);
            if let Some(keepalive) = route.and_then(|route| route.keepalive.as_deref()) {
                client.keep(keepalive, keepalive.keeps(&ctx.connection, &request));
            }
            if let Some(delivery) = route.and_then(|route| route.delivery.as_ref()) {
                client.deliver_by(delivery);
            }
            if let Some(style) = self.page_style(&ctx) {
                nginx_pages::dress(style, &request, response, &ctx);
            }
        }
        let delivered = match response {
            Some(mut response) => {
                let mut outlet = compressed::outlet(&self.shared, &request, &mut response, &ctx);
                pacing::begin(&self.shared, &request, &client, &mut ctx);
                let patience = self.patience(&ctx);
                let outlet = &mut outlet;
                deliver(&self.shared, &request, &mut client, outlet, response, &mut ctx, patience)
                    .await
            }
            None => {
                client.abort();
                Ok(())
            }
        };
        finish::run(&self.shared, &request, &client, &mut ctx, delivered).await;
    }

    fn refuse(&self, info: &Info, refused: &Refused<'_>) -> Reply {
        let status = refused.refusal.status();
        let mut reply = pages::refusal(status);
        let server = self.shared.refusing(info, refused.host());
        if let Some(style) = server.and_then(|server| server.own.answers.pages) {
            nginx_pages::refusal(style, status, &mut reply);
        }
        finish::refused(&self.shared, info, refused, &reply);
        reply
    }

    fn has_page_for(&self, info: &Info, refused: &Refused<'_>) -> bool {
        let server = self.shared.refusing(info, refused.host());
        let page =
            |server: &ServerFacts| server.own.error_pages.find(refused.refusal.status()).is_some();
        matches!(refused.refusal, Refusal::Flaw(_)) && server.is_some_and(page)
    }

    fn head_limits(&self, info: &Info, host: Option<&[u8]>) -> HeadLimits {
        let first =
            self.shared.servers.first().map_or_else(HeadLimits::default, |it| it.head_limits);
        if !first.varies {
            return first;
        }
        self.shared.refusing(info, host).map_or(first, |server| server.head_limits)
    }

    fn takes_over(&self, connection: &Info) -> bool {
        self.shared.takes_over(connection)
    }
}

/// Drops the fields whose names the server does not believe. Up to the host's own, that is the
/// listener's server, as in nginx.
fn believed_fields(shared: &Shared, request: &mut Request, info: &Info) {
    let before = shared.refusing(info, None).map(|server| server.field_names).unwrap_or_default();
    if !shared.field_names_vary {
        if before != FieldNames::Tokens {
            request.keep_fields(|field| before.takes(field.name));
        }
        return;
    }
    let named = shared.refusing(info, request.authority());
    let behind = named.map_or(before, |server| server.field_names);
    let mut names = before;
    request.keep_fields(|field| {
        if field.known == Name::Host {
            names = behind;
        }
        names.takes(field.name)
    });
}

impl Proxy {
    /// How long whom is waited for, and what is held meanwhile.
    pub fn patience(&self, ctx: &Context) -> Patience<'_> {
        let route = ctx.target.as_ref().map(|target| &target.route);
        let delivery = route.and_then(|route| route.delivery.as_deref());
        Patience {
            worker: endpoint::timeouts(&self.shared, ctx),
            send: delivery.and_then(|delivery| delivery.send_timeout).unwrap_or(self.send_timeout),
            body: self.body_timeout,
            buffers: &self.shared.buffers,
        }
    }

    /// As whom answers are given.
    fn page_style(&self, ctx: &Context) -> Option<PageStyle> {
        match &ctx.target {
            Some(target) => target.route.answers.pages,
            None => {
                let named = ctx.server.and_then(|server| self.shared.servers.get(server));
                let default = || self.shared.default_server(self.shared.listener(&ctx.connection));
                named.or_else(default)?.own.answers.pages
            }
        }
    }

    /// What is answered in a worker's place; nothing where nobody is there to read it.
    fn instead(
        &self,
        instead: Instead,
        client: &mut Client<'_>,
        ctx: &mut Context,
    ) -> Option<Response> {
        endpoint::finished(ctx);
        if let Instead::Error(error) = instead {
            ctx.error = Some(error);
        }
        let reply = instead.reply().unwrap_or_else(|_| pages::error(RequestError::Internal))?;
        if ends_connection(reply.status) {
            client.keep_no_longer();
        }
        Some(reply.into())
    }
}

/// After which errors no connection is kept: what follows on it may not be what it seems.
fn ends_connection(status: StatusCode) -> bool {
    matches!(status.as_u16(), 400 | 408 | 413 | 414 | 431 | 494 | 500 | 501 | 502 | 504)
}
