//! Challenges of authorities (RFC 8555 section 8.3): answered on every listener, whatever host is asked for,
//! before a redirect to https and before any route. Other paths and tokens go on to the routes.

use bytes::Bytes;
use http::{Method, StatusCode};

use crate::acme::Challenges;
use crate::downstream::{Reply, Request};
use crate::proxy::response::Response;
use crate::proxy::shared::Shared;
use crate::wire::fields::Fields;

const PATH: &[u8] = b"/.well-known/acme-challenge/";

/// What is asked for, where it can be a challenge.
pub fn token<'a>(shared: &'a Shared, request: &'a Request) -> Option<(&'a Challenges, &'a str)> {
    let token = request.target().strip_prefix(PATH)?;
    let challenges = shared.desk.challenges()?;
    let is_question = matches!(request.method, Method::GET | Method::HEAD);
    let token = str::from_utf8(token).ok()?;
    (is_question && request.refused.is_none()).then_some((challenges, token))
}

/// The answer, where it is one of ours.
pub async fn answer(challenges: &Challenges, token: &str) -> Option<Response> {
    let text = challenges.key_authorization(token).await?;
    let mut fields = Fields::new();
    fields.push(b"Content-Type", b"application/octet-stream").ok()?;
    fields.push(b"Cache-Control", b"no-store").ok()?;
    let reply = Reply { status: StatusCode::OK, fields, body: Bytes::from(text), is_page: false };
    Some(reply.into())
}
