//! Answers of our own as nginx gives them, where a route says `server_tokens`: its pages, and `Server`.

use bytes::Bytes;

use crate::downstream::{Reply, Request};
use crate::proxy::context::Context;
use crate::proxy::error::{BAD_CERTIFICATE, NO_CERTIFICATE, PLAIN_ON_TLS, RequestError};
use crate::proxy::respond::NOT_KEPT;
use crate::proxy::response::{Body, Response};
use crate::wire::fields::Fields;
use crate::wire::flaw::HEAD_TOO_LARGE;
use crate::wire::name::Name;

/// The nginx whose behaviour is followed where versions differ.
pub const VERSION: &str = "1.29.4";

/// What is told of the program (nginx `server_tokens`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ServerTokens {
    /// The version that is followed.
    On,
    /// The name alone.
    Off,
    /// Who follows it, too.
    Build,
}

impl ServerTokens {
    /// The value of `Server`.
    pub fn text(self) -> &'static str {
        match self {
            Self::On => "nginx/1.29.4",
            Self::Off => "nginx",
            Self::Build => concat!("nginx/1.29.4 (cloakroom/", env!("CARGO_PKG_VERSION"), ")"),
        }
    }
}

/// How pages look.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PageStyle {
    pub tokens: ServerTokens,
    /// Long enough for browsers that show pages of their own else (nginx `msie_padding`).
    pub padded: bool,
}

/// Makes an answer nginx's. Of a worker's answer that is its `Server`.
pub fn dress(style: PageStyle, request: &Request, response: &mut Response, ctx: &Context) {
    let Response { head, body } = response;
    if let Body::Page(page) = body {
        let is_padded = style.padded && wants_padding(request);
        let told = ctx.error.filter(|error| error.status() == Some(head.status));
        let told = told.and_then(RequestError::code).unwrap_or(head.status);
        *body = Body::Whole(put(style, is_padded, told.as_u16(), &mut head.fields, page));
        let texts = ctx.target.as_ref().map(|target| &target.route.own_texts);
        if let Some(charset) = texts.and_then(|texts| texts.charset.as_ref())
            && head.status.as_u16() >= 400
            && head.fields.has(Name::ContentType)
        {
            let media_type = format!("text/html; charset={}", charset.name);
            set(&mut head.fields, b"Content-Type", media_type.as_bytes());
        }
        if ctx.exchange.is_none() && head.fields.get(Name::CacheControl) == Some(NOT_KEPT) {
            head.fields.remove(Name::CacheControl);
        }
    }
    let route = ctx.target.as_ref().map(|target| &target.route);
    let is_theirs = matches!(body, Body::Worker(_) | Body::Tunnel(_));
    if !(is_theirs && route.is_some_and(|route| route.edits.passes_server())) {
        set(&mut head.fields, b"Server", style.tokens.text().as_bytes());
    }
}

/// The same of what is answered to a head that makes no request.
pub fn refusal(style: PageStyle, status: u16, reply: &mut Reply) {
    let Reply { fields, body, .. } = reply;
    fields.remove(Name::CacheControl);
    *body = put(style, false, status, fields, body);
    set(fields, b"Server", style.tokens.text().as_bytes());
}

/// The page of a status; one that nginx does not know has none.
fn put(style: PageStyle, is_padded: bool, status: u16, fields: &mut Fields, page: &Bytes) -> Bytes {
    if page.is_empty() {
        return Bytes::new();
    }
    let Some(text) = self::page(style.tokens, is_padded, status) else {
        fields.remove(Name::ContentType);
        return Bytes::new();
    };
    set(fields, b"Content-Type", b"text/html");
    text.into()
}

