//! Hooks `upstream_peer`, `fail_to_connect`, `error_while_proxy`: which endpoint, and what next.
//!
//! Another endpoint is tried where no connection came about (nothing was sent), or where a kept
//! connection broke under an idempotent request (RFC 9110, section 9.2.2); otherwise the request
//! may have been carried out.

use std::hash::{BuildHasher, RandomState};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use pingora_core::protocols::TcpKeepalive;
use pingora_core::upstreams::peer::{HttpPeer, Peer};
use pingora_core::utils::tls::{WrappedX509, parse_x509};
use pingora_core::{Error, ErrorSource, ErrorType, OrErr, Result};
use pingora_proxy::Session;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;

use crate::proxy::context::{Context, Target};
use crate::proxy::error::RequestError;
use crate::proxy::fail_to_proxy::raise;
use crate::proxy::settings;
use crate::proxy::shared::{Shared, Upstream};
use crate::proxy::streams;
use crate::session::exchange::Bond;
use crate::session::matching::Attempt;
use crate::telemetry::labels::UpstreamFailure;
use crate::upstream::group::Hint;
use crate::upstream::{Address, UpstreamSettings};

/// Streams have connections of their own, apart from the pool.
const STREAMS: u64 = 1 << 63;

/// Makes the peers of an upstream, one for each endpoint.
///
/// # Errors
/// A unix socket's path that no socket can have, or a bundle of authorities that can't be read.
pub fn peers(settings: &UpstreamSettings) -> Result<Vec<HttpPeer>> {
    // An empty name would turn verification off; `config` demands one.
    let name = settings.tls.as_ref().map(|tls| tls.server_name.clone());
    let is_tls = name.is_some();
    let name = name.unwrap_or_default();
    let bundle = settings.tls.as_ref().and_then(|tls| tls.ca.as_deref());
    let authorities = bundle.map(authorities).transpose()?;
    settings
        .endpoints
        .iter()
        .map(|endpoint| {
            let mut peer = match &endpoint.address {
                Address::Inet(address) => HttpPeer::new(*address, is_tls, name.clone()),
                Address::Unix(path) => {
                    HttpPeer::new_uds(&path.to_string_lossy(), is_tls, name.clone())?
                }
            };
            let timeouts = &settings.timeouts;
            // Connections that were verified by different authorities are not shared; the pool's
            // own key leaves these out.
            peer.group_key = bundle.map_or(0, |path| RandomState::new().hash_one(path) & !STREAMS);
            let options = &mut peer.options;
            options.ca.clone_from(&authorities);
            options.connection_timeout = Some(timeouts.connect);
            options.total_connection_timeout = Some(timeouts.connect * 2);
            options.read_timeout = Some(timeouts.read);
            options.write_timeout = Some(timeouts.write);
            options.idle_timeout = Some(timeouts.keepalive);
            options.tcp_keepalive = Some(TcpKeepalive {
                idle: Duration::from_secs(60),
                interval: Duration::from_secs(5),
                count: 5,
                #[cfg(target_os = "linux")]
                user_timeout: Duration::ZERO,
            });
            Ok(peer)
        })
        .collect()
}

fn authorities(bundle: &Path) -> Result<Arc<[WrappedX509]>> {
    let explain = || format!("tls.ca: {}", bundle.display());
    CertificateDer::pem_file_iter(bundle)
        .or_err_with(ErrorType::FileReadError, explain)?
        .map(|certificate| {
            let der = certificate.or_err_with(ErrorType::InvalidCert, explain)?.to_vec();
            // `parse_x509` panics where this fails.
            x509_parser::parse_x509_certificate(&der)
                .or_err_with(ErrorType::InvalidCert, explain)?;
            Ok(WrappedX509::new(der, parse_x509))
        })
        .collect()
}

/// Chooses an endpoint.
pub fn select(shared: &Shared, session: &Session, ctx: &mut Context) -> Result<Box<HttpPeer>> {
    let Some((target, upstream)) = upstream(shared, ctx) else {
        return raise(ctx, RequestError::Internal);
    };
    let record = ctx.exchange.as_ref().and_then(|exchange| exchange.bond.record());
    let hint = Hint {
        client: target.client.ip,
        sticky: record.and_then(|record| record.endpoint.as_deref()),
    };
    let Some(pick) = upstream.group.select(hint, &ctx.attempts.tried, shared.clock.now()) else {
        return raise(ctx, RequestError::BadGateway);
    };
    upstream.metrics.attempted();
    let mut peer = upstream.peers[pick.index].clone();
    let active = upstream.group.started(pick.index);
    if let Some(pass) = ctx.exchange.as_ref().and_then(|exchange| exchange.pass.as_ref())
        && (streams::is_wanted(&session.req_header().headers) || is_declared_stream(ctx))
    {
        pass.mark_stream();
        let cut = pass.cut().clone();
        peer.group_key |= STREAMS;
        peer.options.custom_l4 = Some(streams::Connector::new(cut.clone()));
        peer.options.idle_timeout = Some(Duration::from_millis(1));
        if let Some(exchange) = &mut ctx.exchange
            && let Bond::Live(held, _) | Bond::Stale(held) = &exchange.bond
        {
            let idle = exchange.policy.stream_idle();
            exchange.watched = Some(shared.streams.watch(held.key, &cut, idle));
        }
    }
    ctx.attempts.active = Some(active);
    ctx.attempts.tried.push(pick.index);
    ctx.attempts.begun = Some(std::time::Instant::now());
    Ok(Box::new(peer))
}

