//! Keeps the sessions of a subject within their limit (PROTOCOL.md 22).
//!
//! A login looks at the sessions that are in use. Two logins at once both find room, since neither
//! session is in use yet; so whoever brings a new ticket back for the first time looks again, after
//! that was written down. Of any number that do so at once the last one sees them all.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::{Instant, sleep};

use crate::proxy::shared::Shared;
use crate::session::event::{Cause, Event};
use crate::session::exchange::Held;
use crate::session::limit::{Place, SessionLimit};
use crate::session::outcome::{Lookup, RecordKey, Removed};
use crate::session::policy::Policy;
use crate::session::record::{Record, UNSETTLED};
use crate::session::subject::User;

/// Between two tries.
const RETRY_EVERY: Duration = Duration::from_millis(250);

/// The limit that a record is under, and the name that counts.
fn limit_of(policy: &Policy, record: &Record) -> Option<(SessionLimit, String)> {
    let subject = record.subject.as_ref().filter(|subject| subject.confirmed)?;
    Some((policy.session_limit?, subject.name.clone()))
}

/// Looks at the sessions of a record's subject, once its ticket has come back for the first time and
/// that is written. Where the store does not answer it is asked again in the background, or the limit
/// would be passed.
pub async fn joined(
    shared: &Arc<Shared>,
    policy: &Policy,
    held: &Held,
    heard: &mut impl FnMut(Event),
) -> Place {
    let Some((limit, name)) = limit_of(policy, &held.record) else { return Place::Kept };
    match enforce(shared, limit, policy.user(&name)).await {
        Some(ended) => {
            for id in &ended {
                heard(Event::Ended { id: *id, cause: Cause::TooMany });
            }
            if ended.contains(&held.key) { Place::Ended } else { Place::Kept }
        }
        None => {
            tokio::spawn(again(shared.clone(), limit, policy.users.clone(), name));
            Place::Unknown
        }
    }
}

/// Ends what is beyond the limit; `None` where the store does not answer.
async fn enforce(shared: &Shared, limit: SessionLimit, user: User<'_>) -> Option<Vec<RecordKey>> {
    let mut ended = Vec::new();
    loop {
        let Lookup::Found(beyond) = shared.beyond(user, limit.at_return()).await else {
            return None;
        };
        // Perhaps not all were told before.
        if beyond.is_empty() {
            return Some(ended);
        }
        for key in beyond {
            if shared.remove(key).await == Removed::Unavailable {
                return None;
            }
            ended.push(key);
        }
    }
}

async fn again(shared: Arc<Shared>, limit: SessionLimit, namespace: String, name: String) {
    let deadline = Instant::now() + UNSETTLED;
    while Instant::now() < deadline {
        sleep(RETRY_EVERY).await;
        let user = User { namespace: &namespace, name: &name };
        if enforce(&shared, limit, user).await.is_some() {
            return;
        }
    }
}
