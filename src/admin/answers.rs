//! What answers to operators have in common: JSON, errors with a word and a remedy, bodies of limited length.

use std::time::Duration;

use http::header::{CACHE_CONTROL, CONTENT_TYPE, HeaderName, WWW_AUTHENTICATE};
use http::{HeaderValue, Request, Response, StatusCode};
use http_body_util::{BodyExt, LengthLimitError, Limited};
use hyper::body::{Body, Bytes};
use serde::Serialize;
use serde_json::json;

use crate::admin::browsers::Suspicion;

/// A name of 256 bytes, escaped in whatever way, fits.
const BODY_BYTES_MAX: usize = 4 * 1024;
/// For the body, once the head is there.
const BODY_TIMEOUT: Duration = Duration::from_secs(10);

/// An answer of JSON.
pub(super) fn json(status: StatusCode, value: &impl Serialize) -> Response<String> {
    let mut text = serde_json::to_string(value).expect("maps have keys of text");
    text.push('\n');
    let mut response = Response::new(text);
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    for (name, value) in
        [("x-content-type-options", "nosniff"), ("cross-origin-resource-policy", "same-origin")]
    {
        headers.insert(HeaderName::from_static(name), HeaderValue::from_static(value));
    }
    response
}

/// An error: a word for programs, and for people what it means and what to do.
pub(super) fn error(status: StatusCode, error: &str, message: &str) -> Response<String> {
    json(status, &json!({ "error": error, "message": message }))
}

impl Suspicion {
    pub(super) fn response(self) -> Response<String> {
        match self {
            Self::Browser => error(
                StatusCode::FORBIDDEN,
                "browser",
                "this request comes from a browser, and not from this listener's own page; use `cloakroom`, or curl",
            ),
            Self::Form => error(
                StatusCode::UNSUPPORTED_MEDIA_TYPE,
                "content_type",
                "send JSON, and say so: `Content-Type: application/json`",
            ),
            Self::Token => {
                let mut response = error(
                    StatusCode::UNAUTHORIZED,
                    "token",
                    "show the token of `admin.token_file`: `Authorization: Bearer TOKEN`",
                );
                let challenge = HeaderValue::from_static("Bearer realm=\"cloakroom\"");
                response.headers_mut().insert(WWW_AUTHENTICATE, challenge);
                response
            }
            Self::NoToken => error(
                StatusCode::FORBIDDEN,
                "no_token",
                "over TCP this needs a token: give `admin.token_file`, or listen on a unix socket",
            ),
        }
    }
}

/// Why a body is not there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum NoBody {
    TooLarge,
    TooSlow,
    Broken,
}

impl NoBody {
    pub(super) fn response(self) -> Response<String> {
        let (status, word, message) = match self {
            Self::TooLarge => (StatusCode::PAYLOAD_TOO_LARGE, "too_large", "at most 4 KiB"),
            Self::TooSlow => {
                (StatusCode::REQUEST_TIMEOUT, "too_slow", "the body did not come within 10 seconds")
            }
            Self::Broken => (StatusCode::BAD_REQUEST, "broken", "the body broke off"),
        };
        error(status, word, message)
    }
}

/// The body of a request.
///
/// # Errors
/// It is too large, too slow, or breaks off.
pub(super) async fn body<B>(request: Request<B>) -> Result<Bytes, NoBody>
where
    B: Body,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    let body = Limited::new(request.into_body(), BODY_BYTES_MAX).collect();
    match tokio::time::timeout(BODY_TIMEOUT, body).await {
        Err(_) => Err(NoBody::TooSlow),
        Ok(Err(error)) if error.is::<LengthLimitError>() => Err(NoBody::TooLarge),
        Ok(Err(_)) => Err(NoBody::Broken),
        Ok(Ok(body)) => Ok(body.to_bytes()),
    }
}
