//! Answers of the proxy's own: small pages without a product name, redirects, JSON.

use bytes::Bytes;
use http::StatusCode;

use crate::downstream::Reply;
use crate::downstream::refused::outside;
use crate::proxy::error::RequestError;
use crate::proxy::inside::Inside;
use crate::proxy::own_sessions::OwnAnswer;
use crate::proxy::returned::Returned;
use crate::wire::fields::{Fields, Unwritable};

/// What the proxy answers in a worker's place.
pub enum Instead {
    Error(RequestError),
    /// A head that makes no request.
    Refused(u16),
    Redirect(StatusCode, Vec<u8>),
    /// To a user who asks for her own sessions.
    Json(OwnAnswer),
    /// Another route answers.
    Inside(Box<Inside>),
    /// What the route says itself.
    Returned(Box<Returned>),
    /// Nothing at all: the connection ends.
    Closed,
    /// To an OPTIONS that goes no further (RFC 9110 section 7.6.2).
    Options,
}

impl From<RequestError> for Instead {
    fn from(error: RequestError) -> Self {
        Self::Error(error)
    }
}

impl Instead {
    /// The status of an error that a page may stand for.
    pub fn status(&self) -> Option<StatusCode> {
        match self {
            Self::Error(error) => error.code(),
            Self::Returned(returned) => returned.error(),
            Self::Refused(status) => StatusCode::from_u16(*status).ok(),
            Self::Redirect(..) | Self::Json(_) | Self::Inside(_) | Self::Closed | Self::Options => {
                None
            }
        }
    }

    /// The answer; `None` where nobody is there to read it.
    ///
    /// # Errors
    /// A field has no such value.
    pub fn reply(self) -> Result<Option<Reply>, Unwritable> {
        match self {
            Self::Error(error) => Ok(self::error(error)),
            Self::Refused(status) => Ok(Some(refusal(status))),
            Self::Redirect(status, location) => redirect(status, &location).map(Some),
            Self::Json(answer) => own_sessions(answer).map(Some),
            Self::Options => Ok(Some(options())),
            Self::Returned(returned) => returned.reply().map(Some),
            Self::Closed => Ok(None),
            // Turns follow it.
            Self::Inside(_) => Ok(self::error(RequestError::Internal)),
        }
    }
}

pub const HTML: &[u8] = b"text/html; charset=utf-8";

/// The page of an error; `None` where nobody is there to read it.
pub fn error(error: RequestError) -> Option<Reply> {
    let status = error.status()?;
    let mut fields = Fields::new();
    if let Some(seconds) = error.retry_after_secs() {
        set(&mut fields, b"Retry-After", seconds.to_string().as_bytes());
    }
    if status == StatusCode::UNAUTHORIZED {
        // RFC 9110, 15.5.2 wants a challenge. `Cookie` is not registered, and no browser asks.
        set(&mut fields, b"WWW-Authenticate", b"Cookie");
    }
    set(&mut fields, b"Cache-Control", b"private, no-store");
    Some(reply(status, fields, HTML, page(status, error.hint())))
}

/// A redirect.
///
/// # Errors
/// `location` is no field value.
pub fn redirect(status: StatusCode, location: &[u8]) -> Result<Reply, Unwritable> {
    let mut fields = Fields::new();
    fields.push(b"Location", location)?;
    set(&mut fields, b"Cache-Control", b"private, no-store");
    Ok(reply(status, fields, HTML, page(status, None)))
}

/// What a user is told of her own sessions.
///
/// # Errors
/// A field has no such value.
fn own_sessions(answer: OwnAnswer) -> Result<Reply, Unwritable> {
    let mut fields = Fields::new();
    for (name, value) in &answer.fields {
        fields.push(name.as_str().as_bytes(), value.as_bytes())?;
    }
    set(&mut fields, b"Cache-Control", b"no-store");
    let reply = reply(answer.status, fields, answer.content_type, answer.body);
    // It is no page of an error, which another one may stand for.
    Ok(Reply { is_page: false, ..reply })
}

/// What passes here, as far as we know: the worker was not asked.
fn options() -> Reply {
    let mut fields = Fields::new();
    set(&mut fields, b"Allow", b"GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS");
    Reply { status: StatusCode::OK, fields, body: Bytes::new(), is_page: false }
}

/// What is answered to a head that makes no request: the connection ends with it.
pub fn refusal(status: u16) -> Reply {
    let status = StatusCode::from_u16(outside(status)).unwrap_or(StatusCode::BAD_REQUEST);
    let mut fields = Fields::new();
    set(&mut fields, b"Cache-Control", b"private, no-store");
    reply(status, fields, HTML, page(status, None))
}

fn reply(status: StatusCode, mut fields: Fields, content_type: &[u8], body: String) -> Reply {
    set(&mut fields, b"Content-Type", content_type);
    Reply { status, fields, body: Bytes::from(body), is_page: content_type == HTML }
}

/// Our own fields; their text is good.
fn set(fields: &mut Fields, name: &[u8], value: &[u8]) {
    let _ = fields.set(name, value);
}

/// The page of a status.
pub fn page(status: StatusCode, hint: Option<&str>) -> String {
    let reason = status.canonical_reason().unwrap_or("Error");
    let code = status.as_u16();
    let hint = hint.map(|hint| format!("<p>{hint}</p>\n")).unwrap_or_default();
    format!(
        "<!doctype html>\n<html lang=\"en\">\n<head><title>{code} {reason}</title></head>\n\
         <body>\n<h1>{code} {reason}</h1>\n{hint}</body>\n</html>\n"
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::name::Name;

    #[test]
    fn pages_name_their_status_and_nobody() {
        let Reply { status, fields, body, .. } = refusal(400);
        assert_eq!(status, StatusCode::BAD_REQUEST);
        assert_eq!(fields.get(Name::ContentType), Some(HTML));
        assert_eq!(fields.get(Name::CacheControl), Some(&b"private, no-store"[..]));
        let body = String::from_utf8(body.to_vec()).expect("text");
        assert!(body.contains("<h1>400 Bad Request</h1>"), "{body}");
    }
}
