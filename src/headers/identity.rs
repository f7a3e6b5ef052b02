//! `X-Session-*`: removed from what clients send, set from the record (rule 30).
//!
//! Workers believe these names, so a client's own never get through: in no spelling, on no route,
//! with or without a session, in heads and in trailers.

use std::time::Duration;

use super::spelling;
use crate::clock::UnixMillis;
use crate::wire::fields::{Fields, Unwritable};
use crate::wire::name::Name;

/// The hashed identifier of the session: stable while the record lives, useless as a ticket.
pub const SESSION_ID: &[u8] = b"X-Session-Id";
/// The subject that the application confirmed (rule 23), in UTF-8.
pub const SESSION_SUBJECT: &[u8] = b"X-Session-Subject";
/// Whole seconds since the session began.
pub const SESSION_AGE: &[u8] = b"X-Session-Age";
/// When the session began, in Unix seconds.
pub const SESSION_CREATED: &[u8] = b"X-Session-Created";
/// When its last login was, in Unix seconds; absent before the first.
pub const SESSION_AUTHENTICATED: &[u8] = b"X-Session-Authenticated";
/// What an application says in a response about its session; never passed on, in either direction.
pub const COMMAND: Name = Name::CloakroomSession;

/// Whether a field name, of a head or a trailer, belongs to Cloakroom: every `X-Session-…` and
/// `Cloakroom-Session`, in any case and with any other mark for `-`.
pub fn is_reserved(name: &[u8]) -> bool {
    spelling::begins(name, "x-session-") || spelling::is(name, "cloakroom-session")
}

/// What a worker learns of a session. Without `Debug`: its parts are not for logs.
#[derive(Clone, Copy, Default)]
pub struct Identity<'a> {
    /// The hashed identifier, in visible ASCII.
    pub id: Option<[u8; 48]>,
    /// Only a confirmed one.
    pub subject: Option<&'a str>,
    pub age: Option<Duration>,
    pub created: Option<UnixMillis>,
    pub authenticated: Option<UnixMillis>,
}

/// Takes the reserved fields out of a request's head, and puts those of its session in.
///
/// # Errors
/// [`Unwritable`] where the head has no room for more.
pub fn write(identity: &Identity<'_>, fields: &mut Fields) -> Result<(), Unwritable> {
    fields.retain(|field| !is_reserved(field.name));
    let Identity { id, subject, age, created, authenticated } = identity;
    if let Some(id) = id {
        fields.set(SESSION_ID, id)?;
    }
    if let Some(subject) = subject.and_then(subject_value) {
        fields.set(SESSION_SUBJECT, subject)?;
    }
    let moments = [
        (SESSION_AGE, age.map(|age| age.as_secs())),
        (SESSION_CREATED, created.map(UnixMillis::as_secs)),
        (SESSION_AUTHENTICATED, authenticated.map(UnixMillis::as_secs)),
    ];
    for (name, seconds) in moments {
        if let Some(seconds) = seconds {
            fields.set_displayed(name, seconds)?;
        }
    }
    Ok(())
}

/// The subject as a field value, where a worker is sure to read what we wrote: a value that it would
/// trim (RFC 9110 section 5.5) might be another user's name.
fn subject_value(subject: &str) -> Option<&[u8]> {
    let is_safe =
        !subject.is_empty() && subject.trim() == subject && !subject.contains(char::is_control);
    is_safe.then_some(subject.as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_reserved_in_every_spelling() {
        for (name, expected) in [
            ("X-Session-Id", true),
            ("x_session_id", true),
            ("X-SESSION_Subject", true),
            ("x-session-anything", true),
            ("X-Session.Subject", true),
            ("x.session.subject", true),
            ("X!Session~Subject", true),
            ("x|session|id", true),
            ("x-session-", true),
            ("x-session", false),
            ("x-sessions", false),
            ("session-id", false),
            ("Cloakroom-Session", true),
            ("CLOAKROOM_SESSION", true),
            ("Cloakroom.Session", true),
            ("cloakroom+session", true),
            ("cloakroomxsession", false),
            ("cloakroom-session-id", false),
            ("cloakroom-sessio", false),
            ("", false),
        ] {
            assert_eq!(is_reserved(name.as_bytes()), expected, "{name}");
        }
    }

    fn claimed() -> Fields {
        let mut head = Fields::new();
        for name in [
            "x-session-subject",
            "x_session_subject",
            "x-session.subject",
            "x'session*subject",
            "X-SESSION-Subject",
            "cloakroom_session",
            "x-other",
        ] {
            for _ in 0..2 {
                head.push(name.as_bytes(), b"mallory").expect("it is writable");
            }
        }
        head
    }

    /// The fields of a head that claims everything, as they are written.
    fn sent(identity: &Identity<'_>) -> Vec<String> {
        let mut head = claimed();
        write(identity, &mut head).expect("there is room");
        let mut sent: Vec<String> = head
            .iter()
            .map(|field| {
                let name = field.name.to_ascii_lowercase();
                format!("{}: {}", name.escape_ascii(), field.value.escape_ascii())
            })
            .collect();
        sent.sort();
        sent
    }

    #[test]
    fn what_a_client_claims_is_removed_without_a_session_too() {
        assert_eq!(sent(&Identity::default()), ["x-other: mallory", "x-other: mallory"]);
    }

    #[test]
    fn the_record_says_who_it_is() {
        let identity = Identity {
            id: Some([b'a'; 48]),
            subject: Some("alice"),
            age: Some(Duration::from_millis(60_499)),
            created: Some(UnixMillis(30_500)),
            authenticated: Some(UnixMillis(60_000)),
        };
        assert_eq!(
            sent(&identity),
            [
                "x-other: mallory",
                "x-other: mallory",
                "x-session-age: 60",
                "x-session-authenticated: 60",
                "x-session-created: 30",
                &format!("x-session-id: {}", "a".repeat(48)),
                "x-session-subject: alice",
            ]
        );
    }

    #[test]
    fn subjects_that_a_worker_could_misread_are_left_out() {
        for (subject, expected) in [
            ("alice@example.com", Some(&b"alice@example.com"[..])),
            ("zoë", Some("zoë".as_bytes())),
            ("two words", Some(b"two words")),
            (" alice", None),
            ("alice\u{a0}", None),
            ("", None),
            ("alice\r\nX-Admin: 1", None),
            ("a\tb", None),
            ("a\0", None),
            ("a\u{85}b", None),
        ] {
            assert_eq!(subject_value(subject), expected, "{subject:?}");
        }
    }
}