/// Whether the route says that it is a stream. Logins and logouts are none, wherever they are.
fn is_declared_stream(ctx: &Context) -> bool {
    ctx.target.as_ref().is_some_and(|target| target.route.stream)
        && ctx
            .exchange
            .as_ref()
            .is_some_and(|exchange| exchange.attempt == Attempt::None && !exchange.is_logout)
}

/// The upstream of a request.
pub fn upstream<'a>(shared: &'a Shared, ctx: &'a Context) -> Option<(&'a Target, &'a Upstream)> {
    let target = ctx.target.as_ref()?;
    match target.route.target {
        settings::Target::Upstream(index) => Some((target, shared.upstreams.get(index)?)),
        settings::Target::Files(_) | settings::Target::OwnSessions => None,
    }
}

/// An exchange that was ended from outside: its endpoint is not to blame, and nobody else is asked.
fn was_cut(ctx: &mut Context) -> bool {
    let is_cut = ctx.cut().is_some_and(|cut| cut.is_cut());
    if is_cut {
        ctx.error = Some(RequestError::Cut);
        finished(ctx);
    }
    is_cut
}

/// No connection came about: nothing was sent, so another endpoint may have any request.
pub fn not_connected(shared: &Shared, ctx: &mut Context, mut error: Box<Error>) -> Box<Error> {
    if was_cut(ctx) {
        error.set_retry(false);
        return error;
    }
    failed(shared, ctx, &error);
    let others = upstream(shared, ctx)
        .is_some_and(|(_, upstream)| ctx.attempts.tried.len() < upstream.peers.len());
    error.set_retry(others);
    error
}

/// A connection broke, or an answer was none.
pub fn broken_off(
    shared: &Shared,
    session: &Session,
    ctx: &mut Context,
    mut error: Box<Error>,
    is_reused: bool,
) -> Box<Error> {
    if was_cut(ctx) {
        error.set_retry(false);
        return error;
    }
    let is_ours = matches!(error.etype(), ErrorType::HTTPStatus(_));
    let may_repeat = session.req_header().method.is_idempotent()
        && !session.as_downstream().retry_buffer_truncated()
        && !is_ours;
    if *error.esource() == ErrorSource::Upstream && !is_ours && !is_reused {
        failed(shared, ctx, &error);
    } else {
        finished(ctx);
    }
    if may_repeat {
        error.retry.decide_reuse(is_reused);
        if error.retry() {
            // The endpoint is not to blame for a connection that it had given up.
            ctx.attempts.tried.pop();
        }
    } else {
        error.set_retry(false);
    }
    error
}

/// The endpoint in use has done its part.
pub fn finished(ctx: &mut Context) {
    ctx.attempts.active = None;
    if let Some(begun) = ctx.attempts.begun.take() {
        ctx.attempts.duration = Some(begun.elapsed());
    }
}

fn failed(shared: &Shared, ctx: &mut Context, error: &Error) {
    if let (Some((_, upstream)), Some(&index)) = (upstream(shared, ctx), ctx.attempts.tried.last())
    {
        upstream.group.failed(index, shared.clock.now());
        upstream.metrics.failed(reason(error));
        let endpoint = upstream.peers[index].address().to_string();
        tracing::warn!(endpoint, error = %error.etype().as_str(), "an endpoint failed");
    }
    finished(ctx);
}

fn reason(error: &Error) -> UpstreamFailure {
    use ErrorType::{ConnectTimedout, ReadTimedout, TLSHandshakeTimedout, WriteTimedout};
    match error.etype() {
        ConnectTimedout | ReadTimedout | WriteTimedout | TLSHandshakeTimedout => {
            UpstreamFailure::Timeout
        }
        ErrorType::ConnectError | ErrorType::ConnectRefused | ErrorType::TLSHandshakeFailure => {
            UpstreamFailure::Connect
        }
        _ => UpstreamFailure::Broken,
    }
}
