//! What the owner of a session may do with all that are hers.

use super::{Outcome, Own, Problem};
use crate::clock::UnixMillis;
use crate::proxy::settle::expiry_field;
use crate::proxy::shared::Shared;
use crate::session::exchange::Held;
use crate::session::outcome::{Lookup, RecordKey, Removed};
use crate::session::policy::Policy;
use crate::session::record::Record;
use crate::session::subject::User;
use crate::session::view::SessionView;
use crate::store::records::users::{Others, UserSessions};
use crate::telemetry::audit;
use crate::telemetry::labels::Revocation;

/// Who asks, and with which session.
pub(super) struct Owner<'a> {
    pub(super) held: &'a Held,
    pub(super) user: User<'a>,
}

impl Owner<'_> {
    pub(super) async fn list(&self, shared: &Shared) -> Outcome {
        let now = shared.clock.now();
        let listed = match shared.list(self.user).await {
            Lookup::Found(listed) => listed,
            Lookup::NotFound | Lookup::Revoked => UserSessions::default(),
            Lookup::Unavailable => return Outcome::Problem(Problem::StoreDown),
        };
        let (is_cut, total) = (listed.is_cut(), listed.total);
        let mut found: Vec<_> =
            listed.sessions.into_iter().map(|(key, _, record)| (key, record)).collect();
        if found.iter().all(|(key, _)| *key != self.held.key) {
            found.push((self.held.key, self.held.record.clone()));
        }
        let mut own: Vec<(RecordKey, SessionView)> = found
            .iter()
            .filter_map(|(key, record)| Some((*key, self.shown(*key, record, now)?)))
            .collect();
        own.sort_by(|(_, a), (_, b)| b.created.cmp(&a.created).then_with(|| a.id.cmp(&b.id)));
        let sessions: Vec<Own> = own
            .into_iter()
            .map(|(key, shown)| Own {
                id: own_id(key),
                created: shown.created,
                last_seen: shown.last_seen,
                authenticated: shown.authenticated,
                network: shown.network,
                agent: shown.agent,
                current: key == self.held.key,
            })
            .collect();
        let total = if is_cut { total } else { sessions.len() };
        Outcome::Listed { sessions, total, is_cut }
    }

    pub(super) async fn end(&self, shared: &Shared, policy: &Policy, id: [u8; 16]) -> Outcome {
        // One that was made before users had namespaces has another tag than those that it lists.
        let User { namespace, name } = self.user;
        let tag = shared.ring.current().user_tag(namespace, name);
        let listed = RecordKey { tag, id, has_subject: true };
        let key = if id == self.held.key.id { self.held.key } else { listed };
        match shared.reload(key).await {
            Lookup::Found((_, record))
                if self.shown(key, &record, shared.clock.now()).is_some() => {}
            Lookup::Found(_) | Lookup::NotFound | Lookup::Revoked => {
                return Outcome::Problem(Problem::NoSuchSession);
            }
            Lookup::Unavailable => return Outcome::Problem(Problem::StoreDown),
        }
        if shared.remove(key).await == Removed::Unavailable {
            return Outcome::Problem(Problem::StoreDown);
        }
        self.note(shared, Revocation::Session, key);
        let is_current = key == self.held.key;
        Outcome::Ended { ended: 1, ticket: is_current.then(|| expiry_field(policy)) }
    }

    pub(super) async fn end_others(&self, shared: &Shared) -> Outcome {
        match shared.end_others(self.user, self.held.key).await {
            Others::Ended(ended) => {
                self.note(shared, Revocation::Others, self.held.key);
                Outcome::Ended { ended, ticket: None }
            }
            Others::NotLive => Outcome::Problem(Problem::LoginRequired),
            Others::Unavailable => Outcome::Problem(Problem::StoreDown),
        }
    }

    fn note(&self, shared: &Shared, scope: Revocation, key: RecordKey) {
        let User { namespace, name } = self.user;
        audit::revoked(&shared.metrics, scope, Some(name), Some(namespace), Some(key), "user");
    }

    /// What may be shown of a session, if it is the user's. What somebody merely typed into a form
    /// is nobody's.
    fn shown(&self, key: RecordKey, record: &Record, now: UnixMillis) -> Option<SessionView> {
        SessionView::of(key, record, self.user.name, now).filter(|shown| shown.confirmed)
    }
}

/// The part of a record's key that tells a user's sessions apart.
fn own_id(key: RecordKey) -> String {
    key.id.iter().map(|byte| format!("{byte:02x}")).collect()
}
