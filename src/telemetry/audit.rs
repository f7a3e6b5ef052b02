//! Audit events: what happened to sessions and to the store, for the log and for the counters.
//!
//! Target `audit`. An event names records by the first bytes of their hashed key. Texts that a
//! peer chose (subject, host, path) are written quoted and escaped, as in the access line.

use std::fmt;
use std::net::IpAddr;

use crate::session::event::Event;
use crate::session::mass_logout::Change;
use crate::session::outcome::RecordKey;
use crate::telemetry::labels::{Label, Revocation};
use crate::telemetry::metrics::Metrics;
use crate::telemetry::peer_text;
use crate::telemetry::recent::RecentEvent;

/// Where an event happened.
#[derive(Clone, Copy, Debug)]
pub struct AuditContext<'a> {
    pub client: IpAddr,
    /// The session policy's name.
    pub policy: &'a str,
    pub host: &'a str,
    /// Anything from `?` on is left out.
    pub path: &'a str,
}

/// Writes an event down and counts it.
pub fn emit(metrics: &Metrics, event: &Event, context: &AuditContext<'_>) {
    write(metrics, event, context, Level::of(event));
}

/// The same, where many such events come at once and one of them was written down just now: only
/// `audit=debug` shows it.
pub fn emit_again(metrics: &Metrics, event: &Event, context: &AuditContext<'_>) {
    write(metrics, event, context, Level::Debug);
}

fn write(metrics: &Metrics, event: &Event, context: &AuditContext<'_>, level: Level) {
    metrics.session_event(event);
    let fields = Fields::of(event);
    let (path, _query) = context.path.split_once('?').unwrap_or((context.path, ""));
    if !matches!(level, Level::Debug) {
        metrics.note(|| RecentEvent {
            event: event.name(),
            policy: Some(context.policy.to_owned()),
            client: Some(context.client),
            session: fields.session.map(|key| format!("{key:?}")),
            subject: fields.subject.map(|subject| peer_text(subject).to_owned()),
            about: fields.cause.map(str::to_owned),
            ..RecentEvent::default()
        });
    }
    // The level is part of a call site, so one macro writes each of the three.
    macro_rules! write_at {
        ($level:ident) => {
            tracing::$level!(
                target: "audit",
                event = event.name(),
                client = %context.client,
                policy = context.policy,
                host = peer_text(context.host),
                path = peer_text(path),
                session = fields.session.map(tracing::field::debug),
                old = fields.old.map(tracing::field::debug),
                subject = fields.subject.map(peer_text),
                cause = fields.cause,
                "session"
            )
        };
    }
    match level {
        Level::Warn => write_at!(warn),
        Level::Info => write_at!(info),
        Level::Debug => write_at!(debug),
    }
}

enum Level {
    Warn,
    Info,
    Debug,
}

impl Level {
    fn of(event: &Event) -> Self {
        match event {
            // An operator has to do something about the store, a copied ticket, the application.
            Event::Withheld { .. }
            | Event::Reused { .. }
            | Event::BindingMismatch { .. }
            | Event::WithoutStore { .. }
            | Event::CommandIgnored { .. } => Self::Warn,
            // Ordinary life under load; the counter is what matters. `audit=debug` shows it.
            Event::Waited | Event::Renewed { .. } | Event::DeletionIgnored { .. } => Self::Debug,
            Event::Created { .. }
            | Event::Login { .. }
            | Event::LoginFailed
            | Event::Moved { .. }
            | Event::LoginLimited
            | Event::Ended { .. }
            | Event::TicketRejected { .. }
            | Event::CrossSiteRefused
            | Event::Fenced { .. }
            | Event::NotMade { .. }
            | Event::OutOfTurn { .. }
            | Event::LoginRefused { .. }
            | Event::SubjectRevoked { .. }
            | Event::Parked { .. }
            | Event::Restored { .. }
            | Event::Dropped { .. } => Self::Info,
        }
    }
}

/// An event's data, one column each.
#[derive(Default)]
struct Fields<'a> {
    session: Option<RecordKey>,
    old: Option<RecordKey>,
    subject: Option<&'a str>,
    cause: Option<&'static str>,
}

