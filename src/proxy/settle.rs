//! Carries out what `session::settle` asks for, and writes its outcome into the answer.

use std::net::IpAddr;

use cookie::{Cookie, CookieBuilder, time};

use crate::clock::UnixMillis;
use crate::cookie::enforce::SameSite;
use crate::cookie::response::LIFETIME_MAX;
use crate::crypto::random;
use crate::proxy::merging::{self, Races};
use crate::proxy::shared::Shared;
use crate::proxy::ticket_cache::Opened;
use crate::session::event::NotMade;
use crate::session::exchange::Bond;
use crate::session::outcome::{Epoch, Lookup, RecordKey, Removed, Replaced};
use crate::session::policy::{Policy, TicketCookie};
use crate::session::record::{Fresh, Seed};
use crate::session::settle::{Begun, Effect, Issue, Outcome, Purpose, Settle, Since, Step};
use crate::session::subject::User;
use crate::session::ticket::{Scope, Selector, Ticket, flags_for, record_key, user_record_key};

/// What this node knows of the record that an exchange was admitted with, without asking anybody.
pub fn since(shared: &Shared, bond: &Bond) -> Since {
    match bond {
        Bond::Live(held, _) if shared.records.is_current(held.key, held.version) => {
            Since::Unchanged
        }
        _ => Since::Unknown,
    }
}

/// Runs the machine until it is done.
pub async fn carry_out(
    shared: &Shared,
    policy: &Policy,
    client: IpAddr,
    begun: Begun<'_>,
) -> Effect {
    match begun {
        Begun::Done(effect) => effect,
        // In a box: every answer has to make room for what is awaited here, and few need it.
        Begun::Goes(settle, step) => Box::pin(go(shared, policy, client, settle, step)).await,
    }
}

async fn go(
    shared: &Shared,
    policy: &Policy,
    client: IpAddr,
    mut settle: Box<Settle<'_>>,
    mut step: Step,
) -> Effect {
    // Kept until the new session is stored.
    let mut permit;
    let mut races = Races::default();
    // After a race that was lost, where somebody has looked already.
    let mut read = None;
    loop {
        let outcome = match step {
            Step::Done(effect) => return effect,
            Step::Fresh { purpose: Purpose::Visitor, .. } => {
                let (limit, now) = (policy.anonymous_per_minute, shared.clock.now());
                permit = shared.limiter.admit(&policy.name, client, limit, now);
                match permit.is_some() && may_wait(shared, policy) {
                    true => fresh(shared, None).await,
                    false => Outcome::Refused(NotMade::RateLimited),
                }
            }
            Step::Fresh { purpose, subject } => {
                if purpose == Purpose::Attempt {
                    note_attempt(shared, policy, client);
                }
                fresh(shared, subject.as_deref().map(|name| policy.user(name))).await
            }
            Step::Load(key) => Outcome::Loaded(match read.take() {
                Some(read) => read,
                None => shared.reload(key).await,
            }),
            Step::Create { fresh, record } => {
                Outcome::Created(shared.create(fresh.key, &record).await)
            }
            Step::Replace { key, version, record, durability } => {
                let replaced = shared.replace(key, version, &record, durability).await;
                if replaced == Replaced::Conflict {
                    races.lost().await;
                }
                Outcome::Replaced(replaced)
            }
            Step::Merge { key, version, record } => {
                let write = (version, record);
                let written = merging::write(shared, &mut settle, &mut races, key, write).await;
                read = written.read;
                Outcome::Replaced(written.replaced)
            }
            Step::RevokeSubject(name, beside) => {
                Outcome::Revoked(revoke(shared, policy.user(&name), beside).await)
            }
            Step::Beyond(name, room) => {
                Outcome::Beyond(shared.beyond(policy.user(&name), room).await)
            }
            Step::Remove(key) => Outcome::Removed(shared.remove(key).await),
        };
        step = settle.next(outcome);
    }
}

/// Whether one more anonymous session may wait for its ticket to come back.
fn may_wait(shared: &Shared, policy: &Policy) -> bool {
    let (most, life) = (policy.anonymous_waiting, policy.timeouts.anonymous);
    shared.limiter.may_wait(&policy.name, most, life, shared.clock.now())
}

/// Counts an attempt to log in. It was let in before: its record takes the place.
fn note_attempt(shared: &Shared, policy: &Policy, client: IpAddr) {
    let (limit, now) = (policy.login_attempts_per_minute, shared.clock.now());
    shared.limiter.attempted(&policy.name, client, limit, now);
    may_wait(shared, policy);
}

