//! What operators say in answers, whoever gave them: `expires`, and the fields that protect visitors.
//! The last word is that of the route that answered.

use std::time::{SystemTime, UNIX_EPOCH};

use http::StatusCode;

use crate::files::expires::Expires;
use crate::files::time;
use crate::headers::added;
use crate::proxy::context::Context;
use crate::proxy::respond::NOT_KEPT;
use crate::wire::fields::{Fields, Unwritable};
use crate::wire::name::Name;
use crate::wire::response::ResponseHead;

/// Adds to the head of a final answer what its route says.
pub fn run(head: &mut ResponseHead, ctx: &Context) {
    let Some(target) = &ctx.target else { return };
    let answers = target.route.answers;
    let ResponseHead { status, fields, .. } = head;
    if *status == StatusCode::SWITCHING_PROTOCOLS {
        return;
    }
    if answers.expires != Expires::Off && added::is_usual(*status) {
        // What is written are dates and digits.
        let _ = fresh(answers.expires, fields);
    }
    if answers.secure {
        added::secure(fields, target.client.https);
    }
}

/// `expires`, unless the answer is one visitor's alone.
fn fresh(expires: Expires, fields: &mut Fields) -> Result<(), Unwritable> {
    if fields.get(Name::CacheControl) == Some(NOT_KEPT) {
        return Ok(());
    }
    let now = SystemTime::now().duration_since(UNIX_EPOCH);
    let now = now.map_or(0, |now| i64::try_from(now.as_secs()).unwrap_or(i64::MAX));
    let modified = fields.get(Name::LastModified).and_then(time::parse);
    if let Some(told) = expires.told(now, modified) {
        fields.set_displayed(b"Expires", told.expires())?;
        fields.remove(Name::CacheControl);
        fields.push(b"Cache-Control", told.cache_control().as_bytes())?;
    }
    Ok(())
}