impl<'a> Fields<'a> {
    fn of(event: &'a Event) -> Self {
        match event {
            // The policy is in the context already.
            Event::Created { id }
            | Event::Renewed { id }
            | Event::Reused { id }
            | Event::BindingMismatch { id }
            | Event::Fenced { id }
            | Event::Parked { id }
            | Event::Restored { id }
            | Event::Dropped { id }
            | Event::DeletionIgnored { id } => Self { session: Some(*id), ..Self::default() },
            Event::Withheld { id } => Self { session: *id, ..Self::default() },
            Event::Login { old, new, subject } => Self {
                session: Some(*new),
                old: *old,
                subject: subject.as_deref(),
                ..Self::default()
            },
            Event::Ended { id, cause } => {
                Self { session: Some(*id), cause: Some(cause.name()), ..Self::default() }
            }
            Event::TicketRejected { reason } => {
                Self { cause: Some(reason.name()), ..Self::default() }
            }
            Event::NotMade { cause } => Self { cause: Some(cause.name()), ..Self::default() },
            Event::OutOfTurn { cause } => Self { cause: Some(cause.name()), ..Self::default() },
            Event::WithoutStore { id, action } => {
                Self { session: *id, cause: Some(action.name()), ..Self::default() }
            }
            Event::LoginRefused { subject } => Self { subject: Some(subject), ..Self::default() },
            Event::SubjectRevoked { id, subject } => {
                Self { session: *id, subject: Some(subject), ..Self::default() }
            }
            Event::CommandIgnored { cause } => {
                Self { cause: Some(cause.name()), ..Self::default() }
            }
            Event::LoginFailed | Event::LoginLimited | Event::CrossSiteRefused | Event::Waited => {
                Self::default()
            }
            Event::Moved { old, new } => {
                Self { session: Some(*new), old: Some(*old), ..Self::default() }
            }
        }
    }
}

/// Writes a revocation down that came from outside of any exchange's session, and counts it. `by` says
/// on whose behalf: `operator`, `user`; `users` which namespace the subject is of, none where all.
pub fn revoked(
    metrics: &Metrics,
    scope: Revocation,
    subject: Option<&str>,
    users: Option<&str>,
    session: Option<RecordKey>,
    by: &'static str,
) {
    metrics.revoked(scope);
    metrics.note(|| RecentEvent {
        event: "revoked",
        session: session.map(|key| format!("{key:?}")),
        subject: subject.map(|subject| peer_text(subject).to_owned()),
        about: Some(format!("{}, by {by}", scope.value())),
        ..RecentEvent::default()
    });
    tracing::info!(
        target: "audit",
        event = "revoked",
        scope = scope.value(),
        session = session.map(tracing::field::debug),
        subject = subject.map(peer_text),
        users,
        by,
        "session"
    );
}

/// Writes down what an operator has done to the process: to `object`, in words.
pub fn operator(metrics: &Metrics, action: &'static str, object: &str) {
    metrics.note(|| RecentEvent {
        event: action,
        about: Some(peer_text(object).to_owned()),
        ..RecentEvent::default()
    });
    tracing::info!(target: "audit", event = action, object = peer_text(object), by = "operator", "operator");
}

/// Whether a store answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StoreState {
    Up,
    Down,
}

/// Notes whether the store answers. May be called for every answer: a line is written when the
/// state changes, not for each request that meets it.
///
/// `reason` must not repeat credentials.
pub fn store(metrics: &Metrics, state: StoreState, engine: &str, reason: &dyn fmt::Display) {
    if !metrics.store_state(state) {
        return;
    }
    match state {
        StoreState::Down => {
            let reason = reason.to_string();
            metrics.note(|| RecentEvent {
                event: "store_down",
                about: Some(peer_text(&reason).to_owned()),
                ..RecentEvent::default()
            });
            tracing::error!(
                target: "audit",
                event = "store_down",
                engine,
                reason = peer_text(&reason),
                "store"
            );
        }
        StoreState::Up => {
            metrics.note(|| RecentEvent { event: "store_up", ..RecentEvent::default() });
            tracing::info!(target: "audit", event = "store_up", engine, "store");
        }
    }
}

