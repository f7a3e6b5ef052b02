//! `cloakroom sessions`: asks a running process, over its admin listener.

use std::fmt::Write as _;
use std::path::Path;
use std::time::{Duration, SystemTime};

use clap::{ArgGroup, Subcommand};
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use serde::Deserialize;
use serde_json::{Value, json};

use super::ask::{Place, shown};

/// `cloakroom sessions …`
#[derive(Clone, Debug, PartialEq, Eq, Subcommand)]
pub enum Sessions {
    /// List a user's sessions
    List {
        /// The user's name, in any case
        #[arg(long, value_name = "NAME")]
        subject: String,
        /// Of these users alone: what session policies have in `users`. All by default
        #[arg(long, value_name = "NAME")]
        users: Option<String>,
        #[command(flatten)]
        place: Place,
    },
    /// End sessions, on every node
    #[command(group(ArgGroup::new("what").required(true)))]
    Revoke {
        /// All sessions of this user
        #[arg(long, value_name = "NAME", group = "what")]
        subject: Option<String>,
        /// Of these users alone: what session policies have in `users`. All by default
        #[arg(long, value_name = "NAME", conflicts_with_all = ["session", "all"])]
        users: Option<String>,
        /// One session, by what workers have in X-Session-Id
        #[arg(long, value_name = "ID", group = "what")]
        session: Option<String>,
        /// Every session of everybody
        #[arg(long, group = "what")]
        all: bool,
        #[command(flatten)]
        place: Place,
    },
}

impl Sessions {
    /// Asks, and returns what is to be printed.
    ///
    /// # Errors
    /// Nothing was acknowledged: why, and what to do.
    pub fn run(&self, config: &Path) -> Result<String, String> {
        match self {
            Self::List { subject, users, place } => {
                let encoded = |text| utf8_percent_encode(text, NON_ALPHANUMERIC);
                let users = users.as_ref().map(|users| format!("&users={}", encoded(users)));
                let (subject, users) = (encoded(subject), users.unwrap_or_default());
                let answer = place.get(config, &format!("/sessions?subject={subject}{users}"))?;
                list(&answer)
            }
            Self::Revoke { subject, users, session, all: _, place } => {
                let (body, done) = match (subject, session) {
                    (Some(subject), _) if let Some(users) = users => (
                        json!({ "subject": subject, "users": users }),
                        format!(
                            "every session of {} of {} has ended",
                            shown(subject),
                            shown(users)
                        ),
                    ),
                    (Some(subject), _) => (
                        json!({ "subject": subject }),
                        format!("every session of {} has ended", shown(subject)),
                    ),
                    (None, Some(session)) => (
                        json!({ "session": session }),
                        format!("the session {} has ended", shown(session)),
                    ),
                    (None, None) => {
                        (json!({ "all": true }), "every session of everybody has ended".to_owned())
                    }
                };
                place.post(config, "/sessions/revoke", &body)?;
                Ok(format!("{done}; other nodes know within a second"))
            }
        }
    }
}

fn list(answer: &Value) -> Result<String, String> {
    #[derive(Deserialize)]
    struct Answer {
        subject: String,
        sessions: Vec<Session>,
        total: usize,
        truncated: bool,
    }
    #[derive(Deserialize)]
    struct Session {
        id: String,
        users: Option<String>,
        created: u64,
        last_seen: u64,
        authenticated: Option<u64>,
        confirmed: bool,
        network: Option<String>,
        agent: Option<String>,
    }
    let Answer { subject, sessions, total, truncated } = Answer::deserialize(answer)
        .map_err(|error| format!("the answer makes no sense: {error}"))?;
    if sessions.is_empty() {
        return Ok(format!("{} has no sessions", shown(&subject)));
    }
    let mut text = format!("{} has {total} session(s)", shown(&subject));
    if truncated {
        // Some of the others may be over by now.
        let told = sessions.len();
        text = format!("{} has about {total} session(s), of which {told} follow", shown(&subject));
    }
    for session in sessions {
        let Session { id, users, created, last_seen, authenticated, confirmed, network, agent } =
            session;
        let written = (|| {
            writeln!(text, "\n{}", shown(&id))?;
            let before = "made before there were namespaces";
            writeln!(text, "  users      {}", shown(users.as_deref().unwrap_or(before)))?;
            writeln!(text, "  made       {}", date(created))?;
            writeln!(text, "  last seen  {}", date(last_seen))?;
            if let Some(login) = authenticated {
                let claim = if confirmed { "" } else { " (the name is what was typed)" };
                writeln!(text, "  logged in  {}{claim}", date(login))?;
            }
            let (network, agent) = (network.unwrap_or_default(), agent.unwrap_or_default());
            write!(text, "  client     {} {}", shown(&network), shown(&agent))
        })();
        written.map_err(|_: std::fmt::Error| "the list does not fit into memory".to_owned())?;
    }
    Ok(text)
}

fn date(secs: u64) -> String {
    // The years that this form of a date can tell.
    if secs >= 253_402_300_800 {
        return secs.to_string();
    }
    httpdate::fmt_http_date(SystemTime::UNIX_EPOCH + Duration::from_secs(secs))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sessions_are_listed_for_people() {
        let mut answer = json!({ "subject": "alice", "total": 1, "truncated": false, "sessions": [{
            "id": "0a", "users": "shop", "created": 0, "last_seen": 60, "authenticated": 5, "ends": 90,
            "confirmed": false, "network": "192.0.2.0/24", "agent": "curl\u{1b}"
        }] });
        assert_eq!(
            list(&answer).unwrap(),
            "alice has 1 session(s)\n0a\n  users      shop\n  made       Thu, 01 Jan 1970 00:00:00 GMT\n  \
             last seen  Thu, 01 Jan 1970 00:01:00 GMT\n  \
             logged in  Thu, 01 Jan 1970 00:00:05 GMT (the name is what was typed)\n  \
             client     192.0.2.0/24 curl\u{fffd}"
        );
        (answer["total"], answer["truncated"]) = (json!(1200), json!(true));
        let cut = list(&answer).unwrap();
        assert!(cut.starts_with("alice has about 1200 session(s), of which 1 follow\n"), "{cut}");
        let nobody = json!({
            "subject": "bob", "sessions": [], "total": 0, "truncated": false
        });
        assert_eq!(list(&nobody).unwrap(), "bob has no sessions");
    }
}