fn page(tokens: ServerTokens, is_padded: bool, status: u16) -> Option<String> {
    let (title, told) = match status {
        HEAD_TOO_LARGE => ("400 Request Header Or Cookie Too Large", true),
        PLAIN_ON_TLS => ("400 The plain HTTP request was sent to HTTPS port", true),
        BAD_CERTIFICATE => ("400 The SSL certificate error", true),
        NO_CERTIFICATE => ("400 No required SSL certificate was sent", true),
        _ => ("", false),
    };
    let mut text = String::with_capacity(1024);
    if told {
        let why = &title[4..];
        text = format!(
            "<html>\r\n<head><title>{title}</title></head>\r\n<body>\r\n\
             <center><h1>400 Bad Request</h1></center>\r\n<center>{why}</center>\r\n"
        );
    } else {
        let reason = heading(status)?;
        text.push_str(&format!(
            "<html>\r\n<head><title>{status} {reason}</title></head>\r\n<body>\r\n\
             <center><h1>{status} {reason}</h1></center>\r\n"
        ));
    }
    let name = tokens.text();
    text.push_str(&format!("<hr><center>{name}</center>\r\n</body>\r\n</html>\r\n"));
    if is_padded && status >= 400 {
        let line = "<!-- a padding to disable MSIE and Chrome friendly error page -->\r\n";
        text.push_str(&line.repeat(6));
    }
    Some(text)
}

/// What nginx's page of a status says.
fn heading(status: u16) -> Option<&'static str> {
    Some(match status {
        301 => "Moved Permanently",
        302 => "Found",
        303 => "See Other",
        307 => "Temporary Redirect",
        308 => "Permanent Redirect",
        400 => "Bad Request",
        401 => "Authorization Required",
        402 => "Payment Required",
        403 => "Forbidden",
        404 => "Not Found",
        405 => "Not Allowed",
        406 => "Not Acceptable",
        408 => "Request Time-out",
        409 => "Conflict",
        410 => "Gone",
        411 => "Length Required",
        412 => "Precondition Failed",
        413 => "Request Entity Too Large",
        414 => "Request-URI Too Large",
        415 => "Unsupported Media Type",
        416 => "Requested Range Not Satisfiable",
        421 => "Misdirected Request",
        429 => "Too Many Requests",
        500 => "Internal Server Error",
        501 => "Not Implemented",
        502 => "Bad Gateway",
        503 => "Service Temporarily Unavailable",
        504 => "Gateway Time-out",
        505 => "HTTP Version Not Supported",
        507 => "Insufficient Storage",
        _ => return None,
    })
}

/// Browsers that show a page of their own in place of a short one.
fn wants_padding(request: &Request) -> bool {
    let Some(agent) = request.fields().get(Name::UserAgent) else { return false };
    let has = |part: &[u8]| memchr::memmem::find(agent, part).is_some();
    let is_old = has(b"MSIE ");
    !has(b"Opera") && (is_old || (!has(b"Gecko/") && has(b"Chrome/")))
}

/// Our own fields; their text is good.
fn set(fields: &mut Fields, name: &[u8], value: &[u8]) {
    let _ = fields.set(name, value);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pages_are_those_of_nginx() {
        let expected = "<html>\r\n<head><title>404 Not Found</title></head>\r\n<body>\r\n\
                        <center><h1>404 Not Found</h1></center>\r\n<hr><center>nginx</center>\r\n\
                        </body>\r\n</html>\r\n";
        assert_eq!(page(ServerTokens::Off, false, 404).as_deref(), Some(expected));
        let expected = "<html>\r\n<head><title>400 Request Header Or Cookie Too Large</title></head>\
                        \r\n<body>\r\n<center><h1>400 Bad Request</h1></center>\r\n\
                        <center>Request Header Or Cookie Too Large</center>\r\n\
                        <hr><center>nginx/1.29.4</center>\r\n</body>\r\n</html>\r\n";
        let padded = page(ServerTokens::On, true, 494).expect("it has one");
        assert_eq!(padded.matches("<!-- a padding to disable MSIE and Chrome").count(), 6);
        assert!(padded.starts_with(expected), "{padded}");
        assert_eq!(page(ServerTokens::On, false, 494).as_deref(), Some(expected));
        assert_eq!(page(ServerTokens::Off, false, 418), None);
    }

    #[test]
    fn the_version_is_told_in_one_way() {
        for tokens in [ServerTokens::On, ServerTokens::Build] {
            assert!(tokens.text().starts_with(&format!("nginx/{VERSION}")));
        }
    }
}
