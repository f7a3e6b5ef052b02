//! Answers of the proxy's own: small pages without a product name, and redirects.

use bytes::Bytes;
use http::header::{
    CACHE_CONTROL, CONTENT_LENGTH, CONTENT_TYPE, LOCATION, RETRY_AFTER, WWW_AUTHENTICATE,
};
use http::{Method, StatusCode};
use pingora_core::Result;
use pingora_http::ResponseHeader;
use pingora_proxy::Session;

use crate::proxy::error::RequestError;

/// Answers with the page of an error; nothing where the client has left.
///
/// # Errors
/// The client can't be written to.
pub async fn error(session: &mut Session, error: RequestError) -> Result<()> {
    let Some(status) = error.status() else { return Ok(()) };
    let mut header = ResponseHeader::build(status, Some(5))?;
    if let Some(seconds) = error.retry_after_secs() {
        header.insert_header(RETRY_AFTER, seconds.to_string())?;
    }
    if status == StatusCode::UNAUTHORIZED {
        // RFC 9110, 15.5.2 wants a challenge. `Cookie` is not registered, and no browser asks.
        header.insert_header(WWW_AUTHENTICATE, "Cookie")?;
    }
    header.insert_header(CACHE_CONTROL, "private, no-store")?;
    send(session, header, page(status, error.hint())).await
}

/// Answers with a redirect.
///
/// # Errors
/// The client can't be written to, or `location` is no header value.
pub async fn redirect(session: &mut Session, status: StatusCode, location: &str) -> Result<()> {
    let mut header = ResponseHeader::build(status, Some(4))?;
    header.insert_header(LOCATION, location)?;
    header.insert_header(CACHE_CONTROL, "private, no-store")?;
    send(session, header, page(status, None)).await
}

fn page(status: StatusCode, hint: Option<&str>) -> String {
    let reason = status.canonical_reason().unwrap_or("Error");
    let code = status.as_u16();
    let hint = hint.map(|hint| format!("<p>{hint}</p>\n")).unwrap_or_default();
    format!(
        "<!doctype html>\n<html lang=\"en\">\n<head><title>{code} {reason}</title></head>\n\
         <body>\n<h1>{code} {reason}</h1>\n{hint}</body>\n</html>\n"
    )
}

async fn send(session: &mut Session, mut header: ResponseHeader, page: String) -> Result<()> {
    header.insert_header(CONTENT_TYPE, "text/html; charset=utf-8")?;
    header.insert_header(CONTENT_LENGTH, page.len())?;
    // An unread body would be taken for the next request.
    if !session.is_body_done() {
        session.set_keepalive(None);
    }
    let is_head = session.req_header().method == Method::HEAD;
    session.write_response_header(Box::new(header), is_head).await?;
    if !is_head {
        session.write_response_body(Some(Bytes::from(page)), true).await?;
    }
    Ok(())
}
