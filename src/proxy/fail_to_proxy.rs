//! Hook `fail_to_proxy`: every error page, and what Pingora's errors mean in nginx's words.

use http::StatusCode;
use pingora_core::{Error, ErrorSource, ErrorType, Result};
use pingora_proxy::{FailToProxy, Session};

use crate::proxy::context::Context;
use crate::proxy::error::RequestError;
use crate::proxy::reply;

/// Ends a request with an error of ours, from within a hook.
pub fn raise<T>(ctx: &mut Context, error: RequestError) -> Result<T> {
    ctx.error = Some(error);
    let status = error.status().map_or(0, |status| status.as_u16());
    Error::e_explain(ErrorType::HTTPStatus(status), error.name())
}

/// Answers for a request that failed.
pub async fn run(session: &mut Session, error: &Error, ctx: &mut Context) -> FailToProxy {
    let problem = *ctx.error.get_or_insert_with(|| of(error));
    let error_code = problem.status().map_or(0, |status| status.as_u16());
    if session.response_written().is_none_or(|written| is_interim(written.status)) {
        session.set_keepalive(None);
        if let Err(error) = reply::error(session, problem).await {
            tracing::debug!(%error, "the client left before its error page");
        }
    }
    FailToProxy { error_code, can_reuse_downstream: false }
}

/// Whether a response is still to come. 101 is final: what follows is another protocol's, into
/// which no page of ours may be written.
fn is_interim(status: StatusCode) -> bool {
    status.is_informational() && status != StatusCode::SWITCHING_PROTOCOLS
}

/// What an error of Pingora's means.
fn of(error: &Error) -> RequestError {
    use ErrorType::{
        ConnectTimedout, ConnectionClosed, H2Error, HTTPStatus, InvalidHTTPHeader, ReadError,
        ReadTimedout, TLSHandshakeTimedout, WriteError, WriteTimedout,
    };
    match (error.esource(), error.etype()) {
        (_, HTTPStatus(400)) => RequestError::BadRequest,
        (_, HTTPStatus(413)) => RequestError::BodyTooLarge,
        (_, HTTPStatus(431)) => RequestError::HeadTooLarge,
        (
            ErrorSource::Upstream,
            ConnectTimedout | ReadTimedout | WriteTimedout | TLSHandshakeTimedout,
        ) => RequestError::UpstreamTimeout,
        (ErrorSource::Upstream, _) => RequestError::BadGateway,
        (ErrorSource::Downstream, ReadTimedout | WriteTimedout) => RequestError::RequestTimeout,
        // Over HTTP/2 a stream that was reset.
        (ErrorSource::Downstream, ReadError | WriteError | ConnectionClosed | H2Error) => {
            RequestError::ClientGone
        }
        (ErrorSource::Downstream, InvalidHTTPHeader) => RequestError::BadRequest,
        (ErrorSource::Downstream, _) => RequestError::BadRequest,
        (ErrorSource::Internal | ErrorSource::Unset, _) => RequestError::Internal,
    }
}
