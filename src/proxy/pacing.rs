//! `limit_rate`: lets an answer go no faster than its route, its worker or a variable says.

use std::pin::Pin;
use std::task::{Context as Task, Poll};
use std::time::Instant;

use tokio::time::Sleep;

use crate::access::pace::Pace;
use crate::downstream::{Client, Request};
use crate::proxy::context::Context;
use crate::proxy::returned::evaluated;
use crate::proxy::shared::Shared;
use crate::variables::template::Template;
use crate::wire::fields::Fields;
use crate::wire::name::Name;

/// How fast the answers of a route go.
#[derive(Clone, Debug)]
pub struct PaceSettings {
    /// Bytes in a second; 0 for any number.
    pub rate: Template,
    pub after: Template,
}

/// An answer that goes slowly.
pub struct Pacer {
    pace: Pace,
    begun: Instant,
    sleep: Option<Pin<Box<Sleep>>>,
}

/// Notes what a worker says of the rate of its answer.
pub fn note(fields: &mut Fields, ctx: &mut Context) {
    if !fields.has(Name::XAccelLimitRate) {
        return;
    }
    let edits = ctx.target.as_ref().map(|target| &target.route.edits);
    let value = edits.and_then(|edits| edits.heard(fields, Name::XAccelLimitRate));
    let value = value.unwrap_or_default();
    let digits =
        std::str::from_utf8(value).ok().filter(|text| text.bytes().all(|b| b.is_ascii_digit()));
    ctx.limit_rate = digits.and_then(|text| text.parse().ok()).or(ctx.limit_rate);
    fields.remove(Name::XAccelLimitRate);
}

/// Notes what `set $limit_rate` says.
pub fn set(ctx: &mut Context, text: &[u8]) {
    match size(text) {
        Some(rate) => ctx.limit_rate = Some(rate),
        None => tracing::error!("invalid $limit_rate \"{}\"", String::from_utf8_lossy(text)),
    }
}

/// How fast an answer goes, where that matters.
pub fn begin(shared: &Shared, request: &Request, client: &Client<'_>, ctx: &mut Context) {
    let has_pace = ctx.target.as_ref().is_some_and(|target| target.route.pace.is_some());
    if !has_pace && ctx.limit_rate.is_none() {
        return;
    }
    let settings = ctx.target.as_ref().and_then(|target| target.route.pace.clone());
    let settings = settings.as_deref();
    let value = |template: Option<&Template>, ctx: &mut Context| {
        let text = template.map(|template| evaluated(shared, request, client, ctx, template));
        text.filter(|text| !text.is_empty()).map_or(0, |text| {
            size(&text).unwrap_or_else(|| {
                tracing::error!("invalid size \"{}\"", String::from_utf8_lossy(&text));
                0
            })
        })
    };
    let rate = match ctx.limit_rate {
        Some(rate) => rate,
        None => value(settings.map(|settings| &settings.rate), ctx),
    };
    ctx.limit_rate = Some(rate);
    if rate > 0 {
        let after = value(settings.map(|settings| &settings.after), ctx);
        let pace = Pace { bytes_per_second: rate, after };
        ctx.pacer = Some(Box::new(Pacer { pace, begun: ctx.begun, sleep: None }));
    }
}

/// Waits until some bytes of the answer may go, and says how many.
pub fn poll_room(cx: &mut Task<'_>, client: &Client<'_>, ctx: &mut Context) -> Poll<usize> {
    let Some(pacer) = &mut ctx.pacer else { return Poll::Ready(usize::MAX) };
    let sent = client.head_sent() + client.sent_on_wire();
    loop {
        if let Some(sleep) = &mut pacer.sleep {
            std::task::ready!(sleep.as_mut().poll(cx));
            pacer.sleep = None;
        }
        match pacer.pace.room(pacer.begun.elapsed(), sent) {
            Ok(room) => return Poll::Ready(usize::try_from(room).unwrap_or(usize::MAX)),
            Err(wait) => pacer.sleep = Some(Box::pin(tokio::time::sleep(wait))),
        }
    }
}

/// Reads a size as nginx writes it: `10k`, `1m`.
fn size(text: &[u8]) -> Option<u64> {
    let (digits, unit) = match text.split_last()? {
        (b'k' | b'K', digits) => (digits, 1 << 10),
        (b'm' | b'M', digits) => (digits, 1 << 20),
        _ => (text, 1),
    };
    let is_number = !digits.is_empty() && digits.iter().all(u8::is_ascii_digit);
    let number = std::str::from_utf8(digits).ok()?.parse::<u64>().ok().filter(|_| is_number)?;
    number.checked_mul(unit)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_read_as_nginx_reads_them() {
        for (text, expected) in [
            ("0", Some(0)),
            ("10", Some(10)),
            ("10k", Some(10 << 10)),
            ("2M", Some(2 << 20)),
            ("", None),
            ("k", None),
            ("-1", None),
            ("1g", None),
            ("1.5k", None),
            ("99999999999999999999", None),
            ("99999999999999999k", None),
        ] {
            assert_eq!(size(text.as_bytes()), expected, "{text}");
        }
    }
}