/// Random values for a new record; for one of a user, her tag and epoch.
async fn fresh(shared: &Shared, user: Option<User<'_>>) -> Outcome {
    let values = || -> Result<_, random::RandomError> {
        Ok((random::bytes()?, Selector(random::bytes()?), Seed::new(random::bytes()?)))
    };
    let (tag, selector, seed) = match values() {
        Ok(values) => values,
        Err(error) => {
            tracing::error!(%error, "no randomness: the answer is withheld");
            return Outcome::Unavailable;
        }
    };
    let ring = shared.ring.current();
    let Some(user) = user else {
        let key = record_key(&ring, tag, &selector);
        return Outcome::Fresh(Fresh { tag, selector, seed, key, epoch: None });
    };
    let key = user_record_key(&ring, user, &selector);
    match shared.epoch(key.tag).await {
        Lookup::Found(epoch) => {
            Outcome::Fresh(Fresh { tag: key.tag, selector, seed, key, epoch: Some(epoch) })
        }
        Lookup::NotFound | Lookup::Revoked | Lookup::Unavailable => Outcome::Unavailable,
    }
}

/// Ends all sessions of a user; her new epoch.
async fn revoke(shared: &Shared, user: User<'_>, beside: Option<RecordKey>) -> Lookup<Epoch> {
    match shared.revoke_user(user, beside).await {
        Removed::Removed => {
            let tag = shared.ring.current().user_tag(user.namespace, user.name);
            shared.epoch(tag).await
        }
        Removed::Unavailable => Lookup::Unavailable,
    }
}

/// The `Set-Cookie` field that carries a ticket.
///
/// # Errors
/// The system has no randomness for the nonce.
pub fn ticket_field(
    shared: &Shared,
    policy: &Policy,
    host: &str,
    issue: Issue,
) -> Result<String, random::RandomError> {
    let Issue { key, tag, selector, counter, secret, until } = issue;
    let now = shared.clock.now();
    let issued = now.as_secs();
    let ticket = Ticket { tag, selector, counter, secret, issued, flags: flags_for(key) };
    let nonce = random::bytes()?;
    let value = ticket.seal(&shared.ring.current(), &nonce, &scope(policy, host));
    let cookie = field(&policy.cookie, value);
    let cookie = match until {
        Some(until) => cookie.max_age(max_age(until, now)),
        None => cookie,
    };
    Ok(cookie.build().to_string())
}

/// `Max-Age` of a ticket that survives the browser: whole seconds, never past that time, and no more
/// than browsers keep a cookie (RFC 6265bis, section 5.5). Only what is over is taken away.
fn max_age(until: UnixMillis, now: UnixMillis) -> time::Duration {
    let left = until.since(now).min(LIFETIME_MAX);
    let seconds = left.as_secs().max(u64::from(!left.is_zero()));
    time::Duration::seconds(i64::try_from(seconds).unwrap_or(0))
}

/// The ticket that is about to be sent, as it would come back.
pub fn opened(issue: Issue, now: UnixMillis) -> Opened {
    let Issue { key, tag, selector, counter, secret, until: _ } = issue;
    let (issued, flags) = (now.as_secs(), flags_for(key));
    Opened { ticket: Ticket { tag, selector, counter, secret, issued, flags }, key }
}

/// The `Set-Cookie` field that takes the ticket away.
pub fn expiry_field(policy: &Policy) -> String {
    field(&policy.cookie, String::new())
        .max_age(time::Duration::ZERO)
        .expires(time::OffsetDateTime::UNIX_EPOCH)
        .build()
        .to_string()
}

/// What a policy's tickets on `host` are good for.
pub fn scope<'a>(policy: &'a Policy, host: &'a str) -> Scope<'a> {
    Scope {
        cookie_name: &policy.cookie.name,
        policy: &policy.name,
        site: policy.cookie.domain.as_deref().unwrap_or(host),
    }
}

fn field(cookie: &TicketCookie, value: String) -> CookieBuilder<'_> {
    let same_site = match cookie.same_site {
        SameSite::Strict => cookie::SameSite::Strict,
        SameSite::Lax => cookie::SameSite::Lax,
        SameSite::None => cookie::SameSite::None,
    };
    let builder = Cookie::build((cookie.name.as_str(), value))
        .path("/")
        .http_only(true)
        .same_site(same_site)
        .secure(cookie.secure);
    match &cookie.domain {
        Some(domain) => builder.domain(domain.as_str()),
        None => builder,
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn a_remembered_ticket_is_kept_for_whole_seconds() {
        const NOW: UnixMillis = UnixMillis(1_795_462_335_250);
        let check = |left: Duration, expected: i64| {
            assert_eq!(max_age(NOW.plus(left), NOW).whole_seconds(), expected, "{left:?}");
        };
        check(Duration::from_secs(3600), 3600);
        check(Duration::from_millis(3_600_999), 3600);
        check(Duration::from_millis(1), 1);
        check(Duration::ZERO, 0);
        check(Duration::from_hours(500 * 24), 400 * 86_400);
    }
}
