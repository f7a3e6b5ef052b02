//! What may be shown of a session: to an operator, and to the user whose it is.

use serde::Serialize;

use crate::clock::UnixMillis;
use crate::session::outcome::RecordKey;
use crate::session::record::{Record, State};

/// A live session without its secrets. Times are Unix seconds.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct SessionView {
    /// As workers have it in `X-Session-Id`.
    pub id: String,
    pub created: u64,
    /// The last time that the record tells of: at least so late, and seldom much later.
    pub last_seen: u64,
    /// When the user logged in.
    pub authenticated: Option<u64>,
    /// When it ends at the latest.
    pub ends: u64,
    /// Whether the application itself said whose it is.
    pub confirmed: bool,
    /// The network that the login came from: `192.0.2.0/24`.
    pub network: Option<String>,
    /// What the browser called itself then.
    pub agent: Option<String>,
}

impl SessionView {
    /// What may be shown of a record of `subject`; `None` where its session is over, or it is
    /// another one's, whose name has the same tag by chance.
    pub fn of(key: RecordKey, record: &Record, subject: &str, now: UnixMillis) -> Option<Self> {
        let of = record.subject.as_ref().filter(|of| of.name == subject)?;
        if !is_live(record, now) {
            return None;
        }
        let seen = [Some(record.created), Some(record.renewed), record.presented];
        Some(Self {
            id: key.to_hex(),
            created: record.created.as_secs(),
            last_seen: seen.into_iter().flatten().max().unwrap_or_default().as_secs(),
            authenticated: record.authenticated.map(UnixMillis::as_secs),
            ends: record.ends_at.as_secs(),
            confirmed: of.confirmed,
            network: record.client.as_ref().map(|client| client.network.clone()),
            agent: record.client.as_ref().map(|client| client.agent.clone()),
        })
    }
}

/// Whether there is a session to speak of: one whose login is on its way may live on.
pub fn is_live(record: &Record, now: UnixMillis) -> bool {
    matches!(record.state, State::Live | State::Pending { .. }) && !record.is_expired(now)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::session::jar::Jar;
    use crate::session::record::{Seed, Standing};
    use crate::session::subject::{LoginClient, Subject};
    use crate::session::tests::policy;

    const NOW: UnixMillis = UnixMillis(1_795_462_335_000);
    const KEY: RecordKey = RecordKey { tag: [0xa1; 8], id: [0x0f; 16], has_subject: true };

    fn record() -> Record {
        let timeouts = policy().timeouts;
        let record = Record::new(
            Seed::new([7; 32]),
            Jar::default(),
            Standing::Authenticated,
            &timeouts,
            NOW,
        );
        Record {
            subject: Subject::confirmed("Alice"),
            client: Some(LoginClient::new(b"curl", "192.0.2.0/24".to_owned())),
            ..record
        }
    }

    #[test]
    fn a_live_session_is_shown_without_its_secrets() {
        let later = NOW.plus(Duration::from_secs(90));
        let record = Record { presented: Some(later), ..record() };
        let shown = SessionView::of(KEY, &record, "alice", later).unwrap();
        let text = serde_json::to_string(&shown).unwrap();
        let (made, seen, ends) = (NOW.as_secs(), later.as_secs(), record.ends_at.as_secs());
        let id = KEY.to_hex();
        assert_eq!(
            text,
            format!(
                r#"{{"id":"{id}","created":{made},"last_seen":{seen},"authenticated":{made},"ends":{ends},"confirmed":true,"network":"192.0.2.0/24","agent":"curl"}}"#
            )
        );
    }

    #[test]
    fn what_is_over_or_another_ones_is_not_shown() {
        let check = |record: &Record, subject: &str, now, expected| {
            assert_eq!(
                SessionView::of(KEY, record, subject, now).is_some(),
                expected,
                "{record:?}"
            );
        };
        check(&record(), "alice", NOW, true);
        check(&record(), "bob", NOW, false);
        check(&Record { subject: None, ..record() }, "alice", NOW, false);
        check(&record(), "alice", record().ends_at, false);
        check(&record().into_state(State::Ended), "alice", NOW, false);
        check(&record().into_state(State::Pending { since: NOW, by: 0 }), "alice", NOW, true);
    }
}
