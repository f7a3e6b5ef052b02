//! Pingora's hooks; each has a file of its own, this one only delegates.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use pingora_core::modules::http::HttpModules;
use pingora_core::upstreams::peer::HttpPeer;
use pingora_core::{Error, Result};
use pingora_http::{RequestHeader, ResponseHeader};
use pingora_proxy::{FailToProxy, ProxyHttp, Session};
use tokio::sync::watch;

use crate::listen::Limits;
use crate::proxy::context::Context;
use crate::proxy::shared::Shared;
use crate::proxy::stream::conn_info;
use crate::proxy::{
    body_filters, fail_to_proxy, logging, request_filter, response_filter, serve, upstream_peer,
    upstream_request_filter,
};

/// The application that Pingora runs.
#[derive(Clone)]
pub struct Proxy {
    pub shared: Arc<Shared>,
    pub limits: Limits,
    /// Whether the worker drains: connections then end with the answer that is on its way.
    pub draining: watch::Receiver<bool>,
}

impl Proxy {
    /// Has an answer say that it is the last one, so that no client sends a request into a
    /// connection that is about to close. Over HTTP/2 the GOAWAY says so.
    fn announce_end(&self, session: &mut Session) {
        if *self.draining.borrow() {
            session.set_keepalive(None);
        }
    }
}

#[async_trait]
impl ProxyHttp for Proxy {
    type CTX = Context;

    fn new_ctx(&self) -> Context {
        Context::new(&self.shared)
    }

    /// No compression module.
    fn init_downstream_modules(&self, _modules: &mut HttpModules) {}

    async fn early_request_filter(&self, session: &mut Session, ctx: &mut Context) -> Result<()> {
        ctx.connection = conn_info(session).cloned();
        serve::request_head_complete(session, &self.limits)
    }

    async fn request_filter(&self, session: &mut Session, ctx: &mut Context) -> Result<bool> {
        self.announce_end(session);
        request_filter::run(&self.shared, session, ctx).await
    }

    async fn request_body_filter(
        &self,
        session: &mut Session,
        body: &mut Option<Bytes>,
        end_of_stream: bool,
        ctx: &mut Context,
    ) -> Result<()> {
        body_filters::request(session, body.as_ref(), end_of_stream, ctx)
    }

    async fn upstream_peer(
        &self,
        session: &mut Session,
        ctx: &mut Context,
    ) -> Result<Box<HttpPeer>> {
        ctx.lent.end(session);
        upstream_peer::select(&self.shared, session, ctx)
    }

    fn fail_to_connect(
        &self,
        _session: &mut Session,
        _peer: &HttpPeer,
        ctx: &mut Context,
        error: Box<Error>,
    ) -> Box<Error> {
        upstream_peer::not_connected(&self.shared, ctx, error)
    }

    fn error_while_proxy(
        &self,
        _peer: &HttpPeer,
        session: &mut Session,
        error: Box<Error>,
        ctx: &mut Context,
        client_reused: bool,
    ) -> Box<Error> {
        upstream_peer::broken_off(&self.shared, session, ctx, error, client_reused)
    }

    async fn upstream_request_filter(
        &self,
        session: &mut Session,
        request: &mut RequestHeader,
        ctx: &mut Context,
    ) -> Result<()> {
        upstream_request_filter::run(&self.shared, request, ctx)?;
        if ctx.is_login() {
            ctx.lent.wait(session);
        }
        Ok(())
    }

    async fn response_filter(
        &self,
        session: &mut Session,
        response: &mut ResponseHeader,
        ctx: &mut Context,
    ) -> Result<()> {
        if !response.status.is_informational() {
            ctx.lent.end(session);
        }
        self.announce_end(session);
        response_filter::run(&self.shared, session, response, ctx).await
    }

    fn response_body_filter(
        &self,
        _session: &mut Session,
        _body: &mut Option<Bytes>,
        end_of_stream: bool,
        ctx: &mut Context,
    ) -> Result<Option<Duration>> {
        body_filters::response(ctx, end_of_stream).map(|()| None)
    }

    async fn fail_to_proxy(
        &self,
        session: &mut Session,
        error: &Error,
        ctx: &mut Context,
    ) -> FailToProxy {
        ctx.lent.end(session);
        fail_to_proxy::run(session, error, ctx).await
    }

    async fn logging(&self, session: &mut Session, error: Option<&Error>, ctx: &mut Context) {
        ctx.lent.end(session);
        logging::run(&self.shared, session, error, ctx).await;
    }

    /// Pingora's own line names method, whole target and host; the access line says it better.
    fn suppress_error_log(&self, _session: &Session, _ctx: &Context, _error: &Error) -> bool {
        true
    }
}