/// Notes the beginning or end of a mass logout: the application deletes the sessions of many users
/// at once (rule 29).
pub fn mass_logout(metrics: &Metrics, policy: &str, change: Change) {
    metrics.mass_logout(policy, matches!(change, Change::Begins { .. }));
    metrics.note(|| RecentEvent {
        event: match change {
            Change::Begins { .. } => "mass_logout",
            Change::Ends => "mass_logout_over",
        },
        policy: Some(policy.to_owned()),
        ..RecentEvent::default()
    });
    match change {
        Change::Begins { lost, of } => tracing::error!(
            target: "audit",
            event = "mass_logout",
            policy,
            lost,
            of,
            remedy = "see to the application's own session store; sessions are kept until it is back",
            "guard"
        ),
        Change::Ends => {
            tracing::info!(target: "audit", event = "mass_logout_over", policy, "guard")
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::session::command::Ignored;
    use crate::session::event::{Cause, NotMade, OutOfTurn, Reject};
    use crate::session::outage::WithoutStore;
    use crate::telemetry::LogSettings;
    use crate::telemetry::log::capture;

    const ID: RecordKey = RecordKey { tag: [1; 8], id: [0xab; 16], has_subject: false };
    const OLD: RecordKey = RecordKey { tag: [2; 8], id: [0xcd; 16], has_subject: false };
    const CONTEXT: AuditContext<'static> = AuditContext {
        client: IpAddr::V4(std::net::Ipv4Addr::new(192, 0, 2, 7)),
        policy: "shop",
        host: "shop.example.com",
        path: "/login?next=/secret",
    };

    #[test]
    fn every_event_is_written_with_its_data() {
        fn check(event: &Event, level: &str, data: &str) {
            let debug = LogSettings { level: "audit=debug".to_owned(), ..LogSettings::default() };
            let metrics = Metrics::new();
            let written = capture::lines(&debug, || emit(&metrics, event, &CONTEXT));
            let expected = format!(
                "{level} audit: session event=\"{}\" client=192.0.2.7 policy=\"shop\" \
                 host=\"shop.example.com\" path=\"/login\"{data}\n",
                event.name()
            );
            let (_time, rest) = written.trim_start().split_once(' ').expect("a line");
            assert_eq!(rest.trim_start(), expected);
            let counted = format!("cloakroom_session_events_total{{event=\"{}\"}} 1", event.name());
            assert!(metrics.render().contains(&counted), "{counted}");
        }
        let subject = Some("alice".to_owned());
        check(&Event::Created { id: ID }, "INFO", " session=abababab..");
        check(
            &Event::Login { old: Some(OLD), new: ID, subject },
            "INFO",
            " session=abababab.. old=cdcdcdcd.. subject=\"alice\"",
        );
        check(&Event::LoginFailed, "INFO", "");
        check(&Event::CrossSiteRefused, "INFO", "");
        check(&Event::BindingMismatch { id: ID }, "WARN", " session=abababab..");
        check(
            &Event::Ended { id: ID, cause: Cause::Absolute },
            "INFO",
            " session=abababab.. cause=\"absolute\"",
        );
        check(&Event::TicketRejected { reason: Reject::Forged }, "INFO", " cause=\"forged\"");
        check(&Event::Renewed { id: ID }, "DEBUG", " session=abababab..");
        check(&Event::Reused { id: ID }, "WARN", " session=abababab..");
        check(&Event::Fenced { id: ID }, "INFO", " session=abababab..");
        check(&Event::Withheld { id: Some(ID) }, "WARN", " session=abababab..");
        check(&Event::NotMade { cause: NotMade::JarFull }, "INFO", " cause=\"jar_full\"");
        check(&Event::Parked { id: ID }, "INFO", " session=abababab..");
        check(&Event::Restored { id: ID }, "INFO", " session=abababab..");
        check(&Event::Dropped { id: ID }, "INFO", " session=abababab..");
        check(&Event::DeletionIgnored { id: ID }, "DEBUG", " session=abababab..");
        check(&Event::Waited, "DEBUG", "");
        check(&Event::OutOfTurn { cause: OutOfTurn::TimedOut }, "INFO", " cause=\"timed_out\"");
        let subject = || "alice".to_owned();
        check(&Event::LoginRefused { subject: subject() }, "INFO", " subject=\"alice\"");
        check(
            &Event::SubjectRevoked { id: Some(ID), subject: subject() },
            "INFO",
            " session=abababab.. subject=\"alice\"",
        );
        let cause = Ignored::Contradictory;
        check(&Event::CommandIgnored { cause }, "WARN", " cause=\"contradictory\"");
        let event = Event::WithoutStore { id: Some(ID), action: WithoutStore::Stale };
        check(&event, "WARN", " session=abababab.. cause=\"stale\"");
    }

    #[test]
    fn revocations_are_written_and_counted() {
        let metrics = Metrics::new();
        let written = capture::lines(&LogSettings::default(), || {
            revoked(&metrics, Revocation::Subject, Some("alice\n"), Some("shop"), None, "operator");
            revoked(&metrics, Revocation::Session, None, None, Some(ID), "user");
        });
        let lines: Vec<&str> = written.lines().collect();
        let ends = [
            "INFO audit: session event=\"revoked\" scope=\"subject\" subject=\"alice\\n\" users=\"shop\" by=\"operator\"",
            "INFO audit: session event=\"revoked\" scope=\"session\" session=abababab.. by=\"user\"",
        ];
        assert_eq!(lines.len(), 2, "{written}");
        assert!(lines.iter().zip(ends).all(|(line, end)| line.ends_with(end)), "{written}");
        assert!(metrics.render().contains("cloakroom_revocations_total{scope=\"subject\"} 1"));
    }

    #[test]
    fn what_every_request_of_an_outage_causes_is_counted_and_not_repeated() {
        let metrics = Metrics::new();
        let event = Event::WithoutStore { id: None, action: WithoutStore::Anonymous };
        let written = capture::lines(&LogSettings::default(), || {
            emit(&metrics, &event, &CONTEXT);
            emit_again(&metrics, &event, &CONTEXT);
        });
        assert_eq!(written.lines().count(), 1, "{written}");
        let counted = "cloakroom_store_down_total{action=\"anonymous\"} 2";
        assert!(metrics.render().contains(counted), "{counted}");
    }

    #[test]
    fn a_subject_cannot_forge_an_event() {
        let subject = Some("eve\"\n2026 INFO audit: session event=\"logout\"\u{1b}[0m".to_owned());
        let event = Event::Login { old: None, new: ID, subject };
        let written = capture::lines(&LogSettings::default(), || {
            emit(&Metrics::new(), &event, &CONTEXT);
        });
        assert_eq!(written.lines().count(), 1, "{written}");
        assert!(!written.trim_end().contains(char::is_control), "{written:?}");
    }

    #[test]
    fn a_mass_logout_names_its_remedy() {
        let metrics = Metrics::new();
        let written = capture::lines(&LogSettings::default(), || {
            mass_logout(&metrics, "shop", Change::Begins { lost: 3, of: 12 });
            assert!(metrics.render().contains(r#"cloakroom_mass_logout{policy="shop"} 1"#));
            mass_logout(&metrics, "shop", Change::Ends);
        });
        assert!(metrics.render().contains(r#"cloakroom_mass_logout{policy="shop"} 0"#));
        let lines: Vec<_> = written.lines().collect();
        assert_eq!(lines.len(), 2, "{written}");
        assert!(lines[0].contains(
            r#"ERROR audit: guard event="mass_logout" policy="shop" lost=3 of=12 remedy="see to"#
        ));
        assert!(lines[1].contains(r#"event="mass_logout_over" policy="shop""#));
    }

    #[test]
    fn an_outage_is_two_lines_however_many_requests_meet_it() {
        let metrics = Metrics::new();
        let written = capture::lines(&LogSettings::default(), || {
            store(&metrics, StoreState::Up, "redis", &"");
            for _ in 0..100 {
                store(&metrics, StoreState::Down, "redis", &"connection refused");
            }
            assert!(metrics.render().contains("cloakroom_store_up 0"));
            store(&metrics, StoreState::Up, "redis", &"");
            store(&metrics, StoreState::Up, "redis", &"");
        });
        let lines: Vec<_> = written.lines().collect();
        assert_eq!(lines.len(), 2, "{written}");
        assert!(lines[0].contains(
            "ERROR audit: store event=\"store_down\" engine=\"redis\" reason=\"connection refused\""
        ));
        assert!(lines[1].contains("event=\"store_up\""));
        assert!(metrics.render().contains("cloakroom_store_up 1"));
    }
}
