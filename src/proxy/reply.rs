//! Answers of the proxy's own: small pages without a product name, and redirects.

use std::time::SystemTime;

use bytes::Bytes;
use http::header::{
    CACHE_CONTROL, CONTENT_LENGTH, CONTENT_TYPE, LOCATION, RETRY_AFTER, WWW_AUTHENTICATE,
};
use http::{Method, StatusCode};
use pingora_core::Result;
use pingora_http::ResponseHeader;
use pingora_proxy::Session;

use crate::proxy::error::RequestError;
use crate::proxy::own_sessions::Json;

const HTML: &str = "text/html; charset=utf-8";

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
    send(session, header, HTML, page(status, error.hint())).await
}

/// Answers with a redirect.
///
/// # Errors
/// The client can't be written to, or `location` is no header value.
pub async fn redirect(session: &mut Session, status: StatusCode, location: &str) -> Result<()> {
    let mut header = ResponseHeader::build(status, Some(4))?;
    header.insert_header(LOCATION, location)?;
    header.insert_header(CACHE_CONTROL, "private, no-store")?;
    send(session, header, HTML, page(status, None)).await
}

/// Answers with JSON.
///
/// # Errors
/// The client can't be written to, or a field has no such value.
pub async fn json(session: &mut Session, json: &Json) -> Result<()> {
    let mut header = ResponseHeader::build(json.status, Some(6))?;
    for (name, value) in &json.fields {
        header.append_header(name.clone(), value.as_str())?;
    }
    header.insert_header(CACHE_CONTROL, "no-store")?;
    send(session, header, "application/json", format!("{}\n", json.body)).await
}

/// The whole answer to a request that the engine refuses by itself, as bytes of HTTP/1.1: the engine's
/// own would name the engine. The connection ends with it.
pub fn refusal(status: StatusCode, now: SystemTime) -> Vec<u8> {
    let page = page(status, None);
    let reason = status.canonical_reason().unwrap_or("Error");
    format!(
        "HTTP/1.1 {code} {reason}\r\nDate: {date}\r\nContent-Type: text/html; charset=utf-8\r\n\
         Content-Length: {length}\r\nCache-Control: private, no-store\r\nConnection: close\r\n\r\n{page}",
        code = status.as_u16(),
        date = httpdate::fmt_http_date(now),
        length = page.len(),
    )
    .into_bytes()
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

async fn send(
    session: &mut Session,
    mut header: ResponseHeader,
    content_type: &str,
    page: String,
) -> Result<()> {
    header.insert_header(CONTENT_TYPE, content_type)?;
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refusals_are_whole_answers_that_close_and_name_nobody() {
        let text = refusal(StatusCode::BAD_REQUEST, SystemTime::UNIX_EPOCH);
        let text = String::from_utf8(text).expect("text");
        let (head, body) = text.split_once("\r\n\r\n").expect("a head and a body");
        assert_eq!(
            head,
            format!(
                "HTTP/1.1 400 Bad Request\r\nDate: Thu, 01 Jan 1970 00:00:00 GMT\r\n\
                 Content-Type: text/html; charset=utf-8\r\nContent-Length: {}\r\n\
                 Cache-Control: private, no-store\r\nConnection: close",
                body.len()
            )
        );
        assert!(body.contains("<h1>400 Bad Request</h1>"), "{body}");
    }
}
